//! What moved an account's credit, for its owner to read: the same postings the books are made of, and a day's usage
//! as one line.

use std::fmt;
use std::str::FromStr;

use protocol::{SignedNanoUsd, Timestamp, TransferId};

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Bought by card.
    Topup,
    /// Given to win a user.
    Promo,
    /// Gone back to a card, or come back from there.
    Refund,
    /// Promotional credit whose time was over.
    Expiry,
    /// Taken after a card's holder disputed a payment, or come back.
    Dispute,
    /// What a day's requests came to.
    Usage,
    /// Given, or taken, for another reason.
    Adjustment,
    /// Used or paid back beyond what there was, and so owed; or what was owed, paid.
    Receivable,
}

/// Names a line: the posting it shows, or the day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryId(String);

/// A text that names no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a line of this list")]
pub struct ParseEntryIdError;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names it.
    pub id: EntryId,
    /// What it is about.
    pub kind: Kind,
    /// How much came; below zero, how much went.
    pub amount: SignedNanoUsd,
    /// What there was after it.
    pub balance: SignedNanoUsd,
    /// The top-up or refund it comes from.
    pub source: Option<String>,
    /// When. Usage counts at the end of its day.
    pub at: Timestamp,
}

impl Kind {
    /// The name, as shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Topup => "topup",
            Self::Promo => "promo",
            Self::Refund => "refund",
            Self::Expiry => "expiry",
            Self::Dispute => "dispute",
            Self::Usage => "usage",
            Self::Adjustment => "adjustment",
            Self::Receivable => "receivable",
        }
    }

    /// The kind of a posting, by what caused it and by the account on its other side.
    pub(crate) fn of(cause: &str, other: &str) -> Self {
        match (cause, other) {
            (_, "receivable") => Self::Receivable,
            ("stripe.payment", _) => Self::Topup,
            ("promo", _) => Self::Promo,
            ("stripe.refund", _) => Self::Refund,
            ("promo_expired", _) => Self::Expiry,
            ("stripe.dispute", _) => Self::Dispute,
            ("settle", _) => Self::Usage,
            _ => Self::Adjustment,
        }
    }
}

impl EntryId {
    /// The name, as the database makes it.
    pub(crate) fn from_stored(id: String) -> Self {
        Self(id)
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EntryId {
    type Err = ParseEntryIdError;

    fn from_str(text: &str) -> Result<Self, ParseEntryIdError> {
        let is_day = |day: &str| day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let is_posting = |text: &str| {
            text.rsplit_once('-')
                .is_some_and(|(transfer, line)| transfer.parse::<TransferId>().is_ok() && line.parse::<u32>().is_ok())
        };
        let is_known = text.strip_prefix("usage-").is_some_and(is_day) || is_posting(text);
        if is_known { Ok(Self(text.to_owned())) } else { Err(ParseEntryIdError) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_posting_or_a_day() {
        for id in ["usage-2026-11-26", "txn_0198c1f2a3b47c5d8e9f00112233aabb-1"] {
            assert_eq!(id.parse::<EntryId>().unwrap().as_str(), id);
        }
        for wrong in ["", "usage-", "usage-yesterday!", "txn_1-1", "txn_0198c1f2a3b47c5d8e9f00112233aabb", "topup_1"] {
            assert_eq!(wrong.parse::<EntryId>(), Err(ParseEntryIdError), "{wrong}");
        }
    }

    #[test]
    fn what_is_owed_is_told_apart_from_what_made_it_so() {
        assert_eq!(Kind::of("stripe.payment", "stripe_clearing"), Kind::Topup);
        assert_eq!(Kind::of("stripe.payment", "receivable"), Kind::Receivable);
        assert_eq!(Kind::of("late", "receivable"), Kind::Receivable);
        assert_eq!(Kind::of("goodwill", "goodwill_expense"), Kind::Adjustment);
    }
}
