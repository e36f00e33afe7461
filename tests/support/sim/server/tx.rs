//! Transactions: blocks, savepoints, and what a commit and a rollback do to everything else.

use std::sync::Arc;

use super::cluster::{Cluster, Lockable, Op, Tables};
use super::fault::{Fault, Stop};
use super::session::{Io, Session};
use super::settings::{Layers, boolean};
use super::sql::{Access, Modes, Transaction};

const ACCESS: &str = "transaction_read_only";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Block {
    /// Each statement by itself, or each up to Sync.
    None,
    /// Of the statements of one Query, or of a pipeline.
    Implicit,
    Explicit,
    Failed,
}

/// What a rollback goes back to.
#[derive(Clone)]
struct Mark {
    layers: Layers,
    temporary: Tables,
    ops: usize,
    notifies: usize,
    listens: usize,
}

struct Savepoint {
    name: Arc<str>,
    mark: Mark,
}

pub(super) enum Listen {
    Add(Arc<str>),
    Remove(Option<Arc<str>>),
}

pub(super) struct Tx {
    pub(super) started: bool,
    pub(super) block: Block,
    /// An Execute of this transaction is done, and its Sync has not come.
    pub(super) pipelining: bool,
    /// The statement has to be committed when it is done.
    pub(super) commit_now: bool,
    /// It was begun by AND CHAIN, and nothing has run in it.
    pub(super) chained: bool,
    /// Whether a statement that needs a snapshot ran.
    pub(super) has_snapshot: bool,
    pub(super) ops: Vec<Op>,
    snapshot: Option<Tables>,
    start: Option<Mark>,
    savepoints: Vec<Savepoint>,
    pub(super) notifies: Vec<(Arc<str>, Arc<str>)>,
    pub(super) listens: Vec<Listen>,
}

impl Tx {
    pub(super) fn new() -> Tx {
        Tx {
            started: false,
            block: Block::None,
            pipelining: false,
            commit_now: false,
            chained: false,
            has_snapshot: false,
            ops: Vec::new(),
            snapshot: None,
            start: None,
            savepoints: Vec::new(),
            notifies: Vec::new(),
            listens: Vec::new(),
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.savepoints.len()
    }
}

impl Session {
    fn mark(&self) -> Mark {
        Mark {
            layers: self.settings.layers(),
            temporary: self.temporary.clone(),
            ops: self.tx.ops.len(),
            notifies: self.tx.notifies.len(),
            listens: self.tx.listens.len(),
        }
    }

    fn go_back(&mut self, mark: &Mark) {
        self.settings.restore(&mark.layers);
        self.show_role();
        self.temporary = mark.temporary.clone();
        self.tx.ops.truncate(mark.ops);
        self.tx.notifies.truncate(mark.notifies);
        self.tx.listens.truncate(mark.listens);
    }

    /// The start of a command: a transaction, if there is none.
    pub(super) fn start_transaction(&mut self) {
        if self.tx.started {
            // Since version 18 a pipeline is a block from its second command on.
            if self.version >= 18 && self.tx.pipelining && self.tx.block == Block::None {
                self.tx.block = Block::Implicit;
            }
            return;
        }
        self.tx.started = true;
        self.looked_at = false;
        let read_only = self.recovers || self.settings.is_on("default_transaction_read_only");
        let shown = |on| if on { "on" } else { "off" };
        let isolation = self.settings.get("default_transaction_isolation");
        let deferrable = self.settings.is_on("default_transaction_deferrable");
        self.settings.write(ACCESS, shown(read_only), false);
        self.settings.write(
            "transaction_isolation",
            &isolation.unwrap_or_default(),
            false,
        );
        self.settings
            .write("transaction_deferrable", shown(deferrable), false);
        // A rollback leaves the modes of this beginning, not those of the transaction before.
        self.tx.start = Some(self.mark());
    }

    /// What most statements need before they are looked at. A standby has none for a serializable transaction.
    pub(super) fn take_snapshot(&mut self) -> Result<(), Fault> {
        let isolation = self.settings.get("transaction_isolation");
        if self.recovers && isolation.as_deref() == Some("serializable") {
            let refusal = Fault::new("0A000", "cannot use serializable mode in a hot standby");
            return Err(refusal.raised_by("GetSerializableTransactionSnapshot"));
        }
        self.tx.has_snapshot = true;
        Ok(())
    }

