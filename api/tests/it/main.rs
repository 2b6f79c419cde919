//! The broker as its callers see it, on a database of each test's own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod bad_input;
mod bounds;
mod credits;
mod dialects;
mod earning;
mod edge;
mod failover;
mod fleet;
mod idempotency;
mod keys;
mod leaving;
mod live;
mod models;
mod money;
mod nodes;
mod operator;
mod organization;
mod polling;
mod probing;
mod process;
mod providers;
mod registering;
mod stream;
mod support;
mod topups;
mod tunnel;
mod upstream;
mod webhooks;
mod works;
