//! A login to a further server that the caller answers for.

#[path = "support/login.rs"]
mod support;

use bytes::BytesMut;
use pgturnout::auth::{
    AuthError, Channel, Credential, ExternalAnswer, Handshake, Method, Methods, Replay,
};
use pgturnout::wire::{Authentication, Backend, TransactionStatus};
use support::*;

fn started(methods: Methods, channel: Channel) -> Replay {
    let mut login = login(Credential::External, methods, channel);
    login.start(&mut BytesMut::new()).unwrap();
    login
}

fn allowed() -> Methods {
    Methods::for_credential(&Credential::External)
}

/// What the server asks, as the caller sees it.
fn ask(login: &mut Replay, frame: &Frame) -> Result<Vec<u8>, AuthError> {
    let (result, reply) = hand_in(login, frame);
    assert_eq!(reply, b"");
    match result? {
        Handshake::Asked(request) => {
            assert_eq!(request.body()[..4], request.code().to_be_bytes());
            assert_eq!(
                format!("{request:?}"),
                format!("ExternalRequest(code {})", request.code())
            );
            Ok(request.body().to_vec())
        }
        other => panic!("{other:?}"),
    }
}

fn tell(login: &mut Replay, answer: ExternalAnswer<'_>) -> Vec<u8> {
    let mut reply = BytesMut::new();
    login.answer(answer, &mut reply).unwrap();
    reply.to_vec()
}

#[test]
fn the_caller_sees_the_bodies_and_writes_them() {
    let mut login = started(allowed(), Channel::VerifiedTls);
    let offer = sasl(&[b"OAUTHBEARER"]);
    assert_eq!(ask(&mut login, &offer).unwrap(), offer[5..]);
    let first = b"OAUTHBEARER\0\0\0\0\x04n,,\x01";
    let frame = tell(&mut login, ExternalAnswer::More(first));
    assert_eq!(frame[..5], [b'p', 0, 0, 0, 24]);
    assert_eq!(frame[5..], *first);
    let next = auth(Authentication::SaslContinue { data: b"{}" });
    assert_eq!(ask(&mut login, &next).unwrap(), b"\0\0\0\x0b{}");
    assert_eq!(
        tell(&mut login, ExternalAnswer::More(b"\x01")),
        b"p\0\0\0\x05\x01"
    );
    let proof = auth(Authentication::SaslFinal { data: b"v=x" });
    assert_eq!(ask(&mut login, &proof).unwrap(), b"\0\0\0\x0cv=x");
    assert_eq!(tell(&mut login, ExternalAnswer::Nothing), b"");
    let rest = [auth(Authentication::Ok), ready(TransactionStatus::Idle)];
    match run(&mut login, &rest).unwrap() {
        Handshake::Ready(established) => assert_eq!(established.method, Method::External),
        other => panic!("{other:?}"),
    }
}

/// B5: a server is not taken at its word before the caller is satisfied with it.
#[test]
fn the_server_may_accept_only_when_the_caller_says_so() {
    let ok = auth(Authentication::Ok);
    for (answer, accepted) in [
        (ExternalAnswer::More(b"x"), false),
        (ExternalAnswer::Last(b"x"), true),
        (ExternalAnswer::Nothing, true),
    ] {
        let mut login = started(allowed(), Channel::VerifiedTls);
        ask(&mut login, &auth(Authentication::Gss)).unwrap();
        tell(&mut login, answer);
        assert_eq!(run(&mut login, [&ok]).is_ok(), accepted, "{answer:?}");
    }
    // A server that asks for nothing has proven nothing.
    let mut login = started(allowed(), Channel::VerifiedTls);
    let error = run(&mut login, [&ok]).unwrap_err();
    assert_eq!(
        error,
        AuthError::NotAllowed {
            method: Method::Trust
        }
    );
    // Nor does it while the caller thinks.
    let mut login = started(allowed(), Channel::VerifiedTls);
    ask(&mut login, &auth(Authentication::Gss)).unwrap();
    assert!(matches!(
        run(&mut login, [&ok]),
        Err(AuthError::Unexpected { .. })
    ));
}

/// A token is a secret, and a weaker connection than was allowed is not asked over.
#[test]
fn the_channel_is_checked_before_the_caller_is_asked() {
    for channel in [Channel::Clear, Channel::Tls] {
        let mut login = started(allowed(), channel);
        let request = auth(Authentication::CleartextPassword);
        let error = ask(&mut login, &request).unwrap_err();
        assert_eq!(
            error,
            AuthError::ChannelTooWeak {
                method: Method::External,
                channel
            }
        );
    }
    let mut login = started(Methods::NONE.allow_scram(), Channel::VerifiedTls);
    let error = ask(&mut login, &auth(Authentication::Gss)).unwrap_err();
    assert_eq!(
        error,
        AuthError::NotAllowed {
            method: Method::External
        }
    );
}

#[test]
fn an_answer_nobody_asked_for_ends_the_login() {
    for mut login in [
        started(allowed(), Channel::VerifiedTls),
        support::started(),
        login(Credential::External, allowed(), Channel::VerifiedTls),
    ] {
        let mut reply = BytesMut::new();
        let answered = login.answer(ExternalAnswer::Last(b"x"), &mut reply);
        assert_eq!(answered, Err(AuthError::OutOfTurn));
        assert_eq!(reply, "");
        let message = Backend::Authentication(Authentication::Ok);
        assert!(matches!(
            login.handle(message, &mut reply),
            Err(AuthError::OutOfTurn)
        ));
    }
}
