//! How the processor misbehaves, settable while it runs.

use serde::{Deserialize, Serialize};

use crate::books::RefundsGo;

/// Everything that can be turned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Every call of the API takes at least this long.
    pub latency_ms: u64,
    /// Tax on sessions that ask for it, in basis points.
    pub tax_bps: i64,
    /// What becomes of a refund at once.
    pub refunds: RefundsGo,
    /// Calls that go wrong, each for the next ones it fits.
    pub faults: Vec<Fault>,
    /// How webhooks are sent.
    pub webhooks: Webhooks,
}

/// A call that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `GET` or `POST`; both when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// What the path after `/v1/` begins with; any when empty.
    #[serde(default)]
    pub path: String,
    /// How many calls.
    pub times: u32,
    /// What happens.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429, and nothing is done.
    RateLimited,
    /// 500, nothing is done, and the key stays free.
    ErrorBefore,
    /// It is done, but 500 is said, and said again to the same key.
    ErrorAfterCommit,
    /// It is done, and nothing is ever said.
    SilenceAfterCommit,
    /// It is done, and the connection breaks within the answer.
    CutAfterCommit,
    /// Not even the request is taken in: nothing is done and nothing said.
    SilenceBefore,
    /// It is done, and what is said can't be read.
    GarbageAfterCommit,
}

/// How webhooks are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// Where to; nowhere when absent.
    pub url: Option<String>,
    /// What they are signed with.
    pub secret: String,
    /// Sent so many times more than once.
    pub duplicates: u32,
    /// Each waits this long.
    pub delay_ms: u64,
    /// And up to so much more, each for itself: later events overtake.
    pub jitter_ms: u64,
    /// Of a thousand, so many are never sent; they are in the list of events only.
    pub lose_permille: u32,
    /// Of a thousand, so many carry a wrong signature the first time.
    pub missign_permille: u32,
    /// How long until one that was not taken is sent again.
    pub retry_ms: u64,
    /// How often one is sent at most.
    pub attempts: u32,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            url: None,
            secret: "whsec_fake".to_owned(),
            duplicates: 0,
            delay_ms: 0,
            jitter_ms: 0,
            lose_permille: 0,
            missign_permille: 0,
            retry_ms: 500,
            attempts: 8,
        }
    }
}

impl Knobs {
    /// The fault of this call, if it has one; used up by it.
    pub fn take_fault(&mut self, method: &str, path: &str) -> Option<FaultKind> {
        let fits = |fault: &Fault| {
            fault.times > 0
                && fault.method.as_deref().is_none_or(|wanted| wanted == method)
                && path.starts_with(&fault.path)
        };
        let fault = self.faults.iter_mut().find(|fault| fits(fault))?;
        fault.times -= 1;
        let kind = fault.kind;
        self.faults.retain(|fault| fault.times > 0);
        Some(kind)
    }
}
