//! Coins an operator books, and what they are worth at the end of a month.

use std::time::Duration;

use api::config::Config;
use api::store::audit::Actor;
use billing::account::{AccountKind, LedgerAccount};
use billing::ledger::{Cause, Coin, CoinPosting, CoinTransfer};
use billing::store::transfers;
use billing::{Month, reconcile};
use clap::Parser;
use protocol::token::TokenAmount;
use protocol::typed::Word;
use protocol::wallet::Address;
use serde_json::{Value, json};

use crate::support::TestApp;

const TOKEN: Address = Address::from_bytes([7; 20]);
const HASH: &str = "0xabababababababababababababababababababababababababababababababab";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: api::commands::admin::Args,
}

/// `steelyard admin treasury …` where providers are paid in a token, or what is said instead.
async fn treasury(test: &TestApp, words: &[&str]) -> Result<Value, String> {
    let mut config = Config::default();
    config.payouts.chain.token = TOKEN;
    treasury_with(test, &config, words).await
}

async fn treasury_with(test: &TestApp, config: &Config, words: &[&str]) -> Result<Value, String> {
    let line = Line::try_parse_from(["admin", "treasury"].iter().chain(words)).map_err(|error| error.to_string())?;
    let (db, env, actor) = (test.app.db.clone(), test.app.env.clone(), Actor::Operator("test".to_owned()));
    let done = api::commands::admin::execute_with(line.args, db, env, actor, None, config).await;
    done.map_err(|error| error.to_string())
}

async fn buy(test: &TestApp, coin: &str, amount: &str, usd: &str, reference: &str) -> Result<Value, String> {
    let words = ["buy", "--coin", coin, "--amount", amount, "--usd", usd, "--reference", reference];
    treasury(test, &words).await
}

/// What there is of a coin, as `show` has it: token first, then gas.
async fn shown(test: &TestApp, at: usize) -> Value {
    treasury(test, &["show"]).await.unwrap()[at].clone()
}

/// Targets and details of an action, oldest first.
async fn audited(test: &TestApp, action: &str) -> Vec<(String, Value)> {
    sqlx::query_as("select target, detail from audit_events where action = $1 and actor = 'test' order by event_id")
        .bind(action)
        .fetch_all(&test.app.db)
        .await
        .unwrap()
}

async fn postings(test: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from postings").fetch_one(&test.app.db).await.unwrap()
}

async fn assert_green(test: &TestApp) {
    let books = reconcile(&test.app.db).await.unwrap();
    assert!(books.is_green(), "{:?}", books.checks.iter().flat_map(|check| &check.differences).collect::<Vec<_>>());
}

/// A transaction that cost so many wei.
async fn spend(test: &TestApp, wei: u128) {
    let (gas, wallet) = (LedgerAccount::platform(AccountKind::GasExpense), Coin::Ether.held());
    let postings = CoinPosting::new(gas, wallet, TokenAmount::from(wei)).into_iter().collect();
    let (id, cause) = (test.app.env.mint(), Cause::Gas(Word([1; 32])));
    let spent = CoinTransfer { id, cause, coin: Coin::Ether, postings };
    transfers::book_coins(&mut test.app.db.acquire().await.unwrap(), &spent).await.unwrap();
}

#[tokio::test]
async fn a_purchase_is_booked_once_with_its_fee_and_leaves_a_trace() {
    let test = TestApp::start().await;
    let words = ["--amount", "1000.5", "--usd", "1001.20", "--fee-usd", "0.50", "--reference", HASH];
    let words = [&["buy", "--coin", "token"], &words[..]].concat();
    let mut told = json!({
        "coin": "token", "currency": Coin::Token(31_337, TOKEN).to_string(), "amount": "1000.5", "paid_usd": "1001.70",
        "reference": HASH, "booked_now": true,
    });
    assert_eq!(treasury(&test, &words).await.unwrap(), told);
    told["booked_now"] = false.into();
    let booked = postings(&test).await;
    assert_eq!(treasury(&test, &words).await.unwrap(), told, "the same again changes nothing");
    // A hash in large letters is the same hash.
    let again = buy(&test, "token", "1000.500", "1001.7", &HASH.replace("ab", "AB")).await.unwrap();
    assert_eq!(again, told);
    for (coin, amount, usd) in
        [("token", "1000.6", "1001.70"), ("token", "1000.5", "1001.71"), ("gas", "1000.5", "1001.70")]
    {
        let refused = buy(&test, coin, amount, usd, HASH).await.unwrap_err();
        assert!(refused.contains(HASH) && refused.contains("of other amounts"), "{refused}");
    }
    assert_eq!(postings(&test).await, booked);
    assert!(buy(&test, "gas", "0.000000000000000001", "0.01", "a wei").await.is_ok());
    let (token, gas) = (shown(&test, 0).await, shown(&test, 1).await);
    let stands = (&token["held"], &token["not_owed"], &token["cost_usd"], &token["valued_for"]);
    assert_eq!(stands, (&json!("1000.5"), &json!("1000.5"), &json!("1001.70"), &Value::Null));
    assert_eq!((&gas["held"], &gas["cost_usd"]), (&json!("0.000000000000000001"), &json!("0.01")));
    let traces = audited(&test, "treasury.bought").await;
    assert_eq!((traces.len(), traces[0].0.as_str(), &traces[0].1["fee_usd"]), (2, HASH, &json!("0.50")));
    assert_green(&test).await;
}

