//! The opening of a session: the client's login through the gate, and ours to the other upstream.

mod session_support;

use pgturnout::auth::Credential;
use pgturnout::session::{
    CloseCause, Config, Event, Gate, PeerId, ReaderFailure, ReaderOpen, RelayedPassword, Role,
    Timer,
};
use pgturnout::startup::{CancelKey, ClientTls, ProtocolVersion, StartupParams, UpstreamTlsPolicy};
use session_support::frames::{backend, raw, show_backend};
use session_support::{Dial, Rig, config, each, login, startup, upstream};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

fn with(change: impl Fn(&mut Config)) -> impl Fn() -> Config {
    move || {
        let mut config = config();
        change(&mut config);
        config
    }
}

fn open(rig: &mut Rig) {
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
}

#[test]
fn the_startup_message_reaches_the_gate_unchanged() {
    each(config, |rig| {
        let pairs = [
            (&b"user"[..], &b"alice"[..]),
            (b"search_path", b"a"),
            (b"search_path", b"b"),
            (b"_pq_.x", b"1"),
        ];
        let packet = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
        rig.raw(CLIENT, packet.raw());
        assert_eq!(rig.take(WRITER), packet.raw());
        rig.raw(WRITER, &raw(b'v', b"\0\x03\0\0\0\0\0\x01_pq_.x\0"));
        rig.see(CLIENT, "v#15");
    });
}

#[test]
fn a_password_exchange_is_relayed_byte_for_byte() {
    each(config, |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("Rmd5");
        assert_eq!(rig.take(CLIENT), backend("Rmd5"));
        let answer = raw(b'p', b"md50123456789abcdef0123456789abcdef\0");
        rig.raw(CLIENT, &answer);
        assert_eq!(rig.take(WRITER), answer);
        rig.writer("R N(00000)");
        rig.writer(login(WRITER));
        assert!(
            rig.shown(CLIENT)
                .starts_with("R N(00000) S(server_version,15.18) ")
        );
        assert!(rig.session.client_key().is_some());
        assert!(
            !rig.is_open(READER),
            "the reader is dialled for the first read"
        );
    });
}

#[test]
fn a_sasl_exchange_is_relayed_byte_for_byte() {
    each(config, |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("Rsasl(SCRAM-SHA-256)");
        assert_eq!(rig.take(CLIENT), backend("Rsasl(SCRAM-SHA-256)"));
        let first = raw(b'p', b"SCRAM-SHA-256\0\0\0\0\x08n,,n=,r=");
        rig.raw(CLIENT, &first);
        assert_eq!(rig.take(WRITER), first);
        rig.writer("Rcont(r=x,s=c2FsdA==,i=4096)");
        assert_eq!(rig.take(CLIENT), backend("Rcont(r=x,s=c2FsdA==,i=4096)"));
        let last = raw(b'p', b"c=biws,r=x,p=cHJvb2Y=");
        rig.raw(CLIENT, &last);
        assert_eq!(rig.take(WRITER), last);
        rig.writer("Rfinal(v=c2ln) R");
        assert_eq!(rig.take(CLIENT), backend("Rfinal(v=c2ln) R"));
    });
}

/// B7: the server's TLS connection ends at us, so nobody can bind to it.
#[test]
fn mechanisms_that_bind_are_not_offered() {
    each(config, |rig| {
        open(rig);
        rig.writer("Rsasl(SCRAM-SHA-256-PLUS,SCRAM-SHA-256)");
        rig.see(CLIENT, "Rsasl(SCRAM-SHA-256)");
    });
    each(config, |rig| {
        open(rig);
        rig.writer("Rsasl(SCRAM-SHA-256-PLUS)");
        rig.see(CLIENT, "FATAL(08006)");
        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
    });
}

#[test]
fn the_client_gets_the_writers_process_and_a_secret_of_ours() {
    each(config, |rig| {
        open(rig);
        rig.writer("R");
        rig.writer(login(WRITER));
        let seen = rig.shown(CLIENT);
        assert!(seen.ends_with(" K(4711,4 bytes) Z(I)"), "{seen}");
        let key = rig.session.client_key().unwrap();
        assert_eq!(key.process_id(), 4711);
        assert_ne!(key.secret(), b"wkey");
    });
    each(config, |rig| {
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_2));
        rig.writer("R K(4711,a secret of the writer's own) Z(I)");
        rig.see(CLIENT, "R K(4711,32 bytes) Z(I)");
    });
    each(config, |rig| {
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_2));
        rig.raw(WRITER, &raw(b'v', b"\0\x03\0\0\0\0\0\0"));
        rig.writer("R K(4711,wkey) Z(I)");
        rig.see(CLIENT, "v#8 R K(4711,4 bytes) Z(I)");
    });
}

