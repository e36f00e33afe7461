//! How much of a run of a scenario can be compared with another of the same one, whose bytes are cut or ordered otherwise.

use pgturnout::session::{CloseCause, Event as Told, PeerId};
use pgturnout::track::Pin;

use super::door;
use super::event::{Event, Scenario};
use super::fault::{Damage, Fault};
use super::message::ClientMessage;
use super::server::{Impostor, TlsAnswer};
use super::world::World;

/// How much of two runs must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Comparable {
    All,
    /// What one of them sent begins what the other sent: a session that ended on the way counts what was still to
    /// come for nothing, wherever it stood.
    Beginning,
    /// Nothing: whether a loss was known when a request was decided depends on when its bytes came.
    Nothing,
}

/// How much of a run can be compared with another of the same scenario.
pub(super) fn comparable(world: &World<'_>, scenario: &Scenario) -> Comparable {
    match world.damage {
        _ if world.interjected || world.moves.is_lossy() => Comparable::Nothing,
        // What came before the move was written, and nothing behind it.
        _ if world.moves.distance.gave_up_writing(door::node(world)) => Comparable::Nothing,
        _ if aims_at_readers(scenario) => Comparable::Nothing,
        _ if refuses_its_first(world) && !is_paced(scenario) => Comparable::Nothing,
        // Whether the writer has answered by then what a caller has sent there is the network's affair.
        _ if ends_with_its_reader(world) => Comparable::Nothing,
        // How far logins have come when a client leaves that is not let in is, too.
        _ if leaves_early(world) => Comparable::Nothing,
        Damage::None => Comparable::All,
        Damage::Anything if scenario.setup.wild => Comparable::Beginning,
        Damage::Requests | Damage::Session if is_paced(scenario) => Comparable::All,
        Damage::Requests | Damage::Session | Damage::Anything => Comparable::Nothing,
    }
}

/// Whether the driver learns of readers, or one stalls that has a transaction, at a moment that comes earlier or later as bytes are
/// cut: where requests go follows it.
fn aims_at_readers(scenario: &Scenario) -> bool {
    let stalls = scenario.setup.read_transactions;
    scenario.events.iter().any(|event| match event {
        Event::Aim(_, _, _, Fault::Readers(_)) => true,
        Event::Aim(_, _, _, Fault::Stall(PeerId::READER)) => stalls,
        _ => false,
    })
}

/// Whether a reader has refused a request for the session's default isolation, of which it was not asked: the first to come to it.
fn refuses_its_first(world: &World<'_>) -> bool {
    let pinned = Told::Pinned(Pin::Serializable);
    world.told.contains(&pinned) && !world.setup.fittings.asks()
}

/// Whether a session whose caller may send reads to the writer ended because its reader could not be had.
fn ends_with_its_reader(world: &World<'_>) -> bool {
    let lost = CloseCause::LoginFailed(PeerId::READER);
    world.setup.fittings.whims && world.closes.contains(&(PeerId::CLIENT, lost))
}

/// Whether the client is told so much that it leaves before it is let in.
fn leaves_early(world: &World<'_>) -> bool {
    world.posing.contains(&Some(Impostor::Flood)) && !world.told.contains(&Told::LoggedIn)
}

/// Whether nothing happens but that the client asks and is answered, one request after the other, and that something goes
/// wrong between two of them.
pub(super) fn is_paced(scenario: &Scenario) -> bool {
    let (mut asked, mut struck) = (false, false);
    scenario.events.iter().all(|event| match event {
        Event::Say(message) => {
            let before = asked || struck;
            asked |= matches!(
                message,
                ClientMessage::Query(_) | ClientMessage::FunctionCall(_) | ClientMessage::Sync
            );
            !before
        }
        Event::Calm => {
            (asked, struck) = (false, false);
            true
        }
        Event::SayBeside(_) => true,
        // How much of these arrives before they tell depends on how it is cut.
        Event::Fault(
            Fault::Cut(..)
            | Fault::Garble(..)
            | Fault::Lie(..)
            | Fault::Misuse(..)
            | Fault::AnswerTls(_, TlsAnswer::Stuffed),
        ) => false,
        Event::Fault(_) => {
            struck = true;
            !asked
        }
        Event::Raw(_)
        | Event::Arrive(..)
        | Event::Leave(..)
        | Event::Act
        | Event::Serve(_)
        | Event::Aim(..) => false,
    })
}
