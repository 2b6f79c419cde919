//! The `input` field: items of a conversation, as chat messages.
//!
//! One turn of a model is several items here (reasoning, a message, calls) and one message there.

use super::content::{self, Part};
use super::missing;
use crate::envelope::fields::{list, object, one_of, text, wrong_type};
use crate::envelope::{Invalid, MAX_CALLS, MAX_MESSAGES, MAX_PARTS};

/// How many items one request may hold: an item makes at most one message, and one is left for instructions.
pub const MAX_ITEMS: usize = MAX_MESSAGES - 1;

/// The `messages` of the chat request, without their brackets.
pub(super) fn messages(instructions: Option<&str>, input: &str) -> Result<String, Invalid> {
    let mut conversation = Conversation::default();
    if let Some(literal) = instructions {
        conversation.message("system", String::new(), &[Part::Text(literal)]);
    }
    if input.starts_with('"') {
        conversation.message("user", String::new(), &[Part::Text(input)]);
    } else if input.starts_with('[') {
        let before = conversation.out.len();
        list("input", input, MAX_ITEMS, |path, raw| conversation.item(path, raw))?;
        conversation.end_turn();
        if conversation.out.len() == before {
            return Err(Invalid::at("input", "`input` must hold at least one item with something to read"));
        }
    } else {
        return Err(wrong_type("input", input, "a string or an array of items"));
    }
    Ok(conversation.out)
}

/// Chat messages so far, and the model's turn that is being collected.
#[derive(Default)]
struct Conversation<'a> {
    out: String,
    turn: Turn<'a>,
}

/// What the model said between two things others said.
#[derive(Default)]
struct Turn<'a> {
    reasoning: Vec<&'a str>,
    content: Option<Vec<Part<'a>>>,
    calls: Vec<String>,
}

/// The fields of one item, as written. Nulls count as absent.
#[derive(Default)]
struct Item<'a> {
    kind: Option<&'a str>,
    role: Option<&'a str>,
    content: Option<&'a str>,
    summary: Option<&'a str>,
    call_id: Option<&'a str>,
    name: Option<&'a str>,
    arguments: Option<&'a str>,
    input: Option<&'a str>,
    output: Option<&'a str>,
}

impl<'a> Item<'a> {
    fn read(path: &str, raw: &'a str) -> Result<Self, Invalid> {
        let mut item = Self::default();
        object(path, raw, |_, key, raw| {
            let slot = match key {
                "type" => &mut item.kind,
                "role" => &mut item.role,
                "content" => &mut item.content,
                "summary" => &mut item.summary,
                "call_id" => &mut item.call_id,
                "name" => &mut item.name,
                "arguments" => &mut item.arguments,
                "input" => &mut item.input,
                "output" => &mut item.output,
                _ => return Ok(()),
            };
            *slot = Some(raw);
            Ok(())
        })?;
        Ok(item)
    }

    /// The id that ties a call to its output, a string literal.
    fn call_id(&self, path: &str) -> Result<&'a str, Invalid> {
        let raw = self.call_id.ok_or_else(|| missing(path, "call_id"))?;
        let path = format!("{path}.call_id");
        if text(&path, raw)?.is_empty() {
            return Err(Invalid::at(&path, format!("`{path}` must not be empty")));
        }
        Ok(raw)
    }
}

impl<'a> Conversation<'a> {
    fn item(&mut self, path: &str, raw: &'a str) -> Result<(), Invalid> {
        let item = Item::read(path, raw)?;
        let kind = item.kind.map(|raw| text(&format!("{path}.type"), raw)).transpose()?;
        match kind.as_deref().unwrap_or("message") {
            "message" => self.spoken(path, &item),
            "reasoning" => self.reasoning(path, &item),
            kind @ "function_call" => self.call(path, &item, kind, ("function", "arguments"), item.arguments),
            kind @ "custom_tool_call" => self.call(path, &item, kind, ("custom", "input"), item.input),
            "function_call_output" | "custom_tool_call_output" => self.output(path, &item),
            _ => {
                let message = format!("`{path}` is an item of stored state or of a hosted tool, which are not served");
                Err(Invalid::unsupported(format!("{path}.type"), message))
            }
        }
    }

    fn spoken(&mut self, path: &str, item: &Item<'a>) -> Result<(), Invalid> {
        let role = item.role.ok_or_else(|| missing(path, "role"))?;
        let role = one_of(&format!("{path}.role"), role, &["user", "assistant", "system", "developer"])?;
        let raw = item.content.ok_or_else(|| missing(path, "content"))?;
        let path = format!("{path}.content");
        let parts = content::read(&path, raw)?;
        if role == "assistant" {
            return self.turn_says(&path, parts);
        }
        if parts.is_empty() {
            return Err(Invalid::at(&path, format!("`{path}` must hold at least one part")));
        }
        self.end_turn();
        self.message(&role, String::new(), &parts);
        Ok(())
    }

