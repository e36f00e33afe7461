//! F12: what follows when a stream makes no sense any more.

mod session_support;

use pgturnout::session::{
    Activity, CloseCause, Config, ConfigError, Event, OutOfSync, PeerId, Policy,
    ReadOnlyTransactions, Relayed, StatementFacts, Timer, Verdict,
};
use session_support::frames::frontend;
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
/// A length that does not count itself.
const NONSENSE: &[u8] = b"Q\0\0\0\x03select 1\0\0";
/// What no server says unasked.
const UNASKED: &str = "C(SELECT 1)";
const REFUSED: &str = "FATAL(08P01)";

fn that(then: OutOfSync) -> Config {
    let mut config = config();
    config.out_of_sync = then;
    config
}

fn passing() -> Config {
    that(OutOfSync::Passthrough)
}

/// What was told of it: whose stream it was, and what follows.
fn told(rig: &Rig) -> Vec<(PeerId, OutOfSync)> {
    let of = |event: &Event| match event {
        Event::OutOfSync { peer, then, why } => {
            assert!(!why.is_empty());
            Some((*peer, *then))
        }
        _ => None,
    };
    rig.events.iter().filter_map(of).collect()
}

fn relayed(rig: &Rig) -> usize {
    let what = Relayed::OutOfSync;
    let told =
        |event: &&Event| matches!(event, Event::RelayedWhole { what: it, .. } if *it == what);
    rig.events.iter().filter(told).count()
}

/// Whatever either says reaches the other, and nothing of ours is in between.
fn passes_whole(rig: &mut Rig) {
    assert_eq!(relayed(rig), 1);
    assert_eq!(rig.session.activity(), Activity::Whole);
    assert!(!rig.is_open(READER));
    for bytes in [
        &frontend("Q(select 1)")[..],
        NONSENSE,
        b"\xff",
        b"D\0\0\0\x01",
    ] {
        rig.raw(CLIENT, bytes);
        assert_eq!(rig.take(WRITER), bytes);
        rig.raw(WRITER, bytes);
        assert_eq!(rig.take(CLIENT), bytes);
    }
    assert!(!rig.is_dead());
    rig.eof(WRITER);
    rig.see(CLIENT, "");
    assert_eq!(rig.cause(), CloseCause::UpstreamEnded(WRITER));
}

/// It ends with the error, and nothing of what made no sense has gone anywhere.
fn is_refused(rig: &mut Rig, peer: PeerId) {
    assert_eq!(told(rig), [(peer, OutOfSync::Error)]);
    assert_eq!(relayed(rig), 0);
    rig.see(CLIENT, REFUSED);
    assert!(!rig.is_open(WRITER) || rig.shown(WRITER) == "X");
}

#[test]
fn a_stream_that_makes_no_sense_ends_with_an_error_by_default() {
    assert_eq!(config().out_of_sync, OutOfSync::Error);
    each(config, |rig| {
        rig.both();
        rig.raw(CLIENT, NONSENSE);
        is_refused(rig, CLIENT);
        assert!(matches!(rig.cause(), CloseCause::ClientFault(Some(_))));
    });
    each(config, |rig| {
        rig.both();
        rig.writer(UNASKED);
        is_refused(rig, WRITER);
        assert_eq!(rig.cause(), CloseCause::UpstreamFault(WRITER));
    });
}

#[test]
fn it_can_be_closed_without_a_word() {
    let closing = || that(OutOfSync::Close);
    each(closing, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.raw(CLIENT, NONSENSE);
        assert!(!rig.is_dead(), "an answer is due");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        assert_eq!(told(rig), [(CLIENT, OutOfSync::Close)]);
        assert_eq!(rig.cause(), CloseCause::ClientFault(None));
    });
    for nonsense in [
        &b"Z\0\0\0\x03"[..],
        b"C\0\0\0\x0dSELECT 1\0",
        b"Z\0\0\0\x06II",
    ] {
        each(closing, |rig| {
            rig.both();
            rig.raw(WRITER, nonsense);
            rig.see(CLIENT, "");
            assert_eq!(told(rig), [(WRITER, OutOfSync::Close)]);
            assert_eq!(rig.cause(), CloseCause::UpstreamFault(WRITER));
        });
    }
}

