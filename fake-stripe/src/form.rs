//! What Stripe's clients send: form fields with brackets in their names, in a query or in a body.

use std::collections::{BTreeMap, HashMap};

use crate::refusal::Refusal;

/// Fields by their whole name, such as `line_items[0][quantity]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads `a=1&b[c]=2`; percent signs are decoded in names as well as in values.
    #[must_use]
    pub fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The text of a field; an empty one counts as absent, which is how a client unsets it.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The text of a field that must be there.
    ///
    /// # Errors
    /// The refusal Stripe answers with.
    pub fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or_else(|| Refusal::missing(name))
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is not one.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = text.parse().map_err(|_| Refusal::invalid(name, format!("Invalid integer: {text}")))?;
        Ok(Some(parsed))
    }

    /// A whole number that must be there and above zero.
    ///
    /// # Errors
    /// When it is not.
    pub fn amount(&self, name: &str) -> Result<i64, Refusal> {
        match self.int(name)? {
            Some(amount) if amount > 0 => Ok(amount),
            Some(_) => Err(Refusal::invalid(name, "This value must be greater than or equal to 1.")),
            None => Err(Refusal::missing(name)),
        }
    }

    /// True for `true` alone.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// The fields `name[…]`, by what is inside the brackets.
    #[must_use]
    pub fn map(&self, name: &str) -> HashMap<String, String> {
        let inside = |key: &str| Some(key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?.to_owned());
        let with_key = |(key, value): (&String, &String)| Some((inside(key)?, value.clone()));
        self.0.iter().filter_map(with_key).collect()
    }

    /// The values of `name[]` or `name[0]`, `name[1]`, ….
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut entries: Vec<_> = self.map(name).into_iter().collect();
        entries.sort();
        entries.into_iter().map(|(_, value)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_name_members_of_maps_and_lists() {
        let form = Form::parse(b"amount=500&metadata[topup_id]=t%201&expand%5B0%5D=a&expand%5B1%5D=b&a[b][c]=1");
        assert_eq!(form.amount("amount").ok(), Some(500));
        assert_eq!(form.map("metadata"), HashMap::from([("topup_id".to_owned(), "t 1".to_owned())]));
        assert_eq!(form.list("expand"), ["a", "b"]);
        assert_eq!(form.text("a[b][c]"), Some("1"));
        assert_eq!(form.need("nothing").err().map(|refusal| refusal.status), Some(400));
    }
}
