//! The SQL that the model knows: what a text means. Whether it can be done is decided elsewhere.

mod expression;
mod parse;
mod query;
mod token;
mod utility;

use std::sync::Arc;

pub(super) use parse::{Lexing, TEMPORARY, statements};
pub(super) use token::{Caution, clipped};

/// Object ids of types, as in `pg_type`.
pub(super) mod oid {
    pub(crate) const BOOL: u32 = 16;
    pub(crate) const NAME: u32 = 19;
    pub(crate) const INT8: u32 = 20;
    pub(crate) const INT4: u32 = 23;
    pub(crate) const TEXT: u32 = 25;
    pub(crate) const FLOAT8: u32 = 701;
    pub(crate) const UNKNOWN: u32 = 705;
    pub(crate) const TEXT_ARRAY: u32 = 1009;
    pub(crate) const TIMESTAMPTZ: u32 = 1184;
    pub(crate) const NUMERIC: u32 = 1700;
    pub(crate) const REGCLASS: u32 = 2205;
    pub(crate) const VOID: u32 = 2278;
    pub(crate) const PG_LSN: u32 = 3220;
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    /// A number with a fraction.
    Number(Arc<str>),
    Str(Arc<str>),
    /// `$1` is 1.
    Param(usize),
    Column(Arc<str>),
    Call(Arc<str>, Vec<Expr>),
    Cast(Box<Expr>, u32),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
    Concat,
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Target {
    /// `*`
    All,
    Expr(Expr, Option<Arc<str>>),
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum From {
    Table(Arc<str>),
    /// `generate_series(a, b)`, with the name of its only column.
    Series(Expr, Expr, Arc<str>),
    /// VALUES.
    Rows(Vec<Vec<Expr>>),
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Select {
    pub(super) targets: Vec<Target>,
    pub(super) from: Option<From>,
    pub(super) filter: Option<Expr>,
    /// A column, and whether the greatest comes first.
    pub(super) order: Option<(Arc<str>, bool)>,
    pub(super) limit: Option<Expr>,
    /// The words of FOR UPDATE or FOR SHARE.
    pub(super) lock: Option<&'static str>,
    /// `with name as (write)`.
    pub(super) with: Option<(Arc<str>, Box<Change>)>,
}

/// INSERT, UPDATE, DELETE.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Change {
    pub(super) table: Arc<str>,
    pub(super) kind: ChangeKind,
    pub(super) returning: Vec<Target>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum ChangeKind {
    Insert {
        columns: Vec<Arc<str>>,
        source: Box<Select>,
    },
    Update {
        sets: Vec<(Arc<str>, Expr)>,
        filter: Option<Expr>,
    },
    Delete {
        filter: Option<Expr>,
    },
}

impl ChangeKind {
    pub(super) fn word(&self) -> &'static str {
        match self {
            ChangeKind::Insert { .. } => "INSERT",
            ChangeKind::Update { .. } => "UPDATE",
            ChangeKind::Delete { .. } => "DELETE",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Only,
    Write,
}

/// BEGIN's and SET TRANSACTION's options.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Modes {
    pub(super) access: Option<Access>,
    pub(super) isolation: Option<&'static str>,
    pub(super) deferrable: Option<bool>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Transaction {
    /// And the tag: `BEGIN` or `START TRANSACTION`.
    Begin(Modes, &'static str),
    /// And whether another begins at once.
    Commit(bool),
    Rollback(bool),
    Savepoint(Arc<str>),
    Release(Arc<str>),
    RollbackTo(Arc<str>),
    /// PREPARE TRANSACTION
    Prepare,
    /// COMMIT PREPARED and ROLLBACK PREPARED
    Finish,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum SetTo {
    Value(Arc<str>),
    /// More than one, with commas between.
    List(Arc<str>),
    Default,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Discard {
    All,
    Plans,
    Temp,
    Sequences,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Count {
    Some(i64),
    All,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct ColumnType {
    pub(super) name: Arc<str>,
    pub(super) oid: u32,
}

/// What has rows and columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    Table,
    View,
    Sequence,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum CopySource {
    Table(Arc<str>),
    Query(Box<Statement>),
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Utility {
    Transaction(Transaction),
    SetTransaction(Modes, /* of the session */ bool),
    Set {
        name: Arc<str>,
        to: SetTo,
        local: bool,
    },
    Reset(Arc<str>),
    ResetAll,
    Show(Arc<str>),
    Discard(Discard),
    Prepare {
        name: Arc<str>,
        types: Vec<u32>,
        statement: Box<Statement>,
        text: Arc<str>,
    },
    Execute {
        name: Arc<str>,
        values: Vec<Expr>,
    },
    Deallocate(Option<Arc<str>>),
    Declare {
        name: Arc<str>,
        hold: bool,
        select: Box<Select>,
    },
    Fetch {
        name: Arc<str>,
        count: Count,
        moves: bool,
    },
    CloseCursor(Option<Arc<str>>),
    Listen(Arc<str>),
    Unlisten(Option<Arc<str>>),
    Notify(Arc<str>, Arc<str>),
    CopyIn {
        table: Arc<str>,
    },
    CopyOut(CopySource),
    Explain {
        analyze: bool,
        statement: Box<Statement>,
    },
    Do(Arc<str>),
    Call(Arc<str>, Vec<Expr>),
    Lock {
        table: Arc<str>,
        mode: LockMode,
    },
    /// A view, of which the model knows temporary ones of constants, or a sequence, of which it knows temporary ones whose
    /// state is read as that of a table.
    CreateTemporary {
        name: Arc<str>,
        kind: Relation,
        /// Whether one of the same name makes room.
        replaces: bool,
        select: Box<Select>,
    },
    Create {
        name: Arc<str>,
        temporary: bool,
        if_not_exists: bool,
        columns: Vec<ColumnType>,
    },
    CreateAs {
        name: Arc<str>,
        temporary: bool,
        /// Whether it was written as SELECT INTO.
        into: bool,
        select: Box<Select>,
    },
    Drop {
        names: Vec<Arc<str>>,
        if_exists: bool,
    },
    Truncate(Arc<str>),
    Vacuum,
    Checkpoint,
    /// What a proxy asks of a session that it is about to move, with the identity of the cluster or without.
    Survey {
        identity: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LockMode {
    /// ACCESS SHARE, ROW SHARE, ROW EXCLUSIVE.
    Weak,
    Strong,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Statement {
    Select(Select),
    Change(Change),
    Utility(Utility),
}

impl Statement {
    /// Whether it is done also in a transaction that failed.
    pub(super) fn ends_transaction(&self) -> bool {
        matches!(
            self,
            Statement::Utility(Utility::Transaction(
                Transaction::Commit(_)
                    | Transaction::Rollback(_)
                    | Transaction::RollbackTo(_)
                    | Transaction::Prepare
            ))
        )
    }

    /// Whether it is ROLLBACK TO.
    pub(super) fn is_return(&self) -> bool {
        matches!(
            self,
            Statement::Utility(Utility::Transaction(Transaction::RollbackTo(_)))
        )
    }

    pub(super) fn is_transaction(&self) -> bool {
        matches!(self, Statement::Utility(Utility::Transaction(_)))
    }
}
