//! Attacks on the opening and the login, row by row, with their bytes. `tests/data/attacks.txt` has the list; rows that have no
//! test here have it in `attacks_login.rs` or where the rest of their subject is.

mod session_support;

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use pgturnout::auth::{
    AdmitPolicy, AuthError, Channel, Credential, Methods, Replay, ScramNonce, Users, md5_digest,
    md5_password,
};
use pgturnout::route::Split;
use pgturnout::session::{
    ClientAuth, Config, ConnectionFacts, PeerId, Policy, Seed, Session, Verdict,
};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use pgturnout::wire::{Authentication, Backend};
use session_support::frames::{backend, raw};
use session_support::{Chunk, Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSSENC_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
const CANCEL_REQUEST: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02";

/// Protocol 3.0 and this list, its terminator included.
fn packet(list: &[u8]) -> Vec<u8> {
    let length = u32::try_from(list.len() + 8).unwrap();
    [&length.to_be_bytes()[..], b"\0\x03\0\0", list].concat()
}

/// Both servers get a startup packet as it came, and are logged in to.
fn passes(rig: &mut Rig, packet: &[u8]) {
    rig.raw(CLIENT, packet);
    assert_eq!(rig.take(WRITER), packet);
    rig.writer("R");
    rig.writer(login(WRITER));
    rig.take(CLIENT);
    rig.client("Q(select 1)");
    assert_eq!(rig.take(READER), packet);
}

/// Notes as whom clients come, and to what.
struct Noting(Arc<Mutex<Vec<[String; 2]>>>);

impl Policy for Noting {
    fn connection(&mut self, facts: &ConnectionFacts<'_>) -> Verdict {
        let text = |bytes: Option<&[u8]>| bytes.unwrap().escape_ascii().to_string();
        let mut noted = self.0.lock().unwrap();
        noted.push([text(facts.user()), text(facts.database())]);
        Verdict::Allow
    }
}

/// A11: the last one wins, here as there, and what a server gets is what came.
#[test]
fn duplicate_parameters_mean_to_us_what_they_mean_to_servers() {
    let list = b"user\0nosuch\0database\0a\0user\0postgres\0x\x001\0database\0b\0x\x002\0\0";
    each(config, |rig| {
        let noted = Arc::default();
        rig.session.set_policy(Box::new(Noting(Arc::clone(&noted))));
        passes(rig, &packet(list));
        assert_eq!(*noted.lock().unwrap(), [["postgres", "b"]]);
    });
    // The user that is let in is the one that servers will take it for.
    let terminating = || {
        let mut config = config();
        let policy = AdmitPolicy::new([9; 32]).allow_md5(Channel::Clear);
        config.authentication = ClientAuth::Terminate(policy);
        let mut users = Users::default();
        users.insert(b"nosuch", Credential::password("one"));
        users.insert(b"postgres", Credential::password("two"));
        config.users = users;
        config
    };
    for (user, password, lets_in) in [("nosuch", "one", false), ("postgres", "two", true)] {
        each(terminating, |rig| {
            rig.raw(CLIENT, &packet(list));
            let salt = rig.take(CLIENT)[9..].try_into().unwrap();
            let answer = md5_password(user.as_bytes(), password.as_bytes(), salt);
            rig.raw(CLIENT, &raw(b'p', &[&answer[..], b"\0"].concat()));
            assert_eq!(rig.is_open(WRITER), lets_in, "{user}");
            assert_eq!(rig.is_dead(), !lets_in, "{user}");
        });
    }
}

/// A12: what a client asks of its own session is its servers' to judge, byte for byte; nobody else's session sees it, and
/// what it makes of names is known.
#[test]
fn options_are_the_clients_own() {
    for list in [
        &b"user\0u\0options\0-c search_path=evil -c default_transaction_read_only=on\0\0"[..],
        b"user\0u\0options\0--search_path=evil\0\0",
        b"user\0u\0options\0-c search_path=evil\\ and\\ worse\0\0",
        b"user\0u\0database\0-c\0\0",
        b"user\0u\0database\0--help\0\0",
        b"user\0-r\0\0",
    ] {
        each(config, |rig| passes(rig, &packet(list)));
    }
    // A path that may hide the built-ins makes every call doubtful.
    for list in [
        &b"user\0u\0options\0-c search_path=evil,pg_catalog\0\0"[..],
        b"user\0u\0options\0--search-path=pg_temp,pg_catalog\0\0",
        b"user\0u\0SEARCH_PATH\0evil, PG_CATALOG\0\0",
    ] {
        each(config, |rig| {
            rig.raw(CLIENT, &packet(list));
            rig.take(WRITER);
            rig.writer("R");
            rig.writer(login(WRITER));
            rig.take(CLIENT);
            rig.client("Q(select lower('X'))");
            rig.see(WRITER, "Q(select lower('X'))");
            assert!(!rig.is_open(READER));
        });
    }
}

/// A17, C9: the opening is never entered again. A server reads a type of zero, and closes.
#[test]
fn openings_behind_the_login_are_messages_of_no_type() {
    let start = startup(ProtocolVersion::V3_0);
    for opening in [SSL_REQUEST, GSSENC_REQUEST, CANCEL_REQUEST, &start] {
        each(config, |rig| {
            rig.both();
            rig.raw(CLIENT, opening);
            assert_eq!(rig.take(WRITER), opening);
            assert_eq!((rig.cancels, rig.handshakes.len()), (0, 0));
            rig.see(CLIENT, "");
            rig.writer("FATAL(08P01)");
            rig.eof(WRITER);
            rig.see(CLIENT, "FATAL(08P01)");
            assert!(rig.is_dead());
        });
    }
}

/// A server's question for MD5 with this salt, to a login with what suits the credential. What it is answered.
fn md5_answer(credential: Credential, channel: Channel) -> Result<Vec<u8>, AuthError> {
    let methods = Methods::for_credential(&credential);
    let packet = packet(b"user\0pgpg\0\0");
    let params = StartupParams::parse(&packet).unwrap();
    let nonce = ScramNonce::from_bytes([7; 18]);
    let mut replay = Replay::new(&params, credential, methods, channel, nonce);
    replay.start(&mut BytesMut::new()).unwrap();
    let mut reply = BytesMut::new();
    let salt = [1, 2, 3, 4];
    let question = Backend::Authentication(Authentication::Md5Password { salt });
    replay.handle(question, &mut reply)?;
    Ok(reply.to_vec())
}

/// B8: a rogue server could pass a victim's salt on to us, and our answer to the victim.
#[test]
fn md5_is_answered_only_to_servers_that_are_verified() {
    let digest = || Credential::Md5Digest(md5_digest(b"pgpg", b"pgpg"));
    let answer = raw(b'p', b"md5e8dcacd3b532f5316ad9df7ed202ca21\0");
    assert_eq!(md5_answer(digest(), Channel::VerifiedTls).unwrap(), answer);
    for channel in [Channel::Clear, Channel::Tls] {
        assert!(md5_answer(digest(), channel).is_err(), "{channel:?}");
    }
    // Who has more is asked for more.
    for channel in [Channel::Clear, Channel::Tls, Channel::VerifiedTls] {
        let password = Credential::password("pgpg");
        assert!(md5_answer(password, channel).is_err(), "{channel:?}");
    }
}

/// A session with this seed.
fn seeded(rig: &mut Rig, config: Config, seed: u8) {
    let seed = Seed::new(std::array::from_fn(|at| seed ^ u8::try_from(at).unwrap()));
    rig.session = Session::new(Arc::new(config), Split, seed, rig.now);
}

/// B8: the salts of two sessions differ, or an answer that was seen would serve again.
#[test]
fn md5_salts_are_each_sessions_own() {
    let mut salts = Vec::new();
    for seed in 0..64 {
        let mut asking = config();
        let policy = AdmitPolicy::new([9; 32]).allow_md5(Channel::Clear);
        asking.authentication = ClientAuth::Terminate(policy);
        let mut rig = Rig::new(config(), Chunk::Whole);
        seeded(&mut rig, asking, seed);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        salts.push(rig.take(CLIENT)[9..].to_vec());
    }
    salts.sort();
    salts.dedup();
    assert_eq!(salts.len(), 64);
}

/// B13: every message of a login's answer, cut at every byte.
#[test]
fn a_login_may_be_cut_anywhere() {
    let answer = [backend("N(00000) R"), backend(login(WRITER))].concat();
    let mut whole = None;
    for cut in 0..=answer.len() {
        let mut rig = Rig::new(config(), Chunk::Whole);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.take(WRITER);
        rig.raw(WRITER, &answer[..cut]);
        rig.raw(WRITER, &answer[cut..]);
        let seen = rig.take(CLIENT);
        assert!(rig.session.client_key().is_some(), "cut at {cut}");
        assert_eq!(&seen, whole.get_or_insert(seen.clone()), "cut at {cut}");
    }
}

/// B13: a parameter that exceeds what is looked at, before it has come.
#[test]
fn a_login_has_no_message_longer_than_a_buffer() {
    let long = raw(b'S', &[&b"x\0"[..], &[b'y'; 70_000], b"\0"].concat());
    each(config, |rig| {
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.take(WRITER);
        rig.writer("R");
        rig.raw(WRITER, &long[..64]);
        rig.see(CLIENT, "R FATAL(08006)");
        assert!(rig.is_dead());
    });
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("R");
        rig.raw(READER, &long[..64]);
        rig.see(WRITER, "Q(select 1)");
        rig.writer("T D(1) C(SELECT 1) Z(I)");
        assert!(!rig.is_dead(), "a reader is no more than given up");
    });
}

