//! What a prompt comes to in the tokens of a model: the base of every hold, and of every bill.

use bytes::Bytes;
use protocol::OrganizationId;
use scheduler::Ask;

use crate::ask;
use crate::envelope::{Envelope, Invalid, ModelRef, Subject, TextInput};
use crate::error::ApiError;
use crate::state::AppState;
use crate::tokenizer::{self, Count, ModelTokenizer, Prompt};

/// Bytes of an ordinary prompt per token, where only an estimate is to be had; the hold goes by the bytes themselves.
const BYTES_PER_TOKEN: u32 = 4;
/// Bodies up to this many bytes are counted where they are read: some tens of microseconds.
const COUNT_IN_PLACE: usize = 16 * 1024;

/// A prompt's tokens, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptCount {
    /// Counted, or the most it can be.
    pub tokens: u32,
    /// Whether it was counted with the model's own vocabulary.
    pub verified: bool,
    /// Counted, or what is likely: for choosing an offer.
    pub likely: u32,
    /// Of several texts the longest one's share of that.
    pub longest: u32,
    /// What is billed where nobody counts.
    pub least: u32,
}

/// What a request needs of one of its models, and its prompt in that model's tokens. `body` is what the envelope was
/// read from: counting a long one elsewhere reads it there again.
///
/// # Errors
/// [`ApiError`] when the model can't take it.
pub async fn consider(
    app: &AppState,
    envelope: &Envelope<'_>,
    body: &Bytes,
    model: &ModelRef<'_>,
    organization: OrganizationId,
) -> Result<(Ask, PromptCount), ApiError> {
    let known = app.tokenizers.find(&model.id);
    if body.len() <= COUNT_IN_PLACE || known.is_none() {
        return of(app, envelope, body.len(), model, organization);
    }
    // A long prompt takes milliseconds, and worse if it is meant to: not on a thread that relays streams.
    let (app, body, work) = (app.clone(), body.clone(), envelope.work);
    let (id, suffix) = (model.id.clone().into_owned(), model.suffix);
    let counting = tokio::task::spawn_blocking(move || {
        let envelope = Envelope::parse_for(work, &body).map_err(ApiError::from)?;
        of(&app, &envelope, body.len(), &ModelRef { id: id.into(), suffix }, organization)
    });
    counting.await.map_err(|panic| ApiError::internal(&panic))?
}

/// The same, here and now.
///
/// # Errors
/// As [`consider`].
pub fn of(
    app: &AppState,
    envelope: &Envelope<'_>,
    body_bytes: usize,
    model: &ModelRef<'_>,
    organization: OrganizationId,
) -> Result<(Ask, PromptCount), ApiError> {
    let prompt = count(app, envelope, body_bytes, &model.id)?;
    Ok((ask::of(envelope, model, organization, prompt)?, prompt))
}

/// The prompt's tokens by the model's own vocabulary; where there is none, the bytes bound them.
fn count(app: &AppState, envelope: &Envelope<'_>, body_bytes: usize, model: &str) -> Result<PromptCount, ApiError> {
    let counted = match &envelope.subject {
        Subject::Messages(messages) => {
            let now_unix_s = app.env.now().unix_seconds();
            let prompt =
                Prompt { messages, tools: envelope.tools, template_kwargs: envelope.template_kwargs, now_unix_s };
            app.tokenizers.count_prompt(model, &prompt).map(|count| (count, None)).map_err(refused)?
        }
        Subject::Texts(texts) => match app.tokenizers.find(model) {
            Some(tokenizer) => {
                let (sum, longest) = count_texts(&tokenizer, texts);
                (Count::Verified(sum), Some(narrow(longest)))
            }
            None => (Count::Unverified, None),
        },
        // A sound has no tokens; it is paid for by the request.
        Subject::Form(_) => (Count::Verified(0), None),
    };
    Ok(match counted {
        (Count::Verified(count), longest) => {
            let tokens = narrow(count);
            PromptCount { tokens, verified: true, likely: tokens, longest: longest.unwrap_or(tokens), least: tokens }
        }
        (Count::Unverified, _) => unverified(envelope, narrow(body_bytes as u64)),
    })
}

/// Without a vocabulary: no token is less than a byte, and doubt about the bill is settled for the customer. Of
/// pictures and sounds nobody here can say what they come to.
fn unverified(envelope: &Envelope<'_>, body_bytes: u32) -> PromptCount {
    let text_bytes = match &envelope.subject {
        Subject::Messages(messages) => narrow(messages.len() as u64),
        Subject::Texts(_) | Subject::Form(_) => body_bytes,
    };
    let tokens_given = match &envelope.subject {
        Subject::Texts(texts) => texts.iter().map(given).sum(),
        Subject::Messages(_) | Subject::Form(_) => 0,
    };
    let likely = text_bytes / BYTES_PER_TOKEN;
    let least = if envelope.inputs == crate::envelope::Inputs::default() { likely } else { 0 };
    let longest = match &envelope.subject {
        Subject::Texts(texts) => {
            texts.iter().map(|text| given(text).max(bytes(text) / BYTES_PER_TOKEN)).max().unwrap_or(likely)
        }
        Subject::Messages(_) | Subject::Form(_) => likely,
    };
    PromptCount { tokens: body_bytes.max(tokens_given), verified: false, likely, longest, least }
}

/// Tokens of all texts together, and of the longest.
fn count_texts(tokenizer: &ModelTokenizer, texts: &[TextInput<'_>]) -> (u64, u64) {
    let counts = texts.iter().map(|text| match text {
        TextInput::Text(text) => tokenizer.count_alone(text),
        TextInput::Tokens(count) => u64::from(*count),
    });
    counts.fold((0, 0), |(sum, longest), count| (sum + count, longest.max(count)))
}

fn given(text: &TextInput<'_>) -> u32 {
    match text {
        TextInput::Tokens(count) => *count,
        TextInput::Text(_) => 0,
    }
}

fn bytes(text: &TextInput<'_>) -> u32 {
    match text {
        TextInput::Text(text) => narrow(text.len() as u64),
        TextInput::Tokens(_) => 0,
    }
}

fn refused(error: tokenizer::Error) -> ApiError {
    ApiError::invalid("messages", format!("the model can't take this conversation: {error}"))
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl From<Invalid> for ApiError {
    fn from(bad: Invalid) -> Self {
        let error = Self::invalid(bad.param.as_deref(), bad.message);
        match bad.code {
            Some(code) => error.with_code(code),
            None => error,
        }
    }
}