#[test]
fn the_clients_stream_can_pass_from_there_on() {
    each(passing, |rig| {
        rig.both();
        rig.raw(CLIENT, NONSENSE);
        assert_eq!(rig.take(WRITER), NONSENSE);
        assert_eq!(told(rig), [(CLIENT, OutOfSync::Passthrough)]);
        passes_whole(rig);
    });
    // In the middle of a batch and of a transaction, of the writer.
    each(passing, |rig| {
        rig.both();
        rig.client("Q(begin) P(a,insert into t values(1)) H");
        rig.take(WRITER);
        rig.raw(CLIENT, NONSENSE);
        assert_eq!(rig.take(WRITER), b"", "answers are due");
        rig.writer("C(BEGIN) Z(T) 1");
        rig.see(CLIENT, "C(BEGIN) Z(T) 1");
        assert_eq!(rig.take(WRITER), NONSENSE);
        passes_whole(rig);
    });
}

#[test]
fn what_a_reader_owes_comes_first() {
    each(passing, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.raw(CLIENT, NONSENSE);
        assert_eq!(rig.take(WRITER), b"");
        assert_eq!(told(rig), []);
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        assert_eq!(rig.take(WRITER), NONSENSE);
        passes_whole(rig);
    });
}

#[test]
fn the_writers_stream_can_pass_from_there_on() {
    for nonsense in [
        &b"Z\0\0\0\x03"[..],
        b"C\0\0\0\x0dSELECT 1\0",
        b"D\xff\0\0\0\0",
    ] {
        each(passing, |rig| {
            rig.both();
            rig.raw(WRITER, nonsense);
            assert_eq!(rig.take(CLIENT), nonsense);
            assert_eq!(told(rig), [(WRITER, OutOfSync::Passthrough)]);
            passes_whole(rig);
        });
    }
    // With an answer begun, which goes on as it is.
    each(passing, |rig| {
        rig.both();
        rig.client("Q(insert into t values(1))");
        rig.take(WRITER);
        rig.writer("C(INSERT 0 1) 1");
        rig.see(CLIENT, "C(INSERT 0 1) 1");
        passes_whole(rig);
    });
}

#[test]
fn a_session_that_passes_from_there_on_ends_as_others_that_pass_whole() {
    each(passing, |rig| {
        rig.both();
        rig.client("Q(insert into t values(1))");
        rig.take(WRITER);
        rig.writer("1");
        rig.take(CLIENT);
        assert_eq!(relayed(rig), 1);
        rig.shutdown();
        rig.see(CLIENT, "");
        assert_eq!(rig.cause(), CloseCause::Shutdown);
    });
    each(passing, |rig| {
        rig.both();
        rig.raw(CLIENT, NONSENSE);
        rig.take(WRITER);
        rig.eof(CLIENT);
        assert!(rig.is_finished(WRITER));
        rig.raw(WRITER, b"more");
        assert_eq!(rig.take(CLIENT), b"more");
        rig.eof(WRITER);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
    });
}

/// A reader that is being dialled is given up, and no deadline of its is left.
#[test]
fn a_reader_on_its_way_is_given_up() {
    each(passing, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        assert!(rig.is_open(READER));
        rig.raw(WRITER, b"Z\0\0\0\x03");
        assert_eq!(rig.take(CLIENT), b"Z\0\0\0\x03");
        // The request that waited for the reader is the writer's, like everything.
        rig.see(WRITER, "Q(select 1)");
        let timer = rig.session.poll_timeout().map(|(_, timer)| timer);
        assert!(
            !matches!(timer, Some(Timer::Dial(_) | Timer::Replay(_))),
            "{timer:?}"
        );
        passes_whole(rig);
    });
}

