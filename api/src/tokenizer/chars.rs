//! What kinds of characters there are for patterns that cut text.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// What every pattern tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Letter,
    Number,
    Space,
    Other,
}

const LETTER: u8 = 1;
const NUMBER: u8 = 2;
const SPACE: u8 = 4;
const HEAD: u8 = 8;
const TAIL: u8 = 16;

/// What each flag stands for. Letters without a case, and marks, are in a word's head and in its tail.
const FLAGS: [(u8, &str); 5] = [
    (LETTER, r"\p{L}"),
    (NUMBER, r"\p{N}"),
    (SPACE, r"\s"),
    (HEAD, r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"),
    (TAIL, r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"),
];

const BLOCK: usize = 256;

/// The flags of every character, in blocks most of which are alike.
struct Table {
    block_of: Vec<u16>,
    blocks: Vec<[u8; BLOCK]>,
}

/// Out of the tables of the regular expressions that the libraries cut with, so that their words and ours never
/// differ; the standard library's notion of alphabetic is wider.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut flags = vec![0; char::MAX as usize + 1];
    for (flag, pattern) in FLAGS {
        let parsed = regex_syntax::parse(pattern).expect("the pattern is constant and valid").into_kind();
        let HirKind::Class(Class::Unicode(class)) = parsed else { unreachable!("{pattern} is a class of characters") };
        for range in class.ranges() {
            flags[range.start() as usize..=range.end() as usize].iter_mut().for_each(|flags| *flags |= flag);
        }
    }
    let mut table = Table { block_of: Vec::new(), blocks: Vec::new() };
    for block in flags.as_chunks::<BLOCK>().0 {
        let known = table.blocks.iter().position(|known| known == block);
        let at = known.unwrap_or_else(|| {
            table.blocks.push(*block);
            table.blocks.len() - 1
        });
        table.block_of.push(u16::try_from(at).expect("there are fewer blocks than that"));
    }
    table
});

/// Makes the tables, which otherwise happens in somebody's request.
pub(super) fn prepare() {
    LazyLock::force(&TABLE);
}

fn flags(c: char) -> u8 {
    let (block, at) = (c as usize / BLOCK, c as usize % BLOCK);
    TABLE.blocks[usize::from(TABLE.block_of[block])][at]
}

/// The kind of a character.
pub(super) fn kind(c: char) -> Kind {
    match c {
        'a'..='z' | 'A'..='Z' => return Kind::Letter,
        '0'..='9' => return Kind::Number,
        ' ' | '\t'..='\r' => return Kind::Space,
        '\0'..='\u{7f}' => return Kind::Other,
        _ => {}
    }
    match flags(c) {
        flags if flags & LETTER != 0 => Kind::Letter,
        flags if flags & NUMBER != 0 => Kind::Number,
        flags if flags & SPACE != 0 => Kind::Space,
        _ => Kind::Other,
    }
}

/// Whether a character is one that a capitalized word begins with.
pub(super) fn is_head(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_uppercase() } else { flags(c) & HEAD != 0 }
}

/// Whether a character is one that a capitalized word ends with.
pub(super) fn is_tail(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_lowercase() } else { flags(c) & TAIL != 0 }
}
