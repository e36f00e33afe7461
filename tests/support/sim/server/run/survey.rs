//! What a proxy finds in a session that it is about to move: the row of its one query, column by column.

use std::sync::Arc;

use pgturnout::session::Accept;

use super::super::super::journey::Lodging;
use super::super::cluster::{Cluster, Value};
use super::super::fault::Fault;
use super::super::portal::{Column, Plan};
use super::super::session::{Io, Session, malformed, utf8};
use super::super::sql::oid;
use super::super::wire::Fields;
use super::super::{Server, Stage};

/// The cluster that every server is of.
const SYSTEM: &str = "7713";
/// And the timeline that they write, but for one that was left behind.
const TIMELINE: i64 = 2;
/// The database's.
const DATABASE_OID: i64 = 16_389;

/// A cell of an array of text.
type Cell = Option<String>;

/// The types of the columns, in order. Arrays are whatever they are.
pub(crate) fn columns() -> Vec<Column> {
    let types = [
        oid::INT4,
        oid::BOOL,
        oid::TEXT,
        oid::INT4,
        oid::TEXT,
        oid::TEXT,
        oid::TEXT,
        oid::TEXT,
        oid::TEXT,
        oid::TEXT,
        oid::INT8,
        oid::INT8,
        oid::INT8,
        oid::TEXT_ARRAY,
        oid::TEXT_ARRAY,
        oid::TEXT_ARRAY,
        oid::TEXT_ARRAY,
        oid::TEXT,
        oid::INT4,
        oid::TEXT,
    ];
    let column = |oid| Column {
        name: "?column?".into(),
        oid,
    };
    types.map(column).into()
}

fn count(number: usize) -> Value {
    Value::Int(i64::try_from(number).expect("a small number"))
}

impl Session {
    /// The row.
    pub(super) fn survey(
        &mut self,
        identity: bool,
        parameters: &Arc<[Value]>,
        io: &mut Io<'_>,
    ) -> Result<Vec<Value>, Fault> {
        let text = |name: &str| Value::Text(self.settings.get(name).unwrap_or_default());
        let version = if self.version >= 18 { 180_004 } else { 150_018 };
        let cursors = self.portals.iter().filter(|portal| portal.held).count();
        let temporary = usize::from(!self.temporary.is_empty());
        let channels = io.cluster.channels(self.backend);
        let channels = channels.iter().map(|channel| Some(channel.to_string()));
        let asked = match parameters.first() {
            Some(Value::Array(bytes)) => elements(bytes)?,
            _ => Vec::new(),
        };
        let custom = asked
            .iter()
            .map(|name| self.settings.get(name).map(|value| value.to_string()));
        let unless = |lodging, usual, other| match self.lodging == lodging {
            true => other,
            false => usual,
        };
        let timeline = match self.lodging {
            Lodging::OlderTimeline => TIMELINE - 1,
            _ => TIMELINE,
        };
        let of_cluster = |value: Value| match identity {
            true => value,
            false => Value::Null,
        };
        Ok(vec![
            Value::Int(version),
            Value::Bool(self.recovers),
            Value::text(unless(Lodging::Database, "app", "app_elsewhere")),
            Value::Int(DATABASE_OID),
            Value::text(unless(Lodging::Encoding, "UTF8", "LATIN1")),
            Value::text(unless(Lodging::Locale, "C", "de_DE.utf8")),
            Value::text(unless(Lodging::Locale, "C", "de_DE.utf8")),
            text("session_authorization"),
            text("role"),
            text("is_superuser"),
            count(io.cluster.advisory_locks(self.backend)),
            count(temporary),
            count(cursors),
            list(channels.collect()),
            table(self.surveyed_statements()),
            table(self.surveyed_settings()),
            list(custom.collect()),
            of_cluster(Value::text(SYSTEM)),
            of_cluster(Value::Int(timeline)),
            of_cluster(self.log_position(io.cluster)),
        ])
    }

