//! The steps of an epoch. Each may be repeated: one that is done already changes nothing.

use std::collections::HashMap;

use platform::outbox;
use protocol::event::Event;
use protocol::merkle::Tree;
use protocol::payout::parse_account;
use protocol::statement::{Document as _, Sealed, Statement, Waiting};
use protocol::token::TokenAmount;
use protocol::{NanoUsd, ProviderId, Timestamp, TransferId};
use sqlx::PgConnection;

use super::{Epochs, is_over};
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{Cause, Posting, Transfer};
use crate::payout::{NoPrice, PayoutRail, Proposal, Standing, payout_id};
use crate::statement::{self, Built, Input, Owed, Receipts};
use crate::store::epochs::{self, Epoch, EpochState, Frozen};
use crate::store::{payees, payout_accounts, transfers};
use crate::{Error, calendar};

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// The epoch is further than before.
    Moved,
    /// It waits: for its time, an earlier epoch, the chain, or a person.
    Stayed,
}

impl Epochs {
    /// Decides what an epoch pays, and opens the next. One whose tree was refused is decided anew.
    ///
    /// # Errors
    /// [`Error::EpochState`] when it is proposed or active; [`Error::Database`].
    pub async fn freeze(&self, number: u64, now: Timestamp) -> Result<Stepped, Error> {
        let mut tx = self.receipts.db().begin().await?;
        let epoch = claim(&mut tx, number).await?;
        match epoch.state {
            EpochState::Open if !is_over(&epoch, now) => return Ok(Stepped::Stayed),
            EpochState::Proposed | EpochState::Active => return Err(unfit(&epoch, "be frozen")),
            EpochState::Open => epochs::set_state(&mut tx, number, EpochState::Frozen, None, now).await?,
            EpochState::Frozen | EpochState::Priced | EpochState::Built | EpochState::Held => {
                epochs::clear(&mut tx, number, false).await?;
            }
        }
        self.decide(&mut tx, &epoch, now).await?;
        if epoch.state == EpochState::Open {
            let floor = epochs::find_floor(&mut tx, &epoch).await?;
            let today = calendar::day_of(now).max(calendar::day_of(epoch.ends_at));
            epochs::open(&mut tx, epoch.ends_at, calendar::midnight(today + 1), floor).await?;
        }
        tx.commit().await?;
        Ok(Stepped::Moved)
    }

    /// Takes in what is released, and writes down who is paid and who can't be.
    async fn decide(&self, conn: &mut PgConnection, epoch: &Epoch, now: Timestamp) -> Result<(), Error> {
        let providers = epochs::take(conn, epoch).await?;
        let current = payout_accounts::list_current(conn, &providers, now).await?;
        let accounts: HashMap<ProviderId, (String, bool)> =
            current.into_iter().map(|(provider, account, pending)| (provider, (account, pending))).collect();
        let chain_id = self.receipts.domain().chain_id;
        let mut frozen = Vec::new();
        for payee in payees::claim(conn, &providers).await? {
            let (text, is_pending) = accounts.get(&payee.provider).map_or(("", false), |(text, p)| (text, *p));
            let account = parse_account(text).filter(|(chain, _)| *chain == chain_id).map(|(_, address)| address);
            let blocked = match account {
                _ if is_pending => Some(Waiting::PayeeChange),
                None => Some(Waiting::NoPayee),
                Some(account) if self.screening.allows(account).await? => None,
                Some(_) => Some(Waiting::Screening),
            };
            frozen.push(Frozen { provider: payee.provider, wallet: payee.wallet, account, blocked });
        }
        epochs::insert_frozen(conn, epoch.number, &frozen).await?;
        Ok(())
    }

