//! What a SQL text asks for: its class, the reason, and what the session must remember.

use std::fmt;
use std::ops::Range;

use super::form::Form;
pub use super::modes::{Access, Deferral, Isolation, Spelt, TransactionModes};
pub use super::setting::{Scope, SettingChange, SettingKind, SettingValue};

/// What kind of work a text is, weakest first.
///
/// The order is the join: the class of a text is the greatest class of its statements, and the class of a batch the
/// greatest of its texts, so that adding a statement never lowers it. Only [`Class::Empty`] and [`Class::Read`] may
/// go to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// No statement at all: white space, comments, semicolons. The server answers EmptyQueryResponse.
    Empty,
    /// Every statement is proven to have the same answer and no effect on a hot standby.
    Read,
    /// Every statement has the form of a read, and at least one could not be proven to be one: an unknown function,
    /// an unknown `search_path`. A router may try such a text on a *physical standby*, which refuses a write before
    /// doing it; whatever a standby is known to accept with another meaning has a higher class.
    Unproven,
    /// It reads or changes what belongs to the session: settings, prepared statements, cursors, advisory locks, the
    /// process id.
    Session,
    /// It opens, ends or shapes a transaction.
    Transaction,
    /// It writes, or its first word is not on the list of forms that may be read.
    Write,
    /// The text could not be read to its end (see [`Why::Lexing`], [`Why::Encoding`], [`Why::TooLong`]). Anything may
    /// be in it and [`Intent::effects`] is incomplete: the writer must serve it, and nothing known about the session
    /// survives it.
    Unreadable,
}

impl Class {
    /// Whether a reader may serve it.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Class::Empty | Class::Read)
    }
}

/// Why a lexer gave up: each is a place where a server might see other token boundaries than we do, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// A quoted string, a quoted identifier, a dollar-quoted string or a comment has no end.
    Unterminated,
    /// A backslash in a plain literal while `standard_conforming_strings` is unknown.
    Backslash,
    /// A digit directly before a letter or `$`: server versions disagree on the boundary.
    Digit,
    /// A `$` that starts neither a parameter nor a dollar quote.
    Dollar,
    /// A byte that no token starts with: a control character, a lone backslash. Vertical tab is among them, because
    /// it is white space to newer servers only.
    Byte,
    /// A NUL byte, which no server accepts within a text.
    Nul,
    /// Not UTF-8 although the client encoding is.
    InvalidUtf8,
    /// Parentheses do not match, or a function body's `BEGIN ATOMIC` has no `END`.
    Unbalanced,
}

/// What a known function does that keeps it from a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// It writes, signals, locks or changes the server.
    Effect,
    /// It executes SQL text that it is given, or reads tables by name.
    RunsSql,
    /// It reads files or other state of one machine, or fails on a standby by design.
    ServerState,
    /// Its answer belongs to the session: process id, `currval`, cursors.
    SessionState,
    /// It takes or releases an advisory lock.
    AdvisoryLock,
    /// `nextval`, `setval`: a sequence moves, and `currval` with it.
    Sequence,
    /// `set_config`.
    SetConfig,
    /// `setseed`.
    SetSeed,
    /// The caller's deny list names it.
    Denied,
}

impl Deed {
    /// The class of a call.
    pub(super) fn class(self) -> Class {
        match self {
            Deed::Effect | Deed::RunsSql | Deed::ServerState | Deed::Sequence | Deed::Denied => {
                Class::Write
            }
            Deed::SessionState | Deed::AdvisoryLock | Deed::SetConfig | Deed::SetSeed => {
                Class::Session
            }
        }
    }
}

