//! The fuzz targets on stable Rust: the committed corpora, and as many seeded pseudo-random inputs as a test run can
//! afford. A failure prints the input; put it into `fuzz/corpus/<target>/` once it is understood.

mod fuzz_bodies;

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
