//! The client's side before it is served: its opening, and its login through the gate.
//!
//! | phase | what its bytes mean | leaves by |
//! |---|---|---|
//! | `Opening` | SSLRequest, GSSENCRequest, CancelRequest or StartupMessage | a StartupMessage, a refusal |
//! | `Securing` | nothing: TLS runs | the handshake's end |
//! | `Finding` | nothing: the caller looks the user up | what it has found |
//! | `Admitting` | answers to what we ask | the proof of who it is, a refusal |
//! | `Opaque` | nothing that we read: they are the server's | the end of the stream |
//! | `LoggingIn` | answers to what the gate asks, one frame for each question | ReadyForQuery of the gate, or its error |
//! | `Serving` | requests | Terminate, the end of the stream, a fault |
//! | `Over` | nothing | the close |

use std::sync::Arc;
use std::time::Instant;

use super::begin::startup_mentions_catalog;
use super::leg::{Duty, Hashing, LegId, Phase};
use super::loss::Stream;
use super::read_only::Served;
use super::{
    Action, CloseCause, Config, Demand, Event, Gate, Life, PeerId, ReaderOpen, Relayed, Session,
    Split, Tell, Timer, TlsRole,
};
use super::{TlsFailed, TlsInfo};
use bytes::BytesMut;

use crate::auth::{Admission, Channel, ClientConnection, Credential, UpstreamUser};
#[cfg(feature = "scram")]
use crate::cancel::KeyWidth;
use crate::ledger::Fate;
use crate::limits;
use crate::migrate::Dialect;
use crate::migrate::cockroach::check_client;
use crate::route::Route;
use crate::startup::{
    CancelKey, Negotiation, Opened, Passage, Refusal, Replication, StartupParams, TlsNegotiation,
};
use crate::stats::ConnectionCounter;
use crate::wire::{Header, SqlState, sqlstate, tags};

/// The client's phase.
#[derive(Debug)]
pub(super) enum ClientPhase {
    Opening(Negotiation),
    Securing(Negotiation, TlsNegotiation),
    Opaque(Passage),
    Finding,
    Admitting(Box<Admission>, Hashing),
    LoggingIn(Question),
    Serving(CancelKey),
    Over,
    Closed,
}

/// Whether the gate waits for an answer of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    None,
    Asked(Asked),
    /// The gate's ErrorResponse is on its way: it will close the connection.
    Refused,
}

/// What the gate has asked, as far as the answer is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Opaque,
    /// The choice of a SASL mechanism.
    Mechanism,
    /// Data of the mechanism.
    SaslData,
}

/// What a session consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionKind {
    /// Requests, each of which has an upstream.
    Requests,
    /// A replication stream, or what the server may take for one: it passes whole.
    Stream,
    /// Encrypted by the client and the server with each other: it passes unread.
    Opaque,
    /// Requests, up to a message that made no sense: it passes whole from there on.
    OutOfSync,
}

impl SessionKind {
    fn of(startup: &StartupParams) -> SessionKind {
        match startup.replication() {
            Replication::Off => SessionKind::Requests,
            Replication::On | Replication::Invalid => SessionKind::Stream,
        }
    }
}

/// The client and what it opened the session with.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) phase: ClientPhase,
    pub(super) stream: Stream,
    /// Its StartupMessage, as servers get it.
    pub(super) startup: Option<StartupParams>,
    /// The same as it came, if the policy has had it changed.
    pub(super) sent: Option<StartupParams>,
    pub(super) kind: SessionKind,
    /// The minor protocol version that it speaks with us.
    pub(super) minor: u16,
    /// The minor version that the gate has negotiated it down to.
    pub(super) negotiated: Option<u16>,
    /// What is known of its connection, if that is encrypted.
    tls: Option<Box<TlsInfo>>,
    /// What its proof has shown, if it is more than what is listed.
    pub(super) credential: Option<Arc<Credential>>,
    /// Whom upstreams know it as, if the caller has said so.
    pub(super) upstream_user: Option<UpstreamUser>,
    /// What bytes are that come before our answer to a request for encryption has left.
    early: Option<Refusal>,
}

impl Client {
    pub(super) fn new(config: &Config) -> Client {
        Client {
            phase: ClientPhase::Opening(
                Negotiation::new(config.client_tls).startup_body(config.limits.startup_body),
            ),
            stream: Stream::Open,
            startup: None,
            sent: None,
            kind: SessionKind::Requests,
            minor: 0,
            negotiated: None,
            tls: None,
            credential: None,
            upstream_user: None,
            early: None,
        }
    }

