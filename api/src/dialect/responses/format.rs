//! The `text` field: the shape of the answer and its length.

use super::echo::compact;
use super::missing;
use crate::envelope::Invalid;
use crate::envelope::fields::{boolean, object, one_of, text, wrong_type};
use crate::envelope::tools::named;

/// What `text` asks for.
#[derive(Default)]
pub(super) struct Text<'a> {
    /// The chat dialect's `response_format`; `None` for plain text.
    pub(super) response_format: Option<String>,
    /// The verbosity as written.
    pub(super) verbosity: Option<&'a str>,
    /// The format as the answer repeats it.
    format: Option<String>,
}

impl<'a> Text<'a> {
    /// Reads `text`.
    pub(super) fn read(path: &str, raw: &'a str) -> Result<Self, Invalid> {
        let mut read = Self::default();
        object(path, raw, |path, key, raw| {
            match key {
                "format" => read.format(path, raw)?,
                "verbosity" => {
                    one_of(path, raw, &["low", "medium", "high"])?;
                    read.verbosity = Some(raw);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(read)
    }

    /// As the answer repeats it.
    pub(super) fn echo(&self) -> String {
        let format = self.format.as_deref().unwrap_or("{\"type\":\"text\"}");
        format!("{{\"format\":{format},\"verbosity\":{}}}", self.verbosity.unwrap_or("\"medium\""))
    }

    fn format(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        let mut kind = None;
        object(path, raw, |path, key, raw| {
            if key == "type" {
                kind = Some(one_of(path, raw, &["text", "json_object", "json_schema"])?);
            }
            Ok(())
        })?;
        match kind.ok_or_else(|| missing(path, "type"))?.as_ref() {
            "text" => {}
            "json_object" => {
                let object = "{\"type\":\"json_object\"}";
                (self.response_format, self.format) = (Some(object.to_owned()), Some(object.to_owned()));
            }
            _ => self.schema(path, raw)?,
        }
        Ok(())
    }

    fn schema(&mut self, path: &str, raw: &str) -> Result<(), Invalid> {
        let (mut name, mut description, mut schema, mut strict) = ("", None, None, None);
        named(path, raw)?;
        object(path, raw, |path, key, raw| {
            match key {
                "name" => name = raw,
                "description" => {
                    text(path, raw)?;
                    description = Some(raw);
                }
                "schema" if raw.starts_with('{') => schema = Some(raw),
                "schema" => return Err(wrong_type(path, raw, "an object")),
                "strict" => strict = Some(boolean(path, raw)?),
                _ => {}
            }
            Ok(())
        })?;
        let schema = compact(schema.ok_or_else(|| missing(path, "schema"))?);
        let described = description.map_or(String::new(), |raw| format!("\"description\":{raw},"));
        let chat_strict = strict.map_or(String::new(), |strict| format!(",\"strict\":{strict}"));
        let members = format!("\"name\":{name},{described}\"schema\":{schema}");
        self.response_format = Some(format!("{{\"type\":\"json_schema\",\"json_schema\":{{{members}{chat_strict}}}}}"));
        self.format = Some(format!("{{\"type\":\"json_schema\",{members},\"strict\":{}}}", strict.unwrap_or(false)));
        Ok(())
    }
}
