//! The choice among near-equals: one is drawn in proportion to its room, so that the best estimate
//! does not bury one node under every replica's requests.

use rand::Rng;

use crate::pool::alias::unit;

/// Candidates within this share of the least cost are equal as far as anyone knows.
pub const BAND: f64 = 0.05;

/// Picks an index into `costs`; `room` holds each one's free slots. `None` when there is none.
pub fn choose(costs: &[f64], room: &[f64], rng: &mut impl Rng) -> Option<usize> {
    let least = costs.iter().copied().min_by(f64::total_cmp)?;
    // Costs can be zero, never negative: the band is then exactly those at zero.
    let edge = least + least.abs() * BAND;
    let share = |index: usize| if costs[index] <= edge { room[index].max(1.0) } else { 0.0 };
    let total: f64 = (0..costs.len()).map(share).sum();
    let mut left = unit(rng) * total;
    let mut last = None;
    for index in (0..costs.len()).filter(|index| share(*index) > 0.0) {
        last = Some(index);
        left -= share(index);
        if left < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn the_band_spreads_by_room_and_nothing_leaves_it() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut seen = [0_u32; 4];
        for _ in 0..10_000 {
            seen[choose(&[100.0, 104.0, 106.0, 100.0], &[3.0, 1.0, 50.0, 4.0], &mut rng).unwrap()] += 1;
        }
        assert_eq!(seen[2], 0);
        for (index, share) in [(0, 0.375), (1, 0.125), (3, 0.5)] {
            assert!((f64::from(seen[index]) / 10_000.0 - share).abs() < 0.02, "{seen:?}");
        }
        assert_eq!(choose(&[], &[], &mut rng), None);
    }
}
