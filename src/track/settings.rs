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
            Topic::Setting(_) | Topic::Role => self == other,
            Topic::SessionAuthorization => {
                matches!(other, Topic::SessionAuthorization | Topic::Role)
            }
            Topic::AllSettings => matches!(other, Topic::Setting(_) | Topic::AllSettings),
            Topic::Session => true,
        }
    }
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
