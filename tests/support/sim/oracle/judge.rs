//! Whether one server could have told the client what it was told.
//!
//! Faults may make requests fail. Each such failure is looked for on the one server too: some message of the request
//! fails there in the same way, and from then on everything must be as it is there.

use std::ops::Range;

use pgturnout::session::{Event, Lifecycle, PeerId};
use pgturnout::track::Pin;

use super::super::checks::Check;
use super::super::door;
use super::super::fault::{Damage, Fault};
use super::super::moves;
use super::super::setup::Fresh;
use super::super::world::World;
use super::words::{has_of_the_reader, is_ready, said_by};
use super::{Direct, Failure, Progress, direct, fatal_is_last, never_let_in, state, up_to_flush};
use super::{ends, plain};

/// How often the client's program is played to find out which messages failed. More were not seen to be needed.
const PLAYS: usize = 400;

/// What we answer for a reader that is lost.
const LOST: &str = "08006";

/// Whether everything that was asked must have been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// The session ended on the way, or the client did.
    Beginning,
}

/// Compares what the client saw with what one server would have told it, as far as the faults allow.
pub(crate) fn compare(world: &mut World<'_>) {
    fatal_is_last(world);
    if world.damage >= Damage::Anything
        || !world.client.is_ready() && world.said.is_empty()
        || door::is_promoted(world)
        || world.moves.distance.changed_its_role(door::node(world))
        || world.moves.is_lossy()
    {
        return;
    }
    if !world.client.is_ready() {
        never_let_in(world);
        return;
    }
    let apart = moves::tells_versions_apart(world);
    let ended = !matches!(world.session.lifecycle(), Lifecycle::Live)
        || world.links[PeerId::CLIENT.index()].has_ended()
        || apart.is_some();
    let extent = match ended {
        true => Extent::Beginning,
        false => Extent::Whole,
    };
    let mut ours = answers(&said_by(&moves::of_servers(world), world));
    ours.truncate(apart.unwrap_or(usize::MAX));
    let mut search = Search {
        world,
        extent,
        ours: &ours,
        plays: 0,
    };
    match search.explain(Vec::new(), Vec::new()) {
        // What was done behind what differs may differ, too.
        Ok(_) if apart.is_some() => {}
        Ok(direct) => {
            let answered = ours.iter().filter(|answer| is_whole(answer)).count();
            let unfailed = super::direct(world, &world.said, &[]);
            state::effects(world, &direct, &unfailed, extent, answered);
            state::sessions(world, &direct, &unfailed);
        }
        Err((check, detail)) => world.broken(check, detail),
    }
}

/// What the client saw, request by request; the last answer may lack its ReadyForQuery.
fn answers(words: &[String]) -> Vec<Vec<String>> {
    words
        .split_inclusive(|word| is_ready(word))
        .map(<[String]>::to_vec)
        .collect()
}

fn is_whole(answer: &[String]) -> bool {
    answer.last().is_some_and(|word| is_ready(word))
}

fn is_error(word: &str) -> bool {
    word.starts_with("E(")
}

fn is_fatal(word: &str) -> bool {
    is_error(word) && (word.ends_with("FATAL)") || word.ends_with("PANIC)"))
}

/// A request that failed on the way, and its answer on a server where it did not.
#[derive(Clone)]
struct Excuse {
    request: usize,
    unfailed: Vec<String>,
}

struct Search<'w, 's> {
    world: &'w World<'s>,
    extent: Extent,
    ours: &'w [Vec<String>],
    plays: usize,
}

impl Direct {
    /// From where to where a count went during a request.
    fn range_of(&self, request: usize, count: impl Fn(&Progress) -> usize) -> Range<usize> {
        let before = request.checked_sub(1).and_then(|at| self.ready.get(at));
        let after = self.ready.get(request).unwrap_or(&self.end);
        before.map_or(0, &count)..count(after)
    }
}

