//! The simulator's sessions, with a fuzzer for the seed.

use super::sim::catalogue::Seen;
use super::sim::choices::Choices;
use super::sim::{program, run};

/// Every law of the simulation holds in the session that these bytes stand for, under every chunking: the first byte
/// says of which kind it is.
pub(crate) fn simulation(data: &[u8]) {
    let Some((kind, choices)) = data.split_first() else {
        return;
    };
    let mut choices = Choices::of_bytes(choices);
    let scenario = match kind % 8 {
        7 => program::wild(&mut choices),
        6 => program::untimely(choices.below(600), &mut choices),
        5 => program::stricken(choices.below(900), &mut choices),
        _ => program::scenario(&mut choices),
    };
    if let Err(violation) = run::play(&scenario, &mut Seen::default()) {
        panic!("{:?}: {}\n{scenario}", violation.check, violation.detail);
    }
}
