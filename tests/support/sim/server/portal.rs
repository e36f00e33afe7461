//! Portals: statements that are ready to run, are running, or wait for the next FETCH or Execute.

use std::sync::Arc;

use super::cluster::Value;
use super::copy::CopyIn;
use super::encoding::encode;
use super::fault::{Fault, Stop};
use super::run::{Effect, Sources};
use super::session::{Io, Session};
use super::sql::{Statement, oid};

/// A column of a result.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Column {
    pub(super) name: Arc<str>,
    pub(super) oid: u32,
}

/// A statement that was analyzed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) statement: Statement,
    pub(super) text: Arc<str>,
    pub(super) parameters: Vec<u32>,
    /// None when it gives no rows.
    pub(super) columns: Option<Arc<[Column]>>,
}

enum State {
    New,
    /// Rows are computed when they are fetched.
    Lazy(Sources),
    /// Rows were computed at once, and the tag for the end, unless it counts rows.
    Stored(std::vec::IntoIter<Vec<Value>>, Option<String>),
    Done,
}

pub(super) struct Portal {
    pub(super) name: Arc<str>,
    /// None for the empty statement.
    pub(super) plan: Option<Arc<Plan>>,
    pub(super) parameters: Arc<[Value]>,
    pub(super) formats: Vec<i16>,
    state: State,
    noted: bool,
    described: bool,
    /// Rows of this run so far.
    sent: usize,
    /// DECLARE … WITH HOLD; once the transaction is over, it is held.
    pub(super) hold: bool,
    pub(super) held: bool,
    /// Its transaction failed.
    pub(super) failed: bool,
    /// How many savepoints there were when it was made.
    pub(super) depth: usize,
}

pub(super) enum Outcome {
    Complete(String),
    Suspended,
    CopyIn(CopyIn),
}

impl Portal {
    pub(super) fn new(name: Arc<str>, plan: Option<Arc<Plan>>, parameters: Vec<Value>) -> Portal {
        Portal {
            name,
            plan,
            parameters: parameters.into(),
            formats: Vec::new(),
            state: State::New,
            noted: false,
            described: false,
            sent: 0,
            hold: false,
            held: false,
            failed: false,
            depth: 0,
        }
    }

    /// One that is no statement of its own.
    pub(super) fn inner(mut self) -> Portal {
        self.noted = true;
        self
    }

    pub(super) fn not_ready(name: &str) -> Fault {
        Fault::new("55000", format!("portal \"{name}\" cannot be run"))
    }

    /// FETCH takes rows only, not a statement that has none.
    pub(super) fn may_be_fetched_from(&self) -> Result<(), Fault> {
        if self.failed || matches!(self.state, State::Done) {
            return Err(Portal::not_ready(&self.name));
        }
        if self.columns().is_none() {
            return Err(Fault::new("XX000", "unsupported portal strategy"));
        }
        Ok(())
    }

    /// It cannot be run.
    pub(super) fn finish(&mut self) {
        self.state = State::Done;
    }

    /// Of one that cannot be run nobody knows them.
    pub(super) fn columns(&self) -> Option<Arc<[Column]>> {
        match self.state {
            State::Done => None,
            State::New | State::Lazy(_) | State::Stored(..) => self.plan.as_ref()?.columns.clone(),
        }
    }

    /// The tag at the end of the rows, of which `sent` were given this time.
    fn end_tag(&self) -> String {
        match &self.state {
            State::Stored(_, Some(tag)) => match tag.rsplit_once(' ') {
                Some((word, _)) => format!("{word} {}", self.sent),
                None => tag.clone(),
            },
            State::Stored(_, None) | State::Lazy(_) | State::New | State::Done => {
                format!("SELECT {}", self.sent)
            }
        }
    }

    fn format(&self, column: usize) -> i16 {
        match self.formats[..] {
            [] => 0,
            [all] => all,
            ref each => each[column],
        }
    }
}

