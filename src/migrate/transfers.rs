//! How many moves there were and how they ended, one at a time.

use std::time::{Duration, Instant};

use super::{Quiescent, Unsafe};
use crate::stats::counters;

counters! {
    /// What is counted of moves: sqlproxy's counters without their prefix `proxy.conn_migration.`.
    ///
    /// `attempted` is the sum of the three outcomes and of the move that runs now, if there is one.
    enum TransferCounter;

    /// A number for each [`TransferCounter`].
    struct TransferStats;

    /// Moves that began. What could not begin is not counted.
    Attempted => attempted,
    /// Sessions that were moved.
    Success => success,
    /// Moves that failed and left the session where it was.
    Recoverable => error_recoverable,
    /// Moves that ended the session.
    Fatal => error_fatal,
    /// States that were read, whatever became of them.
    StatesRead => transfer_response_messages,
    /// Bytes of them, with their framing.
    StateBytes => transfer_response_bytes,
}

impl TransferStats {
    fn count(&mut self, counter: TransferCounter, more: u64) {
        let slot = self.slot(counter);
        *slot = slot.saturating_add(more);
    }
}

/// How a move ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session is on the new server.
    Success,
    /// The session is on the old server, as if nothing had been.
    Recoverable,
    /// The session is over.
    Fatal,
}

impl Outcome {
    fn counter(self) -> TransferCounter {
        match self {
            Outcome::Success => TransferCounter::Success,
            Outcome::Recoverable => TransferCounter::Recoverable,
            Outcome::Fatal => TransferCounter::Fatal,
        }
    }
}

/// Whether the session is ready to be moved at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The client is logged in and served.
    Serving,
    /// It is not logged in yet.
    LoggingIn,
    /// It ends.
    Ending,
}

/// Why a move did not begin. Nothing was counted, and it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotStart {
    /// The client is not logged in.
    #[error("the client is not logged in")]
    NotServing,
    /// The session ends.
    #[error("the session ends")]
    Ending,
    /// A move is under way.
    #[error("a move is under way")]
    Running,
    /// Sessions are not to be moved here.
    #[error("sessions are not to be moved")]
    Disabled,
    /// There is no server of that number.
    #[error("there is no such server")]
    NoUpstream,
    /// The session has no reader that could be moved.
    #[error("the session has no reader")]
    NoReader,
    /// The session is at no safe point, and whoever asked does not wait for one; or it never is at one.
    #[error("{0}")]
    Unsafe(Unsafe),
}

/// A move that was counted. It is ended with [`Transfers::finish`], once.
#[derive(Debug)]
#[must_use = "a move that is not finished blocks all others of its session"]
pub struct Attempt {
    began: Instant,
}

/// The moves of one session: at most one at a time, each counted once when it begins and once when it ends.
#[derive(Debug, Default)]
pub struct Transfers {
    running: bool,
    stats: TransferStats,
}

impl Transfers {
    /// No move yet.
    #[must_use]
    pub fn new() -> Transfers {
        Transfers::default()
    }

    /// Begins a move.
    ///
    /// # Errors
    /// [`CannotStart`], which is not counted.
    pub fn begin(&mut self, now: Instant, session: Readiness) -> Result<Attempt, CannotStart> {
        match session {
            Readiness::LoggingIn => return Err(CannotStart::NotServing),
            Readiness::Ending => return Err(CannotStart::Ending),
            Readiness::Serving if self.running => return Err(CannotStart::Running),
            Readiness::Serving => {}
        }
        self.running = true;
        self.stats.count(TransferCounter::Attempted, 1);
        Ok(Attempt { began: now })
    }

    /// Begins a move that does not wait for a safe point: it is at one, or it does not begin.
    ///
    /// # Errors
    /// [`CannotStart`], which is not counted.
    pub fn begin_at(
        &mut self,
        now: Instant,
        session: Readiness,
        point: Result<Quiescent, Unsafe>,
    ) -> Result<(Attempt, Quiescent), CannotStart> {
        match (session, point) {
            (Readiness::Serving, Err(why)) if !self.running => Err(CannotStart::Unsafe(why)),
            (session, point) => {
                let attempt = self.begin(now, session)?;
                point
                    .map(|proof| (attempt, proof))
                    .map_err(CannotStart::Unsafe)
            }
        }
    }

    /// A state was read, of so many bytes: the value for a histogram is this number.
    pub fn state_read(&mut self, bytes: u64) {
        self.stats.count(TransferCounter::StatesRead, 1);
        self.stats.count(TransferCounter::StateBytes, bytes);
    }

