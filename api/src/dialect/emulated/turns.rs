//! The conversation as an engine without tools can be told it: calls and what they returned are text.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Expected;
use super::functions::Function;
use crate::dialect::render::quoted;
use crate::envelope::fields::{list, object, text};
use crate::envelope::json::decode;
use crate::envelope::{Invalid, MAX_CALLS, MAX_MESSAGES, MAX_PARTS};

/// What the model is told of its tools; `None` where it may call none.
pub(super) fn instructions(functions: &[Function<'_>], expected: &Expected) -> Option<String> {
    let how = match expected {
        Expected::Text => return None,
        Expected::Arguments(name) => {
            format!("Call {name} now: answer with the JSON object of its arguments and nothing else.")
        }
        Expected::Call { words, .. } => {
            let call = "Answer with one JSON object and nothing else. To call a function, write \
                        {\"name\": its name, \"arguments\": its arguments}.";
            let reply = if *words { " To answer in words, write {\"reply\": your answer}." } else { " Call one now." };
            format!("{call}{reply}")
        }
    };
    let mut told = "You have these functions, each with a JSON schema of its arguments:\n".to_owned();
    for Function { name, description, parameters } in functions {
        told.push_str(&format!("{{\"name\":{}", quoted(name)));
        if let Some(description) = description {
            told.push_str(&format!(",\"description\":{}", quoted(description)));
        }
        told.push_str(&format!(",\"parameters\":{}}}\n", parameters.unwrap_or("{}")));
    }
    Some(told + &how)
}

/// Writes the `messages` array anew, with `instructions` in its system message. Messages that have nothing to do with
/// tools keep their bytes.
pub(super) fn write(messages: &str, instructions: Option<&str>) -> Result<String, Invalid> {
    let mut turns = Turns::default();
    list("messages", messages, MAX_MESSAGES, |path, raw| {
        let message = Message::read(path, raw)?;
        match instructions.filter(|_| turns.out.is_empty()) {
            Some(told) if matches!(message.role.as_ref(), "system" | "developer") => {
                turns.put(&message.role, &format!("{}\n\n{told}", message.text()?));
            }
            Some(told) => {
                turns.put("system", told);
                turns.message(&message, raw)?;
            }
            None => turns.message(&message, raw)?,
        }
        Ok(())
    })?;
    turns.flush();
    Ok(turns.out + "]")
}

/// The fields of a message that matter here, as written.
struct Message<'a> {
    path: String,
    role: Cow<'a, str>,
    content: Option<&'a str>,
    calls: Option<&'a str>,
    function_call: Option<&'a str>,
    call_id: Option<&'a str>,
    name: Option<&'a str>,
}

impl<'a> Message<'a> {
    fn read(path: &str, raw: &'a str) -> Result<Self, Invalid> {
        let (mut role, mut content, mut calls, mut function_call) = (Cow::Borrowed(""), None, None, None);
        let (mut call_id, mut name) = (None, None);
        object(path, raw, |path, key, raw| {
            match key {
                "role" => role = text(path, raw)?,
                "content" => content = Some(raw),
                "tool_calls" => calls = Some(raw),
                "function_call" => function_call = Some(raw),
                "tool_call_id" => call_id = Some(raw),
                "name" => name = Some(raw),
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self { path: path.to_owned(), role, content, calls, function_call, call_id, name })
    }

    /// Its text; of several parts, all that are text.
    fn text(&self) -> Result<String, Invalid> {
        let Some(raw) = self.content else { return Ok(String::new()) };
        let path = format!("{}.content", self.path);
        if raw.starts_with('"') {
            return Ok(text(&path, raw)?.into_owned());
        }
        let mut parts: Vec<String> = Vec::new();
        list(&path, raw, MAX_PARTS, |path, raw| {
            object(path, raw, |path, key, raw| {
                if matches!(key, "text" | "refusal") {
                    parts.push(text(path, raw)?.into_owned());
                }
                Ok(())
            })
        })?;
        Ok(parts.join("\n\n"))
    }
}

/// The messages written so far.
#[derive(Default)]
struct Turns {
    out: String,
    /// What calls returned since the last message: told together, since many templates want turns to alternate.
    returned: String,
    /// The functions called so far, by the ids of the calls.
    called: HashMap<String, String>,
}

impl Turns {
    fn message(&mut self, message: &Message<'_>, raw: &str) -> Result<(), Invalid> {
        if matches!(message.role.as_ref(), "tool" | "function") {
            let name = message.call_id.and_then(decode).and_then(|id| self.called.get(id.as_ref()).cloned());
            let name = name.or_else(|| Some(message.name.and_then(decode)?.into_owned()));
            let name = name.as_deref().unwrap_or("The call");
            if !self.returned.is_empty() {
                self.returned.push('\n');
            }
            self.returned.push_str(&format!("{name} returned: {}", message.text()?));
            return Ok(());
        }
        self.flush();
        let mut calls = String::new();
        if let Some(raw) = message.calls {
            list(&format!("{}.tool_calls", message.path), raw, MAX_CALLS, |path, raw| {
                self.call(path, raw, &mut calls)
            })?;
        }
        if let Some(raw) = message.function_call {
            calls.push_str(&written(&message.path, raw)?.1);
        }
        if calls.is_empty() {
            self.put_raw(raw);
        } else {
            let text = message.text()?;
            let between = if text.is_empty() { "" } else { "\n" };
            self.put(&message.role, &format!("{text}{between}{calls}"));
        }
        Ok(())
    }

    fn call(&mut self, path: &str, raw: &str, calls: &mut String) -> Result<(), Invalid> {
        let (mut id, mut function) = (None, None);
        object(path, raw, |path, key, raw| {
            match key {
                "id" => id = Some(text(path, raw)?.into_owned()),
                "function" => function = Some(written(path, raw)?),
                _ => {}
            }
            Ok(())
        })?;
        let Some((name, call)) = function else { return Ok(()) };
        if !calls.is_empty() {
            calls.push('\n');
        }
        calls.push_str(&call);
        self.called.extend(id.map(|id| (id, name)));
        Ok(())
    }

    fn flush(&mut self) {
        if !self.returned.is_empty() {
            let returned = std::mem::take(&mut self.returned);
            self.put("user", &returned);
        }
    }

    fn put(&mut self, role: &str, content: &str) {
        self.put_raw(&format!("{{\"role\":{},\"content\":{}}}", quoted(role), quoted(content)));
    }

    fn put_raw(&mut self, message: &str) {
        self.out.push(if self.out.is_empty() { '[' } else { ',' });
        self.out.push_str(message);
    }
}

/// A call as the model would have written it, with its name.
fn written(path: &str, raw: &str) -> Result<(String, String), Invalid> {
    let (mut name, mut arguments) = (String::new(), String::new());
    object(path, raw, |path, key, raw| {
        match key {
            "name" => name = text(path, raw)?.into_owned(),
            "arguments" => arguments = text(path, raw)?.into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    let is_json = serde_json::from_str::<&serde_json::value::RawValue>(&arguments).is_ok();
    let arguments = if is_json { arguments } else { quoted(&arguments) };
    let call = format!("{{\"name\":{},\"arguments\":{arguments}}}", quoted(&name));
    Ok((name, call))
}
