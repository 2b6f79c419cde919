//! Credit bought and sent back, and what the card processor tells.

use serde_json::{Value, json};

use super::cast::Cast;
use super::table::{Case, Endpoint};

/// The endpoints of this family.
pub fn table() -> Vec<Endpoint> {
    vec![topups(), refunds(), page(), default_card(), stripe()]
}

#[tokio::test]
async fn a_wish_for_credit_that_cannot_be_meant_moves_no_money() {
    Cast::start().await.play(&table()).await;
}

/// Amounts that are none.
fn no_amounts() -> [Value; 9] {
    let texts = ["", "ten", "-10", "0", "1e3", "10.001", "99999999999", "1.0000000001"].map(Value::from);
    let [a, b, c, d, e, f, g, h] = texts;
    [a, b, c, d, e, f, g, h, json!(10)]
}

fn topups() -> Endpoint {
    Endpoint::post("/credits/topups", json!({ "amount_usd": "20", "return_url": "https://customer.example/" }), 201)
        .needs(&["amount_usd"])
        .refuses("amount_usd", no_amounts())
        .refuses("amount_usd", [json!("4.99"), json!("5001")])
        .refuses("currency", [json!(5), json!(""), json!("eur")])
        .refuses("return_url", [json!(5), json!(""), json!("javascript:alert(1)"), json!("/credits")])
        .refuses("return_url", [json!(format!("https://customer.example/{}", "x".repeat(2_048)))])
}

fn refunds() -> Endpoint {
    Endpoint::post("/credits/refunds", json!({ "amount_usd": "1", "topup_id": "{topup}" }), 201)
        .needs(&["amount_usd"])
        .refuses("amount_usd", no_amounts())
        .refuses("amount_usd", [json!("50.01")])
        .refuses("topup_id", [json!(5), json!("topup_1"), json!("key_00000000000000000000000000000001")])
}

fn page() -> Endpoint {
    Endpoint::post("/credits/payment_methods", json!({ "return_url": "https://customer.example/" }), 201)
        .refuses("return_url", [json!(5), json!(""), json!("javascript:alert(1)"), json!("/credits")])
        .refuses("return_url", [json!(format!("https://customer.example/{}", "x".repeat(2_048)))])
}

fn default_card() -> Endpoint {
    Endpoint::post("/credits/payment_methods/{payment_method}/default", json!({}), 200)
}

/// Only what is signed is believed, whatever it says; without a signature nothing is taken.
fn stripe() -> Endpoint {
    let of = |what: &str, body: &str| Case::invalid(what, body, Some("stripe-signature"));
    let signed = |what: &'static str| Case { headers: vec![("stripe-signature", what)], ..of(what, "{}") };
    Endpoint::foreign("/hooks/stripe", json!({ "id": "evt_1" }), 400)
        .case(of("no signature", "{}"))
        .case(of("nothing", ""))
        .case(signed("nonsense"))
        .case(signed("t=0,v1=00"))
        .case(signed("t=,v1="))
        .case(Case { body: b"\xff".to_vec(), ..signed("t=1,v1=ff") })
        .case(Case { headers: vec![("content-type", "text/plain")], status: 415, ..Case::invalid("a text", "x", None) })
        .case(Case { status: 413, ..Case::invalid("too long", vec![b' '; 256 * 1024 + 1], None) })
}
