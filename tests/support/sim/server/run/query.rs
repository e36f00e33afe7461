//! SELECT, INSERT, UPDATE, DELETE.

use std::sync::Arc;

use super::super::cluster::{Cluster, Lockable, Op, Row, Table, Value};
use super::super::fault::{Fault, Stop};
use super::super::session::{Io, Session};
use super::super::sql::{Change, ChangeKind, ColumnType, Expr, From, Select, Target, oid};
use super::analyze::{is_aggregate, missing_table};
use super::eval::cast;
use super::{Rows, Scope, Source, Sources};

/// `generate_series` among the targets, which makes several rows of one.
fn series(targets: &[Target]) -> Option<(&Expr, &Expr)> {
    targets.iter().find_map(|target| match target {
        Target::Expr(Expr::Call(name, arguments), _) if &**name == "generate_series" => {
            Some((&arguments[0], &arguments[1]))
        }
        _ => None,
    })
}

/// Whether computing the targets twice is not the same as once.
fn is_volatile(targets: &[Target]) -> bool {
    fn volatile(expr: &Expr) -> bool {
        match expr {
            Expr::Call(name, arguments) => {
                let pure = matches!(&**name, "upper" | "lower" | "length" | "repeat");
                !pure || arguments.iter().any(volatile)
            }
            Expr::Cast(inner, _) | Expr::Not(inner) => volatile(inner),
            Expr::Binary(_, left, right) => volatile(left) || volatile(right),
            Expr::Null
            | Expr::Bool(_)
            | Expr::Int(_)
            | Expr::Number(_)
            | Expr::Str(_)
            | Expr::Param(_)
            | Expr::Column(_) => false,
        }
    }
    targets.iter().any(|target| match target {
        Target::All => false,
        Target::Expr(expr, _) => volatile(expr),
    })
}

impl Session {
    pub(super) fn table_now(&mut self, name: &str, cluster: &Cluster) -> Option<Arc<Table>> {
        if let Some(table) = self.temporary.get(name) {
            return Some(Arc::clone(table));
        }
        self.view(cluster).get(name).cloned()
    }

