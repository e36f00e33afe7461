//! SELECT, VALUES, TABLE, INSERT, UPDATE, DELETE, WITH.

use std::sync::Arc;

use super::parse::{Parsed, Parser, TEMPORARY};
use super::token::Token;
use super::{Change, ChangeKind, Expr, From, Select, Statement, Target, Utility};

pub(super) fn plain(targets: Vec<Target>, from: Option<From>) -> Select {
    Select {
        targets,
        from,
        filter: None,
        order: None,
        limit: None,
        lock: None,
        with: None,
    }
}

impl Parser<'_> {
    /// SELECT, which INTO turns into a creation.
    pub(super) fn select_statement(&mut self) -> Parsed<Statement> {
        let mut into = None;
        let select = self.select_into(&mut into)?;
        Ok(match into {
            None => Statement::Select(select),
            Some((name, temporary)) => Statement::Utility(Utility::CreateAs {
                name,
                temporary,
                into: true,
                select: Box::new(select),
            }),
        })
    }

    pub(super) fn select(&mut self) -> Parsed<Select> {
        let mut into = None;
        let start_fault = self.unexpected();
        let select = self.select_into(&mut into)?;
        match into {
            None => Ok(select),
            Some(_) => Err(start_fault),
        }
    }

    fn select_into(&mut self, into: &mut Option<(Arc<str>, bool)>) -> Parsed<Select> {
        if self.op("(") {
            self.descend()?;
            let inner = self.select();
            self.ascend();
            let inner = inner?;
            self.expect_op(")")?;
            return Ok(inner);
        }
        let mut select = if self.word("values") {
            plain(vec![Target::All], Some(From::Rows(self.rows()?)))
        } else if self.word("table") {
            plain(vec![Target::All], Some(From::Table(self.table()?)))
        } else {
            self.expect("select")?;
            let at_once = self.at_statement_end() || self.is("from") || self.is_op(")");
            let targets = if at_once { Vec::new() } else { self.targets()? };
            if self.word("into") {
                let temporary = self.temporary();
                self.word("table");
                let name = self.table()?;
                let own = name.starts_with(TEMPORARY);
                *into = Some((name, temporary || own));
            }
            let from = if self.word("from") {
                Some(self.from()?)
            } else {
                None
            };
            plain(targets, from)
        };
        if self.word("where") {
            select.filter = Some(self.expr()?);
        }
        if self.words(&["order", "by"]) {
            let column = match self.peek() {
                Some(Token::Int(1)) => {
                    self.skip();
                    "1".into()
                }
                _ => self.table()?,
            };
            let descending = self.word("desc");
            if !descending {
                self.word("asc");
            }
            select.order = Some((column, descending));
        }
        self.tail(&mut select)?;
        Ok(select)
    }

    fn tail(&mut self, select: &mut Select) -> Parsed<()> {
        loop {
            if self.word("limit") {
                select.limit = if self.word("all") {
                    None
                } else {
                    Some(self.expr()?)
                };
            } else if self.words(&["for", "update"]) {
                select.lock = Some("SELECT FOR UPDATE");
            } else if self.words(&["for", "share"]) {
                select.lock = Some("SELECT FOR SHARE");
            } else {
                return Ok(());
            }
        }
    }

    fn rows(&mut self) -> Parsed<Vec<Vec<Expr>>> {
        let mut rows = Vec::new();
        loop {
            self.expect_op("(")?;
            rows.push(self.expressions()?);
            self.expect_op(")")?;
            if !self.op(",") {
                return Ok(rows);
            }
        }
    }

    fn from(&mut self) -> Parsed<From> {
        if !self.is("generate_series") {
            let table = self.table()?;
            self.alias()?;
            return Ok(From::Table(table));
        }
        self.skip();
        self.expect_op("(")?;
        let first = self.expr()?;
        self.expect_op(",")?;
        let last = self.expr()?;
        self.expect_op(")")?;
        let name = self.alias()?.unwrap_or_else(|| "generate_series".into());
        Ok(From::Series(first, last, name))
    }

    fn alias(&mut self) -> Parsed<Option<Arc<str>>> {
        if self.word("as") {
            return self.name().map(Some);
        }
        let is_name = match self.peek() {
            Some(Token::Quoted(_)) => true,
            Some(Token::Word(word)) => !matches!(&**word, "set" | "limit" | "returning"),
            _ => false,
        };
        Ok(if is_name { self.name().ok() } else { None })
    }

    fn targets(&mut self) -> Parsed<Vec<Target>> {
        let mut out = Vec::new();
        loop {
            if self.op("*") {
                out.push(Target::All);
            } else {
                let expr = self.expr()?;
                let alias = if self.word("as") {
                    match self.next()? {
                        Token::Word(name) | Token::Quoted(name) => Some(name),
                        _ => return Err(self.unexpected()),
                    }
                } else {
                    self.alias()?
                };
                out.push(Target::Expr(expr, alias));
            }
            if !self.op(",") {
                return Ok(out);
            }
        }
    }

    pub(super) fn change(&mut self) -> Parsed<Change> {
        let (table, kind) = if self.word("insert") {
            self.insert()?
        } else if self.word("update") {
            let table = self.table()?;
            self.expect("set")?;
            let mut sets = Vec::new();
            loop {
                let column = self.name()?;
                self.expect_op("=")?;
                sets.push((column, self.expr()?));
                if !self.op(",") {
                    break;
                }
            }
            let filter = self.filter()?;
            (table, ChangeKind::Update { sets, filter })
        } else {
            self.expect("delete")?;
            self.expect("from")?;
            let table = self.table()?;
            let filter = self.filter()?;
            (table, ChangeKind::Delete { filter })
        };
        let returning = if self.word("returning") {
            self.targets()?
        } else {
            Vec::new()
        };
        Ok(Change {
            table,
            kind,
            returning,
        })
    }

    fn insert(&mut self) -> Parsed<(Arc<str>, ChangeKind)> {
        self.expect("into")?;
        let table = self.table()?;
        let mut columns = Vec::new();
        if self.op("(") {
            columns.push(self.name()?);
            while self.op(",") {
                columns.push(self.name()?);
            }
            self.expect_op(")")?;
        }
        let source = Box::new(if self.words(&["default", "values"]) {
            plain(Vec::new(), None)
        } else {
            self.select()?
        });
        Ok((table, ChangeKind::Insert { columns, source }))
    }

    fn filter(&mut self) -> Parsed<Option<Expr>> {
        Ok(if self.word("where") {
            Some(self.expr()?)
        } else {
            None
        })
    }

    /// One common table expression that writes, and what reads it.
    pub(super) fn with(&mut self) -> Parsed<Statement> {
        self.expect("with")?;
        let name = self.name()?;
        self.expect("as")?;
        self.expect_op("(")?;
        let change = self.change()?;
        self.expect_op(")")?;
        let mut select = self.select()?;
        select.with = Some((name, Box::new(change)));
        Ok(Statement::Select(select))
    }
}
