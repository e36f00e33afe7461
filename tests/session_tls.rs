//! TLS on both sides of a session: direct handshakes, what they agree on, and a server that wants it after all.

mod session_support;

use std::time::Duration;

use pgturnout::auth::{Channel, Credential, Methods};
use pgturnout::session::{
    Action, CloseCause, Config, ConfigError, Demand, Event, Gate, PeerId, Role, Timer, TlsInfo,
    TlsRole, Transmit,
};
use pgturnout::startup::{
    ALPN, ClientTls, ProtocolVersion, Refusal, StartupParams, TlsNegotiation, UpstreamTlsPolicy,
};
use pgturnout::stats::ConnectionCounter;
use session_support::frames::{backend, raw};
use session_support::{Dial, Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";

fn with(change: impl Fn(&mut Config)) -> impl Fn() -> Config {
    move || {
        let mut config = config();
        change(&mut config);
        config
    }
}

fn to(role: Role, tls: UpstreamTlsPolicy, negotiation: TlsNegotiation) -> impl Fn() -> Config {
    with(move |config| {
        for upstream in config
            .upstreams
            .iter_mut()
            .filter(|upstream| upstream.role == role)
        {
            upstream.tls = tls;
            upstream.tls_negotiation = negotiation;
        }
    })
}

fn open(rig: &mut Rig) {
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
}

/// D9: the handshake is the driver's from its first byte on.
#[test]
fn a_client_may_begin_with_the_handshake() {
    for policy in [ClientTls::Allow, ClientTls::Require] {
        each(with(|config| config.client_tls = policy), |rig| {
            rig.agrees_on(CLIENT, Some(ALPN));
            rig.raw(CLIENT, HELLO);
            assert_eq!(rig.handshakes, [(CLIENT, true)]);
            assert_eq!(rig.take(CLIENT), b"");
            open(rig);
            rig.take_startup(WRITER);
            rig.writer("R");
            rig.writer(login(WRITER));
            rig.take(CLIENT);
            rig.client("Q(delete from t)");
            rig.see(WRITER, "Q(delete from t)");
        });
    }
    each(config, |rig| {
        rig.raw(CLIENT, HELLO);
        assert_eq!(rig.cause(), CloseCause::ClientRefused(Refusal::DirectTls));
        assert!(rig.handshakes.is_empty());
        assert_eq!(rig.take(CLIENT), b"");
    });
}

/// A6: what does not say that it speaks PostgreSQL's protocol may be made to.
#[test]
fn a_handshake_that_nobody_asked_for_agrees_on_the_protocol() {
    let asked: &[u8] = &SSL_REQUEST;
    for (opening, alpn, served) in [
        (HELLO, Some(ALPN), true),
        (HELLO, None, false),
        (HELLO, Some(&b"h2"[..]), false),
        (HELLO, Some(&b""[..]), false),
        (asked, Some(ALPN), true),
        (asked, None, true),
        (asked, Some(&b"h2"[..]), false),
    ] {
        each(with(|config| config.client_tls = ClientTls::Allow), |rig| {
            rig.agrees_on(CLIENT, alpn);
            rig.raw(CLIENT, opening);
            rig.take(CLIENT);
            if served {
                open(rig);
                return rig.take_startup(WRITER);
            }
            assert_eq!(rig.cause(), CloseCause::ClientRefused(Refusal::Alpn));
            assert_eq!(rig.take(CLIENT), b"");
            assert!(!rig.is_open(WRITER));
        });
    }
}

/// D11: what the driver knows of a connection is there to be asked for, before the StartupMessage too.
#[test]
fn facts_about_a_connection_are_kept() {
    let mut info = TlsInfo::default();
    info.alpn = Some(ALPN.into());
    info.server_name = Some("db.example.com".into());
    info.peer_certificate = Some(vec![0x30; 500].into());
    let tls = UpstreamTlsPolicy::Require;
    let mut rig = Rig::new(
        to(Role::Writer, tls, TlsNegotiation::Postgres)(),
        session_support::Chunk::Whole,
    );
    assert_eq!(rig.session.tls_info(CLIENT), None);
    rig.knows(WRITER, info.clone());
    open(&mut rig);
    rig.raw(WRITER, b"S");
    assert_eq!(rig.session.tls_info(WRITER), Some(&info));
    assert_eq!(rig.session.tls_info(CLIENT), None);
    assert_eq!(rig.session.tls_info(READER), None);

    let mut rig = Rig::new(
        with(|config| config.client_tls = ClientTls::Require)(),
        session_support::Chunk::Whole,
    );
    rig.knows(CLIENT, info.clone());
    rig.raw(CLIENT, HELLO);
    assert_eq!(rig.session.tls_info(CLIENT), Some(&info));
}

#[test]
fn an_upstream_may_be_asked_by_the_handshake() {
    for tls in [
        UpstreamTlsPolicy::Require,
        UpstreamTlsPolicy::VerifyCa,
        UpstreamTlsPolicy::VerifyFull,
    ] {
        each(to(Role::Writer, tls, TlsNegotiation::Direct), |rig| {
            rig.agrees_on(WRITER, Some(ALPN));
            open(rig);
            assert_eq!(rig.handshakes, [(WRITER, false)]);
            rig.take_startup(WRITER);
        });
    }
    for alpn in [None, Some(&b"h2"[..])] {
        let tls = UpstreamTlsPolicy::Require;
        each(to(Role::Writer, tls, TlsNegotiation::Direct), |rig| {
            rig.agrees_on(WRITER, alpn);
            open(rig);
            rig.see(CLIENT, "FATAL(08006)");
            assert_eq!(rig.take(WRITER), b"");
        });
        each(to(Role::Reader, tls, TlsNegotiation::Direct), |rig| {
            rig.agrees_on(READER, alpn);
            rig.logged_in();
            rig.client("Q(select 1)");
            rig.see(WRITER, "Q(select 1)");
            assert_eq!(rig.take(READER), b"");
        });
    }
    for tls in [
        UpstreamTlsPolicy::Disable,
        UpstreamTlsPolicy::Allow,
        UpstreamTlsPolicy::Prefer,
    ] {
        let config = to(Role::Reader, tls, TlsNegotiation::Direct)();
        assert_eq!(config.check(), Err(ConfigError::DirectTls));
        let rig = Rig::new(config, session_support::Chunk::Whole);
        assert!(
            !rig.is_dead()
                && !matches!(rig.session.lifecycle(), pgturnout::session::Lifecycle::Live)
        );
    }
}

#[test]
fn the_driver_is_told_what_to_verify() {
    for tls in [
        UpstreamTlsPolicy::Prefer,
        UpstreamTlsPolicy::Require,
        UpstreamTlsPolicy::VerifyCa,
        UpstreamTlsPolicy::VerifyFull,
    ] {
        each(to(Role::Writer, tls, TlsNegotiation::Postgres), |rig| {
            open(rig);
            assert_eq!(rig.verifies, None);
            rig.raw(WRITER, b"S");
            assert_eq!(rig.verifies, Some(tls));
        });
    }
}

fn allow(role: Role) -> impl Fn() -> Config {
    to(role, UpstreamTlsPolicy::Allow, TlsNegotiation::Postgres)
}

fn refusals(rig: &Rig) -> u64 {
    let counted = rig.session.connection_stats();
    counted.get(ConnectionCounter::AuthenticationFailures)
}

fn tried_again(rig: &Rig, leg: PeerId) -> bool {
    rig.has_event(|event| matches!(event, Event::TlsAfterRefusal { peer, .. } if *peer == leg))
}

/// As libpq's `sslmode=allow`: in clear, and with TLS where the server wants it.
#[test]
fn allow_is_in_clear_first() {
    each(allow(Role::Writer), |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("R");
        rig.writer(login(WRITER));
        rig.take(CLIENT);
        assert!(rig.handshakes.is_empty() && !tried_again(rig, WRITER));
    });
    each(allow(Role::Writer), |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("FATAL(28000)");
        assert!(tried_again(rig, WRITER));
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
        assert_eq!(rig.take(CLIENT), b"");
        rig.raw(WRITER, b"S");
        assert_eq!(rig.handshakes, [(WRITER, false)]);
        rig.take_startup(WRITER);
        rig.writer("Rmd5");
        assert_eq!(rig.take(CLIENT), backend("Rmd5"));
        assert_eq!(refusals(rig), 0, "the client was not refused");
    });
    each(allow(Role::Reader), |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("FATAL(28000)");
        assert_eq!(rig.take(READER), SSL_REQUEST);
        rig.raw(READER, b"S");
        rig.reader_in();
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        assert!(tried_again(rig, READER));
        assert!(!rig.has_event(|event| matches!(event, Event::UpstreamFailed { .. })));
    });
}

