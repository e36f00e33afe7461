//! SCRAM-SHA-256 in the login to a further server: the exchange, hostile servers, and a search for a way around the
//! server's proof. Nothing secret is shown on the way.
//!
//! Laws: L8 (bounded work), L9 (total), L11 (secrets).
#![cfg(feature = "scram")]

#[path = "support/login.rs"]
mod support;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use pgturnout::auth::scram::{ScramError, recover_keys};
use pgturnout::auth::{
    AuthError, Channel, Credential, Handshake, Md5Digest, Method, Methods, Replay, ScramKeys,
    ScramNonce, ScramVerifier, Secret, md5_digest,
};
use pgturnout::startup::{CancelKey, ProtocolVersion};
use pgturnout::wire::password::{parse_sasl_initial, parse_sasl_response};
use pgturnout::wire::{Authentication, TransactionStatus};
use proptest::prelude::*;
use support::scram::{Account, SALT, account, client_nonce};
use support::*;

fn offer() -> Frame {
    sasl(&[b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"])
}

fn ok() -> Frame {
    auth(Authentication::Ok)
}

fn idle() -> Frame {
    ready(TransactionStatus::Idle)
}

/// A started login that may use SCRAM only, in clear.
fn scram_only(credential: Credential) -> Replay {
    let mut login = login(credential, Methods::NONE.allow_scram(), Channel::Clear);
    login.start(&mut BytesMut::new()).unwrap();
    login
}

/// A whole exchange; how many calls of `work` it took.
fn exchange(credential: Credential, account: &Account) -> Result<usize, AuthError> {
    let mut login = scram_only(credential);
    let (result, sent) = hand_in(&mut login, &offer());
    result?;
    let first = parse_sasl_initial(&sent[5..]).unwrap();
    assert_eq!(first.mechanism, b"SCRAM-SHA-256");
    assert_eq!(
        first.data,
        Some(format!("n,,n=,r={}", client_nonce()).as_bytes())
    );

    let (mut result, mut sent) = hand_in(&mut login, &account.challenge());
    let mut calls = 0;
    while let Ok(Handshake::Working) = result {
        assert_eq!(sent, b"");
        let mut reply = BytesMut::new();
        result = login.work(&mut reply);
        sent = reply.to_vec();
        calls += 1;
    }
    result?;
    assert!(account.accepts(parse_sasl_response(&sent[5..]).unwrap().data));

    let (result, sent) = hand_in(&mut login, &account.signature());
    result?;
    assert_eq!(sent, b"");
    match run(&mut login, &[ok(), idle()])? {
        Handshake::Ready(established) => assert_eq!(established.method, Method::ScramSha256),
        other => panic!("{other:?}"),
    }
    Ok(calls)
}

/// B1: no call works off more than 4,096 iterations.
#[test]
fn hashing_is_done_in_steps() {
    for (iterations, calls) in [
        (1, 1),
        (2, 1),
        (4_096, 1),
        (4_097, 1),
        (4_098, 2),
        (100_000, 25),
    ] {
        let account = Account::new(PASSWORD, iterations);
        assert_eq!(
            exchange(Credential::password(PASSWORD), &account),
            Ok(calls),
            "{iterations}"
        );
    }
}

#[test]
fn keys_answer_without_hashing() {
    let account = Account::new(PASSWORD, 4_096);
    let keys = || ScramKeys::new(account.client_key, account.server_key);
    assert_eq!(exchange(Credential::ScramKeys(keys()), &account), Ok(0));
    assert_eq!(
        exchange(
            Credential::ScramKeys(keys().bound_to(SALT, 4_096)),
            &account
        ),
        Ok(0)
    );
    // A05: another salt or count is seen before a wrong proof is sent.
    let other = Err(AuthError::Scram(ScramError::KeysOfAnotherSalt));
    assert_eq!(
        exchange(
            Credential::ScramKeys(keys().bound_to(SALT, 4_095)),
            &account
        ),
        other
    );
    assert_eq!(
        exchange(
            Credential::ScramKeys(keys().bound_to(&SALT[1..], 4_096)),
            &account
        ),
        other
    );
}

/// A verifier does not log in; with the proof of a client that logged in elsewhere it does.
#[test]
fn a_verifier_needs_the_clients_proof() {
    let account = Account::new(PASSWORD, 4_096);
    let verifier = || Credential::from_secret(account.stored().as_bytes()).unwrap();
    let (result, sent) = hand_in(&mut scram_only(verifier()), &offer());
    assert_eq!(
        (result.unwrap_err(), &sent[..]),
        (AuthError::VerifierOnly, &b""[..])
    );
    let text = AuthError::VerifierOnly.to_string();
    assert_eq!(
        text,
        "a SCRAM verifier alone cannot answer; it needs a password or the client's proof"
    );

    // The client's own login, as a proxy that relays it sees it.
    let mut client = scram_only(Credential::password(PASSWORD));
    let first = hand_in(&mut client, &offer()).1;
    let bare = parse_sasl_initial(&first[5..])
        .unwrap()
        .data
        .unwrap()
        .strip_prefix(b"n,,")
        .unwrap()
        .to_vec();
    hand_in(&mut client, &account.challenge()).0.unwrap();
    let mut last = BytesMut::new();
    client.work(&mut last).unwrap();
    let last = std::str::from_utf8(&last[5..]).unwrap();
    let (without_proof, proof) = last.split_once(",p=").unwrap();
    let auth_message = [
        &bare[..],
        b",",
        account.server_first().as_bytes(),
        b",",
        without_proof.as_bytes(),
    ]
    .concat();
    let proof: [u8; 32] = STANDARD.decode(proof).unwrap().try_into().unwrap();

    let known = ScramVerifier::parse(account.stored().as_bytes()).unwrap();
    let keys = recover_keys(&known, &auth_message, &proof).unwrap();
    assert_eq!(exchange(Credential::ScramKeys(keys), &account), Ok(0));

    let mut wrong = proof;
    wrong[31] ^= 1;
    assert!(recover_keys(&known, &auth_message, &wrong).is_none());
    assert!(recover_keys(&known, &auth_message[1..], &proof).is_none());
    let other = Account::new("other", 4_096).stored();
    assert!(
        recover_keys(
            &ScramVerifier::parse(other.as_bytes()).unwrap(),
            &auth_message,
            &proof
        )
        .is_none()
    );
}

#[test]
fn a_wrong_password_is_found_by_both_sides() {
    let mut login = scram_only(Credential::password("pencils"));
    run(&mut login, [&offer()]).unwrap();
    hand_in(&mut login, &account().challenge()).0.unwrap();
    let mut reply = BytesMut::new();
    login.work(&mut reply).unwrap();
    assert!(!account().accepts(&reply[5..]));
    let wrong = AuthError::Scram(ScramError::SignatureWrong);
    assert_eq!(
        run(&mut login, [&account().signature()]).unwrap_err(),
        wrong
    );
}

/// A server's first message, and what is wrong with it.
type Challenge = (String, Option<ScramError>);

fn challenge(nonce: &str, salt: &str, iterations: &str) -> String {
    format!("r={nonce},s={salt},i={iterations}")
}

/// The client's nonce with a part of the server's.
fn whole_nonce() -> String {
    format!("{}S", client_nonce())
}

fn counts() -> Vec<Challenge> {
    use ScramError::*;
    let salt = STANDARD.encode(SALT);
    let iterations = |i: &str| challenge(&whole_nonce(), &salt, i);
    vec![
        (iterations("100000"), None),
        (iterations("100001"), Some(TooManyIterations)),
        (iterations("2147483647"), Some(TooManyIterations)),
        (iterations("4294967297"), Some(TooManyIterations)),
        (iterations(&"9".repeat(40)), Some(TooManyIterations)),
        (iterations("0"), Some(Iterations)),
        (iterations("-1"), Some(Iterations)),
        (iterations("+4096"), Some(Iterations)),
        (iterations("4096x"), Some(Iterations)),
        (iterations("04096"), Some(Iterations)),
        (iterations(" 4096"), Some(Iterations)),
        (iterations("4096 "), Some(Iterations)),
        (iterations("0x10"), Some(Iterations)),
        (iterations("4096.0"), Some(Iterations)),
        (iterations("\u{661}"), Some(Iterations)),
        (iterations(""), Some(Iterations)),
    ]
}

fn nonces() -> Vec<Challenge> {
    use ScramError::*;
    let nonce = client_nonce();
    let salt = STANDARD.encode(SALT);
    let nonced = |r: &str| challenge(r, &salt, "1");
    let long = |len: usize| "x".repeat(len);
    vec![
        (
            nonced(&format!("{nonce}{}", long(1_024 - nonce.len()))),
            None,
        ),
        (
            nonced(&format!("{nonce}{}", long(1_025 - nonce.len()))),
            Some(ServerNonce),
        ),
        (
            nonced(&format!("{nonce}{}", long(60_000))),
            Some(MessageTooLong),
        ),
        (nonced(&nonce), Some(ServerNonce)),
        (nonced(&format!("{nonce}\u{7f}")), Some(ServerNonce)),
        (nonced(&format!("{nonce}a\0b")), Some(ServerNonce)),
        (nonced(&format!("{nonce} ")), Some(ServerNonce)),
        (nonced(&format!("{nonce}\u{e9}")), Some(ServerNonce)),
        (nonced(&nonce[1..]), Some(NonceMismatch)),
        (nonced(&nonce[..23]), Some(NonceMismatch)),
        (nonced(&nonce.to_lowercase()), Some(NonceMismatch)),
        (nonced(&format!("S{nonce}")), Some(NonceMismatch)),
        (nonced(""), Some(NonceMismatch)),
    ]
}

fn salts() -> Vec<Challenge> {
    use ScramError::*;
    let salted = |s: &str| challenge(&whole_nonce(), s, "1");
    vec![
        (salted(&STANDARD.encode([7; 1_024])), None),
        (salted(&STANDARD.encode([7; 1_025])), Some(Salt)),
        (salted(&STANDARD.encode([7; 60_000])), Some(MessageTooLong)),
        (salted(""), Some(Salt)),
        (salted("QUJD"), None),
        (salted("QUI"), Some(Salt)),
        (salted("QUI=="), Some(Salt)),
        (salted("QUJ="), Some(Salt)),
        (salted("QU JD"), Some(Salt)),
        (salted("QUJD\n"), Some(Salt)),
        (salted("_-__"), Some(Salt)),
    ]
}

/// Attributes that are missing, out of order or too many.
fn attributes() -> Vec<Challenge> {
    use ScramError::*;
    let nonce = client_nonce();
    let salt = STANDARD.encode(SALT);
    let good = challenge(&whole_nonce(), &salt, "1");
    vec![
        (String::new(), Some(AttributeExpected('r'))),
        ("r".into(), Some(AttributeExpected('r'))),
        (format!("m=x,{good}"), Some(AttributeExpected('r'))),
        (
            format!("e=other-error,{good}"),
            Some(AttributeExpected('r')),
        ),
        (format!("R={}", &good[2..]), Some(AttributeExpected('r'))),
        (format!("r{}", &good[2..]), Some(AttributeExpected('r'))),
        (format!("r={nonce}S"), Some(AttributeExpected('s'))),
        (format!("r={nonce}S,"), Some(AttributeExpected('s'))),
        (
            format!("r={nonce}S,i=1,s={salt}"),
            Some(AttributeExpected('s')),
        ),
        (
            format!("r={nonce}S,r={nonce}S,s={salt},i=1"),
            Some(AttributeExpected('s')),
        ),
        (format!("r={nonce}S,s={salt}"), Some(AttributeExpected('i'))),
        (
            format!("r={nonce}S,s={salt},s={salt},i=1"),
            Some(AttributeExpected('i')),
        ),
        (format!("{good},"), Some(Leftover)),
        (format!("{good},i=1"), Some(Leftover)),
        (format!("{good},{}", "x=y,".repeat(200)), Some(Leftover)),
        (
            format!("{good}{}", " ".repeat(17_000)),
            Some(MessageTooLong),
        ),
    ]
}

/// B1, B2 and the grammar: what the server's first message may not be.
#[test]
fn hostile_challenges() {
    let table = [counts(), nonces(), salts(), attributes()];
    for (challenge, expected) in table.into_iter().flatten() {
        let mut login = scram_only(Credential::password(PASSWORD));
        run(&mut login, [&offer()]).unwrap();
        let (result, reply) = hand_in(&mut login, &sasl_continue(&challenge));
        assert_eq!(reply, b"");
        let shown = challenge.chars().take(90).collect::<String>();
        match (result, expected) {
            (Ok(Handshake::Working), None) => {}
            (Err(error), Some(expected)) => {
                assert_eq!(error, AuthError::Scram(expected), "{shown}")
            }
            (other, _) => panic!("{shown}: {other:?}"),
        }
    }
}

/// B5: what may not stand in the place of the server's signature.
#[test]
fn hostile_signatures() {
    use ScramError::*;
    let good = account().server_final();
    let mut flipped = STANDARD.decode(&good[2..]).unwrap();
    flipped[0] ^= 0x80;
    let table = [
        ("e=other-error".to_string(), ServerError),
        ("e=".into(), ServerError),
        (format!("v={}", STANDARD.encode(&flipped)), SignatureWrong),
        (format!("v={}", STANDARD.encode([0; 32])), SignatureWrong),
        (Account::new("other", 1).server_final(), SignatureWrong),
        (
            format!("v={}", STANDARD.encode([0; 31])),
            SignatureMalformed,
        ),
        (
            format!("v={}", STANDARD.encode([0; 33])),
            SignatureMalformed,
        ),
        ("v=".into(), SignatureMalformed),
        ("v=****".into(), SignatureMalformed),
        (good[..good.len() - 1].into(), SignatureMalformed),
        (format!("{good}\0"), SignatureMalformed),
        (format!("{good},"), Leftover),
        (format!("{good},x=y"), Leftover),
        (format!(" {good}"), AttributeExpected('v')),
        (String::new(), AttributeExpected('v')),
        (account().server_first(), AttributeExpected('v')),
        (format!("v={}", "A".repeat(20_000)), MessageTooLong),
    ];
    for (signature, expected) in table {
        let mut login = scram_only(Credential::password(PASSWORD));
        run(&mut login, &[offer(), account().challenge()]).unwrap();
        let error = run(&mut login, [&sasl_final(&signature)]).unwrap_err();
        assert_eq!(error, AuthError::Scram(expected), "{signature}");
    }
}

/// B6: what the server may offer in place of SCRAM-SHA-256.
#[test]
fn hostile_offers() {
    let names = vec![&b"X"[..]; 10_000];
    let lists: [&[&[u8]]; 4] = [
        &[],
        &[b"scram-sha-256"],
        &[b"SCRAM-SHA-1", b"PLAIN", b"SCRAM-SHA-25"],
        &names,
    ];
    for list in lists {
        let mut login = scram_only(Credential::password(PASSWORD));
        let (result, reply) = hand_in(&mut login, &sasl(list));
        assert_eq!(
            (result.unwrap_err(), &reply[..]),
            (AuthError::NoCommonMechanism, &b""[..])
        );
    }
    let mut login = scram_only(Credential::password(PASSWORD));
    let (result, reply) = hand_in(&mut login, &sasl(&[b"SCRAM-SHA-256-PLUS"]));
    assert_eq!(
        (result.unwrap_err(), &reply[..]),
        (AuthError::NothingToBindTo, &b""[..])
    );
    for credential in [
        Credential::Md5Digest(md5_digest(b"u", b"p")),
        Credential::None,
    ] {
        let mut login = scram_only(credential);
        let (result, reply) = hand_in(&mut login, &offer());
        assert!(
            matches!(result, Err(AuthError::WrongCredential { .. })),
            "{result:?}"
        );
        assert_eq!(reply, b"");
    }
}

/// A05: SCRAM keys are no password for other methods.
#[test]
fn keys_serve_for_scram_only() {
    for request in [
        auth(Authentication::CleartextPassword),
        auth(Authentication::Md5Password { salt: [0; 4] }),
    ] {
        let keys = Credential::ScramKeys(ScramKeys::new([1; 32], [2; 32]));
        let verifier = Credential::from_secret(account().stored().as_bytes()).unwrap();
        for credential in [keys, verifier] {
            let mut login = login(credential, everything_allowed(), Channel::VerifiedTls);
            login.start(&mut BytesMut::new()).unwrap();
            let (result, reply) = hand_in(&mut login, &request);
            assert!(
                matches!(result, Err(AuthError::WrongCredential { .. })),
                "{result:?}"
            );
            assert_eq!(reply, b"");
        }
    }
}

/// The messages of SCRAM that are answered.
const SCRAM_ASKS: &[&str] = &["R10", "R11", "R11 with other work"];

/// Messages of the search: their names, and the frames.
fn alphabet() -> Vec<(&'static str, Frame)> {
    let other = Account::new("other", 1);
    vec![
        ("R0", ok()),
        ("R3", auth(Authentication::CleartextPassword)),
        (
            "R5",
            auth(Authentication::Md5Password { salt: [1, 2, 3, 4] }),
        ),
        ("R7", auth(Authentication::Gss)),
        ("R10", offer()),
        ("R10 of another kind", sasl(&[b"SCRAM-SHA-256-PLUS"])),
        ("R11", account().challenge()),
        ("R11 with other work", Account::new(PASSWORD, 2).challenge()),
        (
            "R11 of another exchange",
            sasl_continue("r=someone,s=QUJD,i=1"),
        ),
        ("R12", account().signature()),
        ("R12 of another account", other.signature()),
        ("R12 with an error", sasl_final("e=invalid-proof")),
        ("E", error(&[(b'S', b"FATAL")])),
        ("N", notice(b"n")),
        ("v", negotiate(0x0003_0000, &[])),
        ("S", parameter(b"n", b"v")),
        ("K", key(b"abcd")),
        ("A", frame_a()),
        ("Z", idle()),
    ]
}

fn frame_a() -> Frame {
    use pgturnout::wire::Backend;
    frame(Backend::NotificationResponse {
        process_id: 1,
        channel: b"c",
        payload: b"",
    })
}

/// What a login has heard, as far as it can matter: what asks it for something, in order, and of the rest how often,
/// up to twice.
fn heard(names: &[&'static str]) -> (Vec<&'static str>, [usize; 5]) {
    let requests = names
        .iter()
        .filter(|name| name.starts_with(['R', 'E', 'Z']));
    let rest = ["N", "v", "S", "K", "A"];
    let count = |what: &str| names.iter().filter(|name| **name == what).count().min(2);
    (requests.copied().collect(), rest.map(count))
}

/// Every path of up to `depth` messages on which the login is still alive, and what it came to. Where `pruned`, of
/// the paths that come to the same only the first is followed.
fn search(
    methods: Methods,
    depth: usize,
    pruned: bool,
    visit: &mut dyn FnMut(&[&'static str], &Handshake, bool),
) {
    let alphabet = alphabet();
    let mut known = BTreeSet::new();
    let mut open: VecDeque<Vec<usize>> = VecDeque::from([vec![]]);
    while let Some(path) = open.pop_front() {
        for next in 0..alphabet.len() {
            let mut login = login(
                Credential::password(PASSWORD),
                methods,
                Channel::VerifiedTls,
            );
            login.start(&mut BytesMut::new()).unwrap();
            run(&mut login, path.iter().map(|&i| &alphabet[i].1)).unwrap();
            let (mut result, mut sent) = hand_in(&mut login, &alphabet[next].1);
            while let Ok(Handshake::Working) = result {
                let mut reply = BytesMut::new();
                result = login.work(&mut reply);
                sent.extend_from_slice(&reply);
            }
            let longer: Vec<usize> = path.iter().copied().chain([next]).collect();
            let names: Vec<_> = longer.iter().map(|&i| alphabet[i].0).collect();
            let Ok(handshake) = result else {
                assert_eq!(sent, b"", "{names:?}");
                continue;
            };
            visit(&names, &handshake, !sent.is_empty());
            let goes_on = longer.len() < depth && !matches!(handshake, Handshake::Ready(_));
            if goes_on && (!pruned || known.insert(heard(&names))) {
                open.push_back(longer);
            }
        }
    }
}

/// No path of up to 6 messages gets around the proof, and no byte is sent that was not asked for by an allowed request.
#[test]
fn no_way_around_the_servers_proof() {
    let mut completed = 0;
    search(
        Methods::NONE.allow_scram(),
        6,
        false,
        &mut |path, handshake, sent| {
            let last = *path.last().unwrap();
            assert_eq!(sent, SCRAM_ASKS.contains(&last), "{path:?}");
            if let Handshake::Ready(established) = handshake {
                let requests: Vec<_> = path
                    .iter()
                    .filter(|name| name.starts_with('R'))
                    .copied()
                    .collect();
                assert_eq!(requests, ["R10", "R11", "R12", "R0"], "{path:?}");
                assert_eq!(established.method, Method::ScramSha256);
                completed += 1;
            }
        },
    );
    // The bare exchange; with a notice at each of its 5 places, `v` at one, `S`, `K` or `A` at one.
    assert_eq!(completed, 1 + 5 + 1 + 3);
}

/// The same with every method allowed: a login ends by the method that the server used, and never by SCRAM without it.
#[test]
fn no_way_around_it_among_other_methods() {
    for (depth, pruned) in [(6, false), (9, true)] {
        search_among_methods(depth, pruned);
    }
}

fn search_among_methods(depth: usize, pruned: bool) {
    let mut completed = 0;
    search(
        everything_allowed(),
        depth,
        pruned,
        &mut |path, handshake, sent| {
            let last = *path.last().unwrap();
            let asks = ["R3", "R5"].contains(&last) || SCRAM_ASKS.contains(&last);
            assert_eq!(sent, asks, "{path:?}");
            if let Handshake::Ready(established) = handshake {
                let requests: Vec<_> = path
                    .iter()
                    .filter(|name| name.starts_with('R'))
                    .copied()
                    .collect();
                let method = match &requests[..] {
                    ["R0"] => Method::Trust,
                    ["R3", "R0"] => Method::Cleartext,
                    ["R5", "R0"] => Method::Md5,
                    ["R10", "R11", "R12", "R0"] => Method::ScramSha256,
                    other => panic!("{other:?}"),
                };
                assert_eq!(established.method, method, "{path:?}");
                completed += usize::from(method == Method::ScramSha256);
            }
        },
    );
    assert!(completed > 0, "no login by SCRAM in {depth} messages");
}

/// B14: a server that goes away while we hash is heard at once.
#[test]
fn an_error_while_hashing() {
    let mut login = scram_only(Credential::password(PASSWORD));
    run(&mut login, [&offer()]).unwrap();
    let challenge = Account::new(PASSWORD, 100_000).challenge();
    assert!(matches!(
        hand_in(&mut login, &challenge).0,
        Ok(Handshake::Working)
    ));
    assert!(matches!(
        login.work(&mut BytesMut::new()),
        Ok(Handshake::Working)
    ));
    assert!(matches!(
        hand_in(&mut login, &notice(b"still there?")).0,
        Ok(Handshake::Working)
    ));
    let timeout = error(&[
        (b'S', b"FATAL"),
        (b'C', b"57014"),
        (b'M', b"canceling authentication due to timeout"),
    ]);
    assert!(matches!(
        hand_in(&mut login, &timeout).0,
        Err(AuthError::Refused(_))
    ));
}

/// The ways in which a secret could be shown.
fn disguises(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}");
    vec![
        secret.escape_ascii().to_string(),
        hex.to_uppercase(),
        hex,
        STANDARD.encode(secret).trim_end_matches('=').to_string(),
        list.trim_matches(['[', ']']).to_string(),
    ]
}

fn show(seen: &mut String, what: &impl Debug) {
    seen.push_str(&format!("{what:?}\n{what:#?}\n"));
}

fn show_error(seen: &mut String, error: &AuthError) {
    show(seen, error);
    seen.push_str(&error.to_string());
}

#[test]
fn disguises_are_seen_through() {
    for disguise in [
        format!("{:?}", b"needles"),
        "6e6565646c6573".into(),
        "bmVlZGxlcw==".into(),
        "needles".into(),
    ] {
        assert!(
            disguises(b"needles")
                .iter()
                .any(|needle| disguise.contains(needle)),
            "{disguise}"
        );
    }
}

proptest! {
    /// L11: planted secrets occur in no Debug and no Display, in any phase, whatever goes wrong.
    #[test]
    fn nothing_secret_is_shown(
        password in "[a-zA-Z0-9!#$%]{10,24}",
        nonce in any::<[u8; 18]>(),
        client_key in any::<[u8; 32]>(),
        server_key in any::<[u8; 32]>(),
        cancel in prop::collection::vec(any::<u8>(), 16..64),
        order in prop::collection::vec(0usize..16, 1..8),
    ) {
        let account = Account::new(&password, 1);
        let digest = md5_digest(USER.as_bytes(), password.as_bytes());
        let stored = account.stored();
        let mut seen = String::new();
        show(&mut seen, &digest);
        show(&mut seen, &Secret::copy_of(password.as_bytes()));
        show(&mut seen, &ScramNonce::from_bytes(nonce));
        show(&mut seen, &ScramVerifier::parse(stored.as_bytes()));
        show(&mut seen, &CancelKey::new(1, &cancel));
        show(&mut seen, &Md5Digest::parse(&[b'm'; 35]));

        let credentials = [
            Credential::password(password.as_str()),
            Credential::ScramKeys(ScramKeys::new(client_key, server_key)),
            Credential::from_secret(stored.as_bytes()).unwrap(),
            Credential::Md5Digest(md5_digest(USER.as_bytes(), password.as_bytes())),
        ];
        let mut frames: Vec<_> = alphabet().into_iter().map(|(_, frame)| frame).collect();
        frames[13] = key(&cancel);
        for credential in credentials {
            show(&mut seen, &credential);
            let nonce = ScramNonce::from_bytes(nonce);
            let params = params(ProtocolVersion::V3_2);
            let mut login = Replay::new(&params, credential, everything_allowed(), Channel::VerifiedTls, nonce);
            login.start(&mut BytesMut::new()).unwrap();
            show(&mut seen, &login);
            for &index in &order {
                match run(&mut login, [&frames[index]]) {
                    Ok(handshake) => show(&mut seen, &handshake),
                    Err(error) => show_error(&mut seen, &error),
                }
                show(&mut seen, &login);
            }
        }
        let half = stored.len() - 20;
        show_error(&mut seen, &Credential::from_secret(&stored.as_bytes()[..half]).unwrap_err());

        let answer = digest.answer([0; 4]);
        let keys = [account.client_key, account.stored_key, account.server_key, client_key, server_key];
        let secrets = [password.as_bytes(), &nonce, &cancel, &answer].into_iter().chain(keys.iter().map(|k| &k[..]));
        for needle in secrets.flat_map(disguises) {
            prop_assert!(!seen.contains(&needle), "{needle} is shown");
        }
    }
}