    /// The end of a command: a commit, unless a block is open.
    pub(super) fn finish_transaction(&mut self, io: &mut Io<'_>) -> Result<(), Fault> {
        if self.tx.started && self.tx.block == Block::None {
            self.commit(io)?;
        }
        Ok(())
    }

    /// The end of the statements that were a block without BEGIN.
    pub(super) fn end_implicit_block(&mut self) {
        if self.tx.block == Block::Implicit {
            self.tx.block = Block::None;
        }
    }

    pub(super) fn in_block(&self) -> bool {
        self.tx.block != Block::None
    }

    pub(super) fn is_failed(&self) -> bool {
        self.tx.block == Block::Failed
    }

    /// The tables as the transaction sees them.
    pub(super) fn view(&mut self, cluster: &Cluster) -> Tables {
        let fixed = matches!(
            self.settings.get("transaction_isolation").as_deref(),
            Some("repeatable read" | "serializable")
        );
        let mut tables = match &self.tx.snapshot {
            Some(snapshot) => snapshot.clone(),
            None => cluster.tables(self.node).clone(),
        };
        if fixed && self.tx.snapshot.is_none() {
            self.tx.snapshot = Some(tables.clone());
        }
        for op in &self.tx.ops {
            tables.apply(op);
        }
        tables
    }

    fn commit(&mut self, io: &mut Io<'_>) -> Result<(), Fault> {
        // What fails here fails as a statement without a block.
        self.tx.block = Block::None;
        self.hold_cursors(io)?;
        let tx = std::mem::replace(&mut self.tx, Tx::new());
        if !tx.ops.is_empty() {
            io.cluster.commit(self.node, self.backend, tx.ops);
        }
        for listen in tx.listens {
            match listen {
                Listen::Add(channel) => {
                    io.cluster.listen(self.node, self.backend, &channel);
                }
                Listen::Remove(channel) => io.cluster.unlisten(self.backend, channel.as_deref()),
            }
        }
        for (channel, payload) in &tx.notifies {
            io.cluster.notify(self.node, self.backend, channel, payload);
        }
        self.settings.commit();
        io.cluster.release(self.backend, false);
        Ok(())
    }

    fn rollback(&mut self, cluster: &mut Cluster) {
        if let Some(mark) = self.tx.start.take() {
            self.go_back(&mark);
        }
        self.tx = Tx::new();
        self.portals.retain(|portal| portal.held);
        cluster.release(self.backend, false);
    }

    /// An error: what was done since the last savepoint, or the beginning, is undone.
    pub(super) fn abort(&mut self, cluster: &mut Cluster) {
        match self.tx.block {
            Block::None | Block::Implicit => self.rollback(cluster),
            Block::Failed => {}
            Block::Explicit => {
                self.tx.block = Block::Failed;
                let last = self.tx.savepoints.last().map(|point| point.mark.clone());
                let depth = self.tx.depth();
                if let Some(mark) = last.or_else(|| self.tx.start.clone()) {
                    self.go_back(&mark);
                }
                for portal in &mut self.portals {
                    portal.failed |= !portal.held && portal.depth >= depth;
                }
                if depth == 0 {
                    cluster.release(self.backend, false);
                }
            }
        }
    }

    /// The connection ends.
    pub(super) fn end(&mut self, cluster: &mut Cluster) {
        self.rollback(cluster);
        cluster.forget(self.backend);
    }

