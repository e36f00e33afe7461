//! The deadlines of a session.

use std::time::{Duration, Instant};

use super::PeerId;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timer {
    /// The client has to be logged in; progress does not extend it.
    Login,
    /// A connection to this upstream has to stand, TLS included.
    Dial(PeerId),
    /// The login to this upstream has to be done.
    Replay(PeerId),
    /// This upstream has to take over the session's settings, or to end its part of a batch.
    Restore(PeerId),
    /// What a server of no further use still owes the client has to arrive before its connection is closed.
    Retire(PeerId),
    /// This upstream is dialled again ([`WriterRetry`](super::WriterRetry)).
    Redial(PeerId),
    /// A cancel that is under way to this upstream has to be over ([`Session::cancel_begins`](super::Session::cancel_begins)).
    Cancel(PeerId),
    /// Requests in flight have to be answered before a shutdown.
    Shutdown,
    /// What is left to send has to be sent before the connections are closed.
    Drain,
    /// The phase of the session's move to another server has to be done.
    Move,
}

impl std::fmt::Display for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Timer::Login => f.write_str("the client's login"),
            Timer::Dial(peer) => write!(f, "the connection to the {peer}"),
            Timer::Replay(peer) => write!(f, "the login to the {peer}"),
            Timer::Restore(peer) => write!(f, "the {peer} to take over the session"),
            Timer::Retire(peer) => write!(f, "the rest of what the {peer} had begun to send"),
            Timer::Redial(peer) => write!(f, "the next try of the {peer}"),
            Timer::Cancel(peer) => write!(f, "a cancel at the {peer}"),
            Timer::Shutdown => f.write_str("requests in flight at a shutdown"),
            Timer::Drain => f.write_str("the last bytes"),
            Timer::Move => f.write_str("the move to another server"),
        }
    }
}

/// One slot per timer of each peer that can have one.
const SLOTS: usize = 4 + 6 * PeerId::COUNT;

/// The deadlines that run.
#[derive(Debug)]
pub(super) struct Timers {
    slots: [Option<(Instant, Timer)>; SLOTS],
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            slots: [None; SLOTS],
        }
    }
}

impl Timers {
    /// Starts a timer, or restarts it. A deadline beyond what the clock can say never comes.
    pub(super) fn start(&mut self, now: Instant, after: Duration, timer: Timer) {
        if let Some(slot) = self.slots.get_mut(slot(timer)) {
            *slot = now.checked_add(after).map(|at| (at, timer));
        }
    }

    /// Starts a timer that ends at a moment, or restarts it.
    pub(super) fn start_until(&mut self, at: Instant, timer: Timer) {
        if let Some(slot) = self.slots.get_mut(slot(timer)) {
            *slot = Some((at, timer));
        }
    }

    /// Stops a timer.
    pub(super) fn stop(&mut self, timer: Timer) {
        if let Some(slot) = self.slots.get_mut(slot(timer)) {
            *slot = None;
        }
    }

    /// Stops every timer.
    pub(super) fn clear(&mut self) {
        self.slots = [None; SLOTS];
    }

    /// Whether a timer runs.
    pub(super) fn runs(&self, timer: Timer) -> bool {
        self.slots.get(slot(timer)).is_some_and(Option::is_some)
    }

    /// The deadline that comes first.
    pub(super) fn next(&self) -> Option<(Instant, Timer)> {
        self.slots
            .iter()
            .flatten()
            .copied()
            .min_by_key(|(at, _)| *at)
    }

    /// Takes a deadline that has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}

fn slot(timer: Timer) -> usize {
    match timer {
        Timer::Login => 0,
        Timer::Shutdown => 1,
        Timer::Drain => 2,
        Timer::Move => 3,
        Timer::Dial(peer) => of_peer(0, peer),
        Timer::Replay(peer) => of_peer(1, peer),
        Timer::Retire(peer) => of_peer(2, peer),
        Timer::Restore(peer) => of_peer(3, peer),
        Timer::Redial(peer) => of_peer(4, peer),
        Timer::Cancel(peer) => of_peer(5, peer),
    }
}

fn of_peer(kind: usize, peer: PeerId) -> usize {
    kind.saturating_mul(PeerId::COUNT)
        .saturating_add(peer.index())
        .saturating_add(4)
}
