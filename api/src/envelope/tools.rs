//! Tools, the choice among them, and the shape of the answer.

use super::fields::{boolean, list, object, one_of, text, wrong_type};
use super::{Format, Invalid};

/// How many tools one request may offer.
pub const MAX_TOOLS: usize = 128;

/// The longest name of a tool, function or schema, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Checks `tools`; an empty list counts as none.
pub(super) fn tools<'a>(path: &str, raw: &'a str) -> Result<Option<&'a str>, Invalid> {
    let mut any = false;
    list(path, raw, MAX_TOOLS, |path, raw| {
        any = true;
        tool(path, raw)
    })?;
    Ok(any.then_some(raw))
}

/// Checks the older `functions`; an empty list counts as none.
pub(super) fn functions<'a>(path: &str, raw: &'a str) -> Result<Option<&'a str>, Invalid> {
    let mut any = false;
    list(path, raw, MAX_TOOLS, |path, raw| {
        any = true;
        function(path, raw)
    })?;
    Ok(any.then_some(raw))
}

fn tool(path: &str, raw: &str) -> Result<(), Invalid> {
    let (mut kind, mut function_raw, mut custom_raw) = (None, None, None);
    object(path, raw, |path, key, raw| {
        match key {
            "type" => kind = Some(one_of(path, raw, &["function", "custom"])?),
            "function" => function_raw = Some(raw),
            "custom" => custom_raw = Some(raw),
            _ => {}
        }
        Ok(())
    })?;
    let Some(kind) = kind else { return Err(missing(path, "type")) };
    match (kind.as_ref(), function_raw, custom_raw) {
        ("function", Some(raw), _) => function(&format!("{path}.function"), raw),
        ("custom", _, Some(raw)) => named(&format!("{path}.custom"), raw),
        (kind, _, _) => Err(missing(path, kind)),
    }
}

/// Checks a function offered as a tool.
pub(crate) fn function(path: &str, raw: &str) -> Result<(), Invalid> {
    object(path, raw, |path, key, raw| match key {
        "description" => text(path, raw).map(drop),
        "parameters" if !raw.starts_with('{') => Err(wrong_type(path, raw, "an object")),
        "strict" => boolean(path, raw).map(drop),
        _ => Ok(()),
    })?;
    named(path, raw)
}

/// Checks that an object carries a usable `name`.
pub(crate) fn named(path: &str, raw: &str) -> Result<(), Invalid> {
    let mut found = false;
    object(path, raw, |path, key, raw| {
        if key == "name" {
            let name = text(path, raw)?;
            if name.is_empty() || name.chars().count() > MAX_NAME_CHARS {
                return Err(Invalid::at(path, format!("`{path}` is 1 to {MAX_NAME_CHARS} characters long")));
            }
            found = true;
        }
        Ok(())
    })?;
    if found { Ok(()) } else { Err(missing(path, "name")) }
}

/// Checks `tool_choice`.
pub(super) fn tool_choice(path: &str, raw: &str) -> Result<(), Invalid> {
    if raw.starts_with('"') {
        return one_of(path, raw, &["none", "auto", "required"]).map(drop);
    }
    let (mut kind, mut inner) = (None, None);
    object(path, raw, |path, key, raw| {
        match key {
            "type" => kind = Some(one_of(path, raw, &["function", "custom", "allowed_tools"])?),
            "function" | "custom" | "allowed_tools" => inner = Some((key.to_owned(), raw)),
            _ => {}
        }
        Ok(())
    })?;
    let Some(kind) = kind else { return Err(missing(path, "type")) };
    match inner {
        Some((key, raw)) if key == kind => {
            let path = format!("{path}.{key}");
            if kind == "allowed_tools" { object(&path, raw, |_, _, _| Ok(())) } else { named(&path, raw) }
        }
        _ => Err(missing(path, &kind)),
    }
}

/// Checks the older `function_call`.
pub(super) fn function_call(path: &str, raw: &str) -> Result<(), Invalid> {
    if raw.starts_with('"') {
        return one_of(path, raw, &["none", "auto"]).map(drop);
    }
    named(path, raw)
}

/// Reads `response_format`.
pub(super) fn response_format(path: &str, raw: &str) -> Result<Format, Invalid> {
    let (mut kind, mut schema) = (None, None);
    object(path, raw, |path, key, raw| {
        match key {
            "type" => kind = Some(one_of(path, raw, &["text", "json_object", "json_schema"])?),
            "json_schema" => schema = Some(raw),
            _ => {}
        }
        Ok(())
    })?;
    match (kind.as_deref(), schema) {
        (None, _) => Err(missing(path, "type")),
        (Some("text"), _) => Ok(Format::Text),
        (Some("json_object"), _) => Ok(Format::JsonObject),
        (Some(_), None) => Err(missing(path, "json_schema")),
        (Some(_), Some(raw)) => {
            let path = format!("{path}.json_schema");
            object(&path, raw, |path, key, raw| match key {
                "schema" if !raw.starts_with('{') => Err(wrong_type(path, raw, "an object")),
                "strict" => boolean(path, raw).map(drop),
                _ => Ok(()),
            })?;
            named(&path, raw).map(|()| Format::JsonSchema)
        }
    }
}

fn missing(path: &str, key: &str) -> Invalid {
    Invalid::at(format!("{path}.{key}"), format!("`{path}.{key}` is required"))
}
