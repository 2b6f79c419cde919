//! Dollars as integers of a billionth: exact, checked, never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Billionths of a dollar in one dollar.
pub const NANO_PER_USD: i64 = 1_000_000_000;

/// An amount of US dollars in billionths, never negative; at most about 9.2 billion dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NanoUsd(i64);

/// A balance or a difference in billionths of a dollar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SignedNanoUsd(i64);

/// A text or number that is not an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseMoneyError {
    /// Not digits with at most one decimal point.
    #[error("an amount is decimal digits with at most one point, such as \"12.50\"")]
    Syntax,
    /// More decimal places than the ledger keeps.
    #[error("an amount has at most {places} decimal places")]
    TooFine {
        /// How many are kept.
        places: u32,
    },
    /// Outside what 64 bits hold, or below zero where that makes no sense.
    #[error("an amount is between 0 and 9223372036 dollars")]
    OutOfRange,
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// `None` below zero.
    #[must_use]
    pub const fn new(nano: i64) -> Option<Self> {
        if nano < 0 { None } else { Some(Self(nano)) }
    }

    /// Whole dollars; `None` when out of range.
    #[must_use]
    pub const fn from_dollars(dollars: u32) -> Self {
        Self(dollars as i64 * NANO_PER_USD)
    }

    /// Billionths of a dollar, ≥ 0.
    #[must_use]
    pub const fn nano(self) -> i64 {
        self.0
    }

    /// True for nothing at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` past the largest amount.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` when `other` is larger.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        if other.0 > self.0 { None } else { Some(Self(self.0 - other.0)) }
    }

    /// The difference, or zero when `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        if other.0 > self.0 { Self(0) } else { Self(self.0 - other.0) }
    }

    /// The sum, or the largest amount.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The same amount as a difference.
    #[must_use]
    pub const fn signed(self) -> SignedNanoUsd {
        SignedNanoUsd(self.0)
    }

    /// Dollars as a float, for the one JSON field that must be a number. Never compute with it.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn as_display_f64(self) -> f64 {
        self.0 as f64 / NANO_PER_USD as f64
    }
}

impl SignedNanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Any 64-bit number of billionths is a valid difference.
    #[must_use]
    pub const fn new(nano: i64) -> Self {
        Self(nano)
    }

    /// Billionths of a dollar.
    #[must_use]
    pub const fn nano(self) -> i64 {
        self.0
    }

    /// The sum, or `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` on overflow.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }
}

impl TryFrom<SignedNanoUsd> for NanoUsd {
    type Error = ParseMoneyError;

    fn try_from(value: SignedNanoUsd) -> Result<Self, ParseMoneyError> {
        Self::new(value.0).ok_or(ParseMoneyError::OutOfRange)
    }
}

/// Reads a plain decimal as an integer of 10^-`places`, exactly or not at all.
pub(crate) fn parse_decimal(text: &str, places: u32) -> Result<i64, ParseMoneyError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let empty_side = whole.is_empty() || (fraction.is_empty() && text.contains('.'));
    if empty_side || !digits(whole) || !digits(fraction) {
        return Err(ParseMoneyError::Syntax);
    }
    let fraction = fraction.trim_end_matches('0');
    let kept = u32::try_from(fraction.len()).map_err(|_| ParseMoneyError::TooFine { places })?;
    if kept > places {
        return Err(ParseMoneyError::TooFine { places });
    }
    let out = || ParseMoneyError::OutOfRange;
    let scale = 10_i64.checked_pow(places).ok_or_else(out)?;
    let whole = if whole.trim_start_matches('0').is_empty() { 0 } else { whole.parse::<i64>().map_err(|_| out())? };
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<i64>().map_err(|_| out())? };
    let fraction = fraction * 10_i64.pow(places - kept);
    whole.checked_mul(scale).and_then(|w| w.checked_add(fraction)).ok_or_else(out)
}

/// Writes an integer of 10^-`places` as a plain decimal with at least two places.
pub(crate) fn write_decimal(f: &mut impl fmt::Write, magnitude: u64, places: u32) -> fmt::Result {
    let scale = 10_u64.pow(places);
    let width = places as usize;
    let fraction = format!("{:0width$}", magnitude % scale);
    let kept = fraction.trim_end_matches('0').len().max(2);
    write!(f, "{}.{}", magnitude / scale, &fraction[..kept])
}

impl FromStr for NanoUsd {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        parse_decimal(text, 9).map(Self)
    }
}

impl FromStr for SignedNanoUsd {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        match text.strip_prefix('-') {
            Some(rest) => parse_decimal(rest, 9).map(|nano| Self(-nano)),
            None => parse_decimal(text, 9).map(Self),
        }
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0.unsigned_abs(), 9)
    }
}

impl fmt::Display for SignedNanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write_decimal(f, self.0.unsigned_abs(), 9)
    }
}

macro_rules! decimal_string {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "${self}")
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

decimal_string!(NanoUsd, SignedNanoUsd);

#[cfg(feature = "sqlx")]
mod columns {
    use super::{NanoUsd, SignedNanoUsd};

    crate::sql::column!(NanoUsd, i64, |own| own.0, |raw| Self::new(raw)
        .ok_or_else(|| "a negative amount where none can be".into()));
    crate::sql::column!(SignedNanoUsd, i64, |own| own.0, |raw| Ok(Self(raw)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_print_as_people_write_them() {
        let shown = |nano| NanoUsd::new(nano).unwrap().to_string();
        assert_eq!(shown(5 * NANO_PER_USD), "5.00");
        assert_eq!(shown(1), "0.000000001");
        assert_eq!(shown(1_250_000_000), "1.25");
        assert_eq!(SignedNanoUsd::new(-1_500_000_000).to_string(), "-1.50");
        assert_eq!(SignedNanoUsd::new(i64::MIN).to_string(), "-9223372036.854775808");
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        use ParseMoneyError as E;
        let cases = [
            ("", E::Syntax),
            (".5", E::Syntax),
            ("5.", E::Syntax),
            ("1e3", E::Syntax),
            ("-1", E::Syntax),
            ("+1", E::Syntax),
            ("1_000", E::Syntax),
            (" 1", E::Syntax),
            ("١", E::Syntax),
            ("0.0000000001", E::TooFine { places: 9 }),
            ("9223372036.854775808", E::OutOfRange),
            ("99999999999999999999999", E::OutOfRange),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<NanoUsd>().unwrap_err(), expected, "{text}");
        }
        assert_eq!("0000000000000000000000001.10".parse::<NanoUsd>().unwrap().nano(), 1_100_000_000);
        assert_eq!("1.1000000000000".parse::<NanoUsd>().unwrap().nano(), 1_100_000_000);
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same_amount(nano in any::<i64>()) {
            let signed = SignedNanoUsd::new(nano);
            if nano != i64::MIN {
                prop_assert_eq!(signed.to_string().parse::<SignedNanoUsd>().unwrap(), signed);
            }
            if let Some(amount) = NanoUsd::new(nano) {
                prop_assert_eq!(amount.to_string().parse::<NanoUsd>().unwrap(), amount);
            }
        }

        #[test]
        fn subtraction_undoes_addition(a in 0..i64::MAX / 2, b in 0..i64::MAX / 2) {
            let (a, b) = (NanoUsd::new(a).unwrap(), NanoUsd::new(b).unwrap());
            prop_assert_eq!(a.checked_add(b).unwrap().checked_sub(b).unwrap(), a);
        }
    }
}
