//! The model before the first ReadyForQuery: encryption, names and passwords, and servers that are impostors.

use bytes::BytesMut;
use pgturnout::auth::{Channel, Credential, Handshake};

use crate::model_script::{self, Trace, encode, frames};
use crate::sim::server::{
    Cluster, Impostor, Login, Node, PASSWORD, Server, ServerOptions, ServerPhase, TlsAnswer,
};
use crate::{login, startup};

/// A server that answers a first packet.
fn opening(options: ServerOptions, bytes: &[u8]) -> (Server, Cluster, Vec<u8>) {
    let (mut server, mut cluster) = (Server::new(Node::Primary, 1, options), Cluster::new());
    server.receive(bytes);
    while server.step(&mut cluster) {}
    let output = server.output();
    (server, cluster, output)
}

pub(crate) fn shown(mut bytes: Vec<u8>) -> String {
    let mut trace = Trace::default();
    frames(&mut bytes, &mut trace);
    trace.line()
}

#[test]
fn tls_is_agreed_to_or_not() {
    let request = [0, 0, 0, 8, 4, 210, 22, 47];
    let options = |tls| ServerOptions {
        tls,
        ..ServerOptions::default()
    };
    let (mut server, mut cluster, output) = opening(options(TlsAnswer::Yes), &request);
    assert_eq!(
        (output, server.phase()),
        (b"S".to_vec(), ServerPhase::Opening)
    );
    server.receive(&startup(0x0003_0000));
    assert!(
        !server.step(&mut cluster),
        "nothing is read before the handshake is done"
    );
    server.secured();
    assert!(server.step(&mut cluster));
    assert!(shown(server.output()).ends_with("Z(I)"));
    let too_early = [&request[..], b"x"].concat();
    let (server, _, output) = opening(options(TlsAnswer::Yes), &too_early);
    assert_eq!(
        (shown(output[1..].to_vec()), server.is_closed()),
        ("E(FATAL 08P01)".into(), true)
    );
    let (mut server, mut cluster, output) = opening(options(TlsAnswer::No), &request);
    assert_eq!(output, b"N");
    server.receive(&startup(0x0003_0000));
    assert!(server.step(&mut cluster));
    let (mut server, mut cluster, output) = opening(options(TlsAnswer::Stuffed), &request);
    assert_eq!(
        (output[0], shown(output[1..].to_vec())),
        (b'S', "R(0) Z(I)".into()),
        "in one write"
    );
    server.secured();
    server.receive(&startup(0x0003_0000));
    assert!(server.step(&mut cluster));
    let (server, _, output) = opening(options(TlsAnswer::Garbage), &request);
    assert_eq!((output, server.is_closed()), (b"?".to_vec(), false));
    let (server, _, output) = opening(options(TlsAnswer::Old), &request);
    assert_eq!(
        (shown(output), server.is_closed()),
        ("E(FATAL 0A000)".into(), true)
    );
}

#[test]
fn protocol_versions_are_negotiated() {
    let first = |version, minor: u32| {
        let options = ServerOptions {
            version,
            ..ServerOptions::default()
        };
        let line = shown(opening(options, &startup(0x0003_0000 + minor)).2);
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        (words[0].clone(), words[words.len() - 2].clone())
    };
    assert_eq!(first(15, 0), ("R(0)".into(), "K(4)".into()));
    assert_eq!(first(15, 2), ("v(3.0,0)".into(), "K(4)".into()));
    assert_eq!(first(18, 0), ("R(0)".into(), "K(4)".into()));
    assert_eq!(first(18, 2), ("R(0)".into(), "K(32)".into()));
    assert_eq!(first(18, 3), ("v(3.2,0)".into(), "K(32)".into()));
}

#[test]
fn a_cancel_request_says_for_whom_it_is() {
    let packet = [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 7, 1, 2, 3, 4];
    let (server, _, output) = opening(ServerOptions::default(), &packet);
    assert!(output.is_empty() && server.is_closed());
    assert_eq!(server.cancel_request(), Some((7, &[1, 2, 3, 4][..])));
}

