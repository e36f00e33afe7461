//! The statement loop: boundaries, first words, classes, effects.

use std::ops::Range;

use super::encoding::{Encoding, LexState};
use super::form::Form;
use super::hint::hinted;
use super::intent::{
    Class, Deed, Doubt, Effect, Intent, Name, PinKind, Reason, StatementEffect, Why,
};
use super::lex::{Kind, Lexer, Token};
use super::names;
use super::rules::{Rules, Verdict};
use super::words::{Head, Word};
use crate::limits;

/// Says what a text asks for.
///
/// Total: every byte string has an answer and none of them panics. One pass, linear in the length, no recursion, and a
/// few hundred bytes of stack; nothing is allocated unless there are effects to report. Whatever is not certain
/// raises the class, so that the worst a surprise can do is to keep a read on the writer.
///
/// ```
/// use pgturnout::route::{scan, Class, LexState, Rules, Why};
/// let intent = scan(b"with gone as (delete from job returning id) select * from gone",
///     &LexState::defaults(), &Rules::default());
/// assert_eq!(intent.class, Class::Write);
/// assert_eq!((intent.reason.why, intent.reason.offset), (Why::ModifyingWith, 14));
/// ```
#[must_use]
pub fn scan(sql: &[u8], lex: &LexState, rules: &Rules) -> Intent {
    scan_knowing(sql, lex, rules, &[])
}

/// [`scan`] for a caller who knows that these names, folded, are aliases of tables wherever they stand before a
/// parenthesis.
pub(super) fn scan_knowing(
    sql: &[u8],
    lex: &LexState,
    rules: &Rules,
    aliases: &[Box<[u8]>],
) -> Intent {
    match unreadable(sql, lex, rules) {
        Some((why, offset)) => Intent {
            class: Class::Unreadable,
            within: Class::Unreadable,
            reason: Reason {
                why,
                offset,
                token_len: 0,
            },
            form: Form::Unknown,
            statements: 0,
            effects: Vec::new(),
        },
        None => {
            let mut scan = Scan::new(sql, lex, rules);
            scan.aliases = aliases;
            scan.run();
            let intent = scan.finish();
            match rules.hints() {
                true => hinted(sql, intent),
                false => intent,
            }
        }
    }
}

/// Why the text cannot be lexed at all, and from where on.
fn unreadable(sql: &[u8], lex: &LexState, rules: &Rules) -> Option<(Why, usize)> {
    if sql.len() > rules.text_limit() {
        return Some((Why::TooLong, rules.text_limit()));
    }
    undecodable(sql, lex)
}

/// The first byte from which on a text's characters, and so its tokens, are not certain.
pub(super) fn undecodable(sql: &[u8], lex: &LexState) -> Option<(Why, usize)> {
    if sql.contains(&0) {
        let at = sql.iter().position(|byte| *byte == 0).unwrap_or(0);
        return Some((Why::Lexing(Doubt::Nul), at));
    }
    match lex.encoding {
        Encoding::Safe => None,
        Encoding::Utf8 => match std::str::from_utf8(sql) {
            Ok(_) => None,
            Err(error) => Some((Why::Lexing(Doubt::InvalidUtf8), error.valid_up_to())),
        },
        Encoding::Unsafe | Encoding::Unknown => {
            let at = sql.iter().position(|byte| !byte.is_ascii())?;
            Some((Why::Encoding, at))
        }
    }
}

/// A name as written, qualified or not, and what stands before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    /// Its parts so far: 1 for a plain name.
    pub(super) parts: u8,
    /// The part before the last.
    pub(super) schema: Token,
    /// The last part.
    pub(super) name: Token,
    /// The token before the first part.
    pub(super) before: Token,
    /// If the token before the first part is a word, the token before that word.
    pub(super) before_that: Token,
}

impl Chain {
    const NONE: Chain = Chain {
        parts: 0,
        schema: Token::NONE,
        name: Token::NONE,
        before: Token::NONE,
        before_that: Token::NONE,
    };

