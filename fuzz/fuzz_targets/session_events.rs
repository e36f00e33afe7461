//! Any events in any order: no panic, no loop, no write on the reader, whole frames, and an end.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("session_events", data));
