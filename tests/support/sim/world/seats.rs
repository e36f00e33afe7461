//! The session, whose peers go by what they are for: the writer is the writer before and behind a move, whatever
//! connection it is. What was a server's before it took over, and what is one's that is left, is that of another seat.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use pgturnout::auth::ExternalAnswer;
use pgturnout::migrate::{CannotStart, TransferCounter};
use pgturnout::route::{self, Intent, Route, RouteContext, Target};
use pgturnout::session::{
    Action, CancelTarget, CancelTicket, CloseCause, ConnectFailed, Demand, Event, Lifecycle,
    MoveOrder, MoveTarget, PeerId, Session, Timer, TlsFailed, TlsInfo, Transmit,
};

use super::super::setup::Setup;

/// Which of the session's peers has which seat.
#[derive(Clone, Copy)]
struct Seats([PeerId; PeerId::COUNT]);

impl Seats {
    fn id(self, seat: PeerId) -> PeerId {
        self.0[seat.index()]
    }

    fn seat(self, id: PeerId) -> PeerId {
        let at = self.0.iter().position(|other| *other == id);
        PeerId::ALL[at.expect("every peer has a seat")]
    }

    fn change(&mut self, one: PeerId, other: PeerId) {
        self.0.swap(one.index(), other.index());
    }

    fn timer(self, timer: Timer) -> Timer {
        match timer {
            Timer::Dial(peer) => Timer::Dial(self.seat(peer)),
            Timer::Replay(peer) => Timer::Replay(self.seat(peer)),
            Timer::Restore(peer) => Timer::Restore(self.seat(peer)),
            Timer::Retire(peer) => Timer::Retire(self.seat(peer)),
            Timer::Redial(peer) => Timer::Redial(self.seat(peer)),
            Timer::Cancel(peer) => Timer::Cancel(self.seat(peer)),
            other => other,
        }
    }

    fn cause(self, cause: CloseCause) -> CloseCause {
        match cause {
            CloseCause::UpstreamLost(peer) => CloseCause::UpstreamLost(self.seat(peer)),
            CloseCause::UpstreamFault(peer) => CloseCause::UpstreamFault(self.seat(peer)),
            CloseCause::LoginFailed(peer) => CloseCause::LoginFailed(self.seat(peer)),
            CloseCause::UpstreamEnded(peer) => CloseCause::UpstreamEnded(self.seat(peer)),
            CloseCause::Promoted(peer) => CloseCause::Promoted(self.seat(peer)),
            CloseCause::ReaderExcluded(peer) => CloseCause::ReaderExcluded(self.seat(peer)),
            CloseCause::Timeout(timer) => CloseCause::Timeout(self.timer(timer)),
            other => other,
        }
    }

    fn event(self, mut event: Event) -> Event {
        match &mut event {
            Event::UpstreamReady { peer, .. }
            | Event::TlsAfterRefusal { peer, .. }
            | Event::UpstreamFailed { peer, .. }
            | Event::Routed { peer, .. }
            | Event::StatementDenied { peer, .. }
            | Event::UnknownMessage { peer, .. }
            | Event::ReaderRefused { peer, .. }
            | Event::Statement { peer, .. }
            | Event::RequestBegan { peer, .. }
            | Event::ResponseBegan { peer, .. }
            | Event::ResponseEnded { peer, .. } => *peer = self.seat(*peer),
            Event::TimedOut(timer) => *timer = self.timer(*timer),
            _ => {}
        }
        event
    }
}

/// Where the caller sends requests: as the library does, or every third read to the writer all the same.
#[derive(Debug)]
pub(crate) struct Way {
    whims: bool,
    reads: usize,
}

impl Way {
    pub(super) fn new(setup: &Setup) -> Way {
        Way {
            whims: setup.fittings.whims,
            reads: 0,
        }
    }
}

impl Route for Way {
    fn route(&mut self, intent: &Intent, cx: &RouteContext<'_>) -> Target {
        self.reads += usize::from(intent.class.is_read());
        match self.whims && self.reads % 3 == 0 {
            true => Target::Writer,
            false => route::Split.route(intent, cx),
        }
    }
}

/// A session and who sits where in it.
pub(crate) struct Seated {
    session: Session<Way>,
    seats: Seats,
    /// The same up to the events that were heard of.
    announced: Seats,
    /// What the move that is under way, or was last, is for, and who was dialled for it.
    target: Option<MoveTarget>,
    dialled: Option<PeerId>,
    /// How many moves have succeeded that were looked at.
    moved: u64,
}

/// What has no peer is the session's own.
impl Deref for Seated {
    type Target = Session<Way>;

    fn deref(&self) -> &Self::Target {
        &self.session
    }
}

impl DerefMut for Seated {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.session
    }
}

impl Seated {
    pub(crate) fn new(session: Session<Way>) -> Seated {
        Seated {
            session,
            seats: Seats(PeerId::ALL),
            announced: Seats(PeerId::ALL),
            target: None,
            dialled: None,
            moved: 0,
        }
    }

