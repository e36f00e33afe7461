//! Laws L5 and L9 on generated texts: the order of classes, doubt, totality.

use pgturnout::route::{
    Class, Effect, Encoding, Intent, Known, LexState, PinKind, Rules, StatementEffect, Why, scan,
};
use proptest::prelude::*;
use proptest::sample::select;

fn of(sql: &[u8]) -> Intent {
    scan(sql, &LexState::defaults(), &Rules::default())
}

/// What texts are made of: the states of the server's lexer, the words that decide, and what could hide them.
const PIECES: &[&str] = &[
    "select",
    "SELECT",
    "values",
    "table",
    "with",
    "recursive",
    "as",
    "materialized",
    "not",
    "insert",
    "into",
    "update",
    "delete",
    "merge",
    "for",
    "no",
    "key",
    "share",
    "read",
    "only",
    "from",
    "where",
    "explain",
    "analyze",
    "verbose",
    "off",
    "copy",
    "to",
    "stdout",
    "program",
    "show",
    "all",
    "begin",
    "atomic",
    "commit",
    "set",
    "reset",
    "local",
    "session",
    "transaction",
    "isolation",
    "level",
    "create",
    "function",
    "temp",
    "end",
    "case",
    "when",
    "declare",
    "cursor",
    "hold",
    "prepare",
    "execute",
    "lock",
    "union",
    "in",
    "is",
    "on",
    "using",
    "over",
    "filter",
    "lateral",
    "operator",
    "pg_catalog",
    "current_setting",
    "lower",
    "bump",
    "nextval",
    "pg_advisory_lock",
    "set_config",
    "t",
    "x",
    "\"q\"",
    "\"select\"",
    "'s'",
    "E'\\''",
    "'it''s'",
    "$$d$$",
    "$a$ $$ $a$",
    "U&'u'",
    "B'1'",
    "1",
    "1.5",
    "$1",
    "(",
    ")",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "::",
    "=",
    "+",
    "*",
    "-",
    "/",
    ";",
    "é",
];

/// Pieces that are not whole tokens: they open and close what hides other text.
const TORN: &[&str] = &[
    "'", "''", "E'", "e'\\'", "\\", "U&'", "u&\"", "B'", "N'", "\"", "$$", "$a$", "$a", "--", "/*",
    "*/", "/**/", "1e", "0x", "1_", "\0", "\u{b}", "\u{c}", "\r", "\n", "'\n'", "' --c\n'",
];

const GAPS: &[&str] = &[
    " ",
    "\n",
    "\t",
    " \r\n",
    "/*g*/",
    " --g\n",
    " /* ; ' */ ",
    "/* /* */ */",
    "\u{c}",
];

fn texts(pieces: &'static [&'static str], at_most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(select(pieces), 0..at_most).prop_map(|pieces| pieces.join(" "))
}

fn torn() -> impl Strategy<Value = String> {
    let piece = prop_oneof![select(PIECES), select(TORN)];
    prop::collection::vec((piece, select(&["", " ", "\n"][..])), 0..24).prop_map(|pieces| {
        pieces
            .into_iter()
            .map(|(piece, gap)| format!("{piece}{gap}"))
            .collect()
    })
}

fn lex_states() -> impl Strategy<Value = LexState> {
    let known = || select(vec![Known::Is(true), Known::Is(false), Known::Unknown]);
    let encoding = select(vec![
        Encoding::Utf8,
        Encoding::Safe,
        Encoding::Unsafe,
        Encoding::Unknown,
    ]);
    (known(), encoding, known()).prop_map(
        |(standard_conforming_strings, encoding, catalog_first)| LexState {
            standard_conforming_strings,
            encoding,
            catalog_first,
        },
    )
}

