//! A whole comparison, small: an engine, and the bare proxy before it.

use std::time::Duration;

use loadtest::compare::{self, Budget, Plan, Targets};
use node::engine::Faults;

use crate::proxy::{engine, proxy};

#[tokio::test]
async fn every_figure_of_a_comparison_is_measured() {
    let (engine, _) = engine(
        &["fast,ttft_ms=0,tpot_ms=0", "paced,ttft_ms=5,tpot_ms=10", "slow,ttft_ms=0,tpot_ms=400"],
        Faults::default(),
    )
    .await;
    let bare = proxy(engine.url.clone()).await;
    let own = std::process::id();
    let text = format!(
        r#"
        baseline = "engine"
        yardstick = "bare"
        [[target]]
        name = "engine"
        url = "{}"
        pids = [{own}]
        [[target]]
        name = "bare"
        url = "{}"
        pids = [{own}]
        "#,
        engine.url, bare.url
    );
    let targets: Targets = toml::from_str(&text).unwrap();
    let plan = Plan {
        fast: "fast".into(),
        paced: "paced".into(),
        slow: "slow".into(),
        repetitions: 2,
        step: Duration::from_millis(150),
        concurrency: 4,
        json_tokens: 4,
        streams: 8,
        stream_tokens: 20,
        pace_ms: 10.0,
        ramp: Duration::from_millis(50),
    };
    let found = compare::run(targets, &plan).await.unwrap();
    for figures in &found.figures {
        assert_eq!((figures.failures, figures.requests_per_s.len(), figures.p99_us.len()), (0, 2, 2));
        assert!(figures.requests_per_s.iter().chain(&figures.chunks_per_s).all(|rate| *rate > 0.0));
        assert!(figures.rss_idle > 0.0 && figures.rss_per_stream.is_some());
        let gap = figures.gap_p50_us.unwrap();
        assert!((5_000..40_000).contains(&gap), "{gap}");
    }
    let printed = compare::print(&found);
    assert!(printed.contains("CPU µs an answer") && printed.contains("1.00×"), "{printed}");
    // Neither is a broker, so nobody is held to the budget and there is no ledger to ask.
    assert!(compare::verdicts(&found, &Budget::default(), plan.pace_ms).is_empty());
    assert!(found.money.is_empty());
    assert_eq!(compare::to_json(&found, &Budget::default())["targets"].as_array().unwrap().len(), 2);
}
