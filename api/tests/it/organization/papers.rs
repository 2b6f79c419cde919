//! The journal and the papers an organization takes home.

use std::time::Duration;

use billing::Month;
use protocol::{Env, Units};
use serde_json::{Value, json};

use super::{Organization, Till, id_of};
use crate::live::{PATIENCE, until};
use crate::support::{Reply, TestApp, text};

/// An organization that was given a dollar and spent a part of it, on a broker whose clock shows the time.
async fn spent(test: &TestApp) -> Organization {
    test.clock.set(Env::system().now());
    billing::run::ensure_partitions(&test.app.db, test.app.env.now()).await.unwrap();
    let org = Organization::open(test).await;
    test.admin(&["grant", "--org", &org.id, "--usd", "1", "--expires-days", "90"]).await;
    let till = Till::of(test, "org/chat", 1).await;
    let key = id_of(test, &org.inference).await;
    for completion in [5, 7] {
        till.ring(test, (&org.id, &org.project, key), Units { completion, ..Units::default() }).await;
    }
    org
}

/// Lines of the journal once all of what was booked is among them.
async fn ledger(test: &TestApp, org: &Organization, query: &str, lines: usize) -> Reply {
    until("every booking can be read", PATIENCE, async || {
        let all = org.get(test, "/v1/organization/ledger").await;
        all.text().lines().count() == lines
    })
    .await;
    org.get(test, &format!("/v1/organization/ledger{query}")).await
}

fn read(reply: &Reply) -> Vec<Value> {
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_ledger_is_exported_page_by_page_with_a_running_balance() {
    let test = TestApp::start().await;
    let org = spent(&test).await;
    let all = ledger(&test, &org, "", 3).await;
    assert_eq!((all.header("content-type"), all.header("x-has-more")), (Some("application/jsonl"), Some("false")));
    let told: Vec<_> = read(&all)
        .iter()
        .map(|line| (text(&line["type"]), text(&line["amount_usd"]), text(&line["balance_usd"])))
        .collect();
    let expected =
        [("promo", "1.00", "1.00"), ("usage", "-0.000000005", "0.999999995"), ("usage", "-0.000000007", "0.999999988")];
    assert_eq!(told, expected.map(|(kind, amount, balance)| (kind.into(), amount.into(), balance.into())));
    let first = ledger(&test, &org, "?limit=2", 3).await;
    assert_eq!((read(&first), first.header("x-has-more")), (read(&all)[..2].to_vec(), Some("true")));
    let last = text(&read(&first)[1]["id"]);
    let rest = ledger(&test, &org, &format!("?limit=2&after={last}"), 3).await;
    assert_eq!((read(&rest), rest.header("x-has-more")), (read(&all)[2..].to_vec(), Some("false")));
    let table = ledger(&test, &org, &format!("?format=csv&after={last}"), 3).await;
    let line = &read(&all)[2];
    let booked_at = protocol::Timestamp::from_unix_seconds(line["booked_at"].as_i64().unwrap()).rfc3339();
    let expected = format!(
        "id,booked_at,type,counter_account,amount_usd,balance_usd\r\n{},{booked_at},usage,revenue,-0.000000007,0.999999988\r\n",
        text(&line["id"])
    );
    assert_eq!((table.header("content-type"), table.text()), (Some("text/csv; charset=utf-8"), expected));

    let other = Organization::open(&test).await;
    assert_eq!(other.get(&test, "/v1/organization/ledger").await.text(), "");
    let theirs = other.get(&test, &format!("/v1/organization/ledger?after={last}")).await;
    assert_eq!((theirs.status.as_u16(), &theirs.json["error"]["param"]), (400, &json!("after")));
    for wrong in ["after=txn_1", "format=xml", "limit=0", "limit=10001"] {
        assert_eq!(org.get(&test, &format!("/v1/organization/ledger?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_statement_is_listed_and_downloaded_by_its_organization_only() {
    let test = TestApp::start().await;
    let org = spent(&test).await;
    let month = Month::of(test.app.env.now());
    let later = month.ends_at().plus(Duration::from_secs(3_600));
    let issue = || billing::document::issue(&test.app.db, &test.app.env, "Steelyard Inc.", later);
    while issue().await.unwrap() == platform::worker::Next::Again {}
    let listed = org.get(&test, "/v1/organization/documents?kind=statement").await.json;
    let [one] = &listed["data"].as_array().unwrap()[..] else { panic!("not one statement: {listed}") };
    assert_eq!(
        (&one["kind"], &one["month"], &one["topup_id"]),
        (&json!("statement"), &json!(month.to_string()), &Value::Null)
    );
    assert_eq!(org.get(&test, "/v1/organization/documents?kind=receipt").await.json["data"], json!([]));
    assert_eq!(org.get(&test, "/v1/organization/documents?kind=letter").await.status, 400);
    let path = format!("/v1/organization/documents/{}", text(&one["id"]));
    let pdf = org.get(&test, &path).await;
    assert_eq!((pdf.status.as_u16(), pdf.header("content-type")), (200, Some("application/pdf")));
    assert_eq!(
        pdf.header("content-disposition"),
        Some(format!("attachment; filename=\"statement-{month}.pdf\"").as_str())
    );
    assert_eq!(pdf.header("etag"), Some(format!("\"{}\"", text(&one["pdf_sha256"])).as_str()));
    assert!(pdf.body.starts_with(b"%PDF-"));
    let csv = org.get(&test, &format!("{path}?format=csv")).await;
    assert_eq!((csv.status.as_u16(), csv.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    assert!(csv.text().ends_with("closing_balance,,,,,,,0.999999988\r\n"), "{}", csv.text());
    assert_eq!(org.get(&test, &format!("{path}?format=doc")).await.status, 400);
    let other = Organization::open(&test).await;
    assert_eq!(other.get(&test, &path).await.code(), Some("not_found"));
    assert_eq!(other.get(&test, "/v1/organization/documents").await.json["data"], json!([]));
}
