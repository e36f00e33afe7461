//! A session between peers that are byte strings, with the laws that hold after every step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgturnout::auth::{AdmitPolicy, Channel, Credential};
use pgturnout::route::{self, Health, ReaderFacts};
use pgturnout::session::{
    Action, ClientAuth, CloseCause, Config, ConnectFailed, Demand, Event, Gate, PeerId,
    ReaderFailure, ReaderOpen, Role, Seed, Session, Split, TlsFailed, TlsInfo, TlsRole, Transmit,
    Upstream,
};
use pgturnout::startup::{ALPN, ClientTls, TlsNegotiation, UpstreamTlsPolicy};
use pgturnout::wire::Header;

use super::contains;
use super::feed::Feed;
use super::server::Server;

/// The password of the sessions. No server here may ask for it, so nothing that goes out or is shown may hold it.
const NEEDLE: &str = "needle-in-a-haystack";

/// What the configuration of a world leaves open.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    pub(crate) gate: Gate,
    pub(crate) split: Split,
    pub(crate) reader_open: ReaderOpen,
    pub(crate) reader_failure: ReaderFailure,
    pub(crate) client_tls: ClientTls,
    pub(crate) upstream_tls: UpstreamTlsPolicy,
    /// The most that one write or one arrival moves.
    pub(crate) grain: usize,
    pub(crate) dials: Dials,
    pub(crate) login: Login,
}

/// What becomes of dials and TLS handshakes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dials {
    Succeed,
    /// They wait for [`World::resolve`].
    Wait,
}

/// Who checks the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Login {
    Relayed,
    /// We do, and ask nothing.
    Trusted,
    /// We do.
    Checked,
}

impl Options {
    pub(crate) fn plain() -> Options {
        Options {
            gate: Gate::Writer,
            split: Split::On,
            reader_open: ReaderOpen::OnFirstRead,
            reader_failure: ReaderFailure::UseWriter,
            client_tls: ClientTls::Disable,
            upstream_tls: UpstreamTlsPolicy::Disable,
            grain: usize::MAX,
            dials: Dials::Succeed,
            login: Login::Relayed,
        }
    }

    pub(crate) fn choose(feed: &mut Feed<'_>) -> Options {
        let bits = feed.byte();
        let bit = |at: u8| bits >> at & 1 == 1;
        Options {
            gate: if bit(0) { Gate::Reader } else { Gate::Writer },
            split: if bits & 0b1110 == 0b1110 {
                Split::Off
            } else {
                Split::On
            },
            reader_open: if bit(4) {
                ReaderOpen::AtLogin
            } else {
                ReaderOpen::OnFirstRead
            },
            reader_failure: if bit(5) {
                ReaderFailure::FailClient
            } else {
                ReaderFailure::UseWriter
            },
            client_tls: feed.one(&[
                ClientTls::Disable,
                ClientTls::Allow,
                ClientTls::Require,
                ClientTls::Passthrough,
            ]),
            upstream_tls: feed.one(&[
                UpstreamTlsPolicy::Disable,
                UpstreamTlsPolicy::Disable,
                UpstreamTlsPolicy::Prefer,
                UpstreamTlsPolicy::VerifyFull,
                UpstreamTlsPolicy::Allow,
            ]),
            grain: feed.one(&[usize::MAX, usize::MAX, 1, 7]),
            dials: if bit(6) { Dials::Wait } else { Dials::Succeed },
            login: match (bit(7), bit(5)) {
                (false, _) => Login::Relayed,
                (true, false) => Login::Trusted,
                (true, true) => Login::Checked,
            },
        }
    }

    fn config(&self) -> Config {
        let upstream = |name: &str, role| Upstream {
            name: name.to_owned(),
            role,
            tls: self.upstream_tls,
            tls_negotiation: TlsNegotiation::Postgres,
            methods: None,
        };
        let mut config = Config::new(vec![
            upstream("primary", Role::Writer),
            upstream("standby", Role::Reader),
            upstream("another", Role::Reader),
        ]);
        config.reader_choice.max_lag_bytes = Some(1);
        config.gate = self.gate;
        config.split = self.split;
        config.reader_open = self.reader_open;
        config.reader_failure = self.reader_failure;
        config.client_tls = self.client_tls;
        config.users.insert(b"locked", Credential::password(NEEDLE));
        let policy = AdmitPolicy::new([9; 32]);
        config.authentication = match self.login {
            // A session that passes unread cannot be checked.
            _ if self.client_tls == ClientTls::Passthrough => ClientAuth::Relay,
            Login::Relayed => ClientAuth::Relay,
            Login::Trusted => ClientAuth::Terminate(policy.allow_trust(Channel::Clear)),
            Login::Checked => {
                let policy = policy.allow_scram().allow_md5(Channel::Clear);
                ClientAuth::Terminate(policy.allow_cleartext())
            }
        };
        config
    }
}

