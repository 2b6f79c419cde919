//! From an answer to a payout its provider can check by itself.

use std::path::Path;
use std::time::Duration;

use api::commands::verify_payout;
use billing::receipt::issue;
use clap::Parser;
use http::Method;
use protocol::payout::PayoutChange;
use protocol::typed::Typed as _;
use serde_json::{Value, json};

use crate::live::{Live, PATIENCE, Setup, until};
use crate::support::{TestApp, text, wallet};

const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: verify_payout::Args,
}

/// `steelyard verify-payout …`.
fn verify(words: &[&str]) -> Result<Value, String> {
    let line = Line::try_parse_from(std::iter::once("verify-payout").chain(words.iter().copied())).unwrap();
    verify_payout::execute(&line.args).map_err(|error| error.to_string())
}

/// A broker that signs receipts and pays whatever there is, and one node.
async fn paying(artefacts: &Path) -> Live {
    let setup = Setup::nodes(1).with(|config| {
        config.receipts.secret = Some("07".repeat(32).into());
        config.receipts.chain_id = 8_453;
        config.payouts.artefacts_dir = artefacts.to_owned();
        config.payouts.min_payout_usd = 0;
    });
    setup.start().await
}

async fn own(live: &Live, method: Method, path: &str, body: Value) -> (u16, Value) {
    let path = format!("/v1/providers/{}{path}", live.providers[0]);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = live.call(method, &path, Some(&live.provider_keys[0]), body).await.reply().await;
    (reply.status.as_u16(), reply.json)
}

#[tokio::test]
async fn an_answer_becomes_a_receipt_a_statement_and_a_payout_that_anybody_can_check() {
    let folder = tempfile::tempdir().unwrap();
    let live = paying(&folder.path().join("artefacts")).await;
    let (request, _) = live.told(json!({})).await;
    let billed = live.billed(request).await;
    let reported = async || {
        let count = sqlx::query_scalar!("select count(*) from usage_reports where signed ->> 'ticket' is not null");
        count.fetch_one(&live.app.db).await.unwrap() == Some(1)
    };
    until("the node reports, and hands its ticket back", PATIENCE, reported).await;

    // An hour later the receipt is given; a newcomer's first earnings wait for its fourteenth day.
    let (receipts, epochs) = (live.app.receipts.as_ref().unwrap(), live.app.epochs.as_ref().unwrap());
    let now = live.app.env.now();
    epochs.advance(now).await.unwrap();
    billing::run::judge_reports(&live.app.db, now.plus(HOUR)).await.unwrap();
    assert_eq!(issue::advance(receipts, now.plus(HOUR)).await.unwrap().receipts, 1);
    let (status, listed) = own(&live, Method::GET, "/receipts", Value::Null).await;
    assert_eq!((status, listed["data"].as_array().unwrap().len()), (200, 1), "{listed}");
    let receipt = &listed["data"][0];
    assert_eq!((&receipt["flags"], &receipt["dispute"]), (&json!([]), &Value::Null));
    let net: protocol::NanoUsd = text(&receipt["net_usd"]).parse().unwrap();
    assert_eq!(net.nano(), billed.attempts[0].earned);
    let id = text(&receipt["id"]);
    let told = live.call(Method::GET, &format!("/v1/generation?id={request}"), Some(&live.key), "").await.reply().await;
    assert_eq!(told.json["data"]["receipt_id"], json!(id));
    let dispute = json!({ "reason": "there were more tokens" });
    assert_eq!(own(&live, Method::POST, &format!("/receipts/{id}/dispute"), dispute.clone()).await.0, 201);
    let again = own(&live, Method::POST, &format!("/receipts/{id}/dispute"), dispute).await;
    assert_eq!((again.0, &again.1["dispute"]), (200, &json!("open")));

    for day in 1..=16 {
        while epochs.advance(now.plus(HOUR * 24 * day)).await.unwrap() {}
    }
    let (_, payouts) = own(&live, Method::GET, "/payouts", Value::Null).await;
    let payout = &payouts["data"][0];
    assert_eq!((&payout["receipts"], &payout["status"]), (&json!(1), &json!("frozen")), "{payouts}");
    let id = text(&payout["id"]);
    assert_eq!(own(&live, Method::GET, &format!("/payouts/{id}"), Value::Null).await.1["usd"], receipt["net_usd"]);
    let (status, balance) = own(&live, Method::GET, "/balance", Value::Null).await;
    assert_eq!((status, &balance["earned_usd"]), (200, &receipt["net_usd"]), "{balance}");
    assert_eq!(balance["claim"], Value::Null, "no tree is active");
    let checked = own(&live, Method::GET, &format!("/payouts/{id}/verification"), Value::Null).await.1;
    assert_eq!((&checked["verified"], &checked["unsigned"]), (&json!(true), &json!(0)), "{checked}");
    let statement = own(&live, Method::GET, &format!("/payouts/{id}/statement"), Value::Null).await.1;
    assert_eq!(statement["claim"]["root"], checked["leaves_root"]);
    let path = format!("/v1/epochs/{}/manifest", payout["epoch"]);
    let public = live.call(Method::GET, &path, None, "").await.reply().await;
    assert_eq!(public.json["manifest"]["leaves_root"], checked["leaves_root"], "everybody may see it");
    assert_eq!(live.call(Method::GET, "/v1/epochs/99/manifest", None, "").await.reply().await.status, 404);

    // What was downloaded is checked without the broker.
    let (_, bundle) = own(&live, Method::GET, &format!("/payouts/{id}/bundle"), Value::Null).await;
    let files = folder.path().join("bundle");
    std::fs::create_dir(&files).unwrap();
    for (name, content) in bundle["files"].as_object().unwrap() {
        std::fs::write(files.join(name), content.as_str().unwrap()).unwrap();
    }
    let (files, whole) = (files.to_str().unwrap().to_owned(), folder.path().join("bundle.json"));
    std::fs::write(&whole, bundle.to_string()).unwrap();
    let (signer, owner) = (receipts.signer().to_string(), wallet(1).address().to_string());
    let found = verify(&[&files, "--signer", &signer, "--wallet", &owner]).unwrap();
    assert_eq!(found, verify(&[whole.to_str().unwrap()]).unwrap(), "as it was downloaded, it says the same");
    assert_eq!(found["payee"], json!(owner));
    let strange = verify(&[&files, "--signer", &owner]).unwrap_err();
    assert!(strange.contains("NOT verified"), "{strange}");
    let path = Path::new(&files).join("receipts.jsonl");
    let changed = std::fs::read_to_string(&path).unwrap().replacen("\"request\":1}", "\"request\":2}", 1);
    std::fs::write(&path, changed).unwrap();
    let refused = verify(&[&files]).unwrap_err();
    assert!(refused.contains("receipts.jsonl"), "{refused}");
    live.books_add_up().await;
}

