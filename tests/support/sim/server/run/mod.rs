//! What statements do.

mod analyze;
mod change;
mod eval;
mod fold;
mod functions;
mod path;
mod query;
mod session_state;
mod survey;
mod touch;
mod utility;

use std::sync::Arc;

use super::cluster::{Row, Value};
use super::copy::CopyIn;
use super::fault::{Fault, Stop};
use super::sql::{ColumnType, Target};

pub(super) use eval::{decode, input};
pub(super) use functions::pure;
pub(super) use path::qualified;
pub(super) use session_state::{is_superuser, may_be};

/// What names in an expression stand for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    columns: &'a [ColumnType],
    row: &'a [Value],
    /// The number that `generate_series` among the targets is at.
    series: Option<i64>,
    parameters: &'a [Value],
}

struct Source {
    row: Row,
    series: Option<i64>,
    /// For FOR UPDATE.
    number: Option<u64>,
}

/// The rows a SELECT reads, whose targets are computed one after the other.
pub(super) struct Sources {
    columns: Arc<[ColumnType]>,
    targets: Vec<Target>,
    rows: Vec<Source>,
    at: usize,
    locks: bool,
    /// What comes after the rows.
    fault: Option<Fault>,
}

/// What a command gives.
pub(super) enum Effect {
    Tag(String),
    /// Rows, and the tag if it does not count them.
    Rows(Vec<Vec<Value>>, Option<String>),
    CopyIn(CopyIn),
}

pub(super) type Rows = Result<Vec<Vec<Value>>, Stop>;
