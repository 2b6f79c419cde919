//! Controls: what cardholders and banks do, and how the processor misbehaves.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::knobs::{Fault, Knobs};
use crate::objects::{disputes, refunds};
use crate::server::{Shared, plain};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_fake/knobs", get(show).put(set))
        .route("/_fake/faults", post(add_fault))
        .route("/_fake/disputes", post(dispute))
        .route("/_fake/disputes/{dispute}/won", post(async |s: Which, p: Path<String>| decide(s, p, true)))
        .route("/_fake/disputes/{dispute}/lost", post(async |s: Which, p: Path<String>| decide(s, p, false)))
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
    plain(shared.with(|books| disputes::open(books, &new.charge, new.amount, &new.reason)))
}

fn decide(State(shared): Which, Path(id): Path<String>, is_won: bool) -> Response {
    plain(shared.with(|books| disputes::close(books, &id, is_won)))
}

fn settle(State(shared): Which, Path(id): Path<String>, arrives: bool) -> Response {
    plain(shared.with(|books| refunds::settle(books, &id, arrives)))
}
