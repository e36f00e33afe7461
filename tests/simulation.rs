//! Thousands of sessions, each from one seed, and every law on each of them.
//!
//! | variable | what |
//! |---|---|
//! | `PGTURNOUT_SEEDS=n` | how many seeds; without it a few hundred |
//! | `PGTURNOUT_SEED=x` | the first of them, as 100000 of 300000 with `PGTURNOUT_SEEDS=300000`; alone, only this one |
//! | `PGTURNOUT_SHRINK=n` | how many failing seeds of each check are shrunk and told (1) |
//! | `PROPTEST_CASES=n` | how many strings of bytes of proptest's are played (64) |
//! | `PGTURNOUT_SCENARIO=file` | a scenario to be told in words by `a_scenario_in_words` |

#[path = "support/cited.rs"]
mod cited;
#[path = "support/sim/mod.rs"]
mod sim;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proptest::prelude::*;
use sim::catalogue::{Phase, Seen, Unexpected};
use sim::checks::Check;
use sim::event::Scenario;
use sim::{alone, campaign, program, run, transfers};

/// How many seeds a run has unless it is told: what is not optimized does these in some seconds.
const SEEDS: u64 = 400;

/// Of so many seeds in a hundred, at least, the scenarios are such that all of what happens under one chunking is compared
/// with what happens under another.
const COMPARED: u64 = 38;

/// With so many seeds every situation is seen that can be, or `tests/data/catalogue.txt` says why not.
const CATALOGUED: u64 = 20_000;

#[allow(clippy::disallowed_methods, reason = "a test is told how long to run")]
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is no number")),
    )
}

fn seeds() -> Range<u64> {
    match (number("PGTURNOUT_SEED"), number("PGTURNOUT_SEEDS")) {
        (None, count) => 0..count.unwrap_or(SEEDS),
        (Some(first), count) => first..first + count.unwrap_or(1),
    }
}

#[test]
fn every_law_holds_in_every_session() {
    let outcome = campaign::campaign(seeds());
    let rate = outcome.sessions as f64 / outcome.took.as_secs_f64();
    let (sessions, seconds) = (outcome.sessions, outcome.took.as_secs());
    println!("{sessions} sessions in {seconds} s, {rate:.0} per second");
    let [full, part] = outcome.compared;
    println!("compared under each chunking: {full} seeds in full, {part} in part");
    let shrunk = number("PGTURNOUT_SHRINK").unwrap_or(1);
    let mut report = outcome.report(usize::try_from(shrunk).unwrap_or(1));
    if seeds().start == 0 && seeds().end >= CATALOGUED {
        print!("{}", outcome.seen.message_table());
        print!("{}", outcome.seen.fault_table());
        print!("{}", transfers::table(&outcome.seen));
        let unexpected = Unexpected::parse(include_str!("data/catalogue.txt")).expect("its lines");
        for gap in outcome.seen.gaps(&unexpected, seeds().end) {
            report.push_str(&format!("tests/data/catalogue.txt: {gap}\n"));
        }
    }
    if outcome.failures.is_empty() && seeds().count() >= 400 {
        let least = COMPARED * (seeds().end - seeds().start) / 100;
        let detail = format!("{full} seeds were compared in full, {least} should be\n");
        report.push_str(if full < least { &detail } else { "" });
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn what_failed_once_does_not_fail_again() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("tests/regressions")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        if let Err(report) = campaign::play_text(&file.display().to_string(), &text) {
            panic!("{report}");
        }
    }
}

#[test]
fn a_seed_is_a_string_of_bytes() {
    for seed in 0..2_000 {
        let bytes = program::expand(seed);
        let taken = program::bytes_of(&bytes);
        assert_eq!(program::of_bytes(&bytes), program::of_bytes(taken));
        let is_few = seed % 16 == 7;
        assert!(is_few || taken.len() < bytes.len(), "seed {seed} runs out");
    }
}

