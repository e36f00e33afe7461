//! The driver: it shows the session what came, moves bytes as it says and carries out what it asks.

use pgturnout::auth::TlsEndPoint;
use pgturnout::session::{
    Action, Activity, CloseCause, Demand, Event as Told, PeerId, Timer, TlsFailed, TlsInfo,
    TlsRole, Transmit,
};

use pgturnout::wire::Header;

use super::super::catalogue::Phase;
use super::super::checks::{self, Check};
use super::super::cursor::Cursor;
use super::super::fates;
use super::super::fault::{Damage, Fault};
use super::super::reads;
use super::super::server::Server;
use super::super::setup::END_POINT;
use super::super::spoken;
use super::super::transfers;
use super::super::wants::{self, Wanted};
use super::happened::{Happened, Sent};
use super::link::{Agrees, End, Link, State};
use super::{Chunking, World};

/// What a handshake without an SSLRequest before it begins with.
const HANDSHAKE: u8 = 0x16;

/// What is known of a handshake that agrees so. Of a server the certificate may be known.
fn handshake(agrees: Agrees, of_a_server: bool) -> TlsInfo {
    let mut info = TlsInfo::default();
    info.alpn = match agrees {
        Agrees::OnOurs => Some(pgturnout::startup::ALPN.into()),
        Agrees::OnAnother => Some((*b"http/1.1").into()),
        Agrees::OnNone => None,
    };
    if of_a_server {
        info.peer_certificate = Some(vec![0x30; 2_000].into());
        info.end_point = TlsEndPoint::new(END_POINT);
    }
    info
}

