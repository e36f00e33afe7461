//! Sessions that move between real servers while their client stays connected.

use std::time::{Duration, Instant};

use pgturnout::auth::{AdmitPolicy, Channel, Credential};
use pgturnout::migrate::postgres::Listening;
use pgturnout::migrate::{Outcome, Trust};
use pgturnout::session::{
    ClientAuth, Config, Destination, Event, MoveOrder, MoveTarget, Moves, Role, Split, Upstream,
};
use pgturnout::startup::{TlsNegotiation, UpstreamTlsPolicy};

use crate::mover::Mover;
use crate::support::client::{Client, Pace, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{errors, tags, values};
use crate::support::message::{bind, close_statement, execute, parse, query, sync};

const HERE: Destination = Destination(0);
const THERE: Destination = Destination(2);

fn cluster(test: &str) -> Option<&'static Cluster> {
    let cluster = Cluster::shared();
    if cluster.is_none() {
        eprintln!("SKIPPED migrate::{test}: no PostgreSQL");
    }
    cluster
}

fn config(split: Split) -> Config {
    let upstreams = [Role::Writer, Role::Reader, Role::Spare].map(|role| Upstream {
        name: format!("{role:?}"),
        role,
        tls: UpstreamTlsPolicy::Disable,
        tls_negotiation: TlsNegotiation::Postgres,
        methods: None,
    });
    let mut config = Config::new(upstreams.into());
    config.split = split;
    config.moves = Moves::On;
    let secret = Credential::password("u_scram-secret");
    config.users.insert(b"u_scram", secret);
    config
}

/// A proxy before a primary, its standby, and the same primary as the place to move to.
fn mover(cluster: &Cluster, split: Split) -> Mover {
    let ports = vec![cluster.primary(), cluster.standby(), cluster.primary()];
    Mover::new(config(split), ports)
}

fn to(place: Destination) -> MoveOrder {
    MoveOrder::new(MoveTarget::Writer(place))
}

#[track_caller]
fn moves(mover: &Mover, order: MoveOrder) {
    let event = mover.migrate(order);
    assert!(matches!(event, Event::Moved { .. }), "{event:?}");
}

/// Why a move was refused; the session is where it was.
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

/// What a client can see of its session, in fields.
fn seen(client: &mut Client) -> Vec<Vec<String>> {
    [
        "select session_user, current_user, current_setting('role')",
        "select name || '=' || setting from pg_settings where context in ('user', 'superuser') \
         and name !~ '^transaction_|[.]' order by name",
        "select current_setting('app.who', true)",
        "select name || ':' || statement || ':' || parameter_types::text || from_sql from pg_prepared_statements order by name",
        "show search_path",
        "select pg_listening_channels()",
    ]
    .map(|sql| {
        let frames = client.query(sql);
        assert_eq!(errors(&frames), [""; 0], "{sql}");
        values(&frames)
    })
    .into()
}

fn pid(client: &mut Client) -> String {
    client.value("/* not a read */ select pg_backend_pid()")
}

