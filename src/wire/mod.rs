//! The protocol's shapes: frames and messages as borrowed views, and their encoders; no state.
//!
//! After the opening, each direction of a PostgreSQL connection is a sequence of frames: a tag, a length word, a body.
//! [`Header`] finds their bounds. [`Frontend`] and [`Backend`] read one body each, which they borrow; they are `Copy`,
//! own nothing and allocate nothing. What a tag means depends on the direction, and for the client's answers during
//! login on what the server asked for: [`password`] reads those, [`replication`] what CopyData carries in replication.
//! All messages of protocol versions 3.0 and 3.2 are here, by the names that the chapter "Message Formats" of the
//! PostgreSQL manual gives them, and a message that is not is kept as `Unknown`.
//!
//! Three things hold throughout:
//!
//! - A body is an exact slice and must be consumed to its last byte. An error in it cannot move the bounds of a frame.
//! - No count and no length in a body is believed before it is compared with the bytes that are there.
//! - A valid frame that was read is encoded to the same bytes, and an encoder that refuses a value leaves its output as
//!   it was.
//!
//! Text stays bytes, because its encoding is the session's business. `Debug` shows no password, query text or value;
//! [`Printable`] shows a peer's bytes where the caller wants that.
//!
//! # Reading frames from a buffer
//!
//! ```
//! use pgturnout::error::Malformed;
//! use pgturnout::wire::{Backend, Header, TransactionStatus};
//!
//! /// Reads the frames that are complete; returns how many bytes they took and the last status.
//! fn read(buffer: &[u8]) -> Result<(usize, Option<TransactionStatus>), Malformed> {
//!     let (mut rest, mut last) = (buffer, None);
//!     while let Some(header) = Header::parse(rest)? {
//!         let Some((body, behind)) = header.split(rest) else { break };
//!         match Backend::parse(header.tag, body)? {
//!             Backend::CommandComplete { tag } => assert_eq!(tag, b"SELECT 1"),
//!             Backend::ReadyForQuery { status } => last = Some(status),
//!             message => println!("{message:?}"),
//!         }
//!         rest = behind;
//!     }
//!     Ok((buffer.len() - rest.len(), last))
//! }
//!
//! let buffer = b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05IT\0\0\x01";
//! assert_eq!(read(buffer)?, (20, Some(TransactionStatus::Idle)));
//!
//! // A length word that does not count itself: from here on there are no frames.
//! assert!(read(b"Z\0\0\0\x03").is_err());
//! # Ok::<(), Malformed>(())
//! ```

mod authentication;
mod backend;
mod fields;
mod frontend;
mod header;
mod list;
pub mod password;
mod printable;
mod reader;
pub mod replication;
pub mod sqlstate;
pub mod tags;
mod writer;

pub use authentication::Authentication;
pub use backend::{Backend, Column, CopyFormats, TransactionStatus};
pub use fields::{Fields, Severity, error_response};
pub use frontend::{Bind, Close, Describe, Execute, Frontend, FunctionCall, Parse, Query, Target};
pub use header::Header;
pub use list::{Columns, Element, Formats, Iter, List, Names, ParamTypes, Values};
use printable::Hidden;
pub use printable::Printable;
pub use reader::Reader;
pub use sqlstate::SqlState;
pub use writer::Writer;
