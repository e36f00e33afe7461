//! What the client sees when a server, the driver or the time fails.

mod session_support;

use std::time::Duration;

use pgturnout::session::{CloseCause, Event, PeerId, Timer};
use session_support::frames::{backend, frontend};
use session_support::{Chunk, Dial, Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
/// What the client gets for a read whose reader is lost.
const LOST: &str = "E(08006) Z(I)";

/// The session lives, and the writer serves everything.
#[track_caller]
fn goes_on_with_the_writer(rig: &mut Rig) {
    rig.take(WRITER);
    rig.client("Q(select 7)");
    rig.see(WRITER, "Q(select 7)");
    rig.writer(ROW);
    rig.see(CLIENT, ROW);
    assert!(!rig.is_open(READER));
}

#[test]
fn a_reader_that_dies_idle_is_not_missed() {
    each(config, |rig| {
        rig.both();
        rig.eof(READER);
        rig.see(CLIENT, "");
        goes_on_with_the_writer(rig);
        rig.reader_again();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
    each(config, |rig| {
        rig.both();
        rig.reset(READER);
        goes_on_with_the_writer(rig);
    });
    each(config, |rig| {
        rig.both();
        rig.reader("FATAL(57P05)");
        rig.eof(READER);
        rig.see(CLIENT, "");
        goes_on_with_the_writer(rig);
    });
}

#[test]
fn a_reader_that_dies_before_it_answers_costs_the_request() {
    for how in [Rig::eof, Rig::reset] {
        each(config, |rig| {
            rig.both();
            rig.client("Q(select 1)");
            how(rig, READER);
            rig.see(CLIENT, LOST);
            goes_on_with_the_writer(rig);
        });
    }
}

/// Between two messages a reply can be ended by an error; inside one the stream is torn.
#[test]
fn a_reader_that_dies_between_the_messages_of_a_reply() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("T D(1)");
        rig.eof(READER);
        rig.see(CLIENT, &format!("T D(1) {LOST}"));
        goes_on_with_the_writer(rig);
    });
}

/// What a request has failed with it does not fail with again.
#[test]
fn a_reader_that_dies_behind_its_error() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("E(57014)");
        rig.eof(READER);
        rig.see(CLIENT, "E(57014) Z(I)");
        goes_on_with_the_writer(rig);
    });
}

#[test]
fn a_reader_that_dies_inside_a_message_tears_the_clients_stream() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let row = backend("D(0123456789)");
        rig.raw(READER, &[backend("T"), row[..12].to_vec()].concat());
        rig.eof(READER);
        let seen = rig.shown(CLIENT);
        assert!(seen == "T ~12", "{seen}");
        assert_eq!(rig.cause(), CloseCause::UpstreamLost(READER));
    });
}

/// Nothing of the message had reached the client: it is as if it had not come.
#[test]
fn a_message_of_which_nothing_was_sent_is_taken_back() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("T");
        rig.takes(CLIENT, false);
        rig.raw(READER, &backend("D(0123456789)")[..12]);
        rig.eof(READER);
        rig.takes(CLIENT, true);
        rig.see(CLIENT, &format!("T {LOST}"));
        goes_on_with_the_writer(rig);
    });
}

#[test]
fn every_request_that_a_lost_reader_owed_is_answered() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1) P(,select 2) B(,) E S Q(select 3) S");
        rig.reader("T D(1) C(SELECT 1) Z(I) 1");
        rig.eof(READER);
        rig.see(CLIENT, &format!("{ROW} 1 {LOST} {LOST} Z(I)"));
        assert!(rig.has_event(|event| matches!(event, Event::ReaderLost { failed_requests: 2 })));
        goes_on_with_the_writer(rig);
    });
}

/// Its error comes with what it says next, and it is told of with the loss.
#[test]
fn a_batch_that_had_not_ended_counts_as_a_request_that_failed() {
    each(config, |rig| {
        rig.both();
        rig.client("P(a,select 1) H");
        rig.reader("1");
        rig.eof(READER);
        rig.see(CLIENT, "1");
        assert!(rig.has_event(|event| *event == Event::ReaderLost { failed_requests: 1 }));
        rig.client("P(b,select 2) S");
        rig.see(CLIENT, LOST);
        goes_on_with_the_writer(rig);
    });
}

