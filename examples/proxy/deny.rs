//! Statements that no client may run, by their first words.

use pgturnout::route::{Class, LexState, outline, statements};
use pgturnout::session::{Denial, Policy, StatementFacts, StatementText, Verdict};

/// The policy that `--deny-statement` makes.
///
/// It looks at each statement of each Query and Parse. What functions, `DO`, `PREPARE` and `EXPLAIN` hold it does not look
/// into, so it keeps people from mistakes; privileges keep them from everything else.
#[derive(Clone)]
pub(crate) struct Deny {
    /// First words, in small letters with one space between them.
    beginnings: Vec<String>,
}

impl Deny {
    /// Denies statements that begin with one of these; nothing if there are none.
    pub(crate) fn new<'a>(beginnings: impl IntoIterator<Item = &'a str>) -> Option<Deny> {
        let words = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            words.join(" ").to_lowercase()
        };
        let beginnings: Vec<String> = beginnings.into_iter().map(words).collect();
        (!beginnings.is_empty()).then_some(Deny { beginnings })
    }

    /// The beginning that one statement of a text has.
    fn found(&self, text: &[u8], lex: &LexState) -> Option<&str> {
        statements(text, lex).into_iter().find_map(|place| {
            let shown = outline(text.get(place)?, lex).to_lowercase();
            let mut all = self.beginnings.iter();
            let found = all.find(|words| {
                let rest = shown.strip_prefix(words.as_str());
                let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                rest.is_some_and(|rest| !rest.starts_with(is_word))
            });
            found.map(String::as_str)
        })
    }
}

impl Policy for Deny {
    fn statement(&mut self, facts: &StatementFacts<'_>) -> Verdict {
        let text = match facts.statement.text() {
            Some(StatementText::Whole(text)) => text,
            Some(StatementText::TooLong) => {
                return Verdict::Deny(Denial::new("the statement is too long to be looked at"));
            }
            // What was prepared was looked at then, and what is malformed a server refuses.
            Some(_) | None => return Verdict::Allow,
        };
        if let Some(words) = self.found(text, &facts.lex) {
            let words = words.to_uppercase();
            return Verdict::Deny(
                Denial::new(format!("statements that begin with {words} are denied"))
                    .with_detail("The proxy was started with --deny-statement."),
            );
        }
        match facts.intent.class {
            Class::Unreadable => {
                Verdict::Deny(Denial::new("the statement cannot be read for certain"))
            }
            _ => Verdict::Allow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_count_in_each_statement() {
        let deny = Deny::new(["drop", "Alter  System"]).expect("two of them");
        let found = |text: &str| deny.found(text.as_bytes(), &LexState::defaults());
        assert_eq!(found("DROP table t"), Some("drop"));
        assert_eq!(found("/* a */ drop--b\n table t"), Some("drop"));
        let late = format!("select {}; drop table t", "a, ".repeat(500));
        assert_eq!(found(&late), Some("drop"));
        assert_eq!(found("alter\nsystem set a = 1"), Some("alter system"));
        for text in [
            "alter table t add a int",
            "select 'x; drop table t'",
            "drops",
            "drop_it",
            "\"drop\"",
            "select 1; -- drop",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert!(Deny::new([]).is_none());
    }
}