/// A connection that came to be in clear is not the encrypted one that was there before: it gets no password.
#[test]
fn a_password_in_clear_waits_for_tls_on_each_connection() {
    let known = || {
        let mut config = to(
            Role::Reader,
            UpstreamTlsPolicy::Prefer,
            TlsNegotiation::Postgres,
        )();
        config
            .users
            .insert(b"alice", Credential::password("pencil"));
        let methods = Methods::NONE.allow_cleartext(Channel::Tls);
        for upstream in &mut config.upstreams {
            upstream.methods = Some(methods);
        }
        config
    };
    each(known, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        assert_eq!(rig.take(READER), SSL_REQUEST);
        rig.raw(READER, b"S");
        rig.take_startup(READER);
        rig.reader("Rclear");
        assert_eq!(rig.take(READER), raw(b'p', b"pencil\0"));
        rig.reader("R");
        rig.reader(login(READER));
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        rig.eof(READER);
        rig.pass(Duration::from_secs(60));
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.see(CLIENT, ROW);
        assert_eq!(rig.take(READER), SSL_REQUEST);
        rig.raw(READER, b"N");
        rig.take_startup(READER);
        rig.reader("Rclear");
        rig.see(READER, "");
        assert!(!rig.is_open(READER));
    });
}

/// What the client is owed of the connection that refuses is sent before that closes, and not twice.
#[test]
fn the_version_passes_before_allow_tries_again() {
    each(allow(Role::Writer), |rig| {
        rig.takes(CLIENT, false);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_2));
        let answer = negotiates(0, &[]);
        let refusal = [answer.clone(), backend("FATAL(28000)")].concat();
        rig.raw(WRITER, &refusal);
        assert!(tried_again(rig, WRITER) && !rig.is_dead());
        rig.takes(CLIENT, true);
        assert_eq!(rig.take(CLIENT), answer);
        rig.raw(WRITER, b"S");
        rig.raw(WRITER, &answer);
        rig.writer("Rmd5");
        assert_eq!(rig.take(CLIENT), backend("Rmd5"));
    });
}

