//! What an answer repeats of its request.

/// The part of a response object that the request decides, written once and copied into every event that
/// carries the object.
#[derive(Clone, Debug)]
pub struct Echo {
    /// Members of the object, without braces.
    members: String,
    /// Tools declared as custom, by name. Engines call them as they call functions.
    custom: Vec<String>,
    /// Whether the client wants log probabilities.
    logprobs: bool,
}

impl Echo {
    /// Keeps members as they will be written, and what decides how the answer is told.
    pub(super) fn new(members: &[(&str, String)], custom: Vec<String>, logprobs: bool) -> Self {
        let members: Vec<String> = members.iter().map(|(key, raw)| format!("\"{key}\":{raw}")).collect();
        Self { members: members.join(","), custom, logprobs }
    }

    /// Members of the response object.
    pub(super) fn members(&self) -> &str {
        &self.members
    }

    /// Whether a tool was declared as custom; `name` is the inside of a string literal.
    pub(super) fn is_custom(&self, name: &str) -> bool {
        if self.custom.is_empty() {
            return false;
        }
        let name = crate::envelope::json::decode(&format!("\"{name}\"")).map(std::borrow::Cow::into_owned);
        name.is_some_and(|name| self.custom.contains(&name))
    }

    /// Whether the client wants log probabilities.
    pub(super) fn logprobs(&self) -> bool {
        self.logprobs
    }
}

/// A checked JSON text without the white space between its tokens: an event's data is one line.
pub(super) fn compact(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(quote) = rest.find('"') {
        let end = quote + 1 + string_length(&rest.as_bytes()[quote + 1..]);
        out.extend(rest[..quote].split_ascii_whitespace());
        out.push_str(&rest[quote..end]);
        rest = &rest[end..];
    }
    out.extend(rest.split_ascii_whitespace());
    out
}

/// How many bytes a string takes after its opening quote, the closing one included.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::compact;

    #[test]
    fn white_space_goes_outside_of_strings_only() {
        let raw = "{ \"a b\" : [ 1 ,\n\"c \\\" \\\\\" , \"\" ] ,\t\"é\":{ } }";
        assert_eq!(compact(raw), "{\"a b\":[1,\"c \\\" \\\\\",\"\"],\"é\":{}}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the strings hold, a text means the same after it was made compact.
        #[test]
        fn nothing_but_white_space_is_lost(strings in proptest::collection::vec(".{0,12}", 0..6)) {
            let value = serde_json::json!({ "list": strings, "n": [1, 2.5, null, { "k": true }] });
            let pretty = serde_json::to_string_pretty(&value).expect("a value can be written");
            prop_assert_eq!(compact(&pretty), value.to_string());
        }
    }
}
