//! Settings, and what cannot be repeated elsewhere.

mod session_support;

use pgturnout::session::{Event, PeerId};
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// The writer runs a text and answers it.
fn write(rig: &mut Rig, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, &format!("Q({text})"));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

/// A read goes to the reader, behind these texts of ours.
fn read_behind(rig: &mut Rig, restored: &[&str]) {
    rig.client("Q(select 1)");
    rig.see(WRITER, "");
    if !restored.is_empty() {
        let all: Vec<String> = restored.iter().map(|text| format!("Q({text})")).collect();
        rig.see(READER, &all.join(" "));
        for _ in restored {
            rig.reader("S(TimeZone,x) C(SET) Z(I)");
        }
    }
    rig.see(READER, "Q(select 1)");
    rig.reader(ROW);
    rig.see(CLIENT, ROW);
}

fn read_on_the_writer(rig: &mut Rig) {
    rig.client("Q(select 1)");
    rig.see(READER, "");
    rig.see(WRITER, "Q(select 1)");
    rig.writer(ROW);
    rig.see(CLIENT, ROW);
}

/// H14.
#[test]
fn the_reader_gets_a_setting_before_the_next_read_and_once() {
    each(config, |rig| {
        rig.both();
        write(rig, "set timezone = 'UTC'", "C(SET) Z(I)");
        read_behind(rig, &["set timezone = 'UTC'"]);
        read_behind(rig, &[]);
        write(rig, "set search_path = a, b", "C(SET) Z(I)");
        write(rig, "set role bob", "C(SET) Z(I)");
        read_behind(rig, &["set search_path = a, b", "set role bob"]);
        read_behind(rig, &[]);
    });
}

#[test]
fn a_setting_that_is_replaced_is_not_replayed() {
    each(config, |rig| {
        rig.both();
        write(rig, "set timezone = 'UTC'", "C(SET) Z(I)");
        write(rig, "set timezone = 'CET'", "C(SET) Z(I)");
        write(rig, "reset timezone", "C(RESET) Z(I)");
        read_behind(rig, &["reset timezone"]);
    });
}

#[test]
fn reset_all_replaces_every_setting() {
    each(config, |rig| {
        rig.both();
        write(rig, "set timezone = 'UTC'", "C(SET) Z(I)");
        read_behind(rig, &["set timezone = 'UTC'"]);
        write(rig, "reset all", "C(RESET) Z(I)");
        read_behind(rig, &["RESET ALL"]);
    });
}

#[test]
fn a_setting_that_is_rolled_back_never_happened() {
    each(config, |rig| {
        rig.both();
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "set timezone = 'UTC'", "C(SET) Z(T)");
        write(rig, "rollback", "C(ROLLBACK) Z(I)");
        read_behind(rig, &[]);
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "set timezone = 'UTC'", "C(SET) Z(T)");
        write(rig, "select 1/0", "E(22012) Z(E)");
        write(rig, "commit", "C(ROLLBACK) Z(I)");
        read_behind(rig, &[]);
    });
}

#[test]
fn a_setting_is_replayed_when_its_transaction_commits() {
    each(config, |rig| {
        rig.both();
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "set timezone = 'UTC'", "C(SET) Z(T)");
        write(rig, "set local search_path = x", "C(SET) Z(T)");
        write(rig, "commit", "C(COMMIT) Z(I)");
        read_behind(rig, &["set timezone = 'UTC'"]);
    });
}

#[test]
fn an_error_in_the_same_query_takes_a_setting_back() {
    each(config, |rig| {
        rig.both();
        write(
            rig,
            "set timezone = 'UTC'; select 1/0",
            "C(SET) E(22012) Z(I)",
        );
        read_behind(rig, &[]);
        write(rig, "set timezone = 'nowhere'", "E(22023) Z(I)");
        read_behind(rig, &[]);
        write(
            rig,
            "set timezone = 'UTC'; select 1",
            "C(SET) T D(1) C(SELECT 1) Z(I)",
        );
        read_behind(rig, &["set timezone = 'UTC'"]);
    });
}

#[test]
fn a_setting_by_the_extended_protocol() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,set timezone = 'UTC') B(,) E S");
        rig.see(WRITER, "P(,set timezone = 'UTC') B(,) E S");
        rig.writer("1 2 C(SET) Z(I)");
        rig.see(CLIENT, "1 2 C(SET) Z(I)");
        read_behind(rig, &["set timezone = 'UTC'"]);
    });
}

/// The answer to an earlier batch comes between a Bind and its Execute.
#[test]
fn a_setting_whose_execute_comes_late() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,insert into t values(1)) B(,) E S P(,set timezone = 'UTC') B(,)");
        rig.writer("1 2 C(INSERT 0 1) Z(I)");
        rig.client("E S");
        rig.take(WRITER);
        rig.writer("1 2 C(SET) Z(I)");
        rig.take(CLIENT);
        read_behind(rig, &["set timezone = 'UTC'"]);
    });
}

#[test]
fn several_settings_in_flight_at_once() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(set timezone = 'UTC') Q(set search_path = a) Q(select 1)");
        rig.see(WRITER, "Q(set timezone = 'UTC') Q(set search_path = a)");
        rig.writer("C(SET) Z(I) C(SET) Z(I)");
        rig.see(READER, "Q(set timezone = 'UTC') Q(set search_path = a)");
        rig.reader("C(SET) Z(I) C(SET) Z(I)");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, &format!("C(SET) Z(I) C(SET) Z(I) {ROW}"));
    });
}

