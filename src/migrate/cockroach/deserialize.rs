//! `crdb_internal.deserialize_session` and its answer.

use std::fmt;

use bytes::BytesMut;

use super::super::reply::{
    AnswerFault, Failure, Heard, Look, failure, fits, idle, is_aside, shown,
};
use super::SessionState;
use crate::error::{Misfit, TooLong};
use crate::wire::tags::backend as tags;
use crate::wire::tags::frontend::QUERY;
use crate::wire::{Backend, Header, SqlState};

const HEAD: &[u8] = b"SELECT crdb_internal.deserialize_session(decode('";
const TAIL: &[u8] = b"', 'base64'))";
/// The one column of the answer.
const COLUMN: &[u8] = b"crdb_internal.deserialize_session";
const TAG: &[u8] = b"SELECT 1";

/// Appends the request to take a state in to `out`, as a simple Query. It holds the state: overwrite it once it is sent.
///
/// # Errors
/// None that can happen: a state is base64.
pub fn deserialize_session(state: &SessionState, out: &mut BytesMut) -> Result<(), TooLong> {
    if state.state.expose().contains(&0) {
        return Err(too_long(Misfit::InnerNul));
    }
    // All at once, so that no part of the state is left behind by growing.
    out.reserve(request_len(state));
    deserialize_piece(state, 0, usize::MAX, out).map(|_| ())
}

fn too_long(misfit: Misfit) -> TooLong {
    TooLong {
        message: "Query",
        field: "text",
        misfit,
    }
}

fn request_len(state: &SessionState) -> usize {
    let parts = [HEAD.len(), state.state.expose().len(), TAIL.len(), 1];
    parts.into_iter().fold(Header::LEN, usize::saturating_add)
}

/// Appends at most `room` bytes of that request to `out`, behind the first `from`, and says how many. None are left behind
/// the last.
pub(crate) fn deserialize_piece(
    state: &SessionState,
    from: usize,
    room: usize,
    out: &mut BytesMut,
) -> Result<usize, TooLong> {
    // The length counts itself and not the tag.
    let len = request_len(state).saturating_sub(1);
    let len = i32::try_from(len).map_err(|_| too_long(Misfit::Frame))?;
    let parts: [&[u8]; 6] = [
        &[QUERY],
        &len.to_be_bytes(),
        HEAD,
        state.state.expose(),
        TAIL,
        &[0],
    ];
    let (mut behind, mut left) = (from, room);
    for part in parts {
        let rest = part.get(behind..).unwrap_or_default();
        behind = behind.saturating_sub(part.len());
        let piece = rest.get(..left.min(rest.len())).unwrap_or_default();
        out.extend_from_slice(piece);
        left = left.saturating_sub(piece.len());
    }
    Ok(room.saturating_sub(left))
}

/// Why a new server did not take a state in. The old one has the session still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRestored {
    /// The statement failed.
    Failed(Option<SqlState>),
    /// The server ended the session.
    Ended(Option<SqlState>),
    /// It said false.
    False,
}

impl fmt::Display for NotRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotRestored::Failed(state) => {
                write!(f, "deserialize_session failed{}", shown(*state))
            }
            NotRestored::Ended(state) => {
                write!(f, "the new server ended the session{}", shown(*state))
            }
            NotRestored::False => f.write_str("deserialize_session did not say true"),
        }
    }
}

impl std::error::Error for NotRestored {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Columns,
    Row,
    Tag,
    Ready,
    Failed(NotRestored),
    Over,
}

impl Phase {
    fn awaited(self) -> &'static str {
        match self {
            Phase::Columns => "the column of deserialize_session",
            Phase::Row => "the row of deserialize_session",
            Phase::Tag => "the end of deserialize_session",
            Phase::Ready | Phase::Failed(_) => "ReadyForQuery behind deserialize_session",
            Phase::Over => "nothing",
        }
    }

    /// The one type, beside an error, that a message may have.
    fn tag(self) -> u8 {
        match self {
            Phase::Columns => tags::ROW_DESCRIPTION,
            Phase::Row => tags::DATA_ROW,
            Phase::Tag => tags::COMMAND_COMPLETE,
            Phase::Ready | Phase::Failed(_) | Phase::Over => tags::READY_FOR_QUERY,
        }
    }
}

/// Reads the answer to `deserialize_session` out of what the new server sends. Used as [`StateReader`](super::StateReader);
/// whatever goes wrong, the old server has the session still.
#[derive(Debug)]
pub struct DeserializeReader {
    phase: Phase,
}

impl Default for DeserializeReader {
    fn default() -> DeserializeReader {
        DeserializeReader::new()
    }
}

impl DeserializeReader {
    /// A reader behind the request.
    #[must_use]
    pub fn new() -> DeserializeReader {
        DeserializeReader {
            phase: Phase::Columns,
        }
    }

    /// A message with this header comes.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        let (tag, phase) = (header.tag, self.phase);
        let awaited = phase.awaited();
        if phase == Phase::Over {
            return Err(AnswerFault::Ended);
        }
        if is_aside(tag) {
            return Ok(Look::Aside);
        }
        if tag != phase.tag() && tag != tags::ERROR_RESPONSE {
            self.phase = Phase::Over;
            Err(AnswerFault::Unexpected { tag, awaited })
        } else if let Err(fault) = fits(header, awaited) {
            self.phase = Phase::Over;
            Err(fault)
        } else {
            Ok(Look::Body)
        }
    }

    /// The body of a message that was asked for.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn body(
        &mut self,
        tag: u8,
        body: &[u8],
    ) -> Result<Heard<Result<(), NotRestored>>, AnswerFault> {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let content = |what| AnswerFault::Content { what };
        self.phase = match (phase, Backend::parse(tag, body)?) {
            (Phase::Over, _) => return Err(AnswerFault::Ended),
            (_, Backend::ErrorResponse(fields)) => match failure(&fields) {
                Failure::Session(state) => {
                    return Ok(Heard::Done(Err(NotRestored::Ended(state))));
                }
                Failure::Statement(state) => Phase::Failed(NotRestored::Failed(state)),
            },
            (Phase::Columns, Backend::RowDescription { columns }) => {
                if !columns.iter().map(|column| column.name).eq([COLUMN]) {
                    return Err(content("the column of deserialize_session"));
                }
                Phase::Row
            }
            (Phase::Row, Backend::DataRow { values }) => {
                if values.len() != 1 {
                    return Err(content("the number of values of deserialize_session"));
                }
                if values.iter().eq([Some(&b"t"[..])]) {
                    Phase::Tag
                } else {
                    return Ok(Heard::Done(Err(NotRestored::False)));
                }
            }
            (Phase::Tag, Backend::CommandComplete { tag: TAG }) => Phase::Ready,
            (Phase::Tag, Backend::CommandComplete { .. }) => {
                return Err(content("the command tag of deserialize_session"));
            }
            (Phase::Failed(why), Backend::ReadyForQuery { .. }) => {
                return Ok(Heard::Done(Err(why)));
            }
            (Phase::Ready, Backend::ReadyForQuery { status }) => {
                idle(status)?;
                return Ok(Heard::Done(Ok(())));
            }
            (Phase::Columns | Phase::Row | Phase::Tag | Phase::Ready | Phase::Failed(_), _) => {
                return Err(AnswerFault::Unexpected {
                    tag,
                    awaited: phase.awaited(),
                });
            }
        };
        Ok(Heard::More)
    }
}
