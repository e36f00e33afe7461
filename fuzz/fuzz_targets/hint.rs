//! A hint is what the grammar in words says, read from the other end; it makes of a read or a doubt what it may make of
//! it, of nothing else anything, and changes nothing but that; where hints do not count it is a comment like others.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("hint", data));
