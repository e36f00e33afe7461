//! A session whose writer cannot be had: its reader stands for it.

use std::time::Instant;

use super::leg::{Attempt, LegId, Phase, RelayStage};
use super::{CloseCause, Event, Session, Timer, WriterFailure};
use crate::route::Route;
use crate::wire::{SqlState, sqlstate};

/// Who serves a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Served {
    #[default]
    AsConfigured,
    /// Its reader alone, in the place of the writer.
    ByTheReader,
}

/// Why an upstream cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It cannot be reached, or was lost before it let us in.
    Unreachable,
    /// It refuses the session with this.
    Refused(SqlState),
    /// Something is not as it was configured: our credential there, its TLS, what it speaks. Somebody has to mend that, and
    /// would not hear of it if another server stood in.
    Misconfigured,
}

impl Failure {
    /// What the client is told.
    pub(super) fn sqlstate(self) -> SqlState {
        match self {
            Failure::Refused(state) => state,
            Failure::Unreachable | Failure::Misconfigured => sqlstate::CONNECTION_FAILURE,
        }
    }

    /// Whether another time may be better, without anybody's doing.
    pub(super) fn may_pass(self) -> bool {
        match self {
            Failure::Unreachable => true,
            Failure::Refused(state) => is_unavailable(state),
            Failure::Misconfigured => false,
        }
    }
}

/// Whether a server that says this takes sessions at another time: it starts, stops, or recovers (class 57).
pub(super) fn is_unavailable(state: SqlState) -> bool {
    state.class() == *b"57"
}

impl<R: Route> Session<R> {
    /// Whether a refusal of the writer is one of those that the reader can help with, and the client has not heard of it.
    pub(super) fn is_read_only_instead(&self, id: LegId, state: Option<SqlState>) -> bool {
        state.is_some_and(is_unavailable) && self.may_be_read_only(id)
    }

    /// Has the session served by its reader, if that may be. Whether it may.
    pub(super) fn serve_read_only(&mut self, now: Instant, id: LegId, failure: Failure) -> bool {
        if !(failure.may_pass() && self.may_be_read_only(id)) {
            return false;
        }
        let absent = matches!(self.leg(self.reader()).phase, Phase::Absent);
        if absent {
            let _ = self.aim_reader(now);
        }
        let (peer, to) = (id.peer(), self.leg(self.reader()).to);
        self.take_leave(self.reader());
        self.timers.stop(Timer::Replay(peer));
        let timeout = self.config.timeouts.dial;
        self.timers.start(now, timeout, Timer::Dial(peer));
        self.served = Served::ByTheReader;
        let leg = self.leg_mut(id);
        leg.to = to;
        leg.attempt = Attempt::Elsewhere;
        leg.phase = Phase::Closing;
        self.notify(Event::ReadOnly { to });
        self.outbox.drop_now(peer, CloseCause::LoginFailed(peer));
        true
    }

    /// What people call the server that serves the writer's part.
    pub(super) fn writers_name(&self) -> &'static str {
        match self.served {
            Served::AsConfigured => "primary",
            Served::ByTheReader => "replica",
        }
    }

    /// Whether the client has heard nothing of the writer's: what that has said to it cannot be said again by another.
    pub(super) fn is_unheard(&self, id: LegId) -> bool {
        let unheard = match &self.leg(id).phase {
            Phase::Relaying(relay) => relay.stage == RelayStage::Fresh,
            Phase::Dialing | Phase::Asking(_) | Phase::Securing | Phase::Replaying(_) => true,
            Phase::Absent
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Serving(_)
            | Phase::Closing => false,
        };
        id == self.writer() && unheard && self.client.key().is_none()
    }

    fn may_be_read_only(&self, id: LegId) -> bool {
        self.is_unheard(id)
            && self.config.writer_failure == WriterFailure::ReadOnly
            && self.served == Served::AsConfigured
            && self.config.readers().next().is_some()
            && !self.is_relay_only()
    }
}
