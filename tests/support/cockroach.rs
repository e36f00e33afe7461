//! A server that speaks CockroachDB's transfer SQL, in front of a real PostgreSQL.
//!
//! It answers `SHOW TRANSFER STATE WITH '<key>'` and `crdb_internal.deserialize_session`, takes a revival token in place of a
//! password, and passes everything else. No CockroachDB program could be had where this was made: it does what is known of
//! that server's behaviour, no more.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::frame::Frame;
use super::message;

const SHOW: &str = "SHOW TRANSFER STATE WITH '";
const TAKE: &str = "SELECT crdb_internal.deserialize_session(decode('";
const TOKEN: &str = "crdb:session_revival_token_base64";

/// What a session consists of, in SQL that makes it again.
const SETTINGS: &str = "select coalesce(string_agg(format('select pg_catalog.set_config(%L, %L, false);', name, setting), ''), '') \
    from pg_catalog.pg_settings where source = 'session'";
const TEMPORARY: &str =
    "select count(*) from pg_catalog.pg_class where relnamespace = pg_catalog.pg_my_temp_schema()";

/// Listens on a port of its own, in front of a server that trusts its users; ends with the test process.
pub(crate) fn start(target: u16) -> u16 {
    start_without(target, None)
}

/// The same for a node that cannot plan a statement of this name again, where the name is one, and keeps that to itself.
pub(crate) fn start_without(target: u16, lost: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            thread::spawn(move || Node::serve(client, target, lost));
        }
    });
    port
}

struct Node {
    client: TcpStream,
    server: TcpStream,
    user: String,
    /// The Parse messages of named statements.
    statements: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The status of the last ReadyForQuery.
    status: u8,
    /// A statement was looked at and no transaction has begun since; a node of 2025 or later hands nothing out then.
    looked_at: bool,
    /// The name of the statement that it cannot plan again.
    lost: Option<&'static str>,
}

