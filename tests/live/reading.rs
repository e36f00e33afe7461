//! Reads beyond proven ones on an up-to-date standby: what may be stale, and what may turn out to write.

use crate::support::client::{Client, Pace, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{errors, tags, values};
use crate::support::lab::{self, Lab};
use crate::support::message::{bind, execute, parse, query, sync};
use crate::support::proxy::Proxy;

/// A proxy that splits, with more arguments.
fn proxy(cluster: &Cluster, more: &[&str]) -> Proxy {
    let split = lab::split(cluster);
    let arguments: Vec<&str> = split
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    Proxy::start(cluster, &arguments)
}

/// Writes that a standby's lag does not delay.
fn client(proxy: &Proxy) -> Client {
    let local = [("synchronous_commit", "local")];
    Client::open(proxy.port, Pace::Whole, "postgres", &local)
}

/// Its own servers: it stops the standby's replay.
#[test]
fn a_session_reads_what_it_wrote() {
    if lab::cluster("reading::wrote").is_none() {
        return;
    }
    let cluster = Cluster::start("reading").unwrap();
    let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    admin.run("create table reading_t (a int)");
    let mut standby = Client::open(cluster.standby(), Pace::Whole, "postgres", &[]);
    assert!(eventually(|| standby.value(
        "select count(*) from pg_class where relname = 'reading_t'"
    ) == "1"));
    let count = "select count(*) || ' ' || pg_is_in_recovery() from reading_t";

    let stale = proxy(&cluster, &[]);
    let fresh = proxy(&cluster, &["--read-your-writes", "replayed"]);
    let window = proxy(&cluster, &["--read-your-writes", "600000"]);
    standby.run("select pg_wal_replay_pause()");
    assert!(eventually(|| standby
        .value("select pg_get_wal_replay_pause_state()")
        == "paused"));

    // Without it, a read misses the write before it.
    let mut session = client(&stale);
    session.run("insert into reading_t values (1)");
    assert_eq!(session.value(count), "0 true");
    let mut session = client(&window);
    session.run("insert into reading_t values (1)");
    assert_eq!(session.value(count), "2 false");
    let mut session = client(&fresh);
    assert_eq!(session.value(count), "0 true");
    session.run("begin");
    session.run("insert into reading_t values (1)");
    session.run("commit");
    assert_eq!(session.value(count), "3 false");
    assert_eq!(session.value(count), "3 false");
    // Another session has written nothing.
    assert_eq!(client(&fresh).value(count), "0 true");

    standby.run("select pg_wal_replay_resume()");
    assert!(eventually(|| standby
        .value("select count(*) from reading_t")
        == "3"));
    assert_eq!(session.value(count), "3 true");
    assert!(fresh.says("reader stale"), "{}", fresh.log());
}

/// A function that writes only sometimes.
#[test]
fn a_function_that_writes_sometimes_runs_where_it_can() {
    let Some(lab) = Lab::new("reading::sometimes") else {
        return;
    };
    let Some(cluster) = lab::cluster("reading::sometimes") else {
        return;
    };
    lab.admin().run(
        "drop table if exists reading_log; create table reading_log (a int); \
         grant all on reading_log to public; \
         create or replace function reading_maybe(n int) returns text language plpgsql as $$ \
         begin raise notice 'asked for %', n; \
         if n > 9 then insert into reading_log values (n); end if; \
         return n || ' ' || pg_is_in_recovery(); end $$; \
         create or replace function reading_late(n int) returns setof int language plpgsql as $$ \
         begin return query select 1; \
         if n > 9 then insert into reading_log values (n); end if; end $$",
    );
    let proxy = proxy(cluster, &["--optimistic", "on"]);
    let mut session = Client::open(proxy.port, Pace::Whole, "postgres", &[]);
    assert_eq!(session.value("select reading_maybe(1)"), "1 true");
    let frames = session.query("select reading_maybe(10)");
    assert_eq!(values(&frames), ["10 false"]);
    // One notice: that of the standby is not shown.
    assert_eq!(tags(&frames), "TNDCZ");
    assert_eq!(session.value("select reading_maybe(10)"), "10 false");
    assert_eq!(session.value("select reading_maybe(2)"), "2 true");

    // Extended, with parameters: the text is what is remembered.
    let ask = |value: &str| {
        [
            parse("", "select reading_maybe($1::int)"),
            bind("", "", &[Some(value)]),
            execute("", 0),
            sync(),
        ]
        .concat()
    };
    for (value, expected) in [("3", "3 true"), ("11", "11 false"), ("4", "4 false")] {
        session.send(&ask(value));
        let frames = session.ready(1);
        assert_eq!(values(&frames), [expected]);
    }
    // Pipelined: what follows waits.
    session.send(&[query("select reading_maybe(12)"), query("select 5")].concat());
    assert_eq!(values(&session.ready(2)), ["12 false", "5"]);
    let mut admin = lab.admin();
    let written = "select string_agg(a::text, ',' order by a) from reading_log";
    assert_eq!(admin.value(written), "10,10,11,12");

    // What fails in any other way is the client's, and happens once.
    let failed = session.query("select reading_maybe('x')");
    assert_eq!(errors(&failed), ["22P02"]);
    // A set is materialized before it is sent, so that a late write is refused in time as well.
    assert_eq!(errors(&session.query("select reading_late(13)")), [""; 0]);
    assert_eq!(admin.value(written), "10,10,11,12,13");
    assert!(proxy.says("refused by the reader"), "{}", proxy.log());
}

/// Its own servers: it stops the standby's replay. One of the two readers does not exist.
#[test]
fn readers_are_watched_and_the_servers_functions_known() {
    if lab::cluster("reading::watched").is_none() {
        return;
    }
    let cluster = Cluster::start("watched").unwrap();
    let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    let function = |name: &str| {
        format!(
            "create function {name}() returns bool stable language sql as 'select pg_is_in_recovery()'"
        )
    };
    admin.run("create table watched_t (a text)");
    admin.run(&function("watched_first"));
    let nobody = "127.0.0.1:9";
    let options = "--reader-choice least --max-lag 100000 --facts writer";
    let mut more = vec!["--reader", nobody, "--monitor", "postgres@app"];
    more.extend(options.split(' '));
    let proxy = proxy(&cluster, &more);
    let open = || Client::open(proxy.port, Pace::Whole, "postgres", &[]);
    let at_the_standby = |session: &mut Client, sql: &str| session.value(sql) == "t";
    let where_am_i = "select pg_is_in_recovery()";
    assert!(eventually(|| proxy
        .log()
        .contains(&format!("the reader at {nobody} is not used"))));

    // Every session finds the reader that is there.
    for _ in 0..5 {
        assert!(at_the_standby(&mut open(), where_am_i));
    }
    // A function that the primary calls stable is a read; one that came later is, when it was asked again.
    assert!(at_the_standby(&mut open(), "select watched_first()"));
    admin.run(&function("watched_later"));
    assert!(!at_the_standby(&mut open(), "select watched_later()"));
    proxy.signal("HUP");
    assert!(eventually(|| at_the_standby(
        &mut open(),
        "select watched_later()"
    )));

    // A reader that lags is not used, in a session that has begun to use it either.
    let mut session = open();
    assert!(at_the_standby(&mut session, where_am_i));
    let mut standby = Client::open(cluster.standby(), Pace::Whole, "postgres", &[]);
    standby.run("select pg_wal_replay_pause()");
    assert!(eventually(|| standby
        .value("select pg_get_wal_replay_pause_state()")
        == "paused"));
    admin.run("set synchronous_commit to local");
    admin.run("insert into watched_t select repeat('x', 1000) from generate_series(1, 500)");
    assert!(eventually(|| !at_the_standby(&mut session, where_am_i)));
    assert!(!at_the_standby(&mut open(), where_am_i));
    assert!(proxy.says("reader lags"), "{}", proxy.log());
    standby.run("select pg_wal_replay_resume()");
    assert!(eventually(|| at_the_standby(&mut session, where_am_i)));
}
