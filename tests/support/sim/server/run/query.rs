//! SELECT.

use std::sync::Arc;

use super::super::cluster::{Cluster, Lockable, Row, Table, Value};
use super::super::fault::{Fault, Stop};
use super::super::session::{Io, Session};
use super::super::sql::{Change, ColumnType, Expr, From, Select, Target, oid};
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
                let pure = matches!(
                    &**name,
                    "upper" | "lower" | "length" | "pg_catalog.length" | "repeat"
                );
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
        if let Some(table) = self.own_table(name) {
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
        self.expand_series(select, sources, parameters, io)?;
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

    /// One row for each number of `generate_series` among the targets.
    fn expand_series(
        &mut self,
        select: &Select,
        sources: &mut Sources,
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<(), Stop> {
        let Some((first, last)) = series(&select.targets) else {
            return Ok(());
        };
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

    pub(super) fn holds(
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
            self.take_lock(Lockable::Row(self.node, number), false, io.cluster)?;
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

    pub(super) fn project(
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
