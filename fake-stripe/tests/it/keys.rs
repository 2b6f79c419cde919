//! Idempotency keys, and calls that go wrong around them.

use std::time::Duration;

use fake_stripe::FaultKind;
use stripe::{IdempotencyKey, RequestStrategy, StripeError};
use stripe_client_core::StripeRequest;
use stripe_core::customer::{CreateCustomer, ListCustomer};
use stripe_shared::{ApiErrorsType, Customer};

use crate::support::{World, refusal};

impl World {
    async fn create(&self, key: &str, name: &str) -> Result<Customer, StripeError> {
        let strategy = RequestStrategy::Idempotent(IdempotencyKey::new(key).unwrap());
        let request = CreateCustomer::new().name(name).customize().request_strategy(strategy);
        request.timeout(Duration::from_millis(400)).send(&self.client).await
    }

    async fn customers(&self) -> usize {
        ListCustomer::new().limit(100).send(&self.client).await.unwrap().data.len()
    }
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_and_makes_nothing_new() {
    let world = World::new().await;
    let first = world.create("k1", "a").await.unwrap();
    assert_eq!(world.create("k1", "a").await.unwrap().id, first.id);
    assert_eq!(world.customers().await, 1);
    let (status, error) = refusal(world.create("k1", "b").await);
    assert_eq!((status, error.type_), (400, ApiErrorsType::IdempotencyError));
    world.clock.advance(Duration::from_secs(25 * 3_600));
    assert_ne!(world.create("k1", "b").await.unwrap().id, first.id, "a key is forgotten after a day");
}

#[tokio::test]
async fn a_second_request_with_a_key_in_use_is_refused_and_later_replayed() {
    let world = World::new().await;
    world.fake.turn(|knobs| knobs.latency_ms = 150);
    let (first, second) = tokio::join!(world.create("k1", "a"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.create("k1", "a").await
    });
    let (status, error) = refusal(second);
    assert_eq!((status, error.code.unwrap().as_str()), (409, "idempotency_key_in_use"));
    assert_eq!(world.create("k1", "a").await.unwrap().id, first.unwrap().id);
    assert_eq!(world.customers().await, 1);
}

#[tokio::test]
async fn a_call_done_but_not_answered_is_answered_to_the_same_key() {
    let world = World::new().await;
    let silent = [FaultKind::SilenceAfterCommit, FaultKind::CutAfterCommit, FaultKind::GarbageAfterCommit];
    for (at, kind) in silent.into_iter().enumerate() {
        world.fake.fault("POST", "customers", 1, kind);
        let key = format!("k{at}");
        let error = world.create(&key, "a").await.unwrap_err();
        assert!(!matches!(error, StripeError::Stripe(..)), "{kind:?} is no answer: {error}");
        assert_eq!(world.customers().await, at + 1, "{kind:?} has done it");
        assert!(world.create(&key, "a").await.is_ok());
        assert_eq!(world.customers().await, at + 1, "{kind:?} does it once");
    }
}

#[tokio::test]
async fn errors_before_free_the_key_and_errors_after_are_repeated() {
    let world = World::new().await;
    for kind in [FaultKind::RateLimited, FaultKind::ErrorBefore] {
        world.fake.fault("POST", "customers", 1, kind);
        let (status, _) = refusal(world.create("k1", "a").await);
        assert!(matches!(status, 429 | 500));
        assert_eq!(world.customers().await, 0);
    }
    assert!(world.create("k1", "a").await.is_ok());
    world.fake.fault("POST", "customers", 1, FaultKind::ErrorAfterCommit);
    for _ in 0..3 {
        assert_eq!(refusal(world.create("k2", "b").await).0, 500);
    }
    assert_eq!(world.customers().await, 2, "it was done once, and only a look finds it");
}

#[tokio::test]
async fn a_call_without_a_secret_key_is_refused() {
    let world = World::new().await;
    let stranger = stripe::ClientBuilder::new("pk_test_1").url(world.fake.url()).build().unwrap();
    assert_eq!(refusal(CreateCustomer::new().send(&stranger).await).0, 401);
}

#[tokio::test]
async fn knobs_and_faults_are_set_over_http() {
    let world = World::new().await;
    let url = |path: &str| format!("{}_fake/{path}", world.fake.url());
    let shown = crate::support::get(&url("knobs")).await;
    let mut knobs: fake_stripe::Knobs = serde_json::from_slice(&shown.body).unwrap();
    knobs.tax_bps = 700;
    let set = crate::support::send_json("PUT", &url("knobs"), serde_json::to_string(&knobs).unwrap()).await;
    assert_eq!((set.status, serde_json::from_slice(&set.body).unwrap()), (200, knobs));
    let fault = r#"{"path":"customers","times":1,"kind":"rate_limited"}"#.to_owned();
    assert_eq!(crate::support::send_json("POST", &url("faults"), fault).await.status, 200);
    assert_eq!(refusal(world.create("k1", "a").await).0, 429);
    assert!(world.create("k1", "a").await.is_ok());
    let unknown = crate::support::send_json("PUT", &url("knobs"), r#"{"latncy_ms":1}"#.to_owned()).await;
    assert_eq!(unknown.status, 422);
}
