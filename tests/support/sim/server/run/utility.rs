//! Commands that are no queries.

use std::sync::Arc;

use super::super::cluster::{Lockable, Op, Value};
use super::super::copy::{CopyIn, line};
use super::super::fault::{Fault, Stop};
use super::super::portal::Portal;
use super::super::session::{Io, Session};
use super::super::sql::{
    ColumnType, CopySource, Expr, LockMode, Modes, Relation, Select, Statement, Utility, oid,
};
use super::super::tx::Listen;
use super::Effect;
use super::analyze::missing_table;
use super::eval::cast;

type Done = Result<Effect, Stop>;

fn tag(tag: &str) -> Done {
    Ok(Effect::Tag(tag.to_owned()))
}

/// Whether it is run with a snapshot (`PlannedStmtRequiresSnapshot`).
fn takes_snapshot(utility: &Utility) -> bool {
    !matches!(
        utility,
        Utility::Transaction(_)
            | Utility::SetTransaction(..)
            | Utility::Set { .. }
            | Utility::Reset(_)
            | Utility::ResetAll
            | Utility::Show(_)
            | Utility::Fetch { .. }
            | Utility::Listen(_)
            | Utility::Unlisten(_)
            | Utility::Notify(..)
            | Utility::Checkpoint
            | Utility::Lock { .. }
    )
}

impl Session {
    pub(crate) fn utility(
        &mut self,
        utility: &Utility,
        parameters: &Arc<[Value]>,
        io: &mut Io<'_>,
    ) -> Done {
        if takes_snapshot(utility) {
            self.take_snapshot()?;
        }
        match utility {
            Utility::Transaction(command) => {
                let tag = self.control(command, io)?;
                Ok(Effect::Tag(tag.to_owned()))
            }
            Utility::SetTransaction(modes, of_session) => {
                self.set_transaction(modes, *of_session, io)
            }
            Utility::Set { name, to, local } => self.set_command(name, to, *local, io),
            Utility::Reset(name) => {
                self.reset_setting(name, false)?;
                tag("RESET")
            }
            Utility::ResetAll => {
                self.settings.reset_all();
                tag("RESET")
            }
            Utility::Show(name) => self.show(name),
            Utility::Discard(what) => self.discard(*what, io),
            Utility::Prepare {
                name,
                types,
                statement,
                text,
            } => self.prepare_statement(name, types, statement, text, io),
            Utility::Execute { name, values } => {
                self.looked_at = true;
                self.execute_prepared(name, values, parameters, io)
            }
            Utility::Deallocate(name) => self.deallocate(name.as_deref()),
            Utility::Declare { name, hold, select } => {
                self.declare(name, *hold, select, parameters, io)
            }
            Utility::Fetch { name, count, moves } => self.fetch(name, *count, *moves, io),
            Utility::CloseCursor(name) => self.close_cursor(name.as_deref()),
            Utility::Listen(channel) => self.listen(channel),
            Utility::Unlisten(channel) => self.unlisten(channel.clone()),
            Utility::Notify(channel, payload) => {
                self.notify(channel, payload, io)?;
                tag("NOTIFY")
            }
            Utility::Checkpoint => self.checkpoint(),
            Utility::Survey { identity } => {
                let row = self.survey(*identity, parameters, io)?;
                Ok(Effect::Rows(vec![row], None))
            }
            Utility::CopyIn { .. }
            | Utility::CopyOut(_)
            | Utility::Explain { .. }
            | Utility::Do(_)
            | Utility::Call(..)
            | Utility::Lock { .. }
            | Utility::Create { .. }
            | Utility::CreateAs { .. }
            | Utility::CreateTemporary { .. }
            | Utility::Drop { .. }
            | Utility::Truncate(_)
            | Utility::Vacuum => self.on_tables(utility, parameters, io),
        }
    }

    fn unlisten(&mut self, channel: Option<Arc<str>>) -> Done {
        self.tx.listens.push(Listen::Remove(channel));
        tag("UNLISTEN")
    }

