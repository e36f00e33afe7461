//! Reads that have to see the session's own writes.

mod session_support;

use std::time::Duration;

use pgturnout::session::{Config, Event, PeerId, ReadYourWrites, RouteReason, Timer};
use session_support::frames::raw;
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const ASKS_THE_WRITER: &str = "Q(select pg_catalog.pg_current_wal_insert_lsn())";
const ASKS_THE_READER: &str = "Q(select pg_catalog.pg_last_wal_replay_lsn())";

fn fresh(freshness: ReadYourWrites) -> Config {
    let mut config = config();
    config.read_your_writes = freshness;
    config
}

fn replayed() -> Config {
    fresh(ReadYourWrites::Replayed)
}

/// The writer runs a text and answers it.
fn write(rig: &mut Rig, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, &format!("Q({text})"));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

fn wrote(rig: &mut Rig) {
    write(rig, "insert into t values(1)", "C(INSERT 0 1) Z(I)");
}

/// An upstream answers a question of ours, and the client sees none of it.
fn says(rig: &mut Rig, peer: PeerId, lsn: &str) {
    rig.say(peer, &format!("T D({lsn}) C(SELECT 1) Z(I)"));
}

/// The read that waits runs there.
fn served_by(rig: &mut Rig, peer: PeerId) {
    let other = if peer == READER { WRITER } else { READER };
    rig.see(other, "");
    rig.see(peer, "Q(select 1)");
    rig.say(peer, ROW);
    rig.see(CLIENT, ROW);
}

fn reads_at(rig: &mut Rig, peer: PeerId) {
    rig.client("Q(select 1)");
    served_by(rig, peer);
}

fn stale_reads(rig: &Rig) -> usize {
    let is_stale = |event: &&Event| {
        matches!(
            event,
            Event::Routed {
                reason: RouteReason::Stale,
                ..
            }
        )
    };
    rig.events.iter().filter(is_stale).count()
}

#[test]
fn a_read_waits_for_a_reader_that_has_the_write() {
    each(replayed, |rig| {
        rig.both();
        reads_at(rig, READER);
        wrote(rig);
        rig.silence();
        rig.client("Q(select 1)");
        rig.see(WRITER, ASKS_THE_WRITER);
        rig.see(READER, "");
        says(rig, WRITER, "0/3000060");
        rig.see(READER, ASKS_THE_READER);
        says(rig, READER, "0/3000060");
        served_by(rig, READER);
        // It is not asked again.
        reads_at(rig, READER);
        assert_eq!(stale_reads(rig), 0);
    });
}

#[test]
fn a_read_goes_to_the_writer_while_the_reader_is_behind() {
    each(replayed, |rig| {
        rig.both();
        wrote(rig);
        rig.client("Q(select 1)");
        rig.see(WRITER, ASKS_THE_WRITER);
        says(rig, WRITER, "1/0");
        rig.see(READER, ASKS_THE_READER);
        says(rig, READER, "0/FFFFFFFF");
        served_by(rig, WRITER);
        assert_eq!(stale_reads(rig), 1);
        // The position is known: the next read asks the reader alone.
        rig.client("Q(select 1)");
        rig.see(READER, ASKS_THE_READER);
        says(rig, READER, "1/1");
        served_by(rig, READER);
        assert_eq!(stale_reads(rig), 1);
    });
}

/// A block counts when it is committed; one that reads does not, nor do settings.
#[test]
fn what_writes_and_what_does_not() {
    each(replayed, |rig| {
        rig.both();
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "select 1", "T D(1) C(SELECT 1) Z(T)");
        write(rig, "commit", "C(COMMIT) Z(I)");
        reads_at(rig, READER);
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "delete from t", "C(DELETE 1) Z(T)");
        write(rig, "select 1", "T D(1) C(SELECT 1) Z(T)");
        write(rig, "commit", "C(COMMIT) Z(I)");
        rig.client("Q(select 1)");
        rig.see(WRITER, ASKS_THE_WRITER);
        says(rig, WRITER, "0/1");
        rig.see(READER, ASKS_THE_READER);
        says(rig, READER, "0/1");
        served_by(rig, READER);
    });
    for (request, answer) in [
        ("Q(select app.unknown(1))", ROW),
        ("P(,delete from t) B(,) E S", "1 2 C(DELETE 1) Z(I)"),
        (
            "Q(begin; select app.unknown(1); commit)",
            "C(BEGIN) T D(1) C(SELECT 1) C(COMMIT) Z(I)",
        ),
        (
            "Q(begin; set local work_mem = '1MB'; select app.unknown(1); commit)",
            "C(BEGIN) C(SET) T D(1) C(SELECT 1) C(COMMIT) Z(I)",
        ),
        (
            "Q(begin; set local search_path = app, pg_catalog; select lower('A'); commit)",
            "C(BEGIN) C(SET) T D(a) C(SELECT 1) C(COMMIT) Z(I)",
        ),
        (
            "Q(select pg_advisory_lock(1), app.unknown(1))",
            "T D(,1) C(SELECT 1) Z(I)",
        ),
        (
            "Q(declare c cursor with hold for select app.unknown(1))",
            "C(DECLARE CURSOR) Z(I)",
        ),
        ("Q(fetch c)", "T D(1) C(FETCH 1) Z(I)"),
    ] {
        each(replayed, |rig| {
            rig.both();
            rig.client(request);
            rig.see(WRITER, request);
            rig.writer(answer);
            rig.see(CLIENT, answer);
            rig.client("Q(select 1)");
            rig.see(WRITER, ASKS_THE_WRITER);
        });
    }
}

