//! What a move does next: when it may begin, what follows from each answer, and what is restored.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::leg::LegId;
use super::move_ask::{Answer, Body, Question};
use super::moving::{Described, Kin, Moving, SequenceValues, Source};
use super::requests::Batch;
use super::{PeerId, Session};
use crate::migrate::postgres::{
    Found, PROBE_STATEMENT, Probe, ProbeFailed, Refusal, Remembered, Restore, Scope, Sequences,
    Surrounding, TypeLookup, TypeMap, are_strangers, declared, defaults_taken_along, differences,
    refusals, same_oids, surroundings, types_to_look_up,
};
use crate::migrate::{
    Batch as Open, Copy, Dialect, Facts, Phase, Quiescent, Trust, Unsafe, safe_point,
};
use crate::route::Route;
use crate::track::Pin;
use crate::track::prepared::key;
use crate::wire::{Printable, TransactionStatus};

impl<R: Route> Session<R> {
    /// What the session's move does by itself, whatever has happened.
    pub(super) fn move_on(&mut self, now: Instant) {
        if matches!(self.relocation.moving, Moving::Reader(_)) {
            self.move_reader(now);
        }
        let Some(moving) = self.writer_move() else {
            return;
        };
        match moving.migration.phase() {
            Phase::Wait | Phase::Drain => self.look_for_safe_point(now),
            Phase::Restore => self.write_restore(now),
            Phase::LogIn => self.revive_when_told(now),
            Phase::CutOver => self.cut_over(now),
            Phase::Dial | Phase::Read | Phase::Verify => {}
        }
    }

    fn look_for_safe_point(&mut self, now: Instant) {
        let point = self.safe_point();
        if point.is_err() {
            for leg in [self.writer(), self.reader()] {
                self.fence(leg);
            }
        }
        self.move_step(now, |migration| migration.looked(now, point));
        let phase = self.writer_move().map(|moving| moving.migration.phase());
        if phase == Some(Phase::Read) {
            self.read_state(now);
        }
    }

    /// Whether the session can leave its writer now.
    pub(super) fn safe_point(&self) -> Result<Quiescent, Unsafe> {
        let order = self.writer_move().map(|moving| &moving.plan.order);
        let trust = order.map_or(Trust::Journal, |order| order.trust);
        let (pins, trust) = match self.config.dialect {
            Dialect::Postgres => (self.ties(), trust),
            // Its server says itself what it cannot hand out. But the question drops the unnamed statement, and one that is
            // not remembered cannot be made again.
            Dialect::Cockroach => {
                let ties = self.ties().into_iter();
                let forgotten = ties.filter(|pin| *pin == Pin::TooManyStatements);
                (forgotten.collect(), Trust::Journal)
            }
        };
        let clock = self.relocation.clock;
        let mut facts = match self.leg(self.writer()).serving() {
            Some(writer) => Facts::of(&writer.pipeline, writer.status, clock),
            None => Facts::idle(clock),
        };
        if let Some(reader) = self.leg(self.reader()).serving() {
            facts.owed = facts.owed.saturating_add(reader.pipeline.len());
            facts.settled &= reader.pipeline.is_settled();
            if reader.pipeline.is_copying_in() {
                facts.copy = Copy::In;
            }
        }
        if self.has_reader_transaction() {
            facts.status = TransactionStatus::InTransaction;
        }
        let between = self.requests.batch == Batch::None
            && self.requests.decided.is_none()
            && !self.was_refused();
        if !between {
            facts.batch = Open::Open;
        }
        let claimed = self.ledger.claimed(PeerId::CLIENT.port());
        facts.request_left = self.relocation.to_come.min(claimed);
        facts.request_unsent = claimed.saturating_sub(facts.request_left);
        let answers =
            [self.writer(), self.reader()].map(|leg| self.ledger.claimed(leg.peer().port()));
        facts.response_left = answers.into_iter().fold(0, u64::saturating_add);
        facts.pins = &pins;
        safe_point(&facts, trust)
    }

    /// What ties the session to its writer.
    fn ties(&self) -> Vec<Pin> {
        let mut pins: Vec<Pin> = self.memory.pins.iter().collect();
        let obstacle = self.memory.obstacle;
        pins.extend(obstacle.filter(|pin| !pins.contains(pin)));
        pins
    }

