//! Prepared statements: what the client believes to exist, and what exists on each upstream.
//!
//! The client sees one set of statements; each upstream holds some of them, in this or an older definition. A change
//! that was sent but not answered yet is *pending*: it may fail, or be skipped, and then it never happened. Pending
//! changes keep their order, so a late reply cannot touch a newer definition of the same name.

use std::collections::BTreeMap;
use std::sync::Arc;

pub use super::change::Change;
use super::forget::{PerLeg, lower, raise};
use super::pending::Pending;
use super::reading::Changed;

/// How many upstreams a session can have.
pub const LEGS: usize = 4;

/// How many bytes of a statement's or portal's name count: PostgreSQL keeps them in tables keyed by 63 bytes
/// (`NAMEDATALEN` less one), in which longer names with the same beginning are one.
const NAME_BYTES: usize = 63;

/// The part of a statement's or portal's name that tells it from others.
pub fn key(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES).unwrap_or(name)
}

/// What is remembered of one Parse, or of a PREPARE. `Debug` shows the length of its text.
pub struct Definition<M> {
    /// The body of the Parse message: name, text and parameter types, byte for byte. Empty if the statement is known by
    /// its name alone, and no other upstream can have it.
    pub body: Box<[u8]>,
    /// The whole text of the PREPARE, if it was one that stood alone and prepares the same again. Empty for what came in a
    /// Parse.
    pub query: Box<[u8]>,
    /// What the session knows of the text.
    pub meta: M,
    pub(super) text: Text,
    pub(super) version: u64,
}

/// What becomes of a statement's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// It is kept as long as the statement.
    Kept,
    /// It may be forgotten to make room, while an upstream has the statement that never loses it.
    Spare,
    /// It is forgotten: the statement runs where it is.
    Forgotten,
}

impl<M> Definition<M> {
    /// Whether it can be prepared where it is not.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.body.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.body.len().saturating_add(self.query.len())
    }
}

impl<M: std::fmt::Debug> std::fmt::Debug for Definition<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definition")
            .field("body", &format_args!("<{} bytes>", self.body.len()))
            .field("meta", &self.meta)
            .field("version", &self.version)
            .finish()
    }
}

/// A pending change's place in the order of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What has to happen on an upstream before a message that names a statement may be sent there.
#[derive(Debug)]
pub enum Repair<M> {
    /// Nothing: the upstream has what the client has.
    None,
    /// The upstream has the name in a definition that the client does not have: close it there.
    Close,
    /// The upstream lacks the statement: parse it there.
    Parse(Arc<Definition<M>>),
    /// The upstream has another definition: close it, then parse the right one.
    Replace(Arc<Definition<M>>),
    /// A change of an earlier batch is on its way whose failure would leave the upstream without the statement: wait
    /// for its answer.
    Wait,
}

/// What a name means to the client.
#[derive(Debug)]
pub struct Meaning<'a, M> {
    /// The newest definition, counting what is pending; `None` when the name is unknown.
    pub definition: Option<&'a Arc<Definition<M>>>,
    /// Whether a pending change could still turn out otherwise and uncover another definition.
    pub settled: bool,
}

#[derive(Debug)]
pub(super) struct Entry<M> {
    pub(super) current: Option<Arc<Definition<M>>>,
    held: [u64; LEGS],
    /// When it was used last, by [`Statements::clock`].
    pub(super) used: u64,
}

impl<M> Entry<M> {
    fn empty() -> Self {
        Entry {
            current: None,
            held: [ABSENT; LEGS],
            used: 0,
        }
    }

    /// The version that an upstream has.
    pub(super) fn held(&self, leg: usize) -> u64 {
        self.held.get(leg).copied().unwrap_or(ABSENT)
    }

    /// Whether an upstream has what the client has.
    pub(super) fn is_at(&self, leg: usize) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| current.version == self.held(leg))
    }

    /// Whether an upstream holds a named statement that the client does not have. The unnamed one is overwritten by
    /// whatever comes next.
    pub(super) fn is_stale(&self, name: &[u8], leg: usize) -> bool {
        !name.is_empty() && self.current.is_none() && self.held(leg) != ABSENT
    }

    fn is_empty(&self) -> bool {
        self.current.is_none() && self.held == [ABSENT; LEGS]
    }
}

