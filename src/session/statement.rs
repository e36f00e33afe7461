//! What a policy is shown of a client's message that runs or prepares something.

use crate::route::{Intent, LexState};
use crate::wire::{Frontend, Header, Printable, Reader, tags::frontend as tag};

/// A message of the client's that runs or prepares something.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement<'a> {
    /// A Query.
    Query {
        /// What it runs: one statement, several, or none.
        text: StatementText<'a>,
    },
    /// A Parse.
    Parse {
        /// The name of the prepared statement, empty for the unnamed one; as much of it as is there, if its end is not.
        name: &'a [u8],
        /// What it prepares.
        text: StatementText<'a>,
    },
    /// A Bind.
    Bind {
        /// The portal that it makes.
        portal: &'a [u8],
        /// The prepared statement that it binds.
        statement: &'a [u8],
        /// The text of that statement.
        text: StatementText<'a>,
    },
    /// An Execute.
    Execute {
        /// The portal that it runs.
        portal: &'a [u8],
        /// The text of the prepared statement behind it.
        text: StatementText<'a>,
    },
    /// A FunctionCall.
    FunctionCall {
        /// The function's number in the server's catalog (`pg_proc.oid`); `None` if the message is malformed.
        function: Option<u32>,
    },
}

/// The text of a statement, as far as it can be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementText<'a> {
    /// All of it, in the client's encoding, without the NUL that ends it.
    Whole(&'a [u8]),
    /// Of a Bind or an Execute: what it runs was not prepared by a Parse that could be remembered. It may be prepared or
    /// declared in SQL, longer than what is remembered, or not there.
    Unknown,
    /// The message does not fit the read buffer ([`Limits::read_buffer`](super::Limits::read_buffer)); of a Bind or
    /// an Execute, the names in it do not, and are not shown either. A server could take it.
    TooLong,
    /// The message is malformed. A server refuses it.
    Malformed,
}

impl<'a> Statement<'a> {
    /// The text that the message brings or runs; `None` for a FunctionCall, which has none.
    #[must_use]
    pub fn text(&self) -> Option<StatementText<'a>> {
        match self {
            Statement::Query { text }
            | Statement::Parse { text, .. }
            | Statement::Bind { text, .. }
            | Statement::Execute { text, .. } => Some(*text),
            Statement::FunctionCall { .. } => None,
        }
    }

    /// How many bytes of a message have to be there to be shown, with its header; `None` if it is not to be shown.
    pub(super) fn needs(header: Header, read_buffer: usize) -> Option<usize> {
        let most = match header.tag {
            tag::QUERY | tag::PARSE | tag::BIND | tag::EXECUTE => read_buffer,
            tag::FUNCTION_CALL => Header::LEN.saturating_add(size_of::<u32>()),
            _ => return None,
        };
        let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
        Some(frame.min(most))
    }

    /// Reads a message of which these bytes of its body are there, all of them or not. The text of a prepared statement
    /// is looked up elsewhere.
    pub(super) fn read(frame: u8, body: &'a [u8], whole: bool) -> Option<Statement<'a>> {
        let lacking = match whole {
            true => StatementText::Malformed,
            false => StatementText::TooLong,
        };
        match frame {
            tag::QUERY => Some(Statement::Query {
                text: text_in(frame, body, lacking),
            }),
            tag::PARSE => Some(Statement::Parse {
                name: first(body).unwrap_or(body),
                text: text_in(frame, body, lacking),
            }),
            tag::BIND => {
                let names = bind_names(body);
                let (portal, statement) = names.unwrap_or_default();
                Some(Statement::Bind {
                    portal,
                    statement,
                    text: names.map_or(lacking, |_| StatementText::Unknown),
                })
            }
            tag::EXECUTE => Some(Statement::Execute {
                portal: first(body).unwrap_or_default(),
                text: first(body).map_or(lacking, |_| StatementText::Unknown),
            }),
            tag::FUNCTION_CALL => {
                let number = body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                Some(Statement::FunctionCall { function: number })
            }
            _ => None,
        }
    }

    /// The same with the text of the prepared statement that it uses.
    pub(super) fn with_text(self, text: StatementText<'a>) -> Statement<'a> {
        match self {
            Statement::Query { .. } => Statement::Query { text },
            Statement::Parse { name, .. } => Statement::Parse { name, text },
            Statement::Bind {
                portal, statement, ..
            } => Statement::Bind {
                portal,
                statement,
                text,
            },
            Statement::Execute { portal, .. } => Statement::Execute { portal, text },
            Statement::FunctionCall { function } => Statement::FunctionCall { function },
        }
    }
}

/// The text that a whole Query or Parse brings.
fn text_in<'a>(frame: u8, body: &'a [u8], lacking: StatementText<'a>) -> StatementText<'a> {
    if lacking == StatementText::TooLong {
        return lacking;
    }
    match Frontend::parse(frame, body) {
        Ok(Frontend::Query(query)) => StatementText::Whole(query.text),
        Ok(Frontend::Parse(parse)) => StatementText::Whole(parse.text),
        Ok(_) | Err(_) => lacking,
    }
}

/// The name that a body begins with, if its end is there.
fn first(body: &[u8]) -> Option<&[u8]> {
    Reader::new("name", body).cstr("name").ok()
}

/// Shows its length.
impl std::fmt::Debug for StatementText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatementText::Whole(text) => write!(f, "<{} bytes>", text.len()),
            StatementText::Unknown => f.write_str("Unknown"),
            StatementText::TooLong => f.write_str("TooLong"),
            StatementText::Malformed => f.write_str("Malformed"),
        }
    }
}

