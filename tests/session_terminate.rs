//! The client's login where it ends at us, and what a relayed one teaches: the further logins of the same session.

#[path = "support/login.rs"]
mod login_support;
mod session_support;

use std::cell::RefCell;
use std::sync::Arc;

use login_support::{PASSWORD, USER};
use pgturnout::auth::{
    AdmitPolicy, Channel, Credential, ExternalAnswer, Method, Methods, Users, md5_password,
};
use pgturnout::limits;
use pgturnout::session::{
    ClientAuth, CloseCause, Config, ConfigError, Demand, Event, Gate, PeerId, ReaderOpen, Relayed,
    Timer, TlsInfo, Transmit,
};
use pgturnout::startup::{ClientTls, ProtocolVersion, StartupParams, UpstreamTlsPolicy};
use pgturnout::wire::sqlstate;
use session_support::frames::{backend, raw, show_backend};
use session_support::{Chunk, Dial, Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

fn policy() -> AdmitPolicy {
    AdmitPolicy::new([9; 32])
}

fn listed(credential: Credential) -> Users {
    let mut users = Users::default();
    users.insert(USER.as_bytes(), credential);
    users
}

/// A configuration that lets this user in by this policy.
fn terminating(policy: AdmitPolicy, credential: Credential) -> Config {
    let mut config = config();
    config.authentication = ClientAuth::Terminate(policy);
    config.users = listed(credential);
    config
}

fn by_md5() -> Config {
    let policy = policy().allow_md5(Channel::Clear);
    let mut config = terminating(policy, Credential::password(PASSWORD));
    for upstream in &mut config.upstreams {
        upstream.methods = Some(Methods::NONE.allow_trust());
    }
    config
}

fn open(rig: &mut Rig) {
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
}

/// Answers an MD5 question with this password.
fn answer_md5(rig: &mut Rig, password: &str) {
    let question = rig.take(CLIENT);
    assert_eq!(question[..9], *b"R\0\0\0\x0c\0\0\0\x05");
    let salt = question[9..].try_into().unwrap();
    let answer = md5_password(USER.as_bytes(), password.as_bytes(), salt);
    rig.raw(CLIENT, &raw(b'p', &[&answer[..], b"\0"].concat()));
}

#[test]
fn the_client_is_let_in_by_us_and_then_by_the_writer() {
    each(by_md5, |rig| {
        open(rig);
        assert!(!rig.is_open(WRITER), "nobody is dialled for a stranger");
        answer_md5(rig, PASSWORD);
        rig.see(CLIENT, "R");
        assert!(rig.has_event(|event| matches!(
            event,
            Event::ClientProven {
                method: Method::Md5
            }
        )));
        rig.take_startup(WRITER);
        rig.writer("R");
        rig.see(CLIENT, "");
        assert!(rig.session.client_key().is_none());
        rig.writer(login(WRITER));
        let expected = show_backend(&session_support::frames::backend(login(WRITER)));
        rig.see(CLIENT, &expected);
        let key = rig.session.client_key().unwrap();
        assert_eq!(key.process_id(), 4711);
        assert_ne!(key.secret(), b"wkey");
        rig.client("Q(select 1)");
        rig.reader_in();
        rig.see(READER, "Q(select 1)");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        rig.client("Q(insert into t values(1))");
        rig.see(WRITER, "Q(insert into t values(1))");
    });
}

/// 25, 28P01: and no upstream hears of it.
#[test]
fn a_wrong_password_is_the_clients_fault() {
    each(by_md5, |rig| {
        open(rig);
        answer_md5(rig, "another");
        rig.see(CLIENT, "FATAL(28P01)");
        assert!(rig.is_dead());
        assert!(
            matches!(rig.cause(), CloseCause::ClientFault(Some(state)) if state.0 == *b"28P01")
        );
        assert!(
            rig.events
                .iter()
                .all(|event| !matches!(event, Event::ClientProven { .. }))
        );
        assert!(
            rig.closes.iter().all(|(peer, _)| *peer == CLIENT),
            "{:?}",
            rig.closes
        );
    });
}

/// B10.
#[test]
fn an_unknown_user_sees_what_a_known_one_sees() {
    let refusal = |user: &str| {
        let seen = RefCell::new(Vec::new());
        each(by_md5, |rig| {
            let pairs = [(&b"user"[..], user.as_bytes())];
            let packet = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
            rig.raw(CLIENT, packet.raw());
            let question = rig.take(CLIENT);
            rig.raw(CLIENT, &raw(b'p', b"md50123456789abcdef0123456789abcdef\0"));
            let answer = rig.take(CLIENT);
            *seen.borrow_mut() = [question, answer].concat();
            assert!(rig.is_dead());
        });
        seen.into_inner()
    };
    let text = |bytes: &[u8], user: &str| bytes.escape_ascii().to_string().replace(user, "NAME");
    assert_eq!(text(&refusal(USER), USER), text(&refusal("alicf"), "alicf"));
}

#[test]
fn an_upstream_that_refuses_us_is_told_honestly() {
    // Why is the server's word, but for who we are: that is not the client's doing.
    for (state, told) in [
        ("3D000", "3D000"),
        ("53300", "53300"),
        ("57P03", "57P03"),
        ("28P01", "08006"),
        ("28000", "08006"),
    ] {
        each(by_md5, |rig| {
            open(rig);
            answer_md5(rig, PASSWORD);
            rig.writer(&format!("FATAL({state})"));
            rig.see(CLIENT, &format!("R FATAL({told})"));
            assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
        });
    }
    each(by_md5, |rig| {
        rig.dials(WRITER, Dial::Refuse);
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.see(CLIENT, "R FATAL(08006)");
        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
    });
}

/// Whom a server knows us as, and where it is, is for the log alone.
#[test]
fn who_we_are_to_a_server_is_for_the_log_alone() {
    let rejected = |state: &str| {
        let words = "no entry for host \"10.0.0.7\", user \"gateway\"";
        raw(
            b'E',
            format!("SFATAL\0VFATAL\0C{state}\0M{words}\0\0").as_bytes(),
        )
    };
    let check = |rig: &mut Rig, log: &str, client: &str| {
        let told = rig.take(CLIENT).escape_ascii().to_string();
        let logged =
            |event: &Event| matches!(event, Event::UpstreamFailed { why, .. } if why.contains(log));
        assert!(rig.has_event(logged), "{log}");
        assert!(!told.contains(log) && told.contains(client), "{told}");
        assert!(
            !told.contains("gateway") && !told.contains("10.0.0.7"),
            "{told}"
        );
    };
    for state in ["28P01", "28000"] {
        each(by_md5, |rig| {
            open(rig);
            answer_md5(rig, PASSWORD);
            rig.raw(WRITER, &rejected(state));
            check(rig, "gateway", "does not accept the proxy\\\'s login");
        });
        // In the warning of a reader that cannot be had, too.
        each(by_md5, |rig| {
            open(rig);
            answer_md5(rig, PASSWORD);
            rig.take_startup(WRITER);
            rig.writer("R");
            rig.writer(login(WRITER));
            rig.take(CLIENT);
            rig.client("Q(select 1)");
            rig.take_startup(READER);
            rig.raw(READER, &rejected(state));
            rig.see(WRITER, "Q(select 1)");
            rig.writer(ROW);
            check(rig, "gateway", "does not accept the proxy\\\'s login");
        });
    }
    // The driver's words name hosts and certificates.
    each(by_md5, |rig| {
        rig.dials(WRITER, Dial::Refuse);
        open(rig);
        answer_md5(rig, PASSWORD);
        check(
            rig,
            "connection refused",
            "the server cannot be connected to",
        );
    });
    let over_tls = || {
        let mut config = by_md5();
        for upstream in &mut config.upstreams {
            upstream.tls = UpstreamTlsPolicy::Require;
        }
        config
    };
    each(over_tls, |rig| {
        rig.tls_fails(WRITER);
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.take(WRITER);
        rig.raw(WRITER, b"S");
        check(rig, "TLS failed: no", "TLS failed\\x00");
    });
    // What is about the client's session is the client's to know.
    each(by_md5, |rig| {
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.writer("FATAL(3D000)");
        let told = rig.take(CLIENT).escape_ascii().to_string();
        assert!(told.contains("said by the server"), "{told}");
    });
}

/// What a login trigger or an ALTER ROLE with a wrong value has to say.
#[test]
fn the_client_gets_the_notices_of_our_login_at_the_writer() {
    each(by_md5, |rig| {
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.writer("R N(01000)");
        let long = format!("SNOTICE\0VNOTICE\0C00000\0Mx{}\0\0", "é".repeat(100));
        rig.raw(WRITER, &raw(b'N', long.as_bytes()));
        rig.see(CLIENT, "R");
        rig.writer(login(WRITER));
        let told = rig.take(CLIENT);
        let shown = show_backend(&told);
        assert!(shown.starts_with("N(01000) N(00000) S("), "{shown}");
        let has = |text: &str| told.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(has("said by the server\0"));
        // Its beginning, in whole characters.
        assert!(has(&format!("Mx{}\0", "é".repeat(65))));
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("R N(01000)");
        rig.reader(login(READER));
        rig.see(READER, "Q(select 1)");
        rig.see(CLIENT, "");
    });
}

#[test]
fn the_reader_may_be_the_gate() {
    let make = || Config {
        gate: Gate::Reader,
        ..by_md5()
    };
    each(make, |rig| {
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.reader_in();
        rig.see(CLIENT, "R");
        rig.take_startup(WRITER);
        rig.writer("R");
        rig.writer(login(WRITER));
        assert!(rig.shown(CLIENT).ends_with(" K(4711,4 bytes) Z(I)"));
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
    // One that is no standby serves no reads, and is no reason to refuse the client.
    each(make, |rig| {
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.reader(&format!(
            "R {}",
            login(READER).replace("in_hot_standby,on", "in_hot_standby,off")
        ));
        rig.take_startup(WRITER);
        rig.writer("R");
        rig.writer(login(WRITER));
        let seen = rig.shown(CLIENT);
        assert!(seen.ends_with("Z(I) N(01000)"), "{seen}");
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
    });
}

#[test]
fn a_reader_can_be_dialled_at_login() {
    let make = || Config {
        reader_open: ReaderOpen::AtLogin,
        ..by_md5()
    };
    each(make, |rig| {
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.writer("R");
        assert!(!rig.is_open(READER));
        rig.writer(login(WRITER));
        rig.reader_in();
        rig.take(CLIENT);
    });
}

/// B9.
#[test]
fn messages_out_of_place() {
    for (message, told) in [
        (raw(b'Q', b"select 1\0"), "FATAL(08P01)"),
        (raw(b'p', b"no end"), "FATAL(08P01)"),
        (raw(b'p', b""), "FATAL(08P01)"),
        (raw(b'p', b"\0"), "FATAL(28P01)"),
        (raw(0, b""), "FATAL(08P01)"),
    ] {
        each(by_md5, |rig| {
            open(rig);
            rig.take(CLIENT);
            rig.raw(CLIENT, &message);
            rig.see(CLIENT, told);
            assert!(rig.is_dead());
            assert!(matches!(rig.cause(), CloseCause::ClientFault(Some(_))));
        });
    }
    each(by_md5, |rig| {
        open(rig);
        rig.take(CLIENT);
        rig.raw(CLIENT, &raw(b'X', b""));
        rig.see(CLIENT, "");
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
    });
    // Lengths that no answer has. PostgreSQL says so to its log alone.
    let broken = CloseCause::ClientFault(Some(sqlstate::PROTOCOL_VIOLATION));
    for length in [b"p\0\x01\0\x04", b"p\x7f\xff\xff\xff", b"p\0\0\0\x03"] {
        each(by_md5, |rig| {
            open(rig);
            rig.take(CLIENT);
            rig.raw(CLIENT, length);
            rig.see(CLIENT, "FATAL(08P01)");
            assert_eq!(rig.cause(), broken);
        });
        each(config, |rig| {
            open(rig);
            rig.writer("Rclear");
            rig.take(CLIENT);
            rig.raw(CLIENT, length);
            rig.see(CLIENT, "FATAL(08P01)");
            assert_eq!(rig.cause(), broken);
        });
    }
}

/// A long message is read, and one that no buffer holds is not waited for.
#[test]
fn a_message_fits_the_read_buffer_or_ends_the_session() {
    let token = limits::PROOF_MESSAGE;
    for (buffer, body, alive) in [
        (16_384, 16_379, true),
        (16_384, 16_380, false),
        (100_000, token, true),
        (100_000, token + 1, false),
    ] {
        let make = || {
            let mut config = by_md5();
            config.limits.read_buffer = buffer;
            config
        };
        each(make, |rig| {
            open(rig);
            rig.take(CLIENT);
            let long = [vec![b'x'; body - 1], vec![0]].concat();
            rig.raw(CLIENT, &raw(b'p', &long));
            let told = if alive { "28P01" } else { "08P01" };
            rig.see(CLIENT, &format!("FATAL({told})"));
            assert!(rig.is_dead());
        });
    }
}

/// What comes behind the login waits for its end, whoever checks the client, and whatever its length.
#[test]
fn a_long_request_before_the_end_of_the_login_is_held() {
    let trusting = || {
        let mut config = by_md5();
        config.authentication = ClientAuth::Terminate(policy().allow_trust(Channel::Clear));
        config
    };
    let long = raw(
        b'Q',
        &[vec![b'x'; limits::LOGIN_MESSAGE + 1], vec![0]].concat(),
    );
    let makes: [fn() -> Config; 2] = [trusting, config];
    for make in makes {
        each(make, |rig| {
            open(rig);
            rig.raw(CLIENT, &long);
            rig.take_startup(WRITER);
            rig.writer("R");
            assert!(!rig.is_dead());
            rig.writer(login(WRITER));
            assert!(rig.shown(CLIENT).ends_with("Z(I)"));
            assert_eq!(rig.take(WRITER), long);
        });
    }
    // An answer has a limit.
    each(config, |rig| {
        open(rig);
        rig.writer("Rclear");
        rig.raw(CLIENT, &long);
        let broken = Some(sqlstate::PROTOCOL_VIOLATION);
        assert_eq!(rig.cause(), CloseCause::ClientFault(broken));
    });
}

/// Nobody could log in, or everybody could who asks for TLS.
#[test]
fn policies_that_contradict_the_rest_are_refused() {
    const ALL: [ClientTls; 3] = [ClientTls::Disable, ClientTls::Allow, ClientTls::Require];
    type Make = fn() -> AdmitPolicy;
    let over_tls: [Make; 6] = [
        || policy().allow_cleartext(),
        || policy().allow_certificates(),
        || policy().allow_md5(Channel::Tls),
        || policy().allow_trust(Channel::VerifiedTls),
        #[cfg(feature = "scram")]
        || policy().require_binding(),
        #[cfg(not(feature = "scram"))]
        || policy().allow_trust(Channel::Tls),
        || policy().allow_cleartext().allow_certificates(),
    ];
    let in_clear: [Make; 4] = [
        || policy().allow_md5(Channel::Clear),
        || policy().allow_trust(Channel::Clear).allow_cleartext(),
        #[cfg(feature = "scram")]
        || policy().allow_scram(),
        #[cfg(not(feature = "scram"))]
        || policy().allow_trust(Channel::Clear),
        || policy().allow_cleartext().allow_md5(Channel::Clear),
    ];
    let checked = |make: Make, tls| {
        let mut config = terminating(make(), Credential::password(PASSWORD));
        config.client_tls = tls;
        config.check()
    };
    for make in over_tls.into_iter().chain(in_clear).chain([policy as Make]) {
        let wanted = Err(ConfigError::TerminateUnread);
        assert_eq!(checked(make, ClientTls::Passthrough), wanted);
    }
    for tls in ALL {
        assert_eq!(checked(policy, tls), Err(ConfigError::NoMethod));
        for make in in_clear {
            assert_eq!(checked(make, tls), Ok(()));
        }
        for make in over_tls {
            let wanted = match tls {
                ClientTls::Disable => Err(ConfigError::MethodsNeedTls),
                _ => Ok(()),
            };
            assert_eq!(checked(make, tls), wanted);
        }
    }
}

#[test]
fn what_is_not_allowed_is_refused_before_it_is_asked() {
    let weak = || Config {
        client_tls: ClientTls::Allow,
        ..terminating(
            policy().allow_md5(Channel::Tls),
            Credential::password(PASSWORD),
        )
    };
    each(weak, |rig| {
        open(rig);
        rig.see(CLIENT, "FATAL(28000)");
        assert!(rig.is_dead());
    });
}

/// R16: the writer is logged in to with the client's own packet, and then all passes.
#[test]
fn a_replication_session_passes_whole_once_its_client_is_let_in() {
    for value in [&b"true"[..], b"database", b"maybe"] {
        let pairs = [
            (&b"user"[..], USER.as_bytes()),
            (b"database", b"app"),
            (b"replication", value),
        ];
        let packet = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
        for gate in [Gate::Writer, Gate::Reader] {
            let make = || {
                let mut config = by_md5();
                config.gate = gate;
                config
            };
            each(make, |rig| {
                rig.raw(CLIENT, packet.raw());
                assert!(!rig.is_open(WRITER), "nobody is dialled for a stranger");
                answer_md5(rig, PASSWORD);
                rig.see(CLIENT, "R");
                assert_eq!(rig.take(WRITER), packet.raw());
                rig.writer("R");
                rig.writer(login(WRITER));
                rig.take(CLIENT);
                let what = Relayed::Replication;
                let whole = |event: &Event| matches!(event, Event::RelayedWhole { what: it, .. } if *it == what);
                assert!(rig.has_event(whole));
                assert_ne!(rig.session.client_key().unwrap().secret(), b"wkey");
                rig.client("Q(IDENTIFY_SYSTEM)");
                rig.see(WRITER, "Q(IDENTIFY_SYSTEM)");
                rig.writer("W d(w)");
                rig.see(CLIENT, "W d(w)");
                rig.client("d(r)");
                rig.writer("d(w)");
                rig.see(WRITER, "d(r)");
                rig.see(CLIENT, "d(w)");
                assert!(!rig.is_open(READER));
            });
            each(make, |rig| {
                rig.raw(CLIENT, packet.raw());
                answer_md5(rig, "wrong");
                rig.see(CLIENT, "FATAL(28P01)");
                assert!(!rig.is_open(WRITER));
            });
        }
    }
}

/// A03: one NegotiateProtocolVersion, before the question.
#[test]
fn versions_and_options_are_negotiated_by_us() {
    let newer = ProtocolVersion {
        major: 3,
        minor: 9_999,
    };
    for (version, option, told, key) in [
        (ProtocolVersion::V3_0, None, &b""[..], "4 bytes"),
        (ProtocolVersion::V3_2, None, b"", "32 bytes"),
        (newer, None, b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0", "32 bytes"),
        (
            ProtocolVersion::V3_0,
            Some(&b"_pq_.x"[..]),
            b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0",
            "4 bytes",
        ),
    ] {
        each(by_md5, |rig| {
            let user = [(&b"user"[..], USER.as_bytes())];
            let pairs = user.into_iter().chain(option.map(|name| (name, &b"1"[..])));
            let packet = StartupParams::build(version, pairs).unwrap();
            rig.raw(CLIENT, packet.raw());
            let said = rig.take(CLIENT);
            let (negotiation, question) = said.split_at(said.len() - 13);
            assert_eq!(negotiation, told);
            let answer = md5_password(
                USER.as_bytes(),
                PASSWORD.as_bytes(),
                question[9..].try_into().unwrap(),
            );
            rig.raw(CLIENT, &raw(b'p', &[&answer[..], b"\0"].concat()));
            rig.writer("R");
            rig.writer(login(WRITER));
            let seen = rig.shown(CLIENT);
            assert!(seen.ends_with(&format!("K(4711,{key}) Z(I)")), "{seen}");
        });
    }
}

#[test]
fn a_client_that_leaves_or_waits_costs_nothing_more() {
    each(by_md5, |rig| {
        open(rig);
        rig.eof(CLIENT);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
    });
    each(by_md5, |rig| {
        open(rig);
        rig.take(CLIENT);
        rig.expire(Timer::Login);
        rig.see(CLIENT, "FATAL(57014)");
        assert_eq!(rig.cause(), CloseCause::Timeout(Timer::Login));
    });
    // It was let in, and leaves while the writer thinks.
    each(by_md5, |rig| {
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.eof(CLIENT);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
    });
}

/// L11: what was learnt of the client goes with the session.
#[test]
fn nothing_is_kept_after_the_session() {
    let kept = RefCell::new(Vec::new());
    let make = || {
        let config = by_md5();
        kept.borrow_mut().push(config.users.get(USER.as_bytes()));
        config
    };
    each(make, |rig| {
        open(rig);
        answer_md5(rig, PASSWORD);
        rig.writer("R");
        rig.writer(login(WRITER));
        rig.take(CLIENT);
        let credential = Arc::clone(kept.borrow().last().unwrap());
        assert!(Arc::strong_count(&credential) > 3, "the session has it");
        rig.client("X");
        assert!(rig.is_dead());
        // This one, the one that is kept here, and the list.
        assert_eq!(Arc::strong_count(&credential), 3);
    });
}

#[test]
fn a_certificate_lets_its_user_in() {
    let make = || {
        let mut config = by_md5();
        config.client_tls = ClientTls::Require;
        let policy = policy().allow_certificates().allow_md5(Channel::Tls);
        config.authentication = ClientAuth::Terminate(policy);
        config
    };
    for (name, told) in [(USER, "R"), ("bob", "Rmd5")] {
        each(make, |rig| {
            let mut info = TlsInfo::default();
            info.identity = Some(name.as_bytes().into());
            rig.tls(CLIENT, info);
            rig.raw(CLIENT, &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
            assert_eq!(rig.take(CLIENT), b"S");
            open(rig);
            rig.see(CLIENT, told);
            assert_eq!(rig.is_open(WRITER), name == USER);
        });
    }
}

/// A method that is not spoken here is the caller's to answer.
#[test]
fn the_caller_answers_for_an_upstream() {
    let make = || {
        let mut config = by_md5();
        config.authentication = ClientAuth::Terminate(policy().allow_trust(Channel::Clear));
        config.users = listed(Credential::External);
        for upstream in &mut config.upstreams {
            upstream.methods = Some(Methods::NONE.allow_external(Channel::Clear));
        }
        config
    };
    each(make, |rig| {
        open(rig);
        rig.writer("Rclear");
        assert_eq!(rig.questions, [(WRITER, b"\0\0\0\x03".to_vec())]);
        rig.see(CLIENT, "R");
        rig.take_startup(WRITER);
        let answer = Ok(ExternalAnswer::Last(b"a token\0"));
        rig.authenticate(WRITER, answer);
        assert_eq!(rig.take(WRITER), raw(b'p', b"a token\0"));
        rig.writer("R");
        rig.writer(login(WRITER));
        assert!(rig.shown(CLIENT).ends_with("Z(I)"));
        // Too late for anything.
        let answer = Err("late".to_owned());
        rig.authenticate(WRITER, answer);
        rig.client("Q(insert into t values(1))");
        rig.see(WRITER, "Q(insert into t values(1))");
    });
    each(make, |rig| {
        open(rig);
        rig.writer("Rclear");
        let answer = Err("no ticket".to_owned());
        rig.authenticate(WRITER, answer);
        rig.see(CLIENT, "R FATAL(08006)");
        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
    });
}

/// The client is told, as of any other upstream that cannot be had.
#[test]
fn an_answer_that_no_queue_holds_ends_the_login() {
    let make = || {
        let mut config = by_md5();
        config.authentication = ClientAuth::Terminate(policy().allow_trust(Channel::Clear));
        config.users = listed(Credential::External);
        config.limits.ledger.owned_bytes_per_queue = limits::LEDGER_OWNED_PER_QUEUE + 2;
        for upstream in &mut config.upstreams {
            upstream.methods = Some(Methods::NONE.allow_external(Channel::Clear));
        }
        config
    };
    for (len, fits) in [(65_533, true), (65_534, false)] {
        each(make, |rig| {
            open(rig);
            rig.take_startup(WRITER);
            rig.writer("Rclear");
            let answer = vec![b'x'; len];
            rig.authenticate(WRITER, Ok(ExternalAnswer::Last(&answer)));
            let told = if fits { "R" } else { "R FATAL(08006)" };
            rig.see(CLIENT, told);
            assert_eq!(rig.take(WRITER).is_empty(), !fits);
            assert_eq!(rig.is_dead(), !fits);
        });
    }
}

/// L11: what an upstream was answered is not kept.
#[test]
fn a_password_that_was_sent_is_not_kept() {
    let make = || {
        let mut config = by_md5();
        for upstream in &mut config.upstreams {
            upstream.tls = UpstreamTlsPolicy::Require;
            upstream.methods = Some(Methods::NONE.allow_cleartext(Channel::Tls));
        }
        config
    };
    let mut rig = Rig::new(make(), Chunk::Whole);
    open(&mut rig);
    answer_md5(&mut rig, PASSWORD);
    rig.raw(WRITER, b"S");
    rig.take(WRITER);
    let question = backend("Rclear");
    let demand = rig.session.handle_input(rig.now, WRITER, &question);
    assert_eq!(demand, Demand::Again);
    let shown = format!("{:?}", rig.session);
    assert!(!shown.contains(PASSWORD), "{shown}");
    let answer = raw(b'p', &[PASSWORD.as_bytes(), b"\0"].concat());
    let sent = rig.session.poll_transmit(WRITER);
    assert_eq!(sent, Some(Transmit::Owned(&answer)));
}

/// A login that began anew asks anew: what answers the question before would be wrong, or a replay.
#[test]
fn an_answer_belongs_to_its_question() {
    let make = || {
        let mut config = by_md5();
        config.authentication = ClientAuth::Terminate(policy().allow_trust(Channel::Clear));
        config.users = listed(Credential::External);
        for upstream in &mut config.upstreams {
            let methods = Methods::NONE.allow_trust();
            upstream.methods = Some(methods.allow_external(Channel::Clear));
        }
        config
    };
    each(make, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("Rclear");
        let first = rig.question;
        rig.eof(READER);
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.pass(std::time::Duration::from_secs(60));
        rig.client("Q(select 2)");
        rig.take_startup(READER);
        rig.reader("Rclear");
        assert_ne!(rig.question, first);
        for late in [
            Ok(ExternalAnswer::Last(b"an old token\0")),
            Err("none".to_owned()),
        ] {
            rig.session
                .handle_authentication(rig.now, READER, first, late);
            rig.run();
            rig.see(READER, "");
        }
        rig.authenticate(READER, Ok(ExternalAnswer::Last(b"a token\0")));
        assert_eq!(rig.take(READER), raw(b'p', b"a token\0"));
        rig.reader("R");
        rig.reader(login(READER));
        rig.see(WRITER, "Q(select 2)");
    });
}

#[cfg(feature = "scram")]
mod verifiers {
    use bytes::BytesMut;
    use login_support::scram::{Account, account};
    use login_support::{NONCE, params};
    use pgturnout::auth::{
        Admission, AdmitNonces, Admitting, ClientConnection, Handshake, Replay, ScramNonce,
        TlsEndPoint,
    };
    use pgturnout::wire::{Backend, Header};

    use super::*;

    fn verifier(account: &Account) -> Credential {
        Credential::from_secret(account.stored().as_bytes()).unwrap()
    }

    fn scram_only() -> Config {
        terminating(policy().allow_scram(), verifier(&account()))
    }

    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some(header) = Header::parse(bytes).unwrap() {
            let (body, rest) = header.split(bytes).expect("whole frames");
            frames.push((header.tag, body.to_vec()));
            bytes = rest;
        }
        frames
    }

    /// A client with a password, which says `y` or binds if it has seen a certificate.
    struct Client(Replay);

    impl Client {
        fn new(password: &str, end_point: Option<TlsEndPoint>) -> Client {
            let mut client = Replay::new(
                &params(ProtocolVersion::V3_0),
                Credential::password(password),
                Methods::NONE.allow_scram(),
                Channel::Tls,
                ScramNonce::from_bytes(NONCE),
            )
            .bound_to(end_point);
            client.start(&mut BytesMut::new()).unwrap();
            Client(client)
        }

        /// Answers what has come, if it is a question. Whether it was.
        fn turn(&mut self, rig: &mut Rig) -> bool {
            let mut said = BytesMut::new();
            for (tag, body) in frames(&rig.take(CLIENT)) {
                let message = Backend::parse(tag, &body).unwrap();
                let mut result = self.0.handle(message, &mut said).unwrap();
                while let Handshake::Working = result {
                    result = self.0.work(&mut said).unwrap();
                }
            }
            rig.raw(CLIENT, &said);
            !said.is_empty()
        }
    }

    /// A server that stores this.
    struct Server {
        admission: Admission,
        peer: PeerId,
        method: Option<Method>,
    }

    impl Server {
        /// It has got the startup packet, and asks.
        fn asks(
            rig: &mut Rig,
            peer: PeerId,
            stored: Credential,
            connection: ClientConnection,
        ) -> Server {
            rig.take_startup(peer);
            let policy = policy().allow_scram();
            let nonces = AdmitNonces {
                scram: ScramNonce::from_bytes([3; 18]),
                md5: [0; 4],
            };
            let users = listed(stored);
            let mut admission =
                Admission::new(USER.as_bytes(), &users, &policy, connection, nonces);
            let mut said = BytesMut::new();
            assert!(matches!(admission.start(&mut said), Admitting::Wait));
            rig.raw(peer, &said);
            Server {
                admission,
                peer,
                method: None,
            }
        }

        /// Takes what has come. Whether it was anything.
        fn turn(&mut self, rig: &mut Rig) -> bool {
            let frames = frames(&rig.take(self.peer));
            let heard = !frames.is_empty();
            for (tag, body) in frames {
                let mut said = BytesMut::new();
                let mut result = self.admission.handle(tag, &body, &mut said);
                while let Admitting::Working = result {
                    result = self.admission.work(&mut said);
                }
                match result {
                    Admitting::Accepted(accepted) => self.method = Some(accepted.method),
                    Admitting::Refused(why) => panic!("{} refused: {why}", self.peer),
                    Admitting::Wait | Admitting::Working => {}
                }
                rig.raw(self.peer, &said);
            }
            heard
        }

        /// Lets us in, by SCRAM.
        fn admits(mut self, rig: &mut Rig) -> Method {
            while self.turn(rig) {}
            self.method.expect("a proof")
        }
    }

    fn unbound() -> ClientConnection {
        ClientConnection::default()
    }

    /// A read and a write reach their servers.
    fn serves(rig: &mut Rig) {
        rig.client("Q(select 2)");
        rig.see(READER, "Q(select 2)");
        rig.reader(ROW);
        rig.client("Q(insert into t values(1))");
        rig.see(WRITER, "Q(insert into t values(1))");
    }

    /// No password anywhere but in the client.
    #[test]
    fn a_verifier_lets_us_in_everywhere_when_the_client_proves_itself_to_us() {
        each(scram_only, |rig| {
            open(rig);
            let mut client = Client::new(PASSWORD, None);
            while client.turn(rig) {}
            assert!(rig.has_event(|event| matches!(
                event,
                Event::ClientProven {
                    method: Method::ScramSha256
                }
            )));
            let writer = Server::asks(rig, WRITER, verifier(&account()), unbound());
            assert_eq!(writer.admits(rig), Method::ScramSha256);
            rig.writer(login(WRITER));
            rig.take(CLIENT);
            rig.client("Q(select 1)");
            let reader = Server::asks(rig, READER, verifier(&account()), unbound());
            assert_eq!(reader.admits(rig), Method::ScramSha256);
            rig.reader(login(READER));
            rig.see(READER, "Q(select 1)");
            rig.reader(ROW);
            serves(rig);
        });
    }

    fn relaying(stored: &Account) -> Config {
        let mut config = config();
        config.users = listed(verifier(stored));
        config
    }

    /// Relays the login of a client to a writer that stores this.
    fn relayed(rig: &mut Rig, stored: &Account) {
        open(rig);
        let mut client = Client::new(PASSWORD, None);
        let mut writer = Server::asks(rig, WRITER, verifier(stored), unbound());
        while client.turn(rig) | writer.turn(rig) {}
        assert_eq!(writer.method, Some(Method::ScramSha256));
        rig.writer(login(WRITER));
        rig.take(CLIENT);
        assert!(rig.session.client_key().is_some());
        rig.client("Q(select 1)");
    }

    #[test]
    fn a_verifier_lets_us_in_everywhere_when_the_client_proves_itself_through_us() {
        each(
            || relaying(&account()),
            |rig| {
                relayed(rig, &account());
                let reader = Server::asks(rig, READER, verifier(&account()), unbound());
                assert_eq!(reader.admits(rig), Method::ScramSha256);
                rig.reader(login(READER));
                rig.see(READER, "Q(select 1)");
                rig.reader(ROW);
                serves(rig);
            },
        );
    }

    /// L11: keys that the client's proof has shown go with the session, however it ends, and so does what could hold them: a
    /// login that still runs, an observer of one.
    #[test]
    fn recovered_keys_are_not_kept_after_the_session() {
        let holders = [
            "ScramKeys(..)",
            "Credential::",
            "Replay {",
            "Observer",
            "Admission",
        ];
        let ends_without_them = |rig: &mut Rig, end: fn(&mut Rig)| {
            end(rig);
            rig.pass(std::time::Duration::from_secs(60));
            if !rig.is_dead() {
                // It waits for what the writer owes its client.
                rig.eof(WRITER);
            }
            assert!(rig.is_dead());
            let shown = format!("{:?}", rig.session);
            assert_eq!(holders.map(|holder| shown.contains(holder)), [false; 5]);
        };
        let ends: [fn(&mut Rig); 4] = [
            |rig| rig.client("X"),
            |rig| rig.eof(CLIENT),
            |rig| rig.eof(WRITER),
            |rig| rig.reset(CLIENT),
        ];
        for end in ends {
            // Of a proof to us, and with a login to the reader under way that has them too.
            each(scram_only, |rig| {
                open(rig);
                let mut client = Client::new(PASSWORD, None);
                while client.turn(rig) {}
                let writer = Server::asks(rig, WRITER, verifier(&account()), unbound());
                assert_eq!(writer.admits(rig), Method::ScramSha256);
                rig.writer(login(WRITER));
                rig.take(CLIENT);
                assert!(format!("{:?}", rig.session).contains("Credential::ScramKeys(..)"));
                rig.client("Q(select 1)");
                rig.take_startup(READER);
                assert!(format!("{:?}", rig.session).contains("Replay {"));
                ends_without_them(rig, end);
            });
            // Of a proof to the gate, through us.
            each(
                || relaying(&account()),
                |rig| {
                    relayed(rig, &account());
                    assert!(format!("{:?}", rig.session).contains("Credential::ScramKeys(..)"));
                    ends_without_them(rig, end);
                },
            );
            // Of a proof that the gate has not judged.
            each(
                || relaying(&account()),
                |rig| {
                    open(rig);
                    let mut client = Client::new(PASSWORD, None);
                    let writer = Server::asks(rig, WRITER, verifier(&account()), unbound());
                    client.turn(rig);
                    assert!(format!("{:?}", rig.session).contains("Observer"));
                    drop(writer);
                    ends_without_them(rig, end);
                },
            );
        }
    }

    /// A05: the listed verifier is not the server's. It is named, and the writer serves alone.
    #[test]
    fn a_verifier_of_another_salt_is_named_and_the_session_goes_on() {
        let other = || Account::new(PASSWORD, 2);
        each(
            || relaying(&other()),
            |rig| {
                relayed(rig, &account());
                assert!(rig.has_event(|event| matches!(event,
                Event::KeysNotLearnt { why } if why.contains("another salt or iteration count"))));
                let stranger = Server::asks(rig, READER, verifier(&account()), unbound());
                drop(stranger);
                assert!(rig.has_event(|event| matches!(event,
                Event::UpstreamFailed { peer: READER, why, .. } if why.contains("verifier"))));
                rig.see(WRITER, "Q(select 1)");
                rig.writer(ROW);
                rig.see(CLIENT, &format!("N(01000) {ROW}"));
            },
        );
    }

    /// B11: what a server has refused once it is not shown again, nor is it shown to others.
    #[test]
    fn keys_that_a_server_refuses_are_forgotten() {
        each(
            || relaying(&account()),
            |rig| {
                relayed(rig, &account());
                let mut reader = Server::asks(rig, READER, verifier(&account()), unbound());
                assert!(reader.turn(rig));
                assert!(!rig.take(READER).is_empty(), "the proof");
                rig.reader("FATAL(28P01)");
                rig.see(WRITER, "Q(select 1)");
                rig.writer(ROW);
                rig.pass(std::time::Duration::from_secs(60));
                rig.client("Q(select 2)");
                drop(Server::asks(rig, READER, verifier(&account()), unbound()));
                assert_eq!(rig.take(READER), b"");
                rig.see(WRITER, "Q(select 2)");
            },
        );
    }

    /// A server that lets nobody in says nothing of the proof, which serves when it does.
    #[test]
    fn keys_outlive_a_server_that_asks_for_something_else() {
        each(
            || relaying(&account()),
            |rig| {
                relayed(rig, &account());
                let mut reader = Server::asks(rig, READER, verifier(&account()), unbound());
                assert!(reader.turn(rig));
                assert!(!rig.take(READER).is_empty(), "the proof");
                rig.reader("FATAL(28000)");
                rig.see(WRITER, "Q(select 1)");
                rig.writer(ROW);
                rig.pass(std::time::Duration::from_secs(60));
                rig.client("Q(select 2)");
                let mut reader = Server::asks(rig, READER, verifier(&account()), unbound());
                assert!(reader.turn(rig));
                assert!(!rig.take(READER).is_empty(), "the proof again");
            },
        );
    }

    /// A05: the reader stores another verifier than the writer.
    #[test]
    fn an_upstream_with_another_salt_is_named() {
        each(
            || relaying(&account()),
            |rig| {
                relayed(rig, &account());
                let mut reader =
                    Server::asks(rig, READER, verifier(&Account::new(PASSWORD, 2)), unbound());
                while reader.turn(rig) {}
                assert_eq!(reader.method, None);
                assert!(rig.has_event(|event| matches!(event,
                Event::UpstreamFailed { peer: READER, why, .. } if why.contains("another salt or iteration count"))));
                rig.see(WRITER, "Q(select 1)");
            },
        );
    }

    fn seen_by_both() -> Option<TlsEndPoint> {
        TlsEndPoint::new(&[5; 32])
    }

    fn encrypted(rig: &mut Rig, end_point: Option<TlsEndPoint>) {
        let mut info = TlsInfo::default();
        info.end_point = end_point;
        rig.tls(CLIENT, info);
        rig.raw(CLIENT, &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
        assert_eq!(rig.take(CLIENT), b"S");
        open(rig);
    }

    #[test]
    fn the_clients_proof_is_bound_to_our_certificate() {
        let make = || Config {
            client_tls: ClientTls::Allow,
            ..scram_only()
        };
        for (ours, theirs, method) in [
            (
                seen_by_both(),
                seen_by_both(),
                Some(Method::ScramSha256Plus),
            ),
            (seen_by_both(), None, Some(Method::ScramSha256)),
            (None, seen_by_both(), Some(Method::ScramSha256)),
        ] {
            each(make, |rig| {
                encrypted(rig, ours.clone());
                let mut client = Client::new(PASSWORD, theirs.clone());
                while client.turn(rig) {}
                assert!(rig.has_event(|event| matches!(event,
                    Event::ClientProven { method: found } if Some(*found) == method)));
            });
        }
        // Somebody else's certificate.
        each(make, |rig| {
            encrypted(rig, seen_by_both());
            let mut client = Client::new(PASSWORD, TlsEndPoint::new(&[6; 32]));
            assert!(client.turn(rig) && client.turn(rig));
            rig.see(CLIENT, "FATAL(28000)");
            assert!(rig.is_dead());
        });
    }

    #[test]
    fn our_login_is_bound_to_the_upstreams_certificate() {
        let make = || {
            let mut config = scram_only();
            for upstream in &mut config.upstreams {
                upstream.tls = UpstreamTlsPolicy::Require;
            }
            config
        };
        each(make, |rig| {
            let mut info = TlsInfo::default();
            info.end_point = seen_by_both();
            rig.tls(WRITER, info);
            open(rig);
            let mut client = Client::new(PASSWORD, None);
            while client.turn(rig) {}
            assert_eq!(rig.take(WRITER), [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
            rig.raw(WRITER, b"S");
            let connection = ClientConnection {
                channel: Channel::Tls,
                end_point: seen_by_both(),
                identity: None,
            };
            let writer = Server::asks(rig, WRITER, verifier(&account()), connection);
            assert_eq!(writer.admits(rig), Method::ScramSha256Plus);
        });
    }

    /// A02, B7: a client that could bind, in front of a server that offers it, is told what to do.
    #[test]
    fn binding_cannot_be_relayed() {
        for first in [
            &b"SCRAM-SHA-256\0\0\0\0\x09y,,n=,r=x"[..],
            b"SCRAM-SHA-256-PLUS\0\0\0\0\x1ep=tls-server-end-point,,n=,r=x",
        ] {
            each(config, |rig| {
                open(rig);
                rig.take_startup(WRITER);
                rig.writer("Rsasl(SCRAM-SHA-256-PLUS,SCRAM-SHA-256)");
                rig.see(CLIENT, "Rsasl(SCRAM-SHA-256)");
                rig.raw(CLIENT, &raw(b'p', first));
                let told = rig.take(CLIENT);
                assert_eq!(show_backend(&told), "FATAL(28000)");
                let text = told.escape_ascii().to_string();
                assert!(text.contains("channel_binding=disable"), "{text}");
                assert_eq!(rig.take(WRITER), b"", "it is not asked");
                assert!(
                    matches!(rig.cause(), CloseCause::ClientFault(Some(state)) if state.0 == *b"28000")
                );
            });
        }
        // What is no answer is the server's to refuse.
        each(config, |rig| {
            open(rig);
            rig.take_startup(WRITER);
            rig.writer("Rsasl(SCRAM-SHA-256)");
            let other = raw(b'Q', b"SCRAM-SHA-256-PLUS\0\0\0\0\0");
            rig.raw(CLIENT, &other);
            assert_eq!(rig.take(WRITER), other);
        });
        // Without binding it passes.
        each(config, |rig| {
            open(rig);
            rig.take_startup(WRITER);
            rig.writer("Rsasl(SCRAM-SHA-256-PLUS,SCRAM-SHA-256)");
            let first = raw(b'p', b"SCRAM-SHA-256\0\0\0\0\x09n,,n=,r=x");
            rig.raw(CLIENT, &first);
            assert_eq!(rig.take(WRITER), first);
        });
    }

    /// An answer that no buffer holds passes unseen.
    #[test]
    fn a_long_answer_is_relayed_unseen() {
        let make = || {
            let mut config = relaying(&account());
            config.limits.read_buffer = 16_384;
            config
        };
        each(make, |rig| {
            open(rig);
            rig.take_startup(WRITER);
            rig.writer("Rsasl(SCRAM-SHA-256)");
            let long = raw(b'p', &vec![b'x'; 40_000]);
            rig.raw(CLIENT, &long);
            assert_eq!(rig.take(WRITER), long);
        });
    }
}
