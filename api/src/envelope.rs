//! What the gateway must know of a request to an engine, read in one borrowed pass.
//!
//! Routing and money need a dozen fields; everything else belongs to the engine and is passed on
//! byte for byte. [`Envelope::parse`] checks the whole body, keeps slices of it, and
//! [`Envelope::upstream_body`] copies those slices into what the provider gets.

pub(crate) mod fields;
mod form;
pub(crate) mod json;
mod messages;
mod provider;
mod texts;
pub(crate) mod tools;
mod upstream;

use std::borrow::Cow;

pub use self::form::{Form, MAX_FORM_BYTES, content_type as form_type};
pub use self::json::MAX_DEPTH;
pub use self::messages::{MAX_CALLS, MAX_MESSAGES, MAX_PARTS};
pub use self::provider::{
    DataCollection, MAX_LIST, MaxPrice, Partition, Preference, ProviderPrefs, ProviderRef, Sort, SortBy, Trust,
};
pub use self::texts::{MAX_TEXTS, TextInput};
pub use self::tools::MAX_TOOLS;
pub use self::upstream::UpstreamEdits;

use self::fields::Reader;
use self::json::Cursor;

/// How many top-level fields a request may have. Known ones number about fifty; the bound keeps
/// the search for duplicates short.
pub const MAX_FIELDS: usize = 256;

/// The longest model id, in bytes.
pub const MAX_MODEL_BYTES: usize = 256;

/// Why a request is refused: always the client's to fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, and with what.
    pub message: String,
    /// The path of the field at fault, such as `messages[2].content`; `None` for the whole body.
    pub param: Option<String>,
    /// The stable code, where there is one.
    pub code: Option<&'static str>,
}

impl Invalid {
    /// Builds a refusal.
    pub fn new(param: Option<&str>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: param.map(str::to_owned), code: None }
    }

    pub(crate) fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()), code: None }
    }

    /// A field that is known and means something we don't do: ignoring it would change the answer unsaid.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: Some("unsupported_parameter"), ..Self::at(param, message) }
    }
}

/// What a suffix on a model id asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffix {
    /// `:nitro`: fastest first.
    Nitro,
    /// `:floor`: cheapest first.
    Floor,
    /// `:free`: only offers that cost nothing.
    Free,
}

/// A model id without its suffix, and the suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef<'a> {
    /// The model id to look up.
    pub id: Cow<'a, str>,
    /// What the suffix asked for.
    pub suffix: Option<Suffix>,
}

impl<'a> ModelRef<'a> {
    /// The same, borrowed from nothing.
    #[must_use]
    pub fn to_owned(&self) -> ModelRef<'static> {
        ModelRef { id: Cow::Owned(self.id.clone().into_owned()), suffix: self.suffix }
    }

    /// Splits a known suffix off a model id. Fine-tuned ids (`ft:…`) have none: their last
    /// segment is a name somebody chose.
    pub fn parse(id: Cow<'a, str>) -> Self {
        if id.starts_with("ft:") {
            return Self { id, suffix: None };
        }
        let suffix = match id.rsplit_once(':') {
            Some((_, "nitro")) => Suffix::Nitro,
            Some((_, "floor")) => Suffix::Floor,
            Some((_, "free")) => Suffix::Free,
            _ => return Self { id, suffix: None },
        };
        let end = id.rfind(':').unwrap_or(id.len());
        let id = match id {
            Cow::Borrowed(id) => Cow::Borrowed(&id[..end]),
            Cow::Owned(mut id) => {
                id.truncate(end);
                Cow::Owned(id)
            }
        };
        Self { id, suffix: Some(suffix) }
    }
}

/// The shape a request wants its answer in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Free text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema,
}

/// Input a request brings besides text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// At least one image.
    pub image: bool,
    /// At least one sound.
    pub audio: bool,
    /// At least one file.
    pub file: bool,
}

/// What an engine is asked for; each has its own path, fields and form of input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// The next message of a conversation.
    #[default]
    Chat,
    /// Text that goes on from a prompt.
    Completion,
    /// Vectors of texts.
    Embedding,
    /// Whether texts or pictures are harmless.
    Moderation,
    /// Pictures of a prompt.
    Image,
    /// A text, spoken.
    Speech,
    /// The words of a sound.
    Transcription,
    /// The same in English.
    Translation,
}

impl Work {
    /// Whether it comes as a form with a file.
    #[must_use]
    pub const fn is_form(self) -> bool {
        matches!(self, Self::Transcription | Self::Translation)
    }

    /// Whether its answer is text that is counted, piece by piece.
    #[must_use]
    pub const fn is_written(self) -> bool {
        matches!(self, Self::Chat | Self::Completion)
    }

    /// Whether its answer is passed on as the engine gave it.
    #[must_use]
    pub const fn is_relayed(self) -> bool {
        !self.is_written() && !matches!(self, Self::Embedding)
    }

    /// The field that says what it is about.
    #[must_use]
    pub const fn subject(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completion | Self::Image => "prompt",
            Self::Embedding | Self::Moderation | Self::Speech => "input",
            Self::Transcription | Self::Translation => "file",
        }
    }

    /// Where engines take it, on whatever node that is.
    #[must_use]
    pub fn uri(self) -> http::Uri {
        http::Uri::from_static(match self {
            Self::Chat => "http://node/v1/chat/completions",
            Self::Completion => "http://node/v1/completions",
            Self::Embedding => "http://node/v1/embeddings",
            Self::Moderation => "http://node/v1/moderations",
            Self::Image => "http://node/v1/images/generations",
            Self::Speech => "http://node/v1/audio/speech",
            Self::Transcription => "http://node/v1/audio/transcriptions",
            Self::Translation => "http://node/v1/audio/translations",
        })
    }
}

