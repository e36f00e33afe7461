//! PREPARE and EXECUTE in SQL: one set of names with the statements of the protocol, on both upstreams.

mod session_support;

use pgturnout::session::{Event, PeerId};
use pgturnout::track::Pin;
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// The writer runs a text and answers it.
fn write(rig: &mut Rig, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(READER, "");
    rig.see(WRITER, &format!("Q({text})"));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

/// The reader runs a text, which needs no statement there that it lacks.
fn read(rig: &mut Rig, text: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, "");
    rig.see(READER, &format!("Q({text})"));
    rig.reader(ROW);
    rig.see(CLIENT, ROW);
}

/// The reader gets a statement, behind which it is asked.
fn mirrored(rig: &mut Rig, text: &str, parse: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, "");
    rig.see(READER, &format!("{parse} S"));
    rig.reader("1 Z(I)");
    rig.see(READER, &format!("Q({text})"));
    rig.reader(ROW);
    rig.see(CLIENT, ROW);
}

fn pins(rig: &mut Rig) -> bool {
    rig.has_event(|event| matches!(event, Event::Pinned(_)))
}

#[test]
fn a_read_that_is_prepared_in_sql_runs_on_the_reader() {
    each(config, |rig| {
        rig.both();
        write(rig, "prepare r as select 1;", "C(PREPARE) Z(I)");
        mirrored(rig, "execute r", "P(r,select 1)");
        read(rig, "EXECUTE R;");
        // The same name for Bind.
        rig.client("B(,r) E S");
        rig.see(READER, "B(,r) E S");
        rig.reader("2 D(1) C(SELECT 1) Z(I)");
        rig.take(CLIENT);
        write(rig, "deallocate r", "C(DEALLOCATE) Z(I)");
        write(rig, "execute r", "E(26000) Z(I)");
        assert!(pins(rig));
    });
}

/// The types that are given reach the reader as those of a Parse.
#[test]
fn types_are_prescribed_as_they_were() {
    each(config, |rig| {
        rig.both();
        let text = "prepare r (int, text) as select $1, $2";
        write(rig, text, "C(PREPARE) Z(I)");
        rig.client("Q(execute r(1, 'a'))");
        let body = b"r\0select $1, $2\0\0\x02\0\0\0\x17\0\0\0\x19";
        let mut parse = session_support::frames::raw(b'P', body);
        parse.extend(session_support::frames::raw(b'S', b""));
        assert_eq!(rig.take(READER), parse);
        rig.reader("1 Z(I)");
        rig.see(READER, "Q(execute r(1, 'a'))");
    });
}

/// M02 and the like: what is not known to be a read is none.
#[test]
fn what_is_not_known_to_be_a_read_goes_to_the_writer() {
    for (prepare, execute, pinned) in [
        ("prepare w as insert into t values (1)", "execute w", false),
        ("prepare w as select nextval('s')", "execute w", false),
        ("prepare w as select 1", "execute w(nextval('s'))", false),
        ("prepare w as select 1", "execute w; select 1", false),
        ("prepare w as select 1", "execute other", true),
        ("prepare w as select mine()", "execute w", false),
        ("prepare w (mood) as select $1", "execute w('sad')", true),
        ("prepare w as select setseed(1)", "execute w", true),
        (
            "prepare w as select set_config('a.b', 'c', false)",
            "execute w",
            true,
        ),
        ("prepare w as select 1", "explain analyze execute w", true),
    ] {
        each(config, |rig| {
            rig.both();
            write(rig, prepare, "C(PREPARE) Z(I)");
            assert!(!pins(rig), "{prepare}");
            write(rig, execute, "C(OK) Z(I)");
            assert_eq!(pins(rig), pinned, "{execute}");
        });
    }
}

/// It is there until it is deallocated: a transaction that rolls back takes no prepared statement with it.
#[test]
fn a_statement_outlives_the_transaction_that_prepared_it() {
    each(config, |rig| {
        rig.both();
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "prepare r as select 1", "C(PREPARE) Z(T)");
        write(rig, "rollback", "C(ROLLBACK) Z(I)");
        mirrored(rig, "execute r", "P(r,select 1)");
    });
}

#[test]
fn a_prepare_that_fails_has_not_happened() {
    each(config, |rig| {
        rig.both();
        write(rig, "prepare r as select nothing", "E(42703) Z(I)");
        write(rig, "execute r", "E(26000) Z(I)");
    });
    // Of the name that it gives again the old meaning stays.
    each(config, |rig| {
        rig.both();
        write(rig, "prepare r as select 1", "C(PREPARE) Z(I)");
        write(rig, "prepare r as select nextval('s')", "E(42P05) Z(I)");
        mirrored(rig, "execute r", "P(r,select 1)");
    });
}

#[test]
fn a_name_that_is_given_again_is_another_statement() {
    for (end, tag) in [
        ("deallocate r", "DEALLOCATE"),
        ("deallocate all", "DEALLOCATE ALL"),
        ("discard all", "DISCARD ALL"),
    ] {
        each(config, |rig| {
            rig.both();
            write(rig, "prepare r as select 1", "C(PREPARE) Z(I)");
            mirrored(rig, "execute r", "P(r,select 1)");
            write(rig, end, &format!("C({tag}) Z(I)"));
            write(rig, "prepare r as select 2", "C(PREPARE) Z(I)");
            rig.client("Q(execute r)");
            if end == "discard all" {
                rig.see(READER, "Q(DISCARD ALL)");
                rig.reader("C(DISCARD ALL) Z(I)");
            }
            rig.see(READER, "CS(r) P(r,select 2) S");
            rig.reader("3 1 Z(I)");
            rig.see(READER, "Q(execute r)");
            rig.reader(ROW);
            rig.see(CLIENT, ROW);
        });
    }
}

