//! The login of a client to ourselves: every credential under every policy against our own client side, hostile
//! clients, and users that do not exist.
//!
//! Laws: L8 (bounded work), L9 (total), L11 (secrets), and that nobody gets in without the proof that the policy wants.

#[path = "support/login.rs"]
mod support;

use bytes::BytesMut;
use pgturnout::auth::{
    Accepted, Admission, AdmitNonces, AdmitPolicy, Admitting, Channel, ClientConnection,
    Credential, Handshake, Md5Digest, Method, Methods, Rejected, Replay, ScramNonce, TlsEndPoint,
    Users,
};
use pgturnout::startup::ProtocolVersion;
use pgturnout::wire::{Backend, TransactionStatus};
use support::*;

const SECRET: [u8; 32] = [9; 32];
const MD5_SALT: [u8; 4] = [1, 2, 3, 4];

fn policy() -> AdmitPolicy {
    AdmitPolicy::new(SECRET)
}

fn nonces() -> AdmitNonces {
    AdmitNonces {
        scram: ScramNonce::from_bytes([8; 18]),
        md5: MD5_SALT,
    }
}

fn clear() -> ClientConnection {
    ClientConnection::default()
}

fn over_tls() -> ClientConnection {
    ClientConnection {
        channel: Channel::Tls,
        end_point: TlsEndPoint::new(&[5; 32]),
        identity: None,
    }
}

fn listed(credential: Credential) -> Users {
    let mut users = Users::default();
    users.insert(USER.as_bytes(), credential);
    users
}

fn password_listed() -> Users {
    listed(Credential::password(PASSWORD))
}

fn digest() -> Credential {
    let stored = pgturnout::auth::md5_digest(USER.as_bytes(), PASSWORD.as_bytes());
    Credential::Md5Digest(stored)
}

#[cfg(feature = "scram")]
fn verifier() -> Credential {
    Credential::from_secret(scram::account().stored().as_bytes()).unwrap()
}

fn admission(users: &Users, policy: &AdmitPolicy, connection: ClientConnection) -> Admission {
    Admission::new(USER.as_bytes(), users, policy, connection, nonces())
}

/// What an exchange came to, with the tag and code of each message and the calls of `work`.
#[derive(Debug)]
struct Outcome {
    result: Result<Accepted, Rejected>,
    codes: Vec<u8>,
    #[cfg_attr(
        not(feature = "scram"),
        expect(dead_code, reason = "only SCRAM hashes")
    )]
    works: usize,
}

impl Outcome {
    fn method(&self) -> Method {
        self.result.as_ref().unwrap().method
    }

    fn rejected(&self) -> &Rejected {
        self.result.as_ref().unwrap_err()
    }
}

/// The client whose server we are.
fn client(credential: Credential, connection: &ClientConnection) -> Replay {
    let methods = Methods::NONE
        .allow_trust()
        .allow_cleartext(Channel::Tls)
        .allow_md5(Channel::Clear)
        .allow_scram();
    let nonce = ScramNonce::from_bytes(NONCE);
    let params = params(ProtocolVersion::V3_0);
    let mut client = Replay::new(&params, credential, methods, connection.channel, nonce)
        .bound_to(connection.end_point.clone());
    client.start(&mut BytesMut::new()).unwrap();
    client
}

/// Lets both sides talk until ours has decided. The client has to be satisfied with whoever let it in.
fn talk(mut server: Admission, mut client: Replay) -> Outcome {
    let mut codes = Vec::new();
    let mut works = 0;
    let mut said = BytesMut::new();
    let mut state = server.start(&mut said);
    loop {
        if let Admitting::Working = state {
            works += 1;
            assert!(works < 100, "the work has an end");
            state = server.work(&mut said);
            continue;
        }
        let mut answer = BytesMut::new();
        let mut rest = &said[..];
        while let [b'R', a, b, c, d, ..] = rest {
            let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap() + 1;
            let (frame, more) = rest.split_at(length);
            codes.push(frame[8]);
            let message = Backend::parse(b'R', &frame[5..]).unwrap();
            let mut result = client.handle(message, &mut answer).expect("a good server");
            while let Handshake::Working = result {
                result = client.work(&mut answer).unwrap();
            }
            rest = more;
        }
        said.clear();
        match state {
            Admitting::Accepted(accepted) => {
                assert_eq!(codes.last(), Some(&0), "AuthenticationOk comes last");
                let ready = Backend::ReadyForQuery {
                    status: TransactionStatus::Idle,
                };
                let done = client.handle(ready, &mut BytesMut::new()).unwrap();
                assert!(matches!(done, Handshake::Ready(_)));
                let result = Ok(accepted);
                return Outcome {
                    result,
                    codes,
                    works,
                };
            }
            Admitting::Refused(rejected) => {
                assert!(!codes.contains(&0), "a refused client is not told Ok");
                let result = Err(rejected);
                return Outcome {
                    result,
                    codes,
                    works,
                };
            }
            Admitting::Wait | Admitting::Working => {}
        }
        assert_eq!(answer.first(), Some(&b'p'));
        state = server.handle(b'p', &answer[5..], &mut said);
    }
}

fn attempt(
    users: &Users,
    policy: &AdmitPolicy,
    connection: ClientConnection,
    password: &str,
) -> Outcome {
    let client = client(Credential::password(password), &connection);
    talk(admission(users, policy, connection), client)
}

#[test]
fn a_policy_allows_nothing_unasked() {
    for connection in [clear(), over_tls()] {
        let outcome = attempt(&password_listed(), &policy(), connection, PASSWORD);
        assert_eq!(outcome.rejected(), &Rejected::NoMethod);
        assert_eq!(outcome.codes, b"");
    }
}

