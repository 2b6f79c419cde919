//! `steelyard admin rate-limit …`

use billing::budget::BudgetScope;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::whose::Whose;
use super::{Desk, Error, missing};
use crate::store::audit::{self, Entry};
use crate::store::models;
use crate::store::rate_limits::{self, ALL_MODELS, LimitScope, Limits};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Set how much may be asked for at a time. What is not named stays as it is.
    ///
    /// Every broker keeps it within two seconds. Requests above it are refused with 429 and told when to come again;
    /// those under way finish. A limit set here counts in place of the settings' own (limits.key, limits.project,
    /// limits.organization); one for a model counts beside those for all models together.
    Set(Set),
    /// Take all limits for a model, or for all models together, away: the settings' own are in force again.
    Remove {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        of: Of,
    },
    /// What was set, for all models together (`*`) and for single ones.
    Show {
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Set {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    most: Most,
}

#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// For one model of the catalogue, such as org/name; for all models together when absent.
    #[arg(long, value_name = "MODEL", default_value = ALL_MODELS, hide_default_value = true)]
    model: String,
}

/// How much.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Most {
    /// Requests in a minute.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests: Option<u32>,
    /// Tokens in a minute, prompts and answers together. A request takes the longest answer it may get until it ends.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// Requests at the same time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::Set(Set { whose, of, most }) => {
            change(desk, &whose, &of.model, |now| Limits {
                max_requests_per_minute: most.requests.or(now.max_requests_per_minute),
                max_tokens_per_minute: most.tokens.or(now.max_tokens_per_minute),
                max_concurrency: most.concurrency.or(now.max_concurrency),
            })
            .await
        }
        Command::Remove { whose, of } => change(desk, &whose, &of.model, |_| Limits::default()).await,
        Command::Show { whose } => show(desk, &whose).await,
    }
}

async fn change(
    desk: &Desk,
    whose: &Whose,
    model: &str,
    wanted: impl FnOnce(Limits) -> Limits,
) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let (budget, organization, name) = whose.find(&mut tx).await?;
    known(&mut tx, model).await?;
    let scope = scope(budget);
    let before = rate_limits::get(&mut tx, scope, model).await?;
    let limits = wanted(before);
    if limits != before {
        rate_limits::set(&mut tx, scope, model, limits).await?;
        let entry = Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), "rate_limit.updated", &name);
        let mut detail = limits.said();
        (detail["scope"], detail["model"], detail["before"]) = (budget.kind().into(), model.into(), before.said());
        audit::insert(&mut tx, entry.of_organization(organization).with(detail)).await?;
    }
    tx.commit().await?;
    let mut told = row(model, limits);
    told[budget.kind()] = name.into();
    Ok(told)
}

async fn show(desk: &Desk, whose: &Whose) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let (budget, ..) = whose.find(&mut conn).await?;
    let set = rate_limits::list_set(&mut conn, scope(budget)).await?;
    Ok(set.into_iter().map(|limit| row(&limit.model, limit.limits)).collect())
}

/// A limit for a model that is mistyped would bind nobody.
async fn known(conn: &mut PgConnection, model: &str) -> Result<(), Error> {
    if model != ALL_MODELS && models::find(conn, model).await?.is_none() {
        return Err(missing("model", model));
    }
    Ok(())
}

fn scope(of: BudgetScope) -> LimitScope {
    match of {
        BudgetScope::Key(key) => LimitScope::Key(key),
        BudgetScope::Project(project) => LimitScope::Project(project),
        BudgetScope::Organization(organization) => LimitScope::Organization(organization),
    }
}

fn row(model: &str, limits: Limits) -> Value {
    json!({
        "model": model,
        "requests_per_minute": limits.max_requests_per_minute,
        "tokens_per_minute": limits.max_tokens_per_minute,
        "concurrency": limits.max_concurrency,
    })
}
