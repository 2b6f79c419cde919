//! The node's configuration: one TOML file, two secrets that may come from the environment instead.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use protocol::offer::{Hardware, Location, OfferKind, Privacy, Quantization};
use protocol::{Price, ProviderId};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::Error;
use crate::engine::{Faults, Latency};

/// Overrides `broker`.
pub const BROKER_ENV: &str = "STEELYARD_BROKER_URL";
/// Overrides `provider_key`.
pub const KEY_ENV: &str = "STEELYARD_PROVIDER_KEY";
/// Most broker replicas a node dials.
pub const MAX_REPLICAS: usize = 4;
/// Most tunnels to one replica: each carries hundreds of streams.
pub const MAX_TUNNELS: u32 = 16;

/// Everything a node is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Where the broker is.
    pub broker: Url,
    /// Further gateway replicas to keep tunnels to.
    #[serde(default)]
    pub replicas: Vec<Url>,
    /// Whose node this is.
    pub provider: ProviderId,
    /// The provider key; the state folder's `provider.key` is read when neither file nor environment names one.
    #[serde(default)]
    pub provider_key: Option<SecretString>,
    /// Where the node's key and undelivered reports are kept. Without one nothing outlives the process.
    #[serde(default)]
    pub state_dir: Option<PathBuf>,
    /// Tunnels to each replica. Two at least, so losing one never takes the node down.
    #[serde(default = "two")]
    pub tunnels: u32,
    /// What carries the tunnels' bytes.
    #[serde(default)]
    pub carrier: Carrier,
    /// How long running answers may take after the node was told to stop, in seconds.
    #[serde(default = "thirty")]
    pub drain_s: u64,
    /// Serves a port of its own for the broker to call; then there are no tunnels.
    #[serde(default)]
    pub direct: Option<Direct>,
    /// The engine.
    pub engine: EngineConfig,
    /// What is offered.
    #[serde(rename = "offer")]
    pub offers: Vec<OfferConfig>,
    /// What the machine is made of; looked up when absent.
    #[serde(default)]
    pub hardware: Option<Hardware>,
    /// Where it stands.
    #[serde(default)]
    pub location: Location,
    /// What is promised about prompts.
    #[serde(default)]
    pub privacy: Privacy,
    /// The file this came from, for `reload_offers`.
    #[serde(skip)]
    pub source: Option<PathBuf>,
}

/// What carries a tunnel's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// An upgraded connection; a WebSocket where something on the way refuses that.
    #[default]
    Auto,
    /// Only ever an upgraded connection.
    Upgrade,
    /// Always a WebSocket.
    Websocket,
}

/// A node the broker calls at a public address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direct {
    /// Where to listen; TLS ends in front of it.
    pub listen: SocketAddr,
    /// How the broker reaches it.
    pub base_url: Url,
    /// What the broker must show as its bearer.
    pub upstream_key: SecretString,
}

/// The engine beside the node.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EngineConfig {
    /// Somebody else runs it.
    Attach {
        /// Where it answers.
        url: Url,
        /// Its health page.
        #[serde(default = "health")]
        health: String,
        /// Requests it may answer at once; asked of the engine when absent.
        #[serde(default)]
        slots: Option<u32>,
    },
    /// This node runs it.
    Supervise {
        /// The program.
        command: String,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
        /// Where it will answer.
        url: Url,
        /// Its health page.
        #[serde(default = "health")]
        health: String,
        /// Requests it may answer at once; asked of the engine when absent.
        #[serde(default)]
        slots: Option<u32>,
    },
    /// No model at all: a latency model that says so in every answer.
    Simulated {
        /// What it calls its model.
        #[serde(default = "simulated")]
        model: String,
        /// Requests it answers at once.
        #[serde(default = "sixteen")]
        slots: u32,
        /// How long it takes.
        #[serde(default)]
        latency: Latency,
        /// What goes wrong on purpose.
        #[serde(default)]
        faults: Faults,
    },
}

/// One model at a price.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferConfig {
    /// The public model id, such as `org/name`.
    pub model: String,
    /// What the engine calls it; its only model when absent.
    #[serde(default)]
    pub upstream_model: Option<String>,
    /// US dollars per million prompt tokens, a decimal string.
    #[serde(rename = "prompt_usd_per_million", deserialize_with = "per_million")]
    pub prompt: Price,
    /// US dollars per million output tokens, a decimal string.
    #[serde(rename = "completion_usd_per_million", deserialize_with = "per_million")]
    pub completion: Price,
    /// US dollars per million prompt tokens read from a cache.
    #[serde(rename = "cached_prompt_usd_per_million", default, deserialize_with = "maybe_per_million")]
    pub cached_prompt: Option<Price>,
    /// US dollars per request.
    #[serde(rename = "request_usd", default)]
    pub request: Option<Price>,
    /// Prompt and output together; asked of the engine when absent.
    #[serde(default)]
    pub context_length: Option<u32>,
    /// Most output tokens of one answer.
    #[serde(default)]
    pub max_output_tokens: Option<u32>,
    /// Weight precision.
    #[serde(default)]
    pub quantization: Option<Quantization>,
    /// What goes in.
    #[serde(default = "text")]
    pub input_modalities: Vec<String>,
    /// What comes out.
    #[serde(default = "text")]
    pub output_modalities: Vec<String>,
    /// Request fields the engine honours; the common ones when absent.
    #[serde(default)]
    pub supported_parameters: Option<Vec<String>>,
    /// What it may be used for.
    #[serde(default = "inference")]
    pub kinds: Vec<OfferKind>,
}

