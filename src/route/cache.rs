//! Texts already scanned.

use std::sync::Arc;

use super::encoding::LexState;
use super::intent::Intent;
use super::rules::Rules;
use super::scan::scan;
use crate::limits;

/// How many entries share a slot of the table. The oldest of them makes room, so two texts in turn never evict each
/// other, and a lookup compares at most four hashes.
const WAYS: usize = 4;

/// How much a [`Cache`] may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// How many texts, rounded up to four times a power of two. Zero keeps none.
    pub texts: usize,
    /// How many bytes: texts, intents and bookkeeping together.
    pub bytes: usize,
    /// The longest text that is kept.
    pub text_len: usize,
}

impl Default for CacheLimits {
    /// [`limits::CACHED_TEXTS_MAX`], [`limits::CACHED_BYTES_MAX`], [`limits::CACHED_TEXT_MAX`].
    fn default() -> CacheLimits {
        CacheLimits {
            texts: limits::CACHED_TEXTS_MAX,
            bytes: limits::CACHED_BYTES_MAX,
            text_len: limits::CACHED_TEXT_MAX,
        }
    }
}

/// Remembers the intents of texts, so that a repeated one costs a hash and a comparison.
///
/// Whole texts are compared, and the lex state is part of the key: a hash collision can cost a scan, never give a
/// wrong answer. Same seed, same calls, same content. Eviction is by age within a slot, and round the table when the
/// bytes run out.
///
/// ```
/// use pgturnout::route::{Cache, CacheLimits, LexState, Rules};
/// let mut cache = Cache::new(Rules::default().into(), CacheLimits::default(), 0x5eed);
/// let lex = LexState::defaults();
/// assert!(cache.get(b"select 1", &lex).class.is_read());
/// assert!(cache.get(b"select 1", &lex).class.is_read());
/// assert_eq!((cache.hits(), cache.misses()), (1, 1));
/// ```
#[derive(Debug)]
pub struct Cache {
    rules: Arc<Rules>,
    limits: CacheLimits,
    seed: u64,
    slots: Vec<[Option<Entry>; WAYS]>,
    bytes: usize,
    /// The slot from which the next entry goes when the bytes run out.
    hand: usize,
    hits: u64,
    misses: u64,
}

struct Entry {
    hash: u64,
    lex: LexState,
    text: Box<[u8]>,
    intent: Arc<Intent>,
    cost: usize,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.text.len())
    }
}

impl Cache {
    /// An empty cache. The seed keys the hash: give each process its own.
    #[must_use]
    pub fn new(rules: Arc<Rules>, limits: CacheLimits, seed: u64) -> Cache {
        let slots = match limits.texts.div_ceil(WAYS) {
            0 => 0,
            slots => slots.checked_next_power_of_two().unwrap_or(slots),
        };
        Cache {
            rules,
            limits,
            seed,
            slots: (0..slots).map(|_| [const { None }; WAYS]).collect(),
            bytes: 0,
            hand: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// What the text asks for.
    #[must_use]
    pub fn get(&mut self, sql: &[u8], lex: &LexState) -> Arc<Intent> {
        if sql.len() > self.limits.text_len || self.slots.is_empty() {
            return self.scan(sql, lex);
        }
        let hash = hash(self.seed, sql);
        if let Some(intent) = self.find(hash, sql, lex) {
            self.hits = self.hits.saturating_add(1);
            return intent;
        }
        let intent = self.scan(sql, lex);
        let cost = sql
            .len()
            .saturating_add(intent.size())
            .saturating_add(size_of::<Entry>());
        let entry = Entry {
            hash,
            lex: *lex,
            text: sql.into(),
            intent: Arc::clone(&intent),
            cost,
        };
        self.insert(entry);
        intent
    }

    /// The rules that the texts are scanned by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Scans by other rules from now on; what was remembered is forgotten.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        self.slots.fill_with(Default::default);
        self.bytes = 0;
    }

    /// How many texts were found.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// How many were scanned.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// How many bytes are kept, table included; never above [`memory_bound`](Cache::memory_bound).
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.saturating_add(self.table())
    }

    /// The most that is ever kept.
    #[must_use]
    pub fn memory_bound(&self) -> usize {
        self.limits.bytes.saturating_add(self.table())
    }

    fn table(&self) -> usize {
        self.slots
            .capacity()
            .saturating_mul(size_of::<[Option<Entry>; WAYS]>())
    }

    fn scan(&mut self, sql: &[u8], lex: &LexState) -> Arc<Intent> {
        self.misses = self.misses.saturating_add(1);
        Arc::new(scan(sql, lex, &self.rules))
    }

    /// The slot of a hash. Its high bits are the best mixed.
    fn slot(&mut self, hash: u64) -> Option<&mut [Option<Entry>; WAYS]> {
        let mask = u64::try_from(self.slots.len()).ok()?.checked_sub(1)?;
        let at = usize::try_from(hash.rotate_left(32) & mask).ok()?;
        self.slots.get_mut(at)
    }

