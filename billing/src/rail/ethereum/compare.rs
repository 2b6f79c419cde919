//! Whether the contract has what the ledger says.

use onchain::At;
use onchain::contract::{Erc20, PayoutDistributor, amount, theirs};
use protocol::token::TokenAmount;

use super::Ethereum;
use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::Coin;
use crate::reconcile::{Check, snapshot};
use crate::store::{chain_logs, transfers};

impl Ethereum {
    /// Compares what the contract owed, had paid and held at the last booked block with the books.
    ///
    /// # Errors
    /// [`Error::Chain`]; [`Error::Database`].
    pub async fn compare(&self) -> Result<Check, Error> {
        let name = "the contract owes, has paid and holds what the ledger says";
        let mut tx = snapshot(self.db()).await?;
        let Some(cursor) = chain_logs::find_cursor(&mut tx, self.domain()).await? else {
            return Ok(Check { name, examined: 0, differences: Vec::new() });
        };
        let coin = Coin::Token(self.domain().chain_id, self.config().token);
        let owed = LedgerAccount::platform(AccountKind::Fx);
        let (owed, _) = transfers::coin_turnover(&mut tx, owed, &coin).await?;
        let held = LedgerAccount::platform(AccountKind::Distributor);
        let (funded, paid) = transfers::coin_turnover(&mut tx, held, &coin).await?;
        tx.rollback().await?;
        let at = At::Number(cursor.done.number);
        let (chain, contract, token) = (self.first(), self.contract(), theirs(self.config().token));
        let total = chain.view_at(contract, PayoutDistributor::totalCall {}, at).await?;
        let claimed = chain.view_at(contract, PayoutDistributor::totalClaimedCall {}, at).await?;
        let balance = chain.view_at(token, Erc20::balanceOfCall { account: contract }, at).await?;
        let told = [
            ("owes", amount(total), Some(owed)),
            ("has paid", amount(claimed), Some(paid)),
            ("holds", amount(balance), funded.checked_sub(paid)),
        ];
        let differs = |(what, theirs, ours): (&str, TokenAmount, Option<TokenAmount>)| {
            let ours_is = || ours.map_or_else(|| "less than nothing".to_owned(), |ours| ours.to_string());
            (ours != Some(theirs))
                .then(|| format!("at block {} it {what} {theirs}, the ledger says {}", cursor.done.number, ours_is()))
        };
        let examined = told.len() as u64;
        Ok(Check { name, examined, differences: told.into_iter().filter_map(differs).collect() })
    }
}
