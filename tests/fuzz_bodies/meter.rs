//! What counts messages.

use pgturnout::stats::{Counter, Meter};

use super::feed::Feed;

const TAGS: &[&[u8]] = &[
    b"BEGIN",
    b"START TRANSACTION",
    b"COMMIT",
    b"ROLLBACK",
    b"SAVEPOINT",
    b"RELEASE",
    b"PREPARE TRANSACTION",
    b"COMMIT PREPARED",
    b"INSERT 0 1",
    b"SELECT 1",
];

/// Whatever a server says, parts add up to their sums, numbers never fall, bytes beyond the first [`Meter::BODY`] count
/// for nothing, and once nothing is open every transaction that was begun was committed or rolled back, unless it was
/// prepared or its connection ended.
pub(crate) fn meter(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut meter = Meter::default();
    // Transactions that may go without an outcome.
    let mut excused = 0;
    while !feed.is_empty() {
        let before = meter.clone();
        let mut idle = false;
        match feed.below(6) {
            0 => {
                let tag = feed.one(TAGS);
                excused += u64::from(tag == b"PREPARE TRANSACTION");
                meter.backend(b'C', &[tag, b"\0"].concat());
            }
            1 => {
                let status = feed.one(b"ITE");
                idle = status == b'I';
                meter.backend(b'Z', &[status]);
            }
            2 => meter.backend(b'E', feed.bytes(40)),
            3 => {
                let (tag, body) = (feed.byte(), feed.bytes(255));
                let long = [body, &[b'x'; Meter::BODY], b"\0VFATAL\0"].concat();
                let mut other = meter.clone();
                other.backend(tag, &long[..Meter::BODY]);
                meter.backend(tag, &long);
                assert_eq!(meter, other);
                excused += u64::from(tag == b'C' && body.starts_with(b"PREPARE TRANSACTION\0"));
            }
            4 => meter.frontend_frames(feed.bytes(30)),
            _ => {
                meter.ended();
                excused += 1;
            }
        }
        check(&before, &meter, idle, excused);
    }
}

fn check(before: &Meter, after: &Meter, idle: bool, excused: u64) {
    let of = |counter| after.stats().get(counter);
    for (counter, count) in before.stats().iter() {
        assert!(count <= of(counter), "{counter} fell");
    }
    for total in ["errors", "messages", "notices", "sessions", "statements"] {
        // Not in the sums, though named as if they were.
        let others = ["unknown", "parsed", "parse_error", "ssl"];
        let part = |name: &str| {
            let rest = name.strip_prefix(total).unwrap_or_default();
            let apart = others.iter().any(|other| rest.contains(other));
            !rest.is_empty() && (!apart || matches!(total, "errors" | "notices"))
        };
        let parts = after
            .stats()
            .iter()
            .filter(|(counter, _)| part(counter.name()));
        let sum: u64 = parts.map(|(_, count)| count).sum();
        let whole = after
            .stats()
            .iter()
            .find(|(counter, _)| counter.name() == total);
        assert_eq!(whole.map(|(_, count)| count), Some(sum), "{total}");
    }
    let begun = of(Counter::Transactions);
    let over = of(Counter::TransactionsCommit) + of(Counter::TransactionsRollback);
    assert!(over <= begun && begun <= over + excused + 1);
    assert!(!idle || begun <= over + excused, "one is left open");
}
