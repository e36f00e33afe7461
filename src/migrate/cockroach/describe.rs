//! What a session's prepared statements are on a server: asked of the old one and of the new one, and compared.
//!
//! A new server that cannot plan a statement of a state keeps that to itself, and says that it has taken all of it in.

use std::hash::{DefaultHasher, Hasher};

use bytes::BytesMut;

use super::super::reply::{AnswerFault, Failure, Heard, Look, failure, fits, idle, is_aside};
use crate::error::TooLong;
use crate::limits::TRANSFER_STATE_MAX;
use crate::wire::tags::backend as tags;
use crate::wire::{Backend, Columns, Describe, Frontend, Header, SqlState, Target};

/// What a server says of a prepared statement: its parameters and its columns, or that it has none to describe. Two are equal if
/// the servers have said the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description(Said);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// A digest of what the two messages say to a client.
    Shape(u64),
    Fails(Option<SqlState>),
}

impl Description {
    /// Whether the server has refused to describe it.
    #[must_use]
    pub fn fails(&self) -> bool {
        match self.0 {
            Said::Shape(_) => false,
            Said::Fails(_) => true,
        }
    }
}

/// Appends the request to describe these statements: for each a Describe and a Sync, so that one that fails hides no other.
///
/// # Errors
/// A name that fits no message.
pub fn describe<'n>(
    names: impl IntoIterator<Item = &'n [u8]>,
    out: &mut BytesMut,
) -> Result<(), TooLong> {
    let before = out.len();
    for name in names {
        let kind = Target::Statement;
        let describe = Frontend::Describe(Describe { kind, name });
        for message in [describe, Frontend::Sync] {
            if let Err(misfit) = message.encode(out) {
                out.truncate(before);
                return Err(misfit);
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Parameters,
    /// With a digest of the parameters.
    Columns(u64),
    Ready(Said),
    Over,
}

impl Phase {
    fn awaited(self) -> &'static str {
        match self {
            Phase::Parameters => "the parameters of a statement",
            Phase::Columns(_) => "the columns of a statement",
            Phase::Ready(_) => "ReadyForQuery behind a description",
            Phase::Over => "nothing",
        }
    }

    /// Whether, beside an error, a message may be of this type.
    fn takes(self, tag: u8) -> bool {
        match self {
            Phase::Parameters => tag == tags::PARAMETER_DESCRIPTION,
            Phase::Columns(_) => matches!(tag, tags::ROW_DESCRIPTION | tags::NO_DATA),
            Phase::Ready(_) => tag == tags::READY_FOR_QUERY,
            Phase::Over => false,
        }
    }
}

/// Reads the answers to [`describe`] out of what a server sends. Used as [`StateReader`](super::StateReader).
#[derive(Debug)]
pub struct DescribeReader {
    left: usize,
    phase: Phase,
    said: Vec<Description>,
}

impl DescribeReader {
    /// A reader behind a request for so many statements, of which there is one at least.
    #[must_use]
    pub fn new(statements: usize) -> DescribeReader {
        let phase = match statements {
            0 => Phase::Over,
            _ => Phase::Parameters,
        };
        DescribeReader {
            left: statements,
            phase,
            said: Vec::with_capacity(statements),
        }
    }

    /// A message with this header comes.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        let (tag, awaited) = (header.tag, self.phase.awaited());
        if self.phase == Phase::Over {
            return Err(AnswerFault::Ended);
        }
        if is_aside(tag) {
            return Ok(Look::Aside);
        }
        if !self.phase.takes(tag) && tag != tags::ERROR_RESPONSE {
            self.phase = Phase::Over;
            return Err(AnswerFault::Unexpected { tag, awaited });
        }
        let fits = match tag {
            tags::PARAMETER_DESCRIPTION | tags::ROW_DESCRIPTION => within(header, awaited),
            _ => fits(header, awaited),
        };
        match fits {
            Ok(()) => Ok(Look::Body),
            Err(fault) => {
                self.phase = Phase::Over;
                Err(fault)
            }
        }
    }

    /// The body of a message that was asked for. The answer is a description of each statement, in the order of the request.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn body(&mut self, tag: u8, body: &[u8]) -> Result<Heard<Vec<Description>>, AnswerFault> {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.phase = match (phase, Backend::parse(tag, body)?) {
            (Phase::Over, _) => return Err(AnswerFault::Ended),
            (_, Backend::ErrorResponse(fields)) => match failure(&fields) {
                Failure::Session(state) => return Ok(Heard::Farewell(state)),
                Failure::Statement(state) => Phase::Ready(Said::Fails(state)),
            },
            (Phase::Parameters, Backend::ParameterDescription { .. }) => {
                Phase::Columns(digest(0, tag, body))
            }
            (Phase::Columns(before), Backend::RowDescription { columns }) => {
                Phase::Ready(Said::Shape(digest_of_columns(before, columns)))
            }
            (Phase::Columns(before), Backend::NoData) => {
                Phase::Ready(Said::Shape(digest(before, tag, body)))
            }
            (Phase::Ready(said), Backend::ReadyForQuery { status }) => {
                idle(status)?;
                return Ok(self.next(said));
            }
            (Phase::Parameters | Phase::Columns(_) | Phase::Ready(_), _) => {
                let awaited = phase.awaited();
                return Err(AnswerFault::Unexpected { tag, awaited });
            }
        };
        Ok(Heard::More)
    }

    /// A statement is described, up to its ReadyForQuery.
    fn next(&mut self, said: Said) -> Heard<Vec<Description>> {
        self.said.push(Description(said));
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Heard::Done(std::mem::take(&mut self.said));
        }
        self.phase = Phase::Parameters;
        Heard::More
    }
}

/// Whether a description is no longer than what is read of a session anyway.
fn within(header: Header, awaited: &'static str) -> Result<(), AnswerFault> {
    let limit = TRANSFER_STATE_MAX;
    match usize::try_from(header.frame_len).is_ok_and(|len| len <= limit) {
        true => Ok(()),
        false => Err(AnswerFault::TooLong { awaited, limit }),
    }
}

/// Of columns behind parameters, without the table and the number in it where they come from: CockroachDB's virtual tables have
/// other OIDs from version to version, and a statement is no other for that.
fn digest_of_columns(before: u64, columns: Columns<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(before);
    for column in columns.iter() {
        hasher.write_usize(column.name.len());
        hasher.write(column.name);
        hasher.write_u32(column.type_oid);
        hasher.write_i16(column.type_size);
        hasher.write_i32(column.type_modifier);
        hasher.write_i16(column.format);
    }
    hasher.finish()
}

/// Of a message behind others. It is compared within one process, and no key makes it differ from run to run.
fn digest(before: u64, tag: u8, body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(before);
    hasher.write_u8(tag);
    hasher.write(body);
    hasher.finish()
}
