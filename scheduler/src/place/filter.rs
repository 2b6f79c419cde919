//! Hard demands, as combinations of bitsets. Each step's drop in population is the count for its
//! constraint, so a refusal says why without a second pass.

use crate::ask::{Ask, ProviderRef, Tools};
use crate::availability::{AvailabilityCode, Constraint, Exclusions, Nearest};
use crate::pool::bitset::Bitset;
use crate::pool::snapshot::ModelPool;

/// Offers that meet every demand, and what the others failed.
#[derive(Debug)]
pub struct Filtered {
    /// Who is left.
    pub set: Bitset,
    /// Removed by each step.
    pub exclusions: Exclusions,
    /// The step that removed the last ones, if it came to that.
    pub emptied_by: Option<Constraint>,
}

/// Applies every demand of `ask` in the fixed order.
#[must_use]
pub fn apply(pool: &ModelPool, ask: &Ask) -> Filtered {
    let set = Bitset::full(pool.offers.len());
    let left = pool.offers.len() as u32;
    let mut steps = Steps { set, left, exclusions: Exclusions::default(), emptied_by: None };
    let prefs = &ask.provider;
    steps.take(Constraint::Modality, |set| {
        ask.needs.input.bits().for_each(|bit| set.intersect(&pool.input[bit]));
        ask.needs.output.bits().for_each(|bit| set.intersect(&pool.output[bit]));
    });
    if prefs.only.is_some() || !prefs.ignore.is_empty() || prefs.permitted.is_some() || !ordered_only(ask).is_empty() {
        steps.take(Constraint::AllowedProviders, |set| providers(pool, ask, set));
    }
    if !prefs.regions.is_empty() {
        steps.take(Constraint::Geo, |set| {
            let mut allowed = Bitset::empty(set.len());
            let known = prefs.regions.iter().filter_map(|region| pool.geo.get(region.as_str()));
            known.for_each(|offers| offers.add_to(&mut allowed));
            set.intersect(&allowed);
        });
    }
    if prefs.zdr {
        steps.take(Constraint::Zdr, |set| set.intersect(&pool.zdr));
    }
    if prefs.deny_training {
        steps.take(Constraint::Training, |set| set.intersect(&pool.no_training));
    }
    if prefs.trust as usize > 0 {
        steps.take(Constraint::Trust, |set| set.intersect(&pool.trust[prefs.trust as usize]));
    }
    if !prefs.quantizations.is_empty() {
        steps.take(Constraint::Quantization, |set| {
            let mut allowed = Bitset::empty(set.len());
            let known = prefs.quantizations.iter().filter_map(|quantization| pool.quantization.get(quantization));
            known.for_each(|offers| offers.add_to(&mut allowed));
            set.intersect(&allowed);
        });
    }
    steps.take(Constraint::ContextLength, |set| {
        pool.context.keep_at_least(ask.context(), set);
        if let Some(most) = ask.max_output {
            pool.most_output.keep_at_least(most, set);
        }
    });
    if ask.needs.tools != Tools::None || ask.needs.schema || prefs.require_parameters {
        steps.take(Constraint::RequireParameters, |set| parameters(pool, ask, set));
    }
    steps.take(Constraint::MaxPrice, |set| prices(pool, ask, set));
    Filtered { set: steps.set, exclusions: steps.exclusions, emptied_by: steps.emptied_by }
}

struct Steps {
    set: Bitset,
    left: u32,
    exclusions: Exclusions,
    emptied_by: Option<Constraint>,
}

impl Steps {
    fn take(&mut self, constraint: Constraint, keep: impl FnOnce(&mut Bitset)) {
        if self.left == 0 {
            return;
        }
        keep(&mut self.set);
        let left = self.set.count();
        self.exclusions.add(constraint, self.left - left);
        self.left = left;
        if left == 0 {
            self.emptied_by = Some(constraint);
        }
    }
}

/// The list that `order` restricts to: with `allow_fallbacks: false` only listed offers may serve.
fn ordered_only(ask: &Ask) -> &[ProviderRef] {
    if ask.provider.allow_fallbacks { &[] } else { &ask.provider.order }
}

fn providers(pool: &ModelPool, ask: &Ask, set: &mut Bitset) {
    let prefs = &ask.provider;
    let lists = [prefs.only.as_deref(), prefs.permitted.as_deref(), Some(ordered_only(ask)).filter(|l| !l.is_empty())];
    for list in lists.into_iter().flatten() {
        let mut allowed = Bitset::empty(set.len());
        let known = list.iter().filter_map(|name| pool.providers.get(name.as_str()));
        known.for_each(|offers| offers.add_to(&mut allowed));
        set.intersect(&allowed);
    }
    let known = prefs.ignore.iter().filter_map(|name| pool.providers.get(name.as_str()));
    known.for_each(|offers| offers.remove_from(set));
}