    /// Finds a text, and makes it the newest of its slot.
    fn find(&mut self, hash: u64, sql: &[u8], lex: &LexState) -> Option<Arc<Intent>> {
        let slot = self.slot(hash)?;
        let same = |entry: &Entry| entry.hash == hash && entry.lex == *lex && *entry.text == *sql;
        let at = slot
            .iter()
            .position(|entry| entry.as_ref().is_some_and(same))?;
        slot.get_mut(..=at)?.rotate_right(1);
        let [first, ..] = slot;
        first.as_ref().map(|entry| Arc::clone(&entry.intent))
    }

    /// Keeps an entry as the newest of its slot, if it fits at all.
    fn insert(&mut self, entry: Entry) {
        if entry.cost > self.limits.bytes {
            return;
        }
        let cost = entry.cost;
        let Some(slot) = self.slot(entry.hash) else {
            return;
        };
        slot.rotate_right(1);
        let [first, ..] = slot;
        let evicted = first.replace(entry);
        let freed = evicted.map_or(0, |entry| entry.cost);
        self.bytes = self.bytes.saturating_sub(freed).saturating_add(cost);
        self.make_room();
    }

    /// Drops the oldest entry of one slot after the other until the bytes are within the limit.
    fn make_room(&mut self) {
        // Each pass over the table drops at least one entry of every slot that has one.
        for _ in 0..self.slots.len().saturating_mul(WAYS) {
            if self.bytes <= self.limits.bytes {
                return;
            }
            let oldest = self
                .slots
                .get_mut(self.hand)
                .and_then(|slot| slot.iter_mut().rfind(|way| way.is_some()));
            let freed = oldest.and_then(Option::take).map_or(0, |entry| entry.cost);
            self.bytes = self.bytes.saturating_sub(freed);
            self.hand = self.hand.saturating_add(1);
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
        }
    }
}

/// The first digits of the golden ratio and of e, made odd: constants without structure.
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;
const E: u64 = 0xb7e1_5162_8aed_2a6b;

/// A keyed hash over words of eight bytes: multiply to 128 bits and fold the halves together. It need not withstand
/// an attacker who can read it, only one who cannot: the worst a collision does is a scan.
fn hash(seed: u64, text: &[u8]) -> u64 {
    let (mut state, rest) = blocks(seed, text);
    let mut words = rest.chunks_exact(8);
    for word in &mut words {
        let word = <[u8; 8]>::try_from(word).map_or(0, u64::from_le_bytes);
        state = fold(state ^ word, E ^ seed.rotate_left(17));
    }
    let mut last = [0_u8; 8];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    state = fold(state ^ u64::from_le_bytes(last), E);
    fold(state ^ u64::try_from(text.len()).unwrap_or(u64::MAX), PHI)
}

/// Bytes that are hashed side by side: a product waits for nothing but the one before it in its lane, and long texts would
/// spend their time waiting.
const BLOCK: usize = 64;

/// Hashes a text as far as it has whole blocks. The rest of it is left.
fn blocks(seed: u64, text: &[u8]) -> (u64, &[u8]) {
    let mut lanes = [seed ^ PHI, seed ^ E, !seed, seed.rotate_left(32)];
    let key = E ^ seed.rotate_left(17);
    let mut blocks = text.chunks_exact(BLOCK);
    for block in &mut blocks {
        let Ok(block) = <&[u8; BLOCK]>::try_from(block) else {
            break;
        };
        let word = |at: usize| {
            let word = block.get(at..).and_then(<[u8]>::first_chunk);
            word.map_or(0, |word| u64::from_le_bytes(*word))
        };
        let [a, b, c, d] = lanes;
        lanes = [
            fold(a ^ word(0), key ^ word(8)),
            fold(b ^ word(16), key ^ word(24)),
            fold(c ^ word(32), key ^ word(40)),
            fold(d ^ word(48), key ^ word(56)),
        ];
    }
    let rest = blocks.remainder();
    let state = match rest.len() == text.len() {
        true => seed ^ PHI,
        false => {
            let [a, b, c, d] = lanes;
            fold(fold(a, b ^ PHI) ^ c, d ^ E)
        }
    };
    (state, rest)
}

