//! What is printed of a scenario that breaks a law, whoever found it.

use super::campaign::Failure;
use super::checks::Violation;
use super::event::Scenario;
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

/// What happens in a scenario, told of a way to play it in which a law is broken, if there is one. Where two ways do not
/// agree both are told: of the second, from where it is another, what is asked of the driver, since its bytes may come one
/// by one.
fn told(scenario: &Scenario, violation: &Violation) -> String {
    let tell = |how| (how, run::tell(scenario, how));
    let ways = run::ways(&scenario.setup);
    let broken = ways.into_iter().map(tell).find(|(_, (_, broken))| *broken);
    let (how, (text, _)) = broken.unwrap_or_else(|| tell(ways[0]));
    let mut out = format!("what happens in it, {}:\n{text}\n", run::way(how));
    if let Some(how) = violation.way {
        let (other, _) = run::tell(scenario, how);
        let asked = |line: &&str| !line.contains(" → ");
        let all: Vec<&str> = text.lines().filter(asked).collect();
        let rest: Vec<&str> = other.lines().filter(asked).collect();
        let same = all.iter().zip(&rest).take_while(|(a, b)| a == b).count();
        out.push_str(&format!(
            "and {}, bytes left out, behind the same {same} lines:\n{}\n",
            run::way(how),
            rest[same..].join("\n")
        ));
    }
    out
}

/// What is broken, and how to see it again.
fn head(failure: &Failure) -> String {
    let Violation { check, detail, .. } = &failure.violation;
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
    if let Origin::Bytes(bytes) = &failure.origin {
        let hex = super::text::hex(program::bytes_of(bytes));
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
        told(&least, &violation),
    )
}
