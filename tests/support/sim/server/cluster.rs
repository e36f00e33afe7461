//! What the servers of a primary and of its standbys share: rows, the log that each standby replays, locks and
//! notifications.

use std::sync::Arc;

use super::Node;
pub(super) use super::rows::{Op, Row, Table, Tables, Value, bare};
use super::sql::{ColumnType, Relation, oid};
use super::transfer::HandedOut;

/// How far standbys are behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lag {
    /// A commit is replayed before it is answered.
    None,
    /// A standby replays when told to.
    Manual,
}

/// A statement that wrote, or wanted to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    pub(crate) node: Node,
    pub(crate) backend: u32,
    pub(crate) text: String,
}

/// Where the log begins, and how long each record of it is: some commits on, positions have another first half.
const LOG_BEGINS: u64 = 0xFFFF_FF40;
const RECORD: u64 = 0x60;

/// The process id of whoever notifies from outside.
const OUTSIDE: u32 = i32::MAX as u32;

/// Tables that there are from the beginning.
const TABLES: [&str; 2] = ["t", "u"];

/// The sequences that there are.
pub(super) const SEQUENCES: [&str; 2] = ["s", "r"];

#[derive(Clone, Debug)]
enum Record {
    Commit(Vec<Op>),
    /// Which, and its value.
    Sequence(usize, i64),
    /// What no session sees, as of VACUUM.
    Upkeep,
}

/// What a server has.
#[derive(Clone, Debug, Default)]
struct Data {
    tables: Tables,
    sequences: [i64; SEQUENCES.len()],
    /// How many records of the log it has applied, where it is a standby.
    replayed: usize,
    recovers: bool,
}