/// The driver's side of one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Closed,
    Dialing,
    Open,
    Securing,
}

struct Peer {
    link: Link,
    /// Sent by the peer and not read yet.
    wire: Vec<u8>,
    buffer: Vec<u8>,
    /// All that it got on this connection.
    received: Vec<u8>,
    server: Server,
}

/// What happened to each peer. Their order is not told, and neither are events: which of two peers is asked first
/// depends on the driver, and the reason for a decision may be another when a reply was seen before it.
#[derive(Debug, Default)]
pub(crate) struct Story {
    cancels: usize,
    /// Of each peer, the connections made, secured and closed.
    links: [Vec<String>; PeerId::COUNT],
    /// Of each peer, what was heard on each connection.
    heard: [Vec<Vec<u8>>; PeerId::COUNT],
}

impl Story {
    /// Whether two stories are the same. If one of them ended before its client was reset, some of what was on its
    /// way counts for nobody any more, and how much of it depends on who was asked first: then it is only that both
    /// upstreams heard the same as far as they heard anything.
    pub(crate) fn agrees(&self, other: &Story) -> bool {
        if self.is_complete() && other.is_complete() {
            return (self.cancels, &self.links, &self.heard)
                == (other.cancels, &other.links, &other.heard);
        }
        let [_, ours @ ..] = &self.heard;
        let [_, theirs @ ..] = &other.heard;
        let mut pairs = ours.iter().flatten().zip(theirs.iter().flatten());
        pairs.all(|(a, b)| a.starts_with(b) || b.starts_with(a))
    }

    fn is_complete(&self) -> bool {
        let reset = format!("close: {}", CloseCause::ClientLost);
        self.links[PeerId::CLIENT.index()] == [reset]
    }
}

/// The session, its peers, and a record of what happened.
pub(crate) struct World {
    session: Session<route::Split>,
    peers: [Peer; PeerId::COUNT],
    now: Instant,
    options: Options,
    read_buffer: usize,
    /// Who sent something last.
    speaker: PeerId,
    story: Story,
    relays_blindly: bool,
    /// Both servers behaved so far.
    honest: bool,
}

impl World {
    #[allow(clippy::disallowed_methods, reason = "any instant will do for a start")]
    pub(crate) fn new(options: Options) -> World {
        let config = Arc::new(options.config());
        config.check().expect("a sound configuration");
        let now = Instant::now();
        let read_buffer = config.limits.read_buffer;
        let seed = Seed::new([7; Seed::LEN]);
        let peer = |link| Peer {
            link,
            wire: Vec::new(),
            buffer: Vec::new(),
            received: Vec::new(),
            server: Server::default(),
        };
        World {
            session: Session::new(config, route::Split, seed, now),
            peers: PeerId::ALL.map(|each| match each {
                PeerId::CLIENT => peer(Link::Open),
                _ => peer(Link::Closed),
            }),
            now,
            options,
            read_buffer,
            speaker: PeerId::CLIENT,
            story: Story::default(),
            relays_blindly: false,
            honest: true,
        }
    }

    /// The peer sends these bytes, if it is connected.
    pub(crate) fn says(&mut self, from: PeerId, bytes: &[u8]) {
        self.relays_blindly |= contains(bytes, b"replication");
        self.speaker = from;
        let peer = &mut self.peers[from.index()];
        if peer.link == Link::Open {
            peer.wire.extend_from_slice(bytes);
        }
    }

    /// A peer says what is not of its model.
    pub(crate) fn lies(&mut self, from: PeerId, bytes: &[u8]) {
        self.honest &= !from.is_upstream();
        self.says(from, bytes);
    }

    /// What a server that behaves would say now.
    pub(crate) fn answer_of(&mut self, from: PeerId, tls: u8) -> Vec<u8> {
        let peer = &mut self.peers[from.index()];
        if peer.link != Link::Open {
            return Vec::new();
        }
        peer.server.answer(&peer.received, tls)
    }