    /// Asks what a token is worth. In doubt the epoch is held.
    ///
    /// # Errors
    /// [`Error::EpochState`] when it is not frozen; [`Error::Database`].
    pub async fn price(&self, number: u64, now: Timestamp) -> Result<Stepped, Error> {
        let mut tx = self.receipts.db().begin().await?;
        let epoch = claim(&mut tx, number).await?;
        if epoch.state != EpochState::Frozen {
            return Err(unfit(&epoch, "be priced"));
        }
        // As of its end, whenever that is asked: the same freeze has the same price.
        match self.prices.price(epoch.ends_at).await {
            Ok(price) => {
                epochs::set_price(&mut tx, number, &price).await?;
                epochs::set_state(&mut tx, number, EpochState::Priced, None, now).await?;
            }
            Err(NoPrice::Away(error)) => return Err(error),
            Err(NoPrice::Doubtful(reason)) => {
                tracing::warn!(epoch = number, %reason, "an epoch is held: the token's price is in doubt");
                epochs::set_state(&mut tx, number, EpochState::Held, Some(&reason), now).await?;
            }
        }
        tx.commit().await?;
        Ok(Stepped::Moved)
    }

    /// What a priced epoch would come to, without writing it.
    ///
    /// # Errors
    /// [`Error::EpochState`] when it is not priced, or an earlier one is not active; [`Error::Database`].
    pub async fn rehearse(&self, number: u64) -> Result<Built, Error> {
        let mut tx = self.receipts.db().begin().await?;
        let epoch = claim(&mut tx, number).await?;
        let input =
            self.input(&mut tx, &epoch).await?.ok_or_else(|| unfit(&epoch, "be built before those before it"))?;
        built(&input)
    }

    /// Makes an epoch's documents and keeps them.
    ///
    /// # Errors
    /// [`Error::EpochState`] when it is not priced; [`Error::EpochSum`]; [`Error::Artefacts`]; [`Error::Database`].
    pub async fn build(&self, number: u64, now: Timestamp) -> Result<Stepped, Error> {
        let mut tx = self.receipts.db().begin().await?;
        let epoch = claim(&mut tx, number).await?;
        let Some(input) = self.input(&mut tx, &epoch).await? else { return Ok(Stepped::Stayed) };
        let built = built(&input)?;
        let (key, domain) = (self.receipts.key(), self.receipts.domain());
        let manifest = built.manifest.clone().seal(key, domain);
        let seal = |statement: &Statement| statement.clone().seal(key, domain);
        let statements: Vec<Sealed<Statement>> = built.statements.iter().map(seal).collect();
        epochs::set_built(&mut tx, &manifest, &statements).await?;
        self.keep(&mut tx, &built, &manifest, &statements).await?;
        tx.commit().await?;
        let (total, providers) = (manifest.document.total, statements.len());
        tracing::info!(epoch = number, %total, providers, at = %now.rfc3339(), "an epoch is built");
        Ok(Stepped::Moved)
    }

    /// Everything an epoch is built from; `None` while one before it is not active.
    async fn input(&self, conn: &mut PgConnection, epoch: &Epoch) -> Result<Option<Input>, Error> {
        let (EpochState::Priced, Some(price)) = (epoch.state, epoch.price.clone()) else {
            return Err(unfit(epoch, "be built"));
        };
        let Some(next_proposal) = epochs::find_next_proposal(conn, epoch.number).await? else { return Ok(None) };
        let mut providers = Vec::new();
        for frozen in epochs::list_frozen(conn, epoch.number).await? {
            let last = epochs::find_last(conn, epoch.number, frozen.provider).await?;
            providers.push(Owed {
                provider: frozen.provider,
                wallet: frozen.wallet,
                account: frozen.account,
                blocked: frozen.blocked,
                receipts: self.receipts_of(conn, epoch.number, frozen.provider).await?,
                adjustments: epochs::list_adjustments(conn, epoch.number, frozen.provider).await?,
                last: last.map(|last| epochs::last(&last.document)),
            });
        }
        Ok(Some(Input {
            epoch: epoch.number,
            next_proposal,
            domain: *self.receipts.domain(),
            ends_at: epoch.ends_at.unix_seconds(),
            price,
            min_payout: self.config.min_payout(),
            signer: self.receipts.signer(),
            leaves: epochs::list_leaves(conn, epoch.number).await?,
            providers,
        }))
    }

