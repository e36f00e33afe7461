//! One connection: the driver's side of it, and the network behind it.

use super::super::cursor::Cursor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Dialing,
    Open,
    Securing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    /// The stream ends behind what was sent.
    Eof,
    /// The session was told.
    Told,
}

/// The driver's side of one connection, and the network behind it.
pub(crate) struct Link {
    pub(crate) state: State,
    /// Sent by the peer and not read yet.
    pub(crate) wire: Vec<u8>,
    /// The driver's read buffer.
    pub(crate) buffer: Vec<u8>,
    pub(super) end: End,
    pub(crate) stalled: bool,
    /// Nothing of it arrives.
    pub(super) mute: bool,
    /// One byte a turn passes.
    pub(super) trickles: bool,
    /// It was reset: nothing passes any more.
    pub(super) broken: bool,
    /// So many bytes are still to come before the stream ends.
    pub(super) cut: Option<usize>,
    /// A bit is wrong in the byte that comes after so many more.
    pub(super) garbles: Option<usize>,
    pub(super) refuses: bool,
    pub(super) hangs: bool,
    pub(super) tls_fails: bool,
    pub(super) tls_hangs: bool,
    pub(super) agrees: Agrees,
    /// The peer began TLS without asking; what it sent behind the beginning is encrypted.
    pub(super) begun: bool,
    pub(crate) secure: bool,
}

/// On which protocol the next TLS handshake agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::enum_variant_names,
    reason = "they are read as sentences: it agrees on ours"
)]
pub(super) enum Agrees {
    OnOurs,
    OnAnother,
    OnNone,
}

impl Link {
    pub(super) fn new(state: State) -> Link {
        Link {
            state,
            wire: Vec::new(),
            buffer: Vec::new(),
            end: End::Open,
            stalled: false,
            mute: false,
            trickles: false,
            broken: false,
            cut: None,
            garbles: None,
            refuses: false,
            hangs: false,
            tls_fails: false,
            tls_hangs: false,
            agrees: Agrees::OnOurs,
            begun: false,
            secure: false,
        }
    }

    /// Whether its peer is gone, and the session may not have been told.
    pub(crate) fn ends(&self) -> bool {
        self.end != End::Open
    }

    /// Whether the session knows that nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.end == End::Told
    }

    /// The peer sends this between two messages of those that are on their way already.
    pub(super) fn interrupts(&mut self, bytes: &[u8], arrived: &Cursor<()>) {
        let at = self.between(arrived);
        self.wire.splice(at..at, bytes.iter().copied());
    }

    /// How many bytes on their way end a message that has begun to arrive.
    pub(super) fn between(&self, arrived: &Cursor<()>) -> usize {
        let mut stream = arrived.clone();
        let mut at = 0;
        while !stream.is_between() && at < self.wire.len() {
            let _ = stream.pass(&self.wire[at..=at], ());
            at += 1;
        }
        at
    }

    /// The peer sends this.
    pub(super) fn sends(&mut self, bytes: &[u8]) {
        if self.end == End::Open && matches!(self.state, State::Open) {
            let left = self.cut.unwrap_or(usize::MAX);
            let n = bytes.len().min(left);
            let from = self.wire.len();
            self.wire.extend_from_slice(&bytes[..n]);
            match self.garbles {
                Some(at) if at < n => {
                    self.wire[from + at] ^= 1 << (at % 8);
                    self.garbles = None;
                }
                Some(at) => self.garbles = Some(at - n),
                None => {}
            }
            if let Some(cut) = &mut self.cut {
                *cut -= n;
                if *cut == 0 {
                    self.end = End::Eof;
                }
            }
        }
    }
}

impl Link {
    /// A new connection's link, with the faults that wait for it.
    pub(super) fn reopened(&self) -> Link {
        Link {
            refuses: self.refuses,
            hangs: self.hangs,
            tls_fails: self.tls_fails,
            tls_hangs: self.tls_hangs,
            agrees: self.agrees,
            ..Link::new(State::Closed)
        }
    }
}
