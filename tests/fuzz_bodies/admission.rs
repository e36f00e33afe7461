//! The login of a client to ourselves, whatever that client says.

use bytes::BytesMut;
use pgturnout::auth::{
    Accepted, Admission, AdmitNonces, AdmitPolicy, Admitting, Channel, ClientConnection,
    Credential, Handshake, Md5Digest, Method, Methods, Rejected, Replay, ScramNonce, TlsEndPoint,
    Users,
};
use pgturnout::startup::ProtocolVersion;
use pgturnout::wire::{Backend, Header};

use super::contains;
use super::feed::Feed;
use super::login::{self, NONCE, PASSWORD, USER};

/// Nobody gets in without the proof that the policy wants: by a password only a client that knows it and whose messages
/// arrive as it sent them, by a certificate only whom it names, unasked only where that is allowed; AuthenticationOk is
/// said to nobody else; work has an end; a call after the end does nothing; and nothing that is shown holds the password.
pub(crate) fn admission(data: &[u8]) {
    let mut feed = Feed::new(data);
    let terms = Terms::read(&mut feed);
    let mut users = Users::default();
    users.insert(USER.as_bytes(), credential(&mut feed));
    users.insert(b"bob", credential(&mut feed));
    let knows = feed.below(4) != 0;
    let password = if knows { PASSWORD } else { "another" };
    let mut client = Client::new(password, terms.connection.clone());
    let nonces = AdmitNonces {
        scram: ScramNonce::from_bytes([8; 18]),
        md5: [1, 2, 3, 4],
    };
    let user = feed.one(&[USER.as_bytes(), b"nobody"]);
    let connection = terms.connection.clone();
    let mut server = Admission::new(user, &users, &terms.policy, connection, nonces);
    let mut out = BytesMut::new();
    let mut state = server.start(&mut out);
    let mut honest = knows && user == USER.as_bytes();
    for _ in 0..8 {
        for _ in 0..100_000 / 4_096 + 1 {
            if !matches!(state, Admitting::Working) {
                break;
            }
            state = server.work(&mut out);
        }
        terms.check(&state, &out, user, honest);
        if !matches!(state, Admitting::Wait) {
            return is_over(server);
        }
        let mut said = client.answer(&out);
        out.clear();
        let tag = match feed.below(16) {
            1 => feed.byte(),
            _ => b'p',
        };
        // The byte drawn can be the right one, and then nothing was changed.
        honest &= tag == b'p';
        honest &= !tamper(&mut feed, &mut said);
        state = server.handle(tag, &said, &mut out);
    }
    panic!("a login has an end");
}

/// Changes a message, or not. Whether it did.
fn tamper(feed: &mut Feed<'_>, message: &mut Vec<u8>) -> bool {
    let before = message.clone();
    match feed.below(8) {
        1 => *message = feed.bytes(60).to_vec(),
        2 => message.truncate(feed.below(message.len() + 1)),
        3 => {
            let at = feed.below(message.len().max(1));
            if let Some(byte) = message.get_mut(at) {
                *byte = feed.byte();
            }
        }
        4 => {
            let at = feed.below(message.len() + 1);
            message.insert(at, feed.byte());
        }
        5 => message.extend_from_slice(feed.one(&[&b","[..], b",x=y", b"\0", b",p=", b" "])),
        6 => {
            let first = feed.one(&[
                &b"SCRAM-SHA-256\0\0\0\0\x09n,,n=,r=x"[..],
                b"SCRAM-SHA-256\0\0\0\0\x09y,,n=,r=x",
                b"SCRAM-SHA-256-PLUS\0\0\0\0\x1ep=tls-server-end-point,,n=,r=x",
                b"SCRAM-SHA-256\0\xff\xff\xff\xff",
                b"SCRAM-SHA-256\0\xff\xff\xff\xf0x",
            ]);
            *message = first.to_vec();
        }
        _ => {}
    }
    *message != before
}

/// An honest client with some password.
struct Client(Replay);

impl Client {
    fn new(password: &str, connection: ClientConnection) -> Client {
        let methods = Methods::NONE
            .allow_trust()
            .allow_cleartext(Channel::Tls)
            .allow_md5(Channel::Clear)
            .allow_scram();
        let mut client = Replay::new(
            &login::params(ProtocolVersion::V3_0),
            Credential::password(password),
            methods,
            connection.channel,
            ScramNonce::from_bytes(NONCE),
        )
        .bound_to(connection.end_point);
        client.start(&mut BytesMut::new()).expect("it is new");
        Client(client)
    }

