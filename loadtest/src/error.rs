//! What stops a run as a whole. A single request that fails is a result, not one of these.

use std::path::PathBuf;

/// Why a run could not be made, or not be judged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read or written.
    #[error("{}: {doing}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A scenario, target list or argument makes no sense; the text names the key.
    #[error("{0}")]
    Invalid(String),
    /// A call that the run depends on, such as reading the balance, failed.
    #[error("{call}: {reason}")]
    Call {
        /// Which call.
        call: String,
        /// Why it failed.
        reason: String,
    },
    /// An amount in an answer can't be read exactly.
    #[error("{0}")]
    Money(#[from] crate::decimal::Inexact),
    /// A socket of ours can't be opened.
    #[error("listening on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A simulated node failed.
    #[error("a simulated node failed")]
    Node(#[from] node::Error),
}

impl Error {
    /// A file error with its path.
    pub fn file(path: &std::path::Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, doing, source }
    }

    /// A failed call.
    pub(crate) fn call(call: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Call { call: call.into(), reason: reason.to_string() }
    }
}
