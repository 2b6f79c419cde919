//! Tools for engines that have none but hold their answers to a JSON schema.
//!
//! A request with tools is written as one without: the tools are told in the prompt, and a schema binds the answer to a
//! call of one of them. What comes is read back as that call, piece by piece, so every dialect tells it as it tells any
//! other. Everything here is pure: bytes in, bytes out.

mod answer;
mod functions;
mod schema;
mod turns;

use std::sync::Arc;

use bytes::Bytes;

pub(super) use self::answer::{Answers, Found};
use self::functions::{Mode, Offered};
use crate::envelope::{Envelope, Format, Invalid};

/// Fields that speak of tools: none of them reaches such an engine.
const TOOL_FIELDS: [&str; 5] = ["tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"];

/// A request whose tools are emulated.
#[derive(Clone, Debug)]
pub struct Emulated {
    /// The chat request an engine without tools gets.
    pub body: Bytes,
    /// How its answer is to be read.
    pub expected: Expected,
}

/// What an answer can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Text and nothing else: calls were ruled out.
    Text,
    /// The arguments of the one function there is.
    Arguments(Arc<str>),
    /// The call of one of these functions, or words where those are allowed.
    Call {
        /// Their names.
        names: Arc<[String]>,
        /// Whether the model may answer in words.
        words: bool,
    },
}

impl Emulated {
    /// Writes a chat request with tools as one without.
    ///
    /// # Errors
    /// [`Invalid`] when the tools or the choice among them make no sense, when a strict schema is none, or, with the
    /// code `unsupported_parameter`, when a field could not be honoured here.
    pub fn of(request: &Envelope<'_>) -> Result<Self, Invalid> {
        let Offered { functions, mode } = functions::read(request)?;
        check_fields(request, mode)?;
        let expected = match (mode, functions.as_slice()) {
            (Mode::Never, _) => Expected::Text,
            (Mode::Required, [only]) => Expected::Arguments(only.name.as_ref().into()),
            (mode, _) => {
                let names = functions.iter().map(|function| function.name.clone().into_owned()).collect();
                Expected::Call { names, words: mode == Mode::Auto }
            }
        };
        let format = schema::of(&functions, &expected);
        let instructions = turns::instructions(&functions, &expected);
        let messages = turns::write(request.raw("messages").unwrap_or("[]"), instructions.as_deref())?;
        let body = body(request, &messages, format.as_deref(), mode);
        // A schema stands deeper in there than a tool's did, and a bound on depth may lie between.
        Envelope::parse(&body).map_err(|bad| Invalid::at("tools", format!("these tools can't be emulated: {bad}")))?;
        Ok(Self { body: body.into(), expected })
    }
}

/// Refuses what a bound answer can't honour: silently, it would mean something else.
fn check_fields(request: &Envelope<'_>, mode: Mode) -> Result<(), Invalid> {
    let refused = |field: &str, why: &str| {
        Err(Invalid::unsupported(
            field,
            format!("`{field}` can't be honoured where tools are emulated, as they are for this model: {why}"),
        ))
    };
    if mode == Mode::Never {
        return Ok(());
    }
    if request.logprobs {
        return refused("logprobs", "the engine's tokens are not those of the answer");
    }
    if mode == Mode::Auto && request.raw("stop").is_some_and(|raw| raw != "null") {
        return refused("stop", "it would cut a call as well as a text; set `tool_choice` to `none` or `required`");
    }
    if mode == Mode::Auto && request.format != Format::Text {
        return refused(
            "response_format",
            "the choice between text and calls takes its place; set `tool_choice` to `none` or `required`",
        );
    }
    Ok(())
}

/// The client's own fields, with what concerns tools left out or put in other words.
fn body(request: &Envelope<'_>, messages: &str, format: Option<&str>, mode: Mode) -> Vec<u8> {
    let mut body = Vec::with_capacity(messages.len() + format.map_or(0, str::len) + 256);
    let mut put = |key: &str, raw: &str| {
        body.push(if body.is_empty() { b'{' } else { b',' });
        body.extend_from_slice(super::render::quoted(key).as_bytes());
        body.push(b':');
        body.extend_from_slice(raw.as_bytes());
    };
    put("messages", messages);
    for member in request.members() {
        match member.key.as_ref() {
            "messages" => {}
            key if TOOL_FIELDS.contains(&key) => {}
            "response_format" if format.is_some() => {}
            // Stop sequences are about text, of which a required call has none.
            "stop" if mode == Mode::Required => {}
            key => put(key, member.raw),
        }
    }
    if let Some(format) = format {
        put("response_format", format);
    }
    body.push(b'}');
    body
}

#[cfg(test)]
mod tests;