#[test]
fn what_hangs_is_named() {
    assert_eq!(
        alone::words_about_hangs(),
        "seed 17 has not ended after 75 s\n"
    );
}

/// With `PGTURNOUT_SCENARIO=FILE` what happens in it, in every way to play it.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test is told what to play")]
fn a_scenario_in_words() {
    let text = match std::env::var("PGTURNOUT_SCENARIO") {
        Ok(file) => std::fs::read_to_string(file).expect("a readable file"),
        Err(_) => "setup split=true\nclient Query \"select 1\"\ncalm\n".to_owned(),
    };
    let scenario = Scenario::parse(&text).expect("a scenario");
    for (chunking, order) in run::ways(&scenario.setup) {
        let (told, _) = run::tell(&scenario, (chunking, order));
        println!("--- {chunking:?}, {order:?}\n{told}");
        assert!(
            told.contains("asks: Connect"),
            "what is asked for is told of"
        );
    }
}

/// A fault is told where it strikes in a session that is checked: nobody is opening a connection that is not dialled.
#[test]
fn a_fault_is_told_when_it_strikes() {
    let text = "setup split=true gate-is-reader=true\naim reader opening 0 mute reader\ncalm\n";
    let scenario = Scenario::parse(text).expect("a scenario");
    let (told, _) = run::tell(&scenario, run::ways(&scenario.setup)[0]);
    let place = |what: &str| told.find(what).unwrap_or_else(|| panic!("{what}: {told}"));
    assert!(
        place("asks: Connect") < place("    fault mute reader"),
        "{told}"
    );
}

/// What is asked with a Flush behind a failure is owed as anything else, also where the answer has no end yet.
#[test]
fn an_answer_that_does_not_come_is_missed() {
    let text = |name: &str, lines: &[&str]| {
        let lines: String = lines
            .iter()
            .map(|line| format!("client {line}\ncalm\n"))
            .collect();
        format!("setup {name}\n{lines}")
    };
    let failed = [
        "Query \"begin\"",
        "Query \"savepoint a\"",
        "Query \"select 1/0\"",
    ];
    let back = [
        "Parse \"\" \"rollback to savepoint a\"",
        "Bind \"\" \"\"",
        "Execute \"\" 0",
        "Flush",
    ];
    let behind = ["Parse \"\" \"select 1\"", "Flush"];
    for setup in ["split=true", "split=false"] {
        for lines in [
            [&failed[..], &back].concat(),
            [&failed[..], &back, &behind].concat(),
        ] {
            let text = text(setup, &lines);
            let scenario = Scenario::parse(&text).expect("a scenario");
            let missed = run::without_its_last_answer(&scenario);
            assert_eq!(missed.map(|it| it.check), Some(Check::Direct), "{text}");
        }
    }
}

/// What has no place in a transaction on the reader may be refused; a plain read and the end of the transaction have one.
#[test]
fn an_end_or_a_read_that_is_refused_is_wrong() {
    let begin = "client Query \"begin read only\"\ncalm\nclient Query \"select v from t\"\ncalm\n";
    let prepared = |text: &str| {
        let named = format!("Parse \"s\" \"{text}\"\nclient Sync\ncalm\nclient Bind \"\" \"s\"");
        format!("{named}\nclient Execute \"\" 0\nclient Sync")
    };
    let unnamed = |text: &str| {
        let parsed = format!("Parse \"\" \"{text}\"\nclient Bind \"p\" \"\"");
        format!("{parsed}\nclient Execute \"p\" 0\nclient DescribePortal \"p\"\nclient Sync")
    };
    let query = |text: &str| format!("Query \"{text}\"");
    for (asked, check) in [
        (query("select v from t"), Some(Check::Direct)),
        (query("show work_mem;"), Some(Check::Direct)),
        (query("select upper(v) from t"), None),
        (query("select v from t for update"), None),
        (query("show in_hot_standby"), None),
        (query("Commit"), Some(Check::Direct)),
        (query("rollback work and no chain;"), Some(Check::Direct)),
        (query("commit and chain"), Some(Check::Direct)),
        (prepared("select v from t"), None),
        (unnamed("select v from t"), Some(Check::Direct)),
        (unnamed("select upper(v) from t"), None),
        (prepared("/* it */ end transaction"), Some(Check::Direct)),
    ] {
        let text = format!("setup read-transactions=true\n{begin}client {asked}\ncalm\n");
        let scenario = Scenario::parse(&text).expect("a scenario");
        let wrong = run::with_its_last_request_refused(&scenario);
        assert_eq!(wrong.map(|it| it.check), check, "{text}");
    }
}

