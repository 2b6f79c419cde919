//! Who pays and who earns, by how each attempt ended. Pure: the same facts give the same money.

use std::sync::Arc;

use protocol::{AttemptId, NanoUsd, NodeId, OfferId, ProviderId, Timestamp, Units};
use serde::{Deserialize, Serialize};

use crate::price_book::PriceRow;

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The engine finished its answer.
    Completed,
    /// The answer reached its length limit.
    Length,
    /// The engine's own filter ended the answer.
    ContentFilter,
    /// The user went away.
    ClientLeft,
    /// The provider failed, before or after output.
    ProviderFailed,
    /// The gateway failed, so nobody saw what the provider did.
    GatewayFault,
    /// The broker stopped an attempt that was doing nothing wrong: a lost hedge, a forced drain.
    Cancelled,
    /// The broker's own request on an active offer.
    Canary,
    /// The broker's own request on an offer that is not active yet.
    Probe,
}

/// Who counted the units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedBy {
    /// The engine, in the usage it sent; the gateway checked it.
    Upstream,
    /// The gateway, since the engine sent none.
    Gateway,
}

/// Which expense an earning is booked under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostKind {
    /// Work that a user pays for.
    ProviderCost,
    /// Work that the platform made useless.
    FaultCost,
    /// Work that the platform ordered.
    AuditCost,
}

/// One dispatch to one provider, and what it used.
#[derive(Debug, Clone)]
pub struct AttemptUsage {
    /// Which attempt.
    pub attempt: AttemptId,
    /// Who earns.
    pub provider: ProviderId,
    /// The machine.
    pub node: NodeId,
    /// The price, pinned at dispatch; it names offer and version.
    pub price: Arc<PriceRow>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was read, and what was made and delivered. `request` is one where the price per request applies.
    pub units: Units,
    /// Tokens of text made by an earlier attempt that this one had to read again to continue it,
    /// not part of `units`.
    pub reread: u32,
    /// Who counted.
    pub counted_by: CountedBy,
    /// The provider's HTTP status, when there was one.
    pub status: Option<u16>,
    /// Our name for what went wrong, when something did.
    pub error_code: Option<String>,
    /// When it was dispatched.
    pub started_at: Timestamp,
    /// When its first output arrived.
    pub first_output_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// What one attempt earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earning {
    /// For its units, at its price, rounded down.
    pub earned: NanoUsd,
    /// Which expense that is.
    pub cost_kind: CostKind,
    /// For text it had to read again, always a [`CostKind::FaultCost`].
    pub reread: NanoUsd,
}

/// What a request costs its user and brings its providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// How the request as a whole ended.
    pub outcome: Outcome,
    /// What the user pays, never more than was set aside.
    pub charge: NanoUsd,
    /// What the hold did not cover: the platform's loss.
    pub clamped: NanoUsd,
    /// What the user pays for, by class.
    pub units: Units,
    /// One per attempt, in the same order.
    pub earnings: Vec<Earning>,
}

impl Outcome {
    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::ClientLeft => "client_left",
            Self::ProviderFailed => "provider_failed",
            Self::GatewayFault => "gateway_fault",
            Self::Cancelled => "cancelled",
            Self::Canary => "canary",
            Self::Probe => "probe",
        }
    }

    /// Reads a stored name.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        use Outcome as O;
        [
            O::Completed,
            O::Length,
            O::ContentFilter,
            O::ClientLeft,
            O::ProviderFailed,
            O::GatewayFault,
            O::Cancelled,
            O::Canary,
            O::Probe,
        ]
        .into_iter()
        .find(|o| o.as_str() == text)
    }

    /// True when the user got what was asked for, or left before getting it all.
    #[must_use]
    pub const fn is_delivered(self) -> bool {
        matches!(self, Self::Completed | Self::Length | Self::ContentFilter | Self::ClientLeft)
    }
}

