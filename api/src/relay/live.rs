//! One attempt that is being answered: its body, cut into events, taken in one by one, under the deadlines
//! of the attempt machine.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use http_body::Body as _;
use protocol::Timestamp;
use scheduler::attempt::classify::NodeFault;
use scheduler::{Event, Machine, Step};
use tokio::time::{Instant, Sleep};

use crate::clock::Ticker;
use crate::dialect::{EventScanner, Kind, UpstreamUsage, Voice};
use crate::generation::Generation;
use crate::upstream::Answer;

use super::sink::Sink;

/// The content type of a plain answer.
const JSON: &[u8] = b"application/json";
/// The largest plain answer taken: 128 choices of some thousand tokens each with log probabilities, or 2,048
/// long vectors as text.
const MAX_WHOLE_BYTES: usize = 128 * 1024 * 1024;
/// The most text kept of one answer, as JSON: far above the longest output of any model, for 128 choices.
const MAX_TEXT_BYTES: u64 = 64 * 1024 * 1024;

/// A client that takes longer to ask for more reads slower than models write.
const SLOW_READER: Duration = Duration::from_millis(100);

/// How far an attempt has come.
pub enum Progress {
    /// The first thing the model generated is here: from now on the answer belongs to this node.
    Begun,
    /// Bytes for the client.
    Released(Bytes),
    /// The answer is complete; these are its last chunks, and what the attempt has shown.
    Finished(Bytes, Step),
    /// The attempt broke; the step says what to do instead.
    Broken(Step),
}

/// An attempt that is being answered.
pub struct Live {
    machine: Machine,
    ticker: Ticker,
    answer: Answer,
    scanner: EventScanner,
    /// A plain answer so far, where the engine gives one.
    whole: Option<BytesMut>,
    sink: Sink,
    choices: u32,
    timer: Pin<Box<Sleep>>,
    begun: bool,
    /// The terminal event has been read.
    done: bool,
    /// When the client was last given something, until it asks for more.
    released_at: Option<Timestamp>,
    /// An answer that was whole before it had begun, kept until it is asked for.
    early: Option<(Bytes, Step)>,
}

