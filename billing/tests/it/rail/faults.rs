//! Whatever the chain, an endpoint or a thief does: each wish has one effect, and nothing is booked that can be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use billing::Error;
use billing::store::chain::{self, IntentState};
use billing::store::epochs::EpochState;
use protocol::token::TokenAmount;
use protocol::typed::Word;
use serde_json::{Value, json};

use super::anvil::Act;
use super::bank::{Bank, DOLLAR, account, tokens};

/// A gigawei.
const GWEI: u64 = 1_000_000_000;

/// A bank whose one provider is owed three tokens by a tree that is wished for and not sent.
async fn owing(seed: u64) -> Option<Bank> {
    let bank = Bank::open(seed, 1).await?;
    bank.fund(tokens(100)).await;
    owe(&bank).await;
    Some(bank)
}

/// The same, with a second endpoint that tells the truth.
async fn watched(seed: u64) -> Option<Bank> {
    let bank = Bank::with(seed, 1, |chain, honest| chain.second_rpc_url = Some(honest.to_owned().into())).await?;
    bank.fund(tokens(100)).await;
    owe(&bank).await;
    Some(bank)
}

async fn owe(bank: &Bank) {
    bank.earn(1, 3 * DOLLAR).await;
    bank.give().await;
    bank.days(4).await;
    assert_eq!(bank.states("propose").await, [IntentState::Waiting]);
}

/// From here on everything goes its way, and the provider is paid once.
async fn ends_well(bank: &Bank) {
    ends_well_but(bank, None).await;
}

/// The same, where a transaction with our key that is not ours has cost gas: the difference is named.
async fn ends_well_but(bank: &Bank, differs: Option<&str>) {
    bank.rest().await;
    bank.pass_delay().await;
    assert_eq!(bank.state(3).await, EpochState::Active);
    assert_eq!(bank.at.balance(account(1)).await.unwrap(), tokens(3));
    bank.assert_same_but(differs).await;
}

async fn signed(bank: &Bank) -> Vec<chain::Signed> {
    let mut conn = bank.world.db.acquire().await.unwrap();
    chain::find_open(&mut conn, bank.rail.sender()).await.unwrap().map(|open| open.signed).unwrap_or_default()
}

