use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::credential::{Credential, CredentialKind};

/// What further servers are logged in to with, by user name.
///
/// Names are compared byte for byte with the `user` of the client's StartupMessage, as PostgreSQL compares them: no
/// folding, no patterns. A user who is not listed has no credential, which suffices where a server trusts.
///
/// ```
/// use pgturnout::auth::{Credential, Users};
///
/// let mut users = Users::default();
/// users.insert(b"app", Credential::password("secret"));
/// assert_eq!(users.len(), 1);
/// assert_eq!(format!("{users:?}"), "Users(1)");
/// ```
#[derive(Default)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<Credential>>,
    kinds: Kinds,
}

/// Which kinds were ever listed, which decides what a check of anybody's proof costs.
#[derive(Default)]
struct Kinds {
    passwords: usize,
    verifiers: usize,
}

impl Users {
    /// Lists a user; whether the name was new. A name that is listed already gets the new credential.
    pub fn insert(&mut self, name: &[u8], credential: Credential) -> bool {
        match credential.kind() {
            CredentialKind::Password => {
                self.kinds.passwords = self.kinds.passwords.saturating_add(1);
            }
            CredentialKind::ScramVerifier | CredentialKind::ScramKeys => {
                self.kinds.verifiers = self.kinds.verifiers.saturating_add(1);
            }
            CredentialKind::Md5Digest | CredentialKind::External | CredentialKind::None => {}
        }
        self.by_name
            .insert(name.into(), Arc::new(credential))
            .is_none()
    }

    /// What this user logs in with; [`Credential::None`] for one who is not listed.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Arc<Credential> {
        match self.by_name.get(name) {
            Some(credential) => Arc::clone(credential),
            None => Arc::new(Credential::None),
        }
    }

    /// Whether a password was ever listed.
    #[cfg(feature = "scram")]
    pub(super) fn hold_passwords(&self) -> bool {
        self.kinds.passwords > 0
    }

    /// Whether a verifier was ever listed, or the keys of one.
    #[cfg(feature = "scram")]
    pub(super) fn hold_verifiers(&self) -> bool {
        self.kinds.verifiers > 0
    }

    /// How many users are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether no user is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// Shows how many users there are, and nothing of them.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.by_name.len())
    }
}