#[test]
fn md5_is_for_passwords_and_digests() {
    let policy = policy().allow_md5(Channel::Clear);
    for users in [password_listed(), listed(digest())] {
        let outcome = attempt(&users, &policy, clear(), PASSWORD);
        assert_eq!(
            (outcome.method(), &outcome.codes[..]),
            (Method::Md5, &b"\x05\0"[..])
        );
        let kept = &outcome.result.unwrap().credential;
        assert!(matches!(
            **kept,
            Credential::Password(_) | Credential::Md5Digest(_)
        ));
        let outcome = attempt(&users, &policy, clear(), "another");
        assert_eq!(
            outcome.rejected().to_string(),
            "password authentication failed for user \"alice\""
        );
        assert_eq!(outcome.rejected().sqlstate().to_string(), "28P01");
    }
    let weak = AdmitPolicy::new(SECRET).allow_md5(Channel::Tls);
    let outcome = attempt(&password_listed(), &weak, clear(), PASSWORD);
    assert_eq!(outcome.rejected(), &Rejected::NoMethod);
}

/// L11: no setting takes a password in clear.
#[test]
fn cleartext_takes_tls() {
    let policy = policy().allow_cleartext();
    let outcome = attempt(&password_listed(), &policy, clear(), PASSWORD);
    assert_eq!(outcome.rejected(), &Rejected::NoMethod);
    let outcome = attempt(&password_listed(), &policy, over_tls(), PASSWORD);
    assert_eq!(
        (outcome.method(), &outcome.codes[..]),
        (Method::Cleartext, &b"\x03\0"[..])
    );
    for wrong in ["another", "pencil2", "penci", ""] {
        let outcome = attempt(&password_listed(), &policy, over_tls(), wrong);
        assert_eq!(
            outcome.rejected().sqlstate().to_string(),
            "28P01",
            "{wrong}"
        );
    }
}

/// What a client says in clear is known afterwards, whatever was listed.
#[test]
fn a_password_in_clear_is_learnt() {
    let policy = policy().allow_cleartext();
    let kinds = [
        digest(),
        #[cfg(feature = "scram")]
        verifier(),
    ];
    for kind in kinds {
        let users = listed(kind);
        let outcome = attempt(&users, &policy, over_tls(), PASSWORD);
        match &*outcome.result.unwrap().credential {
            Credential::Password(password) => assert!(password.matches(PASSWORD.as_bytes())),
            other => panic!("{other:?}"),
        }
        for wrong in ["another", ""] {
            let outcome = attempt(&users, &policy, over_tls(), wrong);
            assert_eq!(outcome.rejected().sqlstate().to_string(), "28P01");
        }
    }
}

/// An empty password is none, whatever is asked for it and even where its hash is listed.
#[test]
fn an_empty_password_lets_nobody_in() {
    for policy in [
        policy().allow_cleartext(),
        policy().allow_md5(Channel::Tls),
        #[cfg(feature = "scram")]
        policy().allow_scram(),
    ] {
        for users in [
            listed(Credential::password("")),
            listed(Credential::Md5Digest(pgturnout::auth::md5_digest(
                b"alice", b"",
            ))),
        ] {
            let outcome = attempt(&users, &policy, over_tls(), "");
            assert_eq!(outcome.rejected().sqlstate().to_string(), "28P01");
        }
    }
}

/// What is stored of an empty password is found out where it is loaded.
#[test]
fn what_is_made_of_an_empty_password_is_known() {
    let digest = |user: &[u8], password: &[u8]| {
        Credential::Md5Digest(pgturnout::auth::md5_digest(user, password))
    };
    let cases = vec![
        (Credential::password(""), true),
        (Credential::password(" "), false),
        (digest(b"alice", b""), true),
        (digest(b"bob", b""), false),
        (digest(b"alice", b"x"), false),
        (Credential::External, false),
        (Credential::None, false),
    ];
    #[cfg(feature = "scram")]
    let cases = {
        let mut cases = cases;
        for (password, iterations, empty) in [("", 1, true), ("", 5_000, true), ("x", 1, false)] {
            let account = scram::Account::new(password, iterations);
            let stored = Credential::from_secret(account.stored().as_bytes()).unwrap();
            cases.push((stored, empty));
            let keys = pgturnout::auth::ScramKeys::new(account.client_key, account.server_key);
            let bound = keys.bound_to(scram::SALT, iterations);
            cases.push((Credential::ScramKeys(bound), empty));
        }
        cases
    };
    for (credential, empty) in cases {
        assert_eq!(
            credential.is_of_an_empty_password(b"alice"),
            empty,
            "{credential:?}"
        );
    }
}

#[test]
fn trust_asks_nothing() {
    let policy = policy().allow_trust(Channel::Tls);
    let outcome = attempt(&Users::default(), &policy, over_tls(), "any");
    assert_eq!(
        (outcome.method(), &outcome.codes[..]),
        (Method::Trust, &b"\0"[..])
    );
    let outcome = attempt(&Users::default(), &policy, clear(), "any");
    assert_eq!(outcome.rejected(), &Rejected::NoMethod);
}

