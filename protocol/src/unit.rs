//! Counts of things that are billed or measured.

use serde::{Deserialize, Serialize};

/// A number of model tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenCount(pub u32);

impl TokenCount {
    /// The sum, or the largest count: a count is bounded by what was relayed, so this can't matter.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

#[cfg(feature = "sqlx")]
mod columns {
    use super::TokenCount;

    crate::sql::column!(TokenCount, i64, |own| i64::from(own.0), |raw| u32::try_from(raw)
        .map(Self)
        .map_err(|_| "a token count outside 32 bits".into()));
}