/// A search path holds in its transaction, and by some of them built-in names are those of functions that write.
#[test]
fn a_search_path_counts_as_soon_as_it_is_set() {
    for (set, asks) in [
        ("set local search_path = app, pg_catalog", true),
        ("set search_path = app, pg_catalog", true),
        (
            "set local search_path = app, U&'!0070g_catalog' uescape '!'",
            true,
        ),
        ("set local search_path to default", false),
        ("set local search_path = app", false),
    ] {
        each(replayed, |rig| {
            rig.both();
            write(rig, "begin", "C(BEGIN) Z(T)");
            write(rig, set, "C(SET) Z(T)");
            write(rig, "select lower('A')", "T D(a) C(SELECT 1) Z(T)");
            write(rig, "rollback", "C(ROLLBACK) Z(I)");
            rig.client("Q(select 1)");
            match asks {
                true => rig.see(WRITER, ASKS_THE_WRITER),
                false => served_by(rig, READER),
            }
        });
    }
}

/// What is the session's may call a function, too.
#[test]
fn what_a_search_path_hides_counts_beside_what_is_the_sessions() {
    for (path, asks) in [("app, pg_catalog", true), ("app", false)] {
        each(replayed, |rig| {
            rig.both();
            write(rig, "begin", "C(BEGIN) Z(T)");
            write(
                rig,
                &format!("set local search_path = {path}"),
                "C(SET) Z(T)",
            );
            let unlocks = "select pg_advisory_unlock(length('A'))";
            write(rig, unlocks, "T D(f) C(SELECT 1) Z(T)");
            write(rig, "commit", "C(COMMIT) Z(I)");
            rig.client("Q(select 1)");
            match asks {
                true => rig.see(WRITER, ASKS_THE_WRITER),
                false => served_by(rig, READER),
            }
        });
    }
}

/// A FunctionCall shows no text.
#[test]
fn a_function_call_counts_as_a_write() {
    each(replayed, |rig| {
        rig.both();
        rig.raw(CLIENT, &raw(b'F', b"\0\0\x40\0\0\0\0\0\0\0"));
        assert_eq!(rig.take(WRITER).first(), Some(&b'F'));
        rig.raw(WRITER, &raw(b'V', &[0xff; 4]));
        rig.writer("Z(I)");
        rig.take(CLIENT);
        rig.client("Q(select 1)");
        rig.see(WRITER, ASKS_THE_WRITER);
    });
}

/// What cannot be found out is the writer's, and the next read asks anew.
#[test]
fn an_answer_that_does_not_come() {
    each(replayed, |rig| {
        rig.both();
        wrote(rig);
        for answer in [
            "E(55000) Z(I)",
            "T C(SELECT 0) Z(I)",
            "T D(x) C(SELECT 1) Z(I)",
        ] {
            rig.client("Q(select 1)");
            rig.see(WRITER, ASKS_THE_WRITER);
            rig.writer(answer);
            served_by(rig, WRITER);
        }
        rig.client("Q(select 1)");
        rig.see(WRITER, ASKS_THE_WRITER);
        says(rig, WRITER, "0/5");
        rig.see(READER, ASKS_THE_READER);
        rig.reader("E(57014) Z(I)");
        served_by(rig, WRITER);
        rig.client("Q(select 1)");
        rig.see(READER, ASKS_THE_READER);
        rig.reader("E(57014) Z(I)");
        served_by(rig, WRITER);
    });
}

/// A notice that comes meanwhile is none of the question's.
#[test]
fn a_notice_beside_a_question() {
    each(replayed, |rig| {
        rig.both();
        wrote(rig);
        rig.client("Q(select 1)");
        rig.see(WRITER, ASKS_THE_WRITER);
        rig.writer("N(01000)");
        rig.see(CLIENT, "N(01000)");
        says(rig, WRITER, "0/5");
        rig.see(READER, ASKS_THE_READER);
        rig.reader("N(01000)");
        rig.see(CLIENT, "");
        says(rig, READER, "0/5");
        served_by(rig, READER);
    });
}

