//! The fake processor under Stripe's own, unmodified client.
// Stripe's requests and objects are kilobytes of mostly absent fields.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod checkout;
mod hooks;
mod intents;
mod keys;
mod money;
mod support;
mod tax;
