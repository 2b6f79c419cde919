//! Looks at everything a node depends on, and names the fix for whatever fails.

use std::time::Duration;

use http::Method;
use protocol::Env;
use protocol::session::{NodeCheck, NodeView};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::client::Client;
use crate::config::{EngineConfig, NodeConfig};
use crate::engine::{Attached, Engine};
use crate::run::Identity;
use crate::{Error, inventory, offers};

/// Below this, logs and reports may fill the disk before anybody looks.
const LEAST_DISK_GIB: u64 = 1;
/// Sessions are refused beyond 30 s; a clock this far off will get there.
const MOST_SKEW_MS: i64 = 5_000;

/// Bytes sent each way to time the line.
const TIMED_BYTES: usize = 1 << 20;
/// Below this a few dozen streams of text crowd the line.
const LEAST_MBIT_S: f64 = 5.0;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Good.
    Ok,
    /// Works, but something should be known.
    Warning,
    /// Must be cured before the node can serve.
    Failed,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What to do about it, when something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, seen: seen.into(), fix: None }
    }

    fn bad(name: &'static str, outcome: Outcome, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, outcome, seen: seen.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything. Never fails itself: what can't be looked at is a failed check.
pub async fn examine(config: &NodeConfig, env: &Env) -> Vec<Check> {
    let mut checks = vec![gpu().await, disk(config)];
    checks.push(engine(config).await);
    checks.push(key(config));
    checks.extend(broker(config, env).await);
    checks
}

async fn gpu() -> Check {
    match inventory::query("--query-gpu=name,memory.total").await {
        Some(text) if !text.trim().is_empty() => Check::ok("gpu", text.trim().replace('\n', "; ")),
        _ => Check::bad(
            "gpu",
            Outcome::Warning,
            "nvidia-smi finds no card",
            "nothing, if this machine serves from its processor; else install the driver and run nvidia-smi",
        ),
    }
}

fn disk(config: &NodeConfig) -> Check {
    let Some(folder) = &config.state_dir else {
        let fix = "set state_dir, or the node is a new one after each start and loses undelivered reports";
        return Check::bad("disk", Outcome::Warning, "no state_dir", fix);
    };
    let probe = folder.join(".probe");
    let writable = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&probe, b"x"));
    let _ = std::fs::remove_file(&probe);
    if let Err(error) = writable {
        let fix = format!("make {} writable for the user the node runs as", folder.display());
        return Check::bad("disk", Outcome::Failed, error.to_string(), fix);
    }
    match inventory::free_disk_gib(folder) {
        Some(free) if free < LEAST_DISK_GIB => {
            let fix = format!("free some space on the disk that holds {}", folder.display());
            Check::bad("disk", Outcome::Failed, format!("{free} GiB free"), fix)
        }
        Some(free) => Check::ok("disk", format!("{free} GiB free in {}", folder.display())),
        None => Check::ok("disk", format!("{} is writable", folder.display())),
    }
}

async fn engine(config: &NodeConfig) -> Check {
    let (url, health) = match &config.engine {
        EngineConfig::Simulated { .. } => {
            let fix = "set [engine] kind to attach or supervise to serve a real model";
            return Check::bad("engine", Outcome::Warning, "simulated: no model runs", fix);
        }
        EngineConfig::Supervise { command, url, .. } => {
            let found = command.contains('/') && std::path::Path::new(command).exists() || on_path(command);
            if !found {
                let fix = format!("install {command}, or give its full path as [engine] command");
                return Check::bad("engine", Outcome::Failed, format!("{command} is not there"), fix);
            }
            return Check::ok("engine", format!("{command} will be started for {url}"));
        }
        EngineConfig::Attach { url, health, .. } => (url, health),
    };
    let fix = || format!("start the engine so that it answers at {url}, or correct [engine] url");
    let attached = match Attached::new(url, health) {
        Ok(attached) => attached,
        Err(error) => return Check::bad("engine", Outcome::Failed, error.to_string(), fix()),
    };
    let told = match attached.describe().await {
        Ok(told) => told,
        Err(error) => return Check::bad("engine", Outcome::Failed, error.to_string(), fix()),
    };
    if !attached.check().await {
        let wait = "wait until it has loaded its model";
        return Check::bad("engine", Outcome::Failed, format!("{} is not ready", told.info.name), wait);
    }
    let slots = offers::slots(config, &told);
    match offers::resolve(&config.offers, &told, slots, true) {
        Ok(_) => Check::ok("engine", format!("{}: {} model(s), {slots} slot(s)", told.info.name, told.models.len())),
        Err(error) => Check::bad("engine", Outcome::Failed, error.to_string(), "correct the [[offer]] it names"),
    }
}

