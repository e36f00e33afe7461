//! What a whole session costs: simulated ones, each a client, a session and two model servers, without faults.
//!
//! Prints sessions per second and the time of one. Most of it is the model's; the same seeds on two versions of the
//! crate tell them apart.
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures time and is told how long to run"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "the simulation uses all of it, and this a part"
)]
#[path = "../tests/support/sim/mod.rs"]
mod sim;

use std::hint::black_box;
use std::time::Instant;

use sim::catalogue::Seen;
use sim::event::Event;
use sim::{program, run};

fn main() {
    // `cargo test --benches` only wants to see that it works.
    let count: usize = match std::env::args().any(|argument| argument == "--bench") {
        true => 2_000,
        false => 20,
    };
    let strikes = |event: &Event| matches!(event, Event::Fault(_) | Event::Aim(..) | Event::Raw(_));
    let scenarios = (0..).map(|seed| program::of_bytes(&program::expand(seed)));
    let scenarios: Vec<_> = scenarios
        .filter(|scenario| !scenario.events.iter().any(strikes))
        .take(count)
        .collect();
    let mut seen = Seen::default();
    let began = Instant::now();
    for scenario in &scenarios {
        let played = run::play(black_box(scenario), &mut seen);
        assert!(played.is_ok(), "{played:?}");
    }
    let took = began.elapsed();
    let sessions = 3 * count;
    println!(
        "{sessions} sessions, {:.0} per second, {:.0} µs each",
        sessions as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / sessions as f64
    );
}
