//! A broker's books whose clock is moved, and what there is to pay from them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use billing::account::{AccountKind, LedgerAccount};
use billing::config::Pricing;
use billing::fx::{self, Purchase};
use billing::ledger::Coin;
use billing::outcome::CountedBy;
use billing::store::epochs::{self, EpochState};
use billing::store::{payees, payout_accounts, prices, transfers};
use billing::{
    AttemptUsage, Billing, ChainConfig, Epochs, Ethereum, GrantKind, HoldRequest, NewGrant, Outcome, PayoutsConfig,
    PriceRow, Receipts, ReceiptsConfig, Settlement, payout,
};
use onchain::local::{ACTIVATION_DELAY_S, Deployed, LocalChain, State};
use platform::db::DatabaseConfig;
use platform::embedded::{Embedded, EmbeddedConfig};
use protocol::payout::PayoutChange;
use protocol::statement::Manifest;
use protocol::time::ManualClock;
use protocol::token::TokenAmount;
use protocol::typed::Typed as _;
use protocol::wallet::{Address, Wallet};
use protocol::{Env, Id, NanoUsd, OfferId, OrganizationId, Price, Prices, ProviderId, Timestamp, Units};
use sqlx::PgPool;
use uuid::Uuid;

use crate::commands::Error;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// When the story begins: 2026-01-01T00:00:00Z.
const BEGIN: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);
/// Days until what was earned is released, and frozen.
const RELEASE_DAYS: u32 = 4;
/// Turns after which a chain that still moves never comes to rest.
const MOST_TURNS: usize = 60;
/// A token of six digits is worth a dollar of nine.
const NANO_PER_UNIT: u32 = 1_000;
/// Base units an epoch may add at most.
const EPOCH_CAP: u128 = 1_000_000_000_000;

/// What each purchase of coins is said to have taken: on a chain of this machine they are made of nothing.
const PAID: NanoUsd = NanoUsd::from_dollars(1_000);

/// Who pays for everything.
const CUSTOMER: u128 = 1;

pub(super) struct Bank {
    db: PgPool,
    env: Env,
    clock: ManualClock,
    billing: Billing,
    price: Arc<PriceRow>,
    receipts: Receipts,
    epochs: Epochs,
    rail: Ethereum,
    pub(super) at: Deployed,
    embedded: Embedded,
}

/// What a provider earns in an epoch, in base units: different for each.
pub(super) fn earning(n: u8, epoch: u8) -> u32 {
    1_000_000 + 50_000 * u32::from(n) + 100_000 * u32::from(epoch)
}

/// The n-th account, whose key everybody knows.
pub(super) fn account(n: u8) -> Address {
    wallet(n).address()
}

fn wallet(n: u8) -> Wallet {
    Wallet::from_bytes(&[n; 32]).expect("a byte that is not zero, repeated, is a key of the curve")
}

fn provider(n: u8) -> ProviderId {
    id(100 + u128::from(n))
}

fn id<T: Id>(n: u128) -> T {
    T::from_uuid(Uuid::from_u128(n))
}

impl Bank {
    /// On a new database and new contracts.
    pub(super) async fn open(dir: &Path, url: &str, providers: u8) -> Result<Self, Error> {
        let folder = dir.join("chain");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(Error::io(format!("creating {}", folder.display())))?;
        let embedded = Embedded::start(EmbeddedConfig::new(folder.join("postgres")).guarded()).await?;
        let db = platform::db::connect(&DatabaseConfig::default().with_url(embedded.url())).await?;
        platform::db::migrate(&db).await?;
        let (env, clock) = Env::manual(BEGIN, 1);
        let at = LocalChain::connect(url).await?.deploy(TokenAmount::from(EPOCH_CAP)).await?;
        at.chain.mine(3).await?;
        let price = post(&db, &env).await?;
        let billing = Billing::start(db.clone(), env.clone(), config(), "demo").await?;
        let secret = ReceiptsConfig {
            secret: Some("07".repeat(32).into()),
            chain_id: at.domain.chain_id,
            distributor: at.domain.distributor,
            ..ReceiptsConfig::default()
        };
        let receipts = Receipts::new(db.clone(), env.clone(), secret)?.ok_or_else(unset)?;
        let chain = Box::new(ChainConfig::local(&at, url, &folder).map_err(Error::io("writing the proposer's key"))?);
        let payouts = PayoutsConfig { artefacts_dir: folder.join("artefacts"), chain, ..PayoutsConfig::default() };
        let rail = Ethereum::open(db.clone(), env.clone(), at.domain, &payouts).await?.ok_or_else(unset)?;
        let epochs = Epochs::new(receipts.clone(), payouts).with_rail(Arc::new(rail.clone()));
        let bank = Self { db, env, clock, billing, price, receipts, epochs, rail, at, embedded };
        bank.fund().await?;
        let gas = bank.at.gas().await?;
        bank.buy(Coin::Ether, gas, "gas").await?;
        for n in 1..=providers {
            bank.join(n).await?;
        }
        bank.advance().await?;
        Ok(bank)
    }

