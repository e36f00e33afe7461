//! Limits of the router.

use std::sync::Arc;

use pgturnout::limits;
use pgturnout::route::{
    BadFact, Cache, CacheLimits, Class, Effect, Facts, Intent, LexState, Rules, SettingValue, Why,
    outline, scan,
};

fn of(sql: &str) -> Intent {
    scan(sql.as_bytes(), &LexState::defaults(), &Rules::default())
}

fn padded(start: &str, length: usize, end: &str) -> String {
    format!(
        "{start}{}{end}",
        " ".repeat(length - start.len() - end.len())
    )
}

#[test]
fn scan_text_max() {
    let most = limits::SCAN_TEXT_MAX;
    assert_eq!(of(&padded("select", most, "1")).class, Class::Read);
    let more = of(&padded("select", most + 1, "1"));
    assert_eq!(
        (more.class, more.reason.why, more.reason.offset),
        (Class::Unreadable, Why::TooLong, most)
    );
}

#[test]
fn scan_depth_max() {
    let nested = |depth| {
        of(&format!(
            "select {}1{}",
            "(".repeat(depth),
            ")".repeat(depth)
        ))
    };
    // The query itself is a level.
    assert_eq!(nested(limits::SCAN_DEPTH_MAX - 1).class, Class::Read);
    let more = nested(limits::SCAN_DEPTH_MAX);
    assert_eq!(
        (more.class, more.reason.why),
        (Class::Unproven, Why::UnknownForm)
    );
}

#[test]
fn scan_effects_max() {
    let most = limits::SCAN_EFFECTS_MAX;
    let several = |count| of(&"set a = 1;".repeat(count));
    assert_eq!(
        (several(most).class, several(most).effects.len()),
        (Class::Session, most)
    );
    let more = several(most + 1);
    assert_eq!(
        (more.class, more.reason.why, more.effects.len()),
        (Class::Unreadable, Why::TooManyEffects, most)
    );
}

#[test]
fn scan_values_max() {
    let values = |count| {
        let intent = of(&format!(
            "set search_path = {}",
            vec!["a"; count].join(", ")
        ));
        match &intent.effects[0].effect {
            Effect::Setting(change) => change.value.clone(),
            other => panic!("{other:?}"),
        }
    };
    let most = limits::SCAN_VALUES_MAX;
    assert!(matches!(values(most), SettingValue::List(list) if list.len() == most));
    assert_eq!(values(most + 1), SettingValue::Opaque);
}

#[test]
fn outline_max() {
    let of = |length| {
        let text = format!("select {} more", "x".repeat(length - "select ".len()));
        outline(text.as_bytes(), &LexState::defaults())
    };
    let most = limits::OUTLINE_MAX;
    assert!(of(most - 1).ends_with("x more…"), "{}", of(most - 1));
    assert!(of(most).ends_with("x…"), "{}", of(most));
}

#[cfg(feature = "inspect")]
mod inspected {
    use pgturnout::limits;
    use pgturnout::route::inspect::{Unparsed, View, inspect};
    use pgturnout::route::{LexState, Rules};

    use super::padded;

    /// Why a text was not parsed.
    fn refusal(sql: &str) -> Option<Unparsed> {
        let view = inspect(sql.as_bytes(), &LexState::defaults(), &Rules::default()).view;
        match view {
            View::Parsed(_) => None,
            View::Unparsed(why) => Some(why),
        }
    }

    #[test]
    fn inspect_text_max() {
        let of = |length| refusal(&padded("select", length, "1"));
        assert_eq!(of(limits::INSPECT_TEXT_MAX), None);
        assert_eq!(of(limits::INSPECT_TEXT_MAX + 1), Some(Unparsed::TooLong));
    }

    #[test]
    fn inspect_tokens_max() {
        let most = limits::INSPECT_TOKENS_MAX;
        let list = format!("select 1{}", ",1".repeat((most - 2) / 2));
        assert_eq!(refusal(&list), None);
        assert_eq!(refusal(&format!("{list} a")), Some(Unparsed::TooManyTokens));
    }

