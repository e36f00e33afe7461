//! Where the statements of a text stand.

use std::ops::Range;

use super::encoding::LexState;
use super::rules::Rules;
use super::scan::{Scan, undecodable};

/// Where the statements of a text stand, in their order, without what divides them.
///
/// Empty ones are left out, as [`Intent::statements`](super::Intent::statements) leaves them out. Where a text cannot be
/// read for certain the last one ends, and nothing is said of what follows: its class is
/// [`Class::Unreadable`](super::Class::Unreadable) then.
///
/// ```
/// use pgturnout::route::{LexState, statements};
///
/// let text = "select ';'; ; drop table job /* ; */;";
/// let places = statements(text.as_bytes(), &LexState::defaults());
/// let found: Vec<&str> = places.into_iter().map(|place| &text[place]).collect();
/// assert_eq!(found, ["select ';'", "drop table job /* ; */"]);
/// ```
#[must_use]
pub fn statements(sql: &[u8], lex: &LexState) -> Vec<Range<usize>> {
    let readable = undecodable(sql, lex).map_or(sql.len(), |(_, at)| at);
    let rules = Rules::default();
    let mut scan = Scan::new(sql.get(..readable).unwrap_or_default(), lex, &rules);
    std::iter::from_fn(|| scan.next_statement()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Vec<&str> {
        let places = statements(sql.as_bytes(), &LexState::defaults());
        let text = |place| sql.get(place).expect("inside of it");
        places.into_iter().map(text).collect()
    }

    #[test]
    fn a_statement_ends_where_the_server_ends_it() {
        let body = "create function f() returns int begin atomic select 1; select 2; end";
        let text = format!("{body}; select $$;$$ ; (select 1)");
        assert_eq!(of(&text), [body, "select $$;$$ ", "(select 1)"]);
        for nothing in ["", ";;", "-- select 1"] {
            assert!(of(nothing).is_empty(), "{nothing}");
        }
        // Doubt ends what is said.
        assert_eq!(of("select 1; select 'a"), ["select 1", "select "]);
        let text = b"select 1; select '\xff'; select 2";
        assert_eq!(statements(text, &LexState::defaults()), [0..8, 10..17]);
    }
}