#[test]
fn a_farewell_of_the_reader_is_not_the_sessions() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("T FATAL(57P01)");
        rig.eof(READER);
        rig.see(CLIENT, &format!("T {LOST}"));
        goes_on_with_the_writer(rig);
    });
}

/// The rest of a broken batch is dropped up to its Sync, with one error and one ReadyForQuery.
#[test]
fn a_reader_that_dies_inside_an_open_batch() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) DS H");
        rig.eof(READER);
        rig.see(CLIENT, "E(08006)");
        rig.client("B(,) E H");
        rig.see(CLIENT, "");
        rig.client("S");
        rig.see(CLIENT, "Z(I)");
        goes_on_with_the_writer(rig);
    });
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) DS H");
        rig.reader("1 t T");
        rig.eof(READER);
        rig.see(CLIENT, "1 t T");
        rig.client("B(,) E");
        rig.see(CLIENT, "E(08006)");
        rig.client("S");
        rig.see(CLIENT, "Z(I)");
        goes_on_with_the_writer(rig);
    });
}

/// The batch has its error already: there is no second one.
#[test]
fn a_reader_that_dies_while_it_skips() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select nothing) H");
        rig.reader("E(42703)");
        rig.eof(READER);
        rig.see(CLIENT, "E(42703)");
        rig.client("B(,) E S");
        rig.see(CLIENT, "Z(I)");
        goes_on_with_the_writer(rig);
    });
}

#[test]
fn a_reader_that_dies_while_a_batch_leaves_it() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) DS H");
        rig.reader("1 t T");
        rig.take(CLIENT);
        rig.client("P(,insert into t values(1)) B(,) E S");
        rig.eof(READER);
        rig.see(WRITER, "P(,insert into t values(1)) B(,) E S");
        rig.writer("1 2 C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, "1 2 C(INSERT 0 1) Z(I)");
        goes_on_with_the_writer(rig);
    });
}

#[test]
fn a_reader_that_never_ends_its_part_of_a_batch_is_left() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) DS H");
        rig.reader("1 t T");
        rig.take(CLIENT);
        rig.client("P(,insert into t values(1)) B(,) E S");
        rig.see(WRITER, "");
        rig.expire(Timer::Restore(READER));
        rig.see(WRITER, "P(,insert into t values(1)) B(,) E S");
    });
}

#[test]
fn a_reader_that_never_takes_a_setting_is_left() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(set timezone = 'UTC')");
        rig.writer("C(SET) Z(I)");
        rig.client("Q(select 1)");
        rig.take(WRITER);
        rig.expire(Timer::Restore(READER));
        rig.see(WRITER, "Q(select 1)");
    });
}

#[test]
fn a_reader_that_breaks_the_protocol_is_left() {
    for nonsense in ["Z(I)", "1", "C(SELECT 1)", "T", "R", "K(1,abcd)"] {
        each(config, |rig| {
            rig.both();
            rig.reader(nonsense);
            rig.see(CLIENT, "");
            goes_on_with_the_writer(rig);
        });
    }
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("T 1");
        rig.see(CLIENT, &format!("T {LOST}"));
        goes_on_with_the_writer(rig);
    });
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.raw(READER, b"D\0\0\0\x03");
        rig.see(CLIENT, LOST);
        goes_on_with_the_writer(rig);
    });
}

#[test]
fn a_writer_that_breaks_the_protocol_ends_the_session() {
    for nonsense in ["Z(I)", "1", "D(1)", "R"] {
        each(config, |rig| {
            rig.both();
            rig.writer(nonsense);
            rig.see(CLIENT, "FATAL(08P01)");
            assert_eq!(rig.cause(), CloseCause::UpstreamFault(WRITER));
        });
    }
}

/// H46: no silent retry of what may have been done.
#[test]
fn a_writer_that_dies_ends_the_session_with_a_fatal_error() {
    for how in [Rig::eof, Rig::reset] {
        each(config, |rig| {
            rig.both();
            rig.client("Q(select pg_backend_pid())");
            how(rig, WRITER);
            rig.see(CLIENT, "FATAL(08006)");
            rig.see(READER, "X");
            assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
        });
        each(config, |rig| {
            rig.both();
            how(rig, WRITER);
            rig.see(CLIENT, "FATAL(08006)");
        });
    }
}

