//! The OpenAPI document, generated from these types and served as it is committed.

mod account_paths;
mod account_schemas;
mod card_paths;
mod card_schemas;
mod catalogue_paths;
mod catalogue_schemas;
mod downgrade;
mod events;
mod examples;
mod headers;
mod inference_paths;
mod inference_schemas;
mod kind;
mod page;
mod paper_paths;
mod paper_schemas;
mod parameters;
mod paths;
mod provider_paths;
mod provider_schemas;
mod schemas;
mod shape;
mod standing;
mod webhook_paths;
mod webhook_schemas;
mod words;

use std::sync::LazyLock;

use serde::Serialize;
use serde_json::{Value, json};

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// Everything the broker serves to customers and providers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Steelyard",
        description = "One OpenAI-compatible API over a decentralized supply of GPUs. Unknown request fields are ignored; \
                       errors have one shape; money is a decimal string except `usage.cost` and the amounts of cost reports.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This broker")),
    paths(
        inference_paths::create_chat_completion, inference_paths::create_completion, inference_paths::create_embedding,
        inference_paths::create_moderation, inference_paths::create_image, inference_paths::create_speech,
        inference_paths::create_transcription, inference_paths::create_translation,
        inference_paths::create_response, inference_paths::retrieve_response, inference_paths::create_message,
        inference_paths::count_message_tokens, paths::list_models, paths::retrieve_model,
        catalogue_paths::list_model_endpoints, catalogue_paths::list_zdr_endpoints, catalogue_paths::list_providers, paths::get_generation,
        paths::get_credits, paths::get_key, paths::health_live, paths::health_ready, paths::get_metrics,
        paths::get_open_api, paths::get_open_api_30, paths::get_docs, provider_paths::create_provider,
        provider_paths::get_provider, provider_paths::create_challenge, provider_paths::verify_challenge,
        provider_paths::create_node, provider_paths::list_nodes, provider_paths::get_node, provider_paths::delete_node,
        provider_paths::open_session, provider_paths::put_offers, provider_paths::get_offers,
        provider_paths::send_heartbeat, provider_paths::drain_node, provider_paths::resume_node,
        provider_paths::open_tunnel, provider_paths::put_reports, provider_paths::announce_receipt_key,
        provider_paths::list_receipts, provider_paths::get_receipt, provider_paths::dispute_receipt,
        provider_paths::get_epoch_manifest, provider_paths::list_payouts, provider_paths::get_payout,
        provider_paths::get_payout_statement, provider_paths::get_payout_bundle, provider_paths::verify_payout,
        provider_paths::get_payout_account, provider_paths::change_payout_account,
        provider_paths::cancel_payout_account_change, provider_paths::list_earnings, provider_paths::get_balance, provider_paths::time_bandwidth,
        card_paths::list_topups, card_paths::create_topup, card_paths::retrieve_topup, card_paths::create_refund,
        card_paths::list_payment_methods, card_paths::create_payment_method, card_paths::retrieve_payment_method,
        card_paths::delete_payment_method, card_paths::set_default_payment_method, card_paths::retrieve_auto_recharge,
        card_paths::replace_auto_recharge, card_paths::delete_auto_recharge, card_paths::list_credit_history,
        card_paths::receive_stripe_event,
        account_paths::list_keys, account_paths::create_key, account_paths::retrieve_key, account_paths::update_key,
        account_paths::delete_key, account_paths::list_projects, account_paths::create_project,
        account_paths::retrieve_project, account_paths::update_project, account_paths::archive_project,
        account_paths::list_project_api_keys, account_paths::retrieve_project_api_key,
        account_paths::delete_project_api_key, account_paths::list_service_accounts,
        account_paths::create_service_account, account_paths::retrieve_service_account,
        account_paths::update_service_account, account_paths::delete_service_account,
        account_paths::create_service_account_api_key, account_paths::list_rate_limits,
        account_paths::update_rate_limit, account_paths::retrieve_model_permissions,
        account_paths::update_model_permissions, account_paths::delete_model_permissions,
        account_paths::retrieve_spend_limit, account_paths::update_spend_limit, account_paths::replace_spend_limit,
        account_paths::delete_spend_limit, account_paths::retrieve_project_spend_limit,
        account_paths::update_project_spend_limit, account_paths::replace_project_spend_limit,
        account_paths::delete_project_spend_limit, account_paths::list_admin_api_keys,
        account_paths::create_admin_api_key, account_paths::retrieve_admin_api_key,
        account_paths::delete_admin_api_key, account_paths::list_audit_logs, account_paths::get_usage_completions,
        account_paths::get_usage_embeddings, account_paths::get_costs,
        paper_paths::export_ledger, paper_paths::list_documents, paper_paths::download_document,
        webhook_paths::list_organization_webhooks, webhook_paths::create_organization_webhook,
        webhook_paths::retrieve_organization_webhook, webhook_paths::update_organization_webhook,
        webhook_paths::delete_organization_webhook, webhook_paths::rotate_organization_webhook_secret,
        webhook_paths::list_provider_webhooks, webhook_paths::create_provider_webhook,
        webhook_paths::retrieve_provider_webhook, webhook_paths::update_provider_webhook,
        webhook_paths::delete_provider_webhook, webhook_paths::rotate_provider_webhook_secret,
    ),
    tags(
        (name = "Inference", description = "Answers from models."),
        (name = "Catalogue", description = "What is on offer."),
        (name = "Account", description = "Credit, keys and bills."),
        (name = "Organization", description = "For an organization's admin: projects, keys, limits, usage, and who changed what."),
        (name = "Providers", description = "For those who supply machines."),
        (name = "Webhooks", description = "What endpoints are told."),
        (name = "Operation", description = "Health, metrics and this document."),
    ),
    components(schemas(
        schemas::ErrorResponse, inference_schemas::messages::MessagesErrorResponse, webhook_schemas::WebhookEvent,
    )),
    modifiers(&Keys),
)]
pub struct Document;

