//! A session that moves, and its readers, as its driver sees them.

use pgturnout::migrate::CannotStart;
use pgturnout::route::{Health, ReaderFacts};
use pgturnout::session::{Destination, Lifecycle, MoveTarget, PeerId};

use super::super::checks::Check;
use super::super::distance;
use super::super::fates;
use super::super::fault::Known;
use super::super::journey::Journey;
use super::super::moves;
use super::super::setup::{LAG_ALLOWED, Spare, WINDOW};
use super::World;

impl World<'_> {
    /// The driver has the session move.
    pub(super) fn moves(&mut self, journey: &Journey) {
        let (writer, reader) = (
            journey.writer.map(Destination),
            journey.reader.map(Destination),
        );
        let target = match (writer, reader) {
            (Some(writer), Some(reader)) => MoveTarget::Both { writer, reader },
            (Some(writer), None) => MoveTarget::Writer(writer),
            (None, Some(reader)) => MoveTarget::Reader(reader),
            (None, None) => return,
        };
        let order = journey.order(target);
        let is_early = !self.client.is_ready() && self.session.client_key().is_none();
        let lives = matches!(self.session.lifecycle(), Lifecycle::Live);
        let now = self.now;
        let begun = self
            .meter
            .measure(|| self.session.migrate(now, order.clone()));
        self.log(|| format!("    it is asked to move: {begun:?}"));
        match is_early {
            true => self.moves_early(journey, &begun, lives),
            false => moves::begun(self, order, &begun),
        }
        self.digest();
    }

    /// It was to move before its client was let in: it is told that, or what is against any move of it, and nothing comes
    /// of it.
    fn moves_early(&mut self, journey: &Journey, begun: &Result<(), CannotStart>, lives: bool) {
        let places = [journey.writer, journey.reader].into_iter().flatten();
        let possible = places.max() < Some(self.config.upstreams.len());
        let ends = !lives || self.clocks.was_shut_down();
        let fine = match begun {
            Ok(()) | Err(CannotStart::Running) => false,
            Err(CannotStart::NotServing) => lives && possible,
            Err(CannotStart::Ending) => ends,
            Err(CannotStart::NoUpstream) => !possible,
            Err(CannotStart::NoReader) => journey.reader.is_some(),
            Err(CannotStart::Disabled) => self.setup.spare == Spare::None,
            Err(CannotStart::Unsafe(_)) => self.is_whole() || self.setup.wild,
        };
        if !fine {
            let detail = format!("before the client was let in it was to move: {begun:?}");
            self.broken(Check::Live, detail);
        }
        moves::accounted(self);
    }

    /// The driver tells what it knows of the readers. What it was asked for before is done by then.
    pub(super) fn knows_readers(&mut self, known: &[Known]) {
        self.act();
        let mut facts = vec![ReaderFacts::default()];
        facts.extend(known.iter().map(|known| {
            let (lag, lag_bytes) = known.lag(WINDOW, LAG_ALLOWED);
            let health = match known {
                Known::Down => Health::Down,
                _ => Health::Up,
            };
            ReaderFacts {
                health,
                lag,
                lag_bytes,
                ..ReaderFacts::default()
            }
        }));
        let now = self.now;
        self.meter
            .measure(|| self.session.handle_readers(now, &facts));
        self.duties.knows_readers(known);
        self.digest();
    }

    /// The driver has it stay.
    pub(super) fn calls_off(&mut self) {
        let now = self.now;
        self.meter.measure(|| self.session.cancel_migration(now));
        moves::called_off(self);
        self.digest();
    }

    /// Keeps for the catalogue what the session does to move.
    pub(super) fn watch_move(&mut self) {
        let moving = self.session.migration();
        let phase = moving.map(|moving| moving.phase);
        if self.moves.enters(phase, self.now) {
            distance::enters(self, phase);
        }
        self.seen.moves(phase);
    }

    /// If the session has another writer, that has the writer's seat from now on.
    pub(super) fn settle(&mut self) {
        self.watch_move();
        if let Some(seat) = self.session.settle() {
            self.log(|| format!("    the writer is another: it was the {seat}"));
            self.change(PeerId::WRITER, seat);
            if let Some(server) = &mut self.servers[PeerId::WRITER.index()] {
                server.remembers();
            }
            moves::cut_over(self, seat);
        }
    }

    /// Two servers change seats, with all that belongs to their connections.
    fn change(&mut self, one: PeerId, other: PeerId) {
        let (a, b) = (one.index(), other.index());
        self.dialled.swap(a, b);
        self.connected.swap(a, b);
        self.links.swap(a, b);
        self.servers.swap(a, b);
        self.liars.swap(a, b);
        self.taken_leave.swap(a, b);
        self.tails.swap(a, b);
        self.injected.swap(a, b);
        self.injected_texts.swap(a, b);
        self.posing.swap(a, b);
        self.takes_writes.swap(a, b);
        self.arrived.swap(a, b);
        self.answered.swap(a, b);
        self.asked.swap(a, b);
        self.passed.swap(a, b);
        self.duties.change(one, other);
        self.clocks.change(one, other);
        self.moves.change(one, other);
        self.seen.change(one, other);
        self.cancels.change(one, other);
        self.torn.change(one, other);
        fates::change(self, one, other);
    }
}
