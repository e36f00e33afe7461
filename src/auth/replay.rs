use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::BytesMut;

use super::certificate::TlsEndPoint;
use super::credential::Credential;
use super::error::{AuthError, ServerReport};
use super::established::{Collected, Established};
use super::external::{External, ExternalAnswer, ExternalRequest};
use super::md5::md5_password;
use super::methods::{Channel, Method, Methods};
use super::nonce::ScramNonce;
#[cfg(feature = "scram")]
use super::replay_scram::{ScramLogin, ScramStep, Terms};
use crate::startup::{ProtocolVersion, Replication, StartupParams};
use crate::wire::password::PasswordMessage;
use crate::wire::{Authentication, Backend, Names, TransactionStatus};

/// What a login needs next.
#[derive(Debug)]
pub enum Handshake {
    /// Send the reply, if there is one, and hand in the server's next message.
    Wait,
    /// The server asks what the caller answers ([`Credential::External`]): hand the answer to [`Replay::answer`], and what
    /// else the server requests behind that. Its proof and its verdict may come in one read.
    Asked(ExternalRequest),
    /// A password is being hashed: call [`Replay::work`] until it says something else, at leisure.
    Working,
    /// The server waits for the first request.
    Ready(Established),
}

/// One login to one more server, in the name of a client that has logged in already.
///
/// It sends the client's own StartupMessage, so that the session is the one that the client would have got, answers
/// what the server asks, and swallows everything up to the first ReadyForQuery, where the login ends (not at
/// AuthenticationOk: a server may still refuse, and what it reports on the way is kept in [`Established`]).
///
/// Whatever the server sends has a place in this table or ends the login:
///
/// | awaiting | Authentication | `E` | `N` | `v` | `S` `K` `A` | `Z` | any other |
/// | --- | --- | --- | --- | --- | --- | --- | --- |
/// | a request | answered, if [`Methods`] allows it | refused | kept | kept, once | fault | fault | fault |
/// | the verdict on a password | Ok | refused | kept | fault | fault | fault | fault |
/// | the SCRAM challenge | SASLContinue | refused | kept | fault | fault | fault | fault |
/// | the end of our hashing | fault | refused | kept | fault | fault | fault | fault |
/// | the server's SCRAM signature | SASLFinal | refused | kept | fault | fault | fault | fault |
/// | the caller's answer | fault | refused | kept | fault | fault | fault | fault |
/// | the verdict on the caller's answer | the next, or Ok if it may | refused | kept | fault | fault | fault | fault |
/// | the verdict on a proof | Ok | refused | kept | fault | fault | fault | fault |
/// | ReadyForQuery | fault | refused | kept | fault | kept, `K` once, `A` dropped | the end, if idle | fault |
///
/// A fault is an [`AuthError`]: close the connection. Nothing but the StartupMessage and answers to requests is ever
/// written, and secrets are dropped as soon as they are not needed. What was written may hold the password: the
/// caller's output buffer is the one place where it is not overwritten.
///
/// ```
/// use bytes::BytesMut;
/// use pgturnout::auth::{Channel, Credential, Handshake, Methods, Replay, ScramNonce};
/// use pgturnout::startup::{ProtocolVersion, StartupParams};
/// use pgturnout::wire::Backend;
///
/// let params = StartupParams::build(ProtocolVersion::V3_0, [(&b"user"[..], &b"pgpg"[..])])?;
/// let methods = Methods::NONE.allow_md5(Channel::Clear);
/// let nonce = ScramNonce::from_bytes([7; 18]); // from your random source
/// let mut login = Replay::new(&params, Credential::password("pgpg"), methods, Channel::Clear, nonce);
///
/// let mut out = BytesMut::new();
/// login.start(&mut out)?;
/// assert_eq!(&out[..], params.raw());
///
/// out.clear();
/// login.handle(Backend::parse(b'R', &[0, 0, 0, 5, 1, 2, 3, 4])?, &mut out)?;
/// assert_eq!(&out[..], b"p\0\0\0\x28md5e8dcacd3b532f5316ad9df7ed202ca21\0");
/// login.handle(Backend::parse(b'R', &[0, 0, 0, 0])?, &mut out)?;
/// assert!(matches!(login.handle(Backend::parse(b'Z', b"I")?, &mut out)?, Handshake::Ready(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Replay {
    params: StartupParams,
    methods: Methods,
    channel: Channel,
    #[cfg_attr(
        not(feature = "scram"),
        expect(dead_code, reason = "only SCRAM needs a nonce")
    )]
    nonce: ScramNonce,
    #[cfg_attr(
        not(feature = "scram"),
        expect(dead_code, reason = "only SCRAM is bound")
    )]
    end_point: Option<TlsEndPoint>,
    phase: Phase,
    collected: Collected,
    scope: Scope,
}

