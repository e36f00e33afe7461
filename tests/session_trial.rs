//! Reads that are not proven to be reads, tried on the reader.

mod session_support;

use pgturnout::session::{
    CloseCause, Config, Event, Optimistic, PeerId, ReadYourWrites, RequestEvents,
};
use pgturnout::wire::Fields;
use session_support::frames::raw;
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const ASKED: &str = "Q(select app.f())";
const REFUSED: &str = "E(25006) Z(I)";

fn optimistic() -> Config {
    let mut config = config();
    config.optimistic = Optimistic::On;
    config.request_events = RequestEvents::On;
    config
}

/// A request is sent to an upstream alone.
#[track_caller]
fn goes(rig: &mut Rig, request: &str, to: PeerId) {
    rig.client(request);
    arrives(rig, request, to);
}

#[track_caller]
fn arrives(rig: &mut Rig, request: &str, to: PeerId) {
    let other = if to == READER { WRITER } else { READER };
    rig.see(other, "");
    rig.see(to, request);
}

#[track_caller]
fn answers(rig: &mut Rig, from: PeerId, answer: &str) {
    rig.say(from, answer);
    rig.see(CLIENT, answer);
}

/// The reader answers, and the client sees nothing of it.
#[track_caller]
fn in_vain(rig: &mut Rig, answer: &str) {
    rig.reader(answer);
    rig.see(CLIENT, "");
}

/// What was told of routes and of requests, by their numbers.
fn told(rig: &mut Rig) -> Vec<String> {
    let words = rig.events.drain(..).filter_map(|event| match event {
        Event::Routed {
            request,
            peer,
            reason,
            ..
        } => Some(format!("{request} {peer} {reason}")),
        Event::RequestBegan { request, peer } => Some(format!("{request} began {peer}")),
        Event::ReaderRefused { request, state, .. } => Some(format!("{request} refused {state}")),
        Event::ResponseEnded { request, peer, .. } => Some(format!("{request} ended {peer}")),
        _ => None,
    });
    words.collect()
}

#[test]
fn an_unproven_read_is_the_writers_unless_it_may_be_tried() {
    each(config, |rig| {
        rig.both();
        goes(rig, ASKED, WRITER);
    });
    each(optimistic, |rig| {
        rig.both();
        goes(rig, ASKED, READER);
        answers(rig, READER, ROW);
        goes(rig, ASKED, READER);
        answers(rig, READER, "E(42883) Z(I)");
        goes(rig, ASKED, READER);
    });
}

#[test]
fn what_the_reader_refuses_runs_on_the_writer_once_and_is_a_write_from_then_on() {
    each(optimistic, |rig| {
        rig.both();
        rig.events.clear();
        goes(rig, ASKED, READER);
        in_vain(rig, REFUSED);
        arrives(rig, ASKED, WRITER);
        answers(rig, WRITER, ROW);
        rig.silence();
        assert_eq!(
            told(rig),
            [
                "2 reader UnknownFunction",
                "2 began reader",
                "2 refused 25006",
                "2 writer refused by the reader",
                "2 ended writer"
            ]
        );
        // The reader owes nothing of it: what it answers next is the next request's.
        goes(rig, "Q(select 1)", READER);
        answers(rig, READER, ROW);
        assert_eq!(
            told(rig),
            ["3 reader PlainSelect", "3 began reader", "3 ended reader"]
        );
        goes(rig, ASKED, WRITER);
        answers(rig, WRITER, ROW);
        goes(rig, "P(,select app.f()) B(,) E S", WRITER);
        answers(rig, WRITER, "1 2 D(1) C(SELECT 1) Z(I)");
        goes(rig, "Q(select app.g())", READER);
    });
}

