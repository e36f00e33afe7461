//! What the search path has a say in: which function an unqualified name means.

use std::sync::Arc;

use super::super::session::Session;
use super::super::sql::{
    Change, ChangeKind, CopySource, Expr, From, Select, Statement, Target, Utility,
};

/// A schema with a function of a built-in one's name: `app.length` inserts a row and gives its id, the length.
const SCHEMA: &str = "app";
const BUILT_IN: &str = "length";

/// What the built-in one's name means where that schema is searched first.
const BY_PATH: &str = "length@app";

/// Whether a call of it writes.
pub(crate) fn writes(name: &str) -> bool {
    matches!(name, BY_PATH | "app.length")
}

/// A name in an expression with the schema before it, which says nothing here but for the functions of [`SCHEMA`].
pub(crate) fn qualified(schema: &str, name: Arc<str>) -> Arc<str> {
    match (schema, &*name) {
        (SCHEMA | "pg_catalog", BUILT_IN) => format!("{schema}.{name}").into(),
        _ => name,
    }
}

/// The name that a column of a call has.
pub(super) fn label(name: &str) -> &str {
    let name = name.rsplit('.').next().unwrap_or(name);
    let name = name.trim_end_matches("(*)");
    if name == BY_PATH { BUILT_IN } else { name }
}

impl Session {
    /// Whether what is made without a schema is temporary.
    pub(super) fn makes_temporary(&self) -> bool {
        let path = self.settings.get("search_path").unwrap_or_default();
        path.split(',')
            .next()
            .is_some_and(|first| first.trim() == "pg_temp")
    }

    /// Looks functions up along the search path as it is now.
    pub(super) fn resolve(&self, statement: &mut Statement) {
        let path = self.settings.get("search_path").unwrap_or_default();
        let place = |wanted: &str| path.split(',').position(|schema| schema.trim() == wanted);
        let before = match (place(SCHEMA), place("pg_catalog")) {
            (Some(ours), Some(catalog)) => ours < catalog,
            _ => false,
        };
        let means = if before { BY_PATH } else { BUILT_IN };
        in_statement(statement, &means.into());
    }
}

fn in_statement(statement: &mut Statement, means: &Arc<str>) {
    match statement {
        Statement::Select(select) => in_select(select, means),
        Statement::Change(change) => in_change(change, means),
        Statement::Utility(
            Utility::Explain { statement, .. } | Utility::CopyOut(CopySource::Query(statement)),
        ) => in_statement(statement, means),
        Statement::Utility(
            Utility::Declare { select, .. }
            | Utility::CreateAs { select, .. }
            | Utility::CreateTemporary { select, .. },
        ) => in_select(select, means),
        Statement::Utility(
            Utility::Execute {
                values: arguments, ..
            }
            | Utility::Call(_, arguments),
        ) => arguments.iter_mut().for_each(|expr| in_expr(expr, means)),
        // What is prepared is looked up when it is.
        Statement::Utility(_) => {}
    }
}

fn in_select(select: &mut Select, means: &Arc<str>) {
    if let Some((_, change)) = &mut select.with {
        in_change(change, means);
    }
    match &mut select.from {
        Some(From::Series(first, last, _)) => {
            in_expr(first, means);
            in_expr(last, means);
        }
        Some(From::Rows(rows)) => rows
            .iter_mut()
            .flatten()
            .for_each(|expr| in_expr(expr, means)),
        Some(From::Table(_)) | None => {}
    }
    in_targets(&mut select.targets, means);
    for expr in select.filter.iter_mut().chain(&mut select.limit) {
        in_expr(expr, means);
    }
}

fn in_change(change: &mut Change, means: &Arc<str>) {
    match &mut change.kind {
        ChangeKind::Insert { source, .. } => in_select(source, means),
        ChangeKind::Update { sets, filter } => {
            for expr in sets.iter_mut().map(|(_, expr)| expr).chain(filter) {
                in_expr(expr, means);
            }
        }
        ChangeKind::Delete { filter } => {
            filter.iter_mut().for_each(|expr| in_expr(expr, means));
        }
    }
    in_targets(&mut change.returning, means);
}

fn in_targets(targets: &mut [Target], means: &Arc<str>) {
    for target in targets {
        if let Target::Expr(expr, _) = target {
            in_expr(expr, means);
        }
    }
}

fn in_expr(expr: &mut Expr, means: &Arc<str>) {
    match expr {
        Expr::Call(name, arguments) => {
            if matches!(&**name, BUILT_IN | BY_PATH) {
                *name = Arc::clone(means);
            }
            arguments.iter_mut().for_each(|expr| in_expr(expr, means));
        }
        Expr::Cast(inner, _) | Expr::Not(inner) => in_expr(inner, means),
        Expr::Binary(_, left, right) => {
            in_expr(left, means);
            in_expr(right, means);
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
