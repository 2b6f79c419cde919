//! What a dispute moves once more of it is seen: pure, so that any order of looking can be tried.

use protocol::{NanoUsd, Timestamp};

use super::{Dispute, DisputeState};
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{DisputeStep, Posting};

/// What the processor shows of a dispute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub state: DisputeState,
    pub amount: NanoUsd,
    /// What the bank took, and what the processor kept for it.
    pub withdrawn: NanoUsd,
    pub fee: NanoUsd,
    /// What came back of both.
    pub reinstated: NanoUsd,
    pub fee_back: NanoUsd,
    pub is_refundable: bool,
    pub due_at: Option<Timestamp>,
}

/// What the account has, and how it is treated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purse {
    /// What is left of the disputed purchase and not lent out.
    pub left: NanoUsd,
    /// What the account owes.
    pub owed: NanoUsd,
    /// Whether credit is frozen at all.
    pub freezes: bool,
}

/// What is to be written down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Moves {
    /// Taken from the grant and from what is available.
    pub frozen: NanoUsd,
    /// Given back to them.
    pub back: NanoUsd,
    /// Of it, what pays a debt at once and so is available to nobody.
    pub repaid: NanoUsd,
    /// To be booked, each once.
    pub steps: Vec<(DisputeStep, Vec<Posting>)>,
}

impl Moves {
    fn book(&mut self, step: DisputeStep, postings: impl IntoIterator<Item = Option<Posting>>) {
        let postings: Vec<Posting> = postings.into_iter().flatten().collect();
        if !postings.is_empty() {
            self.steps.push((step, postings));
        }
    }
}

impl Dispute {
    /// Takes over what was seen and decides what that moves; with nothing seen, only what is left may have changed.
    pub(super) fn follow(&mut self, seen: Option<&Seen>, purse: Purse) -> Moves {
        let mut moves = Moves::default();
        if let Some(seen) = seen {
            self.withdraw(seen, &mut moves);
            self.reinstate(seen, purse, &mut moves);
            if seen.state >= self.state {
                self.state = seen.state;
                (self.is_refundable, self.due_at) = (seen.is_refundable, seen.due_at);
            }
        }
        match self.state {
            DisputeState::Inquiry => {}
            DisputeState::Open => self.freeze(purse, &mut moves),
            DisputeState::Lost => self.lose(purse, &mut moves),
            DisputeState::Closed | DisputeState::Won => {
                let repaid = self.unfreeze(purse, &mut moves);
                moves.book(DisputeStep::Unfrozen, [repaid]);
            }
        }
        moves
    }

    fn withdraw(&mut self, seen: &Seen, moves: &mut Moves) {
        if !self.withdrawn.is_zero() {
            return;
        }
        self.withdrawn = seen.withdrawn;
        let clearing = platform(AccountKind::StripeClearing);
        let held = Posting::new(platform(AccountKind::DisputeReceivable), clearing, seen.withdrawn);
        moves
            .book(DisputeStep::Withdrawn, [held, Posting::new(platform(AccountKind::DisputeFees), clearing, seen.fee)]);
    }

    /// What comes back makes the loss smaller first, then what the account lost; the rest was only held.
    fn reinstate(&mut self, seen: &Seen, purse: Purse, moves: &mut Moves) {
        if !self.reinstated.is_zero() || seen.reinstated.is_zero() {
            return;
        }
        self.reinstated = seen.reinstated;
        let of_loss = seen.reinstated.min(self.lost);
        let of_credit = seen.reinstated.saturating_sub(of_loss).min(self.taken);
        let held = seen.reinstated.saturating_sub(of_loss).saturating_sub(of_credit);
        self.lost = self.lost.saturating_sub(of_loss);
        self.taken = self.taken.saturating_sub(of_credit);
        let clearing = platform(AccountKind::StripeClearing);
        let postings = [
            Posting::new(clearing, platform(AccountKind::DisputeReceivable), held),
            Posting::new(clearing, platform(AccountKind::DisputeLoss), of_loss),
            Posting::new(clearing, LedgerAccount::credits(self.account), of_credit),
            Posting::new(clearing, platform(AccountKind::DisputeFees), seen.fee_back),
            self.give_back(of_credit, purse, moves),
        ];
        moves.book(DisputeStep::Reinstated, postings);
    }

