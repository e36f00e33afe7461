//! COPY in and out, in both protocols, with every order of failure and Sync (peers.md Y01, Y02).

mod session_support;

use pgturnout::session::{CloseCause, PeerId};
use session_support::frames::raw;
use session_support::{config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// A read and a write after what came before: every count is right again.
fn goes_on(rig: &mut session_support::Rig) {
    rig.client("Q(select 1)");
    if rig.shown(WRITER).ends_with(" H") {
        rig.writer("3");
    }
    rig.see(READER, "Q(select 1)");
    rig.reader(ROW);
    rig.see(CLIENT, ROW);
    rig.client("Q(insert into t values(1))");
    rig.see(WRITER, "Q(insert into t values(1))");
    rig.writer("C(INSERT 0 1) Z(I)");
    rig.see(CLIENT, "C(INSERT 0 1) Z(I)");
}

#[test]
fn copy_in_by_query() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin)");
        rig.writer("G");
        rig.client("d(1) d(2)");
        rig.client("d(3) c");
        rig.see(WRITER, "Q(copy t from stdin) d(1) d(2) d(3) c");
        rig.writer("C(COPY 3) Z(I)");
        rig.see(CLIENT, "G C(COPY 3) Z(I)");
        goes_on(rig);
    });
}

#[test]
fn copy_in_by_query_without_waiting_for_the_server() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin) d(1) c Q(select 2)");
        rig.see(WRITER, "Q(copy t from stdin) d(1) c Q(select 2)");
        rig.writer("G C(COPY 1) Z(I) T D(2) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "G C(COPY 1) Z(I) T D(2) C(SELECT 1) Z(I)");
        goes_on(rig);
    });
}

#[test]
fn the_client_fails_its_copy() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin)");
        rig.writer("G");
        rig.client("d(1) f(changed my mind)");
        rig.see(WRITER, "Q(copy t from stdin) d(1) f(changed my mind)");
        rig.writer("E(57014) Z(I)");
        rig.see(CLIENT, "G E(57014) Z(I)");
        goes_on(rig);
    });
}

/// Y02: the server failed, and what the client still sends of its copy is ignored there.
#[test]
fn copy_data_behind_an_error_leaks_nowhere() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin)");
        rig.writer("G");
        rig.client("d(bad)");
        rig.writer("E(22P02) Z(I)");
        rig.client("d(2) d(3) c");
        rig.see(WRITER, "Q(copy t from stdin) d(bad) d(2) d(3) c");
        rig.see(READER, "");
        rig.see(CLIENT, "G E(22P02) Z(I)");
        goes_on(rig);
        rig.client("d(4) c Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.see(WRITER, "d(4) c");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
    });
}

#[test]
fn copy_in_inside_a_query_of_several_statements() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin; select 1; copy t from stdin)");
        rig.writer("G");
        rig.client("d(1) c");
        rig.writer("C(COPY 1) T D(1) C(SELECT 1) G");
        rig.client("d(2) c");
        rig.writer("C(COPY 1) Z(I)");
        rig.see(
            WRITER,
            "Q(copy t from stdin; select 1; copy t from stdin) d(1) c d(2) c",
        );
        rig.see(CLIENT, "G C(COPY 1) T D(1) C(SELECT 1) G C(COPY 1) Z(I)");
        goes_on(rig);
    });
}

/// Y01, as libpq does it: everything up to Sync, then the data, then a Sync that counts.
#[test]
fn a_sync_during_copy_in_is_ignored_by_the_server() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,copy t from stdin) B(,) E S");
        rig.writer("1 2 G");
        rig.client("d(1) c S");
        rig.see(WRITER, "P(,copy t from stdin) B(,) E S d(1) c S");
        rig.writer("C(COPY 1) Z(I)");
        rig.see(CLIENT, "1 2 G C(COPY 1) Z(I)");
        goes_on(rig);
    });
}

