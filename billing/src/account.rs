//! The accounts of the ledger: their kinds, and on which side each one grows.

use protocol::{Id, OrganizationId, ProviderId};
use uuid::Uuid;

use crate::outcome::CostKind;

/// What a ledger account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKind {
    /// Unspent prepaid credit of an organization.
    Credits,
    /// What an organization owes us.
    Receivable,
    /// What we owe a provider.
    Payable,
    /// What users were charged.
    Revenue,
    /// Provider work that users paid for.
    ProviderCost,
    /// Provider work that the platform made useless.
    FaultCost,
    /// Provider work that the platform ordered.
    AuditCost,
    /// Credit given to win users.
    PromoExpense,
    /// Credit given to make up for something.
    GoodwillExpense,
    /// Money at the card processor.
    StripeClearing,
    /// What the card processor keeps for its work.
    StripeFees,
    /// Tax taken with payments, owed to the state.
    TaxPayable,
    /// Money on its way back to cards.
    RefundsInFlight,
    /// Money at our bank.
    Bank,
    /// What disputes have taken for now.
    DisputeReceivable,
    /// What disputes have taken for good, beyond credit that was left.
    DisputeLoss,
    /// What the card processor keeps for disputes.
    DisputeFees,
    /// What crossed from one currency to another.
    Fx,
    /// What came of coins that were worth more or less later.
    FxResult,
    /// Payout tokens that we hold.
    Treasury,
    /// Payout tokens in the contract, until somebody claims them.
    Distributor,
    /// What transactions are paid with.
    GasWallet,
    /// What transactions have cost.
    GasExpense,
}

/// The side on which an account grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What we have or have used up.
    Debit,
    /// What we owe or have earned.
    Credit,
}

/// Where money lies: a kind and, unless it is the platform's own, whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerAccount {
    /// What for.
    pub kind: AccountKind,
    /// Whose, as a bare id; nil for the platform's own.
    pub owner: Uuid,
}

impl AccountKind {
    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credits => "credits",
            Self::Receivable => "receivable",
            Self::Payable => "payable",
            Self::Revenue => "revenue",
            Self::ProviderCost => "provider_cost",
            Self::FaultCost => "fault_cost",
            Self::AuditCost => "audit_cost",
            Self::PromoExpense => "promo_expense",
            Self::GoodwillExpense => "goodwill_expense",
            Self::StripeClearing => "stripe_clearing",
            Self::StripeFees => "stripe_fees",
            Self::TaxPayable => "tax_payable",
            Self::RefundsInFlight => "refunds_in_flight",
            Self::Bank => "bank",
            Self::DisputeReceivable => "dispute_receivable",
            Self::DisputeLoss => "dispute_loss",
            Self::DisputeFees => "dispute_fees",
            Self::Fx => "fx",
            Self::FxResult => "fx_result",
            Self::Treasury => "treasury",
            Self::Distributor => "distributor",
            Self::GasWallet => "gas_wallet",
            Self::GasExpense => "gas_expense",
        }
    }

    /// The side on which a balance of this kind is counted.
    #[must_use]
    pub const fn normal(self) -> Side {
        match self {
            Self::Credits
            | Self::Payable
            | Self::Revenue
            | Self::TaxPayable
            | Self::RefundsInFlight
            | Self::Fx
            | Self::FxResult => Side::Credit,
            Self::Receivable
            | Self::ProviderCost
            | Self::FaultCost
            | Self::AuditCost
            | Self::PromoExpense
            | Self::GoodwillExpense
            | Self::StripeClearing
            | Self::StripeFees
            | Self::Bank
            | Self::DisputeReceivable
            | Self::DisputeLoss
            | Self::DisputeFees
            | Self::Treasury
            | Self::Distributor
            | Self::GasWallet
            | Self::GasExpense => Side::Debit,
        }
    }
}

impl From<CostKind> for AccountKind {
    fn from(kind: CostKind) -> Self {
        match kind {
            CostKind::ProviderCost => Self::ProviderCost,
            CostKind::FaultCost => Self::FaultCost,
            CostKind::AuditCost => Self::AuditCost,
        }
    }
}

impl LedgerAccount {
    /// One of the platform's own.
    #[must_use]
    pub const fn platform(kind: AccountKind) -> Self {
        Self { kind, owner: Uuid::nil() }
    }

    /// The unspent credit of an organization.
    #[must_use]
    pub fn credits(account: OrganizationId) -> Self {
        Self { kind: AccountKind::Credits, owner: account.uuid() }
    }

    /// What an organization owes us.
    #[must_use]
    pub fn receivable(account: OrganizationId) -> Self {
        Self { kind: AccountKind::Receivable, owner: account.uuid() }
    }

    /// What we owe a provider.
    #[must_use]
    pub fn payable(provider: ProviderId) -> Self {
        Self { kind: AccountKind::Payable, owner: provider.uuid() }
    }
}
