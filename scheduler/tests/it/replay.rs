//! What a provider is told of its place in the market.

use protocol::offer::TrustLevel;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use scheduler::ask::Preferences;
use scheduler::provider::{NodeState, OfferState};
use scheduler::replay::{Loss, ONE_IN};
use scheduler::{Ask, Placement, Scheduler};

use crate::world::{self, START};

/// Places so many asks that `looks` of them are looked at again, one after the other.
fn ask(scheduler: &Scheduler, ask: &Ask, looks: u64) {
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..looks * ONE_IN {
        scheduler.place(ask, START, &mut rng);
        scheduler.replay(START);
    }
}

fn placement(scheduler: &Scheduler, n: u128) -> Placement {
    scheduler.placement(world::node_id(n), START).unwrap()
}

#[test]
fn a_node_is_told_what_it_won_and_what_it_lost_by() {
    let staged = world::parts(3);
    let mut staged = staged.priced(1, 2);
    staged.offer.state = OfferState::Staged;
    let mut silent = world::parts(4);
    silent.node.state = NodeState::Offline;
    let listings = vec![
        world::listing(1),
        world::parts(2).priced(100, 200).listing(),
        staged.listing(),
        silent.listing(),
        world::parts(5).tunnel().listing(),
    ];
    let (scheduler, ..) = world::scheduler(listings);
    assert_eq!(scheduler.placement(world::node_id(1), START), None, "nothing was looked at");
    ask(&scheduler, &world::ask(), 3);

    let won = placement(&scheduler, 1);
    assert_eq!((won.sampled, won.eligible, won.won, won.lost.len()), (3, 3, 3, 0));
    assert_eq!(won.demand[0].model, world::MODEL);
    assert!(won.demand[0].asks_per_minute > 0.0);
    let dear = placement(&scheduler, 2);
    assert_eq!((dear.won, dear.lost[&Loss::Price]), (0, 3));
    let cut = dear.price_to_win_half.unwrap();
    assert!((0.005..0.05).contains(&cut), "at about a hundredth of its price it would win: {cut}");
    for n in 3..=5 {
        assert_eq!(placement(&scheduler, n).lost[&Loss::Down], 3, "node {n}");
    }
}

#[test]
fn demands_a_node_does_not_meet_are_named() {
    let mut far = world::parts(2);
    far.node.location.country_code = "US".into();
    far.node.location.region = None;
    let mut untrusted = world::parts(3);
    untrusted.node.trust = TrustLevel::Declared;
    let listings =
        vec![world::listing(1), far.listing(), untrusted.listing(), world::parts(4).priced(50, 50).listing()];
    let (scheduler, ..) = world::scheduler(listings);
    let demand = |provider| Ask { provider, ..world::ask() };
    ask(&scheduler, &demand(Preferences { regions: vec!["de".into()], ..Preferences::default() }), 1);
    ask(&scheduler, &demand(Preferences { trust: TrustLevel::Measured, ..Preferences::default() }), 1);
    let cheap = scheduler::ask::MaxPrice { completion: Some(world::prices(1, 10).completion), ..Default::default() };
    ask(&scheduler, &demand(Preferences { max_price: cheap, ..Preferences::default() }), 1);
    assert_eq!(placement(&scheduler, 2).lost[&Loss::Region], 1);
    assert_eq!(placement(&scheduler, 3).lost[&Loss::Trust], 1);
    assert_eq!(placement(&scheduler, 4).lost[&Loss::PriceLimit], 1);
    assert_eq!(placement(&scheduler, 4).eligible, 2);
}
