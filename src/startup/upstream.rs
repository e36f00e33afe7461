use bytes::{BufMut, BytesMut};

use super::codes::{REQUEST_LENGTH, SSL_REQUEST};

/// Whether the connection to a server is encrypted, in the words of libpq's `sslmode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamTlsPolicy {
    /// Never: no SSLRequest is sent.
    Disable,
    /// Only if the server refuses a login in clear: see [`UpstreamTlsPolicy::after_refusal`]. One in the middle can read
    /// along, and the server need not be able to.
    Allow,
    /// If the server can. One in the middle can say that it cannot, and read along.
    Prefer,
    /// Always, but with anybody: one in the middle can be the other end.
    Require,
    /// Always, and only with a server whose certificate a trusted authority has signed, whatever name is in it. That is
    /// somebody else where the authority signs for others, too.
    VerifyCa,
    /// Always, and only with the server that its certificate names.
    VerifyFull,
}

impl UpstreamTlsPolicy {
    /// With what to try again, on a new connection, when the server refused a login in clear with SQLSTATE 28000 before
    /// it asked for anything: that is how it says that `pg_hba.conf` has no line for a connection without TLS.
    #[must_use]
    pub fn after_refusal(self) -> Option<UpstreamTlsPolicy> {
        match self {
            UpstreamTlsPolicy::Allow => Some(UpstreamTlsPolicy::Require),
            UpstreamTlsPolicy::Disable
            | UpstreamTlsPolicy::Prefer
            | UpstreamTlsPolicy::Require
            | UpstreamTlsPolicy::VerifyCa
            | UpstreamTlsPolicy::VerifyFull => None,
        }
    }

    /// Whether nothing but an SSLRequest may leave in clear.
    #[must_use]
    pub fn requires_tls(self) -> bool {
        match self {
            UpstreamTlsPolicy::Require
            | UpstreamTlsPolicy::VerifyCa
            | UpstreamTlsPolicy::VerifyFull => true,
            UpstreamTlsPolicy::Disable | UpstreamTlsPolicy::Allow | UpstreamTlsPolicy::Prefer => {
                false
            }
        }
    }
}

/// How TLS with a server begins, in the words of libpq's `sslnegotiation`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum TlsNegotiation {
    /// With an SSLRequest, and the server's answer to it.
    #[default]
    Postgres,
    /// With the handshake, which saves a round trip (PostgreSQL 17 and later). It has to agree by ALPN on
    /// [`ALPN`](super::ALPN). A server cannot say no, so the policy must require TLS.
    Direct,
}

/// What a TLS handshake has to check about the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verification {
    /// Nothing: the connection is encrypted, the other end unknown.
    None,
    /// The chain of the certificate.
    Chain,
    /// The chain of the certificate and the host name in it.
    Full,
}

/// What to do with a connection to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// The SSLRequest is out; wait for a byte, and read in clear no more than arrives of itself.
    Wait,
    /// Drop `used` bytes and start the TLS handshake; nothing else may be sent before it succeeded.
    StartTls {
        /// How many bytes of the input are done with.
        used: usize,
        /// What the handshake has to check.
        verify: Verification,
    },
    /// Drop `used` bytes and go on in clear.
    Clear {
        /// How many bytes of the input are done with.
        used: usize,
    },
}

/// Why a connection to a server is closed before anything but an SSLRequest was sent.
///
/// It says nothing that the server said: nothing of it is authenticated (CVE-2024-10977).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeFault {
    /// The server refuses TLS and the policy requires it.
    #[error("the server does not support TLS, but TLS is required")]
    Refused,
    /// The server answers with an error message, of which not a byte is read.
    ///
    /// libpq ends the connection here in every `sslmode`, `prefer` included, and so do we: a server that could not even
    /// fork is no reason to send a password in clear.
    #[error("the server sent an error response to the SSLRequest")]
    ErrorResponse,
    /// The answer is neither `S` nor `N` nor an error: no PostgreSQL server.
    #[error("the server sent an invalid answer to the SSLRequest")]
    InvalidAnswer,
    /// More than the one byte of the answer arrived: someone put bytes in front of the encrypted ones, or pretends that
    /// the server had (CVE-2021-23222).
    #[error("the server's answer to the SSLRequest is followed by unencrypted bytes")]
    Injected,
    /// The question was not asked yet, or answered before: the driver's mistake.
    #[error("no SSLRequest is unanswered on this connection")]
    OutOfTurn,
}