impl Search<'_, '_> {
    /// The one server that told what the client was told, with these messages failing and perhaps more.
    fn explain(
        &mut self,
        failures: Vec<Failure>,
        excuses: Vec<Excuse>,
    ) -> Result<Direct, (Check, String)> {
        let reference = self.play(&failures);
        let theirs = answers(&said_by(&reference.frames, self.world));
        let Some((request, detail)) = self.difference(&theirs, &failures, &excuses) else {
            return Ok(reference);
        };
        let wrong = (self.names(&theirs, request), detail);
        let Some(code) = self.failed_with(request) else {
            return Err(wrong);
        };
        let excused = excuses.iter().any(|excuse| excuse.request == request);
        let known = |failure: &Failure| matches!(failure, Failure::Demoted(_));
        let of_a_standby = ["25006", "0A000"].contains(&code.as_str());
        if of_a_standby
            && self.world.strikes.contains(&Fault::Demote)
            && !failures.iter().any(known)
        {
            let steps = reference.range_of(request, |progress| progress.steps);
            let demoted = self.try_each(steps, wrong.clone(), |step| {
                (with(&failures, Failure::Demoted(step)), excuses.clone())
            });
            if demoted.is_ok() || !self.is_serializable(&code) {
                return demoted;
            }
        }
        let is_same =
            |failure: &&Failure| matches!(failure, Failure::Fails(_, state) if *state == code);
        let before = failures.iter().filter(is_same).count();
        let of_a_fault = self.explains(&code, before) || self.is_serializable(&code);
        let refused = self.refuses(&code, before);
        if excused || !of_a_fault && !refused {
            return Err(wrong);
        }
        let unfailed = theirs.get(request).cloned().unwrap_or_default();
        let messages = reference.range_of(request, |progress| progress.messages);
        let (ends, reads) = match of_a_fault {
            true => (Vec::new(), Vec::new()),
            false => (ends::of_transactions(self.world), plain::reads(self.world)),
        };
        let is = |all: &[bool], message: usize| all.get(message).copied().unwrap_or(false);
        let within = |message| of_a_fault || is(&reference.read_only, message);
        let may_fail =
            |message: &usize| within(*message) && !is(&ends, *message) && !is(&reads, *message);
        self.try_each(messages.filter(may_fail), wrong, |message| {
            let failures = with(&failures, Failure::Fails(message, code.clone()));
            let mut excuses = excuses.clone();
            excuses.push(Excuse {
                request,
                unfailed: unfailed.clone(),
            });
            (failures, excuses)
        })
    }

    /// Tries what would be if something happened at one moment or another.
    fn try_each(
        &mut self,
        moments: impl Iterator<Item = usize>,
        wrong: (Check, String),
        then: impl Fn(usize) -> (Vec<Failure>, Vec<Excuse>),
    ) -> Result<Direct, (Check, String)> {
        for moment in moments {
            if self.plays >= PLAYS {
                break;
            }
            let (failures, excuses) = then(moment);
            if let Ok(found) = self.explain(failures, excuses) {
                return Ok(found);
            }
        }
        Err(wrong)
    }

    fn play(&mut self, failures: &[Failure]) -> Direct {
        self.plays += 1;
        direct(self.world, &self.world.said, failures)
    }

    /// The check that a difference breaks.
    fn names(&self, theirs: &[Vec<String>], request: usize) -> Check {
        let without_rows = |all: &[Vec<String>]| -> Option<Vec<String>> {
            let is_row = |word: &&String| word.starts_with("D(") || word.starts_with("d(");
            let words = all.get(request)?.iter().filter(|word| !is_row(word));
            let same = |word: &String| match word.starts_with("C(SELECT ") {
                true => "C(SELECT)".to_owned(),
                false => word.clone(),
            };
            Some(words.map(same).collect())
        };
        if self.world.setup.fresh != Fresh::Off && without_rows(self.ours) == without_rows(theirs) {
            return Check::Fresh;
        }
        let count = |all: &[Vec<String>]| all.iter().filter(|answer| is_whole(answer)).count();
        match count(self.ours) == count(theirs) || self.extent == Extent::Beginning {
            true => Check::Direct,
            false => Check::OneReady,
        }
    }

