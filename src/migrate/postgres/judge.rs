//! What a probe's findings mean: what cannot be moved, what differs between the servers, what differs after a restore.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::settings::{is_placeholder, must_agree};
use super::{Found, TypeMap};
use crate::track::Lsn;
use crate::track::prepared::key;
use crate::wire::Printable;

/// What becomes of LISTEN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listening {
    /// A session that listens stays.
    #[default]
    Refuse,
    /// It listens again on the new server. What is notified between the old server's last word and the cutover may come
    /// from neither: a notification goes to those who listen when it is committed.
    Move,
}

/// What becomes of `currval` and `lastval`: a session's own values, which no server tells and none can be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sequences {
    /// They are lost: behind the move they fail (`55000`) until the session has called `nextval` again, as in a new session. The
    /// default: most sessions that call `nextval` use what it returns, and nothing but DISCARD would ever let them move.
    #[default]
    Lose,
    /// A session that has called `nextval` or `setval` in its own words stays, until DISCARD SEQUENCES or DISCARD ALL. Those that a
    /// column's default, a trigger or a function of the user's calls are not seen.
    Refuse,
}

/// Something in a session that cannot be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Advisory locks are held.
    AdvisoryLocks {
        /// How many are seen; each may be held several times.
        count: u64,
    },
    /// Temporary objects exist.
    TemporaryObjects {
        /// How many.
        count: u64,
    },
    /// Cursors are open beyond their transaction.
    Cursors {
        /// How many.
        count: u64,
    },
    /// The session listens, and [`Listening::Refuse`] is in force.
    Listens {
        /// On how many channels.
        channels: usize,
    },
    /// A statement was made by PREPARE, and the journal has no text that would make the same again: it stood beside others in
    /// its Query, was run in a function, or means what settings make of it.
    PreparedInSql {
        /// Its name.
        name: Box<[u8]>,
    },
    /// The server has a statement that the journal does not know.
    UnknownStatement {
        /// Its name.
        name: Box<[u8]>,
    },
    /// `currval` and `lastval` have values, and [`Sequences::Refuse`] is in force.
    SequenceValues,
    /// The journal has a statement that the server does not know: a function has dropped it, for instance.
    LostStatement {
        /// Its name.
        name: Box<[u8]>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::AdvisoryLocks { count } => write!(f, "advisory locks are held: {count}"),
            Refusal::TemporaryObjects { count } => write!(f, "temporary objects exist: {count}"),
            Refusal::Cursors { count } => write!(f, "cursors WITH HOLD are open: {count}"),
            Refusal::Listens { channels } => {
                write!(f, "the session listens on channels: {channels}")
            }
            Refusal::PreparedInSql { name } => {
                write!(f, "prepared in SQL: {}", Printable(name))
            }
            Refusal::UnknownStatement { name } => {
                write!(
                    f,
                    "a prepared statement that nobody remembers: {}",
                    Printable(name)
                )
            }
            Refusal::SequenceValues => f.write_str("currval and lastval would be lost"),
            Refusal::LostStatement { name } => {
                write!(
                    f,
                    "the server lacks the prepared statement {}",
                    Printable(name)
                )
            }
        }
    }
}

/// How a journal remembers a prepared statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// By its Parse message.
    Parse,
    /// By the text of its PREPARE.
    Query,
    /// By its name alone.
    Name,
}

