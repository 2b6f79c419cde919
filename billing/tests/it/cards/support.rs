//! A database, a fake processor, and billing's hand on it.

use std::collections::BTreeMap;
use std::time::Duration;

use billing::account::{AccountKind, LedgerAccount};
use billing::card::{self, Card};
use billing::dispute::Dispute;
use billing::ledger::{Cause, Posting, Transfer};
use billing::stripe::inbox;
use billing::{Cards, StripeConfig, Topup};
use fake_stripe::objects::checkout::Paid;
use fake_stripe::{FakeStripe, Knobs, hooks, objects};
use platform::testing::TestDb;
use protocol::time::ManualClock;
use protocol::{Env, NanoUsd, OrganizationId, TopupId};

use crate::fixture::id;

/// Tax on every page.
pub const TAX_BPS: i64 = 800;
/// A card that pays.
pub const PAYS: &str = "4242424242424242";
/// A card that does not.
pub const DECLINED: &str = "4000000000000002";
/// What webhooks are signed with.
pub const SECRET: &str = "whsec_test";

pub struct Shop {
    pub db: TestDb,
    pub env: Env,
    pub clock: ManualClock,
    pub fake: FakeStripe,
    pub cards: Cards,
}

/// An event as it is told: its type and its whole body.
#[derive(Debug, Clone)]
pub struct Told {
    pub kind: String,
    pub body: String,
}

/// Dollars.
pub fn usd(dollars: u32) -> NanoUsd {
    NanoUsd::from_dollars(dollars)
}

/// The account of these tests.
pub fn account() -> OrganizationId {
    id(1)
}

