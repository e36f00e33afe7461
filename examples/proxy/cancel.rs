//! Cancel requests: a connection of their own to the upstream, which leaves the session's connection alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgturnout::session::CancelTarget;
use pgturnout::startup::{CancelKey, Upgrade, UpstreamTls};
use pgturnout::stats::ConnectionCounter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Proxy;
use crate::peer_io::Stream;

/// How long the upstream may take, dial and TLS included. It answers nothing and closes when it has sent the signal.
const LIMIT: Duration = Duration::from_secs(10);

/// Cancels what the session of this key has running; without such a session, or when nothing of it runs, does
/// nothing, as PostgreSQL. Done when the upstream has taken the request.
pub(crate) async fn relay(proxy: Arc<Proxy>, key: CancelKey) {
    let count = |counter| proxy.metrics.count(counter);
    let Some(target) = proxy.registry.cancel_target(&key).await else {
        return count(ConnectionCounter::CancelIgnored);
    };
    count(ConnectionCounter::CancelForwarded);
    let sent = match tokio::time::timeout(LIMIT, send(&proxy, &target)).await {
        Ok(sent) => sent,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match sent {
        Ok(()) => count(ConnectionCounter::CancelSuccessful),
        Err(error) => {
            let name = proxy.name(target.to);
            proxy.log.line(&format!(
                "a cancel request could not be sent to {name}: {error}"
            ));
        }
    }
}

async fn send(proxy: &Arc<Proxy>, target: &CancelTarget) -> io::Result<()> {
    let stream = Proxy::dial(Arc::clone(proxy), target.to).await?;
    let mut stream = secure(proxy, target, stream).await?;
    let mut packet = BytesMut::new();
    target.key.encode(&mut packet);
    stream.write_all(&packet).await?;
    stream.flush().await?;
    // Nothing comes but the end, or a reset, which is an end too.
    while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
    Ok(())
}

/// Encrypts the connection, or not, as the sessions' connections to this upstream.
async fn secure(
    proxy: &Arc<Proxy>,
    target: &CancelTarget,
    mut stream: Stream,
) -> io::Result<Stream> {
    let policy = proxy.config.upstreams[target.to.0].tls;
    let mut opening = UpstreamTls::new(policy);
    let mut out = BytesMut::new();
    let mut upgrade = opening.start(&mut out).map_err(io::Error::other)?;
    let mut answer = Vec::new();
    loop {
        match upgrade {
            Upgrade::Clear { .. } => return Ok(stream),
            Upgrade::StartTls { .. } => {
                return Proxy::encrypt(Arc::clone(proxy), target.to, stream).await;
            }
            Upgrade::Wait => {
                stream.write_all_buf(&mut out).await?;
                if stream.read_buf(&mut answer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                upgrade = opening.handle(&answer).map_err(io::Error::other)?;
            }
        }
    }
}
