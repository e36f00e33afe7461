//! The proxy example between real clients and a real primary with a streaming standby.
//!
//! Most tests run one script directly against the primary and then through the proxy, whole, in small
//! pieces and without a split, and demand the same frames (laws L2 to L4, L7). Where a statement ran is
//! taken from the servers' own logs.
//!
//! Without PostgreSQL every test says `SKIPPED` on standard error. `tests/run.sh` gets PostgreSQL.

#![allow(
    clippy::disallowed_methods,
    reason = "these tests start processes and wait for them: the bans are for the library"
)]

#[path = "../support/sim/texts.rs"]
mod generator;
#[path = "../support/model_script.rs"]
mod model_script;
#[path = "../support/model_words.rs"]
mod model_words;
#[path = "../support/modelled.rs"]
mod modelled;
#[allow(
    dead_code,
    unused_imports,
    reason = "the simulation uses all of it, and this a part"
)]
#[path = "../support/sim/mod.rs"]
mod sim;
#[path = "../support/mod.rs"]
mod support;

mod abroad;
mod access;
mod auth;
mod cancel;
mod cockroach;
mod console;
mod copy;
mod driver;
mod encryption;
mod extended;
mod facts;
mod identity;
mod introduced;
mod lifecycle;
mod login;
mod many;
mod matrix;
mod metrics;
mod migrate;
mod model;
mod model_logins;
mod mover;
mod names;
mod pins;
mod policy;
mod probe;
mod read_only;
mod reading;
mod replication;
mod reports;
mod ring;
mod routing;
mod simple;
mod state;
mod texts;
mod two_readers;
