//! What the session remembers of statements, settings and state, where SQL and the protocol meet and where its limits
//! are.

mod session_support;

use pgturnout::session::{Config, Event, PeerId};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use session_support::{Chunk, Rig, config, each, login};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// Both upstreams serve, and the reader has prepared `s`.
fn prepared(rig: &mut Rig) {
    rig.both();
    rig.client("P(s,select 1) S");
    rig.see(READER, "P(s,select 1) S");
    rig.reader("1 Z(I)");
    rig.see(CLIENT, "1 Z(I)");
}

fn write(rig: &mut Rig, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, &format!("Q({text})"));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

/// Who serves the next read.
#[track_caller]
fn read_from(rig: &mut Rig, peer: PeerId) {
    rig.client("Q(select 1)");
    rig.see(peer, "Q(select 1)");
    rig.say(peer, ROW);
    rig.see(CLIENT, ROW);
}

/// SQL and the protocol share one set of names: DEALLOCATE runs on the writer, which has to know the statement.
#[test]
fn deallocate_drops_a_statement_that_only_the_reader_has() {
    for text in ["deallocate s", "DEALLOCATE PREPARE S"] {
        each(config, |rig| {
            prepared(rig);
            rig.client(&format!("Q({text})"));
            rig.see(WRITER, &format!("P(s,) S Q({text})"));
            rig.writer("1 Z(I) C(DEALLOCATE) Z(I)");
            rig.see(CLIENT, "C(DEALLOCATE) Z(I)");
            // The name is free, on the reader as well.
            rig.client("P(s,select 2) B(,s) E S");
            rig.see(READER, "CS(s) P(s,select 2) B(,s) E S");
        });
    }
}

#[test]
fn a_batch_deallocates_a_statement_that_only_the_reader_has() {
    each(config, |rig| {
        prepared(rig);
        rig.client("P(,deallocate s) B(,) E S");
        rig.see(WRITER, "P(,deallocate s) B(,) P(s,) E S");
        rig.writer("1 2 1 C(DEALLOCATE) Z(I)");
        rig.see(CLIENT, "1 2 C(DEALLOCATE) Z(I)");
    });
}

/// In a transaction, which a Parse that fails would take along, a text is given those that it names; elsewhere all.
#[test]
fn a_text_in_a_transaction_finds_the_statements_that_it_names() {
    let parse = "P(st_1,select 1) S";
    for (text, is_named) in [
        ("do 'execute st_1'", true),
        ("insert into t values (app.f('EXECUTE ST_1'))", true),
        ("do 'execute st_2'", false),
        ("set work_mem = 'execute'", false),
        ("grant execute on all functions in schema app to bob", false),
        ("select name from pg_prepared_statements", true),
    ] {
        for begins in [true, false] {
            each(config, |rig| {
                rig.both();
                rig.client(parse);
                rig.see(READER, parse);
                rig.reader("1 Z(I)");
                rig.take(CLIENT);
                if begins {
                    write(rig, "begin", "C(BEGIN) Z(T)");
                }
                rig.client(&format!("Q({text})"));
                let query = format!("Q({text})");
                match is_named || !begins {
                    true => rig.see(WRITER, &format!("{parse} {query}")),
                    false => rig.see(WRITER, &query),
                }
            });
        }
    }
}

/// EXECUTE names a statement of the protocol, and runs on the writer where it is no read by itself.
#[test]
fn execute_finds_a_statement_that_only_the_reader_has() {
    for text in [
        "execute s(random())",
        "explain execute s",
        "select name from pg_prepared_statements",
    ] {
        each(config, |rig| {
            prepared(rig);
            rig.client(&format!("Q({text})"));
            rig.see(WRITER, &format!("P(s,select 1) S Q({text})"));
            rig.writer(&format!("1 Z(I) {ROW}"));
            rig.see(CLIENT, ROW);
        });
    }
}

