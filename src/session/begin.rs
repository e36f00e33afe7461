//! What a session begins with: what the startup packet asks for, and what the servers say of themselves at the login.

use super::Session;
use crate::auth::Parameters;
use crate::route::Route;
use crate::startup::{StartupParams, settings};
use crate::track::Pin;

impl<R: Route> Session<R> {
    /// The writer is logged in to.
    pub(super) fn begin(&mut self, parameters: &Parameters) {
        self.memory.start(parameters);
        self.pin_for_startup();
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
        (temporary, Pin::TemporaryObject),
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
