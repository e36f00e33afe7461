//! Users that the caller looks up, and users that servers know by another name.

mod session_support;

use pgturnout::auth::{
    AdmitPolicy, Channel, Credential, FoundUser, Methods, UpstreamUser, UpstreamUsers, Users,
    md5_digest, md5_password,
};
use pgturnout::session::{
    ClientAuth, CloseCause, Config, ConfigError, Event, PeerId, Timer, UserSource,
};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use pgturnout::wire::SqlState;
use session_support::frames::raw;
use session_support::{Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

fn by_md5() -> Config {
    let mut config = config();
    let policy = AdmitPolicy::new([9; 32]).allow_md5(Channel::Clear);
    config.authentication = ClientAuth::Terminate(policy);
    for upstream in &mut config.upstreams {
        upstream.methods = Some(Methods::NONE.allow_trust().allow_md5(Channel::Clear));
    }
    config
}

/// Alice is the servers' `app`, with a password of its own.
fn renamed() -> Config {
    let mut config = by_md5();
    let mut users = Users::default();
    users.insert(b"alice", Credential::password("hers"));
    config.users = users;
    let mut upstream = UpstreamUsers::default();
    let app = UpstreamUser::new(b"app", Credential::password("its"));
    assert!(upstream.insert(b"alice", app));
    config.upstream_users = upstream;
    config
}

fn found_by_the_caller() -> Config {
    let mut config = by_md5();
    config.user_source = UserSource::Caller;
    config
}

fn open(rig: &mut Rig) {
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
}

fn answer_md5(rig: &mut Rig, password: &str) {
    let question = rig.take(CLIENT);
    assert_eq!(question[..9], *b"R\0\0\0\x0c\0\0\0\x05");
    let salt = question[9..].try_into().unwrap();
    let answer = md5_password(b"alice", password.as_bytes(), salt);
    rig.raw(CLIENT, &raw(b'p', &[&answer[..], b"\0"].concat()));
}

/// The startup packet that a server gets, and its question, which is answered as this user.
fn lets_in(rig: &mut Rig, peer: PeerId, user: &str, password: &str) {
    let packet = StartupParams::parse(&rig.take(peer)).unwrap();
    assert_eq!(
        (packet.user(), packet.database()),
        (user.as_bytes(), &b"app"[..])
    );
    rig.say(peer, "Rmd5");
    let answer = md5_password(user.as_bytes(), password.as_bytes(), *b"salt");
    assert_eq!(rig.take(peer), raw(b'p', &[&answer[..], b"\0"].concat()));
    rig.say(peer, "R");
    rig.say(peer, login(peer));
}

/// Both servers are logged in to as this user.
fn serves_as(rig: &mut Rig, user: &str, password: &str) {
    rig.see(CLIENT, "R");
    lets_in(rig, WRITER, user, password);
    rig.take(CLIENT);
    rig.client("Q(select 1)");
    lets_in(rig, READER, user, password);
    rig.see(READER, "Q(select 1)");
    rig.reader(ROW);
    rig.see(CLIENT, ROW);
}

#[test]
fn servers_know_a_client_by_another_name() {
    each(renamed, |rig| {
        open(rig);
        answer_md5(rig, "hers");
        serves_as(rig, "app", "its");
    });
    each(renamed, |rig| {
        open(rig);
        answer_md5(rig, "its");
        rig.see(CLIENT, "FATAL(28P01)");
        assert!(!rig.is_open(WRITER));
    });
}

/// The rest of the packet is the client's own, in its order; the database that its name would have meant is said.
/// What a server has against the user that it knows may name it, whatever it is about. The log has all of it.
#[test]
fn the_other_name_is_not_told() {
    let refusal = |state: &str| {
        let fields =
            format!("SFATAL\0VFATAL\0C{state}\0Mtoo many connections for role \"app\"\0\0");
        raw(b'E', fields.as_bytes())
    };
    for state in ["53300", "3D000", "42501", "57P03", "28000"] {
        each(renamed, |rig| {
            open(rig);
            answer_md5(rig, "hers");
            rig.take(WRITER);
            rig.raw(WRITER, &refusal(state));
            let told = rig.take(CLIENT);
            let said = told.escape_ascii().to_string();
            assert!(!said.contains("\\\"app\\\""), "{said}");
            let kept = if state == "28000" { "08006" } else { state };
            assert!(said.contains(&format!("C{kept}")), "{said}");
            let why = rig.events.iter().find_map(|event| match event {
                Event::UpstreamFailed { why, .. } => Some(why.clone()),
                _ => None,
            });
            assert!(why.unwrap().contains("\"app\""));
        });
    }
    // Whoever is the same to the server is told all.
    let own_name = || {
        let mut config = renamed();
        config.upstream_users = UpstreamUsers::default();
        config
    };
    each(own_name, |rig| {
        open(rig);
        answer_md5(rig, "hers");
        rig.take(WRITER);
        rig.raw(WRITER, &refusal("53300"));
        let said = rig.take(CLIENT).escape_ascii().to_string();
        assert!(said.contains("too many connections for role"), "{said}");
    });
}

#[test]
fn another_name_changes_nothing_else() {
    let build = |pairs: &[(&'static str, &'static str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        StartupParams::build(ProtocolVersion::V3_2, pairs).unwrap()
    };
    for (before, after) in [
        (
            &[("user", "a")][..],
            &[("user", "b"), ("database", "a")][..],
        ),
        (
            &[
                ("options", ""),
                ("user", "a"),
                ("database", "d"),
                ("user", "c"),
            ],
            &[
                ("options", ""),
                ("user", "b"),
                ("database", "d"),
                ("user", "b"),
            ],
        ),
        (
            &[("database", ""), ("user", "a"), ("x", "y"), ("x", "z")],
            &[
                ("database", ""),
                ("user", "b"),
                ("x", "y"),
                ("x", "z"),
                ("database", "a"),
            ],
        ),
    ] {
        assert_eq!(build(before).as_user(b"b").unwrap(), build(after));
    }
    assert!(build(&[("user", "a")]).as_user(b"").is_err());
    assert!(build(&[("user", "a")]).as_user(b"a\0b").is_err());
    assert!(build(&[("user", "a")]).as_user(&[b'x'; 10_000]).is_err());
}

/// A name that makes the packet too long for any server.
#[test]
fn a_name_that_cannot_be_said_ends_the_login() {
    let long = || {
        let mut config = renamed();
        let name = [b'x'; 10_000];
        let user = UpstreamUser::new(&name, Credential::None);
        config.upstream_users.insert(b"alice", user);
        config
    };
    each(long, |rig| {
        open(rig);
        answer_md5(rig, "hers");
        rig.see(CLIENT, "R FATAL(08006)");
        assert_eq!(rig.total(WRITER), 0);
        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
    });
}

fn of_password(password: &str) -> FoundUser {
    FoundUser {
        credential: Credential::password(password),
        upstream: None,
    }
}

/// U01, A11: the check is the caller's, who may take its time.
#[test]
fn the_caller_looks_a_user_up() {
    each(found_by_the_caller, |rig| {
        open(rig);
        assert_eq!(rig.lookups, [b"alice"]);
        rig.see(CLIENT, "");
        assert!(!rig.is_open(WRITER));
        rig.found(Ok(of_password("hers")));
        answer_md5(rig, "hers");
        serves_as(rig, "alice", "hers");
        assert_eq!(rig.lookups.len(), 1);
    });
    each(found_by_the_caller, |rig| {
        open(rig);
        rig.found(Ok(FoundUser {
            credential: Credential::Md5Digest(md5_digest(b"alice", b"hers")),
            upstream: Some(UpstreamUser::new(b"app", Credential::password("its"))),
        }));
        answer_md5(rig, "hers");
        serves_as(rig, "app", "its");
    });
}

/// B10: who does not exist sees what others see.
#[test]
fn a_user_that_the_caller_does_not_find_is_refused_like_others() {
    for credential in [|| Credential::None, || Credential::password("another")] {
        each(found_by_the_caller, |rig| {
            open(rig);
            rig.found(Ok(FoundUser {
                credential: credential(),
                upstream: None,
            }));
            answer_md5(rig, "hers");
            rig.see(CLIENT, "FATAL(28P01)");
            assert!(!rig.is_open(WRITER));
        });
    }
}

#[test]
fn a_caller_that_cannot_look_up_is_no_fault_of_the_client() {
    each(found_by_the_caller, |rig| {
        open(rig);
        rig.found(Err("the directory is down".to_owned()));
        rig.see(CLIENT, "FATAL(57P03)");
        let state = SqlState(*b"57P03");
        assert_eq!(rig.cause(), CloseCause::ClientFault(Some(state)));
        assert!(rig.has_event(|event| matches!(
            event,
            Event::UserNotFound { why } if why == "the directory is down"
        )));
    });
}

/// An answer that comes late, or twice, goes nowhere.
#[test]
fn answers_that_nobody_waits_for() {
    each(found_by_the_caller, |rig| {
        rig.found(Ok(of_password("early")));
        open(rig);
        rig.found(Ok(of_password("hers")));
        rig.found(Ok(of_password("late")));
        rig.found(Err("late".to_owned()));
        answer_md5(rig, "hers");
        serves_as(rig, "alice", "hers");
    });
    each(found_by_the_caller, |rig| {
        open(rig);
        rig.eof(CLIENT);
        assert_eq!(rig.cause(), CloseCause::ClientLeft);
        rig.found(Ok(of_password("hers")));
        assert!(rig.is_dead());
    });
    each(by_md5, |rig| {
        open(rig);
        let question = rig.take(CLIENT);
        rig.found(Ok(of_password("hers")));
        rig.see(CLIENT, "");
        assert!(!question.is_empty() && rig.lookups.is_empty());
    });
}

#[test]
fn a_lookup_has_the_deadline_of_the_login() {
    each(found_by_the_caller, |rig| {
        open(rig);
        rig.expire(Timer::Login);
        rig.see(CLIENT, "FATAL(57014)");
        assert_eq!(rig.cause(), CloseCause::Timeout(Timer::Login));
    });
}

/// What a client says before it is asked stays unread.
#[test]
fn a_client_that_is_early_waits() {
    each(found_by_the_caller, |rig| {
        open(rig);
        rig.raw(CLIENT, &raw(b'p', b"early\0"));
        rig.see(CLIENT, "");
        rig.found(Ok(of_password("hers")));
        // It is taken for the answer, and is none.
        assert_eq!(
            rig.cause(),
            CloseCause::ClientFault(Some(SqlState(*b"28P01")))
        );
    });
}

#[test]
fn a_relayed_client_has_its_own_name_everywhere() {
    let mut relayed = config();
    relayed.user_source = UserSource::Caller;
    assert_eq!(relayed.check(), Err(ConfigError::RelayedUsers));
    let mut relayed = renamed();
    relayed.authentication = ClientAuth::Relay;
    assert_eq!(relayed.check(), Err(ConfigError::RelayedUsers));
    assert_eq!(renamed().check(), Ok(()));
    assert_eq!(found_by_the_caller().check(), Ok(()));
}

#[test]
fn no_secret_is_shown() {
    let user = UpstreamUser::new(b"app", Credential::password("hidden"));
    let mut users = UpstreamUsers::default();
    users.insert(b"alice", user.clone());
    let found = FoundUser {
        credential: Credential::password("hidden"),
        upstream: Some(user.clone()),
    };
    let shown = format!("{user:?} {users:?} {found:?}");
    assert!(
        shown.starts_with("UpstreamUser(app) UpstreamUsers(1)"),
        "{shown}"
    );
    assert!(!shown.contains("hidden"), "{shown}");
}
