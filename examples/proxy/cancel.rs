//! Cancel requests: a connection of their own to the upstream, which leaves the session's connection alone.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgturnout::session::{CancelEnd, CancelTarget, Destination, TlsInfo};
use pgturnout::startup::{
    CancelKey, ClientTls, TlsNegotiation, Upgrade, UpstreamTls, UpstreamTlsPolicy,
};
use pgturnout::stats::ConnectionCounter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::options::HostPort;
use crate::peer_io::Stream;
use crate::registry::{Aim, Asker};
use crate::{Current, Proxy};

/// How long it may take, its turn, dial and TLS included. The upstream answers nothing and closes when it has sent the
/// signal.
const LIMIT: Duration = Duration::from_secs(10);

/// Cancels what the session of this key has running, here or at another instance; without such a session, or when
/// nothing of it runs, does nothing, as PostgreSQL. Done when the upstream has taken the request, or when that waits for
/// something else: whoever cancels must not wait for that.
pub(crate) async fn relay(proxy: Arc<Proxy>, asker: Asker) {
    let what = match proxy.registry.aim(&asker).await {
        Aim::Now(target) => vec![What::Ours(target)],
        Aim::Later(told) => return later(proxy, asker, told),
        Aim::Nothing if proxy.registry.knows(&asker) => Vec::new(),
        Aim::Nothing => elsewhere(&proxy, &asker.key),
    };
    send_all(&proxy, &asker, what).await;
}

/// The same for a request that another instance handed on: it goes to a session of this one, or nowhere.
pub(crate) async fn own(proxy: Arc<Proxy>, key: CancelKey, address: IpAddr) {
    let asker = Asker { key, address };
    let what = match proxy.registry.aim(&asker).await {
        Aim::Now(target) => vec![What::Ours(target)],
        Aim::Later(told) => return later(proxy, asker, told),
        Aim::Nothing => Vec::new(),
    };
    send_all(&proxy, &asker, what).await;
}

/// Cancels a request when it has got to its upstream.
fn later(proxy: Arc<Proxy>, asker: Asker, told: oneshot::Receiver<CancelTarget>) {
    tokio::spawn(async move {
        let what = told.await.ok().map(What::Ours).into_iter().collect();
        send_all(&proxy, &asker, what).await;
    });
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
    let mut sent = Vec::new();
    for what in what {
        let outcome = in_time(send(proxy, asker, &what)).await;
        if let Err(error) | Ok(Sent::Broken(error)) = &outcome {
            not_taken(proxy, &what, error);
        }
        sent.push(outcome);
    }
    let count = |counter| proxy.metrics.count(counter);
    if sent.iter().all(|sent| matches!(sent, Ok(Sent::Nowhere))) {
        return count(ConnectionCounter::CancelIgnored);
    }
    let is_passed = |sent: &_| matches!(sent, Ok(Sent::Taken | Sent::Broken(_)));
    if sent.iter().any(is_passed) {
        count(ConnectionCounter::CancelForwarded);
        if sent.iter().all(|sent| matches!(sent, Ok(Sent::Taken))) {
            count(ConnectionCounter::CancelSuccessful);
        }
    }
}

async fn in_time<T>(done: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(LIMIT, done).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn not_taken(proxy: &Proxy, what: &What, error: &io::Error) {
    let name = match what {
        What::Ours(target) => proxy.name(target.to),
        What::Theirs(to) => proxy.name(*to),
        What::Others(address) => address,
    };
    proxy.log.line(&format!(
        "a cancel request could not be sent to {name}: {error}"
    ));
}

/// Has an upstream stop what it runs for a client that is gone. Its session is over, so nothing else runs under its key.
pub(crate) async fn stop(proxy: Arc<Proxy>, target: CancelTarget) {
    let stopped = async {
        let _turn = turn(&proxy.cancels[target.to.0]).await?;
        let stream = connect(&proxy, target.to, target.tls).await?;
        hand_over(stream, &target.key).await
    };
    if let Err(error) = in_time(stopped).await {
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

/// What became of a request, on a connection that could be had.
enum Sent {
    /// It was not sent: its session runs nothing any more, or something else.
    Nowhere,
    /// The upstream has closed the connection, as it does when it has sent the signal.
    Taken,
    /// It may have got there or not.
    Broken(io::Error),
}

async fn send(proxy: &Arc<Proxy>, asker: &Asker, what: &What) -> io::Result<Sent> {
    let (stream, _turn) = match what {
        What::Ours(target) => return stop_request(proxy, asker, target.clone()).await,
        What::Theirs(to) => {
            let turn = turn(&proxy.cancels[to.0]).await?;
            let policy = proxy.current().config.upstreams[to.0].tls;
            (connect(proxy, *to, policy).await?, turn)
        }
        What::Others(address) => {
            let turn = turn(&proxy.hand_ons).await?;
            (Stream::plain(address.dial().await?), turn)
        }
    };
    Ok(match hand_over(stream, &asker.key).await {
        Ok(()) => Sent::Taken,
        Err(error) => Sent::Broken(error),
    })
}

async fn turn(permits: &Semaphore) -> io::Result<SemaphorePermit<'_>> {
    permits.acquire().await.map_err(io::Error::other)
}

/// Cancels what a session runs, again where the first one may have come too early.
async fn stop_request(
    proxy: &Arc<Proxy>,
    asker: &Asker,
    mut target: CancelTarget,
) -> io::Result<Sent> {
    let registry = &proxy.registry;
    let mut sent = Sent::Nowhere;
    loop {
        let turn = turn(&proxy.cancels[target.to.0]).await?;
        let stream = connect(proxy, target.to, target.tls).await?;
        // From here on the session sends the upstream nothing more until it has closed the connection; where that is not seen, the
        // session waits for its deadline.
        if let Some(ticket) = registry.cancel_begins(asker, &target).await {
            if let Err(error) = hand_over(stream, &target.key).await {
                return Ok(Sent::Broken(error));
            }
            sent = Sent::Taken;
            match registry.cancel_ended(asker, ticket).await {
                CancelEnd::Done => return Ok(sent),
                CancelEnd::Again => {}
            }
        }
        drop(turn);
        // Or another cancel is under way for the request, which this one waits for, or it has ended, and another has begun.
        match registry.aim_again(asker, target.epoch).await {
            Aim::Now(next) if next.epoch == target.epoch => target = next,
            Aim::Later(told) => {
                repeat(Arc::clone(proxy), asker.clone(), told);
                return Ok(sent);
            }
            Aim::Now(_) | Aim::Nothing => return Ok(sent),
        }
    }
}

/// Cancels a request again when there is something to hit.
fn repeat(proxy: Arc<Proxy>, asker: Asker, told: oneshot::Receiver<CancelTarget>) {
    let repeat = async move {
        let Ok(target) = told.await else {
            return;
        };
        let what = What::Ours(target);
        if let Err(error) | Ok(Sent::Broken(error)) = in_time(send(&proxy, &asker, &what)).await {
            not_taken(&proxy, &what, &error);
        }
    };
    let repeat: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(repeat);
    tokio::spawn(repeat);
}

async fn hand_over(mut stream: Stream, key: &CancelKey) -> io::Result<()> {
    let mut packet = BytesMut::new();
    key.encode(&mut packet);
    stream.write_all(&packet).await?;
    stream.flush().await?;
    loop {
        // Nothing comes but the end, or a reset, which is an end too, as is that of TLS without a farewell.
        match stream.read(&mut [0; 64]).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Ok(()),
                    _ => Err(error),
                };
            }
        }
    }
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
