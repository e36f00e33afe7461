//! Cancel requests: a connection of their own to the upstream, which leaves the session's connection alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgturnout::session::{CancelTarget, Destination};
use pgturnout::startup::{CancelKey, ClientTls, Upgrade, UpstreamTls, UpstreamTlsPolicy};
use pgturnout::stats::ConnectionCounter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Proxy;
use crate::peer_io::Stream;
use crate::registry::Asker;

/// How long it may take, its turn, dial and TLS included. The upstream answers nothing and closes when it has sent the
/// signal.
const LIMIT: Duration = Duration::from_secs(10);

/// Cancels what the session of this key has running; without such a session, or when nothing of it runs, does
/// nothing, as PostgreSQL. Done when the upstream has taken the request.
pub(crate) async fn relay(proxy: Arc<Proxy>, asker: Asker) {
    let count = |counter| proxy.metrics.count(counter);
    let to = if let Some(target) = proxy.registry.cancel_target(&asker).await {
        What::Ours(target)
    } else if hands_through(&proxy) && !proxy.registry.knows(&asker) {
        What::Theirs(proxy.writer(), asker.key.clone())
    } else {
        return count(ConnectionCounter::CancelIgnored);
    };
    count(ConnectionCounter::CancelForwarded);
    let sent = match tokio::time::timeout(LIMIT, send(&proxy, &asker, &to)).await {
        Ok(sent) => sent,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match sent {
        Ok(()) => count(ConnectionCounter::CancelSuccessful),
        Err(error) => {
            let name = proxy.name(to.destination());
            proxy.log.line(&format!(
                "a cancel request could not be sent to {name}: {error}"
            ));
        }
    }
}

/// What is cancelled.
enum What {
    /// What a session of this proxy runs.
    Ours(CancelTarget),
    /// What runs in a session that was handed through, if that is whose key it is: clients have the server's own.
    Theirs(Destination, CancelKey),
}

impl What {
    fn destination(&self) -> Destination {
        match self {
            What::Ours(target) => target.to,
            What::Theirs(to, _) => *to,
        }
    }

    fn key(&self) -> &CancelKey {
        match self {
            What::Ours(target) => &target.key,
            What::Theirs(_, key) => key,
        }
    }
}

fn hands_through(proxy: &Proxy) -> bool {
    proxy.config.client_tls == ClientTls::Passthrough
}

async fn send(proxy: &Arc<Proxy>, asker: &Asker, what: &What) -> io::Result<()> {
    let _turn = proxy.cancels.acquire().await.map_err(io::Error::other)?;
    let to = what.destination();
    let policy = match what {
        What::Ours(target) => target.tls,
        What::Theirs(..) => proxy.config.upstreams[to.0].tls,
    };
    let stream = Proxy::dial(Arc::clone(proxy), to).await?;
    let mut stream = secure(proxy, to, policy, stream).await?;
    if let What::Ours(target) = what {
        // The request may have ended meanwhile, and another begun on the same upstream.
        let now = proxy.registry.cancel_target(asker).await;
        if now.is_none_or(|now| (now.peer, now.epoch) != (target.peer, target.epoch)) {
            return Ok(());
        }
    }
    let mut packet = BytesMut::new();
    what.key().encode(&mut packet);
    stream.write_all(&packet).await?;
    stream.flush().await?;
    // Nothing comes but the end, or a reset, which is an end too.
    while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
    Ok(())
}

/// Encrypts the connection, or not, as the session's connection to this upstream.
async fn secure(
    proxy: &Arc<Proxy>,
    to: Destination,
    policy: UpstreamTlsPolicy,
    mut stream: Stream,
) -> io::Result<Stream> {
    let negotiation = proxy.config.upstreams[to.0].tls_negotiation;
    let mut opening = UpstreamTls::new(policy).begun_by(negotiation);
    let mut out = BytesMut::new();
    let mut upgrade = opening.start(&mut out).map_err(io::Error::other)?;
    let mut answer = Vec::new();
    loop {
        match upgrade {
            Upgrade::Clear { .. } => return Ok(stream),
            Upgrade::StartTls { .. } => {
                return Proxy::encrypt(Arc::clone(proxy), to, stream).await;
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
