//! The loops beside the requests: what was told, balances that are low, what has no known outcome, what was never
//! told, and what moved.

use std::time::Duration;

use platform::shutdown::Shutdown;
use platform::worker::{self, Next, Worker};
use protocol::Timestamp;

use super::{Cards, DisputePolicy, inbox, lines, sync};
use crate::store::{cards as saved, disputes, refunds, stripe_calls, stripe_events, topups};
use crate::{Error, card, dispute, recharge, refund, topup};

/// What has no outcome is left alone for this long: whoever asked for it is still at it.
const UNTOUCHED: Duration = Duration::from_secs(90);
/// Taken up in one go, of each kind.
const BATCH: i64 = 50;

/// Starts the loops, owned by `shutdown`.
pub fn spawn(cards: &Cards, shutdown: &Shutdown) {
    for job in [Job::Inbox, Job::Recharge, Job::Resume, Job::Backfill, Job::Lines] {
        worker::spawn(cards.env().clone(), Beat { cards: cards.clone(), job }, shutdown);
    }
}

/// Goes on with what a call whose answer was lost, or a process that died, has left; looks at pages past their time,
/// for which nothing was told; and freezes what came back to disputed purchases.
///
/// # Errors
/// [`Error::Database`]; what the processor can't answer yet is left for the next time.
pub async fn resume(cards: &Cards, now: Timestamp) -> Result<(), Error> {
    let since = now.minus(UNTOUCHED);
    let mut conn = cards.db().acquire().await?;
    let opening = topups::Which { states: &["opening"], made_by: Some(since), ..topups::Which::default() };
    let opening = topups::list(&mut conn, opening, BATCH).await?;
    let late = now.minus(topup::OPEN_FOR).minus(UNTOUCHED);
    let over = topups::Which { states: &["open"], made_by: Some(late), ..topups::Which::default() };
    let over = topups::list(&mut conn, over, BATCH).await?;
    let automatic = Some(true);
    let undecided =
        topups::Which { states: &["open"], made_by: Some(since), is_automatic: automatic, ..topups::Which::default() };
    let undecided = topups::list(&mut conn, undecided, BATCH).await?;
    let unsent = refunds::list_open(&mut conn, since, BATCH).await?;
    let short = disputes::list_short(&mut conn, BATCH).await?;
    let unknown = stripe_calls::list_unknown(&mut conn, 1).await?.first().map(|call| call.created_at);
    let told = stripe_events::find_oldest(&mut conn).await?;
    drop(conn);
    let age_s = |since: Option<Timestamp>| since.map_or(0.0, |since| now.since(since).as_secs_f64());
    metrics::gauge!("steelyard_billing_stripe_unknown_oldest_s").set(age_s(unknown));
    metrics::gauge!("steelyard_billing_inbox_oldest_s").set(age_s(told));
    for one in opening {
        let id = one.id;
        left(topup::resume(cards, one).await, &id)?;
    }
    for one in undecided {
        if let Some(intent) = &one.payment_intent {
            left(sync::payment(cards, intent).await, &one.id)?;
        }
    }
    for one in over {
        if let Some(session) = &one.session {
            left(sync::session(cards, session).await, &one.id)?;
        }
    }
    for one in unsent {
        left(refund::send(cards, &one).await, &one.id)?;
    }
    if cards.config().dispute_policy != DisputePolicy::None {
        for id in short {
            left(dispute::refreeze(cards, &id).await, &id)?;
        }
    }
    resume_cards(cards, since, late).await
}

/// The same for saved cards: pages, cards that leave, and tax that is not recorded yet.
async fn resume_cards(cards: &Cards, since: Timestamp, late: Timestamp) -> Result<(), Error> {
    let mut conn = cards.db().acquire().await?;
    let setups = saved::list_unfinished(&mut conn, since, BATCH).await?;
    let leaving = saved::list_leaving(&mut conn, BATCH).await?;
    let untaxed = topups::list_untaxed(&mut conn, BATCH).await?;
    drop(conn);
    for one in setups {
        match one.session.clone() {
            None => left(card::resume(cards, one.clone()).await, &one.id)?,
            Some(session) if one.created_at <= late => left(sync::session(cards, &session).await, &one.id)?,
            Some(_) => {}
        }
    }
    for one in leaving {
        left(card::detach(cards, &one).await, &one.id)?;
    }
    for id in untaxed {
        left(recharge::record_tax(cards, id).await, &id)?;
    }
    Ok(())
}

/// Says that something has no outcome yet. Only a database that is away ends the tick.
fn left<T>(result: Result<T, Error>, what: &dyn std::fmt::Display) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(Error::Database(error)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(%what, %error, "it has no outcome yet");
            Ok(())
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Job {
    Inbox,
    Recharge,
    Resume,
    Backfill,
    Lines,
}

struct Beat {
    cards: Cards,
    job: Job,
}

impl Worker for Beat {
    type Error = Error;

    fn name(&self) -> &'static str {
        match self.job {
            Job::Inbox => "billing.stripe.inbox",
            Job::Recharge => "billing.stripe.recharge",
            Job::Resume => "billing.stripe.resume",
            Job::Backfill => "billing.stripe.backfill",
            Job::Lines => "billing.stripe.lines",
        }
    }

    fn interval(&self) -> Duration {
        let config = self.cards.config();
        Duration::from_millis(match self.job {
            Job::Inbox => config.inbox_ms,
            Job::Recharge => config.recharge_ms,
            Job::Resume => config.resume_ms,
            Job::Backfill => config.backfill_ms,
            Job::Lines => config.lines_ms,
        })
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, Error> {
        match self.job {
            Job::Inbox => return Ok(if inbox::work(&self.cards, now).await? { Next::Again } else { Next::Wait }),
            Job::Recharge => recharge::work(&self.cards, now).await?,
            Job::Resume => resume(&self.cards, now).await?,
            Job::Backfill => drop(inbox::backfill(&self.cards, now).await?),
            Job::Lines => {
                lines::read(&self.cards, now).await?;
                lines::tie_all(&self.cards, now).await?;
            }
        }
        Ok(Next::Wait)
    }
}
