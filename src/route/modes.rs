//! The modes of a transaction, as a statement spells them out.

/// Read-only or read-write, as a transaction's access mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `READ ONLY`.
    ReadOnly,
    /// `READ WRITE`.
    ReadWrite,
}

/// A transaction's isolation level.
///
/// A hot standby refuses [`Isolation::Serializable`] with 0A000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// `READ UNCOMMITTED`, which PostgreSQL runs as READ COMMITTED.
    ReadUncommitted,
    /// `READ COMMITTED`.
    ReadCommitted,
    /// `REPEATABLE READ`.
    RepeatableRead,
    /// `SERIALIZABLE`.
    Serializable,
}

/// Whether a serializable transaction that reads only waits for a moment in which nothing can make it fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deferral {
    /// `DEFERRABLE`.
    Deferrable,
    /// `NOT DEFERRABLE`.
    NotDeferrable,
}

/// How often a text says each of a transaction's modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spelt {
    /// Once at most.
    #[default]
    Once,
    /// One of them more than once. A server takes them one after the other, and may refuse an earlier one.
    Repeatedly,
}

/// The modes a `BEGIN` or `SET TRANSACTION` spells out. `None` means the default, the last of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransactionModes {
    /// The access mode.
    pub access: Option<Access>,
    /// The isolation level.
    pub isolation: Option<Isolation>,
    /// Whether it is deferrable.
    pub deferral: Option<Deferral>,
    /// Whether one of them was said before.
    pub spelt: Spelt,
}

impl TransactionModes {
    /// One of them was just said; `again` if it was before.
    pub(super) fn said(&mut self, again: bool) {
        if again {
            self.spelt = Spelt::Repeatedly;
        }
    }
}