#[tokio::test]
async fn a_payout_account_moves_with_both_signatures_and_can_be_called_back() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let path = format!("/v1/providers/{}/payout_account", node.provider);
    let account = |seed| format!("eip155:8453:{}", wallet(seed).address());
    let before = test.get(&path).bearer(&node.key).send().await.json;
    assert_eq!((&before["account"], &before["next_nonce"]), (&json!(account(1)), &json!(1)));
    let change = PayoutChange { provider: node.provider.parse().unwrap(), nonce: 1, from: account(1), to: account(2) };
    let sign = |seed| wallet(seed).sign_digest(&change.digest_anywhere());
    let body =
        |old, new| json!({ "account": change.to, "nonce": 1, "old_signature": sign(old), "new_signature": sign(new) });
    let stolen = test.post(&path, &body(2, 2)).bearer(&node.key).send().await;
    assert_eq!((stolen.status.as_u16(), stolen.code()), (400, Some("invalid_state")), "{}", stolen.json);
    let asked = test.post(&path, &body(1, 2)).bearer(&node.key).send().await;
    assert_eq!((asked.status.as_u16(), &asked.json["pending"]["account"]), (202, &json!(account(2))));
    assert_eq!(asked.json["account"], json!(account(1)), "for two days nothing has moved");
    let told = "select count(*) from outbox_events where body ->> 'type' = 'payout_change_requested'";
    assert_eq!(sqlx::query_scalar::<_, i64>(told).fetch_one(&test.app.db).await.unwrap(), 1, "everybody hears of it");
    let called_back = test.post(&format!("{path}/cancel"), &json!({})).bearer(&node.key).send().await;
    assert_eq!((called_back.status.as_u16(), &called_back.json["pending"]), (200, &Value::Null));
    assert_eq!(test.post(&format!("{path}/cancel"), &json!({})).bearer(&node.key).send().await.status, 400);
    test.clock.advance(HOUR * 72);
    assert_eq!(test.get(&path).bearer(&node.key).send().await.json["account"], json!(account(1)));
    let old = test.post(&path, &body(1, 2)).bearer(&node.key).send().await;
    assert_eq!(old.status, 400, "the number of a change counts once");
}
