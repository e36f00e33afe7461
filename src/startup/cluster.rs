//! Which of several clusters a client wants, as CockroachDB's serverless proxy is told: by the database, by an option, or by the
//! host name in the TLS handshake.

use std::fmt;

use super::params::{BuildError, StartupParams};
use crate::wire::Printable;

/// What begins the option, whatever switch is before it.
const OPTION: &[u8] = b"cluster=";
/// Bytes of a cluster's name, without the tenant's number.
const NAME: std::ops::RangeInclusive<usize> = 6..=100;
/// The least number of a tenant; 1 is the system's own.
const TENANT_MIN: u64 = 2;

/// A cluster, as a client names it: `NAME-NUMBER`.
///
/// ```
/// use pgturnout::startup::{ClusterIdent, ProtocolVersion, StartupParams};
///
/// let asks = |database: &'static [u8], options: &'static [u8]| {
///     let pairs = [(&b"user"[..], &b"alice"[..]), (b"database", database), (b"options", options)];
///     StartupParams::build(ProtocolVersion::V3_0, pairs)
/// };
/// let (ident, startup) = ClusterIdent::of(&asks(b"happy-koala-7.app", b"-c geqo=off")?, None)?;
/// assert_eq!((ident.name(), ident.tenant()), ("happy-koala", 7));
/// assert_eq!(startup.database(), b"app");
///
/// let (_, startup) = ClusterIdent::of(&asks(b"app", b"--cluster=happy-koala-7 -c geqo=off")?, None)?;
/// assert_eq!(startup.get(b"options"), Some(&b"-c geqo=off"[..]));
///
/// let untouched = asks(b"app", b"-c geqo=off")?;
/// let (_, startup) = ClusterIdent::of(&untouched, Some(b"happy-koala-7.example.com"))?;
/// assert_eq!(startup, untouched);
///
/// let none = ClusterIdent::of(&untouched, None).unwrap_err();
/// assert_eq!(none.to_string(), "missing cluster identifier");
/// assert!(none.hint().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterIdent {
    name: String,
    tenant: u64,
}

/// Why a client's cluster cannot be known. It repeats nothing of what the client has sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoCluster {
    /// Neither the database, nor an option, nor the host name says it.
    #[error("missing cluster identifier")]
    Missing,
    /// The database and the option name different clusters.
    #[error("the database and the options name different clusters")]
    Different,
    /// Two options do.
    #[error("the options name a cluster more than once")]
    Options,
    /// The database has a dot, and is not `CLUSTER.DATABASE`.
    #[error("a database with a dot has to be CLUSTER.DATABASE")]
    Database,
    /// What is named is no `NAME-NUMBER`.
    #[error("invalid cluster identifier")]
    Ident,
    /// What is left cannot be sent on.
    #[error("the startup message cannot be sent on: {0}")]
    Build(#[from] BuildError),
}

impl NoCluster {
    /// What the client might do about it, for the field H of the error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            NoCluster::Missing | NoCluster::Ident | NoCluster::Database => Some(
                "Say it in the database, as NAME-NUMBER.DATABASE, or in the options, as --cluster=NAME-NUMBER; or connect \
                 over TLS to a host whose name begins with NAME-NUMBER.",
            ),
            NoCluster::Different | NoCluster::Options => Some("Say it once."),
            NoCluster::Build(_) => None,
        }
    }
}

impl ClusterIdent {
    /// Finds out which cluster a client wants, and what its servers get as its StartupMessage: the same without what names
    /// the cluster, and the very same bytes if nothing in it does.
    ///
    /// The database (`CLUSTER.DATABASE`) and the options (`--cluster=CLUSTER`, `-c cluster=CLUSTER`, `-ccluster=CLUSTER`)
    /// come first, and have to agree if both say it; else the first label of the host name is it (`server_name`, of the TLS
    /// handshake or of the PROXY protocol). What is not stripped stays as it is, byte for byte and in its order.
    ///
    /// # Errors
    ///
    /// Nothing says it, two say different things, or what is said is none: six to a hundred of `a-z`, `0-9` and `-`, a hyphen,
    /// and a number of at least 2.
    pub fn of(
        startup: &StartupParams,
        server_name: Option<&[u8]>,
    ) -> Result<(ClusterIdent, StartupParams), NoCluster> {
        let database = startup.get(b"database").map(split_database).transpose()?;
        let database = database.flatten();
        let options = startup.get(b"options").map(Options::read).transpose()?;
        let options = options.flatten();
        let by_database = database.map(|(ident, _)| ident);
        let by_option = options.as_ref().map(|options| options.ident);
        let ident = match (by_database, by_option) {
            (Some(one), Some(other)) if one != other => return Err(NoCluster::Different),
            (Some(ident), _) | (None, Some(ident)) => ident,
            (None, None) => {
                let label = server_name.and_then(|name| name.split(|byte| *byte == b'.').next());
                let label = label.filter(|label| !label.is_empty());
                let ident = ClusterIdent::parse(label.ok_or(NoCluster::Missing)?)?;
                return Ok((ident, startup.clone()));
            }
        };
        let ident = ClusterIdent::parse(ident)?;
        // Where a name comes twice the last one counts, and the others count for nothing.
        let last = |name: &[u8]| startup.iter().filter(|(known, _)| *known == name).count();
        let (mut databases, mut all_options) = (last(b"database"), last(b"options"));
        let mut left = Vec::new();
        for (name, value) in startup {
            let is_last = |count: &mut usize| {
                *count = count.saturating_sub(1);
                *count == 0
            };
            match name {
                b"database" if is_last(&mut databases) => {
                    left.push((name, database.map_or(value, |(_, rest)| rest)));
                }
                b"options" if is_last(&mut all_options) => {
                    let rest = options
                        .as_ref()
                        .map_or(value, |options| options.rest.as_slice());
                    left.push((name, rest));
                }
                _ => left.push((name, value)),
            }
        }
        Ok((ident, StartupParams::build(startup.version(), left)?))
    }

