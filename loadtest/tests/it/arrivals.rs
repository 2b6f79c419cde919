use std::time::Duration;

use loadtest::arrivals::{Arrivals, Spread};

const RATE: f64 = 250.0;
const COUNT: usize = 40_000;

fn times(spread: Spread, seed: u64) -> Vec<Duration> {
    Arrivals::new(spread, seed).take(COUNT).collect()
}

fn gaps(times: &[Duration]) -> Vec<f64> {
    times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

fn mean_and_cv(gaps: &[f64]) -> (f64, f64) {
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    (mean, variance.sqrt() / mean)
}

#[test]
fn a_seed_decides_every_start_and_another_seed_others() {
    for spread in [Spread::Poisson { rate_per_s: RATE }, Spread::Gamma { rate_per_s: RATE, cv: 4.0 }] {
        assert_eq!(times(spread, 7), times(spread, 7));
        assert_ne!(times(spread, 7), times(spread, 8));
    }
}

#[test]
fn starts_never_fall_and_have_the_rate_and_the_spread_they_say() {
    for (spread, cv) in [
        (Spread::Constant { rate_per_s: RATE }, 0.0_f64),
        (Spread::Poisson { rate_per_s: RATE }, 1.0),
        (Spread::Gamma { rate_per_s: RATE, cv: 0.5 }, 0.5),
        (Spread::Gamma { rate_per_s: RATE, cv: 1.0 }, 1.0),
        (Spread::Gamma { rate_per_s: RATE, cv: 4.0 }, 4.0),
    ] {
        let times = times(spread, 3);
        assert!(times.is_sorted());
        let (mean, found) = mean_and_cv(&gaps(&times));
        // Five standard errors of a mean of 40,000 draws.
        let slack = 5.0 * cv.max(0.01) / (COUNT as f64).sqrt();
        assert!((mean * RATE - 1.0).abs() < slack, "{spread:?}: mean gap {mean}");
        // The spread of a heavy tail settles slowly.
        assert!((found - cv).abs() <= 0.1 * cv + 1e-6, "{spread:?}: {found}");
    }
}

#[test]
fn even_starts_do_not_drift() {
    let last = Arrivals::new(Spread::Constant { rate_per_s: 3.0 }, 0).nth(3_000_000 - 1).unwrap();
    assert_eq!(last, Duration::from_secs(1_000_000));
}
