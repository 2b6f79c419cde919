//! Where a request to one model goes: as it was written, or, where it has tools and none of the model's offers has, to
//! offers on which they can be emulated.

use bytes::Bytes;
use protocol::OrganizationId;
use rand::Rng;
use scheduler::ask::Tools;
use scheduler::place::Why;
use scheduler::{Ask, Availability, Decision, Placed};

use crate::dialect::Emulated;
use crate::envelope::{Envelope, ModelRef};
use crate::error::ApiError;
use crate::prompt::{self, PromptCount};
use crate::state::AppState;

/// A place for a request.
pub struct Place {
    /// What it needs of an offer.
    pub ask: Ask,
    /// Its prompt, as the offers get it.
    pub prompt: PromptCount,
    /// Offers in order.
    pub offers: Vec<Placed>,
    /// Why these.
    pub why: Why,
    /// What they get instead of the client's body, where tools are emulated.
    pub emulated: Option<Emulated>,
}

/// No place, and what was asked for.
pub type Refused = (Ask, Availability);

/// Looks for a place at the offers of `model`. `body` is what the envelope was read from.
///
/// Offers with tools of their own come first. An offer that has none serves where no other can, except for a request
/// that demands that all its parameters be supported.
///
/// # Errors
/// [`ApiError`] when the model can't take the request; having no place now is none.
pub async fn find(
    app: &AppState,
    envelope: &Envelope<'_>,
    body: &Bytes,
    model: &ModelRef<'_>,
    organization: OrganizationId,
    rng: &mut (impl Rng + Send),
) -> Result<Result<Place, Refused>, ApiError> {
    let (ask, prompt) = prompt::consider(app, envelope, body, model, organization).await?;
    let refused = match acquire(app, ask, prompt, None, rng).await {
        Err(refused) if refused.0.needs.tools == Tools::Native => refused,
        decided => return Ok(decided),
    };
    let support = Support::of(app, &refused.0);
    let emulated = match support {
        Support::Emulated => Emulated::of(envelope)?,
        // What can't be emulated waits for the offers that need not.
        Support::Both => match Emulated::of(envelope) {
            Ok(emulated) => emulated,
            Err(_) => return Ok(Err(refused)),
        },
        Support::NotEmulated => return Ok(Err(refused)),
    };
    let (ask, prompt) = consider(app, &emulated, model, organization).await?;
    let decided = acquire(app, ask, prompt, Some(emulated), rng).await;
    // Of two refusals the one that can change; else that of the offers the client asked for.
    Ok(decided.map_err(|second| {
        let better = second.1.retryable && !refused.1.retryable;
        if better || support == Support::Emulated { second } else { refused }
    }))
}

/// What a request's prompt comes to at the offers of `model`.
///
/// # Errors
/// As [`find`].
pub async fn count(
    app: &AppState,
    envelope: &Envelope<'_>,
    body: &Bytes,
    model: &ModelRef<'_>,
    organization: OrganizationId,
) -> Result<PromptCount, ApiError> {
    let (ask, prompt) = prompt::consider(app, envelope, body, model, organization).await?;
    if ask.needs.tools == Tools::Native && Support::of(app, &ask) == Support::Emulated {
        return Ok(consider(app, &Emulated::of(envelope)?, model, organization).await?.1);
    }
    Ok(prompt)
}

/// As [`prompt::consider`], of what offers get on which tools are emulated.
async fn consider(
    app: &AppState,
    emulated: &Emulated,
    model: &ModelRef<'_>,
    organization: OrganizationId,
) -> Result<(Ask, PromptCount), ApiError> {
    let written = Envelope::parse(&emulated.body)?;
    let (mut ask, prompt) = prompt::consider(app, &written, &emulated.body, model, organization).await?;
    ask.needs.tools = Tools::Emulated;
    Ok((ask, prompt))
}

async fn acquire(
    app: &AppState,
    ask: Ask,
    prompt: PromptCount,
    emulated: Option<Emulated>,
    rng: &mut (impl Rng + Send),
) -> Result<Place, Refused> {
    match app.scheduler.acquire(&ask, rng).await {
        Decision::Place { offers, why } => Ok(Place { ask, prompt, offers, why, emulated }),
        Decision::Wait { availability, .. } | Decision::Refuse { availability, .. } => Err((ask, availability)),
    }
}

/// How the offers of a model come by tools.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Support {
    /// None has any, and some hold to a schema.
    Emulated,
    /// Some have their own, and some hold to a schema.
    Both,
    /// None could emulate them, or the request wants engines that need not.
    NotEmulated,
}

impl Support {
    fn of(app: &AppState, ask: &Ask) -> Self {
        let snapshot = app.scheduler.snapshot();
        let Some(pool) = snapshot.model(&ask.model).filter(|_| !ask.provider.require_parameters) else {
            return Self::NotEmulated;
        };
        let any =
            |name: &str| pool.offers.iter().any(|offer| offer.supported_parameters().iter().any(|own| own == name));
        let emulating = pool.offers.iter().any(|offer| offer.listing.offer.spec.emulates_tools());
        match (emulating, any("tools")) {
            (true, false) => Self::Emulated,
            (true, true) => Self::Both,
            (false, _) => Self::NotEmulated,
        }
    }
}
