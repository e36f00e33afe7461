//! What a probe has found: its row, read.

use std::collections::BTreeMap;
use std::fmt;

use super::PROBE_STATEMENT;
use super::array::{Cell, number, read, read_oids, read_table};
use crate::error::{Fault, Malformed};
use crate::wire::{Printable, Reader, Values};

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A SET or `set_config` in this session.
    Session,
    /// Anywhere else: the StartupMessage, the role, the database, the server.
    Elsewhere,
}

/// Who may change a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settable {
    /// Anybody.
    ByUser,
    /// Superusers, and whom they let.
    ByPrivileged,
}

/// A setting as a server shows it. `Debug` does not show its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value, without unit, as `set_config` takes it.
    pub value: Box<[u8]>,
    /// Where it comes from.
    pub origin: Origin,
    /// Who may change it.
    pub settable: Settable,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = format_args!("<{} bytes>", self.value.len());
        f.debug_struct("Setting")
            .field("value", &value)
            .field("origin", &self.origin)
            .field("settable", &self.settable)
            .finish()
    }
}

/// A prepared statement as a server shows it. `Debug` does not show its digest, from which a text could be guessed.
#[derive(Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The types of its parameters, none of them left open.
    pub types: Vec<u32>,
    /// The length of its text, in characters.
    pub length: u64,
    /// What the server makes of its text, which tells it from any other: the first 16 bytes of SHA-256, in hexadecimal digits,
    /// of the bytes in the database's encoding. Two databases of different encodings make different ones of the same text.
    pub digest: Box<[u8]>,
    /// Whether it was made by PREPARE, so that its text is that of a whole Query.
    pub from_sql: bool,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("types", &self.types)
            .field("length", &self.length)
            .field("from_sql", &self.from_sql)
            .finish_non_exhaustive()
    }
}

/// What tells one cluster, and one history of it, from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `pg_control_system().system_identifier`, in decimal digits: the same on every physical standby.
    pub system: Box<[u8]>,
    /// The timeline that is written; on a standby that of its last checkpoint.
    pub timeline: i32,
    /// How far the log is written, or replayed on a standby; `None` if nothing was.
    pub lsn: Option<Box<[u8]>>,
}

/// The values of custom settings by name; `None` where there is none.
pub type CustomSettings = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// What a probe has found in a session, and of the server around it.
///
/// Names and values are in the session's client encoding, byte for byte.
#[derive(Clone)]
pub struct Found {
    /// `server_version_num`, such as 150018.
    pub version: i32,
    /// Whether the server is a standby.
    pub in_recovery: bool,
    /// The database.
    pub database: Box<[u8]>,
    /// The OID of the database: the same on every physical standby.
    pub database_oid: u32,
    /// The encoding of the database.
    pub encoding: Box<[u8]>,
    /// LC_COLLATE and LC_CTYPE of the database.
    pub locale: [Box<[u8]>; 2],
    /// SESSION_USER.
    pub session_user: Box<[u8]>,
    /// What SET ROLE has chosen; `none` is nothing.
    pub role: Box<[u8]>,
    /// Whether the current role is a superuser.
    pub superuser: bool,
    /// How many advisory locks are held.
    pub advisory_locks: u64,
    /// How many temporary objects exist.
    pub temporary_objects: u64,
    /// How many cursors `WITH HOLD` are open.
    pub cursors: u64,
    /// The channels of LISTEN.
    pub channels: Vec<Box<[u8]>>,
    /// The named statements, by name.
    pub statements: BTreeMap<Box<[u8]>, Prepared>,
    /// Settings by name: those that can be changed in a session, by anybody or by superusers, as far as the current role
    /// may see them. Of custom ones (`app.user`) a server shows none here.
    pub settings: BTreeMap<Box<[u8]>, Setting>,
    /// The values of the custom settings that were asked for, by name; `None` if there is none.
    pub custom: CustomSettings,
    /// What tells the cluster from others, if it was asked for.
    pub identity: Option<Identity>,
}

/// Shows what a log may hold: no value of a setting, and of names only their number.
impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("version", &self.version)
            .field("in_recovery", &self.in_recovery)
            .field("database", &Printable(&self.database))
            .field("advisory_locks", &self.advisory_locks)
            .field("temporary_objects", &self.temporary_objects)
            .field("cursors", &self.cursors)
            .field("channels", &self.channels.len())
            .field("statements", &self.statements.len())
            .field("settings", &self.settings.len())
            .field("custom", &self.custom.len())
            .finish_non_exhaustive()
    }
}

impl Found {
    /// Reads a probe's row, of which the custom settings have these names.
    ///
    /// # Errors
    /// The column that cannot be read.
    pub fn parse(values: Values<'_>, custom: &[Box<[u8]>]) -> Result<Found, Malformed> {
        let mut cells = Cells {
            values: values.iter(),
        };
        let found = Found {
            version: cells.i32("server_version_num")?,
            in_recovery: cells.boolean("pg_is_in_recovery")?,
            database: cells.text("database")?,
            database_oid: cells.u32("database oid")?,
            encoding: cells.text("encoding")?,
            locale: [cells.text("datcollate")?, cells.text("datctype")?],
            session_user: cells.text("session_user")?,
            role: cells.text("role")?,
            superuser: *cells.text("is_superuser")? == *b"on",
            advisory_locks: cells.count("advisory locks")?,
            temporary_objects: cells.count("temporary objects")?,
            cursors: cells.count("cursors")?,
            channels: channels(cells.required("channels")?)?,
            statements: statements(cells.required("prepared statements")?)?,
            settings: settings(cells.required("settings")?)?,
            custom: named(custom, cells.required("custom settings")?)?,
            identity: cells.identity()?,
        };
        match cells.values.next() {
            None => Ok(found),
            Some(_) => Err(bad("a column too many")),
        }
    }

