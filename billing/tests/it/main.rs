//! Billing against a real Postgres.
#![allow(clippy::unwrap_used)]

mod books;
mod budgets;
mod cards;
mod checks;
mod epochs;
mod fixture;
mod holds;
mod leases;
mod model;
mod pricing;
mod quarantine;
mod receipts;
mod replicas;
mod settling;
mod vanishing;
mod wire;
