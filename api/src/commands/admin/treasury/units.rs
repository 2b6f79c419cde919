//! Whole coins as people write them, and the smallest units they are: exactly or not at all.

use protocol::token::TokenAmount;

/// Reads an amount above zero, of `most` whole coins at most.
pub(super) fn read(text: &str, digits: u8, most: u32) -> Result<TokenAmount, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_half = whole.is_empty() || (fraction.is_empty() && text.contains('.'));
    if is_half || !is_number(whole) || !is_number(fraction) {
        return Err("an amount is decimal digits with at most one point, such as 1000.5".to_owned());
    }
    let fraction = fraction.trim_end_matches('0');
    let places = usize::from(digits);
    if fraction.len() > places {
        return Err(format!("this coin has {digits} digits behind the point"));
    }
    let units = format!("{whole}{fraction:0<places$}");
    let units = units.trim_start_matches('0');
    if units.is_empty() {
        return Err("it must be above zero".to_owned());
    }
    let limit = 10_u128.checked_pow(digits.into()).and_then(|one| one.checked_mul(most.into())).unwrap_or(u128::MAX);
    let units = units.parse().ok().filter(|units: &u128| *units <= limit);
    units.map(TokenAmount::from).ok_or_else(|| format!("one purchase is of at most {most} whole coins"))
}

/// Writes so many of the smallest unit in whole coins.
pub(super) fn write(units: i128, digits: u8) -> String {
    let (sign, places) = (if units < 0 { "-" } else { "" }, usize::from(digits));
    let text = format!("{:0>width$}", units.unsigned_abs(), width = places + 1);
    let (whole, fraction) = text.split_at(text.len() - places);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_and_written_as_they_were() {
        for (text, digits, units) in [
            ("1000.5", 6, 1_000_500_000),
            ("0.000001", 6, 1),
            ("1", 0, 1),
            ("0.000000000000000001", 18, 1),
            ("9999.999999999999999999", 18, 9_999_999_999_999_999_999_999),
        ] {
            assert_eq!(read(text, digits, 10_000), Ok(TokenAmount::from(units)), "{text}");
            assert_eq!(write(units.cast_signed(), digits), text);
        }
        assert_eq!(read("007.50", 6, 10).unwrap(), TokenAmount::from(7_500_000));
        assert_eq!(
            (write(0, 6), write(-1_500_000, 6), write(-1, 18)),
            ("0".into(), "-1.5".into(), format!("-0.{:0>18}", 1))
        );
    }

    #[test]
    fn what_is_no_amount_of_a_coin_is_refused() {
        for (text, why) in [
            ("", "decimal digits"),
            (".5", "decimal digits"),
            ("5.", "decimal digits"),
            ("-5", "decimal digits"),
            ("+5", "decimal digits"),
            ("1e3", "decimal digits"),
            ("1,000", "decimal digits"),
            ("1.0.0", "decimal digits"),
            ("٣", "decimal digits"),
            ("0", "above zero"),
            ("0.000", "above zero"),
            ("0.0000001", "6 digits behind the point"),
            ("10.000001", "at most 10 whole coins"),
            ("99999999999999999999999999999999999999999", "at most 10 whole coins"),
        ] {
            let refused = read(text, 6, 10).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        assert!(read("10", 6, 10).is_ok(), "as much as is allowed");
    }
}
