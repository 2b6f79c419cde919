//! `steelyard admin price …`

use std::time::Duration;

use serde_json::{Value, json};

use super::{Desk, Error, missing};
use crate::store::audit::{self, Entry};
use crate::store::models;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The platform's share on top of providers' prices.
    #[command(subcommand)]
    TakeRate(TakeRate),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum TakeRate {
    /// Set the share for prices that are posted from now on; posted prices keep theirs.
    Set {
        /// Which model.
        #[arg(long)]
        model: String,
        /// The share in basis points: 1000 is 10 %.
        #[arg(long, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        bps: u32,
        /// Hours from now on when it starts.
        #[arg(long, default_value_t = 0)]
        in_hours: u32,
    },
    /// The share in force for a model; the configured default when there is none.
    Show {
        /// Which model.
        #[arg(long)]
        model: String,
    },
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    let Command::TakeRate(command) = command;
    match command {
        TakeRate::Set { model, bps, in_hours } => set(desk, &model, bps, in_hours).await,
        TakeRate::Show { model } => {
            let mut conn = desk.db.acquire().await?;
            let bps = billing::store::prices::find_take(&mut conn, &model, desk.env.now()).await?;
            Ok(json!({ "model": model, "take_bps": bps }))
        }
    }
}

async fn set(desk: &Desk, model: &str, bps: u32, in_hours: u32) -> Result<Value, Error> {
    let now = desk.env.now();
    let effective_at = now.plus(Duration::from_secs(u64::from(in_hours) * 3_600));
    let mut tx = desk.db.begin().await?;
    models::find(&mut tx, model).await?.ok_or_else(|| missing("model", model))?;
    billing::store::prices::set_take(&mut tx, model, bps, effective_at).await?;
    let entry = Entry::new(desk.env.mint(), now, desk.actor.clone(), "take_rate.set", model);
    let detail = json!({ "take_bps": bps, "effective_at": effective_at.unix_seconds() });
    audit::insert(&mut tx, entry.with(detail)).await?;
    tx.commit().await?;
    Ok(json!({ "model": model, "take_bps": bps, "effective_at": effective_at.unix_seconds() }))
}
