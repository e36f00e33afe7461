use std::fmt;

use bytes::{BufMut, BytesMut};

use super::codes::{GSSENC_REQUEST, SSL_REQUEST};
use super::version::ProtocolVersion;
use crate::wire::{Severity, SqlState, error_response, sqlstate};

/// Which encryption a client asks for before its StartupMessage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// SSLRequest.
    Ssl,
    /// GSSENCRequest.
    GssEnc,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Request::Ssl => "SSLRequest",
            Request::GssEnc => "GSSENCRequest",
        })
    }
}

/// Why a connection is closed before its session began, and what the client is told.
///
/// It holds no byte of the peer but the numbers named here. [`answer`](Refusal::answer) writes what to send before
/// closing: an error, also in some places where PostgreSQL only writes to its log, and nothing where nobody could read one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No packet has this length: another protocol, which would not understand an error, or an attack. No answer.
    #[error("no startup packet has the length {announced}")]
    Length {
        /// The length word.
        announced: u32,
    },
    /// A StartupMessage that is longer than this proxy takes, of which only the first words were read.
    #[error("invalid length of startup packet")]
    StartupLength {
        /// The length word.
        announced: u32,
    },
    /// An encryption request of another length than 8. PostgreSQL accepts it and ignores the rest, which here would
    /// have to be skipped in front of a TLS handshake.
    #[error("{request} with the length {announced}")]
    RequestLength {
        /// Which request.
        request: Request,
        /// The length word.
        announced: u32,
    },
    /// A CancelRequest whose secret is too short or too long. No answer: whoever cancels reads none.
    #[error("CancelRequest with the length {announced}")]
    CancelLength {
        /// The length word.
        announced: u32,
    },
    /// A TLS handshake without an SSLRequest before it, where TLS is not offered; no answer that a TLS client would
    /// understand.
    #[error("a TLS handshake where TLS is not offered")]
    DirectTls,
    /// The TLS handshake did not agree on PostgreSQL's protocol: without an SSLRequest before it, ALPN is what keeps a
    /// client of another protocol from being made to talk to us (ALPACA). No answer, as PostgreSQL.
    #[error("the TLS handshake did not agree on the protocol `postgresql`")]
    Alpn,
    /// Bytes were there behind an encryption request before it was answered: whoever sent them could not know that
    /// they would not be read in clear (CVE-2021-23214). Instead of `S` there comes the error that the protocol allows in
    /// its place; PostgreSQL goes on with the handshake, and refuses inside.
    #[error("unencrypted bytes behind {request}, before its answer")]
    BytesBehind {
        /// Which request.
        request: Request,
        /// What its answer would have been.
        answer: u8,
    },
    /// The same encryption request again, or one on a connection that is encrypted already.
    #[error("{request} where none may come any more")]
    Repeated {
        /// Which request.
        request: Request,
    },
    /// A protocol version that is not spoken.
    #[error("unsupported frontend protocol {0}")]
    Version(ProtocolVersion),
    /// The list of a StartupMessage does not end where the packet does.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A StartupMessage without a user.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// A StartupMessage with a name that only the proxy may use.
    #[error("a startup parameter is reserved")]
    Reserved,
    /// A StartupMessage in clear where TLS is required.
    #[error("this connection requires TLS")]
    TlsRequired,
    /// Bytes in clear where TLS had been promised, or after it: the driver's mistake. No answer.
    #[error("bytes in clear on a connection that is to be encrypted")]
    NotSecured,
    /// The opening had ended before: the driver's mistake. No answer.
    #[error("the opening of this connection has ended")]
    Ended,
}

impl Refusal {
    /// Appends what the client is sent before the connection closes: nothing, an ErrorResponse, or what a client of
    /// protocol 2 or older can read.
    pub fn answer(&self, out: &mut BytesMut) {
        match self {
            Refusal::Length { .. }
            | Refusal::CancelLength { .. }
            | Refusal::DirectTls
            | Refusal::Alpn
            | Refusal::NotSecured
            | Refusal::Ended => {}
            Refusal::RequestLength { .. } | Refusal::StartupLength { .. } => {
                fatal(out, sqlstate::PROTOCOL_VIOLATION, &self.to_string());
            }
            Refusal::BytesBehind { request, answer } => {
                if *answer == b'N' {
                    out.put_u8(*answer);
                }
                let text = match request {
                    Request::Ssl => "received unencrypted data after SSL request",
                    Request::GssEnc => "received unencrypted data after GSSAPI encryption request",
                };
                fatal(out, sqlstate::PROTOCOL_VIOLATION, text);
            }
            Refusal::Repeated {
                request: Request::Ssl,
            } => {
                unsupported(out, ProtocolVersion::from_code(SSL_REQUEST));
            }
            Refusal::Repeated {
                request: Request::GssEnc,
            } => {
                unsupported(out, ProtocolVersion::from_code(GSSENC_REQUEST));
            }
            Refusal::Version(version) => unsupported(out, *version),
            Refusal::Layout => fatal(out, sqlstate::PROTOCOL_VIOLATION, &self.to_string()),
            Refusal::NoUser | Refusal::TlsRequired | Refusal::Reserved => {
                fatal(out, sqlstate::INVALID_AUTHORIZATION, &self.to_string())
            }
        }
    }
}

/// The answer to a version that is not spoken. A client older than version 3 reads an error without a length word; the
/// version 0.0 is none of those for PostgreSQL, because it has not set a version yet.
fn unsupported(out: &mut BytesMut, version: ProtocolVersion) {
    let text = format!("unsupported frontend protocol {version}");
    if version.major < 3 && version.code() != 0 {
        out.put_slice(format!("EFATAL:  {text}\n\0").as_bytes());
    } else {
        fatal(out, sqlstate::FEATURE_NOT_SUPPORTED, &text);
    }
}

fn fatal(out: &mut BytesMut, code: SqlState, text: &str) {
    // Only a NUL in the text could be refused, and these are our own words.
    let _ = error_response(out, Severity::Fatal, code, text, None, None);
}
