use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::limits;
use crate::wire::{SqlState, sqlstate};

/// Holds back logins of a user from an address where wrong guesses came from.
///
/// A wrong guess blocks its pair of address and user for a time that doubles with each further one. The first login that
/// succeeds lifts that for good: who has proven once to know the password is no guesser. A login is looked at twice,
/// when it begins and when its outcome is known; one that began while its pair was blocked by then, since it ran beside the
/// guess that blocked it, gets the refusal in place of the outcome, so guesses side by side tell no more than one.
///
/// Pairs are forgotten in the order of their last use when there are more than [`ThrottleLimits::pairs`]. An IPv6
/// address stands for its network of 64 bits, which is what one host has; an IPv4 address that is mapped into IPv6 is the same
/// as the IPv4 address. Of a user name 63 bytes count, as with PostgreSQL.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pgturnout::access::{Outcome, Throttle, ThrottleLimits};
///
/// let mut throttle = Throttle::new(ThrottleLimits::default());
/// let (address, now) = ("192.0.2.7".parse().unwrap(), Instant::now());
/// let guess = throttle.begin(address, b"alice", now)?;
/// throttle.settle(guess, Outcome::WrongCredentials, now)?;
/// assert!(throttle.begin(address, b"alice", now).is_err());
/// let login = throttle.begin(address, b"alice", now + Duration::from_secs(1))?;
/// throttle.settle(login, Outcome::Accepted, now + Duration::from_secs(1))?;
/// # Ok::<(), pgturnout::access::Throttled>(())
/// ```
pub struct Throttle {
    limits: ThrottleLimits,
    pairs: BTreeMap<Pair, Entry>,
    /// The pairs by the number of their last use.
    by_use: BTreeMap<u64, Pair>,
    uses: u64,
}

/// How many pairs a [`Throttle`] remembers, and how long it blocks them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThrottleLimits {
    /// Pairs of address and user; with none nothing is blocked.
    pub pairs: usize,
    /// How long the first wrong guess blocks.
    pub first: Duration,
    /// How long a wrong guess blocks at most.
    pub longest: Duration,
}

impl Default for ThrottleLimits {
    fn default() -> ThrottleLimits {
        ThrottleLimits {
            pairs: limits::THROTTLE_PAIRS_MAX,
            first: limits::THROTTLE_FIRST,
            longest: limits::THROTTLE_LONGEST,
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    address: IpAddr,
    name: Box<[u8]>,
}

impl Pair {
    fn new(address: IpAddr, name: &[u8]) -> Pair {
        let address = match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from(network))
            }
        };
        let name = name.get(..limits::USER_NAME_LEN).unwrap_or(name);
        Pair {
            address,
            name: name.into(),
        }
    }
}

struct Entry {
    used: u64,
    standing: Standing,
}

enum Standing {
    /// It never succeeded.
    Guessing {
        /// Logins that began before this are refused.
        blocked_until: Instant,
        /// How long the next wrong guess blocks.
        next: Duration,
    },
    /// It has succeeded.
    Trusted,
}

/// One login that was let begin.
#[derive(Clone)]
pub struct Attempt {
    pair: Pair,
    began: Instant,
}

/// Shows when it began, and nothing of whose it is.
impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempt({:?})", self.began)
    }
}

/// What came of a login, as far as a [`Throttle`] cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The client has proven who it is.
    Accepted,
    /// It has not.
    WrongCredentials,
    /// Nothing that says which: no room for more connections, no such database, a broken exchange.
    Other,
}

impl Outcome {
    /// What a refusal with this SQLSTATE says. A wrong guess is `28P01` alone, which PostgreSQL says of passwords that do not
    /// match, and of users that do not exist. `28000` is said before anything is proven, of a line of `pg_hba.conf` that is
    /// missing, a role that may not log in, a method that is not allowed in clear: who tries again over TLS has guessed nothing.
    #[must_use]
    pub fn of_refusal(state: SqlState) -> Outcome {
        match state == sqlstate::INVALID_PASSWORD {
            true => Outcome::WrongCredentials,
            false => Outcome::Other,
        }
    }
}

/// A login is refused for the wrong guesses before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many failed authentication attempts")]
pub struct Throttled {
    /// From when on a login may begin again.
    pub until: Instant,
}

