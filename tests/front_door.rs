//! Every row of `tests/data/door.txt` names tests that are there, and every counter has a row.

use std::collections::BTreeSet;

use pgturnout::stats::Counter;

/// Whether `file::name` is a test: of a file below tests/, or of a source where its path says so.
fn is_test(place: &str) -> bool {
    let Some((file, name)) = place.split_once("::") else {
        return false;
    };
    let folder = match file.starts_with("src/") || file.starts_with("examples/") {
        true => "",
        false => "tests/",
    };
    let file = format!("{}/{folder}{file}.rs", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(file).unwrap_or_default();
    carries_test(&source, name)
}

/// Whether a source has a function of this name with `#[test]` before it, attributes and comments between them.
fn carries_test(source: &str, name: &str) -> bool {
    let mut is_test = false;
    source.lines().map(str::trim).any(|line| {
        let found = is_test && line.contains(&format!("fn {name}("));
        is_test |= line == "#[test]";
        let between = line.starts_with("#[") || line.starts_with("//") || line.is_empty();
        is_test &= between || found;
        found
    })
}

#[test]
fn each_row_names_tests_that_are_there() {
    let mut rows = BTreeSet::new();
    let mut missing = Vec::new();
    for line in include_str!("data/door.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parts: Vec<&str> = line.split(" | ").collect();
        let [row, _, places] = parts[..] else {
            panic!("{line}: not three parts");
        };
        assert!(rows.insert(row), "{row} has an earlier line");
        let places = places.split(", ").filter(|place| !is_test(place));
        missing.extend(places.map(|place| format!("{row}: {place}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
    let ranges = [
        ("F", 15),
        ("D", 11),
        ("U", 7),
        ("A", 11),
        ("S", 10),
        ("P", 6),
    ];
    let numbered = ranges
        .into_iter()
        .flat_map(|(letter, last)| (1..=last).map(move |number| format!("{letter}{number}")));
    let seen = ["A01", "A02", "A03", "A04", "A05", "A06", "C01", "C02"];
    let counters = Counter::ALL.iter().map(|counter| counter.name());
    let all = numbered.chain(seen.into_iter().chain(counters).map(str::to_owned));
    let absent: Vec<String> = all.filter(|row| !rows.contains(row.as_str())).collect();
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn a_function_that_is_no_test_shows_nothing() {
    assert!(carries_test("#[test]\n// why\nfn shows() {}", "shows"));
    assert!(!carries_test("fn shows() {}", "shows"));
    assert!(!carries_test(
        "#[test]\nfn other() {}\nfn shows() {}",
        "shows"
    ));
}
