//! What a session is doing and what ties it to its server, for whoever operates a proxy.

use super::client::ClientPhase;
use super::requests::Batch;
use super::{Life, Session};
use crate::route::Route;
use crate::track::Pin;
use crate::wire::TransactionStatus;

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// The client is opening its connection or logging in.
    Opening,
    /// Nothing is asked, no transaction is open: the client may be kept waiting here and nobody waits for it.
    Idle,
    /// A request waits for its upstream or for its answer, or a batch for its Sync.
    Active,
    /// A transaction is open, and nothing is asked.
    InTransaction,
    /// The same, and the transaction has failed.
    InFailedTransaction,
    /// What passes is not read: a replication stream, or encryption that is handed through.
    Whole,
    /// It winds down or has ended.
    Ending,
}

impl std::fmt::Display for Activity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Activity::Opening => "opening",
            Activity::Idle => "idle",
            Activity::Active => "active",
            Activity::InTransaction => "idle in transaction",
            Activity::InFailedTransaction => "idle in failed transaction",
            Activity::Whole => "passed whole",
            Activity::Ending => "ending",
        })
    }
}

impl<R: Route> Session<R> {
    /// What the session is doing now.
    pub fn activity(&self) -> Activity {
        match self.life {
            Life::Live => {}
            Life::Finishing | Life::Closing(_) | Life::Dead(_) => return Activity::Ending,
        }
        if self.client_startup().is_some() && self.is_relay_only() {
            return Activity::Whole;
        }
        match &self.client.phase {
            ClientPhase::Serving(_) => {}
            ClientPhase::Opaque(_) => return Activity::Whole,
            ClientPhase::Opening(_)
            | ClientPhase::Securing(..)
            | ClientPhase::Finding
            | ClientPhase::Admitting(..)
            | ClientPhase::LoggingIn(_) => return Activity::Opening,
            ClientPhase::Over | ClientPhase::Closed => return Activity::Ending,
        }
        let batch = self.requests.batch != Batch::None;
        if batch || self.is_holding() || !self.nothing_in_flight() {
            return Activity::Active;
        }
        let writer = self.leg(self.writer()).serving().map(|leg| leg.status);
        match self.reader_transaction_status().or(writer) {
            Some(TransactionStatus::InTransaction) => Activity::InTransaction,
            Some(TransactionStatus::Failed) => Activity::InFailedTransaction,
            Some(TransactionStatus::Idle) | None => Activity::Idle,
        }
    }

    /// What keeps the session's reads on the writer now and cannot be repeated on another server, oldest first and last what
    /// a setting keeps there, as far as it is followed: nothing is where the session neither splits reads off nor may be
    /// moved.
    pub fn pins(&self) -> impl Iterator<Item = Pin> + '_ {
        self.memory.pins.iter().chain(self.memory.obstacle)
    }
}
