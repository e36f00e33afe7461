//! Hints in comments: where a text asks to go.
//!
//! ```text
//! text    = *space "/*" *space "pgturnout:" *space ("writer" | "reader") *space "*/" rest
//! space   = blank | tab | newline | carriage return | form feed
//! ```
//!
//! Small letters, exactly so; anything else is a comment like others. Only what the text begins with counts: a comment
//! further behind is no hint.

use super::intent::{Class, Intent, Reason, Why};

/// Where a text asks to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// To the writer.
    Writer,
    /// To a reader, if it may.
    Reader,
}

/// The hint that a text begins with.
///
/// ```
/// use pgturnout::route::{Hint, hint};
/// assert_eq!(hint(b"/* pgturnout: writer */ select 1"), Some(Hint::Writer));
/// assert_eq!(hint(b"select 1 /* pgturnout: writer */"), None);
/// ```
#[must_use]
pub fn hint(sql: &[u8]) -> Option<Hint> {
    comment(sql).map(|(hint, _)| hint)
}

/// The hint and where its comment stands.
fn comment(sql: &[u8]) -> Option<(Hint, Reason)> {
    let start = skip(sql);
    let inside = skip(start.strip_prefix(b"/*")?);
    let word = skip(inside.strip_prefix(b"pgturnout:")?);
    let (hint, why, behind) = match word.strip_prefix(b"writer") {
        Some(behind) => (Hint::Writer, Why::WriterHint, behind),
        None => (Hint::Reader, Why::ReaderHint, word.strip_prefix(b"reader")?),
    };
    let rest = skip(behind).strip_prefix(b"*/")?;
    let reason = Reason {
        why,
        offset: sql.len().saturating_sub(start.len()),
        token_len: start.len().saturating_sub(rest.len()),
    };
    Some((hint, reason))
}

fn skip(sql: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c');
    let spaces = sql.iter().take_while(|byte| is_space(byte)).count();
    sql.get(spaces..).unwrap_or_default()
}

/// What a text asks for, by its hint too. A hint to the writer makes a read the session's own business, which runs there and
/// writes nothing, and a write of what may be one; one to a reader makes a read of what is only unproven, and of nothing else.
pub(super) fn hinted(sql: &[u8], mut intent: Intent) -> Intent {
    let Some((hint, reason)) = comment(sql) else {
        return intent;
    };
    if hint == Hint::Writer {
        intent.within = intent.within.max(Class::Session);
    }
    let class = match (hint, intent.class) {
        (Hint::Writer, Class::Read) => Class::Session,
        (Hint::Writer, Class::Unproven) => Class::Write,
        // By itself it is no read, but what it runs may be one.
        (Hint::Writer, class) if intent.sole_execute().is_some() => class,
        (Hint::Reader, Class::Unproven) => Class::Read,
        (
            Hint::Writer | Hint::Reader,
            Class::Empty
            | Class::Read
            | Class::Session
            | Class::Transaction
            | Class::Write
            | Class::Unreadable,
        ) => return intent,
    };
    if intent.within == intent.class {
        intent.within = class;
    }
    intent.class = class;
    intent.reason = reason;
    intent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{LexState, Rules, scan};

    #[test]
    fn only_the_first_comment_counts_and_only_as_it_is_written() {
        for text in [
            "/* pgturnout: writer */ select 1",
            "/*pgturnout:writer*/select 1",
            " \t\r\n\x0c/*\n pgturnout:\twriter\n*/",
        ] {
            assert_eq!(hint(text.as_bytes()), Some(Hint::Writer), "{text:?}");
            let reader = text.replace("writer", "reader");
            assert_eq!(hint(reader.as_bytes()), Some(Hint::Reader), "{reader:?}");
        }
        for text in [
            "",
            "/*",
            "/* pgturnout: writer",
            "/* pgturnout: writer *",
            "/* pgturnout: writers */ select 1",
            "/* pgturnout: WRITER */ select 1",
            "/* pgturnout writer */ select 1",
            "/* pgturnout: */ select 1",
            "/* pgturnout: writer reader */ select 1",
            "/* pgturnout: writer /* */ */ select 1",
            "/* x */ /* pgturnout: writer */ select 1",
            "-- pgturnout: writer\nselect 1",
            "; /* pgturnout: writer */ select 1",
            "select 1 /* pgturnout: writer */",
            "select '/* pgturnout: writer */'",
            "\x0b/* pgturnout: writer */ select 1",
        ] {
            assert_eq!(hint(text.as_bytes()), None, "{text:?}");
        }
    }

    /// What each kind of text becomes, without hints, and with one to the writer and to a reader.
    #[test]
    fn hints_move_reads_and_doubts_and_nothing_else() {
        use Class::{Empty, Read, Session, Transaction, Unproven, Unreadable, Write};
        let rules = Rules::default().with_hints(true);
        for (text, plain, writer, reader) in [
            ("select 1", Read, Session, Read),
            ("select f(1)", Unproven, Write, Read),
            ("", Empty, Empty, Empty),
            ("set work_mem = 1", Session, Session, Session),
            ("begin", Transaction, Transaction, Transaction),
            ("delete from t", Write, Write, Write),
            ("select f(1); delete from t", Write, Write, Write),
            ("select 1 for update", Write, Write, Write),
            ("select nextval('s')", Write, Write, Write),
            ("select pg_advisory_lock(1)", Session, Session, Session),
            ("select 'x", Unreadable, Unreadable, Unreadable),
        ] {
            for (hint, class) in [("", plain), ("writer", writer), ("reader", reader)] {
                let hinted = match hint {
                    "" => text.to_owned(),
                    hint => format!("/* pgturnout: {hint} */ {text}"),
                };
                let intent = scan(hinted.as_bytes(), &LexState::defaults(), &rules);
                assert_eq!(intent.class, class, "{hinted}");
                let off = scan(hinted.as_bytes(), &LexState::defaults(), &Rules::default());
                assert_eq!(off.class, plain, "{hinted}, hints off");
            }
        }
        let intent = scan(
            b" /* pgturnout: writer */ select 1",
            &LexState::defaults(),
            &rules,
        );
        assert_eq!(intent.reason.to_string(), "WriterHint at 1+23");
        let intent = scan(
            b"/*pgturnout:reader*/select f()",
            &LexState::defaults(),
            &rules,
        );
        assert_eq!(intent.reason.to_string(), "ReaderHint at 0+20");
        // What an EXECUTE runs may be a read; the hint holds for it.
        let intent = scan(
            b"/* pgturnout: writer */ execute s",
            &LexState::defaults(),
            &rules,
        );
        assert_eq!(intent.reason.why, Why::WriterHint);
    }
}
