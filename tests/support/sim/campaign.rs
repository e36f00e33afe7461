//! Many seeds on all cores, and the report of one that fails.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::catalogue::Seen;
use super::checks::{Check, Violation};
use super::choices::Choices;
use super::event::Scenario;
use super::run::Extent;
use super::setup::Setup;
use super::world::Chunking;
use super::{program, run, shrink};

/// The stack of the threads that simulate, in bytes: sessions have to do with little. What is not optimized takes
/// several times as much, ours and the model's alike.
pub(crate) const STACK: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    64 << 10
};

/// How many seeds one thread takes at a time.
const BATCH: u64 = 64;

pub(crate) fn scenario_of(seed: u64) -> Scenario {
    let mut choices = Choices::of_seed(seed);
    // Those that go through a list go through all of it, several times.
    let nth = |place: u64, of: u64| usize::try_from(seed / 16 * of + place).unwrap_or(0);
    match seed % 16 {
        0 => program::wild(&mut choices),
        place @ 3..=5 => program::stricken(nth(place - 3, 3), &mut choices),
        place @ 8..=11 => program::untimely(nth(place - 8, 4), &mut choices),
        7 => program::of_bytes(&few_bytes(&mut choices)),
        15 => program::staged(nth(0, 1), &mut choices),
        _ => program::scenario(&mut choices),
    }
}

/// Behind the last of these every choice is the first of its kind: scenarios that are mostly plain, as a fuzzer's are.
fn few_bytes(choices: &mut Choices<'_>) -> Vec<u8> {
    (0..choices.below(400)).map(|_| choices.byte()).collect()
}

/// A seed that broke a law.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) violation: Violation,
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    /// By check, in the order of seeds.
    pub(crate) failures: BTreeMap<Check, Vec<Failure>>,
    pub(crate) sessions: u64,
    /// How many of the seeds' scenarios came out the same under each chunking in everything, and in a part of it.
    pub(crate) compared: [u64; 2],
    pub(crate) took: Duration,
}

/// Plays one scenario in every way, and takes a panic for what it is.
pub(crate) fn attempt(scenario: &Scenario, seen: &mut Seen) -> Result<(), Violation> {
    compared(scenario, seen).map(|_| ())
}

/// The same, with how much of the chunkings was compared.
fn compared(scenario: &Scenario, seen: &mut Seen) -> Result<Extent, Violation> {
    careful(|| {
        let extent = run::play(scenario, seen)?;
        run::play_reordered(scenario, seen)?;
        run::play_twice(scenario, seen)?;
        Ok(extent)
    })
}

fn careful(play: impl FnOnce() -> Result<Extent, Violation>) -> Result<Extent, Violation> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a text");
        Err(Violation::new(Check::Total, format!("panicked: {text}")))
    })
}

fn play_seed(seed: u64, seen: &mut Seen) -> Result<Extent, Violation> {
    let scenario = scenario_of(seed);
    match Scenario::parse(&scenario.to_string()) {
        Ok(again) if again == scenario => {}
        Ok(_) => {
            return Err(Violation::new(
                Check::Notation,
                "its text reads differently",
            ));
        }
        Err(why) => return Err(Violation::new(Check::Notation, why)),
    }
    compared(&scenario, seen)
}

/// Plays these seeds on all cores.
#[allow(clippy::disallowed_methods, reason = "the time is shown, not tested")]
pub(crate) fn campaign(seeds: Range<u64>) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Outcome::default());
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let work = || {
                loop {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    if from >= seeds.end {
                        break;
                    }
                    let outcome = on_a_small_stack(from..seeds.end.min(from + BATCH));
                    total.lock().expect("no thread panics").add(outcome);
                }
            };
            scope.spawn(work);
        }
    });
    let mut outcome = total.into_inner().expect("no thread panics");
    outcome.took = began.elapsed();
    outcome.sessions = 3 * (seeds.end - seeds.start);
    for list in outcome.failures.values_mut() {
        list.sort_by_key(|failure| failure.seed);
    }
    outcome
}

/// Plays seeds in a thread of their own. What becomes of a stack that overflows nobody can catch: the thread's name,
/// which is printed then, says between which seeds it was.
fn on_a_small_stack(seeds: Range<u64>) -> Outcome {
    let name = format!("seeds {} to {}", seeds.start, seeds.end - 1);
    let work = move || {
        let mut outcome = Outcome::default();
        for seed in seeds {
            match play_seed(seed, &mut outcome.seen) {
                Ok(Extent::Full) => outcome.compared[0] += 1,
                Ok(Extent::Part) => outcome.compared[1] += 1,
                Ok(Extent::Nothing) => {}
                Err(violation) => {
                    let list = outcome.failures.entry(violation.check).or_default();
                    list.push(Failure { seed, violation });
                }
            }
        }
        outcome
    };
    let thread = std::thread::Builder::new()
        .name(name)
        .stack_size(STACK)
        .spawn(work)
        .expect("a thread");
    thread.join().expect("panics are caught")
}

impl Outcome {
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
        let mut out = String::new();
        for (check, failures) in &self.failures {
            let seeds: Vec<String> = failures
                .iter()
                .take(10)
                .map(|failure| failure.seed.to_string())
                .collect();
            out.push_str(&format!(
                "\n=== {check:?} is broken by {} seeds: {}{}\n    {check:?}: {}\n",
                failures.len(),
                seeds.join(" "),
                if failures.len() > 10 { " …" } else { "" },
                check.law().trim(),
            ));
            for failure in failures.iter().take(shrunk) {
                out.push_str(&report(failure));
            }
        }
        out
    }
}

/// How the bytes were cut when a law broke.
fn chunking_of(violation: &Violation, setup: &Setup) -> Chunking {
    let mut all = run::chunkings(setup).into_iter();
    let found = all.find(|chunking| violation.detail.contains(&format!("{chunking:?}")));
    found.unwrap_or(Chunking::Whole)
}

fn cut(chunking: Chunking) -> &'static str {
    match chunking {
        Chunking::Whole => "as they come",
        Chunking::Bytes => "one by one",
        Chunking::Seeded(_) => "anyhow",
    }
}

/// One failing seed: what is broken, how to see it again, and the least scenario.
fn report(failure: &Failure) -> String {
    let scenario = scenario_of(failure.seed);
    let (least, violation) = shrink::shrink(&scenario, &failure.violation);
    let chunking = chunking_of(&violation, &least.setup);
    format!(
        "seed {}: {}\n\
         see it again: PGTURNOUT_SEED={} cargo test --release --test simulation -- --nocapture\n\
         shrunk from {} events to {}: {}\n\
         kept as a file in tests/regressions/ it is a test:\n\
         --- 8< ---\n{least}--- >8 ---\n\
         what happens in it, with the bytes cut {}:\n{}\n",
        failure.seed,
        failure.violation.detail,
        failure.seed,
        scenario.events.len(),
        least.events.len(),
        violation.detail,
        cut(chunking),
        run::tell(&least, chunking),
    )
}
