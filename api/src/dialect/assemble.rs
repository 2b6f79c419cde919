//! One whole answer out of an upstream stream.

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fast::Shapes;
use super::render::{Head, Usage, put, quoted};
use super::wire::{self, Channel, Choice, Delta, FinishReason, MAX_TOOL, UpstreamUsage};
use super::{Error, Kind};
use crate::tokenizer::Counter;

/// Collects the events of a stream into a `chat.completion`.
#[derive(Debug, Default)]
pub struct Assembler {
    shapes: Shapes,
    choices: Vec<Answer>,
    usage: Option<UpstreamUsage>,
}

/// What the answer says besides the model's words.
#[derive(Clone, Copy, Debug)]
pub struct Tail<'a> {
    /// The provider that served.
    pub provider: Option<&'a str>,
    /// The service tier that applied.
    pub service_tier: &'a str,
    /// Usage and cost.
    pub usage: Option<&'a Usage>,
}

/// One choice. Texts are kept as the insides of string literals, as they came and as they leave.
#[derive(Debug, Default)]
struct Answer {
    content: String,
    reasoning: String,
    refusal: String,
    tools: Vec<Call>,
    function: Call,
    logprobs: String,
    refusal_logprobs: String,
    finish: Option<(FinishReason, Option<String>)>,
}

#[derive(Debug, Default)]
struct Call {
    id: Option<String>,
    name: String,
    arguments: String,
}

impl Assembler {
    /// An assembler for one answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one upstream event, and appends the text in it to `counter`.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Upstream`]; the upstream stream is of no further use.
    pub fn push(&mut self, data: &[u8], counter: &mut Counter) -> Result<Kind, Error> {
        if let Some((shape, text)) = self.shapes.find(data) {
            counter.push_literal(shape.choice, shape.channel, text);
            let (choice, channel) = (shape.choice as usize, shape.channel);
            let text = std::str::from_utf8(text).map_err(|error| Error::Malformed(error.to_string()))?;
            self.choices[choice].text(channel).push_str(text);
            return Ok(if channel == Channel::Reasoning { Kind::Reasoning } else { Kind::Content });
        }
        if let Some(kind) = wire::without_json(data) {
            return Ok(kind);
        }
        let chunk = wire::parse(data)?;
        let usage = chunk.usage();
        self.usage = usage.or(self.usage);
        let choices = chunk.choices.as_deref().unwrap_or_default();
        if choices.is_empty() {
            return Ok(if usage.is_some() { Kind::UsageOnly } else { Kind::Empty });
        }
        let mut kind = Kind::Empty;
        for choice in choices {
            let brought = self.choice(choice, counter)?;
            if kind == Kind::Empty || brought.is_generated() {
                kind = brought;
            }
        }
        if let ([choice], true) = (choices, chunk.is_plain())
            && !choice.has_finish()
            && choice.logprobs.is_none()
            && self.finish_reason(choice.index).is_none()
            && let Some((channel, text)) = choice.delta.as_ref().and_then(Delta::only_text)
        {
            self.shapes.learn(choice.index, channel, data, text, Default::default());
        }
        Ok(kind)
    }

    /// Usage as the provider last counted it.
    pub fn usage(&self) -> Option<UpstreamUsage> {
        self.usage
    }

    /// How a choice ended, once it has.
    pub fn finish_reason(&self, choice: u32) -> Option<FinishReason> {
        self.choices.get(choice as usize)?.finish.as_ref().map(|(reason, _)| *reason)
    }

    /// Whether `n` choices have ended.
    pub fn is_complete(&self, n: u32) -> bool {
        self.choices.iter().filter(|choice| choice.finish.is_some()).count() >= n as usize
    }