/// Only a refusal of the kind of connection, only before the client has heard of anything, and only once.
#[test]
fn allow_tries_again_once_and_not_for_everything() {
    each(allow(Role::Writer), |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("FATAL(53300)");
        rig.see(CLIENT, "FATAL(53300)");
        assert!(!tried_again(rig, WRITER));
    });
    each(allow(Role::Writer), |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("Rmd5 FATAL(28000)");
        rig.see(CLIENT, "Rmd5 FATAL(28000)");
        assert!(!tried_again(rig, WRITER));
    });
    each(allow(Role::Writer), |rig| {
        open(rig);
        rig.writer("FATAL(28000)");
        rig.raw(WRITER, b"S");
        rig.writer("FATAL(28000)");
        rig.see(CLIENT, "FATAL(28000)");
        assert_eq!(refusals(rig), 1);
        rig.eof(WRITER);
        assert!(rig.is_dead());
    });
    each(allow(Role::Writer), |rig| {
        open(rig);
        rig.writer("FATAL(28000)");
        rig.raw(WRITER, b"N");
        rig.see(CLIENT, "FATAL(08006)");
        assert!(rig.is_dead());
    });
    for policy in [UpstreamTlsPolicy::Disable, UpstreamTlsPolicy::Prefer] {
        each(to(Role::Writer, policy, TlsNegotiation::Postgres), |rig| {
            open(rig);
            if policy == UpstreamTlsPolicy::Prefer {
                rig.raw(WRITER, b"N");
            }
            rig.writer("FATAL(28000)");
            rig.see(CLIENT, "FATAL(28000)");
            assert!(!tried_again(rig, WRITER));
        });
    }
    each(allow(Role::Reader), |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("Rmd5");
        rig.see(WRITER, "Q(select 1)");
        assert!(!tried_again(rig, READER));
    });
}

