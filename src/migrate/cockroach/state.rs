//! `SHOW TRANSFER STATE WITH '<key>'` and its answer.

use std::fmt;

use bytes::BytesMut;

use super::super::reply::{
    AnswerFault, Failure, Heard, Look, failure, fits, idle, is_aside, shown,
};
use super::TransferKey;
use crate::error::TooLong;
use crate::limits::TRANSFER_STATE_MAX;
use crate::secret::Secret;
use crate::wire::tags::backend as tags;
use crate::wire::{Backend, Columns, Frontend, Header, Query, SqlState, Values};

/// The columns of the answer, in their order.
const COLUMNS: [&[u8]; 4] = [
    b"error",
    b"session_state_base64",
    b"session_revival_token_base64",
    b"transfer_key",
];
/// The command tag of the answer.
const TAG: &[u8] = b"SHOW TRANSFER STATE 1";

/// Appends the request for a session's state to `out`, as a simple Query.
///
/// # Errors
/// None that can happen: a key has no NUL.
pub fn show_transfer_state(key: &TransferKey, out: &mut BytesMut) -> Result<(), TooLong> {
    let text = format!("SHOW TRANSFER STATE WITH '{}'", key.text());
    let query = Query {
        text: text.as_bytes(),
    };
    Frontend::Query(query).encode(out)
}

/// Appends what a session is asked for with once its statements may have been looked at: a simple Query that opens a
/// transaction, and [`show_transfer_state`] behind it. For a [`StateReader::behind_a_transaction`].
///
/// By CockroachDB's source of 2025 (`pkg/sql/prep/cache.go`) a session is not handed out whose statements were added, removed or
/// looked up (by a Describe, by EXECUTE) since its last transaction began, and `SHOW TRANSFER STATE` begins none itself.
///
/// # Errors
/// None that can happen: a key has no NUL.
pub fn begin_and_show_transfer_state(key: &TransferKey, out: &mut BytesMut) -> Result<(), TooLong> {
    Frontend::Query(Query { text: b"SELECT 1" }).encode(out)?;
    show_transfer_state(key, out)
}

/// What a CockroachDB server says of a session so that another one can go on with it.
///
/// Both parts are base64 text and secrets: who has the token can log in as the client's user for ten minutes.
#[derive(Debug)]
pub struct SessionState {
    /// The serialized session.
    pub state: Secret,
    /// The token that lets its user in.
    pub token: Secret,
}

/// What a server cannot serialize, by the text in the column `error` of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cannot {
    /// A transaction is open.
    Transaction,
    /// A portal is open.
    Portals,
    /// Temporary schemas exist.
    TemporarySchemas,
    /// The cluster makes no tokens, or none for this user.
    Token,
    /// The state is larger than the server's setting `sql.session_transfer.max_session_size`.
    TooLarge,
    /// Something else.
    Other,
}

impl Cannot {
    fn of(text: &[u8]) -> Cannot {
        let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
        if has(b"inside a transaction") {
            Cannot::Transaction
        } else if has(b"active portals") {
            Cannot::Portals
        } else if has(b"temporary schemas") {
            Cannot::TemporarySchemas
        } else if has(b"revival tokens") || has(b"create token") {
            Cannot::Token
        } else if has(b"exceeds max allowed size") {
            Cannot::TooLarge
        } else {
            Cannot::Other
        }
    }
}

impl fmt::Display for Cannot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cannot::Transaction => "the session is in a transaction",
            Cannot::Portals => "the session has open portals",
            Cannot::TemporarySchemas => "the session has temporary schemas",
            Cannot::Token => "the server makes no token for this session",
            Cannot::TooLarge => "the server finds the session too large",
            Cannot::Other => "the server cannot serialize the session",
        })
    }
}

