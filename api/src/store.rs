//! Rows this crate owns: organizations, keys, the catalogue, proofs of identity, the audit trail.
//!
//! Each function takes the connection first and neither begins nor commits. Locks are taken in this
//! order: challenge, organization, key; rows of the scheduler and of billing come after.

pub mod audit;
pub mod challenges;
pub mod deliveries;
pub mod idempotency;
pub mod keys;
pub mod models;
pub mod orders;
pub mod organizations;
pub mod sessions;
pub mod tokenizers;
pub mod webhooks;
