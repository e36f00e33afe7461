//! A session moves to another server: what the caller asks for and is told, and when a move begins and is given up.
//!
//! The phases are [`Migration`]'s. What is asked of the servers meanwhile is in `move_ask`, what follows from the
//! answers in `move_flow`, and how a move ends in `move_end`.

use std::time::{Duration, Instant};

use super::leg::{Duty, LegId, Phase as LegPhase};
use super::move_ask::{Asked, Body};
use super::{Destination, Event, Life, Moves, Session, Timer};
use crate::auth::Parameters;
use crate::migrate::cockroach::{Description, SessionState};
use crate::migrate::postgres::{
    Assignment, Found, Listening, OtherOids, Scope, Sequences, Surrounding, TypeMap,
};
use crate::migrate::{
    Attempt, CannotStart, Carriage, Facts, Migration, Phase, PhaseLimits, Progress, Readiness,
    TransferStats, Transfers, Trust, Unsafe, safe_point,
};
use crate::route::Route;

/// Which servers of a session are to be exchanged, and for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveTarget {
    /// The writer. Is it of another cluster there, its readers serve no reads any more: they do not have what is written
    /// there. Move them, too.
    Writer(Destination),
    /// The reader. It holds no state that is not repeated there anyway: its connection is closed at the next quiet
    /// moment, and the new one is made when it is needed.
    Reader(Destination),
    /// Both, the reader behind the writer.
    Both {
        /// Where the writer is to be.
        writer: Destination,
        /// Where the reader is to be.
        reader: Destination,
    },
}

impl MoveTarget {
    fn writer(self) -> Option<Destination> {
        match self {
            MoveTarget::Writer(writer) | MoveTarget::Both { writer, .. } => Some(writer),
            MoveTarget::Reader(_) => None,
        }
    }

    pub(super) fn reader(self) -> Option<Destination> {
        match self {
            MoveTarget::Reader(reader) | MoveTarget::Both { reader, .. } => Some(reader),
            MoveTarget::Writer(_) => None,
        }
    }
}

/// Something about the new server for which a session would stay, and that is put up with: see [`Surrounding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// It is a standby.
    Standby,
    /// It has not replayed all that the old one had written.
    Behind,
    /// It was left behind when another server was promoted.
    OlderTimeline,
    /// Its database has another name.
    Database,
    /// Its database has another encoding.
    Encoding,
    /// Its database has another locale.
    Locale,
    /// It is of an older major version.
    OlderMajor,
}

impl Accept {
    fn takes(self, surrounding: &Surrounding) -> bool {
        match surrounding {
            Surrounding::Standby => self == Accept::Standby,
            Surrounding::Behind { .. } => self == Accept::Behind,
            Surrounding::OlderTimeline { .. } => self == Accept::OlderTimeline,
            Surrounding::Database => self == Accept::Database,
            Surrounding::Encoding => self == Accept::Encoding,
            Surrounding::Locale => self == Accept::Locale,
            Surrounding::OlderMajor { .. } => self == Accept::OlderMajor,
            Surrounding::NewerMajor { .. } | Surrounding::OtherCluster => true,
        }
    }
}

/// What [`Session::migrate`] is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MoveOrder {
    /// Where to.
    pub target: MoveTarget,
    /// How long it may take.
    pub limits: PhaseLimits,
    /// Whose word counts where the journal doubts what a statement has changed. Between servers of CockroachDB, which say nothing
    /// of a cursor WITH HOLD and lose it, a session that has declared one stays until CLOSE ALL or DISCARD ALL, unless their word
    /// counts.
    pub trust: Trust,
    /// What becomes of LISTEN.
    pub listening: Listening,
    /// What becomes of `currval` and `lastval`.
    pub sequences: Sequences,
    /// What to do about types that have other OIDs there.
    pub other_oids: OtherOids,
    /// What of the new server is put up with.
    pub accepts: Vec<Accept>,
}

impl MoveOrder {
    /// An order with the defaults for everything but the place.
    #[must_use]
    pub fn new(target: MoveTarget) -> MoveOrder {
        MoveOrder {
            target,
            limits: PhaseLimits::default(),
            trust: Trust::default(),
            listening: Listening::default(),
            sequences: Sequences::default(),
            other_oids: OtherOids::default(),
            accepts: Vec::new(),
        }
    }

