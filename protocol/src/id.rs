//! Prefixed UUIDv7 identifiers: `job_0190…` on the wire, a plain `uuid` in the database.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// What every identifier of ours can do.
pub trait Id: Copy + Eq + fmt::Display + fmt::Debug + FromStr<Err = ParseIdError> {
    /// What the id starts with on the wire, separator included.
    const PREFIX: &'static str;

    /// Wraps a UUID that is known to name this kind of thing.
    fn from_uuid(uuid: Uuid) -> Self;

    /// The bare UUID, as stored.
    fn uuid(self) -> Uuid;
}

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}<32 hex digits>")]
pub struct ParseIdError {
    /// The prefix the id must have.
    pub prefix: &'static str,
}

/// Reads 32 lower-case hex digits after `prefix`.
///
/// # Errors
/// [`ParseIdError`] when the prefix differs or what follows is not exactly 32 lower-case hex digits:
/// two spellings of one id would be two idempotency keys.
pub fn parse_prefixed(text: &str, prefix: &'static str) -> Result<Uuid, ParseIdError> {
    let wrong = ParseIdError { prefix };
    let digits = text.strip_prefix(prefix).ok_or(wrong.clone())?;
    let exact = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !exact {
        return Err(wrong);
    }
    Uuid::try_parse(digits).map_err(|_| wrong)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl Id for $name {
            const PREFIX: &'static str = $prefix;

            fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_prefixed(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "sqlx")]
        crate::sql::column!($name, Uuid, |id| id.0, |uuid| Ok(Self(uuid)));
    )+};
}

ids! {
    /// Who pays: one account, many projects.
    OrganizationId = "org-";
    /// What the money is spent for.
    ProjectId = "proj_";
    /// A program that holds keys of its own within a project.
    ServiceAccountId = "svcacct_";
    /// One API key, of any kind. The secret itself is never stored.
    KeyId = "key_";
    /// One call by a user; every other id of that call shares its UUID.
    RequestId = "req_";
    /// One dispatch of a request to one offer.
    AttemptId = "att_";
    /// Who supplies.
    ProviderId = "prov_";
    /// One machine with an engine.
    NodeId = "node_";
    /// One model at a price on one node.
    OfferId = "offer_";
    /// Credit lent by the ledger to one gateway replica.
    LeaseId = "lease_";
    /// Money set aside for one piece of work.
    HoldId = "hold_";
    /// Credit from one cause, with its own expiry.
    GrantId = "grant_";
    /// A group of postings with one cause.
    TransferId = "txn_";
    /// The signed usage of one attempt.
    ReceiptId = "rcpt_";
    /// Something about receipts that a person must decide.
    CaseId = "case_";
    /// What one epoch owes one provider.
    PayoutId = "payout_";
    /// A single-use text to be signed by a wallet.
    ChallengeId = "chal_";
    /// A URL that is told of facts.
    WebhookId = "whk_";
    /// A fact sent through the outbox.
    EventId = "evt_";
    /// One batch of settlements, written in one transaction.
    FlushId = "flush_";
    /// One start of a gateway replica.
    BootId = "boot_";
    /// Credit bought by card.
    TopupId = "topup_";
    /// Credit on its way back to a card.
    RefundId = "refund_";
    /// A card kept for charges nobody is asked about.
    CardId = "card_";
    /// A page where a card is saved.
    CardSetupId = "cardsetup_";
    /// A statement or a receipt.
    DocumentId = "doc_";
}

impl RequestId {
    /// The id of the chat completion this request makes: the same UUID under OpenAI's prefix.
    #[must_use]
    pub fn chat_completion(self) -> String {
        format!("chatcmpl-{}", self.0.simple())
    }

    /// The id of the text completion this request makes.
    #[must_use]
    pub fn text_completion(self) -> String {
        format!("cmpl-{}", self.0.simple())
    }

    /// The id of the response this request makes: the same UUID under OpenAI's prefix.
    #[must_use]
    pub fn response(self) -> String {
        format!("resp_{}", self.0.simple())
    }

    /// The id of one part of this request's answer, such as `fc_…`. It differs from the request's own UUID in the
    /// last, random digits, where `ordinal` tells parts apart.
    #[must_use]
    pub fn part(self, prefix: &str, ordinal: u32) -> String {
        let own = Uuid::from_u128(self.0.as_u128() ^ (u128::from(ordinal) + 1));
        format!("{prefix}{}", own.simple())
    }

    /// Accepts any spelling a client may hold of this request: `req_…`, `chatcmpl-…`, `cmpl-…`, `resp_…`, `msg_…`.
    ///
    /// # Errors
    /// [`ParseIdError`] for anything else.
    pub fn parse_any(text: &str) -> Result<Self, ParseIdError> {
        ["req_", "chatcmpl-", "cmpl-", "resp_", "msg_"]
            .into_iter()
            .find_map(|prefix| parse_prefixed(text, prefix).ok())
            .map(Self)
            .ok_or(ParseIdError { prefix: Self::PREFIX })
    }

    /// The id of the message this request makes: the same UUID under Anthropic's prefix.
    #[must_use]
    pub fn message(self) -> String {
        format!("msg_{}", self.0.simple())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "job_01890a5d000070008000000000000001";

    #[test]
    fn an_id_prints_and_parses_with_its_own_prefix_only() {
        let id = NodeId::from_uuid(Uuid::try_parse(&TEXT[4..]).unwrap());
        assert_eq!(id.to_string(), "node_01890a5d000070008000000000000001");
        assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
        assert!(id.to_string().parse::<OfferId>().is_err());
    }

    #[test]
    fn one_id_has_one_spelling() {
        for text in [
            "node_01890A5D000070008000000000000001",
            "node_01890a5d-0000-7000-8000-000000000001",
            "node_01890a5d00007000800000000000001",
            "node_",
            "",
        ] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_is_found_under_any_of_its_names() {
        let id = RequestId::from_uuid(Uuid::try_parse(&TEXT[4..]).unwrap());
        assert_eq!(RequestId::parse_any(&id.chat_completion()).unwrap(), id);
        assert_eq!(RequestId::parse_any(&id.response()).unwrap(), id);
        assert_eq!(RequestId::parse_any(&id.to_string()).unwrap(), id);
        assert!(RequestId::parse_any("file-01890a5d000070008000000000000001").is_err());
    }

    #[test]
    fn the_parts_of_an_answer_have_ids_of_their_own() {
        let id = RequestId::from_uuid(Uuid::try_parse(&TEXT[4..]).unwrap());
        let parts: std::collections::BTreeSet<_> = (0..1_000).map(|ordinal| id.part("fc_", ordinal)).collect();
        assert_eq!(parts.len(), 1_000);
        assert!(!parts.contains(&id.to_string().replace("req_", "fc_")));
        assert!(parts.iter().all(|part| parse_prefixed(part, "fc_").is_ok_and(|uuid| uuid.get_version_num() == 7)));
    }

    #[test]
    fn a_message_leads_back_to_its_request() {
        let id = RequestId::from_uuid(Uuid::try_parse(&TEXT[4..]).unwrap());
        assert_eq!(id.message(), "msg_01890a5d000070008000000000000001");
        assert_eq!(RequestId::parse_any(&id.message()).unwrap(), id);
    }
}
