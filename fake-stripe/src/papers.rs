//! Receipts and invoices, as pages and as PDF.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::page;
use crate::server::{Shared, html};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/receipts/{charge}", get(receipt))
        .route("/invoices/{invoice}", get(invoice))
        .route("/invoices/{invoice}/pdf", get(invoice_pdf))
}

async fn receipt(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let amount = shared.with(|books| books.charges.get(&id).filter(|one| one.paid).map(|one| one.amount));
    found(amount.map(|amount| html(page::note("Receipt", &format!("{id}: {} paid", page::dollars(amount))))))
}

async fn invoice(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let total = shared.with(|books| books.invoices.get(&id).map(|one| one.total));
    found(total.map(|total| html(page::note("Invoice", &format!("{id}: {} paid", page::dollars(total))))))
}

async fn invoice_pdf(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let total = shared.with(|books| books.invoices.get(&id).map(|one| one.total));
    let pdf = total.map(|total| page::pdf(&format!("Invoice {id}: {} paid", page::dollars(total))));
    found(pdf.map(|pdf| ([(CONTENT_TYPE, "application/pdf")], pdf).into_response()))
}

fn found(response: Option<Response>) -> Response {
    response.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}
