//! Top-level fields of a request, and the chat request made of them.

use super::echo::{Echo, compact};
use super::format::Text;
use super::input;
use super::tools::{self, Tools};
use crate::envelope::fields::{EFFORTS, boolean, check, integer, list, object, one_of, text};
use crate::envelope::{Invalid, walk_once};

/// The smallest bound on an answer that the contract allows.
const MIN_OUTPUT_TOKENS: i64 = 16;
/// How many wishes `include` may name: more than there are.
const MAX_INCLUDE: usize = 32;
/// What `include` may name. Only [`LOGPROBS`] brings anything: the rest belongs to tools that are not served here,
/// or to reasoning that is never encrypted.
const INCLUDE: [&str; 8] = [
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    LOGPROBS,
];
const LOGPROBS: &str = "message.output_text.logprobs";

/// Fields that mean the same to a chat request: routing, naming and sampling. They leave as they came.
const SHARED: [&str; 22] = [
    "model",
    "models",
    "provider",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "metadata",
    "safety_identifier",
    "user",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_a",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "logit_bias",
    "chat_template_kwargs",
    "parallel_tool_calls",
];

/// A checked request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The chat request that asks for the same; [`crate::envelope::Envelope::parse`] accepts it.
    pub chat: Vec<u8>,
    /// What the answer repeats.
    pub echo: Echo,
    /// Whether the client wants server-sent events.
    pub stream: bool,
}

/// Reads and checks a request.
///
/// # Errors
/// [`Invalid`] with the path of the field at fault: a wrong type or range, a field that appears twice, a passed
/// bound. With the code `unsupported_parameter` for what needs stored state or a hosted tool. Unknown fields are
/// no error.
pub fn read(body: &[u8]) -> Result<Request, Invalid> {
    let mut fields = Fields::default();
    walk_once(body, |cursor, key| match cursor.value()? {
        "null" => Ok(()),
        raw => fields.read(key, raw),
    })?;
    fields.finish()
}

/// The fields of one request, as written where nothing else is said. Nulls count as absent.
#[derive(Default)]
struct Fields<'a> {
    shared: Vec<(&'static str, &'a str)>,
    input: Option<&'a str>,
    instructions: Option<&'a str>,
    tools: Tools,
    tool_choice: Option<&'a str>,
    effort: Option<&'a str>,
    summary: Option<&'a str>,
    has_reasoning: bool,
    text: Text<'a>,
    max_output_tokens: Option<i64>,
    max_tool_calls: Option<i64>,
    top_logprobs: i64,
    logprobs: bool,
    truncation: Option<&'a str>,
    stream: bool,
}

