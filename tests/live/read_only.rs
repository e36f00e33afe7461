//! READ ONLY transactions on a real standby, against the same scripts on the primary alone.

use crate::support::client::{Client, Pace, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{errors, tags, values};
use crate::support::lab::{Lab, Script};
use crate::support::message::{bind, execute, flush, parse, query, sync};

const READER: &[&str] = &["--read-only-transactions", "reader"];

const TABLE: &str = "drop table if exists read_only_t; create table read_only_t (a int); \
    insert into read_only_t select generate_series(1, 5); grant all on read_only_t to public; \
    drop sequence if exists read_only_s; create sequence read_only_s; \
    grant all on sequence read_only_s to public; \
    create or replace function read_only_f() returns int language plpgsql as 'begin return 1; end'";

/// Where the rest of a transaction runs.
fn is_on_standby(client: &mut Client) -> bool {
    client.value("select pg_is_in_recovery()") == "t"
}

#[test]
fn runs_on_the_reader_whole() {
    let Some(lab) = Lab::with("read_only::whole", READER) else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .query("begin read only")
        .query("select count(*) from read_only_t")
        .query("savepoint a")
        .query("select 1/0")
        .query("select 1")
        .query("rollback to a")
        .query("release a")
        .query("set local work_mem = '1MB'")
        .query("show work_mem")
        .extended("select a from read_only_t where a < $1::int", &[Some("3")])
        .query("copy (select a from read_only_t) to stdout")
        .query("show transaction_isolation")
        .query("commit and chain")
        .query("select 2")
        .query("rollback")
        .query("show work_mem")
        .query("start transaction isolation level repeatable read, read only, deferrable; select 3; end")
        .query("begin read only; select 4")
        .query("begin read only")
        .query("select 5; commit")
        .query("commit");
    lab.same(&script);
    let mut client = lab.client();
    client.run("begin transaction read only");
    assert!(is_on_standby(&mut client));
    client.run("commit");
    client.run("begin");
    assert!(!is_on_standby(&mut client));
    client.run("commit");
    let standby = lab.on_standby();
    assert!(
        standby
            .iter()
            .any(|text| text == "copy (select a from read_only_t) to stdout"),
        "{standby:?}"
    );
}

/// What BEGIN does not say is by the session's default, which a driver sets once.
#[test]
fn runs_on_the_reader_by_default() {
    let Some(lab) = Lab::with("read_only::default", READER) else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .query("set session characteristics as transaction read only")
        .query("select count(*) from read_only_t")
        .query("begin")
        .query("select count(*) from read_only_t")
        .query("rollback")
        .query("insert into read_only_t values (6)")
        .query("begin")
        .query("delete from read_only_t")
        .query("rollback")
        .query("begin read write")
        .query("insert into read_only_t values (6)")
        .query("commit")
        .query("begin")
        .query("select count(*) from read_only_t; show transaction_read_only")
        .query("set transaction read write")
        .query("commit")
        .query("set default_transaction_read_only = off")
        .query("begin")
        .query("insert into read_only_t values (7)")
        .query("rollback")
        .query("select count(*) from read_only_t");
    lab.same(&script);
    let mut client = lab.client();
    client.run("set default_transaction_read_only = on");
    assert!(is_on_standby(&mut client));
    // Servers report it from 14 on.
    client.run("begin");
    assert!(is_on_standby(&mut client));
    client.run("commit");
    client.run("reset default_transaction_read_only");
    client.run("begin");
    assert!(!is_on_standby(&mut client));
    client.run("commit");
}

/// A driver's batch: BEGIN with the first query, and a pipeline of a whole transaction.
#[test]
fn runs_there_in_batches() {
    let Some(lab) = Lab::with("read_only::batches", READER) else {
        return;
    };
    let run = |text: &str| [parse("", text), bind("", "", &[]), execute("", 0)].concat();
    let begin = run("begin isolation level repeatable read read only");
    let read = run("select count(*) from read_only_t");
    let script = Script::new()
        .setup(TABLE)
        .send([&begin[..], &read, &sync()].concat())
        .ready(1)
        .send([&parse("", "select 1")[..], &flush()].concat())
        .until(b"1")
        .send([&bind("", "", &[])[..], &execute("", 0), &sync()].concat())
        .ready(1)
        .send([&run("commit")[..], &sync()].concat())
        .ready(1)
        .send([&begin[..], &read, &run("commit"), &sync()].concat())
        .ready(1)
        .send(
            [
                query("begin read only"),
                query("select 1"),
                query("select 2"),
                query("commit"),
                query("select 3"),
            ]
            .concat(),
        )
        .ready(5)
        .send(
            [
                &begin[..],
                &run("select 1/0"),
                &sync(),
                &run("rollback"),
                &sync(),
            ]
            .concat(),
        )
        .ready(2);
    lab.same(&script);
    let standby = lab.on_standby();
    assert!(
        standby.iter().any(|text| text.contains("read only")),
        "{standby:?}"
    );
}

/// Whatever comes first: the answers are those of the primary alone.
#[test]
fn becomes_read_write_as_on_one_server() {
    let Some(lab) = Lab::with("read_only::write", READER) else {
        return;
    };
    for first in [
        "set transaction read write",
        "set transaction_read_only = off",
        "begin read write",
        "set transaction isolation level serializable",
        "insert into read_only_t values (1)",
        "select nextval('read_only_s')",
        "select pg_advisory_xact_lock(815)",
        "select read_only_f()",
        "declare c cursor for select a from read_only_t order by a",
        "savepoint a",
        "set timezone = 'UTC'",
        "listen read_only",
        "prepare transaction 'read_only'",
        "notify read_only",
        "lock read_only_t in access exclusive mode",
        "select a from read_only_t for update",
        "vacuum",
        "checkpoint",
        "commit; insert into read_only_t values (7)",
        "rollback; begin; insert into read_only_t values (8)",
        "set transaction snapshot 'none'",
        "begin read only isolation level serializable",
        "set constraints all deferred",
        "show transaction_read_only",
        "select no_such_function()",
        "selekt",
    ] {
        let script = Script::new()
            .setup(TABLE)
            .query("begin isolation level repeatable read, read only")
            .query("set local work_mem = '1MB'")
            .query("show work_mem")
            .query(first)
            .query("show work_mem")
            .query("insert into read_only_t values (9)")
            .query("commit")
            .query("rollback")
            .query("unlisten *")
            .query("reset timezone")
            .query("select count(*) from read_only_t");
        lab.same_plain(&script);
    }
    // Behind a query every server says the same.
    for text in [
        "set transaction read write",
        "set transaction_read_only = off",
        "begin read write",
        "set transaction isolation level serializable",
        "begin isolation level serializable",
        "set transaction snapshot 'none'",
        "begin read only",
    ] {
        let script = Script::new()
            .setup(TABLE)
            .query("begin read only")
            .query("select count(*) from read_only_t")
            .query(text)
            .query("select 1")
            .query("rollback; select pg_advisory_unlock_all(); reset all");
        lab.same_plain(&script);
    }
}

#[test]
fn refuses_what_has_no_place_there() {
    let Some(lab) = Lab::with("read_only::refuses", READER) else {
        return;
    };
    lab.admin().run(TABLE);
    let mut client = lab.client();
    for (text, state) in [
        ("select pg_advisory_lock(815)", "0A000"),
        ("select read_only_f()", "0A000"),
        ("set timezone = 'UTC'", "0A000"),
        ("listen read_only", "0A000"),
        ("insert into read_only_t values (1)", "25006"),
        ("select nextval('read_only_s')", "25006"),
    ] {
        client.run("begin read only");
        assert!(is_on_standby(&mut client));
        let frames = client.query(text);
        assert_eq!(
            (errors(&frames), tags(&frames)),
            (vec![state.to_owned()], "EZ".to_owned())
        );
        assert_eq!(errors(&client.query("select 1")), ["25P02"]);
        client.run("rollback");
        assert!(is_on_standby(&mut client));
    }
    let batch = [
        parse("", "select read_only_f()"),
        bind("", "", &[]),
        execute("", 0),
        sync(),
        query("rollback"),
    ];
    client.run("begin read only");
    assert!(is_on_standby(&mut client));
    client.send(&batch.concat());
    assert_eq!(tags(&client.ready(2)), "EZCZ");
}

/// Its own servers: the standby is stopped. The second transaction has read on it.
#[test]
fn outlives_the_loss_of_the_reader() {
    let Some(lab) = Lab::with("read_only::loss", READER) else {
        return;
    };
    drop(lab);
    let cluster = Cluster::start("read_only").unwrap();
    let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    admin.run("create table read_only_t (a int); insert into read_only_t values (1)");
    let split = crate::support::lab::split(&cluster);
    let arguments: Vec<&str> = split
        .iter()
        .map(String::as_str)
        .chain(READER.iter().copied())
        .collect();
    let proxy = crate::support::proxy::Proxy::start(&cluster, &arguments);
    let open = || Client::open(proxy.port, Pace::Whole, "postgres", &[]);
    let mut standby = Client::open(cluster.standby(), Pace::Whole, "postgres", &[]);
    assert!(eventually(|| standby.value(
        "select count(*) from pg_class where relname = 'read_only_t'"
    ) == "1"));
    let mut fresh = open();
    let mut read = open();
    let mut ends = open();
    for client in [&mut fresh, &mut read, &mut ends] {
        client.run("begin read only");
    }
    for client in [&mut read, &mut ends] {
        assert!(is_on_standby(client));
    }
    fresh.run("set local work_mem = '1MB'");
    cluster.standby_do("stop");
    assert_eq!(fresh.value("show work_mem"), "1MB");
    assert!(!is_on_standby(&mut fresh));
    fresh.run("commit");
    assert_eq!(
        errors(&read.query("select count(*) from read_only_t")),
        ["08006"]
    );
    assert_eq!(errors(&read.query("select 1")), ["25P02"]);
    read.run("rollback");
    assert_eq!(
        values(&read.query("select count(*) from read_only_t")),
        ["1"]
    );
    ends.run("commit");
    ends.run("insert into read_only_t values (2)");
}
