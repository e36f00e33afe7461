//! The polite end of a session, at the driver's wish.

use std::time::Instant;

use super::policy::Denial;
use super::{CloseCause, Life, Session, Tell, Timer};
use crate::route::Route;
use crate::wire::sqlstate;

/// Why a session that finishes does so.
#[derive(Debug, Default)]
pub(super) enum Parting {
    /// The proxy shuts down.
    #[default]
    Shutdown,
    /// The caller denies it, now that it is open.
    Expelled(Denial),
}

impl<R: Route> Session<R> {
    /// Ends the session politely: requests in flight are answered, new ones are not taken, and the client is told. Of a
    /// session that passes whole nobody here sees what is in flight, and there is no place for a word of ours: it is
    /// closed at once, behind the bytes that are on their way. A driver that would give it time asks later.
    pub fn shutdown(&mut self, now: Instant) {
        self.finish(now, Parting::Shutdown);
    }

    /// Ends the session as [`shutdown`](Session::shutdown) does, for this client alone: rules have changed since it was let
    /// in. It is told the denial as a FATAL error, with SQLSTATE `57P01` unless the denial has another
    /// ([`CloseCause::Expelled`]).
    pub fn expel(&mut self, now: Instant, denial: Denial) {
        self.finish(now, Parting::Expelled(denial));
    }

    fn finish(&mut self, now: Instant, parting: Parting) {
        if matches!(self.life, Life::Live) {
            self.life = Life::Finishing;
            self.parting = parting;
            self.timers
                .start(now, self.config.timeouts.shutdown, Timer::Shutdown);
            // A session whose old server has gone ends with the move.
            self.cancel_move(now);
            self.couple(now);
        }
    }

    /// Whether a session that finishes has nothing to wait for.
    pub(super) fn may_part(&self) -> bool {
        matches!(self.life, Life::Finishing) && self.nothing_in_flight() && !self.was_refused()
    }

    /// Ends a session that finishes.
    pub(super) fn part(&mut self, now: Instant) {
        let (cause, tell) = match std::mem::take(&mut self.parting) {
            Parting::Shutdown => {
                let why = "terminating connection because the proxy is shutting down";
                let tell = Tell::fatal(sqlstate::ADMIN_SHUTDOWN, why);
                (CloseCause::Shutdown, tell)
            }
            Parting::Expelled(denial) => {
                let tell = denial.fatal(sqlstate::ADMIN_SHUTDOWN);
                (CloseCause::Expelled(tell.state), tell)
            }
        };
        self.end(now, cause, Some(tell));
    }
}
