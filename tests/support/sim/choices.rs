//! Every decision of a simulation, out of one string of bytes.

/// A source of decisions: the bytes that a seed stands for, which never end, or those that a fuzzer made, behind
/// which every decision is the first of its kind. Generators put the simplest choice first, so that a shorter or
/// smaller byte string is a simpler scenario.
pub(crate) struct Choices<'a> {
    source: Source<'a>,
}

enum Source<'a> {
    /// The state of a SplitMix64 generator (Steele, Lea, Flood 2014) and what is left of its last number.
    Seed {
        state: u64,
        left: u64,
        bytes: u32,
    },
    Bytes(&'a [u8]),
}

impl<'a> Choices<'a> {
    pub(crate) fn of_seed(seed: u64) -> Choices<'static> {
        Choices {
            source: Source::Seed {
                state: seed,
                left: 0,
                bytes: 0,
            },
        }
    }

    pub(crate) fn of_bytes(bytes: &'a [u8]) -> Choices<'a> {
        Choices {
            source: Source::Bytes(bytes),
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match &mut self.source {
            Source::Seed { state, left, bytes } => {
                if *bytes == 0 {
                    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = *state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    *left = z ^ (z >> 31);
                    *bytes = 8;
                }
                let byte = (*left & 0xff) as u8;
                *left >>= 8;
                *bytes -= 1;
                byte
            }
            Source::Bytes(rest) => match rest.split_first() {
                Some((first, behind)) => {
                    *rest = behind;
                    *first
                }
                None => 0,
            },
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
