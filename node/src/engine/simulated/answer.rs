//! Reads a chat or completion request and decides, once, everything its answer will be.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::schema::Format;
use super::{Latency, ms, unix_seconds};

/// What a simulated answer is made of, one word a token. It says what it is.
pub(super) const WORDS: [&str; 16] = [
    "This",
    " answer",
    " is",
    " simulated",
    ":",
    " no",
    " model",
    " ran",
    ",",
    " and",
    " these",
    " words",
    " stand",
    " for",
    " tokens",
    ". ",
];

/// Most choices of one request: beyond what any engine here would run at once.
const MAX_CHOICES: u32 = 128;

/// The few fields of a request that matter here.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    messages: Option<Vec<Message<'a>>>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<i64>,
    #[serde(default)]
    max_completion_tokens: Option<i64>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    stop: Option<Stop>,
    #[serde(default)]
    response_format: Option<Format>,
    /// Which of several forms an answer has that a schema binds.
    #[serde(default)]
    seed: Option<i64>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

/// One answer, decided.
pub(super) struct Plan {
    pub stream: bool,
    pub include_usage: bool,
    pub choices: u32,
    pub prompt_tokens: u32,
    pub tokens: u32,
    pub finish: &'static str,
    pub ttft: Duration,
    pub tpot: Duration,
    form: Form,
    /// What it says in place of [`WORDS`], where a format binds it.
    bound: Option<Vec<String>>,
    model: String,
    id: String,
    created: u64,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Chat,
    Completion,
}

impl Plan {
    /// Decides the answer to `body`, the `number`-th request of this engine. `bounded` heeds the request's limit.
    pub(super) fn read(
        form: Form,
        body: &Bytes,
        model: &str,
        latency: &Latency,
        number: u64,
        bounded: bool,
    ) -> Result<Self, String> {
        let chat: Asked<'_> =
            serde_json::from_slice(body).map_err(|error| format!("the request is unreadable: {error}"))?;
        let prompts = match (form, chat.prompt) {
            (Form::Chat, _) if chat.messages.is_none() => return Err("a chat has messages".to_owned()),
            (Form::Completion, None) => return Err("a completion has a prompt".to_owned()),
            (Form::Completion, Some(prompt)) => prompts(prompt.get()),
            (Form::Chat, _) => 1,
        };
        let asked = chat.max_completion_tokens.or(chat.max_tokens).and_then(|most| u32::try_from(most).ok());
        let asked = asked.filter(|_| bounded);
        let pick = chat.seed.map_or(0, i64::unsigned_abs);
        let bound = chat.response_format.as_ref().and_then(|format| format.tokens(pick));
        let most = bound.as_ref().map_or(latency.tokens, |bound| u32::try_from(bound.len()).unwrap_or(u32::MAX));
        let mut tokens = most.min(asked.unwrap_or(u32::MAX));
        let mut finish = if tokens < most { "length" } else { "stop" };
        if let Some(cut) = chat.stop.as_ref().filter(|_| bound.is_none()).and_then(|stop| stopped_at(stop, tokens)) {
            (tokens, finish) = (cut, "stop");
        }
        let draw = mix(latency.seed ^ mix(number));
        // The top 53 bits are a fraction in [0, 1) that a double holds exactly.
        let fraction = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        let scale = (1.0 + latency.jitter * (2.0 * fraction - 1.0)).max(0.0);
        let messages: usize = chat.messages.iter().flatten().map(|m| m.content.map_or(0, |c| c.get().len()) + 16).sum();
        let prompt_bytes = messages + chat.prompt.map_or(0, |prompt| prompt.get().len());
        Ok(Self {
            stream: chat.stream.unwrap_or(false),
            include_usage: chat.stream_options.is_some_and(|options| options.include_usage),
            choices: chat.n.unwrap_or(1).saturating_mul(prompts).clamp(1, MAX_CHOICES),
            prompt_tokens: u32::try_from(prompt_bytes / 4).unwrap_or(u32::MAX).max(1),
            tokens,
            finish,
            ttft: ms(latency.ttft_ms * scale),
            tpot: ms(latency.tpot_ms * scale),
            form,
            bound,
            model: model.to_owned(),
            id: format!("chatcmpl-{draw:016x}{:016x}", mix(draw)),
            created: unix_seconds(),
        })
    }

    /// From the request's arrival to its last token.
    pub(super) fn total(&self) -> Duration {
        self.ttft + self.tpot * self.tokens.saturating_sub(1)
    }

    fn usage(&self) -> serde_json::Value {
        let completion = u64::from(self.tokens) * u64::from(self.choices);
        json!({
            "completion_tokens": completion, "prompt_tokens": self.prompt_tokens,
            "total_tokens": completion + u64::from(self.prompt_tokens),
            "prompt_tokens_details": {"cached_tokens": 0},
        })
    }