    #[test]
    fn inspect_depth_max() {
        let nested = |open: &str, close: &str, depth| {
            refusal(&format!(
                "select {}1{}",
                open.repeat(depth),
                close.repeat(depth)
            ))
        };
        for (open, close) in [
            ("(", ")"),
            ("array[", "]"),
            ("case when true then ", " end"),
            ("lower(", ")"),
        ] {
            assert_eq!(
                nested(open, close, limits::INSPECT_DEPTH_MAX),
                None,
                "{open}"
            );
            let more = nested(open, close, limits::INSPECT_DEPTH_MAX + 1);
            assert_eq!(more, Some(Unparsed::TooDeep), "{open}");
        }
        // The first NOT is no repetition.
        let nots = |count| refusal(&format!("select {}true", "not ".repeat(count)));
        assert_eq!(nots(limits::INSPECT_DEPTH_MAX + 1), None);
        assert_eq!(nots(limits::INSPECT_DEPTH_MAX + 2), Some(Unparsed::TooDeep));
    }

    #[test]
    fn inspect_operators_max() {
        for link in [" + 1", " or true", "::int", " union select 1"] {
            let chain = |count| refusal(&format!("select 1{}", link.repeat(count)));
            assert_eq!(chain(limits::INSPECT_OPERATORS_MAX), None, "{link}");
            let more = chain(limits::INSPECT_OPERATORS_MAX + 1);
            assert_eq!(more, Some(Unparsed::TooManyOperators), "{link}");
        }
    }

    #[test]
    fn inspect_recursion_max() {
        // The query at the end takes four levels of its own.
        let prepared = |count| refusal(&format!("{}select 1", "prepare a as ".repeat(count)));
        assert_eq!(prepared(limits::INSPECT_RECURSION_MAX - 4), None);
        assert_eq!(
            prepared(limits::INSPECT_RECURSION_MAX - 3),
            Some(Unparsed::Syntax)
        );
    }
}

fn cache() -> Cache {
    Cache::new(Arc::new(Rules::default()), CacheLimits::default(), 7)
}

#[test]
fn cached_text_max() {
    for (length, hits) in [
        (limits::CACHED_TEXT_MAX, 1),
        (limits::CACHED_TEXT_MAX + 1, 0),
    ] {
        let (mut cache, text) = (cache(), padded("select", length, "1"));
        for _ in 0..2 {
            assert_eq!(
                cache.get(text.as_bytes(), &LexState::defaults()).class,
                Class::Read
            );
        }
        assert_eq!((cache.hits(), cache.misses()), (hits, 2 - hits), "{length}");
    }
}

/// Bytes in the cache beside its table after so many texts of that length, after each of which `limit` holds, and
/// what one of them takes.
fn filled(count: usize, length: usize, limit: usize) -> (usize, usize) {
    let mut cache = cache();
    let empty = cache.memory();
    let mut one = 0;
    for n in 0..count {
        let text = padded("select", length, &format!(" {n}"));
        let _ = cache.get(text.as_bytes(), &LexState::defaults());
        let used = cache.memory() - empty;
        one = if n == 0 { used } else { one };
        assert!(
            used <= limit.saturating_mul(one).min(limits::CACHED_BYTES_MAX),
            "{n} texts"
        );
    }
    (cache.memory() - empty, one)
}

#[test]
fn cached_texts_max() {
    let most = limits::CACHED_TEXTS_MAX;
    let (used, one) = filled(10 * most, 16, most);
    assert_eq!(used, most * one, "full, and no fuller");
}

#[test]
fn cached_bytes_max() {
    let length = limits::CACHED_TEXT_MAX;
    let (used, one) = filled(2 * limits::CACHED_BYTES_MAX / length, length, usize::MAX);
    assert!(used + one > limits::CACHED_BYTES_MAX, "{used} bytes");
}

#[test]
fn facts_max() {
    let mut facts = Facts::default();
    let row = ["name", "a", "f", "", ""].map(|column| Some(column.as_bytes()));
    for _ in 0..limits::FACTS_MAX {
        facts.row(&row).unwrap();
    }
    assert_eq!(facts.row(&row), Err(BadFact::TooMany));
    assert_eq!(facts.len(), limits::FACTS_MAX);
}