    /// The first answer that is not what it should be.
    fn difference(
        &self,
        theirs: &[Vec<String>],
        failures: &[Failure],
        excuses: &[Excuse],
    ) -> Option<(usize, String)> {
        for (at, ours) in self.ours.iter().enumerate() {
            let last = at + 1 == self.ours.len();
            let ours = match self.extent {
                Extent::Beginning if last => without_farewell(ours),
                Extent::Beginning | Extent::Whole => ours,
            };
            let right = theirs.get(at).map_or(&[][..], Vec::as_slice);
            let excuse = excuses.iter().find(|excuse| excuse.request == at);
            let fits = match excuse {
                Some(excuse) => {
                    let is_cut = last && self.extent == Extent::Beginning && !is_whole(ours);
                    is_failure_of(ours, right, &excuse.unfailed, is_cut)
                }
                None if last && !is_whole(ours) => right.starts_with(ours),
                None => ours == right,
            };
            let failed = at
                .checked_sub(1)
                .and_then(|before| self.ours[before].last());
            let is_failed = failed.is_some_and(|word| word == "Z(E)");
            let fits =
                fits || is_failed && has_of_the_reader(self.world) && is_refused(ours, right);
            if !fits {
                return Some((at, difference(at, ours, right)));
            }
        }
        if self.extent == Extent::Beginning {
            return None;
        }
        self.missing(failures)
    }

    /// What was asked for and not answered. A server sends what has gathered when its buffer is full, and nobody may
    /// count on it.
    fn missing(&self, failures: &[Failure]) -> Option<(usize, String)> {
        let asked = up_to_flush(&self.world.said);
        let owed = direct(self.world, asked, failures).frames;
        let owed = answers(&said_by(&owed, self.world));
        let last = self.ours.len().saturating_sub(1);
        if owed.len() > self.ours.len() {
            let at = self.ours.len();
            return Some((
                at,
                format!(
                    "{} answers came, and one more is owed: {}",
                    at,
                    owed[at].join(" ")
                ),
            ));
        }
        let (ours, owed) = (self.ours.last()?, owed.get(last)?);
        // Behind an error nothing but the end is owed.
        let fails = ours.iter().any(|word| is_error(word));
        let short = !is_whole(ours) && ours.len() < owed.len() && !fails;
        let short = short || !is_whole(ours) && is_whole(owed);
        short.then(|| (last, difference(last, ours, owed)))
    }

    /// The SQLSTATE that a request failed with.
    fn failed_with(&self, request: usize) -> Option<String> {
        let error = self.ours.get(request)?.iter().find(|word| is_error(word))?;
        let code = error.strip_prefix("E(")?.strip_suffix(" ERROR)")?;
        Some(code.to_owned())
    }

    /// Whether a fault that has struck can be why one more request failed with this SQLSTATE, with `lost` of them
    /// lost before.
    fn explains(&self, code: &str, lost: usize) -> bool {
        let struck = |what: &dyn Fn(&Fault) -> bool| self.world.strikes.iter().any(what);
        match code {
            LOST => {
                lost < self.of_the_reader()
                    && struck(&|fault| {
                        fault.peer() == Some(PeerId::READER) && fault.damage() > Damage::None
                    })
            }
            _ => struck(&|fault| match fault {
                Fault::FailNext(_, state) => state == code,
                Fault::Cancel => code == "57014" && lost < self.world.cancels.hits(),
                _ => false,
            }),
        }
    }
}

