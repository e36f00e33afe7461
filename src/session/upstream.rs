//! An upstream before it serves: dial, TLS, and the login, relayed for the gate and replayed for the others.
//!
//! | phase | waits for | leaves by |
//! |---|---|---|
//! | `Absent` | a reason to dial | a dial |
//! | `Dialing` | the driver's connection | SSLRequest, or the login at once |
//! | `Asking` | one byte: `S` or `N` | TLS, the login in clear, or a failure |
//! | `Securing` | the driver's handshake | the login |
//! | `Unopened` | a token for the login, of a session that moves between CockroachDB's servers | the login, the move's end |
//! | `Opaque` | nothing that we read: client and server talk | the end of its stream |
//! | `Relaying` | the gate and the client to come to terms | ReadyForQuery |
//! | `Replaying` | the server to accept our login | ReadyForQuery |
//! | `Serving` | requests | a loss, the session's end |
//! | `Closing` | the close | the close |

use std::time::Instant;

use bytes::BytesMut;

use super::client::ClientPhase;
use super::client::SessionKind;
use super::leg::{Attempt, Awaits, Duty, Heard, LegId, Login, Phase, Relay, Serving};
use super::loss::Stream;
use super::read_only::Served;
use super::{
    Action, ClientAuth, CloseCause, Config, Demand, Event, Session, Split, Timer, TlsFailed,
    TlsInfo, TlsRole,
};
use crate::auth::{
    AuthError, Channel, Established, ExternalAnswer, ExternalRequest, Handshake, Methods, Replay,
    ScramNonce, ServerReport,
};
use crate::ledger::Fate;
use crate::migrate::Dialect;
use crate::route::Route;
use crate::secret;
use crate::startup::{CancelKey, TlsNegotiation, Upgrade, UpstreamTls, UpstreamTlsPolicy};
use crate::wire::{Backend, Header, sqlstate, tags};

/// Why a dial failed, in words for a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConnectFailed(pub String);

impl<R: Route> Session<R> {
    /// Whether this session sends reads to a reader at all.
    pub(super) fn splits(&self) -> bool {
        self.config.split == Split::On
            && self.config.readers().next().is_some()
            && !self.is_relay_only()
            && self.served == Served::AsConfigured
    }

    /// Whether the session is handed through whole: a replication connection has no requests to route.
    pub(super) fn is_relay_only(&self) -> bool {
        match self.client.kind {
            SessionKind::Requests => false,
            SessionKind::Stream | SessionKind::Opaque | SessionKind::OutOfSync => true,
        }
    }

    pub(super) fn dial(&mut self, now: Instant, id: LegId) {
        if id == self.reader() {
            // With none that may be used a gate is dialled all the same: only its answer lets the client in.
            let _ = self.aim_reader(now);
        }
        let timeout = self.config.timeouts.dial;
        self.timers.start(now, timeout, Timer::Dial(id.peer()));
        self.connect(id, Attempt::First);
    }

    pub(super) fn connect(&mut self, id: LegId, attempt: Attempt) {
        let leg = self.leg_mut(id);
        leg.phase = Phase::Dialing;
        leg.stream = Stream::Open;
        leg.channel = Channel::Clear;
        leg.tls = None;
        leg.attempt = attempt;
        leg.dials = leg.dials.saturating_add(1);
        let (to, dials) = (leg.to, leg.dials);
        self.tally.dialled(dials);
        self.act(Action::Connect {
            peer: id.peer(),
            to,
        });
    }

    /// Whether an upstream that refuses a login is tried again with TLS.
    pub(super) fn may_try_tls(&self, id: LegId) -> bool {
        let leg = self.leg(id);
        leg.attempt == Attempt::First && self.config.tls(leg.to).after_refusal().is_some()
    }

    /// Gives up a connection on which a login in clear was refused, for one with TLS.
    pub(super) fn try_with_tls(&mut self, now: Instant, id: LegId) {
        let (peer, timeout) = (id.peer(), self.config.timeouts.dial);
        self.timers.stop(Timer::Replay(peer));
        self.timers.start(now, timeout, Timer::Dial(peer));
        let leg = self.leg_mut(id);
        leg.attempt = Attempt::Redial;
        leg.phase = Phase::Closing;
        let to = leg.to;
        self.notify(Event::TlsAfterRefusal { peer, to });
        // It reads nothing more. What the client is to have of it is the version that it has negotiated.
        self.ledger.destination_ended(peer.port());
        self.outbox.close(peer, CloseCause::LoginFailed(peer));
    }