/// A client behind TLS does not see that the server's connection is in clear.
#[test]
fn a_password_in_clear_goes_where_it_may() {
    use RelayedPassword::{Anyhow, AsTheClient, OverTls};
    use UpstreamTlsPolicy::{Disable, Require};
    for (password, upstream, client_asks, passes) in [
        (AsTheClient, Disable, false, true),
        (AsTheClient, Disable, true, false),
        (AsTheClient, Require, true, true),
        (OverTls, Disable, false, false),
        (OverTls, Disable, true, false),
        (OverTls, Require, false, true),
        (Anyhow, Disable, true, true),
    ] {
        let make = with(|config| {
            config.client_tls = ClientTls::Allow;
            config.relayed_password = password;
            config.upstreams[0].tls = upstream;
        });
        each(make, |rig| {
            if client_asks {
                rig.raw(CLIENT, &SSL_REQUEST);
                assert_eq!(rig.take(CLIENT), b"S");
            }
            open(rig);
            if upstream == Require {
                assert_eq!(rig.take(WRITER), SSL_REQUEST);
                rig.raw(WRITER, b"S");
            }
            rig.take_startup(WRITER);
            rig.writer("Rclear");
            let told = if passes { "Rclear" } else { "FATAL(08006)" };
            rig.see(CLIENT, told);
            if !passes {
                assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
            }
        });
    }
}

#[test]
fn a_refusal_of_the_gate_is_the_clients_to_read() {
    each(config, |rig| {
        open(rig);
        rig.writer("Rclear");
        rig.raw(CLIENT, &raw(b'p', b"wrong\0"));
        rig.writer("FATAL(28P01)");
        rig.eof(WRITER);
        rig.see(CLIENT, "Rclear FATAL(28P01)");
        assert_eq!(rig.cause(), CloseCause::UpstreamEnded(WRITER));
    });
}

#[test]
fn a_gate_that_is_not_there_is_told() {
    each(config, |rig| {
        rig.dials(WRITER, Dial::Refuse);
        open(rig);
        rig.see(CLIENT, "FATAL(08006)");
        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
    });
    each(config, |rig| {
        open(rig);
        rig.eof(WRITER);
        rig.see(CLIENT, "FATAL(08006)");
        assert!(rig.is_dead());
    });
}

/// What has no place in a login is a fault of the gate (B12).
#[test]
fn a_gate_that_breaks_the_protocol_is_left() {
    for nonsense in [
        "Z(I)",
        "T",
        "D(1)",
        "R R",
        "C(SELECT 1)",
        "R A(x)",
        "R Rclear",
    ] {
        each(config, |rig| {
            open(rig);
            rig.writer(nonsense);
            assert!(rig.shown(CLIENT).ends_with("FATAL(08006)"), "{nonsense}");
            assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
        });
    }
}

/// A session that begins inside a transaction is somebody else's.
#[test]
fn a_gate_that_is_ready_inside_a_transaction_is_left() {
    for status in ["T", "E"] {
        for gate in [WRITER, READER] {
            let make = with(move |config| {
                if gate == READER {
                    config.gate = Gate::Reader;
                }
            });
            each(make, |rig| {
                open(rig);
                rig.say(gate, &format!("R Z({status})"));
                rig.see(CLIENT, "R FATAL(08006)");
                assert_eq!(rig.cause(), CloseCause::LoginFailed(gate));
                assert!(rig.has_event(|event| matches!(event,
                    Event::UpstreamFailed { why, .. } if why.contains("transaction"))));
            });
        }
    }
}

/// The client proves itself to the reader and is told the writer's truth, once.
#[test]
fn a_gate_that_is_the_reader() {
    each(with(|config| config.gate = Gate::Reader), |rig| {
        open(rig);
        rig.take_startup(READER);
        rig.reader("Rclear");
        rig.see(CLIENT, "Rclear");
        let password = raw(b'p', b"pencil\0");
        rig.raw(CLIENT, &password);
        assert_eq!(rig.take(READER), password);
        rig.reader("R");
        rig.see(CLIENT, "R");
        rig.reader(login(READER));
        rig.see(CLIENT, "");
        rig.take_startup(WRITER);
        rig.writer("R N(00000)");
        rig.see(CLIENT, "");
        rig.writer(login(WRITER));
        let expected = show_backend(&backend(login(WRITER)));
        rig.see(CLIENT, &expected);
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        rig.client("Q(insert into t values(1))");
        rig.see(WRITER, "Q(insert into t values(1))");
    });
}