    fn int(
        &mut self,
        expr: &Expr,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Option<i64>, Stop> {
        let scope = Scope {
            columns: &[],
            row: &[],
            series: None,
            parameters,
        };
        match cast(self.eval(expr, &scope, io)?, oid::INT8)? {
            Value::Int(number) => Ok(Some(number)),
            _ => Ok(None),
        }
    }

    /// Reads what a SELECT reads; its targets are computed later.
    pub(crate) fn open(
        &mut self,
        select: &Select,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Sources, Stop> {
        let (columns, rows) = self.from(select, parameters, io)?;
        self.open_rows(select, columns, rows, parameters, io)
    }

    fn open_rows(
        &mut self,
        select: &Select,
        columns: Arc<[ColumnType]>,
        rows: Vec<Source>,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Sources, Stop> {
        let mut sources = Sources {
            columns,
            targets: select.targets.clone(),
            rows: Vec::with_capacity(rows.len()),
            at: 0,
            locks: select.lock.is_some(),
            fault: None,
        };
        match self.select_rows(select, &mut sources, rows, parameters, io) {
            Ok(()) => {}
            Err(Stop::Fault(fault)) => sources.fault = Some(fault),
            Err(Stop::Wait) => return Err(Stop::Wait),
        }
        Ok(sources)
    }

    /// WHERE, ORDER BY, aggregates, LIMIT.
    fn select_rows(
        &mut self,
        select: &Select,
        sources: &mut Sources,
        rows: Vec<Source>,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<(), Stop> {
        let columns = Arc::clone(&sources.columns);
        for source in rows {
            let keep = match &select.filter {
                None => true,
                Some(filter) => self.holds(filter, &columns, &source.row, parameters, io)?,
            };
            if keep {
                sources.rows.push(source);
            }
        }
        if let Some((name, descending)) = &select.order {
            if let Some(at) = columns.iter().position(|column| column.name == *name) {
                sources.rows.sort_by(|left, right| {
                    let order = compare(&left.row[at], &right.row[at]);
                    if *descending { order.reverse() } else { order }
                });
            }
        }
        if sources
            .targets
            .iter()
            .any(|target| matches!(target, Target::Expr(expr, _) if is_aggregate(expr)))
        {
            let rows = std::mem::take(&mut sources.rows);
            for target in &mut sources.targets {
                if let Target::Expr(expr, _) = target {
                    self.aggregate(expr, &columns, &rows, parameters, io)?;
                }
            }
            sources.rows.push(nothing());
        }
        if let Some((first, last)) = series(&select.targets) {
            let (first, last) = (
                self.int(first, parameters, io)?,
                self.int(last, parameters, io)?,
            );
            let (Some(first), Some(last)) = (first, last) else {
                sources.rows.clear();
                return Ok(());
            };
            sources.rows = std::mem::take(&mut sources.rows)
                .into_iter()
                .flat_map(|source| {
                    (first..=last).map(move |number| Source {
                        row: Arc::clone(&source.row),
                        series: Some(number),
                        number: None,
                    })
                })
                .collect();
        }
        if select.order.is_some() && !is_volatile(&select.targets) {
            // What is sorted is computed before: an error leaves no rows.
            let computed = self.compute_all(sources, parameters, io);
            if computed.is_err() {
                sources.rows.clear();
            }
            computed?;
        }
        if let Some(limit) = &select.limit {
            if let Some(limit) = self.int(limit, parameters, io)? {
                let limit = usize::try_from(limit)
                    .map_err(|_| Fault::new("2201W", "LIMIT must not be negative"))?;
                sources.rows.truncate(limit);
            }
        }
        Ok(())
    }

    fn compute_all(
        &mut self,
        sources: &Sources,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<(), Stop> {
        for source in &sources.rows {
            let scope = Scope {
                columns: &sources.columns,
                row: &source.row,
                series: source.series,
                parameters,
            };
            self.project(&sources.targets, &scope, io)?;
        }
        Ok(())
    }

    fn from(
        &mut self,
        select: &Select,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<(Arc<[ColumnType]>, Vec<Source>), Stop> {
        match &select.from {
            None => Ok(([].into(), vec![nothing()])),
            Some(From::Table(name)) => {
                let table = self
                    .table_now(name, io.cluster)
                    .ok_or_else(|| missing_table(name))?;
                let rows = table.rows.iter().map(|(number, row)| Source {
                    row: Arc::clone(row),
                    series: None,
                    number: Some(*number),
                });
                Ok((Arc::clone(&table.columns), rows.collect()))
            }
            Some(From::Series(first, last, name)) => {
                let first = self.int(first, parameters, io)?;
                let last = self.int(last, parameters, io)?;
                let range = first.zip(last).map(|(first, last)| first..=last);
                let numbers = range.into_iter().flatten();
                let rows = numbers.map(|number| plain([Value::Int(number)].into()));
                let column = ColumnType {
                    name: Arc::clone(name),
                    oid: oid::INT4,
                };
                Ok(([column].into(), rows.collect()))
            }
            Some(From::Rows(rows)) => {
                let mut out = Vec::new();
                for row in rows {
                    out.push(plain(self.values(row, parameters, io)?.into()));
                }
                let columns = (1..=rows[0].len()).map(|at| ColumnType {
                    name: format!("column{at}").into(),
                    oid: oid::UNKNOWN,
                });
                Ok((columns.collect(), out))
            }
        }
    }

    /// Values of expressions that name no columns.
    pub(super) fn values(
        &mut self,
        exprs: &[Expr],
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Vec<Value>, Stop> {
        let scope = Scope {
            columns: &[],
            row: &[],
            series: None,
            parameters,
        };
        exprs
            .iter()
            .map(|expr| self.eval(expr, &scope, io))
            .collect()
    }

    fn holds(
        &mut self,
        filter: &Expr,
        columns: &[ColumnType],
        row: &[Value],
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<bool, Stop> {
        let scope = Scope {
            columns,
            row,
            series: None,
            parameters,
        };
        Ok(self.eval(filter, &scope, io)? == Value::Bool(true))
    }

    /// Puts the result in the place of the call.
    fn aggregate(
        &mut self,
        expr: &mut Expr,
        columns: &[ColumnType],
        rows: &[Source],
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<(), Stop> {
        match expr {
            Expr::Call(name, _) if &**name == "count(*)" => *expr = Expr::Int(rows.len() as i64),
            Expr::Call(name, arguments)
                if is_aggregate(&Expr::Call(name.clone(), arguments.clone())) =>
            {
                let mut numbers = Vec::new();
                for source in rows {
                    let scope = Scope {
                        columns,
                        row: &source.row,
                        series: None,
                        parameters,
                    };
                    if let Value::Int(number) = self.eval(&arguments[0], &scope, io)? {
                        numbers.push(number);
                    }
                }
                let result = match &**name {
                    "max" => numbers.into_iter().max(),
                    "min" => numbers.into_iter().min(),
                    _ => numbers.into_iter().reduce(|a, b| a + b),
                };
                *expr = result.map_or(Expr::Null, Expr::Int);
            }
            Expr::Binary(_, left, right) => {
                self.aggregate(left, columns, rows, parameters, io)?;
                self.aggregate(right, columns, rows, parameters, io)?;
            }
            Expr::Cast(inner, _) | Expr::Not(inner) => {
                self.aggregate(inner, columns, rows, parameters, io)?;
            }
            Expr::Null
            | Expr::Bool(_)
            | Expr::Int(_)
            | Expr::Number(_)
            | Expr::Str(_)
            | Expr::Param(_)
            | Expr::Column(_)
            | Expr::Call(..) => {}
        }
        Ok(())
    }

    /// The next row of a result.
    pub(crate) fn pull(
        &mut self,
        sources: &mut Sources,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Option<Vec<Value>>, Stop> {
        let Some(source) = sources.rows.get(sources.at) else {
            return sources
                .fault
                .take()
                .map_or(Ok(None), |fault| Err(fault.into()));
        };
        if let (true, Some(number)) = (sources.locks, source.number) {
            self.take_lock(Lockable::Row(number), false, io.cluster)?;
        }
        let scope = Scope {
            columns: &sources.columns,
            row: &source.row,
            series: source.series,
            parameters,
        };
        let row = self.project(&sources.targets, &scope, io)?;
        sources.at += 1;
        Ok(Some(row))
    }

    fn project(
        &mut self,
        targets: &[Target],
        scope: &Scope<'_>,
        io: &mut Io<'_>,
    ) -> Result<Vec<Value>, Stop> {
        let mut out = Vec::with_capacity(targets.len());
        for target in targets {
            match target {
                Target::All => out.extend(scope.row.iter().cloned()),
                Target::Expr(expr, _) => out.push(self.eval(expr, scope, io)?),
            }
        }
        Ok(out)
    }

    /// Every row of a SELECT.
    pub(crate) fn select_all(
        &mut self,
        select: &Select,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Rows {
        if select.with.is_some() {
            return self.with(select, parameters, io);
        }
        let mut sources = self.open(select, parameters, io)?;
        let mut out = Vec::new();
        while let Some(row) = self.pull(&mut sources, parameters, io)? {
            out.push(row);
        }
        Ok(out)
    }

    /// A SELECT that begins with a change.
    pub(crate) fn with(&mut self, select: &Select, parameters: &[Value], io: &mut Io<'_>) -> Rows {
        let (name, change) = select.with.as_ref().expect("it has WITH");
        self.refuse_change(change)?;
        // What it reads besides was there before the change.
        let other = match &select.from {
            Some(From::Table(table)) if table == name => None,
            _ => Some(self.from(select, parameters, io)?),
        };
        let (rows, _) = self.change(change, parameters, io)?;
        let (columns, rows) = match other {
            Some(other) => other,
            None => {
                let columns = self.returned(change, io.cluster)?;
                let rows = rows.into_iter().map(|row| plain(row.into())).collect();
                (columns, rows)
            }
        };
        let mut sources = self.open_rows(select, columns, rows, parameters, io)?;
        let mut out = Vec::new();
        while let Some(row) = self.pull(&mut sources, parameters, io)? {
            out.push(row);
        }
        Ok(out)
    }

    /// The names of what a change returns.
    fn returned(&mut self, change: &Change, cluster: &Cluster) -> Result<Arc<[ColumnType]>, Stop> {
        let mut types = Vec::new();
        let statement = super::super::sql::Statement::Change(change.clone());
        let plan = self.analyze(statement, &"".into(), &mut types, true, cluster)?;
        let columns = plan.columns.unwrap_or_else(|| [].into());
        let columns = columns.iter().map(|column| ColumnType {
            name: Arc::clone(&column.name),
            oid: column.oid,
        });
        Ok(columns.collect())
    }

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
        let temporary = self.temporary.get(&change.table).is_some();
        if self.is_read_only() && !temporary {
            return Err(Fault::read_only(change.kind.word()));
        }
        Ok(())
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
                self.take_lock(Lockable::Row(*number), false, io.cluster)?;
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
        let (Op::Create(name, _)
        | Op::Drop(name)
        | Op::Truncate(name)
        | Op::Insert(name, ..)
        | Op::Delete(name, _)) = &op;
        if self.temporary.get(name).is_some() {
            self.temporary.apply(&op);
        } else {
            self.tx.ops.push(op);
        }
    }

    fn log_change(&mut self, table: &str, io: &mut Io<'_>) {
        if self.temporary.get(table).is_none() {
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

fn plain(row: Row) -> Source {
    Source {
        row,
        series: None,
        number: None,
    }
}

/// The row of a SELECT that reads nothing.
fn nothing() -> Source {
    plain([].into())
}

/// NULL is last.
fn compare(left: &Value, right: &Value) -> std::cmp::Ordering {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Null, Value::Null) => std::cmp::Ordering::Equal,
        (Value::Null, _) => std::cmp::Ordering::Greater,
        (_, Value::Null) => std::cmp::Ordering::Less,
        _ => left.shown().cmp(&right.shown()),
    }
}
