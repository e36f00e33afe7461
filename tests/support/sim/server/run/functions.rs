//! Functions and operators.

use super::super::cluster::Value;
use super::super::fault::Fault;
use super::super::sql::{Binary, oid};
use super::path::writes;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The same for the same arguments: it is computed before a statement runs.
    Immutable,
    Other,
    Aggregate,
}

/// Arguments, result, kind.
type Signature = (&'static [u32], u32, Kind);

/// What a call of so many arguments means.
pub(super) fn signature(name: &str, count: usize) -> Option<Signature> {
    use Kind::{Aggregate, Immutable, Other};
    use oid::{BOOL, FLOAT8, INT4, INT8, NAME, PG_LSN, REGCLASS, TEXT, TIMESTAMPTZ, VOID};
    Some(match (name, count) {
        ("upper" | "lower", 1) => (&[TEXT], TEXT, Immutable),
        ("length" | "pg_catalog.length", 1) => (&[TEXT], INT4, Immutable),
        ("repeat", 2) => (&[TEXT, INT4], TEXT, Immutable),
        ("now", 0) => (&[], TIMESTAMPTZ, Other),
        ("pg_is_in_recovery", 0) => (&[], BOOL, Other),
        ("pg_current_wal_insert_lsn" | "pg_last_wal_replay_lsn", 0) => (&[], PG_LSN, Other),
        ("pg_backend_pid", 0) => (&[], INT4, Other),
        ("current_database" | "current_user" | "session_user" | "user", 0) => (&[], NAME, Other),
        ("current_setting", 1) => (&[TEXT], TEXT, Other),
        ("current_setting", 2) => (&[TEXT, BOOL], TEXT, Other),
        ("set_config", 3) => (&[TEXT, TEXT, BOOL], TEXT, Other),
        ("nextval" | "currval", 1) => (&[REGCLASS], INT8, Other),
        ("setval", 2) => (&[REGCLASS, INT8], INT8, Other),
        ("lastval", 0) => (&[], INT8, Other),
        ("pg_advisory_lock" | "pg_advisory_xact_lock", 1) => (&[INT8], VOID, Other),
        ("pg_advisory_unlock" | "pg_try_advisory_lock", 1) => (&[INT8], BOOL, Other),
        ("pg_advisory_unlock_all", 0) => (&[], VOID, Other),
        ("f_read" | "f_write", 1) => (&[INT4], INT4, Other),
        (name, 1) if writes(name) => (&[TEXT], INT4, Other),
        ("pg_sleep", 1) => (&[FLOAT8], VOID, Other),
        ("pg_notify", 2) => (&[TEXT, TEXT], VOID, Other),
        ("generate_series", 2) => (&[INT4, INT4], INT4, Other),
        ("count(*)", 0) => (&[], INT8, Aggregate),
        ("max" | "min", 1) => (&[INT4], INT4, Aggregate),
        ("sum", 1) => (&[INT4], INT8, Aggregate),
        _ => return None,
    })
}

fn number_range() -> Fault {
    Fault::new("22003", "integer out of range")
}

/// A function that needs its arguments alone.
pub(crate) fn pure(name: &str, arguments: &[Value]) -> Result<Value, Fault> {
    if arguments.contains(&Value::Null) {
        return Ok(Value::Null);
    }
    let text = |at: usize| arguments[at].shown().unwrap_or_default();
    Ok(match name {
        "upper" => Value::text(text(0).to_uppercase()),
        "lower" => Value::text(text(0).to_lowercase()),
        "length" | "pg_catalog.length" => Value::Int(text(0).chars().count() as i64),
        "repeat" => {
            let Value::Int(count) = arguments[1] else {
                return Err(number_range());
            };
            let text = text(0);
            let count = usize::try_from(count).unwrap_or(0);
            // The limit of one value in PostgreSQL.
            if count.saturating_mul(text.len()) > 0x3FFF_FFFF {
                return Err(Fault::new("54000", "requested length too large"));
            }
            Value::text(text.repeat(count))
        }
        other => {
            return Err(Fault::new(
                "42883",
                format!("function {other} does not exist"),
            ));
        }
    })
}

/// An operator; NULL gives NULL, but in AND and OR.
pub(super) fn operate(operator: Binary, left: &Value, right: &Value) -> Result<Value, Fault> {
    match (operator, left, right) {
        (Binary::And, Value::Bool(false), _) | (Binary::And, _, Value::Bool(false)) => {
            return Ok(Value::Bool(false));
        }
        (Binary::Or, Value::Bool(true), _) | (Binary::Or, _, Value::Bool(true)) => {
            return Ok(Value::Bool(true));
        }
        (_, Value::Null, _) | (_, _, Value::Null) => return Ok(Value::Null),
        _ => {}
    }
    let order = match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        _ => left.shown().cmp(&right.shown()),
    };
    let numbers = match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some((*left, *right)),
        _ => None,
    };
    let arithmetic = |result: fn(i64, i64) -> Option<i64>| {
        let (left, right) =
            numbers.ok_or_else(|| Fault::new("42883", "operator does not exist"))?;
        let result = result(left, right).ok_or_else(number_range)?;
        Ok(Value::Int(result))
    };
    match operator {
        Binary::Or | Binary::And => Ok(Value::Bool(operator == Binary::And)),
        Binary::Equal => Ok(Value::Bool(order.is_eq())),
        Binary::Unequal => Ok(Value::Bool(order.is_ne())),
        Binary::Less => Ok(Value::Bool(order.is_lt())),
        Binary::Greater => Ok(Value::Bool(order.is_gt())),
        Binary::LessEqual => Ok(Value::Bool(order.is_le())),
        Binary::GreaterEqual => Ok(Value::Bool(order.is_ge())),
        Binary::Concat => {
            let (left, right) = (left.shown(), right.shown());
            Ok(Value::text(
                left.unwrap_or_default() + &right.unwrap_or_default(),
            ))
        }
        Binary::Add => arithmetic(i64::checked_add),
        Binary::Subtract => arithmetic(i64::checked_sub),
        Binary::Multiply => arithmetic(i64::checked_mul),
        Binary::Divide => match numbers {
            Some((_, 0)) => Err(Fault::new("22012", "division by zero")),
            _ => arithmetic(i64::checked_div),
        },
    }
}
