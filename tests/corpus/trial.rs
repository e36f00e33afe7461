//! One statement on the standby, before the primary has it.

use std::collections::BTreeSet;
use std::time::Duration;

use pgturnout::route::{
    Effect, Encoding, Facts, Intent, Known, LexState, PinKind, Rules, Why, scan,
};

use crate::Setup;
use crate::relay::Relay;
use crate::wire::{Frame, Session, startup};

/// Past this an answer of the standby is not waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What belongs to the session or to a transaction by its first word: the standby takes most of it, and it means that
/// session alone.
const SESSION_WORDS: &[&str] = &[
    "abort",
    "begin",
    "checkpoint",
    "close",
    "commit",
    "deallocate",
    "declare",
    "discard",
    "end",
    "execute",
    "fetch",
    "listen",
    "load",
    "lock",
    "move",
    "notify",
    "prepare",
    "release",
    "reset",
    "rollback",
    "savepoint",
    "set",
    "start",
    "unlisten",
];

/// What a read starts with.
const QUERY_WORDS: &[&str] = &["copy", "explain", "select", "table", "values", "with"];

/// What a text has that changes the server's facts.
const DEFINED: &[&str] = &[
    "function",
    "aggregate",
    "operator",
    "view",
    "policy",
    "rule",
    "type",
    "domain",
    "cast",
    "sequence",
    "serial",
    "identity",
    "unlogged",
    "foreign",
    "inherit",
    "partition",
    "schema",
    "extension",
    "do ",
    "call ",
    "rollback",
];

/// The settings of a session that were made there, its user and its role.
const SETTINGS: &str = "select name, setting from pg_catalog.pg_settings \
    where source operator(pg_catalog.=) 'session' and name operator(pg_catalog.!~~) 'transaction\\_%' \
    union all select 'role', pg_catalog.current_setting('role') \
    union all select 'session_authorization', pg_catalog.current_setting('session_authorization')";

type Settings = Vec<(String, String)>;

/// What the standby made of a text.
pub(crate) enum Standby {
    /// Its session's or its transaction's, so it was not asked.
    NotAsked,
    Answered(Vec<Frame>),
    /// No answer, or the session was lost.
    Gone,
}

/// What is known before the primary has answered.
pub(crate) struct Attempt {
    text: Vec<u8>,
    intents: [Intent; 2],
    standby: Standby,
    /// Whether another answer came when the standby was asked once more.
    unsteady: bool,
    /// The primary's transaction status.
    status: u8,
    pinned: bool,
}

/// How a statement came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It belongs to the session; the standby was not asked.
    Session,
    /// It fails on the primary.
    Fails,
    /// The standby gives the same answer.
    Alike,
    /// The standby gives another answer at each time.
    Unsteady,
    /// The standby gives another answer.
    Otherwise,
    /// The standby refuses what the primary does.
    Refused,
}

pub(crate) struct Outcome {
    pub(crate) text: Vec<u8>,
    /// Without and with the server's facts.
    pub(crate) intents: [Intent; 2],
    pub(crate) verdict: Verdict,
    /// The standby's SQLSTATE if it refused.
    pub(crate) code: String,
    /// Whether what keeps it from being a read is a function that its author marked volatile.
    pub(crate) marked: bool,
    /// Whether the primary was in a transaction.
    pub(crate) in_transaction: bool,
    /// Whether the session had state that binds it to the primary.
    pub(crate) pinned: bool,
}

