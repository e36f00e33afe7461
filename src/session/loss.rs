//! What the client sees when somebody dies, and how a session ends.

use std::time::Instant;

use super::client::ClientPhase;
use super::effects::Note;
use super::leg::{Answers, Attempt, Duty, LegId, Phase};
use super::requests::Batch;
use super::{Action, CloseCause, Demand, Event, Life, PeerId, Session, Tell, Timer};
use crate::ledger::SourceEnd;
use crate::route::Route;
use crate::track::pipeline::{Kind, Owed, Owner};
use crate::track::prepared::Reached;
use crate::wire::TransactionStatus;
use crate::wire::sqlstate;
use crate::wire::tags::backend as tags;

pub(super) const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// How a peer's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    Eof,
    Reset,
    /// The client said Terminate; its connection may still stand.
    Terminated,
}

/// Whether more can come from a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stream {
    #[default]
    Open,
    Ended(Gone),
    /// It has ended and what follows from that was done.
    Over,
}

/// Whether a peer's stream ended inside a message for the client of which nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    None,
    Reply,
}

/// What of a request's answer a cut message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Nothing,
    /// A reply to an extended message, which counts as given.
    Reply,
}

/// What the client lacks because of a cut message, beside what is still owed.
fn lost_by(cut: Cut, newest: u8, owed: &[Owed<Note>]) -> Lost {
    let head = owed.iter().find(|item| item.owner == Owner::Client);
    let within = head.is_some_and(|item| matches!(item.kind, Kind::Query | Kind::FunctionCall));
    match cut {
        Cut::None => Lost::Nothing,
        Cut::Reply if within || is_row(newest) => Lost::Nothing,
        Cut::Reply => Lost::Reply,
    }
}

/// Whether the client is owed an error for this when nobody answers it. What is complete but for its ReadyForQuery has
/// not failed.
fn fails_when_lost(item: &Owed<Note>) -> bool {
    let answers = matches!(item.kind, Kind::Sync | Kind::CopyEnd);
    item.owner == Owner::Client && !answers && !item.note.is_complete()
}

/// Rows and what comes asynchronously end no request: what they belong to is still owed.
fn is_row(newest: u8) -> bool {
    matches!(
        newest,
        tags::DATA_ROW
            | tags::COPY_DATA
            | tags::PARAMETER_DESCRIPTION
            | tags::NOTICE_RESPONSE
            | tags::NOTIFICATION_RESPONSE
            | tags::PARAMETER_STATUS
    )
}

impl<R: Route> Session<R> {
    /// Notes the end of a stream; it is acted on once everything that came before it was looked at.
    pub(super) fn peer_gone(&mut self, now: Instant, peer: PeerId, how: Gone) {
        match LegId::of(peer) {
            None => {
                if self.client.stream != Stream::Ended(Gone::Terminated) {
                    self.client.stream = Stream::Ended(how);
                }
                match how {
                    Gone::Reset => {
                        self.ledger.destination_ended(peer.port());
                        self.end(now, CloseCause::ClientLost, None);
                    }
                    Gone::Eof | Gone::Terminated => self.wait_no_longer(now),
                }
            }
            // The end of a connection that was closed already is no news, and not that of the next one.
            Some(leg) if matches!(self.leg(leg).phase, Phase::Absent) => {}
            Some(leg) => {
                self.leg_mut(leg).stream = Stream::Ended(how);
                if how == Gone::Reset {
                    self.ledger.destination_ended(peer.port());
                }
            }
        }
        self.couple(now);
    }

    /// Acts on the end of a stream whose remaining bytes decide nothing more. `arrived` bytes of it are buffered.
    pub(super) fn input_ended(
        &mut self,
        now: Instant,
        from: PeerId,
        arrived: usize,
    ) -> Option<Demand> {
        let stream = LegId::of(from).map_or(self.client.stream, |leg| self.leg(leg).stream);
        let Stream::Ended(how) = stream else {
            return None;
        };
        if matches!(self.life, Life::Dead(_)) {
            return None;
        }
        let arrived = u64::try_from(arrived).unwrap_or(u64::MAX);
        let end = self.ledger.source_ended(from.port(), arrived);
        match LegId::of(from) {
            None => self.client_ended(now, how),
            Some(leg) => self.leg_ended(now, leg, end),
        }
        Some(Demand::Bytes(0))
    }

