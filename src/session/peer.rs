//! Who takes part in a session, and how each of them ends.

use crate::startup::Refusal;
use crate::wire::SqlState;

/// One party of a session: the client or one of its upstreams.
///
/// The ids are small and stable: a driver may index its sockets with [`PeerId::index`]. An upstream that is closed
/// and dialled again keeps its id; the [`Close`](super::Action::Close) always comes before the
/// [`Connect`](super::Action::Connect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(u8);

impl PeerId {
    /// The client.
    pub const CLIENT: PeerId = PeerId(0);
    /// The upstream that takes writes when a session begins.
    pub const WRITER: PeerId = PeerId(1);
    /// The upstream that takes proven reads when a session begins.
    pub const READER: PeerId = PeerId(2);
    /// A server that the session moves to, or has moved to: it has an id beside that of the server that still serves.
    pub const THIRD: PeerId = PeerId(3);
    /// Another one.
    pub const FOURTH: PeerId = PeerId(4);
    /// How many peers a session can have: a table of this size can be indexed with any id.
    pub const COUNT: usize = 5;
    /// Every peer, the client first.
    pub const ALL: [PeerId; PeerId::COUNT] = [
        PeerId::CLIENT,
        PeerId::WRITER,
        PeerId::READER,
        PeerId::THIRD,
        PeerId::FOURTH,
    ];

    /// The id as an index below [`PeerId::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn port(self) -> crate::ledger::Port {
        crate::ledger::Port::new(self.0)
    }

    pub(crate) fn from_port(port: crate::ledger::Port) -> Option<PeerId> {
        PeerId::ALL.into_iter().find(|peer| peer.port() == port)
    }

    /// Whether this is an upstream, not the client.
    pub fn is_upstream(self) -> bool {
        self != PeerId::CLIENT
    }
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match *self {
            PeerId::CLIENT => "client",
            PeerId::WRITER => "writer",
            PeerId::READER => "reader",
            PeerId::THIRD => "third server",
            _ => "fourth server",
        })
    }
}

/// A configured upstream: an index into [`Config::upstreams`](super::Config::upstreams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination(pub usize);

/// Why a peer's connection is closed, or why the session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCause {
    /// The client said Terminate, or ended its stream with nothing left to answer.
    ClientLeft,
    /// The client's connection broke.
    ClientLost,
    /// The client broke the protocol or our policy; it was told this SQLSTATE, or nothing.
    ClientFault(Option<SqlState>),
    /// The caller's policy denied the session; the client was told this SQLSTATE, if it could be told.
    ConnectionDenied(SqlState),
    /// The caller's policy denied a statement; the client was told this SQLSTATE.
    StatementDenied(SqlState),
    /// The client's opening was refused.
    ClientRefused(Refusal),
    /// A CancelRequest was taken: nothing else follows on such a connection.
    CancelTaken,
    /// The upstream ended its stream or its connection broke.
    UpstreamLost(PeerId),
    /// The upstream broke the protocol.
    UpstreamFault(PeerId),
    /// The upstream refused the login, could not be reached, or its TLS failed.
    LoginFailed(PeerId),
    /// The upstream ended the session with a FATAL error, which the client has seen.
    UpstreamEnded(PeerId),
    /// The reader says that it is a standby no more.
    Promoted(PeerId),
    /// The reader is not to be used any more, by what the driver says of it.
    ReaderExcluded(PeerId),
    /// A deadline passed.
    Timeout(super::Timer),
    /// The driver asked for a shutdown.
    Shutdown,
    /// The driver asked for the end of this session ([`Session::expel`](super::Session::expel)); the client was told this
    /// SQLSTATE, if it could be told.
    Expelled(SqlState),
    /// The driver broke its contract.
    Misuse(&'static str),
    /// The session is over, so this peer is not needed any more.
    SessionOver,
    /// The session has moved to another server.
    Moved,
    /// The session stays where it is, so the server that it was to move to is not needed.
    MoveFailed,
}

impl std::fmt::Display for CloseCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CloseCause::ClientLeft => f.write_str("the client left"),
            CloseCause::ClientLost => f.write_str("the client's connection broke"),
            CloseCause::ClientFault(Some(state)) => write!(f, "the client was refused ({state})"),
            CloseCause::ClientFault(None) => f.write_str("the client broke the protocol"),
            CloseCause::ConnectionDenied(state) => write!(f, "the session was denied ({state})"),
            CloseCause::StatementDenied(state) => write!(f, "a statement was denied ({state})"),
            CloseCause::ClientRefused(refusal) => write!(f, "the client was refused: {refusal}"),
            CloseCause::CancelTaken => f.write_str("a cancel request was taken"),
            CloseCause::UpstreamLost(peer) => write!(f, "the connection to the {peer} broke"),
            CloseCause::UpstreamFault(peer) => write!(f, "the {peer} broke the protocol"),
            CloseCause::LoginFailed(peer) => write!(f, "the login to the {peer} failed"),
            CloseCause::UpstreamEnded(peer) => write!(f, "the {peer} ended the session"),
            CloseCause::Promoted(peer) => write!(f, "the {peer} is a standby no more"),
            CloseCause::ReaderExcluded(peer) => write!(f, "the {peer} is not to be used any more"),
            CloseCause::Timeout(timer) => write!(f, "timed out: {timer}"),
            CloseCause::Shutdown => f.write_str("the proxy is shutting down"),
            CloseCause::Expelled(state) => {
                write!(f, "the session was ended by its proxy ({state})")
            }
            CloseCause::Misuse(what) => write!(f, "the driver broke its contract: {what}"),
            CloseCause::SessionOver => f.write_str("the session is over"),
            CloseCause::Moved => f.write_str("the session has moved to another server"),
            CloseCause::MoveFailed => f.write_str("the session was not moved"),
        }
    }
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle<'a> {
    /// It opens or serves.
    Live,
    /// It has decided to end and flushes what the client is owed.
    Closing(&'a CloseCause),
    /// Every peer was told to close; every method is inert from here on.
    Dead(&'a CloseCause),
}

impl Lifecycle<'_> {
    /// Whether nothing more will ever come out of the session.
    pub fn is_dead(self) -> bool {
        matches!(self, Lifecycle::Dead(_))
    }
}
