//! Settings (GUCs): names, what values they take and how these are shown, and which a client is told of.
//!
//! Three layers: `reset` is what RESET goes back to, `session` what holds after the transaction, `current` what
//! holds now. SET writes the last two, SET LOCAL the last, a commit copies `session` to `current`, a rollback
//! restores both from where the transaction began.

mod values;

use std::sync::Arc;

use super::fault::Fault;
pub(super) use values::{boolean, isolation};
use values::{clean, encoding, memory, of_boolean, plain, time, zone};

pub(super) type Values = Arc<Vec<(Arc<str>, Arc<str>)>>;

/// What a setting takes.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    /// Names, of which the second of a pair is another way to say the first.
    Enum(&'static [(&'static str, &'static str)]),
    Int(i64, i64),
    /// Milliseconds.
    Time,
    /// Kilobytes, with the least.
    Memory(i64),
    Text,
    /// A list of identifiers.
    Path,
    DateStyle,
    Encoding,
    Zone,
    Isolation,
    /// Handled by those who know roles.
    Role,
    Internal,
    Postmaster,
}

const NAMES: &[(&str, Kind, &str)] = &[
    ("application_name", Kind::Text, ""),
    (
        "bytea_output",
        Kind::Enum(&[("hex", "hex"), ("escape", "escape")]),
        "hex",
    ),
    ("client_encoding", Kind::Encoding, "UTF8"),
    ("client_min_messages", Kind::Enum(LEVELS), "notice"),
    ("DateStyle", Kind::DateStyle, "ISO, MDY"),
    ("default_transaction_deferrable", Kind::Bool, "off"),
    (
        "default_transaction_isolation",
        Kind::Isolation,
        "read committed",
    ),
    ("default_transaction_read_only", Kind::Bool, "off"),
    ("enable_seqscan", Kind::Bool, "on"),
    ("escape_string_warning", Kind::Bool, "on"),
    ("extra_float_digits", Kind::Int(-15, 3), "1"),
    ("idle_in_transaction_session_timeout", Kind::Time, "0"),
    ("in_hot_standby", Kind::Internal, "off"),
    ("integer_datetimes", Kind::Internal, "on"),
    ("IntervalStyle", Kind::Enum(INTERVALS), "postgres"),
    ("is_superuser", Kind::Internal, "off"),
    ("lock_timeout", Kind::Time, "0"),
    ("max_connections", Kind::Postmaster, "100"),
    ("role", Kind::Role, "none"),
    ("row_security", Kind::Bool, "on"),
    ("search_path", Kind::Path, "\"$user\", public"),
    ("server_encoding", Kind::Internal, "UTF8"),
    ("server_version", Kind::Internal, "15.18"),
    ("session_authorization", Kind::Role, ""),
    ("standard_conforming_strings", Kind::Bool, "on"),
    ("statement_timeout", Kind::Time, "0"),
    ("synchronous_commit", Kind::Enum(COMMITS), "on"),
    ("TimeZone", Kind::Zone, "Etc/UTC"),
    ("transaction_deferrable", Kind::Bool, "off"),
    ("transaction_isolation", Kind::Isolation, "read committed"),
    ("transaction_read_only", Kind::Bool, "off"),
    ("work_mem", Kind::Memory(64), "4MB"),
];

const LEVELS: &[(&str, &str)] = &[
    ("debug5", "debug5"),
    ("debug1", "debug1"),
    ("log", "log"),
    ("notice", "notice"),
    ("warning", "warning"),
    ("error", "error"),
];
const INTERVALS: &[(&str, &str)] = &[
    ("postgres", "postgres"),
    ("postgres_verbose", "postgres_verbose"),
    ("sql_standard", "sql_standard"),
    ("iso_8601", "iso_8601"),
];
const COMMITS: &[(&str, &str)] = &[
    ("local", "local"),
    ("remote_write", "remote_write"),
    ("remote_apply", "remote_apply"),
    ("on", "on"),
    ("off", "off"),
];

/// What a client is told of, in the order of names; the last only by version 18.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
    "scram_iterations",
    "search_path",
];

/// Settings of one transaction, which no reset of others touches.
pub(super) const OF_TRANSACTION: [&str; 3] = [
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
];

