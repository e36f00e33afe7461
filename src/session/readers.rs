//! Which reader the session uses, when there are several, and when it leaves it for another.

use std::time::Instant;

use super::leg::{Answers, Phase};
use super::loss::Cut;
use super::requests::Batch;
use super::trial::Trial;
use super::{CloseCause, Config, Destination, Event, Life, Role, Session};
use crate::route::{Excluded, Health, ReaderFacts, Route, mix};
use crate::startup::StartupParams;

/// What is held of each upstream, tables growing by doubling, and a copy while one is chosen.
pub(super) const HELD_PER_UPSTREAM: usize = 512;

/// Which readers the session may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Use {
    /// Those of the configuration.
    #[default]
    AsConfigured,
    /// This one, since it was moved there.
    Only(Destination),
    /// None: they are of another cluster than the writer since that was moved.
    Nobody,
}

/// What is known of the readers.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// What the driver said last, by place in the configuration; nothing is known of what is behind its end.
    facts: Vec<ReaderFacts>,
    /// Those that have failed, and when they may be tried again.
    failed: Vec<(Destination, Instant)>,
    used: Use,
    draws: u64,
}

impl Readers {
    fn known(&self, at: Destination) -> ReaderFacts {
        self.facts.get(at.0).copied().unwrap_or_default()
    }

    /// A reader cannot be had, and is not tried again before then.
    fn fail(&mut self, at: Destination, until: Instant) {
        self.forgive(at);
        self.failed.push((at, until));
    }

    fn forgive(&mut self, at: Destination) {
        self.failed.retain(|(failed, _)| *failed != at);
    }

    /// The session's reader is the one in this place from here on.
    pub(super) fn move_to(&mut self, to: Destination) {
        self.forgive(to);
        self.used = Use::Only(to);
    }

    /// The session's writer is of another cluster from here on: what its readers have is none of its.
    pub(super) fn left_behind(&mut self) {
        self.used = Use::Nobody;
    }

    fn has_failed(&self, at: Destination, now: Instant) -> bool {
        let mut failed = self.failed.iter();
        failed.any(|(of, until)| *of == at && *until > now)
    }

    /// The upstreams by place: those that are no readers, or have failed a moment ago, are down. So is the session's writer,
    /// once it has moved to what was a reader.
    fn candidates(&self, config: &Config, writer: Destination, now: Instant) -> Vec<ReaderFacts> {
        let numbered = config.upstreams.iter().enumerate();
        let judged = numbered.map(|(at, upstream)| {
            let at = Destination(at);
            let failed = self.has_failed(at, now);
            let known = self.known(at);
            match upstream.role {
                Role::Reader if !failed && at != writer => known,
                Role::Reader | Role::Writer | Role::Spare => ReaderFacts {
                    health: Health::Down,
                    ..known
                },
            }
        });
        judged.collect()
    }
}

impl<R: Route> Session<R> {
    /// What the driver knows of the upstreams, by their places in [`Config::upstreams`]: [`Config::reader_choice`] is made
    /// by it when a reader is dialled, and a reader that is excluded serves no reads from now on. What is said of the writer
    /// is ignored, and of what is not there nothing is known.
    ///
    /// The newest call counts. It costs little: call it for each session whenever the session has something to do.
    pub fn handle_readers(&mut self, now: Instant, facts: &[ReaderFacts]) {
        let known = facts.len().min(self.config.upstreams.len());
        let facts = facts.get(..known).unwrap_or_default();
        if self.readers.facts == facts {
            return;
        }
        self.readers.facts.clear();
        self.readers.facts.extend_from_slice(facts);
        if matches!(self.life, Life::Live | Life::Finishing) {
            self.leave_reader_out(now);
        }
    }

    /// Which reader is to be dialled now.
    pub(super) fn choose_reader(&self, now: Instant) -> Result<Destination, Excluded> {
        match self.readers.used {
            Use::AsConfigured => {}
            Use::Nobody => return Err(Excluded::Down),
            Use::Only(to) if to == self.writer_place() => return Err(Excluded::Down),
            Use::Only(to) if self.readers.has_failed(to, now) => return Err(Excluded::Down),
            Use::Only(to) => {
                let known = self.readers.known(to);
                return self.config.reader_choice.judge(&known).map(|_| to);
            }
        }
        let candidates = self
            .readers
            .candidates(&self.config, self.writer_place(), now);
        let startup = self.client.startup.as_ref();
        let mut key = startup.map_or(&[][..], StartupParams::user).to_vec();
        key.push(0);
        key.extend_from_slice(startup.map_or(&[], StartupParams::database));
        let draw = mix(self.seed.number() ^ self.readers.draws);
        let choice = self.config.reader_choice.choose(&candidates, draw, &key);
        choice.map(Destination)
    }

    /// Chooses the reader that is dialled next. With none that may be used it stays the one that it was.
    pub(super) fn aim_reader(&mut self, now: Instant) -> Result<(), Excluded> {
        let to = self.choose_reader(now)?;
        self.readers.draws = self.readers.draws.wrapping_add(1);
        let reader = self.reader();
        let leg = self.leg_mut(reader);
        if leg.to != to {
            leg.answers = Answers::InTime;
        }
        leg.to = to;
        Ok(())
    }

    /// The session's connection to its reader is of no use: when it is tried again, there or elsewhere.
    pub(super) fn reader_failed_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.leg(self.reader()).to;
        let retry = now.checked_add(self.config.timeouts.reader_retry);
        if let Some(retry) = retry {
            self.readers.fail(at, retry);
        }
        retry
    }

    /// Leaves a reader that is excluded as soon as it owes nothing.
    pub(super) fn leave_reader_out(&mut self, now: Instant) {
        if !self.readers.facts.is_empty() {
            let _ = self.judge_reader(now);
        }
    }

    /// Whether the reader that serves may go on with it. One that may not, and owes nothing, is left: at once if it is down, and
    /// if it lags when there is another.
    pub(super) fn judge_reader(&mut self, now: Instant) -> Result<(), Excluded> {
        let id = self.reader();
        let leg = self.leg(id);
        let (to, Phase::Serving(serving)) = (leg.to, &leg.phase) else {
            return Ok(());
        };
        let known = self.readers.known(to);
        let Err(why) = self.config.reader_choice.judge(&known) else {
            return Ok(());
        };
        let stands = matches!(self.requests.batch, Batch::On(leg) if leg == id)
            || matches!(self.requests.batch, Batch::Leaving | Batch::Left);
        let rests = serving.pipeline.is_settled()
            && !self.reader_runs_transaction()
            && !serving.said_fatal()
            && !stands
            && self.requests.decided.is_none()
            && matches!(self.requests.trial, Trial::None);
        let leaves = match why {
            Excluded::Down => true,
            Excluded::Lagging => self.choose_reader(now).is_ok(),
        };
        // While the gate's login goes on, the writer has yet to be had.
        let in_login = self.client.key().is_none();
        if rests && leaves && !in_login && self.leg(id).is_open() {
            self.notify(Event::ReaderLeft { to, why });
            self.reader_gone(now, CloseCause::ReaderExcluded(id.peer()), Cut::None);
            self.readers.forgive(to);
        }
        Err(why)
    }
}
