//! A login to one more server, whatever that server says.

use bytes::BytesMut;
use pgturnout::auth::{
    AuthError, Channel, Credential, ExternalAnswer, Handshake, Md5Digest, Method, Methods, Replay,
    ScramNonce, TlsEndPoint,
};
use pgturnout::startup::ProtocolVersion;
use pgturnout::wire::{Authentication, Backend, TransactionStatus};

use super::contains;
use super::feed::Feed;
use super::login::{self, NONCE, PASSWORD, auth, error, key, negotiate, ready, sasl};

/// No server gets further than the allow-list lets it: a login ends at ReadyForQuery only behind an AuthenticationOk
/// that was earned, SCRAM only behind the right signature; the password as it is goes out over TLS alone; a call after
/// the end does nothing; and nothing that is shown holds the password.
pub(crate) fn replay(data: &[u8]) {
    let mut feed = Feed::new(data);
    let channel = feed.one(&[Channel::Clear, Channel::Tls, Channel::VerifiedTls]);
    let (methods, end_point) = methods(&mut feed);
    let mut login = Replay::new(
        &login::params(feed.one(&[ProtocolVersion::V3_0, ProtocolVersion::V3_2])),
        credential(&mut feed),
        methods,
        channel,
        ScramNonce::from_bytes(NONCE),
    )
    .bound_to(end_point);
    if feed.below(32) != 0 {
        login.start(&mut BytesMut::new()).expect("it is new");
    }
    let mut seen = Seen::default();
    while !feed.is_empty() {
        let frame = server_says(&mut feed);
        let Some((tag, body)) = frame.first().copied().zip(frame.get(5..)) else {
            continue;
        };
        let Ok(message) = Backend::parse(tag, body) else {
            continue;
        };
        let mut reply = BytesMut::new();
        let mut result = login.handle(message, &mut reply);
        // At most as many steps as the highest iteration count takes.
        for _ in 0..100_000 / 4_096 + 1 {
            if !matches!(result, Ok(Handshake::Working)) {
                break;
            }
            result = login.work(&mut reply);
        }
        assert!(
            !matches!(result, Ok(Handshake::Working)),
            "hashing does not end"
        );
        seen.check(&message, &frame, &result, &reply, methods, channel);
        match result {
            Ok(Handshake::Wait) => {}
            Ok(Handshake::Asked(_)) => {
                assert_eq!(methods.check(Method::External, channel), Ok(()));
                let answer = match feed.below(3) {
                    0 => ExternalAnswer::More(b"token"),
                    1 => ExternalAnswer::Last(b"token"),
                    _ => ExternalAnswer::Nothing,
                };
                seen.vouched = !matches!(answer, ExternalAnswer::More(_));
                login.answer(answer, &mut reply).expect("it was asked");
            }
            Ok(Handshake::Working | Handshake::Ready(_)) | Err(_) => {
                return is_over(login, message);
            }
        }
    }
}

/// Nothing more is taken or sent.
fn is_over(mut login: Replay, message: Backend<'_>) {
    let mut reply = BytesMut::new();
    assert!(login.start(&mut reply).is_err());
    assert!(login.handle(message, &mut reply).is_err());
    assert!(login.work(&mut reply).is_err());
    assert_eq!(reply, "");
}

/// What the server has shown so far.
#[derive(Default)]
struct Seen {
    accepted: bool,
    signed: bool,
    /// Whether the caller was satisfied with it at last.
    vouched: bool,
    /// It has said the password itself, so that what it said may be shown.
    knows: bool,
}

impl Seen {
    fn check(
        &mut self,
        message: &Backend<'_>,
        frame: &[u8],
        result: &Result<Handshake, AuthError>,
        reply: &[u8],
        methods: Methods,
        channel: Channel,
    ) {
        let asked = matches!(message, Backend::Authentication(_));
        assert!(
            reply.is_empty() || (asked && reply[0] == b'p'),
            "{message:?}: {reply:?}"
        );
        if contains(reply, PASSWORD.as_bytes()) {
            assert_eq!(methods.check(Method::Cleartext, channel), Ok(()));
            assert!(channel >= Channel::Tls, "the password goes out in clear");
        }
        self.signed |= is_signature(frame);
        self.knows |= contains(frame, PASSWORD.as_bytes());
        self.accepted |= matches!(message, Backend::Authentication(Authentication::Ok));
        match result {
            Ok(Handshake::Ready(established)) => {
                assert!(self.accepted, "ready without AuthenticationOk");
                assert_eq!(methods.check(established.method, channel), Ok(()));
                match established.method {
                    Method::ScramSha256 | Method::ScramSha256Plus => assert!(self.signed),
                    Method::External => assert!(self.vouched),
                    _ => {}
                }
                self.hides(&format!("{established:?}"));
            }
            Ok(Handshake::Wait | Handshake::Working) => {}
            Ok(Handshake::Asked(request)) => self.hides(&format!("{request:?}")),
            Err(fault) => self.hides(&format!("{fault} {fault:?}")),
        }
    }

