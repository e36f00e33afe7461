//! Moves that fail: each fault in each phase, and where the session is then.

mod session_support;

use pgturnout::migrate::{Outcome, Phase, Reason};
use pgturnout::session::{CloseCause, Event, MoveOrder, MoveTarget, PeerId, Timer};
use session_support::moving::{Had, SPARE, SPARE_LOGIN, movable};
use session_support::{Dial, Rig, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const NEW: PeerId = PeerId::THIRD;

/// Where a move stands when the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Dial,
    LogIn,
    /// The new server is asked what a fresh session has.
    Fresh,
    /// A transaction is open.
    Wait,
    /// The old server answers the client.
    Drain,
    Read,
    Restore,
    Verify,
}

const ALL: [At; 8] = [
    At::Dial,
    At::LogIn,
    At::Fresh,
    At::Wait,
    At::Drain,
    At::Read,
    At::Restore,
    At::Verify,
];

impl At {
    fn phase(self) -> Phase {
        match self {
            At::Dial => Phase::Dial,
            At::LogIn | At::Fresh => Phase::LogIn,
            At::Wait => Phase::Wait,
            At::Drain => Phase::Drain,
            At::Read => Phase::Read,
            At::Restore => Phase::Restore,
            At::Verify => Phase::Verify,
        }
    }

    fn holds(self) -> bool {
        matches!(self, At::Drain | At::Read | At::Restore | At::Verify)
    }

    /// Whether the session can do without its old server.
    fn has_its_state(self) -> bool {
        matches!(self, At::Restore | At::Verify)
    }
}

fn state() -> Had {
    Had::default().set("work_mem", "64")
}

/// Brings a session to where a fault is to come.
fn bring(rig: &mut Rig, at: At) {
    rig.logged_in();
    ask(rig, "set work_mem = 64", "C(SET) Z(I)");
    if at == At::Wait {
        ask(rig, "begin", "C(BEGIN) Z(T)");
    }
    if at == At::Drain {
        rig.client("Q(update t set a = 1)");
        rig.see(WRITER, "Q(update t set a = 1)");
    }
    if at == At::Dial {
        rig.dials(NEW, Dial::Hang);
    }
    rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
    if at == At::Dial {
        return;
    }
    rig.take_startup(NEW);
    if at == At::LogIn {
        return;
    }
    rig.say(NEW, "R");
    rig.say(NEW, SPARE_LOGIN);
    rig.see_probe(NEW);
    if at == At::Fresh {
        return;
    }
    rig.raw(NEW, &Had::default().answer());
    if matches!(at, At::Wait | At::Drain) {
        return;
    }
    rig.see_probe(WRITER);
    if at == At::Read {
        return;
    }
    rig.raw(WRITER, &state().answer());
    let (parts, answers) = rig.restore_parts(NEW);
    assert_eq!(parts, "work_mem=64");
    if at == At::Restore {
        return;
    }
    rig.raw(NEW, &answers);
    rig.see_probe(NEW);
}

fn ask(rig: &mut Rig, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, &format!("Q({text})"));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

/// The session goes on where it was.
#[track_caller]
fn goes_on(rig: &mut Rig, at: At) {
    // What the old server owes to us is nobody's.
    match at {
        At::Read => rig.raw(WRITER, &state().answer()),
        At::Drain => {
            rig.writer("C(UPDATE 1) Z(I)");
            rig.see(CLIENT, "C(UPDATE 1) Z(I)");
        }
        At::Wait => ask(rig, "commit", "C(COMMIT) Z(I)"),
        At::Dial | At::LogIn | At::Fresh | At::Restore | At::Verify => {}
    }
    ask(rig, "delete from t", "C(DELETE 1) Z(I)");
    assert!(!rig.is_open(NEW), "the new server's connection is left");
    assert_eq!(rig.session.migration().map(|status| status.phase), None);
}

/// How the move failed.
#[track_caller]
fn failed(rig: &Rig) -> (Outcome, Phase, Reason) {
    match rig.move_ended() {
        Some(Event::MoveFailed {
            outcome,
            phase,
            reason,
            ..
        }) => (outcome, phase, reason),
        other => panic!("{other:?}"),
    }
}

/// A fault that leaves the session on its old server, whatever the phase.
fn recovers(fault: impl Fn(&mut Rig, At) -> bool) {
    for at in ALL {
        each(movable, |rig| {
            bring(rig, at);
            if !fault(rig, at) {
                return;
            }
            let (outcome, phase, _) = failed(rig);
            assert_eq!(
                (outcome, phase),
                (Outcome::Recoverable, at.phase()),
                "{at:?}"
            );
            assert_eq!(rig.transfers(), [1, 0, 1, 0], "{at:?}");
            goes_on(rig, at);
            // And it may be tried again.
            rig.take(NEW);
            rig.dials(NEW, Dial::Accept);
            rig.move_begins(NEW, &Had::default());
            rig.answer_probe(WRITER, &state());
            rig.restore(NEW, "work_mem=64");
            rig.answer_probe(NEW, &state());
            assert_eq!(rig.transfers(), [2, 1, 1, 0], "{at:?}");
        });
    }
}

