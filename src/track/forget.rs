//! Which prepared statements are forgotten when there are too many, and how they come back.
//!
//! A text can be forgotten while the writer has the statement, which keeps it as long as the session lives: it runs there
//! from then on, unless its text is read back. A reader may lose its statements at any time, so what only a reader has is
//! prepared on the writer first.

use std::sync::Arc;

use super::prepared::{ABSENT, Change, Definition, Entry, LEGS, Statements, Text};

/// What a statement adds to the counts of one upstream.
pub(super) struct Counts {
    pub(super) stale: usize,
    pub(super) held: usize,
    pub(super) spare: usize,
}

/// Counts of something on each upstream.
pub(super) type PerLeg = [usize; LEGS];

pub(super) fn raise(counts: &mut PerLeg, leg: usize, by: usize) {
    if let Some(count) = counts.get_mut(leg) {
        *count = count.saturating_add(by);
    }
}

pub(super) fn lower(counts: &mut PerLeg, leg: usize, by: usize) {
    if let Some(count) = counts.get_mut(leg) {
        *count = count.saturating_sub(by);
    }
}

/// How much of what may be kept is given up at a time, as a part of it: finding what was used least is a look at every
/// statement.
const PART: usize = 8;

impl<M> Definition<M> {
    /// Whether the text is there and may be forgotten.
    pub(super) fn is_spare(&self) -> bool {
        self.text == Text::Spare && !self.body.is_empty()
    }

    /// Whether it was forgotten.
    pub fn is_forgotten(&self) -> bool {
        self.text == Text::Forgotten
    }
}

impl<M> Entry<M> {
    /// What it adds to the counts of an upstream.
    pub(super) fn counts(&self, name: &[u8], leg: usize) -> Counts {
        let named = !name.is_empty() && self.held(leg) != ABSENT;
        let current = self.current.as_ref().filter(|_| self.is_at(leg));
        let spare = current.filter(|current| current.is_spare());
        Counts {
            stale: usize::from(self.is_stale(name, leg)),
            held: usize::from(named),
            spare: spare.map_or(0, |current| current.len()),
        }
    }
}

impl<M: Clone> Statements<M> {
    /// One more use.
    pub(super) fn tick(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    /// The client has named a statement.
    pub fn used(&mut self, name: &[u8]) {
        let now = self.tick();
        if let Some(entry) = self.entries.get_mut(name) {
            entry.used = now;
        }
    }

    /// Whether a message that names a statement can be answered by an upstream: it has the statement, or can be given it, or
    /// nobody has it.
    pub fn can_run(&self, leg: usize, name: &[u8]) -> bool {
        let meaning = self.meaning(name).definition;
        let Some(known) = meaning else {
            return true;
        };
        let entry = self.entries.get(name);
        self.repeats(known) || entry.is_some_and(|entry| entry.held(leg) == known.version)
    }

    /// Forgets the texts used least of what an upstream has that keeps its statements, until one more definition of this many
    /// bytes has room behind others of so many. Whether it has.
    pub fn make_room(&mut self, leg: usize, bytes: usize, before: usize) -> bool {
        let all = self.bytes.saturating_add(before).saturating_add(bytes);
        let lacking = all.saturating_sub(self.limits.bytes);
        let spare = self.spare.get(leg).copied().unwrap_or(0);
        if bytes > self.limits.body || lacking > spare {
            return false;
        }
        if lacking > 0 {
            let part = self.limits.bytes.checked_div(PART).unwrap_or(0);
            self.forget_least_used(leg, lacking.max(part));
        }
        let all = self.bytes.saturating_add(before).saturating_add(bytes);
        all <= self.limits.bytes
    }

    /// What is used from here on is needed until this is said again, and not forgotten.
    pub fn needs_from_here(&mut self) {
        self.needed = self.clock;
    }

    fn forget_least_used(&mut self, leg: usize, bytes: usize) {
        let needed = self.needed;
        let spare = |entry: &Entry<M>| {
            let current = entry.current.as_ref().filter(|_| entry.is_at(leg))?;
            let spare = current.is_spare() && entry.used <= needed;
            spare.then_some((entry.used, current.len()))
        };
        let mut uses: Vec<(u64, usize)> = self.entries.values().filter_map(spare).collect();
        uses.sort_unstable();
        let mut freed: usize = 0;
        let mut newest = None;
        for (used, len) in uses {
            if freed >= bytes {
                break;
            }
            freed = freed.saturating_add(len);
            newest = Some(used);
        }
        let Some(newest) = newest else {
            return;
        };
        let old = |entry: &Entry<M>| spare(entry).is_some_and(|(used, _)| used <= newest);
        let names = self.entries.iter().filter(|(_, entry)| old(entry));
        let names: Vec<Box<[u8]>> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.change_text(name, &[], Text::Forgotten);
        }
    }

