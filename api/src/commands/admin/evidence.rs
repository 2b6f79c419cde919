//! What speaks for us in a dispute, in one tar file a person reads and takes from.

use std::fmt::Write as _;
use std::io;

use billing::dispute::Dispute;
use billing::refund::Refund;
use billing::store::usage_log::{self, UsageEntry};
use billing::store::{refunds, topups, warnings};
use billing::topup::Topup;
use billing::warning::FraudWarning;
use protocol::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use super::{Error, missing};
use crate::store::addresses::{self, KeyAddress};
use crate::store::keys::{self, KeyRow, Owner};
use crate::store::organizations::{self, Organization};

/// Most requests listed: those right after the purchase say what it was for.
const MAX_REQUESTS: i64 = 50_000;
/// Most keys and refunds listed.
const MAX_ROWS: u32 = 1_000;
/// Most addresses listed: those of the keys used last.
const MAX_ADDRESSES: i64 = 10_000;

/// All that is known here of a disputed purchase.
#[derive(Debug)]
pub(super) struct Evidence {
    dispute: Dispute,
    organization: Option<Organization>,
    topup: Topup,
    refunds: Vec<Refund>,
    warnings: Vec<FraudWarning>,
    keys: Vec<KeyRow>,
    addresses: Vec<KeyAddress>,
    usage: Vec<UsageEntry>,
}

/// Stripe's page of a dispute, where evidence is submitted.
pub(super) fn page_of(dispute: &str) -> String {
    format!("https://dashboard.stripe.com/disputes/{dispute}")
}

/// The name of a dispute as a part of a path: the processor's names are such, and anything else must not lead astray.
pub(super) fn file_name(dispute: &str) -> String {
    dispute.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
}

/// Reads it, for as long as it takes: a request's limit is too short for a year of usage.
pub(super) async fn collect(conn: &mut PgConnection, dispute: &Dispute) -> Result<Evidence, Error> {
    sqlx::query("set local statement_timeout = '10min'").execute(&mut *conn).await?;
    let topup = topups::find(conn, dispute.topup).await?.ok_or_else(|| missing("top-up", dispute.topup))?;
    Ok(Evidence {
        dispute: dispute.clone(),
        organization: organizations::find(conn, dispute.account).await?,
        refunds: refunds::list_of(conn, topup.id, i64::from(MAX_ROWS)).await?,
        warnings: warnings::list_of(conn, topup.id).await?,
        keys: keys::list_of(conn, Owner::Organization(dispute.account), MAX_ROWS).await?,
        addresses: addresses::list_of(conn, dispute.account, MAX_ADDRESSES).await?,
        usage: usage_log::list(conn, dispute.account, topup.created_at, MAX_REQUESTS).await?,
        topup,
    })
}

impl Evidence {
    /// How many requests it lists.
    pub(super) fn requests(&self) -> usize {
        self.usage.len()
    }

