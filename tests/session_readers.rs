//! Sessions with several readers: which one is used, and when it is left for another.

mod session_support;

use std::time::Duration;

use pgturnout::route::{Balance, Excluded, Health, ReaderChoice, ReaderFacts};
use pgturnout::session::{
    CloseCause, Config, Destination, Event, Gate, PeerId, ReaderOpen, Role, RouteReason,
};
use session_support::{Dial, Rig, config, each, upstream};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// A writer and three readers, of which the one with the fewest outstanding requests serves, unless it lags.
fn three() -> Config {
    let mut config = config();
    config.upstreams.push(upstream(Role::Reader));
    config.upstreams.push(upstream(Role::Reader));
    config.reader_choice = ReaderChoice {
        balance: Balance::LeastOutstanding,
        max_lag: Some(Duration::from_secs(1)),
        max_lag_bytes: Some(1_000),
    };
    config
}

fn busy(outstanding: u32) -> ReaderFacts {
    ReaderFacts {
        outstanding,
        ..ReaderFacts::default()
    }
}

fn lagging() -> ReaderFacts {
    ReaderFacts {
        lag_bytes: Some(1_001),
        ..ReaderFacts::default()
    }
}

fn down() -> ReaderFacts {
    ReaderFacts {
        health: Health::Down,
        ..ReaderFacts::default()
    }
}

/// The driver tells what it knows of the three.
fn know(rig: &mut Rig, readers: [ReaderFacts; 3]) {
    let [a, b, c] = readers;
    rig.session
        .handle_readers(rig.now, &[ReaderFacts::default(), a, b, c]);
    rig.run();
}

fn dialled(rig: &Rig) -> Vec<usize> {
    let to = rig.dialled.iter().filter(|(peer, _)| *peer == READER);
    to.map(|(_, to)| to.0).collect()
}

/// A read, which this upstream serves.
#[track_caller]
fn reads_at(rig: &mut Rig, peer: PeerId) {
    rig.client("Q(select 1)");
    rig.see(peer, "Q(select 1)");
    rig.say(peer, ROW);
    rig.see(CLIENT, ROW);
}

/// The reader that has been left: the next read dials another, and the writer serves it meanwhile.
#[track_caller]
fn goes_elsewhere(rig: &mut Rig) {
    reads_at(rig, WRITER);
    rig.reader_in();
    reads_at(rig, READER);
}

fn reasons(rig: &Rig) -> Vec<RouteReason> {
    let reason = |event: &Event| match event {
        Event::Routed { reason, .. } => Some(*reason),
        _ => None,
    };
    rig.events.iter().filter_map(reason).collect()
}