    /// Takes what is left out of the account's reach.
    fn freeze(&mut self, purse: Purse, moves: &mut Moves) {
        if purse.freezes {
            let room = self.credit.saturating_sub(self.frozen).saturating_sub(self.taken);
            let more = room.min(purse.left);
            self.frozen = self.frozen.saturating_add(more);
            moves.frozen = more;
        }
    }

    /// The credit that was left goes with the money, the platform carries the rest.
    fn lose(&mut self, purse: Purse, moves: &mut Moves) {
        let gone = self.withdrawn.saturating_sub(self.reinstated);
        let open = gone.saturating_sub(self.taken).saturating_sub(self.lost);
        if open.is_zero() {
            let repaid = self.unfreeze(purse, moves);
            return moves.book(DisputeStep::Unfrozen, [repaid]);
        }
        self.freeze(purse, moves);
        let of_credit = self.frozen.min(open);
        let of_loss = open.saturating_sub(of_credit);
        self.frozen = self.frozen.saturating_sub(of_credit);
        self.taken = self.taken.saturating_add(of_credit);
        self.lost = self.lost.saturating_add(of_loss);
        let held = platform(AccountKind::DisputeReceivable);
        let repaid = self.unfreeze(purse, moves);
        let postings = [
            Posting::new(LedgerAccount::credits(self.account), held, of_credit),
            Posting::new(platform(AccountKind::DisputeLoss), held, of_loss),
            repaid,
        ];
        moves.book(DisputeStep::Lost, postings);
    }

    /// Gives all frozen credit back.
    fn unfreeze(&mut self, purse: Purse, moves: &mut Moves) -> Option<Posting> {
        let amount = std::mem::take(&mut self.frozen);
        self.give_back(amount, purse, moves)
    }

    /// Gives credit back to the account, which pays its debts with it first.
    fn give_back(&self, amount: NanoUsd, purse: Purse, moves: &mut Moves) -> Option<Posting> {
        let repaid = amount.min(purse.owed.saturating_sub(moves.repaid));
        moves.back = moves.back.saturating_add(amount);
        moves.repaid = moves.repaid.saturating_add(repaid);
        Posting::new(LedgerAccount::credits(self.account), LedgerAccount::receivable(self.account), repaid)
    }
}

