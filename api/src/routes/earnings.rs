//! What a provider earned, in the shape of a usage page.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use billing::store::earnings::{self, Earned, Question};
use protocol::{NodeId, OfferId, Timestamp};
use serde::Serialize;

use crate::error::ApiError;
use crate::extract::{Json, ProviderCaller};
use crate::state::AppState;

/// Widths of a bucket: its name, its seconds, how many there are on a page by default and at most.
const WIDTHS: [(&str, i64, u32, u32); 3] = [("1m", 60, 60, 1_440), ("1h", 3_600, 24, 168), ("1d", 86_400, 7, 31)];

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/providers/{provider}/earnings", get(list))
}

#[derive(Debug, Serialize)]
struct Page {
    object: &'static str,
    data: Vec<Bucket>,
    has_more: bool,
    next_page: Option<String>,
}

#[derive(Debug, Serialize)]
struct Bucket {
    object: &'static str,
    start_time: i64,
    end_time: i64,
    results: Vec<Line>,
}

/// Amounts are USD as decimal strings: what users pay for the work, the broker's share of it, and the rest.
#[derive(Debug, Serialize)]
struct Line {
    object: &'static str,
    model: Option<String>,
    node_id: Option<NodeId>,
    offer_id: Option<OfferId>,
    attempts: i64,
    gross: String,
    fee: String,
    net: String,
}

/// The query, checked.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    from: i64,
    to: i64,
    /// Where the page's first bucket begins.
    origin: i64,
    width_s: i64,
    limit: u32,
    by: [bool; 3],
}

/// The caller's earnings.
#[tracing::instrument(name = "api.earnings.list", skip_all, fields(provider.id = %caller.provider))]
async fn list(
    State(app): State<AppState>,
    caller: ProviderCaller,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, ApiError> {
    let wanted = Wanted::parse(query.as_deref().unwrap_or_default(), app.env.now().unix_seconds())?;
    let end = wanted.page_end();
    let [by_model, by_node, by_offer] = wanted.by;
    let question = Question {
        provider: caller.provider,
        from: Timestamp::from_unix_seconds(wanted.from.max(wanted.origin)),
        to: Timestamp::from_unix_seconds(wanted.to.min(end)),
        origin: Timestamp::from_unix_seconds(wanted.origin),
        width_s: wanted.width_s,
        by_model,
        by_node,
        by_offer,
    };
    let mut conn = app.db.acquire().await?;
    let earned = earnings::list(&mut conn, &question).await?;
    Ok(Json(page(&wanted, earned)))
}

fn page(wanted: &Wanted, earned: Vec<Earned>) -> Page {
    let end = wanted.page_end();
    let starts = (wanted.origin..wanted.to.min(end)).step_by(usize::try_from(wanted.width_s).unwrap_or(usize::MAX));
    let bucket = |start_time: i64| Bucket {
        object: "bucket",
        start_time,
        end_time: start_time + wanted.width_s,
        results: Vec::new(),
    };
    let mut data: Vec<Bucket> = starts.map(bucket).collect();
    for one in earned {
        let index = usize::try_from(one.bucket).ok();
        if let Some(bucket) = index.and_then(|index| data.get_mut(index)) {
            bucket.results.push(line(one));
        }
    }
    let has_more = end < wanted.to;
    Page { object: "page", data, has_more, next_page: has_more.then(|| format!("page_{end}")) }
}

fn line(one: Earned) -> Line {
    Line {
        object: "provider.earnings.result",
        model: one.model,
        node_id: one.node,
        offer_id: one.offer,
        attempts: one.attempts,
        gross: one.net.saturating_add(one.fee).to_string(),
        fee: one.fee.to_string(),
        net: one.net.to_string(),
    }
}

impl Wanted {
    fn parse(query: &str, now: i64) -> Result<Self, ApiError> {
        let (mut start, mut end, mut width, mut limit, mut page) = (None, None, WIDTHS[2], None, None);
        let mut by = [false; 3];
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match name.trim_end_matches("[]") {
                "start_time" => start = Some(instant("start_time", &value)?),
                "end_time" => end = Some(instant("end_time", &value)?),
                "page" => page = Some(value.strip_prefix("page_").map_or(Err(bad("page")), |at| instant("page", at))?),
                "limit" => limit = Some(value.parse::<u32>().map_err(|_| bad("limit"))?),
                "bucket_width" => {
                    let known = WIDTHS.into_iter().find(|(name, ..)| *name == value);
                    width = known.ok_or_else(|| bad("bucket_width"))?;
                }
                "group_by" => {
                    let known = ["model", "node", "offer"].into_iter().position(|name| name == value);
                    by[known.ok_or_else(|| bad("group_by"))?] = true;
                }
                _ => {}
            }
        }
        let (_, width_s, usual, most) = width;
        let from = start.ok_or_else(|| ApiError::invalid("start_time", "unix seconds; it must be given"))?;
        let to = end.unwrap_or(now.saturating_add(1));
        if to <= from {
            return Err(ApiError::invalid("end_time", "later than start_time").with_code("invalid_value"));
        }
        let limit = limit.unwrap_or(usual);
        if limit == 0 || limit > most {
            return Err(ApiError::invalid("limit", format!("between 1 and {most}")).with_code("invalid_value"));
        }
        let origin = page.unwrap_or(from);
        Ok(Self { from, to, origin: origin - origin.rem_euclid(width_s), width_s, limit, by })
    }

    fn page_end(&self) -> i64 {
        self.origin.saturating_add(self.width_s.saturating_mul(self.limit.into()))
    }
}

