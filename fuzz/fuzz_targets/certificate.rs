//! The name of a certificate is the one common name in its subject, if that is a text that can be a user's; what is cut
//! anywhere is no certificate; whatever the bytes, a name stands in them, and a hash has the length of one.
#![no_main]

#[path = "../../tests/fuzz_bodies/mod.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_bodies::run("certificate", data));
