//! Values of expressions.

use std::sync::Arc;

use super::super::cluster::{Lockable, SEQUENCES, Value};
use super::super::fault::{Fault, Stop};
use super::super::session::{Io, Session, utf8};
use super::super::settings;
use super::super::sql::{Expr, oid};
use super::Scope;
use super::functions::{Kind, operate, pure, signature};
use super::path::writes;

/// A value from its text.
pub(crate) fn input(text: &str, oid: u32) -> Result<Value, Fault> {
    let bad = |what: &str| {
        Fault::new(
            "22P02",
            format!("invalid input syntax for type {what}: \"{text}\""),
        )
    };
    let integer = |what: &str, least: i64, most: i64| {
        let trimmed = text.trim();
        let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad(what));
        }
        match trimmed.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Value::Int(number)),
            _ => Err(Fault::new(
                "22003",
                format!("value \"{text}\" is out of range for type {what}"),
            )),
        }
    };
    match oid {
        oid::INT4 => integer("integer", i32::MIN.into(), i32::MAX.into()),
        oid::INT8 => integer("bigint", i64::MIN, i64::MAX),
        oid::BOOL => match settings::boolean(text.trim()) {
            Some(on) => Ok(Value::Bool(on)),
            None => Err(bad("boolean")),
        },
        oid::FLOAT8 | oid::NUMERIC => match text.trim().parse::<f64>() {
            Ok(_) => Ok(Value::text(text.trim())),
            Err(_) => Err(bad("double precision")),
        },
        _ => Ok(Value::text(text)),
    }
}

/// A value that was bound.
pub(crate) fn decode(bytes: &[u8], oid: u32, format: i16) -> Result<Value, Fault> {
    let bad = || Fault::new("22P03", "incorrect binary data format in bind parameter");
    match (format, oid) {
        (0, _) => input(utf8(bytes)?, oid),
        (1, oid::INT4) => match bytes.try_into() {
            Ok(bytes) => Ok(Value::Int(i32::from_be_bytes(bytes).into())),
            Err(_) => Err(if bytes.len() < 4 {
                Fault::protocol("insufficient data left in message")
            } else {
                bad()
            }),
        },
        (1, oid::INT8) => match bytes.try_into() {
            Ok(bytes) => Ok(Value::Int(i64::from_be_bytes(bytes))),
            Err(_) => Err(if bytes.len() < 8 {
                Fault::protocol("insufficient data left in message")
            } else {
                bad()
            }),
        },
        (1, oid::BOOL) => match bytes {
            [byte] => Ok(Value::Bool(*byte != 0)),
            _ => Err(bad()),
        },
        (1, oid::TEXT_ARRAY) => Ok(Value::Array(bytes.into())),
        (1, _) => Ok(Value::text(utf8(bytes)?)),
        _ => Err(Fault::new(
            "22023",
            format!("unsupported format code: {format}"),
        )),
    }
}

pub(super) fn cast(value: Value, oid: u32) -> Result<Value, Fault> {
    match (&value, oid) {
        (Value::Null | Value::Array(_), _) => Ok(value),
        (Value::Int(number), oid::INT4) if i32::try_from(*number).is_err() => {
            Err(Fault::new("22003", "integer out of range"))
        }
        (Value::Int(_), oid::INT4 | oid::INT8) => Ok(value),
        (Value::Int(number), oid::BOOL) => Ok(Value::Bool(*number != 0)),
        (Value::Bool(on), oid::INT4) => Ok(Value::Int((*on).into())),
        (Value::Bool(on), oid::TEXT) => Ok(Value::text(if *on { "true" } else { "false" })),
        (Value::Bool(_), _) => Ok(value),
        (Value::Text(_) | Value::Int(_), _) => input(&value.shown().unwrap_or_default(), oid),
    }
}

