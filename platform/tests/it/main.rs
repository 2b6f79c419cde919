//! Everything that needs a process, a folder or a database.
#![allow(clippy::unwrap_used)]

mod config;
mod db;
mod embedded;
mod helper;
mod outbox;
mod shutdown;
mod telemetry;
mod testing;
