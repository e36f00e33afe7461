//! Queries: what makes a `SELECT` more than a read, at any depth.
//!
//! PostgreSQL's grammar gives a query four ways to be something else: `INTO`, a locking clause, a data-modifying
//! `WITH`, and a function. The first three are keywords outside quotes; the fourth is every name before a parenthesis
//! that no known form explains. What is remembered per parenthesis is one [`Level`].

use super::form::Form;
use super::intent::{Class, Doubt, PinKind, Why};
use super::lex::{Kind, Quote, Token};
use super::names::{self, Folded};
use super::rules::{Schema, Verdict};
use super::scan::Scan;
use super::words::{Keyword, Paren, Word};
use crate::limits::SCAN_DEPTH_MAX;

/// How far the query at one level of parentheses has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Nothing read yet.
    Start,
    /// Nothing read yet, and only a query may come: the body of a `WITH` item.
    StartOfItem,
    /// Between `WITH` and the statement it belongs to.
    With,
    /// In a `SEARCH` or `CYCLE` clause of a `WITH` item.
    WithTail,
    /// Anywhere else.
    Body,
}

/// What opened a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// An expression, a list, a join, the text itself.
    Group,
    /// A query; known once its first word is read.
    Query,
    /// The arguments of a function, or what `ROWS FROM` encloses.
    Call,
    /// The arguments of `SUBSTRING` or `OVERLAY`, where `FOR` is no clause.
    Substring,
    /// `OPERATOR(…)`.
    Operator,
    /// The arguments of `current_setting`.
    Setting,
}

/// One level of parentheses.
#[derive(Debug, Clone, Copy)]
struct Level {
    part: Part,
    opened: Opened,
}

impl Level {
    /// What is assumed of a level that is too deep to be remembered.
    const DEEP: Level = Level {
        part: Part::Body,
        opened: Opened::Group,
    };
}

/// The open levels, the outermost first.
#[derive(Debug)]
struct Levels {
    levels: [Level; SCAN_DEPTH_MAX],
    /// The innermost one.
    depth: usize,
}

impl Levels {
    fn new() -> Levels {
        Levels {
            levels: [Level {
                part: Part::Start,
                opened: Opened::Group,
            }; SCAN_DEPTH_MAX],
            depth: 0,
        }
    }

    fn top(&self) -> Level {
        self.levels.get(self.depth).copied().unwrap_or(Level::DEEP)
    }

    fn set_top(&mut self, level: Level) {
        if let Some(top) = self.levels.get_mut(self.depth) {
            *top = level;
        }
    }

    /// Opens a level. `false` if it is too deep to be remembered.
    fn push(&mut self, level: Level) -> bool {
        self.depth = self.depth.saturating_add(1);
        self.set_top(level);
        self.depth < SCAN_DEPTH_MAX
    }

    /// Closes the innermost level; `None` if only the outermost is open.
    fn pop(&mut self) -> Option<Opened> {
        let level = self.top();
        self.depth = self.depth.checked_sub(1)?;
        Some(level.opened)
    }
}