/// Whether a commit that was sent and not answered has happened only the server knew. What it cannot have done is no doubt.
#[test]
fn a_commit_that_dies_with_its_writer_is_in_doubt() {
    const DOUBT: &str = "FATAL(08007)";
    const NONE: &str = "FATAL(08006)";
    for (says, answer, told) in [
        ("Q(insert into t values(1))", "", DOUBT),
        ("Q(insert into t values(1))", "C(INSERT 0 1)", DOUBT),
        ("Q(insert into t values(1))", "C(INSERT 0 1) Z(I)", NONE),
        // The first answer says nothing of what is behind it.
        (
            "Q(insert into t values(1)) Q(insert into t values(2))",
            "C(INSERT 0 1) Z(I)",
            DOUBT,
        ),
        ("Q(select f())", "", DOUBT),
        ("Q(call p())", "", DOUBT),
        ("Q(commit prepared 'x')", "", DOUBT),
        ("Q(begin; delete from t; commit)", "", DOUBT),
        ("P(w,delete from t) DS(w) S", "", NONE),
        ("P(w,delete from t) DS(w) S", "1 t n Z(I)", NONE),
        ("P(w,delete from t) B(,w) E S", "", DOUBT),
        ("P(w,delete from t) B(,w) E S", "1 2 C(DELETE 1)", DOUBT),
        ("Q(copy t from stdin) d(1) c", "G", DOUBT),
        ("Q(select pg_backend_pid())", "T D(1)", NONE),
        ("Q(begin)", "", NONE),
        ("Q(begin)", "C(BEGIN) Z(T)", NONE),
        ("Q(begin) Q(delete from t)", "C(BEGIN) Z(T)", NONE),
        (
            "Q(begin) Q(delete from t)",
            "C(BEGIN) Z(T) C(DELETE 1) Z(T)",
            NONE,
        ),
        (
            "Q(begin) Q(delete from t) Q(commit)",
            "C(BEGIN) Z(T) C(DELETE 1) Z(T)",
            DOUBT,
        ),
        (
            "Q(begin) Q(delete from t) Q(commit and chain)",
            "C(BEGIN) Z(T) C(DELETE 1) Z(T)",
            DOUBT,
        ),
        (
            "Q(begin) Q(delete from t) Q(prepare transaction 'x')",
            "C(BEGIN) Z(T) C(DELETE 1) Z(T)",
            DOUBT,
        ),
        (
            "Q(begin) Q(delete from t) P(,end) B(,) E S",
            "C(BEGIN) Z(T) C(DELETE 1) Z(T)",
            DOUBT,
        ),
        (
            "Q(begin) Q(delete from t) Q(rollback)",
            "C(BEGIN) Z(T) C(DELETE 1) Z(T)",
            NONE,
        ),
        (
            "Q(begin) Q(select 1) Q(commit)",
            "C(BEGIN) Z(T) T D(1) C(SELECT 1) Z(T)",
            NONE,
        ),
    ] {
        each(config, |rig| {
            rig.both();
            rig.client(says);
            rig.writer(answer);
            rig.take(CLIENT);
            rig.eof(WRITER);
            assert_eq!(rig.shown(CLIENT), told, "{says} {answer}");
            // Nothing of it is sent anywhere else.
            rig.see(READER, "X");
        });
    }
}

/// D6: its own words are the client's to read, and ours are not put behind them.
#[test]
fn a_farewell_of_the_writer_is_relayed() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(insert into t values(1))");
        rig.writer("FATAL(57P01)");
        rig.eof(WRITER);
        rig.see(CLIENT, "FATAL(57P01)");
        assert_eq!(rig.cause(), CloseCause::UpstreamEnded(WRITER));
    });
}

#[test]
fn a_writer_that_dies_inside_a_message_tears_the_clients_stream() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t returning a)");
        rig.raw(WRITER, &backend("D(0123456789)")[..12]);
        rig.eof(WRITER);
        let seen = rig.shown(CLIENT);
        assert_eq!(seen, "~12");
        assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
    });
}

