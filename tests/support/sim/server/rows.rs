//! Rows, tables, and how they change.

use std::sync::Arc;

use super::fault::Fault;
use super::sql::{ColumnType, Relation, TEMPORARY};

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(Arc<str>),
    /// An array, in binary format.
    Array(Arc<[u8]>),
}

impl Value {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Text(text.into())
    }

    /// As a DataRow in text format has it.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Bool(true) => Some("t".to_owned()),
            Value::Bool(false) => Some("f".to_owned()),
            Value::Int(number) => Some(number.to_string()),
            Value::Text(text) => Some(text.to_string()),
            Value::Array(bytes) => Some(bytes.escape_ascii().to_string()),
        }
    }
}

pub(super) type Row = Arc<[Value]>;

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: Arc<str>,
    pub(super) kind: Relation,
    pub(super) columns: Arc<[ColumnType]>,
    /// Each with a number of its own, in the order of their making.
    pub(super) rows: Vec<(u64, Row)>,
}

impl Table {
    /// Whether a statement that begins with this word may change its rows.
    pub(super) fn is_changed_by(&self, word: &str) -> Result<(), Fault> {
        let name = &self.name;
        match (self.kind, word) {
            (Relation::Table, _) => Ok(()),
            (Relation::View, "INSERT" | "UPDATE" | "DELETE") => Err(Fault::new(
                "55000",
                format!("cannot change view \"{name}\""),
            )),
            (Relation::Sequence, "INSERT" | "UPDATE" | "DELETE") => {
                let text = format!("permission denied for sequence {name}");
                Err(Fault::new("42501", text))
            }
            _ => Err(Fault::new("42809", format!("\"{name}\" is not a table"))),
        }
    }
}

/// The name of a temporary relation without the schema before it.
pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix(TEMPORARY).unwrap_or(name)
}

/// A change of the rows.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(Arc<str>, Arc<[ColumnType]>, Relation),
    Drop(Arc<str>),
    Truncate(Arc<str>),
    Insert(Arc<str>, u64, Row),
    Delete(Arc<str>, u64),
}

/// Tables as some server or transaction sees them. Clones share what is not changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables(Vec<Arc<Table>>);

impl Tables {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Table>> {
        self.0.iter().find(|table| *table.name == *name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn change(&mut self, name: &str) -> Option<&mut Table> {
        let found = self.0.iter_mut().find(|table| *table.name == *bare(name))?;
        Some(Arc::make_mut(found))
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(name, columns, kind) => self.0.push(Arc::new(Table {
                name: bare(name).into(),
                kind: *kind,
                columns: Arc::clone(columns),
                rows: Vec::new(),
            })),
            Op::Drop(name) => self.0.retain(|table| *table.name != *bare(name)),
            Op::Truncate(name) => {
                if let Some(table) = self.change(name) {
                    table.rows.clear();
                }
            }
            Op::Insert(name, id, row) => {
                if let Some(table) = self.change(name) {
                    table.rows.push((*id, Arc::clone(row)));
                }
            }
            Op::Delete(name, id) => {
                if let Some(table) = self.change(name) {
                    table.rows.retain(|(other, _)| other != id);
                }
            }
        }
    }

    /// All rows, in the order of tables' names and then as text.
    pub(super) fn dump(&self) -> Vec<String> {
        let mut out: Vec<String> = self
            .0
            .iter()
            .flat_map(|table| {
                table.rows.iter().map(|(_, row)| {
                    let values: Vec<String> = row
                        .iter()
                        .map(|value| value.shown().unwrap_or_else(|| "null".to_owned()))
                        .collect();
                    format!("{}: {}", table.name, values.join(", "))
                })
            })
            .collect();
        out.sort();
        out
    }
}
