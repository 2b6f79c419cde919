//! Operations of the catalogue: what offers there are and who makes them.

use super::catalogue_schemas as c;
use super::paths::operations;
use super::schemas as s;

operations! {
    /// Lists the offers of one model, with their prices, promises and what was measured of them.
    ///
    /// Slashes in the model's id may be sent raw or percent-encoded. What was not measured lately is null.
    #[utoipa::path(get, path = "/v1/models/{model}/endpoints", operation_id = "listModelEndpoints", tag = "Catalogue",
        params(("model" = String, Path, description = "Such as `org/name`")),
        responses((status = 200, description = "All of them", body = c::ModelEndpointsResponse), (status = 404, description = "Nobody offers the model", body = s::ErrorResponse)))]
    list_model_endpoints;

    /// Lists the offers, of all models, that promise to keep nothing of a request.
    #[utoipa::path(get, path = "/v1/endpoints/zdr", operation_id = "listZdrEndpoints", tag = "Catalogue",
        responses((status = 200, description = "All of them", body = c::EndpointsResponse), (status = 401, description = "A key was sent that does not count", body = s::ErrorResponse)))]
    list_zdr_endpoints;

    /// Lists the providers that offer something.
    #[utoipa::path(get, path = "/v1/providers", operation_id = "listProviders", tag = "Catalogue",
        responses((status = 200, description = "All of them", body = c::ProvidersResponse), (status = 401, description = "A key was sent that does not count", body = s::ErrorResponse)))]
    list_providers;
}
