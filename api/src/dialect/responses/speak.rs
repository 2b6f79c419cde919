//! Telling an answer: items open, grow and close, and every step is an event.

use bytes::BytesMut;
use protocol::{Env, RequestId};

use super::super::render::{DONE, InBandError, Usage, quoted};
use super::super::wire::{Channel, FinishReason};
use super::super::{Said, Tail, Voice};
use super::echo::Echo;
use super::frames::Frames;
use super::item::{Body, Call, Item, Part, Progress};
use super::logprobs;
use super::object::{Answer, Ending};

/// Tells one answer as a response: the first choice of it, for a response has no others.
///
/// Text goes to one item at a time: text of another kind, or a call, closes it. Calls may be told in turns, so
/// they stay open until the answer ends. Each text is kept once, and each event costs what it says.
#[derive(Debug)]
pub struct Responses {
    answer: Answer,
    env: Env,
    frames: Frames,
    /// The item that text goes to.
    speaking: Option<usize>,
    /// The item of each call.
    calls: Vec<Option<usize>>,
    /// The item of a call in the older form.
    function: Option<usize>,
}

impl Responses {
    /// Begins an answer. `env` is asked for the time when the answer is complete.
    pub fn new(echo: Echo, id: RequestId, created_unix_s: i64, model: &str, env: Env) -> Self {
        let answer = Answer::new(echo, id, created_unix_s, model);
        Self { answer, env, frames: Frames::default(), speaking: None, calls: Vec::new(), function: None }
    }

    /// The events every stream begins with; a client's library refuses any other first.
    fn begin(&mut self, out: &mut BytesMut) {
        if self.frames.is_empty() {
            self.frames.response(out, "response.created", &self.answer, None);
            self.frames.response(out, "response.in_progress", &self.answer, None);
        }
    }

    fn open(&mut self, prefix: &str, body: Body, out: &mut BytesMut) -> usize {
        let index = self.answer.items.len();
        let id = self.answer.id.part(prefix, u32::try_from(index).unwrap_or(u32::MAX));
        let item = Item::new(id, body);
        self.frames.event(
            out,
            format_args!("response.output_item.added"),
            format_args!("\"output_index\":{index},\"item\":{item}"),
        );
        self.answer.items.push(item);
        index
    }

    fn text(&mut self, channel: Channel, text: &str, logprobs: &str, out: &mut BytesMut) {
        let reasoning = channel == Channel::Reasoning;
        let index = match self.speaking {
            Some(index) if self.is_reasoning(index) == reasoning => index,
            _ => {
                self.stop_speaking(out);
                let prefix = if reasoning { "rs_" } else { "msg_" };
                self.open(prefix, Body::Spoken { reasoning, parts: Vec::new() }, out)
            }
        };
        self.speaking = Some(index);
        if self.answer.items[index].parts().last().is_none_or(|part| part.channel != channel) {
            self.end_part(index, out);
            self.begin_part(index, channel, out);
        }
        let entries = self.entries(channel, logprobs);
        let Item { id, body: Body::Spoken { parts, .. }, .. } = &mut self.answer.items[index] else { return };
        let content_index = parts.len() - 1;
        let part = &mut parts[content_index];
        part.text.push_str(text);
        logprobs::append(&mut part.logprobs, &entries);
        let place = format_args!("\"item_id\":\"{id}\",\"output_index\":{index},\"content_index\":{content_index}");
        let family = part.family();
        let kind = format_args!("{family}.delta");
        match channel {
            Channel::Content | Channel::Tool => {
                let members = format_args!("{place},\"delta\":\"{text}\",\"logprobs\":[{entries}]");
                self.frames.event(out, kind, members);
            }
            Channel::Reasoning | Channel::Refusal => {
                self.frames.event(out, kind, format_args!("{place},\"delta\":\"{text}\""));
            }
        }
    }

    fn is_reasoning(&self, index: usize) -> bool {
        matches!(self.answer.items[index].body, Body::Spoken { reasoning: true, .. })
    }

