//! READ ONLY transactions on the reader (R5), and what takes them to the writer.

mod session_support;

use std::time::Duration;

use pgturnout::limits;
use pgturnout::route::{Class, Target, Why};
use pgturnout::session::{
    Activity, CloseCause, Config, Destination, Event, MoveOrder, MoveTarget, Moves, Optimistic,
    PeerId, ReadOnlyTransactions, ReadYourWrites, RouteReason, Timer,
};
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(T)";

fn reading() -> Config {
    let mut config = config();
    config.read_only_transactions = ReadOnlyTransactions::Reader;
    config
}

fn optimistic() -> Config {
    let mut config = reading();
    config.optimistic = Optimistic::On;
    config
}

/// A request is sent to an upstream alone, and answered.
#[track_caller]
fn runs(rig: &mut Rig, request: &str, on: PeerId, answer: &str) {
    rig.client(request);
    arrives(rig, request, on, answer);
}

#[track_caller]
fn arrives(rig: &mut Rig, request: &str, on: PeerId, answer: &str) {
    let other = if on == READER { WRITER } else { READER };
    rig.see(other, "");
    rig.see(on, request);
    rig.say(on, answer);
    rig.see(CLIENT, answer);
}

#[track_caller]
fn begun(rig: &mut Rig) {
    rig.both();
    runs(rig, "Q(begin read only)", READER, "C(BEGIN) Z(T)");
}

/// The client sets its default, and the reader is told of it before it serves again.
#[track_caller]
fn by_default(rig: &mut Rig, text: &str, reported: &str) {
    rig.both();
    let answer = format!("S(default_transaction_read_only,{reported}) C(SET) Z(I)");
    runs(rig, &format!("Q({text})"), WRITER, &answer);
    rig.client("Q(select 1)");
    rig.see(READER, &format!("Q({text})"));
    rig.reader(&answer);
    arrives(rig, "Q(select 1)", READER, "T D(1) C(SELECT 1) Z(I)");
}

/// What a BEGIN does not say is as the writer reports it.
#[test]
fn a_transaction_that_is_read_only_by_default_runs_on_the_reader() {
    for text in [
        "set default_transaction_read_only = on",
        "set session characteristics as transaction read only",
    ] {
        each(reading, |rig| {
            by_default(rig, text, "on");
            runs(rig, "Q(begin)", READER, "C(BEGIN) Z(T)");
            runs(rig, "Q(select 1)", READER, ROW);
            runs(rig, "Q(commit)", READER, "C(COMMIT) Z(I)");
            // It is begun again as what it is.
            runs(
                rig,
                "Q(start transaction)",
                READER,
                "C(START TRANSACTION) Z(T)",
            );
            rig.client("Q(delete from t)");
            let answer = "E(25006) Z(E)";
            moves(rig, "Q(begin read only)", "Q(delete from t)", answer);
            runs(rig, "Q(rollback)", WRITER, "C(ROLLBACK) Z(I)");
            // What says otherwise is the writer's.
            runs(rig, "Q(begin read write)", WRITER, "C(BEGIN) Z(T)");
            runs(rig, "Q(select 1)", WRITER, ROW);
            runs(rig, "Q(commit)", WRITER, "C(COMMIT) Z(I)");
        });
        // Without the option its reads are still the reader's.
        each(config, |rig| {
            by_default(rig, text, "on");
            runs(rig, "Q(begin)", WRITER, "C(BEGIN) Z(T)");
        });
    }
    each(reading, |rig| {
        by_default(rig, "set default_transaction_read_only = off", "off");
        runs(rig, "Q(begin)", WRITER, "C(BEGIN) Z(T)");
    });
}

#[track_caller]
fn has_read(rig: &mut Rig) {
    begun(rig);
    runs(rig, "Q(select 1)", READER, ROW);
}

#[track_caller]
fn is_over(rig: &mut Rig) {
    rig.silence();
    runs(rig, "Q(delete from t)", WRITER, "C(DELETE 0) Z(I)");
    runs(rig, "Q(select 1)", READER, "T D(1) C(SELECT 1) Z(I)");
}

