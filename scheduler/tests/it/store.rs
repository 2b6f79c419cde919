//! Rows against a real database.

use std::time::Duration;

use platform::testing::{self, TestDb};
use protocol::{Id, NodeId, OfferId};
use scheduler::provider::{NodeState, OfferState, PriceVersion, ProviderState, UpstreamKey};
use scheduler::store::{nodes, offers, pool, providers};
use scheduler::{Decision, Error, Scheduler};
use sqlx::PgConnection;

use crate::world::{self, START};

async fn connect(db: &TestDb) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
    db.pool().acquire().await.unwrap()
}

/// Provider, node and offer 1, priced.
async fn furnish(conn: &mut PgConnection) {
    let parts = world::parts(1);
    providers::insert(conn, &parts.provider).await.unwrap();
    nodes::insert(conn, &parts.node).await.unwrap();
    offers::put(conn, parts.offer.id, parts.node.id, &parts.offer.spec, OfferState::Active, START).await.unwrap();
    offers::set_price(conn, parts.offer.id, &parts.offer.price.unwrap(), START).await.unwrap();
}

#[tokio::test]
async fn what_is_stored_is_read_back() {
    let db = testing::database().await;
    let conn = &mut *connect(&db).await;
    let mut parts = world::parts(1);
    parts.node.upstream_key = Some(UpstreamKey::new("secret".into()));
    providers::insert(conn, &parts.provider).await.unwrap();
    assert_eq!(providers::get(conn, parts.provider.id).await.unwrap(), parts.provider);
    assert_eq!(nodes::insert(conn, &parts.node).await.unwrap(), parts.node);
    assert!(!format!("{:?}", parts.node).contains("secret"));
    let put = offers::put(conn, parts.offer.id, parts.node.id, &parts.offer.spec, OfferState::Active, START);
    let stored = put.await.unwrap();
    assert_eq!(stored, scheduler::provider::Offer { price: None, ..parts.offer.clone() });
    offers::set_price(conn, stored.id, &parts.offer.price.unwrap(), START).await.unwrap();
    assert_eq!(offers::find(conn, stored.id).await.unwrap().unwrap(), parts.offer);
    let listings = pool::load(conn).await.unwrap();
    assert_eq!(listings.len(), 1);
    assert_eq!((&*listings[0].slug, &*listings[0].tag), ("p1", "p1/fra1"));
    assert!(listings[0].takes_work());
}

#[tokio::test]
async fn a_loaded_pool_places() {
    use rand::SeedableRng;
    let db = testing::database().await;
    let conn = &mut *connect(&db).await;
    furnish(conn).await;
    let (env, _clock) = testing::env(1);
    let scheduler = Scheduler::new(env, scheduler::Config::default());
    scheduler.reload(conn).await.unwrap();
    let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
    assert!(matches!(scheduler.place(&world::ask(), START, &mut rng), Decision::Place { .. }));
    providers::set_state(conn, world::provider(1).id, ProviderState::Suspended).await.unwrap();
    scheduler.reload(conn).await.unwrap();
    assert!(matches!(scheduler.place(&world::ask(), START, &mut rng), Decision::Refuse { .. }));
}

#[tokio::test]
async fn a_short_name_belongs_to_one_provider() {
    let db = testing::database().await;
    let conn = &mut *connect(&db).await;
    providers::insert(conn, &world::provider(1)).await.unwrap();
    let twin = scheduler::provider::Provider { slug: "p1".into(), ..world::provider(2) };
    assert!(matches!(providers::insert(conn, &twin).await, Err(Error::SlugTaken(slug)) if slug == "p1"));
    assert!(providers::find(conn, twin.id).await.unwrap().is_none());
}

