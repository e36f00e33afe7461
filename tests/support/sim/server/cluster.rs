//! What the servers of a primary and of its standby share.

use super::Node;

/// How far the standby is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lag {
    /// A commit is replayed before it is answered.
    None,
    /// The standby replays when told to.
    Manual,
}

/// A statement that wrote, or wanted to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    pub(crate) node: Node,
    pub(crate) backend: u32,
    pub(crate) text: String,
}

pub(crate) struct Cluster {
    lag: Lag,
    writes: Vec<Write>,
    refusals: Vec<Write>,
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        Cluster {
            lag: Lag::None,
            writes: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// The standby applies at most `records` more WAL records.
    pub(crate) fn replay(&mut self, _records: usize) {}

    pub(crate) fn set_lag(&mut self, lag: Lag) {
        self.lag = lag;
    }

    /// Every write that was executed, in order, also those of transactions that were rolled back.
    pub(crate) fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Statements that a standby refused with 25006.
    pub(crate) fn refusals(&self) -> &[Write] {
        &self.refusals
    }

    /// All rows of the primary, in a fixed order.
    pub(crate) fn dump(&self) -> Vec<String> {
        Vec::new()
    }
}
