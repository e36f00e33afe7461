//! MD5 and SCRAM-SHA-256 against what others computed: `tests/data/auth.txt`.

use pgturnout::auth::{Credential, md5_digest, md5_password};

const VECTORS: &str = include_str!("data/auth.txt");

/// The fields of all lines of this kind.
fn vectors<const N: usize>(kind: &str) -> Vec<[&'static str; N]> {
    let found: Vec<_> = VECTORS
        .lines()
        .filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))
        .map(|line| line.split(' ').collect::<Vec<_>>().try_into().unwrap())
        .collect();
    assert!(!found.is_empty(), "no {kind} in the data");
    found
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn md5_answers() {
    for [user, password, salt, answer] in vectors("md5") {
        let salt = unhex(salt).try_into().unwrap();
        assert_eq!(
            &md5_password(user.as_bytes(), password.as_bytes(), salt),
            answer.as_bytes()
        );
        assert_eq!(
            &md5_digest(user.as_bytes(), password.as_bytes()).answer(salt),
            answer.as_bytes()
        );
    }
}

#[test]
fn a_stored_digest_serves_like_the_password() {
    for [user, password, stored] in vectors("stored") {
        let Ok(Credential::Md5Digest(digest)) = Credential::from_secret(stored.as_bytes()) else {
            panic!("not seen as a digest: {stored}")
        };
        assert_eq!(
            digest.answer([1, 2, 3, 4]),
            md5_password(user.as_bytes(), password.as_bytes(), [1, 2, 3, 4])
        );
    }
}

#[cfg(feature = "scram")]
mod scram {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use pgturnout::auth::scram::{Challenge, ClientFinal, ClientFirst, Progress, recover_keys};
    use pgturnout::auth::{AuthError, Credential, ScramVerifier, Secret};

    use super::{unhex, vectors};

    /// Hashes in steps of this many iterations, and counts the steps.
    fn answer(challenge: Challenge, password: &[u8], step: u32) -> (ClientFinal, usize) {
        let mut progress = challenge.hash(&Secret::copy_of(password)).work(step);
        let mut steps = 1;
        loop {
            match progress {
                Progress::More(hashing) => progress = hashing.work(step),
                Progress::Done(last) => return (last, steps),
            }
            steps += 1;
        }
    }

    #[test]
    fn whole_exchanges() {
        for [
            user,
            password,
            nonce,
            server_first,
            client_final,
            server_final,
        ] in vectors("scram")
        {
            for step in [0, 1, 7, 4_095, 4_096, u32::MAX] {
                let first = ClientFirst::new(user.as_bytes(), nonce.as_bytes()).unwrap();
                assert_eq!(first.message(), format!("n,,n={user},r={nonce}").as_bytes());
                let challenge = first.server_first(server_first.as_bytes()).unwrap();
                let iterations = challenge.iterations() as usize;
                let (last, steps) = answer(challenge, password.as_bytes(), step);
                assert_eq!(last.message(), client_final.as_bytes());
                // The first iteration is done with the salt at hand.
                assert_eq!(steps, (iterations - 1).div_ceil(step.max(1) as usize));
                last.server_final(server_final.as_bytes()).unwrap();
            }
        }
    }

    /// The account that a server keeps for this verifier, challenged and answered: the proof opens it if, and only if,
    /// the password is prepared and hashed as PostgreSQL does it.
    fn opens(password: &[u8], stored: &str) -> bool {
        let verifier = ScramVerifier::parse(stored.as_bytes()).unwrap();
        let salt = STANDARD.encode(verifier.salt());
        let server_first = format!("r=abcdef,s={salt},i={}", verifier.iterations());
        let challenge = ClientFirst::new(b"", b"abc")
            .unwrap()
            .server_first(server_first.as_bytes())
            .unwrap();
        let (last, _) = answer(challenge, password, u32::MAX);
        let message = std::str::from_utf8(last.message()).unwrap();
        let (without_proof, proof) = message.split_once(",p=").unwrap();
        let auth_message = format!("n=,r=abc,{server_first},{without_proof}");
        let proof = STANDARD.decode(proof).unwrap().try_into().unwrap();
        let keys = recover_keys(&verifier, auth_message.as_bytes(), &proof);

        // Recovered keys answer the same challenge as the password does.
        if let Some(keys) = &keys {
            let challenge = ClientFirst::new(b"", b"abc")
                .unwrap()
                .server_first(server_first.as_bytes())
                .unwrap();
            assert_eq!(challenge.answer(keys).unwrap().message(), last.message());
        }
        keys.is_some()
    }

    #[test]
    fn passwords_are_prepared_as_postgresql_prepares_them() {
        for [password, stored] in vectors("verifier") {
            assert!(opens(&unhex(password), stored), "{password}");
            assert!(
                !opens(&[&unhex(password)[..], b"x"].concat(), stored),
                "{password}"
            );
        }
    }

    #[test]
    fn stored_verifiers_are_seen_by_their_shape() {
        for [_, stored] in vectors("verifier") {
            assert!(
                matches!(
                    Credential::from_secret(stored.as_bytes()),
                    Ok(Credential::ScramVerifier(_))
                ),
                "{stored}"
            );
            for cut in "SCRAM-SHA-256$".len()..stored.len() {
                let error = Credential::from_secret(&stored.as_bytes()[..cut]).unwrap_err();
                assert_eq!(
                    error,
                    AuthError::MalformedVerifier,
                    "{cut} bytes of {stored}"
                );
            }
        }
        let [_, stored] = vectors("verifier")[0];
        for bad in [
            stored.replace("$4096", "$0"),
            stored.replace("$4096", "$04096"),
            stored.replace("$4096", "$+4096"),
            stored.replace("$4096", "$100001"),
            stored.replace("4096:", "4096: "),
            stored.replace("=:", ":"),
            format!("{stored} "),
            format!("{stored}$"),
        ] {
            assert!(ScramVerifier::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}

#[test]
fn anything_else_is_a_password() {
    for text in [
        "",
        "md5",
        "md5e8dcacd3b532f5316ad9df7ed202ca2",
        "MD5e8dcacd3b532f5316ad9df7ed202ca21",
        "scram-sha-256$x",
    ] {
        assert!(
            matches!(
                Credential::from_secret(text.as_bytes()),
                Ok(Credential::Password(_))
            ),
            "{text}"
        );
    }
}
