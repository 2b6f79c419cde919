//! How answers came in the last half hour, for people who compare offers. Placement has a smoother view of its own.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::Timestamp;
use serde::Serialize;

/// What is shown reaches back this far.
const WINDOW: Duration = Duration::from_secs(1_800);
/// Answers kept of an offer: enough for its slowest hundredth to mean something, in some eight kilobytes.
const KEPT: usize = 256;

/// What so many in a hundred answers were at least as good as.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of them.
    pub p50: f64,
    /// Three quarters.
    pub p75: f64,
    /// Nine tenths.
    pub p90: f64,
    /// All but one in a hundred.
    pub p99: f64,
}

/// What answers of one offer were like lately. `None` where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lately {
    /// Seconds to the first content.
    pub latency_s: Option<Percentiles>,
    /// Output tokens per second from there.
    pub tokens_per_s: Option<Percentiles>,
}

/// The last streamed answers of one offer.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    answers: VecDeque<Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    at: Timestamp,
    first_s: f64,
    tokens_per_s: Option<f64>,
}

impl Recent {
    /// Takes one whole answer: when its first content came, and its later tokens in the time they took.
    pub fn record(&mut self, first: Duration, later_tokens: u32, generating: Duration, at: Timestamp) {
        if self.answers.len() == KEPT {
            self.answers.pop_front();
        }
        let timed = later_tokens > 0 && !generating.is_zero();
        let tokens_per_s = timed.then(|| f64::from(later_tokens) / generating.as_secs_f64());
        self.answers.push_back(Answer { at, first_s: first.as_secs_f64(), tokens_per_s });
    }

    /// What they were like until `now`.
    #[must_use]
    pub fn lately(&self, now: Timestamp) -> Lately {
        let answers = || self.answers.iter().filter(|answer| now.since(answer.at) <= WINDOW);
        let mut first: Vec<f64> = answers().map(|answer| answer.first_s).collect();
        let mut speed: Vec<f64> = answers().filter_map(|answer| answer.tokens_per_s).collect();
        // The best first: the sooner and the faster.
        first.sort_by(f64::total_cmp);
        speed.sort_by(|a, b| b.total_cmp(a));
        Lately { latency_s: percentiles(&first), tokens_per_s: percentiles(&speed) }
    }
}

fn percentiles(best_first: &[f64]) -> Option<Percentiles> {
    let at = |percent: usize| best_first.get((best_first.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    Some(Percentiles { p50: at(50)?, p75: at(75)?, p90: at(90)?, p99: at(99)? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_seconds(10_000 + s)
    }

    #[test]
    fn higher_percentiles_are_slower_answers() {
        let mut recent = Recent::default();
        (1..=100).for_each(|n| recent.record(SECOND * n, 100, SECOND * n, at(0)));
        let lately = recent.lately(at(1));
        assert_eq!(lately.latency_s, Some(Percentiles { p50: 50.0, p75: 75.0, p90: 90.0, p99: 99.0 }));
        let speed = lately.tokens_per_s.unwrap();
        assert_eq!((speed.p50, speed.p75), (2.0, 100.0 / 75.0));
        assert_eq!((speed.p90, speed.p99), (100.0 / 90.0, 100.0 / 99.0));
    }

    #[test]
    fn after_half_an_hour_nothing_is_left_to_show() {
        let mut recent = Recent::default();
        assert_eq!(recent.lately(at(0)), Lately::default());
        recent.record(SECOND, 0, Duration::ZERO, at(0));
        let lately = recent.lately(at(1_800));
        assert_eq!((lately.latency_s.unwrap().p99, lately.tokens_per_s), (1.0, None));
        assert_eq!(recent.lately(at(1_801)), Lately::default());
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut recent = Recent::default();
        (0..1_000).for_each(|n| recent.record(SECOND * n, 0, Duration::ZERO, at(0)));
        assert_eq!(recent.answers.len(), KEPT);
        assert!(recent.lately(at(0)).latency_s.unwrap().p50 >= 744.0);
    }
}
