//! Two standbys behind one proxy: which of them a session reads on, and what becomes of it when one dies or lags.

use std::collections::BTreeSet;

use crate::support::client::{Client, Pace, V3_0, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{Frame, errors, values};
use crate::support::lab;
use crate::support::message::{self, bind, execute, parse, sync};
use crate::support::proxy::Proxy;

const WHERE: &str = "select inet_server_port()";

/// Its own servers: it stops one, and the replay of another.
#[test]
fn a_session_reads_on_either_and_goes_on_with_the_other() {
    if lab::cluster("two_readers").is_none() {
        return;
    }
    let cluster = Cluster::start_with_two("two-readers").unwrap();
    let (first, second) = (cluster.standby(), cluster.second_standby());
    let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    admin.run("create table two_t (a text)");
    let reader = format!("127.0.0.1:{second}");
    let split = lab::split(&cluster);
    let mut arguments: Vec<&str> = split.iter().map(String::as_str).collect();
    arguments.extend([
        "--reader",
        &reader,
        "--monitor",
        "postgres@app",
        "--max-lag",
        "100000",
    ]);
    let proxy = Proxy::start(&cluster, &arguments);
    let open = || Client::open(proxy.port, Pace::Whole, "postgres", &[]);
    let read = |session: &mut Client| session.value(WHERE).parse::<u16>().unwrap();

    // One of them each, the same from read to read, and both are used.
    let mut sessions: Vec<Client> = (0..24).map(|_| open()).collect();
    let places: Vec<u16> = sessions.iter_mut().map(read).collect();
    let used: BTreeSet<u16> = places.iter().copied().collect();
    assert_eq!(used, BTreeSet::from([first, second]));
    for (session, place) in sessions.iter_mut().zip(&places) {
        session.run("insert into two_t values ('a')");
        assert_eq!(read(session), *place);
    }

    // One dies: no session loses a read, and all read on the other.
    cluster.second_standby_do("stop");
    for session in &mut sessions {
        assert_ne!(read(session), second);
    }
    assert!(eventually(|| sessions
        .iter_mut()
        .all(|session| read(session) == first)));
    // Who comes before it is known to be down may have to do with the primary.
    assert!(eventually(|| read(&mut open()) == first));

    // It comes back: whoever comes then may use it, and who reads on the other stays there.
    cluster.second_standby_do("start");
    assert!(eventually(|| read(&mut open()) == second));
    assert!(sessions.iter_mut().all(|session| read(session) == first));

    // The other lags: who reads there goes to the one that does not.
    let mut standby = Client::open(first, Pace::Whole, "postgres", &[]);
    standby.run("select pg_wal_replay_pause()");
    assert!(eventually(|| standby
        .value("select pg_get_wal_replay_pause_state()")
        == "paused"));
    admin.run("set synchronous_commit to local");
    admin.run("insert into two_t select repeat('x', 1000) from generate_series(1, 500)");
    assert!(eventually(|| sessions
        .iter_mut()
        .all(|session| read(session) == second)));
    assert!((0..6).all(|_| read(&mut open()) == second));
    standby.run("select pg_wal_replay_resume()");
    assert!(eventually(|| read(&mut open()) == first));
}

/// Its own servers, of which the second standby is one that sessions can be moved to: reads move there, one session's and then
/// all, with what the sessions have, and writes stay where they are.
#[test]
fn the_reads_of_a_session_move_from_one_standby_to_the_other() {
    if lab::cluster("two_readers::moves").is_none() {
        return;
    }
    let cluster = Cluster::start_with_two("two-moves").unwrap();
    let (first, second) = (cluster.standby(), cluster.second_standby());
    let (from, to) = (format!("127.0.0.1:{first}"), format!("127.0.0.1:{second}"));
    let split = lab::split(&cluster);
    let mut arguments: Vec<&str> = split.iter().map(String::as_str).collect();
    arguments.extend(["--upstream-tls", "disable", "--spare", &to]);
    arguments.extend(["--console-user", "op", "--console-auth", "trust"]);
    let proxy = Proxy::start(&cluster, &arguments);
    let mut console = Client::connect(proxy.port, Pace::Whole);
    console.send(&message::startup(
        V3_0,
        &[("user", "op"), ("database", "pgturnout")],
    ));
    console.finish_login(None);

    let text = "select $1 || ' ' || inet_server_port() || ' ' || current_setting('work_mem')";
    let mut sessions: Vec<Client> = (0..4)
        .map(|_| {
            Client::open(
                proxy.port,
                Pace::Whole,
                "u_trust",
                &[("application_name", "reads")],
            )
        })
        .collect();
    for session in &mut sessions {
        session.run("set work_mem = '4321kB'");
        session.send(&[parse("s", text), sync()].concat());
        session.ready(1);
    }
    let run = |session: &mut Client| {
        session.send(&[bind("", "s", &[Some("at")]), execute("", 0), sync()].concat());
        let frames = session.ready(1);
        assert_eq!(errors(&frames), [""; 0]);
        values(&frames).pop().unwrap()
    };
    let at = |port: u16| format!("at {port} 4321kB");
    for session in &mut sessions {
        assert_eq!(run(session), at(first));
    }

    let shown = console.query("show sessions");
    let rows = shown
        .iter()
        .filter(|frame| frame.tag == b'D')
        .map(Frame::columns);
    let reads = |row: &Vec<Option<String>>| row[3].as_deref() == Some("reads");
    let number = rows.into_iter().find(reads).unwrap()[0].clone().unwrap();
    let order = format!("migrate session {number} reader to '{to}'");
    let frames = console.query(&order);
    assert_eq!(errors(&frames), [""; 0], "{frames:?}");
    let places: Vec<String> = sessions.iter_mut().map(run).collect();
    let moved = places.iter().filter(|place| **place == at(second)).count();
    assert_eq!(moved, 1, "{places:?}");
    let order = format!("migrate all from '{from}' to '{to}'");
    let frames = console.query(&order);
    assert_eq!(errors(&frames), [""; 0], "{}", proxy.log());
    for session in &mut sessions {
        assert_eq!(run(session), at(second));
        session.run("create temp table t (a int)");
    }
    // Who comes now reads there, too.
    let mut fresh = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    assert_eq!(fresh.value(WHERE), second.to_string());
}