    /// The log probabilities to tell: those of content, where the client wants any.
    fn entries(&self, channel: Channel, raw: &str) -> String {
        let wanted = self.answer.echo.logprobs() && channel == Channel::Content;
        if wanted { logprobs::entries(raw) } else { String::new() }
    }

    fn begin_part(&mut self, index: usize, channel: Channel, out: &mut BytesMut) {
        let Item { id, body: Body::Spoken { parts, .. }, .. } = &mut self.answer.items[index] else { return };
        let (content_index, part) = (parts.len(), Part::new(channel));
        self.frames.event(
            out,
            format_args!("response.content_part.added"),
            format_args!(
                "\"item_id\":\"{id}\",\"output_index\":{index},\"content_index\":{content_index},\"part\":{part}"
            ),
        );
        parts.push(part);
    }

    /// Ends the last part of an item, if it has one.
    fn end_part(&mut self, index: usize, out: &mut BytesMut) {
        let Item { id, .. } = &self.answer.items[index];
        let [before @ .., part] = self.answer.items[index].parts() else { return };
        let content_index = before.len();
        let place = format_args!("\"item_id\":\"{id}\",\"output_index\":{index},\"content_index\":{content_index}");
        let family = part.family();
        self.frames.event(out, format_args!("{family}.done"), format_args!("{place},{}", part.done()));
        self.frames.event(out, format_args!("response.content_part.done"), format_args!("{place},\"part\":{part}"));
    }

    fn stop_speaking(&mut self, out: &mut BytesMut) {
        if let Some(index) = self.speaking.take() {
            self.close(index, Progress::Completed, out);
        }
    }

    fn close(&mut self, index: usize, progress: Progress, out: &mut BytesMut) {
        self.end_part(index, out);
        let item = &mut self.answer.items[index];
        item.progress = progress;
        if let Body::Call(call) = &item.body {
            let (family, member) = call.family();
            let Call { custom, name, arguments, .. } = call;
            let place = format_args!("\"item_id\":\"{}\",\"output_index\":{index}", item.id);
            let whole = format_args!("\"{member}\":\"{arguments}\"");
            if *custom {
                self.frames.event(out, format_args!("{family}.done"), format_args!("{place},{whole}"));
            } else {
                let members = format_args!("{place},\"name\":\"{name}\",{whole}");
                self.frames.event(out, format_args!("{family}.done"), members);
            }
        }
        self.frames.event(
            out,
            format_args!("response.output_item.done"),
            format_args!("\"output_index\":{index},\"item\":{item}"),
        );
    }

    /// Opens a call; `call_id` is a JSON literal.
    fn call(&mut self, call_id: String, name: &str, out: &mut BytesMut) -> usize {
        self.stop_speaking(out);
        let custom = self.answer.echo.is_custom(name);
        let prefix = if custom { "ctc_" } else { "fc_" };
        let call = Call { custom, call_id, name: name.to_owned(), arguments: String::new() };
        self.open(prefix, Body::Call(call), out)
    }

    fn arguments(&mut self, index: usize, piece: &str, out: &mut BytesMut) {
        let Item { id, body: Body::Call(call), .. } = &mut self.answer.items[index] else { return };
        call.arguments.push_str(piece);
        let (family, _) = call.family();
        let members = format_args!("\"item_id\":\"{id}\",\"output_index\":{index},\"delta\":\"{piece}\"");
        self.frames.event(out, format_args!("{family}.delta"), members);
    }

    /// A piece of a call in the older form, which has no id: it gets one of the request's own.
    fn function(&mut self, name: Option<&str>, piece: &str, out: &mut BytesMut) {
        let index = match self.function {
            Some(index) => index,
            None => {
                let ordinal = u32::try_from(self.answer.items.len()).unwrap_or(u32::MAX);
                let call_id = quoted(&self.answer.id.part("call_", ordinal));
                self.call(call_id, name.unwrap_or_default(), out)
            }
        };
        self.function = Some(index);
        if let (Body::Call(call), Some(name)) = (&mut self.answer.items[index].body, name) {
            name.clone_into(&mut call.name);
        }
        if !piece.is_empty() {
            self.arguments(index, piece, out);
        }
    }