/// What kind of session a login may open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scope {
    /// One that runs statements.
    Statements,
    /// Any.
    Whole,
}

enum Phase {
    /// Nothing was sent.
    New(Arc<Credential>),
    /// The StartupMessage was sent.
    Asked(Arc<Credential>),
    /// A password was sent, as it is or hashed.
    Answered(Method),
    /// The caller has the server's request.
    External(External),
    /// The caller's answer was sent.
    ExternalAnswered(External),
    #[cfg(feature = "scram")]
    Scram(Box<ScramLogin>),
    /// AuthenticationOk came.
    Settling(Method),
    /// Completed or failed.
    Ended,
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Phase::New(_) => "nothing was sent",
            Phase::Asked(_) => "awaiting an authentication request",
            Phase::Answered(_) => "awaiting the verdict on a password",
            Phase::External(_) => "the caller was asked",
            Phase::ExternalAnswered(_) => "awaiting the verdict on the caller's answer",
            #[cfg(feature = "scram")]
            Phase::Scram(login) => login.name(),
            Phase::Settling(_) => "awaiting ReadyForQuery",
            Phase::Ended => "nothing more was expected",
        }
    }

    /// This phase, and what the caller does in it.
    fn enter(self) -> (Phase, Handshake) {
        let handshake = match &self {
            #[cfg(feature = "scram")]
            Phase::Scram(login) if login.is_hashing() => Handshake::Working,
            #[cfg(feature = "scram")]
            Phase::Scram(_) => Handshake::Wait,
            Phase::New(_)
            | Phase::Asked(_)
            | Phase::Answered(_)
            | Phase::External(_)
            | Phase::ExternalAnswered(_)
            | Phase::Settling(_)
            | Phase::Ended => Handshake::Wait,
        };
        (self, handshake)
    }
}

/// The phase after a message, and what to tell the caller.
type Step = Result<(Phase, Handshake), AuthError>;

impl Replay {
    /// A login as the user and to the database of `params`.
    ///
    /// `channel` is what the connection is *now*: TLS, if any, is set up before the StartupMessage. `nonce` is used if
    /// the server asks for SCRAM. Several logins can share one credential through an `Arc`.
    #[must_use]
    pub fn new(
        params: &StartupParams,
        credential: impl Into<Arc<Credential>>,
        methods: Methods,
        channel: Channel,
        nonce: ScramNonce,
    ) -> Replay {
        Replay {
            params: params.clone(),
            methods,
            channel,
            nonce,
            end_point: None,
            phase: Phase::New(credential.into()),
            collected: Collected::default(),
            scope: Scope::Statements,
        }
    }

    /// The same login over a TLS connection whose server has shown this certificate: SCRAM is bound to it, if the server
    /// offers that.
    #[must_use]
    pub fn bound_to(self, end_point: Option<TlsEndPoint>) -> Replay {
        Replay { end_point, ..self }
    }

    /// The same login for the client's only session: it may ask for replication, which is never opened twice.
    #[must_use]
    pub fn of_the_only_session(self) -> Replay {
        Replay {
            scope: Scope::Whole,
            ..self
        }
    }

    /// Appends the client's own StartupMessage, byte for byte, to `out`.
    ///
    /// # Errors
    ///
    /// [`AuthError::Replication`] if the client may have asked for a replication session and this login is not of its
    /// [only session](Replay::of_the_only_session), [`AuthError::OutOfTurn`] if the login has started before.
    pub fn start(&mut self, out: &mut BytesMut) -> Result<(), AuthError> {
        let Phase::New(credential) = mem::replace(&mut self.phase, Phase::Ended) else {
            return Err(AuthError::OutOfTurn);
        };
        let replicates = self.params.replication() != Replication::Off;
        if replicates && self.scope == Scope::Statements {
            return Err(AuthError::Replication);
        }
        out.extend_from_slice(self.params.raw());
        self.phase = Phase::Asked(credential);
        Ok(())
    }

    /// Takes the server's next message and appends what it calls for to `reply`.
    ///
    /// # Errors
    ///
    /// An [`AuthError`] ends the login; every call after it is [`AuthError::OutOfTurn`]. `reply` is then to be
    /// discarded with the connection.
    pub fn handle(
        &mut self,
        message: Backend<'_>,
        reply: &mut BytesMut,
    ) -> Result<Handshake, AuthError> {
        let phase = mem::replace(&mut self.phase, Phase::Ended);
        let (phase, handshake) = self.step(phase, message, reply)?;
        self.phase = phase;
        Ok(handshake)
    }