/// Counted once, as the client asked once.
#[test]
fn the_client_has_asked_once() {
    each(optimistic, |rig| {
        rig.both();
        let before = *rig.session.stats();
        goes(rig, ASKED, READER);
        in_vain(rig, REFUSED);
        arrives(rig, ASKED, WRITER);
        answers(rig, WRITER, "C(SELECT 1) Z(I)");
        let added = rig.session.stats().since(&before);
        let shown: Vec<String> = added
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(counter, count)| format!("{}={count}", counter.name()))
            .collect();
        let expected = "messages=3 messages_frontend=1 messages_backend=2 statements=1 statements_select=1 transactions=1 transactions_commit=1";
        assert_eq!(shown.join(" "), expected);
    });
    each(optimistic, |rig| {
        rig.both();
        let before = *rig.session.stats();
        goes(rig, ASKED, READER);
        answers(rig, READER, "C(SELECT 1) Z(I)");
        let added = rig.session.stats().since(&before);
        let messages = added.get(pgturnout::stats::Counter::MessagesFrontend);
        assert_eq!(messages, 1);
    });
}

/// A notice before the refusal is said again by the writer.
#[test]
fn nothing_of_a_refusal_reaches_the_client() {
    for before in ["T", "N(00000)", "N(00000) T N(00000)", "S(TimeZone,x)"] {
        each(optimistic, |rig| {
            rig.both();
            goes(rig, ASKED, READER);
            in_vain(rig, before);
            in_vain(rig, "E(25006)");
            rig.see(WRITER, "");
            in_vain(rig, "Z(I)");
            arrives(rig, ASKED, WRITER);
            answers(rig, WRITER, ROW);
        });
    }
}

/// What the reader still says to a question of ours is no answer to what is tried behind it.
#[test]
fn a_refusal_behind_the_rest_of_an_answer_of_ours() {
    let both = || {
        let mut config = optimistic();
        config.read_your_writes = ReadYourWrites::Replayed;
        config
    };
    each(both, |rig| {
        rig.both();
        goes(rig, "Q(insert into t values(1))", WRITER);
        answers(rig, WRITER, "C(INSERT 0 1) Z(I)");
        rig.client(ASKED);
        rig.see(WRITER, "Q(select pg_catalog.pg_current_wal_insert_lsn())");
        rig.writer("T D(0/5) C(SELECT 1) Z(I)");
        rig.see(READER, "Q(select pg_catalog.pg_last_wal_replay_lsn())");
        rig.reader("T D(0/5)");
        arrives(rig, ASKED, READER);
        in_vain(rig, "C(SELECT 1) Z(I)");
        in_vain(rig, REFUSED);
        arrives(rig, ASKED, WRITER);
        answers(rig, WRITER, ROW);
        rig.silence();
    });
}

/// What has been sent cannot be taken back: the client gets the error, and the text counts as a write no more than before.
#[test]
fn a_refusal_behind_a_row_is_the_clients() {
    each(optimistic, |rig| {
        rig.both();
        goes(rig, ASKED, READER);
        rig.reader("T D(1)");
        rig.see(CLIENT, "T D(1)");
        answers(rig, READER, "E(25006) Z(I)");
        rig.silence();
    });
}

/// Codes are looked at with what the server says of where it raised them.
#[test]
fn what_is_a_refusal() {
    let error = |code: &[u8], routine: &[u8], severity: &[u8]| {
        let fields = [
            (b'S', severity),
            (b'V', severity),
            (b'C', code),
            (b'M', &b"cannot"[..]),
            (b'R', routine),
        ];
        let mut out = bytes::BytesMut::new();
        let message = pgturnout::wire::Backend::ErrorResponse(Fields::new(&fields));
        message.encode(&mut out).unwrap();
        out.to_vec()
    };
    for (code, routine, refuses) in [
        ("25006", "PreventCommandIfReadOnly", true),
        ("XX000", "GetNewTransactionId", true),
        ("XX000", "GetNewObjectId", true),
        ("XX000", "GetNewMultiXactId", true),
        ("XX000", "elog", false),
        ("55000", "currval_oid", false),
        ("40001", "ProcessInterrupts", false),
    ] {
        each(optimistic, |rig| {
            rig.both();
            goes(rig, ASKED, READER);
            rig.raw(
                READER,
                &error(code.as_bytes(), routine.as_bytes(), b"ERROR"),
            );
            rig.reader("Z(I)");
            let to_the_writer = rig.shown(WRITER);
            assert_eq!(to_the_writer == ASKED, refuses, "{code} {routine}");
            let seen = rig.shown(CLIENT);
            assert_eq!(seen.is_empty(), refuses, "{code} {routine}");
        });
    }
    // A server that ends the connection with this code has not said that it did nothing.
    each(optimistic, |rig| {
        rig.both();
        goes(rig, ASKED, READER);
        rig.raw(READER, &error(b"25006", b"", b"FATAL"));
        rig.eof(READER);
        rig.see(WRITER, "");
        rig.see(CLIENT, "E(08006) Z(I)");
    });
}

