//! How providers join, and what they and their nodes say.

use serde_json::{Value, json};

use super::accounts::no_names;
use super::cast::Cast;
use super::table::{Case, Endpoint};
use crate::support::wallet;

/// The endpoints of this family.
pub fn table() -> Vec<Endpoint> {
    let mut table = vec![register(), challenge(), verify(), create_node()];
    table.extend(orders());
    table.extend([session(), heartbeat(), reports(), receipt_key(), dispute(), bandwidth()]);
    table.extend(payout_account());
    table.extend(webhooks("/providers/{provider}"));
    table
}

#[tokio::test]
async fn what_no_provider_can_mean_is_refused_by_its_field_and_changes_nothing() {
    Cast::start().await.play(&table()).await;
}

/// The endpoints of webhooks, which organizations and providers both have.
pub fn webhooks(owner: &str) -> [Endpoint; 3] {
    let [all, one, rotate] = match owner {
        "/organization" => [
            "/organization/webhooks",
            "/organization/webhooks/{webhook}",
            "/organization/webhooks/{webhook}/rotate_secret",
        ],
        _ => [
            "/providers/{provider}/webhooks",
            "/providers/{provider}/webhooks/{webhook}",
            "/providers/{provider}/webhooks/{webhook}/rotate_secret",
        ],
    };
    let told = |endpoint: Endpoint| {
        endpoint
            .refuses("url", [json!(5), json!(""), json!("hook"), json!("ftp://customer.example/")])
            .refuses("url", [json!("http://127.0.0.1/"), json!("https://customer.example/\u{0}")])
            .refuses("url", [json!(format!("https://customer.example/{}", "x".repeat(2_048)))])
            .refuses("events", [json!(5), json!("all")])
            .refuses_for("events[0]", "events", json!(["nothing.happened"]))
            .refuses_for("events[0]", "events", json!([5]))
            .refuses("description", [json!(5), json!("  "), json!("a\u{7}"), json!("x".repeat(201))])
    };
    let good = json!({ "url": "https://customer.example/other" });
    [
        told(Endpoint::post(all, good.clone(), 201)).needs(&["url"]),
        told(Endpoint::post(one, good, 200)).refuses("enabled", [json!("yes"), json!(1)]),
        Endpoint::post(rotate, json!({}), 200),
    ]
}

fn register() -> Endpoint {
    let wallet = wallet(3);
    let good = json!({
        "name": "Acme", "slug": "acme", "contact_email": "ops@acme.example", "country": "DE",
        "website": "https://acme.example", "privacy_policy_url": "https://acme.example/privacy", "terms_version": "1",
        "payout_account": format!("eip155:8453:{}", wallet.address()), "receipt_address": wallet.address(),
    });
    let no_pages = || [json!(5), json!("acme"), json!("javascript:alert(1)"), json!(format!("https://{:0500}", 1))];
    Endpoint::post("/providers", good, 201)
        .needs(&["name", "slug", "contact_email", "country", "terms_version", "payout_account", "receipt_address"])
        .refuses("name", no_names(200))
        .refuses("slug", [json!(5), json!("A"), json!("-a"), json!("a/b"), json!("x".repeat(41))])
        // Somebody else's.
        .refuses("slug", [json!("provider-1")])
        .refuses("contact_email", [json!(5), json!("nobody"), json!("a@b@c.d"), json!("a b@c.d")])
        .refuses("country", [json!("de"), json!("DEU"), json!(49)])
        .refuses("website", no_pages())
        .refuses("privacy_policy_url", no_pages())
        .refuses("terms_version", no_names(40))
        .refuses("payout_account", [json!(5), json!(""), json!("eip155:x:0x00"), json!(wallet.address())])
        .refuses("receipt_address", [json!(5), json!(""), json!("0x00"), json!(format!("0x{}", "G".repeat(40)))])
}

fn challenge() -> Endpoint {
    Endpoint::post("/providers/{provider}/challenges", json!({ "purpose": "register" }), 200)
        .needs(&["purpose"])
        .refuses("purpose", [json!(5), json!(""), json!("fun")])
}

/// The good one is signed with nothing, which is where it ends.
fn verify() -> Endpoint {
    let good = json!({ "challenge_id": "{challenge}", "signature": format!("0x{}", "00".repeat(65)) });
    Endpoint::post("/providers/{provider}/verify", good, 400)
        .needs(&["challenge_id", "signature"])
        .refuses("challenge_id", [json!(5), json!("x"), json!("chal_00000000000000000000000000000001")])
        .refuses("signature", [json!(5), json!(""), json!("0x"), json!("nonsense"), json!("0x".repeat(5_000))])
}

fn create_node() -> Endpoint {
    let gpu = json!({ "vendor": "nvidia", "model": "H100", "count": 1, "memory_mib": 81_920 });
    let good = json!({
        "public_key": "{public_key}", "mode": "tunnel",
        "hardware": { "gpus": [gpu], "cpu_cores": 2, "ram_mib": 4_096, "driver": "550" },
        "location": { "country_code": "DE", "region": "fra1" },
        "engine": { "name": "llama.cpp", "version": "1" }, "privacy": { "zdr": true, "training": false },
    });
    Endpoint::post("/providers/{provider}/nodes", good, 200)
        .needs(&["public_key", "mode", "hardware", "location", "engine", "location.country_code", "engine.name"])
        .refuses("public_key", [json!(5), json!(""), json!("AB".repeat(32)), json!("00".repeat(31))])
        .refuses("public_key", [json!(format!("01{}", "00".repeat(31)))])
        .refuses("mode", [json!("pigeon"), json!(5)])
        .refuses("base_url", [json!("https://node.example"), json!(5)])
        .refuses("upstream_key", [json!(5), json!("x".repeat(501)), json!("schl\u{fc}ssel")])
        .refuses("hardware", [json!(5), json!("a lot")])
        .refuses("hardware.gpus", [json!(5), json!(vec![gpu.clone(); 17])])
        .refuses("hardware.gpus[0].count", [json!(-1), json!("one")])
        .refuses("hardware.cpu_cores", [json!(-1), json!(1.5), json!("two"), json!(u64::MAX)])
        .refuses("hardware.driver", no_names(100))
        .refuses("location.country_code", [json!("de"), json!(""), json!(49)])
        .refuses("location.region", [json!("fra/1"), json!(""), json!("x".repeat(41)), json!(5)])
        .refuses("engine.name", no_names(40))
        .refuses("engine.version", no_names(100))
        .refuses("privacy", [json!(5)])
        .refuses("privacy.zdr", [json!("yes")])
}