    /// Takes the caller's answer to a request that was handed out ([`Handshake::Asked`]) and appends its message to
    /// `reply`.
    ///
    /// # Errors
    ///
    /// [`AuthError::OutOfTurn`] if nothing was handed out, [`AuthError::ExternalTooLong`]; the login has then ended.
    pub fn answer(
        &mut self,
        answer: ExternalAnswer<'_>,
        reply: &mut BytesMut,
    ) -> Result<(), AuthError> {
        let Phase::External(external) = mem::replace(&mut self.phase, Phase::Ended) else {
            return Err(AuthError::OutOfTurn);
        };
        self.phase = Phase::ExternalAnswered(external.answered(answer, reply)?);
        Ok(())
    }

    /// Works off at most [`SCRAM_STEP_ITERATIONS`](crate::limits::SCRAM_STEP_ITERATIONS) iterations of a password's
    /// hash, and appends the answer to `reply` when it is ready.
    ///
    /// # Errors
    ///
    /// [`AuthError::OutOfTurn`] unless the last result was [`Handshake::Working`]; the login has then ended.
    #[cfg_attr(
        not(feature = "scram"),
        expect(unused_variables, reason = "nothing else needs work")
    )]
    pub fn work(&mut self, reply: &mut BytesMut) -> Result<Handshake, AuthError> {
        let phase = mem::replace(&mut self.phase, Phase::Ended);
        #[cfg(feature = "scram")]
        if let Phase::Scram(login) = phase {
            let (phase, handshake) = Phase::Scram(login.work(reply)?).enter();
            self.phase = phase;
            return Ok(handshake);
        }
        Err(AuthError::OutOfTurn)
    }

    fn step(&mut self, phase: Phase, message: Backend<'_>, reply: &mut BytesMut) -> Step {
        if matches!(phase, Phase::New(_) | Phase::Ended) {
            return Err(AuthError::OutOfTurn);
        }
        if let Backend::Authentication(request) = message {
            return self.authentication(phase, request, reply);
        }
        if let (Backend::ReadyForQuery { status }, Phase::Settling(method)) = (message, &phase) {
            return self.ready(status, *method);
        }
        self.swallow(&phase, message)?;
        Ok(phase.enter())
    }

    /// Keeps what a message says, unless it ends the login or has no place in this phase.
    fn swallow(&mut self, phase: &Phase, message: Backend<'_>) -> Result<(), AuthError> {
        let fault = || AuthError::Unexpected {
            message: message.name(),
            phase: phase.name(),
        };
        let asked = matches!(phase, Phase::Asked(_));
        let settling = matches!(phase, Phase::Settling(_));
        match message {
            Backend::ErrorResponse(fields) => Err(AuthError::Refused(ServerReport::new(fields))),
            Backend::NoticeResponse(fields) => self.collected.notice(fields),
            Backend::NegotiateProtocolVersion { newest, options } if asked => {
                let version = self.negotiable(newest, options)?;
                self.collected
                    .negotiated(version, options)
                    .ok_or_else(fault)
            }
            Backend::ParameterStatus { name, value } if settling => {
                self.collected.parameter(name, value)
            }
            Backend::BackendKeyData { process_id, secret } if settling => self
                .collected
                .cancel_key(process_id, secret, self.params.version())
                .ok_or_else(fault)?,
            // A login trigger may have listened and notified; the client hears of it from its own session.
            Backend::NotificationResponse {
                channel, payload, ..
            } if settling => self
                .collected
                .count_notice(channel.len().saturating_add(payload.len())),
            Backend::Authentication(_)
            | Backend::NegotiateProtocolVersion { .. }
            | Backend::ParameterStatus { .. }
            | Backend::BackendKeyData { .. }
            | Backend::NotificationResponse { .. }
            | Backend::ReadyForQuery { .. }
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
            | Backend::Unknown { .. } => Err(fault()),
        }
    }

    fn authentication(
        &mut self,
        phase: Phase,
        request: Authentication<'_>,
        reply: &mut BytesMut,
    ) -> Step {
        let fault = AuthError::Unexpected {
            message: "Authentication",
            phase: phase.name(),
        };
        match phase {
            Phase::Asked(credential) => self.respond(credential, request, reply),
            Phase::Answered(method) if request == Authentication::Ok => {
                Ok(Phase::Settling(method).enter())
            }
            #[cfg(feature = "scram")]
            Phase::Scram(login) => match login.handle(request, reply)? {
                ScramStep::On(login) => Ok(Phase::Scram(login).enter()),
                ScramStep::Accepted(method) => Ok(Phase::Settling(method).enter()),
            },
            Phase::ExternalAnswered(external) if request != Authentication::Ok => {
                Ok(ask(external.asked(request)?))
            }
            Phase::ExternalAnswered(external) if external.may_be_accepted() => {
                Ok(Phase::Settling(Method::External).enter())
            }
            Phase::New(_)
            | Phase::Answered(_)
            | Phase::External(_)
            | Phase::ExternalAnswered(_)
            | Phase::Settling(_)
            | Phase::Ended => Err(fault),
        }
    }

    /// Answers the first authentication request. Each answer asks first whether its method is allowed.
    fn respond(
        &mut self,
        credential: Arc<Credential>,
        request: Authentication<'_>,
        reply: &mut BytesMut,
    ) -> Step {
        match request {
            Authentication::Ok => {
                self.check(Method::Trust)?;
                Ok(Phase::Settling(Method::Trust).enter())
            }
            request if matches!(*credential, Credential::External) => {
                self.check(Method::External)?;
                Ok(ask(External::begin(request)?))
            }
            Authentication::CleartextPassword => self.send_cleartext(&credential, reply),
            Authentication::Md5Password { salt } => self.send_md5(&credential, salt, reply),
            Authentication::Sasl { mechanisms } => self.begin_scram(credential, mechanisms, reply),
            Authentication::KerberosV5
            | Authentication::Gss
            | Authentication::GssContinue { .. }
            | Authentication::Sspi
            | Authentication::SaslContinue { .. }
            | Authentication::SaslFinal { .. }
            | Authentication::Other { .. } => Err(AuthError::NotSupported {
                code: request.code(),
            }),
        }
    }

    fn check(&self, method: Method) -> Result<(), AuthError> {
        self.methods.check(method, self.channel)
    }

    fn send_cleartext(&self, credential: &Credential, reply: &mut BytesMut) -> Step {
        self.check(Method::Cleartext)?;
        let Credential::Password(password) = credential else {
            return Err(wrong(Method::Cleartext, credential));
        };
        PasswordMessage {
            password: password.expose(),
        }
        .encode(reply)
        .map_err(|_| AuthError::NulInPassword)?;
        Ok(Phase::Answered(Method::Cleartext).enter())
    }

    fn send_md5(&self, credential: &Credential, salt: [u8; 4], reply: &mut BytesMut) -> Step {
        self.check(Method::Md5)?;
        let password = match credential {
            Credential::Password(password) => {
                md5_password(self.params.user(), password.expose(), salt)
            }
            Credential::Md5Digest(digest) => digest.answer(salt),
            #[cfg(feature = "scram")]
            Credential::ScramKeys(_) | Credential::ScramVerifier(_) => {
                return Err(wrong(Method::Md5, credential));
            }
            Credential::External | Credential::None => {
                return Err(wrong(Method::Md5, credential));
            }
        };
        PasswordMessage {
            password: &password,
        }
        .encode(reply)
        .map_err(|_| AuthError::NulInPassword)?;
        Ok(Phase::Answered(Method::Md5).enter())
    }

    #[cfg(not(feature = "scram"))]
    fn begin_scram(&self, _: Arc<Credential>, _: Names<'_>, _: &mut BytesMut) -> Step {
        self.check(Method::ScramSha256)?;
        Err(AuthError::ScramNotBuilt)
    }

    #[cfg(feature = "scram")]
    fn begin_scram(
        &self,
        credential: Arc<Credential>,
        mechanisms: Names<'_>,
        reply: &mut BytesMut,
    ) -> Step {
        let terms = Terms {
            methods: self.methods,
            channel: self.channel,
            end_point: self.end_point.as_ref(),
        };
        let login = ScramLogin::begin(&terms, credential, mechanisms, &self.nonce, reply)?;
        Ok(Phase::Scram(login).enter())
    }

    /// The version in a NegotiateProtocolVersion, if it answers what was asked.
    fn negotiable(&self, newest: i32, options: Names<'_>) -> Result<ProtocolVersion, AuthError> {
        let version = self.params.negotiated(newest, &options);
        version.ok_or(AuthError::Negotiation)
    }

    fn ready(&mut self, status: TransactionStatus, method: Method) -> Step {
        match status {
            TransactionStatus::Idle => {
                let established =
                    mem::take(&mut self.collected).establish(self.params.version(), method);
                Ok((Phase::Ended, Handshake::Ready(established)))
            }
            TransactionStatus::InTransaction | TransactionStatus::Failed => {
                Err(AuthError::NotIdle { status })
            }
        }
    }
}

/// The credential does not serve for what the server asks.
pub(super) fn wrong(method: Method, credential: &Credential) -> AuthError {
    AuthError::WrongCredential {
        method,
        credential: credential.kind(),
    }
}

/// The caller is to answer.
fn ask((external, request): (External, ExternalRequest)) -> (Phase, Handshake) {
    (Phase::External(external), Handshake::Asked(request))
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("phase", &self.phase.name())
            .finish_non_exhaustive()
    }
}
