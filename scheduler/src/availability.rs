//! Why an ask found no place, in the words and status codes of the public contract.

use std::sync::Arc;

use serde::Serialize;

/// A step of the filter, in the order the steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Constraint {
    /// Input or output kind of content.
    #[serde(rename = "modality")]
    Modality,
    /// `only`, `ignore`, the key's permissions, and `order` without fallbacks.
    #[serde(rename = "allowed_providers")]
    AllowedProviders,
    /// Region or country.
    #[serde(rename = "geo")]
    Geo,
    /// Nothing may be kept.
    #[serde(rename = "data_policy:zdr")]
    Zdr,
    /// Nothing may be trained on.
    #[serde(rename = "data_policy:training")]
    Training,
    /// Trust level.
    #[serde(rename = "trust")]
    Trust,
    /// Weight precision.
    #[serde(rename = "quantization")]
    Quantization,
    /// Prompt and output must fit.
    #[serde(rename = "context_length")]
    ContextLength,
    /// Tools, schemas, and with `require_parameters` all others.
    #[serde(rename = "require_parameters")]
    RequireParameters,
    /// `max_price`, `:free`, and the hold's ceiling.
    #[serde(rename = "max_price")]
    MaxPrice,
    /// Node draining, silent or quarantined; offer staged or paused.
    #[serde(rename = "unavailable")]
    Unavailable,
    /// Already failed this request.
    #[serde(rename = "tried")]
    Tried,
    /// Breaker open.
    #[serde(rename = "breaker")]
    Breaker,
    /// No credit, or the learned cap is reached.
    #[serde(rename = "capacity")]
    Capacity,
}

impl Constraint {
    /// How many there are.
    pub const COUNT: usize = 14;
    /// All, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Modality,
        Self::AllowedProviders,
        Self::Geo,
        Self::Zdr,
        Self::Training,
        Self::Trust,
        Self::Quantization,
        Self::ContextLength,
        Self::RequireParameters,
        Self::MaxPrice,
        Self::Unavailable,
        Self::Tried,
        Self::Breaker,
        Self::Capacity,
    ];

    /// Its name in `excluded_by`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Modality => "modality",
            Self::AllowedProviders => "allowed_providers",
            Self::Geo => "geo",
            Self::Zdr => "data_policy:zdr",
            Self::Training => "data_policy:training",
            Self::Trust => "trust",
            Self::Quantization => "quantization",
            Self::ContextLength => "context_length",
            Self::RequireParameters => "require_parameters",
            Self::MaxPrice => "max_price",
            Self::Unavailable => "unavailable",
            Self::Tried => "tried",
            Self::Breaker => "breaker",
            Self::Capacity => "capacity",
        }
    }

    /// True for what the caller asked for: such a constraint no retry can cure.
    #[must_use]
    pub const fn is_demand(self) -> bool {
        (self as usize) <= (Self::MaxPrice as usize)
    }
}

/// How many offers each step removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exclusions([u32; Constraint::COUNT]);

impl Exclusions {
    /// Adds `count` to a step.
    pub const fn add(&mut self, constraint: Constraint, count: u32) {
        self.0[constraint as usize] += count;
    }

    /// What a step removed.
    #[must_use]
    pub const fn get(&self, constraint: Constraint) -> u32 {
        self.0[constraint as usize]
    }

    /// The steps that removed anything, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Constraint, u32)> + '_ {
        Constraint::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// Removed by all steps together.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }
}

/// The kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AvailabilityCode {
    /// Nobody has ever offered this model here.
    ModelNotFound,
    /// The model is known; nobody offers it in this form.
    NoEndpoints,
    /// The caller's demands leave nobody.
    ConstraintFiltered,
    /// Privacy demands leave nobody.
    PrivacyRestricted,
    /// Region demands leave nobody.
    RegionRestricted,
    /// Offers exist and are out for a while.
    TemporarilyUnavailable,
    /// Offers exist and are full.
    CapacityExhausted,
}

/// The nearest miss, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// The request field that excluded the last offers.
    pub field: &'static str,
    /// What would have admitted one.
    pub detail: String,
}

/// Why routing found no place: the `availability` object of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Availability {
    /// The kind of refusal.
    pub code: AvailabilityCode,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Seconds, 1 to 60; null when retrying is pointless.
    pub retry_after: Option<u32>,
    /// The models asked for.
    pub requested_models: Vec<Arc<str>>,
    /// Names of the demands that removed offers.
    pub excluded_by: Vec<&'static str>,
    /// Models that could serve instead; filled by who knows the catalogue.
    pub fallback_models: Vec<String>,
    /// The demand that removed the last offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Nearest>,
}

impl Availability {
    /// HTTP status and error code of this refusal.
    #[must_use]
    pub const fn status(&self) -> (u16, &'static str) {
        match self.code {
            AvailabilityCode::ModelNotFound => (404, "model_not_found"),
            AvailabilityCode::NoEndpoints
            | AvailabilityCode::ConstraintFiltered
            | AvailabilityCode::PrivacyRestricted
            | AvailabilityCode::RegionRestricted => (404, "no_eligible_provider"),
            AvailabilityCode::TemporarilyUnavailable => (503, "temporarily_unavailable"),
            AvailabilityCode::CapacityExhausted => (429, "capacity_exhausted"),
        }
    }

    /// A refusal that no retry can cure.
    pub(crate) fn permanent(code: AvailabilityCode, model: &Arc<str>, exclusions: &Exclusions) -> Self {
        Self {
            code,
            retryable: false,
            retry_after: None,
            requested_models: vec![Arc::clone(model)],
            excluded_by: demands(exclusions),
            fallback_models: Vec::new(),
            constraint: None,
        }
    }

    /// A refusal that time may cure.
    pub(crate) fn transient(
        code: AvailabilityCode,
        model: &Arc<str>,
        exclusions: &Exclusions,
        retry_after_s: f64,
    ) -> Self {
        // Bounded to what clients honour: below a second they hammer, above a minute they give up.
        let seconds = retry_after_s.ceil().clamp(1.0, 60.0) as u32;
        Self { retryable: true, retry_after: Some(seconds), ..Self::permanent(code, model, exclusions) }
    }
}

fn demands(exclusions: &Exclusions) -> Vec<&'static str> {
    let public = |c: &Constraint| c.is_demand() && *c != Constraint::Modality;
    exclusions.iter().map(|(constraint, _)| constraint).filter(public).map(Constraint::name).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_the_names_in_code() {
        for (index, constraint) in Constraint::ALL.into_iter().enumerate() {
            assert_eq!(constraint as usize, index);
            assert_eq!(serde_json::to_value(constraint).unwrap(), constraint.name());
        }
    }

    #[test]
    fn a_retry_is_between_a_second_and_a_minute() {
        let of = |s| {
            let code = AvailabilityCode::CapacityExhausted;
            Availability::transient(code, &"m".into(), &Exclusions::default(), s).retry_after.unwrap()
        };
        assert_eq!((of(0.0), of(1.2), of(1e9)), (1, 2, 60));
    }
}
