//! What a syntax tree says about tables and names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    CopySource, Expr, FromTable, Ident, MergeAction, ObjectName, ObjectType, Query, Statement,
    TableFactor, TableObject, TableWithJoins, Visit, Visitor,
};

use crate::route::tables::{Operation, Operations, TableUse};

/// What the tree says.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) tables: Vec<TableUse>,
    /// Names that are aliases with a column list somewhere and called nowhere.
    pub(super) aliases: Vec<Box<[u8]>>,
    /// Whether the statement is of a kind that can be a read, with no other inside that is executed.
    pub(super) may_be_read: bool,
}

/// Walks the trees of a text's statements: names of one mean nothing in another.
pub(super) fn facts(statements: &[Statement]) -> Facts {
    let mut uses: BTreeMap<Key, Operations> = BTreeMap::new();
    let mut aliases = Vec::new();
    let mut may_be_read = true;
    for statement in statements {
        let mut walk = Walk::default();
        let ControlFlow::Continue(()) = statement.visit(&mut walk);
        let executed = !matches!(statement, Statement::Explain { analyze: false, .. });
        may_be_read &= !(executed && walk.writes);
        let uncalled = walk.aliases.difference(&walk.called);
        aliases.extend(uncalled.map(|name| name.as_bytes().into()));
        for (key, operations) in walk.tables() {
            let known = uses.entry(key).or_default();
            operations.iter().for_each(|one| known.insert(one));
        }
    }
    let tables = uses
        .into_iter()
        .map(|((schema, table), operations)| TableUse {
            schema,
            table,
            operations,
        });
    Facts {
        tables: tables.collect(),
        aliases,
        may_be_read,
    }
}

type Key = (Option<String>, String);

#[derive(Debug, Default)]
struct Walk {
    uses: BTreeMap<Key, Operations>,
    /// Relations still to be met as the target of a statement already seen.
    targets: Vec<Key>,
    /// Names of `WITH` items.
    items: BTreeSet<String>,
    aliases: BTreeSet<String>,
    called: BTreeSet<String>,
    writes: bool,
}

/// A name as the server folds it. Letters beyond ASCII are left alone.
fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_ascii_lowercase()
    }
}

/// The schema and the name of an object.
fn key(name: &ObjectName) -> Option<Key> {
    let mut parts = name.0.iter().rev().map(|part| part.as_ident().map(fold));
    let table = parts.next()??;
    Some((parts.next().flatten(), table))
}

impl Walk {
    fn tables(self) -> impl Iterator<Item = (Key, Operations)> {
        let items = self.items;
        self.uses
            .into_iter()
            .filter(move |((schema, table), _)| schema.is_some() || !items.contains(table))
    }

    fn add(&mut self, name: &ObjectName, operation: Operation) {
        if let Some(key) = key(name) {
            self.uses.entry(key).or_default().insert(operation);
        }
    }

    /// A statement's target, which the walk will meet again as a relation.
    fn target(&mut self, name: &ObjectName, operation: Operation) {
        self.add(name, operation);
        self.targets.extend(key(name));
    }

    fn target_factor(&mut self, factor: &TableFactor, operation: Operation) {
        if let TableFactor::Table { name, .. } = factor {
            self.target(name, operation);
        }
    }

    fn call(&mut self, name: &ObjectName) {
        self.called
            .extend(name.0.last().and_then(|part| part.as_ident()).map(fold));
    }

    /// A statement that changes rows.
    fn data(&mut self, statement: &Statement) -> bool {
        if let Statement::Insert(insert) = statement {
            if let TableObject::TableName(name) = &insert.table {
                self.target(name, Operation::Insert);
            }
        } else if let Statement::Update(update) = statement {
            self.target_factor(&update.table.relation, Operation::Update);
        } else if let Statement::Delete(delete) = statement {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            for TableWithJoins { relation, .. } in from {
                self.target_factor(relation, Operation::Delete);
            }
        } else if let Statement::Merge(merge) = statement {
            let mut operations = merge
                .clauses
                .iter()
                .filter_map(|clause| merge_operation(&clause.action))
                .peekable();
            // A MERGE that does nothing reads its target.
            if operations.peek().is_some() {
                operations.for_each(|operation| self.target_factor(&merge.table, operation));
            }
        } else if let Statement::Truncate(truncate) = statement {
            for table in &truncate.table_names {
                self.target(&table.name, Operation::Delete);
            }
        } else {
            return false;
        }
        true
    }

    /// A statement that changes definitions.
    fn definition(&mut self, statement: &Statement) -> bool {
        if let Statement::CreateTable(create) = statement {
            self.target(&create.name, Operation::Create);
        } else if let Statement::CreateView(create) = statement {
            self.target(&create.name, Operation::Create);
        } else if let Statement::AlterTable(alter) = statement {
            self.target(&alter.name, Operation::Alter);
        } else if let Statement::AlterView { name, .. } = statement {
            self.target(name, Operation::Alter);
        } else if let Statement::Drop {
            object_type, names, ..
        } = statement
        {
            if matches!(
                object_type,
                ObjectType::Table | ObjectType::View | ObjectType::MaterializedView
            ) {
                names
                    .iter()
                    .for_each(|name| self.add(name, Operation::Drop));
            }
        } else {
            return false;
        }
        true
    }
}

fn merge_operation(action: &MergeAction) -> Option<Operation> {
    match action {
        MergeAction::Insert(_) => Some(Operation::Insert),
        MergeAction::Update(_) => Some(Operation::Update),
        MergeAction::Delete { .. } => Some(Operation::Delete),
        MergeAction::DoNothing { .. } => None,
    }
}

impl Visitor for Walk {
    type Break = std::convert::Infallible;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Self::Break> {
        if self.data(statement) || self.definition(statement) {
            self.writes = true;
        } else if let Statement::Copy {
            source: CopySource::Table { table_name, .. },
            to,
            ..
        } = statement
        {
            self.add(
                table_name,
                if *to {
                    Operation::Select
                } else {
                    Operation::Insert
                },
            );
            self.writes |= !to;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let items = query.with.iter().flat_map(|with| &with.cte_tables);
        self.items.extend(items.map(|item| fold(&item.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        let target =
            key(relation).and_then(|key| self.targets.iter().position(|have| *have == key));
        match target {
            Some(at) => {
                self.targets.swap_remove(at);
            }
            None => self.add(relation, Operation::Select),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::Table {
            name, alias, args, ..
        } = factor
        {
            if args.is_some() {
                self.call(name);
                self.targets.extend(key(name));
            } else if let Some(alias) = alias {
                let has_columns = !alias.columns.is_empty();
                self.aliases.extend(has_columns.then(|| fold(&alias.name)));
            }
        } else if let TableFactor::Function { name, .. } = factor {
            self.call(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(function) = expr {
            self.call(&function.name);
        }
        ControlFlow::Continue(())
    }
}