#[test]
fn a_writer_that_refuses_behind_the_gate_ends_the_login() {
    each(with(|config| config.gate = Gate::Reader), |rig| {
        open(rig);
        rig.reader("R");
        rig.reader(login(READER));
        rig.writer("FATAL(53300)");
        rig.see(CLIENT, "R FATAL(53300)");
        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
    });
}

/// H39: it ends at ReadyForQuery, and nothing of it is for the client.
#[test]
fn nothing_of_our_login_reaches_the_client() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("N(00000) R N(01000)");
        rig.reader(login(READER));
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
    });
}

/// H37: what is asked while we log in waits for it, in order.
#[test]
fn requests_wait_for_our_login() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1) Q(insert into t values(1)) Q(select 2)");
        rig.take_startup(READER);
        rig.see(WRITER, "");
        rig.reader("R");
        rig.see(CLIENT, "");
        rig.reader(login(READER));
        rig.see(READER, "Q(select 1)");
        rig.see(WRITER, "");
        rig.reader(ROW);
        rig.see(WRITER, "Q(insert into t values(1)) Q(select 2)");
        rig.writer(&format!("C(INSERT 0 1) Z(I) {ROW}"));
        rig.see(CLIENT, &format!("{ROW} C(INSERT 0 1) Z(I) {ROW}"));
    });
}

#[test]
fn a_reader_can_be_dialled_at_login() {
    each(
        with(|config| config.reader_open = ReaderOpen::AtLogin),
        |rig| {
            rig.logged_in();
            rig.reader_in();
            rig.see(CLIENT, "");
            rig.client("Q(select 1)");
            rig.see(READER, "Q(select 1)");
        },
    );
}

/// H35: the writer serves, and the client is told once.
#[test]
fn a_reader_that_refuses_costs_one_warning() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("FATAL(28000)");
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.see(CLIENT, &format!("N(01000) {ROW}"));
        rig.client("Q(select 2)");
        rig.see(WRITER, "Q(select 2)");
        rig.writer(ROW);
        rig.see(CLIENT, ROW);
        assert!(rig.has_event(|event| matches!(event, Event::UpstreamFailed { .. })));
        // It is tried again later.
        rig.reader_again();
        rig.client("Q(select 3)");
        rig.see(READER, "Q(select 3)");
    });
}

/// H35: it is told what is wrong, whichever was logged in to first.
#[test]
fn a_reader_with_another_time_zone_costs_one_warning() {
    for gate in [Gate::Writer, Gate::Reader] {
        each(with(move |config| config.gate = gate), |rig| {
            let zone = |peer| format!("TimeZone,{peer}");
            let there = |peer| format!("R {}", login(peer).replace("TimeZone,UTC", &zone(peer)));
            open(rig);
            if gate == Gate::Reader {
                rig.reader(&there(READER));
            }
            rig.writer(&there(WRITER));
            rig.client("Q(select 1)");
            if gate == Gate::Writer {
                rig.reader(&there(READER));
            }
            rig.writer(ROW);
            let told = rig.take(CLIENT);
            for part in [
                &b"the replica cannot be used; the primary serves reads\0"[..],
                b"its TimeZone differs from the primary's\0",
            ] {
                let times = told.windows(part.len()).filter(|seen| *seen == part);
                assert_eq!(times.count(), 1, "{}", told.escape_ascii());
            }
        });
    }
}

#[test]
fn a_reader_that_asks_for_a_password_that_nobody_has_is_not_used() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("Rclear");
        rig.see(READER, "");
        rig.see(WRITER, "Q(select 1)");
    });
}

#[test]
fn a_reader_that_cannot_be_dialled_is_not_used() {
    each(config, |rig| {
        rig.logged_in();
        rig.dials(READER, Dial::Refuse);
        rig.client("Q(select 1) Q(select 2)");
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.see(WRITER, "Q(select 2)");
        rig.writer(ROW);
        rig.see(CLIENT, &format!("N(01000) {ROW} {ROW}"));
    });
}

