//! The journal of settings: what the client established with SET and RESET, by PostgreSQL's transaction rules.
//!
//! A change takes effect for the session when its transaction commits; a rollback forgets it, and one to a savepoint
//! forgets what was changed since. The journal keeps, per setting, the statement that set it last, in order, so that an
//! upstream that is behind is brought up by running the statements that it has not run yet. `RESET ALL` and `DISCARD
//! ALL` supersede everything before them and stay in the journal themselves. A change that cannot be repeated is in it
//! too: while nothing supersedes it, no other upstream can be brought up.
//!
//! A custom setting is known to a server from the first statement that names it, whatever becomes of that: no rollback and no
//! `DISCARD ALL` takes it back, and its value is the empty string then where it was none (`add_placeholder_variable` of `guc.c`).

use super::Pin;
use super::savepoints::Savepoints;

/// What a committed change was about: a later one about the same replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// One setting, by its folded name.
    Setting(Box<[u8]>),
    /// The session's user: it also ends a SET ROLE.
    SessionAuthorization,
    /// The current role.
    Role,
    /// Every setting: RESET ALL.
    AllSettings,
    /// The whole session: DISCARD ALL.
    Session,
}

impl Topic {
    /// Whether a change about `self` makes an earlier one about `other` moot.
    fn supersedes(&self, other: &Topic) -> bool {
        match self {
            Topic::Setting(name) => !is_cumulative(name) && self == other,
            Topic::Role => self == other,
            Topic::SessionAuthorization => {
                matches!(other, Topic::SessionAuthorization | Topic::Role)
            }
            Topic::AllSettings => matches!(other, Topic::Setting(_) | Topic::AllSettings),
            Topic::Session => true,
        }
    }

    /// Whether a change about it leaves little else to remember.
    fn makes_room(&self) -> bool {
        match self {
            Topic::AllSettings | Topic::Session => true,
            Topic::Setting(_) | Topic::Role | Topic::SessionAuthorization => false,
        }
    }
}

/// Whether a SET of it may leave part of its old value in place: `SET DateStyle TO ymd` keeps the output style that an
/// earlier one chose.
fn is_cumulative(name: &[u8]) -> bool {
    name == b"datestyle"
}

/// One statement that changes the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub topic: Topic,
    /// How another upstream gets it.
    pub repeat: Repeat,
}

/// How a change is repeated. `Debug` shows the length of its text.
#[derive(Clone, PartialEq, Eq)]
pub enum Repeat {
    /// By this text, which means the same whatever the lexical settings are.
    Text(Box<[u8]>),
    /// Not at all, for this reason.
    Not(Pin),
}

impl Repeat {
    /// The text; empty if there is none.
    pub fn text(&self) -> &[u8] {
        match self {
            Repeat::Text(text) => text,
            Repeat::Not(_) => &[],
        }
    }
}

impl std::fmt::Debug for Repeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Repeat::Text(text) => write!(f, "Text(<{} bytes>)", text.len()),
            Repeat::Not(pin) => f.debug_tuple("Not").field(pin).finish(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    stamp: u64,
    change: Change,
}

/// A custom setting, and what has a server know it.
#[derive(Debug)]
struct Custom {
    stamp: u64,
    name: Box<[u8]>,
    text: Box<[u8]>,
}

/// The journal holds more than it may, or cannot tell any more what the session's settings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalDoubt {
    /// Too many settings or too many bytes.
    #[error("too many settings to remember")]
    Full,
    /// Settings were changed under more savepoints than are remembered.
    #[error("settings were changed under too many savepoints")]
    Savepoints,
}

/// The bounds of a [`Journal`].
#[derive(Clone, Copy, Debug)]
pub struct JournalLimits {
    /// How many changes are kept, and how many custom settings are known.
    pub entries: usize,
    /// How many bytes of statement text are kept.
    pub bytes: usize,
    /// How many savepoints of one transaction are kept.
    pub savepoints: usize,
}

