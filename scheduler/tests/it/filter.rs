//! The filter against a matcher that knows nothing of bitsets.

use proptest::prelude::*;
use protocol::offer::{Quantization, TrustLevel};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use scheduler::ask::{Held, Modalities, ProviderRef, Tools};
use scheduler::place::{Decision, filter, place};
use scheduler::provider::Listing;
use scheduler::{Ask, Constraint};

use crate::world;

const LEVELS: [TrustLevel; 4] = [TrustLevel::Declared, TrustLevel::Measured, TrustLevel::Audited, TrustLevel::Attested];
const PRECISIONS: [Option<Quantization>; 4] =
    [None, Some(Quantization::Fp8), Some(Quantization::Bf16), Some(Quantization::Int4)];
const PLACES: [(&str, Option<&str>); 4] =
    [("DE", Some("fra1")), ("US", Some("iad1")), ("FR", None), ("JP", Some("tyo1"))];

#[derive(Debug, Clone)]
struct Traits {
    provider: u128,
    place: usize,
    zdr: bool,
    training: bool,
    trust: usize,
    precision: usize,
    context: u32,
    most_output: Option<u32>,
    parameters: u8,
    image: bool,
    prompt: i64,
    completion: i64,
}

const PARAMETERS: [&str; 4] = ["tools", "structured_outputs", "top_k", "seed"];

fn traits() -> impl Strategy<Value = Traits> {
    let node = (1..6_u128, 0..4_usize, any::<bool>(), any::<bool>(), 0..4_usize);
    let offer =
        (0..4_usize, 100..4_000_u32, proptest::option::of(10..100_u32), 0..16_u8, any::<bool>(), 0..4_i64, 0..4_i64);
    (node, offer).prop_map(|((provider, place, zdr, training, trust), offer)| {
        let (precision, context, most_output, parameters, image, prompt, completion) = offer;
        Traits {
            provider,
            place,
            zdr,
            training,
            trust,
            precision,
            context,
            most_output,
            parameters,
            image,
            prompt,
            completion,
        }
    })
}

fn listing(n: usize, traits: &Traits) -> std::sync::Arc<Listing> {
    let mut parts = world::parts(n as u128 + 1).priced(traits.prompt, traits.completion);
    parts.provider = world::provider(traits.provider);
    parts.node.provider = parts.provider.id;
    let (country, region) = PLACES[traits.place];
    (parts.node.location.country_code, parts.node.location.region) = (country.into(), region.map(Into::into));
    (parts.node.privacy.zdr, parts.node.privacy.training) = (traits.zdr, traits.training);
    parts.node.trust = LEVELS[traits.trust];
    let spec = &mut parts.offer.spec;
    spec.quantization = PRECISIONS[traits.precision];
    (spec.context_length, spec.max_output_tokens) = (traits.context, traits.most_output);
    let declared = |bit: &usize| traits.parameters >> bit & 1 == 1;
    spec.supported_parameters = (0..4).filter(declared).map(|bit| PARAMETERS[bit].to_owned()).collect();
    if traits.image {
        spec.input_modalities.push("image".into());
    }
    parts.listing()
}

fn asks() -> impl Strategy<Value = Ask> {
    let names = || prop::collection::vec(prop::sample::select(vec!["p1", "p2", "p3/fra1", "p4/tyo1", "nobody"]), 1..3);
    let who = (
        proptest::option::of(names()),
        prop::collection::vec(prop::sample::select(vec!["p1", "p5"]), 0..2),
        proptest::option::of(names()),
    );
    let places = prop::collection::vec(prop::sample::select(vec!["eu", "us", "tyo1", "nowhere"]), 0..3);
    let privacy = (any::<bool>(), any::<bool>(), 0..4_usize);
    let precision = prop::collection::vec(prop::sample::select(vec![Quantization::Fp8, Quantization::Int4]), 0..2);
    let size = (1..3_000_u32, proptest::option::of(1..120_u32));
    let tools = prop::sample::select(vec![Tools::None, Tools::Native, Tools::Emulated]);
    let needs = (tools, any::<bool>(), any::<bool>(), any::<bool>());
    let money = (proptest::option::of(0..4_i64), proptest::option::of(0..4_i64), prop::bool::weighted(0.2));
    (who, places, privacy, precision, size, needs, money, proptest::option::of(0..20_000_i64)).prop_map(
        |((only, ignore, order), places, (zdr, deny, trust), precision, (prompt, most), needs, money, ceiling)| {
            let refs = |names: Vec<&str>| names.into_iter().map(ProviderRef::new).collect::<Vec<_>>();
            let mut ask = world::ask();
            ask.prompt_tokens = prompt;
            ask.max_output = most;
            (ask.needs.tools, ask.needs.schema) = (needs.0, needs.1);
            ask.provider.require_parameters = needs.2;
            ask.needs.parameters = vec!["top_k".into()];
            if needs.3 {
                ask.needs.input = Modalities::TEXT.with(Modalities::IMAGE);
            }
            ask.provider.only = only.map(refs);
            ask.provider.ignore = refs(ignore);
            if let Some(order) = order {
                (ask.provider.order, ask.provider.allow_fallbacks) = (refs(order), false);
            }
            ask.provider.regions = places.into_iter().map(Into::into).collect();
            (ask.provider.zdr, ask.provider.deny_training, ask.provider.trust) = (zdr, deny, LEVELS[trust]);
            ask.provider.quantizations = precision;
            let price = |usd: i64| protocol::Price::from_pico(usd * 1_000_000).unwrap();
            (ask.provider.max_price.prompt, ask.provider.max_price.completion) =
                (money.0.map(price), money.1.map(price));
            ask.free_only = money.2;
            // Held for more than is expected, as for an answer without a limit.
            ask.held = ceiling.and_then(protocol::NanoUsd::new).map(|amount| Held {
                prompt_tokens: prompt.saturating_mul(4),
                output_tokens: 4_096,
                amount,
            });
            ask
        },
    )
}

