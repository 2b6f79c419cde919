//! What a token is worth, by a price feed on its chain: as of a moment, and only while nothing about it is in doubt.

use alloy_primitives::{Address, I256, U256};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use onchain::Endpoint;
use onchain::contract::{Aggregator, theirs};
use protocol::statement::PriceRef;
use protocol::{NanoUsd, Timestamp};

use crate::Error;
use crate::payout::{NoPrice, PriceReference};
use crate::rail::{ChainConfig, FeedConfig};

/// How late a feed may be beyond its heartbeat: its own transaction has to be mined, too.
const MARGIN_S: u64 = 600;
/// After a rollup's sequencer came back, feeds are not believed for so long: they had no chance to move.
const SEQUENCER_GRACE_S: u64 = 3_600;
/// What the other venue is averaged over.
const AVERAGED_S: u64 = 1_800;
/// Answers looked at, newest first: a busy feed gives one every few seconds, and an epoch is priced within the hour.
const MOST_ROUNDS: u32 = 500;
/// How far from a dollar a token that is meant to be one may be, in hundredths of a percent.
const PEG_BPS: u32 = 100;
/// Digits behind the point of what gas is paid with.
pub const GAS_DECIMALS: u8 = 18;
/// A dollar, in nano-USD.
const DOLLAR: i128 = 1_000_000_000;

/// A price feed.
#[derive(Debug, Clone)]
pub struct Feed {
    endpoint: Endpoint,
    config: FeedConfig,
    chain_id: u64,
    decimals: u8,
}

/// One answer of a feed.
#[derive(Debug, Clone, Copy)]
struct Round {
    id: u128,
    answer: I256,
    at: u64,
}

impl Feed {
    /// The feed of the configuration; `None` where none is set. It need not be reachable yet.
    ///
    /// # Errors
    /// [`Error::Chain`] for an address that is none.
    pub fn open(config: &ChainConfig, chain_id: u64, token_decimals: u8) -> Result<Option<Self>, Error> {
        Self::of(config, config.feed.as_ref(), chain_id, token_decimals)
    }

    /// The feed of what gas is paid with, likewise.
    pub(super) fn of_gas(config: &ChainConfig, chain_id: u64) -> Result<Option<Self>, Error> {
        Self::of(config, config.gas_feed.as_ref(), chain_id, GAS_DECIMALS)
    }

    fn of(config: &ChainConfig, feed: Option<&FeedConfig>, chain_id: u64, decimals: u8) -> Result<Option<Self>, Error> {
        let (Some(url), Some(feed)) = (&config.rpc_url, feed) else { return Ok(None) };
        let endpoint = Endpoint::new(url, "first", config.timeout())?;
        Ok(Some(Self { endpoint, config: feed.clone(), chain_id, decimals }))
    }

    async fn ask(&self, at: Timestamp) -> Result<PriceRef, NoPrice> {
        let at = u64::try_from(at.unix_seconds()).unwrap_or(0);
        self.check_sequencer(at).await?;
        let feed = self.config.address;
        let round = self.answered(theirs(feed), at).await?;
        if at - round.at > self.config.heartbeat_s + MARGIN_S {
            return doubt(format!("feed {feed} was last heard {} s before", at - round.at));
        }
        let found = self.worth(theirs(feed), round.answer).await?;
        let (least, most) = (micro(self.config.least_micro_usd), micro(self.config.most_micro_usd));
        if found < least || found > most {
            return doubt(format!("feed {feed} says {}, which is out of bounds", in_words(found)));
        }
        self.check_other(found, at).await?;
        let worth = if self.config.is_stable { pegged(found)? } else { found };
        let usd_per_token = i64::try_from(worth).ok().and_then(NanoUsd::new);
        Ok(PriceRef {
            source: format!("chainlink:{}:{feed}/{}", self.chain_id, round.id),
            usd_per_token: usd_per_token.ok_or_else(|| NoPrice::Doubtful("no amount can hold it".to_owned()))?,
            decimals: self.decimals,
            observed_at: i64::try_from(round.at).unwrap_or(i64::MAX),
        })
    }

    /// On a rollup whose sequencer was away, prices are those of before.
    async fn check_sequencer(&self, at: u64) -> Result<(), NoPrice> {
        let Some(feed) = self.config.sequencer else { return Ok(()) };
        let told = self.endpoint.view(theirs(feed), Aggregator::latestRoundDataCall {}).await.map_err(away)?;
        let since = told.startedAt.saturating_to::<u64>();
        if !told.answer.is_zero() {
            return doubt("the sequencer is down".to_owned());
        }
        // It came back after the moment asked for: what was known then was known without it.
        if since.saturating_add(SEQUENCER_GRACE_S) > at {
            return doubt("the sequencer was down until shortly before".to_owned());
        }
        Ok(())
    }

