//! Cutting text into the pieces that are merged on their own.
//!
//! These are the splitting patterns of the common byte-level vocabularies, written out by hand: a
//! regular-expression engine spends twenty times as long on them, and counting happens for every
//! request.

use super::chars::{Kind, is_head, is_tail, kind};

/// How text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The pattern of GPT-2.
    Gpt2,
    /// The same between digits, which stand alone.
    Digits,
    /// The pattern of Llama 3 and of Qwen 2, which differ in how many digits stay together.
    Llama3 {
        /// The most digits in one piece.
        digits: u8,
    },
    /// The pattern of cl100k: Llama 3's, but white space at the end of a text is one piece.
    Cl100k,
    /// The pattern of o200k: a word ends where a capital follows a small letter, and keeps its contraction.
    O200k,
}

impl Cut {
    /// Gives each piece of `text` to `piece`, in order.
    pub(super) fn pieces(self, text: &str, mut piece: impl FnMut(&str)) {
        match self {
            Self::Gpt2 => gpt2(text, &mut piece),
            Self::Llama3 { digits } => each(text, &mut piece, |text, at| llama3(text, at, digits)),
            Self::Cl100k => each(text, &mut piece, |text, at| rest_of_spaces(text, at).or_else(|| llama3(text, at, 3))),
            Self::O200k => each(text, &mut piece, o200k),
            Self::Digits => {
                let mut rest = text;
                while let Some((at, digit)) = rest.char_indices().find(|(_, c)| kind(*c) == Kind::Number) {
                    let end = at + digit.len_utf8();
                    gpt2(&rest[..at], &mut piece);
                    piece(&rest[at..end]);
                    rest = &rest[end..];
                }
                gpt2(rest, &mut piece);
            }
        }
    }
}

fn gpt2(text: &str, piece: &mut impl FnMut(&str)) {
    each(text, piece, |text, at| {
        let first = char_at(text, at)?;
        if let Some(end) = contraction(text, at, false) {
            return Some(end);
        }
        let start = at + usize::from(first == ' ');
        match char_at(text, start).map(kind) {
            Some(one) if one != Kind::Space => Some(run(text, start, |c| kind(c) == one)),
            _ => Some(spaces(text, at)),
        }
    });
}

fn llama3(text: &str, at: usize, digits: u8) -> Option<usize> {
    let first = char_at(text, at)?;
    if let Some(end) = contraction(text, at, true) {
        return Some(end);
    }
    let letter = |c: char| kind(c) == Kind::Letter;
    let start = at + lead(first);
    if letter(first) || char_at(text, start).is_some_and(letter) {
        return Some(run(text, start, letter));
    }
    Some(numbers(text, at, digits).or_else(|| signs(text, at, is_newline)).unwrap_or_else(|| lines(text, at)))
}

fn o200k(text: &str, at: usize) -> Option<usize> {
    let start = at + lead(char_at(text, at)?);
    // A mark can be what a word begins with and what comes before it.
    let starts = [start, at];
    let word = starts.into_iter().find_map(|start| small_word(text, start));
    if let Some(end) = word.or_else(|| starts.into_iter().find_map(|start| capital_word(text, start))) {
        return Some(contraction(text, end, true).unwrap_or(end));
    }
    let after = |c| is_newline(c) || c == '/';
    Some(numbers(text, at, 3).or_else(|| signs(text, at, after)).unwrap_or_else(|| lines(text, at)))
}

/// Capitals, if any, and then at least one small letter. A letter without a case is either: where no small letter
/// follows, the last such letter is the one.
fn small_word(text: &str, at: usize) -> Option<usize> {
    let head = run(text, at, is_head);
    let end = run(text, head, is_tail);
    if end > head {
        return Some(end);
    }
    let (last, c) = text[at..head].char_indices().rfind(|(_, c)| is_tail(*c))?;
    Some(at + last + c.len_utf8())
}

/// At least one capital, and then any small letters.
fn capital_word(text: &str, at: usize) -> Option<usize> {
    let head = run(text, at, is_head);
    (head > at).then(|| run(text, head, is_tail))
}

/// The length of a character that a word may begin with without being part of it.
fn lead(first: char) -> usize {
    let taken = !is_newline(first) && matches!(kind(first), Kind::Space | Kind::Other);
    if taken { first.len_utf8() } else { 0 }
}

/// A number, in pieces of so many digits.
fn numbers(text: &str, at: usize, digits: u8) -> Option<usize> {
    let numbers = text[at..].chars().take(usize::from(digits)).take_while(|c| kind(*c) == Kind::Number);
    let length: usize = numbers.map(char::len_utf8).sum();
    (length > 0).then_some(at + length)
}

/// A run of signs, after a blank perhaps, with what clings to its end.
fn signs(text: &str, at: usize, clings: impl Fn(char) -> bool) -> Option<usize> {
    let start = at + usize::from(text[at..].starts_with(' '));
    let end = run(text, start, |c| kind(c) == Kind::Other);
    (end > start).then(|| run(text, end, clings))
}

/// White space up to its last line feed; without one, as [`spaces`].
fn lines(text: &str, at: usize) -> usize {
    let end = run(text, at, |c| kind(c) == Kind::Space);
    text[at..end].rfind(is_newline).map_or_else(|| spaces(text, at), |last| at + last + 1)
}

/// White space that nothing follows.
fn rest_of_spaces(text: &str, at: usize) -> Option<usize> {
    let end = run(text, at, |c| kind(c) == Kind::Space);
    (end == text.len() && end > at).then_some(end)
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// Runs a pattern over a text; `next` says where the piece at a position ends.
fn each(text: &str, piece: &mut impl FnMut(&str), next: impl Fn(&str, usize) -> Option<usize>) {
    let mut at = 0;
    while let Some(end) = next(text, at) {
        piece(&text[at..end]);
        at = end;
    }
}

/// White space, of which the last character is left to a word that follows.
fn spaces(text: &str, at: usize) -> usize {
    let end = run(text, at, |c| kind(c) == Kind::Space);
    if end == text.len() {
        return end;
    }
    let last = text[at..end].char_indices().next_back().map_or(0, |(last, _)| last);
    if last > 0 { at + last } else { end }
}

/// `'s`, `'re` and the like.
fn contraction(text: &str, at: usize, any_case: bool) -> Option<usize> {
    let rest = text[at..].strip_prefix('\'')?;
    // The long s is an s in another case.
    if any_case && rest.starts_with('ſ') {
        return Some(at + 1 + 'ſ'.len_utf8());
    }
    let rest = rest.as_bytes();
    let is = |ending: &str| {
        let start = rest.get(..ending.len())?;
        let same = if any_case { start.eq_ignore_ascii_case(ending.as_bytes()) } else { start == ending.as_bytes() };
        same.then_some(at + 1 + ending.len())
    };
    ["s", "t", "re", "ve", "m", "ll", "d"].into_iter().find_map(is)
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text[at..].chars().next()
}

/// Where the characters that follow stop belonging.
fn run(text: &str, from: usize, belongs: impl Fn(char) -> bool) -> usize {
    text[from..].find(|c| !belongs(c)).map_or(text.len(), |length| from + length)
}
