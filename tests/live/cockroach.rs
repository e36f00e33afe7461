//! CockroachDB's transfer of a session, between two servers that speak its SQL in front of a real PostgreSQL. No CockroachDB
//! program was to be had.

use bytes::BytesMut;
use pgturnout::auth::{Channel, Handshake};
use pgturnout::migrate::cockroach::{
    Cannot, DeserializeReader, Revival, SessionState, StateAnswer, StateReader, StateRefused,
    TransferKey, deserialize_session, show_transfer_state,
};
use pgturnout::migrate::{Dialect, Heard, Look, Outcome};
use pgturnout::session::{
    Config, Destination, Event, MoveOrder, MoveTarget, Moves, Role, Split, Upstream,
};
use pgturnout::startup::{ProtocolVersion, StartupParams, TlsNegotiation, UpstreamTlsPolicy};
use pgturnout::wire::{Backend, Header, SqlState};

use crate::mover::Mover;
use crate::support::client::{Client, Pace, V3_0};
use crate::support::cluster::Cluster;
use crate::support::frame::{self, Frame, errors, tags};
use crate::support::proxy::Proxy;
use crate::support::{cockroach, lab, message};

fn key() -> TransferKey {
    TransferKey::from_random([0x5a; 16])
}

fn header(frame: &Frame) -> Header {
    Header {
        tag: frame.tag,
        frame_len: u32::try_from(frame.body.len() + Header::LEN).unwrap(),
    }
}

/// Asks for the state of a session that owes its client so many answers: those, and ours.
fn ask(session: &mut Client, owed: usize) -> (Vec<Frame>, StateAnswer) {
    let mut out = BytesMut::new();
    show_transfer_state(&key(), &mut out).unwrap();
    session.send(&out);
    let mut reader = StateReader::new(&key(), owed);
    let mut theirs = Vec::new();
    loop {
        let frame = session.frame().unwrap();
        match reader.header(header(&frame)).unwrap() {
            Look::Client => theirs.push(frame),
            Look::Aside | Look::Discard => {}
            Look::Body => match reader.body(frame.tag, &frame.body).unwrap() {
                Heard::More => {}
                Heard::Done(answer) => return (theirs, answer),
                Heard::Farewell(state) => panic!("{state:?}"),
            },
        }
    }
}

fn state_of(session: &mut Client) -> SessionState {
    let (theirs, answer) = ask(session, 0);
    assert!(theirs.is_empty());
    answer.state.unwrap()
}

/// Logs in elsewhere with a token: the new session, or the SQLSTATE of the refusal.
fn revive(port: u16, user: &str, state: &SessionState) -> Result<Client, String> {
    let user = [(&b"user"[..], user.as_bytes()), (b"database", b"app")];
    let client = StartupParams::build(ProtocolVersion::V3_0, user).unwrap();
    let address = "192.0.2.7:5000".parse().unwrap();
    let mut login = Revival::new(&client, state, Some(address), Channel::Clear).unwrap();
    let mut out = BytesMut::new();
    login.start(&mut out).unwrap();
    let mut session = Client::connect(port, Pace::Whole);
    session.send(&out);
    loop {
        let frame = session.frame().unwrap();
        let message = Backend::parse(frame.tag, &frame.body).unwrap();
        match login.handle(message) {
            Ok(Handshake::Ready(_)) => return Ok(session),
            Ok(_) => {}
            Err(_) => return Err(frame.field(b'C').unwrap()),
        }
    }
}

fn restore(session: &mut Client, state: &SessionState) {
    let mut out = BytesMut::new();
    deserialize_session(state, &mut out).unwrap();
    session.send(&out);
    let mut reader = DeserializeReader::new();
    loop {
        let frame = session.frame().unwrap();
        if reader.header(header(&frame)).unwrap() == Look::Body {
            match reader.body(frame.tag, &frame.body).unwrap() {
                Heard::More => {}
                Heard::Done(restored) => return restored.unwrap(),
                Heard::Farewell(state) => panic!("{state:?}"),
            }
        }
    }
}

