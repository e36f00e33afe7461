//! The simulator's sessions, with a fuzzer for the seed.

use super::sim::catalogue::Seen;
use super::sim::choices::Choices;
use super::sim::{program, run};

/// Every law of the simulation holds in the session that these bytes stand for, under every chunking: the first byte
/// says whether its client keeps the protocol.
pub(crate) fn simulation(data: &[u8]) {
    let Some((kind, choices)) = data.split_first() else {
        return;
    };
    let mut choices = Choices::of_bytes(choices);
    let scenario = match kind % 8 {
        7 => program::wild(&mut choices),
        _ => program::scenario(&mut choices),
    };
    if let Err(violation) = run::play(&scenario, &mut Seen::default()) {
        panic!("{:?}: {}\n{scenario}", violation.check, violation.detail);
    }
}
