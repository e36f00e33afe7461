//! The login to a further server: every message in every phase, every method under every policy, hostile servers, and
//! a search for a way around the server's proof.
//!
//! Laws: L9 (total), L11 (secrets), and that no session begins before the server has proven itself.

#[path = "support/login.rs"]
mod support;

use std::sync::Arc;

use bytes::BytesMut;
use pgturnout::auth::{
    AuthError, Channel, Credential, ExternalAnswer, Handshake, Method, Methods, Replay, ScramNonce,
    md5_digest,
};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use pgturnout::wire::{
    Authentication, Backend, Columns, CopyFormats, Formats, ParamTypes, SqlState,
    TransactionStatus, Values,
};
use support::*;

/// One message of each kind, Authentication by code.
fn one_of_each() -> Vec<(&'static str, Frame)> {
    [authentications(), of_a_login(), of_requests()].concat()
}

/// Authentication, by code.
fn authentications() -> Vec<(&'static str, Frame)> {
    vec![
        ("R0", auth(Authentication::Ok)),
        ("R2", auth(Authentication::KerberosV5)),
        ("R3", auth(Authentication::CleartextPassword)),
        (
            "R5",
            auth(Authentication::Md5Password { salt: [1, 2, 3, 4] }),
        ),
        ("R7", auth(Authentication::Gss)),
        ("R8", auth(Authentication::GssContinue { data: b"x" })),
        ("R9", auth(Authentication::Sspi)),
        ("R10", sasl(&[b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"])),
        #[cfg(feature = "scram")]
        ("R11", scram::account().challenge()),
        #[cfg(feature = "scram")]
        ("R12", scram::account().signature()),
        (
            "R99",
            auth(Authentication::Other {
                code: 99,
                data: b"x",
            }),
        ),
    ]
}

/// What else a login may bring.
fn of_a_login() -> Vec<(&'static str, Frame)> {
    vec![
        (
            "E",
            error(&[(b'S', b"FATAL"), (b'C', b"53300"), (b'M', b"too many")]),
        ),
        ("N", notice(b"note")),
        ("v", negotiate(0x0003_0002, &[b"_pq_.two"])),
        ("S", parameter(b"TimeZone", b"UTC")),
        ("K", key(b"abcd")),
        (
            "A",
            frame(Backend::NotificationResponse {
                process_id: 1,
                channel: b"c",
                payload: b"p",
            }),
        ),
        ("Z", ready(TransactionStatus::Idle)),
        ("Z(T)", ready(TransactionStatus::InTransaction)),
        ("Z(E)", ready(TransactionStatus::Failed)),
    ]
}

/// What only requests bring.
fn of_requests() -> Vec<(&'static str, Frame)> {
    let copy = CopyFormats {
        overall: 0,
        columns: Formats::new(&[]),
    };
    vec![
        ("C", frame(Backend::CommandComplete { tag: b"SELECT 1" })),
        ("I", frame(Backend::EmptyQueryResponse)),
        ("1", frame(Backend::ParseComplete)),
        ("2", frame(Backend::BindComplete)),
        ("3", frame(Backend::CloseComplete)),
        ("n", frame(Backend::NoData)),
        (
            "t",
            frame(Backend::ParameterDescription {
                types: ParamTypes::new(&[]),
            }),
        ),
        (
            "T",
            frame(Backend::RowDescription {
                columns: Columns::new(&[]),
            }),
        ),
        (
            "D",
            frame(Backend::DataRow {
                values: Values::new(&[]),
            }),
        ),
        ("s", frame(Backend::PortalSuspended)),
        ("G", frame(Backend::CopyInResponse(copy))),
        ("H", frame(Backend::CopyOutResponse(copy))),
        ("W", frame(Backend::CopyBothResponse(copy))),
        ("d", frame(Backend::CopyData { data: b"x" })),
        ("c", frame(Backend::CopyDone)),
        ("V", frame(Backend::FunctionCallResponse { value: None })),
        (
            "?",
            frame(Backend::Unknown {
                tag: b'y',
                body: b"",
            }),
        ),
    ]
}

/// A started login that the caller answers for, over TLS.
fn caller_answers() -> Replay {
    let methods = everything_allowed().allow_external(Channel::VerifiedTls);
    let mut login = login(Credential::External, methods, Channel::VerifiedTls);
    login.start(&mut BytesMut::new()).unwrap();
    login
}

/// A login in each phase.
fn phases() -> Vec<(&'static str, Replay)> {
    let after = |names: &[&str]| {
        let messages = one_of_each();
        let mut login = started();
        for name in names {
            let (_, frame) = messages.iter().find(|(known, _)| known == name).unwrap();
            run(&mut login, [frame]).unwrap();
        }
        login
    };
    let failed = || {
        let mut login = started();
        run(&mut login, [&ready(TransactionStatus::Idle)]).unwrap_err();
        login
    };
    #[cfg(feature = "scram")]
    let hashing = || {
        let mut login = after(&["R10"]);
        assert!(matches!(
            hand_in(&mut login, &scram::account().challenge()).0,
            Ok(Handshake::Working)
        ));
        login
    };
    let asked = || {
        let mut login = caller_answers();
        let asked = hand_in(&mut login, &auth(Authentication::Gss)).0;
        assert!(matches!(asked, Ok(Handshake::Asked(_))));
        login
    };
    let told = |answer: ExternalAnswer<'_>| {
        let mut login = asked();
        login.answer(answer, &mut BytesMut::new()).unwrap();
        login
    };
    vec![
        ("the caller's", caller_answers()),
        ("the caller asked", asked()),
        ("the caller went on", told(ExternalAnswer::More(b"token"))),
        ("the caller is done", told(ExternalAnswer::Last(b"token"))),
        (
            "new",
            login(
                Credential::password(PASSWORD),
                everything_allowed(),
                Channel::VerifiedTls,
            ),
        ),
        ("asked", started()),
        ("negotiated", after(&["v"])),
        ("cleartext", after(&["R3"])),
        ("md5", after(&["R5"])),
        #[cfg(feature = "scram")]
        ("first", after(&["R10"])),
        #[cfg(feature = "scram")]
        ("hashing", hashing()),
        #[cfg(feature = "scram")]
        ("final", after(&["R10", "R11"])),
        #[cfg(feature = "scram")]
        ("proven", after(&["R10", "R11", "R12"])),
        ("settling", after(&["R0"])),
        ("keyed", after(&["R0", "K"])),
        ("ended", after(&["R0", "Z"])),
        ("failed", failed()),
    ]
}

/// What each message does in each phase. What is not listed is a fault.
fn expected(phase: &str, message: &str) -> &'static str {
    let known = ["new", "ended", "failed"];
    if known.contains(&phase) {
        return "out of turn";
    }
    match (phase, message) {
        (_, "E") => "refused",
        ("hashing", "N") => "working",
        (_, "N") => "wait",
        ("the caller's", "v" | "R0") => "wait",
        ("the caller is done", "R0") => "wait",
        ("the caller went on", "R0") => "fault",
        ("the caller's" | "the caller went on" | "the caller is done", message)
            if message.starts_with('R') =>
        {
            "asked"
        }
        ("asked", "v") => "wait",
        ("asked" | "negotiated", "R0") => "wait",
        ("asked" | "negotiated", "R3" | "R5") => "answer",
        ("asked" | "negotiated", "R10") if cfg!(feature = "scram") => "answer",
        ("first", "R11") => "working",
        ("final", "R12") => "wait",
        ("cleartext" | "md5" | "proven", "R0") => "wait",
        ("settling" | "keyed", "S" | "A") => "wait",
        ("settling", "K") => "wait",
        ("settling" | "keyed", "Z") => "ready",
        _ => "fault",
    }
}

#[test]
fn every_message_in_every_phase() {
    let messages = one_of_each();
    let names: Vec<_> = phases().iter().map(|(name, _)| *name).collect();
    for (index, phase) in names.into_iter().enumerate() {
        for (message, frame) in &messages {
            let (_, mut login) = phases().swap_remove(index);
            let (result, reply) = hand_in(&mut login, frame);
            let got = match &result {
                Ok(Handshake::Wait) if reply.is_empty() => "wait",
                Ok(Handshake::Wait) => "answer",
                Ok(Handshake::Asked(_)) => "asked",
                Ok(Handshake::Working) => "working",
                Ok(Handshake::Ready(_)) => "ready",
                Err(AuthError::Refused(_)) => "refused",
                Err(AuthError::OutOfTurn) => "out of turn",
                Err(_) => "fault",
            };
            assert_eq!(
                got,
                expected(phase, message),
                "{message} while {phase}: {result:?}"
            );
            if got != "answer" {
                assert_eq!(reply, b"", "{message} while {phase}");
            }
            // After an error nothing works any more.
            if result.is_err() {
                assert_eq!(
                    hand_in(&mut login, &auth(Authentication::Ok))
                        .0
                        .unwrap_err(),
                    AuthError::OutOfTurn
                );
                assert_eq!(
                    login.work(&mut BytesMut::new()).unwrap_err(),
                    AuthError::OutOfTurn
                );
                assert_eq!(
                    login.start(&mut BytesMut::new()).unwrap_err(),
                    AuthError::OutOfTurn
                );
            }
        }
    }
}

#[test]
fn calls_out_of_turn_end_the_login() {
    for (phase, mut login) in phases() {
        let worked = login.work(&mut BytesMut::new());
        assert_eq!(worked.is_ok(), phase == "hashing", "{phase}");
    }
    for (phase, mut login) in phases() {
        let mut out = BytesMut::new();
        assert_eq!(login.start(&mut out).is_ok(), phase == "new", "{phase}");
        assert_eq!(out.is_empty(), phase != "new", "{phase}");
    }
}

/// The StartupMessage goes out as the client sent it: order, duplicates, empty values, options, version.
#[test]
fn the_clients_own_startup_message() {
    let packet =
        b"\0\0\0\x3b\0\x03\x27\x0fuser\0a\0_pq_.z\0\0user\0b\0options\0-c a=\\ b\0DateStyle\0\0\0";
    let params = StartupParams::parse(packet).unwrap();
    let nonce = ScramNonce::from_bytes(NONCE);
    let mut login = Replay::new(
        &params,
        Credential::None,
        Methods::NONE,
        Channel::Clear,
        nonce,
    );
    let mut out = BytesMut::from(&b"before"[..]);
    login.start(&mut out).unwrap();
    assert_eq!(&out[..], [&b"before"[..], packet].concat());
}

/// A16: a replication session is never opened a second time.
#[test]
fn no_replication() {
    for value in ["true", "database", "1", "maybe", ""] {
        let pairs = [
            (&b"user"[..], &b"u"[..]),
            (b"replication", value.as_bytes()),
        ];
        let params = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
        let nonce = ScramNonce::from_bytes(NONCE);
        let mut login = Replay::new(
            &params,
            Credential::None,
            everything_allowed(),
            Channel::Clear,
            nonce,
        );
        let mut out = BytesMut::new();
        assert_eq!(
            login.start(&mut out),
            Err(AuthError::Replication),
            "{value}"
        );
        assert!(out.is_empty());
    }
}

/// Every request × what is allowed × what the connection is × what is known: an answer, or which refusal.
#[test]
fn every_method_under_every_policy() {
    let credentials: [fn() -> Credential; 3] = [
        || Credential::password(PASSWORD),
        || Credential::Md5Digest(md5_digest(USER.as_bytes(), PASSWORD.as_bytes())),
        || Credential::None,
    ];
    let channels = [Channel::Clear, Channel::Tls, Channel::VerifiedTls];
    let requests = [
        (Method::Trust, auth(Authentication::Ok)),
        (Method::Cleartext, auth(Authentication::CleartextPassword)),
        (
            Method::Md5,
            auth(Authentication::Md5Password { salt: [1, 2, 3, 4] }),
        ),
        (Method::ScramSha256, sasl(&[b"SCRAM-SHA-256"])),
    ];
    for (method, request) in &requests {
        for allowed in 0..16u8 {
            for least in channels {
                for channel in channels {
                    for (index, credential) in credentials.iter().enumerate() {
                        let mut login = login(credential(), methods(allowed, least), channel);
                        login.start(&mut BytesMut::new()).unwrap();
                        let (result, reply) = hand_in(&mut login, request);
                        let case = format!(
                            "{method:?} of {allowed:04b} from {least:?} over {channel:?} with {index}"
                        );
                        let expected = verdict(*method, allowed, least, channel, index);
                        match result {
                            Ok(Handshake::Wait) => assert_eq!("yes", expected, "{case}"),
                            Err(AuthError::NotAllowed { method: named }) => {
                                assert_eq!(("not allowed", *method), (expected, named), "{case}");
                            }
                            Err(AuthError::ChannelTooWeak { .. }) => {
                                assert_eq!("too weak", expected, "{case}")
                            }
                            Err(AuthError::WrongCredential { .. }) => {
                                assert_eq!("no credential", expected, "{case}")
                            }
                            Err(AuthError::ScramNotBuilt) => {
                                assert_eq!("not built", expected, "{case}")
                            }
                            other => panic!("{case}: {other:?}"),
                        }
                        // A secret leaves only as the answer to an allowed request.
                        assert_eq!(
                            !reply.is_empty(),
                            expected == "yes" && *method != Method::Trust,
                            "{case}"
                        );
                    }
                }
            }
        }
    }
}

fn methods(allowed: u8, least: Channel) -> Methods {
    let mut methods = Methods::NONE;
    if allowed & 1 != 0 {
        methods = methods.allow_trust();
    }
    if allowed & 2 != 0 {
        methods = methods.allow_cleartext(least);
    }
    if allowed & 4 != 0 {
        methods = methods.allow_md5(least);
    }
    if allowed & 8 != 0 {
        methods = methods.allow_scram();
    }
    methods
}

fn verdict(
    method: Method,
    allowed: u8,
    least: Channel,
    channel: Channel,
    credential: usize,
) -> &'static str {
    let (bit, least, serves) = match method {
        Method::Trust => (1, Channel::Clear, true),
        Method::Cleartext => (2, least.max(Channel::Tls), credential == 0),
        Method::Md5 => (4, least, credential <= 1),
        _ => (8, Channel::Clear, credential == 0),
    };
    if allowed & bit == 0 {
        "not allowed"
    } else if channel < least {
        "too weak"
    } else if bit == 8 && !cfg!(feature = "scram") {
        "not built"
    } else if !serves {
        "no credential"
    } else {
        "yes"
    }
}