    /// What it says to these frames: the body of its message, if it has anything to say.
    fn answer(&mut self, mut frames: &[u8]) -> Vec<u8> {
        let mut reply = BytesMut::new();
        while let Ok(Some(header)) = Header::parse(frames) {
            let (body, rest) = header.split(frames).expect("whole frames");
            let message = Backend::parse(header.tag, body).expect("good frames");
            let mut result = self.0.handle(message, &mut reply);
            while matches!(result, Ok(Handshake::Working)) {
                result = self.0.work(&mut reply);
            }
            frames = rest;
        }
        reply.get(5..).unwrap_or_default().to_vec()
    }
}

/// What is allowed, and over what.
struct Terms {
    policy: AdmitPolicy,
    connection: ClientConnection,
    bits: u8,
    least: Channel,
}

impl Terms {
    fn read(feed: &mut Feed<'_>) -> Terms {
        let channels = [Channel::Clear, Channel::Tls, Channel::VerifiedTls];
        let connection = ClientConnection {
            channel: feed.one(&channels),
            end_point: TlsEndPoint::new(&[5; 32]).filter(|_| feed.below(2) == 1),
            identity: feed
                .one(&[None, Some(USER.as_bytes()), Some(b"bob")])
                .map(Box::from),
        };
        let (bits, least) = (feed.byte(), feed.one(&channels));
        let mut policy = AdmitPolicy::new([9; 32]).iterations(1);
        if bits & 1 != 0 {
            policy = policy.allow_trust(least);
        }
        if bits & 2 != 0 {
            policy = policy.allow_cleartext();
        }
        if bits & 4 != 0 {
            policy = policy.allow_md5(least);
        }
        if bits & 8 != 0 {
            policy = policy.allow_scram();
        }
        if bits & 16 != 0 {
            policy = policy.require_binding();
        }
        if bits & 32 != 0 {
            policy = policy.allow_certificates();
        }
        Terms {
            policy,
            connection,
            bits,
            least,
        }
    }

    fn check(&self, state: &Admitting, said: &[u8], user: &[u8], honest: bool) {
        let ok = contains(said, b"R\0\0\0\x08\0\0\0\0");
        assert_eq!(ok, matches!(state, Admitting::Accepted(_)), "{state:?}");
        let shown = format!("{state:?}");
        assert!(!shown.contains(PASSWORD), "{shown}");
        match state {
            Admitting::Accepted(accepted) => self.deserved(accepted, user, honest),
            Admitting::Refused(rejected) => {
                assert_eq!(said, b"");
                assert!(!matches!(rejected, Rejected::OutOfTurn));
                assert!(!rejected.to_string().contains(PASSWORD));
            }
            Admitting::Wait => assert_eq!(said.first(), Some(&b'R')),
            Admitting::Working => panic!("hashing does not end"),
        }
    }

    fn deserved(&self, accepted: &Accepted, user: &[u8], honest: bool) {
        let allowed = |bit: u8| self.bits & bit != 0;
        let over = |least: Channel| self.connection.channel >= least;
        match accepted.method {
            Method::Trust => assert!(allowed(1) && over(self.least)),
            Method::Certificate => {
                assert!(allowed(32) && self.connection.identity.as_deref() == Some(user));
            }
            Method::Cleartext => assert!(allowed(2) && over(Channel::Tls) && honest),
            Method::Md5 => assert!(allowed(4) && over(self.least) && honest),
            Method::ScramSha256 => assert!(allowed(8) && !allowed(16) && honest),
            Method::ScramSha256Plus => {
                assert!(allowed(24) && self.connection.end_point.is_some() && honest);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Nothing more is taken or said.
fn is_over(mut login: Admission) {
    let mut out = BytesMut::new();
    for again in [
        login.start(&mut out),
        login.work(&mut out),
        login.handle(b'p', b"x\0", &mut out),
    ] {
        assert!(matches!(again, Admitting::Refused(Rejected::OutOfTurn)));
    }
    assert_eq!(out, "");
}

fn credential(feed: &mut Feed<'_>) -> Credential {
    match feed.below(6) {
        0 => Credential::None,
        // Of the password that `alice` has.
        1 => Credential::Md5Digest(digest()),
        #[cfg(feature = "scram")]
        2 => Credential::from_secret(login::scram::account().stored().as_bytes())
            .expect("a verifier"),
        5 => Credential::External,
        _ => Credential::password(PASSWORD),
    }
}

fn digest() -> Md5Digest {
    pgturnout::auth::md5_digest(USER.as_bytes(), PASSWORD.as_bytes())
}
