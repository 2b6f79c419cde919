//! Chat templates: the text an engine makes of a conversation.

use std::fmt;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, ErrorKind, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Error, Settings, strftime};

/// A conversation to count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prompt<'a> {
    /// The `messages` array, as JSON.
    pub messages: &'a str,
    /// The `tools` array, as JSON.
    pub tools: Option<&'a str>,
    /// Extra variables for the template, a JSON object.
    pub template_kwargs: Option<&'a str>,
    /// The time templates see, in unix seconds.
    pub now_unix_s: i64,
}

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    continues_assistant: bool,
    /// Whether it prints lists of parts; others get their text, joined by line feeds.
    takes_parts: bool,
    /// Whether it knows the role `developer`; others get `system`.
    knows_developer: bool,
    /// Whether it looks at tool calls; others can't print a message without content.
    knows_calls: bool,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template and finds out what it can take.
    pub(super) fn compile(source: &str, settings: &Settings) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // Templates are written for a Jinja set up this way.
        environment.set_syntax(
            minijinja::syntax::SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|error| Error::Template(error.to_string()))?,
        );
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| Error::Template(error.to_string()))?;
        let mut template = Self {
            environment,
            bos: settings.bos.clone().unwrap_or_default(),
            eos: settings.eos.clone().unwrap_or_default(),
            continues_assistant: settings.continues_assistant,
            takes_parts: true,
            knows_developer: source.contains("developer"),
            knows_calls: source.contains("tool_calls"),
        };
        template.takes_parts = template.prints_parts();
        Ok(template)
    }

    /// The text an engine makes of a conversation, up to where the answer begins.
    ///
    /// # Errors
    /// [`Error::Render`] or [`Error::Messages`].
    pub fn render(&self, prompt: &Prompt<'_>) -> Result<String, Error> {
        let unreadable = |error: serde_json::Error| Error::Messages(error.to_string());
        let mut messages: Vec<Json> = serde_json::from_str(prompt.messages).map_err(unreadable)?;
        let continued = messages
            .pop_if(|Json(last)| self.continues_assistant && attribute(last, "role").as_str() == Some("assistant"));
        let prefill = continued.and_then(|Json(last)| joined_text(&attribute(&last, "content"), "\n\n"));
        let messages = messages.into_iter().map(|message| self.message(message)).collect::<Vec<_>>();
        let tools = prompt.tools.map(serde_json::from_str::<Json>).transpose().map_err(unreadable)?;
        let kwargs = prompt.template_kwargs.map(serde_json::from_str::<Json>).transpose().map_err(unreadable)?;
        let mut text = self.apply(messages, tools, kwargs, prompt.now_unix_s)?;
        text.push_str(&prefill.unwrap_or_default());
        Ok(text)
    }

    fn apply(
        &self,
        messages: Vec<Value>,
        tools: Option<Json>,
        kwargs: Option<Json>,
        now_unix_s: i64,
    ) -> Result<String, Error> {
        let now = move |pattern: String| strftime::format(now_unix_s, &pattern);
        let mut context = vec![
            (Value::from("messages"), Value::from(messages)),
            (Value::from("add_generation_prompt"), Value::from(true)),
            (Value::from("bos_token"), Value::from(self.bos.as_str())),
            (Value::from("eos_token"), Value::from(self.eos.as_str())),
            (Value::from("strftime_now"), Value::from_function(now)),
            (Value::from("tools"), tools.map_or(Value::from(()), |tools| tools.0)),
        ];
        if let Some(Json(kwargs)) = kwargs
            && let Ok(keys) = kwargs.try_iter()
        {
            context.extend(keys.map(|key| (key.clone(), kwargs.get_item(&key).unwrap_or_default())));
        }
        let refused = |error: minijinja::Error| Error::Render(error.to_string());
        let template = self.environment.get_template(NAME).map_err(refused)?;
        template.render(Value::from_pairs(context)).map_err(refused)
    }

    /// Fits one message to what the template can take, as engines do.
    fn message(&self, Json(message): Json) -> Value {
        let Ok(keys) = message.try_iter() else { return message };
        let mut has_content = false;
        let fitted = keys.map(|key| {
            let value = message.get_item(&key).unwrap_or_default();
            let value = match key.as_str() {
                Some("role") if !self.knows_developer && value.as_str() == Some("developer") => Value::from("system"),
                Some("content") => {
                    has_content = true;
                    self.content(value)
                }
                Some("tool_calls") => calls(&value),
                _ => value,
            };
            (key, value)
        });
        let mut fitted: Vec<_> = fitted.collect();
        if !has_content {
            fitted.push((Value::from("content"), self.content(Value::from(()))));
        }
        Value::from_pairs(fitted)
    }

    fn content(&self, content: Value) -> Value {
        match content.kind() {
            ValueKind::None if !self.knows_calls => Value::from(""),
            ValueKind::Seq if !self.takes_parts => Value::from(joined_text(&content, "\n").unwrap_or_default()),
            _ => content,
        }
    }

    /// Tries a message made of parts: a template that takes them prints the text alone.
    fn prints_parts(&self) -> bool {
        const PROBE: &str = r#"{"role":"user","content":[{"type":"text","text":"a needle"}]}"#;
        let Ok(Json(message)) = serde_json::from_str(PROBE) else { return false };
        let printed = self.apply(vec![message], None, None, 0);
        printed.is_ok_and(|text| text.contains("a needle") && !text.contains("\"text\"") && !text.contains("'text'"))
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("takes_parts", &self.takes_parts).finish_non_exhaustive()
    }
}