    /// Whether a session stays for this.
    pub(super) fn refuses(&self, surrounding: &Surrounding) -> bool {
        surrounding.refuses() && !self.accepts.iter().any(|accept| accept.takes(surrounding))
    }
}

/// A move that is under way.
#[derive(Clone, Copy, Debug)]
pub struct MoveStatus<'a> {
    /// Where to.
    pub target: MoveTarget,
    /// What it is doing. A reader alone is waited for until it can be done without.
    pub phase: Phase,
    /// What the session waits for, as far as it was looked at.
    pub waits_for: Option<&'a Unsafe>,
}

/// The state of a session as it was read from the old server.
#[derive(Debug)]
pub(super) enum Source {
    Described(Described),
    /// CockroachDB's own form of it.
    Serialized(SessionState),
}

impl Source {
    pub(super) fn described(&self) -> Option<&Described> {
        match self {
            Source::Described(described) => Some(described),
            Source::Serialized(_) => None,
        }
    }

    pub(super) fn serialized(&self) -> Option<&SessionState> {
        match self {
            Source::Described(_) => None,
            Source::Serialized(state) => Some(state),
        }
    }
}

/// What was found out of a session's state.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) found: Box<Found>,
    /// The client's prepared statements, the unnamed one included.
    pub(super) statements: Vec<Body>,
    /// Those that it prepared in SQL, with their names.
    pub(super) in_sql: Vec<(Box<[u8]>, Body)>,
}

/// How long the client has been held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    before: Duration,
    since: Option<Instant>,
}

impl Hold {
    fn begins(&mut self, now: Instant) {
        self.since = Some(now);
    }

    fn ends(&mut self, now: Instant) {
        self.before = self.total(now);
        self.since = None;
    }

    pub(super) fn total(self, now: Instant) -> Duration {
        let current = self.since.map(|since| now.saturating_duration_since(since));
        self.before.saturating_add(current.unwrap_or_default())
    }
}

/// The move of a writer.
#[derive(Debug)]
pub(super) struct WriterMove {
    pub(super) migration: Migration<Source>,
    pub(super) plan: Plan,
}

/// Whether the new server is of the old one's cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kin {
    /// It is, or nobody says.
    #[default]
    MaybeKin,
    Strangers,
}

/// What belongs to the move of a writer, whatever its phase.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) order: MoveOrder,
    /// The connection to the new server.
    pub(super) leg: LegId,
    /// The question that is out.
    pub(super) asked: Option<Asked>,
    pub(super) scope: Scope,
    /// What a fresh session has on the new server.
    pub(super) fresh: Option<Box<Found>>,
    pub(super) types: TypeMap,
    /// What the new server reported at the login.
    pub(super) greeting: Parameters,
    pub(super) kin: Kin,
    /// What the session's prepared statements are on an old server of CockroachDB, in the order of their names.
    pub(super) described: Vec<Description>,
    /// Settings that have their value on the old server by default, and are set to it on the new one.
    pub(super) defaults: Vec<Assignment>,
    /// What the client knows of the old server, since that has gone.
    pub(super) told: Option<Parameters>,
    pub(super) began: Instant,
    pub(super) hold: Hold,
}

/// The move of a reader alone.
#[derive(Debug)]
pub(super) struct ReaderMove {
    pub(super) to: Destination,
    pub(super) attempt: Attempt,
    pub(super) began: Instant,
}

/// Whether the session moves.
#[derive(Debug, Default)]
pub(super) enum Moving {
    #[default]
    No,
    Writer(Box<WriterMove>),
    Reader(Box<ReaderMove>),
}

/// Whether a request of the client waits while it is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kept {
    #[default]
    Nothing,
    Request,
}

/// Whether `currval` and `lastval` have values, as far as the client's texts tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SequenceValues {
    #[default]
    Nothing,
    Some,
}

/// Whether cursors WITH HOLD are open, as far as the client's texts tell: which of them a CLOSE has closed is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum HeldCursors {
    #[default]
    Nothing,
    Some,
}

/// What a session knows of its moves.
#[derive(Debug, Default)]
pub(super) struct Relocation {
    pub(super) moving: Moving,
    pub(super) transfers: Transfers,
    /// How often something was decided about what the client sends.
    pub(super) clock: u64,
    pub(super) kept: Kept,
    pub(super) sequence_values: SequenceValues,
    pub(super) held_cursors: HeldCursors,
    /// How many bytes of the message that is forwarded the client has yet to send.
    pub(super) to_come: u64,
}