    /// What this connection is to do about TLS.
    pub(super) fn leg_tls(&self, id: LegId) -> UpstreamTlsPolicy {
        let leg = self.leg(id);
        let policy = self.config.tls(leg.to);
        match leg.attempt {
            Attempt::First | Attempt::Elsewhere => policy,
            Attempt::Redial | Attempt::Second => policy.after_refusal().unwrap_or(policy),
        }
    }

    /// The policy that gives another connection to this server what this one came to have, and nothing less.
    pub(super) fn leg_tls_in_use(&self, id: LegId) -> UpstreamTlsPolicy {
        match (self.leg(id).channel, self.leg_tls(id)) {
            (_, strict) if strict.requires_tls() => strict,
            (Channel::Clear, _) => UpstreamTlsPolicy::Disable,
            (Channel::Tls | Channel::VerifiedTls, _) => UpstreamTlsPolicy::Require,
        }
    }

    fn negotiation(&self, id: LegId) -> TlsNegotiation {
        self.config.tls_negotiation(self.leg(id).to)
    }

    pub(super) fn leg_connected(
        &mut self,
        now: Instant,
        id: LegId,
        result: Result<(), ConnectFailed>,
    ) {
        match (&self.leg(id).phase, result) {
            (Phase::Dialing, Ok(())) => self.begin_tls(now, id),
            (Phase::Dialing, Err(failed)) => self.leg_not_connected(now, id, &failed.0),
            (Phase::Closing | Phase::Absent, _) => {}
            (
                Phase::Asking(_)
                | Phase::Securing
                | Phase::Unopened
                | Phase::Opaque(_)
                | Phase::Relaying(_)
                | Phase::Replaying(_)
                | Phase::Serving(_),
                _,
            ) => self.end(now, CloseCause::Misuse("no dial was asked for"), None),
        }
    }

    fn begin_tls(&mut self, now: Instant, id: LegId) {
        if let ClientPhase::Opaque(by) = self.client.phase {
            return self.opaque_connected(by);
        }
        let mut tls = UpstreamTls::new(self.leg_tls(id)).begun_by(self.negotiation(id));
        let mut request = BytesMut::new();
        match tls.start(&mut request) {
            Ok(Upgrade::Wait) => {
                self.leg_mut(id).phase = Phase::Asking(tls);
                self.tally.leg(id).opening();
                self.push(id.peer(), &request);
            }
            Ok(Upgrade::StartTls { .. }) => self.secure_leg(id),
            Ok(Upgrade::Clear { .. }) => self.log_in(now, id),
            Err(fault) => self.leg_failed(now, id, fault.to_string()),
        }
    }

    fn secure_leg(&mut self, id: LegId) {
        let policy = self.leg_tls(id);
        self.leg_mut(id).phase = Phase::Securing;
        self.outbox.secure(id.peer(), TlsRole::Client(policy));
    }

    pub(super) fn leg_secured(
        &mut self,
        now: Instant,
        id: LegId,
        result: Result<TlsInfo, TlsFailed>,
    ) {
        match (&self.leg(id).phase, result) {
            (Phase::Securing, Ok(info)) if !info.agrees(self.negotiation(id)) => {
                let why = "TLS failed: it did not agree on the protocol `postgresql`";
                self.leg_failed(now, id, why.to_owned());
            }
            (Phase::Securing, Ok(info)) => {
                self.leg_mut(id).channel = self.secured_channel(id);
                self.tally.upstream_ssl_succeeded(id);
                self.leg_mut(id).tls = Some(Box::new(info.bounded()));
                self.log_in(now, id);
            }
            (Phase::Securing, Err(failed)) => {
                self.leg_failed_outside(now, id, "TLS failed", &failed.0)
            }
            (Phase::Closing | Phase::Absent, _) => {}
            (
                Phase::Dialing
                | Phase::Asking(_)
                | Phase::Unopened
                | Phase::Opaque(_)
                | Phase::Relaying(_)
                | Phase::Replaying(_)
                | Phase::Serving(_),
                _,
            ) => self.end(now, CloseCause::Misuse("TLS was not asked for"), None),
        }
    }