/// Why a server did not hand out a state. The session is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateRefused {
    /// The column `error` of the answer says why.
    Cannot(Cannot),
    /// The statement failed: it is no CockroachDB server, or too old a one, or the statement was cancelled.
    Failed(Option<SqlState>),
    /// The state is larger than the reader's limit.
    TooLarge {
        /// The size of the row, in bytes.
        bytes: u32,
    },
    /// There is no error, and the state or the token is missing or is not base64.
    NoState,
}

impl fmt::Display for StateRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateRefused::Cannot(what) => what.fmt(f),
            StateRefused::Failed(state) => {
                write!(f, "SHOW TRANSFER STATE failed{}", shown(*state))
            }
            StateRefused::TooLarge { bytes } => {
                write!(f, "the session's state is too large: {bytes} bytes")
            }
            StateRefused::NoState => f.write_str("the server's answer holds no state"),
        }
    }
}

impl std::error::Error for StateRefused {}

/// The answer to `SHOW TRANSFER STATE`.
#[derive(Debug)]
pub struct StateAnswer {
    /// The size of its row on the wire, in bytes, for a histogram; `None` if there was none.
    pub row_bytes: Option<u32>,
    /// The state.
    pub state: Result<SessionState, StateRefused>,
}

/// How far an answer is.
#[derive(Debug)]
enum Phase {
    /// What opens and ends a transaction has to be answered.
    Transaction(Begun),
    /// RowDescription has to come.
    Columns,
    /// The row.
    Row,
    /// CommandComplete.
    Tag(StateAnswer),
    /// ReadyForQuery.
    Ready(StateAnswer),
    /// Nothing.
    Over,
}

/// How far the answer is to the Query that begins and ends a transaction.
#[derive(Clone, Copy, Debug)]
enum Begun {
    Columns,
    Row,
    Tag,
    Ready,
}

impl Begun {
    /// Behind a message, of which nothing is wanted.
    fn behind(
        self,
        tag: u8,
        said: Backend<'_>,
        awaited: &'static str,
    ) -> Result<Phase, AnswerFault> {
        let next = match (self, said) {
            (Begun::Columns, Backend::RowDescription { .. }) => Begun::Row,
            (Begun::Row, Backend::DataRow { .. }) => Begun::Tag,
            (Begun::Tag, Backend::CommandComplete { .. }) => Begun::Ready,
            (Begun::Ready, Backend::ReadyForQuery { status }) => {
                idle(status)?;
                return Ok(Phase::Columns);
            }
            (Begun::Columns | Begun::Row | Begun::Tag | Begun::Ready, _) => {
                return Err(AnswerFault::Unexpected { tag, awaited });
            }
        };
        Ok(Phase::Transaction(next))
    }

    fn awaits(self) -> u8 {
        match self {
            Begun::Columns => tags::ROW_DESCRIPTION,
            Begun::Row => tags::DATA_ROW,
            Begun::Tag => tags::COMMAND_COMPLETE,
            Begun::Ready => tags::READY_FOR_QUERY,
        }
    }
}

impl Phase {
    fn awaited(&self) -> &'static str {
        match self {
            Phase::Transaction(_) => "the answer to SELECT 1",
            Phase::Columns => "the columns of SHOW TRANSFER STATE",
            Phase::Row => "the row of SHOW TRANSFER STATE",
            Phase::Tag(_) => "the end of SHOW TRANSFER STATE",
            Phase::Ready(_) => "ReadyForQuery behind SHOW TRANSFER STATE",
            Phase::Over => "nothing",
        }
    }

    /// Behind a statement that has failed, whatever it had said before.
    fn failed(self, state: Option<SqlState>) -> Phase {
        let row_bytes = match self {
            Phase::Transaction(_) => return Phase::Transaction(Begun::Ready),
            Phase::Tag(answer) | Phase::Ready(answer) => answer.row_bytes,
            Phase::Columns | Phase::Row | Phase::Over => None,
        };
        Phase::Ready(StateAnswer {
            row_bytes,
            state: Err(StateRefused::Failed(state)),
        })
    }
}

