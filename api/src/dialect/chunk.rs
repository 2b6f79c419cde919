//! Upstream chunks into ours.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;

use super::fast::Shapes;
use super::render::{Head, put, quoted};
use super::wire::{self, Channel, Choice, Chunk, Delta, FinishReason, MAX_TOOL, ToolFragment, UpstreamUsage};
use super::{Error, Kind};
use crate::tokenizer::Counter;

/// Turns an engine's chunks into the chunks of one answer.
///
/// Every chunk leaves with our id, time and model; a choice's role, a call's id and name appear
/// once; usage and what only engines say are kept back. It may be fed by several upstream streams
/// one after another: what was said once is not said again.
#[derive(Debug)]
pub struct ChunkRewriter {
    head: Arc<Head>,
    shapes: Shapes,
    choices: Vec<ChoiceState>,
    usage: Option<UpstreamUsage>,
}

#[derive(Debug, Default)]
struct ChoiceState {
    tools: Vec<ToolState>,
    function_named: bool,
    finish: Option<FinishReason>,
}

/// How far one tool call has come.
#[derive(Debug, Default)]
struct ToolState {
    id: Option<String>,
    opened: bool,
    /// Arguments that came before the name.
    early: String,
}

impl ChunkRewriter {
    /// A rewriter for one answer.
    pub fn new(head: Arc<Head>) -> Self {
        Self { head, shapes: Shapes::default(), choices: Vec::new(), usage: None }
    }