    /// Another venue must say about the same, on average.
    async fn check_other(&self, found: i128, at: u64) -> Result<(), NoPrice> {
        let Some(feed) = self.config.second else { return Ok(()) };
        let average = self.average(theirs(feed), at).await?;
        if apart(found, average, self.config.deviation_bps) {
            let (one, other) = (in_words(found), in_words(average));
            return doubt(format!("one venue says {one}, the other {other} on average"));
        }
        Ok(())
    }

    /// The last answer given at a moment: the same, whenever it is asked for.
    async fn answered(&self, feed: Address, at: u64) -> Result<Round, NoPrice> {
        let mut round = self.newest(feed).await?;
        for _ in 0..MOST_ROUNDS {
            if round.at <= at {
                return Ok(round);
            }
            round = self.before(feed, round).await?;
        }
        doubt(format!("feed {feed} has answered too often since"))
    }

    /// In nano-USD, each answer weighted with how long it was the last one.
    async fn average(&self, feed: Address, at: u64) -> Result<i128, NoPrice> {
        let (mut round, mut until, mut sum) = (self.answered(feed, at).await?, at, 0_i128);
        let begin = at.saturating_sub(AVERAGED_S);
        for _ in 0..MOST_ROUNDS {
            let since = round.at.max(begin);
            sum += self.worth(feed, round.answer).await? * i128::from(until.saturating_sub(since));
            if round.at <= begin {
                return Ok(sum / i128::from(AVERAGED_S));
            }
            until = since;
            round = self.before(feed, round).await?;
        }
        doubt(format!("feed {feed} has answered too often"))
    }

    async fn newest(&self, feed: Address) -> Result<Round, NoPrice> {
        let told = self.endpoint.view(feed, Aggregator::latestRoundDataCall {}).await.map_err(away)?;
        round(feed, told.roundId.to::<u128>(), told.answer, told.updatedAt)
    }

    async fn before(&self, feed: Address, later: Round) -> Result<Round, NoPrice> {
        let wanted = later.id.checked_sub(1).map(alloy_primitives::Uint::<80, 2>::from);
        let Some(wanted) = wanted else { return doubt(format!("feed {feed} has no earlier answer")) };
        let told = self.endpoint.view(feed, Aggregator::getRoundDataCall { round: wanted }).await;
        match told {
            Ok(told) => round(feed, told.roundId.to::<u128>(), told.answer, told.updatedAt),
            // Answers of before its last change of software are kept elsewhere.
            Err(onchain::Error::Refuses { .. }) => doubt(format!("feed {feed} keeps no answer before {}", later.id)),
            Err(error) => Err(away(error)),
        }
    }

    /// An answer in nano-USD.
    async fn worth(&self, feed: Address, answer: I256) -> Result<i128, NoPrice> {
        let digits = self.endpoint.view(feed, Aggregator::decimalsCall {}).await.map_err(away)?;
        let unit = 10_i128.checked_pow(digits.into());
        let nano =
            i128::try_from(answer).ok().zip(unit).and_then(|(answer, unit)| Some(answer.checked_mul(DOLLAR)? / unit));
        nano.ok_or_else(|| NoPrice::Doubtful(format!("feed {feed} says {answer}")))
    }
}

impl PriceReference for Feed {
    fn price(&self, at: Timestamp) -> BoxFuture<'_, Result<PriceRef, NoPrice>> {
        self.ask(at).boxed()
    }
}

fn away(error: onchain::Error) -> NoPrice {
    NoPrice::Away(error.into())
}

fn round(feed: Address, id: u128, answer: I256, at: U256) -> Result<Round, NoPrice> {
    if answer <= I256::ZERO || at.is_zero() {
        return doubt(format!("feed {feed} says {answer}"));
    }
    Ok(Round { id, answer, at: at.saturating_to() })
}

fn doubt<T>(reason: String) -> Result<T, NoPrice> {
    Err(NoPrice::Doubtful(reason))
}

/// A token meant to be a dollar is one, while its feed about says so.
fn pegged(found: i128) -> Result<i128, NoPrice> {
    if apart(found, DOLLAR, PEG_BPS) {
        return doubt(format!("it is meant to be a dollar and worth {}", in_words(found)));
    }
    Ok(DOLLAR)
}

/// Whether two are more than so many hundredths of a percent of the second apart.
const fn apart(one: i128, other: i128, bps: u32) -> bool {
    (one - other).abs().saturating_mul(10_000) > other.saturating_mul(bps as i128)
}

fn micro(usd: u64) -> i128 {
    i128::from(usd) * 1_000
}

fn in_words(nano: i128) -> String {
    format!("{}.{:09} dollars", nano / DOLLAR, nano % DOLLAR)
}