#[test]
fn a_session_moves_with_its_settings_and_statements() {
    let Some(cluster) = lab::cluster("cockroach::move") else {
        return;
    };
    let (old, new) = (
        cockroach::start(cluster.primary()),
        cockroach::start(cluster.primary()),
    );
    let mut session = Client::open(old, Pace::Whole, "u_trust", &[]);
    session.run("set work_mem = '77MB'");
    session.run("set search_path = 'a''b', public");
    session.send(&[message::parse("s", "select $1::int + 1"), message::sync()].concat());
    assert_eq!(tags(&session.ready(1)), "1Z");

    let state = state_of(&mut session);
    let mut moved = revive(new, "u_trust", &state).unwrap();
    restore(&mut moved, &state);
    assert_eq!(moved.value("show work_mem"), "77MB");
    let path = moved.value("show search_path");
    assert_eq!(path, session.value("show search_path"));
    let values = [Some("41")];
    let run = [
        message::bind("", "s", &values),
        message::execute("", 0),
        message::sync(),
    ];
    moved.send(&run.concat());
    assert_eq!(frame::values(&moved.ready(1)), ["42"]);
}

/// What the client asked before is answered, an error too, and ours is known by its key.
#[test]
fn answers_that_the_client_waits_for_are_its_own() {
    let Some(cluster) = lab::cluster("cockroach::owed") else {
        return;
    };
    let mut session = Client::open(
        cockroach::start(cluster.primary()),
        Pace::Whole,
        "u_trust",
        &[],
    );
    session.send(
        &[
            message::query("select 1/0"),
            message::query("select 40 + 2"),
        ]
        .concat(),
    );
    let (theirs, answer) = ask(&mut session, 2);
    assert_eq!(tags(&theirs), "EZTDCZ");
    assert!(answer.state.is_ok());
}

#[test]
fn what_cannot_be_serialized_stays_and_goes_on() {
    let Some(cluster) = lab::cluster("cockroach::refused") else {
        return;
    };
    let mut session = Client::open(
        cockroach::start(cluster.primary()),
        Pace::Whole,
        "u_trust",
        &[],
    );
    session.run("begin");
    // It would not be at a safe point; the server refuses all the same, and stays in its transaction.
    let mut out = BytesMut::new();
    show_transfer_state(&key(), &mut out).unwrap();
    session.send(&out);
    let answer = session.ready(1);
    assert_eq!(tags(&answer), "TDCZ");
    assert!(frame::values(&answer)[0].contains("inside a transaction"));
    session.run("commit; create temp table t (a int)");
    let (_, answer) = ask(&mut session, 0);
    let refused = answer.state.unwrap_err();
    assert_eq!(refused, StateRefused::Cannot(Cannot::TemporarySchemas));
    session.run("drop table t");
    assert!(ask(&mut session, 0).1.state.is_ok());
    assert_eq!(session.value("select 40 + 2"), "42");
}

#[test]
fn a_token_lets_in_its_own_user_alone() {
    let Some(cluster) = lab::cluster("cockroach::token") else {
        return;
    };
    let port = cockroach::start(cluster.primary());
    let mut session = Client::open(port, Pace::Whole, "u_trust", &[]);
    let state = state_of(&mut session);
    assert!(revive(port, "u_trust", &state).is_ok());
    let refused = revive(port, "postgres", &state).err();
    assert_eq!(refused.as_deref(), Some("28000"));
}

#[test]
fn a_server_that_knows_no_such_statement_has_refused_it() {
    let Some(cluster) = lab::cluster("cockroach::plain") else {
        return;
    };
    let mut session = Client::open(cluster.primary(), Pace::Whole, "u_trust", &[]);
    let (_, answer) = ask(&mut session, 0);
    let refused = answer.state.unwrap_err();
    let state = SqlState(*b"42601");
    assert_eq!(refused, StateRefused::Failed(Some(state)));
    assert_eq!(session.value("select 40 + 2"), "42");
}