#[test]
fn a_shutdown_waits_for_what_is_in_flight() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.shutdown();
        rig.see(CLIENT, "");
        rig.reader(ROW);
        rig.see(CLIENT, &format!("{ROW} FATAL(57P01)"));
        assert_eq!(rig.cause(), CloseCause::Shutdown);
    });
    each(config, |rig| {
        rig.both();
        rig.shutdown();
        rig.see(CLIENT, "FATAL(57P01)");
        rig.take(READER);
        rig.take(WRITER);
        assert!(rig.is_dead());
    });
}

#[test]
fn a_shutdown_takes_no_new_request() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.shutdown();
        rig.take(READER);
        rig.client("Q(select 2) Q(delete from t)");
        rig.see(READER, "");
        rig.reader(ROW);
        rig.see(CLIENT, &format!("{ROW} FATAL(57P01)"));
        rig.see(WRITER, "X");
        assert_eq!(rig.cause(), CloseCause::Shutdown);
    });
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from a)");
        rig.shutdown();
        rig.client("Q(delete from b)");
        rig.see(WRITER, "Q(delete from a)");
    });
}

/// What was begun is ended: the rest of a batch, and the data of a copy.
#[test]
fn a_shutdown_lets_a_batch_and_a_copy_end() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,insert into t values(1)) H");
        rig.writer("");
        rig.shutdown();
        rig.client("B(,) E S");
        rig.see(WRITER, "P(,insert into t values(1)) H B(,) E S");
        rig.writer("1 2 C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, "1 2 C(INSERT 0 1) Z(I) FATAL(57P01)");
    });
    each(config, |rig| {
        rig.both();
        rig.client("P(,copy t from stdin) B(,) E S");
        rig.writer("1 2 G");
        rig.shutdown();
        rig.client("d(1) c S");
        rig.see(WRITER, "P(,copy t from stdin) B(,) E S d(1) c S");
        rig.writer("C(COPY 1) Z(I)");
        rig.see(CLIENT, "1 2 G C(COPY 1) Z(I) FATAL(57P01)");
    });
}

#[test]
fn a_shutdown_has_a_deadline() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.shutdown();
        rig.expire(Timer::Shutdown);
        rig.see(CLIENT, "FATAL(57P01)");
        assert_eq!(rig.cause(), CloseCause::Shutdown);
    });
}

/// A client that takes nothing cannot keep a session that is over.
#[test]
fn what_cannot_be_delivered_is_dropped_at_the_deadline() {
    each(config, |rig| {
        rig.both();
        rig.takes(CLIENT, false);
        rig.client("Q(delete from t)");
        rig.writer("C(DELETE 1) Z(I)");
        rig.shutdown();
        assert!(!rig.is_dead());
        rig.expire(Timer::Drain);
        assert_eq!(rig.cause(), CloseCause::Shutdown);
    });
}

#[test]
fn a_driver_that_reports_too_many_bytes_ends_the_session() {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.both();
    rig.session.transmitted(rig.now, WRITER, 1);
    rig.run();
    assert!(matches!(rig.cause(), CloseCause::Misuse(_)));
}

#[test]
fn a_driver_that_answers_what_was_not_asked_ends_the_session() {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.both();
    rig.session.handle_connected(rig.now, WRITER, Ok(()));
    rig.run();
    assert!(matches!(rig.cause(), CloseCause::Misuse(_)));
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.both();
    rig.session
        .handle_secured(rig.now, CLIENT, Ok(Default::default()));
    rig.run();
    assert!(matches!(rig.cause(), CloseCause::Misuse(_)));
}

#[test]
fn a_dead_session_does_nothing_more() {
    each(config, |rig| {
        rig.both();
        rig.client("X");
        let cause = rig.cause();
        rig.take(READER);
        rig.take(WRITER);
        for peer in PeerId::ALL {
            let _ = rig.session.handle_input(rig.now, peer, &frontend("Q(x)"));
            rig.session.handle_eof(rig.now, peer);
            rig.session.handle_reset(rig.now, peer);
            rig.session.handle_connected(rig.now, peer, Ok(()));
            assert!(rig.session.poll_transmit(peer).is_none());
            assert!(!rig.session.wants_read(peer));
        }
        rig.session.shutdown(rig.now);
        rig.session
            .handle_timeout(rig.now + Duration::from_secs(3600));
        assert!(rig.session.poll_action().is_none());
        assert_eq!(rig.session.poll_timeout(), None);
        assert_eq!(rig.cause(), cause);
    });
}

