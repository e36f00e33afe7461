//! Every text has an answer, knowing less never lowers its class, and no text hides a write beside it.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("scan", data));
