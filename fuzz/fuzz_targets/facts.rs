//! A row counts exactly if it has five columns, a known kind and names where names must be; whatever the rows say, no
//! text that is more than a doubt becomes less, and a doubt becomes a read by stable functions alone.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("facts", data));