#[test]
fn a_length_that_is_no_length_ends_the_session() {
    for word in [[0, 0, 0, 3], [0xff; 4], [0x80, 0, 0, 0]] {
        each(config, |rig| {
            rig.both();
            rig.raw(CLIENT, &[&b"Q"[..], &word].concat());
            rig.see(CLIENT, "FATAL(08P01)");
            assert!(matches!(rig.cause(), CloseCause::ClientFault(Some(_))));
        });
    }
}

/// What came before is answered first, as by a server that reads one message after the other.
#[test]
fn a_length_that_is_no_length_waits_for_the_replies_before_it() {
    let table = [
        (
            READER,
            "Q(select 1) Q(select 2)",
            "C(SELECT 1) Z(I) C(SELECT 1) Z(I)",
        ),
        (
            WRITER,
            "Q(delete from t) Q(delete from u)",
            "C(DELETE 1) Z(I) C(DELETE 2) Z(I)",
        ),
        (WRITER, "P(,delete from t) B(,) E S", "1 2 C(DELETE 1) Z(I)"),
        (WRITER, "P(,delete from t) B(,) E H", "1 2 C(DELETE 1)"),
        (WRITER, "Q(copy t from stdin)", "G"),
    ];
    for (to, asked, answer) in table {
        for eof in [false, true] {
            each(config, |rig| {
                rig.both();
                let nonsense = [&frontend(asked)[..], b"Q\0\0\0\x03"].concat();
                rig.raw(CLIENT, &nonsense);
                rig.see(to, asked);
                rig.see(CLIENT, "");
                if eof {
                    rig.eof(CLIENT);
                }
                rig.say(to, answer);
                rig.see(CLIENT, &format!("{answer} FATAL(08P01)"));
                assert!(matches!(rig.cause(), CloseCause::ClientFault(Some(_))));
            });
        }
    }
    // Nothing is going to come for a batch that is not flushed.
    each(config, |rig| {
        rig.both();
        rig.client("P(,delete from t) B(,) E");
        rig.raw(CLIENT, b"Q\0\0\0\x03");
        rig.see(WRITER, "P(,delete from t) B(,) E");
        rig.see(CLIENT, "FATAL(08P01)");
    });
}

/// Messages that cannot be taken back are counted as given, so what is missing of them has to be said.
#[test]
fn a_reply_that_was_cut_off_is_made_up_for() {
    let table = [
        // In a batch the error takes the place of everything up to Sync.
        ("P(,select 1) DS S", "1 t", "T", "1 t E(08006) Z(I)"),
        ("P(,select 1) B(,) DP E S", "1 2", "T", "1 2 E(08006) Z(I)"),
        (
            "P(,select 1) B(,) E S",
            "1 2",
            "D(0123456789)",
            "1 2 E(08006) Z(I)",
        ),
        (
            "P(,select 1) B(,) E S",
            "1 2 D(1)",
            "C(SELECT 1)",
            "1 2 D(1) E(08006) Z(I)",
        ),
        // A notice is nobody's answer.
        (
            "P(,select 1) B(,) E S",
            "1 2",
            "N(01000)",
            "1 2 E(08006) Z(I)",
        ),
        // Everything was answered but the Sync.
        (
            "P(,select 1) B(,) E S",
            "1 2 C(SELECT 0)",
            "Z(I)",
            "1 2 C(SELECT 0) Z(I)",
        ),
        ("Q(select 1)", "", "T", "E(08006) Z(I)"),
        (
            "Q(select 1)",
            "T D(1)",
            "C(SELECT 1)",
            "T D(1) E(08006) Z(I)",
        ),
    ];
    for (asked, whole, cut, seen) in table {
        each(config, |rig| {
            rig.both();
            rig.takes(CLIENT, false);
            rig.client(asked);
            rig.reader(whole);
            let cut = backend(cut);
            rig.raw(READER, &cut[..cut.len() - 1]);
            rig.eof(READER);
            rig.takes(CLIENT, true);
            rig.see(CLIENT, seen);
            goes_on_with_the_writer(rig);
        });
    }
}