/// Everything that keeps a session where it is, given the names of the prepared statements in the journal. The unnamed one
/// counts for nothing: a server does not list it.
#[must_use]
pub fn refusals<'n>(
    found: &Found,
    journal: impl IntoIterator<Item = (&'n [u8], Remembered)>,
    listening: Listening,
) -> Vec<Refusal> {
    let journal: BTreeMap<&[u8], Remembered> = journal
        .into_iter()
        .map(|(name, way)| (key(name), way))
        .collect();
    let mut refusals = Vec::new();
    let counts = [
        (
            found.advisory_locks,
            Refusal::AdvisoryLocks {
                count: found.advisory_locks,
            },
        ),
        (
            found.temporary_objects,
            Refusal::TemporaryObjects {
                count: found.temporary_objects,
            },
        ),
        (
            found.cursors,
            Refusal::Cursors {
                count: found.cursors,
            },
        ),
    ];
    refusals.extend(
        counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(_, why)| why),
    );
    let channels = found.channels.len();
    if channels > 0 && listening == Listening::Refuse {
        refusals.push(Refusal::Listens { channels });
    }
    for (name, prepared) in &found.statements {
        let name = name.clone();
        match (prepared.from_sql, journal.get(&*name)) {
            (true, Some(Remembered::Query)) | (false, Some(Remembered::Parse)) => {}
            (true, Some(Remembered::Parse | Remembered::Name) | None) => {
                refusals.push(Refusal::PreparedInSql { name });
            }
            (false, Some(Remembered::Query | Remembered::Name) | None) => {
                refusals.push(Refusal::UnknownStatement { name });
            }
        }
    }
    let lost = journal
        .into_keys()
        .filter(|name| !name.is_empty() && !found.statements.contains_key(*name));
    refusals.extend(lost.map(|name| Refusal::LostStatement {
        name: Box::from(name),
    }));
    refusals
}

/// How the new server differs from the old one, whatever a session has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Surrounding {
    /// The new server is a standby, and the old one is not: nothing can be written there.
    Standby,
    /// The new server is a standby that has not replayed all that the old one had written, by so many bytes.
    Behind {
        /// How many bytes of log.
        bytes: u64,
    },
    /// The new server writes an older timeline than the old one, of the same cluster: it was left behind when another was
    /// promoted, and lacks what was written since.
    OlderTimeline {
        /// That of the old server.
        source: i32,
        /// That of the new server.
        target: i32,
    },
    /// The databases have different names.
    Database,
    /// The databases have different encodings: some texts may not be representable.
    Encoding,
    /// The databases sort or fold texts by different rules.
    Locale,
    /// The new server is of an older major version: a setting, a function or a piece of syntax may be missing.
    OlderMajor {
        /// That of the old server.
        source: i32,
        /// That of the new server.
        target: i32,
    },
    /// The new server is of a newer major version. A rolling upgrade is this.
    NewerMajor {
        /// That of the old server.
        source: i32,
        /// That of the new server.
        target: i32,
    },
    /// The new server is another cluster, or that is not known: OIDs and log positions cannot be compared.
    OtherCluster,
}

impl Surrounding {
    /// Whether a session should stay for it, unless its operator knows better.
    #[must_use]
    pub fn refuses(&self) -> bool {
        match self {
            Surrounding::Standby
            | Surrounding::Behind { .. }
            | Surrounding::OlderTimeline { .. }
            | Surrounding::Database
            | Surrounding::Encoding
            | Surrounding::Locale
            | Surrounding::OlderMajor { .. } => true,
            Surrounding::NewerMajor { .. } | Surrounding::OtherCluster => false,
        }
    }
}

impl fmt::Display for Surrounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Surrounding::Standby => f.write_str("the new server is a standby"),
            Surrounding::Behind { bytes } => {
                write!(f, "the new server is {bytes} bytes of log behind")
            }
            Surrounding::OlderTimeline { source, target } => {
                write!(
                    f,
                    "the new server is on timeline {target}, the old one on {source}"
                )
            }
            Surrounding::Database => f.write_str("the new server's database has another name"),
            Surrounding::Encoding => f.write_str("the new server's database has another encoding"),
            Surrounding::Locale => f.write_str("the new server's database has another locale"),
            Surrounding::OlderMajor { source, target } => {
                write!(f, "the new server is older: {target} after {source}")
            }
            Surrounding::NewerMajor { source, target } => {
                write!(f, "the new server is newer: {target} after {source}")
            }
            Surrounding::OtherCluster => f.write_str("the new server is another cluster"),
        }
    }
}

