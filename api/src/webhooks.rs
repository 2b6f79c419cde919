//! Tells customers and providers what has happened, as Standard Webhooks: signed, at least once, and in
//! order while each is taken: a later one does not wait for one that is not.
//!
//! A fact in the outbox becomes one delivery per endpoint that wants it, in the transaction that moves the
//! outbox's cursor. Deliveries go out from any replica, one endpoint at a time; what isn't taken is tried
//! again for three days under the same id. An endpoint is a URL somebody gave us, so only public addresses
//! are called, no redirect is followed, and of the answer only the status counts.

mod deliver;
mod fanout;
mod secret;

use protocol::{OrganizationId, ProviderId};

pub use deliver::Deliverer;
pub use fanout::Fanout;
pub use secret::WebhookSecret;

/// What an organization can be told of.
const OF_ORGANIZATIONS: [&str; 12] = [
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
    "key.spend_limit.threshold_reached",
    "project.spend_limit.threshold_reached",
    "organization.spend_limit.threshold_reached",
    "credits.auto_recharge.declined",
    "credits.auto_recharge.stopped",
];
/// What a provider can be told of.
const OF_PROVIDERS: [&str; 3] =
    ["provider.node.offline", "provider.payout.paid", "provider.payout_account.change_requested"];

/// Every type of event there is.
pub fn event_types() -> impl Iterator<Item = &'static str> {
    OF_ORGANIZATIONS.into_iter().chain(OF_PROVIDERS)
}

/// Whose endpoint it is, and so what it can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A customer.
    Organization(OrganizationId),
    /// A supplier.
    Provider(ProviderId),
}

impl Owner {
    /// The types of events it can be told of.
    #[must_use]
    pub const fn events(self) -> &'static [&'static str] {
        match self {
            Self::Organization(_) => &OF_ORGANIZATIONS,
            Self::Provider(_) => &OF_PROVIDERS,
        }
    }

    /// Its organization, if it is one.
    #[must_use]
    pub const fn organization(self) -> Option<OrganizationId> {
        match self {
            Self::Organization(organization) => Some(organization),
            Self::Provider(_) => None,
        }
    }

    /// Its provider, if it is one.
    #[must_use]
    pub const fn provider(self) -> Option<ProviderId> {
        match self {
            Self::Organization(_) => None,
            Self::Provider(provider) => Some(provider),
        }
    }
}
