//! Where a cancel goes, and what waits while it is under way.
//!
//! A CancelRequest names a connection, not a statement: it hits whatever runs there when it comes. So nothing more is written
//! to an upstream, of the client's or of our own, from the moment that one is sent to the moment that the server closes its
//! connection, which it does when the signal is sent (protocol chapter, "Canceling Requests in Progress"). And none is sent for
//! a request that the upstream has yet to get: it would hit nothing, and the request would run on.

use std::time::Instant;

use super::leg::LegId;
use super::segment::Seen;
use super::{CancelTarget, PeerId, Session, Timer};
use crate::route::Route;

/// A cancel that has begun ([`Session::cancel_begins`]), to say of it that it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelTicket {
    peer: PeerId,
    number: u64,
    epoch: u64,
    /// Where what it is meant for ends in what the upstream is sent, in bytes.
    until: u64,
    /// How many bytes of what it is meant for the upstream had yet to get, of those that are known.
    missing: u64,
}

/// What remains to be done for whoever cancels ([`Session::cancel_ended`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelEnd {
    /// Nothing.
    Done,
    /// The request is unanswered, and this cancel may have hit nothing: the upstream was still reading its batch, or the request
    /// has gone to another upstream meanwhile. Ask for the [`cancel_target`](Session::cancel_target) again when
    /// [`is_holding`](Session::is_holding) is `false`, and if it has the same epoch, cancel that.
    Again,
}

/// A cancel that is under way to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnderWay {
    number: u64,
    /// Where what it is meant for ends in what the upstream is sent, in bytes.
    pub(super) until: u64,
}

impl<R: Route> Session<R> {
    /// Where the client's current request runs; `None` when nothing of the client is in flight, or it has yet to be written, or
    /// another cancel is under way there ([`is_holding`](Self::is_holding)). A replication session, which passes unread, always
    /// names the writer: a server ignores a cancel when it runs nothing.
    pub fn cancel_target(&self) -> Option<CancelTarget> {
        LegId::ALL.into_iter().find_map(|id| {
            let serving = self.leg(id).serving()?;
            let runs = serving.pipeline.has_client() || self.is_relay_only();
            let sent = runs && !self.keeps_cancel_waiting(id) && self.cancels_begun.is_some();
            self.cancel_target_at(id).filter(|_| sent)
        })
    }

    /// Which of the client's requests a cancel means that comes now: [`CancelTarget::epoch`] of its target.
    pub fn cancel_epoch(&self) -> u64 {
        self.requests.answered
    }

    /// Whether a cancel for this target would still hit what it was meant for. Between the question and the cancel's arrival the
    /// request may end and the next one begin: [`cancel_begins`](Self::cancel_begins) keeps that from happening.
    pub fn is_current(&self, target: &CancelTarget) -> bool {
        self.cancel_target()
            .is_some_and(|now| now.peer == target.peer && now.epoch == target.epoch)
    }

    /// Whether the client's request waits for its upstream to get ready, for a move, for a cancel's end or to be written, and
    /// nothing else is in flight. A cancel that comes meanwhile means this request: its
    /// [`cancel_target`](Self::cancel_target) is known when this has ended, if it has the
    /// [`cancel_epoch`](Self::cancel_epoch) of before.
    ///
    /// It may last until the client has sent the rest of its request, which may do nothing before its cancel has been taken: psql
    /// cancels in a signal handler. So take it, close its connection, and cancel when this has ended.
    pub fn is_holding(&self) -> bool {
        let chosen = self.requests.look.seen != Seen::On
            || self.requests.decided.is_some()
            || self.was_refused()
            || self.keeps_request();
        let waits = LegId::ALL
            .into_iter()
            .any(|id| self.keeps_cancel_waiting(id));
        self.cancels_begun.is_some() && (waits || chosen && self.nothing_in_flight())
    }

    /// Says that a CancelRequest for this target is sent now: its connection stands, and the next bytes on it are the request.
    /// The ticket is for [`cancel_ended`](Session::cancel_ended). `None` when it would hit something else than it was meant for,
    /// or nothing ([`is_current`](Session::is_current)), when another is under way to this upstream, or when the client
    /// has left and its time is over: then do not send it; ask
    /// for the [`cancel_target`](Session::cancel_target) again when [`is_holding`](Session::is_holding) is `false`.
    ///
    /// After a ticket the upstream gets nothing until [`cancel_ended`](Session::cancel_ended) but the rest of the batch up to
    /// what runs, and waits no longer than [`Timeouts::cancel`](super::Timeouts::cancel): the request runs on, its answer
    /// passes, and what would come next waits, statements of our own included. What was sent before may be hit: requests that
    /// the client has sent behind the one that runs.
    #[must_use]
    pub fn cancel_begins(&mut self, now: Instant, target: &CancelTarget) -> Option<CancelTicket> {
        let id = LegId::of(target.peer).filter(|_| self.is_current(target))?;
        let number = self.cancels_begun?.checked_add(1)?;
        self.cancels_begun = Some(number);
        let leg = self.leg_mut(id);
        let serving = leg.serving();
        let until = serving.and_then(|serving| serving.pipeline.client_unit_end());
        let until = until.map_or(leg.written, |end| end.max(leg.written));
        let missing = until.saturating_sub(leg.written);
        leg.cancel = Some(UnderWay { number, until });
        let timeout = self.config.timeouts.cancel;
        self.timers.start(now, timeout, Timer::Cancel(target.peer));
        let peer = target.peer;
        Some(CancelTicket {
            peer,
            number,
            epoch: target.epoch,
            until,
            missing,
        })
    }