    pub(super) fn key(&self) -> Option<&CancelKey> {
        match &self.phase {
            ClientPhase::Serving(key) => Some(key),
            ClientPhase::Opening(_)
            | ClientPhase::Securing(..)
            | ClientPhase::Opaque(_)
            | ClientPhase::Finding
            | ClientPhase::Admitting(..)
            | ClientPhase::LoggingIn(_)
            | ClientPhase::Over
            | ClientPhase::Closed => None,
        }
    }

    pub(super) fn tls_info(&self) -> Option<&TlsInfo> {
        self.tls.as_deref()
    }

    /// What its login to us may rely on.
    pub(super) fn connection(&self) -> ClientConnection {
        match self.tls_info() {
            Some(info) => ClientConnection {
                channel: match info.identity {
                    Some(_) => Channel::VerifiedTls,
                    None => Channel::Tls,
                },
                end_point: info.end_point.clone(),
                identity: info.identity.clone(),
            },
            None => ClientConnection::default(),
        }
    }

    pub(super) fn wants_read(&self) -> bool {
        let open = match self.phase {
            ClientPhase::Opening(_)
            | ClientPhase::Finding
            | ClientPhase::Admitting(..)
            | ClientPhase::Opaque(_)
            | ClientPhase::LoggingIn(_)
            | ClientPhase::Serving(_)
            | ClientPhase::Over => true,
            ClientPhase::Securing(..) | ClientPhase::Closed => false,
        };
        open && self.stream == Stream::Open
    }

    pub(super) fn was_refused(&self) -> bool {
        matches!(self.phase, ClientPhase::LoggingIn(Question::Refused))
    }

    pub(super) fn over(&mut self) {
        self.credential = None;
        self.upstream_user = None;
        if !self.is_closed() {
            self.phase = ClientPhase::Over;
        }
    }

    pub(super) fn closed(&mut self) {
        self.credential = None;
        self.upstream_user = None;
        self.phase = ClientPhase::Closed;
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, ClientPhase::Closed)
    }
}

/// Whether a message is longer than any in a login.
fn is_no_answer(header: Header) -> bool {
    is_longer(header, limits::LOGIN_MESSAGE)
}

/// Whether a message is longer than any in a login that we check.
pub(super) fn is_no_proof(header: Header) -> bool {
    is_longer(header, limits::PROOF_MESSAGE)
}

fn is_longer(header: Header, most: usize) -> bool {
    usize::try_from(header.body_len()).map_or(true, |len| len > most)
}

impl<R: Route> Session<R> {
    pub(super) fn client_input(&mut self, now: Instant, input: &[u8]) -> Demand {
        match &self.client.phase {
            ClientPhase::Opening(_) => self.open(now, input),
            // What begins a handshake is the driver's to take from its buffer.
            ClientPhase::Securing(_, TlsNegotiation::Direct) => Demand::Paused,
            ClientPhase::Securing(_, TlsNegotiation::Postgres) => self.no_bytes_yet(now, input),
            ClientPhase::Opaque(_) => self.opaque_client(input),
            // It has nothing to say yet, but may leave.
            ClientPhase::Finding if input.is_empty() => Demand::Bytes(1),
            ClientPhase::Finding => Demand::Paused,
            ClientPhase::Admitting(..) => self.admit_input(now, input),
            ClientPhase::LoggingIn(question) => {
                let question = *question;
                self.answer_gate(now, question, input)
            }
            ClientPhase::Serving(_) => self.serve_client(now, input),
            ClientPhase::Over | ClientPhase::Closed => self.ignore(PeerId::CLIENT, input),
        }
    }

    /// What bytes are that come before our answer to a request for encryption has left: an attack, however the reads
    /// were cut, since a client waits for the answer.
    fn early_bytes(&mut self, now: Instant, input: &[u8]) -> Option<Demand> {
        let unsent = self.ledger.poll_transmit(PeerId::CLIENT.port()).is_some();
        match self.client.early {
            Some(refusal) if unsent && !input.is_empty() => {
                // Its first byte is the answer that is on its way already.
                self.refuse_with(now, &refusal, 1);
                Some(Demand::Again)
            }
            Some(_) if unsent => Some(Demand::Bytes(1)),
            Some(_) | None => {
                self.client.early = None;
                None
            }
        }
    }

