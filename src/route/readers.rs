//! Which of several readers a session uses.

use std::time::Duration;

/// Whether a reader takes sessions, as far as the caller knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It does, or nothing else is known.
    #[default]
    Up,
    /// It is not to be used: it cannot be had, or somebody has taken it out.
    Down,
}

/// What the caller knows of a reader. What is not known excludes nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderFacts {
    /// Whether it takes sessions.
    pub health: Health,
    /// Requests that it has not answered, of all sessions.
    pub outstanding: u32,
    /// How long it takes to answer, of late.
    pub latency: Option<Duration>,
    /// How long ago the primary was where it is now.
    pub lag: Option<Duration>,
    /// How many bytes of the primary's log it has not replayed.
    pub lag_bytes: Option<u64>,
}

/// Why a reader is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// It is [down](Health::Down), or has failed a moment ago.
    Down,
    /// It lags further behind than is allowed.
    Lagging,
}

impl std::fmt::Display for Excluded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Excluded::Down => "is down",
            Excluded::Lagging => "lags",
        })
    }
}

/// How a session's reader is chosen among those that are not excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// By the session's seed: each as often as the others.
    #[default]
    Seeded,
    /// The one with the fewest outstanding requests; of several, by the seed.
    LeastOutstanding,
    /// By the seed, each as often as its latency is short: one that takes half as long is chosen twice as often. One whose
    /// latency is not known counts as the fastest that is.
    LatencyWeighted,
    /// The same one for all sessions of a user in a database, so that its cache knows what they read. When a reader is
    /// excluded or added only those sessions change theirs that have to (rendezvous hashing).
    Sticky,
}

/// Which readers may be used, and which of them is.
///
/// ```
/// use pgturnout::route::{Balance, Excluded, ReaderChoice, ReaderFacts};
///
/// let choice = ReaderChoice {
///     balance: Balance::LeastOutstanding,
///     max_lag_bytes: Some(1 << 20),
///     ..ReaderChoice::default()
/// };
/// let reader = |outstanding, lag| ReaderFacts {
///     outstanding,
///     lag_bytes: Some(lag),
///     ..ReaderFacts::default()
/// };
/// let readers = [reader(7, 0), reader(0, 5 << 20), reader(3, 512)];
/// assert_eq!(choice.choose(&readers, 0, b""), Ok(2));
/// assert_eq!(choice.judge(&readers[1]), Err(Excluded::Lagging));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderChoice {
    /// How it is chosen.
    pub balance: Balance,
    /// How far it may lag in time, if it is known.
    pub max_lag: Option<Duration>,
    /// How far it may lag in bytes of the primary's log, if it is known.
    pub max_lag_bytes: Option<u64>,
}

impl ReaderChoice {
    /// Whether a reader may be used.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, reader: &ReaderFacts) -> Result<(), Excluded> {
        if reader.health == Health::Down {
            return Err(Excluded::Down);
        }
        let late = matches!((reader.lag, self.max_lag), (Some(lag), Some(max)) if lag > max);
        let behind =
            matches!((reader.lag_bytes, self.max_lag_bytes), (Some(lag), Some(max)) if lag > max);
        match late || behind {
            true => Err(Excluded::Lagging),
            false => Ok(()),
        }
    }

    /// Chooses one, by its place. The same arguments give the same answer. `draw` is 64 random bits; `key` is who the
    /// session is, for [`Balance::Sticky`].
    ///
    /// # Errors
    /// Why none may be used; that one lags comes before that others are down.
    pub fn choose(
        &self,
        readers: &[ReaderFacts],
        draw: u64,
        key: &[u8],
    ) -> Result<usize, Excluded> {
        let fit = || {
            let numbered = readers.iter().enumerate();
            numbered.filter(|(_, reader)| self.judge(reader).is_ok())
        };
        let chosen = match self.balance {
            Balance::Seeded => pick(fit().map(|(at, _)| (at, 1)), draw),
            Balance::LeastOutstanding => {
                let least = fit().map(|(_, reader)| reader.outstanding).min();
                let ties = fit().filter(|(_, reader)| Some(reader.outstanding) == least);
                pick(ties.map(|(at, _)| (at, 1)), draw)
            }
            Balance::LatencyWeighted => {
                let fastest = fit().filter_map(|(_, reader)| reader.latency).min();
                let weighed = fit().map(|(at, reader)| (at, weight(reader.latency.or(fastest))));
                pick(weighed, draw)
            }
            Balance::Sticky => {
                let scored = fit().map(|(at, _)| (score(key, at), at));
                scored.max().map(|(_, at)| at)
            }
        };
        chosen.ok_or_else(|| {
            let lags = |reader: &ReaderFacts| self.judge(reader) == Err(Excluded::Lagging);
            match readers.iter().any(lags) {
                true => Excluded::Lagging,
                false => Excluded::Down,
            }
        })
    }
}

