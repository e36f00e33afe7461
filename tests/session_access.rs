//! Clients that guess, and those that are not wanted any more: what the caller's policy is asked about logins, and the end
//! of a session at the caller's wish.

mod session_support;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgturnout::access::{Attempt, Outcome, Throttle, ThrottleLimits, Throttled};
use pgturnout::auth::{AdmitPolicy, Channel, Credential, Users, md5_password};
use pgturnout::limits;
use pgturnout::session::{
    ClientAuth, CloseCause, Config, ConfigError, ConnectionFacts, Denial, Event, Gate, LoginFacts,
    LoginOutcome, PeerId, Policy, Timer, Verdict,
};
use pgturnout::startup::{ProtocolVersion, Refusal, StartupParams};
use pgturnout::stats::ConnectionCounter;
use pgturnout::wire::SqlState;
use session_support::frames::raw;
use session_support::{Rig, config, each, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const DENIED: CloseCause = CloseCause::ConnectionDenied(SqlState(*b"28000"));

/// Throttles logins, and notes their outcomes.
struct Door {
    throttle: Arc<Mutex<Throttle>>,
    outcomes: Arc<Mutex<Vec<LoginOutcome>>>,
    attempt: Option<Attempt>,
}

fn refusal(throttled: Throttled) -> Verdict {
    let denial = Denial::new(throttled.to_string());
    Verdict::Deny(
        denial
            .with_sqlstate(Throttled::SQLSTATE)
            .with_hint(Throttled::HINT),
    )
}

impl Policy for Door {
    fn connection(&mut self, facts: &ConnectionFacts<'_>) -> Verdict {
        let (address, user) = (facts.address.unwrap(), facts.user().unwrap());
        let mut throttle = self.throttle.lock().unwrap();
        match throttle.begin(address, user, facts.now) {
            Ok(attempt) => {
                self.attempt = Some(attempt);
                Verdict::Allow
            }
            Err(throttled) => refusal(throttled),
        }
    }

    fn login(&mut self, login: &LoginFacts<'_>) -> Verdict {
        self.outcomes.lock().unwrap().push(login.outcome);
        assert_eq!(login.address, Some(HERE));
        assert_eq!(login.startup.user(), b"alice");
        let outcome = match login.outcome {
            LoginOutcome::Accepted => Outcome::Accepted,
            LoginOutcome::Refused(Some(state)) => Outcome::of_refusal(state),
            LoginOutcome::Refused(None) => Outcome::Other,
        };
        let attempt = self.attempt.take().expect("asked once");
        let mut throttle = self.throttle.lock().unwrap();
        match throttle.settle(attempt, outcome, login.now) {
            Ok(()) => Verdict::Allow,
            Err(throttled) => refusal(throttled),
        }
    }
}

type Shared = (Arc<Mutex<Throttle>>, Arc<Mutex<Vec<LoginOutcome>>>);

fn guarded(rig: &mut Rig) -> Shared {
    let throttle = Arc::new(Mutex::new(Throttle::new(ThrottleLimits::default())));
    let outcomes = Arc::default();
    rig.session.set_client_address(HERE);
    rig.session.set_policy(Box::new(Door {
        throttle: Arc::clone(&throttle),
        outcomes: Arc::clone(&outcomes),
        attempt: None,
    }));
    (throttle, outcomes)
}

/// Somebody else guesses wrong from the same address, having begun at the same time.
fn somebody_guesses(rig: &Rig, throttle: &Arc<Mutex<Throttle>>) {
    let mut throttle = throttle.lock().unwrap();
    let attempt = throttle.begin(HERE, b"alice", rig.now).unwrap();
    let outcome = throttle.settle(attempt, Outcome::WrongCredentials, rig.now);
    assert_eq!(outcome, Ok(()));
}

fn terminating() -> Config {
    let mut config = config();
    let policy = AdmitPolicy::new([9; 32]).allow_md5(Channel::Clear);
    config.authentication = ClientAuth::Terminate(policy);
    let mut users = Users::default();
    users.insert(b"alice", Credential::password("secret"));
    config.users = users;
    config
}

fn open(rig: &mut Rig) {
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
}

fn answer_md5(rig: &mut Rig, password: &str) {
    let question = rig.take(CLIENT);
    let salt = question[9..].try_into().unwrap();
    let answer = md5_password(b"alice", password.as_bytes(), salt);
    rig.raw(CLIENT, &raw(b'p', &[&answer[..], b"\0"].concat()));
}

/// The client is told what a throttled one is told, and nothing else.
fn throttled(rig: &mut Rig) {
    let told = rig.take(CLIENT);
    let text = told.escape_ascii().to_string();
    assert_eq!(told[0], b'E', "{text}");
    for part in [
        "FATAL",
        "C28000",
        "Mtoo many failed",
        "HLogins of this user",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(
        usize::from(told[4]) + 1 + 256 * usize::from(told[3]),
        told.len()
    );
    assert_eq!(rig.cause(), DENIED);
}

#[test]
fn a_blocked_client_gets_no_login() {
    for make in [config, terminating] {
        each(make, |rig| {
            let (throttle, outcomes) = guarded(rig);
            somebody_guesses(rig, &throttle);
            open(rig);
            assert!(!rig.is_open(WRITER));
            throttled(rig);
            assert!(outcomes.lock().unwrap().is_empty());
        });
        each(make, |rig| {
            let (throttle, _) = guarded(rig);
            somebody_guesses(rig, &throttle);
            rig.pass(Duration::from_secs(1));
            open(rig);
            assert!(!rig.is_dead(), "it may log in");
        });
    }
}

/// What the gate says about the proof, and what the client gets of it when somebody else's guess was wrong meanwhile.
#[test]
fn guesses_side_by_side_through_the_gate() {
    let refused = |state: &[u8; 5]| LoginOutcome::Refused(Some(SqlState(*state)));
    for (answer, outcome) in [
        ("R", LoginOutcome::Accepted),
        ("Rfinal(v=the proof of the server)", LoginOutcome::Accepted),
        (
            "Rfinal(v=the proof of the server) R",
            LoginOutcome::Accepted,
        ),
        ("FATAL(28P01)", refused(b"28P01")),
        ("FATAL(53300)", refused(b"53300")),
    ] {
        for gate in [Gate::Writer, Gate::Reader] {
            let make = || {
                let mut config = config();
                config.gate = gate;
                config
            };
            let peer = match gate {
                Gate::Writer => WRITER,
                Gate::Reader => READER,
            };
            each(make, |rig| {
                let (throttle, outcomes) = guarded(rig);
                open(rig);
                rig.take_startup(peer);
                rig.say(peer, "Rsasl(SCRAM-SHA-256)");
                rig.see(CLIENT, "Rsasl(SCRAM-SHA-256)");
                somebody_guesses(rig, &throttle);
                rig.say(peer, answer);
                throttled(rig);
                assert_eq!(*outcomes.lock().unwrap(), [outcome]);
            });
            each(make, |rig| {
                let (throttle, outcomes) = guarded(rig);
                open(rig);
                rig.take_startup(peer);
                rig.say(peer, answer);
                rig.see(CLIENT, answer);
                assert_eq!(*outcomes.lock().unwrap(), [outcome]);
                let now = throttle.lock().unwrap().begin(HERE, b"alice", rig.now);
                assert_eq!(now.is_err(), answer.contains("28P01"), "{answer}");
            });
        }
    }
}

#[test]
fn guesses_side_by_side_at_our_own_check() {
    for (password, outcome) in [
        ("secret", LoginOutcome::Accepted),
        ("wrong", LoginOutcome::Refused(Some(SqlState(*b"28P01")))),
    ] {
        each(terminating, |rig| {
            let (throttle, outcomes) = guarded(rig);
            open(rig);
            somebody_guesses(rig, &throttle);
            answer_md5(rig, password);
            throttled(rig);
            assert!(!rig.is_open(WRITER));
            assert_eq!(*outcomes.lock().unwrap(), [outcome]);
        });
    }
    // One by itself learns the truth, and blocks the next.
    each(terminating, |rig| {
        let (throttle, _) = guarded(rig);
        open(rig);
        answer_md5(rig, "wrong");
        rig.see(CLIENT, "FATAL(28P01)");
        let failures = ConnectionCounter::AuthenticationFailures;
        assert_eq!(rig.session.connection_stats().get(failures), 1);
        let mut throttle = throttle.lock().unwrap();
        assert!(throttle.begin(HERE, b"alice", rig.now).is_err());
    });
}

/// What of a login is no outcome: nobody is asked, and nothing counts.
#[test]
fn a_client_that_leaves_has_guessed_nothing() {
    for make in [config, terminating] {
        each(make, |rig| {
            let (throttle, outcomes) = guarded(rig);
            open(rig);
            rig.eof(CLIENT);
            assert!(outcomes.lock().unwrap().is_empty());
            assert!(throttle.lock().unwrap().is_empty());
        });
    }
}

/// The outcome is told once: what comes behind it is the same login's.
#[test]
fn a_login_is_asked_about_once() {
    each(config, |rig| {
        let (_, outcomes) = guarded(rig);
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("R FATAL(3D000)");
        rig.see(CLIENT, "R FATAL(3D000)");
        assert_eq!(*outcomes.lock().unwrap(), [LoginOutcome::Accepted]);
    });
    each(config, |rig| {
        let (_, outcomes) = guarded(rig);
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.reader_in();
        assert_eq!(*outcomes.lock().unwrap(), [LoginOutcome::Accepted]);
    });
}

fn not_any_more() -> Denial {
    Denial::new("not any more")
}

const EXPELLED: CloseCause = CloseCause::Expelled(SqlState(*b"57P01"));

#[test]
fn a_session_that_is_denied_later_ends_behind_what_is_in_flight() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.see(WRITER, "Q(delete from t)");
        rig.expel(not_any_more());
        rig.client("Q(delete from u)");
        rig.see(WRITER, "");
        rig.writer("C(DELETE 1) Z(I)");
        rig.see(WRITER, "X");
        rig.see(CLIENT, "C(DELETE 1) Z(I) FATAL(57P01)");
        assert_eq!(rig.cause(), EXPELLED);
    });
    each(config, |rig| {
        rig.both();
        rig.expel(not_any_more().with_sqlstate(SqlState(*b"28000")));
        rig.see(CLIENT, "FATAL(28000)");
        rig.see(WRITER, "X");
        rig.see(READER, "X");
        assert_eq!(rig.cause(), CloseCause::Expelled(SqlState(*b"28000")));
    });
    // A frame that has begun is ended before anything is said.
    each(config, |rig| {
        rig.both();
        rig.client("Q(copy t to stdout)");
        rig.see(READER, "Q(copy t to stdout)");
        rig.reader("H");
        rig.raw(READER, b"d\0\0\0\x08ha");
        rig.expel(not_any_more());
        rig.raw(READER, b"lf");
        rig.reader("c C(COPY 1) Z(I)");
        rig.see(CLIENT, "H d(half) c C(COPY 1) Z(I) FATAL(57P01)");
    });
}

