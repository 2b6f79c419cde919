//! What a provider is told of its money, and how it gets it by itself.

use std::path::PathBuf;
use std::time::Duration;

use node::claim::{self, Options};
use node::{Error, NodeConfig, earnings};
use onchain::Key;
use onchain::local::{ACTIVATION_DELAY_S, Anvil, Deployed, LocalChain, write_keystore};
use onchain::{Endpoint, Patience, Payer, Sent};
use protocol::bundle::{Bundle, LEAVES, MANIFEST, MANIFEST_SIGNATURE, Parts};
use protocol::merkle::{Leaf, Tree, twice};
use protocol::purse::{Balance, ClaimRef, TokenBalance};
use protocol::statement::{Adjustment, Document as _, Manifest, PriceRef, Statement};
use protocol::token::TokenAmount;
use protocol::typed::{Domain, Word};
use protocol::wallet::{Address, Wallet};
use protocol::{Env, Id as _, NanoUsd, PayoutId, ProviderId, ReceiptId, Timestamp};
use serde_json::{Value, json};

use crate::broker::{Broker, DOMAIN};
use crate::join::config;

const PAYEE: Address = Address::from_bytes([0x44; 20]);

fn signer() -> Wallet {
    Wallet::from_bytes(&[3; 32]).unwrap()
}

/// A payout of 12.5 dollars that a dispute brought, among two others, and the public part of a later epoch in which
/// nobody was owed anything new.
fn payout(provider: ProviderId, domain: Domain) -> (Bundle, Bundle) {
    let statement = Statement {
        epoch: 1,
        domain,
        provider,
        wallet: Wallet::from_bytes(&[1; 32]).unwrap().address(),
        payee: Some(PAYEE),
        receipts_root: Tree::of(Vec::new()).root(),
        receipt_signers: Vec::new(),
        receipts: 0,
        released: NanoUsd::ZERO,
        adjustments: vec![Adjustment { receipt: Env::system().mint::<ReceiptId>(), amount: usd("12.5") }],
        carried_in: NanoUsd::ZERO,
        carried_out: NanoUsd::ZERO,
        waiting: None,
        price: PriceRef { source: "stable".into(), usd_per_token: usd("1"), decimals: 6, observed_at: 9 },
        tokens: TokenAmount::ZERO,
        before: TokenAmount::ZERO,
        cumulative: TokenAmount::ZERO,
        previous: None,
        signer: signer().address(),
    };
    let statement = statement.converted().unwrap();
    let mut leaves = vec![Leaf { provider, payee: PAYEE, cumulative: statement.cumulative }];
    for n in [1, 2] {
        let provider = ProviderId::from_uuid(uuid::Uuid::from_u128((0xffff << 112) + n));
        leaves.push(Leaf { provider, payee: Address::from_bytes([0x55; 20]), cumulative: TokenAmount::from(9) });
    }
    let hash = twice(&statement.hash().0);
    let manifest = |epoch, statements: &Tree| Manifest {
        epoch,
        proposal: (epoch == 1).then_some(1),
        domain,
        ends_at: 10,
        statements_root: statements.root(),
        statements: 1,
        leaves_root: Tree::of(leaves.iter().map(|leaf| leaf.hash(&domain)).collect()).root(),
        leaves: 3,
        total: TokenAmount::from(12_500_018),
        input: Word([0xaa; 32]),
        signer: signer().address(),
    };
    let sealed = statement.seal(&signer(), &domain);
    let bundle = |epoch| {
        let statements = Tree::of(vec![hash]);
        Bundle::of(&Parts {
            manifest: &manifest(epoch, &statements).seal(&signer(), &domain),
            leaves: &leaves,
            proof: &statements.proof(&hash).unwrap(),
            statement: &sealed,
            previous: None,
            receipts: &[],
            keys: &[],
        })
    };
    (bundle(1), bundle(2))
}

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