/// What suits a credential gives nothing away to a server that asks for something else (B6).
#[test]
fn defaults_are_the_careful_ones() {
    let password = Methods::for_credential(&Credential::password("x"));
    let digest = Methods::for_credential(&Credential::Md5Digest(md5_digest(b"u", b"p")));
    let nothing = Methods::for_credential(&Credential::None);
    for (method, allowed) in [
        (Method::Trust, [false, false, true]),
        (Method::Cleartext, [false, false, false]),
        (Method::Md5, [false, true, false]),
        (Method::ScramSha256, [true, false, false]),
    ] {
        let got =
            [password, digest, nothing].map(|m| m.check(method, Channel::VerifiedTls).is_ok());
        assert_eq!(got, allowed, "{method:?}");
    }
    assert!(digest.check(Method::Md5, Channel::Tls).is_err());
    assert!(password.check(Method::ScramSha256, Channel::Clear).is_ok());
}

/// The bytes of the answers.
#[test]
fn answers() {
    let answer = |credential: Credential, request: Frame| {
        let mut login = login(credential, everything_allowed(), Channel::Tls);
        login.start(&mut BytesMut::new()).unwrap();
        hand_in(&mut login, &request)
    };
    let cleartext = || auth(Authentication::CleartextPassword);
    assert_eq!(
        answer(Credential::password(PASSWORD), cleartext()).1,
        b"p\0\0\0\x0bpencil\0"
    );
    let (nul, sent) = answer(Credential::password("a\0b"), cleartext());
    assert_eq!(
        (nul.unwrap_err(), &sent[..]),
        (AuthError::NulInPassword, &b""[..])
    );
    let md5 = || auth(Authentication::Md5Password { salt: [1, 2, 3, 4] });
    let digest = Credential::Md5Digest(md5_digest(USER.as_bytes(), PASSWORD.as_bytes()));
    let by_digest = answer(digest, md5()).1;
    assert_eq!(by_digest, answer(Credential::password(PASSWORD), md5()).1);
    assert_eq!(
        (by_digest.len(), &by_digest[..8]),
        (41, &b"p\0\0\0\x28md5"[..])
    );
}