/// The same where no Sync has come: the error is said at once, and what follows is dropped up to Sync.
#[test]
fn a_reply_to_a_flush_that_was_cut_off_is_made_up_for() {
    each(config, |rig| {
        rig.both();
        rig.takes(CLIENT, false);
        rig.client("P(,select 1) DS H");
        rig.reader("1 t");
        let columns = backend("T");
        rig.raw(READER, &columns[..columns.len() - 1]);
        rig.eof(READER);
        rig.takes(CLIENT, true);
        rig.see(CLIENT, "1 t E(08006)");
        rig.client("B(,) E H");
        rig.see(CLIENT, "");
        rig.client("S");
        rig.see(CLIENT, "Z(I)");
        goes_on_with_the_writer(rig);
    });
}

/// A Query ends a batch as Sync does. Nothing of this batch was refused, so it runs.
#[test]
fn a_query_behind_a_batch_that_lost_its_reader_runs() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) H");
        rig.reader("1");
        rig.eof(READER);
        rig.see(CLIENT, "1");
        goes_on_with_the_writer(rig);
    });
}

/// A Query behind a refused message is dropped, as a server drops it.
#[test]
fn a_query_behind_the_error_of_a_lost_reader_is_dropped() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) H");
        rig.eof(READER);
        rig.see(CLIENT, "E(08006)");
        rig.client("Q(insert into t values(1)) S");
        rig.see(WRITER, "");
        rig.see(CLIENT, "Z(I)");
        goes_on_with_the_writer(rig);
    });
}

/// What waits for a reader that takes nothing any more holds nobody up.
#[test]
fn a_lost_reader_whose_socket_is_full_blocks_no_request() {
    each(config, |rig| {
        rig.both();
        rig.takes(READER, false);
        rig.client("Q(select 1) Q(select 2)");
        rig.reader("FATAL(57P01)");
        rig.see(CLIENT, &format!("{LOST} {LOST}"));
        rig.client("Q(insert into t values(1))");
        rig.see(WRITER, "Q(insert into t values(1))");
        rig.writer("C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, "C(INSERT 0 1) Z(I)");
    });
}

/// However long the client takes to read it, a whole reply of a reader that has ended is delivered.
#[test]
fn a_reply_that_was_complete_before_the_end_is_delivered_to_a_slow_client() {
    each(config, |rig| {
        rig.both();
        rig.takes(CLIENT, false);
        rig.client("Q(select 1)");
        rig.reader(ROW);
        rig.eof(READER);
        rig.pass(Duration::from_secs(3600));
        assert!(rig.is_open(CLIENT));
        rig.takes(CLIENT, true);
        rig.see(CLIENT, ROW);
        assert!(rig.is_open(CLIENT) && !rig.is_open(READER));
    });
}

/// A server that has said its last word and does not hang up.
#[test]
fn a_reader_that_stays_behind_its_farewell_is_closed_at_the_deadline() {
    each(config, |rig| {
        rig.both();
        rig.takes(CLIENT, false);
        rig.client("Q(select 1)");
        rig.reader("T FATAL(57P01)");
        assert!(rig.is_open(READER));
        rig.expire(Timer::Retire(READER));
        assert!(!rig.is_open(READER));
        let cause = CloseCause::Timeout(Timer::Retire(READER));
        assert!(rig.closes.contains(&(READER, cause)));
    });
}

/// An ended stream is not asked for more, whatever of it is still to be delivered: the driver would spin.
#[test]
fn a_stream_that_has_ended_is_not_read_again() {
    each(config, |rig| {
        rig.both();
        rig.takes(CLIENT, false);
        rig.client("Q(select 1)");
        rig.reader(ROW);
        assert!(rig.session.wants_read(READER));
        rig.eof(READER);
        assert!(rig.is_open(READER) && !rig.session.wants_read(READER));
        rig.takes(CLIENT, true);
        rig.see(CLIENT, ROW);
    });
}

/// Only the first login to a reader is worth waiting for.
#[test]
fn a_reader_that_is_tried_again_holds_up_no_request() {
    each(config, |rig| {
        rig.both();
        rig.eof(READER);
        rig.dials(READER, Dial::Hang);
        rig.pass(Duration::from_secs(60));
        for _ in 0..3 {
            rig.client("Q(select 1)");
            rig.see(WRITER, "Q(select 1)");
            rig.writer(ROW);
            rig.see(CLIENT, ROW);
        }
        rig.expire(Timer::Dial(READER));
        rig.client("Q(select 2)");
        rig.see(WRITER, "Q(select 2)");
    });
}

/// A driver may learn of an end behind the close that it was asked for.
#[test]
fn the_end_of_a_closed_connection_is_no_news() {
    each(config, |rig| {
        rig.both();
        rig.eof(READER);
        assert!(!rig.is_open(READER));
        rig.session.handle_eof(rig.now, READER);
        rig.run();
        goes_on_with_the_writer(rig);
        rig.reader_again();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
    });
}

/// Nothing stands behind a FATAL error, not even the reply that it interrupts.
#[test]
fn the_writers_farewell_is_the_last_that_the_client_reads() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("T D(1)");
        rig.writer("FATAL(57P01)");
        if rig.is_open(READER) {
            rig.reader("D(2) C(SELECT 2) Z(I)");
        }
        rig.see(CLIENT, "T D(1) FATAL(57P01)");
        assert_eq!(rig.cause(), CloseCause::UpstreamEnded(WRITER));
    });
}

