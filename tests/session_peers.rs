//! Failures that users of other proxies met, each as the conversation that led to it. `tests/data/failures.txt` has the list.

mod session_support;

use pgturnout::route::{Hint, Intent, Route, RouteContext, Split, Target, hint};
use pgturnout::session::{Event, PeerId, RouteReason};
use session_support::frames::raw;
use session_support::{Rig, config, each, each_routed};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// The client says something, which arrives at an upstream as it is, and has its answer as that gives it.
#[track_caller]
fn passes(rig: &mut Rig, peer: PeerId, says: &str, answer: &str) {
    rig.client(says);
    rig.see(peer, says);
    rig.say(peer, answer);
    rig.see(CLIENT, answer);
}

/// The next read runs on the reader, behind settings that it is told first.
#[track_caller]
fn reads_behind(rig: &mut Rig, restored: &[&str]) {
    rig.client("Q(select 1)");
    for text in restored {
        rig.see(READER, &format!("Q({text})"));
        rig.reader("C(SET) Z(I)");
    }
    rig.see(READER, "Q(select 1)");
    rig.reader(ROW);
    rig.see(CLIENT, ROW);
}

/// Frameworks wrap every read in a transaction, which belongs to the writer: it is said, so that it can be counted.
#[test]
fn a_transaction_that_only_reads_says_what_keeps_it() {
    each(config, |rig| {
        rig.both();
        passes(rig, WRITER, "Q(begin)", "C(BEGIN) Z(T)");
        rig.events.clear();
        passes(rig, WRITER, "Q(select 1)", "T D(1) C(SELECT 1) Z(T)");
        assert!(rig.has_event(|event| matches!(
            event,
            Event::Routed {
                reason: RouteReason::Transaction,
                ..
            }
        )));
    });
}

/// The setting of one transaction, by whatever name, is nothing that the next one has.
#[test]
fn what_a_transaction_is_like_ends_with_it() {
    for text in [
        "set transaction_read_only = 0",
        "set transaction_read_only to off",
        "set local transaction_read_only = off",
        "set transaction_isolation = 'serializable'",
        "set transaction_deferrable = on",
        "set transaction isolation level serializable",
        "set transaction read only",
        "set transaction read write, isolation level repeatable read, not deferrable",
        "set local transaction isolation level repeatable read",
    ] {
        each(config, |rig| {
            rig.both();
            passes(rig, WRITER, "Q(begin)", "C(BEGIN) Z(T)");
            passes(rig, WRITER, &format!("Q({text})"), "C(SET) Z(T)");
            passes(rig, WRITER, "Q(select 1)", "T D(1) C(SELECT 1) Z(T)");
            passes(rig, WRITER, "Q(commit)", "C(COMMIT) Z(I)");
            reads_behind(rig, &[]);
        });
    }
}

/// What was learnt of a text holds for the text: a name in it may mean another table by now.
#[test]
fn a_temporary_table_takes_the_name_of_one_that_was_read_elsewhere() {
    each(config, |rig| {
        rig.both();
        let read = "Q(select * from t1)";
        passes(rig, READER, read, ROW);
        passes(rig, READER, read, ROW);
        passes(rig, WRITER, "Q(drop table t1)", "C(DROP TABLE) Z(I)");
        let create = "Q(create temp table t1(id1 int,id2 int))";
        passes(rig, WRITER, create, "C(CREATE TABLE) Z(I)");
        passes(rig, WRITER, read, ROW);
    });
}

/// RESET ROLE behind SET LOCAL ROLE is for the session, as any RESET.
#[test]
fn a_reset_behind_a_local_role_outlives_the_transaction() {
    each(config, |rig| {
        rig.both();
        passes(rig, WRITER, "Q(set role a)", "C(SET) Z(I)");
        reads_behind(rig, &["set role a"]);
        passes(rig, WRITER, "Q(begin)", "C(BEGIN) Z(T)");
        passes(rig, WRITER, "Q(set local role b)", "C(SET) Z(T)");
        passes(rig, WRITER, "Q(reset role)", "C(RESET) Z(T)");
        passes(rig, WRITER, "Q(commit)", "C(COMMIT) Z(I)");
        reads_behind(rig, &["reset role"]);
    });
}

/// The server says so when the client asks, not when something else is asked of it.
#[test]
fn a_bad_value_is_refused_where_it_is_set() {
    each(config, |rig| {
        rig.both();
        passes(
            rig,
            READER,
            "P(,select $1) B(,) E S",
            "1 2 C(SELECT 0) Z(I)",
        );
        passes(rig, WRITER, "Q(set lock_timeout to sdfs)", "E(22023) Z(I)");
        reads_behind(rig, &[]);
        passes(
            rig,
            READER,
            "P(,select $1) B(,) E S",
            "1 2 C(SELECT 0) Z(I)",
        );
    });
}

