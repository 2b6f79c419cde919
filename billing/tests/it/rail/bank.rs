//! A broker that pays on a chain of its own.

use std::sync::Arc;
use std::time::Duration;

use billing::account::{AccountKind, LedgerAccount};
use billing::fx::{self, Purchase};
use billing::ledger::Coin;
use billing::store::chain::{self, Intent, IntentState};
use billing::store::epochs::{self, EpochState, Payout};
use billing::store::{payees, payout_accounts, transfers};
use billing::{Booked, ChainConfig, Epochs, Ethereum, PayoutsConfig, Receipts, ReceiptsConfig};
use onchain::local::{Anvil, Deployed, LocalChain};
use protocol::token::TokenAmount;
use protocol::wallet::Address;
use protocol::{NanoUsd, ProviderId};

use super::anvil::Proxy;
use crate::fixture::{World, id, wallet};
use crate::receipts::give;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Nano-USD.
pub const DOLLAR: u32 = 1_000_000_000;
/// Base units.
pub const TOKEN: u128 = 1_000_000;
/// Rounds after which a chain that still moves never comes to rest.
const MOST_ROUNDS: usize = 60;

pub struct Bank {
    pub world: World,
    pub receipts: Receipts,
    pub epochs: Epochs,
    pub rail: Ethereum,
    pub at: Deployed,
    /// Between the broker and its chain.
    pub proxy: Proxy,
    pub payouts: PayoutsConfig,
    _anvil: Anvil,
    _folder: tempfile::TempDir,
}

impl Bank {
    /// With so many providers, each paid to an account of its own. `None` where there is no chain to be had.
    pub async fn open(seed: u64, providers: u8) -> Option<Self> {
        Self::with(seed, providers, |_, _| {}).await
    }

    pub async fn with(seed: u64, providers: u8, set: impl FnOnce(&mut ChainConfig, &str)) -> Option<Self> {
        let anvil = Anvil::start()?;
        let proxy = Proxy::start(&anvil.url).await;
        let at = LocalChain::connect(&anvil.url).await.unwrap().deploy(tokens(1_000_000)).await.unwrap();
        at.chain.mine(3).await.unwrap();
        let world = World::new(seed).await;
        world.fund(id(1), 100_000 * i64::from(DOLLAR)).await;
        let folder = tempfile::tempdir().unwrap();
        let mut chain = ChainConfig::local(&at, &proxy.url, folder.path()).unwrap();
        set(&mut chain, &anvil.url);
        let chain = Box::new(chain);
        let payouts = PayoutsConfig { artefacts_dir: folder.path().into(), chain, ..PayoutsConfig::default() };
        let config = ReceiptsConfig {
            secret: Some("07".repeat(32).into()),
            chain_id: at.domain.chain_id,
            distributor: at.domain.distributor,
            ..ReceiptsConfig::default()
        };
        let receipts = Receipts::new(world.db.pool().clone(), world.env.clone(), config).unwrap().unwrap();
        let rail = connect(&world, &at, &payouts).await;
        let epochs = Epochs::new(receipts.clone(), payouts.clone()).with_rail(Arc::new(rail.clone()));
        let bank = Self { world, receipts, epochs, rail, at, proxy, payouts, _anvil: anvil, _folder: folder };
        for n in 1..=providers {
            bank.join(n).await;
        }
        let gas = bank.at.gas().await.unwrap();
        bank.buy(Coin::Ether, gas, "gas").await;
        bank.epochs.advance(bank.world.env.now()).await.unwrap();
        Some(bank)
    }

    /// Buys tokens and puts them into the contract.
    pub async fn fund(&self, amount: TokenAmount) {
        self.buy(Coin::Token(self.at.domain.chain_id, self.at.token), amount, "tokens").await;
        self.at.fund(amount).await.unwrap();
    }

    async fn buy(&self, coin: Coin, amount: TokenAmount, name: &str) {
        let bought = Purchase { coin, amount, paid: NanoUsd::from_dollars(1_000), name: name.to_owned() };
        let mut tx = self.world.db.begin().await.unwrap();
        assert!(fx::buy(&mut tx, &self.world.env, &bought).await.unwrap(), "it is bought once");
        tx.commit().await.unwrap();
    }

    async fn join(&self, n: u8) {
        let mut conn = self.world.db.acquire().await.unwrap();
        let now = self.world.env.now();
        payees::open(&mut conn, provider(n), account(n), now.minus(DAY * 100)).await.unwrap();
        let account = format!("eip155:{}:{}", self.at.domain.chain_id, account(n));
        payout_accounts::open(&mut conn, provider(n), &account, now).await.unwrap();
    }

    /// The broker starts anew: what it had in memory is gone.
    pub async fn restart(&mut self) {
        self.rail = connect(&self.world, &self.at, &self.payouts).await;
        self.epochs = Epochs::new(self.receipts.clone(), self.payouts.clone()).with_rail(Arc::new(self.rail.clone()));
    }

    /// A provider works for so many nano-USD.
    pub async fn earn(&self, n: u8, cost: u32) {
        self.world.billing.renew().await.unwrap();
        let hold = self.world.hold(i64::from(cost)).await.unwrap();
        let mut settled = self.world.settlement(cost);
        settled.attempts[0].provider = provider(n);
        assert_eq!(hold.settle(settled).await, Booked::Durable);
    }

    /// Gives receipts for what was earned.
    pub async fn give(&self) {
        give(&self.world, &self.receipts).await;
    }

    /// Moves on by days; epochs move as far as they can without the chain.
    pub async fn days(&self, days: u32) {
        for _ in 0..days {
            self.day().await.unwrap();
        }
    }

