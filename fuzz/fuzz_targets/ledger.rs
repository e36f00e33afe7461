//! Bytes go out in decision order, whatever the order of calls, and everything decided drains.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("ledger", data));
