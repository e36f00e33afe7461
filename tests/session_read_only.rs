//! A9: what happens when the writer cannot be had while a client logs in.

mod session_support;

use std::time::Duration;

use pgturnout::auth::{AdmitPolicy, Channel, Credential, Methods};
use pgturnout::session::{
    ClientAuth, CloseCause, Config, Destination, Event, Gate, PeerId, Role, Split, Timer,
    WriterFailure, WriterRetry,
};
use pgturnout::startup::{ProtocolVersion, StartupParams, UpstreamTlsPolicy};
use session_support::{Dial, Rig, config, each, login, startup, upstream};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;

fn forgiving(gate: Gate) -> Config {
    let mut config = config();
    config.gate = gate;
    config.writer_failure = WriterFailure::ReadOnly;
    config
}

fn open(rig: &mut Rig) {
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
}

/// The standby, on the connection of the writer, is what serves.
fn serves_alone(rig: &mut Rig) {
    let told = |event: &Event| matches!(event, Event::ReadOnly { to: Destination(1) });
    assert_eq!(rig.events.iter().filter(|event| told(event)).count(), 1);
    assert!(!rig.is_open(READER));
    rig.client("Q(select 1) Q(delete from t)");
    rig.see(WRITER, "Q(select 1) Q(delete from t)");
    rig.writer("T D(1) C(SELECT 1) Z(I) E(25006) Z(I)");
    rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I) E(25006) Z(I)");
    let target = |rig: &Rig| rig.session.cancel_target().map(|target| target.to);
    assert_eq!(target(rig), None);
    rig.client("Q(select 2)");
    assert_eq!(target(rig), Some(Destination(1)));
}

/// Its login, in which it says what it is.
fn standby_in(rig: &mut Rig) {
    rig.take_startup(WRITER);
    rig.writer("R");
    rig.writer(login(READER));
}

type Failing = fn(&mut Rig);
type Configured = fn() -> Config;

/// How a writer fails whose first words the client has not heard.
const FAILURES: [Failing; 5] = [
    |rig| {
        rig.dials(WRITER, Dial::RefuseOnce);
        open(rig);
    },
    |rig| {
        rig.dials(WRITER, Dial::Hang);
        open(rig);
        rig.dials(WRITER, Dial::Accept);
        rig.expire(Timer::Dial(WRITER));
    },
    |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.eof(WRITER);
    },
    |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.reset(WRITER);
    },
    |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("FATAL(57P03)");
    },
];

#[test]
fn the_reader_stands_for_a_writer_that_cannot_be_had() {
    for failure in FAILURES {
        each(
            || forgiving(Gate::Writer),
            |rig| {
                failure(rig);
                rig.see(CLIENT, "");
                standby_in(rig);
                assert!(rig.shown(CLIENT).contains("S(in_hot_standby,on)"));
                serves_alone(rig);
            },
        );
        each(config, |rig| {
            failure(rig);
            let told = rig.shown(CLIENT);
            assert!(told.starts_with("FATAL("), "{told}");
        });
    }
}

const DELAY: Duration = Duration::from_secs(1);

fn retrying() -> Config {
    let mut config = config();
    config.writer_retry = WriterRetry::Again {
        times: 2,
        delay: DELAY,
    };
    config
}

/// Which tries were told of.
fn retries(rig: &Rig) -> Vec<u32> {
    let retry = |event: &Event| match event {
        Event::WriterRetried { to, retry } => {
            assert_eq!(*to, Destination(0));
            Some(*retry)
        }
        _ => None,
    };
    rig.events.iter().filter_map(retry).collect()
}

/// No connection to spare is as good a reason.
const FULL: Failing = |rig| {
    open(rig);
    rig.take_startup(WRITER);
    rig.writer("FATAL(53300)");
};