/// The opening of a connection to a server: encrypted or not, by policy.
///
/// | answer | `Prefer` | `Require`, `VerifyCa`, `VerifyFull` |
/// | --- | --- | --- |
/// | `S` | TLS | TLS |
/// | `N` | clear | closed |
/// | `E` or another byte | closed | closed |
/// | `S` or `N` and one byte more | closed | closed |
///
/// Under `Disable` and `Allow` nothing is asked, and the login begins in clear.
///
/// ```
/// use bytes::BytesMut;
/// use pgturnout::startup::{Upgrade, UpstreamTls, UpstreamTlsPolicy, Verification};
///
/// let mut out = BytesMut::new();
/// let mut tls = UpstreamTls::new(UpstreamTlsPolicy::Require);
/// assert_eq!(tls.start(&mut out)?, Upgrade::Wait);
/// assert_eq!(&out[..], [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
/// assert_eq!(tls.handle(b"S")?, Upgrade::StartTls { used: 1, verify: Verification::None });
/// # Ok::<(), pgturnout::startup::UpgradeFault>(())
/// ```
#[derive(Debug)]
pub struct UpstreamTls {
    policy: UpstreamTlsPolicy,
    negotiation: TlsNegotiation,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    New,
    Asked,
    Decided,
}

impl UpstreamTls {
    /// The opening of a new connection.
    #[must_use]
    pub fn new(policy: UpstreamTlsPolicy) -> UpstreamTls {
        UpstreamTls {
            policy,
            negotiation: TlsNegotiation::default(),
            phase: Phase::New,
        }
    }

    /// The same with TLS begun in this way. [`TlsNegotiation::Direct`] counts where the policy requires TLS, and only
    /// there.
    #[must_use]
    pub fn begun_by(self, negotiation: TlsNegotiation) -> UpstreamTls {
        UpstreamTls {
            negotiation,
            ..self
        }
    }

    /// Starts: appends an SSLRequest to `out`, or decides for clear or for a handshake at once.
    ///
    /// # Errors
    ///
    /// [`UpgradeFault::OutOfTurn`] if it was called before.
    pub fn start(&mut self, out: &mut BytesMut) -> Result<Upgrade, UpgradeFault> {
        match self.phase {
            Phase::New => {}
            Phase::Asked | Phase::Decided => return Err(UpgradeFault::OutOfTurn),
        }
        match (self.policy, self.negotiation) {
            (UpstreamTlsPolicy::Disable | UpstreamTlsPolicy::Allow, _) => {
                self.phase = Phase::Decided;
                Ok(Upgrade::Clear { used: 0 })
            }
            (
                UpstreamTlsPolicy::Require
                | UpstreamTlsPolicy::VerifyCa
                | UpstreamTlsPolicy::VerifyFull,
                TlsNegotiation::Direct,
            ) => {
                self.phase = Phase::Decided;
                Ok(Upgrade::StartTls {
                    used: 0,
                    verify: self.verification(),
                })
            }
            (
                UpstreamTlsPolicy::Prefer
                | UpstreamTlsPolicy::Require
                | UpstreamTlsPolicy::VerifyCa
                | UpstreamTlsPolicy::VerifyFull,
                TlsNegotiation::Postgres | TlsNegotiation::Direct,
            ) => {
                self.phase = Phase::Asked;
                out.put_u32(REQUEST_LENGTH);
                out.put_u32(SSL_REQUEST);
                Ok(Upgrade::Wait)
            }
        }
    }

    fn verification(&self) -> Verification {
        match self.policy {
            UpstreamTlsPolicy::VerifyCa => Verification::Chain,
            UpstreamTlsPolicy::VerifyFull => Verification::Full,
            UpstreamTlsPolicy::Disable
            | UpstreamTlsPolicy::Allow
            | UpstreamTlsPolicy::Prefer
            | UpstreamTlsPolicy::Require => Verification::None,
        }
    }

