//! Bytes of a client's that nobody chose with the protocol in mind. Where they are whole messages that a client may send,
//! whatever is in them and whatever it was doing, they are held to what one server makes of them.

use pgturnout::wire::Header;

use super::super::setup::Spare;
use super::World;
use super::link::End;

/// The messages that a server takes of a client that is logged in.
const TAGS: &[u8] = b"QPBDECHSFXdcf";

impl World<'_> {
    /// Whether these bytes of the client, behind what it has said, are what a client may say.
    pub(super) fn is_legal(&self, bytes: &[u8]) -> bool {
        let link = &self.links[0];
        let whole = link.cut.is_none() && link.garbles.is_none() && link.end == End::Open;
        let known = self.client.is_ready() && !self.liars[0] && !self.is_whole();
        // Behind a copy that fails a server refuses what the copy ignores, and skips what a move asks of it then.
        let moves = self.setup.spare != Spare::None;
        whole && known && is_messages(bytes) && !(moves && has_refused_flush(bytes))
    }

    /// The client has said this, of which all but what waits in the network behind `at` came before.
    pub(super) fn says_between(&mut self, bytes: &[u8], at: usize) {
        let behind = self.links[0].wire.len() - at;
        let place = self.said.len() - behind;
        self.said.splice(place..place, bytes.iter().copied());
        self.interjected = true;
    }
}

/// Whether there is a Flush with a body among these messages.
fn has_refused_flush(mut bytes: &[u8]) -> bool {
    while let Ok(Some(header)) = Header::parse(bytes)
        && let Some((_, rest)) = header.split(bytes)
    {
        if header.tag == b'H' && header.body_len() > 0 {
            return true;
        }
        bytes = rest;
    }
    false
}

fn is_messages(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Ok(Some(header)) = Header::parse(bytes) else {
            return false;
        };
        let Some((_, rest)) = header.split(bytes) else {
            return false;
        };
        if !TAGS.contains(&header.tag) {
            return false;
        }
        bytes = rest;
    }
    true
}
