//! What can go wrong with money, one variant per answer a caller must give.

use protocol::bundle::Flaw;
use protocol::{CaseId, KeyId, NanoUsd, OfferId, OrganizationId, ProjectId, ProviderId, RefundId, RequestId, TopupId};

use crate::velocity::Limit;

/// Why money could not be set aside, booked or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account has less than is needed, even after idle money was called back.
    #[error("account {account} cannot cover {needed}")]
    CreditExhausted {
        /// Whose account.
        account: OrganizationId,
        /// What the hold asked for.
        needed: NanoUsd,
        /// What requests in flight hold, when that would cover the missing amount.
        held: Option<NanoUsd>,
    },
    /// The key's own limit leaves less than is needed.
    #[error("the limit of key {key} cannot cover {needed}")]
    KeyLimit {
        /// Which key.
        key: KeyId,
        /// What the hold asked for.
        needed: NanoUsd,
        /// What requests in flight hold, when that would cover the missing amount.
        held: Option<NanoUsd>,
    },
    /// The project's spend limit leaves less than is needed.
    #[error("the spend limit of project {project} cannot cover {needed}")]
    ProjectLimit {
        /// Which project.
        project: ProjectId,
        /// What the hold asked for.
        needed: NanoUsd,
        /// What requests in flight hold, when that would cover the missing amount.
        held: Option<NanoUsd>,
    },
    /// The organization's own spend limit leaves less than is needed.
    #[error("the spend limit of organization {organization} cannot cover {needed}")]
    OrganizationLimit {
        /// Which organization.
        organization: OrganizationId,
        /// What the hold asked for.
        needed: NanoUsd,
        /// What requests in flight hold, when that would cover the missing amount.
        held: Option<NanoUsd>,
    },
    /// The account may not borrow at all.
    #[error("account {account} is suspended")]
    Suspended {
        /// Whose account.
        account: OrganizationId,
    },
    /// The settle buffer is full or stuck; a new request could not be written down in time.
    #[error("{queued} settled requests wait to be written")]
    Overloaded {
        /// How many rows wait.
        queued: usize,
    },
    /// An id dated too far from now: its partition may not exist, so a duplicate could slip in.
    #[error("request id {request} is not dated near now")]
    RequestIdDate {
        /// The id.
        request: RequestId,
    },
    /// A price so high that its user price leaves the range of a price.
    #[error("the price of offer {offer} is out of range")]
    PriceOutOfRange {
        /// Which offer.
        offer: OfferId,
    },
    /// An occasion gives an account once; asked for another amount, one of the two is a mistake.
    #[error("the occasion {occasion:?} gave {account} {given} before, not {asked}; name another occasion to give more")]
    OccasionDiffers {
        /// To whom.
        account: OrganizationId,
        /// Its name.
        occasion: String,
        /// What it gave.
        given: NanoUsd,
        /// What was asked for now.
        asked: NanoUsd,
    },
    /// A cause the books know already, without what should have come of it: the operator must look.
    #[error("{cause} is booked already")]
    AlreadyBooked {
        /// Its id.
        cause: String,
    },
    /// No parked row of this request, or it was resolved before.
    #[error("no settlement of {request} waits in quarantine")]
    NotQuarantined {
        /// Which request.
        request: RequestId,
    },
    /// A parked row the books refuse again, or this binary can't read.
    #[error("the settlement of {request} can't be booked: {reason}")]
    StillRefused {
        /// Which request.
        request: RequestId,
        /// In the database's words.
        reason: String,
    },
    /// More or less credit than is sold at once, or a part of a cent.
    #[error("{amount} can't be bought; credit is sold in whole cents from {least} to {most}{}", first(*is_first))]
    TopupAmount {
        /// What was asked for.
        amount: NanoUsd,
        /// The least.
        least: NanoUsd,
        /// The most.
        most: NanoUsd,
        /// Whether it would be the first, which is smaller.
        is_first: bool,
    },
    /// A top-up that ended while its page was being made.
    #[error("{topup} ended before its page was made")]
    TopupGone {
        /// Which.
        topup: TopupId,
    },
    /// Another top-up whose payment is still being decided.
    #[error("{topup} is still being paid; another can be opened once it is decided")]
    TopupPending {
        /// Which.
        topup: TopupId,
    },
    /// More than an organization this young buys or saves in a day.
    #[error("{account} is young here and {limit}; try again tomorrow")]
    TooMuch {
        /// Whose account.
        account: OrganizationId,
        /// What is limited.
        limit: Limit,
    },
    /// A rule that charges a card by itself and can't be meant.
    #[error("{field} {reason}")]
    RechargeRule {
        /// What is at fault.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// No such saved card, or none at all.
    #[error("{account} has no such saved card; save one first")]
    NoCard {
        /// Whose account.
        account: OrganizationId,
    },
    /// A payment over there that is not what its top-up asked for: nothing is credited before a person looked.
    #[error("payment {payment} is not what was asked for: {reason}")]
    PaymentDiffers {
        /// The processor's name for it.
        payment: String,
        /// What is wrong.
        reason: String,
    },
    /// Less bought credit is left than shall go back.
    #[error("{asked} can't be refunded; {left} of what was bought by card is left")]
    NotRefundable {
        /// How much.
        asked: NanoUsd,
        /// How much could.
        left: NanoUsd,
    },
    /// A refund that was made over there for other money than is booked here.
    #[error("{refund} is not what was taken for it")]
    RefundDiffers {
        /// Which.
        refund: RefundId,
    },
    /// A dispute over there whose lines or status make no sense here: a person must look.
    #[error("dispute {dispute} can't be followed: {reason}")]
    DisputeDiffers {
        /// The processor's name for it.
        dispute: String,
        /// What is wrong.
        reason: String,
    },
    /// The card processor said no, and nothing was done.
    #[error("the card processor refused: {code}: {message}")]
    CardRefused {
        /// Its word for why.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// The card processor gave no answer that could be read: it may have been done. It is found out beside.
    #[error("the outcome of {key} at the card processor is not known yet")]
    CardUnknown {
        /// The call.
        key: String,
    },
    /// The card processor was used wrongly: for the operator.
    #[error("the card processor can't be used so: {reason}")]
    CardsMisused {
        /// What it said.
        reason: String,
    },
    /// The broker's secret for receipts is no secret.
    #[error("receipts.secret must be 64 hex digits; `openssl rand -hex 32` makes some")]
    ReceiptKey,
    /// An epoch that is somewhere else than a step needs it.
    #[error("epoch {epoch} is {state} and can't {wish}")]
    EpochState {
        /// Which.
        epoch: u64,
        /// How far it is.
        state: &'static str,
        /// What was asked of it.
        wish: &'static str,
    },
    /// Sums of an epoch that no amount can hold, or a signature of ours that is nobody's.
    #[error("epoch {epoch} does not add up")]
    EpochSum {
        /// Which.
        epoch: u64,
    },
    /// Documents that their reader would not believe.
    #[error("the payout of {provider} is not what it says: {flaw}")]
    Bundle {
        /// Whose.
        provider: ProviderId,
        /// What is wrong.
        flaw: Flaw,
    },
    /// Documents that can't be kept or read.
    #[error("a document can't be kept or read")]
    Artefacts(#[source] std::io::Error),
    /// A change of a payout account that does not hold.
    #[error("the payout account stays: {reason}")]
    PayoutChange {
        /// What is wrong.
        reason: String,
    },
    /// No case of that id waits for a decision.
    #[error("no case {case} is open")]
    NoCase {
        /// Which.
        case: CaseId,
    },
    /// Coins that can't be booked or valued so.
    #[error("{what}: {reason}")]
    Coins {
        /// What was asked for.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The chain payouts are made on can't be used now, or not like this.
    #[error(transparent)]
    Chain(#[from] onchain::Error),
    /// The ledger can't be reached now, and no lease covers the request.
    #[error("the ledger cannot be reached")]
    Database(#[from] sqlx::Error),
}

const fn first(is_first: bool) -> &'static str {
    if is_first { " the first time" } else { "" }
}

impl Error {
    /// True when less money would have been enough.
    #[must_use]
    pub const fn is_about_money(&self) -> bool {
        matches!(
            self,
            Self::CreditExhausted { .. }
                | Self::KeyLimit { .. }
                | Self::ProjectLimit { .. }
                | Self::OrganizationLimit { .. }
        )
    }
}