#[test]
fn what_is_in_flight_has_a_deadline() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.expel(not_any_more());
        rig.see(CLIENT, "");
        rig.expire(Timer::Shutdown);
        rig.see(CLIENT, "FATAL(57P01)");
        assert_eq!(rig.cause(), EXPELLED);
    });
}

#[test]
fn a_client_can_be_denied_in_its_login() {
    for make in [config, terminating] {
        each(make, |rig| {
            rig.expel(not_any_more());
            rig.see(CLIENT, "FATAL(57P01)");
            assert!(rig.is_dead());
        });
        each(make, |rig| {
            open(rig);
            rig.take(CLIENT);
            rig.expel(not_any_more());
            rig.see(CLIENT, "FATAL(57P01)");
            assert!(rig.is_dead());
        });
    }
}

/// Who began to end first says why.
#[test]
fn a_second_end_changes_nothing() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.shutdown();
        rig.expel(not_any_more());
        rig.writer("C(DELETE 1) Z(I)");
        assert_eq!(rig.cause(), CloseCause::Shutdown);
        rig.expel(not_any_more());
        assert_eq!(rig.cause(), CloseCause::Shutdown);
    });
}

#[test]
fn a_driver_can_ask_whose_session_it_is() {
    each(config, |rig| {
        assert!(rig.session.client_startup().is_none());
        rig.logged_in();
        let startup: &StartupParams = rig.session.client_startup().unwrap();
        assert_eq!(
            (startup.user(), startup.database()),
            (&b"alice"[..], &b"app"[..])
        );
    });
}

