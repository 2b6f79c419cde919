//! Top-level fields: which there are, their types and their ranges.

use std::borrow::Cow;

use super::json::{Cursor, decode};
use super::{
    Envelope, Form, Format, Inputs, Invalid, MAX_FIELDS, MAX_MODEL_BYTES, Member, ModelRef, Subject, TextInput, Work,
};
use super::{messages, provider, texts, tools};

/// How many fallback models one request may name: each is one more round of placing.
const MAX_FALLBACK_MODELS: usize = 16;
/// How many stop sequences one request may give.
const MAX_STOP: usize = 4;
/// How many pictures one request may ask for; what OpenAI takes.
const MAX_PICTURES: i64 = 10;
/// What a completion is bound to when nothing is said.
const COMPLETION_TOKENS: u32 = 16;
/// How many pairs `metadata` may hold, and how long (in characters) a key and a value may be.
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// How much a model may reason.
pub(crate) const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Optional engine parameters by field and the name offers declare them under.
const PARAMETERS: [(&str, &str); 25] = [
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("min_p", "min_p"),
    ("top_a", "top_a"),
    ("repetition_penalty", "repetition_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("logit_bias", "logit_bias"),
    ("logprobs", "logprobs"),
    ("top_logprobs", "top_logprobs"),
    ("max_tokens", "max_tokens"),
    ("max_completion_tokens", "max_tokens"),
    ("seed", "seed"),
    ("stop", "stop"),
    ("response_format", "response_format"),
    ("tools", "tools"),
    ("functions", "tools"),
    ("tool_choice", "tool_choice"),
    ("function_call", "tool_choice"),
    ("parallel_tool_calls", "parallel_tool_calls"),
    ("reasoning_effort", "reasoning"),
    ("verbosity", "verbosity"),
    ("chat_template_kwargs", "chat_template_kwargs"),
    ("dimensions", "dimensions"),
];

/// Fields that say who serves rather than what.
const ROUTING: [&str; 7] = ["model", "models", "provider", "metadata", "user", "safety_identifier", "service_tier"];

/// Collects an [`Envelope`] while the body is read.
#[derive(Default)]
pub(super) struct Reader<'a> {
    work: Work,
    members: Vec<Member<'a>>,
    model: Option<ModelRef<'a>>,
    models: Vec<ModelRef<'a>>,
    stream: bool,
    has_stream_options: bool,
    include_usage: bool,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    n: Option<u32>,
    seed: Option<i64>,
    format: Format,
    logprobs: bool,
    top_logprobs: bool,
    messages: Option<(&'a str, messages::Messages)>,
    texts: Option<Vec<TextInput<'a>>>,
    echo: bool,
    best_of: Option<u32>,
    base64: bool,
    form: Option<Form<'a>>,
    inputs: Inputs,
    tools: Option<&'a str>,
    functions: Option<&'a str>,
    tool_choice: bool,
    template_kwargs: Option<&'a str>,
    prompt_cache_key: Option<Cow<'a, str>>,
    service_tier: Option<Cow<'a, str>>,
    provider: provider::ProviderPrefs,
    parameters: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Nothing read yet.
    pub(super) fn new(work: Work) -> Self {
        Self { work, ..Self::default() }
    }

    /// Reads one top-level field.
    pub(super) fn member(&mut self, cursor: &mut Cursor<'a>, key: Cow<'a, str>) -> Result<(), Invalid> {
        if self.members.iter().any(|member| member.key == key) {
            return Err(Invalid::at(key, "this field appears twice"));
        }
        if self.members.len() == MAX_FIELDS {
            return Err(Invalid::new(None, format!("more than {MAX_FIELDS} fields")));
        }
        cursor.peek();
        let raw = if key == "messages" && self.work == Work::Chat {
            let (raw, read) = messages::read(cursor)?;
            self.messages = Some((raw, read));
            raw
        } else {
            cursor.value()?
        };
        if raw != "null" {
            self.known(&key, raw)?;
            if let Some((_, name)) = PARAMETERS.iter().find(|(field, _)| *field == key)
                && !self.parameters.contains(name)
            {
                self.parameters.push(name);
            }
        }
        self.members.push(Member { key, raw });
        Ok(())
    }

    /// Fields that only one kind of work has, or that mean something else in it; `false` for all others.
    fn of_work(&mut self, key: &str, raw: &'a str) -> Result<bool, Invalid> {
        match (self.work, key) {
            (Work::Completion, "prompt") | (Work::Embedding, "input") => self.texts = Some(texts::read(key, raw)?),
            (Work::Completion, "logprobs") => drop(integer(key, raw, 0, 5)?),
            (Work::Completion, "echo") => self.echo = boolean(key, raw)?,
            (Work::Completion, "best_of") => self.best_of = Some(integer(key, raw, 1, 128)? as u32),
            (Work::Completion, "suffix") if raw != "\"\"" => {
                return Err(Invalid::unsupported(key, "text that is followed by a suffix is not served"));
            }
            (Work::Embedding, "dimensions") => drop(count(key, raw)?),
            (Work::Embedding, "encoding_format") => {
                self.base64 = one_of(key, raw, &["float", "base64"])? == "base64";
            }
            (Work::Image, "prompt") | (Work::Speech, "input") => self.texts = Some(vec![texts::one(key, raw)?]),
            (Work::Image, "n") => self.n = Some(integer(key, raw, 1, MAX_PICTURES)? as u32),
            (Work::Moderation, "input") => (self.texts, self.inputs.image) = texts::judged(key, raw)?,
            (Work::Image | Work::Speech, "stream") if boolean(key, raw)? => return Err(whole(key)),
            (Work::Speech, "stream_format") if text(key, raw)? == "sse" => return Err(whole(key)),
            (Work::Chat | Work::Completion, _) => return Ok(false),
            // What comes all at once is neither streamed nor bounded: such fields are somebody else's.
            (_, key) => return Ok(!ROUTING.contains(&key)),
        }
        Ok(true)
    }

    /// Reads what a form says of routing.
    pub(super) fn form(mut self, form: Form<'a>) -> Result<Envelope<'a>, Invalid> {
        self.model = form.text("model")?.map(|id| checked_model("model", id.into())).transpose()?;
        if let Some(text) = form.text("provider")? {
            self.provider = provider::read(json_in("provider", text)?)?;
        }
        if form.text("stream")? == Some("true") {
            return Err(whole("stream"));
        }
        self.inputs.audio = true;
        self.form = Some(form);
        self.finish()
    }

    fn known(&mut self, key: &str, raw: &'a str) -> Result<(), Invalid> {
        if self.of_work(key, raw)? {
            return Ok(());
        }
        match key {
            "model" => self.model = Some(model(key, raw)?),
            "models" => {
                list(key, raw, MAX_FALLBACK_MODELS, |path, raw| {
                    self.models.push(model(path, raw)?);
                    Ok(())
                })?;
            }
            "provider" => self.provider = provider::read(raw)?,
            "stream" => self.stream = boolean(key, raw)?,
            "stream_options" => {
                self.has_stream_options = true;
                object(key, raw, |path, field, raw| match field {
                    "include_usage" => self.wants_usage(path, raw),
                    "include_obfuscation" => boolean(path, raw).map(drop),
                    _ => Ok(()),
                })?;
            }
            "usage" if raw.starts_with('{') => object(key, raw, |path, field, raw| match field {
                "include" => self.wants_usage(path, raw),
                _ => Ok(()),
            })?,
            "max_tokens" => self.max_tokens = Some(count(key, raw)?),
            "max_completion_tokens" => self.max_completion_tokens = Some(count(key, raw)?),
            "n" => self.n = Some(integer(key, raw, 1, 128)? as u32),
            "seed" => self.seed = Some(integer(key, raw, i64::MIN, i64::MAX)?),
            "temperature" => number(key, raw, 0.0, 2.0)?,
            "top_p" | "min_p" | "top_a" => number(key, raw, 0.0, 1.0)?,
            "presence_penalty" | "frequency_penalty" => number(key, raw, -2.0, 2.0)?,
            "repetition_penalty" => number(key, raw, 0.0, 2.0)?,
            // −1 is the engines' own word for "no bound".
            "top_k" => drop(integer(key, raw, -1, i64::from(i32::MAX))?),
            "logprobs" => self.logprobs = boolean(key, raw)?,
            "top_logprobs" => {
                integer(key, raw, 0, 20)?;
                self.top_logprobs = true;
            }
            "store" | "parallel_tool_calls" => drop(boolean(key, raw)?),
            "stop" if raw.starts_with('"') => drop(text(key, raw)?),
            "stop" => list(key, raw, MAX_STOP, |path, raw| text(path, raw).map(drop))?,
            "logit_bias" => object(key, raw, |path, _, raw| number(path, raw, -100.0, 100.0))?,
            "response_format" => self.format = tools::response_format(key, raw)?,
            "tools" => self.tools = tools::tools(key, raw)?,
            "functions" => self.functions = tools::functions(key, raw)?,
            "tool_choice" => {
                self.tool_choice = true;
                tools::tool_choice(key, raw)?;
            }
            "function_call" => tools::function_call(key, raw)?,
            "reasoning_effort" => {
                one_of(key, raw, &EFFORTS)?;
            }
            "verbosity" => drop(one_of(key, raw, &["low", "medium", "high"])?),
            "service_tier" => {
                let tiers = ["auto", "default", "flex", "priority", "fast", "scale"];
                self.service_tier = Some(one_of(key, raw, &tiers)?);
            }
            "modalities" => list(key, raw, 8, |path, raw| one_of(path, raw, &["text", "audio"]).map(drop))?,
            "prediction" | "prompt_cache_options" => object(key, raw, |_, _, _| Ok(()))?,
            "chat_template_kwargs" => {
                object(key, raw, |_, _, _| Ok(()))?;
                self.template_kwargs = Some(raw);
            }
            "metadata" => metadata(key, raw)?,
            "user" => drop(text(key, raw)?),
            "prompt_cache_key" => self.prompt_cache_key = Some(text(key, raw)?),
            "safety_identifier" if text(key, raw)?.chars().count() > 64 => {
                return Err(Invalid::at(key, format!("`{key}` is longer than 64 characters")));
            }
            _ => {}
        }
        Ok(())
    }

    fn wants_usage(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        self.include_usage |= boolean(path, raw)?;
        Ok(())
    }

    /// Checks what concerns several fields at once and hands over the result.
    pub(super) fn finish(self) -> Result<Envelope<'a>, Invalid> {
        let model = self.model.ok_or_else(|| Invalid::at("model", "`model` is required"))?;
        let of_work = || messages::Messages { inputs: self.inputs, ..messages::Messages::default() };
        let (subject, read) = match (self.messages, self.texts, self.form) {
            (Some((messages, read)), ..) => (Subject::Messages(messages), read),
            (None, Some(texts), _) => (Subject::Texts(texts), of_work()),
            (None, None, Some(form)) => (Subject::Form(form), of_work()),
            (None, None, None) => {
                let field = self.work.subject();
                return Err(Invalid::at(field, format!("`{field}` is required")));
            }
        };
        let n = self.n.unwrap_or(1);
        if self.best_of.is_some_and(|best_of| best_of != n) {
            return Err(Invalid::unsupported("best_of", "choosing among more answers than `n` is not served"));
        }
        if let Subject::Texts(texts) = &subject
            && self.work == Work::Completion
        {
            texts::check_prompts(texts, n, self.echo)?;
        }
        let max_tokens = self.max_completion_tokens.or(self.max_tokens);
        let by_default = (self.work == Work::Completion).then_some(COMPLETION_TOKENS);
        if self.has_stream_options && !self.stream {
            return Err(Invalid::at("stream_options", "`stream_options` is only allowed when `stream` is true"));
        }
        if self.top_logprobs && !self.logprobs {
            return Err(Invalid::at("top_logprobs", "`top_logprobs` is only allowed when `logprobs` is true"));
        }
        if self.tool_choice && self.tools.is_none() {
            return Err(Invalid::at("tool_choice", "`tool_choice` is only allowed when `tools` are given"));
        }
        let tools = self.tools.or(self.functions);
        Ok(Envelope {
            work: self.work,
            members: self.members,
            developer_roles: read.developer_roles,
            model: model.id,
            suffix: model.suffix,
            models: self.models,
            stream: self.stream,
            include_usage: self.include_usage,
            max_tokens: max_tokens.or(by_default),
            n,
            echo: self.echo,
            base64: self.base64,
            seed: self.seed,
            has_tools: tools.is_some(),
            format: self.format,
            logprobs: self.logprobs,
            inputs: read.inputs,
            parameters: self.parameters,
            provider: self.provider,
            subject,
            tools,
            template_kwargs: self.template_kwargs,
            prompt_cache_key: self.prompt_cache_key,
            service_tier: self.service_tier,
        })
    }
}

/// The one value in a field of a form that is JSON.
fn json_in<'a>(field: &str, text: &'a str) -> Result<&'a str, Invalid> {
    let mut cursor = Cursor::new(text);
    let value = cursor.value().and_then(|value| cursor.end().map(|()| value));
    value.map_err(|_| Invalid::at(field, format!("`{field}` must be JSON")))
}

