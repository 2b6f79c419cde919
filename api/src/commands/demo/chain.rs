//! Payouts from end to end on a chain of this machine: fifty providers, three epochs, to the base unit.
//!
//! Days pass by a clock that is moved, on a database of its own: nobody waits three days for a demonstration.

mod anvil;
mod bank;

use std::path::Path;

use onchain::local::State;
use protocol::statement::Document as _;
use protocol::token::TokenAmount;

use self::anvil::Anvil;
use self::bank::Bank;
use super::step;
use crate::commands::Error;

/// How many are paid.
const PROVIDERS: u8 = 50;
/// Whom the token refuses until the last epoch.
const REFUSED: u8 = 13;
/// Who changes the payout account in the second epoch, and to which.
const MOVING: (u8, u8) = (20, 120);
/// How many epochs.
const EPOCHS: u8 = 3;
/// Base units given to the contract.
const FUNDED: u128 = 1_000_000_000;

/// Tells the story; `dir` is where database, documents and keys are kept.
pub(super) async fn run(dir: &Path) -> Result<(), Error> {
    step("starting a local chain, and a database for it");
    let anvil = Anvil::start().await?;
    let bank = Bank::open(dir, &anvil.url, PROVIDERS).await?;
    let told = tell(&bank).await;
    bank.close().await?;
    told
}

async fn tell(bank: &Bank) -> Result<(), Error> {
    println!("  distributor {}, token {}", bank.at.domain.distributor, bank.at.token);
    bank.fill(TokenAmount::from(FUNDED)).await?;
    bank.at.set_blocked(bank::account(REFUSED), true).await?;
    for epoch in 1..=EPOCHS {
        step(&format!("epoch {epoch}: {PROVIDERS} providers work and are given receipts"));
        for n in 1..=PROVIDERS {
            bank.earn(n, bank::earning(n, epoch)).await?;
        }
        if epoch == 2 {
            println!("  provider {} asks to be paid to {}", MOVING.0, bank::account(MOVING.1));
            bank.moves(MOVING.0, MOVING.1).await?;
        }
        if epoch == EPOCHS {
            println!("  the token takes provider {REFUSED}'s account again");
            bank.at.set_blocked(bank::account(REFUSED), false).await?;
        }
        let state = bank.pay().await?;
        let manifest = bank.manifest().await?;
        println!("  tree     {} with {} leaves", manifest.leaves_root, manifest.leaves);
        println!("  manifest {}", manifest.hash());
        print_state(&state);
        let waiting = bank.unpaid(PROVIDERS).await?;
        println!("  not paid: {}", if waiting.is_empty() { "nobody".to_owned() } else { format!("{waiting:?}") });
        bank.check(&state, &manifest).await?;
        println!("  ledger, contract and manifest agree to the base unit");
    }
    let owed = (1..=EPOCHS).map(|epoch| u128::from(bank::earning(MOVING.0, epoch)));
    println!(
        "• provider {} earned {} base units, of which {} came to its old account and {} to its new one",
        MOVING.0,
        owed.sum::<u128>(),
        bank.at.balance(bank::account(MOVING.0)).await?,
        bank.at.balance(bank::account(MOVING.1)).await?
    );
    let verified = bank.verify(1).await?;
    println!(
        "• the last payout of provider 1, checked from its files alone: {verified} base units, proved down to each receipt"
    );
    println!("• gas: {} wei over all transactions", bank.gas().await?);
    Ok(())
}

fn print_state(state: &State) {
    println!(
        "  contract: epoch {}, owes {} in all, has paid {}, holds {}",
        state.number, state.total, state.claimed, state.held
    );
}
