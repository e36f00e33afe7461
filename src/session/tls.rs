//! What a driver says of a TLS connection.

use crate::auth::TlsEndPoint;
use crate::limits;
use crate::startup::{ALPN, TlsNegotiation};
use crate::wire::Printable;

/// Why a TLS handshake failed, in words for a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsFailed(pub String);

/// What a driver knows of a TLS connection: facts about the peer, none of which the session can see for itself.
///
/// The session needs `alpn`: a handshake that no SSLRequest was before has to agree on
/// [`ALPN`]. Logins use `end_point` and `identity`. The rest it keeps for whoever asks
/// ([`Session::tls_info`](super::Session::tls_info)). What is longer than real ones are is not kept
/// ([`limits::TLS_CERTIFICATE_MAX`], [`limits::TLS_NAME_MAX`]).
///
/// ```
/// use pgturnout::session::TlsInfo;
///
/// let mut info = TlsInfo::default();
/// info.alpn = Some(Box::from(&b"postgresql"[..]));
/// info.server_name = Some("db.example.com".into());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The protocol that ALPN agreed on; `None` if the peer does not know ALPN.
    pub alpn: Option<Box<[u8]>>,
    /// The name by which a client asked for us (SNI).
    pub server_name: Option<Box<str>>,
    /// The peer's own certificate, in DER.
    pub peer_certificate: Option<Box<[u8]>>,
    /// The certificate that the server of the handshake has shown, which is us where a client is concerned: SCRAM is
    /// bound to it. `None` if it is not known.
    pub end_point: Option<TlsEndPoint>,
    /// The name in the certificate that the client of the handshake has shown, if that was verified. An upstream has
    /// none.
    pub identity: Option<Box<[u8]>>,
}

impl TlsInfo {
    /// Whether the handshake agreed on PostgreSQL's protocol, as far as it had to: by ALPN, on which one that nobody asked
    /// for must agree. A session looks itself; this is for connections of the driver's own, as those of cancels.
    #[must_use]
    pub fn agrees(&self, begun: TlsNegotiation) -> bool {
        match (&self.alpn, begun) {
            (Some(name), _) => **name == *ALPN,
            (None, TlsNegotiation::Postgres) => true,
            (None, TlsNegotiation::Direct) => false,
        }
    }

    /// The same without what is too long to be kept.
    pub(super) fn bounded(mut self) -> TlsInfo {
        let within = |bytes: &[u8], most: usize| bytes.len() <= most;
        self.alpn = self.alpn.filter(|name| within(name, limits::TLS_NAME_MAX));
        let name = self.server_name;
        self.server_name = name.filter(|name| within(name.as_bytes(), limits::TLS_NAME_MAX));
        let certificate = self.peer_certificate;
        self.peer_certificate = certificate.filter(|der| within(der, limits::TLS_CERTIFICATE_MAX));
        let name = self.identity;
        self.identity = name.filter(|name| within(name, limits::TLS_NAME_MAX));
        self
    }
}

impl std::fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map(|bytes| bytes.len());
        f.debug_struct("TlsInfo")
            .field("alpn", &self.alpn.as_deref().map(Printable))
            .field(
                "server_name",
                &self
                    .server_name
                    .as_deref()
                    .map(|name| Printable(name.as_bytes())),
            )
            .field("peer_certificate_bytes", &len(&self.peer_certificate))
            .field("end_point", &self.end_point)
            .field("identity", &self.identity.as_deref().map(Printable))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_not_kept() {
        let of = |name: usize, certificate: usize| TlsInfo {
            alpn: Some(vec![b'a'; name].into()),
            server_name: Some("n".repeat(name).into()),
            peer_certificate: Some(vec![1; certificate].into()),
            end_point: None,
            identity: Some(vec![b'u'; name].into()),
        };
        let most = of(limits::TLS_NAME_MAX, limits::TLS_CERTIFICATE_MAX);
        assert_eq!(most.clone().bounded(), most);
        let more = of(limits::TLS_NAME_MAX + 1, limits::TLS_CERTIFICATE_MAX + 1);
        assert_eq!(more.bounded(), TlsInfo::default());
    }

    #[test]
    fn a_handshake_agrees_on_the_protocol_or_on_none() {
        use TlsNegotiation::{Direct, Postgres};
        for (alpn, begun, agrees) in [
            (None, Postgres, true),
            (None, Direct, false),
            (Some("postgresql"), Postgres, true),
            (Some("postgresql"), Direct, true),
            (Some("h2"), Postgres, false),
            (Some("h2"), Direct, false),
            (Some(""), Direct, false),
        ] {
            let info = TlsInfo {
                alpn: alpn.map(|name| name.as_bytes().into()),
                ..TlsInfo::default()
            };
            assert_eq!(info.agrees(begun), agrees, "{alpn:?}, {begun:?}");
        }
    }
}
