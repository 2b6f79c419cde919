//! Whether the chain has what the ledger says.

use onchain::At;
use onchain::contract::{Erc20, PayoutDistributor, amount, theirs};
use protocol::token::TokenAmount;

use super::Ethereum;
use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::Coin;
use crate::reconcile::{Check, snapshot};
use crate::store::chain_logs::Cursor;
use crate::store::{chain, chain_logs, transfers};

/// What the books say of a coin that somebody holds: what came in and what went.
type Turnover = (TokenAmount, TokenAmount);

/// The same fact, there and here; here `None` for less than nothing.
struct Told {
    what: &'static str,
    block: u64,
    theirs: TokenAmount,
    ours: Option<TokenAmount>,
}

impl Ethereum {
    /// Compares what the contract owed, had paid and held at the last booked block with the books, and what treasury and
    /// gas wallet had. The treasury is compared where its account is set; the gas wallet while nothing is on its way.
    ///
    /// # Errors
    /// [`Error::Chain`]; [`Error::Database`].
    pub async fn compare(&self) -> Result<Check, Error> {
        let name = "contract, treasury and gas wallet have on the chain what the ledger says";
        let mut tx = snapshot(self.db()).await?;
        let Some(cursor) = chain_logs::find_cursor(&mut tx, self.domain()).await? else {
            return Ok(Check { name, examined: 0, differences: Vec::new() });
        };
        let coin = Coin::Token(self.domain().chain_id, self.config().token);
        let (owed, _) = transfers::coin_turnover(&mut tx, coin.position(), &coin).await?;
        let contract = LedgerAccount::platform(AccountKind::Distributor);
        let contract = transfers::coin_turnover(&mut tx, contract, &coin).await?;
        let treasury = transfers::coin_turnover(&mut tx, coin.held(), &coin).await?;
        let wallet = transfers::coin_turnover(&mut tx, Coin::Ether.held(), &Coin::Ether).await?;
        let is_sending = chain::find_open(&mut tx, self.sender()).await?.is_some();
        tx.rollback().await?;
        let mut told = self.contract_told(&cursor, owed, contract).await?;
        if let Some(account) = self.config().treasury {
            let at = At::Number(cursor.done.number);
            let has = self.first().view_at(
                theirs(self.config().token),
                Erc20::balanceOfCall { account: theirs(account) },
                at,
            );
            told.push(Told::of("the treasury has", cursor.done.number, amount(has.await?), left(treasury)));
        }
        // What is on its way may have been paid for and is not booked before it is final.
        if !is_sending {
            let last = self.horizon().await?.last.number();
            let wei = self.first().balance(self.account(), At::Number(last)).await?;
            told.push(Told::of("the gas wallet has", last, TokenAmount::from(wei), left(wallet)));
        }
        let examined = told.len() as u64;
        Ok(Check { name, examined, differences: told.iter().filter_map(Told::difference).collect() })
    }

    async fn contract_told(&self, cursor: &Cursor, owed: TokenAmount, held: Turnover) -> Result<Vec<Told>, Error> {
        let at = At::Number(cursor.done.number);
        let (chain, contract, token) = (self.first(), self.contract(), theirs(self.config().token));
        let total = chain.view_at(contract, PayoutDistributor::totalCall {}, at).await?;
        let claimed = chain.view_at(contract, PayoutDistributor::totalClaimedCall {}, at).await?;
        let balance = chain.view_at(token, Erc20::balanceOfCall { account: contract }, at).await?;
        Ok(vec![
            Told::of("the contract owes", cursor.done.number, amount(total), Some(owed)),
            Told::of("the contract has paid", cursor.done.number, amount(claimed), Some(held.1)),
            Told::of("the contract holds", cursor.done.number, amount(balance), left(held)),
        ])
    }
}

impl Told {
    const fn of(what: &'static str, block: u64, theirs: TokenAmount, ours: Option<TokenAmount>) -> Self {
        Self { what, block, theirs, ours }
    }

    fn difference(&self) -> Option<String> {
        let Self { what, block, theirs, ours } = self;
        let ours_is = || ours.map_or_else(|| "less than nothing".to_owned(), |ours| ours.to_string());
        (*ours != Some(*theirs)).then(|| format!("at block {block} {what} {theirs}, the ledger says {}", ours_is()))
    }
}

fn left((came, went): Turnover) -> Option<TokenAmount> {
    came.checked_sub(went)
}
