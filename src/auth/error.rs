use std::fmt;

use bytes::BytesMut;

use super::credential::CredentialKind;
use super::methods::{Channel, Method};
#[cfg(feature = "scram")]
use super::scram::ScramError;
use crate::error::TooLong;
use crate::limits::{EXTERNAL_MESSAGE_MAX, PRINTABLE_MAX};
use crate::wire::{Backend, Fields, Printable, SqlState, TransactionStatus, sqlstate};

/// Why a login to a server failed.
///
/// It carries no secret, and of the server's bytes only those of [`ServerReport`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The server asks for, or is satisfied with, what the configuration does not allow.
    #[error("the server wants {method}, which is not allowed here")]
    NotAllowed {
        /// What it wants.
        method: Method,
    },
    /// The method is allowed, but not over a connection like this.
    #[error("the server wants {method}, which is not allowed over {channel}")]
    ChannelTooWeak {
        /// What it wants.
        method: Method,
        /// What the connection is.
        channel: Channel,
    },
    /// The server asks for a method that is not spoken here: Kerberos, GSSAPI, SSPI or an unknown one.
    #[error("the server wants authentication code {code}, which is not supported")]
    NotSupported {
        /// The code of the Authentication message.
        code: i32,
    },
    /// The server offers SASL, but not SCRAM-SHA-256.
    #[error("the server does not offer SCRAM-SHA-256")]
    NoCommonMechanism,
    /// The server offers SCRAM-SHA-256-PLUS alone, and there is nothing to bind it to.
    #[error("the server offers SCRAM-SHA-256-PLUS alone, and the connection cannot be bound")]
    NothingToBindTo,
    /// The caller's answer is longer than [`EXTERNAL_MESSAGE_MAX`], or what the server asks is.
    #[error(
        "a message of a method that the caller answers for exceeds {EXTERNAL_MESSAGE_MAX} bytes"
    )]
    ExternalTooLong,
    /// The server asks for SCRAM-SHA-256, or the credential is a verifier, and this build has no SCRAM.
    #[error("SCRAM-SHA-256 is needed, but this build lacks the feature `scram`")]
    ScramNotBuilt,
    /// The credential does not serve for what the server asks.
    #[error("the server wants {method}, and there is {credential}")]
    WrongCredential {
        /// What the server asks.
        method: Method,
        /// What there is.
        credential: CredentialKind,
    },
    /// The server asks for SCRAM-SHA-256, and there is a verifier without the ClientKey.
    #[error("a SCRAM verifier alone cannot answer; it needs a password or the client's proof")]
    VerifierOnly,
    /// A text that starts like a SCRAM verifier and is none.
    #[error("a SCRAM verifier that cannot be read")]
    MalformedVerifier,
    /// A password that no PasswordMessage can carry.
    #[error("the password holds a NUL")]
    NulInPassword,
    /// The SCRAM exchange broke a rule.
    #[cfg(feature = "scram")]
    #[error("SCRAM-SHA-256: {0}")]
    Scram(#[from] ScramError),
    /// A message that has no place in this phase of a login.
    #[error("{message} while {phase}")]
    Unexpected {
        /// The message's name in the protocol chapter.
        message: &'static str,
        /// What was awaited.
        phase: &'static str,
    },
    /// NegotiateProtocolVersion with a version that was not asked for, or options that were not sent.
    #[error("NegotiateProtocolVersion answers what was not asked")]
    Negotiation,
    /// BackendKeyData with a secret that this protocol version does not have.
    #[error("BackendKeyData with a secret of {len} bytes")]
    KeyLength {
        /// Its length.
        len: usize,
    },
    /// More of something than one login may bring.
    #[error("too many {what} during a login")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
    /// The login ended, but in a transaction.
    #[error("the session starts with the transaction status {status:?}")]
    NotIdle {
        /// The status.
        status: TransactionStatus,
    },
    /// The server refused the login.
    #[error("the server refused the login: {0}")]
    Refused(ServerReport),
    /// The startup packet asks for a replication session, which is the client's alone.
    #[error("a replication session is never opened twice")]
    Replication,
    /// A call that does not fit the phase: the driver's mistake, or a call after the end.
    #[error("the login is not at that point, or has ended")]
    OutOfTurn,
}

/// What a server says in an ErrorResponse or NoticeResponse: severity, SQLSTATE and the start of the message.
///
/// `Display` and `Debug` escape what a terminal or a log must not see, and show [`PRINTABLE_MAX`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerReport {
    severity: Box<[u8]>,
    sqlstate: Option<SqlState>,
    message: Box<[u8]>,
}

impl ServerReport {
    pub(super) fn new(fields: Fields<'_>) -> ServerReport {
        // A little more than is shown, so that it can be seen to be cut.
        let clip = |text: Option<&[u8]>| {
            text.unwrap_or_default()
                .iter()
                .copied()
                .take(KEPT)
                .collect()
        };
        ServerReport {
            severity: clip(fields.severity()),
            sqlstate: fields.sqlstate(),
            message: clip(fields.get(b'M')),
        }
    }

    /// Appends a NoticeResponse that says as much.
    pub(crate) fn encode_notice(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let state = self.sqlstate.unwrap_or(sqlstate::WARNING);
        let fields = [
            (b'S', &*self.severity),
            (b'V', &*self.severity),
            (b'C', &state.0),
            (b'M', self.whole_characters()),
        ];
        Backend::NoticeResponse(Fields::new(&fields)).encode(out)
    }

    /// The message without the beginning of a character whose end was cut off, if it is UTF-8.
    fn whole_characters(&self) -> &[u8] {
        match std::str::from_utf8(&self.message) {
            Err(error) if error.error_len().is_none() => {
                self.message.get(..error.valid_up_to()).unwrap_or_default()
            }
            Ok(_) | Err(_) => &self.message,
        }
    }

    /// The severity, untranslated where the server says it so; empty if it says none.
    #[must_use]
    pub fn severity(&self) -> &[u8] {
        &self.severity
    }

    /// The SQLSTATE, if there is one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.sqlstate
    }

    /// The first bytes of the message, as they came; empty if there is none.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }
}

/// How much of a text is kept, in bytes: what is shown and one character.
const KEPT: usize = PRINTABLE_MAX.saturating_add(4);

impl fmt::Display for ServerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity.is_empty() {
            b"?"
        } else {
            &*self.severity
        };
        write!(f, "{} ", Printable(severity))?;
        match self.sqlstate {
            Some(code) => write!(f, "{code}")?,
            None => f.write_str("?????")?,
        }
        write!(f, ": {:#}", Printable(&self.message))
    }
}

impl fmt::Debug for ServerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerReport({self})")
    }
}