    pub(crate) fn eof(&mut self, peer: PeerId) {
        if self.peers[peer.index()].link == Link::Open {
            self.flush_in(peer);
            self.session.handle_eof(self.now, peer);
        }
    }

    pub(crate) fn reset(&mut self, peer: PeerId) {
        if self.peers[peer.index()].link == Link::Open {
            self.session.handle_reset(self.now, peer);
            self.peers[peer.index()].wire.clear();
        }
    }

    /// An end of a stream comes behind its last byte: those that do not fit the buffer are as good as never sent.
    fn flush_in(&mut self, peer: PeerId) {
        let peer = &mut self.peers[peer.index()];
        let room = self.read_buffer.saturating_sub(peer.buffer.len());
        peer.wire.truncate(room);
        peer.buffer.append(&mut peer.wire);
    }

    /// The driver has news of the readers: each is up, down or lags, by a digit to the base of three.
    pub(crate) fn knows(&mut self, digits: usize) {
        let facts = |digit: usize| ReaderFacts {
            health: match digit {
                1 => Health::Down,
                _ => Health::Up,
            },
            lag_bytes: (digit == 2).then_some(2),
            ..ReaderFacts::default()
        };
        let readers = [ReaderFacts::default(), facts(digits % 3), facts(digits / 3)];
        self.session.handle_readers(self.now, &readers);
    }

    pub(crate) fn shutdown(&mut self) {
        self.session.shutdown(self.now);
    }

    pub(crate) fn later(&mut self, by: Duration) {
        self.now += by;
        self.session.handle_timeout(self.now);
    }

    /// What waits for the driver is done, or fails.
    pub(crate) fn resolve(&mut self, peer: PeerId, well: bool) {
        let link = self.peers[peer.index()].link;
        match (link, well) {
            (Link::Closed | Link::Open, _) => {}
            (Link::Dialing, true) => {
                self.peers[peer.index()].link = Link::Open;
                self.session.handle_connected(self.now, peer, Ok(()));
            }
            (Link::Dialing, false) => {
                let why = ConnectFailed("refused".to_owned());
                self.session.handle_connected(self.now, peer, Err(why));
            }
            (Link::Securing, true) => {
                self.peers[peer.index()].link = Link::Open;
                let mut info = TlsInfo::default();
                info.alpn = Some(ALPN.into());
                self.session.handle_secured(self.now, peer, Ok(info));
            }
            (Link::Securing, false) => {
                let why = TlsFailed("no common cipher".to_owned());
                self.session.handle_secured(self.now, peer, Err(why));
            }
        }
    }

    /// Calls that no driver should make. They may end the session, and nothing else.
    pub(crate) fn misuse(&mut self, peer: PeerId, kind: usize) {
        let link = self.peers[peer.index()].link;
        match kind {
            // These are owed.
            1 if link == Link::Dialing => {}
            2 if link == Link::Securing => {}
            0 => self.session.transmitted(self.now, peer, usize::MAX),
            1 => self.session.handle_connected(self.now, peer, Ok(())),
            2 => self
                .session
                .handle_secured(self.now, peer, Ok(TlsInfo::default())),
            _ => self.session.handle_eof(self.now, peer),
        }
    }

    /// Carries out what can be done until nothing more can, and checks the laws on the way.
    pub(crate) fn settle(&mut self) {
        let waiting: usize = self
            .peers
            .iter()
            .map(|peer| peer.wire.len() + peer.buffer.len())
            .sum();
        let grain = self.options.grain.min(64);
        // Each turn moves a piece, and a byte that arrives can cause some dozens of ours.
        let bound = 1_000 + 100 * waiting * 64 / grain;
        let mut turns = 0;
        while self.turn() {
            turns += 1;
            assert!(turns < bound, "{turns} turns for {waiting} bytes");
        }
        assert_eq!(self.session.poll_timeout(), self.session.poll_timeout());
        if self.session.lifecycle().is_dead() {
            self.is_inert();
        }
    }

    fn turn(&mut self) -> bool {
        let mut moved = self.listen();
        for peer in PeerId::ALL {
            moved |= self.write(peer);
        }
        while let Some(action) = self.session.poll_action() {
            self.act(action);
            moved = true;
        }
        moved
    }

    /// Reads from one peer, or has its messages decided. Who spoke last is only asked when all others are stuck:
    /// what they hold back may go on after any message of it, whether the next came in the same piece or not.
    fn listen(&mut self) -> bool {
        let speaker = self.speaker;
        let others = PeerId::ALL.into_iter().filter(|peer| *peer != speaker);
        let mut peers = others.chain([speaker]);
        peers.any(|peer| self.decide(peer) || self.read(peer))
    }