/// Settings of every kind, a role, statements of the protocol: the same on the next server, which is another process.
#[test]
fn a_session_is_the_same_behind_a_move() {
    let Some(cluster) = cluster("a_session_is_the_same_behind_a_move") else {
        return;
    };
    for split in [Split::Off, Split::On] {
        for user in ["u_trust", "u_scram"] {
            let mut config = config(split);
            if user != "u_trust" {
                // The proxy lets it in, and each server asks us.
                let policy = AdmitPolicy::new([9; 32]).allow_trust(Channel::Clear);
                config.authentication = ClientAuth::Terminate(policy);
            }
            let ports = vec![cluster.primary(), cluster.standby(), cluster.primary()];
            let mover = Mover::new(config, ports);
            let mut client = Client::open(mover.port, Pace::Whole, user, &[]);
            for sql in [
                "set timezone = '<+03:30>-3:30'",
                "set work_mem = '77MB'",
                "set search_path = \"$user\", public, \"a b\"",
                "set extra_float_digits = 2",
                "set application_name = 'moved'",
                "set app.who = 'a''b'",
                "set statement_timeout = '13min'",
                "select set_config('enable_seqscan', 'off', false)",
                "do $$ begin perform set_config('enable_nestloop', 'off', false); end $$",
                "prepare sql(int) as select $1 + 1; -- as it stands",
            ] {
                client.run(sql);
            }
            for (name, text) in [
                ("one", "select $1::int4 + 1"),
                ("Two \"2\"", "select 'x'"),
                ("gone", "select 1"),
                ("", "select 'unnamed'"),
            ] {
                client.send(&[parse(name, text), sync()].concat());
                client.ready(1);
            }
            client.send(&[close_statement("gone"), sync()].concat());
            client.ready(1);
            let before = seen(&mut client);
            client.send(&[parse("", "select 'unnamed'"), sync()].concat());
            client.ready(1);
            let process = mover.transfers()[1];
            let mut order = to(THERE);
            order.trust = Trust::Probe;
            moves(&mover, order);
            assert_eq!(mover.transfers()[1], process + 1);
            client.send(&[bind("", "", &[]), execute("", 0), sync()].concat());
            assert_eq!(values(&client.ready(1)), ["unnamed"], "{split:?} {user}");
            assert_eq!(seen(&mut client), before, "{split:?} {user}");
            client.send(&[bind("", "one", &[Some("41")]), execute("", 0), sync()].concat());
            assert_eq!(values(&client.ready(1)), ["42"]);
            assert_eq!(client.value("execute sql(41)"), "42");
            client.run("reset all");
            assert_eq!(client.value("show work_mem"), "4MB");
        }
    }
}

/// Each kind of state that stays, by its reason; and the session goes on, on the process where it was.
#[test]
fn what_cannot_move_stays() {
    let Some(cluster) = cluster("what_cannot_move_stays") else {
        return;
    };
    let mover = mover(cluster, Split::Off);
    let mut client = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    let before = pid(&mut client);
    for (make, undo, why) in [
        (
            "select pg_advisory_lock(7)",
            "select pg_advisory_unlock_all()",
            "advisory locks are held: 1",
        ),
        (
            "declare c cursor with hold for select 1",
            "close c",
            "cursors WITH HOLD are open: 1",
        ),
        (
            "listen c",
            "unlisten *",
            "the session listens on channels: 1",
        ),
        (
            "create temp table tt(a int)",
            "drop table tt",
            "temporary objects exist: ",
        ),
        (
            "prepare p as select 1; select 2",
            "deallocate p",
            "prepared in SQL: p",
        ),
    ] {
        client.run(make);
        let mut order = to(THERE);
        order.trust = Trust::Probe;
        let said = refused(&mover, order.clone());
        assert!(said.starts_with(why), "{said}");
        assert_eq!(pid(&mut client), before, "{make}");
        client.run(undo);
    }
    let mut order = to(THERE);
    order.trust = Trust::Probe;
    moves(&mover, order);
    assert_ne!(pid(&mut client), before);
    let [attempted, success, recoverable, fatal] = mover.transfers();
    assert_eq!((attempted, fatal), (success + recoverable, 0));
    // A standby takes no writer.
    let mut order = to(Destination(1));
    order.trust = Trust::Probe;
    assert_eq!(refused(&mover, order), "the new server is a standby");
}

/// A function has prepared another statement under the same name, of the same length: what is read back tells.
#[test]
fn what_a_function_prepared_anew_stays() {
    let Some(cluster) = cluster("what_a_function_prepared_anew_stays") else {
        return;
    };
    let mover = mover(cluster, Split::Off);
    let mut client = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    let mut order = to(THERE);
    order.trust = Trust::Probe;
    client.run("prepare p as select 1");
    let before = pid(&mut client);
    client.run("do $$ begin execute 'deallocate p'; execute 'prepare p as select 2'; end $$");
    let said = refused(&mover, order.clone());
    assert_eq!(said, "the restored session differs: another text of p");
    assert_eq!(
        (client.value("execute p"), pid(&mut client)),
        ("2".to_owned(), before.clone())
    );
    client.run("deallocate p");
    // Nor does the question fail over a text that the encoding of now cannot show.
    client.send(&[parse("euro", "select '\u{20ac}' is null"), sync()].concat());
    assert_eq!(tags(&client.ready(1)), "1Z");
    client.run("set client_encoding = latin1");
    let said = refused(&mover, order);
    assert!(
        said.starts_with("prepared under other settings by which its text is read"),
        "{said}"
    );
    assert_eq!(pid(&mut client), before);
}

