//! What a move between CockroachDB's servers does otherwise: the old server hands the session out and takes no more of it
//! into account, and the new one is logged in to with the token that came with it.

use std::time::Instant;

use bytes::BytesMut;

use super::begin::reported;
use super::leg::{LegId, Phase as LegPhase};
use super::move_ask::Question;
use super::moving::{HeldCursors, Source};
use super::{Session, Timer};
use crate::limits::MIGRATION_DESCRIBES;
use crate::migrate::cockroach::{
    DescribeReader, Description, DeserializeReader, NotRestored, Revival, StateAnswer, StateReader,
    TransferKey, describe, deserialize_piece,
};
use crate::migrate::{TransferCounter, Trust};
use crate::route::Route;
use crate::secret;
use crate::startup::StartupParams;
use crate::wire::Printable;

/// Why a description is not asked for.
const TOO_LONG: &str =
    "the names of the prepared statements do not fit the queue of our own messages";

impl<R: Route> Session<R> {
    /// The client is held, and the old server is to be asked for the session.
    pub(super) fn read_serialized(&mut self, now: Instant) {
        let trust = self.writer_move().map(|moving| moving.plan.order.trust);
        let held = self.relocation.held_cursors == HeldCursors::Some;
        // Its server would say nothing of one, and lose it.
        if held && trust == Some(Trust::Journal) {
            let why = "a cursor WITH HOLD may be open";
            self.move_step(now, |migration| migration.state_refused(why));
            return;
        }
        self.describe_statements(now);
    }

    /// The old server is asked what its prepared statements are, then for the session.
    fn describe_statements(&mut self, now: Instant) {
        let known = self
            .writer_move()
            .map_or(0, |moving| moving.plan.described.len());
        match self.description_of(known) {
            Some((question, request)) => {
                self.ask_for_move(now, self.writer(), Question::Described(question));
                if !self.send_for_move(self.writer(), &request) {
                    self.move_step(now, |migration| migration.state_refused(TOO_LONG));
                }
            }
            None => self.ask_for_transfer(now),
        }
    }

    /// The question what statements are behind the first so many, if there are any.
    fn description_of(&self, from: usize) -> Option<(DescribeReader, BytesMut)> {
        let room = self.config.limits.ledger.owned_bytes_per_queue / 2;
        let names = self.memory.statements.named(self.writer().index());
        let mut request = BytesMut::new();
        let mut asked: usize = 0;
        for name in names.skip(from).take(MIGRATION_DESCRIBES) {
            let before = request.len();
            // What came in a message fits one.
            let _ = describe([name], &mut request);
            if asked > 0 && request.len() > room {
                request.truncate(before);
                break;
            }
            asked = asked.saturating_add(1);
        }
        (asked > 0).then(|| (DescribeReader::new(asked), request))
    }

    /// The old server has said what some statements are.
    pub(super) fn described(&mut self, now: Instant, said: Vec<Description>) {
        if let Some(moving) = self.writer_move_mut() {
            moving.plan.described.extend(said);
            self.describe_statements(now);
        }
    }

    /// The new server has taken the session in, and is asked what the statements are that are behind the first so many.
    fn describe_again(&mut self, now: Instant, from: usize) {
        let Some(leg) = self.writer_move().map(|moving| moving.plan.leg) else {
            return;
        };
        match self.description_of(from) {
            Some((question, request)) => {
                self.ask_for_move(now, leg, Question::Redescribed(question, from));
                if !self.send_for_move(leg, &request) {
                    self.move_step(now, |migration| migration.target_failed(TOO_LONG));
                }
            }
            None => {
                self.move_step(now, |migration| migration.verified(now));
            }
        }
    }

    /// The new server has said what some statements are, behind the first so many.
    pub(super) fn redescribed(&mut self, now: Instant, from: usize, said: &[Description]) {
        let Some(moving) = self.writer_move() else {
            return;
        };
        let known = moving.plan.described.iter().skip(from);
        let names = self.memory.statements.named(self.writer().index());
        let mut both = names.skip(from).zip(known.zip(said));
        let other = both.find(|(_, (before, now))| before != now);
        let why = other.map(|(name, _)| {
            let name = Printable(name);
            format!("the new server has not the prepared statement {name} as it was")
        });
        drop(both);
        match why {
            Some(why) => {
                self.move_step(now, |migration| migration.differs(why));
            }
            None => self.describe_again(now, from.saturating_add(said.len())),
        }
    }

    /// The old server is asked for the session.
    fn ask_for_transfer(&mut self, now: Instant) {
        let stats = self.relocation.transfers.stats();
        let attempts = stats.get(TransferCounter::Attempted);
        let key = TransferKey::derive(self.seed.nonce_key(), attempts);
        // At a safe point nothing is owed.
        let reader = StateReader::new(&key, 0).behind_a_transaction();
        self.ask_for_move(now, self.writer(), Question::Transfer(reader, key));
        // A simple Query drops the unnamed statement, and the client still has it.
        let writer = self.writer().index();
        self.memory.statements.unnamed_dropped(writer);
    }

