//! The journal of settings: what the client established with SET and RESET, by PostgreSQL's transaction rules.
//!
//! A change takes effect for the session when its transaction commits; a rollback forgets it. The journal keeps, per
//! setting, the statement that set it last, in order, so that an upstream that is behind is brought up by running the
//! statements that it has not run yet. `RESET ALL` and `DISCARD ALL` supersede everything before them and stay in the
//! journal themselves.

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
}

/// Whether a SET of it may leave part of its old value in place: `SET DateStyle TO ymd` keeps the output style that an
/// earlier one chose.
fn is_cumulative(name: &[u8]) -> bool {
    name == b"datestyle"
}

/// One statement that changes the session, as the client sent it. `Debug` shows the length of its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub topic: Topic,
    /// The statement's text, which means the same whatever the lexical settings are.
    pub text: Box<[u8]>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("topic", &self.topic)
            .field("text", &format_args!("<{} bytes>", self.text.len()))
            .finish()
    }
}

#[derive(Debug)]
struct Entry {
    stamp: u64,
    change: Change,
}

/// How the transaction that runs now treats changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// No savepoint was set: commit takes all, rollback none.
    Whole,
    /// A savepoint was set while changes were or could be staged: what a rollback takes back is not known here.
    Nested,
}

/// The journal holds more than it may, or cannot tell any more what the session's settings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalDoubt {
    /// Too many settings or too many bytes.
    #[error("too many settings to remember")]
    Full,
    /// Settings were changed under savepoints.
    #[error("settings were changed under a savepoint")]
    Savepoint,
}

/// The bounds of a [`Journal`].
#[derive(Clone, Copy, Debug)]
pub struct JournalLimits {
    /// How many changes are kept.
    pub entries: usize,
    /// How many bytes of statement text are kept.
    pub bytes: usize,
}

/// The settings that the client established.
#[derive(Debug)]
pub struct Journal {
    entries: Vec<Entry>,
    staged: Vec<Change>,
    scope: Scope,
    stamp: u64,
    limits: JournalLimits,
}

impl Journal {
    /// An empty journal: every upstream is up to date.
    pub fn new(limits: JournalLimits) -> Self {
        Journal {
            entries: Vec::new(),
            staged: Vec::new(),
            scope: Scope::Whole,
            stamp: 0,
            limits,
        }
    }

    /// The newest stamp; an upstream whose stamp equals it is up to date.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// How many bytes of statement text are kept.
    pub fn retained(&self) -> usize {
        let entries = self.entries.iter().map(|entry| &entry.change);
        entries
            .chain(&self.staged)
            .map(cost)
            .fold(0, usize::saturating_add)
    }

    /// The statements that an upstream with this stamp has not run, oldest first, each with its stamp.
    pub fn behind(&self, stamp: u64) -> impl Iterator<Item = (u64, &Change)> {
        self.entries
            .iter()
            .filter(move |entry| entry.stamp > stamp)
            .map(|entry| (entry.stamp, &entry.change))
    }

    /// The newest committed change about a topic, unless something later superseded it.
    pub fn get(&self, topic: &Topic) -> Option<&Change> {
        self.entries
            .iter()
            .rev()
            .map(|entry| &entry.change)
            .find(|change| change.topic == *topic)
    }

    /// A statement that changes the session succeeded in the transaction that runs.
    ///
    /// # Errors
    /// [`JournalDoubt`] when it cannot be kept; the journal is not to be relied on from then on.
    pub fn stage(&mut self, change: Change) -> Result<(), JournalDoubt> {
        if self.scope == Scope::Nested {
            return Err(JournalDoubt::Savepoint);
        }
        let held = self.entries.len().saturating_add(self.staged.len());
        let bytes = self.retained().saturating_add(cost(&change));
        if held >= self.limits.entries || bytes > self.limits.bytes {
            return Err(JournalDoubt::Full);
        }
        self.staged.push(change);
        Ok(())
    }

    /// A savepoint was set, rolled back to or released.
    pub fn nested(&mut self) {
        self.scope = Scope::Nested;
    }

    /// The transaction that ran is committed. What was staged before its first savepoint survives whatever was
    /// rolled back later, and nothing is staged after one.
    pub fn commit(&mut self) {
        self.scope = Scope::Whole;
        for change in std::mem::take(&mut self.staged) {
            self.keep(change);
        }
    }

    /// The transaction that ran is rolled back: nothing staged in it ever happened.
    pub fn rollback(&mut self) {
        self.scope = Scope::Whole;
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
    name.saturating_add(change.text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        Journal::new(JournalLimits {
            entries: 4,
            bytes: 100,
        })
    }

    fn set(name: &str, text: &str) -> Change {
        Change {
            topic: Topic::Setting(name.as_bytes().into()),
            text: text.as_bytes().into(),
        }
    }

    fn about(topic: Topic, text: &str) -> Change {
        Change {
            topic,
            text: text.as_bytes().into(),
        }
    }

    fn texts(journal: &Journal, stamp: u64) -> Vec<String> {
        journal
            .behind(stamp)
            .map(|(_, change)| change.text.escape_ascii().to_string())
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
        assert_eq!(&*journal.get(&topic).unwrap().text, b"set a=2");
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
    fn a_change_under_a_savepoint_is_doubt() {
        let mut journal = journal();
        journal.stage(set("a", "set a=1")).unwrap();
        journal.nested();
        assert_eq!(
            journal.stage(set("a", "set a=2")),
            Err(JournalDoubt::Savepoint)
        );
        journal.commit();
        assert_eq!(texts(&journal, 0), ["set a=1"]);
        assert_eq!(journal.stage(set("a", "set a=3")), Ok(()));
    }

    #[test]
    fn the_journal_is_bounded_by_entries_and_bytes() {
        let mut journal = journal();
        for name in ["a", "b", "c", "d"] {
            committed(&mut journal, set(name, "x"));
        }
        assert_eq!(journal.stage(set("e", "x")), Err(JournalDoubt::Full));
        let mut journal = Journal::new(JournalLimits {
            entries: 4,
            bytes: 100,
        });
        assert_eq!(
            journal.stage(set("a", &"x".repeat(100))),
            Err(JournalDoubt::Full)
        );
        assert_eq!(journal.retained(), 0);
    }
}