#[test]
fn what_is_established() {
    let mut login = started();
    let frames = [
        negotiate(0x0003_0000, &[b"_pq_.two"]),
        auth(Authentication::Ok),
        parameter(b"b", b"1"),
        parameter(b"a", b""),
        notice(b"first"),
        key(b"abcd"),
        parameter(b"b", b"2"),
        frame(Backend::NotificationResponse {
            process_id: 1,
            channel: b"c",
            payload: b"p",
        }),
        notice(b"second"),
        ready(TransactionStatus::Idle),
    ];
    let Ok(Handshake::Ready(established)) = run(&mut login, &frames) else {
        panic!("not ready")
    };
    let parameters: Vec<_> = established
        .parameters
        .iter()
        .map(|(n, v)| (&**n, &**v))
        .collect();
    assert_eq!(parameters, [(&b"b"[..], &b"2"[..]), (b"a", b"")]);
    assert_eq!(established.parameter(b"a"), Some(&b""[..]));
    assert_eq!(established.parameter(b"A"), None);
    let key = established.key.unwrap();
    assert_eq!((key.process_id(), key.secret()), (42, &b"abcd"[..]));
    assert_eq!(established.version, ProtocolVersion::V3_0);
    assert_eq!(established.unknown_options, [Box::from(&b"_pq_.two"[..])]);
    assert_eq!(
        established
            .notices
            .iter()
            .map(|n| n.message())
            .collect::<Vec<_>>(),
        [&b"first"[..], b"second"]
    );
    assert_eq!(established.method, Method::Trust);
}