    fn log_position(&self, cluster: &Cluster) -> Value {
        match self.recovers {
            false => Value::text(cluster.end_of_log()),
            true => cluster
                .replayed_on(self.node)
                .map_or(Value::Null, Value::text),
        }
    }

    fn surveyed_statements(&self) -> Vec<[Cell; 5]> {
        let named = self.prepared.iter().filter(|one| !one.name.is_empty());
        let row = |one: &super::super::extended::Prepared| {
            let types = one.plan.as_ref().map_or(&[][..], |plan| &plan.parameters);
            let types: Vec<String> = types.iter().map(u32::to_string).collect();
            let text = one.plan.as_ref().map_or("", |plan| &plan.text);
            [
                one.name.to_string(),
                format!("{{{}}}", types.join(",")),
                text.chars().count().to_string(),
                // Nobody but servers reads it: any will do that no other text has.
                text.to_owned(),
                one.from_sql.to_string(),
            ]
            .map(Some)
        };
        named.map(row).collect()
    }

    fn surveyed_settings(&self) -> Vec<[Cell; 4]> {
        let row = |(name, value, changed): (&str, String, bool)| {
            let source = if changed { "session" } else { "default" };
            [name, &value, source, "user"].map(|cell| Some(cell.to_owned()))
        };
        self.settings.changeable().map(row).collect()
    }
}

/// The elements of an array of one dimension, none of them NULL.
fn elements(bytes: &[u8]) -> Result<Vec<String>, Fault> {
    let mut fields = Fields(bytes);
    let dimensions = fields.i32().ok_or_else(malformed)?;
    fields.bytes(8).ok_or_else(malformed)?;
    let mut out = Vec::new();
    if dimensions == 1 {
        let count = fields.i32().ok_or_else(malformed)?;
        fields.bytes(4).ok_or_else(malformed)?;
        for _ in 0..count {
            let length = fields.i32().ok_or_else(malformed)?;
            let length = usize::try_from(length).map_err(|_| malformed())?;
            let bytes = fields.bytes(length).ok_or_else(malformed)?;
            out.push(utf8(bytes)?.to_owned());
        }
    }
    Ok(out)
}

fn array(dimensions: &[usize], cells: impl Iterator<Item = Cell>) -> Value {
    let empty = dimensions.first() == Some(&0);
    let dimensions: &[usize] = if empty { &[] } else { dimensions };
    let word = |number: usize| u32::try_from(number).expect("a small number").to_be_bytes();
    let mut out = word(dimensions.len()).to_vec();
    out.extend([word(1), oid::TEXT.to_be_bytes()].concat());
    for dimension in dimensions {
        out.extend([word(*dimension), word(1)].concat());
    }
    for cell in cells {
        match cell {
            None => out.extend((-1_i32).to_be_bytes()),
            Some(text) => {
                out.extend(word(text.len()));
                out.extend(text.as_bytes());
            }
        }
    }
    Value::Array(out.into())
}

fn list(elements: Vec<Cell>) -> Value {
    array(&[elements.len()], elements.into_iter())
}

fn table<const N: usize>(rows: Vec<[Cell; N]>) -> Value {
    array(&[rows.len(), N], rows.into_iter().flatten())
}

impl Session {
    fn has_values(&self) -> bool {
        self.values.last.is_some() || self.values.of.iter().any(Option::is_some)
    }

    /// What of the session no other server can have, if there is anything; listening may go along.
    pub(crate) fn tie(&self, cluster: &Cluster, listens: bool) -> Option<&'static str> {
        let ties = [
            (cluster.advisory_locks(self.backend) > 0, "a lock"),
            (!self.temporary.is_empty(), "a temporary table"),
            (self.portals.iter().any(|portal| portal.held), "a cursor"),
            (
                !listens && !cluster.channels(self.backend).is_empty(),
                "it listens",
            ),
        ];
        ties.into_iter().find(|(is, _)| *is).map(|(_, what)| what)
    }
}

