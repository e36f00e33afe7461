//! COPY in both directions and both protocols.

use crate::support::frame::{errors, tags, values};
use crate::support::lab::{Lab, Script};
use crate::support::message::{
    bind, copy_data, copy_done, copy_fail, execute, extended, flush, parse, query, sync, tagged,
};

const TABLE: &str = "drop table if exists copy_t; create table copy_t (a int)";

fn batch(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", "", &[]), execute("", 0)].concat()
}

#[test]
fn copies_in() {
    let Some(lab) = Lab::new("copy::in") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .send(query("copy copy_t from stdin"))
        .until(b"G")
        // Rows and CopyData need not agree.
        .send(
            [
                copy_data(b"1\n2"),
                copy_data(b"2\n3\n"),
                copy_data(b""),
                copy_done(),
            ]
            .concat(),
        )
        .ready(1)
        .query("select a from copy_t order by a")
        // All at once, and more behind it.
        .send(
            [
                query("copy copy_t from stdin"),
                copy_data(b"4\n"),
                copy_done(),
                query("select count(*) from copy_t"),
            ]
            .concat(),
        )
        .ready(2);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1", "3", "22", "4"]);
}

#[test]
fn copies_in_among_other_statements() {
    let Some(lab) = Lab::new("copy::in_among") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .send(query(
            "select 1; copy copy_t from stdin; select 2; copy copy_t from stdin; select count(*) from copy_t",
        ))
        .until(b"G")
        .send([copy_data(b"1\n"), copy_done()].concat())
        .until(b"G")
        .send([copy_data(b"2\n"), copy_done()].concat())
        .ready(1);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1", "2", "2"]);
}

#[test]
fn other_messages_in_a_copy_in() {
    let Some(lab) = Lab::new("copy::in_disturbed") else {
        return;
    };
    let simple = query("copy copy_t from stdin");
    let extended = extended("copy copy_t from stdin", &[]);
    let ignored = [
        simple.clone(),
        tagged(b'H', b"xx"),
        tagged(b'S', b"xx"),
        copy_done(),
    ]
    .concat();
    for copy in [simple, extended] {
        for other in [parse("", "select 1"), query("select 1"), tagged(b'z', b"")] {
            let script = Script::new()
                .setup(TABLE)
                .send(ignored.clone())
                .ready(1)
                .send([&copy[..], &other, &sync()].concat())
                .closed();
            let trace = lab.same_plain(&script);
            assert_eq!(errors(&trace), ["08P01", "08P01"], "{trace:#?}");
        }
    }
}

#[test]
fn stops_a_copy_in() {
    let Some(lab) = Lab::new("copy::in_failing") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .send(query("copy copy_t from stdin"))
        .until(b"G")
        .send([copy_data(b"1\n"), copy_fail("enough")].concat())
        .ready(1)
        // A bad row: what follows it up to CopyDone is the server's to ignore.
        .send(query("copy copy_t from stdin"))
        .until(b"G")
        .send([copy_data(b"x\n"), copy_data(b"2\n"), copy_done()].concat())
        .ready(1)
        // Refused before it began, with the data on its way.
        .send(
            [
                query("copy copy_no_such_table from stdin"),
                copy_data(b"3\n"),
                copy_done(),
                query("select count(*) from copy_t"),
            ]
            .concat(),
        )
        .ready(2)
        // Any other message ends the copy, and the session with it.
        .send(query("copy copy_t from stdin"))
        .until(b"G")
        .send([copy_data(b"4\n"), query("select 1")].concat())
        .closed();
    let trace = lab.same(&script);
    assert_eq!(
        errors(&trace),
        ["57014", "22P02", "42P01", "08P01", "08P01"]
    );
    assert_eq!(values(&trace), ["0"]);
}

#[test]
fn copies_in_extended() {
    let Some(lab) = Lab::new("copy::in_extended") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .send([batch("copy copy_t from stdin"), flush()].concat())
        .until(b"G")
        .send([copy_data(b"1\n"), copy_done(), sync()].concat())
        .ready(1)
        // The Sync behind Execute falls into the copy, where it means nothing.
        .send([batch("copy copy_t from stdin"), sync()].concat())
        .until(b"G")
        .send([copy_data(b"2\n"), flush(), sync(), copy_done(), sync()].concat())
        .ready(1)
        // The same in one go.
        .send(
            [
                batch("copy copy_t from stdin"),
                sync(),
                copy_data(b"3\n"),
                copy_done(),
                sync(),
                extended("select count(*) from copy_t", &[]),
            ]
            .concat(),
        )
        .ready(2);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["3"]);
}

#[test]
fn stops_a_copy_in_extended() {
    let Some(lab) = Lab::new("copy::in_extended_failing") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .send([batch("copy copy_t from stdin"), flush()].concat())
        .until(b"G")
        .send([copy_data(b"1\n"), copy_fail("enough"), sync()].concat())
        .ready(1)
        .send([batch("copy copy_t from stdin"), flush()].concat())
        .until(b"G")
        .send([copy_data(b"x\n"), copy_data(b"2\n"), copy_done(), sync()].concat())
        .ready(1)
        // Never begun: the first Sync is answered, and so is the one behind the ignored data.
        .send(
            [
                batch("copy copy_no_such_table from stdin"),
                sync(),
                copy_data(b"3\n"),
                copy_done(),
                sync(),
            ]
            .concat(),
        )
        .ready(2)
        .extended("select count(*) from copy_t", &[]);
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["57014", "22P02", "42P01"]);
    assert_eq!(values(&trace), ["0"]);
}

#[test]
fn copies_out() {
    let Some(lab) = Lab::new("copy::out") else {
        return;
    };
    let script = Script::new()
        .setup(
            "drop table if exists copy_t; create table copy_t as select generate_series(1, 1000) a",
        )
        .query("copy copy_t to stdout")
        .query("copy (select a, repeat('x', a) from copy_t) to stdout (format binary)")
        .query("copy (select 1) to stdout; copy (select 2) to stdout; select 3")
        .query("copy (delete from copy_t where a > 10 returning a) to stdout")
        .query("copy copy_t to stdout (format csv, header)")
        .extended("copy copy_t to stdout", &[])
        .query("copy copy_no_such_table to stdout")
        // Fails when rows have gone out already.
        .query("copy (select 10 / (5 - a) from copy_t order by a) to stdout")
        .send(
            [
                query("copy copy_t to stdout"),
                query("copy copy_t to stdout"),
            ]
            .concat(),
        )
        .ready(2);
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["42P01", "22012"]);
    assert_eq!(tags(&trace).matches('c').count(), 9);
}

#[test]
fn copies_much_in_both_directions() {
    let Some(lab) = Lab::new("copy::much") else {
        return;
    };
    let row = format!("{}\n", "7".repeat(8)).into_bytes();
    let chunk = copy_data(&row.repeat(5000));
    let mut all = query("copy copy_t from stdin");
    for _ in 0..50 {
        all.extend_from_slice(&chunk);
    }
    all.extend(copy_done());
    let script = Script::new()
        .setup(TABLE)
        .send(all)
        .ready(1)
        .query("copy copy_t to stdout");
    let trace = lab.same_plain(&script);
    assert_eq!(tags(&trace).matches('d').count(), 250_000);
}