#[test]
fn a_missing_reader_can_fail_the_client() {
    let fail = with(|config| config.reader_failure = ReaderFailure::FailClient);
    each(fail, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("FATAL(28000)");
        rig.see(CLIENT, "FATAL(08006)");
        rig.see(WRITER, "X");
        assert_eq!(rig.cause(), CloseCause::LoginFailed(READER));
    });
}

/// A reader whose settings make a text mean something else is no reader.
#[test]
fn a_reader_that_differs_is_not_used() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("R S(standard_conforming_strings,off) K(1,rkey) Z(I)");
        rig.see(WRITER, "Q(select 1)");
    });
}

#[test]
fn a_request_for_tls_is_answered_by_policy() {
    each(config, |rig| {
        rig.raw(CLIENT, &SSL_REQUEST);
        assert_eq!(rig.take(CLIENT), b"N");
        rig.raw(CLIENT, &GSS_REQUEST);
        assert_eq!(rig.take(CLIENT), b"N");
        open(rig);
        rig.take_startup(WRITER);
        assert!(rig.handshakes.is_empty());
    });
    each(
        with(|config| config.client_tls = ClientTls::Require),
        |rig| {
            rig.raw(CLIENT, &SSL_REQUEST);
            assert_eq!(rig.take(CLIENT), b"S");
            assert_eq!(rig.handshakes, [(CLIENT, true)]);
            open(rig);
            rig.take_startup(WRITER);
        },
    );
    each(
        with(|config| config.client_tls = ClientTls::Require),
        |rig| {
            open(rig);
            rig.see(CLIENT, "FATAL(28000)");
            assert!(matches!(rig.cause(), CloseCause::ClientRefused(_)));
            assert!(!rig.is_open(WRITER));
        },
    );
}

/// The handshake begins behind the answer, not beside it.
#[test]
fn tls_starts_when_the_answer_is_sent() {
    each(with(|config| config.client_tls = ClientTls::Allow), |rig| {
        rig.takes(CLIENT, false);
        rig.raw(CLIENT, &SSL_REQUEST);
        assert!(rig.handshakes.is_empty());
        rig.takes(CLIENT, true);
        assert_eq!(rig.take(CLIENT), b"S");
        assert_eq!(rig.handshakes, [(CLIENT, true)]);
    });
}

/// A1: bytes in clear behind the request are somebody else's. How much of an answer is seen depends on how they arrive.
#[test]
fn bytes_stuffed_behind_a_request_for_tls_are_not_read() {
    for policy in [ClientTls::Allow, ClientTls::Require, ClientTls::Disable] {
        let config = with(move |config| config.client_tls = policy)();
        let mut rig = Rig::new(config, session_support::Chunk::Whole);
        let mut stuffed = SSL_REQUEST.to_vec();
        stuffed.extend(startup(ProtocolVersion::V3_0));
        rig.raw(CLIENT, &stuffed);
        assert!(rig.is_dead(), "{policy:?}");
        assert!(rig.handshakes.is_empty());
        assert!(!rig.is_open(WRITER));
    }
}

#[test]
fn a_failed_handshake_ends_the_session() {
    each(with(|config| config.client_tls = ClientTls::Allow), |rig| {
        rig.tls_fails(CLIENT);
        rig.raw(CLIENT, &SSL_REQUEST);
        assert_eq!(rig.cause(), CloseCause::ClientFault(None));
    });
}

fn tls_to(role: Role, tls: UpstreamTlsPolicy) -> impl Fn() -> Config {
    with(move |config| {
        for upstream in &mut config.upstreams {
            if upstream.role == role {
                upstream.tls = tls;
            }
        }
    })
}

#[test]
fn an_upstream_is_asked_for_tls_by_policy() {
    each(tls_to(Role::Writer, UpstreamTlsPolicy::Require), |rig| {
        open(rig);
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
        rig.raw(WRITER, b"S");
        assert_eq!(rig.handshakes, [(WRITER, false)]);
        rig.take_startup(WRITER);
    });
    each(tls_to(Role::Writer, UpstreamTlsPolicy::Prefer), |rig| {
        open(rig);
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
        rig.raw(WRITER, b"N");
        rig.take_startup(WRITER);
        assert!(rig.handshakes.is_empty());
    });
}