    fn read(&mut self, from: PeerId) -> bool {
        let wanted = self.session.wants_read(from);
        let peer = &mut self.peers[from.index()];
        let room = self.read_buffer.saturating_sub(peer.buffer.len());
        let n = peer.wire.len().min(room).min(self.options.grain);
        if !wanted || n == 0 || peer.link != Link::Open {
            return false;
        }
        peer.buffer.extend(peer.wire.drain(..n));
        true
    }

    /// Decides one message of a peer, or as many as there are if nobody else waits for a turn.
    fn decide(&mut self, from: PeerId) -> bool {
        let waits = |peer: &Peer| !peer.buffer.is_empty() || !peer.wire.is_empty();
        let others = PeerId::ALL.into_iter().filter(|peer| *peer != from);
        let most = match others.map(|peer| &self.peers[peer.index()]).any(waits) {
            true => 1,
            false => usize::MAX,
        };
        let peer = &mut self.peers[from.index()];
        let before = peer.buffer.len();
        let mut again = 0;
        while again < most {
            match self.session.handle_input(self.now, from, &peer.buffer) {
                Demand::Again => again += 1,
                Demand::Bytes(n) => {
                    assert!(n <= self.read_buffer, "asks {from} for {n} bytes");
                    break;
                }
                Demand::Paused => break,
            }
            assert!(
                again < before + 200,
                "no end of decisions on {before} bytes of {from}"
            );
        }
        let dropped = self.session.take_discard(from, before);
        assert!(dropped <= before, "drops what never came");
        peer.buffer.drain(..dropped);
        again > 0 || dropped > 0
    }

