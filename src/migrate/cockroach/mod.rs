//! Moving a CockroachDB session: the server itself hands out a session's state, and takes it in.
//!
//! Five exchanges, each with a reader of its own; between them stand the phases of a
//! [`Migration`](super::Migration):
//!
//! | server | request | answer |
//! |---|---|---|
//! | old | what are the session's prepared statements? ([`describe()`]) | for each its parameters and columns, or an error ([`DescribeReader`]) |
//! | old | `SHOW TRANSFER STATE WITH '<key>'` ([`show_transfer_state`]) | one row: an error, or the state and a token ([`StateReader`]) |
//! | new | the client's StartupMessage with the token ([`Revival`]) | a login without a question |
//! | new | `SELECT crdb_internal.deserialize_session(…)` ([`deserialize_session`]) | one row: true ([`DeserializeReader`]) |
//! | new | what are its prepared statements? | the same as the old one's |
//!
//! What differs from sqlproxy, on purpose:
//!
//! - Earlier requests are counted, not guessed: while the client is owed answers every message is the client's, errors
//!   included, and behind the last of them none is. So an error in an earlier request is no danger, and neither is a
//!   client that runs `SHOW TRANSFER STATE` itself.
//! - An error in place of our answer is a refusal, and the session goes on where it is.
//! - Notices, parameters and notifications between the messages of an answer are passed on.
//! - A transaction is begun and ended before the state is asked for ([`begin_and_show_transfer_state`]), in the same write: a
//!   server of 2025 and later does not hand a session out whose statements were looked at since its last one.
//! - The token and the state are [`Secret`](crate::auth::Secret)s; no error text and no `Debug` holds a byte of them.
//! - A new server says true although it could not plan a prepared statement again, and has another one or none in its place.
//!   So the named ones are described on both, and one that differs keeps the session on the old server. The unnamed one is
//!   not asked for: it is dropped by the request for the state, and prepared again from the client's own message.
//! - A row above [`TRANSFER_STATE_MAX`](crate::limits::TRANSFER_STATE_MAX) is dropped as it comes, and refused.
//!
//! A session moves so by itself, with [`Session::migrate`](crate::session::Session::migrate), where
//! [`Config::dialect`](crate::session::Config::dialect) says that its servers are CockroachDB's. One pin alone keeps it from being
//! asked for, [`TooManyStatements`](crate::track::Pin::TooManyStatements): the request is a Query, which drops the unnamed
//! statement, and one that is not remembered cannot be made again. Its server says what else cannot be handed out.
//!
//! No CockroachDB program could be had where this was made. It is tested against scripted answers, and against a program that
//! speaks its transfer SQL in front of a real PostgreSQL, after the behaviour of its server and of sqlproxy.

mod describe;
mod deserialize;
mod key;
mod revive;
mod state;

pub use describe::{DescribeReader, Description, describe};
pub(crate) use deserialize::deserialize_piece;
pub use deserialize::{DeserializeReader, NotRestored, deserialize_session};
pub use key::TransferKey;
pub use revive::{ReservedParameter, Revival, check_client, with_address};
pub use state::{
    Cannot, SessionState, StateAnswer, StateReader, StateRefused, begin_and_show_transfer_state,
    show_transfer_state,
};
