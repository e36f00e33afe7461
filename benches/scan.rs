//! What one statement text costs the router: scanned, and remembered. `cargo bench --bench scan`.
//!
//! The class of each text is checked, so that a run is also a test.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use pgturnout::route::{Cache, CacheLimits, Class, LexState, Rules, scan};

/// Bytes of text per measurement.
const BYTES: usize = 20 << 20;
const ROUNDS: usize = 5;

fn main() {
    println!(
        "{:>18} {:>9} {:>12} {:>12}",
        "text", "bytes", "scan ns", "cached ns"
    );
    let lex = LexState::defaults();
    let rules = Rules::default();
    let mut cache = Cache::new(Rules::default().into(), CacheLimits::default(), 0x5eed);
    for (name, text, class) in texts() {
        let sql = text.as_bytes();
        let scanned = cost(sql, |sql| assert_eq!(scan(sql, &lex, &rules).class, class));
        let cached = cost(sql, |sql| assert_eq!(cache.get(sql, &lex).class, class));
        println!("{name:>18} {:>9} {scanned:>12} {cached:>12}", sql.len());
    }
}

/// Nanoseconds for one call: the best of several rounds, because other work can only add.
fn cost(sql: &[u8], mut work: impl FnMut(&[u8])) -> u128 {
    let calls = (BYTES / sql.len().max(32)).max(10);
    let round = |_| {
        let start = Instant::now();
        (0..calls).for_each(|_| work(black_box(sql)));
        start.elapsed().as_nanos() / u128::try_from(calls).unwrap()
    };
    (0..ROUNDS).map(round).min().unwrap_or(0)
}

fn texts() -> Vec<(&'static str, String, Class)> {
    let columns: Vec<String> = (0..40)
        .map(|n| format!("\"customer\".\"column_{n}\" AS \"c{n}\""))
        .collect();
    let orm = format!(
        "SELECT {} FROM \"customer\" LEFT OUTER JOIN \"order\" ON (\"customer\".\"id\" = \"order\".\"customer_id\") \
         WHERE (\"customer\".\"name\" LIKE $1 AND COALESCE(\"order\".\"total\", 0) > $2) \
         ORDER BY lower(\"customer\".\"name\") ASC LIMIT 25",
        columns.join(", ")
    );
    vec![
        ("BEGIN", "BEGIN".to_owned(), Class::Transaction),
        (
            "pgbench select",
            "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;".to_owned(),
            Class::Read,
        ),
        (
            "pgbench update",
            "UPDATE pgbench_accounts SET abalance = abalance + 5 WHERE aid = 1;".to_owned(),
            Class::Write,
        ),
        ("ORM select", orm, Class::Read),
        (
            "1 MB literal",
            format!("select '{}'", "x".repeat(1_000_000)),
            Class::Read,
        ),
        (
            "1 MB of calls",
            format!("select 1{}", ", lower('x')".repeat(80_000)),
            Class::Read,
        ),
        (
            "1 MB of rows",
            format!("insert into t values (1){}", ", (1, 'abc')".repeat(80_000)),
            Class::Write,
        ),
    ]
}
