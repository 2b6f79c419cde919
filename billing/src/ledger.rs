//! Bookings: every movement names one account it leaves, one it enters, and why.

use std::fmt;

use protocol::token::TokenAmount;
use protocol::typed::Word;
use protocol::wallet::Address;
use protocol::{CaseId, FlushId, GrantId, NanoUsd, OrganizationId, RefundId, TransferId};
use uuid::Uuid;

use crate::account::{AccountKind, LedgerAccount};
use crate::calendar::Month;

/// What customers pay in and providers are owed in.
pub(crate) const USD: &str = "USD";

/// One debit and one credit of the same positive amount: a one-sided booking can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    debit: LedgerAccount,
    credit: LedgerAccount,
    amount: NanoUsd,
}

/// Why money moved. Booking the same cause again is a no-op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A batch of settled requests.
    Settle(FlushId),
    /// Usage of that batch whose lease was gone, beyond what the account had.
    Late(FlushId),
    /// Promo credit to an account, by the name of its occasion.
    Promo(OrganizationId, String),
    /// Goodwill credit to an account, by the name of its occasion.
    Goodwill(OrganizationId, String),
    /// A part of a gift that expired after `taken` nano-USD of it already had.
    PromoExpired {
        /// Which grant.
        grant: GrantId,
        /// What had expired before.
        taken: NanoUsd,
    },
    /// A card payment, by the processor's name for it.
    Payment(String),
    /// What the processor kept, by its name for the movement.
    ProcessorFee(String),
    /// A step of credit going back to a card.
    Refund(RefundId, RefundStep),
    /// A step of a dispute, by the processor's name for it.
    Dispute(String, DisputeStep),
    /// The processor's money on its way to our bank, by its name for it.
    Payout(String, PayoutStep),
    /// What an epoch turned into tokens.
    Epoch(u64),
    /// What a case about receipts was decided to.
    Case(CaseId),
    /// The tokens that an epoch made of it.
    EpochTokens(u64),
    /// A fact a chain told, by transaction and place in its block.
    Chain(Word, u64),
    /// The gas of a transaction.
    Gas(Word),
    /// Coins bought for dollars, by the operator's name for it.
    Purchase(String, Leg),
    /// What a coin was worth at the end of a month. Taken back, the next is of another round.
    Valuation(Month, Coin, u32, Leg),
    /// A valuation that was taken back.
    ValuationUndone(Month, Coin, u32, Leg),
}

/// A cause in two currencies is booked once in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// What it was in dollars.
    Dollars,
    /// What it was in the coin.
    Coins,
}

/// What is kept on a chain, in its smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coin {
    /// A payout token, by chain and contract.
    Token(u64, Address),
    /// What gas is paid with.
    Ether,
}

/// One debit and one credit of the same positive amount of a coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoinPosting {
    debit: LedgerAccount,
    credit: LedgerAccount,
    amount: TokenAmount,
}

/// The postings of one cause, in one coin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoinTransfer {
    /// Names it.
    pub id: TransferId,
    /// Makes it unique.
    pub cause: Cause,
    /// Of what.
    pub coin: Coin,
    /// At least one.
    pub postings: Vec<CoinPosting>,
}

/// How far money is on its way back to a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStep {
    /// Taken from the account.
    Taken,
    /// Gone from the processor.
    Paid,
    /// Back at the processor after all.
    Unpaid,
    /// Back on the account.
    Returned,
}

/// How far a dispute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeStep {
    /// The bank has taken the money.
    Withdrawn,
    /// The money is back.
    Reinstated,
    /// The cardholder keeps it.
    Lost,
    /// Frozen credit is the account's again.
    Unfrozen,
}

/// Where a payout to our bank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayoutStep {
    /// Gone from the processor.
    Sent,
    /// The bank would not have it.
    Returned,
}

/// The postings of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Names it.
    pub id: TransferId,
    /// Makes it unique.
    pub cause: Cause,
    /// At least one.
    pub postings: Vec<Posting>,
}

impl Posting {
    /// `None` for nothing, and for a movement from an account to itself.
    #[must_use]
    pub fn new(debit: LedgerAccount, credit: LedgerAccount, amount: NanoUsd) -> Option<Self> {
        (!amount.is_zero() && debit != credit).then_some(Self { debit, credit, amount })
    }

    /// The account debited.
    #[must_use]
    pub const fn debit(&self) -> LedgerAccount {
        self.debit
    }

    /// The account credited.
    #[must_use]
    pub const fn credit(&self) -> LedgerAccount {
        self.credit
    }

    /// How much, above zero.
    #[must_use]
    pub const fn amount(&self) -> NanoUsd {
        self.amount
    }
}

impl CoinPosting {
    /// `None` for nothing, and for a movement from an account to itself.
    #[must_use]
    pub fn new(debit: LedgerAccount, credit: LedgerAccount, amount: TokenAmount) -> Option<Self> {
        (!amount.is_zero() && debit != credit).then_some(Self { debit, credit, amount })
    }

    /// The account debited.
    #[must_use]
    pub const fn debit(&self) -> LedgerAccount {
        self.debit
    }

    /// The account credited.
    #[must_use]
    pub const fn credit(&self) -> LedgerAccount {
        self.credit
    }