    fn finish(&mut self, reason: FinishReason, logprobs: &str, out: &mut BytesMut) {
        self.ending_entries(logprobs);
        self.answer.ending = match reason {
            FinishReason::Length => Ending::Incomplete { reason: "max_output_tokens" },
            FinishReason::ContentFilter => Ending::Incomplete { reason: "content_filter" },
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::FunctionCall => {
                Ending::Completed { unix_s: self.env.now().unix_seconds() }
            }
        };
        let cut = matches!(self.answer.ending, Ending::Incomplete { .. });
        let progress = if cut { Progress::Incomplete } else { Progress::Completed };
        for index in 0..self.answer.items.len() {
            if self.answer.items[index].progress == Progress::Open {
                self.close(index, progress, out);
            }
        }
        self.speaking = None;
    }

    /// Keeps log probabilities that came with the end: those of the last text, when that is still open.
    fn ending_entries(&mut self, raw: &str) {
        let entries = self.entries(Channel::Content, raw);
        let Some(item) = self.speaking.map(|index| &mut self.answer.items[index]) else { return };
        if let Body::Spoken { parts, .. } = &mut item.body
            && let Some(part) = parts.last_mut().filter(|part| part.channel == Channel::Content)
        {
            logprobs::append(&mut part.logprobs, &entries);
        }
    }
}

impl Voice for Responses {
    fn say(&mut self, said: Said<'_>, out: &mut BytesMut) {
        match said {
            Said::Choice { choice: 0 } => self.begin(out),
            Said::Text { choice: 0, channel, text, logprobs } => self.text(channel, text, logprobs, out),
            Said::Call { choice: 0, index, id, name } => {
                let place = index as usize;
                if self.calls.len() <= place {
                    self.calls.resize(place + 1, None);
                }
                self.calls[place] = Some(self.call(quoted(id), name, out));
            }
            Said::Arguments { choice: 0, index, arguments } => {
                if let Some(index) = self.calls.get(index as usize).copied().flatten() {
                    self.arguments(index, arguments, out);
                }
            }
            Said::Function { choice: 0, name, arguments } => self.function(name, arguments, out),
            Said::Finish { choice: 0, reason, logprobs, .. } => self.finish(reason, logprobs, out),
            // A response has one choice, and no request of this dialect asks for more.
            _ => {}
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut BytesMut) {
        self.begin(out);
        let cut = matches!(self.answer.ending, Ending::Incomplete { .. });
        let kind = if cut { "response.incomplete" } else { "response.completed" };
        self.frames.response(out, kind, &self.answer, Some(usage));
        out.extend_from_slice(DONE);
    }

    /// Items that were open stay without their closing events: they are cut, not done.
    fn fail(&mut self, error: InBandError<'_>, out: &mut BytesMut) {
        self.begin(out);
        let InBandError { message, code, http_status } = error;
        let (message, code) = (quoted(message), quoted(code));
        let members = format_args!("\"code\":{code},\"message\":{message},\"param\":null");
        self.frames.event(out, format_args!("error"), members);
        for item in self.answer.items.iter_mut().filter(|item| item.progress == Progress::Open) {
            item.progress = Progress::Incomplete;
        }
        // The object's codes are a closed set of OpenAI's; the event before it tells our own.
        let code = if http_status == 429 { "\"rate_limit_exceeded\"" } else { "\"server_error\"" };
        self.answer.ending = Ending::Failed { code, message };
        self.frames.response(out, "response.failed", &self.answer, None);
        out.extend_from_slice(DONE);
    }

    fn whole(&mut self, tail: Tail<'_>) -> Vec<u8> {
        self.answer.object_in_tier(tail.usage, tail.service_tier).to_string().into_bytes()
    }
}
