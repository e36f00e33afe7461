//! The message types, one constant per tag, by direction: the same byte means different things in each.

/// Tags of the messages that a client sends.
pub mod frontend {
    /// [`Bind`](crate::wire::Bind)
    pub const BIND: u8 = b'B';
    /// [`Close`](crate::wire::Close)
    pub const CLOSE: u8 = b'C';
    /// A piece of a COPY stream.
    pub const COPY_DATA: u8 = b'd';
    /// The end of a COPY stream.
    pub const COPY_DONE: u8 = b'c';
    /// The failure of a COPY stream.
    pub const COPY_FAIL: u8 = b'f';
    /// [`Describe`](crate::wire::Describe)
    pub const DESCRIBE: u8 = b'D';
    /// [`Execute`](crate::wire::Execute)
    pub const EXECUTE: u8 = b'E';
    /// Asks for the replies so far.
    pub const FLUSH: u8 = b'H';
    /// [`FunctionCall`](crate::wire::FunctionCall)
    pub const FUNCTION_CALL: u8 = b'F';
    /// An answer to an authentication request: see [`password`](crate::wire::password).
    pub const PASSWORD: u8 = b'p';
    /// [`Parse`](crate::wire::Parse)
    pub const PARSE: u8 = b'P';
    /// [`Query`](crate::wire::Query)
    pub const QUERY: u8 = b'Q';
    /// Ends an extended batch.
    pub const SYNC: u8 = b'S';
    /// Ends the session.
    pub const TERMINATE: u8 = b'X';
}

/// Tags of the messages that a server sends.
pub mod backend {
    /// [`Authentication`](crate::wire::Authentication)
    pub const AUTHENTICATION: u8 = b'R';
    /// The process id and the secret of a CancelRequest.
    pub const BACKEND_KEY_DATA: u8 = b'K';
    /// Bind succeeded.
    pub const BIND_COMPLETE: u8 = b'2';
    /// Close succeeded.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// A statement is complete.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// A piece of a COPY stream.
    pub const COPY_DATA: u8 = b'd';
    /// The end of a COPY stream.
    pub const COPY_DONE: u8 = b'c';
    /// The server waits for a COPY stream.
    pub const COPY_IN_RESPONSE: u8 = b'G';
    /// A COPY stream follows.
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    /// COPY streams in both directions, as in replication.
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    /// One row.
    pub const DATA_ROW: u8 = b'D';
    /// An empty query text was executed.
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    /// An error.
    pub const ERROR_RESPONSE: u8 = b'E';
    /// The result of a FunctionCall.
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    /// The newest version that the server speaks, and the options that it does not know.
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    /// What was described returns no rows.
    pub const NO_DATA: u8 = b'n';
    /// A notice.
    pub const NOTICE_RESPONSE: u8 = b'N';
    /// A NOTIFY of some session.
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    /// The parameter types of a statement.
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// The value of a setting that the client is told about.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// Parse succeeded.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// Execute reached its row limit.
    pub const PORTAL_SUSPENDED: u8 = b's';
    /// The server is ready for the next request.
    pub const READY_FOR_QUERY: u8 = b'Z';
    /// The columns of the rows to come.
    pub const ROW_DESCRIPTION: u8 = b'T';
}
