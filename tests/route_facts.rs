//! What rules make of the facts that a server tells of itself (laws L5 and L8).

use pgturnout::route::{
    BadFact, Cache, CacheLimits, Class, Deed, Facts, LexState, Rules, Why, scan,
};

fn facts(rows: &[[&str; 5]]) -> Facts {
    let mut facts = Facts::default();
    for row in rows {
        facts
            .row(&row.map(|column| Some(column.as_bytes())))
            .unwrap();
    }
    facts
}

fn rules(rows: &[[&str; 5]]) -> Rules {
    let mut rules = Rules::default();
    rules.refresh(&facts(rows));
    rules
}

#[track_caller]
fn check(rules: &Rules, rows: &[(&str, Class, Why)]) {
    for (text, class, why) in rows {
        let intent = scan(text.as_bytes(), &LexState::defaults(), rules);
        assert_eq!((intent.class, intent.reason.why), (*class, *why), "{text}");
    }
}

const READ: (Class, Why) = (Class::Read, Why::PlainSelect);

#[test]
fn functions_count_by_their_marks_in_every_schema_that_they_may_mean() {
    let rules = rules(&[
        ["stable", "app", "price", "", ""],
        ["stable", "app", "tax", "", ""],
        ["volatile", "old", "tax", "", ""],
        ["volatile", "app", "lower", "", ""],
        ["stable", "app", "upper", "", ""],
        ["stable", "app", "nextval", "", ""],
        ["stable", "App", "F", "", ""],
    ]);
    let unknown = (Class::Unproven, Why::UnknownFunction);
    for (text, (class, why)) in [
        ("select price(1), app.price(1), APP.Price(1)", READ),
        ("select other.price(1)", unknown),
        ("select tax(1)", unknown),
        ("select app.tax(1)", READ),
        ("select old.tax(1)", unknown),
        ("select lower('x')", unknown),
        ("select pg_catalog.lower('x')", READ),
        ("select upper('x')", READ),
        (
            "select nextval('s')",
            (Class::Write, Why::Function(Deed::Sequence)),
        ),
        ("select \"App\".\"F\"()", READ),
        ("select app.f()", unknown),
        ("select x.app.price(1)", READ),
    ] {
        check(&rules, &[(text, class, why)]);
    }
}

#[test]
fn what_is_allowed_or_denied_by_hand_comes_first() {
    let mut rules = Rules::default();
    rules.allow(b"app.charge").unwrap();
    rules.deny(b"app.price").unwrap();
    rules.refresh(&facts(&[
        ["volatile", "app", "charge", "", ""],
        ["stable", "app", "price", "", ""],
        ["name", "app", "charged", "app", "charge"],
        ["name", "app", "prices", "app", "price"],
    ]));
    check(
        &rules,
        &[
            (
                "select app.charge(1) from charged",
                Class::Read,
                Why::PlainSelect,
            ),
            ("select price(1)", Class::Write, Why::Function(Deed::Denied)),
            ("table prices", Class::Write, Why::NameFact),
        ],
    );
}

#[test]
fn names_that_run_code_are_no_reads_wherever_they_stand() {
    let rules = rules(&[
        ["stable", "app", "price", "", ""],
        ["volatile", "app", "charge", "", ""],
        ["name", "app", "charged", "app", "charge"],
        ["name", "app", "priced", "app", "price"],
        ["name", "app", "priced", "pg_catalog", "lower"],
        ["name", "app", "waiting", "pg_catalog", "pg_lock_status"],
        ["name", "app", "locked", "pg_catalog", "pg_advisory_lock"],
        ["name", "app", "numbers", "", ""],
        ["name", "app", "checked", "app", "charge"],
        ["attribute", "app", "due", "app", "charge"],
    ]);
    let (doubt, why) = (Class::Unproven, Why::NameFact);
    check(
        &rules,
        &[
            ("select * from priced", Class::Read, Why::PlainSelect),
            ("select * from charged", doubt, why),
            ("select * from t, app.CHARGED", doubt, why),
            ("select * from t join \"charged\" using (id)", doubt, why),
            ("select * from \"Charged\"", Class::Read, Why::PlainSelect),
            ("select * from U&\"ch\\0061rged\"", doubt, why),
            ("select * from U&\"t\"", doubt, why),
            ("table charged", doubt, why),
            (
                "with x as (select * from (table charged) y) select 1",
                doubt,
                why,
            ),
            ("select x::checked, cast(x as checked)", doubt, why),
            ("select checked '1'", doubt, why),
            ("select t.charged from t", doubt, why),
            ("select t.due from t", doubt, why),
            ("select (t).\"due\" from t", doubt, why),
            ("select due from t", Class::Read, Why::PlainSelect),
            ("copy app.charged to stdout", doubt, why),
            (
                "select 'charged', $$charged$$ -- charged",
                Class::Read,
                Why::PlainSelect,
            ),
            ("select * from waiting", Class::Session, why),
            ("select * from locked", Class::Session, why),
            ("select * from numbers", Class::Write, why),
            ("explain select * from charged", Class::Read, Why::Explain),
            ("explain analyze select * from charged", doubt, why),
        ],
    );
    let locked = scan(b"table locked", &LexState::defaults(), &rules);
    assert!(format!("{:?}", locked.effects).contains("AdvisoryLock"));
}