    /// The client sends nothing more. What it is owed is delivered, but a server that never answers keeps nobody.
    fn client_ended(&mut self, now: Instant, how: Gone) {
        if matches!(self.life, Life::Closing(_)) {
            return;
        }
        if how == Gone::Eof && self.pass_the_end() {
            self.client.stream = Stream::Over;
            self.wait_no_longer(now);
            return;
        }
        let waits = self.answers_are_due() || how == Gone::Terminated && self.pass_terminate();
        if !waits {
            self.end(now, CloseCause::ClientLeft, None);
        } else {
            self.wait_no_longer(now);
        }
    }

    /// Nobody may be waiting any more for what the client has asked: it has so long to get on.
    fn wait_no_longer(&mut self, now: Instant) {
        if matches!(self.life, Life::Live | Life::Finishing) && !self.timers.runs(Timer::Drain) {
            self.timers
                .start(now, self.config.timeouts.drain, Timer::Drain);
        }
    }

    /// Something that the client sent before it ended its stream was decided.
    pub(super) fn client_gets_on(&mut self, now: Instant) {
        if matches!(self.life, Life::Live | Life::Finishing) && self.timers.runs(Timer::Drain) {
            self.timers
                .start(now, self.config.timeouts.drain, Timer::Drain);
        }
    }

    /// Passes Terminate on to a server that was sent what no Sync or Flush follows: it may still refuse some of it,
    /// and says so before it closes. Whether there is one.
    fn pass_terminate(&mut self) -> bool {
        for id in LegId::ALL {
            let has_room = self.ledger.room_for(id.peer().port(), TERMINATE.len());
            let leg = self.leg_mut(id);
            let open = leg.stream == Stream::Open;
            let Some(serving) = leg.serving_mut() else {
                continue;
            };
            if serving.was_terminated() {
                return true;
            }
            if open && serving.pipeline.has_client() && !serving.said_fatal() {
                if !has_room {
                    // Behind what is queued there, when some of it has left.
                    return true;
                }
                serving.terminate();
                self.push(id.peer(), &TERMINATE);
                return true;
            }
        }
        false
    }

    /// Whether anything comes for the client without anything more being sent.
    pub(super) fn answers_are_due(&self) -> bool {
        LegId::ALL.into_iter().any(|leg| self.will_answer(leg))
    }

    /// Whether an upstream is going to answer the client without being sent anything more.
    pub(super) fn will_answer(&self, leg: LegId) -> bool {
        let Some(serving) = self.leg(leg).serving() else {
            return false;
        };
        let pipeline = &serving.pipeline;
        let flushed = self.requests.flushed == Some(leg) && pipeline.has_client();
        !pipeline.is_copying_in() && (pipeline.client_ready_owed() > 0 || flushed)
    }

    fn leg_ended(&mut self, now: Instant, leg: LegId, end: SourceEnd) {
        self.leg_mut(leg).stream = Stream::Over;
        if matches!(self.life, Life::Closing(_)) {
            // It reads nothing more: the rest of what the client has announced must not hold up the end.
            self.ledger.destination_ended(leg.peer().port());
            self.outbox.close(leg.peer(), CloseCause::SessionOver);
            return;
        }
        if let SourceEnd::Torn { to } = end {
            if to == PeerId::CLIENT.port() {
                self.end(now, CloseCause::UpstreamLost(leg.peer()), None);
                return;
            }
        }
        if self.goes_on_without(now, leg, &CloseCause::UpstreamLost(leg.peer())) {
            return;
        }
        match &self.leg(leg).phase {
            Phase::Serving(serving) if serving.was_terminated() => {
                self.end(now, CloseCause::ClientLeft, None);
            }
            Phase::Serving(_) if leg != self.writer() => {
                let cut = match end {
                    SourceEnd::RolledBack { to: Some(_), .. } => Cut::Reply,
                    SourceEnd::RolledBack { to: None, .. }
                    | SourceEnd::Whole
                    | SourceEnd::Torn { .. } => Cut::None,
                };
                self.leg_lost(now, leg, CloseCause::UpstreamLost(leg.peer()), cut)
            }
            Phase::Serving(serving) => {
                let (cause, tell) = if self.is_relay_only() {
                    (self.whole_is_over(), None)
                } else if serving.said_fatal() {
                    (CloseCause::UpstreamEnded(leg.peer()), None)
                } else {
                    let tell = self.writer_is_lost();
                    (CloseCause::UpstreamLost(leg.peer()), Some(tell))
                };
                // It reads nothing more: what the client still announced must not hold up the end.
                self.ledger.destination_ended(leg.peer().port());
                self.end(now, cause, tell);
            }
            Phase::Absent | Phase::Closing => {
                self.outbox.close(leg.peer(), CloseCause::SessionOver)
            }
            Phase::Opaque(passing) => {
                let passing = *passing;
                self.opaque_ended(now, passing);
            }
            Phase::Relaying(_) if self.client.was_refused() => {
                self.end(now, CloseCause::UpstreamEnded(leg.peer()), None);
            }
            Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Relaying(_)
            | Phase::Replaying(_) => {
                let why = "the server closed the connection during the login";
                self.leg_unreachable(now, leg, why.to_owned());
            }
        }
    }

