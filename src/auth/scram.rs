//! SCRAM-SHA-256 as a client: RFC 5802 and 7677, with or without channel binding (RFC 5929, `tls-server-end-point`).
//!
//! Each message is a step that consumes the one before, so no order but this one can be written:
//!
//! ```text
//! ClientFirst ──server-first──▶ Challenge ──password──▶ Hashing ──work──▶ ClientFinal ──server-final──▶ ServerProven
//!                                         └──keys───────────────────────▶
//! ```
//!
//! The work of a password is its iterated hash, which the server chooses the length of. It is capped
//! ([`limits::SCRAM_ITERATIONS_MAX`]) and done in steps by [`Hashing::work`], so that no call takes long.
//!
//! ```
//! use pgturnout::auth::Secret;
//! use pgturnout::auth::scram::{ClientFirst, Progress};
//!
//! // The exchange of RFC 7677 section 3.
//! let first = ClientFirst::new(b"user", b"rOprNGfwEbeRWgbNEkqO")?;
//! assert_eq!(first.message(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
//! let challenge = first.server_first(
//!     b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
//! )?;
//! let mut progress = challenge.hash(&Secret::new("pencil")).work(1_000);
//! let last = loop {
//!     match progress {
//!         Progress::More(hashing) => progress = hashing.work(1_000),
//!         Progress::Done(last) => break last,
//!     }
//! };
//! assert!(last.message().ends_with(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
//! last.server_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")?;
//! # Ok::<(), pgturnout::auth::scram::ScramError>(())
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::certificate::TlsEndPoint;
use super::scram_hash::{Derived, Deriving, signature, stored_key};
use super::scram_keys::{Key, ScramKeys, ScramVerifier};
use crate::limits;
use crate::secret::{Secret, constant_time_eq};

/// The name of the mechanism in AuthenticationSASL and SASLInitialResponse.
pub const MECHANISM: &[u8] = b"SCRAM-SHA-256";
/// The name of the mechanism that binds the exchange to the TLS connection below it.
pub const MECHANISM_PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";
/// The GS2 header of a client that binds, which its binding data follow: RFC 5802 section 7, RFC 5929 section 4.
pub(super) const BOUND_HEADER: &[u8] = b"p=tls-server-end-point,,";

/// What a client says about channel binding (RFC 5802 section 6). Its final message repeats it under the proof, so that
/// nobody on the way can change it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Binding {
    /// `n`: the connection cannot be bound.
    #[default]
    Impossible,
    /// `y`: it could be, and the server did not offer it. A server that did knows that somebody took its offer away.
    NotOffered,
    /// `p`: it is bound to this server's certificate. The mechanism is then [`MECHANISM_PLUS`].
    ServerEndPoint(TlsEndPoint),
}

impl Binding {
    /// The mechanism that goes with it.
    #[must_use]
    pub fn mechanism(&self) -> &'static [u8] {
        match self {
            Binding::Impossible | Binding::NotOffered => MECHANISM,
            Binding::ServerEndPoint(_) => MECHANISM_PLUS,
        }
    }

    /// gs2-header: no other identity is asked for.
    fn header(&self) -> &'static [u8] {
        match self {
            Binding::Impossible => b"n,,",
            Binding::NotOffered => b"y,,",
            Binding::ServerEndPoint(_) => BOUND_HEADER,
        }
    }

    /// cbind-input: the header and the data, if any.
    fn input(&self) -> Vec<u8> {
        let data = match self {
            Binding::Impossible | Binding::NotOffered => &[][..],
            Binding::ServerEndPoint(end_point) => end_point.bytes(),
        };
        [self.header(), data].concat()
    }
}