#[test]
fn passwords_are_asked_for_and_compared() {
    let cleartext = ServerOptions {
        login: Login::Cleartext,
        ..ServerOptions::default()
    };
    for (password, end) in [
        (PASSWORD, "Z(I)"),
        ("wrong", "E(FATAL 28P01)"),
        ("", "E(FATAL 28P01)"),
    ] {
        let (mut server, mut cluster, output) = opening(cleartext.clone(), &startup(0x0003_0000));
        assert_eq!(
            (shown(output), server.phase()),
            ("R(3)".into(), ServerPhase::Authenticating)
        );
        server.receive(&encode(&format!("raw(p,{password}\\0)")));
        assert!(server.step(&mut cluster));
        assert!(shown(server.output()).ends_with(end), "{password}");
    }
    let (mut server, mut cluster, _) = opening(cleartext, &startup(0x0003_0000));
    server.receive(&encode("Q(select 1)"));
    assert!(server.step(&mut cluster));
    assert_eq!(shown(server.output()), "E(FATAL 08P01)");
}

/// Logs in with the crate's own replay of a login; whether it came through.
fn replay(method: Login, version: u32, password: &str) -> bool {
    let options = ServerOptions {
        login: method,
        version,
        ..ServerOptions::default()
    };
    replay_as("alice", options, password)
}

fn replay_as(user: &str, options: ServerOptions, password: &str) -> bool {
    let (mut server, mut cluster) = (Server::new(Node::Primary, 1, options), Cluster::new());
    let credential = Credential::password(password);
    let allowed = login::everything_allowed();
    let mut client = login::login(credential, allowed, Channel::Clear);
    let mut reply = BytesMut::new();
    client.start(&mut reply).unwrap();
    server.receive(&match user {
        login::USER => reply.to_vec(),
        other => model_script::startup(0x0003_0000, &[("user".to_owned(), other.to_owned())]),
    });
    while server.step(&mut cluster) {
        let output = server.output();
        let mut rest = &output[..];
        while let [_, a, b, c, d, ..] = rest {
            let end = 1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let (mut state, mut reply) = login::hand_in(&mut client, &rest[..end]);
            while let Ok(Handshake::Working) = state {
                let mut more = BytesMut::new();
                state = client.work(&mut more);
                reply.extend_from_slice(&more);
            }
            if state.is_err() {
                return false;
            }
            server.receive(&reply);
            rest = &rest[end..];
        }
    }
    server.phase() == ServerPhase::Idle
}

#[test]
fn logins_by_arithmetic_come_through_with_the_password_alone() {
    assert!(replay(Login::Md5, 15, PASSWORD));
    assert!(!replay(Login::Md5, 15, "wrong"));
    assert!(replay(Login::Scram, 18, PASSWORD));
    assert!(!replay(Login::Scram, 18, "wrong"));
}

/// What a server says to a startup packet, and to each answer then.
fn dialogue(options: ServerOptions, names: [&str; 2], answers: &[&str]) -> (Server, Vec<Vec<u8>>) {
    let (mut server, mut cluster) = (Server::new(Node::Primary, 2, options), Cluster::new());
    let pairs = [("user", names[0]), ("database", names[1])];
    let pairs = pairs.map(|(a, b)| (a.to_owned(), b.to_owned()));
    server.receive(&model_script::startup(0x0003_0000, &pairs));
    let mut said = Vec::new();
    for answer in [&[""], answers].concat() {
        server.receive(&encode(answer));
        while server.step(&mut cluster) {}
        said.push(server.output());
    }
    (server, said)
}