/// Where a reader has a part in what goes on, nothing can pass.
#[test]
fn nothing_passes_where_others_than_the_writer_have_a_part() {
    // What a reader alone has.
    each(passing, |rig| {
        rig.both();
        rig.client("P(a,select 1) S");
        rig.reader("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        rig.take(WRITER);
        rig.raw(CLIENT, NONSENSE);
        is_refused(rig, CLIENT);
    });
    // A batch there.
    each(passing, |rig| {
        rig.both();
        rig.client("P(,select 1) H");
        rig.reader("1");
        rig.see(CLIENT, "1");
        rig.raw(CLIENT, NONSENSE);
        is_refused(rig, CLIENT);
    });
    // A transaction there.
    let reading = || {
        let mut config = passing();
        config.read_only_transactions = ReadOnlyTransactions::Reader;
        config
    };
    each(reading, |rig| {
        rig.both();
        rig.client("Q(begin read only)");
        rig.reader("C(BEGIN) Z(T)");
        rig.see(CLIENT, "C(BEGIN) Z(T)");
        rig.raw(CLIENT, NONSENSE);
        is_refused(rig, CLIENT);
    });
    // An answer of a reader, of which the writer's nonsense would be a part.
    each(passing, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.writer(UNASKED);
        is_refused(rig, WRITER);
    });
}

struct Watching;

impl Policy for Watching {
    fn statement(&mut self, _: &StatementFacts<'_>) -> Verdict {
        Verdict::Allow
    }
}

/// Whoever breaks a message gets around neither a policy nor a limit.
#[test]
fn nothing_passes_that_has_to_be_seen() {
    each(passing, |rig| {
        rig.both();
        rig.session.set_policy(Box::new(Watching));
        rig.raw(CLIENT, NONSENSE);
        is_refused(rig, CLIENT);
    });
    assert_eq!(passing().check(), Ok(()));
    let shorter: [fn(&mut Config); 2] = [
        |config| config.limits.client_message -= 1,
        |config| config.limits.server_message -= 1,
    ];
    for shorten in shorter {
        let mut config = passing();
        shorten(&mut config);
        assert_eq!(config.check(), Err(ConfigError::PassedUnlimited));
        config.out_of_sync = OutOfSync::Close;
        assert_eq!(config.check(), Ok(()));
    }
}

/// Behind what is in flight, at the writer and at the reader, in a COPY, and beside a cancel: nothing is lost or doubled.
#[test]
fn what_passes_keeps_its_place() {
    each(passing, |rig| {
        rig.both();
        let mut bytes = frontend("Q(select 1) Q(delete from t)");
        bytes.extend_from_slice(NONSENSE);
        rig.raw(CLIENT, &bytes);
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(WRITER, "Q(delete from t)");
        rig.writer("C(DELETE 1) Z(I)");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I) C(DELETE 1) Z(I)");
        assert_eq!(rig.take(WRITER), NONSENSE);
    });
    each(passing, |rig| {
        rig.both();
        rig.client("Q(copy t from stdin)");
        rig.take(WRITER);
        rig.writer("G");
        rig.take(CLIENT);
        let mut bytes = frontend("d(xyz)");
        bytes.extend_from_slice(b"d\0\0\0\x03abc");
        rig.raw(CLIENT, &bytes);
        assert_eq!(rig.take(WRITER), bytes);
    });
    each(passing, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.take(WRITER);
        let target = rig.session.cancel_target().unwrap();
        assert!(rig.cancel_begins(&target));
        rig.writer("C(DELETE 1) Z(I)");
        rig.raw(CLIENT, NONSENSE);
        assert_eq!(rig.take(WRITER), b"");
        rig.cancel_ended();
        assert_eq!(rig.take(WRITER), NONSENSE);
    });
}
