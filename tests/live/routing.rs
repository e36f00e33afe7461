//! Where statements run, by the servers' own account (law L5).

use crate::support::client::{Client, eventually};
use crate::support::frame::{errors, values};
use crate::support::lab::{Lab, Place};
use crate::support::message::{bind, execute, extended, parse, query, sync};

const SETUP: &str = "drop table if exists routing_t; create table routing_t (a int); \
    grant all on routing_t to public; \
    drop sequence if exists routing_s; create sequence routing_s; \
    grant all on sequence routing_s to public; \
    create or replace function routing_f() returns int language sql volatile \
      as 'insert into routing_t values (1) returning a'; \
    create or replace procedure routing_p() language sql as 'delete from routing_t'";

fn lab(test: &str) -> Option<Lab> {
    let lab = Lab::new(test)?;
    lab.admin().run(SETUP);
    Some(lab)
}

fn check(lab: &Lab, place: Place, statements: &[&str]) {
    let expected: Vec<_> = statements
        .iter()
        .map(|sql| ((*sql).to_owned(), place))
        .collect();
    assert_eq!(lab.places(statements), expected);
}

#[test]
fn reads_run_on_the_standby() {
    let Some(lab) = lab("routing::reads") else {
        return;
    };
    assert_eq!(lab.client().value("select pg_is_in_recovery()"), "t");
    let reads = [
        "select 1",
        "SELECT count(*) FROM routing_t",
        "  /* a comment */ select a from routing_t where a = 1 -- and another",
        "values (1), (2)",
        "table routing_t",
        "with x as (select 1) select * from x",
        "select upper('insert into routing_t'), $$delete$$",
        "(select 1) union all (select 2) order by 1",
        "explain select * from routing_t",
        "copy routing_t to stdout",
        "copy (select 1 as copied) to stdout",
        "select 1; select 2",
    ];
    check(&lab, Place::Standby, &reads);
}

#[test]
fn writes_run_on_the_primary() {
    let Some(lab) = lab("routing::writes") else {
        return;
    };
    let writes = [
        "insert into routing_t values (1)",
        "update routing_t set a = 2",
        "delete from routing_t",
        "select nextval('routing_s')",
        "select routing_f()",
        "call routing_p()",
        "do $$ begin perform routing_f(); end $$",
        "with x as (insert into routing_t values (3) returning a) select * from x",
        "select * from routing_t for update",
        "select * from routing_t for key share",
        "select a into routing_into from routing_t",
        "drop table routing_into",
        "create table routing_c as select 1 as a",
        "drop table routing_c",
        "explain analyze insert into routing_t values (4)",
        "copy (update routing_t set a = 5 returning a) to stdout",
        "select 1; insert into routing_t values (6)",
        "truncate routing_t",
        "vacuum routing_t",
        "select pg_current_wal_lsn()",
        "select txid_current()",
    ];
    check(&lab, Place::Primary, &writes);
}

#[test]
fn batches_run_where_their_statements_must() {
    let Some(lab) = lab("routing::batches") else {
        return;
    };
    let mut client = lab.client();
    client.send(&extended("select pg_is_in_recovery()", &[]));
    assert_eq!(values(&client.ready(1)), ["t"]);
    // One write makes the whole batch the primary's, what stands before it too.
    let batch = [
        parse("", "select pg_is_in_recovery() as ahead"),
        bind("", "", &[]),
        execute("", 0),
        parse("", "insert into routing_t values (1)"),
        bind("", "", &[]),
        execute("", 0),
        sync(),
    ];
    client.send(&batch.concat());
    let frames = client.ready(1);
    assert_eq!(errors(&frames), [""; 0]);
    assert_eq!(values(&frames), ["f"]);
}

#[test]
fn a_pipeline_is_split_and_answered_in_order() {
    let Some(lab) = lab("routing::pipeline") else {
        return;
    };
    let mut client = lab.client();
    let mut all = query("select 'first', pg_is_in_recovery()");
    for n in 0..50 {
        all.extend(extended("select $1::text", &[Some(&n.to_string())]));
        all.extend(query("insert into routing_t values (1)"));
        all.extend(extended("select count(*) from routing_t", &[]));
    }
    all.extend(query("select 'last', pg_is_in_recovery()"));
    client.send(&all);
    let frames = client.ready(152);
    let mut expected = vec!["first".to_owned()];
    for n in 0..50 {
        expected.extend([n.to_string(), (n + 1).to_string()]);
    }
    expected.push("last".to_owned());
    assert_eq!(values(&frames), expected);
    // Reads behind a write that is not answered yet may have to follow it; what came first need not.
    assert_eq!(
        lab.on_standby().first().unwrap(),
        "select 'first', pg_is_in_recovery()"
    );
    assert_eq!(client.value("select pg_is_in_recovery()"), "t");
}

#[test]
fn transactions_run_on_the_primary() {
    let Some(lab) = lab("routing::transactions") else {
        return;
    };
    let mut client = lab.client();
    client.run("begin");
    assert_eq!(client.value("select pg_is_in_recovery()"), "f");
    client.run("commit");
    assert_eq!(client.value("select pg_is_in_recovery()"), "t");
    client.run("begin; insert into routing_t values (1)");
    assert_eq!(client.value("select pg_is_in_recovery()"), "f");
    assert_eq!(errors(&client.query("select 1/0")), ["22012"]);
    client.run("rollback");
    assert_eq!(client.value("select pg_is_in_recovery()"), "t");
}

