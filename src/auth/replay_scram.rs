//! The SCRAM part of a login to one more server.

use std::sync::Arc;

use bytes::BytesMut;

use super::certificate::TlsEndPoint;
use super::credential::Credential;
use super::error::AuthError;
use super::methods::{Channel, Method, Methods};
use super::nonce::ScramNonce;
use super::replay::wrong;
use super::scram::{
    Binding, ClientFinal, ClientFirst, Hashing, MECHANISM, MECHANISM_PLUS, Progress, ScramError,
    ServerProven,
};
use crate::limits::SCRAM_STEP_ITERATIONS;
use crate::wire::password::{SaslInitialResponse, SaslResponse};
use crate::wire::{Authentication, Names};

/// Where the exchange is, and whether it is bound.
pub(super) struct ScramLogin {
    method: Method,
    step: Step,
}

enum Step {
    First(ClientFirst, Arc<Credential>),
    Hashing(Hashing),
    Final(ClientFinal),
    /// The server's signature was right.
    Proven(ServerProven),
}

/// What came of a message of the server.
pub(super) enum ScramStep {
    On(Box<ScramLogin>),
    /// AuthenticationOk came behind the server's proof.
    Accepted(Method),
}

/// What a login may do, and over what.
pub(super) struct Terms<'a> {
    pub(super) methods: Methods,
    pub(super) channel: Channel,
    pub(super) end_point: Option<&'a TlsEndPoint>,
}

impl Terms<'_> {
    /// How to answer this offer: bound, if both sides can.
    fn choose(&self, offered: Names<'_>) -> Result<(Binding, Method), AuthError> {
        let offers = |mechanism: &[u8]| offered.iter().any(|name| name == mechanism);
        let check = |method| self.methods.check(method, self.channel);
        match (self.end_point, offers(MECHANISM_PLUS), offers(MECHANISM)) {
            (Some(end_point), true, _) => {
                check(Method::ScramSha256Plus)?;
                let binding = Binding::ServerEndPoint(end_point.clone());
                Ok((binding, Method::ScramSha256Plus))
            }
            (Some(_), false, true) => {
                check(Method::ScramSha256)?;
                Ok((Binding::NotOffered, Method::ScramSha256))
            }
            (None, _, true) => {
                check(Method::ScramSha256)?;
                Ok((Binding::Impossible, Method::ScramSha256))
            }
            (None, true, false) => {
                check(Method::ScramSha256Plus)?;
                Err(AuthError::NothingToBindTo)
            }
            (_, false, false) => {
                check(Method::ScramSha256Plus).or_else(|_| check(Method::ScramSha256))?;
                Err(AuthError::NoCommonMechanism)
            }
        }
    }
}

impl ScramLogin {
    /// Answers an offer of mechanisms.
    pub(super) fn begin(
        terms: &Terms<'_>,
        credential: Arc<Credential>,
        offered: Names<'_>,
        nonce: &ScramNonce,
        reply: &mut BytesMut,
    ) -> Result<Box<ScramLogin>, AuthError> {
        let (binding, method) = terms.choose(offered)?;
        match &*credential {
            Credential::Password(_) | Credential::ScramKeys(_) => {}
            Credential::ScramVerifier(_) => return Err(AuthError::VerifierOnly),
            Credential::Md5Digest(_) | Credential::External | Credential::None => {
                return Err(wrong(method, &credential));
            }
        }
        let mechanism = binding.mechanism();
        let first = ClientFirst::new(b"", nonce.text().as_bytes())?.with_binding(binding);
        SaslInitialResponse {
            mechanism,
            data: Some(&first.message()),
        }
        .encode(reply)
        .map_err(|_| ScramError::MessageTooLong)?;
        let step = Step::First(first, credential);
        Ok(Box::new(ScramLogin { method, step }))
    }

    pub(super) fn name(&self) -> &'static str {
        match self.step {
            Step::First(..) => "awaiting the SCRAM challenge",
            Step::Hashing(_) => "hashing for the SCRAM challenge",
            Step::Final(_) => "awaiting the server's SCRAM signature",
            Step::Proven(_) => "awaiting the verdict on a SCRAM proof",
        }
    }

    pub(super) fn is_hashing(&self) -> bool {
        matches!(self.step, Step::Hashing(_))
    }

    /// Takes the server's next request.
    pub(super) fn handle(
        self,
        request: Authentication<'_>,
        reply: &mut BytesMut,
    ) -> Result<ScramStep, AuthError> {
        let fault = AuthError::Unexpected {
            message: "Authentication",
            phase: self.name(),
        };
        let method = self.method;
        let step = match (self.step, request) {
            (Step::First(first, credential), Authentication::SaslContinue { data }) => {
                challenged(first, &credential, method, data, reply)?
            }
            (Step::Final(last), Authentication::SaslFinal { data }) => {
                Step::Proven(last.server_final(data)?)
            }
            (Step::Proven(proven), Authentication::Ok) => {
                return Ok(accepted(proven, method));
            }
            (Step::First(..) | Step::Hashing(_) | Step::Final(_) | Step::Proven(_), _) => {
                return Err(fault);
            }
        };
        Ok(ScramStep::On(Box::new(ScramLogin { method, step })))
    }

    /// Works off a step of the hashing, and appends the answer when it is ready.
    pub(super) fn work(self, reply: &mut BytesMut) -> Result<Box<ScramLogin>, AuthError> {
        let Step::Hashing(hashing) = self.step else {
            return Err(AuthError::OutOfTurn);
        };
        let step = match hashing.work(SCRAM_STEP_ITERATIONS) {
            Progress::More(hashing) => Step::Hashing(hashing),
            Progress::Done(last) => send_proof(last, reply)?,
        };
        Ok(Box::new(ScramLogin { step, ..self }))
    }
}

/// The server sent its challenge: answer it, or begin the work that the answer takes.
fn challenged(
    first: ClientFirst,
    credential: &Credential,
    method: Method,
    data: &[u8],
    reply: &mut BytesMut,
) -> Result<Step, AuthError> {
    let challenge = first.server_first(data)?;
    match credential {
        Credential::Password(password) => Ok(Step::Hashing(challenge.hash(password))),
        Credential::ScramKeys(keys) => send_proof(challenge.answer(keys)?, reply),
        Credential::ScramVerifier(_) => Err(AuthError::VerifierOnly),
        Credential::Md5Digest(_) | Credential::External | Credential::None => {
            Err(wrong(method, credential))
        }
    }
}

fn send_proof(last: ClientFinal, reply: &mut BytesMut) -> Result<Step, AuthError> {
    SaslResponse {
        data: last.message(),
    }
    .encode(reply)
    .map_err(|_| ScramError::MessageTooLong)?;
    Ok(Step::Final(last))
}

/// What AuthenticationOk means after SCRAM: it takes the server's proof to get there.
fn accepted(_: ServerProven, method: Method) -> ScramStep {
    ScramStep::Accepted(method)
}