/// From here on the first endpoint says that what is the newest block now stays.
async fn call_the_head_final(bank: &Bank) -> Value {
    let head = bank.at.chain.ask("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
    let said = head.clone();
    bank.proxy.judge(move |method, params| match method {
        "eth_getBlockByNumber" if params[0] == "finalized" => Act::Say(said.clone()),
        _ => Act::Pass,
    });
    head
}

/// The blocks a proposal was told in.
async fn proposed_in(bank: &Bank) -> Vec<Vec<u8>> {
    let blocks = "select block_hash from chain_logs where kind = 'proposed' order by block_number";
    sqlx::query_scalar(blocks).fetch_all(bank.world.db.pool()).await.unwrap()
}

#[tokio::test]
async fn who_dies_between_signing_and_sending_is_followed_by_one_who_sends_the_same_bytes() {
    let Some(mut bank) = owing(310).await else { return };
    bank.proxy.judge(|method, _| if method == "eth_sendRawTransaction" { Act::Break } else { Act::Pass });
    assert!(matches!(
        bank.turn().await,
        Err(Error::Chain(onchain::Error::Away { method: "eth_sendRawTransaction", .. }))
    ));
    let before = signed(&bank).await;
    assert_eq!(before.len(), 1, "kept before it was sent");
    bank.restart().await;
    bank.proxy.pass();
    bank.turn().await.unwrap();
    assert_eq!(signed(&bank).await, before, "nothing was signed again");
    let mined = bank.at.chain.ask("eth_getTransactionReceipt", json!([Word(before[0].hash)])).await.unwrap();
    assert_eq!(mined["status"], "0x1");
    ends_well(&bank).await;
}

#[tokio::test]
async fn a_dropped_transaction_is_sent_again() {
    let Some(bank) = owing(311).await else { return };
    bank.proxy.judge(|method, _| match method {
        "eth_sendRawTransaction" => Act::Say(json!(Word([7; 32]))),
        _ => Act::Pass,
    });
    bank.turn().await.unwrap();
    assert_eq!(bank.at.state().await.unwrap().number, 0);
    bank.proxy.pass();
    ends_well(&bank).await;
    assert_eq!(bank.world.count("chain_txs").await, bank.world.count("chain_nonces").await, "each signed once");
}

#[tokio::test]
async fn a_stuck_transaction_pays_an_eighth_more_under_the_same_nonce() {
    let Some(bank) = owing(312).await else { return };
    bank.proxy.judge(|method, _| match method {
        "eth_sendRawTransaction" => Act::Say(json!(Word([7; 32]))),
        _ => Act::Pass,
    });
    bank.turn().await.unwrap();
    bank.at.chain.mine(3).await.unwrap();
    bank.turn().await.unwrap();
    assert_eq!(signed(&bank).await.len(), 1, "three blocks are no reason yet");
    bank.at.chain.mine(1).await.unwrap();
    bank.turn().await.unwrap();
    let both = signed(&bank).await;
    assert_eq!(both.len(), 2);
    assert!(both[1].max_fee * 8 >= both[0].max_fee * 9 && both[1].tip * 8 >= both[0].tip * 9, "{both:?}");
    assert_eq!(bank.world.count("chain_nonces").await, 1);
    bank.proxy.pass();
    ends_well(&bank).await;
}

#[tokio::test]
async fn an_under_priced_transaction_follows_the_market() {
    let Some(bank) = owing(313).await else { return };
    bank.at.chain.ask("evm_setAutomine", json!([false])).await.unwrap();
    bank.turn().await.unwrap();
    let first = signed(&bank).await[0].max_fee;
    for _ in 0..4 {
        let dear = format!("{:#x}", 60 * GWEI);
        bank.at.chain.ask("anvil_setNextBlockBaseFeePerGas", json!([dear])).await.unwrap();
        bank.at.chain.mine(1).await.unwrap();
    }
    assert_eq!(bank.at.state().await.unwrap().number, 0);
    bank.turn().await.unwrap();
    let both = signed(&bank).await;
    assert!(both.len() == 2 && both[1].max_fee > u128::from(60 * GWEI) && first < u128::from(60 * GWEI), "{both:?}");
    bank.at.chain.ask("evm_setAutomine", json!([true])).await.unwrap();
    ends_well(&bank).await;
}

#[tokio::test]
async fn a_nonce_somebody_else_has_spent_is_given_up_and_the_wish_is_not() {
    let Some(bank) = owing(314).await else { return };
    bank.at.chain.ask("evm_setAutomine", json!([false])).await.unwrap();
    bank.turn().await.unwrap();
    bank.at.spend_nonce(0, u128::from(500 * GWEI)).await.unwrap();
    bank.at.chain.ask("evm_setAutomine", json!([true])).await.unwrap();
    bank.at.chain.mine(3).await.unwrap();
    bank.turn().await.unwrap();
    assert_eq!(bank.world.count("chain_nonces where displaced").await, 1);
    ends_well_but(&bank, Some("the gas wallet has")).await;
    assert_eq!(bank.states("propose").await, [IntentState::Done]);
}

#[tokio::test]
async fn after_a_reorganisation_logs_are_read_again_and_what_was_lost_is_sent_again() {
    let Some(bank) = owing(315).await else { return };
    bank.turn().await.unwrap();
    bank.turn().await.unwrap();
    let seen = proposed_in(&bank).await;
    assert_eq!(seen.len(), 1);
    bank.at.chain.mine(1).await.unwrap();
    bank.turn().await.unwrap();
    // Deeper than the confirmations it has.
    bank.at.chain.ask("anvil_reorg", json!([2, []])).await.unwrap();
    bank.turn().await.unwrap();
    ends_well(&bank).await;
    let now = proposed_in(&bank).await;
    assert!(now.len() == 1 && now != seen, "it is in another block: {now:?}");
}

#[tokio::test]
async fn an_endpoint_that_lies_about_nonces_is_found_out_by_the_other() {
    let Some(bank) = watched(316).await else { return };
    bank.proxy.judge(|method, _| match method {
        "eth_getTransactionCount" => Act::Say(json!("0x5")),
        _ => Act::Pass,
    });
    assert!(matches!(bank.turn().await, Err(Error::Chain(onchain::Error::Doubt { .. }))));
    assert_eq!(bank.world.count("chain_nonces").await, 0, "none was given");
    bank.proxy.pass();
    ends_well(&bank).await;
}

#[tokio::test]
async fn a_transaction_that_only_one_endpoint_calls_final_stays_open() {
    let Some(bank) = watched(322).await else { return };
    bank.turn().await.unwrap();
    let head = call_the_head_final(&bank).await;
    let mined = bank.at.chain.ask("eth_getTransactionReceipt", json!([Word(signed(&bank).await[0].hash)])).await;
    assert_eq!(mined.unwrap()["blockHash"], head["hash"]);
    let gas = "transfers where cause_kind = 'gas'";
    bank.turn().await.unwrap();
    assert_eq!((bank.states("propose").await, bank.world.count(gas).await), (vec![IntentState::Signed], 0));
    bank.at.chain.mine(3).await.unwrap();
    bank.turn().await.unwrap();
    assert_eq!((bank.states("propose").await, bank.world.count(gas).await), (vec![IntentState::Done], 1));
    bank.proxy.pass();
    ends_well(&bank).await;
}

#[tokio::test]
async fn a_nonce_that_only_one_endpoint_calls_used_for_good_is_not_given_up() {
    let Some(bank) = watched(323).await else { return };
    bank.at.chain.ask("evm_setAutomine", json!([false])).await.unwrap();
    bank.turn().await.unwrap();
    bank.at.spend_nonce(0, u128::from(500 * GWEI)).await.unwrap();
    bank.at.chain.ask("evm_setAutomine", json!([true])).await.unwrap();
    bank.at.chain.mine(1).await.unwrap();
    call_the_head_final(&bank).await;
    let displaced = "chain_nonces where displaced";
    bank.turn().await.unwrap();
    assert_eq!(bank.world.count(displaced).await, 0, "to the other endpoint it may still go");
    bank.at.chain.mine(3).await.unwrap();
    bank.proxy.pass();
    bank.turn().await.unwrap();
    assert_eq!(bank.world.count(displaced).await, 1);
    ends_well_but(&bank, Some("the gas wallet has")).await;
}

#[tokio::test]
async fn a_block_that_was_called_final_and_is_gone_stops_everything() {
    let Some(bank) = owing(317).await else { return };
    bank.turn().await.unwrap();
    call_the_head_final(&bank).await;
    bank.turn().await.unwrap();
    bank.proxy.pass();
    bank.at.chain.ask("anvil_reorg", json!([1, []])).await.unwrap();
    bank.at.chain.mine(4).await.unwrap();
    let doubt = bank.rail.tick(bank.world.env.now()).await;
    assert!(
        matches!(&doubt, Err(Error::Chain(onchain::Error::Doubt { reason })) if reason.contains("was final")),
        "{doubt:?}"
    );
}

#[tokio::test]
async fn what_only_one_endpoint_tells_is_not_booked_when_it_is_much() {
    let threshold = |chain: &mut billing::ChainConfig, honest: &str| {
        chain.second_rpc_url = Some(honest.to_owned().into());
        chain.two_rpc_threshold = 50;
    };
    let Some(bank) = Bank::with(318, 1, threshold).await else { return };
    bank.fund(tokens(100)).await;
    bank.at.chain.mine(3).await.unwrap();
    // The same log, with ten times the amount.
    let asked = json!([{ "address": bank.at.domain.distributor, "fromBlock": "0x1", "toBlock": "latest" }]);
    let mut logs = bank.at.chain.ask("eth_getLogs", asked).await.unwrap();
    let funded = logs.as_array_mut().unwrap().last_mut().unwrap();
    funded["data"] = json!(format!("0x{:064x}", 1_000 * super::bank::TOKEN));
    let lie = json!([funded.clone()]);
    let is_lying = Arc::new(AtomicBool::new(true));
    let lies = Arc::clone(&is_lying);
    bank.proxy.judge(move |method, _| match method {
        "eth_getLogs" if lies.load(Ordering::Relaxed) => Act::Say(lie.clone()),
        _ => Act::Pass,
    });
    assert!(matches!(bank.turn().await, Err(Error::Chain(onchain::Error::Doubt { .. }))));
    assert_eq!(bank.world.count("transfers where cause_kind = 'chain'").await, 0);
    is_lying.store(false, Ordering::Relaxed);
    owe(&bank).await;
    ends_well(&bank).await;
}

#[tokio::test]
async fn a_tree_beyond_what_the_contract_has_is_not_proposed() {
    let Some(bank) = Bank::open(319, 1).await else { return };
    bank.earn(1, 3 * DOLLAR).await;
    bank.give().await;
    bank.days(2).await;
    let refused = bank.day().await;
    assert!(
        matches!(&refused, Err(Error::Chain(onchain::Error::Refuses { reason, .. })) if reason.contains("Underfunded")),
        "{refused:?}"
    );
    assert_eq!((bank.state(3).await, bank.intents().await.len()), (EpochState::Built, 0));
    bank.fund(tokens(3)).await;
    bank.advance().await.unwrap();
    ends_well(&bank).await;
}

#[tokio::test]
async fn while_the_chain_is_away_answers_are_sold_and_nothing_expires() {
    let Some(bank) = owing(320).await else { return };
    bank.proxy.judge(|_, _: &Value| Act::Break);
    for _ in 0..4 {
        assert!(matches!(bank.turn().await, Err(Error::Chain(onchain::Error::Away { .. }))));
        bank.world.clock.advance(std::time::Duration::from_secs(900));
        bank.earn(1, 100).await;
        bank.advance().await.unwrap();
    }
    assert_eq!(bank.states("propose").await, [IntentState::Waiting]);
    bank.proxy.pass();
    ends_well(&bank).await;
}

#[tokio::test]
async fn a_stolen_proposer_s_tree_is_never_activated_by_us_and_ours_follows_its_veto() {
    let Some(bank) = Bank::open(321, 1).await else { return };
    bank.fund(tokens(100)).await;
    bank.at.propose(1, Word([9; 32]), TokenAmount::from(50_000_000)).await.unwrap();
    bank.turn().await.unwrap();
    bank.at.chain.pass(onchain::local::ACTIVATION_DELAY_S).await.unwrap();
    bank.turn().await.unwrap();
    assert_eq!(bank.intents().await, [], "it is not helped along");
    bank.earn(1, 3 * DOLLAR).await;
    bank.give().await;
    bank.days(2).await;
    let refused = bank.day().await;
    assert!(
        matches!(&refused, Err(Error::Chain(onchain::Error::Refuses { reason, .. })) if reason.contains("ProposalPending")),
        "{refused:?}"
    );
    bank.at.veto().await.unwrap();
    bank.advance().await.unwrap();
    ends_well_but(&bank, Some("the gas wallet has")).await;
}
