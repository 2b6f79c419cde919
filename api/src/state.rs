//! What every handler may reach: narrow handles, cheap to clone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use platform::shutdown::Shutdown;
use protocol::Env;
use scheduler::attempt::seed::SeedKey;
use sqlx::PgPool;

use crate::config::Config;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::probe::Probes;
use crate::removal::Removals;
use crate::sessions::Sessions;
use crate::tokenizer::Tokenizers;
use crate::upstream::Upstreams;

/// The broker's parts.
pub struct App {
    /// Time and chance.
    pub env: Env,
    /// Truth.
    pub db: PgPool,
    /// What the operator set.
    pub config: Config,
    /// API keys, cached.
    pub keys: Keys,
    /// Where keys are used from.
    pub addresses: crate::addresses::Addresses,
    /// Providers announced lately.
    pub registrations: crate::registrations::Registrations,
    /// Sessions of nodes, cached.
    pub sessions: Sessions,
    /// Money.
    pub billing: billing::Billing,
    /// The card processor, where cards are taken.
    pub cards: Option<billing::Cards>,
    /// Receipts, where the broker has a key to sign them with.
    pub receipts: Option<billing::Receipts>,
    /// The chain payouts are made on, where one is set.
    pub rail: Option<billing::Ethereum>,
    /// Payouts, where there are receipts.
    pub epochs: Option<billing::Epochs>,
    /// Placement.
    pub scheduler: scheduler::Scheduler,
    /// How much may be asked for.
    pub limits: Limits,
    /// Ways to nodes.
    pub upstreams: Upstreams,
    /// Own token counts.
    pub tokenizers: Tokenizers,
    /// Which models are loaded.
    pub catalogue: tokio::sync::Mutex<crate::catalogue::Catalogue>,
    /// How staged offers do.
    pub probes: Probes,
    /// Nodes removed lately.
    pub removals: Removals,
    /// Where this replica listens, once it does.
    pub address: OnceLock<SocketAddr>,
    /// Seeds for requests that bring none, so that answers can be judged later.
    pub seeds: SeedKey,
    /// Requests with an `Idempotency-Key` that run here.
    pub running: crate::idempotency::Running,
    /// What `/metrics` prints.
    pub metrics: platform::telemetry::Metrics,
    /// Owner of every task.
    pub shutdown: Shutdown,
}

impl App {
    /// Who this broker is to those who sign something for it: the origin of its public URL, or where it listens.
    ///
    /// Never what a request says: whoever passes a text on would choose it.
    #[must_use]
    pub fn origin(&self) -> String {
        let public = self.config.server.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
        public.map_or_else(
            || {
                let mut address = self.address.get().copied().unwrap_or(self.config.server.listen);
                if address.ip().is_unspecified() {
                    address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
                }
                format!("http://{address}")
            },
            |url| url.origin().ascii_serialization(),
        )
    }
}

/// A shared [`App`].
#[derive(Clone)]
pub struct AppState(pub Arc<App>);

impl Deref for AppState {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}