#[test]
fn a_certificate_is_proof_for_the_user_it_names() {
    let shown = |name: &str| ClientConnection {
        channel: Channel::VerifiedTls,
        identity: Some(name.as_bytes().into()),
        ..over_tls()
    };
    let only = policy().allow_certificates();
    let outcome = attempt(&password_listed(), &only, shown(USER), "any");
    assert_eq!(
        (outcome.method(), &outcome.codes[..]),
        (Method::Certificate, &b"\0"[..])
    );
    for connection in [
        shown("alic"),
        shown("alice2"),
        shown(""),
        over_tls(),
        clear(),
    ] {
        let outcome = attempt(&password_listed(), &only, connection, PASSWORD);
        assert!(matches!(outcome.rejected(), Rejected::Certificate { .. }));
        assert_eq!(outcome.rejected().sqlstate().to_string(), "28000");
    }
    // Without the permission it is no proof, and beside others it is not the only one.
    let without = policy().allow_md5(Channel::Clear);
    let outcome = attempt(&password_listed(), &without, shown(USER), PASSWORD);
    assert_eq!(outcome.method(), Method::Md5);
    let both = policy().allow_md5(Channel::Clear).allow_certificates();
    let outcome = attempt(&password_listed(), &both, shown("bob"), PASSWORD);
    assert_eq!(outcome.method(), Method::Md5);
}

/// B9: what else may come in place of an answer.
#[test]
fn messages_out_of_place() {
    let md5 = policy().allow_md5(Channel::Clear);
    for (tag, body, expected) in [
        (b'Q', &b"select 1\0"[..], Rejected::Message(b'Q')),
        (b'X', b"", Rejected::Message(b'X')),
        (0, b"", Rejected::Message(0)),
        (b'p', b"", Rejected::Malformed),
        (b'p', b"no end", Rejected::Malformed),
        (b'p', b"one\0two\0", Rejected::Malformed),
        (
            b'p',
            b"\0",
            Rejected::Password {
                user: USER.as_bytes().into(),
            },
        ),
    ] {
        let mut login = admission(&password_listed(), &md5, clear());
        let mut out = BytesMut::new();
        assert!(matches!(login.start(&mut out), Admitting::Wait));
        out.clear();
        match login.handle(tag, body, &mut out) {
            Admitting::Refused(rejected) => assert_eq!(rejected, expected),
            other => panic!("{other:?}"),
        }
        assert_eq!(out, "");
        // The login has ended.
        for again in [
            login.start(&mut out),
            login.handle(b'p', b"md5\0", &mut out),
            login.work(&mut out),
        ] {
            assert!(matches!(again, Admitting::Refused(Rejected::OutOfTurn)));
        }
        assert_eq!(out, "");
    }
    assert_eq!(
        Rejected::Message(b'Q').to_string(),
        "expected password response, got message type 81"
    );
}

#[test]
fn nothing_is_handled_before_the_start() {
    let policy = policy().allow_md5(Channel::Clear);
    for call in [
        |login: &mut Admission| login.handle(b'p', b"x\0", &mut BytesMut::new()),
        |login: &mut Admission| login.work(&mut BytesMut::new()),
    ] {
        let mut login = admission(&password_listed(), &policy, clear());
        assert!(matches!(
            call(&mut login),
            Admitting::Refused(Rejected::OutOfTurn)
        ));
    }
}

/// How often passwords are hashed where the work is compared: more than one step.
const MANY: u32 = 4_100;

/// A verifier with a salt of its own length.
#[cfg(feature = "scram")]
fn verifier_like(iterations: u32, salt: &str) -> Credential {
    let stored = scram::account().stored();
    let (_, keys) = stored.rsplit_once('$').unwrap();
    Credential::from_secret(format!("SCRAM-SHA-256${iterations}:{salt}${keys}").as_bytes()).unwrap()
}

/// The tag `p` and a message of SASL.
#[cfg(feature = "scram")]
fn first_message() -> Vec<u8> {
    let mut message = BytesMut::new();
    pgturnout::wire::password::SaslInitialResponse {
        mechanism: b"SCRAM-SHA-256",
        data: Some(b"n,,n=,r=x"),
    }
    .encode(&mut message)
    .unwrap();
    message[5..].to_vec()
}

/// What anybody can see of a user: what it is asked, with how long a salt and how many iterations, and after how much
/// work it is refused with what.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct View {
    codes: Vec<u8>,
    salt_len: usize,
    iterations: String,
    works: usize,
    refusal: String,
}

/// Asks for this user as one who knows nothing.
fn look(mut login: Admission, user: &[u8]) -> View {
    let user = std::str::from_utf8(user).unwrap();
    let mut view = View {
        codes: Vec::new(),
        salt_len: 0,
        iterations: String::new(),
        works: 0,
        refusal: String::new(),
    };
    let mut out = BytesMut::new();
    let mut state = login.start(&mut out);
    loop {
        state = match state {
            Admitting::Accepted(_) => panic!("nobody knows the password"),
            Admitting::Working => {
                view.works += 1;
                login.work(&mut out)
            }
            Admitting::Refused(rejected) => {
                let words = rejected.to_string().replace(user, "NAME");
                view.refusal = format!("{} {words}", rejected.sqlstate());
                return view;
            }
            Admitting::Wait => {
                let said = out.split();
                let (code, data) = (said[8], &said[9..]);
                view.codes.push(code);
                match code {
                    #[cfg(feature = "scram")]
                    10 => login.handle(b'p', &first_message(), &mut out),
                    #[cfg(feature = "scram")]
                    11 => {
                        let said = std::str::from_utf8(data).unwrap();
                        let parts: Vec<&str> = said.split(',').collect();
                        view.salt_len = parts[1].len();
                        view.iterations = parts[2].to_owned();
                        let proof = "A".repeat(43) + "=";
                        let last = format!("c=biws,{},p={proof}", parts[0]);
                        login.handle(b'p', last.as_bytes(), &mut out)
                    }
                    5 => login.handle(b'p', b"md50123456789abcdef0123456789abcdef\0", &mut out),
                    3 => login.handle(b'p', b"wrong\0", &mut out),
                    _ => panic!("{code} {data:?}"),
                }
            }
        };
    }
}

