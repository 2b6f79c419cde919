//! Credit that was given and goes again, day by day.

use std::time::Duration;

use billing::account::{AccountKind, LedgerAccount};
use billing::{Booked, GrantKind, NewGrant};
use protocol::{OrganizationId, Timestamp};

use crate::fixture::{World, id, nano};

const DAY: Duration = Duration::from_secs(86_400);

fn account() -> OrganizationId {
    id(1)
}

impl World {
    async fn give(&self, kind: GrantKind, cause: &str, amount: i64, expires_at: Option<Timestamp>) {
        let mut tx = self.db.begin().await.unwrap();
        let new = NewGrant { account: account(), kind, cause: cause.into(), amount: nano(amount), expires_at };
        billing::grant(&mut tx, &self.env, &new).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// What is left of each grant that has something left, by its occasion.
    async fn left(&self) -> Vec<(String, i64)> {
        let query = "select cause, remaining_nano_usd from grants where remaining_nano_usd > 0 order by cause";
        sqlx::query_as(query).fetch_all(self.db.pool()).await.unwrap()
    }

    async fn balance(&self, account: LedgerAccount) -> i64 {
        let mut conn = self.db.acquire().await.unwrap();
        billing::store::transfers::turnover(&mut conn, account).await.unwrap().balance(account.kind)
    }

    /// Moves the clock until every lease is idle, and waits until what was lent is back.
    async fn rest(&self) {
        self.clock.advance(Duration::from_secs(61));
        let credits = self.balance(LedgerAccount::credits(account())).await;
        self.until("what was lent is back", async || {
            self.billing.renew().await.unwrap();
            self.available(account()).await == credits
        })
        .await;
    }
}

#[tokio::test]
async fn every_midnight_what_is_over_is_gone_and_what_was_paid_for_stays() {
    let world = World::new(84).await;
    world.fund(account(), 10_000).await;
    let (mut given, mut spent) = (10_000, 0);
    for day in 0..12_u32 {
        billing::run::ensure_partitions(&world.db, world.env.now()).await.unwrap();
        // Every third day a gift for two days, every day something is spent.
        if day % 3 == 0 {
            let expires = world.env.now().plus(2 * DAY);
            world.give(GrantKind::Promo, &format!("day {day:02}"), 1_000, Some(expires)).await;
            given += 1_000;
        }
        let cost = 100 + 50 * day;
        assert_eq!(world.spend(1_000, cost).await, Booked::Durable);
        spent += i64::from(cost);
        world.rest().await;
        world.clock.advance(DAY);
        billing::run::burn(&world.db, &world.env).await.unwrap();
        let over = world.left().await.into_iter().filter(|(cause, _)| cause.starts_with("day")).count();
        assert!(over <= 1, "only the newest gift can be left on day {day}");
        world.assert_green().await;
    }
    let promo = world.balance(LedgerAccount::platform(AccountKind::PromoExpense)).await;
    let goodwill = world.balance(LedgerAccount::platform(AccountKind::GoodwillExpense)).await;
    let credits = world.balance(LedgerAccount::credits(account())).await;
    let expired = 4_000 - promo;
    assert!(expired > 0 && promo > 0, "some was used and some was not: {promo}");
    assert_eq!((goodwill, credits), (10_000, given - expired - spent));
    let left: i64 = world.left().await.into_iter().map(|(_, left)| left).sum();
    assert_eq!(left, credits, "after a burn grants hold just what is left");
}

#[tokio::test]
async fn a_gift_of_either_kind_goes_back_to_where_it_came_from_and_only_once() {
    let world = World::new(85).await;
    let at = world.env.now().plus(DAY);
    world.give(GrantKind::Promo, "welcome", 1_000, Some(at)).await;
    world.give(GrantKind::Goodwill, "sorry", 500, Some(at)).await;
    world.give(GrantKind::Goodwill, "kept", 70, None).await;
    let burn = async || billing::run::burn(&world.db, &world.env).await.unwrap();
    world.clock.advance(DAY - Duration::from_micros(1));
    burn().await;
    assert_eq!(world.available(account()).await, 1_570, "not a moment early");
    world.clock.advance(Duration::from_micros(1));
    let (one, other) = tokio::join!(burn(), burn());
    assert_eq!((one.nano(), other.nano(), burn().await.nano()), (0, 0, 0), "nothing was spent");
    assert_eq!(world.available(account()).await, 70);
    let expense = async |kind| world.balance(LedgerAccount::platform(kind)).await;
    assert_eq!((expense(AccountKind::PromoExpense).await, expense(AccountKind::GoodwillExpense).await), (0, 70));
    assert_eq!(world.count("transfers where cause_kind = 'promo_expired'").await, 2);
    world.assert_green().await;
}
