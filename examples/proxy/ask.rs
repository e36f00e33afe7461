//! A connection of the proxy's own to a server: logged in to, and asked by simple queries.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use pgturnout::auth::{Channel, Handshake, Replay, ScramNonce};
use pgturnout::session::Destination;
use pgturnout::startup::{ProtocolVersion, StartupParams, UpstreamTlsPolicy};
use pgturnout::wire::{Backend, Frontend, Header, Query};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::peer_io::Stream;
use crate::reading::Whom;
use crate::{METHODS, Proxy, cancel, tls};

/// The longest message that is believed.
const LONGEST: u32 = 1 << 20;

/// A row: each column as text, or NULL.
pub(crate) type Row = Vec<Option<Vec<u8>>>;

/// A server that waits for a query.
pub(crate) struct Server {
    stream: Stream,
    read: BytesMut,
}

impl Server {
    pub(crate) async fn log_in(
        proxy: &Arc<Proxy>,
        to: Destination,
        whom: &Whom,
    ) -> io::Result<Server> {
        let config = proxy.current().config;
        let policy = config.upstreams[to.0].tls;
        let stream = cancel::connect(proxy, to, policy).await?;
        let channel = match (&stream, policy) {
            (Stream::Plain(_), _) => Channel::Clear,
            (Stream::Tls(_), UpstreamTlsPolicy::VerifyFull) => Channel::VerifiedTls,
            (Stream::Tls(_), _) => Channel::Tls,
        };
        let pairs = [
            (&b"user"[..], whom.user.as_bytes()),
            (b"database", whom.database.as_bytes()),
            (b"application_name", b"pgturnout"),
        ];
        let params =
            StartupParams::build(ProtocolVersion::V3_0, pairs).map_err(io::Error::other)?;
        let credential = config.users.get(whom.user.as_bytes());
        let nonce = ScramNonce::from_bytes(tls::random()?);
        let mut replay = Replay::new(&params, credential, METHODS, channel, nonce);
        let mut server = Server {
            stream,
            read: BytesMut::new(),
        };
        let mut out = BytesMut::new();
        replay.start(&mut out).map_err(io::Error::other)?;
        loop {
            server.stream.write_all_buf(&mut out).await?;
            server.stream.flush().await?;
            let (tag, body) = server.message().await?;
            let message = Backend::parse(tag, &body).map_err(io::Error::other)?;
            let mut step = replay.handle(message, &mut out).map_err(io::Error::other)?;
            while let Handshake::Working = step {
                step = replay.work(&mut out).map_err(io::Error::other)?;
                tokio::task::yield_now().await;
            }
            match step {
                Handshake::Ready(_) => return Ok(server),
                Handshake::Wait | Handshake::Working => {}
                Handshake::Asked(_) => return Err(io::Error::other("it asks for more")),
            }
        }
    }

    /// Runs a query, and gives its rows.
    pub(crate) async fn ask(&mut self, sql: &str) -> io::Result<Vec<Row>> {
        let mut out = BytesMut::new();
        let query = Frontend::Query(Query {
            text: sql.as_bytes(),
        });
        query.encode(&mut out).map_err(io::Error::other)?;
        self.stream.write_all_buf(&mut out).await?;
        self.stream.flush().await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            let (tag, body) = self.message().await?;
            match Backend::parse(tag, &body).map_err(io::Error::other)? {
                Backend::DataRow { values } => {
                    let row = values.into_iter().map(|value| value.map(<[u8]>::to_vec));
                    rows.push(row.collect());
                }
                Backend::ErrorResponse(fields) => {
                    let state = fields.sqlstate();
                    let state = state.map(|state| state.to_string());
                    failed = Some(format!("it refused: {}", state.unwrap_or_default()));
                }
                Backend::ReadyForQuery { .. } => break,
                _ => {}
            }
        }
        match failed {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(rows),
        }
    }

    async fn message(&mut self) -> io::Result<(u8, BytesMut)> {
        loop {
            let header = Header::parse_within(&self.read, LONGEST).map_err(io::Error::other)?;
            if let Some(header) = header {
                let length = header.frame_len as usize;
                if self.read.len() >= length {
                    let mut frame = self.read.split_to(length);
                    return Ok((header.tag, frame.split_off(Header::LEN)));
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
