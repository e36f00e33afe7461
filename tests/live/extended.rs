//! The extended protocol: batches up to Sync, pipelines of them, Flush, portals.

use crate::support::frame::{errors, tags, values};
use crate::support::lab::{Lab, Script};
use crate::support::message::{
    bind, bind_formats, close_portal, close_statement, describe_portal, describe_statement,
    execute, extended, flush, parse, query, sync,
};

const TABLE: &str = "drop table if exists extended_t; create table extended_t (a int, b text)";

#[test]
fn answers_batches() {
    let Some(lab) = Lab::new("extended::batches") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .extended("select $1::int + 1", &[Some("41")])
        .extended("insert into extended_t values ($1, $2)", &[Some("1"), None])
        .extended("select a, b from extended_t where a = $1", &[Some("1")])
        .extended("update extended_t set b = $1 returning b", &[Some("x")])
        .extended("", &[])
        .send([parse("", "select 1"), sync()].concat())
        .ready(1)
        .send(sync())
        .ready(1);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["42", "1", "x"]);
}

#[test]
fn carries_binary_results() {
    let Some(lab) = Lab::new("extended::binary") else {
        return;
    };
    let script = Script::new().send(
        [
            parse("", "select 258, 'text', null::int, 1.5::float8"),
            bind_formats("", "", &[], &[1]),
            describe_portal(""),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    let trace = lab.same(&script.ready(1));
    let row = trace.iter().find(|frame| frame.tag == b'D').unwrap();
    assert_eq!(row.body[6..10], [0, 0, 1, 2]);
}

#[test]
fn uses_named_statements_in_both_places() {
    let Some(lab) = Lab::new("extended::named") else {
        return;
    };
    let run = |value| [bind("", "s", &[Some(value)]), execute("", 0), sync()].concat();
    let script = Script::new()
        .setup(TABLE)
        .send(
            [
                parse("s", "select $1::int * 2"),
                describe_statement("s"),
                sync(),
            ]
            .concat(),
        )
        .ready(1)
        .send(run("1"))
        .ready(1)
        .query("begin")
        .send(run("2"))
        .ready(1)
        .query("insert into extended_t values (1)")
        .send(run("3"))
        .ready(1)
        .query("commit")
        .send(run("4"))
        .ready(1)
        .send([describe_statement("s"), sync()].concat())
        .ready(1)
        .send([close_statement("s"), sync()].concat())
        .ready(1)
        .send(run("5"))
        .ready(1)
        // The name may be taken again, by something else.
        .send([parse("s", "select $1::int * 100"), sync()].concat())
        .ready(1)
        .send(run("6"))
        .ready(1);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["2", "4", "6", "8", "600"]);
    assert_eq!(errors(&trace), ["26000"]);
}

/// What was prepared means what it meant, wherever it runs: by another encoding the same bytes are four of the server's, by
/// other rules a backslash is none, and a date is another day by another style.
#[test]
fn keeps_the_meaning_of_texts_that_would_be_read_in_another_way() {
    let Some(lab) = Lab::new("extended::reading") else {
        return;
    };
    let run = |name| [bind("", name, &[]), execute("", 0), sync()].concat();
    let settings = [
        (
            "set client_encoding to latin1",
            "select octet_length('\u{e9}')",
        ),
        (
            "set standard_conforming_strings to off",
            r"select octet_length('\\')",
        ),
        (
            "set standard_conforming_strings to off",
            "select octet_length(u&'!00e9' uescape '!')",
        ),
        (
            "set datestyle to 'sql, dmy'",
            "select extract(month from '02/01/2026'::date)",
        ),
        (
            "set intervalstyle to sql_standard",
            "select extract(hour from '-1 2:00:00'::interval)",
        ),
        (
            "set array_nulls to off",
            "select cardinality(array_remove('{null,a,b}'::text[], null))",
        ),
        (
            "set transform_null_equals to on",
            "select case when null = null then 3 else 2 end",
        ),
    ];
    for (set, text) in settings {
        let mut script = Script::new()
            .query("select 1")
            .send([parse("outside", text), sync()].concat())
            .ready(1)
            .query("begin")
            .send([parse("inside", text), sync()].concat())
            .ready(1)
            .query("commit")
            .query(set);
        for around in [["select 1", "select 1"], ["begin", "commit"]] {
            script = script.query(around[0]);
            for name in ["inside", "outside"] {
                script = script.send(run(name)).ready(1);
            }
            script = script.query(around[1]);
        }
        let trace = lab.same(&script);
        let values = values(&trace);
        assert_eq!(values.iter().filter(|value| *value == "2").count(), 4);
        assert_eq!(errors(&trace), [""; 0]);
    }
}

/// P06: the error is the server's, on whichever it comes up, and the session goes on as its client would.
#[test]
fn says_when_a_result_has_other_columns_and_goes_on() {
    let Some(lab) = Lab::new("extended::altered") else {
        return;
    };
    let text = "select * from extended_t order by a";
    let prepared = || [parse("s", text), sync()].concat();
    let run = || [bind("", "s", &[]), execute("", 0), sync()].concat();
    let mut script = Script::new()
        .setup(&format!("{TABLE}; alter table extended_t owner to u_trust"))
        .query("insert into extended_t values (1, 'b')");
    let held_by_both = |script: Script| {
        let script = script.send(prepared()).ready(1).send(run()).ready(1);
        let script = script.query("begin").send(run()).ready(1);
        script.query("commit")
    };
    script = held_by_both(script);
    for change in [
        "alter table extended_t add c int default 3",
        "alter table extended_t drop b",
    ] {
        script = script.query(change).send(run()).ready(1).query("begin");
        script = script.send(run()).ready(1).query("rollback");
        script = script
            .send([close_statement("s"), sync()].concat())
            .ready(1);
        script = held_by_both(script);
    }
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["0A000"; 4]);
    assert_eq!(values(&trace), ["1", "1", "1", "1", "1", "1"], "{trace:#?}");
    // Of four runs with a split, each read it there three times, and was refused there twice.
    let there = lab.on_standby();
    assert_eq!(there.iter().filter(|sql| *sql == text).count(), 4 * 3);
}