    /// The answer in one piece.
    pub(super) fn whole(&self) -> serde_json::Value {
        let text: String = (0..self.tokens as usize).map(|at| self.word(at)).collect();
        let choices: Vec<_> = (0..self.choices)
            .map(|index| {
                let mut choice = json!({"finish_reason": self.finish, "index": index});
                match self.form {
                    Form::Chat => choice["message"] = json!({"role": "assistant", "content": text}),
                    Form::Completion => choice["text"] = text.as_str().into(),
                }
                choice
            })
            .collect();
        json!({
            "choices": choices, "created": self.created, "model": self.model, "system_fingerprint": "simulated",
            "object": self.object(false), "usage": self.usage(), "id": self.id,
        })
    }

    fn word(&self, at: usize) -> &str {
        self.bound.as_ref().map_or(WORDS[at % WORDS.len()], |bound| &bound[at])
    }

    const fn object(&self, chunk: bool) -> &'static str {
        match (self.form, chunk) {
            (Form::Chat, true) => "chat.completion.chunk",
            (Form::Chat, false) => "chat.completion",
            (Form::Completion, _) => "text_completion",
        }
    }

    /// Everything of an event after its choices.
    fn tail(&self) -> String {
        format!(
            r#""created":{},"id":"{}","model":{},"system_fingerprint":"simulated","object":"{}""#,
            self.created,
            self.id,
            serde_json::Value::from(self.model.as_str()),
            self.object(true),
        )
    }

    /// The chunk that opens the choices: a role, and no content.
    pub(super) fn opening(&self) -> Bytes {
        if self.form == Form::Completion {
            return Bytes::new();
        }
        self.per_choice(r#"null"#, r#"{"role":"assistant","content":null}"#)
    }

    /// One chunk per word, written once and shared by every token that says it.
    pub(super) fn content(&self) -> Vec<Bytes> {
        let kinds = self.tokens as usize;
        let kinds = if self.bound.is_some() { kinds } else { kinds.min(WORDS.len()) };
        (0..kinds).map(|at| self.says(self.word(at))).collect()
    }

    /// The same with several words to a chunk.
    pub(super) fn lumps(&self, tokens: u32) -> Vec<Bytes> {
        let words: String = (0..tokens as usize).map(|at| WORDS[at % WORDS.len()]).collect();
        vec![self.says(&words)]
    }

    fn says(&self, text: &str) -> Bytes {
        let text = serde_json::Value::from(text);
        match self.form {
            Form::Chat => self.per_choice("null", &format!(r#"{{"content":{text}}}"#)),
            Form::Completion => self.per_choice("null", &text.to_string()),
        }
    }

    /// The finish chunk, and the usage chunk if it was asked for.
    pub(super) fn closing(&self) -> Bytes {
        let nothing = if self.form == Form::Chat { "{}" } else { "\"\"" };
        let mut text = self.per_choice(&format!("\"{}\"", self.finish), nothing).to_vec();
        if self.include_usage {
            let usage = format!("data: {{\"choices\":[],{},\"usage\":{}}}\n\n", self.tail(), self.usage());
            text.extend_from_slice(usage.as_bytes());
        }
        text.into()
    }

    fn per_choice(&self, finish: &str, delta: &str) -> Bytes {
        let tail = self.tail();
        let key = if self.form == Form::Chat { "delta" } else { "text" };
        let mut text = String::with_capacity((tail.len() + delta.len() + 72) * self.choices as usize);
        for index in 0..self.choices {
            text.push_str(&format!(
                "data: {{\"choices\":[{{\"finish_reason\":{finish},\"index\":{index},\"{key}\":{delta}}}],{tail}}}\n\n"
            ));
        }
        text.into()
    }
}

/// How many prompts there are: a string or a list of tokens is one.
pub(super) fn prompts(raw: &str) -> u32 {
    match serde_json::from_str::<Vec<&RawValue>>(raw) {
        Ok(list) if list.first().is_some_and(|first| first.get().starts_with(['"', '['])) => {
            u32::try_from(list.len()).unwrap_or(u32::MAX)
        }
        _ => 1,
    }
}

/// After how many whole tokens a stop string cuts the text.
fn stopped_at(stop: &Stop, tokens: u32) -> Option<u32> {
    let stops = match stop {
        Stop::One(one) => std::slice::from_ref(one),
        Stop::Many(many) => many,
    };
    let mut text = String::new();
    for i in 0..tokens {
        text.push_str(WORDS[i as usize % WORDS.len()]);
        if stops.iter().any(|stop| !stop.is_empty() && text.contains(stop.as_str())) {
            return Some(i);
        }
    }
    None
}

/// One step of SplitMix64: cheap, and the same everywhere.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