/// The kinds of key, none of which stands in for another.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let schemes = [
            ("inference", "An inference key, `sk-…`."),
            ("management", "A management key, `sk-mgmt-…`."),
            ("admin", "An organization-admin key, `sk-admin-…`."),
            ("provider", "A provider key, `sk-prov-…`."),
            ("session", "A node's session token, good for fifteen minutes."),
        ];
        let components = document.components.get_or_insert_with(Default::default);
        for (name, description) in schemes {
            let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
            components.add_security_scheme(name, SecurityScheme::Http(bearer));
        }
        let header = ApiKeyValue::with_description("x-api-key", "An inference key, as Anthropic's clients send it.");
        components.add_security_scheme("inferenceHeader", SecurityScheme::ApiKey(ApiKey::Header(header)));
    }
}

/// A revision of the specification that the document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Revision {
    /// 3.1.0, of which the other is made.
    #[value(name = "3.1")]
    V31,
    /// 3.0.3, for generators that reject 3.1.
    #[value(name = "3.0")]
    V30,
}

/// The document as it is served and committed: pretty JSON with a final line feed.
#[must_use]
pub fn text(revision: Revision) -> &'static str {
    static V31: LazyLock<String> = LazyLock::new(|| printed(&document()));
    static V30: LazyLock<String> = LazyLock::new(|| printed(&downgrade::to_3_0(document())));
    match revision {
        Revision::V31 => &V31,
        Revision::V30 => &V30,
    }
}

/// The document as a page for people, and the only things it may load: its own styles.
#[must_use]
pub fn page() -> (&'static str, &'static str) {
    static PAGE: LazyLock<String> = LazyLock::new(|| page::of(&document()));
    (&PAGE, page::policy())
}

/// The types' description, and what is added to it by rule.
///
/// # Panics
/// Never: the document is made of types that are always representable.
fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).expect("the document's types are representable");
    document["webhooks"] = json!({});
    words::write(&mut document);
    parameters::write(&mut document);
    standing::add(&mut document);
    headers::add(&mut document);
    events::add(&mut document);
    examples::add(&mut document);
    document
}

/// Members in the order people look for them; below, by name, whatever features serde_json was built with.
fn printed(document: &Value) -> String {
    #[derive(Serialize)]
    struct Printed<'a> {
        openapi: &'a Value,
        info: &'a Value,
        servers: &'a Value,
        tags: &'a Value,
        paths: &'a Value,
        #[serde(skip_serializing_if = "Value::is_null")]
        webhooks: &'a Value,
        components: &'a Value,
    }
    let mut document = document.clone();
    document.sort_all_objects();
    let [openapi, info, servers, tags] = ["openapi", "info", "servers", "tags"].map(|member| &document[member]);
    let [paths, webhooks, components] = ["paths", "webhooks", "components"].map(|member| &document[member]);
    let printed = Printed { openapi, info, servers, tags, paths, webhooks, components };
    let mut text = serde_json::to_string_pretty(&printed).expect("a JSON value is always representable");
    text.push('\n');
    text
}