#[test]
fn a_setting_that_the_reader_refuses_pins() {
    each(config, |rig| {
        rig.both();
        write(rig, "set timezone = 'UTC'", "C(SET) Z(I)");
        write(rig, "set search_path = a", "C(SET) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(set timezone = 'UTC') Q(set search_path = a)");
        rig.reader("E(22023) Z(I) C(SET) Z(I)");
        rig.see(READER, "");
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.see(CLIENT, ROW);
        assert!(rig.has_event(|event| matches!(event, Event::Pinned(_))));
        read_on_the_writer(rig);
    });
}

#[test]
fn a_reader_that_is_dialled_again_gets_every_setting() {
    each(config, |rig| {
        rig.both();
        write(rig, "set timezone = 'UTC'", "C(SET) Z(I)");
        read_behind(rig, &["set timezone = 'UTC'"]);
        rig.eof(READER);
        rig.reader_again();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(set timezone = 'UTC')");
        rig.reader("C(SET) Z(I)");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
    });
}

/// H12, H20 and the like: what lives on the writer alone keeps the reads there.
#[test]
fn state_that_cannot_be_repeated_pins() {
    for text in [
        "create temp table t (a int)",
        "select set_config('timezone', 'UTC', false)",
        "load 'plpgsql'",
        "select setseed(0.5)",
        "set default_transaction_read_only = on",
        "create temporary view v as select 1",
        "select 1 into temp t",
        "create unlogged table t (a int)",
        "alter table t set unlogged",
        "update pg_settings set setting = 'b' where name = 'search_path'",
        "alter role alice set search_path = b",
        "alter database app reset search_path",
        "alter system set search_path = 'b'",
        "select 1 as a into pg_temp.t",
        "set search_path = pg_temp, public",
        "set local search_path = pg_temp",
        "explain (analyze) create temp table t as select 1",
        "explain analyze execute p",
        "create table t as execute p",
    ] {
        each(config, |rig| {
            rig.both();
            rig.client(&format!("Q({text})"));
            rig.see(WRITER, &format!("Q({text})"));
            rig.writer("C(OK) Z(I)");
            rig.see(CLIENT, "C(OK) Z(I)");
            read_on_the_writer(rig);
        });
    }
}

#[test]
fn settings_under_savepoints_pin() {
    each(config, |rig| {
        rig.both();
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "savepoint a", "C(SAVEPOINT) Z(T)");
        write(rig, "set timezone = 'UTC'", "C(SET) Z(T)");
        write(rig, "rollback to a", "C(ROLLBACK) Z(T)");
        write(rig, "commit", "C(COMMIT) Z(I)");
        read_on_the_writer(rig);
    });
}

/// An unlogged table outlives DISCARD ALL.
#[test]
fn discard_all_does_not_unpin_from_unlogged_tables() {
    each(config, |rig| {
        rig.both();
        write(
            rig,
            "create unlogged table t (a int)",
            "C(CREATE TABLE) Z(I)",
        );
        write(rig, "discard all", "C(DISCARD ALL) Z(I)");
        read_on_the_writer(rig);
    });
}

#[test]
fn discard_all_unpins() {
    each(config, |rig| {
        rig.both();
        write(rig, "create temp table t (a int)", "C(CREATE TABLE) Z(I)");
        read_on_the_writer(rig);
        write(rig, "discard all", "C(DISCARD ALL) Z(I)");
        read_behind(rig, &["DISCARD ALL"]);
    });
}

/// A pin that was set behind a DISCARD ALL in one pipeline is not lifted by it.
#[test]
fn discard_all_lifts_no_pin_that_comes_behind_it() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(discard all) Q(create temp table t (a int))");
        rig.see(WRITER, "Q(discard all) Q(create temp table t (a int))");
        rig.writer("C(DISCARD ALL) Z(I) C(CREATE TABLE) Z(I)");
        rig.see(CLIENT, "C(DISCARD ALL) Z(I) C(CREATE TABLE) Z(I)");
        read_on_the_writer(rig);
    });
}

/// The whole journal may be as large as its bound and still be replayed.
#[test]
fn a_large_journal_is_replayed() {
    each(config, |rig| {
        rig.both();
        let value = "x".repeat(20_000);
        let mut texts = Vec::new();
        for name in ["application_name", "search_path", "my.a", "my.b"] {
            let text = format!("set {name} = '{value}'");
            write(rig, &text, "C(SET) Z(I)");
            texts.push(text);
        }
        rig.client("Q(select 1)");
        assert!(rig.is_open(CLIENT));
        let mut answered = 0;
        while rig.is_open(READER) && answered < 10 {
            let shown = rig.shown(READER);
            if shown.is_empty() || shown.ends_with("Q(select 1)") {
                break;
            }
            for _ in shown.matches("Q(") {
                rig.reader("C(SET) Z(I)");
                answered += 1;
            }
        }
        let pinned = rig.has_event(|event| matches!(event, Event::Pinned(_)));
        assert!(pinned || answered == texts.len(), "{answered}");
        assert!(rig.is_open(CLIENT));
    });
}
