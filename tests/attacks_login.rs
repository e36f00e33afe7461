//! Attacks on a session's logins by the server or by who stands before it, and on its cancel keys, with their bytes.

mod session_support;

use pgturnout::auth::{AdmitPolicy, Channel, Credential, Methods};
use pgturnout::session::{
    ClientAuth, CloseCause, Config, Demand, PeerId, ReaderFailure, RelayedPassword, Role,
};
use pgturnout::startup::{ProtocolVersion, UpstreamTlsPolicy};
use session_support::frames::{backend, raw};
use session_support::{Chunk, Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// What somebody would like a client to read or to believe.
const PLANTED: &[u8] = b"planted";
const ASKS: [UpstreamTlsPolicy; 3] = [
    UpstreamTlsPolicy::Prefer,
    UpstreamTlsPolicy::Require,
    UpstreamTlsPolicy::VerifyFull,
];

/// The upstreams of this role ask for TLS by this policy.
fn asking(role: Role, tls: UpstreamTlsPolicy) -> Config {
    let mut config = config();
    let upstreams = &mut config.upstreams;
    for upstream in upstreams.iter_mut().filter(|it| it.role == role) {
        upstream.tls = tls;
    }
    config
}

/// The same where clients are let in by us.
fn trusting(role: Role, tls: UpstreamTlsPolicy) -> Config {
    let policy = AdmitPolicy::new([9; 32]).allow_trust(Channel::Clear);
    Config {
        authentication: ClientAuth::Terminate(policy),
        ..asking(role, tls)
    }
}

fn open(rig: &mut Rig) {
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
}

/// What the client got and what the log was told have nothing of what was planted. What the client got.
fn unheard(rig: &mut Rig) -> String {
    let got = rig.take(CLIENT);
    let logged = format!("{:?} {:?}", rig.events, rig.closes);
    let planted = std::str::from_utf8(PLANTED).unwrap();
    let told = got.escape_ascii().to_string();
    assert!(!told.contains(planted), "the client read {told}");
    assert!(!logged.contains(planted), "the log reads {logged}");
    session_support::frames::show_backend(&got)
}

/// An error of version 3, one of version 2, and either without its end.
fn errors() -> [Vec<u8>; 4] {
    let text = [&b"SFATAL\0VFATAL\0C3D000\0M"[..], PLANTED, b"\0\0"].concat();
    let new = raw(b'E', &text);
    [
        new.clone(),
        new[..new.len() - 2].to_vec(),
        [&b"E"[..], PLANTED, b"\n\0"].concat(),
        [&b"E"[..], PLANTED].concat(),
    ]
}

/// A3 (CVE-2024-10977): who answers a request for TLS is not known, and what it says in place of an answer reaches neither
/// the client nor the log, as a server's own words about a login do.
#[test]
fn the_text_of_an_error_before_tls_is_read_to_nobody() {
    type Make = fn(Role, UpstreamTlsPolicy) -> Config;
    let makes: [(Make, &str); 2] = [(asking, "FATAL(08006)"), (trusting, "R FATAL(08006)")];
    for answer in errors() {
        for tls in ASKS {
            for (make, told) in makes {
                each(
                    || make(Role::Writer, tls),
                    |rig| {
                        open(rig);
                        rig.raw(WRITER, &answer);
                        assert_eq!(unheard(rig), told, "{tls:?}");
                        assert_eq!(rig.take(WRITER), SSL_REQUEST);
                        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
                    },
                );
                each(
                    || make(Role::Reader, tls),
                    |rig| {
                        rig.logged_in();
                        rig.client("Q(select 1)");
                        rig.raw(READER, &answer);
                        rig.see(WRITER, "Q(select 1)");
                        rig.writer(ROW);
                        assert_eq!(unheard(rig), format!("N(01000) {ROW}"));
                        assert_eq!(rig.take(READER), SSL_REQUEST);
                    },
                );
            }
            let failing = || Config {
                reader_failure: ReaderFailure::FailClient,
                ..asking(Role::Reader, tls)
            };
            each(failing, |rig| {
                rig.logged_in();
                rig.client("Q(select 1)");
                rig.raw(READER, &answer);
                assert_eq!(unheard(rig), "FATAL(08006)");
                assert_eq!(rig.take(READER), SSL_REQUEST);
            });
        }
    }
}

/// A2 (CVE-2021-23222): a login and its first reply in clear, behind either answer.
#[test]
fn what_is_stuffed_behind_a_servers_answer_is_nobodys() {
    let row = raw(b'D', &[&b"\0\x01\0\0\0\x07"[..], PLANTED].concat());
    let stuffed = [
        &backend("R S(server_version,planted) K(4711,wkey) Z(I) T")[..],
        &row,
        &backend("C(SELECT 1) Z(I)"),
    ]
    .concat();
    for answer in [b"S", b"N"] {
        for tls in ASKS {
            for stuffed in [&stuffed[..], &stuffed[..1]] {
                let bytes = [&answer[..], stuffed].concat();
                let mut rig = Rig::new(asking(Role::Writer, tls), Chunk::Whole);
                open(&mut rig);
                rig.raw(WRITER, &bytes);
                assert_eq!(unheard(&mut rig), "FATAL(08006)", "{tls:?}");
                assert!(rig.handshakes.is_empty());
                assert_eq!(rig.take(WRITER), SSL_REQUEST);

                let mut rig = Rig::new(asking(Role::Reader, tls), Chunk::Whole);
                rig.logged_in();
                rig.client("Q(select 1)");
                rig.raw(READER, &bytes);
                rig.see(WRITER, "Q(select 1)");
                rig.writer(ROW);
                assert_eq!(unheard(&mut rig), format!("N(01000) {ROW}"));
                assert!(rig.handshakes.is_empty());
                assert_eq!(rig.take(READER), SSL_REQUEST);
            }
        }
    }
}

/// A2: nor what comes between the answer and the handshake.
#[test]
fn what_comes_before_a_servers_handshake_is_nobodys() {
    let config = asking(Role::Writer, UpstreamTlsPolicy::Require);
    let mut rig = Rig::new(config, Chunk::Whole);
    open(&mut rig);
    let _ = rig.session.handle_input(rig.now, WRITER, b"S");
    assert_eq!(rig.session.take_discard(WRITER, 1), 1);
    let demand = rig
        .session
        .handle_input(rig.now, WRITER, &backend("R Z(I)"));
    assert_eq!(demand, Demand::Again);
    rig.run();
    assert!(rig.handshakes.is_empty());
    assert_eq!(unheard(&mut rig), "FATAL(08006)");
    assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
}

/// A7: where a policy goes on in clear when TLS is refused, whoever has refused it gets no password, nor what serves as one.
#[test]
fn a_server_without_its_tls_gets_no_password() {
    let relaying = || Config {
        relayed_password: RelayedPassword::OverTls,
        ..asking(Role::Writer, UpstreamTlsPolicy::Prefer)
    };
    each(relaying, |rig| {
        open(rig);
        rig.raw(WRITER, b"N");
        rig.writer("Rclear");
        rig.see(CLIENT, "FATAL(08006)");
        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
    });
    for question in ["Rclear", "Rmd5"] {
        for (answer, asked) in [(b"N", false), (b"S", true)] {
            let knowing = || {
                let mut config = trusting(Role::Writer, UpstreamTlsPolicy::Prefer);
                let methods = Methods::NONE.allow_cleartext(Channel::Tls);
                config.upstreams[0].methods = Some(methods.allow_md5(Channel::Tls));
                config
                    .users
                    .insert(b"alice", Credential::password("pencil"));
                config
            };
            each(knowing, |rig| {
                open(rig);
                assert_eq!(rig.take(WRITER), SSL_REQUEST);
                rig.raw(WRITER, answer);
                rig.take_startup(WRITER);
                rig.writer(question);
                assert_eq!(!rig.take(WRITER).is_empty(), asked, "{question}");
                assert_eq!(rig.is_dead(), !asked, "{question}");
            });
        }
    }
}

/// B12: messages that are too short for what they are, have no end, or say nothing; and one that is announced and never comes.
#[test]
fn a_greeting_that_makes_no_sense_lets_nobody_in() {
    let behind = |bytes: Vec<u8>| [backend("R"), bytes].concat();
    let key = |secret: usize| raw(b'K', &[vec![0, 0, 0, 1], vec![7; secret]].concat());
    let twice = behind([key(4), key(4)].concat());
    for greeting in [
        raw(b'R', b"\0\0\0"),
        raw(b'R', b"\0\0\0\x63"),
        raw(b'R', b"\0\0\0\x05\x01\x02\x03"),
        raw(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0"),
        raw(b'E', b""),
        raw(b'E', b"\0"),
        raw(b'E', b"SFATAL"),
        raw(b'E', b"SFATAL\0VFATAL\0Mno code\0\0"),
        [&b"E\x40\0\0\0"[..], &[b'x'; 64]].concat(),
        b"R\0\0\0\0".to_vec(),
        b"R\0\0\0\x03".to_vec(),
        b"R\xff\xff\xff\xff".to_vec(),
        behind(key(0)),
        behind(key(3)),
        behind(key(257)),
        twice.clone(),
    ] {
        // A gate that says twice who it is has nothing of it: the client gets ours in its place.
        let is_harmless = greeting == twice;
        each(config, |rig| {
            open(rig);
            rig.raw(WRITER, &greeting);
            // What is complete has cost the server its connection; of the rest ReadyForQuery is a part.
            if rig.is_open(WRITER) {
                rig.raw(WRITER, &backend("Z(I)"));
            }
            assert_eq!(rig.session.client_key().is_some(), is_harmless);
        });
        each(config, |rig| {
            rig.logged_in();
            rig.client("Q(select 1)");
            rig.take_startup(READER);
            rig.raw(READER, &greeting);
            rig.see(WRITER, "Q(select 1)");
            rig.writer(ROW);
            rig.see(CLIENT, &format!("N(01000) {ROW}"));
        });
    }
}

/// B14: what comes between a server's yes and its being ready is no login, and nothing of it is the client's.
#[test]
fn a_login_that_fails_behind_its_success_is_none() {
    for state in ["57P03", "53300", "3D000"] {
        each(config, |rig| {
            rig.logged_in();
            rig.client("Q(select 1)");
            rig.take_startup(READER);
            rig.reader(&format!(
                "R S(server_version,planted) K(815,rkey) FATAL({state})"
            ));
            rig.see(WRITER, "Q(select 1)");
            rig.writer(ROW);
            assert_eq!(unheard(rig), format!("N(01000) {ROW}"), "{state}");
        });
    }
}

/// E6: before there is a session, and when nothing of the client's runs, a cancel has nothing to hit; a COPY it ends.
#[test]
fn a_cancel_hits_what_the_client_asked_for_or_nothing() {
    each(config, |rig| {
        assert!(rig.session.cancel_target().is_none(), "not opened");
        open(rig);
        rig.take_startup(WRITER);
        assert!(rig.session.cancel_target().is_none(), "not let in");
        rig.writer("R");
        assert!(rig.session.cancel_target().is_none(), "not ready");
        rig.writer(login(WRITER));
        assert!(rig.session.cancel_target().is_none(), "idle");
        for (copy, end) in [("G", "C(COPY 0) Z(I)"), ("H d(x)", "c C(COPY 1) Z(I)")] {
            rig.client("Q(copy t from stdin)");
            rig.writer(copy);
            let target = rig.session.cancel_target().expect("it copies");
            assert_eq!((target.peer, target.key.secret()), (WRITER, &b"wkey"[..]));
            if copy == "G" {
                rig.client("c");
            }
            rig.writer(end);
            assert!(!rig.session.is_current(&target));
            assert!(rig.session.cancel_target().is_none(), "idle again");
        }
        rig.client("X");
        assert!(rig.is_dead());
        assert!(rig.session.cancel_target().is_none(), "closed");
    });
}

/// E4: a key that says it is of an instance proves it, and one that proves it finds its own session, as long as there is one.
#[cfg(feature = "scram")]
#[test]
fn a_key_is_of_one_session_and_dies_with_it() {
    use pgturnout::auth::Secret;
    use pgturnout::cancel::{CancelMap, CancelRing, Owner};
    use pgturnout::startup::CancelKey;
    use std::sync::Arc;

    let ring = |instance, secret| CancelRing::new(instance, Secret::new(vec![secret; 32])).unwrap();
    let keyed = |ring: CancelRing| {
        let mut config = config();
        config.cancel_ring = Some(Arc::new(ring));
        let mut rig = Rig::new(config, Chunk::Whole);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_2));
        rig.writer("R S(server_version,18.1) K(4711,wkey) Z(I)");
        let key = rig.session.client_key().unwrap();
        CancelKey::new(key.process_id(), key.secret()).unwrap()
    };
    let (true_one, stranger) = (keyed(ring(9, 1)), keyed(ring(9, 2)));
    let copy = |process_id, secret: &[u8]| CancelKey::new(process_id, secret).unwrap();
    let mut map = CancelMap::default();
    let place = map
        .enter(copy(4711, true_one.secret()), None, "hers")
        .unwrap();
    let found = |map: &CancelMap<&'static str>, key: &CancelKey| {
        map.find(key, None).map(|found| *found.handle)
    };
    let judge = ring(9, 1);
    assert_eq!(judge.owner(&true_one), Owner::Instance(9));
    assert_eq!(found(&map, &true_one), Some("hers"));
    let mut forged = vec![stranger, copy(4712, true_one.secret())];
    for at in 0..true_one.secret().len() {
        let mut secret = true_one.secret().to_vec();
        secret[at] ^= 1;
        forged.push(copy(4711, &secret));
        if at >= 4 {
            forged.push(copy(4711, &secret[..at]));
        }
    }
    for key in forged {
        // Of the four bytes of a short key nothing is proven: that is why they are looked for.
        if key.secret().len() > 4 {
            assert_eq!(judge.owner(&key), Owner::Nobody);
        }
        assert_eq!(found(&map, &key), None);
    }
    map.leave(place);
    assert_eq!(found(&map, &true_one), None, "its session has left");
}
