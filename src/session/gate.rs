//! The client's login, relayed: the client and the gate talk to each other through us, byte for byte.
//!
//! Three things of the gate are not passed on as they are: its BackendKeyData, since the client gets a key of ours;
//! SASL mechanisms that bind to the gate's TLS connection, which ends at us; and, when the gate is the reader, all
//! that follows AuthenticationOk, since the client is told the writer's truth once the writer has let it in too.

#[cfg(feature = "scram")]
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::client::{Asked, ClientPhase, Question};
use super::leg::{Attempt, Duty, LegId, Phase, Relay, RelayStage, Serving};
use super::policy_login::LoginOutcome;
use super::upstream::{frame_limit, is_refusal};
use super::{Demand, Denial, Event, PeerId, RelayedPassword, Session, Tell};
use crate::auth::{Channel, Parameters};
#[cfg(feature = "scram")]
use crate::auth::{Credential, Observer};
use crate::ledger::Fate;
use crate::limits;
use crate::route::Route;
use crate::startup::CancelKey;
use crate::wire::{Authentication, Backend, Header, Names, TransactionStatus, sqlstate, tags};

/// What becomes of one message of the gate.
enum Step {
    /// The client gets it.
    Forward,
    /// The client gets it and has to answer.
    Ask(Asked),
    /// The client does not get it.
    Swallow,
    /// The client gets this instead.
    Replace(BytesMut),
    /// The client gets this instead and has to choose a mechanism.
    AskInstead(BytesMut),
    /// The client gets it, and the gate closes the connection.
    Refuse,
    /// The login is complete.
    Done,
    /// The gate refuses a login without TLS, and the client has not heard of it.
    NotInClear,
    /// The policy denies the client its login, and it gets this.
    Deny(Denial),
    /// The gate takes no sessions now, and the client has not heard of it.
    NotNow,
    /// The gate broke the protocol, or asks for what cannot be relayed.
    Fail(&'static str),
}

impl<R: Route> Session<R> {
    pub(super) fn relay_input(&mut self, now: Instant, id: LegId, input: &[u8]) -> Demand {
        let header = match Header::parse_within(input, frame_limit(&self.config)) {
            Ok(Some(header)) => header,
            Ok(None) => return Demand::Bytes(Header::LEN),
            Err(fault) => {
                self.leg_failed(now, id, fault.to_string());
                return Demand::Again;
            }
        };
        let Some((body, _)) = header.split(input) else {
            return Demand::Bytes(usize::try_from(header.frame_len).unwrap_or(usize::MAX));
        };
        if !self.has_room_for_reply(id) {
            return Demand::Paused;
        }
        let step = match Backend::parse(header.tag, body) {
            Ok(message) if self.client.was_refused() && !is_farewell(&message) => {
                Step::Fail("it went on behind its refusal")
            }
            Ok(message) => {
                let step = self.relay_step(id, &message);
                if matches!(step, Step::Refuse) {
                    self.count_refusal(&message);
                }
                self.judged(now, &message, step)
            }
            Err(_) => Step::Fail("a malformed message in its login"),
        };
        self.relay_one(now, id, header, body, step);
        Demand::Again
    }

    /// What the policy makes of a message that tells the client how its login came out.
    fn judged(&mut self, now: Instant, message: &Backend<'_>, step: Step) -> Step {
        let outcome = match step {
            Step::Forward | Step::Refuse => LoginOutcome::told_by(message),
            Step::Ask(_)
            | Step::Swallow
            | Step::Replace(_)
            | Step::AskInstead(_)
            | Step::Done
            | Step::NotInClear
            | Step::Deny(_)
            | Step::NotNow
            | Step::Fail(_) => None,
        };
        let denial = outcome.and_then(|outcome| self.judge_login(now, outcome));
        denial.map_or(step, Step::Deny)
    }

