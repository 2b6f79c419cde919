//! From a built epoch to tokens in payees' accounts, on a chain that runs here.

mod anvil;
mod bank;
mod days;
mod faults;
mod prices;
mod thieves;

use billing::account::{AccountKind, LedgerAccount};
use billing::ledger::Coin;
use billing::store::chain::IntentState;
use billing::store::epochs::EpochState;
use billing::store::transfers;
use protocol::merkle::Leaf;
use protocol::token::TokenAmount;

use bank::{Bank, DOLLAR, account, provider, tokens};

#[tokio::test]
async fn what_an_epoch_owes_is_proposed_activated_and_claimed_and_the_books_agree() {
    let Some(bank) = Bank::open(300, 3).await else { return };
    bank.fund(tokens(100)).await;
    bank.earn(1, 3 * DOLLAR + 17).await;
    bank.earn(2, 2 * DOLLAR).await;
    bank.earn(3, DOLLAR + 500).await;
    bank.give().await;
    bank.days(4).await;
    assert_eq!(bank.state(3).await, EpochState::Proposed);
    bank.rest().await;
    assert_eq!(bank.at.state().await.unwrap().number, 0, "it waits for its delay");
    assert_eq!(bank.states("propose").await, [IntentState::Done]);

    bank.pass_delay().await;
    assert_eq!(bank.state(3).await, EpochState::Active);
    assert_eq!(bank.states("activate").await, [IntentState::Done]);
    assert_eq!(bank.states("claimMany").await, [IntentState::Done]);
    for (n, owed) in [(1, 3_000_000), (2, 2_000_000), (3, 1_000_000)] {
        assert_eq!(bank.at.balance(account(n)).await.unwrap(), TokenAmount::from(owed), "provider {n}");
        let payable = bank.tokens_of(LedgerAccount::payable(provider(n))).await;
        assert_eq!(payable, (TokenAmount::from(owed), TokenAmount::from(owed)), "owed and paid");
        assert!(bank.payout(n).await.claimed_at.is_some(), "and marked so");
    }
    assert_eq!(bank.world.count("outbox_events where body ->> 'type' = 'payout_paid'").await, 3);
    bank.assert_same().await;

    // Seventeen nano-USD are less than a base unit: they stay, released, for the next payout.
    let now = bank.world.env.now();
    let mut conn = bank.world.db.acquire().await.unwrap();
    let told = billing::purse::balance(&mut conn, Some(&bank.epochs), provider(1), now).await.unwrap();
    let nano = |amount: protocol::NanoUsd| amount.nano();
    assert_eq!((nano(told.paid_usd), nano(told.released_usd)), (3 * i64::from(DOLLAR), 17), "{told:?}");
    assert_eq!((nano(told.pending_usd), nano(told.held_usd)), (0, 0), "{told:?}");
    assert_eq!((told.tokens[0].paid, told.tokens[0].released), (tokens(3), TokenAmount::ZERO));
    assert!(told.claim.is_some_and(|claim| claim.epoch >= 3), "{told:?}");
    drop(conn);

    let mut conn = bank.world.db.acquire().await.unwrap();
    let gas = LedgerAccount::platform(AccountKind::GasExpense);
    let (spent, back) = transfers::coin_turnover(&mut conn, gas, &Coin::Ether).await.unwrap();
    assert!(!spent.is_zero() && back.is_zero(), "what it cost is booked");
    assert_eq!(bank.world.count("transfers where cause_kind = 'gas'").await, 3, "once for each transaction");
}

#[tokio::test]
async fn a_refused_payee_stops_nobody_and_is_asked_for_again_with_the_next_tree() {
    let Some(bank) = Bank::open(301, 2).await else { return };
    bank.fund(tokens(100)).await;
    bank.at.set_blocked(account(2), true).await.unwrap();
    bank.earn(1, 3 * DOLLAR).await;
    bank.earn(2, 2 * DOLLAR).await;
    bank.give().await;
    bank.days(4).await;
    bank.rest().await;
    bank.pass_delay().await;
    assert_eq!(bank.at.claimed(provider(1)).await.unwrap(), tokens(3));
    assert_eq!(bank.at.claimed(provider(2)).await.unwrap(), TokenAmount::ZERO);
    assert!(bank.payout(2).await.claimed_at.is_none());
    bank.assert_same().await;

    bank.at.set_blocked(account(2), false).await.unwrap();
    bank.earn(1, DOLLAR).await;
    bank.give().await;
    bank.days(4).await;
    bank.rest().await;
    bank.pass_delay().await;
    assert_eq!(bank.at.claimed(provider(2)).await.unwrap(), tokens(2), "it lost nothing");
    assert!(bank.payout(2).await.claimed_at.is_some());
    assert_eq!(bank.at.balance(account(1)).await.unwrap(), tokens(4));
    bank.assert_same().await;
}

#[tokio::test]
async fn tokens_that_came_in_beside_the_books_are_found() {
    let Some(bank) = Bank::open(304, 1).await else { return };
    bank.fund(tokens(100)).await;
    bank.rest().await;
    assert_eq!(bank.rail.compare().await.unwrap().differences, Vec::<String>::new());
    bank.at.give(tokens(1)).await.unwrap();
    bank.rest().await;
    let found = bank.rail.compare().await.unwrap().differences;
    assert!(
        found.len() == 1 && found[0].contains("the contract holds 101000000, the ledger says 100000000"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_refused_tree_is_decided_anew_and_proposed_again() {
    let Some(bank) = Bank::open(302, 1).await else { return };
    bank.fund(tokens(100)).await;
    bank.earn(1, 3 * DOLLAR).await;
    bank.give().await;
    bank.days(4).await;
    bank.rest().await;
    bank.at.veto().await.unwrap();
    bank.rest().await;
    assert_eq!(bank.states("propose").await, [IntentState::Done, IntentState::Done], "once more after the veto");
    bank.pass_delay().await;
    assert_eq!(bank.state(3).await, EpochState::Active);
    assert_eq!(bank.at.balance(account(1)).await.unwrap(), tokens(3));
    bank.assert_same().await;
}

#[tokio::test]
async fn a_provider_that_claims_for_itself_is_paid_once() {
    let Some(bank) = Bank::open(303, 1).await else { return };
    bank.fund(tokens(100)).await;
    bank.earn(1, 3 * DOLLAR).await;
    bank.give().await;
    bank.days(4).await;
    bank.rest().await;
    // Anybody may activate, too: here the rail does, and its claim comes after the provider's own.
    bank.at.chain.pass(onchain::local::ACTIVATION_DELAY_S).await.unwrap();
    bank.turn().await.unwrap();
    let bundle = bank.epochs.bundle(3, provider(1)).await.unwrap().unwrap();
    let verified = bundle.verify().unwrap();
    let owed = verified.statement;
    let leaf = Leaf { provider: owed.provider, payee: owed.payee.unwrap(), cumulative: owed.cumulative };
    bank.at.claim(verified.leaves_root, &leaf, &verified.claim.unwrap()).await.unwrap();
    bank.rest().await;
    assert_eq!(bank.at.balance(account(1)).await.unwrap(), tokens(3));
    assert_eq!(bank.states("claimMany").await, [], "everybody is paid already");
    assert!(bank.payout(1).await.claimed_at.is_some());
    bank.assert_same().await;
}