#[test]
fn names_that_nobody_knows_are_refused_as_the_method_does() {
    let refused = |login, names, answers: &[&str]| {
        let options = ServerOptions {
            login,
            ..ServerOptions::default()
        };
        let (server, said) = dialogue(options, names, answers);
        assert!(server.is_closed(), "{names:?}");
        said.into_iter().map(shown).collect::<Vec<_>>().join(" / ")
    };
    let password = format!("raw(p,{PASSWORD}\\0)");
    let (trust, clear) = (Login::Trust, Login::Cleartext);
    assert_eq!(
        refused(trust, ["nobody", "app"], &[]),
        "R(0) E(FATAL 28000)"
    );
    assert_eq!(
        refused(trust, ["nobody7", "nowhere"], &[]),
        "R(0) E(FATAL 28000)"
    );
    assert_eq!(
        refused(trust, ["alice", "nowhere2"], &[]),
        "R(0) E(FATAL 3D000)"
    );
    assert_eq!(refused(trust, ["nowhere", ""], &[]), "R(0) E(FATAL 3D000)");
    assert_eq!(
        refused(clear, ["nobody", "app"], &[&password]),
        "R(3) / E(FATAL 28P01)"
    );
    assert_eq!(
        refused(clear, ["alice", "nowhere"], &[&password]),
        "R(3) / R(0) E(FATAL 3D000)"
    );
    assert_eq!(
        refused(Login::Md5, ["nobody", "app"], &["raw(p,md50\\0)"]),
        "R(5) / E(FATAL 28P01)"
    );
}

#[cfg(feature = "scram")]
const SASL_FIRST: &str = "raw(p,SCRAM-SHA-256\\0\\0\\0\\0\\x14n,,n=,r=abcdefghijkl)";

#[cfg(feature = "scram")]
#[test]
fn an_unknown_user_goes_through_all_of_scram() {
    let options = ServerOptions {
        login: Login::Scram,
        ..ServerOptions::default()
    };
    for name in ["nobody", "alice"] {
        assert_eq!(replay_as(name, options.clone(), PASSWORD), name == "alice");
    }
    let forgetful = ServerOptions {
        other_password: true,
        ..options
    };
    let last = format!("raw(p,c=biws,r=abcdefghijklSERVER,p={}=)", "A".repeat(43));
    let (server, said) = dialogue(forgetful, ["nobody", "app"], &[SASL_FIRST, &last]);
    let said: Vec<String> = said.into_iter().map(shown).collect();
    assert_eq!(said, ["R(10)", "R(11)", "E(FATAL 28P01)"]);
    assert!(server.is_closed());
}

fn posing(impostor: Impostor, login: Login) -> ServerOptions {
    ServerOptions {
        login,
        impostor: Some(impostor),
        ..ServerOptions::default()
    }
}

#[test]
fn impostors_do_not_answer_as_they_should() {
    let names = ["alice", "app"];
    let said = |impostor, login, answers: &[&str]| {
        let (server, said) = dialogue(posing(impostor, login), names, answers);
        (server, said.into_iter().map(shown).collect::<Vec<_>>())
    };
    let (server, words) = said(Impostor::Silent, Login::Trust, &["raw(p,x\\0)"]);
    assert_eq!((words.concat(), server.is_closed()), (String::new(), false));
    let (server, words) = said(Impostor::UnknownMethod, Login::Trust, &["raw(p,x\\0)"]);
    assert_eq!((words.concat(), server.is_closed()), ("R(7)".into(), false));
    for login in [Login::Trust, Login::Md5, Login::Scram] {
        let (server, words) = said(Impostor::Downgrade, login, &["raw(p,whatever\\0)"]);
        assert_eq!(
            (words[0].as_str(), server.phase()),
            ("R(3)", ServerPhase::Idle)
        );
    }
    let (server, words) = said(Impostor::Flood, Login::Trust, &[]);
    assert!(words[0].starts_with(&"N(NOTICE 00000) ".repeat(3_000)));
    assert_eq!(server.phase(), ServerPhase::Idle);
    let (server, words) = said(Impostor::TooManyParameters, Login::Trust, &[]);
    assert!(words[0].matches(" S(p").count() == 3_000 && words[0].ends_with("K(4) Z(I)"));
    assert_eq!(server.phase(), ServerPhase::Idle);
}

