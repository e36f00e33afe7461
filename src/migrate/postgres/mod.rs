//! Moving a PostgreSQL session: no server hands its sessions out, so what one holds is found out and restored.
//!
//! | step | server | part |
//! |---|---|---|
//! | what does a fresh session have there? | new | [`Probe`] |
//! | what does the session have? | old | [`Probe`], at a safe point |
//! | can it move, and to there? | | [`refusals`], [`surroundings`] |
//! | do its statements' types have other OIDs? | both | [`same_oids`], [`TypeLookup`], [`TypeMap`] |
//! | make it so | new | [`Restore`] |
//! | is it so? | new | [`Probe`] again, [`differences`] |
//!
//! The proxy's journal has what the client has sent: the Parse messages, the names of custom settings. The probe has what came
//! about otherwise, in functions and in `DO`. Checked against PostgreSQL 15 and 18, as a user without privileges, under a
//! search path that puts false functions and operators first.
//!
//! # What is restored
//!
//! In this order: the startup parameters, by the login with the client's own StartupMessage; the client encoding, and the settings
//! that only superusers change, if the login is one; the session user; the role; all other settings, limits of time last;
//! custom settings; the named statements; the unnamed one; LISTEN by option. Settings are those that were changed in the
//! session, and those that decide how values look (`DateStyle`, `TimeZone`, `search_path` …) wherever their value came from:
//! the defaults of two servers, databases or roles may differ. `RESET` goes back to the new server's default then.
//!
//! # What no probe finds
//!
//! - Custom settings (`app.user`) whose name nobody knows: PostgreSQL lists none. `set_config` in a function makes such.
//! - `currval` and `lastval`, values that a sequence has cached for the session, `setseed`, loaded libraries, and what extensions
//!   keep for themselves.
//! - Settings that the current role may not see.
//! - How often an advisory lock is held; so one that is held at all keeps the session.
//!
//! What a client can notice of a move: `pg_backend_pid()`, `inet_server_addr()` and their kind, `pg_stat_activity`, the cost
//! of plans made anew, and notifications that were sent at the moment of the cutover.
//!
//! # Versions
//!
//! Newer servers are fine, older ones refused unless the operator knows better ([`Surrounding::OlderMajor`]). What differs:
//!
//! | since | what |
//! |---|---|
//! | 11 | has `sha256`, by which texts of statements are compared; on older ones the probe fails, and no session moves |
//! | 14 | reports `in_hot_standby` and `default_transaction_read_only`; `idle_session_timeout` exists |
//! | 16 | reports `scram_iterations`; a role may be granted without SET, so that SET ROLE fails |
//! | 17 | `transaction_timeout` exists |
//! | 18 | reports `search_path`; protocol 3.2 with longer cancel keys, which a proxy keeps to itself |
//!
//! A setting that was changed in the session and does not exist on the new server is refused by its name. Parameters that
//! one of the two does not report are a difference that the client is told, or keeps as it was. OIDs of built-in types are the
//! same in all versions; those of a cluster's own types are the same on its physical copies alone.
//!
//! On a standby that was promoted everything is as on its primary; one that is none yet refuses ([`Surrounding::Standby`]),
//! as does one that has not replayed what the old server has written ([`Surrounding::Behind`]), and a primary that was left behind by
//! the promotion of another ([`Surrounding::OlderTimeline`]). Whether a standby had replayed everything before it was promoted
//! nobody sees afterwards: wait for that first.

mod array;
mod found;
mod judge;
mod probe;
mod query;
mod restore;
mod settings;
mod sql;
mod types;

pub use found::{CustomSettings, Found, Identity, Origin, Prepared, Settable, Setting};
pub use judge::{
    Difference, Listening, Refusal, Remembered, Sequences, Surrounding, differences, log_position,
    refusals, surroundings,
};
pub use probe::{Probe, Scope};
pub use query::ProbeFailed;
pub use restore::{Assignment, Part, Restore, RestoreFailed, defaults_taken_along};
pub use types::{
    OtherOids, TooManyTypes, TypeLookup, TypeMap, TypeName, TypeTrouble, Types, are_strangers,
    declared, same_oids, types_to_look_up,
};

/// The name of the statement in which our own queries run. PostgreSQL keeps 63 bytes of a name.
pub const PROBE_STATEMENT: &[u8] = b"pgturnout.probe";
