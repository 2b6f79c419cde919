//! A provider's side of Steelyard: joins a machine and its unmodified engine to the broker.
//!
//! The node dials out only. It keeps HTTP/2 tunnels open on which the broker is the client, hands
//! each request to the engine beside it, grants the broker credits so that the engine is never
//! over-committed, and signs what every attempt used. There is no global state: many nodes can run
//! in one process.

pub mod body;
pub mod claim;
pub mod client;
pub mod config;
mod connect;
mod control;
pub mod credit;
pub mod doctor;
pub mod earnings;
pub mod engine;
mod error;
pub mod fleet;
pub mod gate;
pub mod inventory;
pub mod keys;
pub mod meter;
mod offers;
mod purse;
pub mod register;
mod reports;
mod run;
pub mod serve;
mod session;
pub mod spool;
pub mod systemd;
mod tunnel;
pub mod vouch;
mod websocket;
mod work;

pub use config::NodeConfig;
pub use engine::{Engine, Simulated};
pub use error::Error;
pub use run::{Handle, Identity, Status, run, start};