    /// Commands that touch tables.
    fn on_tables(&mut self, utility: &Utility, parameters: &Arc<[Value]>, io: &mut Io<'_>) -> Done {
        match utility {
            Utility::CopyIn { table } => self.copy_in(table, io),
            Utility::CopyOut(source) => self.copy_out(source, io),
            Utility::Explain { analyze, statement } => {
                self.explain(*analyze, statement, parameters, io)
            }
            Utility::Do(body) => self.run_block(body, io),
            Utility::Call(name, arguments) => self.call_procedure(name, arguments, parameters, io),
            Utility::Lock { table, mode } => self.lock_table(table, *mode, io),
            Utility::Create {
                name,
                temporary,
                if_not_exists,
                columns,
            } => {
                let temporary = *temporary || self.makes_temporary();
                self.create_table(name, temporary, *if_not_exists, columns, io)
            }
            Utility::CreateAs {
                name,
                temporary,
                into,
                select,
            } => {
                let what = if *into {
                    "SELECT INTO"
                } else {
                    "CREATE TABLE AS"
                };
                self.refuse_read_only(what)?;
                let temporary = *temporary || self.makes_temporary();
                self.create_as(name, temporary, select, Relation::Table, io)
            }
            Utility::CreateTemporary {
                name,
                kind,
                replaces,
                select,
            } => self.create_temporary(name, *kind, *replaces, select, io),
            Utility::Drop { names, if_exists } => self.drop_tables(names, *if_exists, io),
            Utility::Truncate(name) => self.truncate(name, io),
            _ => {
                self.refuse_in_recovery("VACUUM")?;
                self.prevent_in_block("VACUUM")?;
                tag("VACUUM")
            }
        }
    }

    fn show(&self, name: &str) -> Done {
        let value = self
            .settings
            .get(name)
            .ok_or_else(|| super::super::settings::unknown(name))?;
        Ok(Effect::Rows(
            vec![vec![Value::Text(value)]],
            Some("SHOW".to_owned()),
        ))
    }

    fn checkpoint(&self) -> Done {
        if super::session_state::is_superuser(&self.current_user()) {
            tag("CHECKPOINT")
        } else {
            Err(Fault::new("42501", "permission denied to execute CHECKPOINT").into())
        }
    }

    fn lock_table(&mut self, table: &Arc<str>, mode: LockMode, io: &mut Io<'_>) -> Done {
        if mode == LockMode::Strong {
            self.refuse_in_recovery("LOCK TABLE")?;
        }
        self.require_any_block("LOCK TABLE")?;
        if self.table_now(table, io.cluster).is_none() {
            return Err(missing_table(table).into());
        }
        if mode == LockMode::Strong {
            let lock = Lockable::Table(self.node, Arc::clone(table));
            self.take_lock(lock, false, io.cluster)?;
        }
        tag("LOCK TABLE")
    }

    fn create_table(
        &mut self,
        name: &Arc<str>,
        temporary: bool,
        if_not_exists: bool,
        columns: &[ColumnType],
        io: &mut Io<'_>,
    ) -> Done {
        self.refuse_read_only("CREATE TABLE")?;
        if self.exists(name, temporary, io) {
            if !if_not_exists {
                return Err(table_exists(name).into());
            }
            let text = format!("relation \"{name}\" already exists, skipping");
            self.notice(io, "NOTICE", "42P07", &text);
            return tag("CREATE TABLE");
        }
        self.create(name, temporary, columns.into(), Relation::Table, io);
        tag("CREATE TABLE")
    }

    fn truncate(&mut self, name: &Arc<str>, io: &mut Io<'_>) -> Done {
        self.refuse_read_only("TRUNCATE TABLE")?;
        let table = self.table_now(name, io.cluster);
        let table = table.ok_or_else(|| missing_table(name))?;
        table.is_changed_by("TRUNCATE")?;
        self.apply(Op::Truncate(Arc::clone(name)));
        self.log_write(io);
        tag("TRUNCATE TABLE")
    }

