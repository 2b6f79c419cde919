//! The keys that nodes sign their reports with.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use billing::store::receipt_keys::{self, MAX_KEYS};
use protocol::receipt::ReceiptKey;
use protocol::session::{AnnounceReceiptKey, ReceiptKeyView};
use protocol::typed::Typed as _;

use crate::error::ApiError;
use crate::extract::{Json, NodeCaller};
use crate::state::AppState;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/providers/{provider}/nodes/{node}/receipt_keys", post(announce))
}

/// Takes the key a node will sign with, on the word of its session; and on its provider's wallet's, where that vouches
/// for it. Again, it changes nothing.
#[tracing::instrument(name = "api.receipt_keys.announce", skip_all, fields(node.id = %caller.node))]
async fn announce(
    State(app): State<AppState>,
    caller: NodeCaller,
    Json(body): Json<AnnounceReceiptKey>,
) -> Result<Json<ReceiptKeyView>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let provider = scheduler::store::providers::get(&mut conn, caller.provider).await?;
    if let Some(delegation) = &body.delegation {
        let word = ReceiptKey { provider: provider.id, key: body.key }.digest_anywhere();
        if delegation.recover(&word) != Ok(provider.receipt_address) {
            let message = format!("it is not signed by the provider's wallet {}", provider.receipt_address);
            return Err(ApiError::invalid("delegation", message).with_code("invalid_value"));
        }
    }
    let now = app.env.now();
    if !receipt_keys::announce(&mut conn, provider.id, caller.node, body.key, body.delegation, now).await? {
        let message = format!("a node has at most {MAX_KEYS} receipt keys; keep one and use it again");
        return Err(ApiError::invalid_state(message));
    }
    let (key, delegated) = (body.key, body.delegation.is_some());
    Ok(Json(ReceiptKeyView { key, delegated, domain: app.config.receipts.domain() }))
}
