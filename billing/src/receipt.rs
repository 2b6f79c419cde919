//! Receipts: what comes with a dispatch so that its report can be believed later, and what the broker signs.

pub mod cases;
mod config;
pub mod issue;
pub mod recover;
pub mod run;
mod ticket;

use std::sync::Arc;

use protocol::typed::Domain;
use protocol::wallet::{Address, Wallet};
use protocol::{Env, Timestamp};
use ring::hkdf;
use secrecy::ExposeSecret as _;
use sqlx::PgPool;

use crate::Error;

pub use config::ReceiptsConfig;
pub use ticket::{Ticket, TicketError};

/// Tells what is made from the secret here from what anybody else may make from it.
const SALT: &[u8] = b"steelyard 2026 receipts";
/// The secret is this long.
const SECRET_BYTES: usize = 32;

/// Tickets, receipts and payouts, as the rest of the broker sees them. Cheap to clone.
#[derive(Clone)]
pub struct Receipts(Arc<Inner>);

struct Inner {
    db: PgPool,
    env: Env,
    config: ReceiptsConfig,
    domain: Domain,
    key: Wallet,
    sealing: hkdf::Prk,
}

impl Receipts {
    /// Receipts under the broker's secret; `None` when none is set, and then none are given.
    ///
    /// # Errors
    /// [`Error::ReceiptKey`] when the secret can't be used.
    pub fn new(db: PgPool, env: Env, config: ReceiptsConfig) -> Result<Option<Self>, Error> {
        let Some(secret) = &config.secret else { return Ok(None) };
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(secret.expose_secret(), &mut bytes).map_err(|_| Error::ReceiptKey)?;
        let sealing = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&bytes);
        let mut signing = [0; 32];
        let made = sealing.expand(&[b"receipt key"], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut signing));
        made.map_err(|_| Error::ReceiptKey)?;
        let key = Wallet::from_bytes(&signing).map_err(|_| Error::ReceiptKey)?;
        let domain = config.domain();
        Ok(Some(Self(Arc::new(Inner { db, env, config, domain, key, sealing }))))
    }

    /// How they are configured.
    #[must_use]
    pub fn config(&self) -> &ReceiptsConfig {
        &self.0.config
    }

    /// Where what is signed counts.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.0.domain
    }

    /// Who signs for the broker.
    #[must_use]
    pub fn signer(&self) -> Address {
        self.0.key.address()
    }

    /// Seals a ticket for an attempt that is dispatched now.
    #[must_use]
    pub fn seal(&self, ticket: &Ticket, now: Timestamp) -> String {
        ticket.seal(&self.0.sealing, now)
    }

    /// Opens a ticket that came back with a report.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn open(&self, attempt: protocol::AttemptId, text: &str, now: Timestamp) -> Result<Ticket, TicketError> {
        Ticket::open(attempt, text, &self.0.sealing, now)
    }

    pub(crate) fn key(&self) -> &Wallet {
        &self.0.key
    }

    pub(crate) fn db(&self) -> &PgPool {
        &self.0.db
    }

    pub(crate) fn env(&self) -> &Env {
        &self.0.env
    }
}
