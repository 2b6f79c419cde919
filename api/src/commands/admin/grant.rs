//! `steelyard admin grant`

use std::time::Duration;

use billing::grant::{GrantKind, Granted, NewGrant};
use clap::ValueEnum;
use protocol::{EventId, NanoUsd, OrganizationId};
use serde_json::{Value, json};

use super::{Desk, Error, missing};
use crate::store::audit::{self, Entry};
use crate::store::organizations;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// To whom.
    #[arg(long)]
    org: OrganizationId,
    /// How much, in dollars.
    #[arg(long)]
    usd: NanoUsd,
    /// Days until what is left of it goes; it stays when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires_days: Option<u32>,
    /// Why it is given.
    #[arg(long, value_enum, default_value_t = Kind::Promo)]
    kind: Kind,
    /// Names the occasion: the same one gives once, however often this is run.
    #[arg(long)]
    cause: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// To win a user.
    Promo,
    /// To make up for something.
    Goodwill,
}

pub(super) async fn run(desk: &Desk, args: Args) -> Result<Value, Error> {
    if args.usd.is_zero() {
        return Err(Error::Usage("--usd must be above zero".to_owned()));
    }
    let now = desk.env.now();
    let event: EventId = desk.env.mint();
    let mut tx = desk.db.begin().await?;
    organizations::find(&mut tx, args.org).await?.ok_or_else(|| missing("organization", args.org))?;
    let new = NewGrant {
        account: args.org,
        kind: match args.kind {
            Kind::Promo => GrantKind::Promo,
            Kind::Goodwill => GrantKind::Goodwill,
        },
        // Without a named occasion each run is one of its own.
        cause: args.cause.unwrap_or_else(|| event.to_string()),
        amount: args.usd,
        expires_at: args.expires_days.map(|days| now.plus(Duration::from_secs(u64::from(days) * 86_400))),
    };
    let granted = billing::grant::grant(&mut tx, &desk.env, &new).await?;
    let (grant, fresh) = match granted {
        Granted::New(id) => (id, true),
        Granted::Earlier(id) => (id, false),
    };
    if fresh {
        let detail = json!({ "grant": grant, "amount_usd": args.usd, "cause": new.cause });
        let entry = Entry::new(event, now, desk.actor.clone(), "credit.granted", args.org);
        audit::insert(&mut tx, entry.of_organization(args.org).with(detail)).await?;
    }
    tx.commit().await?;
    Ok(json!({ "grant": grant, "organization": args.org, "amount_usd": args.usd, "given_now": fresh }))
}