/// P02: everything on its way at once.
#[test]
fn names_in_a_pipeline() {
    each(config, |rig| {
        rig.both();
        let first = "Q(prepare r as select nextval('s')) Q(deallocate r)";
        rig.client(&format!("{first} Q(prepare r as select 1) Q(execute r)"));
        rig.see(WRITER, first);
        rig.writer("C(PREPARE) Z(I) C(DEALLOCATE) Z(I)");
        rig.see(WRITER, "Q(prepare r as select 1)");
        rig.writer("C(PREPARE) Z(I)");
        rig.see(READER, "P(r,select 1) S");
        rig.reader("1 Z(I)");
        rig.see(READER, "Q(execute r)");
        rig.reader(ROW);
        let before = "C(PREPARE) Z(I) C(DEALLOCATE) Z(I) C(PREPARE) Z(I)";
        rig.see(CLIENT, &format!("{before} {ROW}"));
    });
}

/// One that was parsed on the reader is there for EXECUTE on the writer, and in the way of a PREPARE.
#[test]
fn a_statement_of_the_protocol_is_executed_in_sql() {
    each(config, |rig| {
        rig.both();
        rig.client("P(r,select 1) S P(w,insert into t values (1)) S");
        rig.see(READER, "P(r,select 1) S");
        rig.reader("1 Z(I)");
        rig.see(WRITER, "P(w,insert into t values (1)) S");
        rig.writer("1 Z(I)");
        rig.take(CLIENT);
        read(rig, "execute r");
        write(rig, "execute w", "C(INSERT 0 1) Z(I)");
        rig.client("Q(prepare r as select 2)");
        rig.see(WRITER, "P(r,select 1) S Q(prepare r as select 2)");
        rig.writer("1 Z(I) E(42P05) Z(I)");
        rig.see(CLIENT, "E(42P05) Z(I)");
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "execute r", "T D(1) C(SELECT 1) Z(T)");
    });
}

#[test]
fn a_prepare_by_the_extended_protocol() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,prepare r as select 1) B(,) E S");
        rig.see(WRITER, "P(,prepare r as select 1) B(,) E S");
        rig.writer("1 2 C(PREPARE) Z(I)");
        rig.take(CLIENT);
        mirrored(rig, "execute r", "P(r,select 1)");
        // By the extended protocol an EXECUTE stays with the writer: what it means is looked up more than once.
        rig.client("P(,execute r) B(,) E S");
        rig.see(WRITER, "P(,execute r) B(,) E S");
        rig.writer("1 2 D(1) C(SELECT 1) Z(I)");
        rig.take(CLIENT);
        read(rig, "execute r");
    });
}

/// A standby may be behind: its refusal is not the client's, and the primary is asked.
#[test]
fn a_statement_that_the_reader_refuses_is_executed_on_the_writer() {
    each(config, |rig| {
        rig.both();
        write(rig, "prepare r as select a from late", "C(PREPARE) Z(I)");
        rig.client("Q(execute r)");
        rig.see(READER, "P(r,select a from late) S");
        rig.reader("E(42P01) Z(I)");
        rig.see(READER, "");
        rig.see(WRITER, "Q(execute r)");
        rig.writer(ROW);
        rig.see(CLIENT, ROW);
        assert!(!pins(rig));
        mirrored(rig, "execute r", "P(r,select a from late)");
    });
}

/// A reader that is dialled again has nothing.
#[test]
fn a_reader_that_is_dialled_again_gets_the_statement() {
    each(config, |rig| {
        rig.both();
        write(rig, "prepare r as select 1", "C(PREPARE) Z(I)");
        mirrored(rig, "execute r", "P(r,select 1)");
        rig.eof(READER);
        rig.reader_again();
        mirrored(rig, "execute r", "P(r,select 1)");
    });
}

/// What is meant depends on settings that differ from what they were when it was prepared.
#[test]
fn a_text_that_settings_give_its_meaning_stays_with_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(prepare r as select 'é')");
        rig.take(WRITER);
        rig.writer("C(PREPARE) Z(I)");
        rig.take(CLIENT);
        write(rig, "execute r", ROW);
        assert!(rig.has_event(|event| *event == Event::Pinned(Pin::Procedure)));
    });
}

/// An Execute of what nobody knows may be one of a cursor that drops statements: what its server lacks of them goes there before.
#[test]
fn an_execute_of_nothing_known_finds_every_statement() {
    each(config, |rig| {
        rig.both();
        rig.client("P(s,select 1) S");
        rig.see(READER, "P(s,select 1) S");
        rig.reader("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        rig.client("E(c,0) S");
        rig.see(WRITER, "P(s,select 1) S E(c) S");
        rig.writer("1 Z(I) E(34000) Z(I)");
        rig.see(CLIENT, "E(34000) Z(I)");
    });
}
