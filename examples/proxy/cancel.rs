//! Cancel requests: a connection of their own to the upstream, which leaves the session's connection alone.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgturnout::session::{CancelEnd, CancelTarget, Destination, TlsInfo};
use pgturnout::startup::{
    CancelKey, ClientTls, TlsNegotiation, Upgrade, UpstreamTls, UpstreamTlsPolicy,
};
use pgturnout::stats::ConnectionCounter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::options::HostPort;
use crate::peer_io::Stream;
use crate::registry::Asker;
use crate::{Current, Proxy};

/// How long it may take, its turn, dial and TLS included. The upstream answers nothing and closes when it has sent the
/// signal.
const LIMIT: Duration = Duration::from_secs(10);

/// Cancels what the session of this key has running, here or at another instance; without such a session, or when
/// nothing of it runs, does nothing, as PostgreSQL. Done when the upstream has taken the request.
pub(crate) async fn relay(proxy: Arc<Proxy>, asker: Asker) {
    let what = match proxy.registry.cancel_target(&asker).await {
        Some(target) => vec![What::Ours(target)],
        None if proxy.registry.knows(&asker) => Vec::new(),
        None => elsewhere(&proxy, &asker.key),
    };
    send_all(&proxy, &asker, what).await;
}

/// The same for a request that another instance handed on: it goes to a session of this one, or nowhere.
pub(crate) async fn own(proxy: Arc<Proxy>, key: CancelKey, address: IpAddr) {
    let asker = Asker { key, address };
    let target = proxy.registry.cancel_target(&asker).await;
    let what = target.map(What::Ours).into_iter().collect();
    send_all(&proxy, &asker, what).await;
}

/// Who may know a key that no session here has.
fn elsewhere(proxy: &Proxy, key: &CancelKey) -> Vec<What> {
    let Current { config, ring, .. } = proxy.current();
    let others = ring.map(|ring| ring.others(key)).unwrap_or_default();
    let mut what: Vec<What> = others.into_iter().map(What::Others).collect();
    if config.client_tls == ClientTls::Passthrough {
        what.push(What::Theirs(proxy.writer()));
    }
    what
}

async fn send_all(proxy: &Arc<Proxy>, asker: &Asker, what: Vec<What>) {
    let count = |counter| proxy.metrics.count(counter);
    if what.is_empty() {
        return count(ConnectionCounter::CancelIgnored);
    }
    count(ConnectionCounter::CancelForwarded);
    let mut taken = true;
    for what in what {
        let sent = match tokio::time::timeout(LIMIT, send(proxy, asker, &what)).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = sent {
            taken = false;
            let name = match &what {
                What::Ours(target) => proxy.name(target.to),
                What::Theirs(to) => proxy.name(*to),
                What::Others(address) => address,
            };
            proxy.log.line(&format!(
                "a cancel request could not be sent to {name}: {error}"
            ));
        }
    }
    if taken {
        count(ConnectionCounter::CancelSuccessful);
    }
}