/// Every kind of secret, as many as a client could tell from one another.
fn kinds() -> Vec<fn() -> Credential> {
    vec![
        || Credential::password(PASSWORD),
        digest,
        #[cfg(feature = "scram")]
        || verifier_like(2 * MANY, "c2l4dGVlbiBzYWx0eSBieQ=="),
        || Credential::password(""),
        #[cfg(feature = "scram")]
        || verifier_like(3, "dHdlbHZlIGJ5dGVz"),
        || Credential::External,
        #[cfg(feature = "scram")]
        || verifier_like(7, &"Zm9y".repeat(20)),
    ]
}

/// Every mixture of methods, over a connection that takes them.
fn policies() -> Vec<(AdmitPolicy, ClientConnection)> {
    let policy = || policy().iterations(MANY);
    let clear_md5 = || policy().allow_md5(Channel::Clear);
    vec![
        (clear_md5(), clear()),
        (policy().allow_cleartext(), over_tls()),
        (clear_md5().allow_cleartext(), over_tls()),
        #[cfg(feature = "scram")]
        (policy().allow_scram(), clear()),
        #[cfg(feature = "scram")]
        (clear_md5().allow_scram(), clear()),
        #[cfg(feature = "scram")]
        (policy().allow_scram().allow_cleartext(), over_tls()),
        #[cfg(feature = "scram")]
        (
            clear_md5().allow_scram().allow_cleartext(),
            ClientConnection {
                end_point: None,
                ..over_tls()
            },
        ),
    ]
}

/// B10: neither questions nor messages nor work tell whether a user is listed, whoever is. Names that are not listed are
/// asked like the two that are, as often like the one as like the other.
#[test]
fn an_unknown_user_is_asked_and_refused_like_a_known_one() {
    for (policy, mut connection) in policies() {
        connection.end_point = None;
        for (at, kind) in kinds().iter().enumerate() {
            for other in [kind, &kinds()[(at + 1) % kinds().len()]] {
                let case = format!("{policy:?} {:?} {:?}", kind(), other());
                let mut users = listed(kind());
                users.insert(b"bob", other());
                let ask = |name: &str| {
                    let connection = connection.clone();
                    let name = name.as_bytes();
                    look(
                        Admission::new(name, &users, &policy, connection, nonces()),
                        name,
                    )
                };
                let known = [ask(USER), ask("bob")];
                let strangers: Vec<View> = (0..10).map(|n| ask(&format!("nobody{n}"))).collect();
                let like = |view: &View| strangers.iter().filter(|like| *like == view).count();
                if known[0] == known[1] {
                    assert_eq!(like(&known[0]), 10, "{case} {known:?} {strangers:?}");
                } else {
                    assert_eq!(
                        like(&known[0]) + like(&known[1]),
                        10,
                        "{case} {known:?} {strangers:?}"
                    );
                    assert!((1..=9).contains(&like(&known[0])), "{case}");
                }
            }
        }
    }
}

/// B10: whom the caller looks up is asked like those that the policy names.
#[cfg(feature = "scram")]
#[test]
fn a_user_whom_nobody_finds_is_asked_like_what_the_policy_names() {
    use pgturnout::auth::Likeness;

    let found: [(Credential, Likeness); 3] = [
        (Credential::password(PASSWORD), Likeness::Password),
        (digest(), Likeness::Md5Digest),
        (
            verifier_like(3, "dHdlbHZlIGJ5dGVz"),
            Likeness::ScramVerifier {
                salt_len: 12,
                iterations: 3,
            },
        ),
    ];
    for (credential, likeness) in found {
        let policy = policy()
            .iterations(MANY)
            .allow_scram()
            .allow_md5(Channel::Clear)
            .imitate(likeness);
        let ask = |name: &str, credential| {
            let credential = std::sync::Arc::new(credential);
            let user = name.as_bytes();
            let login = Admission::with_credential(user, credential, &policy, clear(), nonces());
            look(login, user)
        };
        assert_eq!(ask(USER, credential), ask("nobody", Credential::None));
    }
}

/// B10: who has a password is asked with as many iterations as who has a verifier, where those agree.
#[cfg(feature = "scram")]
#[test]
fn passwords_are_hashed_as_often_as_the_verifiers_beside_them() {
    use pgturnout::auth::Likeness;

    let scram = || policy().allow_scram();
    let asked = |users: &Users, policy: &AdmitPolicy| {
        let login = Admission::new(USER.as_bytes(), users, policy, clear(), nonces());
        look(login, USER.as_bytes()).iterations
    };
    let mut users = password_listed();
    assert_eq!(asked(&users, &scram()), "i=4096");
    for (name, iterations, expected) in [
        (&b"bob"[..], 10_000, "i=10000"),
        (b"carol", 10_000, "i=10000"),
        (b"dave", 10_001, "i=4096"),
        (b"dave", 10_000, "i=10000"),
    ] {
        users.insert(name, verifier_like(iterations, "dHdlbHZlIGJ5dGVz"));
        assert_eq!(asked(&users, &scram()), expected, "{iterations}");
        assert_eq!(asked(&users, &scram().iterations(5)), "i=5");
    }
    let named = |iterations| Likeness::ScramVerifier {
        salt_len: 16,
        iterations,
    };
    let found = |policy: &AdmitPolicy| {
        let credential = std::sync::Arc::new(Credential::password(PASSWORD));
        let user = USER.as_bytes();
        let login = Admission::with_credential(user, credential, policy, clear(), nonces());
        look(login, user).iterations
    };
    assert_eq!(found(&scram()), "i=4096");
    assert_eq!(found(&scram().imitate(named(7))), "i=7");
    assert_eq!(
        found(&scram().imitate(named(7)).imitate(named(8))),
        "i=4096"
    );
    assert_eq!(found(&scram().imitate(named(u32::MAX))), "i=100000");
}