/// The transaction is begun again on the writer, where the request that is in the way runs.
#[track_caller]
fn moves(rig: &mut Rig, again: &str, request: &str, answer: &str) {
    rig.see(CLIENT, "");
    if rig.is_open(READER) {
        rig.see(READER, "Q(rollback)");
        rig.reader("C(ROLLBACK) Z(I)");
    }
    rig.see(WRITER, again);
    for _ in again.split(") ") {
        rig.see(WRITER, "");
        rig.writer("C(BEGIN) Z(T)");
    }
    rig.see(WRITER, request);
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

/// The server with the transaction is sent what it refuses, and the client is told this instead.
#[track_caller]
fn is_refused(rig: &mut Rig, on: PeerId, stand_in: &str, state: &str) {
    let other = if on == READER { WRITER } else { READER };
    if rig.is_open(other) {
        rig.see(other, "");
    }
    let shown = rig.shown(on);
    assert!(shown.starts_with(stand_in), "{shown}");
    rig.say(on, "E(42601) Z(E)");
    rig.see(CLIENT, &format!("E({state}) Z(E)"));
}

#[test]
fn a_transaction_runs_on_the_reader_from_its_begin_to_its_end() {
    each(reading, |rig| {
        for (begin, tag) in [
            ("begin read only", "BEGIN"),
            (
                "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                "START TRANSACTION",
            ),
        ] {
            if rig.is_open(READER) {
                rig.see(READER, "");
            } else {
                rig.both();
            }
            runs(
                rig,
                &format!("Q({begin})"),
                READER,
                &format!("C({tag}) Z(T)"),
            );
            assert_eq!(rig.session.activity(), Activity::InTransaction);
            runs(rig, "Q(select 1)", READER, ROW);
            runs(
                rig,
                "P(s,select 2) B(,s) E S",
                READER,
                "1 2 D(2) C(SELECT 1) Z(T)",
            );
            runs(
                rig,
                "Q(copy t to stdout)",
                READER,
                "H d(1) c C(COPY 1) Z(T)",
            );
            runs(rig, "Q(savepoint a)", READER, "C(SAVEPOINT) Z(T)");
            runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
            assert_eq!(rig.session.activity(), Activity::InFailedTransaction);
            runs(rig, "Q(select 1)", READER, "E(25P02) Z(E)");
            runs(rig, "Q(rollback to a)", READER, "C(ROLLBACK) Z(T)");
            runs(rig, "Q(set local work_mem = 100)", READER, "C(SET) Z(T)");
            runs(rig, "Q(commit)", READER, "C(COMMIT) Z(I)");
            is_over(rig);
        }
    });
}

#[test]
fn it_runs_on_the_writer_unless_it_is_asked_for() {
    each(config, |rig| {
        rig.both();
        runs(rig, "Q(begin read only)", WRITER, "C(BEGIN) Z(T)");
        runs(rig, "Q(select 1)", WRITER, ROW);
    });
    for begin in [
        "begin",
        "begin read only isolation level serializable",
        "begin read write",
    ] {
        each(reading, |rig| {
            rig.both();
            runs(rig, &format!("Q({begin})"), WRITER, "C(BEGIN) Z(T)");
            runs(rig, "Q(select 1)", WRITER, ROW);
            runs(rig, "Q(set transaction read only)", WRITER, "C(SET) Z(T)");
            runs(rig, "Q(select 1)", WRITER, ROW);
        });
    }
}

#[test]
fn one_text_or_one_batch_may_be_all_of_it() {
    for (request, answer) in [
        (
            "Q(begin read only; select 1; commit)",
            "C(BEGIN) T D(1) C(SELECT 1) C(COMMIT) Z(I)",
        ),
        (
            "P(,begin read only) B(,) E P(,select 1) B(,) DP E P(,commit) B(,) E S",
            "1 2 C(BEGIN) 1 2 T D(1) C(SELECT 1) 1 2 C(COMMIT) Z(I)",
        ),
    ] {
        each(reading, |rig| {
            rig.both();
            rig.client(request);
            rig.see(WRITER, "");
            rig.see(READER, request);
            rig.reader(answer);
            rig.see(CLIENT, answer);
            is_over(rig);
        });
    }
    each(reading, |rig| {
        rig.both();
        runs(
            rig,
            "P(,begin read only) B(,) E P(,select 1) B(,) E S",
            READER,
            "1 2 C(BEGIN) 1 2 D(1) C(SELECT 1) Z(T)",
        );
        runs(rig, "P(,select 1) H", READER, "1");
        runs(rig, "B(,) E S", READER, "2 D(1) C(SELECT 1) Z(T)");
        runs(rig, "Q(rollback)", READER, "C(ROLLBACK) Z(I)");
        is_over(rig);
    });
    // What has no place there takes all of it to the writer.
    for request in [
        "Q(begin read only; select pg_backend_pid(); commit)",
        "Q(begin read only; savepoint a; select 1)",
        "Q(begin read only; commit; delete from t)",
        "P(,begin read only) B(,) E P(,listen a) B(,) E S",
        "P(,begin read only) B(,) E P(,commit) B(,) E P(,select 1) B(,) E S",
        "P(,begin read only) B(,) E H",
    ] {
        each(reading, |rig| {
            rig.both();
            rig.client(request);
            rig.see(READER, "");
            rig.see(WRITER, request);
        });
    }
}

/// With what a server ends the first statement of a request.
fn tag_of(request: &str) -> &'static str {
    let starts =
        |word: &str| request.contains(&format!("({word}")) || request.contains(&format!(",{word}"));
    let tags = [
        ("set ", "SET"),
        ("show ", "SHOW"),
        ("savepoint ", "SAVEPOINT"),
        ("prepare transaction ", "PREPARE TRANSACTION"),
        ("begin", "BEGIN"),
        ("commit", "COMMIT"),
    ];
    let known = tags.iter().find(|(word, _)| starts(word));
    known.map_or("X", |(_, tag)| tag)
}

#[test]
fn what_has_no_place_there_takes_it_to_the_writer_before_it_has_read() {
    for request in [
        "Q(set transaction read write)",
        "Q(set transaction_read_only = off)",
        "Q(set transaction isolation level serializable)",
        "Q(insert into t values (1))",
        "Q(select nextval('s'))",
        "Q(select pg_advisory_lock(1))",
        "Q(select app.f())",
        "Q(select pg_backend_pid())",
        "Q(listen a)",
        "Q(declare c cursor for select 1)",
        "Q(savepoint a)",
        "Q(prepare transaction 'a')",
        "Q(set timezone = 'UTC')",
        "Q(set local timezone = 'UTC')",
        "Q(begin read write)",
        "Q(commit; delete from t)",
        "P(,show transaction_read_only) B(,) E S",
        "P(,set transaction read write) B(,) E S",
        "P(,set local work_mem = 100) B(,) E S",
        "P(,show timezone) H",
        "P(,show timezone) B(p,) E(p) S",
    ] {
        each(reading, |rig| {
            begun(rig);
            rig.client(request);
            let answer = match request.chars().next_back() {
                Some('H') => "1".to_owned(),
                Some('S') => "1 2 C(X) Z(T)".replace('X', tag_of(request)),
                _ => "C(X) Z(T)".replace('X', tag_of(request)),
            };
            let answer = answer.as_str();
            moves(rig, "Q(begin read only)", request, answer);
            if answer == "1" {
                runs(rig, "S", WRITER, "Z(T)");
            }
            runs(rig, "Q(select 1)", WRITER, ROW);
            runs(rig, "Q(rollback)", WRITER, "C(ROLLBACK) Z(I)");
            is_over(rig);
        });
    }
}

/// What only shows a setting reads nothing.
#[test]
fn its_modes_and_settings_go_with_it() {
    each(reading, |rig| {
        begun(rig);
        runs(rig, "Q(show timezone)", READER, "T D(UTC) C(SHOW) Z(T)");
        runs(rig, "Q(set local work_mem = 100)", READER, "C(SET) Z(T)");
        runs(
            rig,
            "Q(set transaction isolation level repeatable read, not deferrable)",
            READER,
            "C(SET) Z(T)",
        );
        runs(
            rig,
            "Q(set local enable_seqscan = off)",
            READER,
            "C(SET) Z(T)",
        );
        rig.client("Q(select pg_backend_pid())");
        moves(
            rig,
            "Q(begin isolation level repeatable read read only not deferrable) \
             Q(set local work_mem = 100) Q(set local enable_seqscan = off)",
            "Q(select pg_backend_pid())",
            ROW,
        );
    });
}

#[test]
fn its_settings_are_bounded() {
    let held = limits::READ_ONLY_SETTINGS * limits::READ_ONLY_HELD;
    assert_eq!(
        reading().memory_bound() - config().memory_bound(),
        limits::READ_ONLY_SETTING_BYTES + held
    );
    let setting = |len: usize| format!("set local work_mem = {:>1$}", 64, len - 21);
    let most = limits::READ_ONLY_SETTINGS;
    let bytes = limits::READ_ONLY_SETTING_BYTES;
    for (count, len) in [(most, 30), (4, bytes / 4)] {
        each(reading, |rig| {
            begun(rig);
            for _ in 0..count {
                let request = format!("Q({})", setting(len));
                runs(rig, &request, READER, "C(SET) Z(T)");
            }
            let again = vec![format!("Q({})", setting(len)); count].join(" ");
            let one_more = format!("Q({})", setting(30));
            rig.client(&one_more);
            rig.see(READER, "Q(rollback)");
            rig.see(WRITER, &format!("Q(begin read only) {again}"));
        });
    }
}