impl<R: Route> Session<R> {
    /// Begins to move the session to other servers while its client stays connected; [`Event::Moved`] or
    /// [`Event::MoveFailed`] tells the end of it.
    ///
    /// The new server is dialled and logged in to while the old one serves. At a safe point ([`safe_point`]) the client is held,
    /// the session's state is read from the old server, restored on the new one and read back; then the new server takes over,
    /// and what the client has sent meanwhile goes there. Between servers of CockroachDB ([`Config::dialect`](super::Config::dialect))
    /// the session's state is what the old one makes of it, and the login to the new one, with a token of the old one's, comes
    /// behind that. Whatever fails before leaves the session on the old server, unless
    /// that has gone. The client's cancel key stays as it is; so does the process id in it, which is that of the first server.
    ///
    /// # Errors
    /// [`CannotStart`], which is not counted: it may be tried again, unless the configuration is against it
    /// ([`Config::moves`](super::Config::moves)).
    pub fn migrate(&mut self, now: Instant, order: MoveOrder) -> Result<(), CannotStart> {
        self.can_move(&order)?;
        let readiness = self.readiness();
        let target = order.target;
        match (target.writer(), target.reader()) {
            (Some(to), _) => {
                let leg = self.free_leg().ok_or(CannotStart::Running)?;
                let attempt = self.relocation.transfers.begin(now, readiness)?;
                self.notify(Event::MoveBegan { target });
                self.begin_move(now, order, leg, to, attempt);
            }
            (None, Some(to)) => {
                let attempt = self.relocation.transfers.begin(now, readiness)?;
                self.notify(Event::MoveBegan { target });
                let moved = ReaderMove {
                    to,
                    attempt,
                    began: now,
                };
                self.timers.start(now, order.limits.total, Timer::Move);
                self.relocation.moving = Moving::Reader(Box::new(moved));
            }
            (None, None) => return Err(CannotStart::NoUpstream),
        }
        self.couple(now);
        Ok(())
    }

    /// Gives up the move that is under way, if there is one: the session stays where it is.
    pub fn cancel_migration(&mut self, now: Instant) {
        self.cancel_move(now);
        self.couple(now);
    }

