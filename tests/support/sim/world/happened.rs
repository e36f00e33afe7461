//! What happened in a world, peer by peer.

use pgturnout::session::PeerId;

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
