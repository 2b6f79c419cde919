//! The functions a model may call, and whether it must.

use std::borrow::Cow;

use super::schema;
use crate::envelope::fields::{boolean, list, object, one_of, text};
use crate::envelope::{Envelope, Invalid, MAX_TOOLS};

/// Whether a function is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// None may be.
    Never,
    /// As the model sees fit.
    Auto,
    /// One must be.
    Required,
}

/// A function on offer.
#[derive(Debug)]
pub(super) struct Function<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) description: Option<Cow<'a, str>>,
    /// A JSON schema, as written.
    pub(super) parameters: Option<&'a str>,
}

/// What a request offers its model.
#[derive(Debug)]
pub(super) struct Offered<'a> {
    /// Those that may be called.
    pub(super) functions: Vec<Function<'a>>,
    pub(super) mode: Mode,
}

/// A choice among tools: the mode, and the names it is limited to with where they stand.
type Choice<'a> = (Mode, Option<Vec<(String, Cow<'a, str>)>>);

/// Reads the tools of a request and the choice among them.
pub(super) fn read<'a>(request: &Envelope<'a>) -> Result<Offered<'a>, Invalid> {
    let given = |field: &str| request.raw(field).filter(|raw| *raw != "null");
    let mut functions: Vec<Function<'a>> = Vec::new();
    list("tools", given("tools").unwrap_or("[]"), MAX_TOOLS, |path, raw| {
        let function = function(path, raw)?;
        if functions.iter().any(|other| other.name == function.name) {
            let at = format!("{path}.function.name");
            return Err(Invalid::at(&at, format!("`{at}` names a function a second time")));
        }
        functions.push(function);
        Ok(())
    })?;
    if functions.is_empty() {
        let message = "this model's tools are emulated, which takes `tools` and not the older `functions`";
        return Err(Invalid::unsupported("functions", message));
    }
    let (mode, names) = match given("tool_choice") {
        Some(raw) => choice("tool_choice", raw)?,
        None => (Mode::Auto, None),
    };
    if let Some(names) = names {
        for (path, name) in &names {
            if !functions.iter().any(|function| function.name == *name) {
                return Err(Invalid::at(path, format!("`{path}` is not the name of a function in `tools`")));
            }
        }
        functions.retain(|function| names.iter().any(|(_, name)| *name == function.name));
    }
    Ok(Offered { functions, mode })
}

fn function<'a>(path: &str, raw: &'a str) -> Result<Function<'a>, Invalid> {
    let inner = inner(path, raw)?;
    let path = format!("{path}.function");
    let (mut name, mut description, mut parameters, mut strict) = (None, None, None, false);
    object(&path, inner, |path, key, raw| {
        match key {
            "name" => name = Some(text(path, raw)?),
            "description" => description = Some(text(path, raw)?),
            "parameters" => parameters = Some(raw),
            "strict" => strict = boolean(path, raw)?,
            _ => {}
        }
        Ok(())
    })?;
    if let Some(raw) = parameters {
        schema::check(&format!("{path}.parameters"), raw, strict)?;
    }
    let name = name.ok_or_else(|| Invalid::at(format!("{path}.name"), format!("`{path}.name` is required")))?;
    Ok(Function { name, description, parameters })
}

/// What is under `function`. A tool of another kind takes free text, which no schema can promise.
fn inner<'a>(path: &str, raw: &'a str) -> Result<&'a str, Invalid> {
    let mut found = None;
    let mut other = false;
    object(path, raw, |path, key, raw| {
        match key {
            "type" => other = text(path, raw)? != "function",
            "function" => found = Some(raw),
            _ => {}
        }
        Ok(())
    })?;
    found.filter(|_| !other).ok_or_else(|| {
        let at = format!("{path}.type");
        let message = format!("`{at}` must be function: this model's tools are emulated, which custom ones can't be");
        Invalid::unsupported(at, message)
    })
}

fn choice<'a>(path: &str, raw: &'a str) -> Result<Choice<'a>, Invalid> {
    if raw.starts_with('"') {
        let mode = match one_of(path, raw, &["none", "auto", "required"])?.as_ref() {
            "none" => Mode::Never,
            "required" => Mode::Required,
            _ => Mode::Auto,
        };
        return Ok((mode, None));
    }
    let mut allowed = None;
    object(path, raw, |_, key, raw| {
        if key == "allowed_tools" {
            allowed = Some(raw);
        }
        Ok(())
    })?;
    match allowed {
        Some(raw) => allowed_tools(&format!("{path}.allowed_tools"), raw),
        None => Ok((Mode::Required, Some(vec![name(path, raw)?]))),
    }
}

fn allowed_tools<'a>(path: &str, raw: &'a str) -> Result<Choice<'a>, Invalid> {
    let (mut mode, mut names) = (Mode::Auto, Vec::new());
    object(path, raw, |path, key, raw| {
        match key {
            "mode" if one_of(path, raw, &["auto", "required"])? == "required" => mode = Mode::Required,
            "tools" => list(path, raw, MAX_TOOLS, |path, raw| {
                names.push(name(path, raw)?);
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    if names.is_empty() {
        return Err(Invalid::at(format!("{path}.tools"), format!("`{path}.tools` must name at least one tool")));
    }
    Ok((mode, Some(names)))
}

/// The name in a reference to a function, and where it stands.
fn name<'a>(path: &str, raw: &'a str) -> Result<(String, Cow<'a, str>), Invalid> {
    let inner = inner(path, raw)?;
    let path = format!("{path}.function");
    let mut found = None;
    object(&path, inner, |path, key, raw| {
        if key == "name" {
            found = Some((path.to_owned(), text(path, raw)?));
        }
        Ok(())
    })?;
    found.ok_or_else(|| Invalid::at(format!("{path}.name"), format!("`{path}.name` is required")))
}
