//! Hints in comments.

use std::sync::Arc;

use pgturnout::route::{Cache, CacheLimits, Class, Hint, Intent, LexState, Rules, hint, scan};

use super::feed::Feed;

/// What hints are made of, and what comes close to one.
const PIECES: &[&str] = &[
    "/*",
    "*/",
    " ",
    "\t",
    "\n",
    "\r",
    "\x0c",
    "\x0b",
    "pgturnout:",
    "writer",
    "reader",
    "Writer",
    "s",
    "--",
    ";",
    "/* pgturnout: writer */",
    "/*pgturnout:reader*/",
    "select 1",
    "select f(1)",
    "delete from w",
    "begin",
    "execute s",
    "set a = 1",
    "'",
    "/",
    "*",
];

const SPACES: &[u8] = b" \t\n\r\x0c";

/// A hint is what the grammar in words says, read from the other end; it makes of a read or a doubt what it may make of
/// it, of nothing else anything, and changes nothing but that; where hints do not count it is a comment like others.
pub(crate) fn hinted(data: &[u8]) {
    let mut feed = Feed::new(data);
    let sql = match feed.below(3) {
        0 => feed.rest().to_vec(),
        one => {
            let hint = PIECES[15 + feed.below(2)];
            let mut sql = String::from(if one == 1 { hint } else { "" });
            while !feed.is_empty() {
                sql.push_str(feed.one(PIECES));
            }
            sql.into_bytes()
        }
    };
    let shown = sql.escape_ascii();
    let place = comment(&sql);
    let found = place.as_ref().map(|(hint, _)| *hint);
    assert_eq!(hint(&sql), found, "{shown}");
    assert_eq!(hint(&[b"x", &sql[..]].concat()), None, "{shown}");

    let lex = LexState::defaults();
    let plain = scan(&sql, &lex, &Rules::default());
    let rules = Rules::default().with_hints(true);
    let hinted = scan(&sql, &lex, &rules);
    let mut cache = Cache::new(Arc::new(rules), CacheLimits::default(), 7);
    assert_eq!(*cache.get(&sql, &lex), hinted, "{shown}: from the cache");
    let Some((hint, comment)) = place else {
        return assert_eq!(hinted, plain, "{shown}");
    };
    let class = match (hint, plain.class) {
        (Hint::Writer, Class::Read) => Class::Session,
        (Hint::Writer, Class::Unproven) => Class::Write,
        (Hint::Reader, Class::Unproven) => Class::Read,
        (_, class) => class,
    };
    assert_eq!(hinted.class, class, "{shown}");
    assert!(hint == Hint::Reader || hinted.within >= Class::Session);
    assert!(hint == Hint::Writer || hinted.within <= plain.within.max(Class::Read));
    if hinted.reason != plain.reason {
        let place = hinted.reason.offset..hinted.reason.offset + hinted.reason.token_len;
        assert_eq!(place, comment, "{shown}");
    }
    let rest = Intent {
        class: plain.class,
        within: plain.within,
        reason: plain.reason,
        ..hinted
    };
    assert_eq!(rest, plain, "{shown}");
    let behind = scan(&sql[comment.end..], &lex, &Rules::default());
    assert_eq!(behind.class, plain.class, "{shown}");
}

/// The comment that a text begins with if it is a hint: everything up to the first end of one is looked at.
fn comment(sql: &[u8]) -> Option<(Hint, std::ops::Range<usize>)> {
    let start = sql.iter().position(|byte| !SPACES.contains(byte))?;
    let end = start + sql[start..].windows(2).position(|pair| pair == b"*/")?;
    let inside = std::str::from_utf8(sql[start..end].strip_prefix(b"/*")?).ok()?;
    let is_space = |of: char| u8::try_from(of).is_ok_and(|byte| SPACES.contains(&byte));
    let word = inside.trim_matches(is_space).strip_prefix("pgturnout:")?;
    let hint = match word.trim_start_matches(is_space) {
        "writer" => Hint::Writer,
        "reader" => Hint::Reader,
        _ => return None,
    };
    Some((hint, start..end + 2))
}
