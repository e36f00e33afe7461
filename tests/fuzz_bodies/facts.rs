//! What a server says of the functions that its users made.

use pgturnout::route::{Class, Facts, LexState, Rules, scan};

use super::feed::Feed;

const KINDS: &[&[u8]] = &[b"stable", b"volatile", b"operator", b"name", b"attribute"];

/// Names that texts of below use, and others.
const NAMES: &[&[u8]] = &[
    b"",
    b"app",
    b"pg_catalog",
    b"f",
    b"lower",
    b"nextval",
    b"+",
    b"=",
    b"<",
    b"t",
    b"a",
    b"a\"b",
    b"\xc3\xa9",
    b"\0",
    &[b'x'; 63],
    &[b'x'; 64],
];

const TEXTS: &[&str] = &[
    "select 1",
    "select f(1)",
    "select app.f(1), lower('x')",
    "select 1 + a from t where a = 1 order by a",
    "select t.f from t",
    "select nextval('s')",
    "select f(1) from t for update",
    "select \"a\"\"b\", \u{e9} from app.t",
    "insert into t values (f(1))",
    "set a = 1",
    "begin",
    "select pg_advisory_lock(1)",
    "select 'x",
];

/// A row counts exactly if it has five columns, a known kind and names where names must be; whatever the rows say, no
/// text that is more than a doubt becomes less, and a doubt becomes a read by stable functions alone.
pub(crate) fn facts(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut facts = Facts::default();
    let mut stable = false;
    while !feed.is_empty() {
        let count = feed.one(&[5, 5, 5, 5, 5, 5, 4, 6]);
        let columns: Vec<Option<&[u8]>> = (0..count)
            .map(|at| match (feed.below(16), at) {
                (0, _) => None,
                (1, _) => Some(feed.bytes(70)),
                (_, 0) => Some(feed.one(KINDS)),
                (_, _) => Some(feed.one(NAMES)),
            })
            .collect();
        let before = facts.len();
        let taken = facts.row(&columns);
        assert_eq!(taken.is_ok(), is_fact(&columns), "{columns:?}: {taken:?}");
        assert_eq!(facts.len(), before + usize::from(taken.is_ok()));
        stable |= taken.is_ok() && columns[0] == Some(b"stable");
    }
    let mut knowing = Rules::default();
    knowing.refresh(&facts);
    for text in TEXTS {
        let of = |rules| scan(text.as_bytes(), &LexState::defaults(), rules).class;
        let (plain, known) = (of(&Rules::default()), of(&knowing));
        let lowered = stable && plain == Class::Unproven && known == Class::Read;
        assert!(
            known >= plain || lowered,
            "{text}: {plain:?} becomes {known:?}"
        );
    }
}

fn is_fact(columns: &[Option<&[u8]>]) -> bool {
    let [
        Some(kind),
        Some(schema),
        Some(name),
        Some(by_schema),
        Some(by_name),
    ] = columns
    else {
        return false;
    };
    let is_name = |text: &&[u8]| text.len() <= 63 && !text.contains(&0);
    let is_function = matches!(*kind, b"stable" | b"volatile");
    KINDS.contains(kind)
        && [schema, name, by_schema, by_name].into_iter().all(is_name)
        && !name.is_empty()
        && !(is_function && schema.is_empty())
}
