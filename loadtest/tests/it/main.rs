//! The load generator against servers whose behaviour is known.
#![allow(clippy::unwrap_used)]

mod arrivals;
mod books;
mod client;
mod compare;
mod decimal;
mod omission;
mod proxy;
mod scenario;
mod server;
mod sse;