    fn relay_step(&mut self, id: LegId, message: &Backend<'_>) -> Step {
        if let Backend::NegotiateProtocolVersion { newest, options } = message {
            return self.negotiated(id, *newest, options);
        }
        let may_try_tls = self.may_try_tls(id);
        let Phase::Relaying(relay) = &self.leg(id).phase else {
            return Step::Swallow;
        };
        let before = relay.stage;
        let is_new = matches!(before, RelayStage::Fresh | RelayStage::Negotiated);
        if is_new && may_try_tls && is_refusal(message) {
            return Step::NotInClear;
        }
        if let Backend::ErrorResponse(fields) = message {
            let state = fields.sqlstate();
            if self.is_retried(id, state) || self.is_read_only_instead(id, state) {
                return Step::NotNow;
            }
        }
        let asks = matches!(
            message,
            Backend::Authentication(Authentication::CleartextPassword)
        );
        if asks && !self.may_have_the_password(id) {
            return Step::Fail(
                "the server asks for a password in clear over an unencrypted connection, which the proxy does not allow",
            );
        }
        let Phase::Relaying(relay) = &mut self.leg_mut(id).phase else {
            return Step::Swallow;
        };
        let step = relay_message(relay, message);
        if id == self.reader() {
            return for_reader(before, step);
        }
        match (step, message) {
            (Step::Swallow, Backend::BackendKeyData { process_id, .. }) => self
                .own_key(*process_id, self.client_minor())
                .map_or(Step::Swallow, Step::Replace),
            (step, _) => step,
        }
    }

    /// Whether the client may be asked for its password as it is, which goes over the gate's connection.
    fn may_have_the_password(&self, id: LegId) -> bool {
        let is_clear = self.leg(id).channel == Channel::Clear;
        match self.config.relayed_password {
            RelayedPassword::Anyhow => true,
            RelayedPassword::OverTls => !is_clear,
            RelayedPassword::AsTheClient => !is_clear || self.client.tls_info().is_none(),
        }
    }

    /// The gate's NegotiateProtocolVersion. The client gets exactly one, whichever connection it came on.
    fn negotiated(&mut self, id: LegId, newest: i32, options: &Names<'_>) -> Step {
        let startup = self.client.startup.as_ref();
        let Some(version) = startup.and_then(|startup| startup.negotiated(newest, options)) else {
            return Step::Fail("its version negotiation does not answer the client's");
        };
        let again = self.leg(id).attempt == Attempt::Second;
        let Phase::Relaying(relay) = &mut self.leg_mut(id).phase else {
            return Step::Swallow;
        };
        if relay.stage != RelayStage::Fresh {
            return Step::Fail("it negotiated the version where it has no place");
        }
        relay.stage = RelayStage::Negotiated;
        match self.client.negotiated.replace(version.minor) {
            None => Step::Forward,
            Some(minor) if again && minor == version.minor => Step::Swallow,
            Some(_) => Step::Fail("it negotiated two versions"),
        }
    }

    /// Our BackendKeyData in place of the gate's.
    fn own_key(&self, process_id: i32, minor: u16) -> Option<BytesMut> {
        let key = self.make_key(process_id, minor)?;
        let mut out = BytesMut::new();
        let message = Backend::BackendKeyData {
            process_id,
            secret: key.secret(),
        };
        message.encode(&mut out).ok()?;
        Some(out)
    }

    /// The minor version that the client speaks: what it asked for, unless the gate negotiated it down.
    fn client_minor(&self) -> u16 {
        let asked = self
            .client
            .startup
            .as_ref()
            .map_or(0, |startup| startup.version().minor);
        self.client.negotiated.unwrap_or(asked)
    }

