//! CockroachDB's transfer of a session: one server hands it out, another lets it in by a token and takes it in. And
//! what either may get wrong.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::text::Words;
use super::cluster::Cluster;
use super::extended::Prepared;
use super::fault::Fault;
use super::session::{CurrentValues, Io, Next, Session};
use super::settings::Settings;
use super::tx::Block;
use super::wire::{Output, text};

/// From where the client of every session comes.
pub(crate) const ADDRESS: &str = "192.0.2.7:5000";

/// What states and tokens begin with. Nobody is shown either.
pub(crate) const STATE: &[u8] = b"STATE!of-a-session";
pub(crate) const TOKEN: &[u8] = b"TOKEN!of-a-session";

const SHOW: &str = "SHOW TRANSFER STATE WITH '";
const TAKE: &str = "SELECT crdb_internal.deserialize_session(decode('";
const TAKE_ENDS: &str = "', 'base64'))";
const COLUMNS: [&str; 4] = [
    "error",
    "session_state_base64",
    "session_revival_token_base64",
    "transfer_key",
];
const TAKE_COLUMN: &str = "crdb_internal.deserialize_session";

/// A session that was handed out.
pub(super) struct HandedOut {
    user: Arc<str>,
    state: String,
    token: String,
    settings: Settings,
    prepared: Vec<Prepared>,
    values: CurrentValues,
}

/// What a server gets wrong in its next answer about a session's transfer, or says otherwise in it, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) kind: FlawKind,
    pub(crate) at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlawKind {
    /// Behind so many bytes of it nothing more comes until the faults end.
    Silent,
    /// Behind so many bytes the connection ends.
    Dies,
    /// It fails behind so many messages.
    Fails,
    /// The server ends the session behind so many messages.
    Ends,
    /// The session cannot be handed out, or was not taken in.
    Refuses,
    /// There is no error, and something is missing.
    Lacks,
    /// The columns are others.
    Columns,
    /// The row has another number of values.
    Values,
    /// The key is another.
    Key,
    /// The command tag is another.
    Tag,
    TwoRows,
    NoRow,
    /// A transaction is open behind it.
    Status,
    /// All of it is said twice.
    Twice,
    /// A message that has no place in it.
    Stray,
    /// A notice between two messages.
    Notice,
    /// A setting is reported between two messages.
    Parameter,
    /// A prepared statement cannot be planned again, and nobody is told.
    Swallows,
}

impl FlawKind {
    pub(crate) const ALL: [(FlawKind, &'static str); 18] = [
        (FlawKind::Silent, "silent"),
        (FlawKind::Dies, "dies"),
        (FlawKind::Fails, "fails"),
        (FlawKind::Ends, "ends"),
        (FlawKind::Refuses, "refuses"),
        (FlawKind::Lacks, "lacks"),
        (FlawKind::Columns, "columns"),
        (FlawKind::Values, "values"),
        (FlawKind::Key, "key"),
        (FlawKind::Tag, "tag"),
        (FlawKind::TwoRows, "two-rows"),
        (FlawKind::NoRow, "no-row"),
        (FlawKind::Status, "status"),
        (FlawKind::Twice, "twice"),
        (FlawKind::Stray, "stray"),
        (FlawKind::Notice, "notice"),
        (FlawKind::Parameter, "parameter"),
        (FlawKind::Swallows, "swallows"),
    ];

    pub(crate) fn name(self) -> &'static str {
        let found = FlawKind::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("?", |(_, name)| name)
    }

    /// Whether a server may say so: the session goes on with it.
    pub(crate) fn is_legal(self) -> bool {
        match self {
            FlawKind::Silent
            | FlawKind::Fails
            | FlawKind::Refuses
            | FlawKind::Lacks
            | FlawKind::Notice
            | FlawKind::Parameter
            | FlawKind::Swallows => true,
            FlawKind::Dies
            | FlawKind::Ends
            | FlawKind::Columns
            | FlawKind::Values
            | FlawKind::Key
            | FlawKind::Tag
            | FlawKind::TwoRows
            | FlawKind::NoRow
            | FlawKind::Status
            | FlawKind::Twice
            | FlawKind::Stray => false,
        }
    }
}