#[test]
fn what_has_no_place_there_is_refused_after_it_has_read() {
    for (request, stand_in, state) in [
        ("Q(select app.f())", "Q(", "0A000"),
        ("Q(select pg_advisory_lock(1))", "Q(", "0A000"),
        ("Q(set timezone = 'UTC')", "Q(", "0A000"),
        ("Q(listen a)", "Q(", "0A000"),
        ("Q(prepare transaction 'a')", "Q(", "0A000"),
        ("Q(declare c cursor for select 1)", "Q(", "0A000"),
        ("Q(insert into t values (1))", "Q(", "25006"),
        ("Q(copy t from stdin)", "Q(", "25006"),
        ("Q(select nextval('s'))", "Q(", "25006"),
    ] {
        each(reading, |rig| {
            has_read(rig);
            rig.client(request);
            is_refused(rig, READER, stand_in, state);
            runs(rig, "Q(insert into t values (1))", READER, "E(25P02) Z(E)");
            runs(rig, "Q(commit)", READER, "C(ROLLBACK) Z(I)");
            is_over(rig);
        });
    }
    for (batch, state) in [
        ("P(,select app.f()) B(,) E S", "0A000"),
        ("DS(unknown) P(,select 1) B(,) E S", "0A000"),
        ("B(,unknown) E S", "0A000"),
        ("P(,delete from t) B(,) E S", "25006"),
    ] {
        each(reading, |rig| {
            has_read(rig);
            rig.client(batch);
            rig.see(WRITER, "");
            assert!(!rig.shown(READER).contains("select app"));
            rig.reader("E(26000) Z(E)");
            rig.see(CLIENT, &format!("E({state}) Z(E)"));
            runs(rig, "P(,rollback) B(,) E S", READER, "1 2 C(ROLLBACK) Z(I)");
            is_over(rig);
        });
    }
}

/// Before any query the writer decides about it; behind one every server says the same.
#[test]
fn promotion_is_answered_as_by_one_server() {
    for text in [
        "set transaction read write",
        "begin read write",
        "set transaction_read_only = off",
    ] {
        each(reading, |rig| {
            has_read(rig);
            runs(rig, &format!("Q({text})"), READER, "E(25001) Z(E)");
        });
    }
    each(reading, |rig| {
        begun(rig);
        rig.client("Q(set transaction read write) Q(insert into t values (1)) Q(commit)");
        rig.see(READER, "Q(rollback)");
        rig.see(WRITER, "Q(begin read only)");
        rig.writer("C(BEGIN) Z(T)");
        rig.see(
            WRITER,
            "Q(set transaction read write) Q(insert into t values (1)) Q(commit)",
        );
        rig.writer("C(SET) Z(T) C(INSERT 0 1) Z(T) C(COMMIT) Z(I)");
        rig.see(CLIENT, "C(SET) Z(T) C(INSERT 0 1) Z(T) C(COMMIT) Z(I)");
        rig.reader("C(ROLLBACK) Z(I)");
        rig.silence();
    });
}

#[test]
fn the_next_one_of_a_chain_is_a_new_one() {
    each(reading, |rig| {
        begun(rig);
        // That ends with the transaction that it is local to.
        runs(rig, "Q(set local work_mem = 100)", READER, "C(SET) Z(T)");
        runs(rig, "Q(select 1)", READER, ROW);
        runs(rig, "Q(commit and chain)", READER, "C(COMMIT) Z(T)");
        rig.client("Q(set transaction read write)");
        moves(
            rig,
            "Q(begin read only) Q(commit and chain)",
            "Q(set transaction read write)",
            "C(SET) Z(T)",
        );
    });
    each(reading, |rig| {
        has_read(rig);
        runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
        runs(rig, "Q(rollback and chain)", READER, "C(ROLLBACK) Z(T)");
        // Behind a failed one it has the modes of the session: it may write.
        rig.client("Q(select 1)");
        moves(rig, "Q(begin)", "Q(select 1)", ROW);
        runs(rig, "Q(listen a)", WRITER, "C(LISTEN) Z(T)");
    });
    each(reading, |rig| {
        begun(rig);
        runs(rig, "Q(commit and chain)", READER, "C(COMMIT) Z(T)");
        runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
        runs(rig, "Q(rollback and chain)", READER, "C(ROLLBACK) Z(T)");
        // What failed was read only from its beginning, and so is what is behind it.
        rig.client("Q(savepoint a)");
        moves(
            rig,
            "Q(begin read only) Q(commit and chain)",
            "Q(savepoint a)",
            "C(SAVEPOINT) Z(T)",
        );
    });
}

/// A name that a portal of before had means nothing of it.
#[test]
fn the_portals_of_a_transaction_end_with_it() {
    each(reading, |rig| {
        rig.both();
        runs(rig, "P(l,lock t) S", WRITER, "1 Z(I)");
        runs(rig, "Q(begin read only)", READER, "C(BEGIN) Z(T)");
        let read = "P(r,select 1) B(p,r) E(p) S";
        runs(rig, read, READER, "1 2 D(1) C(SELECT 1) Z(T)");
        runs(rig, "Q(commit and chain)", READER, "C(COMMIT) Z(T)");
        let batch = "B(p,r) B(q,r) E(p) B(o,l) E(o) S";
        rig.client(batch);
        rig.see(WRITER, "Q(begin read only) Q(commit and chain)");
        rig.writer("C(BEGIN) Z(T) C(COMMIT) Z(T)");
        rig.see(WRITER, &format!("P(r,select 1) {batch}"));
        rig.see(READER, "Q(rollback)");
        rig.writer("1 2 2 D(1) C(SELECT 1) 2 C(LOCK TABLE) Z(T)");
        rig.see(CLIENT, "2 2 D(1) C(SELECT 1) 2 C(LOCK TABLE) Z(T)");
    });
}

/// What a lost reader would have told at a Sync is what it has answered before, not what it told last.
#[test]
fn a_lost_reader_has_begun_or_ended_what_it_has_answered() {
    each(reading, |rig| {
        rig.both();
        rig.client("P(,begin read only) B(,) E S");
        rig.take(READER);
        rig.reader("1 2 C(BEGIN)");
        rig.eof(READER);
        rig.see(WRITER, "Q(begin read only)");
        rig.writer("C(BEGIN) Z(T)");
        rig.see(CLIENT, "1 2 C(BEGIN) Z(T)");
    });
    each(reading, |rig| {
        begun(rig);
        rig.client("P(,commit) B(,) E S");
        rig.take(READER);
        rig.reader("1 2 C(COMMIT)");
        rig.eof(READER);
        rig.see(CLIENT, "1 2 C(COMMIT) Z(I)");
        rig.see(WRITER, "");
    });
}

