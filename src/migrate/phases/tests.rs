use super::super::{Facts, Readiness, TransferCounter, Transfers, Trust, safe_point, start};
use super::*;
use crate::wire::TransactionStatus;

type Move = Migration<&'static str>;

const ALL: [Phase; 8] = [
    Phase::Dial,
    Phase::LogIn,
    Phase::Wait,
    Phase::Drain,
    Phase::Read,
    Phase::Restore,
    Phase::Verify,
    Phase::CutOver,
];

fn limits() -> PhaseLimits {
    PhaseLimits {
        total: Duration::from_secs(10),
        dial: Duration::from_secs(1),
        login: Duration::from_secs(2),
        hold: Duration::from_secs(3),
    }
}

fn on(progress: Progress<&'static str>) -> Move {
    match progress {
        Progress::On(migration) => migration,
        Progress::Over(finished) => panic!("{finished}"),
    }
}

fn over(progress: Progress<&'static str>) -> Finished {
    match progress {
        Progress::On(migration) => panic!("{migration:?}"),
        Progress::Over(finished) => finished,
    }
}

fn point(owed: usize, status: TransactionStatus) -> Result<Quiescent, Unsafe> {
    let facts = Facts {
        owed,
        status,
        ..Facts::idle(7)
    };
    safe_point(&facts, Trust::Journal)
}

fn safe() -> Result<Quiescent, Unsafe> {
    point(0, TransactionStatus::Idle)
}

/// A move in this phase. All happens at `now`.
fn at(phase: Phase, dialect: Dialect, now: Instant, transfers: &mut Transfers) -> Move {
    let attempt = transfers.begin(now, Readiness::Serving).unwrap();
    let mut migration = Migration::new(attempt, dialect, now, limits());
    for _ in 0..ALL.len() {
        if migration.phase() == phase {
            return migration;
        }
        migration = on(match migration.phase() {
            Phase::Dial => migration.connected(now),
            Phase::LogIn => migration.logged_in(now),
            Phase::Wait if phase == Phase::Drain => {
                migration.looked(now, point(1, TransactionStatus::Idle))
            }
            Phase::Wait | Phase::Drain => migration.looked(now, safe()),
            Phase::Read => migration.state_read(now, "state"),
            Phase::Restore => migration.restored(now),
            Phase::Verify => migration.verified(now),
            Phase::CutOver => break,
        });
    }
    panic!("no {phase} with {dialect:?}")
}

/// The move, with its counters, in every phase of both dialects.
fn every(mut each: impl FnMut(Phase, Dialect, Instant, Move, &mut Transfers)) {
    let now = start();
    let mut seen = 0;
    for dialect in [Dialect::Cockroach, Dialect::Postgres] {
        for phase in ALL {
            let mut transfers = Transfers::new();
            let migration = at(phase, dialect, now, &mut transfers);
            each(phase, dialect, now, migration, &mut transfers);
            seen += 1;
        }
    }
    assert_eq!(seen, 16);
}

fn is_held(phase: Phase) -> bool {
    !matches!(phase, Phase::Dial | Phase::Wait)
}

/// Whether the session's state is known, so that the old server is not needed any more.
fn is_read(phase: Phase, dialect: Dialect) -> bool {
    matches!(phase, Phase::Restore | Phase::Verify | Phase::CutOver)
        || (phase, dialect) == (Phase::LogIn, Dialect::Cockroach)
}

#[test]
fn the_client_is_held_from_the_drain_on() {
    every(|phase, dialect, _, migration, _| {
        let held = is_held(phase) && (phase, dialect) != (Phase::LogIn, Dialect::Postgres);
        assert_eq!(migration.holds_client(), held, "{phase} {dialect:?}");
        let state = is_read(phase, dialect).then_some(&"state");
        assert_eq!(migration.state(), state, "{phase} {dialect:?}");
    });
}

/// W4: every phase has a deadline, a silent target's too, and none is later than the whole move's. What runs out leaves the
/// client on the old server.
#[test]
fn every_phase_has_a_deadline() {
    every(|phase, dialect, now, migration, transfers| {
        let deadline = match (phase, dialect) {
            (Phase::Dial, _) => 1,
            (Phase::LogIn, Dialect::Postgres) => 2,
            (Phase::Wait | Phase::Drain, _) => 10,
            _ => 3,
        };
        let deadline = now + Duration::from_secs(deadline);
        assert_eq!(migration.deadline(), deadline, "{phase} {dialect:?}");
        let early = deadline - Duration::from_nanos(1);
        let migration = on(migration.timed_out(early));
        assert_eq!(migration.phase(), phase);
        let finished = over(migration.timed_out(deadline));
        assert_eq!(finished.outcome(), Outcome::Recoverable, "{phase}");
        assert_eq!(finished.phase(), phase);
        match phase {
            Phase::Drain => assert_eq!(
                finished.to_string(),
                "waiting for the last answers: it came to no safe point: a request is not answered"
            ),
            _ => assert_eq!(finished.reason(), Some(&Reason::Timeout)),
        }
        finished.record(deadline, transfers);
        assert!(!transfers.is_running());
    });
}

