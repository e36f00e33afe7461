use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::limits;
use crate::startup::CancelKey;

/// Where a CancelRequest may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceCheck {
    /// From anywhere, as in PostgreSQL: the secret is the proof.
    #[default]
    Off,
    /// From the address of the session only. A 4-byte secret can be guessed, and this is what keeps others from trying.
    /// It also stops clients behind several addresses, and those who cancel from another machine. A session or a
    /// request without an address matches nothing.
    SameAddress,
}

/// The cancel keys of a proxy's sessions, with a handle of the caller's for each.
///
/// Keys are found by process id and then compared in constant time, all that share it. No more than a fixed number is
/// held, nor more than [`limits::CANCEL_KEYS_PER_PROCESS`] with one process id. Each entry has an epoch, which [`replace`](CancelMap::replace) moves on: whoever found an entry can ask before
/// acting whether it still is what it was ([`is_current`](CancelMap::is_current)).
///
/// ```
/// use pgturnout::cancel::{CancelMap, SourceCheck};
/// use pgturnout::startup::CancelKey;
///
/// let mut map = CancelMap::new(1_000, SourceCheck::Off);
/// let key = CancelKey::new(4711, b"abcd")?;
/// let place = map.enter(key.clone(), None, "the session's task")?;
/// let found = map.find(&key, None).expect("it was entered");
/// assert_eq!(*found.handle, "the session's task");
/// let epoch = found.epoch;
/// map.replace(place, "the task it moved to");
/// assert!(!map.is_current(epoch));
/// map.leave(place);
/// assert!(map.find(&key, None).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CancelMap<T> {
    most: usize,
    check: SourceCheck,
    entries: BTreeMap<Place, Entry<T>>,
    /// The places of the keys with each process id: sessions on two writers may have the same.
    processes: BTreeMap<i32, Vec<Place>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    key: CancelKey,
    source: Option<IpAddr>,
    epoch: u64,
    handle: T,
}

/// One entry of a [`CancelMap`]; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// One state of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    place: Place,
    number: u64,
}

/// The session that a key belongs to.
#[derive(Debug)]
pub struct Found<'a, T> {
    /// What was entered for it.
    pub handle: &'a T,
    /// As it is now.
    pub epoch: Epoch,
}

/// Why a key is not in the map. Its session runs without it, and cannot be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEntered {
    /// The map is full.
    #[error("there are {most} cancel keys already")]
    Full {
        /// How many it holds.
        most: usize,
    },
    /// So many sessions have this process id that more would make every look for one of them slow.
    #[error("there are {most} cancel keys of this process already")]
    Crowded {
        /// How many it holds.
        most: usize,
    },
    /// Another session has the same process id and the same secret: chance, where secrets have 4 bytes.
    #[error("another session has this cancel key")]
    Taken,
}

impl<T> Default for CancelMap<T> {
    /// [`limits::CANCEL_KEYS_MAX`] keys, from anywhere.
    fn default() -> CancelMap<T> {
        CancelMap::new(limits::CANCEL_KEYS_MAX, SourceCheck::Off)
    }
}

impl<T> CancelMap<T> {
    /// A map of at most `most` keys.
    #[must_use]
    pub fn new(most: usize, check: SourceCheck) -> CancelMap<T> {
        CancelMap {
            most,
            check,
            entries: BTreeMap::new(),
            processes: BTreeMap::new(),
            next: 0,
        }
    }

    /// Enters the key of a session whose client has this address.
    ///
    /// # Errors
    ///
    /// [`NotEntered`]; the map is as it was.
    pub fn enter(
        &mut self,
        key: CancelKey,
        source: Option<IpAddr>,
        handle: T,
    ) -> Result<Place, NotEntered> {
        if self.entries.len() >= self.most {
            return Err(NotEntered::Full { most: self.most });
        }
        if self.of(&key).is_some() {
            return Err(NotEntered::Taken);
        }
        let process = key.process_id();
        let most = limits::CANCEL_KEYS_PER_PROCESS;
        if self.processes.get(&process).map_or(0, Vec::len) >= most {
            return Err(NotEntered::Crowded { most });
        }
        let place = Place(self.number());
        let epoch = self.number();
        self.processes.entry(process).or_default().push(place);
        let source = source.map(|address| address.to_canonical());
        let entry = Entry {
            key,
            source,
            epoch,
            handle,
        };
        self.entries.insert(place, entry);
        Ok(place)
    }

