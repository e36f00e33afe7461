//! What a session asks of its driver, and what it answers it.

use std::sync::Arc;
use std::time::Duration;

use super::{CloseCause, Destination, MoveTarget, OutOfSync, PeerId, StatementKind, Timer};
use crate::auth::{ExternalRequest, Method};
use crate::migrate::{Outcome, Phase, Reason};
use crate::route::{Class, Excluded, View, Why};
use crate::startup::{CancelKey, UpstreamTlsPolicy};
use crate::wire::{SqlState, TransactionStatus};

/// What [`Session::handle_input`](super::Session::handle_input) needs next from that peer.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Call again at once: more can be decided from the same bytes.
    Again,
    /// Nothing can be decided until this many bytes of the peer are buffered beyond those already spoken for;
    /// 0 when every buffered byte is spoken for.
    Bytes(usize),
    /// More bytes would not help: something else has to happen first (a dial, a reply, room in a queue).
    Paused,
}

/// The next bytes to write to one peer.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Transmit<'a> {
    /// Bytes that the session made.
    Owned(&'a [u8]),
    /// Bytes at the front of another peer's read buffer: at most `max` of them, as many as are there.
    Splice {
        /// Whose buffer.
        from: PeerId,
        /// How many bytes at most; the rest of that buffer belongs to something else.
        max: u64,
    },
}

/// Which side of a TLS handshake the driver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRole {
    /// Accept a handshake from the client. Its read buffer is empty.
    Server,
    /// Accept a handshake that the client began without asking. What is in its read buffer is the beginning of the
    /// handshake: feed it to the TLS implementation first, and empty the buffer. Offer the protocol
    /// [`ALPN`](crate::startup::ALPN).
    DirectServer,
    /// Start a handshake with an upstream, verifying as the policy says, and offer the protocol
    /// [`ALPN`](crate::startup::ALPN).
    Client(UpstreamTlsPolicy),
}

/// Something without bytes of its own for the driver to do. Actions come in order; carry out each before the next.
#[must_use]
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Open a connection, then call [`Session::handle_connected`](super::Session::handle_connected).
    ///
    /// Which server that is the driver says: a destination is a place in the configuration, no address. A proxy in front of
    /// several clusters can choose one here, by what the client has asked for
    /// ([`client_startup`](super::Session::client_startup)) or the host name in its TLS handshake
    /// ([`tls_info`](super::Session::tls_info)); both are known before the first of these, unless encryption is handed
    /// through. What such clusters do not share (TLS, methods, users) takes a configuration for each, chosen before
    /// [`Session::new`](super::Session::new), from the first bytes ([`detect`](crate::startup::detect)) or the port.
    Connect {
        /// The peer that the connection will be.
        peer: PeerId,
        /// Where to.
        to: Destination,
    },
    /// Start TLS on a connection, then call [`Session::handle_secured`](super::Session::handle_secured).
    /// The bytes before it have been transmitted, and the peer's read buffer is empty but for what
    /// [`TlsRole::DirectServer`] says.
    StartTls {
        /// Whose connection.
        peer: PeerId,
        /// Our side of the handshake.
        role: TlsRole,
    },
    /// End our direction of a connection, whose bytes have been transmitted (a TCP `FIN`), and go on reading: the other
    /// end of a session that passes whole has done so. A driver that cannot closes nothing; a deadline will.
    Finish {
        /// Whose connection.
        peer: PeerId,
    },
    /// Close a connection and drop its read buffer. Bytes meant for the peer have been transmitted,
    /// unless they could not be.
    Close {
        /// Whose connection.
        peer: PeerId,
        /// Why.
        cause: CloseCause,
    },
    /// A CancelRequest came instead of a session. Find the session whose
    /// [`client_key`](super::Session::client_key) equals the key (in constant time), and cancel what its
    /// [`cancel_target`](super::Session::cancel_target) names; if there is none, do nothing, but for a session that
    /// [`is_holding`](super::Session::is_holding) a request ask again when it is not.
    Cancel(CancelKey),
    /// The client is gone, without a Terminate, and this upstream runs something for it whose answer nobody will read. Send it
    /// a CancelRequest with the target's key, on a connection of its own, which is closed then; nothing is to be reported of
    /// it. A server that is done by then ignores the request, as it ignores one that never comes: it runs to the end what was
    /// begun, as it does for a client of its own that dies.
    Stop(CancelTarget),
    /// A client wants to be let in, and the caller knows what it has to prove ([`UserSource::Caller`](super::UserSource)).
    /// Then call [`Session::handle_user`](super::Session::handle_user), before the login's deadline. Nobody has proven the
    /// name; whoever opens a connection can have one looked up.
    FindUser {
        /// The user of the StartupMessage.
        user: Box<[u8]>,
    },
    /// An upstream asks for what only the caller can answer ([`Credential::External`](crate::auth::Credential::External)).
    /// Then call [`Session::handle_authentication`](super::Session::handle_authentication), before the login's deadline.
    Authenticate {
        /// Which upstream.
        peer: PeerId,
        /// Where it is.
        to: Destination,
        /// Which question of that upstream it is, of all in the session: to be given back with the answer, so that one that
        /// comes late is not taken for an answer to the next.
        question: u64,
        /// What it asks.
        request: ExternalRequest,
    },
    /// Something worth logging or counting; safe to ignore.
    Notify(Event),
}

