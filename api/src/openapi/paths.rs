//! Operations on the catalogue, credit and the process itself.

use super::schemas as s;
use super::shape::{JsonObject, operations};
use super::standing as r;

operations! {
    /// Lists the models that may be asked for.
    #[utoipa::path(get, path = "/v1/models", operation_id = "listModels", tag = "Catalogue",
        security((), ("inference" = [])),
        responses(r::Checked, (status = 200, description = "One page with all of them", body = s::Models)))]
    list_models;

    /// Describes one model. Slashes in its id may be sent raw or percent-encoded.
    #[utoipa::path(get, path = "/v1/models/{model}", operation_id = "retrieveModel", tag = "Catalogue",
        params(("model" = String, Path, description = "Such as `org/name`")), security((), ("inference" = [])),
        responses(r::Checked, (status = 200, description = "The model", body = s::ModelAnswer)))]
    retrieve_model;

    /// The bill and the attempts of one answer, within two seconds of its end.
    #[utoipa::path(get, path = "/v1/generation", operation_id = "getGeneration", tag = "Account", security(("inference" = []), ("management" = [])),
        params(("id" = String, Query, description = "Any id of the answer: `chatcmpl-…` or `req_…`")),
        responses((status = 200, description = "The generation", body = s::GenerationResponse), r::Named))]
    get_generation;

    /// Credit bought or granted, and credit used.
    #[utoipa::path(get, path = "/v1/credits", operation_id = "getCredits", tag = "Account", security(("inference" = []), ("management" = [])),
        responses((status = 200, description = "Both sums", body = s::CreditsResponse)))]
    get_credits;

    /// The key that signs the request: its limit and what it has used.
    #[utoipa::path(get, path = "/v1/key", operation_id = "getKey", tag = "Account", security(("inference" = [])),
        responses((status = 200, description = "The key", body = s::KeyResponse)))]
    get_key;

    /// The process runs.
    #[utoipa::path(get, path = "/health/live", operation_id = "healthLive", tag = "Operation", security(()),
        responses((status = 200, description = "Yes", body = s::Health)))]
    health_live;

    /// The process can answer requests: its database is reachable and it is not draining.
    #[utoipa::path(get, path = "/health/ready", operation_id = "healthReady", tag = "Operation", security(()),
        responses((status = 200, description = "Yes", body = s::Health), (status = 503, description = "No", body = s::Health)))]
    health_ready;

    /// Metrics in Prometheus' text format.
    ///
    /// Where only the operator reaches them: at `server.metrics_listen`, or here while the API listens on loopback.
    #[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "Operation", security(()),
        responses(r::Named, (status = 200, description = "All of them", body = String, content_type = "text/plain")))]
    get_metrics;

    /// This document.
    #[utoipa::path(get, path = "/openapi.json", operation_id = "getOpenApi", tag = "Operation", security(()),
        responses((status = 200, description = "OpenAPI 3.1", body = JsonObject)))]
    get_open_api;

    /// This document, for tools that do not read OpenAPI 3.1.
    #[utoipa::path(get, path = "/openapi-3.0.json", operation_id = "getOpenApi30", tag = "Operation", security(()),
        responses((status = 200, description = "OpenAPI 3.0", body = JsonObject)))]
    get_open_api_30;

    /// This document, for people.
    #[utoipa::path(get, path = "/docs", operation_id = "getDocs", tag = "Operation", security(()),
        responses((status = 200, description = "A page without scripts", body = String, content_type = "text/html")))]
    get_docs;
}
