//! Tools with the real engine, whose model's template knows of none.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::caller::Caller;
use super::engine::{MODEL, START_LIMIT, demo, engine_dir, environment};
use super::spawn::{folder, until};

/// A function whose only argument is one of two words: a small model may write a text without end.
fn function(name: &str) -> Value {
    let parameters = json!({
        "type": "object", "properties": { "city": { "$ref": "#/$defs/city" } }, "required": ["city"],
        "additionalProperties": false, "$defs": { "city": { "enum": ["Paris", "Rome"] } },
    });
    json!({ "type": "function", "function": { "name": name, "strict": true, "parameters": parameters } })
}

fn asked(caller: &Caller, tools: &[&str], choice: Value) -> Value {
    let mut body = caller.chat(128, false);
    body["messages"][0]["content"] = "What is the weather in the capital of France?".into();
    body["tools"] = tools.iter().map(|name| function(name)).collect();
    (body["tool_choice"], body["temperature"]) = (choice, json!(0));
    body
}

/// The text of an answer, whole or streamed.
async fn answer(caller: &Caller, body: Value) -> String {
    let response = caller.open(body).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_engine_calls_tools_that_its_template_does_not_know() {
    let Some(engine) = engine_dir() else { return };
    let dir = folder();
    let mut demo = demo(&engine, dir.path(), false);
    until("the demo stays up", START_LIMIT, async || {
        demo.assert_running();
        demo.said().contains("Everything stays up").then_some(())
    })
    .await;
    let env = environment(dir.path());
    let caller = Caller {
        url: env["STEELYARD_URL"].clone(),
        key: env["STEELYARD_API_KEY"].clone(),
        model: MODEL.to_owned(),
        progress: Arc::default(),
    };

    let named = json!({ "type": "function", "function": { "name": "time" } });
    let cases: [(&[&str], Value, &[&str]); 3] = [
        (&["weather"], json!("required"), &["weather"]),
        (&["weather", "time"], named, &["time"]),
        (&["weather", "time", "tides"], json!("required"), &["weather", "time", "tides"]),
    ];
    for (tools, choice, possible) in cases {
        let whole: Value = serde_json::from_str(&answer(&caller, asked(&caller, tools, choice)).await).unwrap();
        let choice = &whole["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
        let function = &choice["message"]["tool_calls"][0]["function"];
        assert!(possible.contains(&function["name"].as_str().unwrap()), "{whole}");
        let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        assert!(["Paris", "Rome"].map(Value::from).contains(&arguments["city"]), "{whole}");
    }
    streamed(&caller).await;

    let db = sqlx::postgres::PgPoolOptions::new().max_connections(2).connect(&env["DATABASE_URL"]).await.unwrap();
    counts_hold(&db).await;
    db.close().await;
    demo.signal(Signal::INT);
    assert!(demo.ended(START_LIMIT).await.success(), "{}", demo.said());
}

/// The same as a stream: one opening, and fragments that make up the arguments.
async fn streamed(caller: &Caller) {
    let mut body = asked(caller, &["weather", "time"], json!("required"));
    body["stream"] = true.into();
    let told = answer(caller, body).await;
    let chunks = told.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let (mut names, mut arguments, mut finish) = (0, String::new(), Value::Null);
    for chunk in chunks {
        let choice = &chunk["choices"][0];
        let function = &choice["delta"]["tool_calls"][0]["function"];
        names += usize::from(function["name"].is_string());
        arguments.push_str(function["arguments"].as_str().unwrap_or_default());
        finish = choice["finish_reason"].clone();
    }
    assert_eq!((names, finish), (1, json!("tool_calls")), "{told}");
    let arguments: Value = serde_json::from_str(&arguments).unwrap();
    assert!(["Paris", "Rome"].map(Value::from).contains(&arguments["city"]), "{told}");
}

/// The prompt the engine read is the one that is billed, and no more is billed of an answer than the engine made: held to a
/// schema, it makes a text of more tokens than its vocabulary needs for it, and the text is what counts.
async fn counts_hold(db: &PgPool) {
    // The demo's own question, three whole answers and a streamed one.
    let reported = "select count(*) from attempts join usage_reports using (attempt_id)";
    until("every attempt has its node's report", Duration::from_secs(10), async || {
        let reported: i64 = sqlx::query_scalar(reported).fetch_one(db).await.unwrap();
        (reported == 5).then_some(())
    })
    .await;
    let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "select a.prompt + a.cached_prompt, r.prompt + r.cached_prompt, a.completion, r.completion
           from attempts a join usage_reports r using (attempt_id) where a.outcome = 'completed'",
    )
    .fetch_all(db)
    .await
    .unwrap();
    assert!(rows.len() >= 4, "{rows:?}");
    for (prompt, read, completion, made) in rows {
        assert_eq!(prompt, read);
        assert!(completion > 0 && completion <= made, "{completion} tokens are billed of {made}");
    }
}