/// The value of what needs neither rows nor a session, or None.
pub(super) fn constant(expr: &Expr, parameters: &[Value]) -> Result<Option<Value>, Fault> {
    Ok(Some(match expr {
        Expr::Null => Value::Null,
        Expr::Bool(on) => Value::Bool(*on),
        Expr::Int(number) => Value::Int(*number),
        Expr::Number(text) | Expr::Str(text) => Value::Text(text.clone()),
        Expr::Param(at) => match parameters.get(at - 1) {
            Some(value) => value.clone(),
            None => return Ok(None),
        },
        Expr::Column(_) => return Ok(None),
        Expr::Call(name, arguments) => {
            let mut values = Vec::new();
            let mut all = true;
            for argument in arguments {
                match constant(argument, parameters)? {
                    Some(value) => values.push(value),
                    None => all = false,
                }
            }
            let kind = signature(name, arguments.len()).map(|(.., kind)| kind);
            if !all || kind != Some(Kind::Immutable) {
                return Ok(None);
            }
            pure(name, &values)?
        }
        Expr::Cast(inner, oid) => match constant(inner, parameters)? {
            Some(value) => cast(value, *oid)?,
            None => return Ok(None),
        },
        Expr::Binary(operator, left, right) => {
            let left = constant(left, parameters)?;
            let right = constant(right, parameters)?;
            match (left, right) {
                (Some(left), Some(right)) => operate(*operator, &left, &right)?,
                _ => return Ok(None),
            }
        }
        Expr::Not(inner) => match constant(inner, parameters)? {
            Some(Value::Bool(on)) => Value::Bool(!on),
            Some(value) => value,
            None => return Ok(None),
        },
    }))
}

impl Session {
    pub(super) fn eval(
        &mut self,
        expr: &Expr,
        scope: &Scope<'_>,
        io: &mut Io<'_>,
    ) -> Result<Value, Stop> {
        match expr {
            Expr::Column(name) => {
                let at = scope.columns.iter().position(|column| column.name == *name);
                Ok(at.map_or(Value::Null, |at| scope.row[at].clone()))
            }
            Expr::Call(name, _) if &**name == "generate_series" => {
                Ok(scope.series.map_or(Value::Null, Value::Int))
            }
            Expr::Call(name, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                let types = signature(name, arguments.len()).map_or(&[][..], |(types, ..)| types);
                for (at, argument) in arguments.iter().enumerate() {
                    let value = self.eval(argument, scope, io)?;
                    values.push(match types.get(at) {
                        Some(oid) => cast(value, *oid)?,
                        None => value,
                    });
                }
                self.call(name, &values, io)
            }
            Expr::Cast(inner, oid) => {
                let value = self.eval(inner, scope, io)?;
                Ok(cast(value, *oid)?)
            }
            Expr::Binary(operator, left, right) => {
                let left = self.eval(left, scope, io)?;
                let right = self.eval(right, scope, io)?;
                Ok(operate(*operator, &left, &right)?)
            }
            Expr::Not(inner) => Ok(match self.eval(inner, scope, io)? {
                Value::Bool(on) => Value::Bool(!on),
                other => other,
            }),
            Expr::Null
            | Expr::Bool(_)
            | Expr::Int(_)
            | Expr::Number(_)
            | Expr::Str(_)
            | Expr::Param(_) => Ok(constant(expr, scope.parameters)?.unwrap_or(Value::Null)),
        }
    }

