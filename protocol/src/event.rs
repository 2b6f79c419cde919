//! Facts one part of the broker tells the others, written in the transaction that made them true.

use serde::{Deserialize, Serialize};

use crate::{KeyId, NanoUsd, NodeId, OrganizationId, PayoutId, ProjectId, ProviderId, Timestamp, TopupId};

/// Something that has happened. Consumers must take each at least once and act on it idempotently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A key may no longer be used anywhere.
    KeyRevoked {
        /// Which key.
        key: KeyId,
    },
    /// An account may no longer borrow credit.
    AccountSuspended {
        /// Whose account.
        organization: OrganizationId,
    },
    /// An account was lent its first credit or more.
    CreditGranted {
        /// Whose account.
        organization: OrganizationId,
    },
    /// A card charged by itself was declined; it is tried again later.
    RechargeDeclined {
        /// Whose account.
        organization: OrganizationId,
        /// The top-up that came to nothing.
        topup: TopupId,
        /// The bank's word for why.
        code: String,
    },
    /// A card is not charged by itself any more before its owner has acted.
    RechargeStopped {
        /// Whose account.
        organization: OrganizationId,
        /// The top-up that came to nothing.
        topup: TopupId,
        /// The bank's word for why.
        code: String,
    },
    /// A provider proved its wallet.
    ProviderActivated {
        /// Which provider.
        provider: ProviderId,
    },
    /// The contract paid what an epoch owed.
    PayoutPaid {
        /// Whom.
        provider: ProviderId,
        /// What.
        payout: PayoutId,
    },
    /// Somebody asked that a provider be paid elsewhere.
    PayoutChangeRequested {
        /// Whose pay it is.
        provider: ProviderId,
    },
    /// A node was silent too long.
    NodeOffline {
        /// Which node.
        node: NodeId,
    },
    /// What was charged under a spend limit has reached a part of it. Told once for each part and window.
    SpendThresholdReached {
        /// Who pays.
        organization: OrganizationId,
        /// Whose limit.
        spender: Spender,
        /// Which part, in percent.
        threshold_percent: u8,
        /// The whole.
        limit: NanoUsd,
        /// What was charged when it was noticed.
        spent: NanoUsd,
        /// When the window began; `None` for a limit that never starts anew.
        window_starts_at: Option<Timestamp>,
    },
}

/// Whom a spend limit binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spender {
    /// One key.
    Key(KeyId),
    /// All keys of a project.
    Project(ProjectId),
    /// All projects of an organization.
    Organization(OrganizationId),
}
