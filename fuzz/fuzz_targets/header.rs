//! A header is decided by its five bytes alone, counts the frame exactly, and a limit only ever refuses.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("header", data));