/// A driver runs its BEGIN and its savepoints by the unnamed portal: behind a failure these say nothing of a cursor by another name.
#[test]
fn a_portal_outlives_a_failure_behind_a_savepoint() {
    each(reading, |rig| {
        rig.both();
        runs(
            rig,
            "P(,begin read only) B(,) E S",
            READER,
            "1 2 C(BEGIN) Z(T)",
        );
        let opens = "P(r,select 1) B(p,r) E(p,1) S";
        runs(rig, opens, READER, "1 2 D(1) s Z(T)");
        let savepoint = "P(,savepoint a) B(,) E S";
        runs(rig, savepoint, READER, "1 2 C(SAVEPOINT) Z(T)");
        runs(rig, "P(,select 1/0) B(,) E S", READER, "1 2 E(22012) Z(E)");
        let back = "P(,rollback to a) B(,) E S";
        runs(rig, back, READER, "1 2 C(ROLLBACK) Z(T)");
        runs(rig, "E(p,1) S", READER, "D(1) s Z(T)");
        runs(rig, "E(p,1) CP(p) S", READER, "C(SELECT 0) 3 Z(T)");
        runs(rig, "Q(commit)", READER, "C(COMMIT) Z(I)");
        assert_eq!(rig.session.pins().count(), 0);
    });
}

/// What fails under a savepoint takes nothing of the whole transaction with it.
#[test]
fn a_chain_behind_what_failed_under_a_savepoint_keeps_its_modes() {
    let delete = "Q(delete from t)";
    for [savepoints, again] in [
        ["Q(savepoint a)", "Q(begin read only) Q(commit and chain)"],
        [
            "Q(savepoint a) Q(savepoint b) Q(release b)",
            "Q(begin read only) Q(commit and chain)",
        ],
        ["Q(savepoint a) Q(release a)", "Q(begin)"],
    ] {
        each(reading, |rig| {
            has_read(rig);
            for savepoint in savepoints.split_inclusive(')') {
                let tag = match savepoint.contains("release") {
                    true => "RELEASE",
                    false => "SAVEPOINT",
                };
                runs(rig, savepoint.trim(), READER, &format!("C({tag}) Z(T)"));
            }
            runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
            runs(rig, "Q(commit and chain)", READER, "C(ROLLBACK) Z(T)");
            rig.client(delete);
            moves(rig, again, delete, "C(DELETE 1) Z(T)");
        });
    }
}

/// One that fails has the modes again that it began with, also where another server runs it.
#[test]
fn the_next_one_of_a_chain_begins_again_with_what_it_was_given() {
    let chained = "Q(begin read only) Q(commit and chain)";
    let further = "Q(set transaction isolation level repeatable read)";
    each(reading, |rig| {
        begun(rig);
        runs(rig, "Q(commit and chain)", READER, "C(COMMIT) Z(T)");
        runs(rig, further, READER, "C(SET) Z(T)");
        rig.client("Q(savepoint a)");
        let all = "Q(set transaction isolation level repeatable read read only)";
        let again = format!("{chained} {all}");
        moves(rig, &again, "Q(savepoint a)", "C(SAVEPOINT) Z(T)");
    });
    for savepoint in [false, true] {
        each(reading, |rig| {
            has_read(rig);
            if savepoint {
                runs(rig, "Q(savepoint a)", READER, "C(SAVEPOINT) Z(T)");
            }
            runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
            rig.eof(READER);
            let again = if savepoint {
                chained
            } else {
                "Q(begin read only)"
            };
            let shown = rig.shown(WRITER);
            assert!(shown.starts_with(&format!("{again} Q(failed")), "{shown}");
        });
    }
}

/// What a batch has done to the transaction counts before its ReadyForQuery.
#[test]
fn what_goes_back_to_a_savepoint_is_sound_at_once() {
    let fallen = |rig: &mut Rig| {
        has_read(rig);
        runs(rig, "Q(savepoint a)", READER, "C(SAVEPOINT) Z(T)");
        runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
        let back = "P(,rollback to a) B(,) E H";
        runs(rig, back, READER, "1 2 C(ROLLBACK)");
    };
    each(reading, |rig| {
        fallen(rig);
        rig.client("P(,delete from t) B(,) E S");
        is_refused(rig, READER, "P(", "25006");
    });
    each(reading, |rig| {
        fallen(rig);
        runs(
            rig,
            "P(,select 1) B(,) E S",
            READER,
            "1 2 D(1) C(SELECT 1) Z(T)",
        );
    });
    each(reading, |rig| {
        fallen(rig);
        runs(rig, "P(,release a) B(,) E H", READER, "1 2 C(RELEASE)");
        // It has not failed: the next one is read only, too.
        runs(
            rig,
            "P(,rollback and chain) B(,) E S",
            READER,
            "1 2 C(ROLLBACK) Z(T)",
        );
        let delete = "Q(delete from t)";
        rig.client(delete);
        let again = "Q(begin read only) Q(commit and chain)";
        moves(rig, again, delete, "E(25006) Z(E)");
    });
    each(reading, |rig| {
        fallen(rig);
        runs(rig, "P(,select 1/0) B(,) E S", READER, "1 E(22012) Z(E)");
        runs(rig, "P(,select 1) B(,) E S", READER, "E(25P02) Z(E)");
    });
}

/// As drivers do that look at a statement before they run it.
#[test]
fn an_end_is_prepared_and_run_with_a_flush() {
    for (failed, end, tag) in [
        (false, "commit", "COMMIT"),
        (false, "rollback", "ROLLBACK"),
        (true, "rollback", "ROLLBACK"),
    ] {
        let open = |rig: &mut Rig| {
            has_read(rig);
            if failed {
                runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
            }
        };
        each(reading, |rig| {
            open(rig);
            runs(rig, &format!("P(s,{end}) DS(s) H"), READER, "1 t n");
            runs(rig, "B(,s) E S", READER, &format!("2 C({tag}) Z(I)"));
            is_over(rig);
        });
        each(reading, |rig| {
            open(rig);
            let flushed = format!("P(,{end}) B(,) E H");
            runs(rig, &flushed, READER, &format!("1 2 C({tag})"));
            runs(rig, "S", READER, "Z(I)");
            is_over(rig);
        });
        // What comes behind it in its batch is no part of the transaction.
        each(reading, |rig| {
            open(rig);
            let flushed = format!("P(,{end}) B(,) E H");
            runs(rig, &flushed, READER, &format!("1 2 C({tag})"));
            rig.client("P(,delete from t) B(,) E S");
            rig.see(READER, "S");
            rig.see(WRITER, "");
            rig.reader("Z(I)");
            rig.see(WRITER, "P(,delete from t) B(,) E S");
            rig.writer("1 2 C(DELETE 1) Z(I)");
            rig.see(CLIENT, "1 2 C(DELETE 1) Z(I)");
        });
    }
}

