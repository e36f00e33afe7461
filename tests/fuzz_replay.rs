//! The fuzz targets on stable Rust: the committed corpora, and as many seeded pseudo-random inputs as a test run can
//! afford. A failure prints the input; put it into `fuzz/corpus/<target>/` once it is understood.

mod fuzz_bodies;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use fuzz_bodies::{TARGETS, Target};

/// The corpora, which a package made for publication comes without.
fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn run(target: &Target, origin: &str, data: &[u8]) {
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    if let Err(panic) = result {
        eprintln!("target {}, {origin}: {data:?}", target.name);
        resume_unwind(panic);
    }
}

#[test]
fn every_corpus_entry_holds() {
    for target in TARGETS {
        for (name, data) in entries(target) {
            run(target, &name, &data);
        }
    }
}

#[test]
fn seeded_inputs_hold() {
    for target in TARGETS {
        for seed in 0..target.tries {
            let data = noise(seed, target.longest);
            run(target, &format!("seed {seed}"), &data);
        }
    }
}

/// Entries of the corpus with some bytes changed, cut or doubled: what a fuzzer tries first.
#[test]
fn mutated_corpus_entries_hold() {
    for target in TARGETS {
        for (at, (name, data)) in entries(target).into_iter().enumerate() {
            for round in 0..20 {
                let changed = mutate(&data, u64::try_from(at).unwrap() * 100 + round);
                run(target, &format!("{name}, mutation {round}"), &changed);
            }
        }
    }
}

#[test]
fn every_target_has_its_file_its_entry_and_a_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        return;
    }
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let mut files: Vec<String> = fs::read_dir(fuzz.join("fuzz_targets"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    files.sort();
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    #[cfg(not(feature = "inspect"))]
    files.retain(|name| name != "scan_inspect");
    assert_eq!(files, names);
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)));
        assert!(!entries(target).is_empty(), "{} has no corpus", target.name);
    }
}

/// `tests/data/parsers.txt` has a line for each public function that takes bytes, and no other.
#[test]
fn whatever_takes_bytes_has_its_target() {
    let mut found = BTreeSet::new();
    functions(Path::new("src"), &mut found);
    assert!(found.len() > 90, "{found:?}");
    let mut listed = BTreeSet::new();
    for line in include_str!("data/parsers.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, by) = line.split_once(" | ").expect("a function and its target");
        assert!(listed.insert(name.to_owned()), "{name} is there twice");
        let mut targets = by.split(", ");
        // `scan_inspect` is there with its feature alone.
        let is_target = |by| by == "scan_inspect" || TARGETS.iter().any(|it| it.name == by);
        let is_known = by.strip_prefix("- ").is_some_and(|why| !why.is_empty());
        assert!(is_known || targets.all(is_target), "{line}: no such target");
    }
    let other: Vec<&String> = found.symmetric_difference(&listed).collect();
    assert!(
        other.is_empty(),
        "not in tests/data/parsers.txt, or not in src/: {other:?}. What reads bytes of a peer has a fuzz target."
    );
}

/// Adds the public functions below a folder that take bytes or messages, as `folder/file::name`.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    const TYPES: [&str; 4] = ["[u8]", "Values<", "Backend<", "Names<"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join(folder)).expect("a folder") {
        let path = folder.join(entry.expect("an entry").file_name());
        if root.join(&path).is_dir() {
            functions(&path, found);
            continue;
        }
        let source = fs::read_to_string(root.join(&path)).expect("a source");
        let code = source.split("\n#[cfg(test)]\nmod tests").next();
        let file = path.with_extension("");
        let file = file.strip_prefix("src").expect("it is below").display();
        let publics = ["pub fn ", "pub const fn "];
        for start in publics.map(|public| code.unwrap_or_default().split(public).skip(1)) {
            for behind in start {
                let head = behind.split('{').next().unwrap_or_default();
                let arguments = head.split("->").next().unwrap_or_default();
                let name = behind
                    .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .next();
                if TYPES.iter().any(|of| arguments.contains(of)) {
                    found.insert(format!("{file}::{}", name.unwrap_or_default()));
                }
            }
        }
    }
}

fn entries(target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(folder) = fs::read_dir(corpora().join(target.name)) else {
        return Vec::new();
    };
    let mut entries: Vec<(String, Vec<u8>)> = folder
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    entries.sort();
    entries
}

/// SplitMix64: each seed gives its own bytes, the same everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() % 256).unwrap()
    }
}

fn noise(seed: u64, longest: usize) -> Vec<u8> {
    let mut noise = Noise(seed);
    let length = noise.below(longest + 1);
    (0..length).map(|_| noise.byte()).collect()
}

fn mutate(data: &[u8], seed: u64) -> Vec<u8> {
    let mut noise = Noise(seed);
    let mut changed = data.to_vec();
    for _ in 0..=noise.below(4) {
        let at = noise.below(changed.len());
        match noise.below(4) {
            0 => changed.truncate(at),
            1 => changed.insert(at, noise.byte()),
            2 => {
                let tail = changed[at..].to_vec();
                changed.extend(tail);
            }
            _ => {
                if let Some(byte) = changed.get_mut(at) {
                    *byte = noise.byte();
                }
            }
        }
    }
    changed
}