    /// Runs a command and gives its tag.
    pub(super) fn control(
        &mut self,
        command: &Transaction,
        io: &mut Io<'_>,
    ) -> Result<&'static str, Stop> {
        self.tx.chained = false;
        match command {
            Transaction::Begin(modes, tag) => {
                self.begin(modes, io)?;
                Ok(tag)
            }
            Transaction::Commit(chain) => self.end_block(true, *chain, io),
            Transaction::Rollback(chain) => self.end_block(false, *chain, io),
            Transaction::Savepoint(name) => {
                self.require_block("SAVEPOINT")?;
                let mark = self.mark();
                let name = Arc::clone(name);
                self.tx.savepoints.push(Savepoint { name, mark });
                Ok("SAVEPOINT")
            }
            Transaction::Release(name) => {
                self.require_block("RELEASE SAVEPOINT")?;
                let at = self.savepoint(name)?;
                self.release(at);
                Ok("RELEASE")
            }
            Transaction::RollbackTo(name) => self.roll_back_to(name),
            Transaction::Prepare => self.prepare_transaction(io),
            Transaction::Finish => {
                self.refuse_in_recovery("COMMIT PREPARED")?;
                self.prevent_in_block("COMMIT PREPARED")?;
                let text = "prepared transaction with this identifier does not exist";
                Err(Fault::new("42704", text).into())
            }
        }
    }

    fn begin(&mut self, modes: &Modes, io: &mut Io<'_>) -> Result<(), Stop> {
        match self.tx.block {
            Block::Explicit => {
                let text = "there is already a transaction in progress";
                self.notice(io, "WARNING", "25001", text);
            }
            Block::None | Block::Implicit => {}
            Block::Failed => return Err(Fault::aborted().into()),
        }
        // Modes that cannot be had leave no block behind.
        self.set_modes(modes)?;
        self.tx.block = Block::Explicit;
        Ok(())
    }

    fn release(&mut self, at: usize) {
        // The access is the subtransaction's own, unlike what else was set in it.
        let access = self.tx.savepoints[at].mark.layers.get(ACCESS);
        self.settings.write(ACCESS, &access, false);
        self.tx.savepoints.truncate(at);
        for portal in &mut self.portals {
            portal.depth = portal.depth.min(at);
        }
    }

