//! Log probabilities, from an engine's words into the dialect's.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::envelope::json::decode;

#[derive(Deserialize)]
struct Logprobs<'a> {
    #[serde(borrow, default)]
    content: Option<Vec<Entry<'a>>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    token: &'a RawValue,
    #[serde(borrow)]
    logprob: &'a RawValue,
    #[serde(borrow, default)]
    bytes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    top_logprobs: Option<Vec<Entry<'a>>>,
}

/// The entries of a chat chunk's `logprobs`, joined by commas, with every field the dialect requires. Empty where
/// there are none, or none that can be read: they are an extra, and no reason to end an answer.
pub(super) fn entries(raw: &str) -> String {
    let mut out = String::new();
    let Ok(Some(read)) = serde_json::from_str::<Option<Logprobs<'_>>>(raw) else { return out };
    for entry in read.content.iter().flatten() {
        separate(&mut out);
        entry.open(&mut out);
        out.push_str(",\"top_logprobs\":[");
        for (index, top) in entry.top_logprobs.iter().flatten().enumerate() {
            if index > 0 {
                out.push(',');
            }
            top.open(&mut out);
            out.push('}');
        }
        out.push_str("]}");
    }
    out
}

/// Appends entries to a list of them.
pub(super) fn append(list: &mut String, entries: &str) {
    if !entries.is_empty() {
        separate(list);
        list.push_str(entries);
    }
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}

impl Entry<'_> {
    /// Writes the fields shared by a token and its alternatives. Engines that leave `bytes` out mean the token's own.
    fn open(&self, out: &mut String) {
        let token = self.token.get();
        let bytes = match self.bytes {
            Some(bytes) => super::echo::compact(bytes.get()),
            None => format!("{:?}", decode(token).unwrap_or_default().as_bytes()).replace(' ', ""),
        };
        let logprob = self.logprob.get();
        write!(out, "{{\"token\":{token},\"logprob\":{logprob},\"bytes\":{bytes}").expect("text can be appended");
    }
}
