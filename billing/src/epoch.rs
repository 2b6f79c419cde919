//! Epochs, from open to active: each step is one transaction under the epoch's row, and the row says what is next.

mod bundle;
mod config;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use platform::shutdown::Shutdown;
use platform::worker::{self, Next, Worker};
use protocol::Timestamp;
use protocol::typed::Domain;

use crate::artefact::{Artefacts, Folder};
use crate::payout::{Blocklist, PayoutRail, PriceReference, Screening, StableDollar};
use crate::receipt::Receipts;
use crate::store::epochs::{self, Epoch, EpochState};
use crate::{Error, calendar};

pub use config::PayoutsConfig;
pub use steps::Stepped;

/// After its end an epoch waits so long for what was released in its last moments.
const FREEZE_DELAY: Duration = Duration::from_secs(15 * 60);

/// Payouts, as the rest of the broker sees them. Cheap to clone.
#[derive(Clone)]
pub struct Epochs {
    receipts: Receipts,
    config: PayoutsConfig,
    artefacts: Arc<dyn Artefacts>,
    prices: Arc<dyn PriceReference>,
    screening: Arc<dyn Screening>,
    rail: Option<Arc<dyn PayoutRail>>,
}

impl Epochs {
    /// Payouts in a token worth a dollar, with documents in a folder and no way to a chain yet.
    #[must_use]
    pub fn new(receipts: Receipts, config: PayoutsConfig) -> Self {
        Self {
            artefacts: Arc::new(Folder::new(config.artefacts_dir.clone())),
            prices: Arc::new(StableDollar { decimals: config.token_decimals }),
            screening: Arc::new(Blocklist(config.blocked.clone())),
            rail: None,
            receipts,
            config,
        }
    }

    /// With a way to the contract.
    #[must_use]
    pub fn with_rail(self, rail: Arc<dyn PayoutRail>) -> Self {
        Self { rail: Some(rail), ..self }
    }

    /// With another word on what a token is worth.
    #[must_use]
    pub fn with_prices(self, prices: Arc<dyn PriceReference>) -> Self {
        Self { prices, ..self }
    }

    /// With another word on who may be paid.
    #[must_use]
    pub fn with_screening(self, screening: Arc<dyn Screening>) -> Self {
        Self { screening, ..self }
    }

    /// Where they are paid.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        self.receipts.domain()
    }

    /// How payouts are configured.
    #[must_use]
    pub fn config(&self) -> &PayoutsConfig {
        &self.config
    }

    /// Moves every epoch on that can be: opens the first, freezes what is over, and takes the oldest unfinished one a step
    /// further. True when there may be more to do at once.
    ///
    /// # Errors
    /// [`Error`] of the step that failed; the next call takes it up again.
    pub async fn advance(&self, now: Timestamp) -> Result<bool, Error> {
        let mut conn = self.receipts.db().acquire().await?;
        let unfinished = epochs::list_unfinished(&mut conn).await?;
        if unfinished.iter().all(|epoch| epoch.state != EpochState::Open) {
            self.open_first(&mut conn, now).await?;
        }
        drop(conn);
        let mut moved = false;
        for epoch in &unfinished {
            if epoch.state == EpochState::Open && is_over(epoch, now) {
                moved |= self.freeze(epoch.number, now).await? == Stepped::Moved;
            }
        }
        if let Some(oldest) = unfinished.first() {
            moved |= self.step(oldest, now).await? == Stepped::Moved;
        }
        Ok(moved)
    }

    async fn step(&self, epoch: &Epoch, now: Timestamp) -> Result<Stepped, Error> {
        let stepped = match epoch.state {
            EpochState::Open | EpochState::Held => Ok(Stepped::Stayed),
            EpochState::Frozen => self.price(epoch.number, now).await,
            EpochState::Priced => self.build(epoch.number, now).await,
            EpochState::Built => self.propose(epoch.number, now).await,
            EpochState::Proposed => self.settle(epoch.number, now).await,
            EpochState::Active => Ok(Stepped::Stayed),
        };
        match stepped {
            // Another replica was quicker.
            Err(Error::EpochState { .. }) => Ok(Stepped::Stayed),
            stepped => stepped,
        }
    }

    async fn open_first(&self, conn: &mut sqlx::PgConnection, now: Timestamp) -> Result<(), Error> {
        let today = calendar::day_of(now);
        let (starts_at, ends_at) = (calendar::midnight(today), calendar::midnight(today + 1));
        // Whatever was released before the first epoch is in it.
        epochs::open(conn, starts_at, ends_at, Timestamp::EPOCH).await?;
        Ok(())
    }
}

/// Whether an epoch may be frozen.
#[must_use]
pub fn is_over(epoch: &Epoch, now: Timestamp) -> bool {
    now >= epoch.ends_at.plus(FREEZE_DELAY)
}

/// Starts the loop, owned by `shutdown`.
pub fn spawn(epochs: &Epochs, shutdown: &Shutdown) {
    worker::spawn(epochs.receipts.env().clone(), Beat(epochs.clone()), shutdown);
}

struct Beat(Epochs);

impl Worker for Beat {
    type Error = Error;

    fn name(&self) -> &'static str {
        "billing.epochs"
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.0.config.advance_ms)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, Error> {
        Ok(if self.0.advance(now).await? { Next::Again } else { Next::Wait })
    }
}
