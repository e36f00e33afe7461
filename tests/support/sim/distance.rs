//! Sessions that move where a standby is, or from there: how far either server is, and what it may do.

use pgturnout::migrate::Phase;
use pgturnout::session::PeerId;

use super::server::Node;
use super::world::World;

/// What is remembered of the servers that a session has moved between.
#[derive(Debug, Default)]
pub(crate) struct Distance {
    /// What the writer became, each time.
    nodes: Vec<Node>,
    /// How much of the log the old server had when it was to be asked, and the new one.
    logged: [Option<usize>; 2],
}

impl Distance {
    /// Whether a session that began there went from the primary to a standby, or the other way round.
    pub(crate) fn changed_its_role(&self, first: Node) -> bool {
        let is_primary = |node: Node| node == Node::Primary;
        let mut nodes = self.nodes.iter();
        nodes.any(|node| is_primary(*node) != is_primary(first))
    }

    /// Whether a session that began there went from the primary to a standby.
    pub(crate) fn gave_up_writing(&self, first: Node) -> bool {
        let before = std::iter::once(&first).chain(&self.nodes);
        let mut steps = before.zip(&self.nodes);
        steps.any(|(from, to)| *from == Node::Primary && *to != Node::Primary)
    }
}

/// A move is in another phase: how far its servers are is known before they say so.
pub(crate) fn enters(world: &mut World<'_>, phase: Option<Phase>) {
    match phase {
        Some(Phase::Read) => {
            let old = world.node_of(PeerId::WRITER);
            world.moves.distance.logged = [world.cluster.stands_at(old), None];
        }
        Some(Phase::Verify) => {
            let new = world.moves.target(world);
            world.moves.distance.logged[1] = new.and_then(|new| world.cluster.stands_at(new));
        }
        _ => {}
    }
}

/// The writer is another from here on.
pub(crate) fn cut_over(world: &mut World<'_>) {
    let node = world.node_of(PeerId::WRITER);
    world.moves.distance.nodes.push(node);
}

/// Whether the standby that is the writer now has not replayed what the old one had when that was asked.
pub(crate) fn is_behind(world: &World<'_>) -> bool {
    let node = world.node_of(PeerId::WRITER);
    let had = world.moves.distance.logged[0];
    let has = world.cluster.stands_at(node);
    world.cluster.recovers(node) && had.zip(has).is_some_and(|(had, has)| has < had)
}

/// Whether what a move is said to have failed for may be so, as far as it is about where the new server stands.
pub(crate) fn may_be(world: &World<'_>, reason: &str) -> bool {
    let old = world.node_of(PeerId::WRITER);
    let Some(new) = world.moves.target(world) else {
        return false;
    };
    let recovers = |node: Node| world.cluster.recovers(node);
    if reason.contains("bytes of log behind") {
        let had = world.cluster.stands_at(old);
        let has = world.moves.distance.logged[1];
        return recovers(new) && had.zip(has).is_none_or(|(had, has)| has < had);
    }
    !reason.contains("is a standby") || recovers(new) && !recovers(old)
}
