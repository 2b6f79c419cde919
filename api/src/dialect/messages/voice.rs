//! An answer, told as a message.

use bytes::BytesMut;
use protocol::RequestId;

use super::arguments::Progress;
use super::block::{Block, Call, Kind};
use super::error::error_body;
use super::request::Wants;
use crate::dialect::render::{put, quoted};
use crate::dialect::{Channel, FinishReason, InBandError, Said, Tail, Usage, Voice};

/// Sent while an answer is silent, and once at its beginning, as Anthropic does.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// Tells one answer as Anthropic's Messages API does.
///
/// A message has one choice, made of blocks, of which one is open at a time and none is opened again. Engines may
/// tell calls in turns, so what belongs to a later block waits until the open one is known to be over: text when
/// another block begins, a call when its object closes or the choice ends.
#[derive(Debug)]
pub struct Messages {
    request: RequestId,
    /// A JSON literal.
    model: String,
    prompt_tokens: u64,
    wants: Wants,
    begun: bool,
    blocks: Vec<Block>,
    /// How many blocks have been opened in the stream, and how many of these closed again: all or all but one.
    opened: usize,
    closed: usize,
    /// Whether the model said a refusal in so many words.
    refused: bool,
    stop: Option<Stop>,
}

/// Why the answer ended.
#[derive(Debug)]
struct Stop {
    reason: &'static str,
    /// The stop sequence that was met, a JSON value.
    sequence: String,
}