    fn secured_channel(&self, id: LegId) -> Channel {
        match self.config.tls(self.leg(id).to) {
            UpstreamTlsPolicy::VerifyFull => Channel::VerifiedTls,
            UpstreamTlsPolicy::Disable
            | UpstreamTlsPolicy::Allow
            | UpstreamTlsPolicy::Prefer
            | UpstreamTlsPolicy::Require
            | UpstreamTlsPolicy::VerifyCa => Channel::Tls,
        }
    }

    pub(super) fn leg_input(&mut self, now: Instant, id: LegId, input: &[u8]) -> Demand {
        match &self.leg(id).phase {
            Phase::Absent | Phase::Dialing => Demand::Paused,
            Phase::Securing if input.is_empty() => Demand::Paused,
            Phase::Securing => {
                self.leg_failed(
                    now,
                    id,
                    "bytes in clear before its TLS handshake".to_owned(),
                );
                Demand::Again
            }
            Phase::Asking(_) => self.judge_tls_answer(now, id, input),
            Phase::Unopened if input.is_empty() => Demand::Bytes(1),
            Phase::Unopened => {
                let why = "it spoke before it was spoken to";
                self.leg_failed(now, id, why.to_owned());
                Demand::Again
            }
            Phase::Opaque(passing) => {
                let passing = *passing;
                self.opaque_server(now, passing, input)
            }
            Phase::Relaying(_) => self.relay_input(now, id, input),
            Phase::Replaying(_) => self.replay_input(now, id, input),
            Phase::Serving(_) => self.serving_input(now, id, input),
            Phase::Closing => self.ignore(id.peer(), input),
        }
    }

    fn judge_tls_answer(&mut self, now: Instant, id: LegId, input: &[u8]) -> Demand {
        let Phase::Asking(tls) = &mut self.leg_mut(id).phase else {
            return Demand::Paused;
        };
        let (used, upgrade) = match tls.handle(input) {
            Ok(Upgrade::Wait) => return Demand::Bytes(1),
            Ok(upgrade @ (Upgrade::StartTls { used, .. } | Upgrade::Clear { used })) => {
                (used, upgrade)
            }
            Err(fault) => {
                self.leg_failed(now, id, fault.to_string());
                return Demand::Again;
            }
        };
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        if self
            .ledger
            .claim(id.peer().port(), Fate::Discard, used)
            .is_err()
        {
            self.leg_failed(now, id, "its queue is full".to_owned());
            return Demand::Again;
        }
        match upgrade {
            Upgrade::StartTls { .. } | Upgrade::Wait => self.secure_leg(id),
            Upgrade::Clear { .. } => {
                self.tally.upstream_ssl_failed(id);
                self.log_in(now, id);
            }
        }
        Demand::Again
    }

    /// The connection stands: the gate gets the client's own StartupMessage, another upstream a login of ours.
    fn log_in(&mut self, now: Instant, id: LegId) {
        self.timers.stop(Timer::Dial(id.peer()));
        self.spare_connected(now, id);
        let Some(startup) = self.client.startup.clone() else {
            self.end(
                now,
                CloseCause::Misuse("no client has opened the session"),
                None,
            );
            return;
        };
        let (startup, credential) = match self.upstream_login(&startup) {
            Ok(login) => login,
            Err(error) => return self.leg_failed(now, id, error.to_string()),
        };
        if self.duty(id) == Duty::Spare && self.config.dialect == Dialect::Cockroach {
            return self.revive(now, id, &startup);
        }
        let relays = matches!(self.config.authentication, ClientAuth::Relay);
        if relays && id == self.gate() && self.client.key().is_none() {
            self.leg_mut(id).phase = Phase::Relaying(Relay::new(credential));
            self.tally.leg(id).opening();
            self.push(id.peer(), startup.raw());
            return;
        }
        self.timers
            .start(now, self.config.timeouts.replay, Timer::Replay(id.peer()));
        let methods = self
            .methods(id)
            .unwrap_or_else(|| Methods::for_credential(&credential));
        let mut replay = Replay::new(
            &startup,
            credential,
            methods,
            self.leg(id).channel,
            self.nonce(id),
        )
        .bound_to(self.leg(id).end_point());
        if self.is_relay_only() {
            replay = replay.of_the_only_session();
        }
        let mut hello = BytesMut::new();
        if let Err(error) = replay.start(&mut hello) {
            self.leg_failed(now, id, error.to_string());
            return;
        }
        self.opened(id, replay, &hello);
    }