    /// The receipts of one provider, in short.
    async fn receipts_of(&self, conn: &mut PgConnection, epoch: u64, provider: ProviderId) -> Result<Receipts, Error> {
        let issued = epochs::list_items(conn, epoch, provider).await?;
        let summing = tokio::task::spawn_blocking(move || super::bundle::summary(&issued));
        summing.await.unwrap_or(None).ok_or(Error::EpochSum { epoch })
    }

    /// Hands a built epoch's tree to the contract. One whose tree stayed as it was counts at once.
    ///
    /// # Errors
    /// [`Error::EpochState`] when it is not built; what the rail says.
    pub async fn propose(&self, number: u64, now: Timestamp) -> Result<Stepped, Error> {
        let mut tx = self.receipts.db().begin().await?;
        let epoch = claim(&mut tx, number).await?;
        let (EpochState::Built, Some(manifest)) = (epoch.state, &epoch.manifest) else {
            return Err(unfit(&epoch, "be proposed"));
        };
        let Some(proposal) = manifest.document.proposal else {
            self.activate(&mut tx, number, now).await?;
            tx.commit().await?;
            return Ok(Stepped::Moved);
        };
        let Some(rail) = &self.rail else { return Ok(Stepped::Stayed) };
        let proposal = Proposal {
            number: proposal,
            root: manifest.document.leaves_root,
            total: manifest.document.total,
            manifest_hash: manifest.document.hash(),
            uri: format!("/v1/epochs/{number}/manifest"),
        };
        // Before the row says so: dying in between, it is proposed again, which changes nothing.
        rail.propose(proposal).await?;
        epochs::set_state(&mut tx, number, EpochState::Proposed, None, now).await?;
        tx.commit().await?;
        Ok(Stepped::Moved)
    }

    /// Asks the contract what became of a proposed tree: active, it is booked and claimed; refused, the epoch is decided
    /// anew.
    ///
    /// # Errors
    /// [`Error::EpochState`] when it is not proposed; what the rail says.
    pub async fn settle(&self, number: u64, now: Timestamp) -> Result<Stepped, Error> {
        let Some(rail) = &self.rail else { return Ok(Stepped::Stayed) };
        let mut tx = self.receipts.db().begin().await?;
        let epoch = claim(&mut tx, number).await?;
        let proposal = epoch.manifest.as_ref().and_then(|manifest| manifest.document.proposal);
        let (EpochState::Proposed, Some(proposal)) = (epoch.state, proposal) else {
            return Err(unfit(&epoch, "be settled"));
        };
        let standing = rail.standing(proposal).await?;
        match standing {
            Standing::Pending => return Ok(Stepped::Stayed),
            Standing::Active => {
                self.activate(&mut tx, number, now).await?;
                // Before the row says so: dying in between, they are asked for again, which changes nothing.
                self.claim_all(&**rail, number, now).await?;
            }
            Standing::Vetoed => self.refuse(&mut tx, &epoch, now).await?,
        }
        tx.commit().await?;
        Ok(Stepped::Moved)
    }

    /// Takes a tree back that the guardian refused, by hand.
    ///
    /// # Errors
    /// [`Error::EpochState`] when it is not proposed; [`Error::Database`].
    pub async fn veto(&self, number: u64, now: Timestamp) -> Result<Stepped, Error> {
        let mut tx = self.receipts.db().begin().await?;
        let epoch = claim(&mut tx, number).await?;
        if epoch.state != EpochState::Proposed {
            return Err(unfit(&epoch, "be refused"));
        }
        self.refuse(&mut tx, &epoch, now).await?;
        tx.commit().await?;
        Ok(Stepped::Moved)
    }