    fn call(&mut self, name: &str, arguments: &[Value], io: &mut Io<'_>) -> Result<Value, Stop> {
        let text = |at: usize| arguments.get(at).and_then(Value::shown).unwrap_or_default();
        let int = |at: usize| match arguments.get(at) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        };
        let strict = !matches!(name, "set_config" | "pg_notify");
        if strict && arguments.contains(&Value::Null) {
            return Ok(Value::Null);
        }
        let void = Ok(Value::text(""));
        match name {
            "now" => Ok(Value::text("2026-01-01 00:00:00+00")),
            "pg_is_in_recovery" => Ok(Value::Bool(self.recovers)),
            "pg_current_wal_insert_lsn" if self.recovers => {
                Err(Fault::new("55000", "recovery is in progress").into())
            }
            "pg_current_wal_insert_lsn" => Ok(Value::text(io.cluster.end_of_log())),
            "pg_last_wal_replay_lsn" => {
                let replayed = io.cluster.replayed_on(self.node);
                Ok(replayed.map_or(Value::Null, Value::text))
            }
            "pg_backend_pid" => Ok(Value::Int(self.backend.into())),
            "current_database" => Ok(Value::Text(Arc::clone(&self.database))),
            "current_user" | "user" => Ok(Value::Text(self.current_user())),
            "session_user" => Ok(Value::Text(
                self.settings
                    .get("session_authorization")
                    .unwrap_or_default(),
            )),
            "current_setting" => {
                let quiet = arguments.get(1) == Some(&Value::Bool(true));
                match self.settings.get(&text(0)) {
                    Some(value) => Ok(Value::Text(value)),
                    None if quiet => Ok(Value::Null),
                    None => Err(settings::unknown(&text(0)).into()),
                }
            }
            "set_config" => {
                let local = arguments[2] == Value::Bool(true);
                match &arguments[1] {
                    _ if self.forgetful => {}
                    Value::Null => self.reset_setting(&text(0), local)?,
                    _ => self.set_setting(&text(0), &text(1), local)?,
                }
                Ok(self.settings.get(&text(0)).map_or(Value::Null, Value::Text))
            }
            "nextval" | "setval" | "currval" | "lastval" => {
                self.sequence(name, &text(0), int(1), io)
            }
            name if name.contains("advisory") => self.advisory(name, int(0), io),
            "f_read" => Ok(Value::Int(self.count_of(int(0), io))),
            "f_write" => self.write_marked(int(0), "w", io),
            name if writes(name) => {
                let Value::Int(length) = pure("length", arguments)? else {
                    return Ok(Value::Null);
                };
                self.write_marked(length, "w", io)
            }
            "pg_sleep" => self.sleep(&text(0)),
            "pg_notify" => {
                self.notify(&text(0).into(), &text(1).into(), io)?;
                void
            }
            _ => Ok(pure(name, arguments)?),
        }
    }

    /// How many rows of the table have this number.
    fn count_of(&mut self, number: i64, io: &mut Io<'_>) -> i64 {
        let table = self.table_now("t", io.cluster);
        let count = table.map_or(0, |table| {
            let wanted = Value::Int(number);
            table
                .rows
                .iter()
                .filter(|(_, row)| row[0] == wanted)
                .count()
        });
        count as i64
    }

    fn advisory(&mut self, name: &str, number: i64, io: &mut Io<'_>) -> Result<Value, Stop> {
        let lock = Lockable::Advisory(self.node, number);
        let void = Ok(Value::text(""));
        match name {
            "pg_advisory_lock" => {
                self.take_lock(lock, true, io.cluster)?;
                void
            }
            "pg_advisory_xact_lock" => {
                self.take_lock(lock, false, io.cluster)?;
                void
            }
            "pg_try_advisory_lock" => {
                let taken = io.cluster.lock(lock, self.backend, true).is_ok();
                io.cluster.stop_waiting(self.backend);
                Ok(Value::Bool(taken))
            }
            "pg_advisory_unlock" => {
                let had = io.cluster.unlock(&lock, self.backend);
                if !had {
                    let text = "you don't own a lock of type ExclusiveLock";
                    self.notice(io, "WARNING", "01000", text);
                }
                Ok(Value::Bool(had))
            }
            _ => {
                io.cluster.unlock_all(self.backend);
                void
            }
        }
    }

    fn sleep(&mut self, seconds: &str) -> Result<Value, Stop> {
        let none = seconds.parse::<f64>().is_ok_and(|seconds| seconds <= 0.0);
        if !none && !self.slept {
            self.slept = true;
            return Err(Stop::Wait);
        }
        self.slept = false;
        Ok(Value::text(""))
    }

    fn sequence(
        &mut self,
        function: &str,
        name: &str,
        value: i64,
        io: &mut Io<'_>,
    ) -> Result<Value, Stop> {
        let which = match function {
            "lastval" => self.values.last,
            _ => {
                let found = SEQUENCES.iter().position(|known| *known == name);
                let wrong = || Fault::new("42809", format!("\"{name}\" is not a sequence"));
                Some(found.ok_or_else(wrong)?)
            }
        };
        if let (Some(which), "nextval" | "setval") = (which, function) {
            if self.is_read_only() {
                return Err(Fault::read_only(&format!("{function}()")).into());
            }
            self.log_write(io);
            let value = match function {
                "setval" => value,
                _ => {
                    self.values.last = Some(which);
                    io.cluster.value(self.node, which) + 1
                }
            };
            io.cluster.set_value(self.node, self.backend, which, value);
            self.values.of[which] = Some(value);
        }
        match which.and_then(|which| self.values.of[which]) {
            Some(value) => Ok(Value::Int(value)),
            None => Err(Fault::new("55000", "currval is not yet defined in this session").into()),
        }
    }

    /// What `f_write` and `p_write` do.
    pub(super) fn write_marked(
        &mut self,
        id: i64,
        mark: &str,
        io: &mut Io<'_>,
    ) -> Result<Value, Stop> {
        if self.is_read_only() {
            return Err(Fault::read_only("INSERT").into());
        }
        let row = [Value::Int(id), Value::text(mark)];
        self.insert_row("t", row.into(), io);
        Ok(Value::Int(id))
    }
}
