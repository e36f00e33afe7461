//! What becomes of an upstream that cannot be logged in to, and of its session.

use std::time::Instant;

use super::leg::{Awaits, Duty, LegId, Phase};
use super::read_only::Failure;
use super::{CloseCause, Event, ReaderFailure, Session, Timer};
use crate::auth::{AuthError, ServerReport};
use crate::route::Route;
use crate::stats::ConnectionCounter;
use crate::wire::sqlstate;

/// Why an upstream cannot be had.
struct Why {
    /// For whoever runs the proxy.
    log: String,
    /// For the client.
    client: String,
}

impl Why {
    fn of(why: String) -> Why {
        Why {
            client: why.clone(),
            log: why,
        }
    }
}

impl<R: Route> Session<R> {
    /// A server refuses a login of ours. What the client is told of the reason is the server's word, unless it is about
    /// who we say we are, which is not the client's doing, and names what it need not know: whom the server knows us as,
    /// from where, and by which line of its configuration.
    pub(super) fn login_refused(&mut self, now: Instant, id: LegId, report: &ServerReport) {
        let ours = report.sqlstate().filter(|state| state.class() == *b"28");
        // Of a line of its configuration that is missing, or a server that the session could move to, the others say nothing.
        let disproven = report.sqlstate() == Some(sqlstate::INVALID_PASSWORD);
        if disproven && self.duty(id) != Duty::Spare {
            self.forget_proof();
        }
        let failure = match (ours, report.sqlstate()) {
            (None, Some(state)) => Failure::Refused(state),
            (Some(_), _) | (None, None) => Failure::Misconfigured,
        };
        let log = AuthError::Refused(report.clone()).to_string();
        let client = match (ours, report.sqlstate()) {
            (Some(_), _) => "the server does not accept the proxy's login".to_owned(),
            (None, Some(state)) if self.is_somebody_else() => {
                format!("the server refuses the session with SQLSTATE {state}")
            }
            (None, None) if self.is_somebody_else() => "the server refuses the session".to_owned(),
            (None, _) => log.clone(),
        };
        self.leg_failed_with(now, id, failure, Why { log, client });
    }

    /// Whether the servers know the client by another name, which is not the client's to know: a server's words may hold it,
    /// whatever they are about.
    fn is_somebody_else(&self) -> bool {
        let Some(startup) = &self.client.startup else {
            return false;
        };
        match self.upstream_login(startup) {
            Ok((upstream, _)) => upstream.user() != startup.user(),
            Err(_) => true,
        }
    }

    /// An upstream cannot be had as it is configured. `why` is of our own words.
    pub(super) fn leg_failed(&mut self, now: Instant, id: LegId, why: String) {
        self.leg_failed_with(now, id, Failure::Misconfigured, Why::of(why));
    }

    /// The same, for a reason in the caller's words, which are for a log: they may name hosts, certificates, programs.
    pub(super) fn leg_failed_outside(
        &mut self,
        now: Instant,
        id: LegId,
        client: &str,
        outside: &str,
    ) {
        let log = format!("{client}: {outside}");
        let client = client.to_owned();
        self.leg_failed_with(now, id, Failure::Misconfigured, Why { log, client });
    }

    /// An upstream cannot be had now. `why` is of our own words.
    pub(super) fn leg_unreachable(&mut self, now: Instant, id: LegId, why: String) {
        self.leg_failed_with(now, id, Failure::Unreachable, Why::of(why));
    }

    /// An upstream cannot be connected to, for this reason in the caller's words.
    pub(super) fn leg_not_connected(&mut self, now: Instant, id: LegId, outside: &str) {
        let (log, client) = (outside.to_owned(), "the server cannot be connected to");
        let client = client.to_owned();
        self.leg_failed_with(now, id, Failure::Unreachable, Why { log, client });
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

    fn leg_failed_with(&mut self, now: Instant, id: LegId, failure: Failure, why: Why) {
        let (peer, to) = (id.peer(), self.leg(id).to);
        if matches!(self.leg(id).phase, Phase::Asking(_) | Phase::Securing) {
            self.tally.upstream_ssl_failed(id);
        }
        self.tally.connections.count(ConnectionCounter::BackendDown);
        self.notify(Event::UpstreamFailed {
            peer,
            to,
            why: why.log.clone(),
        });
        if self.retry_writer(now, id, failure)
            || self.serve_read_only(now, id, failure)
            || self.target_lost(now, id, why.log)
        {
            return;
        }
        let in_login = self.client.key().is_none();
        if id == self.writer()
            || in_login
            || self.config.reader_failure == ReaderFailure::FailClient
        {
            self.login_failed(now, id, failure.sqlstate(), why.client);
            return;
        }
        self.leg_down(now, id, CloseCause::LoginFailed(peer));
        if self.choose_reader(now).is_err() {
            self.requests.warn_of(why.client);
        }
    }
}
