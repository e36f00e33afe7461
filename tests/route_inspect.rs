//! The second opinion: tables, doubts about names, and what it must never do.
#![cfg(feature = "inspect")]

use pgturnout::route::inspect::{Inspection, Unparsed, View, inspect};
use pgturnout::route::{Class, Encoding, Known, LexState, Rules, Why, scan};

fn of(sql: &str) -> Inspection {
    inspect(sql.as_bytes(), &LexState::defaults(), &Rules::default())
}

fn tables(sql: &str) -> String {
    match of(sql).view {
        View::Parsed(tables) => tables
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        View::Unparsed(why) => format!("{why:?}"),
    }
}

#[test]
fn tables_and_operations() {
    for (sql, expected) in [
        ("select 1", ""),
        ("select * from t", "t: select"),
        ("SELECT * FROM \"T\", S.U", "T: select, s.u: select"),
        (
            "select * from t where a in (select b from u where exists (select 1 from v))",
            "t: select, u: select, v: select",
        ),
        (
            "select (select max(a) from u) from t order by (select 1 from v)",
            "t: select, u: select, v: select",
        ),
        ("insert into t values (1)", "t: insert"),
        ("insert into t select * from t", "t: select insert"),
        (
            "insert into t select * from u on conflict do nothing",
            "t: insert, u: select",
        ),
        (
            "update t set a = 1 where b in (select c from u)",
            "t: update, u: select",
        ),
        ("update t set a = u.a from u", "t: update, u: select"),
        (
            "delete from t using u where t.a = u.a",
            "t: delete, u: select",
        ),
        (
            "merge into t using u on t.a = u.a when matched then delete when not matched then insert values (1)",
            "t: insert delete, u: select",
        ),
        (
            "merge into t using u on t.a = u.a when matched then update set b = 1",
            "t: update, u: select",
        ),
        (
            "merge into t using u on t.a = u.a when matched then do nothing",
            "t: select, u: select",
        ),
        (
            "with x as (insert into t values (1) returning a) select * from x, u",
            "t: insert, u: select",
        ),
        ("with x as (select * from t) select * from x", "t: select"),
        ("with x as (select 1) select * from s.x", "s.x: select"),
        ("create table t (a int)", "t: create"),
        ("create table t as select * from u", "t: create, u: select"),
        ("create view v as select * from t", "t: select, v: create"),
        ("drop table t, s.u", "t: drop, s.u: drop"),
        ("drop schema s", ""),
        ("alter table t add column a int", "t: alter"),
        ("truncate t, u", "t: delete, u: delete"),
        ("copy t to stdout", "t: select"),
        ("copy t from stdin", "t: insert"),
        ("explain delete from t", "t: delete"),
        ("select * from generate_series(1, 2) g, t", "t: select"),
        ("table t", "Syntax"),
        ("do $$ begin end $$", "Syntax"),
    ] {
        assert_eq!(tables(sql), expected, "{sql}");
    }
}

#[test]
fn an_alias_with_columns_is_no_call() {
    for sql in [
        "select * from tab t(a, b)",
        "select t.a from tab T(a) where lower(t.a) = 'x'",
        "select * from tab \"T\"(a, b) join u x(c) on true",
    ] {
        assert_eq!(
            scan(sql.as_bytes(), &LexState::defaults(), &Rules::default()).class,
            Class::Unproven,
            "{sql}"
        );
        let found = of(sql).intent;
        assert_eq!(found.class, Class::Read, "{sql}");
        assert!(found.effects.is_empty(), "{sql}");
    }
}

#[test]
fn every_other_doubt_stays() {
    for (sql, class, why) in [
        ("select bump()", Class::Unproven, Why::UnknownFunction),
        (
            "select * from tab t(a), t(1)",
            Class::Unproven,
            Why::UnknownFunction,
        ),
        (
            "select t(1) from tab t(a)",
            Class::Unproven,
            Why::UnknownFunction,
        ),
        (
            "select bump() from tab t(a)",
            Class::Unproven,
            Why::UnknownFunction,
        ),
        (
            "select s.t(1) from tab t(a)",
            Class::Unproven,
            Why::UnknownFunction,
        ),
        (
            "select \"T\"(1) from tab t(a)",
            Class::Unproven,
            Why::UnknownFunction,
        ),
        (
            "select * from bump() t(a)",
            Class::Unproven,
            Why::UnknownFunction,
        ),
        (
            "select * from tab t(a) for update",
            Class::Write,
            Why::LockingClause,
        ),
        (
            "select nextval('s') from tab t(a)",
            Class::Write,
            Why::Function(pgturnout::route::Deed::Sequence),
        ),
    ] {
        let found = of(sql).intent;
        assert_eq!((found.class, found.reason.why), (class, why), "{sql}");
    }
    let rules = Rules::default();
    let lex = LexState {
        catalog_first: Known::Unknown,
        ..LexState::defaults()
    };
    assert_eq!(
        inspect(b"select lower(a) from tab t(a)", &lex, &rules)
            .intent
            .class,
        Class::Unproven
    );
}

