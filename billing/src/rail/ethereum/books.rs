//! What the chain can't take back, as the ledger has it.

use platform::outbox;
use protocol::event::Event;
use protocol::typed::Word;
use protocol::{Timestamp, TransferId};
use sqlx::PgConnection;

use super::Ethereum;
use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{Cause, Coin, CoinPosting, CoinTransfer};
use crate::payout::payout_id;
use crate::store::chain_logs::{Fact, Logged};
use crate::store::{epochs, transfers};

impl Ethereum {
    /// Books one fact. One that is booked already changes nothing.
    pub(super) async fn book(&self, conn: &mut PgConnection, log: &Logged, now: Timestamp) -> Result<(), Error> {
        let distributor = LedgerAccount::platform(AccountKind::Distributor);
        let cause = Cause::Chain(Word(log.tx), log.index);
        match &log.fact {
            Fact::Funded { amount, .. } => {
                let treasury = LedgerAccount::platform(AccountKind::Treasury);
                self.book_tokens(conn, cause, vec![CoinPosting::new(distributor, treasury, *amount)]).await
            }
            Fact::Activated { number, root, manifest_hash, .. } => {
                self.book_epoch(conn, *number, *root, *manifest_hash).await
            }
            Fact::Claimed { number, provider, amount, .. } => {
                let posting = CoinPosting::new(LedgerAccount::payable(*provider), distributor, *amount);
                self.book_tokens(conn, cause, vec![posting]).await?;
                let Some(epoch) = epochs::find_by_proposal(conn, *number).await? else { return Ok(()) };
                for (epoch, provider) in epochs::set_claimed(conn, epoch.number, &[*provider], now).await? {
                    let event = Event::PayoutPaid { provider, payout: payout_id(provider, epoch) };
                    outbox::append(conn, self.env().mint(), &event, now).await?;
                }
                Ok(())
            }
            Fact::ClaimFailed { provider, payee, reason } => {
                tracing::warn!(%provider, %payee, reason, "a provider could not be paid; the next tree asks again");
                metrics::counter!("steelyard_billing_chain_claims_failed_total").increment(1);
                Ok(())
            }
            Fact::Proposed { .. } | Fact::Vetoed { .. } => Ok(()),
        }
    }

    /// What an epoch owes in tokens from now on. A tree that is not ours makes no debt of ours.
    async fn book_epoch(&self, conn: &mut PgConnection, number: u64, root: Word, hash: Word) -> Result<(), Error> {
        let is_ours = self.is_ours(conn, number, root, hash).await?;
        let Some(epoch) = epochs::find_by_proposal(conn, number).await?.filter(|_| is_ours) else {
            tracing::error!(number, %root, "a tree is active that is not ours");
            metrics::gauge!("steelyard_billing_chain_foreign_root").set(1.0);
            return Ok(());
        };
        let fx = LedgerAccount::platform(AccountKind::Fx);
        let statements = epochs::list_statements(conn, epoch.number).await?;
        let owed = statements.iter().map(|sealed| &sealed.document);
        let postings =
            owed.map(|owed| CoinPosting::new(fx, LedgerAccount::payable(owed.provider), owed.tokens)).collect();
        self.book_tokens(conn, Cause::EpochTokens(epoch.number), postings).await
    }

    async fn book_tokens(
        &self,
        conn: &mut PgConnection,
        cause: Cause,
        postings: Vec<Option<CoinPosting>>,
    ) -> Result<(), Error> {
        let postings: Vec<CoinPosting> = postings.into_iter().flatten().collect();
        if postings.is_empty() {
            return Ok(());
        }
        let id: TransferId = self.env().mint();
        let coin = Coin::Token(self.domain().chain_id, self.config().token);
        transfers::book_coins(conn, &CoinTransfer { id, cause, coin, postings }).await?;
        Ok(())
    }
}