/// What decided a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing but white space, comments and semicolons.
    NoStatement,
    /// `SELECT`, `VALUES`, `TABLE` or `WITH … SELECT` of proven parts.
    PlainSelect,
    /// `EXPLAIN` that executes nothing.
    Explain,
    /// `EXPLAIN ANALYZE`, or an option that could mean it, of a statement that is not a read.
    ExplainAnalyze,
    /// `SHOW` of a setting that is the session's.
    Show,
    /// `SHOW` or `current_setting` of a setting that tells servers apart, or that the text does not name.
    ShowServer,
    /// `COPY … TO STDOUT`.
    CopyToStdout,
    /// `COPY … TO` a file or a program.
    CopyToServer,
    /// `COPY … FROM`.
    CopyFrom,
    /// A function that is known not to be a read.
    Function(Deed),
    /// A function that nothing is known about.
    UnknownFunction,
    /// An operator, or a keyword that stands for one, whose function is no read by the server's
    /// [`Facts`](super::Facts).
    OperatorFact,
    /// The name of a relation or a type that runs a function that is no read, or is another thing on each server, by
    /// the server's [`Facts`](super::Facts).
    NameFact,
    /// A view that shows sessions or the state of one server: `pg_cursors`, `pg_locks`, `pg_settings`.
    SessionView,
    /// A call, cast or operator while it is not known that `pg_catalog` is searched first.
    SearchPath,
    /// `FOR UPDATE`, `FOR NO KEY UPDATE`, `FOR SHARE`, `FOR KEY SHARE`.
    LockingClause,
    /// `INTO` in a query.
    Into,
    /// `INSERT`, `UPDATE`, `DELETE` or `MERGE` inside a query.
    ModifyingWith,
    /// A word that is a keyword of writes where it could also be a name.
    AmbiguousWord,
    /// The form is no query we know: a head, an option or a nesting that is not on the list.
    UnknownForm,
    /// The first word of a statement that is not a read.
    Keyword,
    /// A statement on settings, prepared statements, cursors or notifications.
    SessionStatement,
    /// A statement on transactions.
    TransactionStatement,
    /// The text begins with a [hint](super::hint()) to the writer.
    WriterHint,
    /// It begins with a hint to a reader, and is only unproven otherwise.
    ReaderHint,
    /// A reader has refused this text before.
    RefusedBefore,
    /// `BEGIN READ ONLY` where the rules count it as a read.
    BeginReadOnly,
    /// The lexer could not go on.
    Lexing(Doubt),
    /// A byte of 0x80 or more in a client encoding that is unknown or whose trail bytes include quotes or backslash.
    Encoding,
    /// Longer than [`Rules::text_limit`](super::Rules::text_limit).
    TooLong,
    /// A prepared statement that runs on one server alone, because its text is not remembered or would be read in another way
    /// by now.
    Forgotten,
    /// More effects than [`limits::SCAN_EFFECTS_MAX`](crate::limits::SCAN_EFFECTS_MAX).
    TooManyEffects,
    /// A parser asked for a second opinion sees another number of statements, or a write where the scan sees a read.
    Disagreement,
}

/// What decided, and where: a range in the text, never the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// What decided.
    pub why: Why,
    /// Byte offset of the token that decided.
    pub offset: usize,
    /// Length of that token in bytes.
    pub token_len: usize,
}

/// As it is named here: logs and this page use the same words.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// As it is named here.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}+{}", self.why, self.offset, self.token_len)
    }
}

/// A name that the client wrote, folded as the server folds it. Its `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(pub Box<[u8]>);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// Session state that cannot be copied to another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinKind {
    /// A temporary table, view, sequence, or anything in `pg_temp`.
    TemporaryObject,
    /// A `search_path` with `pg_temp`: what is made without a schema may be temporary from then on.
    TemporarySchema,
    /// An unlogged table or sequence, of which a standby has no content.
    UnloggedObject,
    /// `LISTEN`.
    Listen,
    /// An advisory lock.
    AdvisoryLock,
    /// A cursor `WITH HOLD`.
    HoldCursor,
    /// A cursor that ends with its transaction.
    Cursor,
    /// `LOAD`.
    Load,
    /// `set_config` other than with literals in a SELECT of its own, `UPDATE pg_settings`: a setting changed by a name
    /// and a value that the text does not show.
    SetConfig,
    /// `setseed`, `SET seed`.
    SetSeed,
    /// `nextval`, `setval`: `currval` and `lastval` have a value now.
    SequenceState,
    /// A settings statement that was recognised but not understood.
    UnknownSetting,
    /// A name that the server may fold or cut differently than we do (non-ASCII, escaped, over 63 bytes).
    AmbiguousName,
    /// Code that the text does not show: an unknown function in a query. A policy may ignore it.
    UnknownCode,
    /// `DO`, `CALL`, `EXECUTE` in another statement: a procedure of any content.
    Procedure,
    /// `ALTER ROLE`, `ALTER DATABASE`, `ALTER SYSTEM` with `SET` or `RESET`: what later sessions start with.
    LoginDefaults,
}

