//! Settings, and what cannot be repeated elsewhere.

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
            rig.reader("S(scram_iterations,x) C(SET) Z(I)");
        }
    }
    rig.see(READER, "Q(select 1)");
    rig.reader(ROW);
    rig.see(CLIENT, ROW);
}

/// What lets another server know a custom setting.
const KNOWN: &str = "select pg_catalog.set_config('app.user', '', true)";

fn pinned(rig: &mut Rig, pin: Pin) -> bool {
    rig.has_event(|event| *event == Event::Pinned(pin))
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

/// The client sees the writer's parameters, one consistent stream: nothing of what a reader says of itself.
#[test]
fn parameters_of_a_reader_are_nobodys() {
    each(config, |rig| {
        rig.both();
        write(rig, "set timezone = 'UTC'", "C(SET) S(TimeZone,UTC) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(set timezone = 'UTC')");
        rig.reader("C(SET) S(TimeZone,UTC) S(application_name,) Z(I)");
        rig.see(READER, "Q(select 1)");
        rig.reader("S(in_hot_standby,on) S(default_transaction_read_only,on) T D(1)");
        rig.reader("S(server_version,18) C(SELECT 1) Z(I)");
        rig.see(CLIENT, ROW);
        write(
            rig,
            "set application_name = ''",
            "C(SET) S(default_transaction_read_only,off) S(application_name,) Z(I)",
        );
        read_behind(rig, &["set application_name = ''"]);
    });
}

/// A function changed it, or what SET means depends on what was set when it ran.
#[test]
fn a_reader_that_reports_other_settings_is_not_asked() {
    for (text, answer, restored) in [
        (
            "select f()",
            "S(DateStyle,German) T D(1) C(SELECT 1) Z(I)",
            "",
        ),
        (
            "set datestyle = ymd",
            "C(SET) S(DateStyle,German) Z(I)",
            "C(SET) S(DateStyle,ISO) Z(I)",
        ),
    ] {
        each(config, |rig| {
            rig.both();
            write(rig, "set datestyle = iso", "C(SET) S(DateStyle,ISO) Z(I)");
            rig.client("Q(select 1)");
            rig.see(READER, "Q(set datestyle = iso)");
            rig.reader("C(SET) S(DateStyle,ISO) Z(I)");
            rig.see(READER, "Q(select 1)");
            rig.reader(ROW);
            rig.see(CLIENT, ROW);
            write(rig, text, answer);
            rig.client("Q(select 1)");
            if !restored.is_empty() {
                rig.see(READER, &format!("Q({text})"));
                rig.reader(restored);
            }
            rig.see(READER, "");
            rig.see(WRITER, "Q(select 1)");
            rig.writer(ROW);
            rig.see(CLIENT, ROW);
            assert!(pinned(rig, Pin::SettingsDiffer));
            read_on_the_writer(rig);
            write(rig, "discard all", "C(DISCARD ALL) S(DateStyle,ISO) Z(I)");
            rig.client("Q(select 1)");
            rig.see(READER, "Q(DISCARD ALL)");
            rig.reader("C(DISCARD ALL) Z(I)");
            rig.see(READER, "Q(select 1)");
            rig.reader(ROW);
            rig.see(CLIENT, ROW);
        });
    }
}

/// What stands on the reader has been begun there.
#[test]
fn a_batch_on_the_reader_is_not_compared() {
    each(config, |rig| {
        rig.both();
        rig.client("P(a,select 1) H");
        rig.see(READER, "P(a,select 1) H");
        rig.reader("1");
        rig.writer("S(TimeZone,CET)");
        rig.reader("S(TimeZone,UTC)");
        rig.client("DS(a) S");
        rig.see(READER, "DS(a) S");
        rig.reader("t n Z(I)");
        rig.take(CLIENT);
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
        "select set_config('timezone', 'U' || 'TC', false)",
        "select set_config('timezone', 'UTC', false) from t",
        "load 'plpgsql'",
        "select setseed(0.5)",
        "set default_transaction_deferrable = on",
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
            let first = text.split(' ').next().unwrap_or_default();
            let done = format!("C({}) Z(I)", first.to_uppercase());
            rig.writer(&done);
            rig.see(CLIENT, &done);
            read_on_the_writer(rig);
        });
    }
}

