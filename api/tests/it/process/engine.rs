//! `steelyard demo` with the real engine, from start to Ctrl-C.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use protocol::receipt::SignedReport;
use rustix::process::Signal;
use serde_json::Value;
use sqlx::PgPool;

use super::caller::Caller;
use super::spawn::{Process, descendants, folder, is_alive, postmaster, steelyard, until};
use super::world::{command, read};

/// Names the folder the engine was set up in.
const ENGINE_DIR: &str = "STEELYARD_TEST_ENGINE_DIR";
/// A model loads from a cold disk, on a machine that builds at the same time.
pub(super) const START_LIMIT: Duration = Duration::from_secs(90);
/// What the demo serves.
pub(super) const MODEL: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

/// Where the engine is; without one the test is skipped, loudly.
pub(super) fn engine_dir() -> Option<PathBuf> {
    let found = std::env::var_os(ENGINE_DIR).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if found.is_none() {
        // Past the test runner's capture, which keeps what passing tests print to itself.
        let words = format!("\n!! SKIPPED: {ENGINE_DIR} is not set, so nothing was tried with a real engine !!\n");
        let _ = writeln!(std::io::stderr(), "{words}");
    }
    found
}

/// Starts the demo in a folder.
pub(super) fn demo(engine: &Path, dir: &Path, once: bool) -> Process {
    let mut command = steelyard();
    command.args(["demo", "--listen", "127.0.0.1:0", "--dir"]).arg(dir).arg("--engine-dir").arg(engine);
    if once {
        command.arg("--once");
    }
    // Shown when the test fails; alone, the demo keeps it to itself.
    command.env("STEELYARD_TELEMETRY__LOG_FILTER", "info");
    // A long answer would only cost time.
    command.args(["--prompt", "What is a balance? Answer with one short sentence."]);
    Process::spawn(command, &dir.join("demo.log"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_answers_once_and_prints_the_bill() {
    let Some(engine) = engine_dir() else { return };
    let dir = folder();
    let started = Instant::now();
    let mut demo = demo(&engine, dir.path(), true);
    until("the demo is ready", START_LIMIT, async || {
        demo.assert_running();
        dir.path().join("env").exists().then_some(())
    })
    .await;
    let env = environment(dir.path());
    let mut below = descendants(demo.pid());
    below.push(postmaster(&env["DATABASE_URL"]).await);
    let status = demo.ended(START_LIMIT).await;
    let said = demo.said();
    assert!(status.success(), "{status}: {said}");
    for line in
        ["The bill of chatcmpl-", "tokens at", "cost", "to the provider", "margin", "balance before", "balance after"]
    {
        assert!(said.contains(line), "{line:?} is missing from the bill: {said}");
    }
    let amount = |label: &str| -> f64 {
        let line = said.lines().find(|line| line.trim_start().starts_with(label)).unwrap();
        line.split_whitespace().rev().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!(amount("credit after") - amount("credit before"), 10.0, "the page of the fake was paid: {said}");
    let (cost, share, margin) = (amount("cost"), amount("to the provider"), amount("margin"));
    assert!(cost > 0.0 && share > 0.0 && margin > 0.0, "{said}");
    assert!((share + margin - cost).abs() < 5e-10, "{share} + {margin} is not {cost}");
    assert!((amount("balance before") - cost - amount("balance after")).abs() < 5e-10, "{said}");
    assert_gone(&below).await;
    println!("demo --once took {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_serves_until_it_is_interrupted() {
    let Some(engine) = engine_dir() else { return };
    let dir = folder();
    let started = Instant::now();
    let mut demo = demo(&engine, dir.path(), false);
    until("the demo stays up", START_LIMIT, async || {
        demo.assert_running();
        demo.said().contains("Everything stays up").then_some(())
    })
    .await;
    println!("demo up after {:?}", started.elapsed());
    let env = environment(dir.path());
    let caller = Caller {
        url: env["STEELYARD_URL"].clone(),
        key: env["STEELYARD_API_KEY"].clone(),
        model: MODEL.to_owned(),
        progress: Arc::default(),
    };
    let database = &env["DATABASE_URL"];
    let db = sqlx::postgres::PgPoolOptions::new().max_connections(2).connect(database).await.unwrap();

    chunks_come_one_by_one(&caller).await;
    leaving_frees_the_engine(&caller, dir.path()).await;
    counts_agree(&db).await;
    let said = command(database, &["reconcile"]).await;
    assert!(!said.contains("DIFFERS"), "{said}");
    db.close().await;

    let mut below = descendants(demo.pid());
    below.push(postmaster(database).await);
    for program in ["steelyard-node", "postgres -D", "python"] {
        assert!(below.iter().any(|pid| command_of(*pid).contains(program)), "no {program} was started");
    }
    let asked = Instant::now();
    demo.signal(Signal::INT);
    let status = demo.ended(Duration::from_secs(30)).await;
    assert!(status.success(), "{status}: {}", demo.said());
    assert_gone(&below).await;
    println!("all {} processes gone {:?} after SIGINT", below.len(), asked.elapsed());
}

/// `<dir>/env`: five variables, for its owner's eyes.
pub(super) fn environment(dir: &Path) -> HashMap<String, String> {
    let path = dir.join("env");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = read(path);
    // Quoted where a shell would read more into it.
    let pairs = text.lines().map(|line| line.split_once('=').unwrap());
    let env: HashMap<_, _> =
        pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect();
    let wanted =
        ["STEELYARD_URL", "STEELYARD_API_KEY", "STEELYARD_ADMIN_KEY", "STEELYARD_PROVIDER_KEY", "DATABASE_URL"];
    assert_eq!(env.len(), wanted.len());
    for name in wanted {
        assert!(env.get(name).is_some_and(|value| !value.is_empty()), "{name} is missing");
    }
    env
}

async fn chunks_come_one_by_one(caller: &Caller) {
    let answer = caller.stream(48).await;
    assert!(answer.is_whole(), "{answer:?}");
    let (pieces, usage) = (&answer.pieces, answer.usage.as_ref().unwrap());
    let told = usage["completion_tokens"].as_u64().unwrap();
    assert!(pieces.len() >= 8, "{} pieces: {}", pieces.len(), answer.text);
    assert!(pieces.len() as u64 <= told + 1, "{} pieces of {told} tokens", pieces.len());
    // In lumps, all but a few would come at the same instant.
    let apart = pieces.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_micros(500)).count();
    assert!(apart * 2 > pieces.len(), "{apart} of {} pieces came by themselves", pieces.len());
}

/// A client that leaves stops the engine: its slot is idle within a second.
async fn leaving_frees_the_engine(caller: &Caller, dir: &Path) {
    let config = read(dir.join("node/node.toml"));
    let engine = config.lines().find_map(|line| line.strip_prefix("url = \"")?.strip_suffix('"')).unwrap();
    let engine = Caller { url: engine.to_owned(), ..caller.counted() };
    let busy = async || {
        let (_, slots) = engine.get("/slots").await.unwrap();
        slots.as_array().unwrap().iter().filter(|slot| slot["is_processing"] == true).count()
    };
    until("the engine is idle", Duration::from_secs(5), async || (busy().await == 0).then_some(())).await;
    let mut body = caller.chat(1_500, true);
    // Nothing but the limit may end it: it counts for as long as it is let.
    body["messages"][0]["content"] = Value::from("Count from 1 to 2000, one number per line. Do not stop.");
    let mut response = caller.open(body).await.unwrap();
    for _ in 0..5 {
        response.body_mut().frame().await.unwrap().unwrap();
    }
    assert_eq!(busy().await, 1, "the engine works on it");
    drop(response);
    let (_, freed) =
        until("the slot is idle again", Duration::from_secs(1), async || (busy().await == 0).then_some(())).await;
    println!("slot idle {freed:?} after the client left");
}

/// The node's signed reports arrive, belong to attempts, and count what the broker counted.
async fn counts_agree(db: &PgPool) {
    // The demo's own question, the streamed one, and the one that was left.
    let reported = "select count(*) from attempts join usage_reports using (attempt_id)";
    until("every attempt has its node's report", Duration::from_secs(10), async || {
        let reported: i64 = sqlx::query_scalar(reported).fetch_one(db).await.unwrap();
        (reported == 3).then_some(())
    })
    .await;
    // Probes, the broker's own questions, are reported too and stand in no books.
    let strange = "select count(*) from usage_reports r join usage u using (request_id)
                     left join attempts a using (attempt_id, request_id, node_id, offer_id, price_version)
                    where a.attempt_id is null";
    assert_eq!(sqlx::query_scalar::<_, i64>(strange).fetch_one(db).await.unwrap(), 0, "reports without an attempt");
    type Row = (protocol::AttemptId, String, i64, i64, i64, i64, Value, Vec<u8>);
    let rows: Vec<Row> = sqlx::query_as(
        "select a.attempt_id, a.outcome, a.prompt + a.cached_prompt, a.completion, r.prompt + r.cached_prompt,
                r.completion, r.signed, k.address
           from attempts a join usage_reports r using (attempt_id) join receipt_keys k on k.node_id = a.node_id",
    )
    .fetch_all(db)
    .await
    .unwrap();
    let mut whole = 0;
    for (attempt, outcome, prompt, completion, node_prompt, node_completion, signed, key) in rows {
        let signed: SignedReport = serde_json::from_value(signed).unwrap();
        let signer = signed.signer(&billing::ReceiptsConfig::default().domain()).unwrap();
        assert_eq!(signer.bytes().as_slice(), key, "{attempt} is signed by another key");
        // What was still on its way when a client left, the node counts and the broker does not.
        if ["completed", "length"].contains(&outcome.as_str()) {
            assert_near(attempt, "prompt", prompt, node_prompt);
            assert_near(attempt, "completion", completion, node_completion);
            whole += 1;
        }
    }
    assert!(whole >= 2, "only {whole} whole answers were compared");
}

/// Within 2 %, and to the token where that is less than one.
fn assert_near(attempt: protocol::AttemptId, what: &str, own: i64, reported: i64) {
    let apart = (own - reported).abs();
    assert!(apart * 50 <= own.max(50), "{attempt}: {what} is {own} by our count, {reported} by the node's");
}

fn command_of(pid: u32) -> String {
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ")
}

/// None of them is left, or will be in a moment.
async fn assert_gone(pids: &[u32]) {
    assert!(!pids.is_empty());
    until("every child is gone", Duration::from_secs(5), async || {
        (!pids.iter().any(|pid| is_alive(*pid))).then_some(())
    })
    .await;
}