#[test]
fn a_second_try_has_a_deadline_and_ends_with_the_session() {
    each(allow(Role::Writer), |rig| {
        open(rig);
        rig.dials(WRITER, Dial::Hang);
        rig.writer("FATAL(28000)");
        rig.expire(Timer::Dial(WRITER));
        rig.see(CLIENT, "FATAL(08006)");
        assert!(rig.is_dead());
    });
    each(allow(Role::Writer), |rig| {
        open(rig);
        rig.dials(WRITER, Dial::Hang);
        rig.writer("FATAL(28000)");
        rig.reset(CLIENT);
        assert_eq!(rig.cause(), CloseCause::ClientLost);
    });
    each(allow(Role::Reader), |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.dials(READER, Dial::Refuse);
        rig.reader("FATAL(28000)");
        rig.see(WRITER, "Q(select 1)");
        // A later try is a first one again.
        rig.writer(ROW);
        rig.see(CLIENT, &format!("N(01000) {ROW}"));
        rig.dials(READER, Dial::Accept);
        rig.take(READER);
        rig.pass(std::time::Duration::from_secs(60));
        rig.client("Q(select 2)");
        rig.take_startup(READER);
    });
}

fn asking(version: ProtocolVersion, more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let pairs = [(&b"user"[..], &b"alice"[..])];
    let all = pairs.into_iter().chain(more.iter().copied());
    StartupParams::build(version, all).unwrap().raw().to_vec()
}

fn negotiates(minor: u32, options: &[&str]) -> Vec<u8> {
    let mut body = (0x0003_0000 + minor).to_be_bytes().to_vec();
    body.extend(u32::try_from(options.len()).unwrap().to_be_bytes());
    for option in options {
        body.extend([option.as_bytes(), b"\0"].concat());
    }
    raw(b'v', &body)
}

/// A14, A15: exactly one, and one that answers what was asked; also of a server that is asked twice.
#[test]
fn the_client_gets_one_negotiation_of_the_version() {
    let grease = ProtocolVersion::from_code(0x0003_270f);
    each(allow(Role::Writer), |rig| {
        let packet = asking(grease, &[(b"_pq_.x", b"1")]);
        rig.raw(CLIENT, &packet);
        assert_eq!(rig.take(WRITER), packet);
        let answer = negotiates(2, &["_pq_.x"]);
        rig.raw(WRITER, &[answer.clone(), backend("FATAL(28000)")].concat());
        assert_eq!(rig.take(CLIENT), answer);
        rig.raw(WRITER, b"S");
        assert_eq!(rig.take(WRITER), [&SSL_REQUEST[..], &packet].concat());
        rig.raw(
            WRITER,
            &[answer, backend("R"), backend(login(WRITER))].concat(),
        );
        let shown = rig.shown(CLIENT);
        assert!(
            shown.starts_with("R S(") && shown.contains("K(4711,32 bytes)"),
            "{shown}"
        );
    });
    let wrong: [(ProtocolVersion, Vec<u8>); 8] = [
        (ProtocolVersion::V3_0, negotiates(2, &[])),
        (ProtocolVersion::V3_2, negotiates(3, &[])),
        (ProtocolVersion::V3_2, negotiates(1, &[])),
        (ProtocolVersion::V3_2, negotiates(0, &["_pq_.y"])),
        (ProtocolVersion::V3_2, negotiates(0, &["_pq_.x", "_pq_.x"])),
        (ProtocolVersion::V3_2, raw(b'v', b"\0\x02\0\0\0\0\0\0")),
        (
            ProtocolVersion::V3_2,
            [negotiates(0, &[]), negotiates(0, &[])].concat(),
        ),
        (
            ProtocolVersion::V3_2,
            [backend("Rmd5"), negotiates(0, &[])].concat(),
        ),
    ];
    for (version, answer) in wrong {
        each(config, |rig| {
            rig.raw(CLIENT, &asking(version, &[(b"_pq_.x", b"1")]));
            rig.raw(WRITER, &answer);
            let shown = rig.shown(CLIENT);
            assert!(shown.ends_with("FATAL(08006)"), "{shown}");
            assert!(rig.is_dead());
        });
    }
}