/// A proxy before two nodes.
fn mover(cluster: &Cluster) -> Mover {
    before([0; 2].map(|_| cockroach::start(cluster.primary())))
}

fn before(nodes: [u16; 2]) -> Mover {
    let upstreams = [Role::Writer, Role::Spare].map(|role| Upstream {
        name: format!("{role:?}"),
        role,
        tls: UpstreamTlsPolicy::Disable,
        tls_negotiation: TlsNegotiation::Postgres,
        methods: None,
    });
    let mut config = Config::new(upstreams.into());
    config.split = Split::Off;
    config.moves = Moves::On;
    config.dialect = Dialect::Cockroach;
    Mover::new(config, nodes.into())
}

fn to(place: usize) -> MoveOrder {
    MoveOrder::new(MoveTarget::Writer(Destination(place)))
}

/// The whole session, by `Session::migrate`: there and back under a client that works on, with another process each time.
#[test]
fn a_live_session_moves_between_nodes() {
    let Some(cluster) = lab::cluster("cockroach::session") else {
        return;
    };
    let mover = mover(cluster);
    let mut session = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    session.run("set work_mem = '77MB'");
    session.run("set search_path = 'a''b', public");
    session.send(&[message::parse("s", "select $1::int + 1"), message::sync()].concat());
    assert_eq!(tags(&session.ready(1)), "1Z");
    let mut seen = vec![session.value("select pg_backend_pid()")];
    for at in 0..6 {
        let event = mover.migrate(to(1 - at % 2));
        assert!(matches!(event, Event::Moved { .. }), "{event:?}");
        let process = session.value("select pg_backend_pid()");
        assert!(!seen.contains(&process), "another process");
        seen.push(process);
        assert_eq!(session.value("show work_mem"), "77MB");
        assert_eq!(session.value("show search_path"), "\"a'b\", public");
        let run = [
            message::bind("", "s", &[Some("41")]),
            message::execute("", 0),
            message::sync(),
        ];
        session.send(&run.concat());
        assert_eq!(frame::values(&session.ready(1)), ["42"]);
    }
    assert_eq!(mover.transfers(), [6, 6, 0, 0]);
}

#[test]
fn a_live_session_that_its_node_keeps_goes_on() {
    let Some(cluster) = lab::cluster("cockroach::kept") else {
        return;
    };
    let mover = mover(cluster);
    let mut session = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    session.run("create temp table t(a int)");
    match mover.migrate(to(1)) {
        Event::MoveFailed {
            outcome: Outcome::Recoverable,
            reason,
            ..
        } => assert_eq!(reason.to_string(), "the session has temporary schemas"),
        other => panic!("{other:?}"),
    }
    session.run("insert into t values (1)");
    assert_eq!(session.value("select count(*) from t"), "1");
    session.run("drop table t");
    assert!(matches!(mover.migrate(to(1)), Event::Moved { .. }));
    assert_eq!(session.value("select 40 + 2"), "42");
}

