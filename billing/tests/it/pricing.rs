//! The price book over its table.

use std::time::Duration;

use billing::config::Pricing;
use billing::{PriceBook, PriceRow};
use protocol::{OfferId, Price, Prices};

use crate::fixture::{World, id};

async fn post(world: &World, offer: OfferId, prompt: i64, completion: i64) -> PriceRow {
    let prices = Prices {
        prompt: Price::from_pico(prompt).unwrap(),
        completion: Price::from_pico(completion).unwrap(),
        ..Prices::default()
    };
    let mut tx = world.db.begin().await.unwrap();
    let row = billing::store::prices::post(&mut tx, &Pricing::default(), offer, "m", &prices, world.env.now()).await;
    tx.commit().await.unwrap();
    row.unwrap()
}

#[tokio::test]
async fn cuts_act_at_once_and_rises_wait() {
    let world = World::new(100).await;
    let (book, offer) = (world.billing.prices(), id::<OfferId>(1));
    let current = async |world: &World| {
        world.billing.reload_prices().await.unwrap();
        book.current(offer, world.env.now()).map(|row| row.version)
    };
    assert_eq!(current(&world).await, None);
    assert_eq!(post(&world, offer, 100, 100).await.version, 1);
    assert_eq!(current(&world).await, Some(1));
    assert_eq!(post(&world, offer, 100, 100).await.version, 1, "nothing changed");
    let rise = post(&world, offer, 100, 101).await;
    assert_eq!(rise.effective_at, world.env.now().plus(Duration::from_secs(300)));
    assert_eq!(current(&world).await, Some(1));
    world.clock.advance(Duration::from_secs(299));
    assert_eq!(current(&world).await, Some(1));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(current(&world).await, Some(2));
    post(&world, offer, 50, 101).await;
    assert_eq!(current(&world).await, Some(3));
    post(&world, offer, 40, 200).await;
    assert_eq!(current(&world).await, Some(3), "a mixed change is a rise");
    assert_eq!(book.get(offer, 1).unwrap().provider.completion.pico(), 100, "pinned versions stay");
    // A book filled later has what is in force and later.
    let late = PriceBook::default();
    late.reload(&world.db, world.env.now()).await.unwrap();
    assert_eq!(late.current(offer, world.env.now()).unwrap().version, 3);
}

#[tokio::test]
async fn the_share_is_the_models_own_or_the_default() {
    let world = World::new(101).await;
    let row = post(&world, id(1), 1, 1_000_001).await;
    assert_eq!(row.take_bps, 1_000);
    assert_eq!((row.user.prompt.pico(), row.user.completion.pico()), (2, 1_100_002), "rounded up to a pico");
    let mut conn = world.db.acquire().await.unwrap();
    billing::store::prices::set_take(&mut conn, "m", 250, world.env.now()).await.unwrap();
    let row = post(&world, id(1), 1, 1_000_001).await;
    assert_eq!((row.version, row.take_bps), (2, 250));
    assert_eq!(row.effective_at, world.env.now(), "a lower share is a cut");
    let found = billing::store::prices::find(&mut conn, id(1), 2).await.unwrap().unwrap();
    assert_eq!(found, row);
}