#[test]
fn a_writer_that_cannot_be_had_is_dialled_again() {
    for failure in FAILURES.into_iter().chain([FULL]) {
        for configured in [retrying as Configured, || {
            let mut config = trusting();
            config.writer_retry = retrying().writer_retry;
            config
        }] {
            each(configured, |rig| {
                failure(rig);
                let trusted = matches!(configured().authentication, ClientAuth::Terminate(_));
                rig.see(CLIENT, if trusted { "R" } else { "" });
                assert_eq!(retries(rig), [1]);
                assert!(!rig.is_open(WRITER), "not before its time");
                let due = rig.session.poll_timeout().map(|(at, _)| at - rig.now);
                assert_eq!(due, Some(DELAY));
                rig.expire(Timer::Redial(WRITER));
                rig.take_startup(WRITER);
                rig.writer("R");
                rig.writer(login(WRITER));
                assert!(rig.shown(CLIENT).ends_with("Z(I)"));
                assert!(rig.session.client_key().is_some());
                rig.client("Q(delete from t)");
                rig.see(WRITER, "Q(delete from t)");
            });
        }
    }
}

#[test]
fn the_last_try_is_what_counts() {
    let again = |rig: &mut Rig| {
        rig.dials(WRITER, Dial::Refuse);
        open(rig);
        for retry in 1..=2 {
            rig.see(CLIENT, "");
            assert_eq!(retries(rig).last(), Some(&retry));
            rig.expire(Timer::Redial(WRITER));
        }
        assert_eq!(retries(rig), [1, 2]);
    };
    each(retrying, |rig| {
        again(rig);
        rig.see(CLIENT, "FATAL(08006)");
        assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
    });
    // What the server says last the client gets as it is.
    each(retrying, |rig| {
        FULL(rig);
        for _ in 0..2 {
            rig.expire(Timer::Redial(WRITER));
            rig.take_startup(WRITER);
            rig.writer("FATAL(53300)");
        }
        rig.see(CLIENT, "FATAL(53300)");
    });
    // Then the reader stands for it, if it may.
    let forgiving = || Config {
        writer_failure: WriterFailure::ReadOnly,
        ..retrying()
    };
    each(forgiving, |rig| {
        FAILURES[0](rig);
        rig.dials(WRITER, Dial::RefuseOnce);
        rig.expire(Timer::Redial(WRITER));
        rig.dials(WRITER, Dial::RefuseOnce);
        rig.expire(Timer::Redial(WRITER));
        standby_in(rig);
        assert!(rig.shown(CLIENT).contains("S(in_hot_standby,on)"));
        serves_alone(rig);
    });
}

/// Not what is wrong for good, nor what the client has heard of, nor beyond the deadline of its login.
#[test]
fn a_writer_is_not_dialled_again_for_everything() {
    for refusal in ["FATAL(28P01)", "FATAL(3D000)", "FATAL(42501)"] {
        each(retrying, |rig| {
            open(rig);
            rig.take_startup(WRITER);
            rig.writer(refusal);
            rig.see(CLIENT, refusal);
            assert_eq!(retries(rig), []);
        });
    }
    each(retrying, |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("Rmd5");
        rig.take(CLIENT);
        rig.eof(WRITER);
        rig.see(CLIENT, "FATAL(08006)");
        assert_eq!(retries(rig), []);
    });
    let slow = || {
        let mut config = retrying();
        config.writer_retry = WriterRetry::Again {
            times: 1,
            delay: config.timeouts.login + DELAY,
        };
        config
    };
    each(slow, |rig| {
        rig.dials(WRITER, Dial::Refuse);
        open(rig);
        rig.expire(Timer::Login);
        rig.see(CLIENT, "FATAL(57014)");
    });
    each(config, |rig| {
        rig.dials(WRITER, Dial::Refuse);
        open(rig);
        rig.see(CLIENT, "FATAL(08006)");
        assert_eq!(retries(rig), []);
    });
}

fn trusting() -> Config {
    let mut config = forgiving(Gate::Writer);
    let policy = AdmitPolicy::new([9; 32]).allow_trust(Channel::Clear);
    config.authentication = ClientAuth::Terminate(policy);
    config
}

#[test]
fn the_reader_stands_for_the_writer_of_a_client_that_we_check() {
    for failure in FAILURES {
        each(trusting, |rig| {
            failure(rig);
            rig.see(CLIENT, "R");
            standby_in(rig);
            assert!(rig.shown(CLIENT).contains("S(in_hot_standby,on)"));
            serves_alone(rig);
        });
    }
}