    /// A setting's value.
    #[must_use]
    pub fn setting(&self, name: &[u8]) -> Option<&[u8]> {
        self.settings.get(name).map(|setting| &*setting.value)
    }

    /// The major version: 15 for 150018.
    #[must_use]
    pub fn major(&self) -> i32 {
        self.version.checked_div(10_000).unwrap_or_default()
    }
}

/// The columns of the row, one after the other.
struct Cells<'a> {
    values: crate::wire::Iter<'a, Option<&'a [u8]>>,
}

impl<'a> Cells<'a> {
    fn required(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        self.optional(field)?.ok_or_else(|| bad(field))
    }

    fn optional(&mut self, field: &'static str) -> Result<Cell<'a>, Malformed> {
        self.values.next().ok_or_else(|| bad(field))
    }

    fn text(&mut self, field: &'static str) -> Result<Box<[u8]>, Malformed> {
        self.required(field).map(Box::from)
    }

    fn fixed<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let mut reader = Reader::new("probe", self.required(field)?);
        let value = read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    fn i32(&mut self, field: &'static str) -> Result<i32, Malformed> {
        self.fixed(field, |reader| reader.i32(field))
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.fixed(field, |reader| reader.u32(field))
    }

    fn boolean(&mut self, field: &'static str) -> Result<bool, Malformed> {
        self.fixed(field, |reader| reader.u8(field))
            .map(|byte| byte != 0)
    }

    /// A bigint that is no less than zero.
    fn count(&mut self, field: &'static str) -> Result<u64, Malformed> {
        let count = self.fixed(field, |reader| reader.i64(field))?;
        u64::try_from(count).map_err(|_| bad(field))
    }

    fn identity(&mut self) -> Result<Option<Identity>, Malformed> {
        let system = self.optional("system identifier")?;
        let timeline = self.optional("timeline")?;
        let lsn = self.optional("log position")?;
        let (Some(system), Some(timeline)) = (system, timeline) else {
            return Ok(None);
        };
        let mut reader = Reader::new("probe", timeline);
        let timeline = reader.i32("timeline")?;
        reader.finish()?;
        Ok(Some(Identity {
            system: Box::from(system),
            timeline,
            lsn: lsn.map(Box::from),
        }))
    }
}

fn channels(value: &[u8]) -> Result<Vec<Box<[u8]>>, Malformed> {
    read("channels", value)?
        .into_iter()
        .map(|name| name.map(Box::from).ok_or_else(|| bad("channels")))
        .collect()
}

/// The prepared statements, without the probe's own.
fn statements(value: &[u8]) -> Result<BTreeMap<Box<[u8]>, Prepared>, Malformed> {
    let field = "prepared statements";
    let mut statements = BTreeMap::new();
    for row in read_table(field, value)? {
        let [
            Some(name),
            Some(types),
            Some(length),
            Some(digest),
            Some(from_sql),
        ] = row
        else {
            return Err(bad(field));
        };
        if name == PROBE_STATEMENT {
            continue;
        }
        let prepared = Prepared {
            types: read_oids(field, types)?,
            length: number(length).ok_or_else(|| bad(field))?,
            digest: Box::from(digest),
            from_sql: from_sql == b"true",
        };
        statements.insert(Box::from(name), prepared);
    }
    Ok(statements)
}

fn settings(value: &[u8]) -> Result<BTreeMap<Box<[u8]>, Setting>, Malformed> {
    let mut settings = BTreeMap::new();
    for row in read_table("settings", value)? {
        let [Some(name), value, Some(origin), Some(settable)] = row else {
            return Err(bad("settings"));
        };
        let setting = Setting {
            value: Box::from(value.unwrap_or_default()),
            origin: match origin {
                b"session" => Origin::Session,
                _ => Origin::Elsewhere,
            },
            settable: match settable {
                b"user" => Settable::ByUser,
                _ => Settable::ByPrivileged,
            },
        };
        settings.insert(Box::from(name), setting);
    }
    Ok(settings)
}

/// The values of custom settings, which come in the order of their names.
fn named(names: &[Box<[u8]>], value: &[u8]) -> Result<CustomSettings, Malformed> {
    let values = read("custom settings", value)?;
    if values.len() != names.len() {
        return Err(bad("custom settings"));
    }
    let values = values.into_iter().map(|value| value.map(Box::from));
    Ok(names.iter().cloned().zip(values).collect())
}

fn bad(field: &'static str) -> Malformed {
    Malformed {
        message: "probe",
        field,
        offset: 0,
        fault: Fault::BadValue,
    }
}
