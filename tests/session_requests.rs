//! Requests of a logged-in client: to whom each goes, and what the client sees.

mod session_support;

use pgturnout::session::PeerId;
use session_support::{config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;

#[test]
fn a_read_goes_to_the_reader() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select a from t)");
        rig.see(READER, "Q(select a from t)");
        rig.see(WRITER, "");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
        assert_eq!(rig.routed(), [READER]);
    });
}

#[test]
fn a_write_goes_to_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(insert into t values(1))");
        rig.see(WRITER, "Q(insert into t values(1))");
        rig.see(READER, "");
        rig.writer("C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, "C(INSERT 0 1) Z(I)");
    });
}

const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// A write and a read in one packet: the read waits for the write's answer, or goes behind it (H25, D9).
#[test]
fn a_read_behind_an_unanswered_write_follows_it() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(insert into t values(1)) Q(select 2)");
        rig.see(WRITER, "Q(insert into t values(1)) Q(select 2)");
        rig.see(READER, "");
        rig.writer(&format!("C(INSERT 0 1) Z(I) {ROW}"));
        rig.see(CLIENT, &format!("C(INSERT 0 1) Z(I) {ROW}"));
        assert_eq!(rig.routed(), [WRITER, WRITER]);
    });
}

/// What belongs to the session is asked of the writer; the read behind it waits.
#[test]
fn a_read_waits_for_what_the_writer_owes() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select pg_backend_pid()) Q(select 2)");
        rig.see(WRITER, "Q(select pg_backend_pid())");
        rig.writer("T D(4711) C(SELECT 1)");
        rig.see(READER, "");
        rig.writer("Z(I)");
        rig.see(READER, "Q(select 2)");
        rig.reader(ROW);
        rig.see(CLIENT, &format!("T D(4711) C(SELECT 1) Z(I) {ROW}"));
        assert_eq!(rig.routed(), [WRITER, READER]);
    });
}

#[test]
fn a_write_waits_for_the_read_before_it() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 2) Q(select 3) Q(update t set a=1)");
        rig.see(READER, "Q(select 2) Q(select 3)");
        rig.see(WRITER, "");
        rig.reader(&format!("{ROW} T D(3)"));
        rig.see(WRITER, "");
        rig.reader("C(SELECT 1) Z(I)");
        rig.see(WRITER, "Q(update t set a=1)");
        rig.writer("C(UPDATE 1) Z(I)");
        rig.see(
            CLIENT,
            &format!("{ROW} T D(3) C(SELECT 1) Z(I) C(UPDATE 1) Z(I)"),
        );
    });
}

/// A batch is one transaction: it is not divided (H24).
#[test]
fn a_mixed_batch_goes_to_the_writer_whole() {
    each(config, |rig| {
        rig.both();
        let batch = "P(,select 1) B(,) E P(,insert into t values(1)) B(,) E S";
        rig.client(batch);
        rig.see(WRITER, batch);
        rig.see(READER, "");
        let answer = "1 2 D(1) C(SELECT 1) 1 2 C(INSERT 0 1) Z(I)";
        rig.writer(answer);
        rig.see(CLIENT, answer);
        assert_eq!(rig.routed(), [WRITER]);
    });
}

#[test]
fn a_batch_of_reads_goes_to_the_reader() {
    each(config, |rig| {
        rig.both();
        let batch = "P(s,select 1) DS(s) B(,s) DP E CP S";
        rig.client(batch);
        rig.see(READER, batch);
        let answer = "1 t T 2 T D(1) C(SELECT 1) 3 Z(I)";
        rig.reader(answer);
        rig.see(CLIENT, answer);
        rig.see(WRITER, "");
    });
}

