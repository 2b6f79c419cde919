//! What a provider is told of its money: four parts that add up to everything it earned.

use protocol::purse::{Balance, ClaimRef, TokenBalance};
use protocol::token::TokenAmount;
use protocol::{NanoUsd, ProviderId, Timestamp};
use sqlx::PgConnection;

use crate::Epochs;
use crate::payout::payout_id;
use crate::store::purses::{self, Purse};
use crate::store::views;

/// What a provider has, in one snapshot of `conn`. Without `epochs` nothing is ever released.
///
/// # Errors
/// When the database call fails.
pub async fn balance(
    conn: &mut PgConnection,
    epochs: Option<&Epochs>,
    provider: ProviderId,
    now: Timestamp,
) -> Result<Balance, sqlx::Error> {
    let accrued = views::accrued(&mut *conn, provider).await?;
    let purse = purses::get(conn, provider, now).await?;
    let tokens = epochs.map(|epochs| token(epochs, &purse)).into_iter().collect();
    Ok(Balance { tokens, ..divided(provider, accrued, &purse) })
}

/// Divides what is owed in dollars: what was not released is what is left when everything else is known.
fn divided(provider: ProviderId, accrued: NanoUsd, purse: &Purse) -> Balance {
    let waiting = purse.waiting.as_deref().filter(|why| *why != "below_minimum");
    let mut held_for: Vec<String> = waiting.map(str::to_owned).into_iter().collect();
    let mut held = if waiting.is_some() { purse.carried } else { NanoUsd::ZERO };
    if purse.has_case {
        held_for.push("case".to_owned());
        held = purse.free.saturating_add(purse.carried);
    }
    let due = purse.taken.saturating_add(purse.free).saturating_add(purse.carried);
    let claim = purse.epochs.map(|(epoch, proved)| ClaimRef { epoch, payout: payout_id(provider, proved) });
    Balance {
        object: "provider.balance".to_owned(),
        provider,
        earned_usd: accrued.saturating_add(purse.unclaimed).saturating_add(purse.claimed),
        pending_usd: accrued.saturating_sub(due),
        held_usd: held,
        held_for,
        released_usd: due.saturating_sub(held).saturating_add(purse.unclaimed),
        paid_usd: purse.claimed,
        tokens: Vec::new(),
        claim,
    }
}

fn token(epochs: &Epochs, purse: &Purse) -> TokenBalance {
    let [all, paid] = purse.tokens;
    let (domain, config) = (epochs.domain(), epochs.config());
    TokenBalance {
        chain_id: domain.chain_id,
        distributor: domain.distributor,
        token: config.chain.token,
        decimals: config.token_decimals,
        released: all.checked_sub(paid).unwrap_or(TokenAmount::ZERO),
        paid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Id as _;
    use uuid::Uuid;

    const fn usd(dollars: u32) -> NanoUsd {
        NanoUsd::from_dollars(dollars)
    }

    fn purse() -> Purse {
        Purse {
            taken: usd(3),
            free: usd(5),
            carried: usd(1),
            waiting: None,
            has_case: false,
            unclaimed: usd(10),
            claimed: usd(20),
            tokens: [TokenAmount::from(30), TokenAmount::from(20)],
            epochs: None,
        }
    }

    fn parts(purse: &Purse) -> (NanoUsd, NanoUsd, NanoUsd, NanoUsd) {
        let told = divided(ProviderId::from_uuid(Uuid::nil()), usd(100), purse);
        let sum = told.pending_usd.saturating_add(told.held_usd).saturating_add(told.released_usd);
        assert_eq!(sum.saturating_add(told.paid_usd), told.earned_usd, "the parts are the whole");
        (told.pending_usd, told.held_usd, told.released_usd, told.paid_usd)
    }

    #[test]
    fn what_is_released_is_no_longer_pending_and_what_is_claimed_is_paid() {
        assert_eq!(parts(&purse()), (usd(91), usd(0), usd(19), usd(20)));
    }

    #[test]
    fn a_case_holds_what_no_epoch_has_and_a_change_of_account_what_was_carried() {
        let judged = Purse { has_case: true, ..purse() };
        assert_eq!(parts(&judged), (usd(91), usd(6), usd(13), usd(20)));
        let moving = Purse { waiting: Some("payee_change".to_owned()), ..purse() };
        assert_eq!(parts(&moving), (usd(91), usd(1), usd(18), usd(20)));
        let little = Purse { waiting: Some("below_minimum".to_owned()), ..purse() };
        assert_eq!(parts(&little), (usd(91), usd(0), usd(19), usd(20)));
    }
}