    /// The connection to the new server stands.
    pub(super) fn spare_connected(&mut self, now: Instant, leg: LegId) {
        let dialling = self.writer_move().is_some_and(|moving| {
            moving.plan.leg == leg && moving.migration.phase() == Phase::Dial
        });
        if dialling {
            self.move_step(now, |migration| migration.connected(now));
        }
    }

    /// The new server has let us in.
    pub(super) fn spare_ready(&mut self, now: Instant, leg: LegId) {
        let serving = self.legs.get(leg).serving();
        let greeting = serving.map(|serving| serving.parameters.clone());
        let Some(moving) = self.writer_move_mut() else {
            return;
        };
        if moving.plan.leg != leg {
            return;
        }
        moving.plan.greeting = greeting.unwrap_or_default();
        match self.config.dialect {
            Dialect::Postgres => self.ask_for_move(now, leg, Question::Fresh(self.probe())),
            Dialect::Cockroach => self.revived(now, leg),
        }
    }

    fn probe(&self) -> Probe {
        let scope = self.writer_move().map(|moving| moving.plan.scope);
        Probe::new(
            scope.unwrap_or_default(),
            self.memory.journal.custom_names(),
        )
    }

    fn read_state(&mut self, now: Instant) {
        if self.config.dialect == Dialect::Cockroach {
            return self.read_serialized(now);
        }
        let ours = self.memory.statements.meaning(key(PROBE_STATEMENT));
        if ours.definition.is_some() {
            let why = "the client has a prepared statement of the name that the probe has";
            self.move_step(now, |migration| migration.state_refused(why));
            return;
        }
        let probe = self.probe();
        self.ask_for_move(now, self.writer(), Question::State(probe));
    }

    /// A question of the move is answered.
    pub(super) fn answered_move(&mut self, now: Instant, question: Question, answer: Answer) {
        match (question, answer) {
            (Question::Fresh(_), Answer::Found(found)) => self.fresh_found(now, found),
            (Question::State(probe), Answer::Found(found)) => {
                let bytes = probe.row_bytes().unwrap_or_default();
                self.state_found(now, found, u64::from(bytes));
            }
            (Question::Names { oids, found, .. }, Answer::Types(Ok(names))) => {
                let leg = self.writer_move().map(|moving| moving.plan.leg);
                let lookup = TypeLookup::oids(&names);
                self.state_is_read(now, found);
                if let (Some(leg), Some(_)) = (leg, self.writer_move()) {
                    let question = Question::Oids {
                        lookup,
                        oids,
                        names,
                    };
                    self.ask_for_move(now, leg, question);
                }
            }
            (Question::Names { .. }, Answer::Types(Err(why))) => {
                self.move_step(now, |migration| migration.state_refused(why));
            }
            (Question::Oids { oids, names, .. }, Answer::Types(Ok(there))) => {
                let other = self
                    .writer_move()
                    .map_or_else(Default::default, |moving| moving.plan.order.other_oids);
                match TypeMap::between(&oids, &names, &there, other) {
                    Ok(types) => self.begin_restore(now, types),
                    Err(trouble) => {
                        let why = first(trouble);
                        self.move_step(now, |migration| migration.target_failed(why));
                    }
                }
            }
            (Question::Verify(_), Answer::Found(found)) => self.verify(now, found),
            (Question::Restore(_), Answer::Restored(Ok(()))) => self.restored(now),
            (Question::Restore(_), Answer::Restored(Err(why))) => {
                self.move_step(now, |migration| migration.target_failed(why));
            }
            (Question::Oids { .. }, Answer::Types(Err(why))) => {
                self.move_step(now, |migration| migration.target_failed(why));
            }
            (Question::Transfer(..), Answer::Serialized(answer)) => self.serialized(now, *answer),
            (Question::Deserialize(..), Answer::Deserialized(done)) => self.deserialized(now, done),
            (Question::Described(_), Answer::Descriptions(said)) => self.described(now, said),
            (Question::Redescribed(_, from), Answer::Descriptions(said)) => {
                self.redescribed(now, from, &said);
            }
            (
                Question::Fresh(_)
                | Question::State(_)
                | Question::Verify(_)
                | Question::Names { .. }
                | Question::Oids { .. }
                | Question::Restore(_)
                | Question::Transfer(..)
                | Question::Deserialize(..)
                | Question::Described(_)
                | Question::Redescribed(..),
                Answer::Found(_)
                | Answer::Types(_)
                | Answer::Restored(_)
                | Answer::Serialized(_)
                | Answer::Deserialized(_)
                | Answer::Descriptions(_),
            ) => {}
        }
    }