    /// The session of this key, if the request comes from where it may.
    #[must_use]
    pub fn find(&self, key: &CancelKey, source: Option<IpAddr>) -> Option<Found<'_, T>> {
        let place = self.of(key)?;
        let entry = self.entries.get(&place)?;
        let source = source.map(|address| address.to_canonical());
        let may = match self.check {
            SourceCheck::Off => true,
            SourceCheck::SameAddress => source.is_some() && source == entry.source,
        };
        may.then_some(Found {
            handle: &entry.handle,
            epoch: Epoch {
                place,
                number: entry.epoch,
            },
        })
    }

    /// Gives an entry another handle and another epoch; returns the handle before it. `None` if the entry has left.
    pub fn replace(&mut self, place: Place, handle: T) -> Option<T> {
        let number = self.number();
        let entry = self.entries.get_mut(&place)?;
        entry.epoch = number;
        Some(std::mem::replace(&mut entry.handle, handle))
    }

    /// Whether an entry is there, and has not been replaced since.
    #[must_use]
    pub fn is_current(&self, epoch: Epoch) -> bool {
        let entry = self.entries.get(&epoch.place);
        entry.is_some_and(|entry| entry.epoch == epoch.number)
    }

    /// Removes an entry.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        let entry = self.entries.remove(&place)?;
        let process = entry.key.process_id();
        if let Some(places) = self.processes.get_mut(&process) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.processes.remove(&process);
            }
        }
        Some(entry.handle)
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The place of a key. All that share its process id are compared, so that the time tells nothing of which it was.
    fn of(&self, key: &CancelKey) -> Option<Place> {
        let mut found = None;
        for place in self.processes.get(&key.process_id())? {
            let entry = self.entries.get(place)?;
            if entry.key == *key {
                found = Some(*place);
            }
        }
        found
    }

    /// Numbers in order. Sixty-four bits of them are not used up.
    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(process_id: i32, secret: &[u8]) -> CancelKey {
        CancelKey::new(process_id, secret).unwrap()
    }

    fn map() -> CancelMap<&'static str> {
        CancelMap::default()
    }

    fn handle<'a>(map: &CancelMap<&'a str>, key: &CancelKey) -> Option<&'a str> {
        map.find(key, None).map(|found| *found.handle)
    }

    #[test]
    fn a_key_finds_its_own_session_and_no_other() {
        let mut map = map();
        let long = [7; 256];
        map.enter(key(1, b"abcd"), None, "a").unwrap();
        map.enter(key(1, b"abce"), None, "b").unwrap();
        map.enter(key(2, b"abcd"), None, "c").unwrap();
        map.enter(key(-3, &long), None, "d").unwrap();
        for (process_id, secret, found) in [
            (1, &b"abcd"[..], Some("a")),
            (1, b"abce", Some("b")),
            (2, b"abcd", Some("c")),
            (-3, &long, Some("d")),
            (1, b"abcf", None),
            (1, b"abcd\0", None),
            (3, b"abcd", None),
            (-3, &long[1..], None),
        ] {
            assert_eq!(handle(&map, &key(process_id, secret)), found);
        }
    }

    #[test]
    fn what_left_is_not_found_and_leaves_nothing() {
        let mut map = map();
        let a = map.enter(key(1, b"abcd"), None, "a").unwrap();
        let b = map.enter(key(1, b"abce"), None, "b").unwrap();
        assert_eq!((map.leave(a), map.leave(a)), (Some("a"), None));
        assert_eq!(handle(&map, &key(1, b"abcd")), None);
        assert_eq!(handle(&map, &key(1, b"abce")), Some("b"));
        assert_eq!(map.leave(b), Some("b"));
        assert!(map.is_empty() && map.processes.is_empty());
        let again = map.enter(key(1, b"abcd"), None, "c").unwrap();
        assert_ne!(again, a, "a place is never used again");
    }

    #[test]
    fn it_holds_so_many_keys_and_each_once() {
        let mut map = CancelMap::new(2, SourceCheck::Off);
        let first = map.enter(key(1, b"abcd"), None, 1).unwrap();
        let again = map.enter(key(1, b"abcd"), None, 2);
        assert_eq!(again, Err(NotEntered::Taken));
        map.enter(key(2, b"abcd"), None, 3).unwrap();
        let more = map.enter(key(3, b"abcd"), None, 4);
        assert_eq!(more, Err(NotEntered::Full { most: 2 }));
        assert_eq!((map.len(), map.processes.len()), (2, 2));
        map.leave(first);
        map.enter(key(3, b"abcd"), None, 4).unwrap();
    }

    #[test]
    fn an_epoch_ends_with_a_replacement_and_with_the_entry() {
        let mut map = map();
        let place = map.enter(key(1, b"abcd"), None, "a").unwrap();
        let epoch = map.find(&key(1, b"abcd"), None).unwrap().epoch;
        assert!(map.is_current(epoch));
        assert_eq!(map.replace(place, "b"), Some("a"));
        assert!(!map.is_current(epoch));
        let moved = map.find(&key(1, b"abcd"), None).unwrap();
        assert_eq!(*moved.handle, "b");
        let epoch = moved.epoch;
        map.leave(place);
        assert!(!map.is_current(epoch));
        assert_eq!(map.replace(place, "c"), None);
        map.enter(key(1, b"abcd"), None, "d").unwrap();
        assert!(!map.is_current(epoch), "an epoch never comes back");
    }

    #[test]
    fn a_request_may_have_to_come_from_where_the_session_does() {
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let (home, away) = (address("192.0.2.1"), address("192.0.2.2"));
        let mapped = address("::ffff:192.0.2.1");
        for (session, request, same) in [
            (home, home, true),
            (home, mapped, true),
            (mapped, home, true),
            (home, away, false),
            (home, None, false),
            (None, home, false),
            (None, None, false),
        ] {
            for (check, found) in [(SourceCheck::Off, true), (SourceCheck::SameAddress, same)] {
                let mut map = CancelMap::new(1, check);
                map.enter(key(1, b"abcd"), session, ()).unwrap();
                let is = map.find(&key(1, b"abcd"), request).is_some();
                assert_eq!(is, found, "{session:?}, {request:?}, {check:?}");
            }
        }
    }

    #[test]
    fn debug_hides_the_secrets() {
        let mut map = map();
        map.enter(key(1, b"PLAN"), None, "a").unwrap();
        let shown = format!("{map:?}");
        assert!(
            !shown.contains("PLAN") && !shown.contains("80, 76, 65"),
            "{shown}"
        );
    }
}
