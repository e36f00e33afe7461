//! Limits of moves.

use std::time::{Duration, Instant};

use pgturnout::limits;
use pgturnout::migrate::cockroach::{DescribeReader, StateReader, TransferKey};
use pgturnout::migrate::postgres::{Probe, Scope, types_to_look_up};
use pgturnout::migrate::{
    AnswerFault, Dialect, Facts, Look, Migration, PhaseLimits, Progress, Readiness, Traffic,
    Transfers, Trust, safe_point,
};
use pgturnout::wire::Header;

/// When each of these tests begins.
#[allow(clippy::disallowed_methods, reason = "any instant will do for a start")]
fn start() -> Instant {
    Instant::now()
}

fn header(tag: u8, frame_len: usize) -> Header {
    let frame_len = u32::try_from(frame_len).unwrap();
    Header { tag, frame_len }
}

fn reader() -> StateReader {
    StateReader::new(&TransferKey::from_random([7; 16]), 0)
}

#[test]
fn migration_idle() {
    let now = start();
    let idle = |after| Traffic::new(now).is_idle(now + after);
    assert!(idle(limits::MIGRATION_IDLE));
    assert!(!idle(limits::MIGRATION_IDLE - Duration::from_nanos(1)));
}

#[test]
fn migration_answer_max() {
    let most = limits::MIGRATION_ANSWER_MAX;
    assert_eq!(reader().header(header(b'T', most)), Ok(Look::Body));
    let fault = reader().header(header(b'T', most + 1)).unwrap_err();
    assert!(matches!(fault, AnswerFault::TooLong { limit, .. } if limit == most));
}

/// What is said of a statement is no longer than what is said of a session.
#[test]
fn a_description_has_a_limit() {
    let most = limits::TRANSFER_STATE_MAX;
    for more in [0, 1] {
        let mut reader = DescribeReader::new(1);
        let look = reader.header(header(b't', most + more));
        match more {
            0 => assert_eq!(look, Ok(Look::Body)),
            _ => assert!(matches!(look, Err(AnswerFault::TooLong { .. }))),
        }
    }
}

/// A longer row is dropped as it comes, and the answer goes on.
#[test]
fn transfer_state_max() {
    let at_row = || {
        let mut reader = reader();
        let columns = [
            "error",
            "session_state_base64",
            "session_revival_token_base64",
            "transfer_key",
        ];
        let body: Vec<u8> = columns
            .iter()
            .flat_map(|name| [name.as_bytes(), &[0; 19]].concat())
            .collect();
        reader.body(b'T', &[&[0, 4], &body[..]].concat()).unwrap();
        reader
    };
    let most = limits::TRANSFER_STATE_MAX;
    assert_eq!(at_row().header(header(b'D', most)), Ok(Look::Body));
    let mut longer = at_row();
    assert_eq!(longer.header(header(b'D', most + 1)), Ok(Look::Discard));
    assert_eq!(longer.header(header(b'C', 27)), Ok(Look::Body));
}

/// A longer row is dropped as it comes, and the answer goes on.
#[test]
fn probe_row_max() {
    let at_row = || {
        let mut probe = Probe::new(Scope::SessionOnly, []);
        for tag in *b"12" {
            assert_eq!(probe.header(header(tag, 5)), Ok(Look::Body));
            probe.body(tag, b"").unwrap();
        }
        probe
    };
    let most = limits::PROBE_ROW_MAX;
    assert_eq!(at_row().header(header(b'D', most)), Ok(Look::Body));
    let mut longer = at_row();
    assert_eq!(longer.header(header(b'D', most + 1)), Ok(Look::Discard));
    assert_eq!(longer.header(header(b'C', 14)), Ok(Look::Body));
}

#[test]
fn probe_types_max() {
    let most = u32::try_from(limits::PROBE_TYPES_MAX).unwrap();
    let of = |count| types_to_look_up(20_000..20_000 + count);
    assert_eq!(of(most).unwrap().len(), limits::PROBE_TYPES_MAX);
    assert!(of(most + 1).is_err());
}

/// A move with nothing but its defaults, at its beginning.
fn migration(dialect: Dialect, now: Instant) -> Migration<()> {
    let attempt = Transfers::new().begin(now, Readiness::Serving).unwrap();
    Migration::new(attempt, dialect, now, PhaseLimits::default())
}

fn on(progress: Progress<()>) -> Migration<()> {
    match progress {
        Progress::On(migration) => migration,
        Progress::Over(finished) => panic!("{finished}"),
    }
}

/// Whether a deadline is so long after `now`, and the phase ends at it and not before.
fn expires(migration: Migration<()>, now: Instant, limit: Duration) {
    assert_eq!(migration.deadline(), now + limit);
    let early = now + limit - Duration::from_nanos(1);
    let migration = on(migration.timed_out(early));
    assert!(matches!(
        migration.timed_out(now + limit),
        Progress::Over(_)
    ));
}

#[test]
fn migration_timeout() {
    let now = start();
    let waiting = on(migration(Dialect::Cockroach, now).connected(now));
    expires(waiting, now, limits::MIGRATION_TIMEOUT);
}

#[test]
fn migration_dial_timeout() {
    let now = start();
    expires(
        migration(Dialect::Postgres, now),
        now,
        limits::MIGRATION_DIAL_TIMEOUT,
    );
}

#[test]
fn migration_login_timeout() {
    let now = start();
    let login = on(migration(Dialect::Postgres, now).connected(now));
    expires(login, now, limits::MIGRATION_LOGIN_TIMEOUT);
}

#[test]
fn migration_hold_timeout() {
    let now = start();
    let waiting = on(migration(Dialect::Cockroach, now).connected(now));
    let point = safe_point(&Facts::idle(0), Trust::Journal);
    expires(
        on(waiting.looked(now, point)),
        now,
        limits::MIGRATION_HOLD_TIMEOUT,
    );
}