/// What a request is about.
#[derive(Clone, Debug)]
pub enum Subject<'a> {
    /// A conversation: the `messages` array as written.
    Messages(&'a str),
    /// Texts, each on its own: the prompts of a completion, or what is to become vectors, a picture or sound.
    Texts(Vec<TextInput<'a>>),
    /// A file, with what goes with it.
    Form(Form<'a>),
}

/// One top-level field, as it was written.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The field's name.
    pub key: Cow<'a, str>,
    /// The value's exact text.
    pub raw: &'a str,
}

/// A checked request, borrowed from its body.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// What is asked for.
    pub work: Work,
    members: Vec<Member<'a>>,
    /// Where `"developer"` stands as a role inside `messages`, as byte ranges of that slice.
    developer_roles: Vec<std::ops::Range<usize>>,
    /// The model asked for first, without its suffix.
    pub model: Cow<'a, str>,
    /// What the suffix of `model` asked for.
    pub suffix: Option<Suffix>,
    /// Models to fall back on, in order.
    pub models: Vec<ModelRef<'a>>,
    /// Whether the client wants server-sent events.
    pub stream: bool,
    /// Whether the client's stream ends with a usage chunk.
    pub include_usage: bool,
    /// Upper bound on generated tokens per choice; `max_completion_tokens` wins over `max_tokens`.
    pub max_tokens: Option<u32>,
    /// Answers to each prompt, 1 to 128.
    pub n: u32,
    /// Whether a completion's answers begin with their prompts.
    pub echo: bool,
    /// Whether vectors are wanted as base64 text.
    pub base64: bool,
    /// The client's seed.
    pub seed: Option<i64>,
    /// Whether any tool or function is offered to the model.
    pub has_tools: bool,
    /// The shape of the answer.
    pub format: Format,
    /// Whether log probabilities are wanted.
    pub logprobs: bool,
    /// Input other than text.
    pub inputs: Inputs,
    /// Names of the optional engine parameters in use, as offers declare them.
    pub parameters: Vec<&'static str>,
    /// Routing wishes and demands.
    pub provider: ProviderPrefs,
    /// What it is about.
    pub subject: Subject<'a>,
    /// The `tools` array (or the older `functions`) as written, when it is not empty.
    pub tools: Option<&'a str>,
    /// Extra variables for the chat template, an object as written.
    pub template_kwargs: Option<&'a str>,
    /// The client's hint which requests share a prefix.
    pub prompt_cache_key: Option<Cow<'a, str>>,
    /// The service tier asked for.
    pub service_tier: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Reads and checks a chat request. As [`Envelope::parse_for`].
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Invalid> {
        Self::parse_for(Work::Chat, body)
    }

    /// Reads and checks a request for `work`.
    ///
    /// # Errors
    /// [`Invalid`] when the body is not JSON, a known field has the wrong type or range, a field
    /// appears twice, or a bound is passed. Unknown fields are no error.
    pub fn parse_for(work: Work, body: &'a [u8]) -> Result<Self, Invalid> {
        if work.is_form() {
            return Reader::new(work).form(Form::read(body)?);
        }
        let mut reader = Reader::new(work);
        walk(body, |cursor, key| reader.member(cursor, key))?;
        reader.finish()
    }

    /// The top-level fields in the order they were sent.
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The exact text of a top-level field.
    pub fn raw(&self, key: &str) -> Option<&'a str> {
        self.members.iter().find(|member| member.key == key).map(|member| member.raw)
    }

    /// Choices of the whole answer: each prompt has its own.
    pub fn choices(&self) -> u32 {
        match &self.subject {
            Subject::Messages(_) | Subject::Form(_) => self.n,
            Subject::Texts(texts) => self.n.saturating_mul(u32::try_from(texts.len()).unwrap_or(u32::MAX)),
        }
    }

    /// Requests it is paid for as: each picture is one.
    pub fn requests(&self) -> u32 {
        if self.work == Work::Image { self.n } else { 1 }
    }
}

/// Reads a body that must be one JSON object, giving each key to `member`, which must consume its value.
pub(crate) fn walk<'a>(
    body: &'a [u8],
    member: impl FnMut(&mut Cursor<'a>, Cow<'a, str>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Invalid::new(None, format!("the request body is not UTF-8 (byte {})", error.valid_up_to())))?;
    let mut cursor = Cursor::new(text);
    if cursor.peek() != Some(b'{') {
        cursor.value()?;
        return Err(Invalid::new(None, "the request body must be a JSON object"));
    }
    cursor.object(member)?;
    cursor.end()
}

/// As [`walk`], for whoever keeps no list of fields himself: none may appear twice, and there is a bound on them.
pub(crate) fn walk_once<'a>(
    body: &'a [u8],
    mut member: impl FnMut(&mut Cursor<'a>, &Cow<'a, str>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let mut seen: Vec<Cow<'a, str>> = Vec::new();
    walk(body, |cursor, key| {
        if seen.contains(&key) {
            return Err(Invalid::at(key, "this field appears twice"));
        }
        if seen.len() == MAX_FIELDS {
            return Err(Invalid::new(None, format!("more than {MAX_FIELDS} fields")));
        }
        member(cursor, &key)?;
        seen.push(key);
        Ok(())
    })
}

/// Checks that a body is one JSON object, within the bounds of every other request.
pub(crate) fn check_object(body: &[u8]) -> Result<(), Invalid> {
    walk_once(body, |cursor, _| cursor.value().map(drop))
}

#[cfg(test)]
mod tests;
