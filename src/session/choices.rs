//! The choices of a session's configuration that are one of a few words.

use std::time::Duration;

/// Whether proven reads go to a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// They do.
    #[default]
    On,
    /// Everything goes to the writer.
    Off,
}

/// When the reader is dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReaderOpen {
    /// When the first read is to be sent there; the read waits.
    #[default]
    OnFirstRead,
    /// As soon as the client is logged in.
    AtLogin,
}

/// What happens when the reader cannot be logged in to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReaderFailure {
    /// The writer serves the reads, and the client gets a warning once. The reader is tried again later.
    #[default]
    UseWriter,
    /// The session ends with a FATAL error.
    FailClient,
}

/// What happens when the writer cannot be had while a client logs in: it cannot be reached, does not answer in time, closes
/// the connection, or says that it starts, stops or recovers (class 57).
///
/// Whatever somebody has to mend is no such case, and the client is refused in words that say it: a credential of ours that
/// the writer does not take or that the caller does not have, TLS that is not as it was configured, a server that breaks the
/// protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterFailure {
    /// The client is refused.
    #[default]
    FailClient,
    /// The session runs on its reader alone, if there is one: nothing is split, and what writes the server refuses by itself
    /// (`25006`). The client can see it by `in_hot_standby`. A session that has begun with the writer ends with it.
    ReadOnly,
}

/// Whether the writer is dialled again when it cannot be had while a client logs in, in the cases of [`WriterFailure`] and
/// when it has no connection to spare (`53300`).
///
/// Only as long as the client has heard nothing of the writer's but notices, and within the deadline of its login
/// ([`Timeouts::login`](super::Timeouts::login)): each try has a new connection and the deadlines of the first. What was
/// refused for good, a wrong password for one, is not asked again. [`WriterFailure`] is for when the last try has failed.
/// A reader has tries of its own ([`Timeouts::reader_retry`](super::Timeouts::reader_retry)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterRetry {
    /// It is not. The default, since a client that is told at once can choose another server, as libpq does with several hosts.
    #[default]
    NoRetry,
    /// It is, for a switchover or a restart to pass unseen.
    Again {
        /// How many times, after the first: at most [`limits::WRITER_RETRIES_MAX`](crate::limits::WRITER_RETRIES_MAX).
        times: u32,
        /// How long after each failure: [`Timer::Redial`](super::Timer::Redial).
        delay: Duration,
    },
}

impl WriterRetry {
    /// How many times.
    pub(super) fn times(self) -> u32 {
        match self {
            WriterRetry::NoRetry => 0,
            WriterRetry::Again { times, .. } => times,
        }
    }
}

/// What follows when the stream of a client or of the writer has lost its sense: a length that cannot be, so that nobody
/// knows where the next message begins, or a message of the writer's that answers nothing.
///
/// What becomes of it is told by [`Event::OutOfSync`](super::Event::OutOfSync). Not among these: what comes before a client
/// is logged in, which is refused; a reader, which is given up, since the session can do without it; a message longer than
/// [`Limits`](super::Limits) allow, which makes sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfSync {
    /// The client gets what it is owed for what came before, and a FATAL error (`08P01`) that says why, before the close. The
    /// default: nothing is passed on that was not understood, and the client knows the reason.
    #[default]
    Error,
    /// The same without the error. For clients that take an error of ours for one of their server's.
    Close,
    /// Both streams pass from there on as they are, between the client and the writer: nothing is read, split, counted, answered
    /// or denied any more ([`Relayed::OutOfSync`](super::Relayed::OutOfSync)), and the reader is closed. PostgreSQL itself ends
    /// the connection for a length that cannot be, so this is for servers and clients that extend the protocol.
    ///
    /// Only where the writer alone could have stood in front of the client all the time. The session ends with the error
    /// instead when anything that a reader was sent is unanswered, a transaction or a batch runs on a reader, a message of ours
    /// is unanswered at the writer, a prepared statement is not on the writer, the session moves, or the client has ended its
    /// stream. It does, too, when a [`Policy`](super::Policy) is set: nobody gets around it by breaking a message. What is
    /// due on the client's side is waited for first.
    ///
    /// Messages cannot be limited then ([`ConfigError::PassedUnlimited`](super::ConfigError::PassedUnlimited)).
    Passthrough,
}

/// Whether reads that are not proven to be reads are tried on the reader first.
///
/// For physical standbys: they refuse a write before they do it. A statement of an unknown function, by itself or in a batch
/// that runs nothing else, is sent there; if the server refuses it before anything of its answer has reached the client,
/// it runs on the writer, once, and its text counts as a write from then on. A function that writes only after it
/// has sent rows fails (`25006`). What a standby does not refuse although it has an effect outside the database or the
/// session (advisory locks, settings, messages to other servers) happens there: [`Rules::deny`](crate::route::Rules::deny) such
/// functions. A standby that was promoted says so behind the next request that it runs, which it may take for a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimistic {
    /// They go to the writer.
    #[default]
    Off,
    /// They are tried.
    On,
}

