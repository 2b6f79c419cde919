//! Every number an operator may change, with its unit in its name.

use serde::{Deserialize, Serialize};

/// Settings of placement, admission and measuring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Least time between two rebuilds of the snapshot.
    pub rebuild_ms: u64,
    /// All rows are read again this often, whatever notifications said.
    pub reload_ms: u64,
    /// Concurrent requests a direct node starts with, before anything was learned.
    pub direct_start: u32,
    /// Concurrent requests a node behind a tunnel starts with: its credits bound it as well, so with more, but a
    /// credit is only its word.
    pub tunnel_start: u32,
    /// Concurrent requests allowed where a provider declares no limit.
    pub undeclared_concurrency: u32,
    /// Gateway replicas that share what direct nodes can take.
    pub replicas: u32,
    /// Longest wait for a credit, default and priority tiers.
    pub wait_ms: u64,
    /// Longest wait for a credit, flex tier.
    pub wait_flex_ms: u64,
    /// How a machine is assumed to perform before it was measured.
    pub prior: Prior,
    /// Timers and limits of one answer.
    pub attempt: AttemptConfig,
}

/// What is believed of an offer nobody has measured yet: modest on purpose, so a newcomer is tried
/// without drawing a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prior {
    /// Seconds to the first token of an empty prompt.
    pub base_s: f64,
    /// Prompt tokens read per second on an idle engine.
    pub prefill_tokens_per_s: f64,
    /// Seconds per output token, alone.
    pub tpot_s: f64,
    /// Seconds per output token added by each other request.
    pub tpot_step_s: f64,
    /// Share of requests that succeed.
    pub success: f64,
    /// Mean seconds until a node leaves.
    pub life_s: f64,
}

/// Timers and limits of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttemptConfig {
    /// Connecting to a direct node.
    pub connect_direct_ms: u64,
    /// Opening a stream on a tunnel that is already up.
    pub connect_tunnel_ms: u64,
    /// Least time allowed to the first content.
    pub first_content_min_ms: u64,
    /// Most time allowed to the first content.
    pub first_content_max_ms: u64,
    /// First content, all attempts together.
    pub first_content_total_ms: u64,
    /// Least silence allowed between tokens.
    pub gap_min_ms: u64,
    /// Most silence allowed between tokens.
    pub gap_max_ms: u64,
    /// The whole answer.
    pub total_ms: u64,
    /// Offers tried for one answer.
    pub most_attempts: u32,
    /// An ordered list of offers older than this is placed anew before the next attempt.
    pub plan_fresh_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rebuild_ms: 100,
            reload_ms: 30_000,
            direct_start: 4,
            tunnel_start: 16,
            undeclared_concurrency: 32,
            replicas: 1,
            wait_ms: 2_000,
            wait_flex_ms: 30_000,
            prior: Prior::default(),
            attempt: AttemptConfig::default(),
        }
    }
}

impl Default for Prior {
    fn default() -> Self {
        Self {
            base_s: 0.3,
            prefill_tokens_per_s: 2_000.0,
            tpot_s: 0.03,
            tpot_step_s: 0.002,
            success: 0.97,
            life_s: 24.0 * 3_600.0,
        }
    }
}

impl Default for AttemptConfig {
    fn default() -> Self {
        Self {
            connect_direct_ms: 2_000,
            connect_tunnel_ms: 500,
            first_content_min_ms: 5_000,
            first_content_max_ms: 60_000,
            first_content_total_ms: 120_000,
            gap_min_ms: 3_000,
            gap_max_ms: 15_000,
            total_ms: 900_000,
            most_attempts: 4,
            plan_fresh_ms: 250,
        }
    }
}
