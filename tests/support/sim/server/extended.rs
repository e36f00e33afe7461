//! Parse, Bind, Describe, Execute, Close, and FunctionCall.

use std::sync::Arc;

use super::cluster::Value;
use super::fault::{Fault, Stop};
use super::portal::{Column, Outcome, Plan, Portal, describe};
use super::session::{Done, Io, Pending, Session, malformed};
use super::sql::{Statement, clipped, oid, statements};
use super::wire::Fields;

#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) name: Arc<str>,
    /// None for the empty statement.
    pub(super) plan: Option<Arc<Plan>>,
    /// PREPARE made it.
    pub(super) from_sql: bool,
}

impl Session {
    pub(super) fn find_prepared(&self, name: &str) -> Result<usize, usize> {
        self.prepared.binary_search_by(|one| (*one.name).cmp(name))
    }

    pub(super) fn drop_prepared(&mut self, name: &str) -> bool {
        match self.find_prepared(name) {
            Ok(at) => {
                self.prepared.remove(at);
                self.forget_names();
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn store_prepared(
        &mut self,
        name: &str,
        plan: Option<Arc<Plan>>,
        from_sql: bool,
    ) -> Result<(), Fault> {
        match self.find_prepared(name) {
            Ok(_) => Err(Fault::new(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            )),
            Err(at) => {
                let name = name.into();
                let prepared = Prepared {
                    name,
                    plan,
                    from_sql,
                };
                self.prepared.insert(at, prepared);
                self.forget_names();
                Ok(())
            }
        }
    }

    pub(super) fn prepared_plan(&self, name: &str) -> Result<Option<Arc<Plan>>, Fault> {
        match self.find_prepared(name) {
            Ok(at) => Ok(self.prepared[at].plan.clone()),
            Err(_) if name.is_empty() => Err(Fault::new(
                "26000",
                "unnamed prepared statement does not exist",
            )),
            Err(_) => Err(Fault::new(
                "26000",
                format!("prepared statement \"{name}\" does not exist"),
            )),
        }
    }

    pub(super) fn find_portal(&self, name: &str) -> Option<usize> {
        self.portals.iter().position(|portal| *portal.name == *name)
    }

    fn portal(&self, name: &str) -> Result<usize, Fault> {
        self.find_portal(name)
            .ok_or_else(|| Fault::new("34000", format!("portal \"{name}\" does not exist")))
    }

    pub(super) fn parse(&mut self, fields: &mut Fields<'_>, io: &mut Io<'_>) -> Result<(), Fault> {
        let name = &*self.named(fields)?;
        let text = &*self.heard(fields.text().ok_or_else(malformed)?)?;
        let count = fields.count().ok_or_else(malformed)?;
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(fields.i32().ok_or_else(malformed)? as u32);
        }
        if !fields.is_empty() {
            return Err(Fault::protocol("invalid message format"));
        }
        self.start_transaction();
        if name.is_empty() {
            self.drop_prepared("");
        }
        let parsed = statements(text, self.lexing())?;
        self.caution(&parsed.warnings, io);
        let mut list = parsed.list.into_iter();
        let plan = match (list.next(), list.next()) {
            (_, Some(_)) => {
                return Err(Fault::new(
                    "42601",
                    "cannot insert multiple commands into a prepared statement",
                ));
            }
            (None, _) => None,
            (Some((statement, _)), None) => {
                if self.is_failed() && !statement.ends_transaction() {
                    return Err(Fault::aborted());
                }
                let text = text.into();
                let plan = self.analyze(statement, &text, &mut types, true, io.cluster)?;
                Some(Arc::new(plan))
            }
        };
        self.store_prepared(name, plan, false)?;
        io.out.message(b'1', |_| {});
        Ok(())
    }

    pub(super) fn bind(&mut self, fields: &mut Fields<'_>, io: &mut Io<'_>) -> Result<(), Fault> {
        let name = &*self.named(fields)?;
        let statement = &*self.named(fields)?;
        let plan = self.prepared_plan(statement)?;
        self.start_transaction();
        let formats = shorts(fields)?;
        let count = fields.count().ok_or_else(malformed)?;
        if formats.len() > 1 && formats.len() != count {
            return Err(Fault::protocol(
                "bind message has parameter formats of another number",
            ));
        }
        let types = plan.as_ref().map_or(&[][..], |plan| &plan.parameters);
        if count != types.len() {
            return Err(Fault::protocol(
                "bind message supplies another number of parameters",
            ));
        }
        let ends = plan
            .as_ref()
            .is_some_and(|plan| plan.statement.ends_transaction());
        if self.is_failed() && (!ends || count > 0) {
            return Err(Fault::aborted());
        }
        if name.is_empty() {
            self.portals.retain(|portal| !portal.name.is_empty());
        } else if self.find_portal(name).is_some() {
            return Err(Fault::new(
                "42P03",
                format!("cursor \"{name}\" already exists"),
            ));
        }
        let mut portal = Portal::new(name.into(), None, Vec::new());
        portal.depth = self.tx.depth();
        let filled = self.fill(&mut portal, plan, &formats, fields, io);
        // What fails leaves the portal as far as it came, for as long as the transaction is a failed one.
        self.portals.push(portal);
        filled?;
        io.out.message(b'2', |_| {});
        Ok(())
    }

    /// Gives a portal its values and its statement, once this is planned.
    fn fill(
        &mut self,
        portal: &mut Portal,
        plan: Option<Arc<Plan>>,
        formats: &[i16],
        fields: &mut Fields<'_>,
        io: &mut Io<'_>,
    ) -> Result<(), Fault> {
        let types = plan.as_ref().map_or(&[][..], |plan| &plan.parameters);
        let values = self.bound(fields, types, formats)?;
        portal.formats = shorts(fields)?;
        if !fields.is_empty() {
            return Err(Fault::protocol("invalid message format"));
        }
        portal.parameters = values.into();
        let Some(plan) = plan else {
            return Ok(());
        };
        let plan = self.revalidate(&plan, io.cluster)?;
        self.fold(&plan.statement, &portal.parameters)?;
        portal.plan = Some(Arc::clone(&plan));
        if let Err(fault) = self.may_start(&plan.statement) {
            portal.finish();
            return Err(fault);
        }
        // What returns no rows has formats of any number.
        let columns = plan.columns.as_ref().map(|columns| columns.len());
        if portal.formats.len() > 1 && columns.is_some_and(|it| it != portal.formats.len()) {
            return Err(Fault::protocol(
                "bind message has result formats of another number",
            ));
        }
        Ok(())
    }

    pub(super) fn describe(&mut self, fields: &mut Fields<'_>, io: &mut Io<'_>) -> Done {
        let kind = fields.byte().ok_or_else(malformed)?;
        let name = &*self.named(fields)?;
        if !fields.is_empty() {
            return Err(Fault::protocol("invalid message format"));
        }
        self.start_transaction();
        match kind {
            b'S' => {
                let plan = self.prepared_plan(name)?;
                self.looked_at = true;
                if self.is_failed() && plan.as_ref().is_some_and(|plan| plan.columns.is_some()) {
                    return Err(Fault::aborted());
                }
                let types = plan.as_ref().map_or(&[][..], |plan| &plan.parameters);
                io.out.message(b't', |out| {
                    out.extend_from_slice(&(types.len() as u16).to_be_bytes());
                    for oid in types {
                        out.extend_from_slice(&oid.to_be_bytes());
                    }
                });
                match plan {
                    Some(plan) => self.describe_rows(plan, io),
                    None => {
                        io.out.message(b'n', |_| {});
                        Ok(None)
                    }
                }
            }
            b'P' => {
                let portal = &self.portals[self.portal(name)?];
                let columns = portal.columns();
                if self.is_failed() && columns.is_some() {
                    return Err(Fault::aborted());
                }
                describe_columns(columns.as_deref(), &portal.formats, io);
                Ok(None)
            }
            _ => Err(Fault::protocol("invalid DESCRIBE message subtype")),
        }
    }

    /// The rows of a prepared statement, whose parameters are told.
    pub(super) fn describe_rows(&mut self, plan: Arc<Plan>, io: &mut Io<'_>) -> Done {
        if self.is_plan_locked_out(&plan, io.cluster) {
            return self.wait_with(Pending::Describe(plan));
        }
        describe_columns(plan.columns.as_deref(), &[], io);
        Ok(None)
    }

    pub(super) fn close(&mut self, fields: &mut Fields<'_>, io: &mut Io<'_>) -> Result<(), Fault> {
        let kind = fields.byte().ok_or_else(malformed)?;
        let name = &*self.named(fields)?;
        if !fields.is_empty() {
            return Err(Fault::protocol("invalid message format"));
        }
        match kind {
            b'S' => {
                self.looked_at |= self.drop_prepared(name);
            }
            b'P' => self.portals.retain(|portal| *portal.name != *name),
            _ => return Err(Fault::protocol("invalid CLOSE message subtype")),
        }
        io.out.message(b'3', |_| {});
        Ok(())
    }

    pub(super) fn execute(&mut self, fields: &mut Fields<'_>, io: &mut Io<'_>) -> Done {
        let name = &*self.named(fields)?;
        let limit = fields.i32().ok_or_else(malformed)?;
        if !fields.is_empty() {
            return Err(Fault::protocol("invalid message format"));
        }
        let at = self.portal(name)?;
        if self.portals[at].plan.is_none() {
            io.out.message(b'I', |_| {});
            return Ok(None);
        }
        self.start_transaction();
        let portal = self.portals.remove(at);
        let ends = portal
            .plan
            .as_ref()
            .is_some_and(|plan| plan.statement.ends_transaction());
        if portal.failed || (self.is_failed() && !ends) {
            let refusal = match self.is_failed() {
                true => Fault::aborted(),
                false => Portal::not_ready(name),
            };
            self.portals.push(portal);
            return Err(refusal);
        }
        let limit = match limit {
            ..=0 => usize::MAX,
            some => some as usize,
        };
        self.run_execute(portal, limit, io)
    }

    /// Runs what is left of an Execute.
    pub(super) fn run_execute(
        &mut self,
        mut portal: Portal,
        limit: usize,
        io: &mut Io<'_>,
    ) -> Done {
        self.running.push(Arc::clone(&portal.name));
        let ran = self.run_portal(&mut portal, limit, false, io);
        self.running.pop();
        match ran {
            Ok(Outcome::Complete(tag)) => {
                self.finish_execute(portal, &tag, io)?;
                Ok(None)
            }
            Ok(Outcome::Suspended) => {
                self.portals.push(portal);
                io.out.message(b's', |_| {});
                Ok(None)
            }
            Ok(Outcome::CopyIn(copy)) => Ok(Some(Pending::Execute(portal, limit, Some(copy)))),
            Err(Stop::Fault(fault)) => {
                portal.failed = true;
                self.portals.push(portal);
                Err(fault)
            }
            Err(Stop::Wait) => self.wait_with(Pending::Execute(portal, limit, None)),
        }
    }

    pub(super) fn finish_execute(
        &mut self,
        mut portal: Portal,
        tag: &str,
        io: &mut Io<'_>,
    ) -> Result<(), Fault> {
        let statement = portal.plan.as_ref().map(|plan| &plan.statement);
        let transaction = statement.is_some_and(Statement::is_transaction);
        // The portal of what ended the transaction, or went back to before the portal, went with it.
        let undone = statement.is_some_and(Statement::is_return) && portal.depth >= self.tx.depth();
        let outlives = !transaction || (self.tx.started && !self.tx.chained && !undone);
        portal.depth = portal.depth.min(self.tx.depth());
        if outlives && self.find_portal(&portal.name).is_none() {
            self.portals.push(portal);
        }
        if transaction || self.tx.commit_now {
            self.finish_transaction(io)?;
        } else {
            self.tx.pipelining = true;
        }
        io.out.complete(tag);
        Ok(())
    }

    /// COPY has all its data, whoever began it.
    pub(super) fn copied(&mut self, pending: Pending, io: &mut Io<'_>) -> Done {
        let (ops, count, table) = match &pending {
            Pending::Simple(_, Some(copy)) | Pending::Execute(_, _, Some(copy)) => copy.result(),
            Pending::Simple(_, None)
            | Pending::Execute(_, _, None)
            | Pending::Message(..)
            | Pending::Describe(_) => {
                unreachable!("only a COPY ends like this")
            }
        };
        for row in ops {
            self.insert_row(&table, row, io);
        }
        let tag = format!("COPY {count}");
        match pending {
            Pending::Simple(simple, _) => self.copied_simple(simple, &tag, io),
            Pending::Execute(portal, ..) => {
                self.finish_execute(portal, &tag, io)?;
                Ok(None)
            }
            Pending::Message(..) | Pending::Describe(_) => Ok(None),
        }
    }

    /// Parse or Bind, which wait as statements do.
    pub(super) fn prepare_message(&mut self, tag: u8, body: &[u8], io: &mut Io<'_>) -> Done {
        if self.is_message_locked_out(tag, body, io.cluster) {
            return self.wait_with(Pending::Message(tag, body.to_vec()));
        }
        let mut fields = Fields(body);
        match tag {
            b'P' => self.parse(&mut fields, io)?,
            _ => self.bind(&mut fields, io)?,
        }
        Ok(None)
    }

    pub(super) fn function_call(
        &mut self,
        fields: &mut Fields<'_>,
        io: &mut Io<'_>,
    ) -> Result<(), Fault> {
        if self.is_failed() {
            return Err(Fault::aborted());
        }
        self.start_transaction();
        let function = fields.i32().ok_or_else(malformed)?;
        let known = match function {
            // Their collation is never known in a call by message.
            870 | 871 => {
                return Err(Fault::new(
                    "42P22",
                    "could not determine which collation to use",
                ));
            }
            1317 => ("length", oid::TEXT),
            _ => {
                let text = format!("function with OID {function} does not exist");
                return Err(Fault::new("42883", text));
            }
        };
        let formats = shorts(fields)?;
        let count = fields.count().ok_or_else(malformed)?;
        if count != 1 {
            return Err(Fault::protocol(
                "function call message contains another number of arguments",
            ));
        }
        if formats.len() > 1 {
            return Err(Fault::protocol(
                "function call message contains argument formats of another number",
            ));
        }
        let length = fields.i32().ok_or_else(malformed)?;
        let argument = match usize::try_from(length) {
            Err(_) => Value::Null,
            Ok(length) => {
                let bytes = fields.bytes(length).ok_or_else(malformed)?;
                super::run::decode(bytes, known.1, formats.first().copied().unwrap_or(0))?
            }
        };
        let format = fields.i16().ok_or_else(malformed)?;
        if !fields.is_empty() {
            return Err(Fault::protocol("invalid message format"));
        }
        self.note_executed(
            &format!("fastpath {}", known.0).into(),
            vec![argument.shown()],
        );
        let value = super::run::pure(known.0, &[argument])?;
        function_result(&value, format, io);
        self.finish_transaction(io)
    }
}

fn function_result(value: &Value, format: i16, io: &mut Io<'_>) {
    io.out
        .message(b'V', |out| match (value, format, value.shown()) {
            (Value::Int(number), 1, _) => {
                out.extend_from_slice(&4_i32.to_be_bytes());
                out.extend_from_slice(&(*number as i32).to_be_bytes());
            }
            (_, _, Some(text)) => {
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            (_, _, None) => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        });
}

impl Session {
    /// The values of the parameters.
    fn bound(
        &self,
        fields: &mut Fields<'_>,
        types: &[u32],
        formats: &[i16],
    ) -> Result<Vec<Value>, Fault> {
        let mut values = Vec::new();
        for (at, oid) in types.iter().enumerate() {
            let length = fields.i32().ok_or_else(malformed)?;
            let format = match *formats {
                [] => 0,
                [all] => all,
                ref each => each[at],
            };
            values.push(match usize::try_from(length) {
                Err(_) => Value::Null,
                Ok(length) => {
                    let bytes = fields.bytes(length).ok_or_else(malformed)?;
                    match format {
                        0 => super::run::input(&self.heard(bytes)?, *oid)?,
                        _ => super::run::decode(bytes, *oid, format)?,
                    }
                }
            });
        }
        Ok(values)
    }

    /// The name of a statement or a portal: they are kept in tables whose keys are as long as identifiers.
    fn named(&self, fields: &mut Fields<'_>) -> Result<String, Fault> {
        let name = self.heard(fields.text().ok_or_else(malformed)?)?;
        Ok(clipped(&name).to_owned())
    }
}

/// RowDescription or NoData.
fn describe_columns(columns: Option<&[Column]>, formats: &[i16], io: &mut Io<'_>) {
    let Some(columns) = columns else {
        io.out.message(b'n', |_| {});
        return;
    };
    let format = |at: usize| match *formats {
        [] => 0,
        [all] => all,
        ref each => each[at],
    };
    describe(columns, format, io);
}

/// A count and so many 16-bit integers.
fn shorts(fields: &mut Fields<'_>) -> Result<Vec<i16>, Fault> {
    let count = fields.count().ok_or_else(malformed)?;
    (0..count)
        .map(|_| fields.i16().ok_or_else(malformed))
        .collect()
}
