//! Facts one part of the broker tells the others, written in the transaction that made them true.

use serde::{Deserialize, Serialize};

use crate::{KeyId, NodeId, OrganizationId, PayoutId, ProviderId};

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
}
