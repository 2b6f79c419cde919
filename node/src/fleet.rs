//! Many nodes in one process, for load runs: the real node code around simulated engines.

use std::sync::Arc;

use protocol::{Env, ProviderId};
use secrecy::SecretString;
use url::Url;

use crate::config::{NodeConfig, OfferConfig};
use crate::engine::{Latency, Simulated};
use crate::run::{Handle, Status, start};
use crate::{Error, config::EngineConfig};

/// What every node of a fleet has in common.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the broker is.
    pub broker: Url,
    /// Whose nodes they are.
    pub provider: ProviderId,
    /// Its key.
    pub key: SecretString,
    /// What each offers.
    pub offer: OfferConfig,
    /// Requests each answers at once.
    pub slots: u32,
    /// Tunnels of each.
    pub tunnels: u32,
    /// How each answers; node `i` draws from seed + `i`.
    pub latency: Latency,
}

/// One simulated node, running.
pub struct Member {
    /// The node.
    pub handle: Handle,
    /// Its engine, for looking at and for faults.
    pub engine: Simulated,
}

/// Starts `count` nodes that keep nothing on disk and share nothing.
#[must_use]
pub fn launch(plan: &Plan, count: u32, env: &Env) -> Vec<Member> {
    (0..count).map(|index| member(plan, index, env.clone())).collect()
}

fn member(plan: &Plan, index: u32, env: Env) -> Member {
    let latency = Latency { seed: plan.latency.seed.wrapping_add(index.into()), ..plan.latency };
    let engine = Simulated::new(plan.offer.model.clone(), plan.slots, latency);
    let mut config = NodeConfig::simulated(plan.broker.clone(), plan.provider, plan.key.clone(), plan.offer.clone());
    config.tunnels = plan.tunnels;
    if let EngineConfig::Simulated { slots, .. } = &mut config.engine {
        *slots = plan.slots;
    }
    Member { handle: start(config, Arc::new(engine.clone()), env), engine }
}

/// Waits until every node is in session with all its tunnels.
///
/// # Errors
/// The first error of a node that ended instead.
pub async fn ready(members: &mut [Member], tunnels: u32) -> Result<Vec<Status>, Error> {
    let mut all = Vec::with_capacity(members.len());
    for member in members {
        all.push(member.handle.ready(tunnels).await?);
    }
    Ok(all)
}

/// Drains every node.
///
/// # Errors
/// The first error; the others are drained all the same.
pub async fn stop(members: Vec<Member>) -> Result<(), Error> {
    let stopped = futures_util::future::join_all(members.into_iter().map(|member| member.handle.stop())).await;
    stopped.into_iter().collect()
}