    /// An upstream that the session can do without is gone.
    pub(super) fn leg_lost(&mut self, now: Instant, leg: LegId, cause: CloseCause, cut: Cut) {
        match self.duty(leg) {
            Duty::Reader => self.reader_lost(now, cause, cut),
            Duty::Spare if self.target_lost(now, leg, cause.to_string()) => {}
            Duty::Writer | Duty::Spare => self.leg_down(now, leg, cause),
        }
    }

    /// The reader is gone: what it owed is answered with errors, and the session goes on with the writer.
    pub(super) fn reader_lost(&mut self, now: Instant, cause: CloseCause, cut: Cut) {
        if let Some(failed_requests) = self.reader_gone(now, cause, cut) {
            self.notify(Event::ReaderLost { failed_requests });
        }
    }

    /// The same, and nobody is told. How many requests were answered with errors; `None` if it did not serve.
    pub(super) fn reader_gone(
        &mut self,
        now: Instant,
        cause: CloseCause,
        cut: Cut,
    ) -> Option<usize> {
        let leg = self.reader();
        self.lose_trial(leg);
        let Some(mut serving) = self.leg_mut(leg).take_serving() else {
            self.leg_down(now, leg, cause);
            return None;
        };
        let skips = serving.pipeline.is_skipping();
        let owed = serving.pipeline.abandon();
        self.leg_down(now, leg, cause);
        let first = lost_by(cut, serving.newest, &owed);
        let tells = skips || first == Lost::Reply || owed.iter().any(fails_when_lost);
        let was = self.status_there(serving.status);
        self.reader_transaction_lost(now, tells);
        let failed = match self.is_refusing(leg) {
            true => self.forget_refused(leg, owed),
            false => self.answer_for_the_lost(owed, skips, first, was),
        };
        self.refusal_is_over(leg);
        self.memory.statements.leg_lost(leg.index());
        let batch_too = matches!(self.requests.batch, Batch::Broken(_));
        self.requests_lost(leg, batch_too);
        Some(failed)
    }

    /// Gives the client, for each request that a lost reader owed, what a server gives for a failed one. What such a
    /// server does before a request can fail has happened: the unnamed statement is gone. `was` is the status that the
    /// reader would have told, if it is known.
    fn answer_for_the_lost(
        &mut self,
        owed: Vec<Owed<Note>>,
        skips: bool,
        first: Lost,
        was: Option<TransactionStatus>,
    ) -> usize {
        let mut failed: usize = 0;
        let mut skipping = skips;
        match first {
            Lost::Nothing => {}
            Lost::Reply if skipping => {}
            Lost::Reply => {
                failed = 1;
                self.tell_reader_lost();
                skipping = true;
            }
        }
        let mut stands = was.filter(|_| !skipping);
        for item in owed {
            let fails = fails_when_lost(&item) && !skipping;
            stands = stands.filter(|_| item.kind == Kind::Sync);
            if fails {
                failed = failed.saturating_add(1);
                self.tell_reader_lost();
            }
            match item.kind {
                Kind::Sync if item.owner == Owner::Client => {
                    self.tell_ready_as(stands.unwrap_or(self.status_of_ours()));
                    skipping = false;
                }
                Kind::Query | Kind::FunctionCall if fails => self.tell_ready(),
                Kind::Query if item.owner == Owner::Client && item.note.is_complete() => {
                    self.tell_ready();
                }
                Kind::Query | Kind::FunctionCall | Kind::Sync | Kind::CopyEnd => {}
                Kind::Parse
                | Kind::Bind
                | Kind::DescribeStatement
                | Kind::DescribePortal
                | Kind::Execute
                | Kind::Close
                | Kind::Refused
                | Kind::Fence => skipping |= fails,
            }
            // A Close drops nothing before it can fail.
            let reached = match fails && item.kind != Kind::Close {
                true => Reached::Server,
                false => Reached::Nobody,
            };
            self.undone(item.note, reached);
        }
        self.requests.reader_lost(self.roles, skipping);
        failed.saturating_add(usize::from(self.requests.owes_an_error()))
    }

