//! Tools and the choice among them: flat here, nested in the chat dialect.

use std::borrow::Cow;

use super::echo::compact;
use super::missing;
use crate::envelope::fields::{list, object, one_of, text, wrong_type};
use crate::envelope::json::Cursor;
use crate::envelope::tools::{function, named};
use crate::envelope::{Invalid, MAX_DEPTH, MAX_TOOLS};

/// How many brackets stand around a function's parameters in a chat request: one more than here.
const DEPTH_OF_PARAMETERS: u32 = 4;

/// The tools of one request, written in both dialects.
#[derive(Default)]
pub(super) struct Tools {
    chat: Vec<String>,
    echo: Vec<String>,
    custom: Vec<String>,
}

/// The fields of one tool, as written.
#[derive(Default)]
struct Tool<'a> {
    name: &'a str,
    description: Option<&'a str>,
    parameters: Option<&'a str>,
    strict: Option<&'a str>,
    format: Option<&'a str>,
}

impl Tools {
    /// Reads `tools`.
    pub(super) fn read(path: &str, raw: &str) -> Result<Self, Invalid> {
        let mut tools = Self::default();
        list(path, raw, MAX_TOOLS, |path, raw| tools.tool(path, raw))?;
        Ok(tools)
    }

    /// Whether no tool is offered.
    pub(super) fn is_empty(&self) -> bool {
        self.chat.is_empty()
    }

    /// The array of a chat request.
    pub(super) fn chat(&self) -> String {
        format!("[{}]", self.chat.join(","))
    }

    /// The array as the answer repeats it.
    pub(super) fn echo(&self) -> String {
        format!("[{}]", self.echo.join(","))
    }

    /// The names of custom tools.
    pub(super) fn into_custom_names(self) -> Vec<String> {
        self.custom
    }

    fn tool(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        let (mut kind, mut tool) = (None, Tool::default());
        object(path, raw, |path, key, raw| {
            match key {
                "type" => kind = Some(text(path, raw)?),
                "name" => tool.name = raw,
                "description" => tool.description = Some(raw),
                "parameters" => tool.parameters = Some(raw),
                "strict" => tool.strict = Some(raw),
                "format" => tool.format = Some(raw),
                _ => {}
            }
            Ok(())
        })?;
        match kind.as_deref() {
            None => Err(missing(path, "type")),
            Some("function") => {
                function(path, raw)?;
                self.function(path, &tool)
            }
            Some("custom") => {
                named(path, raw)?;
                self.custom(path, &tool)
            }
            Some(_) => Err(hosted(path)),
        }
    }

    fn function(&mut self, path: &str, tool: &Tool<'_>) -> Result<(), Invalid> {
        let Tool { name, description, parameters, strict, .. } = *tool;
        if let Some(raw) = parameters {
            Cursor::nested(raw, DEPTH_OF_PARAMETERS).value().map_err(|_| {
                let path = format!("{path}.parameters");
                let message = format!("`{path}` makes the request nest more than {MAX_DEPTH} levels deep");
                Invalid::at(path, message)
            })?;
        }
        let parameters = parameters.map(compact);
        let mut chat = format!("{{\"type\":\"function\",\"function\":{{\"name\":{name}");
        for (key, raw) in [("description", description), ("parameters", parameters.as_deref()), ("strict", strict)] {
            if let Some(raw) = raw {
                chat.push_str(&format!(",\"{key}\":{raw}"));
            }
        }
        chat.push_str("}}");
        self.chat.push(chat);
        self.echo.push(format!(
            "{{\"type\":\"function\",\"name\":{name},\"description\":{},\"parameters\":{},\"strict\":{}}}",
            description.unwrap_or("null"),
            parameters.as_deref().unwrap_or("null"),
            strict.unwrap_or("false"),
        ));
        Ok(())
    }

    fn custom(&mut self, path: &str, tool: &Tool<'_>) -> Result<(), Invalid> {
        let Tool { name, description, format, .. } = *tool;
        if let Some(raw) = description {
            text(&format!("{path}.description"), raw)?;
        }
        let described = description.map_or(String::new(), |raw| format!(",\"description\":{raw}"));
        let (chat, echo) = format.map_or_else(
            || Ok((String::new(), "{\"type\":\"text\"}".to_owned())),
            |raw| custom_format(&format!("{path}.format"), raw),
        )?;
        self.chat.push(format!("{{\"type\":\"custom\",\"custom\":{{\"name\":{name}{described}{chat}}}}}"));
        self.echo.push(format!("{{\"type\":\"custom\",\"name\":{name}{described},\"format\":{echo}}}"));
        self.custom.push(text(path, name)?.into_owned());
        Ok(())
    }
}

