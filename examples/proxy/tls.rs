//! TLS by rustls: our side of both handshakes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use pgturnout::auth::{TlsEndPoint, common_name};
use pgturnout::session::{PeerId, TlsInfo};
use pgturnout::startup::{ALPN, UpstreamTlsPolicy};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme, WantsVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::cli::{Origin, UsageError};
use crate::options::Options;
use crate::peer_io::Begun;

/// Everything that a handshake needs, made once.
pub(crate) struct Tls {
    clients: Option<TlsAcceptor>,
    upstreams: TlsConnector,
    /// What clients bind their logins to.
    end_point: Option<TlsEndPoint>,
}

impl Tls {
    /// Reads the files that the options name.
    pub(crate) fn new(options: &Options) -> Result<Tls, UsageError> {
        let provider = Arc::new(ring::default_provider());
        let mut end_point = None;
        let clients = match &options.identity {
            Some((cert, key)) => {
                let chain = certificates("tls-cert", cert)?;
                end_point = chain
                    .first()
                    .and_then(|own| TlsEndPoint::of_certificate(own));
                let ca = options.client_ca.as_deref();
                Some(acceptor(provider.clone(), (cert, chain), key, ca)?)
            }
            None => None,
        };
        let upstreams = connector(provider, trust(options)?)?;
        Ok(Tls {
            clients,
            upstreams,
            end_point,
        })
    }

    /// Adds what logins are bound to: our certificate or the server's, and the name in the client's.
    pub(crate) fn tell(&self, peer: PeerId, shown: Option<&[u8]>, info: &mut TlsInfo) {
        if peer == PeerId::CLIENT {
            info.end_point = self.end_point.clone();
            info.identity = shown.and_then(common_name).map(Box::from);
        } else {
            info.end_point = shown.and_then(TlsEndPoint::of_certificate);
        }
    }

    /// The server's side, with a client.
    pub(crate) async fn accept(&self, stream: Begun) -> io::Result<TlsStream<Begun>> {
        let acceptor = self.clients.as_ref();
        let acceptor = acceptor.ok_or_else(|| io::Error::other("there is no certificate"))?;
        acceptor.accept(stream).await.map(TlsStream::from)
    }

    /// The client's side, with an upstream of this name or address.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<Begun>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = Begun::new(Vec::new(), stream);
        let stream = self.upstreams.connect(name, stream).await?;
        Ok(TlsStream::from(stream))
    }
}

/// Fills a block from the provider's random source.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the random source failed"))?;
    Ok(bytes)
}

fn acceptor(
    provider: Arc<CryptoProvider>,
    (cert, chain): (&Path, Vec<CertificateDer<'static>>),
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<TlsAcceptor, UsageError> {
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| bad("tls-key", key, error))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("client-tls", cert, error))?;
    let builder = match client_ca {
        Some(ca) => {
            let roots = Arc::new(roots("client-ca", ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| bad("client-ca", ca, error))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| bad("tls-cert", cert, error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whom to believe.
enum Trust {
    /// Whom these vouch for, by the name that was dialled.
    Named(RootCertStore),
    /// Whom these vouch for, whatever its name.
    Signed(RootCertStore),
    Anybody,
}

fn trust(options: &Options) -> Result<Trust, UsageError> {
    let Some(ca) = &options.upstream_ca else {
        return Ok(Trust::Anybody);
    };
    let roots = || roots("upstream-ca", ca);
    Ok(match options.upstream_tls {
        UpstreamTlsPolicy::VerifyFull => Trust::Named(roots()?),
        UpstreamTlsPolicy::VerifyCa => Trust::Signed(roots()?),
        UpstreamTlsPolicy::Disable
        | UpstreamTlsPolicy::Allow
        | UpstreamTlsPolicy::Prefer
        | UpstreamTlsPolicy::Require => Trust::Anybody,
    })
}

fn connector(provider: Arc<CryptoProvider>, trust: Trust) -> Result<TlsConnector, UsageError> {
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| UsageError::new(Origin::CommandLine, "upstream-tls", error.to_string()))?;
    let mut config = match trust {
        Trust::Named(roots) => builder.with_root_certificates(roots),
        Trust::Signed(roots) => unnamed(builder, Some(roots), algorithms),
        Trust::Anybody => unnamed(builder, None, algorithms),
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn unnamed(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let verifier = Unnamed { roots, algorithms };
    let builder = builder.dangerous();
    builder.with_custom_certificate_verifier(Arc::new(verifier))
}

fn roots(flag: &str, ca: &Path) -> Result<RootCertStore, UsageError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(flag, ca)? {
        let added = roots.add(certificate);
        added.map_err(|error| bad(flag, ca, error))?;
    }
    Ok(roots)
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, UsageError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    match found {
        Ok(found) if found.is_empty() => Err(bad(flag, path, "no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(bad(flag, path, error)),
    }
}

fn bad(flag: &str, path: &Path, error: impl std::fmt::Display) -> UsageError {
    let message = format!("{}: {error}", path.display());
    UsageError::new(Origin::CommandLine, flag, message)
}

/// `prefer` and `require` encrypt without asking who answers, and `verify-ca` asks only who has signed for it, as libpq's modes
/// of these names do. The peer still has to own the key of the certificate that it shows.
#[derive(Debug)]
struct Unnamed {
    /// Who may sign for a peer: anybody, without.
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let shown = ParsedCertificate::try_from(shown)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&shown, roots, between, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
