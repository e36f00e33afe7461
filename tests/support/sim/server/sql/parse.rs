//! Statements of a text.

use std::sync::Arc;

use super::super::fault::Fault;
use super::token::{Caution, Located, Token, tokens};
use super::{Modes, Statement, Utility};

pub(crate) use super::token::Lexing;

/// The statements of a text, each with its own part of the text.
pub(crate) struct Statements {
    pub(crate) list: Vec<(Statement, Arc<str>)>,
    /// What there is to tell about it, in the order of the text's parts.
    pub(crate) warnings: Vec<Caution>,
}

/// What stands before the name of a table that only the session's own schema can have.
pub(crate) const TEMPORARY: &str = "pg_temp.";

pub(super) type Parsed<T> = Result<T, Fault>;

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Located>,
    at: usize,
    /// Parentheses that are open.
    depth: usize,
    pub(super) warnings: Vec<Caution>,
}

/// How deep expressions and queries may be: the model runs on small stacks.
const DEPTH: usize = 8;

/// How a survey begins. It is taken as a whole: the catalogs that it reads are beyond the model.
const SURVEY: &str = "SELECT pg_catalog.current_setting('server_version_num'";

pub(crate) fn statements(text: &str, lexing: Lexing) -> Parsed<Statements> {
    if text.starts_with(SURVEY) {
        let identity = text.contains("pg_control_system");
        let survey = Statement::Utility(Utility::Survey { identity });
        return Ok(Statements {
            list: vec![(survey, text.into())],
            warnings: Vec::new(),
        });
    }
    let (tokens, warnings) = tokens(text, lexing)?;
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        depth: 0,
        warnings,
    };
    let mut list = Vec::new();
    loop {
        while parser.op(";") {}
        if parser.at_end() {
            let warnings = parser.warnings;
            return Ok(Statements { list, warnings });
        }
        let start = parser.start();
        let statement = parser.statement()?;
        let text = parser.text_from(start);
        list.push((statement, text));
        if !parser.at_end() && !parser.is_op(";") {
            return Err(parser.unexpected());
        }
    }
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|found| &found.token)
    }

    pub(super) fn next(&mut self) -> Parsed<Token> {
        let token = self.peek().cloned().ok_or_else(|| self.unexpected())?;
        self.at += 1;
        Ok(token)
    }

    /// One level down, or PostgreSQL's refusal of what is too deep.
    pub(super) fn descend(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Fault::new("54001", "stack depth limit exceeded"));
        }
        Ok(())
    }

    pub(super) fn ascend(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Whether a statement ends here.
    pub(super) fn at_statement_end(&self) -> bool {
        self.at_end() || self.is_op(";")
    }

    pub(super) fn start(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.text.len(), |found| found.start)
    }

    /// The text from an offset up to the last token.
    pub(super) fn text_from(&self, start: usize) -> Arc<str> {
        let end = self.at.checked_sub(1).map_or(0, |at| self.tokens[at].end);
        self.text[start..end.max(start)].into()
    }

    pub(super) fn unexpected(&self) -> Fault {
        match self.tokens.get(self.at) {
            Some(found) => Fault::syntax(&self.text[found.start..found.end]),
            None => Fault::new("42601", "syntax error at end of input"),
        }
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    pub(super) fn is_at(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), Some(Token::Word(found)) if **found == *word)
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(found)) if *found == op)
    }

    /// Takes the word if it is next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.at += usize::from(is);
        is
    }

    /// Takes all the words if they are next.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let are = words
            .iter()
            .enumerate()
            .all(|(at, word)| self.is_at(at, word));
        self.at += if are { words.len() } else { 0 };
        are
    }

    pub(super) fn op(&mut self, op: &str) -> bool {
        let is = self.is_op(op);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.word(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    pub(super) fn expect_op(&mut self, op: &str) -> Parsed<()> {
        if self.op(op) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// A name of an object.
    pub(super) fn name(&mut self) -> Parsed<Arc<str>> {
        match self.peek() {
            Some(Token::Word(word)) if !is_reserved(word) => {
                let word = Arc::clone(word);
                self.at += 1;
                Ok(word)
            }
            Some(Token::Quoted(word)) => {
                let word = Arc::clone(word);
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A table's name; a schema before it says nothing here, but for the one of temporary objects.
    pub(super) fn table(&mut self) -> Parsed<Arc<str>> {
        let first = self.name()?;
        if !self.op(".") {
            return Ok(first);
        }
        let name = self.name()?;
        Ok(match &*first {
            "pg_temp" => format!("{TEMPORARY}{name}").into(),
            _ => name,
        })
    }

    /// `TEMPORARY` or `TEMP`, with `LOCAL` or `GLOBAL` before it, which say nothing.
    pub(super) fn temporary(&mut self) -> bool {
        let scope = usize::from(self.is("local") || self.is("global"));
        if !["temp", "temporary"]
            .iter()
            .any(|word| self.is_at(scope, word))
        {
            return false;
        }
        if self.word("global") {
            self.warnings.push(Caution::Global);
        }
        self.word("local");
        self.skip();
        true
    }

    pub(super) fn string(&mut self) -> Parsed<Arc<str>> {
        match self.peek() {
            Some(Token::Str(text)) => {
                let text = Arc::clone(text);
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn int(&mut self) -> Parsed<i64> {
        let negative = self.op("-");
        match self.peek() {
            Some(Token::Int(number)) => {
                let number = *number;
                self.at += 1;
                Ok(if negative { -number } else { number })
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn statement(&mut self) -> Parsed<Statement> {
        let Some(Token::Word(word)) = self.peek() else {
            if self.is_op("(") {
                return self.select().map(Statement::Select);
            }
            return Err(self.unexpected());
        };
        let word = Arc::clone(word);
        match &*word {
            "select" => self.select_statement(),
            "values" | "table" => self.select().map(Statement::Select),
            "with" => self.with(),
            "insert" | "update" | "delete" => self.change().map(Statement::Change),
            _ => {
                let utility = self.utility(&word)?;
                Ok(Statement::Utility(utility))
            }
        }
    }

    /// What may be explained, prepared or copied.
    pub(super) fn optimizable(&mut self) -> Parsed<Statement> {
        const FIRST: [&str; 7] = [
            "select", "values", "table", "with", "insert", "update", "delete",
        ];
        let known = FIRST.iter().any(|word| self.is(word)) || self.is("create") || self.is_op("(");
        if !known {
            return Err(self.unexpected());
        }
        let start = self.at;
        let statement = self.statement()?;
        match &statement {
            Statement::Select(_) | Statement::Change(_) => Ok(statement),
            Statement::Utility(Utility::CreateAs { .. }) => Ok(statement),
            Statement::Utility(_) => {
                self.at = start;
                Err(self.unexpected())
            }
        }
    }

    /// `read only, isolation level …`, with or without commas.
    pub(super) fn modes(&mut self) -> Parsed<Modes> {
        let mut modes = Modes::default();
        while self.mode(&mut modes)? {
            // With a comma there must be another.
            while self.op(",") {
                if !self.mode(&mut modes)? {
                    return Err(self.unexpected());
                }
            }
        }
        Ok(modes)
    }

    fn mode(&mut self, modes: &mut Modes) -> Parsed<bool> {
        use super::Access;
        if self.words(&["read", "only"]) {
            modes.access = Some(Access::Only);
        } else if self.words(&["read", "write"]) {
            modes.access = Some(Access::Write);
        } else if self.word("deferrable") {
            modes.deferrable = Some(true);
        } else if self.words(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else if self.words(&["isolation", "level"]) {
            let levels = [
                (&["read", "committed"][..], "read committed"),
                (&["read", "uncommitted"], "read uncommitted"),
                (&["repeatable", "read"], "repeatable read"),
                (&["serializable"], "serializable"),
            ];
            let found = levels.iter().find(|(words, _)| self.words(words));
            modes.isolation = Some(found.ok_or_else(|| self.unexpected())?.1);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// Keywords that name nothing without quotes, as far as the model's texts can meet them.
fn is_reserved(word: &str) -> bool {
    const RESERVED: [&str; 44] = [
        "all",
        "analyze",
        "and",
        "as",
        "asc",
        "case",
        "cast",
        "check",
        "create",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "from",
        "grant",
        "group",
        "having",
        "in",
        "into",
        "limit",
        "not",
        "null",
        "on",
        "only",
        "or",
        "order",
        "primary",
        "returning",
        "select",
        "session_user",
        "table",
        "then",
        "to",
        "true",
        "user",
        "where",
    ];
    RESERVED.binary_search(&word).is_ok() || matches!(word, "with" | "union" | "when" | "using")
}
