//! A whole session on byte strings: no socket, no clock that matters, the same output every time.
//!
//! One client logs in through the proxy at the primary, reads once (which opens the standby) and writes once. What
//! each party sends is written down here; who receives what is for the session to say.
#![allow(clippy::disallowed_methods, reason = "any instant will do for a start")]

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pgturnout::route;
use pgturnout::session::{Action, Config, Demand, PeerId, Role, Seed, Session, Transmit, Upstream};
use pgturnout::startup::{ProtocolVersion, UpstreamTlsPolicy, encode_startup};
use pgturnout::wire::{Authentication, Backend, Frontend, Header, Query, TransactionStatus};

const STORY: &str = "\
client says a StartupMessage
  dial the writer, primary
  writer hears a StartupMessage
writer says R K Z
  client hears R K Z
client says Q
  dial the reader, standby
  reader hears a StartupMessage
reader says R K Z
  reader hears Q
reader says D C Z
  client hears D C Z
client says Q
  writer hears Q
writer says C Z
  client hears C Z
client says X
  writer hears X
  reader hears X
  hang up on the client
  hang up on the writer
  hang up on the reader
";

fn main() {
    let mut play = Play::new();

    play.says(PeerId::CLIENT, &startup_message());
    play.says(PeerId::WRITER, &login());
    play.says(
        PeerId::CLIENT,
        &query("select name from users where id = 7"),
    );
    play.says(PeerId::READER, &login());
    play.says(
        PeerId::READER,
        &[
            b"D\0\0\0\x0f\0\x01\0\0\0\x05alice",
            &complete("SELECT 1")[..],
        ]
        .concat(),
    );
    play.says(
        PeerId::CLIENT,
        &query("update users set name = 'bob' where id = 7"),
    );
    play.says(PeerId::WRITER, &complete("UPDATE 1"));
    play.says(PeerId::CLIENT, &frontend(Frontend::Terminate));

    print!("{}", play.story);
    assert_eq!(play.story, STORY);
    assert!(play.session.lifecycle().is_dead());
}

/// The session, and of each peer what it has sent and nobody took yet, and what it has received and was not told yet.
struct Play {
    session: Session<route::Split>,
    config: Arc<Config>,
    sent: [Vec<u8>; PeerId::COUNT],
    received: [Vec<u8>; PeerId::COUNT],
    now: Instant,
    story: String,
}

impl Play {
    fn new() -> Play {
        let upstream = |name: &str, role| Upstream {
            name: name.to_owned(),
            role,
            tls: UpstreamTlsPolicy::Disable,
            methods: None,
        };
        let primary = upstream("primary", Role::Writer);
        let standby = upstream("standby", Role::Reader);
        let config = Arc::new(Config::new(vec![primary, standby]));
        let now = Instant::now();
        // A real driver takes these bytes from its random source.
        let seed = Seed::new([7; Seed::LEN]);
        Play {
            session: Session::new(Arc::clone(&config), route::Split, seed, now),
            config,
            sent: Default::default(),
            received: Default::default(),
            now,
            story: String::new(),
        }
    }

    fn says(&mut self, peer: PeerId, bytes: &[u8]) {
        self.tell(&format!("{peer} says {}", messages(bytes)));
        self.sent[peer.index()].extend_from_slice(bytes);
        while self.turn() {}
        self.hear();
    }

    /// What every driver does: show what came, write what is to be written, carry out what is asked.
    fn turn(&mut self) -> bool {
        let mut progressed = false;
        for peer in PeerId::ALL {
            let sent = &mut self.sent[peer.index()];
            while self.session.handle_input(self.now, peer, sent) == Demand::Again {
                progressed = true;
            }
            let dropped = self.session.take_discard(peer, sent.len());
            sent.drain(..dropped);
        }
        for peer in PeerId::ALL {
            progressed |= self.write(peer);
        }
        while let Some(action) = self.session.poll_action() {
            self.act(action);
            progressed = true;
        }
        progressed
    }

    fn write(&mut self, to: PeerId) -> bool {
        let mut progressed = false;
        while let Some(transmit) = self.session.poll_transmit(to) {
            let received = &mut self.received[to.index()];
            let n = match transmit {
                Transmit::Owned(bytes) => {
                    received.extend_from_slice(bytes);
                    bytes.len()
                }
                Transmit::Splice { from, max } => {
                    let sent = &mut self.sent[from.index()];
                    let n = sent.len().min(usize::try_from(max).unwrap_or(usize::MAX));
                    received.extend(sent.drain(..n));
                    n
                }
            };
            if n == 0 {
                break;
            }
            self.session.transmitted(self.now, to, n);
            progressed = true;
        }
        progressed
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { peer, to } => {
                self.hear();
                self.tell(&format!(
                    "  dial the {peer}, {}",
                    self.config.upstreams[to.0].name
                ));
                self.session.handle_connected(self.now, peer, Ok(()));
            }
            Action::Close { peer, .. } => {
                self.hear();
                self.sent[peer.index()].clear();
                self.tell(&format!("  hang up on the {peer}"));
            }
            // Nothing here is encrypted or cancelled, and nobody counts events.
            _ => {}
        }
    }

    /// Tells what was received since the last time.
    fn hear(&mut self) {
        for peer in PeerId::ALL {
            let received = std::mem::take(&mut self.received[peer.index()]);
            if !received.is_empty() {
                self.tell(&format!("  {peer} hears {}", messages(&received)));
            }
        }
    }

    fn tell(&mut self, line: &str) {
        self.story.push_str(line);
        self.story.push('\n');
    }
}

/// The tags of the messages, or what a packet without a tag is.
fn messages(mut bytes: &[u8]) -> String {
    if bytes.first() == Some(&0) {
        return "a StartupMessage".to_owned();
    }
    let mut tags = Vec::new();
    while let Ok(Some(header)) = Header::parse(bytes) {
        tags.push(char::from(header.tag).to_string());
        let length = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    tags.join(" ")
}

fn startup_message() -> BytesMut {
    let mut out = BytesMut::new();
    let params: [(&[u8], &[u8]); 2] = [(b"user", b"app"), (b"database", b"shop")];
    encode_startup(ProtocolVersion::V3_0, params, &mut out).expect("no NUL in it");
    out
}

/// A server that trusts, up to its first ReadyForQuery.
fn login() -> BytesMut {
    let mut out = backend(Backend::Authentication(Authentication::Ok));
    let key = Backend::BackendKeyData {
        process_id: 4711,
        secret: b"\x01\x02\x03\x04",
    };
    out.extend(backend(key));
    out.extend(backend(ready()));
    out
}

fn complete(tag: &str) -> BytesMut {
    let mut out = backend(Backend::CommandComplete {
        tag: tag.as_bytes(),
    });
    out.extend(backend(ready()));
    out
}

fn ready() -> Backend<'static> {
    Backend::ReadyForQuery {
        status: TransactionStatus::Idle,
    }
}

fn query(text: &str) -> BytesMut {
    frontend(Frontend::Query(Query {
        text: text.as_bytes(),
    }))
}

fn frontend(message: Frontend<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out).expect("no NUL in it");
    out
}

fn backend(message: Backend<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out).expect("no NUL in it");
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_session_plays_as_written() {
        super::main();
    }
}
