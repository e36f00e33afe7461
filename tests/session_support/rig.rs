use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgturnout::auth::{ExternalAnswer, FoundUser};
use pgturnout::route::{Route, Split};
use pgturnout::session::{
    Action, CancelEnd, CancelTarget, CancelTicket, CloseCause, Config, ConnectFailed,
    DefaultIsolation, Demand, Denial, Destination, Event, Lifecycle, PeerId, Role, Seed, Session,
    Timer, TlsFailed, TlsInfo, TlsRole, Transmit, Upstream,
};
use pgturnout::startup::{ProtocolVersion, StartupParams, TlsNegotiation, UpstreamTlsPolicy};

use super::frames::{backend, frontend, show_backend, show_frontend};

/// How many bytes one read and one write carry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chunk {
    Whole,
    Bytes(usize),
    /// Between 1 and 40, from a generator with this seed.
    Seeded(u64),
}

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    Accept,
    Refuse,
    /// And accept the next.
    RefuseOnce,
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Eof,
    Reset,
    Told,
}

struct Peer {
    open: bool,
    /// What it has sent and nobody has read.
    wire: VecDeque<u8>,
    /// Zeros that it sends behind that.
    flood: u64,
    buffer: Vec<u8>,
    end: End,
    /// What it was sent since the last look.
    got: Vec<u8>,
    /// Where in that its newest connection begins, if it was made since.
    begun: Option<usize>,
    /// What it was sent in all, over all its connections.
    total: u64,
    digest: u64,
    /// Whether its socket takes bytes.
    takes: bool,
    keeps: bool,
    dial: Dial,
    secures: Result<(), ()>,
    /// What is known of its handshake.
    info: TlsInfo,
    /// Whether our direction of its connection was ended.
    finished: bool,
}

