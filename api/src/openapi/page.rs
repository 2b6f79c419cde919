//! The document as one page of HTML: no script, nothing loaded from anywhere, readable in any browser.

mod html;

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use self::html::{Escaped, Kind, Marked, last_of};

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
        out.push_str("</section><section><h2 id=\"refusals\">Refusals</h2>");
        for (name, response) in entries(&self.document["components"]["responses"]) {
            self.refusal(name, response, out)?;
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
        out.push_str(
            "<a href=\"#shapes\"><strong>Shapes</strong></a><a href=\"#refusals\"><strong>Refusals</strong></a></nav>",
        );
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
            example(content, out)?;
        }
        self.answers(said, out)?;
        out.push_str("</article>");
        Ok(())
    }

    /// The answers of an operation. A refusal that it shares with others is described once, and linked to.
    fn answers(&self, said: &Value, out: &mut String) -> fmt::Result {
        out.push_str("<table><tr><th>Status</th><th>Answer</th><th></th></tr>");
        for (status, response) in entries(&said["responses"]) {
            let (status, described) = (Escaped(status), self.resolved(response));
            let description = Marked(text(described, "description"));
            if let Some(name) = last_of(response) {
                let name = Escaped(name);
                write!(out, "<tr><td>{status}</td><td>{description}</td><td>")?;
                write!(out, "<a href=\"#{REFUSAL}{name}\">{name}</a></td></tr>")?;
                continue;
            }
            write!(out, "<tr><td>{status}</td><td>{description}</td><td>")?;
            for (media, content) in entries(&described["content"]) {
                write!(out, "<p><code>{}</code> {}</p>", Escaped(media), Kind(&content["schema"]))?;
            }
            out.push_str("</td></tr>");
        }
        out.push_str("</table>");
        for (status, response) in entries(&said["responses"]) {
            for (media, content) in
                entries(&response["content"]).filter(|(_, content)| content.get("example").is_some())
            {
                write!(out, "<p>{} in <code>{}</code>, such as</p>", Escaped(status), Escaped(media))?;
                example(content, out)?;
            }
        }
        Ok(())
    }

    fn refusal(&self, name: &str, response: &Value, out: &mut String) -> fmt::Result {
        let (name, description) = (Escaped(name), Marked(text(response, "description")));
        write!(out, "<article id=\"{REFUSAL}{name}\"><h3>{name}</h3>{description}<table>")?;
        for (header, said) in entries(&response["headers"]) {
            let description = Marked(text(self.resolved(said), "description"));
            write!(out, "<tr><td><code>{}</code></td><td>{description}</td></tr>", Escaped(header))?;
        }
        out.push_str("</table>");
        for (_, content) in entries(&response["content"]) {
            write!(out, "<p>{}</p>", Kind(&content["schema"]))?;
            example(content, out)?;
        }
        out.push_str("</article>");
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
/// Before a refusal's name in its address: a shape might have the same name.
const REFUSAL: &str = "refusal-";

/// The example of a content, if it has one: text as it is, anything else as JSON.
fn example(content: &Value, out: &mut String) -> fmt::Result {
    match content.get("example") {
        None => Ok(()),
        Some(Value::String(text)) => write!(out, "<pre>{}</pre>", Escaped(text)),
        Some(example) => write!(out, "<pre>{}</pre>", Escaped(&format!("{example:#}"))),
    }
}

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
    use std::collections::BTreeSet;

    use super::*;

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
        let links: BTreeSet<&str> = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        for link in links {
            assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
        }
    }

    #[test]
    fn examples_of_answers_and_refusals_are_on_the_page() {
        let page = of(&super::super::document());
        let shown =
            ["200 in <code>application/json</code>", "200 in <code>text/event-stream</code>", "chat.completion"];
        for text in shown.into_iter().chain(["<article id=\"refusal-TooMany\">", "rate_limit_exceeded"]) {
            assert!(page.contains(text), "{text}");
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
}