    /// Writes the answer.
    pub fn finish(self, head: &Head, tail: Tail<'_>) -> Vec<u8> {
        let size: usize = self.choices.iter().map(|c| c.content.len() + 2 * c.reasoning.len() + c.logprobs.len()).sum();
        let mut out = BytesMut::with_capacity(size + 768);
        put(
            &mut out,
            format_args!(
                "{{\"id\":{},\"object\":\"chat.completion\",\"created\":{},\"model\":{},",
                head.id, head.created, head.model
            ),
        );
        if let Some(provider) = tail.provider {
            put(&mut out, format_args!("\"provider\":{},", quoted(provider)));
        }
        put(&mut out, format_args!("\"service_tier\":{},\"choices\":[", quoted(tail.service_tier)));
        for (index, answer) in (0..).zip(&self.choices) {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            answer.write(&mut out, head, index);
        }
        out.extend_from_slice(b"]");
        if let Some(usage) = tail.usage {
            out.extend_from_slice(b",\"usage\":");
            usage.write(&mut out);
        }
        out.extend_from_slice(b"}");
        out.into()
    }

    fn choice(&mut self, choice: &Choice<'_>, counter: &mut Counter) -> Result<Kind, Error> {
        let index = choice.index;
        let mut kind = Kind::Empty;
        while self.choices.len() <= index as usize {
            self.choices.push(Answer::default());
            kind = Kind::Role;
        }
        let answer = &mut self.choices[index as usize];
        if answer.finish.is_some() {
            return Ok(kind);
        }
        if let Some(delta) = &choice.delta {
            let texts = [
                (Channel::Reasoning, Kind::Reasoning, delta.reasoning()?),
                (Channel::Content, Kind::Content, delta.content()?),
                (Channel::Refusal, Kind::Content, delta.refusal()?),
            ];
            for (channel, brought, text) in texts {
                let Some(text) = text else { continue };
                counter.push_literal(index, channel, text.as_bytes());
                answer.text(channel).push_str(text);
                kind = brought;
            }
            if answer.calls(index, delta, counter)? {
                kind = Kind::ToolCall;
            }
        }
        if let Some(logprobs) = choice.logprobs {
            answer.add_logprobs(logprobs.get())?;
        }
        if let Some((reason, word)) = choice.finish()? {
            let native = (word != reason.as_str()).then(|| word.into_owned());
            answer.finish = Some((reason, native));
            self.shapes.forget(index);
            if !kind.is_generated() {
                kind = Kind::Finish;
            }
        }
        Ok(kind)
    }
}

impl Answer {
    fn text(&mut self, channel: Channel) -> &mut String {
        match channel {
            Channel::Reasoning => &mut self.reasoning,
            Channel::Refusal => &mut self.refusal,
            Channel::Content | Channel::Tool => &mut self.content,
        }
    }

    fn calls(&mut self, choice: u32, delta: &Delta<'_>, counter: &mut Counter) -> Result<bool, Error> {
        let mut any = false;
        for (position, fragment) in delta.tool_calls.iter().flatten().enumerate() {
            let index = fragment.index.unwrap_or(u32::try_from(position).unwrap_or(u32::MAX));
            if index > MAX_TOOL {
                return Err(Error::Malformed("a tool call index is out of range".to_owned()));
            }
            while self.tools.len() <= index as usize {
                self.tools.push(Call::default());
            }
            let call = &mut self.tools[index as usize];
            if let (None, Some(id)) = (&call.id, fragment.id.as_deref().filter(|id| !id.is_empty())) {
                call.id = Some(id.to_owned());
            }
            if let Some(function) = &fragment.function {
                call.add(function, choice, counter)?;
            }
            any = true;
        }
        if let Some(function) = &delta.function_call {
            self.function.add(function, choice, counter)?;
            any = true;
        }
        Ok(any)
    }