/// What is wrong with a SCRAM exchange. None of it carries a byte of the peer or of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum ScramError {
    /// A nonce of ours that RFC 5802 does not allow.
    #[error("the client nonce is empty, too long or not printable ASCII without a comma")]
    ClientNonce,
    /// A message longer than [`limits::SCRAM_MESSAGE_MAX`].
    #[error("the message exceeds {} bytes", limits::SCRAM_MESSAGE_MAX)]
    MessageTooLong,
    /// An attribute is missing, or another one is in its place.
    #[error("attribute {0:?} expected")]
    AttributeExpected(char),
    /// Something follows the last attribute.
    #[error("bytes behind the last attribute")]
    Leftover,
    /// The server's nonce does not start with ours: an answer to someone else's login.
    #[error("the server's nonce does not continue the client's")]
    NonceMismatch,
    /// The server added nothing to the nonce, too much, or what is no nonce.
    #[error("the server's nonce is empty, too long or not printable ASCII")]
    ServerNonce,
    /// The salt is not base64 of 1 to [`limits::SCRAM_SALT_MAX`] bytes.
    #[error("the salt is not base64 of 1 to {} bytes", limits::SCRAM_SALT_MAX)]
    Salt,
    /// The iteration count is no positive decimal number without sign and leading zeros.
    #[error("the iteration count is not a positive number")]
    Iterations,
    /// The iteration count is above [`limits::SCRAM_ITERATIONS_MAX`].
    #[error("the iteration count exceeds {}", limits::SCRAM_ITERATIONS_MAX)]
    TooManyIterations,
    /// The keys were derived with another salt or iteration count, so they do not open this account.
    #[error("the keys belong to another salt or iteration count")]
    KeysOfAnotherSalt,
    /// The server reports an error in place of its signature.
    #[error("the server reports an error in place of its signature")]
    ServerError,
    /// The server's signature is not base64 of 32 bytes.
    #[error("the server's signature is malformed")]
    SignatureMalformed,
    /// The server's signature is wrong: it does not know the verifier of this password.
    #[error("the server's signature is wrong: it does not know this password's verifier")]
    SignatureWrong,
}

/// The client's first message, and the wait for the server's.
pub struct ClientFirst {
    /// client-first-message-bare.
    bare: Vec<u8>,
    nonce: Box<[u8]>,
    binding: Binding,
}

impl ClientFirst {
    /// Starts an exchange. PostgreSQL takes the user from the StartupMessage and its clients leave `username` empty.
    ///
    /// `nonce` is the text that goes out: fresh random characters for every login.
    ///
    /// # Errors
    ///
    /// [`ScramError::ClientNonce`] if the nonce is empty, longer than half of [`limits::SCRAM_NONCE_MAX`] or holds a
    /// character that is not printable ASCII, or a comma.
    pub fn new(username: &[u8], nonce: &[u8]) -> Result<ClientFirst, ScramError> {
        if nonce.is_empty() || nonce.len() > limits::SCRAM_NONCE_MAX / 2 || !is_nonce(nonce) {
            return Err(ScramError::ClientNonce);
        }
        let mut bare = b"n=".to_vec();
        for byte in username {
            match byte {
                b'=' => bare.extend_from_slice(b"=3D"),
                b',' => bare.extend_from_slice(b"=2C"),
                other => bare.push(*other),
            }
        }
        bare.extend_from_slice(b",r=");
        bare.extend_from_slice(nonce);
        Ok(ClientFirst {
            bare,
            nonce: Box::from(nonce),
            binding: Binding::Impossible,
        })
    }

    /// The same exchange with this to say about channel binding.
    #[must_use]
    pub fn with_binding(self, binding: Binding) -> ClientFirst {
        ClientFirst { binding, ..self }
    }