/// The version that stands for "this upstream does not have the name"; real versions start above it.
pub(super) const ABSENT: u64 = 0;

/// What an upstream holds that stands in for a definition: none has this version, so that it is replaced if it is not dropped.
const STANDS_IN: u64 = u64::MAX;

/// The bounds of a [`Statements`].
#[derive(Clone, Copy, Debug)]
pub struct StatementLimits {
    /// How many names are tracked.
    pub names: usize,
    /// How many bytes of Parse bodies and names are kept. Of more, the texts used least are forgotten.
    pub bytes: usize,
    /// How many of them one reader has at a time. Of more, those used least are closed there, and prepared again when they
    /// are needed.
    pub on_reader: usize,
    /// The longest Parse body that is kept: it has to fit a queue of our own messages when it is sent again.
    pub body: usize,
}

/// The prepared statements of one session.
#[derive(Debug)]
pub struct Statements<M> {
    pub(super) entries: BTreeMap<Box<[u8]>, Entry<M>>,
    pub(super) pending: Pending<M>,
    /// How many names the client has.
    live: usize,
    /// How many pending changes define a named statement.
    coming: usize,
    /// How many names each upstream has that the client does not have any more.
    pub(super) stale: PerLeg,
    /// How many named statements each upstream has.
    pub(super) held: PerLeg,
    /// How many bytes could be forgotten, since each upstream has what they prepare.
    pub(super) spare: PerLeg,
    /// Counts the uses.
    pub(super) clock: u64,
    /// What was used later than this is not forgotten.
    pub(super) needed: u64,
    next_ticket: u64,
    /// The first ticket of the batch that is being sent.
    batch: u64,
    pub(super) next_version: u64,
    pub(super) other_reading: Changed,
    pub(super) bytes: usize,
    pub(super) limits: StatementLimits,
}

impl<M: Clone> Statements<M> {
    /// An empty set.
    pub fn new(limits: StatementLimits) -> Self {
        Statements {
            entries: BTreeMap::new(),
            pending: Pending::new(),
            live: 0,
            coming: 0,
            stale: [0; LEGS],
            held: [0; LEGS],
            spare: [0; LEGS],
            clock: 0,
            needed: 0,
            next_ticket: 0,
            batch: 0,
            next_version: ABSENT,
            other_reading: Changed::default(),
            bytes: 0,
            limits,
        }
    }

    /// How many bytes are kept for definitions, names included.
    pub fn retained(&self) -> usize {
        self.bytes
    }

    /// Whether a definition of this many bytes, its name included, would be kept behind others that are to be sent
    /// before it: `names` of them, of so many bytes in all.
    pub fn has_room_for(&self, bytes: usize, names: usize, before: usize) -> bool {
        let all = self.bytes.saturating_add(before).saturating_add(bytes);
        self.has_room_for_names(names) && bytes <= self.limits.body && all <= self.limits.bytes
    }

    /// Whether one more name can be followed behind so many others that are to be sent before it.
    pub fn has_room_for_names(&self, before: usize) -> bool {
        let live = self.live.saturating_add(self.coming);
        live.saturating_add(before) < self.limits.names
            && self.entries.len().saturating_add(before) < self.limits.names.saturating_mul(2)
    }

    /// Makes a definition of a Parse that is about to be sent; `None` when the bounds leave no room for it.
    pub fn define(
        &mut self,
        name: &[u8],
        body: &[u8],
        text: Text,
        meta: M,
    ) -> Option<Arc<Definition<M>>> {
        let len = body.len().saturating_add(name.len());
        self.has_room_for(len, 0, 0)
            .then(|| self.definition(body, &[], text, meta))
    }

    /// The same of a PREPARE, whose whole text is `query` if it can be repeated.
    pub fn define_in_sql(
        &mut self,
        name: &[u8],
        body: &[u8],
        query: &[u8],
        meta: M,
    ) -> Option<Arc<Definition<M>>> {
        let len = body.len().saturating_add(query.len());
        self.has_room_for(len.saturating_add(name.len()), 0, 0)
            .then(|| self.definition(body, query, Text::Kept, meta))
    }

