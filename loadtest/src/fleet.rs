//! Many providers' machines in one process: the real node code, each with an engine that has no model.

use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use node::config::{Direct, EngineConfig, OfferConfig};
use node::engine::Faults;
use node::fleet::{Member, launch};
use node::register::{Applicant, register};
use node::{NodeConfig, Simulated};
use protocol::wallet::Wallet;
use protocol::{Env, Price, ProviderId};
use url::Url;

use crate::Error;
use crate::engine::ModelSpec;

/// A fleet to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The broker to join.
    pub broker: Url,
    /// How many nodes serve each model.
    pub nodes_per_model: u32,
    /// What they serve.
    pub models: Vec<ModelSpec>,
    /// Requests each node answers at once.
    pub slots: u32,
    /// Tunnels of each node.
    pub tunnels: u32,
    /// Nodes listen on loopback for the broker instead of dialling it.
    pub direct: bool,
    /// A decimal string.
    pub prompt_usd_per_million: String,
    /// A decimal string.
    pub completion_usd_per_million: String,
    /// What goes wrong in each engine on purpose.
    pub faults: Faults,
}

/// A fleet that has joined.
pub struct Fleet {
    provider: ProviderId,
    members: Vec<Member>,
}

impl Fleet {
    /// Whose nodes these are.
    #[must_use]
    pub const fn provider(&self) -> ProviderId {
        self.provider
    }

    /// The nodes, for looking at and for killing.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Drains every node and waits for all of them.
    ///
    /// # Errors
    /// The first node that failed; the others are drained all the same.
    pub async fn stop(self) -> Result<(), Error> {
        Ok(node::fleet::stop(self.members).await?)
    }
}

/// Registers a provider with a new wallet, starts its nodes, and waits until all are in session.
///
/// # Errors
/// The broker refuses, a price is no price, or a node does not come up.
pub async fn start(plan: &Plan, env: &Env) -> Result<Fleet, Error> {
    let price = |text: &str| Price::per_million(text).map_err(|error| Error::Invalid(format!("{text:?}: {error}")));
    let (prompt, completion) = (price(&plan.prompt_usd_per_million)?, price(&plan.completion_usd_per_million)?);
    let (provider, key) = join(&plan.broker, env).await?;
    let mut members = Vec::new();
    for model in &plan.models {
        let shared = node::fleet::Plan {
            broker: plan.broker.clone(),
            provider,
            key: key.clone().into(),
            offer: OfferConfig::new(model.name.clone(), prompt, completion),
            slots: plan.slots,
            tunnels: plan.tunnels,
            latency: model.latency,
        };
        if plan.direct {
            for index in 0..plan.nodes_per_model {
                members.push(direct(&shared, index, env)?);
            }
        } else {
            members.extend(launch(&shared, plan.nodes_per_model, env));
        }
    }
    for member in &members {
        member.engine.set_faults(plan.faults);
    }
    node::fleet::ready(&mut members, if plan.direct { 0 } else { plan.tunnels }).await?;
    Ok(Fleet { provider, members })
}

/// A provider of our own, with a name nobody else has, and its key.
async fn join(broker: &Url, env: &Env) -> Result<(ProviderId, String), Error> {
    let tag = format!("{:016x}", env.seed());
    let wallet = Wallet::from_bytes(&env.bytes()).map_err(|error| Error::call("making a wallet", error))?;
    let applicant = Applicant {
        name: format!("Simulated fleet {tag}"),
        slug: format!("fleet-{tag}"),
        contact_email: "fleet@example.com".to_owned(),
        country: "DE".to_owned(),
        terms_version: "1".to_owned(),
        payout_account: None,
    };
    let folder = Folder::make(&tag)?;
    let registered = register(broker, applicant, &wallet, &folder.0, env).await?;
    let key = fs::read_to_string(&registered.key_file)
        .map_err(Error::file(&registered.key_file, "reading the provider key"))?;
    Ok((registered.provider, key.trim().to_owned()))
}

/// A node the broker calls at a loopback port.
fn direct(plan: &node::fleet::Plan, index: u32, env: &Env) -> Result<Member, Error> {
    let mut latency = plan.latency;
    latency.seed = latency.seed.wrapping_add(index.into());
    let engine = Simulated::new(plan.offer.model.clone(), plan.slots, latency);
    let listen = free_port()?;
    let base_url = format!("http://{listen}/v1");
    let mut config = NodeConfig::simulated(plan.broker.clone(), plan.provider, plan.key.clone(), plan.offer.clone());
    config.direct = Some(Direct {
        listen,
        base_url: base_url.parse().map_err(|_| Error::Invalid(format!("{base_url} is no URL")))?,
        upstream_key: format!("{:016x}{:016x}", env.seed(), env.seed()).into(),
    });
    if let EngineConfig::Simulated { slots, .. } = &mut config.engine {
        *slots = plan.slots;
    }
    Ok(Member { handle: node::start(config, Arc::new(engine.clone()), env.clone()), engine })
}

/// A port nobody listens on. Somebody could take it before the node does; the node then says so and ends.
fn free_port() -> Result<SocketAddr, Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map_err(|source| Error::Listen { address: address.to_string(), source })
}

/// A folder of our own that goes when this does: the key in it is worth nothing without this process.
struct Folder(PathBuf);

impl Folder {
    fn make(tag: &str) -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("steelyard-fleet-{tag}"));
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::file(&path, "making a folder"))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is one small file in the system's own folder for such files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
