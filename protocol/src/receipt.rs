//! What a node says one attempt used, in one canonical form that it signs.

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::price::Units;
use crate::{AttemptId, NodeId, OfferId, RequestId};

/// Opens the canonical bytes, so a signature can never be taken for one over something else.
const DOMAIN: &[u8] = b"steelyard/usage-report/1\n";

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
    /// SHA-256 of the request body, 64 hex digits.
    pub request_sha256: String,
    /// SHA-256 of the response bytes that left the node, 64 hex digits.
    pub response_sha256: String,
}

/// A report with its node's ed25519 signature over [`UsageReport::canonical_bytes`], 128 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReport {
    /// What is signed.
    pub report: UsageReport,
    /// By the node's key.
    pub signature: String,
}

/// A report that can't be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A digest is not 64 lower-case hex digits.
    #[error("a digest is 64 lower-case hex digits")]
    Digest,
    /// The signature is malformed or not this node's.
    #[error("the signature is not the node's over this report")]
    Signature,
}

impl UsageReport {
    /// The bytes that are signed: fixed order, fixed width, big-endian, behind a domain line.
    ///
    /// # Errors
    /// [`ReportError::Digest`] when a digest is not 64 hex digits.
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, ReportError> {
        let mut bytes = Vec::with_capacity(DOMAIN.len() + 200);
        bytes.extend_from_slice(DOMAIN);
        for uuid in [self.attempt.uuid(), self.request.uuid(), self.node.uuid(), self.offer.uuid()] {
            bytes.extend_from_slice(uuid.as_bytes());
        }
        let u = &self.units;
        let counts = [u.prompt, u.cached_prompt, u.cache_write, u.completion, u.internal_reasoning, u.request];
        bytes.extend(self.price_version.to_be_bytes());
        bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        bytes.extend(self.started_at_ms.to_be_bytes());
        bytes.extend(self.finished_at_ms.to_be_bytes());
        bytes.push(match self.status {
            ReportStatus::Completed => 0,
            ReportStatus::Cancelled => 1,
            ReportStatus::Failed => 2,
        });
        for digest in [&self.request_sha256, &self.response_sha256] {
            bytes.extend(parse_digest(digest)?);
        }
        Ok(bytes)
    }

    /// Signs with the node's key.
    ///
    /// # Errors
    /// [`ReportError::Digest`].
    pub fn sign(self, key: &SigningKey) -> Result<SignedReport, ReportError> {
        let signature = key.sign(&self.canonical_bytes()?);
        Ok(SignedReport { report: self, signature: hex::encode(signature.to_bytes()) })
    }
}

impl SignedReport {
    /// Checks that `key` signed exactly this report.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), ReportError> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(&self.signature, &mut bytes).map_err(|_| ReportError::Signature)?;
        let signed = self.report.canonical_bytes()?;
        key.verify(&signed, &Signature::from_bytes(&bytes)).map_err(|_| ReportError::Signature)
    }
}

/// Checks that `key` signed every one of these reports, at less than half the work of checking each.
///
/// A signer can craft signatures that pass here and fail alone. That harms nobody while the gateway's own count
/// decides; where a report is to be evidence against its signer, check it with [`SignedReport::verify`].
///
/// # Errors
/// [`ReportError`] when any is not believable; only checking them one by one tells which.
pub fn verify_all(reports: &[SignedReport], key: &VerifyingKey) -> Result<(), ReportError> {
    let mut signed = Vec::with_capacity(reports.len());
    let mut signatures = Vec::with_capacity(reports.len());
    for report in reports {
        let mut bytes = [0; 64];
        hex::decode_to_slice(&report.signature, &mut bytes).map_err(|_| ReportError::Signature)?;
        signatures.push(Signature::from_bytes(&bytes));
        signed.push(report.report.canonical_bytes()?);
    }
    let messages: Vec<&[u8]> = signed.iter().map(Vec::as_slice).collect();
    let keys = vec![*key; reports.len()];
    ed25519_dalek::verify_batch(&messages, &signatures, &keys).map_err(|_| ReportError::Signature)
}

fn parse_digest(text: &str) -> Result<[u8; 32], ReportError> {
    let mut digest = [0; 32];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    hex::decode_to_slice(text, &mut digest).ok().filter(|()| lower).ok_or(ReportError::Digest)?;
    Ok(digest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn report() -> UsageReport {
        UsageReport {
            attempt: AttemptId::from_uuid(Uuid::from_u128(1)),
            request: RequestId::from_uuid(Uuid::from_u128(2)),
            node: NodeId::from_uuid(Uuid::from_u128(3)),
            offer: OfferId::from_uuid(Uuid::from_u128(4)),
            price_version: 5,
            units: Units { prompt: 6, completion: 7, request: 1, ..Units::default() },
            started_at_ms: 8,
            finished_at_ms: 9,
            status: ReportStatus::Cancelled,
            request_sha256: "ab".repeat(32),
            response_sha256: "cd".repeat(32),
        }
    }

    #[test]
    fn the_canonical_bytes_never_change() {
        let golden = include_str!("../tests/golden/usage_report.hex");
        assert_eq!(hex::encode(report().canonical_bytes().unwrap()), golden.trim());
    }

    #[test]
    fn one_forged_report_spoils_its_batch() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = |attempt| {
            UsageReport { attempt: AttemptId::from_uuid(Uuid::from_u128(attempt)), ..report() }.sign(&key).unwrap()
        };
        let mut batch: Vec<_> = (0..20).map(signed).collect();
        verify_all(&batch, &key.verifying_key()).unwrap();
        verify_all(&[], &key.verifying_key()).unwrap();
        batch[13].report.units.completion += 1;
        assert_eq!(verify_all(&batch, &key.verifying_key()), Err(ReportError::Signature));
    }

    #[test]
    fn a_changed_report_no_longer_verifies() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut signed = report().sign(&key).unwrap();
        signed.verify(&key.verifying_key()).unwrap();
        signed.report.units.completion += 1;
        assert_eq!(signed.verify(&key.verifying_key()), Err(ReportError::Signature));
        signed.report.response_sha256 = "CD".repeat(32);
        assert_eq!(signed.verify(&key.verifying_key()), Err(ReportError::Digest));
    }
}
