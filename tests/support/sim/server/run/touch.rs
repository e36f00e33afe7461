//! Which tables a statement touches: it waits while somebody outside of all sessions has one of them locked.

use std::sync::Arc;

use super::super::cluster::Cluster;
use super::super::portal::Plan;
use super::super::session::Session;
use super::super::sql::{
    Change, ChangeKind, CopySource, Expr, From, Select, Statement, Target, Utility, statements,
};
use super::super::wire::Fields;
use super::path::writes;

#[derive(Default)]
struct Touched {
    names: Vec<Arc<str>>,
    /// Whether functions are called that touch [`OF_FUNCTIONS`].
    by_functions: bool,
    /// Those that were looked into: one may run itself.
    plans: Vec<Arc<Plan>>,
}

/// The table that `f_read`, `f_write` and `p_write` work on.
const OF_FUNCTIONS: &str = "t";

impl Session {
    /// Whether a statement that is to be run has to wait.
    pub(crate) fn is_locked_out(&self, statement: &Statement, cluster: &Cluster) -> bool {
        cluster.is_locked_outside(self.node) && !self.is_failed() && {
            let mut touched = Touched::default();
            self.runs(statement, &mut touched);
            self.is_any_locked(&touched, cluster)
        }
    }

    /// Whether Parse or Bind has to wait: what they analyze or plan names tables.
    pub(crate) fn is_message_locked_out(&self, tag: u8, body: &[u8], cluster: &Cluster) -> bool {
        cluster.is_locked_outside(self.node) && !self.is_failed() && {
            let mut touched = Touched::default();
            self.names(tag, body, &mut touched);
            self.is_any_locked(&touched, cluster)
        }
    }

    /// Whether the rows of a prepared statement can be described only later. One without rows is not looked at.
    pub(crate) fn is_plan_locked_out(&self, plan: &Plan, cluster: &Cluster) -> bool {
        cluster.is_locked_outside(self.node) && plan.columns.is_some() && {
            let mut touched = Touched::default();
            analyzed(&plan.statement, &mut touched);
            self.is_any_locked(&touched, cluster)
        }
    }

    fn is_any_locked(&self, touched: &Touched, cluster: &Cluster) -> bool {
        let is_locked = |name: &str| cluster.locked_outside().iter().any(|one| **one == *name);
        let mut names = touched.names.iter();
        (touched.by_functions && is_locked(OF_FUNCTIONS))
            || names.any(|name| self.own_table(name).is_none() && is_locked(name))
    }

    /// What the statement of a message names, if there is one. What is wrong with the message is found out later.
    fn names(&self, tag: u8, body: &[u8], touched: &mut Touched) -> Option<()> {
        let mut fields = Fields(body);
        fields.text()?;
        let second = &*self.heard(fields.text()?).ok()?;
        if tag == b'B' {
            // A query is planned now, and for that its functions are looked at.
            match &self.prepared_plan(second).ok()??.statement {
                Statement::Select(select) => in_select(select, touched),
                Statement::Change(change) => in_change(change, touched),
                utility @ Statement::Utility(_) => analyzed(utility, touched),
            }
            return Some(());
        }
        let parsed = statements(second, self.lexing()).ok()?;
        if let [(statement, _)] = &parsed.list[..] {
            analyzed(statement, touched);
        }
        Some(())
    }

    fn runs(&self, statement: &Statement, touched: &mut Touched) {
        match statement {
            Statement::Select(select) => in_select(select, touched),
            Statement::Change(change) => in_change(change, touched),
            Statement::Utility(utility) => self.utility_runs(utility, touched),
        }
    }

    fn plan_runs(&self, plan: &Arc<Plan>, touched: &mut Touched) {
        if !touched.plans.iter().any(|known| Arc::ptr_eq(known, plan)) {
            touched.plans.push(Arc::clone(plan));
            self.runs(&plan.statement, touched);
        }
    }