#[test]
fn prepared_statements_run_where_they_must() {
    let Some(lab) = lab("routing::prepared") else {
        return;
    };
    let mut client = lab.client();
    client.send(
        &[
            parse("where", "select pg_is_in_recovery()"),
            parse("write", "insert into routing_t values ($1)"),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(errors(&client.ready(1)), [""; 0]);
    let ask = |client: &mut Client| {
        client.send(&[bind("", "where", &[]), execute("", 0), sync()].concat());
        values(&client.ready(1)).concat()
    };
    assert_eq!(ask(&mut client), "t");
    client.send(&[bind("", "write", &[Some("1")]), execute("", 0), sync()].concat());
    assert_eq!(errors(&client.ready(1)), [""; 0]);
    assert_eq!(ask(&mut client), "t");
    client.run("begin");
    assert_eq!(ask(&mut client), "f");
    client.run("commit");
    assert_eq!(ask(&mut client), "t");
}

#[test]
fn no_write_reaches_the_standby() {
    let Some(lab) = lab("routing::never") else {
        return;
    };
    let mut client = lab.client();
    for n in 0..50 {
        client.run(&format!("insert into routing_t values ({n})"));
        client.run(&format!("select a from routing_t where a = {n}"));
        client.send(&extended(
            "update routing_t set a = $1 where a = $1",
            &[Some("1")],
        ));
        assert_eq!(errors(&client.ready(1)), [""; 0]);
    }
    let standby = lab.on_standby();
    assert_eq!(
        standby
            .iter()
            .filter(|sql| sql.starts_with("select"))
            .count(),
        50
    );
    assert!(
        standby
            .iter()
            .all(|sql| !sql.starts_with("insert") && !sql.starts_with("update")),
        "{standby:#?}"
    );
    let primary = lab.on_primary();
    assert_eq!(
        primary
            .iter()
            .filter(|sql| sql.starts_with("insert"))
            .count(),
        50
    );
    assert_eq!(
        primary
            .iter()
            .filter(|sql| sql.starts_with("select"))
            .count(),
        0
    );
}

#[test]
fn the_log_tells_the_route_of_each_request() {
    let Some(lab) = lab("routing::log") else {
        return;
    };
    let mut first = lab.client();
    first.run("select a from routing_t where a::text = 'a-secret-literal'");
    first.send(&extended(
        "select a from routing_t where a = $1 and a < 987654321",
        &[Some("13")],
    ));
    assert_eq!(errors(&first.ready(1)), [""; 0]);
    first.run("insert into routing_t values (987654321)");
    first.run("select routing_f()");
    first.run("begin");
    first.run("select 1");
    first.run("commit");
    first.run("set work_mem = '1MB'");
    first.run("create temp table routing_temp (a int)");
    first.run("select 2");
    let mut second = lab.client();
    second.run("select 3");
    second.run("select \"a\" from routing_t");
    let primary = format!("writer at=127.0.0.1:{}", lab.cluster.primary());
    let standby = format!("reader at=127.0.0.1:{}", lab.cluster.standby());
    let log = || {
        let log = lab.proxy.log();
        log.replace(&primary, "PRIMARY")
            .replace(&standby, "STANDBY")
    };
    // A line may come after the answer.
    eventually(|| log().lines().count() == ROUTES.lines().count());
    assert_eq!(log(), ROUTES);
}

/// A line for each request of two sessions: which and of which session, where to, what it asks for, why there, and
/// its first words without literals.
const ROUTES: &str = r#"route session=1 request=1 upstream=STANDBY class=Read reason="PlainSelect" text="select a from routing_t where a::text = ?"
route session=1 request=2 upstream=STANDBY class=Read reason="PlainSelect" text="select a from routing_t where a = $1 and a < ?"
route session=1 request=3 upstream=PRIMARY class=Write reason="Keyword" text="insert into routing_t values (?)"
route session=1 request=4 upstream=PRIMARY class=Unproven reason="UnknownFunction" text="select routing_f()"
route session=1 request=5 upstream=PRIMARY class=Transaction reason="TransactionStatement" text="begin"
route session=1 request=6 upstream=PRIMARY class=Read reason="open transaction" text="select ?"
route session=1 request=7 upstream=PRIMARY class=Transaction reason="open transaction" text="commit"
route session=1 request=8 upstream=PRIMARY class=Session reason="SessionStatement" text="set work_mem = ?"
route session=1 request=9 upstream=PRIMARY class=Write reason="Keyword" text="create temp table routing_temp (a int)"
pin session=1 why="temporary objects"
route session=1 request=10 upstream=PRIMARY class=Read reason="pinned: temporary objects" text="select ?"
route session=2 request=1 upstream=STANDBY class=Read reason="PlainSelect" text="select ?"
route session=2 request=2 upstream=STANDBY class=Read reason="PlainSelect" text="select \"a\" from routing_t"
"#;