    /// A login of ours begins.
    pub(super) fn opened(&mut self, id: LegId, replay: Replay, hello: &[u8]) {
        self.leg_mut(id).phase = Phase::Replaying(Box::new(Login {
            replay,
            awaits: Awaits::Server,
            heard: Heard::Nothing,
        }));
        self.tally.leg(id).opening();
        self.push(id.peer(), hello);
    }

    fn methods(&self, id: LegId) -> Option<Methods> {
        self.config.upstreams.get(self.leg(id).to.0)?.methods
    }

    /// A nonce of its own for each dial of each upstream.
    fn nonce(&self, id: LegId) -> ScramNonce {
        let dials = u64::from(self.leg(id).dials);
        let legs = u64::try_from(LegId::COUNT).unwrap_or(u64::MAX);
        let leg = u64::try_from(id.index()).unwrap_or(u64::MAX);
        ScramNonce::derive(
            self.seed.nonce_key(),
            dials.saturating_mul(legs).saturating_add(leg),
        )
    }

    fn replay_input(&mut self, now: Instant, id: LegId, input: &[u8]) -> Demand {
        let mut reply = std::mem::take(&mut self.scratch);
        reply.clear();
        let step = self.replay_step(id, input, &mut reply);
        if !reply.is_empty() {
            self.push(id.peer(), &reply);
        }
        secret::empty(&mut reply);
        self.scratch = reply;
        match step {
            ReplayStep::Need(bytes) => return Demand::Bytes(bytes),
            ReplayStep::Full => return Demand::Paused,
            ReplayStep::On => {}
            ReplayStep::Ask(request) => {
                let leg = self.leg_mut(id);
                leg.questions = leg.questions.saturating_add(1);
                let (to, question) = (leg.to, leg.questions);
                self.act(Action::Authenticate {
                    peer: id.peer(),
                    to,
                    question,
                    request,
                });
            }
            ReplayStep::Ready(established) => self.leg_ready(now, id, *established),
            ReplayStep::Failed(why) => self.leg_failed(now, id, why),
            ReplayStep::Refused(report) => self.login_refused(now, id, &report),
            ReplayStep::NotInClear => self.try_with_tls(now, id),
        }
        Demand::Again
    }

    /// One step of a login of ours: a piece of hashing, or one message of the server, which nobody else sees.
    fn replay_step(&mut self, id: LegId, input: &[u8], reply: &mut BytesMut) -> ReplayStep {
        let port = id.peer().port();
        let may_try_tls = self.may_try_tls(id);
        let leg = self.legs.get_mut(id);
        let Phase::Replaying(login) = &mut leg.phase else {
            return ReplayStep::Full;
        };
        if login.awaits == Awaits::Hashing {
            let result = login.replay.work(reply);
            return login.step(result);
        }
        let header = match Header::parse_within(input, frame_limit(&self.config)) {
            Ok(Some(header)) => header,
            Ok(None) => return ReplayStep::Need(Header::LEN),
            Err(fault) => return ReplayStep::Failed(fault.to_string()),
        };
        if login.awaits == Awaits::Caller && header.tag == tags::backend::AUTHENTICATION {
            return ReplayStep::Full;
        }
        let Some((body, _)) = header.split(input) else {
            return ReplayStep::Need(usize::try_from(header.frame_len).unwrap_or(usize::MAX));
        };
        let message = match Backend::parse(header.tag, body) {
            Ok(message) => message,
            Err(fault) => return ReplayStep::Failed(fault.to_string()),
        };
        if self
            .ledger
            .claim(port, Fate::Discard, u64::from(header.frame_len))
            .is_err()
        {
            return ReplayStep::Full;
        }
        self.tally.leg(id).backend(header.tag, body);
        if matches!(message, Backend::Authentication(_)) {
            login.heard = Heard::Request;
        }
        if may_try_tls && login.heard == Heard::Nothing && is_refusal(&message) {
            return ReplayStep::NotInClear;
        }
        let result = login.replay.handle(message, reply);
        login.step(result)
    }

