//! What happened in a world, peer by peer.

use pgturnout::session::PeerId;

use super::super::spoken;
use super::World;

/// Bytes that left for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The session made them.
    Ours(Vec<u8>),
    /// They were another peer's.
    Spliced(PeerId, Vec<u8>),
}

/// What happened at one peer, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Connected,
    Secured,
    Sent(Sent),
    Dropped(usize),
    Closed,
}

impl Sent {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Sent::Ours(bytes) | Sent::Spliced(_, bytes) => bytes,
        }
    }
}

impl World<'_> {
    /// What peers have said and the session has not taken, in words.
    pub(crate) fn not_taken(&self) -> Vec<String> {
        let links = PeerId::ALL.into_iter().zip(&self.links);
        links
            .filter(|(_, link)| !link.buffer.is_empty())
            .map(|(peer, link)| {
                let said = spoken::kept(peer, &link.buffer);
                format!("    not taken yet of what the {peer} says: {said}")
            })
            .collect()
    }
}