/// The tokens of a conversation by the published formula for models whose template is not: three
/// for each message, one more where it has a name, and three for the answer's opening. Tools count
/// as the text of their definitions.
pub(super) fn chat_overhead(prompt: &Prompt<'_>, count: impl Fn(&str) -> u64) -> Result<u64, Error> {
    let unreadable = |error: serde_json::Error| Error::Messages(error.to_string());
    let messages: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(prompt.messages).map_err(unreadable)?;
    let mut total = 3;
    for message in &messages {
        total += 3;
        for (key, value) in message {
            total += match value {
                serde_json::Value::Null => 0,
                serde_json::Value::String(text) => count(text),
                serde_json::Value::Array(parts) if key == "content" => {
                    parts.iter().filter_map(|part| part.get("text")?.as_str()).map(&count).sum()
                }
                other => count(&other.to_string()),
            };
            total += u64::from(key == "name");
        }
    }
    Ok(total + prompt.tools.map_or(0, count))
}

fn attribute(value: &Value, name: &str) -> Value {
    value.get_attr(name).unwrap_or_default()
}

/// A content's text. llama.cpp puts one line feed between parts, and two where it continues them.
fn joined_text(content: &Value, separator: &str) -> Option<String> {
    if let Some(text) = content.as_str() {
        return Some(text.to_owned());
    }
    let parts = content.try_iter().ok()?;
    let texts: Vec<String> = parts.filter_map(|part| attribute(&part, "text").as_str().map(str::to_owned)).collect();
    Some(texts.join(separator))
}

/// Tool calls with their arguments as values: templates print those, not text in text.
fn calls(calls: &Value) -> Value {
    let Ok(each) = calls.try_iter() else { return calls.clone() };
    each.map(|call| with(&call, "function", |function| with(&function, "arguments", parsed))).collect()
}

/// A copy of a map with one entry changed.
fn with(map: &Value, name: &str, change: impl Fn(Value) -> Value) -> Value {
    let Ok(keys) = map.try_iter() else { return map.clone() };
    Value::from_pairs(keys.map(|key| {
        let value = map.get_item(&key).unwrap_or_default();
        let value = if key.as_str() == Some(name) { change(value) } else { value };
        (key, value)
    }))
}

fn parsed(arguments: Value) -> Value {
    let object = arguments.as_str().and_then(|text| serde_json::from_str::<Json>(text).ok());
    object.map(|json| json.0).filter(|value| value.kind() == ValueKind::Map).unwrap_or(arguments)
}

/// A JSON value as the template engine holds it, its keys in the order they were written.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::from(()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut all: Vec<Value> = Vec::new();
        while let Some(Json(value)) = values.next_element()? {
            all.push(value);
        }
        Ok(Value::from(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all: Vec<(Value, Value)> = Vec::new();
        while let Some((key, Json(value))) = entries.next_entry::<String, Json>()? {
            all.push((Value::from(key), value));
        }
        Ok(Value::from_pairs(all))
    }
}

/// JSON as Python writes it, which is what templates were tried with: a space after commas and
/// colons, nothing escaped for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Others only say what is done anyway.
    for name in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(name)?;
    }
    options.assert_all_used()?;
    let mut out = String::new();
    write_json(&mut out, value, indent, 0)?;
    Ok(Value::from_safe_string(out))
}

fn write_json(out: &mut String, value: &Value, indent: Option<usize>, level: usize) -> Result<(), minijinja::Error> {
    let newline = |out: &mut String, level: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut any = false;
            for element in value.try_iter()? {
                out.push_str(if any { comma } else { "" });
                any = true;
                newline(out, level + 1);
                write_json(out, &element, indent, level + 1)?;
            }
            if any {
                newline(out, level);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            let mut any = false;
            for key in value.try_iter()? {
                out.push_str(if any { comma } else { "" });
                any = true;
                newline(out, level + 1);
                write_string(out, &key.to_string());
                out.push_str(": ");
                write_json(out, &value.get_item(&key)?, indent, level + 1)?;
            }
            if any {
                newline(out, level);
            }
            out.push('}');
        }
        _ => write_string(out, &value.to_string()),
    }
    Ok(())
}

fn write_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("text is always representable as JSON"));
}
