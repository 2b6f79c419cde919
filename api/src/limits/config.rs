//! What an operator sets about rate limits and about Redis.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::bucket::Scope;

/// The largest limit: a hundred billion tokens a minute is past any fleet, and arithmetic stays exact far beyond it.
const MAX_LIMIT: u64 = 100_000_000_000;

/// Rate limits of everyone without limits of their own. 0 means unlimited.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Of each key.
    pub key: Allowance,
    /// Of all keys of a project together.
    pub project: Allowance,
    /// Of all projects of an organization together.
    pub organization: Allowance,
    /// What replicas do while Redis is away.
    pub without_redis: WithoutRedis,
    /// Lets several gateways without Redis run on one database. Each then counts by itself, and a customer may use
    /// every limit once at each. All of them need it set: without it a gateway wants to be the only one.
    pub allow_unshared: bool,
}

/// How much one of them may use. 0 means unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allowance {
    /// Requests in a minute; a whole minute's worth may come at once.
    pub requests_per_minute: u64,
    /// Tokens in a minute, prompt and answer together; a whole minute's worth may come at once.
    pub tokens_per_minute: u64,
    /// Requests at the same time.
    pub concurrency: u64,
}

/// What replicas do while Redis is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutRedis {
    /// Each replica lets through the part of every limit that was its own when Redis was last heard.
    #[default]
    KeepShare,
}

/// Redis, which several replicas need to share what must be quick. One alone needs none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// Address: `redis://user:password@host:6379/0`, or `unix:///path/to/socket`. Unset: this is the only replica, and
    /// a second one does not start.
    #[serde(serialize_with = "platform::config::redacted")]
    pub url: Option<SecretString>,
    /// The longest wait for a connection or an answer; after it Redis counts as away.
    pub timeout_ms: u64,
}

impl Default for LimitsConfig {
    /// High enough to be no plan anybody buys: they keep one runaway client from taking everything, and let every
    /// answer say where its limits stand.
    fn default() -> Self {
        Self {
            key: Allowance { requests_per_minute: 600_000, tokens_per_minute: 1_000_000_000, concurrency: 0 },
            project: Allowance::default(),
            organization: Allowance::default(),
            without_redis: WithoutRedis::KeepShare,
            allow_unshared: false,
        }
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { url: None, timeout_ms: 250 }
    }
}

impl LimitsConfig {
    /// What applies to a scope without a row.
    #[must_use]
    pub fn of(&self, scope: Scope) -> &Allowance {
        match scope {
            Scope::Key(_) => &self.key,
            Scope::Project(_) => &self.project,
            Scope::Organization(_) => &self.organization,
        }
    }

    /// Whether the numbers can be meant.
    ///
    /// # Errors
    /// Which one can't, and what could.
    pub fn check(&self) -> Result<(), String> {
        let scopes = [("key", &self.key), ("project", &self.project), ("organization", &self.organization)];
        for (scope, allowance) in scopes {
            let numbers = [
                ("requests_per_minute", allowance.requests_per_minute),
                ("tokens_per_minute", allowance.tokens_per_minute),
                ("concurrency", allowance.concurrency),
            ];
            for (name, number) in numbers {
                if number > MAX_LIMIT {
                    return Err(format!(
                        "limits.{scope}.{name} is {number}, more than the largest limit of {MAX_LIMIT}; \
                         set 0 for no limit"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl RedisConfig {
    /// A client for the address, if one is set. Connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong with the settings, without repeating the address: it may hold a password.
    pub fn client(&self) -> Result<Option<redis::Client>, String> {
        if !(10..=10_000).contains(&self.timeout_ms) {
            return Err(format!("redis.timeout_ms is {}; use 10 to 10000", self.timeout_ms));
        }
        let Some(url) = &self.url else { return Ok(None) };
        let url = url.expose_secret();
        if url.starts_with("rediss:") {
            return Err("redis.url asks for TLS, which is not spoken here: use redis:// on a private network, \
                        unix://, or a TLS tunnel beside the broker"
                .to_owned());
        }
        let client = redis::Client::open(url).map_err(|_| {
            "redis.url is not an address of Redis; use redis://host:6379 or unix:///path/to/socket".to_owned()
        })?;
        Ok(Some(client))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn redis(url: &str) -> RedisConfig {
        RedisConfig { url: Some(url.to_owned().into()), ..RedisConfig::default() }
    }

    #[test]
    fn the_defaults_can_be_meant() {
        LimitsConfig::default().check().unwrap();
        assert!(RedisConfig::default().client().unwrap().is_none());
        assert!(redis("redis://:secret@127.0.0.1:6379/1").client().unwrap().is_some());
        assert!(redis("unix:///run/redis.sock").client().unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let mut limits = LimitsConfig::default();
        limits.project.tokens_per_minute = MAX_LIMIT + 1;
        assert!(limits.check().unwrap_err().contains("limits.project.tokens_per_minute"));
        assert!(RedisConfig { timeout_ms: 0, ..redis("redis://h") }.client().unwrap_err().contains("timeout_ms"));
        assert!(redis("rediss://:hunter2@h").client().unwrap_err().contains("TLS"));
    }

    #[test]
    fn an_address_is_never_repeated() {
        for url in ["http://:hunter2@h", "hunter2", "rediss://:hunter2@h"] {
            assert!(!redis(url).client().unwrap_err().contains("hunter2"));
        }
        let config = redis("redis://:hunter2@h");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        assert!(serde_json::from_str::<LimitsConfig>(r#"{"without_redis": "keep_share"}"#).is_ok());
        let wrong = [r#"{"without_redis": "open"}"#, r#"{"key": {"rpm": 5}}"#, r#"{"key": {"concurrency": -1}}"#];
        for wrong in wrong {
            assert!(serde_json::from_str::<LimitsConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