    pub(super) fn definition(
        &mut self,
        body: &[u8],
        query: &[u8],
        text: Text,
        meta: M,
    ) -> Arc<Definition<M>> {
        self.next_version = self.next_version.saturating_add(1);
        Arc::new(Definition {
            body: body.into(),
            query: query.into(),
            meta,
            text,
            version: self.next_version,
        })
    }

    /// Takes note of a change that was just sent.
    pub fn sent(&mut self, change: Change<M>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.saturating_add(1);
        self.bytes = self.bytes.saturating_add(pending_cost(&change));
        self.coming = self.coming.saturating_add(usize::from(change.names_one()));
        self.pending.push(ticket, change);
        ticket
    }

    /// A Sync was sent, or a Query: whatever fails or is skipped before it, what comes behind it is not for that.
    pub fn synced(&mut self) {
        self.batch = self.next_ticket;
    }

    /// The server confirmed a change.
    pub fn confirmed(&mut self, ticket: Ticket) {
        if let Some(change) = self.take(ticket) {
            self.apply(change);
        }
    }

    /// The server refused or skipped a change. A refused Parse of the unnamed statement still removes the old one: the client's
    /// from the session, ours from that server.
    pub fn refused(&mut self, ticket: Ticket, reached: Reached) {
        let Some(change) = self.take(ticket) else {
            return;
        };
        if reached == Reached::Server {
            self.keep_refused(&change);
        }
        let gone = match change {
            Change::Define { leg, name, .. } | Change::Forget { leg, name } => {
                Change::Forget { leg, name }
            }
            Change::Restore { leg, name, .. } | Change::StandIn { leg, name } => {
                Change::Clear { leg, name }
            }
            Change::Clear { .. } | Change::ForgetAll { .. } => return,
        };
        if reached == Reached::Server && gone.name().is_some_and(<[u8]>::is_empty) {
            self.apply(gone);
        }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Change<M>> {
        let change = self.pending.take(ticket)?;
        self.bytes = self.bytes.saturating_sub(pending_cost(&change));
        self.coming = self.coming.saturating_sub(usize::from(change.names_one()));
        Some(change)
    }

    fn apply(&mut self, change: Change<M>) {
        match change {
            Change::Define {
                leg,
                name,
                definition,
            } => {
                let version = definition.version;
                let used = self.tick();
                self.update(name, |entry| {
                    entry.current = Some(definition);
                    entry.used = used;
                    hold(entry, leg, version);
                });
            }
            Change::Restore {
                leg,
                name,
                definition,
            } => {
                self.update(name, |entry| hold(entry, leg, definition.version));
            }
            Change::StandIn { leg, name } => {
                self.update(name, |entry| hold(entry, leg, STANDS_IN));
            }
            Change::Forget { leg, name } => self.update(name, |entry| {
                entry.current = None;
                hold(entry, leg, ABSENT);
            }),
            Change::Clear { leg, name } => self.update(name, |entry| hold(entry, leg, ABSENT)),
            Change::ForgetAll { leg } => self.update_all(|name, entry| {
                if !name.is_empty() {
                    entry.current = None;
                    hold(entry, leg, ABSENT);
                }
            }),
        }
    }

    /// A Query of ours goes to an upstream that owes the client nothing: the server drops the unnamed statement before
    /// it reads the text, and the client still has it.
    pub fn unnamed_dropped(&mut self, leg: usize) {
        self.update(Box::default(), |entry| hold(entry, leg, ABSENT));
    }

    /// An upstream is gone and with it all that it held; a new connection there starts empty.
    pub fn leg_lost(&mut self, leg: usize) {
        self.update_all(|_, entry| hold(entry, leg, ABSENT));
    }

    pub(super) fn update(&mut self, name: Box<[u8]>, change: impl FnOnce(&mut Entry<M>)) {
        let mut entry = match self.entries.remove(&name) {
            Some(entry) => {
                self.discount(&name, &entry);
                entry
            }
            None => Entry::empty(),
        };
        change(&mut entry);
        self.keep(name, entry);
    }

    fn update_all(&mut self, mut change: impl FnMut(&[u8], &mut Entry<M>)) {
        for (name, mut entry) in std::mem::take(&mut self.entries) {
            self.discount(&name, &entry);
            change(&name, &mut entry);
            self.keep(name, entry);
        }
    }

    pub(super) fn discount(&mut self, name: &[u8], entry: &Entry<M>) {
        self.bytes = self.bytes.saturating_sub(entry_cost(name, entry));
        self.live = self
            .live
            .saturating_sub(usize::from(entry.current.is_some()));
        for leg in 0..LEGS {
            let counts = entry.counts(name, leg);
            lower(&mut self.stale, leg, counts.stale);
            lower(&mut self.held, leg, counts.held);
            lower(&mut self.spare, leg, counts.spare);
        }
    }

    fn keep(&mut self, name: Box<[u8]>, entry: Entry<M>) {
        if entry.is_empty() {
            return;
        }
        self.bytes = self.bytes.saturating_add(entry_cost(&name, &entry));
        self.live = self
            .live
            .saturating_add(usize::from(entry.current.is_some()));
        self.recount(&name, &entry);
        self.entries.insert(name, entry);
    }

    fn recount(&mut self, name: &[u8], entry: &Entry<M>) {
        for leg in 0..LEGS {
            let counts = entry.counts(name, leg);
            raise(&mut self.stale, leg, counts.stale);
            raise(&mut self.held, leg, counts.held);
            raise(&mut self.spare, leg, counts.spare);
        }
    }

    /// What a name means to the client now, counting what was sent and not answered.
    pub fn meaning(&self, name: &[u8]) -> Meaning<'_, M> {
        let entry = self.entries.get(name);
        let settled = entry.and_then(|entry| entry.current.as_ref());
        match self.pending.newest_of_client(name) {
            None => Meaning {
                definition: settled,
                settled: true,
            },
            Some((newest, covers_another)) => Meaning {
                definition: newest.definition(),
                settled: settled.is_none() && !covers_another,
            },
        }
    }

