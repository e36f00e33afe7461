//! What follows when a stream makes no sense any more: what the configuration says, and where two streams are to pass unread,
//! they do, with nobody between them.

use pgturnout::session::{Activity, Event, Lifecycle, OutOfSync, PeerId};

use super::checks::Check;
use super::door;
use super::fittings::Fittings;
use super::server::ServerPhase;
use super::world::{Sent, State, World};

/// What is remembered of it.
#[derive(Default)]
pub(crate) struct Senseless {
    /// What was said to follow.
    then: Option<OutOfSync>,
    /// Whether everything that was decided before the streams passed has left.
    is_through: bool,
}

pub(crate) const FOLLOWS: [(OutOfSync, &str); 3] = [
    (OutOfSync::Error, "error"),
    (OutOfSync::Close, "close"),
    (OutOfSync::Passthrough, "pass"),
];

impl Fittings {
    /// What follows, as a session may be told: messages that are limited are not passed on unread.
    pub(crate) fn follows(&self) -> OutOfSync {
        match (self.senseless, self.short_messages) {
            (OutOfSync::Passthrough, true) => OutOfSync::Error,
            (follows, _) => follows,
        }
    }
}

/// Whether the client's and the writer's streams pass, because one of them made no sense: up to their ends, at which what has
/// come is still taken.
pub(crate) fn is_unread(world: &World<'_>) -> bool {
    world.config.out_of_sync == OutOfSync::Passthrough
        && !world.is_whole()
        && (world.session.activity() == Activity::Whole
            || world.senseless.then == Some(OutOfSync::Passthrough))
}

/// The driver is told of it.
pub(crate) fn told(world: &mut World<'_>, peer: PeerId, then: OutOfSync) {
    let wanted = world.config.out_of_sync;
    if then != wanted && (wanted, then) != (OutOfSync::Passthrough, OutOfSync::Error) {
        let detail = format!("{then:?} follows, and was to be {wanted:?}");
        world.broken(Check::OutOfSync, detail);
    }
    let posed = PeerId::ALL
        .iter()
        .any(|peer| world.posing[peer.index()].is_some());
    // What a server says of a move is not the client's, and the server it was may be another by now.
    let moves = world.moves.has_begun();
    let honest = PeerId::ALL.iter().all(|peer| !world.lies(*peer)) && !posed && !moves;
    if honest {
        let detail = format!("the {peer} is called out of step and has said nothing wrong");
        world.broken(Check::OutOfSync, detail);
    }
    if then == OutOfSync::Passthrough
        && let Some(why) = has_others(world)
    {
        world.broken(Check::OutOfSync, format!("two streams pass, and {why}"));
    }
    world.senseless.then.get_or_insert(then);
}

/// Who else has a part in what goes on.
fn has_others(world: &World<'_>) -> Option<String> {
    let reader = world.servers[PeerId::READER.index()].as_ref();
    let busy = reader.is_some_and(|server| {
        server.is_let_in() && (server.has_unread() || server.phase() != ServerPhase::Idle)
    });
    if busy && !world.lies(PeerId::READER) {
        return Some("the reader has something to answer".to_owned());
    }
    if world.door.policy(&world.setup).is_some() {
        return Some("there is a policy".to_owned());
    }
    let gone = world.links[PeerId::CLIENT.index()].has_ended();
    gone.then(|| "the client has ended its stream".to_owned())
}

/// Bytes leave for a peer.
pub(crate) fn leaving(world: &mut World<'_>, to: PeerId, sent: &Sent) {
    let live = matches!(world.session.lifecycle(), Lifecycle::Live);
    if !world.senseless.is_through || !live {
        return;
    }
    let fine = match sent {
        Sent::Ours(_) => false,
        Sent::Spliced(from, _) => matches!(
            (*from, to),
            (PeerId::CLIENT, PeerId::WRITER) | (PeerId::WRITER, PeerId::CLIENT)
        ),
    };
    if !fine {
        let detail = format!("bytes for the {to} that are not of whom it talks to");
        world.broken(Check::OutOfSync, detail);
    }
}

/// Bytes of a peer are taken.
pub(crate) fn taken(world: &mut World<'_>, from: PeerId, to: Option<PeerId>) {
    let live = matches!(world.session.lifecycle(), Lifecycle::Live);
    let ends = [PeerId::CLIENT, PeerId::WRITER];
    let stand = ends.iter().all(|peer| {
        let link = &world.links[peer.index()];
        link.state == State::Open && !link.has_ended()
    });
    if world.senseless.is_through && live && stand && to.is_none() && ends.contains(&from) {
        let detail = format!("bytes of the {from}, which nobody reads, are dropped");
        world.broken(Check::OutOfSync, detail);
    }
}

/// Everything has come to rest.
pub(crate) fn rests(world: &mut World<'_>) {
    if !is_unread(world) {
        return;
    }
    if world.senseless.then != Some(OutOfSync::Passthrough) {
        world.broken(Check::OutOfSync, "two streams pass, and nobody was told");
    }
    let all = PeerId::ALL;
    let quiet = all
        .iter()
        .all(|peer| world.session.poll_transmit(*peer).is_none());
    world.senseless.is_through |= quiet;
    let reader = &world.links[PeerId::READER.index()];
    let serves = reader.state == State::Open && !world.taken_leave[PeerId::READER.index()];
    if quiet && serves && !reader.has_ended() && world.seen.phase(PeerId::READER) == IDLE {
        world.broken(Check::OutOfSync, "two streams pass, and the reader is kept");
    }
}

const IDLE: super::catalogue::Phase = super::catalogue::Phase::Idle;

/// The session is over.
pub(crate) fn ended(world: &mut World<'_>) {
    let Some(then) = world.senseless.then else {
        return;
    };
    let tells = world.to_client.begun().last() == Some(&(None, b'E'));
    // What it heard last may be that a statement was denied.
    let denied = |event: &Event| matches!(event, Event::StatementDenied { .. });
    let other = door::was_disturbed(world) || world.told.iter().any(denied);
    if then == OutOfSync::Close && tells && !other {
        world.broken(
            Check::OutOfSync,
            "a client that was to hear nothing is told why",
        );
    }
    let unknown = world.setup.wild || world.moves.has_begun() || world.misused;
    let deaf = door::was_disturbed(world) || unknown || world.client.torn() > 0;
    if then == OutOfSync::Error && !tells && !deaf {
        world.broken(
            Check::OutOfSync,
            "a client is not told why its session ends",
        );
    }
}
