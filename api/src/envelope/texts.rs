//! Texts that stand for themselves: the prompts of a completion, or what is to become vectors.

use std::borrow::Cow;

use super::Invalid;
use super::fields::{integer, is_number, list, object, text, wrong_type};

/// How many texts one request may bring.
pub const MAX_TEXTS: usize = 2_048;
/// How many tokens one of them may have where it comes as tokens: more than any model's context.
const MAX_TOKENS: usize = 2_097_152;
/// How many choices one answer may have: engines number them, and each is a sequence of its own.
const MAX_CHOICES: u32 = 128;

/// One text, or the tokens of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextInput<'a> {
    /// The text.
    Text(Cow<'a, str>),
    /// Already cut into so many tokens.
    Tokens(u32),
}

/// Reads a string, a list of strings, a list of tokens, or a list of such lists.
pub(super) fn read<'a>(path: &str, raw: &'a str) -> Result<Vec<TextInput<'a>>, Invalid> {
    if raw.starts_with('"') {
        return Ok(vec![one(path, raw)?]);
    }
    if !raw.starts_with('[') {
        return Err(wrong_type(path, raw, "a string or an array"));
    }
    if raw[1..].trim_ascii_start().starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Ok(vec![tokens(path, raw)?]);
    }
    let mut texts = Vec::new();
    list(path, raw, MAX_TEXTS, |path, raw| {
        texts.push(if raw.starts_with('[') { tokens(path, raw)? } else { one(path, raw)? });
        Ok(())
    })?;
    if texts.is_empty() {
        return Err(Invalid::at(path, format!("`{path}` must hold at least one text")));
    }
    Ok(texts)
}

/// Reads what is to be judged: texts, or parts of which some may be pictures; and whether some are.
pub(super) fn judged<'a>(path: &str, raw: &'a str) -> Result<(Option<Vec<TextInput<'a>>>, bool), Invalid> {
    if !raw.starts_with('[') || !raw[1..].trim_ascii_start().starts_with('{') {
        return Ok((Some(read(path, raw)?), false));
    }
    let (mut texts, mut pictures) = (Vec::new(), false);
    list(path, raw, MAX_TEXTS, |path, raw| {
        let mut judged = 0;
        object(path, raw, |path, key, raw| {
            match key {
                "text" => texts.push(one(path, raw)?),
                "image_url" => pictures = true,
                _ => return Ok(()),
            }
            judged += 1;
            Ok(())
        })?;
        if judged == 1 { Ok(()) } else { Err(Invalid::at(path, "a part is a `text` or an `image_url`")) }
    })?;
    Ok((Some(texts), pictures))
}

/// Checks what engines can't: that the answers can be numbered, and that an echo has words.
pub(super) fn check_prompts(prompts: &[TextInput<'_>], n: u32, echo: bool) -> Result<(), Invalid> {
    let choices = u32::try_from(prompts.len()).unwrap_or(u32::MAX).saturating_mul(n);
    if choices > MAX_CHOICES {
        return Err(Invalid::at("prompt", format!("prompts times `n` may be at most {MAX_CHOICES}")));
    }
    if echo && prompts.iter().any(|prompt| matches!(prompt, TextInput::Tokens(_))) {
        return Err(Invalid::unsupported("echo", "a prompt that comes as tokens can't be repeated as text"));
    }
    Ok(())
}

pub(super) fn one<'a>(path: &str, raw: &'a str) -> Result<TextInput<'a>, Invalid> {
    let text = text(path, raw)?;
    if text.is_empty() {
        return Err(Invalid::at(path, format!("`{path}` must not be empty")));
    }
    Ok(TextInput::Text(text))
}

fn tokens<'a>(path: &str, raw: &'a str) -> Result<TextInput<'a>, Invalid> {
    let mut count = 0;
    list(path, raw, MAX_TOKENS, |path, raw| {
        count += 1;
        if is_number(raw) {
            integer(path, raw, 0, i64::from(u32::MAX)).map(drop)
        } else {
            Err(wrong_type(path, raw, "a token"))
        }
    })?;
    if count == 0 {
        return Err(Invalid::at(path, format!("`{path}` must not be empty")));
    }
    Ok(TextInput::Tokens(count))
}
