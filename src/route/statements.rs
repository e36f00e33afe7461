//! Statements other than queries and settings: how far each is understood, and what it leaves in the session.

use super::form::Form;
use super::intent::{Access, Class, Deferral, Effect, Isolation, PinKind, TransactionModes, Why};
use super::lex::{Kind, Quote, Token};
use super::names;
use super::query::tells_servers_apart;
use super::scan::Scan;
use super::words::{Head, Word};

impl Scan<'_> {
    /// `EXPLAIN`, which executes nothing unless `ANALYZE` is on.
    pub(super) fn explain(&mut self) {
        let explain = self.token;
        self.bump();
        let mut executes = false;
        if self.token.kind == Kind::Open && !self.peek_is_query() {
            executes = self.explain_options();
        } else {
            executes |= self.eat(Word::Analyze);
            self.eat(Word::Verbose);
        }
        let head = self.token.keyword().map(|keyword| keyword.head);
        let is_query = head == Some(Head::Query) || self.token.kind == Kind::Open;
        if is_query && executes {
            self.raise_at(Class::Read, Why::PlainSelect, &explain);
            self.last = Token::NONE;
            self.query();
        } else if executes {
            self.write(Why::ExplainAnalyze);
            if head == Some(Head::Execute) {
                self.pin(PinKind::Procedure);
            } else if head == Some(Head::Create) {
                self.create();
            }
        } else if head == Some(Head::Execute) {
            self.raise(Class::Session, Why::SessionStatement);
        } else if is_query
            || matches!(head, Some(Head::Dml | Head::Declare | Head::Create))
            || self.is_refresh()
        {
            self.raise_at(Class::Read, Why::Explain, &explain);
            self.explained();
        } else {
            self.write(Why::UnknownForm);
        }
    }

    /// Steps over a statement that is planned and not executed, so that the functions it names leave nothing behind.
    pub(super) fn explained(&mut self) {
        self.executes = false;
        self.rest(false);
        self.executes = true;
    }

    fn is_refresh(&self) -> bool {
        self.text(&self.token).eq_ignore_ascii_case(b"refresh")
    }

    /// Whether a query follows the parenthesis: `EXPLAIN (SELECT …)`.
    fn peek_is_query(&self) -> bool {
        let next = self.peek();
        next.kind == Kind::Open
            || next
                .keyword()
                .is_some_and(|keyword| keyword.head == Head::Query)
    }

    /// The options of `EXPLAIN` in parentheses. Whether one of them could be `ANALYZE` that is not off: later options
    /// override earlier ones, names may be quoted, and values take several forms, so only `ANALYZE off`, `false` or
    /// `0` counts as off.
    fn explain_options(&mut self) -> bool {
        let mut executes = false;
        while !self.at_end() && self.token.kind != Kind::Close {
            let is_name = matches!(self.last.kind, Kind::Open | Kind::Comma);
            let unclear = self.token.is_name() && self.token.keyword().is_none();
            if is_name && (unclear || self.token.word() == Some(Word::Analyze)) {
                let value = self.peek();
                let off = matches!(value.word(), Some(Word::Off | Word::False))
                    || self.text(&value) == b"0";
                executes |= unclear || !off;
            }
            self.bump();
        }
        if self.token.kind == Kind::Close {
            self.bump();
        }
        executes
    }

    /// `COPY`: of a table or a query to the client it is a read, everything else writes or touches the server.
    pub(super) fn copy(&mut self) {
        let copy = self.token;
        self.bump();
        if self.token.kind == Kind::Open {
            self.copy_query(&copy);
        } else {
            self.copy_relation();
        }
        let to = self.token;
        match to.word() {
            Some(Word::To) => self.has_form(Form::CopyOut),
            Some(Word::From) => self.has_form(Form::CopyIn),
            Some(_) | None => self.has_form(Form::Unknown),
        }
        if self.eat(Word::To) {
            if self.token.word() == Some(Word::Stdout) {
                self.raise_at(Class::Read, Why::CopyToStdout, &copy);
                self.explained();
            } else {
                self.write(Why::CopyToServer);
            }
        } else {
            let why = if to.word() == Some(Word::From) {
                Why::CopyFrom
            } else {
                Why::UnknownForm
            };
            self.write(why);
        }
    }

    /// The statement in parentheses of a `COPY`.
    fn copy_query(&mut self, copy: &Token) {
        self.bump();
        let head = self.token.keyword().map(|keyword| keyword.head);
        if head == Some(Head::Query) || self.token.kind == Kind::Open {
            self.raise_at(Class::Read, Why::CopyToStdout, copy);
        } else {
            self.write(Why::Keyword);
        }
        self.query();
        if self.token.kind == Kind::Close {
            self.bump();
        }
    }

    /// The relation and the columns of a `COPY`, up to `TO` or `FROM`, which are reserved words.
    fn copy_relation(&mut self) {
        while !self.at_end()
            && (self.is_label() || !matches!(self.token.word(), Some(Word::To | Word::From)))
        {
            self.check_name();
            self.bump();
        }
    }

    /// `SHOW` of one setting.
    pub(super) fn show(&mut self) {
        let show = self.token;
        self.bump();
        let name = self.token;
        let text = if name.kind == Kind::Quoted {
            names::unquote(self.text(&name))
        } else {
            self.text(&name)
        };
        if !name.is_name() || name.kind == Kind::EscapedName {
            self.write(Why::UnknownForm);
        } else if name.word() == Some(Word::All) || tells_servers_apart(text) {
            self.raise(Class::Session, Why::ShowServer);
        } else {
            self.raise_at(Class::Read, Why::Show, &show);
            // The rest of a name: `a.b`, `TIME ZONE`.
            while self.token.is_name() || self.token.kind == Kind::Dot {
                self.bump();
            }
            if !self.at_end() {
                self.write(Why::UnknownForm);
            }
        }
    }

    /// `BEGIN`, `START TRANSACTION`.
    pub(super) fn begin(&mut self) {
        let begin = self.token;
        self.bump();
        if !self.eat(Word::Transaction) {
            self.eat(Word::Work);
        }
        let modes = self.transaction_modes();
        let read_only = modes.access == Some(Access::ReadOnly)
            && modes.isolation != Some(Isolation::Serializable);
        if read_only && self.at_end() && self.rules.begin_read_only() {
            self.raise_at(Class::Read, Why::BeginReadOnly, &begin);
        } else {
            self.raise_at(Class::Transaction, Why::TransactionStatement, &begin);
        }
        self.effect(Effect::Begin(modes));
    }

    /// Transaction modes, with or without commas. Of two for the same thing the later counts.
    pub(super) fn transaction_modes(&mut self) -> TransactionModes {
        let mut modes = TransactionModes::default();
        loop {
            let before = modes;
            if self.eat(Word::Isolation) {
                self.eat(Word::Level);
                modes.isolation = self.isolation();
                modes.said(before.isolation.is_some());
            } else if self.eat(Word::Read) {
                if self.eat(Word::Only) {
                    modes.access = Some(Access::ReadOnly);
                } else if self.eat(Word::Write) {
                    modes.access = Some(Access::ReadWrite);
                }
                modes.said(before.access.is_some());
            } else if self.eat(Word::Not) {
                if self.eat(Word::Deferrable) {
                    modes.deferral = Some(Deferral::NotDeferrable);
                }
                modes.said(before.deferral.is_some());
            } else if self.eat(Word::Deferrable) {
                modes.deferral = Some(Deferral::Deferrable);
                modes.said(before.deferral.is_some());
            } else if !self.eat_comma() {
                return modes;
            }
        }
    }

    fn eat_comma(&mut self) -> bool {
        let found = self.token.kind == Kind::Comma;
        if found {
            self.bump();
        }
        found
    }

    fn isolation(&mut self) -> Option<Isolation> {
        if self.eat(Word::Serializable) {
            Some(Isolation::Serializable)
        } else if self.eat(Word::Repeatable) {
            self.eat(Word::Read);
            Some(Isolation::RepeatableRead)
        } else if self.eat(Word::Read) {
            if self.eat(Word::Uncommitted) {
                Some(Isolation::ReadUncommitted)
            } else {
                self.eat(Word::Committed);
                Some(Isolation::ReadCommitted)
            }
        } else {
            None
        }
    }

    /// `COMMIT`, `END`, `ROLLBACK`, `ABORT`, with `PREPARED` and `TO SAVEPOINT`.
    pub(super) fn commit(&mut self, head: Head) {
        let prepared = self.peek().word() == Some(Word::Prepared);
        if prepared {
            return self.write(Why::Keyword);
        }
        self.raise(Class::Transaction, Why::TransactionStatement);
        self.bump();
        if !self.eat(Word::Transaction) {
            self.eat(Word::Work);
        }
        if head == Head::Rollback && self.eat(Word::To) {
            if self.peek().is_name() {
                self.eat(Word::Savepoint);
            }
            if let Some(name) = self.name() {
                self.effect(Effect::RollbackToSavepoint(name));
            }
            return;
        }
        let chain = self.eat(Word::And) && !self.eat(Word::No) && self.eat(Word::Chain);
        self.effect(if head == Head::Commit {
            Effect::Commit { chain }
        } else {
            Effect::Rollback { chain }
        });
    }

    /// `SAVEPOINT name`, `RELEASE [SAVEPOINT] name`.
    pub(super) fn savepoint(&mut self, head: Head) {
        self.raise(Class::Transaction, Why::TransactionStatement);
        self.bump();
        if head == Head::Release && self.peek().is_name() {
            self.eat(Word::Savepoint);
        }
        if let Some(name) = self.name() {
            self.effect(if head == Head::Release {
                Effect::Release(name)
            } else {
                Effect::Savepoint(name)
            });
        }
    }

    /// `LISTEN`, `LOAD`.
    pub(super) fn pinning(&mut self, head: Head) {
        self.raise(Class::Session, Why::SessionStatement);
        self.pin(if head == Head::Listen {
            PinKind::Listen
        } else {
            PinKind::Load
        });
    }

    /// `UNLISTEN`, `CLOSE`.
    pub(super) fn letting_go(&mut self, head: Head) {
        self.raise(Class::Session, Why::SessionStatement);
        self.bump();
        if head == Head::Unlisten && self.token.kind == Kind::Op(b'*') {
            self.effect(Effect::UnlistenAll);
        } else if head == Head::Close && self.token.word() == Some(Word::All) {
            self.effect(Effect::CloseAll);
        }
    }

    /// `DECLARE name … CURSOR [WITH HOLD] FOR query`.
    pub(super) fn declare(&mut self) {
        self.raise(Class::Session, Why::SessionStatement);
        let mut kind = PinKind::Cursor;
        self.bump();
        self.bump();
        while !self.at_end() && self.token.word() != Some(Word::For) {
            if self.last.word() == Some(Word::With) && self.token.word() == Some(Word::Hold) {
                kind = PinKind::HoldCursor;
            }
            self.bump();
        }
        self.pin(kind);
    }

    /// `CREATE`, which may make a temporary object or hold a function body with semicolons.
    pub(super) fn create(&mut self) {
        self.write(Why::Keyword);
        self.bump();
        while matches!(
            self.token.word(),
            Some(Word::Or | Word::Replace | Word::Local | Word::Global)
        ) {
            self.bump();
        }
        if self.token.word() == Some(Word::Temp) {
            self.pin(PinKind::TemporaryObject);
        }
        let routine = matches!(self.token.word(), Some(Word::Function | Word::Procedure));
        self.rest(routine);
    }

    /// `ALTER`: of a role, a database or the system it may change what sessions start with, and the reader's may start
    /// later than the writer's.
    pub(super) fn alter(&mut self) {
        self.write(Why::Keyword);
        self.bump();
        let what = self.text(&self.token);
        let has_defaults = [&b"role"[..], b"user", b"database", b"system"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(what));
        // What is set in parentheses are options.
        while has_defaults && !self.at_end() && self.token.kind != Kind::Open {
            let head = self.token.keyword().map(|keyword| keyword.head);
            if matches!(head, Some(Head::Set | Head::Reset)) {
                return self.pin(PinKind::LoginDefaults);
            }
            self.bump();
        }
    }

    /// `SET TRANSACTION` and the settings of the same names.
    pub(super) fn set_transaction(&mut self, modes: TransactionModes) {
        let first = self.first;
        self.raise_at(Class::Transaction, Why::TransactionStatement, &first);
        self.effect(Effect::SetTransaction(modes));
    }

    /// Whether the token is a plain literal, in one piece.
    pub(super) fn is_plain_literal(&self) -> bool {
        self.token.kind == Kind::Literal(Quote::Plain)
    }
}
