//! Decisions a second of one core, and how long the slow ones take, from 20 offers to 100,000.
//!
//! Run with `cargo bench -p scheduler --bench place`; an argument limits the ladder to one size.

#[path = "../tests/it/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Instant;

use protocol::offer::TrustLevel;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use scheduler::ask::Tools;
use scheduler::place::place;
use scheduler::provider::Listing;
use scheduler::{Ask, Decision, Sort};

fn main() {
    let only: Option<usize> = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    println!("{:>8} {:<12} {:>12} {:>9} {:>9} {:>9}", "offers", "ask", "decisions/s", "mean ns", "p50 ns", "p99 ns");
    for size in [20, 100, 1_000, 10_000, 100_000] {
        if only.is_none_or(|only| only == size) {
            measure(size);
        }
    }
}

fn measure(size: usize) {
    let listings: Vec<Arc<Listing>> = (0..size as u128).map(listing).collect();
    let began = Instant::now();
    let (scheduler, _env, _clock) = world::scheduler(listings);
    let built = began.elapsed();
    for (name, ask) in asks() {
        decide(size, name, &scheduler, &ask);
    }
    let began = Instant::now();
    scheduler.rebuild(world::START);
    println!("{size:>8} first build {built:.1?}, rebuild {:.1?}", began.elapsed());
}

fn decide(size: usize, name: &str, scheduler: &scheduler::Scheduler, ask: &Ask) {
    let snapshot = scheduler.snapshot();
    let mut rng = SmallRng::seed_from_u64(7);
    let count = if size > 10_000 { 50_000 } else { 200_000 };
    let mut times: Vec<u32> = Vec::with_capacity(count);
    let began = Instant::now();
    for _ in 0..count {
        let one = Instant::now();
        let decision = place(&snapshot, ask, world::START, &mut rng);
        assert!(matches!(decision, Decision::Place { .. }), "{decision:?}");
        drop(std::hint::black_box(decision));
        times.push(u32::try_from(one.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    let mean = began.elapsed().as_nanos() as usize / count;
    times.sort_unstable();
    let (p50, p99) = (times[count / 2], times[count * 99 / 100]);
    println!("{size:>8} {name:<12} {:>12} {mean:>9} {p50:>9} {p99:>9}", 1_000_000_000 / mean.max(1));
}

fn asks() -> [(&'static str, Ask); 3] {
    let plain = world::ask();
    let mut demanding = world::ask();
    demanding.needs.tools = Tools::Native;
    demanding.provider.zdr = true;
    demanding.provider.deny_training = true;
    demanding.provider.trust = TrustLevel::Measured;
    demanding.provider.regions = vec!["eu".into()];
    demanding.provider.max_price.completion = protocol::Price::from_pico(4_000_000);
    let mut cheapest = world::ask();
    cheapest.provider.sort = Some(Sort::Price);
    [("plain", plain), ("demanding", demanding), ("cheapest", cheapest)]
}

fn listing(n: u128) -> Arc<Listing> {
    let mut parts = world::parts(n).priced(1 + (n % 5) as i64, 2 + (n % 7) as i64);
    parts.node.privacy.zdr = n.is_multiple_of(2);
    parts.node.location.country_code = ["DE", "FR", "US", "JP"][(n % 4) as usize].into();
    parts.listing()
}