#[derive(Clone)]
pub(super) struct Settings {
    version: u32,
    reset: Values,
    session: Values,
    current: Values,
    /// Custom names that were ever set: they are known from then on.
    custom: Vec<Arc<str>>,
    /// What the client was told last.
    reported: Vec<Option<Arc<str>>>,
}

/// The layers at some moment, to go back to.
#[derive(Clone)]
pub(super) struct Layers {
    session: Values,
    current: Values,
}

impl Layers {
    /// What held then.
    pub(super) fn get(&self, name: &str) -> Arc<str> {
        find(&self.current, name).map_or_else(|_| "".into(), |at| Arc::clone(&self.current[at].1))
    }
}

/// Where a setting is, or belongs.
pub(super) fn find(values: &Values, name: &str) -> Result<usize, usize> {
    values.binary_search_by(|(key, _)| {
        key.bytes()
            .map(|b| b.to_ascii_lowercase())
            .cmp(name.bytes().map(|b| b.to_ascii_lowercase()))
    })
}

fn put(values: &mut Values, name: &str, value: &Arc<str>) {
    match find(values, name) {
        Ok(at) if values[at].1 == *value => {}
        Ok(at) => Arc::make_mut(values)[at].1 = Arc::clone(value),
        Err(at) => Arc::make_mut(values).insert(at, (name.into(), Arc::clone(value))),
    }
}

fn remove(values: &mut Values, name: &str) {
    if let Ok(at) = find(values, name) {
        Arc::make_mut(values).remove(at);
    }
}

fn known(name: &str) -> Option<&'static (&'static str, Kind, &'static str)> {
    NAMES
        .iter()
        .find(|(known, ..)| known.eq_ignore_ascii_case(name))
}

pub(super) fn unknown(name: &str) -> Fault {
    Fault::new(
        "42704",
        format!("unrecognized configuration parameter \"{name}\""),
    )
}

impl Settings {
    pub(super) fn new(version: u32, standby: bool) -> Settings {
        let mut values: Vec<(Arc<str>, Arc<str>)> = NAMES
            .iter()
            .map(|(name, _, value)| ((*name).into(), (*value).into()))
            .collect();
        if version >= 16 {
            values.push(("scram_iterations".into(), "4096".into()));
        }
        values.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        let mut values = Arc::new(values);
        if version >= 18 {
            put(&mut values, "server_version", &"18.4".into());
        }
        if standby {
            put(&mut values, "in_hot_standby", &"on".into());
        }
        Settings {
            version,
            reset: Arc::clone(&values),
            session: Arc::clone(&values),
            current: values,
            custom: Vec::new(),
            reported: vec![None; REPORTED.len()],
        }
    }

    /// A value of the startup packet or of the server's configuration: what RESET returns to.
    pub(super) fn start(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let shown = self.check(name, value)?;
        self.force(name, &shown);
        Ok(())
    }

    /// Writes all layers, unchecked.
    pub(super) fn force(&mut self, name: &str, value: &str) {
        let value: Arc<str> = value.into();
        self.know(name);
        put(&mut self.reset, name, &value);
        put(&mut self.session, name, &value);
        put(&mut self.current, name, &value);
    }

    /// Writes what holds now and after the transaction, unchecked.
    pub(super) fn write(&mut self, name: &str, value: &str, local: bool) {
        let value: Arc<str> = value.into();
        self.know(name);
        put(&mut self.current, name, &value);
        if !local {
            put(&mut self.session, name, &value);
        }
    }

    fn know(&mut self, name: &str) {
        if name.contains('.')
            && !self
                .custom
                .iter()
                .any(|custom| custom.eq_ignore_ascii_case(name))
        {
            self.custom.push(name.into());
        }
    }

    /// SET: checks the value and writes it as it is shown.
    pub(super) fn set(&mut self, name: &str, value: &str, local: bool) -> Result<(), Fault> {
        let shown = self.check(name, value)?;
        self.write(name, &shown, local);
        Ok(())
    }

