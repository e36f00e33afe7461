//! Sessions that are serializable by default, which no server reports and a standby refuses to serve.

mod session_support;

use pgturnout::session::{Config, DefaultIsolation, Event, PeerId};
use pgturnout::track::Pin;
use pgturnout::wire::Fields;
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;

/// What a reader is asked, for no account but that it takes a snapshot.
const ASKED: &str = "Q(select pg_catalog.pg_is_in_recovery())";
const IT_DOES: &str = "T D(t) C(SELECT 1) Z(I)";

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
        refuses(rig, b"GetSerializableTransactionSnapshot");
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
        refuses(rig, b"GetSerializableTransactionSnapshot");
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
        rig.see(READER, "Q(select 1)");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
        let reset = "Q(reset default_transaction_isolation)";
        rig.client(reset);
        rig.see(WRITER, reset);
        rig.writer("C(RESET) Z(I)");
        rig.see(CLIENT, "C(RESET) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, &format!("{reset} {ASKED}"));
        rig.reader("C(RESET) Z(I)");
        refuses(rig, b"GetSerializableTransactionSnapshot");
        rig.see(WRITER, "Q(select 1)");
        assert_eq!(pinned(rig), [Pin::Serializable]);
    });
}

/// Any other refusal is one of the session's settings; and who is not asked says it to the client.
#[test]
fn what_else_a_reader_may_refuse() {
    each(asking, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.reader_in();
        rig.see(READER, ASKED);
        refuses(rig, b"RevalidateCachedQuery");
        rig.see(WRITER, "Q(select 1)");
        assert_eq!(pinned(rig), [Pin::RestoreFailed]);
    });
    for (routine, pins) in [
        (
            &b"GetSerializableTransactionSnapshot"[..],
            &[Pin::Serializable][..],
        ),
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
