//! COPY FROM STDIN: lines of text become rows.

use std::sync::Arc;

use super::cluster::{Row, Value};
use super::fault::Fault;
use super::run::input;
use super::sql::ColumnType;

/// A COPY that takes data.
pub(super) struct CopyIn {
    pub(super) table: Arc<str>,
    columns: Arc<[ColumnType]>,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    rows: Vec<Row>,
    /// After `\.` everything is let pass.
    ended: bool,
}

impl CopyIn {
    pub(super) fn new(table: Arc<str>, columns: Arc<[ColumnType]>) -> CopyIn {
        CopyIn {
            table,
            columns,
            line: Vec::new(),
            rows: Vec::new(),
            ended: false,
        }
    }

    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line()?;
            } else {
                self.line.push(*byte);
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if self.line.is_empty() {
            return Ok(());
        }
        self.end_line()
    }

    /// The rows, how many, and for which table.
    pub(super) fn result(&self) -> (Vec<Row>, usize, Arc<str>) {
        (self.rows.clone(), self.rows.len(), Arc::clone(&self.table))
    }

    fn end_line(&mut self) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.line);
        if self.ended {
            return Ok(());
        }
        let line = super::session::utf8(&line)?;
        if line == "\\." {
            self.ended = true;
            return Ok(());
        }
        let fields: Vec<&str> = line.split('\t').collect();
        let mut row = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let Some(field) = fields.get(at) else {
                return Err(Fault::new(
                    "22P04",
                    format!("missing data for column \"{}\"", column.name),
                ));
            };
            row.push(if *field == "\\N" {
                Value::Null
            } else {
                input(&unescape(field), column.oid)?
            });
        }
        if fields.len() > self.columns.len() {
            return Err(Fault::new("22P04", "extra data after last expected column"));
        }
        self.rows.push(row.into());
        Ok(())
    }
}

fn unescape(field: &str) -> String {
    let mut out = String::new();
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(c) => out.push(c),
            None => out.push('\\'),
        }
    }
    out
}

/// A row as COPY TO writes it.
pub(super) fn line(row: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.push('\t');
        }
        let Some(text) = value.shown() else {
            out.push_str("\\N");
            continue;
        };
        for c in text.chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\\' => out.push_str("\\\\"),
                c => out.push(c),
            }
        }
    }
    out.push('\n');
    out
}
