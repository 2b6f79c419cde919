//! The routing extension: which providers may serve, and which should.

use super::Invalid;
use super::fields::{boolean, is_number, list, object, one_of, text, wrong_type};

/// How many entries a list of providers, quantizations or regions may hold.
pub const MAX_LIST: usize = 64;

/// Routing wishes and demands. The default asks for nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderPrefs {
    /// Providers to try first, in this order.
    pub order: Vec<ProviderRef>,
    /// The only providers allowed; empty allows all.
    pub only: Vec<ProviderRef>,
    /// Providers never to use.
    pub ignore: Vec<ProviderRef>,
    /// Whether providers beyond `order` may serve. True unless said otherwise.
    pub allow_fallbacks: bool,
    /// Whether an offer must declare every parameter in use.
    pub require_parameters: bool,
    /// Whether providers that keep data may serve.
    pub data_collection: Option<DataCollection>,
    /// Demands that nothing is retained.
    pub zdr: bool,
    /// Allowed weight formats; empty allows all.
    pub quantizations: Vec<String>,
    /// What to put first instead of the expected cost.
    pub sort: Option<Sort>,
    /// Wished-for output speed, tokens per second.
    pub preferred_min_throughput: Option<Preference>,
    /// Wished-for time to the first token, seconds.
    pub preferred_max_latency: Option<Preference>,
    /// The most the client pays.
    pub max_price: MaxPrice,
    /// Allowed regions; empty allows all.
    pub regions: Vec<String>,
    /// The least trust an offer's node must have.
    pub trust: Option<Trust>,
}

impl Default for ProviderPrefs {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            only: Vec::new(),
            ignore: Vec::new(),
            allow_fallbacks: true,
            require_parameters: false,
            data_collection: None,
            zdr: false,
            quantizations: Vec::new(),
            sort: None,
            preferred_min_throughput: None,
            preferred_max_latency: None,
            max_price: MaxPrice::default(),
            regions: Vec::new(),
            trust: None,
        }
    }
}

/// A provider by its slug, perhaps in one region only (`slug/region`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRef {
    /// The provider's slug.
    pub slug: String,
    /// The region, where one was named.
    pub region: Option<String>,
}

/// Whether providers that keep data may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataCollection {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

/// What decides the order of offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The quantity.
    pub by: SortBy,
    /// Whether fallback models are kept apart while sorting.
    pub partition: Partition,
}

/// A quantity to sort offers by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// Cheapest first.
    Price,
    /// Fastest output first.
    Throughput,
    /// Soonest first token first.
    Latency,
}

/// Whether fallback models are kept apart while sorting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partition {
    /// One model after another.
    #[default]
    Model,
    /// All models' offers in one order.
    None,
}

/// A wish about a measured quantity, by percentile. A bare number means the median.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Preference {
    /// The median.
    pub p50: Option<f64>,
    /// The 75th percentile.
    pub p75: Option<f64>,
    /// The 90th percentile.
    pub p90: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

/// Price caps in pico-USD per unit (token, request, image), rounded down, so that comparing a
/// price with one is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPrice {
    /// Per prompt token; sent as USD per million.
    pub prompt: Option<i64>,
    /// Per generated token; sent as USD per million.
    pub completion: Option<i64>,
    /// Per request; sent as USD.
    pub request: Option<i64>,
    /// Per image; sent as USD.
    pub image: Option<i64>,
}

/// How well a node's claims are backed, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Only said by the provider.
    Declared,
    /// Consistent with what was measured.
    Measured,
    /// Spot-checked answers agreed.
    Audited,
    /// Hardware evidence on top of audits.
    Attested,
}

/// Reads the `provider` object. Unknown keys are refused: a typo would silently weaken a demand.
pub(super) fn read(raw: &str) -> Result<ProviderPrefs, Invalid> {
    let mut prefs = ProviderPrefs::default();
    let mut unknown = None;
    object("provider", raw, |path, key, raw| {
        match key {
            "order" => prefs.order = providers(path, raw)?,
            "only" => prefs.only = providers(path, raw)?,
            "ignore" => prefs.ignore = providers(path, raw)?,
            "allow_fallbacks" => prefs.allow_fallbacks = boolean(path, raw)?,
            "require_parameters" => prefs.require_parameters = boolean(path, raw)?,
            "data_collection" => {
                let deny = one_of(path, raw, &["allow", "deny"])? == "deny";
                prefs.data_collection = Some(if deny { DataCollection::Deny } else { DataCollection::Allow });
            }
            "zdr" => prefs.zdr = boolean(path, raw)?,
            "quantizations" => prefs.quantizations = strings(path, raw)?,
            "sort" => prefs.sort = Some(sort(path, raw)?),
            "preferred_min_throughput" => prefs.preferred_min_throughput = Some(preference(path, raw)?),
            "preferred_max_latency" => prefs.preferred_max_latency = Some(preference(path, raw)?),
            "max_price" => prefs.max_price = max_price(path, raw)?,
            "regions" => prefs.regions = strings(path, raw)?,
            "trust" => prefs.trust = Some(trust(path, raw)?),
            _ => unknown = Some(path.to_owned()),
        }
        Ok(())
    })?;
    // A key with a null value does nothing, so only one with a value can be a lost demand.
    match unknown {
        Some(path) => Err(refuse_unknown(&path)),
        None => Ok(prefs),
    }
}

fn providers(path: &str, raw: &str) -> Result<Vec<ProviderRef>, Invalid> {
    let mut found = Vec::new();
    list(path, raw, MAX_LIST, |path, raw| {
        let name = text(path, raw)?;
        let (slug, region) = match name.split_once('/') {
            Some((slug, region)) => (slug, Some(region)),
            None => (name.as_ref(), None),
        };
        if slug.is_empty() || region == Some("") {
            return Err(Invalid::at(path, format!("`{path}` must be a provider's slug or slug/region")));
        }
        found.push(ProviderRef { slug: slug.to_owned(), region: region.map(str::to_owned) });
        Ok(())
    })?;
    Ok(found)
}

