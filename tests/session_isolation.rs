//! Sessions that are serializable by default, which no server reports and a standby refuses to serve.

mod session_support;

use pgturnout::route::{Health, ReaderChoice, ReaderFacts};
use pgturnout::session::{
    Config, DefaultIsolation, Event, LostReads, PeerId, ReadYourWrites, Timer,
};
use pgturnout::track::Pin;
use pgturnout::wire::Fields;
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;

/// What a reader is asked, for no account but that it takes a snapshot.
const ASKED: &str = "Q(select 1 as pgturnout)";
const IT_DOES: &str = "T D(t) C(SELECT 1) Z(I)";
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const SNAPSHOT: &[u8] = b"GetSerializableTransactionSnapshot";

fn asking() -> Config {
    let mut config = config();
    config.default_isolation = DefaultIsolation::Asked;
    config
}

/// What a standby says to whatever takes a snapshot in a serializable transaction, and to what is no such thing.
fn refuses(rig: &mut Rig, routine: &[u8]) {
    let fields = [
        (b'S', &b"ERROR"[..]),
        (b'V', b"ERROR"),
        (b'C', b"0A000"),
        (b'M', b"cannot"),
        (b'R', routine),
    ];
    let mut out = bytes::BytesMut::new();
    let message = pgturnout::wire::Backend::ErrorResponse(Fields::new(&fields));
    message.encode(&mut out).unwrap();
    rig.raw(READER, &out);
    rig.reader("Z(I)");
}

fn pinned(rig: &Rig) -> Vec<Pin> {
    let pins = rig.events.iter().filter_map(|event| match event {
        Event::Pinned(pin) => Some(*pin),
        _ => None,
    });
    pins.collect()
}

fn run(rig: &mut Rig, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, &format!("Q({text})"));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

/// A session whose first read has the reader asked.
fn asked(rig: &mut Rig) {
    rig.logged_in();
    rig.client("Q(select 1)");
    rig.reader_in();
    rig.see(READER, ASKED);
}

fn served_by_the_reader(rig: &mut Rig) {
    rig.see(READER, "Q(select 1)");
    rig.reader(ROW);
    rig.see(CLIENT, ROW);
}

/// The read that waited, on the writer.
fn served_by_the_writer(rig: &mut Rig) {
    rig.see(WRITER, "Q(select 1)");
    rig.writer(ROW);
    rig.see(CLIENT, ROW);
}

fn lagging() -> Config {
    let mut config = asking();
    config.reader_choice = ReaderChoice {
        max_lag_bytes: Some(1_000),
        ..ReaderChoice::default()
    };
    config
}

fn know(rig: &mut Rig, reader: ReaderFacts) {
    rig.session
        .handle_readers(rig.now, &[ReaderFacts::default(), reader]);
    rig.run();
}

fn lag(bytes: u64) -> ReaderFacts {
    ReaderFacts {
        lag_bytes: Some(bytes),
        ..ReaderFacts::default()
    }
}

/// A read of any kind waits for the answer, once.
#[test]
fn a_reader_is_asked_once_whether_it_serves_the_session() {
    for (read, answer) in [
        ("Q(select 1)", "T D(1) C(SELECT 1) Z(I)"),
        ("P(s,select 1) DS(s) S", "1 t T Z(I)"),
        (
            "Q(select 1) Q(select 2)",
            "T D(1) C(SELECT 1) Z(I) T D(2) C(SELECT 1) Z(I)",
        ),
        ("Q(copy t to stdout)", "H d(1) c C(COPY 1) Z(I)"),
    ] {
        each(asking, |rig| {
            rig.logged_in();
            rig.client(read);
            rig.reader_in();
            rig.see(READER, ASKED);
            rig.reader(IT_DOES);
            rig.see(CLIENT, "");
            rig.see(READER, read);
            rig.reader(answer);
            rig.see(CLIENT, answer);
            rig.client("Q(select 3)");
            rig.see(READER, "Q(select 3)");
            assert_eq!(pinned(rig), []);
        });
    }
}

