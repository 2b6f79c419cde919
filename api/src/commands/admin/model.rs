//! `steelyard admin model …`

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Desk, Error, missing};
use crate::store::audit::{self, Entry};
use crate::store::models::{self, Model};
use crate::store::tokenizers::{self, Artifact, TokenizerKind};
use crate::tokenizer::{Description, ModelTokenizer};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Add a model, or replace what is said of it.
    Add(Add),
    /// The whole catalogue.
    List,
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// The public id, such as org/name.
    #[arg(long, value_parser = model_id)]
    id: String,
    /// The longest prompt and answer together, in tokens.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    context_length: u32,
    /// What people call it; the id when absent.
    #[arg(long)]
    name: Option<String>,
    /// A sentence or two.
    #[arg(long, default_value = "")]
    description: String,
    /// Where its weights are published.
    #[arg(long)]
    hugging_face_id: Option<String>,
    /// What its text is counted with: a GGUF file, or a tokenizer.json with its chat template beside it.
    #[arg(long, value_name = "FILE", visible_aliases = ["tokenizer-gguf", "tokenizer-json"])]
    tokenizer: Option<PathBuf>,
    /// What its text is counted with: a published vocabulary, o200k_base or cl100k_base.
    #[arg(long, value_name = "NAME", conflicts_with = "tokenizer")]
    tiktoken: Option<String>,
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::Add(args) => add(desk, args).await,
        Command::List => list(desk).await,
    }
}

async fn add(desk: &Desk, args: Add) -> Result<Value, Error> {
    let artifact = artifact(args.tokenizer.as_deref(), args.tiktoken.as_deref())?;
    let now = desk.env.now();
    let mut tx = desk.db.begin().await?;
    let earlier = models::find(&mut tx, &args.id).await?;
    let tokenizer = match &artifact {
        Some(artifact) => Some(tokenizers::put(&mut tx, artifact).await?),
        None => earlier.as_ref().and_then(|model| model.tokenizer),
    };
    let model = Model {
        name: args.name.unwrap_or_else(|| args.id.clone()),
        id: args.id,
        description: args.description,
        context_length: args.context_length,
        hugging_face_id: args.hugging_face_id,
        tokenizer,
        created_at: earlier.as_ref().map_or(now, |model| model.created_at),
    };
    models::put(&mut tx, &model).await?;
    let action = if earlier.is_some() { "model.changed" } else { "model.added" };
    let detail = json!({ "context_length": model.context_length, "tokenizer": tokenizer.map(hex::encode) });
    audit::insert(&mut tx, Entry::new(desk.env.mint(), now, desk.actor.clone(), action, &model.id).with(detail))
        .await?;
    let stored = models::find(&mut tx, &model.id).await?.ok_or_else(|| missing("model", &model.id))?;
    tx.commit().await?;
    Ok(view(stored))
}

async fn list(desk: &Desk) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    Ok(models::list(&mut conn).await?.into_iter().map(view).collect())
}

fn view(model: Model) -> Value {
    json!({
        "model": model.id,
        "name": model.name,
        "context_length": model.context_length,
        "tokenizer": model.tokenizer.map(|digest| hex::encode(&digest[..6])),
    })
}

/// Read and tried before it is stored: a tokenizer that does not work must fail here, not at the first request.
fn artifact(file: Option<&Path>, published: Option<&str>) -> Result<Option<Artifact>, Error> {
    let unusable = |error: crate::tokenizer::Error| {
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        Error::Usage(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    };
    if let Some(name) = published {
        ModelTokenizer::published(name).map_err(unusable)?;
        return Ok(Some(Artifact { kind: TokenizerKind::Tiktoken, data: name.as_bytes().to_vec() }));
    }
    let Some(file) = file else { return Ok(None) };
    let description = Description::open(file).map_err(unusable)?;
    ModelTokenizer::new(&description).map_err(unusable)?;
    Ok(Some(Artifact { kind: TokenizerKind::Artifact, data: description.write().map_err(unusable)? }))
}

/// The same bounds that offers of the model have to keep.
fn model_id(text: &str) -> Result<String, String> {
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':');
    if text.is_empty() || text.len() > 200 || !plain {
        return Err("a model id has 1 to 200 characters without spaces or colons, such as org/name".to_owned());
    }
    // `/v1/models/{id}/endpoints` lists a model's offers: such a model could never be asked for by its own path.
    if text.ends_with("/endpoints") {
        return Err("a model id does not end in /endpoints".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::model_id;

    #[test]
    fn an_id_can_be_told_from_what_may_follow_it() {
        assert!(model_id("org/name").is_ok() && model_id("org/endpoints-1").is_ok());
        for bad in ["", "org/name:free", "org name", "org/endpoints"] {
            assert!(model_id(bad).is_err(), "{bad:?}");
        }
    }
}
