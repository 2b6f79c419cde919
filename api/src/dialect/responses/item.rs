//! Output items: what the model said, in the pieces the dialect tells it in.

use std::fmt::{self, Display, Formatter};

use super::super::wire::Channel;

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    Completed,
    /// The answer was cut while this item was being told.
    Incomplete,
}

/// One item. Texts are the insides of JSON string literals, as they came and as they leave.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) progress: Progress,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// Reasoning, or a message to the user.
    Spoken { reasoning: bool, parts: Vec<Part> },
    /// A call of a function or of a custom tool.
    Call(Call),
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) custom: bool,
    /// A JSON literal.
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// A run of text on one channel.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) channel: Channel,
    pub(super) text: String,
    /// Entries joined by commas.
    pub(super) logprobs: String,
}

impl Part {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, text: String::new(), logprobs: String::new() }
    }

    /// What this part's events are named after.
    pub(super) fn family(&self) -> &'static str {
        match self.channel {
            Channel::Reasoning => "response.reasoning_text",
            Channel::Refusal => "response.refusal",
            Channel::Content | Channel::Tool => "response.output_text",
        }
    }

    /// The members of the event that ends this part, besides where it stands.
    pub(super) fn done(&self) -> impl Display {
        fmt::from_fn(|f| match self.channel {
            Channel::Reasoning => write!(f, "\"text\":\"{}\"", self.text),
            Channel::Refusal => write!(f, "\"refusal\":\"{}\"", self.text),
            Channel::Content | Channel::Tool => {
                write!(f, "\"text\":\"{}\",\"logprobs\":[{}]", self.text, self.logprobs)
            }
        })
    }
}

impl Call {
    /// What this call's events are named after, and the member that holds all of what it takes.
    pub(super) fn family(&self) -> (&'static str, &'static str) {
        if self.custom {
            ("response.custom_tool_call_input", "input")
        } else {
            ("response.function_call_arguments", "arguments")
        }
    }
}

impl Progress {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl Item {
    /// An item that has just opened.
    pub(super) fn new(id: String, body: Body) -> Self {
        Self { id, progress: Progress::Open, body }
    }

    /// The parts of reasoning or a message; none for a call.
    pub(super) fn parts(&self) -> &[Part] {
        match &self.body {
            Body::Spoken { parts, .. } => parts,
            Body::Call(_) => &[],
        }
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { id, progress, body } = self;
        let status = progress.as_str();
        match body {
            Body::Spoken { reasoning, parts } => {
                if *reasoning {
                    write!(f, "{{\"id\":\"{id}\",\"type\":\"reasoning\",\"summary\":[],\"content\":[")?;
                } else {
                    write!(
                        f,
                        "{{\"id\":\"{id}\",\"type\":\"message\",\"status\":\"{status}\",\"role\":\"assistant\","
                    )?;
                    f.write_str("\"content\":[")?;
                }
                joined(f, parts)?;
                f.write_str("]}")
            }
            Body::Call(Call { custom, call_id, name, arguments }) => {
                let (kind, input) =
                    if *custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
                write!(f, "{{\"id\":\"{id}\",\"type\":\"{kind}\",\"status\":\"{status}\",\"call_id\":{call_id},")?;
                write!(f, "\"name\":\"{name}\",\"{input}\":\"{arguments}\"}}")
            }
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { channel, text, logprobs } = self;
        match channel {
            Channel::Reasoning => write!(f, "{{\"type\":\"reasoning_text\",\"text\":\"{text}\"}}"),
            Channel::Refusal => write!(f, "{{\"type\":\"refusal\",\"refusal\":\"{text}\"}}"),
            Channel::Content | Channel::Tool => write!(
                f,
                "{{\"type\":\"output_text\",\"text\":\"{text}\",\"annotations\":[],\"logprobs\":[{logprobs}]}}"
            ),
        }
    }
}

/// Writes values with commas between them.
pub(super) fn joined(f: &mut Formatter<'_>, values: &[impl Display]) -> fmt::Result {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        value.fmt(f)?;
    }
    Ok(())
}