/// The settings that the client established.
#[derive(Debug)]
pub struct Journal {
    entries: Vec<Entry>,
    /// What the transaction that runs has changed.
    staged: Vec<Change>,
    /// The custom settings that were named, oldest first.
    customs: Vec<Custom>,
    /// Its savepoints, each with how many changes came before it.
    savepoints: Savepoints,
    stamp: u64,
    limits: JournalLimits,
}

impl Journal {
    /// An empty journal: every upstream is up to date.
    pub fn new(limits: JournalLimits) -> Self {
        Journal {
            entries: Vec::new(),
            staged: Vec::new(),
            customs: Vec::new(),
            savepoints: Savepoints::new(limits.savepoints),
            stamp: 0,
            limits,
        }
    }

    /// The newest stamp; an upstream whose stamp equals it is up to date.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// How many bytes of statement text and names are kept.
    pub fn retained(&self) -> usize {
        let entries = self.entries.iter().map(|entry| &entry.change);
        let changes = entries.chain(&self.staged).map(cost);
        let known = |custom: &Custom| custom.name.len().saturating_add(custom.text.len());
        changes
            .chain(self.customs.iter().map(known))
            .fold(0, usize::saturating_add)
    }

    /// The texts that an upstream with this stamp has not run, oldest first, each with its stamp. With an
    /// [`obstacle`](Journal::obstacle) they are not all there is to it.
    pub fn behind(&self, stamp: u64) -> Vec<(u64, &[u8])> {
        let entries = self.entries.iter().filter(|entry| entry.stamp > stamp);
        // What sets one has a server know it.
        let sets = |name: &[u8]| {
            let mut newer = entries.clone();
            newer.any(|entry| matches!(&entry.change.topic, Topic::Setting(set) if **set == *name))
        };
        let customs = self.customs.iter();
        let unknown = customs.filter(|custom| custom.stamp > stamp && !sets(&custom.name));
        let mut texts: Vec<_> = unknown
            .map(|custom| (custom.stamp, &*custom.text))
            .chain(
                entries
                    .clone()
                    .map(|entry| (entry.stamp, entry.change.repeat.text())),
            )
            .collect();
        texts.sort_by_key(|(stamp, _)| *stamp);
        texts
    }

    /// The stamp of the last change that left nothing of what was before it; 0 if there is none. An upstream where nothing has
    /// run may begin behind it.
    pub fn begins(&self) -> u64 {
        // It has superseded what was in front of it.
        let first = self.entries.first();
        let whole = first.filter(|entry| entry.change.topic == Topic::Session);
        whole.map_or(0, |entry| entry.stamp)
    }

    /// Whether what an upstream with this stamp has not run may change the value of a setting, by its folded name.
    pub fn may_change(&self, name: &[u8], stamp: u64) -> bool {
        let mut behind = self.entries.iter().filter(|entry| entry.stamp > stamp);
        behind.any(|entry| match &entry.change.topic {
            Topic::Setting(changed) => **changed == *name,
            Topic::AllSettings | Topic::Session => true,
            Topic::SessionAuthorization | Topic::Role => false,
        })
    }

    /// Why no other upstream can be brought up, if one cannot: the oldest committed change that cannot be repeated and
    /// that nothing has superseded.
    pub fn obstacle(&self) -> Option<Pin> {
        self.entries
            .iter()
            .find_map(|entry| match entry.change.repeat {
                Repeat::Text(_) => None,
                Repeat::Not(pin) => Some(pin),
            })
    }