#[test]
fn a_situation_that_is_not_as_listed_is_told() {
    let listed =
        "@two = S,H\nnever: why\n  client login Q,!cancel\nseldom: few\n  client login @two,F\n";
    let unexpected = Unexpected::parse(listed).expect("its lines");
    let mut seen = Seen::default();
    for (tag, seeds) in [(b'Q', 1), (b'S', 60), (b'H', 61), (b'P', 61)] {
        seen.pairs.insert((0, Phase::Login, tag), seeds);
    }
    let gaps = seen.gaps(&unexpected, 20_000);
    let told = |about: &str| gaps.iter().find(|gap| gap.starts_with(about));
    let is_told = |about: &str, what: &str| told(about).is_some_and(|gap| gap.contains(what));
    assert!(is_told("client login Q ", "never: why"), "{gaps:?}");
    assert!(is_told("client login H ", "seldom: few"), "{gaps:?}");
    assert!(is_told("client login B ", "was not seen"), "{gaps:?}");
    for fine in ["S", "F", "P", "!cancel"] {
        assert_eq!(told(&format!("client login {fine} ")), None);
    }
    for wrong in [
        "  client login Q\n",
        "never: why\n  client logon Q\n",
        "rarely: why\n",
    ] {
        assert!(Unexpected::parse(wrong).is_err(), "{wrong}");
    }
}

/// Who is not let in cannot be moved, and is answered so.
#[test]
fn an_early_move_is_refused() {
    for phase in ["opening", "login"] {
        let text = format!("setup spare=like\naim client {phase} 0 move 2 - journal stay\ncalm\n");
        let scenario = Scenario::parse(&text).expect("a scenario");
        let (told, broken) = run::tell(&scenario, run::ways(&scenario.setup)[0]);
        assert!(
            told.contains("it is asked to move: Err(NotServing)"),
            "{told}"
        );
        assert!(!broken, "{told}");
    }
}

#[test]
fn each_invariant_has_its_check() {
    let mut expected = 1;
    for line in include_str!("data/invariants.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let mut parts = line.split(" | ");
        let number = parts.next().and_then(|text| text.parse().ok());
        assert_eq!(number, Some(expected), "{line}");
        expected += 1;
        let places = parts.nth(1).unwrap_or_else(|| panic!("{line}: where?"));
        if places.starts_with("later: ") {
            continue;
        }
        for place in places.split(", ") {
            let found = match place.strip_prefix("simulation ") {
                Some(check) => Check::ALL.iter().any(|known| format!("{known:?}") == check),
                None => cited::is_test(place),
            };
            assert!(found, "{place} is not there");
        }
    }
    assert_eq!(expected, 55);
    let list = include_str!("data/invariants.txt");
    for check in Check::ALL {
        let name = format!("simulation {check:?}");
        let cites = |line: &str| line.split([',', '|']).any(|place| place.trim() == name);
        assert!(
            list.lines().any(cites),
            "{name} checks nothing that is listed"
        );
    }
}