/// S03.
#[test]
fn settings_under_savepoints_follow_them() {
    for (inside, end, restored) in [
        ("rollback to a", "commit", vec!["set timezone = 'UTC'"]),
        (
            "release a",
            "commit",
            vec!["set timezone = 'UTC'", "set search_path = x"],
        ),
        ("release a", "rollback", vec![]),
        ("ROLLBACK TRANSACTION TO A", "rollback", vec![]),
        (
            "rollback to savepoint A; set search_path = y",
            "commit",
            vec!["set timezone = 'UTC'", "set search_path = y"],
        ),
        ("savepoint a; rollback to a", "commit and chain", vec![]),
    ] {
        each(config, |rig| {
            rig.both();
            write(rig, "begin", "C(BEGIN) Z(T)");
            write(rig, "set timezone = 'UTC'", "C(SET) Z(T)");
            write(rig, "savepoint a", "C(SAVEPOINT) Z(T)");
            write(rig, "set search_path = x", "C(SET) Z(T)");
            write(rig, "set local search_path = l", "C(SET) Z(T)");
            let answers = inside.split(';').map(|one| match one.trim_start() {
                text if text.starts_with("set") => "C(SET)",
                text if text.starts_with("sav") => "C(SAVEPOINT)",
                text if text.starts_with("rel") => "C(RELEASE)",
                _ => "C(ROLLBACK)",
            });
            let answers: Vec<&str> = answers.collect();
            write(rig, inside, &format!("{} Z(T)", answers.join(" ")));
            match end {
                "commit" => write(rig, end, "C(COMMIT) Z(I)"),
                "rollback" => write(rig, end, "C(ROLLBACK) Z(I)"),
                _ => {
                    // What was set is the session's now: the next transaction takes back its own.
                    write(rig, end, "C(COMMIT) Z(T)");
                    write(rig, "set timezone = 'CET'", "C(SET) Z(T)");
                    write(rig, "rollback", "C(ROLLBACK) Z(I)");
                    return read_behind(rig, &["set timezone = 'UTC'", "set search_path = x"]);
                }
            }
            read_behind(rig, &restored);
        });
    }
}

/// The transaction is failed until the ROLLBACK TO, with which what was set since the savepoint is gone.
#[test]
fn a_statement_that_fails_under_a_savepoint() {
    for (end, restored) in [
        ("C(COMMIT) Z(I)", vec!["set timezone = 'UTC'"]),
        ("C(ROLLBACK) Z(I)", vec![]),
    ] {
        each(config, |rig| {
            rig.both();
            write(
                rig,
                "begin; set timezone = 'UTC'; savepoint a; set search_path = x",
                "C(BEGIN) C(SET) C(SAVEPOINT) C(SET) Z(T)",
            );
            write(rig, "select 1/0", "E(22012) Z(E)");
            if !restored.is_empty() {
                write(rig, "rollback to a", "C(ROLLBACK) Z(T)");
            }
            write(rig, "commit", end);
            read_behind(rig, &restored);
        });
    }
}

/// What was set stays the session's when its transaction is prepared (`AtEOXact_GUC` of `PrepareTransaction`), whatever
/// becomes of that later.
#[test]
fn what_is_set_outlives_the_prepare_of_its_transaction() {
    for end in ["commit prepared 'x'", "rollback prepared 'x'"] {
        each(config, |rig| {
            rig.both();
            write(rig, "begin", "C(BEGIN) Z(T)");
            write(rig, "set timezone = 'UTC'", "C(SET) Z(T)");
            write(
                rig,
                "prepare transaction 'x'",
                "C(PREPARE TRANSACTION) Z(I)",
            );
            read_behind(rig, &["set timezone = 'UTC'"]);
            write(rig, end, "C(OK) Z(I)");
            read_behind(rig, &[]);
        });
    }
    // It was failed, or none was open.
    each(config, |rig| {
        rig.both();
        write(rig, "begin; set timezone = 'UTC'", "C(BEGIN) C(SET) Z(T)");
        write(rig, "select 1/0", "E(22012) Z(E)");
        write(rig, "prepare transaction 'x'", "C(ROLLBACK) Z(I)");
        read_behind(rig, &[]);
    });
}

