use super::cancel_key::CancelKey;
use super::codes::{CANCEL_REQUEST, GSSENC_REQUEST, REQUEST_LENGTH, SSL_REQUEST};
use super::detect::{First, TLS_HANDSHAKE};
use super::params::StartupParams;
use super::refusal::{Refusal, Request};
use super::version::ProtocolVersion;
use crate::limits::{CANCEL_SECRET_MAX, CANCEL_SECRET_MIN, STARTUP_BODY_MAX};
use crate::wire::Reader;

/// What a client is offered in the way of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientTls {
    /// SSLRequest is answered `N`; the session runs in clear.
    Disable,
    /// SSLRequest is answered `S`, and a handshake without one is taken; a client that asks for no TLS is served in
    /// clear.
    Allow,
    /// SSLRequest is answered `S`, and a handshake without one is taken; a StartupMessage in clear is refused. A
    /// CancelRequest in clear is not: it is a connection of its own, before any authentication, and libpq before 17
    /// sends it in clear always. PostgreSQL takes it for the same reason whatever `pg_hba.conf` says.
    Require,
    /// SSLRequest, or a handshake without one, goes to the server as it is, and so does everything behind it, both
    /// ways and unread: server and client encrypt with each other. How long a login may take there is the server's to
    /// say. A client that asks for no TLS is served in clear.
    Passthrough,
}

/// What the client's bytes amount to.
#[derive(Debug)]
pub enum Opened {
    /// Nothing can be said before the input has this many bytes, counted from its start.
    Need(usize),
    /// Send one byte. After `S` the TLS handshake follows, when the byte is on its way and before another byte is read
    /// in clear; after `N` the connection stays as it is. Then go on with what comes behind the `used` bytes.
    Reply {
        /// How many bytes of the input are done with.
        used: usize,
        /// What is answered.
        request: Request,
        /// `S` or `N`.
        byte: u8,
    },
    /// A TLS handshake begins with the first byte of the input, of which nothing is used. Accept it, see that it agrees
    /// by ALPN on the protocol [`ALPN`](super::ALPN) and nothing else (a client of another protocol could be made to
    /// talk to us), and go on with what comes decrypted.
    DirectTls,
    /// Hand the connection through whole: every byte of the input, of which nothing is used, and everything behind it
    /// goes to the server unread, and what that sends to the client.
    Passthrough {
        /// Whether it was asked for by an SSLRequest, which the server answers with one byte in clear, or is a
        /// handshake without one.
        by: Passage,
    },
    /// Cancel the query of another session, and close without an answer, whatever comes of it.
    Cancel {
        /// How many bytes of the input are done with.
        used: usize,
        /// Whose query.
        key: CancelKey,
    },
    /// The opening is over: log this client in.
    Start {
        /// How many bytes of the input are done with. What follows belongs to the login.
        used: usize,
        /// The StartupMessage.
        params: StartupParams,
    },
}

/// How a client began the encryption that is handed through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// By SSLRequest.
    Request,
    /// By a TLS handshake.
    Direct,
}

/// The opening of a client's connection, up to its StartupMessage or CancelRequest.
///
/// | packet | in clear | after TLS |
/// | --- | --- | --- |
/// | SSLRequest | `S`, `N` or handed through by policy, once | FATAL 0A000 |
/// | GSSENCRequest | `N`, once | FATAL 0A000 |
/// | CancelRequest | taken | taken |
/// | StartupMessage | taken; by policy FATAL 28000 | taken |
/// | TLS handshake, as the first bytes | taken, closed or handed through by policy | closed |
/// | a StartupMessage longer than is configured, a request of another length | FATAL 08P01 | FATAL 08P01 |
/// | any other length | closed | closed |
///
/// At most 10,020 bytes are read and at most two bytes and one error are answered, however the client goes about it:
/// each request is answered once, whatever came between (CVE-2026-6479).
///
/// ```
/// use pgturnout::startup::{ClientTls, Negotiation, Opened};
///
/// let mut opening = Negotiation::new(ClientTls::Allow);
/// let ssl_request = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// assert!(matches!(opening.handle(&ssl_request[..5], false), Ok(Opened::Need(8))));
/// assert!(matches!(opening.handle(&ssl_request, false), Ok(Opened::Reply { used: 8, byte: b'S', .. })));
/// ```
#[derive(Debug)]
pub struct Negotiation {
    policy: ClientTls,
    startup_body: u32,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// In clear. Which requests have been answered `N`.
    Clear { ssl: Asked, gss: Asked },
    /// `S` was answered: the next byte is an encrypted one.
    StartingTls,
    /// Encrypted.
    Secured,
    /// Refused, or handed over.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    NotYet,
    Once,
}

