//! Coins bought for dollars, and what they are worth at the end of a month.

use std::sync::Arc;
use std::time::Duration;

use billing::account::{AccountKind, LedgerAccount};
use billing::fx::{self, Positions, Purchase};
use billing::ledger::{Cause, Coin, CoinPosting, CoinTransfer};
use billing::payout::{NoPrice, PriceReference};
use billing::store::transfers;
use billing::{Error, Month};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use protocol::statement::PriceRef;
use protocol::token::TokenAmount;
use protocol::typed::Word;
use protocol::wallet::Address;
use protocol::{NanoUsd, Timestamp};

use crate::fixture::{World, nano};

const TOKEN: Coin = Coin::Token(1, Address::from_bytes([7; 20]));
const ETH: u128 = 1_000_000_000_000_000_000;

/// So many dollars each, with so many digits; none is a doubt.
struct Fixed(u32, u8);

impl PriceReference for Fixed {
    fn price(&self, at: Timestamp) -> BoxFuture<'_, Result<PriceRef, NoPrice>> {
        if self.0 == 0 {
            return ready(Err(NoPrice::Doubtful("nobody knows".to_owned()))).boxed();
        }
        let (usd_per_token, decimals) = (NanoUsd::from_dollars(self.0), self.1);
        ready(Ok(PriceRef { source: "test".into(), usd_per_token, decimals, observed_at: at.unix_seconds() })).boxed()
    }
}

fn positions(world: &World, ether: u32) -> Positions {
    let none = Positions::new(world.db.pool().clone(), world.env.clone());
    none.with(TOKEN, Arc::new(Fixed(1, 6))).with(Coin::Ether, Arc::new(Fixed(ether, 18)))
}

async fn buy(world: &World, coin: Coin, amount: u128, usd: u32, name: &str) -> Result<bool, Error> {
    let bought = Purchase { coin, amount: amount.into(), paid: NanoUsd::from_dollars(usd), name: name.to_owned() };
    let mut tx = world.db.begin().await.unwrap();
    let done = fx::buy(&mut tx, &world.env, &bought).await;
    tx.commit().await.unwrap();
    done
}

/// Has a hundred tokens for 101 dollars and two ether for 6000, of which half a one was spent.
async fn bought(seed: u64) -> World {
    let world = World::new(seed).await;
    assert!(buy(&world, TOKEN, 100_000_000, 101, "0xaa").await.unwrap());
    assert!(buy(&world, Coin::Ether, 2 * ETH, 6_000, "0xbb").await.unwrap());
    let (gas, wallet) = (LedgerAccount::platform(AccountKind::GasExpense), Coin::Ether.held());
    let postings = CoinPosting::new(gas, wallet, TokenAmount::from(ETH / 2)).into_iter().collect();
    let cause = Cause::Gas(Word([1; 32]));
    let spent = CoinTransfer { id: world.env.mint(), cause, coin: Coin::Ether, postings };
    transfers::book_coins(&mut world.db.acquire().await.unwrap(), &spent).await.unwrap();
    world
}

/// The trial balance of a kind in a currency.
async fn balance(world: &World, kind: &str, currency: &str) -> String {
    let mut conn = world.db.acquire().await.unwrap();
    let lines = transfers::trial_balance(&mut conn, None).await.unwrap();
    let line = lines.iter().find(|line| line.kind.as_deref() == Some(kind) && line.currency == currency);
    line.map_or_else(|| "none".to_owned(), |line| format!("{} {}", line.balance, line.side))
}

#[tokio::test]
async fn a_purchase_is_booked_once_on_both_sides_of_its_position() {
    let world = World::new(340).await;
    assert!(buy(&world, TOKEN, 100_000_000, 101, "0xaa").await.unwrap());
    assert!(!buy(&world, TOKEN, 100_000_000, 101, "0xaa").await.unwrap(), "it is the same one");
    for (amount, usd) in [(100_000_001, 101), (100_000_000, 102), (100_000_000, 0)] {
        let other = buy(&world, TOKEN, amount, usd, "0xaa").await;
        assert!(matches!(other, Err(Error::AlreadyBooked { .. })), "{other:?}");
    }
    for (amount, name) in [(0, "0xbb"), (1, " ")] {
        assert!(matches!(buy(&world, TOKEN, amount, 1, name).await, Err(Error::Coins { .. })));
    }
    let token = TOKEN.to_string();
    assert_eq!(balance(&world, "treasury", &token).await, "100000000 debit");
    assert_eq!(balance(&world, "fx", &token).await, "100000000 credit");
    assert_eq!(balance(&world, "fx", "USD").await, "101.000000000 debit");
    assert_eq!(balance(&world, "bank", "USD").await, "101.000000000 credit");
    world.assert_green().await;
}

