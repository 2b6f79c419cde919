//! The response object: all that is known of an answer at one moment.

use std::fmt::{self, Display, Formatter};

use protocol::RequestId;

use super::super::render::{Usage, dollars, quoted};
use super::echo::Echo;
use super::item::{Item, joined};

/// The service tier until the gateway knows better: the one every request gets that asks for none.
const DEFAULT_TIER: &str = "default";

/// How an answer has ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Not yet.
    Open,
    /// As the model meant it to, at this time.
    Completed { unix_s: i64 },
    /// Cut, for one of the contract's reasons.
    Incomplete { reason: &'static str },
    /// In a failure; both are JSON literals.
    Failed { code: &'static str, message: String },
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: RequestId,
    created_unix_s: i64,
    /// A JSON literal.
    model: String,
    pub(super) echo: Echo,
    pub(super) items: Vec<Item>,
    pub(super) ending: Ending,
}

impl Answer {
    pub(super) fn new(echo: Echo, id: RequestId, created_unix_s: i64, model: &str) -> Self {
        Self { id, created_unix_s, model: quoted(model), echo, items: Vec::new(), ending: Ending::Open }
    }

    /// The object as it goes into an event.
    pub(super) fn object(&self, usage: Option<&Usage>) -> impl Display {
        self.object_in_tier(usage, DEFAULT_TIER)
    }

    /// The object, with the service tier that applied.
    pub(super) fn object_in_tier(&self, usage: Option<&Usage>, tier: &str) -> impl Display {
        fmt::from_fn(move |f| {
            let Self { id, created_unix_s, model, echo, items, ending } = self;
            write!(f, "{{\"id\":\"{}\",\"object\":\"response\",\"created_at\":{created_unix_s},", id.response())?;
            write!(f, "{ending},\"model\":{model},\"output\":[")?;
            joined(f, items)?;
            f.write_str("],\"usage\":")?;
            match usage {
                Some(usage) => figures(f, usage)?,
                None => f.write_str("null")?,
            }
            write!(f, ",\"service_tier\":{},{}}}", quoted(tier), echo.members())
        })
    }
}

impl Display for Ending {
    /// Writes the members of the object that tell how it ended.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (status, completed_at, error, details) = match self {
            Self::Open => ("in_progress", None, None, None),
            Self::Completed { unix_s } => ("completed", Some(unix_s), None, None),
            Self::Incomplete { reason } => ("incomplete", None, None, Some(reason)),
            Self::Failed { code, message } => ("failed", None, Some((code, message)), None),
        };
        write!(f, "\"status\":\"{status}\",")?;
        match completed_at {
            Some(unix_s) => write!(f, "\"completed_at\":{unix_s},")?,
            None => f.write_str("\"completed_at\":null,")?,
        }
        match error {
            Some((code, message)) => write!(f, "\"error\":{{\"code\":{code},\"message\":{message}}},")?,
            None => f.write_str("\"error\":null,")?,
        }
        match details {
            Some(reason) => write!(f, "\"incomplete_details\":{{\"reason\":\"{reason}\"}}"),
            None => f.write_str("\"incomplete_details\":null"),
        }
    }
}

fn figures(f: &mut Formatter<'_>, usage: &Usage) -> fmt::Result {
    let Usage { prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd } =
        usage;
    let total = prompt_tokens.saturating_add(*completion_tokens);
    write!(f, "{{\"input_tokens\":{prompt_tokens},\"input_tokens_details\":{{\"cached_tokens\":{cached_tokens},")?;
    write!(f, "\"cache_write_tokens\":{cache_write_tokens}}},\"output_tokens\":{completion_tokens},")?;
    write!(f, "\"output_tokens_details\":{{\"reasoning_tokens\":{reasoning_tokens}}},\"total_tokens\":{total},")?;
    write!(f, "\"cost\":{}}}", dollars(*cost_nano_usd))
}
