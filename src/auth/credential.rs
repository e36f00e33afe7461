//! What a login can be answered with.

use std::fmt;

use super::error::AuthError;
use super::md5::{Md5Digest, md5_digest};
#[cfg(feature = "scram")]
use super::scram_keys::{ScramKeys, ScramVerifier};
use crate::secret::Secret;

/// What every stored SCRAM verifier starts with.
pub(super) const VERIFIER_PREFIX: &[u8] = b"SCRAM-SHA-256$";

/// What is known about a user, and so which requests of a server can be answered.
///
/// | | cleartext | MD5 | SCRAM-SHA-256 |
/// | --- | --- | --- | --- |
/// | `Password` | yes | yes | yes |
/// | `Md5Digest` | | yes | |
/// | `ScramKeys` | | | yes |
/// | `ScramVerifier` | | | not by itself |
/// | `External` | the caller's | the caller's | the caller's |
/// | `None` | | | |
///
/// Whether an answer is also *allowed* is for [`Methods`](super::Methods) to say. No variant can be cloned; several
/// logins share one credential through an `Arc`.
#[non_exhaustive]
pub enum Credential {
    /// The password itself.
    Password(Secret),
    /// The digest that the server stores, which serves for MD5 as well as the password.
    Md5Digest(Md5Digest),
    /// The keys that a SCRAM exchange needs in place of the password.
    #[cfg(feature = "scram")]
    ScramKeys(ScramKeys),
    /// What the server stores. It does not answer anything until the client's own proof adds the ClientKey
    /// ([`recover_keys`](super::scram::recover_keys)).
    #[cfg(feature = "scram")]
    ScramVerifier(ScramVerifier),
    /// The caller answers: GSSAPI, SSPI, a token of a cloud, a SASL mechanism that is not spoken here. The login hands
    /// out what the server asks ([`Handshake::Asked`](super::Handshake::Asked)).
    External,
    /// Nothing: for servers that trust the connection, or identify it by a client certificate.
    None,
}

impl Credential {
    /// A password, whatever it looks like.
    #[must_use]
    pub fn password(password: impl Into<Vec<u8>>) -> Credential {
        Credential::Password(Secret::new(password))
    }

    /// Decides by shape, as PostgreSQL decides about `ALTER ROLE … PASSWORD`: `md5` and 32 lower-case hexadecimal
    /// digits are a digest, `SCRAM-SHA-256$…` is a verifier, anything else is a password.
    ///
    /// # Errors
    ///
    /// [`AuthError::MalformedVerifier`] for a verifier that cannot be read: PostgreSQL would take it for a password,
    /// which it hardly is. [`AuthError::ScramNotBuilt`] for any verifier if the feature `scram` is off.
    pub fn from_secret(text: &[u8]) -> Result<Credential, AuthError> {
        if let Some(digest) = Md5Digest::parse(text) {
            return Ok(Credential::Md5Digest(digest));
        }
        if !text.starts_with(VERIFIER_PREFIX) {
            return Ok(Credential::Password(Secret::copy_of(text)));
        }
        #[cfg(feature = "scram")]
        return match ScramVerifier::parse(text) {
            Some(verifier) => Ok(Credential::ScramVerifier(verifier)),
            None => Err(AuthError::MalformedVerifier),
        };
        #[cfg(not(feature = "scram"))]
        Err(AuthError::ScramNotBuilt)
    }

    /// Whether this is an empty password of `user`, or what is stored of one. PostgreSQL keeps none such (`CreateRole` and
    /// `AlterRole` of `user.c` look into hashes, too), and who has one has none.
    ///
    /// For a verifier the empty password is hashed, at most [`SCRAM_ITERATIONS_MAX`](crate::limits::SCRAM_ITERATIONS_MAX)
    /// times at once: ask where secrets are loaded. A login does not ask again, and refuses an empty password
    /// only where it sees one: as it is, in clear, or by its digest.
    #[must_use]
    pub fn is_of_an_empty_password(&self, user: &[u8]) -> bool {
        match self {
            Credential::Password(password) => password.expose().is_empty(),
            Credential::Md5Digest(digest) => digest.matches(&md5_digest(user, b"")),
            #[cfg(feature = "scram")]
            Credential::ScramVerifier(verifier) => verifier.is_of(b""),
            #[cfg(feature = "scram")]
            Credential::ScramKeys(keys) => {
                keys.verifier().is_some_and(|verifier| verifier.is_of(b""))
            }
            Credential::External | Credential::None => false,
        }
    }

    /// The kind alone, for messages.
    pub(super) fn kind(&self) -> CredentialKind {
        match self {
            Credential::Password(_) => CredentialKind::Password,
            Credential::Md5Digest(_) => CredentialKind::Md5Digest,
            #[cfg(feature = "scram")]
            Credential::ScramKeys(_) => CredentialKind::ScramKeys,
            #[cfg(feature = "scram")]
            Credential::ScramVerifier(_) => CredentialKind::ScramVerifier,
            Credential::External => CredentialKind::External,
            Credential::None => CredentialKind::None,
        }
    }
}

/// Shows the kind, never the secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential::{:?}(..)", self.kind())
    }
}

/// Which kind of [`Credential`] there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CredentialKind {
    /// A password.
    Password,
    /// A stored MD5 digest.
    Md5Digest,
    /// SCRAM keys.
    ScramKeys,
    /// A SCRAM verifier.
    ScramVerifier,
    /// The caller's answers.
    External,
    /// Nothing.
    None,
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CredentialKind::Password => "a password",
            CredentialKind::Md5Digest => "an MD5 digest",
            CredentialKind::ScramKeys => "SCRAM keys",
            CredentialKind::ScramVerifier => "a SCRAM verifier",
            CredentialKind::External => "a method that the caller answers for",
            CredentialKind::None => "no credential",
        })
    }
}
