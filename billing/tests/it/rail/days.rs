//! Three epochs of fifty providers, one of whom the token refuses and one of whom moves to another account.

use billing::payout;
use billing::store::epochs::EpochState;
use protocol::merkle::Leaf;
use protocol::payout::PayoutChange;
use protocol::token::TokenAmount;
use protocol::typed::Typed as _;

use super::bank::{Bank, account, provider, tokens};
use crate::fixture::wallet;

const PROVIDERS: u8 = 50;
/// A dollar's token has six digits, a dollar here nine.
const NANO_PER_UNIT: u32 = 1_000;
/// Whom the token refuses until the last epoch.
const REFUSED: u8 = 13;
/// Who moves, and to where.
const MOVING: (u8, u8) = (20, 120);
/// Who claims without being asked.
const ALONE: u8 = 7;

/// What a provider earns in an epoch, in base units: different for each.
fn earning(n: u8, epoch: u8) -> u32 {
    1_000_000 + 50_000 * u32::from(n) + 100_000 * u32::from(epoch)
}

/// What it has earned in some of them.
fn earned(n: u8, mut epochs: std::ops::RangeInclusive<u8>) -> TokenAmount {
    let sum = epochs.try_fold(TokenAmount::ZERO, |sum, epoch| sum.checked_add(u128::from(earning(n, epoch)).into()));
    sum.expect("it is little")
}

#[tokio::test]
async fn fifty_providers_are_paid_over_three_epochs_to_the_base_unit() {
    let Some(bank) = Bank::open(330, PROVIDERS).await else { return };
    bank.fund(tokens(10_000)).await;
    bank.at.set_blocked(account(REFUSED), true).await.unwrap();
    for epoch in 1..=3 {
        for n in 1..=PROVIDERS {
            bank.earn(n, earning(n, epoch) * NANO_PER_UNIT).await;
        }
        bank.give().await;
        if epoch == 2 {
            moves(&bank).await;
        }
        if epoch == 3 {
            bank.at.set_blocked(account(REFUSED), false).await.unwrap();
        }
        bank.days(4).await;
        bank.rest().await;
        if epoch == 2 {
            claims_alone(&bank).await;
        }
        bank.pass_delay().await;
        assert_eq!(bank.at.state().await.unwrap().number, u64::from(epoch), "one tree each");
        bank.assert_same().await;
        let refused = bank.at.claimed(provider(REFUSED)).await.unwrap();
        assert_eq!(refused.is_zero(), epoch < 3, "it is refused and loses nothing");
    }
    let mut paid = TokenAmount::ZERO;
    for n in 1..=PROVIDERS {
        let owed = earned(n, 1..=3);
        assert_eq!(bank.at.claimed(provider(n)).await.unwrap(), owed, "provider {n}");
        paid = paid.checked_add(owed).unwrap();
    }
    let balance = async |n| bank.at.balance(account(n)).await.unwrap();
    assert_eq!(balance(MOVING.0).await, earned(MOVING.0, 1..=1));
    assert_eq!(balance(MOVING.1).await, earned(MOVING.0, 2..=3), "from the change on, the new account is paid");
    assert_eq!(bank.at.state().await.unwrap().held, tokens(10_000).checked_sub(paid).unwrap());
}

/// Asks for another account, with both accounts' signatures; it counts two days later.
async fn moves(bank: &Bank) {
    let (old, new) = MOVING;
    let name = |n: u8| format!("eip155:{}:{}", bank.at.domain.chain_id, account(n));
    let change = PayoutChange { provider: provider(old), nonce: 1, from: name(old), to: name(new) };
    let sign = |n: u8| wallet(n).sign_digest(&change.digest_anywhere());
    let mut conn = bank.world.db.acquire().await.unwrap();
    payout::request_change(&mut conn, &change, &sign(old), &sign(new), bank.world.env.now()).await.unwrap();
}

/// One provider takes what the active tree owes it before the broker has it paid: of this tree there is nothing left.
async fn claims_alone(bank: &Bank) {
    bank.at.chain.pass(onchain::local::ACTIVATION_DELAY_S).await.unwrap();
    bank.turn().await.unwrap();
    let epoch = bank.payout(ALONE).await.epoch;
    assert_eq!(bank.state(epoch).await, EpochState::Proposed, "the broker waits until it is final");
    let verified = bank.epochs.bundle(epoch, provider(ALONE)).await.unwrap().unwrap().verify().unwrap();
    let owed = verified.statement;
    let leaf = Leaf { provider: owed.provider, payee: owed.payee.unwrap(), cumulative: owed.cumulative };
    bank.at.claim(verified.leaves_root, &leaf, &verified.claim.unwrap()).await.unwrap();
    assert_ne!(bank.at.claimed(provider(ALONE)).await.unwrap(), TokenAmount::ZERO);
}