/// A batch goes on behind a chain that it has asked the answer of: where the next transaction has its place.
#[test]
fn a_chain_is_run_with_a_flush() {
    let chained = |rig: &mut Rig, failed: bool| {
        has_read(rig);
        if failed {
            runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
        }
        let chain = "P(,rollback and chain) B(,) E H";
        runs(rig, chain, READER, "1 2 C(ROLLBACK)");
    };
    for failed in [false, true] {
        each(reading, |rig| {
            chained(rig, failed);
            runs(rig, "S", READER, "Z(T)");
            if failed {
                rig.client("Q(rollback)");
                moves(rig, "Q(begin)", "Q(rollback)", "C(ROLLBACK) Z(I)");
            } else {
                runs(rig, "Q(rollback)", READER, "C(ROLLBACK) Z(I)");
            }
        });
        each(reading, |rig| {
            chained(rig, failed);
            runs(rig, "CS(x) H", READER, "3");
            runs(rig, "S", READER, "Z(T)");
        });
        for request in ["P(,savepoint a) B(,) E S", "P(,delete from t) B(,) E S"] {
            each(reading, |rig| {
                chained(rig, failed);
                rig.client(request);
                rig.see(READER, "S");
                rig.see(WRITER, "");
                rig.reader("Z(T)");
                let again = match failed {
                    true => "Q(begin)",
                    false => "Q(begin read only) Q(commit and chain)",
                };
                moves(rig, again, request, "1 2 C(SAVEPOINT) Z(T)");
            });
        }
    }
}

/// Nor is anything of a batch refused whose transaction has ended before it has read.
#[test]
fn what_is_closed_behind_an_end_is_closed() {
    each(reading, |rig| {
        begun(rig);
        runs(rig, "P(c,commit) DS(c) H", READER, "1 t n");
        runs(rig, "B(,c) E H", READER, "2 C(COMMIT)");
        runs(rig, "CS(c) H", READER, "3");
        runs(rig, "S", READER, "Z(I)");
        is_over(rig);
    });
}

/// A reader whose transaction has ended is in none.
#[test]
fn a_reader_that_is_in_a_transaction_that_has_ended_is_left() {
    each(reading, |rig| {
        has_read(rig);
        rig.client("Q(commit)");
        rig.see(READER, "Q(commit)");
        rig.reader("C(COMMIT) Z(T)");
        assert!(!rig.is_open(READER));
    });
}

/// Whether the whole has failed, or what was done since a savepoint, is not known behind more of them than are remembered.
#[test]
fn a_chain_behind_forgotten_savepoints_is_refused() {
    each(reading, |rig| {
        has_read(rig);
        for n in 0..=limits::JOURNAL_SAVEPOINTS {
            runs(
                rig,
                &format!("Q(savepoint s{n})"),
                READER,
                "C(SAVEPOINT) Z(T)",
            );
        }
        runs(rig, "Q(release s0)", READER, "C(RELEASE) Z(T)");
        runs(rig, "Q(commit and chain)", READER, "C(COMMIT) Z(T)");
        runs(rig, "Q(select 1)", READER, ROW);
        for n in 0..=limits::JOURNAL_SAVEPOINTS {
            runs(
                rig,
                &format!("Q(savepoint s{n})"),
                READER,
                "C(SAVEPOINT) Z(T)",
            );
        }
        runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
        rig.client("Q(rollback and chain)");
        is_refused(rig, READER, "Q(", "0A000");
        runs(rig, "Q(rollback)", READER, "C(ROLLBACK) Z(I)");
        is_over(rig);
    });
}

/// The text of asyncpg's reset, and a pool's.
#[test]
fn a_text_that_first_ends_it_runs_on_the_writer() {
    for failed in [false, true] {
        each(reading, |rig| {
            has_read(rig);
            if failed {
                runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
            }
            let reset = "Q(rollback; select pg_advisory_unlock_all(); reset all)";
            rig.client(reset);
            moves(
                rig,
                "Q(begin read only)",
                reset,
                "C(ROLLBACK) T D() C(SELECT 1) C(RESET) Z(I)",
            );
        });
    }
    each(reading, |rig| {
        has_read(rig);
        runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
        rig.client("Q(commit; delete from t)");
        is_refused(rig, READER, "Q(", "25006");
        runs(rig, "Q(rollback)", READER, "C(ROLLBACK) Z(I)");
        is_over(rig);
    });
    each(reading, |rig| {
        has_read(rig);
        let batch = "P(,commit) B(,) E P(,delete from t) B(,) E S";
        rig.client(batch);
        moves(
            rig,
            "Q(begin read only)",
            batch,
            "1 2 C(COMMIT) 1 2 C(DELETE 1) Z(I)",
        );
    });
}

#[test]
fn it_is_sent_where_reads_are() {
    // A reader that is not there.
    each(reading, |rig| {
        rig.both();
        rig.eof(READER);
        rig.pass(Duration::from_millis(1));
        runs(rig, "Q(begin read only)", WRITER, "C(BEGIN) Z(T)");
        runs(rig, "Q(select 1)", WRITER, ROW);
    });
    // What the session wrote is not there yet.
    let fresh = || {
        let mut config = reading();
        config.read_your_writes = ReadYourWrites::Reads(1);
        config
    };
    each(fresh, |rig| {
        rig.both();
        runs(rig, "Q(delete from t)", WRITER, "C(DELETE 0) Z(I)");
        runs(rig, "Q(begin read only)", WRITER, "C(BEGIN) Z(T)");
        runs(rig, "Q(commit)", WRITER, "C(COMMIT) Z(I)");
        runs(rig, "Q(begin read only)", READER, "C(BEGIN) Z(T)");
    });
    // Settings first; what pins keeps it home.
    each(reading, |rig| {
        rig.both();
        runs(rig, "Q(set work_mem = 100)", WRITER, "C(SET) Z(I)");
        rig.client("Q(begin read only)");
        rig.see(READER, "Q(set work_mem = 100)");
        rig.reader("C(SET) Z(I)");
        arrives(rig, "Q(begin read only)", READER, "C(BEGIN) Z(T)");
        runs(rig, "Q(commit)", READER, "C(COMMIT) Z(I)");
        runs(
            rig,
            "Q(create temp table x ())",
            WRITER,
            "C(CREATE TABLE) Z(I)",
        );
        runs(rig, "Q(begin read only)", WRITER, "C(BEGIN) Z(T)");
    });
}