impl Data {
    /// Applies the records of the log up to this one.
    fn replay(&mut self, log: &[Record], end: usize) {
        for record in log.get(self.replayed..end).unwrap_or_default() {
            match record {
                Record::Commit(ops) => ops.iter().for_each(|op| self.tables.apply(op)),
                Record::Sequence(which, value) => self.sequences[*which] = *value,
                Record::Upkeep => {}
            }
        }
        self.replayed = self.replayed.max(end);
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Lockable {
    /// On one server, whatever the other has.
    Advisory(Node, i64),
    Row(Node, u64),
    Table(Node, Arc<str>),
}

struct Lock {
    what: Lockable,
    backend: u32,
    /// Held until the session ends or lets go; others go with the transaction.
    session: bool,
}

/// A notification on its way: to whom, from whom, channel, payload.
struct Notification {
    to: u32,
    from: u32,
    channel: Arc<str>,
    payload: Arc<str>,
}

pub(crate) struct Cluster {
    lag: Lag,
    writes: Vec<Write>,
    refusals: Vec<Write>,
    /// By node.
    data: [Data; Node::ALL.len()],
    log: Vec<Record>,
    /// How many records the primary has made, those that nobody replays any more among them, and how many there were
    /// behind the last of each server process.
    made: usize,
    made_by: Vec<(u32, usize)>,
    /// What a standby has before it replays anything.
    beginning: Tables,
    next_row: u64,
    locks: Vec<Lock>,
    /// Who waits for whom.
    waits: Vec<(u32, u32)>,
    listeners: Vec<(Node, Arc<str>, u32)>,
    /// Tables of the primary that somebody has locked who is no backend here.
    locked_outside: Vec<Arc<str>>,
    notifications: Vec<Notification>,
    /// Sessions that were handed out.
    pub(super) handed_out: Vec<HandedOut>,
}

impl Cluster {
    /// With tables `t` and `u` (id int, v text) of three rows each, which standbys have too.
    pub(crate) fn new() -> Cluster {
        let mut tables = Tables::default();
        let mut next_row = 0;
        for table in TABLES {
            let column = |name: &str, oid| ColumnType {
                name: name.into(),
                oid,
            };
            let columns = [column("id", oid::INT4), column("v", oid::TEXT)];
            tables.apply(&Op::Create(table.into(), columns.into(), Relation::Table));
            for (id, v) in [(1, "a"), (2, "b"), (3, "c")] {
                next_row += 1;
                let row = [Value::Int(id), Value::text(v)];
                tables.apply(&Op::Insert(table.into(), next_row, row.into()));
            }
        }
        let data = |node: Node| Data {
            tables: tables.clone(),
            recovers: node != Node::Primary,
            ..Data::default()
        };
        Cluster {
            lag: Lag::None,
            writes: Vec::new(),
            refusals: Vec::new(),
            data: Node::ALL.map(data),
            beginning: tables,
            log: Vec::new(),
            made: 0,
            made_by: Vec::new(),
            next_row,
            locks: Vec::new(),
            waits: Vec::new(),
            listeners: Vec::new(),
            locked_outside: Vec::new(),
            notifications: Vec::new(),
            handed_out: Vec::new(),
        }
    }

    /// Each standby applies at most `records` more WAL records: commits, and values of the sequence.
    pub(crate) fn replay(&mut self, records: usize) {
        for node in Node::STANDBYS {
            self.replay_at(node, records);
        }
    }

    /// The same of one of them.
    pub(crate) fn replay_at(&mut self, node: Node, records: usize) {
        if node == Node::Primary {
            return;
        }
        let data = &mut self.data[node as usize];
        let end = data.replayed.saturating_add(records).min(self.log.len());
        data.replay(&self.log, end);
    }

    /// In a standby's place is another one, which has replayed nothing yet.
    pub(crate) fn begin_anew(&mut self, node: Node) {
        if self.recovers(node) {
            self.data[node as usize] = Data {
                tables: self.beginning.clone(),
                recovers: true,
                ..Data::default()
            };
            self.keep_up();
        }
    }

    /// How many records of the log there were when the last of one of these processes was made.
    pub(crate) fn committed(&self, is_own: impl Fn(u32) -> bool) -> usize {
        let own = self.made_by.iter().filter(|(backend, _)| is_own(*backend));
        own.map(|(_, made)| *made).max().unwrap_or(0)
    }

    /// How many records a standby has applied.
    pub(crate) fn replayed(&self, node: Node) -> usize {
        self.data[node as usize].replayed
    }

    /// How many records of the log a server says to have, if it says so.
    pub(crate) fn stands_at(&self, node: Node) -> Option<usize> {
        match (self.recovers(node), node) {
            (false, _) => Some(self.made),
            (true, Node::Primary) => None,
            (true, Node::Standby | Node::Second) => Some(self.replayed(node)),
        }
    }

    /// Where the primary's log ends, as a server shows it.
    pub(super) fn end_of_log(&self) -> String {
        position(self.made)
    }

    /// How far a server has replayed that log; one that was a primary from the beginning has not.
    pub(super) fn replayed_on(&self, node: Node) -> Option<String> {
        (node != Node::Primary).then(|| position(self.replayed(node)))
    }

    /// How many records there are that some standby has not applied.
    pub(crate) fn behind(&self) -> usize {
        let least = Node::STANDBYS
            .map(|node| self.replayed(node))
            .into_iter()
            .min();
        self.log.len() - least.unwrap_or(0)
    }

    pub(crate) fn set_lag(&mut self, lag: Lag) {
        self.lag = lag;
        self.keep_up();
    }

    fn keep_up(&mut self) {
        if self.lag == Lag::None {
            self.replay(usize::MAX);
        }
    }

    /// Every write that was executed, in order, also those of transactions that were rolled back.
    pub(crate) fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Statements that a standby refused with 25006.
    pub(crate) fn refusals(&self) -> &[Write] {
        &self.refusals
    }

    pub(super) fn wrote(&mut self, node: Node, backend: u32, text: &str) {
        let text = text.to_owned();
        self.writes.push(Write {
            node,
            backend,
            text,
        });
    }

    pub(super) fn refused(&mut self, node: Node, backend: u32, text: &str) {
        let text = text.to_owned();
        self.refusals.push(Write {
            node,
            backend,
            text,
        });
    }

    /// All rows of the primary, in the order of tables' names and then as text.
    pub(crate) fn dump(&self) -> Vec<String> {
        self.tables(Node::Primary).dump()
    }

    /// All rows that the first standby has.
    #[allow(dead_code, reason = "only the model by itself is asked this")]
    pub(crate) fn dump_standby(&self) -> Vec<String> {
        self.tables(Node::Standby).dump()
    }

    pub(super) fn tables(&self, node: Node) -> &Tables {
        &self.data[node as usize].tables
    }

    pub(super) fn commit(&mut self, node: Node, backend: u32, ops: Vec<Op>) {
        let tables = &mut self.data[node as usize].tables;
        ops.iter().for_each(|op| tables.apply(op));
        self.record(node, backend, Record::Commit(ops));
    }

    /// The primary logs so many records that change nothing that a session sees.
    pub(crate) fn upkeep(&mut self, records: usize) {
        for _ in 0..records {
            self.append(Record::Upkeep);
        }
    }

    fn record(&mut self, node: Node, backend: u32, record: Record) {
        if node != Node::Primary {
            return;
        }
        self.append(record);
        self.made_by.retain(|(other, _)| *other != backend);
        self.made_by.push((backend, self.made));
    }

    fn append(&mut self, record: Record) {
        self.made += 1;
        if self.recovers(Node::Standby) {
            self.log.push(record);
            self.keep_up();
        }
    }

    /// Standbys replay all that there is and take writes from then on; they and the primary go apart.
    pub(crate) fn promote(&mut self) {
        self.replay(usize::MAX);
        for node in Node::STANDBYS {
            self.data[node as usize].recovers = false;
        }
    }

    /// The primary becomes a standby, which replays nothing. Transactions that it has may still commit.
    pub(crate) fn demote(&mut self) {
        self.data[Node::Primary as usize].recovers = true;
    }

    pub(crate) fn recovers(&self, node: Node) -> bool {
        self.data[node as usize].recovers
    }

    pub(super) fn row_number(&mut self) -> u64 {
        self.next_row += 1;
        self.next_row
    }

    /// The last value of a sequence.
    pub(super) fn value(&self, node: Node, sequence: usize) -> i64 {
        self.data[node as usize].sequences[sequence]
    }

    pub(super) fn set_value(&mut self, node: Node, backend: u32, sequence: usize, value: i64) {
        self.data[node as usize].sequences[sequence] = value;
        self.record(node, backend, Record::Sequence(sequence, value));
    }

    /// Takes a lock, or says who has it.
    pub(super) fn lock(&mut self, what: Lockable, backend: u32, session: bool) -> Result<(), u32> {
        self.waits.retain(|(waiting, _)| *waiting != backend);
        let of_other = |lock: &&Lock| lock.what == what && lock.backend != backend;
        if let Some(lock) = self.locks.iter().find(of_other) {
            self.waits.push((backend, lock.backend));
            return Err(lock.backend);
        }
        let mine = |lock: &Lock| {
            lock.what == what && lock.session == session && !matches!(what, Lockable::Advisory(..))
        };
        if !self.locks.iter().any(mine) {
            self.locks.push(Lock {
                what,
                backend,
                session,
            });
        }
        Ok(())
    }

    /// How many advisory locks a backend has.
    pub(super) fn advisory_locks(&self, backend: u32) -> usize {
        let own = self.locks.iter().filter(|lock| lock.backend == backend);
        own.filter(|lock| matches!(lock.what, Lockable::Advisory(..)))
            .count()
    }

    /// The channels that a backend listens on.
    pub(super) fn channels(&self, backend: u32) -> Vec<Arc<str>> {
        let own = self.listeners.iter().filter(|(.., of)| *of == backend);
        own.map(|(_, channel, _)| Arc::clone(channel)).collect()
    }

    /// Whether those whom `backend` waits for wait for it.
    pub(super) fn is_deadlock(&self, backend: u32) -> bool {
        let mut at = backend;
        for _ in 0..=self.waits.len() {
            let Some((_, owner)) = self.waits.iter().find(|(waiting, _)| *waiting == at) else {
                return false;
            };
            at = *owner;
            if at == backend {
                return true;
            }
        }
        false
    }

    pub(super) fn stop_waiting(&mut self, backend: u32) {
        self.waits.retain(|(waiting, _)| *waiting != backend);
    }

    /// Lets go of one lock of the session. Whether there was one.
    pub(super) fn unlock(&mut self, what: &Lockable, backend: u32) -> bool {
        let mine = |lock: &Lock| lock.what == *what && lock.backend == backend && lock.session;
        match self.locks.iter().position(mine) {
            Some(at) => {
                self.locks.remove(at);
                true
            }
            None => false,
        }
    }

    pub(super) fn unlock_all(&mut self, backend: u32) {
        self.locks.retain(|lock| {
            let advisory = matches!(lock.what, Lockable::Advisory(..));
            lock.backend != backend || !lock.session || !advisory
        });
    }

    pub(super) fn release(&mut self, backend: u32, session_too: bool) {
        self.stop_waiting(backend);
        self.locks
            .retain(|lock| lock.backend != backend || (lock.session && !session_too));
    }

    pub(super) fn listen(&mut self, node: Node, backend: u32, channel: &Arc<str>) {
        let entry = (node, Arc::clone(channel), backend);
        if !self.listeners.contains(&entry) {
            self.listeners.push(entry);
        }
    }

    /// Ends listening on one channel or all.
    pub(super) fn unlisten(&mut self, backend: u32, channel: Option<&str>) {
        self.listeners.retain(|(_, listened, listener)| {
            *listener != backend || channel.is_some_and(|channel| *channel != **listened)
        });
    }

    pub(super) fn notify(&mut self, node: Node, from: u32, channel: &Arc<str>, payload: &Arc<str>) {
        for (place, listened, to) in &self.listeners {
            if (*place, listened) == (node, channel) {
                self.notifications.push(Notification {
                    to: *to,
                    from,
                    channel: Arc::clone(channel),
                    payload: Arc::clone(payload),
                });
            }
        }
    }

    /// Somebody on the primary who is no backend here notifies. How many are to be told.
    pub(crate) fn notify_outside(&mut self, channel: &str, payload: &str) -> usize {
        let before = self.notifications.len();
        self.notify(Node::Primary, OUTSIDE, &channel.into(), &payload.into());
        self.notifications.len() - before
    }

    /// Somebody who is no backend here locks a table of the primary, ACCESS EXCLUSIVE, at once: whoever touches it
    /// from then on waits, also in a transaction that touched it before.
    pub(crate) fn lock_outside(&mut self, table: &str) {
        self.locked_outside.push(table.into());
    }

    /// All tables that were locked like this are free.
    pub(crate) fn unlock_outside(&mut self) {
        self.locked_outside.clear();
    }

    /// Whether there are such locks where a server is.
    pub(super) fn is_locked_outside(&self, node: Node) -> bool {
        node == Node::Primary && !self.locked_outside.is_empty()
    }

    pub(super) fn locked_outside(&self) -> &[Arc<str>] {
        &self.locked_outside
    }

    /// Takes what a backend is to be told: from whom, channel, payload.
    pub(super) fn notifications(&mut self, backend: u32) -> Vec<(u32, Arc<str>, Arc<str>)> {
        if self.notifications.is_empty() {
            return Vec::new();
        }
        let (mine, others) = std::mem::take(&mut self.notifications)
            .into_iter()
            .partition(|notification| notification.to == backend);
        self.notifications = others;
        mine.into_iter()
            .map(|n| (n.from, n.channel, n.payload))
            .collect()
    }

    /// A backend is gone.
    pub(super) fn forget(&mut self, backend: u32) {
        self.release(backend, true);
        self.unlisten(backend, None);
        self.notifications.retain(|n| n.to != backend);
    }
}

/// Where the log ends behind so many records.
fn position(records: usize) -> String {
    let at = LOG_BEGINS + RECORD * records as u64;
    format!("{:X}/{:X}", at >> 32, at & 0xFFFF_FFFF)
}
