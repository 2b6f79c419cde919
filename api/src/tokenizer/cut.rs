//! Cutting text into the pieces that are merged on their own.
//!
//! These are the splitting patterns of the common byte-level vocabularies, written out by hand: a
//! regular-expression engine spends twenty times as long on them, and counting happens for every
//! request.

use std::sync::LazyLock;

use tokenizers::utils::SysRegex;

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
}

impl Cut {
    /// Gives each piece of `text` to `piece`, in order.
    pub(super) fn pieces(self, text: &str, mut piece: impl FnMut(&str)) {
        match self {
            Self::Gpt2 => gpt2(text, &mut piece),
            Self::Llama3 { digits } => each(text, &mut piece, |text, at| llama3(text, at, digits)),
            Self::Digits => {
                let mut rest = text;
                while let Some((at, digit)) = rest.char_indices().find(|(_, c)| class(*c) == Class::Number) {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

/// The Unicode letters, one bit each. The library's own tables decide, so that its words and ours
/// never differ; the standard library's notion of alphabetic is wider.
static LETTERS: LazyLock<Box<[u64]>> = LazyLock::new(|| {
    let mut bits = vec![0; 0x11_0000 / 64];
    let candidates: String = ('\u{80}'..=char::MAX).filter(|c| c.is_alphabetic()).collect();
    let letters = SysRegex::new(r"\p{L}+").expect("the pattern is constant and valid");
    for (start, end) in letters.find_iter(&candidates) {
        for letter in candidates[start..end].chars() {
            bits[letter as usize / 64] |= 1 << (letter as usize % 64);
        }
    }
    bits.into()
});

fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => Class::Letter,
        '0'..='9' => Class::Number,
        ' ' | '\t'..='\r' => Class::Space,
        '\0'..='\u{7f}' => Class::Other,
        c if LETTERS[c as usize / 64] >> (c as usize % 64) & 1 == 1 => Class::Letter,
        c if c.is_numeric() => Class::Number,
        c if c.is_whitespace() => Class::Space,
        _ => Class::Other,
    }
}

fn gpt2(text: &str, piece: &mut impl FnMut(&str)) {
    each(text, piece, |text, at| {
        let first = char_at(text, at)?;
        if let Some(end) = contraction(text, at, false) {
            return Some(end);
        }
        let start = at + usize::from(first == ' ');
        match char_at(text, start).map(class) {
            Some(kind) if kind != Class::Space => Some(run(text, start, |c| class(c) == kind)),
            _ => Some(spaces(text, at)),
        }
    });
}

fn llama3(text: &str, at: usize, digits: u8) -> Option<usize> {
    let first = char_at(text, at)?;
    if let Some(end) = contraction(text, at, true) {
        return Some(end);
    }
    let (kind, after) = (class(first), at + first.len_utf8());
    let letter = |c: char| class(c) == Class::Letter;
    let newline = |c: char| matches!(c, '\r' | '\n');
    if kind == Class::Letter {
        return Some(run(text, at, letter));
    }
    if kind == Class::Number {
        let numbers = text[at..].chars().take(usize::from(digits)).take_while(|c| class(*c) == Class::Number);
        return Some(at + numbers.map(char::len_utf8).sum::<usize>());
    }
    if !newline(first) && char_at(text, after).is_some_and(letter) {
        return Some(run(text, after, letter));
    }
    let start = at + usize::from(first == ' ');
    if char_at(text, start).is_some_and(|c| class(c) == Class::Other) {
        let end = run(text, start, |c| class(c) == Class::Other);
        return Some(run(text, end, newline));
    }
    let end = run(text, at, |c| class(c) == Class::Space);
    match text[at..end].rfind(newline) {
        Some(last) => Some(at + last + 1),
        None => Some(spaces(text, at)),
    }
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
    let end = run(text, at, |c| class(c) == Class::Space);
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
