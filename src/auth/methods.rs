use std::fmt;

use super::credential::{Credential, CredentialKind};
use super::error::AuthError;

/// How a server lets a client in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Method {
    /// It asks for nothing: `trust`, `peer`, or a client certificate.
    Trust,
    /// It asks for the password as it is.
    Cleartext,
    /// It asks for the password hashed with MD5.
    Md5,
    /// It asks for SASL, of which SCRAM-SHA-256 is spoken here.
    ScramSha256,
    /// The same, bound to the TLS connection.
    ScramSha256Plus,
    /// It looks at the certificate that the client has shown. Only we know that we do: a server that does so asks for
    /// nothing, which is [`Method::Trust`].
    Certificate,
    /// It asks for what the caller answers: GSSAPI, SSPI, another SASL mechanism.
    External,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Trust => "no authentication",
            Method::Cleartext => "a cleartext password",
            Method::Md5 => "an MD5 password",
            Method::ScramSha256 => "SCRAM-SHA-256",
            Method::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Method::Certificate => "a client certificate",
            Method::External => "a method that the caller answers for",
        })
    }
}

/// What a connection protects from, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Channel {
    /// Everybody on the way can read it.
    Clear,
    /// Encrypted, but who is at the other end was not checked, or only that a trusted authority has signed for somebody.
    Tls,
    /// Encrypted, and the other end is the server that its certificate names.
    VerifiedTls,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channel::Clear => "an unencrypted connection",
            Channel::Tls => "an unverified TLS connection",
            Channel::VerifiedTls => "a verified TLS connection",
        })
    }
}

/// Which methods a server may use, and over what: the allow-list that libpq calls `require_auth`.
///
/// It is asked about every authentication request *and* about AuthenticationOk: a server that asks for nothing has
/// proven nothing, and may be anybody.
///
/// ```
/// use pgturnout::auth::{Channel, Credential, Methods};
///
/// // What suits the credential: SCRAM-SHA-256 only, for a password.
/// let careful = Methods::for_credential(&Credential::password("x"));
/// assert_eq!(careful, Methods::NONE.allow_scram());
/// // A server behind a private network that still uses MD5.
/// let older = careful.allow_md5(Channel::Clear);
/// assert_ne!(careful, older);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Methods {
    /// For each method the weakest connection that it may use; `None` forbids it.
    trust: Option<Channel>,
    cleartext: Option<Channel>,
    md5: Option<Channel>,
    scram: Option<Channel>,
    scram_plus: Option<Channel>,
    external: Option<Channel>,
}

impl Methods {
    /// None at all: every login fails.
    pub const NONE: Methods = Methods {
        trust: None,
        cleartext: None,
        md5: None,
        scram: None,
        scram_plus: None,
        external: None,
    };

    /// What suits this credential best and gives nothing away: SCRAM-SHA-256 for a password, for keys and for a
    /// verifier, MD5 over verified TLS for an MD5 digest, the caller's own method over verified TLS, trust where there is no
    /// credential.
    #[must_use]
    pub fn for_credential(credential: &Credential) -> Methods {
        match credential.kind() {
            CredentialKind::Password
            | CredentialKind::ScramKeys
            | CredentialKind::ScramVerifier => Methods::NONE.allow_scram(),
            CredentialKind::Md5Digest => Methods::NONE.allow_md5(Channel::VerifiedTls),
            CredentialKind::External => Methods::NONE.allow_external(Channel::VerifiedTls),
            CredentialKind::None => Methods::NONE.allow_trust(),
        }
    }

    /// Allows a server to ask for nothing.
    #[must_use]
    pub const fn allow_trust(self) -> Methods {
        Methods {
            trust: Some(Channel::Clear),
            ..self
        }
    }

    /// Allows a server to ask for the password itself, over `least` or better. No setting sends it unencrypted:
    /// [`Channel::Clear`] means [`Channel::Tls`] here. Over unverified TLS, one in the middle can ask for it too.
    #[must_use]
    pub const fn allow_cleartext(self, least: Channel) -> Methods {
        let least = match least {
            Channel::Clear | Channel::Tls => Channel::Tls,
            Channel::VerifiedTls => Channel::VerifiedTls,
        };
        Methods {
            cleartext: Some(least),
            ..self
        }
    }

    /// Allows MD5, over `least` or better. One in the middle of a weaker connection can pass a real server's salt on to
    /// us and log in with our answer.
    #[must_use]
    pub const fn allow_md5(self, least: Channel) -> Methods {
        Methods {
            md5: Some(least),
            ..self
        }
    }

    /// Allows SCRAM-SHA-256, over any connection, bound to it where both sides can.
    #[must_use]
    pub const fn allow_scram(self) -> Methods {
        Methods {
            scram: Some(Channel::Clear),
            scram_plus: Some(Channel::Clear),
            ..self
        }
    }

    /// Allows SCRAM-SHA-256-PLUS, and SCRAM-SHA-256 no more: one in the middle of a TLS connection that nobody verifies
    /// is found out. It takes the server's certificate ([`TlsEndPoint`](super::TlsEndPoint)).
    #[must_use]
    pub const fn require_binding(self) -> Methods {
        Methods {
            scram: None,
            scram_plus: Some(Channel::Tls),
            ..self
        }
    }

    /// Allows a method that the caller answers for, over `least` or better.
    #[must_use]
    pub const fn allow_external(self, least: Channel) -> Methods {
        Methods {
            external: Some(least),
            ..self
        }
    }

    /// Whether a server may use this method over this connection.
    ///
    /// # Errors
    ///
    /// [`AuthError::NotAllowed`], [`AuthError::ChannelTooWeak`].
    pub fn check(&self, method: Method, channel: Channel) -> Result<(), AuthError> {
        let least = match method {
            Method::Trust | Method::Certificate => self.trust,
            Method::Cleartext => self.cleartext,
            Method::Md5 => self.md5,
            Method::ScramSha256 => self.scram,
            Method::ScramSha256Plus => self.scram_plus,
            Method::External => self.external,
        };
        match least {
            None => Err(AuthError::NotAllowed { method }),
            Some(least) if channel < least => Err(AuthError::ChannelTooWeak { method, channel }),
            Some(_) => Ok(()),
        }
    }
}
