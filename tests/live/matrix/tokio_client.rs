//! tokio-postgres in the matrix, with rustls below it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Config, Socket};
use tokio_rustls::{TlsConnector, client};

/// Opens a session as a line in libpq's words says, with servers of this authority.
pub(crate) async fn says(line: &str, ca: &str) -> String {
    match session(line, ca).await {
        Ok(places) => places
            .map(|standby| if standby { "t" } else { "f" })
            .join(" "),
        Err(error) => {
            let state = error.code().map_or("", |state| state.code());
            let mut said = format!("{state} {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                said += &format!(": {error}");
                source = error.source();
            }
            said
        }
    }
}

async fn session(line: &str, ca: &str) -> Result<[bool; 2], tokio_postgres::Error> {
    let path = |name: &str| {
        let mut words = line.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(key, _)| *key == name).map(|(_, path)| path)
    };
    let identity = path("sslcert").zip(path("sslkey"));
    let known = |word: &&str| !word.starts_with("sslcert=") && !word.starts_with("sslkey=");
    let config: Vec<&str> = line.split(' ').filter(known).collect();
    let config: Config = config.join(" ").parse()?;
    let (client, connection) = config.connect(Rustls::new(ca, identity)).await?;
    let connection = tokio::spawn(connection);
    let mut places = [false; 2];
    for (place, sql) in places.iter_mut().zip([super::READ, super::WRITE]) {
        *place = client.query_one(sql, &[]).await?.get(0);
    }
    drop(client);
    connection.await.unwrap()?;
    Ok(places)
}

#[derive(Clone)]
struct Rustls(TlsConnector);

impl Rustls {
    fn new(ca: &str, identity: Option<(&str, &str)>) -> Rustls {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some((cert, key)) => {
                let chain = CertificateDer::pem_file_iter(cert).unwrap();
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        Rustls(TlsConnector::from(Arc::new(config)))
    }
}

impl MakeTlsConnect<Socket> for Rustls {
    type Stream = Encrypted;
    type TlsConnect = Rustls;
    type Error = io::Error;

    fn make_tls_connect(&mut self, _domain: &str) -> io::Result<Rustls> {
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for Rustls {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from("localhost").unwrap();
            Ok(Encrypted(self.0.connect(name, stream).await?))
        })
    }
}

struct Encrypted(client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    #[cfg(feature = "scram")]
    fn channel_binding(&self) -> ChannelBinding {
        let shown = self.0.get_ref().1.peer_certificates().unwrap();
        let end_point = pgturnout::auth::TlsEndPoint::of_certificate(&shown[0]).unwrap();
        ChannelBinding::tls_server_end_point(end_point.bytes().to_vec())
    }

    #[cfg(not(feature = "scram"))]
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
