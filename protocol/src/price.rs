//! Prices per unit in trillionths of a dollar, and the one place where price × count becomes money.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::money::{NanoUsd, ParseMoneyError, parse_decimal, write_decimal};

/// Trillionths of a dollar in a billionth.
const PICO_PER_NANO: i128 = 1_000;

/// US dollars per unit (token, request, second) in trillionths, never negative.
///
/// One dollar per million tokens is exactly 1 000 000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Price(i64);

impl Price {
    /// Free of charge.
    pub const ZERO: Self = Self(0);

    /// From trillionths of a dollar; `None` below zero.
    #[must_use]
    pub const fn from_pico(pico: i64) -> Option<Self> {
        if pico < 0 { None } else { Some(Self(pico)) }
    }

    /// From a decimal of dollars per million units, such as `"0.15"`.
    ///
    /// # Errors
    /// [`ParseMoneyError`]; finer than a trillionth per unit is refused, never rounded.
    pub fn per_million(usd: &str) -> Result<Self, ParseMoneyError> {
        parse_decimal(usd, 6).map(Self)
    }

    /// Trillionths of a dollar per unit.
    #[must_use]
    pub const fn pico(self) -> i64 {
        self.0
    }

    /// This price with a share of `bps` basis points added, rounded up to a trillionth.
    ///
    /// `None` past the largest price.
    #[must_use]
    pub fn with_take(self, bps: u32) -> Option<Self> {
        let scaled = i128::from(self.0) * (10_000 + i128::from(bps));
        i64::try_from((scaled + 9_999) / 10_000).ok().map(Self)
    }
}

impl FromStr for Price {
    type Err = ParseMoneyError;

    /// Reads a decimal of dollars per unit, such as `"0.00000015"`.
    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        parse_decimal(text, 12).map(Self)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write_decimal(&mut text, self.0.unsigned_abs(), 12)?;
        // "0.00" reads as a price; "0" is how price lists write free.
        f.write_str(if self.0 == 0 { "0" } else { &text })
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${self}/unit")
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What each class of an offer costs. A class without a price of its own takes its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Prices {
    /// Per prompt token.
    pub prompt: Price,
    /// Per prompt token read from a cache; else [`Prices::prompt`].
    pub cached_prompt: Option<Price>,
    /// Per prompt token written to a cache; else [`Prices::prompt`].
    pub cache_write: Option<Price>,
    /// Per output token.
    pub completion: Price,
    /// Per hidden reasoning token; else [`Prices::completion`].
    pub internal_reasoning: Option<Price>,
    /// Per request.
    pub request: Price,
}

/// What was used, in disjoint classes that add up: the whole prompt is
/// `prompt + cached_prompt + cache_write`, the whole output `completion + internal_reasoning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Units {
    /// Prompt tokens read anew.
    pub prompt: u32,
    /// Prompt tokens read from a cache.
    #[serde(default)]
    pub cached_prompt: u32,
    /// Prompt tokens written to a cache.
    #[serde(default)]
    pub cache_write: u32,
    /// Visible output tokens.
    pub completion: u32,
    /// Hidden reasoning tokens.
    #[serde(default)]
    pub internal_reasoning: u32,
    /// Requests: one for an attempt that earned, one for each picture it was asked for; else none.
    #[serde(default)]
    pub request: u32,
}

impl Units {
    /// All prompt tokens, whatever their class.
    #[must_use]
    pub const fn prompt_total(&self) -> u64 {
        self.prompt as u64 + self.cached_prompt as u64 + self.cache_write as u64
    }

    /// All output tokens, whatever their class.
    #[must_use]
    pub const fn completion_total(&self) -> u64 {
        self.completion as u64 + self.internal_reasoning as u64
    }
}

