//! One query of ours with one row, in the extended protocol: the messages, and the reader of its answer.

use std::fmt;

use bytes::BytesMut;

use super::super::reply::{
    AnswerFault, Failure, Heard, Look, failure, fits, idle, is_aside, shown,
};
use super::PROBE_STATEMENT;
use super::array;
use crate::error::{Malformed, TooLong};
use crate::limits::PROBE_ROW_MAX;
use crate::wire::tags::backend as tags;
use crate::wire::{
    Backend, Bind, Close, Execute, Formats, Frontend, Header, ParamTypes, Parse, SqlState, Target,
    Values,
};

/// Appends a query with one parameter, an array of text, in a statement of its own, which is closed behind a Sync of
/// its own: whatever fails, nothing of it stays, and the client's unnamed statement is not touched.
pub(super) fn write<'t>(
    text: &str,
    parameter: impl ExactSizeIterator<Item = &'t [u8]>,
    out: &mut BytesMut,
) -> Result<(), TooLong> {
    let before = out.len();
    let mut value = BytesMut::new();
    array::write(parameter, &mut value);
    let name = PROBE_STATEMENT;
    let values = [Some(&value[..])];
    let messages = [
        Frontend::Parse(Parse {
            name,
            text: text.as_bytes(),
            types: ParamTypes::new(&[array::TEXT_ARRAY]),
        }),
        Frontend::Bind(Bind {
            portal: b"",
            statement: name,
            formats: Formats::new(&[1]),
            values: Values::new(&values),
            result_formats: Formats::new(&[1]),
        }),
        Frontend::Execute(Execute {
            portal: b"",
            max_rows: 0,
        }),
        Frontend::Sync,
        Frontend::Close(Close {
            kind: Target::Statement,
            name,
        }),
        Frontend::Sync,
    ];
    for message in messages {
        if let Err(misfit) = message.encode(out) {
            out.truncate(before);
            return Err(misfit);
        }
    }
    Ok(())
}

/// Why a query of ours has no result. The session is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailed {
    /// A statement of it failed.
    Failed(Option<SqlState>),
    /// There was no row.
    NoRow,
    /// The row is longer than it may be.
    TooLarge {
        /// Its size, in bytes.
        bytes: u32,
    },
    /// The row cannot be read: it is no server that the query is made for.
    Unreadable(Malformed),
}

impl ProbeFailed {
    /// Whether a probe without the cluster's identity may do better: the user may not ask for it, or the server has
    /// nothing of the kind.
    #[must_use]
    pub fn may_be_for_its_identity(&self) -> bool {
        match self {
            // insufficient_privilege, undefined_function, and feature_not_supported
            ProbeFailed::Failed(Some(SqlState(code))) => {
                matches!(code, b"42501" | b"42883" | b"0A000")
            }
            ProbeFailed::Failed(None)
            | ProbeFailed::NoRow
            | ProbeFailed::TooLarge { .. }
            | ProbeFailed::Unreadable(_) => false,
        }
    }
}

impl fmt::Display for ProbeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeFailed::Failed(state) => write!(f, "the probe failed{}", shown(*state)),
            ProbeFailed::NoRow => f.write_str("the probe found nothing"),
            ProbeFailed::TooLarge { bytes } => {
                write!(f, "the probe found too much: {bytes} bytes")
            }
            ProbeFailed::Unreadable(what) => write!(f, "the probe cannot be read: {what}"),
        }
    }
}

impl std::error::Error for ProbeFailed {}

/// How far an answer is. Each phase waits for the message of its name.
#[derive(Debug)]
enum Phase<T> {
    ParseComplete,
    BindComplete,
    DataRow,
    CommandComplete(Result<T, ProbeFailed>),
    FirstReady(Result<T, ProbeFailed>),
    CloseComplete(Result<T, ProbeFailed>),
    SecondReady(Result<T, ProbeFailed>),
    Over,
}

impl<T> Phase<T> {
    fn awaited(&self) -> &'static str {
        match self {
            Phase::ParseComplete => "ParseComplete of a probe",
            Phase::BindComplete => "BindComplete of a probe",
            Phase::DataRow => "the row of a probe",
            Phase::CommandComplete(_) => "CommandComplete of a probe",
            Phase::FirstReady(_) => "ReadyForQuery behind a probe",
            Phase::CloseComplete(_) => "CloseComplete of a probe",
            Phase::SecondReady(_) => "ReadyForQuery behind a probe's Close",
            Phase::Over => "nothing",
        }
    }

    fn takes(&self, tag: u8) -> bool {
        match self {
            Phase::ParseComplete => tag == tags::PARSE_COMPLETE,
            Phase::BindComplete => tag == tags::BIND_COMPLETE,
            Phase::DataRow => tag == tags::DATA_ROW || tag == tags::COMMAND_COMPLETE,
            Phase::CommandComplete(_) => tag == tags::COMMAND_COMPLETE,
            Phase::FirstReady(_) | Phase::SecondReady(_) => tag == tags::READY_FOR_QUERY,
            Phase::CloseComplete(_) => tag == tags::CLOSE_COMPLETE,
            Phase::Over => false,
        }
    }
}