impl<'a> Fields<'a> {
    fn read(&mut self, key: &str, raw: &'a str) -> Result<(), Invalid> {
        if let Some(key) = SHARED.iter().find(|shared| **shared == key) {
            self.shared.push((key, raw));
            return check(key, raw);
        }
        match key {
            "input" => self.input = Some(raw),
            "instructions" => {
                text(key, raw)?;
                self.instructions = Some(raw);
            }
            "tools" => self.tools = Tools::read(key, raw)?,
            "tool_choice" => self.tool_choice = Some(raw),
            "reasoning" => self.reasoning(key, raw)?,
            "text" => self.text = Text::read(key, raw)?,
            "max_output_tokens" => {
                self.max_output_tokens = Some(integer(key, raw, MIN_OUTPUT_TOKENS, i64::from(u32::MAX))?);
            }
            "max_tool_calls" => self.max_tool_calls = Some(integer(key, raw, 1, i64::from(u32::MAX))?),
            "top_logprobs" => self.top_logprobs = integer(key, raw, 0, 20)?,
            "include" => list(key, raw, MAX_INCLUDE, |path, raw| {
                self.logprobs |= one_of(path, raw, &INCLUDE)? == LOGPROBS;
                Ok(())
            })?,
            "truncation" => {
                one_of(key, raw, &["auto", "disabled"])?;
                self.truncation = Some(raw);
            }
            "store" => drop(boolean(key, raw)?),
            "stream" => self.stream = boolean(key, raw)?,
            "stream_options" => object(key, raw, |path, field, raw| match field {
                "include_obfuscation" => boolean(path, raw).map(drop),
                _ => Ok(()),
            })?,
            "background" if boolean(key, raw)? => {
                return Err(Invalid::unsupported(key, "`background` must be false: no response is kept"));
            }
            "previous_response_id" | "conversation" | "prompt" => {
                return Err(Invalid::unsupported(
                    key,
                    format!("`{key}` names stored state, and nothing is stored here"),
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn reasoning(&mut self, key: &str, raw: &'a str) -> Result<(), Invalid> {
        self.has_reasoning = true;
        object(key, raw, |path, field, raw| {
            match field {
                "effort" => {
                    one_of(path, raw, &EFFORTS)?;
                    self.effort = Some(raw);
                }
                "summary" => {
                    one_of(path, raw, &["auto", "concise", "detailed"])?;
                    self.summary = Some(raw);
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn shared(&self, key: &str) -> Option<&'a str> {
        self.shared.iter().find(|(shared, _)| *shared == key).map(|(_, raw)| *raw)
    }

    fn finish(self) -> Result<Request, Invalid> {
        if self.shared("model").is_none() {
            return Err(Invalid::at("model", "`model` is required"));
        }
        let input = self.input.ok_or_else(|| Invalid::at("input", "`input` is required"))?;
        let messages = input::messages(self.instructions, input)?;
        let choice = self.tool_choice.map(|raw| tools::choice("tool_choice", raw, &self.tools)).transpose()?;
        let chat = self.chat(&messages, choice.flatten().as_deref());
        Ok(Request { chat: chat.into_bytes(), stream: self.stream, echo: self.echo() })
    }

    fn chat(&self, messages: &str, tool_choice: Option<&str>) -> String {
        let mut chat = format!("{{\"messages\":[{messages}]");
        let mut put = |key: &str, raw: &str| {
            for piece in [",\"", key, "\":", raw] {
                chat.push_str(piece);
            }
        };
        let moot = |key: &str| key == "parallel_tool_calls" && self.tools.is_empty();
        for (key, raw) in self.shared.iter().filter(|(key, _)| !moot(key)) {
            put(key, raw);
        }
        if !self.tools.is_empty() {
            put("tools", &self.tools.chat());
        }
        let optional = [
            ("tool_choice", tool_choice),
            ("reasoning_effort", self.effort),
            ("response_format", self.text.response_format.as_deref()),
            ("verbosity", self.text.verbosity),
        ];
        for (key, raw) in optional {
            if let Some(raw) = raw {
                put(key, raw);
            }
        }
        if let Some(most) = self.max_output_tokens {
            put("max_completion_tokens", &most.to_string());
        }
        if self.logprobs {
            put("logprobs", "true");
            put("top_logprobs", &self.top_logprobs.to_string());
        }
        put("stream", if self.stream { "true" } else { "false" });
        chat.push('}');
        chat
    }

    /// What the answer repeats, with the contract's defaults where the request is silent.
    fn echo(self) -> Echo {
        let number = |value: Option<i64>| value.map_or("null".to_owned(), |value| value.to_string());
        let shared = |key: &str, default: &str| compact(self.shared(key).unwrap_or(default));
        let reasoning = if self.has_reasoning {
            let (effort, summary) = (self.effort.unwrap_or("null"), self.summary.unwrap_or("null"));
            format!("{{\"effort\":{effort},\"summary\":{summary}}}")
        } else {
            "null".to_owned()
        };
        let members = [
            ("background", "false".to_owned()),
            ("instructions", self.instructions.unwrap_or("null").to_owned()),
            ("max_output_tokens", number(self.max_output_tokens)),
            ("max_tool_calls", number(self.max_tool_calls)),
            ("parallel_tool_calls", shared("parallel_tool_calls", "true")),
            ("previous_response_id", "null".to_owned()),
            ("prompt_cache_key", shared("prompt_cache_key", "null")),
            ("reasoning", reasoning),
            ("safety_identifier", shared("safety_identifier", "null")),
            ("store", "false".to_owned()),
            ("temperature", shared("temperature", "1")),
            ("text", self.text.echo()),
            ("tool_choice", compact(self.tool_choice.unwrap_or("\"auto\""))),
            ("tools", self.tools.echo()),
            ("top_logprobs", self.top_logprobs.to_string()),
            ("top_p", shared("top_p", "1")),
            ("truncation", self.truncation.unwrap_or("\"disabled\"").to_owned()),
            ("presence_penalty", shared("presence_penalty", "0")),
            ("frequency_penalty", shared("frequency_penalty", "0")),
            ("metadata", shared("metadata", "{}")),
        ];
        Echo::new(&members, self.tools.into_custom_names(), self.logprobs)
    }
}
