//! Statements that the proxy denies: the client is told in their places, and the session goes on.

use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::future;
use tokio_postgres::{Config, NoTls};

use crate::support::client::{Client, Pace, V3_0};
use crate::support::frame::{errors, tags, values};
use crate::support::lab::{Lab, split};
use crate::support::message::{self, bind, close_statement, execute, function_call, parse, sync};
use crate::support::proxy::Proxy;

/// A proxy where nobody drops a table, and a table that nobody drops.
fn denying(lab: &Lab) -> Proxy {
    lab.admin()
        .run("drop table if exists policy_t; create table policy_t (a int); grant all on policy_t to public");
    let arguments = split(lab.cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--deny-statement", "drop"]);
    arguments.extend(["--deny-statement", "ALTER SYSTEM"]);
    Proxy::start(lab.cluster, &arguments)
}

/// What was denied reached no server, and did nothing.
fn nothing_was_dropped(lab: &Lab) {
    let count = lab.admin().value("select count(*) from policy_t");
    assert_eq!(count, "0");
    for ran in [lab.on_primary(), lab.on_standby()] {
        assert!(!ran.iter().any(|sql| sql.contains("drop")), "{ran:?}");
    }
}

#[test]
fn a_denial_takes_its_place() {
    let Some(lab) = Lab::new("policy::a_denial_takes_its_place") else {
        return;
    };
    let proxy = denying(&lab);
    for pace in [Pace::Whole, Pace::Bytewise] {
        let parameters = [("application_name", lab.application.as_str())];
        let mut client = Client::open(proxy.port, pace, "u_trust", &parameters);
        let said = client.query("drop table policy_t");
        assert_eq!(tags(&said), "EZ");
        assert_eq!(errors(&said), ["42501"]);
        let words = "statements that begin with DROP are denied";
        assert_eq!(said[0].field(b'M').as_deref(), Some(words));
        // A read before it, on the reader, and one behind it.
        assert_eq!(values(&client.query("select 1")), ["1"]);
        client.send(
            &[
                message::query("select 1"),
                message::query("select 2; drop table policy_t"),
                message::query("select 3"),
            ]
            .concat(),
        );
        let said = client.ready(3);
        assert_eq!(tags(&said), "TDCZEZTDCZ");
        // In a transaction, which has failed then, and in a failed one.
        client.query("begin");
        client.query("insert into policy_t values (1)");
        assert_eq!(errors(&client.query("drop table policy_t")), ["42501"]);
        assert_eq!(errors(&client.query("select 1")), ["25P02"]);
        let again = client.query("alter system set work_mem = 1");
        assert_eq!(errors(&again), ["42501"]);
        assert_eq!(errors(&client.query("rollback")), [""; 0]);
        // H06.
        let drop = || parse("", "drop table policy_t");
        client.send(&[close_statement("x"), sync(), drop(), sync()].concat());
        assert_eq!(tags(&client.ready(2)), "3ZEZ");
        // What a pipeline did before it is taken back, what comes behind is skipped.
        let insert = [
            parse("", "insert into policy_t values (2)"),
            bind("", "", &[]),
            execute("", 0),
        ]
        .concat();
        client.send(&[&insert[..], &drop(), &insert, &sync(), &sync()].concat());
        let said = client.ready(2);
        assert_eq!(
            (tags(&said).as_str(), errors(&said)),
            ("12CEZZ", vec!["42501".to_owned()])
        );
        let called = function_call(1_598, &[]);
        client.send(&called);
        assert_eq!(tags(&client.ready(1)), "VZ");
    }
    nothing_was_dropped(&lab);
    let ran = proxy.log();
    assert!(ran.contains("sqlstate=42501"), "{ran}");
}

#[test]
fn psql_is_told_and_goes_on() {
    let Some(lab) = Lab::new("policy::psql_is_told_and_goes_on") else {
        return;
    };
    let proxy = denying(&lab);
    let program = Path::new(lab.cluster.get("PGBIN")).join("psql");
    let conninfo = format!(
        "host=127.0.0.1 port={} user=u_trust dbname=app application_name={}",
        proxy.port, lab.application
    );
    let mut command = Command::new(program);
    command.args(["-X", "-A", "-t", "-d", &conninfo]);
    for text in [
        "drop table policy_t",
        "select 'goes on'",
        "begin",
        "drop table policy_t",
        "rollback",
        "select 'for ever'",
    ] {
        command.args(["-c", text]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        ["goes on", "BEGIN", "ROLLBACK", "for ever"],
        "{told}"
    );
    let error = "ERROR:  statements that begin with DROP are denied\n\
        DETAIL:  The proxy was started with --deny-statement.\n";
    assert_eq!(told, error.repeat(2));
    nothing_was_dropped(&lab);
}

/// A replication connection runs SQL that nobody reads.
#[test]
fn what_cannot_be_read_is_refused() {
    let Some(lab) = Lab::new("policy::what_cannot_be_read_is_refused") else {
        return;
    };
    let proxy = denying(&lab);
    let mut client = Client::connect(proxy.port, Pace::Whole);
    let parameters = [
        ("user", "u_trust"),
        ("database", "app"),
        ("replication", "database"),
    ];
    client.send(&message::startup(V3_0, &parameters));
    let told = client.frame().unwrap();
    assert_eq!(told.field(b'C').as_deref(), Some("28000"));
    let why = told.field(b'M').unwrap();
    assert!(why.contains("whose statements it can read"), "{why}");
    assert!(client.frame().is_none());
    let mut client = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    assert_eq!(client.value("select 1"), "1");
}

#[test]
fn a_drivers_pipeline_sees_it_in_order() {
    let Some(lab) = Lab::new("policy::a_drivers_pipeline_sees_it_in_order") else {
        return;
    };
    let proxy = denying(&lab);
    let work = async {
        let mut config = Config::new();
        config.host("127.0.0.1").port(proxy.port);
        config.user("u_trust").dbname("app");
        config.application_name(&lab.application);
        let (mut client, connection) = config.connect(NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let read = client.prepare("select $1::int").await.unwrap();
        let ask = |n: i32| {
            let (client, read) = (&client, &read);
            async move {
                client
                    .query_one(read, &[&n])
                    .await
                    .unwrap()
                    .get::<_, i32>(0)
            }
        };
        let drop = client.batch_execute("drop table policy_t");
        let prepared = client.prepare("drop table policy_t");
        let (one, drop, two, prepared, three) =
            future::join5(ask(1), drop, ask(2), prepared, ask(3)).await;
        assert_eq!((one, two, three), (1, 2, 3));
        let code = |error: tokio_postgres::Error| error.code().unwrap().code().to_owned();
        assert_eq!(code(drop.unwrap_err()), "42501");
        assert_eq!(code(prepared.map(|_| ()).unwrap_err()), "42501");
        let transaction = client.transaction().await.unwrap();
        let denied = transaction.execute("drop table policy_t", &[]).await;
        assert_eq!(code(denied.unwrap_err()), "42501");
        transaction.rollback().await.unwrap();
        let row = client.query_one("select 4", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 4);
        std::mem::drop(client);
        connection.await.unwrap().unwrap();
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work);
    nothing_was_dropped(&lab);
}

/// What is sent in the place of a denied message no server takes, in whatever state.
#[test]
fn a_server_refuses_what_stands_in_the_place() {
    let Some(lab) = Lab::new("policy::a_server_refuses_what_stands_in_the_place") else {
        return;
    };
    let words = "denied by a policy of the proxy";
    let name = format!("{words} 0123456789abcdef");
    let port = lab.cluster.primary();
    let mut client = Client::open(port, Pace::Whole, "u_trust", &[]);
    for (begin, state) in [("", 'I'), ("begin", 'E'), ("select 1/0", 'E')] {
        client.query(begin);
        for (message, code) in [
            (message::query(words), "42601"),
            ([parse("", words), sync()].concat(), "42601"),
            ([parse(&name, words), sync()].concat(), "42601"),
            ([bind("", &name, &[]), sync()].concat(), "26000"),
            ([execute(&name, 0), sync()].concat(), "34000"),
            (function_call(0, &[]), "42883"),
        ] {
            client.send(&message);
            let said = client.ready(1);
            assert_eq!(tags(&said), "EZ");
            // A transaction that has failed may be the reason.
            let [told] = &errors(&said)[..] else {
                panic!("one error");
            };
            assert!([code, "25P02"].contains(&told.as_str()), "{told}");
            assert_eq!(said[1].body, [state as u8]);
        }
    }
}
