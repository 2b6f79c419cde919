//! The control stream between one node and one gateway replica: a JSON object a line, both ways.
//!
//! Limits are cumulative, like a stream limit in QUIC: a replica may dispatch weight `w` while
//! `sent + w ≤ limit`. A lost, late or repeated frame can therefore never mint a slot.

use serde::{Deserialize, Serialize};

/// Longest line either side accepts, in bytes.
pub const MAX_LINE: usize = 4_096;

/// How busy an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Load {
    /// The highest dispatch number this node has seen from this replica: the replica's own
    /// increments up to it are already counted here.
    pub seen: u64,
    /// Requests being answered.
    pub running: u32,
    /// Requests waiting inside the engine.
    #[serde(default)]
    pub queued: u32,
    /// Prompt tokens not yet read.
    #[serde(default)]
    pub backlog_tokens: u32,
    /// Free KV memory in thousandths; 1000 when unknown.
    #[serde(default = "all_free")]
    pub kv_free_permille: u16,
}

const fn all_free() -> u16 {
    1_000
}

/// What a node tells a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NodeFrame {
    /// Sent on change, coalesced.
    Load(Load),
    /// The replica may have dispatched this much weight since the stream began; never falls.
    Limit {
        /// Cumulative weight.
        limit: u64,
    },
    /// The node asks for unused credits back; the replica answers with [`ReplicaFrame::Yield`].
    Recall {
        /// How many it would like.
        count: u64,
    },
}

/// What a replica tells a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReplicaFrame {
    /// First frame of a stream: counters start over on both sides.
    Hello {
        /// Weight dispatched so far that is still running.
        running: u64,
    },
    /// The replica lowers its own limit to this and will not dispatch beyond it.
    Yield {
        /// Cumulative weight.
        limit: u64,
    },
    /// Requests are waiting for slots.
    Want {
        /// Their weight together; zero takes the wish back.
        weight: u64,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_wire_form() {
        let golden = [
            (serde_json::to_string(&NodeFrame::Limit { limit: 8 }).unwrap(), r#"{"type":"limit","limit":8}"#),
            (serde_json::to_string(&NodeFrame::Recall { count: 2 }).unwrap(), r#"{"type":"recall","count":2}"#),
            (
                serde_json::to_string(&NodeFrame::Load(Load { seen: 3, running: 2, ..Load::default() })).unwrap(),
                r#"{"type":"load","seen":3,"running":2,"queued":0,"backlog_tokens":0,"kv_free_permille":0}"#,
            ),
            (serde_json::to_string(&ReplicaFrame::Hello { running: 0 }).unwrap(), r#"{"type":"hello","running":0}"#),
            (serde_json::to_string(&ReplicaFrame::Yield { limit: 4 }).unwrap(), r#"{"type":"yield","limit":4}"#),
            (serde_json::to_string(&ReplicaFrame::Want { weight: 1 }).unwrap(), r#"{"type":"want","weight":1}"#),
        ];
        for (written, expected) in golden {
            assert_eq!(written, expected);
            assert!(written.len() < MAX_LINE);
        }
    }
}
