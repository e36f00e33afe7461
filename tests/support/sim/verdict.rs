//! What the caller's policy denies in a scenario, and what a server of its own would say to that.
//!
//! Denied are texts with a mark in them, and messages that use a name or a number that nothing else has. So what is
//! denied can be told from the message alone, by the session's policy, by the one server that stands for all, and by
//! the servers that must never hear of it.

use pgturnout::session::{Denial, Policy, Statement, StatementFacts, StatementText, Verdict};
use pgturnout::wire::{Frontend, SqlState};

use super::choices::Choices;
use super::event::Event;
use super::message::ClientMessage;

/// The SQLSTATE of a denial, which no server of a scenario says otherwise.
pub(crate) const CODE: &str = "42501";

const MARK: &str = "/* off limits */";
const NAME: &str = "barred";
const FUNCTION: u32 = 1_599;

/// What servers are sent in the place of what is denied.
const WORDS: &[u8] = b"denied by a policy of the proxy";

/// Makes some of what a client says something that is denied.
pub(crate) fn mark(events: &mut [Event], choices: &mut Choices<'_>) {
    for event in events {
        let Event::Say(message) = event else {
            continue;
        };
        match message {
            ClientMessage::Query(text) | ClientMessage::Parse { text, .. }
                if choices.percent(15) =>
            {
                // In front of it or behind, where it may be a part of a literal or a comment.
                *text = match choices.percent(50) {
                    true => format!("{MARK} {text}"),
                    false => format!("{text} {MARK}"),
                };
            }
            ClientMessage::Bind { statement, .. } if choices.percent(8) => {
                *statement = NAME.to_owned();
            }
            ClientMessage::Execute { portal, .. } if choices.percent(8) => {
                *portal = NAME.to_owned();
            }
            ClientMessage::FunctionCall(function) if choices.percent(40) => *function = FUNCTION,
            _ => {}
        }
    }
}

fn is_marked(text: &[u8]) -> bool {
    text.windows(MARK.len()).any(|part| part == MARK.as_bytes())
}

/// The session's policy.
pub(crate) struct Judge;

impl Policy for Judge {
    fn statement(&mut self, facts: &StatementFacts<'_>) -> Verdict {
        let denied = match facts.statement {
            Statement::Query { text } | Statement::Parse { text, .. } => {
                matches!(text, StatementText::Whole(text) if is_marked(text))
            }
            Statement::Bind { statement, .. } => statement == NAME.as_bytes(),
            Statement::Execute { portal, .. } => portal == NAME.as_bytes(),
            Statement::FunctionCall { function } => function == Some(FUNCTION),
            _ => false,
        };
        match denied {
            true => {
                let state = CODE.as_bytes().try_into().expect("five bytes");
                Verdict::Deny(Denial::new("off limits").with_sqlstate(SqlState(state)))
            }
            false => Verdict::Allow,
        }
    }
}

/// Whether a message of a client's is denied.
pub(crate) fn denies(tag: u8, body: &[u8]) -> bool {
    match Frontend::parse(tag, body) {
        Ok(Frontend::Query(query)) => is_marked(query.text),
        Ok(Frontend::Parse(parse)) => is_marked(parse.text),
        Ok(Frontend::Bind(bind)) => bind.statement == NAME.as_bytes(),
        Ok(Frontend::Execute(execute)) => execute.portal == NAME.as_bytes(),
        Ok(Frontend::FunctionCall(call)) => call.function == FUNCTION,
        Ok(_) | Err(_) => false,
    }
}

/// Whether a message of ours stands in the place of a denied one.
pub(crate) fn stands_in(tag: u8, body: &[u8]) -> bool {
    let named = |name: &[u8]| name.starts_with(WORDS) && name.len() > WORDS.len();
    match Frontend::parse(tag, body) {
        Ok(Frontend::Query(query)) => query.text == WORDS,
        Ok(Frontend::Parse(parse)) => {
            parse.text == WORDS && (parse.name.is_empty() || named(parse.name))
        }
        Ok(Frontend::Bind(bind)) => named(bind.statement),
        Ok(Frontend::Execute(execute)) => named(execute.portal),
        Ok(Frontend::FunctionCall(call)) => call.function == 0,
        Ok(_) | Err(_) => false,
    }
}
