//! An opening ends one way, asks for no more than the longest packet, and answers each request once at most.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("startup", data));
