//! What a node says one attempt used, as typed data that it signs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::price::Units;
use crate::typed::{Domain, Fields, Typed};
use crate::wallet::{Address, Signed, Wallet, WalletError};
use crate::{AttemptId, NodeId, OfferId, ProviderId, RequestId};

/// How an attempt ended, as the node saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    /// The engine finished its answer.
    Completed,
    /// The broker stopped asking.
    Cancelled,
    /// The engine failed.
    Failed,
}

/// SHA-256 of a body: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BodyDigest(pub [u8; 32]);

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hex digits")]
pub struct ParseDigestError;

/// Usage of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// Which attempt; a report is idempotent by it.
    pub attempt: AttemptId,
    /// The request it was for.
    pub request: RequestId,
    /// Who reports.
    pub node: NodeId,
    /// The offer it was for.
    pub offer: OfferId,
    /// The price version the broker pinned.
    pub price_version: u32,
    /// The engine's own counts.
    pub units: Units,
    /// When the node received it, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// When it ended.
    pub finished_at_ms: i64,
    /// How it ended.
    pub status: ReportStatus,
    /// Of the request body.
    pub request_sha256: BodyDigest,
    /// Of the response bytes that left the node.
    pub response_sha256: BodyDigest,
}

/// A report, signed by the node's receipt key for the instance it will be settled at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReport {
    /// What is signed.
    pub report: UsageReport,
    /// Over [`Typed::digest`].
    pub signature: Signed,
    /// What came with the dispatch: only the broker that sealed it can read it. It is no part of the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// A provider's word that a key signs reports for it, signed by its wallet. It counts at every instance, so that a
/// new one needs nobody's wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptKey {
    /// For whom.
    pub provider: ProviderId,
    /// The key's address.
    pub key: Address,
}

impl UsageReport {
    /// Signs with the node's receipt key.
    #[must_use]
    pub fn sign(self, key: &Wallet, domain: &Domain, ticket: Option<String>) -> SignedReport {
        SignedReport { signature: key.sign_digest(&self.digest(domain)), report: self, ticket }
    }
}

impl SignedReport {
    /// Whose signature it is.
    ///
    /// # Errors
    /// [`WalletError::Signature`] when it is nobody's.
    pub fn signer(&self, domain: &Domain) -> Result<Address, WalletError> {
        self.signature.recover(&self.report.digest(domain))
    }
}

impl Typed for Units {
    const TYPE: &'static str = "Units(uint32 prompt,uint32 cachedPrompt,uint32 cacheWrite,uint32 completion,\
                                uint32 internalReasoning,uint32 request)";

    fn fields(&self, to: &mut Fields) {
        let counts =
            [self.prompt, self.cached_prompt, self.cache_write, self.completion, self.internal_reasoning, self.request];
        for count in counts {
            to.uint(count.into());
        }
    }
}

impl Typed for UsageReport {
    const TYPE: &'static str = "UsageReport(bytes16 attempt,bytes16 request,bytes16 node,bytes16 offer,\
                                uint32 priceVersion,Units units,int64 startedAtMs,int64 finishedAtMs,uint8 status,\
                                bytes32 requestSha256,bytes32 responseSha256)\
                                Units(uint32 prompt,uint32 cachedPrompt,uint32 cacheWrite,uint32 completion,\
                                uint32 internalReasoning,uint32 request)";

    fn fields(&self, to: &mut Fields) {
        let status = match self.status {
            ReportStatus::Completed => 0,
            ReportStatus::Cancelled => 1,
            ReportStatus::Failed => 2,
        };
        to.id(self.attempt.uuid()).id(self.request.uuid()).id(self.node.uuid()).id(self.offer.uuid());
        to.uint(self.price_version.into()).holds(&self.units);
        to.int(self.started_at_ms).int(self.finished_at_ms).uint(status);
        to.word(&self.request_sha256.0).word(&self.response_sha256.0);
    }
}

impl Typed for ReceiptKey {
    const TYPE: &'static str = "ReceiptKey(bytes16 provider,address key)";

    fn fields(&self, to: &mut Fields) {
        to.id(self.provider.uuid()).address(&self.key);
    }
}

impl fmt::Display for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BodyDigest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        crate::text::lower_hex(text).map(Self).ok_or(ParseDigestError)
    }
}

crate::text::text_value!(BodyDigest);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::typed::keccak;
    use uuid::Uuid;

    const DOMAIN: Domain = Domain { chain_id: 31_337, distributor: Address::from_bytes([0x5f; 20]) };

    fn report() -> UsageReport {
        UsageReport {
            attempt: AttemptId::from_uuid(Uuid::from_u128(1)),
            request: RequestId::from_uuid(Uuid::from_u128(2)),
            node: NodeId::from_uuid(Uuid::from_u128(3)),
            offer: OfferId::from_uuid(Uuid::from_u128(4)),
            price_version: 5,
            units: Units { prompt: 6, completion: 7, request: 1, ..Units::default() },
            started_at_ms: 8,
            finished_at_ms: -9,
            status: ReportStatus::Cancelled,
            request_sha256: BodyDigest([0xab; 32]),
            response_sha256: BodyDigest([0xcd; 32]),
        }
    }

    #[test]
    fn digests_and_signatures_are_those_of_another_implementation() {
        // Written by Python's eth-account over the same typed data.
        let golden: serde_json::Value = serde_json::from_str(include_str!("../tests/golden/typed_data.json")).unwrap();
        let wallet = Wallet::from_bytes(&[7; 32]).unwrap();
        let delegation = ReceiptKey { provider: ProviderId::from_uuid(Uuid::from_u128(11)), key: wallet.address() };
        assert_eq!(hex::encode(report().digest(&DOMAIN)), golden["usage_report"]["digest"]);
        let signed = report().sign(&wallet, &DOMAIN, None);
        assert_eq!(signed.signature.to_string(), golden["usage_report"]["signature"]);
        assert_eq!(hex::encode(delegation.digest_anywhere()), golden["receipt_key"]["digest"]);
        let signature = wallet.sign_digest(&delegation.digest_anywhere());
        assert_eq!(signature.to_string(), golden["receipt_key"]["signature"]);
    }

    #[test]
    fn a_changed_report_was_signed_by_nobody_known() {
        let wallet = Wallet::from_bytes(&[7; 32]).unwrap();
        let mut signed = report().sign(&wallet, &DOMAIN, Some("sealed".to_owned()));
        assert_eq!(signed.signer(&DOMAIN), Ok(wallet.address()));
        let elsewhere = Domain { chain_id: 1, ..DOMAIN };
        assert_ne!(signed.signer(&elsewhere), Ok(wallet.address()));
        signed.report.units.completion += 1;
        assert_ne!(signed.signer(&DOMAIN), Ok(wallet.address()));
    }

    #[test]
    fn a_report_has_one_spelling() {
        let text =
            serde_json::to_string(&report().sign(&Wallet::from_bytes(&[7; 32]).unwrap(), &DOMAIN, None)).unwrap();
        assert_eq!(serde_json::to_string(&serde_json::from_str::<SignedReport>(&text).unwrap()).unwrap(), text);
        assert!(serde_json::from_str::<SignedReport>(&text.replace("abab", "ABAB")).is_err());
        assert!(!text.contains("ticket"));
        assert_ne!(keccak(UsageReport::TYPE.as_bytes()), keccak(Units::TYPE.as_bytes()));
        assert!(UsageReport::TYPE.ends_with(Units::TYPE));
    }
}
