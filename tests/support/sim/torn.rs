//! What a client hears of a server that is gone in the middle of a message.
//!
//! A message that has come whole can be written to its end, and one of which the client has got nothing can be left out: behind
//! either it can be told why its session ends. Only where it has got a part of a message whose rest never came is there no
//! place for another word. How far each stream has come is counted by the bytes that passed, whatever the session says.

use pgturnout::session::{CloseCause, PeerId};

use super::checks::Check;
use super::door;
use super::fault::Damage;
use super::senseless;
use super::world::{Sent, World};

/// How much of each server's stream had been taken when the client last got some of it.
#[derive(Debug, Default)]
pub(crate) struct Torn {
    got: [usize; PeerId::COUNT],
}

impl Torn {
    /// A connection begins.
    pub(crate) fn begins_anew(&mut self, peer: PeerId) {
        self.got[peer.index()] = 0;
    }

    /// Who was in one seat is in another.
    pub(crate) fn change(&mut self, one: PeerId, other: PeerId) {
        self.got.swap(one.index(), other.index());
    }
}

/// Bytes leave for the client.
pub(crate) fn leaves(world: &mut World<'_>, sent: &Sent) {
    if let Sent::Spliced(from, _) = sent {
        let at = from.index();
        let behind = world.links[at].buffer.len();
        world.torn.got[at] = world.arrived[at].passed().saturating_sub(behind);
    }
}

/// Whether the client has got a part of a message of a server's of which the rest has not come.
fn has_a_part(world: &World<'_>, of: PeerId) -> bool {
    let unfinished = world.arrived[of.index()].unfinished();
    unfinished.is_some_and(|begins| world.torn.got[of.index()] > begins)
}

/// The client's connection is closed, for this reason.
pub(crate) fn closes(world: &mut World<'_>, cause: &CloseCause) {
    let CloseCause::UpstreamLost(peer) = *cause else {
        return;
    };
    let unread = world.is_whole() || world.is_opaque() || senseless::is_unread(world);
    let honest = world.damage < Damage::Anything && !world.misused;
    if unread || !honest || !world.client.is_ready() || door::was_disturbed(world) {
        return;
    }
    if has_a_part(world, peer) {
        return;
    }
    if !world.to_client.is_between() {
        let detail =
            format!("a message that has come whole ends where the client loses the {peer}");
        return world.broken(Check::WholeFrames, detail);
    }
    let last = world.client.frames.last();
    let farewell = last.is_some_and(|frame| frame.severity() == Some(b"FATAL"));
    if !farewell || world.to_client.begun().last() != Some(&(None, b'E')) {
        let detail = format!("the session ends with the {peer}, and the client is not told");
        world.broken(Check::Live, detail);
    }
}