/// A7: no byte of a login leaves in clear where TLS was required.
#[test]
fn an_upstream_that_refuses_tls_is_not_logged_in_to() {
    for answer in [&b"N"[..], b"E", b"G"] {
        each(tls_to(Role::Writer, UpstreamTlsPolicy::Require), |rig| {
            open(rig);
            rig.raw(WRITER, answer);
            assert_eq!(rig.take(WRITER), SSL_REQUEST);
            rig.see(CLIENT, "FATAL(08006)");
            assert!(rig.handshakes.is_empty());
        });
    }
    each(tls_to(Role::Reader, UpstreamTlsPolicy::Require), |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.raw(READER, b"N");
        assert_eq!(rig.take(READER), SSL_REQUEST);
        rig.see(WRITER, "Q(select 1)");
    });
}

#[test]
fn bytes_that_come_before_the_answer_has_left_are_stuffed_too() {
    each(config, |rig| {
        rig.takes(CLIENT, false);
        rig.raw(CLIENT, &SSL_REQUEST);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.takes(CLIENT, true);
        let answer = rig.take(CLIENT);
        assert_eq!(answer.first(), Some(&b'N'));
        assert_eq!(show_backend(&answer[1..]), "FATAL(08P01)");
        assert!(rig.is_dead());
    });
}

#[test]
fn bytes_stuffed_behind_an_upstreams_answer_are_not_read() {
    let config = tls_to(Role::Writer, UpstreamTlsPolicy::Require)();
    let mut rig = Rig::new(config, session_support::Chunk::Whole);
    open(&mut rig);
    rig.raw(WRITER, b"SR\0\0\0\x08\0\0\0\0");
    assert!(rig.handshakes.is_empty());
    assert_eq!(rig.take(WRITER), SSL_REQUEST);
    rig.see(CLIENT, "FATAL(08006)");
}

#[test]
fn a_failed_handshake_of_the_reader_is_a_reader_that_is_not_there() {
    each(tls_to(Role::Reader, UpstreamTlsPolicy::Require), |rig| {
        rig.logged_in();
        rig.tls_fails(READER);
        rig.client("Q(select 1)");
        rig.raw(READER, b"S");
        rig.see(WRITER, "Q(select 1)");
        assert_eq!(rig.take(READER), SSL_REQUEST);
    });
}

#[test]
fn a_cancel_request_is_handed_over() {
    each(config, |rig| {
        let mut packet = bytes::BytesMut::new();
        CancelKey::new(4711, b"abcd").unwrap().encode(&mut packet);
        rig.raw(CLIENT, &packet);
        assert_eq!(rig.cancels, 1);
        assert_eq!(rig.cause(), CloseCause::CancelTaken);
        rig.see(CLIENT, "");
    });
}

#[test]
fn a_cancel_goes_where_the_request_runs() {
    each(config, |rig| {
        rig.both();
        assert!(rig.session.cancel_target().is_none());
        rig.client("Q(select 1)");
        let target = rig.session.cancel_target().unwrap();
        assert_eq!((target.peer, target.key.secret()), (READER, &b"rkey"[..]));
        rig.reader(ROW);
        assert!(rig.session.cancel_target().is_none());
        rig.client("Q(delete from t)");
        let target = rig.session.cancel_target().unwrap();
        assert_eq!((target.peer, target.key.secret()), (WRITER, &b"wkey"[..]));
    });
}

/// C01: a cancel that comes while the reader is logged in to means the read that waits for it.
#[test]
fn a_cancel_for_a_request_that_waits_has_to_wait() {
    each(config, |rig| {
        rig.logged_in();
        assert!(!rig.session.is_holding());
        rig.client("Q(select 1)");
        assert!(rig.session.is_holding() && rig.session.cancel_target().is_none());
        rig.reader_in();
        assert!(!rig.session.is_holding());
        let target = rig.session.cancel_target().unwrap();
        assert_eq!(target.peer, READER);
        rig.client("Q(delete from t)");
        assert!(!rig.session.is_holding(), "the read is what a cancel means");
        rig.reader(ROW);
        assert!(!rig.session.is_holding());
    });
}

/// The gate's refusal is the last word: one that lingers behind it gives its client no second error.
#[test]
fn a_refused_client_gets_one_error() {
    let lingering: [fn(&mut Rig); 4] = [
        |rig| rig.expire(Timer::Login),
        |rig| rig.writer("R"),
        |rig| rig.raw(WRITER, b"E\0\0\0\x01"),
        |rig| rig.shutdown(),
    ];
    for (at, linger) in lingering.into_iter().enumerate() {
        each(config, |rig| {
            open(rig);
            rig.take_startup(WRITER);
            rig.writer("FATAL(28P01)");
            rig.see(CLIENT, "FATAL(28P01)");
            linger(rig);
            rig.see(CLIENT, "");
            if at < 3 {
                assert!(rig.is_dead(), "{at}");
            }
        });
    }
}

