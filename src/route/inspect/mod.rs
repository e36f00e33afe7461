//! A second opinion on a text, from a parser: the tables it uses, and doubts about names cleared.
//!
//! [`inspect`] runs `sqlparser` on texts that [`scan`](super::scan()) has read and measured first. A parser that builds
//! a tree is recursive, was seen to take exponential time on short texts, and disagrees with the server about some
//! literals, so it sees only texts within [limits](mod@crate::limits) under which neither can happen, and its opinion is
//! asked on two points only. It may show that a name before a parenthesis is the alias of a table with a column list
//! and nothing else; then the scan is repeated with that knowledge. It never decides where a statement ends, and it
//! never makes a read of what the scan knows to be a write.
//!
//! ```
//! use pgturnout::route::inspect::{inspect, Operation, View};
//! use pgturnout::route::{Class, LexState, Rules};
//! let found = inspect(b"insert into audit select * from app.job j(id)", &LexState::defaults(), &Rules::default());
//! let View::Parsed(tables) = &found.view else { panic!("within the limits") };
//! let names: Vec<_> = tables.iter().map(|table| table.to_string()).collect();
//! assert_eq!(names, ["audit: insert", "app.job: select"]);
//! assert!(tables[0].operations.contains(Operation::Insert));
//! assert_eq!(found.intent.class, Class::Write);
//! ```

mod guard;
mod tables;

use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::boundaries::statements;
use super::encoding::LexState;
use super::intent::{Class, Intent, Reason, Why};
use super::rules::Rules;
use super::scan::{scan, scan_knowing};
pub use super::tables::{Operation, Operations, TableUse, Unparsed, View};
use crate::limits;

/// What [`inspect`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What the text asks for, doubts about aliases cleared.
    pub intent: Intent,
    /// The tables it uses, or why that is not known.
    pub view: View,
}

/// Scans a text, and parses it if it is safe to: each statement by itself, of which the scan says where it ends. The tables
/// of several are one list, and known if all of them are.
///
/// Costs a few microseconds for a short statement. Names of tables are text of the client's: this is the one place
/// that shows them.
#[must_use]
pub fn inspect(sql: &[u8], lex: &LexState, rules: &Rules) -> Inspection {
    let intent = scan(sql, lex, rules);
    let unparsed = |intent, why| Inspection {
        intent,
        view: View::Unparsed(why),
    };
    let text = match guard::admit(sql, lex, &intent) {
        Ok(text) => text,
        Err(why) => return unparsed(intent, why),
    };
    let parsed: Result<Vec<Statement>, Unparsed> = statements(sql, lex)
        .into_iter()
        .map(|place| parse(text.get(place).unwrap_or_default()))
        .collect();
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(Unparsed::Disagreement) => {
            return unparsed(disagreement(intent), Unparsed::Disagreement);
        }
        Err(why) => return unparsed(intent, why),
    };
    let facts = tables::facts(&parsed);
    if intent.class == Class::Read && !facts.may_be_read {
        return unparsed(disagreement(intent), Unparsed::Disagreement);
    }
    let doubtful = parsed.len() == 1
        && intent.class == Class::Unproven
        && intent.reason.why == Why::UnknownFunction;
    let intent = if doubtful && !facts.aliases.is_empty() {
        scan_knowing(sql, lex, rules, &facts.aliases)
    } else {
        intent
    };
    Inspection {
        intent,
        view: View::Parsed(facts.tables),
    }
}

/// Parses a text that holds one statement.
fn parse(text: &str) -> Result<Statement, Unparsed> {
    let parser =
        Parser::new(&PostgreSqlDialect {}).with_recursion_limit(limits::INSPECT_RECURSION_MAX);
    let mut parser = parser.try_with_sql(text).map_err(|_| Unparsed::Syntax)?;
    let mut statements = parser.parse_statements().map_err(|_| Unparsed::Syntax)?;
    match (statements.pop(), statements.pop()) {
        (Some(statement), None) => Ok(statement),
        (Some(_), Some(_)) | (None, _) => Err(Unparsed::Disagreement),
    }
}

/// Two readings of one text: neither is to be trusted.
fn disagreement(intent: Intent) -> Intent {
    let reason = Reason {
        why: Why::Disagreement,
        offset: 0,
        token_len: 0,
    };
    Intent {
        class: Class::Unreadable,
        within: Class::Unreadable,
        reason,
        ..intent
    }
}
