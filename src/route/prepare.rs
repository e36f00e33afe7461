//! `PREPARE` and `EXECUTE`: statements that are prepared in SQL, under the names of those prepared by the protocol.

use super::form::Form;
use super::intent::{Arguments, Class, Doubt, Effect, PinKind, Preparation, Why};
use super::lex::{Kind, Lexer, Token};
use super::scan::Scan;
use super::words::Word;
use crate::limits;

/// Types that the grammar knows by a word of their own, whatever the search path, and their OIDs (`pg_type.dat`).
const OF_THE_GRAMMAR: &[(&str, u32)] = &[
    ("bigint", 20),
    ("boolean", 16),
    ("char", 1042),
    ("character", 1042),
    ("decimal", 1700),
    ("int", 23),
    ("integer", 23),
    ("numeric", 1700),
    ("real", 700),
    ("smallint", 21),
    ("timestamp", 1114),
    ("varchar", 1043),
];

/// Types that are looked up along the search path, as most are.
const OF_THE_CATALOG: &[(&str, u32)] = &[
    ("bool", 16),
    ("bpchar", 1042),
    ("bytea", 17),
    ("date", 1082),
    ("float4", 700),
    ("float8", 701),
    ("int2", 21),
    ("int4", 23),
    ("int8", 20),
    ("json", 114),
    ("jsonb", 3802),
    ("name", 19),
    ("oid", 26),
    ("text", 25),
    ("timestamptz", 1184),
    ("uuid", 2950),
];

impl Scan<'_> {
    /// `PREPARE TRANSACTION 'id'` and `PREPARE name [(types)] AS statement`.
    pub(super) fn prepare(&mut self) {
        let prepare = self.token;
        self.bump();
        if self.token.word() == Some(Word::Transaction)
            && matches!(self.peek().kind, Kind::Literal(_))
        {
            self.raise_at(Class::Transaction, Why::TransactionStatement, &prepare);
            self.has_form(Form::Transaction);
            return self.effect(Effect::PrepareTransaction);
        }
        self.raise_at(Class::Session, Why::SessionStatement, &prepare);
        let Some(name) = self.name() else {
            return self.pin(PinKind::UnknownCode);
        };
        let types = self.ahead(|ahead| ahead.parameter_types());
        self.skip_parentheses();
        let found = self.eat(Word::As);
        let start = self.token.start;
        self.explained();
        let statement = start..self.last.end.max(start);
        let text = self.text(&Token { start, ..self.last });
        let portable = found && types.is_some() && text.is_ascii() && !text.contains(&b'\\');
        self.effect(Effect::Prepare(Preparation {
            name,
            statement,
            types: types.unwrap_or_default(),
            portable,
        }));
    }

    /// What is read of the tokens from here on, without a step.
    fn ahead<T>(&self, read: impl FnOnce(&mut Ahead<'_>) -> T) -> T {
        let mut ahead = Ahead {
            lexer: self.lexer.clone(),
            token: self.token,
            last: self.last,
            catalog_first: self.catalog_first,
        };
        let found = read(&mut ahead);
        #[cfg(test)]
        self.lexer.steps.set(ahead.lexer.steps.get());
        found
    }

    /// Steps over parentheses, if the token opens some, and what is in them.
    fn skip_parentheses(&mut self) {
        let mut depth = 0_usize;
        while !self.at_end() || depth > 0 {
            if matches!(self.token.kind, Kind::Doubt(_)) {
                return;
            } else if self.at_end() {
                return self.give_up(Doubt::Unbalanced);
            }
            if self.token.kind == Kind::Open {
                depth = depth.saturating_add(1);
            } else if depth == 0 {
                return;
            } else if self.token.kind == Kind::Close {
                depth = depth.saturating_sub(1);
            }
            self.bump();
        }
    }

    /// `EXECUTE name [(arguments)]`.
    pub(super) fn execute(&mut self) {
        self.write(Why::Keyword);
        self.bump();
        let Some(name) = self.name() else {
            return self.pin(PinKind::Procedure);
        };
        let arguments = match self.ahead(|ahead| ahead.has_constants()) {
            true => Arguments::Constant,
            false => Arguments::Any,
        };
        self.effect(Effect::Execute { name, arguments });
    }
}

/// A look at the tokens to come.
struct Ahead<'a> {
    lexer: Lexer<'a>,
    token: Token,
    last: Token,
    catalog_first: bool,
}

impl Ahead<'_> {
    fn bump(&mut self) {
        self.last = self.token;
        self.token = self.lexer.next();
    }

    /// Steps over the token if it is that word, whatever its case.
    fn eat(&mut self, word: &[u8]) -> bool {
        let found = self.text().eq_ignore_ascii_case(word);
        if found {
            self.bump();
        }
        found
    }

    fn text(&self) -> &[u8] {
        self.lexer.text(&self.token)
    }

    /// The types in parentheses, if there are any; `None` if they are not all known.
    fn parameter_types(&mut self) -> Option<Vec<u32>> {
        let mut types = Vec::new();
        if self.token.kind != Kind::Open {
            return Some(types);
        }
        self.bump();
        loop {
            types.push(self.parameter_type()?);
            let last = self.token.kind == Kind::Close;
            if !last && self.token.kind != Kind::Comma || types.len() > limits::SCAN_VALUES_MAX {
                return None;
            }
            if last {
                return Some(types);
            }
            self.bump();
        }
    }

    /// One type, of those that are known by a name.
    fn parameter_type(&mut self) -> Option<u32> {
        if self.eat(b"double") {
            return self.eat(b"precision").then_some(701);
        }
        let varying = self.text().eq_ignore_ascii_case(b"character");
        let known = |types: &[(&str, u32)]| {
            let mut types = types.iter();
            let name = self.text();
            let found = types.find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
            found.map(|(_, oid)| *oid)
        };
        let by_path = known(OF_THE_CATALOG).filter(|_| self.catalog_first);
        let oid = known(OF_THE_GRAMMAR).or(by_path)?;
        self.bump();
        let oid = match varying && self.eat(b"varying") {
            true => 1043,
            false => oid,
        };
        if self.token.kind != Kind::Open {
            return Some(oid);
        }
        // Lengths, which parameters do not have.
        while matches!(self.token.kind, Kind::Open | Kind::Number | Kind::Comma) {
            self.bump();
        }
        let closed = self.token.kind == Kind::Close;
        self.bump();
        closed.then_some(oid)
    }

    /// Whether nothing but constants follows in parentheses, if anything does.
    fn has_constants(&mut self) -> bool {
        if self.token.kind == Kind::Open {
            self.bump();
            while self.is_constant() {
                self.bump();
            }
            if self.token.kind != Kind::Close {
                return false;
            }
            self.bump();
        }
        matches!(self.token.kind, Kind::Semicolon | Kind::End)
    }

    /// Whether the token is a constant or what stands between two, in a list of constants. A sign is part of its number.
    fn is_constant(&self) -> bool {
        let word = matches!(self.token.word(), Some(Word::True | Word::False));
        let sign =
            self.token.kind == Kind::Op(b'-') && matches!(self.last.kind, Kind::Open | Kind::Comma);
        word || sign
            || matches!(
                self.token.kind,
                Kind::Literal(_) | Kind::Number | Kind::Comma
            )
    }
}