/// L11.
#[test]
fn nothing_shows_a_secret() {
    let policy = policy().allow_md5(Channel::Clear).allow_cleartext();
    let users = password_listed();
    let login = admission(&users, &policy, clear());
    let outcome = attempt(&users, &policy, clear(), PASSWORD);
    let shown = format!("{login:?} {policy:?} {outcome:?} {:?} {users:?}", nonces());
    assert!(
        !shown.contains(PASSWORD) && !shown.contains("9, 9"),
        "{shown}"
    );
}

#[test]
fn a_digest_is_no_password() {
    // Whoever has stolen what is stored cannot log in with it where the password is asked for.
    let stored = b"md5e8dcacd3b532f5316ad9df7ed202ca21";
    let users = listed(Credential::Md5Digest(Md5Digest::parse(stored).unwrap()));
    let policy = policy().allow_cleartext();
    let outcome = attempt(
        &users,
        &policy,
        over_tls(),
        std::str::from_utf8(stored).unwrap(),
    );
    assert_eq!(outcome.rejected().sqlstate().to_string(), "28P01");
}

#[cfg(feature = "scram")]
mod scram_logins {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use pgturnout::auth::ScramKeys;
    use pgturnout::auth::scram_server::ClientFault;
    use pgturnout::limits;
    use pgturnout::wire::{Authentication, password};

    use super::scram::{Account, SALT, account};
    use super::*;

    fn scram_only() -> AdmitPolicy {
        policy().allow_scram()
    }

    #[test]
    fn scram_is_for_passwords_verifiers_and_keys() {
        let keys = || ScramKeys::new(account().client_key, account().server_key);
        let bound = Credential::ScramKeys(keys().bound_to(SALT, 1));
        for users in [password_listed(), listed(verifier()), listed(bound)] {
            let outcome = attempt(&users, &scram_only(), clear(), PASSWORD);
            assert_eq!(outcome.method(), Method::ScramSha256);
            assert_eq!(outcome.codes, b"\x0a\x0b\x0c\0");
            let outcome = attempt(&users, &scram_only(), clear(), "another");
            assert_eq!(outcome.rejected().sqlstate().to_string(), "28P01");
            assert_eq!(outcome.codes, b"\x0a\x0b");
        }
        // Keys without a salt, and digests, serve for nothing here.
        for users in [listed(Credential::ScramKeys(keys())), listed(digest())] {
            let outcome = attempt(&users, &scram_only(), clear(), PASSWORD);
            assert_eq!(outcome.rejected().sqlstate().to_string(), "28P01");
        }
    }

    /// A verifier becomes keys that open servers with the same salt, and no other.
    #[test]
    fn the_keys_of_a_verifier_are_learnt() {
        let outcome = attempt(&listed(verifier()), &scram_only(), clear(), PASSWORD);
        let credential = outcome.result.unwrap().credential;
        assert!(matches!(*credential, Credential::ScramKeys(_)));
        let log_in = |account: &Account| {
            let methods = Methods::NONE.allow_scram();
            let nonce = ScramNonce::from_bytes(NONCE);
            let params = params(ProtocolVersion::V3_2);
            let mut login =
                Replay::new(&params, credential.clone(), methods, Channel::Clear, nonce);
            login.start(&mut BytesMut::new()).unwrap();
            let (_, first) = hand_in(&mut login, &sasl(&[b"SCRAM-SHA-256"]));
            assert_eq!(first[0], b'p');
            let (result, last) = hand_in(&mut login, &account.challenge());
            result.map(|_| account.accepts(&last[5..]))
        };
        assert!(log_in(&account()).unwrap());
        let error = log_in(&Account::new(PASSWORD, 2)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("another salt or iteration count"),
            "{error}"
        );
    }

    #[test]
    fn both_sides_bind_where_they_can() {
        for users in [password_listed(), listed(verifier())] {
            let outcome = attempt(&users, &scram_only(), over_tls(), PASSWORD);
            assert_eq!(outcome.method(), Method::ScramSha256Plus);
        }
        let without = ClientConnection {
            end_point: None,
            ..over_tls()
        };
        let outcome = attempt(&password_listed(), &scram_only(), without, PASSWORD);
        assert_eq!(outcome.method(), Method::ScramSha256);
    }

    /// B7: the client's connection ends at somebody else.
    #[test]
    fn a_man_in_the_middle_is_found_out() {
        let far = ClientConnection {
            end_point: TlsEndPoint::new(&[6; 32]),
            ..over_tls()
        };
        let outcome = talk(
            admission(&password_listed(), &scram_only(), over_tls()),
            client(Credential::password(PASSWORD), &far),
        );
        assert_eq!(
            outcome.rejected(),
            &Rejected::Scram(ClientFault::BindingMismatch)
        );
        assert_eq!(outcome.rejected().sqlstate().to_string(), "28000");
    }