#[test]
fn a_whole_extended_copy_in_one_write() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,copy t from stdin) B(,) E S d(1) c S");
        rig.see(WRITER, "P(,copy t from stdin) B(,) E S d(1) c S");
        rig.writer("1 2 G C(COPY 1) Z(I)");
        rig.see(CLIENT, "1 2 G C(COPY 1) Z(I)");
        goes_on(rig);
        rig.client("P(,copy t from stdin) B(,) E d(1) c S");
        rig.see(WRITER, "P(,copy t from stdin) B(,) E d(1) c S");
        rig.writer("1 2 G C(COPY 1) Z(I)");
        rig.see(CLIENT, "1 2 G C(COPY 1) Z(I)");
        goes_on(rig);
    });
}

/// The server had read the first Sync when the data failed: only the second is answered.
#[test]
fn a_copy_that_fails_behind_its_sync_answers_one() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,copy t from stdin) B(,) E S");
        rig.writer("1 2 G");
        rig.client("d(bad)");
        rig.writer("E(22P02)");
        rig.client("d(2) c S");
        rig.see(WRITER, "P(,copy t from stdin) B(,) E S d(bad) d(2) c S");
        rig.writer("Z(I)");
        rig.see(CLIENT, "1 2 G E(22P02) Z(I)");
        // Whether a second answer comes is settled before the reader serves.
        rig.client("Q(select 1)");
        rig.see(READER, "");
        let fence = rig.shown(WRITER);
        assert!(
            fence.starts_with("CS(pgturnout") && fence.ends_with(" H"),
            "{fence}"
        );
        rig.writer("3");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        goes_on(rig);
    });
}

/// The server failed before it read the first Sync: both are answered.
#[test]
fn a_copy_that_fails_before_its_sync_answers_both() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,copy t from stdin) B(,) E S");
        rig.writer("1 2 G E(23514) Z(I)");
        rig.see(CLIENT, "1 2 G E(23514) Z(I)");
        rig.client("d(1) c S");
        rig.writer("Z(I)");
        rig.see(WRITER, "P(,copy t from stdin) B(,) E S d(1) c S");
        rig.see(CLIENT, "Z(I)");
        goes_on(rig);
    });
}

/// The same with everything sent before the failure was seen.
#[test]
fn a_failed_copy_that_was_sent_whole_answers_one_or_both() {
    for both in [false, true] {
        each(config, |rig| {
            rig.both();
            rig.client("P(,copy t from stdin) B(,) E S d(1) c S");
            rig.see(WRITER, "P(,copy t from stdin) B(,) E S d(1) c S");
            let answer = if both {
                "1 2 G E(22P02) Z(I) Z(I)"
            } else {
                "1 2 G E(22P02) Z(I)"
            };
            rig.writer(answer);
            rig.see(CLIENT, answer);
            goes_on(rig);
        });
    }
}

/// A further answer to a Sync near a failed copy is not taken for the answer to the request behind it.
#[test]
fn a_write_behind_a_failed_copy_gets_its_own_answer() {
    for both in [false, true] {
        each(config, |rig| {
            rig.both();
            rig.client("P(,copy t from stdin) B(,) E S");
            rig.writer("1 2 G E(22P02)");
            rig.client("d(1) c S Q(insert into t values(1)) Q(insert into t values(2))");
            rig.writer("Z(I)");
            if both {
                rig.writer("Z(I)");
            }
            let two = "C(INSERT 0 1) Z(I) C(INSERT 0 1) Z(I)";
            rig.writer(two);
            let ready = if both { "Z(I) Z(I)" } else { "Z(I)" };
            rig.see(CLIENT, &format!("1 2 G E(22P02) {ready} {two}"));
            assert!(rig.is_open(CLIENT));
            rig.take(WRITER);
            goes_on(rig);
        });
    }
}

