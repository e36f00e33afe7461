//! A session counts as made only behind the answers to what was sent, all of them in their order; what comes unasked
//! changes nothing; behind a fault, a refusal or the end nothing is heard any more; and nothing that is shown holds the
//! value of a setting. Types under other numbers change the numbers of a Parse and nothing else, and a position in the log
//! is the same number to whoever reads it.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("move_answers", data));
