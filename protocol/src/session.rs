//! Bodies of the provider API: how a provider joins and how its nodes stay in touch.

use serde::{Deserialize, Serialize};

use crate::offer::{EngineInfo, Hardware, Location, OfferSpec, Privacy, TrustLevel};
use crate::receipt::SignedReport;
use crate::typed::Domain;
use crate::wallet::{Address, Signed};
use crate::{ChallengeId, NodeId, OfferId, ProviderId};

/// `POST /v1/providers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateProvider {
    /// Shown to users.
    pub name: String,
    /// Short name in URLs and routing fields: lower-case letters, digits and dashes.
    pub slug: String,
    /// Where notices go.
    pub contact_email: String,
    /// ISO 3166 alpha-2.
    pub country: String,
    /// Public page, if any.
    #[serde(default)]
    pub website: Option<String>,
    /// Public page, if any.
    #[serde(default)]
    pub privacy_policy_url: Option<String>,
    /// Which terms were accepted.
    pub terms_version: String,
    /// CAIP-10 account payouts go to, such as `eip155:8453:0x…`.
    pub payout_account: String,
    /// The wallet that signs for the provider.
    pub receipt_address: Address,
}

/// A provider as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderView {
    /// Its id.
    pub id: ProviderId,
    /// Always `provider`.
    pub object: String,
    /// Shown to users.
    pub name: String,
    /// Short name.
    pub slug: String,
    /// `pending`, `active`, `suspended` or `closed`.
    pub state: String,
    /// Unix seconds.
    pub created_at: i64,
}

/// A text to be signed once by a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeView {
    /// Its id.
    pub id: ChallengeId,
    /// Exactly what to sign with `personal_sign`.
    pub message: String,
    /// Unix seconds; ten minutes after it was made.
    pub expires_at: i64,
}

/// Answer to [`CreateProvider`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedProvider {
    /// Pending until the challenge is signed.
    pub provider: ProviderView,
    /// To be signed by `receipt_address`.
    pub challenge: ChallengeView,
}

/// `POST …/challenges`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateChallenge {
    /// `register` or `key_rotation`.
    pub purpose: String,
}

/// `POST …/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyChallenge {
    /// Which challenge.
    pub challenge_id: ChallengeId,
    /// `0x` and 130 hex digits.
    pub signature: String,
}

/// Answer to [`VerifyChallenge`]: the provider key, shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedProvider {
    /// Active now.
    pub provider: ProviderView,
    /// The provider key.
    pub key: String,
}

/// `POST …/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNode {
    /// The node's ed25519 key, 64 hex digits. The same key again returns the node already made.
    pub public_key: String,
    /// Dial-in or by URL.
    pub mode: NodeMode,
    /// For direct mode.
    #[serde(default)]
    pub base_url: Option<String>,
    /// For direct mode: the bearer the broker must show.
    #[serde(default)]
    pub upstream_key: Option<String>,
    /// Declared.
    pub hardware: Hardware,
    /// Declared.
    pub location: Location,
    /// Declared.
    pub engine: EngineInfo,
    /// Promised.
    #[serde(default)]
    pub privacy: Privacy,
}

/// How the broker reaches a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeMode {
    /// The node dials out and keeps tunnels open.
    Tunnel,
    /// The broker calls the node's public URL.
    Direct,
}

/// A node as its provider sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Always `node`.
    pub object: String,
    /// Whose it is.
    pub provider_id: ProviderId,
    /// `pending`, `verifying`, `ready`, `degraded`, `draining`, `offline`, `quarantined` or `removed`.
    pub state: String,
    /// How far its claims were checked.
    pub trust: TrustLevel,
    /// How it is reached.
    pub mode: NodeMode,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; absent before the first heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<i64>,
    /// Tunnels open to the replica that answers.
    #[serde(default)]
    pub tunnels: u32,
    /// What keeps it from work, each with its fix. Only where one node is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<NodeCheck>,
}

/// Something that keeps a node from work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCheck {
    /// What was looked at.
    pub name: String,
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    pub fix: String,
    /// Unix seconds: when it is looked at again, where it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<i64>,
}

/// `POST …/nodes/{n}/sessions`: proof of the node's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// 16 to 64 characters, used once.
    pub nonce: String,
    /// Within 30 s of the broker's clock.
    pub timestamp_ms: i64,
    /// ed25519 over [`session_challenge_bytes`], 128 hex digits.
    pub signature: String,
}

/// What a node signs to open a session.
#[must_use]
pub fn session_challenge_bytes(node: NodeId, nonce: &str, timestamp_ms: i64) -> Vec<u8> {
    format!("steelyard/session/1\n{node}\n{timestamp_ms}\n{nonce}").into_bytes()
}

/// A bearer token for node calls.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionToken {
    /// The secret.
    pub token: String,
    /// Fifteen minutes after it was made.
    pub expires_at_ms: i64,
    /// The broker's clock, for a node to measure its own against.
    pub server_time_ms: i64,
}

/// `PUT …/nodes/{n}/offers`: the whole set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutOffers {
    /// Replaces what was there; one offer per model.
    pub offers: Vec<OfferSpec>,
}