/// By the extended protocol, in one pipeline.
#[test]
fn savepoints_in_a_pipeline() {
    each(config, |rig| {
        rig.both();
        let all = "P(,begin) B(,) E P(,savepoint a) B(,) E P(,set timezone = 'UTC') B(,) E \
                   P(,rollback to a) B(,) E P(,set search_path = x) B(,) E P(,commit) B(,) E S";
        rig.client(all);
        rig.see(
            WRITER,
            &all.split_whitespace().collect::<Vec<_>>().join(" "),
        );
        rig.writer(
            "1 2 C(BEGIN) 1 2 C(SAVEPOINT) 1 2 C(SET) 1 2 C(ROLLBACK) 1 2 C(SET) 1 2 C(COMMIT) Z(I)",
        );
        rig.take(CLIENT);
        read_behind(rig, &["set search_path = x"]);
    });
}

#[test]
fn settings_under_too_many_savepoints_pin() {
    each(config, |rig| {
        rig.both();
        write(rig, "begin", "C(BEGIN) Z(T)");
        for n in 0..=pgturnout::limits::JOURNAL_SAVEPOINTS {
            write(rig, &format!("savepoint a{n}"), "C(SAVEPOINT) Z(T)");
        }
        write(rig, "set timezone = 'UTC'", "C(SET) Z(T)");
        write(rig, "rollback to a0", "C(ROLLBACK) Z(T)");
        write(rig, "commit", "C(COMMIT) Z(I)");
        assert!(pinned(rig, Pin::Savepoint));
        read_on_the_writer(rig);
        write(rig, "discard all", "C(DISCARD ALL) Z(I)");
        read_behind(rig, &["DISCARD ALL"]);
    });
}

/// S01: a set_config with literals is a SET.
#[test]
fn a_set_config_with_literals_is_a_set() {
    const DONE: &str = "T D(x) C(SELECT 1)";
    each(config, |rig| {
        rig.both();
        let text = "select set_config('search_path', 'a, b', false) as it";
        write(rig, text, &format!("{DONE} Z(I)"));
        rig.client("Q(select 1)");
        rig.see(
            READER,
            "Q(select pg_catalog.set_config('search_path', 'a, b', false))",
        );
        // The row of ours is nobody's.
        rig.reader("T D(a) C(SELECT 1) Z(I)");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        // Built-ins are built-ins as before: the path does not name their schema.
        rig.client("Q(select now())");
        rig.see(READER, "Q(select now())");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "savepoint a", "C(SAVEPOINT) Z(T)");
        let text = "select set_config('TimeZone', 'it''s', false), set_config('my.a', '1', true)";
        write(rig, text, &format!("{DONE} Z(T)"));
        write(rig, "release a", "C(RELEASE) Z(T)");
        let text = "select set_config('Role', 'bob', true)";
        write(rig, text, &format!("{DONE} Z(T)"));
        write(rig, "commit", "C(COMMIT) Z(I)");
        read_behind(
            rig,
            &[
                "select pg_catalog.set_config('my.a', '', true)",
                "select pg_catalog.set_config('timezone', 'it''s', false)",
            ],
        );
        write(rig, "set timezone = 'UTC'", "C(SET) Z(I)");
        read_behind(rig, &["set timezone = 'UTC'"]);
    });
}

/// A custom setting is known from then on, though its value ends with the transaction.
#[test]
fn a_local_custom_setting_is_known_on_the_reader() {
    for text in [
        "select set_config('app.user', '7', true)",
        "select set_config('app.user', $1, true)",
        "set local app.user = '7'",
    ] {
        each(config, |rig| {
            rig.both();
            let local = |rig: &mut Rig| {
                let batch = format!("P(,{text}) B(,) E S");
                write(rig, "begin", "C(BEGIN) Z(T)");
                rig.client(&batch);
                rig.see(WRITER, &batch);
                let done = match text.starts_with("select") {
                    true => "1 2 D(7) C(SELECT 1) Z(T)",
                    false => "1 2 C(SET) Z(T)",
                };
                rig.writer(done);
                rig.see(CLIENT, done);
                write(rig, "commit", "C(COMMIT) Z(I)");
            };
            local(rig);
            read_behind(rig, &[KNOWN]);
            local(rig);
            read_behind(rig, &[]);
            // What it has for the session it keeps.
            write(rig, "set app.user = 'x'", "C(SET) Z(I)");
            local(rig);
            read_behind(rig, &["set app.user = 'x'"]);
        });
    }
}

