//! The words every part of Steelyard shares, and what a provider's machine speaks.
//!
//! Pure values: no network, no disk, no async. A value that exists is valid, because constructors
//! parse. Everything here is cheap to build on a provider's machine.

pub mod bundle;
pub mod challenge;
pub mod env;
pub mod event;
pub mod header;
pub mod id;
pub mod issued;
pub mod load;
pub mod merkle;
pub mod money;
pub mod offer;
pub mod payout;
pub mod price;
pub mod purse;
pub mod receipt;
pub mod session;
#[cfg(feature = "sqlx")]
mod sql;
pub mod statement;
mod text;
pub mod time;
pub mod token;
pub mod typed;
pub mod version;
pub mod wallet;

pub use env::Env;
pub use id::{
    AttemptId, BootId, CardId, CardSetupId, CaseId, ChallengeId, DocumentId, EventId, FlushId, GrantId, HoldId, Id,
    KeyId, LeaseId, NodeId, OfferId, OrganizationId, PayoutId, ProjectId, ProviderId, ReceiptId, RefundId, RequestId,
    ServiceAccountId, TopupId, TransferId, WebhookId,
};
pub use money::{NanoUsd, SignedNanoUsd};
pub use price::{Price, Prices, Units};
pub use time::Timestamp;