#[test]
fn requests_may_follow_without_waiting() {
    each(reading, |rig| {
        rig.both();
        rig.client("Q(begin read only) Q(select 1) Q(select 2) Q(commit) Q(delete from t)");
        rig.see(READER, "Q(begin read only)");
        rig.reader("C(BEGIN) Z(T)");
        rig.see(READER, "Q(select 1) Q(select 2)");
        rig.reader("C(SELECT 1) Z(T)");
        rig.see(READER, "");
        rig.reader("C(SELECT 1) Z(T)");
        rig.see(READER, "Q(commit)");
        rig.see(WRITER, "");
        rig.reader("C(COMMIT) Z(I)");
        rig.see(READER, "");
        rig.see(WRITER, "Q(delete from t)");
    });
    // A BEGIN that fails opens nothing.
    each(reading, |rig| {
        rig.both();
        rig.client("Q(begin read only) Q(delete from t)");
        rig.see(READER, "Q(begin read only)");
        rig.reader("E(53200) Z(I)");
        rig.see(CLIENT, "E(53200) Z(I)");
        rig.see(WRITER, "Q(delete from t)");
    });
}

#[test]
fn a_reader_that_is_lost_before_it_has_read_is_replaced_unseen() {
    each(reading, |rig| {
        begun(rig);
        runs(rig, "Q(set local work_mem = 100)", READER, "C(SET) Z(T)");
        rig.eof(READER);
        rig.see(CLIENT, "");
        rig.see(WRITER, "Q(begin read only) Q(set local work_mem = 100)");
        rig.client("Q(select 1)");
        rig.see(WRITER, "");
        rig.writer("C(BEGIN) Z(T) C(SET) Z(T)");
        arrives_alone(rig, "Q(select 1)", ROW);
        runs_alone(rig, "Q(commit)", "C(COMMIT) Z(I)");
        runs_alone(rig, "Q(delete from t)", "C(DELETE 0) Z(I)");
    });
}

#[track_caller]
fn runs_alone(rig: &mut Rig, request: &str, answer: &str) {
    rig.client(request);
    arrives_alone(rig, request, answer);
}

#[track_caller]
fn arrives_alone(rig: &mut Rig, request: &str, answer: &str) {
    rig.see(WRITER, request);
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

#[test]
fn a_reader_that_is_lost_in_an_answer_leaves_a_failed_transaction() {
    for (request, before) in [
        ("Q(select 1)", ""),
        ("Q(select 1)", "T D(1)"),
        ("P(,select 1) B(,) E S", "1 2"),
        ("Q(rollback to a)", ""),
    ] {
        each(reading, |rig| {
            has_read(rig);
            rig.client(request);
            rig.see(READER, request);
            rig.reader(before);
            rig.see(CLIENT, before);
            rig.eof(READER);
            rig.see(CLIENT, "E(08006) Z(E)");
            let shown = rig.shown(WRITER);
            assert!(shown.starts_with("Q(begin read only) Q(failed"), "{shown}");
            rig.client("Q(select 2) Q(rollback)");
            rig.see(WRITER, "");
            rig.writer("C(BEGIN) Z(T) E(42601) Z(E)");
            rig.see(WRITER, "Q(select 2) Q(rollback)");
            rig.writer("E(25P02) Z(E) C(ROLLBACK) Z(I)");
            rig.see(CLIENT, "E(25P02) Z(E) C(ROLLBACK) Z(I)");
            runs_alone(rig, "Q(delete from t)", "C(DELETE 0) Z(I)");
        });
    }
    // Nothing but a ReadyForQuery is missing: what was said counts.
    for (request, before, after, again) in [
        (
            "Q(savepoint a)",
            "C(SAVEPOINT)",
            "Z(T)",
            "Q(begin read only) Q(commit and chain)",
        ),
        (
            "P(,select 1) B(,) E S",
            "1 2 C(SELECT 1)",
            "Z(T)",
            "Q(begin read only)",
        ),
        (
            "Q(select 1/0)",
            "T E(22012)",
            "Z(E)",
            "Q(begin read only) Q(failed with the connection to a replica)",
        ),
        (
            "P(,select 1) B(,) E S",
            "1 E(22012)",
            "Z(E)",
            "Q(begin read only) Q(failed with the connection to a replica)",
        ),
    ] {
        each(reading, |rig| {
            has_read(rig);
            rig.client(request);
            rig.see(READER, request);
            rig.reader(before);
            rig.see(CLIENT, before);
            rig.eof(READER);
            rig.see(CLIENT, after);
            rig.see(WRITER, again);
        });
    }
    each(reading, |rig| {
        rig.both();
        rig.client("Q(begin read only)");
        rig.see(READER, "Q(begin read only)");
        rig.reader("C(BEGIN)");
        rig.see(CLIENT, "C(BEGIN)");
        rig.eof(READER);
        rig.see(CLIENT, "Z(T)");
        rig.see(WRITER, "Q(begin read only)");
    });
    // One that ends: it has ended where that was said.
    for (before, after) in [("", "E(08006) Z(E)"), ("C(COMMIT)", "Z(I)")] {
        each(reading, |rig| {
            has_read(rig);
            rig.client("Q(commit)");
            rig.see(READER, "Q(commit)");
            rig.reader(before);
            rig.see(CLIENT, before);
            rig.eof(READER);
            rig.see(CLIENT, after);
        });
    }
    // A transaction that has not begun.
    each(reading, |rig| {
        rig.both();
        rig.client("Q(begin read only)");
        rig.see(READER, "Q(begin read only)");
        rig.eof(READER);
        rig.see(CLIENT, "E(08006) Z(I)");
        runs_alone(rig, "Q(delete from t)", "C(DELETE 0) Z(I)");
    });
    // One that has failed before.
    each(reading, |rig| {
        has_read(rig);
        runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
        rig.eof(READER);
        rig.see(CLIENT, "");
        let shown = rig.shown(WRITER);
        assert!(shown.starts_with("Q(begin read only) Q(failed"), "{shown}");
        rig.writer("C(BEGIN) Z(T) E(42601) Z(E)");
        runs_alone(rig, "Q(rollback)", "C(ROLLBACK) Z(I)");
    });
}

#[test]
fn a_reader_that_is_lost_between_requests_is_told_of_at_the_next() {
    let lose = |rig: &mut Rig| {
        has_read(rig);
        rig.eof(READER);
        rig.see(CLIENT, "");
        rig.see(WRITER, "Q(begin read only)");
        rig.writer("C(BEGIN) Z(T)");
    };
    for request in [
        "Q(select 1)",
        "Q(select 1; commit)",
        "Q(set transaction read write)",
    ] {
        each(reading, |rig| {
            lose(rig);
            rig.client(request);
            is_refused(rig, WRITER, "Q(", "08006");
            runs_alone(rig, "Q(select 1)", "E(25P02) Z(E)");
            runs_alone(rig, "Q(rollback)", "C(ROLLBACK) Z(I)");
        });
    }
    each(reading, |rig| {
        lose(rig);
        rig.client("P(,commit) S");
        rig.see(CLIENT, "");
        assert!(!rig.shown(WRITER).contains("commit"));
    });
    for (end, answer) in [
        ("Q(commit)", "C(COMMIT) Z(I)"),
        ("P(,rollback) B(,) E S", "1 2 C(ROLLBACK) Z(I)"),
    ] {
        each(reading, |rig| {
            lose(rig);
            runs_alone(rig, end, answer);
            runs_alone(rig, "Q(delete from t)", "C(DELETE 0) Z(I)");
        });
    }
}

#[test]
fn a_transaction_that_cannot_be_begun_again_ends_the_session() {
    let fails: [fn(&mut Rig); 2] = [
        |rig| rig.writer("E(53200) Z(I)"),
        |rig| rig.expire(Timer::Restore(WRITER)),
    ];
    for fails in fails {
        each(reading, |rig| {
            begun(rig);
            rig.client("Q(set transaction read write)");
            rig.see(WRITER, "Q(begin read only)");
            rig.see(READER, "Q(rollback)");
            fails(rig);
            let told = rig.shown(CLIENT);
            assert!(told.starts_with("FATAL("), "{told}");
            let fault = CloseCause::UpstreamFault(WRITER);
            assert!(rig.closes.contains(&(CLIENT, fault)), "{:?}", rig.closes);
        });
    }
}

#[test]
fn it_is_cancelled_counted_told_and_explained_where_it_runs() {
    each(reading, |rig| {
        rig.both();
        let explained = rig.session.explain(b"begin read only");
        let why = RouteReason::Intent(Why::BeginReadOnly);
        assert_eq!((explained.target, explained.reason), (Target::Reader, why));
        runs(rig, "Q(begin read only)", READER, "C(BEGIN) Z(T)");
        let explained = rig.session.explain(b"select 1");
        let within = RouteReason::Transaction;
        assert_eq!(
            (explained.target, explained.reason),
            (Target::Reader, within)
        );
        rig.client("Q(select 1)");
        let target = rig.session.cancel_target().map(|target| target.peer);
        assert_eq!(target, Some(READER));
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        rig.client("Q(listen a)");
        is_refused(rig, READER, "Q(", "0A000");
        let routed: Vec<_> = rig
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Routed {
                    peer,
                    class,
                    reason,
                    ..
                } => Some((*peer, *class, *reason)),
                _ => None,
            })
            .collect();
        assert_eq!(
            routed,
            [
                (READER, Class::Transaction, why),
                (READER, Class::Read, within),
                (READER, Class::Session, RouteReason::Misplaced),
            ]
        );
    });
    each(config, |rig| {
        rig.both();
        let explained = rig.session.explain(b"begin read only");
        assert_eq!(explained.target, Target::Writer);
    });
}

