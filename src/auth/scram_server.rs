//! SCRAM-SHA-256 as a server: RFC 5802, 7677 and, for `tls-server-end-point`, 5929.
//!
//! Each message is a step that consumes the one before, so no order but this one can be written:
//!
//! ```text
//! Hello::read(client-first) ──Account──▶ Challenge ──client-final──▶ Checking ──work──▶ Verdict
//! ```
//!
//! What the server knows of the user is an [`Account`]: a password, a verifier, or nothing. An account that does not
//! exist is challenged, worked for and refused like any other.
//!
//! ```
//! use pgturnout::auth::Secret;
//! use pgturnout::auth::scram_server::{Account, Hello, Offer, Verdict};
//!
//! // The exchange of RFC 7677 section 3.
//! let hello = Hello::read(&Offer::Unbound, b"SCRAM-SHA-256", b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")?;
//! let salt = b"\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81";
//! let account = Account::of_password(&Secret::new("pencil"), salt, 4096);
//! let challenge = hello.challenge(account, b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
//! assert_eq!(
//!     challenge.message(),
//!     b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
//! );
//! let mut checking = challenge.client_final(
//!     b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
//!       p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
//! )?;
//! let proven = loop {
//!     match checking.work(1_000) {
//!         Verdict::More(more) => checking = *more,
//!         Verdict::Proven(proven) => break proven,
//!         Verdict::Wrong => panic!("the password is right"),
//!     }
//! };
//! assert_eq!(proven.message(), b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
//! # Ok::<(), pgturnout::auth::scram_server::ClientFault>(())
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::certificate::TlsEndPoint;
use super::scram::{BOUND_HEADER, MECHANISM, MECHANISM_PLUS, attribute, is_nonce};
use super::scram_hash::{Derived, Deriving, signature, stored_key};
use super::scram_keys::{Key, ScramKeys, ScramVerifier};
use crate::limits;
use crate::secret::{Secret, constant_time_eq};
use crate::wire::{SqlState, sqlstate};

/// What is wrong with a client's message. None of it carries a byte of the client or of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum ClientFault {
    /// A mechanism that was not offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// A message longer than [`limits::SCRAM_MESSAGE_MAX`].
    #[error("the SCRAM message exceeds {} bytes", limits::SCRAM_MESSAGE_MAX)]
    MessageTooLong,
    /// Neither `n`, `y` nor `p=tls-server-end-point`.
    #[error("malformed SCRAM message: unexpected channel-binding flag")]
    Flag,
    /// The mechanism binds and the message does not, or the other way round.
    #[error("the SCRAM mechanism and the channel-binding flag do not go together")]
    FlagOfAnotherMechanism,
    /// The client could bind and believes that it was not offered: somebody took the offer away.
    #[error(
        "SCRAM channel binding negotiation error: the client thinks that the server does not support it"
    )]
    Downgrade,
    /// The client is bound to another TLS connection than this one.
    #[error("SCRAM channel binding check failed")]
    BindingMismatch,
    /// `a=`: another identity than the user.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    /// `m=`: an extension that may not be ignored.
    #[error("client requires an unsupported SCRAM extension")]
    MandatoryExtension,
    /// An attribute is missing, or another one is in its place.
    #[error("malformed SCRAM message: attribute {0:?} expected")]
    AttributeExpected(char),
    /// An extension that is no attribute, or bytes behind the proof.
    #[error("malformed SCRAM message: no attribute")]
    Extension,
    /// The nonce is empty, too long or not printable ASCII without a comma.
    #[error("malformed SCRAM message: the nonce cannot be used")]
    Nonce,
    /// The final message repeats another nonce.
    #[error("invalid SCRAM response: nonce does not match")]
    NonceMismatch,
    /// The final message repeats another channel-binding header.
    #[error("unexpected SCRAM channel-binding attribute in the final message")]
    HeaderMismatch,
    /// The proof is not base64 of 32 bytes.
    #[error("malformed SCRAM message: malformed proof")]
    Proof,
}

impl ClientFault {
    /// With what PostgreSQL refuses it.
    #[must_use]
    pub fn sqlstate(self) -> SqlState {
        match self {
            ClientFault::Downgrade | ClientFault::BindingMismatch => {
                sqlstate::INVALID_AUTHORIZATION
            }
            ClientFault::AuthorizationIdentity | ClientFault::MandatoryExtension => {
                sqlstate::FEATURE_NOT_SUPPORTED
            }
            ClientFault::Mechanism
            | ClientFault::MessageTooLong
            | ClientFault::Flag
            | ClientFault::FlagOfAnotherMechanism
            | ClientFault::AttributeExpected(_)
            | ClientFault::Extension
            | ClientFault::Nonce
            | ClientFault::NonceMismatch
            | ClientFault::HeaderMismatch
            | ClientFault::Proof => sqlstate::PROTOCOL_VIOLATION,
        }
    }
}