impl Search<'_, '_> {
    /// How many requests were the reader's, or may have been.
    fn of_the_reader(&self) -> usize {
        let from_client = &self.world.from_client;
        // Of what was meant for it nothing may have left.
        let is_its = |of: &Option<PeerId>| of.is_none_or(|of| of == PeerId::READER);
        let asked = [Some(PeerId::READER), None].map(|of| from_client.count(of, b"QFS"));
        // A batch fails with its reader before its Sync has come, or where none comes.
        let last = from_client.begun().iter().rev().find(|(of, _)| is_its(of));
        let is_open = last.is_some_and(|(_, tag)| b"PBDECH".contains(tag));
        asked.iter().sum::<usize>() + usize::from(is_open)
    }

    /// Whether the session has refused one more statement with this code, which has no place in a transaction on the reader. The
    /// end of the transaction and a plain read always have.
    fn refuses(&self, code: &str, before: usize) -> bool {
        let refused = |event: &&Event| matches!(event, Event::StatementDenied { state, .. } if state.to_string() == code);
        let count = self.world.told.iter().filter(refused).count();
        self.world.setup.read_transactions && before < count
    }

    /// Whether the reader may have refused one more request for the session's default isolation, of which nobody has asked it
    /// before. The session is pinned from then on; what was on its way there fails, too.
    fn is_serializable(&self, code: &str) -> bool {
        let fittings = &self.world.setup.fittings;
        let pinned = |event: &Event| matches!(event, Event::Pinned(Pin::Serializable));
        code == "0A000"
            && fittings.is_serializable()
            && !fittings.asks()
            && self.world.told.iter().any(pinned)
    }
}

fn with(failures: &[Failure], one: Failure) -> Vec<Failure> {
    let mut failures = failures.to_vec();
    failures.push(one);
    failures
}

/// Whether an answer is what is left of a request that fails on the one server: `failed` is the answer there, and
/// `unfailed` what it would have been. Some of what the failing message was about to say may have been said, but not
/// that it was done: whoever hears that of a Parse, a Bind or a Close has its answer. Of one that is cut off, what comes behind
/// may be missing.
fn is_failure_of(ours: &[String], failed: &[String], unfailed: &[String], is_cut: bool) -> bool {
    let part = |words: &[String]| words.iter().position(|word| is_error(word));
    let (Some(at), Some(there)) = (part(ours), part(failed)) else {
        return false;
    };
    let (said, rest) = ours.split_at(at);
    let (before, behind) = failed.split_at(there);
    let Some(part) = said.strip_prefix(before) else {
        return false;
    };
    let is_part = !part.iter().any(|word| is_done(word));
    let goes_on = rest == behind || is_cut && behind.starts_with(rest);
    is_part && (part.is_empty() || unfailed.starts_with(said)) && goes_on
}

/// Whether an answer in a failed transaction is an error, in place of which another server has one that comes later, or another
/// error.
fn is_refused(ours: &[String], theirs: &[String]) -> bool {
    let error = |words: &[String]| words.iter().position(|word| is_error(word));
    let (Some(at), Some(there)) = (error(ours), error(theirs)) else {
        return false;
    };
    let (before, behind) = (&ours[..at], &theirs[there + 1..]);
    ["E(25P02 ERROR)", "E(34000 ERROR)"].contains(&ours[at].as_str())
        && theirs[..there].starts_with(before)
        && behind.starts_with(&ours[at + 1..])
}

/// Whether an extended message is answered with this, and with nothing behind it.
fn is_done(word: &str) -> bool {
    ["1()", "2()", "3()"].contains(&word)
}

/// An answer without the FATAL error that the session ended with.
fn without_farewell(answer: &[String]) -> &[String] {
    match answer.split_last() {
        Some((last, before)) if is_fatal(last) => before,
        Some(_) | None => answer,
    }
}

fn difference(request: usize, ours: &[String], theirs: &[String]) -> String {
    let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let from = at.saturating_sub(4);
    let part = |words: &[String]| {
        let end = words.len().min(at + 4);
        words.get(from..end).unwrap_or_default().join(" ")
    };
    format!(
        "answer {} behind the login is another from its message {} on (of 1, 2, …): the client got `{}`, one server says `{}`",
        request + 1,
        at + 1,
        part(ours),
        part(theirs)
    )
}