/// An offer as its provider sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferView {
    /// Its id, kept while node and model stay the same.
    pub id: OfferId,
    /// `staged`, `active`, `degraded`, `paused` or `retired`.
    pub state: String,
    /// The version that applies now.
    pub price_version: u32,
    /// What was put.
    #[serde(flatten)]
    pub spec: OfferSpec,
}

/// Answer to `GET` and `PUT …/offers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffersView {
    /// Always `list`.
    pub object: String,
    /// The set.
    pub data: Vec<OfferView>,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Takes work.
    Ready,
    /// Takes no more just now.
    Busy,
    /// Finishes what it has.
    Draining,
}

/// Load of one offer in a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OfferLoad {
    /// Which offer.
    pub offer_id: OfferId,
    /// Being answered.
    pub in_flight: u32,
    /// Waiting.
    #[serde(default)]
    pub queued: u32,
    /// Share of KV memory free, 0 to 1.
    #[serde(default)]
    pub kv_cache_free: Option<f64>,
}

/// Load of one GPU in a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GpuLoad {
    /// Memory in use.
    pub used_mib: u64,
    /// Busy share, 0 to 1.
    pub util: f64,
    /// Degrees Celsius.
    #[serde(default)]
    pub temp_c: Option<f64>,
}

/// `POST …/nodes/{n}/heartbeat`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Must rise within a session.
    pub seq: u64,
    /// The node's clock.
    pub sent_at_ms: i64,
    /// What it is doing.
    pub state: NodeState,
    /// Its offers.
    #[serde(default)]
    pub offers: Vec<OfferLoad>,
    /// Its GPUs.
    #[serde(default)]
    pub gpus: Vec<GpuLoad>,
}

/// What the broker wants of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// For the log; acting on a command is idempotent.
    pub id: String,
    /// `drain`, `resume`, `challenge`, `reload_offers`, `rotate_key` or `update_required`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Depends on the kind.
    #[serde(default)]
    pub args: serde_json::Value,
}

/// Answer to [`Heartbeat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The broker's clock.
    pub server_time_ms: i64,
    /// When to send the next one.
    pub next_in_ms: u64,
    /// What the broker wants.
    #[serde(default)]
    pub commands: Vec<Command>,
}

/// `POST …/nodes/{n}/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    /// Seconds that running work may still take.
    #[serde(default)]
    pub deadline_s: Option<u32>,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST …/nodes/{n}/receipt_keys`, in the node's own session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceReceiptKey {
    /// Whose signature the node's reports will have.
    pub key: Address,
    /// The provider's wallet over [`crate::receipt::ReceiptKey`], where it vouches for the key.
    #[serde(default)]
    pub delegation: Option<Signed>,
}

/// Answer to [`AnnounceReceiptKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptKeyView {
    /// Known now.
    pub key: Address,
    /// Whether the wallet vouches for it.
    pub delegated: bool,
    /// What to sign reports for.
    pub domain: Domain,
}

/// `POST …/nodes/{n}/reports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutReports {
    /// At most [`MAX_REPORTS`].
    pub reports: Vec<SignedReport>,
}

/// Most bytes either way in one `POST …/bandwidth`: enough to time, too few to be a load.
pub const MAX_BANDWIDTH_BYTES: usize = 2 << 20;

/// Most reports in one call.
pub const MAX_REPORTS: usize = 500;

/// Answer to [`PutReports`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportsReply {
    /// Taken now or earlier: the node may forget them.
    pub accepted: u32,
    /// Refused for good, with the reason: the node keeps them aside.
    #[serde(default)]
    pub refused: Vec<RefusedReport>,
}

/// One report that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReport {
    /// Which one.
    pub attempt: crate::AttemptId,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::Id as _;

    #[test]
    fn the_bytes_of_a_heartbeat_never_change() {
        let load = OfferLoad {
            offer_id: OfferId::from_uuid(Uuid::from_u128(4)),
            in_flight: 3,
            queued: 2,
            kv_cache_free: Some(0.5),
        };
        let heartbeat = Heartbeat {
            seq: 7,
            sent_at_ms: 1_767_225_600_000,
            state: NodeState::Busy,
            offers: vec![load, OfferLoad { kv_cache_free: None, ..load }],
            gpus: vec![GpuLoad { used_mib: 20_480, util: 0.25, temp_c: Some(61.5) }],
        };
        let golden = include_str!("../tests/golden/heartbeat.json").trim();
        assert_eq!(serde_json::to_string(&heartbeat).unwrap(), golden);
        assert_eq!(serde_json::from_str::<Heartbeat>(golden).unwrap(), heartbeat);
        // What may be left out, may be.
        let bare: Heartbeat = serde_json::from_str(r#"{"seq":1,"sent_at_ms":2,"state":"ready"}"#).unwrap();
        assert!(bare.offers.is_empty() && bare.gpus.is_empty());
    }

    #[test]
    fn the_bytes_of_a_session_challenge_never_change() {
        let bytes =
            session_challenge_bytes(NodeId::from_uuid(Uuid::from_u128(3)), "0123456789abcdef", 1_767_225_600_000);
        assert_eq!(hex::encode(bytes), include_str!("../tests/golden/session_challenge.hex").trim());
    }
}
