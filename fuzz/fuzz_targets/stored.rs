//! A text is a digest or a verifier exactly if it has the form of one, else a password; one that only begins like a
//! verifier is refused; a digest's answers are accepted and no others; and what is shown of it is shown of any other.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("stored", data));
