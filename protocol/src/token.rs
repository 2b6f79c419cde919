//! Amounts of payout tokens: base units of 256 bits, as the contract counts them.

use std::fmt;
use std::str::FromStr;

/// Base units of a token, never negative. Decimal as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TokenAmount([u8; 32]);

/// A text that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount of tokens is a whole decimal number of base units below 2^256")]
pub struct ParseTokenAmountError;

impl TokenAmount {
    /// Nothing.
    pub const ZERO: Self = Self([0; 32]);

    /// The bytes of a `uint256`.
    #[must_use]
    pub const fn be_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the bytes of a `uint256`.
    #[must_use]
    pub const fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// True for nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// The sum; `None` past the largest amount.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (mut sum, mut carry) = ([0; 32], 0_u16);
        for at in (0..32).rev() {
            let digit = u16::from(self.0[at]) + u16::from(other.0[at]) + carry;
            sum[at] = digit.to_be_bytes()[1];
            carry = digit >> 8;
        }
        (carry == 0).then_some(Self(sum))
    }

    /// The difference; `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let (mut rest, mut borrow) = ([0; 32], 0_i16);
        for at in (0..32).rev() {
            let digit = i16::from(self.0[at]) - i16::from(other.0[at]) - borrow;
            rest[at] = digit.to_be_bytes()[1];
            borrow = i16::from(digit < 0);
        }
        (borrow == 0).then_some(Self(rest))
    }

    /// In whole tokens of so many digits, as people write it.
    #[must_use]
    pub fn in_tokens(self, decimals: u8) -> String {
        let (digits, places) = (self.to_string(), usize::from(decimals));
        if places == 0 {
            return digits;
        }
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, part) = padded.split_at(padded.len() - places);
        format!("{whole}.{part}")
    }

    /// Ten times itself and `digit`; `None` past the largest amount.
    fn shifted(self, digit: u8) -> Option<Self> {
        let (mut next, mut carry) = ([0; 32], u16::from(digit));
        for at in (0..32).rev() {
            let product = u16::from(self.0[at]) * 10 + carry;
            next[at] = product.to_be_bytes()[1];
            carry = product >> 8;
        }
        (carry == 0).then_some(Self(next))
    }

    /// A tenth of itself, and the digit that is left.
    fn tenth(self) -> (Self, u8) {
        let (mut next, mut rest) = ([0; 32], 0_u16);
        for (digit, byte) in next.iter_mut().zip(self.0) {
            let part = (rest << 8) + u16::from(byte);
            *digit = (part / 10).to_be_bytes()[1];
            rest = part % 10;
        }
        (Self(next), rest.to_be_bytes()[1])
    }
}

impl From<u128> for TokenAmount {
    fn from(amount: u128) -> Self {
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&amount.to_be_bytes());
        Self(bytes)
    }
}

impl FromStr for TokenAmount {
    type Err = ParseTokenAmountError;

    fn from_str(text: &str) -> Result<Self, ParseTokenAmountError> {
        // One spelling only: no sign, and no zero in front of another digit.
        let padded = text.len() > 1 && text.starts_with('0');
        if text.is_empty() || padded || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseTokenAmountError);
        }
        text.bytes().try_fold(Self::ZERO, |sum, digit| sum.shifted(digit - b'0')).ok_or(ParseTokenAmountError)
    }
}

impl fmt::Display for TokenAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut left, mut digits) = (*self, Vec::new());
        loop {
            let (next, digit) = left.tenth();
            digits.push(char::from(b'0' + digit));
            left = next;
            if left.is_zero() {
                break;
            }
        }
        f.write_str(&digits.iter().rev().collect::<String>())
    }
}

impl fmt::Debug for TokenAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

crate::text::text_value!(TokenAmount);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: &str = "115792089237316195423570985008687907853269984665640564039457584007913129639935";

    #[test]
    fn amounts_fill_256_bits_and_no_more() {
        let most: TokenAmount = MOST.parse().unwrap();
        assert_eq!((most.be_bytes(), most.to_string().as_str()), (&[0xff; 32], MOST));
        assert_eq!(most.checked_add(TokenAmount::from(1)), None);
        assert_eq!(TokenAmount::ZERO.checked_sub(TokenAmount::from(1)), None);
        for wrong in ["", "-1", "01", "1.0", "0x1", &format!("{MOST}0"), &MOST.replace("935", "936")] {
            assert_eq!(wrong.parse::<TokenAmount>(), Err(ParseTokenAmountError), "{wrong:?}");
        }
    }

    #[test]
    fn people_read_amounts_in_whole_tokens() {
        let told = |amount: u128, decimals| TokenAmount::from(amount).in_tokens(decimals);
        assert_eq!((told(0, 6).as_str(), told(1, 6).as_str()), ("0.000000", "0.000001"));
        assert_eq!((told(12_345_678, 6).as_str(), told(42, 0).as_str()), ("12.345678", "42"));
    }

    proptest! {
        #[test]
        fn amounts_count_as_integers_do(a in 0..u128::MAX / 2, b in 0..u128::MAX / 2) {
            let (one, other) = (TokenAmount::from(a), TokenAmount::from(b));
            prop_assert_eq!(one.to_string(), a.to_string());
            prop_assert_eq!(a.to_string().parse::<TokenAmount>().unwrap(), one);
            prop_assert_eq!(one.checked_add(other), Some(TokenAmount::from(a + b)));
            prop_assert_eq!(one.checked_sub(other), a.checked_sub(b).map(TokenAmount::from));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
        }
    }
}
