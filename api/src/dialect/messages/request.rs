//! A Messages request, read and written again as the chat request that means the same.

use super::members::{Members, required};
use super::tools::{self, Choice, Output, Thinking};
use super::turns::Turns;
use crate::envelope::fields::{boolean, check, integer, list, number, one_of, text};
use crate::envelope::{Invalid, MAX_MESSAGES, walk_once};

/// How many stop sequences one request may give: as many as a chat request carries to its engine.
const MAX_STOP_SEQUENCES: usize = 4;

/// The longest `metadata.user_id`, in characters: as long as a value of metadata anywhere else.
const MAX_USER_CHARS: usize = 512;

/// A checked request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The chat request that means the same; routing fields are in it as they were sent.
    pub chat: Vec<u8>,
    /// What the answer must know of the request.
    pub wants: Wants,
}

/// What a request wants of the way it is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Whether the client wants server-sent events.
    pub stream: bool,
    /// Whether it wants to see what the model thought.
    pub thinking: bool,
    /// Texts the answer ends before.
    pub stop_sequences: Vec<String>,
}

/// Reads and checks a request.
///
/// # Errors
/// [`Invalid`] as [`crate::envelope::Envelope::parse`] refuses chat requests, with paths of this dialect; also for
/// what only Anthropic's own servers can do, since leaving it out would change the answer unsaid.
pub fn read(body: &[u8]) -> Result<Request, Invalid> {
    Reader::read(body)?.finish(true)
}

/// Reads and checks a request to count tokens: the same, except that the answer needs no bound. Returns the chat
/// request whose prompt is to be counted.
///
/// # Errors
/// [`Invalid`], as in [`read`].
pub fn count_tokens_request(body: &[u8]) -> Result<Vec<u8>, Invalid> {
    Ok(Reader::read(body)?.finish(false)?.chat)
}

/// Collects a [`Request`] while the body is read.
#[derive(Default)]
struct Reader {
    /// The chat request so far.
    chat: String,
    has_model: bool,
    has_max_tokens: bool,
    has_tools: bool,
    system: Turns,
    turns: Turns,
    choice: Option<Choice>,
    thinking: Thinking,
    output: Output,
    wants: Wants,
}

impl Reader {
    fn read(body: &[u8]) -> Result<Self, Invalid> {
        let mut reader = Self::default();
        walk_once(body, |cursor, key| match cursor.value()? {
            "null" => Ok(()),
            raw => reader.member(key, raw),
        })?;
        Ok(reader)
    }

    /// Reads one top-level field; what means the same in chat is written at once.
    fn member(&mut self, key: &str, raw: &str) -> Result<(), Invalid> {
        match key {
            "model" | "models" | "provider" => {
                check(key, raw)?;
                self.has_model |= key == "model";
                self.put(key, raw);
            }
            "max_tokens" => {
                integer(key, raw, 1, i64::from(u32::MAX))?;
                self.has_max_tokens = true;
                self.put(key, raw);
            }
            "temperature" | "top_p" => {
                number(key, raw, 0.0, 1.0)?;
                self.put(key, raw);
            }
            "top_k" => {
                integer(key, raw, 0, i64::from(i32::MAX))?;
                self.put(key, raw);
            }
            "system" => self.system = Turns::system(key, raw)?,
            "messages" => self.turns = Turns::read(key, raw)?,
            "stream" => self.wants.stream = boolean(key, raw)?,
            "stop_sequences" => self.stop_sequences(key, raw)?,
            "tools" => {
                if let Some(tools) = tools::tools(key, raw)? {
                    self.has_tools = true;
                    self.put(key, &tools);
                }
            }
            "tool_choice" => self.choice = Some(tools::tool_choice(key, raw)?),
            "thinking" => self.thinking = Thinking::read(key, raw)?,
            "output_config" => self.output = tools::output_config(key, raw)?,
            "metadata" => self.user(key, raw)?,
            "service_tier" => {
                let tier = one_of(key, raw, &["auto", "standard_only"])?;
                self.put(key, if tier == "auto" { "\"auto\"" } else { "\"default\"" });
            }
            _ => {}
        }
        Ok(())
    }

    fn stop_sequences(&mut self, key: &str, raw: &str) -> Result<(), Invalid> {
        list(key, raw, MAX_STOP_SEQUENCES, |path, raw| {
            self.wants.stop_sequences.push(tools::stop_sequence(path, raw)?);
            Ok(())
        })?;
        if !self.wants.stop_sequences.is_empty() {
            self.put("stop", raw);
        }
        Ok(())
    }

    fn user(&mut self, key: &str, raw: &str) -> Result<(), Invalid> {
        let metadata = Members::read(key, raw, &["user_id"])?;
        let (at, Some(raw)) = (metadata.at("user_id"), metadata.get("user_id")) else { return Ok(()) };
        if text(&at, raw)?.chars().count() > MAX_USER_CHARS {
            return Err(Invalid::at(&at, format!("`{at}` is longer than {MAX_USER_CHARS} characters")));
        }
        self.put("user", raw);
        Ok(())
    }

    fn put(&mut self, key: &str, raw: &str) {
        self.chat.push(if self.chat.is_empty() { '{' } else { ',' });
        self.chat.push_str(&format!("\"{key}\":{raw}"));
    }

    /// Checks what concerns several fields at once and writes what depends on them.
    fn finish(mut self, needs_max_tokens: bool) -> Result<Request, Invalid> {
        let present =
            [("model", self.has_model), ("max_tokens", self.has_max_tokens), ("messages", self.turns.count > 0)];
        for (key, is_there) in present {
            if !is_there && (needs_max_tokens || key != "max_tokens") {
                return Err(required(key));
            }
        }
        if self.system.count + self.turns.count > MAX_MESSAGES {
            return Err(Invalid::at("messages", format!("`messages` holds at most {MAX_MESSAGES} entries")));
        }
        if let Some(Choice { value, one_at_a_time }) = self.choice.take() {
            if !self.has_tools {
                return Err(Invalid::at("tool_choice", "`tool_choice` is only allowed when `tools` are given"));
            }
            self.put("tool_choice", &value);
            if one_at_a_time {
                self.put("parallel_tool_calls", "false");
            }
        }
        let output = std::mem::take(&mut self.output);
        if let Some(effort) = self.thinking.effort(output.effort.as_deref()) {
            self.put("reasoning_effort", &format!("\"{effort}\""));
        }
        if let Some(format) = output.format {
            self.put("response_format", &format);
        }
        if self.wants.stream {
            self.put("stream", "true");
        }
        let separator = if self.system.count > 0 { "," } else { "" };
        let messages = format!("[{}{separator}{}]", self.system.text, self.turns.text);
        self.put("messages", &messages);
        self.wants.thinking = self.thinking.is_shown();
        Ok(Request { chat: (self.chat + "}").into_bytes(), wants: self.wants })
    }
}

#[cfg(test)]
mod tests;