impl World<'_> {
    pub(super) fn piece(&mut self, left: usize) -> usize {
        match self.chunking {
            Chunking::Whole => left,
            Chunking::Bytes => left.min(self.setup.grain()),
            Chunking::Seeded(_) => {
                self.random = self
                    .random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                left.min((1 + (self.random >> 33) as usize % 23) * self.setup.grain())
            }
        }
    }

    /// Bytes come in. Whether any did.
    pub(super) fn arrive(&mut self, peer: PeerId, most: usize) -> bool {
        let at = peer.index();
        let link = &self.links[at];
        if link.state != State::Open || link.mute || !self.session.wants_read(peer) {
            return false;
        }
        let most = if link.trickles { most.min(1) } else { most };
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
            let new = link.buffer.len() - n;
            checks::came(self, peer, new);
            self.client_bytes += if at == 0 { n } else { 0 };
            left -= n;
            self.digest();
            self.beat();
        }
        (total > 0) | self.end_of_stream(peer)
    }

    pub(super) fn end_of_stream(&mut self, peer: PeerId) -> bool {
        let link = &mut self.links[peer.index()];
        if link.end != End::Eof || !link.wire.is_empty() || link.state != State::Open {
            return false;
        }
        link.end = End::Told;
        let now = self.now;
        if peer == PeerId::READER {
            reads::reader_is_lost(self);
        }
        self.meter.measure(|| self.session.handle_eof(now, peer));
        self.digest();
        true
    }

    /// Shows the session every buffer until it has nothing more to decide.
    pub(super) fn digest(&mut self) {
        self.settle();
        let mut again = true;
        let mut turns = 0;
        while std::mem::take(&mut again) {
            for peer in self.peers() {
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

    pub(super) fn look(&mut self, peer: PeerId) -> bool {
        let moved = self.look_at(peer);
        self.settle();
        moved
    }

    fn look_at(&mut self, peer: PeerId) -> bool {
        let now = self.now;
        let mut moved = false;
        let mut calls = 0;
        let mut asked = None;
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
                    asked = Some(n);
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
            self.log(|| format!("    {peer} → proxy: {}", spoken::kept(peer, &bytes)));
            self.arrived(peer, &bytes);
            checks::taken(self, peer, None, &bytes);
            self.record(peer, Happened::Dropped(dropped));
        }
        let decides = moved || dropped > 0;
        if decides {
            self.wanted[peer.index()] = Wanted::default();
        } else if let Some(n) = asked {
            wants::more(self, peer, n);
        }
        decides
    }

    /// The session took bytes of a peer.
    fn arrived(&mut self, peer: PeerId, bytes: &[u8]) {
        let meant = self.unveiled(peer, bytes);
        let before = self.seen.phase(peer);
        for tag in self.seen.arrived(peer, &meant) {
            self.clocks.heard(peer, tag);
            if tag == b'Z' {
                self.cancels.has_answered(peer);
            }
            self.goodbye |= peer == PeerId::CLIENT && tag == b'X';
            if peer == PeerId::WRITER && tag == b'Z' {
                reads::writer_is_ready(self);
            }
        }
        self.hears_of_promotion(peer, &meant);
        if peer == PeerId::CLIENT {
            self.heard.extend_from_slice(&meant);
        } else if before == Phase::Opening && meant == b"N" {
            self.connected[peer.index()] = self.now;
        }
        let link = &self.links[peer.index()];
        let more = !link.wire.is_empty()
            || !link.buffer.is_empty()
            || self.servers[peer.index()]
                .as_ref()
                .is_some_and(Server::has_unread);
        if more {
            self.seen.asked(peer);
        }
    }

    /// The reader may say that it is no standby any more. What was decided before may go there still.
    fn hears_of_promotion(&mut self, peer: PeerId, bytes: &[u8]) {
        if peer != PeerId::READER {
            return;
        }
        let said = b"in_hot_standby\0off\0";
        let tail = &mut self.tails[peer.index()];
        tail.extend_from_slice(bytes);
        self.says_promoted |= tail.windows(said.len()).any(|part| part == said);
        let keep = tail.len().saturating_sub(said.len());
        tail.drain(..keep);
    }

    pub(super) fn record(&mut self, peer: PeerId, what: Happened) {
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
    pub(super) fn leave(&mut self, to: PeerId, most: usize) -> bool {
        let most = match self.links[to.index()].trickles {
            true => most.min(1),
            false => most,
        };
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
            self.beat();
        }
        left < most
    }

    pub(super) fn deliver(&mut self, to: PeerId, sent: Sent) {
        self.log(|| {
            let from = match &sent {
                Sent::Ours(_) => "proxy".to_owned(),
                Sent::Spliced(from, _) => from.to_string(),
            };
            format!("    {from} → {to}: {}", spoken::said(to, sent.bytes()))
        });
        checks::leaving(self, to, &sent);
        if let Sent::Spliced(from, bytes) = &sent {
            self.arrived(*from, bytes);
            checks::taken(self, *from, Some(to), bytes);
        }
        if to == PeerId::CLIENT {
            let answer = self.client.receive(sent.bytes());
            self.links[0].sends(&answer);
            if self.client.is_lost() && self.links[0].end == End::Open {
                self.links[0].end = End::Eof;
            }
        } else if let Some(server) = &mut self.servers[to.index()] {
            server.receive(sent.bytes());
            self.seen.asked(to);
        }
        self.cancels_see(to);
        self.record(to, Happened::Sent(sent));
    }

    /// The driver does what it was asked to. Whether there was anything.
    pub(super) fn act(&mut self) -> bool {
        let mut moved = false;
        while self.violation.is_none() {
            let Some(action) = self.meter.measure(|| self.session.poll_action()) else {
                break;
            };
            moved = true;
            self.log(|| match &action {
                Action::Notify(event) => spoken::named(&format!("    tells: {event:?}")),
                other => spoken::named(&format!("    asks: {other:?}")),
            });
            checks::action(self, &action);
            self.carry_out(&action);
            self.meter.measure(|| drop(action));
            self.digest();
        }
        self.acted = self.now;
        moved
    }

    pub(super) fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Connect { peer, .. } => {
                self.dialled[peer.index()] = self.now;
                self.clocks.dialled(*peer);
                self.moves.dials(*peer, self.strikes.len());
                self.taken_leave[peer.index()] = false;
                self.says_promoted &= *peer != PeerId::READER;
                self.reader_asked &= *peer != PeerId::READER;
                self.links[peer.index()] = Link {
                    state: State::Dialing,
                    ..self.links[peer.index()].reopened()
                };
                self.seen.connected(*peer);
                match self.links[peer.index()].hangs {
                    true => self.strikes(&Fault::HangDial(*peer)),
                    false => self.dial_ends(*peer),
                }
            }
            Action::StartTls { peer, role } => {
                let ours = matches!(role, TlsRole::Server | TlsRole::DirectServer);
                if ours != (*peer == PeerId::CLIENT) {
                    self.broken(Check::LoginOrder, format!("{peer}: the wrong side of TLS"));
                }
                self.links[peer.index()].state = State::Securing;
                if *role == TlsRole::DirectServer {
                    self.begin_handshake(*peer);
                }
                match self.links[peer.index()].tls_hangs {
                    true => self.strikes(&Fault::HangTls(*peer)),
                    false => self.secured(*peer),
                }
            }
            Action::Close { peer, cause } => self.close(*peer, cause),
            Action::Cancel(_) => {}
            // It comes late or never, as far as the server can tell.
            Action::Stop(_) => {}
            Action::Authenticate {
                peer,
                question,
                request,
                ..
            } => {
                self.asks_the_caller(*peer, *question, request.body());
            }
            Action::FindUser { user } => self.finds(user),
            Action::Finish { peer } => {
                if let Some(server) = &mut self.servers[peer.index()] {
                    server.eof();
                }
            }
            Action::Notify(event) => {
                if let Told::TimedOut(timer) = event
                    && !matches!(timer, Timer::Cancel(_) | Timer::Redial(_))
                {
                    self.damage = self.damage.max(Damage::Session);
                }
                let now = self.now;
                let since = |peer: PeerId| self.session.since(peer);
                self.clocks.told(event, now, since);
                self.told.push(event.clone());
            }
            other => self.broken(Check::Total, format!("an action nobody knows: {other:?}")),
        }
    }

    /// A TLS handshake is over.
    pub(super) fn secured(&mut self, peer: PeerId) {
        let now = self.now;
        let link = &mut self.links[peer.index()];
        link.tls_hangs = false;
        let broken = std::mem::take(&mut link.tls_fails);
        let unasked = peer.is_upstream() && self.setup.is_direct();
        let server = self.servers[peer.index()].as_ref();
        // What was stuffed behind the answer is no part of a handshake.
        let stuffed = peer.is_upstream() && !self.links[peer.index()].wire.is_empty();
        let fails = broken || stuffed || unasked && !server.is_some_and(Server::takes_handshakes);
        if broken {
            self.strikes(&Fault::FailTls(peer));
        }
        let (agrees, refused) = match fails {
            true => (Agrees::OnOurs, None),
            false => self.agreement(peer, unasked),
        };
        if !fails && refused.is_none() {
            let link = &mut self.links[peer.index()];
            self.connected[peer.index()] = now;
            link.state = State::Open;
            link.secure = true;
            if !link.begun && !link.buffer.is_empty() {
                self.broken(Check::LoginOrder, format!("{peer}: bytes from before TLS"));
            }
            self.record(peer, Happened::Secured);
            self.arrived[peer.index()] = Cursor::default();
            if peer == PeerId::CLIENT {
                let next = self.client.secured();
                self.links[0].sends(&next);
            } else if let Some(server) = &mut self.servers[peer.index()] {
                server.secured();
            }
        }
        let bound = self.setup.bound && peer.is_upstream();
        self.meter.measure(|| {
            let result = match fails {
                true => Err(TlsFailed("no common cipher".to_owned())),
                false => Ok(handshake(agrees, bound)),
            };
            self.session.handle_secured(now, peer, result);
        });
        let goes_on = match peer == PeerId::CLIENT {
            true => self.session.activity() != Activity::Ending,
            false => self.session.poll_transmit(peer).is_some(),
        };
        if refused.is_some() && goes_on {
            self.broken(
                Check::LoginOrder,
                format!("{peer}: goes on in another protocol"),
            );
        }
    }

    /// On what the handshake agrees, and the fault if that is not enough.
    fn agreement(&mut self, peer: PeerId, unasked: bool) -> (Agrees, Option<Fault>) {
        let link = &mut self.links[peer.index()];
        let agrees = std::mem::replace(&mut link.agrees, Agrees::OnOurs);
        let fault = match agrees {
            Agrees::OnOurs => None,
            Agrees::OnAnother => Some(Fault::OtherProtocol(peer)),
            Agrees::OnNone => (unasked || link.begun).then_some(Fault::NoProtocol(peer)),
        };
        if let Some(fault) = &fault {
            self.strikes(fault);
        }
        (agrees, fault)
    }

    /// The first byte stands for the handshake: how much more has come depends on how it was cut.
    fn begin_handshake(&mut self, peer: PeerId) {
        let link = &mut self.links[peer.index()];
        link.begun = true;
        let first = link.buffer.first().copied();
        link.buffer.drain(..link.buffer.len().min(1));
        fates::closed(self, peer, usize::from(first.is_some()));
        if first != Some(HANDSHAKE) {
            self.broken(
                Check::LoginOrder,
                format!("{peer}: {first:?} begins no TLS"),
            );
        }
    }

    pub(super) fn close(&mut self, peer: PeerId, cause: &CloseCause) {
        // What a session ends for is not taken any more.
        let last = self.links[peer.index()].buffer.iter().take(Header::LEN);
        let last: Vec<u8> = last.copied().collect();
        let last = self.unveiled(peer, &last);
        self.seen.arrived(peer, &last);
        let buffered = self.links[peer.index()].buffer.len();
        fates::closed(self, peer, buffered);
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
        self.seen.closed(peer);
        self.cancels.begins_anew(peer);
        if peer == PeerId::READER {
            self.reader_closed = Some(self.now);
        }
        if was_open {
            self.record(peer, Happened::Closed);
        }
        self.closes.push((peer, cause.clone()));
    }

    /// A server works off a message. Whether it had one.
    pub(super) fn serve(&mut self, peer: PeerId) -> bool {
        transfers::before_serving(self, peer);
        let Some(server) = &mut self.servers[peer.index()] else {
            return false;
        };
        let moved = server.step(&mut self.cluster);
        transfers::behind_serving(self, peer);
        let Some(server) = &mut self.servers[peer.index()] else {
            return false;
        };
        let output = server.output();
        let closed = server.is_closed();
        let link = &mut self.links[peer.index()];
        if link.state == State::Open {
            link.sends(&output);
            if closed && link.end == End::Open {
                link.end = End::Eof;
            }
        }
        self.beat();
        moved || !output.is_empty()
    }
}
