//! What is printed of a scenario that breaks a law, whoever found it.

use super::campaign::Failure;
use super::checks::Violation;
use super::event::Scenario;
use super::world::{Chunking, Order};
use super::{program, run, shrink};

/// Who made a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Seed(u64),
    /// Proptest or a fuzzer, from these bytes.
    Bytes(Vec<u8>),
    /// This file holds it.
    File(String),
}

impl Origin {
    /// Its bytes, if it was made of some.
    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Origin::Seed(seed) => Some(program::expand(*seed)),
            Origin::Bytes(bytes) => Some(bytes.clone()),
            Origin::File(_) => None,
        }
    }
}

/// A short name.
impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Seed(seed) => write!(f, "seed {seed}"),
            Origin::Bytes(bytes) => {
                write!(f, "input of {} bytes", program::bytes_of(bytes).len())
            }
            Origin::File(name) => f.write_str(name),
        }
    }
}

fn way((chunking, order): (Chunking, Order)) -> String {
    let cut = match chunking {
        Chunking::Whole => "as they come",
        Chunking::Bytes => "one by one",
        Chunking::Seeded(_) => "anyhow",
    };
    match order {
        Order::ClientFirst => format!("with the bytes cut {cut}"),
        Order::ReaderFirst => format!("with the bytes cut {cut}, the reader's before others"),
    }
}

/// What happens in a scenario, told of a way to play it in which a law is broken, if there is one.
fn told(scenario: &Scenario) -> String {
    let tell = |how| (how, run::tell(scenario, how));
    let ways = run::ways(&scenario.setup);
    let broken = ways.into_iter().map(tell).find(|(_, (_, broken))| *broken);
    let (how, (told, _)) = broken.unwrap_or_else(|| tell(ways[0]));
    format!("what happens in it, {}:\n{told}\n", way(how))
}

/// What is broken, and how to see it again.
fn head(failure: &Failure) -> String {
    let Violation { check, detail } = &failure.violation;
    let mut out = format!("{}: {check:?}: {detail}\n", failure.origin);
    if let Origin::Seed(seed) = failure.origin {
        // Sessions tell of tables only where the parser is not built in.
        let features = match cfg!(feature = "inspect") {
            true => "",
            false => " --no-default-features --features scram",
        };
        out.push_str(&format!(
            "see it again: PGTURNOUT_SEED={seed} cargo test --release{features} --test simulation -- --nocapture\n"
        ));
    }
    if let Some(bytes) = failure.origin.bytes() {
        let hex = super::text::hex(program::bytes_of(&bytes));
        out.push_str(&format!(
            "as an input of the fuzz target `session`: {hex}\n"
        ));
    }
    out
}

/// One failing scenario: what is broken, how to see it again, and the least part of it that breaks the same.
pub(crate) fn report(scenario: &Scenario, failure: &Failure) -> String {
    let (least, violation) = shrink::shrink(scenario, &failure.violation);
    format!(
        "{}shrunk from {} events to {}: {}\n\
         kept as a file in tests/regressions/ it is a test:\n\
         --- 8< ---\n{least}--- >8 ---\n{}",
        head(failure),
        scenario.events.len(),
        least.events.len(),
        violation.detail,
        told(&least),
    )
}
