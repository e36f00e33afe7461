//! How a move ends: the new server takes over, or the session stays where it is, or it is over.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::begin::reported;
use super::leg::{Answers, Attempt, LegId, Phase as LegPhase};
use super::loss::{Stream, TERMINATE};
use super::move_ask::Asked;
use super::moving::{
    HeldCursors, Kept, Kin, MoveTarget, Moving, Plan, ReaderMove, SequenceValues, WriterMove,
};
use super::requests::Batch;
use super::{CloseCause, Destination, Event, Life, PeerId, Session, Tell, Timer};
use crate::migrate::{Finished, OldServer, Outcome, Phase, Reason};
use crate::route::Route;
use crate::track::prepared::Change;
use crate::wire::tags::frontend;
use crate::wire::{Backend, Header, sqlstate};

impl<R: Route> Session<R> {
    /// The new server takes over, unless something is on its way to the client that came unasked: the next look is
    /// behind it.
    pub(super) fn cut_over(&mut self, now: Instant) {
        let Some(new) = self.writer_move().map(|moving| moving.plan.leg) else {
            return;
        };
        let told = self.other_parameters(new);
        let room = self.ledger.room_for(PeerId::CLIENT.port(), told.len());
        let (Ok(proof), true) = (self.safe_point(), room) else {
            return;
        };
        let Some(moving) = self.take_writer_move() else {
            return;
        };
        let WriterMove { migration, plan } = *moving;
        let finished = migration.cut_over(now, proof);
        if finished.outcome() != Outcome::Success {
            return self.move_failed(now, plan, finished);
        }
        self.timers.stop(Timer::Move);
        let from = self.writer_place();
        self.take_over(now, new, &plan);
        self.push(PeerId::CLIENT, &told);
        match plan.order.target.reader() {
            Some(reader) => self.reader_goes(now, reader),
            // The reader is the writer now, and no standby.
            None if self.reader_place() == self.writer_place() => self.leave_reader_leg(now),
            None if plan.kin == Kin::Strangers => {
                self.leave_reader_leg(now);
                self.readers.left_behind();
            }
            None => {}
        }
        let took = finished.record(now, &mut self.relocation.transfers);
        self.notify(Event::Moved {
            target: plan.order.target,
            from,
            took,
            held: plan.hold.total(now),
        });
    }

    /// The ParameterStatus messages by which the client learns what the new server reports otherwise.
    fn other_parameters(&self, new: LegId) -> BytesMut {
        let mut out = BytesMut::new();
        let old = self.leg(self.writer()).serving();
        let Some(new) = self.leg(new).serving() else {
            return out;
        };
        let plan = self.writer_move().map(|moving| &moving.plan);
        let last = plan.and_then(|plan| plan.told.as_ref());
        let known = old.map(|old| &old.parameters).or(last);
        let told = known.unwrap_or(&self.memory.started_with);
        for (name, value) in &new.parameters {
            if reported(told, name) != Some(value) {
                let message = Backend::ParameterStatus { name, value };
                // What came in such a message fits one.
                let _ = message.encode(&mut out);
            }
        }
        out
    }

    /// The writer is another one from here on, with its cancel key.
    fn take_over(&mut self, now: Instant, new: LegId, plan: &Plan) {
        let old = self.writer();
        self.statements_moved(old, new);
        if !plan.types.is_identity() {
            let types = &plan.types;
            let anew = |body: &[u8]| types.rewritten(body);
            self.memory.statements.rewrite(anew);
        }
        self.defaults_moved(&plan.defaults);
        self.roles.writer = new;
        self.requests.last = new;
        self.requests.flushed = None;
        self.requests.look.restart();
        self.log_moved(now);
        self.relocation.sequence_values = SequenceValues::Nothing;
        self.relocation.held_cursors = HeldCursors::Nothing;
        let stamp = self.memory.journal.stamp();
        if let Some(serving) = self.leg_mut(new).serving_mut() {
            // It has what the old server had, and so all that the journal says.
            serving.stamp = stamp;
            let parameters = serving.parameters.clone();
            for (name, value) in &parameters {
                self.memory.learn(name, value);
            }
            self.memory.started_with.clone_from(&plan.greeting);
        }
        if self.leg(old).serving().is_some() {
            self.dismiss(now, old, CloseCause::Moved);
        }
    }

    /// What was prepared on the old server is on the new one, and the old one is out of use.
    fn statements_moved(&mut self, old: LegId, new: LegId) {
        let statements = &mut self.memory.statements;
        let known = statements.present(old.index());
        let known: Vec<_> = known
            .map(|(name, definition)| (Box::from(name), Arc::clone(definition)))
            .collect();
        for (name, definition) in known {
            let leg = new.index();
            let ticket = statements.sent(Change::Restore {
                leg,
                name,
                definition,
            });
            statements.confirmed(ticket);
        }
        statements.leg_lost(old.index());
    }

