//! Limits of a login to one more server.

use bytes::BytesMut;
use pgturnout::auth::{
    AuthError, Channel, Credential, ExternalAnswer, Methods, Replay, TlsEndPoint,
};
use pgturnout::limits;
use pgturnout::wire::Authentication;

use crate::login::{self, Frame, auth, hand_in, notice, parameter, run};

/// How many of these messages a login takes behind AuthenticationOk before it is too much.
fn taken(what: &'static str, frame: impl Fn(usize) -> Frame) -> usize {
    let mut settling: Replay = login::started();
    run(&mut settling, [&auth(Authentication::Ok)]).unwrap();
    let ends = |n: &usize| match run(&mut settling, [&frame(*n)]) {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error, AuthError::TooMany { what });
            true
        }
    };
    (0..1_000).find(ends).expect("bounded")
}

#[test]
fn login_parameters_max() {
    let count = taken("parameters", |n| parameter(n.to_string().as_bytes(), b"v"));
    assert_eq!(count, limits::LOGIN_PARAMETERS_MAX);
}

#[test]
fn login_parameter_bytes_max() {
    let most = limits::LOGIN_PARAMETER_BYTES_MAX;
    let of = |bytes: usize| {
        taken("parameters", move |_| {
            parameter(b"n", &vec![b'v'; bytes - 1])
        })
    };
    assert_eq!((of(most), of(most + 1)), (1, 0));
    assert_eq!((of(most / 4), of(most / 4 + 1)), (4, 3));
}

#[test]
fn login_notices_max() {
    assert_eq!(
        taken("notices", |_| notice(b"n")),
        limits::LOGIN_NOTICES_MAX
    );
}

#[test]
fn login_notice_bytes_max() {
    // With its severity and its code.
    let of = |bytes: usize| {
        taken("notices", move |_| {
            notice(&vec![b'n'; bytes - "NOTICE00000".len()])
        })
    };
    let most = limits::LOGIN_NOTICE_BYTES_MAX;
    assert_eq!((of(most), of(most + 1)), (1, 0));
    assert_eq!((of(most / 4), of(most / 4 + 1)), (4, 3));
}

#[test]
fn tls_end_point_max() {
    let most = limits::TLS_END_POINT_MAX;
    assert!(TlsEndPoint::new(&vec![1; most]).is_some());
    assert_eq!(TlsEndPoint::new(&vec![1; most + 1]), None);
    assert_eq!(TlsEndPoint::new(b""), None);
}

/// A started login that the caller answers for.
fn caller_answers() -> Replay {
    let methods = Methods::NONE.allow_external(Channel::Clear);
    let mut login = login::login(Credential::External, methods, Channel::Clear);
    login.start(&mut BytesMut::new()).unwrap();
    login
}

fn token(bytes: usize) -> Frame {
    auth(Authentication::GssContinue {
        data: &vec![7; bytes],
    })
}

#[test]
fn external_message_max() {
    let most = limits::EXTERNAL_MESSAGE_MAX;
    // With its code.
    let asked = |bytes| hand_in(&mut caller_answers(), &token(bytes - 4)).0.err();
    assert_eq!(asked(most), None);
    assert_eq!(asked(most + 1), Some(AuthError::ExternalTooLong));
    let answered = |bytes: usize| {
        let mut login = caller_answers();
        run(&mut login, [&token(1)]).unwrap();
        let data = vec![7; bytes];
        login.answer(ExternalAnswer::More(&data), &mut BytesMut::new())
    };
    assert_eq!(answered(most), Ok(()));
    assert_eq!(answered(most + 1), Err(AuthError::ExternalTooLong));
}

#[test]
fn external_rounds_max() {
    let mut login = caller_answers();
    let ends = |_: &usize| match run(&mut login, [&token(1)]) {
        Ok(_) => {
            let answer = ExternalAnswer::More(b"x");
            login.answer(answer, &mut BytesMut::new()).unwrap();
            false
        }
        Err(error) => {
            assert_eq!(error, AuthError::TooMany { what: "questions" });
            true
        }
    };
    let rounds = (0..1_000).find(ends).expect("bounded");
    assert_eq!(rounds, limits::EXTERNAL_ROUNDS_MAX);
}

#[cfg(feature = "scram")]
mod scram {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use bytes::BytesMut;
    use pgturnout::auth::scram::{ClientFirst, ScramError};
    use pgturnout::auth::{Credential, Handshake, Secret};
    use pgturnout::cancel::{CancelRing, ShortSecret};
    use pgturnout::limits;

    use crate::login::scram::{Account, client_nonce};
    use crate::login::{self, PASSWORD, hand_in, run, sasl};

    /// What is wrong with a server-first-message of these parts.
    fn fault(nonce: usize, salt: usize, iterations: u32, padding: usize) -> Option<ScramError> {
        let own = client_nonce();
        let more = "x".repeat(nonce - own.len());
        let salt = STANDARD.encode(vec![7; salt]);
        let extension = if padding == 0 {
            String::new()
        } else {
            format!(",x={}", "y".repeat(padding - 3))
        };
        let message = format!("r={own}{more},s={salt},i={iterations}{extension}");
        let first = ClientFirst::new(b"", own.as_bytes()).unwrap();
        first.server_first(message.as_bytes()).err()
    }

    #[test]
    fn scram_nonce_max() {
        assert_eq!(fault(limits::SCRAM_NONCE_MAX, 16, 1, 0), None);
        assert_eq!(
            fault(limits::SCRAM_NONCE_MAX + 1, 16, 1, 0),
            Some(ScramError::ServerNonce)
        );
    }