    /// Takes the next name, which stands after `last`.
    fn extend(&mut self, name: &Token, last: &Token) {
        if last.kind == Kind::Dot && self.parts > 0 {
            self.parts = self.parts.saturating_add(1);
            self.schema = self.name;
        } else {
            self.parts = 1;
            self.before_that = if self.name == *last {
                self.before
            } else {
                Token::NONE
            };
            self.before = *last;
        }
        self.name = *name;
    }
}

/// The state of one scan.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    pub(super) lexer: Lexer<'a>,
    pub(super) rules: &'a Rules,
    /// Names known to be aliases of tables.
    pub(super) aliases: &'a [Box<[u8]>],
    /// Whether a built-in name is known to mean the built-in.
    pub(super) catalog_first: bool,
    /// Whether the functions that are named are called: not under `EXPLAIN`.
    pub(super) executes: bool,
    /// The token to look at.
    pub(super) token: Token,
    /// The token before it in the statement.
    pub(super) last: Token,
    /// The newest name: the one that a parenthesis would belong to.
    pub(super) chain: Chain,
    /// The first token of the statement.
    pub(super) first: Token,
    /// Whether the statement has said `UPDATE`.
    updates: bool,
    /// Whether the statement has a class: one that no form has judged is a write.
    judged: bool,
    class: Class,
    within: Class,
    reason: Reason,
    /// The form of the first statement.
    form: Form,
    statements: u32,
    effects: Vec<StatementEffect>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(sql: &'a [u8], lex: &LexState, rules: &'a Rules) -> Scan<'a> {
        let mut lexer = Lexer::new(sql, lex);
        let token = lexer.next();
        Scan {
            lexer,
            rules,
            aliases: &[],
            catalog_first: lex.catalog_first.is(&true),
            executes: true,
            token,
            last: Token::NONE,
            chain: Chain::NONE,
            first: Token::NONE,
            updates: false,
            judged: false,
            class: Class::Empty,
            within: Class::Empty,
            reason: Reason {
                why: Why::NoStatement,
                offset: 0,
                token_len: 0,
            },
            form: Form::Empty,
            statements: 0,
            effects: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Intent {
        Intent {
            class: self.class,
            within: self.within,
            reason: self.reason,
            form: self.form,
            statements: self.statements,
            effects: self.effects,
        }
    }

    /// Reads every statement.
    pub(super) fn run(&mut self) {
        while self.next_statement().is_some() {}
    }

    /// Reads the next statement, and says where it stands; `None` when there is none that can be read.
    pub(super) fn next_statement(&mut self) -> Option<Range<usize>> {
        while self.token.kind == Kind::Semicolon {
            self.step();
        }
        if let Kind::Doubt(doubt) = self.token.kind {
            self.give_up(doubt);
        }
        if self.class == Class::Unreadable || self.token.kind == Kind::End {
            return None;
        }
        self.first = self.token;
        self.judged = false;
        self.updates = false;
        self.last = Token::NONE;
        self.chain = Chain::NONE;
        self.statement();
        self.statements = self.statements.saturating_add(1);
        Some(self.first.start..self.token.start)
    }

    /// Reads one statement, up to its semicolon, the end or a doubt.
    fn statement(&mut self) {
        let head = match self.token.keyword() {
            Some(keyword) => keyword.head,
            None if self.token.kind == Kind::Open => Head::Query,
            None => Head::None,
        };
        self.has_form(Form::of(head));
        match head {
            Head::Query if self.configure() => {}
            Head::Query => {
                self.raise(Class::Read, Why::PlainSelect);
                self.query();
            }
            Head::Explain => self.explain(),
            Head::Copy => self.copy(),
            Head::Show => self.show(),
            Head::Set => self.set(),
            Head::Reset => self.reset(),
            Head::Discard => self.discard(),
            Head::Deallocate => self.deallocate(),
            Head::Begin | Head::Start => self.begin(),
            Head::Commit | Head::Rollback => self.commit(head),
            Head::Savepoint | Head::Release => self.savepoint(head),
            Head::Prepare => self.prepare(),
            Head::Listen | Head::Load => self.pinning(head),
            Head::Unlisten | Head::Close => self.letting_go(head),
            Head::Declare => self.declare(),
            Head::Cursor => self.raise(Class::Session, Why::SessionStatement),
            Head::Create => self.create(),
            Head::Alter => self.alter(),
            Head::Dml | Head::Write | Head::Notify | Head::Maintain => self.write(Why::Keyword),
            Head::Execute => self.execute(),
            Head::Code => {
                self.pin(PinKind::Procedure);
                self.write(Why::Keyword);
            }
            Head::None => self.write(Why::UnknownForm),
        }
        if head == Head::Set && self.reason.why == Why::TransactionStatement {
            self.has_form(Form::Transaction);
        }
        if !self.judged {
            let first = self.first;
            self.raise_at(Class::Write, Why::UnknownForm, &first);
        }
        self.rest(false);
    }

    /// Gives the first statement its form, or a nearer one.
    pub(super) fn has_form(&mut self, form: Form) {
        if self.statements == 0 {
            self.form = form;
        }
    }

    /// A statement that is a write by its first word.
    pub(super) fn write(&mut self, why: Why) {
        self.raise(Class::Write, why);
    }

    /// Raises the class to at least this one; the token to look at is the reason.
    pub(super) fn raise(&mut self, class: Class, why: Why) {
        let token = self.token;
        self.raise_at(class, why, &token);
    }

    /// Raises the class to at least this one; `token` is the reason.
    pub(super) fn raise_at(&mut self, class: Class, why: Why, token: &Token) {
        self.judged = true;
        if class != Class::Transaction {
            self.within = self.within.max(class);
        }
        if class > self.class {
            self.class = class;
            self.reason = Reason {
                why,
                offset: token.start,
                token_len: token.len(),
            };
        }
    }

    /// Nothing after this can be trusted.
    pub(super) fn give_up(&mut self, doubt: Doubt) {
        let start = self.token.start;
        let token = Token {
            end: start,
            ..self.token
        };
        self.raise_at(Class::Unreadable, Why::Lexing(doubt), &token);
    }

    /// Steps to the next token of the statement; its end is never stepped over.
    pub(super) fn bump(&mut self) {
        if !self.at_end() {
            self.step();
        }
    }

    /// Steps to the next token of the text.
    fn step(&mut self) {
        if self.token.is_name() {
            self.chain.extend(&self.token, &self.last);
        }
        self.updates |= self.token.word() == Some(Word::Update);
        self.last = self.token;
        self.token = self.lexer.next();
    }

    /// The token after the one to look at.
    pub(super) fn peek(&self) -> Token {
        let mut ahead = self.lexer.clone();
        let token = ahead.next();
        #[cfg(test)]
        self.lexer.steps.set(ahead.steps.get());
        token
    }

    pub(super) fn text(&self, token: &Token) -> &'a [u8] {
        self.lexer.text(token)
    }

    /// Steps over the token if it is that keyword.
    pub(super) fn eat(&mut self, word: Word) -> bool {
        let found = self.token.word() == Some(word);
        if found {
            self.bump();
        }
        found
    }

    /// Whether the statement is over.
    pub(super) fn at_end(&self) -> bool {
        matches!(
            self.token.kind,
            Kind::Semicolon | Kind::End | Kind::Doubt(_)
        )
    }

    /// Remembers an effect of this statement.
    pub(super) fn effect(&mut self, effect: Effect) {
        if self.effects.len() < limits::SCAN_EFFECTS_MAX {
            self.effects.push(StatementEffect {
                index: self.statements,
                effect,
            });
        } else {
            self.raise(Class::Unreadable, Why::TooManyEffects);
        }
    }

    /// Remembers a pin of this statement, once.
    pub(super) fn pin(&mut self, kind: PinKind) {
        let pin = Effect::Pin(kind);
        let mut same = self
            .effects
            .iter()
            .rev()
            .take_while(|have| have.index == self.statements);
        if !same.any(|have| have.effect == pin) {
            self.effect(pin);
        }
    }

    /// Takes a name. `None`, and no step, if the token is none.
    pub(super) fn name(&mut self) -> Option<Name> {
        if !matches!(
            self.token.kind,
            Kind::Word(_) | Kind::Quoted | Kind::EscapedName
        ) {
            return None;
        }
        let (name, exact) = names::owned(&self.token, self.text(&self.token));
        if !exact {
            self.pin(PinKind::AmbiguousName);
        }
        self.bump();
        Some(Name(name))
    }

    /// Steps to the end of the statement. Parentheses hide semicolons (`CREATE RULE … DO (a; b)`), and so does, in a
    /// function definition, everything from `BEGIN ATOMIC` to its `END`, where `CASE` opens another `END`. Functions
    /// that pin the session are noticed on the way.
    pub(super) fn rest(&mut self, routine: bool) {
        let mut depth = 0_usize;
        let mut blocks = 0_usize;
        loop {
            let kind = self.token.kind;
            let inside = depth > 0 || blocks > 0;
            if let Kind::Doubt(doubt) = kind {
                return self.give_up(doubt);
            } else if kind == Kind::End && inside {
                return self.give_up(Doubt::Unbalanced);
            } else if kind == Kind::End || (kind == Kind::Semicolon && !inside) {
                return;
            } else if kind == Kind::Open {
                self.notice_call();
                depth = depth.saturating_add(1);
            } else if kind == Kind::Close {
                match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return self.give_up(Doubt::Unbalanced),
                }
            } else if routine {
                blocks = self.count_blocks(blocks);
            }
            self.notice_name();
            if self.token.word() == Some(Word::Unlogged) {
                self.pin(PinKind::UnloggedObject);
            }
            self.step();
        }
    }

    /// How many `END`s are owed after the token, given how many were before it.
    fn count_blocks(&self, blocks: usize) -> usize {
        let word = self.token.word();
        let opens = match word {
            Some(Word::Begin) => blocks > 0 || self.peek().word() == Some(Word::Atomic),
            Some(Word::Case) => blocks > 0,
            _ => false,
        };
        if self.is_label() {
            blocks
        } else if opens {
            blocks.saturating_add(1)
        } else if word == Some(Word::End) {
            blocks.saturating_sub(1)
        } else {
            blocks
        }
    }

    /// Whether the token is a column after a dot or a label after `AS`, where any keyword may stand.
    pub(super) fn is_label(&self) -> bool {
        self.last.kind == Kind::Dot || self.last.word() == Some(Word::As)
    }

    /// The name that the token is, without its quotes; any other token as it is written.
    pub(super) fn bare(&self) -> &'a [u8] {
        let text = self.text(&self.token);
        if self.token.kind == Kind::Quoted {
            names::unquote(text)
        } else {
            text
        }
    }

    /// Notices what a statement can do to the session by the names in it alone: make a temporary object, change a
    /// setting through the view of them, or run a prepared statement (`CREATE TABLE … AS EXECUTE`).
    pub(super) fn notice_name(&mut self) {
        let keyword = self.token.keyword();
        if !self.executes {
            return;
        }
        if self.is_temporary_schema() {
            self.pin(PinKind::TemporaryObject);
        } else if self.updates && self.bare().eq_ignore_ascii_case(b"pg_settings") {
            self.pin(PinKind::SetConfig);
        } else if self.token.kind == Kind::EscapedName && self.class == Class::Write {
            self.pin(PinKind::AmbiguousName);
        } else if keyword.is_some_and(|keyword| keyword.head == Head::Execute)
            && self.last.word() == Some(Word::As)
        {
            self.pin(PinKind::Procedure);
        }
    }

    /// Whether the token names the schema of temporary objects.
    pub(super) fn is_temporary_schema(&self) -> bool {
        let name = self.bare();
        name.get(..7)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"pg_temp"))
            && name.get(7).is_none_or(|next| *next == b'_')
    }

    /// At an opening parenthesis of a statement that is a write anyway: if a function is called here that leaves
    /// something behind in the session, the session must know.
    fn notice_call(&mut self) {
        if !self.executes || !self.last.is_name() {
            return;
        }
        if let Verdict::Not(deed) = self.judge() {
            self.pin_deed(deed);
        }
    }

    /// Remembers what a function with that deed leaves behind.
    pub(super) fn pin_deed(&mut self, deed: Deed) {
        match deed {
            Deed::AdvisoryLock => self.pin(PinKind::AdvisoryLock),
            Deed::Sequence => self.pin(PinKind::SequenceState),
            Deed::SetConfig => {
                self.pin(PinKind::SetConfig);
                self.name_custom();
            }
            Deed::SetSeed => self.pin(PinKind::SetSeed),
            Deed::Effect
            | Deed::RunsSql
            | Deed::ServerState
            | Deed::SessionState
            | Deed::Denied => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The turns of all loops that one text costs.
    fn steps(sql: &str) -> u64 {
        let rules = Rules::default();
        let mut scan = Scan::new(sql.as_bytes(), &LexState::defaults(), &rules);
        scan.run();
        scan.lexer.steps.get()
    }

    /// Law L9: what a text costs grows with its length, whatever is in it.
    #[test]
    fn steps_are_linear() {
        for (start, unit, end) in [
            ("select ", "(", ""),
            ("select ", "(1)+", "1"),
            ("", "/*", ""),
            ("select ", "/**/", "1"),
            ("select ", "--\n", "1"),
            ("select ", "'a'\n", ""),
            ("select ", "'a'--c\n", ""),
            ("select ", "'a' \t ", ""),
            ("select '", "''", "'"),
            ("select \"", "\"\"", "\""),
            ("select $a$", "$b$", "$a$"),
            ("select $a$", "$", "$a$"),
            ("select 1", ", lower('x')", ""),
            ("select 1", ", f('x')", ""),
            ("select * from t", " as x(a, b)", ""),
            ("select ", "for ", ""),
            ("select ", "into ", ""),
            ("with x as (select 1)", ", y(a) as (select 1)", " select 1"),
            ("explain (", "analyze off, ", "costs) select 1"),
            ("", "select 1;", ""),
            ("", "begin;", ""),
            ("", "set a = 1;", ""),
            ("set a = 1", ", 1", ""),
            ("set a", ".a", " = 1"),
            ("create function f() begin atomic ", "begin ", ""),
            ("create function f() begin atomic ", "case end ", "end"),
            ("insert into t values (1)", ", (nextval('s'))", ""),
            ("declare c", " with hold", " for select 1"),
            ("begin", " read only", ""),
            ("alter role a", " b", ""),
            ("copy t (", "a, ", "b) to stdout"),
            ("select 1", "1_1", ""),
            ("select 0", ".", ""),
        ] {
            let text = |count: usize| format!("{start}{}{end}", unit.repeat(count));
            let (small, large) = (text(1_000), text(4_000));
            let (few, many) = (steps(&small), steps(&large));
            let size = u64::try_from(large.len()).unwrap();
            assert!(many <= few * 4 + 200, "{unit:?}: {few} steps, then {many}");
            assert!(many <= size * 6, "{unit:?}: {many} steps for {size} bytes");
        }
    }

    #[test]
    fn effects_are_bounded() {
        let rules = Rules::default();
        let of = |count: usize| {
            scan(
                "set a = 1;".repeat(count).as_bytes(),
                &LexState::defaults(),
                &rules,
            )
        };
        let most = of(limits::SCAN_EFFECTS_MAX);
        assert_eq!(
            (most.class, most.effects.len()),
            (Class::Session, limits::SCAN_EFFECTS_MAX)
        );
        let more = of(limits::SCAN_EFFECTS_MAX + 1);
        assert_eq!(
            (more.class, more.reason.why),
            (Class::Unreadable, Why::TooManyEffects)
        );
        assert_eq!(more.effects.len(), limits::SCAN_EFFECTS_MAX);
    }
}