    fn hides(&self, shown: &str) {
        assert!(self.knows || !shown.contains(PASSWORD), "{shown}");
    }
}

/// What is allowed, and the certificate that the server has shown.
fn methods(feed: &mut Feed<'_>) -> (Methods, Option<TlsEndPoint>) {
    let bits = feed.byte();
    let least = feed.one(&[Channel::Clear, Channel::Tls, Channel::VerifiedTls]);
    let mut methods = Methods::NONE;
    if bits & 1 != 0 {
        methods = methods.allow_trust();
    }
    if bits & 2 != 0 {
        methods = methods.allow_cleartext(least);
    }
    if bits & 4 != 0 {
        methods = methods.allow_md5(least);
    }
    if bits & 8 != 0 {
        methods = methods.allow_scram();
    }
    if bits & 16 != 0 {
        methods = methods.allow_external(least);
    }
    if bits & 32 != 0 {
        methods = methods.require_binding();
    }
    let end_point = TlsEndPoint::new(&[5; 32]).filter(|_| bits & 64 != 0);
    (methods, end_point)
}

fn credential(feed: &mut Feed<'_>) -> Credential {
    match feed.below(6) {
        0 => Credential::None,
        5 => Credential::External,
        1 => Md5Digest::parse(b"md5e8dcacd3b532f5316ad9df7ed202ca21")
            .map_or(Credential::None, Credential::Md5Digest),
        #[cfg(feature = "scram")]
        2 => Credential::from_secret(login::scram::account().stored().as_bytes())
            .expect("a verifier"),
        _ => Credential::password(PASSWORD),
    }
}

fn server_says(feed: &mut Feed<'_>) -> Vec<u8> {
    match feed.below(20) {
        0 | 1 => auth(Authentication::Ok),
        2 => auth(Authentication::CleartextPassword),
        3 => auth(Authentication::Md5Password { salt: [1, 2, 3, 4] }),
        4 => sasl(&[b"SCRAM-SHA-256"]),
        5 => sasl(&[b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"]),
        6 => raw(b'R', &[&[0, 0, 0, 10], feed.bytes(20), b"\0\0"]),
        7 => challenge(),
        8 => signature(),
        9 => raw(b'R', &[&[0, 0, 0, 11], feed.bytes(60)]),
        10 => raw(b'R', &[&[0, 0, 0, 12], feed.bytes(60)]),
        11 => raw(b'S', &[b"server_version\0", feed.bytes(12), b"\0"]),
        12 => key(feed.one(&[&b"1234"[..], b"12345678"])),
        13 => ready(feed.one(&[
            TransactionStatus::Idle,
            TransactionStatus::InTransaction,
            TransactionStatus::Failed,
        ])),
        14 => raw(b'N', &[b"SNOTICE\0M", feed.bytes(20), b"\0\0"]),
        15 => error(&[(b'S', b"FATAL"), (b'C', b"28P01"), (b'M', b"no")]),
        16 => negotiate(196_608, &[b"_pq_.one"]),
        17 => ready(TransactionStatus::Idle),
        _ => raw(feed.byte(), &[feed.bytes(40)]),
    }
}

/// A frame of these parts. Nobody looks at its length word here.
fn raw(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag, 0, 0, 0, 0][..], &parts.concat()].concat()
}

#[cfg(feature = "scram")]
fn challenge() -> Vec<u8> {
    login::scram::account().challenge()
}

#[cfg(feature = "scram")]
fn signature() -> Vec<u8> {
    login::scram::account().signature()
}

#[cfg(feature = "scram")]
fn is_signature(frame: &[u8]) -> bool {
    frame == signature()
}

#[cfg(not(feature = "scram"))]
fn challenge() -> Vec<u8> {
    Vec::new()
}

#[cfg(not(feature = "scram"))]
fn signature() -> Vec<u8> {
    Vec::new()
}

#[cfg(not(feature = "scram"))]
fn is_signature(_: &[u8]) -> bool {
    false
}