    fn relay_one(&mut self, now: Instant, id: LegId, header: Header, body: &[u8], step: Step) {
        let from = id.peer().port();
        let client = PeerId::CLIENT.port();
        let fate = match step {
            Step::Forward | Step::Ask(_) | Step::Refuse => Fate::To(client),
            Step::Done if id == self.writer() => Fate::To(client),
            Step::Swallow
            | Step::Replace(_)
            | Step::AskInstead(_)
            | Step::Done
            | Step::NotInClear
            | Step::Deny(_)
            | Step::NotNow
            | Step::Fail(_) => Fate::Discard,
        };
        if self
            .ledger
            .claim(from, fate, u64::from(header.frame_len))
            .is_err()
        {
            self.abort(super::CloseCause::Misuse(
                "the queues are too short for a login",
            ));
            return;
        }
        self.tally.reply(id, fate, header.tag, body);
        match step {
            // It has accepted, or proven itself: whatever it asked last, it waits for no answer.
            Step::Forward if header.tag == tags::backend::AUTHENTICATION => {
                self.client.phase = ClientPhase::LoggingIn(Question::None);
            }
            Step::Forward | Step::Swallow => {}
            Step::Ask(asked) => {
                self.client.phase = ClientPhase::LoggingIn(Question::Asked(asked));
            }
            Step::AskInstead(bytes) => {
                self.push(PeerId::CLIENT, &bytes);
                self.client.phase = ClientPhase::LoggingIn(Question::Asked(Asked::Mechanism));
            }
            Step::Refuse => self.client.phase = ClientPhase::LoggingIn(Question::Refused),
            Step::Replace(bytes) => self.push(PeerId::CLIENT, &bytes),
            Step::Done => self.relay_done(now, id),
            Step::NotInClear => self.try_with_tls(now, id),
            Step::Deny(denial) => self.deny_login(now, denial),
            Step::NotNow => self.leg_unreachable(now, id, "it takes no sessions now".to_owned()),
            Step::Fail(why) => self.leg_failed(now, id, why.to_owned()),
        }
    }

    /// The gate is ready for queries.
    fn relay_done(&mut self, now: Instant, id: LegId) {
        let Phase::Relaying(relay) = std::mem::replace(&mut self.leg_mut(id).phase, Phase::Closing)
        else {
            return;
        };
        let minor = self.client_minor();
        let process_id = relay.key.as_ref().map_or(0, CancelKey::process_id);
        #[cfg(feature = "scram")]
        self.learn(relay.observer);
        let parameters = relay.parameters.clone();
        let serving = Serving::new(relay.parameters, relay.key, 0);
        self.leg_mut(id).phase = Phase::Serving(Box::new(serving));
        self.client.minor = minor;
        let to = self.leg(id).to;
        self.notify(Event::UpstreamReady {
            peer: id.peer(),
            to,
        });
        match self.duty(id) {
            Duty::Writer => {
                self.begin(&parameters);
                self.admit(now, process_id);
            }
            Duty::Reader | Duty::Spare => self.dial(now, self.writer()),
        }
    }

    /// Whether the rest of an answer has to be there before it is passed on: one that is looked at.
    pub(super) fn waits_to_see(&self, asked: Asked, header: Header, input: &[u8]) -> bool {
        asked != Asked::Opaque
            && header.frame_len <= frame_limit(&self.config)
            && header.split(input).is_none()
    }

    /// Looks at an answer. Whether it may pass; the session is over if it may not.
    pub(super) fn may_pass(
        &mut self,
        now: Instant,
        asked: Asked,
        header: Header,
        input: &[u8],
    ) -> bool {
        let gate = self.gate();
        let (Phase::Relaying(relay), Some((body, _))) =
            (&mut self.leg_mut(gate).phase, header.split(input))
        else {
            return true;
        };
        if header.tag != tags::frontend::PASSWORD {
            return true;
        }
        let Err(why) = relay.look(asked, body) else {
            return true;
        };
        let tell = Tell::fatal(sqlstate::INVALID_AUTHORIZATION, why).with_hint(
            "Connect with channel_binding=disable, or let the proxy check passwords itself.",
        );
        let cause = super::CloseCause::ClientFault(Some(tell.state));
        self.end(now, cause, Some(tell));
        false
    }

