//! Ways to take a write for a read, by the ids of the study that found them in designs before this one (law L5).
//!
//! What concerns the reading of SQL is in `tests/data/holes.txt`. The others of those ids are shown elsewhere:
//! H8 with `standard_conforming_strings` off, H11 with encodings and R3 by `route_table` and `route_texts`; H10 and R17
//! (FunctionCall) by `session_policy` and `live/simple.rs`; H12, H15 to H18, R4, R5 and R12 by the session's tests and the
//! simulation, which has the routes of every transaction; H13 and R14 by `session_fresh` and `live/reading.rs`; R13 by `session_settings` and `live/pins.rs`; H21 to H29 and R7 to R10 by `session_statements`, `session_requests` and
//! `live/extended.rs`; H30, H31 and R11 by `session_copy`; H32 and R16 by `session_whole` and `live/replication.rs`.

use pgturnout::route::{LexState, Rules, scan};

#[test]
fn each_hole_is_closed() {
    let lines = include_str!("data/holes.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in lines {
        let mut fields = line.splitn(4, " | ");
        let [id, class, why, text] =
            [0; 4].map(|_| fields.next().unwrap_or_else(|| panic!("{line}")));
        let text = text
            .replace("\\n", "\n")
            .replace("\\u{feff}", "\u{feff}")
            .replace("\\u{a0}", "\u{a0}")
            .replace("\\\\", "\\");
        let intent = scan(text.as_bytes(), &LexState::defaults(), &Rules::default());
        rows += 1;
        if (intent.class.to_string(), intent.reason.why.to_string())
            != (class.to_owned(), why.to_owned())
        {
            wrong.push(format!("{id}: {text}: {intent:?}"));
        }
    }
    assert!(rows > 80, "{rows} rows");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// H55 and R5: only where the rules say so, and only a text that opens nothing else.
#[test]
fn h55_r5_a_read_only_transaction_is_a_read_where_the_rules_say_so() {
    let rules = Rules::default().with_begin_read_only(true);
    let is_read = |text: &str| {
        scan(text.as_bytes(), &LexState::defaults(), &rules)
            .class
            .is_read()
    };
    assert!(is_read("begin read only"));
    assert!(!is_read("begin"));
    assert!(!is_read("begin read only; set transaction read write"));
    assert!(!is_read("begin isolation level serializable read only"));
}