/// Which mechanisms a server offers on this connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Offer {
    /// SCRAM-SHA-256: the connection cannot be bound.
    Unbound,
    /// SCRAM-SHA-256-PLUS and SCRAM-SHA-256: the client may bind to our certificate.
    Bindable(TlsEndPoint),
    /// SCRAM-SHA-256-PLUS alone.
    BoundOnly(TlsEndPoint),
}

impl Offer {
    /// The names for AuthenticationSASL, the preferred one first.
    #[must_use]
    pub fn mechanisms(&self) -> &'static [&'static [u8]] {
        match self {
            Offer::Unbound => &[MECHANISM],
            Offer::Bindable(_) => &[MECHANISM_PLUS, MECHANISM],
            Offer::BoundOnly(_) => &[MECHANISM_PLUS],
        }
    }

    fn end_point(&self) -> Option<&TlsEndPoint> {
        match self {
            Offer::Unbound => None,
            Offer::Bindable(end_point) | Offer::BoundOnly(end_point) => Some(end_point),
        }
    }
}

/// A client's first message.
pub struct Hello {
    /// client-first-message-bare.
    bare: Vec<u8>,
    nonce: Vec<u8>,
    /// What `c=` of the final message has to be, before base64.
    binding: Vec<u8>,
    bound: Bound,
}

/// Whether an exchange is bound to the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    No,
    Yes,
}

impl Hello {
    /// Reads client-first-message for a mechanism that the client has chosen. Its user name is not looked at, as
    /// PostgreSQL does not: the StartupMessage has it.
    ///
    /// # Errors
    ///
    /// Every deviation from RFC 5802 section 7; an identity or a mandatory extension; a flag that does not fit the
    /// offer.
    pub fn read(offer: &Offer, mechanism: &[u8], data: &[u8]) -> Result<Hello, ClientFault> {
        if !offer.mechanisms().contains(&mechanism) {
            return Err(ClientFault::Mechanism);
        }
        if data.len() > limits::SCRAM_MESSAGE_MAX {
            return Err(ClientFault::MessageTooLong);
        }
        let (header, rest) = read_flag(data)?;
        let bound = check_flag(offer, mechanism, header)?;
        let bare = match rest {
            [b',', bare @ ..] => bare,
            [b'a', ..] => return Err(ClientFault::AuthorizationIdentity),
            _ => return Err(ClientFault::AttributeExpected('a')),
        };
        if bare.starts_with(b"m") {
            return Err(ClientFault::MandatoryExtension);
        }
        let (_, rest) = expect(bare, 'n')?;
        let rest = rest.ok_or(ClientFault::AttributeExpected('r'))?;
        let (nonce, rest) = expect(rest, 'r')?;
        if nonce.is_empty() || nonce.len() > limits::SCRAM_NONCE_MAX / 2 || !is_nonce(nonce) {
            return Err(ClientFault::Nonce);
        }
        skip_extensions(rest)?;
        let head = data.len().saturating_sub(bare.len());
        let mut binding = data.get(..head).unwrap_or_default().to_vec();
        if let (Bound::Yes, Some(end_point)) = (bound, offer.end_point()) {
            binding.extend_from_slice(end_point.bytes());
        }
        Ok(Hello {
            bare: bare.to_vec(),
            nonce: nonce.to_vec(),
            binding,
            bound,
        })
    }

    /// Whether the client binds the exchange to the connection.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.bound == Bound::Yes
    }

    /// Challenges the client. `nonce` is our part of it: fresh random characters that RFC 5802 allows.
    #[must_use]
    pub fn challenge(self, account: Account, nonce: &[u8]) -> Challenge {
        let nonce = [&self.nonce, nonce].concat();
        let message = [
            &b"r="[..],
            &nonce,
            b",s=",
            STANDARD.encode(&account.salt).as_bytes(),
            b",i=",
            account.iterations.to_string().as_bytes(),
        ]
        .concat();
        Challenge {
            hello: self,
            account,
            nonce,
            message,
        }
    }
}

/// The channel-binding flag, and what follows its comma.
fn read_flag(data: &[u8]) -> Result<(&[u8], &[u8]), ClientFault> {
    let comma = data.iter().position(|byte| *byte == b',');
    let (flag, rest) = comma
        .and_then(|at| data.split_at_checked(at))
        .ok_or(ClientFault::Flag)?;
    Ok((flag, rest.get(1..).unwrap_or_default()))
}

