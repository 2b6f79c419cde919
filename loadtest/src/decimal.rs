//! Money as it stands in JSON, read without ever becoming a float.
//!
//! `usage.cost` is a JSON number, so a serializer may write `0.0000012` or `1.2e-6`. Both are the
//! same decimal; a double is neither.

use protocol::NanoUsd;
use protocol::money::ParseMoneyError;

/// An amount that is not a whole number of billionths of a dollar, or no amount at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an exact amount of money: {reason}")]
pub struct Inexact {
    /// As it stood.
    pub text: String,
    /// What is wrong with it.
    pub reason: ParseMoneyError,
}

/// Exponents beyond this move every amount out of range; the bound keeps a hostile one from being written out.
const MAX_EXPONENT: i32 = 40;

/// Reads a JSON number or a JSON string holding one, exactly.
///
/// # Errors
/// [`Inexact`] when it is negative, no number, finer than a billionth or too large.
pub fn parse(raw: &str) -> Result<NanoUsd, Inexact> {
    let text = raw.trim().trim_matches('"');
    let inexact = |reason| Inexact { text: raw.to_owned(), reason };
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return text.parse().map_err(inexact);
    };
    let exponent: i32 = exponent.parse().map_err(|_| inexact(ParseMoneyError::Syntax))?;
    if exponent.abs() > MAX_EXPONENT {
        return Err(inexact(ParseMoneyError::OutOfRange));
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(inexact(ParseMoneyError::Syntax));
    }
    // The point moves; the digits stay.
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).map_err(|_| inexact(ParseMoneyError::OutOfRange))? + exponent;
    let plain = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => format!("{digits}{}", "0".repeat(point - digits.len())),
        Ok(0) | Err(_) => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        Ok(point) => format!("{}.{}", &digits[..point], &digits[point..]),
    };
    plain.parse().map_err(inexact)
}
