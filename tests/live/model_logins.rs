//! The model against the real server where scripts do not reach: logins with passwords, and the query that finds what a
//! session is when it moves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use pgturnout::auth::{Channel, Credential, Handshake, Methods, Replay, ScramNonce};
use pgturnout::migrate::postgres::{Found, Origin, Prepared, Probe, Scope};
use pgturnout::migrate::{Heard, Look};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use pgturnout::wire::{Backend, Header};

use crate::model::prepare;
use crate::model_script::{Trace, encode, startup};
use crate::sim::server::{Cluster as Model, Login, Node, PASSWORD, Server, ServerOptions};
use crate::support::cluster::Cluster;
use crate::support::lab;

/// Whoever is talked to, frame by frame.
enum Peer {
    Real(TcpStream),
    Modelled(Box<Server>, Box<Model>),
}

impl Peer {
    fn real(port: u16) -> Peer {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).unwrap();
        Peer::Real(stream)
    }

    fn modelled(node: Node, login: Login, version: u32) -> Peer {
        let options = ServerOptions {
            login,
            version,
            ..ServerOptions::default()
        };
        let server = Box::new(Server::new(node, 7, options));
        Peer::Modelled(server, Box::new(Model::new()))
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            // A server that closed says so when it is read from.
            Peer::Real(stream) => drop(stream.write_all(bytes)),
            Peer::Modelled(server, _) => server.receive(bytes),
        }
    }

    /// What it says next: nothing once it has closed.
    fn hear(&mut self) -> Option<Vec<u8>> {
        match self {
            Peer::Real(stream) => {
                let mut buffer = vec![0; 65_536];
                let count = match stream.read(&mut buffer) {
                    Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                        panic!("the server says nothing: {error}")
                    }
                    read => read.unwrap_or(0),
                };
                buffer.truncate(count);
                (count > 0).then_some(buffer)
            }
            Peer::Modelled(server, model) => {
                while server.step(model) {}
                let said = server.output();
                assert!(!said.is_empty() || server.is_closed(), "the model waits");
                (!said.is_empty()).then_some(said)
            }
        }
    }
}

/// A connection and what of its bytes was not looked at yet.
struct Talk {
    peer: Peer,
    gathered: Vec<u8>,
    trace: Trace,
}

impl Talk {
    fn new(peer: Peer) -> Talk {
        Talk {
            peer,
            gathered: Vec::new(),
            trace: Trace::default(),
        }
    }

    /// The next message, if one comes before the end.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(header) = Header::parse(&self.gathered).unwrap() {
                if let Some((body, rest)) = header.split(&self.gathered) {
                    let (body, rest) = (body.to_vec(), rest.to_vec());
                    self.trace.add(header.tag, &body);
                    self.gathered = rest;
                    return Some((header.tag, body));
                }
            }
            self.gathered.extend(self.peer.hear()?);
        }
    }

    /// Up to ReadyForQuery or the end, with an answer to whatever is asked.
    fn until_ready(&mut self, mut answer: impl FnMut(u8, &[u8]) -> Vec<u8>) -> String {
        while let Some((tag, body)) = self.frame() {
            if tag == b'Z' {
                return self.trace.line();
            }
            self.peer.send(&answer(tag, &body));
        }
        format!("{} closed", self.trace.line())
    }

    /// A login by the crate's own replay.
    fn log_in(&mut self, user: &str, database: &str, password: &str) -> String {
        let names = [("user", user), ("database", database)];
        let names = names.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let methods = Methods::NONE
            .allow_trust()
            .allow_cleartext(Channel::Tls)
            .allow_md5(Channel::Clear)
            .allow_scram();
        let mut login = Replay::new(
            &StartupParams::build(ProtocolVersion::V3_0, names).unwrap(),
            Credential::password(password),
            methods,
            Channel::Tls,
            ScramNonce::from_bytes([7; 18]),
        );
        let mut out = BytesMut::new();
        login.start(&mut out).unwrap();
        self.peer.send(&out);
        self.until_ready(|tag, body| {
            let mut reply = BytesMut::new();
            let mut state = login.handle(Backend::parse(tag, body).unwrap(), &mut reply);
            while let Ok(Handshake::Working) = state {
                state = login.work(&mut reply);
            }
            // What a server refuses is an error here, and in the trace.
            assert!(state.is_ok() || tag == b'E', "{state:?}");
            reply.to_vec()
        })
    }
}

