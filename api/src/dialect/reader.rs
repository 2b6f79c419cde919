//! Reads an engine's chunks, and says what they bring.

use std::borrow::Cow;

use bytes::BytesMut;
use protocol::RequestId;

use super::emulated::{Answers, Expected, Found};
use super::fast::Shapes;
use super::render::quoted;
use super::voice::{Said, Voice};
use super::wire::{self, Channel, Choice, Chunk, Delta, FinishReason, FunctionFragment, MAX_TOOL, ToolFragment};
use super::{Error, Kind, Tail, UpstreamUsage};
use crate::tokenizer::Counter;

/// Turns the chunks of an engine into one answer, told by a [`Voice`].
///
/// What the engine says in its own way is said in order: a choice opens once, a call's id and name come once
/// and before its arguments, nothing follows a finish. Usage is kept back, since the bill is ours.
pub struct Reader {
    voice: Box<dyn Voice + Send>,
    calls: CallIds,
    shapes: Shapes,
    choices: Vec<ChoiceState>,
    usage: Option<UpstreamUsage>,
    /// Where the engine's text is no text: what it says instead.
    emulated: Option<Answers>,
}

#[derive(Debug, Default)]
struct ChoiceState {
    tools: Vec<ToolState>,
    function_named: bool,
    finish: Option<Finish>,
}

/// How a choice ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// In the contract's words.
    pub reason: FinishReason,
    /// In the engine's word, where that differs.
    pub native: Option<String>,
}

/// How far one tool call has come.
#[derive(Debug, Default)]
struct ToolState {
    id: Option<String>,
    opened: bool,
    /// Arguments that came before the name.
    early: String,
}

/// Ids for tool calls whose engine gave none of the right form: distinct within an answer and between answers.
#[derive(Debug)]
struct CallIds(String);

impl CallIds {
    /// The end of a request's id is its random part.
    fn of(request: RequestId) -> Self {
        let hex: Vec<char> = request.to_string().chars().filter(char::is_ascii_hexdigit).collect();
        Self(hex[hex.len().saturating_sub(24)..].iter().collect())
    }

    fn id(&self, choice: u32, tool: u32) -> String {
        format!("call_{:0>24}{:08x}", self.0, (choice << 16) | tool)
    }
}

impl Reader {
    /// A reader of the answer to `request`, told by `voice`.
    pub fn new(request: RequestId, voice: Box<dyn Voice + Send>) -> Self {
        let calls = CallIds::of(request);
        Self { voice, calls, shapes: Shapes::default(), choices: Vec::new(), usage: None, emulated: None }
    }

    /// The same for an engine whose content is, in its form, a call of a tool.
    #[must_use]
    pub fn expecting(self, expected: Expected) -> Self {
        Self { emulated: Answers::expecting(expected), ..self }
    }

    /// Appends to `out` what the client gets for one upstream event, and to `counter` the text in
    /// it. On an error `out` is as before.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Upstream`]; the upstream stream is of no further use.
    pub fn read(&mut self, data: &[u8], out: &mut BytesMut, counter: &mut Counter) -> Result<Kind, Error> {
        if let Some((shape, text)) = self.shapes.find(data) {
            let (choice, channel) = (shape.choice, shape.channel);
            match &shape.out {
                Some(around) => around.fill(text, out),
                None => {
                    let text = std::str::from_utf8(text).map_err(|error| Error::Malformed(error.to_string()))?;
                    self.voice.say(Said::Text { choice, channel, text, logprobs: "null" }, out);
                }
            }
            counter.push_literal(choice, channel, text);
            return Ok(kind_of(channel));
        }
        if let Some(kind) = wire::without_json(data) {
            return Ok(kind);
        }
        let start = out.len();
        let read = self.read_parsed(data, out, counter);
        if read.is_err() {
            out.truncate(start);
        }
        read
    }

    /// Usage as the provider last counted it.
    pub fn usage(&self) -> Option<UpstreamUsage> {
        self.usage
    }

    /// How a choice ended, once it has.
    pub fn finish(&self, choice: u32) -> Option<&Finish> {
        self.choices.get(choice as usize)?.finish.as_ref()
    }

    /// Whether `n` choices have ended.
    pub fn is_complete(&self, n: u32) -> bool {
        self.choices.iter().filter(|choice| choice.finish.is_some()).count() >= n as usize
    }

    /// How many choices have opened.
    fn opened(&self) -> u32 {
        u32::try_from(self.choices.len()).unwrap_or(u32::MAX)
    }

    /// The whole answer, once it is complete.
    pub fn whole(mut self, tail: Tail<'_>) -> Vec<u8> {
        self.voice.whole(tail)
    }

    /// Hands over the voice, for the last frames of a stream.
    pub fn into_voice(self) -> Box<dyn Voice + Send> {
        self.voice
    }

    /// Makes the next event take the slow path.
    #[cfg(test)]
    pub(super) fn forget_shapes(&mut self) {
        self.shapes = Shapes::default();
    }