impl Node {
    /// `None` at the end of the connection, whoever ends it.
    fn serve(mut client: TcpStream, target: u16, lost: Option<&'static str>) -> Option<()> {
        let parameters = startup(&mut client)?;
        let user = parameters.get("user")?.clone();
        if let Some(token) = parameters.get(TOKEN) {
            if *token != token_of(&user) {
                client
                    .write_all(&error("FATAL", "28000", "invalid token"))
                    .ok()?;
                return None;
            }
        }
        let own = |name: &str| name.starts_with("crdb:");
        let passed: Vec<(&str, &str)> = parameters
            .iter()
            .filter(|(name, _)| !own(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut server = TcpStream::connect(("127.0.0.1", target)).ok()?;
        server
            .write_all(&message::startup(0x0003_0000, &passed))
            .ok()?;
        let mut node = Node {
            client,
            server,
            user,
            statements: BTreeMap::new(),
            status: b'I',
            looked_at: false,
            lost,
        };
        node.relay_to_ready()?;
        loop {
            let frame = read(&mut node.client)?;
            node.take(&frame)?;
        }
    }

    fn take(&mut self, frame: &Frame) -> Option<()> {
        let text = String::from_utf8_lossy(frame.body.strip_suffix(b"\0").unwrap_or_default());
        self.looked_at = match (frame.tag, frame.body.first()) {
            (b'D' | b'C', Some(b'S')) => true,
            (b'Q', _) if !text.starts_with(SHOW) => is_of_statements(&text),
            (b'P' | b'B', _) if self.status == b'I' => false,
            _ => self.looked_at,
        };
        match frame.tag {
            b'Q' if text.starts_with(SHOW) => {
                let key = text.strip_prefix(SHOW)?.strip_suffix('\'')?.to_owned();
                self.show_state(&key)
            }
            b'Q' if text.starts_with(TAKE) => {
                let state = text.strip_prefix(TAKE)?.strip_suffix("', 'base64'))")?;
                let state = STANDARD.decode(state).ok()?;
                self.take_state(&state)
            }
            b'P' => {
                let name = frame.body.split(|byte| *byte == 0).next()?.to_vec();
                let whole = message::tagged(b'P', &frame.body);
                if !name.is_empty() {
                    self.statements.insert(name, whole.clone());
                }
                self.server.write_all(&whole).ok()
            }
            tag => {
                let whole = message::tagged(tag, &frame.body);
                self.server.write_all(&whole).ok()?;
                match tag {
                    b'Q' | b'S' => self.relay_to_ready(),
                    _ => Some(()),
                }
            }
        }
    }

    fn show_state(&mut self, key: &str) -> Option<()> {
        let refusal = if self.status != b'I' {
            Some("cannot serialize a session which is inside a transaction")
        } else if self.looked_at {
            Some("cannot serialize dirty prepared statements cache")
        } else if self.ask(TEMPORARY)? != "0" {
            Some("cannot serialize session with temporary schemas")
        } else {
            None
        };
        let (state, token) = match refusal {
            Some(_) => (None, None),
            None => {
                let mut state = self.ask(SETTINGS)?.into_bytes();
                state.push(0);
                state.extend(self.statements.values().flatten());
                (Some(STANDARD.encode(state)), Some(token_of(&self.user)))
            }
        };
        let mut out = columns(&[
            "error",
            "session_state_base64",
            "session_revival_token_base64",
            "transfer_key",
        ]);
        out.extend(row(&[
            refusal,
            state.as_deref(),
            token.as_deref(),
            Some(key),
        ]));
        out.extend(message::tagged(b'C', b"SHOW TRANSFER STATE 1\0"));
        out.extend(message::tagged(b'Z', &[self.status]));
        self.client.write_all(&out).ok()
    }

    fn take_state(&mut self, state: &[u8]) -> Option<()> {
        let (settings, statements) = state.split_at(state.iter().position(|byte| *byte == 0)?);
        let settings = std::str::from_utf8(settings).ok()?;
        self.server.write_all(&message::query(settings)).ok()?;
        let failed = self.swallow()?;
        let mut rest = &statements[1..];
        while let [_, length @ ..] = rest {
            // What was handed out once can be handed out again.
            let length = u32::from_be_bytes(*length.first_chunk()?);
            let (whole, behind) = rest.split_at_checked(usize::try_from(length).ok()? + 1)?;
            let name = whole.get(5..)?.split(|byte| *byte == 0).next()?.to_vec();
            if self.lost.is_none_or(|lost| name != lost.as_bytes()) {
                self.server
                    .write_all(&[whole, &message::sync()].concat())
                    .ok()?;
                // It says nothing of one that fails.
                self.swallow()?;
            }
            self.statements.insert(name, whole.to_vec());
            rest = behind;
        }
        let mut out = Vec::new();
        if failed {
            out.extend(error("ERROR", "XX000", "the session cannot be made again"));
        } else {
            out.extend(columns(&["crdb_internal.deserialize_session"]));
            out.extend(row(&[Some("t")]));
            out.extend(message::tagged(b'C', b"SELECT 1\0"));
        }
        out.extend(message::tagged(b'Z', b"I"));
        self.client.write_all(&out).ok()
    }

    /// Passes the server's messages on, up to ReadyForQuery.
    fn relay_to_ready(&mut self) -> Option<()> {
        loop {
            let frame = read(&mut self.server)?;
            let whole = message::tagged(frame.tag, &frame.body);
            self.client.write_all(&whole).ok()?;
            if frame.tag == b'Z' {
                self.status = *frame.body.first()?;
                return Some(());
            }
        }
    }

    /// The only value of a statement of ours.
    fn ask(&mut self, sql: &str) -> Option<String> {
        self.server.write_all(&message::query(sql)).ok()?;
        let mut value = None;
        loop {
            let frame = read(&mut self.server)?;
            match frame.tag {
                b'D' => value = frame.columns().into_iter().next()?,
                b'Z' => return value,
                _ => {}
            }
        }
    }

    /// Drops the server's messages up to ReadyForQuery; whether one was an error.
    fn swallow(&mut self) -> Option<bool> {
        let mut failed = false;
        loop {
            let frame = read(&mut self.server)?;
            failed |= frame.tag == b'E';
            if frame.tag == b'Z' {
                return Some(failed);
            }
        }
    }
}

/// Whether a text runs or drops a prepared statement by its name.
fn is_of_statements(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    ["execute", "deallocate"].contains(&first.to_ascii_lowercase().as_str())
}

/// What lets a user in.
fn token_of(user: &str) -> String {
    STANDARD.encode(format!("token of {user}"))
}

fn startup(client: &mut TcpStream) -> Option<BTreeMap<String, String>> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let mut body = vec![
        0;
        usize::try_from(u32::from_be_bytes(length))
            .ok()?
            .checked_sub(4)?
    ];
    client.read_exact(&mut body).ok()?;
    let text = String::from_utf8(body.get(4..)?.to_vec()).ok()?;
    let mut texts = text.split('\0');
    let mut parameters = BTreeMap::new();
    while let (Some(name), Some(value)) =
        (texts.next().filter(|name| !name.is_empty()), texts.next())
    {
        parameters.insert(name.to_owned(), value.to_owned());
    }
    Some(parameters)
}

fn read(from: &mut TcpStream) -> Option<Frame> {
    let mut header = [0; 5];
    from.read_exact(&mut header).ok()?;
    let [tag, length @ ..] = header;
    let mut body = vec![
        0;
        usize::try_from(u32::from_be_bytes(length))
            .ok()?
            .checked_sub(4)?
    ];
    from.read_exact(&mut body).ok()?;
    Some(Frame { tag, body })
}

fn columns(names: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(names.len()).unwrap().to_be_bytes().to_vec();
    for name in names {
        body.extend_from_slice(name.as_bytes());
        // The end of the name, no table, no attribute; text of any length, no modifier, as text.
        body.extend_from_slice(&[
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0,
        ]);
    }
    message::tagged(b'T', &body)
}

fn row(values: &[Option<&str>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(value) => {
                body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend_from_slice(value.as_bytes());
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    message::tagged(b'D', &body)
}

fn error(severity: &str, state: &str, text: &str) -> Vec<u8> {
    let body = format!("S{severity}\0V{severity}\0C{state}\0M{text}\0\0");
    message::tagged(b'E', body.as_bytes())
}
