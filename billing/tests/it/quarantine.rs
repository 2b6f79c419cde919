//! What a person does about settlements the books refused.

use billing::{Booked, BudgetScope, Error, quarantine};
use protocol::{KeyId, OrganizationId, RequestId};

use crate::fixture::{World, id, nano};

fn account() -> OrganizationId {
    id(1)
}

/// Settles a request for `cost` while the books refuse its model.
async fn refused(world: &World, cost: u32) -> RequestId {
    let run = async |statement: &'static str| sqlx::raw_sql(statement).execute(world.db.pool()).await.unwrap();
    run("alter table usage add constraint no_such_model check (model <> 'm') not valid").await;
    let hold = world.hold(5_000).await.unwrap();
    let request = hold.request();
    assert_eq!(hold.settle(world.settlement(cost)).await, Booked::Quarantined);
    run("alter table usage drop constraint no_such_model").await;
    request
}

async fn replay(world: &World, request: RequestId) -> Result<quarantine::Replayed, Error> {
    let mut tx = world.db.begin().await.unwrap();
    let replayed = quarantine::replay(&mut tx, &world.env, request).await;
    if replayed.is_ok() {
        tx.commit().await.unwrap();
    }
    replayed
}

#[tokio::test]
async fn a_replayed_settlement_is_charged_and_paid_once() {
    let world = World::new(110).await;
    world.fund(account(), 20_000).await;
    let mut conn = world.db.acquire().await.unwrap();
    let (scope, budget) = (BudgetScope::Key(id::<KeyId>(1)), uuid::Uuid::from_u128(8));
    billing::store::budgets::set(&mut conn, scope, nano(19_000), None, budget, world.env.now()).await.unwrap();
    let request = refused(&world, 3_000).await;
    let parked = quarantine::list(&mut conn, 10).await.unwrap();
    assert_eq!((parked.len(), parked[0].request, parked[0].charge), (1, request, Some(nano(3_000))));
    assert!(parked[0].error.contains("no_such_model"));
    let replayed = replay(&world, request).await.unwrap();
    assert_eq!(replayed, quarantine::Replayed { account: account(), charge: nano(3_000), is_new: true });
    world.assert_green().await;
    assert!(matches!(replay(&world, request).await, Err(Error::NotQuarantined { .. })));
    assert_eq!(billing::store::views::accrued(&mut conn, id(5)).await.unwrap(), nano(3_000));
    // The replica had taken the money back into use: it spends all that is left, and no more.
    for _ in 0..4 {
        assert_eq!(world.spend(4_000, 4_000).await, Booked::Durable);
    }
    assert!(world.hold(1_001).await.is_err());
    world.billing.stop().await.unwrap();
    assert_eq!(world.available(account()).await, 20_000 - 3_000 - 16_000);
    world.assert_green().await;
}

#[tokio::test]
async fn a_settlement_refused_again_waits_on() {
    let world = World::new(111).await;
    world.fund(account(), 20_000).await;
    let hold = world.hold(5_000).await.unwrap();
    let request = hold.request();
    let mut settlement = world.settlement(10);
    // No partition holds an attempt of 1970.
    settlement.attempts[0].attempt = id(3);
    assert_eq!(hold.settle(settlement).await, Booked::Quarantined);
    let refused = replay(&world, request).await.unwrap_err();
    assert!(matches!(refused, Error::StillRefused { .. }), "{refused}");
    let mut conn = world.db.acquire().await.unwrap();
    assert_eq!(quarantine::list(&mut conn, 10).await.unwrap().len(), 1);
    quarantine::discard(&mut conn, request).await.unwrap();
    assert!(quarantine::list(&mut conn, 10).await.unwrap().is_empty());
    assert!(matches!(quarantine::discard(&mut conn, request).await, Err(Error::NotQuarantined { .. })));
    assert_eq!(world.count("usage").await, 0);
    world.assert_green().await;
}
