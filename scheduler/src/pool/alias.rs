//! Weighted draws in constant time (Vose's alias method).

use rand::Rng;

/// Draws index `i` with probability proportional to its weight.
#[derive(Debug, Clone)]
pub struct AliasTable {
    /// Chance of keeping the column drawn, scaled to 32 bits, and where to go else.
    columns: Vec<(u32, u32)>,
}

impl AliasTable {
    /// Weights that are not finite and positive count as a sliver of the mean, so that no offer is
    /// beyond reach by one bad estimate.
    #[must_use]
    pub fn new(weights: &[f64]) -> Self {
        let good = |weight: f64| weight.is_finite() && weight > 0.0;
        let sum: f64 = weights.iter().copied().filter(|weight| good(*weight)).sum();
        let count = weights.len();
        let mean = if sum > 0.0 { sum / count as f64 } else { 1.0 };
        let mut scaled: Vec<f64> =
            weights.iter().map(|weight| if good(*weight) { weight / mean } else { 1e-3 }).collect();
        let total: f64 = scaled.iter().sum();
        scaled.iter_mut().for_each(|weight| *weight *= count as f64 / total);
        let mut columns = vec![(u32::MAX, 0_u32); count];
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..count).partition(|index| scaled[*index] < 1.0);
        while let (Some(&low), Some(&high)) = (small.last(), large.last()) {
            small.pop();
            columns[low] = ((scaled[low] * f64::from(u32::MAX)) as u32, high as u32);
            scaled[high] -= 1.0 - scaled[low];
            if scaled[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        // What is left differs from one by rounding only: it keeps its own column.
        small.into_iter().chain(large).for_each(|index| columns[index] = (u32::MAX, index as u32));
        Self { columns }
    }

    /// One draw from one 64-bit number; `None` when there is nothing to draw.
    pub fn draw(&self, rng: &mut impl Rng) -> Option<usize> {
        if self.columns.is_empty() {
            return None;
        }
        let bits = rng.next_u64();
        let column = (((bits >> 32) * self.columns.len() as u64) >> 32) as usize;
        let (keep, other) = self.columns[column];
        Some(if bits as u32 <= keep { column } else { other as usize })
    }
}

/// A number in [0, 1) with 53 random bits.
pub(crate) fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn draws_follow_the_weights() {
        let weights = [1.0, 2.0, 0.0, 5.0, f64::NAN, 2.0];
        let table = AliasTable::new(&weights);
        let mut rng = SmallRng::seed_from_u64(7);
        let mut seen = [0_u32; 6];
        for _ in 0..100_000 {
            seen[table.draw(&mut rng).unwrap()] += 1;
        }
        for (index, expected) in [(0, 0.1), (1, 0.2), (3, 0.5), (5, 0.2)] {
            let share = f64::from(seen[index]) / 100_000.0;
            assert!((share - expected).abs() < 0.01, "{index}: {share}");
        }
        assert!(seen[2] < 100 && seen[4] < 100);
    }

    #[test]
    fn nothing_can_be_drawn_from_nothing() {
        assert_eq!(AliasTable::new(&[]).draw(&mut SmallRng::seed_from_u64(1)), None);
    }
}