impl Server {
    /// From now on it sets what it is told to.
    pub(crate) fn remembers(&mut self) {
        if let Stage::Session(session) = &mut self.stage {
            session.forgetful = false;
        }
    }

    /// What of its session no other server can have.
    pub(crate) fn tie(&self, cluster: &Cluster, listens: bool) -> Option<&'static str> {
        match &self.stage {
            Stage::Session(session) => session.tie(cluster, listens),
            Stage::Opening(_) | Stage::Closed(_) => None,
        }
    }

    /// What of it another server of its cluster has to be put up with for, if a session goes there from this one.
    pub(crate) fn put_up_with(&self, other: &Server) -> Vec<Accept> {
        let (Some(mine), Some(others)) = (self.session(), other.session()) else {
            return Vec::new();
        };
        let back = mine.lodging == Lodging::OlderTimeline || mine.recovers || others.recovers;
        let lodgings = match mine.lodging == others.lodging {
            true => Vec::new(),
            false => vec![mine.lodging, others.lodging],
        };
        let lodgings = lodgings
            .into_iter()
            .filter(|one| !(back && *one == Lodging::OlderTimeline));
        let mut all: Vec<Accept> = lodgings.filter_map(Lodging::accepted_as).collect();
        if others.version < mine.version {
            all.push(Accept::OlderMajor);
        }
        if others.recovers && !mine.recovers {
            all.push(Accept::Standby);
        }
        all
    }

    /// Whether its session has values of sequences.
    pub(crate) fn has_values(&self) -> bool {
        self.session().is_some_and(Session::has_values)
    }

    /// Whether its session has values of sequences, and where only servers are asked custom settings that another has not.
    pub(crate) fn knows_what_no_probe_finds(&self, other: &Server, probes: bool) -> bool {
        let (Some(mine), Some(others)) = (self.session(), other.session()) else {
            return false;
        };
        let mut custom = mine.settings.custom();
        let lost = |name: &str| others.settings.get(name) != mine.settings.get(name);
        mine.has_values() || probes && custom.any(lost)
    }

    /// What it has told its client of settings.
    pub(crate) fn reported(&self) -> Vec<(String, String)> {
        match &self.stage {
            Stage::Session(session) => session.settings.reported(),
            Stage::Opening(_) | Stage::Closed(_) => Vec::new(),
        }
    }

    /// A statement that PREPARE made or a setting that another server's session has otherwise, but for what is the server's
    /// own.
    pub(crate) fn differs_from(&self, other: &Server) -> Option<String> {
        let (Some(mine), Some(others)) = (self.session(), other.session()) else {
            return None;
        };
        let made = |session: &Session| {
            let made = session.prepared.iter().filter(|one| one.from_sql);
            let text = |plan: &Arc<Plan>| plan.text.to_string();
            made.map(|one| (one.name.to_string(), one.plan.as_ref().map(text)))
                .collect::<Vec<_>>()
        };
        let (my_statements, their_statements) = (made(mine), made(others));
        if my_statements != their_statements {
            return Some(format!("{my_statements:?} for {their_statements:?}"));
        }
        let mut names: Vec<Arc<str>> = Vec::new();
        for values in [mine.settings.all(), others.settings.all()] {
            names.extend(values.iter().map(|(name, _)| Arc::clone(name)));
        }
        let own = [
            "default_transaction_read_only",
            "in_hot_standby",
            "server_version",
            "scram_iterations",
            "transaction_read_only",
        ];
        names.retain(|name| !own.contains(&&**name));
        let value = |session: &Session, name: &str| session.settings.get(name).unwrap_or_default();
        names.iter().find_map(|name| {
            let (mine, others) = (value(mine, name), value(others, name));
            (mine != others).then(|| format!("{name}={mine:?} for {others:?}"))
        })
    }

    fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Session(session) | Stage::Closed(Some(session)) => Some(session),
            Stage::Opening(_) | Stage::Closed(None) => None,
        }
    }
}
