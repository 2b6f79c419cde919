//! What can go wrong on a node, in words that name the fix.

use std::path::{Path, PathBuf};

use http::StatusCode;

/// Everything a node's own calls can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration can't be used; the text names the key and what would be right.
    #[error("configuration: {0}")]
    Config(String),
    /// A file of the node can't be read or written.
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
    /// The broker can't be reached, or broke off.
    #[error("no answer from the broker at {url}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// Why it failed.
        reason: String,
    },
    /// The broker answered with an error.
    #[error("the broker answered {status} ({code}): {message}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Stable code, `-` when it gave none.
        code: String,
        /// The broker's words.
        message: String,
    },
    /// The broker's answer was not what this revision of the protocol expects.
    #[error("the broker's answer to {call} makes no sense: {reason}")]
    Malformed {
        /// Which call.
        call: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker wants something signed that was not asked for.
    #[error(
        "nothing was signed, because the broker's challenge is not for this registration: {0}. Is this the broker's \
         own address? Its operator sets it as server.public_url"
    )]
    Challenge(protocol::challenge::Mismatch),
    /// The provider took this node out.
    #[error(
        "{0} was removed by its provider and stops. To bring it back, delete node.json in its state folder and start \
         it again"
    )]
    Removed(protocol::NodeId),
    /// The engine can't be reached, started or understood.
    #[error("engine: {0}")]
    Engine(String),
    /// A payout is not what its documents say.
    #[error("NOT verified: {0}")]
    Unverified(#[from] protocol::bundle::Flaw),
    /// The chain can't be asked, or refuses.
    #[error(transparent)]
    Chain(#[from] onchain::Error),
    /// Key material on disk is damaged or was not made by this program.
    #[error("key: {0}")]
    Key(String),
}

impl Error {
    /// A file error with its path.
    pub(crate) fn file(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, doing, source }
    }

    /// True when the broker answered with `status`.
    #[must_use]
    pub fn is_status(&self, status: StatusCode) -> bool {
        matches!(self, Self::Refused { status: got, .. } if *got == status)
    }

    /// True when the broker refused with that stable code.
    #[must_use]
    pub fn is_code(&self, expected: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == expected)
    }

    /// True when asking again later may help: everything but a refusal the caller must cure.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Malformed { .. } | Self::Engine(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            Self::Chain(error) => matches!(error, onchain::Error::Away { .. }),
            Self::Config(_)
            | Self::File { .. }
            | Self::Key(_)
            | Self::Challenge(_)
            | Self::Removed(_)
            | Self::Unverified(_) => false,
        }
    }
}
