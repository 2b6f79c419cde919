//! `steelyard admin limit …`

use billing::budget::{Budget, Reset};
use billing::store::budgets;
use clap::ValueEnum;
use protocol::{Id as _, KeyId, NanoUsd};
use serde_json::{Value, json};

use super::whose::Whose;
use super::{Desk, Error};
use crate::store::audit::{self, Entry};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Set the most that may be spent, in place of any limit before.
    ///
    /// With the same --reset, what was spent in the running window counts on. With another one, counting starts
    /// anew. Requests above the limit are refused with 402; those under way finish.
    Set(Set),
    /// Take a limit away.
    Remove {
        #[command(flatten)]
        whose: Whose,
    },
    /// The limit in force, if there is one, and what was spent of it.
    Show {
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Set {
    #[command(flatten)]
    whose: Whose,
    /// The most, in dollars; 0 stops all spending.
    #[arg(long)]
    usd: NanoUsd,
    /// When it starts anew, in UTC: at midnight, before Monday, before the first of a month, or never.
    #[arg(long, value_enum, default_value_t = Starts::None)]
    reset: Starts,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Starts {
    Daily,
    Weekly,
    Monthly,
    /// A limit for life.
    None,
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::Set(args) => set(desk, args).await,
        Command::Remove { whose } => remove(desk, &whose).await,
        Command::Show { whose } => show(desk, &whose).await,
    }
}

async fn set(desk: &Desk, args: Set) -> Result<Value, Error> {
    let now = desk.env.now();
    let reset = match args.reset {
        Starts::Daily => Some(Reset::Daily),
        Starts::Weekly => Some(Reset::Weekly),
        Starts::Monthly => Some(Reset::Monthly),
        Starts::None => None,
    };
    let mut tx = desk.db.begin().await?;
    let (scope, organization, name) = args.whose.find(&mut tx).await?;
    // Any UUID names a budget; a key's id is as unique as one.
    let id = desk.env.mint::<KeyId>().uuid();
    let before = budgets::find(&mut tx, scope).await?;
    let budget = budgets::set(&mut tx, scope, args.usd, reset, id, now).await?;
    let detail = json!({ "scope": scope.kind(), "limit": said(Some(&budget)), "before": said(before.as_ref()) });
    let entry = Entry::new(desk.env.mint(), now, desk.actor.clone(), "limit.set", &name);
    audit::insert(&mut tx, entry.of_organization(organization).with(detail)).await?;
    tx.commit().await?;
    Ok(json!({ scope.kind(): name, "limit_usd": budget.limit, "reset": word(budget.reset) }))
}

async fn remove(desk: &Desk, whose: &Whose) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let (scope, organization, name) = whose.find(&mut tx).await?;
    let before = budgets::find(&mut tx, scope).await?;
    if before.is_some() {
        budgets::remove(&mut tx, scope).await?;
        let detail = json!({ "scope": scope.kind(), "before": said(before.as_ref()) });
        let entry = Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), "limit.removed", &name);
        audit::insert(&mut tx, entry.of_organization(organization).with(detail)).await?;
    }
    tx.commit().await?;
    Ok(json!({ scope.kind(): name, "removed_now": before.is_some() }))
}

async fn show(desk: &Desk, whose: &Whose) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let (scope, _, name) = whose.find(&mut conn).await?;
    let Some(budget) = budgets::find(&mut conn, scope).await? else {
        return Ok(json!({ scope.kind(): name, "limit_usd": null }));
    };
    let spent = budgets::spent_now(&mut conn, &budget, desk.env.now()).await?;
    Ok(json!({
        scope.kind(): name,
        "limit_usd": budget.limit,
        "reset": word(budget.reset),
        "spent_usd": spent,
        "left_usd": budget.limit.saturating_sub(spent),
    }))
}

fn said(budget: Option<&Budget>) -> Value {
    budget.map_or(Value::Null, |budget| json!({ "usd": budget.limit, "reset": word(budget.reset) }))
}

fn word(reset: Option<Reset>) -> &'static str {
    reset.map_or("none", Reset::as_str)
}
