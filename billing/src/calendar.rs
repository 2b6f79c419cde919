//! Where UTC days, weeks and months begin, in whole-number arithmetic on the proleptic Gregorian calendar.

use std::fmt;
use std::str::FromStr;

use protocol::Timestamp;

const DAY_S: i64 = 86_400;

/// A month of the calendar, in UTC. Prints as `2026-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    /// The number of its first day since 1970.
    first: i64,
}

/// A text that names no month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a month is written as 2026-01")]
pub struct ParseMonthError;

impl Month {
    /// The month an instant lies in.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self { first: first_of_month(day_of(at)) }
    }

    /// The month after.
    #[must_use]
    pub fn next(self) -> Self {
        Self { first: first_of_next_month(self.first) }
    }

    /// The month before.
    #[must_use]
    pub fn previous(self) -> Self {
        Self { first: first_of_month(self.first - 1) }
    }

    /// The first instant inside.
    #[must_use]
    pub fn starts_at(self) -> Timestamp {
        midnight(self.first)
    }

    /// The first instant after.
    #[must_use]
    pub fn ends_at(self) -> Timestamp {
        self.next().starts_at()
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, _) = date(self.first);
        write!(f, "{year:04}-{month:02}")
    }
}

impl FromStr for Month {
    type Err = ParseMonthError;

    fn from_str(text: &str) -> Result<Self, ParseMonthError> {
        let (year, month) = text.split_once('-').ok_or(ParseMonthError)?;
        let (year, month): (i64, i64) =
            (year.parse().map_err(|_| ParseMonthError)?, month.parse().map_err(|_| ParseMonthError)?);
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
            return Err(ParseMonthError);
        }
        let read = Self { first: number(year, month, 1) };
        if read.to_string() == text { Ok(read) } else { Err(ParseMonthError) }
    }
}

/// Days since 1970-01-01.
pub(crate) fn day_of(at: Timestamp) -> i64 {
    at.unix_seconds().div_euclid(DAY_S)
}

/// Midnight of the day numbered `day`.
pub(crate) fn midnight(day: i64) -> Timestamp {
    Timestamp::from_unix_seconds(day.saturating_mul(DAY_S))
}

/// The Monday of the week `day` lies in; day 0 was a Thursday.
pub(crate) fn monday(day: i64) -> i64 {
    day - (day + 3).rem_euclid(7)
}

/// The first day of the month `day` lies in.
pub(crate) fn first_of_month(day: i64) -> i64 {
    let (year, month, _) = date(day);
    number(year, month, 1)
}

/// The first day of the month after the one `day` lies in.
pub(crate) fn first_of_next_month(day: i64) -> i64 {
    let (year, month, _) = date(day);
    if month == 12 { number(year + 1, 1, 1) } else { number(year, month + 1, 1) }
}

/// Year, month and day of a day number. Counts years from March, so the leap day comes last.
pub(crate) fn date(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468; // days from 0000-03-01 to 1970-01-01
    let era = shifted.div_euclid(146_097); // 400 years
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

fn number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_and_are_read_as_they_are_written() {
        let december = Month::of(Timestamp::from_unix_seconds(1_767_225_599)); // 2025-12-31 23:59:59
        assert_eq!(december.to_string(), "2025-12");
        assert_eq!(december.next().to_string(), "2026-01");
        assert_eq!((december.next().previous(), december.ends_at()), (december, december.next().starts_at()));
        assert_eq!("2025-12".parse(), Ok(december));
        for wrong in ["2025-13", "2025-1", "2025", "25-12", "2025-12-01", "+2025-12"] {
            assert_eq!(wrong.parse::<Month>(), Err(ParseMonthError), "{wrong}");
        }
    }

    #[test]
    fn known_days_have_their_dates() {
        for (day, expected) in
            [(0, (1970, 1, 1)), (11_016, (2000, 2, 29)), (20_782, (2026, 11, 25)), (-1, (1969, 12, 31))]
        {
            assert_eq!(date(day), expected);
            assert_eq!(number(expected.0, expected.1, expected.2), day);
        }
    }

    #[test]
    fn every_day_of_four_centuries_goes_round() {
        for day in 0..146_097 {
            let (year, month, of_month) = date(day);
            assert_eq!(number(year, month, of_month), day);
            assert!(first_of_month(day) <= day && day < first_of_next_month(day));
            assert!((0..7).contains(&(day - monday(day))));
        }
        assert_eq!(monday(20_782), 20_780); // 2026-11-25 is a Wednesday
    }
}