#[tokio::test]
async fn a_purchase_that_took_nothing_is_given_no_price_later() {
    let world = World::new(344).await;
    assert!(buy(&world, TOKEN, 100_000_000, 0, "0xaa").await.unwrap());
    assert!(!buy(&world, TOKEN, 100_000_000, 0, "0xaa").await.unwrap(), "it is the same one");
    let priced = buy(&world, TOKEN, 100_000_000, 101, "0xaa").await;
    assert!(matches!(priced, Err(Error::AlreadyBooked { .. })), "{priced:?}");
    assert_eq!(balance(&world, "fx", &TOKEN.to_string()).await, "100000000 credit");
    assert_eq!(balance(&world, "fx", "USD").await, "none", "no dollar has moved");
    world.assert_green().await;
}

#[tokio::test]
async fn a_month_is_valued_once_and_the_next_goes_on_from_there() {
    let world = bought(341).await;
    let month = Month::of(world.env.now());
    let early = positions(&world, 3_500).close(month, world.env.now()).await;
    assert!(matches!(early, Err(Error::Coins { .. })), "it is not over");
    world.clock.set(month.ends_at().plus(Duration::from_secs(3_599)));
    assert_eq!(positions(&world, 3_500).close_due(world.env.now()).await.unwrap(), 2, "the month before");
    world.clock.set(month.ends_at().plus(Duration::from_secs(3_600)));
    assert_eq!(positions(&world, 3_600).close_due(world.env.now()).await.unwrap(), 2);
    assert_eq!(positions(&world, 9_999).close_due(world.env.now()).await.unwrap(), 0, "it stands");
    // The half that was spent went at 3500 with the month before; the rest is worth 3600 now.
    assert_eq!(balance(&world, "gas_expense", "USD").await, "1750.000000000 debit");
    assert_eq!(balance(&world, "gas_expense", "ETH").await, "0 debit");
    assert_eq!(balance(&world, "fx_result", "USD").await, "1149.000000000 credit");
    assert_eq!(balance(&world, "fx", "USD").await, "5500.000000000 debit", "1.5 at 3600, and a hundred tokens");
    world.assert_green().await;
}

#[tokio::test]
async fn a_valuation_can_be_taken_back_and_made_anew() {
    let world = bought(342).await;
    let month = Month::of(world.env.now());
    world.clock.set(month.ends_at().plus(Duration::from_secs(3_600)));
    let now = world.env.now();
    assert_eq!(positions(&world, 9_000).close(month, now).await.unwrap().len(), 2);
    positions(&world, 1).undo(month, Coin::Ether, now).await.unwrap();
    let again = positions(&world, 1).undo(month, Coin::Ether, now).await;
    assert!(matches!(again, Err(Error::Coins { .. })), "once");
    assert_eq!(balance(&world, "fx", "USD").await, "6100.000000000 debit", "as before, and a hundred tokens");
    assert_eq!(balance(&world, "gas_expense", "ETH").await, format!("{} debit", ETH / 2));
    assert_eq!(positions(&world, 3_500).close_due(now).await.unwrap(), 0, "that is left to who took it back");
    let anew = positions(&world, 3_500).close(month, now).await.unwrap();
    assert_eq!((anew.len(), anew[0].round, anew[0].worth.nano()), (1, 1, nano(5_250_000_000_000).nano()));
    assert_eq!(balance(&world, "fx_result", "USD").await, "999.000000000 credit");
    world.assert_green().await;
}

#[tokio::test]
async fn a_price_in_doubt_values_nothing_of_its_coin() {
    let world = bought(343).await;
    let month = Month::of(world.env.now());
    world.clock.set(month.ends_at().plus(Duration::from_secs(3_600)));
    let closed = positions(&world, 0).close(month, world.env.now()).await;
    assert!(matches!(&closed, Err(Error::Coins { reason, .. }) if reason.contains("nobody knows")), "{closed:?}");
    assert_eq!(world.count("valuations").await, 1, "the token has its price");
    world.assert_green().await;
}