/// No phase outlasts the deadline of the whole, however long it may take by itself.
#[test]
fn one_deadline_is_over_all() {
    let now = start();
    let mut transfers = Transfers::new();
    let attempt = transfers.begin(now, Readiness::Serving).unwrap();
    let deadline = now + Duration::from_millis(500);
    let limits = PhaseLimits {
        total: Duration::from_millis(500),
        ..limits()
    };
    let mut migration: Move = Migration::new(attempt, Dialect::Postgres, now, limits);
    assert_eq!(migration.deadline(), deadline);
    migration = on(migration.connected(now));
    assert_eq!(migration.deadline(), deadline);
    migration = on(on(migration.logged_in(now)).looked(now, safe()));
    assert_eq!(migration.deadline(), deadline);
    let late = on(on(migration.state_read(now, "")).restored(now));
    let finished = on(late.verified(now)).cut_over(deadline, safe().unwrap());
    assert_eq!(finished.reason(), Some(&Reason::Timeout));
    assert_eq!(finished.outcome(), Outcome::Recoverable);
    finished.record(now, &mut transfers);
}

/// The table: what fails in which phase, and how that ends.
#[test]
fn a_failure_leaves_the_client_where_it_was() {
    type Event = fn(Move) -> Progress<&'static str>;
    let events: [(&str, Event); 5] = [
        ("target", |migration| migration.target_failed("refused")),
        ("differs", |migration| migration.differs("x")),
        ("client", Migration::client_lost),
        ("cancel", Migration::cancel),
        ("state", |migration| migration.state_refused("locks")),
    ];
    for (name, event) in events {
        every(|phase, dialect, now, migration, transfers| {
            let finished = over(event(migration));
            assert_eq!(finished.outcome(), Outcome::Recoverable, "{name} {phase}");
            // Whoever gave up while the old server was asked has to wait for its answer.
            let old = match (phase, name) {
                (Phase::Read, "state") => OldServer::Alive,
                (Phase::Read, _) => OldServer::OwesUs,
                _ => OldServer::Alive,
            };
            assert_eq!(finished.old_server(), old, "{name} {phase} {dialect:?}");
            assert_eq!(finished.phase(), phase);
            finished.record(now, transfers);
            assert_eq!(transfers.stats().get(TransferCounter::Recoverable), 1);
        });
        // The same once the old server has gone: there is no way back.
        every(|phase, dialect, now, migration, transfers| {
            if !is_read(phase, dialect) {
                over(migration.cancel()).record(now, transfers);
                return;
            }
            let finished = over(event(on(migration.old_lost())));
            assert_eq!(finished.outcome(), Outcome::Fatal, "{name} {phase}");
            assert_eq!(finished.old_server(), OldServer::Lost);
            finished.record(now, transfers);
            assert_eq!(transfers.stats().get(TransferCounter::Fatal), 1);
        });
    }
}

/// The old server is needed until the state is read, and not behind that.
#[test]
fn the_old_server_may_go_when_its_state_is_read() {
    every(|phase, dialect, now, migration, transfers| {
        if is_read(phase, dialect) {
            let mut migration = on(migration.old_lost());
            for _ in 0..4 {
                migration = match migration.phase() {
                    Phase::LogIn => on(migration.logged_in(now)),
                    Phase::Restore => on(migration.restored(now)),
                    Phase::Verify => on(migration.verified(now)),
                    _ => break,
                };
            }
            let finished = migration.cut_over(now, safe().unwrap());
            assert_eq!(finished.outcome(), Outcome::Success, "{phase}");
            assert_eq!(finished.old_server(), OldServer::Lost);
            finished.record(now, transfers);
        } else {
            let finished = over(migration.old_lost());
            assert_eq!(finished.outcome(), Outcome::Fatal, "{phase}");
            assert_eq!(finished.reason(), Some(&Reason::OldLost));
            finished.record(now, transfers);
        }
    });
    every(|phase, _, now, migration, transfers| {
        let finished = over(migration.old_fault(AnswerFault::Ended));
        assert_eq!(finished.outcome(), Outcome::Fatal, "{phase}");
        finished.record(now, transfers);
    });
}