/// Whether a flag binds, if it fits the mechanism and what was offered.
fn check_flag(offer: &Offer, mechanism: &[u8], flag: &[u8]) -> Result<Bound, ClientFault> {
    let plus = mechanism == MECHANISM_PLUS;
    match (flag, plus) {
        (b"n", false) => Ok(Bound::No),
        (b"y", false) => match offer {
            Offer::Unbound => Ok(Bound::No),
            Offer::Bindable(_) | Offer::BoundOnly(_) => Err(ClientFault::Downgrade),
        },
        (flag, true) if BOUND_HEADER.strip_suffix(b",,") == Some(flag) => Ok(Bound::Yes),
        (b"n" | b"y", true) => Err(ClientFault::FlagOfAnotherMechanism),
        (flag, false) if flag.starts_with(b"p=") => Err(ClientFault::FlagOfAnotherMechanism),
        (_, true | false) => Err(ClientFault::Flag),
    }
}

fn expect(text: &[u8], name: char) -> Result<(&[u8], Option<&[u8]>), ClientFault> {
    attribute(text, name).map_err(|_| ClientFault::AttributeExpected(name))
}

/// Extensions that may be ignored, each of them a letter, `=` and a value.
fn skip_extensions(rest: Option<&[u8]>) -> Result<(), ClientFault> {
    let Some(rest) = rest else { return Ok(()) };
    let mut extensions = rest.split(|byte| *byte == b',');
    let is_attribute = |text: &[u8]| matches!(text, [name, b'=', ..] if name.is_ascii_alphabetic());
    if extensions.all(is_attribute) {
        Ok(())
    } else {
        Err(ClientFault::Extension)
    }
}

/// What a server knows of a user.
pub struct Account {
    salt: Box<[u8]>,
    iterations: u32,
    known: Known,
    work: Work,
}

enum Known {
    Verifier { stored_key: Key, server_key: Key },
    Password,
    Nothing,
}

/// What is hashed before the verdict.
enum Work {
    None,
    Hash(Box<Deriving>),
}

impl Account {
    /// An account of which there is a verifier. It takes no hashing.
    #[must_use]
    pub fn of_verifier(verifier: &ScramVerifier) -> Account {
        Account {
            salt: Box::from(verifier.salt()),
            iterations: verifier.iterations(),
            known: Known::Verifier {
                stored_key: verifier.stored_key.duplicate(),
                server_key: verifier.server_key.duplicate(),
            },
            work: Work::None,
        }
    }

    /// An account of which there is the password. The salt and the iteration count are ours to choose; the count is
    /// kept between 1 and [`limits::SCRAM_ITERATIONS_MAX`].
    #[must_use]
    pub fn of_password(password: &Secret, salt: &[u8], iterations: u32) -> Account {
        let iterations = iterations.clamp(1, limits::SCRAM_ITERATIONS_MAX);
        Account {
            salt: Box::from(salt),
            iterations,
            known: Known::Password,
            work: Work::Hash(Box::new(Deriving::new(password.expose(), salt, iterations))),
        }
    }

    /// An account that does not exist: no proof is right. The salt should be the same for a name at every login, and
    /// nobody's to compute.
    #[must_use]
    pub fn nobody(salt: &[u8], iterations: u32) -> Account {
        Account {
            salt: Box::from(salt),
            iterations: iterations.clamp(1, limits::SCRAM_ITERATIONS_MAX),
            known: Known::Nothing,
            work: Work::None,
        }
    }

    /// The same account, hashed for like one with a password, so that the time tells nothing.
    #[must_use]
    pub fn worked_for(self) -> Account {
        let work = match self.work {
            Work::None => Work::Hash(Box::new(Deriving::new(b"", &self.salt, self.iterations))),
            work @ Work::Hash(_) => work,
        };
        Account { work, ..self }
    }
}

/// The server's first message, and the wait for the client's proof.
pub struct Challenge {
    hello: Hello,
    account: Account,
    nonce: Vec<u8>,
    message: Vec<u8>,
}

