//! Reads that run on the writer when their reader is lost, if nothing of the answer has reached the client.

mod session_support;

use pgturnout::limits;
use pgturnout::session::{Config, Event, LostReads, PeerId, RouteReason};
use session_support::frames::backend;
use session_support::{Chunk, Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const LOST: &str = "E(08006) Z(I)";

fn again() -> Config {
    Config {
        lost_reads: LostReads::Again,
        ..config()
    }
}

/// The reader is lost: the writer gets the same, and its answer is the client's.
#[track_caller]
fn goes_to_the_writer(rig: &mut Rig, says: &str, answer: &str) {
    rig.see(CLIENT, "");
    rig.see(WRITER, says);
    rig.writer(answer);
    rig.see(CLIENT, answer);
    assert!(rig.has_event(|event| *event == Event::ReaderLost { failed_requests: 0 }));
    let back = |event: &Event| {
        matches!(event, Event::Routed { peer, reason, .. }
            if *peer == WRITER && *reason == RouteReason::ReaderDown)
    };
    assert!(rig.has_event(back));
    rig.client("Q(select 7)");
    rig.see(WRITER, "Q(select 7)");
}

#[test]
fn a_read_without_an_answer_runs_on_the_writer() {
    for (says, heard, answer) in [
        ("Q(select 1)", "", ROW),
        ("Q(select 1)", "T", ROW),
        ("Q(select 1)", "N(00000)", ROW),
        ("Q(select 1)", "FATAL(57P01)", ROW),
        ("P(,select 1) B(,) E S", "1 2", "1 2 D(1) C(SELECT 1) Z(I)"),
        (
            "P(s,select 1) DS(s) B(,s) E S",
            "1 t T",
            "1 t T 2 D(1) C(SELECT 1) Z(I)",
        ),
    ] {
        for how in [Rig::eof, Rig::reset] {
            each(again, |rig| {
                rig.both();
                rig.client(says);
                rig.see(READER, says);
                rig.reader(heard);
                how(rig, READER);
                goes_to_the_writer(rig, says, answer);
            });
        }
    }
}

/// Behind every byte of what comes ahead of the first row nothing is the client's yet.
#[test]
fn nothing_is_the_clients_before_the_first_row() {
    let heard = backend("N(00000) T");
    for cut in 0..=heard.len() {
        let mut rig = Rig::new(again(), Chunk::Whole);
        rig.both();
        rig.client("Q(select 1)");
        rig.raw(READER, &heard[..cut]);
        rig.eof(READER);
        goes_to_the_writer(&mut rig, "Q(select 1)", ROW);
    }
}

/// A statement of before is prepared there, too.
#[test]
fn a_prepared_statement_follows() {
    each(again, |rig| {
        rig.both();
        rig.client("P(s,select 1) S");
        rig.reader("1 Z(I)");
        rig.take(READER);
        rig.see(CLIENT, "1 Z(I)");
        rig.client("B(,s) E S");
        rig.see(READER, "B(,s) E S");
        rig.reader("2");
        rig.eof(READER);
        rig.see(WRITER, "P(s,select 1) B(,s) E S");
        rig.writer("1 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
    });
}

/// What the client has a part of, what stands behind something else, and what is long fails.
#[test]
fn other_reads_fail() {
    let long = format!("Q(select '{}')", "x".repeat(limits::TRIED_REQUEST));
    for (says, heard, sees) in [
        ("Q(select 1)", "T D(1)", "T D(1) E(08006) Z(I)"),
        ("Q(select 1)", "E(22012)", "E(22012) Z(I)"),
        (
            "P(,select 1) B(,) E S",
            "1 2 D(1)",
            "1 2 D(1) E(08006) Z(I)",
        ),
        (&*long, "", LOST),
    ] {
        each(again, |rig| {
            rig.both();
            rig.client(says);
            rig.reader(heard);
            rig.eof(READER);
            rig.see(CLIENT, sees);
            rig.see(WRITER, "");
        });
    }
    // A pipeline: the first was alone when it was sent.
    each(again, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("T D(1)");
        rig.client("Q(select 2)");
        rig.see(READER, "Q(select 1) Q(select 2)");
        rig.eof(READER);
        rig.see(CLIENT, &format!("T D(1) {LOST} {LOST}"));
        rig.see(WRITER, "");
    });
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.eof(READER);
        rig.see(CLIENT, LOST);
        rig.see(WRITER, "");
    });
}

