//! What the readers of answers have in common.
//!
//! A reader is shown every message that its server sends, twice at most: its header, which decides what becomes of it,
//! and its body if the reader asks for that. So a message of the client's passes as it comes, whatever its size, and
//! nothing that is not ours is held.

use crate::error::Malformed;
use crate::limits::MIGRATION_ANSWER_MAX;
use crate::wire::tags::backend as tags;
use crate::wire::{Fields, Header, SqlState, TransactionStatus};

/// A ReadyForQuery, with its header: it has one byte.
const READY_LEN: usize = Header::LEN.saturating_add(1);

/// What becomes of a message of which the header is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It answers an earlier request of the client: forward it unchanged.
    Client,
    /// A notice, a parameter or a notification, which answers nothing. From the old server it is the client's; from a
    /// new one nobody hears of it but whoever keeps its parameters.
    Aside,
    /// It is ours, and nobody wants to see it: drop it, as it comes.
    Discard,
    /// It is ours: show its whole body, then drop it, whatever comes of it, unless that is [`Heard::Farewell`].
    Body,
}

/// What a message has meant whose body was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<T> {
    /// More of the answer is to come.
    More,
    /// The server ends the session. The message is not ours alone: from the old server it is the client's.
    Farewell(Option<SqlState>),
    /// The answer is complete, up to its ReadyForQuery.
    Done(T),
}

/// A server's answer is not what it must be: its stream is not understood from here on.
///
/// It names the place and the cause, and holds no byte of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// A body that cannot be read.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// Another message than the one that has to come.
    #[error("a message of type {} where {awaited} was awaited", char::from(*.tag).escape_default())]
    Unexpected {
        /// Its type.
        tag: u8,
        /// What had to come.
        awaited: &'static str,
    },
    /// A message that is longer than it can be.
    #[error("a message of more than {limit} bytes where {awaited} was awaited")]
    TooLong {
        /// What had to come.
        awaited: &'static str,
        /// The most that it may have, in bytes.
        limit: usize,
    },
    /// The right message with something else in it.
    #[error("{what} is not what was asked for")]
    Content {
        /// The part that is wrong.
        what: &'static str,
    },
    /// ReadyForQuery with a transaction that nobody has begun.
    #[error("the answer ends with the transaction status {status:?}")]
    NotIdle {
        /// The status.
        status: TransactionStatus,
    },
    /// A message behind the end of the answer.
    #[error("the answer has ended")]
    Ended,
}

/// Whether a message of this type comes unasked.
pub(super) fn is_aside(tag: u8) -> bool {
    matches!(
        tag,
        tags::NOTICE_RESPONSE | tags::PARAMETER_STATUS | tags::NOTIFICATION_RESPONSE
    )
}

/// Whether a message of an answer is no longer than one of its type can be, a row apart.
///
/// Most are of one length. One that says another would be waited for, and what the server says next would be taken for
/// the rest of it.
pub(super) fn fits(header: Header, awaited: &'static str) -> Result<(), AnswerFault> {
    let limit = match header.tag {
        tags::PARSE_COMPLETE | tags::BIND_COMPLETE | tags::CLOSE_COMPLETE => Header::LEN,
        tags::READY_FOR_QUERY => READY_LEN,
        _ => MIGRATION_ANSWER_MAX,
    };
    match usize::try_from(header.frame_len).is_ok_and(|len| len <= limit) {
        true => Ok(()),
        false => Err(AnswerFault::TooLong { awaited, limit }),
    }
}

/// Whether an answer ends outside of a transaction, as each does that nobody has begun one in.
pub(super) fn idle(status: TransactionStatus) -> Result<(), AnswerFault> {
    match status {
        TransactionStatus::Idle => Ok(()),
        TransactionStatus::InTransaction | TransactionStatus::Failed => {
            Err(AnswerFault::NotIdle { status })
        }
    }
}

/// What an ErrorResponse says of itself.
pub(super) enum Failure {
    /// The statement failed.
    Statement(Option<SqlState>),
    /// The session ends.
    Session(Option<SqlState>),
}

pub(super) fn failure(fields: &Fields<'_>) -> Failure {
    let state = fields.sqlstate();
    if fields.is_fatal() {
        Failure::Session(state)
    } else {
        Failure::Statement(state)
    }
}

/// An SQLSTATE in brackets, or nothing.
pub(super) fn shown(state: Option<SqlState>) -> String {
    state.map_or_else(String::new, |state| format!(" ({state})"))
}