    fn open(&mut self, now: Instant, input: &[u8]) -> Demand {
        if let Some(demand) = self.early_bytes(now, input) {
            return demand;
        }
        let secured = self.client.tls_info().is_some();
        let ClientPhase::Opening(negotiation) = &mut self.client.phase else {
            return Demand::Paused;
        };
        match negotiation.handle(input, secured) {
            Ok(Opened::Need(needed)) => Demand::Bytes(needed),
            Ok(Opened::Reply {
                used,
                request,
                byte,
            }) => {
                self.used(used);
                self.client.early = Some(Refusal::BytesBehind {
                    request,
                    answer: byte,
                });
                self.push(PeerId::CLIENT, &[byte]);
                if byte == b'S' {
                    self.secure_client(TlsNegotiation::Postgres);
                }
                Demand::Again
            }
            Ok(Opened::DirectTls) => {
                self.secure_client(TlsNegotiation::Direct);
                Demand::Paused
            }
            Ok(Opened::Passthrough { by }) => {
                self.pass_through(now, by);
                Demand::Again
            }
            Ok(Opened::Cancel { used, key }) => {
                self.used(used);
                self.tally
                    .connections
                    .count(ConnectionCounter::CancelReceived);
                self.act(Action::Cancel(key));
                self.end(now, CloseCause::CancelTaken, None);
                Demand::Again
            }
            Ok(Opened::Start { params, .. }) if self.uses_reserved(&params) => {
                self.refuse(now, &Refusal::Reserved);
                Demand::Again
            }
            Ok(Opened::Start { used, params }) => {
                self.used(used);
                if startup_mentions_catalog(&params) {
                    self.memory.doubt_search_path();
                }
                self.client.kind = SessionKind::of(&params);
                self.client.startup = Some(params);
                if !self.is_denied(now) {
                    self.begin_login(now);
                }
                Demand::Again
            }
            Err(refusal) => {
                self.refuse(now, &refusal);
                Demand::Again
            }
        }
    }

    fn uses_reserved(&self, startup: &StartupParams) -> bool {
        let mut reserved = self.config.reserved.iter();
        let of_cockroach =
            self.config.dialect == Dialect::Cockroach && check_client(startup).is_err();
        of_cockroach || reserved.any(|name| startup.mentions(name))
    }

    /// Bytes in clear behind a request that was answered with TLS can only be somebody else's.
    fn no_bytes_yet(&mut self, now: Instant, input: &[u8]) -> Demand {
        if input.is_empty() {
            return Demand::Paused;
        }
        self.end(now, CloseCause::ClientFault(None), None);
        Demand::Again
    }

    fn used(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self
            .ledger
            .claim(PeerId::CLIENT.port(), Fate::Discard, bytes)
            .is_err()
        {
            self.abort(CloseCause::ClientFault(None));
        }
        self.tally.client.opening();
    }

    fn secure_client(&mut self, begun: TlsNegotiation) {
        let phase = std::mem::replace(&mut self.client.phase, ClientPhase::Over);
        if let ClientPhase::Opening(negotiation) = phase {
            self.client.phase = ClientPhase::Securing(negotiation, begun);
            let role = match begun {
                TlsNegotiation::Postgres => TlsRole::Server,
                TlsNegotiation::Direct => TlsRole::DirectServer,
            };
            self.outbox.secure(PeerId::CLIENT, role);
        }
    }

    fn refuse(&mut self, now: Instant, refusal: &Refusal) {
        self.refuse_with(now, refusal, 0);
    }

    /// Refuses the client with the answer but for its first bytes, which it has.
    fn refuse_with(&mut self, now: Instant, refusal: &Refusal, has: usize) {
        let mut answer = BytesMut::new();
        refusal.answer(&mut answer);
        self.push(PeerId::CLIENT, answer.get(has..).unwrap_or_default());
        self.end(now, CloseCause::ClientRefused(*refusal), None);
    }

    pub(super) fn client_secured(&mut self, now: Instant, result: Result<TlsInfo, TlsFailed>) {
        let phase = std::mem::replace(&mut self.client.phase, ClientPhase::Over);
        match (phase, result) {
            (ClientPhase::Securing(_, begun), Ok(info)) if !info.agrees(begun) => {
                self.refuse(now, &Refusal::Alpn);
            }
            (ClientPhase::Securing(negotiation, _), Ok(info)) => {
                self.client.tls = Some(Box::new(info.bounded()));
                self.tally.client.terminated_ssl();
                self.client.phase = ClientPhase::Opening(negotiation);
            }
            (ClientPhase::Securing(..), Err(_)) => {
                self.ledger.destination_ended(PeerId::CLIENT.port());
                self.end(now, CloseCause::ClientFault(None), None);
            }
            (phase, _) => {
                self.client.phase = phase;
                self.end(now, CloseCause::Misuse("TLS was not asked for"), None);
            }
        }
    }