/// Nobody reports the default of a role or a database.
#[test]
fn a_session_that_a_standby_refuses_for_its_isolation_reads_on_the_writer() {
    each(asking, |rig| {
        rig.logged_in();
        rig.client("Q(select 1) Q(select 2)");
        rig.reader_in();
        rig.see(READER, ASKED);
        refuses(rig, SNAPSHOT);
        rig.see(CLIENT, "");
        rig.see(READER, "");
        rig.see(WRITER, "Q(select 1) Q(select 2)");
        assert_eq!(pinned(rig), [Pin::Serializable]);
        let answer = "T D(1) C(SELECT 1) Z(I) T D(2) C(SELECT 1) Z(I)";
        rig.writer(answer);
        rig.see(CLIENT, answer);
        // The reader is told to begin anew, and asked anew.
        rig.events.clear();
        rig.client("Q(discard all)");
        rig.see(WRITER, "Q(discard all)");
        rig.writer("C(DISCARD ALL) Z(I)");
        rig.see(CLIENT, "C(DISCARD ALL) Z(I)");
        rig.client("Q(select 3)");
        rig.see(READER, &format!("Q(DISCARD ALL) {ASKED}"));
        rig.reader("C(DISCARD ALL) Z(I)");
        refuses(rig, SNAPSHOT);
        rig.see(WRITER, "Q(select 3)");
        assert_eq!(pinned(rig), [Pin::Serializable]);
    });
}

