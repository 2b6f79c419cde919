//! Keys, and what an organization's admin changes.

use serde_json::{Value, json};

use super::cast::Cast;
use super::table::Endpoint;

/// The endpoints of this family.
pub fn table() -> Vec<Endpoint> {
    let mut table = vec![create_key(), update_key(), create_admin_key()];
    table.extend(projects());
    table.extend(service_accounts());
    table.extend(bounds());
    table.extend(super::providers::webhooks("/organization"));
    // The last: nothing of the project can be changed after it.
    table.push(Endpoint::post("/organization/projects/{project}/archive", json!({}), 200));
    table
}

#[tokio::test]
async fn what_no_account_can_be_is_refused_by_its_field_and_changes_nothing() {
    Cast::start().await.play(&table()).await;
}

/// What no name is.
pub fn no_names(most: usize) -> [Value; 5] {
    [json!(5), json!(""), json!("  "), json!("a\nb"), json!("x".repeat(most + 1))]
}

fn create_key() -> Endpoint {
    let good = json!({ "name": "a key", "limit": "1.00", "limit_reset": "daily", "expires_at": 4_000_000_000_u64 });
    Endpoint::post("/keys", good, 201)
        .needs(&["name"])
        .refuses("name", no_names(200))
        .refuses("limit", [json!(5), json!("a lot"), json!("-1"), json!("1.0000000001"), json!("1e30")])
        .refuses("limit_reset", [json!("hourly"), json!(5)])
        .refuses_for("limit_reset", "limit", Value::Null)
        .refuses("expires_at", [json!(1), json!(-1), json!("soon"), json!(1.5), json!(i64::MAX), json!(u64::MAX)])
}

fn update_key() -> Endpoint {
    Endpoint::patch("/keys/{key}", json!({ "name": "another", "limit": "1.00", "limit_reset": "daily" }), 200)
        .refuses("name", no_names(200))
        .refuses("limit", [json!(5), json!("a lot"), json!("-1")])
        .refuses("limit_reset", [json!("hourly"), json!(5)])
        .refuses_for("limit_reset", "limit", Value::Null)
        .refuses("disabled", [json!("yes"), json!(1)])
}

fn create_admin_key() -> Endpoint {
    Endpoint::post("/organization/admin_api_keys", json!({ "name": "an admin", "expires_in_seconds": 60 }), 200)
        .needs(&["name"])
        .refuses("name", no_names(200))
        .refuses("expires_in_seconds", [json!(0), json!(-1), json!("long"), json!(1.5), json!(365 * 86_400 + 1)])
}

fn projects() -> [Endpoint; 2] {
    let create = Endpoint::post("/organization/projects", json!({ "name": "a project" }), 200)
        .needs(&["name"])
        .refuses("name", no_names(200))
        .refuses("residency", [json!("eu"), json!(5)])
        .refuses("external_key_id", [json!("key_1"), json!(5)]);
    let update = Endpoint::post("/organization/projects/{project}", json!({ "name": "another" }), 200)
        .refuses("name", no_names(200))
        .refuses("external_key_id", [json!("key_1"), json!(5)]);
    [create, update]
}

fn service_accounts() -> [Endpoint; 3] {
    const ALL: &str = "/organization/projects/{project}/service_accounts";
    const ONE: &str = "/organization/projects/{project}/service_accounts/{service_account}";
    const KEYS: &str = "/organization/projects/{project}/service_accounts/{service_account}/api_keys";
    let create = Endpoint::post(ALL, json!({ "name": "a program" }), 200)
        .needs(&["name"])
        .refuses("name", no_names(200))
        .refuses("create_service_account_only", [json!("yes"), json!(1)]);
    let update = Endpoint::post(ONE, json!({ "name": "another" }), 200)
        .refuses("name", no_names(200))
        .refuses("role", [json!("owner"), json!(5)]);
    let key = Endpoint::post(KEYS, json!({ "name": "a key" }), 200)
        .refuses("name", no_names(200))
        .refuses("scopes", [json!(["all"]), json!("all")])
        .refuses_for("scopes[0]", "scopes", json!([5]));
    [create, update, key]
}

/// What a project may ask for and spend.
fn bounds() -> [Endpoint; 4] {
    const RATES: &str = "/organization/projects/{project}/rate_limits/{*rate_limit}";
    const MODELS: &str = "/organization/projects/{project}/model_permissions";
    let no_counts = || [json!(0), json!(-1), json!(1.5), json!("many"), json!(1_u64 << 31), json!(1_u64 << 32)];
    let mut rates = Endpoint::post(RATES, json!({ "max_requests_per_1_minute": 5 }), 200);
    for field in ["max_requests_per_1_minute", "max_tokens_per_1_minute", "max_concurrency"] {
        rates = rates.refuses(field, no_counts());
    }
    for field in ["max_images_per_1_minute", "max_requests_per_1_day", "batch_1_day_max_input_tokens"] {
        rates = rates.refuses(field, [json!(5), json!("many")]);
    }
    let models = Endpoint::post(MODELS, json!({ "mode": "allow_list", "model_ids": ["org/name"] }), 200)
        .needs(&["mode", "model_ids"])
        .refuses("mode", [json!("maybe"), json!(5)])
        .refuses("model_ids", [json!("org/name"), json!({}), json!(vec!["org/name"; 1_001])])
        .refuses("model_ids[0]", no_names(200));
    let spend = |route| {
        Endpoint::post(route, json!({ "limit_usd": "5.00", "reset": "daily" }), 200)
            .refuses("limit_usd", [json!(5), json!("a lot"), json!("-1"), Value::Null])
            .refuses("reset", [json!("hourly"), json!(5)])
            .refuses("threshold_amount", [json!(500), json!("500"), json!(1.5)])
            .refuses("currency", [json!(5)])
            .refuses("interval", [json!(5)])
    };
    [rates, models, spend("/organization/spend_limit"), spend("/organization/projects/{project}/spend_limit")]
}
