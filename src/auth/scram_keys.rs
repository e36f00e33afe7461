//! What SCRAM-SHA-256 stores and derives: verifiers and keys.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::credential::VERIFIER_PREFIX;
use super::scram::parse_iterations;
use super::scram_hash::{Derived, Deriving, stored_key};
use crate::limits;
use crate::secret::{constant_time_eq, wipe};

/// 32 secret bytes, overwritten on drop. Boxed, so that moving one leaves no copy behind.
pub(super) struct Key(Box<[u8; 32]>);

impl Key {
    pub(super) fn new(mut bytes: [u8; 32]) -> Key {
        let key = Key(Box::new(bytes));
        wipe(&mut bytes);
        key
    }

    pub(super) fn duplicate(&self) -> Key {
        Key(self.0.clone())
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Bytewise exclusive or.
    pub(super) fn xor(&mut self, other: &Key) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *mine ^= theirs;
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        wipe(&mut self.0[..]);
    }
}

/// A salt and an iteration count: what the keys of a password depend on beside it.
#[derive(PartialEq, Eq)]
struct Derivation {
    salt: Box<[u8]>,
    iterations: u32,
}

/// ClientKey and ServerKey: enough to log in by SCRAM-SHA-256 without the password.
///
/// They open the account on every server that stores the same verifier (a primary and its physical standbys), and on
/// no other: a new password or a second `ALTER ROLE … PASSWORD` with the same one draws a new salt.
pub struct ScramKeys {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
    bound_to: Option<Derivation>,
}

impl ScramKeys {
    /// Keys of unknown origin. A server with another salt refuses them, with 28P01 and no further explanation;
    /// [`ScramKeys::bound_to`] lets us see it first.
    #[must_use]
    pub fn new(client_key: [u8; 32], server_key: [u8; 32]) -> ScramKeys {
        ScramKeys {
            client_key: Key::new(client_key),
            server_key: Key::new(server_key),
            bound_to: None,
        }
    }

    /// The same keys, to be used for this salt and iteration count only.
    #[must_use]
    pub fn bound_to(self, salt: &[u8], iterations: u32) -> ScramKeys {
        ScramKeys {
            bound_to: Some(Derivation {
                salt: Box::from(salt),
                iterations,
            }),
            ..self
        }
    }

    /// Keys that were computed here.
    pub(super) fn of_pair(client_key: Key, server_key: Key) -> ScramKeys {
        ScramKeys {
            client_key,
            server_key,
            bound_to: None,
        }
    }

    /// What a server stores for these keys, if it is known for which salt and iteration count.
    pub(super) fn verifier(&self) -> Option<ScramVerifier> {
        let known = self.bound_to.as_ref()?;
        Some(ScramVerifier {
            salt: known.salt.clone(),
            iterations: known.iterations,
            stored_key: stored_key(&self.client_key),
            server_key: self.server_key.duplicate(),
        })
    }

    /// The keys of a verifier whose ClientKey became known.
    pub(super) fn of_verifier(verifier: &ScramVerifier, client_key: Key) -> ScramKeys {
        ScramKeys {
            client_key,
            server_key: verifier.server_key.duplicate(),
            bound_to: None,
        }
        .bound_to(&verifier.salt, verifier.iterations)
    }

    /// Whether the keys may open an account with this salt and iteration count.
    pub(super) fn fit(&self, salt: &[u8], iterations: u32) -> bool {
        self.bound_to
            .as_ref()
            .is_none_or(|known| *known.salt == *salt && known.iterations == iterations)
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

/// What PostgreSQL stores in `pg_authid.rolpassword` for a SCRAM password:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
///
/// It lets a server check a client and prove itself. It does not let anyone log in: that takes the ClientKey, which
/// [`recover_keys`](super::scram::recover_keys) gets from a client's proof.
pub struct ScramVerifier {
    salt: Box<[u8]>,
    iterations: u32,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl ScramVerifier {
    /// Reads the stored form. `None` if it is malformed, or asks for more than [`limits::SCRAM_ITERATIONS_MAX`]
    /// iterations or [`limits::SCRAM_SALT_MAX`] bytes of salt.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<ScramVerifier> {
        let rest = text.strip_prefix(VERIFIER_PREFIX)?;
        let (derivation, keys) = split_once(rest, b'$')?;
        let (iterations, salt) = split_once(derivation, b':')?;
        let (stored_key, server_key) = split_once(keys, b':')?;
        let salt = STANDARD.decode(salt).ok()?;
        if salt.is_empty() || salt.len() > limits::SCRAM_SALT_MAX {
            return None;
        }
        Some(ScramVerifier {
            salt: salt.into(),
            iterations: parse_iterations(iterations).ok()?,
            stored_key: decode_key(stored_key)?,
            server_key: decode_key(server_key)?,
        })
    }

    /// Whether a password that was hashed with this salt and iteration count is the one of the verifier.
    pub(super) fn fits(&self, client_key: &Key) -> bool {
        constant_time_eq(stored_key(client_key).expose(), self.stored_key.expose())
    }

    /// Whether it was made of this password, which is hashed for it.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        let mut deriving = Deriving::new(password, &self.salt, self.iterations);
        loop {
            match deriving.work(limits::SCRAM_ITERATIONS_MAX) {
                Derived::More(more) => deriving = more,
                Derived::Done(pair) => return self.fits(&pair.client_key),
            }
        }
    }

    /// A second one.
    pub(super) fn duplicate(&self) -> ScramVerifier {
        ScramVerifier {
            salt: self.salt.clone(),
            iterations: self.iterations,
            stored_key: self.stored_key.duplicate(),
            server_key: self.server_key.duplicate(),
        }
    }

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
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(..)")
    }
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(2, |byte| *byte == separator);
    Some((parts.next()?, parts.next()?))
}

fn decode_key(text: &[u8]) -> Option<Key> {
    let mut bytes = STANDARD.decode(text).ok()?;
    let key = <[u8; 32]>::try_from(&bytes[..]).ok().map(Key::new);
    wipe(&mut bytes);
    key
}