/// Behind its settings, which may change how it is isolated.
#[test]
fn a_reader_is_asked_again_behind_settings() {
    each(asking, |rig| {
        rig.logged_in();
        let set = "Q(set default_transaction_isolation = 'read committed')";
        rig.client(set);
        rig.see(WRITER, set);
        rig.writer("C(SET) Z(I)");
        rig.see(CLIENT, "C(SET) Z(I)");
        rig.client("Q(select 1)");
        rig.reader_in();
        rig.see(READER, &format!("{set} {ASKED}"));
        rig.reader(&format!("C(SET) Z(I) {IT_DOES}"));
        served_by_the_reader(rig);
        let reset = "Q(reset default_transaction_isolation)";
        rig.client(reset);
        rig.see(WRITER, reset);
        rig.writer("C(RESET) Z(I)");
        rig.see(CLIENT, "C(RESET) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, &format!("{reset} {ASKED}"));
        rig.reader("C(RESET) Z(I)");
        refuses(rig, SNAPSHOT);
        rig.see(WRITER, "Q(select 1)");
        assert_eq!(pinned(rig), [Pin::Serializable]);
    });
}

/// A setting that has nothing to do with it goes by itself.
#[test]
fn a_reader_is_not_asked_again_for_nothing() {
    each(asking, |rig| {
        asked(rig);
        rig.reader(IT_DOES);
        served_by_the_reader(rig);
        for set in ["set work_mem = '1MB'", "set search_path = app"] {
            run(rig, set, "C(SET) Z(I)");
            rig.client("Q(select 1)");
            rig.see(READER, &format!("Q({set})"));
            rig.reader("C(SET) Z(I)");
            served_by_the_reader(rig);
        }
        run(rig, "reset all", "C(RESET) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, &format!("Q(RESET ALL) {ASKED}"));
    });
}

/// A cancel, a conflict with recovery, a lock or memory that was not to be had say nothing of how the session is isolated, or of
/// its settings: the read that waited runs on the writer, and the next has the reader asked again.
#[test]
fn an_answer_that_does_not_say() {
    for state in ["57014", "40001", "55P03", "53200", "42501", "0A000"] {
        each(asking, |rig| {
            asked(rig);
            rig.reader(&format!("E({state}) Z(I)"));
            rig.see(READER, "");
            served_by_the_writer(rig);
            rig.client("Q(select 2)");
            rig.see(WRITER, "");
            rig.see(READER, ASKED);
            rig.reader(IT_DOES);
            rig.see(READER, "Q(select 2)");
            rig.reader(ROW);
            rig.see(CLIENT, ROW);
            rig.client("Q(select 3)");
            rig.see(READER, "Q(select 3)");
            assert_eq!(pinned(rig), []);
        });
    }
}

/// Where the session has settings, those that were taken over stay so.
#[test]
fn an_answer_that_does_not_say_behind_settings() {
    each(asking, |rig| {
        rig.logged_in();
        run(rig, "set work_mem = '1MB'", "C(SET) Z(I)");
        rig.client("Q(select 1)");
        rig.reader_in();
        rig.see(READER, &format!("Q(set work_mem = '1MB') {ASKED}"));
        rig.reader("C(SET) Z(I) E(53200) Z(I)");
        served_by_the_writer(rig);
        rig.client("Q(select 2)");
        rig.see(READER, ASKED);
        rig.reader(IT_DOES);
        rig.see(READER, "Q(select 2)");
        assert_eq!(pinned(rig), []);
    });
    // A setting that is refused is another matter.
    each(asking, |rig| {
        rig.logged_in();
        run(rig, "set work_mem = '1MB'", "C(SET) Z(I)");
        rig.client("Q(select 1)");
        rig.reader_in();
        rig.see(READER, &format!("Q(set work_mem = '1MB') {ASKED}"));
        rig.reader(&format!("E(42501) Z(I) {IT_DOES}"));
        served_by_the_writer(rig);
        assert_eq!(pinned(rig), [Pin::RestoreFailed]);
    });
}

/// One that is known to be down or to lag serves no reads, and owes the client nothing: no read waits for it.
#[test]
fn no_read_waits_for_the_answer_of_a_reader_that_is_excluded() {
    let down = ReaderFacts {
        health: Health::Down,
        ..ReaderFacts::default()
    };
    for facts in [down, lag(2_000)] {
        each(lagging, |rig| {
            asked(rig);
            know(rig, facts);
            served_by_the_writer(rig);
        });
    }
}

/// A pool resets the session and chooses an isolation that a standby can serve; by default it is serializable, and a standby would
/// refuse to discard.
#[test]
fn a_new_reader_has_nothing_to_discard() {
    each(asking, |rig| {
        rig.logged_in();
        run(rig, "set work_mem = '1MB'", "C(SET) Z(I)");
        run(rig, "set my.a = '1'", "C(SET) Z(I)");
        run(rig, "discard all", "C(DISCARD ALL) Z(I)");
        let set = "set default_transaction_isolation = 'repeatable read'";
        run(rig, set, "C(SET) Z(I)");
        rig.client("Q(select 1)");
        rig.reader_in();
        // What no server forgets is told in front.
        let knows = "Q(select pg_catalog.set_config('my.a', '', true))";
        rig.see(READER, &format!("{knows} Q({set}) {ASKED}"));
        rig.reader(&format!("{ROW} C(SET) Z(I) {IT_DOES}"));
        served_by_the_reader(rig);
        // This one has.
        run(rig, "discard all", "C(DISCARD ALL) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, &format!("Q(DISCARD ALL) {ASKED}"));
        assert_eq!(pinned(rig), []);
    });
}

/// It was asked, and served; its configuration was read anew since. Nothing was done there, and the request is in the client's
/// buffer still.
#[test]
fn a_tried_read_that_is_refused_for_it_runs_on_the_writer() {
    let tried = || {
        let mut config = asking();
        config.lost_reads = LostReads::Again;
        config
    };
    each(tried, |rig| {
        asked(rig);
        rig.reader(IT_DOES);
        rig.see(READER, "Q(select 1)");
        refuses(rig, SNAPSHOT);
        rig.see(CLIENT, "");
        assert_eq!(pinned(rig), [Pin::Serializable]);
        served_by_the_writer(rig);
        rig.client("Q(select 2)");
        rig.see(WRITER, "Q(select 2)");
    });
}

/// The answer to what was asked before does not end the time that a reader has for what it takes over.
#[test]
fn the_deadline_is_that_of_the_newest() {
    let fresh = || {
        let mut config = lagging();
        config.read_your_writes = ReadYourWrites::Replayed;
        config
    };
    each(fresh, |rig| {
        asked(rig);
        rig.reader(IT_DOES);
        served_by_the_reader(rig);
        run(rig, "insert into t values(1)", "C(INSERT 0 1) Z(I)");
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select pg_catalog.pg_current_wal_insert_lsn())");
        rig.writer("T D(0/3000060) C(SELECT 1) Z(I)");
        rig.see(READER, "Q(select pg_catalog.pg_last_wal_replay_lsn())");
        // It lags for a moment: the read does not wait for it.
        know(rig, lag(2_000));
        served_by_the_writer(rig);
        run(rig, "set work_mem = '1MB'", "C(SET) Z(I)");
        know(rig, lag(0));
        rig.client("Q(select 1)");
        rig.see(READER, "Q(set work_mem = '1MB')");
        rig.reader("T D(0/3000060) C(SELECT 1) Z(I)");
        rig.expire(Timer::Restore(READER));
        rig.see(WRITER, "Q(select 1)");
    });
}

/// A standby that lets sessions in and runs nothing costs one read the whole time that it has for an answer, not one each time
/// that it is tried again.
#[test]
fn a_reader_that_did_not_answer_is_asked_beside_the_next_reads() {
    for restore in ["", "set work_mem = '1MB'"] {
        each(asking, |rig| {
            asked(rig);
            rig.expire(Timer::Restore(READER));
            served_by_the_writer(rig);
            let mut asks = ASKED.to_owned();
            if !restore.is_empty() {
                run(rig, restore, "C(SET) Z(I)");
                asks = format!("Q({restore}) {ASKED}");
            }
            rig.reader_again();
            rig.client("Q(select 1)");
            rig.see(READER, &asks);
            served_by_the_writer(rig);
            rig.client("Q(select 1)");
            rig.see(READER, "");
            served_by_the_writer(rig);
            if !restore.is_empty() {
                rig.reader("C(SET) Z(I)");
            }
            rig.reader(IT_DOES);
            rig.client("Q(select 1)");
            served_by_the_reader(rig);
            // It has answered: what it is told next is waited for.
            run(rig, "reset all", "C(RESET) Z(I)");
            rig.client("Q(select 1)");
            rig.see(READER, &format!("Q(RESET ALL) {ASKED}"));
            rig.see(WRITER, "");
        });
    }
}

/// The next of the client's messages would be sent there as data.
#[test]
fn a_reader_that_answers_with_a_copy() {
    for copy in ["G", "W"] {
        each(asking, |rig| {
            asked(rig);
            rig.reader(copy);
            rig.see(READER, "");
            served_by_the_writer(rig);
            run(rig, "insert into t values(1)", "C(INSERT 0 1) Z(I)");
        });
        each(lagging, |rig| {
            asked(rig);
            know(rig, lag(2_000));
            served_by_the_writer(rig);
            rig.reader(copy);
            run(rig, "insert into t values(1)", "C(INSERT 0 1) Z(I)");
            rig.see(READER, "");
        });
        // And where it was sent a read.
        each(config, |rig| {
            rig.both();
            rig.client("Q(select 1) Q(insert into t values(1))");
            rig.see(READER, "Q(select 1)");
            rig.reader(copy);
            rig.see(READER, "");
            rig.see(WRITER, "Q(insert into t values(1))");
        });
    }
}

/// Who is not asked says it to the client.
#[test]
fn what_else_a_reader_may_refuse() {
    for (routine, pins) in [
        (SNAPSHOT, &[Pin::Serializable][..]),
        (b"RevalidateCachedQuery", &[]),
    ] {
        each(config, |rig| {
            rig.both();
            rig.client("Q(select 1)");
            rig.see(READER, "Q(select 1)");
            refuses(rig, routine);
            rig.see(CLIENT, "E(0A000) Z(I)");
            assert_eq!(pinned(rig), pins);
            rig.client("Q(select 2)");
            let to = if pins.is_empty() { READER } else { WRITER };
            rig.see(to, "Q(select 2)");
        });
    }
}
