//! Statements that were prepared while texts were read in another way: a server keeps what it has read, and no other may
//! read it anew.

mod session_support;

use pgturnout::route::Why;
use pgturnout::session::{Event, PeerId, RouteReason};
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "2 D(1) C(SELECT 1) Z(I)";

/// As a peer is seen to get it: in the encoding that most have.
const CAFE: &str = "select 'caf\\xc3\\xa9'";
const LATIN: &str = "S(client_encoding,LATIN1) C(SET) Z(I)";

/// What is seen as that, as a client writes it.
fn sent(seen: &str) -> String {
    seen.replace("\\xc3\\xa9", "\u{e9}")
}

/// Prepares a statement on a server.
#[track_caller]
fn prepare(rig: &mut Rig, name: &str, text: &str, at: PeerId, state: &str) {
    rig.client(&format!("P({},{}) S", sent(name), sent(text)));
    rig.see(at, &format!("P({name},{text}) S"));
    rig.say(at, &format!("1 Z({state})"));
    rig.see(CLIENT, &format!("1 Z({state})"));
}

/// Runs a statement, which goes to a server behind what is given.
#[track_caller]
fn run(rig: &mut Rig, name: &str, at: PeerId, behind: &str) {
    rig.client(&format!("B(,{}) E S", sent(name)));
    rig.see(at, &format!("{behind}B(,{name}) E S"));
    rig.say(at, &"1 ".repeat(behind.matches("P(").count()));
    rig.say(at, ROW);
    rig.see(CLIENT, ROW);
}