impl Live {
    /// Takes over an answer whose head has come.
    #[must_use]
    pub fn new(mut machine: Machine, ticker: Ticker, answer: Answer, sink: Sink, choices: u32) -> Self {
        let json = answer.response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes().get(..JSON.len()).is_some_and(|start| start.eq_ignore_ascii_case(JSON))
        });
        let plain = json || sink.is_whole();
        if plain {
            machine.on(Event::Plain, ticker.now());
        }
        let wake = machine.deadline().map_or_else(Instant::now, |at| ticker.instant(at));
        Self {
            machine,
            ticker,
            answer,
            scanner: EventScanner::new(),
            whole: plain.then(BytesMut::new),
            sink,
            choices,
            timer: Box::pin(tokio::time::sleep_until(wake)),
            begun: false,
            done: false,
            released_at: None,
            early: None,
        }
    }

    /// Gives back an end that came before any content, for whoever relays.
    pub fn finished_early(&mut self, last: Bytes, step: Step) {
        self.early = Some((last, step));
    }

    /// Usage as the provider counted it.
    #[must_use]
    pub fn usage(&self) -> Option<UpstreamUsage> {
        self.sink.usage()
    }

    /// What was collected.
    #[must_use]
    pub fn into_sink(self) -> Sink {
        self.sink
    }

    /// Lets go of the attempt and keeps who tells of it.
    #[must_use]
    pub fn into_voice(self, generation: &Generation) -> Box<dyn Voice + Send> {
        self.sink.into_voice().unwrap_or_else(|| generation.voice())
    }

    /// The machine, for whoever goes on without this attempt.
    #[must_use]
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// Takes in what has arrived. Until [`Progress::Begun`] nothing is released.
    pub fn poll_progress(&mut self, cx: &mut Context<'_>, generation: &mut Generation) -> Poll<Progress> {
        if let Some((last, step)) = self.early.take() {
            return Poll::Ready(Progress::Finished(last, step));
        }
        self.mind_the_reader();
        loop {
            if let Some(progress) = self.take_events(generation) {
                return Poll::Ready(progress);
            }
            if self.begun
                && let Some(bytes) = self.sink.released()
            {
                self.released_at = Some(self.ticker.now());
                return Poll::Ready(Progress::Released(bytes));
            }
            match Pin::new(self.answer.body()).poll_frame(cx) {
                // The terminal event is here. Its body has mostly ended with it, and read to its end its
                // connection can be used again; nobody waits for that, though.
                Poll::Ready(None | Some(Err(_))) | Poll::Pending if self.done => {
                    return Poll::Ready(self.end(generation));
                }
                Poll::Ready(Some(Ok(_))) if self.done => {}
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data()
                        && !self.keep(piece)
                    {
                        return Poll::Ready(self.broken(NodeFault::Malformed));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "an upstream body broke");
                    return Poll::Ready(self.broken(NodeFault::Reset));
                }
                Poll::Ready(None) => return Poll::Ready(self.at_end(generation)),
                Poll::Pending => return self.poll_deadline(cx),
            }
        }
    }

    /// A client that asks for more only after a while has held up the node: what it shows then is not its pace.
    fn mind_the_reader(&mut self) {
        let Some(released_at) = self.released_at.take() else { return };
        let now = self.ticker.now();
        if now.since(released_at) >= SLOW_READER {
            self.machine.on(Event::HeldUp, now);
        }
    }

    /// Reads whole events until one begins, ends or breaks the answer.
    fn take_events(&mut self, generation: &mut Generation) -> Option<Progress> {
        while !self.done {
            let event = match self.scanner.next_event() {
                Ok(event) => event?,
                Err(error) => return Some(self.malformed(&error)),
            };
            if let Some(progress) = self.take(&event, generation) {
                return Some(progress);
            }
        }
        None
    }

    fn take(&mut self, event: &[u8], generation: &mut Generation) -> Option<Progress> {
        let kind = match self.sink.push(event, generation.counter()) {
            Ok(kind) if generation.counter().bounds().1 <= MAX_TEXT_BYTES => kind,
            Ok(_) => return Some(self.broken(NodeFault::Malformed)),
            Err(error) => return Some(self.unread(&error, generation)),
        };
        if kind == Kind::Done {
            self.done = true;
        }
        if !kind.is_generated() {
            return None;
        }
        if !generation.covers_more() {
            return Some(self.cut(generation));
        }
        let now = self.ticker.now();
        let step = self.machine.on(Event::Content { tokens: 1 }, now);
        if self.begun {
            return None;
        }
        self.begin(generation, &step);
        generation.content_arrived(now);
        Some(Progress::Begun)
    }

    /// Another offer's refusal turns out to be its own fault, and the next deadline is the gap's.
    fn begin(&mut self, generation: &Generation, step: &Step) {
        self.begun = true;
        if let Some(offer) = step.blamed {
            generation.app().scheduler.blame(offer, self.ticker.now());
        }
        if let Some(deadline) = self.machine.deadline() {
            self.timer.as_mut().reset(self.ticker.instant(deadline));
        }
    }

    /// Puts a piece where it belongs; `false` when a plain answer grows past every answer's size.
    fn keep(&mut self, piece: Bytes) -> bool {
        let Some(whole) = &mut self.whole else {
            self.scanner.push(piece);
            return true;
        };
        whole.extend_from_slice(&piece);
        whole.len() <= MAX_WHOLE_BYTES
    }

    /// The body ended without a terminal event: complete only when every choice had finished.
    fn at_end(&mut self, generation: &mut Generation) -> Progress {
        let last = match self.whole.take() {
            Some(whole) => Some(whole.freeze()),
            None => self.scanner.finish(),
        };
        if let Some(event) = last
            && let Some(progress) = self.take(&event, generation)
            && !matches!(progress, Progress::Begun)
        {
            return progress;
        }
        self.end(generation)
    }

    /// The money ends here, and with it the answer: every open choice is as long as it can be paid for.
    fn cut(&mut self, generation: &mut Generation) -> Progress {
        if let Err(error) = self.sink.cut(self.choices, generation.counter()) {
            return self.malformed(&error);
        }
        if !self.begun {
            let step = self.machine.on(Event::Content { tokens: 1 }, self.ticker.now());
            self.begin(generation, &step);
        }
        self.end(generation)
    }

    fn end(&mut self, generation: &mut Generation) -> Progress {
        let finished = self.sink.is_complete(self.choices);
        if finished && !self.begun {
            // A finish reason without a word is an answer too, an empty one; only silence is none.
            let step = self.machine.on(Event::Content { tokens: 0 }, self.ticker.now());
            self.begin(generation, &step);
        }
        let step = self.machine.on(Event::End { finished }, self.ticker.now());
        if !finished {
            return Progress::Broken(step);
        }
        generation.finished_as(self.sink.finish());
        Progress::Finished(self.sink.released().unwrap_or_default(), step)
    }

    /// An engine may refuse inside a success, too; that a prompt is too long is no fault of its node.
    fn unread(&mut self, error: &crate::dialect::Error, generation: &mut Generation) -> Progress {
        match error {
            crate::dialect::Error::Upstream(said) if !self.begun && said.is_about_length() => {
                generation.found_too_long();
                let status = StatusCode::BAD_REQUEST.as_u16();
                let refused = Event::Head { status, retry_after: None, credit: false };
                Progress::Broken(self.machine.on(refused, self.ticker.now()))
            }
            _ => self.malformed(error),
        }
    }

    fn malformed(&mut self, error: &crate::dialect::Error) -> Progress {
        // The provider's own words are for us; the client gets ours.
        tracing::debug!(reason = error.name(), "an upstream stream can't be read on");
        let fault = match error {
            crate::dialect::Error::Upstream(_) => NodeFault::InBand,
            crate::dialect::Error::EventTooLarge | crate::dialect::Error::Malformed(_) => NodeFault::Malformed,
        };
        self.broken(fault)
    }

    fn broken(&mut self, fault: NodeFault) -> Progress {
        Progress::Broken(self.machine.on(Event::Error(fault), self.ticker.now()))
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let Some(deadline) = self.machine.deadline() else { return Poll::Pending };
            let now = self.ticker.now();
            if deadline <= now {
                return Poll::Ready(Progress::Broken(self.machine.on(Event::Tick, now)));
            }
            self.timer.as_mut().reset(self.ticker.instant(deadline));
        }
        Poll::Pending
    }
}