    fn read_parsed(&mut self, data: &[u8], out: &mut BytesMut, counter: &mut Counter) -> Result<Kind, Error> {
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
            self.voice.say(Said::Choice { choice: self.opened() }, out);
            self.choices.push(ChoiceState::default());
            kind = Kind::Role;
        }
        // Nothing follows a finish, whatever the engine sends.
        if self.choices[index as usize].finish.is_some() {
            return Ok(kind);
        }
        let mut logprobs = choice.logprobs.map_or("null", |raw| raw.get());
        let delta = choice.delta.as_ref();
        let texts = [
            (Channel::Reasoning, delta.map_or(Ok(None), Delta::reasoning)?),
            (
                Channel::Content,
                match delta {
                    Some(delta) => delta.content()?,
                    None => choice.text()?,
                },
            ),
            (Channel::Refusal, delta.map_or(Ok(None), Delta::refusal)?),
        ];
        for (channel, text) in texts {
            let Some(text) = text else { continue };
            counter.push_literal(index, channel, text.as_bytes());
            if channel == Channel::Content && self.emulated.is_some() {
                kind = stronger(kind, self.bound(index, text, out)?);
                continue;
            }
            // Log probabilities are the content's; without content they go with what there is.
            let mine = channel != Channel::Reasoning || texts[1].1.is_none();
            let logprobs = if mine { std::mem::replace(&mut logprobs, "null") } else { "null" };
            self.voice.say(Said::Text { choice: index, channel, text, logprobs }, out);
            kind = stronger(kind, kind_of(channel));
        }
        if let Some(delta) = delta {
            for (position, fragment) in delta.tool_calls.iter().flatten().enumerate() {
                let place = u32::try_from(position).unwrap_or(u32::MAX);
                self.fragment(index, fragment.index.unwrap_or(place), fragment, out, counter)?;
                kind = stronger(kind, Kind::ToolCall);
            }
            if let Some(function) = &delta.function_call {
                self.function(index, function, out, counter)?;
                kind = stronger(kind, Kind::ToolCall);
            }
        }
        if let Some((reason, word)) = choice.finish()? {
            let reason = self.emulated.as_ref().map_or(Ok(reason), |answers| answers.finish(index, reason))?;
            let native = (word != reason.as_str()).then_some(word.as_ref());
            self.voice.say(Said::Finish { choice: index, reason, native, logprobs }, out);
            self.choices[index as usize].finish = Some(Finish { reason, native: native.map(str::to_owned) });
            self.shapes.forget(index);
            kind = stronger(kind, Kind::Finish);
        }
        Ok(kind)
    }

    /// Says what a piece of a bound answer means.
    fn bound(&mut self, choice: u32, text: &str, out: &mut BytesMut) -> Result<Kind, Error> {
        let Some(answers) = &mut self.emulated else { return Ok(Kind::Empty) };
        let Found { call, arguments, words } = answers.push(choice, text)?;
        let mut kind = Kind::Empty;
        if let Some(name) = &call {
            let id = self.calls.id(choice, 0);
            self.voice.say(Said::Call { choice, index: 0, id: &id, name }, out);
            kind = Kind::ToolCall;
        }
        if !arguments.is_empty() {
            let literal = quoted(&arguments);
            let arguments = &literal[1..literal.len() - 1];
            self.voice.say(Said::Arguments { choice, index: 0, arguments }, out);
            kind = Kind::ToolCall;
        }
        if !words.is_empty() {
            let said = Said::Text { choice, channel: Channel::Content, text: &words, logprobs: "null" };
            self.voice.say(said, out);
            kind = Kind::Content;
        }
        Ok(kind)
    }

    /// Says one tool-call fragment. A call opens when its name is known; arguments that come earlier wait for it.
    fn fragment(
        &mut self,
        choice: u32,
        index: u32,
        fragment: &ToolFragment<'_>,
        out: &mut BytesMut,
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
            tool.id = Some(if id.starts_with("call_") { id.to_owned() } else { self.calls.id(choice, index) });
        }
        let name = name.filter(|_| !tool.opened);
        if let Some(name) = name {
            counter.push_literal(choice, Channel::Tool, name.as_bytes());
        }
        counter.push_literal(choice, Channel::Tool, arguments.as_bytes());
        if !tool.opened {
            let Some(name) = name else {
                tool.early.push_str(&arguments);
                return Ok(());
            };
            tool.opened = true;
            let id = tool.id.get_or_insert_with(|| self.calls.id(choice, index));
            self.voice.say(Said::Call { choice, index, id, name }, out);
            let early = std::mem::take(&mut tool.early);
            if !early.is_empty() {
                self.voice.say(Said::Arguments { choice, index, arguments: &early }, out);
            }
        }
        if !arguments.is_empty() {
            self.voice.say(Said::Arguments { choice, index, arguments: &arguments }, out);
        }
        Ok(())
    }

    fn function(
        &mut self,
        choice: u32,
        function: &FunctionFragment<'_>,
        out: &mut BytesMut,
        counter: &mut Counter,
    ) -> Result<(), Error> {
        let arguments = function.arguments()?;
        let state = &mut self.choices[choice as usize];
        let name = function.name()?.filter(|_| !state.function_named);
        if let Some(name) = name {
            state.function_named = true;
            counter.push_literal(choice, Channel::Tool, name.as_bytes());
        }
        counter.push_literal(choice, Channel::Tool, arguments.as_bytes());
        self.voice.say(Said::Function { choice, name, arguments: &arguments }, out);
        Ok(())
    }

    /// Remembers a chunk that held one piece of text and nothing else.
    fn learn(&mut self, chunk: &Chunk<'_>, data: &[u8]) {
        let [choice] = chunk.choices.as_deref().unwrap_or_default() else { return };
        let ended = choice.has_finish() || self.finish(choice.index).is_some();
        if ended || choice.logprobs.is_some() || !chunk.is_plain() || self.emulated.is_some() {
            return;
        }
        let Some((channel, text)) = choice.only_text() else { return };
        self.shapes.learn(choice.index, channel, data, text, self.voice.around(choice.index, channel));
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