/// The client runs a text on the writer.
#[track_caller]
fn write(rig: &mut Rig, text: &str, behind: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(READER, "");
    rig.see(WRITER, &format!("{behind}Q({text})"));
    rig.writer(&"1 Z(I) ".repeat(behind.matches("P(").count()));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

/// The reader gets a setting of the client's before it serves again.
#[track_caller]
fn follow(rig: &mut Rig, text: &str, answer: &str) {
    rig.client("Q(select 1)");
    rig.see(READER, &format!("Q({text})"));
    rig.reader(answer);
    rig.see(READER, "Q(select 1)");
    rig.reader("T D(1) C(SELECT 1) Z(I)");
    rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
}

/// The reader is lost, and another one has the settings of the client but none of its statements.
fn reader_anew(rig: &mut Rig, text: &str, answer: &str) {
    rig.eof(READER);
    rig.reader_again();
    follow(rig, text, answer);
}

fn is_forgotten(rig: &Rig) -> bool {
    let why = RouteReason::Intent(Why::Forgotten);
    rig.has_event(|event| matches!(event, Event::Routed { reason, .. } if *reason == why))
}

const SET_LATIN: &str = "set client_encoding to latin1";

#[test]
fn the_writer_has_what_it_could_not_be_given_behind_another_encoding() {
    each(config, |rig| {
        rig.both();
        prepare(rig, "s", CAFE, READER, "I");
        prepare(rig, "p", "select 'cafe'", READER, "I");
        write(rig, SET_LATIN, &format!("P(s,{CAFE}) S "), LATIN);
        follow(rig, SET_LATIN, LATIN);
        // Who has it runs it.
        run(rig, "s", READER, "");
        assert!(!is_forgotten(rig));
        reader_anew(rig, SET_LATIN, LATIN);
        run(rig, "p", READER, "P(p,select 'cafe') ");
        run(rig, "s", WRITER, "");
        assert!(is_forgotten(rig));
        // What is prepared now is read as it is now.
        prepare(rig, "t", CAFE, READER, "I");
        write(rig, "begin", "", "C(BEGIN) Z(T)");
        rig.client("B(,t) B(,s) S");
        rig.see(WRITER, &format!("P(t,{CAFE}) B(,t) B(,s) S"));
    });
}

#[test]
fn a_statement_of_the_writers_stays_there_behind_another_encoding() {
    each(config, |rig| {
        rig.both();
        write(rig, "begin", "", "C(BEGIN) Z(T)");
        prepare(rig, "s", CAFE, WRITER, "T");
        write(rig, "commit", "", "C(COMMIT) Z(I)");
        write(rig, "set names 'latin1'", "", LATIN);
        follow(rig, "set names 'latin1'", LATIN);
        run(rig, "s", WRITER, "");
        // Its name prepared again is another statement.
        rig.client("CS(s) S");
        rig.see(WRITER, "CS(s) S");
        rig.writer("3 Z(I)");
        rig.see(CLIENT, "3 Z(I)");
        prepare(rig, "s", CAFE, READER, "I");
        run(rig, "s", READER, "");
    });
}

/// A setting is changed in a batch, by a statement that was prepared.
#[test]
fn the_writer_has_it_before_an_execute_changes_the_encoding() {
    each(config, |rig| {
        rig.both();
        prepare(rig, "s", CAFE, READER, "I");
        rig.client(&format!("P(set,{SET_LATIN}) B(,set) E S"));
        rig.see(
            WRITER,
            &format!("P(set,{SET_LATIN}) B(,set) P(s,{CAFE}) E S"),
        );
        rig.writer(&format!("1 2 1 {LATIN}"));
        rig.see(CLIENT, &format!("1 2 {LATIN}"));
        reader_anew(rig, SET_LATIN, LATIN);
        run(rig, "s", WRITER, "");
    });
}

#[test]
fn rules_for_strings_are_a_reading_too() {
    const OFF: &str = "set standard_conforming_strings to off";
    const ANSWER: &str = "S(standard_conforming_strings,off) C(SET) Z(I)";
    for (text, follows) in [
        ("select 'a\\\\b'", false),
        ("select u&'a!0041' uescape '!'", false),
        ("select U&'a' from t", false),
        ("select 'ab'", true),
    ] {
        each(config, |rig| {
            rig.both();
            let parse = format!("P(s,{text}) S");
            rig.client(&parse.replace("\\\\", "\\"));
            rig.see(READER, &parse);
            rig.reader("1 Z(I)");
            rig.take(CLIENT);
            let (at, lent, behind) = match follows {
                true => (READER, String::new(), format!("P(s,{text}) ")),
                false => (WRITER, format!("P(s,{text}) S "), String::new()),
            };
            write(rig, OFF, &lent, ANSWER);
            reader_anew(rig, OFF, ANSWER);
            run(rig, "s", at, &behind);
        });
    }
}

/// A constant becomes a value when its statement is prepared: a date, by the style of then.
#[test]
fn constants_are_read_by_the_settings_of_their_time() {
    const STYLES: [(&str, &str); 3] = [
        (
            "set datestyle to german",
            "S(DateStyle,German, DMY) C(SET) Z(I)",
        ),
        ("set time zone 'CET'", "S(TimeZone,CET) C(SET) Z(I)"),
        (
            "set intervalstyle = iso_8601",
            "S(IntervalStyle,iso_8601) C(SET) Z(I)",
        ),
    ];
    const DATE: &str = "select a from t where d < '01/02/2026'";
    for (text, answer) in STYLES {
        each(config, |rig| {
            rig.both();
            prepare(rig, "s", DATE, READER, "I");
            prepare(rig, "p", "select a from t where d < $1", READER, "I");
            write(rig, text, &format!("P(s,{DATE}) S "), answer);
            follow(rig, text, answer);
            // Who has it runs it.
            run(rig, "s", READER, "");
            reader_anew(rig, text, answer);
            run(rig, "p", READER, "P(p,select a from t where d < $1) ");
            run(rig, "s", WRITER, "");
            assert!(is_forgotten(rig));
            prepare(rig, "n", DATE, READER, "I");
            run(rig, "n", READER, "");
        });
    }
}

/// Of some no server tells, so that a rollback is not seen.
#[test]
fn constants_are_the_writers_behind_a_setting_that_nobody_reports() {
    for (text, statement) in [
        ("set array_nulls = off", "select '{null}'::text[] from t"),
        ("set transform_null_equals = on", "select a = null from t"),
        (
            "set timezone_abbreviations to 'India'",
            "select '2026-01-01 IST'::timestamptz from t",
        ),
        ("set xmloption = document", "select '<a/>'::xml from t"),
    ] {
        each(config, |rig| {
            rig.both();
            prepare(rig, "s", statement, READER, "I");
            write(rig, text, &format!("P(s,{statement}) S "), "C(SET) Z(I)");
            follow(rig, text, "C(SET) Z(I)");
            prepare(rig, "t", statement, READER, "I");
            reader_anew(rig, text, "C(SET) Z(I)");
            run(rig, "s", WRITER, "");
        });
    }
}

/// No server tells how it reads a quote behind a backslash, nor when a rollback takes a change of that back.
#[test]
fn whoever_sets_backslash_quote_has_texts_with_backslashes_on_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("P(s,select e'a\\'b') S");
        rig.see(READER, "P(s,select e'a\\\\'b') S");
        rig.reader("1 Z(I)");
        rig.take(CLIENT);
        write(rig, "begin", "", "C(BEGIN) Z(T)");
        rig.client("Q(set backslash_quote to on)");
        rig.see(
            WRITER,
            "P(s,select e'a\\\\'b') S Q(set backslash_quote to on)",
        );
        rig.writer("1 Z(T) C(SET) Z(T)");
        rig.client("P(t,select e'\\'') S");
        rig.writer("1 Z(T)");
        rig.client("Q(rollback)");
        rig.writer("C(ROLLBACK) Z(I)");
        rig.take(WRITER);
        rig.take(CLIENT);
        run(rig, "t", WRITER, "");
        run(rig, "s", READER, "");
        rig.eof(READER);
        rig.reader_again();
        run(rig, "s", WRITER, "");
    });
}

/// What changed behind the session's back leaves it no time to give the writer anything.
#[test]
fn what_a_reader_alone_has_is_nobodys_behind_a_change_that_was_not_seen() {
    each(config, |rig| {
        rig.both();
        prepare(rig, "s", CAFE, READER, "I");
        let answer = "T S(client_encoding,LATIN1) D(1) C(SELECT 1) Z(I)";
        write(rig, "select f()", "", answer);
        rig.client("B(,s) E S");
        rig.see(READER, "");
        rig.see(WRITER, "B(,s) E S");
        rig.writer("E(26000) Z(I)");
        rig.see(CLIENT, "E(26000) Z(I)");
    });
}

/// In another encoding the same name has other bytes, and a server compares what it has made of them.
#[test]
fn statements_whose_names_are_not_ascii_are_the_writers() {
    const NAME: &str = "\\xc3\\xa9";
    each(config, |rig| {
        rig.both();
        prepare(rig, NAME, "select 1", WRITER, "I");
        run(rig, NAME, WRITER, "");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.take(CLIENT);
        rig.client(&format!("CS({}) S", sent(NAME)));
        rig.see(WRITER, &format!("CS({NAME}) S"));
    });
}
