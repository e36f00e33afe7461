use std::collections::BTreeMap;

use super::credential::Credential;

/// What a client can see of the secret that is kept of it, before it has proven anything: which of the methods that are
/// allowed it is asked for, with how long a salt and how many iterations.
///
/// A user who does not exist is asked like one of those who do, see [`AdmitPolicy`](super::AdmitPolicy).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Likeness {
    /// A password; and whatever serves for no method, which is asked for like one.
    Password,
    /// An MD5 digest.
    Md5Digest,
    /// A SCRAM verifier, or keys that are bound to a salt.
    #[cfg(feature = "scram")]
    ScramVerifier {
        /// How many bytes its salt has: 16 as PostgreSQL makes it. At most [`SCRAM_SALT_MAX`](crate::limits::SCRAM_SALT_MAX).
        salt_len: usize,
        /// Its iteration count: 4,096 as PostgreSQL makes it unless it is told otherwise.
        iterations: u32,
    },
}

impl Likeness {
    pub(super) fn of(credential: &Credential) -> Likeness {
        match credential {
            Credential::Md5Digest(_) => Likeness::Md5Digest,
            #[cfg(feature = "scram")]
            Credential::ScramVerifier(verifier) => Likeness::ScramVerifier {
                salt_len: verifier.salt().len(),
                iterations: verifier.iterations(),
            },
            #[cfg(feature = "scram")]
            Credential::ScramKeys(keys) => {
                keys.verifier()
                    .map_or(Likeness::Password, |verifier| Likeness::ScramVerifier {
                        salt_len: verifier.salt().len(),
                        iterations: verifier.iterations(),
                    })
            }
            Credential::Password(_) | Credential::External | Credential::None => Likeness::Password,
        }
    }

    /// How often it is hashed for a proof, if what is kept says it.
    pub(super) fn iterations(self) -> Option<u32> {
        match self {
            #[cfg(feature = "scram")]
            Likeness::ScramVerifier { iterations, .. } => Some(iterations),
            Likeness::Password | Likeness::Md5Digest => None,
        }
    }
}

/// How many users there are of each likeness.
#[derive(Clone, Default, Debug)]
pub(super) struct Mix {
    counts: BTreeMap<Likeness, u64>,
}

impl Mix {
    pub(super) fn add(&mut self, likeness: Likeness) {
        let count = self.counts.entry(likeness).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn remove(&mut self, likeness: Likeness) {
        if let Some(count) = self.counts.get_mut(&likeness) {
            *count = count.saturating_sub(1);
        }
        self.counts.retain(|_, count| *count > 0);
    }

    /// How often all verifiers are hashed, if there are any and they agree.
    pub(super) fn iterations(&self) -> Option<u32> {
        let mut all = self.counts.keys().filter_map(|like| like.iterations());
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// The likeness at this point of all, which are laid out from 0 to 2⁶⁴, each with a share for each user. One user
    /// more or less moves the borders by one share: few points get another likeness.
    pub(super) fn at(&self, point: u64) -> Likeness {
        let total = self
            .counts
            .values()
            .fold(0_u64, |all, n| all.saturating_add(*n));
        let share = u128::from(point).saturating_mul(u128::from(total)) >> 64;
        let mut end = 0_u128;
        let mut found = None;
        // To the end, wherever it is: the time is everybody's.
        for (likeness, count) in &self.counts {
            end = end.saturating_add(u128::from(*count));
            if found.is_none() && share < end {
                found = Some(*likeness);
            }
        }
        found.unwrap_or(Likeness::Password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_the_likeness_of_their_share() {
        let mut mix = Mix::default();
        assert_eq!(mix.at(0), Likeness::Password);
        mix.add(Likeness::Md5Digest);
        assert_eq!(
            (mix.at(0), mix.at(u64::MAX)),
            (Likeness::Md5Digest, Likeness::Md5Digest)
        );
        for _ in 0..3 {
            mix.add(Likeness::Password);
        }
        let border = 3 * (u64::MAX / 4 + 1);
        assert_eq!(mix.at(0), Likeness::Password);
        assert_eq!(mix.at(border - 1), Likeness::Password);
        assert_eq!(mix.at(border), Likeness::Md5Digest);
        assert_eq!(mix.at(u64::MAX), Likeness::Md5Digest);
        mix.remove(Likeness::Md5Digest);
        assert_eq!(mix.at(u64::MAX), Likeness::Password);
        mix.remove(Likeness::Md5Digest);
        assert_eq!(mix.at(u64::MAX), Likeness::Password);
    }

    /// Who does not exist is mostly asked the same as before when a user comes or goes.
    #[test]
    fn one_user_more_moves_few_points() {
        let mut mix = Mix::default();
        for _ in 0..100 {
            mix.add(Likeness::Password);
            mix.add(Likeness::Md5Digest);
        }
        let look = |mix: &Mix| -> Vec<Likeness> {
            (0..1_000).map(|n| mix.at(u64::MAX / 1_000 * n)).collect()
        };
        let before = look(&mix);
        mix.add(Likeness::Md5Digest);
        let after = look(&mix);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!((1..10).contains(&moved), "{moved}");
    }
}
