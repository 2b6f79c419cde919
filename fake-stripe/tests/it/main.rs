//! The fake processor under Stripe's own, unmodified client.
#![allow(clippy::unwrap_used)]

mod checkout;
mod hooks;
mod intents;
mod keys;
mod money;
mod support;
