//! Reads a bound answer back as the call it is, while it comes.

use super::Expected;
use crate::dialect::Error;
use crate::dialect::wire::FinishReason;

/// The longest key or name of a call, in bytes: names have 64 characters at most, each escaped at worst.
const MAX_NAME_BYTES: usize = 64 * 12;
/// Stands for what is no character, the inside of a string literal.
const NO_CHARACTER: &str = "\\ufffd";

/// The choices of one answer.
#[derive(Debug)]
pub(in crate::dialect) struct Answers {
    expected: Expected,
    choices: Vec<Answer>,
}

/// What one piece of an engine's text brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::dialect) struct Found {
    /// A call opens: the function's name, the inside of a string literal.
    pub(in crate::dialect) call: Option<String>,
    /// More of its arguments, JSON text.
    pub(in crate::dialect) arguments: String,
    /// More words, the inside of a string literal.
    pub(in crate::dialect) words: String,
}

impl Answers {
    /// `None` where nothing but text is expected, which needs no reading.
    pub(in crate::dialect) fn expecting(expected: Expected) -> Option<Self> {
        (expected != Expected::Text).then(|| Self { expected, choices: Vec::new() })
    }

    /// Reads one more piece of a choice: the inside of a string literal.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is not of the form the engine was bound to.
    pub(in crate::dialect) fn push(&mut self, choice: u32, literal: &str) -> Result<Found, Error> {
        let Self { expected, choices } = self;
        let needed = choice as usize + 1;
        while choices.len() < needed {
            choices.push(Answer::new(expected));
        }
        choices[choice as usize].push(expected, literal)
    }

    /// How a choice ended, in view of what it was.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the engine says it is done and the call is not.
    pub(in crate::dialect) fn finish(&self, choice: u32, reason: FinishReason) -> Result<FinishReason, Error> {
        if matches!(reason, FinishReason::Length | FinishReason::ContentFilter) {
            return Ok(reason);
        }
        match self.choices.get(choice as usize) {
            Some(answer) if answer.stage == Stage::Done => {
                Ok(if answer.called { FinishReason::ToolCalls } else { FinishReason::Stop })
            }
            _ => Err(unbound()),
        }
    }
}

/// How far one choice has come.
#[derive(Debug)]
struct Answer {
    stage: Stage,
    /// A function was named.
    called: bool,
    /// Half of a character that the engine's chunks were cut in.
    half: String,
    /// An escape in words that is not whole yet.
    escape: String,
}

/// The members of a call, or of an answer in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Words,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The object.
    Open,
    /// A key.
    Key,
    /// The rest of a key.
    InKey(String),
    Colon(Field),
    Value(Field),
    /// The rest of a function's name.
    InName(String),
    InWords,
    InArguments {
        depth: u32,
        in_string: bool,
        escaped: bool,
    },
    /// A comma, or the end.
    After(Field),
    /// Nothing.
    Done,
}

impl Answer {
    fn new(expected: &Expected) -> Self {
        let stage =
            if matches!(expected, Expected::Arguments(_)) { Stage::Value(Field::Arguments) } else { Stage::Open };
        Self { stage, called: false, half: String::new(), escape: String::new() }
    }

    fn push(&mut self, expected: &Expected, literal: &str) -> Result<Found, Error> {
        let mut literal = std::mem::take(&mut self.half) + literal;
        if let Some(at) = half_at(&literal) {
            self.half = literal.split_off(at);
        }
        let mut found = Found::default();
        let text: String = serde_json::from_str(&format!("\"{literal}\"")).map_err(|_| unbound())?;
        for letter in text.chars() {
            self.step(expected, letter, &mut found)?;
        }
        Ok(found)
    }