    /// Ends, and its database with it.
    pub(super) async fn close(self) -> Result<(), Error> {
        self.billing.stop().await?;
        self.db.close().await;
        self.embedded.stop().await?;
        Ok(())
    }

    async fn fund(&self) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let new = NewGrant {
            account: id(CUSTOMER),
            kind: GrantKind::Goodwill,
            cause: "demo".to_owned(),
            amount: NanoUsd::from_dollars(10_000),
            expires_at: None,
        };
        billing::grant(&mut tx, &self.env, &new).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Books what the payout contract is filled with as bought, and fills it.
    pub(super) async fn fill(&self, amount: TokenAmount) -> Result<(), Error> {
        self.buy(Coin::Token(self.at.domain.chain_id, self.at.token), amount, "tokens").await?;
        Ok(self.at.fund(amount).await?)
    }

    async fn buy(&self, coin: Coin, amount: TokenAmount, name: &str) -> Result<(), Error> {
        let bought = Purchase { coin, amount, paid: PAID, name: name.to_owned() };
        let mut tx = self.db.begin().await?;
        fx::buy(&mut tx, &self.env, &bought).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn join(&self, n: u8) -> Result<(), Error> {
        let mut conn = self.db.acquire().await?;
        let now = self.env.now();
        payees::open(&mut conn, provider(n), account(n), now.minus(DAY * 100)).await?;
        payout_accounts::open(&mut conn, provider(n), &self.named(n), now).await?;
        Ok(())
    }

    fn named(&self, n: u8) -> String {
        format!("eip155:{}:{}", self.at.domain.chain_id, account(n))
    }

    /// A provider answers a request that earns it so many base units' worth.
    pub(super) async fn earn(&self, n: u8, units: u32) -> Result<(), Error> {
        self.billing.renew().await?;
        let customer: OrganizationId = id(CUSTOMER);
        let cost = units * NANO_PER_UNIT;
        let ceiling = NanoUsd::new(i64::from(cost)).unwrap_or(NanoUsd::ZERO);
        let ask = HoldRequest {
            request: self.env.mint(),
            organization: customer,
            project: id(CUSTOMER),
            key: id(CUSTOMER),
            ceiling,
        };
        self.billing.hold(ask).await?.settle(self.settlement(n, cost)).await;
        Ok(())
    }

    fn settlement(&self, n: u8, cost: u32) -> Settlement {
        let now = self.env.now();
        let attempt = AttemptUsage {
            attempt: self.env.mint(),
            provider: provider(n),
            node: id(u128::from(n)),
            price: Arc::clone(&self.price),
            outcome: Outcome::Completed,
            units: Units { completion: cost, request: 1, ..Units::default() },
            reread: 0,
            counted_by: CountedBy::Upstream,
            status: Some(200),
            error_code: None,
            started_at: now,
            first_output_at: Some(now),
            finished_at: now,
        };
        Settlement {
            model: "demo".into(),
            attempts: vec![attempt],
            streamed: false,
            finish_reason: Some("stop".into()),
            native_finish_reason: None,
            received_at: now,
            first_output_at: Some(now),
            finished_at: now,
            service_tier: None,
            routing: None,
        }
    }

    /// Asks for another account, with both accounts' signatures.
    pub(super) async fn moves(&self, n: u8, to: u8) -> Result<(), Error> {
        let change = PayoutChange { provider: provider(n), nonce: 1, from: self.named(n), to: self.named(to) };
        let sign = |n: u8| wallet(n).sign_digest(&change.digest_anywhere());
        let mut conn = self.db.acquire().await?;
        payout::request_change(&mut conn, &change, &sign(n), &sign(to), self.env.now()).await?;
        Ok(())
    }

    /// Lets days pass until what was earned is proposed, its delay is over, and everybody that can be is paid.
    pub(super) async fn pay(&self) -> Result<State, Error> {
        self.clock.advance(HOUR);
        billing::run::judge_reports(&self.db, self.env.now()).await?;
        billing::receipt::issue::advance(&self.receipts, self.env.now()).await?;
        for _ in 0..RELEASE_DAYS {
            self.clock.advance(DAY);
            billing::run::ensure_partitions(&self.db, self.env.now()).await?;
            billing::run::judge_reports(&self.db, self.env.now()).await?;
            self.advance().await?;
        }
        self.rest().await?;
        self.at.chain.pass(ACTIVATION_DELAY_S).await?;
        self.rest().await?;
        Ok(self.at.state().await?)
    }

    async fn advance(&self) -> Result<(), Error> {
        for _ in 0..MOST_TURNS {
            if !self.epochs.advance(self.env.now()).await? {
                return Ok(());
            }
        }
        Err(restless())
    }

    /// Blocks come until nothing is on its way.
    async fn rest(&self) -> Result<(), Error> {
        let mut before = None;
        for _ in 0..MOST_TURNS {
            while self.rail.tick(self.env.now()).await? {}
            self.at.chain.settle().await?;
            self.at.chain.mine(3).await?;
            self.advance().await?;
            let mut conn = self.db.acquire().await?;
            let intents = billing::store::chain::list(&mut conn, self.rail.sender(), 100).await?;
            let is_open = billing::store::chain::find_open(&mut conn, self.rail.sender()).await?.is_some();
            let now = Some((self.at.state().await?, intents));
            if before == now && !is_open {
                return Ok(());
            }
            before = now;
        }
        Err(restless())
    }

    /// What the newest active tree rests on.
    pub(super) async fn manifest(&self) -> Result<Manifest, Error> {
        let mut conn = self.db.acquire().await?;
        let all = epochs::list(&mut conn, 100).await?;
        let active = all.into_iter().filter(|epoch| epoch.state == EpochState::Active).find_map(|epoch| epoch.manifest);
        active.map(|sealed| sealed.document).ok_or_else(|| Error::Usage("no epoch is active".to_owned()))
    }

    /// Who has not been paid all that its newest statement owes.
    pub(super) async fn unpaid(&self, providers: u8) -> Result<Vec<u8>, Error> {
        let mut conn = self.db.acquire().await?;
        let mut unpaid = Vec::new();
        for n in 1..=providers {
            let newest = epochs::list_payouts(&mut conn, provider(n), None, 100).await?;
            let owed = newest.into_iter().find_map(|payout| payout.statement).map(|sealed| sealed.document.cumulative);
            if owed.is_some_and(|owed| owed != TokenAmount::ZERO) && owed != Some(self.at.claimed(provider(n)).await?) {
                unpaid.push(n);
            }
        }
        Ok(unpaid)
    }

    /// Compares what the three say, and checks the books.
    pub(super) async fn check(&self, state: &State, manifest: &Manifest) -> Result<(), Error> {
        let mut conn = self.db.acquire().await?;
        let coin = Coin::Token(self.at.domain.chain_id, self.at.token);
        let owed = LedgerAccount::platform(AccountKind::Fx);
        let (owed, _) = transfers::coin_turnover(&mut conn, owed, &coin).await?;
        let held = LedgerAccount::platform(AccountKind::Distributor);
        let (funded, paid) = transfers::coin_turnover(&mut conn, held, &coin).await?;
        let books = billing::reconcile(&self.db).await?;
        let same = (manifest.total, manifest.leaves_root) == (state.total, state.root)
            && (owed, paid, funded.checked_sub(paid)) == (state.total, state.claimed, Some(state.held));
        if !same || !books.is_green() {
            let wrong: Vec<_> = books.checks.iter().flat_map(|check| &check.differences).collect();
            let told = format!("the ledger owes {owed}, was given {funded} and has paid {paid}; {state:?}; {wrong:?}");
            return Err(Error::Usage(told));
        }
        Ok(())
    }

    /// What a provider's newest payout comes to, from its files alone.
    pub(super) async fn verify(&self, n: u8) -> Result<TokenAmount, Error> {
        let mut conn = self.db.acquire().await?;
        let all = epochs::list_payouts(&mut conn, provider(n), None, 100).await?;
        let newest = all.into_iter().find(|payout| payout.statement.is_some());
        drop(conn);
        let missing = || Error::Usage(format!("provider {n} has no payout"));
        let epoch = newest.ok_or_else(missing)?.epoch;
        let bundle = self.epochs.bundle(epoch, provider(n)).await?.ok_or_else(missing)?;
        let verified = bundle.verify().map_err(|flaw| Error::Usage(flaw.to_string()))?;
        Ok(verified.statement.tokens)
    }

    /// What all transactions have cost, in wei.
    pub(super) async fn gas(&self) -> Result<TokenAmount, Error> {
        let mut conn = self.db.acquire().await?;
        let gas = LedgerAccount::platform(AccountKind::GasExpense);
        Ok(transfers::coin_turnover(&mut conn, gas, &Coin::Ether).await?.0)
    }
}

/// Loops that never beat by themselves: the clock is moved, and nothing may happen beside it.
fn config() -> billing::Config {
    let (mut config, never) = (billing::Config::default(), 3_600_000);
    config.loops.fold_ms = never;
    config.loops.burn_ms = never;
    config.loops.reap_ms = never;
    config.loops.partitions_ms = never;
    config.loops.prices_ms = never;
    config.loops.reports_ms = never;
    config.loops.documents_ms = never;
    config.lease.renew_s = 3_600;
    config
}

/// One nano-USD for a token of output, to provider and user alike.
async fn post(db: &PgPool, env: &Env) -> Result<Arc<PriceRow>, Error> {
    let pico = Price::from_pico(1_000).ok_or_else(unset)?;
    let prices = Prices { completion: pico, ..Prices::default() };
    let pricing = Pricing { default_take_bps: 0, ..Pricing::default() };
    let mut tx = db.begin().await?;
    let row = prices::post(&mut tx, &pricing, id::<OfferId>(9), "demo", &prices, env.now()).await?;
    tx.commit().await?;
    Ok(Arc::new(row))
}

fn unset() -> Error {
    Error::Usage("a setting of the demo is missing".to_owned())
}

fn restless() -> Error {
    Error::Usage("the chain never comes to rest".to_owned())
}