const LOGINS: [(&str, Login); 4] = [
    ("u_trust", Login::Trust),
    ("u_clear", Login::Cleartext),
    ("u_md5", Login::Md5),
    ("u_scram", Login::Scram),
];

/// What clients say instead of a password that is right or wrong.
const NO_PASSWORDS: &[(&str, &str)] = &[
    ("u_clear", "raw(p,\\0)"),
    ("u_clear", "raw(p,)"),
    ("u_clear", "raw(p,no end)"),
    ("u_clear", "raw(p,two\\0texts\\0)"),
    ("u_clear", "Q(select 1)"),
    ("u_clear", "X"),
    ("u_md5", "raw(p,\\0)"),
    ("u_md5", "raw(p,md5)"),
    ("u_md5", "raw(p,md5ffffffffffffffffffffffffffffffff\\0)"),
    ("u_md5", "S"),
    ("u_scram", "raw(p,SCRAM-SHA-1\\0\\0\\0\\0\\0)"),
    ("u_scram", "raw(p,SCRAM-SHA-256\\0\\0\\0\\0\\x01x)"),
    (
        "u_scram",
        "raw(p,SCRAM-SHA-256\\0\\0\\0\\0\\x14y,,n=,r=abcdefghijk)",
    ),
    (
        "u_scram",
        "raw(p,SCRAM-SHA-256\\0\\0\\0\\0\\x14y,,n=,r=abcdefghijkl)",
    ),
    (
        "u_scram",
        "raw(p,SCRAM-SHA-256\\0\\0\\0\\0\\x12p=x,,n=,r=abcdefgh)",
    ),
    ("u_scram", "raw(p,SCRAM-SHA-256)"),
    ("u_scram", "raw(p,\\0)"),
    ("u_scram", "Q(select 1)"),
];

fn pair(cluster: &Cluster, node: Node, login: Login) -> [Talk; 2] {
    let port = match node {
        Node::Primary => cluster.primary(),
        _ => cluster.standby(),
    };
    let model = Peer::modelled(node, login, cluster.version() / 10_000);
    [Peer::real(port), model].map(Talk::new)
}