    /// The old server has handed the session out, or has not.
    pub(super) fn serialized(&mut self, now: Instant, answer: StateAnswer) {
        if let Some(bytes) = answer.row_bytes {
            self.relocation.transfers.state_read(u64::from(bytes));
        }
        match answer.state {
            Ok(state) => {
                let source = Source::Serialized(state);
                self.move_step(now, |migration| migration.state_read(now, source));
            }
            Err(why) => {
                self.move_step(now, |migration| migration.state_refused(why));
            }
        }
    }

    /// The connection to the new server stands, and there may be a token already.
    pub(super) fn revive_when_told(&mut self, now: Instant) {
        let Some(leg) = self.writer_move().map(|moving| moving.plan.leg) else {
            return;
        };
        if !matches!(self.leg(leg).phase, LegPhase::Unopened) {
            return;
        }
        if let Some(startup) = self.client.startup.clone() {
            match self.upstream_login(&startup) {
                Ok((startup, _)) => self.revive(now, leg, &startup),
                Err(error) => self.leg_failed(now, leg, error.to_string()),
            }
        }
    }

    /// Logs in to the new server with the token, once there is one.
    pub(super) fn revive(&mut self, now: Instant, leg: LegId, startup: &StartupParams) {
        let state = self
            .writer_move()
            .and_then(|moving| moving.migration.state());
        let Some(state) = state.and_then(Source::serialized) else {
            self.leg_mut(leg).phase = LegPhase::Unopened;
            return;
        };
        let (address, channel) = (self.hook.endpoint, self.leg(leg).channel);
        let mut hello = BytesMut::new();
        let revival = match Revival::new(startup, state, address, channel) {
            Ok(mut revival) => revival
                .start(&mut hello)
                .map(|()| revival)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        self.timers
            .start(now, self.config.timeouts.replay, Timer::Replay(leg.peer()));
        match revival {
            Ok(_) if !self.ledger.room_for(leg.peer().port(), hello.len()) => {
                let why = "the token does not fit the queue of our own messages";
                self.leg_failed(now, leg, why.to_owned());
            }
            Ok(revival) => self.opened(leg, revival.into_login(), &hello),
            Err(why) => self.leg_failed(now, leg, why),
        }
        secret::empty(&mut hello);
    }

    /// The new server has let the session in by its token.
    pub(super) fn revived(&mut self, now: Instant, leg: LegId) {
        if self.move_step(now, |migration| migration.logged_in(now)) {
            let question = Question::Deserialize(DeserializeReader::new(), 0);
            self.ask_for_move(now, leg, question);
        }
    }

    /// Writes as much of the session's state as there is room for.
    pub(super) fn write_deserialize(&mut self, now: Instant, room: usize) {
        let Some(moving) = self.writer_move_mut() else {
            return;
        };
        let state = moving.migration.state().and_then(Source::serialized);
        let (Some(state), Some(asked)) = (state, moving.plan.asked.as_mut()) else {
            return;
        };
        let Question::Deserialize(_, sent) = &mut asked.question else {
            return;
        };
        let leg = asked.leg;
        let mut out = BytesMut::with_capacity(room);
        let written = deserialize_piece(state, *sent, room, &mut out);
        *sent = sent.saturating_add(written.unwrap_or_default());
        let why = match written {
            Ok(0) => None,
            Ok(_) if self.send_for_move(leg, &out) => None,
            Ok(_) => {
                Some("a part of the state does not fit the queue of our own messages".to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
        secret::empty(&mut out);
        if let Some(why) = why {
            self.move_step(now, |migration| migration.target_failed(why));
        }
    }

    /// The new server reports nothing of what it has taken in, and at the login it has said what a fresh session has. What the
    /// session has set since its own login is as the old server has said.
    fn keep_reported(&mut self) {
        let Some(moving) = self.writer_move() else {
            return;
        };
        let (leg, last) = (moving.plan.leg, moving.plan.told.clone());
        let old = self.leg(self.writer()).serving();
        let Some(known) = old.map(|old| old.parameters.clone()).or(last) else {
            return;
        };
        let begun = self.memory.started_with.clone();
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return;
        };
        for (name, there) in &mut serving.parameters {
            if let (Some(now), Some(then)) = (reported(&known, name), reported(&begun, name))
                && now != then
            {
                *there = Box::from(now);
            }
        }
    }

    /// The new server has taken the session in, or has not.
    pub(super) fn deserialized(&mut self, now: Instant, done: Result<(), NotRestored>) {
        if done.is_ok() {
            self.keep_reported();
        }
        let goes_on = self.move_step(now, |migration| match done {
            Ok(()) => migration.restored(now),
            Err(why) => migration.target_failed(why),
        });
        if goes_on {
            self.describe_again(now, 0);
        }
    }
}
