//! What becomes of an upstream that cannot be logged in to, and of its session.

use std::time::Instant;

use super::leg::{Awaits, LegId, Phase};
use super::read_only::Failure;
use super::{CloseCause, Event, ReaderFailure, Session, Timer};
use crate::auth::{AuthError, ServerReport};
use crate::route::Route;
use crate::stats::ConnectionCounter;

impl<R: Route> Session<R> {
    /// A server refuses a login of ours. What the client is told of the reason is the server's word, unless it is about
    /// who we say we are, which is not the client's doing.
    pub(super) fn login_refused(&mut self, now: Instant, id: LegId, report: &ServerReport) {
        let ours = report.sqlstate().filter(|state| state.class() == *b"28");
        if ours.is_some() {
            self.forget_proof();
        }
        let failure = match (ours, report.sqlstate()) {
            (None, Some(state)) => Failure::Refused(state),
            (Some(_), _) | (None, None) => Failure::Misconfigured,
        };
        let why = AuthError::Refused(report.clone()).to_string();
        self.leg_failed_with(now, id, failure, why);
    }

    /// An upstream cannot be had as it is configured.
    pub(super) fn leg_failed(&mut self, now: Instant, id: LegId, why: String) {
        self.leg_failed_with(now, id, Failure::Misconfigured, why);
    }

    /// An upstream cannot be had now.
    pub(super) fn leg_unreachable(&mut self, now: Instant, id: LegId, why: String) {
        self.leg_failed_with(now, id, Failure::Unreachable, why);
    }

    /// Its connection or its login took too long.
    pub(super) fn leg_timed_out(&mut self, now: Instant, id: LegId, timer: Timer) {
        let why = format!("{timer} took too long");
        match &self.leg(id).phase {
            Phase::Replaying(login) if login.awaits == Awaits::Caller => {
                self.leg_failed(now, id, why)
            }
            Phase::Absent
            | Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Serving(_)
            | Phase::Closing => self.leg_unreachable(now, id, why),
        }
    }

    fn leg_failed_with(&mut self, now: Instant, id: LegId, failure: Failure, why: String) {
        let (peer, to) = (id.peer(), self.leg(id).to);
        if matches!(self.leg(id).phase, Phase::Asking(_) | Phase::Securing) {
            self.tally.upstream_ssl_failed(id);
        }
        self.tally.connections.count(ConnectionCounter::BackendDown);
        self.notify(Event::UpstreamFailed {
            peer,
            to,
            why: why.clone(),
        });
        if self.serve_read_only(now, id, failure) || self.target_lost(now, id, why.clone()) {
            return;
        }
        let in_login = self.client.key().is_none();
        if id == self.writer()
            || in_login
            || self.config.reader_failure == ReaderFailure::FailClient
        {
            self.login_failed(now, id, failure.sqlstate(), why);
            return;
        }
        self.leg_down(now, id, CloseCause::LoginFailed(peer));
        if self.choose_reader(now).is_err() {
            self.requests.warn_of(why);
        }
    }
}
