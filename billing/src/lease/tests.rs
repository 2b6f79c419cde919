use super::*;
use protocol::Id;
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000);
const LATER: Timestamp = Timestamp::from_unix_seconds(1_055);

fn lease(n: u128) -> LeaseId {
    LeaseId::from_uuid(Uuid::from_u128(n))
}

fn purse(lent: i64) -> Purse {
    let purse = Purse::new(Scope::Account(OrganizationId::from_uuid(Uuid::nil())), NOW);
    purse.adopt(lease(1), Window::ALWAYS, lent, 0, 0, LATER);
    purse
}

#[test]
fn what_is_set_aside_comes_back_less_the_charge() {
    let purse = purse(100);
    assert!(matches!(purse.take(80, NOW), Take::Taken { .. }));
    assert_eq!(purse.take(21, NOW), Take::Short);
    purse.give_back(lease(1), 80, 30);
    assert_eq!((purse.free(), purse.busy()), (70, 30));
    purse.written(lease(1), 30, true);
    assert_eq!((purse.free(), purse.busy()), (70, 0));
}

#[test]
fn a_charge_that_did_not_count_is_free_again() {
    let purse = purse(100);
    purse.take(50, NOW);
    purse.give_back(lease(1), 50, 50);
    purse.written(lease(1), 50, false);
    assert_eq!(purse.free(), 100);
}

#[test]
fn an_expired_lease_sets_nothing_aside() {
    let purse = purse(100);
    assert_eq!(purse.take(1, LATER), Take::Short);
    assert!(!purse.extend(lease(1), 1, LATER));
}

#[test]
fn a_lost_reply_is_settled_by_what_the_ledger_says() {
    // The hand-back was booked.
    let purse = purse(100);
    assert!(purse.begin(lease(1), 60));
    assert_eq!(purse.free(), 40);
    assert_eq!(purse.chore(false), Some(Chore::Resolve(lease(1))));
    purse.confirmed(lease(1), 40, 1, None);
    assert_eq!(purse.free(), 40);
    // The next one was not.
    assert!(purse.begin(lease(1), 40));
    purse.confirmed(lease(1), 40, 2, None);
    assert_eq!(purse.free(), 40);
    // A loan was.
    assert!(purse.begin(lease(1), 0));
    purse.confirmed(lease(1), 70, 3, None);
    assert_eq!(purse.free(), 70);
}

#[test]
fn only_one_statement_is_under_way() {
    let purse = purse(100);
    assert!(purse.begin(lease(1), 10));
    assert!(!purse.begin(lease(1), 10));
    assert!(!purse.begin(lease(2), 0));
}

#[test]
fn a_window_gone_by_keeps_its_holds_and_gives_back_the_rest() {
    let purse = Purse::new(Scope::Budget(BudgetScope::Key(protocol::KeyId::from_uuid(Uuid::nil()))), NOW);
    assert_eq!(purse.take(1, NOW), Take::Short, "an unknown limit is looked up first");
    let budget = Budget {
        id: Uuid::nil(),
        scope: BudgetScope::Key(protocol::KeyId::from_uuid(Uuid::nil())),
        limit: protocol::NanoUsd::from_dollars(1),
        reset: Some(crate::budget::Reset::Daily),
    };
    purse.set_terms(Terms::Limited(budget));
    let tomorrow = Timestamp::from_unix_seconds(86_400);
    purse.adopt(lease(1), Window::of(budget.reset, NOW), 100, 0, 0, tomorrow.plus(std::time::Duration::from_secs(50)));
    purse.take(30, NOW);
    assert_eq!(purse.take(1, tomorrow), Take::Short);
    assert!(purse.loan_for(tomorrow).is_none());
    assert_eq!(purse.chore(false), Some(Chore::HandBack(lease(1), 70)));
    assert!(purse.begin(lease(1), 70));
    purse.confirmed(lease(1), 30, 1, None);
    assert_eq!(purse.chore(false), None, "the hold is still open");
    purse.give_back(lease(1), 30, 10);
    purse.written(lease(1), 10, true);
    assert_eq!(purse.chore(false), Some(Chore::Close(lease(1))));
}

#[test]
fn idle_money_goes_back_when_the_account_is_low_or_asks() {
    let purse = purse(100);
    assert_eq!(purse.chore(true), Some(Chore::HandBack(lease(1), 100)));
    purse.resize(80, false);
    assert_eq!(purse.chore(false), None);
    purse.resize(20, false);
    assert_eq!(purse.chore(false), Some(Chore::HandBack(lease(1), 80)));
    purse.resize(0, true);
    assert_eq!(purse.chore(false), Some(Chore::HandBack(lease(1), 100)));
    let waiting = purse.wait_for(5);
    assert_eq!(purse.chore(false), None, "someone here needs it");
    drop(waiting);
}

#[test]
fn a_purse_in_use_is_not_put_away() {
    let purse = purse(100);
    purse.take(1, NOW);
    assert!(!purse.retire(LATER));
    purse.give_back(lease(1), 1, 0);
    assert!(!purse.retire(LATER), "its loan must be closed first");
    assert_eq!(purse.chore(false), Some(Chore::Close(lease(1))));
    purse.lost(lease(1));
    assert!(purse.retire(LATER));
    assert_eq!(purse.take(1, NOW), Take::Retired);
}

#[test]
fn a_lease_put_away_and_found_open_again_is_not_closed_under_its_hold() {
    let purse = purse(100);
    assert!(!purse.retire(LATER));
    // Before the keeper comes to close it, a hold finds it open in the ledger.
    purse.adopt(lease(1), Window::ALWAYS, 100, 0, 0, LATER);
    assert!(matches!(purse.take(30, NOW), Take::Taken { .. }));
    assert_eq!(purse.leases(), [lease(1)], "one loan, not two of one id");
    assert_eq!(purse.chore(false), None, "what is held must stay lent");
    assert_eq!((purse.free(), purse.busy()), (70, 30));
}

#[test]
fn a_lease_taken_up_again_keeps_what_was_held_and_what_is_not_known() {
    let purse = purse(100);
    purse.take(30, NOW);
    assert!(purse.begin(lease(1), 20));
    // Put away by a change of its terms, and found open with nothing of that in the ledger.
    purse.set_terms(Terms::Unlimited);
    purse.adopt(lease(1), Window::ALWAYS, 100, 0, 0, LATER);
    assert_eq!((purse.free(), purse.busy()), (50, 30));
    assert_eq!(purse.chore(false), Some(Chore::Resolve(lease(1))));
}
