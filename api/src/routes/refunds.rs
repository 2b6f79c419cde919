//! Bought credit sent back to the card it came from, with a management key.

use axum::Router;
use axum::extract::{Extension, State};
use axum::routing::post;
use billing::refund::{self, Refund, Wish};
use http::StatusCode;
use protocol::{NanoUsd, RefundId, TopupId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::topups::cards;
use crate::error::ApiError;
use crate::extract::{Json, Manager};
use crate::idempotency::Occasion;
use crate::state::AppState;
use crate::store::audit::{self, Actor, Entry};

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/credits/refunds", post(create))
}

#[derive(Debug, Deserialize)]
struct CreateRefund {
    /// Of the oldest top-ups first, when absent.
    #[serde(default)]
    topup_id: Option<TopupId>,
    amount_usd: NanoUsd,
}

/// Money as decimal strings of US dollars.
#[derive(Debug, Serialize)]
struct View {
    id: RefundId,
    object: &'static str,
    status: &'static str,
    topup_id: TopupId,
    /// The credit taken.
    amount_usd: NanoUsd,
    /// The tax that goes with it to the card.
    tax_usd: NanoUsd,
    created_at: i64,
}

/// The parts a refund comes in, one for each top-up it is taken from.
#[derive(Debug, Serialize)]
struct Parts {
    object: &'static str,
    data: Vec<View>,
}

/// Sends unspent bought credit back, all that is asked for or nothing. Once it is taken nothing fails, and repeated
/// with its `Idempotency-Key` the request finds what was taken, whatever became of the first answer.
#[tracing::instrument(name = "api.refunds.create", skip_all, fields(account.id = %manager.organization))]
async fn create(
    State(app): State<AppState>,
    manager: Manager,
    occasion: Option<Extension<Occasion>>,
    Json(body): Json<CreateRefund>,
) -> Result<(StatusCode, Json<Parts>), ApiError> {
    let (cards, account) = (cards(&app)?, manager.organization);
    let occasion = occasion.as_ref().map(|Extension(Occasion(occasion))| &occasion[..]);
    let wish = Wish { account, topup: body.topup_id, amount: body.amount_usd, occasion };
    let mut tx = app.db.begin().await?;
    let taken = refund::take_wish(&mut tx, cards, wish).await?;
    for part in taken.parts.iter().filter(|_| taken.is_new) {
        let entry = Entry::new(app.env.mint(), app.env.now(), Actor::Key(manager.key), "refund.created", part.id);
        let detail = json!({ "topup_id": part.topup, "amount_usd": part.credit });
        audit::insert(&mut tx, entry.of_organization(account).with(detail)).await?;
    }
    tx.commit().await?;
    let parts = refund::send_all(cards, taken.parts).await;
    Ok((StatusCode::CREATED, Json(Parts { object: "list", data: parts.into_iter().map(view).collect() })))
}

fn view(refund: Refund) -> View {
    View {
        id: refund.id,
        object: "refund",
        status: refund.state.as_str(),
        topup_id: refund.topup,
        amount_usd: refund.credit,
        tax_usd: refund.tax,
        created_at: refund.created_at.unix_seconds(),
    }
}