#[test]
fn batches_are_tried_whole() {
    for (request, before, answer) in [
        (
            "P(,select app.f()) B(,) E S",
            "1 2",
            "1 2 D(1) C(SELECT 1) Z(I)",
        ),
        (
            "P(,select app.f()) DS B(,) DP E CP S",
            "1 t T 2 T",
            "1 t T 2 T D(1) C(SELECT 1) 3 Z(I)",
        ),
        (
            "P(s,select app.f()) B(,s) E S",
            "1 2",
            "1 2 D(1) C(SELECT 1) Z(I)",
        ),
    ] {
        each(optimistic, |rig| {
            rig.both();
            goes(rig, request, READER);
            in_vain(rig, before);
            in_vain(rig, "E(25006)");
            in_vain(rig, "Z(I)");
            arrives(rig, request, WRITER);
            answers(rig, WRITER, answer);
            rig.silence();
        });
    }
}

/// A statement that was prepared before is known by its text, wherever it is prepared.
#[test]
fn a_prepared_statement_that_is_refused() {
    each(optimistic, |rig| {
        rig.both();
        goes(rig, "P(s,select app.f()) S", READER);
        answers(rig, READER, "1 Z(I)");
        goes(rig, "B(,s) E S", READER);
        in_vain(rig, "2 E(25006) Z(I)");
        rig.see(WRITER, "P(s,select app.f()) B(,s) E S");
        rig.writer("1 2 C(SELECT 0) Z(I)");
        rig.see(CLIENT, "2 C(SELECT 0) Z(I)");
        goes(rig, "B(,s) E S", WRITER);
        answers(rig, WRITER, "2 C(SELECT 0) Z(I)");
    });
}

/// The client's statement is the one that the writer has prepared; the reader's is closed before it could be taken for it.
#[test]
fn a_statement_of_a_refused_request_is_prepared_once() {
    each(optimistic, |rig| {
        rig.both();
        let request = "P(s,select app.f()) B(,s) E S";
        goes(rig, request, READER);
        in_vain(rig, "1 2 E(25006) Z(I)");
        arrives(rig, request, WRITER);
        answers(rig, WRITER, "1 2 C(SELECT 1) Z(I)");
        // What is closed is not brought there before.
        goes(rig, "CS(s) P(s,select 1) S", READER);
        answers(rig, READER, "3 1 Z(I)");
        goes(rig, "B(,s) E S", READER);
        answers(rig, READER, "2 C(SELECT 1) Z(I)");
    });
}

/// What the reader did of a refused request before it refused it is done where the request runs: until then a name means what
/// it did.
#[test]
fn a_refused_request_changes_no_statement() {
    let requests = [
        ("B(p,s) E(p) CS(s) P(s,select 2) S", "2 E(25006) Z(I)"),
        ("B(p,s) CS(s) E(p) S", "2 3 E(25006) Z(I)"),
        ("B(p,s) CS(s) P(s,select 2) E(p) S", "2 3 1 E(25006) Z(I)"),
    ];
    for (request, refusal) in requests {
        each(optimistic, |rig| {
            rig.both();
            goes(rig, "P(s,select app.f()) S", READER);
            answers(rig, READER, "1 Z(I)");
            goes(rig, request, READER);
            in_vain(rig, refusal);
            rig.see(WRITER, &format!("P(s,select app.f()) {request}"));
        });
    }
    each(optimistic, |rig| {
        rig.both();
        goes(rig, "P(,select app.f()) S", READER);
        answers(rig, READER, "1 Z(I)");
        let request = "B(p,) P(,select 2) E(p) S";
        goes(rig, request, READER);
        in_vain(rig, "2 1 E(25006) Z(I)");
        rig.see(WRITER, &format!("P(,select app.f()) {request}"));
    });
}

