//! The parser's opinion clears a doubt about a name or adds one, and changes nothing else.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("scan_inspect", data));
