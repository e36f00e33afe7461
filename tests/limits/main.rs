//! Every bound of `src/limits.rs` at its value and one past it (law L8). The test of a constant has its name in lower
//! case, here or at a place that [`ELSEWHERE`] names.

#[path = "../support/login.rs"]
mod login;
#[path = "../session_support/mod.rs"]
mod session_support;

mod access;
mod auth;
mod bytes;
mod migrate;
mod route;
mod session;

use std::fs;
use std::path::Path;

/// Constants that are tested where more is at hand than their number: the file, and the test.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "LEDGER_IDLE_SEGMENTS",
        "src/ledger/owned.rs",
        "an_empty_queue_keeps_so_much",
    ),
    (
        "LEDGER_IDLE_OWNED",
        "src/ledger/owned.rs",
        "an_empty_queue_keeps_so_much",
    ),
    (
        "METADATA_TEXTS",
        "src/session/metadata.rs",
        "so_many_texts_are_remembered_the_newest",
    ),
    (
        "METADATA_BYTES",
        "src/session/metadata.rs",
        "so_many_bytes_are_remembered_with_the_names_of_tables",
    ),
    ("TRIED_REQUEST", "tests/session_trial.rs", "tried_request"),
    ("TRIED_MESSAGES", "tests/session_trial.rs", "tried_messages"),
    ("REFUSED_TEXTS", "tests/session_trial.rs", "refused_texts"),
    (
        "READ_ONLY_SETTINGS",
        "tests/session_read_transactions.rs",
        "its_settings_are_bounded",
    ),
    (
        "READ_ONLY_HELD",
        "tests/session_read_transactions.rs",
        "its_settings_are_bounded",
    ),
    (
        "READ_ONLY_SETTING_BYTES",
        "tests/session_read_transactions.rs",
        "its_settings_are_bounded",
    ),
    (
        "PROBE_ENTRIES_MAX",
        "src/migrate/postgres/array.rs",
        "so_many_entries_are_read",
    ),
    (
        "STARTUP_BODY_LEAST",
        "tests/session_access.rs",
        "the_length_of_startup_packets_can_be_limited",
    ),
    (
        "STATEMENT_BODY",
        "tests/session_bounds.rs",
        "a_statement_of_any_length_finds_its_way",
    ),
    (
        "JOURNAL_BYTES",
        "tests/session_memory.rs",
        "a_journal_at_its_limit_is_repeated_whole",
    ),
    (
        "SAVEPOINT_HELD",
        "src/track/savepoints.rs",
        "one_takes_so_much",
    ),
    (
        "REPORTED_VALUE_MAX",
        "src/session/reported.rs",
        "values_are_kept_up_to_a_length_and_not_shown",
    ),
];

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_limit_has_its_test() {
    let here: String = ["access", "auth", "bytes", "migrate", "route", "session"]
        .map(|name| source(&format!("tests/limits/{name}.rs")))
        .concat();
    let limits = source("src/limits.rs");
    let names: Vec<&str> = limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .collect();
    assert!(names.len() > 50, "{names:?}");
    for name in &names {
        let elsewhere = ELSEWHERE.iter().find(|(known, _, _)| known == name);
        let (text, test) = match elsewhere {
            Some((_, file, test)) => (source(file), (*test).to_owned()),
            None => (here.clone(), name.to_lowercase()),
        };
        let head = format!("fn {test}()");
        let (before, _) = text
            .split_once(&head)
            .unwrap_or_else(|| panic!("limits::{name} has no test {test}"));
        // Attributes may stand between, and a comment before them.
        let attributes = before.rsplit("\n\n").next().unwrap_or_default();
        assert!(attributes.contains("#[test]"), "{test} is no test");
        assert!(
            elsewhere.is_some() || text.contains(&format!("limits::{name}")),
            "{test} does not use limits::{name}"
        );
    }
    for (name, _, _) in ELSEWHERE {
        assert!(names.contains(name), "there is no limits::{name}");
    }
}

/// Each bound of the design has its constant, with the value that the table says, or the reason why there is none.
#[test]
fn every_bound_of_the_design_has_its_constant() {
    let limits = source("src/limits.rs");
    let values: Vec<(&str, &str)> = limits
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("pub const ")?.split_once(':')?;
            let (_, value) = rest.split_once(" = ")?;
            Some((name, value.trim_end_matches(';')))
        })
        .collect();
    let table = source("tests/data/defaults.txt");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for row in rows {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [what, wanted, constants, why] = columns[..] else {
            panic!("four columns: {row}");
        };
        assert!(!what.is_empty() && !wanted.is_empty(), "{row}");
        if constants == "-" {
            assert!(!why.is_empty(), "no constant and no reason: {row}");
        } else {
            for constant in constants.split("; ") {
                let pair = constant.split_once(" = ");
                assert!(
                    pair.is_some_and(|pair| values.contains(&pair)),
                    "no such constant, or of another value: {constant}"
                );
            }
        }
        count += 1;
    }
    assert_eq!(count, 30, "rows");
}