    /// The gate let the client in: its proof may have shown the keys that other upstreams are logged in to with.
    #[cfg(feature = "scram")]
    fn learn(&mut self, observer: Observer) {
        match observer.accepted() {
            Ok(None) => {}
            Ok(Some(keys)) => {
                self.client.credential = Some(Arc::new(Credential::ScramKeys(keys)));
            }
            Err(why) => self.notify(Event::KeysNotLearnt {
                why: why.to_string(),
            }),
        }
    }

    /// The writer let us in after the gate: the client gets the writer's parameters and may begin.
    pub(super) fn greet(&mut self, now: Instant, parameters: &Parameters, process_id: i32) {
        let mut out = BytesMut::new();
        let mut complete = true;
        for (name, value) in parameters {
            let message = Backend::ParameterStatus { name, value };
            complete &= message.encode(&mut out).is_ok();
        }
        if let Some(key) = self.own_key(process_id, self.client.minor) {
            out.extend_from_slice(&key);
        }
        let ready = Backend::ReadyForQuery {
            status: TransactionStatus::Idle,
        };
        complete &= ready.encode(&mut out).is_ok();
        if !complete {
            let tell = Tell::fatal(
                sqlstate::INTERNAL_ERROR,
                format!(
                    "the {} server's parameters cannot be passed on",
                    self.writers_name()
                ),
            );
            self.end(
                now,
                super::CloseCause::LoginFailed(self.writer().peer()),
                Some(tell),
            );
            return;
        }
        self.push(PeerId::CLIENT, &out);
        self.admit(now, process_id);
    }

    fn admit(&mut self, now: Instant, process_id: i32) {
        match self.make_key(process_id, self.client.minor) {
            Some(key) => self.logged_in(now, key),
            None => self.abort(super::CloseCause::Misuse("no key for the client")),
        }
    }
}

impl Relay {
    /// Looks at the server's challenge.
    #[cfg(feature = "scram")]
    fn challenged(&mut self, data: &[u8]) {
        self.observer.challenged(data);
    }

    #[cfg(not(feature = "scram"))]
    fn challenged(&mut self, _: &[u8]) {}

    /// Looks at the client's answer. Why it cannot pass, if it cannot.
    #[cfg(feature = "scram")]
    fn look(&mut self, asked: Asked, body: &[u8]) -> Result<(), String> {
        match asked {
            Asked::Opaque => Ok(()),
            Asked::Mechanism => self.observer.chosen(body).map_err(|why| why.to_string()),
            Asked::SaslData => {
                self.observer.responded(body);
                Ok(())
            }
        }
    }

