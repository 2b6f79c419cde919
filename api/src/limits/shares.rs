//! [`Shares`]: where room under a limit comes from, this process alone or all replicas together.

use std::future::Future;
use std::pin::Pin;

use protocol::Timestamp;

use super::bucket::{Bucket, Shards};
use super::gcra::{Gcra, Quota, Standing, Wait};

/// Something awaited behind the trait. Boxed: only the way that is seldom gone waits at all.
pub type Pending<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What came of trying to set something aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It is set aside.
    Taken(Standing),
    /// There is no room.
    Full(Standing, Wait),
    /// There is none here, and others may have some: [`Shares::refill`], then try again.
    Ask,
}

/// Room under limits.
pub trait Shares: Send + Sync + 'static {
    /// Sets `amount` aside, without waiting.
    fn try_reserve(&self, bucket: &Bucket, amount: u64, now: Timestamp) -> Attempt;

    /// Asks the others for room for `amount`. The wait is bounded; what came of it is the next attempt's to tell.
    fn refill<'a>(&'a self, bucket: &'a Bucket, amount: u64) -> Pending<'a>;

    /// Tells what came of `reserved`: `used` counts against the limit and the rest is free.
    fn settle(&self, bucket: &Bucket, reserved: u64, used: u64, now: Timestamp);

    /// Where the limit stands.
    fn standing(&self, bucket: &Bucket, now: Timestamp) -> Standing;

    /// Forgets limits nobody uses.
    fn tidy(&self, now: Timestamp);

    /// Hands back what is left. Nothing is set aside after it.
    fn stop(&self) -> Pending<'_>;
}

/// The limits of one process that shares them with nobody.
#[derive(Default)]
pub struct InProcess(Shards<(Quota, Gcra)>);

impl InProcess {
    fn with<R>(&self, bucket: &Bucket, now: Timestamp, work: impl FnOnce(&mut Gcra) -> R) -> R {
        self.0.with(
            &bucket.id,
            || (bucket.quota, Gcra::new(now)),
            |(quota, gcra)| {
                *quota = bucket.quota;
                work(gcra)
            },
        )
    }
}

impl Shares for InProcess {
    fn try_reserve(&self, bucket: &Bucket, amount: u64, now: Timestamp) -> Attempt {
        self.with(bucket, now, |gcra| match gcra.reserve(amount, bucket.quota, now) {
            Ok(()) => Attempt::Taken(gcra.standing(bucket.quota, now)),
            Err(wait) => Attempt::Full(gcra.standing(bucket.quota, now), wait),
        })
    }

    fn refill<'a>(&'a self, _: &'a Bucket, _: u64) -> Pending<'a> {
        Box::pin(std::future::ready(()))
    }

    fn settle(&self, bucket: &Bucket, reserved: u64, used: u64, now: Timestamp) {
        self.with(bucket, now, |gcra| gcra.settle(reserved, used, bucket.quota, now));
    }

    fn standing(&self, bucket: &Bucket, now: Timestamp) -> Standing {
        self.with(bucket, now, |gcra| gcra.standing(bucket.quota, now))
    }

    fn tidy(&self, now: Timestamp) {
        self.0.retain(|_, (quota, gcra)| !gcra.is_idle(*quota, now));
    }

    fn stop(&self) -> Pending<'_> {
        Box::pin(std::future::ready(()))
    }
}