#[test]
fn refuses_a_name_that_is_taken() {
    let Some(lab) = Lab::new("extended::taken") else {
        return;
    };
    let script = Script::new()
        .send([parse("s", "select 1"), sync()].concat())
        .ready(1)
        .send([parse("s", "select 2"), sync()].concat())
        .ready(1)
        .send([parse("t", "selec"), sync()].concat())
        .ready(1)
        .send([bind("", "t", &[]), execute("", 0), sync()].concat())
        .ready(1)
        .send([bind("", "s", &[]), execute("", 0), sync()].concat())
        .ready(1);
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["42P05", "42601", "26000"]);
    assert_eq!(values(&trace), ["1"]);
}

#[test]
fn keeps_the_unnamed_statement() {
    let Some(lab) = Lab::new("extended::unnamed") else {
        return;
    };
    let run = || [bind("", "", &[]), execute("", 0), sync()].concat();
    let script = Script::new()
        .setup(TABLE)
        .send([parse("", "select 1"), sync()].concat())
        .ready(1)
        .send(run())
        .ready(1)
        .send(run())
        .ready(1)
        .send([parse("n", "insert into extended_t values (1)"), sync()].concat())
        .ready(1)
        .send([bind("", "n", &[]), execute("", 0), sync()].concat())
        .ready(1)
        .send(run())
        .ready(1)
        .query("begin")
        .send(run())
        .ready(1)
        .query("commit")
        // Gone after a simple query? Only after one that parses something, and these did.
        .send(run())
        .ready(1)
        // A failed Parse leaves no unnamed statement behind.
        .send([parse("", "selec"), sync()].concat())
        .ready(1)
        .send(run())
        .ready(1);
    let trace = lab.same(&script);
    assert_eq!(values(&trace)[..3], ["1", "1", "1"]);
}