/// F14: by whom and of what type; the bytes pass as they are.
#[test]
fn messages_of_unknown_types_are_told() {
    let told = |rig: &Rig, peer: PeerId| {
        let events = rig.events.iter().filter_map(move |event| match event {
            Event::UnknownMessage { peer: from, tag } if *from == peer => Some(*tag),
            _ => None,
        });
        events.collect::<Vec<_>>()
    };
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.take(WRITER);
        rig.raw(
            WRITER,
            &[raw(b'!', b"one"), raw(b'?', b""), raw(b'!', b"two")].concat(),
        );
        rig.writer("C(DELETE 0) Z(I)");
        rig.take(CLIENT);
        assert_eq!(told(rig, WRITER), *b"!?!");
        assert!(told(rig, CLIENT).is_empty());
        rig.raw(CLIENT, &raw(b'~', b"x"));
        assert_eq!(told(rig, CLIENT), *b"~");
        assert_eq!(rig.take(WRITER), raw(b'~', b"x"));
    });
}

/// F7: a packet at the limit and one past it, which is refused by its header.
#[test]
fn the_length_of_startup_packets_can_be_limited() {
    let packet = |body: usize| {
        let fixed = 4 + "user\0alice\0x\0\0\0".len();
        let value = vec![b'v'; body - fixed];
        let pairs = [(&b"user"[..], &b"alice"[..]), (b"x", &value)];
        let packet = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
        assert_eq!(packet.raw().len(), body + 4);
        packet.raw().to_vec()
    };
    let limited = || {
        let mut config = config();
        config.limits.startup_body = 300;
        config
    };
    each(limited, |rig| {
        rig.raw(CLIENT, &packet(300));
        assert_eq!(rig.take(WRITER), packet(300));
    });
    each(limited, |rig| {
        rig.raw(CLIENT, &packet(301)[..8]);
        rig.see(CLIENT, "FATAL(08P01)");
        assert!(matches!(
            rig.cause(),
            CloseCause::ClientRefused(Refusal::StartupLength { announced: 305 })
        ));
    });
    // A CancelRequest has a length of its own.
    let cancel = [&b"\0\0\x01\x0c\x04\xd2\x16\x2e\0\0\0\x01"[..], &[7; 256]].concat();
    let least = || {
        let mut config = config();
        config.limits.startup_body = limits::STARTUP_BODY_LEAST;
        config
    };
    each(least, |rig| {
        rig.raw(CLIENT, &cancel);
        assert_eq!(rig.cancels, 1);
    });
    let mut narrow = least();
    assert_eq!(narrow.check(), Ok(()));
    narrow.limits.startup_body -= 1;
    let least = limits::STARTUP_BODY_LEAST;
    assert_eq!(narrow.check(), Err(ConfigError::StartupBody { least }));
}