impl CountedBy {
    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

impl CostKind {
    /// The name, as stored; also the kind of the ledger account.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderCost => "provider_cost",
            Self::FaultCost => "fault_cost",
            Self::AuditCost => "audit_cost",
        }
    }
}

impl AttemptUsage {
    /// The offer its price belongs to.
    #[must_use]
    pub fn offer(&self) -> OfferId {
        self.price.offer
    }
}

/// Decides charge and earnings of a request from its attempts, in the order they were dispatched.
///
/// The attempt that delivered decides. It is charged and paid for its prompt and its output. Text that
/// failed attempts before it had delivered and it continued is charged and paid at each maker's price;
/// the prompt is charged once, to the one that finished, which also earns for reading that text again.
/// When nothing was delivered in the end, the user pays nothing, and failed attempts earn nothing.
/// `hold` bounds the charge; earnings are paid in full all the same.
#[must_use]
pub fn judge(attempts: &[AttemptUsage], hold: NanoUsd) -> Judgement {
    let deciding = attempts.iter().rposition(|a| a.outcome.is_delivered());
    let continued = deciding.is_some_and(|at| attempts[at].reread > 0);
    let mut pico = 0_i128;
    let mut units = Units::default();
    let mut earnings = Vec::with_capacity(attempts.len());
    for (at, attempt) in attempts.iter().enumerate() {
        let finisher = deciding == Some(at);
        let continued_by_later = continued && deciding.is_some_and(|end| at < end);
        let (charged, cost_kind, paid) = match attempt.outcome {
            _ if finisher => (attempt.units, CostKind::ProviderCost, attempt.units),
            Outcome::ProviderFailed if continued_by_later => {
                let made = output_only(&attempt.units);
                (made, CostKind::ProviderCost, made)
            }
            Outcome::GatewayFault | Outcome::Cancelled => (Units::default(), CostKind::FaultCost, attempt.units),
            // A second delivery can only be a hedge both of whose halves finished: one is enough for the user.
            Outcome::Completed | Outcome::Length | Outcome::ContentFilter | Outcome::ClientLeft => {
                (Units::default(), CostKind::FaultCost, attempt.units)
            }
            Outcome::Canary => (Units::default(), CostKind::AuditCost, attempt.units),
            Outcome::Probe => (Units::default(), CostKind::AuditCost, Units::default()),
            Outcome::ProviderFailed => (Units::default(), CostKind::ProviderCost, Units::default()),
        };
        pico = pico.saturating_add(attempt.price.user.pico(&charged));
        units = add(&units, &charged);
        let reread = Units { prompt: if finisher { attempt.reread } else { 0 }, ..Units::default() };
        earnings.push(Earning {
            earned: attempt.price.provider.earning(&paid).unwrap_or(NanoUsd::MAX),
            cost_kind,
            reread: attempt.price.provider.earning(&reread).unwrap_or(NanoUsd::MAX),
        });
    }
    let due = half_up(pico);
    let charge = due.min(hold);
    Judgement {
        outcome: deciding.or(attempts.len().checked_sub(1)).map_or(Outcome::GatewayFault, |at| attempts[at].outcome),
        charge,
        clamped: due.saturating_sub(charge),
        units,
        earnings,
    }
}

/// The units an attempt of a known earning was paid for: those its outcome names, in the table of [`judge`].
#[must_use]
pub fn paid(outcome: Outcome, earned: NanoUsd, units: Units) -> Units {
    match outcome {
        Outcome::Probe => Units::default(),
        // Paid only where another went on with its text, and then for that alone.
        Outcome::ProviderFailed if earned.is_zero() => Units::default(),
        Outcome::ProviderFailed => output_only(&units),
        Outcome::Completed
        | Outcome::Length
        | Outcome::ContentFilter
        | Outcome::ClientLeft
        | Outcome::GatewayFault
        | Outcome::Cancelled
        | Outcome::Canary => units,
    }
}

