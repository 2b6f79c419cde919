//! Controls: what cardholders and banks do, and how the processor misbehaves.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::knobs::{Fault, Knobs};
use crate::objects::{disputes, payouts, refunds, warnings};
use crate::server::{Shared, plain};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_fake/knobs", get(show).put(set))
        .route("/_fake/faults", post(add_fault))
        .route("/_fake/disputes", post(dispute))
        .route("/_fake/disputes/{dispute}/won", post(async |s: Which, p: Path<String>| decide(s, p, true)))
        .route("/_fake/disputes/{dispute}/lost", post(async |s: Which, p: Path<String>| decide(s, p, false)))
        .route("/_fake/disputes/{dispute}/escalated", post(escalate))
        .route("/_fake/warnings", post(warn))
        .route("/_fake/payouts", post(pay_out))
        .route("/_fake/payouts/{payout}/failed", post(return_payout))
        .route("/_fake/refunds/{refund}/succeeded", post(async |s: Which, p: Path<String>| settle(s, p, true)))
        .route("/_fake/refunds/{refund}/failed", post(async |s: Which, p: Path<String>| settle(s, p, false)))
}

type Which = State<Arc<Shared>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDispute {
    charge: String,
    #[serde(default)]
    amount: Option<i64>,
    #[serde(default = "fraudulent")]
    reason: String,
    /// The bank only asks.
    #[serde(default)]
    inquiry: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewWarning {
    charge: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPayout {
    amount: i64,
}

fn fraudulent() -> String {
    "fraudulent".to_owned()
}

async fn show(State(shared): Which) -> Json<Knobs> {
    Json(shared.knobs.lock().clone())
}

async fn set(State(shared): Which, Json(knobs): Json<Knobs>) -> Json<Knobs> {
    shared.knobs.lock().clone_from(&knobs);
    Json(knobs)
}

async fn add_fault(State(shared): Which, Json(fault): Json<Fault>) -> Json<Knobs> {
    let mut knobs = shared.knobs.lock();
    knobs.faults.push(fault);
    Json(knobs.clone())
}

async fn dispute(State(shared): Which, Json(new): Json<NewDispute>) -> Response {
    let open = if new.inquiry { disputes::inquire } else { disputes::open };
    plain(shared.with(|books| open(books, &new.charge, new.amount, &new.reason)))
}

async fn escalate(State(shared): Which, Path(id): Path<String>) -> Response {
    plain(shared.with(|books| disputes::escalate(books, &id)))
}

async fn warn(State(shared): Which, Json(new): Json<NewWarning>) -> Response {
    plain(shared.with(|books| warnings::warn(books, &new.charge)))
}

async fn pay_out(State(shared): Which, Json(new): Json<NewPayout>) -> Response {
    plain(shared.with(|books| payouts::send(books, new.amount)))
}

async fn return_payout(State(shared): Which, Path(id): Path<String>) -> Response {
    plain(shared.with(|books| payouts::fail(books, &id)))
}

fn decide(State(shared): Which, Path(id): Path<String>, is_won: bool) -> Response {
    plain(shared.with(|books| disputes::close(books, &id, is_won)))
}

fn settle(State(shared): Which, Path(id): Path<String>, arrives: bool) -> Response {
    plain(shared.with(|books| refunds::settle(books, &id, arrives)))
}
