//! Payouts through a `PayoutDistributor` on a chain that speaks Ethereum's JSON-RPC.

mod books;
mod compare;
mod facts;
mod gas;
mod indexer;
mod key;
mod oracle;
mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy_primitives::Address;
use alloy_sol_types::SolCall;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use onchain::contract::{Erc20, PayoutDistributor, claim, ours, theirs, units};
use onchain::{Block, Endpoint, Key};
use platform::shutdown::Shutdown;
use platform::worker::{self, Next, Worker};
use protocol::merkle::Leaf;
use protocol::statement::Document as _;
use protocol::token::TokenAmount;
use protocol::typed::{Domain, Word};
use protocol::{Env, ProviderId, Timestamp};
use sqlx::PgPool;

use crate::fx::{self, Positions};
use crate::ledger::Coin;
use crate::payout::{PayoutRail, PriceReference, Proposal, StableDollar, Standing};
use crate::rail::ChainConfig;
use crate::store::chain::{self, IntentState, Sender};
use crate::store::chain_logs::{self, Fact, Logged};
use crate::store::epochs;
use crate::{Error, PayoutsConfig};

pub use gas::Gas;
pub use oracle::{Feed, GAS_DECIMALS};

/// Claims of one call: with as many first payments it stays well below the gas one transaction may use.
const CLAIMS_AT_ONCE: usize = 200;
/// A turn that takes longer is given up, as if its process had died: the transaction that keeps others out must not
/// outlive what the database allows one to be idle.
const LONGEST_TURN: Duration = Duration::from_secs(45);

/// A payout contract, and the key that may propose to it. Cheap to clone.
#[derive(Clone)]
pub struct Ethereum(Arc<Inner>);

struct Inner {
    db: PgPool,
    env: Env,
    domain: Domain,
    config: ChainConfig,
    decimals: u8,
    first: Endpoint,
    second: Option<Endpoint>,
    key: Key,
    is_checked: AtomicBool,
    positions: Positions,
    /// Whether somebody was told that gas runs out.
    is_gas_low: AtomicBool,
}

/// How far the chain is.
#[derive(Debug)]
struct Horizon {
    /// The newest block.
    head: Block,
    /// The last that stays.
    last: Block,
}

impl Ethereum {
    /// The chain of the configuration; `None` where none is set. It need not be reachable yet.
    ///
    /// # Errors
    /// [`Error::Chain`] for an address or a keystore that is none.
    pub async fn open(db: PgPool, env: Env, domain: Domain, payouts: &PayoutsConfig) -> Result<Option<Self>, Error> {
        let config = (*payouts.chain).clone();
        let Some(url) = &config.rpc_url else { return Ok(None) };
        let first = Endpoint::new(url, "first", config.timeout())?;
        let second = config.second_rpc_url.as_ref();
        let second = second.map(|url| Endpoint::new(url, "second", config.timeout())).transpose()?;
        let key = key::open(&config).await?;
        let positions = positions(db.clone(), env.clone(), domain.chain_id, payouts)?;
        Ok(Some(Self(Arc::new(Inner {
            db,
            env,
            domain,
            config,
            decimals: payouts.token_decimals,
            first,
            second,
            key,
            is_checked: AtomicBool::new(false),
            positions,
            is_gas_low: AtomicBool::new(false),
        }))))
    }

    /// Takes everything a step further: reads, books, activates, sends. True when there may be more to do at once.
    ///
    /// # Errors
    /// [`Error`] of the step that failed; the next turn takes it up again.
    pub async fn tick(&self, now: Timestamp) -> Result<bool, Error> {
        let mut lock = self.db().begin().await?;
        if !chain::try_lock(&mut lock, &format!("rail {} {}", self.domain().chain_id, self.domain().distributor))
            .await?
        {
            return Ok(false);
        }
        let turn = tokio::time::timeout(LONGEST_TURN, Box::pin(self.turn(now))).await;
        lock.rollback().await?;
        turn.unwrap_or_else(|_| Err(onchain::Error::Doubt { reason: "a turn took too long".to_owned() }.into()))
    }

    async fn turn(&self, now: Timestamp) -> Result<bool, Error> {
        let horizon = self.horizon().await?;
        let reads_on = self.read_on(&horizon, now).await?;
        self.plan(&horizon, now).await?;
        let sends_on = self.send_next(&horizon, now).await?;
        self.watch_gas().await?;
        Ok(reads_on || sends_on)
    }

