//! The demo's customer and model, made with the same commands an operator would type.

use std::path::Path;

use clap::Parser;
use serde_json::Value;

use super::{Args, Engine};
use crate::commands::{Error, admin};
use crate::state::AppState;
use crate::store::audit::Actor;

/// The model on offer.
pub(super) struct Model {
    /// Its public id.
    pub id: &'static str,
    /// What the engine calls it.
    pub upstream: &'static str,
    /// Tokens of context of one slot.
    pub context_length: u32,
}

/// Who pays, and the keys to act for it.
pub(super) struct Customer {
    /// `org-…`.
    pub organization: String,
    /// For inference.
    pub key: String,
    /// For buying credit.
    pub management_key: String,
    /// For the organization's own administration.
    pub admin_key: String,
}

const REAL: Model = Model { id: "HuggingFaceTB/SmolLM2-135M-Instruct", upstream: "smollm2", context_length: 2_048 };
const SIMULATED: Model = Model { id: "steelyard/simulated", upstream: "simulated", context_length: 8_192 };
/// The model file the engine set-up leaves behind.
pub(super) const MODEL_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// Puts the model in the catalogue; the real one with its own vocabulary, so that bills rest on our count.
pub(super) async fn model(app: &AppState, args: &Args) -> Result<Model, Error> {
    let (model, tokenizer) = match args.engine {
        Engine::Simulated | Engine::None => (SIMULATED, vec!["--tiktoken".to_owned(), "o200k_base".to_owned()]),
        Engine::Llama => {
            let file = engine_dir(args)?.join(MODEL_FILE);
            (REAL, vec!["--tokenizer".to_owned(), file.display().to_string()])
        }
    };
    let context = model.context_length.to_string();
    let mut words = vec!["model", "add", "--id", model.id, "--context-length", &context];
    words.extend(tokenizer.iter().map(String::as_str));
    admin(app, &words).await?;
    app.refresh_catalogue().await?;
    Ok(model)
}

/// The folder the engine was set up in.
pub(super) fn engine_dir(args: &Args) -> Result<&Path, Error> {
    args.engine_dir.as_deref().filter(|dir| dir.join(MODEL_FILE).exists()).ok_or_else(|| {
        Error::Usage(format!(
            "the real engine is not set up: `make demo` does it, or name its folder with --engine-dir \
             (it holds {MODEL_FILE}). Without one, --engine simulated serves a stand-in that says what it is"
        ))
    })
}

/// A new organization with five dollars of promotional credit, and a key of each kind it needs.
pub(super) async fn customer(app: &AppState) -> Result<Customer, Error> {
    let organization = text(&admin(app, &["org", "create", "Demo"]).await?, "organization")?;
    admin(app, &["grant", "--org", &organization, "--usd", "5.00", "--expires-days", "30"]).await?;
    let key = admin(app, &["key", "create", "--org", &organization, "--name", "demo"]).await?;
    let management_key =
        admin(app, &["key", "create", "--org", &organization, "--kind", "management", "--name", "demo manager"])
            .await?;
    let admin_key =
        admin(app, &["key", "create", "--org", &organization, "--kind", "admin", "--name", "demo admin"]).await?;
    Ok(Customer {
        organization,
        key: text(&key, "secret")?,
        management_key: text(&management_key, "secret")?,
        admin_key: text(&admin_key, "secret")?,
    })
}

/// `steelyard admin …`, in this process.
async fn admin(app: &AppState, words: &[&str]) -> Result<Value, Error> {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: admin::Args,
    }
    let line = Line::try_parse_from(std::iter::once("steelyard admin").chain(words.iter().copied()))
        .map_err(|error| Error::Usage(error.to_string()))?;
    admin::execute(line.args, app.db.clone(), app.env.clone(), Actor::Operator("demo".to_owned())).await
}

fn text(value: &Value, field: &str) -> Result<String, Error> {
    value[field].as_str().map(str::to_owned).ok_or_else(|| Error::Usage(format!("the answer has no {field:?}")))
}
