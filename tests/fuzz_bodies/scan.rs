//! SQL texts: bytes as they are, and pieces of SQL put together.

use std::sync::Arc;

#[cfg(feature = "inspect")]
use pgturnout::route::Why;
#[cfg(feature = "inspect")]
use pgturnout::route::inspect::{Operation, View, inspect};
use pgturnout::route::{
    Cache, CacheLimits, Class, Encoding, Known, LexState, Rules, outline, scan,
};

use super::feed::Feed;
use super::sim::visible::{statements, visible};
use super::texts::{self, ENCODINGS};

/// Pieces that a lexer's states are made of, and pieces that decide a class.
const PIECES: &[&str] = &[
    "select",
    "1",
    "'",
    "''",
    "\\",
    "E'",
    "U&\"",
    "\"",
    "$$",
    "$a$",
    "--",
    "/*",
    "*/",
    ";",
    "(",
    ")",
    ",",
    ".",
    "\n",
    " ",
    "'a'",
    "\n'b'",
    "B'1'",
    "N'x'",
    "$1",
    "::int",
    " from t ",
    " where ",
    "with c as (",
    "delete from w",
    "insert into w values (1)",
    "update w set a = 1",
    " for update",
    " into w",
    "now()",
    "f(1)",
    "pg_catalog.now()",
    "nextval('s')",
    "copy t to stdout",
    "copy t from stdin",
    "begin",
    "begin read only",
    "commit",
    "rollback to s",
    "savepoint s",
    "set search_path = pg_catalog",
    "set local a = 1",
    "reset all",
    "discard all",
    "show all",
    "prepare p as select 1",
    "execute p",
    "deallocate all",
    "listen c",
    "explain ",
    "explain analyze ",
    "explain (analyze) ",
    "create temp table x (a int)",
    "table t",
    "values (1)",
    "union all ",
    "case when 1 then 2 end",
    "begin atomic",
    " end",
    "create function f() returns int ",
    "\u{e9}",
    "\u{ff}",
    "\0",
    "é'",
    "1a",
    "0x1",
    "1e",
    "a$b",
    "@>",
    "<-",
    "- -",
    "+-",
    " as ",
    " order by ",
    " limit 1",
    "interval '1' day",
    "array[1]",
];

/// Every text has an answer, the same each time and from the cache, with its places inside the text. Knowing less
/// never lowers the class, and neither does more text: a write in front or behind is never hidden.
pub(crate) fn scan_text(data: &[u8]) {
    let (sql, lex) = text(data);
    judge(&sql, &lex);
    stand(&sql, &lex);
}

/// Each statement that was counted stands somewhere, behind the one before, and is one by itself.
fn stand(sql: &[u8], lex: &LexState) {
    let rules = Rules::default();
    let whole = scan(sql, lex, &rules);
    let places = pgturnout::route::statements(sql, lex);
    let shown = sql.escape_ascii();
    assert!(
        places.windows(2).all(|pair| pair[0].end <= pair[1].start),
        "{shown}"
    );
    if whole.class == Class::Unreadable {
        return;
    }
    assert_eq!(places.len(), whole.statements as usize, "{shown}");
    let classes = places.iter().map(|place| {
        let alone = scan(&sql[place.clone()], lex, &rules);
        assert_eq!(alone.statements, 1, "{shown}");
        alone.class
    });
    let greatest = classes.max().unwrap_or(Class::Empty);
    assert_eq!(greatest, whole.class, "{shown}");
}

/// The parser's opinion clears a doubt about a name or adds one, and changes nothing else: what the scan knows to be
/// more than a read stays so.
#[cfg(feature = "inspect")]
pub(crate) fn scan_inspect(data: &[u8]) {
    let (sql, lex) = text(data);
    let rules = Rules::default();
    let scanned = scan(&sql, &lex, &rules);
    let inspected = inspect(&sql, &lex, &rules);
    let shown = sql.escape_ascii();
    assert_eq!(inspected, inspect(&sql, &lex, &rules), "{shown}");
    let kept = inspected.intent.class == scanned.class;
    let doubted = inspected.intent.class == Class::Unreadable;
    let cleared = scanned.class == Class::Unproven && scanned.reason.why == Why::UnknownFunction;
    assert!(
        kept || doubted || cleared,
        "{shown}: {scanned:?}, {inspected:?}"
    );
    if let View::Parsed(tables) = &inspected.view {
        assert!(scanned.statements >= 1, "{shown}");
        let mut places = pgturnout::route::statements(&sql, &lex).into_iter();
        assert!(
            inspected.intent.class != Class::Read
                || places.all(|place| reads_its_tables(&sql[place], &lex)),
            "{shown}: {tables:?}"
        );
    }
}