    /// A tree of ours whose delay is over is activated. One that is not ours is for a person: at once, since it can still
    /// be vetoed.
    async fn plan(&self, horizon: &Horizon, now: Timestamp) -> Result<(), Error> {
        let mut conn = self.db().acquire().await?;
        let newest = chain_logs::find_newest(&mut conn, self.domain()).await?;
        let Some(Logged { fact: Fact::Proposed { number, root, manifest_hash, activatable_at, .. }, .. }) = newest
        else {
            return Ok(());
        };
        let is_ours = self.is_ours(&mut conn, number, root, manifest_hash).await?;
        metrics::gauge!("steelyard_billing_chain_foreign_root").set(if is_ours { 0.0 } else { 1.0 });
        if !is_ours {
            tracing::error!(number, %root, "a tree is proposed that is not ours: have the guardian veto and pause");
        } else if horizon.head.timestamp() >= activatable_at {
            let round = self.vetoes(&mut conn, number, root).await?;
            let call = PayoutDistributor::activateCall {}.abi_encode();
            self.wish(&mut conn, &format!("activate {number} {root}/{round}"), &call, now).await?;
        }
        Ok(())
    }

    /// Whether a tree is the one we stand behind.
    async fn is_ours(&self, conn: &mut sqlx::PgConnection, number: u64, root: Word, hash: Word) -> Result<bool, Error> {
        let epoch = epochs::find_by_proposal(conn, number).await?;
        let manifest = epoch.and_then(|epoch| epoch.manifest).map(|sealed| sealed.document);
        Ok(manifest.is_some_and(|manifest| manifest.leaves_root == root && manifest.hash() == hash))
    }

    /// How often a tree was refused for good.
    async fn vetoes(&self, conn: &mut sqlx::PgConnection, number: u64, tree: Word) -> Result<usize, Error> {
        let told = chain_logs::list_about(conn, self.domain(), number, true).await?;
        let refused = |log: &&Logged| matches!(log.fact, Fact::Vetoed { root, .. } if root == tree);
        Ok(told.iter().filter(refused).count())
    }

    async fn wish(
        &self,
        conn: &mut sqlx::PgConnection,
        purpose: &str,
        call: &[u8],
        now: Timestamp,
    ) -> Result<(), Error> {
        let (to, most) = (self.domain().distributor, self.config().fee_limit());
        chain::wish(conn, self.sender(), purpose, to, call, most, now).await?;
        Ok(())
    }

    async fn propose_tree(&self, proposal: Proposal) -> Result<(), Error> {
        let (number, root, now) = (proposal.number, proposal.root, self.env().now());
        let mut conn = self.db().acquire().await?;
        let round = self.vetoes(&mut conn, number, root).await?;
        let beginning = format!("propose {number} ");
        let purpose = format!("{beginning}{root}/{round}");
        let earlier = chain::find(&mut conn, self.sender(), &purpose).await?;
        if earlier.is_some_and(|intent| matches!(intent.state, IntentState::Signed | IntentState::Done)) {
            return Ok(());
        }
        let call = PayoutDistributor::proposeCall {
            epoch_: number,
            root_: root.0.into(),
            total_: units(proposal.total),
            manifestHash: proposal.manifest_hash.0.into(),
            uri: proposal.uri,
        };
        let call = call.abi_encode();
        self.check_chain().await?;
        if let Err(refusal) = self.rehearse(&call).await? {
            if self.is_there(number, root).await? {
                return Ok(());
            }
            metrics::counter!("steelyard_billing_chain_refusals_total").increment(1);
            let wish = format!("take tree {number}");
            return Err(onchain::Error::Refuses { wish, reason: refusal.reason }.into());
        }
        chain::give_up(&mut conn, self.sender(), &beginning, &purpose, now).await?;
        self.wish(&mut conn, &purpose, &call, now).await
    }

    /// Whether the contract has a tree already, waiting or active.
    async fn is_there(&self, number: u64, root: Word) -> Result<bool, Error> {
        let pending = self.view(PayoutDistributor::pendingCall {}).await?;
        let active = self.view(PayoutDistributor::commitmentsCall { epoch: number }).await?;
        Ok((pending.epoch == number && pending.root.0 == root.0) || active.root.0 == root.0)
    }

    async fn standing_of(&self, number: u64) -> Result<Standing, Error> {
        let mut conn = self.db().acquire().await?;
        let told = chain_logs::list_about(&mut conn, self.domain(), number, true).await?;
        let epoch = epochs::find_by_proposal(&mut conn, number).await?;
        let Some(manifest) = epoch.and_then(|epoch| epoch.manifest) else { return Ok(Standing::Pending) };
        let tree = manifest.document.leaves_root;
        for log in &told {
            if let Fact::Activated { root, .. } = log.fact {
                let foreign = || onchain::Error::Doubt { reason: format!("tree {number} is active, and is not ours") };
                return if root == tree { Ok(Standing::Active) } else { Err(foreign().into()) };
            }
        }
        let round = self.vetoes(&mut conn, number, tree).await?;
        if round == 0 {
            return Ok(Standing::Pending);
        }
        let again = chain::find(&mut conn, self.sender(), &format!("propose {number} {tree}/{round}")).await?;
        Ok(if again.is_some() { Standing::Pending } else { Standing::Vetoed })
    }