    fn add_logprobs(&mut self, raw: &str) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Logprobs<'a> {
            #[serde(borrow, default)]
            content: Option<Vec<&'a RawValue>>,
            #[serde(borrow, default)]
            refusal: Option<Vec<&'a RawValue>>,
        }
        let read: Logprobs<'_> = serde_json::from_str(raw).map_err(|error| Error::Malformed(error.to_string()))?;
        for (into, entries) in [(&mut self.logprobs, read.content), (&mut self.refusal_logprobs, read.refusal)] {
            for entry in entries.iter().flatten() {
                if !into.is_empty() {
                    into.push(',');
                }
                into.push_str(entry.get());
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut BytesMut, head: &Head, index: u32) {
        put(out, format_args!("{{\"index\":{index},\"message\":{{\"role\":\"assistant\",\"content\":"));
        let called = self.tools.iter().any(Call::is_named) || self.function.is_named();
        if self.content.is_empty() && (called || !self.refusal.is_empty()) {
            out.extend_from_slice(b"null");
        } else {
            put(out, format_args!("\"{}\"", self.content));
        }
        match self.refusal.as_str() {
            "" => out.extend_from_slice(b",\"refusal\":null"),
            refusal => put(out, format_args!(",\"refusal\":\"{refusal}\"")),
        }
        if !self.reasoning.is_empty() {
            let reasoning = &self.reasoning;
            put(out, format_args!(",\"reasoning\":\"{reasoning}\",\"reasoning_content\":\"{reasoning}\""));
        }
        self.write_calls(out, head, index);
        out.extend_from_slice(b",\"annotations\":[]},\"logprobs\":");
        match (self.logprobs.as_str(), self.refusal_logprobs.as_str()) {
            ("", "") => out.extend_from_slice(b"null"),
            (content, "") => put(out, format_args!("{{\"content\":[{content}],\"refusal\":null}}")),
            ("", refusal) => put(out, format_args!("{{\"content\":null,\"refusal\":[{refusal}]}}")),
            (content, refusal) => put(out, format_args!("{{\"content\":[{content}],\"refusal\":[{refusal}]}}")),
        }
        match &self.finish {
            None => out.extend_from_slice(b",\"finish_reason\":null}"),
            Some((reason, None)) => put(out, format_args!(",\"finish_reason\":\"{}\"}}", reason.as_str())),
            Some((reason, Some(word))) => put(
                out,
                format_args!(",\"finish_reason\":\"{}\",\"native_finish_reason\":{}}}", reason.as_str(), quoted(word)),
            ),
        }
    }

    fn write_calls(&self, out: &mut BytesMut, head: &Head, choice: u32) {
        let mut separator = ",\"tool_calls\":[";
        for (index, call) in (0..).zip(&self.tools).filter(|(_, call)| call.is_named()) {
            let id = call.id.as_deref().filter(|id| id.starts_with("call_")).map(str::to_owned);
            let id = quoted(&id.unwrap_or_else(|| head.call_id(choice, index)));
            let Call { name, arguments, .. } = call;
            put(
                out,
                format_args!(
                    "{separator}{{\"id\":{id},\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"arguments\":\"{arguments}\"}}}}"
                ),
            );
            separator = ",";
        }
        if separator == "," {
            out.extend_from_slice(b"]");
        }
        if self.function.is_named() {
            let Call { name, arguments, .. } = &self.function;
            put(out, format_args!(",\"function_call\":{{\"name\":\"{name}\",\"arguments\":\"{arguments}\"}}"));
        }
    }
}

impl Call {
    fn is_named(&self) -> bool {
        !self.name.is_empty()
    }

    fn add(&mut self, function: &wire::FunctionFragment<'_>, choice: u32, counter: &mut Counter) -> Result<(), Error> {
        if let Some(name) = function.name()?.filter(|_| self.name.is_empty()) {
            self.name.push_str(name);
            counter.push_literal(choice, Channel::Tool, name.as_bytes());
        }
        let arguments = function.arguments()?;
        counter.push_literal(choice, Channel::Tool, arguments.as_bytes());
        self.arguments.push_str(&arguments);
        Ok(())
    }
}
