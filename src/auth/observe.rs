//! What can be learnt from a SCRAM login that passes: the keys that open the next server.

use std::fmt;
use std::mem;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::credential::Credential;
use super::scram::{MECHANISM, attribute, decode_salt, parse_iterations, recover_keys};
use super::scram_keys::{ScramKeys, ScramVerifier};
use crate::limits::SCRAM_MESSAGE_MAX;
use crate::secret::Secret;
use crate::wire::Names;
use crate::wire::password::{parse_sasl_initial, parse_sasl_response};

/// Why the keys of a client that the server let in stay unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum NotLearnt {
    /// The server challenged the client with another salt or iteration count than the verifier's: it stores another
    /// verifier, even if it is one of the same password.
    #[error("the listed SCRAM verifier has another salt or iteration count than the server's")]
    OtherDerivation,
    /// The server let in a client whose proof does not fit the verifier.
    #[error("the listed SCRAM verifier is not that of the password that the server accepts")]
    OtherPassword,
    /// The client did not log in by SCRAM-SHA-256.
    #[error("there is only a SCRAM verifier, and the client did not log in by SCRAM-SHA-256")]
    NoScram,
}

/// Why a client's choice cannot pass on to a server whose TLS connection is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum CannotPass {
    /// It binds to its connection, which ends here.
    #[error("channel binding cannot pass through a proxy that ends TLS")]
    Bound,
    /// It says that it could have, and the server, which had offered that, takes it for an attack.
    #[error(
        "a client that could bind SCRAM to TLS cannot log in through a proxy to a server that offers it"
    )]
    LooksLikeDowngrade,
}

/// Watches the login of a client that is relayed to a server, without changing a byte of it.
///
/// Hand in what passes, in its order. Whoever has listed a verifier gets the client's keys once the server has
/// accepted the proof: ClientKey = ClientProof XOR HMAC(StoredKey, AuthMessage), RFC 5802 section 3. What it keeps is
/// at most the first two messages of the exchange, and it is overwritten when it is dropped.
pub struct Observer {
    credential: Arc<Credential>,
    offer: Passed,
    stage: Stage,
}

/// Whether mechanisms that bind were taken out of the server's offer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    Whole,
    WithoutBinding,
}

enum Stage {
    /// No exchange has begun, or not one that is understood.
    Idle,
    /// client-first-message-bare.
    First(Secret),
    /// client-first-message-bare and server-first-message with their commas.
    Challenged(Secret),
    Learnt(ScramKeys),
    Failed(NotLearnt),
}

impl Observer {
    /// Watches the login of a user of whom this is listed. Only [`Credential::ScramVerifier`] is worth it; of others
    /// nothing is kept.
    #[must_use]
    pub fn new(credential: Arc<Credential>) -> Observer {
        Observer {
            credential,
            offer: Passed::Whole,
            stage: Stage::Idle,
        }
    }

    fn verifier(&self) -> Option<&ScramVerifier> {
        match &*self.credential {
            Credential::ScramVerifier(verifier) => Some(verifier),
            Credential::Password(_)
            | Credential::Md5Digest(_)
            | Credential::ScramKeys(_)
            | Credential::External
            | Credential::None => None,
        }
    }

    /// The server offered these mechanisms, of which those that bind are not passed on.
    pub fn offered(&mut self, mechanisms: &Names<'_>) {
        self.stage = Stage::Idle;
        self.offer = if mechanisms.iter().any(|name| name.ends_with(b"-PLUS")) {
            Passed::WithoutBinding
        } else {
            Passed::Whole
        };
    }

