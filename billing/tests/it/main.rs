//! Billing against a real Postgres.
#![allow(clippy::unwrap_used)]

mod alerts;
mod books;
mod budgets;
mod cards;
mod checks;
mod epochs;
mod fixture;
mod fx;
mod history;
mod holds;
mod leases;
mod model;
mod papers;
mod pricing;
mod promo;
mod quarantine;
mod rail;
mod receipts;
mod replicas;
mod settling;
mod vanishing;
mod wire;