    #[test]
    fn cancel_ring_secret_min() {
        let ring = |len: usize| CancelRing::new(1, Secret::new(vec![7; len]));
        assert!(ring(limits::CANCEL_RING_SECRET_MIN).is_ok());
        let len = limits::CANCEL_RING_SECRET_MIN - 1;
        assert_eq!(ring(len).err(), Some(ShortSecret { len }));
    }

    #[test]
    fn scram_salt_max() {
        assert_eq!(fault(48, limits::SCRAM_SALT_MAX, 1, 0), None);
        assert_eq!(
            fault(48, limits::SCRAM_SALT_MAX + 1, 1, 0),
            Some(ScramError::Salt)
        );
    }

    #[test]
    fn scram_iterations_max() {
        assert_eq!(fault(48, 16, limits::SCRAM_ITERATIONS_MAX, 0), None);
        let more = limits::SCRAM_ITERATIONS_MAX + 1;
        assert_eq!(fault(48, 16, more, 0), Some(ScramError::TooManyIterations));
    }

    #[test]
    fn scram_message_max() {
        let bare = format!("r={},s={},i=1", "x".repeat(48), STANDARD.encode([7; 16])).len();
        let padding = limits::SCRAM_MESSAGE_MAX - bare;
        // No server has extensions, and none is taken; but it is read.
        assert_eq!(fault(48, 16, 1, padding), Some(ScramError::Leftover));
        assert_eq!(
            fault(48, 16, 1, padding + 1),
            Some(ScramError::MessageTooLong)
        );
    }

    /// How many bytes are held at once while an exchange of the longest messages is watched, and while we are the
    /// server of one.
    #[test]
    fn login_exchanges() {
        use pgturnout::auth::{
            Admission, AdmitNonces, AdmitPolicy, Admitting, ClientConnection, Observer, ScramNonce,
            Users,
        };
        let long = |head: &str| {
            format!(
                "{head}{}",
                "x".repeat(limits::SCRAM_MESSAGE_MAX - head.len())
            )
        };
        let bare = long("n,,n=,r=nonce,x=");
        let first = [b"SCRAM-SHA-256\0\0\0\x40\0", bare.as_bytes()].concat();
        let challenge = long(&format!("{},x=", Account::new(PASSWORD, 1).server_first()));
        let proof = format!(",p={}", STANDARD.encode([0; 32]));
        let last = |nonce: &str| {
            let padding = limits::SCRAM_MESSAGE_MAX - proof.len();
            let head = format!("c=biws,r={nonce},x=");
            format!("{head}{}{proof}", "x".repeat(padding - head.len()))
        };
        let listed =
            || Credential::from_secret(Account::new(PASSWORD, 1).stored().as_bytes()).unwrap();
        let mut users = Users::default();
        users.insert(b"alice", listed());
        let credential = users.get(b"alice");
        let response = last("nonce");
        let watched = allocation_counter::measure(|| {
            let mut observer = Observer::new(credential);
            observer.chosen(&first).unwrap();
            observer.challenged(challenge.as_bytes());
            observer.responded(response.as_bytes());
        });
        let nonces = AdmitNonces {
            scram: ScramNonce::from_bytes([0; 18]),
            md5: [0; 4],
        };
        let response = last(&format!("nonce{}", "A".repeat(24)));
        let policy = AdmitPolicy::new([0; 32]).allow_scram();
        let mut out = BytesMut::with_capacity(1_000);
        let served = allocation_counter::measure(|| {
            let connection = ClientConnection::default();
            let mut login = Admission::new(b"alice", &users, &policy, connection, nonces);
            login.start(&mut out);
            assert!(matches!(
                login.handle(b'p', &first, &mut out),
                Admitting::Wait
            ));
            let working = login.handle(b'p', response.as_bytes(), &mut out);
            assert!(matches!(working, Admitting::Working));
            assert!(matches!(login.work(&mut out), Admitting::Refused(_)));
        });
        for (what, measured) in [("watched", watched), ("served", served)] {
            let most = measured.bytes_max;
            let three = u64::try_from(3 * limits::SCRAM_MESSAGE_MAX).unwrap();
            assert!(most <= 2 * three, "{what}: {most} bytes");
            assert!(
                most >= three - 4_096,
                "{what}: {most} bytes are not the most"
            );
        }
        assert_eq!(limits::LOGIN_EXCHANGES, 6 * limits::SCRAM_MESSAGE_MAX);
    }

    #[test]
    fn scram_step_iterations() {
        for (iterations, calls) in [
            // The first comes with the challenge.
            (limits::SCRAM_STEP_ITERATIONS + 1, 1),
            (limits::SCRAM_STEP_ITERATIONS + 2, 2),
        ] {
            let methods = login::everything_allowed();
            let credential = Credential::password(PASSWORD);
            let mut login = login::login(credential, methods, pgturnout::auth::Channel::Clear);
            login.start(&mut BytesMut::new()).unwrap();
            run(&mut login, [&sasl(&[b"SCRAM-SHA-256"])]).unwrap();
            let challenge = Account::new(PASSWORD, iterations).challenge();
            let mut result = hand_in(&mut login, &challenge).0;
            let mut made = 0;
            while let Ok(Handshake::Working) = result {
                result = login.work(&mut BytesMut::new());
                made += 1;
            }
            assert!(matches!(result, Ok(Handshake::Wait)));
            assert_eq!(made, calls, "{iterations} iterations");
        }
    }
}
