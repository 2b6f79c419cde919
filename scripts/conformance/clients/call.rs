//! Lists the models and asks one for an answer, through the client that progenitor wrote.

progenitor::generate_api!(spec = "document.json", interface = Builder);

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [url, key, model] = ["STEELYARD_URL", "STEELYARD_API_KEY", "STEELYARD_MODEL"].map(std::env::var);
    let (url, key, model) = (url?, key?, model?);
    let bearer = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))?)]);
    let client = Client::new_with_client(&url, reqwest::Client::builder().default_headers(bearer).build()?);

    let types::Models::ModelList(listed) = client.list_models().send().await?.into_inner() else {
        panic!("the models are in another dialect's shape");
    };
    assert!(listed.data.iter().any(|one| one.id == model), "{listed:?}");

    let turn = types::UserMessage::builder()
        .role(types::UserMessageRole::User)
        .content(types::ChatContent::String("Hello!".to_owned()));
    let request = types::ChatCompletionRequest::builder()
        .model(&*model)
        .messages(vec![types::UserMessage::try_from(turn)?.into()])
        .max_tokens(std::num::NonZeroU32::new(16));
    let answer = client.create_chat_completion().body(request).send().await?.into_inner();
    let said = answer.choices[0].message.content.as_deref().unwrap_or_default();
    assert!(answer.model == model && !said.is_empty() && answer.usage.completion_tokens > 0, "{answer:?}");
    Ok(())
}