impl Messages {
    /// A voice for the answer to `request` by `model`. A message opens with its usage, so the prompt's own count
    /// stands there until the end tells the bill's.
    pub fn new(request: RequestId, model: &str, prompt_tokens: u64, wants: Wants) -> Self {
        Self {
            request,
            model: quoted(model),
            prompt_tokens,
            wants,
            begun: false,
            blocks: Vec::new(),
            opened: 0,
            closed: 0,
            refused: false,
            stop: None,
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if self.begun || !self.wants.stream {
            return;
        }
        self.begun = true;
        out.extend_from_slice(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
        self.write(&self.usage_so_far(), out);
        out.extend_from_slice(b"}\n\n");
    }

    fn text(&mut self, channel: Channel, text: &str) {
        let thinking = channel == Channel::Reasoning;
        if thinking && !self.wants.thinking {
            return;
        }
        self.refused |= channel == Channel::Refusal;
        match self.blocks.last_mut() {
            Some(block) if block.takes(thinking) => block.body.push_str(text),
            _ => {
                let kind = if thinking { Kind::Thinking } else { Kind::Text };
                self.blocks.push(Block { kind, body: text.to_owned() });
            }
        }
    }

    fn call(&mut self, index: Option<u32>, name: &str) {
        let id = self.request.part("toolu_", index.unwrap_or(u32::MAX));
        let call = Call { index, id, name: name.to_owned(), progress: Progress::default() };
        self.blocks.push(Block { kind: Kind::ToolUse(call), body: String::new() });
    }

    /// Adds to a call. One that is closed was complete, and what still comes for it would only spoil its object.
    fn arguments(&mut self, index: Option<u32>, arguments: &str) {
        let found = self.blocks[self.closed..].iter_mut().find_map(|block| block.call(index));
        if let Some((call, body)) = found {
            call.progress.push(arguments);
            body.push_str(arguments);
        }
    }

    fn finish(&mut self, reason: FinishReason, native: Option<&str>) {
        let called = self.blocks.iter().any(|block| matches!(block.kind, Kind::ToolUse(_)));
        let sequences = self.wants.stop_sequences.as_slice();
        // Few engines tell a stop sequence from an ordinary end; those that do leave out which it was.
        let met = native == Some("stop_sequence") && !sequences.is_empty();
        let reason = match reason {
            FinishReason::Length => "max_tokens",
            FinishReason::ContentFilter => "refusal",
            // Some engines end with "stop" after a call, and some say "tool_calls" without one.
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::FunctionCall if called => "tool_use",
            _ if self.refused => "refusal",
            FinishReason::Stop if met => "stop_sequence",
            _ => "end_turn",
        };
        let sequence = match (reason, sequences) {
            ("stop_sequence", [only]) => quoted(only),
            _ => "null".to_owned(),
        };
        self.stop = Some(Stop { reason, sequence });
    }

    /// Sends what can be sent: of the open block all there is, of later ones what follows once it is closed.
    fn flow(&mut self, out: &mut BytesMut) {
        if !self.wants.stream {
            return;
        }
        let (count, ended) = (self.blocks.len(), self.stop.is_some());
        while let Some(block) = self.blocks.get_mut(self.closed) {
            let index = self.closed;
            if self.opened == index {
                block.write_start(index, out);
                self.opened += 1;
                if index == 0 {
                    out.extend_from_slice(PING);
                }
            }
            block.write_delta(index, out);
            let is_last = index + 1 == count;
            if !ended && (is_last || !block.is_complete()) {
                break;
            }
            block.write_stop(index, out);
            self.closed += 1;
        }
    }

    fn usage_so_far(&self) -> Usage {
        Usage { prompt_tokens: self.prompt_tokens, ..Usage::default() }
    }

    /// Writes the message with what is known of it: all at the end, next to nothing at the beginning.
    fn write(&self, usage: &Usage, out: &mut BytesMut) {
        let (id, model) = (self.request.message(), &self.model);
        put(
            out,
            format_args!(
                "{{\"id\":\"{id}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{model},\"content\":["
            ),
        );
        for (position, block) in self.blocks.iter().enumerate() {
            if position > 0 {
                out.extend_from_slice(b",");
            }
            block.write_whole(out);
        }
        out.extend_from_slice(b"],");
        self.write_stop(out);
        out.extend_from_slice(b",\"usage\":{");
        write_counts(usage, out);
        out.extend_from_slice(b",\"cache_creation\":null,\"inference_geo\":null,\"service_tier\":\"standard\"}}");
    }

    fn write_stop(&self, out: &mut BytesMut) {
        match &self.stop {
            None => out.extend_from_slice(b"\"stop_reason\":null,\"stop_sequence\":null"),
            Some(Stop { reason, sequence }) => {
                put(out, format_args!("\"stop_reason\":\"{reason}\",\"stop_sequence\":{sequence}"));
            }
        }
        out.extend_from_slice(b",\"stop_details\":null,\"container\":null");
    }
}

/// Writes the counts a message shares with its last delta. Anthropic's input leaves out what a cache gave or took.
fn write_counts(usage: &Usage, out: &mut BytesMut) {
    let Usage { cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, .. } = usage;
    let input = usage.prompt_tokens.saturating_sub(*cached_tokens).saturating_sub(*cache_write_tokens);
    put(
        out,
        format_args!(
            "\"input_tokens\":{input},\"output_tokens\":{completion_tokens},\"cache_creation_input_tokens\":{cache_write_tokens},\
             \"cache_read_input_tokens\":{cached_tokens},\"output_tokens_details\":"
        ),
    );
    match reasoning_tokens {
        0 => out.extend_from_slice(b"null"),
        tokens => put(out, format_args!("{{\"thinking_tokens\":{tokens}}}")),
    }
    out.extend_from_slice(b",\"server_tool_use\":null");
}

impl Voice for Messages {
    fn say(&mut self, said: Said<'_>, out: &mut BytesMut) {
        // No request asks for a second choice; an engine that gives one anyway is not listened to.
        let (Said::Choice { choice }
        | Said::Text { choice, .. }
        | Said::Call { choice, .. }
        | Said::Arguments { choice, .. }
        | Said::Function { choice, .. }
        | Said::Finish { choice, .. }) = said;
        if choice > 0 {
            return;
        }
        self.begin(out);
        match said {
            Said::Choice { .. } => {}
            Said::Text { channel, text, .. } => self.text(channel, text),
            Said::Call { index, name, .. } => self.call(Some(index), name),
            Said::Arguments { index, arguments, .. } => self.arguments(Some(index), arguments),
            Said::Function { name, arguments, .. } => {
                if let Some(name) = name {
                    self.call(None, name);
                }
                self.arguments(None, arguments);
            }
            Said::Finish { reason, native, .. } => self.finish(reason, native),
        }
        self.flow(out);
    }

    fn end(&mut self, usage: &Usage, out: &mut BytesMut) {
        self.begin(out);
        out.extend_from_slice(b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
        self.write_stop(out);
        out.extend_from_slice(b"},\"usage\":{");
        write_counts(usage, out);
        out.extend_from_slice(b"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn fail(&mut self, error: InBandError<'_>, out: &mut BytesMut) {
        let InBandError { message, code, http_status } = error;
        out.extend_from_slice(b"event: error\ndata: ");
        out.extend_from_slice(&error_body(http_status, Some(code), message, &self.request.to_string()));
        out.extend_from_slice(b"\n\n");
    }

    fn whole(&mut self, tail: Tail<'_>) -> Vec<u8> {
        let size: usize = self.blocks.iter().map(|block| block.body.len() + 192).sum();
        let mut out = BytesMut::with_capacity(size + 640);
        match tail.usage {
            Some(usage) => self.write(usage, &mut out),
            None => self.write(&self.usage_so_far(), &mut out),
        }
        out.into()
    }
}

#[cfg(test)]
mod tests;
