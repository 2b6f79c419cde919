//! Operations on accounts: keys, projects, limits, usage. Described like those in `paths`.

use super::account_schemas as a;
use super::paths::operations;
use super::schemas as s;

operations! {
    /// Lists the project's inference keys that were not revoked, newest first.
    #[utoipa::path(get, path = "/v1/keys", operation_id = "listKeys", tag = "Account", security(("management" = [])),
        params(("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses(
            (status = 200, description = "One page", body = a::KeyList),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    list_keys;

    /// Makes an inference key. Its secret is shown this once.
    #[utoipa::path(post, path = "/v1/keys", operation_id = "createKey", tag = "Account", security(("management" = [])),
        request_body = a::CreateKey,
        responses(
            (status = 201, description = "The key", body = a::CreatedKey),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    create_key;

    /// One inference key of the project: its limit and what it has used.
    #[utoipa::path(get, path = "/v1/keys/{key}", operation_id = "retrieveKey", tag = "Account", security(("management" = [])),
        params(("key" = String, Path)),
        responses(
            (status = 200, description = "The key", body = a::ManagedKeyResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_key;

    /// Changes a key. What is absent stays; a null takes a limit away. A disabled key stops within a second.
    #[utoipa::path(patch, path = "/v1/keys/{key}", operation_id = "updateKey", tag = "Account", security(("management" = [])),
        params(("key" = String, Path)), request_body = a::UpdateKey,
        responses(
            (status = 200, description = "The key", body = a::ManagedKeyResponse),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    update_key;

    /// Revokes a key, everywhere within a second. Again is harmless.
    #[utoipa::path(delete, path = "/v1/keys/{key}", operation_id = "deleteKey", tag = "Account", security(("management" = [])),
        params(("key" = String, Path)),
        responses(
            (status = 200, description = "Revoked", body = a::DeletedObject),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    delete_key;

    /// Lists the organization's top-ups, newest first.
    #[utoipa::path(get, path = "/v1/credits/topups", operation_id = "listTopups", tag = "Account", security(("management" = [])),
        params(("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses(
            (status = 200, description = "One page", body = a::TopupList),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    list_topups;

    /// Opens a page where credit is paid by card. The same wish gets the same page until it is paid or over.
    #[utoipa::path(post, path = "/v1/credits/topups", operation_id = "createTopup", tag = "Account", security(("management" = [])),
        request_body = a::CreateTopup,
        responses(
            (status = 201, description = "The top-up", body = a::Topup),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 503, description = "The card processor does not answer now", body = s::ErrorResponse),
        ))]
    create_topup;

    /// One top-up.
    #[utoipa::path(get, path = "/v1/credits/topups/{topup}", operation_id = "retrieveTopup", tag = "Account", security(("management" = [])),
        params(("topup" = String, Path)),
        responses(
            (status = 200, description = "The top-up", body = a::Topup),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_topup;

    /// Sends unspent bought credit back to its card: all that is asked for, or nothing.
    #[utoipa::path(post, path = "/v1/credits/refunds", operation_id = "createRefund", tag = "Account", security(("management" = [])),
        request_body = a::CreateRefund,
        responses(
            (status = 201, description = "Its parts", body = a::RefundList),
            (status = 400, description = "Bad input, or less is left", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    create_refund;

    /// Takes a card webhook of Stripe, signed over its raw body.
    #[utoipa::path(post, path = "/hooks/stripe", operation_id = "receiveStripeEvent", tag = "Operation",
        responses(
            (status = 200, description = "Taken"),
            (status = 400, description = "Not signed by the card processor", body = s::ErrorResponse),
            (status = 413, description = "Too large", body = s::ErrorResponse),
        ))]
    receive_stripe_event;

    /// Lists the organization's projects, newest first.
    #[utoipa::path(get, path = "/v1/organization/projects", operation_id = "listProjects", tag = "Organization", security(("admin" = [])),
        params(
            ("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"),
            ("after" = Option<String>, Query, description = "The id the page begins behind"),
            ("include_archived" = Option<bool>, Query, description = "Those that are closed as well"),
        ),
        responses(
            (status = 200, description = "One page", body = a::ProjectList),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    list_projects;

    /// Opens a project.
    #[utoipa::path(post, path = "/v1/organization/projects", operation_id = "createProject", tag = "Organization", security(("admin" = [])),
        request_body = a::CreateProject,
        responses(
            (status = 200, description = "The project", body = a::Project),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    create_project;

    /// One project, archived or not.
    #[utoipa::path(get, path = "/v1/organization/projects/{project}", operation_id = "retrieveProject", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)),
        responses(
            (status = 200, description = "The project", body = a::Project),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_project;

    /// Gives a project another name.
    #[utoipa::path(post, path = "/v1/organization/projects/{project}", operation_id = "updateProject", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)), request_body = a::UpdateProject,
        responses(
            (status = 200, description = "The project", body = a::Project),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    update_project;

    /// Closes a project for good. Its keys stop within a second; its bills stay.
    #[utoipa::path(post, path = "/v1/organization/projects/{project}/archive", operation_id = "archiveProject", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)),
        responses(
            (status = 200, description = "The project", body = a::Project),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    archive_project;

    /// Lists a project's inference and management keys that were not revoked, newest first.
    #[utoipa::path(get, path = "/v1/organization/projects/{project}/api_keys", operation_id = "listProjectApiKeys", tag = "Organization", security(("admin" = [])),
        params(
            ("project" = String, Path),
            ("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"),
            ("after" = Option<String>, Query, description = "The id the page begins behind"),
            ("owner_project_access" = Option<String>, Query, description = "`active`, `inactive` or `any`"),
        ),
        responses(
            (status = 200, description = "One page", body = a::ProjectApiKeyList),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    list_project_api_keys;

    /// One key of a project.
    #[utoipa::path(get, path = "/v1/organization/projects/{project}/api_keys/{key}", operation_id = "retrieveProjectApiKey", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path), ("key" = String, Path)),
        responses(
            (status = 200, description = "The key", body = a::ProjectApiKey),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_project_api_key;

    /// Revokes a key of a project, everywhere within a second.
    #[utoipa::path(delete, path = "/v1/organization/projects/{project}/api_keys/{key}", operation_id = "deleteProjectApiKey", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path), ("key" = String, Path)),
        responses(
            (status = 200, description = "Revoked", body = a::DeletedObject),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    delete_project_api_key;

    /// Lists a project's service accounts, newest first.
    #[utoipa::path(get, path = "/v1/organization/projects/{project}/service_accounts", operation_id = "listServiceAccounts", tag = "Organization", security(("admin" = [])),
        params(
            ("project" = String, Path),
            ("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"),
            ("after" = Option<String>, Query, description = "The id the page begins behind"),
        ),
        responses(
            (status = 200, description = "One page", body = a::ServiceAccountList),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    list_service_accounts;

    /// Makes a service account and its first key, whose value is shown this once.
    #[utoipa::path(post, path = "/v1/organization/projects/{project}/service_accounts", operation_id = "createServiceAccount", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)), request_body = a::CreateServiceAccount,
        responses(
            (status = 200, description = "The account and its key", body = a::CreatedServiceAccount),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    create_service_account;

    /// One service account of a project.
    #[utoipa::path(get, path = "/v1/organization/projects/{project}/service_accounts/{service_account}", operation_id = "retrieveServiceAccount", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path), ("service_account" = String, Path)),
        responses(
            (status = 200, description = "The account", body = a::ServiceAccount),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_service_account;

    /// Gives a service account another name.
    #[utoipa::path(post, path = "/v1/organization/projects/{project}/service_accounts/{service_account}", operation_id = "updateServiceAccount", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path), ("service_account" = String, Path)), request_body = a::UpdateServiceAccount,
        responses(
            (status = 200, description = "The account", body = a::ServiceAccount),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    update_service_account;

    /// Takes a service account out of use and revokes its keys, everywhere within a second.
    #[utoipa::path(delete, path = "/v1/organization/projects/{project}/service_accounts/{service_account}", operation_id = "deleteServiceAccount", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path), ("service_account" = String, Path)),
        responses(
            (status = 200, description = "Gone", body = a::DeletedObject),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    delete_service_account;

    /// Makes a further key for a service account. Its value is shown this once.
    #[utoipa::path(post, path = "/v1/organization/projects/{project}/service_accounts/{service_account}/api_keys", operation_id = "createServiceAccountApiKey", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path), ("service_account" = String, Path)), request_body = a::CreateServiceAccountApiKey,
        responses(
            (status = 200, description = "The key", body = a::ServiceAccountApiKey),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    create_service_account_api_key;

    /// Lists how much a project may ask for at a time: of all models together, under `*`, then of each.
    #[utoipa::path(get, path = "/v1/organization/projects/{project}/rate_limits", operation_id = "listRateLimits", tag = "Organization", security(("admin" = [])),
        params(
            ("project" = String, Path),
            ("limit" = Option<u32>, Query, description = "1 to 100, 100 when absent"),
            ("after" = Option<String>, Query, description = "The id the page begins behind"),
            ("before" = Option<String>, Query, description = "The id the page ends before"),
        ),
        responses(
            (status = 200, description = "One page", body = a::RateLimitList),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    list_rate_limits;

    /// Sets a limit. What is absent stays; a null, or 2147483647, takes a limit away.
    #[utoipa::path(post, path = "/v1/organization/projects/{project}/rate_limits/{rate_limit}", operation_id = "updateRateLimit", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path), ("rate_limit" = String, Path)), request_body = a::UpdateRateLimit,
        responses(
            (status = 200, description = "The limit", body = a::RateLimit),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    update_rate_limit;

    /// Which models a project may ask for. Where nothing was said: a deny list of nothing.
    #[utoipa::path(get, path = "/v1/organization/projects/{project}/model_permissions", operation_id = "retrieveModelPermissions", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)),
        responses(
            (status = 200, description = "The list", body = a::ModelPermissions),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_model_permissions;

    /// Replaces which models a project may ask for, everywhere within a second.
    #[utoipa::path(post, path = "/v1/organization/projects/{project}/model_permissions", operation_id = "updateModelPermissions", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)), request_body = a::SetModelPermissions,
        responses(
            (status = 200, description = "The list", body = a::ModelPermissions),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    update_model_permissions;

    /// Opens all models to a project.
    #[utoipa::path(delete, path = "/v1/organization/projects/{project}/model_permissions", operation_id = "deleteModelPermissions", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)),
        responses(
            (status = 200, description = "Open", body = a::DeletedSetting),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    delete_model_permissions;

    /// The most the organization may spend, and what is left of it.
    #[utoipa::path(get, path = "/v1/organization/spend_limit", operation_id = "retrieveSpendLimit", tag = "Organization", security(("admin" = [])),
        responses(
            (status = 200, description = "The limit", body = a::SpendLimit),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_spend_limit;

    /// Sets the most the organization may spend.
    #[utoipa::path(post, path = "/v1/organization/spend_limit", operation_id = "updateSpendLimit", tag = "Organization", security(("admin" = [])),
        request_body = a::SetSpendLimit,
        responses(
            (status = 200, description = "The limit", body = a::SpendLimit),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    update_spend_limit;

    /// Sets the most the organization may spend, as POST does.
    #[utoipa::path(put, path = "/v1/organization/spend_limit", operation_id = "replaceSpendLimit", tag = "Organization", security(("admin" = [])),
        request_body = a::SetSpendLimit,
        responses(
            (status = 200, description = "The limit", body = a::SpendLimit),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    replace_spend_limit;

    /// Takes the limit of the organization away.
    #[utoipa::path(delete, path = "/v1/organization/spend_limit", operation_id = "deleteSpendLimit", tag = "Organization", security(("admin" = [])),
        responses(
            (status = 200, description = "No limit", body = a::DeletedSetting),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    delete_spend_limit;

    /// The most a project may spend, and what is left of it.
    #[utoipa::path(get, path = "/v1/organization/projects/{project}/spend_limit", operation_id = "retrieveProjectSpendLimit", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)),
        responses(
            (status = 200, description = "The limit", body = a::SpendLimit),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_project_spend_limit;

    /// Sets the most a project may spend.
    #[utoipa::path(post, path = "/v1/organization/projects/{project}/spend_limit", operation_id = "updateProjectSpendLimit", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)), request_body = a::SetSpendLimit,
        responses(
            (status = 200, description = "The limit", body = a::SpendLimit),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    update_project_spend_limit;

    /// Sets the most a project may spend, as POST does.
    #[utoipa::path(put, path = "/v1/organization/projects/{project}/spend_limit", operation_id = "replaceProjectSpendLimit", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)), request_body = a::SetSpendLimit,
        responses(
            (status = 200, description = "The limit", body = a::SpendLimit),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    replace_project_spend_limit;

    /// Takes the limit of a project away.
    #[utoipa::path(delete, path = "/v1/organization/projects/{project}/spend_limit", operation_id = "deleteProjectSpendLimit", tag = "Organization", security(("admin" = [])),
        params(("project" = String, Path)),
        responses(
            (status = 200, description = "No limit", body = a::DeletedSetting),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    delete_project_spend_limit;

    /// Lists the organization's admin keys that were not revoked.
    #[utoipa::path(get, path = "/v1/organization/admin_api_keys", operation_id = "listAdminApiKeys", tag = "Organization", security(("admin" = [])),
        params(
            ("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"),
            ("after" = Option<String>, Query, description = "The id the page begins behind"),
            ("order" = Option<String>, Query, description = "`asc`, oldest first, or `desc`"),
        ),
        responses(
            (status = 200, description = "One page", body = a::AdminApiKeyList),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    list_admin_api_keys;

    /// Makes an admin key. Its value is shown this once.
    #[utoipa::path(post, path = "/v1/organization/admin_api_keys", operation_id = "createAdminApiKey", tag = "Organization", security(("admin" = [])),
        request_body = a::CreateAdminApiKey,
        responses(
            (status = 200, description = "The key", body = a::CreatedAdminApiKey),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    create_admin_api_key;

    /// One admin key.
    #[utoipa::path(get, path = "/v1/organization/admin_api_keys/{key}", operation_id = "retrieveAdminApiKey", tag = "Organization", security(("admin" = [])),
        params(("key" = String, Path)),
        responses(
            (status = 200, description = "The key", body = a::AdminApiKey),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    retrieve_admin_api_key;

    /// Revokes an admin key, everywhere within a second: also the one that asks.
    #[utoipa::path(delete, path = "/v1/organization/admin_api_keys/{key}", operation_id = "deleteAdminApiKey", tag = "Organization", security(("admin" = [])),
        params(("key" = String, Path)),
        responses(
            (status = 200, description = "Revoked", body = a::DeletedObject),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
            (status = 404, description = "Not there for this caller", body = s::ErrorResponse),
        ))]
    delete_admin_api_key;

    /// Lists who changed what, newest first.
    #[utoipa::path(get, path = "/v1/organization/audit_logs", operation_id = "listAuditLogs", tag = "Organization", security(("admin" = [])),
        params(
            ("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"),
            ("after" = Option<String>, Query, description = "The id the page begins behind"),
            ("before" = Option<String>, Query, description = "The id the page ends before"),
            ("effective_at[gt]" = Option<i64>, Query, description = "Later than this, unix seconds"),
            ("effective_at[gte]" = Option<i64>, Query, description = "At or later than this"),
            ("effective_at[lt]" = Option<i64>, Query, description = "Before this"),
            ("effective_at[lte]" = Option<i64>, Query, description = "At or before this"),
            ("project_ids[]" = Option<Vec<String>>, Query, description = "In these projects"),
            ("event_types[]" = Option<Vec<String>>, Query, description = "Of these types"),
            ("actor_ids[]" = Option<Vec<String>>, Query, description = "By these keys or service accounts"),
            ("resource_ids[]" = Option<Vec<String>>, Query, description = "To these"),
        ),
        responses(
            (status = 200, description = "One page", body = a::AuditLogList),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    list_audit_logs;

    /// Tokens and requests of language models over time, in buckets; empty ones too.
    #[utoipa::path(get, path = "/v1/organization/usage/completions", operation_id = "getUsageCompletions", tag = "Organization", security(("admin" = [])),
        params(
            ("start_time" = i64, Query, description = "Unix seconds; the bucket it falls in is the first"),
            ("end_time" = Option<i64>, Query, description = "Unix seconds, exclusive; now when absent"),
            ("bucket_width" = Option<String>, Query, description = "`1m`, `1h` or `1d`, which is the default; in UTC"),
            ("project_ids[]" = Option<Vec<String>>, Query, description = "Of these projects"),
            ("api_key_ids[]" = Option<Vec<String>>, Query, description = "Of these keys"),
            ("models[]" = Option<Vec<String>>, Query, description = "Of these models"),
            ("group_by[]" = Option<Vec<String>>, Query, description = "`project_id`, `api_key_id`, `model`, `user_id`"),
            ("limit" = Option<u32>, Query, description = "Buckets of one page: 7 to 31 days, 24 to 168 hours, 60 to 1440 minutes"),
            ("page" = Option<String>, Query, description = "`next_page` of the page before"),
        ),
        responses(
            (status = 200, description = "One page", body = a::CompletionsUsagePage),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    get_usage_completions;

    /// Tokens and requests of embeddings over time, in buckets; empty ones too.
    #[utoipa::path(get, path = "/v1/organization/usage/embeddings", operation_id = "getUsageEmbeddings", tag = "Organization", security(("admin" = [])),
        params(
            ("start_time" = i64, Query, description = "Unix seconds; the bucket it falls in is the first"),
            ("end_time" = Option<i64>, Query, description = "Unix seconds, exclusive; now when absent"),
            ("bucket_width" = Option<String>, Query, description = "`1m`, `1h` or `1d`, which is the default; in UTC"),
            ("project_ids[]" = Option<Vec<String>>, Query, description = "Of these projects"),
            ("api_key_ids[]" = Option<Vec<String>>, Query, description = "Of these keys"),
            ("models[]" = Option<Vec<String>>, Query, description = "Of these models"),
            ("group_by[]" = Option<Vec<String>>, Query, description = "`project_id`, `api_key_id`, `model`, `user_id`"),
            ("limit" = Option<u32>, Query, description = "Buckets of one page: 7 to 31 days, 24 to 168 hours, 60 to 1440 minutes"),
            ("page" = Option<String>, Query, description = "`next_page` of the page before"),
        ),
        responses(
            (status = 200, description = "One page", body = a::EmbeddingsUsagePage),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    get_usage_embeddings;

    /// What was spent, day by day; days without cost too.
    #[utoipa::path(get, path = "/v1/organization/costs", operation_id = "getCosts", tag = "Organization", security(("admin" = [])),
        params(
            ("start_time" = i64, Query, description = "Unix seconds; the bucket it falls in is the first"),
            ("end_time" = Option<i64>, Query, description = "Unix seconds, exclusive; now when absent"),
            ("bucket_width" = Option<String>, Query, description = "`1d`, in UTC"),
            ("project_ids[]" = Option<Vec<String>>, Query, description = "Of these projects"),
            ("api_key_ids[]" = Option<Vec<String>>, Query, description = "Of these keys"),
            ("models[]" = Option<Vec<String>>, Query, description = "Of these models"),
            ("group_by[]" = Option<Vec<String>>, Query, description = "`project_id`, `api_key_id`, `line_item` (a model)"),
            ("limit" = Option<u32>, Query, description = "1 to 180 days, 7 when absent"),
            ("page" = Option<String>, Query, description = "`next_page` of the page before"),
        ),
        responses(
            (status = 200, description = "One page", body = a::CostsPage),
            (status = 400, description = "Bad input", body = s::ErrorResponse),
            (status = 401, description = "No valid key", body = s::ErrorResponse),
            (status = 403, description = "A key of another kind", body = s::ErrorResponse),
        ))]
    get_costs;
}