impl Flaw {
    pub(crate) fn parse(words: &mut Words<'_>) -> Result<Flaw, String> {
        let name = words.word()?;
        let found = FlawKind::ALL.iter().find(|(_, known)| *known == name);
        let (kind, _) = found.ok_or_else(|| format!("{name:?} is no flaw"))?;
        Ok(Flaw {
            kind: *kind,
            at: words.number()?,
        })
    }
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.at)
    }
}

/// A message of an answer.
#[derive(Clone)]
enum Said {
    Columns(Vec<String>),
    Row(Vec<Option<String>>),
    Tag(String),
    Ready(u8),
    /// `E` or `N`, severity and SQLSTATE.
    Report(u8, &'static str, &'static str),
    Parameter,
    Stray(u8),
}

impl Said {
    fn write(&self, out: &mut Output) {
        match self {
            Said::Columns(names) => out.message(b'T', |out| {
                out.extend_from_slice(&(names.len() as u16).to_be_bytes());
                for name in names {
                    text(out, name);
                    // No table, no attribute; text of any length, as text.
                    out.extend_from_slice(&[
                        0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0,
                    ]);
                }
            }),
            Said::Row(values) => out.message(b'D', |out| {
                out.extend_from_slice(&(values.len() as u16).to_be_bytes());
                for value in values {
                    let Some(value) = value else {
                        out.extend_from_slice(&(-1_i32).to_be_bytes());
                        continue;
                    };
                    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    out.extend_from_slice(value.as_bytes());
                }
            }),
            Said::Tag(tag) => out.complete(tag),
            Said::Ready(status) => out.ready(*status),
            Said::Report(tag, severity, code) => {
                let text = match *code {
                    "01000" => "there is no cause for alarm",
                    _ => "of a transfer, with n33dle",
                };
                out.report(*tag, severity, code, text);
            }
            Said::Parameter => out.parameter("default_transaction_read_only", "off"),
            Said::Stray(tag) => out.message(*tag, |_| {}),
        }
    }
}

/// For what a server keeps a session.
const REFUSALS: [&str; 7] = [
    "cannot serialize a session which is inside a transaction",
    "cannot serialize a session which has active portals",
    "cannot serialize session with temporary schemas",
    "serialized session size 5.0 KiB exceeds max allowed size 2.0 KiB",
    "session revival tokens are not supported on this cluster",
    "cannot create token for root user",
    "no session is active: n33dle",
];

/// For what one of 2025 keeps a session that it would hand out behind another transaction.
const LOOKED_AT: &str = "cannot serialize dirty prepared statements cache";

impl Flaw {
    fn spoils(self, answer: &mut Vec<Said>, is_show: bool) {
        let at = self.at;
        let between = at % 4;
        match self.kind {
            // Of these the bytes are as they should be.
            FlawKind::Silent | FlawKind::Dies | FlawKind::Swallows => {}
            FlawKind::Fails => {
                answer.truncate(between);
                answer.push(Said::Report(b'E', "ERROR", ["XX000", "57014"][at / 4 % 2]));
                answer.push(Said::Ready(b'I'));
            }
            FlawKind::Ends => {
                answer.truncate(at % 5);
                answer.push(Said::Report(b'E', "FATAL", "57P01"));
            }
            FlawKind::Refuses | FlawKind::Lacks => self.refuses(answer, is_show),
            FlawKind::Columns => other_columns(answer, at),
            FlawKind::Values | FlawKind::Key => self.other_values(answer, is_show),
            FlawKind::Tag => {
                let tags: [&str; 4] = match is_show {
                    true => ["SHOW TRANSFER STATE 2", "SHOW TRANSFER STATE", "SHOW", ""],
                    false => ["SELECT 2", "SELECT 0", "SELECT 1 ", ""],
                };
                answer[2] = Said::Tag(tags[between].to_owned());
            }
            FlawKind::TwoRows => answer.insert(2, answer[1].clone()),
            FlawKind::NoRow => drop(answer.remove(1)),
            FlawKind::Status => answer[3] = Said::Ready([b'T', b'E'][at % 2]),
            FlawKind::Twice => answer.extend(answer.clone()),
            FlawKind::Stray => answer.insert(between, Said::Stray(b"13nIs"[at / 4 % 5])),
            // What the client's server says beside its answer is the client's; of the new one it hears nothing yet.
            FlawKind::Notice if is_show => {
                answer.insert(between, Said::Report(b'N', "WARNING", "01000"));
            }
            FlawKind::Notice => answer.insert(between, Said::Report(b'N', "NOTICE", "00000")),
            FlawKind::Parameter => answer.insert(between, Said::Parameter),
        }
    }

