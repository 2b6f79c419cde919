//! The older completions dialect: text in, text out, no roles and no tools.

mod logprobs;

use bytes::{Bytes, BytesMut};

use self::logprobs::Logprobs;
use super::fast::Around;
use super::render::{DONE, InBandError, Usage, put, quoted};
use super::voice::{Said, Tail, Voice};
use super::wire::Channel;

/// What an answer repeats of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    /// The prompts, the insides of string literals, when the client wants them in front of the answers.
    pub prompts: Vec<String>,
    /// Answers to each prompt.
    pub n: u32,
    /// Whether the client's stream ends with usage.
    pub include_usage: bool,
}

/// Says an answer as `text_completion` objects, one for each piece or one for all.
#[derive(Debug)]
pub struct Completions {
    /// An object up to its choices.
    open: String,
    close: &'static str,
    echo: Echo,
    choices: Vec<Choice>,
    streamed: bool,
}

/// One choice. Of a stream only what numbers its log probabilities is kept.
#[derive(Debug, Default)]
struct Choice {
    text: String,
    logprobs: Logprobs,
    finish: Option<&'static str>,
}

impl Completions {
    /// Describes an answer.
    pub fn new(id: &str, created_unix_s: i64, model: &str, echo: Echo, streamed: bool) -> Self {
        let (id, model) = (quoted(id), quoted(model));
        let open = format!(
            "{{\"id\":{id},\"object\":\"text_completion\",\"created\":{created_unix_s},\"model\":{model},\"choices\":["
        );
        let close = if echo.include_usage { "],\"usage\":null}\n\n" } else { "]}\n\n" };
        Self { open, close, echo, choices: Vec::new(), streamed }
    }

    /// Takes a piece of a choice in, and says it where the answer is streamed.
    fn piece(&mut self, index: u32, text: &str, logprobs: &str, finish: Option<&'static str>, out: &mut BytesMut) {
        let needed = index as usize + 1;
        if self.choices.len() < needed {
            self.choices.resize_with(needed, Choice::default);
        }
        let choice = &mut self.choices[index as usize];
        let logprobs = choice.logprobs.piece(logprobs);
        if !self.streamed {
            choice.text.push_str(text);
            choice.logprobs.add(logprobs);
            choice.finish = finish.or(choice.finish);
            return;
        }
        let logprobs = logprobs.map_or_else(|| "null".to_owned(), |piece| piece.to_string());
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(self.open.as_bytes());
        let finish = finish.map_or_else(|| "null".to_owned(), quoted);
        put(
            out,
            format_args!(
                "{{\"text\":\"{text}\",\"index\":{index},\"logprobs\":{logprobs},\"finish_reason\":{finish}}}{}",
                self.close
            ),
        );
    }
}

impl Voice for Completions {
    fn say(&mut self, said: Said<'_>, out: &mut BytesMut) {
        match said {
            Said::Choice { choice } => {
                let prompt = choice.checked_div(self.echo.n).and_then(|at| self.echo.prompts.get(at as usize));
                if let Some(prompt) = prompt.cloned() {
                    self.piece(choice, &prompt, "null", None, out);
                }
            }
            Said::Text { choice, text, logprobs, .. } => self.piece(choice, text, logprobs, None, out),
            Said::Finish { choice, reason, logprobs, .. } => {
                self.piece(choice, "", logprobs, Some(reason.as_str()), out);
            }
            // The dialect has no calls.
            Said::Call { .. } | Said::Arguments { .. } | Said::Function { .. } => {}
        }
    }

    fn around(&self, choice: u32, _: Channel) -> Option<Around> {
        if !self.streamed {
            return None;
        }
        let before = format!("data: {}{{\"text\":\"", self.open);
        let after = format!("\",\"index\":{choice},\"logprobs\":null,\"finish_reason\":null}}{}", self.close);
        Some(Around { before: Bytes::from(before), between: None, after: Bytes::from(after) })
    }