/// A server says what it was notified of when the transaction is over, and of settings that it is a standby only here.
#[test]
fn what_the_servers_say_by_themselves_keeps_its_place() {
    each(reading, |rig| {
        has_read(rig);
        rig.writer("A(news)");
        rig.reader("S(in_hot_standby,on) N(00000)");
        rig.see(CLIENT, "");
        rig.client("Q(commit)");
        rig.see(READER, "Q(commit)");
        rig.reader("C(COMMIT) Z(I)");
        rig.see(CLIENT, "C(COMMIT) Z(I) A(news)");
    });
    // The notification must not stand in the way of the answers behind it.
    each(reading, |rig| {
        begun(rig);
        rig.writer("A(news)");
        rig.see(CLIENT, "");
        rig.client("Q(listen a)");
        rig.see(READER, "Q(rollback)");
        rig.see(WRITER, "Q(begin read only)");
        rig.writer("C(BEGIN) Z(T)");
        rig.see(CLIENT, "A(news)");
        rig.see(WRITER, "Q(listen a)");
    });
}

#[test]
fn a_session_does_not_move_while_it_is_open() {
    let movable = || {
        let mut config = reading();
        config.moves = Moves::On;
        config
            .upstreams
            .push(session_support::upstream(pgturnout::session::Role::Spare));
        config
    };
    each(movable, |rig| {
        has_read(rig);
        let order = MoveOrder::new(MoveTarget::Reader(Destination(2)));
        rig.session.migrate(rig.now, order).unwrap();
        rig.run();
        runs(rig, "Q(select 1)", READER, ROW);
        assert_eq!(rig.session.reader_place(), Destination(1));
        runs(rig, "Q(commit)", READER, "C(COMMIT) Z(I)");
        assert_eq!(rig.session.reader_place(), Destination(2));
    });
}

#[test]
fn what_may_be_tried_is_tried_in_it() {
    each(optimistic, |rig| {
        has_read(rig);
        runs(rig, "Q(select app.f())", READER, ROW);
        // A READ ONLY transaction says the same on every server.
        runs(rig, "Q(select app.f())", READER, "E(25006) Z(E)");
        runs(rig, "Q(rollback)", READER, "C(ROLLBACK) Z(I)");
        is_over(rig);
    });
}

#[test]
fn what_was_read_before_it_began_does_not_keep_it_there() {
    each(optimistic, |rig| {
        rig.both();
        rig.client("Q(select app.f()) Q(begin read only)");
        rig.see(READER, "Q(select app.f())");
        rig.reader("T D(1) C(SELECT 1)");
        rig.client("");
        rig.reader("Z(I)");
        rig.see(READER, "Q(begin read only)");
        rig.reader("C(BEGIN) Z(T)");
        rig.client("Q(reset role)");
        rig.see(READER, "Q(rollback)");
        rig.see(WRITER, "Q(begin read only)");
        rig.writer("C(BEGIN) Z(T)");
        rig.see(WRITER, "Q(reset role)");
    });
}

/// A Query that no Sync comes before goes by itself: what precedes it in its batch is answered first.
#[test]
fn what_no_sync_parts_from_a_query_is_not_refused_with_it() {
    each(reading, |rig| {
        has_read(rig);
        runs(rig, "CS(s) Q(select 2)", READER, "3 D(2) C(SELECT 1) Z(T)");
        rig.client("CS(s) Q(commit)");
        rig.see(READER, "CS(s) H");
        rig.reader("3");
        rig.see(CLIENT, "3");
        rig.see(READER, "Q(commit)");
        rig.reader("C(COMMIT) Z(I)");
        rig.see(CLIENT, "C(COMMIT) Z(I)");
        is_over(rig);
    });
    each(reading, |rig| {
        has_read(rig);
        rig.client("CS(s) Q(delete from t)");
        rig.see(READER, "CS(s) H");
        rig.reader("3");
        rig.see(READER, "Q(denied by a policy of the proxy)");
        rig.reader("E(42601) Z(E)");
        rig.see(CLIENT, "3 E(25006) Z(E)");
    });
    each(reading, |rig| {
        begun(rig);
        rig.client("CS(s) Q(delete from t)");
        rig.see(READER, "CS(s) H");
        rig.reader("3");
        rig.see(READER, "S");
        rig.see(CLIENT, "3");
        rig.see(WRITER, "");
        rig.reader("Z(T)");
        moves(
            rig,
            "Q(begin read only)",
            "Q(delete from t)",
            "E(25006) Z(E)",
        );
    });
    // A server that has refused something skips it, too.
    each(reading, |rig| {
        has_read(rig);
        rig.client("P(,select nothing) Q(rollback; delete from t)");
        rig.see(READER, "P(,select nothing) H");
        rig.reader("E(42703)");
        rig.see(CLIENT, "E(42703)");
        rig.see(WRITER, "");
        rig.client("S");
        rig.see(READER, "Q(rollback; delete from t) S");
        rig.reader("Z(E)");
        rig.see(CLIENT, "Z(E)");
        runs(rig, "Q(rollback)", READER, "C(ROLLBACK) Z(I)");
        is_over(rig);
    });
}

