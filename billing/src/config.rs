//! What an operator may change about money, each with its unit in the name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything billing reads from configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How settled requests reach the books.
    pub settlement: Settling,
    /// How credit is lent to this replica.
    pub lease: Leasing,
    /// How often the loops beside the request path run.
    pub loops: Loops,
    /// Prices and the platform's share.
    pub pricing: Pricing,
    /// Statements and receipts.
    pub documents: Documents,
}

/// When a settled request counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckMode {
    /// After its transaction has committed: whoever saw a complete answer is in the books.
    #[default]
    Durable,
    /// At once: a crash may lose what the buffer held, at the platform's cost.
    Fast,
}

/// The settle buffer and its writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settling {
    /// What the end of an answer waits for.
    pub ack: AckMode,
    /// The longest an answer waits for its commit.
    pub ack_timeout_ms: u64,
    /// Under `fast`, where nobody waits for a commit, rows gather this long before they are written together:
    /// fewer, larger transactions. Under `durable` nothing is ever held back.
    pub fast_gather_ms: u64,
    /// Rows per transaction: past this a larger batch gains nothing and only delays the first row.
    pub batch_rows: usize,
    /// Admission stops above this many unwritten rows: about a second of the fastest writing measured.
    pub max_queued_rows: usize,
    /// Admission stops when a row has waited this long.
    pub max_queued_ms: u64,
    /// How long an orderly stop waits for the buffer to empty.
    pub drain_timeout_ms: u64,
}

/// Leases on accounts and budgets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Leasing {
    /// How long a lease lives without renewal.
    pub ttl_s: u32,
    /// How often all leases are renewed: three chances within one life.
    pub renew_s: u32,
    /// This much before expiry the replica stops using a lease, for clocks that differ.
    pub margin_s: u32,
    /// An expired lease is reaped after this: the longest request (900 s) and a minute.
    pub grace_s: u32,
    /// The most of an account's available money one loan takes beyond the hold at hand, in basis points.
    pub share_bps: u32,
    /// How long a request waits for idle money before it is refused.
    pub recall_wait_ms: u64,
    /// The longest a request waits for a loan altogether, as while the database is away.
    pub borrow_timeout_ms: u64,
    /// A lease nobody used for this long goes back.
    pub idle_s: u32,
}

/// Periods of the loops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loops {
    /// Adds new postings and usage to the folds.
    pub fold_ms: u64,
    /// Takes what was spent from the grants, and expired gifts from the accounts.
    pub burn_ms: u64,
    /// Closes leases that outlived their grace.
    pub reap_ms: u64,
    /// Makes partitions for the days ahead.
    pub partitions_ms: u64,
    /// Reads newly posted prices.
    pub prices_ms: u64,
    /// Compares what nodes reported with what was counted here.
    pub reports_ms: u64,
    /// Issues receipts, and statements of months that are over.
    pub documents_ms: u64,
    /// Looks whether the books are to be checked, which they are once a night, and tells what came of it last.
    pub reconcile_ms: u64,
}

/// Statements and receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Documents {
    /// Who issues them, as it stands on each: a name and, where the law wants it, an address.
    pub issuer: String,
}

/// Prices and the platform's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pricing {
    /// The platform's share of a model without a rate of its own, in basis points of the provider's price.
    pub default_take_bps: u32,
    /// How long a posted rise waits before it acts.
    pub rise_delay_s: u32,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            ack: AckMode::Durable,
            ack_timeout_ms: 2_000,
            fast_gather_ms: 10,
            batch_rows: 500,
            max_queued_rows: 20_000,
            max_queued_ms: 10_000,
            drain_timeout_ms: 30_000,
        }
    }
}

impl Default for Leasing {
    fn default() -> Self {
        Self {
            ttl_s: 60,
            renew_s: 20,
            margin_s: 5,
            grace_s: 960,
            share_bps: 500,
            recall_wait_ms: 250,
            borrow_timeout_ms: 2_000,
            idle_s: 60,
        }
    }
}

impl Default for Loops {
    fn default() -> Self {
        Self {
            fold_ms: 1_000,
            burn_ms: 60_000,
            reap_ms: 30_000,
            partitions_ms: 3_600_000,
            prices_ms: 2_000,
            reports_ms: 30_000,
            documents_ms: 60_000,
            reconcile_ms: 60_000,
        }
    }
}

impl Default for Documents {
    fn default() -> Self {
        Self { issuer: "Steelyard".to_owned() }
    }
}

impl Default for Pricing {
    fn default() -> Self {
        Self { default_take_bps: 1_000, rise_delay_s: 300 }
    }
}

impl Leasing {
    /// How long this replica itself trusts a lease after asking for it.
    pub(crate) fn usable(&self) -> Duration {
        Duration::from_secs(u64::from(self.ttl_s.saturating_sub(self.margin_s)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused() {
        let parsed: Config = serde_json::from_str(r#"{"settlement":{"ack":"fast"}}"#).unwrap();
        assert_eq!(parsed.settlement.ack, AckMode::Fast);
        assert_eq!(parsed.lease, Leasing::default());
        assert!(serde_json::from_str::<Config>(r#"{"settlement":{"akc":"fast"}}"#).is_err());
    }
}
