//! The simple protocol: one Query, one ReadyForQuery.

use crate::support::frame::{errors, tags, values};
use crate::support::lab::{Lab, Script};
use crate::support::message;

#[test]
fn answers_queries() {
    let Some(lab) = Lab::new("simple::answers_queries") else {
        return;
    };
    let script = Script::new()
        .query("select 1, 'two', null, 3.0")
        .query("select generate_series(1, 5)")
        .query("select where false")
        .query("values (1), (2)")
        .query("table pg_catalog.pg_ts_parser");
    let trace = lab.same(&script);
    assert_eq!(values(&trace)[..6], ["1", "1", "2", "3", "4", "5"]);
}

#[test]
fn answers_the_empty_query() {
    let Some(lab) = Lab::new("simple::answers_the_empty_query") else {
        return;
    };
    let script = Script::new()
        .query("")
        .query(";;")
        .query("-- nothing\n")
        .query("/* nothing /* at all */ */")
        .query("select 1");
    let trace = lab.same(&script);
    assert_eq!(tags(&trace).matches('I').count(), 4);
}

#[test]
fn reports_errors_as_the_server_does() {
    let Some(lab) = Lab::new("simple::reports_errors_as_the_server_does") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists simple_e; create table simple_e (a int primary key)")
        .query("selec 1")
        .query("select 1/0")
        .query("select no_such_column")
        .query("select * from no_such_table")
        .query("select no_such_function(1)")
        .query("insert into simple_e values (1), (1)")
        .query("select 'unterminated")
        .query("select 1");
    let trace = lab.same(&script);
    assert_eq!(
        errors(&trace),
        [
            "42601", "22012", "42703", "42P01", "42883", "23505", "42601"
        ]
    );
}

#[test]
fn runs_several_statements_of_one_query_in_one_place() {
    let Some(lab) = Lab::new("simple::several_statements") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists simple_m; create table simple_m (a int)")
        .query("select 1; select 2; select 3")
        .query("insert into simple_m values (1); select count(*) from simple_m")
        .query("select count(*) from simple_m; delete from simple_m; select count(*) from simple_m")
        // An implicit transaction: the insert goes with the error.
        .query("insert into simple_m values (7); select 1/0; select 8")
        .query("select count(*) from simple_m")
        .query("begin; insert into simple_m values (9); commit; select count(*) from simple_m")
        .query("select 1; begin; select 2")
        .query("select 3")
        .query("commit; select 4");
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["22012"]);
}

#[test]
fn keeps_the_order_of_pipelined_queries() {
    let Some(lab) = Lab::new("simple::pipelined") else {
        return;
    };
    let mut all = Vec::new();
    for n in 0..20 {
        all.extend(message::query(&format!("select {n}")));
        all.extend(message::query(&format!(
            "insert into simple_p values ({n})"
        )));
        all.extend(message::query("select count(*) from simple_p"));
        all.extend(message::query("select nonsense"));
    }
    let script = Script::new()
        .setup("drop table if exists simple_p; create table simple_p (a int)")
        .send(all)
        .ready(80);
    let trace = lab.same(&script);
    let expected: Vec<_> = (0..20)
        .flat_map(|n: i32| [n.to_string(), (n + 1).to_string()])
        .collect();
    assert_eq!(values(&trace), expected);
}

#[test]
fn keeps_a_transaction_together() {
    let Some(lab) = Lab::new("simple::transaction") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists simple_t; create table simple_t (a int)")
        .query("begin")
        .query("select count(*) from simple_t")
        .query("insert into simple_t values (1)")
        .query("select count(*) from simple_t")
        .query("savepoint s")
        .query("insert into simple_t values (2)")
        .query("rollback to s")
        .query("select count(*) from simple_t")
        .query("commit and chain")
        .query("select count(*) from simple_t")
        .query("rollback")
        .query("select count(*) from simple_t")
        .query("begin read only")
        .query("insert into simple_t values (3)")
        .query("end")
        .query("begin isolation level serializable")
        .query("select count(*) from simple_t")
        .query("commit")
        .query("commit");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["0", "1", "1", "1", "1", "1"]);
    assert_eq!(errors(&trace), ["25006"]);
}

