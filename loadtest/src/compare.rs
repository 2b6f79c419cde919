//! The same load on several targets, in turn and in one run: what a broker costs beside a proxy that
//! does nothing, on this machine, today.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::NanoUsd;
use serde::Deserialize;
use url::Url;

use crate::client::Client;
use crate::record::Record;
use crate::{Error, books};

mod figures;
mod steps;

pub use figures::{Budget, Figures, print, to_json, verdicts};

/// Most connections to one target: every stream of the largest step, and room.
const CONNECTIONS: usize = 8_192;

/// Which targets there are, read from a TOML file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// Whose latency is taken off the others': the engine without anything before it.
    pub baseline: String,
    /// Whose rate and processor time are 1.00.
    pub yardstick: String,
    /// In the order they are shown and run.
    pub target: Vec<TargetSpec>,
}

/// One target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// Its column.
    pub name: String,
    /// Where it is.
    pub url: Url,
    /// Its processes.
    #[serde(default)]
    pub pids: Vec<u32>,
    /// Processes shown apart, with all they start: its database, say.
    #[serde(default)]
    pub beside: Vec<u32>,
    /// The end of its answers waits for the ledger's commit, so latency at one connection is the disk's, not judged.
    #[serde(default)]
    pub durable: bool,
    /// A file with its key. A target with a key is a broker: it is held to the budget, and its money must add up.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// How much load.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A model that answers at once.
    pub fast: String,
    /// A model that says a token every `pace_ms`.
    pub paced: String,
    /// A model that says a token a second: its streams are as good as idle.
    pub slow: String,
    /// How often each short step is repeated; figures are medians.
    pub repetitions: u32,
    /// Length of a short step.
    pub step: Duration,
    /// Requests in flight in the short steps.
    pub concurrency: usize,
    /// Tokens of a small JSON answer.
    pub json_tokens: u32,
    /// Streams open at once in the paced and idle steps.
    pub streams: u32,
    /// Tokens of each paced stream.
    pub stream_tokens: u32,
    /// Between two tokens of the paced model.
    pub pace_ms: f64,
    /// Over how long many streams open.
    pub ramp: Duration,
}

impl Targets {
    /// Reads the file.
    ///
    /// # Errors
    /// It can't be read, is not TOML, or names a baseline or yardstick it does not list.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file(path, "reading the targets"))?;
        let targets: Self = toml::from_str(&text).map_err(|error| Error::Invalid(error.to_string()))?;
        for name in [&targets.baseline, &targets.yardstick] {
            if !targets.target.iter().any(|target| target.name == *name) {
                return Err(Error::Invalid(format!("{}: no target is named {name:?}", path.display())));
            }
        }
        Ok(targets)
    }
}

/// One target under test.
pub(crate) struct Target {
    pub spec: TargetSpec,
    pub client: Arc<Client>,
    pub figures: Figures,
    /// Everything its clients saw, for the money.
    pub record: Record,
    /// The ledger's use before the first request; only where there is a ledger.
    before: Option<NanoUsd>,
}

impl Target {
    async fn open(spec: TargetSpec) -> Result<Self, Error> {
        let key = match &spec.key_file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(Error::file(path, "reading the key"))?),
            None => None,
        };
        let client = Arc::new(Client::connect(&spec.url, key.as_deref().map(str::trim), CONNECTIONS).await?);
        let before = match key {
            Some(_) => Some(books::total_usage(&client).await?),
            None => None,
        };
        let (broker, durable) = (spec.key_file.is_some(), spec.durable);
        let figures = Figures { name: spec.name.clone(), broker, durable, ..Figures::default() };
        Ok(Self { spec, client, figures, record: Record::default(), before })
    }
}

/// Everything a comparison found.
#[derive(Debug)]
pub struct Comparison {
    /// A column a target.
    pub figures: Vec<Figures>,
    /// One for each broker.
    pub money: Vec<(String, books::Verdict)>,
    /// Index of the baseline.
    pub baseline: usize,
    /// Index of the yardstick.
    pub yardstick: usize,
}

/// Runs every step on every target. Short steps go round the targets once per repetition, so a
/// machine that slows down slows all of them.
///
/// # Errors
/// A target can't be reached at all, or its ledger can't be read.
pub async fn run(targets: Targets, plan: &Plan) -> Result<Comparison, Error> {
    let position = |name: &str| targets.target.iter().position(|target| target.name == name).unwrap_or(0);
    let (baseline, yardstick) = (position(&targets.baseline), position(&targets.yardstick));
    let mut all = Vec::new();
    for spec in targets.target {
        all.push(Target::open(spec).await?);
    }
    // Memory first: later steps leave grown pools behind, in which new streams cost nothing.
    for target in &mut all {
        steps::memory(target, plan).await;
    }
    for repetition in 1..=plan.repetitions {
        for target in &mut all {
            tracing::info!(target = target.spec.name, repetition, "rate, chunks and latency");
            steps::small_answers(target, plan).await;
            steps::chunk_rate(target, plan).await;
            steps::one_connection(target, plan).await;
        }
    }
    for target in &mut all {
        tracing::info!(target = target.spec.name, streams = plan.streams, "paced streams");
        steps::paced_streams(target, plan).await;
    }
    let mut money = Vec::new();
    for target in &mut all {
        if let Some(before) = target.before {
            money.push((target.spec.name.clone(), books::check(&target.client, before, &target.record).await?));
        }
        target.figures.failures = target.record.failures();
        target.figures.broken.clone_from(&target.record.broken);
        target.figures.refused.clone_from(&target.record.refused);
    }
    Ok(Comparison { figures: all.into_iter().map(|target| target.figures).collect(), money, baseline, yardstick })
}