#[test]
fn what_is_no_opening_is_closed() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\0\0\0\x03", b"\x16\x03\x01"] {
        each(config, |rig| {
            rig.raw(CLIENT, bytes);
            assert!(matches!(rig.cause(), CloseCause::ClientRefused(_)));
        });
    }
    each(config, |rig| {
        rig.eof(CLIENT);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
    });
}

#[test]
fn a_client_that_terminates_while_it_logs_in_leaves() {
    each(config, |rig| {
        open(rig);
        rig.writer("Rclear");
        rig.client("X");
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
        assert!(!rig.is_open(WRITER));
    });
}

#[test]
fn the_login_has_a_deadline() {
    each(config, |rig| {
        rig.expire(Timer::Login);
        rig.see(CLIENT, "FATAL(57014)");
        assert_eq!(rig.cause(), CloseCause::Timeout(Timer::Login));
    });
    each(config, |rig| {
        open(rig);
        rig.writer("Rclear");
        rig.expire(Timer::Login);
        rig.see(CLIENT, "Rclear FATAL(57014)");
        assert!(rig.is_dead());
    });
}

#[test]
fn a_dial_has_a_deadline() {
    each(config, |rig| {
        rig.dials(WRITER, Dial::Hang);
        open(rig);
        rig.expire(Timer::Dial(WRITER));
        rig.see(CLIENT, "FATAL(08006)");
        assert!(rig.is_dead());
    });
    each(config, |rig| {
        rig.logged_in();
        rig.dials(READER, Dial::Hang);
        rig.client("Q(select 1)");
        rig.see(WRITER, "");
        rig.expire(Timer::Dial(READER));
        rig.see(WRITER, "Q(select 1)");
    });
    each(tls_to(Role::Reader, UpstreamTlsPolicy::Require), |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.expire(Timer::Dial(READER));
        rig.see(WRITER, "Q(select 1)");
        assert!(!rig.is_open(READER));
        rig.take(READER);
    });
}

#[test]
fn our_login_has_a_deadline() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("R");
        rig.expire(Timer::Replay(READER));
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.see(CLIENT, &format!("N(01000) {ROW}"));
        assert!(!rig.is_open(READER));
    });
}

#[test]
fn a_shutdown_ends_a_login() {
    each(config, |rig| {
        open(rig);
        rig.shutdown();
        rig.see(CLIENT, "FATAL(57P01)");
        assert_eq!(rig.cause(), CloseCause::Shutdown);
    });
}

/// L11: whatever is printed of a session, no secret and no text of the client's is in it.
#[test]
fn a_session_shows_no_secret() {
    let secret = || {
        let mut config = with(|config| config.gate = Gate::Reader)();
        config
            .users
            .insert(b"alice", Credential::password("PLANTEDPASSWORD"));
        config.upstreams = vec![upstream(Role::Writer), upstream(Role::Reader)];
        config
    };
    let leaks = |rig: &Rig| {
        let shown = format!("{:?} {:?} {:?}", rig.session, rig.events, rig.closes);
        let numbers = |text: &[u8]| {
            let all: Vec<String> = text.iter().map(u8::to_string).collect();
            all.join(", ")
        };
        for planted in [
            &b"PLANTED"[..],
            b"SECRETSEED",
            b"wkey",
            b"rkey",
            b"hidden_text",
        ] {
            let text = std::str::from_utf8(planted).unwrap();
            assert!(!shown.contains(text), "{text} in {shown}");
            assert!(!shown.contains(&numbers(planted)), "{text} in {shown}");
        }
    };
    each(secret, |rig| {
        open(rig);
        rig.reader("Rclear");
        rig.takes(READER, false);
        rig.raw(CLIENT, &raw(b'p', b"PLANTEDPASSWORD\0"));
        leaks(rig);
        rig.takes(READER, true);
        rig.reader("R");
        rig.reader(login(READER));
        leaks(rig);
        rig.writer("Rsasl(SCRAM-SHA-256)");
        leaks(rig);
    });
    each(config, |rig| {
        rig.both();
        rig.client("Q(set application_name = 'hidden_text') P(s,select 'hidden_text') S");
        leaks(rig);
        rig.writer("C(SET) Z(I)");
        leaks(rig);
        rig.reader("C(SET) Z(I)");
        rig.client("Q(begin; select 'hidden_text')");
        leaks(rig);
    });
}