    fn step(&mut self, expected: &Expected, letter: char, found: &mut Found) -> Result<(), Error> {
        let blank = matches!(letter, ' ' | '\n' | '\r' | '\t');
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Done), letter) {
            (Stage::InKey(key), '"') => Stage::Colon(self.field(expected, &key)?),
            (Stage::InKey(key), letter) => Stage::InKey(longer(key, letter)?),
            (Stage::InName(name), '"') if !ends_in_escape(&name) => {
                self.named(expected, name, found)?;
                Stage::After(Field::Name)
            }
            (Stage::InName(name), letter) => Stage::InName(longer(name, letter)?),
            (Stage::InWords, letter) if self.words(letter, &mut found.words)? => Stage::After(Field::Words),
            (Stage::InWords, _) => Stage::InWords,
            (Stage::InArguments { depth, in_string, escaped }, letter) => {
                found.arguments.push(letter);
                inside(expected, depth, in_string, escaped, letter)
            }
            (stage, _) if blank => stage,
            (Stage::Open, '{') => Stage::Key,
            (Stage::Key, '"') => Stage::InKey(String::new()),
            (Stage::Colon(field), ':') => Stage::Value(field),
            (Stage::Value(Field::Name), '"') => Stage::InName(String::new()),
            (Stage::Value(Field::Words), '"') => Stage::InWords,
            (Stage::Value(Field::Arguments), '{') => {
                if let Expected::Arguments(name) = expected {
                    let literal = super::super::render::quoted(name);
                    found.call = Some(literal[1..literal.len() - 1].to_owned());
                    self.called = true;
                }
                found.arguments.push('{');
                Stage::InArguments { depth: 1, in_string: false, escaped: false }
            }
            (Stage::After(Field::Name), ',') => Stage::Key,
            (Stage::After(Field::Arguments | Field::Words), '}') => Stage::Done,
            _ => return Err(unbound()),
        };
        Ok(())
    }

    /// The field a key stands for: the name first, then what the function takes; or words instead.
    fn field(&self, expected: &Expected, key: &str) -> Result<Field, Error> {
        match (key, self.called, expected) {
            ("name", false, _) => Ok(Field::Name),
            ("arguments", true, _) => Ok(Field::Arguments),
            ("reply", false, Expected::Call { words: true, .. }) => Ok(Field::Words),
            _ => Err(unbound()),
        }
    }

    fn named(&mut self, expected: &Expected, literal: String, found: &mut Found) -> Result<(), Error> {
        let name: String = serde_json::from_str(&format!("\"{literal}\"")).map_err(|_| unbound())?;
        match expected {
            Expected::Call { names, .. } if names.contains(&name) => {
                self.called = true;
                found.call = Some(literal);
                Ok(())
            }
            _ => Err(unbound()),
        }
    }

    /// Takes in a letter of words; whether it ends them. An escape is passed on when it is whole: clients read each
    /// piece by itself.
    fn words(&mut self, letter: char, out: &mut String) -> Result<bool, Error> {
        if is_high(&self.escape) && letter != '\\' {
            self.escape.clear();
            out.push_str(NO_CHARACTER);
        }
        match (self.escape.is_empty(), letter) {
            (true, '"') => return Ok(true),
            (true, '\\') => self.escape.push(letter),
            (true, '\0'..' ') => return Err(unbound()),
            (true, letter) => out.push(letter),
            (false, letter) => {
                self.escape.push(letter);
                self.unescape(out)?;
            }
        }
        Ok(false)
    }

    /// Passes an escape on, if it is whole. Half of a pair alone is no character, and clients would stumble over it.
    fn unescape(&mut self, out: &mut String) -> Result<(), Error> {
        if self.escape.len() == 8 && !self.escape.ends_with("\\u") {
            out.push_str(NO_CHARACTER);
            self.escape.drain(..6);
        }
        let escape = self.escape.as_str();
        let whole = match (escape.starts_with("\\u"), escape.len()) {
            (true, 6) => !is_high(escape),
            (true, length) => length == 12,
            (false, length) => length == 2,
        };
        if !whole {
            return Ok(());
        }
        if serde_json::from_str::<String>(&format!("\"{escape}\"")).is_ok() {
            out.push_str(escape);
        } else if escape.bytes().all(|byte| byte.is_ascii_hexdigit() || b"\\u".contains(&byte)) {
            out.push_str(NO_CHARACTER);
        } else {
            return Err(unbound());
        }
        self.escape.clear();
        Ok(())
    }
}

/// Follows the arguments to their last brace.
fn inside(expected: &Expected, depth: u32, in_string: bool, escaped: bool, letter: char) -> Stage {
    let (depth, in_string, escaped) = match (in_string, escaped, letter) {
        (true, true, _) => (depth, true, false),
        (true, false, '\\') => (depth, true, true),
        (true, false, '"') => (depth, false, false),
        (true, false, _) => (depth, true, false),
        (false, _, '"') => (depth, true, false),
        (false, _, '{' | '[') => (depth + 1, false, false),
        (false, _, '}' | ']') => (depth - 1, false, false),
        (false, ..) => (depth, false, false),
    };
    match (depth, expected) {
        (0, Expected::Arguments(_)) => Stage::Done,
        (0, _) => Stage::After(Field::Arguments),
        _ => Stage::InArguments { depth, in_string, escaped },
    }
}

fn longer(mut text: String, letter: char) -> Result<String, Error> {
    text.push(letter);
    if text.len() > MAX_NAME_BYTES { Err(unbound()) } else { Ok(text) }
}

/// Whether the next letter belongs to an escape.
fn ends_in_escape(literal: &str) -> bool {
    literal.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Whether this is the escape of a pair's first half, and all of it.
fn is_high(escape: &str) -> bool {
    escape.len() == 6 && escape.strip_prefix("\\u").is_some_and(is_high_digits)
}

fn is_high_digits(digits: &str) -> bool {
    u32::from_str_radix(digits, 16).is_ok_and(|unit| (0xd800..0xdc00).contains(&unit))
}

/// Where the first half of a character stands alone at the end of a literal.
fn half_at(literal: &str) -> Option<usize> {
    let at = literal.len().checked_sub(6)?;
    let end = literal.get(at..)?;
    (is_high(end) && !ends_in_escape(&literal[..at])).then_some(at)
}

fn unbound() -> Error {
    Error::Malformed("the answer is not of the form the engine was bound to".to_owned())
}