#[test]
fn keeps_a_failed_transaction_failed() {
    let Some(lab) = Lab::new("simple::failed_transaction") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists simple_f; create table simple_f (a int)")
        .query("begin")
        .query("insert into simple_f values (1)")
        .query("select 1/0")
        .query("select 1")
        .query("insert into simple_f values (2)")
        .query("")
        .query("commit")
        .query("select count(*) from simple_f");
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["22012", "25P02", "25P02"]);
    assert_eq!(values(&trace), ["0"]);
}

#[test]
fn carries_notices() {
    let Some(lab) = Lab::new("simple::notices") else {
        return;
    };
    let script = Script::new()
        .query("do $$ begin raise notice 'one'; raise warning 'two' using hint = 'three'; end $$")
        .query("drop table if exists simple_no_such_table")
        .query("select 1")
        .query("commit");
    let trace = lab.same(&script);
    assert_eq!(tags(&trace).matches('N').count(), 4);
}

#[test]
fn carries_text_that_is_not_utf8() {
    let Some(lab) = Lab::new("simple::not_utf8") else {
        return;
    };
    let latin = b"select 'caf\xe9', length('\xe9\xe8')\0";
    let script = Script::new()
        .parameter("client_encoding", "LATIN1")
        .send(message::tagged(b'Q', latin))
        .ready(1)
        .query("set client_encoding = 'UTF8'")
        // Half a character: an error of the server's, not of the proxy's.
        .send(message::tagged(b'Q', b"select '\xe9'\0"))
        .ready(1)
        .query("select 1");
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["22021"]);
}

#[test]
fn carries_big_rows_and_many_rows() {
    let Some(lab) = Lab::new("simple::big_rows") else {
        return;
    };
    let script = Script::new()
        .query("select repeat('x', 20000000)")
        .query("select n, repeat('y', 100) from generate_series(1, 50000) n")
        .query("select 1")
        .query(&format!("select length('{}')", "z".repeat(3_000_000)));
    let trace = lab.same_plain(&script);
    assert_eq!(values(&trace).len(), 50_003);
    assert_eq!(values(&trace).last().unwrap(), "3000000");
}

#[test]
fn calls_functions_by_object_id() {
    let Some(lab) = Lab::new("simple::function_call") else {
        return;
    };
    // int4pl and a number that no function has.
    let script = Script::new()
        .send(message::function_call(177, &["40", "2"]))
        .ready(1)
        .send(message::function_call(1, &[]))
        .ready(1)
        .query("begin")
        .send(message::function_call(177, &["1", "2"]))
        .ready(1)
        .query("rollback")
        .send(
            [
                message::query("select 1"),
                message::function_call(177, &["3", "4"]),
            ]
            .concat(),
        )
        .ready(2);
    let trace = lab.same(&script);
    assert_eq!(tags(&trace).matches('V').count(), 3);
    assert_eq!(errors(&trace), ["42883"]);
}

#[test]
fn passes_on_a_message_it_does_not_know() {
    let Some(lab) = Lab::new("simple::unknown_message") else {
        return;
    };
    let script = Script::new()
        .query("select 1")
        .send(message::tagged(b'y', b"who knows"))
        .closed();
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["08P01"]);
}

#[test]
fn finishes_work_ahead_of_a_goodbye() {
    let Some(lab) = Lab::new("simple::terminate") else {
        return;
    };
    let goodbye = [
        message::query("select 1"),
        message::query("insert into simple_x values (1)"),
        message::query("select count(*) from simple_x"),
        message::terminate(),
    ];
    let script = Script::new()
        .setup("drop table if exists simple_x; create table simple_x (a int)")
        .send(goodbye.concat())
        .closed();
    lab.same(&script);
    assert_eq!(lab.admin().value("select count(*) from simple_x"), "1");
}

#[test]
fn finishes_work_of_a_client_that_only_listens() {
    let Some(lab) = Lab::new("simple::half_close") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists simple_h; create table simple_h (a int)")
        .send(
            [
                message::query("insert into simple_h values (1)"),
                message::query("select repeat('x', 100000)"),
            ]
            .concat(),
        )
        .half_close()
        .closed();
    let trace = lab.same(&script);
    assert_eq!(values(&trace)[0].len(), 100_000);
    assert_eq!(lab.admin().value("select count(*) from simple_h"), "1");
}
