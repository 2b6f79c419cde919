//! Instants cut to microseconds, and clocks that can be handed in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970, UTC. Cut to what Postgres keeps, so it gives back what was written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Where "now" comes from.
pub trait Clock: Send + Sync + 'static {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that moves only when told to. Clones share the same hand.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since 1970, saturating at the ends of time.
    #[must_use]
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// From seconds since 1970, saturating at the ends of time.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, cut down.
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Seconds since 1970, cut down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Later by `span`.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Earlier by `span`.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies ahead, as after a clock jump.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As `2026-01-01T00:00:00Z`, cut to the second.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let seconds = self.unix_seconds();
        let (year, month, day) = date(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Reads back what [`Timestamp::rfc3339`] wrote, and no other spelling of it.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (date, of_day) = text.strip_suffix('Z')?.split_once('T')?;
        let numbers = |text: &str, by: char| -> Option<[i64; 3]> {
            let parsed: Option<Vec<i64>> = text.split(by).map(|part| part.parse().ok()).collect();
            parsed?.try_into().ok()
        };
        let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(of_day, ':')?);
        if !(1970..=9999).contains(&year) {
            return None;
        }
        let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        // A day or minute out of range would be written otherwise.
        let read = Self::from_unix_seconds(seconds);
        (read.rfc3339() == text).then_some(read)
    }
}

/// Days since 1970 of a date in the Gregorian calendar, counted in years that begin in March.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (m * 153 + 2) / 5 + day - 1 - 719_468
}

/// The date so many days after 1970 began.
const fn date(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * m + 2) / 5 + 1, if m < 10 { m + 3 } else { m - 9 });
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

impl ManualClock {
    /// A clock that shows `start` until it is moved.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.0)))
    }

    /// Moves the hand forward.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Puts the hand anywhere, backwards included: clocks do jump.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(feature = "sqlx")]
mod columns {
    use super::Timestamp;

    /// Postgres counts microseconds from 2000-01-01T00:00:00Z.
    const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

    impl sqlx::Type<sqlx::Postgres> for Timestamp {
        fn type_info() -> sqlx::postgres::PgTypeInfo {
            sqlx::postgres::PgTypeInfo::with_name("timestamptz")
        }
    }

    impl sqlx::postgres::PgHasArrayType for Timestamp {
        fn array_type_info() -> sqlx::postgres::PgTypeInfo {
            sqlx::postgres::PgTypeInfo::with_name("_timestamptz")
        }
    }

    impl<'q> sqlx::Encode<'q, sqlx::Postgres> for Timestamp {
        fn encode_by_ref(
            &self,
            buffer: &mut sqlx::postgres::PgArgumentBuffer,
        ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
            let micros = self.0.saturating_sub(POSTGRES_EPOCH_MICROS);
            <i64 as sqlx::Encode<'q, sqlx::Postgres>>::encode(micros, buffer)
        }
    }

    impl<'r> sqlx::Decode<'r, sqlx::Postgres> for Timestamp {
        fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
            match value.format() {
                sqlx::postgres::PgValueFormat::Binary => {
                    let micros = <i64 as sqlx::Decode<'r, sqlx::Postgres>>::decode(value)?;
                    Ok(Self(micros.saturating_add(POSTGRES_EPOCH_MICROS)))
                }
                sqlx::postgres::PgValueFormat::Text => Err("timestamps are read in binary form only".into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_and_read_by_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let at = Timestamp::from_unix_seconds(seconds);
            assert_eq!(at.rfc3339(), text);
            assert_eq!(Timestamp::parse_rfc3339(text), Some(at));
        }
        for wrong in ["2023-02-29T00:00:00Z", "2024-02-29T24:00:00Z", "2024-2-29T00:00:00Z", "2024-02-29", ""] {
            assert_eq!(Timestamp::parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(Timestamp::from_unix_seconds(100));
        let twin = clock.clone();
        twin.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now().unix_ms(), 101_500);
    }

    #[test]
    fn a_clock_that_jumps_back_never_yields_a_negative_span() {
        let (early, late) = (Timestamp::from_unix_seconds(1), Timestamp::from_unix_seconds(2));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.since(early), Duration::from_secs(1));
    }
}
