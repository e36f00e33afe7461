//! What may change in the set of prepared statements.

use std::sync::Arc;

use super::prepared::Definition;

/// A change to the set of statements, in the order in which it was sent.
#[derive(Debug)]
pub enum Change<M> {
    /// The client's Parse on an upstream.
    Define {
        /// Which upstream.
        leg: usize,
        /// The statement's name; empty for the unnamed one.
        name: Box<[u8]>,
        /// What it is.
        definition: Arc<Definition<M>>,
    },
    /// Our own Parse of a statement that the client already has.
    Restore {
        /// Which upstream.
        leg: usize,
        /// The statement's name.
        name: Box<[u8]>,
        /// What it is.
        definition: Arc<Definition<M>>,
    },
    /// Our own Parse of nothing, by a name that is to be dropped at once on an upstream that does not have it.
    StandIn {
        /// Which upstream.
        leg: usize,
        /// The statement's name.
        name: Box<[u8]>,
    },
    /// The client's Close, or a DEALLOCATE: the name is gone for the client and on that upstream. Also a Parse that
    /// there is no room to remember: the name is nothing that we know of.
    Forget {
        /// Which upstream.
        leg: usize,
        /// The statement's name.
        name: Box<[u8]>,
    },
    /// Our own Close of a definition that the client does not have any more.
    Clear {
        /// Which upstream.
        leg: usize,
        /// The statement's name.
        name: Box<[u8]>,
    },
    /// DEALLOCATE ALL or DISCARD ALL on an upstream: all names are gone for the client and there. The unnamed
    /// statement stays (PostgreSQL's `DropAllPreparedStatements` knows named ones only).
    ForgetAll {
        /// Which upstream.
        leg: usize,
    },
}

impl<M> Change<M> {
    pub(super) fn name(&self) -> Option<&[u8]> {
        match self {
            Change::Define { name, .. }
            | Change::Restore { name, .. }
            | Change::StandIn { name, .. }
            | Change::Forget { name, .. }
            | Change::Clear { name, .. } => Some(name),
            Change::ForgetAll { .. } => None,
        }
    }

    /// What the client defines by it.
    pub(super) fn definition(&self) -> Option<&Arc<Definition<M>>> {
        match self {
            Change::Define { definition, .. } => Some(definition),
            Change::Restore { .. }
            | Change::StandIn { .. }
            | Change::Forget { .. }
            | Change::Clear { .. }
            | Change::ForgetAll { .. } => None,
        }
    }

    /// Whether the client did not ask for it.
    pub(super) fn is_ours(&self) -> bool {
        match self {
            Change::Restore { .. } | Change::StandIn { .. } | Change::Clear { .. } => true,
            Change::Define { .. } | Change::Forget { .. } | Change::ForgetAll { .. } => false,
        }
    }

    /// Whether it may add a name; the unnamed statement is one however often it is parsed.
    pub(super) fn names_one(&self) -> bool {
        matches!(self, Change::Define { name, .. } if !name.is_empty())
    }
}
