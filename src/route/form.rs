//! What form a statement has: its place in the list of commands.

use super::words::Head;

/// The form of a statement by its first words, as the manual's list of SQL commands sorts them.
///
/// It says what somebody wrote, for logs, counters and policies; [`Class`](super::Class) says what may be done with it,
/// and the two differ: `SELECT pg_advisory_lock(1)` has the form of a read, and `EXPLAIN` of one is a utility that a
/// reader may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// No statement at all.
    Empty,
    /// `SELECT`, `VALUES`, `TABLE`, `WITH`, that neither creates a table nor changes one in its `WITH`.
    Read,
    /// `INSERT`, `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`, definitions and rights, and a query that does one of these:
    /// `SELECT … INTO`, `WITH … AS (DELETE …)`.
    Write,
    /// `SET`, `RESET`, `SHOW`, `DISCARD`.
    Setting,
    /// `BEGIN`, `START`, `COMMIT`, `END`, `ROLLBACK`, `ABORT`, `SAVEPOINT`, `RELEASE`, `PREPARE TRANSACTION`, `COMMIT` and
    /// `ROLLBACK PREPARED`, `SET TRANSACTION`, `SET CONSTRAINTS`.
    Transaction,
    /// `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.
    Cursor,
    /// `PREPARE`, `EXECUTE`, `DEALLOCATE`.
    Prepared,
    /// `LISTEN`, `NOTIFY`, `UNLISTEN`.
    Notification,
    /// `COPY … FROM`.
    CopyIn,
    /// `COPY … TO`.
    CopyOut,
    /// `EXPLAIN`, `ANALYZE`, `VACUUM`, `CHECKPOINT`, `CLUSTER`, `REINDEX`, `LOCK`, `LOAD`, `DO`, `CALL`.
    Utility,
    /// Nothing that a statement starts with, or a text that could not be read.
    Unknown,
}

impl Form {
    /// The form that the first word gives.
    pub(super) fn of(head: Head) -> Form {
        match head {
            Head::Query => Form::Read,
            Head::Dml | Head::Write | Head::Create | Head::Alter => Form::Write,
            Head::Set | Head::Reset | Head::Show | Head::Discard => Form::Setting,
            Head::Begin
            | Head::Start
            | Head::Commit
            | Head::Rollback
            | Head::Savepoint
            | Head::Release => Form::Transaction,
            Head::Declare | Head::Cursor | Head::Close => Form::Cursor,
            Head::Prepare | Head::Execute | Head::Deallocate => Form::Prepared,
            Head::Listen | Head::Unlisten | Head::Notify => Form::Notification,
            // Which way is seen behind the table or the query.
            Head::Copy | Head::None => Form::Unknown,
            Head::Explain | Head::Maintain | Head::Load | Head::Code => Form::Utility,
        }
    }
}

/// As it is named here.
impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}
