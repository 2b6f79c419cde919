//! Who supplies: providers, their nodes, their offers, and the states these go through.

use std::fmt;
use std::sync::Arc;

use protocol::offer::{EngineInfo, Hardware, Location, OfferSpec, Privacy, TrustLevel};
use protocol::session::NodeMode;
use protocol::wallet::Address;
use protocol::{NodeId, OfferId, Prices, ProviderId, Timestamp};

/// Text names for an enum whose variants hold nothing, stored as they are printed.
macro_rules! named_states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// As stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(UnknownState(other.to_owned())),
                }
            }
        }
    };
}

/// A stored state this code does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown state {0:?}")]
pub struct UnknownState(String);

named_states! {
    /// pending → active → suspended → closed.
    ProviderState {
        /// Has not yet proved its wallet.
        Pending = "pending",
        /// Serves.
        Active = "active",
        /// Stopped by the operator; may come back.
        Suspended = "suspended",
        /// Gone for good.
        Closed = "closed",
    }
}

named_states! {
    /// pending → verifying → ready ⇄ degraded, draining, offline, quarantined.
    NodeState {
        /// Never connected.
        Pending = "pending",
        /// Being checked.
        Verifying = "verifying",
        /// Takes work.
        Ready = "ready",
        /// Takes work, with something wrong.
        Degraded = "degraded",
        /// Finishes what it has.
        Draining = "draining",
        /// Silent too long.
        Offline = "offline",
        /// Kept out while a suspicion is looked into.
        Quarantined = "quarantined",
    }
}

impl NodeState {
    /// True when new work may be sent, liveness permitting.
    #[must_use]
    pub const fn takes_work(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

named_states! {
    /// staged → active ⇄ degraded | paused → retired.
    OfferState {
        /// Being checked; takes no users' work.
        Staged = "staged",
        /// Takes work.
        Active = "active",
        /// Takes work when no better one is left.
        Degraded = "degraded",
        /// Taken back by its owner for a while.
        Paused = "paused",
        /// No longer offered.
        Retired = "retired",
    }
}

/// A bearer the broker shows a direct node. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamKey(String);

impl UpstreamKey {
    /// Wraps the secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, for the one header it belongs in.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamKey(…)")
    }
}

/// Who supplies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// Short name, unique, lower-case.
    pub slug: String,
    /// Shown to users.
    pub name: String,
    /// Where notices go.
    pub contact_email: String,
    /// ISO 3166 alpha-2.
    pub country: String,
    /// Public page.
    pub website: Option<String>,
    /// Public page.
    pub privacy_policy_url: Option<String>,
    /// Which terms were accepted.
    pub terms_version: String,
    /// CAIP-10 account payouts go to; nodes paid to one account have one owner.
    pub payout_account: String,
    /// The wallet that signs for the provider.
    pub receipt_address: Address,
    /// Where it stands.
    pub state: ProviderState,
    /// When it registered.
    pub created_at: Timestamp,
}

/// One machine with an engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Whose it is.
    pub provider: ProviderId,
    /// Its ed25519 key.
    pub public_key: [u8; 32],
    /// How it is reached.
    pub mode: NodeMode,
    /// For direct mode.
    pub base_url: Option<String>,
    /// For direct mode: the bearer the broker must show.
    pub upstream_key: Option<UpstreamKey>,
    /// Declared.
    pub hardware: Hardware,
    /// Declared.
    pub location: Location,
    /// Declared.
    pub engine: EngineInfo,
    /// Promised.
    pub privacy: Privacy,
    /// How far its claims were checked.
    pub trust: TrustLevel,
    /// Where it stands.
    pub state: NodeState,
    /// The version of its set of offers; rises with every change.
    pub offers_version: i64,
    /// The last heartbeat stored, at most every 30 s.
    pub last_seen_at: Option<Timestamp>,
    /// Number of that heartbeat within its session.
    pub heartbeat_seq: u64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its provider took it out; only registering it again brings it back.
    pub removed_at: Option<Timestamp>,
}

/// What users pay for an offer from an instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceVersion {
    /// Rises with every posting.
    pub version: u32,
    /// What the user pays per class, the broker's take included.
    pub prices: Prices,
    /// When it starts to apply.
    pub effective_at: Timestamp,
}

/// One model at a price on one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Its id, kept while node and model stay the same.
    pub id: OfferId,
    /// On which machine.
    pub node: NodeId,
    /// What was put.
    pub spec: OfferSpec,
    /// Where it stands.
    pub state: OfferState,
    /// What applies now; `None` until a price was posted.
    pub price: Option<PriceVersion>,
    /// What will apply next, when a rise is waiting.
    pub next_price: Option<PriceVersion>,
    /// When it was first put.
    pub created_at: Timestamp,
}

impl Offer {
    /// The price that applies at `now`.
    #[must_use]
    pub fn price_at(&self, now: Timestamp) -> Option<PriceVersion> {
        self.next_price.filter(|next| next.effective_at <= now).or(self.price)
    }
}

/// An offer with everything about its node and provider that placement, dispatch or a listing reads.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The offer.
    pub offer: Offer,
    /// Its machine.
    pub node: Arc<Node>,
    /// Who supplies it.
    pub provider: Arc<Provider>,
    /// The public model id.
    pub model: Arc<str>,
    /// `slug`, lower-case.
    pub slug: Arc<str>,
    /// `slug/region`, lower-case; the slug alone where the region is unknown.
    pub tag: Arc<str>,
}

impl Listing {
    /// Joins the three.
    #[must_use]
    pub fn new(offer: Offer, node: Arc<Node>, provider: Arc<Provider>) -> Self {
        let slug = provider.slug.to_ascii_lowercase();
        let tag = match &node.location.region {
            Some(region) => format!("{slug}/{}", region.to_ascii_lowercase()),
            None => slug.clone(),
        };
        let model = offer.spec.model.as_str().into();
        Self { offer, node, provider, model, slug: slug.into(), tag: tag.into() }
    }

    /// True when rows alone allow new work; liveness and breakers come on top.
    #[must_use]
    pub fn takes_work(&self) -> bool {
        self.provider.state == ProviderState::Active
            && self.node.state.takes_work()
            && matches!(self.offer.state, OfferState::Active | OfferState::Degraded)
            && self.offer.spec.is_ready
    }
}
