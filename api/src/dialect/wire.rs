//! What engines send, parsed without copying.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Error, Kind};

/// The highest choice index: requests ask for at most 128 choices.
pub(super) const MAX_CHOICE: u32 = 127;
/// The highest tool-call index within a choice: far above what any model calls at once.
pub(super) const MAX_TOOL: u32 = 511;
/// How much of a provider's error message is kept.
const MAX_MESSAGE_CHARS: usize = 500;

/// Which part of an answer a piece of generated text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Channel {
    /// The answer itself.
    Content,
    /// Reasoning before it.
    Reasoning,
    /// A refusal.
    Refusal,
    /// Names and arguments of tool calls.
    Tool,
}

/// A finish reason of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended, or a stop sequence was met.
    Stop,
    /// The bound on tokens was met.
    Length,
    /// The model called tools.
    ToolCalls,
    /// A filter cut the answer.
    ContentFilter,
    /// The model called a function, in the older form.
    FunctionCall,
}

impl FinishReason {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::FunctionCall => "function_call",
        }
    }

    /// Maps an engine's word; `None` for those that mean the engine failed.
    pub(super) fn of_engine(word: &str) -> Option<Self> {
        Some(match word {
            "length" | "max_tokens" | "max_length" | "model_length" | "max_output_tokens" => Self::Length,
            "tool_calls" | "tool_use" => Self::ToolCalls,
            "content_filter" | "safety" | "refusal" => Self::ContentFilter,
            "function_call" => Self::FunctionCall,
            "error" | "abort" | "aborted" | "cancelled" => return None,
            _ => Self::Stop,
        })
    }
}

/// Usage as the provider counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamUsage {
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: u64,
    /// Generated tokens, reasoning included.
    pub completion_tokens: u64,
    /// Prompt tokens found in a cache.
    pub cached_tokens: u64,
    /// Reasoning tokens.
    pub reasoning_tokens: u64,
}

/// A failure the provider reported inside its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    /// Its message, cut to a bound.
    pub message: String,
    /// Its code, when that is a word.
    pub code: Option<String>,
    /// Its code, when that is an HTTP status.
    pub status: Option<u16>,
    /// Its type.
    pub kind: Option<String>,
}

impl UpstreamError {
    /// Whether it says that the prompt does not fit the engine's context.
    #[must_use]
    pub fn is_about_length(&self) -> bool {
        let words = [Some(&self.message), self.code.as_ref(), self.kind.as_ref()];
        words.into_iter().flatten().any(|words| crate::refusal::tells_too_long(words))
    }
}

#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: u32,
    /// A plain answer's `message` says all at once what deltas say piece by piece.
    #[serde(borrow, default, alias = "message")]
    pub(super) delta: Option<Delta<'a>>,
    /// What the older completions have in the place of a delta.
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<ToolFragment<'a>>>,
    #[serde(borrow, default)]
    pub(super) function_call: Option<FunctionFragment<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ToolFragment<'a> {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) function: Option<FunctionFragment<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct FunctionFragment<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// What an event brings that carries no chunk: the end, or nothing at all.
pub(super) fn without_json(data: &[u8]) -> Option<Kind> {
    match data.trim_ascii() {
        b"[DONE]" => Some(Kind::Done),
        b"" => Some(Kind::Empty),
        _ => None,
    }
}

/// Parses one event's data.
///
/// # Errors
/// [`Error::Malformed`], or [`Error::Upstream`] when the event reports a failure.
pub(super) fn parse(data: &[u8]) -> Result<Chunk<'_>, Error> {
    // A derived reader would take an array for an object whose fields come in order.
    if data.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::Malformed("a chunk is not an object".to_owned()));
    }
    let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|error| Error::Malformed(error.to_string()))?;
    if let Some(error) = chunk.error {
        return Err(Error::Upstream(upstream_error(error.get())));
    }
    if chunk.object.is_some_and(|object| object.get() == "\"error\"") {
        return Err(Error::Upstream(upstream_error(std::str::from_utf8(data).unwrap_or_default())));
    }
    for choice in chunk.choices.iter().flatten() {
        if choice.index > MAX_CHOICE {
            return Err(Error::Malformed("a choice index is out of range".to_owned()));
        }
    }
    Ok(chunk)
}

impl<'a> Chunk<'a> {
    /// The usage figures, when there are any that can be read.
    pub(super) fn usage(&self) -> Option<UpstreamUsage> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            prompt_tokens: u64,
            #[serde(default)]
            completion_tokens: Option<u64>,
            #[serde(default)]
            prompt_tokens_details: Option<Details>,
            #[serde(default)]
            completion_tokens_details: Option<Details>,
        }
        #[derive(Default, Deserialize)]
        struct Details {
            #[serde(default)]
            cached_tokens: Option<u64>,
            #[serde(default)]
            reasoning_tokens: Option<u64>,
        }
        // The gateway's own count decides the bill, so figures that can't be read are no failure.
        let wire: Wire = serde_json::from_str(self.usage?.get()).ok()?;
        Some(UpstreamUsage {
            prompt_tokens: wire.prompt_tokens,
            completion_tokens: wire.completion_tokens.unwrap_or(0),
            cached_tokens: wire.prompt_tokens_details.unwrap_or_default().cached_tokens.unwrap_or(0),
            reasoning_tokens: wire.completion_tokens_details.unwrap_or_default().reasoning_tokens.unwrap_or(0),
        })
    }

    /// Whether the chunk has no usage, so that its bytes vary with its text only.
    pub(super) fn is_plain(&self) -> bool {
        self.usage.is_none()
    }
}

