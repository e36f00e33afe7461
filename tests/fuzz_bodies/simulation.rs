//! The simulator's sessions, with a fuzzer for the seed.

use super::sim::campaign;

/// Every law of the simulation holds in the session that these bytes stand for: generator, checks and report are those of
/// the seeds and of proptest.
pub(crate) fn simulation(data: &[u8]) {
    if let Err(report) = campaign::play_bytes(data) {
        panic!("{report}");
    }
}