/// Refuses to send in pieces what is sent whole.
fn whole(field: &str) -> Invalid {
    Invalid::unsupported(field, "the answer comes whole: streaming it is not served")
}

fn model<'a>(path: &str, raw: &'a str) -> Result<ModelRef<'a>, Invalid> {
    checked_model(path, text(path, raw)?)
}

fn checked_model<'a>(path: &str, id: Cow<'a, str>) -> Result<ModelRef<'a>, Invalid> {
    if id.is_empty() || id.len() > MAX_MODEL_BYTES {
        return Err(Invalid::at(path, format!("a model id is 1 to {MAX_MODEL_BYTES} bytes long")));
    }
    Ok(ModelRef::parse(id))
}

fn metadata(path: &str, raw: &str) -> Result<(), Invalid> {
    let (pairs, key_chars, value_chars) = METADATA;
    let mut seen = 0;
    object(path, raw, |path, key, raw| {
        seen += 1;
        if seen > pairs {
            return Err(Invalid::at("metadata", format!("`metadata` holds at most {pairs} pairs")));
        }
        if key.chars().count() > key_chars {
            return Err(Invalid::at("metadata", format!("a `metadata` key is longer than {key_chars} characters")));
        }
        if text(path, raw)?.chars().count() > value_chars {
            return Err(Invalid::at(path, format!("`{path}` is longer than {value_chars} characters")));
        }
        Ok(())
    })
}