fn strings(path: &str, raw: &str) -> Result<Vec<String>, Invalid> {
    let mut found = Vec::new();
    list(path, raw, MAX_LIST, |path, raw| {
        found.push(text(path, raw)?.into_owned());
        Ok(())
    })?;
    Ok(found)
}

fn sort(path: &str, raw: &str) -> Result<Sort, Invalid> {
    if raw.starts_with('"') {
        return Ok(Sort { by: sort_by(path, raw)?, partition: Partition::Model });
    }
    let (mut by, mut partition) = (None, Partition::Model);
    object(path, raw, |path, key, raw| {
        match key {
            "by" => by = Some(sort_by(path, raw)?),
            "partition" if one_of(path, raw, &["model", "none"])? == "none" => partition = Partition::None,
            "partition" => {}
            _ => return Err(refuse_unknown(path)),
        }
        Ok(())
    })?;
    let by = by.ok_or_else(|| Invalid::at(format!("{path}.by"), format!("`{path}.by` is required")))?;
    Ok(Sort { by, partition })
}

fn sort_by(path: &str, raw: &str) -> Result<SortBy, Invalid> {
    Ok(match one_of(path, raw, &["price", "throughput", "latency"])?.as_ref() {
        "price" => SortBy::Price,
        "throughput" => SortBy::Throughput,
        _ => SortBy::Latency,
    })
}

fn trust(path: &str, raw: &str) -> Result<Trust, Invalid> {
    Ok(match one_of(path, raw, &["declared", "measured", "audited", "attested"])?.as_ref() {
        "declared" => Trust::Declared,
        "measured" => Trust::Measured,
        "audited" => Trust::Audited,
        _ => Trust::Attested,
    })
}

fn preference(path: &str, raw: &str) -> Result<Preference, Invalid> {
    if is_number(raw) {
        return Ok(Preference { p50: Some(positive(path, raw)?), ..Preference::default() });
    }
    if !raw.starts_with('{') {
        return Err(wrong_type(path, raw, "a number or an object of percentiles"));
    }
    let mut wish = Preference::default();
    object(path, raw, |path, key, raw| {
        let slot = match key {
            "p50" => &mut wish.p50,
            "p75" => &mut wish.p75,
            "p90" => &mut wish.p90,
            "p99" => &mut wish.p99,
            _ => return Err(refuse_unknown(path)),
        };
        *slot = Some(positive(path, raw)?);
        Ok(())
    })?;
    Ok(wish)
}

fn positive(path: &str, raw: &str) -> Result<f64, Invalid> {
    if !is_number(raw) {
        return Err(wrong_type(path, raw, "a number"));
    }
    let value = raw.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| Invalid::at(path, format!("`{path}` must not be negative")))
}

fn max_price(path: &str, raw: &str) -> Result<MaxPrice, Invalid> {
    let mut caps = MaxPrice::default();
    object(path, raw, |path, key, raw| {
        // A dollar per million tokens is 10^6 pico-USD per token; a dollar each is 10^12.
        let (slot, scale) = match key {
            "prompt" => (&mut caps.prompt, 6),
            "completion" => (&mut caps.completion, 6),
            "request" => (&mut caps.request, 12),
            "image" => (&mut caps.image, 12),
            _ => return Err(refuse_unknown(path)),
        };
        let decimal = if raw.starts_with('"') { text(path, raw)? } else { raw.into() };
        let cap = scaled_down(&decimal, scale);
        *slot = Some(cap.ok_or_else(|| Invalid::at(path, format!("`{path}` must be a price in USD, zero or more")))?);
        Ok(())
    })?;
    Ok(caps)
}

/// A decimal times 10^scale, rounded down; `None` when it is not a decimal of zero or more.
///
/// A cap too large for the type is as good as no cap, and becomes the largest one.
fn scaled_down(decimal: &str, scale: i32) -> Option<i64> {
    let (mantissa, exponent) = match decimal.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?.clamp(-400, 400)),
        None => (decimal, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() + fraction.len() > 400 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let keep = i32::try_from(whole.len()).ok()? + exponent + scale;
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat(b'0'));
    let mut value: i64 = 0;
    for digit in digits.take(usize::try_from(keep).unwrap_or(0)) {
        let shifted = value.checked_mul(10).and_then(|value| value.checked_add(i64::from(digit - b'0')));
        let Some(shifted) = shifted else { return Some(i64::MAX) };
        value = shifted;
    }
    Some(value)
}

fn refuse_unknown(path: &str) -> Invalid {
    Invalid::at(path, format!("`{path}` is not a routing field"))
}

#[cfg(test)]
mod tests {
    use super::scaled_down;

    #[test]
    fn caps_are_exact_and_round_down() {
        assert_eq!(scaled_down("0.5", 6), Some(500_000));
        assert_eq!(scaled_down("2", 6), Some(2_000_000));
        assert_eq!(scaled_down("0.1234567", 6), Some(123_456));
        assert_eq!(scaled_down("1e-6", 6), Some(1));
        assert_eq!(scaled_down("1.5E2", 6), Some(150_000_000));
        assert_eq!(scaled_down("1e-9", 6), Some(0));
        assert_eq!(scaled_down("1e300", 6), Some(i64::MAX));
        assert_eq!(scaled_down("0", 12), Some(0));
        for bad in ["-1", "", ".5", "NaN", "1,5", "0x1"] {
            assert_eq!(scaled_down(bad, 6), None, "{bad}");
        }
    }
}
