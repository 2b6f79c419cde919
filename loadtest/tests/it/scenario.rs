use loadtest::scenario::{Ask, Scenario};

const TEXT: &str = r#"
    name = "mixed"
    model = "org/name"
    seed = 5
    duration_s = 10
    arrivals = { kind = "poisson", rate_per_s = 100 }
    [[mix]]
    share = 3
    stream = true
    prompt_words = { median = 50, sigma = 1.0, max = 500 }
    output_tokens = { min = 4, max = 40 }
    leave_share = 0.25
    [[mix]]
    share = 1
    stream = false
    prompt_words = 7
    output_tokens = 9
"#;

#[test]
fn a_seed_decides_every_request() {
    let asks = |seed| {
        let mut scenario = Scenario::parse(TEXT).unwrap();
        scenario.seed = seed;
        scenario.asks().take(200).collect::<Vec<Ask>>()
    };
    assert_eq!(asks(5), asks(5));
    assert_ne!(asks(5), asks(6));
}

#[test]
fn the_mix_has_the_shares_it_says() {
    let scenario = Scenario::parse(TEXT).unwrap();
    let asks: Vec<Ask> = scenario.asks().take(20_000).collect();
    let share = |count: usize, of: usize| count as f64 / of as f64;
    let streams = asks.iter().filter(|ask| ask.stream).count();
    assert!((share(streams, asks.len()) - 0.75).abs() < 0.02, "{streams}");
    let left = asks.iter().filter(|ask| ask.leave_after.is_some()).count();
    assert!((share(left, streams) - 0.25).abs() < 0.02, "{left}");
    assert!(asks.iter().all(|ask| ask.stream || ask.leave_after.is_none()));
    for ask in asks.iter().take(500) {
        let body: serde_json::Value = serde_json::from_slice(&ask.body).unwrap();
        let words = body["messages"][0]["content"].as_str().unwrap().split_whitespace().count();
        assert!((1..=500).contains(&words));
        // A stream that is not asked for its usage never says what it cost.
        assert_eq!(body["stream_options"]["include_usage"].as_bool(), ask.stream.then_some(true));
    }
}

#[test]
fn nonsense_is_refused_with_the_key_at_fault() {
    for (find, put, key) in [
        ("duration_s = 10", "duration_s = 0", "duration_s"),
        ("rate_per_s = 100", "rate_per_s = -1", "rate_per_s"),
        ("seed = 5", "seed = 5\ncolour = 1", "colour"),
        ("min = 4, max = 40", "min = 40, max = 4", "min"),
        ("leave_share = 0.25", "leave_share = 2.0", "leave_share"),
    ] {
        let error = Scenario::parse(&TEXT.replacen(find, put, 1)).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn every_scenario_in_the_repository_can_be_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        Scenario::load(&entry.unwrap().path()).unwrap();
        count += 1;
    }
    assert!(count >= 4);
}
