//! Who a client is whom a load balancer hands on: the header of the PROXY protocol in front of its bytes.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pgturnout::access::Network;
use pgturnout::startup::{EndpointId, Introduced, ProxyHeader, ProxyProtocol};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::cli::UsageError;
use crate::options::{Given, blame};

/// How long a header may take to come: one is sent at once, and no session has begun that would have a deadline of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who has to, or may, send a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Introductions {
    policy: ProxyProtocol,
    /// Whose headers are believed.
    from: Vec<Network>,
}

/// A client that has connected.
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    /// Where it connects from, as far as is known.
    pub(crate) from: SocketAddr,
    /// The private endpoint that it came through.
    pub(crate) through: Option<EndpointId>,
}

/// Where a client comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whence {
    pub(crate) address: IpAddr,
    pub(crate) through: Option<EndpointId>,
}

impl From<IpAddr> for Whence {
    fn from(address: IpAddr) -> Whence {
        Whence {
            address,
            through: None,
        }
    }
}

impl fmt::Display for Whence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.through {
            Some(id) => write!(f, "{} through {id}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

impl Introductions {
    pub(crate) fn new(given: &Given) -> Result<Introductions, UsageError> {
        let words = &[
            ("off", ProxyProtocol::Off),
            ("optional", ProxyProtocol::Optional),
            ("require", ProxyProtocol::Require),
        ];
        let policy = given.choice("proxy-protocol", words)?.unwrap_or_default();
        let mut from = Vec::new();
        for setting in given.all("proxy-protocol-from") {
            let networks = match setting.value.trim() {
                "all" => "0.0.0.0/0,::/0",
                networks => networks,
            };
            for network in networks.split(',') {
                let network = network.trim().parse();
                from.push(network.map_err(|fault| blame(setting, format!("{fault}")))?);
            }
        }
        if let Some(setting) = given.one("proxy-protocol-from") {
            if policy == ProxyProtocol::Off {
                return Err(blame(setting, "unused: --proxy-protocol is off"));
            }
        }
        if let Some(setting) = given.one("proxy-protocol") {
            // Else every client could say that it connects from somewhere else.
            if policy != ProxyProtocol::Off && from.is_empty() {
                let message = "needs --proxy-protocol-from: whom to believe";
                return Err(blame(setting, message));
            }
        }
        Ok(Introductions { policy, from })
    }

    /// What connections from there begin with.
    fn of(&self, from: SocketAddr) -> Result<ProxyProtocol, String> {
        let believed = self.from.iter().any(|net| net.holds(from.ip()));
        match (self.policy, believed) {
            (policy, true) => Ok(policy),
            (ProxyProtocol::Off | ProxyProtocol::Optional, false) => Ok(ProxyProtocol::Off),
            (ProxyProtocol::Require, false) => Err("no header is believed from there".to_owned()),
        }
    }

    /// Reads the header of a connection, if it has to be, and not a byte behind it. `None` for one that ends without a
    /// byte, as those do by which it is seen whether somebody listens; else why the connection is to be closed.
    pub(crate) async fn read(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
    ) -> Result<Option<Arrival>, String> {
        let policy = self.of(from)?;
        let header = tokio::time::timeout(PATIENCE, read(&mut stream, policy)).await;
        let header = match header.map_err(|_| "its header does not come".to_owned())? {
            Ok(header) => header,
            Err(Unread::Nothing) => return Ok(None),
            Err(Unread::Fault(why)) => return Err(why),
        };
        Ok(Some(Arrival {
            stream,
            from: header
                .as_ref()
                .and_then(ProxyHeader::client)
                .unwrap_or(from),
            through: header.as_ref().and_then(ProxyHeader::endpoint).cloned(),
        }))
    }
}

enum Unread {
    /// The connection ended without a byte.
    Nothing,
    Fault(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Fault(error.to_string())
    }
}

async fn read(
    stream: &mut TcpStream,
    policy: ProxyProtocol,
) -> Result<Option<ProxyHeader>, Unread> {
    let mut bytes = Vec::new();
    // The first byte may be the client's.
    let mut first = [0];
    let mut shown = &first[..0];
    loop {
        let seen = if bytes.is_empty() { shown } else { &bytes };
        let introduced = policy.read(seen);
        match introduced.map_err(|fault| Unread::Fault(fault.to_string()))? {
            Introduced::Direct => return Ok(None),
            Introduced::Header { header, .. } => return Ok(Some(header)),
            Introduced::Need(1) => match stream.peek(&mut first).await? {
                0 => return Err(Unread::Nothing),
                _ => shown = &first,
            },
            Introduced::Need(needed) => {
                let missing = needed - bytes.len();
                let missing = u64::try_from(missing).map_err(io::Error::other)?;
                if (&mut *stream).take(missing).read_buf(&mut bytes).await? == 0 {
                    return Err(Unread::Fault("it ends within its header".to_owned()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use tokio::net::TcpListener;

    fn believing(policy: ProxyProtocol, from: &[&str]) -> Introductions {
        let from = from.iter().map(|network| network.parse().unwrap());
        Introductions {
            policy,
            from: from.collect(),
        }
    }

    /// What is made of a connection that sends this and ends; with what is left of it.
    async fn made(of: &Introductions, bytes: &[u8]) -> Result<Option<(Arrival, Vec<u8>)>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.write_all(bytes).unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let (near, from) = listener.accept().await.unwrap();
        let Some(mut arrival) = of.read(near, from).await? else {
            return Ok(None);
        };
        let mut rest = Vec::new();
        arrival.stream.read_to_end(&mut rest).await.unwrap();
        Ok(Some((arrival, rest)))
    }

    const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 7 5432\r\n\0\0\0\x08";

    #[tokio::test]
    async fn a_header_is_taken_away_and_believed() {
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x16\xc0\0\x02\x07\xc6\x33\x64\x01\0\x07\x15\x38\xea\0\x07\x01vpce-1\0\0\0\x08";
        for (bytes, through) in [(LINE, None), (v2, Some("aws:vpce-1"))] {
            for policy in [ProxyProtocol::Optional, ProxyProtocol::Require] {
                for from in [&["0.0.0.0/0"][..], &["::1", "127.0.0.0/8"]] {
                    let (arrival, rest) = made(&believing(policy, from), bytes)
                        .await
                        .unwrap()
                        .unwrap();
                    assert_eq!(arrival.from, "192.0.2.7:7".parse().unwrap());
                    assert_eq!(arrival.through.map(|id| id.to_string()).as_deref(), through);
                    assert_eq!(rest, b"\0\0\0\x08");
                }
            }
        }
    }

    #[tokio::test]
    async fn nobody_else_is_believed() {
        let away = ["192.0.2.0/24"];
        for (policy, from) in [
            (ProxyProtocol::Off, &[][..]),
            (ProxyProtocol::Optional, &away),
        ] {
            let (arrival, rest) = made(&believing(policy, from), LINE).await.unwrap().unwrap();
            assert!(arrival.from.ip().is_loopback() && arrival.through.is_none());
            assert_eq!(rest, LINE);
        }
        let why = made(&believing(ProxyProtocol::Require, &away), LINE).await;
        assert_eq!(why.err().unwrap(), "no header is believed from there");
    }

    #[tokio::test]
    async fn a_client_may_come_without_where_headers_are_optional() {
        let optional = believing(ProxyProtocol::Optional, &["127.0.0.1"]);
        let (arrival, rest) = made(&optional, b"\0\0\0\x08").await.unwrap().unwrap();
        assert!(arrival.from.ip().is_loopback());
        assert_eq!(rest, b"\0\0\0\x08");
        let require = believing(ProxyProtocol::Require, &["127.0.0.1"]);
        for (bytes, why) in [
            (&b"\0\0\0\x08"[..], "no header of the PROXY protocol"),
            (b"PROXY TCP4", "it ends within its header"),
        ] {
            assert_eq!(made(&require, bytes).await.err().unwrap(), why);
        }
        for policy in [&optional, &require] {
            assert!(made(policy, b"").await.unwrap().is_none());
        }
    }
}