/// RowDescription.
pub(super) fn describe(columns: &[Column], format: impl Fn(usize) -> i16, io: &mut Io<'_>) {
    io.out.message(b'T', |out| {
        out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for (at, column) in columns.iter().enumerate() {
            super::wire::text(out, &column.name);
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&column.oid.to_be_bytes());
            let size: i16 = match column.oid {
                oid::BOOL => 1,
                oid::INT4 => 4,
                oid::INT8 | oid::TIMESTAMPTZ | oid::FLOAT8 | oid::PG_LSN => 8,
                oid::NAME => 64,
                oid::VOID => 4,
                _ => -1,
            };
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            out.extend_from_slice(&format(at).to_be_bytes());
        }
    });
}

/// A row in the client's encoding.
fn data_row(
    row: &[Value],
    columns: &[Column],
    format: impl Fn(usize) -> i16,
    encoding: &str,
    io: &mut Io<'_>,
) -> Result<(), Fault> {
    let mut cells = Vec::with_capacity(row.len());
    for (at, value) in row.iter().enumerate() {
        cells.push(match (value, format(at)) {
            (Value::Null, _) => None,
            (Value::Bool(on), 1) => Some(vec![u8::from(*on)]),
            (Value::Int(number), 1) if columns[at].oid == oid::INT4 => {
                Some((*number as i32).to_be_bytes().to_vec())
            }
            (Value::Int(number), 1) => Some(number.to_be_bytes().to_vec()),
            (Value::Array(bytes), 1) => Some(bytes.to_vec()),
            (value, _) => match value.shown() {
                Some(text) => Some(encode(&text, encoding)?),
                None => None,
            },
        });
    }
    io.out.message(b'D', |out| {
        out.extend_from_slice(&(row.len() as u16).to_be_bytes());
        for cell in cells {
            match cell {
                Some(bytes) => {
                    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                    out.extend_from_slice(&bytes);
                }
                None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
    });
    Ok(())
}

enum Begun {
    Rows(State),
    Tag(String),
    CopyIn(CopyIn),
}

impl Session {
    /// Runs a portal up to `limit` rows, which are sent; `described` when RowDescription belongs before them.
    pub(super) fn run_portal(
        &mut self,
        portal: &mut Portal,
        limit: usize,
        described: bool,
        io: &mut Io<'_>,
    ) -> Result<Outcome, Stop> {
        let plan = portal
            .plan
            .clone()
            .expect("the empty statement does not run");
        match portal.state {
            State::New => match self.begin_portal(portal, &plan, io)? {
                Begun::Rows(state) => portal.state = state,
                Begun::Tag(tag) => {
                    portal.state = State::Done;
                    return Ok(Outcome::Complete(tag));
                }
                Begun::CopyIn(copy) => {
                    portal.state = State::Done;
                    return Ok(Outcome::CopyIn(copy));
                }
            },
            State::Done => return Err(Portal::not_ready(&portal.name).into()),
            State::Lazy(_) | State::Stored(..) => {}
        }
        let encoding = self.encoding();
        let columns = plan.columns.clone().unwrap_or_else(|| [].into());
        if let Some(format) = portal
            .formats
            .iter()
            .find(|format| !matches!(format, 0 | 1))
        {
            return Err(Fault::new("22023", format!("unsupported format code: {format}")).into());
        }
        if described && !portal.described {
            portal.described = true;
            describe(&columns, |at| portal.format(at), io);
        }
        while portal.sent < limit {
            let Some(row) = self.next_row(portal, io)? else {
                let tag = portal.end_tag();
                portal.sent = 0;
                return Ok(Outcome::Complete(tag));
            };
            data_row(&row, &columns, |at| portal.format(at), &encoding, io)?;
            portal.sent += 1;
        }
        portal.sent = 0;
        Ok(Outcome::Suspended)
    }

    fn begin_portal(
        &mut self,
        portal: &mut Portal,
        plan: &Plan,
        io: &mut Io<'_>,
    ) -> Result<Begun, Stop> {
        if self.is_locked_out(&plan.statement, io.cluster) {
            return Err(Stop::Wait);
        }
        if !portal.noted {
            portal.noted = true;
            let shown = portal.parameters.iter().map(Value::shown).collect();
            self.note_executed(&plan.text, shown);
        }
        let parameters = Arc::clone(&portal.parameters);
        let ops = self.tx.ops.len();
        let begun = match &plan.statement {
            Statement::Select(select) if select.with.is_none() => {
                self.take_snapshot()?;
                self.open(select, &parameters, io)
                    .map(|sources| Begun::Rows(State::Lazy(sources)))
            }
            Statement::Select(select) => {
                self.take_snapshot()?;
                self.with(select, &parameters, io)
                    .map(|rows| Begun::Rows(State::Stored(rows.into_iter(), None)))
            }
            Statement::Change(change) => {
                self.take_snapshot()?;
                self.change(change, &parameters, io).map(|(rows, tag)| {
                    if change.returning.is_empty() {
                        Begun::Tag(tag)
                    } else {
                        Begun::Rows(State::Stored(rows.into_iter(), Some(tag)))
                    }
                })
            }
            Statement::Utility(utility) => {
                self.utility(utility, &parameters, io)
                    .map(|effect| match effect {
                        Effect::Tag(tag) => Begun::Tag(tag),
                        Effect::Rows(rows, tag) => {
                            Begun::Rows(State::Stored(rows.into_iter(), tag))
                        }
                        Effect::CopyIn(copy) => Begun::CopyIn(copy),
                    })
            }
        };
        if matches!(begun, Err(Stop::Wait)) {
            self.tx.ops.truncate(ops);
        }
        begun
    }

    /// The next row of a portal that began.
    fn next_row(
        &mut self,
        portal: &mut Portal,
        io: &mut Io<'_>,
    ) -> Result<Option<Vec<Value>>, Stop> {
        match &mut portal.state {
            State::Stored(rows, _) => Ok(rows.next()),
            State::Lazy(sources) => {
                let ops = self.tx.ops.len();
                let row = self.pull(sources, &portal.parameters, io);
                if matches!(row, Err(Stop::Wait)) {
                    self.tx.ops.truncate(ops);
                }
                row
            }
            State::New | State::Done => Ok(None),
        }
    }

    /// Runs a portal, or goes on with it, and keeps the rows.
    pub(super) fn rows_of(
        &mut self,
        portal: &mut Portal,
        limit: usize,
        io: &mut Io<'_>,
    ) -> Result<(Vec<Vec<Value>>, String), Stop> {
        let plan = portal.plan.clone();
        let Some(plan) = plan else {
            return Ok((Vec::new(), String::new()));
        };
        if matches!(portal.state, State::New) {
            match self.begin_portal(portal, &plan, io)? {
                Begun::Rows(state) => portal.state = state,
                Begun::Tag(tag) => {
                    portal.state = State::Done;
                    return Ok((Vec::new(), tag));
                }
                Begun::CopyIn(_) => return Err(Fault::new("0A000", "not here").into()),
            }
        }
        let mut rows = Vec::new();
        while rows.len() < limit {
            let Some(row) = self.next_row(portal, io)? else {
                break;
            };
            rows.push(row);
        }
        portal.sent = rows.len();
        let tag = portal.end_tag();
        portal.sent = 0;
        Ok((rows, tag))
    }

    /// The rows that come before an error, and the error.
    pub(super) fn rows_before_fault(
        &mut self,
        portal: &mut Portal,
        io: &mut Io<'_>,
    ) -> Result<(Vec<Vec<Value>>, Option<Fault>), Stop> {
        let mut all = Vec::new();
        loop {
            match self.rows_of(portal, 1, io) {
                Ok((rows, _)) if rows.is_empty() => return Ok((all, None)),
                Ok((rows, _)) => all.extend(rows),
                Err(Stop::Fault(fault)) => return Ok((all, Some(fault))),
                Err(Stop::Wait) => return Err(Stop::Wait),
            }
        }
    }

    /// A commit: cursors WITH HOLD keep their rows, others go.
    pub(super) fn hold_cursors(&mut self, io: &mut Io<'_>) -> Result<(), Fault> {
        let portals = std::mem::take(&mut self.portals);
        for mut portal in portals {
            if portal.hold && !portal.held && !portal.failed {
                let rows = match self.rows_of(&mut portal, usize::MAX, io) {
                    Ok((rows, _)) => rows,
                    Err(Stop::Fault(fault)) => return Err(fault),
                    // A lock that another session has: it is taken for granted.
                    Err(Stop::Wait) => Vec::new(),
                };
                portal.state = State::Stored(rows.into_iter(), None);
                portal.held = true;
            }
            if portal.held {
                self.portals.push(portal);
            }
        }
        Ok(())
    }
}
