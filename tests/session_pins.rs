//! Every pin: what brings it about, what it does to reads, who is told, and what lifts it.

mod session_support;

use pgturnout::limits;
use pgturnout::session::{Config, Event, PeerId, RouteReason};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use pgturnout::track::Pin;
use session_support::{Chunk, Rig, config, login};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

struct Row {
    pin: Pin,
    bring: fn(&mut Rig),
    /// The statements that lift it, of [`CANDIDATES`] and of its own.
    lifted_by: &'static [&'static str],
}

/// What takes back more than one thing in PostgreSQL. Each is tried on every pin.
const CANDIDATES: [&str; 9] = [
    "discard all",
    "discard temp",
    "discard plans",
    "discard sequences",
    "reset all",
    "deallocate all",
    "unlisten *",
    "close all",
    "select pg_advisory_unlock_all()",
];

const ROWS: [Row; 19] = [
    Row {
        pin: Pin::TemporaryObject,
        bring: |rig| write(rig, "create temp table t (a int)"),
        lifted_by: &["discard all", "discard temp"],
    },
    Row {
        pin: Pin::TemporarySchema,
        bring: |rig| write(rig, "set search_path = pg_temp, public"),
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::UnloggedObject,
        bring: |rig| write(rig, "create unlogged table t (a int)"),
        lifted_by: &[],
    },
    Row {
        pin: Pin::Setting,
        bring: |rig| write(rig, "set default_transaction_isolation = serializable"),
        lifted_by: &[
            "discard all",
            "reset all",
            "reset default_transaction_isolation",
            "set default_transaction_isolation = 'read committed'",
        ],
    },
    Row {
        pin: Pin::SetConfig,
        bring: |rig| write(rig, "select set_config(name, value, false) from t"),
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::Savepoint,
        bring: |rig| {
            run(rig, "begin", "C(BEGIN) Z(T)");
            for n in 0..=limits::JOURNAL_SAVEPOINTS {
                run(rig, &format!("savepoint a{n}"), "C(SAVEPOINT) Z(T)");
            }
            run(rig, "set timezone = 'UTC'", "C(SET) Z(T)");
            run(rig, "commit", "C(COMMIT) Z(I)");
        },
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::TooManySettings,
        bring: |rig| {
            for n in 0..=limits::JOURNAL_ENTRIES {
                write(rig, &format!("set my.s{n} = 1"));
            }
        },
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::TooManyStatements,
        bring: |rig| {
            for n in 0..=limits::STATEMENTS {
                let parse = format!("P(s{n},select 1) S");
                rig.client(&parse);
                let at = if n < limits::STATEMENTS {
                    READER
                } else {
                    WRITER
                };
                let sent = rig.shown(at);
                assert!(sent.ends_with(&parse), "{sent}");
                rig.say(at, &"3 ".repeat(sent.matches("CS(").count()));
                rig.say(at, "1 Z(I)");
                rig.see(CLIENT, "1 Z(I)");
            }
        },
        lifted_by: &["discard all", "deallocate all"],
    },
    Row {
        pin: Pin::UnreadStatement,
        bring: |rig| {
            let text = format!("select '{}'", "x".repeat(limits::READ_BUFFER));
            rig.client(&format!("Q({text})"));
            assert_eq!(rig.take(WRITER).len(), text.len() + 6);
            rig.writer(ROW);
            rig.see(CLIENT, ROW);
        },
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::RestoreFailed,
        bring: |rig| {
            write(rig, "set timezone = 'Mars'");
            rig.client("Q(select 1)");
            rig.see(READER, "Q(set timezone = 'Mars')");
            rig.reader("E(22023) Z(I)");
            answer_read(rig, WRITER);
        },
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::SettingsDiffer,
        bring: |rig| {
            run(
                rig,
                "set datestyle = ymd",
                "C(SET) S(DateStyle,ISO, YMD) Z(I)",
            );
            rig.client("Q(select 1)");
            rig.see(READER, "Q(set datestyle = ymd)");
            rig.reader("C(SET) S(DateStyle,German) Z(I)");
            answer_read(rig, WRITER);
            // As both report it from now on.
            rig.reader("S(DateStyle,ISO, YMD)");
        },
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::Procedure,
        bring: |rig| write(rig, "call p()"),
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::Serializable,
        bring: |_| {},
        // The session began with it.
        lifted_by: &[],
    },
    Row {
        pin: Pin::IdleTimeout,
        bring: |rig| write(rig, "set idle_session_timeout = '2s'"),
        lifted_by: &[
            "discard all",
            "reset all",
            "reset idle_session_timeout",
            "set idle_session_timeout = 0",
        ],
    },
    Row {
        pin: Pin::LoginDefaults,
        bring: |rig| write(rig, "alter role alice set search_path = x"),
        lifted_by: &[],
    },
    Row {
        pin: Pin::Load,
        bring: |rig| write(rig, "load 'auto_explain'"),
        lifted_by: &[],
    },
    Row {
        pin: Pin::SetSeed,
        bring: |rig| write(rig, "select setseed(0.5)"),
        lifted_by: &[],
    },
    Row {
        pin: Pin::Unaccounted,
        bring: |rig| run(rig, "select 'x", "E(42601) Z(I)"),
        lifted_by: &["discard all"],
    },
    Row {
        pin: Pin::Lexing,
        bring: |rig| {
            let body = vec![b'x'; limits::READ_BUFFER];
            rig.raw(WRITER, &session_support::frames::raw(b'S', &body));
            rig.take(CLIENT);
        },
        lifted_by: &[],
    },
];