    /// The client chose: the body of its SASLInitialResponse. What cannot be read is the server's to refuse.
    ///
    /// # Errors
    ///
    /// [`CannotPass`]: the server would refuse it, for reasons that the client cannot know.
    pub fn chosen(&mut self, body: &[u8]) -> Result<(), CannotPass> {
        self.stage = Stage::Idle;
        let Ok(initial) = parse_sasl_initial(body) else {
            return Ok(());
        };
        if initial.mechanism.ends_with(b"-PLUS") {
            return Err(CannotPass::Bound);
        }
        let data = initial.data.unwrap_or_default();
        if initial.mechanism != MECHANISM || data.len() > SCRAM_MESSAGE_MAX {
            return Ok(());
        }
        if data.starts_with(b"y") && self.offer == Passed::WithoutBinding {
            return Err(CannotPass::LooksLikeDowngrade);
        }
        let mut parts = data.splitn(3, |byte| *byte == b',');
        if let (Some(_), Some(bare)) = (self.verifier(), parts.nth(2)) {
            self.stage = Stage::First(Secret::copy_of(bare));
        }
        Ok(())
    }

    /// The server's AuthenticationSASLContinue.
    pub fn challenged(&mut self, data: &[u8]) {
        let stage = mem::replace(&mut self.stage, Stage::Idle);
        let (Stage::First(bare), Some(verifier)) = (stage, self.verifier()) else {
            return;
        };
        if data.len() > SCRAM_MESSAGE_MAX {
            return;
        }
        let fits = read_challenge(data).map(|(salt, iterations)| {
            *salt == *verifier.salt() && iterations == verifier.iterations()
        });
        self.stage = match fits {
            None => Stage::Idle,
            Some(false) => Stage::Failed(NotLearnt::OtherDerivation),
            Some(true) => {
                let messages = [bare.expose(), b",", data, b","].concat();
                Stage::Challenged(Secret::new(messages))
            }
        };
    }

    /// The client's SASLResponse.
    pub fn responded(&mut self, body: &[u8]) {
        let stage = mem::replace(&mut self.stage, Stage::Idle);
        let (messages, verifier) = match (stage, self.verifier()) {
            (Stage::Challenged(messages), Some(verifier)) => (messages, verifier),
            (stage, _) => {
                self.stage = stage;
                return;
            }
        };
        let Some((signed, proof)) = read_proof(body) else {
            return;
        };
        let auth_message = Secret::new([messages.expose(), signed].concat());
        self.stage = recover_keys(verifier, auth_message.expose(), &proof)
            .map_or(Stage::Failed(NotLearnt::OtherPassword), Stage::Learnt);
    }

    /// The server let the client in. What further servers can be logged in to with; `None` if nothing but what is
    /// listed.
    ///
    /// # Errors
    ///
    /// [`NotLearnt`] if there is only a verifier, and it stays one.
    pub fn accepted(self) -> Result<Option<ScramKeys>, NotLearnt> {
        if self.verifier().is_none() {
            return Ok(None);
        }
        match self.stage {
            Stage::Learnt(keys) => Ok(Some(keys)),
            Stage::Failed(why) => Err(why),
            Stage::Idle | Stage::First(_) | Stage::Challenged(_) => Err(NotLearnt::NoScram),
        }
    }
}

/// Salt and iteration count of a server-first-message.
fn read_challenge(data: &[u8]) -> Option<(Box<[u8]>, u32)> {
    let (_, rest) = attribute(data, 'r').ok()?;
    let (salt, rest) = attribute(rest?, 's').ok()?;
    let (iterations, _) = attribute(rest?, 'i').ok()?;
    Some((decode_salt(salt).ok()?, parse_iterations(iterations).ok()?))
}

/// client-final-message-without-proof, and the proof behind it.
fn read_proof(body: &[u8]) -> Option<(&[u8], [u8; 32])> {
    let data = parse_sasl_response(body).ok()?.data;
    if data.len() > SCRAM_MESSAGE_MAX {
        return None;
    }
    let at = data.windows(3).rposition(|window| window == b",p=")?;
    let (signed, proof) = data.split_at_checked(at)?;
    let proof = STANDARD.decode(proof.get(3..)?).ok()?;
    Some((signed, <[u8; 32]>::try_from(&proof[..]).ok()?))
}

/// Shows nothing of the exchange.
impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer(..)")
    }
}
