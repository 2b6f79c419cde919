//! The document as one page of HTML: no script, nothing loaded from anywhere, readable in any browser.

use std::fmt::{self, Display, Write as _};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::Value;

const STYLES: &str = include_str!("page.css");
/// In the order people look for them.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// What the page may load: nothing but its own styles, known by their digest.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let styles = STANDARD.encode(digest(&SHA256, STYLES.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{styles}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// Writes a document as a page.
pub(super) fn of(document: &Value) -> String {
    let page = Page { document };
    let mut out = String::with_capacity(512 * 1024);
    page.write(&mut out).expect("text can be appended");
    out
}

struct Page<'a> {
    document: &'a Value,
}

/// One operation, where it is served.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    said: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> &str {
        text(self.said, "operationId")
    }
}

impl<'a> Page<'a> {
    fn write(&self, out: &mut String) -> fmt::Result {
        let info = &self.document["info"];
        let title = Escaped(text(info, "title"));
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLES}</style></head><body>"
        )?;
        self.contents(out)?;
        write!(out, "<main><h1>{title}</h1>{}", Marked(text(info, "description")))?;
        out.push_str(
            "<p><a href=\"/openapi.json\">OpenAPI 3.1</a> · <a href=\"/openapi-3.0.json\">OpenAPI 3.0</a></p>",
        );
        for tag in members(&self.document["tags"]) {
            let (name, operations) = (text(tag, "name"), self.operations(text(tag, "name")));
            write!(out, "<section><h2 id=\"{0}\">{0}</h2>{1}", Escaped(name), Marked(text(tag, "description")))?;
            for operation in &operations {
                self.operation(operation, out)?;
            }
            out.push_str("</section>");
        }
        out.push_str("<section><h2 id=\"shapes\">Shapes</h2>");
        for (name, schema) in entries(&self.document["components"]["schemas"]) {
            shape(name, schema, out)?;
        }
        out.push_str("</section></main></body></html>\n");
        Ok(())
    }

    fn contents(&self, out: &mut String) -> fmt::Result {
        out.push_str("<nav>");
        for tag in members(&self.document["tags"]) {
            let name = text(tag, "name");
            write!(out, "<a href=\"#{0}\"><strong>{0}</strong></a><ul>", Escaped(name))?;
            for operation in self.operations(name) {
                write!(out, "<li><a href=\"#{0}\">{0}</a></li>", Escaped(operation.id()))?;
            }
            out.push_str("</ul>");
        }
        out.push_str("<a href=\"#shapes\"><strong>Shapes</strong></a></nav>");
        Ok(())
    }

    /// Operations under a tag, webhooks included.
    fn operations(&self, tag: &str) -> Vec<Operation<'a>> {
        let served = [&self.document["paths"], &self.document["webhooks"]].into_iter().flat_map(entries);
        let all = served.flat_map(|(path, item)| {
            METHODS.into_iter().filter_map(move |method| Some(Operation { method, path, said: item.get(method)? }))
        });
        all.filter(|operation| operation.said["tags"][0] == tag).collect()
    }

    fn operation(&self, operation: &Operation<'_>, out: &mut String) -> fmt::Result {
        let Operation { method, path, said } = operation;
        let id = Escaped(operation.id());
        write!(out, "<article id=\"{id}\"><h3><span class=\"method\">{method}</span>{}</h3>", Escaped(path))?;
        write!(out, "{}{}", Marked(text(said, "summary")), Marked(text(said, "description")))?;
        self.keys(said, out)?;
        self.parameters(said, out)?;
        for (media, content) in entries(&said["requestBody"]["content"]) {
            write!(out, "<p>Takes <code>{}</code>: {}</p>", Escaped(media), Kind(&content["schema"]))?;
            if let Some(example) = content.get("example") {
                write!(out, "<pre>{}</pre>", Escaped(&format!("{example:#}")))?;
            }
        }
        out.push_str("<table><tr><th>Status</th><th>Answer</th><th></th></tr>");
        for (status, response) in entries(&said["responses"]) {
            let response = self.resolved(response);
            write!(out, "<tr><td>{}</td><td>{}</td><td>", Escaped(status), Marked(text(response, "description")))?;
            for (media, content) in entries(&response["content"]) {
                write!(out, "<p><code>{}</code> {}</p>", Escaped(media), Kind(&content["schema"]))?;
            }
            out.push_str("</td></tr>");
        }
        out.push_str("</table></article>");
        Ok(())
    }

    fn keys(&self, said: &Value, out: &mut String) -> fmt::Result {
        let names: Vec<&str> =
            members(&said["security"]).filter_map(|one| entries(one).next()).map(|(name, _)| name).collect();
        if names.is_empty() { Ok(()) } else { write!(out, "<p>Key: {}</p>", Escaped(&names.join(" or "))) }
    }

    fn parameters(&self, said: &Value, out: &mut String) -> fmt::Result {
        let parameters: Vec<&Value> = members(&said["parameters"]).map(|parameter| self.resolved(parameter)).collect();
        if parameters.is_empty() {
            return Ok(());
        }
        out.push_str("<table><tr><th>Parameter</th><th>In</th><th></th></tr>");
        for parameter in parameters {
            let (name, place) = (Escaped(text(parameter, "name")), Escaped(text(parameter, "in")));
            let needed = if parameter["required"] == true { NEEDED } else { "" };
            let said = Marked(text(parameter, "description"));
            write!(out, "<tr><td><code>{name}</code>{needed}</td><td>{place}</td><td>{said}</td></tr>")?;
        }
        out.push_str("</table>");
        Ok(())
    }

    /// What a reference refers to.
    fn resolved(&self, value: &'a Value) -> &'a Value {
        let reference = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        reference.and_then(|pointer| self.document.pointer(pointer)).unwrap_or(value)
    }
}

