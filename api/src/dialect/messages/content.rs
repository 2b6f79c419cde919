//! Blocks that say something, into what a chat message says.

use std::borrow::Cow;

use super::members::{Members, inside};
use crate::envelope::fields::{list, one_of, wrong_type};
use crate::envelope::{Invalid, MAX_PARTS};

/// Fields of any block that are read somewhere.
pub(super) const BLOCK: [&str; 12] = [
    "type",
    "text",
    "source",
    "title",
    "context",
    "content",
    "thinking",
    "id",
    "name",
    "input",
    "tool_use_id",
    "is_error",
];
const SOURCE: [&str; 5] = ["type", "media_type", "data", "url", "content"];

/// Formats an image may have.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// What one chat message says: a string while all of it is text, which every template takes, and parts once
/// something is not.
#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    parts: Vec<Part<'a>>,
}

#[derive(Debug)]
enum Part<'a> {
    /// The inside of a string literal.
    Text(&'a str),
    Image {
        media_type: Cow<'a, str>,
        data: Cow<'a, str>,
    },
    /// The inside of a string literal.
    ImageUrl(&'a str),
    Pdf {
        /// The inside of a string literal.
        name: &'a str,
        data: Cow<'a, str>,
    },
}

impl<'a> Content<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds text, the inside of a string literal; `path` is where it stands.
    pub(super) fn text(&mut self, path: &str, text: &'a str) -> Result<(), Invalid> {
        self.push(path, Part::Text(text))
    }

    /// Adds a string, or a list of blocks.
    pub(super) fn fill(&mut self, path: &str, raw: &'a str) -> Result<(), Invalid> {
        each(path, raw, |block| match block {
            Given::Text(text) => self.text(path, text),
            Given::Block(block) => self.add(&block),
        })
    }

    /// Adds a block that says something.
    pub(super) fn add(&mut self, block: &Members<'a>) -> Result<(), Invalid> {
        match block.kind()?.as_ref() {
            "text" => self.text(block.path(), block.need_text("text")?),
            "image" => self.image(block),
            "document" => self.document(block),
            "search_result" => {
                for lead in [block.need_text("title")?, block.need_text("source")?] {
                    self.text(block.path(), lead)?;
                }
                self.fill(&block.at("content"), block.need("content")?)
            }
            _ => Err(misplaced(block)),
        }
    }

    fn image(&mut self, block: &Members<'a>) -> Result<(), Invalid> {
        let source = Members::read(&block.at("source"), block.need("source")?, &SOURCE)?;
        let part = match source.kind()?.as_ref() {
            "base64" => {
                let media_type = one_of(&source.at("media_type"), source.need("media_type")?, &IMAGES)?;
                Part::Image { media_type, data: base64(&source)? }
            }
            "url" => match source.need_text("url")? {
                "" => return Err(Invalid::at(source.at("url"), "an image's address is empty")),
                url => Part::ImageUrl(url),
            },
            _ => return Err(unsupported_source(&source, "base64 or url")),
        };
        self.push(block.path(), part)
    }

    fn document(&mut self, block: &Members<'a>) -> Result<(), Invalid> {
        let source = Members::read(&block.at("source"), block.need("source")?, &SOURCE)?;
        let (kind, title) = (source.kind()?, block.text("title")?);
        // A file carries its title as its name; text has no other place for it than before itself.
        let title_leads = title.filter(|_| kind != "base64");
        for lead in [title_leads, block.text("context")?].into_iter().flatten() {
            self.text(block.path(), lead)?;
        }
        match kind.as_ref() {
            "text" => self.text(block.path(), source.need_text("data")?),
            "content" => self.fill(&source.at("content"), source.need("content")?),
            "base64" => {
                one_of(&source.at("media_type"), source.need("media_type")?, &["application/pdf"])?;
                self.push(block.path(), Part::Pdf { name: title.unwrap_or("document.pdf"), data: base64(&source)? })
            }
            _ => Err(unsupported_source(&source, "text, content or base64")),
        }
    }

    fn push(&mut self, path: &str, part: Part<'a>) -> Result<(), Invalid> {
        if self.parts.len() == MAX_PARTS {
            return Err(Invalid::at(path, format!("a message holds at most {MAX_PARTS} blocks")));
        }
        self.parts.push(part);
        Ok(())
    }

    /// Writes the value of a chat message's `content`.
    pub(super) fn write(&self, out: &mut String) {
        let texts: Option<Vec<&str>> = self.parts.iter().map(Part::as_text).collect();
        if let Some(texts) = texts {
            // Engines put a line feed between parts; here it is one inside a literal.
            out.push_str(&format!("\"{}\"", texts.join("\\n")));
            return;
        }
        let mut separator = '[';
        for part in &self.parts {
            out.push(separator);
            separator = ',';
            part.write(out);
        }
        out.push(']');
    }
}

impl Part<'_> {
    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn write(&self, out: &mut String) {
        let pieces: &[&str] = match self {
            Self::Text(text) => &["{\"type\":\"text\",\"text\":\"", text, "\"}"],
            Self::Image { media_type, data } => {
                &["{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:", media_type, ";base64,", data, "\"}}"]
            }
            Self::ImageUrl(url) => &["{\"type\":\"image_url\",\"image_url\":{\"url\":\"", url, "\"}}"],
            Self::Pdf { name, data } => &[
                "{\"type\":\"file\",\"file\":{\"filename\":\"",
                name,
                "\",\"file_data\":\"data:application/pdf;base64,",
                data,
                "\"}}",
            ],
        };
        pieces.iter().for_each(|piece| out.push_str(piece));
    }
}

/// What a `content` gives, one after the other.
pub(super) enum Given<'a> {
    /// All of it is one string; the inside of its literal.
    Text(&'a str),
    /// A block.
    Block(Members<'a>),
}

/// Goes through a `content`: one string, or blocks.
pub(super) fn each<'a>(
    path: &str,
    raw: &'a str,
    mut given: impl FnMut(Given<'a>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    match raw.as_bytes()[0] {
        b'"' => given(Given::Text(inside(path, raw)?)),
        b'[' => list(path, raw, MAX_PARTS, |path, raw| given(Given::Block(Members::read(path, raw, &BLOCK)?))),
        _ => Err(wrong_type(path, raw, "a string or an array of blocks")),
    }
}

/// A block whose kind can't stand where it does, or that only Anthropic's own servers make.
pub(super) fn misplaced(block: &Members<'_>) -> Invalid {
    let at = block.at("type");
    let message = format!("`{at}` names a kind of block that is not supported here");
    Invalid::unsupported(at, message)
}

fn unsupported_source(source: &Members<'_>, known: &str) -> Invalid {
    let at = source.at("type");
    let message = format!("`{at}` must be {known}");
    Invalid::unsupported(at, message)
}

/// Checked for its letters only, so that it can stand in a data URL as it is.
fn base64<'a>(source: &Members<'a>) -> Result<Cow<'a, str>, Invalid> {
    let at = source.at("data");
    let data = crate::envelope::fields::text(&at, source.need("data")?)?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if data.is_empty() || !data.bytes().all(is_base64) {
        return Err(Invalid::at(&at, format!("`{at}` must be base64")));
    }
    Ok(data)
}