/// A batch is one transaction: a Sync of ours in it would end that, and drop the table.
#[test]
fn no_sync_of_ours_divides_what_the_writer_runs() {
    let create = "P(,create temp table x (a int) on commit drop) B(,) E";
    let read = "P(,select * from x) B(,) E S";
    each(config, |rig| {
        rig.both();
        let whole = format!("{create} {read}");
        let answer = "1 2 C(CREATE TABLE) 1 2 C(SELECT 0) Z(I)";
        passes(rig, WRITER, &whole, answer);
        let flushed = format!("{create} H");
        passes(rig, WRITER, &flushed, "1 2 C(CREATE TABLE)");
        passes(rig, WRITER, read, "1 2 C(SELECT 0) Z(I)");
        rig.see(READER, "");
    });
}

/// The server reports every changed parameter ahead of the ReadyForQuery.
#[test]
fn several_parameters_may_change_in_one_batch() {
    each(config, |rig| {
        rig.both();
        passes(
            rig,
            WRITER,
            "P(,set application_name = 'x') B(,) E P(,set datestyle = 'sql') B(,) E P(,select 1) B(,) E S",
            "1 2 C(SET) 1 2 C(SET) 1 2 D(1) C(SELECT 1) S(application_name,x) S(DateStyle,SQL, MDY) Z(I)",
        );
        rig.client("P(,select 1) B(,) E S");
        rig.reader("C(SET) S(application_name,x) Z(I)");
        rig.reader("C(SET) S(DateStyle,SQL, MDY) Z(I)");
        rig.see(
            READER,
            "Q(set application_name = 'x') Q(set datestyle = 'sql') P(,select 1) B(,) E S",
        );
        rig.reader("1 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "1 2 D(1) C(SELECT 1) Z(I)");
    });
}

/// An error may come with the Sync, behind a CommandComplete (a constraint that is deferred) or behind nothing but a Parse,
/// and it may not be the only one.
#[test]
fn errors_come_where_and_as_often_as_the_server_says() {
    let write = "P(,insert into t values (1)) B(,) E S";
    for (says, answer) in [
        (write, "1 2 C(INSERT 0 1) E(23505) Z(I)"),
        (write, "1 2 E(57014) E(23505) Z(I)"),
        ("P(w,insert into t values (1)) S", "1 E(40001) Z(I)"),
        ("Q(insert into t values (1))", "E(57014) E(23505) Z(I)"),
    ] {
        each(config, |rig| {
            rig.both();
            passes(rig, WRITER, says, answer);
            reads_behind(rig, &[]);
        });
    }
}

/// A driver that asks for the types first has two batches to one statement, in a transaction as elsewhere.
#[test]
fn a_statement_of_two_batches_in_a_transaction() {
    each(config, |rig| {
        rig.both();
        passes(rig, WRITER, "Q(BEGIN)", "C(BEGIN) Z(T)");
        passes(rig, WRITER, "P(,SELECT $1::int) DS S", "1 t T Z(T)");
        passes(rig, WRITER, "B(,) E S", "2 D(1) C(SELECT 1) Z(T)");
        passes(rig, WRITER, "Q(ROLLBACK)", "C(ROLLBACK) Z(I)");
        passes(rig, READER, "P(,SELECT $1::int) DS S", "1 t T Z(I)");
        passes(rig, READER, "B(,) E S", "2 D(1) C(SELECT 1) Z(I)");
    });
}

/// A server in the middle of an error and its ReadyForQuery is asked for the next thing.
#[test]
fn a_flush_that_comes_ahead_of_the_ready_of_an_error() {
    each(config, |rig| {
        rig.both();
        passes(rig, READER, "P(s,select $1) S", "1 Z(I)");
        passes(rig, READER, "B(,s) E S", "E(22P02)");
        rig.client("P(,select 2) DS H");
        rig.reader("Z(I)");
        rig.see(READER, "P(,select 2) DS H");
        rig.reader("1 t T");
        rig.see(CLIENT, "Z(I) 1 t T");
        passes(rig, READER, "B(,) E S", "2 D(2) C(SELECT 1) Z(I)");
    });
}

/// The count is unsigned: all of them null, that is a message longer than the buffer.
#[test]
fn a_bind_has_as_many_parameters_as_there_can_be() {
    each(config, |rig| {
        rig.both();
        passes(rig, READER, "P(s,select 1) S", "1 Z(I)");
        let mut body = b"\0s\0\0\0\xff\xff".to_vec();
        body.resize(body.len() + 4 * 65_535, 0xff);
        body.extend(b"\0\0");
        let bind = raw(b'B', &body);
        rig.raw(CLIENT, &bind);
        rig.client("E S");
        let got = rig.take(WRITER);
        let mut expected = session_support::frames::frontend("P(s,select 1)");
        expected.extend(&bind);
        expected.extend(session_support::frames::frontend("E S"));
        assert!(got == expected, "{} bytes", got.len());
        rig.writer("1 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
        reads_behind(rig, &[]);
    });
}

#[test]
fn a_row_without_columns_passes() {
    each(config, |rig| {
        rig.both();
        for (peer, says) in [(READER, "Q(select)"), (WRITER, "Q(table t for update)")] {
            rig.client(says);
            rig.see(peer, says);
            let mut answer = raw(b'T', b"\0\0");
            answer.extend(raw(b'D', b"\0\0"));
            answer.extend(session_support::frames::backend("C(SELECT 1) Z(I)"));
            rig.raw(peer, &answer);
            assert_eq!(rig.take(CLIENT), answer);
        }
    });
}

/// Drivers that ping with an empty text do so by the extended protocol as well.
#[test]
fn an_empty_text_may_be_parsed() {
    each(config, |rig| {
        rig.both();
        for says in ["P(,) DS B(,) DP E S", "P(e,;) B(,e) E S", "B(,e) E S"] {
            let answer = match says.len() {
                19 => "1 t n 2 n I Z(I)",
                16 => "1 2 I Z(I)",
                _ => "2 I Z(I)",
            };
            passes(rig, READER, says, answer);
        }
    });
}

/// Fields that nobody here reads are the client's all the same.
#[test]
fn every_field_of_an_error_passes() {
    each(config, |rig| {
        rig.both();
        let error = raw(
            b'E',
            b"SERROR\0VERROR\0C22P04\0Mextra data\0Dd\0Hh\0P1\0p2\0qselect\0WCOPY t, line 1\0ss\0tt\0cc\0dd\0nn\0Ff\0L1\0Rr\0?unknown\0\0",
        );
        for (peer, says) in [(WRITER, "Q(copy t from stdin)"), (READER, "Q(select 1)")] {
            rig.client(says);
            rig.see(peer, says);
            rig.raw(peer, &error);
            rig.say(peer, "Z(I)");
            let mut answer = error.clone();
            answer.extend(raw(b'Z', b"I"));
            assert_eq!(rig.take(CLIENT), answer);
        }
    });
}

/// As a driver sends it that has no other protocol.
#[test]
fn discard_all_by_the_extended_protocol() {
    each(config, |rig| {
        rig.both();
        passes(rig, READER, "P(s,select 1) S", "1 Z(I)");
        passes(
            rig,
            WRITER,
            "Q(create temp table t (a int))",
            "C(CREATE TABLE) Z(I)",
        );
        passes(rig, WRITER, "Q(select 1)", ROW);
        let discard = "P(,discard all) B(,) E S";
        passes(rig, WRITER, discard, "1 2 C(DISCARD ALL) Z(I)");
        rig.client("P(s,select 2) B(,s) E S");
        rig.see(READER, "Q(DISCARD ALL)");
        rig.reader("C(DISCARD ALL) Z(I)");
        rig.see(READER, "CS(s) P(s,select 2) B(,s) E S");
        rig.reader("3 1 2 D(2) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "1 2 D(2) C(SELECT 1) Z(I)");
    });
}

/// The writer, unless a text that reads asks for a reader.
#[derive(Clone, Copy)]
struct OptIn;

impl Route for OptIn {
    fn route(&mut self, intent: &Intent, cx: &RouteContext<'_>) -> Target {
        match cx.text.and_then(hint) {
            Some(Hint::Reader) => Split.route(intent, cx),
            Some(Hint::Writer) | None => Target::Writer,
        }
    }
}

/// A policy of the caller's sees the text of a request that has one, however it is sent.
#[test]
fn reads_may_stay_with_the_writer_until_they_ask_for_a_reader() {
    each_routed(config, OptIn, |rig| {
        rig.logged_in();
        let asks = "/* pgturnout: reader */";
        rig.client(&format!("Q(select 1) Q({asks} select 1)"));
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.reader_in();
        rig.see(READER, &format!("Q({asks} select 1)"));
        rig.reader(ROW);
        rig.see(CLIENT, &format!("{ROW} {ROW}"));
        let mut goes = |peer: PeerId, says: &str, answer: &str| {
            rig.client(says);
            rig.see(peer, says);
            rig.say(peer, answer);
            rig.see(CLIENT, answer);
        };
        goes(
            WRITER,
            &format!("Q({asks} delete from t)"),
            "C(DELETE 0) Z(I)",
        );
        goes(READER, &format!("P(s,{asks} select 1) S"), "1 Z(I)");
        goes(WRITER, "P(w,select 1) S", "1 Z(I)");
        goes(READER, "DS(s) B(,s) E S", "t T 2 D(1) C(SELECT 1) Z(I)");
        goes(WRITER, "B(,w) E S", "2 D(1) C(SELECT 1) Z(I)");
        // One batch is one request, and of several texts none is its text.
        let two = format!("P(,{asks} select 1) B(,) E P(,{asks} select 2) B(,) E S");
        goes(
            WRITER,
            &two,
            "1 2 D(1) C(SELECT 1) 1 2 D(2) C(SELECT 1) Z(I)",
        );
    });
}
