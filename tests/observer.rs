//! What a proxy learns from a SCRAM login that passes through it.
//!
//! Laws: L9 (total), L11 (secrets), and that keys are learnt only from the proof of the listed verifier's password.
#![cfg(feature = "scram")]

#[path = "support/login.rs"]
mod support;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use pgturnout::auth::{
    CannotPass, Channel, Credential, Handshake, Md5Digest, Methods, NotLearnt, Observer, Replay,
    ScramKeys, ScramNonce, TlsEndPoint,
};
use pgturnout::limits;
use pgturnout::startup::ProtocolVersion;
use pgturnout::wire::Names;
use support::scram::{Account, account, client_nonce};
use support::*;

fn verifier(account: &Account) -> Arc<Credential> {
    Arc::new(Credential::from_secret(account.stored().as_bytes()).unwrap())
}

/// A client that logs in with the password, and says `y` if it could bind.
fn client(password: &str, end_point: Option<TlsEndPoint>) -> Replay {
    let methods = Methods::NONE.allow_scram();
    let mut client = Replay::new(
        &params(ProtocolVersion::V3_0),
        Credential::password(password),
        methods,
        Channel::Tls,
        ScramNonce::from_bytes(NONCE),
    )
    .bound_to(end_point);
    client.start(&mut BytesMut::new()).unwrap();
    client
}

/// What the client sends for this frame, hashing included.
fn says(client: &mut Replay, frame: &Frame) -> Vec<u8> {
    let (mut result, mut sent) = hand_in(client, frame);
    while let Ok(Handshake::Working) = result {
        let mut reply = BytesMut::new();
        result = client.work(&mut reply);
        sent = reply.to_vec();
    }
    result.unwrap();
    sent[5..].to_vec()
}

/// An observer after the login of a client with this password at a server with this account.
fn watch(listed: Arc<Credential>, server: &Account, password: &str) -> Observer {
    let mut observer = Observer::new(listed);
    let mut client = client(password, None);
    observer.offered(&Names::new(&[b"SCRAM-SHA-256"]));
    let first = says(&mut client, &sasl(&[b"SCRAM-SHA-256"]));
    observer.chosen(&first).unwrap();
    observer.challenged(server.server_first().as_bytes());
    observer.responded(&says(&mut client, &server.challenge()));
    observer
}

/// Whether these keys open the account.
fn open(keys: ScramKeys, account: &Account) -> bool {
    let methods = Methods::NONE.allow_scram();
    let mut login = login(Credential::ScramKeys(keys), methods, Channel::Clear);
    login.start(&mut BytesMut::new()).unwrap();
    hand_in(&mut login, &sasl(&[b"SCRAM-SHA-256"])).0.unwrap();
    let (result, sent) = hand_in(&mut login, &account.challenge());
    result.is_ok() && account.accepts(&sent[5..])
}

#[test]
fn a_verifier_becomes_keys() {
    let account = account();
    let observer = watch(verifier(&account), &account, PASSWORD);
    let keys = observer.accepted().unwrap().unwrap();
    assert_eq!(format!("{keys:?}"), "ScramKeys(..)");
    assert!(open(keys, &account));
}

/// The messages count as they came, whatever the client says about binding and whatever extensions it has.
#[test]
fn the_messages_count_as_they_came() {
    let account = account();
    for (header, extension) in [("n,,", ""), ("y,,", ""), ("n,,", ",x=y")] {
        let nonce = client_nonce();
        let bare = format!("n=somebody,r={nonce}{extension}");
        let without_proof = format!("c={},r={nonce}SERVER{extension}", STANDARD.encode(header));
        let messages = format!("{bare},{},{without_proof}", account.server_first());
        let proof = prove(&account, &messages);
        let mut observer = Observer::new(verifier(&account));
        observer.offered(&Names::new(&[b"SCRAM-SHA-256"]));
        let first = format!("{header}{bare}");
        observer
            .chosen(&initial(b"SCRAM-SHA-256", first.as_bytes()))
            .unwrap();
        observer.challenged(account.server_first().as_bytes());
        observer.responded(format!("{without_proof},p={proof}").as_bytes());
        assert!(
            open(observer.accepted().unwrap().unwrap(), &account),
            "{header}{extension}"
        );
    }
}

fn prove(account: &Account, messages: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mac = <Hmac<sha2::Sha256>>::new_from_slice(&account.stored_key).unwrap();
    let signature = mac.chain_update(messages).finalize().into_bytes();
    let proof: Vec<u8> = signature
        .iter()
        .zip(account.client_key)
        .map(|(a, b)| a ^ b)
        .collect();
    STANDARD.encode(proof)
}

fn initial(mechanism: &[u8], data: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    let data = Some(data);
    pgturnout::wire::password::SaslInitialResponse { mechanism, data }
        .encode(&mut frame)
        .unwrap();
    frame[5..].to_vec()
}

/// A05: the verifier that is listed is another one than the server's.
#[test]
fn another_verifier_is_named() {
    let server = account();
    let iterations = Account::new(PASSWORD, 2);
    let observer = watch(verifier(&iterations), &server, PASSWORD);
    assert_eq!(observer.accepted().unwrap_err(), NotLearnt::OtherDerivation);
    let salt = server
        .stored()
        .replace(&STANDARD.encode(scram::SALT), &STANDARD.encode("pepper"));
    let other_salt = Arc::new(Credential::from_secret(salt.as_bytes()).unwrap());
    let observer = watch(other_salt, &server, PASSWORD);
    assert_eq!(observer.accepted().unwrap_err(), NotLearnt::OtherDerivation);
    let password = Account::new("another", 1);
    let observer = watch(verifier(&password), &server, PASSWORD);
    assert_eq!(observer.accepted().unwrap_err(), NotLearnt::OtherPassword);
}

