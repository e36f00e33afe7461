//! The words of a text.

use std::sync::Arc;

use super::super::fault::Fault;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// An identifier or keyword, folded.
    Word(Arc<str>),
    /// An identifier in double quotes.
    Quoted(Arc<str>),
    Str(Arc<str>),
    Int(i64),
    Number(Arc<str>),
    Param(usize),
    Op(&'static str),
}

/// A token and where it stands.
pub(super) struct Located {
    pub(super) token: Token,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What settings decide about texts.
#[derive(Clone, Copy)]
pub(crate) struct Lexing {
    /// `standard_conforming_strings`
    pub(crate) standard: bool,
    /// `escape_string_warning`
    pub(crate) warn: bool,
}

const OPS: [&str; 20] = [
    "::", "<=", ">=", "<>", "!=", "||", "=>", "(", ")", ",", ";", ".", "*", "+", "-", "/", "=",
    "<", ">", "[",
];

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    lexing: Lexing,
    warnings: Vec<Caution>,
}

/// What the lexer tells about a text that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caution {
    /// A literal has a backslash that the standard does not know.
    Backslash,
    /// An identifier is longer than those are kept.
    Truncated,
    /// A temporary object is said to be GLOBAL.
    Global,
}

/// The bytes of an identifier that count (`NAMEDATALEN` less one).
const NAME_BYTES: usize = 63;

/// The part of a name that counts.
pub(crate) fn clipped(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// The tokens, and what there is to tell about them.
pub(super) fn tokens(text: &str, lexing: Lexing) -> Result<(Vec<Located>, Vec<Caution>), Fault> {
    let mut lexer = Lexer {
        text,
        at: 0,
        lexing,
        warnings: Vec::new(),
    };
    let mut out = Vec::new();
    loop {
        lexer.skip_space()?;
        let start = lexer.at;
        if start >= text.len() {
            return Ok((out, lexer.warnings));
        }
        let token = lexer.token()?;
        let end = lexer.at;
        out.push(Located { token, start, end });
    }
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn byte(&self, ahead: usize) -> u8 {
        let bytes = self.text.as_bytes();
        bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_space(&mut self) -> Result<(), Fault> {
        loop {
            let rest = self.rest();
            if rest.starts_with("--") {
                self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.comment()?;
            } else if rest.starts_with([' ', '\t', '\n', '\r', '\u{c}']) {
                self.at += 1;
            } else {
                return Ok(());
            }
        }
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let mut depth = 0;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else {
                let Some(c) = rest.chars().next() else {
                    return Err(Fault::new("42601", "unterminated /* comment"));
                };
                self.at += c.len_utf8();
            }
        }
    }

    fn token(&mut self) -> Result<Token, Fault> {
        let byte = self.byte(0);
        let quote_next = self.byte(1) == b'\'';
        match byte {
            b'\'' => {
                let escapes = !self.lexing.standard;
                self.string(0, escapes, escapes && self.lexing.warn)
            }
            b'e' | b'E' if quote_next => self.string(1, true, false),
            b'n' | b'N' if quote_next => self.string(1, !self.lexing.standard, false),
            b'"' => self.quoted(),
            b'$' if self.byte(1).is_ascii_digit() => {
                self.at += 1;
                let digits = self.run(|b| b.is_ascii_digit());
                Ok(Token::Param(digits.parse().unwrap_or(usize::MAX)))
            }
            b'$' => self.dollar(),
            b'0'..=b'9' => Ok(self.number()),
            b'.' if self.byte(1).is_ascii_digit() => Ok(self.number()),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => {
                let word =
                    self.run(|b| b == b'_' || b == b'$' || b.is_ascii_alphanumeric() || b >= 0x80);
                let word = word.to_ascii_lowercase();
                Ok(Token::Word(self.identifier(&word).into()))
            }
            _ => self.op(),
        }
    }

    fn run(&mut self, wanted: impl Fn(u8) -> bool) -> &str {
        let start = self.at;
        while self.at < self.text.len() && wanted(self.byte(0)) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn op(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let Some(op) = OPS.iter().find(|op| rest.starts_with(**op)) else {
            let c: String = rest.chars().take(1).collect();
            return Err(Fault::syntax(&c));
        };
        self.at += op.len();
        Ok(Token::Op(op))
    }

    fn number(&mut self) -> Token {
        let digits = self.run(|b| b.is_ascii_digit() || b == b'.').to_owned();
        match digits.parse() {
            Ok(number) => Token::Int(number),
            Err(_) => Token::Number(digits.into()),
        }
    }

    fn string(&mut self, prefix: usize, escapes: bool, warn: bool) -> Result<Token, Fault> {
        self.at += prefix + 1;
        let mut out = String::new();
        let mut warned = false;
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(Fault::new("42601", "unterminated quoted string"));
            };
            self.at += c.len_utf8();
            match c {
                '\'' if self.byte(0) == b'\'' => {
                    self.at += 1;
                    out.push('\'');
                }
                '\'' if self.continues()? => {}
                '\'' => break,
                '\\' if escapes => {
                    warned = true;
                    self.escape(&mut out)?;
                }
                c => out.push(c),
            }
        }
        self.warnings
            .extend((warn && warned).then_some(Caution::Backslash));
        Ok(Token::Str(out.into()))
    }

    /// A literal goes on in the next when only white space with a line's end is between, and comments that end with a line.
    fn continues(&mut self) -> Result<bool, Fault> {
        let ends = ['\n', '\r'];
        let mut next = self.rest();
        loop {
            next = next.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            if !next.starts_with("--") {
                break;
            }
            next = &next[next.find(ends).unwrap_or(next.len())..];
        }
        let between = self.rest().len() - next.len();
        let goes_on = next.starts_with('\'') && self.rest()[..between].contains(ends);
        if goes_on {
            self.at += between + 1;
        }
        Ok(goes_on)
    }

    fn escape(&mut self, out: &mut String) -> Result<(), Fault> {
        let Some(c) = self.rest().chars().next() else {
            return Err(Fault::new("42601", "unterminated quoted string"));
        };
        self.at += c.len_utf8();
        out.push(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            c => c,
        });
        Ok(())
    }

    fn quoted(&mut self) -> Result<Token, Fault> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(Fault::new("42601", "unterminated quoted identifier"));
            };
            self.at += c.len_utf8();
            match c {
                '"' if self.byte(0) == b'"' => {
                    self.at += 1;
                    out.push('"');
                }
                '"' => break,
                c => out.push(c),
            }
        }
        if out.is_empty() {
            return Err(Fault::new("42601", "zero-length delimited identifier"));
        }
        Ok(Token::Quoted(self.identifier(&out).into()))
    }

    /// As much of an identifier as counts.
    fn identifier<'n>(&mut self, name: &'n str) -> &'n str {
        let kept = clipped(name);
        self.warnings
            .extend((kept.len() < name.len()).then_some(Caution::Truncated));
        kept
    }

    fn dollar(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let tag_end = rest[1..]
            .find(|c: char| !(c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii()))
            .map_or(rest.len(), |at| at + 1);
        if !rest[tag_end..].starts_with('$') {
            return Err(Fault::syntax("$"));
        }
        let tag = &rest[..=tag_end];
        let body = &rest[tag.len()..];
        let Some(end) = body.find(tag) else {
            return Err(Fault::new("42601", "unterminated dollar-quoted string"));
        };
        let token = Token::Str(body[..end].into());
        self.at += end + 2 * tag.len();
        Ok(token)
    }
}