/// Nothing takes it back: not a rollback, of the whole or of a part, nor an error.
#[test]
fn a_custom_setting_is_known_whatever_becomes_of_it() {
    for (between, answer, end) in [
        ("rollback", "C(ROLLBACK) Z(I)", ""),
        ("rollback to a", "C(ROLLBACK) Z(T)", "C(COMMIT) Z(I)"),
        ("select 1/0", "E(22012) Z(E)", "C(ROLLBACK) Z(I)"),
    ] {
        for text in ["set app.user = '7'", "set local app.user = '7'"] {
            each(config, |rig| {
                rig.both();
                write(rig, "begin", "C(BEGIN) Z(T)");
                write(rig, "savepoint a", "C(SAVEPOINT) Z(T)");
                write(rig, text, "C(SET) Z(T)");
                write(rig, between, answer);
                if !end.is_empty() {
                    write(rig, "commit", end);
                }
                read_behind(rig, &[KNOWN]);
                // Nor does it end with the session's settings: the same server is told once.
                write(rig, "discard all", "C(DISCARD ALL) Z(I)");
                read_behind(rig, &["DISCARD ALL"]);
            });
        }
    }
    // Of several, each by itself; and what sets one tells of it, too.
    each(config, |rig| {
        rig.both();
        write(rig, "set my.a = '1'", "C(SET) Z(I)");
        write(rig, "discard all", "C(DISCARD ALL) Z(I)");
        write(rig, "set my.b = '1'", "C(SET) Z(I)");
        write(rig, "reset my.c", "C(RESET) Z(I)");
        read_behind(
            rig,
            &[
                "select pg_catalog.set_config('my.a', '', true)",
                "DISCARD ALL",
                "set my.b = '1'",
                "reset my.c",
            ],
        );
    });
}

#[test]
fn a_set_config_with_computed_arguments_pins_up_to_discard_all() {
    each(config, |rig| {
        rig.both();
        let text = "select set_config(name, value, false) from t";
        write(rig, text, "T D(x) C(SELECT 1) Z(I)");
        assert!(pinned(rig, Pin::SetConfig));
        write(rig, "reset all", "C(RESET) Z(I)");
        read_on_the_writer(rig);
        write(rig, "discard all", "C(DISCARD ALL) Z(I)");
        read_behind(rig, &["DISCARD ALL"]);
    });
}

/// A value that no text shows keeps the reads home up to the next one of its setting; that the setting is known outlasts it.
#[test]
fn a_custom_setting_of_a_parameter_pins_up_to_its_next_value() {
    for (end, answer, restored) in [
        (
            "discard all",
            "C(DISCARD ALL) Z(I)",
            &[KNOWN, "DISCARD ALL"][..],
        ),
        ("set app.user = '7'", "C(SET) Z(I)", &["set app.user = '7'"]),
    ] {
        each(config, |rig| {
            rig.both();
            let text = "select set_config('app.user', $1, false)";
            write(rig, text, "T D(x) C(SELECT 1) Z(I)");
            assert!(pinned(rig, Pin::Setting));
            read_on_the_writer(rig);
            write(rig, end, answer);
            read_behind(rig, restored);
        });
    }
}

#[test]
fn custom_settings_follow_their_session() {
    each(config, |rig| {
        rig.both();
        write(rig, "set my.Setting = 'a'", "C(SET) Z(I)");
        write(rig, "set my.other to 1, 2", "C(SET) Z(I)");
        read_behind(rig, &["set my.Setting = 'a'", "set my.other to 1, 2"]);
        write(rig, "reset MY.setting", "C(RESET) Z(I)");
        read_behind(rig, &["reset MY.setting"]);
    });
}

/// What cannot be repeated keeps reads home as long as it holds: by PostgreSQL's rules, as what can be repeated.
#[test]
fn a_pin_of_a_setting_ends_with_the_setting() {
    for (set, end, restored) in [
        (
            "set default_transaction_deferrable = on",
            "set default_transaction_deferrable = off",
            "set default_transaction_deferrable = off",
        ),
        (
            "set default_transaction_isolation = serializable",
            "reset default_transaction_isolation",
            "reset default_transaction_isolation",
        ),
        (
            "set session characteristics as transaction isolation level serializable",
            "set session characteristics as transaction isolation level repeatable read",
            "set session characteristics as transaction isolation level repeatable read",
        ),
        (
            "set time zone interval '1' hour",
            "set timezone = 'UTC'",
            "set timezone = 'UTC'",
        ),
        ("set idle_session_timeout = '2s'", "reset all", "RESET ALL"),
        (
            "set idle_session_timeout = '2s'",
            "set idle_session_timeout = 0",
            "set idle_session_timeout = 0",
        ),
    ] {
        let tag = match end.starts_with("reset") {
            true => "RESET",
            false => "SET",
        };
        each(config, |rig| {
            rig.both();
            write(rig, "begin", "C(BEGIN) Z(T)");
            write(rig, "savepoint a", "C(SAVEPOINT) Z(T)");
            write(rig, set, "C(SET) Z(T)");
            write(rig, "rollback to a", "C(ROLLBACK) Z(T)");
            write(rig, "commit", "C(COMMIT) Z(I)");
            read_behind(rig, &[]);
            write(rig, set, "C(SET) Z(I)");
            assert!(rig.has_event(|event| matches!(event, Event::Pinned(_))));
            read_on_the_writer(rig);
            write(rig, "begin", "C(BEGIN) Z(T)");
            write(rig, end, &format!("C({tag}) Z(T)"));
            write(rig, "rollback", "C(ROLLBACK) Z(I)");
            read_on_the_writer(rig);
            write(rig, end, &format!("C({tag}) Z(I)"));
            read_behind(rig, &[restored]);
        });
    }
}

