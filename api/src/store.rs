//! Rows this crate owns: organizations, keys, the catalogue, proofs of identity, the audit trail.
//!
//! Each function takes the connection first and neither begins nor commits. Locks are taken in this
//! order: challenge, organization, project, service account, key; rows of the scheduler and of billing come after.

pub mod addresses;
pub mod audit;
pub mod challenges;
pub mod deliveries;
pub mod gateways;
pub mod idempotency;
pub mod keys;
pub mod model_permissions;
pub mod models;
pub mod orders;
pub mod organizations;
pub mod rate_limits;
pub mod service_accounts;
pub mod sessions;
pub mod tokenizers;
pub mod webhooks;