    /// Closes a connection that is of no more use, politely.
    fn dismiss(&mut self, now: Instant, leg: LegId, cause: CloseCause) {
        let peer = leg.peer();
        let listens = self.leg(leg).is_open()
            && self
                .leg(leg)
                .serving()
                .is_some_and(|serving| !serving.said_fatal())
            && self.ledger.room_for(peer.port(), TERMINATE.len());
        if !listens {
            return self.leg_down(now, leg, cause);
        }
        self.push(peer, &TERMINATE);
        self.timers.stop(Timer::Restore(peer));
        let drain = self.config.timeouts.drain;
        self.timers.start(now, drain, Timer::Retire(peer));
        self.forget_seen(leg);
        let leg = self.leg_mut(leg);
        leg.attempt = Attempt::First;
        leg.phase = LegPhase::Closing;
        self.outbox.close(peer, cause);
    }

    /// The reader is another one from here on, which is dialled when it is needed.
    fn reader_goes(&mut self, now: Instant, to: Destination) {
        self.leave_reader_leg(now);
        let reader = self.reader();
        self.readers.move_to(to);
        let leg = self.leg_mut(reader);
        leg.to = to;
        leg.retry_at = None;
        leg.answers = Answers::InTime;
    }

    /// Closes the connection to the reader, if there is one.
    fn leave_reader_leg(&mut self, now: Instant) {
        let reader = self.reader();
        self.leave_leg(now, reader, CloseCause::Moved);
        self.memory.statements.leg_lost(reader.index());
        // What belongs to no request goes where the last one went.
        if self.requests.last == reader {
            self.requests.last = self.writer();
        }
    }

    /// Closes a connection that is of no more use, if there is one. One that closes already is not made again.
    fn leave_leg(&mut self, now: Instant, leg: LegId, cause: CloseCause) {
        match self.leg(leg).phase {
            LegPhase::Absent => {}
            LegPhase::Closing => {
                self.timers.stop(Timer::Dial(leg.peer()));
                self.leg_mut(leg).attempt = Attempt::First;
            }
            LegPhase::Dialing
            | LegPhase::Asking(_)
            | LegPhase::Securing
            | LegPhase::Unopened
            | LegPhase::Opaque(_)
            | LegPhase::Relaying(_)
            | LegPhase::Replaying(_)
            | LegPhase::Serving(_) => self.dismiss(now, leg, cause),
        }
    }

    /// Moves a reader that owes nothing and has no batch.
    pub(super) fn move_reader(&mut self, now: Instant) {
        let reader = self.reader();
        let serving = self.leg(reader).serving();
        let quiet = serving.is_none_or(|serving| serving.pipeline.is_settled());
        let begun = self.requests.batch == Batch::On(reader)
            || self.requests.batch == Batch::Leaving
            || self.requests.decided.is_some_and(|(leg, _)| leg == reader)
            || self.has_reader_transaction()
            || self.was_refused();
        if !quiet || begun {
            self.fence(reader);
            return;
        }
        let from = self.reader_place();
        if let Some(moved) = self.take_reader_move() {
            self.reader_goes(now, moved.to);
            let target = MoveTarget::Reader(moved.to);
            let transfers = &mut self.relocation.transfers;
            let took = transfers.finish(now, moved.attempt, Outcome::Success);
            self.notify(Event::Moved {
                target,
                from,
                took,
                held: std::time::Duration::ZERO,
            });
        }
    }

    fn take_reader_move(&mut self) -> Option<Box<ReaderMove>> {
        match std::mem::take(&mut self.relocation.moving) {
            Moving::Reader(moved) => {
                self.timers.stop(Timer::Move);
                Some(moved)
            }
            other @ (Moving::No | Moving::Writer(_)) => {
                self.relocation.moving = other;
                None
            }
        }
    }

    fn reader_stays(&mut self, now: Instant, reason: Reason) {
        if let Some(moved) = self.take_reader_move() {
            let (target, outcome) = (MoveTarget::Reader(moved.to), Outcome::Recoverable);
            let transfers = &mut self.relocation.transfers;
            let took = transfers.finish(now, moved.attempt, outcome);
            self.notify(Event::MoveFailed {
                target,
                outcome,
                phase: Phase::Wait,
                reason,
                took,
                held: std::time::Duration::ZERO,
            });
        }
    }

    pub(super) fn cancel_move(&mut self, now: Instant) {
        self.move_step(now, |migration| migration.cancel());
        self.reader_stays(now, Reason::Cancelled);
    }

    pub(super) fn move_timed_out(&mut self, now: Instant) {
        self.move_step(now, |migration| migration.timed_out(now));
        self.reader_stays(now, Reason::Timeout);
    }