/// E7: the width of the client's key is that of the version which it speaks, whatever the servers speak.
#[test]
fn legs_of_two_versions_have_keys_of_two_widths() {
    for (version, negotiated, width) in [
        (ProtocolVersion::V3_0, None, 4),
        (ProtocolVersion::V3_2, None, 32),
        (ProtocolVersion::V3_2, Some(0), 4),
        (ProtocolVersion::from_code(0x0003_270f), Some(2), 32),
        (ProtocolVersion::from_code(0x0003_270f), Some(0), 4),
    ] {
        // The reader may be of another age than the writer.
        let (reader, theirs) = match version.minor {
            0 => ("rkey", 4),
            _ => ("a-key-of-the-width-of-version-32", 32),
        };
        let long = format!("R S(in_hot_standby,on) K(815,{reader}) Z(I)");
        let answer = negotiated.map_or(Vec::new(), |minor| negotiates(minor, &[]));
        each(config, |rig| {
            rig.raw(CLIENT, &asking(version, &[]));
            rig.take(WRITER);
            rig.raw(
                WRITER,
                &[answer.clone(), backend("R"), backend(login(WRITER))].concat(),
            );
            let shown = rig.shown(CLIENT);
            assert!(shown.contains(&format!("K(4711,{width} bytes)")), "{shown}");
            rig.client("Q(select 1)");
            assert_eq!(rig.take(READER), asking(version, &[]));
            rig.reader(&long);
            rig.see(READER, "Q(select 1)");
            let target = rig.session.cancel_target().unwrap();
            assert_eq!((target.peer, target.key.secret().len()), (READER, theirs));
            let own = rig.session.client_key().unwrap();
            assert_eq!((own.process_id(), own.secret().len()), (4711, width));
        });
        let gated = || with(|config| config.gate = Gate::Reader)();
        each(gated, |rig| {
            rig.raw(CLIENT, &asking(version, &[]));
            rig.take(READER);
            // The gate's key goes to nobody, so its width does not matter.
            rig.raw(READER, &[answer.clone(), backend(&long)].concat());
            rig.take(WRITER);
            // It negotiates for itself, which the client does not hear of.
            if version.minor >= 2 {
                rig.raw(WRITER, &negotiates(0, &[]));
            }
            rig.writer("R");
            rig.writer(login(WRITER));
            let shown = rig.shown(CLIENT);
            assert!(shown.contains(&format!("K(4711,{width} bytes)")), "{shown}");
            assert_eq!(shown.contains("v#"), negotiated.is_some(), "{shown}");
        });
    }
}

/// U5: what a client sends before its turn waits for it, in order, and no more of it than the read buffer holds.
#[test]
fn what_the_client_sends_during_the_negotiation_is_held() {
    let tls = UpstreamTlsPolicy::Require;
    each(to(Role::Writer, tls, TlsNegotiation::Postgres), |rig| {
        open(rig);
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
        let early = raw(b'p', b"secret\0");
        rig.raw(CLIENT, &early);
        rig.flood(CLIENT, 1 << 17);
        assert_eq!(rig.take(WRITER), b"");
        assert_eq!(rig.unread(CLIENT), (1 << 17) + early.len() as u64 - 65_536);
        rig.raw(WRITER, b"S");
        rig.take_startup(WRITER);
        rig.writer("Rclear");
        assert_eq!(rig.take(WRITER), early);
    });
}

/// A driver may show the bytes again before it takes the action that is waiting for it.
#[test]
fn the_beginning_of_a_handshake_stays_the_drivers() {
    let config = with(|config| config.client_tls = ClientTls::Allow)();
    let mut rig = Rig::new(config, session_support::Chunk::Whole);
    for _ in 0..3 {
        let demand = rig.session.handle_input(rig.now, CLIENT, HELLO);
        assert_eq!(demand, Demand::Paused);
        assert_eq!(rig.session.take_discard(CLIENT, HELLO.len()), 0);
    }
    let action = rig.session.poll_action();
    let role = TlsRole::DirectServer;
    assert!(
        matches!(action, Some(Action::StartTls { peer: CLIENT, role: wanted }) if wanted == role),
        "{action:?}"
    );
}

/// The connection that is to be tried again is given up before its close was carried out.
#[test]
fn a_second_try_is_not_made_for_nobody() {
    let refusal = backend("FATAL(28000)");
    let mut rig = Rig::new(allow(Role::Writer)(), session_support::Chunk::Whole);
    open(&mut rig);
    let _ = rig.session.handle_input(rig.now, WRITER, &refusal);
    rig.session.handle_reset(rig.now, CLIENT);
    rig.run();
    assert_eq!(rig.cause(), CloseCause::ClientLost);
    assert!(!rig.is_open(WRITER));

    let mut rig = Rig::new(allow(Role::Reader)(), session_support::Chunk::Whole);
    rig.logged_in();
    rig.client("Q(select 1)");
    let _ = rig.session.handle_input(rig.now, READER, &refusal);
    rig.pass(std::time::Duration::from_secs(60));
    assert!(!rig.is_open(READER));
    rig.see(WRITER, "Q(select 1)");
}