    /// The caller answers what an upstream asked.
    pub(super) fn leg_answered(
        &mut self,
        now: Instant,
        id: LegId,
        question: u64,
        answer: Result<ExternalAnswer<'_>, String>,
    ) {
        let leg = self.leg_mut(id);
        let Phase::Replaying(login) = &mut leg.phase else {
            return;
        };
        if question != leg.questions {
            return;
        }
        login.awaits = Awaits::Server;
        let mut reply = BytesMut::new();
        let answered = answer.map(|answer| login.replay.answer(answer, &mut reply));
        match answered {
            Ok(Ok(())) if !self.ledger.room_for(id.peer().port(), reply.len()) => {
                let why = "the caller's answer exceeds the queue of our own messages";
                self.leg_failed(now, id, why.to_owned());
            }
            Ok(Ok(())) => self.push(id.peer(), &reply),
            Ok(Err(error)) => self.leg_failed(now, id, error.to_string()),
            Err(outside) => {
                let why = "the proxy has no answer to what the server asks";
                self.leg_failed_outside(now, id, why, &outside);
            }
        }
        secret::empty(&mut reply);
    }

    /// A login of ours is done.
    fn leg_ready(&mut self, now: Instant, id: LegId, established: Established) {
        let peer = id.peer();
        self.timers.stop(Timer::Replay(peer));
        self.leg_mut(id).retry_at = None;
        // A reader that is logged in to first is measured when the writer is known.
        let in_login = self.client.key().is_none();
        if id == self.reader() && !in_login {
            if let Some(why) = self.unfit(&established.parameters) {
                self.leg_failed(now, id, why);
                return;
            }
        }
        let process_id = established.key.as_ref().map_or(0, CancelKey::process_id);
        let parameters = established.parameters.clone();
        let serving = Serving::new(established.parameters, established.key, 0);
        let to = self.leg(id).to;
        self.leg_mut(id).phase = Phase::Serving(Box::new(serving));
        self.notify(Event::UpstreamReady { peer, to });
        match self.duty(id) {
            Duty::Writer => {
                self.begin(&parameters);
                self.compare_gate(now);
                self.pass_notices(&established.notices);
                self.greet(now, &parameters, process_id);
            }
            Duty::Reader if in_login => self.dial(now, self.writer()),
            Duty::Spare => self.spare_ready(now, id),
            Duty::Reader => {}
        }
    }
}

/// What came of one step of a login of ours.
enum ReplayStep {
    On,
    Ask(ExternalRequest),
    Need(usize),
    Full,
    Ready(Box<Established>),
    Failed(String),
    Refused(Box<ServerReport>),
    /// The server refuses a login without TLS.
    NotInClear,
}

impl Login {
    fn step(&mut self, result: Result<Handshake, AuthError>) -> ReplayStep {
        if self.awaits == Awaits::Hashing {
            self.awaits = Awaits::Server;
        }
        match result {
            Ok(Handshake::Wait) => ReplayStep::On,
            Ok(Handshake::Working) => {
                self.awaits = Awaits::Hashing;
                ReplayStep::On
            }
            Ok(Handshake::Asked(request)) => {
                self.awaits = Awaits::Caller;
                ReplayStep::Ask(request)
            }
            Ok(Handshake::Ready(established)) => ReplayStep::Ready(Box::new(established)),
            Err(AuthError::Refused(report)) => ReplayStep::Refused(Box::new(report)),
            Err(error) => ReplayStep::Failed(error.to_string()),
        }
    }
}

/// Whether a server that has asked for nothing says so that it takes no login on this kind of connection.
pub(super) fn is_refusal(message: &Backend<'_>) -> bool {
    matches!(message, Backend::ErrorResponse(fields)
        if fields.sqlstate() == Some(sqlstate::INVALID_AUTHORIZATION))
}

/// The longest frame that can be looked at whole.
pub(super) fn frame_limit(config: &Config) -> u32 {
    u32::try_from(config.limits.read_buffer).unwrap_or(u32::MAX)
}