#[test]
fn names_that_can_be_written_in_odd_ways_are_doubted_when_so_written() {
    let long = "x".repeat(63);
    let plain = rules(&[["name", "app", "v", "", ""]]);
    let odd = rules(&[["name", "app", &long, "", ""]]);
    for text in [
        format!("select * from {long}y"),
        "select * from é".to_owned(),
        "table \"a\"\"b\"".to_owned(),
    ] {
        check(&plain, &[(&text, Class::Read, Why::PlainSelect)]);
        check(&odd, &[(&text, Class::Unproven, Why::NameFact)]);
    }
}

#[test]
fn operators_count_by_their_functions() {
    let rules = rules(&[
        ["volatile", "app", "charge", "", ""],
        ["stable", "app", "price", "", ""],
        ["operator", "app", "@#", "app", "charge"],
        ["operator", "app", "#@", "app", "price"],
        ["operator", "app", "<->", "pg_catalog", "nextval"],
    ]);
    let (doubt, why) = (Class::Unproven, Why::OperatorFact);
    check(
        &rules,
        &[
            (
                "select 1 #@ 2, 1 + 2, 1 @ # 2",
                Class::Read,
                Why::PlainSelect,
            ),
            ("select 1 @# 2", doubt, why),
            ("select 1 @#-2", doubt, why),
            ("select 1 +@# 2", doubt, why),
            ("select a[1]@# 2", doubt, why),
            ("select a[@# 2]", doubt, why),
            ("select a[1:@# 2]", doubt, why),
            ("select 1 <-> 2", Class::Write, why),
            ("select 1 <--> 2\n, 3", Class::Read, Why::PlainSelect),
            ("select 1 @/**/# 2", Class::Read, Why::PlainSelect),
            ("select a in (1), a like 'b'", Class::Read, Why::PlainSelect),
        ],
    );
    let run = format!("select 1 {} 2", "@".repeat(64));
    check(&rules, &[(&run, doubt, why)]);
    let run = format!("select 1 {} 2", "@".repeat(63));
    check(&rules, &[(&run, Class::Read, Why::PlainSelect)]);
}

#[test]
fn keywords_that_stand_for_operators_count_as_those() {
    let rules = rules(&[
        ["volatile", "app", "charge", "", ""],
        ["operator", "app", "=", "app", "charge"],
    ]);
    for text in [
        "select a = b",
        "select a in (1)",
        "select nullif(a, b)",
        "select case a when 1 then 2 end",
        "select * from t join u using (id)",
        "select * from t order by a",
        "select a is distinct from b",
    ] {
        check(&rules, &[(text, Class::Unproven, Why::OperatorFact)]);
    }
    check(
        &rules,
        &[("select a from t", Class::Read, Why::PlainSelect)],
    );
}

#[test]
fn a_refresh_replaces_what_was_known_and_a_cache_forgets() {
    let mut rules = rules(&[
        ["stable", "app", "price", "", ""],
        ["name", "app", "v", "", ""],
    ]);
    let mut cache = Cache::new(rules.clone().into(), CacheLimits::default(), 7);
    let lex = LexState::defaults();
    assert_eq!(cache.get(b"select price(1)", &lex).class, Class::Read);
    assert_eq!(cache.get(b"table v", &lex).class, Class::Write);
    rules.refresh(&Facts::default());
    cache.set_rules(rules.into());
    assert_eq!(cache.get(b"select price(1)", &lex).class, Class::Unproven);
    assert_eq!(cache.get(b"table v", &lex).class, Class::Read);
    assert_eq!((cache.hits(), cache.misses()), (0, 4));
}

#[test]
fn rows_of_another_shape_are_refused_and_leave_no_trace() {
    let mut facts = Facts::default();
    let long = "x".repeat(64);
    let some = |row: [&'static str; 5]| row.map(|column| Some(column.as_bytes())).to_vec();
    for (row, error) in [
        (vec![], BadFact::Columns(0)),
        (
            some(["stable", "a", "f", "", ""])[..4].to_vec(),
            BadFact::Columns(4),
        ),
        (
            [some(["stable", "a", "f", "", ""]), vec![None]].concat(),
            BadFact::Columns(6),
        ),
        (some(["", "a", "f", "", ""]), BadFact::Kind),
        (some(["Stable", "a", "f", "", ""]), BadFact::Kind),
        (some(["stable", "", "f", "", ""]), BadFact::Name(2)),
        (some(["stable", "a", "", "", ""]), BadFact::Name(3)),
        (some(["name", "a", "f\0", "", ""]), BadFact::Name(3)),
        (vec![None; 5], BadFact::Kind),
        (
            vec![Some(&b"name"[..]), Some(b"a"), None, Some(b""), Some(b"")],
            BadFact::Name(3),
        ),
        (
            vec![
                Some(&b"name"[..]),
                Some(b"a"),
                Some(b"b"),
                Some(b"c"),
                Some(long.as_bytes()),
            ],
            BadFact::Name(5),
        ),
    ] {
        assert_eq!(facts.row(&row), Err(error), "{row:?}");
    }
    assert!(facts.is_empty());
    assert_eq!(
        BadFact::Name(3).to_string(),
        "column 3 of a row of facts is no name"
    );
}