    /// Says that the server has closed the connection of this cancel, or that the request was not sent after all. Of a cancel
    /// whose time is over, or whose upstream has gone, this says nothing of those behind it.
    ///
    /// One whose connection broke in another way, or was given up, may still come: leave its end to the deadline.
    #[must_use = "the request may have to be cancelled again"]
    pub fn cancel_ended(&mut self, now: Instant, ticket: CancelTicket) -> CancelEnd {
        let Some(id) = LegId::of(ticket.peer) else {
            return CancelEnd::Done;
        };
        let end = self.cancel_end(id, ticket);
        let under_way = self.leg(id).cancel;
        if let Some(under_way) = under_way.filter(|it| it.number == ticket.number) {
            self.cancel_is_over(now, ticket.peer);
            self.leg_mut(id).cancelled_within = under_way.until;
        }
        self.couple(now);
        end
    }

    fn cancel_end(&self, id: LegId, ticket: CancelTicket) -> CancelEnd {
        let serving = self.leg(id).serving();
        let oldest = serving.and_then(|serving| serving.pipeline.client_end());
        let runs_there = oldest.is_some_and(|end| end <= ticket.until);
        let came_early = ticket.missing > 0 && runs_there;
        let goes_on = self.is_refusing(id) || self.requests.left == Some((id, ticket.epoch));
        match ticket.epoch == self.requests.answered && (came_early || goes_on) {
            true => CancelEnd::Again,
            false => CancelEnd::Done,
        }
    }

    /// Whether a cancel is under way to this upstream. A pooler must not give its connection to anybody else meanwhile, nor
    /// after [`Event::TimedOut`](super::Event::TimedOut) with [`Timer::Cancel`]: nobody knows whether it is still to come. The
    /// session itself uses the connection again then.
    pub fn is_cancelling(&self, peer: PeerId) -> bool {
        LegId::of(peer).is_some_and(|id| self.leg(id).cancel.is_some())
    }

    /// Nothing that is under way concerns this upstream any more, or it has had its time.
    pub(super) fn cancel_is_over(&mut self, now: Instant, peer: PeerId) {
        let under_way = LegId::of(peer).and_then(|id| self.leg_mut(id).cancel.take());
        if under_way.is_none() {
            return;
        }
        self.timers.stop(Timer::Cancel(peer));
        // What it has to answer it may get only now.
        let asked = Timer::Restore(peer);
        if self.timers.runs(asked) {
            self.timers.start(now, self.config.timeouts.replay, asked);
        }
    }

    /// The client has left, and what is left has had its time: what waited for a cancel gets it once more, and no further cancel
    /// takes it away. Whether anything waited.
    pub(super) fn cancels_make_way(&mut self, now: Instant) -> bool {
        self.cancels_begun = None;
        let waited = self.cancels_are_over(now);
        if waited {
            let timeout = self.config.timeouts.drain;
            self.timers.start(now, timeout, Timer::Drain);
        }
        waited
    }

    /// The client has left, or the session ends: what is left is sent, whatever may hit it. Whether anything waited.
    pub(super) fn cancels_are_over(&mut self, now: Instant) -> bool {
        let mut waited = false;
        for id in LegId::ALL {
            let peer = id.peer();
            waited |= self.is_cancelling(peer) && !self.ledger.is_drained_to(peer.port());
            self.cancel_is_over(now, peer);
        }
        waited
    }

    /// How many bytes an upstream may be sent now.
    pub(super) fn room_beside_a_cancel(&self, to: PeerId) -> u64 {
        let Some(leg) = LegId::of(to).map(|id| self.leg(id)) else {
            return u64::MAX;
        };
        match leg.cancel {
            Some(under_way) => under_way.until.saturating_sub(leg.written),
            None => u64::MAX,
        }
    }

    /// Whether a cancel for what the client has in flight at an upstream would come too early: before the upstream has the whole
    /// of the request, before the cancel that is under way has ended, or before a request that is refused there runs elsewhere.
    pub(super) fn keeps_cancel_waiting(&self, id: LegId) -> bool {
        let leg = self.leg(id);
        let Some(serving) = leg.serving() else {
            return false;
        };
        if self.is_refusing(id) {
            return serving.pipeline.has_client();
        }
        match serving.pipeline.client_end() {
            // A first cancel may end a Parse that waits for a lock while the server does not read the rest; a second one has
            // nothing to hit before that rest.
            Some(end) => leg.cancel.is_some() || end.max(leg.cancelled_within) > leg.written,
            None => leg.cancel.is_some() && self.is_relay_only(),
        }
    }
}