    /// Judges the answer. `input` is **all** that the server has sent so far.
    ///
    /// # Errors
    ///
    /// An [`UpgradeFault`]: close the connection. No byte of a login has left by then.
    pub fn handle(&mut self, input: &[u8]) -> Result<Upgrade, UpgradeFault> {
        match self.phase {
            Phase::Asked => {}
            Phase::New | Phase::Decided => return Err(UpgradeFault::OutOfTurn),
        }
        let Some((answer, behind)) = input.split_first() else {
            return Ok(Upgrade::Wait);
        };
        self.phase = Phase::Decided;
        let verify = self.verification();
        match (answer, self.policy) {
            (b'S' | b'N', _) if !behind.is_empty() => Err(UpgradeFault::Injected),
            (b'S', _) => Ok(Upgrade::StartTls { used: 1, verify }),
            (
                b'N',
                UpstreamTlsPolicy::Disable | UpstreamTlsPolicy::Allow | UpstreamTlsPolicy::Prefer,
            ) => Ok(Upgrade::Clear { used: 1 }),
            (
                b'N',
                UpstreamTlsPolicy::Require
                | UpstreamTlsPolicy::VerifyCa
                | UpstreamTlsPolicy::VerifyFull,
            ) => Err(UpgradeFault::Refused),
            (b'E', _) => Err(UpgradeFault::ErrorResponse),
            (_, _) => Err(UpgradeFault::InvalidAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [UpstreamTlsPolicy; 6] = [
        UpstreamTlsPolicy::Disable,
        UpstreamTlsPolicy::Allow,
        UpstreamTlsPolicy::Prefer,
        UpstreamTlsPolicy::Require,
        UpstreamTlsPolicy::VerifyCa,
        UpstreamTlsPolicy::VerifyFull,
    ];

    fn asked(policy: UpstreamTlsPolicy) -> UpstreamTls {
        let mut tls = UpstreamTls::new(policy);
        assert_eq!(tls.start(&mut BytesMut::new()), Ok(Upgrade::Wait));
        tls
    }

    #[test]
    fn every_answer_under_every_policy() {
        let start = |verify| Ok(Upgrade::StartTls { used: 1, verify });
        let (none, chain) = (Verification::None, Verification::Chain);
        let full = Verification::Full;
        let (clear, wait) = (Ok(Upgrade::Clear { used: 1 }), Ok(Upgrade::Wait));
        let (refused, injected) = (Err(UpgradeFault::Refused), Err(UpgradeFault::Injected));
        let (error, invalid) = (
            Err(UpgradeFault::ErrorResponse),
            Err(UpgradeFault::InvalidAnswer),
        );
        let table: [(&[u8], [_; 4]); 12] = [
            (b"", [wait; 4]),
            (b"S", [start(none), start(none), start(chain), start(full)]),
            (b"N", [clear, refused, refused, refused]),
            (b"E", [error; 4]),
            (b"E\0\0\0\x08text", [error; 4]),
            (b"Etext of version 2\0", [error; 4]),
            (b"G", [invalid; 4]),
            (b"s", [invalid; 4]),
            (b"\0", [invalid; 4]),
            (b"S\x16", [injected; 4]),
            (b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", [injected; 4]),
            (b"NR", [injected; 4]),
        ];
        for (input, expected) in table {
            for (policy, expected) in POLICIES[2..].iter().zip(expected) {
                assert_eq!(
                    asked(*policy).handle(input),
                    expected,
                    "{input:?}, {policy:?}"
                );
            }
        }
    }

    #[test]
    fn without_tls_nothing_is_asked() {
        for policy in [UpstreamTlsPolicy::Disable, UpstreamTlsPolicy::Allow] {
            for negotiation in [TlsNegotiation::Postgres, TlsNegotiation::Direct] {
                let mut out = BytesMut::new();
                let mut tls = UpstreamTls::new(policy).begun_by(negotiation);
                assert_eq!(tls.start(&mut out), Ok(Upgrade::Clear { used: 0 }));
                assert!(out.is_empty());
                assert_eq!(tls.handle(b"S"), Err(UpgradeFault::OutOfTurn));
            }
        }
    }

    /// A handshake that nobody asked for cannot be declined, so where clear would do one is asked.
    #[test]
    fn a_direct_handshake_where_tls_is_required() {
        for (policy, verify) in [
            (UpstreamTlsPolicy::Require, Verification::None),
            (UpstreamTlsPolicy::VerifyCa, Verification::Chain),
            (UpstreamTlsPolicy::VerifyFull, Verification::Full),
        ] {
            let mut out = BytesMut::new();
            let mut tls = UpstreamTls::new(policy).begun_by(TlsNegotiation::Direct);
            let start = Upgrade::StartTls { used: 0, verify };
            assert_eq!((tls.start(&mut out), out.len()), (Ok(start), 0));
            assert_eq!(tls.handle(b"S"), Err(UpgradeFault::OutOfTurn));
        }
        let mut out = BytesMut::new();
        let mut tls = UpstreamTls::new(UpstreamTlsPolicy::Prefer).begun_by(TlsNegotiation::Direct);
        assert_eq!((tls.start(&mut out), out.len()), (Ok(Upgrade::Wait), 8));
    }

    #[test]
    fn only_allow_tries_again() {
        for policy in POLICIES {
            let again = (policy == UpstreamTlsPolicy::Allow).then_some(UpstreamTlsPolicy::Require);
            assert_eq!(policy.after_refusal(), again, "{policy:?}");
        }
    }

    #[test]
    fn one_question_and_one_answer() {
        for policy in POLICIES {
            assert_eq!(
                UpstreamTls::new(policy).handle(b"S"),
                Err(UpgradeFault::OutOfTurn)
            );
        }
        let mut tls = asked(UpstreamTlsPolicy::Prefer);
        let mut out = BytesMut::new();
        assert_eq!(tls.start(&mut out), Err(UpgradeFault::OutOfTurn));
        assert!(out.is_empty());
        assert_eq!(tls.handle(b""), Ok(Upgrade::Wait));
        assert_eq!(tls.handle(b"N"), Ok(Upgrade::Clear { used: 1 }));
        assert_eq!(tls.handle(b"S"), Err(UpgradeFault::OutOfTurn));
    }
}
