//! The broker as its callers see it, on a database of each test's own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod bad_input;
mod failover;
mod keys;
mod leaving;
mod live;
mod models;
mod money;
mod organization;
mod process;
mod providers;
mod stream;
mod support;
mod tunnel;