pub(crate) struct Trial<'a> {
    setup: &'a Setup,
    startup: Vec<u8>,
    standby: Option<Session>,
    primary_facts: Session,
    /// What the standby's session has; `None` if that is not known.
    settings: Option<Settings>,
    /// Whether the primary's session may have other settings by now.
    dirty: bool,
    rules: [Rules; 2],
    /// Whether functions may have changed since the rules were made.
    stale: bool,
    lex: LexState,
    pinned: bool,
    /// Settings that are the client's own, which `pg_settings` does not show.
    custom: BTreeSet<String>,
    /// Functions of the tests' own that are marked volatile.
    volatile: BTreeSet<String>,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(setup: &'a Setup, message: Vec<u8>) -> Trial<'a> {
        let own = startup(setup.get("SUPERUSER"), setup.database());
        let oldest = u8::try_from(setup.version() / 10_000).unwrap();
        let rules = Rules::default().with_oldest_server(oldest);
        Trial {
            setup,
            startup: message,
            standby: None,
            primary_facts: Session::open(setup.port("PRIMARY_PORT"), &own, PATIENCE).unwrap(),
            settings: None,
            dirty: true,
            rules: [rules.clone(), rules],
            stale: true,
            lex: LexState::defaults(),
            pinned: false,
            custom: BTreeSet::new(),
            volatile: BTreeSet::new(),
        }
    }

    /// Takes what an answer says of the session.
    pub(crate) fn learn(&mut self, answer: &[Frame]) {
        for frame in answer.iter().filter(|frame| frame.tag == b'S') {
            let mut words = frame.body.split(|byte| *byte == 0);
            let (name, value) = (words.next().unwrap(), words.next().unwrap());
            if name == b"standard_conforming_strings" {
                self.lex.standard_conforming_strings = Known::Is(value == b"on");
            } else if name == b"client_encoding" {
                self.lex.encoding = Encoding::from_name(value);
            }
        }
    }

    /// Tries a text that the client has sent.
    pub(crate) fn before(&mut self, text: &[u8], relay: &mut Relay) -> Attempt {
        let word = first_word(text);
        let is_session = SESSION_WORDS.contains(&word.as_str());
        if !is_session {
            self.catch_up();
            self.adopt_settings(relay);
        }
        if QUERY_WORDS.contains(&word.as_str()) {
            self.refresh();
        }
        let intents = [0, 1].map(|at| scan(text, &self.lex, &self.rules[at]));
        let mut unsteady = false;
        let standby = if is_session {
            Standby::NotAsked
        } else {
            let first = self.ask(text);
            if let Standby::Answered(frames) = &first
                && frames.iter().any(|frame| frame.tag == b'D')
                && intents[1].class.is_read()
            {
                unsteady =
                    matches!(self.ask(text), Standby::Answered(again) if !alike(frames, &again));
            }
            first
        };
        let is_read = intents.iter().all(|intent| intent.class.is_read());
        if !is_read {
            self.dirty = true;
            self.settings = self.settings.take().filter(|_| is_session);
            let lower = text.to_ascii_lowercase();
            let defines = |what: &&str| {
                lower
                    .windows(what.len())
                    .any(|part| part == what.as_bytes())
            };
            self.stale |= DEFINED.iter().any(defines);
        }
        Attempt {
            text: text.to_vec(),
            intents,
            standby,
            unsteady,
            status: relay.status,
            pinned: self.pinned,
        }
    }

    /// Compares with what the primary said.
    pub(crate) fn after(&mut self, attempt: Attempt, answer: &[Frame]) -> Outcome {
        let failed = |frames: &[Frame]| frames.iter().any(|frame| frame.tag == b'E');
        let mut code = String::new();
        let verdict = match &attempt.standby {
            Standby::NotAsked => Verdict::Session,
            _ if failed(answer) => Verdict::Fails,
            Standby::Gone => Verdict::Refused,
            Standby::Answered(frames) => {
                if let Some(error) = frames.iter().find(|frame| frame.tag == b'E') {
                    code = error.code();
                    Verdict::Refused
                } else if alike(frames, answer) {
                    Verdict::Alike
                } else if attempt.unsteady {
                    Verdict::Unsteady
                } else {
                    Verdict::Otherwise
                }
            }
        };
        let pins = attempt.intents[0].effects.iter();
        let mut pins = pins.filter(
            |effect| matches!(effect.effect, Effect::Pin(kind) if kind != PinKind::UnknownCode),
        );
        self.pinned |= !failed(answer) && pins.next().is_some();
        for effect in &attempt.intents[0].effects {
            if let Effect::Setting(change) = &effect.effect
                && change.name.contains(&b'.')
            {
                let name = String::from_utf8_lossy(&change.name).into_owned();
                self.custom.insert(name);
            }
        }
        let reason = attempt.intents[1].reason;
        let word = attempt
            .text
            .get(reason.offset..reason.offset + reason.token_len)
            .unwrap_or_default();
        let word = String::from_utf8_lossy(word).to_ascii_lowercase();
        Outcome {
            marked: reason.why == Why::UnknownFunction
                && self.volatile.contains(word.trim_matches('"')),
            text: attempt.text,
            intents: attempt.intents,
            verdict,
            code,
            in_transaction: attempt.status != b'I',
            pinned: attempt.pinned,
        }
    }

    /// Waits until the standby has replayed what is committed: a commit of our own waits for that. The position of the
    /// primary's log is no measure, because it may lie within a record.
    fn catch_up(&mut self) {
        if self.dirty {
            self.primary_facts
                .rows("select pg_logical_emit_message(true, '', '')");
        }
    }

    /// Gives the standby's session the settings of the client's.
    fn adopt_settings(&mut self, relay: &mut Relay) {
        if relay.status == b'E' || !self.dirty {
            return;
        }
        let custom = self.custom.iter().map(|name| {
            let name = name.replace('\'', "''");
            format!(" union all select '{name}', pg_catalog.current_setting('{name}', true)")
        });
        let ask = SETTINGS.to_owned() + &custom.collect::<String>();
        let Some(answer) = relay.ask(&ask) else {
            return;
        };
        self.dirty = false;
        let text = |value: Option<Vec<u8>>| {
            String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
        };
        let rows = answer.iter().filter(|frame| frame.tag == b'D');
        let mut settings: Settings = Vec::new();
        for row in rows {
            let mut columns = row.columns().into_iter();
            settings.push((text(columns.next().unwrap()), text(columns.next().unwrap())));
        }
        let path = settings.iter().find(|setting| setting.0 == "search_path");
        let mentions = path.is_some_and(|path| {
            ["pg_catalog", "pg_temp"]
                .iter()
                .any(|name| path.1.contains(name))
        });
        self.lex.catalog_first = if mentions {
            Known::Unknown
        } else {
            Known::Is(true)
        };
        if self.settings.as_ref() != Some(&settings) {
            self.standby = None;
            self.settings = Some(settings);
        }
    }

    /// The standby's session, made anew if it must be.
    fn session(&mut self) -> Option<&mut Session> {
        if self.standby.is_none() {
            let mut session =
                Session::open(self.setup.port("STANDBY_PORT"), &self.startup, PATIENCE)?;
            let settings = self.settings.as_deref().unwrap_or_default();
            let is_who = |setting: &&(String, String)| {
                matches!(setting.0.as_str(), "session_authorization" | "role")
            };
            let others = settings.iter().filter(|setting| !is_who(setting));
            // The user before the role, and both last, because they may take rights away.
            let who = settings.iter().rev().filter(is_who);
            for (name, value) in others.chain(who) {
                let value = value.replace('\'', "''");
                let text = format!("select pg_catalog.set_config('{name}', E'{value}', false)");
                session.query(text.replace('\\', "\\\\").as_bytes()).ok()?;
            }
            self.standby = Some(session);
        }
        self.standby.as_mut()
    }

    fn ask(&mut self, text: &[u8]) -> Standby {
        let Some(session) = self.session() else {
            return Standby::Gone;
        };
        let Ok(frames) = session.query(text) else {
            self.standby = None;
            return Standby::Gone;
        };
        if frames.last().is_none_or(|ready| ready.body != b"I") {
            self.standby = None;
        }
        Standby::Answered(frames)
    }

    /// Reads the server's facts anew.
    fn refresh(&mut self) {
        if !self.stale {
            return;
        }
        self.stale = false;
        self.primary_facts.rows(Facts::SETUP);
        let mut facts = Facts::default();
        self.volatile.clear();
        for row in self.primary_facts.rows(Facts::QUERY) {
            let row: Vec<_> = row.iter().map(Option::as_deref).collect();
            facts.row(&row).unwrap();
            if row[0] == Some(b"volatile") {
                self.volatile
                    .insert(String::from_utf8_lossy(row[2].unwrap()).into_owned());
            }
        }
        self.rules[1].refresh(&facts);
    }
}

/// Whether two answers have the same rows, in any order, and the same ends.
fn alike(one: &[Frame], other: &[Frame]) -> bool {
    let rows = |frames: &[Frame]| {
        let mut rows: Vec<_> = frames
            .iter()
            .filter(|frame| frame.tag == b'D')
            .map(|frame| frame.body.clone())
            .collect();
        rows.sort_unstable();
        rows
    };
    let others = |frames: &[Frame]| -> Vec<Frame> {
        frames
            .iter()
            .filter(|frame| !matches!(frame.tag, b'D' | b'N' | b'S' | b'A' | b'Z'))
            .cloned()
            .collect()
    };
    others(one) == others(other) && rows(one) == rows(other)
}

/// The first word, in lower case.
pub(crate) fn first_word(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
    loop {
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            break;
        };
        rest = after.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
    }
    let word = rest
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next();
    word.unwrap_or_default().to_ascii_lowercase()
}
