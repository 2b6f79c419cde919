//! Money set aside for one request, in memory, on leases.

use std::sync::Arc;

use protocol::{KeyId, LeaseId, NanoUsd, OrganizationId, ProjectId, RequestId, Timestamp};

use crate::lease::keeper::Keeper;
use crate::lease::{Purse, Take};
use crate::outcome::{self, AttemptUsage};
use crate::settle::{Ack, Buffer, Entry};
use crate::store::rows::{AttemptRow, UsageRow};

/// Who asks for how much.
#[derive(Debug, Clone, Copy)]
pub struct HoldRequest {
    /// The call the money is for: one request settles once.
    pub request: RequestId,
    /// Who pays.
    pub organization: OrganizationId,
    /// Whose spend limit counts.
    pub project: ProjectId,
    /// Whose limit counts.
    pub key: KeyId,
    /// The most the request may come to cost.
    pub ceiling: NanoUsd,
}

/// How a request ended, for the books.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The model the user asked for and got.
    pub model: String,
    /// Every dispatch, in order, failed ones too.
    pub attempts: Vec<AttemptUsage>,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// Why the answer ended, as the user was told.
    pub finish_reason: Option<String>,
    /// Why it ended, in the engine's words.
    pub native_finish_reason: Option<String>,
    /// When the request came.
    pub received_at: Timestamp,
    /// When its first output was there.
    pub first_output_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The service tier that applied: `flex`, `default` or `priority`.
    pub service_tier: Option<String>,
    /// What was considered when it was placed, for a user who asked for it.
    pub routing: Option<serde_json::Value>,
}

/// The account, and the limits of key, project and organization.
pub(crate) const PARTS: usize = 4;

/// Which lease a part of a hold lies on; `None` where no limit binds.
pub(crate) type Parts = [Option<(Arc<Purse>, LeaseId)>; PARTS];

/// Money set aside for one request, from its account and every limit above it. Settle it when the request
/// ends; dropped, as by a client that left before anything was spent or by a panic, it frees the money.
pub struct LeaseHold {
    who: HoldRequest,
    amount: NanoUsd,
    parts: Parts,
    keeper: Arc<Keeper>,
    buffer: Arc<Buffer>,
    open: bool,
}

impl LeaseHold {
    pub(crate) fn new(who: HoldRequest, parts: Parts, keeper: Arc<Keeper>, buffer: Arc<Buffer>) -> Self {
        Self { who, amount: who.ceiling, parts, keeper, buffer, open: true }
    }

    /// What is set aside; a charge never passes it.
    #[must_use]
    pub fn amount(&self) -> NanoUsd {
        self.amount
    }

    /// Who asked, and for what.
    #[must_use]
    pub fn who(&self) -> &HoldRequest {
        &self.who
    }

    /// The request it is for.
    #[must_use]
    pub fn request(&self) -> RequestId {
        self.who.request
    }

    /// Sets `extra` more aside, from what is lent already: it never waits. False, and nothing changed, when
    /// a part has too little left; more is then borrowed in the background, so that asking again a little
    /// later may succeed.
    pub fn extend(&mut self, extra: NanoUsd) -> bool {
        let Some(amount) = self.amount.checked_add(extra) else { return false };
        let now = self.keeper.env.now();
        let parts = || self.parts.iter().flatten();
        let short = parts().position(|(purse, lease)| !purse.extend(*lease, extra.nano(), now));
        if let Some(short) = short {
            for (purse, lease) in parts().take(short) {
                purse.give_back(*lease, extra.nano(), 0);
            }
            if let Some((purse, _)) = parts().nth(short) {
                self.keeper.call(purse);
            }
            return false;
        }
        self.amount = amount;
        true
    }

    /// Charges what the request came to, frees the rest, and queues the booking.
    ///
    /// The charge is [`outcome::judge`]'s, with this hold as its bound: calling that before with
    /// [`LeaseHold::amount`] tells the same figures.
    pub fn settle(mut self, settlement: Settlement) -> Ack {
        let judged = outcome::judge(&settlement.attempts, self.amount);
        let lease = |part: usize| self.parts[part].as_ref().map(|(_, lease)| *lease);
        let attempts = settlement.attempts.into_iter().zip(judged.earnings).map(|(attempt, earning)| AttemptRow {
            attempt: attempt.attempt,
            provider: attempt.provider,
            node: attempt.node,
            offer: attempt.price.offer,
            price_version: attempt.price.version,
            outcome: attempt.outcome,
            earning,
            counted_by: attempt.counted_by,
            units: attempt.units,
            reread: attempt.reread,
            status: attempt.status,
            error_code: attempt.error_code,
            started_at: attempt.started_at,
            first_output_at: attempt.first_output_at,
            finished_at: attempt.finished_at,
        });
        let row = UsageRow {
            request: self.who.request,
            account: self.who.organization,
            project: self.who.project,
            key: self.who.key,
            lease: lease(0),
            key_lease: lease(1),
            project_lease: lease(2),
            organization_lease: lease(3),
            outcome: judged.outcome,
            hold: self.amount,
            charge: judged.charge,
            clamped: judged.clamped,
            units: judged.units,
            model: settlement.model,
            streamed: settlement.streamed,
            finish_reason: settlement.finish_reason,
            native_finish_reason: settlement.native_finish_reason,
            received_at: settlement.received_at,
            first_output_at: settlement.first_output_at,
            finished_at: settlement.finished_at,
            service_tier: settlement.service_tier,
            routing: settlement.routing,
            attempts: attempts.collect(),
        };
        self.free(judged.charge);
        let parts = std::mem::take(&mut self.parts);
        self.buffer.push(Entry::new(row, parts, self.keeper.env.now()))
    }

    fn free(&mut self, charge: NanoUsd) {
        self.open = false;
        free(&self.keeper, &self.parts, self.amount, charge);
    }
}

impl Drop for LeaseHold {
    fn drop(&mut self) {
        if self.open {
            self.free(NanoUsd::ZERO);
        }
    }
}

fn free(keeper: &Keeper, parts: &Parts, amount: NanoUsd, charge: NanoUsd) {
    for (purse, lease) in parts.iter().flatten() {
        if purse.give_back(*lease, amount.nano(), charge.nano()) {
            keeper.call(purse);
        }
    }
}

/// Parts of a hold that is not complete yet: dropped, what was taken goes back.
pub(crate) struct Taking<'a> {
    keeper: &'a Keeper,
    amount: NanoUsd,
    parts: Parts,
}

impl<'a> Taking<'a> {
    pub fn new(keeper: &'a Keeper, amount: NanoUsd) -> Self {
        Self { keeper, amount, parts: Parts::default() }
    }

    /// Takes a part if its purse has it now. False when the ledger has to be asked.
    pub fn try_take(&mut self, part: usize, purse: Arc<Purse>, now: Timestamp) -> Result<(), Arc<Purse>> {
        match purse.take(self.amount.nano(), now) {
            Take::Taken { lease, refresh } => {
                if refresh {
                    self.keeper.call(&purse);
                }
                self.parts[part] = Some((purse, lease));
                Ok(())
            }
            Take::Unlimited => Ok(()),
            Take::Short | Take::Retired => Err(purse),
        }
    }

    pub fn set(&mut self, part: usize, purse: Arc<Purse>, lease: LeaseId) {
        self.parts[part] = Some((purse, lease));
    }

    pub fn complete(mut self) -> Parts {
        std::mem::take(&mut self.parts)
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        free(self.keeper, &self.parts, self.amount, NanoUsd::ZERO);
    }
}
