//! From receipts to tokens: epoch after epoch, with a contract that is written down instead of deployed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use billing::epoch::Stepped;
use billing::payout::{self, NoPrice, PayoutRail, PriceReference, Proposal, Standing};
use billing::store::epochs::{self, EpochState};
use billing::store::{payout_accounts, receipt_cases};
use billing::{Epochs, PayoutsConfig, Receipts, ReceiptsConfig};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use parking_lot::Mutex;
use protocol::merkle::{Leaf, leads_to};
use protocol::payout::PayoutChange;
use protocol::statement::{PriceRef, Waiting};
use protocol::token::TokenAmount;
use protocol::typed::{Domain, Typed as _, Word};
use protocol::{CaseId, ProviderId, Timestamp};

use crate::fixture::{World, id, nano, wallet};
use crate::receipts::{give, known, provider, receipts_of, work};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Nano-USD.
const DOLLAR: u32 = 1_000_000_000;

/// The contract's rules, and a record of all that was asked of it.
#[derive(Default)]
struct Chain {
    active: u64,
    pending: Option<Proposal>,
    vetoed: Vec<u64>,
    roots: BTreeMap<u64, Word>,
    totals: BTreeMap<u64, TokenAmount>,
    claimed: BTreeMap<ProviderId, TokenAmount>,
    proposals: u32,
}

#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Chain>>, Arc<Mutex<Option<Domain>>>);

impl Recorded {
    fn activate(&self) {
        let mut chain = self.0.lock();
        let next = chain.pending.take().expect("a tree is proposed");
        chain.active = next.number;
        chain.roots.insert(next.number, next.root);
        chain.totals.insert(next.number, next.total);
    }

    fn veto(&self) {
        let mut chain = self.0.lock();
        let refused = chain.pending.take().expect("a tree is proposed");
        chain.vetoed.push(refused.number);
    }
}

impl PayoutRail for Recorded {
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<(), billing::Error>> {
        let mut chain = self.0.lock();
        assert_eq!(proposal.number, chain.active + 1, "the contract takes epochs in their order");
        assert_ne!(proposal.root, Word::ZERO);
        assert!(
            chain.totals.last_key_value().is_none_or(|(_, total)| proposal.total >= *total),
            "the total never falls"
        );
        chain.proposals += 1;
        chain.vetoed.retain(|number| *number != proposal.number);
        chain.pending = Some(proposal);
        ready(Ok(())).boxed()
    }

    fn standing(&self, number: u64) -> BoxFuture<'_, Result<Standing, billing::Error>> {
        let chain = self.0.lock();
        let standing = if chain.active >= number {
            Standing::Active
        } else if chain.vetoed.contains(&number) {
            Standing::Vetoed
        } else {
            Standing::Pending
        };
        ready(Ok(standing)).boxed()
    }

    fn claim(
        &self,
        root: Word,
        leaves: Vec<(Leaf, Vec<Word>)>,
    ) -> BoxFuture<'_, Result<Vec<ProviderId>, billing::Error>> {
        let mut chain = self.0.lock();
        assert_eq!(chain.roots.get(&chain.active), Some(&root), "a claim names the root that counts");
        let domain = self.1.lock().expect("the instance is known");
        let mut paid = Vec::new();
        for (leaf, proof) in leaves {
            assert!(leads_to(&root, &leaf.hash(&domain), &proof), "a proof leads elsewhere");
            chain.claimed.insert(leaf.provider, leaf.cumulative);
            paid.push(leaf.provider);
        }
        ready(Ok(paid)).boxed()
    }
}

/// A price that is in doubt until somebody says otherwise.
struct Doubtful(Mutex<bool>);

impl PriceReference for Doubtful {
    fn price(&self, at: Timestamp) -> BoxFuture<'_, Result<PriceRef, NoPrice>> {
        if *self.0.lock() {
            return ready(Err(NoPrice::Doubtful("the feed is four hours old".to_owned()))).boxed();
        }
        let price = PriceRef {
            source: "feed".into(),
            usd_per_token: nano(500_000_000),
            decimals: 6,
            observed_at: at.unix_seconds(),
        };
        ready(Ok(price)).boxed()
    }
}

