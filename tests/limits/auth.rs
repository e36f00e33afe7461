//! Limits of a login to one more server.

use pgturnout::auth::{AuthError, Replay};
use pgturnout::limits;
use pgturnout::wire::Authentication;

use crate::login::{self, Frame, auth, notice, parameter, run};

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
