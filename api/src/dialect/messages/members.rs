//! An object's fields, looked up by name.

use std::borrow::Cow;

use crate::envelope::Invalid;
use crate::envelope::fields::{object, text};

/// Those fields of an object that matter here, as they were written. Nulls count as absent.
#[derive(Debug)]
pub(super) struct Members<'a> {
    path: String,
    found: Vec<(&'static str, &'a str)>,
}

impl<'a> Members<'a> {
    /// Reads the object at `path`, keeping the `wanted` fields.
    pub(super) fn read(path: &str, raw: &'a str, wanted: &[&'static str]) -> Result<Self, Invalid> {
        let mut found = Vec::new();
        object(path, raw, |_, key, raw| {
            if let Some(name) = wanted.iter().find(|name| **name == key) {
                found.push((*name, raw));
            }
            Ok(())
        })?;
        Ok(Self { path: path.to_owned(), found })
    }

    /// Where the object stands.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where one of its fields stands.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// A field, as written.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.found.iter().find(|(name, _)| *name == key).map(|(_, raw)| *raw)
    }

    /// A field that must be there.
    pub(super) fn need(&self, key: &str) -> Result<&'a str, Invalid> {
        self.get(key).ok_or_else(|| required(self.at(key)))
    }

    /// The inside of a string's literal, where there is one.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Invalid> {
        self.get(key).map(|raw| inside(&self.at(key), raw)).transpose()
    }

    /// The inside of the literal of a string that must be there.
    pub(super) fn need_text(&self, key: &str) -> Result<&'a str, Invalid> {
        inside(&self.at(key), self.need(key)?)
    }

    /// What the object says it is.
    pub(super) fn kind(&self) -> Result<Cow<'a, str>, Invalid> {
        text(&self.at("type"), self.need("type")?)
    }
}

/// The inside of a string literal, which must hold valid text.
pub(super) fn inside<'a>(path: &str, raw: &'a str) -> Result<&'a str, Invalid> {
    text(path, raw)?;
    Ok(&raw[1..raw.len() - 1])
}

/// Says that a field is missing.
pub(super) fn required(path: impl Into<String>) -> Invalid {
    let path = path.into();
    let message = format!("`{path}` is required");
    Invalid::at(path, message)
}