impl Peer {
    fn new(open: bool) -> Peer {
        Peer {
            open,
            wire: VecDeque::new(),
            flood: 0,
            buffer: Vec::new(),
            end: End::Open,
            got: Vec::new(),
            begun: None,
            total: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            takes: true,
            keeps: true,
            dial: Dial::Accept,
            secures: Ok(()),
            info: TlsInfo::default(),
            finished: false,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        assert!(
            !self.finished || bytes.is_empty(),
            "written to behind its end"
        );
        self.total += bytes.len() as u64;
        if self.keeps {
            for byte in bytes {
                self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
            self.got.extend_from_slice(bytes);
        }
    }
}

pub(crate) struct Rig<R = Split> {
    pub(crate) session: Session<R>,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    pub(crate) closes: Vec<(PeerId, CloseCause)>,
    /// Where upstreams were dialled.
    pub(crate) dialled: Vec<(PeerId, Destination)>,
    pub(crate) cancels: usize,
    /// The cancels that have begun, and not been said to have ended.
    pub(crate) tickets: VecDeque<CancelTicket>,
    /// Which upstreams are to be told to stop.
    pub(crate) stops: Vec<PeerId>,
    pub(crate) handshakes: Vec<(PeerId, bool)>,
    /// How the last upstream's certificate is to be verified.
    pub(crate) verifies: Option<UpstreamTlsPolicy>,
    /// What upstreams asked of the caller.
    pub(crate) questions: Vec<(PeerId, Vec<u8>)>,
    /// The users that the caller was asked to look up.
    pub(crate) lookups: Vec<Vec<u8>>,
    /// The number of the last of these.
    pub(crate) question: u64,
    /// How often the session decided something about its input.
    pub(crate) steps: u64,
    /// What the scripts said, for comparison between chunkings.
    pub(crate) transcript: Vec<String>,
    peers: [Peer; PeerId::COUNT],
    capacity: usize,
    chunk: Chunk,
    random: u64,
}

const WRITER: &str = "S(server_version,15.18) S(server_encoding,UTF8) S(client_encoding,UTF8) \
    S(standard_conforming_strings,on) S(DateStyle,ISO, MDY) S(TimeZone,UTC) K(4711,wkey) Z(I)";
const READER: &str = "S(server_version,15.18) S(server_encoding,UTF8) S(client_encoding,UTF8) \
    S(standard_conforming_strings,on) S(DateStyle,ISO, MDY) S(TimeZone,UTC) S(in_hot_standby,on) K(815,rkey) Z(I)";

/// What a server says behind AuthenticationOk.
pub(crate) fn login(peer: PeerId) -> &'static str {
    if peer == PeerId::WRITER {
        WRITER
    } else {
        READER
    }
}

pub(crate) fn upstream(role: Role) -> Upstream {
    Upstream {
        name: format!("{role:?}"),
        role,
        tls: UpstreamTlsPolicy::Disable,
        tls_negotiation: TlsNegotiation::Postgres,
        methods: None,
    }
}

/// A writer and a reader, both without TLS.
pub(crate) fn config() -> Config {
    let mut config = Config::new(vec![upstream(Role::Writer), upstream(Role::Reader)]);
    // Fewer words in every script; those of the question are in its own.
    config.default_isolation = DefaultIsolation::Assumed;
    config
}

pub(crate) fn startup(version: ProtocolVersion) -> Vec<u8> {
    let pairs = [(&b"user"[..], &b"alice"[..]), (b"database", b"app")];
    StartupParams::build(version, pairs).unwrap().raw().to_vec()
}

static ZEROS: [u8; 65_536] = [0; 65_536];

const CHUNKS: [Chunk; 5] = [
    Chunk::Whole,
    Chunk::Bytes(1),
    Chunk::Bytes(7),
    Chunk::Seeded(1),
    Chunk::Seeded(2),
];

/// Runs a script under every chunking; all must come out the same (L2).
pub(crate) fn each(make: impl Fn() -> Config, script: impl Fn(&mut Rig)) {
    each_routed(make, Split, script);
}

/// The same with a policy of the caller's.
pub(crate) fn each_routed<R: Route + Copy>(
    make: impl Fn() -> Config,
    route: R,
    script: impl Fn(&mut Rig<R>),
) {
    let mut first: Option<Vec<String>> = None;
    for chunk in CHUNKS {
        let mut rig = Rig::with_route(make(), chunk, route);
        script(&mut rig);
        rig.run();
        let outcome = rig.outcome();
        match &first {
            None => first = Some(outcome),
            Some(first) => assert_eq!(*first, outcome, "{chunk:?}"),
        }
    }
}

impl Rig {
    pub(crate) fn new(config: Config, chunk: Chunk) -> Rig {
        Rig::with_route(config, chunk, Split)
    }
}

impl<R: Route> Rig<R> {
    #[allow(
        clippy::disallowed_methods,
        reason = "some instant to count from; no outcome depends on which"
    )]
    pub(crate) fn with_route(config: Config, chunk: Chunk, route: R) -> Rig<R> {
        let capacity = config.limits.read_buffer;
        let now = Instant::now();
        let mut seed = [0; Seed::LEN];
        for (at, byte) in seed.iter_mut().enumerate() {
            *byte = b"SECRETSEEDBYTES!"[at % 16];
        }
        Rig {
            session: Session::new(Arc::new(config), route, Seed::new(seed), now),
            now,
            events: Vec::new(),
            closes: Vec::new(),
            dialled: Vec::new(),
            cancels: 0,
            tickets: VecDeque::new(),
            stops: Vec::new(),
            handshakes: Vec::new(),
            verifies: None,
            questions: Vec::new(),
            lookups: Vec::new(),
            question: 0,
            steps: 0,
            transcript: Vec::new(),
            peers: PeerId::ALL.map(|peer| Peer::new(peer == PeerId::CLIENT)),
            capacity,
            chunk,
            random: match chunk {
                Chunk::Seeded(seed) => seed,
                Chunk::Whole | Chunk::Bytes(_) => 0,
            },
        }
    }

    /// A session whose client is logged in through the writer.
    pub(crate) fn logged_in(&mut self) {
        self.raw(PeerId::CLIENT, &startup(ProtocolVersion::V3_0));
        self.take_startup(PeerId::WRITER);
        self.say(PeerId::WRITER, "R");
        self.say(PeerId::WRITER, WRITER);
        self.take(PeerId::CLIENT);
    }

    /// A session with both upstreams at work; the reader by a first read.
    pub(crate) fn both(&mut self) {
        self.logged_in();
        self.client("Q(select 0)");
        self.reader_in();
        self.see(PeerId::READER, "Q(select 0)");
        self.reader("T D(0) C(SELECT 1) Z(I)");
        self.see(PeerId::CLIENT, "T D(0) C(SELECT 1) Z(I)");
        self.events.clear();
    }

    /// A reader that was lost is tried beside the next read, which the writer serves, and serves again.
    pub(crate) fn reader_again(&mut self) {
        self.pass(Duration::from_secs(60));
        self.client("Q(select 8)");
        self.see(PeerId::WRITER, "Q(select 8)");
        self.writer("T D(8) C(SELECT 1) Z(I)");
        self.reader_in();
        self.see(PeerId::CLIENT, "T D(8) C(SELECT 1) Z(I)");
    }

    /// The reader lets us in without a password.
    pub(crate) fn reader_in(&mut self) {
        self.take_startup(PeerId::READER);
        self.say(PeerId::READER, "R");
        self.say(PeerId::READER, READER);
    }

    pub(crate) fn take_startup(&mut self, peer: PeerId) {
        let got = self.take(peer);
        assert_eq!(got, startup(ProtocolVersion::V3_0), "{peer}");
    }

    /// A peer sends bytes, and everything that follows from them happens.
    pub(crate) fn raw(&mut self, peer: PeerId, bytes: &[u8]) {
        assert!(self.is_open(peer), "{peer} is not connected");
        self.peers[peer.index()].wire.extend(bytes);
        self.run();
    }

    /// A peer sends messages, and everything that follows from them happens.
    pub(crate) fn say(&mut self, peer: PeerId, script: &str) {
        let bytes = if peer == PeerId::CLIENT {
            frontend(script)
        } else {
            backend(script)
        };
        self.raw(peer, &bytes);
    }

    pub(crate) fn client(&mut self, script: &str) {
        self.say(PeerId::CLIENT, script);
    }

    pub(crate) fn writer(&mut self, script: &str) {
        self.say(PeerId::WRITER, script);
    }

    pub(crate) fn reader(&mut self, script: &str) {
        self.say(PeerId::READER, script);
    }

    /// A peer sends so many zeros behind what it has sent.
    pub(crate) fn flood(&mut self, peer: PeerId, count: u64) {
        self.peers[peer.index()].flood = count;
        self.run();
    }

    /// What a peer was sent since the last look.
    pub(crate) fn take(&mut self, peer: PeerId) -> Vec<u8> {
        std::mem::take(&mut self.peers[peer.index()].got)
    }

    /// What a peer was sent since the last look on its newest connection, and whether that is a new one.
    pub(crate) fn take_newest(&mut self, peer: PeerId) -> (Vec<u8>, bool) {
        let begun = self.peers[peer.index()].begun.take();
        let mut got = self.take(peer);
        (got.split_off(begun.unwrap_or(0)), begun.is_some())
    }

    /// What a peer was sent since the last look, in the notation.
    pub(crate) fn shown(&mut self, peer: PeerId) -> String {
        let got = self.take(peer);
        if peer == PeerId::CLIENT {
            show_backend(&got)
        } else {
            show_frontend(&got)
        }
    }

    /// A peer was sent this since the last look.
    #[track_caller]
    pub(crate) fn see(&mut self, peer: PeerId, script: &str) {
        let shown = self.shown(peer);
        assert_eq!(shown, script, "at the {peer}, {:?}", self.chunk);
        self.transcript.push(format!("{peer}: {shown}"));
    }

    /// Both upstreams and the client were sent nothing since the last look.
    #[track_caller]
    pub(crate) fn silence(&mut self) {
        for peer in PeerId::ALL {
            self.see(peer, "");
        }
    }

    pub(crate) fn eof(&mut self, peer: PeerId) {
        self.peers[peer.index()].end = End::Eof;
        self.run();
    }

    pub(crate) fn reset(&mut self, peer: PeerId) {
        self.peers[peer.index()].end = End::Reset;
        self.run();
    }

    /// Whether a peer's socket takes bytes.
    pub(crate) fn takes(&mut self, peer: PeerId, takes: bool) {
        self.peers[peer.index()].takes = takes;
        self.run();
    }

    /// A peer's socket takes so many bytes of what is offered first, and no more.
    pub(crate) fn takes_only(&mut self, peer: PeerId, bytes: usize) {
        self.takes(peer, false);
        self.write(peer, bytes);
    }

    /// Counts what a peer is sent instead of keeping it.
    pub(crate) fn count_only(&mut self, peer: PeerId) {
        self.peers[peer.index()].keeps = false;
    }

    pub(crate) fn total(&self, peer: PeerId) -> u64 {
        self.peers[peer.index()].total
    }

    /// Bytes that a peer has sent and nobody has read.
    pub(crate) fn unread(&self, peer: PeerId) -> u64 {
        let peer = &self.peers[peer.index()];
        peer.wire.len() as u64 + peer.flood
    }

    pub(crate) fn dials(&mut self, peer: PeerId, dial: Dial) {
        self.peers[peer.index()].dial = dial;
    }

    pub(crate) fn tls_fails(&mut self, peer: PeerId) {
        self.peers[peer.index()].secures = Err(());
    }

    /// What its TLS handshake tells.
    pub(crate) fn tls(&mut self, peer: PeerId, info: TlsInfo) {
        self.knows(peer, info);
    }

    /// What ALPN agrees on with a peer.
    pub(crate) fn agrees_on(&mut self, peer: PeerId, alpn: Option<&'static [u8]>) {
        self.peers[peer.index()].info.alpn = alpn.map(Box::from);
    }

    /// What is known of a peer's handshake.
    pub(crate) fn knows(&mut self, peer: PeerId, info: TlsInfo) {
        self.peers[peer.index()].info = info;
    }

    /// Whether our direction of a peer's connection was ended.
    pub(crate) fn is_finished(&self, peer: PeerId) -> bool {
        self.peers[peer.index()].finished
    }

    pub(crate) fn is_open(&self, peer: PeerId) -> bool {
        self.peers[peer.index()].open
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.session.lifecycle().is_dead()
    }

    /// Why the session ended.
    #[track_caller]
    pub(crate) fn cause(&self) -> CloseCause {
        match self.session.lifecycle() {
            Lifecycle::Dead(cause) => cause.clone(),
            other => panic!("the session is not dead but {other:?}"),
        }
    }

    /// Lets the time pass up to the next deadline, which must be this one.
    #[track_caller]
    pub(crate) fn expire(&mut self, timer: Timer) {
        let (at, next) = self.session.poll_timeout().expect("a deadline");
        assert_eq!(next, timer);
        self.now = self.now.max(at);
        self.session.handle_timeout(self.now);
        assert!(
            self.session
                .poll_timeout()
                .is_none_or(|(at, _)| at > self.now),
            "a deadline was left behind"
        );
        self.run();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
        self.run();
    }

    /// The caller answers the last question of a login of ours.
    pub(crate) fn authenticate(
        &mut self,
        peer: PeerId,
        answer: Result<ExternalAnswer<'_>, String>,
    ) {
        let (now, question) = (self.now, self.question);
        let session = &mut self.session;
        session.handle_authentication(now, peer, question, answer);
        self.run();
    }

    pub(crate) fn shutdown(&mut self) {
        self.session.shutdown(self.now);
        self.run();
    }

    /// A cancel for this is sent, if it may be.
    pub(crate) fn cancel_begins(&mut self, target: &CancelTarget) -> bool {
        let ticket = self.session.cancel_begins(self.now, target);
        self.tickets.extend(ticket);
        self.run();
        ticket.is_some()
    }

    /// The connection of the first of those was closed by the server.
    pub(crate) fn cancel_ended(&mut self) -> CancelEnd {
        let ticket = self.tickets.pop_front().expect("a cancel has begun");
        let end = self.session.cancel_ended(self.now, ticket);
        self.run();
        end
    }

    /// The caller has looked a user up.
    pub(crate) fn found(&mut self, found: Result<FoundUser, String>) {
        self.session.handle_user(self.now, found);
        self.run();
    }

    pub(crate) fn expel(&mut self, denial: Denial) {
        self.session.expel(self.now, denial);
        self.run();
    }

    /// The upstreams that requests were routed to since the last look.
    pub(crate) fn routed(&mut self) -> Vec<PeerId> {
        let routed = self.events.iter().filter_map(|event| match event {
            Event::Routed { peer, .. } => Some(*peer),
            _ => None,
        });
        let routed = routed.collect();
        self.events.clear();
        routed
    }

    pub(crate) fn has_event(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    fn outcome(&self) -> Vec<String> {
        let mut out = self.transcript.clone();
        for (id, peer) in PeerId::ALL.iter().zip(&self.peers) {
            out.push(format!("{id}: {} bytes, {:x}", peer.total, peer.digest));
        }
        // When a connection closes depends on when its last bytes could be written.
        let mut closes = self.closes.clone();
        closes.sort_by_key(|(peer, _)| *peer);
        out.push(format!("{closes:?} {:?}", self.session.lifecycle()));
        out
    }

    fn step_size(&mut self) -> usize {
        match self.chunk {
            Chunk::Whole => usize::MAX,
            Chunk::Bytes(bytes) => bytes,
            Chunk::Seeded(_) => {
                self.random = self
                    .random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                1 + (self.random >> 33) as usize % 40
            }
        }
    }

    /// Does what a driver does until nothing more happens.
    pub(crate) fn run(&mut self) {
        let mut turns = 0_u64;
        while self.turn() {
            turns += 1;
            assert!(turns < 20_000_000, "the session never rests");
        }
    }

    fn turn(&mut self) -> bool {
        let mut progress = false;
        while let Some(action) = self.session.poll_action() {
            self.carry_out(action);
            progress = true;
        }
        for peer in PeerId::ALL {
            progress |= self.receive(peer);
        }
        for peer in PeerId::ALL {
            let mut calls = 0;
            let index = peer.index();
            while self.peers[index].open
                && self
                    .session
                    .handle_input(self.now, peer, &self.peers[index].buffer)
                    == Demand::Again
            {
                progress = true;
                calls += 1;
                self.steps += 1;
                assert!(calls < 1_000_000, "{peer}: again for ever");
                if self.session.poll_timeout().is_some() && calls % 32 == 0 {
                    break;
                }
            }
            let available = self.peers[index].buffer.len();
            let dropped = self.session.take_discard(peer, available);
            assert!(dropped <= available);
            self.peers[index].buffer.drain(..dropped);
            progress |= dropped > 0;
        }
        for peer in PeerId::ALL {
            progress |= self.send(peer);
        }
        progress
    }

    /// One read.
    fn receive(&mut self, id: PeerId) -> bool {
        let size = self.step_size();
        let wants = self.session.wants_read(id);
        let peer = &mut self.peers[id.index()];
        if !peer.open {
            return false;
        }
        if peer.end == End::Reset {
            peer.end = End::Told;
            peer.takes = false;
            self.session.handle_reset(self.now, id);
            return true;
        }
        if !wants {
            return false;
        }
        let room = self.capacity - peer.buffer.len();
        let count = room.min(size).min(peer.wire.len());
        let (front, back) = peer.wire.as_slices();
        let first = count.min(front.len());
        peer.buffer.extend_from_slice(&front[..first]);
        peer.buffer.extend_from_slice(&back[..count - first]);
        peer.wire.drain(..count);
        let zeros = (room - count)
            .min(size)
            .min(usize::try_from(peer.flood).unwrap_or(usize::MAX));
        if peer.wire.is_empty() && zeros > 0 {
            let zeros = zeros.min(ZEROS.len());
            peer.buffer.extend_from_slice(&ZEROS[..zeros]);
            peer.flood -= zeros as u64;
            return true;
        }
        if count == 0 && peer.wire.is_empty() && peer.end == End::Eof {
            peer.end = End::Told;
            self.session.handle_eof(self.now, id);
            return true;
        }
        count > 0
    }

    /// One write.
    fn send(&mut self, id: PeerId) -> bool {
        let size = self.step_size();
        let peer = &self.peers[id.index()];
        peer.open && peer.takes && self.write(id, size)
    }

    /// One write of so many bytes at most.
    fn write(&mut self, id: PeerId, size: usize) -> bool {
        let index = id.index();
        let sent = match self.session.poll_transmit(id) {
            None => return false,
            Some(Transmit::Owned(bytes)) => {
                let bytes = &bytes[..bytes.len().min(size)];
                self.peers[index].take(bytes);
                bytes.len()
            }
            Some(Transmit::Splice { from, max }) => {
                let max = usize::try_from(max).unwrap_or(usize::MAX).min(size);
                let mut source = std::mem::take(&mut self.peers[from.index()].buffer);
                let count = max.min(source.len());
                self.peers[index].take(&source[..count]);
                source.drain(..count);
                self.peers[from.index()].buffer = source;
                count
            }
        };
        if sent > 0 {
            self.session.transmitted(self.now, id, sent);
        }
        sent > 0
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Connect { peer, to } => {
                self.dialled.push((peer, to));
                let slot = &mut self.peers[peer.index()];
                assert!(!slot.open, "{peer} is connected already");
                match slot.dial {
                    Dial::Accept => {
                        slot.open = true;
                        slot.begun = Some(slot.got.len());
                        slot.end = End::Open;
                        slot.takes = true;
                        slot.finished = false;
                        self.session.handle_connected(self.now, peer, Ok(()));
                    }
                    Dial::Refuse => {
                        let failed = ConnectFailed("connection refused".to_owned());
                        self.session.handle_connected(self.now, peer, Err(failed));
                    }
                    Dial::RefuseOnce => {
                        slot.dial = Dial::Accept;
                        let failed = ConnectFailed("connection refused".to_owned());
                        self.session.handle_connected(self.now, peer, Err(failed));
                    }
                    Dial::Hang => {}
                }
            }
            Action::StartTls { peer, role } => {
                let slot = &mut self.peers[peer.index()];
                if role == TlsRole::DirectServer {
                    assert!(!slot.buffer.is_empty(), "nothing has begun");
                    slot.buffer.clear();
                    slot.wire.clear();
                }
                assert!(slot.buffer.is_empty(), "TLS starts on a clean buffer");
                let policy = match role {
                    TlsRole::Client(policy) => Some(policy),
                    TlsRole::Server | TlsRole::DirectServer => None,
                };
                self.handshakes.push((peer, policy.is_none()));
                self.verifies = policy.or(self.verifies);
                let result = match slot.secures {
                    Ok(()) => Ok(slot.info.clone()),
                    Err(()) => Err(TlsFailed("no".to_owned())),
                };
                self.session.handle_secured(self.now, peer, result);
            }
            Action::Close { peer, cause } => {
                let slot = &mut self.peers[peer.index()];
                slot.open = false;
                slot.buffer.clear();
                slot.wire.clear();
                slot.flood = 0;
                slot.end = End::Open;
                self.closes.push((peer, cause));
            }
            Action::Finish { peer } => {
                let slot = &mut self.peers[peer.index()];
                assert!(slot.open && !slot.finished, "{peer} is ended twice");
                slot.finished = true;
            }
            Action::Cancel(_) => self.cancels += 1,
            Action::Stop(target) => self.stops.push(target.peer),
            Action::FindUser { user } => self.lookups.push(user.to_vec()),
            Action::Authenticate {
                peer,
                question,
                request,
                ..
            } => {
                self.question = question;
                self.questions.push((peer, request.body().to_vec()));
            }
            Action::Notify(event) => self.events.push(event),
            other => panic!("{other:?}"),
        }
    }
}