/// The client has proven itself to the reader, which is logged in to once more, in its name.
#[test]
fn the_gate_stands_for_the_writer_behind_it() {
    let failures: [Failing; 2] = [
        |rig| rig.dials(WRITER, Dial::RefuseOnce),
        |rig| rig.dials(WRITER, Dial::Accept),
    ];
    for (place, failure) in failures.into_iter().enumerate() {
        each(
            || forgiving(Gate::Reader),
            |rig| {
                failure(rig);
                open(rig);
                rig.reader_in();
                if place == 1 {
                    rig.take_startup(WRITER);
                    rig.writer("FATAL(57P03)");
                }
                rig.see(CLIENT, "R");
                rig.see(READER, "X");
                standby_in(rig);
                assert!(rig.shown(CLIENT).contains("S(in_hot_standby,on)"));
                serves_alone(rig);
            },
        );
    }
}

/// A session that is not split logs in to its writer, and to who stands for it: there is no other gate that could have let
/// the client in.
#[test]
fn nobody_is_let_in_by_a_gate_that_was_not_asked() {
    let whole = || {
        let mut config = forgiving(Gate::Reader);
        config.split = Split::Off;
        config
    };
    for failure in FAILURES {
        each(whole, |rig| {
            failure(rig);
            rig.take_startup(WRITER);
            rig.writer("Rmd5");
            rig.see(CLIENT, "Rmd5");
        });
    }
}

/// What is the client's or the configuration's to mend is told: the reader would say the same, or less.
#[test]
fn other_failures_are_told() {
    for state in ["28P01", "28000", "3D000", "53300"] {
        each(
            || forgiving(Gate::Writer),
            |rig| {
                open(rig);
                rig.take_startup(WRITER);
                rig.writer(&format!("FATAL({state})"));
                rig.see(CLIENT, &format!("FATAL({state})"));
            },
        );
    }
    each(trusting, |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.writer("FATAL(3D000)");
        rig.see(CLIENT, "R FATAL(3D000)");
    });
}

/// What the writer has asked the client cannot be taken back.
#[test]
fn a_writer_that_was_heard_is_not_replaced() {
    each(
        || forgiving(Gate::Writer),
        |rig| {
            open(rig);
            rig.take_startup(WRITER);
            rig.writer("Rmd5");
            rig.see(CLIENT, "Rmd5");
            rig.eof(WRITER);
            rig.see(CLIENT, "FATAL(08006)");
        },
    );
    each(
        || forgiving(Gate::Writer),
        |rig| {
            rig.both();
            rig.reset(WRITER);
            rig.see(CLIENT, "FATAL(08006)");
            assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
        },
    );
}

#[test]
fn a_reader_that_cannot_be_had_either_ends_it() {
    each(
        || forgiving(Gate::Writer),
        |rig| {
            rig.dials(WRITER, Dial::Refuse);
            open(rig);
            rig.see(CLIENT, "FATAL(08006)");
            assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
        },
    );
    let alone = || {
        let mut config = forgiving(Gate::Writer);
        config.upstreams = vec![upstream(Role::Writer)];
        config
    };
    each(alone, |rig| {
        rig.dials(WRITER, Dial::RefuseOnce);
        open(rig);
        rig.see(CLIENT, "FATAL(08006)");
    });
}

/// A standby is not what a replication session asks for.
#[test]
fn replication_is_the_writers() {
    let pairs = [(&b"user"[..], &b"alice"[..]), (b"replication", b"true")];
    let packet = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
    each(
        || forgiving(Gate::Writer),
        |rig| {
            rig.dials(WRITER, Dial::RefuseOnce);
            rig.raw(CLIENT, packet.raw());
            rig.see(CLIENT, "FATAL(08006)");
        },
    );
}

fn asking_the_caller() -> Config {
    let mut config = trusting();
    config.users.insert(b"alice", Credential::External);
    for upstream in &mut config.upstreams {
        upstream.methods = Some(Methods::NONE.allow_external(Channel::Clear));
    }
    config
}

fn requiring_tls() -> Config {
    let mut config = trusting();
    for upstream in &mut config.upstreams {
        upstream.tls = UpstreamTlsPolicy::Require;
    }
    config
}