#[test]
fn the_new_server_dies() {
    recovers(|rig, at| {
        if at != At::Dial {
            rig.eof(NEW);
        }
        at != At::Dial
    });
    recovers(|rig, at| {
        if at != At::Dial {
            rig.reset(NEW);
        }
        at != At::Dial
    });
}

#[test]
fn the_new_server_cannot_be_reached() {
    each(movable, |rig| {
        rig.logged_in();
        rig.dials(NEW, Dial::Refuse);
        rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
        let (outcome, phase, reason) = failed(rig);
        assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Dial));
        assert_eq!(reason.to_string(), "the new server: connection refused");
        goes_on(rig, At::Dial);
    });
}

/// One that accepts and then is silent, too (W4).
#[test]
fn every_phase_has_its_deadline() {
    recovers(|rig, at| {
        // With the defaults a session's own deadlines for a dial and a login are as short.
        let own = match at {
            At::Dial => Some(Timer::Dial(NEW)),
            At::LogIn => Some(Timer::Replay(NEW)),
            _ => None,
        };
        let (_, next) = rig.session.poll_timeout().expect("a deadline");
        assert!(
            next == Timer::Move || Some(next) == own,
            "{next:?} at {at:?}"
        );
        rig.expire(next);
        let (_, _, reason) = failed(rig);
        let waits = matches!(at, At::Wait | At::Drain);
        assert_eq!(matches!(reason, Reason::NeverSafe(_)), waits, "{reason}");
        true
    });
}

#[test]
fn the_caller_gives_it_up() {
    recovers(|rig, at| {
        // Half an answer that is long: its rest is nobody's.
        if at == At::Read {
            let answer = state().answer();
            rig.raw(WRITER, &answer[..60]);
            rig.session.cancel_migration(rig.now);
            rig.run();
            rig.raw(WRITER, &answer[60..]);
            rig.see(CLIENT, "");
            assert_eq!(failed(rig).2, Reason::Cancelled);
            rig.client("Q(delete from t)");
            rig.see(WRITER, "Q(delete from t)");
            rig.writer("C(DELETE 1) Z(I)");
            rig.see(CLIENT, "C(DELETE 1) Z(I)");
            return false;
        }
        rig.session.cancel_migration(rig.now);
        rig.run();
        assert_eq!(failed(rig).2, Reason::Cancelled);
        true
    });
}

#[test]
fn the_new_server_ends_or_breaks_the_session() {
    for said in ["FATAL(57P01)", "Z(T)", "G", "3"] {
        recovers(|rig, at| {
            let speaks = !matches!(at, At::Dial | At::LogIn);
            if speaks {
                rig.say(NEW, said);
            }
            speaks
        });
    }
}

#[test]
fn the_new_server_refuses_us() {
    each(movable, |rig| {
        bring(rig, At::LogIn);
        rig.say(NEW, "FATAL(28P01)");
        let (outcome, phase, _) = failed(rig);
        assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::LogIn));
        goes_on(rig, At::LogIn);
    });
}

/// The old server dies: the session with it, before its state is read, and behind that the move goes on.
#[test]
fn the_old_server_dies() {
    for reset in [false, true] {
        for at in ALL {
            each(movable, |rig| {
                bring(rig, at);
                match reset {
                    false => rig.eof(WRITER),
                    true => rig.reset(WRITER),
                }
                if at.has_its_state() {
                    assert!(!rig.is_dead(), "{at:?}");
                    rig.client("Q(delete from t)");
                    if at == At::Restore {
                        let set = "1 2 D(x) C(SELECT 1) 3 Z(I)";
                        rig.say(NEW, set);
                        rig.see_probe(NEW);
                    }
                    rig.raw(NEW, &state().answer());
                    rig.see(NEW, "Q(delete from t)");
                    rig.say(NEW, "C(DELETE 1) Z(I)");
                    rig.see(
                        CLIENT,
                        "S(server_version,15.19) S(in_hot_standby,off) C(DELETE 1) Z(I)",
                    );
                    assert_eq!(rig.transfers(), [1, 1, 0, 0]);
                    return;
                }
                let (outcome, phase, reason) = failed(rig);
                assert_eq!((outcome, phase), (Outcome::Fatal, at.phase()), "{at:?}");
                assert_eq!(reason, Reason::OldLost);
                assert_eq!(rig.transfers(), [1, 0, 0, 1]);
                // Whether the update that waits for its answer is done nobody knows.
                let said = match at {
                    At::Drain => "FATAL(08007)",
                    At::Dial
                    | At::LogIn
                    | At::Fresh
                    | At::Wait
                    | At::Read
                    | At::Restore
                    | At::Verify => "FATAL(08006)",
                };
                rig.see(CLIENT, said);
                assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
                assert!(!rig.is_open(NEW));
            });
        }
    }
}