#[test]
fn skips_to_sync_after_an_error() {
    let Some(lab) = Lab::new("extended::errors") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .send(
            [
                parse("", "insert into extended_t values (1)"),
                bind("", "", &[]),
                execute("", 0),
                parse("", "select 1/0"),
                bind("", "", &[]),
                execute("", 0),
                parse("", "insert into extended_t values (2)"),
                bind("", "", &[]),
                execute("", 0),
                sync(),
                extended("select count(*) from extended_t", &[]),
            ]
            .concat(),
        )
        .ready(2)
        .send([bind("", "no such statement", &[]), execute("", 0), sync()].concat())
        .ready(1)
        .send([execute("no such portal", 0), sync()].concat())
        .ready(1)
        .send([describe_statement("no such statement"), sync()].concat())
        .ready(1)
        .send([close_statement("none"), close_portal("none"), sync()].concat())
        .ready(1)
        .extended("select $1::int", &[Some("no number")])
        .extended("select $1::int", &[])
        // The error of a read, seen before the writes behind it are sent.
        .send(
            [
                parse("", "select 1/0"),
                bind("", "", &[]),
                execute("", 0),
                flush(),
            ]
            .concat(),
        )
        .until(b"E")
        .send(
            [
                parse("", "insert into extended_t values (3)"),
                bind("", "", &[]),
                execute("", 0),
                query("insert into extended_t values (4)"),
                sync(),
            ]
            .concat(),
        )
        .ready(1)
        .extended("select count(*) from extended_t", &[]);
    let trace = lab.same(&script);
    assert_eq!(
        errors(&trace),
        [
            "22012", "26000", "34000", "26000", "22P02", "08P01", "22012"
        ]
    );
    assert_eq!(values(&trace), ["0", "0"]);
}

#[test]
fn keeps_the_order_of_pipelined_batches() {
    let Some(lab) = Lab::new("extended::pipelined") else {
        return;
    };
    let mut all = Vec::new();
    for n in 0..20 {
        let n = n.to_string();
        all.extend(extended("select $1::int", &[Some(&n)]));
        all.extend(extended("insert into extended_t values ($1)", &[Some(&n)]));
        all.extend(query("select count(*) from extended_t"));
        all.extend(extended("select 1/$1::int", &[Some("0")]));
    }
    let script = Script::new().setup(TABLE).send(all).ready(80);
    let trace = lab.same(&script);
    let expected: Vec<_> = (0..20)
        .flat_map(|n: i32| [n.to_string(), (n + 1).to_string()])
        .collect();
    assert_eq!(values(&trace), expected);
    assert_eq!(errors(&trace), ["22012"; 20]);
}

#[test]
fn pipelines_prepared_statements_across_places() {
    let Some(lab) = Lab::new("extended::pipelined_named") else {
        return;
    };
    let read = || [bind("", "r", &[]), execute("", 0), sync()].concat();
    let write = || [bind("", "w", &[]), execute("", 0), sync()].concat();
    let script = Script::new()
        .setup(TABLE)
        .send(
            [
                parse("r", "select count(*) from extended_t"),
                sync(),
                parse("w", "insert into extended_t values (1) returning a"),
                sync(),
                read(),
                write(),
                read(),
                query("begin"),
                read(),
                write(),
                read(),
                query("rollback"),
                read(),
                close_statement("r"),
                sync(),
                read(),
                write(),
            ]
            .concat(),
        )
        .ready(14);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["0", "1", "1", "1", "1", "2", "1", "1"]);
    assert_eq!(errors(&trace), ["26000"]);
}

#[test]
fn answers_what_a_flush_asks_for() {
    let Some(lab) = Lab::new("extended::flush") else {
        return;
    };
    let described = |sql| [parse("", sql), describe_statement(""), flush()].concat();
    let script = Script::new()
        .setup(TABLE)
        .send(described("select $1::text"))
        .until(b"T")
        .send([bind("", "", &[Some("x")]), execute("", 0), sync()].concat())
        .ready(1)
        .send(described("insert into extended_t values ($1)"))
        .until(b"n")
        .send([bind("", "", &[Some("1")]), execute("", 0), sync()].concat())
        .ready(1)
        .send([bind("", "", &[Some("2")]), flush()].concat())
        .until(b"2")
        .send([execute("", 0), flush()].concat())
        .until(b"C")
        .send(sync())
        .ready(1)
        .send(
            [
                flush(),
                flush(),
                extended("select count(*) from extended_t", &[]),
            ]
            .concat(),
        )
        .ready(1);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["x", "2"]);
}