    fn refuses(self, answer: &mut [Said], is_show: bool) {
        let Said::Row(values) = &mut answer[1] else {
            return;
        };
        let at = self.at;
        if !is_show {
            values[0] = [Some("f"), Some(""), Some("true"), None][at % 4].map(str::to_owned);
        } else if self.kind == FlawKind::Refuses {
            values[0] = Some(REFUSALS[at % REFUSALS.len()].to_owned());
            values[1] = None;
            values[2] = None;
        } else {
            values[1 + at % 2] = [None, Some(""), Some("no*base64")][at / 2 % 3].map(str::to_owned);
        }
    }

    fn other_values(self, answer: &mut [Said], is_show: bool) {
        let Said::Row(values) = &mut answer[1] else {
            return;
        };
        match (self.kind, self.at % 3) {
            (FlawKind::Key, 0) if is_show => values[3] = Some("".to_owned()),
            (FlawKind::Key, 1) if is_show => values[3] = None,
            (FlawKind::Key, _) if is_show => {
                values[3] = Some("00000000-0000-4000-8000-000000000000".to_owned());
            }
            (_, 0) => drop(values.pop()),
            (_, 1) => values.clear(),
            _ => values.push(Some("t".to_owned())),
        }
    }
}

fn other_columns(answer: &mut [Said], at: usize) {
    let Said::Columns(names) = &mut answer[0] else {
        return;
    };
    let which = at / 4 % names.len();
    match at % 4 {
        0 => names[which].push('x'),
        1 => drop(names.remove(which)),
        2 => names.push("transfer_key".to_owned()),
        _ => names[which] = names[which].to_uppercase(),
    }
}

/// Takes out of a StartupMessage's parameters what is between the proxy and the servers. Whether a token lets the user in.
pub(super) fn revived(
    user: &str,
    parameters: &mut Vec<(String, String)>,
    cluster: &Cluster,
    end_to_end: bool,
) -> Result<bool, Fault> {
    let mut token = None;
    let mut addresses = Vec::new();
    parameters.retain(|(name, value)| match name.as_str() {
        "crdb:session_revival_token_base64" => {
            token = Some(value.clone());
            false
        }
        "crdb:remote_addr" => {
            addresses.push(value.clone());
            false
        }
        _ => true,
    });
    let known = addresses == [ADDRESS] || end_to_end && addresses.is_empty();
    if !known {
        return Err(Fault::new("28000", "nobody knows where the client is"));
    }
    let Some(token) = token else {
        return Ok(false);
    };
    let mut all = cluster.handed_out.iter();
    match all.any(|one| one.token == token && *one.user == *user) {
        true => Ok(true),
        false => Err(Fault::new("28000", "invalid token")),
    }
}

impl Session {
    /// A Query, if it is one of the two of a transfer.
    pub(super) fn transfer(&mut self, body: &[u8], io: &mut Io<'_>) -> Option<Next> {
        let query = std::str::from_utf8(body.strip_suffix(b"\0")?).ok()?;
        let show = query
            .strip_prefix(SHOW)
            .and_then(|rest| rest.strip_suffix('\''));
        let take = query
            .strip_prefix(TAKE)
            .and_then(|rest| rest.strip_suffix(TAKE_ENDS));
        show.or(take)?;
        self.drop_prepared("");
        self.batch = false;
        let mut answer = match (show, take) {
            (Some(key), _) => self.hand_out(key, io),
            (None, state) => self.take_in(state.unwrap_or_default(), io),
        };
        let mut ends = false;
        if let Some(flaw) = self
            .flaw
            .take_if(|flaw| take.is_some() || flaw.kind != FlawKind::Swallows)
            && self.has_the_flaw(flaw)
        {
            flaw.spoils(&mut answer, show.is_some());
            ends = flaw.kind == FlawKind::Ends;
            self.spoilt = Some(flaw);
        }
        for said in &answer {
            said.write(io.out);
        }
        io.out.flush();
        Some(match ends {
            true => Next::Close,
            false => Next::Go,
        })
    }