/// It says so: the client gets its own words.
#[test]
fn the_old_server_ends_the_session() {
    for at in ALL {
        each(movable, |rig| {
            bring(rig, at);
            rig.writer("FATAL(57P01)");
            if at.has_its_state() {
                assert!(!rig.is_dead(), "{at:?}");
                rig.see(CLIENT, "");
                return;
            }
            assert_eq!(failed(rig).0, Outcome::Fatal, "{at:?}");
            rig.see(CLIENT, "FATAL(57P01)");
            assert_eq!(rig.cause(), CloseCause::UpstreamEnded(WRITER));
        });
    }
}

/// Both servers go, the old one first.
#[test]
fn behind_the_old_server_nothing_may_fail() {
    for at in [At::Restore, At::Verify] {
        each(movable, |rig| {
            bring(rig, at);
            rig.eof(WRITER);
            rig.eof(NEW);
            let (outcome, phase, _) = failed(rig);
            assert_eq!((outcome, phase), (Outcome::Fatal, at.phase()));
            rig.see(CLIENT, "FATAL(08006)");
            assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
        });
    }
}

/// An answer of the old server that is none: what comes behind is not understood.
#[test]
fn the_old_server_breaks_the_protocol() {
    each(movable, |rig| {
        bring(rig, At::Read);
        rig.writer("C(SELECT 1)");
        let (outcome, _, reason) = failed(rig);
        assert!(matches!(reason, Reason::OldFault(_)), "{reason}");
        assert_eq!(outcome, Outcome::Fatal);
        rig.see(CLIENT, "FATAL(08P01)");
        assert_eq!(rig.cause(), CloseCause::UpstreamFault(WRITER));
    });
}

#[test]
fn the_client_goes() {
    for at in ALL {
        for reset in [false, true] {
            each(movable, |rig| {
                bring(rig, at);
                match reset {
                    false => rig.eof(CLIENT),
                    true => rig.reset(CLIENT),
                }
                if at == At::Drain && !reset {
                    // It is owed an answer.
                    rig.writer("C(UPDATE 1) Z(I)");
                }
                let (outcome, phase, reason) = failed(rig);
                assert_eq!(
                    (outcome, phase),
                    (Outcome::Recoverable, at.phase()),
                    "{at:?}"
                );
                assert_eq!(reason, Reason::ClientLost, "{at:?}");
                assert!(rig.is_dead(), "{at:?}");
                assert_eq!(rig.transfers(), [1, 0, 1, 0]);
            });
        }
    }
}

/// What the client has asked for before it ended its stream runs, where it was.
#[test]
fn a_client_that_goes_behind_a_request_gets_its_answer() {
    for at in ALL.into_iter().filter(|at| at.holds()) {
        each(movable, |rig| {
            bring(rig, at);
            rig.client("Q(delete from t)");
            rig.eof(CLIENT);
            assert_eq!(failed(rig).2, Reason::ClientLost, "{at:?}");
            rig.see(WRITER, "Q(delete from t)");
            let before = match at {
                At::Read => state().answer(),
                At::Drain => session_support::frames::backend("C(UPDATE 1) Z(I)"),
                _ => Vec::new(),
            };
            rig.raw(WRITER, &before);
            rig.writer("C(DELETE 1) Z(I)");
            assert!(rig.shown(CLIENT).ends_with("C(DELETE 1) Z(I)"));
            assert_eq!(rig.cause(), CloseCause::ClientLeft);
        });
    }
}

#[test]
fn a_shutdown_gives_the_move_up() {
    for at in ALL {
        each(movable, |rig| {
            bring(rig, at);
            rig.shutdown();
            assert_eq!(failed(rig).2, Reason::Cancelled, "{at:?}");
            if at == At::Drain {
                rig.writer("C(UPDATE 1) Z(I)");
                rig.take(CLIENT);
            } else {
                rig.see(CLIENT, "FATAL(57P01)");
            }
            assert_eq!(rig.cause(), CloseCause::Shutdown);
            assert_eq!(rig.transfers(), [1, 0, 1, 0]);
        });
    }
}