/// The first demand an offer fails, in the order of the table.
fn naive(ask: &Ask, listing: &Listing) -> Option<Constraint> {
    let (prefs, spec, node) = (&ask.provider, &listing.offer.spec, &listing.node);
    let named = |list: &[ProviderRef]| {
        list.iter().any(|name| *name.as_str() == *listing.slug || *name.as_str() == *listing.tag)
    };
    let country = node.location.country_code.to_lowercase();
    let place = |region: &String| {
        *region == country
            || node.location.region.as_deref() == Some(region)
            || (region == "eu" && ["de", "fr"].contains(&country.as_str()))
    };
    let mut required: Vec<&str> = Vec::new();
    let native = spec.supported_parameters.iter().any(|known| known == "tools");
    let tools = match ask.needs.tools {
        Tools::None => true,
        Tools::Native => native,
        Tools::Emulated => !native && spec.supported_parameters.iter().any(|known| known == "structured_outputs"),
    };
    required.extend(ask.needs.schema.then_some("structured_outputs"));
    required.extend(prefs.require_parameters.then_some("top_k"));
    let prices = listing.offer.price.unwrap().prices;
    let worst = |held: Held| prices.ceiling(held.prompt_tokens, held.output_tokens).unwrap();
    let total = ask.prompt_tokens + ask.max_output.unwrap_or(1);
    let image = ask.needs.input.covers(Modalities::IMAGE);
    let checks = [
        (Constraint::Modality, !image || spec.input_modalities.iter().any(|kind| kind == "image")),
        (
            Constraint::AllowedProviders,
            prefs.only.as_ref().is_none_or(|only| named(only))
                && !named(&prefs.ignore)
                && (prefs.allow_fallbacks || named(&prefs.order)),
        ),
        (Constraint::Geo, prefs.regions.is_empty() || prefs.regions.iter().any(place)),
        (Constraint::Zdr, !prefs.zdr || node.privacy.zdr),
        (Constraint::Training, !prefs.deny_training || !node.privacy.training),
        (Constraint::Trust, node.trust >= prefs.trust),
        (
            Constraint::Quantization,
            prefs.quantizations.is_empty() || spec.quantization.is_some_and(|own| prefs.quantizations.contains(&own)),
        ),
        (
            Constraint::ContextLength,
            spec.context_length >= total
                && ask.max_output.is_none_or(|most| spec.max_output_tokens.unwrap_or(spec.context_length) >= most),
        ),
        (
            Constraint::RequireParameters,
            tools && required.iter().all(|name| spec.supported_parameters.iter().any(|own| own == name)),
        ),
        (
            Constraint::MaxPrice,
            prefs.max_price.prompt.is_none_or(|most| prices.prompt <= most)
                && prefs.max_price.completion.is_none_or(|most| prices.completion <= most)
                && (!ask.free_only || (prices.prompt.pico() == 0 && prices.completion.pico() == 0))
                && ask.held.is_none_or(|held| worst(held) <= held.amount),
        ),
    ];
    checks.into_iter().find(|(_, passes)| !passes).map(|(constraint, _)| constraint)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Each count equals the naive one, and nothing is refused that the declared inventory satisfies.
    #[test]
    fn the_filter_agrees_with_a_naive_matcher(offers in prop::collection::vec(traits(), 1..90), ask in asks(), seed in any::<u64>()) {
        let listings: Vec<_> = offers.iter().enumerate().map(|(n, traits)| listing(n, traits)).collect();
        let failed: Vec<Option<Constraint>> = listings.iter().map(|listing| naive(&ask, listing)).collect();
        let (scheduler, ..) = world::scheduler(listings);
        let snapshot = scheduler.snapshot();
        let pool = snapshot.model(world::MODEL).unwrap();
        let filtered = filter::apply(pool, &ask);
        for constraint in Constraint::ALL {
            let expected = failed.iter().filter(|own| **own == Some(constraint)).count();
            prop_assert_eq!(filtered.exclusions.get(constraint) as usize, expected, "{}", constraint.name());
        }
        let passes = |id| failed[protocol::Id::uuid(id).as_u128() as usize - 1].is_none();
        for (index, offer) in pool.offers.iter().enumerate() {
            prop_assert_eq!(filtered.set.contains(index), passes(offer.id()));
        }
        match place(&snapshot, &ask, world::START, &mut SmallRng::seed_from_u64(seed)) {
            Decision::Place { offers, .. } => {
                prop_assert!(offers.iter().all(|placed| passes(placed.offer.id())));
                prop_assert!(offers.len() <= 5);
            }
            Decision::Refuse { availability, .. } => {
                prop_assert!(failed.iter().all(Option::is_some));
                prop_assert_eq!(availability.status().0, 404);
                prop_assert!(!availability.retryable);
            }
            Decision::Wait { .. } => prop_assert!(false, "nobody is busy"),
        }
    }
}
