//! Two standbys behind one proxy: which of them a session reads on, and what becomes of it when one dies or lags.

use std::collections::BTreeSet;

use crate::support::client::{Client, Pace, eventually};
use crate::support::cluster::Cluster;
use crate::support::lab;
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