    /// The message to send: client-first-message of RFC 5802.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        [self.binding.header(), &self.bare].concat()
    }

    /// Reads server-first-message. Nothing is hashed before all of it is found sound.
    ///
    /// # Errors
    ///
    /// Every deviation from `r=…,s=…,i=…` in this order with nothing else, and every limit that it breaks.
    pub fn server_first(self, data: &[u8]) -> Result<Challenge, ScramError> {
        if data.len() > limits::SCRAM_MESSAGE_MAX {
            return Err(ScramError::MessageTooLong);
        }
        let (nonce, rest) = attribute(data, 'r')?;
        self.check_nonce(nonce)?;
        let (salt, rest) = attribute(rest.ok_or(ScramError::AttributeExpected('s'))?, 's')?;
        let salt = decode_salt(salt)?;
        let (iterations, rest) = attribute(rest.ok_or(ScramError::AttributeExpected('i'))?, 'i')?;
        let iterations = parse_iterations(iterations)?;
        if rest.is_some() {
            return Err(ScramError::Leftover);
        }

        let binding = STANDARD.encode(self.binding.input());
        let without_proof = [b"c=", binding.as_bytes(), b",r=", nonce].concat();
        let auth_message = [&self.bare[..], b",", data, b",", &without_proof].concat();
        Ok(Challenge {
            exchange: Exchange {
                without_proof,
                auth_message,
            },
            salt,
            iterations,
        })
    }

    fn check_nonce(&self, nonce: &[u8]) -> Result<(), ScramError> {
        let added = nonce
            .strip_prefix(&*self.nonce)
            .ok_or(ScramError::NonceMismatch)?;
        if added.is_empty() || nonce.len() > limits::SCRAM_NONCE_MAX || !is_nonce(added) {
            return Err(ScramError::ServerNonce);
        }
        Ok(())
    }
}

/// What both signatures are made over.
struct Exchange {
    /// client-final-message-without-proof.
    without_proof: Vec<u8>,
    /// AuthMessage.
    auth_message: Vec<u8>,
}

/// The server's challenge, checked.
pub struct Challenge {
    exchange: Exchange,
    salt: Box<[u8]>,
    iterations: u32,
}

impl Challenge {
    /// The salt, decoded.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iteration count: 1 to [`limits::SCRAM_ITERATIONS_MAX`].
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Answers with a password; the hashing is still to be done.
    #[must_use]
    pub fn hash(self, password: &Secret) -> Hashing {
        Hashing {
            deriving: Deriving::new(password.expose(), &self.salt, self.iterations),
            exchange: self.exchange,
        }
    }

    /// Answers with keys in place of a password: no hashing is needed.
    ///
    /// # Errors
    ///
    /// [`ScramError::KeysOfAnotherSalt`] if the keys are known to come from another salt or iteration count.
    pub fn answer(self, keys: &ScramKeys) -> Result<ClientFinal, ScramError> {
        if keys.fit(&self.salt, self.iterations) {
            Ok(ClientFinal::new(
                self.exchange,
                &keys.client_key,
                &keys.server_key,
            ))
        } else {
            Err(ScramError::KeysOfAnotherSalt)
        }
    }
}

/// A password being hashed.
pub struct Hashing {
    exchange: Exchange,
    deriving: Deriving,
}

/// How far the hashing is after a step.
pub enum Progress {
    /// Call [`Hashing::work`] again.
    More(Hashing),
    /// The answer is ready.
    Done(ClientFinal),
}

impl Hashing {
    /// Works off at most `iterations` iterations, but at least one.
    #[must_use]
    pub fn work(self, iterations: u32) -> Progress {
        let exchange = self.exchange;
        match self.deriving.work(iterations) {
            Derived::More(deriving) => Progress::More(Hashing { exchange, deriving }),
            Derived::Done(pair) => Progress::Done(ClientFinal::new(
                exchange,
                &pair.client_key,
                &pair.server_key,
            )),
        }
    }
}

/// The client's final message, and the wait for the server's.
pub struct ClientFinal {
    message: Vec<u8>,
    server_signature: Key,
}

impl ClientFinal {
    fn new(exchange: Exchange, client_key: &Key, server_key: &Key) -> ClientFinal {
        let stored_key = stored_key(client_key);
        let mut proof = signature(&stored_key, &exchange.auth_message);
        proof.xor(client_key);
        let mut message = exchange.without_proof;
        message.extend_from_slice(b",p=");
        message.extend_from_slice(STANDARD.encode(proof.expose()).as_bytes());
        ClientFinal {
            message,
            server_signature: signature(server_key, &exchange.auth_message),
        }
    }

