//! The phases of a move, from the dial to the cutover, and what becomes of the session when one of them fails.

use std::fmt;
use std::time::{Duration, Instant};

use super::transfers::{Attempt, Outcome};
use super::{AnswerFault, Quiescent, Unsafe};
use crate::limits::{
    MIGRATION_DIAL_TIMEOUT, MIGRATION_HOLD_TIMEOUT, MIGRATION_LOGIN_TIMEOUT, MIGRATION_TIMEOUT,
};

mod finished;

pub use finished::{Finished, OldServer, Reason};

/// How a session's state is moved, which decides the order of the phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The old server hands the state out, with the token for the login: it is read before.
    Cockroach,
    /// The state is found out and restored piece by piece: the login comes first, while the old server still serves.
    #[default]
    Postgres,
}

/// What a move is doing. The order is that of [`Dialect::Postgres`]; with [`Dialect::Cockroach`] `LogIn` comes behind
/// `Read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The new server is dialled, TLS included.
    Dial,
    /// We log in there, and look at what a fresh session has.
    LogIn,
    /// The session goes on until it comes to a safe point by itself.
    Wait,
    /// The client is held, and the old server answers what it has been sent.
    Drain,
    /// The session's state is read.
    Read,
    /// The new server gets it.
    Restore,
    /// It is read back and compared.
    Verify,
    /// All is done but the cutover.
    CutOver,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Dial => "dialling the new server",
            Phase::LogIn => "logging in to the new server",
            Phase::Wait => "waiting for a safe point",
            Phase::Drain => "waiting for the last answers",
            Phase::Read => "reading the session's state",
            Phase::Restore => "restoring the session",
            Phase::Verify => "verifying the session",
            Phase::CutOver => "cutting over",
        })
    }
}

/// How long a move and its phases may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseLimits {
    /// The whole.
    pub total: Duration,
    /// The dial.
    pub dial: Duration,
    /// The login, where it comes first.
    pub login: Duration,
    /// Everything for which an idle client is held, together.
    pub hold: Duration,
}

impl Default for PhaseLimits {
    fn default() -> PhaseLimits {
        PhaseLimits {
            total: MIGRATION_TIMEOUT,
            dial: MIGRATION_DIAL_TIMEOUT,
            login: MIGRATION_LOGIN_TIMEOUT,
            hold: MIGRATION_HOLD_TIMEOUT,
        }
    }
}

/// The client is held.
#[derive(Debug)]
struct Held {
    /// The time of its last message.
    clock: u64,
    until: Instant,
    old: OldServer,
}

/// Each state has what it needs, and nothing of another one. `S` is the state that was read.
#[derive(Debug)]
enum State<S> {
    Dialling {
        until: Instant,
    },
    LoggingIn {
        until: Instant,
    },
    Waiting {
        why: Option<Unsafe>,
    },
    Draining {
        why: Unsafe,
    },
    Reading(Held),
    /// The login behind the state.
    Reviving(Held, S),
    Restoring(Held, S),
    Verifying(Held, S),
    Ready(Held, S),
}

/// A move of one session, as a state machine that each event consumes.
///
/// It dials nothing, sends nothing and reads no clock: it is told what happened, and says in which [`Phase`] the move is,
/// until when ([`deadline`](Migration::deadline)), and whether the client has to be held
/// ([`holds_client`](Migration::holds_client)). `S` is the session's state as it was read; it is dropped with the move.
///
/// | what fails, in the phase of | session | outcome |
/// |---|---|---|
/// | a deadline, the new server, the caller, the client | on the old server | recoverable |
/// | the old server, before the state is read | over | fatal |
/// | the old server, behind that | goes on with the move | |
/// | anything, once the old server has gone | over | fatal |
///
/// A move that fails recoverably sends the new server a Terminate and releases the client, whose bytes have waited; one
/// that succeeds sends it to the old one. One that fails fatally tells the client with a FATAL error: it is held at a
/// boundary, or else the old server's own end is told as always.
///
/// ```
/// use std::time::Instant;
/// use pgturnout::migrate::{
///     Dialect, Facts, Migration, Outcome, Phase, PhaseLimits, Progress, Readiness, Transfers, Trust, safe_point,
/// };
///
/// # fn on<S>(progress: Progress<S>) -> Migration<S> { match progress { Progress::On(it) => it, Progress::Over(_) => panic!() } }
/// let now = Instant::now();
/// let mut transfers = Transfers::new();
/// let attempt = transfers.begin(now, Readiness::Serving)?;
/// let migration: Migration<&str> = Migration::new(attempt, Dialect::Postgres, now, PhaseLimits::default());
/// let migration = on(migration.connected(now));
/// let migration = on(migration.logged_in(now));
/// assert_eq!(migration.phase(), Phase::Wait);
/// let idle = || safe_point(&Facts::idle(7), Trust::Journal); // the client's last message was the seventh
/// let migration = on(migration.looked(now, idle()));
/// assert!(migration.holds_client());
/// let migration = on(migration.state_read(now, "its state"));
/// let migration = on(migration.restored(now));
/// let migration = on(migration.verified(now));
/// let proof = idle().expect("the client is held");
/// let finished = migration.cut_over(now, proof);
/// assert_eq!(finished.outcome(), Outcome::Success);
/// finished.record(now, &mut transfers);
/// # Ok::<(), pgturnout::migrate::CannotStart>(())
/// ```
#[derive(Debug)]
#[must_use = "a move is driven to its end"]
pub struct Migration<S> {
    attempt: Attempt,
    dialect: Dialect,
    overall: Instant,
    limits: PhaseLimits,
    state: State<S>,
}

