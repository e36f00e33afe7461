//! Moves at their edges: what comes unasked or half at every moment, what a session takes along that no probe and no
//! journal has alone, and what is left behind.

mod session_support;

use std::time::Duration;

use pgturnout::limits;
use pgturnout::migrate::postgres::{OtherOids, Sequences};
use pgturnout::session::{
    CloseCause, Denial, Destination, Event, MoveOrder, MoveTarget, PeerId, ReadYourWrites, Timer,
};
use pgturnout::startup::UpstreamTlsPolicy;
use session_support::frames::{backend, frontend, raw};
use session_support::moving::{Had, SPARE, SPARE_LOGIN, movable};
use session_support::{Chunk, Rig, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const NEW: PeerId = PeerId::THIRD;
/// What the client is told of the new server.
const TOLD: &str = "S(server_version,15.19) S(in_hot_standby,off)";

fn order() -> MoveOrder {
    MoveOrder::new(MoveTarget::Writer(SPARE))
}

fn both() -> MoveOrder {
    MoveOrder::new(MoveTarget::Both {
        writer: SPARE,
        reader: Destination(1),
    })
}

#[track_caller]
fn ask(rig: &mut Rig, peer: PeerId, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(peer, &format!("Q({text})"));
    rig.say(peer, answer);
    rig.see(CLIENT, answer);
}

/// From the probe of the old server to the cutover.
#[track_caller]
fn moves(rig: &mut Rig, state: &Had, parts: &str, there: &Had) {
    rig.answer_probe(WRITER, state);
    rig.restore(NEW, parts);
    rig.answer_probe(NEW, there);
    rig.see(WRITER, "X");
    assert_eq!(rig.transfers(), [1, 1, 0, 0]);
}

/// What servers answer us is longer than some let them answer clients: that keeps no session, and ends none.
#[test]
fn what_is_asked_for_a_move_may_be_longer_than_a_clients_answer() {
    let short = || {
        let mut config = movable();
        config.limits.server_message = u32::try_from(limits::READ_BUFFER_MIN).expect("short");
        config
    };
    each(short, |rig| {
        let value: &'static str = Box::leak("x".repeat(limits::READ_BUFFER_MIN).into_boxed_str());
        let mut long = Had::default();
        long.settings.push(("work_mem_of_another", value, false));
        rig.logged_in();
        rig.migrate(order());
        rig.spare_in(NEW, &long);
        moves(rig, &long, "", &long);
    });
}

/// A reader is measured by what a fresh session has on the new server, not by what this one has set.
#[test]
fn a_reader_joins_behind_a_move_whatever_the_session_has_set() {
    each(movable, |rig| {
        rig.logged_in();
        rig.client("Q(set timezone = 'CET')");
        rig.see(WRITER, "Q(set timezone = 'CET')");
        rig.writer("S(TimeZone,CET) C(SET) Z(I)");
        rig.take(CLIENT);
        rig.migrate(order());
        rig.spare_in(NEW, &Had::default());
        let state = Had::default().set("TimeZone", "CET");
        rig.answer_probe(WRITER, &state);
        let (parts, _) = rig.restore_parts(NEW);
        assert_eq!(parts, "TimeZone=CET");
        rig.say(NEW, "1 2 D(CET) C(SELECT 1) 3 S(TimeZone,CET) Z(I)");
        rig.answer_probe(NEW, &state);
        rig.see(CLIENT, TOLD);
        rig.client("Q(select 1)");
        rig.reader_in();
        assert!(!rig.has_event(|event| matches!(event, Event::UpstreamFailed { .. })));
        rig.see(READER, "Q(set timezone = 'CET')");
        rig.reader("S(TimeZone,CET) C(SET) Z(I)");
        rig.see(READER, "Q(select 1)");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
    });
}

/// What the old server's defaults were is set on the new one, and so has to be on the reader beside it.
#[test]
fn a_reader_gets_the_defaults_that_were_taken_along() {
    each(movable, |rig| {
        rig.logged_in();
        let mut state = Had::default();
        state.settings.push(("search_path", "app, 'o''x'", false));
        let mut fresh = Had::default();
        fresh.settings.push(("search_path", "public", false));
        rig.migrate(order());
        rig.spare_in(NEW, &fresh);
        let there = Had::default().set("search_path", "app, 'o''x'");
        moves(rig, &state, "search_path=app, \\'o\\'\\'x\\'", &there);
        rig.take(CLIENT);
        rig.client("Q(select 1)");
        rig.reader_in();
        rig.see(
            READER,
            "Q(select pg_catalog.set_config('search_path', 'app, ''o''''x''', false))",
        );
        rig.reader("T D(x) C(SELECT 1) Z(I)");
        rig.see(READER, "Q(select 1)");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
    });
}

/// A setting of an extension that the new server has not loaded yet is a custom one there.
#[test]
fn a_setting_of_an_extension_goes_along() {
    each(movable, |rig| {
        rig.logged_in();
        ask(
            rig,
            WRITER,
            "set pg_trgm.similarity_threshold = 0.5",
            "C(SET) Z(I)",
        );
        rig.migrate(order());
        rig.spare_in(
            NEW,
            &Had {
                custom: vec![None],
                ..Had::default()
            },
        );
        let custom = vec![Some("0.5")];
        let state = Had {
            custom: custom.clone(),
            ..Had::default().set("pg_trgm.similarity_threshold", "0.5")
        };
        let there = Had {
            custom,
            ..Had::default()
        };
        moves(rig, &state, "pg_trgm.similarity_threshold=0.5", &there);
    });
}

/// A cancel that comes while the client's request waits for the move means that request.
#[test]
fn a_cancel_waits_with_the_request_that_is_held() {
    each(movable, |rig| {
        rig.logged_in();
        rig.migrate(order());
        rig.spare_in(NEW, &Had::default());
        rig.client("Q(delete from t)");
        assert!(rig.session.cancel_target().is_none());
        assert!(rig.session.is_holding(), "its request is held");
        moves(rig, &Had::default(), "", &Had::default());
        rig.see(NEW, "Q(delete from t)");
        assert!(!rig.session.is_holding());
        let target = rig.session.cancel_target().expect("it runs");
        assert_eq!((target.peer, target.to), (NEW, SPARE));
        rig.say(NEW, "C(DELETE 1) Z(I)");
        assert!(!rig.session.is_current(&target));
    });
    // One that is held and has asked for nothing waits for nothing.
    each(movable, |rig| {
        rig.logged_in();
        rig.migrate(order());
        rig.spare_in(NEW, &Had::default());
        assert!(!rig.session.is_holding());
        rig.raw(CLIENT, &frontend("Q(delete from t)")[..7]);
        assert!(!rig.session.is_holding(), "half a request is none");
    });
}

/// Half a message, a whole one and many of them, before the hold and in it: each byte goes to one server, once, in order.
#[test]
fn a_message_cut_anywhere_goes_to_one_server_whole() {
    let sent = frontend("P(,delete from t) B E S Q(delete from u)");
    for cut in 0..=sent.len() {
        for second in [(cut + 7).min(sent.len()), sent.len()] {
            each(movable, |rig| {
                rig.logged_in();
                rig.migrate(order());
                rig.take_startup(NEW);
                rig.say(NEW, "R");
                rig.say(NEW, SPARE_LOGIN);
                rig.see_probe(NEW);
                rig.raw(CLIENT, &sent[..cut]);
                rig.transcript.push(format!("{cut} {second}"));
                let first = rig.take(WRITER);
                rig.raw(NEW, &Had::default().answer());
                rig.raw(CLIENT, &sent[cut..second]);
                // What was forwarded before the hold is answered by the old server, up to its end.
                let begun = first.len();
                let held = rig.has_event(|event| matches!(event, Event::MoveHeld));
                if begun > 0 {
                    rig.raw(CLIENT, &sent[second..]);
                    let more = rig.take(WRITER);
                    let all = [first, more].concat();
                    if held {
                        assert!(all == frontend("P(,delete from t) B E S") || all == sent);
                    } else {
                        let wanted = frontend("P(,delete from t) B E S");
                        assert!(all.starts_with(&wanted), "{}", all.escape_ascii());
                    }
                    rig.writer("1 2 C(DELETE 1) Z(I)");
                    if all == sent {
                        rig.writer("C(DELETE 2) Z(I)");
                    } else {
                        rig.answer_probe(WRITER, &Had::default());
                        rig.restore(NEW, "P(,delete from t)");
                        rig.answer_probe(NEW, &Had::default());
                        rig.see(NEW, "Q(delete from u)");
                        rig.say(NEW, "C(DELETE 2) Z(I)");
                    }
                    let got = rig.shown(CLIENT);
                    let got = got.replace(&format!("{TOLD} "), "");
                    assert_eq!(
                        got, "1 2 C(DELETE 1) Z(I) C(DELETE 2) Z(I)",
                        "{cut} {second}"
                    );
                    return;
                }
                moves(rig, &Had::default(), "", &Had::default());
                rig.raw(CLIENT, &sent[second..]);
                assert_eq!(rig.take(NEW), sent, "{cut} {second}");
            });
        }
    }
}

/// What either server says unasked at each moment of a move: the client hears the one that serves it, whole and in order.
#[test]
fn what_comes_unasked_is_heard_of_the_server_that_serves() {
    let said = "N(old) A(7,c,x) S(application_name,old)";
    let other = "N(new) A(8,c,y) S(application_name,new)";
    each(movable, |rig| {
        let say = |rig: &mut Rig| {
            rig.writer(said);
            if rig.is_open(NEW) {
                rig.say(NEW, other);
            }
            rig.see(CLIENT, said);
        };
        rig.logged_in();
        rig.migrate(order());
        rig.take_startup(NEW);
        rig.writer(said);
        rig.see(CLIENT, said);
        rig.say(NEW, "R");
        rig.say(NEW, SPARE_LOGIN);
        rig.see_probe(NEW);
        say(rig);
        rig.raw(NEW, &Had::default().answer());
        rig.see_probe(WRITER);
        // Our own question gives rise to no notice.
        rig.writer(said);
        rig.see(CLIENT, said);
        let answer = Had::default().answer();
        rig.raw(WRITER, &answer[..5]);
        rig.writer(said);
        rig.raw(WRITER, &answer[5..]);
        rig.see(CLIENT, said);
        say(rig);
        rig.restore(NEW, "");
        say(rig);
        rig.see_probe(NEW);
        rig.raw(NEW, &answer[..5]);
        say(rig);
        // Half a message of the old server is out: the session leaves it behind its end.
        let long = format!("A(7,c,{})", "long ".repeat(200));
        let half = backend(&long);
        rig.raw(WRITER, &half[..900]);
        rig.raw(NEW, &answer[5..]);
        assert_eq!(rig.transfers(), [1, 0, 0, 0]);
        rig.client("Q(delete from t)");
        rig.raw(WRITER, &half[900..]);
        rig.see(WRITER, "X");
        rig.see(NEW, "Q(delete from t)");
        rig.see(CLIENT, &format!("{long} {TOLD} S(application_name,new)"));
        rig.say(NEW, other);
        rig.say(NEW, "C(DELETE 1) Z(I)");
        rig.see(CLIENT, &format!("{other} C(DELETE 1) Z(I)"));
    });
}

/// A login that is given up between two of its connections is not made after all.
#[test]
fn a_second_dial_is_not_made_for_a_move_that_was_given_up() {
    let config = || {
        let mut config = movable();
        config.upstreams[2].tls = UpstreamTlsPolicy::Allow;
        config
    };
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.logged_in();
    rig.migrate(order());
    rig.take_startup(NEW);
    // The refusal of a login in clear, and the move is given up before the driver has closed that connection.
    let refusal = backend("FATAL(28000)");
    while rig.session.handle_input(rig.now, NEW, &refusal) == pgturnout::session::Demand::Again {}
    rig.session.cancel_migration(rig.now);
    rig.run();
    assert!(!rig.is_open(NEW), "{:?}", rig.dialled);
    assert_eq!(rig.session.poll_timeout(), None);
    rig.move_begins(NEW, &Had::default());
}

/// Whoever is told to go goes from every phase, and nothing stays open.
#[test]
fn an_expulsion_or_a_mistake_of_the_driver_ends_every_phase() {
    for at in 0..6 {
        for mistake in [false, true] {
            each(movable, |rig| {
                rig.logged_in();
                rig.migrate(order());
                let state = Had::default().set("work_mem", "64");
                let steps: [fn(&mut Rig, &Had); 5] = [
                    |rig, _| rig.take_startup(NEW),
                    |rig, _| {
                        rig.say(NEW, "R");
                        rig.say(NEW, SPARE_LOGIN);
                        rig.see_probe(NEW);
                    },
                    |rig, _| {
                        rig.raw(NEW, &Had::default().answer());
                        rig.see_probe(WRITER);
                    },
                    |rig, state| {
                        rig.raw(WRITER, &state.answer());
                        rig.see_parts(NEW, "work_mem=64");
                    },
                    |rig, _| {
                        rig.say(NEW, "1 2 D(x) C(SELECT 1) 3 Z(I)");
                        rig.see_probe(NEW);
                    },
                ];
                for step in steps.iter().take(at) {
                    step(rig, &state);
                }
                if mistake {
                    rig.session.transmitted(rig.now, CLIENT, 1_000_000);
                    rig.run();
                } else {
                    rig.expel(Denial::new("enough"));
                    rig.see(CLIENT, "FATAL(57P01)");
                }
                assert_eq!(rig.transfers(), [1, 0, 1, 0], "{at}");
                assert!(rig.is_dead(), "{at}");
                for peer in PeerId::ALL {
                    assert!(!rig.is_open(peer), "{peer} at {at}");
                }
                assert_eq!(rig.session.poll_timeout(), None);
            });
        }
    }
}

/// A server that does not take its farewell is left at the deadline, and the next move has another connection.
#[test]
fn a_server_that_does_not_take_its_farewell_is_left_all_the_same() {
    let config = || {
        let mut config = movable();
        config.timeouts.drain = Duration::from_secs(1);
        config
    };
    each(config, |rig| {
        rig.logged_in();
        rig.migrate(order());
        rig.spare_in(NEW, &Had::default());
        rig.takes(NEW, false);
        rig.session.cancel_migration(rig.now);
        rig.run();
        assert!(rig.is_open(NEW));
        rig.answer_probe(WRITER, &Had::default());
        rig.migrate(order());
        rig.spare_in(PeerId::FOURTH, &Had::default());
        rig.expire(Timer::Retire(NEW));
        assert!(!rig.is_open(NEW));
        rig.answer_probe(WRITER, &Had::default());
        rig.restore(PeerId::FOURTH, "");
        rig.takes(WRITER, false);
        rig.answer_probe(PeerId::FOURTH, &Had::default());
        assert_eq!(rig.transfers(), [2, 1, 1, 0]);
        ask_on(rig, PeerId::FOURTH);
        rig.expire(Timer::Retire(WRITER));
        assert!(!rig.is_open(WRITER));
        assert_eq!(rig.session.poll_timeout(), None);
    });
}

fn ask_on(rig: &mut Rig, peer: PeerId) {
    rig.take(CLIENT);
    ask(rig, peer, "delete from t", "C(DELETE 1) Z(I)");
}

/// A request that waits for the reader's login is served though that reader is exchanged.
#[test]
fn a_read_that_waits_for_its_reader_is_served_by_the_next() {
    for target in [MoveTarget::Reader(SPARE), both().target] {
        each(movable, |rig| {
            rig.logged_in();
            rig.client("Q(select 1)");
            rig.take_startup(READER);
            rig.migrate(MoveOrder::new(target));
            if matches!(target, MoveTarget::Both { .. }) {
                rig.spare_in(NEW, &Had::default());
                moves(rig, &Had::default(), "", &Had::default());
                rig.see(CLIENT, TOLD);
            }
            let reader = target_reader(target);
            assert_eq!(rig.session.reader_place(), reader);
            rig.reader_in();
            rig.see(READER, "Q(select 1)");
            rig.reader("T D(1) C(SELECT 1) Z(I)");
            rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
        });
    }
}

fn target_reader(target: MoveTarget) -> Destination {
    match target {
        MoveTarget::Reader(reader) | MoveTarget::Both { reader, .. } => reader,
        MoveTarget::Writer(_) => unreachable!(),
    }
}

/// Log positions are those of the new writer.
#[test]
fn writes_are_read_behind_the_new_servers_log() {
    let config = || {
        let mut config = movable();
        config.read_your_writes = ReadYourWrites::Replayed;
        config
    };
    const WRITTEN: &str = "Q(select pg_catalog.pg_current_wal_insert_lsn())";
    const REPLAYED: &str = "Q(select pg_catalog.pg_last_wal_replay_lsn())";
    each(config, |rig| {
        rig.both();
        ask(rig, WRITER, "update t set a = 1", "C(UPDATE 1) Z(I)");
        rig.client("Q(select 1)");
        rig.see(WRITER, WRITTEN);
        rig.writer("T D(9/99) C(SELECT 1) Z(I)");
        rig.see(READER, REPLAYED);
        rig.reader("T D(9/99) C(SELECT 1) Z(I)");
        rig.see(READER, "Q(select 1)");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.take(CLIENT);
        rig.migrate(order());
        rig.spare_in(NEW, &Had::default());
        moves(rig, &Had::default(), "", &Had::default());
        rig.take(CLIENT);
        rig.client("Q(select 1)");
        rig.see(READER, "");
        rig.see(NEW, WRITTEN);
        rig.say(NEW, "T D(0/40) C(SELECT 1) Z(I)");
        rig.see(READER, REPLAYED);
        rig.reader("T D(0/3F) C(SELECT 1) Z(I)");
        rig.see(READER, "");
        rig.see(NEW, "Q(select 1)");
    });
}

/// A Parse of a statement with one parameter of this type.
fn parse(name: &str, text: &str, oid: u32) -> Vec<u8> {
    let body = [
        name.as_bytes(),
        b"\0",
        text.as_bytes(),
        b"\0\0\x01",
        &oid.to_be_bytes(),
    ];
    raw(b'P', &body.concat())
}

/// The answer to a lookup of one type, `app.mood`.
fn types(oid: &str) -> Vec<u8> {
    let mut table = vec![
        0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1,
    ];
    for cell in [oid, "app", "mood"] {
        table.extend(u32::try_from(cell.len()).unwrap().to_be_bytes());
        table.extend(cell.as_bytes());
    }
    let len = u32::try_from(table.len()).unwrap().to_be_bytes();
    let row = [&[0, 1][..], &len, &table].concat();
    let row = raw(b'D', &row);
    [backend("1 2"), row, backend("C(SELECT 1) Z(I) 3 Z(I)")].concat()
}

fn other_cluster() -> Had {
    Had {
        system: Some("7714"),
        ..Had::default()
    }
}

/// A move to that, on which both servers are asked for the type that the client has declared.
#[track_caller]
fn looks_types_up(rig: &mut Rig, mut order: MoveOrder, policy: OtherOids) {
    order.other_oids = policy;
    rig.migrate(order);
    rig.spare_in(NEW, &other_cluster());
    rig.answer_probe(WRITER, &Had::default());
    rig.see_probe(WRITER);
    rig.raw(WRITER, &types("16400"));
    rig.see_probe(NEW);
    rig.raw(NEW, &types("17000"));
}

/// The unnamed statement, which no server lists, has types too.
#[test]
fn the_types_of_the_unnamed_statement_are_looked_up() {
    for policy in [OtherOids::Refuse, OtherOids::Remap] {
        let mut rig = Rig::new(movable(), Chunk::Whole);
        rig.logged_in();
        rig.raw(CLIENT, &parse("", "delete from t where a = $1", 16_400));
        rig.client("S");
        rig.take(WRITER);
        rig.writer("1 Z(I)");
        rig.take(CLIENT);
        looks_types_up(&mut rig, order(), policy);
        match policy {
            OtherOids::Refuse => assert_eq!(rig.transfers(), [1, 0, 1, 0]),
            OtherOids::Remap => {
                let wanted = [
                    parse("", "delete from t where a = $1", 17_000),
                    frontend("S"),
                ];
                assert_eq!(rig.take(NEW), wanted.concat());
            }
        }
    }
}

/// Behind a move to a cluster with other OIDs every statement is prepared with those, wherever it was before.
#[test]
fn what_is_prepared_behind_a_move_has_the_new_types() {
    let mut rig = Rig::new(movable(), Chunk::Whole);
    rig.both();
    // One that both servers have, and one that the reader alone has.
    rig.raw(CLIENT, &parse("r", "select $1", 16_400));
    rig.client("S");
    rig.take(READER);
    rig.reader("1 Z(I)");
    rig.raw(CLIENT, &parse("w", "delete from t where a = $1", 16_400));
    rig.client("S");
    assert_eq!(
        rig.take(WRITER),
        [
            parse("w", "delete from t where a = $1", 16_400),
            frontend("S")
        ]
        .concat()
    );
    rig.writer("1 Z(I)");
    rig.take(CLIENT);
    let mut order = both();
    order.other_oids = OtherOids::Remap;
    rig.migrate(order);
    rig.spare_in(NEW, &other_cluster());
    let state = Had {
        statements: vec![(
            "w",
            "{16400}",
            "delete from t where a = $1".to_owned(),
            false,
        )],
        ..Had::default()
    };
    rig.answer_probe(WRITER, &state);
    rig.see_probe(WRITER);
    rig.raw(WRITER, &types("16400"));
    rig.see_probe(NEW);
    rig.raw(NEW, &types("17000"));
    rig.take(NEW);
    rig.say(NEW, "1 Z(I)");
    let there = Had {
        statements: vec![(
            "w",
            "{17000}",
            "delete from t where a = $1".to_owned(),
            false,
        )],
        ..other_cluster()
    };
    rig.answer_probe(NEW, &there);
    assert_eq!(rig.transfers(), [1, 1, 0, 0]);
    rig.take(CLIENT);
    rig.take(READER);
    rig.client("B(,r) E S");
    rig.reader_in();
    let got = rig.take(READER);
    let wanted = parse("r", "select $1", 17_000);
    assert!(got.starts_with(&wanted), "{}", got.escape_ascii());
}

/// The types of a statement that the reader alone has are looked up, too: it is prepared beside the new server one day.
#[test]
fn the_types_of_what_only_the_reader_has_are_looked_up() {
    for policy in [OtherOids::Refuse, OtherOids::Remap] {
        let mut rig = Rig::new(movable(), Chunk::Whole);
        rig.both();
        rig.raw(CLIENT, &parse("r", "select $1", 16_400));
        rig.client("S");
        rig.take(READER);
        rig.reader("1 Z(I)");
        rig.take(CLIENT);
        looks_types_up(&mut rig, both(), policy);
        if policy == OtherOids::Refuse {
            assert_eq!(rig.transfers(), [1, 0, 1, 0]);
            continue;
        }
        rig.see(NEW, "S");
        rig.say(NEW, "Z(I)");
        rig.answer_probe(NEW, &other_cluster());
        assert_eq!(rig.transfers(), [1, 1, 0, 0]);
        rig.take(READER);
        rig.client("B(,r) E S");
        rig.reader_in();
        let got = rig.take(READER);
        let wanted = parse("r", "select $1", 17_000);
        assert!(got.starts_with(&wanted), "{}", got.escape_ascii());
    }
}

/// The readers of a cluster that the writer has left have nothing of what is written from there on.
#[test]
fn a_reader_of_another_cluster_serves_no_more_reads() {
    each(movable, |rig| {
        rig.both();
        rig.migrate(order());
        rig.spare_in(NEW, &other_cluster());
        moves(rig, &Had::default(), "", &other_cluster());
        rig.see(READER, "X");
        rig.take(CLIENT);
        rig.client("Q(select 1)");
        rig.see(NEW, "Q(select 1)");
        rig.say(NEW, "T D(1) C(SELECT 1) Z(I)");
        rig.take(CLIENT);
        // Until it has one there.
        rig.migrate(MoveOrder::new(MoveTarget::Reader(Destination(1))));
        rig.client("Q(select 2)");
        rig.reader_in();
        rig.see(READER, "Q(select 2)");
    });
}

/// A client that says Terminate while it is held is heard when the move is over, or when it hangs up.
#[test]
fn a_farewell_of_the_client_waits_for_the_move_or_ends_it() {
    for hangs_up in [false, true] {
        each(movable, |rig| {
            rig.logged_in();
            rig.migrate(order());
            rig.spare_in(NEW, &Had::default());
            rig.client("X");
            assert!(!rig.session.is_holding(), "it asks for nothing");
            if hangs_up {
                rig.eof(CLIENT);
                assert_eq!(rig.transfers(), [1, 0, 1, 0]);
            } else {
                rig.answer_probe(WRITER, &Had::default());
                rig.restore(NEW, "");
                rig.answer_probe(NEW, &Had::default());
                assert_eq!(rig.transfers(), [1, 1, 0, 0]);
                assert_eq!(rig.take(NEW), frontend("X"));
            }
            assert_eq!(rig.cause(), CloseCause::ClientLeft);
            for peer in PeerId::ALL {
                assert!(!rig.is_open(peer), "{peer}");
            }
            assert_eq!(rig.session.poll_timeout(), None);
        });
    }
}

/// The old server has gone, and whoever gives the move up then ends the session, with no deadline left behind.
#[test]
fn a_shutdown_behind_the_old_servers_loss_ends_the_session() {
    let config = || {
        let mut config = movable();
        config.timeouts.shutdown = Duration::from_millis(1);
        config
    };
    for politely in [false, true] {
        each(config, |rig| {
            rig.logged_in();
            rig.migrate(order());
            rig.spare_in(NEW, &Had::default());
            rig.answer_probe(WRITER, &Had::default());
            rig.restore_parts(NEW);
            rig.eof(WRITER);
            assert!(!rig.is_dead());
            rig.takes(CLIENT, false);
            match politely {
                true => rig.shutdown(),
                false => {
                    rig.session.cancel_migration(rig.now);
                    rig.run();
                }
            }
            assert_eq!(rig.transfers(), [1, 0, 0, 1]);
            rig.expire(Timer::Drain);
            assert_eq!(rig.session.poll_timeout(), None);
            assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
        });
    }
}

/// What the client was told last is what counts, though the server that told it has gone.
#[test]
fn a_client_is_told_what_differs_from_what_it_was_told_last() {
    each(movable, |rig| {
        rig.logged_in();
        rig.writer("S(in_hot_standby,off) S(is_superuser,on)");
        rig.take(CLIENT);
        rig.migrate(order());
        rig.spare_in(NEW, &Had::default());
        rig.say(NEW, "S(is_superuser,on)");
        rig.answer_probe(WRITER, &Had::default());
        rig.restore(NEW, "");
        rig.eof(WRITER);
        rig.answer_probe(NEW, &Had::default());
        rig.see(CLIENT, "S(server_version,15.19)");
    });
}

/// A move that a slow pipeline keeps waiting begins as soon as the pipeline has a boundary, however much lies ahead.
#[test]
fn a_pipeline_that_never_pauses_does_not_keep_the_session() {
    let mut rig = Rig::new(movable(), Chunk::Whole);
    rig.logged_in();
    let batch = "P(,delete from t) B E S ";
    let mut sent = frontend(&batch.repeat(3));
    sent.extend(frontend("P(,delete from t) B E"));
    rig.migrate(order());
    rig.take_startup(NEW);
    rig.say(NEW, "R");
    rig.say(NEW, SPARE_LOGIN);
    rig.see_probe(NEW);
    rig.takes(WRITER, false);
    rig.raw(CLIENT, &sent);
    rig.raw(NEW, &Had::default().answer());
    // What is ahead ends inside a batch: that is the boundary to come.
    rig.client(&format!("S {batch}{batch}"));
    rig.takes(WRITER, true);
    assert_eq!(rig.take(WRITER), frontend(&batch.repeat(4)));
    rig.writer(&"1 2 C(DELETE 1) Z(I) ".repeat(4));
    rig.answer_probe(WRITER, &Had::default());
    rig.restore(NEW, "P(,delete from t)");
    rig.answer_probe(NEW, &Had::default());
    assert_eq!(rig.take(NEW), frontend(&batch.repeat(2)));
}

/// The bytes of a statement mean another text in another encoding, which no comparison of lengths shows.
#[test]
fn a_statement_of_another_encoding_keeps_the_session() {
    let rows = [("delete from caf\u{e9}", true), ("delete from cafe", false)];
    for (text, stays) in rows {
        each(movable, |rig| {
            rig.logged_in();
            rig.client(&format!("P(s,{text}) S"));
            rig.writer("1 Z(I)");
            rig.client("Q(set client_encoding = 'latin1')");
            rig.writer("S(client_encoding,LATIN1) C(SET) Z(I)");
            // What comes behind that is in the encoding of now.
            rig.client("P(t,delete from caf\u{e9}) S");
            rig.writer("1 Z(I)");
            rig.take(WRITER);
            rig.take(CLIENT);
            rig.migrate(order());
            rig.spare_in(NEW, &Had::default());
            let state = Had::default()
                .set("client_encoding", "LATIN1")
                .prepared("s", text)
                .prepared("t", "delete from caf\u{e9}");
            rig.answer_probe(WRITER, &state);
            assert_eq!(rig.transfers(), [1, 0, u64::from(stays), 0], "{text}");
            if let Some(Event::MoveFailed { reason, .. }) = rig.move_ended() {
                let why = "prepared under other settings by which its text is read: s";
                assert_eq!(reason.to_string(), why);
            }
        });
    }
}

/// A backslash in a string means what it meant when the text was read.
#[test]
fn a_statement_of_other_rules_for_strings_keeps_the_session() {
    for (text, stays) in [
        ("delete from t where a = 'a\\\\b'", true),
        ("delete from t where a = 'ab'", false),
    ] {
        each(movable, |rig| {
            rig.logged_in();
            rig.client("Q(set standard_conforming_strings = off)");
            rig.writer("S(standard_conforming_strings,off) C(SET) Z(I)");
            rig.client(&format!("P(s,{text}) S"));
            rig.writer("1 Z(I)");
            rig.client("Q(set standard_conforming_strings = on)");
            rig.writer("S(standard_conforming_strings,on) C(SET) Z(I)");
            rig.take(WRITER);
            rig.take(CLIENT);
            rig.migrate(order());
            rig.spare_in(NEW, &Had::default());
            rig.answer_probe(WRITER, &Had::default().prepared("s", text));
            assert_eq!(rig.transfers(), [1, 0, u64::from(stays), 0], "{text}");
        });
    }
}

/// `currval` and `lastval` cannot be moved: whoever orders the move says what becomes of them.
#[test]
fn what_a_sequence_gave_is_lost_or_keeps_the_session() {
    let prepared = [
        ("prepare n as select nextval('s')", "C(PREPARE) Z(I)"),
        ("execute n", "T D(1) C(SELECT 1) Z(I)"),
    ];
    let row = "T D(1) C(SELECT 1) Z(I)";
    for (before, has_values) in [
        (&[("select nextval('s')", row)][..], true),
        (&[("select setval('s', 3)", row)], true),
        (&[("select currval('s')", row)], false),
        (&[("select nextval('s')", "E(42P01) Z(I)")], true),
        (
            &[
                ("select nextval('s')", row),
                ("discard sequences", "C(DISCARD SEQUENCES) Z(I)"),
            ],
            false,
        ),
        (
            &[(
                "select nextval('s'); discard sequences",
                "T D(1) C(SELECT 1) C(DISCARD SEQUENCES) Z(I)",
            )],
            false,
        ),
        (
            &[(
                "discard sequences; select nextval('s')",
                "C(DISCARD SEQUENCES) T D(1) C(SELECT 1) Z(I)",
            )],
            true,
        ),
        (
            &[
                ("prepare n as select nextval('s')", "C(PREPARE) Z(I)"),
                (
                    "discard sequences; execute n",
                    "C(DISCARD SEQUENCES) T D(1) C(SELECT 1) Z(I)",
                ),
            ],
            true,
        ),
        (
            &[
                ("select nextval('s')", row),
                ("discard all", "C(DISCARD ALL) Z(I)"),
            ],
            false,
        ),
        (&prepared[..1], false),
        (&prepared, true),
    ] {
        for policy in [Sequences::Lose, Sequences::Refuse] {
            each(movable, |rig| {
                rig.logged_in();
                for (text, answer) in before {
                    ask(rig, WRITER, text, answer);
                }
                let mut order = order();
                order.sequences = policy;
                rig.migrate(order);
                rig.spare_in(NEW, &Had::default());
                rig.answer_probe(WRITER, &Had::default());
                let stays = has_values && policy == Sequences::Refuse;
                let ended = format!("{:?}", rig.move_ended());
                assert_eq!(
                    ended.contains("currval and lastval would be lost"),
                    stays,
                    "{before:?} {policy:?} {ended}"
                );
            });
        }
    }
}

/// A message of the old server of which nothing was forwarded when the new one takes over is not the client's any more; one
/// that has begun is waited for, and the move is given up when it does not end in time.
#[test]
fn half_a_message_of_the_old_server_is_waited_for_or_stays_behind_whole() {
    let half = backend(&format!("A(7,c,{})", "long ".repeat(200)));
    for (came, waits) in [(1, false), (4, false), (900, true)] {
        each(movable, |rig| {
            rig.logged_in();
            rig.migrate(order());
            rig.spare_in(NEW, &Had::default());
            rig.answer_probe(WRITER, &Had::default());
            rig.restore(NEW, "");
            rig.raw(WRITER, &half[..came]);
            rig.answer_probe(NEW, &Had::default());
            if !waits {
                assert_eq!(rig.transfers(), [1, 1, 0, 0], "{came}");
                rig.see(WRITER, "X");
                rig.see(CLIENT, TOLD);
                return;
            }
            assert_eq!(rig.transfers(), [1, 0, 0, 0]);
            rig.take(CLIENT);
            rig.client("Q(delete from t)");
            rig.pass(Duration::from_secs(60));
            assert_eq!(rig.transfers(), [1, 0, 1, 0], "at its deadline");
            rig.raw(WRITER, &half[900..]);
            rig.see(WRITER, "Q(delete from t)");
            rig.writer("C(DELETE 1) Z(I)");
            let rest = rig.take(CLIENT);
            assert!(rest.starts_with(&half[900..]));
        });
    }
}