/// A8: a version or an option that was not asked for.
#[test]
fn version_negotiation() {
    let answer = |asked: ProtocolVersion, newest: u32, options: &[&[u8]]| {
        let nonce = ScramNonce::from_bytes(NONCE);
        let mut login = Replay::new(
            &params(asked),
            Credential::None,
            everything_allowed(),
            Channel::Clear,
            nonce,
        );
        login.start(&mut BytesMut::new()).unwrap();
        let ended = [
            negotiate(newest, options),
            auth(Authentication::Ok),
            ready(TransactionStatus::Idle),
        ];
        match run(&mut login, &ended) {
            Ok(Handshake::Ready(established)) => Some(established.version),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error, AuthError::Negotiation);
                None
            }
        }
    };
    let (v3_0, v3_2) = (ProtocolVersion::V3_0, ProtocolVersion::V3_2);
    let grease = ProtocolVersion {
        major: 3,
        minor: 9999,
    };
    assert_eq!(answer(v3_2, 0x0003_0000, &[]), Some(v3_0));
    assert_eq!(answer(v3_2, 0x0003_0002, &[b"_pq_.one"]), Some(v3_2));
    assert_eq!(
        answer(v3_0, 0x0003_0000, &[b"_pq_.one", b"_pq_.two"]),
        Some(v3_0)
    );
    assert_eq!(answer(grease, 0x0003_0002, &[]), Some(v3_2));
    // The minor version alone, as some servers send it.
    assert_eq!(answer(v3_2, 0, &[]), Some(v3_0));
    assert_eq!(answer(v3_2, 2, &[]), Some(v3_2));
    for newest in [
        0x0002_0000,
        0x0003_0001,
        0x0003_0003,
        0x0003_270f,
        0x0004_0000,
        1,
        3,
        u32::MAX,
        1 << 31,
    ] {
        assert_eq!(answer(v3_2, newest, &[]), None, "{newest:#x}");
    }
    assert_eq!(answer(v3_0, 0x0003_0002, &[]), None);
    let unasked: [&[&[u8]]; 5] = [
        &[b"_pq_.three"],
        &[b"user"],
        &[b""],
        &[b"_PQ_.one"],
        &[b"_pq_.one", b"_pq_.two", b"_pq_.one"],
    ];
    for options in unasked {
        assert_eq!(answer(v3_2, 0x0003_0002, options), None, "{options:?}");
    }
}

