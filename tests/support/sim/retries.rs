//! A writer that cannot be had at first: it is dialled again as often as may be and no sooner, and only as long as the client
//! has heard nothing of it.

use std::time::{Duration, Instant};

use pgturnout::session::{Destination, Event, Lifecycle, PeerId, Role, Timer, WriterRetry};

use super::checks::Check;
use super::fault::Damage;
use super::fittings::Fittings;
use super::server::Node;
use super::setup::{Method, Start};
use super::world::World;

/// Why the writer cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    Unreachable,
    /// It refuses the login with this.
    Refuses(&'static str),
}

const ABSENCES: [Absence; 3] = [
    Absence::Unreachable,
    Absence::Refuses("57P03"),
    Absence::Refuses("53300"),
];

/// What is remembered of tries.
#[derive(Default)]
pub(crate) struct Tries {
    /// How often the writer was dialled before the client was let in.
    dialled: u32,
    /// How often the driver was told that it will be again, and the last time that this can have been decided.
    told: u32,
    since: Option<Instant>,
}

impl Fittings {
    /// How long the session waits before it dials again.
    pub(crate) fn delay(&self) -> Duration {
        match self.cuts % 2 {
            0 => Duration::from_millis(300),
            _ => Duration::from_millis(900),
        }
    }

    /// What a session is told of another try.
    pub(crate) fn writer_retry(&self) -> WriterRetry {
        match self.retries {
            0 => WriterRetry::NoRetry,
            times => WriterRetry::Again {
                times,
                delay: self.delay(),
            },
        }
    }
}

fn is_let_in(world: &World<'_>) -> bool {
    world.told.contains(&Event::LoggedIn)
}

/// A peer is dialled.
pub(crate) fn dials(world: &mut World<'_>, peer: PeerId, to: Destination) {
    let role = world.config.upstreams.get(to.0).map(|known| known.role);
    // A login that is refused in clear goes on with TLS.
    let again = world.setup.servers_want_tls;
    if peer != PeerId::WRITER || role != Some(Role::Writer) || is_let_in(world) || again {
        return;
    }
    let tries = &mut world.tries;
    tries.dialled += 1;
    let (dialled, told, since) = (tries.dialled, tries.told, tries.since);
    let times = world.setup.fittings.retries;
    if dialled > times + 1 {
        let detail =
            format!("the writer is dialled {dialled} times, and may be {times} times again");
        world.broken(Check::Bounded, detail);
    }
    if dialled != told + 1 && !world.misused {
        let detail = format!("the writer is dialled {dialled} times, and {told} more were told of");
        world.broken(Check::Told, detail);
    }
    let delay = world.setup.fittings.delay();
    if let Some(since) = since
        && world.now < since + delay
        && !world.misused
    {
        let early = since + delay - world.now;
        world.broken(
            Check::Deadline,
            format!("the writer is dialled again {early:?} too early"),
        );
    }
}

/// The driver is told that the writer will be dialled again.
pub(crate) fn told(world: &mut World<'_>) {
    world.tries.told += 1;
    world.tries.since = Some(world.acted);
    // A notice obliges nobody.
    let mut begun = world.to_client.begun().iter();
    if begun.any(|(of, tag)| *of == Some(PeerId::WRITER) && *tag != b'N') {
        let detail = "the writer is to be dialled again, and the client has heard of it";
        world.broken(Check::LoginOrder, detail);
    }
}

/// Whether the writer cannot be had this time.
pub(crate) fn absence(world: &mut World<'_>, peer: PeerId) -> Option<Absence> {
    let fittings = &world.setup.fittings;
    let nth = world.tries.dialled;
    let at_its_own = world.node_of(peer) == Node::Primary;
    let away = peer == PeerId::WRITER && at_its_own && (1..=fittings.absences).contains(&nth);
    if !away || is_let_in(world) {
        return None;
    }
    let at = usize::try_from(fittings.cuts).unwrap_or_default() + usize::try_from(nth).ok()?;
    let absence = ABSENCES[at % ABSENCES.len()];
    // The word of a server that has asked or told the client something is passed on.
    let setup = &world.setup;
    let unheard = setup.terminate
        || setup.split && setup.gate_is_reader && !world.is_whole()
        || setup.login == Method::Trust && setup.minor == 0 && setup.start == Start::Plain;
    let unseen = match absence {
        Absence::Unreachable => true,
        Absence::Refuses(_) => unheard && !world.is_opaque(),
    };
    if !unseen || nth > setup.fittings.retries {
        world.damage = world.damage.max(Damage::Session);
    }
    Some(absence)
}

/// Whether another try is ahead.
pub(crate) fn is_ahead(world: &World<'_>) -> bool {
    let tries = &world.tries;
    let live = matches!(world.session.lifecycle(), Lifecycle::Live);
    live && tries.told > 0 && tries.told == tries.dialled && !is_let_in(world)
}

/// Why the session cannot wait for another try now.
pub(crate) fn wrong_wait(world: &World<'_>) -> Option<String> {
    let none = world.setup.fittings.retries == 0;
    (none || is_let_in(world)).then(|| "the writer is not to be dialled again".to_owned())
}

impl World<'_> {
    /// The faults are over: what is to be tried again is.
    pub(super) fn tries_run_out(&mut self) {
        for _ in 0..=2 * self.setup.fittings.retries {
            let waits = matches!(self.session.poll_timeout(), Some((_, Timer::Redial(_))));
            if !waits && !is_ahead(self) || self.violation.is_some() {
                return;
            }
            self.deadline();
            self.calm();
        }
    }
}