/// Why a request went where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteReason {
    /// What the request's text asks for.
    Intent(Why),
    /// A transaction is open there.
    Transaction,
    /// An extended batch was begun there and is not yet ended by Sync.
    Batch,
    /// The session is pinned to the writer.
    Pinned(crate::track::Pin),
    /// Splitting is off, or the session cannot be split.
    NotSplit,
    /// The reader cannot be had now.
    ReaderDown,
    /// Every reader that can be had lags further behind than [`ReaderChoice`](crate::route::ReaderChoice) allows.
    Lagging,
    /// The reader may not have what the session wrote.
    Stale,
    /// The reader has refused it.
    Refused,
    /// The request did not fit the read buffer before its end was seen.
    TooLong,
    /// The caller's policy denies it: what goes there is only what stands in its place.
    Denied,
    /// It has no place in the transaction that runs on the reader
    /// ([`ReadOnlyTransactions`](super::ReadOnlyTransactions)), and is refused likewise.
    Misplaced,
}

impl std::fmt::Display for RouteReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RouteReason::Intent(why) => write!(f, "{why}"),
            RouteReason::Transaction => f.write_str("open transaction"),
            RouteReason::Batch => f.write_str("open batch"),
            RouteReason::Pinned(pin) => write!(f, "pinned: {pin}"),
            RouteReason::NotSplit => f.write_str("not split"),
            RouteReason::ReaderDown => f.write_str("reader down"),
            RouteReason::Lagging => f.write_str("reader lags"),
            RouteReason::Refused => f.write_str("refused by the reader"),
            RouteReason::Stale => f.write_str("reader stale"),
            RouteReason::TooLong => f.write_str("too long"),
            RouteReason::Denied => f.write_str("denied"),
            RouteReason::Misplaced => f.write_str("no place in the transaction"),
        }
    }
}

/// Why a session passes whole, on the writer, with nothing of it read or split off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// The client asked for a replication session.
    Replication,
    /// The client and the server encrypt with each other
    /// ([`ClientTls::Passthrough`](crate::startup::ClientTls::Passthrough)).
    Encrypted,
    /// A stream made no sense any more ([`OutOfSync::Passthrough`]). Until then the session was
    /// read.
    OutOfSync,
}