#[test]
fn discard_temp_unpins_when_it_is_committed() {
    each(config, |rig| {
        rig.both();
        write(rig, "create temp table t (a int)", "C(CREATE TABLE) Z(I)");
        write(rig, "begin", "C(BEGIN) Z(T)");
        write(rig, "discard temp", "C(DISCARD TEMP) Z(T)");
        write(rig, "rollback", "C(ROLLBACK) Z(I)");
        read_on_the_writer(rig);
        write(
            rig,
            "discard temp; select 1/0",
            "C(DISCARD TEMP) E(22012) Z(I)",
        );
        read_on_the_writer(rig);
        write(
            rig,
            "discard temp; create temp table t (a int)",
            "C(DISCARD TEMP) C(CREATE TABLE) Z(I)",
        );
        read_on_the_writer(rig);
        rig.client("Q(discard temp) Q(create temp table u (a int))");
        rig.take(WRITER);
        rig.writer("C(DISCARD TEMP) Z(I) C(CREATE TABLE) Z(I)");
        rig.take(CLIENT);
        read_on_the_writer(rig);
        write(rig, "discard temp", "C(DISCARD TEMP) Z(I)");
        read_behind(rig, &[]);
    });
}

/// With it first in the path, the next table may be temporary again.
#[test]
fn discard_temp_does_not_unpin_from_a_search_path() {
    each(config, |rig| {
        rig.both();
        write(rig, "set search_path = pg_temp, public", "C(SET) Z(I)");
        write(rig, "discard temp", "C(DISCARD TEMP) Z(I)");
        read_on_the_writer(rig);
    });
}

/// What PostgreSQL keeps for statements that go to the writer anyway keeps no read there.
#[test]
fn state_that_only_the_writer_is_asked_for_pins_nothing() {
    for (text, tag) in [
        ("listen c", "LISTEN"),
        ("select pg_advisory_lock(1)", "SELECT 1"),
        ("declare c cursor with hold for select 1", "DECLARE CURSOR"),
        ("select nextval('s')", "SELECT 1"),
        ("prepare p as select 1", "PREPARE"),
    ] {
        each(config, |rig| {
            rig.both();
            write(rig, text, &format!("C({tag}) Z(I)"));
            for asks in ["fetch c", "select pg_listening_channels()"] {
                write(rig, asks, "C(OK) Z(I)");
            }
            read_behind(rig, &[]);
        });
    }
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

/// What is kept of a text in flight is let go when nothing comes of it: refused, skipped, or lost.
#[test]
fn texts_of_settings_that_fail_take_no_room() {
    let little = || {
        let mut config = config();
        config.limits.journal.bytes = 200;
        config
    };
    let text = format!("set my.a = '{}'", "x".repeat(100));
    let good = format!("P(,{text}) B(,) E S");
    let skipped = format!("P(,select 1/0) B(,) E P(,{text}) B(,) E S");
    for (request, answer) in [
        (&good, "1 2 E(22023) Z(I)"),
        (&skipped, "1 2 E(22012) Z(I)"),
    ] {
        each(little, |rig| {
            rig.both();
            for _ in 0..5 {
                rig.client(request);
                rig.see(WRITER, request);
                rig.writer(answer);
                rig.see(CLIENT, answer);
            }
            rig.client(&good);
            rig.see(WRITER, &good);
            rig.writer("1 2 C(SET) Z(I)");
            rig.see(CLIENT, "1 2 C(SET) Z(I)");
            read_behind(rig, &[&text]);
        });
    }
}