/// E2: secrets are of the seed, all of them, and of nothing that others know.
#[test]
fn cancel_secrets_cannot_be_known() {
    for (version, len) in [(ProtocolVersion::V3_0, 4), (ProtocolVersion::V3_2, 32)] {
        let mut secrets = Vec::new();
        for seed in 0..64 {
            let mut rig = Rig::new(config(), Chunk::Whole);
            seeded(&mut rig, config(), seed);
            rig.raw(CLIENT, &startup(version));
            rig.take(WRITER);
            rig.writer("R");
            rig.writer(login(WRITER));
            let key = rig.session.client_key().unwrap();
            assert_eq!((key.process_id(), key.secret().len()), (4711, len));
            secrets.push(key.secret().to_vec());
        }
        secrets.sort();
        secrets.dedup();
        assert_eq!(secrets.len(), 64);
    }
}

/// E3: sixteen bytes cost us a look at a table, and no connection.
#[test]
fn a_cancel_request_dials_nobody() {
    let long = [&b"\0\0\x01\x0c\x04\xd2\x16\x2e\0\0\0\x01"[..], &[7; 256]].concat();
    for request in [CANCEL_REQUEST, &long] {
        each(config, |rig| {
            rig.raw(CLIENT, request);
            assert_eq!(rig.cancels, 1);
            assert!(!rig.is_open(WRITER) && !rig.is_open(READER));
            assert!(rig.is_dead());
            rig.silence();
        });
    }
}
