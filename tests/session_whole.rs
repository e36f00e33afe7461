//! Sessions that pass whole: replication, and encryption that the client has with the server.

mod session_support;

use pgturnout::session::{CloseCause, Config, Denial, Event, Gate, PeerId, Relayed, Timer};
use pgturnout::startup::{ClientTls, ProtocolVersion, StartupParams, UpstreamTlsPolicy};
use pgturnout::stats::Counter;
use pgturnout::wire::SqlState;
use session_support::frames::backend;
use session_support::{Dial, Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
/// What a handshake begins with; nobody here reads on.
const HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";

fn through() -> Config {
    let mut config = config();
    config.client_tls = ClientTls::Passthrough;
    config
}

fn requiring() -> Config {
    let mut config = through();
    for upstream in &mut config.upstreams {
        upstream.tls = UpstreamTlsPolicy::Require;
    }
    config
}

fn relayed(rig: &Rig, what: Relayed) -> usize {
    let told =
        |event: &&Event| matches!(event, Event::RelayedWhole { what: why, .. } if *why == what);
    rig.events.iter().filter(told).count()
}

/// D1: the request goes to the server and its answer to the client; behind it nothing is read.
#[test]
fn an_encrypted_session_passes_whole() {
    each(through, |rig| {
        rig.raw(CLIENT, &SSL_REQUEST);
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
        rig.raw(WRITER, b"S");
        assert_eq!(rig.take(CLIENT), b"S");
        rig.raw(CLIENT, HELLO);
        assert_eq!(rig.take(WRITER), HELLO);
        // Whatever it looks like.
        for bytes in [
            &b"X\0\0\0\x04"[..],
            &SSL_REQUEST,
            b"Q\0\0\0\x0dselect 1\0",
            b"\xff",
        ] {
            rig.raw(CLIENT, bytes);
            assert_eq!(rig.take(WRITER), bytes);
            rig.raw(WRITER, bytes);
            assert_eq!(rig.take(CLIENT), bytes);
        }
        assert!(rig.handshakes.is_empty());
        assert!(!rig.is_open(READER));
        assert_eq!(relayed(rig, Relayed::Encrypted), 1);
        assert!(rig.session.client_key().is_none());
        assert!(rig.session.poll_timeout().is_none());
    });
}

#[test]
fn a_direct_handshake_passes_whole() {
    for config in [through, requiring] {
        each(config, |rig| {
            rig.raw(CLIENT, HELLO);
            assert_eq!(rig.take(WRITER), HELLO);
            rig.raw(WRITER, b"\x16\x03\x03hello");
            assert_eq!(rig.take(CLIENT), b"\x16\x03\x03hello");
            assert!(rig.handshakes.is_empty());
            assert_eq!(relayed(rig, Relayed::Encrypted), 1);
            assert_eq!(rig.session.stats().get(Counter::SessionsEncrypted), 1);
        });
    }
}

/// The server refuses, and the client is free to go on in clear: the session stays the server's.
#[test]
fn a_refusal_passes_too() {
    each(through, |rig| {
        rig.raw(CLIENT, &SSL_REQUEST);
        rig.take(WRITER);
        rig.raw(WRITER, b"N");
        assert_eq!(rig.take(CLIENT), b"N");
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.take_startup(WRITER);
        rig.writer("R");
        rig.writer(login(WRITER));
        let greeting = [backend("R"), backend(login(WRITER))].concat();
        assert_eq!(rig.take(CLIENT), greeting);
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
    });
}

/// L11: a client that takes `N` for an answer would log in in clear.
#[test]
fn a_refusal_ends_the_session_where_tls_is_required() {
    for answer in [&b"N"[..], b"E", b"R\0\0\0\x08\0\0\0\0"] {
        each(requiring, |rig| {
            rig.raw(CLIENT, &SSL_REQUEST);
            assert_eq!(rig.take(WRITER), SSL_REQUEST);
            rig.raw(WRITER, answer);
            rig.see(CLIENT, "FATAL(08006)");
            assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
            assert_eq!(rig.take(WRITER), b"");
        });
    }
    each(requiring, |rig| {
        // Whoever does not wait for the answer has it looked at nevertheless.
        rig.raw(
            CLIENT,
            &[&SSL_REQUEST[..], &startup(ProtocolVersion::V3_0)].concat(),
        );
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
        rig.eof(WRITER);
        rig.see(CLIENT, "FATAL(08006)");
        assert_eq!(rig.take(WRITER), b"");
    });
    each(requiring, |rig| {
        rig.raw(CLIENT, &[&SSL_REQUEST[..], HELLO].concat());
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
        rig.raw(WRITER, b"S");
        assert_eq!(rig.take(CLIENT), b"S");
        assert_eq!(rig.take(WRITER), HELLO);
        assert!(rig.session.poll_timeout().is_none());
    });
}

#[test]
fn the_answer_has_a_deadline_where_it_is_awaited() {
    each(requiring, |rig| {
        rig.raw(CLIENT, &SSL_REQUEST);
        rig.expire(Timer::Dial(WRITER));
        rig.see(CLIENT, "FATAL(08006)");
        assert!(rig.is_dead());
    });
}

#[test]
fn a_server_that_is_not_there_is_told_in_clear_only_to_whom_can_read_it() {
    for (opening, told) in [(&SSL_REQUEST[..], "FATAL(08006)"), (HELLO, "")] {
        each(through, |rig| {
            rig.dials(WRITER, Dial::Refuse);
            rig.raw(CLIENT, opening);
            rig.see(CLIENT, told);
            assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
        });
        each(through, |rig| {
            rig.dials(WRITER, Dial::Hang);
            rig.raw(CLIENT, opening);
            rig.expire(Timer::Dial(WRITER));
            rig.see(CLIENT, told);
            assert!(rig.is_dead());
        });
    }
}

/// What comes before the server is there waits, as much as the read buffer holds (U5).
#[test]
fn what_the_client_sends_meanwhile_is_held() {
    each(through, |rig| {
        rig.dials(WRITER, Dial::Hang);
        rig.raw(CLIENT, HELLO);
        rig.flood(CLIENT, 1 << 17);
        assert_eq!(rig.unread(CLIENT), (1 << 17) + HELLO.len() as u64 - 65_536);
        rig.session.handle_connected(rig.now, WRITER, Ok(()));
        rig.silence();
    });
}

/// Other openings are not handed through.
#[test]
fn what_asks_for_no_tls_is_served() {
    each(through, |rig| {
        rig.raw(CLIENT, &GSS_REQUEST);
        assert_eq!(rig.take(CLIENT), b"N");
        rig.raw(CLIENT, &SSL_REQUEST);
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
    });
    each(through, |rig| {
        rig.both();
        assert_eq!(relayed(rig, Relayed::Encrypted), 0);
    });
}

/// The gate is for logins that are seen; what is not seen may write.
#[test]
fn the_reader_gets_nothing_unseen() {
    let gated = || {
        let mut config = through();
        config.gate = Gate::Reader;
        config
    };
    each(gated, |rig| {
        rig.raw(CLIENT, HELLO);
        assert_eq!(rig.take(WRITER), HELLO);
        assert!(!rig.is_open(READER));
    });
}

fn passing(rig: &mut Rig) {
    rig.raw(CLIENT, &SSL_REQUEST);
    rig.raw(WRITER, b"S");
    rig.take(WRITER);
    rig.take(CLIENT);
}

/// The client says nothing more and listens: what the server has to say arrives, as long as it gets on with it.
#[test]
fn the_end_of_the_client_is_passed_on() {
    each(through, |rig| {
        passing(rig);
        rig.raw(CLIENT, b"last words");
        rig.eof(CLIENT);
        assert_eq!(rig.take(WRITER), b"last words");
        assert!(rig.is_finished(WRITER) && rig.is_open(CLIENT));
        for _ in 0..3 {
            rig.pass(Config::new(Vec::new()).timeouts.drain / 2);
            rig.raw(WRITER, b"much to say");
            assert_eq!(rig.take(CLIENT), b"much to say");
        }
        rig.eof(WRITER);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
    });
    each(through, |rig| {
        passing(rig);
        rig.eof(CLIENT);
        assert!(rig.is_finished(WRITER));
        rig.expire(Timer::Drain);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
        assert_eq!(rig.take(CLIENT), b"");
    });
}

/// A client that ends its stream before the server is there: the end waits behind its bytes.
#[test]
fn the_end_of_the_client_does_not_overtake_its_bytes() {
    each(through, |rig| {
        passing(rig);
        rig.takes(WRITER, false);
        rig.raw(CLIENT, b"last words");
        rig.eof(CLIENT);
        assert!(!rig.is_finished(WRITER));
        rig.takes(WRITER, true);
        assert_eq!(rig.take(WRITER), b"last words");
        assert!(rig.is_finished(WRITER));
        rig.reset(CLIENT);
        assert_eq!(rig.cause(), CloseCause::ClientLost);
        assert!(!rig.is_open(WRITER));
    });
}

/// Nothing of ours is put into a stream that we cannot read, at no end.
#[test]
fn an_encrypted_session_ends_without_a_word() {
    type Ending = fn(&mut Rig);
    let endings: [(Ending, CloseCause); 5] = [
        (|rig| rig.eof(WRITER), CloseCause::UpstreamEnded(WRITER)),
        (|rig| rig.reset(WRITER), CloseCause::UpstreamEnded(WRITER)),
        (|rig| rig.reset(CLIENT), CloseCause::ClientLost),
        (|rig| rig.shutdown(), CloseCause::Shutdown),
        (
            |rig| rig.expel(Denial::new("not any more")),
            CloseCause::Expelled(SqlState(*b"57P01")),
        ),
    ];
    for (ending, cause) in endings {
        each(through, |rig| {
            passing(rig);
            rig.raw(WRITER, b"\x17\x03\x03\x01\0half a record");
            rig.take(CLIENT);
            ending(rig);
            assert_eq!(rig.cause(), cause);
            rig.silence();
        });
    }
}

/// L8: what one side does not read is not read of the other, whatever it sends.
#[test]
fn a_relay_holds_no_more_than_its_buffers() {
    for (from, to) in [(CLIENT, WRITER), (WRITER, CLIENT)] {
        each(through, |rig| {
            passing(rig);
            rig.takes(to, false);
            rig.flood(from, 1 << 17);
            assert_eq!(rig.unread(from), (1 << 17) - 65_536);
            rig.count_only(to);
            rig.takes(to, true);
            assert_eq!(rig.unread(from), 0);
        });
    }
}

fn replication(value: &[u8]) -> Vec<u8> {
    let pairs = [(&b"user"[..], &b"alice"[..]), (b"replication", value)];
    let startup = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
    startup.raw().to_vec()
}

fn replicating(rig: &mut Rig, value: &[u8]) {
    rig.raw(CLIENT, &replication(value));
    assert_eq!(rig.take(WRITER), replication(value));
    rig.writer("R");
    rig.writer(login(WRITER));
    rig.take(CLIENT);
}

/// R16: every value but a proven no. The client gets a key of ours there too.
#[test]
fn a_replication_session_passes_whole() {
    for value in ["true", "on", "yes", "1", "database", "TRUE", "maybe"] {
        let gated = || {
            let mut config = config();
            config.gate = Gate::Reader;
            config
        };
        each(gated, |rig| {
            replicating(rig, value.as_bytes());
            assert_eq!(relayed(rig, Relayed::Replication), 1, "{value}");
            rig.client("Q(IDENTIFY_SYSTEM)");
            rig.see(WRITER, "Q(IDENTIFY_SYSTEM)");
            rig.writer("W d(w)");
            rig.see(CLIENT, "W d(w)");
            // Both copy at once: CopyBoth.
            rig.client("d(r) d(r)");
            rig.writer("d(w) d(w)");
            rig.see(WRITER, "d(r) d(r)");
            rig.see(CLIENT, "d(w) d(w)");
            rig.client("c");
            rig.see(WRITER, "c");
            rig.writer("c C(COPY 0) Z(I)");
            rig.see(CLIENT, "c C(COPY 0) Z(I)");
            // What would be a read elsewhere.
            rig.client("Q(select 1)");
            rig.see(WRITER, "Q(select 1)");
            assert!(!rig.is_open(READER));
        });
    }
    for value in ["false", "off", "no", "0"] {
        each(config, |rig| {
            replicating(rig, value.as_bytes());
            assert_eq!(relayed(rig, Relayed::Replication), 0, "{value}");
            rig.client("Q(select 1)");
            assert!(rig.is_open(READER));
        });
    }
}

/// Neither side ends at a boundary, and nothing of ours is put behind.
#[test]
fn a_replication_session_ends_without_a_word() {
    type Ending = fn(&mut Rig);
    let endings: [(Ending, CloseCause); 4] = [
        (|rig| rig.eof(WRITER), CloseCause::UpstreamEnded(WRITER)),
        (|rig| rig.reset(CLIENT), CloseCause::ClientLost),
        (|rig| rig.shutdown(), CloseCause::Shutdown),
        (
            |rig| rig.expel(Denial::new("not any more")),
            CloseCause::Expelled(SqlState(*b"57P01")),
        ),
    ];
    for (ending, cause) in endings {
        each(config, |rig| {
            replicating(rig, b"true");
            rig.raw(CLIENT, b"d\0\0\0\x10half");
            rig.raw(WRITER, b"d\0\0\0\x10half");
            assert_eq!(rig.take(WRITER), b"d\0\0\0\x10half");
            assert_eq!(rig.take(CLIENT), b"d\0\0\0\x10half");
            ending(rig);
            assert_eq!(rig.cause(), cause);
            rig.silence();
        });
    }
    each(config, |rig| {
        replicating(rig, b"true");
        rig.client("Q(BASE_BACKUP)");
        rig.eof(CLIENT);
        rig.see(WRITER, "Q(BASE_BACKUP)");
        assert!(rig.is_finished(WRITER));
        rig.writer("H d(w)");
        rig.see(CLIENT, "H d(w)");
        rig.eof(WRITER);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
    });
}

/// What runs there nobody but the server knows, and it takes a cancel when nothing does for what it is.
#[test]
fn a_replication_session_can_be_cancelled() {
    each(config, |rig| {
        replicating(rig, b"database");
        let target = rig.session.cancel_target().expect("the writer's");
        assert_eq!((target.peer, target.key.secret()), (WRITER, &b"wkey"[..]));
    });
}
