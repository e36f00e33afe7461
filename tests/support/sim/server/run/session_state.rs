//! SET, RESET, roles, prepared statements, cursors, DISCARD, notifications: what a session carries with it.

use std::sync::Arc;

use super::super::cluster::Value;
use super::super::extended::Prepared;
use super::super::fault::{Fault, Stop};
use super::super::portal::Portal;
use super::super::session::{Io, Session};
use super::super::settings::{OF_TRANSACTION, Settings};
use super::super::sql::{Count, Discard, Expr, Select, SetTo, Statement};
use super::super::tx::Listen;
use super::Effect;
use super::eval::cast;

/// Users of the test clusters, and whether they may do everything. Others may log in as well.
const ROLES: [(&str, bool); 7] = [
    ("postgres", true),
    ("u_trust", false),
    ("u_clear", false),
    ("u_md5", false),
    ("u_scram", false),
    ("u_tls", false),
    (SHARED_ROLE, false),
];

/// A role that everybody may take on.
const SHARED_ROLE: &str = "m_role";

pub(crate) fn is_superuser(role: &str) -> bool {
    ROLES.contains(&(role, true))
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn known_role(user: &str, name: &str, setting: &str) -> Result<(), Fault> {
    if name == user || ROLES.iter().any(|(role, _)| *role == name) {
        return Ok(());
    }
    Err(Fault::new(
        "22023",
        format!("invalid value for parameter \"{setting}\": role \"{name}\" does not exist"),
    ))
}

/// Whether somebody who logged in as `user` and acts as `authorization` may take on a role.
pub(crate) fn may_be(user: &str, authorization: &str, name: &str) -> Result<(), Fault> {
    known_role(user, name, "role")?;
    if is_superuser(authorization) || name == authorization || name == SHARED_ROLE {
        return Ok(());
    }
    Err(Fault::new(
        "42501",
        format!("permission denied to set role \"{name}\""),
    ))
}

impl Session {
    pub(super) fn current_user(&self) -> Arc<str> {
        match self.settings.get("role") {
            Some(role) if &*role != "none" => role,
            _ => self
                .settings
                .get("session_authorization")
                .unwrap_or_default(),
        }
    }

    pub(super) fn set_setting(
        &mut self,
        name: &str,
        value: &str,
        local: bool,
    ) -> Result<(), Fault> {
        match name.to_ascii_lowercase().as_str() {
            "role" => self.set_role(value, local),
            "session_authorization" => self.set_authorization(value, local),
            of_transaction @ ("transaction_isolation"
            | "transaction_read_only"
            | "transaction_deferrable") => self.set_in_transaction(of_transaction, value),
            _ => self.settings.set(name, value, local),
        }
    }

    pub(super) fn reset_setting(&mut self, name: &str, local: bool) -> Result<(), Fault> {
        let name = &*name.to_ascii_lowercase();
        if self.version >= 16 && OF_TRANSACTION.contains(&name) {
            let message = format!("parameter \"{name}\" cannot be reset");
            return Err(Fault::new("0A000", message));
        }
        match name {
            "role" => {
                let role = self.settings.start_value("role");
                self.set_role(&role, local)
            }
            "session_authorization" => {
                let user = Arc::clone(&self.user);
                self.set_authorization(&user, local)
            }
            _ => self.settings.reset(name, local),
        }
    }

    fn set_role(&mut self, name: &str, local: bool) -> Result<(), Fault> {
        let authorization = self
            .settings
            .get("session_authorization")
            .unwrap_or_default();
        let mut acting = name;
        if name == "none" {
            acting = &authorization;
        } else {
            may_be(&self.user, &authorization, name)?;
        }
        self.settings.write("role", name, local);
        let superuser = on_off(is_superuser(acting));
        self.settings.write("is_superuser", superuser, local);
        Ok(())
    }

    fn set_authorization(&mut self, name: &str, local: bool) -> Result<(), Fault> {
        known_role(&self.user, name, "session_authorization")?;
        if *name != *self.user && !is_superuser(&self.user) {
            return Err(Fault::new(
                "42501",
                "permission denied to set session authorization",
            ));
        }
        self.settings.write("session_authorization", name, local);
        self.settings.write("role", "none", local);
        let superuser = on_off(is_superuser(name));
        self.settings.write("is_superuser", superuser, local);
        Ok(())
    }

    pub(super) fn set_command(
        &mut self,
        name: &str,
        to: &SetTo,
        local: bool,
        io: &mut Io<'_>,
    ) -> Result<Effect, Stop> {
        if local && !self.in_block() {
            let text = "SET LOCAL can only be used in transaction blocks";
            self.notice(io, "WARNING", "25P01", text);
        }
        match to {
            SetTo::Value(value) => self.set_setting(name, value, local)?,
            SetTo::List(value) if Settings::takes_lists(name) => {
                self.set_setting(name, value, local)?;
            }
            SetTo::List(_) => {
                let text = format!("SET {name} takes only one argument");
                return Err(Fault::new("22023", text).into());
            }
            SetTo::Default => self.reset_setting(name, local)?,
        }
        Ok(Effect::Tag("SET".to_owned()))
    }

    pub(super) fn discard(&mut self, what: Discard, io: &mut Io<'_>) -> Result<Effect, Stop> {
        let tag = match what {
            Discard::Plans => "DISCARD PLANS",
            Discard::Temp => {
                self.temporary = Default::default();
                "DISCARD TEMP"
            }
            Discard::Sequences => {
                self.values = Default::default();
                "DISCARD SEQUENCES"
            }
            Discard::All => {
                self.prevent_in_block("DISCARD ALL")?;
                self.portals.clear();
                self.reset_setting("session_authorization", false)?;
                self.settings.reset_all();
                self.deallocate_all();
                io.cluster.unlisten(self.backend, None);
                io.cluster.unlock_all(self.backend);
                self.temporary = Default::default();
                self.values = Default::default();
                "DISCARD ALL"
            }
        };
        Ok(Effect::Tag(tag.to_owned()))
    }

    /// For what must be a transaction of its own.
    pub(crate) fn prevent_in_block(&mut self, what: &str) -> Result<(), Fault> {
        if self.in_block() || self.tx.pipelining {
            return Err(Fault::new(
                "25001",
                format!("{what} cannot run inside a transaction block"),
            ));
        }
        self.tx.commit_now = true;
        Ok(())
    }

    pub(super) fn require_any_block(&self, what: &str) -> Result<(), Fault> {
        if self.in_block() {
            return Ok(());
        }
        Err(Fault::new(
            "25P01",
            format!("{what} can only be used in transaction blocks"),
        ))
    }

    fn deallocate_all(&mut self) {
        // The unnamed statement of the protocol stays.
        self.prepared
            .retain(|Prepared { name, .. }| name.is_empty());
        self.forget_names();
    }

    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<Effect, Stop> {
        let Some(name) = name else {
            self.deallocate_all();
            return Ok(Effect::Tag("DEALLOCATE ALL".to_owned()));
        };
        if !self.drop_prepared(name) {
            return Err(Fault::new(
                "26000",
                format!("prepared statement \"{name}\" does not exist"),
            )
            .into());
        }
        self.looked_at = true;
        Ok(Effect::Tag("DEALLOCATE".to_owned()))
    }

    pub(super) fn prepare_statement(
        &mut self,
        name: &str,
        types: &[u32],
        statement: &Statement,
        text: &Arc<str>,
        io: &mut Io<'_>,
    ) -> Result<Effect, Stop> {
        let mut types = types.to_vec();
        let plan = self.analyze(statement.clone(), text, &mut types, true, io.cluster)?;
        self.store_prepared(name, Some(Arc::new(plan)), true)?;
        Ok(Effect::Tag("PREPARE".to_owned()))
    }

    pub(super) fn execute_prepared(
        &mut self,
        name: &str,
        values: &[Expr],
        parameters: &[Value],
        io: &mut Io<'_>,
    ) -> Result<Effect, Stop> {
        let Some(plan) = self.prepared_plan(name)? else {
            return Ok(Effect::Tag(String::new()));
        };
        // What takes no parameters is given none, however many there are.
        let values = if plan.parameters.is_empty() {
            &[]
        } else {
            values
        };
        if plan.parameters.len() != values.len() {
            return Err(Fault::new(
                "42601",
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .into());
        }
        let given = self.values(values, parameters, io)?;
        let given = given
            .into_iter()
            .zip(&plan.parameters)
            .map(|(value, oid)| cast(value, *oid))
            .collect::<Result<Vec<_>, _>>()?;
        let plan = self.revalidate(&plan, io.cluster)?;
        self.plan(&plan.statement, &given)?;
        // One that executes itself would go on until there is no stack left for it.
        if self.executing.iter().any(|outer| **outer == *name) {
            return Err(Fault::new("54001", "stack depth limit exceeded").into());
        }
        let returns = plan.columns.is_some();
        let mut portal = Portal::new("".into(), Some(plan), given).inner();
        self.executing.push(name.into());
        let ran = self.rows_of(&mut portal, usize::MAX, io);
        self.executing.pop();
        let (rows, tag) = ran?;
        if !returns {
            return Ok(Effect::Tag(tag));
        }
        let tag = (!tag.starts_with("SELECT")).then_some(tag);
        Ok(Effect::Rows(rows, tag))
    }

    pub(super) fn declare(
        &mut self,
        name: &Arc<str>,
        hold: bool,
        select: &Select,
        parameters: &Arc<[Value]>,
        io: &mut Io<'_>,
    ) -> Result<Effect, Stop> {
        if !hold {
            self.require_any_block("DECLARE CURSOR")?;
        }
        if self.find_portal(name).is_some() || self.is_running(name) {
            return Err(Fault::new("42P03", format!("cursor \"{name}\" already exists")).into());
        }
        let statement = Statement::Select(select.clone());
        let mut types = vec![super::super::sql::oid::TEXT; parameters.len()];
        let text = Arc::clone(&self.text);
        let plan = self.analyze(statement, &text, &mut types, true, io.cluster)?;
        self.plan(&plan.statement, parameters)?;
        let mut portal =
            Portal::new(Arc::clone(name), Some(Arc::new(plan)), parameters.to_vec()).inner();
        portal.hold = hold;
        portal.depth = self.tx.depth();
        // The snapshot is taken now.
        let (_, _) = self.rows_of(&mut portal, 0, io)?;
        self.portals.push(portal);
        Ok(Effect::Tag("DECLARE CURSOR".to_owned()))
    }

    fn is_running(&self, name: &str) -> bool {
        self.running.iter().any(|one| **one == *name)
    }

    fn missing_cursor(name: &str) -> Fault {
        Fault::new("34000", format!("cursor \"{name}\" does not exist"))
    }

    pub(super) fn fetch(
        &mut self,
        name: &str,
        count: Count,
        moves: bool,
        io: &mut Io<'_>,
    ) -> Result<Effect, Stop> {
        if self.is_running(name) {
            return Err(Portal::not_ready(name).into());
        }
        let at = self
            .find_portal(name)
            .ok_or_else(|| Self::missing_cursor(name))?;
        let limit = match count {
            Count::All => usize::MAX,
            Count::Some(count) => usize::try_from(count)
                .map_err(|_| Fault::new("55000", "cursor can only scan forward"))?,
        };
        self.portals[at].may_be_fetched_from()?;
        let mut portal = self.portals.remove(at);
        self.running.push(Arc::clone(&portal.name));
        let rows = self.rows_of(&mut portal, limit, io);
        self.running.pop();
        portal.failed |= matches!(rows, Err(Stop::Fault(_)));
        self.portals.insert(at, portal);
        let (rows, _) = rows?;
        if moves {
            return Ok(Effect::Tag(format!("MOVE {}", rows.len())));
        }
        let tag = format!("FETCH {}", rows.len());
        Ok(Effect::Rows(rows, Some(tag)))
    }

    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<Effect, Stop> {
        let Some(name) = name else {
            self.portals.clear();
            return Ok(Effect::Tag("CLOSE CURSOR ALL".to_owned()));
        };
        if self.is_running(name) {
            let text = format!("cannot drop active portal \"{name}\"");
            return Err(Fault::new("24000", text).into());
        }
        let at = self
            .find_portal(name)
            .ok_or_else(|| Self::missing_cursor(name))?;
        self.portals.remove(at);
        Ok(Effect::Tag("CLOSE CURSOR".to_owned()))
    }

    pub(super) fn listen(&mut self, channel: &Arc<str>) -> Result<Effect, Stop> {
        self.refuse_in_recovery("LISTEN")?;
        self.tx.listens.push(Listen::Add(Arc::clone(channel)));
        Ok(Effect::Tag("LISTEN".to_owned()))
    }

    pub(super) fn notify(
        &mut self,
        channel: &Arc<str>,
        payload: &Arc<str>,
        io: &mut Io<'_>,
    ) -> Result<(), Fault> {
        self.refuse_in_recovery("NOTIFY")?;
        if channel.is_empty() {
            return Err(Fault::new("22023", "channel name cannot be empty"));
        }
        self.log_write(io);
        let one = (Arc::clone(channel), Arc::clone(payload));
        // The same twice in one transaction is told once.
        if !self.tx.notifies.contains(&one) {
            self.tx.notifies.push(one);
        }
        Ok(())
    }

    pub(crate) fn refuse_in_recovery(&self, what: &str) -> Result<(), Fault> {
        if self.recovers {
            return Err(Fault::recovery(what));
        }
        Ok(())
    }
}