impl Throttled {
    /// With what a client is refused.
    pub const SQLSTATE: SqlState = sqlstate::INVALID_AUTHORIZATION;
    /// What a client is told to do.
    pub const HINT: &str = "Logins of this user from this address have failed repeatedly. \
        Check the user name and the password, and wait before you try again.";
}

impl Throttle {
    /// A throttle that has seen nothing.
    #[must_use]
    pub fn new(limits: ThrottleLimits) -> Throttle {
        Throttle {
            limits,
            pairs: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// How many pairs of address and user it remembers: at most [`ThrottleLimits::pairs`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether it remembers nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// A client from this address begins to log in as this user, whose name nobody has proven.
    ///
    /// # Errors
    ///
    /// [`Throttled`] while the pair is blocked. A refused login counts for nothing.
    pub fn begin(
        &mut self,
        address: IpAddr,
        name: &[u8],
        now: Instant,
    ) -> Result<Attempt, Throttled> {
        let attempt = Attempt {
            pair: Pair::new(address, name),
            began: now,
        };
        self.check(&attempt)?;
        Ok(attempt)
    }

    /// What came of a login, now. A login of which nothing came (the client left) need not be settled.
    ///
    /// # Errors
    ///
    /// [`Throttled`] when its pair was blocked since it began: the client must be told this, whatever the outcome is, and
    /// the outcome counts for nothing.
    pub fn settle(
        &mut self,
        attempt: Attempt,
        outcome: Outcome,
        now: Instant,
    ) -> Result<(), Throttled> {
        self.check(&attempt)?;
        let next = match self.pairs.get(&attempt.pair).map(|entry| &entry.standing) {
            _ if outcome == Outcome::Other => return Ok(()),
            Some(Standing::Trusted) => return Ok(()),
            Some(Standing::Guessing { next, .. }) => *next,
            None => self.limits.first.min(self.limits.longest),
        };
        let standing = match outcome {
            Outcome::Accepted => Standing::Trusted,
            Outcome::WrongCredentials | Outcome::Other => Standing::Guessing {
                blocked_until: now.checked_add(next).unwrap_or(now),
                next: next.saturating_mul(2).min(self.limits.longest),
            },
        };
        self.note(attempt.pair, standing);
        Ok(())
    }

    /// Whether a login that began at its time may go on; its pair was used.
    fn check(&mut self, attempt: &Attempt) -> Result<(), Throttled> {
        let used = self.next_use();
        let Some(entry) = self.pairs.get_mut(&attempt.pair) else {
            return Ok(());
        };
        if let Some(pair) = self.by_use.remove(&entry.used) {
            entry.used = used;
            self.by_use.insert(used, pair);
        }
        match entry.standing {
            Standing::Guessing { blocked_until, .. } if attempt.began < blocked_until => {
                Err(Throttled {
                    until: blocked_until,
                })
            }
            Standing::Guessing { .. } | Standing::Trusted => Ok(()),
        }
    }

    fn note(&mut self, pair: Pair, standing: Standing) {
        let used = self.next_use();
        self.by_use.insert(used, pair.clone());
        if let Some(before) = self.pairs.insert(pair, Entry { used, standing }) {
            self.by_use.remove(&before.used);
        }
        while self.pairs.len() > self.limits.pairs {
            match self.by_use.pop_first() {
                Some((_, pair)) => self.pairs.remove(&pair),
                None => break,
            };
        }
    }

    fn next_use(&mut self) -> u64 {
        self.uses = self.uses.saturating_add(1);
        self.uses
    }
}

/// Shows how many pairs there are, and none of them.
impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("limits", &self.limits)
            .field("pairs", &self.pairs.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "some instant to count from")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const SECOND: Duration = Duration::from_secs(1);

    fn throttle(pairs: usize) -> (Throttle, Instant) {
        let limits = ThrottleLimits {
            pairs,
            ..ThrottleLimits::default()
        };
        (Throttle::new(limits), Instant::now())
    }

    /// A login that takes no time.
    fn login(throttle: &mut Throttle, name: &[u8], outcome: Outcome, now: Instant) -> bool {
        let attempt = throttle.begin(HERE, name, now);
        attempt.is_ok_and(|attempt| throttle.settle(attempt, outcome, now).is_ok())
    }

    #[test]
    fn wrong_guesses_block_for_one_second_doubling_to_one_hour() {
        let (mut throttle, mut now) = throttle(1);
        let seconds = (0..12).map(|power| 1 << power).chain([3600, 3600]);
        for seconds in seconds {
            assert!(login(&mut throttle, b"a", Outcome::WrongCredentials, now));
            let until = now + Duration::from_secs(seconds);
            let last = until - Duration::from_nanos(1);
            assert_eq!(
                throttle.begin(HERE, b"a", last).unwrap_err(),
                Throttled { until },
                "{seconds}"
            );
            now = until;
        }
    }

    #[test]
    fn a_day_has_room_for_thirty_five_guesses() {
        let (mut throttle, start) = throttle(1);
        let seconds = 0..24 * 3600;
        let guesses = seconds.filter(|second| {
            let now = start + Duration::from_secs(*second);
            login(&mut throttle, b"a", Outcome::WrongCredentials, now)
        });
        assert_eq!(guesses.count(), 35);
    }

    #[test]
    fn the_first_success_ends_it_for_good() {
        let (mut throttle, mut now) = throttle(2);
        assert!(login(&mut throttle, b"a", Outcome::WrongCredentials, now));
        now += SECOND;
        assert!(login(&mut throttle, b"a", Outcome::Accepted, now));
        for _ in 0..5 {
            assert!(login(&mut throttle, b"a", Outcome::WrongCredentials, now));
        }
        assert!(login(&mut throttle, b"b", Outcome::WrongCredentials, now));
        assert!(
            !login(&mut throttle, b"b", Outcome::Accepted, now),
            "another user"
        );
    }

    #[test]
    fn guesses_side_by_side_learn_of_one_outcome() {
        let (mut throttle, now) = throttle(1);
        let mut begin = || throttle.begin(HERE, b"a", now).unwrap();
        let (first, second, third) = (begin(), begin(), begin());
        let later = now + SECOND / 2;
        let mut settle = |attempt, outcome| throttle.settle(attempt, outcome, later);
        assert_eq!(settle(first, Outcome::WrongCredentials), Ok(()));
        let until = later + SECOND;
        assert_eq!(settle(second, Outcome::Accepted), Err(Throttled { until }));
        assert_eq!(
            settle(third, Outcome::WrongCredentials),
            Err(Throttled { until })
        );
        // Neither counts: the next wrong guess is the second, and blocks for two seconds.
        assert!(login(&mut throttle, b"a", Outcome::WrongCredentials, until));
        let two = until + 2 * SECOND;
        assert!(!login(
            &mut throttle,
            b"a",
            Outcome::Accepted,
            two - Duration::from_nanos(1)
        ));
        assert!(login(&mut throttle, b"a", Outcome::Accepted, two));
    }

    #[test]
    fn what_says_nothing_of_the_password_does_not_count() {
        let outcome = |state: &[u8; 5]| Outcome::of_refusal(SqlState(*state));
        assert_eq!(outcome(b"28P01"), Outcome::WrongCredentials);
        for state in [b"28000", b"53300", b"3D000", b"57P03", b"08P01", b"2F000"] {
            assert_eq!(outcome(state), Outcome::Other);
        }
        let (mut throttle, now) = throttle(1);
        assert!(login(&mut throttle, b"a", Outcome::Other, now));
        assert!(throttle.is_empty());
        assert!(login(&mut throttle, b"a", Outcome::WrongCredentials, now));
        assert!(login(&mut throttle, b"a", Outcome::Other, now + SECOND));
        assert!(login(
            &mut throttle,
            b"a",
            Outcome::WrongCredentials,
            now + SECOND
        ));
    }

    #[test]
    fn pairs_are_those_of_hosts_and_of_users_as_servers_know_them() {
        let same = |one: (&str, &[u8]), other: (&str, &[u8])| {
            let pair = |(address, name): (&str, &[u8])| Pair::new(address.parse().unwrap(), name);
            pair(one) == pair(other)
        };
        let name = [b'x'; 64];
        assert!(same(("192.0.2.7", b"a"), ("::ffff:192.0.2.7", b"a")));
        assert!(same(("2001:db8::1", b"a"), ("2001:db8::ffff:1:2:3", b"a")));
        assert!(same(("192.0.2.7", &name), ("192.0.2.7", &name[..63])));
        assert!(!same(
            ("192.0.2.7", &name[..63]),
            ("192.0.2.7", &name[..62])
        ));
        assert!(!same(("192.0.2.7", b"a"), ("192.0.2.8", b"a")));
        assert!(!same(("2001:db8::1", b"a"), ("2001:db8:0:1::1", b"a")));
        assert!(!same(("192.0.2.7", b"a"), ("192.0.2.7", b"A")));
    }

    #[test]
    fn the_pair_that_was_not_used_for_longest_is_forgotten() {
        let (mut throttle, now) = throttle(2);
        for name in [b"a", b"b"] {
            assert!(login(&mut throttle, name, Outcome::WrongCredentials, now));
        }
        // A refusal is a use.
        assert!(!login(&mut throttle, b"a", Outcome::Accepted, now));
        assert!(login(&mut throttle, b"c", Outcome::WrongCredentials, now));
        assert_eq!(throttle.len(), 2);
        assert!(!login(&mut throttle, b"a", Outcome::Accepted, now));
        assert!(login(&mut throttle, b"b", Outcome::Accepted, now));
        let (mut none, now) = super::tests::throttle(0);
        assert!(login(&mut none, b"a", Outcome::WrongCredentials, now));
        assert!(none.is_empty() && none.by_use.is_empty());
    }

    #[test]
    fn the_default_number_of_pairs_is_held_and_no_more() {
        let (mut throttle, now) = throttle(limits::THROTTLE_PAIRS_MAX);
        for number in 0..=limits::THROTTLE_PAIRS_MAX {
            let name = number.to_string();
            assert!(login(
                &mut throttle,
                name.as_bytes(),
                Outcome::WrongCredentials,
                now
            ));
            assert_eq!(throttle.len(), (number + 1).min(limits::THROTTLE_PAIRS_MAX));
        }
        assert!(login(&mut throttle, b"0", Outcome::Other, now), "forgotten");
        assert!(!login(&mut throttle, b"1", Outcome::Other, now), "held");
    }

    #[test]
    fn nothing_of_whose_login_it_is_is_shown() {
        let (mut throttle, now) = throttle(1);
        let attempt = throttle.begin(HERE, b"hidden", now).unwrap();
        let shown = format!("{attempt:?} {throttle:?}");
        assert!(
            !shown.contains("hidden") && !shown.contains(&HERE.to_string()),
            "{shown}"
        );
    }

    proptest! {
        /// Whatever comes, both tables hold the same pairs, no more than the limit, and blocks no longer than the longest.
        #[test]
        fn it_is_bounded(
            pairs in 0usize..5,
            steps in prop::collection::vec((0u8..8, 0u8..3, 0u64..4000, prop::bool::ANY), 0..200),
        ) {
            let (mut throttle, start) = throttle(pairs);
            let (mut now, mut open) = (start, Vec::new());
            for (name, outcome, seconds, settles) in steps {
                now += Duration::from_secs(seconds);
                match throttle.begin(HERE, &[name], now) {
                    Ok(attempt) => open.push(attempt),
                    Err(throttled) => prop_assert!(throttled.until > now),
                }
                if settles {
                    let outcomes = [Outcome::Accepted, Outcome::WrongCredentials, Outcome::Other];
                    for attempt in open.drain(..) {
                        let _ = throttle.settle(attempt, outcomes[usize::from(outcome)], now);
                    }
                }
                prop_assert!(throttle.len() <= pairs);
                prop_assert_eq!(throttle.by_use.len(), throttle.pairs.len());
                for (used, pair) in &throttle.by_use {
                    let entry = &throttle.pairs[pair];
                    prop_assert_eq!(entry.used, *used);
                    if let Standing::Guessing { blocked_until, next } = entry.standing {
                        prop_assert!(blocked_until <= now + limits::THROTTLE_LONGEST);
                        prop_assert!(next <= limits::THROTTLE_LONGEST);
                    }
                }
            }
        }
    }
}