#[test]
fn texts_beyond_the_limits_are_not_parsed() {
    let long = format!("select '{}'", "x".repeat(2 << 10));
    let tokens = format!("select 1{}", ", 1".repeat(200));
    let operators = format!("select 1{}", " + 1".repeat(33));
    let unions = format!("select 1{}", " union select 1".repeat(33));
    let deep = format!("select {}1{}", "(".repeat(7), ")".repeat(7));
    let arrays = format!("select {}1{}", "array[".repeat(7), "]".repeat(7));
    let cases = format!(
        "select {}1{}",
        "case when true then ".repeat(7),
        " end".repeat(7)
    );
    let nots = format!("select {}true", "not ".repeat(8));
    let prepared = "prepare a as ".repeat(24) + "select 1";
    for (sql, why) in [
        ("", Unparsed::Empty),
        (";--", Unparsed::Empty),
        ("select 1; selec 2", Unparsed::Syntax),
        ("select '", Unparsed::Unreadable),
        (&long, Unparsed::TooLong),
        (&tokens, Unparsed::TooManyTokens),
        (&operators, Unparsed::TooManyOperators),
        (&unions, Unparsed::TooManyOperators),
        (&deep, Unparsed::TooDeep),
        (&arrays, Unparsed::TooDeep),
        (&cases, Unparsed::TooDeep),
        (&nots, Unparsed::TooDeep),
        (&prepared, Unparsed::Syntax),
        (r"select '\'", Unparsed::Ambiguous),
        (r"select 1 --\", Unparsed::Ambiguous),
        ("select U&'a'", Unparsed::Ambiguous),
        ("select u&\"a\" from t", Unparsed::Ambiguous),
        ("select E'a' 'b'", Unparsed::Ambiguous),
        ("select 'a'\n'b'", Unparsed::Ambiguous),
    ] {
        assert_eq!(of(sql).view, View::Unparsed(why), "{sql:.60}");
    }
    for lex in [
        LexState {
            encoding: Encoding::Safe,
            ..LexState::defaults()
        },
        LexState {
            standard_conforming_strings: Known::Is(false),
            ..LexState::defaults()
        },
        LexState {
            standard_conforming_strings: Known::Unknown,
            ..LexState::defaults()
        },
    ] {
        assert_eq!(
            inspect(b"select 1", &lex, &Rules::default()).view,
            View::Unparsed(Unparsed::Ambiguous)
        );
    }
}

/// Their tables are one list, in which each has what any statement does to it, and no name of one hides a table of another.
#[test]
fn the_tables_of_several_statements_are_merged() {
    let sql = "with t as (select 1 from u) select * from t; ; insert into t values (';'); \
        update s.t set a = 1; delete from t where a in (select a from u);";
    assert_eq!(tables(sql), "t: insert delete, u: select, s.t: update");
    assert_eq!(tables("begin; commit"), "");
    let found = of("select 1; select * from a j(id)");
    assert_eq!(found.intent.statements, 2);
    assert_eq!(found.view, of("select * from a j(id)").view);
    // Together they are measured as one is.
    let many = "select 1;".repeat(200);
    assert_eq!(of(&many).view, View::Unparsed(Unparsed::TooManyTokens));
}

/// The texts on which parser and server were measured to disagree: the scan's word stands.
#[test]
fn the_parser_has_no_say_where_it_errs() {
    for sql in [
        "select E'a'\n'\\' , ' ; insert into w values(1) --'",
        "select 1; insert into w values (1)",
        "select * from t for key share",
        "select 1 into zz",
    ] {
        let alone = scan(sql.as_bytes(), &LexState::defaults(), &Rules::default());
        assert_eq!(of(sql).intent, alone, "{sql}");
        assert!(!alone.class.is_read());
    }
}