    /// Holds an epoch for a person to look at. [`Epochs::freeze`] lets it go again.
    ///
    /// # Errors
    /// [`Error::EpochState`] when it is open, proposed or active; [`Error::Database`].
    pub async fn hold(&self, number: u64, reason: &str, now: Timestamp) -> Result<Stepped, Error> {
        let mut tx = self.receipts.db().begin().await?;
        let epoch = claim(&mut tx, number).await?;
        match epoch.state {
            EpochState::Held => return Ok(Stepped::Stayed),
            EpochState::Open | EpochState::Proposed | EpochState::Active => return Err(unfit(&epoch, "be held")),
            EpochState::Frozen | EpochState::Priced | EpochState::Built => {
                epochs::clear(&mut tx, number, false).await?;
                epochs::set_state(&mut tx, number, EpochState::Held, Some(reason), now).await?;
            }
        }
        tx.commit().await?;
        Ok(Stepped::Moved)
    }

    async fn refuse(&self, conn: &mut PgConnection, epoch: &Epoch, now: Timestamp) -> Result<(), Error> {
        tracing::warn!(epoch = epoch.number, "the guardian refused an epoch's tree; it is decided anew");
        epochs::clear(conn, epoch.number, true).await?;
        self.decide(conn, epoch, now).await
    }

    /// From now on it counts: what was turned into tokens is owed in dollars no more.
    async fn activate(&self, conn: &mut PgConnection, number: u64, now: Timestamp) -> Result<(), Error> {
        let statements = epochs::list_statements(conn, number).await?;
        let postings: Vec<Posting> = statements.iter().filter_map(|sealed| posting(&sealed.document)).collect();
        if !postings.is_empty() {
            let id: TransferId = self.receipts.env().mint();
            transfers::book(conn, &Transfer { id, cause: Cause::Epoch(number), postings }).await?;
        }
        epochs::set_state(conn, number, EpochState::Active, None, now).await?;
        Ok(())
    }

    /// Has everybody paid whom the active tree owes something. Those that can't be are asked for again with the next
    /// tree; anybody may claim for them meanwhile.
    async fn claim_all(&self, rail: &dyn PayoutRail, number: u64, now: Timestamp) -> Result<(), Error> {
        let mut conn = self.receipts.db().acquire().await?;
        let unclaimed = epochs::list_unclaimed(&mut conn, number).await?;
        let leaves = epochs::list_leaves(&mut conn, number + 1).await?;
        let domain = self.receipts.domain();
        let tree = Tree::of(leaves.iter().map(|leaf| leaf.hash(domain)).collect());
        let due = leaves.into_iter().filter(|leaf| unclaimed.contains(&leaf.provider));
        let due = due.filter_map(|leaf| Some((leaf, tree.proof(&leaf.hash(domain))?))).collect::<Vec<_>>();
        if due.is_empty() {
            return Ok(());
        }
        drop(conn);
        let paid = rail.claim(tree.root(), due).await?;
        let mut tx = self.receipts.db().begin().await?;
        for (epoch, provider) in epochs::set_claimed(&mut tx, number, &paid, now).await? {
            let event = Event::PayoutPaid { provider, payout: payout_id(provider, epoch) };
            outbox::append(&mut tx, self.receipts.env().mint(), &event, now).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn claim(conn: &mut PgConnection, number: u64) -> Result<Epoch, Error> {
    epochs::claim(conn, number).await?.ok_or(Error::EpochState { epoch: number, state: "unknown", wish: "be moved" })
}

fn unfit(epoch: &Epoch, wish: &'static str) -> Error {
    Error::EpochState { epoch: epoch.number, state: epoch.state.as_str(), wish }
}

fn built(input: &Input) -> Result<Built, Error> {
    statement::build(input).ok_or(Error::EpochSum { epoch: input.epoch })
}

/// The dollars a statement turned into tokens.
fn posting(statement: &Statement) -> Option<Posting> {
    if statement.tokens == TokenAmount::ZERO {
        return None;
    }
    let used: NanoUsd = statement.due()?.checked_sub(statement.carried_out)?;
    Posting::new(LedgerAccount::payable(statement.provider), LedgerAccount::platform(AccountKind::Fx), used)
}