/// What a custom tool takes: a member of the chat dialect's tool, and the value as the answer repeats it.
fn custom_format(path: &str, raw: &str) -> Result<(String, String), Invalid> {
    let (mut kind, mut syntax, mut definition) = (None, None, None);
    object(path, raw, |path, key, raw| {
        match key {
            "type" => kind = Some(one_of(path, raw, &["text", "grammar"])?),
            "syntax" => {
                one_of(path, raw, &["lark", "regex"])?;
                syntax = Some(raw);
            }
            "definition" => {
                text(path, raw)?;
                definition = Some(raw);
            }
            _ => {}
        }
        Ok(())
    })?;
    if kind.ok_or_else(|| missing(path, "type"))? == "text" {
        return Ok((",\"format\":{\"type\":\"text\"}".to_owned(), "{\"type\":\"text\"}".to_owned()));
    }
    let syntax = syntax.ok_or_else(|| missing(path, "syntax"))?;
    let definition = definition.ok_or_else(|| missing(path, "definition"))?;
    let members = format!("\"syntax\":{syntax},\"definition\":{definition}");
    let chat = format!(",\"format\":{{\"type\":\"grammar\",\"grammar\":{{{members}}}}}");
    Ok((chat, format!("{{\"type\":\"grammar\",{members}}}")))
}

/// The chat dialect's `tool_choice`; `None` where there is nothing to choose from.
pub(super) fn choice(path: &str, raw: &str, tools: &Tools) -> Result<Option<String>, Invalid> {
    let demands = if raw.starts_with('"') {
        one_of(path, raw, &["none", "auto", "required"])? == "required"
    } else if raw.starts_with('{') {
        true
    } else {
        return Err(wrong_type(path, raw, "a string or an object"));
    };
    let chat = if raw.starts_with('"') { raw.to_owned() } else { chosen(path, raw)? };
    match (tools.is_empty(), demands) {
        (false, _) => Ok(Some(chat)),
        (true, false) => Ok(None),
        (true, true) => Err(Invalid::at(path, format!("`{path}` demands a call, and no `tools` are given"))),
    }
}

fn chosen(path: &str, raw: &str) -> Result<String, Invalid> {
    let (mut kind, mut mode, mut tools) = (None, None, None);
    object(path, raw, |path, key, raw| {
        match key {
            "type" => kind = Some(text(path, raw)?),
            "mode" => {
                one_of(path, raw, &["auto", "required"])?;
                mode = Some(raw);
            }
            "tools" => tools = Some(raw),
            _ => {}
        }
        Ok(())
    })?;
    if kind.as_deref() != Some("allowed_tools") {
        return single(path, raw);
    }
    let mode = mode.ok_or_else(|| missing(path, "mode"))?;
    let mut allowed = Vec::new();
    list(&format!("{path}.tools"), tools.ok_or_else(|| missing(path, "tools"))?, MAX_TOOLS, |path, raw| {
        allowed.push(single(path, raw)?);
        Ok(())
    })?;
    let allowed = allowed.join(",");
    Ok(format!("{{\"type\":\"allowed_tools\",\"allowed_tools\":{{\"mode\":{mode},\"tools\":[{allowed}]}}}}"))
}

/// One tool, named: `{"type": …, "name": …}`.
fn single(path: &str, raw: &str) -> Result<String, Invalid> {
    let (mut kind, mut name): (Option<Cow<'_, str>>, _) = (None, "");
    object(path, raw, |path, key, raw| {
        match key {
            "type" => kind = Some(text(path, raw)?),
            "name" => name = raw,
            _ => {}
        }
        Ok(())
    })?;
    match kind.as_deref() {
        None => Err(missing(path, "type")),
        Some(kind @ ("function" | "custom")) => {
            named(path, raw)?;
            Ok(format!("{{\"type\":\"{kind}\",\"{kind}\":{{\"name\":{name}}}}}"))
        }
        Some(_) => Err(hosted(path)),
    }
}

fn hosted(path: &str) -> Invalid {
    let message = format!("`{path}` is a hosted tool, and only tools of type function or custom are served");
    Invalid::unsupported(format!("{path}.type"), message)
}