    /// Whether an answer to an earlier batch could still uncover another definition of a name.
    pub fn is_doubtful(&self, name: &[u8]) -> bool {
        self.pending.concerning(name).is_some_and(|pending| {
            let covers = pending.count > 1 || self.entries.contains_key(name);
            pending.newest.0 < self.batch && covers
        })
    }

    /// What must be done on an upstream before a message that names `name` is sent there, so that the server's
    /// answer is the one that a single server would give. A change that is already on its way there needs no repair.
    pub fn repair(&self, leg: usize, name: &[u8]) -> Repair<M> {
        if let Some(pending) = self.pending.concerning(name) {
            let ours = pending.oldest_of_ours;
            let closed = self.pending.newest_is_clear(name, leg);
            // What fails or is skipped uncovers what was there before, of which nobody knows yet that it is meant.
            return if self.is_doubtful(name) || ours.is_some_and(|ours| ours.0 < self.batch) {
                Repair::Wait
            } else {
                // What was closed there to make room is prepared again right behind.
                let known = self.entries.get(name).filter(|_| closed);
                let known = known.and_then(|entry| entry.current.as_ref());
                match known.filter(|known| self.repeats(known)) {
                    Some(known) => Repair::Parse(Arc::clone(known)),
                    None => Repair::None,
                }
            };
        }
        let Some(entry) = self.entries.get(name) else {
            return Repair::None;
        };
        let held = entry.held(leg);
        match &entry.current {
            None if held == ABSENT => Repair::None,
            None => Repair::Close,
            Some(current) if current.version == held => Repair::None,
            Some(current) if !self.repeats(current) => match held {
                ABSENT => Repair::None,
                // Better no statement than another one.
                _ => Repair::Close,
            },
            Some(current) if held == ABSENT || name.is_empty() => {
                Repair::Parse(Arc::clone(current))
            }
            Some(current) => Repair::Replace(Arc::clone(current)),
        }
    }
}

/// Whether the server looked at a message before it failed or skipped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It did, and refused it.
    Server,
    /// It skipped the message.
    Nobody,
}

