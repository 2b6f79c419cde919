//! The broker as its callers see it, on a database of each test's own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod keys;
mod models;
mod process;
mod providers;
mod support;
