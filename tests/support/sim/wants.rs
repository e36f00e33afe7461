//! How a session asks for bytes that it has not seen: for more than there are, and not for a few at a time.

use pgturnout::session::PeerId;

use super::checks::Check;
use super::world::World;

/// How often a session may ask for more of a message than it has asked for: for its header, for as much of it as is looked
/// into, for all of it; and for the header of the next.
const TIMES: usize = 4;

/// For what a session has asked of a peer since it decided anything of what that says, or since a message began.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    most: usize,
    times: usize,
    begun: usize,
}

/// A session asks for `n` bytes of a peer, and has decided nothing.
pub(crate) fn more(world: &mut World<'_>, peer: PeerId, n: usize) {
    let link = &world.links[peer.index()];
    let buffered = link.buffer.len();
    // Who has ended sends no more of what is left.
    let serves = !world.session.lifecycle().is_dead() && !link.has_ended() && !world.misused;
    // Of what nobody is offered and nobody drops nothing is spoken for, where nothing of others, and no cancel, stands before it.
    let mut all = PeerId::ALL.into_iter();
    let is_spoken_for = all.any(|other| {
        let stands_before = other != peer && !world.links[other.index()].buffer.is_empty();
        let offered = world.session.poll_transmit(other).is_some();
        offered || stands_before || world.cancels.since(other).is_some()
    });
    if n <= buffered && buffered > 0 && !is_spoken_for && serves {
        let detail = format!("{n} bytes asked of the {peer}, of which {buffered} are there");
        world.broken(Check::Need, detail);
    }
    let begun = world.arrived[peer.index()].begun().len();
    let wanted = &mut world.wanted[peer.index()];
    if wanted.begun != begun {
        (wanted.times, wanted.begun) = (0, begun);
    }
    wanted.times += usize::from(n > wanted.most);
    wanted.most = wanted.most.max(n);
    if wanted.times > TIMES {
        let times = wanted.times;
        let detail = format!("of the {peer} more bytes are asked {times} times, at last {n}");
        world.broken(Check::Need, detail);
    }
}
