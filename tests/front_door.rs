//! Every row of `tests/data/door.txt` names tests that are there, and every counter has a row.

#[path = "support/cited.rs"]
mod cited;

use std::collections::BTreeSet;

use pgturnout::stats::Counter;

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
        let places = places.split(", ").filter(|place| !cited::is_test(place));
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
