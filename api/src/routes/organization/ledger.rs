//! The organization's lines of the journal, to take home: as a table or as a JSON object each.

use std::str::FromStr;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use billing::document::csv;
use billing::store::journal::{self, JournalLine, Place};
use billing::store::statements::reason;
use http::HeaderName;
use http::header::CONTENT_TYPE;
use protocol::{SignedNanoUsd, TransferId};
use serde::Serialize;

use crate::error::ApiError;
use crate::extract::{Admin, Params};
use crate::state::AppState;

/// Lines when nothing is asked.
const DEFAULT_LINES: i64 = 1_000;
/// The longest answer: some megabytes, made in memory.
const MAX_LINES: i64 = 10_000;
/// Whether lines follow those of an answer.
const HAS_MORE: HeaderName = HeaderName::from_static("x-has-more");
/// The table's first line.
const HEAD: [&str; 6] = ["id", "booked_at", "type", "counter_account", "amount_usd", "balance_usd"];

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/organization/ledger", get(export))
}

/// What lines come as.
#[derive(Debug, Clone, Copy)]
enum Format {
    Lines,
    Csv,
}

#[derive(Debug, Serialize)]
struct View<'a> {
    id: LineId,
    object: &'static str,
    booked_at: i64,
    r#type: &'a str,
    counter_account: &'a str,
    amount_usd: SignedNanoUsd,
    balance_usd: SignedNanoUsd,
}

/// A transfer and its line, `txn_…-1`. What one answer ends with, the next begins behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LineId(Place);

/// Bookings of the organization, oldest first, with the balance after each.
#[tracing::instrument(name = "api.ledger.export", skip_all, fields(account.id = %admin.organization))]
async fn export(State(app): State<AppState>, admin: Admin, params: Params) -> Result<Response, ApiError> {
    let format = params.choice("format", &[("jsonl", Format::Lines), ("csv", Format::Csv)])?.unwrap_or(Format::Lines);
    let limit = params.integer("limit", 1..=MAX_LINES)?.unwrap_or(DEFAULT_LINES);
    let after = params.read::<LineId>("after")?.map(|id| id.0);
    let mut conn = app.db.acquire().await?;
    let found = journal::list(&mut conn, admin.organization, after, limit + 1).await?;
    let invalid = || ApiError::invalid("after", "not a line of this organization").with_code("invalid_value");
    let mut lines = found.ok_or_else(invalid)?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = lines.len() > most;
    lines.truncate(most);
    let (kind, body) = match format {
        Format::Lines => ("application/jsonl", lines.iter().map(json_line).collect::<Result<String, _>>()),
        Format::Csv => {
            let head = std::iter::once(csv::line(HEAD));
            ("text/csv; charset=utf-8", Ok(head.chain(lines.iter().map(csv_line)).collect()))
        }
    };
    let body = body.map_err(|error| ApiError::internal(&error))?;
    Ok(([(CONTENT_TYPE, kind), (HAS_MORE, if has_more { "true" } else { "false" })], body).into_response())
}

fn json_line(line: &JournalLine) -> Result<String, serde_json::Error> {
    let view = View {
        id: LineId(line.place),
        object: "ledger_line",
        booked_at: line.booked_at.unix_seconds(),
        r#type: reason(&line.cause_kind),
        counter_account: &line.counter,
        amount_usd: line.amount,
        balance_usd: line.balance,
    };
    serde_json::to_string(&view).map(|text| text + "\n")
}

fn csv_line(line: &JournalLine) -> String {
    csv::line([
        LineId(line.place).to_string().as_str(),
        &line.booked_at.rfc3339(),
        reason(&line.cause_kind),
        &line.counter,
        &line.amount.to_string(),
        &line.balance.to_string(),
    ])
}

impl std::fmt::Display for LineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0.transfer, self.0.line)
    }
}

impl Serialize for LineId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for LineId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "the id of a line is txn_<32 hex digits>-<number>";
        let (transfer, line) = text.split_once('-').ok_or(wrong)?;
        let transfer: TransferId = transfer.parse().map_err(|_| wrong)?;
        let read = Self(Place { transfer, line: line.parse().map_err(|_| wrong)? });
        if read.to_string() == text { Ok(read) } else { Err(wrong) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_named_in_one_way() {
        let text = "txn_01890a5d000070008000000000000001-12";
        assert_eq!(text.parse::<LineId>().unwrap().to_string(), text);
        for wrong in ["", "txn_1-1", "txn_01890a5d000070008000000000000001", "txn_01890a5d000070008000000000000001-+1"]
        {
            assert!(wrong.parse::<LineId>().is_err(), "{wrong}");
        }
    }
}
