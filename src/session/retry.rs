//! A writer that cannot be had while a client logs in, and is dialled again.

use std::time::Instant;

use super::leg::{Attempt, LegId, Phase};
use super::read_only::{Failure, is_unavailable};
use super::{CloseCause, Event, PeerId, Session, Timer, WriterRetry};
use crate::route::Route;
use crate::wire::{SqlState, sqlstate};

/// Whether a server that says this may take the session a moment later.
fn may_change(state: SqlState) -> bool {
    is_unavailable(state) || state == sqlstate::TOO_MANY_CONNECTIONS
}

impl<R: Route> Session<R> {
    /// Whether a refusal of the writer is kept from the client, since it is dialled again.
    pub(super) fn is_retried(&self, id: LegId, state: Option<SqlState>) -> bool {
        state.is_some_and(may_change) && self.has_tries(id)
    }

    fn has_tries(&self, id: LegId) -> bool {
        self.leg(id).retries < self.config.writer_retry.times() && self.is_unheard(id)
    }

    /// Has the writer dialled again in a while, if that may help. Whether it is.
    pub(super) fn retry_writer(&mut self, now: Instant, id: LegId, failure: Failure) -> bool {
        let may_help = match failure {
            Failure::Refused(state) => may_change(state),
            Failure::Unreachable | Failure::Misconfigured => failure.may_pass(),
        };
        let WriterRetry::Again { delay, .. } = self.config.writer_retry else {
            return false;
        };
        if !may_help || !self.has_tries(id) {
            return false;
        }
        let peer = id.peer();
        self.timers.stop(Timer::Dial(peer));
        self.timers.stop(Timer::Replay(peer));
        self.timers.start(now, delay, Timer::Redial(peer));
        let leg = self.leg_mut(id);
        leg.retries = leg.retries.saturating_add(1);
        leg.attempt = Attempt::First;
        leg.phase = Phase::Closing;
        let (to, retry) = (leg.to, leg.retries);
        self.notify(Event::WriterRetried { to, retry });
        self.outbox.drop_now(peer, CloseCause::LoginFailed(peer));
        true
    }

    /// The time for the next try has come. It waits for the end of the connection before, if that is not closed yet.
    pub(super) fn dial_again(&mut self, now: Instant, peer: PeerId) {
        let Some(id) = LegId::of(peer) else {
            return;
        };
        let timeout = self.config.timeouts.dial;
        match self.leg(id).phase {
            Phase::Absent => self.connect(id, Attempt::First),
            Phase::Closing => self.leg_mut(id).attempt = Attempt::Elsewhere,
            Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Serving(_) => return,
        }
        self.timers.start(now, timeout, Timer::Dial(peer));
    }
}