/// Checks one field that means the same in every dialect.
pub(crate) fn check(key: &str, raw: &str) -> Result<(), Invalid> {
    Reader::default().known(key, raw)
}

/// A JSON boolean.
pub(crate) fn boolean(path: &str, raw: &str) -> Result<bool, Invalid> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong_type(path, raw, "a boolean")),
    }
}

/// A JSON string.
pub(crate) fn text<'a>(path: &str, raw: &'a str) -> Result<Cow<'a, str>, Invalid> {
    if !raw.starts_with('"') {
        return Err(wrong_type(path, raw, "a string"));
    }
    decode(raw).ok_or_else(|| Invalid::at(path, format!("`{path}` is not valid Unicode text")))
}

/// A string out of a closed set.
pub(crate) fn one_of<'a>(path: &str, raw: &'a str, allowed: &[&str]) -> Result<Cow<'a, str>, Invalid> {
    let value = text(path, raw)?;
    if allowed.contains(&value.as_ref()) {
        return Ok(value);
    }
    Err(Invalid::at(path, format!("`{path}` must be one of {}", allowed.join(", "))))
}

/// An integer in a range, both ends included.
pub(crate) fn integer(path: &str, raw: &str, low: i64, high: i64) -> Result<i64, Invalid> {
    if !is_number(raw) || raw.contains(['.', 'e', 'E']) {
        return Err(wrong_type(path, raw, "an integer"));
    }
    let value = raw.parse::<i64>().ok().filter(|value| (low..=high).contains(value));
    value.ok_or_else(|| Invalid::at(path, format!("`{path}` must be between {low} and {high}")))
}

