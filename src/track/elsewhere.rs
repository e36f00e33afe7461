//! What each upstream has of the prepared statements, and lacks, and what it can be given.
//!
//! A statement stays as it was read when it was prepared. Prepared anew it is read by the settings of that moment, so one
//! whose text depends on them has to be on the writer before they change; behind that it runs where it is.

use std::sync::Arc;

use super::prepared::{ABSENT, Definition, Entry, Statements};
use super::reading::Reading;

impl<M: Clone> Statements<M> {
    /// Names, at most `most` of them, that an upstream has and the client does not have any more.
    pub fn stale(&self, leg: usize, most: usize) -> Vec<Box<[u8]>> {
        if self.stale.get(leg).is_none_or(|count| *count == 0) {
            return Vec::new();
        }
        let names = self
            .entries
            .iter()
            .filter(|(name, entry)| entry.is_stale(name, leg));
        names.map(|(name, _)| name.clone()).take(most).collect()
    }

    /// Names that the client has and an upstream does not.
    pub fn missing(&self, leg: usize) -> Vec<Box<[u8]>> {
        let lacks = |entry: &Entry<M>| {
            let held = entry.held(leg);
            let current = entry.current.as_ref();
            current.is_some_and(|current| current.version != held && self.repeats(current))
        };
        let names = self.entries.iter().filter(|(_, entry)| lacks(entry));
        names.map(|(name, _)| name.clone()).collect()
    }

    /// What an upstream has as the client has it, and can be had elsewhere too, by name.
    pub fn present(&self, leg: usize) -> impl Iterator<Item = (&[u8], &Arc<Definition<M>>)> {
        self.entries.iter().filter_map(move |(name, entry)| {
            let current = entry.current.as_ref()?;
            let held = entry.held(leg);
            (current.version == held && current.is_repeatable()).then_some((&**name, current))
        })
    }

    /// The named statements that an upstream has as the client has them, those that cannot be made again included.
    pub fn named(&self, leg: usize) -> impl Iterator<Item = &[u8]> {
        let entries = self.entries.iter().filter(|(name, _)| !name.is_empty());
        entries.filter_map(move |(name, entry)| {
            let current = entry.current.as_ref()?;
            (current.version == entry.held(leg)).then_some(&**name)
        })
    }

    /// Whether a definition can be prepared anew, and means the same then.
    pub(super) fn repeats(&self, known: &Definition<M>) -> bool {
        known.is_repeatable() && !self.is_in_other_reading(known)
    }

    fn is_in_other_reading(&self, known: &Definition<M>) -> bool {
        let changed = |reading: &Reading| known.version <= self.other_reading.of(*reading);
        let mut all = Reading::ALL.iter().filter(|reading| changed(reading));
        all.any(|reading| !known.reads_alike(*reading))
    }

    /// Texts are read in another way from here on: older ones may mean something else now.
    pub fn reading_changed(&mut self, reading: Reading) {
        self.other_reading.behind(reading, self.next_version);
    }

    /// The same from here on at any time, of which nothing tells.
    pub fn reading_is_unknown(&mut self, reading: Reading) {
        self.other_reading.behind(reading, u64::MAX);
    }

    /// What an upstream has as the client has it, and may mean something else by now.
    pub fn in_other_reading(&self, leg: usize) -> impl Iterator<Item = &[u8]> {
        let present = self.present(leg);
        present.filter_map(|(name, known)| self.is_in_other_reading(known).then_some(name))
    }

    /// Names of what an upstream lacks, and could not be given any more if texts were read in another way.
    pub fn missing_by_reading(&self, leg: usize, reading: Reading) -> Vec<Box<[u8]>> {
        let mut names = self.missing(leg);
        names.retain(|name| {
            let known = self
                .entries
                .get(name)
                .and_then(|entry| entry.current.as_ref());
            known.is_some_and(|known| !known.reads_alike(reading))
        });
        names
    }

    /// What the client has, wherever it is, the unnamed statement included.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Definition<M>>> {
        let entries = self.entries.values();
        let current = entries.filter_map(|entry| entry.current.as_ref());
        current.filter(|definition| definition.is_repeatable())
    }

    /// Writes the Parse messages of what the client has anew, for servers that know the types of parameters by other OIDs.
    /// `anew` makes a body of the same length, or none if it is to stay. Upstreams that have a statement have it still.
    pub fn rewrite(&mut self, anew: impl Fn(&[u8]) -> Option<Box<[u8]>>) {
        for entry in self.entries.values_mut() {
            let Some(known) = &entry.current else {
                continue;
            };
            if let Some(body) = anew(&known.body).filter(|body| body.len() == known.body.len()) {
                entry.current = Some(Arc::new(Definition {
                    body,
                    query: known.query.clone(),
                    meta: known.meta.clone(),
                    text: known.text,
                    version: known.version,
                }));
            }
        }
    }

    /// Names that an upstream has in another meaning than they have for the client, if they have one.
    pub fn outdated(&self, leg: usize) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(move |(name, entry)| {
            let held = entry.held(leg);
            let current = entry.current.as_ref().map(|current| current.version);
            (held != ABSENT && current != Some(held)).then_some(&**name)
        })
    }
}