    /// Whether a probe that failed is to be tried without the cluster's identity.
    fn asks_again(&mut self, why: ProbeFailed) -> bool {
        let Some(moving) = self.writer_move_mut() else {
            return false;
        };
        let again = why.may_be_for_its_identity() && moving.plan.scope == Scope::WithIdentity;
        if again {
            moving.plan.scope = Scope::SessionOnly;
        }
        again
    }

    fn fresh_found(&mut self, now: Instant, found: Result<Box<Found>, ProbeFailed>) {
        match found {
            Ok(found) => {
                if let Some(moving) = self.writer_move_mut() {
                    moving.plan.fresh = Some(found);
                }
                self.move_step(now, |migration| migration.logged_in(now));
            }
            Err(why) if self.asks_again(why) => {
                if let Some(leg) = self.writer_move().map(|moving| moving.plan.leg) {
                    self.spare_ready(now, leg);
                }
            }
            Err(why) => {
                self.move_step(now, |migration| migration.target_failed(why));
            }
        }
    }

    fn state_found(&mut self, now: Instant, found: Result<Box<Found>, ProbeFailed>, bytes: u64) {
        let mut found = match found {
            Ok(found) => found,
            Err(why) if self.asks_again(why) => return self.read_state(now),
            Err(why) => {
                self.move_step(now, |migration| migration.state_refused(why));
                return;
            }
        };
        self.relocation.transfers.state_read(bytes);
        // What the client has closed or defined anew elsewhere stays behind.
        for name in self.memory.statements.outdated(self.writer().index()) {
            found.statements.remove(name);
        }
        if let Some(why) = self.why_it_stays(&found) {
            self.move_step(now, |migration| migration.state_refused(why));
            return;
        }
        let fresh = self
            .writer_move()
            .and_then(|moving| moving.plan.fresh.as_ref());
        if fresh.is_some_and(|fresh| same_oids(&found, fresh)) {
            self.state_is_read(now, found);
            return self.begin_restore(now, TypeMap::identity());
        }
        let listed = found.statements.values();
        let listed = listed.flat_map(|statement| statement.types.iter().copied());
        // The unnamed statement is on no list, and what the reader alone has is prepared beside the new server one day.
        let known = self.memory.statements.all();
        let known = known.flat_map(|definition| declared(&definition.body));
        match types_to_look_up(listed.chain(known)) {
            Err(why) => {
                self.move_step(now, |migration| migration.state_refused(why));
            }
            Ok(oids) if oids.is_empty() => {
                self.state_is_read(now, found);
                self.begin_restore(now, TypeMap::identity());
            }
            Ok(oids) => {
                let question = Question::Names {
                    lookup: TypeLookup::names(&oids),
                    oids,
                    found,
                };
                self.ask_for_move(now, self.writer(), question);
            }
        }
    }

    /// Why the session cannot be moved, or not to there, if it cannot.
    fn why_it_stays(&self, found: &Found) -> Option<String> {
        let plan = &self.writer_move()?.plan;
        let has_values = self.relocation.sequence_values == SequenceValues::Some;
        if has_values && plan.order.sequences == Sequences::Refuse {
            return Some(Refusal::SequenceValues.to_string());
        }
        let known = self.memory.statements.present(self.writer().index());
        let journal = known.map(|(name, known)| {
            let way = match (known.query.is_empty(), known.body.is_empty()) {
                (false, _) => Remembered::Query,
                (true, false) => Remembered::Parse,
                (true, true) => Remembered::Name,
            };
            (name, way)
        });
        let refused = refusals(found, journal, plan.order.listening);
        if !refused.is_empty() {
            return Some(first(refused));
        }
        // A server keeps a statement as it was read.
        let mut older = self
            .memory
            .statements
            .in_other_reading(self.writer().index());
        if let Some(name) = older.next().map(Printable) {
            return Some(format!(
                "prepared under other settings by which its text is read: {name}"
            ));
        }
        // How far it is behind is asked when the client is held and all is written.
        let differs = surroundings(found, plan.fresh.as_ref()?)
            .into_iter()
            .find(|what| !matches!(what, Surrounding::Behind { .. }) && plan.order.refuses(what));
        differs.map(|what| what.to_string())
    }