impl<'a> Choice<'a> {
    /// The finish reason and the engine's own word for it.
    pub(super) fn finish(&self) -> Result<Option<(FinishReason, Cow<'a, str>)>, Error> {
        let Some(raw) = self.finish_reason else { return Ok(None) };
        let word: Cow<'a, str> = text(raw.get()).ok_or_else(|| not_text("finish_reason"))?;
        if word.is_empty() {
            return Ok(None);
        }
        match FinishReason::of_engine(&word) {
            Some(reason) => Ok(Some((reason, word))),
            None => Err(Error::Upstream(UpstreamError {
                message: format!("the engine ended with {word:?}"),
                code: Some(word.into_owned()),
                ..UpstreamError::default()
            })),
        }
    }

    pub(super) fn has_finish(&self) -> bool {
        self.finish_reason.is_some_and(|raw| raw.get() != "\"\"")
    }

    /// The inside of the literal of a completion's text, when there is any.
    pub(super) fn text(&self) -> Result<Option<&'a str>, Error> {
        literal(self.text, "text")
    }

    /// The only thing in this choice, when that is one piece of content or reasoning.
    pub(super) fn only_text(&self) -> Option<(Channel, &'a str)> {
        match &self.delta {
            Some(delta) => delta.only_text(),
            None => Some((Channel::Content, self.text().ok()??)),
        }
    }
}

impl<'a> Delta<'a> {
    /// The inside of the content's string literal, when there is any.
    pub(super) fn content(&self) -> Result<Option<&'a str>, Error> {
        literal(self.content, "content")
    }

    /// The inside of the reasoning's string literal, from either field.
    pub(super) fn reasoning(&self) -> Result<Option<&'a str>, Error> {
        match literal(self.reasoning, "reasoning")? {
            Some(text) => Ok(Some(text)),
            None => literal(self.reasoning_content, "reasoning_content"),
        }
    }

    /// The inside of the refusal's string literal.
    pub(super) fn refusal(&self) -> Result<Option<&'a str>, Error> {
        literal(self.refusal, "refusal")
    }

    fn only_text(&self) -> Option<(Channel, &'a str)> {
        if self.tool_calls.is_some() || self.function_call.is_some() || self.refusal.is_some() {
            return None;
        }
        let content = literal(self.content, "").ok()?;
        let reasoning = [literal(self.reasoning, "").ok()?, literal(self.reasoning_content, "").ok()?];
        match (content, reasoning) {
            (Some(text), [None, None]) => Some((Channel::Content, text)),
            (None, [Some(text), None] | [None, Some(text)]) => Some((Channel::Reasoning, text)),
            _ => None,
        }
    }
}

impl<'a> FunctionFragment<'a> {
    /// The inside of the name's string literal.
    pub(super) fn name(&self) -> Result<Option<&'a str>, Error> {
        literal(self.name, "a tool's name")
    }

    /// The inside of a string literal that holds the arguments. Some engines send an object
    /// where the dialect has a string with that object's text.
    pub(super) fn arguments(&self) -> Result<Cow<'a, str>, Error> {
        match self.arguments.map(RawValue::get) {
            None => Ok(Cow::Borrowed("")),
            Some(raw) if raw.starts_with('"') => Ok(Cow::Borrowed(&raw[1..raw.len() - 1])),
            Some(raw) => {
                let quoted = serde_json::to_string(raw).map_err(|error| Error::Malformed(error.to_string()))?;
                Ok(Cow::Owned(quoted[1..quoted.len() - 1].to_owned()))
            }
        }
    }
}

/// The inside of a string literal; `None` when absent or empty.
fn literal<'a>(raw: Option<&'a RawValue>, name: &str) -> Result<Option<&'a str>, Error> {
    let Some(raw) = raw.map(RawValue::get) else { return Ok(None) };
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).ok_or_else(|| not_text(name))?;
    Ok(Some(inner).filter(|inner| !inner.is_empty()))
}

fn not_text(name: &str) -> Error {
    Error::Malformed(format!("{name} is not text"))
}

fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

/// Reads an error object leniently: every field may be missing or of another type.
pub(super) fn upstream_error(raw: &str) -> UpstreamError {
    let value: serde_json::Value = serde_json::from_str(raw).unwrap_or_default();
    let message = value.get("message").or(Some(&value)).and_then(serde_json::Value::as_str).unwrap_or_default();
    let code = value.get("code");
    UpstreamError {
        message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
        code: code.and_then(serde_json::Value::as_str).map(str::to_owned),
        status: code.and_then(serde_json::Value::as_u64).and_then(|code| u16::try_from(code).ok()),
        kind: value.get("type").and_then(serde_json::Value::as_str).map(str::to_owned),
    }
}