    #[test]
    fn binding_can_be_demanded() {
        let policy = policy().require_binding();
        let outcome = attempt(&password_listed(), &policy, over_tls(), PASSWORD);
        assert_eq!(outcome.method(), Method::ScramSha256Plus);
        let outcome = attempt(&password_listed(), &policy, clear(), PASSWORD);
        assert_eq!(outcome.rejected(), &Rejected::NoMethod);
        let said = first_answer(&policy, over_tls(), b"SCRAM-SHA-256", Some(b"n,,n=,r=x"));
        assert_eq!(said.unwrap_err(), Rejected::Scram(ClientFault::Mechanism));
    }

    /// What comes of a client's first message.
    fn first_answer(
        policy: &AdmitPolicy,
        connection: ClientConnection,
        mechanism: &[u8],
        data: Option<&[u8]>,
    ) -> Result<(Admission, Vec<u8>), Rejected> {
        let mut login = admission(&listed(verifier()), policy, connection);
        let mut out = BytesMut::new();
        assert!(matches!(login.start(&mut out), Admitting::Wait));
        out.clear();
        let mut message = BytesMut::new();
        password::SaslInitialResponse { mechanism, data }
            .encode(&mut message)
            .unwrap();
        match login.handle(b'p', &message[5..], &mut out) {
            Admitting::Wait => Ok((login, out.to_vec())),
            Admitting::Refused(rejected) => Err(rejected),
            other => panic!("{other:?}"),
        }
    }

    fn fault_of_first(connection: ClientConnection, mechanism: &[u8], data: &[u8]) -> Rejected {
        match first_answer(&scram_only(), connection, mechanism, Some(data)) {
            Ok((_, said)) => panic!("{} was taken: {said:?}", data.escape_ascii()),
            Err(rejected) => rejected,
        }
    }

    /// B4, B7: client-first-message.
    #[test]
    fn hostile_first_messages() {
        use ClientFault::*;
        let plain = &b"SCRAM-SHA-256"[..];
        let plus = &b"SCRAM-SHA-256-PLUS"[..];
        let half = limits::SCRAM_NONCE_MAX / 2;
        let long_nonce = format!("n,,n=,r={}", "x".repeat(half + 1)).into_bytes();
        let too_long =
            format!("n,,n=,r=x,e={}", "x".repeat(limits::SCRAM_MESSAGE_MAX)).into_bytes();
        let table: Vec<(ClientConnection, &[u8], &[u8], ClientFault)> = vec![
            (clear(), plus, b"p=tls-server-end-point,,n=,r=x", Mechanism),
            (clear(), b"scram-sha-256", b"n,,n=,r=x", Mechanism),
            (clear(), b"", b"n,,n=,r=x", Mechanism),
            (over_tls(), plain, b"y,,n=,r=x", Downgrade),
            (
                over_tls(),
                plain,
                b"p=tls-server-end-point,,n=,r=x",
                FlagOfAnotherMechanism,
            ),
            (
                clear(),
                plain,
                b"p=tls-server-end-point,,n=,r=x",
                FlagOfAnotherMechanism,
            ),
            (over_tls(), plus, b"n,,n=,r=x", FlagOfAnotherMechanism),
            (over_tls(), plus, b"y,,n=,r=x", FlagOfAnotherMechanism),
            (over_tls(), plus, b"p=tls-unique,,n=,r=x", Flag),
            (over_tls(), plus, b"p=,,n=,r=x", Flag),
            (clear(), plain, b"", Flag),
            (clear(), plain, b"n", Flag),
            (clear(), plain, b"N,,n=,r=x", Flag),
            (clear(), plain, b"nn,,n=,r=x", Flag),
            (clear(), plain, b"n,", AttributeExpected('a')),
            (clear(), plain, b"n,n=,r=x", AttributeExpected('a')),
            (clear(), plain, b"n,a=bob,n=,r=x", AuthorizationIdentity),
            (clear(), plain, b"n,,m=x,n=,r=x", MandatoryExtension),
            (clear(), plain, b"n,,", AttributeExpected('n')),
            (clear(), plain, b"n,,r=x", AttributeExpected('n')),
            (clear(), plain, b"n,,n=", AttributeExpected('r')),
            (clear(), plain, b"n,,n=,x=y,r=x", AttributeExpected('r')),
            (clear(), plain, b"n,,n=,r=", Nonce),
            (clear(), plain, b"n,,n=,r=a b", Nonce),
            (clear(), plain, b"n,,n=,r=a\0", Nonce),
            (clear(), plain, b"n,,n=,r=\xff", Nonce),
            (clear(), plain, &long_nonce, Nonce),
            (clear(), plain, b"n,,n=,r=x,", Extension),
            (clear(), plain, b"n,,n=,r=x,yz", Extension),
            (clear(), plain, b"n,,n=,r=x,1=z", Extension),
            (clear(), plain, &too_long, MessageTooLong),
        ];
        for (connection, mechanism, data, expected) in table {
            let rejected = fault_of_first(connection, mechanism, data);
            assert_eq!(
                rejected,
                Rejected::Scram(expected),
                "{}",
                data.escape_ascii()
            );
            assert!(["08P01", "28000", "0A000"].contains(&&*rejected.sqlstate().to_string()));
        }
        // B3: a length that is not that of the rest.
        let mut login = admission(&listed(verifier()), &scram_only(), clear());
        login.start(&mut BytesMut::new());
        let body = b"SCRAM-SHA-256\0\xff\xff\xff\xf0x";
        let refused = login.handle(b'p', body, &mut BytesMut::new());
        assert!(matches!(refused, Admitting::Refused(Rejected::Malformed)));
    }

