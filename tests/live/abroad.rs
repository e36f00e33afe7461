//! Sessions that move to a primary of another major version, which is another cluster: an upgrade by a logical copy.

use pgturnout::migrate::Outcome;
use pgturnout::migrate::postgres::OtherOids;
use pgturnout::session::{
    Accept, Config, Destination, Event, MoveOrder, MoveTarget, Moves, Role, Split, Upstream,
};
use pgturnout::startup::{TlsNegotiation, UpstreamTlsPolicy};

use crate::mover::Mover;
use crate::support::client::{Client, Pace};
use crate::support::cluster::Cluster;
use crate::support::frame::{self, Frame, errors, tags};
use crate::support::proxy::Proxy;
use crate::support::{lab, message};

const THERE: Destination = Destination(1);

/// The cluster, and one of another version.
fn clusters(test: &str) -> Option<(&'static Cluster, &'static Cluster)> {
    let name = format!("abroad::{test}");
    let here = lab::cluster(&name)?;
    let there = Cluster::other();
    if there.is_none() {
        lab::skip(&name, "no PostgreSQL of another version");
    }
    Some((here, there?))
}

fn mover(here: &Cluster, there: &Cluster) -> Mover {
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
    Mover::new(config, vec![here.primary(), there.primary()])
}

/// There, even if that is an older version.
fn order() -> MoveOrder {
    let mut order = MoveOrder::new(MoveTarget::Writer(THERE));
    order.accepts = vec![Accept::OlderMajor];
    order
}

fn admin(cluster: &Cluster) -> Client {
    Client::open(cluster.primary(), Pace::Whole, "postgres", &[])
}

fn major(cluster: &Cluster) -> u32 {
    cluster.version() / 10_000
}

fn prepared(session: &mut Client, name: &str, sql: &str) {
    session.send(&[message::parse(name, sql), message::sync()].concat());
    assert_eq!(tags(&session.ready(1)), "1Z");
}

fn run(session: &mut Client, name: &str, value: &str) -> Vec<Frame> {
    let run = [
        message::bind("", name, &[Some(value)]),
        message::execute("", 0),
        message::sync(),
    ];
    session.send(&run.concat());
    session.ready(1)
}

#[track_caller]
fn refused(mover: &Mover, order: MoveOrder) -> String {
    match mover.migrate(order) {
        Event::MoveFailed {
            outcome: Outcome::Recoverable,
            reason,
            ..
        } => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_moves_to_another_major_version() {
    let Some((here, there)) = clusters("version") else {
        return;
    };
    let mover = mover(here, there);
    let mut session = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    for sql in [
        "set work_mem = '77MB'",
        "set search_path = 'a''b', public",
        "set app.who = 'x'",
        "set datestyle = 'German'",
    ] {
        session.run(sql);
    }
    prepared(&mut session, "s", "select $1::int + 1");
    assert_eq!(major_of(&mut session), major(here));
    if major(there) < major(here) {
        let why = refused(&mover, MoveOrder::new(MoveTarget::Writer(THERE)));
        assert!(why.contains("the new server is older"), "{why}");
    }
    let event = mover.migrate(order());
    assert!(matches!(event, Event::Moved { .. }), "{event:?}");
    assert_eq!(major_of(&mut session), major(there));
    for (name, value) in [
        ("work_mem", "77MB"),
        ("search_path", "\"a'b\", public"),
        ("app.who", "x"),
        ("datestyle", "German, DMY"),
    ] {
        assert_eq!(session.value(&format!("show {name}")), value);
    }
    assert_eq!(frame::values(&run(&mut session, "s", "41")), ["42"]);
}

fn major_of(session: &mut Client) -> u32 {
    let number: u32 = session.value("show server_version_num").parse().unwrap();
    number / 10_000
}

/// A type has the OID that its cluster gave it: the session stays, or its statements are prepared with the other OID.
#[test]
fn types_with_other_oids_are_noticed() {
    let Some((here, there)) = clusters("types") else {
        return;
    };
    let ours = "drop type if exists abroad_mood; create type abroad_mood as enum ('sad', 'ok'); \
        grant usage on type abroad_mood to public";
    admin(here).run(ours);
    // The OIDs of the clusters are not counted in step.
    admin(there).run("create type abroad_filler as enum ('a'); drop type abroad_filler");
    admin(there).run(ours);
    let oid = |cluster| admin(cluster).value("select 'abroad_mood'::regtype::oid");
    assert_ne!(oid(here), oid(there));

    let mover = mover(here, there);
    let mut session = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    prepared(&mut session, "m", "select $1::abroad_mood::text || '!'");
    let why = refused(&mover, order());
    assert!(why.contains("abroad_mood"), "{why}");
    assert_eq!(frame::values(&run(&mut session, "m", "ok")), ["ok!"]);
    assert_eq!(major_of(&mut session), major(here), "it stays");

    let mut remapped = order();
    remapped.other_oids = OtherOids::Remap;
    let event = mover.migrate(remapped.clone());
    assert!(matches!(event, Event::Moved { .. }), "{event:?}");
    assert_eq!(major_of(&mut session), major(there));
    assert_eq!(frame::values(&run(&mut session, "m", "ok")), ["ok!"]);
    assert_eq!(errors(&run(&mut session, "m", "angry")), ["22P02"]);

    drop(session);
    // Of a type that is missing there no statement can be made.
    let mut session = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    admin(here).run("drop type if exists abroad_only; create type abroad_only as enum ('a')");
    prepared(&mut session, "o", "select $1::abroad_only::text");
    let why = refused(&mover, remapped);
    assert!(why.contains("abroad_only"), "{why}");
    assert_eq!(frame::values(&run(&mut session, "o", "a")), ["a"]);
}

/// The console moves a session to a server that is reached over TLS.
#[test]
fn a_session_moves_over_tls() {
    let Some((here, there)) = clusters("tls") else {
        return;
    };
    if !here.has_tls() || !there.has_tls() {
        return lab::skip("abroad::tls", "a server without TLS");
    }
    // An older one would be refused, whatever the way there.
    let (here, there) = match major(there) < major(here) {
        true => (there, here),
        false => (here, there),
    };
    let (old, new) = (
        format!("127.0.0.1:{}", here.primary()),
        format!("127.0.0.1:{}", there.primary()),
    );
    let arguments = [
        ["--writer", &old],
        ["--spare", &new],
        ["--split", "off"],
        ["--upstream-tls", "require"],
        ["--console-user", "op"],
        ["--console-auth", "trust"],
    ];
    let proxy = Proxy::start(here, &arguments.concat());
    let tls = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let mut session = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    session.run("set work_mem = '77MB'");
    assert_eq!(session.value(tls), "t");
    let mut console = Client::connect(proxy.port, Pace::Whole);
    let who = [("user", "op"), ("database", "pgturnout")];
    console.send(&message::startup(crate::support::client::V3_0, &who));
    console.finish_login(None);
    let said = console.query(&format!("MIGRATE ALL FROM '{old}' TO '{new}'"));
    assert_eq!(errors(&said), [""; 0], "{said:?}");
    let complete = said.iter().find(|frame| frame.tag == b'C');
    assert_eq!(complete.unwrap().body, b"MIGRATE 1\0");
    let notices = said.iter().filter(|frame| frame.tag == b'N');
    assert_eq!(notices.count(), 0, "nobody is waited for");
    assert_eq!(major_of(&mut session), major(there));
    assert_eq!(session.value(tls), "t");
    assert_eq!(session.value("show work_mem"), "77MB");
}
