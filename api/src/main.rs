//! `steelyard`: the broker, all its services and all its commands.

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = api::commands::Args::parse();
    api::commands::run(args)
}