#[tokio::test]
async fn a_purchase_that_cant_be_meant_is_refused_and_books_nothing() {
    let test = TestApp::start().await;
    for (coin, amount, usd, reference, why) in [
        ("token", "0", "1", "a", "--amount: it must be above zero"),
        ("token", "-5", "1", "a", "--amount: an amount is decimal digits"),
        ("token", "1e3", "1", "a", "--amount: an amount is decimal digits"),
        ("token", "1,000", "1", "a", "--amount: an amount is decimal digits"),
        ("token", "", "1", "a", "--amount: an amount is decimal digits"),
        ("token", "1.0000001", "1", "a", "--amount: this coin has 6 digits behind the point"),
        ("gas", "1.0000000000000000001", "1", "a", "--amount: this coin has 18 digits behind the point"),
        ("token", "10000000.000001", "1", "a", "--amount: one purchase is of at most 10000000 whole coins"),
        ("gas", "10001", "1", "a", "--amount: one purchase is of at most 10000 whole coins"),
        ("token", "1", "0", "a", "--usd must be above zero"),
        ("token", "1", "-1", "a", "an amount is decimal digits"),
        ("token", "1", "1.0000000001", "a", "at most 9 decimal places"),
        ("token", "1", "10000000.01", "a", "one purchase takes at most 10000000.00 dollars"),
        ("token", "1", "99999999999", "a", "an amount is between 0 and"),
        ("token", "1", "1", " ", "a name has 1 to 200 characters"),
        ("token", "1", "1", &"a".repeat(201), "a name has 1 to 200 characters"),
        ("token", "1", "1", "a\nb", "a reference is one line of text"),
        ("bitcoin", "1", "1", "a", "[possible values: token, gas]"),
    ] {
        let refused = buy(&test, coin, amount, usd, reference).await.unwrap_err();
        assert!(refused.contains(why), "{coin} {amount} {usd} {reference:?}: {refused}");
    }
    let words = ["buy", "--coin", "token", "--amount", "1", "--usd", "9999999", "--reference", "a", "--fee-usd"];
    for (fee, why) in [("2", "one purchase takes at most"), ("-1", "an amount is decimal digits")] {
        let refused = treasury(&test, &[&words[..], &[fee]].concat()).await.unwrap_err();
        assert!(refused.contains(why), "{fee}: {refused}");
    }
    // Where no token is set, none could be found again.
    for words in [&["show"][..], &[&words[..], &["0"]].concat()] {
        let refused = treasury_with(&test, &Config::default(), words).await.unwrap_err();
        assert_eq!(refused, "there is no token: set payouts.chain.token");
    }
    assert_eq!((postings(&test).await, audited(&test, "treasury.bought").await.len()), (0, 0));
}

