//! The broker dies by kill -9 with a keyed request under way, and comes back.

use http::StatusCode;
use http_body_util::BodyExt;

use super::spawn::until;
use super::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_request_whose_broker_died_runs_again_and_is_paid_once() {
    let mut world = World::start("").await;
    let _node = world.node("first", "ttft_ms = 50.0, tpot_ms = 40.0, tokens = 400").await;
    let customer = world.customer().await;
    let caller = world.caller(&customer);
    world.until_served(&caller).await;
    let before = world.charges().await.len();

    let body = caller.chat(60, true);
    let mut under_way = caller.open_keyed("one", body.clone()).await.unwrap();
    assert_eq!(under_way.status(), StatusCode::OK);
    under_way.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(caller.open_keyed("one", body.clone()).await.unwrap().status(), StatusCode::CONFLICT);
    world.broker.kill().await;
    assert!(under_way.into_body().collect().await.is_err(), "a cut answer must not look complete");
    world.restart().await;

    // Free at once: nobody waits for the claim of the dead to run out.
    let (answer, waited) = until("the same request runs again", PATIENCE, async || {
        let response = caller.open_keyed("one", body.clone()).await.ok()?;
        assert_ne!(response.status(), StatusCode::CONFLICT, "the dead broker's claim still stands");
        (response.status() == StatusCode::OK).then_some(response)
    })
    .await;
    assert!(!answer.headers().contains_key("idempotent-replayed"));
    let answer = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(answer.ends_with(b"data: [DONE]\n\n"));
    let again = caller.open_keyed("one", body).await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.into_body().collect().await.unwrap().to_bytes(), answer);
    assert_eq!(world.charges().await.len(), before + 1, "one charge, however often it was asked for");
    world.assert_reconciled().await;
    println!("the same request ran again {waited:?} after the broker was back");
}
