//! What a run asks of the broker: one TOML file, and a seed that decides the rest.

use std::path::Path;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::arrivals::{Spread, normal};

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Printed above the tables.
    pub name: String,
    /// What is asked for; `--model` overrides it.
    pub model: String,
    /// Decides arrivals, mix, lengths and words.
    #[serde(default = "one")]
    pub seed: u64,
    /// How long requests are started, warm-up included.
    pub duration_s: f64,
    /// Requests started this early are sent and billed, and left out of the percentiles.
    #[serde(default)]
    pub warmup_s: f64,
    /// Most connections open at once. A request that waits for one has already begun to count.
    #[serde(default = "many")]
    pub connections: usize,
    /// How long the last answers may take after the last start.
    #[serde(default = "minute")]
    pub drain_s: f64,
    /// When requests start.
    pub arrivals: Spread,
    /// Kinds of requests; shares are relative.
    pub mix: Vec<Kind>,
}

const fn one() -> u64 {
    1
}

const fn many() -> usize {
    1_024
}

const fn minute() -> f64 {
    60.0
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Its weight among the kinds.
    pub share: f64,
    /// Streamed or in one piece.
    pub stream: bool,
    /// Words of the prompt: about as many tokens.
    pub prompt_words: Length,
    /// Sent as `max_tokens`; simulated engines say exactly that much.
    pub output_tokens: Length,
    /// Share of these streams whose client leaves after a few chunks.
    #[serde(default)]
    pub leave_share: f64,
}

/// How long something is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Length {
    /// Always this.
    Fixed(u32),
    /// Evenly between, both included.
    Uniform {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// As prompts and answers of people are: many short, few very long.
    LogNormal {
        /// Half are below.
        median: f64,
        /// Standard deviation of the logarithm; 1.0 to 1.5 is usual.
        sigma: f64,
        /// Cut here.
        max: u32,
    },
}

impl Length {
    fn draw(self, rng: &mut StdRng) -> u32 {
        match self {
            Self::Fixed(length) => length,
            Self::Uniform { min, max } => rng.random_range(min..=max),
            // A cast from a float saturates, so the tail is cut rather than wrapped.
            Self::LogNormal { median, sigma, max } => ((median * (sigma * normal(rng)).exp()).round() as u32).min(max),
        }
        .max(1)
    }

    fn is_sound(self) -> bool {
        match self {
            Self::Fixed(length) => length > 0,
            Self::Uniform { min, max } => 0 < min && min <= max,
            Self::LogNormal { median, sigma, max } => median >= 1.0 && (0.0..=4.0).contains(&sigma) && max > 0,
        }
    }
}

/// One request, ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Streamed or in one piece.
    pub stream: bool,
    /// The JSON body.
    pub body: Bytes,
    /// The client leaves after this many content chunks.
    pub leave_after: Option<u32>,
}

impl Ask {
    /// A chat request with one user message.
    #[must_use]
    pub fn chat(model: &str, prompt: &str, max_tokens: u32, stream: bool) -> Self {
        let mut body = serde_json::json!({
            "model": model, "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": prompt}],
        });
        if stream {
            body["stream"] = true.into();
            // Without it a stream does not say what it cost.
            body["stream_options"] = serde_json::json!({"include_usage": true});
        }
        Self { stream, body: body.to_string().into(), leave_after: None }
    }
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file can't be read, is no scenario, or holds a number that makes no sense.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file(path, "reading the scenario"))?;
        Self::parse(&text).map_err(|error| Error::Invalid(format!("{}: {error}", path.display())))
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the key at fault.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let scenario: Self = toml::from_str(text).map_err(|error| Error::Invalid(error.to_string()))?;
        match scenario.fault() {
            Some(fault) => Err(Error::Invalid(fault.to_owned())),
            None => Ok(scenario),
        }
    }

    fn fault(&self) -> Option<&'static str> {
        let shares_ok = |kind: &Kind| kind.share >= 0.0 && (0.0..=1.0).contains(&kind.leave_share);
        if !(self.duration_s > 0.0 && self.duration_s <= 86_400.0) {
            Some("duration_s: above zero, at most a day")
        } else if !(0.0..self.duration_s).contains(&self.warmup_s) {
            Some("warmup_s: from zero to less than duration_s")
        } else if self.connections == 0 {
            Some("connections: at least one")
        } else if !(0.0..=3_600.0).contains(&self.drain_s) {
            Some("drain_s: at most an hour")
        } else if !self.mix.iter().all(shares_ok) || !self.mix.iter().any(|kind| kind.share > 0.0) {
            Some("mix: shares are zero or more and one is above zero; leave_share is at most 1")
        } else if !self.mix.iter().all(|kind| kind.prompt_words.is_sound() && kind.output_tokens.is_sound()) {
            Some("mix: lengths are at least 1, min is at most max, sigma is at most 4")
        } else {
            self.arrivals.fault()
        }
    }

    /// The requests, in the order they start, without end.
    #[must_use]
    pub fn asks(&self) -> Asks<'_> {
        // Apart from the arrivals' seed: changing the mix leaves the start times as they were.
        Asks { scenario: self, rng: StdRng::seed_from_u64(self.seed ^ 0x6d69_7865_645f_6173) }
    }
}

/// An endless row of requests.
#[derive(Debug)]
pub struct Asks<'a> {
    scenario: &'a Scenario,
    rng: StdRng,
}

impl Iterator for Asks<'_> {
    type Item = Ask;

    fn next(&mut self) -> Option<Ask> {
        let mix = &self.scenario.mix;
        let mut point = self.rng.random::<f64>() * mix.iter().map(|kind| kind.share).sum::<f64>();
        let kind = mix.iter().find(|kind| {
            point -= kind.share;
            point < 0.0
        });
        // Rounding can leave the point a hair past the last share.
        let kind = kind.or(mix.last())?;
        let words = kind.prompt_words.draw(&mut self.rng);
        let prompt = self.prompt(words);
        let max_tokens = kind.output_tokens.draw(&mut self.rng);
        let mut ask = Ask::chat(&self.scenario.model, &prompt, max_tokens, kind.stream);
        if kind.stream && self.rng.random::<f64>() < kind.leave_share {
            ask.leave_after = Some(self.rng.random_range(1..=max_tokens.div_ceil(2)));
        }
        Some(ask)
    }
}

/// Common words: most tokenizers have each as one token.
const WORDS: [&str; 32] = [
    "the", "of", "and", "to", "in", "is", "for", "that", "with", "on", "as", "are", "this", "by", "from", "or", "time",
    "people", "year", "way", "day", "world", "life", "hand", "part", "place", "work", "week", "case", "point", "house",
    "water",
];

impl Asks<'_> {
    fn prompt(&mut self, words: u32) -> String {
        let mut text = String::with_capacity(words as usize * 5);
        for _ in 0..words {
            text.push_str(WORDS[self.rng.random_range(0..WORDS.len())]);
            text.push(' ');
        }
        text
    }
}