/// Shows names, and the text's length.
impl std::fmt::Debug for Statement<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Statement::Query { text } => f.debug_struct("Query").field("text", text).finish(),
            Statement::Parse { name, text } => f
                .debug_struct("Parse")
                .field("name", &Printable(name))
                .field("text", text)
                .finish(),
            Statement::Bind {
                portal,
                statement,
                text,
            } => f
                .debug_struct("Bind")
                .field("portal", &Printable(portal))
                .field("statement", &Printable(statement))
                .field("text", text)
                .finish(),
            Statement::Execute { portal, text } => f
                .debug_struct("Execute")
                .field("portal", &Printable(portal))
                .field("text", text)
                .finish(),
            Statement::FunctionCall { function } => f
                .debug_struct("FunctionCall")
                .field("function", function)
                .finish(),
        }
    }
}

/// What is known of a statement that is to be sent on.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct StatementFacts<'a> {
    /// The message, with its text.
    pub statement: Statement<'a>,
    /// What it asks for, of the class [`Class::Unreadable`](crate::route::Class::Unreadable) if a text is not there. A text
    /// with backslashes or bytes beyond ASCII means what the client's settings make of it, so it waits for the answers of
    /// requests that could change them; within a batch none may come, and then only what holds under any settings is said.
    /// A Bind or an Execute asks for what its statement did when it was prepared.
    pub intent: &'a Intent,
    /// How the server reads texts, as far as that is known now.
    pub lex: LexState,
    /// The user of the StartupMessage. `SET ROLE` and `SET SESSION AUTHORIZATION` change nothing in that.
    pub user: &'a [u8],
    /// The database of the session.
    pub database: &'a [u8],
    /// The number of its request, as in [`Event::RequestBegan`](super::Event::RequestBegan).
    pub request: u64,
}

/// Shows names, and the text's length.
impl std::fmt::Debug for StatementFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatementFacts")
            .field("statement", &self.statement)
            .field("class", &self.intent.class)
            .field("user", &Printable(self.user))
            .field("database", &Printable(self.database))
            .field("request", &self.request)
            .finish()
    }
}

/// The portal and the statement that a Bind names, though the rest of it may be missing.
pub(super) fn bind_names(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new("Bind", body);
    let portal = reader.cstr("portal").ok()?;
    let statement = reader.cstr("statement").ok()?;
    Some((portal, statement))
}
