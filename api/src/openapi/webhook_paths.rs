//! Operations on webhook endpoints, of an organization and of a provider.

use super::account_schemas as a;
use super::shape::operations;
use super::webhook_schemas as w;

operations! {
    /// Lists the organization's webhook endpoints, newest first.
    #[utoipa::path(get, path = "/v1/organization/webhooks", operation_id = "listOrganizationWebhooks", tag = "Organization", security(("admin" = [])),
        responses((status = 200, description = "All of them", body = w::WebhookEndpointList)))]
    list_organization_webhooks;

    /// Registers a webhook endpoint. Its secret is shown this once.
    #[utoipa::path(post, path = "/v1/organization/webhooks", operation_id = "createOrganizationWebhook", tag = "Organization", security(("admin" = [])),
        request_body = w::CreateWebhook,
        responses((status = 201, description = "The endpoint", body = w::WebhookEndpointWithSecret)))]
    create_organization_webhook;

    /// One webhook endpoint.
    #[utoipa::path(get, path = "/v1/organization/webhooks/{webhook}", operation_id = "retrieveOrganizationWebhook", tag = "Organization", security(("admin" = [])),
        params(("webhook" = String, Path)),
        responses((status = 200, description = "The endpoint", body = w::WebhookEndpoint)))]
    retrieve_organization_webhook;

    /// Changes a webhook endpoint. What is absent stays.
    #[utoipa::path(post, path = "/v1/organization/webhooks/{webhook}", operation_id = "updateOrganizationWebhook", tag = "Organization", security(("admin" = [])),
        params(("webhook" = String, Path)), request_body = w::UpdateWebhook,
        responses((status = 200, description = "The endpoint", body = w::WebhookEndpoint)))]
    update_organization_webhook;

    /// Deletes a webhook endpoint; what it was still to be told goes with it.
    #[utoipa::path(delete, path = "/v1/organization/webhooks/{webhook}", operation_id = "deleteOrganizationWebhook", tag = "Organization", security(("admin" = [])),
        params(("webhook" = String, Path)),
        responses((status = 200, description = "Gone", body = a::DeletedObject)))]
    delete_organization_webhook;

    /// Makes a new secret, shown this once. For a day the one before signs as well.
    #[utoipa::path(post, path = "/v1/organization/webhooks/{webhook}/rotate_secret", operation_id = "rotateOrganizationWebhookSecret", tag = "Organization", security(("admin" = [])),
        params(("webhook" = String, Path)),
        responses((status = 200, description = "The endpoint", body = w::WebhookEndpointWithSecret)))]
    rotate_organization_webhook_secret;

    /// Lists the provider's webhook endpoints, newest first.
    #[utoipa::path(get, path = "/v1/providers/{provider}/webhooks", operation_id = "listProviderWebhooks", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)),
        responses((status = 200, description = "All of them", body = w::WebhookEndpointList)))]
    list_provider_webhooks;

    /// Registers a webhook endpoint. Its secret is shown this once.
    #[utoipa::path(post, path = "/v1/providers/{provider}/webhooks", operation_id = "createProviderWebhook", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path)), request_body = w::CreateWebhook,
        responses((status = 201, description = "The endpoint", body = w::WebhookEndpointWithSecret)))]
    create_provider_webhook;

    /// One webhook endpoint.
    #[utoipa::path(get, path = "/v1/providers/{provider}/webhooks/{webhook}", operation_id = "retrieveProviderWebhook", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("webhook" = String, Path)),
        responses((status = 200, description = "The endpoint", body = w::WebhookEndpoint)))]
    retrieve_provider_webhook;

    /// Changes a webhook endpoint. What is absent stays.
    #[utoipa::path(post, path = "/v1/providers/{provider}/webhooks/{webhook}", operation_id = "updateProviderWebhook", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("webhook" = String, Path)), request_body = w::UpdateWebhook,
        responses((status = 200, description = "The endpoint", body = w::WebhookEndpoint)))]
    update_provider_webhook;

    /// Deletes a webhook endpoint; what it was still to be told goes with it.
    #[utoipa::path(delete, path = "/v1/providers/{provider}/webhooks/{webhook}", operation_id = "deleteProviderWebhook", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("webhook" = String, Path)),
        responses((status = 200, description = "Gone", body = a::DeletedObject)))]
    delete_provider_webhook;

    /// Makes a new secret, shown this once. For a day the one before signs as well.
    #[utoipa::path(post, path = "/v1/providers/{provider}/webhooks/{webhook}/rotate_secret", operation_id = "rotateProviderWebhookSecret", tag = "Providers", security(("provider" = [])),
        params(("provider" = String, Path), ("webhook" = String, Path)),
        responses((status = 200, description = "The endpoint", body = w::WebhookEndpointWithSecret)))]
    rotate_provider_webhook_secret;
}
