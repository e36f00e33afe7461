//! A whole session on byte strings: no socket, no thread, and the same output every time.
//!
//! One client logs in at the primary, reads once (which opens the standby), writes once and leaves. What each peer
//! sends is written down here; who gets what is for the session to say. The README shows what is between the markers.
#![allow(clippy::disallowed_methods, reason = "any instant will do for a start")]

// README: begin
use std::sync::Arc;
use std::time::Instant;

use pgturnout::route::Split;
use pgturnout::session::{Action, Config, Demand, PeerId, Role, Seed, Session, Transmit, Upstream};
use pgturnout::startup::{TlsNegotiation, UpstreamTlsPolicy};

/// A session, and of each peer what it sent and nobody took yet, and what was written to it.
struct Driver {
    session: Session<Split>,
    now: Instant,
    sent: [Vec<u8>; PeerId::COUNT],
    written: [Vec<u8>; PeerId::COUNT],
}

impl Driver {
    /// A peer sends bytes. What is written to each peer because of them.
    fn sends(&mut self, from: PeerId, bytes: &[u8]) -> [Vec<u8>; PeerId::COUNT] {
        println!("{from} sends {}", bytes.escape_ascii());
        self.sent[from.index()].extend_from_slice(bytes);
        while self.decide() | self.write() | self.act() {}
        let written = std::mem::take(&mut self.written);
        for to in PeerId::ALL {
            println!("  {to} gets {}", written[to.index()].escape_ascii());
        }
        written
    }

    /// Shows the session what came, and drops what it has no more use for.
    fn decide(&mut self) -> bool {
        let mut progressed = false;
        for peer in PeerId::ALL {
            let sent = &mut self.sent[peer.index()];
            while self.session.handle_input(self.now, peer, sent) == Demand::Again {
                progressed = true;
            }
            let dropped = self.session.take_discard(peer, sent.len());
            sent.drain(..dropped);
            progressed |= dropped > 0;
        }
        progressed
    }

    /// Writes what the session says: bytes of its own, or those at the front of another peer's.
    fn write(&mut self) -> bool {
        let mut progressed = false;
        for to in PeerId::ALL {
            while let Some(transmit) = self.session.poll_transmit(to) {
                let bytes: Vec<u8> = match transmit {
                    Transmit::Owned(bytes) => bytes.to_vec(),
                    Transmit::Splice { from, max } => {
                        let sent = &mut self.sent[from.index()];
                        let n = sent.len().min(usize::try_from(max).unwrap_or(usize::MAX));
                        sent.drain(..n).collect()
                    }
                };
                if bytes.is_empty() {
                    break; // a splice of which nothing has arrived
                }
                self.written[to.index()].extend_from_slice(&bytes);
                self.session.transmitted(self.now, to, bytes.len());
                progressed = true;
            }
        }
        progressed
    }

    /// Carries out what is not a write.
    fn act(&mut self) -> bool {
        let mut progressed = false;
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Connect { peer, .. } => {
                    self.session.handle_connected(self.now, peer, Ok(()));
                }
                Action::Close { peer, .. } => self.sent[peer.index()].clear(),
                _ => {} // nothing is encrypted or cancelled here, and nobody counts events
            }
            progressed = true;
        }
        progressed
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream = |name: &str, role| Upstream {
        name: name.to_owned(),
        role,
        tls: UpstreamTlsPolicy::Disable,
        tls_negotiation: TlsNegotiation::Postgres,
        methods: None,
    };
    let primary = upstream("primary", Role::Writer);
    let standby = upstream("standby", Role::Reader);
    let config = Config::new(vec![primary, standby]);
    config.check()?;
    let now = Instant::now();
    let seed = Seed::new([7; Seed::LEN]); // from a cryptographic random source
    let mut driver = Driver {
        session: Session::new(Arc::new(config), Split, seed, now),
        now,
        sent: Default::default(),
        written: Default::default(),
    };

    // The client's StartupMessage goes to the primary as it is, and the answer back, but for the cancel key: a server
    // that trusts says AuthenticationOk, BackendKeyData, ReadyForQuery.
    let startup = b"\0\0\0\x12\0\x03\0\0user\0app\0\0";
    let welcome = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\x12\x67\x01\x02\x03\x04Z\0\0\0\x05I";
    let [_, writer, ..] = driver.sends(PeerId::CLIENT, startup);
    assert_eq!(writer, startup);
    let [client, ..] = driver.sends(PeerId::WRITER, welcome);
    assert_eq!(client[..18], welcome[..18]); // up to the secret of BackendKeyData, which is the session's own
    assert_ne!(client[18..22], welcome[18..22]);
    assert_eq!(client[22..], welcome[22..]);

    // A read: the standby is logged in to first, with the client's own StartupMessage, and asked something that it refuses to
    // sessions that may not read there. The client sees none of it.
    let read = b"Q\0\0\0\x26select name from users where id=7\0";
    let rows = b"D\0\0\0\x0f\0\x01\0\0\0\x05aliceC\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
    let asked = b"Q\0\0\0\x1aselect 1 as pgturnout\0";
    let answer = b"D\0\0\0\x0b\0\x01\0\0\0\x011C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
    let [_, _, reader, ..] = driver.sends(PeerId::CLIENT, read);
    assert_eq!(reader, startup);
    let [_, _, reader, ..] = driver.sends(PeerId::READER, welcome);
    assert_eq!(reader, asked);
    let [client, _, reader, ..] = driver.sends(PeerId::READER, answer);
    assert!(client.is_empty());
    assert_eq!(reader, read);
    let [client, ..] = driver.sends(PeerId::READER, rows);
    assert_eq!(client, rows);

    // A write.
    let write = b"Q\0\0\0\x16delete from users\0";
    let done = b"C\0\0\0\x0dDELETE 1\0Z\0\0\0\x05I";
    let [_, writer, reader, ..] = driver.sends(PeerId::CLIENT, write);
    assert_eq!(writer, write);
    assert!(reader.is_empty());
    let [client, ..] = driver.sends(PeerId::WRITER, done);
    assert_eq!(client, done);

    // Terminate goes to both, and the session is over.
    let terminate = b"X\0\0\0\x04";
    let [_, writer, reader, ..] = driver.sends(PeerId::CLIENT, terminate);
    assert_eq!(writer, terminate);
    assert_eq!(reader, terminate);
    assert!(driver.session.lifecycle().is_dead());
    Ok(())
}
// README: end

#[cfg(test)]
mod tests {
    #[test]
    fn the_session_plays_as_written() {
        super::main().unwrap();
    }
}
