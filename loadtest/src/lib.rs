//! Load for the broker, as its customers and its providers make it.
//!
//! Everything here speaks HTTP only, so the same run measures a broker, a bare proxy or an engine
//! by itself. Latencies count from when a request was meant to start: a server that stalls cannot
//! hide the requests that would have come meanwhile.

pub mod answer;
pub mod arrivals;
pub mod books;
pub mod client;
pub mod compare;
pub mod decimal;
pub mod engine;
mod error;
pub mod fleet;
pub mod process;
pub mod proxy;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod serve;
pub mod sse;

pub use error::Error;