    async fn claim_leaves(&self, root: Word, leaves: Vec<(Leaf, Vec<Word>)>) -> Result<Vec<ProviderId>, Error> {
        let now = self.env().now();
        let mut conn = self.db().acquire().await?;
        for (batch, leaves) in leaves.chunks(CLAIMS_AT_ONCE).enumerate() {
            let claims = leaves.iter().map(|(leaf, proof)| claim(leaf, proof)).collect();
            let call = PayoutDistributor::claimManyCall { claims, expectedRoot: root.0.into() };
            self.wish(&mut conn, &format!("claimMany {root}/{batch}"), &call.abi_encode(), now).await?;
        }
        // Whoever is paid is written down when the chain can't take it back.
        Ok(Vec::new())
    }

    /// What the contract answers.
    async fn view<C: SolCall>(&self, call: C) -> Result<C::Return, Error> {
        Ok(self.first().view(self.contract(), call).await?)
    }

    /// Once: that this is the chain and the contract receipts are signed for, and that it pays the token we think.
    async fn check_chain(&self) -> Result<(), Error> {
        if self.0.is_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        for endpoint in std::iter::once(self.first()).chain(self.second()) {
            let (found, wanted) = (endpoint.chain_id().await?, self.domain().chain_id);
            if found != wanted {
                return unfit(format!("an endpoint is of chain {found}, not {wanted}"));
            }
        }
        let token = ours(self.view(PayoutDistributor::tokenCall {}).await?);
        if token != self.config().token {
            return unfit(format!("the contract pays {token}, not payouts.chain.token"));
        }
        let digits = self.first().view(theirs(token), Erc20::decimalsCall {}).await?;
        if digits != self.0.decimals {
            return unfit(format!("the token has {digits} digits, payouts.token_decimals says {}", self.0.decimals));
        }
        self.0.is_checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whose nonces are given.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender { chain_id: self.domain().chain_id, account: ours(self.account()) }
    }

    fn db(&self) -> &PgPool {
        &self.0.db
    }

    fn env(&self) -> &Env {
        &self.0.env
    }

    fn domain(&self) -> &Domain {
        &self.0.domain
    }

    fn config(&self) -> &ChainConfig {
        &self.0.config
    }

    fn first(&self) -> &Endpoint {
        &self.0.first
    }

    fn second(&self) -> Option<&Endpoint> {
        self.0.second.as_ref()
    }

    fn key(&self) -> &Key {
        &self.0.key
    }

    fn account(&self) -> Address {
        theirs(self.0.key.account())
    }

    fn contract(&self) -> Address {
        theirs(self.0.domain.distributor)
    }

    fn threshold(&self) -> TokenAmount {
        self.0.config.threshold(self.0.decimals)
    }
}

fn unfit(reason: String) -> Result<(), Error> {
    Err(onchain::Error::Unfit { reason }.into())
}

impl PayoutRail for Ethereum {
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<(), Error>> {
        self.propose_tree(proposal).boxed()
    }

    fn standing(&self, number: u64) -> BoxFuture<'_, Result<Standing, Error>> {
        self.standing_of(number).boxed()
    }

    fn claim(&self, root: Word, leaves: Vec<(Leaf, Vec<Word>)>) -> BoxFuture<'_, Result<Vec<ProviderId>, Error>> {
        self.claim_leaves(root, leaves).boxed()
    }
}

/// Starts the loops, owned by `shutdown`.
pub fn spawn(rail: &Ethereum, shutdown: &Shutdown) {
    worker::spawn(rail.env().clone(), Beat(rail.clone()), shutdown);
    fx::spawn(&rail.0.positions, shutdown);
}

/// The coins of the configuration, valued by its feeds. Gas without a feed stays at what it cost.
///
/// # Errors
/// [`Error::Chain`] for an address that is none.
pub fn positions(db: PgPool, env: Env, chain_id: u64, payouts: &PayoutsConfig) -> Result<Positions, Error> {
    let (chain, decimals) = (&payouts.chain, payouts.token_decimals);
    let prices: Arc<dyn PriceReference> = match Feed::open(chain, chain_id, decimals)? {
        Some(feed) => Arc::new(feed),
        None => Arc::new(StableDollar { decimals }),
    };
    let positions = Positions::new(db, env).with(Coin::Token(chain_id, chain.token), prices);
    Ok(match Feed::of_gas(chain, chain_id)? {
        Some(feed) => positions.with(Coin::Ether, Arc::new(feed)),
        None => positions,
    })
}

struct Beat(Ethereum);

impl Worker for Beat {
    type Error = Error;

    fn name(&self) -> &'static str {
        "billing.rail"
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.0.config().tick_ms)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, Error> {
        Ok(if self.0.tick(now).await? { Next::Again } else { Next::Wait })
    }
}
