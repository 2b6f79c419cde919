//! What an operator can set: one file, the environment, and defaults that are safe.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use platform::db::DatabaseConfig;
use platform::telemetry::TelemetryConfig;
use serde::{Deserialize, Serialize};

use crate::limits::config::{LimitsConfig, RedisConfig};

/// Everything. `steelyard serve --print-config` shows it with secrets redacted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listening and connections.
    pub server: Server,
    /// Limits of the gateway path.
    pub gateway: Gateway,
    /// How much customers may ask for.
    pub limits: LimitsConfig,
    /// What several replicas share.
    pub redis: RedisConfig,
    /// How providers are treated.
    pub providers: Providers,
    /// Telling customers and providers of facts.
    pub webhooks: Webhooks,
    /// Postgres by address; without `database.url` the embedded one is used.
    pub database: DatabaseConfig,
    /// Postgres by itself.
    pub embedded: EmbeddedPostgres,
    /// Placement and admission.
    pub scheduler: scheduler::Config,
    /// Leases, holds and settlement.
    pub billing: billing::Config,
    /// Cards, through Stripe.
    pub stripe: billing::StripeConfig,
    /// What providers are given for their work.
    pub receipts: billing::ReceiptsConfig,
    /// When and what providers are paid.
    pub payouts: billing::PayoutsConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
}

/// Listening and connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where the gateway listens. Behind a TLS terminator in production.
    pub listen: SocketAddr,
    /// Where `/metrics` is served, in a network that only its operator reaches: it tells of providers, load and money.
    /// Where it is not set, `listen` serves it to who dials a loopback address itself, and nothing does otherwise: not
    /// where `trusted_proxies` are named, nor to requests that a proxy has sent on.
    pub metrics_listen: Option<SocketAddr>,
    /// The URL providers and users reach it at. Providers' wallets sign it, and `steelyard-node` signs for no other
    /// than the one it dialled; where it is not set, the listening address stands for it.
    pub public_url: Option<String>,
    /// Networks of proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`; of all others the address of the
    /// connection counts.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// This replica's name: stable over restarts, different for each replica.
    pub replica: String,
    /// Threads that each serve connections of their own, best one per core; 0 serves all on one shared runtime.
    pub lanes: usize,
    /// Connections open at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Streams a client may open on one HTTP/2 connection.
    pub max_streams_per_connection: u32,
    /// Longest wait for a request's head.
    pub header_timeout_ms: u64,
    /// Longest wait for a request's body.
    pub body_timeout_ms: u64,
    /// A client that takes nothing for this long is cut off.
    pub client_stall_timeout_ms: u64,
    /// How long answers in flight may still take when the broker stops.
    pub drain_timeout_ms: u64,
}

impl Server {
    /// Whether `/metrics` is served beside the API.
    #[must_use]
    pub fn metrics_beside_api(&self) -> bool {
        self.metrics_listen.is_none() && self.listen.ip().is_loopback() && self.trusted_proxies.is_empty()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_listen: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            replica: "gateway-0".to_owned(),
            lanes: 0,
            max_connections: 20_000,
            max_streams_per_connection: 256,
            header_timeout_ms: 10_000,
            body_timeout_ms: 60_000,
            client_stall_timeout_ms: 20_000,
            drain_timeout_ms: 30_000,
        }
    }
}

/// Limits of the gateway path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// Largest body of an inference call.
    pub max_body_bytes: usize,
    /// When headers are sent although no token has come: clients and middleboxes lose patience later than this.
    pub commit_after_ms: u64,
    /// Silence after which a comment keeps the connection alive.
    pub keepalive_ms: u64,
    /// Output tokens held for a request that names no limit.
    pub open_ended_tokens: u32,
    /// Output tokens a hold grows by when such an answer goes on.
    pub extend_tokens: u32,
    /// A hold grows when fewer output tokens than this are left in it.
    pub extend_below_tokens: u32,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 * 1024 * 1024,
            commit_after_ms: 10_000,
            keepalive_ms: 10_000,
            open_ended_tokens: 4_096,
            extend_tokens: 2_048,
            extend_below_tokens: 512,
        }
    }
}

/// How providers are treated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Providers {
    /// Lets direct nodes live at private and loopback addresses over plain HTTP. For demos and tests only.
    pub allow_private: bool,
    /// Answers a staged offer must give to probes before it takes customers.
    pub probes_to_activate: u32,
    /// Providers that one public address, or one IPv6 network of 48 bits, may announce in an hour at each replica.
    /// Behind a proxy that `server.trusted_proxies` don't name, that is its address.
    pub registrations_per_hour: u32,
}

impl Default for Providers {
    fn default() -> Self {
        Self { allow_private: false, probes_to_activate: 20, registrations_per_hour: 20 }
    }
}

/// Telling customers and providers of facts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// Lets webhooks go to private and loopback addresses over plain HTTP. For demos and tests only.
    pub allow_private: bool,
    /// Longest wait for a connection.
    pub connect_timeout_ms: u64,
    /// Longest wait for the head of an answer, connection included.
    pub answer_timeout_ms: u64,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { allow_private: false, connect_timeout_ms: 3_000, answer_timeout_ms: 10_000 }
    }
}

/// Postgres run by the broker itself where no `database.url` is set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedPostgres {
    /// Its data folder. It survives restarts; delete it to start from nothing.
    pub data_dir: PathBuf,
}

impl Default for EmbeddedPostgres {
    fn default() -> Self {
        Self { data_dir: PathBuf::from("/var/lib/steelyard/postgres") }
    }
}

impl Config {
    /// Reads defaults, then `file`, then `STEELYARD_…` from the environment.
    ///
    /// # Errors
    /// An unknown key, a wrong type or an unreadable file, each named.
    pub fn load(file: Option<&Path>) -> Result<Self, platform::config::Error> {
        platform::config::load(file, "STEELYARD_")
    }
}
