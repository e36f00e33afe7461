//! Sessions that the proxy hands through and does not read: those that the client and the server encrypt with each
//! other, and those of replication.

use pgturnout::session::PeerId;

use super::super::server::{HELLO, HELLO_BACK, Server, veil};
use super::super::setup::{Offer, Start};
use super::{State, World};

const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];

/// How many of a client's first bytes tell.
const OPENING: usize = GSSENC_REQUEST.len() + SSL_REQUEST.len();

impl World<'_> {
    /// Bytes of the client have come.
    pub(crate) fn opens(&mut self, bytes: &[u8]) {
        let n = (OPENING - self.opening.len()).min(bytes.len());
        self.opening.extend_from_slice(&bytes[..n]);
    }

    /// Whether the client began TLS with the server without asking.
    pub(crate) fn began_unasked(&self) -> bool {
        self.setup.client_tls == Offer::Passthrough && self.opening.first() == Some(&HELLO[0])
    }

    /// Whether client and server talk by themselves about encryption, as the client's first bytes have it.
    pub(crate) fn is_opaque(&self) -> bool {
        let opening = &self.opening[..];
        let opening = opening.strip_prefix(GSSENC_REQUEST).unwrap_or(opening);
        self.began_unasked()
            || self.setup.client_tls == Offer::Passthrough && opening.starts_with(SSL_REQUEST)
    }

    /// Whether nothing of the session is to be read, once it is logged in.
    pub(crate) fn is_whole(&self) -> bool {
        let replicates = self.setup.start == Start::Replication && !self.setup.wild;
        replicates || self.is_opaque()
    }

    /// Whether a connection was ever asked for.
    pub(crate) fn was_dialled(&self, peer: PeerId) -> bool {
        let closed = self.closes.iter().any(|(of, _)| *of == peer);
        closed || self.links[peer.index()].state != State::Closed
    }

    /// The next bytes that the session took of a peer, as the peer meant them.
    pub(super) fn unveiled(&mut self, peer: PeerId, bytes: &[u8]) -> Vec<u8> {
        let from = self.passed[peer.index()];
        self.passed[peer.index()] += bytes.len();
        let is_client = peer == PeerId::CLIENT;
        let (hello, asked, veiled) = match is_client {
            true => (HELLO.len(), SSL_REQUEST.len(), self.client.greets()),
            false => {
                let server = self.servers[peer.index()].as_ref();
                let veiled = server.is_some_and(Server::is_veiled);
                (HELLO_BACK.len(), 1, veiled)
            }
        };
        let clear = match (veiled, self.began_unasked()) {
            (false, _) => usize::MAX,
            (true, true) => 0,
            (true, false) => asked,
        };
        let at = |place: usize| place.saturating_sub(from).min(bytes.len());
        let (before, behind) = (at(clear), at(clear.saturating_add(hello)));
        let mut out = bytes[behind..].to_vec();
        veil(&mut out);
        [&bytes[..before], &out].concat()
    }
}