fn balance(provider: ProviderId, claim: Option<ClaimRef>) -> Balance {
    Balance {
        object: "provider.balance".into(),
        provider,
        earned_usd: usd("40"),
        pending_usd: usd("7"),
        held_usd: usd("0.5"),
        held_for: vec!["case".into()],
        released_usd: usd("20"),
        paid_usd: usd("12.5"),
        tokens: vec![TokenBalance {
            chain_id: DOMAIN.chain_id,
            distributor: DOMAIN.distributor,
            token: Address::from_bytes([0x77; 20]),
            decimals: 6,
            released: TokenAmount::ZERO,
            paid: TokenAmount::from(12_500_000),
        }],
        claim,
    }
}

/// Has the broker tell of a payout of this provider.
fn tell(broker: &Broker, bundle: &Bundle, tree: &Bundle) {
    let text = |bundle: &Bundle, name: &str| String::from_utf8(bundle.0[name].clone()).unwrap();
    let files: serde_json::Map<String, Value> =
        bundle.0.keys().map(|name| ((*name).to_owned(), json!(text(bundle, name)))).collect();
    // As the broker sends them: the very bytes that were hashed.
    let raw = |name: &str| serde_json::value::RawValue::from_string(text(tree, name)).unwrap();
    let manifest = format!(
        r#"{{"manifest":{},"signature":{},"leaves":{}}}"#,
        raw(MANIFEST).get(),
        raw(MANIFEST_SIGNATURE).get(),
        raw(LEAVES).get()
    );
    let claim = ClaimRef { epoch: 2, payout: Env::system().mint::<PayoutId>() };
    let mut seen = broker.seen.lock();
    seen.purse.insert("balance", json!(balance(broker.provider, Some(claim))).to_string());
    seen.purse.insert("bundle", json!({ "files": files }).to_string());
    seen.purse.insert("manifest", manifest);
}

async fn claimed(config: &NodeConfig, options: &Options) -> Result<String, Error> {
    let mut said = Vec::new();
    claim::run(config, options, |line| said.push(line)).await?;
    Ok(said.join("\n"))
}

#[tokio::test]
async fn earnings_are_added_up_over_pages_and_told_with_the_balance() {
    let broker = Broker::start().await;
    let line = |gross: &str, fee: &str, net: &str| json!({ "attempts": 2, "gross": gross, "fee": fee, "net": net });
    let page = |line: Value, next: Value| {
        json!({ "data": [{ "results": [line] }, { "results": [] }], "next_page": next }).to_string()
    };
    let first = page(line("1.1", "0.1", "1"), json!("page_1800000000"));
    broker.seen.lock().purse.insert("earnings", first);
    broker.seen.lock().purse.insert("next page", page(line("2.2", "0.2", "2"), Value::Null));
    broker.seen.lock().purse.insert("balance", json!(balance(broker.provider, None)).to_string());
    let told = earnings::fetch(&config(&broker), 7, Timestamp::from_unix_seconds(1_800_000_000)).await.unwrap();
    assert_eq!((told.attempts, told.gross_usd, told.fee_usd, told.net_usd), (4, usd("3.3"), usd("0.3"), usd("3")));
    let table = told.to_string();
    for (name, amount, words) in [
        ("gross", "3.3", "in 7 days, 4 attempts"),
        ("held", "0.5", "kept back: case"),
        ("paid", "12.5", "12.500000 tokens claimed"),
    ] {
        let line = table.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        assert!(line.contains(&usd(amount).to_string()) && line.contains(words), "{line}");
    }
    assert_eq!(json!(told)["balance"]["pending_usd"], json!(usd("7")));
}

#[tokio::test]
async fn a_key_that_is_missing_or_revoked_and_a_broker_that_is_away_are_told_apart() {
    let broker = Broker::start().await;
    broker.seen.lock().purse.insert("balance", json!(balance(broker.provider, None)).to_string());
    let (now, mut config) = (Env::system().now(), config(&broker));
    config.provider_key = Some("sk-prov-revoked".into());
    let revoked = earnings::fetch(&config, 1, now).await.unwrap_err().to_string();
    assert!(revoked.contains("was revoked") && revoked.contains("STEELYARD_PROVIDER_KEY"), "{revoked}");
    config.provider_key = None;
    let missing = earnings::fetch(&config, 1, now).await.unwrap_err().to_string();
    assert!(missing.contains("no provider key"), "{missing}");
    config.provider_key = Some(crate::broker::PROVIDER_KEY.into());
    broker.kill();
    assert!(matches!(earnings::fetch(&config, 1, now).await, Err(Error::Unreachable { .. })));
}

