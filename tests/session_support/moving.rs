//! Servers that a session moves between: what a probe finds there, and what a restore is answered with.

use bytes::BytesMut;
use pgturnout::migrate::TransferCounter;
use pgturnout::session::{Config, Destination, Event, MoveOrder, MoveTarget, Moves, PeerId, Role};
use pgturnout::wire::{Backend, Frontend, Header, Values};

use super::frames::{backend, raw, show_frontend};
use super::rig::{Rig, config, upstream};

/// The name under which our own questions run.
const PROBE: &str = "pgturnout.probe";

/// What a probe finds.
#[derive(Clone)]
pub(crate) struct Had {
    pub(crate) version: i32,
    pub(crate) standby: bool,
    pub(crate) database: &'static str,
    pub(crate) encoding: &'static str,
    pub(crate) role: &'static str,
    pub(crate) locks: i64,
    pub(crate) temporary: i64,
    pub(crate) cursors: i64,
    pub(crate) channels: Vec<&'static str>,
    /// Name, OIDs, text, whether prepared in SQL.
    pub(crate) statements: Vec<(&'static str, &'static str, String, bool)>,
    /// Name, value, whether changed in the session.
    pub(crate) settings: Vec<(&'static str, &'static str, bool)>,
    pub(crate) custom: Vec<Option<&'static str>>,
    /// The cluster's identity; `None` for one that keeps it to itself.
    pub(crate) system: Option<&'static str>,
    pub(crate) lsn: &'static str,
}

impl Default for Had {
    fn default() -> Had {
        Had {
            version: 150_018,
            standby: false,
            database: "app",
            encoding: "UTF8",
            role: "none",
            locks: 0,
            temporary: 0,
            cursors: 0,
            channels: Vec::new(),
            statements: Vec::new(),
            settings: vec![
                ("client_encoding", "UTF8", false),
                ("TimeZone", "UTC", false),
                ("work_mem", "4096", false),
            ],
            custom: Vec::new(),
            system: Some("7713"),
            lsn: "0/3000060",
        }
    }
}

impl Had {
    /// The same with a setting that was changed in the session.
    pub(crate) fn set(mut self, name: &'static str, value: &'static str) -> Had {
        self.settings.retain(|(known, _, _)| *known != name);
        self.settings.push((name, value, true));
        self
    }

    /// The same with a statement that was prepared by the protocol, without parameters.
    pub(crate) fn prepared(mut self, name: &'static str, text: &str) -> Had {
        self.statements.push((name, "{}", text.to_owned(), false));
        self
    }

    /// The messages that answer a probe, whose row is this.
    pub(crate) fn answer(&self) -> Vec<u8> {
        let mut out = backend("1 2");
        out.extend(self.row());
        out.extend(backend("C(SELECT 1) Z(I) 3 Z(I)"));
        out
    }

    /// The same with a value that makes the row so long, in bytes.
    pub(crate) fn answer_of(&self, row: usize) -> Vec<u8> {
        let plain = self.set_long(0).row().len();
        let long = self.set_long(row - plain);
        assert_eq!(long.row().len(), row);
        long.answer()
    }

    fn set_long(&self, len: usize) -> Had {
        let value: &'static str = Box::leak("x".repeat(len).into_boxed_str());
        self.clone().set("search_path", value)
    }

    fn row(&self) -> Vec<u8> {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let word = |is: bool| if is { "true" } else { "false" };
        let statements: Vec<[Option<String>; 5]> = self
            .statements
            .iter()
            .map(|(name, oids, text, sql)| {
                let (length, digest) = (text.chars().count().to_string(), digest_of(text));
                [*name, *oids, &length, &digest, word(*sql)].map(|cell| Some(cell.to_owned()))
            })
            .collect();
        let settings: Vec<[Option<String>; 4]> = self
            .settings
            .iter()
            .map(|(name, value, session)| {
                let source = if *session { "session" } else { "default" };
                [*name, *value, source, "user"].map(|cell| Some(cell.to_owned()))
            })
            .collect();
        let identity = self.system.is_some();
        let values = [
            Some(self.version.to_be_bytes().to_vec()),
            Some(vec![u8::from(self.standby)]),
            text(self.database),
            Some(16_389_u32.to_be_bytes().to_vec()),
            text(self.encoding),
            text("C"),
            text("C"),
            text("alice"),
            text(self.role),
            text("off"),
            Some(self.locks.to_be_bytes().to_vec()),
            Some(self.temporary.to_be_bytes().to_vec()),
            Some(self.cursors.to_be_bytes().to_vec()),
            Some(list(
                self.channels
                    .iter()
                    .map(|name| Some((*name).to_owned()))
                    .collect(),
            )),
            Some(table(statements)),
            Some(table(settings)),
            Some(list(
                self.custom
                    .iter()
                    .map(|value| value.map(str::to_owned))
                    .collect(),
            )),
            self.system.map(|system| system.as_bytes().to_vec()),
            identity.then(|| 1_i32.to_be_bytes().to_vec()),
            identity.then(|| self.lsn.as_bytes().to_vec()),
        ];
        let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
        let mut out = BytesMut::new();
        let row = Backend::DataRow {
            values: Values::new(&values),
        };
        row.encode(&mut out).unwrap();
        out.to_vec()
    }
}

/// What tells a text from others: whatever a server says of the same text alone.
fn digest_of(text: &str) -> String {
    format!("digest of {text}")
}

fn cells(out: &mut Vec<u8>, cells: impl Iterator<Item = Option<String>>) {
    for cell in cells {
        match cell {
            None => out.extend((-1_i32).to_be_bytes()),
            Some(text) => {
                out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                out.extend(text.as_bytes());
            }
        }
    }
}

