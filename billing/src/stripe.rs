//! Cards: the one place that talks to the card processor.
//!
//! Whatever changes something over there is written down before it is asked for ([`calls`]), whatever is told is
//! stored before it is believed ([`inbox`]), and what becomes money is asked back first ([`sync`]).

mod calls;
mod config;
pub mod inbox;
pub mod lines;
mod list;
pub mod run;
mod signature;
pub mod sync;
pub(crate) mod tax;

use std::sync::Arc;
use std::time::Duration;

use ::stripe::{Client, ClientBuilder};
use protocol::{Env, NanoUsd};
use secrecy::ExposeSecret as _;
use sqlx::PgPool;

use crate::Error;

pub use calls::CallRow;
pub(crate) use calls::{Call, Class, KEY_LIVES};
pub use config::{DisputePolicy, StripeConfig, WarningPolicy};
pub use signature::{SignatureError, verify};

/// Billionths of a dollar in a cent, the finest a card can pay.
const NANO_PER_CENT: i64 = 10_000_000;

/// The card processor, as billing uses it. Cheap to clone.
#[derive(Clone)]
pub struct Cards(Arc<Inner>);

struct Inner {
    db: PgPool,
    env: Env,
    config: StripeConfig,
    client: Client,
}

impl Cards {
    /// The processor by its key; `None` when none is set, and then no card is taken.
    ///
    /// # Errors
    /// [`Error::CardsMisused`] when the key or the address can't be used.
    pub fn new(db: PgPool, env: Env, config: StripeConfig) -> Result<Option<Self>, Error> {
        let Some(key) = &config.secret_key else { return Ok(None) };
        let mut builder = ClientBuilder::new(key.expose_secret()).timeout(Duration::from_millis(config.timeout_ms));
        if let Some(base) = &config.api_base {
            builder = builder.url(base);
        }
        let client = builder.build().map_err(|error| Error::CardsMisused { reason: error.to_string() })?;
        Ok(Some(Self(Arc::new(Inner { db, env, config, client }))))
    }

    /// How it is configured.
    #[must_use]
    pub fn config(&self) -> &StripeConfig {
        &self.0.config
    }

    pub(crate) fn db(&self) -> &PgPool {
        &self.0.db
    }

    pub(crate) fn env(&self) -> &Env {
        &self.0.env
    }
}

/// An amount in cents; `None` when it has a part of one.
pub(crate) const fn cents(amount: NanoUsd) -> Option<i64> {
    if amount.nano() % NANO_PER_CENT == 0 { Some(amount.nano() / NANO_PER_CENT) } else { None }
}

/// Cents as an amount; `None` below zero or out of range.
pub(crate) const fn from_cents(cents: i64) -> Option<NanoUsd> {
    match cents.checked_mul(NANO_PER_CENT) {
        Some(nano) => NanoUsd::new(nano),
        None => None,
    }
}

/// An amount without its part of a cent.
pub(crate) const fn whole_cents(amount: NanoUsd) -> NanoUsd {
    match NanoUsd::new(amount.nano() - amount.nano() % NANO_PER_CENT) {
        Some(whole) => whole,
        None => NanoUsd::ZERO,
    }
}
