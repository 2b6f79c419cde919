//! [`Permit`]: what one request has taken of its limits, given back however it ends.

use std::time::Duration;

use super::bucket::{Bucket, Kind, Scope};
use super::gcra::{Standing, Wait};
use super::shares::Attempt;
use super::{Limits, RateHeaders, scopes};
use crate::error::ApiError;
use crate::extract::Caller;

/// Times a request waits for room of other replicas before it is refused: once for its own, once more because
/// another may have taken that.
const ASKS: u32 = 2;
/// When to try again where nobody can know: another request has to end first.
const SHORTLY: Duration = Duration::from_secs(1);

/// Why a request may not pass now.
struct Refused {
    bucket: Bucket,
    amount: u64,
    wait: Wait,
}

/// What one request has taken. Dropping it gives the place and all tokens back that were not used.
pub struct Permit {
    limits: Limits,
    /// Whose limits bind it.
    scopes: [Scope; 3],
    taken: Vec<(Bucket, u64)>,
    headers: RateHeaders,
    tokens: u64,
}

impl Limits {
    /// Takes a place and a request of all models together, before any work is done.
    ///
    /// # Errors
    /// 429 when a limit of the key, its project or its organization is used up.
    pub async fn enter(&self, caller: &Caller) -> Result<Permit, ApiError> {
        let (limits, scopes, headers) = (self.clone(), scopes(caller), RateHeaders::default());
        let mut permit = Permit { limits, scopes, taken: Vec::new(), headers, tokens: 0 };
        let buckets = self.general(scopes, &[Kind::Requests, Kind::Concurrency]);
        match permit.take_all(buckets, 1).await {
            Ok(()) => Ok(permit),
            Err(refused) => Err(permit.refuse(&refused)),
        }
    }
}

impl Permit {
    /// Takes what the model has limits of its own for, and `tokens`: prompt and longest answer. From here on the
    /// request counts.
    ///
    /// # Errors
    /// 429 as before; what was taken is given back with this value.
    pub async fn admit(&mut self, model: &str, tokens: u64) -> Result<(), ApiError> {
        match self.take_for(model, tokens).await {
            Ok(()) => {
                self.count();
                Ok(())
            }
            Err(refused) => Err(self.refuse(&refused)),
        }
    }

    /// Turns to another model: gives back what was taken for the one before and takes what this one needs. `false`
    /// when a limit has no room for that; its place the request keeps either way, and another model may be tried.
    ///
    /// All requests of a minute are counted already. Those of the model are once [`Permit::count`] is told.
    pub async fn turn_to(&mut self, model: &str, tokens: u64) -> bool {
        let Self { limits, taken, .. } = self;
        taken.retain(|(bucket, amount)| {
            let stays = bucket.id.model.is_none() && bucket.id.kind == Kind::Concurrency;
            if !stays {
                limits.give_back(bucket, *amount, 0);
            }
            stays
        });
        self.take_for(model, tokens).await.is_ok()
    }

    /// Counts the request as made, whatever comes of it: what a minute's requests are counted by is their start.
    pub fn count(&mut self) {
        let (limits, now) = (&self.limits.0, self.limits.0.env.now());
        self.taken.retain(|(bucket, amount)| {
            let counts = bucket.id.kind == Kind::Requests;
            if counts {
                limits.shares.settle(bucket, *amount, *amount, now);
            }
            !counts
        });
    }

    /// Tokens that were used.
    pub fn used(&mut self, tokens: u64) {
        self.tokens = tokens;
    }

    /// Where the tightest limits stood when it was let in.
    #[must_use]
    pub fn headers(&self) -> RateHeaders {
        self.headers
    }

    async fn take_for(&mut self, model: &str, tokens: u64) -> Result<(), Refused> {
        let mut buckets = self.limits.special(self.scopes, model);
        buckets.extend(self.limits.general(self.scopes, &[Kind::Tokens]));
        self.take_all(buckets, tokens).await
    }

    /// Takes from all of these, or from none.
    async fn take_all(&mut self, buckets: Vec<Bucket>, tokens: u64) -> Result<(), Refused> {
        let before = self.taken.len();
        for bucket in buckets {
            let amount = if bucket.id.kind == Kind::Tokens { tokens } else { 1 };
            if let Err(refused) = self.take(bucket, amount).await {
                self.free_from(before);
                return Err(refused);
            }
        }
        Ok(())
    }

    fn free_from(&mut self, first: usize) {
        let Self { limits, taken, .. } = self;
        taken.drain(first..).for_each(|(bucket, amount)| limits.give_back(&bucket, amount, 0));
    }

    /// What was taken before is free again, and is told so.
    fn refuse(&mut self, refused: &Refused) -> ApiError {
        self.free_from(0);
        let mut headers = self.limits.standing_of(self.scopes);
        headers.tighten(self.headers);
        refused.told().with_rate(headers)
    }

    async fn take(&mut self, bucket: Bucket, amount: u64) -> Result<(), Refused> {
        let mut asks = 0;
        loop {
            let shares = &self.limits.0.shares;
            let (standing, wait) = match shares.try_reserve(&bucket, amount, self.limits.0.env.now()) {
                Attempt::Taken(standing) => {
                    self.note(&bucket, standing);
                    self.taken.push((bucket, amount));
                    return Ok(());
                }
                Attempt::Ask if asks < ASKS => {
                    asks += 1;
                    shares.refill(&bucket, amount).await;
                    continue;
                }
                Attempt::Ask => (shares.standing(&bucket, self.limits.0.env.now()), Wait::For(SHORTLY)),
                Attempt::Full(standing, wait) => (standing, wait),
            };
            self.note(&bucket, standing);
            let (kind, scope) = (bucket.id.kind.name(), bucket.id.scope.name());
            metrics::counter!("steelyard_limits_refused_total", "kind" => kind, "scope" => scope).increment(1);
            return Err(Refused { bucket, amount, wait });
        }
    }

    fn note(&mut self, bucket: &Bucket, standing: Standing) {
        self.headers.take_in(bucket.id.kind, standing);
    }
}

impl Limits {
    fn give_back(&self, bucket: &Bucket, amount: u64, used: u64) {
        self.0.shares.settle(bucket, amount, used, self.0.env.now());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for (bucket, amount) in self.taken.drain(..) {
            let used = if bucket.id.kind == Kind::Tokens { self.tokens } else { 0 };
            self.limits.give_back(&bucket, amount, used);
        }
    }
}

impl Refused {
    fn told(&self) -> ApiError {
        let (id, burst) = (&self.bucket.id, self.bucket.quota.burst);
        let whose = match &id.model {
            Some(model) => format!("{} for the model {model:?}", id.scope.name()),
            None => id.scope.name().to_owned(),
        };
        let limit = format!("the limit of {burst} {} of this {whose}", id.kind.unit());
        match self.wait {
            Wait::Never => {
                let message = format!("this request may take {} tokens, which is more than {limit}", self.amount);
                ApiError::rate_limited(message, None)
            }
            Wait::For(wait) => ApiError::rate_limited(format!("{limit} is used up"), Some(wait)),
            Wait::Unknown => ApiError::rate_limited(format!("{limit} is used up"), Some(SHORTLY)),
        }
    }
}