fn orders() -> [Endpoint; 2] {
    let drain = Endpoint::post("/providers/{provider}/nodes/{node}/drain", json!({ "reason": "repair" }), 200)
        .refuses("deadline_s", [json!(-1), json!(1.5), json!("soon"), json!(86_401), json!(1_u64 << 32)])
        .refuses("reason", no_names(200));
    [drain, Endpoint::post("/providers/{provider}/nodes/{node}/resume", json!({}), 200)]
}

/// The good one is signed with nothing, which is where it ends.
fn session() -> Endpoint {
    let good = json!({ "nonce": "fedcba9876543210", "timestamp_ms": "{now}", "signature": "00".repeat(64) });
    Endpoint::post("/providers/{provider}/nodes/{node}/sessions", good, 401)
        .needs(&["nonce", "timestamp_ms", "signature"])
        .refuses("nonce", [json!(5), json!(""), json!("short"), json!("x".repeat(65)), json!("0123456789\nabcdef")])
        .refuses("timestamp_ms", [json!("now"), json!(1.5), json!(0), json!(i64::MIN), json!(i64::MAX)])
        .refuses("signature", [json!(5)])
}

fn heartbeat() -> Endpoint {
    let load = json!({ "offer_id": "offer_00000000000000000000000000000001", "in_flight": 0 });
    let gpu = json!({ "used_mib": 1, "util": 0.5 });
    let good = json!({ "seq": 1, "sent_at_ms": "{now}", "state": "ready", "offers": [], "gpus": [gpu] });
    Endpoint::post("/providers/{provider}/nodes/{node}/heartbeat", good, 200)
        .needs(&["seq", "sent_at_ms", "state"])
        .refuses("seq", [json!(-1), json!(1.5), json!("next"), json!(u64::MAX)])
        .refuses("sent_at_ms", [json!("now"), json!(1.5)])
        .refuses("state", [json!("asleep"), json!(5)])
        .refuses("offers", [json!(5), json!(vec![load; 101])])
        .refuses_for("offers[0].offer_id", "offers", json!([{ "offer_id": "offer_1", "in_flight": 0 }]))
        .refuses("gpus", [json!("many"), json!(vec![gpu.clone(); 101])])
        .refuses("gpus[0].used_mib", [json!(-1), json!("all")])
}

fn reports() -> Endpoint {
    Endpoint::post("/providers/{provider}/nodes/{node}/reports", json!({ "reports": [] }), 200)
        .needs(&["reports"])
        .refuses("reports", [json!(5), json!("none"), json!({})])
        .refuses_for("reports[0]", "reports", json!([5]))
}

fn receipt_key() -> Endpoint {
    let good = json!({ "key": wallet(4).address() });
    Endpoint::post("/providers/{provider}/nodes/{node}/receipt_keys", good, 200)
        .needs(&["key"])
        .refuses("key", [json!(5), json!(""), json!("0x00"), json!(format!("0x{}", "G".repeat(40)))])
        .refuses("delegation", [json!(5), json!(""), json!("0x00"), json!(format!("0x{}", "00".repeat(65)))])
}

/// There is no receipt yet, which is where the good one ends.
fn dispute() -> Endpoint {
    Endpoint::post("/providers/{provider}/receipts/{receipt}/dispute", json!({ "reason": "It made more." }), 404)
        .needs(&["reason"])
        .refuses("reason", [json!(5), json!(""), json!("x".repeat(2_001))])
}

/// The good one is signed with nothing, which is where it ends; and so there is nothing to call back.
fn payout_account() -> [Endpoint; 2] {
    let nothing = format!("0x{}", "00".repeat(65));
    let good = json!({
        "account": format!("eip155:8453:{}", wallet(5).address()), "nonce": 1, "old_signature": nothing,
        "new_signature": nothing,
    });
    let signatures = || [json!(5), json!(""), json!("0x"), json!("nonsense")];
    let change = Endpoint::post("/providers/{provider}/payout_account", good, 400)
        .needs(&["account", "nonce", "old_signature", "new_signature"])
        .refuses("account", [json!(5)])
        .refuses("nonce", [json!(-1), json!(1.5), json!("next")])
        .refuses("old_signature", signatures())
        .refuses("new_signature", signatures());
    [change, Endpoint::post("/providers/{provider}/payout_account/cancel", json!({}), 400)]
}

/// Takes any bytes; what it is asked for stands in its path.
fn bandwidth() -> Endpoint {
    let asked = |query, param: Option<&str>| Case { query, ..Case::invalid(query, "", param) };
    Endpoint::foreign("/providers/{provider}/bandwidth", Value::Null, 200)
        .case(asked("?download_bytes=2097153", Some("download_bytes")))
        .case(asked("?download_bytes=many", Some("download_bytes")))
        .case(asked("?download_bytes=-1", Some("download_bytes")))
        .case(Case { status: 413, ..Case::invalid("too long", vec![b' '; (2 << 20) + 1], None) })
}
