//! What placement, admission and attempts owe, against naive models and a real database.
#![allow(clippy::unwrap_used)]

mod attempts;
mod credits;
mod facade;
mod filter;
mod metrics;
mod placement;
mod refusals;
mod replay;
mod store;
mod world;