/// What the client has closed at the reader is still the writer's, whatever the reader refuses under the same name.
#[test]
fn a_refused_statement_is_prepared_where_its_name_is_taken() {
    each(optimistic, |rig| {
        rig.both();
        goes(rig, "P(s,select 1) S", READER);
        answers(rig, READER, "1 Z(I)");
        goes(rig, "Q(begin)", WRITER);
        answers(rig, WRITER, "C(BEGIN) Z(T)");
        rig.client("B(,s) E S");
        rig.see(WRITER, "P(s,select 1) B(,s) E S");
        rig.writer("1 2 D(1) C(SELECT 1) Z(T)");
        rig.take(CLIENT);
        goes(rig, "Q(commit)", WRITER);
        answers(rig, WRITER, "C(COMMIT) Z(I)");
        goes(rig, "B(,s) E CS(s) S", READER);
        answers(rig, READER, "2 D(1) C(SELECT 1) 3 Z(I)");
        let request = "P(s,select app.f()) B(,s) E S";
        goes(rig, request, READER);
        in_vain(rig, "1 2 E(25006) Z(I)");
        rig.see(WRITER, &format!("CS(s) {request}"));
        rig.writer("3 1 2 C(SELECT 1) Z(I)");
        rig.see(CLIENT, "1 2 C(SELECT 1) Z(I)");
    });
}

/// What cannot be repeated whole is not tried.
#[test]
fn what_is_not_tried() {
    let long = format!("Q(select app.f('{}'))", "x".repeat(4_096));
    for request in [
        "Q(select app.f(); select app.g())",
        "Q(select app.f(); select 1)",
        "P(,select app.f()) B(,) B(p,) E S",
        "P(,select app.f()) B(,) H",
        "P(,select app.f()) H",
        &long,
    ] {
        each(optimistic, |rig| {
            rig.both();
            goes(rig, request, WRITER);
        });
    }
    each(optimistic, |rig| {
        rig.both();
        goes(rig, "Q(begin)", WRITER);
        answers(rig, WRITER, "C(BEGIN) Z(T)");
        goes(rig, ASKED, WRITER);
    });
}

/// The longest that is tried, and one byte more.
#[test]
fn tried_request() {
    let limit = pgturnout::limits::TRIED_REQUEST;
    let text = |len: usize| format!("Q(select app.f('{}'))", "x".repeat(len - 22));
    for (len, to) in [(limit, READER), (limit + 1, WRITER)] {
        each(optimistic, |rig| {
            rig.both();
            let request = text(len);
            assert_eq!(session_support::frames::frontend(&request).len(), len);
            goes(rig, &request, to);
        });
    }
}

/// So many messages are tried, and not one more.
#[test]
fn tried_messages() {
    let most = pgturnout::limits::TRIED_MESSAGES;
    for (count, to) in [(most, READER), (most + 1, WRITER)] {
        each(optimistic, |rig| {
            rig.both();
            let closes = "CP(x) ".repeat(count - 4);
            goes(rig, &format!("P(,select app.f()) B(,) E {closes}S"), to);
        });
    }
}

/// As many refused texts are remembered; the oldest is tried again.
#[test]
fn refused_texts() {
    each(optimistic, |rig| {
        rig.both();
        let most = pgturnout::limits::REFUSED_TEXTS;
        let text = |n: usize| format!("Q(select app.f({n}))");
        for n in 0..=most {
            goes(rig, &text(n), READER);
            in_vain(rig, REFUSED);
            arrives(rig, &text(n), WRITER);
            answers(rig, WRITER, ROW);
        }
        for (n, to) in [(1, WRITER), (most, WRITER), (0, READER)] {
            goes(rig, &text(n), to);
            answers(rig, to, ROW);
        }
    });
}