#[tokio::test]
async fn one_key_is_one_node() {
    let db = testing::database().await;
    let conn = &mut *connect(&db).await;
    providers::insert(conn, &world::provider(1)).await.unwrap();
    providers::insert(conn, &world::provider(2)).await.unwrap();
    let first = nodes::insert(conn, &world::node(1)).await.unwrap();
    let again = scheduler::provider::Node {
        id: world::node_id(9),
        base_url: Some("https://moved.example".into()),
        ..world::node(1)
    };
    let second = nodes::insert(conn, &again).await.unwrap();
    assert_eq!((second.id, second.base_url.as_deref()), (first.id, Some("https://moved.example")));
    let stolen = scheduler::provider::Node { id: world::node_id(8), provider: world::provider(2).id, ..world::node(1) };
    assert!(matches!(nodes::insert(conn, &stolen).await, Err(Error::NodeNotFound(_))));
    assert_eq!(nodes::list_of(conn, world::provider(1).id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_set_of_offers_changes_as_a_whole_or_not_at_all() {
    let db = testing::database().await;
    let conn = &mut *connect(&db).await;
    furnish(conn).await;
    let node = world::node_id(1);
    let (version, before) = offers::list_of(conn, node).await.unwrap();
    assert_eq!(offers::claim_set(conn, node, Some(version)).await.unwrap(), version + 1);
    let stale = offers::claim_set(conn, node, Some(version)).await;
    assert!(matches!(stale, Err(Error::OffersChanged { actual, .. }) if actual == version + 1));
    let missing = offers::claim_set(conn, NodeId::from_uuid(uuid::Uuid::nil()), None).await;
    assert!(matches!(missing, Err(Error::NodeNotFound(_))));

    let mut other = world::spec();
    other.model = "org/other".into();
    let put = offers::put(conn, world::offer_id(2), node, &other, OfferState::Staged, START).await.unwrap();
    assert_eq!(put.state, OfferState::Staged);
    assert_eq!(offers::retire_others(conn, node, &[other.model.clone()]).await.unwrap(), [world::offer_id(1)]);
    assert_eq!(offers::list_of(conn, node).await.unwrap().1.len(), 1);
    let back = offers::put(conn, world::offer_id(7), node, &world::spec(), OfferState::Active, START).await.unwrap();
    assert_eq!((back.id, back.price), (before[0].id, before[0].price), "it keeps its id and price");
    assert_eq!(back.state, OfferState::Active);
}

#[tokio::test]
async fn what_a_model_answers_in_is_not_for_a_later_offer_to_say() {
    let db = testing::database().await;
    let conn = &mut *connect(&db).await;
    furnish(conn).await;
    let stranger = world::parts(2);
    providers::insert(conn, &stranger.provider).await.unwrap();
    nodes::insert(conn, &stranger.node).await.unwrap();
    let mut spec = world::spec();
    spec.output_modalities = vec!["text".into(), "embeddings".into()];
    let later = START.plus(Duration::from_secs(1));
    offers::put(conn, stranger.offer.id, stranger.node.id, &spec, OfferState::Staged, later).await.unwrap();
    let answering = offers::list_models_answering_in(conn, "embeddings").await.unwrap();
    assert_eq!(answering, Vec::<String>::new(), "everybody's use of it would move to another report");
    let mut own = world::spec();
    own.model = "org/embed".into();
    own.output_modalities = vec!["embeddings".into()];
    offers::put(conn, world::offer_id(3), stranger.node.id, &own, OfferState::Staged, later).await.unwrap();
    assert_eq!(offers::list_models_answering_in(conn, "embeddings").await.unwrap(), ["org/embed"]);
}

#[tokio::test]
async fn a_cut_applies_at_once_and_a_rise_waits() {
    let db = testing::database().await;
    let conn = &mut *connect(&db).await;
    furnish(conn).await;
    let id = world::offer_id(1);
    let later = START.plus(Duration::from_secs(300));
    let version = |version, usd, effective_at| PriceVersion { version, prices: world::prices(usd, usd), effective_at };
    offers::set_price(conn, id, &version(2, 9, later), START).await.unwrap();
    let offer = offers::find(conn, id).await.unwrap().unwrap();
    assert_eq!((offer.price_at(START).unwrap().version, offer.price_at(later).unwrap().version), (1, 2));
    // Once it applies, a further rise waits behind it.
    offers::set_price(conn, id, &version(3, 10, later.plus(Duration::from_secs(300))), later).await.unwrap();
    let offer = offers::find(conn, id).await.unwrap().unwrap();
    assert_eq!((offer.price.unwrap().version, offer.next_price.unwrap().version), (2, 3));
    offers::set_price(conn, id, &version(4, 1, later), later).await.unwrap();
    let offer = offers::find(conn, id).await.unwrap().unwrap();
    assert_eq!((offer.price.unwrap().version, offer.next_price), (4, None));
    let nobody = offers::set_price(conn, OfferId::from_uuid(uuid::Uuid::nil()), &version(1, 1, START), START).await;
    assert!(matches!(nobody, Err(Error::OfferNotFound(_))));
}

#[tokio::test]
async fn nodes_come_and_go_by_what_is_heard_of_them() {
    let db = testing::database().await;
    let conn = &mut *connect(&db).await;
    providers::insert(conn, &world::provider(1)).await.unwrap();
    let pending = scheduler::provider::Node { state: NodeState::Pending, ..world::node(1) };
    let id = nodes::insert(conn, &pending).await.unwrap().id;
    assert_eq!(nodes::touch(conn, id, 1, false, START).await.unwrap(), NodeState::Ready);
    assert_eq!(nodes::touch(conn, id, 2, true, START).await.unwrap(), NodeState::Draining);
    assert_eq!(nodes::touch(conn, id, 3, false, START).await.unwrap(), NodeState::Ready);
    assert_eq!(nodes::mark_offline(conn, &[id], START).await.unwrap(), [], "seen since");
    let later = START.plus(Duration::from_secs(61));
    assert_eq!(nodes::mark_offline(conn, &[id], later).await.unwrap(), [id]);
    assert_eq!(nodes::mark_offline(conn, &[id], later).await.unwrap(), [], "told once");
    assert_eq!(nodes::touch(conn, id, 4, false, later).await.unwrap(), NodeState::Ready);
    nodes::set_state(conn, id, NodeState::Quarantined).await.unwrap();
    assert_eq!(nodes::touch(conn, id, 5, false, later).await.unwrap(), NodeState::Quarantined);
    assert_eq!(nodes::touch(conn, id, 6, true, later).await.unwrap(), NodeState::Quarantined);
    assert!(nodes::set_state(conn, id, NodeState::Ready).await.is_err());
    nodes::release(conn, id).await.unwrap();
    assert_eq!(nodes::get(conn, id).await.unwrap().state, NodeState::Offline);
}

#[tokio::test]
async fn changes_are_announced() {
    let db = testing::database().await;
    let mut listener = sqlx::postgres::PgListener::connect_with(db.pool()).await.unwrap();
    listener.listen(scheduler::run::CHANNEL).await.unwrap();
    providers::insert(&mut *connect(&db).await, &world::provider(1)).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
    assert_eq!(heard.unwrap().unwrap().channel(), scheduler::run::CHANNEL);
}

#[tokio::test]
async fn the_loop_keeps_the_snapshot_current_and_stops_when_told() {
    let db = testing::database().await;
    let (env, _clock) = testing::env(1);
    let config = scheduler::Config { rebuild_ms: 1, ..scheduler::Config::default() };
    let scheduler = Scheduler::new(env.clone(), config);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(scheduler::run::keep_current(scheduler.clone(), db.pool().clone(), env, async move {
        drop(stopped.await)
    }));
    furnish(&mut *connect(&db).await).await;
    let seen = async {
        while scheduler.snapshot().model(world::MODEL).is_none_or(|pool| pool.offers.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
    stop.send(()).unwrap();
    running.await.unwrap();
}