/// What a `PREPARE` prepares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// The statement's name, of the same name space as those of the protocol.
    pub name: Name,
    /// The statement that is prepared, within the text.
    pub statement: Range<usize>,
    /// The OIDs of the types that are given for its first parameters.
    pub types: Vec<u32>,
    /// Whether a Parse of that range with those types prepares the same on another server whatever its lexing settings:
    /// ASCII, no backslash, built-in types.
    pub portable: bool,
}

/// The arguments of an `EXECUTE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// None, or constants: they call nothing.
    Constant,
    /// Expressions.
    Any,
}

/// What the session must remember when a statement succeeds; a [`Effect::Pin`] as soon as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// `BEGIN`, `START TRANSACTION`.
    Begin(TransactionModes),
    /// `COMMIT`, `END`.
    Commit {
        /// `AND CHAIN`: a new transaction with the same modes is open.
        chain: bool,
    },
    /// `ROLLBACK`, `ABORT`.
    Rollback {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `SAVEPOINT name`.
    Savepoint(Name),
    /// `ROLLBACK TO name`.
    RollbackToSavepoint(Name),
    /// `RELEASE name`.
    Release(Name),
    /// `PREPARE TRANSACTION`: the transaction leaves the session.
    PrepareTransaction,
    /// `SET TRANSACTION …`, or a `SET` of `transaction_read_only` and its kin: the open transaction's modes.
    SetTransaction(TransactionModes),
    /// `SET`, `RESET` of one name.
    Setting(SettingChange),
    /// `RESET ALL`.
    ResetAll,
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD PLANS`.
    DiscardPlans,
    /// `DISCARD SEQUENCES`.
    DiscardSequences,
    /// `DISCARD TEMP`.
    DiscardTemp,
    /// `DEALLOCATE name`: protocol-level statements have the same name space.
    Deallocate(Name),
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// `PREPARE name AS …`.
    Prepare(Preparation),
    /// `EXECUTE name`: whatever the statement of that name does.
    Execute {
        /// The statement's name.
        name: Name,
        /// What it is given.
        arguments: Arguments,
    },
    /// `UNLISTEN *`.
    UnlistenAll,
    /// `CLOSE ALL`.
    CloseAll,
    /// State that binds the session to its server.
    Pin(PinKind),
}

/// An effect and the statement that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementEffect {
    /// Which statement of the text, counted from 0 without empty ones: the number of CommandCompletes before its own.
    pub index: u32,
    /// What it does.
    pub effect: Effect,
}

/// What one text asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The greatest class of its statements.
    pub class: Class,
    /// The greatest class of those of its statements that do not open, end or shape a transaction: what remains for a
    /// transaction that is open, or that the text opens.
    pub within: Class,
    /// The first token that reached the class of the whole.
    pub reason: Reason,
    /// The form of its first statement.
    pub form: Form,
    /// How many statements it has, empty ones not counted: as many CommandCompletes will come if all succeed. For an
    /// unreadable text, how many were seen.
    pub statements: u32,
    /// What to remember, in order. Empty, and unallocated, for a read.
    pub effects: Vec<StatementEffect>,
}

impl Intent {
    /// The intent of a request that shows no text: a FunctionCall, or a batch without a statement of ours.
    #[must_use]
    pub fn opaque(why: Why) -> Intent {
        Intent {
            class: Class::Write,
            within: Class::Write,
            reason: Reason {
                why,
                offset: 0,
                token_len: 0,
            },
            form: Form::Unknown,
            statements: 1,
            effects: Vec::new(),
        }
    }

    /// The intent of a batch: the greatest class with its reason, all statements, and no effects, because those
    /// belong to the statements of each text.
    #[must_use]
    pub fn of_batch<'a>(texts: impl IntoIterator<Item = &'a Intent>) -> Intent {
        let mut batch = Intent {
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
        };
        for text in texts {
            if batch.form == Form::Empty {
                batch.form = text.form;
            }
            if text.class > batch.class {
                batch.class = text.class;
                batch.reason = text.reason;
            }
            batch.within = batch.within.max(text.within);
            batch.statements = batch.statements.saturating_add(text.statements);
        }
        batch
    }

    /// The modes of the transaction that this text opens, when it is one `BEGIN` and nothing else.
    #[must_use]
    pub fn sole_begin(&self) -> Option<TransactionModes> {
        match (self.statements, self.effects.as_slice()) {
            (
                1,
                [
                    StatementEffect {
                        effect: Effect::Begin(modes),
                        ..
                    },
                ],
            ) => Some(*modes),
            _ => None,
        }
    }

    /// The statement that this text executes, when it is one `EXECUTE` with constants and nothing else: it does what that
    /// statement does, and its class is that one's. By itself it counts as a write.
    #[must_use]
    pub fn sole_execute(&self) -> Option<&Name> {
        match (self.statements, self.effects.as_slice()) {
            (
                1,
                [
                    StatementEffect {
                        effect:
                            Effect::Execute {
                                name,
                                arguments: Arguments::Constant,
                            },
                        ..
                    },
                ],
            ) => Some(name),
            _ => None,
        }
    }

    /// How many bytes it holds, itself included.
    pub(super) fn size(&self) -> usize {
        let slots = self
            .effects
            .capacity()
            .saturating_mul(size_of::<StatementEffect>());
        let heap = self.effects.iter().map(|effect| effect.effect.heap());
        heap.fold(
            slots.saturating_add(size_of::<Intent>()),
            usize::saturating_add,
        )
    }
}

/// What an [`Effect`] concerns, for those to whom its kind is all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns<'a> {
    /// The savepoint of this name.
    Savepoint(&'a Name),
    /// The prepared statement of this name.
    Statement(&'a Name),
    /// A prepared statement that there is from then on.
    Preparation(&'a Preparation),
    /// One setting.
    Setting(&'a SettingChange),
    /// What binds the session to its server.
    Pin(PinKind),
    /// The transaction or the session as a whole.
    Whole,
}

impl Effect {
    /// What it concerns.
    #[must_use]
    pub fn concerns(&self) -> Concerns<'_> {
        match self {
            Effect::Savepoint(name) | Effect::RollbackToSavepoint(name) | Effect::Release(name) => {
                Concerns::Savepoint(name)
            }
            Effect::Execute { name, .. } | Effect::Deallocate(name) => Concerns::Statement(name),
            Effect::Prepare(preparation) => Concerns::Preparation(preparation),
            Effect::Setting(change) => Concerns::Setting(change),
            Effect::Pin(kind) => Concerns::Pin(*kind),
            Effect::Begin(_)
            | Effect::Commit { .. }
            | Effect::Rollback { .. }
            | Effect::PrepareTransaction
            | Effect::SetTransaction(_)
            | Effect::ResetAll
            | Effect::DiscardAll
            | Effect::DiscardPlans
            | Effect::DiscardSequences
            | Effect::DiscardTemp
            | Effect::DeallocateAll
            | Effect::UnlistenAll
            | Effect::CloseAll => Concerns::Whole,
        }
    }

    /// The prepared statement that it concerns, if it is one.
    #[must_use]
    pub fn statement(&self) -> Option<&Name> {
        match self.concerns() {
            Concerns::Statement(name) => Some(name),
            Concerns::Preparation(preparation) => Some(&preparation.name),
            Concerns::Savepoint(_) | Concerns::Setting(_) | Concerns::Pin(_) | Concerns::Whole => {
                None
            }
        }
    }

    /// How many bytes it holds outside itself.
    fn heap(&self) -> usize {
        match self.concerns() {
            Concerns::Savepoint(name) | Concerns::Statement(name) => name.0.len(),
            Concerns::Preparation(preparation) => preparation.heap(),
            Concerns::Setting(change) => change.heap(),
            Concerns::Pin(_) | Concerns::Whole => 0,
        }
    }
}

impl Preparation {
    fn heap(&self) -> usize {
        let types = self.types.capacity().saturating_mul(size_of::<u32>());
        self.name.0.len().saturating_add(types)
    }
}