/// How the server of `target` differs from that of `source`.
#[must_use]
pub fn surroundings(source: &Found, target: &Found) -> Vec<Surrounding> {
    let (from, to) = (source.major(), target.major());
    let lag = lag(source, target);
    let rows = [
        (
            target.in_recovery && !source.in_recovery,
            Surrounding::Standby,
        ),
        (lag > 0, Surrounding::Behind { bytes: lag }),
        timelines(source, target),
        (source.database != target.database, Surrounding::Database),
        (source.encoding != target.encoding, Surrounding::Encoding),
        (source.locale != target.locale, Surrounding::Locale),
        (
            to < from,
            Surrounding::OlderMajor {
                source: from,
                target: to,
            },
        ),
        (
            to > from,
            Surrounding::NewerMajor {
                source: from,
                target: to,
            },
        ),
        (!super::same_oids(source, target), Surrounding::OtherCluster),
    ];
    let differs = rows.into_iter().filter(|(differs, _)| *differs);
    differs.map(|(_, what)| what).collect()
}

/// Whether a primary writes an older timeline than another one of its cluster.
fn timelines(source: &Found, target: &Found) -> (bool, Surrounding) {
    let timeline = |found: &Found| found.identity.as_ref().map_or(0, |known| known.timeline);
    let (from, to) = (timeline(source), timeline(target));
    // A standby says what it was at its last checkpoint.
    let written = !source.in_recovery && !target.in_recovery;
    let one_cluster = source.identity.is_some()
        && target.identity.is_some()
        && !super::are_strangers(source, target);
    (
        written && one_cluster && to < from,
        Surrounding::OlderTimeline {
            source: from,
            target: to,
        },
    )
}

/// How many bytes of log a standby has not replayed; 0 where that cannot be said.
fn lag(source: &Found, target: &Found) -> u64 {
    let (Some(from), Some(to)) = (&source.identity, &target.identity) else {
        return 0;
    };
    let position = |lsn: &Option<Box<[u8]>>| lsn.as_deref().and_then(log_position);
    match (position(&from.lsn), position(&to.lsn)) {
        (Some(written), Some(replayed)) if from.system == to.system && target.in_recovery => {
            written.saturating_sub(replayed)
        }
        (Some(_) | None, _) => 0,
    }
}

/// The number that a log position such as `16/B374D848` stands for.
#[must_use]
pub fn log_position(text: &[u8]) -> Option<u64> {
    Lsn::parse(text).map(|lsn| lsn.0)
}

/// Something of a session that is not on the new server as it was on the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// SESSION_USER.
    SessionUser,
    /// SET ROLE.
    Role,
    /// The current role is a superuser on one of them alone.
    Superuser,
    /// The new server does not know a setting that was changed in the session.
    UnknownSetting {
        /// Its name.
        name: Box<[u8]>,
    },
    /// A setting's value.
    Setting {
        /// Its name.
        name: Box<[u8]>,
    },
    /// A setting was changed in the session on the new server alone.
    StraySetting {
        /// Its name.
        name: Box<[u8]>,
    },
    /// A custom setting's value.
    CustomSetting {
        /// Its name.
        name: Box<[u8]>,
    },
    /// The new server lacks a prepared statement.
    NoStatement {
        /// Its name.
        name: Box<[u8]>,
    },
    /// The new server has a prepared statement too many.
    StrayStatement {
        /// Its name.
        name: Box<[u8]>,
    },
    /// A prepared statement's parameters have other types.
    ParameterTypes {
        /// Its name.
        name: Box<[u8]>,
    },
    /// A prepared statement has another text; between databases of different encodings, one of another length.
    StatementText {
        /// Its name.
        name: Box<[u8]>,
    },
    /// The channels of LISTEN.
    Channels,
    /// The new server's session has locks, temporary objects or cursors: it is not a fresh one.
    NotFresh,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, name) = match self {
            Difference::SessionUser => return f.write_str("another session user"),
            Difference::Role => return f.write_str("another role"),
            Difference::Superuser => {
                return f.write_str("the role is a superuser on one of the servers alone");
            }
            Difference::Channels => return f.write_str("other channels of LISTEN"),
            Difference::NotFresh => {
                return f.write_str("the session on the new server is not fresh");
            }
            Difference::UnknownSetting { name } => ("the new server has no setting", name),
            Difference::Setting { name } => ("another value of the setting", name),
            Difference::StraySetting { name } => ("set on the new server alone:", name),
            Difference::CustomSetting { name } => ("another value of the custom setting", name),
            Difference::NoStatement { name } => ("the new server lacks the statement", name),
            Difference::StrayStatement { name } => ("a statement too many:", name),
            Difference::ParameterTypes { name } => ("other types of parameters of", name),
            Difference::StatementText { name } => ("another text of", name),
        };
        write!(f, "{what} {}", Printable(name))
    }
}

