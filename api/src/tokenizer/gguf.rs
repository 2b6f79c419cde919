//! Reading what a GGUF model file says about its tokenizer.
//!
//! Only the metadata at the front is read, never a tensor, and every length in the file is checked
//! against a bound before anything is allocated: the file may come from a stranger.

use std::io::{self, BufReader, Read};
use std::path::Path;

use super::Error;

/// Bytes of metadata read before giving up; the largest vocabularies in use take about 15 MB.
const MAX_METADATA_BYTES: u64 = 256 << 20;
/// Metadata entries; real files have a few dozen.
const MAX_ENTRIES: u64 = 1 << 16;
/// Bytes of one string; the longest are chat templates of some tens of kilobytes.
const MAX_STRING_BYTES: u64 = 4 << 20;
/// Elements of one array; the largest vocabularies have about 260,000 tokens and twice the merges.
const MAX_ELEMENTS: u64 = 4 << 20;
/// How deep arrays nest; the tokenizer's own are flat.
const MAX_NESTING: u32 = 4;

/// Why a GGUF file's metadata can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file ends early or can't be read.
    #[error("reading failed")]
    Read(#[from] io::Error),
    /// The file is something else.
    #[error("this is not a GGUF file")]
    Magic,
    /// A version whose layout is unknown here.
    #[error("GGUF version {0} is not supported")]
    Version(u32),
    /// A length in the file is out of all proportion.
    #[error("{what} of {length} is over the bound of {bound}")]
    Bound {
        /// What the length is of.
        what: &'static str,
        /// The length found.
        length: u64,
        /// The most accepted.
        bound: u64,
    },
    /// A value of a type the format doesn't have.
    #[error("value type {0} does not exist")]
    Type(u32),
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Text,
    /// A field that is needed is missing or of another type.
    #[error("{0} is missing or of another type")]
    Missing(&'static str),
}

/// What a model file says about its tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gguf {
    /// The kind of vocabulary (`tokenizer.ggml.model`).
    pub model: String,
    /// How text is cut before merging (`tokenizer.ggml.pre`).
    pub pre: String,
    /// All tokens, by id.
    pub tokens: Vec<String>,
    /// Merges in order of rank, each two tokens with a space between.
    pub merges: Vec<String>,
    /// What each token is (1 normal, 3 control, 4 user-defined, …).
    pub token_types: Vec<i32>,
    /// The token a text begins with.
    pub bos: Option<u32>,
    /// The token a text ends with.
    pub eos: Option<u32>,
    /// Whether the engine puts the first token in front.
    pub add_bos: bool,
    /// The chat template.
    pub chat_template: Option<String>,
}

/// A value of interest; the rest is read over.
enum Value {
    Integer(i64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i32>),
    Other,
}

impl Gguf {
    /// Reads a file's metadata.
    ///
    /// # Errors
    /// [`Error::Read`] when it can't be opened, [`Error::Gguf`] when it can't be used.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = std::fs::File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Ok(Self::read(BufReader::new(file))?)
    }

    /// Reads metadata from the front of a stream.
    ///
    /// # Errors
    /// [`GgufError`].
    pub fn read(source: impl Read) -> Result<Self, GgufError> {
        let mut reader = Reader { source: source.take(MAX_METADATA_BYTES) };
        if reader.bytes::<4>()? != *b"GGUF" {
            return Err(GgufError::Magic);
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version(version));
        }
        let _tensors = reader.u64()?;
        let entries = reader.length("an entry count", MAX_ENTRIES)?;
        let mut gguf = Self::default();
        for _ in 0..entries {
            let key = reader.text()?;
            let kind = reader.u32()?;
            if key.starts_with("tokenizer.") {
                let value = reader.value(kind)?;
                gguf.set(&key, value);
            } else {
                reader.skip(kind, 0)?;
            }
        }
        gguf.check()
    }

    /// The text of a token.
    pub fn token(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(id? as usize).map(String::as_str)
    }

    fn set(&mut self, key: &str, value: Value) {
        match (key, value) {
            ("tokenizer.ggml.model", Value::Text(text)) => self.model = text,
            ("tokenizer.ggml.pre", Value::Text(text)) => self.pre = text,
            ("tokenizer.ggml.tokens", Value::Texts(texts)) => self.tokens = texts,
            ("tokenizer.ggml.merges", Value::Texts(texts)) => self.merges = texts,
            ("tokenizer.ggml.token_type", Value::Integers(types)) => self.token_types = types,
            ("tokenizer.ggml.bos_token_id", Value::Integer(id)) => self.bos = u32::try_from(id).ok(),
            ("tokenizer.ggml.eos_token_id", Value::Integer(id)) => self.eos = u32::try_from(id).ok(),
            ("tokenizer.ggml.add_bos_token", Value::Bool(add)) => self.add_bos = add,
            ("tokenizer.chat_template", Value::Text(text)) => self.chat_template = Some(text),
            _ => {}
        }
    }

    fn check(self) -> Result<Self, GgufError> {
        if self.model.is_empty() {
            return Err(GgufError::Missing("tokenizer.ggml.model"));
        }
        if self.tokens.is_empty() {
            return Err(GgufError::Missing("tokenizer.ggml.tokens"));
        }
        if !self.token_types.is_empty() && self.token_types.len() != self.tokens.len() {
            return Err(GgufError::Missing("tokenizer.ggml.token_type for every token"));
        }
        Ok(self)
    }
}