    /// Whether the writer is another one since this was last asked. Who was the writer has its seat from now on.
    pub(super) fn settle(&mut self) -> Option<PeerId> {
        let moved = self.session.transfers().get(TransferCounter::Success);
        if std::mem::replace(&mut self.moved, moved) == moved {
            return None;
        }
        match self.target? {
            MoveTarget::Reader(_) => None,
            MoveTarget::Writer(_) | MoveTarget::Both { .. } => {
                let seat = self.seats.seat(self.dialled?);
                self.seats.change(PeerId::WRITER, seat);
                Some(seat)
            }
        }
    }

    pub(crate) fn migrate(&mut self, now: Instant, order: MoveOrder) -> Result<(), CannotStart> {
        let target = order.target;
        self.session.migrate(now, order)?;
        self.target = Some(target);
        Ok(())
    }

    pub(crate) fn handle_input(&mut self, now: Instant, from: PeerId, buffered: &[u8]) -> Demand {
        self.session
            .handle_input(now, self.seats.id(from), buffered)
    }

    pub(crate) fn handle_eof(&mut self, now: Instant, from: PeerId) {
        self.session.handle_eof(now, self.seats.id(from));
    }

    pub(crate) fn handle_reset(&mut self, now: Instant, peer: PeerId) {
        self.session.handle_reset(now, self.seats.id(peer));
    }

    pub(crate) fn handle_connected(
        &mut self,
        now: Instant,
        peer: PeerId,
        result: Result<(), ConnectFailed>,
    ) {
        self.session
            .handle_connected(now, self.seats.id(peer), result);
    }

    pub(crate) fn handle_secured(
        &mut self,
        now: Instant,
        peer: PeerId,
        result: Result<TlsInfo, TlsFailed>,
    ) {
        self.session
            .handle_secured(now, self.seats.id(peer), result);
    }

    pub(crate) fn handle_authentication(
        &mut self,
        now: Instant,
        peer: PeerId,
        question: u64,
        answer: Result<ExternalAnswer<'_>, String>,
    ) {
        let peer = self.seats.id(peer);
        self.session
            .handle_authentication(now, peer, question, answer);
    }

    pub(crate) fn poll_transmit(&self, to: PeerId) -> Option<Transmit<'_>> {
        let offer = self.session.poll_transmit(self.seats.id(to))?;
        Some(match offer {
            Transmit::Splice { from, max } => Transmit::Splice {
                from: self.seats.seat(from),
                max,
            },
            owned @ Transmit::Owned(_) => owned,
        })
    }

    pub(crate) fn transmitted(&mut self, now: Instant, to: PeerId, n: usize) {
        self.session.transmitted(now, self.seats.id(to), n);
    }

    pub(crate) fn take_discard(&mut self, from: PeerId, available: usize) -> usize {
        self.session.take_discard(self.seats.id(from), available)
    }

    pub(crate) fn wants_read(&self, peer: PeerId) -> bool {
        self.session.wants_read(self.seats.id(peer))
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let (at, timer) = self.session.poll_timeout()?;
        Some((at, self.seats.timer(timer)))
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        let mut action = self.session.poll_action()?;
        match &mut action {
            Action::Connect { peer, .. } => {
                let seat = self.seats.seat(*peer);
                if !matches!(seat, PeerId::WRITER | PeerId::READER) {
                    self.dialled = Some(*peer);
                }
                *peer = seat;
            }
            Action::StartTls { peer, .. }
            | Action::Finish { peer }
            | Action::Authenticate { peer, .. } => *peer = self.seats.seat(*peer),
            Action::Close { peer, cause } => {
                *peer = self.seats.seat(*peer);
                *cause = self.seats.cause(cause.clone());
            }
            Action::Notify(event) => {
                if matches!(event, Event::Moved { .. }) {
                    self.announced = self.seats;
                }
                *event = self.announced.event(event.clone());
            }
            _ => {}
        }
        Some(action)
    }

    pub(crate) fn cancel_target(&self) -> Option<CancelTarget> {
        let target = self.session.cancel_target()?;
        Some(CancelTarget {
            peer: self.seats.seat(target.peer),
            ..target
        })
    }

    pub(super) fn cancel_begins(
        &mut self,
        now: Instant,
        target: &CancelTarget,
    ) -> Option<CancelTicket> {
        let target = CancelTarget {
            peer: self.seats.id(target.peer),
            ..target.clone()
        };
        self.session.cancel_begins(now, &target)
    }

    pub(super) fn is_cancelling(&self, seat: PeerId) -> bool {
        self.session.is_cancelling(self.seats.id(seat))
    }

    /// Which seat a connection has now whose news came under the seat that it had then.
    pub(super) fn since(&self, seat: PeerId) -> PeerId {
        self.seats.seat(self.announced.id(seat))
    }

    /// Why the session is over, or about to be.
    pub(crate) fn ended(&self) -> Option<CloseCause> {
        match self.session.lifecycle() {
            Lifecycle::Live => None,
            Lifecycle::Closing(cause) | Lifecycle::Dead(cause) => {
                Some(self.seats.cause(cause.clone()))
            }
        }
    }
}

impl std::fmt::Debug for Seated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.session.fmt(f)
    }
}