    #[test]
    fn first_messages_that_postgresql_takes() {
        for (connection, data) in [
            (clear(), &b"n,,n=,r=x"[..]),
            (clear(), b"y,,n=,r=x"),
            (over_tls(), b"n,,n=bob,r=x"),
            (clear(), b"n,,n=,r=x,e=1,f="),
        ] {
            let taken = first_answer(&scram_only(), connection, b"SCRAM-SHA-256", Some(data));
            let (_, said) = taken.unwrap_or_else(|why| panic!("{}: {why}", data.escape_ascii()));
            let nonce = STANDARD.encode([8; 18]);
            let expected = format!("r=x{nonce},s={},i=1", STANDARD.encode(SALT));
            assert_eq!(&said[9..], expected.as_bytes());
        }
    }

    /// L8: the longest that is read, and one byte more.
    #[test]
    fn first_messages_have_a_length() {
        let half = limits::SCRAM_NONCE_MAX / 2;
        let nonce = |length: usize| format!("n,,n=,r={}", "x".repeat(length));
        let padded = |length: usize| format!("n,,n=,r=x,e={}", "y".repeat(length - 12));
        let most = limits::SCRAM_MESSAGE_MAX;
        for (message, expected) in [
            (nonce(half), None),
            (nonce(half + 1), Some(ClientFault::Nonce)),
            (padded(most), None),
            (padded(most + 1), Some(ClientFault::MessageTooLong)),
        ] {
            let data = Some(message.as_bytes());
            let taken = first_answer(&scram_only(), clear(), b"SCRAM-SHA-256", data);
            assert_eq!(
                taken.err(),
                expected.map(Rejected::Scram),
                "{}",
                message.len()
            );
        }
    }

    /// A client may choose the mechanism first and send its first message when it is asked.
    #[test]
    fn the_first_message_may_come_later() {
        let (mut login, said) =
            first_answer(&scram_only(), clear(), b"SCRAM-SHA-256", None).unwrap();
        assert_eq!(said, auth(Authentication::SaslContinue { data: b"" }));
        let mut out = BytesMut::new();
        let next = login.handle(b'p', b"n,,n=,r=x", &mut out);
        assert!(matches!(next, Admitting::Wait));
        assert!(out[9..].starts_with(b"r=x"));
        let unknown = first_answer(&scram_only(), clear(), b"PLAIN", None);
        assert_eq!(
            unknown.unwrap_err(),
            Rejected::Scram(ClientFault::Mechanism)
        );
    }

    /// B4: client-final-message.
    #[test]
    fn hostile_final_messages() {
        use ClientFault::*;
        let proof = STANDARD.encode([0; 32]);
        let after = |edit: &dyn Fn(&str) -> String| {
            let (mut login, said) =
                first_answer(&scram_only(), clear(), b"SCRAM-SHA-256", Some(b"n,,n=,r=x")).unwrap();
            let said = std::str::from_utf8(&said[9..]).unwrap();
            let nonce = said.split_once("r=").unwrap().1.split_once(',').unwrap().0;
            let mut out = BytesMut::new();
            let mut result = login.handle(b'p', edit(nonce).as_bytes(), &mut out);
            while let Admitting::Working = result {
                result = login.work(&mut out);
            }
            assert_eq!(out, "");
            match result {
                Admitting::Refused(rejected) => rejected,
                other => panic!("{other:?}"),
            }
        };
        type Edit<'a> = Box<dyn Fn(&str) -> String + 'a>;
        let proof = &*proof;
        let table: Vec<(Edit<'_>, ClientFault)> = vec![
            (Box::new(|_| String::new()), AttributeExpected('c')),
            (
                Box::new(|n| format!("r={n},c=biws,p={proof}")),
                AttributeExpected('c'),
            ),
            (Box::new(|_| "c=biws".into()), AttributeExpected('r')),
            (
                Box::new(|n| format!("c=biws,r={n}")),
                AttributeExpected('p'),
            ),
            (
                Box::new(|n| format!("c=biws,r={n},x=y")),
                AttributeExpected('p'),
            ),
            (
                Box::new(|n| format!("c=biws,r={n},p={proof},x=y")),
                AttributeExpected('p'),
            ),
            (
                Box::new(|n| format!("c=biws,r={n},xy,p={proof}")),
                Extension,
            ),
            (
                Box::new(|n| format!("c=eSws,r={n},p={proof}")),
                HeaderMismatch,
            ),
            (Box::new(|n| format!("c=,r={n},p={proof}")), HeaderMismatch),
            (
                Box::new(|n| format!("c=biws,r={n}x,p={proof}")),
                NonceMismatch,
            ),
            (Box::new(|_| format!("c=biws,r=x,p={proof}")), NonceMismatch),
            (Box::new(|n| format!("c=biws,r={n},p=")), Proof),
            (
                Box::new(|n| format!("c=biws,r={n},p={}", &proof[..40])),
                Proof,
            ),
            (Box::new(|n| format!("c=biws,r={n},p={proof}AAAA")), Proof),
            (Box::new(|n| format!("c=biws,r={n},p={proof} ")), Proof),
            (
                Box::new(|n| {
                    let more = "x".repeat(limits::SCRAM_MESSAGE_MAX);
                    format!("c=biws,r={n},x={more},p={proof}")
                }),
                MessageTooLong,
            ),
        ];
        for (edit, expected) in table {
            let rejected = after(&edit);
            assert_eq!(rejected, Rejected::Scram(expected), "{}", edit("NONCE"));
        }
        // Well formed, and wrong.
        let wrong = after(&|n| format!("c=biws,r={n},x=y,p={proof}"));
        assert_eq!(wrong.sqlstate().to_string(), "28P01");
    }