/// Reads the answer to `SHOW TRANSFER STATE` out of what the old server sends.
///
/// Show it the header of every message ([`header`](StateReader::header)), and the body where it asks for that
/// ([`body`](StateReader::body)). A [fault](AnswerFault) means that the old server's stream is not understood any more:
/// the session cannot go on there.
///
/// ```
/// use pgturnout::migrate::cockroach::{StateReader, TransferKey};
/// use pgturnout::migrate::{Heard, Look};
/// use pgturnout::wire::Header;
///
/// let key = TransferKey::from_random([7; 16]);
/// let mut reader = StateReader::new(&key, 1); // the client still waits for one answer
/// let z = Header { tag: b'Z', frame_len: 6 };
/// assert_eq!(reader.header(z)?, Look::Client);
/// // Whatever comes now is ours. This server knows no such statement.
/// assert_eq!(reader.header(Header { tag: b'E', frame_len: 30 })?, Look::Body);
/// assert!(matches!(reader.body(b'E', b"SERROR\0C42601\0\0")?, Heard::More));
/// assert_eq!(reader.header(z)?, Look::Body);
/// let Heard::Done(answer) = reader.body(b'Z', b"I")? else { panic!() };
/// assert_eq!(answer.state.unwrap_err().to_string(), "SHOW TRANSFER STATE failed (42601)");
/// # Ok::<(), pgturnout::migrate::AnswerFault>(())
/// ```
#[derive(Debug)]
pub struct StateReader {
    key: TransferKey,
    owed: usize,
    limit: usize,
    phase: Phase,
}

impl StateReader {
    /// A reader behind a request with this key, which was sent behind requests that owe the client so many
    /// ReadyForQuery messages: none, at a safe point.
    #[must_use]
    pub fn new(key: &TransferKey, owed: usize) -> StateReader {
        StateReader {
            key: key.clone(),
            owed,
            limit: TRANSFER_STATE_MAX,
            phase: Phase::Columns,
        }
    }