    /// The names of the custom settings (`app.user`) that were named, of which a server shows no list.
    pub fn custom_names(&self) -> impl Iterator<Item = &[u8]> {
        let changed = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.change.topic {
                Topic::Setting(name) => name.contains(&b'.').then_some(&**name),
                Topic::SessionAuthorization | Topic::Role | Topic::AllSettings | Topic::Session => {
                    None
                }
            });
        let others = changed.filter(|name| !self.is_known(name));
        self.customs
            .iter()
            .map(|custom| &*custom.name)
            .chain(others)
    }

    fn is_known(&self, name: &[u8]) -> bool {
        self.customs.iter().any(|custom| *custom.name == *name)
    }

    /// The newest committed change about a topic, unless something later superseded it.
    pub fn get(&self, topic: &Topic) -> Option<&Change> {
        self.entries
            .iter()
            .rev()
            .map(|entry| &entry.change)
            .find(|change| change.topic == *topic)
    }

    /// A statement that names a custom setting succeeded: by this text another server knows it as well, and has no value for it.
    ///
    /// # Errors
    /// [`JournalDoubt`] when it cannot be kept; the journal is not to be relied on from then on.
    pub fn know(&mut self, name: &[u8], text: &[u8]) -> Result<(), JournalDoubt> {
        if self.is_known(name) {
            return Ok(());
        }
        let bytes = name.len().saturating_add(text.len());
        if self.is_full(self.customs.len(), bytes) {
            return Err(JournalDoubt::Full);
        }
        self.stamp = self.stamp.saturating_add(1);
        self.customs.push(Custom {
            stamp: self.stamp,
            name: name.into(),
            text: text.into(),
        });
        Ok(())
    }

    /// Whether there is no room for one more of so many bytes, beside so many of its kind.
    fn is_full(&self, held: usize, bytes: usize) -> bool {
        held >= self.limits.entries || self.retained().saturating_add(bytes) > self.limits.bytes
    }

    /// A statement that changes the session succeeded in the transaction that runs.
    ///
    /// # Errors
    /// [`JournalDoubt`] when it cannot be kept; the journal is not to be relied on from then on.
    pub fn stage(&mut self, change: Change) -> Result<(), JournalDoubt> {
        if self.savepoints.are_lost() {
            return Err(JournalDoubt::Savepoints);
        }
        let mut place = 0_usize;
        let since = self.savepoints.newest_mark();
        self.staged.retain(|earlier| {
            let stays = place < since || !change.topic.supersedes(&earlier.topic);
            place = place.saturating_add(1);
            stays
        });
        // What makes room when it is committed has room: a few bytes beyond the bounds, once a savepoint.
        let held = self.entries.len().saturating_add(self.staged.len());
        if self.is_full(held, cost(&change)) && !change.topic.makes_room() {
            return Err(JournalDoubt::Full);
        }
        self.staged.push(change);
        Ok(())
    }

    /// `SAVEPOINT name` succeeded.
    ///
    /// # Errors
    /// [`JournalDoubt`] when what is staged already may be taken back unseen.
    pub fn savepoint(&mut self, name: &[u8]) -> Result<(), JournalDoubt> {
        self.savepoints.set(name, self.staged.len());
        self.check_savepoints()
    }

    /// Whether a savepoint is open in the transaction that runs; `None` if there were more of them than are remembered.
    pub(crate) fn has_savepoints(&self) -> Option<bool> {
        self.savepoints.are_set()
    }

    /// `ROLLBACK TO name` succeeded: what was staged since that savepoint never happened.
    ///
    /// # Errors
    /// [`JournalDoubt`] when there is no telling what was taken back.
    pub fn rollback_to(&mut self, name: &[u8]) -> Result<(), JournalDoubt> {
        if let Some(mark) = self.savepoints.roll_back_to(name) {
            self.staged.truncate(mark);
        }
        self.check_savepoints()
    }

    /// `RELEASE name` succeeded: that savepoint and those set behind it are gone, what was staged stays.
    ///
    /// # Errors
    /// [`JournalDoubt`] when what is staged already may be taken back unseen.
    pub fn release(&mut self, name: &[u8]) -> Result<(), JournalDoubt> {
        self.savepoints.release(name);
        self.check_savepoints()
    }

    fn check_savepoints(&self) -> Result<(), JournalDoubt> {
        if self.savepoints.are_lost() && !self.staged.is_empty() {
            return Err(JournalDoubt::Savepoints);
        }
        Ok(())
    }

    /// The transaction that ran is committed.
    pub fn commit(&mut self) {
        self.savepoints.clear();
        for change in std::mem::take(&mut self.staged) {
            self.keep(change);
        }
    }

    /// The transaction that ran is rolled back: nothing staged in it ever happened.
    pub fn rollback(&mut self) {
        self.savepoints.clear();
        self.staged.clear();
    }

    fn keep(&mut self, change: Change) {
        if self.get(&change.topic) == Some(&change) && !change.topic.supersedes(&change.topic) {
            // The same words again change nothing, and would fill the journal.
            return;
        }
        self.entries
            .retain(|entry| !change.topic.supersedes(&entry.change.topic));
        self.stamp = self.stamp.saturating_add(1);
        self.entries.push(Entry {
            stamp: self.stamp,
            change,
        });
    }
}

