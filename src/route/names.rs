//! Identifiers as the server sees them: ASCII folding, doubled quotes, 63 bytes.

use super::encoding::{Known, LexState};
use super::lex::{Kind, Lexer, Token};

/// The bytes of an identifier that count: `NAMEDATALEN` less one; the server cuts the rest off.
pub(super) const LONGEST: usize = 63;

/// The names and old names by which one setting is known, and its canonical name: `map_old_guc_names` of `guc.c`.
const OLD_NAMES: &[(&[u8], &[u8])] = &[
    (b"sort_mem", b"work_mem"),
    (b"vacuum_mem", b"maintenance_work_mem"),
];

/// The canonical name of a setting, of which this is the name in lower case.
pub(super) fn setting(name: &[u8]) -> Vec<u8> {
    let old = OLD_NAMES.iter().find(|(old, _)| *old == name);
    old.map_or(name, |(_, new)| new).to_vec()
}

/// A name folded into a buffer of its own, so that comparing it allocates nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folded {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Folded {
    /// The name that the token is, or `None` where the server's view is not certain: an escaped name, a doubled
    /// quote, more than 63 bytes, or an unquoted non-ASCII letter, which some server encodings fold.
    pub(super) fn new(token: &Token, text: &[u8]) -> Option<Folded> {
        let fold = token.keyword().is_some();
        let inner = if fold { text } else { unquote(text) };
        let readable = if fold {
            text.is_ascii()
        } else {
            token.kind == Kind::Quoted
        };
        if !readable {
            return None;
        }
        if inner.len() > LONGEST || inner.contains(&b'"') {
            return None;
        }
        let mut bytes = [0_u8; LONGEST];
        for (to, from) in bytes.iter_mut().zip(inner) {
            *to = if fold {
                from.to_ascii_lowercase()
            } else {
                *from
            };
        }
        Some(Folded {
            bytes,
            len: inner.len(),
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Whether the word is somewhere in the text, whatever its case.
pub(super) fn mentions(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

/// The text between the quotes.
pub(super) fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [_, inner @ .., _] => inner,
        [] | [_] => &[],
    }
}

/// The text between the quotes of a plain literal or quoted name, with doubled quotes made single.
pub(super) fn undouble(text: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = unquote(text).iter();
    while let Some(byte) = bytes.next() {
        out.push(*byte);
        if *byte == quote {
            bytes.next();
        }
    }
    out
}

/// A name that a statement gives: its bytes, and whether the server certainly sees the same.
pub(super) fn owned(token: &Token, text: &[u8]) -> (Box<[u8]>, bool) {
    let (mut name, exact) = if token.keyword().is_some() {
        (text.to_ascii_lowercase(), text.is_ascii())
    } else if token.kind == Kind::Quoted {
        (undouble(text, b'"'), true)
    } else {
        (text.to_vec(), false)
    };
    let exact = exact && (name.len() <= LONGEST || name.is_ascii());
    name.truncate(LONGEST);
    (name.into_boxed_slice(), exact)
}

/// A schema, if given, and a name.
pub(super) type Qualified = (Option<Box<[u8]>>, Box<[u8]>);

/// Parses `name` or `schema.name` as SQL writes them.
pub(super) fn parse_qualified(text: &[u8]) -> Option<Qualified> {
    if text.contains(&0) {
        return None;
    }
    let lex = LexState {
        standard_conforming_strings: Known::Is(true),
        ..LexState::default()
    };
    let mut lexer = Lexer::new(text, &lex);
    let part = |lexer: &mut Lexer<'_>| {
        let token = lexer.next();
        let (name, exact) = owned(&token, lexer.text(&token));
        let quotes: usize = if token.kind == Kind::Quoted { 2 } else { 0 };
        let fits = token.len() <= LONGEST.saturating_add(quotes);
        (exact && fits && !name.is_empty()).then_some(name)
    };
    let first = part(&mut lexer)?;
    let next = lexer.next().kind;
    if next == Kind::Dot {
        let second = part(&mut lexer)?;
        (lexer.next().kind == Kind::End).then_some((Some(first), second))
    } else {
        (next == Kind::End).then_some((None, first))
    }
}