const NEEDED: &str = " <span class=\"needed\">required</span>";

fn shape(name: &str, schema: &Value, out: &mut String) -> fmt::Result {
    write!(out, "<article id=\"{0}\"><h3>{0}</h3>{1}", Escaped(name), Marked(text(schema, "description")))?;
    if schema.get("properties").is_none() {
        return write!(out, "<p>{}</p></article>", Kind(schema));
    }
    out.push_str("<table>");
    for (field, property) in entries(&schema["properties"]) {
        let needed = members(&schema["required"]).any(|name| name == field);
        write!(
            out,
            "<tr><td><code>{}</code>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(field),
            if needed { NEEDED } else { "" },
            Kind(property),
            Marked(text(property, "description"))
        )?;
    }
    out.push_str("</table></article>");
    Ok(())
}

/// A schema's type in a few words, with links to shapes that have a name.
struct Kind<'a>(&'a Value);

impl Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(schema) = self;
        if let Some(reference) = schema["$ref"].as_str() {
            let name = Escaped(reference.rsplit('/').next().unwrap_or(reference));
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
struct Escaped<'a>(&'a str);

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
struct Marked<'a>(&'a str);

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

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, member)| (name.as_str(), member))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_operation_and_shape_of_the_document_is_on_the_page_and_every_link_leads_somewhere() {
        let document = super::super::document();
        let page = of(&document);
        let schemas = entries(&document["components"]["schemas"]).map(|(name, _)| name.to_owned());
        let ids = members(&document["tags"]).flat_map(|tag| {
            let page = Page { document: &document };
            page.operations(text(tag, "name")).iter().map(|one| one.id().to_owned()).collect::<Vec<_>>()
        });
        for id in schemas.chain(ids) {
            assert!(page.contains(&format!("<article id=\"{id}\">")), "{id}");
        }
        for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
        }
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = of(&super::super::document());
        for loader in ["<script", "<link", "<img", "<iframe", " src=", "url(", "@import"] {
            assert!(!page.contains(loader), "{loader}");
        }
        assert!(policy().starts_with("default-src 'none'; style-src 'sha256-"));
    }

    #[test]
    fn text_is_shown_and_never_read_as_html() {
        assert_eq!(Marked("a `<b>` & \"c\"").to_string(), "<p>a <code>&lt;b&gt;</code> &amp; &quot;c&quot;</p>");
        let schema =
            json!({ "oneOf": [{ "type": ["string", "null"] }, { "type": "array", "items": { "$ref": "#/x/Y" } }] });
        assert_eq!(Kind(&schema).to_string(), "string or null or array of <a href=\"#Y\">Y</a>");
    }
}