/// Names of parameters an offer must declare.
fn required(ask: &Ask) -> impl Iterator<Item = &str> {
    let always = [ask.needs.tools.parameter(), ask.needs.schema.then_some("structured_outputs")];
    let others = ask.provider.require_parameters.then_some(&ask.needs.parameters).into_iter().flatten();
    always.into_iter().flatten().chain(others.map(String::as_str))
}

fn parameters(pool: &ModelPool, ask: &Ask, set: &mut Bitset) {
    for name in required(ask) {
        let mut declared = Bitset::empty(set.len());
        if let Some(offers) = pool.parameters.get(name) {
            offers.add_to(&mut declared);
        }
        set.intersect(&declared);
    }
}

fn prices(pool: &ModelPool, ask: &Ask, set: &mut Bitset) {
    let most = &ask.provider.max_price;
    for (limit, column) in [
        (most.prompt, &pool.prompt_price),
        (most.completion, &pool.completion_price),
        (most.request, &pool.request_price),
    ] {
        if let Some(limit) = limit {
            column.keep_at_most(limit.pico(), set);
        }
    }
    if ask.free_only {
        set.intersect(&pool.free);
    }
    if let Some(held) = ask.held {
        let fits = |index: usize| super::worst_case(&pool.offers[index], ask).is_some_and(|worst| worst <= held.amount);
        set.retain(fits);
    }
}

/// The refusal that belongs to the step that removed the last offers.
#[must_use]
pub fn refusal_code(emptied_by: Constraint) -> AvailabilityCode {
    match emptied_by {
        Constraint::Modality => AvailabilityCode::NoEndpoints,
        Constraint::Geo => AvailabilityCode::RegionRestricted,
        Constraint::Zdr | Constraint::Training => AvailabilityCode::PrivacyRestricted,
        Constraint::AllowedProviders
        | Constraint::Trust
        | Constraint::Quantization
        | Constraint::ContextLength
        | Constraint::RequireParameters
        | Constraint::MaxPrice => AvailabilityCode::ConstraintFiltered,
        Constraint::Unavailable | Constraint::Tried | Constraint::Breaker => AvailabilityCode::TemporarilyUnavailable,
        Constraint::Capacity => AvailabilityCode::CapacityExhausted,
    }
}

/// The nearest value that would have admitted an offer, over all offers of the model.
#[must_use]
pub fn nearest(pool: &ModelPool, ask: &Ask, emptied_by: Constraint) -> Option<Nearest> {
    let (field, detail) = match emptied_by {
        Constraint::ContextLength => {
            let (context, output) = (pool.context.most?, pool.most_output.most?);
            let needed = ask.context();
            (
                "max_tokens",
                format!("{needed} tokens are needed; the longest context is {context}, the longest output {output}"),
            )
        }
        Constraint::MaxPrice => {
            let cheapest = pool.by_price.first().map(|index| &pool.offers[*index as usize].price.prices)?;
            let (prompt, completion) = (cheapest.prompt, cheapest.completion);
            (
                "provider.max_price",
                format!("the cheapest offer takes {prompt} USD per prompt token and {completion} per output token"),
            )
        }
        Constraint::Trust => {
            let best = pool.offers.iter().map(|offer| offer.listing.node.trust).max()?;
            ("provider.trust", format!("the best level offered is {best:?}").to_lowercase())
        }
        Constraint::Quantization => {
            let mut known: Vec<String> = pool.quantization.keys().map(|q| format!("{q:?}").to_lowercase()).collect();
            known.sort();
            let known = if known.is_empty() { "none declared".to_owned() } else { known.join(", ") };
            ("provider.quantizations", format!("offered: {known}"))
        }
        Constraint::Geo => {
            let mut known: Vec<&str> =
                pool.geo.keys().map(|place| &**place).filter(|place| !place.is_empty()).collect();
            known.sort_unstable();
            known.truncate(20);
            ("provider.regions", format!("offered in: {}", known.join(", ")))
        }
        Constraint::RequireParameters => {
            let missing: Vec<&str> = required(ask).filter(|name| !pool.parameters.contains_key(*name)).collect();
            let detail = if missing.is_empty() {
                "no single offer supports all parameters used".to_owned()
            } else {
                format!("no offer supports: {}", missing.join(", "))
            };
            ("provider.require_parameters", detail)
        }
        Constraint::AllowedProviders => {
            let prefs = &ask.provider;
            let field = match (&prefs.only, ordered_only(ask)) {
                (Some(_), _) => "provider.only",
                (None, [_, ..]) => "provider.order",
                (None, []) if prefs.ignore.is_empty() => "provider.only",
                (None, []) => "provider.ignore",
            };
            (field, "no offer of this model is from an allowed provider".to_owned())
        }
        Constraint::Zdr => ("provider.zdr", "no offer of this model keeps nothing".to_owned()),
        Constraint::Training => ("provider.data_collection", "no offer of this model rules out training".to_owned()),
        Constraint::Modality
        | Constraint::Unavailable
        | Constraint::Tried
        | Constraint::Breaker
        | Constraint::Capacity => return None,
    };
    Some(Nearest { field, detail })
}