fn cost(change: &Change) -> usize {
    let name = match &change.topic {
        Topic::Setting(name) => name.len(),
        Topic::SessionAuthorization | Topic::Role | Topic::AllSettings | Topic::Session => 0,
    };
    name.saturating_add(change.repeat.text().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        Journal::new(JournalLimits {
            entries: 4,
            bytes: 100,
            savepoints: 2,
        })
    }

    fn set(name: &str, text: &str) -> Change {
        Change {
            topic: Topic::Setting(name.as_bytes().into()),
            repeat: Repeat::Text(text.as_bytes().into()),
        }
    }

    fn about(topic: Topic, text: &str) -> Change {
        Change {
            topic,
            repeat: Repeat::Text(text.as_bytes().into()),
        }
    }

    fn texts(journal: &Journal, stamp: u64) -> Vec<String> {
        journal
            .behind(stamp)
            .into_iter()
            .map(|(_, text)| text.escape_ascii().to_string())
            .collect()
    }

    fn committed(journal: &mut Journal, change: Change) {
        journal.stage(change).unwrap();
        journal.commit();
    }

    #[test]
    fn a_change_counts_when_its_transaction_commits() {
        let mut journal = journal();
        journal.stage(set("a", "set a=1")).unwrap();
        assert_eq!(texts(&journal, 0).len(), 0);
        journal.rollback();
        journal.commit();
        assert_eq!(texts(&journal, 0).len(), 0);
        committed(&mut journal, set("a", "set a=2"));
        assert_eq!(texts(&journal, 0), ["set a=2"]);
    }

    #[test]
    fn the_last_change_of_a_setting_replaces_the_others_and_moves_to_the_end() {
        let mut journal = journal();
        committed(&mut journal, set("a", "set a=1"));
        committed(&mut journal, set("b", "set b=1"));
        let between = journal.stamp();
        committed(&mut journal, set("a", "set a=2"));
        assert_eq!(texts(&journal, 0), ["set b=1", "set a=2"]);
        assert_eq!(texts(&journal, between), ["set a=2"]);
        assert_eq!(texts(&journal, journal.stamp()).len(), 0);
        let topic = Topic::Setting(b"a".as_slice().into());
        assert_eq!(journal.get(&topic).unwrap().repeat.text(), b"set a=2");
    }

    #[test]
    fn what_a_set_may_leave_in_place_is_kept() {
        let mut journal = journal();
        for text in [
            "set datestyle to iso",
            "set datestyle to ymd",
            "set datestyle to ymd",
        ] {
            committed(&mut journal, set("datestyle", text));
        }
        assert_eq!(
            texts(&journal, 0),
            ["set datestyle to iso", "set datestyle to ymd"]
        );
        committed(&mut journal, about(Topic::AllSettings, "reset all"));
        assert_eq!(texts(&journal, 0), ["reset all"]);
    }

    #[test]
    fn wider_changes_replace_what_they_undo() {
        let start = |journal: &mut Journal| {
            committed(journal, set("a", "set a=1"));
            committed(journal, about(Topic::Role, "set role r"));
        };
        for (change, left) in [
            (
                about(Topic::SessionAuthorization, "auth"),
                vec!["set a=1", "auth"],
            ),
            (about(Topic::AllSettings, "all"), vec!["set role r", "all"]),
            (about(Topic::Session, "discard"), vec!["discard"]),
        ] {
            let mut journal = journal();
            start(&mut journal);
            committed(&mut journal, change);
            assert_eq!(texts(&journal, 0), left);
        }
    }

    #[test]
    fn what_may_have_changed_a_setting_since() {
        for (change, may) in [
            (set("a", "reset a"), true),
            (set("b", "set b=1"), false),
            (about(Topic::Role, "set role r"), false),
            (about(Topic::SessionAuthorization, "auth"), false),
            (about(Topic::AllSettings, "reset all"), true),
            (about(Topic::Session, "discard all"), true),
        ] {
            let mut journal = journal();
            committed(&mut journal, set("a", "set a=1"));
            let before = journal.stamp();
            assert!(journal.may_change(b"a", 0) && !journal.may_change(b"a", before));
            let is_whole = change.topic == Topic::Session;
            committed(&mut journal, change);
            assert_eq!(journal.may_change(b"a", before), may);
            assert!(!journal.may_change(b"a", journal.stamp()));
            let begins = if is_whole { journal.stamp() } else { 0 };
            assert_eq!(journal.begins(), begins);
        }
    }

    #[test]
    fn a_custom_setting_is_known_for_good_and_within_bounds() {
        let mut journal = journal();
        journal.know(b"m.a", b"know a").unwrap();
        journal.stage(set("m.a", "set a")).unwrap();
        journal.rollback();
        assert_eq!(texts(&journal, 0), ["know a"]);
        let known = journal.stamp();
        journal.know(b"m.a", b"know a").unwrap();
        assert_eq!(journal.stamp(), known);
        committed(&mut journal, set("m.a", "set a"));
        assert_eq!(texts(&journal, 0), ["set a"]);
        assert_eq!(texts(&journal, known), ["set a"]);
        committed(&mut journal, about(Topic::Session, "discard"));
        assert_eq!(texts(&journal, 0), ["know a", "discard"]);
        assert_eq!(texts(&journal, known), ["discard"]);
        assert_eq!(journal.custom_names().collect::<Vec<_>>(), [b"m.a"]);
        for name in [b"m.b", b"m.c", b"m.d"] {
            journal.know(name, b"know").unwrap();
        }
        assert_eq!(journal.know(b"m.e", b"know"), Err(JournalDoubt::Full));
        assert_eq!(journal.know(b"m.d", b"know"), Ok(()));
        assert_eq!(journal.retained(), "discard".len() + 4 * 7 + 2);
    }

    #[test]
    fn a_savepoint_takes_back_what_was_staged_since() {
        let mut journal = journal();
        journal.stage(set("a", "set a=1")).unwrap();
        journal.savepoint(b"s").unwrap();
        journal.stage(set("a", "set a=2")).unwrap();
        journal.stage(set("b", "set b=2")).unwrap();
        journal.rollback_to(b"s").unwrap();
        // It is still there.
        journal.stage(set("b", "set b=3")).unwrap();
        journal.rollback_to(b"s").unwrap();
        journal.stage(set("c", "set c=4")).unwrap();
        journal.release(b"s").unwrap();
        journal.commit();
        assert_eq!(texts(&journal, 0), ["set a=1", "set c=4"]);
        // The next transaction has none.
        assert_eq!(journal.rollback_to(b"s"), Ok(()));
        assert_eq!(
            journal.stage(set("a", "set a=5")),
            Err(JournalDoubt::Savepoints)
        );
    }

    #[test]
    fn what_a_savepoint_may_bring_back_is_kept_under_it() {
        let mut journal = journal();
        journal.stage(set("a", "set a=1")).unwrap();
        journal.stage(set("a", "set a=2")).unwrap();
        journal.savepoint(b"s").unwrap();
        journal.stage(set("a", "set a=3")).unwrap();
        journal.stage(set("a", "set a=4")).unwrap();
        assert_eq!(journal.staged.len(), 2);
        journal.rollback_to(b"s").unwrap();
        journal.commit();
        assert_eq!(texts(&journal, 0), ["set a=2"]);
    }

    /// With more savepoints than are kept, only a transaction that changes no setting is certain.
    #[test]
    fn too_many_savepoints_are_doubt_where_settings_are_changed() {
        let mut journal = journal();
        for name in [b"s1", b"s2"] {
            journal.savepoint(name).unwrap();
        }
        assert_eq!(journal.stage(set("a", "set a=1")), Ok(()));
        assert_eq!(journal.savepoint(b"s3"), Err(JournalDoubt::Savepoints));
        journal.rollback();
        for name in [b"s1", b"s2", b"s3"] {
            assert_eq!(journal.savepoint(name), Ok(()));
        }
        assert_eq!(
            journal.stage(set("a", "set a=1")),
            Err(JournalDoubt::Savepoints)
        );
        journal.commit();
        assert_eq!(journal.stage(set("a", "set a=1")), Ok(()));
    }

    #[test]
    fn what_cannot_be_repeated_is_an_obstacle_until_it_is_superseded() {
        let not = |name: &str| Change {
            topic: Topic::Setting(name.as_bytes().into()),
            repeat: Repeat::Not(Pin::Setting),
        };
        for (end, left) in [
            (set("a", "reset a"), None),
            (set("b", "reset b"), Some(Pin::Setting)),
            (about(Topic::AllSettings, "reset all"), None),
            (about(Topic::Session, "discard all"), None),
        ] {
            let mut journal = journal();
            journal.stage(not("a")).unwrap();
            assert_eq!(journal.obstacle(), None);
            journal.rollback();
            journal.commit();
            assert_eq!(journal.obstacle(), None);
            committed(&mut journal, not("a"));
            assert_eq!(journal.obstacle(), Some(Pin::Setting));
            journal.stage(end.clone()).unwrap();
            journal.rollback();
            assert_eq!(journal.obstacle(), Some(Pin::Setting));
            committed(&mut journal, end);
            assert_eq!(journal.obstacle(), left);
        }
    }

    #[test]
    fn the_journal_is_bounded_by_entries_and_bytes() {
        let mut journal = journal();
        for name in ["a", "b", "c", "d"] {
            committed(&mut journal, set(name, "x"));
        }
        assert_eq!(journal.stage(set("e", "x")), Err(JournalDoubt::Full));
        // What takes everything back finds room, and makes some.
        let everything = |topic, text: &str| Change {
            topic,
            repeat: Repeat::Text(text.as_bytes().into()),
        };
        committed(&mut journal, everything(Topic::AllSettings, "RESET ALL"));
        committed(&mut journal, set("e", "x"));
        assert_eq!(journal.entries.len(), 2);
        for name in ["a", "b"] {
            committed(&mut journal, set(name, "x"));
        }
        committed(&mut journal, everything(Topic::Session, "DISCARD ALL"));
        assert_eq!(journal.entries.len(), 1);
        let mut journal = Journal::new(JournalLimits {
            entries: 4,
            bytes: 100,
            savepoints: 2,
        });
        assert_eq!(
            journal.stage(set("a", &"x".repeat(100))),
            Err(JournalDoubt::Full)
        );
        assert_eq!(journal.retained(), 0);
    }
}
