//! The check of a password that a client has sent as it is.

use super::credential::Credential;
use super::md5::{Md5Digest, md5_digest};
#[cfg(feature = "scram")]
use super::scram_hash::{Derived, Deriving};
#[cfg(feature = "scram")]
use super::scram_keys::ScramVerifier;
use super::users::Kinds;
#[cfg(feature = "scram")]
use super::users::Listed;
#[cfg(feature = "scram")]
use crate::limits::SCRAM_STEP_ITERATIONS;
use crate::secret::Secret;

/// What a password is compared with.
enum Known {
    Password(Secret),
    Md5Digest(Md5Digest),
    #[cfg(feature = "scram")]
    Verifier(ScramVerifier),
    Nothing,
}

/// A check, before the password is there or while it is hashed.
pub(super) struct Check {
    known: Known,
    given: Given,
    #[cfg(feature = "scram")]
    hashing: Hashing,
}

enum Given {
    NotYet,
    Right(Secret),
    Wrong(
        #[cfg_attr(
            not(feature = "scram"),
            expect(dead_code, reason = "only a verifier judges it later")
        )]
        Secret,
    ),
}

/// What is hashed before the verdict.
#[cfg(feature = "scram")]
enum Hashing {
    None,
    /// So often, though it decides nothing: a time that depended on the user would tell who exists.
    Due(u32),
    Running(Box<Deriving>),
}

/// How far a check is after a step.
pub(super) enum Checked {
    /// Call [`Check::work`] again.
    #[cfg_attr(
        not(feature = "scram"),
        expect(dead_code, reason = "nothing is hashed in steps")
    )]
    More(Check),
    /// It is the password that is listed.
    Listed,
    /// It is the right one, which was not listed itself.
    Learnt(Secret),
    Wrong,
}

impl Check {
    /// `iterations` is how often a password is hashed for a user without a verifier, if others have one.
    #[cfg_attr(
        not(feature = "scram"),
        expect(unused_variables, reason = "nothing is hashed in steps")
    )]
    pub(super) fn new(credential: &Credential, kinds: Kinds, iterations: u32) -> Check {
        let known = match credential {
            Credential::Password(password) => Known::Password(Secret::copy_of(password.expose())),
            Credential::Md5Digest(digest) => Known::Md5Digest(digest.duplicate()),
            #[cfg(feature = "scram")]
            Credential::ScramVerifier(verifier) => Known::Verifier(verifier.duplicate()),
            #[cfg(feature = "scram")]
            Credential::ScramKeys(keys) => keys.verifier().map_or(Known::Nothing, Known::Verifier),
            Credential::External | Credential::None => Known::Nothing,
        };
        Check {
            known,
            given: Given::NotYet,
            #[cfg(feature = "scram")]
            hashing: if kinds.verifiers == Listed::Somebody {
                Hashing::Due(iterations)
            } else {
                Hashing::None
            },
        }
    }

    /// Takes the password.
    pub(super) fn begin(mut self, user: &[u8], given: &[u8]) -> Checked {
        let given = Secret::copy_of(given);
        // Only a digest is compared with it, but everybody waits for it.
        let digest = md5_digest(user, given.expose());
        let right = match &self.known {
            // PostgreSQL lets nobody in with an empty one.
            _ if given.expose().is_empty() => false,
            Known::Password(password) => password.matches(given.expose()),
            Known::Md5Digest(listed) => listed.matches(&digest),
            #[cfg(feature = "scram")]
            Known::Verifier(_) => false,
            Known::Nothing => false,
        };
        #[cfg(feature = "scram")]
        {
            let deriving = match (&self.known, self.hashing) {
                (Known::Verifier(verifier), _) => Some(Deriving::new(
                    given.expose(),
                    verifier.salt(),
                    verifier.iterations(),
                )),
                (_, Hashing::Due(iterations)) => {
                    Some(Deriving::new(given.expose(), user, iterations))
                }
                (_, Hashing::None | Hashing::Running(_)) => None,
            };
            self.hashing = deriving.map_or(Hashing::None, |deriving| {
                Hashing::Running(Box::new(deriving))
            });
        }
        self.given = if right {
            Given::Right(given)
        } else {
            Given::Wrong(given)
        };
        self.work()
    }

    /// Works off a step of the hashing.
    #[cfg(feature = "scram")]
    pub(super) fn work(self) -> Checked {
        let Hashing::Running(deriving) = self.hashing else {
            return verdict(self.known, self.given);
        };
        match deriving.work(SCRAM_STEP_ITERATIONS) {
            Derived::More(deriving) => Checked::More(Check {
                hashing: Hashing::Running(Box::new(deriving)),
                ..self
            }),
            Derived::Done(pair) => match (&self.known, self.given) {
                (Known::Verifier(verifier), Given::Wrong(given))
                    if verifier.fits(&pair.client_key) && !given.expose().is_empty() =>
                {
                    Checked::Learnt(given)
                }
                (_, given) => verdict(self.known, given),
            },
        }
    }

    /// Nothing is hashed in steps.
    #[cfg(not(feature = "scram"))]
    pub(super) fn work(self) -> Checked {
        verdict(self.known, self.given)
    }
}

fn verdict(known: Known, given: Given) -> Checked {
    match (known, given) {
        (Known::Password(_), Given::Right(_)) => Checked::Listed,
        (_, Given::Right(given)) => Checked::Learnt(given),
        (_, Given::Wrong(_) | Given::NotYet) => Checked::Wrong,
    }
}