/// Whether a statement that counts as a read does nothing but read its tables. What is only explained is told as it
/// is written, and is not executed.
#[cfg(feature = "inspect")]
fn reads_its_tables(statement: &[u8], lex: &LexState) -> bool {
    let inspected = inspect(statement, lex, &Rules::default());
    match inspected.view {
        View::Parsed(tables) if inspected.intent.reason.why != Why::Explain => tables
            .iter()
            .flat_map(|table| table.operations.iter())
            .all(|operation| operation == Operation::Select),
        View::Parsed(_) | View::Unparsed(_) => true,
    }
}

/// The text that the bytes stand for, and the settings that it is read under.
fn text(data: &[u8]) -> (Vec<u8>, LexState) {
    let mut feed = Feed::new(data);
    let lex = LexState {
        standard_conforming_strings: feed.one(&[Known::Is(true), Known::Is(false), Known::Unknown]),
        encoding: feed.one(&[
            Encoding::Utf8,
            Encoding::Safe,
            Encoding::Unsafe,
            Encoding::Unknown,
        ]),
        catalog_first: feed.one(&[Known::Is(true), Known::Unknown]),
    };
    let sql = match feed.below(4) {
        0 | 2 => feed.rest().to_vec(),
        1 => {
            let mut sql = String::new();
            while !feed.is_empty() {
                sql.push_str(feed.one(PIECES));
                if feed.below(2) == 0 {
                    sql.push(' ');
                }
            }
            sql.into_bytes()
        }
        _ => {
            let encoding = feed.below(ENCODINGS.len());
            texts::text(&mut |bound| feed.below(bound), encoding)
        }
    };
    (sql, lex)
}

fn judge(sql: &[u8], lex: &LexState) {
    let rules = Rules::default();
    let shown = sql.escape_ascii();
    let intent = scan(sql, lex, &rules);
    assert_eq!(intent, scan(sql, lex, &rules), "{shown}");

    let end = intent.reason.offset + intent.reason.token_len;
    assert!(end <= sql.len(), "{shown}: {:?}", intent.reason);
    for effect in &intent.effects {
        assert!(effect.index <= intent.statements, "{shown}: {effect:?}");
    }
    if intent.class.is_read() {
        assert!(
            intent.effects.is_empty(),
            "a read with effects: {shown}: {intent:?}"
        );
        reads_alike(sql, lex, intent.statements);
    }

    let mut cache = Cache::new(Arc::new(Rules::default()), CacheLimits::default(), 7);
    assert_eq!(*cache.get(sql, lex), intent, "{shown}: from the cache");
    assert_eq!(*cache.get(sql, lex), intent, "{shown}: from the cache");
    assert!(cache.memory() <= cache.memory_bound());

    let doubtful = scan(sql, &LexState::default(), &rules);
    assert!(
        doubtful.class >= intent.class,
        "{shown}: {:?} in doubt, {:?} without",
        doubtful.class,
        intent.class
    );

    let write = &b"insert into w values (1)"[..];
    for (text, least) in [
        ([sql, b"\n;", write].concat(), Class::Write),
        ([write, b"\n;", sql].concat(), Class::Write),
        ([b"select 1\n;", sql].concat(), intent.class),
        ([sql, b"\n;select 1"].concat(), intent.class),
    ] {
        let class = scan(&text, lex, &rules).class;
        assert!(class >= least, "{class:?}: {}", text.escape_ascii());
    }

    let outlined = outline(sql, lex);
    assert!(!outlined.contains(char::is_control), "{outlined:?}");
}

/// What counts as a read consists of statements that begin like one in a second reading too, as many of them.
fn reads_alike(sql: &[u8], lex: &LexState, count: u32) {
    const HEADS: &[&str] = &[
        "select", "values", "table", "with", "explain", "show", "copy",
    ];
    // Where it does not matter what a backslash means, both readings see the same.
    let scs = lex.standard_conforming_strings != Known::Is(false);
    let shown = sql.escape_ascii();
    let code = visible(sql, scs).unwrap_or_else(|| panic!("a read without end: {shown}"));
    let found = statements(&code);
    assert_eq!(Ok(count), u32::try_from(found.len()), "{shown}");
    for statement in found {
        let head = statement
            .trim_ascii_start()
            .split(|byte| !byte.is_ascii_alphabetic())
            .next();
        let head = head.unwrap_or_default().to_ascii_lowercase();
        let is_read = HEADS.iter().any(|word| word.as_bytes() == head);
        assert!(
            is_read || statement.starts_with(b"("),
            "{shown}: {}",
            statement.escape_ascii()
        );
    }
}