    fn utility_runs(&self, utility: &Utility, touched: &mut Touched) {
        match utility {
            Utility::Prepare { statement, .. } => analyzed(statement, touched),
            Utility::Explain { statement, .. } | Utility::CopyOut(CopySource::Query(statement)) => {
                self.runs(statement, touched);
            }
            Utility::Declare { select, .. } | Utility::CreateAs { select, .. } => {
                in_select(select, touched);
            }
            Utility::Execute { name, .. } => {
                if let Ok(Some(plan)) = self.prepared_plan(name) {
                    self.plan_runs(&plan, touched);
                }
            }
            Utility::Fetch { name, .. } => {
                let portal = self.find_portal(name).map(|at| &self.portals[at]);
                let live = portal.filter(|portal| !portal.held);
                if let Some(plan) = live.and_then(|portal| portal.plan.as_ref()) {
                    self.plan_runs(plan, touched);
                }
            }
            Utility::CopyIn { table } | Utility::CopyOut(CopySource::Table(table)) => {
                touched.names.push(Arc::clone(table));
            }
            // What these refuse they refuse before they look at the table.
            Utility::Lock { table, .. } if self.in_block() => touched.names.push(Arc::clone(table)),
            Utility::Truncate(table) if !self.is_read_only() => {
                touched.names.push(Arc::clone(table))
            }
            Utility::Drop { names, .. } if !self.is_read_only() => {
                touched.names.extend(names.iter().map(Arc::clone));
            }
            Utility::Lock { .. } | Utility::Truncate(_) | Utility::Drop { .. } => {}
            Utility::Do(body) => {
                if body.contains("f_write(") || body.contains("f_read(") {
                    touched.by_functions = true;
                }
            }
            Utility::Call(name, _) => {
                if **name == *"p_write" {
                    touched.by_functions = true;
                }
            }
            Utility::Transaction(_)
            | Utility::SetTransaction(..)
            | Utility::Set { .. }
            | Utility::Reset(_)
            | Utility::ResetAll
            | Utility::Show(_)
            | Utility::Discard(_)
            | Utility::Deallocate(_)
            | Utility::CloseCursor(_)
            | Utility::Listen(_)
            | Utility::Unlisten(_)
            | Utility::Notify(..)
            | Utility::Create { .. }
            | Utility::CreateTemporary { .. }
            | Utility::Vacuum
            | Utility::Checkpoint
            | Utility::Survey { .. } => {}
        }
    }
}

/// What is looked up before a statement runs: nothing of most utilities, and not what functions do.
fn analyzed(statement: &Statement, touched: &mut Touched) {
    let by_functions = touched.by_functions;
    match statement {
        Statement::Select(select) => in_select(select, touched),
        Statement::Change(change) => in_change(change, touched),
        Statement::Utility(Utility::Explain { statement, .. }) => analyzed(statement, touched),
        Statement::Utility(Utility::Declare { select, .. } | Utility::CreateAs { select, .. }) => {
            in_select(select, touched);
        }
        Statement::Utility(_) => {}
    }
    touched.by_functions = by_functions;
}

fn in_select(select: &Select, touched: &mut Touched) {
    if let Some((_, change)) = &select.with {
        in_change(change, touched);
    }
    match &select.from {
        Some(From::Table(table)) => {
            let own = select.with.as_ref().is_some_and(|(name, _)| name == table);
            if !own {
                touched.names.push(Arc::clone(table));
            }
        }
        Some(From::Series(first, last, _)) => {
            in_expr(first, touched);
            in_expr(last, touched);
        }
        Some(From::Rows(rows)) => rows
            .iter()
            .flatten()
            .for_each(|expr| in_expr(expr, touched)),
        None => {}
    }
    in_targets(&select.targets, touched);
    for expr in select.filter.iter().chain(&select.limit) {
        in_expr(expr, touched);
    }
}

fn in_change(change: &Change, touched: &mut Touched) {
    touched.names.push(Arc::clone(&change.table));
    match &change.kind {
        ChangeKind::Insert { source, .. } => in_select(source, touched),
        ChangeKind::Update { sets, filter } => {
            for expr in sets.iter().map(|(_, expr)| expr).chain(filter) {
                in_expr(expr, touched);
            }
        }
        ChangeKind::Delete { filter } => filter.iter().for_each(|expr| in_expr(expr, touched)),
    }
    in_targets(&change.returning, touched);
}

fn in_targets(targets: &[Target], touched: &mut Touched) {
    for target in targets {
        if let Target::Expr(expr, _) = target {
            in_expr(expr, touched);
        }
    }
}

fn in_expr(expr: &Expr, touched: &mut Touched) {
    match expr {
        Expr::Call(name, arguments) => {
            if matches!(&**name, "f_read" | "f_write") || writes(name) {
                touched.by_functions = true;
            }
            arguments.iter().for_each(|expr| in_expr(expr, touched));
        }
        Expr::Cast(inner, _) | Expr::Not(inner) => in_expr(inner, touched),
        Expr::Binary(_, left, right) => {
            in_expr(left, touched);
            in_expr(right, touched);
        }
        Expr::Null
        | Expr::Bool(_)
        | Expr::Int(_)
        | Expr::Number(_)
        | Expr::Str(_)
        | Expr::Param(_)
        | Expr::Column(_) => {}
    }
}