/// B12: the length of a cancel secret follows the version in force.
#[test]
fn cancel_secrets() {
    let accepted = |asked: ProtocolVersion, newest: Option<u32>, len: usize| {
        let nonce = ScramNonce::from_bytes(NONCE);
        let mut login = Replay::new(
            &params(asked),
            Credential::None,
            everything_allowed(),
            Channel::Clear,
            nonce,
        );
        login.start(&mut BytesMut::new()).unwrap();
        let opening = newest.map(|newest| negotiate(newest, &[]));
        let frames = [auth(Authentication::Ok), key(&vec![1; len])];
        match run(&mut login, opening.iter().chain(&frames)) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, AuthError::KeyLength { len });
                false
            }
        }
    };
    for len in [4, 5, 32, 256] {
        assert!(accepted(ProtocolVersion::V3_2, None, len), "{len}");
        assert_eq!(
            accepted(ProtocolVersion::V3_2, Some(0x0003_0000), len),
            len == 4,
            "{len}"
        );
        assert_eq!(
            accepted(ProtocolVersion::V3_0, None, len),
            len == 4,
            "{len}"
        );
    }
}

/// B12: a server that greets for ever.
#[test]
fn greetings_are_bounded() {
    let settling = || {
        let mut login = started();
        run(&mut login, [&auth(Authentication::Ok)]).unwrap();
        login
    };
    let until_fault = |mut login: Replay, frame: &dyn Fn(usize) -> Frame| {
        (0..)
            .find_map(|n| run(&mut login, [&frame(n)]).err().map(|error| (n, error)))
            .unwrap()
    };
    let parameters = AuthError::TooMany { what: "parameters" };
    let notices = AuthError::TooMany { what: "notices" };
    let new_names = |n: usize| parameter(n.to_string().as_bytes(), b"v");
    assert_eq!(
        until_fault(settling(), &new_names),
        (64, parameters.clone())
    );
    assert_eq!(
        until_fault(settling(), &|_| parameter(b"n", b"v")),
        (64, parameters.clone())
    );
    assert_eq!(
        until_fault(settling(), &|_| parameter(b"n", &[b'v'; 4_095])),
        (4, parameters.clone())
    );
    assert_eq!(
        until_fault(settling(), &|_| parameter(b"n", &[b'v'; 70_000])),
        (0, parameters)
    );
    for login in [started, settling] {
        assert_eq!(
            until_fault(login(), &|_| notice(b"n")),
            (100, notices.clone())
        );
        assert_eq!(
            until_fault(login(), &|_| notice(&[b'n'; 65_525])).1,
            notices
        );
        assert_eq!(
            until_fault(login(), &|_| notice(&[b'n'; 20_000])),
            (3, notices.clone())
        );
    }
    let notify = |_| {
        frame(Backend::NotificationResponse {
            process_id: 1,
            channel: b"c",
            payload: b"p",
        })
    };
    assert_eq!(until_fault(settling(), &notify), (100, notices));
}

