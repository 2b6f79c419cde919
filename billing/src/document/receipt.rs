//! What was paid for credit, and when.

use protocol::NanoUsd;

use super::paper::{Column, Paper};
use super::statement::day;
use super::{Papers, csv};
use crate::topup::Topup;

const MONEY: [Column; 2] = [Column::Text(0.0, 380.0), Column::Figures(499.0)];

/// The receipt of a top-up; `None` while it is not paid.
pub(super) fn papers(topup: &Topup, issuer: &str) -> Option<Papers> {
    let (paid_at, payment) = (topup.paid_at?, topup.payment_intent.as_deref()?);
    let (date, total) = (day(paid_at), topup.amount.saturating_add(topup.tax));
    let lines = [("Prepaid credit", "prepaid_credit", topup.amount), ("Tax", "tax", topup.tax)];
    let mut paper = Paper::new("Receipt");
    paper.line(issuer);
    paper.line(&format!("Organization {}", topup.account));
    paper.line(&format!("Receipt {}", topup.id));
    paper.line(&format!("Paid by card on {date}, in UTC, as {payment}"));
    paper.heading("Paid");
    let rows = lines.map(|(name, _, amount)| [name.to_owned(), amount.to_string()]);
    paper.table(MONEY, ["", "USD"], &rows);
    paper.total(MONEY, ["Total", &total.to_string()]);
    let id = topup.id.to_string();
    let line = |kind: &str, amount: NanoUsd| csv::line([date.as_str(), &id, payment, kind, &amount.to_string()]);
    let mut table = csv::line(["date", "receipt", "payment", "type", "amount_usd"]);
    table.extend(lines.map(|(_, kind, amount)| line(kind, amount)));
    table.push_str(&line("total", total));
    Some(Papers { pdf: paper.finish(), csv: table })
}
