//! Which provider runs what: offers, placement, admission, attempts, measurement.
//!
//! Decisions are pure: [`place::place`] takes a snapshot, an ask, an instant and a generator, and
//! returns a decision. Effects live at the edges: [`store`] reads and writes rows, [`Scheduler`]
//! owns the current snapshot and the counters that change faster than it.
//!
//! What a provider says is a hint; what the gateway measures is a fact. Every exclusion has a
//! reason, an expiry and a probe.

pub mod ask;
pub mod attempt;
pub mod availability;
pub mod config;
pub mod credit;
pub mod error;
pub mod explain;
pub mod facade;
pub mod liveness;
pub mod measure;
pub mod place;
pub mod pool;
pub mod provider;
pub mod replay;
pub mod run;
pub mod store;
mod telemetry;

pub use ask::{Ask, Needs, Preferences, ServiceTier, Sort};
pub use attempt::{Action, Event, Machine, Step};
pub use availability::{Availability, AvailabilityCode, Constraint};
pub use config::Config;
pub use error::Error;
pub use facade::{Control, Scheduler};
pub use measure::{Observation, Outcome};
pub use place::{Decision, Placed};
pub use pool::live::{Admission, Presence};
pub use pool::snapshot::{OfferEntry, Snapshot};
pub use replay::Placement;
