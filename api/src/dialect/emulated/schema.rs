//! The schema that binds an answer to a call.

use super::Expected;
use super::functions::Function;
use crate::dialect::render::quoted;
use crate::envelope::Invalid;
use crate::envelope::fields::{list, object, one_of, text, wrong_type};
use crate::envelope::json::Cursor;

/// What a function takes that declares nothing.
const NOTHING: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
/// Words instead of a call.
const WORDS: &str =
    r#"{"type":"object","properties":{"reply":{"type":"string"}},"required":["reply"],"additionalProperties":false}"#;
/// Alternatives of one schema: far above what a model could choose among.
const MAX_FORMS: usize = 1024;

/// The value of `response_format`; `None` where text is expected.
pub(super) fn of(functions: &[Function<'_>], expected: &Expected) -> Option<String> {
    let schema = match expected {
        Expected::Text => return None,
        Expected::Arguments(_) => functions.first()?.parameters.unwrap_or(NOTHING).to_owned(),
        Expected::Call { words, .. } => union(functions, *words),
    };
    Some(format!(
        "{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"call\",\"strict\":true,\"schema\":{schema}}}}}"
    ))
}

/// One form for each function, its name first: what follows is known for its arguments as it comes. Their schemas stand
/// apart, where references inside them find what they refer to.
fn union(functions: &[Function<'_>], words: bool) -> String {
    let (mut forms, mut schemas) = (Vec::new(), Vec::new());
    for (number, function) in functions.iter().enumerate() {
        let name = quoted(&function.name);
        forms.push(format!(
            "{{\"type\":\"object\",\"properties\":{{\"name\":{{\"const\":{name}}},\"arguments\":{{\"$ref\":\"#/$defs/f{number}\"}}}},\
             \"required\":[\"name\",\"arguments\"],\"additionalProperties\":false}}"
        ));
        schemas.push(format!("\"f{number}\":{}", moved(function.parameters.unwrap_or(NOTHING), number)));
    }
    if words {
        forms.push(WORDS.to_owned());
    }
    format!("{{\"anyOf\":[{}],\"$defs\":{{{}}}}}", forms.join(","), schemas.join(","))
}

/// A schema as it must read under `$defs/f{number}`: what it refers to in itself has moved with it.
fn moved(raw: &str, number: usize) -> String {
    if !raw.contains("$ref") {
        return raw.to_owned();
    }
    let mut out = String::with_capacity(raw.len() + 64);
    write_moved(raw, number, &mut out).expect("a checked schema is read again");
    out
}

fn write_moved(raw: &str, number: usize, out: &mut String) -> Result<(), Invalid> {
    match raw.as_bytes().first() {
        Some(b'{') => {
            let mut before = '{';
            Cursor::new(raw).object(|cursor, key| {
                cursor.peek();
                let value = cursor.value()?;
                out.push(std::mem::replace(&mut before, ','));
                out.push_str(&quoted(&key));
                out.push(':');
                match value.strip_prefix("\"#") {
                    Some(rest) if key == "$ref" => out.push_str(&format!("\"#/$defs/f{number}{rest}")),
                    _ => write_moved(value, number, out)?,
                }
                Ok(())
            })?;
            out.push_str(if before == '{' { "{}" } else { "}" });
        }
        Some(b'[') => {
            let mut before = '[';
            Cursor::new(raw).array(|cursor, _| {
                cursor.peek();
                let value = cursor.value()?;
                out.push(std::mem::replace(&mut before, ','));
                write_moved(value, number, out)
            })?;
            out.push_str(if before == '[' { "[]" } else { "]" });
        }
        _ => out.push_str(raw),
    }
    Ok(())
}

/// Checks the schema of a function's arguments, which are an object; `strict` is a promise that no other key can occur
/// and none be left out.
pub(super) fn check(path: &str, raw: &str, strict: bool) -> Result<(), Invalid> {
    let mut kind = None;
    object(path, raw, |path, key, raw| {
        if key == "type" {
            kind = Some(one_of(path, raw, &["object"])?);
        }
        Ok(())
    })?;
    if strict { check_strict(path, raw) } else { Ok(()) }
}

fn check_strict(path: &str, raw: &str) -> Result<(), Invalid> {
    if !raw.starts_with('{') {
        return Err(wrong_type(path, raw, "an object"));
    }
    let (mut properties, mut required, mut closed) = (None, Vec::new(), false);
    object(path, raw, |path, key, raw| {
        match key {
            "properties" => properties = Some(raw),
            "required" => list(path, raw, MAX_FORMS, |path, raw| {
                required.push(text(path, raw)?);
                Ok(())
            })?,
            "additionalProperties" => closed = raw == "false",
            "items" => check_strict(path, raw)?,
            "anyOf" => list(path, raw, MAX_FORMS, check_strict)?,
            "$defs" | "definitions" => object(path, raw, |path, _, raw| check_strict(path, raw))?,
            _ => {}
        }
        Ok(())
    })?;
    let Some(properties) = properties else { return Ok(()) };
    if !closed {
        return Err(broken(path, "must set `additionalProperties` to false"));
    }
    object(&format!("{path}.properties"), properties, |inner, key, raw| {
        if !required.iter().any(|name| name == key) {
            return Err(broken(path, &format!("must list `{key}` under `required`")));
        }
        check_strict(inner, raw)
    })
}

fn broken(path: &str, what: &str) -> Invalid {
    Invalid {
        code: Some("invalid_value"),
        ..Invalid::at(path, format!("`{path}` {what}, since the function is strict"))
    }
}