    fn roll_back_to(&mut self, name: &str) -> Result<&'static str, Stop> {
        if !matches!(self.tx.block, Block::Explicit | Block::Failed) {
            self.require_block("ROLLBACK TO SAVEPOINT")?;
        }
        let at = self.savepoint(name)?;
        let mark = self.tx.savepoints[at].mark.clone();
        self.go_back(&mark);
        self.tx.savepoints.truncate(at + 1);
        self.tx.block = Block::Explicit;
        self.portals
            .retain(|portal| portal.held || portal.depth <= at);
        Ok("ROLLBACK")
    }

    fn prepare_transaction(&mut self, io: &mut Io<'_>) -> Result<&'static str, Stop> {
        self.refuse_in_recovery("PREPARE TRANSACTION")?;
        if matches!(self.tx.block, Block::None | Block::Failed) {
            return self.end_block(false, false, io).map(|_| "ROLLBACK");
        }
        if self.tx.block == Block::Implicit {
            let text = "there is no transaction in progress";
            self.notice(io, "WARNING", "25P01", text);
        }
        // It would have left the block, and so does its failure.
        self.tx.block = Block::None;
        Err(Fault::new("55000", "prepared transactions are disabled").into())
    }

    fn savepoint(&self, name: &str) -> Result<usize, Fault> {
        let missing = || Fault::new("3B001", format!("savepoint \"{name}\" does not exist"));
        self.tx
            .savepoints
            .iter()
            .rposition(|point| *point.name == *name)
            .ok_or_else(missing)
    }

    /// For what makes sense in a block only, and in one that a client began.
    fn require_block(&self, what: &str) -> Result<(), Fault> {
        if self.tx.block == Block::Explicit {
            return Ok(());
        }
        Err(outside(what))
    }

    fn end_block(
        &mut self,
        commit: bool,
        chain: bool,
        io: &mut Io<'_>,
    ) -> Result<&'static str, Stop> {
        let word = if commit { "COMMIT" } else { "ROLLBACK" };
        let modes = chain.then(|| self.modes_now());
        let tag = match self.tx.block {
            Block::None | Block::Implicit if chain => {
                return Err(outside(&format!("{word} AND CHAIN")).into());
            }
            Block::None | Block::Implicit => {
                let text = "there is no transaction in progress";
                self.notice(io, "WARNING", "25P01", text);
                word
            }
            Block::Explicit => word,
            Block::Failed => "ROLLBACK",
        };
        if commit && tag == "COMMIT" {
            self.commit(io)?;
        } else {
            self.rollback(io.cluster);
        }
        if let Some(modes) = modes {
            self.start_transaction();
            self.tx.block = Block::Explicit;
            self.tx.chained = true;
            self.set_modes(&modes)?;
            // It begins with these: they are there again when it has failed.
            self.tx.start = Some(self.mark());
        }
        Ok(tag)
    }

    fn modes_now(&self) -> Modes {
        let isolation = self.settings.get("transaction_isolation");
        let writes = !self.recovers && !self.is_read_only();
        Modes {
            access: (!writes).then_some(Access::Only),
            isolation: isolation.and_then(|level| super::settings::isolation(&level)),
            deferrable: Some(self.settings.is_on("transaction_deferrable")),
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        // A primary that became a standby refuses in the transactions that it has, too.
        self.recovers || self.settings.is_on(ACCESS)
    }

    pub(super) fn set_modes(&mut self, modes: &Modes) -> Result<(), Fault> {
        if let Some(level) = modes.isolation {
            self.set_in_transaction("transaction_isolation", level)?;
        }
        if let Some(access) = modes.access {
            let value = if access == Access::Only { "on" } else { "off" };
            self.set_in_transaction(ACCESS, value)?;
        }
        if let Some(deferrable) = modes.deferrable {
            let value = if deferrable { "on" } else { "off" };
            self.set_in_transaction("transaction_deferrable", value)?;
        }
        Ok(())
    }

    /// The settings of the transaction itself, which have rules of their own.
    pub(super) fn set_in_transaction(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let before = self.settings.get(name).unwrap_or_default();
        match (name, boolean(value)) {
            (ACCESS, Some(false)) if *before != *"off" => self.may_write_again()?,
            ("transaction_isolation", _) if *before != *value => self.may_isolate(value)?,
            ("transaction_deferrable", Some(_)) => self.may_defer()?,
            _ => {}
        }
        self.settings.set(name, value, false)
    }

    fn may_write_again(&self) -> Result<(), Fault> {
        if self.tx.depth() > 0 {
            return Err(Fault::new(
                "25001",
                "cannot set transaction read-write mode inside a read-only transaction",
            ));
        }
        if self.tx.has_snapshot {
            return Err(Fault::new(
                "25001",
                "transaction read-write mode must be set before any query",
            ));
        }
        if self.recovers {
            return Err(Fault::new(
                "0A000",
                "cannot set transaction read-write mode during recovery",
            ));
        }
        Ok(())
    }

    fn may_isolate(&self, level: &str) -> Result<(), Fault> {
        if self.tx.has_snapshot {
            return Err(Fault::new(
                "25001",
                "SET TRANSACTION ISOLATION LEVEL must be called before any query",
            ));
        }
        if self.tx.depth() > 0 {
            return Err(Fault::new(
                "25001",
                "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction",
            ));
        }
        if self.recovers && level == "serializable" {
            return Err(Fault::new(
                "0A000",
                "cannot use serializable mode in a hot standby",
            ));
        }
        Ok(())
    }

    /// It is refused even where it changes nothing.
    fn may_defer(&self) -> Result<(), Fault> {
        if self.tx.depth() > 0 {
            return Err(Fault::new(
                "25001",
                "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction",
            ));
        }
        if self.tx.has_snapshot {
            return Err(Fault::new(
                "25001",
                "SET TRANSACTION [NOT] DEFERRABLE must be called before any query",
            ));
        }
        Ok(())
    }

    /// Waits for a lock, or takes it.
    pub(super) fn take_lock(
        &mut self,
        what: Lockable,
        of_session: bool,
        cluster: &mut Cluster,
    ) -> Result<(), Stop> {
        match cluster.lock(what, self.backend, of_session) {
            Ok(()) => Ok(()),
            Err(_) if cluster.is_deadlock(self.backend) => {
                cluster.stop_waiting(self.backend);
                Err(Fault::new("40P01", "deadlock detected").into())
            }
            Err(_) => Err(Stop::Wait),
        }
    }
}

fn outside(what: &str) -> Fault {
    Fault::new(
        "25P01",
        format!("{what} can only be used in transaction blocks"),
    )
}
