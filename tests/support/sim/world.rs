//! One session between a client and two servers: the network and the driver, both in the scenario's hands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pgturnout::route;
use pgturnout::session::{
    Action, CloseCause, Config, ConnectFailed, Demand, Event as Told, PeerId, Seed, Session,
    TlsFailed, TlsInfo, TlsRole, Transmit,
};

use super::catalogue::Seen;
use super::checks::{self, Check, Violation};
use super::client::Client;
use super::cursor::Cursor;
use super::event::{Aside, Damage, Event, Fault, Misuse, Scenario};
use super::meter::Meter;
use super::server::{Cluster, Node, Server};
use super::setup::Setup;

/// How the bytes of one event are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunking {
    Whole,
    /// One at a time.
    Bytes,
    /// Between 1 and 23, from a generator with this seed.
    Seeded(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Dialing,
    Open,
    Securing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
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
    end: End,
    pub(crate) stalled: bool,
    /// It was reset: nothing passes any more.
    broken: bool,
    /// So many bytes are still to come before the stream ends.
    cut: Option<usize>,
    refuses: bool,
    hangs: bool,
    tls_fails: bool,
    tls_hangs: bool,
    pub(crate) secure: bool,
}

impl Link {
    fn new(state: State) -> Link {
        Link {
            state,
            wire: Vec::new(),
            buffer: Vec::new(),
            end: End::Open,
            stalled: false,
            broken: false,
            cut: None,
            refuses: false,
            hangs: false,
            tls_fails: false,
            tls_hangs: false,
            secure: false,
        }
    }

    /// Whether the session knows that nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.end == End::Told
    }

    /// The peer sends this.
    fn sends(&mut self, bytes: &[u8]) {
        if self.end == End::Open && matches!(self.state, State::Open) {
            let left = self.cut.unwrap_or(usize::MAX);
            let n = bytes.len().min(left);
            self.wire.extend_from_slice(&bytes[..n]);
            if let Some(cut) = &mut self.cut {
                *cut -= n;
                if *cut == 0 {
                    self.end = End::Eof;
                }
            }
        }
    }
}

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

pub(crate) struct World<'s> {
    pub(crate) setup: Setup,
    pub(crate) config: Arc<Config>,
    pub(crate) session: Session<route::Split>,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    /// When each peer's connection was last asked for, and when it stood.
    pub(crate) dialled: [Instant; PeerId::COUNT],
    pub(crate) connected: [Instant; PeerId::COUNT],
    pub(crate) links: [Link; PeerId::COUNT],
    pub(crate) servers: [Option<Server>; PeerId::COUNT],
    /// Servers of connections that were closed.
    pub(crate) retired: Vec<(PeerId, Server, Vec<String>)>,
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) damage: Damage,
    pub(crate) happened: [Vec<Happened>; PeerId::COUNT],
    pub(crate) told: Vec<Told>,
    pub(crate) closes: Vec<(PeerId, CloseCause)>,
    /// All that the client said once it was logged in, for the one server that it is compared with.
    pub(crate) said: Vec<u8>,
    pub(crate) meter: Meter,
    pub(crate) violation: Option<Violation>,
    /// What happened, in words, if somebody wants to read it.
    pub(crate) log: Option<Vec<String>>,
    /// Who fills the client's stream.
    pub(crate) to_client: Cursor<Option<PeerId>>,
    /// Where the client's stream goes.
    pub(crate) from_client: Cursor<Option<PeerId>>,
    /// The upstream that last got a message of the client's.
    pub(crate) client_serves: Option<PeerId>,
    /// Whether the reader's connection got a message of the client's.
    pub(crate) reader_asked: bool,
    /// How many bytes came of the client, and how many of its encryption requests were answered.
    pub(crate) client_bytes: usize,
    pub(crate) answers: usize,
    /// Whether bytes came behind an SSLRequest before its answer had left.
    pub(crate) stuffed: bool,
    /// What the writer said of its own accord.
    pub(crate) writer_asides: usize,
    /// Whether the scenario is over and the client leaves.
    pub(crate) leaving: bool,
    /// What we said to each upstream and is not a whole message yet.
    pub(crate) injected: [Vec<u8>; PeerId::COUNT],
    /// The texts among it.
    pub(crate) injected_texts: [Vec<String>; PeerId::COUNT],
    pub(crate) seen: &'s mut Seen,
    pub(crate) steps: usize,
    refuses_login: [Option<String>; PeerId::COUNT],
    forgets_password: [bool; PeerId::COUNT],
    backends: u32,
    chunking: Chunking,
    random: u64,
}