struct Reader<R> {
    source: io::Take<R>,
}

impl<R: Read> Reader<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn length(&mut self, what: &'static str, bound: u64) -> Result<u64, GgufError> {
        let length = self.u64()?;
        if length > bound {
            return Err(GgufError::Bound { what, length, bound });
        }
        Ok(length)
    }

    fn text(&mut self) -> Result<String, GgufError> {
        let length = self.length("a string length", MAX_STRING_BYTES)?;
        // Grows with what is really there, so a lying length costs nothing.
        let mut bytes = Vec::new();
        (&mut self.source).take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(GgufError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        String::from_utf8(bytes).map_err(|_| GgufError::Text)
    }

    fn value(&mut self, kind: u32) -> Result<Value, GgufError> {
        Ok(match kind {
            0..=6 | 10..=12 => self.scalar(kind)?.map_or(Value::Other, Value::Integer),
            7 => Value::Bool(self.bytes::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => self.array()?,
            other => return Err(GgufError::Type(other)),
        })
    }

    /// A number; `None` for one with a fraction, which nothing here needs.
    fn scalar(&mut self, kind: u32) -> Result<Option<i64>, GgufError> {
        Ok(match kind {
            0 => Some(i64::from(self.bytes::<1>()?[0])),
            1 => Some(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => Some(i64::from(u16::from_le_bytes(self.bytes()?))),
            3 => Some(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Some(i64::from(self.u32()?)),
            5 => Some(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => self.bytes::<4>().map(|_| None)?,
            10 => i64::try_from(self.u64()?).ok(),
            11 => Some(i64::from_le_bytes(self.bytes()?)),
            12 => self.bytes::<8>().map(|_| None)?,
            other => return Err(GgufError::Type(other)),
        })
    }

    fn array(&mut self) -> Result<Value, GgufError> {
        let kind = self.u32()?;
        let length = self.length("an array length", MAX_ELEMENTS)?;
        match kind {
            8 => (0..length).map(|_| self.text()).collect::<Result<_, _>>().map(Value::Texts),
            0..=5 => {
                let integers = (0..length).map(|_| {
                    let value = self.scalar(kind)?.unwrap_or_default();
                    i32::try_from(value).map_err(|_| GgufError::Missing("an array of small integers"))
                });
                integers.collect::<Result<_, _>>().map(Value::Integers)
            }
            kind => {
                for _ in 0..length {
                    self.skip(kind, 1)?;
                }
                Ok(Value::Other)
            }
        }
    }

    fn skip(&mut self, kind: u32, nesting: u32) -> Result<(), GgufError> {
        match kind {
            7 => self.bytes::<1>().map(drop),
            8 => {
                let length = self.length("a string length", MAX_STRING_BYTES)?;
                self.skip_bytes(length)
            }
            9 if nesting < MAX_NESTING => {
                let kind = self.u32()?;
                let length = self.length("an array length", MAX_ELEMENTS)?;
                for _ in 0..length {
                    self.skip(kind, nesting + 1)?;
                }
                Ok(())
            }
            kind => self.scalar(kind).map(drop),
        }
    }

    fn skip_bytes(&mut self, length: u64) -> Result<(), GgufError> {
        let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
        if skipped < length {
            return Err(GgufError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}
