//! The closing check: what customers were told they spent is what the ledger says they spent.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use http::StatusCode;
use protocol::NanoUsd;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::code_of;
use crate::client::Client;
use crate::record::Record;
use crate::{Error, decimal};

/// How long the books may take to catch up: with fast acknowledgement they follow the answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct Credits<'a> {
    #[serde(borrow)]
    total_usage: &'a RawValue,
}

#[derive(Deserialize)]
struct Generation<'a> {
    #[serde(borrow)]
    total_cost: &'a RawValue,
}

/// What the ledger says the client's organization has used so far.
///
/// # Errors
/// The call fails, or the amount is not exact.
pub async fn total_usage(client: &Client) -> Result<NanoUsd, Error> {
    let call = "GET /v1/credits";
    let (status, body) = client.get("/v1/credits").await?;
    if status != StatusCode::OK {
        return Err(Error::call(call, format_args!("answered {status} ({})", code_of(&body))));
    }
    let credits: Data<Credits<'_>> = serde_json::from_slice(&body).map_err(|error| Error::call(call, error))?;
    Ok(decimal::parse(credits.data.total_usage.get())?)
}

/// What one generation cost, or `None` while the ledger does not know it.
async fn cost_of(client: &Client, id: &str) -> Result<Option<NanoUsd>, Error> {
    let call = format!("/v1/generation?id={id}");
    let (status, body) = client.get(&call).await?;
    match status {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::OK => {
            let found: Data<Generation<'_>> =
                serde_json::from_slice(&body).map_err(|error| Error::call(call, error))?;
            Ok(Some(decimal::parse(found.data.total_cost.get())?))
        }
        _ => Err(Error::call(call, format_args!("answered {status} ({})", code_of(&body)))),
    }
}

/// Both sides of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Σ `usage.cost` over the answers that carried one.
    pub seen: NanoUsd,
    /// Σ of what `/v1/generation` says of answers whose cost the client did not see.
    pub looked_up: NanoUsd,
    /// How many those were.
    pub looked_up_count: usize,
    /// How many of those the ledger does not know: nothing was billed for them.
    pub unknown: usize,
    /// How much the ledger's total use rose.
    pub booked: NanoUsd,
}

impl Verdict {
    /// Not a billionth of a dollar apart.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.seen.checked_add(self.looked_up) == Some(self.booked)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.agrees() { "PASS" } else { "FAIL" };
        write!(f, "money {word}: clients saw {} USD", self.seen)?;
        if self.looked_up_count > 0 {
            write!(f, " + {} looked up for {} they left or lost", self.looked_up, self.looked_up_count)?;
            if self.unknown > 0 {
                write!(f, " ({} of them never billed)", self.unknown)?;
            }
        }
        write!(f, ", the ledger's use rose by {} USD", self.booked)
    }
}

/// Compares what the clients saw since `before` with the ledger, giving it time to catch up. Nobody
/// else may spend from the same organization meanwhile.
///
/// # Errors
/// A call fails, or an amount is not exact. Disagreement is a [`Verdict`], not an error.
pub async fn check(client: &Client, before: NanoUsd, record: &Record) -> Result<Verdict, Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut open: BTreeSet<&str> = record.unpriced.iter().map(String::as_str).collect();
    let looked_up_count = open.len();
    let mut looked_up = NanoUsd::ZERO;
    loop {
        for id in open.clone() {
            if let Some(cost) = cost_of(client, id).await? {
                looked_up = looked_up.saturating_add(cost);
                open.remove(id);
            }
        }
        let booked = total_usage(client).await?.saturating_sub(before);
        let verdict = Verdict { seen: record.cost, looked_up, looked_up_count, unknown: open.len(), booked };
        if verdict.agrees() || Instant::now() >= deadline {
            return Ok(verdict);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