/// B12, B14: errors without the usual fields, and after AuthenticationOk; and how they read.
#[test]
fn refusals() {
    let refused = |before: &[Frame], fields: &[(u8, &[u8])]| {
        let mut login = started();
        run(&mut login, before).unwrap();
        match run(&mut login, [&error(fields)]) {
            Err(AuthError::Refused(report)) => report,
            other => panic!("{other:?}"),
        }
    };
    let report = refused(
        &[auth(Authentication::Ok)],
        &[(b'S', b"FATAL"), (b'C', b"3D000"), (b'M', b"no database")],
    );
    assert_eq!(report.to_string(), "FATAL 3D000: no database");
    assert_eq!(
        (report.severity(), report.sqlstate()),
        (&b"FATAL"[..], Some(SqlState(*b"3D000")))
    );
    assert_eq!(refused(&[], &[]).to_string(), "? ?????: ");
    assert_eq!(refused(&[], &[(b'C', b"too long a code")]).sqlstate(), None);
    let both = refused(
        &[],
        &[
            (b'S', b"FATALE"),
            (b'V', b"FATAL"),
            (b'C', b"28P01"),
            (b'M', b"mot de passe"),
        ],
    );
    assert_eq!(both.to_string(), "FATAL 28P01: mot de passe");
    let quoting = refused(&[], &[(b'S', b"FATAL"), (b'M', br#"no role "\n""#)]);
    assert_eq!(quoting.to_string(), r#"FATAL ?????: no role "\\n""#);

    let hostile = "\u{1b}]0;x\u{7}\r\nLOG:  forged \u{202e}";
    let report = refused(
        &[],
        &[
            (b'S', hostile.as_bytes()),
            (b'C', b"\x1b[2J\n"),
            (b'M', hostile.as_bytes()),
        ],
    );
    for text in [
        report.to_string(),
        format!("{report:?}"),
        AuthError::Refused(report).to_string(),
    ] {
        assert!(
            text.chars().all(|c| !c.is_control() && c != '\u{202e}'),
            "{text:?}"
        );
    }
    let long = refused(&[], &[(b'S', b"FATAL"), (b'M', &[b'm'; 5_000])]);
    assert!(long.message().len() <= 132 && long.to_string().chars().count() < 160);
    assert!(long.to_string().ends_with('…'));
}

/// L1: the same events give the same bytes.
#[test]
fn deterministic() {
    let trace = || {
        let mut login = started();
        let mut sent = Vec::new();
        for (_, frame) in one_of_each()
            .into_iter()
            .filter(|(name, _)| ["N", "R5"].contains(name))
        {
            sent.extend(hand_in(&mut login, &frame).1);
        }
        sent
    };
    assert_eq!(trace(), trace());
}

/// Several logins share one credential, and each lets go of it as soon as it has answered.
#[test]
fn a_credential_is_shared() {
    let credential = Arc::new(Credential::password(PASSWORD));
    let mut logins: Vec<_> = (0..3)
        .map(|_| {
            let nonce = ScramNonce::from_bytes(NONCE);
            let params = params(ProtocolVersion::V3_0);
            Replay::new(
                &params,
                Arc::clone(&credential),
                everything_allowed(),
                Channel::Clear,
                nonce,
            )
        })
        .collect();
    assert_eq!(Arc::strong_count(&credential), 4);
    for login in &mut logins {
        login.start(&mut BytesMut::new()).unwrap();
        run(login, [&auth(Authentication::Md5Password { salt: [1; 4] })]).unwrap();
    }
    assert_eq!(Arc::strong_count(&credential), 1);
}
