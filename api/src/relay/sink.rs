//! Where an engine's answer goes: to the reader of its kind, and on to the client or into one whole.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use crate::dialect::{Error, Finish, Kind, Reader, Relayed, Tail, UpstreamUsage, Vectors, Voice};
use crate::tokenizer::Counter;

/// Takes in what an engine answers.
pub enum Sink {
    /// Generated text, told by a voice.
    Answer {
        /// Knows what was already said.
        reader: Reader,
        /// What the client gets next; of a whole answer nothing is sent piece by piece.
        out: BytesMut,
    },
    /// Vectors, which come all at once.
    Vectors(Vectors),
    /// What is passed on as it came.
    Relayed(Relayed),
}

impl Sink {
    /// Takes in one event, or a plain answer whole.
    pub(super) fn push(&mut self, event: &[u8], counter: &mut Counter) -> Result<Kind, Error> {
        match self {
            Self::Answer { reader, out } => reader.read(event, out, counter),
            Self::Vectors(vectors) => vectors.read(event),
            Self::Relayed(relayed) => relayed.read(event),
        }
    }

    /// Ends every open choice at its length.
    pub(super) fn cut(&mut self, choices: u32, counter: &mut Counter) -> Result<(), Error> {
        for choice in 0..choices {
            let end = format!(r#"{{"choices":[{{"index":{choice},"delta":{{}},"finish_reason":"length"}}]}}"#);
            self.push(end.as_bytes(), counter)?;
        }
        Ok(())
    }

    /// Usage as the provider counted it.
    pub(super) fn usage(&self) -> Option<UpstreamUsage> {
        match self {
            Self::Answer { reader, .. } => reader.usage(),
            Self::Vectors(vectors) => vectors.usage(),
            Self::Relayed(_) => None,
        }
    }

    /// How the first choice ended.
    pub(super) fn finish(&self) -> Option<Finish> {
        match self {
            Self::Answer { reader, .. } => reader.finish(0).cloned(),
            Self::Vectors(_) | Self::Relayed(_) => None,
        }
    }

    /// Whether all that was asked for has come.
    pub(super) fn is_complete(&self, choices: u32) -> bool {
        match self {
            Self::Answer { reader, .. } => reader.is_complete(choices),
            Self::Vectors(vectors) => vectors.is_complete(),
            Self::Relayed(relayed) => relayed.is_complete(),
        }
    }

    /// What the client may have now.
    pub(super) fn released(&mut self) -> Option<Bytes> {
        match self {
            Self::Answer { out, .. } if !out.is_empty() => Some(out.split().freeze()),
            Self::Answer { .. } | Self::Vectors(_) | Self::Relayed(_) => None,
        }
    }

    /// The voice, for the last frames of a stream; vectors have none.
    pub(super) fn into_voice(self) -> Option<Box<dyn Voice + Send>> {
        match self {
            Self::Answer { reader, .. } => Some(reader.into_voice()),
            Self::Vectors(_) | Self::Relayed(_) => None,
        }
    }

    /// Whether the engine's answer is nothing to be read in pieces, whatever it is called.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Relayed(_))
    }

    /// The whole answer, and its type of content.
    pub(super) fn whole(self, tail: Tail<'_>) -> (HeaderValue, Bytes) {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        match self {
            Self::Answer { reader, .. } => (JSON, reader.whole(tail).into()),
            Self::Vectors(vectors) => (JSON, vectors.whole(tail).into()),
            Self::Relayed(relayed) => relayed.whole(),
        }
    }
}
