//! One file per resource.

mod access;
pub mod challenges;
pub mod chat;
pub mod credits;
pub mod document;
pub mod generation;
pub mod health;
pub mod heartbeats;
pub mod key;
pub mod keys;
mod list;
pub mod models;
pub mod nodes;
pub mod offers;
pub mod organization;
pub mod providers;
pub mod reports;
pub mod sessions;
pub mod tunnel;

pub use access::{Access, ROUTES};