#[tokio::test]
async fn a_month_is_valued_shown_taken_back_and_valued_anew() {
    let test = TestApp::start().await;
    let month = Month::of(test.app.env.now());
    let named = month.to_string();
    buy(&test, "token", "100", "101", "tokens").await.unwrap();
    buy(&test, "gas", "2", "6000", "ether").await.unwrap();
    spend(&test, 500_000_000_000_000_000).await;
    let (value, undo) = (["value", "--month", named.as_str()], ["undo", "--month", named.as_str()]);
    assert!(treasury(&test, &value).await.unwrap_err().contains("it is not over"));
    assert_eq!(treasury(&test, &undo).await.unwrap_err(), format!("no valuation of {named} stands"));
    test.clock.set(month.ends_at().plus(Duration::from_secs(1)));

    let valued = treasury(&test, &value).await.unwrap();
    let result = |row: &Value| (row["state"].clone(), row["worth_usd"].clone(), row["gained_usd"].clone());
    assert_eq!(result(&valued[0]), (json!("valued now"), json!("100.00"), json!("-1.00")));
    let no_feed = (json!("not valued: set payouts.chain.gas_feed"), Value::Null, Value::Null);
    assert_eq!(result(&valued[1]), no_feed);
    assert_eq!(treasury(&test, &value).await.unwrap()[0]["state"], "stood already");
    let (token, gas) = (shown(&test, 0).await, shown(&test, 1).await);
    let last = (&token["cost_usd"], &token["valued_for"], &token["price_usd"], &token["worth_usd"]);
    assert_eq!(last, (&json!("100.00"), &json!(named), &json!("1.00"), &json!("100.00")));
    let stands = (&gas["held"], &gas["not_owed"], &gas["gas_not_valued"], &gas["cost_usd"]);
    assert_eq!(stands, (&json!("1.5"), &json!("1.5"), &json!("0.5"), &json!("6000.00")));
    assert_green(&test).await;

    assert_eq!(treasury(&test, &undo).await.unwrap()[0]["state"], "taken back");
    assert_eq!(treasury(&test, &undo).await.unwrap_err(), format!("no valuation of {named} stands"));
    let token = shown(&test, 0).await;
    assert_eq!((&token["cost_usd"], &token["valued_for"]), (&json!("101.00"), &Value::Null));
    assert_green(&test).await;

    assert_eq!(treasury(&test, &value).await.unwrap()[0]["state"], "valued now");
    let next = month.next();
    test.clock.set(next.ends_at().plus(Duration::from_secs(1)));
    treasury(&test, &["value", "--month", &next.to_string()]).await.unwrap();
    let refused = treasury(&test, &undo).await.unwrap_err();
    assert!(refused.contains("it is not the last"), "{refused}");
    let traces = audited(&test, "treasury.valued").await;
    let traced: Vec<_> = traces.iter().map(|(month, detail)| (month.as_str(), detail["round"].as_u64())).collect();
    assert_eq!(traced, [(named.as_str(), Some(0)), (&named, Some(1)), (&next.to_string(), Some(0))]);
    assert_eq!(audited(&test, "treasury.valuation_undone").await.len(), 1);
    assert_green(&test).await;
}

#[tokio::test]
async fn what_was_valued_is_traced_although_another_coin_could_not_be() {
    let test = TestApp::start().await;
    let month = Month::of(test.app.env.now());
    buy(&test, "token", "100", "101", "tokens").await.unwrap();
    test.clock.set(month.ends_at().plus(Duration::from_secs(1)));
    let mut config = Config::default();
    let chain = &mut config.payouts.chain;
    // Nobody listens there.
    (chain.token, chain.rpc_url) = (TOKEN, Some("http://127.0.0.1:1".into()));
    chain.gas_feed = serde_json::from_value(json!({
        "address": TOKEN, "heartbeat_s": 3_600, "least_micro_usd": 1, "most_micro_usd": 1_000_000_000_000_u64,
    }))
    .ok();
    assert!(chain.gas_feed.is_some());
    let refused = treasury_with(&test, &config, &["value", "--month", &month.to_string()]).await.unwrap_err();
    assert!(refused.contains("did not answer"), "{refused}");
    let traces = audited(&test, "treasury.valued").await;
    assert_eq!((traces.len(), &traces[0].1["coin"]), (1, &json!("token")));
    assert_green(&test).await;
}

#[tokio::test]
async fn the_treasurys_words_are_explained_and_months_are_written_one_way() {
    let test = TestApp::start().await;
    for (words, taught) in [
        (&["--help"][..], &["buy", "value", "undo", "show"][..]),
        (&["buy", "--help"], &["Nothing is bought by this", "such as 1000.5", "however often", "into the gas wallet"]),
        (&["value", "--help"], &["by itself an hour after", "such as 2026-10"]),
        (&["undo", "--help"], &["must be the last", "makes it anew"]),
    ] {
        let help = treasury(&test, words).await.unwrap_err();
        for taught in taught {
            assert!(help.contains(taught), "{taught}: {help}");
        }
    }
    for command in ["value", "undo"] {
        for wrong in ["2026-13", "2026-1", "October", "2026-10-01", ""] {
            let refused = treasury(&test, &[command, "--month", wrong]).await.unwrap_err();
            assert!(refused.contains("a month is written as 2026-01"), "{wrong}: {refused}");
        }
    }
}
