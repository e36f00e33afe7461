//! The simulator's sessions, with a fuzzer for the seed.

use super::sim::catalogue::Seen;
use super::sim::{program, run};

/// Every law of the simulation holds in the session that these bytes stand for, under every chunking: the generator is the
/// one of the seeds and of proptest.
pub(crate) fn simulation(data: &[u8]) {
    let scenario = program::of_bytes(data);
    if let Err(violation) = run::play(&scenario, &mut Seen::default()) {
        panic!("{:?}: {}\n{scenario}", violation.check, violation.detail);
    }
}
