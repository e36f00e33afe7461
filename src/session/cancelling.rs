//! What waits while a cancel is under way.
//!
//! A CancelRequest names a connection, not a statement: it hits whatever runs there when it comes. So nothing more is written
//! to an upstream, of the client's or of our own, from the moment that one is sent to the moment that the server closes its
//! connection, which it does when the signal is sent (protocol chapter, "Canceling Requests in Progress").

use std::time::Instant;

use super::leg::LegId;
use super::{CancelTarget, PeerId, Session, Timer};
use crate::route::Route;

impl<R: Route> Session<R> {
    /// Says that a CancelRequest for this target is sent now: its connection stands, and the next bytes on it are the request.
    /// Whether it may be: `false` when it would hit something else than it was meant for, or nothing
    /// ([`is_current`](Session::is_current)); then do not send it.
    ///
    /// After `true` the upstream gets nothing until [`cancel_ended`](Session::cancel_ended), but no longer than
    /// [`Timeouts::cancel`](super::Timeouts::cancel): the request runs on, its answer passes, and what would come next waits,
    /// statements of our own included. What was sent before may be hit: requests that the client has sent behind the one that
    /// runs. Several may be under way at once.
    #[must_use]
    pub fn cancel_begins(&mut self, now: Instant, target: &CancelTarget) -> bool {
        let Some(id) = LegId::of(target.peer).filter(|_| self.is_current(target)) else {
            return false;
        };
        let leg = self.leg_mut(id);
        let before = leg.cancels.take().map_or(0, |(_, count)| count);
        leg.cancels = Some((target.key.clone(), before.saturating_add(1)));
        let timeout = self.config.timeouts.cancel;
        self.timers.start(now, timeout, Timer::Cancel(target.peer));
        true
    }

    /// Says that the server has closed the connection of a cancel for which [`cancel_begins`](Session::cancel_begins) was
    /// `true`, or that the request was not sent after all.
    ///
    /// One whose connection broke in another way, or was given up, may still come: leave its end to the deadline.
    pub fn cancel_ended(&mut self, now: Instant, target: &CancelTarget) {
        let Some(id) = LegId::of(target.peer) else {
            return;
        };
        // Of a connection that has taken the place of the one that was meant this says nothing.
        match &mut self.leg_mut(id).cancels {
            Some((key, count)) if *key == target.key && *count > 1 => {
                *count = count.saturating_sub(1);
            }
            Some((key, _)) if *key == target.key => self.cancels_are_over(target.peer),
            Some(_) | None => {}
        }
        self.couple(now);
    }

    /// Whether a cancel is under way to this upstream. A pooler must not give its connection to anybody else meanwhile, nor
    /// after [`Event::TimedOut`](super::Event::TimedOut) with [`Timer::Cancel`]: nobody knows whether it is still to come.
    pub fn is_cancelling(&self, peer: PeerId) -> bool {
        LegId::of(peer).is_some_and(|id| self.leg(id).cancels.is_some())
    }

    /// Nothing that is under way concerns this upstream any more, or it has had its time.
    pub(super) fn cancels_are_over(&mut self, peer: PeerId) {
        self.timers.stop(Timer::Cancel(peer));
        if let Some(id) = LegId::of(peer) {
            self.leg_mut(id).cancels = None;
        }
    }
}