fn hold<M>(entry: &mut Entry<M>, leg: usize, version: u64) {
    if let Some(held) = entry.held.get_mut(leg) {
        *held = version;
    }
}

fn entry_cost<M>(name: &[u8], entry: &Entry<M>) -> usize {
    let body = entry
        .current
        .as_ref()
        .map_or(0, |definition| definition.len());
    name.len().saturating_add(body)
}

/// A restored definition is shared with its entry and costs nothing of its own.
fn pending_cost<M>(change: &Change<M>) -> usize {
    match change {
        Change::Define {
            name, definition, ..
        } => name.len().saturating_add(definition.len()),
        Change::Restore { name, .. }
        | Change::StandIn { name, .. }
        | Change::Forget { name, .. }
        | Change::Clear { name, .. } => name.len(),
        Change::ForgetAll { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Reading;
    use super::*;

    const WRITER: usize = 0;
    const READER: usize = 1;

    fn statements() -> Statements<()> {
        Statements::new(StatementLimits {
            names: 3,
            bytes: 100,
            on_reader: 2,
            body: 50,
        })
    }

    fn define(statements: &mut Statements<()>, leg: usize, name: &[u8], body: &[u8]) -> Ticket {
        let definition = statements.define(name, body, Text::Kept, ()).expect("room");
        statements.sent(Change::Define {
            leg,
            name: name.into(),
            definition,
        })
    }

    fn forget(statements: &mut Statements<()>, leg: usize, name: &[u8]) -> Ticket {
        statements.sent(Change::Forget {
            leg,
            name: name.into(),
        })
    }

    /// What has to be done, as one word with the body that is to be parsed.
    fn repair(statements: &Statements<()>, leg: usize, name: &[u8]) -> String {
        let body = |definition: Arc<Definition<()>>| definition.body.escape_ascii().to_string();
        match statements.repair(leg, name) {
            Repair::None => "none".to_owned(),
            Repair::Close => "close".to_owned(),
            Repair::Parse(definition) => format!("parse {}", body(definition)),
            Repair::Replace(definition) => format!("replace {}", body(definition)),
            Repair::Wait => "wait".to_owned(),
        }
    }

    #[test]
    fn a_statement_is_parsed_where_it_is_not() {
        let mut statements = statements();
        let ticket = define(&mut statements, READER, b"s", b"one");
        assert_eq!(repair(&statements, READER, b"s"), "none");
        statements.confirmed(ticket);
        assert_eq!(repair(&statements, READER, b"s"), "none");
        assert_eq!(repair(&statements, WRITER, b"s"), "parse one");
        assert_eq!(repair(&statements, WRITER, b"other"), "none");
        statements.leg_lost(READER);
        assert_eq!(repair(&statements, READER, b"s"), "parse one");
    }

    #[test]
    fn a_refused_parse_has_not_happened() {
        let mut statements = statements();
        let ticket = define(&mut statements, WRITER, b"s", b"one");
        statements.refused(ticket, Reached::Server);
        assert!(statements.meaning(b"s").definition.is_none());
        assert_eq!(statements.retained(), 0);
        // Except that the unnamed statement is gone when the server looked at the new one.
        for (reached, left) in [(Reached::Server, false), (Reached::Nobody, true)] {
            let ticket = define(&mut statements, WRITER, b"", b"one");
            statements.confirmed(ticket);
            let ticket = define(&mut statements, WRITER, b"", b"two");
            statements.refused(ticket, reached);
            assert_eq!(statements.meaning(b"").definition.is_some(), left);
        }
    }

    #[test]
    fn a_name_with_another_meaning_is_closed_first() {
        let mut statements = statements();
        let ticket = define(&mut statements, READER, b"s", b"one");
        statements.confirmed(ticket);
        let ticket = forget(&mut statements, WRITER, b"s");
        statements.confirmed(ticket);
        assert_eq!(repair(&statements, READER, b"s"), "close");
        let ticket = define(&mut statements, WRITER, b"s", b"two");
        statements.confirmed(ticket);
        assert_eq!(repair(&statements, READER, b"s"), "replace two");
        assert_eq!(repair(&statements, WRITER, b"s"), "none");
    }

    #[test]
    fn the_unnamed_statement_is_replaced_without_a_close() {
        let mut statements = statements();
        let ticket = define(&mut statements, READER, b"", b"one");
        statements.confirmed(ticket);
        let ticket = define(&mut statements, WRITER, b"", b"two");
        statements.confirmed(ticket);
        assert_eq!(repair(&statements, READER, b""), "parse two");
    }

    #[test]
    fn what_is_known_by_its_name_alone_is_repaired_nowhere() {
        let mut statements = statements();
        let ticket = define(&mut statements, WRITER, b"s", b"");
        statements.confirmed(ticket);
        assert!(statements.meaning(b"s").definition.is_some());
        assert_eq!(repair(&statements, READER, b"s"), "none");
        assert_eq!(statements.missing(READER).len(), 0);
    }

    /// P02: a late reply does not touch a newer definition of the same name.
    #[test]
    fn changes_keep_their_order() {
        let mut statements = statements();
        let first = define(&mut statements, WRITER, b"s", b"one");
        let all = statements.sent(Change::ForgetAll { leg: WRITER });
        let second = define(&mut statements, WRITER, b"s", b"two");
        let meaning = statements.meaning(b"s");
        assert_eq!(&*meaning.definition.unwrap().body, b"two");
        assert!(!meaning.settled);
        statements.confirmed(first);
        statements.confirmed(all);
        assert_eq!(&*statements.meaning(b"s").definition.unwrap().body, b"two");
        statements.confirmed(second);
        let meaning = statements.meaning(b"s");
        assert_eq!(&*meaning.definition.unwrap().body, b"two");
        assert!(meaning.settled);
    }

    /// Where the unnamed statement cannot be prepared again the client still has it.
    #[test]
    fn a_repair_that_is_refused_takes_nothing_from_the_client() {
        for name in [&b""[..], b"s"] {
            let mut statements = statements();
            let ticket = define(&mut statements, WRITER, name, b"one");
            statements.confirmed(ticket);
            let Repair::Parse(definition) = statements.repair(READER, name) else {
                panic!("it is not there");
            };
            let ticket = statements.sent(Change::Restore {
                leg: READER,
                name: name.into(),
                definition,
            });
            statements.refused(ticket, Reached::Server);
            assert_eq!(repair(&statements, WRITER, name), "none");
            assert_eq!(repair(&statements, READER, name), "parse one");
        }
    }

    /// A repair of the same batch shares its fate with what follows it; one of an earlier batch may be skipped alone.
    #[test]
    fn a_repair_is_relied_on_in_its_own_batch_only() {
        let mut statements = statements();
        let ticket = define(&mut statements, READER, b"s", b"one");
        statements.confirmed(ticket);
        statements.synced();
        let Repair::Parse(definition) = statements.repair(WRITER, b"s") else {
            panic!("it is not there");
        };
        let ticket = statements.sent(Change::Restore {
            leg: WRITER,
            name: b"s".as_slice().into(),
            definition,
        });
        assert_eq!(repair(&statements, WRITER, b"s"), "none");
        statements.synced();
        assert_eq!(repair(&statements, WRITER, b"s"), "wait");
        statements.refused(ticket, Reached::Nobody);
        assert_eq!(repair(&statements, WRITER, b"s"), "parse one");
    }

    /// A statement that may mean something else by now is prepared nowhere; where the name has an older meaning it has none.
    #[test]
    fn what_is_read_in_another_way_is_repaired_nowhere() {
        let mut statements = statements();
        for (leg, body) in [(WRITER, "s\0caf\u{e9}"), (READER, "s\0th\u{e9}")] {
            let ticket = define(&mut statements, leg, b"s", body.as_bytes());
            statements.confirmed(ticket);
        }
        let ticket = define(&mut statements, WRITER, b"plain", b"plain\0coffee");
        statements.confirmed(ticket);
        assert_eq!(
            statements.missing_by_reading(WRITER, Reading::Bytes),
            [b"s".as_slice().into()]
        );
        assert!(statements.can_run(WRITER, b"s"));
        statements.reading_changed(Reading::Bytes);
        assert_eq!(repair(&statements, WRITER, b"s"), "close");
        assert_eq!(repair(&statements, READER, b"s"), "none");
        assert_eq!(
            repair(&statements, READER, b"plain"),
            "parse plain\\x00coffee"
        );
        assert!(!statements.can_run(WRITER, b"s") && statements.can_run(READER, b"s"));
        assert_eq!(statements.missing(WRITER).len(), 0);
        // A name has bytes too.
        let ticket = define(&mut statements, WRITER, b"\xe9", b"\xe9\0coffee");
        statements.confirmed(ticket);
        assert_eq!(statements.in_other_reading(WRITER).count(), 0);
        statements.reading_is_unknown(Reading::Bytes);
        statements.reading_changed(Reading::Bytes);
        assert_eq!(
            statements.in_other_reading(WRITER).next(),
            Some(&b"\xe9"[..])
        );
        let ticket = forget(&mut statements, WRITER, b"plain");
        statements.confirmed(ticket);
        let ticket = define(&mut statements, READER, b"s", b"s\0th\xe9");
        statements.confirmed(ticket);
        assert_eq!(repair(&statements, WRITER, b"s"), "close");
    }

    /// Each kind of text is held to the settings that it is read by, and to no other.
    #[test]
    fn a_text_is_older_than_what_it_is_read_by() {
        let texts = [
            ("select 1", [false, false, false]),
            ("select $1", [false, false, false]),
            ("caf\u{e9}", [true, false, false]),
            ("select '2'", [false, true, false]),
            ("select $a$2$a$", [false, true, false]),
            ("a = Null", [false, false, true]),
            ("'\\', null", [true, true, true]),
        ];
        for (text, older) in texts {
            for (reading, older) in Reading::ALL.into_iter().zip(older) {
                let mut statements = statements();
                let body = format!("s\0{text}\0\0\0");
                let ticket = define(&mut statements, READER, b"s", body.as_bytes());
                statements.confirmed(ticket);
                let missing = statements.missing_by_reading(WRITER, reading);
                assert_eq!(!missing.is_empty(), older, "{text} by {reading:?}");
                statements.reading_changed(reading);
                let mut kept = statements.in_other_reading(READER);
                assert_eq!(kept.next().is_some(), older, "{text} by {reading:?}");
            }
        }
    }

    /// A reader closes what was used least of too much, and keeps what could not be had again.
    #[test]
    fn a_reader_keeps_what_nobody_else_could_be_given() {
        let mut statements = statements();
        for name in ["a", "b", "c"] {
            let body = format!("{name}\0caf\u{e9}");
            let ticket = define(&mut statements, READER, name.as_bytes(), body.as_bytes());
            statements.confirmed(ticket);
        }
        assert_eq!(statements.beyond(READER, 8), [b"a".as_slice().into()]);
        let Repair::Parse(definition) = statements.repair(WRITER, b"b") else {
            panic!("it is not there");
        };
        let (leg, name) = (WRITER, b"b".as_slice().into());
        let ticket = statements.sent(Change::Restore {
            leg,
            name,
            definition,
        });
        statements.confirmed(ticket);
        statements.reading_changed(Reading::Bytes);
        assert_eq!(statements.beyond(READER, 8), [b"b".as_slice().into()]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut statements = statements();
        assert!(
            statements
                .define(b"s", &[b'x'; 51], Text::Kept, ())
                .is_none()
        );
        for name in [b"a", b"b", b"c"] {
            let ticket = define(&mut statements, WRITER, name, b"body");
            statements.confirmed(ticket);
        }
        assert!(statements.define(b"d", b"body", Text::Kept, ()).is_none());
        assert_eq!(statements.retained(), 15);
        let all = statements.sent(Change::ForgetAll { leg: WRITER });
        statements.confirmed(all);
        assert_eq!(statements.retained(), 0);
        assert!(statements.define(b"d", b"body", Text::Kept, ()).is_some());
    }

    #[test]
    fn names_count_up_to_the_servers_length() {
        assert_eq!(key(&[b'x'; 70]).len(), 63);
        assert_eq!(key(b"short"), b"short");
    }
}
