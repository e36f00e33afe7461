//! Law L5 on texts that walk through the states of PostgreSQL's lexer, against a second reading of them. In
//! `tests/live/texts.rs` a server reads them.

#[path = "support/sim/texts.rs"]
mod texts;
#[path = "support/sim/visible.rs"]
mod visible;

use pgturnout::route::{Class, Encoding, Known, LexState, Rules, scan};
use texts::ENCODINGS;
use visible::{statements, visible};

/// Texts for each setting and encoding: a second of a debug build.
const TEXTS: u64 = 2_500;

fn text(number: u64, encoding: usize) -> Vec<u8> {
    let mut state = number;
    let mut below = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    texts::text(&mut below, encoding)
}

/// The generator writes by `INSERT` and by a function; `EXPLAIN` alone runs neither.
fn writes(code: &[u8]) -> bool {
    let has = |statement: &[u8], word: &str| {
        let mut windows = statement.windows(word.len());
        windows.any(|window| window == word.as_bytes())
    };
    let is_run = |statement: &[u8]| !statement.starts_with(b"explain") || has(statement, "analyze");
    let parts = statements(code);
    let mut run = parts.iter().filter(|statement| is_run(statement));
    run.any(|statement| has(statement, "insert") || has(statement, "bump"))
}

#[test]
fn are_read_as_a_second_reading_has_them() {
    let rules = Rules::default();
    let (mut reads, mut doubtful, mut all) = (0, 0, 0);
    for (encoding, (name, _)) in ENCODINGS.iter().enumerate() {
        for scs in [true, false] {
            let lex = LexState {
                standard_conforming_strings: Known::Is(scs),
                encoding: Encoding::from_name(name.as_bytes()),
                catalog_first: Known::Is(true),
            };
            for number in 0..TEXTS {
                let sql = text(number, encoding);
                let intent = scan(&sql, &lex, &rules);
                let shown = || {
                    format!(
                        "text {number} in {name}, scs {scs}: \"{}\": {intent:?}",
                        sql.escape_ascii()
                    )
                };
                all += 1;
                if intent.class == Class::Unreadable {
                    doubtful += 1;
                    continue;
                }
                let code = visible(&sql, scs).unwrap_or_else(|| panic!("has no end: {}", shown()));
                assert_eq!(
                    statements(&code).len(),
                    intent.statements as usize,
                    "{}",
                    shown()
                );
                assert!(
                    !(intent.class.is_read() && writes(&code)),
                    "a write taken for a read: {}",
                    shown()
                );
                reads += usize::from(intent.class.is_read());
            }
        }
    }
    assert!(
        reads > all / 8 && doubtful < all / 2,
        "{reads} reads, {doubtful} doubtful of {all}"
    );
}

/// Where less is known, no text that has a write in one of its readings is a read.
#[test]
fn are_no_reads_in_doubt_if_one_reading_writes() {
    let rules = Rules::default();
    let mut writing = 0;
    for (encoding, _) in ENCODINGS.iter().enumerate() {
        for number in 0..TEXTS {
            let sql = text(number, encoding);
            let may_write = [true, false]
                .iter()
                .any(|scs| visible(&sql, *scs).is_some_and(|code| writes(&code)));
            let intent = scan(&sql, &LexState::default(), &rules);
            assert!(
                !(may_write && intent.class.is_read()),
                "text {number}: \"{}\": {intent:?}",
                sql.escape_ascii()
            );
            writing += usize::from(may_write);
        }
    }
    assert!(writing > 1_000, "{writing} texts write");
}