#[tokio::test]
async fn without_a_leaf_there_is_nothing_to_claim() {
    let broker = Broker::start().await;
    broker.seen.lock().purse.insert("balance", json!(balance(broker.provider, None)).to_string());
    let said = claimed(&config(&broker), &Options::default()).await.unwrap();
    assert!(said.contains("nothing to claim"), "{said}");
}

#[tokio::test]
async fn a_claim_is_checked_before_it_is_told_and_needs_no_chain_for_that() {
    let broker = Broker::start().await;
    let config = config(&broker);
    let (bundle, tree) = payout(broker.provider, DOMAIN);
    tell(&broker, &bundle, &tree);
    let known = Options { signer: Some(signer().address()), ..Options::default() };
    let said = claimed(&config, &known).await.unwrap();
    let checked = claim::fetch(&config, None).await.unwrap().unwrap();
    let data = hex(&checked.claim.data());
    assert!(said.contains("12500000 base units") && said.contains(&data), "{said}");
    assert!(said.contains(&format!("cast send {} 0x{data}", DOMAIN.distributor)), "{said}");

    let strange = Options { signer: Some(PAYEE), ..Options::default() };
    let refused = claimed(&config, &strange).await.unwrap_err().to_string();
    assert!(refused.contains("NOT verified") && refused.contains("--signer"), "{refused}");
    // Whatever byte the broker changes, nothing is told.
    let mut forged = bundle.clone();
    let leaves = String::from_utf8(forged.0[LEAVES].clone()).unwrap().replacen("12500000", "12500001", 1);
    forged.0.insert(LEAVES, leaves.clone().into_bytes());
    tell(&broker, &forged, &tree);
    assert!(matches!(claimed(&config, &known).await, Err(Error::Unverified(flaw)) if flaw.file == LEAVES));
    let mut other = tree.clone();
    other.0.insert(LEAVES, leaves.into_bytes());
    tell(&broker, &bundle, &other);
    assert!(matches!(claimed(&config, &known).await, Err(Error::Unverified(flaw)) if flaw.file == LEAVES));
    let elsewhere = payout(ProviderId::from_uuid(uuid::Uuid::from_u128(9)), DOMAIN);
    tell(&broker, &elsewhere.0, &elsewhere.1);
    let refused = claimed(&config, &known).await.unwrap_err().to_string();
    assert!(refused.contains("another provider"), "{refused}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A contract that pays by the provider's tree, and options that lead there.
struct World {
    broker: Broker,
    config: NodeConfig,
    at: Deployed,
    options: Options,
    gas: (PathBuf, PathBuf),
    _folder: tempfile::TempDir,
    _anvil: Anvil,
}

impl World {
    async fn open() -> Option<Self> {
        let anvil = Anvil::start()?;
        let at = LocalChain::connect(&anvil.url).await.unwrap().deploy(TokenAmount::from(1_000_000_000)).await.unwrap();
        let broker = Broker::start().await;
        let (bundle, tree) = payout(broker.provider, at.domain);
        tell(&broker, &bundle, &tree);
        let folder = tempfile::tempdir().unwrap();
        let gas = write_keystore(folder.path()).unwrap();
        let rpc = Some(anvil.url.clone().into());
        let options = Options { rpc, fee_limit_micro_eth: 50_000, wait_s: 20, ..Options::default() };
        let world = Self { config: config(&broker), broker, at, options, gas, _folder: folder, _anvil: anvil };
        let root = claim::fetch(&world.config, None).await.unwrap().unwrap().claim.root;
        world.at.fund(TokenAmount::from(100_000_000)).await.unwrap();
        world.at.propose(1, root, TokenAmount::from(12_500_018)).await.unwrap();
        Some(world)
    }

    async fn activate(&self) {
        self.at.chain.pass(ACTIVATION_DELAY_S).await.unwrap();
        self.at.activate().await.unwrap();
    }

    fn sending(&self) -> Options {
        Options { keystore: Some(self.gas.clone()), ..self.options.clone() }
    }

    async fn got(&self) -> TokenAmount {
        self.at.balance(PAYEE).await.unwrap()
    }
}

#[tokio::test]
async fn a_claim_is_sent_once_and_the_second_one_finds_nothing() {
    let Some(world) = World::open().await else { return };
    let early = claimed(&world.config, &world.sending()).await.unwrap_err().to_string();
    assert!(early.contains("pay by another tree"), "{early}");
    world.activate().await;
    let asked = claimed(&world.config, &world.options).await.unwrap();
    assert!(asked.contains("due        12.500000") && asked.contains("nothing was sent"), "{asked}");
    let rehearsed = claimed(&world.config, &Options { dry_run: true, ..world.sending() }).await.unwrap();
    assert!(rehearsed.contains("the contract would pay"), "{rehearsed}");
    let dear = claimed(&world.config, &Options { fee_limit_micro_eth: 0, ..world.sending() }).await.unwrap_err();
    assert!(dear.to_string().contains("may be spent"), "{dear}");
    assert_eq!(world.got().await, TokenAmount::ZERO, "nothing was sent until now");
    let said = claimed(&world.config, &world.sending()).await.unwrap();
    assert!(said.contains("paid       in block"), "{said}");
    assert_eq!(world.got().await, TokenAmount::from(12_500_000));
    let again = claimed(&world.config, &world.sending()).await.unwrap();
    assert!(again.contains("nothing to claim") && again.contains("12.500000"), "{again}");
    assert_eq!(world.got().await, TokenAmount::from(12_500_000));
}

#[tokio::test]
async fn a_claim_that_was_left_waiting_is_not_sent_again() {
    let Some(world) = World::open().await else { return };
    world.activate().await;
    let claim = claim::fetch(&world.config, None).await.unwrap().unwrap().claim;
    let endpoint = Endpoint::new(&world.options.rpc.clone().unwrap(), "--rpc", Duration::from_secs(20)).unwrap();
    let key = Key::open(world.gas.0.clone(), world.gas.1.clone()).await.unwrap();
    let payer = Payer { key, fee_limit: 50_000_000_000_000_000 };
    let patience = Patience { every: Duration::from_millis(1), looks: 2 };
    world.at.chain.ask("evm_setAutomine", json!([false])).await.unwrap();
    let waiting = async || world.at.chain.ask("txpool_status", json!([])).await.unwrap()["pending"].clone();
    for _ in 0..2 {
        // As after Ctrl-C: whoever starts again sees that one is under way, and signs nothing.
        let late = claim.send(&endpoint, &payer, patience, |_| {}).await.unwrap_err();
        assert!(matches!(late, onchain::Error::Doubt { .. }), "{late}");
        assert_eq!(waiting().await, "0x1");
    }
    world.at.chain.mine(1).await.unwrap();
    let sent = claim.send(&endpoint, &payer, patience, |_| panic!("nothing is sent")).await.unwrap();
    assert_eq!(sent, Sent::Nothing);
    assert_eq!(world.got().await, TokenAmount::from(12_500_000));
}

#[tokio::test]
async fn a_chain_that_is_not_the_leafs_is_refused() {
    let Some(world) = World::open().await else { return };
    let elsewhere = Domain { chain_id: 8_453, ..world.at.domain };
    let (bundle, tree) = payout(world.broker.provider, elsewhere);
    tell(&world.broker, &bundle, &tree);
    let refused = claimed(&world.config, &world.sending()).await.unwrap_err().to_string();
    assert!(refused.contains("chain 31337") && refused.contains("chain 8453"), "{refused}");
}
