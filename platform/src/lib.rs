//! What every service of Steelyard needs: configuration, Postgres, telemetry, the worker loop.
//!
//! Nothing here knows about requests, money or placement. The crates above hand in what they want
//! run, stored or measured, and get the same behaviour around it everywhere.

pub mod config;
pub mod db;
pub mod embedded;
pub mod outbox;
pub mod shutdown;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod worker;