    /// Reads `NAME-NUMBER`.
    ///
    /// # Errors
    ///
    /// [`NoCluster::Ident`].
    pub fn parse(text: &[u8]) -> Result<ClusterIdent, NoCluster> {
        let text = std::str::from_utf8(text).map_err(|_| NoCluster::Ident)?;
        let (name, number) = text.rsplit_once('-').ok_or(NoCluster::Ident)?;
        let tenant: u64 = number.parse().map_err(|_| NoCluster::Ident)?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        // One tenant is written one way: no sign, no leading zeros.
        let is_one = NAME.contains(&name.len())
            && name.bytes().all(fits)
            && tenant >= TENANT_MIN
            && tenant.to_string() == number;
        is_one
            .then(|| ClusterIdent {
                name: name.to_owned(),
                tenant,
            })
            .ok_or(NoCluster::Ident)
    }

    /// The name: what the directory of clusters has to know the tenant by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tenant's number.
    #[must_use]
    pub fn tenant(&self) -> u64 {
        self.tenant
    }
}

impl fmt::Display for ClusterIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.tenant)
    }
}

impl fmt::Debug for ClusterIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ClusterIdent({})",
            Printable(self.to_string().as_bytes())
        )
    }
}

/// What names the cluster, and the database's own name.
type Halves<'a> = (&'a [u8], &'a [u8]);

/// Nothing for a database without a dot.
fn split_database(value: &[u8]) -> Result<Option<Halves<'_>>, NoCluster> {
    let mut parts = value.split(|byte| *byte == b'.');
    match (parts.next(), parts.next(), parts.next()) {
        (_, None, _) => Ok(None),
        (Some(ident @ [_, ..]), Some(database @ [_, ..]), None) => Ok(Some((ident, database))),
        (_, Some(_), _) => Err(NoCluster::Database),
    }
}

/// The options without the one that names a cluster.
struct Options<'a> {
    ident: &'a [u8],
    rest: Vec<u8>,
}

impl<'a> Options<'a> {
    fn read(value: &'a [u8]) -> Result<Option<Options<'a>>, NoCluster> {
        let Some((ident, start, end)) = named(value)? else {
            return Ok(None);
        };
        let before = value.get(..start).unwrap_or_default().trim_ascii_end();
        let behind = value.get(end..).unwrap_or_default().trim_ascii_start();
        let between: &[u8] = match (before, behind) {
            ([], _) | (_, []) => b"",
            (_, _) => b" ",
        };
        let rest = [before, between, behind].concat();
        let rest = rest.trim_ascii().to_vec();
        // What stood before it may make a switch of what stood behind.
        match named(&rest)? {
            Some(_) => Err(NoCluster::Options),
            None => Ok(Some(Options { ident, rest })),
        }
    }
}

/// What names the cluster in an option, and where that option begins and ends.
type Named<'a> = (&'a [u8], usize, usize);

fn named(value: &[u8]) -> Result<Option<Named<'_>>, NoCluster> {
    let mut found: Option<Named<'_>> = None;
    let mut before: Option<(usize, &[u8])> = None;
    for (at, word) in words(value) {
        // Where a switch of one word with its value behind it begins.
        let switch = before.filter(|(_, word)| *word == b"-c");
        before = Some((at, word));
        let (start, rest) = match (word.strip_prefix(b"--"), word.strip_prefix(b"-c")) {
            (Some(rest), _) | (None, Some(rest @ [_, ..])) => (at, rest),
            (None, Some([])) | (None, None) => match switch {
                Some((start, _)) => (start, word),
                None => continue,
            },
        };
        let Some(ident) = rest.strip_prefix(OPTION) else {
            continue;
        };
        if found.is_some() {
            return Err(NoCluster::Options);
        }
        found = Some((ident, start, at.saturating_add(word.len())));
    }
    Ok(found)
}

/// The words of a command line, with their places. A backslash keeps a blank in a word; no cluster's name has one.
fn words(value: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = value.get(at..)?;
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        let start = at.saturating_add(blanks);
        let rest = value.get(start..).filter(|rest| !rest.is_empty())?;
        let mut escaped = false;
        let length = rest
            .iter()
            .take_while(|byte| {
                let ends = is_blank(**byte) && !escaped;
                escaped = **byte == b'\\' && !escaped;
                !ends
            })
            .count();
        at = start.saturating_add(length);
        Some((start, value.get(start..at)?))
    })
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