impl OfferConfig {
    /// A text model at a price per token.
    #[must_use]
    pub fn new(model: impl Into<String>, prompt: Price, completion: Price) -> Self {
        Self {
            model: model.into(),
            upstream_model: None,
            prompt,
            completion,
            cached_prompt: None,
            request: None,
            context_length: None,
            max_output_tokens: None,
            quantization: None,
            input_modalities: text(),
            output_modalities: text(),
            supported_parameters: None,
            kinds: inference(),
        }
    }
}

impl NodeConfig {
    /// A node with tunnels, a simulated engine and nothing on disk: a start for tests and fleets.
    #[must_use]
    pub fn simulated(broker: Url, provider: ProviderId, key: SecretString, offer: OfferConfig) -> Self {
        Self {
            broker,
            replicas: Vec::new(),
            provider,
            provider_key: Some(key),
            state_dir: None,
            tunnels: two(),
            carrier: Carrier::default(),
            drain_s: thirty(),
            direct: None,
            engine: EngineConfig::Simulated {
                model: offer.model.clone(),
                slots: sixteen(),
                latency: Latency::default(),
                faults: Faults::default(),
            },
            offers: vec![offer],
            hardware: Some(Hardware { cpu_cores: 1, ram_mib: 1_024, ..Hardware::default() }),
            location: Location { country_code: "DE".into(), region: None },
            privacy: Privacy::default(),
            source: None,
        }
    }

    /// Reads `path`, lets the environment override the broker's address and the provider key, and
    /// takes the key from the state folder when nobody names one.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Config`], naming the key at fault.
    pub fn load(path: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file(path, "reading the configuration"))?;
        let mut config = Self::parse(&text, env)?;
        config.source = Some(path.to_owned());
        if config.provider_key.is_none()
            && let Some(folder) = &config.state_dir
            && let Ok(key) = std::fs::read_to_string(folder.join("provider.key"))
        {
            config.provider_key = Some(key.trim().to_owned().into());
        }
        Ok(config)
    }

    /// Reads a configuration from text.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn parse(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(&error))?;
        for (variable, key) in [(BROKER_ENV, "broker"), (KEY_ENV, "provider_key")] {
            if let Some(value) = env(variable).filter(|value| !value.is_empty()) {
                table.insert(key.to_owned(), toml::Value::String(value));
            }
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| wrong(&error))?;
        config.check()?;
        Ok(config)
    }

    /// Checks bounds no type expresses.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self) -> Result<(), Error> {
        let bad = |text: String| Err(Error::Config(text));
        if self.offers.is_empty() {
            return bad("at least one [[offer]] is needed".into());
        }
        if !(1..=MAX_TUNNELS).contains(&self.tunnels) {
            return bad(format!("tunnels must lie between 1 and {MAX_TUNNELS}"));
        }
        if self.replicas.len() >= MAX_REPLICAS {
            return bad(format!("a node dials at most {MAX_REPLICAS} broker addresses"));
        }
        for url in self.replicas.iter().chain([&self.broker]) {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return bad(format!("broker {url} must be an https:// URL (or http:// on this machine)"));
            }
        }
        Ok(())
    }
}

/// The parser's words, without the line it quotes: that line may hold a secret.
fn wrong(error: &toml::de::Error) -> Error {
    Error::Config(error.message().to_owned())
}

fn per_million<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Price, D::Error> {
    let text = String::deserialize(deserializer)?;
    Price::per_million(&text).map_err(serde::de::Error::custom)
}

fn maybe_per_million<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Price>, D::Error> {
    per_million(deserializer).map(Some)
}

const fn two() -> u32 {
    2
}

const fn sixteen() -> u32 {
    16
}

const fn thirty() -> u64 {
    30
}

fn health() -> String {
    "/health".into()
}

fn simulated() -> String {
    "simulated".into()
}

fn text() -> Vec<String> {
    vec!["text".into()]
}

fn inference() -> Vec<OfferKind> {
    vec![OfferKind::Inference]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    const FILE: &str = r#"
        broker = "https://broker.example"
        provider = "prov_01890a5d000070008000000000000001"
        provider_key = "from the file"
        [engine]
        kind = "attach"
        url = "http://127.0.0.1:8080"
        [[offer]]
        model = "org/name"
        prompt_usd_per_million = "0.10"
        completion_usd_per_million = "0.20"
    "#;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_shortest_useful_file_is_enough() {
        let config = NodeConfig::parse(FILE, none).unwrap();
        assert_eq!((config.tunnels, config.drain_s), (2, 30));
        assert_eq!((config.carrier, config.offers[0].prompt.pico()), (Carrier::Auto, 100_000));
        assert!(matches!(&config.engine, EngineConfig::Attach { health, slots: None, .. } if health == "/health"));
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for (find, put) in [
            ("broker =", "brocker = \"x\"\nbroker ="),
            ("kind = \"attach\"", "kind = \"attach\"\ncolour = 1"),
            ("model = ", "modell = \"x\"\nmodel = "),
        ] {
            let error = NodeConfig::parse(&FILE.replacen(find, put, 1), none).unwrap_err();
            assert!(error.to_string().contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn the_environment_overrides_and_secrets_stay_out_of_debug() {
        let env = |name: &str| match name {
            KEY_ENV => Some("from the environment".to_owned()),
            BROKER_ENV => Some("http://127.0.0.1:9".to_owned()),
            _ => None,
        };
        let config = NodeConfig::parse(FILE, env).unwrap();
        assert_eq!(config.provider_key.as_ref().unwrap().expose_secret(), "from the environment");
        assert_eq!(config.broker.port(), Some(9));
        assert!(!format!("{config:?}").contains("from the environment"));
    }

    #[test]
    fn an_error_never_quotes_the_line_it_is_about() {
        let broken = FILE.replace("provider_key = \"from the file\"", "provider_key = [\"hidden\"]");
        let error = NodeConfig::parse(&broken, none).unwrap_err();
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
}
