//! Contents of messages and of tools' outputs, as parts of the chat dialect.

use std::borrow::Cow;

use super::missing;
use crate::envelope::fields::{list, object, text, wrong_type};
use crate::envelope::{Invalid, MAX_PARTS};

/// One part, ready for a chat message.
pub(super) enum Part<'a> {
    /// Text, a string literal.
    Text(&'a str),
    /// Anything else, a whole part.
    Other(String),
}

/// Reads a content: a string, or an array of parts, which may be empty.
pub(super) fn read<'a>(path: &str, raw: &'a str) -> Result<Vec<Part<'a>>, Invalid> {
    if raw.starts_with('"') {
        return Ok(vec![Part::Text(raw)]);
    }
    if !raw.starts_with('[') {
        return Err(wrong_type(path, raw, "a string or an array of parts"));
    }
    let mut parts = Vec::new();
    list(path, raw, MAX_PARTS, |path, raw| {
        parts.push(part(path, raw)?);
        Ok(())
    })?;
    Ok(parts)
}

/// Writes a chat message's content. A lone text goes as a string, which every chat template takes.
pub(super) fn write(parts: &[Part<'_>], out: &mut String) {
    match parts {
        [] => out.push_str("\"\""),
        [Part::Text(literal)] => out.push_str(literal),
        parts => {
            for (index, part) in parts.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                match part {
                    Part::Text(literal) => {
                        out.push_str("{\"type\":\"text\",\"text\":");
                        out.push_str(literal);
                        out.push('}');
                    }
                    Part::Other(part) => out.push_str(part),
                }
            }
            out.push(']');
        }
    }
}

/// The text of every part of type `kind`, as insides of string literals. Other types are skipped.
pub(super) fn texts<'a>(path: &str, raw: &'a str, kind: &str) -> Result<Vec<&'a str>, Invalid> {
    let mut texts = Vec::new();
    list(path, raw, MAX_PARTS, |path, raw| {
        let fields = Fields::read(path, raw)?;
        if fields.kind == kind {
            let literal = fields.text.ok_or_else(|| missing(path, "text"))?;
            texts.push(&literal[1..literal.len() - 1]);
        }
        Ok(())
    })?;
    Ok(texts)
}

/// The fields of one part: string literals, nulls counted as absent.
struct Fields<'a> {
    kind: Cow<'a, str>,
    text: Option<&'a str>,
    refusal: Option<&'a str>,
    image_url: Option<&'a str>,
    detail: Option<&'a str>,
    file_id: Option<&'a str>,
    file_url: Option<&'a str>,
    file_data: Option<&'a str>,
    filename: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(path: &str, raw: &'a str) -> Result<Self, Invalid> {
        let mut kind = None;
        let [mut text_, mut refusal, mut image_url, mut detail] = [None; 4];
        let [mut file_id, mut file_url, mut file_data, mut filename] = [None; 4];
        object(path, raw, |path, key, raw| {
            let slot = match key {
                "type" => {
                    kind = Some(text(path, raw)?);
                    return Ok(());
                }
                "text" => &mut text_,
                "refusal" => &mut refusal,
                "image_url" => &mut image_url,
                "detail" => &mut detail,
                "file_id" => &mut file_id,
                "file_url" => &mut file_url,
                "file_data" => &mut file_data,
                "filename" => &mut filename,
                _ => return Ok(()),
            };
            if !raw.starts_with('"') {
                return Err(wrong_type(path, raw, "a string"));
            }
            *slot = Some(raw);
            Ok(())
        })?;
        let kind = kind.ok_or_else(|| missing(path, "type"))?;
        Ok(Self { kind, text: text_, refusal, image_url, detail, file_id, file_url, file_data, filename })
    }
}

fn part<'a>(path: &str, raw: &'a str) -> Result<Part<'a>, Invalid> {
    let fields = Fields::read(path, raw)?;
    match fields.kind.as_ref() {
        "input_text" | "output_text" => Ok(Part::Text(fields.text.ok_or_else(|| missing(path, "text"))?)),
        "refusal" => {
            let refusal = fields.refusal.ok_or_else(|| missing(path, "refusal"))?;
            Ok(Part::Other(format!("{{\"type\":\"refusal\",\"refusal\":{refusal}}}")))
        }
        "input_image" => image(path, &fields).map(Part::Other),
        "input_file" => file(path, &fields).map(Part::Other),
        _ => {
            let allowed = "input_text, input_image, input_file, output_text, refusal";
            Err(Invalid::at(format!("{path}.type"), format!("`{path}.type` must be one of {allowed}")))
        }
    }
}

fn image(path: &str, fields: &Fields<'_>) -> Result<String, Invalid> {
    if fields.file_id.is_some() {
        let message = format!("`{path}` must bring its image as a URL, which may be a data URL");
        return Err(Invalid::unsupported(format!("{path}.file_id"), message));
    }
    let url = fields.image_url.ok_or_else(|| missing(path, "image_url"))?;
    let detail = fields.detail.map_or(String::new(), |raw| format!(",\"detail\":{raw}"));
    Ok(format!("{{\"type\":\"image_url\",\"image_url\":{{\"url\":{url}{detail}}}}}"))
}

fn file(path: &str, fields: &Fields<'_>) -> Result<String, Invalid> {
    if fields.file_url.is_some() {
        let message = format!("`{path}` must bring its file as `file_data`");
        return Err(Invalid::unsupported(format!("{path}.file_url"), message));
    }
    let members: Vec<String> =
        [("file_data", fields.file_data), ("file_id", fields.file_id), ("filename", fields.filename)]
            .into_iter()
            .filter_map(|(key, raw)| raw.map(|raw| format!("\"{key}\":{raw}")))
            .collect();
    if fields.file_data.or(fields.file_id).is_none() {
        return Err(missing(path, "file_data"));
    }
    Ok(format!("{{\"type\":\"file\",\"file\":{{{}}}}}", members.join(",")))
}
