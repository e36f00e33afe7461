//! INSERT, UPDATE, DELETE.

use std::sync::Arc;

use super::super::cluster::{Lockable, Op, Row, Table, Value, bare};
use super::super::fault::{Fault, Stop};
use super::super::session::{Io, Session};
use super::super::sql::{Change, ChangeKind, Expr, Select};
use super::Scope;
use super::analyze::missing_table;
use super::eval::cast;

impl Session {
    /// INSERT, UPDATE or DELETE: the rows it returns and its tag.
    pub(crate) fn change(
        &mut self,
        change: &Change,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<(Vec<Vec<Value>>, String), Stop> {
        self.refuse_change(change)?;
        let table = self
            .table_now(&change.table, io.cluster)
            .ok_or_else(|| missing_table(&change.table))?;
        let affected = match &change.kind {
            ChangeKind::Insert { columns, source } => {
                self.insert(&table, columns, source, parameters, io)?
            }
            ChangeKind::Update { sets, filter } => {
                self.update(&table, sets, filter.as_ref(), parameters, io)?
            }
            ChangeKind::Delete { filter } => {
                self.delete(&table, filter.as_ref(), parameters, io)?
            }
        };
        let tag = match &change.kind {
            ChangeKind::Insert { .. } => format!("INSERT 0 {}", affected.len()),
            kind => format!("{} {}", kind.word(), affected.len()),
        };
        let mut out = Vec::new();
        for row in &affected {
            let scope = Scope {
                columns: &table.columns,
                row,
                series: None,
                parameters,
            };
            out.push(self.project(&change.returning, &scope, io)?);
        }
        Ok((out, tag))
    }

    /// A transaction that only reads changes the session's own tables alone.
    pub(super) fn refuse_change(&self, change: &Change) -> Result<(), Fault> {
        let temporary = self.own_table(&change.table).is_some();
        if self.is_read_only() && !temporary {
            return Err(Fault::read_only(change.kind.word()));
        }
        self.own_table(&change.table)
            .map_or(Ok(()), |table| table.is_changed_by(change.kind.word()))
    }

    /// A temporary relation of this name.
    pub(crate) fn own_table(&self, name: &str) -> Option<&Arc<Table>> {
        self.temporary.get(bare(name))
    }

    fn insert(
        &mut self,
        table: &Table,
        columns: &[Arc<str>],
        source: &Select,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Vec<Row>, Stop> {
        let mut out = Vec::new();
        for given in self.select_all(source, parameters, io)? {
            let mut row = vec![Value::Null; table.columns.len()];
            for (at, value) in given.into_iter().enumerate() {
                let place = match columns.get(at) {
                    None => at,
                    Some(name) => table
                        .columns
                        .iter()
                        .position(|column| column.name == *name)
                        .unwrap_or(at),
                };
                row[place] = cast(value, table.columns[place].oid)?;
            }
            let row: Row = row.into();
            self.insert_row(&table.name, Arc::clone(&row), io);
            out.push(row);
        }
        self.log_change(&table.name, io);
        Ok(out)
    }

    fn update(
        &mut self,
        table: &Table,
        sets: &[(Arc<str>, Expr)],
        filter: Option<&Expr>,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Vec<Row>, Stop> {
        let mut out = Vec::new();
        for (number, row) in self.matching(table, filter, parameters, io)? {
            let scope = Scope {
                columns: &table.columns,
                row: &row,
                series: None,
                parameters,
            };
            let mut fresh = row.to_vec();
            for (name, expr) in sets {
                let at = table.columns.iter().position(|column| column.name == *name);
                let at = at.expect("the columns are known");
                fresh[at] = cast(self.eval(expr, &scope, io)?, table.columns[at].oid)?;
            }
            let fresh: Row = fresh.into();
            self.apply(Op::Delete(Arc::clone(&table.name), number));
            self.insert_row(&table.name, Arc::clone(&fresh), io);
            out.push(fresh);
        }
        self.log_change(&table.name, io);
        Ok(out)
    }

    fn delete(
        &mut self,
        table: &Table,
        filter: Option<&Expr>,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Vec<Row>, Stop> {
        let mut out = Vec::new();
        for (number, row) in self.matching(table, filter, parameters, io)? {
            self.apply(Op::Delete(Arc::clone(&table.name), number));
            out.push(row);
        }
        self.log_change(&table.name, io);
        Ok(out)
    }

    /// The rows that a filter lets through, each locked.
    fn matching(
        &mut self,
        table: &Table,
        filter: Option<&Expr>,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Vec<(u64, Row)>, Stop> {
        let mut out = Vec::new();
        for (number, row) in &table.rows {
            let hit = match filter {
                None => true,
                Some(filter) => self.holds(filter, &table.columns, row, parameters, io)?,
            };
            if hit {
                self.take_lock(Lockable::Row(self.node, *number), false, io.cluster)?;
                out.push((*number, Arc::clone(row)));
            }
        }
        Ok(out)
    }

    /// One more row; the statement counts as a write.
    pub(crate) fn insert_row(&mut self, table: &str, row: Row, io: &mut Io<'_>) {
        let number = io.cluster.row_number();
        self.apply(Op::Insert(table.into(), number, row));
        self.log_change(table, io);
    }

    /// A change of this transaction, or of the session's own tables.
    pub(super) fn apply(&mut self, op: Op) {
        let (Op::Create(name, ..)
        | Op::Drop(name)
        | Op::Truncate(name)
        | Op::Insert(name, ..)
        | Op::Delete(name, _)) = &op;
        if self.own_table(name).is_some() {
            self.temporary.apply(&op);
        } else {
            self.tx.ops.push(op);
        }
    }

    fn log_change(&mut self, table: &str, io: &mut Io<'_>) {
        if self.own_table(table).is_none() {
            self.log_write(io);
        }
    }

    /// The client's statement wrote.
    pub(super) fn log_write(&mut self, io: &mut Io<'_>) {
        if !self.logged {
            self.logged = true;
            io.cluster.wrote(self.node, self.backend, &self.text);
        }
    }
}