/// Names that the client has closed cost nothing, however many they become.
#[test]
fn statements_that_were_closed_elsewhere_do_not_fill_the_memory() {
    let few = || {
        let mut config: Config = config();
        config.limits.statements.names = 4;
        config
    };
    each(few, |rig| {
        rig.both();
        for n in 0..40 {
            rig.client(&format!("P(s{n},select 1) S"));
            let sent = rig.shown(READER);
            assert!(sent.ends_with(&format!("P(s{n},select 1) S")), "{sent}");
            rig.reader(&"3 ".repeat(sent.matches("CS(").count()));
            rig.reader("1 Z(I)");
            rig.see(CLIENT, "1 Z(I)");
            // The Close follows the last request, which makes it the writer's.
            write(rig, "insert into t values(1)", "C(INSERT 0 1) Z(I)");
            rig.client(&format!("CS(s{n}) S"));
            rig.see(WRITER, &format!("CS(s{n}) S"));
            rig.writer("3 Z(I)");
            rig.see(CLIENT, "3 Z(I)");
        }
        assert!(!rig.has_event(|event| matches!(event, Event::Pinned(_))));
    });
}

/// Names that the client closed on the writer take none of the room that new ones there have.
#[test]
fn statements_of_a_transaction_take_the_room_of_those_it_closed() {
    let few = || {
        let mut config: Config = config();
        config.limits.statements.names = 4;
        config
    };
    let four = |one: fn(usize) -> String| (0..4).map(one).collect::<Vec<_>>().join(" ");
    let closes = four(|n| format!("CS(s{n})"));
    let parses = four(|n| format!("P(t{n},select {n})"));
    each(few, |rig| {
        rig.both();
        for n in 0..4 {
            rig.client(&format!("P(s{n},select 1) S"));
            rig.reader("1 Z(I)");
        }
        rig.take(READER);
        rig.take(CLIENT);
        write(rig, "begin", "C(BEGIN) Z(T)");
        rig.client(&format!("{closes} S"));
        rig.writer("3 3 3 3 Z(T)");
        for n in 0..4 {
            rig.client(&format!("P(t{n},select {n}) S"));
            rig.writer("1 Z(T)");
        }
        let all = parses.replace(") P", ") S P");
        rig.see(WRITER, &format!("{closes} S {all} S"));
        assert!(!rig.has_event(|event| matches!(event, Event::Pinned(_))));
    });
}

/// What a procedure does to the session is not in its text.
#[test]
fn a_procedure_keeps_the_reads_home_until_everything_is_discarded() {
    for (text, tag) in [
        ("do $$begin set search_path = x; end$$", "DO"),
        ("do $$begin create temp table t (a int); end$$", "DO"),
        ("call p()", "CALL"),
        ("execute made_by_prepare", "SELECT 1"),
    ] {
        each(config, |rig| {
            rig.both();
            write(rig, text, &format!("C({tag}) Z(I)"));
            read_from(rig, WRITER);
            write(rig, "discard all", "C(DISCARD ALL) Z(I)");
            rig.client("Q(select 1)");
            rig.see(READER, "Q(DISCARD ALL)");
            rig.reader("C(DISCARD ALL) Z(I)");
            rig.see(READER, "Q(select 1)");
        });
    }
}

#[test]
fn what_is_characteristic_of_a_session_counts_at_once() {
    each(config, |rig| {
        rig.both();
        write(
            rig,
            "set session characteristics as transaction isolation level serializable",
            "C(SET) Z(I)",
        );
        read_from(rig, WRITER);
    });
}

/// A role's defaults count from its next login on, and the reader's is one whenever it is lost.
#[test]
fn defaults_of_later_logins_keep_the_reads_home_for_good() {
    each(config, |rig| {
        rig.both();
        write(
            rig,
            "alter role alice set search_path = x",
            "C(ALTER ROLE) Z(I)",
        );
        read_from(rig, WRITER);
        write(rig, "discard all", "C(DISCARD ALL) Z(I)");
        read_from(rig, WRITER);
    });
}