    /// Adds to the model's turn. Calls keep a turn open, for their outputs must follow the message that holds
    /// them; otherwise a second message is a message of its own.
    fn turn_says(&mut self, path: &str, parts: Vec<Part<'a>>) -> Result<(), Invalid> {
        if self.turn.calls.is_empty() && self.turn.content.is_some() {
            self.end_turn();
        }
        let content = self.turn.content.get_or_insert_default();
        content.extend(parts);
        if content.len() > MAX_PARTS {
            return Err(Invalid::at(path, format!("one turn of a model holds at most {MAX_PARTS} parts")));
        }
        Ok(())
    }

    /// Reasoning is read from `content`, or from `summary` where that is all there is. Encrypted reasoning says
    /// nothing to an engine, and an item with nothing else is skipped.
    fn reasoning(&mut self, path: &str, item: &Item<'a>) -> Result<(), Invalid> {
        let read = |key: &str, raw: Option<&'a str>, kind| {
            raw.map_or(Ok(Vec::new()), |raw| content::texts(&format!("{path}.{key}"), raw, kind))
        };
        let (full, summary) =
            (read("content", item.content, "reasoning_text")?, read("summary", item.summary, "summary_text")?);
        let texts = if full.is_empty() { summary } else { full };
        if texts.is_empty() {
            return Ok(());
        }
        if self.turn.calls.is_empty() && self.turn.content.is_some() {
            self.end_turn();
        }
        self.turn.reasoning.extend(texts);
        Ok(())
    }

    fn call(
        &mut self,
        path: &str,
        item: &Item<'a>,
        kind: &str,
        (chat, input): (&str, &str),
        raw: Option<&'a str>,
    ) -> Result<(), Invalid> {
        let id = item.call_id(path)?;
        let name = literal(path, "name", item.name)?;
        let raw = literal(path, input, raw)?;
        if self.turn.calls.len() == MAX_CALLS {
            return Err(Invalid::at(
                path,
                format!("one turn of a model holds at most {MAX_CALLS} items of type {kind}"),
            ));
        }
        self.turn
            .calls
            .push(format!("{{\"id\":{id},\"type\":\"{chat}\",\"{chat}\":{{\"name\":{name},\"{input}\":{raw}}}}}"));
        Ok(())
    }

    fn output(&mut self, path: &str, item: &Item<'a>) -> Result<(), Invalid> {
        let id = item.call_id(path)?;
        let raw = item.output.ok_or_else(|| missing(path, "output"))?;
        let parts = content::read(&format!("{path}.output"), raw)?;
        self.end_turn();
        self.message("tool", format!(",\"tool_call_id\":{id}"), &parts);
        Ok(())
    }

    /// Writes the model's turn, if it said anything.
    fn end_turn(&mut self) {
        let Turn { reasoning, content, calls } = std::mem::take(&mut self.turn);
        if reasoning.is_empty() && calls.is_empty() && content.is_none() {
            return;
        }
        let mut more = String::new();
        if !reasoning.is_empty() {
            // Engines look under either name.
            let reasoning = reasoning.join("\\n\\n");
            more.push_str(&format!(",\"reasoning\":\"{reasoning}\",\"reasoning_content\":\"{reasoning}\""));
        }
        if !calls.is_empty() {
            more.push_str(&format!(",\"tool_calls\":[{}]", calls.join(",")));
        }
        let content = content.unwrap_or_default();
        if content.is_empty() && !calls.is_empty() {
            more.push_str(",\"content\":null");
            self.push("assistant", &more);
        } else {
            self.message("assistant", more, &content);
        }
    }

    fn message(&mut self, role: &str, mut more: String, parts: &[Part<'_>]) {
        more.push_str(",\"content\":");
        content::write(parts, &mut more);
        self.push(role, &more);
    }

    fn push(&mut self, role: &str, members: &str) {
        let separator = if self.out.is_empty() { "" } else { "," };
        self.out.push_str(&format!("{separator}{{\"role\":\"{role}\"{members}}}"));
    }
}

/// A field that must be a string.
fn literal<'a>(path: &str, key: &str, raw: Option<&'a str>) -> Result<&'a str, Invalid> {
    match raw {
        Some(raw) if raw.starts_with('"') => Ok(raw),
        Some(raw) => Err(wrong_type(&format!("{path}.{key}"), raw, "a string")),
        None => Err(missing(path, key)),
    }
}