const fn platform(kind: AccountKind) -> LedgerAccount {
    LedgerAccount::platform(kind)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use protocol::Id as _;
    use uuid::Uuid;

    use super::*;

    /// A dispute of fifty cents of credit and four of tax, of which nothing is known yet. One nano is a cent here.
    fn fresh() -> Dispute {
        Dispute {
            id: "du_1".to_owned(),
            account: protocol::OrganizationId::from_uuid(Uuid::from_u128(1)),
            topup: protocol::TopupId::from_uuid(Uuid::from_u128(2)),
            grant: protocol::GrantId::from_uuid(Uuid::from_u128(3)),
            state: DisputeState::Inquiry,
            reason: "fraudulent".to_owned(),
            amount: nano(54),
            credit: nano(50),
            withdrawn: NanoUsd::ZERO,
            reinstated: NanoUsd::ZERO,
            frozen: NanoUsd::ZERO,
            taken: NanoUsd::ZERO,
            lost: NanoUsd::ZERO,
            is_refundable: false,
            due_at: None,
            opened_at: Timestamp::EPOCH,
            suspended_at: None,
            closed_at: None,
        }
    }

    fn nano(amount: i64) -> NanoUsd {
        NanoUsd::new(amount).unwrap()
    }

    fn seen(state: DisputeState, withdrawn: i64, reinstated: i64) -> Seen {
        let (fee, fee_back) = (i64::from(withdrawn > 0) * 15, i64::from(reinstated > 0) * 15);
        Seen {
            state,
            amount: nano(54),
            withdrawn: nano(withdrawn),
            fee: nano(fee),
            reinstated: nano(reinstated),
            fee_back: nano(fee_back),
            is_refundable: false,
            due_at: None,
        }
    }

    /// Looks one after the other, on an account that has `left`; balances of all accounts that moved, what the
    /// account has in the end, and the dispute.
    fn run(looks: &[Seen], left: i64, freezes: bool) -> (BTreeMap<&'static str, i64>, i64, Dispute) {
        let (mut dispute, mut left, mut ledger) = (fresh(), left, BTreeMap::new());
        let mut booked = Vec::new();
        for look in looks {
            let moves = dispute.follow(Some(look), Purse { left: nano(left), owed: NanoUsd::ZERO, freezes });
            left += moves.back.nano() - moves.frozen.nano();
            for (step, postings) in moves.steps {
                assert!(!booked.contains(&step), "{step:?} twice");
                booked.push(step);
                for posting in postings {
                    *ledger.entry(posting.debit().kind.as_str()).or_default() += posting.amount().nano();
                    *ledger.entry(posting.credit().kind.as_str()).or_default() -= posting.amount().nano();
                }
            }
        }
        ledger.retain(|_, balance| *balance != 0);
        (ledger, left, dispute)
    }

    #[test]
    fn an_inquiry_moves_nothing() {
        use DisputeState::{Closed, Inquiry};
        let (ledger, left, dispute) = run(&[seen(Inquiry, 0, 0), seen(Closed, 0, 0)], 50, true);
        assert_eq!((ledger.len(), left, dispute.state), (0, 50, Closed));
    }

    #[test]
    fn a_lost_dispute_takes_what_is_left_and_the_platform_carries_the_rest() {
        use DisputeState::{Lost, Open};
        for looks in [vec![seen(Open, 54, 0), seen(Lost, 54, 0)], vec![seen(Lost, 54, 0)]] {
            let (ledger, left, dispute) = run(&looks, 30, true);
            let expected =
                BTreeMap::from([("credits", 30), ("dispute_fees", 15), ("dispute_loss", 24), ("stripe_clearing", -69)]);
            assert_eq!((ledger, left), (expected, 0));
            assert_eq!((dispute.frozen, dispute.taken, dispute.lost), (NanoUsd::ZERO, nano(30), nano(24)));
        }
        let (ledger, left, _) = run(&[seen(Open, 54, 0), seen(Lost, 54, 0)], 30, false);
        assert_eq!((ledger["dispute_loss"], left), (54, 30), "where nothing is frozen nothing is taken");
    }

    #[test]
    fn a_won_dispute_leaves_no_trace_even_after_it_was_lost() {
        use DisputeState::{Lost, Open, Won};
        for looks in [
            vec![seen(Open, 54, 0), seen(Won, 54, 54)],
            vec![seen(Open, 54, 0), seen(Won, 54, 0), seen(Won, 54, 54)],
            vec![seen(Open, 54, 0), seen(Lost, 54, 0), seen(Won, 54, 54)],
            vec![seen(Won, 54, 54)],
        ] {
            let (ledger, left, dispute) = run(&looks, 30, true);
            assert_eq!((ledger.len(), left, dispute.state), (0, 30, Won), "{looks:?}");
        }
    }

    proptest! {
        /// Looks that come late, again or not at all, and money that comes back in part after the decision: the last
        /// look alone ends in the same books.
        #[test]
        fn only_the_last_look_counts(
            left in 0_i64..60, back in 0_i64..=54, wins in any::<bool>(), picks in prop::collection::vec(0_usize..5, 0..12),
        ) {
            use DisputeState::{Inquiry, Lost, Open, Won};
            let end = if wins { Won } else { Lost };
            let history =
                [seen(Inquiry, 0, 0), seen(Open, 0, 0), seen(Open, 54, 0), seen(end, 54, 0), seen(end, 54, back)];
            let mut looks: Vec<Seen> = picks.into_iter().map(|pick| history[pick]).collect();
            looks.push(history[4]);
            let (ledger, has, dispute) = run(&looks, left, true);
            let (expected, expected_has, expected_dispute) = run(&history[4..], left, true);
            prop_assert_eq!(ledger, expected);
            prop_assert_eq!(has, expected_has);
            prop_assert_eq!((dispute.taken, dispute.lost, dispute.frozen), (expected_dispute.taken, expected_dispute.lost, NanoUsd::ZERO));
        }
    }
}