/// The shares of a reader with this latency: the inverse, from a microsecond to a quarter of an hour.
fn weight(latency: Option<Duration>) -> u64 {
    const WHOLE: u64 = 1 << 40;
    let micros = latency.map_or(1, |latency| latency.as_micros());
    let micros = u64::try_from(micros).unwrap_or(u64::MAX).clamp(1, 1 << 30);
    WHOLE.checked_div(micros).unwrap_or(WHOLE)
}

/// One of those that have shares, each as often as it has shares.
fn pick(shares: impl Iterator<Item = (usize, u64)> + Clone, draw: u64) -> Option<usize> {
    let whole = shares.clone().fold(0_u128, |sum, (_, share)| {
        sum.saturating_add(u128::from(share))
    });
    // The draw as a fraction of 2^64; the whole is far below 2^64.
    let mut at = u128::from(draw).saturating_mul(whole) >> 64;
    for (place, share) in shares {
        match at.checked_sub(u128::from(share)) {
            Some(left) => at = left,
            None => return Some(place),
        }
    }
    None
}

/// How much a key and a place belong together.
fn score(key: &[u8], place: usize) -> u64 {
    // FNV-1a, then SplitMix64, with the place in between.
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let place = u64::try_from(place).unwrap_or(u64::MAX);
    mix(hash ^ mix(place))
}

