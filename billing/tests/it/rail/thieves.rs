//! What whoever has a key of ours can take, and who is told when gas runs out.

use billing::Error;
use onchain::local::{ACTIVATION_DELAY_S, Anvil, LocalChain};
use protocol::merkle::{Leaf, Tree};
use protocol::token::TokenAmount;
use protocol::typed::{Word, keccak};
use serde_json::json;

use super::anvil::Act;
use super::bank::{Bank, account, provider, tokens};

#[tokio::test]
async fn a_stolen_proposer_key_takes_one_cap_and_what_is_unclaimed_and_only_unless_vetoed() {
    let Some(anvil) = Anvil::start() else { return };
    let chain = LocalChain::connect(&anvil.url).await.unwrap();
    let at = chain.deploy(tokens(10)).await.unwrap();
    let leaf = |n: u8, whole| Leaf { provider: provider(n), payee: account(n), cumulative: tokens(whole) };
    let tree = |leaves: &[Leaf]| Tree::of(leaves.iter().map(|leaf| leaf.hash(&at.domain)).collect());
    at.fund(tokens(20)).await.unwrap();
    let honest = tree(&[leaf(1, 6)]);
    at.propose(1, honest.root(), tokens(6)).await.unwrap();
    chain.pass(ACTIVATION_DELAY_S).await.unwrap();
    at.activate().await.unwrap();

    let (most, more) = (leaf(66, 16), leaf(67, 4));
    let forged = tree(&[most, more]);
    let beyond = at.propose(2, forged.root(), tokens(17)).await;
    assert!(matches!(beyond, Err(onchain::Error::Refuses { .. })), "more than the cap: {beyond:?}");
    let proof = |leaf: &Leaf| forged.proof(&leaf.hash(&at.domain)).unwrap();
    at.propose(2, forged.root(), tokens(16)).await.unwrap();
    at.veto().await.unwrap();
    chain.pass(ACTIVATION_DELAY_S).await.unwrap();
    assert!(at.activate().await.is_err() && at.claim(forged.root(), &most, &proof(&most)).await.is_err());
    assert_eq!(at.state().await.unwrap().claimed, TokenAmount::ZERO, "vetoed, it takes nothing");

    at.propose(2, forged.root(), tokens(16)).await.unwrap();
    assert!(at.activate().await.is_err(), "it waits");
    chain.pass(ACTIVATION_DELAY_S).await.unwrap();
    at.activate().await.unwrap();
    at.claim(forged.root(), &most, &proof(&most)).await.unwrap();
    assert!(at.claim(forged.root(), &more, &proof(&more)).await.is_err(), "there is no more to take");
    let state = at.state().await.unwrap();
    assert_eq!((state.claimed, state.held), (tokens(16), tokens(4)), "one cap of ten, and six unclaimed");
}

#[tokio::test]
async fn gas_for_less_than_three_epochs_is_low() {
    let Some(bank) = Bank::open(350, 1).await else { return };
    let plenty = bank.rail.gas().await.unwrap();
    assert!(!plenty.is_low() && plenty.epochs > 1_000, "{plenty:?}");
    // Nothing was sent yet: each of three calls may take the whole limit of 0.05.
    let account = bank.rail.sender().account;
    for (wei, epochs) in [(450_000_000_000_000_000_u128, 3), (449_999_999_999_999_999, 2)] {
        bank.at.chain.ask("anvil_setBalance", json!([account, format!("{wei:#x}")])).await.unwrap();
        let gas = bank.rail.gas().await.unwrap();
        assert_eq!((gas.wei, gas.epochs, gas.is_low()), (wei, epochs, epochs < 3));
    }
}

#[tokio::test]
async fn a_claim_or_an_activation_that_only_one_endpoint_tells_of_is_not_booked() {
    let threshold = |chain: &mut billing::ChainConfig, honest: &str| {
        chain.second_rpc_url = Some(honest.to_owned().into());
        chain.two_rpc_threshold = 500;
    };
    let Some(bank) = Bank::with(351, 1, threshold).await else { return };
    bank.fund(tokens(100)).await;
    bank.at.chain.mine(3).await.unwrap();
    let asked = json!([{ "address": bank.at.domain.distributor, "fromBlock": "0x1", "toBlock": "latest" }]);
    let logs = bank.at.chain.ask("eth_getLogs", asked).await.unwrap();
    let funded = logs.as_array().unwrap().last().unwrap().clone();
    let topic = |event: &str| json!(Word(keccak(event.as_bytes())));
    let (word, much) = (|n: u128| format!("{n:064x}"), 1_000 * super::bank::TOKEN);
    let one = json!(format!("0x{}", word(1)));
    let claimed = topic("Claimed(bytes16,address,uint64,uint256,uint256)");
    let activated = topic("Activated(uint64,bytes32,uint256,bytes32)");
    let lies = [
        (json!([claimed, one, one, one]), format!("0x{}{}", word(much), word(much))),
        (json!([activated, one]), format!("0x{}{}{}", word(7), word(much), word(7))),
    ];
    for (topics, data) in lies {
        let mut lie = funded.clone();
        (lie["topics"], lie["data"]) = (topics, json!(data));
        let lie = json!([lie]);
        bank.proxy.judge(move |method, _| match method {
            "eth_getLogs" => Act::Say(lie.clone()),
            _ => Act::Pass,
        });
        let doubt = bank.turn().await;
        let differ = |reason: &str| reason.contains("the two endpoints tell different things");
        assert!(matches!(&doubt, Err(Error::Chain(onchain::Error::Doubt { reason })) if differ(reason)), "{doubt:?}");
        let booked = bank.world.count("transfers where cause_kind in ('chain', 'epoch_tokens')").await;
        assert_eq!(booked, 0, "nothing is booked");
    }
}