/// Whoever reports what cannot be leaves the client on the old server.
#[test]
fn what_is_out_of_turn_ends_the_move() {
    type Event = (
        fn(Move, Instant) -> Progress<&'static str>,
        &'static [Phase],
    );
    let events: [Event; 6] = [
        (Migration::connected, &[Phase::Dial]),
        (Migration::logged_in, &[Phase::LogIn]),
        (
            |migration, now| migration.looked(now, safe()),
            &[Phase::Wait, Phase::Drain],
        ),
        (
            |migration, now| migration.state_read(now, ""),
            &[Phase::Read],
        ),
        (Migration::restored, &[Phase::Restore]),
        (Migration::verified, &[Phase::Verify]),
    ];
    for (event, in_turn) in events {
        every(|phase, _, now, migration, transfers| {
            if in_turn.contains(&phase) {
                let migration = on(event(migration, now));
                over(migration.cancel()).record(now, transfers);
                return;
            }
            let finished = over(event(migration, now));
            assert!(
                matches!(finished.reason(), Some(Reason::OutOfTurn(_))),
                "{phase}"
            );
            assert_eq!(
                (finished.outcome(), finished.phase()),
                (Outcome::Recoverable, phase)
            );
            finished.record(now, transfers);
        });
    }
    every(|phase, _, now, migration, transfers| {
        let finished = migration.cut_over(now, safe().unwrap());
        let out_of_turn = Reason::OutOfTurn("a cutover");
        let expected = (phase != Phase::CutOver).then_some(&out_of_turn);
        assert_eq!(finished.reason(), expected, "{phase}");
        finished.record(now, transfers);
    });
}

/// A proof of another moment is none: a message of the client has passed since it was held.
#[test]
fn a_cutover_demands_a_proof_of_the_moment() {
    let now = start();
    let mut transfers = Transfers::new();
    let migration = at(Phase::CutOver, Dialect::Postgres, now, &mut transfers);
    let other = safe_point(&Facts::idle(8), Trust::Journal).unwrap();
    let finished = migration.cut_over(now, other);
    assert_eq!(finished.reason(), Some(&Reason::NotQuiescent));
    assert_eq!(finished.outcome(), Outcome::Recoverable);
    finished.record(now, &mut transfers);
}

/// A client is held only for what the server ends by itself; when more comes to light it is released again.
#[test]
fn a_transaction_is_never_held() {
    let now = start();
    let mut transfers = Transfers::new();
    let migration = at(Phase::Wait, Dialect::Postgres, now, &mut transfers);
    assert_eq!(migration.waits_for(), None);
    let in_transaction = || point(0, TransactionStatus::InTransaction);
    let migration = on(migration.looked(now, in_transaction()));
    assert!(!migration.holds_client());
    assert_eq!(migration.waits_for(), in_transaction().as_ref().err());
    let migration = on(migration.looked(now, point(2, TransactionStatus::Idle)));
    assert_eq!(
        (migration.phase(), migration.holds_client()),
        (Phase::Drain, true)
    );
    // One of the pipelined requests was BEGIN.
    let migration = on(migration.looked(now, point(1, TransactionStatus::InTransaction)));
    assert_eq!(
        (migration.phase(), migration.holds_client()),
        (Phase::Wait, false)
    );
    let migration = on(migration.looked(now, safe()));
    assert_eq!(migration.phase(), Phase::Read);
    over(migration.cancel()).record(now, &mut transfers);
}

/// Any order of events ends in one outcome, is counted once, and never succeeds without every step.
#[test]
fn any_order_of_events_is_counted_once() {
    let now = start();
    let mut noise = 1_u64;
    let mut transfers = Transfers::new();
    let mut successes = 0;
    for round in 0..20_000_u64 {
        let attempt = transfers.begin(now, Readiness::Serving).unwrap();
        let dialect = [Dialect::Cockroach, Dialect::Postgres][usize::from(round % 2 == 0)];
        let mut migration: Move = Migration::new(attempt, dialect, now, limits());
        let (mut steps, mut lost) = (0, false);
        let finished = loop {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let phase = migration.phase();
            let progress = match (noise >> 33) % 14 {
                0 => migration.target_failed("x"),
                1 => {
                    lost = true;
                    migration.old_lost()
                }
                2 => migration.timed_out(now + Duration::from_secs((noise >> 40) % 12)),
                _ => {
                    steps += 1;
                    match phase {
                        Phase::Dial => migration.connected(now),
                        Phase::LogIn => migration.logged_in(now),
                        Phase::Wait | Phase::Drain => migration.looked(now, safe()),
                        Phase::Read => migration.state_read(now, ""),
                        Phase::Restore => migration.restored(now),
                        Phase::Verify => migration.verified(now),
                        Phase::CutOver => break migration.cut_over(now, safe().unwrap()),
                    }
                }
            };
            match progress {
                Progress::On(next) => migration = next,
                Progress::Over(finished) => break finished,
            }
        };
        match finished.outcome() {
            Outcome::Success => {
                assert_eq!(steps, 7);
                successes += 1;
            }
            Outcome::Recoverable => assert!(!lost),
            Outcome::Fatal => assert!(lost),
        }
        finished.record(now, &mut transfers);
        let get = |counter| transfers.stats().get(counter);
        let ended = [
            TransferCounter::Success,
            TransferCounter::Recoverable,
            TransferCounter::Fatal,
        ];
        assert_eq!(get(TransferCounter::Attempted), round + 1);
        assert_eq!(ended.map(get).iter().sum::<u64>(), round + 1);
    }
    assert!(successes > 1_000, "{successes}");
}
