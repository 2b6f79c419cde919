//! Whose fault a failed attempt was: the node's, nobody's, or the caller's.

use std::time::Duration;

/// What a node did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeFault {
    /// No connection, or no stream on its tunnel, in time.
    ConnectTimeout,
    /// The connection was refused.
    Refused,
    /// The connection broke before the answer began.
    Reset,
    /// No content in time.
    FirstContentTimeout,
    /// Silence between tokens.
    GapTimeout,
    /// The whole answer took too long.
    TotalTimeout,
    /// A status that means the node is broken or misconfigured.
    Status(u16),
    /// What it sent is no answer.
    Malformed,
    /// It stopped without a finish reason and terminal event.
    Truncated,
    /// An error inside a successful answer.
    InBand,
    /// Success with nothing in it.
    Empty,
    /// It refused a request that another node served.
    Disagreed,
}

impl NodeFault {
    /// A stable short name, for metrics and explanations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectTimeout => "connect_timeout",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::FirstContentTimeout => "first_content_timeout",
            Self::GapTimeout => "gap_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::Status(_) => "status",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::InBand => "in_band_error",
            Self::Empty => "empty",
            Self::Disagreed => "disagreed",
        }
    }

    /// True for the node being too slow rather than broken.
    #[must_use]
    pub const fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::FirstContentTimeout | Self::GapTimeout | Self::TotalTimeout)
    }
}

/// What a status says before any content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// Go on.
    Good,
    /// The node's fault.
    Node(NodeFault),
    /// No room just now.
    Busy {
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
        /// It refused for want of an admission credit.
        credit: bool,
    },
    /// The request's fault, if another node agrees.
    Caller(u16),
}

/// Reads a status. Statuses that no inference server should send count against the node.
#[must_use]
pub const fn status(code: u16, retry_after: Option<Duration>, credit: bool) -> StatusClass {
    match code {
        200 => StatusClass::Good,
        429 | 503 => StatusClass::Busy { retry_after, credit },
        400 | 413 | 422 => StatusClass::Caller(code),
        other => StatusClass::Node(NodeFault::Status(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_somebodys_fault() {
        for code in [401, 402, 404, 500, 502, 504, 302, 204, 418] {
            assert!(matches!(status(code, None, false), StatusClass::Node(NodeFault::Status(_))), "{code}");
        }
        for code in [400, 413, 422] {
            assert_eq!(status(code, None, false), StatusClass::Caller(code));
        }
        for code in [429, 503] {
            assert!(matches!(status(code, None, true), StatusClass::Busy { credit: true, .. }));
        }
        assert_eq!(status(200, None, false), StatusClass::Good);
    }
}