/// H05.
#[test]
fn several_syncs_may_be_in_flight() {
    each(config, |rig| {
        rig.both();
        let one = "P(,select 1) B(,) E S";
        let all = [one; 3].join(" ");
        rig.client(&all);
        rig.see(READER, &all);
        for _ in 0..3 {
            rig.reader("1 2 D(1) C(SELECT 1) Z(I)");
            rig.see(CLIENT, "1 2 D(1) C(SELECT 1) Z(I)");
        }
        rig.client("S S");
        rig.see(READER, "S S");
        rig.reader("Z(I) Z(I)");
        rig.see(CLIENT, "Z(I) Z(I)");
    });
}

/// H01: describe first, with Flush, then bind.
#[test]
fn a_flush_gets_its_answers_before_the_batch_goes_on() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select $1) DS H");
        rig.see(READER, "P(,select $1) DS H");
        rig.reader("1 t T");
        rig.see(CLIENT, "1 t T");
        rig.client("B(,) E S");
        rig.see(READER, "B(,) E S");
        rig.reader("2 D(x) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(x) C(SELECT 1) Z(I)");
        rig.see(WRITER, "");
    });
}

/// A batch that turns out to write after a Flush: its part on the reader is ended with a Sync of ours.
#[test]
fn a_batch_leaves_the_reader_when_it_writes() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) DS H");
        rig.see(READER, "P(,select 1) DS H");
        rig.reader("1 t T");
        rig.see(CLIENT, "1 t T");
        rig.client("P(,insert into t values(1)) B(,) E S");
        rig.see(READER, "S");
        rig.see(WRITER, "");
        rig.reader("Z(I)");
        rig.see(CLIENT, "");
        rig.see(WRITER, "P(,insert into t values(1)) B(,) E S");
        rig.writer("1 2 C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, "1 2 C(INSERT 0 1) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
}

/// A statement that was parsed on the reader in the same batch is repeated on the writer.
#[test]
fn what_a_batch_prepared_on_the_reader_follows_it() {
    each(config, |rig| {
        rig.both();
        rig.client("P(s,select 1) DS(s) H");
        rig.see(READER, "P(s,select 1) DS(s) H");
        rig.reader("1 t T");
        rig.see(CLIENT, "1 t T");
        rig.client("P(w,delete from t) B(,s) E B(,w) E S");
        rig.see(READER, "S");
        rig.reader("Z(I)");
        rig.see(WRITER, "P(w,delete from t) P(s,select 1) B(,s) E B(,w) E S");
        rig.writer("1 1 2 D(1) C(SELECT 1) 2 C(DELETE 1) Z(I)");
        rig.see(CLIENT, "1 2 D(1) C(SELECT 1) 2 C(DELETE 1) Z(I)");
    });
}

/// A portal with rows left is bound to its upstream to the end of the batch (H02, H27).
#[test]
fn a_suspended_portal_keeps_its_batch_on_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) B(c,) DP(c) H");
        rig.see(WRITER, "P(,select 1) B(c,) DP(c) H");
        rig.writer("1 2 T");
        rig.client("E(c,1) H");
        rig.see(WRITER, "E(c,1) H");
        rig.writer("D(1) s");
        rig.client("E(c,1) S");
        rig.see(WRITER, "E(c,1) S");
        rig.writer("C(SELECT 0) Z(I)");
        rig.see(CLIENT, "1 2 T D(1) s C(SELECT 0) Z(I)");
        rig.see(READER, "");
    });
}

#[test]
fn a_query_inside_an_open_batch_runs_where_the_batch_is() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,insert into t values(1)) B(,) E H");
        rig.see(WRITER, "P(,insert into t values(1)) B(,) E H");
        rig.writer("1 2 C(INSERT 0 1)");
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.see(CLIENT, &format!("1 2 C(INSERT 0 1) {ROW}"));
        rig.see(READER, "");
        rig.client("Q(select 2)");
        rig.see(READER, "Q(select 2)");
    });
}