impl Shop {
    pub async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut StripeConfig)) -> Self {
        let db = platform::testing::database().await;
        let (env, clock) = platform::testing::env(3);
        let knobs = Knobs { tax_bps: TAX_BPS, ..Knobs::default() };
        let fake = FakeStripe::start(([127, 0, 0, 1], 0).into(), env.clone(), knobs).await.unwrap();
        let mut config = StripeConfig {
            secret_key: Some("sk_test_1".into()),
            webhook_secret: Some(SECRET.into()),
            api_base: Some(fake.url()),
            timeout_ms: 400,
            attempts: 2,
            pause_ms: 5,
            ..StripeConfig::default()
        };
        change(&mut config);
        let cards = Cards::new(db.pool().clone(), env.clone(), config).unwrap().unwrap();
        Self { db, env, clock, fake, cards }
    }

    /// Opens a page for so many dollars.
    pub async fn topup(&self, dollars: u32) -> Topup {
        billing::topup::open(&self.cards, account(), usd(dollars), None).await.unwrap()
    }

    /// Pays at the page of a top-up; false when the card was declined.
    pub fn pay(&self, topup: &Topup, card: &str) -> bool {
        let session = topup.session.clone().unwrap();
        self.fake.with(|books| objects::checkout::pay(books, &session, card)).is_ok()
    }

    /// A top-up of so many dollars, paid and credited.
    pub async fn bought(&self, dollars: u32) -> Topup {
        let topup = self.topup(dollars).await;
        assert!(self.pay(&topup, PAYS));
        self.hear_all().await;
        self.find(topup.id).await
    }

    /// The charge that paid a top-up.
    pub fn charge_of(&self, topup: &Topup) -> String {
        let intent = topup.payment_intent.as_deref().unwrap();
        let charge = self.fake.with(|books| books.payment_intents[intent].latest_charge.clone());
        charge.unwrap().into_id().to_string()
    }

    /// A cardholder disputes a top-up, or so many cents of it; the processor's name for that.
    pub fn dispute(&self, topup: &Topup, cents: Option<i64>) -> String {
        let charge = self.charge_of(topup);
        let made = self.fake.with(|books| objects::disputes::open(books, &charge, cents, "fraudulent")).unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// The bank decides.
    pub fn decide(&self, dispute: &str, is_won: bool) {
        self.fake.with(|books| objects::disputes::close(books, dispute, is_won)).unwrap();
    }

    pub async fn find_dispute(&self, id: &str) -> Dispute {
        let mut conn = self.db.acquire().await.unwrap();
        billing::store::disputes::find(&mut conn, id).await.unwrap().unwrap()
    }

    /// Late usage met an empty account: so much is owed.
    pub async fn owe(&self, dollars: u32) {
        let owed = Posting::new(
            LedgerAccount::receivable(account()),
            LedgerAccount::platform(AccountKind::Revenue),
            usd(dollars),
        );
        let late = Transfer { id: self.env.mint(), cause: Cause::Late(self.env.mint()), postings: vec![owed.unwrap()] };
        let mut tx = self.db.begin().await.unwrap();
        billing::store::transfers::book(&mut tx, &late).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A card saved at a page of its own.
    pub async fn save(&self, number: &str) -> Card {
        // Newer than any before it.
        self.clock.advance(Duration::from_secs(1));
        let setup = card::setup(&self.cards, account(), None).await.unwrap();
        let session = setup.session.unwrap();
        let saved = self.fake.with(|books| objects::checkout::pay(books, &session, number)).unwrap();
        self.prove(saved);
        self.hear_all().await;
        self.saved().await.remove(0)
    }

    /// A top-up paid with this card, whatever its bank asks.
    pub async fn bought_with(&self, dollars: u32, number: &str) -> Topup {
        self.clock.advance(Duration::from_secs(1));
        let topup = self.topup(dollars).await;
        let session = topup.session.clone().unwrap();
        let paid = self.fake.with(|books| objects::checkout::pay(books, &session, number)).unwrap();
        self.prove(paid);
        self.hear_all().await;
        self.find(topup.id).await
    }

    /// The cardholder answers the bank's question, if there is one.
    fn prove(&self, paid: Paid) {
        let Paid::Asked(url) = paid else { return };
        let intent = url.rsplit_once('/').unwrap().1;
        self.fake.with(|books| {
            if intent.starts_with("seti_") {
                objects::setup_intents::authenticated(books, intent, true).unwrap();
            } else {
                objects::payment_intents::authenticated(books, intent, true).unwrap();
            }
            objects::checkout::completed_by(books, intent).unwrap();
        });
    }

    /// Saved cards, newest first.
    pub async fn saved(&self) -> Vec<Card> {
        let mut conn = self.db.acquire().await.unwrap();
        billing::store::cards::list(&mut conn, account(), None, None, 100).await.unwrap()
    }

    pub async fn find(&self, topup: TopupId) -> Topup {
        let mut conn = self.db.acquire().await.unwrap();
        billing::store::topups::find(&mut conn, topup).await.unwrap().unwrap()
    }

    /// All that happened at the processor, oldest first.
    pub fn told(&self) -> Vec<Told> {
        let told = |event: &stripe_shared::Event| Told {
            kind: event.type_.as_str().to_owned(),
            body: fake_stripe::books::shown(event).to_string(),
        };
        self.fake.with(|books| books.events.values().map(told).collect())
    }

    /// An event comes in, signed.
    pub async fn hear(&self, told: &Told) {
        let signature = hooks::sign(&told.body, SECRET, self.env.now().unix_seconds());
        inbox::take(&self.cards, &signature, told.body.as_bytes()).await.unwrap();
    }

    /// Works on what came in, past every pause.
    pub async fn work(&self) {
        while inbox::work(&self.cards, self.env.now()).await.unwrap() {}
    }

    /// Everything that happened comes in, in order, and is worked on.
    pub async fn hear_all(&self) {
        for told in self.told() {
            self.hear(&told).await;
        }
        self.work().await;
    }

    /// What replicas that lost an answer, or died, left behind is taken up.
    pub async fn resume(&self) {
        self.clock.advance(Duration::from_secs(120));
        billing::stripe::run::resume(&self.cards, self.env.now()).await.unwrap();
    }

    pub async fn balance(&self, account: LedgerAccount) -> i64 {
        let mut conn = self.db.acquire().await.unwrap();
        billing::store::transfers::turnover(&mut conn, account).await.unwrap().balance(account.kind)
    }

    /// Balances of all accounts card money moves on, in cents.
    pub async fn ledger(&self) -> BTreeMap<&'static str, i64> {
        let platform = [
            AccountKind::StripeClearing,
            AccountKind::StripeFees,
            AccountKind::TaxPayable,
            AccountKind::RefundsInFlight,
            AccountKind::DisputeReceivable,
            AccountKind::DisputeLoss,
            AccountKind::DisputeFees,
            AccountKind::Bank,
        ];
        let mut ledger = BTreeMap::new();
        for kind in platform {
            ledger.insert(kind.as_str(), self.balance(LedgerAccount::platform(kind)).await / 10_000_000);
        }
        ledger.insert("credits", self.balance(LedgerAccount::credits(account())).await / 10_000_000);
        ledger.insert("receivable", self.balance(LedgerAccount::receivable(account())).await / 10_000_000);
        ledger.insert("available", self.available().await / 10_000_000);
        ledger
    }

    pub async fn available(&self) -> i64 {
        let found = sqlx::query_scalar("select available_nano_usd from accounts where account_id = $1");
        found.bind(protocol::Id::uuid(account())).fetch_optional(self.db.pool()).await.unwrap().unwrap_or(0)
    }

    pub async fn text(&self, query: &'static str) -> String {
        sqlx::query_scalar(query).fetch_one(self.db.pool()).await.unwrap()
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(self.db.pool()).await.unwrap()
    }

    /// The processor's own balance in cents, and what our books say it is.
    pub async fn clearing(&self) -> (i64, i64) {
        let theirs = self.fake.with(|books| books.balance_transactions.values().map(|line| line.net).sum());
        (theirs, self.balance(LedgerAccount::platform(AccountKind::StripeClearing)).await / 10_000_000)
    }

    /// The books add up, and what they say lies at the processor lies there.
    pub async fn assert_green(&self) {
        crate::fixture::assert_green(&self.db).await;
        let (theirs, ours) = self.clearing().await;
        assert_eq!(theirs, ours, "what lies at the processor");
    }
}
