//! Everything that is no query: transactions, settings, prepared statements, cursors, COPY, definitions.

use std::sync::Arc;

use super::super::fault::Fault;
use super::parse::{Parsed, Parser, TEMPORARY};
use super::query::plain;
use super::token::Token;
use super::{
    ColumnType, CopySource, Count, Discard, Expr, LockMode, Relation, SetTo, Statement, Target,
    Transaction, Utility, oid,
};

impl Parser<'_> {
    pub(super) fn utility(&mut self, word: &str) -> Parsed<Utility> {
        if let Some(transaction) = self.transaction()? {
            return Ok(Utility::Transaction(transaction));
        }
        let unexpected = self.unexpected();
        self.skip();
        match word {
            "set" => self.set(),
            "reset" => {
                if self.word("all") {
                    return Ok(Utility::ResetAll);
                }
                Ok(Utility::Reset(self.setting_name()?))
            }
            "show" => Ok(Utility::Show(self.setting_name()?)),
            "discard" => self.discard(),
            "prepare" => self.prepare(),
            "execute" => self.execute(),
            "deallocate" => {
                self.word("prepare");
                self.all_or_name().map(Utility::Deallocate)
            }
            "declare" => self.declare(),
            "fetch" => self.fetch(false),
            "move" => self.fetch(true),
            "close" => self.all_or_name().map(Utility::CloseCursor),
            "listen" => Ok(Utility::Listen(self.name()?)),
            "unlisten" => {
                if self.op("*") {
                    return Ok(Utility::Unlisten(None));
                }
                Ok(Utility::Unlisten(Some(self.name()?)))
            }
            "notify" => {
                let channel = self.name()?;
                let payload = if self.op(",") {
                    self.string()?
                } else {
                    "".into()
                };
                Ok(Utility::Notify(channel, payload))
            }
            "copy" => self.copy(),
            "explain" => self.explain(),
            "do" => Ok(Utility::Do(self.string()?)),
            "call" => self.call(),
            "lock" => self.lock(),
            "create" => self.create(),
            "drop" => self.drop_table(),
            "truncate" => {
                self.word("table");
                Ok(Utility::Truncate(self.table()?))
            }
            "vacuum" => {
                if !self.at_statement_end() {
                    self.table()?;
                }
                Ok(Utility::Vacuum)
            }
            "checkpoint" => Ok(Utility::Checkpoint),
            _ => Err(unexpected),
        }
    }

    fn transaction(&mut self) -> Parsed<Option<Transaction>> {
        let noise = |parser: &mut Self| {
            if !parser.word("transaction") {
                parser.word("work");
            }
        };
        Ok(Some(if self.words(&["start", "transaction"]) {
            Transaction::Begin(self.modes()?, "START TRANSACTION")
        } else if self.word("begin") {
            noise(self);
            Transaction::Begin(self.modes()?, "BEGIN")
        } else if self.words(&["commit", "prepared"]) || self.words(&["rollback", "prepared"]) {
            self.string()?;
            Transaction::Finish
        } else if self.word("commit") || self.word("end") {
            noise(self);
            Transaction::Commit(self.chain()?)
        } else if self.word("abort") {
            noise(self);
            Transaction::Rollback(self.chain()?)
        } else if self.word("rollback") {
            noise(self);
            if self.word("to") {
                self.savepoint_word();
                return Ok(Some(Transaction::RollbackTo(self.name()?)));
            }
            Transaction::Rollback(self.chain()?)
        } else if self.word("savepoint") {
            Transaction::Savepoint(self.name()?)
        } else if self.word("release") {
            self.savepoint_word();
            Transaction::Release(self.name()?)
        } else if self.words(&["prepare", "transaction"]) {
            self.string()?;
            Transaction::Prepare
        } else {
            return Ok(None);
        }))
    }

    /// `SAVEPOINT` before a name. Alone it is one.
    fn savepoint_word(&mut self) {
        if self
            .peek_at(1)
            .is_some_and(|token| *token != Token::Op(";"))
        {
            self.word("savepoint");
        }
    }

    fn chain(&mut self) -> Parsed<bool> {
        if self.words(&["and", "no", "chain"]) {
            return Ok(false);
        }
        Ok(self.words(&["and", "chain"]))
    }

    fn setting_name(&mut self) -> Parsed<Arc<str>> {
        if self.words(&["time", "zone"]) {
            return Ok("TimeZone".into());
        }
        if self.words(&["session", "authorization"]) {
            return Ok("session_authorization".into());
        }
        if self.words(&["transaction", "isolation", "level"]) {
            return Ok("transaction_isolation".into());
        }
        self.dotted_name()
    }

    fn dotted_name(&mut self) -> Parsed<Arc<str>> {
        let first = self.name()?;
        if !self.op(".") {
            return Ok(first);
        }
        let second = self.name()?;
        Ok(format!("{first}.{second}").into())
    }

    fn set(&mut self) -> Parsed<Utility> {
        if self.words(&["session", "characteristics", "as", "transaction"]) {
            return Ok(Utility::SetTransaction(self.modes()?, true));
        }
        let local = self.word("local");
        if self.words(&["session", "authorization"])
            || self.words(&["session", "session", "authorization"])
        {
            return self.role("session_authorization", local);
        }
        if !local {
            self.word("session");
        }
        if self.word("transaction") {
            return Ok(Utility::SetTransaction(self.modes()?, false));
        }
        if self.words(&["time", "zone"]) {
            let to = match self.word("local") {
                true => SetTo::Default,
                false => self.values(str::to_owned)?,
            };
            return Ok(setting("TimeZone", to, local));
        }
        if self.word("names") {
            let to = match self.at_statement_end() {
                true => SetTo::Default,
                false => self.values(str::to_owned)?,
            };
            return Ok(setting("client_encoding", to, local));
        }
        if self.is("schema") && matches!(self.peek_at(1), Some(Token::Str(_))) {
            self.skip();
            let schema = quote(&self.string()?);
            return Ok(setting("search_path", SetTo::Value(schema.into()), local));
        }
        if self.is("role") && !self.is_at(1, "to") {
            self.skip();
            return self.role("role", local);
        }
        let name = self.dotted_name()?;
        if !self.word("to") {
            self.expect_op("=")?;
        }
        let is_path = *name == *"search_path";
        let to = self.values(if is_path { quote } else { str::to_owned })?;
        Ok(Utility::Set { name, to, local })
    }

    fn role(&mut self, name: &str, local: bool) -> Parsed<Utility> {
        self.op("=");
        if self.word("default") {
            return Ok(setting(name, SetTo::Default, local));
        }
        let role = match self.peek() {
            Some(Token::Str(_)) => self.string()?,
            _ => self.name()?,
        };
        Ok(setting(name, SetTo::Value(role), local))
    }

    /// The values of SET, as one.
    fn values(&mut self, quote: fn(&str) -> String) -> Parsed<SetTo> {
        if self.word("default") {
            return Ok(SetTo::Default);
        }
        let mut out = String::new();
        let mut several = false;
        loop {
            match self.next()? {
                Token::Word(word) => out.push_str(&word),
                Token::Quoted(text) | Token::Str(text) => out.push_str(&quote(&text)),
                Token::Int(number) => out.push_str(&number.to_string()),
                Token::Number(number) => out.push_str(&number),
                Token::Op("-") => {
                    out.push('-');
                    continue;
                }
                Token::Op(_) | Token::Param(_) => {
                    return Err(Fault::syntax("value"));
                }
            }
            if !self.op(",") {
                return Ok(match several {
                    true => SetTo::List(out.into()),
                    false => SetTo::Value(out.into()),
                });
            }
            several = true;
            out.push_str(", ");
        }
    }

    fn discard(&mut self) -> Parsed<Utility> {
        Ok(Utility::Discard(if self.word("all") {
            Discard::All
        } else if self.word("plans") {
            Discard::Plans
        } else if self.word("temp") || self.word("temporary") {
            Discard::Temp
        } else if self.word("sequences") {
            Discard::Sequences
        } else {
            return Err(self.unexpected());
        }))
    }

    fn all_or_name(&mut self) -> Parsed<Option<Arc<str>>> {
        if self.word("all") {
            return Ok(None);
        }
        self.name().map(Some)
    }

    fn prepare(&mut self) -> Parsed<Utility> {
        let name = self.name()?;
        let mut types = Vec::new();
        if self.op("(") {
            types.push(self.type_name()?);
            while self.op(",") {
                types.push(self.type_name()?);
            }
            self.expect_op(")")?;
        }
        self.expect("as")?;
        let start = self.start();
        if self.is("create") {
            return Err(self.unexpected());
        }
        let statement = Box::new(self.optimizable()?);
        Ok(Utility::Prepare {
            name,
            types,
            statement,
            text: self.text_from(start),
        })
    }

    fn execute(&mut self) -> Parsed<Utility> {
        let name = self.name()?;
        let mut values = Vec::new();
        if self.op("(") {
            values = self.expressions()?;
            self.expect_op(")")?;
        }
        Ok(Utility::Execute { name, values })
    }

    fn declare(&mut self) -> Parsed<Utility> {
        let name = self.name()?;
        if !self.words(&["no", "scroll"]) {
            self.word("scroll");
        }
        self.expect("cursor")?;
        let hold = self.words(&["with", "hold"]);
        self.words(&["without", "hold"]);
        self.expect("for")?;
        let statement = self.optimizable()?;
        let Statement::Select(select) = statement else {
            return Err(Fault::new("42P11", "cannot open this statement as cursor"));
        };
        Ok(Utility::Declare {
            name,
            hold,
            select: Box::new(select),
        })
    }

    fn fetch(&mut self, moves: bool) -> Parsed<Utility> {
        self.word("forward");
        let count = if self.word("all") {
            Count::All
        } else if matches!(self.peek(), Some(Token::Int(_))) {
            Count::Some(self.int()?)
        } else {
            self.word("next");
            Count::Some(1)
        };
        if !self.word("from") {
            self.word("in");
        }
        let name = self.name()?;
        Ok(Utility::Fetch { name, count, moves })
    }

    fn copy(&mut self) -> Parsed<Utility> {
        if self.op("(") {
            let statement = self.optimizable()?;
            self.expect_op(")")?;
            self.expect("to")?;
            self.expect("stdout")?;
            return Ok(Utility::CopyOut(CopySource::Query(Box::new(statement))));
        }
        let table = self.table()?;
        if self.word("to") {
            self.expect("stdout")?;
            return Ok(Utility::CopyOut(CopySource::Table(table)));
        }
        self.expect("from")?;
        self.expect("stdin")?;
        Ok(Utility::CopyIn { table })
    }

    fn explain(&mut self) -> Parsed<Utility> {
        let mut analyze = self.word("analyze");
        if self.op("(") {
            loop {
                let option = self.next()?;
                analyze |= option == Token::Word("analyze".into());
                if !self.is_op(",") && !self.is_op(")") {
                    self.skip();
                }
                if self.op(")") {
                    break;
                }
                self.expect_op(",")?;
            }
        }
        let statement = if self.is("execute") {
            self.statement()?
        } else {
            self.optimizable()?
        };
        Ok(Utility::Explain {
            analyze,
            statement: Box::new(statement),
        })
    }

    fn call(&mut self) -> Parsed<Utility> {
        let start = self.peek().cloned();
        match self.expr()? {
            Expr::Call(name, arguments) => Ok(Utility::Call(name, arguments)),
            _ => Err(Fault::syntax(&format!("{start:?}"))),
        }
    }

    fn lock(&mut self) -> Parsed<Utility> {
        self.word("table");
        let table = self.table()?;
        let mut mode = LockMode::Strong;
        if self.word("in") {
            let modes = [
                (&["access", "share"][..], LockMode::Weak),
                (&["row", "share"], LockMode::Weak),
                (&["row", "exclusive"], LockMode::Weak),
                (&["share"], LockMode::Strong),
                (&["exclusive"], LockMode::Strong),
                (&["access", "exclusive"], LockMode::Strong),
            ];
            let found = modes.iter().find(|(words, _)| self.words(words));
            mode = found.ok_or_else(|| self.unexpected())?.1;
            self.expect("mode")?;
        }
        Ok(Utility::Lock { table, mode })
    }

    fn create(&mut self) -> Parsed<Utility> {
        let replaces = self.words(&["or", "replace"]);
        let said = self.temporary();
        if replaces || self.is("view") || self.is("sequence") {
            return self.create_temporary(said, replaces);
        }
        self.expect("table")?;
        let if_not_exists = self.words(&["if", "not", "exists"]);
        let name = self.table()?;
        let temporary = said || name.starts_with(TEMPORARY);
        if self.word("as") {
            let select = Box::new(self.select()?);
            return Ok(Utility::CreateAs {
                name,
                temporary,
                into: false,
                select,
            });
        }
        self.expect_op("(")?;
        let mut columns = Vec::new();
        while !self.op(")") {
            if !columns.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.name()?;
            let oid = self.type_name()?;
            columns.push(ColumnType { name, oid });
        }
        Ok(Utility::Create {
            name,
            temporary,
            if_not_exists,
            columns,
        })
    }

    fn create_temporary(&mut self, said: bool, replaces: bool) -> Parsed<Utility> {
        let kind = match !replaces && self.word("sequence") {
            true => Relation::Sequence,
            false => Relation::View,
        };
        if kind == Relation::View {
            self.expect("view")?;
        }
        let name = self.table()?;
        let select = match kind {
            Relation::Sequence => {
                let number = |number| Expr::Cast(Box::new(Expr::Int(number)), oid::INT8);
                let state = [
                    ("last_value", number(1)),
                    ("log_cnt", number(0)),
                    ("is_called", Expr::Bool(false)),
                ];
                let state = state.map(|(name, value)| Target::Expr(value, Some(name.into())));
                plain(state.to_vec(), None)
            }
            Relation::View | Relation::Table => {
                self.expect("as")?;
                self.select()?
            }
        };
        if !said && !name.starts_with(TEMPORARY) || select.from.is_some() {
            return Err(Fault::new("0A000", "that is beyond the model"));
        }
        Ok(Utility::CreateTemporary {
            name,
            kind,
            replaces,
            select: Box::new(select),
        })
    }

    fn drop_table(&mut self) -> Parsed<Utility> {
        self.expect("table")?;
        let if_exists = self.words(&["if", "exists"]);
        let mut names = vec![self.table()?];
        while self.op(",") {
            names.push(self.table()?);
        }
        Ok(Utility::Drop { names, if_exists })
    }
}

/// A name as it must be written.
fn quote(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn setting(name: &str, to: SetTo, local: bool) -> Utility {
    Utility::Set {
        name: name.into(),
        to,
        local,
    }
}
