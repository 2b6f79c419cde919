//! A form with a file, as sound comes: read for what routing needs, and written anew for an offer.
//!
//! The boundary is the first line of the body itself, so a form needs nothing beside its bytes.

use std::borrow::Cow;

use http::HeaderValue;
use memchr::memmem;

use super::Invalid;

/// The largest form taken: files of 25 MiB, as OpenAI takes them, and some room for the fields around.
pub const MAX_FORM_BYTES: usize = 25 * 1024 * 1024 + 64 * 1024;
/// How many parts one form may have.
const MAX_PARTS: usize = 64;
/// The longest boundary there may be.
const MAX_BOUNDARY: usize = 70;
/// The longest head of a part: a name, a file's name and a type.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Parts every engine may get. Any other reaches one only when its offer declares it.
const PARTS: [&str; 7] =
    ["file", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]", "include[]"];
/// Parts that speak to the gateway or name a person.
const OURS: [&str; 6] = ["model", "provider", "stream", "user", "metadata", "safety_identifier"];

/// A form, borrowed from its body.
#[derive(Clone, Debug)]
pub struct Form<'a> {
    boundary: &'a str,
    parts: Vec<Part<'a>>,
}

#[derive(Clone, Debug)]
struct Part<'a> {
    name: Cow<'a, str>,
    /// Its headers, as written.
    head: &'a [u8],
    content: &'a [u8],
}

impl<'a> Form<'a> {
    /// Reads a whole form.
    ///
    /// # Errors
    /// [`Invalid`] when it is none, lacks its file, or passes a bound.
    pub fn read(body: &'a [u8]) -> Result<Self, Invalid> {
        let boundary = boundary(body).ok_or_else(|| malformed("it does not begin with its boundary"))?;
        let delimiter = format!("\r\n--{boundary}");
        let finder = memmem::Finder::new(delimiter.as_bytes());
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut rest = &body[2 + boundary.len()..];
        while !rest.starts_with(b"--") {
            if parts.len() == MAX_PARTS {
                return Err(Invalid::new(None, format!("the form has more than {MAX_PARTS} parts")));
            }
            rest = rest.strip_prefix(b"\r\n").ok_or_else(|| malformed("a boundary is followed by something else"))?;
            let end = finder.find(rest).ok_or_else(|| malformed("its last boundary is missing"))?;
            let part = part(&rest[..end])?;
            if parts.iter().any(|other| other.name == part.name) && !part.name.ends_with("[]") {
                return Err(Invalid::at(part.name, "this field appears twice"));
            }
            parts.push(part);
            rest = &rest[end + delimiter.len()..];
        }
        let form = Self { boundary, parts };
        if form.parts.iter().all(|part| part.name != "file") {
            return Err(Invalid::at("file", "`file` is required"));
        }
        Ok(form)
    }

    /// The text of a field; empty counts as absent.
    ///
    /// # Errors
    /// [`Invalid`] when it is no text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Invalid> {
        let Some(part) = self.parts.iter().find(|part| part.name == name) else { return Ok(None) };
        let text =
            std::str::from_utf8(part.content).map_err(|_| Invalid::at(name, format!("`{name}` must be text")))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The form an engine gets: the client's parts, and its own name for the model.
    #[must_use]
    pub fn upstream(&self, model: &str, declared: &[String]) -> Vec<u8> {
        let forwards =
            |name: &str| PARTS.contains(&name) || (!OURS.contains(&name) && declared.iter().any(|known| known == name));
        let parts = self.parts.iter().filter_map(|part| match part.name.as_ref() {
            "model" => Some((part.head, model.as_bytes())),
            name => forwards(name).then_some((part.head, part.content)),
        });
        write(self.boundary, parts)
    }

    /// The same form whatever its boundary: clients draw a new one each time they send it.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        write("", self.parts.iter().map(|part| (part.head, part.content)))
    }
}

fn write<'p>(boundary: &str, parts: impl Iterator<Item = (&'p [u8], &'p [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    for (head, content) in parts {
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        out.extend_from_slice(head);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

/// The type of content a form is sent as.
#[must_use]
pub fn content_type(body: &[u8]) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("multipart/form-data; boundary=\"{}\"", boundary(body)?)).ok()
}

fn boundary(body: &[u8]) -> Option<&str> {
    let line = body.strip_prefix(b"--")?;
    let end = memmem::find(&line[..line.len().min(MAX_BOUNDARY + 2)], b"\r\n")?;
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let boundary = &line[..end];
    (!boundary.is_empty() && boundary.iter().all(plain))
        .then_some(boundary)
        .and_then(|text| std::str::from_utf8(text).ok())
}