impl Negotiation {
    /// The opening of a new connection. One that was encrypted from the start is told so by `secured` in the first
    /// call of [`handle`](Negotiation::handle).
    #[must_use]
    pub fn new(policy: ClientTls) -> Negotiation {
        Negotiation {
            policy,
            startup_body: STARTUP_BODY_MAX,
            phase: Phase::Clear {
                ssl: Asked::NotYet,
                gss: Asked::NotYet,
            },
        }
    }

    /// The same with a narrower limit of a StartupMessage's body, in bytes: a longer one is refused when its first eight
    /// bytes are there. None is wider than [`STARTUP_BODY_MAX`], past which servers refuse.
    #[must_use]
    pub fn startup_body(self, most: u32) -> Negotiation {
        Negotiation {
            startup_body: most,
            ..self
        }
    }

    /// Says what to do about `input`: **all** bytes that are buffered and not used yet. To show a part of them hides
    /// what is stuffed behind an encryption request.
    ///
    /// `secured` is whether the connection is encrypted now; once true it stays true. Nothing is consumed unless the
    /// result says so: after [`Opened::Need`] come back with the same bytes and more.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] ends the opening: send its answer and close.
    pub fn handle(&mut self, input: &[u8], secured: bool) -> Result<Opened, Refusal> {
        let opened = self
            .phase_now(input, secured)
            .and_then(|phase| self.read(phase, input));
        self.phase = match &opened {
            Ok((_, phase)) => *phase,
            Err(_) => Phase::Ended,
        };
        opened.map(|(opened, _)| opened)
    }

    /// The phase in which these bytes came.
    fn phase_now(&self, input: &[u8], secured: bool) -> Result<Phase, Refusal> {
        match self.phase {
            Phase::Ended => Err(Refusal::Ended),
            Phase::Clear { .. } | Phase::StartingTls | Phase::Secured if secured => {
                Ok(Phase::Secured)
            }
            Phase::Clear { .. } => Ok(self.phase),
            Phase::StartingTls if input.is_empty() => Ok(self.phase),
            Phase::StartingTls | Phase::Secured => Err(Refusal::NotSecured),
        }
    }

    fn read(&self, phase: Phase, input: &[u8]) -> Result<(Opened, Phase), Refusal> {
        const FRESH: Phase = Phase::Clear {
            ssl: Asked::NotYet,
            gss: Asked::NotYet,
        };
        if phase == FRESH && input.first() == Some(&TLS_HANDSHAKE) {
            return self.handshake();
        }
        let (announced, length, code) = match First::of(input) {
            First::Need(bytes) => return Ok((Opened::Need(bytes), phase)),
            First::NoLength(announced) => return Err(Refusal::Length { announced }),
            First::Packet {
                announced,
                length,
                code,
            } => (announced, length, code),
        };
        match code {
            SSL_REQUEST => self.encryption(phase, Request::Ssl, announced, input),
            GSSENC_REQUEST => self.encryption(phase, Request::GssEnc, announced, input),
            CANCEL_REQUEST => cancel(phase, announced, length, input),
            version if announced.saturating_sub(4) > self.startup_body => {
                let version = ProtocolVersion::from_code(version);
                Err(match version.major {
                    3 => Refusal::StartupLength { announced },
                    _ => Refusal::Version(version),
                })
            }
            _version => self.start(phase, length, input),
        }
    }