    /// Gives the client's statement of a name another text, of which nothing that was sent depends.
    fn change_text(&mut self, name: Box<[u8]>, body: &[u8], text: Text) {
        self.update(name, |entry| {
            if let Some(known) = &entry.current {
                entry.current = Some(Arc::new(Definition {
                    body: body.into(),
                    query: Box::default(),
                    meta: known.meta.clone(),
                    text,
                    version: known.version,
                }));
            }
        });
    }

    /// Makes a definition whose text is not remembered: it runs where it is sent.
    pub fn define_forgotten(&mut self, meta: M) -> Arc<Definition<M>> {
        self.definition(&[], &[], Text::Forgotten, meta)
    }

    /// Names used least, at most `most`, whose texts could be forgotten if this upstream had the statements.
    pub fn spare_elsewhere(&self, leg: usize, most: usize) -> Vec<Box<[u8]>> {
        let lacks = |entry: &Entry<M>| {
            let current = entry.current.as_ref();
            let spare = current.is_some_and(|current| current.is_spare() && self.repeats(current));
            spare && !entry.is_at(leg)
        };
        self.least_used(lacks, most)
    }

    /// Whether more is kept than leaves room for a part of it, with less than that to be forgotten.
    pub fn is_crowded(&self, leg: usize) -> bool {
        let part = self.limits.bytes.checked_div(PART).unwrap_or(0);
        let spare = self.spare.get(leg).copied().unwrap_or(0);
        self.bytes.saturating_add(part) > self.limits.bytes && spare < part
    }

    /// Names used least of those that a reader has, if it has too many of them, and at most `at_once`.
    pub fn beyond(&self, leg: usize, at_once: usize) -> Vec<Box<[u8]>> {
        let held = self.held.get(leg).copied().unwrap_or(0);
        let most = self.limits.on_reader.max(1);
        if held <= most {
            return Vec::new();
        }
        let part = most.checked_div(PART).unwrap_or(0);
        let less = most.saturating_sub(part.min(at_once));
        let count = held.saturating_sub(less).min(at_once);
        let there = |entry: &Entry<M>| {
            let current = entry.current.as_ref();
            let elsewhere = || (0..LEGS).any(|other| other != leg && entry.is_at(other));
            let spared = current.is_some_and(|current| self.repeats(current) || elsewhere());
            spared && entry.held(leg) != ABSENT
        };
        let mut names = self.least_used(there, count);
        names.retain(|name| self.pending.concerning(name).is_none());
        names
    }

    /// Of the named statements with something in common, those used least.
    fn least_used(&self, has: impl Fn(&Entry<M>) -> bool, most: usize) -> Vec<Box<[u8]>> {
        let named = self.entries.iter().filter(|(name, _)| !name.is_empty());
        let mut found: Vec<(u64, &[u8])> = named
            .filter(|(_, entry)| has(entry))
            .map(|(name, entry)| (entry.used, &**name))
            .collect();
        found.sort_unstable();
        let names = found.into_iter().take(most);
        names.map(|(_, name)| name.into()).collect()
    }

    /// The client has under this name what it had before, whatever upstreams have.
    pub fn put_back(&mut self, name: Box<[u8]>, meaning: Option<Arc<Definition<M>>>) {
        self.update(name, |entry| entry.current = meaning);
    }

    /// An upstream that was to have a statement has refused it: its text stays.
    pub(super) fn keep_refused(&mut self, change: &Change<M>) {
        if let Change::Restore { name, .. } = change {
            let known = self.entries.get(name);
            let known = known.and_then(|entry| entry.current.as_ref());
            if let Some(body) = known
                .filter(|known| known.is_spare())
                .map(|known| known.body.clone())
            {
                self.change_text(name.clone(), &body, Text::Kept);
            }
        }
    }
}