/// A simple copy with a Sync of nobody's in the middle: it is answered only if the copy failed before it was read.
#[test]
fn a_failed_simple_copy_with_a_sync_in_it() {
    for both in [false, true] {
        each(config, |rig| {
            rig.both();
            rig.client("Q(copy t from stdin)");
            rig.writer("G");
            rig.client("d(bad) S");
            rig.writer("E(22P02)");
            rig.client("d(2) c Q(insert into t values(1))");
            rig.writer("Z(I)");
            if both {
                rig.writer("Z(I)");
            }
            rig.writer("C(INSERT 0 1) Z(I)");
            let ready = if both { "Z(I) Z(I)" } else { "Z(I)" };
            rig.see(CLIENT, &format!("G E(22P02) {ready} C(INSERT 0 1) Z(I)"));
            rig.take(WRITER);
            goes_on(rig);
        });
    }
}

/// What a server says that reads anything but data in a copy: it has read a tag, and does not know where the message
/// ends. The session ends with it, and nobody broke the protocol but the client.
#[test]
fn a_request_in_a_copy_ends_the_session_as_the_server_ends_it() {
    for (copy, begun) in [
        ("Q(copy t from stdin)", "G"),
        ("P(,copy t from stdin) B(,) E S", "1 2 G"),
    ] {
        for more in ["P(s,select 1) B(,s) E S", "Q(select 1)", "Q(select 1) c"] {
            for at_once in [false, true] {
                each(config, |rig| {
                    rig.both();
                    if at_once {
                        rig.client(&format!("{copy} {more}"));
                        rig.writer(begun);
                    } else {
                        rig.client(copy);
                        rig.writer(begun);
                        rig.client(more);
                    }
                    rig.see(WRITER, &format!("{copy} {more}"));
                    rig.writer("E(08P01) FATAL(08P01)");
                    rig.eof(WRITER);
                    rig.see(CLIENT, &format!("{begun} E(08P01) FATAL(08P01)"));
                    assert_eq!(rig.cause(), CloseCause::UpstreamEnded(WRITER));
                });
            }
        }
    }
}

/// The copy had failed before the server read the request, which is then one like any other.
#[test]
fn a_request_behind_the_failure_of_a_copy_is_answered() {
    for at_once in [false, true] {
        each(config, |rig| {
            rig.both();
            let more = "P(,insert into t values(1)) B(,) E S";
            if at_once {
                rig.client(&format!("Q(copy t from stdin) {more}"));
                rig.writer("G");
            } else {
                rig.client("Q(copy t from stdin)");
                rig.writer("G");
                rig.client(more);
            }
            rig.writer("E(57014) Z(I) 1 2 C(INSERT 0 1) Z(I)");
            rig.see(CLIENT, "G E(57014) Z(I) 1 2 C(INSERT 0 1) Z(I)");
            rig.take(WRITER);
            goes_on(rig);
        });
    }
}

/// A server in a copy looks at a Flush no further than its tag.
#[test]
fn a_flush_with_a_body_is_ignored_in_a_copy() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin)");
        rig.writer("G");
        rig.raw(CLIENT, &raw(b'H', b"xx"));
        rig.client("c");
        rig.writer("C(COPY 0) Z(I)");
        rig.see(CLIENT, "G C(COPY 0) Z(I)");
        rig.take(WRITER);
        goes_on(rig);
    });
}

#[test]
fn copy_out_in_both_protocols() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t to stdout)");
        let to = if rig.routed() == [READER] {
            READER
        } else {
            WRITER
        };
        rig.see(to, "Q(copy t to stdout)");
        rig.say(to, "H d(1) d(2) c C(COPY 2) Z(I)");
        rig.see(CLIENT, "H d(1) d(2) c C(COPY 2) Z(I)");
        rig.client("P(,copy t to stdout) B(,) E S");
        rig.see(to, "P(,copy t to stdout) B(,) E S");
        rig.say(to, "1 2 H d(1) c C(COPY 1) Z(I)");
        rig.see(CLIENT, "1 2 H d(1) c C(COPY 1) Z(I)");
        rig.client("Q(copy t to stdout)");
        rig.see(to, "Q(copy t to stdout)");
        rig.say(to, "H d(1) E(57014) Z(I)");
        rig.see(CLIENT, "H d(1) E(57014) Z(I)");
        goes_on(rig);
    });
}