    /// Whether it has this flaw behind its answer: nothing is swallowed where there is nothing.
    fn has_the_flaw(&mut self, flaw: Flaw) -> bool {
        if flaw.kind != FlawKind::Swallows {
            return true;
        }
        let names = self.prepared.iter().map(|one| one.name.clone());
        let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        let Some(lost) = names.get(flaw.at % names.len().max(1)) else {
            return false;
        };
        self.drop_prepared(lost);
        true
    }

    fn status(&self) -> u8 {
        match self.tx.block {
            Block::None => b'I',
            Block::Implicit | Block::Explicit => b'T',
            Block::Failed => b'E',
        }
    }

    fn hand_out(&mut self, key: &str, io: &mut Io<'_>) -> Vec<Said> {
        let refused = match (self.tx.block, self.tie(io.cluster, false)) {
            (Block::None, None) if self.looked_at => Some(LOOKED_AT),
            (Block::None, None) => None,
            (Block::None, Some("a temporary table")) => Some(REFUSALS[2]),
            (Block::None, Some("a cursor")) => Some(REFUSALS[1]),
            (Block::None, Some(_)) => Some(REFUSALS[6]),
            _ => Some(REFUSALS[0]),
        };
        let mut row = vec![refused.map(str::to_owned), None, None];
        if refused.is_none() {
            let all = &mut io.cluster.handed_out;
            // As long as what is in it.
            let kept = "statement".repeat(self.prepared.len());
            let number = all.len();
            let part = |begin: &[u8], rest: &str| {
                let behind = format!("-{number}-{rest}");
                STANDARD.encode([begin, behind.as_bytes()].concat())
            };
            let handed = HandedOut {
                user: Arc::clone(&self.user),
                state: part(STATE, &kept),
                token: part(TOKEN, ""),
                settings: self.settings.clone(),
                prepared: self.prepared.clone(),
                values: self.values.clone(),
            };
            row[1] = Some(handed.state.clone());
            row[2] = Some(handed.token.clone());
            all.push(handed);
        }
        row.push(Some(key.to_owned()));
        vec![
            Said::Columns(COLUMNS.map(str::to_owned).into()),
            Said::Row(row),
            Said::Tag("SHOW TRANSFER STATE 1".to_owned()),
            Said::Ready(self.status()),
        ]
    }

    fn take_in(&mut self, state: &str, io: &mut Io<'_>) -> Vec<Said> {
        let mut all = io.cluster.handed_out.iter();
        let found = all.find(|one| one.state == state && *one.user == *self.user);
        let Some(handed) = found.filter(|_| self.tx.block == Block::None) else {
            return vec![
                Said::Report(b'E', "ERROR", "22023"),
                Said::Ready(self.status()),
            ];
        };
        self.settings.take_in(&handed.settings);
        self.prepared.clone_from(&handed.prepared);
        self.values = handed.values.clone();
        self.forget_names();
        vec![
            Said::Columns(vec![TAKE_COLUMN.to_owned()]),
            Said::Row(vec![Some("t".to_owned())]),
            Said::Tag("SELECT 1".to_owned()),
            Said::Ready(b'I'),
        ]
    }
}

/// What a server has said and does not send, or will not.
#[derive(Default)]
pub(super) struct Withheld {
    /// How many bytes are sent before.
    before: Option<usize>,
    kept: Vec<u8>,
    dies: bool,
}

impl Withheld {
    /// From now on, as this flaw has it.
    pub(super) fn begin(&mut self, flaw: Flaw) {
        match flaw.kind {
            FlawKind::Silent => self.before = Some(flaw.at),
            FlawKind::Dies => (self.before, self.dies) = (Some(flaw.at), true),
            _ => {}
        }
    }

    /// What of these bytes is sent.
    pub(super) fn pass(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let Some(before) = &mut self.before else {
            return match self.kept.is_empty() {
                true => bytes,
                false => [std::mem::take(&mut self.kept), bytes].concat(),
            };
        };
        let now = bytes.len().min(*before);
        *before -= now;
        let rest = bytes.split_off(now);
        if !self.dies {
            self.kept.extend(rest);
        }
        bytes
    }

    /// The faults are over.
    pub(super) fn end(&mut self) {
        if !self.dies {
            self.before = None;
        }
    }
}
