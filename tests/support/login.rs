//! A server's side of a login, for tests: frames of every kind, and a SCRAM-SHA-256 server that knows the password.
#![allow(dead_code, reason = "each test file uses a part of it")]

use bytes::BytesMut;
use pgturnout::auth::{AuthError, Channel, Credential, Handshake, Methods, Replay, ScramNonce};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use pgturnout::wire::{Authentication, Backend, Fields, Names, TransactionStatus};

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "pencil";
pub(crate) const NONCE: [u8; 18] = [7; 18];

/// One frame of a server.
pub(crate) type Frame = Vec<u8>;

pub(crate) fn frame(message: Backend<'_>) -> Frame {
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    out.to_vec()
}

pub(crate) fn auth(request: Authentication<'_>) -> Frame {
    frame(Backend::Authentication(request))
}

pub(crate) fn sasl(mechanisms: &[&[u8]]) -> Frame {
    auth(Authentication::Sasl {
        mechanisms: Names::new(mechanisms),
    })
}

pub(crate) fn sasl_continue(data: &str) -> Frame {
    auth(Authentication::SaslContinue {
        data: data.as_bytes(),
    })
}

pub(crate) fn sasl_final(data: &str) -> Frame {
    auth(Authentication::SaslFinal {
        data: data.as_bytes(),
    })
}

pub(crate) fn parameter(name: &[u8], value: &[u8]) -> Frame {
    frame(Backend::ParameterStatus { name, value })
}

pub(crate) fn key(secret: &[u8]) -> Frame {
    frame(Backend::BackendKeyData {
        process_id: 42,
        secret,
    })
}

pub(crate) fn ready(status: TransactionStatus) -> Frame {
    frame(Backend::ReadyForQuery { status })
}

pub(crate) fn notice(message: &[u8]) -> Frame {
    frame(Backend::NoticeResponse(Fields::new(&[
        (b'S', b"NOTICE"),
        (b'C', b"00000"),
        (b'M', message),
    ])))
}

pub(crate) fn error(fields: &[(u8, &[u8])]) -> Frame {
    frame(Backend::ErrorResponse(Fields::new(fields)))
}

pub(crate) fn negotiate(newest: u32, options: &[&[u8]]) -> Frame {
    let newest = newest as i32;
    frame(Backend::NegotiateProtocolVersion {
        newest,
        options: Names::new(options),
    })
}

pub(crate) fn params(version: ProtocolVersion) -> StartupParams {
    let pairs = [
        (&b"user"[..], USER.as_bytes()),
        (b"database", b"app"),
        (b"_pq_.one", b"1"),
        (b"_pq_.two", b""),
    ];
    StartupParams::build(version, pairs).unwrap()
}

pub(crate) fn everything_allowed() -> Methods {
    Methods::NONE
        .allow_trust()
        .allow_cleartext(Channel::Tls)
        .allow_md5(Channel::Clear)
        .allow_scram()
}

pub(crate) fn login(credential: Credential, methods: Methods, channel: Channel) -> Replay {
    let nonce = ScramNonce::from_bytes(NONCE);
    Replay::new(
        &params(ProtocolVersion::V3_2),
        credential,
        methods,
        channel,
        nonce,
    )
}

/// A started login that may do anything, with a password, over TLS.
pub(crate) fn started() -> Replay {
    let mut login = login(
        Credential::password(PASSWORD),
        everything_allowed(),
        Channel::VerifiedTls,
    );
    login.start(&mut BytesMut::new()).unwrap();
    login
}

/// Hands in a frame; what the login sends comes back with the result.
pub(crate) fn hand_in(login: &mut Replay, frame: &[u8]) -> (Result<Handshake, AuthError>, Vec<u8>) {
    let mut reply = BytesMut::new();
    let message = Backend::parse(frame[0], &frame[5..]).unwrap();
    (login.handle(message, &mut reply), reply.to_vec())
}

/// Hands in frames and works off what they cause, up to an error or the end.
pub(crate) fn run<'f>(
    login: &mut Replay,
    frames: impl IntoIterator<Item = &'f Frame>,
) -> Result<Handshake, AuthError> {
    let mut last = Ok(Handshake::Wait);
    for frame in frames {
        last = hand_in(login, frame).0;
        while let Ok(Handshake::Working) = last {
            last = login.work(&mut BytesMut::new());
        }
        if last.is_err() {
            break;
        }
    }
    last
}

#[cfg(feature = "scram")]
pub(crate) mod scram {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::{Digest as _, Sha256};

    use super::{Frame, NONCE, PASSWORD, sasl_continue, sasl_final};

    pub(crate) const SALT: &[u8] = b"sixteen salty by";

    fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
        let mac = <Hmac<Sha256>>::new_from_slice(key).unwrap();
        mac.chain_update(text).finalize().into_bytes().into()
    }

    fn xor(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| a[i] ^ b[i])
    }

    /// What a server has of an account, and what a client has.
    pub(crate) struct Account {
        pub(crate) client_key: [u8; 32],
        pub(crate) stored_key: [u8; 32],
        pub(crate) server_key: [u8; 32],
        pub(crate) iterations: u32,
    }

    impl Account {
        pub(crate) fn new(password: &str, iterations: u32) -> Account {
            let mut last = hmac(password.as_bytes(), &[SALT, &[0, 0, 0, 1]].concat());
            let mut salted = last;
            for _ in 1..iterations {
                last = hmac(password.as_bytes(), &last);
                salted = xor(salted, last);
            }
            let client_key = hmac(&salted, b"Client Key");
            Account {
                client_key,
                stored_key: Sha256::digest(client_key).into(),
                server_key: hmac(&salted, b"Server Key"),
                iterations,
            }
        }

        pub(crate) fn stored(&self) -> String {
            let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
            let (salt, stored, server) = (
                base64(SALT),
                base64(&self.stored_key),
                base64(&self.server_key),
            );
            format!("SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
        }

        /// server-first-message for the login with [`NONCE`].
        pub(crate) fn server_first(&self) -> String {
            format!(
                "r={}SERVER,s={},i={}",
                client_nonce(),
                STANDARD.encode(SALT),
                self.iterations
            )
        }

        fn auth_message(&self) -> String {
            let nonce = client_nonce();
            format!(
                "n=,r={nonce},{},c=biws,r={nonce}SERVER",
                self.server_first()
            )
        }

        /// server-final-message with the right signature.
        pub(crate) fn server_final(&self) -> String {
            format!(
                "v={}",
                STANDARD.encode(hmac(&self.server_key, self.auth_message().as_bytes()))
            )
        }

        /// Whether client-final-message proves the password.
        pub(crate) fn accepts(&self, client_final: &[u8]) -> bool {
            let text = std::str::from_utf8(client_final).unwrap();
            let (_, proof) = text.split_once(",p=").unwrap();
            let proof: [u8; 32] = STANDARD.decode(proof).unwrap().try_into().unwrap();
            let client_key = xor(
                proof,
                hmac(&self.stored_key, self.auth_message().as_bytes()),
            );
            <[u8; 32]>::from(Sha256::digest(client_key)) == self.stored_key
        }

        pub(crate) fn challenge(&self) -> Frame {
            sasl_continue(&self.server_first())
        }

        pub(crate) fn signature(&self) -> Frame {
            sasl_final(&self.server_final())
        }
    }

    /// The account of the tests, with one iteration to keep them fast.
    pub(crate) fn account() -> Account {
        Account::new(PASSWORD, 1)
    }

    pub(crate) fn client_nonce() -> String {
        STANDARD.encode(NONCE)
    }
}