impl Prices {
    /// Every price raised by a share of `bps` basis points, each rounded up to a trillionth.
    ///
    /// `None` when one passes the largest price.
    #[must_use]
    pub fn with_take(&self, bps: u32) -> Option<Self> {
        let optional = |price: Option<Price>| match price {
            Some(price) => price.with_take(bps).map(Some),
            None => Some(None),
        };
        Some(Self {
            prompt: self.prompt.with_take(bps)?,
            cached_prompt: optional(self.cached_prompt)?,
            cache_write: optional(self.cache_write)?,
            completion: self.completion.with_take(bps)?,
            internal_reasoning: optional(self.internal_reasoning)?,
            request: self.request.with_take(bps)?,
        })
    }

    /// What a user pays for `units`: summed in trillionths, rounded once, half up, to a billionth.
    ///
    /// `None` when the sum passes the largest amount.
    #[must_use]
    pub fn charge(&self, units: &Units) -> Option<NanoUsd> {
        to_nano(self.pico(units) + PICO_PER_NANO / 2)
    }

    /// What a provider earns for `units`: rounded once, down, so it never passes the charge.
    ///
    /// `None` when the sum passes the largest amount.
    #[must_use]
    pub fn earning(&self, units: &Units) -> Option<NanoUsd> {
        to_nano(self.pico(units))
    }

    /// The dearest price of each class of `self` and `other`: what a hold must cover when either may serve.
    #[must_use]
    pub fn dearest(&self, other: &Self) -> Self {
        let class = |a: Option<Price>, b: Option<Price>, parent_a: Price, parent_b: Price| {
            Some(a.unwrap_or(parent_a).max(b.unwrap_or(parent_b)))
        };
        Self {
            prompt: self.prompt.max(other.prompt),
            cached_prompt: class(self.cached_prompt, other.cached_prompt, self.prompt, other.prompt),
            cache_write: class(self.cache_write, other.cache_write, self.prompt, other.prompt),
            completion: self.completion.max(other.completion),
            internal_reasoning: class(
                self.internal_reasoning,
                other.internal_reasoning,
                self.completion,
                other.completion,
            ),
            request: self.request.max(other.request),
        }
    }

    /// The most that one request of `prompt` prompt tokens and `completion` output tokens can cost, whatever their class.
    #[must_use]
    pub fn ceiling(&self, prompt: u32, completion: u32) -> Option<NanoUsd> {
        self.ceiling_of(prompt, completion, 1)
    }

    /// The same where it counts as `request` requests.
    #[must_use]
    pub fn ceiling_of(&self, prompt: u32, completion: u32, request: u32) -> Option<NanoUsd> {
        let dearest =
            |parent: Price, others: &[Option<Price>]| others.iter().flatten().copied().fold(parent, Price::max);
        let worst = Self {
            prompt: dearest(self.prompt, &[self.cached_prompt, self.cache_write]),
            completion: dearest(self.completion, &[self.internal_reasoning]),
            request: self.request,
            ..Self::default()
        };
        let units = Units { prompt, completion, request, ..Units::default() };
        // Rounded up: a ceiling below the charge it must cover would be none.
        to_nano(worst.pico(&units) + PICO_PER_NANO - 1)
    }

    /// Trillionths of a dollar. At most 6 × 2^32 × 2^63 < 2^98: 128 bits can't overflow.
    #[must_use]
    pub fn pico(&self, units: &Units) -> i128 {
        let line = |price: Price, count: u32| i128::from(price.0) * i128::from(count);
        line(self.prompt, units.prompt)
            + line(self.cached_prompt.unwrap_or(self.prompt), units.cached_prompt)
            + line(self.cache_write.unwrap_or(self.prompt), units.cache_write)
            + line(self.completion, units.completion)
            + line(self.internal_reasoning.unwrap_or(self.completion), units.internal_reasoning)
            + line(self.request, units.request)
    }
}

fn to_nano(pico: i128) -> Option<NanoUsd> {
    i64::try_from(pico / PICO_PER_NANO).ok().and_then(NanoUsd::new)
}

#[cfg(feature = "sqlx")]
mod columns {
    use super::Price;

