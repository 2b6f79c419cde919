//! Operations of the catalogue: what offers there are and who makes them.

use super::catalogue_schemas as c;
use super::shape::operations;
use super::standing as r;

operations! {
    /// Lists the offers of one model, with their prices, promises and what was measured of them.
    ///
    /// Slashes in the model's id may be sent raw or percent-encoded. What was not measured lately is null.
    #[utoipa::path(get, path = "/v1/models/{model}/endpoints", operation_id = "listModelEndpoints", tag = "Catalogue",
        params(("model" = String, Path, description = "Such as `org/name`")),
        security((), ("inference" = [])),
        responses(r::Checked, (status = 200, description = "All of them", body = c::ModelEndpointsResponse)))]
    list_model_endpoints;

    /// Lists the offers, of all models, that promise to keep nothing of a request.
    #[utoipa::path(get, path = "/v1/endpoints/zdr", operation_id = "listZdrEndpoints", tag = "Catalogue",
        security((), ("inference" = [])),
        responses(r::Checked, (status = 200, description = "All of them", body = c::EndpointsResponse)))]
    list_zdr_endpoints;

    /// Lists the providers that offer something.
    #[utoipa::path(get, path = "/v1/providers", operation_id = "listProviders", tag = "Catalogue",
        security((), ("inference" = [])),
        responses(r::Checked, (status = 200, description = "All of them", body = c::ProvidersResponse)))]
    list_providers;
}
