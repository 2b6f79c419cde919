//! What to set aside for a request: its worst case at the dearest offer it may be sent to.

use protocol::NanoUsd;
use scheduler::{Ask, Placed};

use crate::prompt::PromptCount;
use crate::state::AppState;

/// Offers, and what any of them may come to cost.
pub struct Worst {
    /// The offers that are covered, in their order.
    pub offers: Vec<Placed>,
    /// Output tokens of all choices that the hold covers.
    pub output_tokens: u32,
    /// The money.
    pub ceiling: NanoUsd,
}

/// The worst case over `offers`. Those whose price is not known here yet, or past all amounts, are left out; `None`
/// when that leaves none.
#[must_use]
pub fn of(app: &AppState, ask: &Ask, prompt: PromptCount, offers: Vec<Placed>) -> Option<Worst> {
    let output_tokens = output_tokens(app, ask, &offers);
    let prices = app.billing.prices();
    let mut ceiling = None;
    let covered = offers.into_iter().filter(|placed| {
        let row = prices.get(placed.offer.id(), placed.offer.price.version);
        let worst = row.and_then(|row| row.user.ceiling_of(prompt.tokens, output_tokens, ask.requests));
        ceiling = ceiling.max(worst);
        worst.is_some()
    });
    let offers: Vec<Placed> = covered.collect();
    Some(Worst { offers, output_tokens, ceiling: ceiling? })
}

/// The same for the offers that cost no more than the first. Where money is short, a dear second choice must not
/// keep a request from being served at all.
#[must_use]
pub fn of_first(app: &AppState, ask: &Ask, prompt: PromptCount, worst: Worst) -> Option<Worst> {
    let first = worst.offers.first()?;
    let prices = app.billing.prices();
    let ceiling_of = |placed: &Placed| {
        let row = prices.get(placed.offer.id(), placed.offer.price.version)?;
        row.user.ceiling_of(prompt.tokens, worst.output_tokens, ask.requests)
    };
    let most = ceiling_of(first)?;
    let cheaper: Vec<Placed> =
        worst.offers.iter().filter(|placed| ceiling_of(placed).is_some_and(|cost| cost <= most)).cloned().collect();
    (cheaper.len() < worst.offers.len()).then(|| of(app, ask, prompt, cheaper))?
}

/// Output tokens the hold must cover: what was asked for, in full; of an open-ended request its first part.
#[must_use]
pub fn output_tokens(app: &AppState, ask: &Ask, offers: &[Placed]) -> u32 {
    let longest = offers.iter().map(|placed| placed.offer.listing.offer.spec.context_length).max().unwrap_or(u32::MAX);
    let each = ask.max_output.unwrap_or(app.config.gateway.open_ended_tokens).min(longest);
    each.saturating_mul(ask.choices)
}
