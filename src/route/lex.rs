//! Tokens of a SQL text, with the byte rules of PostgreSQL's own lexer (`src/backend/parser/scan.l`).
//!
//! Only boundaries matter here: where a literal, a comment, an identifier ends. Wherever two supported servers could
//! see different boundaries, or one server could under another setting, the token is a [`Doubt`].

use super::encoding::{Known, LexState};
use super::intent::Doubt;
use super::names::LONGEST;
use super::words::{Keyword, Word, lookup};

/// How a literal was quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    /// `'…'` in one piece.
    Plain,
    /// `'…'` continued after a newline.
    Continued,
    /// `E'…'`, and `'…'` while `standard_conforming_strings` is off.
    Escape,
    /// `U&'…'`, `B'…'`, `X'…'`, `N'…'`, `$tag$…$tag$`.
    Other,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An unquoted word.
    Word(Keyword),
    /// `"…"`.
    Quoted,
    /// `U&"…"`, whose name depends on escapes.
    EscapedName,
    Literal(Quote),
    Number,
    Param,
    Open,
    Close,
    Comma,
    Semicolon,
    Dot,
    Cast,
    /// One character of an operator or another single character.
    Op(u8),
    End,
    Doubt(Doubt),
}

/// One token: what it is and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    /// A token before the first one.
    pub(super) const NONE: Token = Token {
        kind: Kind::End,
        start: 0,
        end: 0,
    };

    /// The keyword that it is.
    pub(super) fn word(&self) -> Option<Word> {
        self.keyword().map(|keyword| keyword.word)
    }

    /// What an unquoted word means.
    pub(super) fn keyword(&self) -> Option<Keyword> {
        if let Kind::Word(keyword) = self.kind {
            Some(keyword)
        } else {
            None
        }
    }

    /// Whether it could be a name.
    pub(super) fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word(_) | Kind::Quoted | Kind::EscapedName)
    }

    /// Whether an operand can end with it, so that a word after it is an infix operator.
    pub(super) fn ends_operand(&self) -> bool {
        match self.kind {
            Kind::Word(keyword) => keyword.word == Word::Name,
            Kind::Quoted
            | Kind::EscapedName
            | Kind::Literal(_)
            | Kind::Number
            | Kind::Param
            | Kind::Close => true,
            Kind::Op(byte) => byte == b']',
            Kind::Open
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Dot
            | Kind::Cast
            | Kind::End
            | Kind::Doubt(_) => false,
        }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn is_name(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_tag(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit()
}

/// Reads tokens off a text that contains no NUL.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    scs: Known<bool>,
    /// Loop turns so far, each over at least one byte or token: what the linearity test counts.
    #[cfg(test)]
    pub(super) steps: std::cell::Cell<u64>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(sql: &'a [u8], lex: &LexState) -> Lexer<'a> {
        Lexer {
            sql,
            at: 0,
            scs: lex.standard_conforming_strings,
            #[cfg(test)]
            steps: std::cell::Cell::new(0),
        }
    }

    pub(super) fn text(&self, token: &Token) -> &'a [u8] {
        self.sql.get(token.start..token.end).unwrap_or_default()
    }

    /// The characters from `start` on that may make up operators: to the first that belongs to none, or to a comment.
    /// At most one more than the longest operator has.
    pub(super) fn operators(&self, start: usize) -> &'a [u8] {
        let rest = self.sql.get(start..).unwrap_or_default();
        let rest = rest.get(..LONGEST.saturating_add(1)).unwrap_or(rest);
        let belongs = |at: &usize| {
            let (byte, next) = (rest.get(*at), rest.get(at.saturating_add(1)));
            let is_comment = matches!(
                (byte, next),
                (Some(b'-'), Some(b'-')) | (Some(b'/'), Some(b'*'))
            );
            byte.is_some_and(|byte| b"~!@#^&|`?+-*/%<>=".contains(byte)) && !is_comment
        };
        let len = (0..rest.len()).take_while(belongs).count();
        rest.get(..len).unwrap_or_default()
    }

    #[cfg(test)]
    fn count(&self, turns: usize) {
        let turns = u64::try_from(turns).unwrap();
        self.steps.set(self.steps.get() + turns);
    }

    #[cfg(not(test))]
    fn count(&self, _turns: usize) {}

    /// The byte at `at`; NUL past the end, which no text contains.
    fn byte(&self, at: usize) -> u8 {
        self.sql.get(at).copied().unwrap_or(0)
    }

    fn ahead(&self, by: usize) -> u8 {
        self.byte(self.at.saturating_add(by))
    }

    fn skip(&mut self, by: usize) {
        self.at = self.at.saturating_add(by).min(self.sql.len());
    }

    /// Skips to the first byte from here on that `stop` accepts, or to the end.
    fn skip_until(&mut self, stop: impl Fn(u8) -> bool) {
        let rest = self.sql.get(self.at..).unwrap_or_default();
        let len = rest
            .iter()
            .position(|byte| stop(*byte))
            .unwrap_or(rest.len());
        self.count(len.saturating_add(1));
        self.skip(len);
    }

    /// The next token. After a doubt, the same doubt again.
    pub(super) fn next(&mut self) -> Token {
        if let Err(doubt) = self.skip_space() {
            return Token {
                kind: Kind::Doubt(doubt),
                start: self.at,
                end: self.sql.len(),
            };
        }
        let start = self.at;
        self.count(1);
        match self.token() {
            Ok(kind) => Token {
                kind,
                start,
                end: self.at,
            },
            Err(doubt) => {
                self.at = start;
                Token {
                    kind: Kind::Doubt(doubt),
                    start,
                    end: self.sql.len(),
                }
            }
        }
    }

    fn token(&mut self) -> Result<Kind, Doubt> {
        let byte = self.ahead(0);
        if is_name_start(byte) {
            return self.word_or_prefix(byte);
        }
        match byte {
            0 => Ok(Kind::End),
            b'\'' => self.plain(),
            b'"' => self.quoted_name().map(|()| Kind::Quoted),
            b'0'..=b'9' => self.number(),
            b'.' if self.ahead(1).is_ascii_digit() => self.number(),
            b'$' => self.dollar(),
            b':' if self.ahead(1) == b':' => {
                self.skip(2);
                Ok(Kind::Cast)
            }
            b'(' | b')' | b',' | b';' | b'.' => {
                self.skip(1);
                Ok(match byte {
                    b'(' => Kind::Open,
                    b')' => Kind::Close,
                    b',' => Kind::Comma,
                    b';' => Kind::Semicolon,
                    _ => Kind::Dot,
                })
            }
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*'
            | b'/' | b'%' | b'<' | b'>' | b'=' | b':' | b'[' | b']' => {
                self.skip(1);
                Ok(Kind::Op(byte))
            }
            _ => Err(Doubt::Byte),
        }
    }

    /// White space and comments. A comment starts wherever `--` or `/*` does, inside a run of operator characters
    /// too, because the server cuts operators there.
    fn skip_space(&mut self) -> Result<(), Doubt> {
        loop {
            match (self.ahead(0), self.ahead(1)) {
                (b' ' | b'\t' | b'\n' | b'\r' | b'\x0c', _) => self.skip(1),
                (b'-', b'-') => self.skip_until(|byte| matches!(byte, b'\n' | b'\r')),
                (b'/', b'*') => self.skip_comment()?,
                _ => return Ok(()),
            }
            self.count(1);
        }
    }

    /// A block comment; they nest. On a missing end the position stays at the start.
    fn skip_comment(&mut self) -> Result<(), Doubt> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match (self.ahead(0), self.ahead(1)) {
                (b'/', b'*') => {
                    depth = depth.saturating_add(1);
                    self.skip(2);
                }
                (b'*', b'/') => {
                    depth = depth.saturating_sub(1);
                    self.skip(2);
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (0, _) => {
                    self.at = start;
                    return Err(Doubt::Unterminated);
                }
                _ => {
                    self.skip(1);
                    self.skip_until(|byte| matches!(byte, b'/' | b'*'));
                }
            }
            self.count(1);
        }
    }

    /// A word, unless it is the prefix of a literal or of a quoted name.
    fn word_or_prefix(&mut self, first: u8) -> Result<Kind, Doubt> {
        match (first, self.ahead(1), self.ahead(2)) {
            (b'e' | b'E', b'\'', _) => {
                self.skip(1);
                self.literal(true)?;
                return Ok(Kind::Literal(Quote::Escape));
            }
            (b'b' | b'B' | b'x' | b'X', b'\'', _) => {
                self.skip(1);
                self.literal(false)?;
                return Ok(Kind::Literal(Quote::Other));
            }
            (b'n' | b'N', b'\'', _) => {
                // To the server a keyword and then a plain literal.
                self.skip(1);
                self.plain()?;
                return Ok(Kind::Literal(Quote::Other));
            }
            (b'u' | b'U', b'&', b'\'') => {
                self.skip(2);
                self.literal(false)?;
                return Ok(Kind::Literal(Quote::Other));
            }
            (b'u' | b'U', b'&', b'"') => {
                self.skip(2);
                return self.quoted_name().map(|()| Kind::EscapedName);
            }
            _ => {}
        }
        let start = self.at;
        self.skip_until(|byte| !is_name(byte));
        let name = self.sql.get(start..self.at).unwrap_or_default();
        Ok(Kind::Word(lookup(name)))
    }

    /// A literal without prefix, whose backslashes mean what `standard_conforming_strings` says.
    fn plain(&mut self) -> Result<Kind, Doubt> {
        match self.scs {
            Known::Is(true) => self.literal(false).map(Kind::Literal),
            Known::Is(false) => self.literal(true).map(|_| Kind::Literal(Quote::Escape)),
            Known::Unknown => {
                let start = self.at;
                let quote = self.literal(false)?;
                let text = self.sql.get(start..self.at).unwrap_or_default();
                self.count(text.len());
                if text.contains(&b'\\') {
                    Err(Doubt::Backslash)
                } else {
                    Ok(Kind::Literal(quote))
                }
            }
        }
    }

    /// A literal from its opening quote on, with its continuations: white space that contains a newline, `--`
    /// comments included, and another quote. The kind of the first piece holds for all.
    fn literal(&mut self, escapes: bool) -> Result<Quote, Doubt> {
        let mut quote = Quote::Plain;
        self.skip(1);
        loop {
            self.skip_until(|byte| byte == b'\'' || (escapes && byte == b'\\'));
            match (self.ahead(0), self.ahead(1)) {
                (b'\\', _) | (b'\'', b'\'') => self.skip(2),
                (b'\'', _) => {
                    self.skip(1);
                    if !self.continues() {
                        return Ok(quote);
                    }
                    quote = Quote::Continued;
                    self.skip(1);
                }
                _ => return Err(Doubt::Unterminated),
            }
        }
    }

    /// Whether the literal that just ended goes on; then the position is at its next quote, else unchanged.
    fn continues(&mut self) -> bool {
        let end = self.at;
        let mut newline = false;
        loop {
            match (self.ahead(0), self.ahead(1)) {
                (b'\n' | b'\r', _) => {
                    newline = true;
                    self.skip(1);
                }
                (b' ' | b'\t' | b'\x0c', _) => self.skip(1),
                (b'-', b'-') => self.skip_until(|byte| matches!(byte, b'\n' | b'\r')),
                (b'\'', _) if newline => return true,
                _ => {
                    self.at = end;
                    return false;
                }
            }
            self.count(1);
        }
    }

    /// A quoted name from its opening quote on.
    fn quoted_name(&mut self) -> Result<(), Doubt> {
        self.skip(1);
        loop {
            self.skip_until(|byte| byte == b'"');
            match (self.ahead(0), self.ahead(1)) {
                (b'"', b'"') => self.skip(2),
                (b'"', _) => {
                    self.skip(1);
                    return Ok(());
                }
                _ => return Err(Doubt::Unterminated),
            }
        }
    }

    /// A number. Between its digits and the next token there must be a boundary that every server sees: `1e5`,
    /// `0x1F` and `1_000` are one token or two, depending on the version, but end at the same byte and call nothing;
    /// any other letter after a digit is a doubt.
    fn number(&mut self) -> Result<Kind, Doubt> {
        if self.ahead(0) == b'0' && matches!(self.ahead(1), b'x' | b'X' | b'o' | b'O' | b'b' | b'B')
        {
            self.skip(2);
            self.skip_until(|byte| !(byte.is_ascii_hexdigit() || byte == b'_'));
            let next = self.ahead(0);
            return if is_name(next) || matches!(next, b'\'' | b'"' | b'&') {
                Err(Doubt::Digit)
            } else {
                Ok(Kind::Number)
            };
        }
        self.digits();
        if self.ahead(0) == b'.' && self.ahead(1) != b'.' {
            self.skip(1);
            self.digits();
        }
        if matches!(self.ahead(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.ahead(1), b'+' | b'-'));
            if self.ahead(sign.saturating_add(1)).is_ascii_digit() {
                self.skip(sign.saturating_add(1));
                self.digits();
            }
        }
        if is_name(self.ahead(0)) {
            Err(Doubt::Digit)
        } else {
            Ok(Kind::Number)
        }
    }

    /// Digits, and underscores between two of them.
    fn digits(&mut self) {
        loop {
            self.skip_until(|byte| !byte.is_ascii_digit());
            let after_digit = self
                .at
                .checked_sub(1)
                .is_some_and(|before| self.byte(before).is_ascii_digit());
            if !(after_digit && self.ahead(0) == b'_' && self.ahead(1).is_ascii_digit()) {
                return;
            }
            self.skip(1);
        }
    }

    /// A parameter or a dollar-quoted string.
    fn dollar(&mut self) -> Result<Kind, Doubt> {
        let start = self.at;
        self.skip(1);
        if self.ahead(0).is_ascii_digit() {
            self.skip_until(|byte| !byte.is_ascii_digit());
            return if is_name(self.ahead(0)) {
                Err(Doubt::Digit)
            } else {
                Ok(Kind::Param)
            };
        }
        self.skip_until(|byte| !is_tag(byte));
        if self.ahead(0) != b'$' {
            return Err(Doubt::Dollar);
        }
        self.skip(1);
        let tag = self.sql.get(start..self.at).unwrap_or_default();
        loop {
            self.skip_until(|byte| byte == b'$');
            let rest = self.sql.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                return Err(Doubt::Unterminated);
            }
            // A tag has `$` at its ends only, so a failed comparison never reads past the next `$`.
            if rest.starts_with(tag) {
                self.skip(tag.len());
                return Ok(Kind::Literal(Quote::Other));
            }
            self.skip(1);
        }
    }
}
