//! Calls that change something at the processor, each under a key that was written down first.
//!
//! An answer that is lost is asked for again with the same key and the same words, which makes nothing twice. A key
//! that is nearly a day old is forgotten over there and not sent any more. Only a definitive refusal, or a day without
//! any trace of an effect, frees a new key.

use std::time::Duration;

use ::stripe::{ApiErrorsType, IdempotencyKey, RequestStrategy, StripeError};
use miniserde::Deserialize;
use protocol::Timestamp;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use uuid::Uuid;

use super::Cards;
use crate::Error;
use crate::store::stripe_calls;

/// After so many of the same server error the key has kept it, and only a look tells what was done.
pub(crate) const EQUAL_ERRORS: i32 = 3;
/// Keys are kept for a day over there; one older than this is not sent again: it would make a second thing.
pub(crate) const KEY_LIVES: Duration = Duration::from_secs(23 * 3_600);

/// What a call is for. Its key is made of this and of how often it was given up before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// The kind of thing made.
    pub purpose: &'static str,
    /// What it is made for.
    pub subject: Uuid,
}

/// What an answer that is no success means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    /// It was not done and will not be.
    Refused { code: String, message: String },
    /// It may have been done.
    Unknown { status: Option<u16>, reason: String },
    /// We used the processor wrongly.
    Misused { reason: String },
}

/// Tells what an answer means for what was asked.
pub(crate) fn classify(error: &StripeError) -> Class {
    match error {
        StripeError::Stripe(said, status) => {
            let message = said.message.clone().unwrap_or_default();
            match *status {
                409 | 424 | 429 | 500.. => Class::Unknown { status: Some(*status), reason: message },
                401 | 403 => Class::Misused { reason: message },
                _ if said.type_ == ApiErrorsType::IdempotencyError => Class::Misused { reason: message },
                _ => {
                    let code = said.decline_code.clone().or_else(|| said.code.as_ref().map(|code| code.to_string()));
                    Class::Refused { code: code.unwrap_or_else(|| said.type_.to_string()), message }
                }
            }
        }
        StripeError::ConfigError(reason) => Class::Misused { reason: reason.clone() },
        StripeError::JSONDeserialize(_) | StripeError::ClientError(_) | StripeError::Timeout => {
            Class::Unknown { status: None, reason: error.to_string() }
        }
    }
}

impl Cards {
    /// Makes a call that changes something. The caller marks it done in the transaction of the effect. What is made is
    /// boxed here and in [`Cards::fetch`]: it is kilobytes of mostly absent fields.
    ///
    /// # Errors
    /// [`Error::CardRefused`]; [`Error::CardUnknown`], after which it may have been done: look for it, and repeat
    /// this; [`Error::CardsMisused`]; [`Error::Database`].
    pub(crate) async fn make<R>(&self, call: Call, request: &R) -> Result<Box<R::Output>, Error>
    where
        R: StripeRequest,
        R::Output: Deserialize,
    {
        let built = request.build();
        let parameters = format!("{}?{}", built.path, built.body.unwrap_or_default());
        let now = self.env().now();
        let mut conn = self.db().acquire().await?;
        let row = stripe_calls::begin(&mut conn, call, &parameters, now).await?;
        drop(conn);
        if row.created_at < now.minus(KEY_LIVES) {
            return Err(Error::CardUnknown { key: row.key });
        }
        // What this version of the program, or its settings, would say now is not what goes with the key.
        let is_same = row.parameters == parameters;
        let words = || if is_same { request.build() } else { as_written(built.method, &row.parameters) };
        let key = IdempotencyKey::new(&row.key).map_err(|error| Error::CardsMisused { reason: error.to_string() })?;
        let mut pause = Duration::from_millis(self.config().pause_ms);
        let mut left = self.config().attempts.max(1);
        loop {
            let strategy = RequestStrategy::Idempotent(key.clone());
            let asked = words().customize::<R::Output>().request_strategy(strategy);
            let error = match Box::pin(asked.send(&self.0.client)).await.map(Box::new) {
                Ok(made) => return Ok(made),
                Err(error) => error,
            };
            left -= 1;
            let class = classify(&error);
            let mut conn = self.db().acquire().await?;
            stripe_calls::note(&mut conn, &row.key, &class, self.env().now()).await?;
            drop(conn);
            match class {
                Class::Refused { code, message } => return Err(Error::CardRefused { code, message }),
                Class::Misused { reason } => {
                    tracing::error!(call.key = row.key, reason, "the card processor was used wrongly");
                    return Err(Error::CardsMisused { reason });
                }
                Class::Unknown { reason, .. } if left == 0 => {
                    tracing::warn!(
                        call.key = row.key,
                        reason,
                        "the outcome of a call to the card processor is unknown"
                    );
                    return Err(Error::CardUnknown { key: row.key });
                }
                Class::Unknown { .. } => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    /// Gives a key up under which nothing was found: one that keeps repeating an error, or that is a day old.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn lapse(&self, key: &str, may_repeat: bool) -> Result<(), Error> {
        let oldest = self.env().now().minus(KEY_LIVES);
        let mut conn = self.db().acquire().await?;
        stripe_calls::lapse(&mut conn, key, oldest, may_repeat.then_some(EQUAL_ERRORS)).await?;
        Ok(())
    }

    /// Reads something; repeated while the answer is unknown, as reading does no harm.
    ///
    /// # Errors
    /// [`Error::CardRefused`] when there is no such thing; [`Error::CardUnknown`]; [`Error::CardsMisused`].
    pub(crate) async fn fetch<R>(&self, request: &R) -> Result<Box<R::Output>, Error>
    where
        R: StripeRequest,
        R::Output: Deserialize,
    {
        let mut pause = Duration::from_millis(self.config().pause_ms);
        let mut left = self.config().attempts.max(1);
        loop {
            let once = request.customize().request_strategy(RequestStrategy::Once);
            let sent = Box::pin(once.send(&self.0.client)).await.map(Box::new);
            let error = match sent {
                Ok(object) => return Ok(object),
                Err(error) => error,
            };
            left -= 1;
            match classify(&error) {
                Class::Refused { code, message } => return Err(Error::CardRefused { code, message }),
                Class::Misused { reason } => return Err(Error::CardsMisused { reason }),
                Class::Unknown { .. } if left == 0 => return Err(Error::CardUnknown { key: request.build().path }),
                Class::Unknown { .. } => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }
}

/// The request that was written down.
fn as_written(method: StripeMethod, parameters: &str) -> RequestBuilder {
    let (path, body) = parameters.split_once('?').unwrap_or((parameters, ""));
    RequestBuilder { body: Some(body.to_owned()), ..RequestBuilder::new(method, path) }
}

/// A call as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    /// Under which key.
    pub key: String,
    /// What exactly was asked.
    pub parameters: String,
    /// How often.
    pub tries: i32,
    /// Since when.
    pub created_at: Timestamp,
}