/// What holds of every answer.
fn check(sql: &[u8], intent: &Intent) {
    let end = intent
        .reason
        .offset
        .checked_add(intent.reason.token_len)
        .unwrap();
    assert!(end <= sql.len(), "{intent:?}");
    assert!(intent.class != Class::Empty || intent.statements == 0);
    assert!(intent.class != Class::Read || intent.statements > 0);
    if intent.class == Class::Read {
        assert!(
            intent.effects.is_empty() && intent.effects.capacity() == 0,
            "a read allocates nothing"
        );
    }
    assert!(
        intent
            .effects
            .windows(2)
            .all(|pair| pair[0].index <= pair[1].index)
    );
    assert!(
        intent
            .effects
            .iter()
            .all(|effect| effect.index < intent.statements),
        "{intent:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_have_an_answer(sql in prop::collection::vec(any::<u8>(), 0..200), lex in lex_states()) {
        check(&sql, &scan(&sql, &lex, &Rules::default()));
    }

    #[test]
    fn any_tokens_have_an_answer(sql in torn(), lex in lex_states()) {
        check(sql.as_bytes(), &scan(sql.as_bytes(), &lex, &Rules::default()));
    }

    /// The union: a text is at least what its statements are, and as many.
    #[test]
    fn adding_a_statement_never_lowers_the_class(a in texts(PIECES, 12), b in torn()) {
        let both = format!("{a}\n;\n{b}");
        let (first, second, both) = (of(a.as_bytes()), of(b.as_bytes()), of(both.as_bytes()));
        if first.class == Class::Unreadable {
            // What the first leaves open, the second may close.
            prop_assert!(both.class > Class::Unproven, "{first:?} {both:?}");
        } else {
            prop_assert!(both.class >= first.class.max(second.class), "{first:?} {second:?} {both:?}");
        }
        if first.class != Class::Unreadable && both.class != Class::Unreadable {
            prop_assert_eq!(both.statements, first.statements + second.statements);
            // A name that could be read in two ways counts in what may make something of that name, and a read makes
            // nothing.
            let effects = |intent: &Intent| -> usize {
                let of_name = |one: &&StatementEffect| one.effect == Effect::Pin(PinKind::AmbiguousName);
                intent.effects.iter().filter(|one| !of_name(one)).count()
            };
            prop_assert_eq!(effects(&both), effects(&first) + effects(&second));
        }
    }

    /// White space and comments between tokens mean nothing, whatever is in them.
    #[test]
    fn gaps_change_nothing(pieces in prop::collection::vec(select(PIECES), 1..16), seed in any::<u64>()) {
        let mut state = seed;
        let mut gap = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            GAPS[usize::try_from(state >> 33).unwrap() % GAPS.len()]
        };
        // A newline between two literals makes them one: keep them apart.
        let literal = |piece: &str| piece.contains('\'');
        prop_assume!(pieces.windows(2).all(|pair| !(literal(pair[0]) && literal(pair[1]))));
        let spread: String = pieces.iter().map(|piece| format!("{}{piece}", gap())).collect();
        let (plain, spread) = (of(pieces.join(" ").as_bytes()), of(spread.as_bytes()));
        prop_assert_eq!((plain.class, plain.reason.why, plain.statements), (spread.class, spread.reason.why, spread.statements));
    }

    /// A text whose first word starts no read is none, whatever follows.
    #[test]
    fn the_first_word_decides(
        head in select(vec!["insert", "update", "delete", "merge", "truncate", "create", "alter", "drop", "call", "do", "lock",
            "execute", "vacuum", "notify", "grant", "set", "reset", "discard", "prepare", "listen", "fetch", "commit", "foo", "1", "="]),
        rest in prop_oneof![torn().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..60)],
    ) {
        let sql = [head.as_bytes(), b" ", &rest].concat();
        prop_assert!(of(&sql).class > Class::Unproven);
    }

    /// Knowing less never makes more a read.
    #[test]
    fn doubt_about_settings_never_lowers_the_class(sql in torn(), lex in lex_states()) {
        let known = scan(sql.as_bytes(), &lex, &Rules::default()).class;
        for unknown in [
            LexState { standard_conforming_strings: Known::Unknown, ..lex },
            LexState { encoding: Encoding::Unknown, ..lex },
            LexState { catalog_first: Known::Unknown, ..lex },
            LexState::default(),
        ] {
            let less = scan(sql.as_bytes(), &unknown, &Rules::default()).class;
            prop_assert!(less >= known, "{known:?} became {less:?} under {unknown:?}");
        }
    }

    /// A byte that no text may hold makes it no read, wherever it is.
    #[test]
    fn a_torn_byte_never_makes_a_read(sql in texts(PIECES, 12), at in any::<prop::sample::Index>(), byte in select(vec![0_u8, 0xff])) {
        let mut bytes = sql.into_bytes();
        bytes.insert(at.index(bytes.len() + 1), byte);
        prop_assert!(of(&bytes).class == Class::Unreadable);
    }
}

/// Cut behind the token that decided, a text is still no read: the rest of it was not needed to see that.
#[test]
fn truncation_behind_the_reason_never_makes_a_read() {
    let mut cuts = 0;
    for line in include_str!("data/route.txt")
        .lines()
        .filter(|line| !line.starts_with(['#', '[']))
    {
        let Some(sql) = line.split(" | ").nth(2).filter(|sql| !sql.contains('\\')) else {
            continue;
        };
        let whole = of(sql.as_bytes());
        if whole.class.is_read() || whole.class == Class::Unreadable {
            continue;
        }
        // A call is one by its parenthesis, which is the next token; `TREAT` and `OPERATOR` are forms of it.
        let called = matches!(
            whole.reason.why,
            Why::Function(_) | Why::UnknownFunction | Why::UnknownForm
        );
        let after = whole.reason.offset + whole.reason.token_len;
        let from = if called {
            sql[after..]
                .find('(')
                .map_or(sql.len(), |at| after + at + 1)
        } else {
            after
        };
        for cut in from..=sql.len() {
            let part = of(&sql.as_bytes()[..cut]);
            assert!(
                !part.class.is_read(),
                "{:?} became {:?}: {}",
                whole.class,
                part.class,
                &sql[..cut]
            );
            cuts += 1;
        }
    }
    assert!(cuts > 3_000, "{cuts} cuts");
}

#[test]
fn a_text_beyond_the_limit_is_not_read() {
    let rules = Rules::default().with_text_limit(8);
    assert_eq!(
        scan(b"select 1", &LexState::defaults(), &rules).class,
        Class::Read
    );
    let long = scan(b"select 11", &LexState::defaults(), &rules);
    assert_eq!(
        (long.class, long.reason.why, long.reason.offset),
        (Class::Unreadable, Why::TooLong, 8)
    );
}