    /// A move has ended without success.
    pub(super) fn move_failed(&mut self, now: Instant, plan: Plan, finished: Finished) {
        self.timers.stop(Timer::Move);
        let (outcome, phase, old) = (finished.outcome(), finished.phase(), finished.old_server());
        let reason = finished.reason().cloned().unwrap_or(Reason::Cancelled);
        let took = finished.record(now, &mut self.relocation.transfers);
        self.drop_unread(plan.asked.as_ref());
        self.leave_leg(now, plan.leg, CloseCause::MoveFailed);
        let is_fault = matches!(reason, Reason::OldFault(_));
        self.notify(Event::MoveFailed {
            target: plan.order.target,
            outcome,
            phase,
            reason,
            took,
            held: plan.hold.total(now),
        });
        match old {
            OldServer::Alive | OldServer::OwesUs => {}
            OldServer::Lost if is_fault => self.writer_broke_protocol(now),
            OldServer::Lost => self.writer_went(now),
        }
    }

    /// The rest of a message of the old server that was being read is nobody's.
    fn drop_unread(&mut self, asked: Option<&Asked>) {
        let lives = matches!(self.life, Life::Live | Life::Finishing);
        if let Some(asked) = asked.filter(|asked| lives && asked.leg == self.writer()) {
            self.drop_of(asked.leg, asked.rest());
        }
    }

    fn writer_broke_protocol(&mut self, now: Instant) {
        let tell = Tell::fatal(
            sqlstate::PROTOCOL_VIOLATION,
            "the primary server broke the protocol",
        );
        let cause = CloseCause::UpstreamFault(self.writer().peer());
        self.end(now, cause, Some(tell));
    }

    fn writer_went(&mut self, now: Instant) {
        let tell = Tell::fatal(
            sqlstate::CONNECTION_FAILURE,
            "the connection to the primary server was lost",
        );
        let cause = CloseCause::UpstreamLost(self.writer().peer());
        let why = "The session could not be moved to another server.";
        self.end(now, cause, Some(tell.with_detail(why)));
    }

    /// The server that the session moves to cannot be had. Whether it was one.
    pub(super) fn target_lost(&mut self, now: Instant, leg: LegId, why: String) -> bool {
        let is_target = self
            .writer_move()
            .is_some_and(|moving| moving.plan.leg == leg);
        if is_target {
            self.move_step(now, |migration| migration.target_failed(why));
        }
        is_target
    }

    /// The writer is gone. Whether the session can do without it, because it moves and its state is read.
    pub(super) fn goes_on_without(&mut self, now: Instant, leg: LegId, cause: &CloseCause) -> bool {
        let is_read = self
            .writer_move()
            .is_some_and(|moving| moving.migration.state().is_some());
        if leg != self.writer() || !is_read || self.leg(leg).serving().is_none() {
            return false;
        }
        let told = self.leg_mut(leg).take_serving();
        if let Some(moving) = self.writer_move_mut() {
            moving.plan.told = told.map(|old| old.parameters);
        }
        self.leg_down(now, leg, cause.clone());
        self.move_step(now, |migration| migration.old_lost())
    }

    /// The session ends for this cause, and a move with it.
    pub(super) fn move_ends_with(&mut self, now: Instant, cause: &CloseCause) {
        let writer = self.writer().peer();
        let gone = matches!(cause, CloseCause::UpstreamLost(peer)
            | CloseCause::UpstreamEnded(peer)
            | CloseCause::UpstreamFault(peer) if *peer == writer);
        let left = matches!(cause, CloseCause::ClientLeft | CloseCause::ClientLost);
        if gone {
            self.move_step(now, |migration| migration.old_lost());
        } else if left {
            self.move_step(now, |migration| migration.client_lost());
        }
        self.cancel_move(now);
    }

    /// Whether the client's next message has to wait for the move. A client that has left is not waited with: it stays where
    /// it is.
    pub(super) fn waits_for_move(&mut self, now: Instant, input: &[u8]) -> bool {
        if self.is_held() && self.client.stream != Stream::Open {
            self.move_step(now, |migration| migration.client_lost());
        }
        let held = self.is_held();
        if held {
            self.relocation.kept = self.first_of(input);
        }
        held
    }

    /// Whether what the client has sent begins with a request that could be forwarded.
    fn first_of(&self, input: &[u8]) -> Kept {
        let whole = |header: &Header| {
            let fills = input.len() >= self.config.limits.read_buffer;
            header.tag != frontend::TERMINATE && (fills || header.split(input).is_some())
        };
        match self.client_header(input) {
            Ok(Some(header)) if whole(&header) => Kept::Request,
            Ok(Some(_) | None) | Err(_) => Kept::Nothing,
        }
    }
}