/// A node takes a session in although it cannot plan one of its statements again, and says nothing: the session stays, until the
/// client has closed that one.
#[test]
fn a_session_whose_statement_would_be_lost_stays() {
    let Some(cluster) = lab::cluster("cockroach::lost") else {
        return;
    };
    let nodes = [None, Some("lost")].map(|lost| cockroach::start_without(cluster.primary(), lost));
    let mover = before(nodes);
    let mut session = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    for name in ["kept", "lost"] {
        session.send(&[message::parse(name, "select $1::int + 1"), message::sync()].concat());
        assert_eq!(tags(&session.ready(1)), "1Z");
    }
    let process = session.value("select pg_backend_pid()");
    let run = |session: &mut Client, name| {
        let values = [Some("41")];
        let run = [
            message::bind("", name, &values),
            message::execute("", 0),
            message::sync(),
        ];
        session.send(&run.concat());
        assert_eq!(frame::values(&session.ready(1)), ["42"]);
    };
    match mover.migrate(to(1)) {
        Event::MoveFailed {
            outcome: Outcome::Recoverable,
            reason,
            ..
        } => assert_eq!(
            reason.to_string(),
            "the restored session differs: the new server has not the prepared statement lost as it was"
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(session.value("select pg_backend_pid()"), process);
    run(&mut session, "lost");
    session.send(&[message::close_statement("lost"), message::sync()].concat());
    assert_eq!(tags(&session.ready(1)), "3Z");
    let event = mover.migrate(to(1));
    assert!(matches!(event, Event::Moved { .. }), "{event:?}");
    assert_ne!(session.value("select pg_backend_pid()"), process);
    run(&mut session, "kept");
}

/// The proxy example before two nodes, with a console for `op`.
fn example(cluster: &Cluster) -> (Proxy, [String; 2]) {
    let nodes = [0; 2].map(|_| format!("127.0.0.1:{}", cockroach::start(cluster.primary())));
    let [writer, spare] = nodes.each_ref().map(String::as_str);
    let arguments = [
        &["--dialect", "cockroach", "--split", "off"][..],
        &["--writer", writer, "--spare", spare],
        &["--upstream-tls", "disable"],
        &["--console-user", "op", "--console-auth", "trust"],
    ];
    (Proxy::start(cluster, &arguments.concat()), nodes)
}

fn console(proxy: &Proxy) -> Client {
    let mut console = Client::connect(proxy.port, Pace::Whole);
    console.send(&message::startup(
        V3_0,
        &[("user", "op"), ("database", "pgturnout")],
    ));
    console.finish_login(None);
    console
}

/// The row of the only session that is no console's.
fn only_session(console: &mut Client) -> Vec<Option<String>> {
    let shown = console.query("show sessions");
    let rows = shown.iter().filter(|frame| frame.tag == b'D');
    let rows = rows.map(Frame::columns);
    let mut of = rows.filter(|row| row[1].as_deref() == Some("u_trust"));
    let row = of.next().unwrap();
    assert!(of.next().is_none());
    row
}

/// The example program, by its console: there and back, and not while the node keeps the session.
#[test]
fn an_operator_moves_a_session_between_nodes() {
    let Some(cluster) = lab::cluster("cockroach::console") else {
        return;
    };
    let (proxy, nodes) = example(cluster);
    let mut session = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    session.run("set work_mem = '77MB'");
    session.send(&[message::parse("s", "select $1::int + 1"), message::sync()].concat());
    assert_eq!(tags(&session.ready(1)), "1Z");
    let mut console = console(&proxy);
    let number = only_session(&mut console)[0].clone().unwrap();
    let mut seen = vec![session.value("select pg_backend_pid()")];
    for to in [&nodes[1], &nodes[0], &nodes[1]] {
        let moved = console.query(&format!("MIGRATE SESSION {number} TO '{to}'"));
        assert_eq!(errors(&moved), [""; 0], "{moved:#?}");
        assert!(only_session(&mut console).contains(&Some(to.clone())));
        let process = session.value("select pg_backend_pid()");
        assert!(!seen.contains(&process), "another process");
        seen.push(process);
        assert_eq!(session.value("show work_mem"), "77MB");
        let run = [
            message::bind("", "s", &[Some("41")]),
            message::execute("", 0),
            message::sync(),
        ];
        session.send(&run.concat());
        assert_eq!(frame::values(&session.ready(1)), ["42"]);
    }
    session.run("create temp table t (a int)");
    let kept = console.query(&format!("migrate session {number} to '{}'", nodes[0]));
    let kept = format!("{kept:?}");
    assert!(kept.contains("temporary schemas"), "{kept}");
    assert_eq!(session.value("select count(*) from t"), "0");
}
