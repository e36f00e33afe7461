//! Every reply is expected and belongs to its request, and nothing is settled while something is to come.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("tracker", data));
