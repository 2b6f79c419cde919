//! `steelyard openapi`: the document as it is served.

use std::path::PathBuf;

use super::Error;
use crate::openapi::{self, Revision};

/// Options of `steelyard openapi`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write it to a file instead of the terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Revision of the specification to write it in.
    #[arg(long, value_enum, default_value = "3.1")]
    revision: Revision,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let text = openapi::text(args.revision);
    match &args.out {
        Some(path) => std::fs::write(path, text).map_err(Error::io(format!("writing {}", path.display()))),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}
