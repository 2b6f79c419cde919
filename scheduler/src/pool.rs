//! What there is to choose from: an immutable snapshot, and counters that outlive it.

pub mod alias;
pub mod bitset;
pub mod build;
pub mod live;
pub mod node_live;
pub mod snapshot;