/// What a transaction may do does not depend on what was answered when a read came.
#[test]
fn a_read_that_follows_an_answer_is_placed_as_one_that_waits() {
    for follows in [true, false] {
        each(reading, |rig| {
            has_read(rig);
            runs(rig, "Q(select 1/0)", READER, "E(22012) Z(E)");
            let chain = "P(,rollback and chain) B(,) E H";
            runs(rig, chain, READER, "1 2 C(ROLLBACK)");
            if follows {
                rig.client("S Q(select 1)");
                rig.see(READER, "S");
                rig.reader("Z(T)");
                rig.see(CLIENT, "Z(T)");
            } else {
                runs(rig, "S", READER, "Z(T)");
                rig.client("Q(select 1)");
            }
            moves(rig, "Q(begin)", "Q(select 1)", ROW);
            runs(rig, "Q(delete from t)", WRITER, "C(DELETE 0) Z(T)");
        });
    }
    each(optimistic, |rig| {
        has_read(rig);
        runs(rig, "P(,commit) B(,) E H", READER, "1 2 C(COMMIT)");
        rig.client("S Q(select app.f())");
        rig.see(READER, "S");
        rig.reader("Z(I)");
        rig.see(READER, "Q(select app.f())");
        rig.reader("E(25006) Z(I)");
        rig.see(WRITER, "Q(select app.f())");
    });
}

#[test]
fn what_is_only_prepared_begins_nothing() {
    each(reading, |rig| {
        rig.both();
        let request = "P(b,begin read only) P(s,select 1) H";
        runs(rig, request, WRITER, "1 1");
        runs(
            rig,
            "P(,delete from t) B(,) E S",
            WRITER,
            "1 2 C(DELETE 0) Z(I)",
        );
    });
}

/// What ends a transaction ends its portals, and nothing that uses one goes elsewhere.
#[test]
fn portals_end_with_their_transaction() {
    each(reading, |rig| {
        begun(rig);
        let chain = "P(,rollback and chain) B(,) E S";
        runs(rig, chain, READER, "1 2 C(ROLLBACK) Z(T)");
        // There is no portal of that name any more.
        runs(rig, "P(,commit) E S", READER, "1 E(34000) Z(E)");
    });
    each(reading, |rig| {
        begun(rig);
        let show = "P(,show timezone) B(,) E S";
        runs(rig, show, READER, "1 2 C(SHOW) Z(T)");
        let request = "E P(,savepoint a) B(,) E S";
        runs(rig, request, READER, "C(SHOW) 1 2 C(SAVEPOINT) Z(T)");
        let lacks = "Q(delete from t)";
        rig.client(lacks);
        rig.see(READER, "Q(denied by a policy of the proxy)");
        rig.see(WRITER, "");
    });
    each(reading, |rig| {
        has_read(rig);
        runs(rig, "E S", READER, "E(34000) Z(E)");
    });
}

/// A name that its batch has given back means nothing but what it is given to.
#[test]
fn what_a_batch_has_closed_counts_for_nothing() {
    each(reading, |rig| {
        has_read(rig);
        runs(rig, "P(s,select 1) S", READER, "1 Z(T)");
        let request = "CS(s) P(s,commit) B(,s) E S";
        runs(rig, request, READER, "3 1 2 C(COMMIT) Z(I)");
        is_over(rig);
    });
}

/// A server that has answered with a Flush is lost: nothing is missing of what was asked, but for the transaction.
#[test]
fn a_reader_that_is_lost_behind_an_answered_batch_is_told_of_by_what_is_run_next() {
    let lost = |rig: &mut Rig| {
        has_read(rig);
        runs(rig, "P(,select 1) H", READER, "1");
        rig.eof(READER);
        rig.see(CLIENT, "");
        rig.see(WRITER, "Q(begin read only)");
        rig.writer("C(BEGIN) Z(T)");
    };
    each(reading, |rig| {
        lost(rig);
        runs(rig, "Q(commit)", WRITER, "C(COMMIT) Z(I)");
    });
    each(reading, |rig| {
        lost(rig);
        runs(rig, "S", WRITER, "Z(T)");
        rig.client("Q(select 2)");
        rig.take(WRITER);
        rig.writer("E(42601) Z(E)");
        rig.see(CLIENT, "E(08006) Z(E)");
        runs(rig, "Q(rollback)", WRITER, "C(ROLLBACK) Z(I)");
    });
    each(reading, |rig| {
        lost(rig);
        rig.client("B(,) E S");
        rig.take(WRITER);
        rig.writer("E(26000) Z(E)");
        rig.see(CLIENT, "E(08006) Z(E)");
    });
}

/// What was answered before the request that fails has the status of before.
#[test]
fn a_sync_before_what_is_lost_fails_nothing() {
    each(reading, |rig| {
        begun(rig);
        rig.client("S Q(select 1)");
        rig.see(READER, "S Q(select 1)");
        rig.eof(READER);
        rig.see(CLIENT, "Z(T) E(08006) Z(E)");
    });
}

/// As poolers of statements in clients say it, in whatever transaction is open.
#[test]
fn statements_are_deallocated_on_the_reader() {
    each(reading, |rig| {
        rig.both();
        runs(rig, "P(s,select 1) S", READER, "1 Z(I)");
        runs(rig, "P(w,lock t) S", WRITER, "1 Z(I)");
        runs(rig, "Q(begin read only)", READER, "C(BEGIN) Z(T)");
        runs(rig, "Q(select 1)", READER, ROW);
        runs(rig, "Q(deallocate s)", READER, "C(DEALLOCATE) Z(T)");
        rig.client("Q(deallocate w)");
        rig.see(READER, "P(w,) S Q(deallocate w)");
        rig.reader("1 Z(T) C(DEALLOCATE) Z(T)");
        rig.see(CLIENT, "C(DEALLOCATE) Z(T)");
        runs(rig, "Q(deallocate all)", READER, "C(DEALLOCATE ALL) Z(T)");
        runs(rig, "Q(commit)", READER, "C(COMMIT) Z(I)");
        // There it is dropped when its server is asked for something.
        rig.client("Q(delete from t)");
        rig.see(WRITER, "CS(w) Q(delete from t)");
    });
}