    /// The file: a folder with what to read first, the facts, and two tables.
    pub(super) fn tar(&self, now: Timestamp) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let folder = format!("dispute-{}", file_name(&self.dispute.id));
        let files = [
            ("README.txt", self.readme(now)),
            ("facts.json", self.facts()),
            ("usage.csv", self.usage_table()),
            ("keys.csv", self.key_table()),
            ("addresses.csv", self.address_table()),
        ];
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(u64::try_from(now.unix_seconds()).unwrap_or(0));
            tar.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())?;
        }
        tar.into_inner()
    }

    fn readme(&self, now: Timestamp) -> String {
        let (dispute, topup) = (&self.dispute, &self.topup);
        let day = |at: Option<Timestamp>| at.map_or_else(|| "unknown".to_owned(), Timestamp::rfc3339);
        let name = self.organization.as_ref().map_or("unknown", |organization| &organization.name);
        let spent = self.usage.iter().fold(protocol::NanoUsd::ZERO, |sum, one| sum.saturating_add(one.charge));
        let cut = if self.usage.len() as i64 == MAX_REQUESTS { " (the first of them; there are more)" } else { "" };
        format!(
            "Evidence for dispute {id}, packed {packed}\n\
             \n\
             Nothing of this has been sent. Read it, take what helps, and submit that by hand at\n\
             {page}\n\
             Evidence is taken until: {due}\n\
             \n\
             Disputed: {amount} USD, reason given: {reason}, state: {state}\n\
             Purchase: {topup} of {bought} USD and {tax} USD of tax, paid {paid}\n\
             Customer: {name} ({account})\n\
             Since then: {count} requests{cut}, which came to {spent} USD, with the keys in keys.csv\n\
             Receipt: {receipt}\n\
             Invoice: {invoice}\n\
             \n\
             facts.json  the dispute, the purchase, its refunds and warnings of fraud\n\
             usage.csv   each request since the purchase: when, with which key, which model, how much, at what price\n\
             keys.csv    the customer's keys: who made requests held one of them\n\
             addresses.csv  where those keys were used from: each network address, of IPv6 each network\n\
             \n\
             Prompts and answers are not here because they are not stored. An address is forgotten 400 days after it\n\
             was last seen.\n",
            id = dispute.id,
            packed = now.rfc3339(),
            page = page_of(&dispute.id),
            due = day(dispute.due_at),
            amount = dispute.amount,
            reason = dispute.reason,
            state = dispute.state.as_str(),
            topup = topup.id,
            bought = topup.amount,
            tax = topup.tax,
            paid = day(topup.paid_at),
            account = dispute.account,
            count = self.usage.len(),
            receipt = topup.receipt_url.as_deref().unwrap_or("none"),
            invoice = topup.invoice_pdf.as_deref().unwrap_or("none"),
        )
    }

    fn facts(&self) -> String {
        let (dispute, topup) = (&self.dispute, &self.topup);
        let refunds = self.refunds.iter().map(|one| {
            json!({ "id": one.id, "stripe_id": one.theirs, "state": one.state.as_str(), "credit_usd": one.credit,
                    "tax_usd": one.tax, "created_at": one.created_at.rfc3339() })
        });
        let warnings = self.warnings.iter().map(|one| {
            json!({ "id": one.id, "kind": one.kind, "refunded_usd": one.refunded, "at": one.warned_at.rfc3339() })
        });
        let facts = json!({
            "dispute": {
                "id": dispute.id, "state": dispute.state.as_str(), "reason": dispute.reason, "amount_usd": dispute.amount,
                "opened_at": dispute.opened_at.rfc3339(), "due_at": dispute.due_at.map(|at| at.rfc3339()),
            },
            "customer": {
                "organization": dispute.account, "name": self.organization.as_ref().map(|one| &one.name),
                "since": self.organization.as_ref().map(|one| one.created_at.rfc3339()),
            },
            "purchase": {
                "topup": topup.id, "payment_intent": topup.payment_intent, "checkout_session": topup.session,
                "amount_usd": topup.amount, "tax_usd": topup.tax, "with_3d_secure_asked": topup.is_first,
                "asked_at": topup.created_at.rfc3339(), "paid_at": topup.paid_at.map(|at| at.rfc3339()),
                "receipt_url": topup.receipt_url, "invoice_url": topup.invoice_url, "invoice_pdf": topup.invoice_pdf,
            },
            "refunds": refunds.collect::<Vec<_>>(),
            "fraud_warnings": warnings.collect::<Vec<_>>(),
        });
        format!("{facts:#}\n")
    }

    fn usage_table(&self) -> String {
        let mut table =
            "received_at,finished_at,request,key,project,model,outcome,prompt_tokens,completion_tokens,charge_usd\n"
                .to_owned();
        for one in &self.usage {
            let (received, finished, model) = (one.received_at.rfc3339(), one.finished_at.rfc3339(), cell(&one.model));
            // Writing to a string can't fail.
            let _ = writeln!(
                table,
                "{received},{finished},{},{},{},{model},{},{},{},{}",
                one.request, one.key, one.project, one.outcome, one.prompt, one.completion, one.charge
            );
        }
        table
    }

    fn key_table(&self) -> String {
        let mut table = "key,kind,name,shown_as,created_at,revoked_at\n".to_owned();
        for one in &self.keys {
            let (name, hint) = (cell(&one.record.name), cell(&one.hint));
            let revoked = one.revoked_at.map(Timestamp::rfc3339).unwrap_or_default();
            let (id, kind, created) = (one.record.id, one.record.kind().name(), one.created_at.rfc3339());
            let _ = writeln!(table, "{id},{kind},{name},{hint},{created},{revoked}");
        }
        table
    }

    fn address_table(&self) -> String {
        let mut table = "key,address,first_seen_at,last_seen_at,requests\n".to_owned();
        for one in &self.addresses {
            let (first, last) = (one.first_seen_at.rfc3339(), one.last_seen_at.rfc3339());
            let _ = writeln!(table, "{},{},{first},{last},{}", one.key, one.address, one.requests);
        }
        table
    }
}

/// A cell people's words are in: quoted, and never a formula to whoever opens it as a sheet.
fn cell(text: &str) -> String {
    let text = text.replace('"', "\"\"").replace(['\r', '\n'], " ");
    let guard = if text.starts_with(['=', '+', '-', '@', '\t']) { "'" } else { "" };
    format!("\"{guard}{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_stays_in_its_cell_and_is_no_formula() {
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(cell("=HYPERLINK(1)\nx"), "\"'=HYPERLINK(1) x\"");
    }

    #[test]
    fn a_name_of_a_dispute_leads_nowhere() {
        assert_eq!(file_name("du_1A"), "du_1A");
        assert_eq!(file_name("../etc/x"), "---etc-x");
    }
}