/// What the client sends meanwhile waits, and comes behind it.
#[test]
fn pipelined_requests_keep_their_order() {
    each(optimistic, |rig| {
        rig.both();
        rig.client("Q(select app.f()) Q(select 2) Q(insert into t values(1))");
        arrives(rig, ASKED, READER);
        in_vain(rig, REFUSED);
        arrives(rig, ASKED, WRITER);
        rig.writer(ROW);
        rig.see(CLIENT, ROW);
        arrives(rig, "Q(select 2)", READER);
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        arrives(rig, "Q(insert into t values(1))", WRITER);
    });
    // Behind a request that is not answered it waits.
    each(optimistic, |rig| {
        rig.both();
        rig.client("Q(select 2) Q(select app.f())");
        arrives(rig, "Q(select 2)", READER);
        rig.reader(ROW);
        arrives(rig, ASKED, READER);
        rig.reader(ROW);
        rig.see(CLIENT, &format!("{ROW} {ROW}"));
    });
}

/// A reader that dies may have done what it was asked: nothing is repeated. What it has refused is.
#[test]
fn a_reader_that_is_lost() {
    for how in [Rig::eof, Rig::reset] {
        each(optimistic, |rig| {
            rig.both();
            goes(rig, ASKED, READER);
            rig.reader("T");
            how(rig, READER);
            rig.see(WRITER, "");
            assert_eq!(rig.shown(CLIENT).split(' ').next_back(), Some("Z(I)"));
            goes(rig, "Q(select 7)", WRITER);
        });
        each(optimistic, |rig| {
            rig.both();
            rig.events.clear();
            goes(rig, ASKED, READER);
            rig.reader("E(25006)");
            how(rig, READER);
            rig.see(CLIENT, "");
            arrives(rig, ASKED, WRITER);
            answers(rig, WRITER, ROW);
            assert_eq!(
                told(rig),
                [
                    "2 reader UnknownFunction",
                    "2 began reader",
                    "2 refused 25006",
                    "2 writer refused by the reader",
                    "2 ended writer"
                ]
            );
        });
    }
}

/// The client may leave, or be cancelled, in between.
#[test]
fn a_client_that_leaves_and_a_shutdown() {
    each(optimistic, |rig| {
        rig.both();
        rig.client("Q(select app.f()) X");
        arrives(rig, ASKED, READER);
        in_vain(rig, REFUSED);
        rig.see(WRITER, ASKED);
        rig.writer(ROW);
        rig.see(CLIENT, ROW);
        assert!(rig.is_dead());
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
    });
    each(optimistic, |rig| {
        rig.both();
        goes(rig, ASKED, READER);
        rig.shutdown();
        in_vain(rig, REFUSED);
        arrives(rig, ASKED, WRITER);
        rig.writer(ROW);
        rig.see(CLIENT, &format!("{ROW} FATAL(57P01)"));
    });
    each(optimistic, |rig| {
        rig.both();
        goes(rig, ASKED, READER);
        let target = rig.session.cancel_target().unwrap();
        assert_eq!(target.peer, READER);
        in_vain(rig, REFUSED);
        assert!(!rig.session.is_current(&target));
        assert_eq!(rig.session.cancel_target().unwrap().peer, WRITER);
    });
}

/// An answer of which the beginning does not fit the buffer is passed on.
#[test]
fn an_answer_that_cannot_be_held_back() {
    each(optimistic, |rig| {
        rig.both();
        goes(rig, ASKED, READER);
        let size = optimistic().limits.read_buffer;
        let notice = raw(
            b'N',
            &[&b"SNOTICE\0M"[..], &vec![b'x'; size][..], b"\0\0"].concat(),
        );
        rig.count_only(CLIENT);
        let before = rig.total(CLIENT);
        rig.raw(READER, &notice);
        rig.reader(REFUSED);
        rig.see(WRITER, "");
        let refused = session_support::frames::backend(REFUSED).len();
        assert_eq!(rig.total(CLIENT) - before, (notice.len() + refused) as u64);
    });
}