fn part(raw: &[u8]) -> Result<Part<'_>, Invalid> {
    let end = memmem::find(&raw[..raw.len().min(MAX_HEAD_BYTES)], b"\r\n\r\n");
    let end = end.ok_or_else(|| malformed("a part has no head, or one without end"))?;
    let (head, content) = (&raw[..end], &raw[end + 4..]);
    let name = std::str::from_utf8(head).ok().and_then(name).ok_or_else(|| malformed("a part has no name"))?;
    Ok(Part { name, head, content })
}

/// The name in a part's disposition.
fn name(head: &str) -> Option<Cow<'_, str>> {
    let is_disposition =
        |line: &&str| line.get(..DISPOSITION.len()).is_some_and(|start| start.eq_ignore_ascii_case(DISPOSITION));
    let mut rest = &head.split("\r\n").find(is_disposition)?[DISPOSITION.len()..];
    loop {
        // What stands before the next parameter is the last one's value, or the kind of disposition.
        rest = rest[rest.find(';')? + 1..].trim_start();
        let (key, value) = rest.split_once('=')?;
        let (value, left) = value_of(value)?;
        if key.trim().eq_ignore_ascii_case("name") {
            return Some(value);
        }
        rest = left;
    }
}

const DISPOSITION: &str = "content-disposition:";

/// The value at the start of `text`, quoted or not, and what follows.
fn value_of(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((Cow::Borrowed(text[..end].trim()), &text[end..]));
    };
    let mut escaped = false;
    for (at, letter) in quoted.char_indices() {
        match letter {
            '"' if !escaped => {
                let value = &quoted[..at];
                let value =
                    if value.contains('\\') { value.replace("\\\"", "\"").into() } else { Cow::Borrowed(value) };
                return Some((value, &quoted[at + 1..]));
            }
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

fn malformed(what: &str) -> Invalid {
    Invalid::new(None, format!("the request body is not a valid form: {what}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FORM: &str = "--b1\r\nContent-Disposition: form-data; filename=\"a;name=\\\"x\\\".wav\"; name=\"file\"\r\n\
                        Content-Type: audio/wav\r\n\r\nRIFF\r\n--b\0\r\n--b1\r\ncontent-disposition: form-data; name=model\r\n\r\n\
                        org/name\r\n--b1\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nsomebody\r\n--b1\r\n\
                        Content-Disposition: form-data; name=\"prompt\"\r\n\r\n\r\n--b1\r\n\
                        Content-Disposition: form-data; name=\"own\"\r\n\r\n1\r\n--b1--\r\n";

    #[test]
    fn a_form_is_written_for_an_offer_with_its_file_untouched() {
        let form = Form::read(FORM.as_bytes()).unwrap();
        assert_eq!((form.text("model").unwrap(), form.text("prompt").unwrap()), (Some("org/name"), None));
        let user = "Content-Disposition: form-data; name=\"user\"\r\n\r\nsomebody\r\n--b1\r\n";
        let expected = FORM.replace("org/name", "engine.gguf").replace(user, "");
        assert_eq!(
            String::from_utf8(form.upstream("engine.gguf", &["own".to_owned(), "user".to_owned()])).unwrap(),
            expected
        );
        let undeclared = String::from_utf8(form.upstream("engine.gguf", &[])).unwrap();
        assert!(!undeclared.contains("own"), "{undeclared}");
        assert_eq!(content_type(FORM.as_bytes()).unwrap(), "multipart/form-data; boundary=\"b1\"");
    }

    #[test]
    fn a_form_is_the_same_under_another_boundary() {
        let canonical = |text: &str| Form::read(text.as_bytes()).unwrap().canonical();
        assert_eq!(canonical(FORM), canonical(&FORM.replace("--b1", "--other")));
        assert_ne!(canonical(FORM), canonical(&FORM.replace("org/name", "org/other")));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let refused = |text: &str| Form::read(text.as_bytes()).unwrap_err().param;
        for broken in ["", "--", "{}", "--b1\r\n", "--b1\r\n\r\nx\r\n--b1--", &FORM.replace("--b1--\r\n", "")] {
            assert_eq!(refused(broken), None, "{broken:?}");
        }
        assert_eq!(
            refused("--b1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b1--").as_deref(),
            Some("file")
        );
        let part = "\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n1\r\n--b1";
        assert_eq!(refused(&format!("--b1{part}{part}--")).as_deref(), Some("file"));
        let many = "\r\nContent-Disposition: form-data; name=\"a[]\"\r\n\r\n1\r\n--b1".repeat(MAX_PARTS + 1);
        assert_eq!(refused(&format!("--b1{many}--")), None);
    }
}