fn on_path(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

fn key(config: &NodeConfig) -> Check {
    match crate::session::provider_key(config) {
        Ok(_) => Check::ok("provider_key", "there is one"),
        Err(error) => Check::bad("provider_key", Outcome::Failed, error.to_string(), "run `steelyard-node register`"),
    }
}

async fn broker(config: &NodeConfig, env: &Env) -> Vec<Check> {
    let fix = |error: &Error| match error {
        Error::Refused { status, .. } if *status == http::StatusCode::UNAUTHORIZED => {
            "the provider key is wrong or was revoked: put the right one in provider.key or STEELYARD_PROVIDER_KEY"
        }
        Error::Unreachable { .. } => "check the address and that outgoing connections to it are allowed",
        _ => "read the broker's words above",
    };
    let client = match Client::new(&config.broker) {
        Ok(client) => client,
        Err(error) => return vec![Check::bad("broker", Outcome::Failed, error.to_string(), fix(&error))],
    };
    let began = std::time::Instant::now();
    let health = client.call(Method::GET, "/health/live").send::<serde_json::Value>().await;
    let took = began.elapsed();
    if let Err(error @ Error::Unreachable { .. }) = &health {
        return vec![Check::bad("broker", Outcome::Failed, error.to_string(), fix(error))];
    }
    let mut checks = vec![reached(&client, took)];
    // Looked at whether or not this node has joined: with a wrong clock it can't.
    checks.extend(health.ok().and_then(|(headers, _)| clock(&headers, env)));
    checks.extend(bandwidth(config, &client).await);
    let identity = config.state_dir.as_deref().and_then(Identity::read);
    if let (Some(identity), Some(key)) = (identity, &config.provider_key) {
        let path = format!("/v1/providers/{}/nodes/{}", config.provider, identity.node);
        let view = client.call(Method::GET, path).bearer(key.expose_secret()).send::<NodeView>().await;
        let seen = match view {
            Ok((_, view)) => {
                checks.extend(view.checks.iter().map(told));
                Check::ok("node", format!("{} is {} with {} tunnel(s)", view.id, view.state, view.tunnels))
            }
            Err(error) => Check::bad("node", Outcome::Failed, error.to_string(), fix(&error)),
        };
        checks.push(seen);
    }
    checks
}

fn reached(client: &Client, took: Duration) -> Check {
    Check::ok("broker", format!("{} answers in {} ms", client.base(), took.as_millis()))
}

/// What the broker says is wrong with the node. A node that is stopped is told so too, so it is no failure here.
fn told(check: &NodeCheck) -> Check {
    Check::bad("broker_says", Outcome::Warning, format!("{}: {}", check.name, check.seen), check.fix.clone())
}

/// Times a little data to the broker and back. Without a key, or at a broker that can't be asked, nothing is said.
async fn bandwidth(config: &NodeConfig, client: &Client) -> Option<Check> {
    let key = config.provider_key.as_ref()?;
    let path = format!("/v1/providers/{}/bandwidth", config.provider);
    let call = |path: String| client.call(Method::POST, path).bearer(key.expose_secret());
    // The first call may have to connect; it is not timed.
    call(path.clone()).bytes(Vec::new()).length().await.ok()?;
    let began = std::time::Instant::now();
    call(path.clone()).bytes(vec![0; TIMED_BYTES]).length().await.ok()?;
    let up = mbit_per_s(TIMED_BYTES, began.elapsed());
    let began = std::time::Instant::now();
    let came = call(format!("{path}?download_bytes={TIMED_BYTES}")).bytes(Vec::new()).length().await.ok()?;
    let down = mbit_per_s(came, began.elapsed());
    let seen = format!("{up:.0} Mbit/s to the broker, {down:.0} from it");
    Some(if up.min(down) < LEAST_MBIT_S {
        let fix = format!("use a line of at least {LEAST_MBIT_S} Mbit/s each way, or fewer slots");
        Check::bad("bandwidth", Outcome::Warning, seen, fix)
    } else {
        Check::ok("bandwidth", seen)
    })
}

fn mbit_per_s(bytes: usize, took: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / took.as_secs_f64().max(1e-6)
}

/// The broker's `date`, to the second, against this machine's clock.
fn clock(headers: &http::HeaderMap, env: &Env) -> Option<Check> {
    let date = headers.get(http::header::DATE)?.to_str().ok()?;
    let theirs = http_date_unix_seconds(date)?;
    let skew_ms = theirs * 1_000 - env.now().unix_ms();
    Some(if skew_ms.abs() > MOST_SKEW_MS {
        let seen = format!("{:.0} s away from the broker's", skew_ms as f64 / 1_000.0);
        Check::bad("clock", Outcome::Failed, seen, "set the clock, for instance with `timedatectl set-ntp true`")
    } else {
        Check::ok("clock", "agrees with the broker's")
    })
}

/// Reads `Tue, 15 Nov 1994 08:12:31 GMT`, the one form every server of today writes.
fn http_date_unix_seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next().and_then(|name| MONTHS.iter().position(|month| *month == name))? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since 1970 of a date in the Gregorian calendar, counted in years that begin in March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_servers_are_read() {
        assert_eq!(http_date_unix_seconds("Tue, 15 Nov 1994 08:12:31 GMT").unwrap(), 784_887_151);
        assert_eq!(http_date_unix_seconds("Thu, 29 Feb 2024 00:00:00 GMT").unwrap(), 1_709_164_800);
        assert_eq!(http_date_unix_seconds("yesterday"), None);
    }
}