    /// Queues bytes of ours. A queue without room ends the session: what is lost would leave a hole in the
    /// peer's stream.
    pub(super) fn push(&mut self, to: PeerId, bytes: &[u8]) {
        self.tally.made(to, bytes);
        if self.ledger.push(to.port(), bytes).is_err() {
            self.abort(CloseCause::Misuse("a queue of our own messages is full"));
        }
    }

    pub(super) fn timed_out(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Login => {
                // What PostgreSQL writes to its log alone (`ProcessInterrupts` of `postgres.c`).
                let why = "canceling authentication due to timeout";
                let tell = Tell::fatal(sqlstate::QUERY_CANCELED, why);
                self.end(now, CloseCause::Timeout(timer), Some(tell));
            }
            Timer::Restore(peer) => self.restore_timed_out(now, peer),
            Timer::Dial(peer) | Timer::Replay(peer) => {
                if let Some(leg) = LegId::of(peer) {
                    self.leg_timed_out(now, leg, timer);
                }
            }
            Timer::Redial(peer) => self.dial_again(now, peer),
            Timer::Cancel(peer) => self.cancel_is_over(now, peer),
            Timer::Retire(peer) => self.outbox.drop_now(peer, CloseCause::Timeout(timer)),
            Timer::Shutdown => self.part(now),
            Timer::Move => self.move_timed_out(now),
            Timer::Drain => {
                if !matches!(self.life, Life::Live | Life::Finishing) {
                    self.outbox.hurry();
                } else if !self.cancels_make_way(now) {
                    self.end(now, CloseCause::ClientLeft, None);
                }
            }
        }
    }

    /// A reader that does not take over the session is of no use to it.
    fn restore_timed_out(&mut self, now: Instant, peer: PeerId) {
        if self.is_cancelling(peer) {
            // It may not even have been asked.
            let timeout = self.config.timeouts.replay;
            return self.timers.start(now, timeout, Timer::Restore(peer));
        }
        if let Some(leg) = LegId::of(peer) {
            self.leg_mut(leg).answers = Answers::Late;
            let why = format!("{} took too long", Timer::Restore(peer));
            self.misbehaved(now, leg, why);
        }
    }

    /// Ends the session: the client is told, upstreams are taken leave of, and every connection closes behind what
    /// is already on its way.
    pub(super) fn end(&mut self, now: Instant, cause: CloseCause, tell: Option<Tell>) {
        if matches!(self.life, Life::Closing(_) | Life::Dead(_)) {
            return;
        }
        self.tally.session_ended(&cause);
        self.life = Life::Closing(cause.clone());
        self.move_ends_with(now, &cause);
        self.cancels_are_over(now);
        self.timers.clear();
        self.timers
            .start(now, self.config.timeouts.drain, Timer::Drain);
        if matches!(self.client.phase, ClientPhase::Securing(..)) {
            // It reads a handshake by now, or will when the answer to its request has come.
            self.ledger.destination_ended(PeerId::CLIENT.port());
        }
        if let Some(tell) = tell.filter(|_| self.may_tell()) {
            self.tell(&tell);
        }
        self.stop_what_runs();
        for leg in LegId::ALL {
            self.take_leave(leg);
        }
        self.client.over();
        self.outbox.close(PeerId::CLIENT, cause);
    }

    /// Ends the session without another byte.
    pub(super) fn abort(&mut self, cause: CloseCause) {
        if matches!(self.life, Life::Dead(_)) {
            return;
        }
        self.timers.clear();
        for leg in LegId::ALL {
            if !matches!(self.leg(leg).phase, Phase::Absent) {
                self.leg_mut(leg).phase = Phase::Closing;
                self.outbox.drop_now(leg.peer(), CloseCause::SessionOver);
            }
        }
        if !self.client.is_closed() {
            self.client.over();
            self.outbox.drop_now(PeerId::CLIENT, cause.clone());
        }
        if matches!(self.life, Life::Live | Life::Finishing) {
            self.tally.session_ended(&cause);
        }
        self.life = Life::Closing(cause.clone());
        if let Some(began) = self.move_began() {
            self.move_ends_with(began, &cause);
        }
    }

    /// Closes an upstream's connection, with a Terminate where the server listens for one.
    pub(super) fn take_leave(&mut self, leg: LegId) {
        let open = match &self.leg(leg).phase {
            Phase::Absent => false,
            Phase::Serving(serving) => {
                // Where frames are not looked into, whose end would a Terminate of ours be put behind?
                let idle = serving.pipeline.is_settled()
                    && !serving.said_fatal()
                    && !serving.was_terminated()
                    && !self.is_relay_only();
                if idle && self.leg(leg).stream == Stream::Open {
                    self.push(leg.peer(), &TERMINATE);
                }
                true
            }
            Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Closing => true,
        };
        if open {
            self.leg_mut(leg).phase = Phase::Closing;
            self.outbox.close(leg.peer(), CloseCause::SessionOver);
        }
    }

    /// A connection was told to close: nothing of it counts any more.
    pub(super) fn closed(&mut self, peer: PeerId) {
        let port = peer.port();
        self.tally.closed(peer);
        self.ledger.destination_ended(port);
        let torn = self.ledger.source_ended(port, 0);
        let _ = self.ledger.reset(port);
        match LegId::of(peer) {
            None => self.client.closed(),
            Some(leg) => {
                self.timers.stop(Timer::Retire(peer));
                self.timers.stop(Timer::Cancel(peer));
                self.leg_mut(leg).is_gone();
            }
        }
        self.redial_closed(peer);
        if matches!(torn, SourceEnd::Torn { to } if to == PeerId::CLIENT.port()) {
            self.abort(CloseCause::UpstreamLost(peer));
        }
        let all = self.client.is_closed()
            && LegId::ALL
                .into_iter()
                .all(|leg| matches!(self.leg(leg).phase, Phase::Absent));
        if all {
            if let Life::Closing(cause) = &self.life {
                self.life = Life::Dead(cause.clone());
                self.timers.clear();
            }
        }
    }

    pub(super) fn misbehaved(&mut self, now: Instant, leg: LegId, what: String) {
        let to = self.leg(leg).to;
        self.notify(Event::UpstreamFailed {
            peer: leg.peer(),
            to,
            why: what,
        });
        match self.duty(leg) {
            Duty::Reader | Duty::Spare => {
                self.leg_lost(now, leg, CloseCause::UpstreamFault(leg.peer()), Cut::None)
            }
            Duty::Writer
                if self.goes_on_without(now, leg, &CloseCause::UpstreamFault(leg.peer())) => {}
            Duty::Writer => {
                let tell = self.writer_broke_the_protocol();
                self.end(now, CloseCause::UpstreamFault(leg.peer()), Some(tell));
            }
        }
    }

    /// Nothing more is read of an upstream whose connection is of no use; it may be dialled again later.
    pub(super) fn leg_down(&mut self, now: Instant, leg: LegId, cause: CloseCause) {
        let retry = match self.duty(leg) {
            Duty::Reader => self.reader_failed_at(now),
            Duty::Writer | Duty::Spare => now.checked_add(self.config.timeouts.reader_retry),
        };
        let peer = leg.peer();
        self.timers.stop(Timer::Dial(peer));
        self.timers.stop(Timer::Replay(peer));
        self.timers.stop(Timer::Restore(peer));
        // It reads nothing more: what waits for it must not hold up what the client says next.
        self.ledger.destination_ended(peer.port());
        if self.leg(leg).stream == Stream::Open {
            let drain = self.config.timeouts.drain;
            self.timers.start(now, drain, Timer::Retire(peer));
        }
        self.forget_seen(leg);
        let leg = self.leg_mut(leg);
        leg.retry_at = retry;
        leg.attempt = Attempt::First;
        leg.phase = Phase::Closing;
        self.outbox.close(peer, cause);
    }

    /// Asks the driver to do something at once.
    pub(super) fn act(&mut self, action: Action) {
        self.outbox.push(action);
    }
}
