//! What this provider earned, and where its money is.

use std::fmt;

use http::Method;
use protocol::purse::{Balance, TokenBalance};
use protocol::{NanoUsd, ProviderId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::config::NodeConfig;
use crate::session::provider_key;
use crate::{Error, purse};

const DAY_S: i64 = 86_400;
/// Days on a page, as the broker has them at most.
const PAGE_DAYS: u32 = 31;
/// Longest time that is added up: a dozen calls.
pub const MAX_DAYS: u32 = 366;

/// Earnings of some days, and the balance after all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Earnings {
    /// How many days, today included.
    pub days: u32,
    /// Dispatches, failed ones too.
    pub attempts: u64,
    /// What users paid for the work.
    pub gross_usd: NanoUsd,
    /// The broker's share of it.
    pub fee_usd: NanoUsd,
    /// What is left of it.
    pub net_usd: NanoUsd,
    /// Everything since the beginning.
    pub balance: Balance,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Bucket>,
    next_page: Option<String>,
}

#[derive(Deserialize)]
struct Bucket {
    results: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    attempts: u64,
    gross: NanoUsd,
    fee: NanoUsd,
    net: NanoUsd,
}

/// Asks the broker for the last `days` and for the balance.
///
/// # Errors
/// [`Error::Config`] without a key; [`Error::Key`] when the broker doesn't take it; [`Error::Unreachable`].
pub async fn fetch(config: &NodeConfig, days: u32, now: Timestamp) -> Result<Earnings, Error> {
    let (client, key) = (Client::new(&config.broker)?, provider_key(config)?);
    let today = now.unix_seconds().div_euclid(DAY_S) * DAY_S;
    let start = today - i64::from(days.clamp(1, MAX_DAYS) - 1) * DAY_S;
    let mut earnings = Earnings {
        days,
        attempts: 0,
        gross_usd: NanoUsd::ZERO,
        fee_usd: NanoUsd::ZERO,
        net_usd: NanoUsd::ZERO,
        balance: purse::balance(&client, config.provider, key).await?,
    };
    let mut page = None;
    for _ in 0..=MAX_DAYS / PAGE_DAYS {
        let path = path(config.provider, start, today + DAY_S, page.as_deref());
        let (_, told) = client.call(Method::GET, path).provider(key).send::<Page>().await.map_err(purse::advise)?;
        told.data.iter().flat_map(|bucket| &bucket.results).for_each(|line| earnings.add(line));
        page = told.next_page;
        if page.is_none() {
            break;
        }
    }
    Ok(earnings)
}

fn path(provider: ProviderId, start: i64, end: i64, page: Option<&str>) -> String {
    let query = format!("start_time={start}&end_time={end}&bucket_width=1d&limit={PAGE_DAYS}");
    let page = page.map(|page| format!("&page={page}")).unwrap_or_default();
    format!("/v1/providers/{provider}/earnings?{query}{page}")
}

impl Earnings {
    fn add(&mut self, line: &Line) {
        self.attempts += line.attempts;
        self.gross_usd = self.gross_usd.saturating_add(line.gross);
        self.fee_usd = self.fee_usd.saturating_add(line.fee);
        self.net_usd = self.net_usd.saturating_add(line.net);
    }
}

/// A table for people.
impl fmt::Display for Earnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, amount: NanoUsd, words: &str| {
            writeln!(f, "{}", format!("  {name:<9} {:>16} USD  {words}", amount.to_string()).trim_end())
        };
        line("gross", self.gross_usd, &format!("what users paid in {} days, {} attempts", self.days, self.attempts))?;
        line("fee", self.fee_usd, "the broker's share")?;
        line("net", self.net_usd, "yours")?;
        let balance = &self.balance;
        let held = match balance.held_for.as_slice() {
            [] => "nothing is kept back".to_owned(),
            reasons => format!("kept back: {}", reasons.join(", ")),
        };
        line("pending", balance.pending_usd, "not released yet: its users may still dispute it")?;
        line("held", balance.held_usd, &held)?;
        line("released", balance.released_usd, &worth(&balance.tokens, "to claim", |token| token.released))?;
        line("paid", balance.paid_usd, &worth(&balance.tokens, "claimed", |token| token.paid))?;
        line("earned", balance.earned_usd, "all of it, since the beginning")?;
        for token in &balance.tokens {
            writeln!(f, "  token {} of chain {}, paid by {}", token.token, token.chain_id, token.distributor)?;
        }
        Ok(())
    }
}

/// How much of each token, in whole ones.
fn worth(tokens: &[TokenBalance], what: &str, of: impl Fn(&TokenBalance) -> protocol::token::TokenAmount) -> String {
    let told = tokens.iter().map(|token| (of(token), token)).filter(|(amount, _)| !amount.is_zero());
    let told = told.map(|(amount, token)| format!("{} tokens {what}", amount.in_tokens(token.decimals)));
    told.collect::<Vec<_>>().join(", ")
}