/// Has an upstream stop what it runs for a client that is gone. Its session is over, so nothing else runs under its key.
pub(crate) async fn stop(proxy: Arc<Proxy>, target: CancelTarget) {
    let stopped = async {
        let _turn = proxy.cancels.acquire().await.map_err(io::Error::other)?;
        let stream = connect(&proxy, target.to, target.tls).await?;
        hand_over(stream, &target.key).await
    };
    let stopped = match tokio::time::timeout(LIMIT, stopped).await {
        Ok(stopped) => stopped,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = stopped {
        let name = proxy.name(target.to);
        proxy
            .log
            .line(&format!("{name} could not be told to stop: {error}"));
    }
}

/// What is cancelled.
enum What {
    /// What a session of this proxy runs.
    Ours(CancelTarget),
    /// What runs in a session that was handed through, if that is whose key it is: clients have the server's own.
    Theirs(Destination),
    /// What a session of another instance runs, if it has one with this key.
    Others(HostPort),
}

async fn send(proxy: &Arc<Proxy>, asker: &Asker, what: &What) -> io::Result<()> {
    let permits = match what {
        What::Ours(_) | What::Theirs(_) => &proxy.cancels,
        What::Others(_) => &proxy.hand_ons,
    };
    let _turn = permits.acquire().await.map_err(io::Error::other)?;
    let stream = match what {
        What::Ours(target) => return stop_request(proxy, asker, target.clone()).await,
        What::Theirs(to) => {
            let policy = proxy.current().config.upstreams[to.0].tls;
            connect(proxy, *to, policy).await?
        }
        What::Others(address) => Stream::plain(address.dial().await?),
    };
    hand_over(stream, &asker.key).await
}

/// Cancels what a session runs, again where the first one may have come too early.
async fn stop_request(
    proxy: &Arc<Proxy>,
    asker: &Asker,
    mut target: CancelTarget,
) -> io::Result<()> {
    let registry = &proxy.registry;
    loop {
        let stream = connect(proxy, target.to, target.tls).await?;
        // From here on the session sends the upstream nothing more until it has closed the connection; where that is not seen, the
        // session waits for its deadline.
        if let Some(ticket) = registry.cancel_begins(asker, &target).await {
            hand_over(stream, &target.key).await?;
            match registry.cancel_ended(asker, ticket).await {
                CancelEnd::Done => return Ok(()),
                CancelEnd::Again => {}
            }
        }
        // Or another cancel is under way for the request, which this one waits for, or it has ended, and another has begun.
        match registry.cancel_target(asker).await {
            Some(next) if next.epoch == target.epoch => target = next,
            Some(_) | None => return Ok(()),
        }
    }
}

async fn hand_over(mut stream: Stream, key: &CancelKey) -> io::Result<()> {
    let mut packet = BytesMut::new();
    key.encode(&mut packet);
    stream.write_all(&packet).await?;
    stream.flush().await?;
    // Nothing comes but the end, or a reset, which is an end too.
    while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
    Ok(())
}

pub(crate) async fn connect(
    proxy: &Arc<Proxy>,
    to: Destination,
    policy: UpstreamTlsPolicy,
) -> io::Result<Stream> {
    let stream = Proxy::dial(Arc::clone(proxy), to).await?;
    secure(proxy, to, policy, stream).await
}

/// Encrypts the connection, or not, as the session's connection to this upstream.
async fn secure(
    proxy: &Arc<Proxy>,
    to: Destination,
    policy: UpstreamTlsPolicy,
    mut stream: Stream,
) -> io::Result<Stream> {
    let negotiation = proxy.current().config.upstreams[to.0].tls_negotiation;
    let mut opening = UpstreamTls::new(policy).begun_by(negotiation);
    let mut out = BytesMut::new();
    let mut upgrade = opening.start(&mut out).map_err(io::Error::other)?;
    let mut answer = Vec::new();
    loop {
        match upgrade {
            Upgrade::Clear { .. } => return Ok(stream),
            Upgrade::StartTls { .. } => {
                let stream = Proxy::encrypt(Arc::clone(proxy), to, stream).await?;
                is_postgresql(&stream.tls_info(), negotiation)?;
                return Ok(stream);
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

/// The other end of a handshake may be a server of another protocol, which would take our bytes for its own.
fn is_postgresql(info: &TlsInfo, negotiation: TlsNegotiation) -> io::Result<()> {
    if info.agrees(negotiation) {
        return Ok(());
    }
    Err(io::Error::other(
        "TLS failed: it did not agree on the protocol `postgresql`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_agrees_on_the_protocol() {
        for (alpn, asked, direct) in [
            (None, true, false),
            (Some(&b"postgresql"[..]), true, true),
            (Some(b"h2"), false, false),
        ] {
            let mut info = TlsInfo::default();
            info.alpn = alpn.map(Box::from);
            let agrees = |negotiation| is_postgresql(&info, negotiation).is_ok();
            assert_eq!(agrees(TlsNegotiation::Postgres), asked, "{alpn:?}");
            assert_eq!(agrees(TlsNegotiation::Direct), direct, "{alpn:?}");
        }
    }
}
