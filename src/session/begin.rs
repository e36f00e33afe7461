//! What a session begins with: what the startup packet asks for, and what the servers say of themselves at the login.

use std::time::Instant;

use super::loss::Cut;
use super::requests::Batch;
use super::{CloseCause, Event, Session};
use crate::auth::Parameters;
use crate::route::Route;
use crate::startup::{StartupParams, settings};
use crate::track::Pin;

/// By which a server from PostgreSQL 14 on says whether it is a standby.
const IN_HOT_STANDBY: &str = "in_hot_standby";

impl<R: Route> Session<R> {
    /// The writer is logged in to.
    pub(super) fn begin(&mut self, parameters: &Parameters) {
        self.memory.start(parameters);
        self.pin_for_startup();
        if reported(parameters, IN_HOT_STANDBY.as_bytes()) == Some(b"on") {
            let to = self.leg(self.writer()).to;
            self.notify(Event::WriterIsStandby { to });
        }
    }

    /// A reader that was logged in to first is measured by the writer's parameters now.
    pub(super) fn compare_gate(&mut self, now: Instant) {
        let reader = self
            .leg(self.reader())
            .serving()
            .map(|serving| &serving.parameters);
        if let Some(why) = reader.and_then(|reader| self.unfit(reader)) {
            self.reader_failed(why.clone());
            self.leg_down(
                now,
                self.reader(),
                CloseCause::LoginFailed(self.reader().peer()),
            );
            self.requests.warn_of(why);
        }
    }

    fn reader_failed(&mut self, why: String) {
        self.notify(Event::UpstreamFailed {
            peer: self.reader().peer(),
            to: self.leg(self.reader()).to,
            why,
        });
    }

    /// Why an upstream with these parameters cannot serve reads: it takes writes of its own, or the same text means
    /// something else there. The values compared are those that a new session starts with: what the client changed
    /// since is the journal's. A server before PostgreSQL 14 does not say whether it is a standby.
    pub(super) fn unfit(&self, reader: &Parameters) -> Option<String> {
        const SAME: [&str; 6] = [
            "server_encoding",
            "integer_datetimes",
            "standard_conforming_strings",
            "DateStyle",
            "IntervalStyle",
            "TimeZone",
        ];
        if reported(reader, IN_HOT_STANDBY.as_bytes()) == Some(b"off") {
            return Some("it is not a standby".to_owned());
        }
        let differs = |name: &&str| {
            let ours = reported(&self.memory.started_with, name.as_bytes());
            let theirs = reported(reader, name.as_bytes());
            ours.is_some() && theirs.is_some() && ours != theirs
        };
        let name = SAME.into_iter().find(differs)?;
        Some(format!("its {name} differs from the primary's"))
    }

    /// Gives up a reader that is a standby no more once it owes nothing and no batch stands there.
    pub(super) fn retire_reader(&mut self, now: Instant) {
        let is_over = self
            .leg(self.reader())
            .serving()
            .is_some_and(|serving| serving.is_promoted() && serving.pipeline.is_settled());
        if is_over
            && self.requests.batch != Batch::On(self.reader())
            && self.requests.batch != Batch::Leaving
            && !self.reader_runs_transaction()
        {
            self.reader_failed("it is a standby no more".to_owned());
            self.reader_lost(now, CloseCause::Promoted(self.reader().peer()), Cut::None);
        }
    }

    /// Adds the pins that follow from the startup packet: DISCARD ALL takes a session back to it.
    pub(super) fn pin_for_startup(&mut self) {
        let Some(startup) = self.client.startup.clone() else {
            return;
        };
        for pin in startup_pins(&startup) {
            self.pin(pin);
        }
    }
}

/// The newest value that a server reported of a parameter.
pub(super) fn reported<'a>(parameters: &'a Parameters, name: &[u8]) -> Option<&'a [u8]> {
    let mut newest_first = parameters.iter().rev();
    newest_first
        .find(|(known, _)| **known == *name)
        .map(|(_, value)| &**value)
}

/// Whether this is how a server says that it was promoted.
pub(super) fn says_it_is_no_standby(name: &[u8], value: &[u8]) -> bool {
    name == IN_HOT_STANDBY.as_bytes() && value == b"off"
}

fn startup_pins(startup: &StartupParams) -> impl Iterator<Item = Pin> {
    let any = |name: &[u8], wanted: fn(&[u8]) -> bool| {
        let values = settings::asked(startup, name);
        values.iter().any(|value| wanted(value))
    };
    let serializable = any(b"default_transaction_isolation", |value| {
        value.eq_ignore_ascii_case(b"serializable")
    });
    let idle = any(b"idle_session_timeout", |value| value != b"0");
    let temporary = any(b"search_path", |path| mentions(path, b"pg_temp"));
    [
        (serializable, Pin::Serializable),
        (idle, Pin::IdleTimeout),
        (temporary, Pin::TemporarySchema),
    ]
    .into_iter()
    .filter_map(|(holds, pin)| holds.then_some(pin))
}

/// Whether a startup packet sets a search path by which built-in names may be searched later than first.
pub(super) fn startup_mentions_catalog(startup: &StartupParams) -> bool {
    let paths = settings::asked(startup, b"search_path");
    paths.iter().any(|path| mentions_catalog(path))
}

/// Whether a text names `pg_catalog` or `pg_temp`: the only ways to have built-in names searched later than first.
pub(super) fn mentions_catalog(text: &[u8]) -> bool {
    mentions(text, b"pg_catalog") || mentions(text, b"pg_temp")
}

fn mentions(text: &[u8], name: &[u8]) -> bool {
    text.windows(name.len())
        .any(|window| window.eq_ignore_ascii_case(name))
}