/// The writer runs a text and answers it.
#[track_caller]
fn run(rig: &mut Rig, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, &format!("Q({text})"));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

#[track_caller]
fn write(rig: &mut Rig, text: &str) {
    run(rig, text, &done(text));
}

/// What says that a statement is done: its first word, mostly.
fn done(text: &str) -> String {
    match text.split(' ').next() {
        Some("select") => "C(SELECT 1) Z(I)".to_owned(),
        word => format!("C({}) Z(I)", word.unwrap_or_default().to_uppercase()),
    }
}

#[track_caller]
fn answer_read(rig: &mut Rig, peer: PeerId) {
    rig.see(peer, "Q(select 1)");
    rig.say(peer, ROW);
    rig.see(CLIENT, ROW);
}

/// The same for what may drop statements: those that the writer lacks it gets before.
#[track_caller]
fn drop_all(rig: &mut Rig, says: &str, answer: &str) {
    rig.client(says);
    let asked = rig.shown(WRITER);
    let restored = asked
        .strip_suffix(says)
        .unwrap_or_else(|| panic!("{asked}"));
    let words = restored.split_inclusive(") ");
    for word in words {
        rig.writer(if word.starts_with("S ") { "Z(I)" } else { "1" });
    }
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

/// A session with both upstreams at work, and this pin.
fn pinned(row: &Row) -> Rig {
    let mut rig = Rig::new(config(), Chunk::Whole);
    if row.pin == Pin::Serializable {
        let pairs = [
            (&b"user"[..], &b"alice"[..]),
            (b"default_transaction_isolation", b"serializable"),
        ];
        let startup = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
        rig.raw(CLIENT, startup.raw());
        assert_eq!(rig.take(WRITER), startup.raw());
        rig.say(WRITER, "R");
        rig.say(WRITER, login(WRITER));
        rig.take(CLIENT);
    } else {
        rig.both();
    }
    (row.bring)(&mut rig);
    rig
}

/// Where the next read runs. Whatever the reader is told first it takes.
fn reads_at(rig: &mut Rig) -> PeerId {
    rig.events.clear();
    rig.client("Q(select 1)");
    for _ in 0..=limits::JOURNAL_ENTRIES {
        let told = rig.shown(READER);
        if told.ends_with("Q(select 1)") {
            rig.reader(&"3 ".repeat(told.matches("CS(").count()));
            rig.reader(ROW);
            rig.see(CLIENT, ROW);
            return READER;
        }
        if told.is_empty() {
            break;
        }
        rig.reader(&"C(OK) Z(I) ".repeat(told.matches("Q(").count()));
    }
    answer_read(rig, WRITER);
    WRITER
}

/// Whoever looks sees the pin: an event when it begins, the reason of each route, and the session when it is asked.
#[test]
fn every_pin_keeps_reads_home_and_is_told_of() {
    for row in &ROWS {
        let mut rig = pinned(row);
        let pin = row.pin;
        assert!(
            rig.has_event(|event| *event == Event::Pinned(pin)),
            "{pin:?}: no event"
        );
        let told: Vec<Pin> = rig.session.pins().collect();
        assert_eq!(told, [pin]);
        assert_eq!(rig.session.explain(b"select 1").pinned, Some(pin));
        assert_eq!(reads_at(&mut rig), WRITER, "{pin:?}");
        let routed = |event: &Event| matches!(event, Event::Routed { reason, .. } if *reason == RouteReason::Pinned(pin));
        assert!(rig.has_event(routed), "{pin:?}: no reason");
    }
}

#[test]
fn every_pin_is_lifted_by_what_ends_its_reason_and_by_nothing_else() {
    for row in &ROWS {
        let own = row.lifted_by.iter().copied();
        let own = own.filter(|text| !CANDIDATES.contains(text));
        for text in CANDIDATES.into_iter().chain(own) {
            let lifts = row.lifted_by.contains(&text);
            let mut rig = pinned(row);
            drop_all(&mut rig, &format!("Q({text})"), &done(text));
            let left = rig.session.pins().count();
            assert_eq!(left == 0, lifts, "{:?}: {text}", row.pin);
            let expected = if lifts { READER } else { WRITER };
            assert_eq!(reads_at(&mut rig), expected, "{:?}: {text}", row.pin);
        }
    }
}

/// The table knows every pin that there is.
#[test]
fn the_table_is_complete() {
    let source = std::fs::read_to_string("src/track/pins.rs").unwrap();
    let (_, from) = source.split_once("pub enum Pin {").unwrap();
    let (body, _) = from.split_once('}').unwrap();
    let names = body.lines().map(str::trim);
    let names = names.filter(|line| !line.is_empty() && !line.starts_with("//"));
    let mut names: Vec<String> = names
        .map(|line| line.trim_end_matches(',').into())
        .collect();
    let mut rows: Vec<String> = ROWS.iter().map(|row| format!("{:?}", row.pin)).collect();
    names.sort();
    rows.sort();
    assert_eq!(names, rows);
}

/// A statement that nobody remembers may have come behind the one that drops them all.
#[test]
fn deallocate_all_lifts_no_pin_of_a_statement_behind_it() {
    let few = || {
        let mut config: Config = config();
        config.limits.statements.names = 1;
        config
    };
    let mut rig = Rig::new(few(), Chunk::Whole);
    rig.both();
    rig.client("P(a,select 1) S");
    rig.reader("1 Z(I)");
    rig.client("P(b,select 1) S");
    rig.writer("1 Z(I)");
    rig.take(WRITER);
    rig.take(CLIENT);
    let says = "Q(deallocate all) P(c,select 1) S";
    drop_all(&mut rig, says, "C(DEALLOCATE ALL) Z(I) 1 Z(I)");
    assert_eq!(reads_at(&mut rig), WRITER);
    let one_text = "deallocate all; prepare d as select 1; prepare e as select 1";
    let answer = "C(DEALLOCATE ALL) C(PREPARE) C(PREPARE) Z(I)";
    run(&mut rig, one_text, answer);
    assert_eq!(reads_at(&mut rig), WRITER);
    run(&mut rig, "deallocate all", "C(DEALLOCATE ALL) Z(I)");
    assert_eq!(reads_at(&mut rig), READER);
}

/// A server refuses a name that a portal has, and behind a failure that portal may be there still. One that has ended is not.
#[test]
fn a_portal_that_ended_is_no_reason_for_a_pin() {
    for (how, answer, stands) in [
        ("Q(rollback to a)", "C(ROLLBACK) Z(T)", false),
        ("Q(commit and chain)", "C(COMMIT) Z(T)", false),
        ("Q(release a)", "C(RELEASE) Z(T)", true),
        ("S", "Z(T)", true),
    ] {
        let again = if stands {
            "E(42P03) Z(E)"
        } else {
            "2 E(22023) Z(E)"
        };
        let mut rig = Rig::new(config(), Chunk::Whole);
        rig.both();
        for (request, answer) in [
            ("Q(begin)", "C(BEGIN) Z(T)"),
            ("Q(savepoint a)", "C(SAVEPOINT) Z(T)"),
            (
                "P(s,set work_mem = 100) P(r,set work_mem = 200) B(p,s) S",
                "1 1 2 Z(T)",
            ),
            (how, answer),
            ("B(p,r) E(p) S", again),
            ("E(p) S", "E(25P02) Z(E)"),
        ] {
            rig.client(request);
            rig.see(WRITER, request);
            rig.writer(answer);
            rig.see(CLIENT, answer);
        }
        let pins: Vec<Pin> = rig.session.pins().collect();
        let expected = if stands { &[Pin::Unaccounted][..] } else { &[] };
        assert_eq!(pins, expected, "{how}");
    }
}

/// What a failure leaves of the portals of one name says nothing of those of others.
#[test]
fn a_portal_of_another_name_is_no_reason_for_a_pin() {
    for (closed, pinned) in [("CP(o) S", false), ("CP(p) S", true)] {
        let mut rig = Rig::new(config(), Chunk::Whole);
        rig.both();
        for (request, answer) in [
            ("P(,begin) B(,) E S", "1 2 C(BEGIN) Z(T)"),
            ("P(r,select 1) B(o,r) B(p,r) E(p,1) S", "1 2 2 D(1) s Z(T)"),
            ("P(,savepoint a) B(,) E S", "1 2 C(SAVEPOINT) Z(T)"),
            (closed, "3 Z(T)"),
            ("Q(select 1/0)", "E(22012) Z(E)"),
            ("P(,rollback to a) B(,) E S", "1 2 C(ROLLBACK) Z(T)"),
            ("E(p,1) S", "D(1) s Z(T)"),
        ] {
            rig.client(request);
            rig.see(WRITER, request);
            rig.writer(answer);
            rig.see(CLIENT, answer);
        }
        let pins: Vec<Pin> = rig.session.pins().collect();
        let expected = if pinned { &[Pin::Unaccounted][..] } else { &[] };
        assert_eq!(pins, expected, "{closed}");
    }
}

/// So it is where more names are closed than portals are remembered.
#[test]
fn a_closed_portal_is_in_doubt_without_room_for_its_name() {
    let few = || {
        let mut config: Config = config();
        config.limits.portals = 1;
        config
    };
    for (name, pinned) in [("o", true), ("p", true)] {
        let mut rig = Rig::new(few(), Chunk::Whole);
        rig.both();
        for (request, answer) in [
            ("Q(begin)", "C(BEGIN) Z(T)"),
            ("P(r,select 1) B(o,r) CP(o) B(p,r) S", "1 2 3 2 Z(T)"),
            ("Q(select 1/0)", "E(22012) Z(E)"),
            (&format!("E({name},1) S"), "E(25P02) Z(E)"),
        ] {
            rig.client(request);
            rig.see(WRITER, request);
            rig.writer(answer);
            rig.see(CLIENT, answer);
        }
        let pins = rig.session.pins().count();
        assert_eq!(pins, usize::from(pinned), "{name}");
    }
}

/// A function that is called by its number may leave anything in the session, but for those of large objects; one of the user's
/// counts as it does in a text.
#[test]
fn a_function_called_by_its_number_is_not_looked_into() {
    for (function, before, at) in [
        // set_config, lo_open, and the first number that a function of the user's may have.
        (2_078_u32, "", WRITER),
        (952, "", READER),
        (16_383, "", WRITER),
        (16_384, "", READER),
        // What lifts a pin takes nothing from what runs behind it.
        (2_078, "Q(discard all) ", WRITER),
    ] {
        let mut rig = Rig::new(config(), Chunk::Whole);
        rig.both();
        let body = [&function.to_be_bytes()[..], b"\0\0\0\0\0\0"].concat();
        rig.client(before);
        rig.raw(CLIENT, &session_support::frames::raw(b'F', &body));
        rig.take(WRITER);
        let answers = before.replace("Q(discard all)", "C(DISCARD ALL) Z(I)");
        rig.writer(&format!("{answers}V Z(I)"));
        rig.take(CLIENT);
        assert_eq!(reads_at(&mut rig), at, "{before}{function}");
    }
}