    /// Ends a move. Returns how long it took: the value for a histogram, of every move, however it ended.
    pub fn finish(&mut self, now: Instant, attempt: Attempt, outcome: Outcome) -> Duration {
        self.running = false;
        self.stats.count(outcome.counter(), 1);
        now.saturating_duration_since(attempt.began)
    }

    /// Whether a move is under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> &TransferStats {
        &self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Facts, Trust, safe_point, start};
    use super::*;

    fn sums(transfers: &Transfers) -> (u64, u64) {
        let get = |counter| transfers.stats().get(counter);
        let ended = get(TransferCounter::Success)
            + get(TransferCounter::Recoverable)
            + get(TransferCounter::Fatal);
        (get(TransferCounter::Attempted), ended)
    }

    /// `not_initialized`, `isTransferring=true` and an ended session: not started, nothing counted.
    #[test]
    fn what_cannot_start_is_not_counted() {
        let (now, mut transfers) = (start(), Transfers::new());
        let refused =
            |transfers: &mut Transfers, session| transfers.begin(now, session).unwrap_err();
        assert_eq!(
            refused(&mut transfers, Readiness::LoggingIn),
            CannotStart::NotServing
        );
        assert_eq!(
            refused(&mut transfers, Readiness::Ending),
            CannotStart::Ending
        );
        assert_eq!(sums(&transfers), (0, 0));
        let attempt = transfers.begin(now, Readiness::Serving).unwrap();
        assert!(transfers.is_running());
        assert_eq!(
            refused(&mut transfers, Readiness::Serving),
            CannotStart::Running
        );
        assert_eq!(sums(&transfers), (1, 0));
        transfers.finish(now, attempt, Outcome::Recoverable);
        assert!(!transfers.is_running());
        let again = transfers.begin(now, Readiness::Serving).unwrap();
        transfers.finish(now, again, Outcome::Success);
        assert_eq!(sums(&transfers), (2, 2));
    }

    /// `isSafeTransferPointLocked=false`.
    #[test]
    fn whoever_does_not_wait_begins_at_a_safe_point() {
        let (now, mut transfers) = (start(), Transfers::new());
        let point = |owed| {
            let facts = Facts {
                owed,
                ..Facts::idle(5)
            };
            safe_point(&facts, Trust::Journal)
        };
        for session in [Readiness::LoggingIn, Readiness::Ending, Readiness::Serving] {
            let refused = transfers.begin_at(now, session, point(1)).unwrap_err();
            let is_unsafe = matches!(refused, CannotStart::Unsafe(_));
            assert_eq!(is_unsafe, session == Readiness::Serving);
            assert_eq!((sums(&transfers), transfers.is_running()), ((0, 0), false));
        }
        let serving = Readiness::Serving;
        let (attempt, proof) = transfers.begin_at(now, serving, point(0)).unwrap();
        assert_eq!((proof.clock(), transfers.is_running()), (5, true));
        for owed in [0, 1] {
            let refused = transfers.begin_at(now, serving, point(owed)).unwrap_err();
            assert_eq!(refused, CannotStart::Running);
        }
        transfers.finish(now, attempt, Outcome::Success);
        assert_eq!(sums(&transfers), (1, 1));
    }

    #[test]
    fn what_began_is_what_ended() {
        let (now, mut transfers) = (start(), Transfers::new());
        let outcomes = [Outcome::Success, Outcome::Recoverable, Outcome::Fatal];
        for (n, outcome) in outcomes.into_iter().cycle().take(9).enumerate() {
            let attempt = transfers.begin(now, Readiness::Serving).unwrap();
            transfers.state_read(100);
            let n = u64::try_from(n).unwrap();
            let took = transfers.finish(now + Duration::from_millis(n), attempt, outcome);
            assert_eq!(took, Duration::from_millis(n));
            assert_eq!(sums(&transfers), (n + 1, n + 1));
        }
        let all: Vec<(&str, u64)> = transfers
            .stats()
            .iter()
            .map(|(counter, count)| (counter.name(), count))
            .collect();
        assert_eq!(
            all,
            [
                ("attempted", 9),
                ("success", 3),
                ("error_recoverable", 3),
                ("error_fatal", 3),
                ("transfer_response_messages", 9),
                ("transfer_response_bytes", 900),
            ]
        );
    }

    #[test]
    fn a_reason_is_readable() {
        let facts = Facts {
            owed: 2,
            ..Facts::idle(0)
        };
        let why = safe_point(&facts, Trust::Journal).unwrap_err();
        assert_eq!(
            CannotStart::Unsafe(why).to_string(),
            "2 requests are not answered"
        );
    }
}
