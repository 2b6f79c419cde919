//! Tools, the choice among them, thinking, and the shape of the answer.

use super::members::{Members, inside};
use crate::envelope::fields::{boolean, integer, list, one_of, text, wrong_type};
use crate::envelope::json::Cursor;
use crate::envelope::{Invalid, MAX_TOOLS, tools::named};

/// The least budget for thinking that the dialect knows, in tokens.
const MIN_BUDGET: i64 = 1024;

/// Inside how many arrays and objects a chat request holds a tool's schema.
const SCHEMA_DEPTH: u32 = 4;

/// Reads `tools`; `None` when it is empty, which counts as none.
pub(super) fn tools(path: &str, raw: &str) -> Result<Option<String>, Invalid> {
    let mut out = String::new();
    list(path, raw, MAX_TOOLS, |path, raw| {
        out.push(if out.is_empty() { '[' } else { ',' });
        tool(path, raw, &mut out)
    })?;
    Ok((!out.is_empty()).then(|| out + "]"))
}

/// Tools the client runs and describes by a schema can be offered to any model. Others are Anthropic's: run by its
/// servers, or known by name to its models alone.
fn tool(path: &str, raw: &str, out: &mut String) -> Result<(), Invalid> {
    let tool = Members::read(path, raw, &["type", "name", "description", "input_schema", "strict"])?;
    if tool.get("type").is_some() && tool.kind()? != "custom" {
        let at = tool.at("type");
        let message =
            format!("`{at}` must be custom: tools that only Anthropic's models or servers know are not offered");
        return Err(Invalid::unsupported(at, message));
    }
    named(path, raw)?;
    let (at, schema) = (tool.at("input_schema"), tool.need("input_schema")?);
    if !schema.starts_with('{') {
        return Err(wrong_type(&at, schema, "an object"));
    }
    if Cursor::nested(schema, SCHEMA_DEPTH).value().is_err() {
        return Err(Invalid::at(&at, format!("`{at}` is nested too deep")));
    }
    out.push_str(&format!("{{\"type\":\"function\",\"function\":{{\"name\":{}", tool.need("name")?));
    if let Some(description) = tool.text("description")? {
        out.push_str(&format!(",\"description\":\"{description}\""));
    }
    if let Some(strict) = tool.get("strict") {
        out.push_str(&format!(",\"strict\":{}", boolean(&tool.at("strict"), strict)?));
    }
    out.push_str(&format!(",\"parameters\":{schema}}}}}"));
    Ok(())
}

/// The choice among tools, as chat says it.
#[derive(Debug)]
pub(super) struct Choice {
    /// The value of `tool_choice`.
    pub(super) value: String,
    /// Whether at most one tool may be called at a time.
    pub(super) one_at_a_time: bool,
}

/// Reads `tool_choice`.
pub(super) fn tool_choice(path: &str, raw: &str) -> Result<Choice, Invalid> {
    let choice = Members::read(path, raw, &["type", "name", "disable_parallel_tool_use"])?;
    let kind = one_of(&choice.at("type"), choice.need("type")?, &["auto", "any", "tool", "none"])?;
    let value = match kind.as_ref() {
        "any" => "\"required\"".to_owned(),
        "tool" => {
            named(path, raw)?;
            format!("{{\"type\":\"function\",\"function\":{{\"name\":\"{}\"}}}}", choice.need_text("name")?)
        }
        same => format!("\"{same}\""),
    };
    let at = choice.at("disable_parallel_tool_use");
    let one_at_a_time = choice.get("disable_parallel_tool_use").map(|raw| boolean(&at, raw)).transpose()?;
    Ok(Choice { value, one_at_a_time: one_at_a_time == Some(true) })
}

/// How much a request wants the model to think before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Nothing said.
    #[default]
    Unsaid,
    /// Not at all.
    Disabled,
    /// As the model sees fit; `shown` says whether the client wants to read it.
    Adaptive { shown: bool },
    /// About this many tokens.
    Budget { tokens: i64, shown: bool },
}

impl Thinking {
    /// Reads `thinking`.
    pub(super) fn read(path: &str, raw: &str) -> Result<Self, Invalid> {
        let thinking = Members::read(path, raw, &["type", "budget_tokens", "display"])?;
        let kind = one_of(&thinking.at("type"), thinking.need("type")?, &["enabled", "disabled", "adaptive"])?;
        let at = thinking.at("display");
        let display = thinking.get("display").map(|raw| one_of(&at, raw, &["summarized", "omitted"])).transpose()?;
        let shown = display.as_deref() != Some("omitted");
        Ok(match kind.as_ref() {
            "enabled" => {
                let (at, raw) = (thinking.at("budget_tokens"), thinking.need("budget_tokens")?);
                Self::Budget { tokens: integer(&at, raw, MIN_BUDGET, i64::from(u32::MAX))?, shown }
            }
            "adaptive" => Self::Adaptive { shown },
            _ => Self::Disabled,
        })
    }

    /// Whether the answer shows what the model thought: only to those who asked for it.
    pub(super) fn is_shown(self) -> bool {
        matches!(self, Self::Adaptive { shown: true } | Self::Budget { shown: true, .. })
    }

    /// The nearest `reasoning_effort`; `effort` is what the client said in that word's own terms, which is nearer
    /// than a budget.
    pub(super) fn effort(self, effort: Option<&str>) -> Option<&str> {
        match (self, effort) {
            (Self::Disabled, _) => Some("none"),
            (_, Some(effort)) => Some(effort),
            (Self::Budget { tokens: ..4_096, .. }, None) => Some("low"),
            (Self::Budget { tokens: ..16_384, .. }, None) => Some("medium"),
            (Self::Budget { .. }, None) => Some("high"),
            (Self::Unsaid | Self::Adaptive { .. }, None) => None,
        }
    }
}

/// What `output_config` asks for.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// How hard to try.
    pub(super) effort: Option<String>,
    /// The value of `response_format`.
    pub(super) format: Option<String>,
}

/// Reads `output_config`.
pub(super) fn output_config(path: &str, raw: &str) -> Result<Output, Invalid> {
    let config = Members::read(path, raw, &["effort", "format"])?;
    let efforts = ["low", "medium", "high", "xhigh", "max"];
    let effort = config.get("effort").map(|raw| one_of(&config.at("effort"), raw, &efforts)).transpose()?;
    let format = config.get("format").map(|raw| format(&config.at("format"), raw)).transpose()?;
    Ok(Output { effort: effort.map(Into::into), format })
}

fn format(path: &str, raw: &str) -> Result<String, Invalid> {
    let format = Members::read(path, raw, &["type", "schema"])?;
    one_of(&format.at("type"), format.need("type")?, &["json_schema"])?;
    let schema = format.need("schema")?;
    if !schema.starts_with('{') {
        return Err(wrong_type(&format.at("schema"), schema, "an object"));
    }
    // Chat gives a schema a name, which nobody sees.
    Ok(format!(
        "{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"answer\",\"strict\":true,\"schema\":{schema}}}}}"
    ))
}

/// Reads a stop sequence.
pub(super) fn stop_sequence(path: &str, raw: &str) -> Result<String, Invalid> {
    if inside(path, raw)?.is_empty() {
        return Err(Invalid::at(path, format!("`{path}` must not be empty")));
    }
    text(path, raw).map(Into::into)
}