/// The one rounding of a charge, over all attempts together; past the largest amount, the largest.
fn half_up(pico: i128) -> NanoUsd {
    i64::try_from((pico + 500) / 1_000).ok().and_then(NanoUsd::new).unwrap_or(NanoUsd::MAX)
}

/// What an attempt made, without what it read or the price per request.
fn output_only(units: &Units) -> Units {
    Units { completion: units.completion, internal_reasoning: units.internal_reasoning, ..Units::default() }
}

fn add(a: &Units, b: &Units) -> Units {
    Units {
        prompt: a.prompt.saturating_add(b.prompt),
        cached_prompt: a.cached_prompt.saturating_add(b.cached_prompt),
        cache_write: a.cache_write.saturating_add(b.cache_write),
        completion: a.completion.saturating_add(b.completion),
        internal_reasoning: a.internal_reasoning.saturating_add(b.internal_reasoning),
        request: a.request.saturating_add(b.request),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::{Id, Price, Prices};
    use uuid::Uuid;

    fn row(prompt: i64, completion: i64, bps: u32) -> Arc<PriceRow> {
        let provider = Prices {
            prompt: Price::from_pico(prompt).unwrap(),
            completion: Price::from_pico(completion).unwrap(),
            ..Prices::default()
        };
        Arc::new(PriceRow {
            offer: OfferId::from_uuid(Uuid::from_u128(1)),
            version: 1,
            model: "m".into(),
            effective_at: Timestamp::EPOCH,
            posted_at: Timestamp::EPOCH,
            take_bps: bps,
            user: provider.with_take(bps).unwrap(),
            provider,
        })
    }

    fn attempt(outcome: Outcome, prompt: u32, completion: u32, reread: u32) -> AttemptUsage {
        AttemptUsage {
            attempt: AttemptId::from_uuid(Uuid::from_u128(2)),
            provider: ProviderId::from_uuid(Uuid::from_u128(3)),
            node: NodeId::from_uuid(Uuid::from_u128(4)),
            price: row(1_000_000, 2_000_000, 1_000),
            outcome,
            units: Units { prompt, completion, request: 1, ..Units::default() },
            reread,
            counted_by: CountedBy::Upstream,
            status: Some(200),
            error_code: None,
            started_at: Timestamp::EPOCH,
            first_output_at: None,
            finished_at: Timestamp::EPOCH,
        }
    }

    fn money(judgement: &Judgement) -> (i64, Vec<(i64, CostKind, i64)>) {
        let earnings = judgement.earnings.iter().map(|e| (e.earned.nano(), e.cost_kind, e.reread.nano()));
        (judgement.charge.nano(), earnings.collect())
    }

    #[test]
    fn the_table_case_by_case() {
        use CostKind::{AuditCost, FaultCost, ProviderCost};
        use Outcome as O;
        // 10 prompt at $1 and 5 completion at $2 per million: 20 000 nano for the provider, 22 000 for the user.
        for delivered in [O::Completed, O::Length, O::ContentFilter, O::ClientLeft] {
            let judged = judge(&[attempt(delivered, 10, 5, 0)], NanoUsd::MAX);
            assert_eq!(money(&judged), (22_000, vec![(20_000, ProviderCost, 0)]), "{delivered:?}");
            assert_eq!(judged.outcome, delivered);
        }
        for (outcome, kind, earned) in [
            (O::ProviderFailed, ProviderCost, 0),
            (O::GatewayFault, FaultCost, 20_000),
            (O::Cancelled, FaultCost, 20_000),
            (O::Canary, AuditCost, 20_000),
            (O::Probe, AuditCost, 0),
        ] {
            let judged = judge(&[attempt(outcome, 10, 5, 0)], NanoUsd::MAX);
            assert_eq!(money(&judged), (0, vec![(earned, kind, 0)]), "{outcome:?}");
        }
    }

    #[test]
    fn a_retry_after_failure_charges_only_the_one_that_delivered() {
        let judged =
            judge(&[attempt(Outcome::ProviderFailed, 10, 0, 0), attempt(Outcome::Completed, 10, 5, 0)], NanoUsd::MAX);
        assert_eq!(judged.charge.nano(), 22_000);
        assert_eq!(judged.earnings[0].earned, NanoUsd::ZERO);
    }

    #[test]
    fn continued_text_pays_each_maker_and_the_prompt_once() {
        let judged =
            judge(&[attempt(Outcome::ProviderFailed, 10, 3, 0), attempt(Outcome::Completed, 10, 2, 3)], NanoUsd::MAX);
        use CostKind::ProviderCost;
        assert_eq!(money(&judged), (22_000, vec![(6_000, ProviderCost, 0), (14_000, ProviderCost, 3_000)]));
        assert_eq!(judged.units.prompt_total(), 10);
        assert_eq!(judged.units.completion_total(), 5);
    }

    #[test]
    fn text_nobody_finished_is_free() {
        let judged = judge(
            &[attempt(Outcome::ProviderFailed, 10, 3, 0), attempt(Outcome::ProviderFailed, 10, 2, 3)],
            NanoUsd::MAX,
        );
        assert_eq!(money(&judged).0, 0);
        assert!(judged.earnings.iter().all(|e| e.earned.is_zero() && e.reread.is_zero()));
    }

    #[test]
    fn the_lost_half_of_a_hedge_is_the_platforms_cost() {
        let judged =
            judge(&[attempt(Outcome::Cancelled, 10, 1, 0), attempt(Outcome::Completed, 10, 5, 0)], NanoUsd::MAX);
        assert_eq!(judged.charge.nano(), 22_000);
        assert_eq!(judged.earnings[0].cost_kind, CostKind::FaultCost);
        assert_eq!(judged.earnings[0].earned.nano(), 12_000);
    }

    #[test]
    fn what_the_hold_does_not_cover_is_the_platforms_loss() {
        let judged = judge(&[attempt(Outcome::Completed, 10, 5, 0)], NanoUsd::new(20_500).unwrap());
        assert_eq!((judged.charge.nano(), judged.clamped.nano()), (20_500, 1_500));
        assert_eq!(judged.earnings[0].earned.nano(), 20_000);
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        use Outcome as O;
        prop_oneof![
            Just(O::Completed),
            Just(O::Length),
            Just(O::ContentFilter),
            Just(O::ClientLeft),
            Just(O::ProviderFailed),
            Just(O::GatewayFault),
            Just(O::Cancelled),
            Just(O::Canary),
            Just(O::Probe)
        ]
    }

    proptest! {
        #[test]
        fn the_charge_stays_within_the_hold_and_earnings_within_the_charge(
            attempts in proptest::collection::vec(
                (any_outcome(), 0..5_000_u32, 0..5_000_u32, 0..100_u32, 0..9_000_000_i64, 0..9_000_000_i64, 0..3_000_u32),
                0..5,
            ),
            hold in 0..50_000_000_000_i64,
        ) {
            let attempts: Vec<_> = attempts.into_iter().map(|(outcome, prompt, completion, reread, p, c, bps)| {
                AttemptUsage { price: row(p, c, bps), ..attempt(outcome, prompt, completion, reread) }
            }).collect();
            let hold = NanoUsd::new(hold).unwrap();
            let judged = judge(&attempts, hold);
            prop_assert!(judged.charge <= hold);
            prop_assert_eq!(judged.earnings.len(), attempts.len());
            let paid: i64 = judged.earnings.iter()
                .filter(|e| e.cost_kind == CostKind::ProviderCost).map(|e| e.earned.nano()).sum();
            prop_assert!(paid <= judged.charge.nano() + judged.clamped.nano());
            if !attempts.iter().any(|a| a.outcome.is_delivered()) {
                prop_assert!(judged.charge.is_zero());
            }
        }
    }
}