    /// Appends to `out` what the client gets for one upstream event, and to `counter` the text in
    /// it. On an error `out` is as before.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Upstream`]; the upstream stream is of no further use.
    pub fn rewrite(&mut self, data: &[u8], out: &mut BytesMut, counter: &mut Counter) -> Result<Kind, Error> {
        if let Some((shape, text)) = self.shapes.find(data) {
            out.extend_from_slice(&shape.out[0]);
            out.extend_from_slice(text);
            if shape.channel == Channel::Reasoning {
                out.extend_from_slice(b"\",\"reasoning_content\":\"");
                out.extend_from_slice(text);
            }
            out.extend_from_slice(&shape.out[1]);
            counter.push_literal(shape.choice, shape.channel, text);
            return Ok(kind_of(shape.channel));
        }
        if let Some(kind) = wire::without_json(data) {
            return Ok(kind);
        }
        let start = out.len();
        let written = self.rewrite_parsed(data, out, counter);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// Usage as the provider last counted it.
    pub fn usage(&self) -> Option<UpstreamUsage> {
        self.usage
    }

    /// How a choice ended, once it has.
    pub fn finish(&self, choice: u32) -> Option<FinishReason> {
        self.choices.get(choice as usize)?.finish
    }

    /// Whether `n` choices have ended.
    pub fn is_complete(&self, n: u32) -> bool {
        self.choices.iter().filter(|choice| choice.finish.is_some()).count() >= n as usize
    }

    /// How many choices have opened.
    pub fn opened(&self) -> u32 {
        u32::try_from(self.choices.len()).unwrap_or(u32::MAX)
    }

    /// Makes the next event take the slow path.
    #[cfg(test)]
    pub(super) fn forget_shapes(&mut self) {
        self.shapes = Shapes::default();
    }

    fn rewrite_parsed(&mut self, data: &[u8], out: &mut BytesMut, counter: &mut Counter) -> Result<Kind, Error> {
        let chunk = wire::parse(data)?;
        let usage = chunk.usage();
        self.usage = usage.or(self.usage);
        let choices = chunk.choices.as_deref().unwrap_or_default();
        if choices.is_empty() {
            return Ok(if usage.is_some() { Kind::UsageOnly } else { Kind::Empty });
        }
        let mut kind = Kind::Empty;
        for choice in choices {
            kind = stronger(kind, self.choice(choice, out, counter)?);
        }
        self.learn(&chunk, data);
        Ok(kind)
    }

    fn choice(&mut self, choice: &Choice<'_>, out: &mut BytesMut, counter: &mut Counter) -> Result<Kind, Error> {
        let index = choice.index;
        let mut kind = Kind::Empty;
        while self.opened() <= index {
            self.head.role(out, self.opened());
            self.choices.push(ChoiceState::default());
            kind = Kind::Role;
        }
        // Nothing follows a finish, whatever the engine sends.
        if self.choices[index as usize].finish.is_some() {
            return Ok(kind);
        }
        let mut logprobs = choice.logprobs.map_or("null", |raw| raw.get());
        if let Some(delta) = &choice.delta {
            let texts = [
                (Channel::Reasoning, delta.reasoning()?),
                (Channel::Content, delta.content()?),
                (Channel::Refusal, delta.refusal()?),
            ];
            for (channel, text) in texts {
                let Some(text) = text else { continue };
                // Log probabilities are the content's; without content they go with what there is.
                let mine = channel != Channel::Reasoning || texts[1].1.is_none();
                let mine = if mine { std::mem::replace(&mut logprobs, "null") } else { "null" };
                self.head.text(out, index, channel, text, mine);
                counter.push_literal(index, channel, text.as_bytes());
                kind = stronger(kind, kind_of(channel));
            }
            kind = stronger(kind, self.calls(index, delta, &mut logprobs, out, counter)?);
        }
        if let Some((reason, word)) = choice.finish()? {
            self.end(index, reason, &word, logprobs, out);
            kind = stronger(kind, Kind::Finish);
        }
        Ok(kind)
    }

    fn calls(
        &mut self,
        choice: u32,
        delta: &Delta<'_>,
        logprobs: &mut &str,
        out: &mut BytesMut,
        counter: &mut Counter,
    ) -> Result<Kind, Error> {
        let mut kind = Kind::Empty;
        let mut fragments = String::new();
        for (position, fragment) in delta.tool_calls.iter().flatten().enumerate() {
            let place = u32::try_from(position).unwrap_or(u32::MAX);
            self.fragment(choice, fragment.index.unwrap_or(place), fragment, &mut fragments, counter)?;
            kind = Kind::ToolCall;
        }
        if !fragments.is_empty() {
            self.head.open(out, choice);
            put(out, format_args!("\"tool_calls\":[{fragments}]"));
            self.head.close(out, std::mem::replace(logprobs, "null"), "null");
        }
        if let Some(function) = &delta.function_call {
            let (name, arguments) = (function.name()?, function.arguments()?);
            let state = &mut self.choices[choice as usize];
            self.head.open(out, choice);
            match name.filter(|_| !state.function_named) {
                Some(name) => {
                    state.function_named = true;
                    counter.push_literal(choice, Channel::Tool, name.as_bytes());
                    put(out, format_args!("\"function_call\":{{\"name\":\"{name}\",\"arguments\":\"{arguments}\"}}"));
                }
                None => put(out, format_args!("\"function_call\":{{\"arguments\":\"{arguments}\"}}")),
            }
            self.head.close(out, std::mem::replace(logprobs, "null"), "null");
            counter.push_literal(choice, Channel::Tool, arguments.as_bytes());
            kind = Kind::ToolCall;
        }
        Ok(kind)
    }

    /// Appends one tool-call fragment. A call opens when its name is known; arguments that come
    /// earlier wait for it.
    fn fragment(
        &mut self,
        choice: u32,
        index: u32,
        fragment: &ToolFragment<'_>,
        out: &mut String,
        counter: &mut Counter,
    ) -> Result<(), Error> {
        if index > MAX_TOOL {
            return Err(Error::Malformed("a tool call index is out of range".to_owned()));
        }
        let (name, arguments) = match &fragment.function {
            Some(function) => (function.name()?, function.arguments()?),
            None => (None, Cow::Borrowed("")),
        };
        let tools = &mut self.choices[choice as usize].tools;
        while tools.len() <= index as usize {
            tools.push(ToolState::default());
        }
        let tool = &mut tools[index as usize];
        if let (None, Some(id)) = (&tool.id, fragment.id.as_deref().filter(|id| !id.is_empty())) {
            tool.id = Some(if id.starts_with("call_") { id.to_owned() } else { self.head.call_id(choice, index) });
        }
        if let Some(name) = name.filter(|_| !tool.opened) {
            counter.push_literal(choice, Channel::Tool, name.as_bytes());
        }
        counter.push_literal(choice, Channel::Tool, arguments.as_bytes());
        let separator = if out.is_empty() { "" } else { "," };
        if tool.opened {
            if !arguments.is_empty() {
                out.push_str(&format!(
                    "{separator}{{\"index\":{index},\"function\":{{\"arguments\":\"{arguments}\"}}}}"
                ));
            }
            return Ok(());
        }
        let Some(name) = name else {
            tool.early.push_str(&arguments);
            return Ok(());
        };
        tool.opened = true;
        let id = quoted(tool.id.get_or_insert_with(|| self.head.call_id(choice, index)));
        let early = std::mem::take(&mut tool.early);
        out.push_str(&format!(
            "{separator}{{\"index\":{index},\"id\":{id},\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"arguments\":\"{early}{arguments}\"}}}}"
        ));
        Ok(())
    }

    fn end(&mut self, choice: u32, reason: FinishReason, word: &str, logprobs: &str, out: &mut BytesMut) {
        self.choices[choice as usize].finish = Some(reason);
        self.shapes.forget(choice);
        self.head.open(out, choice);
        let finish = if word == reason.as_str() {
            quoted(word)
        } else {
            format!("\"{}\",\"native_finish_reason\":{}", reason.as_str(), quoted(word))
        };
        self.head.close(out, logprobs, &finish);
    }

    /// Remembers a chunk that held one piece of text and nothing else.
    fn learn(&mut self, chunk: &Chunk<'_>, data: &[u8]) {
        let [choice] = chunk.choices.as_deref().unwrap_or_default() else { return };
        let ended = choice.has_finish() || self.finish(choice.index).is_some();
        if ended || choice.logprobs.is_some() || !chunk.is_plain() {
            return;
        }
        let Some((channel, text)) = choice.delta.as_ref().and_then(Delta::only_text) else { return };
        let mut out = [BytesMut::new(), BytesMut::new()];
        self.head.open(&mut out[0], choice.index);
        let key: &[u8] = if channel == Channel::Reasoning { b"\"reasoning\":\"" } else { b"\"content\":\"" };
        out[0].extend_from_slice(key);
        out[1].extend_from_slice(b"\"");
        self.head.close(&mut out[1], "null", "null");
        self.shapes.learn(choice.index, channel, data, text, out);
    }
}

fn kind_of(channel: Channel) -> Kind {
    match channel {
        Channel::Content | Channel::Refusal => Kind::Content,
        Channel::Reasoning => Kind::Reasoning,
        Channel::Tool => Kind::ToolCall,
    }
}

/// The more telling of two kinds.
fn stronger(one: Kind, other: Kind) -> Kind {
    let rank = |kind| match kind {
        Kind::Content => 6,
        Kind::ToolCall => 5,
        Kind::Reasoning => 4,
        Kind::Finish => 3,
        Kind::Role => 2,
        Kind::UsageOnly | Kind::Done => 1,
        Kind::Empty => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}
