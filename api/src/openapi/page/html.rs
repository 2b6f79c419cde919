//! Text, types and lists as HTML.

use std::fmt::{self, Display, Write as _};

use serde_json::Value;

use super::members;

/// A schema's type in a few words, with links to shapes that have a name.
pub(super) struct Kind<'a>(pub(super) &'a Value);

impl Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(schema) = self;
        if let Some(name) = last_of(schema).map(Escaped) {
            return write!(f, "<a href=\"#{name}\">{name}</a>");
        }
        let forms = ["oneOf", "anyOf", "allOf"].into_iter().flat_map(|name| members(&schema[name]));
        let words = members(&schema["enum"]).filter_map(Value::as_str);
        if joined(f, forms.map(Kind))? || joined(f, words.map(Word))? {
            return Ok(());
        }
        let names: Vec<&str> = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => vec![kind.as_str().unwrap_or("anything")],
        };
        write!(f, "{}", names.join(" or "))?;
        if let Some(items) = schema.get("items") {
            write!(f, " of {}", Kind(items))?;
        }
        match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => write!(f, " of {}", Kind(values)),
            None => Ok(()),
        }
    }
}

/// A word as it stands in JSON.
struct Word<'a>(&'a str);

impl Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<code>{}</code>", Escaped(self.0))
    }
}

/// Writes alternatives, and says whether there were any.
fn joined(f: &mut fmt::Formatter<'_>, forms: impl Iterator<Item = impl Display>) -> Result<bool, fmt::Error> {
    let mut any = false;
    for form in forms {
        if any {
            f.write_str(" or ")?;
        }
        write!(f, "{form}")?;
        any = true;
    }
    Ok(any)
}

/// Text as it may stand in HTML.
#[derive(Clone, Copy)]
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// A paragraph in which backquotes mark code, as descriptions have it. Nothing where there is no text.
pub(super) struct Marked<'a>(pub(super) &'a str);

impl Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str("<p>")?;
        for (at, piece) in self.0.split('`').enumerate() {
            if at % 2 == 0 { write!(f, "{}", Escaped(piece))? } else { write!(f, "{}", Word(piece))? }
        }
        f.write_str("</p>")
    }
}

/// The name at the end of a reference; `None` where there is no reference.
pub(super) fn last_of(value: &Value) -> Option<&str> {
    value["$ref"].as_str().and_then(|reference| reference.rsplit('/').next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_shown_and_never_read_as_html() {
        assert_eq!(Marked("a `<b>` & \"c\"").to_string(), "<p>a <code>&lt;b&gt;</code> &amp; &quot;c&quot;</p>");
        let schema =
            json!({ "oneOf": [{ "type": ["string", "null"] }, { "type": "array", "items": { "$ref": "#/x/Y" } }] });
        assert_eq!(Kind(&schema).to_string(), "string or null or array of <a href=\"#Y\">Y</a>");
    }
}
