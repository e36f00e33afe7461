//! The answer to SHOW TRANSFER STATE: what is the client's, what is ours, and what is never shown.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("transfer_state", data));
