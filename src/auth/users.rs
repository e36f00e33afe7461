use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::credential::{Credential, CredentialKind};
use super::likeness::{Likeness, Mix};
use crate::wire::Printable;

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
#[derive(Clone, Default)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<Credential>>,
    kinds: Kinds,
    mix: Mix,
}

/// Which kinds were ever listed, which decides what a check of anybody's proof costs.
#[derive(Clone, Copy, Default)]
pub(super) struct Kinds {
    pub(super) passwords: Listed,
    pub(super) verifiers: Listed,
}

/// Whether somebody has a credential of some kind.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Listed {
    #[default]
    Nobody,
    Somebody,
}

impl Kinds {
    /// Anybody may have anything.
    pub(super) const ALL: Kinds = Kinds {
        passwords: Listed::Somebody,
        verifiers: Listed::Somebody,
    };
}

impl Users {
    /// Lists a user; whether the name was new. A name that is listed already gets the new credential.
    pub fn insert(&mut self, name: &[u8], credential: Credential) -> bool {
        match credential.kind() {
            CredentialKind::Password => {
                self.kinds.passwords = Listed::Somebody;
            }
            CredentialKind::ScramVerifier | CredentialKind::ScramKeys => {
                self.kinds.verifiers = Listed::Somebody;
            }
            CredentialKind::Md5Digest | CredentialKind::External | CredentialKind::None => {}
        }
        self.mix.add(Likeness::of(&credential));
        let before = self.by_name.insert(name.into(), Arc::new(credential));
        if let Some(before) = &before {
            self.mix.remove(Likeness::of(before));
        }
        before.is_none()
    }

    /// What this user logs in with; [`Credential::None`] for one who is not listed.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Arc<Credential> {
        match self.by_name.get(name) {
            Some(credential) => Arc::clone(credential),
            None => Arc::new(Credential::None),
        }
    }

    /// Whether this user is listed, though it may be with [`Credential::None`].
    pub(super) fn lists(&self, name: &[u8]) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// What those who are not listed are asked like.
    pub(super) fn mix(&self) -> &Mix {
        &self.mix
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

/// Whom servers know a client as that is somebody else to the proxy.
///
/// `Debug` shows the name alone.
#[derive(Clone)]
pub struct UpstreamUser {
    /// The user of the StartupMessage that servers get.
    pub name: Box<[u8]>,
    /// What that user logs in with.
    pub credential: Arc<Credential>,
}

impl UpstreamUser {
    /// A user with a credential.
    #[must_use]
    pub fn new(name: &[u8], credential: Credential) -> UpstreamUser {
        UpstreamUser {
            name: name.into(),
            credential: Arc::new(credential),
        }
    }
}

impl fmt::Debug for UpstreamUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamUser({})", Printable(&self.name))
    }
}

/// Which clients servers know by another name, by the names that the proxy knows them by, compared byte for byte.
///
/// ```
/// use pgturnout::auth::{Credential, UpstreamUser, UpstreamUsers};
///
/// let mut users = UpstreamUsers::default();
/// users.insert(b"alice", UpstreamUser::new(b"app", Credential::password("secret")));
/// assert_eq!(&*users.get(b"alice").unwrap().name, b"app");
/// assert!(users.get(b"bob").is_none());
/// ```
#[derive(Clone, Default)]
pub struct UpstreamUsers {
    by_name: BTreeMap<Box<[u8]>, UpstreamUser>,
}

impl UpstreamUsers {
    /// Has servers know a client as another user; whether the client's name was new.
    pub fn insert(&mut self, client: &[u8], user: UpstreamUser) -> bool {
        self.by_name.insert(client.into(), user).is_none()
    }

    /// Whom servers know this client as, if not by its own name.
    #[must_use]
    pub fn get(&self, client: &[u8]) -> Option<&UpstreamUser> {
        self.by_name.get(client)
    }

    /// Whether every client has its own name everywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// Shows how many there are, and none of them.
impl fmt::Debug for UpstreamUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamUsers({})", self.by_name.len())
    }
}

/// What a caller has found of a user that asks to be let in.
///
/// `Debug` shows no secret.
#[derive(Debug)]
pub struct FoundUser {
    /// What the client has to prove that it knows; [`Credential::None`] for a user that does not exist, who is asked and
    /// refused like one with a wrong password.
    pub credential: Credential,
    /// Whom servers know it as, if not by its own name.
    pub upstream: Option<UpstreamUser>,
}