/// The FATAL error itself ends the session: the connection may stand for a while.
#[test]
fn a_writer_that_has_said_farewell_gets_no_request() {
    each(config, |rig| {
        rig.both();
        rig.writer("FATAL(57P05)");
        rig.see(CLIENT, "FATAL(57P05)");
        rig.see(WRITER, "");
        assert!(!rig.is_open(CLIENT));
        assert_eq!(rig.cause(), CloseCause::UpstreamEnded(WRITER));
    });
}

/// A Flush asks for answers as Sync does, and Terminate behind it takes none of them back.
#[test]
fn what_was_flushed_is_answered_before_the_client_leaves() {
    for leaves in [
        |rig: &mut Rig| rig.client("X"),
        |rig: &mut Rig| rig.eof(CLIENT),
    ] {
        each(config, |rig| {
            rig.both();
            rig.client("P(,insert into t values(1)) B(,) E H");
            leaves(rig);
            rig.see(WRITER, "P(,insert into t values(1)) B(,) E H");
            assert!(!rig.is_dead());
            rig.writer("1 2 C(INSERT 0 1)");
            rig.see(CLIENT, "1 2 C(INSERT 0 1)");
            assert_eq!(rig.cause(), CloseCause::ClientLeft);
        });
    }
}

/// Nobody can count on the answers to a batch without Flush or Sync, but a server sends its error at once.
#[test]
fn what_was_neither_flushed_nor_synced_ends_with_the_server() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,insert into nowhere values(1)) B(,) E X");
        rig.see(WRITER, "P(,insert into nowhere values(1)) B(,) E X");
        rig.writer("E(42P01)");
        rig.see(CLIENT, "E(42P01)");
        assert!(!rig.is_dead());
        rig.eof(WRITER);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
        rig.see(READER, "X");
    });
}

/// A server that stays although the client has left keeps nobody for ever.
#[test]
fn a_server_that_does_not_leave_is_left() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,insert into t values(1)) B(,) E X");
        rig.take(WRITER);
        rig.expire(Timer::Drain);
        assert!(rig.is_dead());
    });
}

/// The server waits for more data, the client has left: neither would ever say anything.
#[test]
fn a_client_that_leaves_a_copy_unfinished_ends_the_session() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin)");
        rig.writer("G");
        rig.client("d(1)");
        rig.eof(CLIENT);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
        assert!(!rig.is_open(WRITER));
    });
}

/// Terminate fails a copy, and the server says so.
#[test]
fn a_client_that_terminates_a_copy_gets_its_error() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin)");
        rig.writer("G");
        rig.client("d(1) X");
        rig.see(WRITER, "Q(copy t from stdin) d(1) X");
        rig.writer("E(08P01) FATAL(08P01)");
        rig.see(CLIENT, "G E(08P01) FATAL(08P01)");
        rig.eof(WRITER);
        assert!(rig.is_dead());
    });
}

