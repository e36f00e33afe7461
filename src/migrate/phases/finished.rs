//! How a move ended.

use std::fmt;
use std::time::{Duration, Instant};

use super::super::transfers::{Attempt, Outcome, Transfers};
use super::super::{AnswerFault, Unsafe};
use super::Phase;

/// Why a move ended without success.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A deadline passed.
    Timeout,
    /// The deadline passed, and this is what the session waited for.
    NeverSafe(Unsafe),
    /// The new server could not be reached, let us not in, went away, refused the state, or is not what it must be: in
    /// words for a log.
    Target(String),
    /// The state cannot be read or cannot be moved: in words for a log.
    State(String),
    /// What was read back is not what was restored: in words for a log.
    Differs(String),
    /// The old server went away.
    OldLost,
    /// The old server's answer is not understood, and so nothing behind it.
    OldFault(AnswerFault),
    /// The client went away.
    ClientLost,
    /// The caller does not want it any more.
    Cancelled,
    /// A message of the client has passed since it was held: the driver's mistake.
    NotQuiescent,
    /// What was reported does not fit the phase: the driver's mistake.
    OutOfTurn(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Timeout => f.write_str("it took too long"),
            Reason::NeverSafe(why) => write!(f, "it came to no safe point: {why}"),
            Reason::Target(why) => write!(f, "the new server: {why}"),
            Reason::State(why) => f.write_str(why),
            Reason::Differs(why) => write!(f, "the restored session differs: {why}"),
            Reason::OldLost => f.write_str("the old server went away"),
            Reason::OldFault(fault) => write!(f, "the old server: {fault}"),
            Reason::ClientLost => f.write_str("the client went away"),
            Reason::Cancelled => f.write_str("it was cancelled"),
            Reason::NotQuiescent => f.write_str("the client was not held"),
            Reason::OutOfTurn(what) => write!(f, "{what} was reported out of turn"),
        }
    }
}

/// Whether the old server can go on with the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldServer {
    /// It can.
    Alive,
    /// It can, and an answer to us is still to come from it: show it to the reader, then forget it. The client may go
    /// on at once, since its own answers come behind.
    OwesUs,
    /// It has gone.
    Lost,
}

/// A move that has ended: how, in which phase, and why.
#[derive(Debug)]
#[must_use = "a move that is not recorded blocks all others of its session"]
pub struct Finished {
    pub(super) attempt: Attempt,
    pub(super) outcome: Outcome,
    pub(super) phase: Phase,
    pub(super) reason: Option<Reason>,
    pub(super) old: OldServer,
}

impl Finished {
    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// In which phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it failed; `None` behind a success.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// How the old server stands to the session.
    #[must_use]
    pub fn old_server(&self) -> OldServer {
        self.old
    }

    /// Counts it, so that another move can begin. Returns how long it took.
    pub fn record(self, now: Instant, transfers: &mut Transfers) -> Duration {
        transfers.finish(now, self.attempt, self.outcome)
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            None => f.write_str("the session was moved"),
            Some(reason) => write!(f, "{}: {reason}", self.phase),
        }
    }
}
