//! Tests that tables name as `file::test`.

use std::path::Path;

/// Whether `file::test` is there: in a file below `tests/`, or in a source where its path says so.
pub(crate) fn is_test(place: &str) -> bool {
    let Some((file, name)) = place.split_once("::") else {
        return false;
    };
    let whole = file.starts_with("src/") || file.starts_with("examples/");
    let folder = if whole { "" } else { "tests/" };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{folder}{file}.rs"));
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
fn a_function_that_is_no_test_proves_nothing() {
    let source = "#[test]\n#[cfg(unix)]\nfn one() {\n}\n\nfn two() {\n}\n";
    assert!(carries_test(source, "one"));
    assert!(!carries_test(source, "two"));
    assert!(!carries_test(source, "three"));
    assert!(carries_test("#[test]\n// why\nfn one() {}", "one"));
}