    #[cfg(not(feature = "scram"))]
    fn look(&mut self, _: Asked, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// What a message of a gate that is the writer means for the login.
fn relay_message(relay: &mut Relay, message: &Backend<'_>) -> Step {
    match message {
        Backend::Authentication(request) => authentication(relay, request),
        Backend::ParameterStatus { name, value } if has_room(&relay.parameters, name, value) => {
            relay.parameters.push(((*name).into(), (*value).into()));
            Step::Forward
        }
        Backend::ParameterStatus { .. } => Step::Fail("it reported too many parameters"),
        Backend::BackendKeyData { process_id, secret } => match CancelKey::new(*process_id, secret)
        {
            Ok(key) => {
                relay.key = Some(key);
                Step::Swallow
            }
            Err(_) => Step::Fail("its cancel key is malformed"),
        },
        Backend::ErrorResponse(_) => Step::Refuse,
        Backend::NoticeResponse(_) => Step::Forward,
        Backend::ReadyForQuery { status } if relay.stage == RelayStage::Accepted => match status {
            TransactionStatus::Idle => Step::Done,
            TransactionStatus::InTransaction | TransactionStatus::Failed => {
                Step::Fail("its session begins inside a transaction")
            }
        },
        Backend::ReadyForQuery { .. }
        | Backend::NotificationResponse { .. }
        | Backend::CommandComplete { .. }
        | Backend::EmptyQueryResponse
        | Backend::ParseComplete
        | Backend::BindComplete
        | Backend::CloseComplete
        | Backend::NoData
        | Backend::ParameterDescription { .. }
        | Backend::RowDescription { .. }
        | Backend::DataRow { .. }
        | Backend::PortalSuspended
        | Backend::CopyInResponse(_)
        | Backend::CopyOutResponse(_)
        | Backend::CopyBothResponse(_)
        | Backend::CopyData { .. }
        | Backend::CopyDone
        | Backend::FunctionCallResponse { .. }
        | Backend::NegotiateProtocolVersion { .. }
        | Backend::Unknown { .. } => Step::Fail("it sent a message that has no place in a login"),
    }
}

pub(super) fn has_room(parameters: &Parameters, name: &[u8], value: &[u8]) -> bool {
    let held = parameters
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len()));
    let bytes = held.fold(
        name.len().saturating_add(value.len()),
        usize::saturating_add,
    );
    parameters.len() < limits::LOGIN_PARAMETERS_MAX && bytes <= limits::LOGIN_PARAMETER_BYTES_MAX
}

fn authentication(relay: &mut Relay, request: &Authentication<'_>) -> Step {
    match relay.stage {
        RelayStage::Accepted => {
            return Step::Fail("it asked for authentication after it had accepted it");
        }
        RelayStage::Fresh | RelayStage::Negotiated | RelayStage::Proving => {
            relay.stage = RelayStage::Proving;
        }
    }
    match request {
        Authentication::Ok => {
            relay.stage = RelayStage::Accepted;
            Step::Forward
        }
        Authentication::Sasl { mechanisms } => {
            #[cfg(feature = "scram")]
            relay.observer.offered(mechanisms);
            without_binding(mechanisms)
        }
        Authentication::SaslContinue { data } => {
            relay.challenged(data);
            Step::Ask(Asked::SaslData)
        }
        Authentication::SaslFinal { .. } => Step::Forward,
        Authentication::CleartextPassword
        | Authentication::Md5Password { .. }
        | Authentication::KerberosV5
        | Authentication::Gss
        | Authentication::GssContinue { .. }
        | Authentication::Sspi
        | Authentication::Other { .. } => Step::Ask(Asked::Opaque),
    }
}

/// The offer without the mechanisms that bind to the TLS connection, which ends at us: a client that bound to
/// ours would be refused by the server.
fn without_binding(mechanisms: &Names<'_>) -> Step {
    let kept: Vec<&[u8]> = mechanisms
        .iter()
        .filter(|name| !name.ends_with(b"-PLUS"))
        .collect();
    if kept.len() == mechanisms.len() {
        return Step::Ask(Asked::Mechanism);
    }
    if kept.is_empty() {
        return Step::Fail(
            "it offers only authentication bound to its own TLS connection, which cannot be relayed",
        );
    }
    let mut out = BytesMut::new();
    let offer = Backend::Authentication(Authentication::Sasl {
        mechanisms: Names::new(&kept),
    });
    match offer.encode(&mut out) {
        Ok(()) => Step::AskInstead(out),
        Err(_) => Step::Fail("its offer of mechanisms cannot be passed on"),
    }
}

/// What the client gets of a gate that is the reader: the proof of who it is, and nothing of what follows.
fn for_reader(before: RelayStage, step: Step) -> Step {
    match (before, step) {
        (RelayStage::Accepted, Step::Forward | Step::Replace(_)) => Step::Swallow,
        (_, step) => step,
    }
}

/// Whether a server that has refused a login may say this: it closes the connection next.
fn is_farewell(message: &Backend<'_>) -> bool {
    matches!(
        message,
        Backend::ErrorResponse(_) | Backend::NoticeResponse(_)
    )
}