/// A bijection under which neighbours have nothing in common (SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(balance: Balance) -> ReaderChoice {
        ReaderChoice {
            balance,
            ..ReaderChoice::default()
        }
    }

    /// How often each of three is chosen in 3,000 draws.
    fn shares(choice: &ReaderChoice, readers: &[ReaderFacts]) -> Vec<usize> {
        let mut counts = vec![0; readers.len()];
        for draw in 0..3_000 {
            if let Ok(at) = choice.choose(readers, mix(draw), b"") {
                counts[at] += 1;
            }
        }
        counts
    }

    fn taking(millis: u64) -> ReaderFacts {
        ReaderFacts {
            latency: Some(Duration::from_millis(millis)),
            ..ReaderFacts::default()
        }
    }

    fn down() -> ReaderFacts {
        ReaderFacts {
            health: Health::Down,
            ..ReaderFacts::default()
        }
    }

    #[test]
    fn seeds_share_out_evenly_among_those_that_are_up() {
        let up = ReaderFacts::default();
        for count in shares(&by(Balance::Seeded), &[up; 3]) {
            assert!((900..1_100).contains(&count), "{count}");
        }
        let counts = shares(&by(Balance::Seeded), &[up, down(), up]);
        assert_eq!(counts[1], 0);
        assert!((1_400..1_600).contains(&counts[0]), "{counts:?}");
        // The extremes of a draw are in range.
        let (first, last) = (
            by(Balance::Seeded).choose(&[up; 3], 0, b""),
            by(Balance::Seeded).choose(&[up; 3], u64::MAX, b""),
        );
        assert_eq!((first, last), (Ok(0), Ok(2)));
    }

    #[test]
    fn the_fewest_outstanding_requests_count_and_ties_are_drawn() {
        let with = |outstanding| ReaderFacts {
            outstanding,
            ..ReaderFacts::default()
        };
        let choice = by(Balance::LeastOutstanding);
        assert_eq!(shares(&choice, &[with(2), with(1), with(9)]), [0, 3_000, 0]);
        let tied = shares(&choice, &[with(1), with(5), with(1)]);
        assert_eq!(tied[1], 0);
        assert!((1_400..1_600).contains(&tied[0]), "{tied:?}");
    }

    #[test]
    fn half_the_latency_is_twice_the_share() {
        let choice = by(Balance::LatencyWeighted);
        let counts = shares(&choice, &[taking(10), taking(20), taking(20)]);
        assert!((1_400..1_600).contains(&counts[0]), "{counts:?}");
        assert!((650..850).contains(&counts[1]), "{counts:?}");
        // One that nobody has measured is tried like the fastest.
        let counts = shares(&choice, &[ReaderFacts::default(), taking(1), taking(100)]);
        assert!((1_350..1_600).contains(&counts[0]), "{counts:?}");
        for count in shares(&choice, &[ReaderFacts::default(); 3]) {
            assert!((900..1_100).contains(&count), "{count}");
        }
        // Latencies beyond any sense count as something.
        let endless = taking(u64::MAX);
        assert_eq!(shares(&choice, &[endless]), [3_000]);
        assert_eq!(shares(&choice, &[taking(0)]), [3_000]);
    }

    #[test]
    fn keys_stick_and_only_those_move_whose_reader_is_gone() {
        let choice = by(Balance::Sticky);
        let mut readers = [ReaderFacts::default(); 3];
        let keys: Vec<[u8; 2]> = (0..900_u16).map(u16::to_be_bytes).collect();
        let of = |readers: &[ReaderFacts]| -> Vec<usize> {
            let chosen = keys.iter().map(|key| choice.choose(readers, 0, key));
            chosen.map(Result::unwrap).collect()
        };
        let before = of(&readers);
        assert_eq!(choice.choose(&readers, 99, &keys[7]), Ok(before[7]));
        for at in 0..3 {
            let count = before.iter().filter(|chosen| **chosen == at).count();
            assert!((230..370).contains(&count), "{count}");
        }
        readers[1] = down();
        for (was, is) in before.iter().zip(of(&readers)) {
            assert!(is != 1 && (*was == 1 || *was == is));
        }
    }

    #[test]
    fn what_lags_further_than_allowed_is_excluded_and_the_unknown_is_not() {
        let choice = ReaderChoice {
            max_lag: Some(Duration::from_millis(100)),
            max_lag_bytes: Some(1_000),
            ..ReaderChoice::default()
        };
        let lag = |millis, bytes| ReaderFacts {
            lag: Some(Duration::from_millis(millis)),
            lag_bytes: Some(bytes),
            ..ReaderFacts::default()
        };
        assert_eq!(choice.judge(&lag(100, 1_000)), Ok(()));
        assert_eq!(choice.judge(&lag(101, 0)), Err(Excluded::Lagging));
        assert_eq!(choice.judge(&lag(0, 1_001)), Err(Excluded::Lagging));
        assert_eq!(choice.judge(&ReaderFacts::default()), Ok(()));
        assert_eq!(
            ReaderChoice::default().judge(&lag(u64::MAX, u64::MAX)),
            Ok(())
        );
        let all = [lag(101, 0), down()];
        assert_eq!(choice.choose(&all, 0, b""), Err(Excluded::Lagging));
        assert_eq!(choice.choose(&all[1..], 0, b""), Err(Excluded::Down));
        assert_eq!(choice.choose(&[], 0, b""), Err(Excluded::Down));
    }
}
