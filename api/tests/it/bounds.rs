//! Engines and offers that would cost more than was set aside: nobody pays for it, and nobody is paid.

use std::time::{Duration, Instant};

use node::engine::Fault;
use serde_json::json;

use crate::live::{Live, PATIENCE, Setup, content, finish, last_error};

/// An answer of at most three tokens from an engine that has forty to say.
async fn is_cut(fault: Fault, most_shown: usize) {
    let live = Setup::nodes(1).pace(40, 1.0).start().await;
    live.break_node(0, fault);
    for stream in [true, false] {
        let fields = json!({ "max_tokens": 3, "stream": stream });
        let (request, shown) = if stream {
            let (request, frames) = live.told(fields).await;
            assert_eq!(finish(&frames), ["length"], "{fault:?}");
            (request, content(&frames, 0))
        } else {
            let wire = live.chat(fields).await;
            let request = wire.request();
            let reply = wire.reply().await;
            assert_eq!(reply.json["usage"]["completion_tokens"], 3, "{fault:?}");
            (request, reply.json["choices"][0]["message"]["content"].as_str().unwrap().to_owned())
        };
        assert!(!stream || shown.split_whitespace().count() <= most_shown, "{fault:?}: {shown:?}");
        let billed = live.billed(request).await;
        // What comes all at once ends as its engine says; the bill is the same.
        assert!(billed.outcome == "length" || !stream, "{fault:?}: {billed:?}");
        assert_eq!((billed.completion, billed.clamped), (3, 0), "{fault:?}");
        assert!(billed.charge <= billed.hold && billed.attempts[0].earned < billed.charge, "{billed:?}");
    }
    live.until_idle(PATIENCE).await;
    live.books_add_up().await;
}

#[tokio::test]
async fn an_engine_that_ignores_its_limit_is_cut_and_paid_up_to_it() {
    is_cut(Fault::IgnoreLimit, 5).await;
}

#[tokio::test]
async fn an_engine_that_says_much_at_once_is_paid_up_to_the_limit() {
    is_cut(Fault::Lump { tokens: 1_000 }, 4_000).await;
}

#[tokio::test]
async fn a_prompt_nobody_counted_is_never_billed_by_its_bytes() {
    let live = Setup::nodes(1).pace(1_000, 5.0).start().await;
    let words = "word ".repeat(2_000);
    let fields = json!({ "stream": true, "messages": [{ "role": "user", "content": words }] });
    let mut wire = live.chat(fields).await;
    let request = wire.request();
    for _ in 0..4 {
        wire.frame().await.unwrap();
    }
    drop(wire);
    let billed = live.billed(request).await;
    assert_eq!(billed.outcome, "client_left");
    // At a dollar for a million: 10 kB of text are some 2,500 tokens, not ten thousand.
    assert!((1_000_000..3_600_000).contains(&billed.charge), "{billed:?}");
    live.books_add_up().await;
}

#[tokio::test]
async fn a_second_choice_dearer_than_the_hold_is_not_turned_to() {
    let mut live = Setup::nodes(1).with(|config| config.scheduler.attempt.plan_fresh_ms = 0).start().await;
    live.break_node(0, Fault::Refuse { status: 500 });
    // Joins once the first has been chosen for good: only a later look finds it.
    let dear = Setup::nodes(1);
    live.launch_at(2, &dear, "10", "100").await;
    live.until_ready(&dear).await;
    // Nothing bounds the answer, so more is held than is expected of it, and only for the cheap offer.
    let wire = live.chat(json!({ "provider": { "order": ["provider-1"], "max_price": { "completion": 20 } } })).await;
    let request = wire.request();
    assert_eq!(wire.reply().await.status.as_u16(), 502);
    let billed = live.billed(request).await;
    assert_eq!((billed.charge, billed.attempts.len()), (0, 1), "{billed:?}");
}

#[tokio::test]
async fn silence_after_the_first_token_has_its_own_shorter_limit() {
    let limits = Setup::nodes(1).with(|config| {
        let attempt = &mut config.scheduler.attempt;
        (attempt.first_content_min_ms, attempt.first_content_max_ms) = (60_000, 60_000);
        (attempt.gap_min_ms, attempt.gap_max_ms) = (300, 300);
    });
    let live = limits.start().await;
    live.break_node(0, Fault::StallAfter { chunks: 2 });
    let began = Instant::now();
    let (_, frames) = live.told(json!({})).await;
    last_error(&frames);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn two_choices_need_a_context_each_and_no_more() {
    let live = Live::start().await;
    let reply = live.chat(json!({ "n": 2, "max_tokens": 20_000 })).await.reply().await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.json);
    assert_eq!(reply.json["choices"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_offer_that_refuses_what_another_serves_is_blamed() {
    let live = Setup::nodes(2).start().await;
    live.break_node(0, Fault::Refuse { status: 400 });
    for _ in 0..5 {
        let fields = json!({ "provider": { "order": ["provider-1", "provider-2"] } });
        assert_eq!(live.chat(fields).await.reply().await.status.as_u16(), 200);
    }
    let snapshot = live.app.scheduler.snapshot();
    let blamed = snapshot.offers().find(|offer| offer.slug() == "provider-1").unwrap();
    assert!(blamed.live.exclusion(live.app.env.now()).is_some(), "its breaker is open");
}