/// Without a loss nobody sees that a copy was sent, but that what comes behind waits for the first row.
#[test]
fn nothing_is_different_while_the_reader_lives() {
    for (says, answer) in [
        ("Q(select 1)", ROW),
        ("Q(select 1/0)", "T E(22012) Z(I)"),
        (
            "P(,select 1) DS B(,) E CP S",
            "1 t T 2 D(1) C(SELECT 1) 3 Z(I)",
        ),
        ("Q(copy t to stdout)", "H d(1) c C(COPY 1) Z(I)"),
    ] {
        each(again, |rig| {
            rig.both();
            rig.client(says);
            rig.reader(answer);
            let asked = rig.shown(READER);
            assert_eq!(asked, says);
            rig.see(CLIENT, answer);
            rig.see(WRITER, "");
        });
    }
    each(again, |rig| {
        rig.both();
        rig.client("Q(select 1) Q(select 2)");
        rig.see(READER, "Q(select 1)");
        rig.reader("T D(1)");
        rig.see(READER, "Q(select 2)");
        rig.reader("C(SELECT 1) Z(I) T D(2) C(SELECT 1) Z(I)");
        rig.see(CLIENT, &format!("{ROW} T D(2) C(SELECT 1) Z(I)"));
    });
}

/// A statement that only the writer has.
fn prepared_there(rig: &mut Rig, name: &str, text: &str) {
    for (asked, answer) in [
        ("Q(begin)".to_owned(), "C(BEGIN) Z(T)"),
        (format!("P({name},{text}) S"), "1 Z(T)"),
        ("Q(commit)".to_owned(), "C(COMMIT) Z(I)"),
    ] {
        rig.client(&asked);
        rig.see(WRITER, &asked);
        rig.writer(answer);
        rig.see(CLIENT, answer);
    }
}

/// The reader refuses to prepare it: the client has its answer, and nothing is done again.
#[test]
fn a_read_whose_statement_cannot_be_prepared_is_answered_once() {
    // It is prepared once, however often it is named.
    each(again, |rig| {
        rig.both();
        prepared_there(rig, "s", "select 1");
        rig.client("DS(s) B(,s) E S");
        rig.see(READER, "P(s,select 1) DS(s) B(,s) E S");
        rig.reader("1 t T 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "t T 2 D(1) C(SELECT 1) Z(I)");
    });
    each(again, |rig| {
        rig.both();
        prepared_there(rig, "s", "select 1");
        rig.client("B(,s) E S");
        rig.see(READER, "P(s,select 1) B(,s) E S");
        rig.reader("E(42P01)");
        rig.see(CLIENT, "E(42P01)");
        rig.eof(READER);
        rig.see(WRITER, "");
        rig.see(CLIENT, "Z(I)");
        rig.client("Q(select 7)");
        rig.see(WRITER, "Q(select 7)");
    });
}

/// What it needs is sent with it, or it is sent as any other read: nothing that is said of it meanwhile gets lost.
#[test]
fn a_read_that_needs_more_than_is_sent_at_once_is_answered() {
    let long = format!("select '{}'", "x".repeat(30_000));
    for chunk in [Chunk::Whole, Chunk::Bytes(7_000)] {
        let mut rig = Rig::new(again(), chunk);
        let rig = &mut rig;
        rig.both();
        let names = ["a", "b", "c", "d"];
        for name in names {
            prepared_there(rig, name, &long);
        }
        rig.takes(READER, false);
        rig.client("DS(a) DS(b) DS(c) DS(d) S");
        // It has the first of them and refuses it, before there was room for the others.
        rig.reader("E(42P01)");
        rig.takes(READER, true);
        rig.take(READER);
        rig.reader("Z(I)");
        rig.see(CLIENT, "E(42P01) Z(I)");
        rig.see(WRITER, "");
    }
}

/// No more is remembered of it than is tried.
#[test]
fn the_texts_of_a_read_are_not_kept() {
    let long = format!("select '{}'", "x".repeat(30_000));
    let mut rig = Rig::new(again(), Chunk::Whole);
    rig.both();
    prepared_there(&mut rig, "s", &long);
    rig.client("B(,s) E S");
    let held = format!("{:?}", rig.session);
    assert!(!held.contains("<30009 bytes>"), "{held}");
}

/// What the reader was given for the request is gone with it, and the client has it as before: on the writer.
#[test]
fn a_statement_that_a_lost_read_was_given_is_still_there() {
    for name in ["", "s"] {
        each(again, |rig| {
            rig.both();
            for (says, answer) in [
                ("P(b,begin) B(,b) E S".to_owned(), "1 2 C(BEGIN) Z(T)"),
                (format!("P({name},select 1) S"), "1 Z(T)"),
                ("P(c,commit) B(,c) E S".to_owned(), "1 2 C(COMMIT) Z(I)"),
            ] {
                rig.client(&says);
                rig.see(WRITER, &says);
                rig.writer(answer);
                rig.see(CLIENT, answer);
            }
            let says = format!("B(,{name}) E S");
            rig.client(&says);
            rig.see(READER, &format!("P({name},select 1) {says}"));
            rig.eof(READER);
            goes_to_the_writer(rig, &says, "2 D(1) C(SELECT 1) Z(I)");
        });
    }
}
