//! The `messages` array: roles, contents, parts and tool calls.

use std::ops::Range;

use super::fields::{list, object, text, wrong_type};
use super::json::{Cursor, decode};
use super::{Inputs, Invalid};

/// How many messages one request may hold.
pub const MAX_MESSAGES: usize = 2048;

/// How many parts one message may hold; a part is at least 20 bytes on the wire.
pub const MAX_PARTS: usize = 4096;

/// How many calls one assistant message may hold.
pub const MAX_CALLS: usize = 512;

/// What was found while checking the messages.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) count: usize,
    pub(super) developer_roles: Vec<Range<usize>>,
    pub(super) inputs: Inputs,
}

/// Reads the array at the cursor and returns its exact text.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, Messages), Invalid> {
    let mut found = Messages::default();
    if cursor.peek() != Some(b'[') {
        let raw = cursor.value()?;
        return Err(wrong_type("messages", raw, "an array"));
    }
    let start = cursor.offset();
    cursor.array(|cursor, index| {
        if index == MAX_MESSAGES {
            return Err(Invalid::at("messages", format!("`messages` holds at most {MAX_MESSAGES} entries")));
        }
        found.count += 1;
        found.message(cursor, index, start)
    })?;
    if found.count == 0 {
        return Err(Invalid::at("messages", "`messages` must hold at least one message"));
    }
    Ok((cursor.since(start), found))
}

/// The fields of one message that matter here, as written. Nulls count as absent.
#[derive(Default)]
struct Message<'a> {
    role: Option<&'a str>,
    content: Option<&'a str>,
    tool_call_id: Option<&'a str>,
    name: Option<&'a str>,
    tool_calls: Option<&'a str>,
    function_call: Option<&'a str>,
    refusal: Option<&'a str>,
    reasoning: Option<&'a str>,
    reasoning_content: Option<&'a str>,
    /// One bit for each of the above that was seen: a second one would let our reading of the
    /// prompt differ from the engine's.
    seen: u16,
}

impl<'a> Message<'a> {
    fn slot(&mut self, key: &str) -> Option<(u16, &mut Option<&'a str>)> {
        Some(match key {
            "role" => (1, &mut self.role),
            "content" => (1 << 1, &mut self.content),
            "tool_call_id" => (1 << 2, &mut self.tool_call_id),
            "name" => (1 << 3, &mut self.name),
            "tool_calls" => (1 << 4, &mut self.tool_calls),
            "function_call" => (1 << 5, &mut self.function_call),
            "refusal" => (1 << 6, &mut self.refusal),
            "reasoning" => (1 << 7, &mut self.reasoning),
            "reasoning_content" => (1 << 8, &mut self.reasoning_content),
            _ => return None,
        })
    }
}

impl Messages {
    fn message(&mut self, cursor: &mut Cursor<'_>, index: usize, start: usize) -> Result<(), Invalid> {
        if cursor.peek() != Some(b'{') {
            let raw = cursor.value()?;
            return Err(wrong_type(&format!("messages[{index}]"), raw, "an object"));
        }
        let mut message = Message::default();
        let mut role_ends_at = 0;
        cursor.object(|cursor, key| {
            let raw = cursor.value()?;
            if key == "role" {
                role_ends_at = cursor.offset() - start;
            }
            let seen = message.seen;
            if let Some((bit, slot)) = message.slot(&key) {
                if seen & bit != 0 {
                    return Err(Invalid::at(path(index, &key), "this field appears twice"));
                }
                *slot = Some(raw).filter(|raw| *raw != "null");
                message.seen = seen | bit;
            }
            Ok(())
        })?;
        let Some(raw) = message.role else {
            return Err(Invalid::at(path(index, "role"), format!("`{}` is required", path(index, "role"))));
        };
        let role = decode(raw).ok_or_else(|| wrong_type(&path(index, "role"), raw, "a string"))?;
        if role == "developer" {
            self.developer_roles.push(role_ends_at - raw.len()..role_ends_at);
        }
        self.check(&message, &role, index)
    }

    fn check(&mut self, message: &Message<'_>, role: &str, index: usize) -> Result<(), Invalid> {
        let assistant = role == "assistant";
        match role {
            "developer" | "system" | "user" | "assistant" => {}
            "tool" => required(message.tool_call_id, index, "tool_call_id")?,
            "function" => required(message.name, index, "name")?,
            _ => {
                let allowed = "developer, system, user, assistant, tool, function";
                let path = path(index, "role");
                return Err(Invalid::at(&path, format!("`{path}` must be one of {allowed}")));
            }
        }
        match message.content {
            Some(raw) => self.content(raw, index)?,
            None if assistant => {}
            None => return Err(missing(index, "content")),
        }
        let strings = [
            ("name", message.name),
            ("refusal", message.refusal),
            ("reasoning", message.reasoning),
            ("reasoning_content", message.reasoning_content),
        ];
        for (key, raw) in strings {
            if let Some(raw) = raw.filter(|raw| !raw.starts_with('"')) {
                return Err(wrong_type(&path(index, key), raw, "a string"));
            }
        }
        if let Some(raw) = message.tool_calls {
            list(&path(index, "tool_calls"), raw, MAX_CALLS, tool_call)?;
        }
        if let Some(raw) = message.function_call {
            call(&path(index, "function_call"), raw, &["name", "arguments"])?;
        }
        Ok(())
    }

