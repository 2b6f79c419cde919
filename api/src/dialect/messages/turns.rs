//! Turns of a conversation into chat messages.

use super::content::{Content, Given, each, misplaced};
use super::members::{Members, required};
use crate::dialect::render::quoted;
use crate::envelope::fields::{boolean, list, one_of, wrong_type};
use crate::envelope::{Invalid, MAX_CALLS, MAX_MESSAGES};

/// A conversation as chat messages. One turn may become several: each result of a tool is a message of its own.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The messages, with commas between them.
    pub(super) text: String,
    /// How many there are.
    pub(super) count: usize,
}

impl Turns {
    /// Reads `messages`.
    pub(super) fn read(path: &str, raw: &str) -> Result<Self, Invalid> {
        let mut turns = Self::default();
        list(path, raw, MAX_MESSAGES, |path, raw| turns.turn(path, raw))?;
        if turns.count == 0 {
            return Err(Invalid::at(path, format!("`{path}` must hold at least one message")));
        }
        Ok(turns)
    }

    /// Reads `system`, a string or text blocks.
    pub(super) fn system(path: &str, raw: &str) -> Result<Self, Invalid> {
        let mut turns = Self::default();
        turns.instruct(path, raw)?;
        Ok(turns)
    }

    fn turn(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        let turn = Members::read(path, raw, &["role", "content"])?;
        let role = one_of(&turn.at("role"), turn.need("role")?, &["user", "assistant", "system"])?;
        let (path, raw) = (turn.at("content"), turn.need("content")?);
        match role.as_ref() {
            "user" => self.user(&path, raw),
            "assistant" => self.assistant(&path, raw),
            _ => self.instruct(&path, raw),
        }
    }

    fn instruct(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        let mut content = Content::default();
        each(path, raw, |given| match given {
            Given::Text(text) => content.text(path, text),
            Given::Block(block) if block.kind()? == "text" => content.add(&block),
            Given::Block(block) => Err(misplaced(&block)),
        })?;
        self.message("system", "", &content)
    }

    /// Results of tools come first, as chat wants them right after the calls; the rest follows as one message.
    fn user(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        let (mut rest, before) = (Content::default(), self.count);
        each(path, raw, |given| match given {
            Given::Text(text) => rest.text(path, text),
            Given::Block(block) if block.kind()? == "tool_result" => self.result(&block),
            Given::Block(block) => rest.add(&block),
        })?;
        if !rest.is_empty() {
            return self.message("user", "", &rest);
        }
        if self.count == before {
            return Err(Invalid::at(path, format!("`{path}` must hold at least one block")));
        }
        Ok(())
    }

    fn result(&mut self, block: &Members<'_>) -> Result<(), Invalid> {
        let id = block.need_text("tool_use_id")?;
        if id.is_empty() {
            return Err(required(block.at("tool_use_id")));
        }
        let mut content = Content::default();
        if let Some(raw) = block.get("is_error")
            && boolean(&block.at("is_error"), raw)?
        {
            // Chat has no mark for a tool that failed, so the model is told in words.
            content.text(block.path(), "Error:")?;
        }
        if let Some(raw) = block.get("content") {
            content.fill(&block.at("content"), raw)?;
        }
        self.message("tool", &format!(",\"tool_call_id\":\"{id}\""), &content)
    }

    /// Text, calls and thinking of one turn stay one message. Redacted thinking is another model's cipher, and is
    /// left out.
    fn assistant(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        let (mut content, mut thinking) = (Content::default(), Content::default());
        let (mut calls, mut count) = (String::new(), 0);
        each(path, raw, |given| {
            let block = match given {
                Given::Text(text) => return content.text(path, text),
                Given::Block(block) => block,
            };
            match block.kind()?.as_ref() {
                "text" => content.add(&block),
                "thinking" => thinking.text(block.path(), block.need_text("thinking")?),
                "redacted_thinking" => Ok(()),
                "tool_use" if count == MAX_CALLS => {
                    Err(Invalid::at(path, format!("a message holds at most {MAX_CALLS} calls")))
                }
                "tool_use" => {
                    count += 1;
                    call(&block, &mut calls)
                }
                _ => Err(misplaced(&block)),
            }
        })?;
        let mut more = String::new();
        if !thinking.is_empty() {
            more.push_str(",\"reasoning_content\":");
            thinking.write(&mut more);
        }
        if count > 0 {
            more.push_str(&format!(",\"tool_calls\":[{calls}]"));
        }
        if count > 0 && content.is_empty() {
            return self.push(&format!("{{\"role\":\"assistant\",\"content\":null{more}}}"));
        }
        self.message("assistant", &more, &content)
    }

    fn message(&mut self, role: &str, more: &str, content: &Content<'_>) -> Result<(), Invalid> {
        let mut message = format!("{{\"role\":\"{role}\"{more},\"content\":");
        content.write(&mut message);
        message.push('}');
        self.push(&message)
    }

    fn push(&mut self, message: &str) -> Result<(), Invalid> {
        if self.count == MAX_MESSAGES {
            let message = format!("`messages` holds at most {MAX_MESSAGES} entries, each result of a tool being one");
            return Err(Invalid::at("messages", message));
        }
        if self.count > 0 {
            self.text.push(',');
        }
        self.text.push_str(message);
        self.count += 1;
        Ok(())
    }
}

/// Appends a call: its input is an object here, and a string that holds the object's text in chat.
fn call(block: &Members<'_>, calls: &mut String) -> Result<(), Invalid> {
    let (id, name, input) = (block.need_text("id")?, block.need_text("name")?, block.need("input")?);
    for (key, value) in [("id", id), ("name", name)] {
        if value.is_empty() {
            return Err(required(block.at(key)));
        }
    }
    if !input.starts_with('{') {
        return Err(wrong_type(&block.at("input"), input, "an object"));
    }
    let separator = if calls.is_empty() { "" } else { "," };
    let arguments = quoted(input);
    calls.push_str(&format!(
        "{separator}{{\"id\":\"{id}\",\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"arguments\":{arguments}}}}}"
    ));
    Ok(())
}