/// A driver may learn of a break behind the close that it was asked for.
#[test]
fn the_break_of_a_closed_connection_is_no_news() {
    each(config, |rig| {
        rig.both();
        rig.eof(READER);
        rig.session.handle_reset(rig.now, READER);
        rig.run();
        rig.reader_again();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
}

/// A server does not find out that nobody waits for its answer: it is told. Not where a Terminate follows the request, which
/// is to be run to its end.
#[test]
fn a_client_that_dies_has_what_runs_stopped() {
    for (says, peer) in [
        ("Q(select 1)", READER),
        ("Q(delete from t)", WRITER),
        ("P(,delete from t) B(,) E S", WRITER),
        ("P(,select 1) DS H", READER),
        ("P(,delete from t) B(,) E H", WRITER),
    ] {
        each(config, |rig| {
            rig.both();
            rig.client(says);
            rig.reset(CLIENT);
            assert_eq!(rig.stops, [peer], "{says}");
            assert_eq!(rig.cause(), CloseCause::ClientLost);
        });
        each(config, |rig| {
            rig.both();
            rig.client(says);
            rig.eof(CLIENT);
            assert_eq!(rig.stops, [], "{says}");
            // It may still read, for so long.
            rig.expire(Timer::Drain);
            assert_eq!(rig.stops, [peer], "{says}");
            assert_eq!(rig.cause(), CloseCause::ClientLeft);
        });
        each(config, |rig| {
            rig.both();
            rig.client(&format!("{says} X"));
            rig.eof(CLIENT);
            if !rig.is_dead() {
                rig.expire(Timer::Drain);
            }
            assert_eq!(rig.stops, [], "{says}");
        });
    }
    for (says, answer) in [
        ("Q(begin)", "C(BEGIN) Z(T)"),
        ("Q(delete from t)", "C(DELETE 1) Z(I)"),
        ("P(,delete from t) B(,)", ""),
        ("Q(copy t from stdin)", "G"),
    ] {
        each(config, |rig| {
            rig.both();
            rig.client(says);
            rig.writer(answer);
            rig.reset(CLIENT);
            assert_eq!(rig.stops, [], "{says}");
        });
    }
}

/// What a lost reader had prepared a new one has not, the unnamed statement neither; and no Query of ours or of the client's need
/// come in between.
#[test]
fn statements_are_prepared_anew_behind_a_loss() {
    for name in ["", "s"] {
        each(config, |rig| {
            rig.both();
            rig.client(&format!("P({name},select 1) S"));
            rig.see(READER, &format!("P({name},select 1) S"));
            rig.reader("1 Z(I)");
            rig.see(CLIENT, "1 Z(I)");
            rig.eof(READER);
            rig.pass(Duration::from_secs(60));
            // The new one is logged in to beside this.
            let other = "P(other,select 2) B(,other) E S";
            rig.client(other);
            rig.see(WRITER, other);
            rig.writer("1 2 D(2) C(SELECT 1) Z(I)");
            rig.see(CLIENT, "1 2 D(2) C(SELECT 1) Z(I)");
            rig.reader_in();
            rig.client(&format!("B(,{name}) E S"));
            rig.see(READER, &format!("P({name},select 1) B(,{name}) E S"));
            rig.reader("1 2 D(1) C(SELECT 1) Z(I)");
            rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
        });
    }
}

/// A Close that is lost with the reader has closed nothing: the client is told that it failed.
#[test]
fn a_close_that_is_lost_has_closed_nothing() {
    for name in ["", "s"] {
        each(config, |rig| {
            rig.both();
            rig.client(&format!("P({name},select 1) S"));
            rig.see(READER, &format!("P({name},select 1) S"));
            rig.reader("1 Z(I)");
            rig.see(CLIENT, "1 Z(I)");
            rig.client(&format!("B(,{name}) E CS({name}) S"));
            rig.take(READER);
            rig.reader("2 D(1) C(SELECT 1)");
            rig.see(CLIENT, "2 D(1) C(SELECT 1)");
            rig.eof(READER);
            rig.see(CLIENT, LOST);
            rig.client(&format!("B(,{name}) E S"));
            rig.see(WRITER, &format!("P({name},select 1) B(,{name}) E S"));
        });
    }
}