    fn write(&mut self, to: PeerId) -> bool {
        let mut moved = false;
        loop {
            let offer = self.session.poll_transmit(to);
            assert_eq!(
                offer,
                self.session.poll_transmit(to),
                "polling changes nothing"
            );
            let Some(offer) = offer else { break };
            let link = self.peers[to.index()].link;
            assert!(
                matches!(link, Link::Open | Link::Securing),
                "bytes for {to}, which is {link:?}"
            );
            if link == Link::Securing {
                break;
            }
            let grain = self.options.grain;
            let bytes: Vec<u8> = match offer {
                Transmit::Owned(bytes) => bytes[..bytes.len().min(grain)].to_vec(),
                Transmit::Splice { from, max } => {
                    let buffer = &mut self.peers[from.index()].buffer;
                    let max = usize::try_from(max).unwrap_or(usize::MAX);
                    let n = buffer.len().min(max).min(grain);
                    buffer.drain(..n).collect()
                }
            };
            if bytes.is_empty() {
                break;
            }
            self.peers[to.index()].received.extend_from_slice(&bytes);
            self.session.transmitted(self.now, to, bytes.len());
            moved = true;
        }
        moved
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { peer, to } => {
                self.tell(peer, format!("connect to {to:?}"));
                assert_eq!(
                    self.peers[peer.index()].link,
                    Link::Closed,
                    "{peer} is dialled twice"
                );
                assert!(peer.is_upstream(), "the client is dialled");
                self.peers[peer.index()].link = Link::Dialing;
                self.peers[peer.index()].server = Server::default();
                if self.options.dials == Dials::Succeed {
                    self.resolve(peer, true);
                }
            }
            Action::StartTls { peer, role } => {
                self.tell(peer, "secure".to_owned());
                let ours = matches!(role, TlsRole::Server | TlsRole::DirectServer);
                assert_eq!(ours, peer == PeerId::CLIENT);
                assert_eq!(self.peers[peer.index()].link, Link::Open);
                if role == TlsRole::DirectServer {
                    // All of its handshake: how much more has come depends on how it was cut.
                    assert_eq!(self.peers[peer.index()].buffer.remove(0), 0x16);
                    self.peers[peer.index()].link = Link::Securing;
                    if self.options.dials == Dials::Succeed {
                        self.resolve(peer, true);
                    }
                    return;
                }
                assert_eq!(
                    self.peers[peer.index()].buffer,
                    b"",
                    "bytes in clear before TLS"
                );
                self.peers[peer.index()].link = Link::Securing;
                if self.options.dials == Dials::Succeed {
                    self.resolve(peer, true);
                }
            }
            Action::Close { peer, cause } => {
                assert_ne!(
                    self.peers[peer.index()].link,
                    Link::Closed,
                    "{peer} is closed twice"
                );
                let received = self.hang_up(peer);
                self.tell(peer, format!("close: {cause}"));
                self.judge(peer, &received);
            }
            Action::Finish { peer } => {
                assert_eq!(self.peers[peer.index()].link, Link::Open);
                self.tell(peer, "finish".to_owned());
            }
            Action::Cancel(_) => self.story.cancels += 1,
            // Where it is closed is checked; a stop changes nothing of that.
            Action::Stop(_) => {}
            Action::Notify(event) => {
                self.relays_blindly |= matches!(event, Event::RelayedWhole { .. });
                let shown = format!("{event:?}");
                assert!(!shown.contains(NEEDLE), "{shown}");
            }
            other => panic!("an action that the test does not know: {other:?}"),
        }
    }

    fn tell(&mut self, peer: PeerId, line: String) {
        self.story.links[peer.index()].push(line);
    }

    /// What happened so far.
    pub(crate) fn story(self) -> Story {
        self.story
    }

    fn hang_up(&mut self, peer: PeerId) -> Vec<u8> {
        self.answer_of(peer, b'N');
        let peer = &mut self.peers[peer.index()];
        peer.link = Link::Closed;
        peer.wire.clear();
        peer.buffer.clear();
        std::mem::take(&mut peer.received)
    }

    /// What a peer got on one connection: whole frames, at most the last one cut, and nothing that is not its own.
    fn judge(&mut self, peer: PeerId, received: &[u8]) {
        self.story.heard[peer.index()].push(received.to_vec());
        assert!(
            !contains(received, NEEDLE.as_bytes()),
            "the password goes to the {peer}"
        );
        if peer == PeerId::READER && self.honest {
            assert!(
                !self.peers[peer.index()].server.ran_a_write(),
                "a write on the reader"
            );
        }
        if self.relays_blindly {
            return;
        }
        let sound = match peer {
            // At most two answers of one byte come before the frames.
            PeerId::CLIENT => (0..3).any(|n| received.get(n..).is_none_or(frames_are_sound)),
            _ => upstream_is_sound(received),
        };
        assert!(sound, "the {peer} got no frames: {received:?}");
    }

    /// Everybody leaves and time passes: the session must end and be silent.
    pub(crate) fn end(&mut self) {
        let shown = format!("{:?}", self.session);
        assert!(!shown.contains(NEEDLE), "{shown}");
        self.reset(PeerId::CLIENT);
        self.settle();
        for _ in 0..20 {
            let Some((at, _)) = self.session.poll_timeout() else {
                break;
            };
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.settle();
        }
        assert!(
            self.session.lifecycle().is_dead(),
            "it lives: {:?}",
            self.session
        );
        for peer in PeerId::ALL {
            self.misuse(peer, 0);
            self.misuse(peer, 1);
            self.misuse(peer, 2);
            self.misuse(peer, 3);
        }
        self.session.shutdown(self.now);
        self.session
            .handle_timeout(self.now + Duration::from_secs(3_600));
        self.is_inert();
    }

    fn is_inert(&mut self) {
        assert!(
            self.session.poll_action().is_none(),
            "an action after the end"
        );
        assert_eq!(
            self.session.poll_timeout(),
            None,
            "a deadline after the end"
        );
        for peer in PeerId::ALL {
            assert_eq!(
                self.session.poll_transmit(peer),
                None,
                "bytes after the end"
            );
            assert!(!self.session.wants_read(peer), "reads after the end");
            assert_eq!(
                self.peers[peer.index()].link,
                Link::Closed,
                "{peer} was left open"
            );
        }
    }
}

fn frames_are_sound(mut rest: &[u8]) -> bool {
    loop {
        match Header::parse(rest) {
            Err(_) => return false,
            Ok(None) => return true,
            Ok(Some(header)) => match header.split(rest) {
                None => return true,
                Some((_, behind)) => rest = behind,
            },
        }
    }
}

/// An SSLRequest, if TLS was asked for, a StartupMessage, and frames.
fn upstream_is_sound(received: &[u8]) -> bool {
    let rest = received
        .strip_prefix(&[0, 0, 0, 8, 4, 210, 22, 47])
        .unwrap_or(received);
    let Some(word) = rest.first_chunk() else {
        return true;
    };
    let length = u32::from_be_bytes(*word) as usize;
    rest.get(length..).is_none_or(frames_are_sound)
}