impl Challenge {
    /// The message to send: server-first-message of RFC 5802.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Reads client-final-message. Nothing is hashed before all of it is found sound.
    ///
    /// # Errors
    ///
    /// Every deviation from `c=…,r=…,[extensions,]p=…`, another nonce, another channel binding. A wrong proof is no
    /// fault but a [`Verdict`].
    pub fn client_final(self, data: &[u8]) -> Result<Checking, ClientFault> {
        if data.len() > limits::SCRAM_MESSAGE_MAX {
            return Err(ClientFault::MessageTooLong);
        }
        let (binding, rest) = expect(data, 'c')?;
        let rest = rest.ok_or(ClientFault::AttributeExpected('r'))?;
        let (nonce, rest) = expect(rest, 'r')?;
        let rest = rest.ok_or(ClientFault::AttributeExpected('p'))?;
        let mut parts = rest.rsplitn(2, |byte| *byte == b',');
        let (proof, end) = expect(parts.next().unwrap_or_default(), 'p')?;
        skip_extensions(parts.next())?;
        if end.is_some() {
            return Err(ClientFault::Extension);
        }
        if STANDARD.encode(&self.hello.binding).as_bytes() != binding {
            return Err(match self.hello.bound {
                Bound::Yes => ClientFault::BindingMismatch,
                Bound::No => ClientFault::HeaderMismatch,
            });
        }
        if nonce != self.nonce {
            return Err(ClientFault::NonceMismatch);
        }
        // The proof and the `,p=` before it are no part of what it is made over.
        let signed = data.len().saturating_sub(proof.len()).saturating_sub(3);
        let without_proof = data.get(..signed).unwrap_or_default();
        let auth_message = [
            &self.hello.bare[..],
            b",",
            &self.message,
            b",",
            without_proof,
        ]
        .concat();
        Ok(Checking {
            auth_message,
            proof: decode_proof(proof)?,
            account: self.account,
        })
    }
}

fn decode_proof(text: &[u8]) -> Result<Key, ClientFault> {
    let proof = STANDARD.decode(text).map_err(|_| ClientFault::Proof)?;
    let proof = <[u8; 32]>::try_from(&proof[..]).map_err(|_| ClientFault::Proof)?;
    Ok(Key::new(proof))
}

/// A proof being checked.
pub struct Checking {
    auth_message: Vec<u8>,
    proof: Key,
    account: Account,
}

/// How far a check is after a step.
pub enum Verdict {
    /// Call [`Checking::work`] again.
    More(Box<Checking>),
    /// The client knows the password.
    Proven(Proven),
    /// It does not, or there is no such account.
    Wrong,
}

impl Checking {
    /// Works off at most `iterations` iterations, but at least one.
    #[must_use]
    pub fn work(self, iterations: u32) -> Verdict {
        let Checking {
            auth_message,
            proof,
            account,
        } = self;
        let Account {
            salt,
            iterations: count,
            known,
            work,
        } = account;
        let pair = match work {
            Work::None => None,
            Work::Hash(deriving) => match deriving.work(iterations) {
                Derived::Done(pair) => Some(pair),
                Derived::More(deriving) => {
                    let work = Work::Hash(Box::new(deriving));
                    return Verdict::More(Box::new(Checking {
                        auth_message,
                        proof,
                        account: Account {
                            salt,
                            iterations: count,
                            known,
                            work,
                        },
                    }));
                }
            },
        };
        let (known, exists) = match (known, pair) {
            (
                Known::Verifier {
                    stored_key,
                    server_key,
                },
                _,
            ) => ((stored_key, server_key), Exists::Yes),
            (Known::Password, Some(pair)) => {
                ((stored_key(&pair.client_key), pair.server_key), Exists::Yes)
            }
            // The same computation, whose result is not looked at.
            (Known::Password, None) | (Known::Nothing, _) => {
                ((Key::new([0; 32]), Key::new([0; 32])), Exists::No)
            }
        };
        judge(known, exists, &auth_message, proof).map_or(Verdict::Wrong, |(keys, message)| {
            Verdict::Proven(Proven {
                keys: keys.bound_to(&salt, count),
                message,
            })
        })
    }
}

/// Whether there is such an account.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exists {
    No,
    Yes,
}

/// ClientKey = ClientProof XOR HMAC(StoredKey, AuthMessage), whose hash has to be StoredKey: RFC 5802 section 3.
fn judge(
    (stored, server_key): (Key, Key),
    exists: Exists,
    auth_message: &[u8],
    proof: Key,
) -> Option<(ScramKeys, Vec<u8>)> {
    let mut client_key = signature(&stored, auth_message);
    client_key.xor(&proof);
    let right = constant_time_eq(stored_key(&client_key).expose(), stored.expose());
    let mut message = b"v=".to_vec();
    let server_signature = signature(&server_key, auth_message);
    message.extend_from_slice(STANDARD.encode(server_signature.expose()).as_bytes());
    (right && exists == Exists::Yes).then(|| (ScramKeys::of_pair(client_key, server_key), message))
}

/// A client that has proven that it knows the password.
pub struct Proven {
    keys: ScramKeys,
    message: Vec<u8>,
}

impl Proven {
    /// The message to send: server-final-message of RFC 5802.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The keys of the account, with the ClientKey that the proof has shown, for this salt and iteration count.
    #[must_use]
    pub fn into_keys(self) -> ScramKeys {
        self.keys
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
opaque_debug!(Hello, Account, Challenge, Checking, Verdict, Proven);
