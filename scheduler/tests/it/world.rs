//! Offers, nodes and providers made of numbers.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use protocol::offer::{EngineInfo, Hardware, Location, OfferSpec, Privacy, TrustLevel};
use protocol::session::NodeMode;
use protocol::time::ManualClock;
use protocol::{Env, Id, NodeId, OfferId, OrganizationId, Price, Prices, ProviderId, Timestamp};
use scheduler::provider::{Listing, Node, NodeState, Offer, OfferState, PriceVersion, Provider, ProviderState};
use scheduler::{Ask, Config, Scheduler};
use uuid::Uuid;

pub const MODEL: &str = "org/model";
pub const START: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

pub fn organization(n: u128) -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(n))
}

pub fn offer_id(n: u128) -> OfferId {
    OfferId::from_uuid(Uuid::from_u128(n))
}

pub fn node_id(n: u128) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(n))
}

pub fn ask() -> Ask {
    Ask::new(MODEL, organization(1), 100)
}

/// Prices in USD per million tokens of prompt and output.
pub fn prices(prompt: i64, completion: i64) -> Prices {
    let price = |usd| Price::from_pico(usd * 1_000_000).unwrap();
    Prices { prompt: price(prompt), completion: price(completion), ..Prices::default() }
}

/// The parts of a listing, to be changed before they are joined.
pub struct Parts {
    pub offer: Offer,
    pub node: Node,
    pub provider: Provider,
}

pub fn provider(n: u128) -> Provider {
    Provider {
        id: ProviderId::from_uuid(Uuid::from_u128(n)),
        slug: format!("p{n}"),
        name: format!("Provider {n}"),
        contact_email: "ops@example.com".into(),
        country: "DE".into(),
        website: None,
        privacy_policy_url: None,
        terms_version: "1".into(),
        payout_account: format!("eip155:8453:0x{n:040x}"),
        receipt_address: format!("0x{n:040x}").parse().unwrap(),
        state: ProviderState::Active,
        created_at: START,
    }
}

pub fn node(n: u128) -> Node {
    let mut public_key = [0; 32];
    public_key[..16].copy_from_slice(&n.to_be_bytes());
    Node {
        id: node_id(n),
        provider: ProviderId::from_uuid(Uuid::from_u128(n)),
        public_key,
        mode: NodeMode::Direct,
        base_url: Some("https://engine.example/v1".into()),
        upstream_key: None,
        hardware: Hardware::default(),
        location: Location { country_code: "DE".into(), region: Some("fra1".into()) },
        engine: EngineInfo { name: "simulated".into(), version: None },
        privacy: Privacy::default(),
        trust: TrustLevel::Measured,
        state: NodeState::Ready,
        offers_version: 0,
        last_seen_at: None,
        heartbeat_seq: 0,
        created_at: START,
        removed_at: None,
    }
}

pub fn spec() -> OfferSpec {
    serde_json::from_value(serde_json::json!({
        "model": MODEL, "upstream_model": "model", "context_length": 8192,
        "supported_parameters": ["temperature", "tools"],
        "pricing": [
            {"type": "prompt", "unit": "token", "cost_usd": "0.000001"},
            {"type": "completion", "unit": "token", "cost_usd": "0.000002"},
        ],
        "capacity": [{"type": "concurrency", "value": 8}],
    }))
    .unwrap()
}

pub fn parts(n: u128) -> Parts {
    let offer = Offer {
        id: offer_id(n),
        node: node_id(n),
        spec: spec(),
        state: OfferState::Active,
        price: Some(PriceVersion { version: 1, prices: prices(1, 2), effective_at: START }),
        next_price: None,
        created_at: START,
    };
    Parts { offer, node: node(n), provider: provider(n) }
}

impl Parts {
    pub fn listing(self) -> Arc<Listing> {
        Arc::new(Listing::new(self.offer, Arc::new(self.node), Arc::new(self.provider)))
    }

    pub fn priced(mut self, prompt: i64, completion: i64) -> Self {
        self.offer.price.as_mut().unwrap().prices = prices(prompt, completion);
        self
    }

    pub fn tunnel(mut self) -> Self {
        (self.node.mode, self.node.base_url) = (NodeMode::Tunnel, None);
        self
    }
}

pub fn listing(n: u128) -> Arc<Listing> {
    parts(n).listing()
}

/// A scheduler that holds these listings, on a clock that moves when told.
pub fn scheduler(listings: Vec<Arc<Listing>>) -> (Scheduler, Env, ManualClock) {
    let (env, clock) = Env::manual(START, 7);
    let scheduler = Scheduler::new(env.clone(), Config::default());
    scheduler.load(listings, START);
    (scheduler, env, clock)
}
