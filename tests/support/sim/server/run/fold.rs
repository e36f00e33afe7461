//! What the planner computes before a statement runs, and which errors it meets.

use super::super::cluster::Value;
use super::super::fault::Fault;
use super::super::session::Session;
use super::super::sql::{Change, ChangeKind, From, Select, Statement, Target};
use super::eval::constant;

impl Session {
    /// What the planner finds out, and what the start of a statement does before it runs.
    pub(crate) fn plan(&self, statement: &Statement, parameters: &[Value]) -> Result<(), Fault> {
        self.fold(statement, parameters)?;
        self.may_start(statement)
    }

    /// Constants that cannot be computed.
    pub(crate) fn fold(&self, statement: &Statement, parameters: &[Value]) -> Result<(), Fault> {
        match statement {
            Statement::Select(select) => fold_select(select, parameters),
            Statement::Change(change) => fold_change(change, parameters),
            Statement::Utility(_) => Ok(()),
        }
    }

    /// Rows that cannot be locked.
    pub(crate) fn may_start(&self, statement: &Statement) -> Result<(), Fault> {
        match statement {
            Statement::Select(Select {
                lock: Some(what), ..
            }) if self.is_read_only() => Err(Fault::read_only(what)),
            _ => Ok(()),
        }
    }
}

fn fold_select(select: &Select, parameters: &[Value]) -> Result<(), Fault> {
    for target in &select.targets {
        if let Target::Expr(expr, _) = target {
            constant(expr, parameters)?;
        }
    }
    if let Some(From::Rows(rows)) = &select.from {
        for expr in rows.iter().flatten() {
            constant(expr, parameters)?;
        }
    }
    if let Some(From::Series(first, last, _)) = &select.from {
        constant(first, parameters)?;
        constant(last, parameters)?;
    }
    for expr in select.filter.iter().chain(&select.limit) {
        constant(expr, parameters)?;
    }
    match &select.with {
        Some((_, change)) => fold_change(change, parameters),
        None => Ok(()),
    }
}

fn fold_change(change: &Change, parameters: &[Value]) -> Result<(), Fault> {
    match &change.kind {
        ChangeKind::Insert { source, .. } => fold_select(source, parameters),
        ChangeKind::Update { sets, filter } => {
            for expr in sets.iter().map(|(_, expr)| expr).chain(filter) {
                constant(expr, parameters)?;
            }
            Ok(())
        }
        ChangeKind::Delete { filter } => {
            if let Some(filter) = filter {
                constant(filter, parameters)?;
            }
            Ok(())
        }
    }
}