#[test]
fn moves_a_batch_that_writes_after_its_flush() {
    let Some(lab) = Lab::new("extended::flush_then_write") else {
        return;
    };
    let one = |sql| [parse("", sql), bind("", "", &[]), execute("", 0)].concat();
    let script = Script::new()
        .setup(TABLE)
        .send([one("select 1"), flush()].concat())
        .until(b"C")
        .send([one("insert into extended_t values (1)"), flush()].concat())
        .until(b"C")
        .send([one("select count(*) from extended_t"), sync()].concat())
        .ready(1)
        .send([one("select 1"), flush()].concat())
        .until(b"C")
        // The batch is one transaction: this error takes the insert along.
        .send(
            [
                one("insert into extended_t values (2)"),
                one("select 1/0"),
                sync(),
            ]
            .concat(),
        )
        .ready(1)
        .query("select count(*) from extended_t");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1", "1", "1", "1"]);
    assert_eq!(errors(&trace), ["22012"]);
}

#[test]
fn answers_an_error_ahead_of_the_sync() {
    let Some(lab) = Lab::new("extended::error_flush") else {
        return;
    };
    // After the error everything is skipped, a second Flush too.
    let script = Script::new()
        .send([parse("", "select no_such_column"), flush()].concat())
        .until(b"E")
        .send([bind("", "", &[]), execute("", 0), flush(), sync()].concat())
        .ready(1)
        .query("select 1");
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["42703"]);
}

#[test]
fn continues_a_portal() {
    let Some(lab) = Lab::new("extended::portal") else {
        return;
    };
    let script = Script::new()
        .send(
            [
                parse("", "select generate_series(1, 5)"),
                bind("", "", &[]),
                execute("", 2),
                execute("", 2),
                execute("", 2),
                sync(),
            ]
            .concat(),
        )
        .ready(1)
        .query("begin")
        .send(
            [
                parse("", "select generate_series(1, 5)"),
                bind("p", "", &[]),
                describe_portal("p"),
                execute("p", 2),
                sync(),
            ]
            .concat(),
        )
        .ready(1)
        .send([execute("p", 2), sync()].concat())
        .ready(1)
        .query("fetch 1 from p")
        .send([close_portal("p"), sync()].concat())
        .ready(1)
        .send([execute("p", 2), sync()].concat())
        .ready(1)
        .query("rollback")
        // Outside a transaction a portal ends with its Sync.
        .send([parse("", "select 1"), bind("q", "", &[]), sync()].concat())
        .ready(1)
        .send([execute("q", 0), sync()].concat())
        .ready(1);
    let trace = lab.same(&script);
    assert_eq!(values(&trace).concat(), "1234512345");
    assert_eq!(tags(&trace).matches('s').count(), 4);
    assert_eq!(errors(&trace), ["34000", "34000"]);
}

#[test]
fn keeps_transactions_of_batches_together() {
    let Some(lab) = Lab::new("extended::transaction") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .extended("begin", &[])
        .extended("select count(*) from extended_t", &[])
        .extended("insert into extended_t values (1)", &[])
        .extended("select count(*) from extended_t", &[])
        .extended("select 1/0", &[])
        .extended("select 1", &[])
        .extended("rollback", &[])
        .extended("select count(*) from extended_t", &[]);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["0", "1", "0"]);
    assert_eq!(errors(&trace), ["22012", "25P02"]);
}

#[test]
fn begins_and_commits_inside_a_batch() {
    let Some(lab) = Lab::new("extended::begin_in_batch") else {
        return;
    };
    let one = |sql| [parse("", sql), bind("", "", &[]), execute("", 0)].concat();
    let script = Script::new()
        .setup(TABLE)
        .send(
            [
                one("begin"),
                one("select count(*) from extended_t"),
                sync(),
                one("insert into extended_t values (1)"),
                one("commit"),
                sync(),
                one("select count(*) from extended_t"),
                sync(),
            ]
            .concat(),
        )
        .ready(3);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["0", "1"]);
}

#[test]
fn mixes_both_protocols() {
    let Some(lab) = Lab::new("extended::mixed") else {
        return;
    };
    // A Query ends an open batch as a Sync would, but for the answer.
    let script = Script::new()
        .setup(TABLE)
        .send(
            [
                parse("", "select 1"),
                bind("", "", &[]),
                execute("", 0),
                query("select 2"),
                parse("", "insert into extended_t values (1)"),
                bind("", "", &[]),
                execute("", 0),
                query("select count(*) from extended_t"),
            ]
            .concat(),
        )
        .ready(2);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1", "2", "1"]);
}