    /// How much, above zero.
    #[must_use]
    pub const fn amount(&self) -> TokenAmount {
        self.amount
    }
}

/// Whose position in dollars what gas is paid with has. The payout token has the platform's: epochs cross it without
/// naming a coin.
const ETHER: Uuid = Uuid::from_u128(1);

impl Coin {
    /// Where it crosses to dollars, on either side: each coin has a position of its own, and so a result.
    #[must_use]
    pub const fn position(self) -> LedgerAccount {
        match self {
            Self::Token(..) => LedgerAccount::platform(AccountKind::Fx),
            Self::Ether => LedgerAccount { kind: AccountKind::Fx, owner: ETHER },
        }
    }

    /// Where it lies when it was bought.
    #[must_use]
    pub const fn held(self) -> LedgerAccount {
        LedgerAccount::platform(match self {
            Self::Token(..) => AccountKind::Treasury,
            Self::Ether => AccountKind::GasWallet,
        })
    }
}

/// The currency, as stored.
impl fmt::Display for Coin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(chain, contract) => write!(f, "TOK:{chain}:{contract}"),
            Self::Ether => f.write_str("ETH"),
        }
    }
}

impl Cause {
    /// The kind, as stored.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Settle(_) => "settle",
            Self::Late(_) => "late",
            Self::Promo(..) => "promo",
            Self::Goodwill(..) => "goodwill",
            Self::PromoExpired { .. } => "promo_expired",
            Self::Payment(_) => "stripe.payment",
            Self::ProcessorFee(_) => "stripe.balance_txn",
            Self::Refund(..) => "stripe.refund",
            Self::Dispute(..) => "stripe.dispute",
            Self::Payout(..) => "stripe.payout",
            Self::Epoch(_) => "epoch",
            Self::Case(_) => "receipt_case",
            Self::EpochTokens(_) => "epoch_tokens",
            Self::Chain(..) => "chain",
            Self::Gas(_) => "gas",
            Self::Purchase(..) => "purchase",
            Self::Valuation(..) => "valuation",
            Self::ValuationUndone(..) => "valuation_undone",
        }
    }
}

impl Leg {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dollars => "dollars",
            Self::Coins => "coins",
        }
    }
}

impl RefundStep {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Paid => "paid",
            Self::Unpaid => "unpaid",
            Self::Returned => "returned",
        }
    }
}

impl DisputeStep {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawn => "withdrawn",
            Self::Reinstated => "reinstated",
            Self::Lost => "lost",
            Self::Unfrozen => "unfrozen",
        }
    }
}

impl PayoutStep {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Returned => "returned",
        }
    }
}

/// The id within its kind, as stored.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settle(flush) | Self::Late(flush) => write!(f, "{flush}"),
            Self::Promo(account, occasion) | Self::Goodwill(account, occasion) => write!(f, "{account}/{occasion}"),
            Self::PromoExpired { grant, taken } => write!(f, "{grant}/{}", taken.nano()),
            Self::Payment(name) | Self::ProcessorFee(name) => f.write_str(name),
            Self::Refund(refund, step) => write!(f, "{refund}/{}", step.as_str()),
            Self::Dispute(name, step) => write!(f, "{name}/{}", step.as_str()),
            Self::Payout(name, step) => write!(f, "{name}/{}", step.as_str()),
            Self::Epoch(epoch) | Self::EpochTokens(epoch) => write!(f, "{epoch}"),
            Self::Chain(tx, index) => write!(f, "{tx}/{index}"),
            Self::Gas(tx) => write!(f, "{tx}"),
            Self::Purchase(name, leg) => write!(f, "{name}/{}", leg.as_str()),
            Self::Valuation(month, coin, round, leg) | Self::ValuationUndone(month, coin, round, leg) => {
                write!(f, "{month}/{coin}/{round}/{}", leg.as_str())
            }
            Self::Case(case) => write!(f, "{case}"),
        }
    }
}

/// What was debited and credited to one account, and so its balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turnover {
    /// All debits.
    pub debited: i64,
    /// All credits.
    pub credited: i64,
}

impl Turnover {
    /// The balance on the normal side of `kind`; below zero only when something is wrong.
    #[must_use]
    pub const fn balance(&self, kind: AccountKind) -> i64 {
        match kind.normal() {
            crate::account::Side::Debit => self.debited - self.credited,
            crate::account::Side::Credit => self.credited - self.debited,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_posting_moves_something_between_two_accounts() {
        let (a, b) =
            (LedgerAccount::platform(AccountKind::Revenue), LedgerAccount::platform(AccountKind::PromoExpense));
        assert!(Posting::new(a, b, NanoUsd::ZERO).is_none());
        assert!(Posting::new(a, a, NanoUsd::from_dollars(1)).is_none());
        assert_eq!(Posting::new(a, b, NanoUsd::from_dollars(1)).unwrap().amount(), NanoUsd::from_dollars(1));
    }

    #[test]
    fn balances_grow_on_their_normal_side() {
        let turnover = Turnover { debited: 10, credited: 30 };
        assert_eq!(turnover.balance(AccountKind::Credits), 20);
        assert_eq!(turnover.balance(AccountKind::Receivable), -20);
    }
}