/// Somebody has to mend it, and would not hear of it if the standby served: a credential of ours that is refused or cannot
/// be had, TLS that is not as it was configured, a server that is none.
#[test]
fn what_is_configured_wrongly_is_told() {
    let faults: [(Configured, Failing, &str); 8] = [
        (trusting, |rig| rig.writer("FATAL(28P01)"), "28P01"),
        (trusting, |rig| rig.writer("FATAL(28000)"), "28000"),
        (trusting, |rig| rig.writer("Rmd5"), "wants an MD5 password"),
        (trusting, |rig| rig.writer("Z(I)"), "ReadyForQuery"),
        (
            asking_the_caller,
            |rig| {
                rig.writer("Rclear");
                rig.authenticate(WRITER, Err("no ticket".to_owned()));
            },
            "no ticket",
        ),
        (
            asking_the_caller,
            |rig| {
                rig.writer("Rclear");
                rig.expire(Timer::Replay(WRITER));
            },
            "took too long",
        ),
        (requiring_tls, |rig| rig.raw(WRITER, b"N"), "TLS"),
        (
            requiring_tls,
            |rig| {
                rig.tls_fails(WRITER);
                rig.raw(WRITER, b"S");
            },
            "TLS failed: no",
        ),
    ];
    for (config, fault, why) in faults {
        each(config, |rig| {
            open(rig);
            rig.take(WRITER);
            fault(rig);
            rig.see(CLIENT, "R FATAL(08006)");
            assert_eq!(rig.cause(), CloseCause::LoginFailed(WRITER));
            assert!(
                !rig.events
                    .iter()
                    .any(|event| matches!(event, Event::ReadOnly { .. }))
            );
            let told = |event: &Event| matches!(event, Event::UpstreamFailed { why: told, .. } if told.contains(why));
            assert!(rig.events.iter().any(told), "{why}: {:?}", rig.events);
        });
    }
}

/// A server that hangs in its login is one that cannot be had.
#[test]
fn a_writer_that_hangs_is_replaced() {
    each(trusting, |rig| {
        open(rig);
        rig.take_startup(WRITER);
        rig.expire(Timer::Replay(WRITER));
        rig.see(CLIENT, "R");
        standby_in(rig);
        assert!(rig.shown(CLIENT).contains("S(in_hot_standby,on)"));
        serves_alone(rig);
    });
}

/// The client is told which server it was.
#[test]
fn what_stands_for_the_writer_goes_by_its_own_name() {
    let ends: [(Failing, &str); 3] = [
        (
            |rig| rig.eof(WRITER),
            "the proxy could not log in to the replica server",
        ),
        (
            |rig| {
                standby_in(rig);
                rig.reset(WRITER);
            },
            "the connection to the replica server was lost",
        ),
        (
            |rig| {
                standby_in(rig);
                rig.raw(WRITER, b"\0\0\0\0\0");
            },
            "the replica server broke the protocol",
        ),
    ];
    for (end, words) in ends {
        each(trusting, |rig| {
            rig.dials(WRITER, Dial::RefuseOnce);
            open(rig);
            end(rig);
            let told = rig.take(CLIENT);
            let told = told.escape_ascii().to_string();
            assert!(told.contains(words), "{told}");
        });
    }
}

/// Between two tries nothing of the client's is lost, and nobody is dialled for one who has left.
#[test]
fn a_client_waits_or_leaves_between_two_tries() {
    each(retrying, |rig| {
        rig.dials(WRITER, Dial::RefuseOnce);
        open(rig);
        rig.raw(
            CLIENT,
            &session_support::frames::frontend("Q(delete from t)"),
        );
        rig.expire(Timer::Redial(WRITER));
        rig.take_startup(WRITER);
        rig.writer("R");
        rig.writer(login(WRITER));
        rig.see(WRITER, "Q(delete from t)");
    });
    for leaves in [(|rig| rig.eof(CLIENT)) as Failing, |rig| rig.reset(CLIENT)] {
        each(retrying, |rig| {
            rig.dials(WRITER, Dial::RefuseOnce);
            open(rig);
            leaves(rig);
            assert!(rig.is_dead());
        });
    }
}