/// The 128-bit product of two words, its halves added without carry.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(product.wrapping_shr(64)).unwrap_or(0);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Class, Encoding, Known};

    fn cache(texts: usize, bytes: usize) -> Cache {
        Cache::new(
            Arc::new(Rules::default()),
            CacheLimits {
                texts,
                bytes,
                text_len: 64,
            },
            7,
        )
    }

    #[test]
    fn every_byte_of_a_text_and_its_length_count_in_the_hash() {
        let mut seen = std::collections::BTreeSet::new();
        for length in [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200] {
            let mut text = vec![b'x'; length];
            assert!(seen.insert(hash(7, &text)), "{length}");
            for at in 0..length {
                text[at] = b'y';
                assert!(seen.insert(hash(7, &text)), "{length}, {at}");
                text[at] = b'x';
            }
            for at in 0..length / 8 {
                // Words that change places.
                text[at * 8] = b'z';
                assert!(seen.insert(hash(7, &text)), "{length}, word {at}");
                text[at * 8] = b'x';
            }
            assert_ne!(hash(7, &text), hash(8, &text), "{length}");
        }
    }

    #[test]
    fn lex_state_is_part_of_the_key() {
        let mut cache = cache(16, 1 << 16);
        let off = LexState {
            standard_conforming_strings: Known::Is(false),
            ..LexState::defaults()
        };
        let text = br"select '\' , ' ; insert into w values(1) --'";
        assert_eq!(cache.get(text, &LexState::defaults()).class, Class::Read);
        assert_eq!(cache.get(text, &off).class, Class::Write);
        assert_eq!(cache.get(text, &LexState::defaults()).class, Class::Read);
        assert_eq!((cache.hits(), cache.misses()), (1, 2));
        let other = LexState {
            encoding: Encoding::Safe,
            ..LexState::defaults()
        };
        let _ = cache.get(text, &other);
        assert_eq!(cache.misses(), 3);
    }

    #[test]
    fn whole_text_is_compared_even_when_hashes_collide() {
        let mut cache = cache(4, 1 << 16);
        let lex = LexState::defaults();
        let _ = cache.get(b"select 1", &lex);
        // Forge a collision: the entry keeps its text and claims the other text's hash.
        let forged = hash(7, b"delete from t");
        for entry in cache.slots.iter_mut().flatten().flatten() {
            entry.hash = forged;
        }
        assert_eq!(cache.get(b"delete from t", &lex).class, Class::Write);
    }

    #[test]
    fn a_hit_keeps_a_text_young() {
        let mut cache = cache(WAYS, 1 << 16);
        let lex = LexState::defaults();
        let text = |n: u8| [b"select ", [b'0' + n].as_slice()].concat();
        for n in 0..4 {
            let _ = cache.get(&text(n), &lex);
        }
        let _ = cache.get(&text(0), &lex);
        let _ = cache.get(&text(4), &lex);
        assert_eq!((cache.hits(), cache.misses()), (1, 5));
        let _ = cache.get(&text(0), &lex);
        assert_eq!(
            cache.hits(),
            2,
            "the oldest was evicted, not the one just used"
        );
        let _ = cache.get(&text(1), &lex);
        assert_eq!(cache.hits(), 2, "the oldest was evicted");
    }

    #[test]
    fn long_texts_are_scanned_and_not_kept() {
        let mut cache = cache(16, 1 << 16);
        let lex = LexState::defaults();
        let long = [b"select 1 --".as_slice(), &[b'x'; 64]].concat();
        for _ in 0..2 {
            assert_eq!(cache.get(&long, &lex).class, Class::Read);
        }
        assert_eq!((cache.hits(), cache.misses(), cache.bytes), (0, 2, 0));
        let mut none = Cache::new(
            Arc::new(Rules::default()),
            CacheLimits {
                texts: 0,
                ..CacheLimits::default()
            },
            7,
        );
        assert_eq!(none.get(b"select 1", &lex).class, Class::Read);
    }

    #[test]
    fn bytes_are_bounded_and_counted_exactly() {
        let mut cache = cache(256, 4_000);
        let lex = LexState::defaults();
        for n in 0..2_000_u32 {
            let text = format!("set a{n} = 1; set b{n} = 2");
            let _ = cache.get(text.as_bytes(), &lex);
            let sum: usize = cache
                .slots
                .iter()
                .flatten()
                .flatten()
                .map(|entry| entry.cost)
                .sum();
            assert_eq!(sum, cache.bytes);
            assert!(cache.memory() <= cache.memory_bound());
            assert!(sum <= 4_000 && sum > 0);
        }
    }

    #[test]
    fn same_seed_and_calls_give_the_same_content_and_another_seed_another_table() {
        let content = |seed| {
            let limits = CacheLimits {
                texts: 64,
                bytes: 8_000,
                text_len: 64,
            };
            let mut cache = Cache::new(Arc::new(Rules::default()), limits, seed);
            for n in 0..500_u32 {
                let _ = cache.get(
                    format!("select {}", n * n % 97).as_bytes(),
                    &LexState::defaults(),
                );
            }
            let texts: Vec<_> = cache
                .slots
                .iter()
                .flatten()
                .flatten()
                .map(|e| e.text.clone())
                .collect();
            (texts, cache.hits())
        };
        assert_eq!(content(1), content(1));
        assert_ne!(content(1).0, content(2).0);
    }
}
