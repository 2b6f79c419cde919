//! Log probabilities of completions: parallel arrays, where chat has one object for each token.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Parallel arrays, one place for each token.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Arrays {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Option<BTreeMap<String, f64>>>,
    /// Where each token begins, in characters from the start of the choice's text.
    text_offset: Vec<usize>,
}

/// What engines send: the arrays, or chat's list of tokens.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wire {
    Chat { content: Vec<Token> },
    Arrays(Arrays),
}

#[derive(Deserialize)]
struct Token {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    token: String,
    logprob: f64,
}

/// The log probabilities of one choice so far.
#[derive(Debug, Default)]
pub(super) struct Logprobs {
    all: Option<Arrays>,
    /// Characters of all tokens so far: what a piece's offsets continue from.
    chars: usize,
}

impl Logprobs {
    /// One piece's, in the dialect's form; `None` where there is none or it can't be read, being an extra.
    pub(super) fn piece(&mut self, raw: &str) -> Option<Arrays> {
        if raw == "null" {
            return None;
        }
        let mut piece = match serde_json::from_str(raw).ok()? {
            Wire::Arrays(arrays) => arrays,
            Wire::Chat { content } => Arrays::of(content),
        };
        if piece.tokens.is_empty() {
            return None;
        }
        piece.text_offset.clear();
        for token in &piece.tokens {
            piece.text_offset.push(self.chars);
            self.chars += token.chars().count();
        }
        Some(piece)
    }

    /// Keeps a piece for the whole answer.
    pub(super) fn add(&mut self, piece: Option<Arrays>) {
        let Some(piece) = piece else { return };
        let all = self.all.get_or_insert_default();
        all.tokens.extend(piece.tokens);
        all.token_logprobs.extend(piece.token_logprobs);
        all.top_logprobs.extend(piece.top_logprobs);
        all.text_offset.extend(piece.text_offset);
    }
}

impl Arrays {
    fn of(content: Vec<Token>) -> Self {
        let mut arrays = Self::default();
        for Token { token, logprob, top_logprobs } in content {
            arrays.tokens.push(token);
            arrays.token_logprobs.push(Some(logprob));
            arrays.top_logprobs.push(Some(top_logprobs.into_iter().map(|top| (top.token, top.logprob)).collect()));
        }
        arrays
    }
}

impl fmt::Display for Arrays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Display for Logprobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.all {
            None => f.write_str("null"),
            Some(all) => all.fmt(f),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn chats_tokens_become_arrays_whose_offsets_run_on() {
        let mut logprobs = Logprobs::default();
        let token = |token: &str| {
            json!({"content": [{"token": token, "logprob": -0.5, "bytes": [1], "id": 3,
                "top_logprobs": [{"token": "x", "logprob": -0.5, "bytes": null}]}]})
        };
        for text in ["né", " b"] {
            let piece = logprobs.piece(&token(text).to_string());
            logprobs.add(piece);
        }
        let whole: Value = serde_json::from_str(&logprobs.to_string()).unwrap();
        assert_eq!(
            whole,
            json!({"tokens": ["né", " b"], "token_logprobs": [-0.5, -0.5],
                "top_logprobs": [{"x": -0.5}, {"x": -0.5}], "text_offset": [0, 2]})
        );
    }

    #[test]
    fn arrays_stay_arrays_and_nonsense_is_left_out() {
        let mut logprobs = Logprobs::default();
        let raw = r#"{"tokens":["a"],"token_logprobs":[null],"top_logprobs":[null],"text_offset":[7]}"#;
        let piece = logprobs.piece(raw).unwrap();
        assert_eq!(piece.text_offset, [0]);
        assert!(logprobs.piece("5").is_none() && logprobs.piece("{}").is_none() && logprobs.piece("null").is_none());
        assert_eq!(logprobs.to_string(), "null");
    }
}