/// Of a wrong password nothing is learnt, even if a server accepts it.
#[test]
fn a_wrong_proof_gives_no_keys() {
    let account = account();
    let observer = watch(verifier(&account), &account, "another");
    assert_eq!(observer.accepted().unwrap_err(), NotLearnt::OtherPassword);
}

#[test]
fn without_scram_a_verifier_stays_one() {
    let observer = Observer::new(verifier(&account()));
    assert_eq!(observer.accepted().unwrap_err(), NotLearnt::NoScram);
    // An exchange that ends early, or begins anew.
    let account = account();
    let mut observer = watch(verifier(&account), &account, PASSWORD);
    observer.offered(&Names::new(&[b"SCRAM-SHA-256"]));
    assert_eq!(observer.accepted().unwrap_err(), NotLearnt::NoScram);
}

#[test]
fn what_is_listed_otherwise_needs_no_learning() {
    let account = account();
    for credential in [
        Credential::password(PASSWORD),
        Credential::Md5Digest(Md5Digest::parse(b"md5e8dcacd3b532f5316ad9df7ed202ca21").unwrap()),
        Credential::ScramKeys(ScramKeys::new([1; 32], [2; 32])),
        Credential::External,
        Credential::None,
    ] {
        let observer = watch(Arc::new(credential), &account, PASSWORD);
        assert!(matches!(observer.accepted(), Ok(None)));
    }
}

/// A02, B7: what the server would refuse for reasons that its client cannot know.
#[test]
fn binding_cannot_pass() {
    let whole: &[&[u8]] = &[b"SCRAM-SHA-256"];
    let cut: &[&[u8]] = &[b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"];
    for (offer, mechanism, first, expected) in [
        (whole, &b"SCRAM-SHA-256"[..], &b"y,,n=,r=x"[..], Ok(())),
        (cut, b"SCRAM-SHA-256", b"n,,n=,r=x", Ok(())),
        (
            cut,
            b"SCRAM-SHA-256",
            b"y,,n=,r=x",
            Err(CannotPass::LooksLikeDowngrade),
        ),
        (
            cut,
            b"SCRAM-SHA-256-PLUS",
            b"p=tls-server-end-point,,n=,r=x",
            Err(CannotPass::Bound),
        ),
        (
            whole,
            b"SCRAM-SHA-256-PLUS",
            b"p=tls-server-end-point,,n=,r=x",
            Err(CannotPass::Bound),
        ),
        (cut, b"SCRAM-SHA-512-PLUS", b"", Err(CannotPass::Bound)),
        (cut, b"OAUTHBEARER", b"y,,", Ok(())),
    ] {
        // Whatever is listed.
        for credential in [verifier(&account()), Arc::new(Credential::None)] {
            let mut observer = Observer::new(credential);
            observer.offered(&Names::new(offer));
            assert_eq!(observer.chosen(&initial(mechanism, first)), expected);
        }
    }
}

/// L8: messages past their limit are not kept.
#[test]
fn long_messages_are_not_watched() {
    let account = account();
    for (long, learns) in [
        (limits::SCRAM_MESSAGE_MAX, true),
        (limits::SCRAM_MESSAGE_MAX + 1, false),
    ] {
        let nonce = client_nonce();
        let head = format!("n,,n=,r={nonce},x=");
        let first = format!("{head}{}", "y".repeat(long - head.len()));
        let without_proof = format!("c=biws,r={nonce}SERVER");
        let messages = format!("{},{},{without_proof}", &first[3..], account.server_first());
        let mut observer = Observer::new(verifier(&account));
        observer.offered(&Names::new(&[b"SCRAM-SHA-256"]));
        observer
            .chosen(&initial(b"SCRAM-SHA-256", first.as_bytes()))
            .unwrap();
        observer.challenged(account.server_first().as_bytes());
        let proof = prove(&account, &messages);
        observer.responded(format!("{without_proof},p={proof}").as_bytes());
        assert_eq!(observer.accepted().is_ok(), learns, "{long}");
    }
}

/// L9, L11: messages in any order, cut anywhere, and nothing of them shown.
#[test]
fn nonsense_teaches_nothing() {
    let account = account();
    let mut client = client(PASSWORD, None);
    let first = says(&mut client, &sasl(&[b"SCRAM-SHA-256"]));
    let challenge = account.server_first();
    let last = says(&mut client, &account.challenge());
    let cut = |text: &[u8], at: usize| text[..at.min(text.len())].to_vec();
    for at in 0..last.len() {
        for which in 0..3 {
            let mut observer = Observer::new(verifier(&account));
            observer.offered(&Names::new(&[b"SCRAM-SHA-256"]));
            let part = |index: usize, text: &[u8]| {
                if index == which {
                    cut(text, at)
                } else {
                    text.to_vec()
                }
            };
            let complete = at >= [first.len(), challenge.len(), last.len()][which];
            let _ = observer.chosen(&part(0, &first));
            observer.challenged(&part(1, challenge.as_bytes()));
            observer.responded(&part(2, &last));
            assert_eq!(format!("{observer:?}"), "Observer(..)");
            assert_eq!(observer.accepted().is_ok(), complete, "{which} cut at {at}");
        }
    }
    let mut observer = Observer::new(verifier(&account));
    observer.responded(&last);
    observer.challenged(challenge.as_bytes());
    let _ = observer.chosen(&first);
    assert_eq!(observer.accepted().unwrap_err(), NotLearnt::NoScram);
}