/// What an event has made of a move.
#[derive(Debug)]
#[must_use = "a move that is over has to be recorded"]
pub enum Progress<S> {
    /// It goes on.
    On(Migration<S>),
    /// It has ended.
    Over(Finished),
}

impl<S> Migration<S> {
    /// A move that begins with the dial.
    pub fn new(
        attempt: Attempt,
        dialect: Dialect,
        now: Instant,
        limits: PhaseLimits,
    ) -> Migration<S> {
        // A duration past the end of time is no limit, and every move has one.
        let overall = now.checked_add(limits.total).unwrap_or(now);
        Migration {
            attempt,
            dialect,
            overall,
            state: State::Dialling {
                until: after(now, limits.dial, overall),
            },
            limits,
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Dialling { .. } => Phase::Dial,
            State::LoggingIn { .. } | State::Reviving(..) => Phase::LogIn,
            State::Waiting { .. } => Phase::Wait,
            State::Draining { .. } => Phase::Drain,
            State::Reading(_) => Phase::Read,
            State::Restoring(..) => Phase::Restore,
            State::Verifying(..) => Phase::Verify,
            State::Ready(..) => Phase::CutOver,
        }
    }

    /// When the phase ends at the latest. Call [`timed_out`](Migration::timed_out) then.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match &self.state {
            State::Dialling { until } | State::LoggingIn { until } => *until,
            // A client that waits for its own answers is not kept waiting by us.
            State::Waiting { .. } | State::Draining { .. } => self.overall,
            State::Reading(held)
            | State::Reviving(held, _)
            | State::Restoring(held, _)
            | State::Verifying(held, _)
            | State::Ready(held, _) => held.until,
        }
    }

    /// Whether no message of the client may begin to be forwarded.
    #[must_use]
    pub fn holds_client(&self) -> bool {
        match &self.state {
            State::Dialling { .. } | State::LoggingIn { .. } | State::Waiting { .. } => false,
            State::Draining { .. }
            | State::Reading(_)
            | State::Reviving(..)
            | State::Restoring(..)
            | State::Verifying(..)
            | State::Ready(..) => true,
        }
    }

    /// The session's state, from its reading to the cutover.
    #[must_use]
    pub fn state(&self) -> Option<&S> {
        match &self.state {
            State::Dialling { .. }
            | State::LoggingIn { .. }
            | State::Waiting { .. }
            | State::Draining { .. }
            | State::Reading(_) => None,
            State::Reviving(_, state)
            | State::Restoring(_, state)
            | State::Verifying(_, state)
            | State::Ready(_, state) => Some(state),
        }
    }

    /// What the session waits for, as far as it was looked at.
    #[must_use]
    pub fn waits_for(&self) -> Option<&Unsafe> {
        match &self.state {
            State::Waiting { why } => why.as_ref(),
            State::Draining { why } => Some(why),
            State::Dialling { .. }
            | State::LoggingIn { .. }
            | State::Reading(_)
            | State::Reviving(..)
            | State::Restoring(..)
            | State::Verifying(..)
            | State::Ready(..) => None,
        }
    }

    /// The connection to the new server stands.
    pub fn connected(self, now: Instant) -> Progress<S> {
        match (&self.state, self.dialect) {
            (State::Dialling { .. }, Dialect::Postgres) => {
                let until = after(now, self.limits.login, self.overall);
                self.enter(State::LoggingIn { until })
            }
            (State::Dialling { .. }, Dialect::Cockroach) => {
                self.enter(State::Waiting { why: None })
            }
            _ => self.over(Reason::OutOfTurn("a connection")),
        }
    }

    /// The new server is ready for queries, and what a fresh session has there is known.
    pub fn logged_in(mut self, _now: Instant) -> Progress<S> {
        match self.take() {
            State::LoggingIn { .. } => self.enter(State::Waiting { why: None }),
            State::Reviving(held, state) => self.enter(State::Restoring(held, state)),
            other @ (State::Dialling { .. }
            | State::Waiting { .. }
            | State::Draining { .. }
            | State::Reading(_)
            | State::Restoring(..)
            | State::Verifying(..)
            | State::Ready(..)) => self.refuse(other, "a login"),
        }
    }

    /// Somebody looked whether the session is at a safe point: at each ReadyForQuery, and when the move begins to wait.
    pub fn looked(mut self, now: Instant, point: Result<Quiescent, Unsafe>) -> Progress<S> {
        match (self.take(), point) {
            (State::Waiting { .. } | State::Draining { .. }, Ok(proof)) => {
                let held = Held {
                    clock: proof.clock(),
                    until: after(now, self.limits.hold, self.overall),
                    old: OldServer::Alive,
                };
                self.enter(State::Reading(held))
            }
            (State::Waiting { .. } | State::Draining { .. }, Err(why)) => {
                let state = if why.passes_by_itself() {
                    State::Draining { why }
                } else {
                    State::Waiting { why: Some(why) }
                };
                self.enter(state)
            }
            (other, _) => self.refuse(other, "a safe point"),
        }
    }

    /// The session's state was read, and it can be moved.
    pub fn state_read(mut self, _now: Instant, state: S) -> Progress<S> {
        match (self.take(), self.dialect) {
            (State::Reading(held), Dialect::Postgres) => self.enter(State::Restoring(held, state)),
            (State::Reading(held), Dialect::Cockroach) => self.enter(State::Reviving(held, state)),
            (other, _) => self.refuse(other, "a state"),
        }
    }

    /// The new server has taken the state.
    pub fn restored(mut self, _now: Instant) -> Progress<S> {
        match self.take() {
            State::Restoring(held, state) => self.enter(State::Verifying(held, state)),
            other @ (State::Dialling { .. }
            | State::LoggingIn { .. }
            | State::Waiting { .. }
            | State::Draining { .. }
            | State::Reading(_)
            | State::Reviving(..)
            | State::Verifying(..)
            | State::Ready(..)) => self.refuse(other, "a restore"),
        }
    }

    /// What was read back is what was restored.
    pub fn verified(mut self, _now: Instant) -> Progress<S> {
        match self.take() {
            State::Verifying(held, state) => self.enter(State::Ready(held, state)),
            other @ (State::Dialling { .. }
            | State::LoggingIn { .. }
            | State::Waiting { .. }
            | State::Draining { .. }
            | State::Reading(_)
            | State::Reviving(..)
            | State::Restoring(..)
            | State::Ready(..)) => self.refuse(other, "a verification"),
        }
    }

    /// The new server takes over, in one step with its cancel key. The proof must be made now: no message of the client may
    /// have passed since it was held.
    ///
    /// Behind a success the old server, unless it is [lost](Finished::old_server), gets a Terminate, the client the values of
    /// ParameterStatus that differ, then what of it has waited.
    pub fn cut_over(mut self, now: Instant, proof: Quiescent) -> Finished {
        let reason = match self.take() {
            State::Ready(held, _) if held.clock != proof.clock() => {
                return self.end(Some(held), Phase::CutOver, Reason::NotQuiescent);
            }
            State::Ready(held, _) if now >= held.until => {
                return self.end(Some(held), Phase::CutOver, Reason::Timeout);
            }
            State::Ready(held, _) => {
                return Finished {
                    attempt: self.attempt,
                    outcome: Outcome::Success,
                    phase: Phase::CutOver,
                    reason: None,
                    old: held.old,
                };
            }
            other @ (State::Dialling { .. }
            | State::LoggingIn { .. }
            | State::Waiting { .. }
            | State::Draining { .. }
            | State::Reading(_)
            | State::Reviving(..)
            | State::Restoring(..)
            | State::Verifying(..)) => {
                self.state = other;
                Reason::OutOfTurn("a cutover")
            }
        };
        self.finish(reason)
    }

    /// Time has passed. Nothing happens before [`deadline`](Migration::deadline).
    pub fn timed_out(self, now: Instant) -> Progress<S> {
        if now < self.deadline() {
            return Progress::On(self);
        }
        match self.waits_for().cloned() {
            Some(why) => self.over(Reason::NeverSafe(why)),
            None => self.over(Reason::Timeout),
        }
    }

    /// The new server could not be reached, refused something, or went away.
    pub fn target_failed(self, why: impl fmt::Display) -> Progress<S> {
        self.over(Reason::Target(why.to_string()))
    }

    /// The state could not be read, or holds what cannot be moved; the old server's answer is complete.
    pub fn state_refused(mut self, why: impl fmt::Display) -> Progress<S> {
        if let State::Reading(held) = &mut self.state {
            held.old = OldServer::Alive;
            let held = self.take_held();
            let reason = Reason::State(why.to_string());
            return Progress::Over(self.end(held, Phase::Read, reason));
        }
        self.over(Reason::State(why.to_string()))
    }

    /// What was read back is something else.
    pub fn differs(self, why: impl fmt::Display) -> Progress<S> {
        self.over(Reason::Differs(why.to_string()))
    }

    /// The old server went away. Once the state is read the move goes on without it.
    pub fn old_lost(mut self) -> Progress<S> {
        match &mut self.state {
            State::Reviving(held, _)
            | State::Restoring(held, _)
            | State::Verifying(held, _)
            | State::Ready(held, _) => {
                held.old = OldServer::Lost;
                Progress::On(self)
            }
            State::Dialling { .. }
            | State::LoggingIn { .. }
            | State::Waiting { .. }
            | State::Draining { .. }
            | State::Reading(_) => self.over(Reason::OldLost),
        }
    }

    /// The old server's answer is not understood: it cannot be used any more.
    pub fn old_fault(self, fault: AnswerFault) -> Progress<S> {
        self.over(Reason::OldFault(fault))
    }

    /// The client went away.
    pub fn client_lost(self) -> Progress<S> {
        self.over(Reason::ClientLost)
    }

    /// The caller does not want it any more.
    pub fn cancel(self) -> Progress<S> {
        self.over(Reason::Cancelled)
    }

    fn enter(self, state: State<S>) -> Progress<S> {
        Progress::On(Migration { state, ..self })
    }

    /// The state, which every path behind it replaces.
    fn take(&mut self) -> State<S> {
        std::mem::replace(&mut self.state, State::Waiting { why: None })
    }

    fn take_held(&mut self) -> Option<Held> {
        match self.take() {
            State::Dialling { .. }
            | State::LoggingIn { .. }
            | State::Waiting { .. }
            | State::Draining { .. } => None,
            State::Reading(held)
            | State::Reviving(held, _)
            | State::Restoring(held, _)
            | State::Verifying(held, _)
            | State::Ready(held, _) => Some(held),
        }
    }

    fn refuse(mut self, state: State<S>, what: &'static str) -> Progress<S> {
        self.state = state;
        self.over(Reason::OutOfTurn(what))
    }

    fn over(self, reason: Reason) -> Progress<S> {
        Progress::Over(self.finish(reason))
    }

    fn finish(mut self, reason: Reason) -> Finished {
        let phase = self.phase();
        let mut held = self.take_held();
        if let (Some(held), Phase::Read) = (&mut held, phase) {
            held.old = OldServer::OwesUs;
        }
        self.end(held, phase, reason)
    }

    fn end(self, held: Option<Held>, phase: Phase, reason: Reason) -> Finished {
        let old = held.map_or(OldServer::Alive, |held| held.old);
        let old = match reason {
            Reason::OldLost | Reason::OldFault(_) => OldServer::Lost,
            Reason::Timeout
            | Reason::NeverSafe(_)
            | Reason::Target(_)
            | Reason::State(_)
            | Reason::Differs(_)
            | Reason::ClientLost
            | Reason::Cancelled
            | Reason::NotQuiescent
            | Reason::OutOfTurn(_) => old,
        };
        let outcome = match old {
            OldServer::Alive | OldServer::OwesUs => Outcome::Recoverable,
            OldServer::Lost => Outcome::Fatal,
        };
        Finished {
            attempt: self.attempt,
            outcome,
            phase,
            reason: Some(reason),
            old,
        }
    }
}

/// The end of a phase that begins now.
fn after(now: Instant, limit: Duration, overall: Instant) -> Instant {
    now.checked_add(limit)
        .map_or(overall, |end| end.min(overall))
}

#[cfg(test)]
mod tests;