    crate::sql::column!(Price, i64, |own| own.0, |raw| Self::from_pico(raw).ok_or_else(|| "a negative price".into()));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price() -> impl Strategy<Value = Price> {
        (0..10_000_000_000_i64).prop_map(|pico| Price::from_pico(pico).unwrap())
    }

    fn prices() -> impl Strategy<Value = Prices> {
        let some = || proptest::option::of(price());
        (price(), some(), some(), price(), some(), price()).prop_map(
            |(prompt, cached_prompt, cache_write, completion, internal_reasoning, request)| Prices {
                prompt,
                cached_prompt,
                cache_write,
                completion,
                internal_reasoning,
                request,
            },
        )
    }

    fn units() -> impl Strategy<Value = Units> {
        let count = || 0..100_000_u32;
        (count(), count(), count(), count(), count(), 0..2_u32).prop_map(
            |(prompt, cached_prompt, cache_write, completion, internal_reasoning, request)| Units {
                prompt,
                cached_prompt,
                cache_write,
                completion,
                internal_reasoning,
                request,
            },
        )
    }

    #[test]
    fn a_dollar_per_million_is_a_million_trillionths() {
        assert_eq!(Price::per_million("1").unwrap().pico(), 1_000_000);
        assert_eq!("0.000001".parse::<Price>().unwrap(), Price::per_million("1.00").unwrap());
        assert!("0.0000000000001".parse::<Price>().is_err());
        assert_eq!(Price::per_million("0.15").unwrap().to_string(), "0.00000015");
    }

    #[test]
    fn a_charge_rounds_half_up_and_an_earning_down() {
        let half = Prices { completion: Price::from_pico(500).unwrap(), ..Prices::default() };
        let one = Units { completion: 1, ..Units::default() };
        assert_eq!(half.charge(&one).unwrap().nano(), 1);
        assert_eq!(half.earning(&one).unwrap().nano(), 0);
    }

    #[test]
    fn a_take_is_rounded_up_to_a_trillionth() {
        assert_eq!(Price::from_pico(1).unwrap().with_take(1).unwrap().pico(), 2);
        assert_eq!(Price::from_pico(100).unwrap().with_take(1_000).unwrap().pico(), 110);
        assert_eq!(Price::ZERO.with_take(1_000).unwrap(), Price::ZERO);
    }

    proptest! {
        #[test]
        fn a_provider_never_earns_more_than_the_user_pays(prices in prices(), units in units(), bps in 0..5_000_u32) {
            let user = prices.with_take(bps).unwrap();
            prop_assert!(prices.earning(&units).unwrap() <= user.charge(&units).unwrap());
        }

        #[test]
        fn splitting_a_request_moves_the_sum_by_less_than_a_nano_per_part(prices in prices(), a in units(), b in units()) {
            let both = Units {
                prompt: a.prompt + b.prompt,
                cached_prompt: a.cached_prompt + b.cached_prompt,
                cache_write: a.cache_write + b.cache_write,
                completion: a.completion + b.completion,
                internal_reasoning: a.internal_reasoning + b.internal_reasoning,
                request: a.request + b.request,
            };
            let parts = prices.charge(&a).unwrap().nano() + prices.charge(&b).unwrap().nano();
            prop_assert!((parts - prices.charge(&both).unwrap().nano()).abs() <= 1);
        }

        #[test]
        fn a_ceiling_covers_every_split_into_classes(prices in prices(), units in units()) {
            let units = Units { request: 1, ..units };
            let (prompt, completion) = (units.prompt_total(), units.completion_total());
            let ceiling = prices.ceiling(prompt.try_into().unwrap(), completion.try_into().unwrap()).unwrap();
            prop_assert!(prices.charge(&units).unwrap() <= ceiling);
        }

        #[test]
        fn the_dearest_of_two_covers_both(a in prices(), b in prices(), units in units()) {
            let both = a.dearest(&b).charge(&units).unwrap();
            prop_assert!(a.charge(&units).unwrap() <= both && b.charge(&units).unwrap() <= both);
        }
    }
}
