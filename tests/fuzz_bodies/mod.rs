//! What each fuzz target does with its bytes: one function per target, which panics when a law is broken.
//!
//! libFuzzer calls them from `fuzz/fuzz_targets`, and `tests/fuzz_replay.rs` from stable Rust, over the committed
//! corpora and over seeded pseudo-random bytes. Every byte string is an input: numbers are taken modulo what is there
//! to choose from, and what is missing at the end is zero.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

mod admission;
mod allow_list;
mod answers;
mod certificate;
mod cluster_ident;
mod deny_list;
mod facts;
mod feed;
mod hint;
mod ledger;
#[path = "../support/login.rs"]
mod login;
mod meter;
mod moves;
mod proxy_header;
mod replay;
mod scan;
mod server;
mod session;
#[allow(
    dead_code,
    unused_imports,
    reason = "the simulation uses all of it, and this a part"
)]
#[path = "../support/sim/mod.rs"]
mod sim;
mod simulation;
mod startup;
mod stored;
#[path = "../support/sim/texts.rs"]
mod texts;
mod tracker;
mod wire;
mod world;

/// One target: its name, which is also that of its corpus, and its body.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    /// How many pseudo-random inputs the stable test tries.
    pub(crate) tries: u64,
    /// How long they are at most.
    pub(crate) longest: usize,
}

const fn target(name: &'static str, run: fn(&[u8]), tries: u64, longest: usize) -> Target {
    Target {
        name,
        run,
        tries,
        longest,
    }
}

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    target("header", wire::header, 2_000, 64),
    target("frontend", wire::frontend, 2_000, 128),
    target("backend", wire::backend, 2_000, 128),
    target("meter", meter::meter, 2_000, 200),
    target("transfer_state", moves::transfer_state, 2_000, 100),
    target("probe_row", moves::probe_row, 2_000, 300),
    target("move_answers", answers::move_answers, 2_000, 80),
    target("startup", startup::startup, 1_000, 200),
    target("proxy_header", proxy_header::proxy_header, 2_000, 120),
    target("replay", replay::replay, 500, 200),
    target("admission", admission::admission, 2_000, 60),
    target("stored", stored::stored, 2_000, 80),
    target("certificate", certificate::certificate, 2_000, 80),
    target("deny_list", deny_list::deny_list, 2_000, 120),
    target("allow_list", allow_list::allow_list, 2_000, 120),
    target("cluster_ident", cluster_ident::cluster_ident, 2_000, 80),
    target("ledger", ledger::ledger, 500, 400),
    target("tracker", tracker::tracker, 2_000, 200),
    target("scan", scan::scan_text, 1_000, 80),
    target("hint", hint::hinted, 2_000, 40),
    target("facts", facts::facts, 500, 200),
    #[cfg(feature = "inspect")]
    target("scan_inspect", scan::scan_inspect, 1_000, 80),
    target("session", simulation::simulation, 60, 300),
    target("session_events", session::events, 300, 300),
    target("session_chunks", session::chunks, 200, 100),
];

/// Runs the target with this name.
pub(crate) fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of TARGETS").run)(data);
}

/// Whether `needle` stands somewhere in `text`.
fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}
