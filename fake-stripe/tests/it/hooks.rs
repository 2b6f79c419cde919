//! Webhooks, checked by Stripe's own code.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use stripe_webhook::{EventObject, Webhook};
use tokio::net::TcpListener;

use crate::support::{START, World};

/// What came, in order: body and signature, and how many are refused first.
#[derive(Default)]
struct Desk {
    taken: Mutex<Vec<(String, String)>>,
    refuse: Mutex<u32>,
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: String) -> StatusCode {
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    desk.taken.lock().push((body, signature));
    let mut refuse = desk.refuse.lock();
    if *refuse > 0 {
        *refuse -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    StatusCode::OK
}

/// A world whose webhooks come to a desk.
async fn world() -> (World, Arc<Desk>) {
    let (world, desk) = (World::new().await, Arc::new(Desk::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let router = Router::new().route("/hooks", post(take)).with_state(Arc::clone(&desk));
    tokio::spawn(async move { axum::serve(listener, router).await });
    world.fake.turn(|knobs| (knobs.webhooks.url, knobs.webhooks.retry_ms) = (Some(url), 20));
    (world, desk)
}

impl Desk {
    /// Waits until so many came.
    async fn wait(&self, count: usize) -> Vec<(String, String)> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.taken.lock().len() < count {
            assert!(Instant::now() < deadline, "{} of {count} came", self.taken.lock().len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.taken.lock().clone()
    }
}

/// The id in a body, when its signature is right.
fn checked(taken: &(String, String)) -> Option<String> {
    let event = Webhook::construct_event_with_timestamp(&taken.0, &taken.1, "whsec_fake", START);
    event.ok().map(|event| event.id.to_string())
}

#[tokio::test]
async fn stripes_own_code_accepts_what_is_signed_and_refuses_what_is_not() {
    let (world, desk) = world().await;
    let customer = world.customer().await;
    let (body, signature) = desk.wait(1).await.remove(0);
    let at = |seconds| Webhook::construct_event_with_timestamp(&body, &signature, "whsec_fake", seconds);
    let EventObject::CustomerCreated(told) = at(START).unwrap().data.object else { panic!("{body}") };
    assert_eq!(told.id, customer.id);
    assert!(at(START + 301).is_err(), "stale");
    let forged = body.replace("a@example.com", "b@example.com");
    assert!(Webhook::construct_event_with_timestamp(&forged, &signature, "whsec_fake", START).is_err());
    assert!(Webhook::construct_event_with_timestamp(&body, &signature, "whsec_other", START).is_err());
}

#[tokio::test]
async fn a_whole_payment_is_told_in_events_that_stripes_code_reads() {
    let (world, desk) = world().await;
    let session = world.session(&world.customer().await, 5_000).await;
    crate::support::post(&session.url.unwrap(), "card=4000000000000259").await;
    let told = world.told().await;
    let taken = desk.wait(told.len()).await;
    assert!(taken.iter().all(|one| checked(one).is_some()), "{taken:?}");
    assert!(told.iter().any(|kind| kind == "charge.dispute.created"));
}

#[tokio::test]
async fn knobs_repeat_lose_and_mix_up() {
    let (world, desk) = world().await;
    world.fake.turn(|knobs| (knobs.webhooks.duplicates, knobs.webhooks.jitter_ms) = (1, 60));
    for _ in 0..10 {
        world.customer().await;
    }
    let came: Vec<String> = desk.wait(20).await.iter().filter_map(checked).collect();
    assert_eq!((came.len(), came.iter().collect::<HashSet<_>>().len()), (20, 10));
    assert!(!came.is_sorted(), "{came:?}");

    world.fake.turn(|knobs| knobs.webhooks.lose_permille = 1_000);
    world.customer().await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(desk.taken.lock().len(), 20);
    assert_eq!(world.told().await.len(), 11, "what is lost is still in the list");
}

#[tokio::test]
async fn what_is_not_taken_comes_again_and_a_wrong_signature_only_once() {
    let (world, desk) = world().await;
    *desk.refuse.lock() = 2;
    world.fake.turn(|knobs| knobs.webhooks.missign_permille = 1_000);
    world.customer().await;
    let taken = desk.wait(3).await;
    assert_eq!(checked(&taken[0]), None);
    assert!(checked(&taken[1]).is_some() && checked(&taken[1]) == checked(&taken[2]));
}