/// A text that was not read may have done anything that DISCARD ALL undoes.
#[test]
fn a_query_too_long_to_be_read_keeps_the_reads_home_until_everything_is_discarded() {
    each(config, |rig| {
        rig.both();
        let long = format!("insert into t values ('{}')", "x".repeat(70_000));
        rig.client(&format!("Q({long})"));
        assert!(rig.shown(WRITER) == format!("Q({long})"));
        rig.writer("C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, "C(INSERT 0 1) Z(I)");
        read_from(rig, WRITER);
        write(rig, "discard all", "C(DISCARD ALL) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(DISCARD ALL)");
        rig.reader("C(DISCARD ALL) Z(I)");
        rig.see(READER, "Q(select 1)");
    });
}

/// Sets so many parameters with short names, each with a text of this length. How many were set before reads had to stay home.
fn settings(rig: &mut Rig, count: usize, length: usize) -> usize {
    rig.both();
    for n in 0..count {
        let name = [n / 26, n % 26].map(|at| char::from(b"abcdefghijklmnopqrstuvwxyz"[at]));
        let text = format!("set a.{}{} = '", name[0], name[1]);
        let fill = "x".repeat(length - text.len() - 1);
        write(rig, &format!("{text}{fill}'"), "C(SET) Z(I)");
        if rig.has_event(|event| matches!(event, Event::Pinned(_))) {
            return n;
        }
    }
    count
}

/// As many settings as are remembered can be repeated in one go, whatever their lengths.
#[test]
fn a_journal_at_its_limit_is_repeated_whole() {
    for length in [20, 60, 126, 127, 254, 255, 4_000] {
        let count = settings(&mut Rig::new(config(), Chunk::Whole), 400, length);
        assert!((4..400).contains(&count), "{count}");
        each(config, |rig| {
            assert_eq!(settings(rig, count, length), count);
            rig.client("Q(select 1)");
            rig.see(WRITER, "");
            assert_eq!(rig.shown(READER).matches("Q(set a.").count(), count);
            rig.reader(&"C(SET) Z(I) ".repeat(count));
            rig.see(READER, "Q(select 1)");
        });
    }
}

/// A session that was opened with these options, and its first read.
fn opened_with(rig: &mut Rig, options: &str) {
    let pairs = [
        (&b"user"[..], &b"alice"[..]),
        (b"options", options.as_bytes()),
    ];
    let startup = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
    rig.raw(CLIENT, startup.raw());
    rig.take(WRITER);
    rig.writer("R");
    rig.writer(login(WRITER));
    rig.take(CLIENT);
    rig.client("Q(select lower('X'))");
}

/// A search path that may put another schema before pg_catalog: `lower` may be anybody's function.
#[test]
fn options_that_may_name_the_catalog_make_functions_doubtful() {
    for options in [
        "-c search_path=s1,pg_catalog",
        "-c search_path=s1,PG_CATALOG",
        "-c search_path=s1,pg\\_catalog",
        "-c search_path=s1,\\p\\g_catalog",
        "-csearch_path=pg_te\\mp",
    ] {
        each(config, |rig| {
            opened_with(rig, options);
            rig.see(WRITER, "Q(select lower('X'))");
            assert!(!rig.is_open(READER));
        });
    }
}

#[test]
fn options_that_leave_the_catalog_first_do_not() {
    for options in ["", "-c search_path=s1,s2", "-c geqo=off"] {
        each(config, |rig| {
            opened_with(rig, options);
            rig.see(WRITER, "");
            assert!(rig.is_open(READER));
        });
    }
}

/// The unnamed statement is one name, however often a pipeline parses it.
#[test]
fn a_long_pipeline_of_writes_gives_nothing_up() {
    let count = config().limits.statements.names + 100;
    for batch in [
        format!("{}S", "P(,insert into t values(1)) B(,) E ".repeat(count)),
        "P(,insert into t values(1)) B(,) E S ".repeat(count),
    ] {
        each(config, |rig| {
            rig.both();
            rig.client(&batch);
            assert!(!rig.has_event(|event| matches!(event, Event::Pinned(_))));
        });
    }
}