    /// The message to send: client-final-message of RFC 5802.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Reads server-final-message and checks the signature in it, in constant time.
    ///
    /// # Errors
    ///
    /// Everything but `v=` and the right signature.
    pub fn server_final(self, data: &[u8]) -> Result<ServerProven, ScramError> {
        if data.len() > limits::SCRAM_MESSAGE_MAX {
            return Err(ScramError::MessageTooLong);
        }
        if data.starts_with(b"e=") {
            return Err(ScramError::ServerError);
        }
        let (signature, rest) = attribute(data, 'v')?;
        if rest.is_some() {
            return Err(ScramError::Leftover);
        }
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| ScramError::SignatureMalformed)?;
        if signature.len() != self.server_signature.expose().len() {
            return Err(ScramError::SignatureMalformed);
        }
        if constant_time_eq(&signature, self.server_signature.expose()) {
            Ok(ServerProven(()))
        } else {
            Err(ScramError::SignatureWrong)
        }
    }
}

/// Proof that the server knows the verifier of the password. Only [`ClientFinal::server_final`] makes one.
#[derive(Debug)]
pub struct ServerProven(());

/// Recovers the keys of a client that proved itself to somebody who has only the verifier:
/// ClientKey = ClientProof XOR HMAC(StoredKey, AuthMessage), RFC 5802 section 3.
///
/// `auth_message` is client-first-message-bare, server-first-message and client-final-message-without-proof, joined
/// by commas; `proof` is the decoded `p=`. The keys are bound to the verifier's salt and iteration count.
///
/// `None` if the proof does not belong to this verifier and message, which is how a server finds a wrong password.
#[must_use]
pub fn recover_keys(
    verifier: &ScramVerifier,
    auth_message: &[u8],
    proof: &[u8; 32],
) -> Option<ScramKeys> {
    let mut client_key = signature(&verifier.stored_key, auth_message);
    client_key.xor(&Key::new(*proof));
    let stored_key = stored_key(&client_key);
    constant_time_eq(stored_key.expose(), verifier.stored_key.expose())
        .then(|| ScramKeys::of_verifier(verifier, client_key))
}

/// Splits `name=value` off the front: the value, and what follows its comma if one does.
pub(super) fn attribute(text: &[u8], name: char) -> Result<(&[u8], Option<&[u8]>), ScramError> {
    let expected = ScramError::AttributeExpected(name);
    let (found, value) = text.split_first_chunk::<2>().ok_or(expected)?;
    if !found.iter().copied().map(char::from).eq([name, '=']) {
        return Err(expected);
    }
    let mut parts = value.splitn(2, |byte| *byte == b',');
    Ok((parts.next().unwrap_or_default(), parts.next()))
}

/// RFC 5802: printable ASCII without the comma.
pub(super) fn is_nonce(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

pub(super) fn decode_salt(text: &[u8]) -> Result<Box<[u8]>, ScramError> {
    let salt = STANDARD.decode(text).map_err(|_| ScramError::Salt)?;
    if salt.is_empty() || salt.len() > limits::SCRAM_SALT_MAX {
        Err(ScramError::Salt)
    } else {
        Ok(salt.into())
    }
}

/// RFC 5802 posit-number, capped.
pub(super) fn parse_iterations(digits: &[u8]) -> Result<u32, ScramError> {
    if !matches!(digits, [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit)) {
        return Err(ScramError::Iterations);
    }
    // Nothing but digits: what does not fit is too many.
    let digits = std::str::from_utf8(digits).map_err(|_| ScramError::Iterations)?;
    match digits.parse::<u32>() {
        Ok(count) if count <= limits::SCRAM_ITERATIONS_MAX => Ok(count),
        Ok(_) | Err(_) => Err(ScramError::TooManyIterations),
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
opaque_debug!(ClientFirst, Challenge, Hashing, Progress, ClientFinal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_attribute() {
        let first = ClientFirst::new(b"a=b,c", b"nonce").unwrap();
        assert_eq!(first.message(), b"n,,n=a=3Db=2Cc,r=nonce");
    }

    #[test]
    fn a_nonce_of_ours_is_printable_and_leaves_room() {
        let half = vec![b'x'; limits::SCRAM_NONCE_MAX / 2];
        assert!(ClientFirst::new(b"", &half).is_ok());
        let too_long = [&half[..], b"x"].concat();
        for nonce in [&b""[..], b"a,b", b"a b", b"a\0", b"\xff", &too_long] {
            let error = ClientFirst::new(b"", nonce).unwrap_err();
            assert_eq!(error, ScramError::ClientNonce);
        }
    }
}
