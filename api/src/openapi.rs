//! The OpenAPI document, generated from these types and served as it is committed.

mod account_paths;
mod account_schemas;
mod paths;
mod schemas;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
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
        paths::create_chat_completion, paths::list_models, paths::retrieve_model, paths::get_generation, paths::get_credits,
        paths::get_key, paths::create_provider, paths::get_provider, paths::create_challenge, paths::verify_challenge,
        paths::create_node, paths::list_nodes, paths::get_node, paths::delete_node, paths::open_session, paths::put_offers,
        paths::get_offers, paths::send_heartbeat, paths::drain_node, paths::resume_node, paths::open_tunnel,
        paths::put_reports, paths::list_earnings, paths::time_bandwidth, paths::health_live, paths::health_ready, paths::get_metrics,
        account_paths::list_topups, account_paths::create_topup, account_paths::retrieve_topup,
        account_paths::create_refund, account_paths::receive_stripe_event,
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
    ),
    tags(
        (name = "Inference", description = "Answers from models."),
        (name = "Catalogue", description = "What is on offer."),
        (name = "Account", description = "Credit, keys and bills."),
        (name = "Organization", description = "For an organization's admin: projects, keys, limits, usage, and who changed what."),
        (name = "Providers", description = "For those who supply machines."),
        (name = "Operation", description = "Health and metrics."),
    ),
    modifiers(&Bearers),
)]
pub struct Document;

/// The kinds of key, none of which stands in for another.
struct Bearers;

impl Modify for Bearers {
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
    }
}

/// The document as it is served and committed: pretty JSON with a final line feed.
///
/// # Panics
/// Never: the document is made of types that are always representable.
#[must_use]
pub fn text() -> String {
    let mut text = Document::openapi().to_pretty_json().expect("the document's types are all representable");
    text.push('\n');
    text
}
