//! The probe: one query that finds what a proxy's journal cannot know.

use bytes::BytesMut;

use super::super::reply::{AnswerFault, Heard, Look};
use super::query::{self, ProbeFailed, RowReader};
use super::{Found, sql};
use crate::error::TooLong;
use crate::wire::Header;

/// What a probe asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything. An administrator may have kept the identity of the cluster from users; then the probe fails, and
    /// [`ProbeFailed::may_be_for_its_identity`] says so.
    #[default]
    WithIdentity,
    /// Everything but the identity of the cluster.
    SessionOnly,
}

/// One query of a session, and the reader of its answer.
///
/// A named statement in the extended protocol, with one row of binary columns. It is to be sent at a safe point, to a
/// session that is idle; nothing of it stays behind, and the client's unnamed statement is not touched. Whatever names a
/// client has put in front of `pg_catalog`, it means the same. Any user may run it. A client that has prepared a statement
/// of the name [`PROBE_STATEMENT`](super::PROBE_STATEMENT) would lose it, so do not probe one.
///
/// ```
/// use bytes::BytesMut;
/// use pgturnout::migrate::postgres::{Probe, Scope};
///
/// let probe = Probe::new(Scope::WithIdentity, [&b"app.user"[..]]);
/// let mut out = BytesMut::new();
/// probe.write(&mut out)?;
/// assert!(out.starts_with(b"P"));
/// # Ok::<(), pgturnout::error::TooLong>(())
/// ```
#[derive(Debug)]
pub struct Probe {
    scope: Scope,
    custom: Vec<Box<[u8]>>,
    reader: RowReader<Found>,
}

impl Probe {
    /// A probe that also asks for the values of custom settings (`app.user`) of these names, which no list of the
    /// server holds.
    #[must_use]
    pub fn new<'n>(scope: Scope, custom: impl IntoIterator<Item = &'n [u8]>) -> Probe {
        Probe {
            scope,
            custom: custom.into_iter().map(Box::from).collect(),
            reader: RowReader::new(),
        }
    }

    /// Appends the messages: Parse, Bind, Execute, Sync, Close, Sync.
    ///
    /// # Errors
    /// Too many custom settings for one message.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let text = match self.scope {
            Scope::WithIdentity => sql::WITH_IDENTITY,
            Scope::SessionOnly => sql::WITHOUT_IDENTITY,
        };
        query::write(text, self.custom.iter().map(|name| &**name), out)
    }

    /// A message with this header comes from the server.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        self.reader.header(header)
    }

    /// The body of a message that was asked for.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn body(
        &mut self,
        tag: u8,
        body: &[u8],
    ) -> Result<Heard<Result<Found, ProbeFailed>>, AnswerFault> {
        let custom = &self.custom;
        self.reader
            .body(tag, body, |values| Found::parse(values, custom))
    }

    /// The size of the row in bytes, once it has come, for a histogram.
    #[must_use]
    pub fn row_bytes(&self) -> Option<u32> {
        self.reader.row_bytes()
    }
}