/// A session that listens goes on listening.
#[test]
fn notifications_come_from_the_new_server() {
    let Some(cluster) = cluster("notifications_come_from_the_new_server") else {
        return;
    };
    let mover = mover(cluster, Split::Off);
    let mut client = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    client.run("listen moved_channel");
    let mut order = to(THERE);
    order.listening = Listening::Move;
    moves(&mover, order);
    let mut other = Client::open(cluster.primary(), Pace::Whole, "u_trust", &[]);
    other.run("notify moved_channel, 'hello'");
    client.until(b"A");
}

/// A move every few milliseconds under requests of three kinds: no error, and every result is its own.
#[test]
fn nothing_is_lost_between_many_moves() {
    let Some(cluster) = cluster("nothing_is_lost_between_many_moves") else {
        return;
    };
    for split in [Split::Off, Split::On] {
        let mover = mover(cluster, split);
        let mut client = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
        client.send(&[parse("named", "select $1::text || ' named'"), sync()].concat());
        client.ready(1);
        client.run("set app.who = 'me'");
        let until = Instant::now() + Duration::from_secs(4);
        let (mut place, mut done, mut n, mut ordered) = (THERE, 0, 0_u64, 0);
        while Instant::now() < until {
            if mover.ended().len() == ordered {
                mover.order(to(place));
                ordered += 1;
                place = if place == THERE { HERE } else { THERE };
            }
            n += 1;
            let word = n.to_string();
            let unnamed = format!("select '{n}' || current_setting('app.who')");
            let batch = [
                query(&format!("select {n}")),
                [bind("", "named", &[Some(&word)]), execute("", 0), sync()].concat(),
                [
                    parse("", &unnamed),
                    bind("", "", &[]),
                    execute("", 0),
                    sync(),
                ]
                .concat(),
            ]
            .concat();
            client.send(&batch);
            let frames = client.ready(3);
            assert_eq!(errors(&frames), [""; 0]);
            let expected = [word.clone(), format!("{word} named"), format!("{word}me")];
            assert_eq!(values(&frames), expected);
            if n % 50 == 0 {
                client.send(&[query("begin"), query("select 1")].concat());
                client.ready(2);
                client.run("commit");
            }
            done += 1;
        }
        assert!(eventually(|| mover.ended().len() == ordered));
        let [attempted, success, recoverable, fatal] = mover.transfers();
        let failed = mover
            .ended()
            .into_iter()
            .find(|event| !matches!(event, Event::Moved { .. }));
        assert_eq!((recoverable, fatal), (0, 0), "{failed:?}");
        assert!(
            attempted == success && success > 5,
            "{success} moves, {done} rounds"
        );
    }
}

