//! What payouts need of the world: a price, a word on who may be paid, a chain to pay on; and where a provider is paid.

mod change;

use std::collections::BTreeSet;

use futures_util::future::{BoxFuture, ready};
use protocol::merkle::Leaf;
use protocol::statement::PriceRef;
use protocol::token::TokenAmount;
use protocol::typed::Word;
use protocol::wallet::Address;
use protocol::{Id as _, NanoUsd, PayoutId, ProviderId, Timestamp};
use uuid::Uuid;

use crate::Error;

pub use change::{CHANGE_WAITS, cancel_change, request_change};

/// Says what the payout token is worth.
pub trait PriceReference: Send + Sync {
    /// The price at `at`.
    fn price(&self, at: Timestamp) -> BoxFuture<'_, Result<PriceRef, NoPrice>>;
}

/// Why there is no price.
#[derive(Debug)]
pub enum NoPrice {
    /// It is in doubt, in words: the epoch is held, never guessed.
    Doubtful(String),
    /// Whoever knows it can't be reached: it is asked for again.
    Away(Error),
}

/// Says who may be paid.
pub trait Screening: Send + Sync {
    /// Whether an account may be paid, as far as is known now.
    fn allows(&self, account: Address) -> BoxFuture<'_, Result<bool, Error>>;
}

/// A tree on its way to the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The number the contract expects.
    pub number: u64,
    /// Of the leaves.
    pub root: Word,
    /// Their sum.
    pub total: TokenAmount,
    /// Of the manifest.
    pub manifest_hash: Word,
    /// Where the manifest is public.
    pub uri: String,
}

/// What the contract says of a proposal, once that can't change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not there, or waits.
    Pending,
    /// It counts.
    Active,
    /// The guardian refused it.
    Vetoed,
}

/// Brings trees to the contract. Every call may be repeated.
pub trait PayoutRail: Send + Sync {
    /// Proposes a tree, unless it is proposed already.
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<(), Error>>;

    /// How a proposal stands.
    fn standing(&self, number: u64) -> BoxFuture<'_, Result<Standing, Error>>;

    /// Has these leaves, of the active tree, paid to their payees, and returns the providers whose whole sum is claimed.
    fn claim(&self, root: Word, leaves: Vec<(Leaf, Vec<Word>)>) -> BoxFuture<'_, Result<Vec<ProviderId>, Error>>;
}

/// A token that is worth a dollar.
#[derive(Debug, Clone, Copy)]
pub struct StableDollar {
    /// Digits behind its point.
    pub decimals: u8,
}

impl PriceReference for StableDollar {
    fn price(&self, at: Timestamp) -> BoxFuture<'_, Result<PriceRef, NoPrice>> {
        Box::pin(ready(Ok(PriceRef {
            source: "stable".to_owned(),
            usd_per_token: NanoUsd::from_dollars(1),
            decimals: self.decimals,
            observed_at: at.unix_seconds(),
        })))
    }
}

/// Accounts an operator does not pay.
#[derive(Debug, Clone, Default)]
pub struct Blocklist(pub BTreeSet<Address>);

impl Screening for Blocklist {
    fn allows(&self, account: Address) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(ready(Ok(!self.0.contains(&account))))
    }
}

/// The id of what an epoch owes a provider: both can be read from it by whoever knows one of them.
#[must_use]
pub fn payout_id(provider: ProviderId, epoch: u64) -> PayoutId {
    PayoutId::from_uuid(Uuid::from_u128(provider.uuid().as_u128() ^ u128::from(epoch)))
}

/// The epoch a provider's payout is of; `None` for an id that is none of its.
#[must_use]
pub fn epoch_of(provider: ProviderId, payout: PayoutId) -> Option<u64> {
    u64::try_from(payout.uuid().as_u128() ^ provider.uuid().as_u128()).ok().filter(|epoch| *epoch <= MAX_EPOCH)
}

/// More days than there will be: an id that says more is another provider's.
const MAX_EPOCH: u64 = 1 << 32;
