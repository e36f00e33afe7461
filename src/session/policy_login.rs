//! What the caller's policy is asked about logins.

use std::net::IpAddr;
use std::time::Instant;

use super::begin::startup_mentions_catalog;
use super::policy::{Denial, Verdict};
use super::{CloseCause, Session};
use crate::route::Route;
use crate::startup::StartupParams;
use crate::wire::{Authentication, Backend, SqlState, sqlstate};

/// How a client's login came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// It has proven who it is.
    Accepted,
    /// It was refused with this SQLSTATE; `None` for a server's error without one.
    Refused(Option<SqlState>),
}

/// What is known of a login whose outcome the client has not heard.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LoginFacts<'a> {
    /// How it came out.
    pub outcome: LoginOutcome,
    /// Where the client connects from, if the driver has said so ([`Session::set_client_address`]).
    pub address: Option<IpAddr>,
    /// Its StartupMessage, as servers get it ([`Policy::upstream_startup`](super::Policy::upstream_startup)).
    pub startup: &'a StartupParams,
    /// When the outcome came.
    pub now: Instant,
}

/// Whether the policy was asked about the client's login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LoginAsked {
    #[default]
    NotYet,
    Once,
}

impl LoginOutcome {
    /// What a message of the gate says about the login, if it is the first that tells the client. The server's signature
    /// comes only to who has proven to know the password.
    pub(super) fn told_by(message: &Backend<'_>) -> Option<LoginOutcome> {
        if let Backend::ErrorResponse(fields) = message {
            return Some(LoginOutcome::Refused(fields.sqlstate()));
        }
        let accepts = matches!(
            message,
            Backend::Authentication(Authentication::Ok | Authentication::SaslFinal { .. })
        );
        accepts.then_some(LoginOutcome::Accepted)
    }
}

/// Whether two messages ask for the same but for the database and the options.
fn is_like(sent: &StartupParams, new: &StartupParams) -> bool {
    let kept = |(name, _): &(&[u8], &[u8])| !matches!(*name, b"database" | b"options");
    // A server may take `options` for a replication connection's.
    sent.version() == new.version()
        && sent.replication() == new.replication()
        && sent.iter().filter(kept).eq(new.iter().filter(kept))
}

impl<R: Route> Session<R> {
    /// Takes what servers get in the place of the client's StartupMessage. Whether the session ends for it.
    pub(super) fn is_not_rewritten(&mut self, now: Instant, startup: StartupParams) -> bool {
        let sent = self.client.startup.take();
        if !sent.as_ref().is_some_and(|sent| is_like(sent, &startup)) {
            self.client.startup = sent;
            let why = "the policy changed more of a startup message than database and options";
            self.end(now, CloseCause::Misuse(why), None);
            return true;
        }
        if startup_mentions_catalog(&startup) {
            self.memory.doubt_search_path();
        }
        self.client.sent = sent;
        self.client.startup = Some(startup);
        false
    }

    /// Asks the policy about the outcome of the client's login, once. What the client is told in its place, if it is
    /// denied.
    pub(super) fn judge_login(&mut self, now: Instant, outcome: LoginOutcome) -> Option<Denial> {
        if self.hook.login == LoginAsked::Once {
            return None;
        }
        self.hook.login = LoginAsked::Once;
        let facts = LoginFacts {
            outcome,
            address: self.hook.address,
            startup: self.client.startup.as_ref()?,
            now,
        };
        match self.hook.policy.as_mut()?.login(&facts) {
            Verdict::Allow => None,
            Verdict::Deny(denial) | Verdict::Close(denial) => Some(denial),
        }
    }

    pub(super) fn deny_login(&mut self, now: Instant, denial: Denial) {
        let tell = denial.fatal(sqlstate::INVALID_AUTHORIZATION);
        let cause = CloseCause::ConnectionDenied(tell.state);
        self.end(now, cause, Some(tell));
    }
}