    fn content(&mut self, raw: &str, index: usize) -> Result<(), Invalid> {
        match raw.as_bytes()[0] {
            b'"' => Ok(()),
            b'[' => {
                let mut parts = 0;
                list(&path(index, "content"), raw, MAX_PARTS, |path, raw| {
                    parts += 1;
                    self.part(path, raw)
                })?;
                if parts == 0 {
                    let path = path(index, "content");
                    return Err(Invalid::at(&path, format!("`{path}` must hold at least one part")));
                }
                Ok(())
            }
            _ => Err(wrong_type(&path(index, "content"), raw, "a string or an array of parts")),
        }
    }

    fn part(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        let mut kind = None;
        let mut body = None;
        object(path, raw, |inner, key, raw| {
            match key {
                "type" => kind = Some(text(inner, raw)?),
                "text" | "refusal" if !raw.starts_with('"') => return Err(wrong_type(inner, raw, "a string")),
                "image_url" | "input_audio" | "file" if !raw.starts_with('{') => {
                    return Err(wrong_type(inner, raw, "an object"));
                }
                _ => {}
            }
            Ok(())
        })?;
        let Some(kind) = kind else { return Err(Invalid::at(format!("{path}.type"), "a part needs a `type`")) };
        object(path, raw, |_, key, raw| {
            if key == kind {
                body = Some(raw);
            }
            Ok(())
        })?;
        match kind.as_ref() {
            "text" | "refusal" => {}
            "image_url" => self.inputs.image = true,
            "input_audio" => self.inputs.audio = true,
            "file" => self.inputs.file = true,
            _ => {
                let allowed = "text, image_url, input_audio, file, refusal";
                return Err(Invalid::at(format!("{path}.type"), format!("`{path}.type` must be one of {allowed}")));
            }
        }
        let Some(body) = body else {
            return Err(Invalid::at(format!("{path}.{kind}"), format!("`{path}.{kind}` is required")));
        };
        match kind.as_ref() {
            "image_url" => call(&format!("{path}.image_url"), body, &["url"]),
            "input_audio" => call(&format!("{path}.input_audio"), body, &["data", "format"]),
            _ => Ok(()),
        }
    }
}

fn tool_call(path: &str, raw: &str) -> Result<(), Invalid> {
    let (mut id, mut inner) = (false, None);
    object(path, raw, |path, key, raw| {
        match key {
            "id" => id = !text(path, raw)?.is_empty(),
            "function" => inner = Some(("function", ["name", "arguments"], raw)),
            "custom" => inner = Some(("custom", ["name", "input"], raw)),
            _ => {}
        }
        Ok(())
    })?;
    if !id {
        return Err(Invalid::at(format!("{path}.id"), format!("`{path}.id` is required")));
    }
    let Some((key, strings, raw)) = inner else {
        return Err(Invalid::at(format!("{path}.function"), format!("`{path}.function` is required")));
    };
    call(&format!("{path}.{key}"), raw, &strings)
}

/// Checks an object that must hold these strings.
fn call(path: &str, raw: &str, strings: &[&str]) -> Result<(), Invalid> {
    let mut found = 0;
    object(path, raw, |path, key, raw| {
        if strings.contains(&key) {
            if !raw.starts_with('"') {
                return Err(wrong_type(path, raw, "a string"));
            }
            found += 1;
        }
        Ok(())
    })?;
    if found == strings.len() {
        return Ok(());
    }
    Err(Invalid::at(path, format!("`{path}` needs {}", strings.join(" and "))))
}

fn required(value: Option<&str>, index: usize, key: &str) -> Result<(), Invalid> {
    match value {
        Some(raw) if raw.starts_with('"') => Ok(()),
        Some(raw) => Err(wrong_type(&path(index, key), raw, "a string")),
        None => Err(missing(index, key)),
    }
}

fn missing(index: usize, key: &str) -> Invalid {
    let path = path(index, key);
    let message = format!("`{path}` is required");
    Invalid::at(path, message)
}

fn path(index: usize, key: &str) -> String {
    format!("messages[{index}].{key}")
}