    fn end(&mut self, usage: &Usage, out: &mut BytesMut) {
        if self.echo.include_usage {
            put(out, format_args!("data: {}],\"usage\":", self.open));
            usage.write(out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(DONE);
    }

    fn fail(&mut self, error: InBandError<'_>, out: &mut BytesMut) {
        put(
            out,
            format_args!(
                "data: {}{{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"error\"}}],\"error\":",
                self.open
            ),
        );
        error.write(out);
        out.extend_from_slice(b"}\n\n");
        out.extend_from_slice(DONE);
    }

    fn whole(&mut self, tail: Tail<'_>) -> Vec<u8> {
        let mut out = BytesMut::from(self.open.as_str());
        for (index, choice) in self.choices.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let Choice { text, logprobs, finish } = choice;
            let finish = finish.map_or_else(|| "null".to_owned(), quoted);
            put(
                &mut out,
                format_args!(
                    "{comma}{{\"text\":\"{text}\",\"index\":{index},\"logprobs\":{logprobs},\"finish_reason\":{finish}}}"
                ),
            );
        }
        out.extend_from_slice(b"]");
        if let Some(provider) = tail.provider {
            put(&mut out, format_args!(",\"provider\":{}", quoted(provider)));
        }
        if let Some(usage) = tail.usage {
            out.extend_from_slice(b",\"usage\":");
            usage.write(&mut out);
        }
        out.extend_from_slice(b"}");
        out.into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::FinishReason;

    const ID: &str = "cmpl-0198c1f2a3b47c5d8e9f00112233aabb";

    fn say(voice: &mut Completions) -> String {
        let mut out = BytesMut::new();
        let text = |choice, text| Said::Text { choice, channel: Channel::Content, text, logprobs: "null" };
        let finish = |choice| Said::Finish { choice, reason: FinishReason::Length, native: None, logprobs: "null" };
        for said in [
            Said::Choice { choice: 0 },
            text(0, "a\\n"),
            Said::Choice { choice: 1 },
            text(1, "b"),
            finish(1),
            finish(0),
        ] {
            voice.say(said, &mut out);
        }
        voice.end(&Usage { prompt_tokens: 2, completion_tokens: 2, ..Usage::default() }, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn echo(include_usage: bool) -> Echo {
        Echo { prompts: vec!["p".to_owned(), "q".to_owned()], n: 1, include_usage }
    }

    #[test]
    fn a_stream_repeats_each_prompt_and_ends_with_usage() {
        let told = say(&mut Completions::new(ID, 17, "m", echo(true), true));
        let frames: Vec<&str> = told.split("\n\n").filter(|frame| !frame.is_empty()).collect();
        let parsed: Vec<Value> = frames[..frames.len() - 1]
            .iter()
            .map(|frame| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        let texts: Vec<(u64, &str)> = parsed
            .iter()
            .filter_map(|chunk| chunk["choices"].get(0))
            .map(|choice| (choice["index"].as_u64().unwrap(), choice["text"].as_str().unwrap()))
            .collect();
        assert_eq!(texts, [(0, "p"), (0, "a\n"), (1, "q"), (1, "b"), (1, ""), (0, "")]);
        assert!(parsed.iter().all(|chunk| chunk["object"] == "text_completion" && chunk["id"] == ID));
        assert_eq!(parsed.last().unwrap()["usage"]["total_tokens"], 4);
        assert_eq!(*frames.last().unwrap(), "data: [DONE]");
    }

    #[test]
    fn a_whole_answer_has_its_choices_in_order() {
        let mut voice = Completions::new(ID, 17, "m", echo(false), false);
        say(&mut voice);
        let usage = Usage { prompt_tokens: 2, completion_tokens: 2, ..Usage::default() };
        let whole = voice.whole(Tail { provider: Some("acme"), service_tier: "default", usage: Some(&usage) });
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(
            whole["choices"],
            json!([
                {"text": "pa\n", "index": 0, "logprobs": null, "finish_reason": "length"},
                {"text": "qb", "index": 1, "logprobs": null, "finish_reason": "length"},
            ])
        );
        assert_eq!((&whole["provider"], &whole["usage"]["total_tokens"]), (&json!("acme"), &json!(4)));
    }
}