    fn state_is_read(&mut self, now: Instant, found: Box<Found>) {
        // What the reader alone has is prepared there on its first use, as on any server.
        let known = self.memory.statements.present(self.writer().index());
        let (mut statements, mut in_sql) = (Vec::new(), Vec::new());
        for (name, known) in known {
            match known.query.is_empty() {
                true => statements.push(Body::Parse(Arc::clone(known))),
                false => in_sql.push((Box::from(name), Body::Query(Arc::clone(known)))),
            }
        }
        let source = Described {
            statements,
            in_sql,
            found,
        };
        let source = Source::Described(source);
        self.move_step(now, |migration| migration.state_read(now, source));
    }

    fn begin_restore(&mut self, now: Instant, types: TypeMap) {
        let Some(moving) = self.writer_move_mut() else {
            return;
        };
        let source = moving.migration.state().and_then(Source::described);
        let (plan, Some(source)) = (&mut moving.plan, source) else {
            return;
        };
        let Some(fresh) = plan.fresh.take() else {
            return;
        };
        plan.types = types.clone();
        plan.defaults = defaults_taken_along(&source.found, &fresh);
        if are_strangers(&source.found, &fresh) {
            plan.kin = Kin::Strangers;
        }
        let (bodies, in_sql) = (source.statements.clone(), source.in_sql.clone());
        let (leg, listening) = (plan.leg, plan.order.listening);
        match Restore::new(&source.found, &fresh, bodies, types, listening) {
            Ok(restore) => {
                let restore = restore.preparing(in_sql);
                self.ask_for_move(now, leg, Question::Restore(Box::new(restore)));
                self.write_restore(now);
            }
            Err(why) => {
                self.move_step(now, |migration| migration.target_failed(why));
            }
        }
    }

    /// Writes as much of the restore as there is room for.
    fn write_restore(&mut self, now: Instant) {
        let room = self.config.limits.ledger.owned_bytes_per_queue / 2;
        let Some(leg) = self.writer_move().map(|moving| moving.plan.leg) else {
            return;
        };
        if !self.ledger.is_drained_to(leg.peer().port()) {
            return;
        }
        let Some(asked) = self
            .writer_move_mut()
            .and_then(|moving| moving.plan.asked.as_mut())
        else {
            return;
        };
        let mut out = BytesMut::new();
        let written = match &mut asked.question {
            Question::Restore(restore) => restore.write(&mut out, room),
            Question::Deserialize(..) => return self.write_deserialize(now, room),
            Question::Fresh(_)
            | Question::State(_)
            | Question::Names { .. }
            | Question::Oids { .. }
            | Question::Verify(_)
            | Question::Described(_)
            | Question::Redescribed(..)
            | Question::Transfer(..) => return,
        };
        if out.is_empty() && written.is_ok() {
            return;
        }
        if written.is_err() || !self.send_for_move(leg, &out) {
            let why = "a part of the restore does not fit the queue of our own messages";
            self.move_step(now, |migration| migration.target_failed(why));
        }
    }

    fn restored(&mut self, now: Instant) {
        if self.move_step(now, |migration| migration.restored(now)) {
            let probe = self.probe();
            if let Some(leg) = self.writer_move().map(|moving| moving.plan.leg) {
                self.ask_for_move(now, leg, Question::Verify(probe));
            }
        }
    }

    fn verify(&mut self, now: Instant, found: Result<Box<Found>, ProbeFailed>) {
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                self.move_step(now, |migration| migration.target_failed(why));
                return;
            }
        };
        match self.what_differs(&found) {
            None => {
                self.move_step(now, |migration| migration.verified(now));
            }
            Some(why) => {
                self.move_step(now, |migration| migration.differs(why));
            }
        }
    }

    fn what_differs(&self, found: &Found) -> Option<String> {
        let moving = self.writer_move()?;
        let (plan, source) = (&moving.plan, moving.migration.state()?.described()?);
        let differs = differences(&source.found, found, &plan.types, plan.order.listening);
        if !differs.is_empty() {
            return Some(first(differs));
        }
        let around = surroundings(&source.found, found);
        let refused = around.into_iter().find(|what| plan.order.refuses(what));
        refused.map(|what| what.to_string())
    }
}

/// The first of several reasons, and how many there are.
fn first<T: std::fmt::Display>(reasons: Vec<T>) -> String {
    let more = reasons.len().saturating_sub(1);
    let first = reasons.first().map(ToString::to_string).unwrap_or_default();
    match more {
        0 => first,
        more => format!("{first}, and {more} more"),
    }
}
