//! The least part of a scenario that still fails in the same way.

use super::campaign;
use super::catalogue::Seen;
use super::checks::Violation;
use super::event::{Event, Scenario};

/// How many runs a search may take: enough for some hundreds of events, and a few seconds.
const RUNS: usize = 3_000;

/// Leaves out what is not needed for a scenario to break the check that it breaks.
pub(crate) fn shrink(scenario: &Scenario, violation: &Violation) -> (Scenario, Violation) {
    let mut search = Search {
        best: scenario.clone(),
        violation: violation.clone(),
        runs: 0,
    };
    loop {
        let before = search.best.events.len();
        search.leave_out();
        search.simplify();
        if search.best.events.len() == before || search.runs >= RUNS {
            return (search.best, search.violation);
        }
    }
}

/// Whether two are of one kind: the same law, broken in the same words up to a number or a quotation.
fn is_the_same(one: &Violation, other: &Violation) -> bool {
    let words = |violation: &Violation| {
        let end = |c: char| c.is_ascii_digit() || matches!(c, '`' | '"' | '(' | '[' | ':');
        let words = violation.detail.split(end).next().unwrap_or_default();
        words.to_owned()
    };
    one.check == other.check && words(one) == words(other)
}

struct Search {
    best: Scenario,
    violation: Violation,
    runs: usize,
}

impl Search {
    /// Whether a candidate still fails; if so it is the best.
    fn try_it(&mut self, candidate: Scenario) -> bool {
        if self.runs >= RUNS {
            return false;
        }
        self.runs += 1;
        match campaign::attempt("a part of a scenario", &candidate, &mut Seen::default()) {
            Err(violation) if is_the_same(&violation, &self.violation) => {
                self.best = candidate;
                self.violation = violation;
                true
            }
            _ => false,
        }
    }

    /// Leaves out halves, quarters and so on down to single events.
    fn leave_out(&mut self) {
        let mut size = self.best.events.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < self.best.events.len() {
                let mut candidate = self.best.clone();
                let end = (at + size).min(candidate.events.len());
                candidate.events.drain(at..end);
                if !self.try_it(candidate) {
                    at += size;
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
    }

    /// Takes away what is special about the set-up, and lets the world come to rest instead of moving it.
    fn simplify(&mut self) {
        let plain = super::setup::Setup::plain().to_string();
        for pair in plain.split_whitespace() {
            let mut candidate = self.best.clone();
            let text = format!("{} {pair}", candidate.setup);
            if let Ok(setup) = super::setup::Setup::parse(&text)
                && setup != candidate.setup
            {
                candidate.setup = setup;
                self.try_it(candidate);
            }
        }
        for at in 0..self.best.events.len() {
            let moves = matches!(
                self.best.events.get(at),
                Some(Event::Arrive(..) | Event::Leave(..) | Event::Serve(_) | Event::Act)
            );
            if moves {
                let mut candidate = self.best.clone();
                candidate.events[at] = Event::Calm;
                self.try_it(candidate);
            }
        }
    }
}