    fn call_procedure(
        &mut self,
        name: &str,
        arguments: &[Expr],
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Done {
        if name != "p_write" || arguments.len() != 1 {
            let function = super::functions::signature(name, arguments.len()).is_some();
            let code = if function { "42809" } else { "42883" };
            return Err(Fault::new(code, format!("{name} is no procedure")).into());
        }
        let values = self.values(arguments, parameters, io)?;
        if let Value::Int(id) = cast(values[0].clone(), oid::INT4)? {
            self.write_marked(id, "p", io)?;
        }
        tag("CALL")
    }

    fn refuse_read_only(&self, what: &str) -> Result<(), Fault> {
        if self.is_read_only() {
            return Err(Fault::read_only(what));
        }
        Ok(())
    }

    fn set_transaction(&mut self, modes: &Modes, of_session: bool, io: &mut Io<'_>) -> Done {
        if !of_session {
            if !self.in_block() {
                let text = "SET TRANSACTION can only be used in transaction blocks";
                self.notice(io, "WARNING", "25P01", text);
            }
            self.set_modes(modes)?;
            return tag("SET");
        }
        if let Some(level) = modes.isolation {
            self.settings
                .set("default_transaction_isolation", level, false)?;
        }
        if let Some(access) = modes.access {
            let only = access == super::super::sql::Access::Only;
            let value = if only { "on" } else { "off" };
            self.settings
                .set("default_transaction_read_only", value, false)?;
        }
        if let Some(deferrable) = modes.deferrable {
            let value = if deferrable { "on" } else { "off" };
            self.settings
                .set("default_transaction_deferrable", value, false)?;
        }
        tag("SET")
    }

    fn copy_in(&mut self, name: &Arc<str>, io: &mut Io<'_>) -> Done {
        let table = self
            .table_now(name, io.cluster)
            .ok_or_else(|| missing_table(name))?;
        if self.own_table(name).is_none() {
            self.refuse_read_only("COPY FROM")?;
        }
        table.is_changed_by("COPY")?;
        copy_response(b'G', table.columns.len(), io);
        io.out.flush();
        let columns = Arc::clone(&table.columns);
        Ok(Effect::CopyIn(CopyIn::new(Arc::clone(name), columns)))
    }

    fn copy_out(&mut self, source: &CopySource, io: &mut Io<'_>) -> Done {
        let (rows, columns) = match source {
            CopySource::Table(name) => {
                let table = self
                    .table_now(name, io.cluster)
                    .ok_or_else(|| missing_table(name))?;
                let rows = table.rows.iter().map(|(_, row)| row.to_vec()).collect();
                (rows, table.columns.len())
            }
            CopySource::Query(statement) => {
                let text = Arc::clone(&self.text);
                let statement = (**statement).clone();
                let plan = self.analyze(statement, &text, &mut Vec::new(), false, io.cluster)?;
                let Some(columns) = plan.columns.clone() else {
                    return Err(
                        Fault::new("0A000", "COPY query must have a RETURNING clause").into(),
                    );
                };
                self.plan(&plan.statement, &[])?;
                if let Statement::Change(change) = &plan.statement {
                    self.refuse_change(change)?;
                }
                let mut portal = Portal::new("".into(), Some(Arc::new(plan)), Vec::new()).inner();
                let (rows, fault) = self.rows_before_fault(&mut portal, io)?;
                if let Some(fault) = fault {
                    copy_response(b'H', columns.len(), io);
                    send_lines(&rows, io);
                    return Err(fault.into());
                }
                (rows, columns.len())
            }
        };
        copy_response(b'H', columns, io);
        send_lines(&rows, io);
        io.out.message(b'c', |_| {});
        Ok(Effect::Tag(format!("COPY {}", rows.len())))
    }

    /// The plan is always that of `select 1`.
    fn explain(
        &mut self,
        analyze: bool,
        statement: &Statement,
        parameters: &Arc<[Value]>,
        io: &mut Io<'_>,
    ) -> Done {
        self.plan(statement, parameters)?;
        if analyze {
            match statement {
                Statement::Select(select) => {
                    self.select_all(select, parameters, io)?;
                }
                Statement::Change(change) => {
                    self.change(change, parameters, io)?;
                }
                Statement::Utility(utility) => {
                    self.utility(utility, parameters, io)?;
                }
            }
        }
        let row = vec![Value::text("Result  (cost=0.00..0.01 rows=1 width=4)")];
        Ok(Effect::Rows(vec![row], Some("EXPLAIN".to_owned())))
    }

    /// DO: of the body only calls of `f_write` count, and a division that fails.
    fn run_block(&mut self, body: &str, io: &mut Io<'_>) -> Done {
        for part in body.split("f_write(").skip(1) {
            let number = part.split(')').next().and_then(|id| id.trim().parse().ok());
            if let Some(id) = number {
                self.write_marked(id, "w", io)?;
            }
        }
        if body.contains("1/0") {
            return Err(Fault::new("22012", "division by zero").into());
        }
        tag("DO")
    }

    fn exists(&mut self, name: &str, temporary: bool, io: &mut Io<'_>) -> bool {
        if temporary {
            self.own_table(name).is_some()
        } else {
            self.view(io.cluster).get(name).is_some()
        }
    }

    fn create(
        &mut self,
        name: &Arc<str>,
        temporary: bool,
        columns: Arc<[ColumnType]>,
        kind: Relation,
        io: &mut Io<'_>,
    ) {
        let op = Op::Create(Arc::clone(name), columns, kind);
        if temporary {
            self.temporary.apply(&op);
        } else {
            self.tx.ops.push(op);
            self.log_write(io);
        }
    }

    fn create_as(
        &mut self,
        name: &Arc<str>,
        temporary: bool,
        select: &Select,
        kind: Relation,
        io: &mut Io<'_>,
    ) -> Done {
        if self.exists(name, temporary, io) {
            return Err(table_exists(name).into());
        }
        let text = Arc::clone(&self.text);
        let statement = Statement::Select(select.clone());
        let plan = self.analyze(statement, &text, &mut Vec::new(), false, io.cluster)?;
        self.plan(&plan.statement, &[])?;
        let columns = plan.columns.clone().unwrap_or_else(|| [].into());
        let columns = columns.iter().map(|column| ColumnType {
            name: Arc::clone(&column.name),
            oid: column.oid,
        });
        let columns = columns.collect();
        let rows = self.select_all(select, &[], io)?;
        let count = rows.len();
        self.create(name, temporary, columns, kind, io);
        for row in rows {
            self.insert_row(name, row.into(), io);
        }
        Ok(Effect::Tag(format!("SELECT {count}")))
    }

    fn create_temporary(
        &mut self,
        name: &Arc<str>,
        kind: Relation,
        replaces: bool,
        select: &Select,
        io: &mut Io<'_>,
    ) -> Done {
        let what = match kind {
            Relation::Sequence => "CREATE SEQUENCE",
            Relation::View | Relation::Table => "CREATE VIEW",
        };
        self.refuse_read_only(what)?;
        let known = self.own_table(name).map(|known| known.kind);
        if replaces && known == Some(Relation::View) {
            self.temporary.apply(&Op::Drop(Arc::clone(name)));
        }
        self.create_as(name, true, select, kind, io)?;
        tag(what)
    }

    fn drop_tables(&mut self, names: &[Arc<str>], if_exists: bool, io: &mut Io<'_>) -> Done {
        self.refuse_read_only("DROP TABLE")?;
        for name in names {
            if let Some(table) = self.table_now(name, io.cluster) {
                table.is_changed_by("DROP TABLE")?;
                let temporary = self.own_table(name).is_some();
                self.apply(Op::Drop(Arc::clone(name)));
                if !temporary {
                    self.log_write(io);
                }
            } else if if_exists {
                let text = format!("table \"{name}\" does not exist, skipping");
                self.notice(io, "NOTICE", "00000", &text);
            } else {
                let text = format!("table \"{name}\" does not exist");
                return Err(Fault::new("42P01", text).into());
            }
        }
        tag("DROP TABLE")
    }
}

fn table_exists(name: &str) -> Fault {
    Fault::new("42P07", format!("relation \"{name}\" already exists"))
}

fn send_lines(rows: &[Vec<Value>], io: &mut Io<'_>) {
    for row in rows {
        let line = line(row);
        io.out
            .message(b'd', |out| out.extend_from_slice(line.as_bytes()));
    }
}

/// CopyInResponse or CopyOutResponse: everything is text.
fn copy_response(tag: u8, columns: usize, io: &mut Io<'_>) {
    io.out.message(tag, |out| {
        out.push(0);
        out.extend_from_slice(&(columns as u16).to_be_bytes());
        out.extend(std::iter::repeat_n(0, 2 * columns));
    });
}