fn head(dimensions: &[usize]) -> Vec<u8> {
    let dimensions: &[usize] = if dimensions[0] == 0 { &[] } else { dimensions };
    let mut out = u32::try_from(dimensions.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    out.extend([0, 0, 0, 1, 0, 0, 0, 25]);
    for dimension in dimensions {
        out.extend(u32::try_from(*dimension).unwrap().to_be_bytes());
        out.extend(1_u32.to_be_bytes());
    }
    out
}

fn list(elements: Vec<Option<String>>) -> Vec<u8> {
    let mut out = head(&[elements.len()]);
    cells(&mut out, elements.into_iter());
    out
}

fn table<const N: usize>(rows: Vec<[Option<String>; N]>) -> Vec<u8> {
    let mut out = head(&[rows.len(), N]);
    cells(&mut out, rows.into_iter().flatten());
    out
}

/// A writer, a reader, and a server to move to.
pub(crate) fn movable() -> Config {
    let mut config = config();
    config.upstreams.push(upstream(Role::Spare));
    config.moves = Moves::On;
    config
}

/// Where the server to move to is in that.
pub(crate) const SPARE: Destination = Destination(2);

/// What the new server reports at its login.
pub(crate) const SPARE_LOGIN: &str = "S(server_version,15.19) S(server_encoding,UTF8) \
    S(client_encoding,UTF8) S(standard_conforming_strings,on) S(DateStyle,ISO, MDY) S(TimeZone,UTC) \
    S(in_hot_standby,off) K(99,skey) Z(I)";

impl Rig {
    pub(crate) fn migrate(&mut self, order: MoveOrder) {
        self.session.migrate(self.now, order).expect("it can start");
        self.run();
    }

    /// The new server lets us in, and the writer's move waits for a safe point.
    pub(crate) fn spare_in(&mut self, peer: PeerId, fresh: &Had) {
        self.take_startup(peer);
        self.say(peer, "R");
        self.say(peer, SPARE_LOGIN);
        self.answer_probe(peer, fresh);
    }

    /// A move to the third server of the configuration that is waiting for nothing but the session.
    pub(crate) fn move_begins(&mut self, peer: PeerId, fresh: &Had) {
        self.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
        self.spare_in(peer, fresh);
    }

    #[track_caller]
    pub(crate) fn see_probe(&mut self, peer: PeerId) {
        let got = self.take(peer);
        let shown = show_frontend(&got);
        let ends = format!("B(,{PROBE}) E S CS({PROBE}) S");
        assert!(
            shown.starts_with(&format!("P({PROBE},SELECT ")) && shown.ends_with(&ends),
            "no probe at the {peer}: {shown}"
        );
    }

    /// A server was probed, and answers.
    #[track_caller]
    pub(crate) fn answer_probe(&mut self, peer: PeerId, had: &Had) {
        self.see_probe(peer);
        self.raw(peer, &had.answer());
    }

    /// The parts of a restore that a server was sent: settings as `name=value`, statements as in the notation.
    pub(crate) fn restore_parts(&mut self, peer: PeerId) -> (String, Vec<u8>) {
        let got = self.take(peer);
        let (mut parts, mut answers) = (Vec::new(), Vec::new());
        let mut rest = &got[..];
        let mut done = "D(x) C(SELECT 1)";
        while let Some(header) = Header::parse(rest).unwrap() {
            let (body, behind) = header.split(rest).expect("whole messages");
            match Frontend::parse(header.tag, body).unwrap() {
                Frontend::Parse(parse) => {
                    done = "D(x) C(SELECT 1)";
                    if parse.name != PROBE.as_bytes() {
                        parts.push(show_frontend(&raw(b'P', body)));
                    } else if !parse.text.starts_with(b"SELECT pg_catalog.set_config(") {
                        parts.push(parse.text.escape_ascii().to_string());
                        done = "C(PREPARE)";
                    }
                    answers.extend(backend("1"));
                }
                Frontend::Bind(bind) => {
                    let values: Vec<String> = bind
                        .values
                        .iter()
                        .map(|value| value.unwrap().escape_ascii().to_string())
                        .collect();
                    if !values.is_empty() {
                        parts.push(values.join("="));
                    }
                    answers.extend(backend("2"));
                }
                Frontend::Execute(_) => answers.extend(backend(done)),
                Frontend::Close(_) => answers.extend(backend("3")),
                Frontend::Sync => answers.extend(backend("Z(I)")),
                other => panic!("{other:?} in a restore"),
            }
            rest = behind;
        }
        (parts.join(" "), answers)
    }

    #[track_caller]
    pub(crate) fn see_parts(&mut self, peer: PeerId, parts: &str) {
        let (shown, _) = self.restore_parts(peer);
        assert_eq!(shown, parts, "restored at the {peer}");
    }

    /// A server is restored.
    #[track_caller]
    pub(crate) fn restore(&mut self, peer: PeerId, parts: &str) {
        let (shown, answers) = self.restore_parts(peer);
        assert_eq!(shown, parts, "restored at the {peer}");
        self.raw(peer, &answers);
    }

    /// Moves that began, succeeded, left the session where it was, and ended it.
    pub(crate) fn transfers(&self) -> [u64; 4] {
        let stats = self.session.transfers();
        [
            TransferCounter::Attempted,
            TransferCounter::Success,
            TransferCounter::Recoverable,
            TransferCounter::Fatal,
        ]
        .map(|counter| stats.get(counter))
    }

    /// How the last move ended.
    pub(crate) fn move_ended(&self) -> Option<Event> {
        let ends = |event: &&Event| matches!(event, Event::Moved { .. } | Event::MoveFailed { .. });
        self.events.iter().rev().find(ends).cloned()
    }
}