/// Since PostgreSQL 18 the Query's answer leaves the batch's transaction open (measured on 18.4: `Z(T)`), so the batch
/// cannot go where nothing but reads may follow.
#[test]
fn a_query_inside_a_batch_of_reads_takes_it_to_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) B(,) E Q(select 2)");
        rig.see(WRITER, "P(,select 1) B(,) E Q(select 2)");
        let answer = "1 2 D(1) C(SELECT 1) T D(2) C(SELECT 1) Z(T)";
        rig.writer(answer);
        rig.see(CLIENT, answer);
        rig.client("Q(select 3)");
        rig.see(WRITER, "Q(select 3)");
    });
}

/// H04: a Query behind a failed message is dropped by the server and owes no ReadyForQuery.
#[test]
fn a_query_that_the_server_skips_owes_nothing() {
    each(config, |rig| {
        rig.both();
        let batch = "P(,select 1/a from z) B(,) E Q(release savepoint p) S";
        rig.client(batch);
        rig.see(WRITER, batch);
        rig.writer("1 2 E(22012) Z(I)");
        rig.see(CLIENT, "1 2 E(22012) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
    });
}

#[test]
fn what_follows_an_error_up_to_sync_goes_where_the_error_was() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select nothing) H");
        rig.see(READER, "P(,select nothing) H");
        rig.reader("E(42703)");
        rig.see(CLIENT, "E(42703)");
        rig.client("B(,) E Q(insert into t values(1)) P(,delete from t) S");
        rig.see(
            READER,
            "B(,) E Q(insert into t values(1)) P(,delete from t) S",
        );
        rig.reader("Z(I)");
        rig.see(CLIENT, "Z(I)");
        rig.client("Q(insert into t values(1))");
        rig.see(WRITER, "Q(insert into t values(1))");
    });
}

#[test]
fn an_open_transaction_belongs_to_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(begin)");
        rig.see(WRITER, "Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        rig.client("Q(select 1) P(,select 2) B(,) E S");
        rig.see(WRITER, "Q(select 1) P(,select 2) B(,) E S");
        rig.writer("T D(1) C(SELECT 1) Z(T) 1 2 D(2) C(SELECT 1) Z(T)");
        rig.client("Q(commit)");
        rig.see(WRITER, "Q(commit)");
        rig.writer("C(COMMIT) Z(I)");
        rig.client("Q(select 3)");
        rig.see(READER, "Q(select 3)");
    });
}

/// H15: only the writer knows that the transaction has failed.
#[test]
fn a_failed_transaction_belongs_to_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        rig.client("Q(select 1/0)");
        rig.writer("E(22012) Z(E)");
        rig.see(WRITER, "Q(begin) Q(select 1/0)");
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
        rig.see(READER, "");
        rig.writer("E(25P02) Z(E)");
        rig.see(CLIENT, "C(BEGIN) Z(T) E(22012) Z(E) E(25P02) Z(E)");
        rig.client("Q(rollback)");
        rig.writer("C(ROLLBACK) Z(I)");
        rig.see(WRITER, "Q(rollback)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
}

/// A read right behind a BEGIN whose answer has not come is part of that transaction.
#[test]
fn a_read_behind_an_unanswered_begin_goes_to_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(begin) Q(select 1) Q(commit) Q(select 2)");
        rig.see(WRITER, "Q(begin) Q(select 1) Q(commit) Q(select 2)");
        rig.writer("C(BEGIN) Z(T)");
        rig.writer("T D(1) C(SELECT 1) Z(T) C(COMMIT) Z(I)");
        rig.writer("T D(2) C(SELECT 1) Z(I)");
        rig.see(READER, "");
        rig.client("Q(select 3)");
        rig.see(READER, "Q(select 3)");
    });
}

#[test]
fn a_function_call_goes_to_the_writer() {
    each(config, |rig| {
        rig.both();
        let call = session_support::frames::raw(b'F', b"\0\0\x03\xe8\0\0\0\0\0\0");
        rig.raw(CLIENT, &call);
        assert_eq!(rig.take(WRITER), call);
        rig.writer("V Z(I)");
        rig.see(CLIENT, "V Z(I)");
        rig.see(READER, "");
    });
}

