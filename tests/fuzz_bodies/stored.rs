//! What servers store of passwords, as a list of users holds it.

use pgturnout::auth::{AuthError, Credential, CredentialKind, Md5Digest};
#[cfg(feature = "scram")]
use {
    base64::{Engine as _, engine::general_purpose::STANDARD},
    pgturnout::auth::ScramVerifier,
};

use super::feed::Feed;

/// What stored forms are made of.
const PIECES: &[&str] = &[
    "md5",
    "0123456789abcdef",
    "ABCDEF",
    "SCRAM-SHA-256$",
    "SCRAM-SHA-1$",
    "4096",
    "100000",
    "100001",
    "0",
    ":",
    "$",
    "c2FsdA==",
    "c2FsdA",
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",
    "\n",
    "SCRAM-SHA-256$4096:c2FsdA==$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:",
];

const DIGEST: &[u8] = b"md5ffffffffffffffffffffffffffffffff";
#[cfg(feature = "scram")]
const VERIFIER: &[u8] = b"SCRAM-SHA-256$1:AA==$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A text is a digest or a verifier exactly if it has the form of one, else a password; one that only begins like a
/// verifier is refused; a digest's answers are accepted and no others; and what is shown of it is shown of any other.
pub(crate) fn stored(data: &[u8]) {
    let mut feed = Feed::new(data);
    let text = match feed.below(2) {
        0 => feed.rest().to_vec(),
        _ => {
            let mut text = String::new();
            while !feed.is_empty() {
                text.push_str(feed.one(PIECES));
            }
            text.into_bytes()
        }
    };
    let shown = text.escape_ascii();
    let digits = text.strip_prefix(b"md5");
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let is_digest = digits.is_some_and(|it| it.len() == 32 && it.iter().all(is_hex));
    let digest = Md5Digest::parse(&text);
    assert_eq!(digest.is_some(), is_digest, "{shown}");
    if let Some(digest) = digest {
        answers(&digest, &text);
    }
    let begins = text.starts_with(b"SCRAM-SHA-256$");
    let credential = Credential::from_secret(&text);
    let kind = match is_digest {
        true => Some(CredentialKind::Md5Digest),
        false if !begins => Some(CredentialKind::Password),
        false => verifier(&text),
    };
    let (found, other) = match &credential {
        Ok(Credential::Password(password)) => {
            assert_eq!(password.expose(), text);
            (Some(CredentialKind::Password), &b"another"[..])
        }
        Ok(Credential::Md5Digest(_)) => (Some(CredentialKind::Md5Digest), DIGEST),
        #[cfg(feature = "scram")]
        Ok(Credential::ScramVerifier(_)) => (Some(CredentialKind::ScramVerifier), VERIFIER),
        Ok(_) => panic!("{shown} is {credential:?}"),
        Err(_) => (None, &b"SCRAM-SHA-256$"[..]),
    };
    assert_eq!(found, kind, "{shown}");
    let other = Credential::from_secret(other);
    assert_eq!(format!("{credential:?}"), format!("{other:?}"), "{shown}");
    let why = |of: &Result<Credential, _>| of.as_ref().err().map(AuthError::to_string);
    assert_eq!(why(&credential), why(&other), "{shown}");
}

fn answers(digest: &Md5Digest, text: &[u8]) {
    for salt in [[0; 4], [1, 2, 3, 4]] {
        let mut answer = digest.answer(salt);
        assert!(digest.accepts(salt, &answer) && !digest.accepts([9; 4], &answer));
        assert!(!digest.accepts(salt, text) && !digest.accepts(salt, &answer[..34]));
        answer[34] ^= 1;
        assert!(!digest.accepts(salt, &answer));
    }
    let other = Md5Digest::parse(DIGEST);
    assert_eq!(
        Some(format!("{digest:?}")),
        other.map(|it| format!("{it:?}"))
    );
}

/// What a text that begins like a verifier is.
#[cfg(feature = "scram")]
fn verifier(text: &[u8]) -> Option<CredentialKind> {
    let parsed = ScramVerifier::parse(text);
    let parts = std::str::from_utf8(text).ok().and_then(|text| {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| STANDARD.decode(text).is_ok_and(|key| key.len() == 32);
        let number: u32 = iterations.parse().ok()?;
        let salt = STANDARD.decode(salt).ok()?;
        let sound = number.to_string() == iterations
            && (1..=100_000).contains(&number)
            && (1..=pgturnout::limits::SCRAM_SALT_MAX).contains(&salt.len())
            && key(stored)
            && key(server);
        sound.then_some((number, salt))
    });
    let read = parsed.map(|found| (found.iterations(), found.salt().to_vec()));
    assert_eq!(read, parts, "{}", text.escape_ascii());
    read.map(|_| CredentialKind::ScramVerifier)
}

#[cfg(not(feature = "scram"))]
fn verifier(_text: &[u8]) -> Option<CredentialKind> {
    None
}
