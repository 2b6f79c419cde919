//! What a token is worth by its feed, and when nobody should believe it.

use std::collections::HashMap;

use billing::ChainConfig;
use billing::payout::{NoPrice, PriceReference as _};
use billing::rail::{Feed, FeedConfig};
use protocol::Timestamp;
use protocol::statement::PriceRef;
use protocol::wallet::Address;
use serde_json::{Value, json};

use super::anvil::{Act, Proxy};
use crate::fixture::nano;

/// The moment that is asked about, in Unix seconds.
const AT: u64 = 1_780_000_000;
const FEED: Address = Address::from_bytes([1; 20]);
const OTHER: Address = Address::from_bytes([2; 20]);
const SEQUENCER: Address = Address::from_bytes([3; 20]);
/// Eight digits, as most feeds have.
const DOLLAR: i64 = 100_000_000;

/// Answers of feeds, oldest first, each with its moment relative to [`AT`].
type Told = HashMap<Address, Vec<(i64, i64)>>;

fn config() -> FeedConfig {
    FeedConfig {
        address: FEED,
        heartbeat_s: 3_600,
        least_micro_usd: 100_000,
        most_micro_usd: 10_000_000,
        second: None,
        sequencer: None,
        deviation_bps: 200,
        is_stable: false,
    }
}

/// Asks a feed that told so.
async fn ask(config: FeedConfig, told: Told) -> Result<PriceRef, NoPrice> {
    let proxy = Proxy::start("http://127.0.0.1:9").await;
    proxy.judge(move |_, params| answer(&told, params));
    let chain = ChainConfig { rpc_url: Some(proxy.url.clone().into()), feed: Some(config), ..ChainConfig::default() };
    let feed = Feed::open(&chain, 1, 6).unwrap().expect("a feed is set");
    feed.price(Timestamp::from_unix_seconds(AT.cast_signed())).await
}

fn answer(told: &Told, params: &Value) -> Act {
    let (to, data) = (params[0]["to"].as_str().unwrap(), params[0]["data"].as_str().unwrap());
    let Some(rounds) = told.get(&to.parse::<Address>().unwrap()) else { return Act::Refuse };
    let wanted = match &data[..10] {
        "0x313ce567" => return Act::Say(json!(format!("0x{:064x}", 8))),
        "0xfeaf968c" => rounds.len(),
        "0x9a6fc8f5" => usize::from_str_radix(&data[58..], 16).unwrap(),
        other => panic!("nobody asks for {other}"),
    };
    let Some((answer, since)) = wanted.checked_sub(1).and_then(|at| rounds.get(at)) else { return Act::Refuse };
    let at = AT.checked_add_signed(*since).unwrap();
    let answer = if *answer < 0 { format!("{}{answer:016x}", "f".repeat(48)) } else { format!("{answer:064x}") };
    Act::Say(json!(format!("0x{wanted:064x}{answer}{at:064x}{at:064x}{wanted:064x}")))
}

fn feed(rounds: &[(i64, i64)]) -> Told {
    Told::from([(FEED, rounds.to_vec())])
}

/// Why there is no price.
async fn doubt(config: FeedConfig, told: Told) -> String {
    match ask(config, told).await {
        Err(NoPrice::Doubtful(reason)) => reason,
        other => panic!("it is not in doubt: {other:?}"),
    }
}

#[tokio::test]
async fn the_price_is_the_last_one_of_its_moment_however_late_it_is_asked() {
    let rounds = [(2 * DOLLAR, -4_000), (5 * DOLLAR / 2, -60), (9 * DOLLAR, 30), (9 * DOLLAR, 90_000)];
    let price = ask(config(), feed(&rounds)).await.unwrap();
    assert_eq!((price.usd_per_token, price.decimals), (nano(2_500_000_000), 6));
    assert_eq!(price.observed_at, (AT - 60).cast_signed());
    assert_eq!(price.source, format!("chainlink:1:{FEED}/2"));
}

#[tokio::test]
async fn a_stale_feed_is_in_doubt() {
    let fresh = ask(config(), feed(&[(DOLLAR, -4_200)])).await;
    assert!(fresh.is_ok(), "its transaction had to be mined");
    assert!(doubt(config(), feed(&[(DOLLAR, -4_201)])).await.contains("4201 s before"));
    assert!(doubt(config(), feed(&[(DOLLAR, 5)])).await.contains("keeps no answer before"));
}

#[tokio::test]
async fn a_wild_answer_is_in_doubt() {
    for answer in [0, -DOLLAR] {
        assert!(doubt(config(), feed(&[(answer, -60)])).await.contains("says"), "{answer}");
    }
    for answer in [DOLLAR / 10 - 1, 10 * DOLLAR + 1] {
        assert!(doubt(config(), feed(&[(answer, -60)])).await.contains("out of bounds"), "{answer}");
    }
}

#[tokio::test]
async fn a_dollar_off_its_peg_is_in_doubt_and_within_a_percent_it_is_a_dollar() {
    let stable = || FeedConfig { is_stable: true, ..config() };
    for answer in [DOLLAR * 99 / 100, DOLLAR * 101 / 100] {
        let price = ask(stable(), feed(&[(answer, -60)])).await.unwrap();
        assert_eq!(price.usd_per_token, nano(1_000_000_000), "{answer}");
    }
    assert!(doubt(stable(), feed(&[(DOLLAR * 97 / 100, -60)])).await.contains("meant to be a dollar"));
}

#[tokio::test]
async fn another_venue_must_say_about_the_same_on_average_over_half_an_hour() {
    let two = || FeedConfig { second: Some(OTHER), ..config() };
    let told = |other: &[(i64, i64)]| Told::from([(FEED, vec![(2 * DOLLAR, -60)]), (OTHER, other.to_vec())]);
    // Half of the time 1.90, half of it 2.10: 2.00.
    let level = told(&[(19 * DOLLAR / 10, -9_000), (21 * DOLLAR / 10, -900)]);
    assert!(ask(two(), level).await.is_ok());
    // A spike of a minute moves the average little; half an hour of it does.
    assert!(ask(two(), told(&[(2 * DOLLAR, -9_000), (3 * DOLLAR, -60)])).await.is_ok());
    assert!(doubt(two(), told(&[(2 * DOLLAR, -9_000), (3 * DOLLAR, -1_700)])).await.contains("on average"));
}

#[tokio::test]
async fn prices_of_a_rollup_whose_sequencer_was_away_are_in_doubt() {
    let rollup = || FeedConfig { sequencer: Some(SEQUENCER), ..config() };
    let told = |state: i64, since: i64| Told::from([(FEED, vec![(DOLLAR, -60)]), (SEQUENCER, vec![(state, since)])]);
    assert!(ask(rollup(), told(0, -7_200)).await.is_ok());
    assert!(doubt(rollup(), told(1, -7_200)).await.contains("is down"));
    assert!(doubt(rollup(), told(0, -600)).await.contains("was down"));
}

#[tokio::test]
async fn a_feed_that_can_t_be_reached_holds_nothing() {
    let chain = ChainConfig {
        rpc_url: Some("http://127.0.0.1:9".to_owned().into()),
        feed: Some(config()),
        ..ChainConfig::default()
    };
    let feed = Feed::open(&chain, 1, 6).unwrap().expect("a feed is set");
    let asked = feed.price(Timestamp::from_unix_seconds(AT.cast_signed())).await;
    assert!(matches!(asked, Err(NoPrice::Away(_))), "{asked:?}");
}