    /// The first bytes are those of a TLS handshake.
    fn handshake(&self) -> Result<(Opened, Phase), Refusal> {
        match self.policy {
            ClientTls::Disable => Err(Refusal::DirectTls),
            ClientTls::Allow | ClientTls::Require => Ok((Opened::DirectTls, Phase::StartingTls)),
            ClientTls::Passthrough => {
                let by = Passage::Direct;
                Ok((Opened::Passthrough { by }, Phase::Ended))
            }
        }
    }

    /// Answers a request for encryption, of which eight bytes are there.
    fn encryption(
        &self,
        phase: Phase,
        request: Request,
        announced: u32,
        input: &[u8],
    ) -> Result<(Opened, Phase), Refusal> {
        let (ssl, gss) = match (phase, request) {
            (
                Phase::Clear {
                    ssl: Asked::NotYet,
                    gss,
                },
                Request::Ssl,
            ) => (Asked::Once, gss),
            (
                Phase::Clear {
                    ssl,
                    gss: Asked::NotYet,
                },
                Request::GssEnc,
            ) => (ssl, Asked::Once),
            (Phase::Clear { .. } | Phase::StartingTls | Phase::Secured | Phase::Ended, _) => {
                return Err(Refusal::Repeated { request });
            }
        };
        if announced != REQUEST_LENGTH {
            return Err(Refusal::RequestLength { request, announced });
        }
        let (byte, phase) = match (request, self.policy) {
            (Request::Ssl, ClientTls::Passthrough) => {
                // What stands behind it is for the server to judge.
                let by = Passage::Request;
                return Ok((Opened::Passthrough { by }, Phase::Ended));
            }
            (Request::Ssl, ClientTls::Allow | ClientTls::Require) => (b'S', Phase::StartingTls),
            (Request::Ssl, ClientTls::Disable) | (Request::GssEnc, _) => {
                (b'N', Phase::Clear { ssl, gss })
            }
        };
        if input.len() > 8 {
            return Err(Refusal::BytesBehind {
                request,
                answer: byte,
            });
        }
        let reply = Opened::Reply {
            used: 8,
            request,
            byte,
        };
        Ok((reply, phase))
    }

    fn start(&self, phase: Phase, length: usize, input: &[u8]) -> Result<(Opened, Phase), Refusal> {
        let Some(packet) = input.get(..length) else {
            return Ok((Opened::Need(length), phase));
        };
        let params = StartupParams::parse(packet)?;
        match (phase, self.policy) {
            (Phase::Clear { .. }, ClientTls::Require) => Err(Refusal::TlsRequired),
            (Phase::Clear { .. } | Phase::StartingTls | Phase::Secured | Phase::Ended, _) => Ok((
                Opened::Start {
                    used: length,
                    params,
                },
                Phase::Ended,
            )),
        }
    }
}

fn cancel(
    phase: Phase,
    announced: u32,
    length: usize,
    input: &[u8],
) -> Result<(Opened, Phase), Refusal> {
    let secret_len = length.saturating_sub(12);
    if !(CANCEL_SECRET_MIN..=CANCEL_SECRET_MAX).contains(&secret_len) {
        return Err(Refusal::CancelLength { announced });
    }
    let Some(packet) = input.get(8..length) else {
        return Ok((Opened::Need(length), phase));
    };
    let mut body = Reader::new("CancelRequest", packet);
    match body
        .i32("process id")
        .map(|id| CancelKey::new(id, body.rest()))
    {
        Ok(Ok(key)) => Ok((Opened::Cancel { used: length, key }, Phase::Ended)),
        Ok(Err(_)) | Err(_) => Err(Refusal::CancelLength { announced }),
    }
}