    /// B1: no call works off more than 4,096 iterations.
    #[test]
    fn hashing_is_done_in_steps() {
        for (iterations, works) in [(1, 1), (4_097, 1), (4_098, 2), (u32::MAX, 25)] {
            let policy = scram_only().iterations(iterations);
            let outcome = attempt(&password_listed(), &policy, clear(), PASSWORD);
            assert_eq!(outcome.method(), Method::ScramSha256);
            assert_eq!(outcome.works, works, "{iterations}");
        }
    }

    /// Where no password is listed, nobody's login is hashed for.
    #[test]
    fn verifiers_alone_cost_no_hashing() {
        let users = listed(verifier());
        let outcome = attempt(&users, &scram_only(), clear(), PASSWORD);
        assert_eq!(outcome.works, 1);
        let many = listed(
            Credential::from_secret(Account::new(PASSWORD, 50_000).stored().as_bytes()).unwrap(),
        );
        assert_eq!(attempt(&many, &scram_only(), clear(), "wrong").works, 1);
        let nobody = Admission::new(
            b"nobody",
            &users,
            &scram_only().iterations(50_000),
            clear(),
            nonces(),
        );
        let outcome = talk(nobody, client(Credential::password("wrong"), &clear()));
        assert_eq!(outcome.works, 1);
    }

    /// The salt of a name stays, and is another for each name and each secret.
    /// B10: nobody here knows what others have whom the caller would find, so a wrong password costs everybody a hash.
    #[test]
    fn a_user_that_the_caller_finds_costs_what_the_dearest_does() {
        for credential in [Credential::None, Credential::password(PASSWORD), digest()] {
            let policy = policy().allow_cleartext().iterations(10_000);
            let user = USER.as_bytes();
            let credential = std::sync::Arc::new(credential);
            let mut login =
                Admission::with_credential(user, credential, &policy, over_tls(), nonces());
            let mut out = BytesMut::new();
            assert!(matches!(login.start(&mut out), Admitting::Wait));
            let step = login.handle(b'p', b"wrong\0", &mut out);
            assert!(matches!(step, Admitting::Working), "{step:?}");
        }
    }

    #[test]
    fn mock_salts_look_like_real_ones() {
        let salt = |user: &[u8], secret: u8, users: &Users| {
            let policy = AdmitPolicy::new([secret; 32]).allow_scram();
            let mut login = Admission::new(user, users, &policy, clear(), nonces());
            let mut out = BytesMut::new();
            login.start(&mut out);
            out.clear();
            let mut message = BytesMut::new();
            password::SaslInitialResponse {
                mechanism: b"SCRAM-SHA-256",
                data: Some(b"n,,n=,r=x"),
            }
            .encode(&mut message)
            .unwrap();
            login.handle(b'p', &message[5..], &mut out);
            let said = String::from_utf8(out[9..].to_vec()).unwrap();
            let salt = said.split(',').nth(1).unwrap().to_owned();
            assert_eq!(STANDARD.decode(&salt[2..]).unwrap().len(), 16);
            assert!(said.ends_with(",i=4096"), "{said}");
            salt
        };
        let (none, some) = (Users::default(), password_listed());
        let first = salt(b"nobody", 1, &none);
        assert_eq!(salt(b"nobody", 1, &none), first);
        assert_eq!(salt(b"nobody", 1, &some), first);
        assert_ne!(salt(b"noone", 1, &none), first);
        assert_ne!(salt(b"nobody", 2, &none), first);
        // Whether alice is listed does not show in hers.
        assert_eq!(salt(b"alice", 1, &none), salt(b"alice", 1, &some));
    }

    /// Nobody can log in as somebody who does not exist, whatever the password that stands in for it.
    #[test]
    fn an_unknown_user_has_no_password() {
        for users in [
            Users::default(),
            listed(Credential::None),
            listed(Credential::External),
        ] {
            let mut users = users;
            users.insert(b"bob", Credential::password("builder"));
            for password in ["", "builder", PASSWORD] {
                let outcome = attempt(&users, &scram_only(), clear(), password);
                assert_eq!(outcome.rejected().sqlstate().to_string(), "28P01");
            }
        }
    }

    #[test]
    fn the_strongest_that_serves_is_asked() {
        let all = || {
            policy()
                .allow_scram()
                .allow_md5(Channel::Clear)
                .allow_cleartext()
        };
        for (users, method) in [
            (password_listed(), Method::ScramSha256Plus),
            (listed(verifier()), Method::ScramSha256Plus),
            (listed(digest()), Method::Md5),
        ] {
            let outcome = attempt(&users, &all(), over_tls(), PASSWORD);
            assert_eq!(outcome.method(), method);
        }
        let without_scram = policy().allow_md5(Channel::Clear).allow_cleartext();
        let outcome = attempt(&listed(verifier()), &without_scram, over_tls(), PASSWORD);
        assert_eq!(outcome.method(), Method::Cleartext);
        let outcome = attempt(&password_listed(), &without_scram, over_tls(), PASSWORD);
        assert_eq!(outcome.method(), Method::Md5);
    }

    /// A client that has been told of SCRAM-SHA-256 alone says `y`, and a server that could not have offered more
    /// takes it.
    #[test]
    fn a_client_that_could_bind_says_so() {
        let plain = ClientConnection {
            end_point: None,
            ..over_tls()
        };
        let server = admission(&password_listed(), &scram_only(), plain);
        let outcome = talk(server, client(Credential::password(PASSWORD), &over_tls()));
        assert_eq!(outcome.method(), Method::ScramSha256);
    }
}