impl Scan<'_> {
    /// Reads a query to the end of its statement, or to the parenthesis that closes the one it stands in.
    pub(super) fn query(&mut self) {
        let mut levels = Levels::new();
        let mut closed = Opened::Group;
        loop {
            let token = self.token;
            match token.kind {
                Kind::Semicolon | Kind::End | Kind::Close if levels.depth == 0 => return,
                Kind::Semicolon | Kind::End => return self.give_up(Doubt::Unbalanced),
                Kind::Doubt(doubt) => return self.give_up(doubt),
                Kind::Close => closed = levels.pop().unwrap_or(Opened::Group),
                Kind::Open => self.open(&mut levels, closed),
                Kind::Word(keyword) => self.query_word(&mut levels, keyword),
                Kind::Quoted
                | Kind::EscapedName
                | Kind::Literal(_)
                | Kind::Number
                | Kind::Param
                | Kind::Comma
                | Kind::Dot
                | Kind::Cast
                | Kind::Op(_) => self.query_token(&mut levels),
            }
            self.bump();
        }
    }

    /// A token that is neither a word nor a parenthesis.
    fn query_token(&mut self, levels: &mut Levels) {
        let mut level = levels.top();
        self.check_special(level);
        if level.part == Part::StartOfItem {
            self.raise(Class::Write, Why::UnknownForm);
        }
        if matches!(level.part, Part::Start | Part::StartOfItem) {
            level.part = Part::Body;
            levels.set_top(level);
        }
        if matches!(self.token.kind, Kind::Quoted | Kind::EscapedName) {
            self.check_relation();
        }
        self.check_operator();
        if !self.catalog_first && self.resolves_by_path() {
            self.raise(Class::Unproven, Why::SearchPath);
        }
    }

    /// Whether the token is an operator, a cast or a typed literal: each is looked up along `search_path`.
    fn resolves_by_path(&self) -> bool {
        let last = self.last;
        match self.token.kind {
            Kind::Cast => true,
            Kind::Op(b'*') => {
                !matches!(last.kind, Kind::Comma | Kind::Dot | Kind::Open)
                    && last.word() != Some(Word::Select)
            }
            Kind::Op(b'[' | b']' | b':') => false,
            Kind::Op(_) => true,
            Kind::Literal(_) => {
                matches!(last.kind, Kind::Quoted | Kind::Close) || last.word() == Some(Word::Name)
            }
            Kind::Word(_)
            | Kind::Quoted
            | Kind::EscapedName
            | Kind::Number
            | Kind::Param
            | Kind::Open
            | Kind::Close
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Dot
            | Kind::End
            | Kind::Doubt(_) => false,
        }
    }

    /// A word inside a query.
    fn query_word(&mut self, levels: &mut Levels, keyword: Keyword) {
        let mut level = levels.top();
        self.check_special(level);
        self.check_relation();
        if self.is_label() {
            return;
        }
        let word = keyword.word;
        self.check_clause(level, word);
        if !self.catalog_first
            && matches!(word, Word::NamedOp | Word::Case | Word::Is | Word::Using)
        {
            self.raise(Class::Unproven, Why::SearchPath);
        }
        self.check_operator_word(word);
        match level.part {
            Part::Start | Part::StartOfItem => {
                if matches!(word, Word::Select | Word::Values | Word::Table) {
                    level = Level {
                        part: Part::Body,
                        opened: Opened::Query,
                    };
                } else if word == Word::With {
                    level = Level {
                        part: Part::With,
                        opened: Opened::Query,
                    };
                } else {
                    if level.part == Part::StartOfItem {
                        self.raise(Class::Write, Why::UnknownForm);
                    }
                    level.part = Part::Body;
                }
            }
            Part::With | Part::WithTail => self.with_word(&mut level, word),
            Part::Body => return,
        }
        levels.set_top(level);
    }

    /// A word in the list of a `WITH`, outside its parentheses.
    fn with_word(&mut self, level: &mut Level, word: Word) {
        if matches!(word, Word::Select | Word::Values | Word::Table) {
            level.part = Part::Body;
        } else if matches!(word, Word::Search | Word::Cycle) && self.last.kind == Kind::Close {
            level.part = Part::WithTail;
        } else if level.part == Part::With && self.last.kind == Kind::Close && word != Word::As {
            self.raise(Class::Write, Why::UnknownForm);
        }
    }

    /// The keywords that make a query more than a read, wherever they stand.
    fn check_clause(&mut self, level: Level, word: Word) {
        if word == Word::Into {
            match self.peek().word() {
                Some(Word::Temp | Word::Local | Word::Global) => {
                    self.pin(PinKind::TemporaryObject);
                }
                Some(Word::Unlogged) => self.pin(PinKind::UnloggedObject),
                Some(_) | None => {}
            }
            self.has_form(Form::Write);
            return self.raise(Class::Write, Why::Into);
        }
        let locking = matches!(word, Word::Update | Word::No | Word::Share | Word::Key);
        if self.last.word() == Some(Word::For) && level.opened != Opened::Substring {
            if locking {
                return self.raise(Class::Write, Why::LockingClause);
            }
            if !matches!(word, Word::Read | Word::Ordinality) {
                self.raise(Class::Unproven, Why::UnknownForm);
            }
        }
        if matches!(
            word,
            Word::Insert | Word::Update | Word::Delete | Word::Merge
        ) {
            if matches!(self.last.kind, Kind::Open | Kind::Close) || level.part == Part::WithTail {
                self.has_form(Form::Write);
                self.raise(Class::Write, Why::ModifyingWith);
            } else {
                self.raise(Class::Unproven, Why::AmbiguousWord);
            }
        }
    }

    /// An opening parenthesis: what stands before it says what it encloses.
    fn open(&mut self, levels: &mut Levels, closed: Opened) {
        let mut level = levels.top();
        self.check_special(level);
        let next = match level.part {
            Part::With | Part::WithTail => self.open_in_with(&mut level),
            Part::Start | Part::StartOfItem | Part::Body => {
                let item = level.part == Part::StartOfItem;
                level.part = Part::Body;
                Level {
                    part: if item { Part::StartOfItem } else { Part::Start },
                    opened: self.opened(closed),
                }
            }
        };
        levels.set_top(level);
        if !levels.push(next) {
            self.raise(Class::Unproven, Why::UnknownForm);
        }
    }

    /// A parenthesis in the list of a `WITH`: column names, the body of an item, or the main query.
    fn open_in_with(&mut self, level: &mut Level) -> Level {
        let last = self.last;
        if matches!(last.word(), Some(Word::As | Word::Materialized)) {
            return Level {
                part: Part::StartOfItem,
                opened: Opened::Group,
            };
        }
        if last.kind == Kind::Close {
            level.part = Part::Body;
            return Level {
                part: Part::Start,
                opened: Opened::Group,
            };
        }
        let before = self.chain.before;
        let names_item = matches!(before.word(), Some(Word::With | Word::Recursive))
            || before.kind == Kind::Comma;
        if !(names_item && last.is_name() && self.chain.parts == 1) {
            self.raise(Class::Unproven, Why::UnknownForm);
        }
        Level {
            part: Part::Body,
            opened: Opened::Group,
        }
    }

    /// What a parenthesis in an expression or a `FROM` list encloses.
    fn opened(&mut self, closed: Opened) -> Opened {
        let last = self.last;
        if last.kind == Kind::Op(b']') || !last.is_name() {
            return Opened::Group;
        }
        if self.chain.parts == 1 {
            if let Some(opened) = self.opened_by_word(&last) {
                return opened;
            }
            if self.is_alias(closed) {
                return Opened::Group;
            }
        } else if self.chain.before.kind == Kind::Cast {
            return Opened::Group;
        }
        self.call()
    }

    /// What the parenthesis after an unqualified keyword encloses; `None` if the word may be a function's name.
    fn opened_by_word(&mut self, last: &Token) -> Option<Opened> {
        let Kind::Word(keyword) = last.kind else {
            return None;
        };
        let before = self.chain.before;
        let group = match keyword.paren {
            Paren::Group => true,
            Paren::Substring => {
                // Without the words of its own grammar it is an ordinary call.
                if !self.catalog_first {
                    self.raise_at(Class::Unproven, Why::SearchPath, last);
                }
                return Some(Opened::Substring);
            }
            Paren::Since16 => self.rules.oldest_server() >= 16,
            Paren::Since17 => self.rules.oldest_server() >= 17,
            Paren::Operand => before.ends_operand(),
            Paren::Clause => before.kind == Kind::Close,
            Paren::Treat => {
                self.raise_at(Class::Write, Why::UnknownForm, last);
                true
            }
            Paren::Call if keyword.word == Word::Operator => return Some(Opened::Operator),
            Paren::Call => self.is_clause_word(keyword.word),
        };
        if group && keyword.word == Word::From && before.word() == Some(Word::Rows) {
            return Some(Opened::Call);
        }
        group.then_some(Opened::Group)
    }

    /// Whether an unreserved keyword before the parenthesis is part of a clause where it stands.
    fn is_clause_word(&self, word: Word) -> bool {
        let before = self.chain.before.word();
        let after = |first| before == Some(first);
        if word == Word::By {
            after(Word::Group) || after(Word::Order) || after(Word::Partition)
        } else if word == Word::Sets {
            after(Word::Grouping)
        } else if word == Word::Rollup {
            after(Word::By) && self.chain.before_that.word() == Some(Word::Group)
        } else if word == Word::Second {
            let literal = matches!(self.chain.before.kind, Kind::Literal(_));
            literal || after(Word::To) || after(Word::Interval)
        } else {
            word == Word::Varying && after(Word::Character)
        }
    }

    /// Whether the name before the parenthesis is an alias with a column list, or a type with modifiers: after `AS`
    /// or `::`, after `WITH ORDINALITY`, or directly after the parenthesis that closes a subquery or a call. Nothing
    /// else in the grammar stands there, and names inside are judged as usual.
    fn is_alias(&self, closed: Opened) -> bool {
        if self.is_known_alias() {
            return true;
        }
        let before = self.chain.before;
        match before.kind {
            Kind::Close => matches!(closed, Opened::Query | Opened::Call),
            Kind::Cast => true,
            Kind::Word(keyword) => matches!(
                keyword.word,
                Word::As | Word::Ordinality | Word::Tablesample
            ),
            Kind::Quoted
            | Kind::EscapedName
            | Kind::Literal(_)
            | Kind::Number
            | Kind::Param
            | Kind::Open
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Dot
            | Kind::Op(_)
            | Kind::End
            | Kind::Doubt(_) => false,
        }
    }

    /// Whether the caller of the scan said so.
    fn is_known_alias(&self) -> bool {
        let name = self.chain.name;
        let folded = if self.aliases.is_empty() {
            None
        } else {
            Folded::new(&name, self.text(&name))
        };
        folded.is_some_and(|folded| {
            self.aliases
                .iter()
                .any(|alias| **alias == *folded.as_bytes())
        })
    }

    /// Judges the function whose name ends before the parenthesis.
    fn call(&mut self) -> Opened {
        let name = self.chain.name;
        match self.judge() {
            Verdict::Builtin => {
                if self.chain.parts == 1 && !self.catalog_first {
                    self.raise_at(Class::Unproven, Why::SearchPath, &name);
                }
                if self.text(&name).eq_ignore_ascii_case(b"current_setting") {
                    return Opened::Setting;
                }
            }
            Verdict::Allowed => {}
            Verdict::Not(deed) => {
                self.pin_deed(deed);
                self.raise_at(deed.class(), Why::Function(deed), &name);
            }
            Verdict::Unknown => {
                self.pin(PinKind::UnknownCode);
                self.raise_at(Class::Unproven, Why::UnknownFunction, &name);
            }
        }
        Opened::Call
    }

    /// What is known about the function that was named last.
    pub(super) fn judge(&self) -> Verdict {
        let name = self.chain.name;
        let Some(folded) = Folded::new(&name, self.text(&name)) else {
            return Verdict::Unknown;
        };
        let schema = self.chain.schema;
        match self.chain.parts {
            1 => self.rules.judge(Schema::None, &folded),
            2 => match Folded::new(&schema, self.text(&schema)) {
                Some(schema) => self.rules.judge(Schema::Named(&schema), &folded),
                None => self.rules.judge(Schema::Unreadable, &folded),
            },
            _ => self.rules.judge(Schema::Unreadable, &folded),
        }
    }

    /// Inside `OPERATOR(…)` and `current_setting(…)`, holds the content to the one form that is a read.
    fn check_special(&mut self, level: Level) {
        let token = self.token;
        let start = level.part == Part::Start;
        let fine = match level.opened {
            Opened::Group | Opened::Query | Opened::Call | Opened::Substring => true,
            Opened::Operator if start => self.text(&token).eq_ignore_ascii_case(b"pg_catalog"),
            Opened::Operator => matches!(token.kind, Kind::Dot | Kind::Op(_)),
            Opened::Setting if start => {
                token.kind == Kind::Literal(Quote::Plain)
                    && !tells_servers_apart(names::unquote(self.text(&token)))
            }
            Opened::Setting => {
                token.kind == Kind::Comma || !matches!(self.last.kind, Kind::Literal(_))
            }
        };
        if fine {
            return;
        }
        match level.opened {
            // Whatever the name turns out to be, a standby would not refuse to answer.
            Opened::Setting => self.raise(Class::Session, Why::ShowServer),
            Opened::Group | Opened::Query | Opened::Call | Opened::Substring | Opened::Operator => {
                self.raise(Class::Unproven, Why::UnknownForm);
            }
        }
    }

    /// Notices the name of a system view that shows sessions, and of the schema of temporary objects.
    fn check_relation(&mut self) {
        let name = self.bare();
        self.check_name();
        let system = matches!(name, [b'p' | b'P', b'g' | b'G', b'_', ..]);
        if system && (self.is_temporary_schema() || shows_sessions(name)) {
            self.raise(Class::Session, Why::SessionView);
        }
        if system || self.token.kind == Kind::EscapedName {
            self.notice_name();
        }
    }
}

/// System views whose rows are sessions, their locks and their settings, or the state of one server. A client that
/// asks them means the server that it believes to be connected to.
fn shows_sessions(name: &[u8]) -> bool {
    const VIEWS: &[&[u8]] = &[
        b"pg_backend_memory_contexts",
        b"pg_cursors",
        b"pg_locks",
        b"pg_prepared_statements",
        b"pg_prepared_xacts",
        b"pg_replication_slots",
        b"pg_sequences",
        b"pg_settings",
        b"pg_stat_activity",
        b"pg_stat_gssapi",
        b"pg_stat_replication",
        b"pg_stat_ssl",
    ];
    VIEWS.iter().any(|view| view.eq_ignore_ascii_case(name))
}

/// Settings by which clients tell a primary from a standby: the client has one server, and that is the writer.
pub(super) fn tells_servers_apart(name: &[u8]) -> bool {
    const SETTINGS: &[&[u8]] = &[
        b"default_transaction_read_only",
        b"in_hot_standby",
        b"transaction_read_only",
    ];
    SETTINGS
        .iter()
        .any(|setting| setting.eq_ignore_ascii_case(name))
}