#[test]
fn empty_queries_are_answered_by_a_server() {
    each(config, |rig| {
        rig.both();
        rig.client("Q() Q(;) Q(-- nothing)");
        rig.see(READER, "Q() Q(;) Q(-- nothing)");
        rig.reader("I Z(I) I Z(I) I Z(I)");
        rig.see(CLIENT, "I Z(I) I Z(I) I Z(I)");
    });
}

/// What the server owes for malformed bodies (security.md §1.D): sent on unchanged, counted as the server counts.
#[test]
fn malformed_bodies_are_the_servers_to_refuse() {
    let table: [(u8, &[u8], &str); 9] = [
        (b'Q', b"select 1", "E(08P01) Z(I)"),
        (b'Q', b"", "E(08P01) Z(I)"),
        (b'Q', b"a\0b\0", "E(08P01) Z(I)"),
        (b'S', b"x", "E(08P01) Z(I)"),
        (b'P', b"s\0select 1", "E(08P01)"),
        (b'B', b"\0\0\xff\xff", "E(08P01)"),
        (b'D', b"Xs\0", "E(08P01)"),
        (b'C', b"", "E(08P01)"),
        (b'H', b"x", "E(08P01)"),
    ];
    for (tag, body, answer) in table {
        each(config, |rig| {
            rig.both();
            let frame = session_support::frames::raw(tag, body);
            rig.raw(CLIENT, &frame);
            // A message of a batch waits for the end of its batch, which makes no difference to the client.
            let skips = !answer.ends_with("Z(I)");
            if skips {
                rig.client("Q(insert into t values(1)) S");
            }
            let mut expected = frame.clone();
            if skips {
                expected.extend(session_support::frames::frontend(
                    "Q(insert into t values(1)) S",
                ));
            }
            assert_eq!(rig.take(WRITER), expected, "{tag}");
            rig.see(READER, "");
            rig.writer(answer);
            if skips {
                rig.writer("Z(I)");
            }
            let whole = if skips {
                format!("{answer} Z(I)")
            } else {
                answer.to_owned()
            };
            rig.see(CLIENT, &whole);
            rig.client("Q(select 1)");
            rig.see(READER, "Q(select 1)");
            rig.reader(ROW);
            rig.see(CLIENT, ROW);
        });
    }
}

/// C6: no reply is guessed; the server ends the session by itself.
#[test]
fn an_unknown_message_of_the_client_passes() {
    each(config, |rig| {
        rig.both();
        let frame = session_support::frames::raw(b'z', b"what");
        rig.raw(CLIENT, &frame);
        assert_eq!(rig.take(WRITER), frame);
        rig.writer("FATAL(08P01)");
        rig.eof(WRITER);
        rig.see(CLIENT, "FATAL(08P01)");
        assert!(rig.is_dead());
    });
}

#[test]
fn an_unknown_message_of_a_server_passes_in_its_reply() {
    each(config, |rig| {
        rig.both();
        let frame = session_support::frames::raw(b'y', b"news");
        rig.client("Q(select 1)");
        rig.reader("T");
        rig.raw(READER, &frame);
        rig.reader("D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "T y#4 D(1) C(SELECT 1) Z(I)");
        rig.raw(READER, &frame);
        rig.see(CLIENT, "");
        rig.raw(WRITER, &frame);
        rig.see(CLIENT, "y#4");
    });
}

/// H26: nothing of another upstream lands inside a reply.
#[test]
fn a_notification_of_the_writer_waits_for_the_readers_reply() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("T D(1)");
        rig.writer("A(news) N(00000) S(application_name,x)");
        rig.see(CLIENT, "T D(1)");
        rig.reader("C(SELECT 1) Z(I)");
        rig.see(
            CLIENT,
            "C(SELECT 1) Z(I) A(news) N(00000) S(application_name,x)",
        );
    });
}