/// A world in which the fixture's provider is paid on the local chain, to the account of the wallet made of 1.
struct Bank {
    world: World,
    receipts: Receipts,
    epochs: Epochs,
    rail: Recorded,
    _folder: tempfile::TempDir,
}

impl Bank {
    async fn open(seed: u64) -> Self {
        let world = World::new(seed).await;
        world.fund(id(1), 1_000 * i64::from(DOLLAR)).await;
        known(&world).await;
        let receipts = receipts_of(&world);
        let mut conn = world.db.acquire().await.unwrap();
        payout_accounts::open(&mut conn, provider(), &account(1), world.env.now()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = PayoutsConfig { artefacts_dir: folder.path().into(), ..PayoutsConfig::default() };
        let rail = Recorded::default();
        *rail.1.lock() = Some(*receipts.domain());
        let epochs = Epochs::new(receipts.clone(), config).with_rail(Arc::new(rail.clone()));
        epochs.advance(world.env.now()).await.unwrap();
        Self { world, receipts, epochs, rail, _folder: folder }
    }

    /// Moves on by days, and lets every epoch move as far as it can after each.
    async fn days(&self, days: u32) {
        for _ in 0..days {
            self.world.clock.advance(DAY);
            // Partitions are made day by day, as by the loop.
            billing::run::ensure_partitions(&self.world.db, self.world.env.now()).await.unwrap();
            billing::run::judge_reports(&self.world.db, self.world.env.now()).await.unwrap();
            self.settle().await;
        }
    }

    async fn settle(&self) {
        for _ in 0..50 {
            if !self.epochs.advance(self.world.env.now()).await.unwrap() {
                return;
            }
        }
        panic!("the epochs never come to rest");
    }

    async fn state(&self, number: u64) -> EpochState {
        let mut conn = self.world.db.acquire().await.unwrap();
        epochs::find(&mut conn, number).await.unwrap().expect("the epoch exists").state
    }

    /// The newest payout with a statement.
    async fn payout(&self) -> epochs::Payout {
        let mut conn = self.world.db.acquire().await.unwrap();
        let all = epochs::list_payouts(&mut conn, provider(), None, 100).await.unwrap();
        all.into_iter().find(|payout| payout.statement.is_some()).expect("something was owed")
    }
}

fn account(seed: u8) -> String {
    format!("eip155:{}:{}", ReceiptsConfig::default().chain_id, wallet(seed).address())
}

#[tokio::test]
async fn what_was_earned_is_paid_in_tokens_and_every_step_is_proved() {
    let bank = Bank::open(190).await;
    work(&bank.world, 3 * DOLLAR + 17, None).await;
    give(&bank.world, &bank.receipts).await;
    bank.days(2).await;
    let nothing = epochs::list_payouts(&mut bank.world.db.acquire().await.unwrap(), provider(), None, 9).await.unwrap();
    assert!(nothing.is_empty(), "three days have not passed");
    bank.days(2).await;
    let payout = bank.payout().await;
    assert_eq!((payout.state, payout.epoch), (EpochState::Proposed, 3));
    bank.settle().await;
    assert_eq!(bank.rail.0.lock().proposals, 1, "proposed once, whatever happens meanwhile");

    bank.rail.activate();
    bank.settle().await;
    let payout = bank.payout().await;
    let statement = payout.statement.unwrap().document;
    assert!(payout.state == EpochState::Active && payout.claimed_at.is_some());
    assert_eq!((statement.tokens, statement.carried_out.nano()), (TokenAmount::from(3_000_000), 17));
    assert_eq!(bank.rail.0.lock().claimed[&provider()], TokenAmount::from(3_000_000));
    assert_eq!(
        bank.world.count("outbox_events where body ->> 'type' = 'payout_paid'").await,
        1,
        "and its owner hears of it"
    );

    let bundle = bank.epochs.bundle(3, provider()).await.unwrap().unwrap();
    let verified = bundle.verify().unwrap();
    assert_eq!(verified.statement, statement);
    let manifest = bank.epochs.public(3).await.unwrap();
    assert_eq!(manifest.0.len(), 3, "the public part is manifest, signature and leaves");
    assert_eq!(bank.epochs.bundle(3, id(77)).await.unwrap(), None);
    bank.world.assert_green().await;

    // What was left over comes with the next.
    work(&bank.world, 2 * DOLLAR - 17, None).await;
    give(&bank.world, &bank.receipts).await;
    bank.days(5).await;
    let payout = bank.payout().await;
    let next = payout.statement.unwrap().document;
    assert_eq!((next.carried_in.nano(), next.cumulative), (17, TokenAmount::from(5_000_000)));
    let bundle = bank.epochs.bundle(payout.epoch, provider()).await.unwrap().unwrap();
    assert_eq!(bundle.verify().unwrap().statement.before, TokenAmount::from(3_000_000));
    bank.world.assert_green().await;
}

#[tokio::test]
async fn the_same_freeze_gives_the_same_bytes() {
    let bank = Bank::open(191).await;
    for cost in [DOLLAR, 2 * DOLLAR, 7] {
        work(&bank.world, cost, Some(cost)).await;
    }
    give(&bank.world, &bank.receipts).await;
    bank.days(4).await;
    let epoch = bank.payout().await.epoch;
    let before = bank.epochs.bundle(epoch, provider()).await.unwrap().unwrap();
    bank.rail.veto();
    bank.settle().await;
    assert_eq!(bank.state(epoch).await, EpochState::Proposed, "decided anew, and proposed under the same number");
    let after = bank.epochs.bundle(epoch, provider()).await.unwrap().unwrap();
    assert_eq!(before, after);
    assert_eq!(bank.rail.0.lock().proposals, 2);
    bank.rail.activate();
    bank.settle().await;
    assert_eq!(bank.state(epoch).await, EpochState::Active);
    assert!(matches!(bank.epochs.veto(epoch, bank.world.env.now()).await, Err(billing::Error::EpochState { .. })));
    bank.world.assert_green().await;
}

#[tokio::test]
async fn little_is_carried_over_until_it_is_worth_its_gas() {
    let bank = Bank::open(192).await;
    work(&bank.world, DOLLAR / 2, None).await;
    give(&bank.world, &bank.receipts).await;
    bank.days(4).await;
    let first = bank.payout().await;
    let statement = first.statement.unwrap().document;
    assert_eq!((statement.waiting, first.state), (Some(Waiting::BelowMinimum), EpochState::Active));
    assert_eq!((bank.rail.0.lock().proposals, statement.payee), (0, None), "a tree that stays costs no gas");
    work(&bank.world, DOLLAR / 2, None).await;
    give(&bank.world, &bank.receipts).await;
    bank.days(4).await;
    let second = bank.payout().await;
    assert_eq!(second.statement.unwrap().document.tokens, TokenAmount::from(1_000_000));
    assert_eq!(bank.rail.0.lock().pending.as_ref().map(|proposal| proposal.number), Some(1), "the contract's first");
    bank.world.assert_green().await;
}

#[tokio::test]
async fn nothing_is_paid_while_the_account_changes_and_then_to_the_new_one() {
    let bank = Bank::open(193).await;
    work(&bank.world, 2 * DOLLAR, None).await;
    give(&bank.world, &bank.receipts).await;
    bank.days(2).await;
    let change = PayoutChange { provider: provider(), nonce: 1, from: account(1), to: account(9) };
    let sign = |seed| wallet(seed).sign_digest(&change.digest_anywhere());
    let mut conn = bank.world.db.acquire().await.unwrap();
    let now = bank.world.env.now();
    for (old, new) in [(1, 1), (9, 9), (2, 9)] {
        let refused = payout::request_change(&mut conn, &change, &sign(old), &sign(new), now).await;
        assert!(matches!(refused, Err(billing::Error::PayoutChange { .. })), "{refused:?}");
    }
    let asked = payout::request_change(&mut conn, &change, &sign(1), &sign(9), now).await.unwrap();
    assert_eq!(asked.effective_at, now.plus(HOUR * 48));
    let twice = payout::request_change(&mut conn, &change, &sign(1), &sign(9), now).await;
    assert!(twice.is_err(), "one at a time");
    bank.days(1).await;
    let waits = bank.payout().await.statement.unwrap().document;
    assert_eq!((waits.waiting, waits.carried_out), (Some(Waiting::PayeeChange), nano(2 * i64::from(DOLLAR))));
    bank.days(2).await;
    let paid = bank.payout().await.statement.unwrap().document;
    assert_eq!((paid.waiting, paid.payee), (None, Some(wallet(9).address())));
    assert!(payout::cancel_change(&mut conn, provider(), bank.world.env.now()).await.unwrap().is_none());
    bank.world.assert_green().await;
}

#[tokio::test]
async fn an_open_case_holds_pay_and_fraud_takes_back_what_no_epoch_has() {
    let bank = Bank::open(194).await;
    work(&bank.world, 2 * DOLLAR, None).await;
    give(&bank.world, &bank.receipts).await;
    let mut conn = bank.world.db.acquire().await.unwrap();
    let (case, now) = (bank.world.env.mint::<CaseId>(), bank.world.env.now());
    let kind = receipt_cases::CaseKind::Fraud;
    assert!(receipt_cases::open(&mut conn, case, provider(), kind, "seen", now).await.unwrap());
    bank.days(6).await;
    assert!(epochs::list_payouts(&mut conn, provider(), None, 9).await.unwrap().is_empty(), "held");
    billing::receipt::cases::decide(&bank.receipts, case, false, nano(0), bank.world.env.now()).await.unwrap();
    bank.days(2).await;
    assert_eq!(bank.payout().await.statement.unwrap().document.tokens, TokenAmount::from(2_000_000));
    bank.rail.activate();
    bank.settle().await;

    work(&bank.world, 4 * DOLLAR, None).await;
    give(&bank.world, &bank.receipts).await;
    let case = bank.world.env.mint::<CaseId>();
    assert!(receipt_cases::open(&mut conn, case, provider(), kind, "seen", now).await.unwrap());
    billing::receipt::cases::decide(&bank.receipts, case, true, nano(0), bank.world.env.now()).await.unwrap();
    bank.days(6).await;
    assert_eq!(bank.payout().await.statement.unwrap().document.tokens, TokenAmount::from(2_000_000), "no more came");
    let payable = billing::account::LedgerAccount::payable(provider());
    let turnover = billing::store::transfers::turnover(&mut conn, payable).await.unwrap();
    assert_eq!(turnover.balance(payable.kind), 0, "paid is what was good, and the rest is owed no more");
    bank.world.assert_green().await;
}

#[tokio::test]
async fn a_price_in_doubt_holds_the_epoch_and_is_never_guessed() {
    let mut bank = Bank::open(195).await;
    let doubtful = Arc::new(Doubtful(Mutex::new(true)));
    bank.epochs = bank.epochs.clone().with_prices(doubtful.clone());
    work(&bank.world, 3 * DOLLAR, None).await;
    give(&bank.world, &bank.receipts).await;
    bank.days(4).await;
    assert_eq!(bank.state(1).await, EpochState::Held);
    *doubtful.0.lock() = false;
    assert_eq!(bank.state(2).await, EpochState::Frozen, "later ones are decided, and wait");
    assert_eq!(bank.epochs.freeze(1, bank.world.env.now()).await.unwrap(), Stepped::Moved);
    bank.settle().await;
    let statement = bank.payout().await.statement.unwrap().document;
    assert_eq!(statement.tokens, TokenAmount::from(6_000_000), "half a dollar each");
    bank.world.assert_green().await;
}
