//! Every route in one list.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tower_http::catch_panic::CatchPanicLayer;

use crate::idempotency;
use crate::request;
use crate::routes;
use crate::state::AppState;

/// The whole HTTP surface. The API is served at `/v1` and, the same, at `/api/v1`.
pub fn router(app: AppState) -> Router {
    let api = Router::new()
        .merge(routes::works::routes())
        .merge(routes::responses::routes())
        .merge(routes::messages::routes())
        .merge(routes::models::routes())
        .merge(routes::endpoints::routes())
        .merge(routes::generation::routes())
        .merge(routes::credits::routes())
        .merge(routes::topups::routes())
        .merge(routes::refunds::routes())
        .merge(routes::payment_methods::routes())
        .merge(routes::auto_recharge::routes())
        .merge(routes::history::routes())
        .merge(routes::key::routes())
        .merge(routes::keys::routes())
        .merge(routes::organization::routes())
        .merge(routes::providers::routes())
        .merge(routes::payouts::routes())
        .merge(routes::payout_account::routes())
        .merge(routes::tunnel::routes())
        .merge(routes::webhooks::routes())
        .layer(axum::middleware::from_fn_with_state(app.clone(), idempotency::keep));
    let mut routes = Router::new()
        .nest("/v1", api.clone())
        .nest("/api/v1", api)
        .merge(routes::hooks::routes())
        .merge(routes::health::routes())
        .merge(routes::document::routes());
    if app.config.server.metrics_beside_api() {
        routes = routes.merge(routes::health::metrics_beside_api());
    }
    dress(routes, app)
}

/// What is served where the operator alone can reach it.
pub fn metrics_router(app: AppState) -> Router {
    dress(routes::health::metrics_routes(), app)
}

/// Puts around `routes` what every answer goes through, those nobody wrote a handler for included.
pub fn dress(routes: Router<AppState>, app: AppState) -> Router {
    routes
        .fallback(request::unknown_url)
        .method_not_allowed_fallback(request::method_not_allowed)
        .layer(DefaultBodyLimit::max(app.config.gateway.max_body_bytes))
        .layer(CatchPanicLayer::custom(request::panicked))
        .layer(axum::middleware::from_fn_with_state(app.clone(), request::stamp))
        .with_state(app)
}
