//! Which buckets a report holds, and the cursor that leads from one page of them to the next.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use billing::store::usage::Width;
use protocol::Timestamp;

use super::super::LAST_SECOND;
use crate::error::ApiError;
use crate::extract::Params;

/// What a cursor starts with.
const CURSOR: &str = "page_";

/// Widths a report may have, each with the default and the most buckets of one page.
pub(super) type Widths = [(Width, &'static str, i64, i64)];

/// Which buckets a page holds, in seconds. All are at boundaries of the width, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub width: Width,
    pub from: i64,
    /// The end of this page.
    pub to: i64,
    /// The end of the whole range.
    end: i64,
}

impl Span {
    /// The cursor of the next page, where there is one.
    pub(super) fn next_page(&self) -> Option<String> {
        (self.to < self.end).then(|| cursor(self.to, self.end))
    }
}

/// Which buckets are asked for: those that any part of the range falls in, as far as one page goes.
pub(super) fn read(params: &Params, widths: &Widths, now: Timestamp) -> Result<Span, ApiError> {
    let names: Vec<_> = widths.iter().map(|width| (width.1, *width)).collect();
    let chosen = params.choice("bucket_width", &names)?.or_else(|| widths.first().copied());
    let Some((width, _, default, most)) = chosen else {
        return Err(ApiError::invalid("bucket_width", "has no value here"));
    };
    let invalid = |field, message| ApiError::invalid(field, message).with_code("invalid_value");
    let start = params.integer("start_time", 0..=LAST_SECOND)?;
    let start = start.ok_or_else(|| invalid("start_time", "a unix time in seconds is needed"))?;
    let end = params.integer("end_time", 0..=LAST_SECOND)?.unwrap_or_else(|| now.unix_seconds().max(start) + 1);
    if end <= start {
        return Err(invalid("end_time", "must be later than start_time"));
    }
    let limit = params.integer("limit", 1..=most)?.unwrap_or(default);
    let seconds = width.seconds();
    let first = start - start % seconds;
    let end = (end + seconds - 1) / seconds * seconds;
    let (from, end) = match params.text("page")? {
        None => (first, end),
        Some(cursor) => {
            let place =
                read_cursor(cursor).filter(|(from, end)| first <= *from && from < end && *end <= LAST_SECOND + seconds);
            let aligned = place.filter(|(from, end)| from % seconds == 0 && end % seconds == 0);
            aligned.ok_or_else(|| invalid("page", "not the next_page of this report"))?
        }
    };
    Ok(Span { width, from, to: end.min(from + limit * seconds), end })
}

/// Where the next page begins and where the range ends, which "now" would move.
fn cursor(from: i64, end: i64) -> String {
    let bytes = [from.to_be_bytes(), end.to_be_bytes()].concat();
    format!("{CURSOR}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn read_cursor(text: &str) -> Option<(i64, i64)> {
    let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(text.strip_prefix(CURSOR)?).ok()?.try_into().ok()?;
    let both = u128::from_be_bytes(bytes);
    let [from, end] = [both >> 64, both & u128::from(u64::MAX)].map(|half| i64::try_from(half).ok());
    from.zip(end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WIDTHS: [(Width, &str, i64, i64); 3] =
        [(Width::Day, "1d", 7, 31), (Width::Hour, "1h", 24, 168), (Width::Minute, "1m", 60, 1_440)];
    const NOW: Timestamp = Timestamp::from_unix_seconds(10 * 86_400 + 100);

    fn spans(query: &str) -> Result<(i64, i64, i64), String> {
        read(&Params::parse(query), &WIDTHS, NOW)
            .map(|span| (span.from, span.to, span.end))
            .map_err(|error| error.body()["error"]["param"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_range_covers_every_bucket_it_touches() {
        assert_eq!(spans("start_time=86401&end_time=172801"), Ok((86_400, 3 * 86_400, 3 * 86_400)));
        assert_eq!(spans("start_time=60&end_time=121&bucket_width=1m"), Ok((60, 180, 180)));
        // Until now, which is in the eleventh day; seven to a page.
        assert_eq!(spans("start_time=0"), Ok((0, 7 * 86_400, 11 * 86_400)));
        assert_eq!(spans("start_time=0&limit=31"), Ok((0, 11 * 86_400, 11 * 86_400)));
    }

    #[test]
    fn pages_follow_each_other_to_the_end_and_fit_their_report_only() {
        let next_page = |query: &str| read(&Params::parse(query), &WIDTHS, NOW).unwrap().next_page();
        let next = next_page("start_time=0").unwrap();
        assert_eq!(spans(&format!("start_time=0&page={next}")), Ok((7 * 86_400, 11 * 86_400, 11 * 86_400)));
        assert_eq!(next_page(&format!("start_time=0&page={next}")), None);
        assert_eq!(spans(&format!("start_time=700000&page={next}")), Err("page".into()));
        let uneven = cursor(61, 3_600);
        for wrong in ["page_", "page_AA", "nonsense", &uneven, &cursor(120, 60), &cursor(-60, 60)] {
            assert_eq!(spans(&format!("start_time=0&bucket_width=1m&page={wrong}")), Err("page".into()), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_range_is_refused_by_name() {
        for (query, param) in [
            ("", "start_time"),
            ("start_time=soon", "start_time"),
            ("start_time=-1", "start_time"),
            ("start_time=253402300800", "start_time"),
            ("start_time=5&end_time=5", "end_time"),
            ("start_time=5&bucket_width=2d", "bucket_width"),
            ("start_time=5&limit=0", "limit"),
            ("start_time=5&limit=32", "limit"),
            ("start_time=5&limit=169&bucket_width=1h", "limit"),
        ] {
            assert_eq!(spans(query), Err(param.to_owned()), "{query}");
        }
    }
}
