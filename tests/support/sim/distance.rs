//! Sessions that move where a standby is, or from there: how far either server is, and what it may do; and what is said
//! of a server for which a session stays.

use pgturnout::migrate::Phase;
use pgturnout::session::{Accept, MoveOrder, MoveTarget, PeerId};

use super::server::Node;
use super::setup::Spare;
use super::world::World;

/// What is said of a new server for which a session stays.
const SAID: [(Accept, &str); 7] = [
    (Accept::Standby, "the new server is a standby"),
    (Accept::Behind, "bytes of log behind"),
    (Accept::OlderTimeline, "the new server is on timeline"),
    (
        Accept::Database,
        "the new server's database has another name",
    ),
    (
        Accept::Encoding,
        "the new server's database has another encoding",
    ),
    (
        Accept::Locale,
        "the new server's database has another locale",
    ),
    (Accept::OlderMajor, "the new server is older"),
];

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

/// What is where the writer is to go.
fn target(world: &World<'_>, order: &MoveOrder) -> Option<Node> {
    match order.target {
        MoveTarget::Writer(writer) | MoveTarget::Both { writer, .. } => {
            Some(world.setup.node_at(writer))
        }
        MoveTarget::Reader(_) => None,
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
            let order = world.moves.open(world).map(|[_, last]| last);
            let new = order.and_then(|order| target(world, order));
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

/// Whether what a move is said to have failed for may be so, and its caller does not put up with it, as far as it is about
/// what the new server is and where it stands.
pub(crate) fn may_be(world: &World<'_>, reason: &str) -> bool {
    let Some((what, _)) = SAID.iter().find(|(_, words)| reason.contains(words)) else {
        return true;
    };
    let old = world.node_of(PeerId::WRITER);
    let Some([order, _]) = world.moves.open(world) else {
        return false;
    };
    let Some(new) = target(world, order) else {
        return false;
    };
    let recovers = |node: Node| world.cluster.recovers(node);
    let is_so = match what {
        Accept::Behind => {
            let had = world.cluster.stands_at(old);
            let has = world.moves.distance.logged[1];
            recovers(new) && had.zip(has).is_none_or(|(had, has)| has < had)
        }
        Accept::Standby => recovers(new) && !recovers(old),
        Accept::OlderMajor => world.setup.spare != Spare::Like,
        Accept::OlderTimeline | Accept::Database | Accept::Encoding | Accept::Locale => {
            world.setup.fittings.lodging.accepted_as() == Some(*what)
        }
    };
    is_so && !order.accepts.contains(what)
}