/// Reads the answer to a query of one row. What the row means is its user's affair.
#[derive(Debug)]
pub(super) struct RowReader<T> {
    phase: Phase<T>,
    row_bytes: Option<u32>,
}

impl<T> RowReader<T> {
    pub(super) fn new() -> RowReader<T> {
        RowReader {
            phase: Phase::ParseComplete,
            row_bytes: None,
        }
    }

    /// The size of the row, once it has come.
    pub(super) fn row_bytes(&self) -> Option<u32> {
        self.row_bytes
    }

    pub(super) fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        let Header { tag, frame_len } = header;
        let awaited = self.phase.awaited();
        if matches!(self.phase, Phase::Over) {
            return Err(AnswerFault::Ended);
        }
        if is_aside(tag) {
            return Ok(Look::Aside);
        }
        if !self.phase.takes(tag) && tag != tags::ERROR_RESPONSE {
            self.phase = Phase::Over;
            return Err(AnswerFault::Unexpected { tag, awaited });
        }
        let len = usize::try_from(frame_len).unwrap_or(usize::MAX);
        if tag == tags::DATA_ROW {
            self.row_bytes = Some(frame_len);
            if len > PROBE_ROW_MAX {
                let bytes = frame_len;
                self.phase = Phase::CommandComplete(Err(ProbeFailed::TooLarge { bytes }));
                return Ok(Look::Discard);
            }
        } else if let Err(fault) = fits(header, awaited) {
            self.phase = Phase::Over;
            return Err(fault);
        }
        Ok(Look::Body)
    }

    pub(super) fn body(
        &mut self,
        tag: u8,
        body: &[u8],
        read: impl FnOnce(Values<'_>) -> Result<T, Malformed>,
    ) -> Result<Heard<Result<T, ProbeFailed>>, AnswerFault> {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let awaited = phase.awaited();
        self.phase = match (phase, Backend::parse(tag, body)?) {
            (Phase::Over, _) => return Err(AnswerFault::Ended),
            (phase, Backend::ErrorResponse(fields)) => match failure(&fields) {
                Failure::Session(state) => return Ok(Heard::Farewell(state)),
                Failure::Statement(state) => failed(phase, state),
            },
            (Phase::ParseComplete, Backend::ParseComplete) => Phase::BindComplete,
            (Phase::BindComplete, Backend::BindComplete) => Phase::DataRow,
            (Phase::DataRow, Backend::DataRow { values }) => {
                Phase::CommandComplete(read(values).map_err(ProbeFailed::Unreadable))
            }
            (Phase::DataRow, Backend::CommandComplete { .. }) => {
                Phase::FirstReady(Err(ProbeFailed::NoRow))
            }
            (Phase::CommandComplete(found), Backend::CommandComplete { .. }) => {
                Phase::FirstReady(found)
            }
            (Phase::FirstReady(found), Backend::ReadyForQuery { status }) => {
                idle(status)?;
                Phase::CloseComplete(found)
            }
            (Phase::CloseComplete(found), Backend::CloseComplete) => Phase::SecondReady(found),
            (Phase::SecondReady(found), Backend::ReadyForQuery { status }) => {
                idle(status)?;
                return Ok(Heard::Done(found));
            }
            (
                Phase::ParseComplete
                | Phase::BindComplete
                | Phase::DataRow
                | Phase::CommandComplete(_)
                | Phase::FirstReady(_)
                | Phase::CloseComplete(_)
                | Phase::SecondReady(_),
                _,
            ) => return Err(AnswerFault::Unexpected { tag, awaited }),
        };
        Ok(Heard::More)
    }
}

/// Where an error leads: the server skips to the next Sync.
fn failed<T>(phase: Phase<T>, state: Option<SqlState>) -> Phase<T> {
    let why = Err(ProbeFailed::Failed(state));
    match phase {
        Phase::ParseComplete
        | Phase::BindComplete
        | Phase::DataRow
        | Phase::CommandComplete(_)
        | Phase::FirstReady(_) => Phase::FirstReady(why),
        Phase::CloseComplete(_) | Phase::SecondReady(_) => Phase::SecondReady(why),
        Phase::Over => Phase::Over,
    }
}