/// A number of tokens, at least one.
fn count(path: &str, raw: &str) -> Result<u32, Invalid> {
    let value = integer(path, raw, 1, i64::from(u32::MAX))?;
    Ok(u32::try_from(value).expect("the range was just checked"))
}

/// Checks a number in a range, both ends included.
pub(crate) fn number(path: &str, raw: &str, low: f64, high: f64) -> Result<(), Invalid> {
    if !is_number(raw) {
        return Err(wrong_type(path, raw, "a number"));
    }
    match raw.parse::<f64>() {
        Ok(value) if (low..=high).contains(&value) => Ok(()),
        _ => Err(Invalid::at(path, format!("`{path}` must be between {low} and {high}"))),
    }
}

/// Reads an object, giving `member` the path, key and text of each value. Nulls count as absent,
/// and a key may appear once.
pub(crate) fn object<'a>(
    path: &str,
    raw: &'a str,
    mut member: impl FnMut(&str, &str, &'a str) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    if !raw.starts_with('{') {
        return Err(wrong_type(path, raw, "an object"));
    }
    let mut seen: Vec<Cow<'a, str>> = Vec::new();
    Cursor::new(raw).object(|cursor, key| {
        let value = cursor.value()?;
        let inner = format!("{path}.{key}");
        // Beyond the bound keys are only names in somebody's schema, which nobody here looks up.
        if seen.len() < MAX_FIELDS {
            if seen.contains(&key) {
                return Err(Invalid::at(inner, "this field appears twice"));
            }
            seen.push(key.clone());
        }
        if value == "null" { Ok(()) } else { member(&inner, &key, value) }
    })
}

/// Reads an array of at most `most` elements, giving `element` the path and text of each.
pub(crate) fn list<'a>(
    path: &str,
    raw: &'a str,
    most: usize,
    mut element: impl FnMut(&str, &'a str) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    if !raw.starts_with('[') {
        return Err(wrong_type(path, raw, "an array"));
    }
    Cursor::new(raw).array(|cursor, index| {
        if index >= most {
            return Err(Invalid::at(path, format!("`{path}` holds at most {most} entries")));
        }
        element(&format!("{path}[{index}]"), cursor.value()?)
    })
}

/// Says what was expected and what came instead.
pub(crate) fn wrong_type(path: &str, raw: &str, wanted: &str) -> Invalid {
    let got = match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    Invalid::at(path, format!("`{path}` must be {wanted}, not {got}"))
}

/// Whether a checked JSON text is a number.
pub(crate) fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}
