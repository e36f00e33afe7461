//! Every decision of a simulation, out of one string of bytes.

/// A source of decisions: bytes, whoever made them, and behind the last of them every decision is the first of its kind.
/// Generators put the simplest choice first, so that a shorter or smaller byte string is a simpler scenario.
pub(crate) struct Choices<'a> {
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Choices<'a> {
    pub(crate) fn of_bytes(bytes: &'a [u8]) -> Choices<'a> {
        Choices {
            rest: bytes,
            taken: 0,
        }
    }

    /// How many bytes were asked for, be they there or not.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.taken += 1;
        match self.rest.split_first() {
            Some((first, behind)) => {
                self.rest = behind;
                *first
            }
            None => 0,
        }
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 | 1 => 0,
            2..=256 => usize::from(self.byte()) % bound,
            _ => (usize::from(self.byte()) << 8 | usize::from(self.byte())) % bound,
        }
    }

    /// True in so many of a hundred cases. Behind the last byte it is false.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) >= 100 - share
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One of these by weight.
    pub(crate) fn weighted<T: Copy>(&mut self, of: &[(usize, T)]) -> T {
        let total = of.iter().map(|(weight, _)| weight).sum();
        let mut at = self.below(total);
        for (weight, what) in of {
            if at < *weight {
                return *what;
            }
            at -= weight;
        }
        of[0].1
    }
}

/// Bytes without end that look random, the same for the same seed: a SplitMix64 generator (Steele, Lea, Flood 2014).
pub(crate) fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    let numbers = std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    numbers.flat_map(u64::to_le_bytes)
}
