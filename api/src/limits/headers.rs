//! How an answer tells where its limits stand.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::bucket::Kind;
use super::gcra::Standing;

/// Where the tightest limit of each kind stands, for the headers of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// Requests in a minute; none where none are limited.
    pub requests: Option<Standing>,
    /// Tokens in a minute.
    pub tokens: Option<Standing>,
}

type Names = [HeaderName; 3];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

impl RateHeaders {
    /// Writes them on an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (names, standing) in [(REQUESTS, self.requests), (TOKENS, self.tokens)] {
            let Some(standing) = standing else { continue };
            let [limit, remaining, reset] = names;
            headers.insert(limit, HeaderValue::from(standing.limit));
            headers.insert(remaining, HeaderValue::from(standing.remaining));
            if let Ok(text) = HeaderValue::try_from(go_duration(standing.reset)) {
                headers.insert(reset, text);
            }
        }
    }

    /// Takes in another limit: of two the one with less left is told. Places are not told: they come and go.
    pub(super) fn take_in(&mut self, kind: Kind, other: Standing) {
        let told = match kind {
            Kind::Requests => &mut self.requests,
            Kind::Tokens => &mut self.tokens,
            Kind::Concurrency => return,
        };
        match told {
            Some(before) if (before.remaining, before.limit) <= (other.remaining, other.limit) => {}
            _ => *told = Some(other),
        }
    }

    /// Takes in all that others tell.
    pub(super) fn tighten(&mut self, others: Self) {
        for (kind, other) in [(Kind::Requests, others.requests), (Kind::Tokens, others.tokens)] {
            if let Some(other) = other {
                self.take_in(kind, other);
            }
        }
    }
}

/// A span as Go writes it, in milliseconds rounded up: `12ms`, `1.5s`, `6m0s`, `1h0m0s`.
#[must_use]
pub fn go_duration(span: Duration) -> String {
    let ms = span.as_nanos().div_ceil(1_000_000);
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let (hours, minutes, seconds, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    let fraction = match rest {
        0 => String::new(),
        _ => format!(".{rest:03}").trim_end_matches('0').to_owned(),
    };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_go_writes_them() {
        let told = |ms| go_duration(Duration::from_millis(ms));
        assert_eq!([told(0), told(12), told(999), told(1_000)], ["0s", "12ms", "999ms", "1s"]);
        assert_eq!([told(1_500), told(59_001), told(60_000)], ["1.5s", "59.001s", "1m0s"]);
        assert_eq!([told(360_000), told(361_250), told(3_600_000)], ["6m0s", "6m1.25s", "1h0m0s"]);
        assert_eq!(go_duration(Duration::from_micros(11_001)), "12ms", "never told too short");
        assert_eq!(go_duration(Duration::from_nanos(1)), "1ms");
    }

    #[test]
    fn the_limit_with_less_left_is_told() {
        let standing = |remaining| Standing { limit: 10, remaining, reset: Duration::from_secs(1) };
        let mut headers = RateHeaders::default();
        for remaining in [7, 3, 5] {
            headers.take_in(Kind::Requests, standing(remaining));
        }
        let mut map = HeaderMap::new();
        headers.write(&mut map);
        assert_eq!(map.len(), 3, "nothing is said of tokens, which are not limited");
        assert_eq!(map["x-ratelimit-limit-requests"], "10");
        assert_eq!(map["x-ratelimit-remaining-requests"], "3");
        assert_eq!(map["x-ratelimit-reset-requests"], "1s");
    }
}