#[test]
fn passwords_are_asked_for_and_judged_alike() {
    let Some(cluster) = lab::cluster("model_logins::passwords_are_asked_for_and_judged_alike")
    else {
        return;
    };
    prepare(cluster, "model_logins");
    for (user, login) in LOGINS {
        for node in [Node::Primary, Node::Standby] {
            for right in [true, false] {
                let own = format!("{user}-secret");
                let [mut real, mut model] = pair(cluster, node, login);
                let [there, here] = match right {
                    true => [&own, PASSWORD],
                    false => ["wrong", "wrong"],
                };
                let model = model.log_in(user, "model_logins", here);
                let real = real.log_in(user, "model_logins", there);
                assert_eq!(real, model, "{user}, {node:?}, right: {right}");
                let comes_in = right || user == "u_trust";
                assert_eq!(real.ends_with("Z(I)"), comes_in, "{real}");
            }
        }
    }
    let mut report = String::new();
    for (user, said) in NO_PASSWORDS {
        let (_, login) = LOGINS.iter().find(|(known, _)| known == user).unwrap();
        let [real, model] = pair(cluster, Node::Primary, *login).map(|mut talk| {
            let names = [("user", *user), ("database", "model_logins")];
            let names = names.map(|(name, value)| (name.to_owned(), value.to_owned()));
            talk.peer.send(&startup(0x0003_0000, &names));
            let mut once = Some(encode(said));
            talk.until_ready(|tag, _| match tag {
                b'R' => once.take().unwrap_or_else(|| encode("X")),
                _ => Vec::new(),
            })
        });
        if real != model {
            report.push_str(&format!("{user} {said}\nreal:  {real}\nmodel: {model}\n"));
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// What a session does before it is looked at, each behind the one before.
const DEEDS: &[&str] = &[
    "Q(select 1)",
    "Q(set work_mem = '8MB'; set timezone = 'Europe/Berlin')",
    "Q(set app.who = 'x') Q(reset timezone)",
    "P(s1,select 1 from t where id = $1) S",
    "Q(prepare p as select $1::int) Q(prepare q (text) as select 'é', $1)",
    "Q(listen c) Q(listen b)",
    "Q(select pg_advisory_lock(1))",
    "Q(set role m_role)",
    "Q(reset role) Q(unlisten c) Q(deallocate p) Q(select pg_advisory_unlock_all())",
    "Q(set local work_mem = '4MB') Q(set datestyle = 'sql')",
];

/// What a probe has found, but for what is another server's.
fn shown(found: &Found) -> String {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let mut changed: Vec<String> = found
        .settings
        .iter()
        .filter(|(_, setting)| setting.origin == Origin::Session)
        .map(|(name, setting)| format!("{}={}", text(name), text(&setting.value)))
        .collect();
    changed.sort();
    let mut channels: Vec<String> = found.channels.iter().map(|name| text(name)).collect();
    channels.sort();
    format!(
        "standby {} as {} in {} superuser {} locks {} temporary {} cursors {} channels {channels:?} \
         changed {changed:?} custom {:?} statements {:?} identity {:?}",
        found.in_recovery,
        text(&found.session_user),
        text(&found.role),
        found.superuser,
        found.advisory_locks,
        found.temporary_objects > 0,
        found.cursors,
        found
            .custom
            .values()
            .map(|value| value.as_deref().map(text))
            .collect::<Vec<_>>(),
        statements(found),
        found
            .identity
            .as_ref()
            .map(|it| (it.timeline > 0, it.lsn.is_some())),
    )
}

/// How long a text is that PREPARE made counts its whole Query, which the model does not keep.
fn statements(found: &Found) -> Vec<String> {
    let shown = |name: &[u8], one: &Prepared| {
        let length = (!one.from_sql).then_some(one.length);
        format!("{}: {:?}, {length:?}", name.escape_ascii(), one.types)
    };
    found
        .statements
        .iter()
        .map(|(name, one)| shown(name, one))
        .collect()
}

/// Asks what the session is; the answer's messages, and what it says.
fn probe(talk: &mut Talk, scope: Scope) -> (String, String) {
    let mut probe = Probe::new(scope, [&b"app.who"[..], b"app.none"]);
    let mut out = BytesMut::new();
    probe.write(&mut out).unwrap();
    talk.peer.send(&out);
    let mut tags = String::new();
    loop {
        let (tag, body) = talk.frame().expect("an answer");
        tags.push(char::from(tag));
        let frame_len = u32::try_from(body.len() + 5).unwrap();
        match probe.header(Header { tag, frame_len }).unwrap() {
            Look::Aside => {}
            Look::Client | Look::Discard => panic!("{tags}"),
            Look::Body => match probe.body(tag, &body).unwrap() {
                Heard::More => {}
                Heard::Done(Ok(found)) => {
                    talk.trace.line();
                    return (tags, shown(&found));
                }
                other => panic!("{tags}: {other:?}"),
            },
        }
    }
}

#[test]
fn what_a_session_is_when_it_moves_is_found_alike() {
    let Some(cluster) =
        lab::cluster("model_logins::what_a_session_is_when_it_moves_is_found_alike")
    else {
        return;
    };
    prepare(cluster, "model_probe");
    for node in [Node::Primary, Node::Standby] {
        let mut both = pair(cluster, node, Login::Trust);
        for talk in &mut both {
            talk.log_in("u_trust", "model_probe", "");
        }
        for deed in DEEDS {
            let lines = both.each_mut().map(|talk| {
                let count = deed.matches("Q(").count() + deed.matches(" S").count();
                talk.peer.send(&encode(deed));
                let said: Vec<String> = (0..count)
                    .map(|_| talk.until_ready(|_, _| Vec::new()))
                    .collect();
                said.join(" ")
            });
            assert_eq!(lines[0], lines[1], "{node:?}: {deed}");
            for scope in [Scope::SessionOnly, Scope::WithIdentity] {
                let [real, model] = both.each_mut().map(|talk| probe(talk, scope));
                assert_eq!(real, model, "{node:?}: {deed}");
            }
        }
    }
}