#[test]
fn parameters_and_notifications_of_the_reader_are_not_the_clients() {
    each(config, |rig| {
        rig.both();
        rig.reader("S(default_transaction_read_only,on) A(news) N(00000)");
        rig.see(CLIENT, "");
        rig.client("Q(select 1)");
        rig.reader("T S(server_version,18) N(01000) D(1) C(SELECT 1) A(x) Z(I)");
        rig.see(CLIENT, "T N(01000) D(1) C(SELECT 1) Z(I)");
    });
}

/// Everything that was asked is answered, then both servers are taken leave of (fact 13).
#[test]
fn terminate_waits_for_what_is_owed() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1) Q(insert into t values(1)) X");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(WRITER, "Q(insert into t values(1))");
        rig.writer("C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, &format!("{ROW} C(INSERT 0 1) Z(I)"));
        rig.see(WRITER, "X");
        rig.see(READER, "X");
        assert_eq!(rig.cause(), pgturnout::session::CloseCause::ClientLeft);
    });
}

/// A server reads nothing behind Terminate.
#[test]
fn nothing_behind_terminate_is_run() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1) X Q(delete from t)");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        rig.see(WRITER, "X");
        rig.see(READER, "X");
        assert!(rig.is_dead());
    });
}

#[test]
fn a_client_that_ends_its_stream_gets_what_it_is_owed() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1) Q(update t set a=1)");
        rig.eof(CLIENT);
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(WRITER, "Q(update t set a=1)");
        rig.writer("C(UPDATE 1) Z(I)");
        rig.see(CLIENT, &format!("{ROW} C(UPDATE 1) Z(I)"));
        rig.see(WRITER, "X");
        rig.see(READER, "X");
        assert!(rig.is_dead());
    });
}

#[test]
fn a_client_that_is_reset_ends_the_session_at_once() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.reset(CLIENT);
        assert_eq!(rig.cause(), pgturnout::session::CloseCause::ClientLost);
        rig.see(WRITER, "X");
        assert!(!rig.is_open(READER));
    });
}

#[test]
fn a_client_that_ends_inside_a_message_completes_none() {
    each(config, |rig| {
        rig.both();
        let frame = session_support::frames::frontend("Q(update t set a=1)");
        rig.raw(CLIENT, &frame[..frame.len() - 5]);
        rig.eof(CLIENT);
        assert!(rig.is_dead());
        rig.see(WRITER, "X");
    });
}

/// The end of a stream may be all that is seen of a client that is gone, so the wait has an end.
#[test]
fn a_client_that_ended_its_stream_is_not_answered_for_ever() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.eof(CLIENT);
        rig.expire(pgturnout::session::Timer::Drain);
        assert_eq!(rig.cause(), pgturnout::session::CloseCause::ClientLeft);
        rig.take(READER);
        rig.see(WRITER, "X");
    });
}

/// After an error a server skips to Sync, a Query too. What it skips has to reach it, or the Sync would end something
/// else; a write among it is done nowhere, as it would be by one server.
#[test]
fn a_write_behind_an_error_is_skipped_by_the_reader() {
    for at_once in [false, true] {
        each(config, |rig| {
            rig.both();
            let (failing, write) = (
                "P(,select 1) H",
                "P(s,insert into t values(1)) B(,s) E Q(delete from t) S",
            );
            if at_once {
                rig.client(&format!("{failing} {write}"));
                rig.see(READER, failing);
                rig.reader("E(42703)");
            } else {
                rig.client(failing);
                rig.see(READER, failing);
                rig.reader("E(42703)");
                rig.client(write);
            }
            rig.see(READER, write);
            rig.reader("Z(I)");
            rig.see(CLIENT, "E(42703) Z(I)");
            // What was skipped is not remembered either.
            rig.client("B(,s) E S");
            rig.see(WRITER, "B(,s) E S");
            rig.writer("E(26000) Z(I)");
            rig.see(CLIENT, "E(26000) Z(I)");
            rig.client("Q(select 1) Q(delete from t)");
            rig.see(READER, "Q(select 1)");
            rig.reader(ROW);
            rig.see(WRITER, "Q(delete from t)");
            rig.see(CLIENT, ROW);
        });
    }
}
