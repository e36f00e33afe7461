//! What a move between CockroachDB's servers does otherwise: the old server hands the session out and takes no more of it
//! into account, and the new one is logged in to with the token that came with it.

use std::time::Instant;

use bytes::BytesMut;

use super::begin::reported;
use super::leg::{LegId, Phase as LegPhase};
use super::move_ask::Question;
use super::moving::Source;
use super::{Session, Timer};
use crate::migrate::TransferCounter;
use crate::migrate::cockroach::{
    DeserializeReader, NotRestored, Revival, StateAnswer, StateReader, TransferKey,
    deserialize_piece,
};
use crate::route::Route;
use crate::secret;
use crate::startup::StartupParams;

impl<R: Route> Session<R> {
    /// The client is held: the old server is asked for the session.
    pub(super) fn ask_for_transfer(&mut self, now: Instant) {
        let stats = self.relocation.transfers.stats();
        let attempts = stats.get(TransferCounter::Attempted);
        let key = TransferKey::derive(self.seed.nonce_key(), attempts);
        // At a safe point nothing is owed.
        let reader = StateReader::new(&key, 0);
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
        self.move_step(now, |migration| match done {
            Ok(()) => migration.restored(now),
            Err(why) => migration.target_failed(why),
        });
    }
}