    pub(super) fn reset(&mut self, name: &str, local: bool) -> Result<(), Fault> {
        self.may_change(name)?;
        match find(&self.reset, name) {
            Ok(at) => {
                let value = Arc::clone(&self.reset[at].1);
                put(&mut self.current, name, &value);
                if !local {
                    put(&mut self.session, name, &value);
                }
            }
            Err(_) => {
                self.know(name);
                remove(&mut self.current, name);
                if !local {
                    remove(&mut self.session, name);
                }
            }
        }
        Ok(())
    }

    /// RESET ALL, which leaves roles and the transaction's own alone.
    pub(super) fn reset_all(&mut self) {
        let mut fresh = Arc::clone(&self.reset);
        for name in ["role", "session_authorization", "is_superuser"]
            .iter()
            .chain(&OF_TRANSACTION)
        {
            let kept = self.get(name).unwrap_or_default();
            put(&mut fresh, name, &kept);
        }
        self.session = Arc::clone(&fresh);
        self.current = fresh;
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<str>> {
        match find(&self.current, name) {
            Ok(at) => Some(Arc::clone(&self.current[at].1)),
            Err(_) if self.custom.iter().any(|custom| &**custom == name) => Some("".into()),
            Err(_) => None,
        }
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        find(&self.current, name).is_ok_and(|at| &*self.current[at].1 == "on")
    }

    /// What RESET goes back to.
    pub(super) fn start_value(&self, name: &str) -> Arc<str> {
        find(&self.reset, name).map_or_else(|_| "".into(), |at| Arc::clone(&self.reset[at].1))
    }

    /// Whether its value may be a list.
    pub(super) fn takes_lists(name: &str) -> bool {
        matches!(known(name), Some((_, Kind::Path | Kind::DateStyle, _)))
    }

    /// The spelling under which it is shown.
    pub(super) fn spelling<'a>(&'a self, name: &'a str) -> &'a str {
        let custom = || {
            let mut custom = self.custom.iter().map(|custom| &**custom);
            custom.find(|custom| custom.eq_ignore_ascii_case(name))
        };
        let known = known(name).map(|(spelling, ..)| *spelling);
        known.or_else(custom).unwrap_or(name)
    }

    /// Every name and value now.
    pub(super) fn all(&self) -> Values {
        Arc::clone(&self.current)
    }

    /// What a session may change: names, values without units, and whether it has.
    pub(super) fn changeable(&self) -> impl Iterator<Item = (&str, String, bool)> {
        const HIDDEN: [&str; 5] = [
            "role",
            "session_authorization",
            "transaction_deferrable",
            "transaction_isolation",
            "transaction_read_only",
        ];
        self.current.iter().filter_map(|(name, value)| {
            let (_, kind, _) = known(name)?;
            let fixed = matches!(kind, Kind::Internal | Kind::Postmaster);
            let changed = *self.start_value(name) != **value;
            let row = (&**name, plain(kind, value), changed);
            (!fixed && !HIDDEN.contains(&&**name)).then_some(row)
        })
    }

    /// Becomes what another server's session has set, and tells nobody of it. What is the server's own stays.
    pub(super) fn take_in(&mut self, other: &Settings) {
        let own = ["in_hot_standby", "server_version", "scram_iterations"];
        for (name, value) in other.session.iter() {
            let is_own = own.contains(&&**name) || OF_TRANSACTION.contains(&&**name);
            if !is_own && (other.start_value(name) != *value || find(&other.reset, name).is_err()) {
                self.write(name, value, false);
            }
        }
        self.custom.clone_from(&other.custom);
        self.report(|_, _| {});
    }

    pub(super) fn layers(&self) -> Layers {
        Layers {
            session: Arc::clone(&self.session),
            current: Arc::clone(&self.current),
        }
    }

    pub(super) fn restore(&mut self, layers: &Layers) {
        self.session = Arc::clone(&layers.session);
        self.current = Arc::clone(&layers.current);
    }

    /// What SET LOCAL did ends.
    pub(super) fn commit(&mut self) {
        if !Arc::ptr_eq(&self.current, &self.session) {
            self.current = Arc::clone(&self.session);
        }
    }

    /// What the client has not been told: names and values.
    pub(super) fn report(&mut self, mut tell: impl FnMut(&str, &str)) {
        for (at, name) in REPORTED.iter().enumerate() {
            if *name == "search_path" && self.version < 18 {
                continue;
            }
            let Some(value) = self.get(name) else {
                continue;
            };
            if self.reported[at].as_deref() != Some(&*value) {
                tell(name, &value);
                self.reported[at] = Some(value);
            }
        }
    }

    /// Custom settings that were ever set.
    pub(super) fn custom(&self) -> impl Iterator<Item = &str> {
        self.custom.iter().map(|name| &**name)
    }

    /// What the client was told last.
    pub(super) fn reported(&self) -> Vec<(String, String)> {
        let told = REPORTED.iter().zip(&self.reported);
        let told = told.filter_map(|(name, value)| Some((*name, value.as_ref()?)));
        told.map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    pub(super) fn may_change(&self, name: &str) -> Result<(), Fault> {
        match known(name) {
            Some((name, Kind::Internal, _)) => Err(Fault::new(
                "55P02",
                format!("parameter \"{name}\" cannot be changed"),
            )),
            Some((name, Kind::Postmaster, _)) => Err(Fault::new(
                "55P02",
                format!("parameter \"{name}\" cannot be changed without restarting the server"),
            )),
            Some(_) => Ok(()),
            None if is_custom(name) => Ok(()),
            None if name.contains('.') => Err(Fault::new(
                "42602",
                format!("invalid configuration parameter name \"{name}\""),
            )),
            None => Err(unknown(name)),
        }
    }

    /// How a value is shown, when it is one.
    fn check(&self, name: &str, value: &str) -> Result<String, Fault> {
        self.may_change(name)?;
        let Some((spelling, kind, _)) = known(name) else {
            return Ok(value.to_owned());
        };
        let bad = || {
            Fault::new(
                "22023",
                format!("invalid value for parameter \"{spelling}\": \"{value}\""),
            )
        };
        let shown = match kind {
            Kind::Bool => boolean(value)
                .map(|on| if on { "on" } else { "off" }.to_owned())
                .ok_or_else(|| {
                    Fault::new(
                        "22023",
                        format!("parameter \"{spelling}\" requires a Boolean value"),
                    )
                }),
            Kind::Enum(names) => names
                .iter()
                .find(|(said, _)| said.eq_ignore_ascii_case(value))
                .map(|(_, shown)| (*shown).to_owned())
                .or_else(|| of_boolean(names, value))
                .ok_or_else(bad),
            Kind::Int(low, high) => match value.trim().parse::<i64>() {
                Ok(number) if (*low..=*high).contains(&number) => Ok(number.to_string()),
                _ => Err(bad()),
            },
            Kind::Time => time(value).ok_or_else(bad),
            Kind::Memory(low) => memory(value, *low).ok_or_else(bad),
            Kind::DateStyle => self.date_style(value).ok_or_else(bad),
            Kind::Encoding => encoding(value).map(str::to_owned).ok_or_else(bad),
            Kind::Zone => zone(value).ok_or_else(bad),
            Kind::Isolation => isolation(value).map(str::to_owned).ok_or_else(bad),
            Kind::Path | Kind::Text | Kind::Role => Ok(value.to_owned()),
            Kind::Internal | Kind::Postmaster => Err(bad()),
        }?;
        Ok(match *spelling {
            // Names of applications are clean ASCII.
            "application_name" => clean(&shown, self.version),
            _ => shown,
        })
    }

    fn date_style(&self, value: &str) -> Option<String> {
        let now = self.get("DateStyle")?;
        let (mut style, mut order) = now.split_once(", ")?;
        for word in value.split(',') {
            match word.trim().to_ascii_lowercase().as_str() {
                "iso" => style = "ISO",
                "sql" => style = "SQL",
                "postgres" => style = "Postgres",
                "german" => style = "German",
                "ymd" => order = "YMD",
                "dmy" | "euro" | "european" => order = "DMY",
                "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
                "default" => {}
                _ => return None,
            }
        }
        if style == "German" && !value.contains(',') {
            order = "DMY";
        }
        Some(format!("{style}, {order}"))
    }
}

fn is_custom(name: &str) -> bool {
    name.contains('.')
        && name.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
        })
}