impl<'s> World<'s> {
    #[allow(clippy::disallowed_methods, reason = "any instant will do for a start")]
    pub(crate) fn new(setup: &Setup, chunking: Chunking, seen: &'s mut Seen) -> World<'s> {
        let config = setup.config();
        let start = Instant::now();
        let mut meter = Meter::default();
        let seed = Seed::new(std::array::from_fn(|at| checks::SEED_BYTES[at % 16]));
        let session =
            meter.measure(|| Session::new(Arc::clone(&config), route::Split, seed, start));
        let (client, first) = Client::new(setup);
        let mut cluster = Cluster::new();
        cluster.set_lag(setup.lag());
        let mut links = [
            Link::new(State::Open),
            Link::new(State::Closed),
            Link::new(State::Closed),
        ];
        links[0].sends(&first);
        World {
            setup: setup.clone(),
            config,
            session,
            start,
            now: start,
            dialled: [start; PeerId::COUNT],
            connected: [start; PeerId::COUNT],
            links,
            servers: [None, None, None],
            retired: Vec::new(),
            cluster,
            client,
            damage: match setup.wild {
                true => Damage::Anything,
                false => Damage::None,
            },
            happened: Default::default(),
            told: Vec::new(),
            closes: Vec::new(),
            said: Vec::new(),
            meter,
            violation: None,
            log: None,
            to_client: Cursor::default(),
            from_client: Cursor::default(),
            client_serves: None,
            reader_asked: false,
            client_bytes: 0,
            answers: 0,
            stuffed: false,
            writer_asides: 0,
            leaving: false,
            injected: Default::default(),
            injected_texts: Default::default(),
            seen,
            steps: 0,
            refuses_login: [None, None, None],
            forgets_password: [false; PeerId::COUNT],
            backends: 0,
            chunking,
            random: match chunking {
                Chunking::Seeded(seed) => seed,
                Chunking::Whole | Chunking::Bytes => 0,
            },
        }
    }

    /// Writes down what happens, for a report.
    pub(crate) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }

    /// A law is broken. Only the first counts.
    pub(crate) fn broken(&mut self, check: Check, detail: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(Violation::new(check, detail));
        }
    }

    /// Plays a scenario: its events, then a time without faults in which everything must come to its end.
    pub(crate) fn play(&mut self, scenario: &Scenario) {
        for event in &scenario.events {
            self.happen(event);
            checks::step(self);
            if self.violation.is_some() {
                return;
            }
        }
        self.finish();
    }

    fn happen(&mut self, event: &Event) {
        self.steps += 1;
        self.log(|| format!("{event}"));
        match event {
            Event::Say(message) => {
                let mut bytes = BytesMut::new();
                message.encode(&mut bytes);
                let now = self.client.say(&bytes);
                if !self.client.is_wild() {
                    self.said.extend_from_slice(&bytes);
                }
                self.links[0].sends(&now);
            }
            Event::Raw(bytes) => {
                self.damage = Damage::Anything;
                self.links[0].sends(bytes);
            }
            Event::Calm => self.calm(),
            Event::Arrive(peer, most) => {
                self.arrive(*peer, *most);
            }
            Event::Leave(peer, most) => {
                self.leave(*peer, *most);
            }
            Event::Act => {
                self.act();
            }
            Event::Serve(peer) => {
                self.serve(*peer);
            }
            Event::Fault(fault) => {
                self.seen.fault(fault);
                self.damage = self.damage.max(fault.damage());
                self.fault(fault);
            }
        }
    }

    fn piece(&mut self, left: usize) -> usize {
        match self.chunking {
            Chunking::Whole => left,
            Chunking::Bytes => 1,
            Chunking::Seeded(_) => {
                self.random = self
                    .random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                left.min(1 + (self.random >> 33) as usize % 23)
            }
        }
    }

    /// Bytes come in. Whether any did.
    fn arrive(&mut self, peer: PeerId, most: usize) -> bool {
        let at = peer.index();
        if self.links[at].state != State::Open || !self.session.wants_read(peer) {
            return false;
        }
        let room = self.config.limits.read_buffer - self.links[at].buffer.len();
        let total = self.links[at].wire.len().min(room).min(most);
        let mut left = total;
        while left > 0 && self.links[at].state == State::Open {
            let n = self.piece(left).min(self.links[at].wire.len());
            if n == 0 {
                break;
            }
            let link = &mut self.links[at];
            link.buffer.extend(link.wire.drain(..n));
            self.client_bytes += if at == 0 { n } else { 0 };
            left -= n;
            self.digest();
        }
        (total > 0) | self.end_of_stream(peer)
    }

    fn end_of_stream(&mut self, peer: PeerId) -> bool {
        let link = &mut self.links[peer.index()];
        if link.end != End::Eof || !link.wire.is_empty() || link.state != State::Open {
            return false;
        }
        link.end = End::Told;
        let now = self.now;
        self.meter.measure(|| self.session.handle_eof(now, peer));
        self.digest();
        true
    }

    /// Shows the session every buffer until it has nothing more to decide.
    fn digest(&mut self) {
        let mut again = true;
        let mut turns = 0;
        while std::mem::take(&mut again) {
            for peer in PeerId::ALL {
                if self.links[peer.index()].state == State::Open {
                    again |= self.look(peer);
                }
            }
            turns += 1;
            if turns > 20_000 {
                self.broken(Check::Total, "the session decides without end");
                return;
            }
        }
        checks::after_decision(self);
    }

    fn look(&mut self, peer: PeerId) -> bool {
        let now = self.now;
        let mut moved = false;
        let mut calls = 0;
        loop {
            let (session, buffer) = (&mut self.session, &self.links[peer.index()].buffer);
            let demand = self
                .meter
                .measure(|| session.handle_input(now, peer, buffer));
            calls += 1;
            match demand {
                Demand::Again if calls < 20_000 => moved = true,
                Demand::Again => {
                    self.broken(Check::Total, format!("{peer}: again without end"));
                    return false;
                }
                Demand::Bytes(n) => {
                    checks::need(self, peer, n);
                    break;
                }
                Demand::Paused => break,
            }
        }
        let link = &mut self.links[peer.index()];
        let available = link.buffer.len();
        let dropped = self.session.take_discard(peer, available);
        if dropped > available {
            self.broken(
                Check::Conservation,
                format!("{peer}: drops what never came"),
            );
            return false;
        }
        if dropped > 0 {
            let bytes: Vec<u8> = link.buffer.drain(..dropped).collect();
            self.seen.arrived(peer, &bytes);
            checks::taken(self, peer, None, &bytes);
            self.record(peer, Happened::Dropped(dropped));
        }
        moved || dropped > 0
    }

    fn record(&mut self, peer: PeerId, what: Happened) {
        let list = &mut self.happened[peer.index()];
        match (list.last_mut(), what) {
            (Some(Happened::Dropped(n)), Happened::Dropped(more)) => *n += more,
            (Some(Happened::Sent(Sent::Ours(bytes))), Happened::Sent(Sent::Ours(more))) => {
                bytes.extend(more);
            }
            (
                Some(Happened::Sent(Sent::Spliced(from, bytes))),
                Happened::Sent(Sent::Spliced(other, more)),
            ) if *from == other => bytes.extend(more),
            (_, what) => list.push(what),
        }
    }

    /// Bytes go out. Whether any did.
    fn leave(&mut self, to: PeerId, most: usize) -> bool {
        let mut left = most;
        while left > 0 && self.violation.is_none() {
            let link = &self.links[to.index()];
            if link.stalled || link.state == State::Securing {
                break;
            }
            let offer = self.session.poll_transmit(to);
            if offer != self.session.poll_transmit(to) {
                self.broken(Check::Polling, format!("{to}: two looks differ"));
                break;
            }
            let Some(offer) = offer else { break };
            if self.links[to.index()].state != State::Open {
                self.broken(
                    Check::NothingAfterClose,
                    format!("bytes for the {to}, which is closed"),
                );
                break;
            }
            let sent = match offer {
                Transmit::Owned(bytes) => {
                    let bytes = bytes.to_vec();
                    let n = self.piece(left).min(bytes.len());
                    Sent::Ours(bytes[..n].to_vec())
                }
                Transmit::Splice { from, max } => {
                    let max = usize::try_from(max).unwrap_or(usize::MAX);
                    let n = self.piece(left);
                    let buffer = &mut self.links[from.index()].buffer;
                    let n = n.min(max).min(buffer.len());
                    Sent::Spliced(from, buffer.drain(..n).collect())
                }
            };
            let n = sent.bytes().len();
            if n == 0 {
                break;
            }
            left -= n;
            self.deliver(to, sent);
            let now = self.now;
            self.meter.measure(|| self.session.transmitted(now, to, n));
            self.digest();
        }
        left < most
    }

    fn deliver(&mut self, to: PeerId, sent: Sent) {
        self.log(|| {
            let from = match &sent {
                Sent::Ours(_) => "proxy".to_owned(),
                Sent::Spliced(from, _) => from.to_string(),
            };
            format!("    {from} → {to}: {}", shown(sent.bytes()))
        });
        checks::leaving(self, to, &sent);
        if let Sent::Spliced(from, bytes) = &sent {
            self.seen.arrived(*from, bytes);
            checks::taken(self, *from, Some(to), bytes);
        }
        if to == PeerId::CLIENT {
            let answer = self.client.receive(sent.bytes());
            self.links[0].sends(&answer);
        } else if let Some(server) = &mut self.servers[to.index()] {
            server.receive(sent.bytes());
        }
        self.record(to, Happened::Sent(sent));
    }

    /// The driver does what it was asked to. Whether there was anything.
    fn act(&mut self) -> bool {
        let mut moved = false;
        while self.violation.is_none() {
            let Some(action) = self.meter.measure(|| self.session.poll_action()) else {
                break;
            };
            moved = true;
            self.log(|| format!("    asks: {action:?}"));
            checks::action(self, &action);
            self.carry_out(&action);
            self.meter.measure(|| drop(action));
            self.digest();
        }
        moved
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Connect { peer, .. } => {
                self.dialled[peer.index()] = self.now;
                self.reader_asked &= *peer != PeerId::READER;
                self.links[peer.index()] = Link {
                    state: State::Dialing,
                    ..self.links[peer.index()].reopened()
                };
                if !self.links[peer.index()].hangs {
                    self.dial_ends(*peer);
                }
            }
            Action::StartTls { peer, role } => {
                if (*role == TlsRole::Server) != (*peer == PeerId::CLIENT) {
                    self.broken(Check::LoginOrder, format!("{peer}: the wrong side of TLS"));
                }
                self.links[peer.index()].state = State::Securing;
                if !self.links[peer.index()].tls_hangs {
                    self.secured(*peer);
                }
            }
            Action::Close { peer, cause } => self.close(*peer, cause),
            Action::Cancel(_) => {}
            Action::Notify(event) => self.told.push(event.clone()),
            other => self.broken(Check::Total, format!("an action nobody knows: {other:?}")),
        }
    }

    /// A dial is answered.
    fn dial_ends(&mut self, peer: PeerId) {
        let now = self.now;
        self.connected[peer.index()] = now;
        let link = &mut self.links[peer.index()];
        link.hangs = false;
        if std::mem::take(&mut link.refuses) {
            self.meter.measure(|| {
                let failed = ConnectFailed("connection refused".to_owned());
                self.session.handle_connected(now, peer, Err(failed));
            });
            return;
        }
        link.state = State::Open;
        self.backends += 1;
        let node = match peer {
            PeerId::WRITER => Node::Primary,
            _ => Node::Standby,
        };
        let mut options = self.setup.server();
        options.refuse_login = self.refuses_login[peer.index()].clone();
        options.other_password = self.forgets_password[peer.index()];
        self.servers[peer.index()] = Some(Server::new(node, self.backends, options));
        self.record(peer, Happened::Connected);
        self.seen.connected(peer);
        self.injected[peer.index()].clear();
        self.meter
            .measure(|| self.session.handle_connected(now, peer, Ok(())));
    }

    /// A TLS handshake is over.
    fn secured(&mut self, peer: PeerId) {
        let now = self.now;
        let link = &mut self.links[peer.index()];
        link.tls_hangs = false;
        let fails = std::mem::take(&mut link.tls_fails);
        if !fails {
            self.connected[peer.index()] = now;
            link.state = State::Open;
            link.secure = true;
            if !link.buffer.is_empty() {
                self.broken(Check::LoginOrder, format!("{peer}: bytes from before TLS"));
            }
            self.record(peer, Happened::Secured);
            if peer == PeerId::CLIENT {
                let next = self.client.secured();
                self.links[0].sends(&next);
            } else if let Some(server) = &mut self.servers[peer.index()] {
                server.secured();
            }
        }
        self.meter.measure(|| {
            let result = match fails {
                true => Err(TlsFailed("no common cipher".to_owned())),
                false => Ok(TlsInfo::default()),
            };
            self.session.handle_secured(now, peer, result);
        });
    }

    fn close(&mut self, peer: PeerId, cause: &CloseCause) {
        let link = &mut self.links[peer.index()];
        let was_open = link.state != State::Closed;
        *link = Link {
            state: State::Closed,
            ..link.reopened()
        };
        if let Some(mut server) = self.servers[peer.index()].take() {
            server.eof();
            while server.step(&mut self.cluster) {}
            let texts = std::mem::take(&mut self.injected_texts[peer.index()]);
            self.retired.push((peer, server, texts));
        }
        if was_open {
            self.record(peer, Happened::Closed);
        }
        self.closes.push((peer, cause.clone()));
    }

    /// A server works off a message. Whether it had one.
    fn serve(&mut self, peer: PeerId) -> bool {
        let Some(server) = &mut self.servers[peer.index()] else {
            return false;
        };
        let moved = server.step(&mut self.cluster);
        let output = server.output();
        let closed = server.is_closed();
        let link = &mut self.links[peer.index()];
        if link.state == State::Open {
            link.sends(&output);
            if closed && link.end == End::Open {
                link.end = End::Eof;
            }
        }
        moved || !output.is_empty()
    }

    /// Everything happens that can, in a fair order.
    pub(crate) fn calm(&mut self) {
        let mut turns = 0;
        while self.violation.is_none() {
            let mut moved = false;
            for peer in PeerId::ALL {
                moved |= self.arrive(peer, usize::MAX);
                moved |= self.leave(peer, usize::MAX);
            }
            moved |= self.act();
            for peer in [PeerId::WRITER, PeerId::READER] {
                while self.serve(peer) {
                    moved = true;
                }
            }
            if !moved {
                break;
            }
            turns += 1;
            if turns > 10_000 {
                self.broken(Check::Live, "the world never rests");
            }
        }
    }

    fn fault(&mut self, fault: &Fault) {
        match fault {
            Fault::Reset(peer) => self.reset(*peer),
            Fault::Eof(peer) => {
                let link = &mut self.links[peer.index()];
                if link.state == State::Open && link.end == End::Open {
                    link.end = End::Eof;
                    if let Some(server) = &mut self.servers[peer.index()] {
                        server.eof();
                    }
                }
            }
            Fault::Stall(peer) => self.links[peer.index()].stalled = true,
            Fault::RefuseDial(peer) => self.links[peer.index()].refuses = true,
            Fault::HangDial(peer) => self.links[peer.index()].hangs = true,
            Fault::FailTls(peer) => self.links[peer.index()].tls_fails = true,
            Fault::HangTls(peer) => self.links[peer.index()].tls_hangs = true,
            Fault::Shutdown(peer, state) => {
                if let Some(server) = &mut self.servers[peer.index()] {
                    server.terminate_with(state);
                }
            }
            Fault::RefuseLogin(peer, state) => {
                self.refuses_login[peer.index()] = Some(state.clone());
            }
            Fault::ForgetPassword(peer) => self.forgets_password[peer.index()] = true,
            Fault::FailNext(peer, state) => {
                if let Some(server) = &mut self.servers[peer.index()] {
                    server.fail_next(state);
                }
            }
            Fault::Lie(peer, bytes) => self.links[peer.index()].sends(bytes),
            Fault::Cut(peer, left) => {
                let link = &mut self.links[peer.index()];
                if link.state == State::Open && link.end == End::Open {
                    let keep = link.wire.len().min(*left);
                    link.wire.truncate(keep);
                    link.cut = Some(left - keep);
                    if *left == keep {
                        link.end = End::Eof;
                    }
                }
            }
            Fault::Async(peer, aside) => self.aside(*peer, *aside),
            Fault::Cancel => self.cancel(),
            Fault::ShutDownProxy => {
                let now = self.now;
                self.meter.measure(|| self.session.shutdown(now));
                self.digest();
            }
            Fault::Clock(millis) => self.pass(Duration::from_millis(*millis)),
            Fault::Deadline => self.deadline(),
            Fault::Replay(count) => self.cluster.replay(*count),
            Fault::Misuse(peer, misuse) => self.misuse(*peer, *misuse),
        }
    }

    fn reset(&mut self, peer: PeerId) {
        let now = self.now;
        let link = &mut self.links[peer.index()];
        if link.state != State::Open {
            return;
        }
        link.wire.clear();
        link.end = End::Told;
        link.stalled = true;
        link.broken = true;
        if let Some(server) = &mut self.servers[peer.index()] {
            server.eof();
        }
        self.meter.measure(|| self.session.handle_reset(now, peer));
        self.digest();
    }

    fn aside(&mut self, peer: PeerId, aside: Aside) {
        if let Some(server) = &mut self.servers[peer.index()] {
            match aside {
                Aside::Notice => server.notice(),
                Aside::Parameter => server.report_parameter(),
            }
            let output = server.output();
            self.writer_asides += usize::from(peer == PeerId::WRITER && !output.is_empty());
            self.links[peer.index()].sends(&output);
        }
    }

    /// Another connection of the client's asks to cancel: the driver looks up this session and follows it.
    fn cancel(&mut self) {
        let Some(target) = self.session.cancel_target() else {
            return;
        };
        checks::cancelled(self, &target);
        if let Some(server) = &mut self.servers[target.peer.index()] {
            server.cancel();
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        self.meter.measure(|| self.session.handle_timeout(now));
        checks::time_passed(self);
        self.digest();
    }

    /// The time up to the next deadline passes.
    fn deadline(&mut self) {
        if let Some((at, _)) = self.session.poll_timeout() {
            self.pass(at.saturating_duration_since(self.now));
        }
    }

    fn misuse(&mut self, peer: PeerId, misuse: Misuse) {
        // What was asked for and not taken yet nobody can have done.
        self.act();
        let now = self.now;
        let state = self.links[peer.index()].state;
        match misuse {
            // These are owed.
            Misuse::Connected if state == State::Dialing => {}
            Misuse::Secured if state == State::Securing => {}
            Misuse::Transmitted => {
                self.meter
                    .measure(|| self.session.transmitted(now, peer, usize::MAX));
            }
            Misuse::Connected => self
                .meter
                .measure(|| self.session.handle_connected(now, peer, Ok(()))),
            Misuse::Secured => self.meter.measure(|| {
                self.session
                    .handle_secured(now, peer, Ok(TlsInfo::default()));
            }),
            Misuse::EofAgain => {
                for _ in 0..2 {
                    self.meter.measure(|| self.session.handle_eof(now, peer));
                }
            }
            Misuse::Backwards => {
                let earlier = self.start;
                self.meter.measure(|| self.session.handle_timeout(earlier));
            }
        }
        self.digest();
    }

    /// The faults end; what was begun must be answered; then the client leaves, and the session must end.
    fn finish(&mut self) {
        for peer in PeerId::ALL {
            let link = &mut self.links[peer.index()];
            link.stalled = link.broken;
            link.refuses = false;
            link.tls_fails = false;
            self.refuses_login[peer.index()] = None;
            self.forgets_password[peer.index()] = false;
            if link.state == State::Dialing {
                self.dial_ends(peer);
            } else if link.state == State::Securing {
                self.secured(peer);
            }
            self.links[peer.index()].hangs = false;
            self.links[peer.index()].tls_hangs = false;
        }
        self.cluster.replay(usize::MAX);
        self.calm();
        if self.violation.is_some() {
            return;
        }
        checks::answered(self);
        self.leave_world();
    }

    fn leave_world(&mut self) {
        self.leaving = true;
        if !self.client.is_wild() || self.links[0].end == End::Open {
            let mut bytes = BytesMut::new();
            super::message::ClientMessage::Terminate.encode(&mut bytes);
            let now = self.client.say(&bytes);
            self.links[0].sends(&now);
        }
        if self.links[0].end == End::Open {
            self.links[0].end = End::Eof;
        }
        // One deadline ends each phase that can wait, and there are fewer phases than this.
        for _ in 0..20 {
            self.calm();
            if self.violation.is_some() || self.session.lifecycle().is_dead() {
                break;
            }
            self.deadline();
        }
        checks::ended(self);
    }
}

impl Link {
    /// A new connection's link, with the faults that wait for it.
    fn reopened(&self) -> Link {
        Link {
            refuses: self.refuses,
            hangs: self.hangs,
            tls_fails: self.tls_fails,
            tls_hangs: self.tls_hangs,
            ..Link::new(State::Closed)
        }
    }
}

/// Bytes in words: they may begin and end within a frame.
fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], bytes.len()),
        None => text,
    }
}

impl Sent {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Sent::Ours(bytes) | Sent::Spliced(_, bytes) => bytes,
        }
    }
}
