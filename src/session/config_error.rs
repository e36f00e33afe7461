//! In which ways a configuration can contradict itself.

/// A configuration that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no writer, or more than one.
    #[error("exactly one upstream has to be the writer")]
    Writers,
    /// The gate is the reader and there is none.
    #[error("the gate is the reader, but no reader is configured")]
    GateWithoutReader,
    /// Fewer requests in flight than a server may answer in one go.
    #[error("at least {least} requests have to be allowed in flight")]
    RequestsInFlight {
        /// The least number.
        least: usize,
    },
    /// The rules count `BEGIN READ ONLY` as a read, and a session does not send transactions to a reader.
    #[error("transactions that are READ ONLY cannot be sent to a reader")]
    BeginReadOnly,
    /// The queues of bytes between peers are too short for a session.
    #[error("at least {least} entries have to be allowed in one queue")]
    LedgerSegments {
        /// The least number.
        least: usize,
    },
    /// A queue does not hold the messages of our own that may be due at once: a statement or all settings to be
    /// repeated, the errors for what a lost reader owed, a login.
    #[error("at least {least} bytes of our own have to be allowed in one queue")]
    LedgerOwned {
        /// The least number of bytes.
        least: usize,
    },
    /// TLS is to begin without an SSLRequest where it is not required: a server could not decline it.
    #[error("TLS can begin with the handshake only where it is required")]
    DirectTls,
    /// Clients are to be checked here, but one that encrypts with the server would be let in unchecked.
    #[error("clients cannot be checked where their encryption passes unread")]
    TerminateUnread,
    /// Clients are to be checked here, and no method is allowed.
    #[error("clients are to be checked, and no method is allowed")]
    NoMethod,
    /// Clients are to be checked here, none is offered TLS, and every method that is allowed needs it.
    #[error("every method by which clients may be checked needs TLS, which they are not offered")]
    MethodsNeedTls,
    /// Clients are to be other users to the upstreams, or to be looked up by the caller, and their logins are relayed.
    #[error(
        "only clients that are checked here can be looked up by the caller or have another name upstream"
    )]
    RelayedUsers,
    /// Reads are to be split off in front of CockroachDB, which has no standbys.
    #[error("CockroachDB has no standbys that reads could be sent to")]
    CockroachSplit,
    /// The read buffer is too small for the messages that have to be looked at whole.
    #[error("the read buffer has to hold at least {least} bytes")]
    ReadBuffer {
        /// The least size in bytes.
        least: usize,
    },
    /// Startup packets may be so short that clients with a few settings have no room.
    #[error("startup packets with bodies of at least {least} bytes have to be allowed")]
    StartupBody {
        /// The least length in bytes.
        least: u32,
    },
    /// Messages may be shorter only than what has to be buffered anyway.
    #[error("messages of at least {least} bytes have to be allowed in both directions")]
    MessageLength {
        /// The least length in bytes.
        least: usize,
    },
    /// The writer is to be dialled more often than anybody would wait for.
    #[error("the writer can be dialled again at most {most} times")]
    WriterRetries {
        /// The greatest number.
        most: u32,
    },
    /// Messages are to be limited, and streams to pass unread when they make no sense: whoever breaks one would be free of the
    /// limit.
    #[error("messages cannot be limited where streams that make no sense are passed on")]
    PassedUnlimited,
}