impl std::fmt::Display for Relayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Relayed::Replication => "replication",
            Relayed::Encrypted => "encrypted end to end",
            Relayed::OutOfSync => "out of sync",
        })
    }
}

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client has proven to us who it is. Upstreams are logged in to next.
    ClientProven {
        /// How.
        method: Method,
    },
    /// The caller could not look a user up; the client was told so.
    UserNotFound {
        /// Why, for a log.
        why: String,
    },
    /// There is only a SCRAM verifier of the user, and the login at the gate has not shown the keys that other upstreams
    /// are logged in to with.
    KeysNotLearnt {
        /// Why, for a log.
        why: String,
    },
    /// The client is logged in.
    LoggedIn,
    /// An upstream is logged in and serves.
    UpstreamReady {
        /// Which.
        peer: PeerId,
        /// Where it is.
        to: Destination,
    },
    /// The writer says that it is a standby: it will refuse every write, and nothing is done about that here.
    WriterIsStandby {
        /// Where it is.
        to: Destination,
    },
    /// The writer cannot be had, and the session runs on its reader alone
    /// ([`WriterFailure::ReadOnly`](super::WriterFailure)).
    ReadOnly {
        /// Where the reader is, which stands for the writer from here on.
        to: Destination,
    },
    /// The writer cannot be had, and is dialled again when its time has come ([`WriterRetry`](super::WriterRetry)).
    WriterRetried {
        /// Where it is.
        to: Destination,
        /// Which try this will be behind the first, from 1.
        retry: u32,
    },
    /// The session passes whole: nothing of it is read, split, counted or answered by us.
    RelayedWhole {
        /// Where to.
        to: Destination,
        /// Why.
        what: Relayed,
    },
    /// The stream of the client or of the writer makes no sense any more.
    OutOfSync {
        /// Whose.
        peer: PeerId,
        /// Why, for a log; it holds nothing of what was sent.
        why: String,
        /// What follows: what the configuration says ([`Config::out_of_sync`](super::Config::out_of_sync)), or the error where
        /// the stream cannot be passed on.
        then: OutOfSync,
    },
    /// An upstream refused a login in clear, and is dialled again to try one over TLS
    /// ([`UpstreamTlsPolicy::Allow`]).
    TlsAfterRefusal {
        /// Which.
        peer: PeerId,
        /// Where it is.
        to: Destination,
    },
    /// An upstream cannot be used; the text says why and holds nothing secret.
    UpstreamFailed {
        /// Which.
        peer: PeerId,
        /// Where it is.
        to: Destination,
        /// Why, for a log.
        why: String,
    },
    /// A request was sent to an upstream.
    Routed {
        /// The request's number in the session, from 1. Requests that ask for nothing, such as a Sync by itself, have one too.
        request: u64,
        /// Where it went.
        peer: PeerId,
        /// The upstream's place in the configuration.
        to: Destination,
        /// What it asks for.
        class: Class,
        /// Why it went there.
        reason: RouteReason,
        /// The first words of its text without literals, when
        /// [`Config::route_texts`](super::Config::route_texts) asks for them.
        outline: Option<String>,
    },
    /// A message of the client's was denied by its policy, or has no place in its transaction
    /// ([`RouteReason::Misplaced`]). What stands in its place was sent to an upstream.
    StatementDenied {
        /// The number of its request.
        request: u64,
        /// The upstream that the request runs on.
        peer: PeerId,
        /// The SQLSTATE that the client gets.
        state: SqlState,
    },
    /// A peer sent a message of a type that the protocol does not have. It is passed on as it is; a server closes the
    /// connection for one.
    UnknownMessage {
        /// Who sent it.
        peer: PeerId,
        /// Its tag.
        tag: u8,
    },
    /// The session will serve its reads from the writer until the pin is lifted.
    Pinned(crate::track::Pin),
    /// The session has left its reader, which is excluded; it owed nothing. The next read goes to another, or to the writer.
    ReaderLeft {
        /// Where it is.
        to: Destination,
        /// Why.
        why: Excluded,
    },
    /// A reader was lost. The requests that it owed were answered with errors.
    ReaderLost {
        /// How many requests were answered with an error for it. A batch that has begun there and not ended is one of them:
        /// it gets its error with the next of its messages, if there is one before its end by a Sync, a Query or Terminate.
        failed_requests: usize,
    },
    /// A reader has refused a request that was tried there. The writer runs it.
    ReaderRefused {
        /// The request's number, that of its [`Event::Routed`] before and behind this.
        request: u64,
        /// Which reader.
        peer: PeerId,
        /// With which code.
        state: SqlState,
    },
    /// A move of the session to another server has begun ([`Session::migrate`](super::Session::migrate)).
    MoveBegan {
        /// Where to.
        target: MoveTarget,
    },
    /// The client is held, for a move: what it sends waits.
    MoveHeld,
    /// The client is held no more, since the session is at no safe point after all; the move goes on.
    MoveReleased,
    /// The session was moved. What the client sent meanwhile goes to the new server.
    Moved {
        /// Where to.
        target: MoveTarget,
        /// Where the writer was before, or the reader if it alone was moved.
        from: Destination,
        /// How long it took since it began.
        took: Duration,
        /// For how long of that the client was held.
        held: Duration,
    },
    /// A move failed.
    MoveFailed {
        /// Where to.
        target: MoveTarget,
        /// Whether the session goes on where it was, or is over.
        outcome: Outcome,
        /// What the move was doing.
        phase: Phase,
        /// Why; it holds nothing secret.
        reason: Reason,
        /// How long it took since it began.
        took: Duration,
        /// For how long of that the client was held.
        held: Duration,
    },
    /// A deadline passed.
    TimedOut(Timer),
    /// A statement was sent to an upstream, by itself or by its name, if [`Config::metadata`](super::Config::metadata) asks
    /// for it. In Envoy's terms the view is the dynamic metadata ([`View::envoy_metadata`]), of each message by itself.
    Statement {
        /// The number of its request, as in [`Event::Routed`].
        request: u64,
        /// Where it went.
        peer: PeerId,
        /// In which message.
        kind: StatementKind,
        /// Its tables with what is done to them, or why they are not known.
        view: Arc<View>,
    },
    /// The first message of a request was sent on, if [`Config::request_events`](super::Config::request_events) asks for it.
    /// A request is what one ReadyForQuery answers. Take the time when you see this and the next two. One that the server
    /// skips after an error may have it or not: that depends on what had come of the error by then.
    RequestBegan {
        /// The request's number, that of its first [`Event::Routed`].
        request: u64,
        /// Where it went first.
        peer: PeerId,
    },
    /// The first message of a request's answer goes to the client.
    ResponseBegan {
        /// The request's number.
        request: u64,
        /// Who answers.
        peer: PeerId,
    },
    /// The last message of a request's answer, its ReadyForQuery, goes to the client. Requests that are
    /// never answered, because the server skips them after an error or the session ends, have no such event.
    ResponseEnded {
        /// The request's number.
        request: u64,
        /// Who has answered.
        peer: PeerId,
        /// What that upstream says of its transaction; `None` when it was lost, and the answer is an error of ours.
        status: Option<TransactionStatus>,
    },
}

/// Which upstream runs the client's current request, and the key that cancels it there.
#[derive(Clone, Debug)]
pub struct CancelTarget {
    /// Which upstream.
    pub peer: PeerId,
    /// Where to dial.
    pub to: Destination,
    /// The key that the upstream gave for this session.
    pub key: CancelKey,
    /// Whether the cancel is to be encrypted: as the session's own connection there is, not as it might have been. Under
    /// `prefer` and `allow` that is `Require` or `Disable`, so that nobody in the middle can talk a cancel key out of TLS.
    pub tls: UpstreamTlsPolicy,
    /// In which the request runs; the next one has another. See
    /// [`Session::is_current`](super::Session::is_current).
    pub epoch: u64,
}