#[cfg(feature = "scram")]
#[test]
fn impostors_at_scram_do_not_know_the_password() {
    let names = ["alice", "app"];
    let last = "raw(p,c=biws,r=abcdefghijklSERVER,p=AAAA)";
    for (impostor, end) in [
        (Impostor::WrongSignature, "R(12) R(0) S("),
        (Impostor::NoProof, "R(0) S("),
    ] {
        let options = posing(impostor, Login::Scram);
        let (_, said) = dialogue(options.clone(), names, &[SASL_FIRST, last]);
        let word = shown(said[2].clone());
        assert!(word.starts_with(end) && word.ends_with("Z(I)"), "{word}");
        assert!(!replay_as("alice", options, PASSWORD), "{impostor:?}");
    }
    for (impostor, text) in [
        (
            Impostor::ManyIterations,
            "r=abcdefghijklSERVER,s=c2l4dGVlbiBzYWx0eSBieQ==,i=100000000",
        ),
        (Impostor::BadNonce, "r=XXXXXXXXXXXXSERVER,s="),
    ] {
        let (_, said) = dialogue(posing(impostor, Login::Scram), names, &[SASL_FIRST]);
        assert!(
            said[1].escape_ascii().to_string().contains(text),
            "{impostor:?}"
        );
    }
}

#[test]
fn impostors_that_need_scram_are_honest_elsewhere() {
    for impostor in [
        Impostor::WrongSignature,
        Impostor::NoProof,
        Impostor::ManyIterations,
        Impostor::BadNonce,
    ] {
        assert!(replay_as("alice", posing(impostor, Login::Md5), PASSWORD));
        assert!(!replay_as("alice", posing(impostor, Login::Md5), "wrong"));
    }
    let mut names: Vec<&str> = Impostor::ALL.iter().map(|(_, name)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Impostor::ALL.len());
}

/// The texts of all errors and notices.
fn texts(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let [tag, a, b, c, d, ..] = bytes {
        let end = 1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if matches!(tag, b'E' | b'N') {
            let mut fields = bytes[5..end].split(|&byte| byte == 0);
            let text = fields.find(|field| field.starts_with(b"M"));
            out.push(text.unwrap().to_vec());
        }
        bytes = &bytes[end..];
    }
    out
}

#[test]
fn a_rude_server_says_what_no_terminal_should_see() {
    let rude = ServerOptions {
        rude: true,
        ..ServerOptions::default()
    };
    let refusing = ServerOptions {
        refuse_login: Some("53300".to_owned()),
        ..rude.clone()
    };
    let (mut server, mut said) =
        dialogue(rude.clone(), ["alice", "app"], &["Q(select 1/0) Q(commit)"]);
    server.notice();
    said.push(server.output());
    server.terminate_with("57P01");
    server.step(&mut Cluster::new());
    said.push(server.output());
    said.extend(dialogue(refusing, ["alice", "app"], &[]).1);
    said.extend(dialogue(rude, ["nobody", "app"], &[]).1);
    let all = said.concat();
    let texts = texts(&all);
    assert_eq!(texts.len(), 6);
    for text in &texts {
        assert!(std::str::from_utf8(text).is_err());
        for part in [
            &b"\x1b["[..],
            b"\r\n",
            b"\x07",
            "\u{202e}".as_bytes(),
            b"\xff",
        ] {
            assert!(text.windows(part.len()).any(|window| window == part));
        }
    }
    let trace = shown(all);
    for word in [
        "E(ERROR 22012)",
        "N(WARNING 25P01)",
        "N(WARNING 01000)",
        "E(FATAL 57P01)",
        "E(FATAL 53300)",
        "E(FATAL 28000)",
    ] {
        assert!(trace.contains(word), "{word}: the rest is as it was");
    }
}