/// Where transactions run that are begun READ ONLY.
///
/// Such a transaction runs on one server from its BEGIN to its end. What belongs to another server, or to the session, has no
/// place in it on a reader: an unknown function (unless [`Optimistic::On`]), an advisory lock, LISTEN, a cursor in SQL, a
/// setting that is not one of the planner's or a timeout SET LOCAL, `SET TRANSACTION READ WRITE`, a text or a batch that is longer
/// than the buffer that is looked into ([`READ_BUFFER`](crate::limits::READ_BUFFER)). As long as nothing was read in it, the
/// first of these has the transaction begun again on the writer, where it stays; nobody sees that. Once something was
/// read, what was read is the reader's, so such a statement is refused (`0A000`) and the transaction fails. A write fails as
/// it does in every READ ONLY transaction, by that code or the server's. Nor has what ends the transaction a place there when it
/// leaves a portal, or does more in the same text, or stands in a batch with another end, or chains another to one that has
/// failed under more savepoints than are remembered ([`JOURNAL_SAVEPOINTS`](crate::limits::JOURNAL_SAVEPOINTS)): whether that
/// is READ ONLY is not known.
///
/// A reader that is lost while nothing was read in the transaction, and nothing is being run, is replaced by the writer in
/// the same way. Otherwise the client gets an error (`08006`) for what it runs or, if it runs nothing, for what it runs next,
/// and the transaction fails; one that only ends then ends well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadOnlyTransactions {
    /// On the writer, as every other.
    #[default]
    Writer,
    /// On the reader, if BEGIN or START TRANSACTION says `READ ONLY` and nothing that a standby refuses (`SERIALIZABLE`), or
    /// neither, and the writer reports `default_transaction_read_only`. One that becomes READ ONLY later runs on the writer.
    Reader,
}

/// What becomes of a read whose reader is lost before anything of the answer has reached the client.
///
/// Never of a write, and never of what may be one: they may have been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostReads {
    /// It fails with `08006`, as every request that a lost reader owes, and the client may ask again.
    #[default]
    Fail,
    /// It runs on the writer, and the client learns nothing. For that a copy is sent to the reader while the request stays in the
    /// driver's buffer, up to the first row or the end of the answer. Only a read that is whole and short
    /// ([`TRIED_REQUEST`](crate::limits::TRIED_REQUEST)), with nothing in flight before it; others fail. What a standby refuses
    /// of such a copy, since it would write or is serializable, runs on the writer as well.
    Again,
}

/// Whether it is found out that a session may not read on a standby at all.
///
/// Its transactions are serializable unless they say otherwise, where its role, its database or the server has it so
/// (`default_transaction_isolation`). A standby refuses every read then (`0A000`), and no server reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultIsolation {
    /// The reader is asked something of no account (`select 1 as pgturnout`), behind its login and behind settings that may change
    /// the answer: one round trip before the first read. If it refuses that for the isolation, the session is pinned; if
    /// it says anything else, the read that waits runs on the writer and the next one has it asked again.
    #[default]
    Asked,
    /// It is taken for another. If it is not, the first read fails, and what was sent to the reader behind it, and the session is
    /// pinned.
    Assumed,
}

/// Whether a session's reads wait for a reader that has its writes.
///
/// Only for what the session wrote itself: what others write reaches a reader when it does. Procedures and functions of
/// unknown content count as writes; a write that fails does, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadYourWrites {
    /// They do not: a read that follows a write may not see it.
    #[default]
    Off,
    /// For so long after a write they go to the writer. No promise: a reader may lag further behind.
    For(Duration),
    /// The next so many of them go to the writer, each request counting once. No promise either.
    Reads(u32),
    /// They go to the writer until the reader has replayed the write. The first read after a write asks the writer where its
    /// log ends, and reads ask the reader how far it is until it is so far: one round trip each. For physical standbys.
    Replayed,
}

/// Whether events show what the client asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteTexts {
    /// They do not.
    #[default]
    Hidden,
    /// They show the first words of each text, without literals.
    Outline,
}

/// Whether events tell which tables each statement uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// They do not, and no text is parsed for it.
    #[default]
    Off,
    /// They do: [`Event::Statement`](super::Event::Statement). Names of tables are text of the client's. Each new text costs
    /// some microseconds, and up to 512 KiB of stack where the parser is built in (feature `inspect`). Prepared
    /// statements are followed for it in sessions that are not split, too.
    On,
}

/// Whether events tell when requests and their answers begin and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestEvents {
    /// They do not.
    #[default]
    Off,
    /// They do: [`Event::RequestBegan`](super::Event::RequestBegan) and what follows it.
    On,
}

/// Whether sessions may be moved to other servers ([`Session::migrate`](super::Session::migrate)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moves {
    /// They stay where they began.
    #[default]
    Off,
    /// They may. What a session establishes is followed even if its reads are not split off, and more is kept for it.
    On,
}

/// Over what a gate may have the password of a client whose login is relayed, when it asks for it as it is.
///
/// A client sees its own connection alone: behind TLS that ends at us it sends its password to whoever asks, and what we
/// pass on to a server in clear everybody on the way can read. A gate that asks where it may not is left, and the client is
/// told (`08006`); its password was not asked for. Servers that are logged in to with a credential of ours are
/// [`Upstream::methods`](super::Upstream::methods)'s matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayedPassword {
    /// Over TLS, and in clear where the client's own connection is in clear, too: it takes no more risk than it sees.
    #[default]
    AsTheClient,
    /// Over TLS alone.
    OverTls,
    /// Over any connection.
    Anyhow,
}