/// Seconds that a calendar can hold: past the year 9999 nothing was earned.
fn instant(field: &str, text: &str) -> Result<i64, ApiError> {
    text.parse::<i64>().ok().filter(|at| (0..253_402_300_800).contains(at)).ok_or_else(|| bad(field))
}

fn bad(field: &str) -> ApiError {
    let message = match field {
        "bucket_width" => "one of 1m, 1h and 1d",
        "group_by" => "model, node or offer",
        "page" => "next_page of the page before",
        "limit" => "a number of buckets",
        _ => "unix seconds",
    };
    ApiError::invalid(field, message).with_code("invalid_value")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_query_is_read_in_either_spelling_of_a_list() {
        let wanted = Wanted::parse("start_time=90000&group_by[]=model&group_by[]=offer", 3 * DAY).unwrap();
        assert_eq!((wanted.from, wanted.to, wanted.origin), (90_000, 3 * DAY + 1, DAY));
        assert_eq!((wanted.width_s, wanted.limit, wanted.by), (DAY, 7, [true, false, true]));
        let hourly = Wanted::parse("start_time=0&end_time=7200&bucket_width=1h&group_by=node&limit=1", 0).unwrap();
        assert_eq!((hourly.width_s, hourly.limit, hourly.by), (3_600, 1, [false, true, false]));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let param = |query| {
            let error = Wanted::parse(query, DAY).unwrap_err();
            error.body()["error"]["param"].as_str().unwrap().to_owned()
        };
        assert_eq!(param(""), "start_time");
        assert_eq!(param("start_time=x"), "start_time");
        assert_eq!(param("start_time=-1"), "start_time");
        assert_eq!(param("start_time=5&end_time=5"), "end_time");
        assert_eq!(param("start_time=0&bucket_width=2d"), "bucket_width");
        assert_eq!(param("start_time=0&group_by=customer"), "group_by");
        assert_eq!(param("start_time=0&limit=32"), "limit");
        assert_eq!(param("start_time=0&page=7"), "page");
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let first = page(&Wanted::parse("start_time=0&end_time=864000&limit=7", 0).unwrap(), Vec::new());
        assert_eq!((first.data.len(), first.data[6].end_time, first.has_more), (7, 7 * DAY, true));
        let query = format!("start_time=0&end_time=864000&limit=7&page={}", first.next_page.unwrap());
        let second = page(&Wanted::parse(&query, 0).unwrap(), Vec::new());
        assert_eq!((second.data.len(), second.data[0].start_time, second.has_more), (3, 7 * DAY, false));
        assert_eq!(second.next_page, None);
    }
}
