//! Billing against a real Postgres.
#![allow(clippy::unwrap_used)]

mod books;
mod budgets;
mod fixture;
mod holds;
mod leases;
mod model;
mod pricing;
mod settling;