/// What of a configuration's `Debug` belongs to each field, and to each field of one that is a structure.
fn fields(debug: &str) -> Vec<(String, String)> {
    let (mut out, mut parent): (Vec<(String, String)>, String) = (Vec::new(), String::new());
    for line in debug.lines() {
        let text = line.trim_start();
        let name = text.split_once(": ").map(|(name, _)| name);
        match (line.len() - text.len(), name) {
            (4, Some(name)) if text.ends_with(" {") => parent = format!("{name}."),
            (4, Some(name)) => {
                parent.clear();
                out.push((name.to_owned(), text.to_owned()));
            }
            (8, Some(name)) if !parent.is_empty() => {
                out.push((format!("{parent}{name}"), text.to_owned()));
            }
            _ => {
                if let Some((_, value)) = out.last_mut() {
                    value.push_str(text);
                }
            }
        }
    }
    out
}

/// The names of an enum's variants, by the source.
fn variants(name: &str) -> Option<Vec<String>> {
    let mut folders = vec![format!("{}/src", env!("CARGO_MANIFEST_DIR"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path.display().to_string());
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let Some((_, body)) = text.split_once(&format!("\npub enum {name} {{\n")) else {
                continue;
            };
            let body = body.split_once("\n}\n").map_or(body, |(body, _)| body);
            let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
            let words = lines.map(|line| line.split([' ', ',', '(', '{']).next().unwrap_or(""));
            let named = words.filter(|word| word.starts_with(char::is_uppercase));
            return Some(named.map(str::to_owned).collect());
        }
    }
    None
}

/// Each option of a configuration differs between seeds and has every variant that there is, or `tests/data/config.txt` says
/// why not.
#[test]
fn every_option_differs_between_seeds() {
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for seed in 0..4_000 {
        let scenario = program::of_bytes(&program::expand(seed));
        for (name, value) in fields(&format!("{:#?}", scenario.setup.config())) {
            values.entry(name).or_default().insert(value);
        }
    }
    let lines = include_str!("data/config.txt").lines();
    let listed: BTreeMap<&str, &str> = lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(": ").expect("`option: reason`"))
        .collect();
    let is_listed = |name: &str| listed.contains_key(name);
    let same = values.iter().filter(|(_, values)| values.len() < 2);
    let same: Vec<&str> = same.map(|(name, _)| name.as_str()).collect();
    let unlisted: Vec<_> = same.iter().filter(|name| !is_listed(name)).collect();
    assert!(unlisted.is_empty(), "never differ: {unlisted:?}");
    let source = include_str!("../src/session/config.rs");
    let (mut enums, mut unseen, mut known) = (0, Vec::new(), BTreeSet::new());
    for (name, values) in &values {
        let field = name.rsplit('.').next().unwrap_or(name);
        let declared = source.split_once(&format!("\n    pub {field}: "));
        let of = declared.and_then(|(_, rest)| rest.split_once(','));
        let Some(all) = of.and_then(|(of, _)| variants(of)) else {
            continue;
        };
        enums += 1;
        for variant in all {
            let is_it = |value: &String| {
                let word = value.trim().trim_start_matches(&format!("{field}: "));
                word.split([',', '(', ' ', '{']).next() == Some(&*variant)
            };
            let option = format!("{name}.{variant}");
            if !values.iter().any(is_it) && !is_listed(name) && !is_listed(&option) {
                unseen.push(option.clone());
            }
            known.insert(option);
        }
    }
    assert!(unseen.is_empty(), "never chosen: {unseen:?}");
    assert!(enums > 10, "the variants are read: {enums}");
    for name in listed.keys() {
        let is_one = values.contains_key(*name) || known.contains(*name);
        assert!(is_one, "{name} is no option");
    }
    assert!(values.len() > 40, "the options are read: {}", values.len());
}

proptest! {
    // What fails is shrunk as the scenario that it is, and kept as its text.
    #![proptest_config(ProptestConfig {
        cases: number("PROPTEST_CASES").map_or(64, |cases| cases.try_into().unwrap_or(u32::MAX)),
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The seeds' generator, and the report of a seed, on bytes of proptest's.
    #[test]
    fn any_bytes_are_a_session(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(report) = campaign::play_bytes(&bytes) {
            prop_assert!(false, "{report}");
        }
    }
}