    /// The same with another limit for the row, in bytes with its framing.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> StateReader {
        StateReader { limit, ..self }
    }

    /// The same for [`begin_and_show_transfer_state`]. What is said of the Query before is dropped, failure included: the server
    /// that it hinders says so in its answer.
    #[must_use]
    pub fn behind_a_transaction(self) -> StateReader {
        let phase = Phase::Transaction(Begun::Columns);
        StateReader { phase, ..self }
    }

    /// A message with this header comes.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        if matches!(self.phase, Phase::Over) {
            return Err(AnswerFault::Ended);
        }
        if is_aside(header.tag) {
            return Ok(Look::Aside);
        }
        if self.owed > 0 {
            let ends = header.tag == tags::READY_FOR_QUERY;
            self.owed = self.owed.saturating_sub(usize::from(ends));
            return Ok(Look::Client);
        }
        let frame_len = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
        match (&self.phase, header.tag) {
            (Phase::Row, tags::DATA_ROW) if frame_len > self.limit => {
                self.phase = Phase::Tag(StateAnswer {
                    row_bytes: Some(header.frame_len),
                    state: Err(StateRefused::TooLarge {
                        bytes: header.frame_len,
                    }),
                });
                Ok(Look::Discard)
            }
            (Phase::Row, tags::DATA_ROW) => Ok(Look::Body),
            (Phase::Columns, tags::ROW_DESCRIPTION)
            | (Phase::Tag(_), tags::COMMAND_COMPLETE)
            | (Phase::Ready(_), tags::READY_FOR_QUERY)
            | (_, tags::ERROR_RESPONSE) => self.short(header),
            (Phase::Transaction(begun), tag) if tag == begun.awaits() => self.short(header),
            (_, tag) => {
                let awaited = self.phase.awaited();
                Err(self.fault(AnswerFault::Unexpected { tag, awaited }))
            }
        }
    }

    /// A message comes that has to be short.
    fn short(&mut self, header: Header) -> Result<Look, AnswerFault> {
        match fits(header, self.phase.awaited()) {
            Ok(()) => Ok(Look::Body),
            Err(fault) => Err(self.fault(fault)),
        }
    }

    /// The body of a message that was asked for.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn body(&mut self, tag: u8, body: &[u8]) -> Result<Heard<StateAnswer>, AnswerFault> {
        let awaited = self.phase.awaited();
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let (phase, heard) = match (phase, Backend::parse(tag, body)?) {
            (Phase::Over, _) => return Err(AnswerFault::Ended),
            (phase, Backend::ErrorResponse(fields)) => match failure(&fields) {
                Failure::Session(state) => (Phase::Over, Heard::Farewell(state)),
                Failure::Statement(state) => (phase.failed(state), Heard::More),
            },
            (Phase::Transaction(begun), said) => (begun.behind(tag, said, awaited)?, Heard::More),
            (Phase::Columns, Backend::RowDescription { columns }) => {
                check_columns(columns)?;
                (Phase::Row, Heard::More)
            }
            (Phase::Row, Backend::DataRow { values }) => {
                let answer = StateAnswer {
                    row_bytes: Some(frame_len(body)),
                    state: self.read_row(values)?,
                };
                (Phase::Tag(answer), Heard::More)
            }
            (Phase::Tag(answer), Backend::CommandComplete { tag: TAG }) => {
                (Phase::Ready(answer), Heard::More)
            }
            (Phase::Tag(_), Backend::CommandComplete { .. }) => {
                let what = "the command tag of SHOW TRANSFER STATE";
                return Err(AnswerFault::Content { what });
            }
            (Phase::Ready(answer), Backend::ReadyForQuery { status }) => {
                idle(status)?;
                (Phase::Over, Heard::Done(answer))
            }
            (Phase::Columns | Phase::Row | Phase::Tag(_) | Phase::Ready(_), _) => {
                return Err(AnswerFault::Unexpected { tag, awaited });
            }
        };
        self.phase = phase;
        Ok(heard)
    }

    /// Whether the answer is complete, or will never be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn fault(&mut self, fault: AnswerFault) -> AnswerFault {
        self.phase = Phase::Over;
        fault
    }

    /// The state that a row holds, or why it holds none. A row without our key is not ours.
    fn read_row(
        &self,
        values: Values<'_>,
    ) -> Result<Result<SessionState, StateRefused>, AnswerFault> {
        let mut values = values.iter();
        let (Some(error), Some(state), Some(token), Some(key), None) = (
            values.next(),
            values.next(),
            values.next(),
            values.next(),
            values.next(),
        ) else {
            let what = "the number of values of SHOW TRANSFER STATE";
            return Err(AnswerFault::Content { what });
        };
        if key != Some(self.key.text().as_bytes()) {
            let what = "the transfer key";
            return Err(AnswerFault::Content { what });
        }
        Ok(match (error, state, token) {
            (None | Some([]), Some(state), Some(token)) if is_base64(state) && is_base64(token) => {
                Ok(SessionState {
                    state: Secret::copy_of(state),
                    token: Secret::copy_of(token),
                })
            }
            (None | Some([]), _, _) => Err(StateRefused::NoState),
            (Some(text), _, _) => Err(StateRefused::Cannot(Cannot::of(text))),
        })
    }
}

fn check_columns(columns: Columns<'_>) -> Result<(), AnswerFault> {
    if columns.iter().map(|column| column.name).eq(COLUMNS) {
        Ok(())
    } else {
        let what = "the columns of SHOW TRANSFER STATE";
        Err(AnswerFault::Content { what })
    }
}

/// Whether a text is standard base64, which needs no quoting in SQL and holds no NUL. Its padding is the server's affair.
fn is_base64(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    !text.is_empty() && text.iter().all(fits)
}

fn frame_len(body: &[u8]) -> u32 {
    let len = body.len().saturating_add(Header::LEN);
    u32::try_from(len).unwrap_or(u32::MAX)
}