/// A reader that says nothing is given up, and the read does not wait for it.
#[test]
fn a_reader_that_does_not_answer() {
    let asked = |rig: &mut Rig| {
        rig.both();
        wrote(rig);
        rig.client("Q(select 1)");
        rig.see(WRITER, ASKS_THE_WRITER);
        says(rig, WRITER, "0/5");
        rig.see(READER, ASKS_THE_READER);
    };
    each(replayed, |rig| {
        asked(rig);
        rig.expire(Timer::Restore(READER));
        served_by(rig, WRITER);
    });
    each(replayed, |rig| {
        asked(rig);
        rig.reset(READER);
        served_by(rig, WRITER);
        // Another connection is asked again.
        rig.reader_again();
        rig.client("Q(select 1)");
        rig.see(READER, ASKS_THE_READER);
        says(rig, READER, "0/5");
        served_by(rig, READER);
    });
}

/// A standby that was started anew may have begun before what it had replayed.
#[test]
fn another_connection_is_asked_again() {
    each(replayed, |rig| {
        rig.both();
        wrote(rig);
        rig.client("Q(select 1)");
        rig.see(WRITER, ASKS_THE_WRITER);
        says(rig, WRITER, "0/5");
        rig.see(READER, ASKS_THE_READER);
        says(rig, READER, "0/5");
        served_by(rig, READER);
        rig.reset(READER);
        reads_at(rig, WRITER);
        rig.reader_again();
        rig.client("Q(select 1)");
        rig.see(READER, ASKS_THE_READER);
        says(rig, READER, "0/4");
        served_by(rig, WRITER);
    });
}

#[test]
fn for_a_time_after_a_write_reads_stay_on_the_writer() {
    let window = Duration::from_secs(2);
    each(
        || fresh(ReadYourWrites::For(Duration::from_secs(2))),
        |rig| {
            rig.both();
            reads_at(rig, READER);
            wrote(rig);
            reads_at(rig, WRITER);
            rig.pass(window - Duration::from_millis(1));
            reads_at(rig, WRITER);
            rig.pass(Duration::from_millis(1));
            reads_at(rig, READER);
            assert_eq!(stale_reads(rig), 2);
        },
    );
}

/// The time counts from the commit, not from the statement.
#[test]
fn the_time_begins_when_the_write_is_answered() {
    each(
        || fresh(ReadYourWrites::For(Duration::from_secs(2))),
        |rig| {
            rig.both();
            rig.client("Q(select app.f()) Q(insert into t values(1))");
            rig.see(WRITER, "Q(select app.f()) Q(insert into t values(1))");
            rig.writer(ROW);
            rig.pass(Duration::from_secs(3));
            rig.writer("C(INSERT 0 1) Z(I)");
            rig.take(CLIENT);
            reads_at(rig, WRITER);
        },
    );
}

/// A simple Query of ours drops the unnamed statement, which is prepared again when it is used.
#[test]
fn questions_do_not_cost_the_unnamed_statement() {
    each(replayed, |rig| {
        rig.both();
        rig.client("P(,select 1) S");
        rig.see(READER, "P(,select 1) S");
        rig.reader("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        rig.client("P(w,delete from t) B(,w) E S");
        rig.see(WRITER, "P(w,delete from t) B(,w) E S");
        rig.writer("1 2 C(DELETE 0) Z(I)");
        rig.take(CLIENT);
        rig.client("B(,) E S");
        rig.see(WRITER, ASKS_THE_WRITER);
        says(rig, WRITER, "0/5");
        rig.see(READER, ASKS_THE_READER);
        says(rig, READER, "0/5");
        rig.see(READER, "P(,select 1) B(,) E S");
        rig.reader("1 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
    });
}

/// Each request counts once, however many messages it has, and reads alone count.
#[test]
fn so_many_reads_after_a_write_stay_on_the_writer() {
    each(
        || fresh(ReadYourWrites::Reads(2)),
        |rig| {
            rig.both();
            reads_at(rig, READER);
            for _ in 0..2 {
                wrote(rig);
                reads_at(rig, WRITER);
                wrote(rig);
                reads_at(rig, WRITER);
                let batch = "P(,select 1) B(,) DP E S";
                rig.client(batch);
                rig.see(WRITER, batch);
                rig.writer("1 2 T D(1) C(SELECT 1) Z(I)");
                rig.see(CLIENT, "1 2 T D(1) C(SELECT 1) Z(I)");
                reads_at(rig, READER);
                reads_at(rig, READER);
            }
            assert_eq!(stale_reads(rig), 6);
        },
    );
    each(
        || fresh(ReadYourWrites::Reads(0)),
        |rig| {
            rig.both();
            wrote(rig);
            reads_at(rig, READER);
        },
    );
}
