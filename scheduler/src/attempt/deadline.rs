//! The four timers of an answer, each on its own.

use std::time::Duration;

use crate::config::AttemptConfig;

/// The first content may take this many times its prediction.
const FIRST_CONTENT_FACTOR: f64 = 4.0;
/// Silence may last this many times an ordinary long gap.
const GAP_FACTOR: f64 = 20.0;

/// Timers of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To a connection or stream.
    pub connect: Duration,
    /// From dispatch to the first real content.
    pub first_content: Duration,
    /// Between two contents.
    pub gap: Duration,
}

impl Limits {
    /// From what is predicted of an offer: seconds to the first content, and a long but ordinary gap.
    #[must_use]
    pub fn new(config: &AttemptConfig, tunnel: bool, first_content_s: f64, gap_s: f64) -> Self {
        let connect = if tunnel { config.connect_tunnel_ms } else { config.connect_direct_ms };
        let within = |seconds: f64, least_ms: u64, most_ms: u64| {
            // A prediction that is not a number gets the most.
            let ms = if seconds.is_finite() { (seconds * 1_000.0) as u64 } else { most_ms };
            Duration::from_millis(ms.clamp(least_ms, most_ms.max(least_ms)))
        };
        Self {
            connect: Duration::from_millis(connect),
            first_content: within(
                FIRST_CONTENT_FACTOR * first_content_s,
                config.first_content_min_ms,
                config.first_content_max_ms,
            ),
            gap: within(GAP_FACTOR * gap_s, config.gap_min_ms, config.gap_max_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_bend_the_timers_within_bounds() {
        let config = AttemptConfig::default();
        let of = |first, gap| Limits::new(&config, true, first, gap);
        assert_eq!(of(0.1, 0.01).first_content, Duration::from_secs(5));
        assert_eq!(of(5.0, 0.5).first_content, Duration::from_secs(20));
        assert_eq!(of(500.0, 50.0).first_content, Duration::from_secs(60));
        assert_eq!(of(0.1, 0.5).gap, Duration::from_secs(10));
        assert_eq!(of(f64::NAN, f64::INFINITY).gap, Duration::from_secs(15));
        assert_eq!(of(0.1, 0.01).connect, Duration::from_millis(500));
        assert_eq!(Limits::new(&config, false, 0.1, 0.1).connect, Duration::from_secs(2));
    }
}
