//! What the documents say about the rest of the repository.

#[path = "support/cited.rs"]
mod cited;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_readme_states_the_manifests_rust_version() {
    let manifest = text("Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap()
        .trim_matches('"');
    let sentence = format!("Rust {version} or newer");
    assert!(
        text("README.md").contains(&sentence),
        "{sentence:?} is missing"
    );
}

#[test]
fn the_readme_names_the_flags_of_the_proxy_and_no_others() {
    let readme = text("README.md");
    let (_, from) = readme
        .split_once("cargo run --release --example proxy -- ")
        .unwrap();
    let (synopsis, _) = from.split_once("```").unwrap();
    let told: BTreeSet<String> = synopsis
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter_map(|word| word.strip_prefix("--"))
        .map(str::to_owned)
        .collect();
    let code: String = text("examples/proxy/cli.rs").split_whitespace().collect();
    let known: BTreeSet<String> = code
        .split("Flag::new(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert!(known.len() > 5, "{known:?}");
    assert_eq!(told, known);
}

#[test]
fn links_between_files_lead_somewhere() {
    for document in [
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ] {
        let text = text(document);
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if let Some(heading) = target.strip_prefix('#') {
                let found = text.lines().any(|line| anchor(line) == heading);
                assert!(found, "{document}: no heading for #{heading}");
            } else if !target.contains("://") {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
                // A package made for publication comes without the fuzz targets.
                assert!(
                    path.exists() || target.starts_with("fuzz"),
                    "{document}: {target}"
                );
            }
        }
    }
}

/// The anchor of a heading: small letters, hyphens for blanks, punctuation left out. Empty for any other line.
fn anchor(line: &str) -> String {
    let Some(heading) = line.strip_prefix('#') else {
        return String::new();
    };
    heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
        .map(|c| {
            if c == ' ' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

#[test]
fn the_readme_states_the_longest_startup_packet() {
    let sentence = format!("over {} bytes", pgturnout::limits::STARTUP_BODY_MAX);
    assert!(text("README.md").replace(',', "").contains(&sentence));
}

/// It is compiled and run as documentation, and the example as an example.
#[test]
fn the_readme_shows_the_scripted_example() {
    let example = text("examples/scripted.rs");
    let (_, from) = example.split_once("// README: begin\n").unwrap();
    let (shown, _) = from.split_once("// README: end\n").unwrap();
    let readme = text("README.md");
    let (_, from) = readme.split_once("```rust\n").unwrap();
    let (code, behind) = from.split_once("```\n").unwrap();
    assert_eq!(code, shown);
    assert!(!behind.contains("```rust"), "a second piece of Rust");
}

/// Every id of `tests/data/failures.txt` once, in order, with tests that there are.
#[test]
fn each_known_failure_has_its_test() {
    let runs = [("H", 1, 55, 1), ("R", 1, 24, 1)].into_iter();
    let runs = runs.chain([
        ("M", 1, 9, 2),
        ("S", 1, 5, 2),
        ("H", 1, 7, 2),
        ("P", 1, 6, 2),
    ]);
    let runs = runs.chain([
        ("Y", 1, 2, 2),
        ("C", 1, 2, 2),
        ("A", 1, 6, 2),
        ("F", 1, 2, 2),
        ("U", 1, 1, 2),
        ("T", 1, 73, 2),
    ]);
    let ids = runs.flat_map(|(letter, first, last, width)| {
        (first..=last).map(move |number| format!("{letter}{number:0width$}"))
    });
    let ids: Vec<String> = ids.collect();
    let missing = places_missing("tests/data/failures.txt", &ids);
    let missing: Vec<&String> = missing
        .iter()
        .filter(|it| !it.contains(": open: "))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Every attack on openings, encryption, logins and cancels once, in order, with tests that there are.
#[test]
fn each_known_attack_has_its_test() {
    let runs = [("A", 17), ("B", 15), ("E", 7)].into_iter();
    let ids = runs.flat_map(|(letter, last)| (1..=last).map(move |at| format!("{letter}{at}")));
    let ids: Vec<String> = ids.collect();
    let missing = places_missing("tests/data/attacks.txt", &ids);
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The rows of a table, by id, with the places in them that are none. The ids have to be these.
fn places_missing(table: &str, ids: &[String]) -> Vec<String> {
    let checks = text("tests/support/sim/checks.rs");
    let table = text(table);
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(rows.len(), ids.len());
    let mut missing = Vec::new();
    for (row, id) in rows.iter().zip(ids) {
        let fields: Vec<&str> = row.split(" | ").collect();
        let [known, _, places] = fields[..] else {
            panic!("{row}");
        };
        assert_eq!(known, id);
        let places = places.split(", ");
        let lost: Vec<&str> = places.filter(|place| !is_held(&checks, place)).collect();
        if !lost.is_empty() {
            missing.push(format!("{id}: {}", lost.join(", ")));
        }
    }
    missing
}

/// Whether a table's place is one: a check of the simulation, a file, a test, or why there is none.
fn is_held(checks: &str, place: &str) -> bool {
    match place.split_once(' ') {
        Some(("simulation", check)) => checks.contains(&format!("\n    {check},\n")),
        Some(("measured:", file)) => Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(),
        Some(("not", why)) => why.starts_with("ours: "),
        Some(_) | None => cited::is_test(place),
    }
}

/// What is known of CockroachDB's sqlproxy, each once and the weak points in order, with tests that there are.
#[test]
fn each_weak_point_and_test_of_sqlproxy_has_its_test() {
    let checks = text("tests/support/sim/checks.rs");
    let table = text("tests/data/parity.txt");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let (mut known, mut missing) = (Vec::new(), Vec::new());
    for row in rows {
        let fields: Vec<&str> = row.split(" | ").collect();
        let [ids, _, places] = fields[..] else {
            panic!("{row}");
        };
        known.extend(ids.split(", "));
        if places.starts_with("not ours: ") {
            continue;
        }
        let lost = places.split(", ").filter(|place| !is_held(&checks, place));
        missing.extend(lost.map(|place| format!("{ids}: {place}")));
    }
    let weak = (1..=20).map(|number| format!("W{number}"));
    assert!(weak.eq(known.iter().take(20).copied()), "{known:?}");
    let twice = |name: &str| known.iter().filter(|other| **other == name).count() > 1;
    assert_eq!(known.iter().find(|name| twice(name)), None);
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whoever plants a fault tries it: `tests/canaries.sh NAME` writes its row.
#[test]
fn every_planted_fault_has_its_row_and_every_row_its_fault() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/canaries");
    let files = fs::read_dir(&folder).unwrap();
    let planted: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".patch").map(str::to_owned))
        .collect();
    let results = text("tests/canaries/RESULTS.md");
    let rows: Vec<(&str, &str)> = results
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .collect();
    let named: BTreeSet<String> = rows.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(rows.len(), named.len(), "a fault has two rows");
    let lacking: Vec<&String> = planted.symmetric_difference(&named).collect();
    assert!(lacking.is_empty(), "no row, or no patch: {lacking:?}");
    for (name, row) in rows {
        assert!(!row.ends_with("| nothing |"), "{name} is not found");
    }
}

/// Every field of the configuration has a switch of the example, or a reason why it has none.
#[test]
fn each_field_of_the_configuration_has_a_switch_or_a_reason() {
    let source = text("src/session/config.rs");
    let (_, fields) = source.split_once("pub struct Config {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let fields: BTreeSet<&str> = fields
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert!(fields.len() > 20, "{fields:?}");
    let table = text("tests/data/switches.txt");
    let code: String = text("examples/proxy/cli.rs").split_whitespace().collect();
    let main = text("examples/proxy/main.rs");
    let mut told = BTreeSet::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [field, switches, reason] = columns[..] else {
            panic!("{line}");
        };
        assert!(told.insert(field), "{field} is there twice");
        if switches == "-" {
            assert!(!reason.is_empty(), "{field} has neither");
            continue;
        }
        for switch in switches.split(' ') {
            let name = switch.strip_prefix("--").unwrap();
            let flag = format!("Flag::new(\"{name}\"");
            assert!(code.contains(&flag), "{field}: {switch}");
        }
        let set = field == "upstreams" || main.contains(&format!("config.{field}"));
        assert!(set, "nothing sets {field}");
    }
    assert_eq!(told, fields);
}
