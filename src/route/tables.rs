//! The tables of a text and what is done to them, in plain types.

use std::collections::BTreeMap;
use std::fmt;

use super::encoding::LexState;
use super::rules::Rules;

/// What is done to a table: the operations that Envoy's PostgreSQL filter reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// It is read.
    Select,
    /// Rows are added: `INSERT`, `COPY … FROM`, `MERGE`.
    Insert,
    /// Rows are changed.
    Update,
    /// Rows are removed: `DELETE`, `TRUNCATE`, `MERGE`.
    Delete,
    /// It is created.
    Create,
    /// It is dropped.
    Drop,
    /// Its definition is changed.
    Alter,
}

impl Operation {
    const ALL: [Operation; 7] = [
        Operation::Select,
        Operation::Insert,
        Operation::Update,
        Operation::Delete,
        Operation::Create,
        Operation::Drop,
        Operation::Alter,
    ];

    /// Its name, in lower case, as in Envoy's metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Operation::Select => "select",
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Create => "create",
            Operation::Drop => "drop",
            Operation::Alter => "alter",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Operation::Select => 1,
            Operation::Insert => 2,
            Operation::Update => 4,
            Operation::Delete => 8,
            Operation::Create => 16,
            Operation::Drop => 32,
            Operation::Alter => 64,
        }
    }
}

/// A set of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations(u8);

impl Operations {
    /// Whether the operation is in it.
    #[must_use]
    pub fn contains(self, operation: Operation) -> bool {
        self.0 & operation.bit() != 0
    }

    /// Its operations, in the order of the type.
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL
            .into_iter()
            .filter(move |operation| self.contains(*operation))
    }

    /// Adds an operation.
    pub fn insert(&mut self, operation: Operation) {
        self.0 |= operation.bit();
    }
}

/// One table and what a text does to it. Names are as the server folds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableUse {
    /// The schema, if the text names it.
    pub schema: Option<String>,
    /// The table, view or materialized view.
    pub table: String,
    /// What is done to it.
    pub operations: Operations,
}

impl fmt::Display for TableUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        write!(f, "{}:", self.table)?;
        self.operations
            .iter()
            .try_for_each(|operation| write!(f, " {}", operation.name()))
    }
}

/// Why a text was not parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unparsed {
    /// The crate was built without its feature `inspect`.
    NoParser,
    /// A prepared statement of which the text is not remembered.
    UnknownStatement,
    /// No statement.
    Empty,
    /// More than one statement in a Parse, which a server refuses.
    SeveralStatements,
    /// The scan could not read it.
    Unreadable,
    /// Longer than [`limits::INSPECT_TEXT_MAX`](crate::limits::INSPECT_TEXT_MAX).
    TooLong,
    /// More than [`limits::INSPECT_TOKENS_MAX`](crate::limits::INSPECT_TOKENS_MAX) tokens.
    TooManyTokens,
    /// Deeper than [`limits::INSPECT_DEPTH_MAX`](crate::limits::INSPECT_DEPTH_MAX).
    TooDeep,
    /// More than [`limits::INSPECT_OPERATORS_MAX`](crate::limits::INSPECT_OPERATORS_MAX) operators.
    TooManyOperators,
    /// It has what parser and server may read differently: a backslash, `U&`, literals side by side, a control
    /// character, bytes that are not UTF-8, or `standard_conforming_strings` not known to be on.
    Ambiguous,
    /// The parser does not know the syntax, which says nothing about the server.
    Syntax,
    /// The parser sees another number of statements, or a write where the scan sees a read.
    Disagreement,
}

/// The tables of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Every table with what is done to it: in order of their names, those without a schema first.
    Parsed(Vec<TableUse>),
    /// Not parsed: nothing is known about tables.
    Unparsed(Unparsed),
}

impl View {
    /// The tables in the shape of Envoy's dynamic metadata (`envoy.filters.network.postgres_proxy`): a list of operations
    /// for each table, whose name is followed by a dot and the name of the database, if that is given. A schema that
    /// the text names stands before the table. Empty if nothing is known.
    ///
    /// Envoy has no schemas, and an operation `unknown` for qualifiers in expressions, which are no tables here.
    #[must_use]
    pub fn envoy_metadata(&self, database: Option<&str>) -> BTreeMap<String, Vec<&'static str>> {
        let tables = match self {
            View::Parsed(tables) => tables.as_slice(),
            View::Unparsed(_) => &[],
        };
        let entries = tables.iter().map(|found| {
            let schema = found.schema.as_deref();
            let parts = [schema, Some(found.table.as_str()), database];
            let name: Vec<&str> = parts.into_iter().flatten().collect();
            let operations = found.operations.iter().map(Operation::name);
            (name.join("."), operations.collect())
        });
        entries.collect()
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        let own = std::mem::size_of::<View>();
        let tables = match self {
            View::Parsed(tables) => tables.as_slice(),
            View::Unparsed(_) => &[],
        };
        tables.iter().fold(own, |sum, found| {
            let names = found.schema.as_ref().map_or(0, String::capacity);
            sum.saturating_add(std::mem::size_of::<TableUse>())
                .saturating_add(names)
                .saturating_add(found.table.capacity())
        })
    }
}

/// The tables of a text, if it can be parsed safely, by `route::inspect`; without the feature `inspect`
/// nothing is known.
#[cfg(feature = "inspect")]
#[must_use]
pub fn tables(sql: &[u8], lex: &LexState, rules: &Rules) -> View {
    super::inspect::inspect(sql, lex, rules).view
}

/// The tables of a text, which are not known without the feature `inspect`.
#[cfg(not(feature = "inspect"))]
#[must_use]
pub fn tables(_sql: &[u8], _lex: &LexState, _rules: &Rules) -> View {
    View::Unparsed(Unparsed::NoParser)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: Option<&str>, table: &str, operations: &[Operation]) -> TableUse {
        let mut set = Operations::default();
        operations
            .iter()
            .for_each(|operation| set.insert(*operation));
        TableUse {
            schema: schema.map(str::to_owned),
            table: table.to_owned(),
            operations: set,
        }
    }

    #[test]
    fn the_metadata_is_envoys() {
        let view = View::Parsed(vec![
            table(None, "audit", &[Operation::Insert]),
            table(Some("app"), "job", &[Operation::Update, Operation::Select]),
        ]);
        let expected = [
            ("app.job.shop".to_owned(), vec!["select", "update"]),
            ("audit.shop".to_owned(), vec!["insert"]),
        ];
        assert_eq!(view.envoy_metadata(Some("shop")), BTreeMap::from(expected));
        let plain = view.envoy_metadata(None);
        assert_eq!(plain.keys().collect::<Vec<_>>(), ["app.job", "audit"]);
        assert!(
            View::Unparsed(Unparsed::Syntax)
                .envoy_metadata(None)
                .is_empty()
        );
    }
}