    /// The upstream that the client logs in to.
    pub(super) fn gate(&self) -> LegId {
        match (self.config.gate, self.served) {
            (Gate::Reader, Served::AsConfigured) if self.splits() => self.reader(),
            // The client has logged in to it before the writer was tried, if the session was to be split.
            (Gate::Reader, Served::ByTheReader) if self.config.split == Split::On => self.reader(),
            (Gate::Writer | Gate::Reader, _) => self.writer(),
        }
    }

    /// One answer of the client, forwarded to the gate as it is.
    fn answer_gate(&mut self, now: Instant, question: Question, input: &[u8]) -> Demand {
        let header = match Header::parse(input) {
            Ok(Some(header)) => header,
            Ok(None) => return Demand::Bytes(Header::LEN),
            Err(_) => return self.answer_has_no_length(now),
        };
        if header.tag == tags::frontend::TERMINATE {
            self.tally.client.frontend(header.tag);
            self.end(now, CloseCause::ClientLeft, None);
            return Demand::Again;
        }
        let gate = self.gate();
        let port = gate.peer().port();
        let frame = u64::from(header.frame_len);
        match question {
            // A request ahead of its time: it waits, whatever its length.
            Question::None | Question::Refused => Demand::Paused,
            Question::Asked(_) if is_no_answer(header) => self.answer_has_no_length(now),
            Question::Asked(asked) if self.waits_to_see(asked, header, input) => {
                Demand::Bytes(usize::try_from(header.frame_len).unwrap_or(usize::MAX))
            }
            Question::Asked(asked) if !self.may_pass(now, asked, header, input) => Demand::Again,
            Question::Asked(_)
                if self
                    .ledger
                    .claim(PeerId::CLIENT.port(), Fate::To(port), frame)
                    .is_err() =>
            {
                Demand::Paused
            }
            Question::Asked(_) => {
                self.tally.client.frontend(header.tag);
                self.tally.leg(gate).frontend(header.tag);
                self.client.phase = ClientPhase::LoggingIn(Question::None);
                Demand::Again
            }
        }
    }

    /// No answer to a question of a login has this length. PostgreSQL says so to its log alone.
    pub(super) fn answer_has_no_length(&mut self, now: Instant) -> Demand {
        let tell = Tell::fatal(sqlstate::PROTOCOL_VIOLATION, "invalid message length");
        let cause = CloseCause::ClientFault(Some(tell.state));
        self.end(now, cause, Some(tell));
        Demand::Again
    }

    /// The gate let the client in, and every upstream that has to serve it does.
    pub(super) fn logged_in(&mut self, now: Instant, key: CancelKey) {
        self.timers.stop(Timer::Login);
        self.tally
            .connections
            .count(ConnectionCounter::SuccessfulConns);
        self.client.phase = ClientPhase::Serving(key);
        self.notify(Event::LoggedIn);
        if self.is_relay_only() {
            let to = self.leg(self.writer()).to;
            let what = Relayed::Replication;
            self.notify(Event::RelayedWhole { to, what });
        }
        let reader = self.leg(self.reader());
        // One that failed while the writer was logged in to is tried again later.
        let absent = matches!(reader.phase, Phase::Absent);
        if absent
            && self.splits()
            && self.config.reader_open == ReaderOpen::AtLogin
            && self.choose_reader(now).is_ok()
        {
            self.dial(now, self.reader());
        }
    }

    /// The key that the client gets: the writer's process id, which clients use in SQL, and a secret of ours, of
    /// the width that the client's protocol version has (4 bytes in 3.0; 3.2 allows up to 256). It is random, or names
    /// our instance to others.
    pub(super) fn make_key(&self, process_id: i32, minor: u16) -> Option<CancelKey> {
        let secret = self.seed.cancel_secret();
        #[cfg(feature = "scram")]
        if let Some(ring) = &self.config.cancel_ring {
            let width = match minor {
                0 | 1 => KeyWidth::V3_0,
                2.. => KeyWidth::V3_2,
            };
            return ring.key(process_id, width, secret.first_chunk()?);
        }
        let width = if minor >= 2 { secret.len() } else { 4 };
        CancelKey::new(process_id, secret.get(..width)?).ok()
    }

    /// The login cannot go on: the client is told why, in our own words.
    pub(super) fn login_failed(&mut self, now: Instant, leg: LegId, state: SqlState, why: String) {
        let which = match self.duty(leg) {
            Duty::Writer => self.writers_name(),
            Duty::Reader => "replica",
            Duty::Spare => "next",
        };
        let tell = Tell::fatal(
            state,
            format!("the proxy could not log in to the {which} server"),
        )
        .with_detail(why);
        if matches!(self.life, Life::Live | Life::Finishing) {
            self.end(now, CloseCause::LoginFailed(leg.peer()), Some(tell));
        }
    }
}