    /// The move that is under way.
    pub fn migration(&self) -> Option<MoveStatus<'_>> {
        match &self.relocation.moving {
            Moving::No => None,
            Moving::Writer(moving) => Some(MoveStatus {
                target: moving.plan.order.target,
                phase: moving.migration.phase(),
                waits_for: moving.migration.waits_for(),
            }),
            Moving::Reader(moving) => Some(MoveStatus {
                target: MoveTarget::Reader(moving.to),
                phase: Phase::Wait,
                waits_for: None,
            }),
        }
    }

    /// What was counted of this session's moves.
    pub fn transfers(&self) -> &TransferStats {
        self.relocation.transfers.stats()
    }

    /// Where the session's writes go now.
    pub fn writer_place(&self) -> Destination {
        self.leg(self.writer()).to
    }

    /// Where its reads go now: to its writer, if they are not split off.
    pub fn reader_place(&self) -> Destination {
        match self.splits() {
            true => self.leg(self.reader()).to,
            false => self.writer_place(),
        }
    }

    /// Whether sessions of this configuration may move at all.
    pub(super) fn may_move(&self) -> bool {
        self.config.moves == Moves::On
    }

    fn can_move(&self, order: &MoveOrder) -> Result<(), CannotStart> {
        if !self.may_move() {
            return Err(CannotStart::Disabled);
        }
        let known = |to: Destination| to.0 < self.config.upstreams.len();
        let target = order.target;
        if !target.writer().is_none_or(known) || !target.reader().is_none_or(known) {
            return Err(CannotStart::NoUpstream);
        }
        if target.reader().is_some() && !self.splits() {
            return Err(CannotStart::NoReader);
        }
        if self.is_relay_only() {
            let facts = Facts {
                carriage: Carriage::Unread,
                ..Facts::idle(0)
            };
            return safe_point(&facts, order.trust)
                .map(drop)
                .map_err(CannotStart::Unsafe);
        }
        Ok(())
    }

    fn readiness(&self) -> Readiness {
        match self.life {
            Life::Live if self.client.key().is_some() => Readiness::Serving,
            Life::Live => Readiness::LoggingIn,
            Life::Finishing | Life::Closing(_) | Life::Dead(_) => Readiness::Ending,
        }
    }

    /// A connection that nobody uses.
    fn free_leg(&self) -> Option<LegId> {
        LegId::ALL.into_iter().find(|leg| {
            self.duty(*leg) == Duty::Spare && matches!(self.leg(*leg).phase, LegPhase::Absent)
        })
    }

    fn begin_move(
        &mut self,
        now: Instant,
        order: MoveOrder,
        leg: LegId,
        to: Destination,
        attempt: Attempt,
    ) {
        let migration = Migration::new(attempt, self.config.dialect, now, order.limits);
        self.timers.start_until(migration.deadline(), Timer::Move);
        let plan = Plan {
            order,
            leg,
            asked: None,
            scope: Scope::WithIdentity,
            fresh: None,
            types: TypeMap::identity(),
            greeting: Parameters::new(),
            kin: Kin::default(),
            described: Vec::new(),
            defaults: Vec::new(),
            told: None,
            began: now,
            hold: Hold::default(),
        };
        self.relocation.moving = Moving::Writer(Box::new(WriterMove { migration, plan }));
        let spare = self.leg_mut(leg);
        spare.to = to;
        spare.retry_at = None;
        self.dial(now, leg);
    }

    /// The move of the writer that is under way.
    pub(super) fn writer_move(&self) -> Option<&WriterMove> {
        match &self.relocation.moving {
            Moving::Writer(moving) => Some(moving),
            Moving::No | Moving::Reader(_) => None,
        }
    }

    pub(super) fn writer_move_mut(&mut self) -> Option<&mut WriterMove> {
        match &mut self.relocation.moving {
            Moving::Writer(moving) => Some(moving),
            Moving::No | Moving::Reader(_) => None,
        }
    }

    /// Takes the move of the writer out; the caller puts it back or ends it.
    pub(super) fn take_writer_move(&mut self) -> Option<Box<WriterMove>> {
        match std::mem::take(&mut self.relocation.moving) {
            Moving::Writer(moving) => Some(moving),
            other @ (Moving::No | Moving::Reader(_)) => {
                self.relocation.moving = other;
                None
            }
        }
    }

    /// When the move that is under way began.
    pub(super) fn move_began(&self) -> Option<Instant> {
        match &self.relocation.moving {
            Moving::No => None,
            Moving::Writer(moving) => Some(moving.plan.began),
            Moving::Reader(moving) => Some(moving.began),
        }
    }

    /// Whether no message of the client may begin to be forwarded, because the session moves.
    pub(super) fn is_held(&self) -> bool {
        self.writer_move()
            .is_some_and(|moving| moving.migration.holds_client())
    }

    /// Whether a request of the client waits because it is held.
    pub(super) fn keeps_request(&self) -> bool {
        self.is_held() && self.relocation.kept == Kept::Request
    }

    /// Something has happened to the move of the writer. Whether it goes on.
    pub(super) fn move_step(
        &mut self,
        now: Instant,
        event: impl FnOnce(Migration<Source>) -> Progress<Source>,
    ) -> bool {
        let Some(moving) = self.take_writer_move() else {
            return false;
        };
        let WriterMove { migration, plan } = *moving;
        let held = migration.holds_client();
        match event(migration) {
            Progress::On(migration) => {
                self.timers.start_until(migration.deadline(), Timer::Move);
                let holds = migration.holds_client();
                let moving = WriterMove { migration, plan };
                self.relocation.moving = Moving::Writer(Box::new(moving));
                if held != holds {
                    self.hold_changed(now, holds);
                }
                true
            }
            Progress::Over(finished) => {
                self.move_failed(now, plan, finished);
                false
            }
        }
    }

    fn hold_changed(&mut self, now: Instant, holds: bool) {
        self.relocation.kept = Kept::Nothing;
        let Some(moving) = self.writer_move_mut() else {
            return;
        };
        let event = match holds {
            true => {
                moving.plan.hold.begins(now);
                Event::MoveHeld
            }
            false => {
                moving.plan.hold.ends(now);
                Event::MoveReleased
            }
        };
        self.notify(event);
    }
}