/// D3: the refusal is sent before the close.
#[test]
fn a_refusal_is_flushed_before_the_close() {
    each(
        with(|config| config.client_tls = ClientTls::Require),
        |rig| {
            rig.takes(CLIENT, false);
            open(rig);
            assert!(rig.is_open(CLIENT) && !rig.is_open(WRITER));
            rig.takes(CLIENT, true);
            rig.see(CLIENT, "FATAL(28000)");
            assert!(!rig.is_open(CLIENT));
            assert_eq!(rig.cause(), CloseCause::ClientRefused(Refusal::TlsRequired));
        },
    );
}

/// Whose connections close without a word: the list of README.md, as far as clients bring it about.
#[test]
fn connections_that_close_in_silence() {
    type Scene = fn(&mut Rig);
    let scenes: [(ClientTls, &str, Scene); 7] = [
        (ClientTls::Disable, "first bytes", |rig| {
            rig.raw(CLIENT, b"GET / HTTP/1.1")
        }),
        (ClientTls::Disable, "a CancelRequest", |rig| {
            rig.raw(CLIENT, b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01key!");
        }),
        (ClientTls::Disable, "TLS is not offered", |rig| {
            rig.raw(CLIENT, HELLO)
        }),
        (ClientTls::Allow, "a TLS handshake that fails", |rig| {
            rig.tls_fails(CLIENT);
            rig.raw(CLIENT, &SSL_REQUEST);
            assert_eq!(rig.take(CLIENT), b"S");
        }),
        (ClientTls::Allow, "or on none where it must", |rig| {
            rig.tls(CLIENT, TlsInfo::default());
            rig.raw(CLIENT, HELLO);
        }),
        (ClientTls::Allow, "a reply that a server broke off", |rig| {
            rig.raw(CLIENT, &SSL_REQUEST);
            open(rig);
            rig.writer("R");
            rig.writer(login(WRITER));
            rig.client("Q(delete from t)");
            rig.take(CLIENT);
            rig.raw(WRITER, b"D\0\0\0\x40\0\x01");
            assert_eq!(rig.take(CLIENT), b"D\0\0\0\x40\0\x01");
            rig.eof(WRITER);
        }),
        (ClientTls::Passthrough, "sessions that pass whole", |rig| {
            rig.raw(CLIENT, HELLO);
            rig.eof(WRITER);
        }),
    ];
    for (policy, listed, scene) in scenes {
        assert!(include_str!("../README.md").contains(listed), "{listed}");
        each(with(move |config| config.client_tls = policy), |rig| {
            scene(rig);
            assert!(rig.is_dead(), "{listed}");
            assert_eq!(rig.take(CLIENT), b"", "{listed}");
        });
    }
}

/// From the request for TLS on a client awaits a handshake, and bytes in clear would be taken for a part of it.
#[test]
fn a_client_in_its_handshake_is_told_nothing() {
    type Ending = fn(&mut Rig);
    let endings: [(Ending, CloseCause); 2] = [
        (
            |rig| rig.expire(Timer::Login),
            CloseCause::Timeout(Timer::Login),
        ),
        (|rig| rig.shutdown(), CloseCause::Shutdown),
    ];
    for opening in [&SSL_REQUEST[..], HELLO] {
        for (ending, cause) in &endings {
            let config = with(|config| config.client_tls = ClientTls::Allow)();
            let mut rig = Rig::new(config, session_support::Chunk::Whole);
            let _ = rig.session.handle_input(rig.now, CLIENT, opening);
            if opening == SSL_REQUEST {
                assert_eq!(rig.session.take_discard(CLIENT, 8), 8);
                let said = rig.session.poll_transmit(CLIENT);
                assert_eq!(said, Some(Transmit::Owned(b"S")));
                rig.session.transmitted(rig.now, CLIENT, 1);
            }
            let action = rig.session.poll_action();
            assert!(
                matches!(action, Some(Action::StartTls { .. })),
                "{action:?}"
            );
            ending(&mut rig);
            assert_eq!(rig.take(CLIENT), b"");
            assert_eq!(rig.cause(), *cause);
        }
    }
    // What was not sent of the answer by then is not sent any more, and nobody waits for it.
    for (ending, cause) in &endings {
        let config = with(|config| config.client_tls = ClientTls::Allow)();
        let mut rig = Rig::new(config, session_support::Chunk::Whole);
        rig.takes(CLIENT, false);
        rig.raw(CLIENT, &SSL_REQUEST);
        ending(&mut rig);
        assert_eq!(rig.cause(), *cause);
    }
}