#[test]
fn the_choice_is_made_when_the_reader_is_dialled() {
    each(three, |rig| {
        rig.logged_in();
        know(rig, [busy(5), busy(2), busy(9)]);
        rig.client("Q(select 0)");
        rig.reader_in();
        assert_eq!(dialled(rig), [2]);
        assert!(rig.events.contains(&Event::UpstreamReady {
            peer: READER,
            to: Destination(2)
        }));
        rig.see(READER, "Q(select 0)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        // It stays, whatever the others do.
        know(rig, [busy(0), busy(99), busy(0)]);
        reads_at(rig, READER);
        assert_eq!(dialled(rig), [2]);
    });
    let at_login = || {
        let mut config = three();
        config.reader_open = ReaderOpen::AtLogin;
        config
    };
    each(at_login, |rig| {
        know(rig, [busy(1), busy(1), busy(0)]);
        rig.logged_in();
        assert_eq!(dialled(rig), [3]);
    });
}

/// With nothing known, each session has a reader by its seed.
#[test]
fn without_facts_the_seed_chooses() {
    let mut config = three();
    config.reader_choice = ReaderChoice::default();
    let mut rig = Rig::new(config, session_support::Chunk::Whole);
    rig.both();
    assert_eq!(dialled(&rig).len(), 1);
}

#[test]
fn a_gate_that_is_a_reader_is_chosen_too() {
    let gate = || {
        let mut config = three();
        config.gate = Gate::Reader;
        config
    };
    for (readers, chosen) in [
        ([busy(4), busy(4), busy(3)], 3),
        // One of them has to let the client in.
        ([down(), down(), down()], 1),
    ] {
        each(gate, |rig| {
            know(rig, readers);
            rig.raw(
                CLIENT,
                &session_support::startup(pgturnout::startup::ProtocolVersion::V3_0),
            );
            assert_eq!(dialled(rig), [chosen]);
            rig.take_startup(READER);
        });
    }
}

#[test]
fn a_reader_that_lags_is_left_for_another() {
    each(three, |rig| {
        know(rig, [busy(0), busy(1), busy(2)]);
        rig.both();
        know(rig, [lagging(), busy(1), busy(2)]);
        assert!(!rig.is_open(READER));
        assert_eq!(rig.closes, [(READER, CloseCause::ReaderExcluded(READER))]);
        let left = Event::ReaderLeft {
            to: Destination(1),
            why: Excluded::Lagging,
        };
        assert_eq!(rig.events, [left]);
        rig.silence();
        rig.events.clear();
        goes_elsewhere(rig);
        assert_eq!(dialled(rig), [1, 2]);
        assert_eq!(reasons(rig)[0], RouteReason::ReaderDown);
        // The first one is as good as any again.
        know(rig, [busy(0), down(), busy(2)]);
        goes_elsewhere(rig);
        assert_eq!(dialled(rig), [1, 2, 1]);
    });
}

#[test]
fn with_nowhere_to_go_the_writer_reads_until_the_lag_is_gone() {
    each(three, |rig| {
        know(rig, [busy(0), busy(1), busy(2)]);
        rig.both();
        know(rig, [lagging(), lagging(), down()]);
        assert!(rig.is_open(READER), "the others are no better");
        reads_at(rig, WRITER);
        assert_eq!(reasons(rig), [RouteReason::Lagging]);
        know(rig, [busy(0), lagging(), down()]);
        reads_at(rig, READER);
        // Another that has caught up is gone to.
        know(rig, [lagging(), busy(0), down()]);
        goes_elsewhere(rig);
        assert_eq!(dialled(rig), [1, 2]);
    });
}

#[test]
fn none_is_dialled_while_all_lag() {
    each(three, |rig| {
        know(rig, [lagging(), lagging(), lagging()]);
        rig.logged_in();
        reads_at(rig, WRITER);
        assert_eq!(dialled(rig), []);
        assert_eq!(reasons(rig), [RouteReason::Lagging]);
        know(rig, [lagging(), lagging(), busy(0)]);
        rig.client("Q(select 1)");
        rig.reader_in();
        assert_eq!(dialled(rig), [3]);
    });
}

/// One that is down is left even if there is no other, and not dialled.
#[test]
fn a_reader_that_is_taken_out_is_left_at_once() {
    each(three, |rig| {
        know(rig, [busy(0), busy(1), busy(2)]);
        rig.both();
        know(rig, [down(), down(), down()]);
        assert!(!rig.is_open(READER));
        reads_at(rig, WRITER);
        assert_eq!(reasons(rig), [RouteReason::ReaderDown]);
        assert_eq!(dialled(rig), [1]);
        know(rig, [busy(0), down(), down()]);
        goes_elsewhere(rig);
        assert_eq!(dialled(rig), [1, 1]);
    });
}

#[test]
fn what_is_owed_and_what_is_begun_ends_before_the_reader_is_left() {
    each(three, |rig| {
        know(rig, [busy(0), busy(1), busy(2)]);
        rig.both();
        rig.client("Q(select 1) Q(select 2)");
        rig.see(READER, "Q(select 1) Q(select 2)");
        know(rig, [down(), busy(1), busy(2)]);
        assert!(rig.is_open(READER));
        rig.reader(ROW);
        rig.reader(ROW);
        rig.see(CLIENT, &format!("{ROW} {ROW}"));
        assert!(!rig.is_open(READER));
    });
    each(three, |rig| {
        know(rig, [busy(0), busy(1), busy(2)]);
        rig.both();
        rig.client("P(s,select 1) DS(s) H");
        rig.see(READER, "P(s,select 1) DS(s) H");
        rig.reader("1 t T");
        rig.see(CLIENT, "1 t T");
        know(rig, [down(), busy(1), busy(2)]);
        assert!(rig.is_open(READER), "in the middle of a batch");
        rig.client("B(,s) E S");
        rig.see(READER, "B(,s) E S");
        rig.reader("2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
        goes_elsewhere(rig);
        assert_eq!(dialled(rig), [1, 2]);
        // The statement is prepared there when it is used.
        rig.client("B(,s) E S");
        rig.see(READER, "P(s,select 1) B(,s) E S");
    });
}

/// What the client has set is repeated on the next one.
#[test]
fn settings_go_along() {
    each(three, |rig| {
        know(rig, [busy(0), busy(1), busy(2)]);
        rig.both();
        rig.client("Q(set work_mem=99)");
        rig.see(WRITER, "Q(set work_mem=99)");
        rig.writer("C(SET) Z(I)");
        rig.see(CLIENT, "C(SET) Z(I)");
        know(rig, [lagging(), busy(1), busy(2)]);
        reads_at(rig, WRITER);
        rig.reader_in();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(set work_mem=99)");
        rig.reader("C(SET) Z(I)");
        rig.see(READER, "Q(select 1)");
    });
}

#[test]
fn one_that_is_lost_or_cannot_be_had_is_replaced_by_another() {
    each(three, |rig| {
        know(rig, [busy(0), busy(1), busy(2)]);
        rig.both();
        rig.reset(READER);
        goes_elsewhere(rig);
        assert_eq!(dialled(rig), [1, 2]);
        rig.reset(READER);
        rig.dials(READER, Dial::RefuseOnce);
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        // The others have failed a moment ago: there is none left, and the client is warned.
        rig.see(CLIENT, &format!("{ROW} N(01000)"));
        reads_at(rig, WRITER);
        assert_eq!(dialled(rig), [1, 2, 3]);
        // Later the first is tried again.
        rig.pass(Duration::from_secs(60));
        goes_elsewhere(rig);
        assert_eq!(dialled(rig), [1, 2, 3, 1]);
    });
    each(three, |rig| {
        know(rig, [busy(0), busy(1), busy(2)]);
        rig.logged_in();
        rig.dials(READER, Dial::RefuseOnce);
        // Nobody is warned while there are others.
        goes_elsewhere(rig);
        assert_eq!(dialled(rig), [1, 2]);
    });
}

/// Facts of upstreams that there are not, or too few of them, are no matter.
#[test]
fn facts_may_be_too_many_or_too_few() {
    each(three, |rig| {
        rig.logged_in();
        let now = rig.now;
        rig.session.handle_readers(now, &[down(); 9]);
        reads_at(rig, WRITER);
        rig.session.handle_readers(now, &[down(), down(), down()]);
        rig.client("Q(select 1)");
        rig.reader_in();
        assert_eq!(dialled(rig), [3]);
        rig.see(READER, "Q(select 1)");
        rig.session.handle_readers(now, &[]);
        rig.run();
        assert!(rig.is_open(READER));
    });
}
