//! Many seeds on all cores, and what anything else plays: one scenario, and the report of one that fails.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::catalogue::Seen;
use super::checks::{Check, Violation};
use super::event::Scenario;
use super::report::{Origin, report};
use super::run::Extent;
use super::{alone, program, run};

/// Below what is told of failures, for whoever has not read one before.
const LEGEND: &str = "\n\
how to read this: each `===` is a law that was broken; the shortest is first, and others may follow from the same fault.
- Numbers behind a law are those of tests/data/invariants.txt, L1 to L12 laws of the design.
- `setup` says what is not as by default; tests/support/sim/setup.rs explains its names, fault.rs the faults'.
- `calm`: everything goes on until nothing is left to do. Lines at the margin are what the scenario does; those behind a
  space are what follows: `a → b` is what a peer sends another (`proxy`: made, or kept, by the library), `asks` what the
  library wants of its driver, `tells` what it lets it know.
- Destination(0) is the writer, the next ones are the readers, the last one is the spare to move to, if there is one.
";

/// What broke a law, and which.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) origin: Origin,
    pub(crate) violation: Violation,
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    /// By check, in the order of seeds.
    pub(crate) failures: BTreeMap<Check, Vec<(u64, Failure)>>,
    pub(crate) sessions: u64,
    /// How many of the seeds' scenarios came out the same under each chunking in everything, and in a part of it.
    pub(crate) compared: [u64; 2],
    pub(crate) took: Duration,
}

/// Plays one scenario in every way, in a thread of that name, and takes a panic for what it is. How much of the chunkings
/// was compared.
pub(crate) fn attempt(
    name: &str,
    scenario: &Scenario,
    seen: &mut Seen,
) -> Result<Extent, Violation> {
    alone::play(name, || {
        let extent = run::play(scenario, seen)?;
        run::play_reordered(scenario, seen)?;
        run::play_twice(scenario, seen)?;
        Ok(extent)
    })
}

/// The same for what bytes stand for, whose text must read back, too.
fn attempt_bytes(origin: &Origin, bytes: &[u8], seen: &mut Seen) -> Result<Extent, Failure> {
    let scenario = program::of_bytes(bytes);
    let read = match Scenario::parse(&scenario.to_string()) {
        Ok(again) if again == scenario => Ok(()),
        Ok(_) => Err("its text reads differently".to_owned()),
        Err(why) => Err(why),
    };
    read.map_err(|why| Violation::new(Check::Notation, why))
        .and_then(|()| attempt(&origin.to_string(), &scenario, seen))
        .map_err(|violation| Failure {
            origin: origin.clone(),
            violation,
        })
}

/// Plays what these bytes stand for, which proptest or a fuzzer has made.
///
/// # Errors
///
/// The report, if a law is broken.
pub(crate) fn play_bytes(bytes: &[u8]) -> Result<(), String> {
    let origin = Origin::Bytes(bytes.to_vec());
    attempt_bytes(&origin, bytes, &mut Seen::default())
        .map(|_| ())
        .map_err(|failure| report(&program::of_bytes(bytes), &failure))
}

/// Plays what a file holds.
///
/// # Errors
///
/// The report, if a law is broken.
pub(crate) fn play_text(name: &str, text: &str) -> Result<(), String> {
    let scenario = Scenario::parse(text).map_err(|why| format!("{name}: {why}"))?;
    let played = attempt(name, &scenario, &mut Seen::default()).map(|_| ());
    played.map_err(|violation| {
        let origin = Origin::File(name.to_owned());
        report(&scenario, &Failure { origin, violation })
    })
}

/// Plays these seeds on all cores.
#[allow(clippy::disallowed_methods, reason = "the time is shown, not tested")]
pub(crate) fn campaign(seeds: Range<u64>) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut outcome = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return outcome;
            }
            outcome.play(seed);
        }
    };
    let mut total = Outcome::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            total.add(worker.join().expect("panics are caught"));
        }
    });
    total.took = began.elapsed();
    total.sessions = 3 * (seeds.end - seeds.start);
    for list in total.failures.values_mut() {
        list.sort_by_key(|(seed, _)| *seed);
    }
    total
}

impl Outcome {
    fn play(&mut self, seed: u64) {
        let (origin, bytes) = (Origin::Seed(seed), program::expand(seed));
        let mut seen = Seen::default();
        let result = attempt_bytes(&origin, &bytes, &mut seen);
        self.seen.add_seed(seen);
        match result {
            Ok(Extent::Full) => self.compared[0] += 1,
            Ok(Extent::Part) => self.compared[1] += 1,
            Ok(Extent::Nothing) => {}
            Err(failure) => {
                let list = self.failures.entry(failure.violation.check).or_default();
                list.push((seed, failure));
            }
        }
    }

    fn add(&mut self, other: Outcome) {
        self.seen.add(other.seen);
        for (sum, more) in self.compared.iter_mut().zip(other.compared) {
            *sum += more;
        }
        for (check, mut list) in other.failures {
            self.failures.entry(check).or_default().append(&mut list);
        }
    }

    /// What broke, and of each check the least scenarios that show it, so many at most: the others are mostly the same
    /// fault.
    pub(crate) fn report(&self, shrunk: usize) -> String {
        let all = self.failures.iter();
        let mut parts: Vec<String> = all
            .map(|(check, failures)| self.part(*check, failures, shrunk))
            .collect();
        // What is short is understood first, and may be the reason of the others.
        parts.sort_by_key(String::len);
        if shrunk > 0 && !parts.is_empty() {
            parts.push(LEGEND.to_owned());
        }
        parts.concat()
    }

    /// What broke one check.
    fn part(&self, check: Check, failures: &[(u64, Failure)], shrunk: usize) -> String {
        let seeds = failures.iter().take(10);
        let seeds: Vec<String> = seeds.map(|(seed, _)| seed.to_string()).collect();
        let mut out = format!(
            "\n=== {check:?} is broken by {} seeds: {}{}\n    {check:?}: {}\n",
            failures.len(),
            seeds.join(" "),
            if failures.len() > 10 { " …" } else { "" },
            check.law().trim(),
        );
        for (seed, failure) in failures.iter().take(shrunk) {
            let scenario = program::of_bytes(&program::expand(*seed));
            out.push_str(&report(&scenario, failure));
        }
        out
    }
}