    /// One day.
    pub async fn day(&self) -> Result<(), billing::Error> {
        self.world.clock.advance(DAY);
        billing::run::ensure_partitions(&self.world.db, self.world.env.now()).await.unwrap();
        billing::run::judge_reports(&self.world.db, self.world.env.now()).await.unwrap();
        self.advance().await
    }

    /// Epochs move as far as they can.
    pub async fn advance(&self) -> Result<(), billing::Error> {
        for _ in 0..MOST_ROUNDS {
            if !self.epochs.advance(self.world.env.now()).await? {
                return Ok(());
            }
        }
        panic!("the epochs never come to rest");
    }

    /// One turn of the rail, and more while there is more to do at once.
    pub async fn turn(&self) -> Result<(), billing::Error> {
        for _ in 0..MOST_ROUNDS {
            let is_more = self.rail.tick(self.world.env.now()).await?;
            self.at.chain.settle().await?;
            if !is_more {
                return Ok(());
            }
        }
        panic!("the rail never comes to rest");
    }

    /// Blocks come and the rail turns until nothing is on its way, and everything said is final.
    pub async fn rest(&self) {
        for _ in 0..MOST_ROUNDS {
            self.turn().await.unwrap();
            let before = self.intents().await;
            self.advance().await.unwrap();
            self.at.chain.mine(3).await.unwrap();
            self.turn().await.unwrap();
            self.advance().await.unwrap();
            let is_moving = |intent: &Intent| matches!(intent.state, IntentState::Signed);
            let after = self.intents().await;
            if before == after && !after.iter().any(is_moving) {
                return;
            }
        }
        panic!("the chain never comes to rest");
    }

    /// The tree that waits has waited.
    pub async fn pass_delay(&self) {
        self.at.chain.pass(onchain::local::ACTIVATION_DELAY_S).await.unwrap();
        self.rest().await;
    }

    pub async fn intents(&self) -> Vec<Intent> {
        let mut conn = self.world.db.acquire().await.unwrap();
        chain::list(&mut conn, self.rail.sender(), 100).await.unwrap()
    }

    /// Newest first: purposes begin so, and how each stands.
    pub async fn states(&self, beginning: &str) -> Vec<IntentState> {
        let intents = self.intents().await;
        intents.iter().filter(|intent| intent.purpose.starts_with(beginning)).map(|intent| intent.state).collect()
    }

    /// A provider's newest payout with a statement.
    pub async fn payout(&self, n: u8) -> Payout {
        let mut conn = self.world.db.acquire().await.unwrap();
        let all = epochs::list_payouts(&mut conn, provider(n), None, 100).await.unwrap();
        all.into_iter().find(|payout| payout.statement.is_some()).expect("something was owed")
    }

    pub async fn state(&self, number: u64) -> EpochState {
        let mut conn = self.world.db.acquire().await.unwrap();
        epochs::find(&mut conn, number).await.unwrap().expect("the epoch exists").state
    }

    /// Debited and credited in tokens.
    pub async fn tokens_of(&self, account: LedgerAccount) -> (TokenAmount, TokenAmount) {
        let coin = Coin::Token(self.at.domain.chain_id, self.at.token);
        let mut conn = self.world.db.acquire().await.unwrap();
        transfers::coin_turnover(&mut conn, account, &coin).await.unwrap()
    }

    /// Ledger, contract and manifest say the same, to the base unit.
    pub async fn assert_same(&self) {
        self.assert_same_but(None).await;
    }

    /// The same, where a transaction that is not ours has cost gas.
    pub async fn assert_same_but(&self, differs: Option<&str>) {
        let state = self.at.state().await.unwrap();
        let mut conn = self.world.db.acquire().await.unwrap();
        let active = epochs::list(&mut conn, 100).await.unwrap();
        let active = active.into_iter().find(|epoch| epoch.state == EpochState::Active && epoch.manifest.is_some());
        let manifest = active.and_then(|epoch| epoch.manifest).expect("an epoch is active").document;
        assert_eq!((manifest.total, manifest.leaves_root), (state.total, state.root), "the contract has our tree");
        let fx = self.tokens_of(LedgerAccount::platform(AccountKind::Fx)).await;
        let (funded, paid) = self.tokens_of(LedgerAccount::platform(AccountKind::Distributor)).await;
        assert_eq!(fx, (state.total, funded), "the ledger owes what the tree does, from what was bought");
        assert_eq!(paid, state.claimed, "the ledger has paid what the contract has");
        assert_eq!(funded.checked_sub(paid), Some(state.held), "the ledger has what the contract holds");
        let compared = self.rail.compare().await.unwrap();
        assert_eq!(compared.examined, 5, "treasury and gas wallet, too");
        match (differs, compared.differences.as_slice()) {
            (None, []) => {}
            (Some(what), [one]) if one.contains(what) => {}
            other => panic!("{other:?}"),
        }
        self.world.assert_green().await;
    }
}

async fn connect(world: &World, at: &Deployed, payouts: &PayoutsConfig) -> Ethereum {
    let opened = Ethereum::open(world.db.pool().clone(), world.env.clone(), at.domain, payouts).await;
    opened.unwrap().expect("a chain is set")
}

pub fn tokens(whole: u128) -> TokenAmount {
    TokenAmount::from(whole * TOKEN)
}

/// The n-th provider.
pub fn provider(n: u8) -> ProviderId {
    id(100 + u128::from(n))
}

/// Where it is paid.
pub fn account(n: u8) -> Address {
    wallet(n).address()
}