/// The standby is promoted: the writer goes there, with the client, and writes.
#[test]
fn a_session_moves_to_a_promoted_standby() {
    let Some(own) = (match cluster("a_session_moves_to_a_promoted_standby") {
        Some(_) => Cluster::start("moving"),
        None => None,
    }) else {
        return;
    };
    let ports = vec![own.primary(), own.standby(), own.standby()];
    let mover = Mover::new(config(Split::On), ports);
    let mut client = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    client.run("create table moved(a int)");
    client.run("set work_mem = '9MB'");
    client.send(&[parse("put", "insert into moved values ($1)"), sync()].concat());
    client.ready(1);
    assert_eq!(refused(&mover, to(THERE)), "the new server is a standby");
    let mut admin = Client::open(own.standby(), Pace::Whole, "postgres", &[]);
    let caught_up = |admin: &mut Client| {
        admin.value("select count(*) from pg_tables where tablename = 'moved'") == "1"
    };
    assert!(eventually(|| caught_up(&mut admin)));
    assert_eq!(admin.value("select pg_promote(true, 60)"), "t");
    let event = mover.migrate(to(THERE));
    assert!(matches!(event, Event::Moved { .. }), "{event:?}");
    client.send(&[bind("", "put", &[Some("5")]), execute("", 0), sync()].concat());
    let frames = client.ready(1);
    assert_eq!(errors(&frames), [""; 0], "{frames:?}");
    assert!(tags(&frames).ends_with("2CZ"));
    assert_eq!(client.value("/* w */ select a from moved for update"), "5");
    assert_eq!(client.value("show work_mem"), "9MB");
    assert_eq!(admin.value("select a from moved"), "5");
    // The old primary writes still, and has nothing of that.
    let back = refused(&mover, to(Destination(0)));
    assert_eq!(back, "the new server is on timeline 1, the old one on 2");
}

/// An extension's setting goes along though the new server has not loaded the extension, and holds when it has.
#[test]
fn a_setting_of_an_extension_holds_when_it_is_loaded() {
    let Some(cluster) = cluster("a_setting_of_an_extension_holds_when_it_is_loaded") else {
        return;
    };
    let mover = mover(cluster, Split::Off);
    let mut client = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    client.run("do $$ begin assert true; end $$");
    client.run("set plpgsql.check_asserts = off");
    let mut order = to(THERE);
    order.trust = Trust::Probe;
    moves(&mover, order);
    client.run("do $$ begin assert false; end $$");
    assert_eq!(client.value("show plpgsql.check_asserts"), "off");
}

/// A reader that joins behind a move serves a session that has set what servers report.
#[test]
fn reads_are_split_behind_a_move() {
    let Some(cluster) = cluster("reads_are_split_behind_a_move") else {
        return;
    };
    let mover = mover(cluster, Split::On);
    let mut client = Client::open(mover.port, Pace::Whole, "u_trust", &[]);
    client.run("set timezone = 'Asia/Tehran'");
    moves(&mover, to(THERE));
    let on_standby = || client.value("select pg_is_in_recovery()") == "t";
    assert!(eventually(on_standby));
    assert_eq!(
        client.value("select current_setting('timezone')"),
        "Asia/Tehran"
    );
}

/// Who a session is, by SET ROLE and SET SESSION AUTHORIZATION in every order, is who it is behind a move.
#[test]
fn who_a_session_is_goes_along() {
    let Some(cluster) = cluster("who_a_session_is_goes_along") else {
        return;
    };
    for (statements, who) in [
        (&["set role u_clear"][..], "postgres u_clear u_clear"),
        (
            &["set session authorization u_clear"],
            "u_clear u_clear none",
        ),
        (
            &["set session authorization u_clear", "set role u_clear"],
            "u_clear u_clear u_clear",
        ),
        (
            &["set role u_clear", "set session authorization u_md5"],
            "u_md5 u_md5 none",
        ),
        (
            &["set role u_clear", "reset role", "set work_mem = '7MB'"],
            "postgres postgres none",
        ),
    ] {
        let mover = mover(cluster, Split::Off);
        let mut client = Client::open(mover.port, Pace::Whole, "postgres", &[]);
        for sql in statements {
            client.run(sql);
        }
        let is = "select session_user || ' ' || current_user || ' ' || current_setting('role')";
        assert_eq!(client.value(is), who);
        let (before, process) = (seen(&mut client), pid(&mut client));
        moves(&mover, to(THERE));
        assert_ne!(pid(&mut client), process);
        assert_eq!(seen(&mut client), before, "{statements:?}");
        assert_eq!(client.value(is), who);
        client.run("reset session authorization");
        client.run("reset role");
        assert_eq!(client.value(is), "postgres postgres none");
    }
}
