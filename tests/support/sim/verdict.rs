//! What the caller's policy denies in a scenario, and what a server of its own would say to that.
//!
//! Denied are texts with a mark in them, and messages that use a name or a number that nothing else has. So what is
//! denied can be told from the message alone, by the session's policy, by the one server that stands for all, and by
//! the servers that must never hear of it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use pgturnout::session::{Denial, Policy, Statement, StatementFacts, StatementText, Verdict};
use pgturnout::wire::{Frontend, Header, SqlState};

use super::choices::Choices;
use super::event::Event;
use super::message::ClientMessage;

/// The SQLSTATE of a denial, which no server of a scenario says otherwise.
pub(crate) const CODE: &str = "42501";

const MARK: &str = "/* off limits */";
pub(crate) const NAME: &str = "barred";
pub(crate) const FUNCTION: u32 = 1_599;

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
                    true => marked(text),
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

/// A text that is denied.
pub(crate) fn marked(text: &str) -> String {
    format!("{MARK} {text}")
}

fn is_marked(text: &[u8]) -> bool {
    text.windows(MARK.len()).any(|part| part == MARK.as_bytes())
}

/// What a policy was shown that cannot be, in words.
pub(crate) type Misled = Arc<Mutex<Option<String>>>;

/// The session's policy.
pub(crate) struct Judge {
    /// Whether it denies texts that it is not shown.
    strict: bool,
    /// Of portals that were bound, the newest of them, and of the text that was shown of each the hashes: what is remembered here
    /// is held for the session.
    bound: VecDeque<(u64, Option<u64>)>,
    misled: Misled,
}

impl Judge {
    pub(crate) fn new(strict: bool, misled: Misled) -> Judge {
        Judge {
            strict,
            bound: VecDeque::new(),
            misled,
        }
    }

    /// A Bind is let pass, or an Execute comes: the text behind that is the one of the portal's last Bind, or none is known.
    fn follows(&mut self, statement: &Statement<'_>) {
        match *statement {
            // Its names may not have been shown.
            Statement::Bind {
                text: StatementText::TooLong,
                ..
            } => self.bound.clear(),
            Statement::Bind { portal, text, .. } => {
                let portal = hash(portal);
                self.bound.retain(|(known, _)| *known != portal);
                self.bound.push_front((portal, whole(text).map(hash)));
                self.bound.truncate(4);
            }
            Statement::Execute { portal, text } => {
                let portal = hash(portal);
                let bound = self.bound.iter().find(|(known, _)| *known == portal);
                let shown = whole(text);
                let other = bound.is_some_and(|(_, known)| *known != shown.map(hash));
                if let Some(shown) = shown.filter(|_| other) {
                    let shown = shown.escape_ascii();
                    let detail =
                        format!("an Execute is shown to run `{shown}`, which is not bound");
                    let mut misled = self.misled.lock().unwrap_or_else(PoisonError::into_inner);
                    misled.get_or_insert(detail);
                }
            }
            _ => {}
        }
    }
}

fn whole(text: StatementText<'_>) -> Option<&[u8]> {
    match text {
        StatementText::Whole(text) => Some(text),
        _ => None,
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

impl Policy for Judge {
    fn statement(&mut self, facts: &StatementFacts<'_>) -> Verdict {
        let denied = match facts.statement {
            Statement::Parse { name, .. } if name == NAME.as_bytes() => true,
            Statement::Query { text } | Statement::Parse { text, .. } => match text {
                StatementText::Whole(text) => is_marked(text),
                StatementText::TooLong => self.strict,
                _ => false,
            },
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
            false => {
                self.follows(&facts.statement);
                Verdict::Allow
            }
        }
    }
}

/// Whether a message of a client's is denied by a policy that is shown so much of it.
pub(crate) fn denies(tag: u8, body: &[u8], Shown { held, strict }: Shown) -> bool {
    let is_long = body.len().saturating_add(Header::LEN) > held;
    let denies_text = |text: &[u8]| match is_long {
        true => strict,
        false => is_marked(text),
    };
    match Frontend::parse(tag, body) {
        Ok(Frontend::Query(query)) => denies_text(query.text),
        Ok(Frontend::Parse(parse)) => parse.name == NAME.as_bytes() || denies_text(parse.text),
        Ok(Frontend::Bind(bind)) => bind.statement == NAME.as_bytes(),
        Ok(Frontend::Execute(execute)) => execute.portal == NAME.as_bytes(),
        Ok(Frontend::FunctionCall(call)) => call.function == FUNCTION,
        Ok(_) | Err(_) => false,
    }
}

/// What a policy is shown of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The longest frame that it is shown the text of.
    pub(crate) held: usize,
    /// Whether it denies longer ones.
    pub(crate) strict: bool,
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