/// What of the session that `source` describes is not in the one that `target` describes, after a restore: nothing, if it
/// can take over.
///
/// Settings are compared that were changed in the session, and those that decide how values look and what statements mean
/// wherever they come from; types by the map that the restore used.
#[must_use]
pub fn differences(
    source: &Found,
    target: &Found,
    types: &TypeMap,
    listening: Listening,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut when = |is: bool, difference| {
        if is {
            found.push(difference);
        }
    };
    when(
        source.session_user != target.session_user,
        Difference::SessionUser,
    );
    when(source.role != target.role, Difference::Role);
    when(source.superuser != target.superuser, Difference::Superuser);
    let leftover = [
        target.advisory_locks,
        target.temporary_objects,
        target.cursors,
    ];
    when(leftover != [0; 3], Difference::NotFresh);
    let channels = |found: &Found| found.channels.iter().cloned().collect::<BTreeSet<_>>();
    let listens = match listening {
        Listening::Move => channels(source),
        Listening::Refuse => BTreeSet::new(),
    };
    when(listens != channels(target), Difference::Channels);
    settings(source, target, &mut found);
    statements(source, target, types, &mut found);
    found
}

fn settings(source: &Found, target: &Found, found: &mut Vec<Difference>) {
    for (name, setting) in source
        .settings
        .iter()
        .filter(|(name, setting)| must_agree(name, setting))
    {
        let name = name.clone();
        match target.settings.get(&name) {
            Some(there) if there.value == setting.value => {}
            Some(_) => found.push(Difference::Setting { name }),
            None if setting.origin == super::Origin::Session && !is_placeholder(source, &name) => {
                found.push(Difference::UnknownSetting { name });
            }
            // A version knows fewer that nobody has changed. A placeholder is compared with the custom ones.
            None => {}
        }
    }
    let stray = target.settings.iter().filter(|(name, setting)| {
        setting.origin == super::Origin::Session
            && source
                .settings
                .get(*name)
                .is_none_or(|known| known.value != setting.value)
            && !source
                .settings
                .get(*name)
                .is_some_and(|known| must_agree(name, known))
    });
    found.extend(stray.map(|(name, _)| Difference::StraySetting { name: name.clone() }));
    for (name, value) in &source.custom {
        if target.custom.get(name) != Some(value) {
            found.push(Difference::CustomSetting { name: name.clone() });
        }
    }
}

fn statements(source: &Found, target: &Found, types: &TypeMap, found: &mut Vec<Difference>) {
    for (name, prepared) in &source.statements {
        let name = name.clone();
        let Some(there) = target.statements.get(&name) else {
            found.push(Difference::NoStatement { name });
            continue;
        };
        let expected = prepared.types.iter().map(|oid| types.get(*oid));
        if !expected.eq(there.types.iter().copied()) {
            found.push(Difference::ParameterTypes { name: name.clone() });
        }
        // Of one text in two encodings only the number of characters is the same.
        let same_text = match source.encoding == target.encoding {
            true => there.digest == prepared.digest && there.length == prepared.length,
            false => there.length == prepared.length,
        };
        if !same_text {
            found.push(Difference::StatementText { name });
        }
    }
    let stray = target
        .statements
        .keys()
        .filter(|name| !source.statements.contains_key(*name));
    found.extend(stray.map(|name| Difference::StrayStatement { name: name.clone() }));
}
