//! What a load balancer says of a client in front of its first byte: the PROXY protocol, versions 1 and 2.
//!
//! The rules are those of HAProxy's `doc/proxy-protocol.txt`; where they are stricter, the item says so.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::endpoint_id::EndpointId;
use super::proxy_line;
use super::tlv::{self, Tlvs};
use crate::limits::PROXY_HEADER_MAX;

pub use super::proxy_line::LineFault;
pub use super::tlv::TlvFault;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, the command, the family and the length of what follows.
const FIXED: usize = 16;

/// Whether connections of clients begin with a header of the PROXY protocol, version 1 or 2.
///
/// A header says where the client connects from, so whoever may send one may be anybody: it should be read only from the
/// load balancers that stand in front. The answer to that is the caller's, who knows the addresses
/// ([`Network`](crate::access::Network)); it decides for each connection which of these applies. With
/// [`Optional`](ProxyProtocol::Optional) for everybody, every client can choose its address, past lists and throttles.
///
/// A header stands before everything else on the connection, TLS included, and nothing is answered to it. A driver reads it
/// before it makes the [`Session`](crate::session::Session), of the bytes that are asked for and none behind them, and
/// tells the session the client's address ([`set_client_endpoint`](crate::session::Session::set_client_endpoint)).
///
/// ```
/// use pgturnout::startup::{Introduced, Origin, ProxyProtocol};
///
/// let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xd4\x31\x15\x38";
/// let policy = ProxyProtocol::Require;
/// assert_eq!(policy.read(&header[..1])?, Introduced::Need(16));
/// assert_eq!(policy.read(&header[..16])?, Introduced::Need(28));
/// let Introduced::Header { used, header } = policy.read(header)? else { unreachable!() };
/// assert_eq!(used, 28);
/// assert_eq!(header.client().unwrap().to_string(), "192.0.2.7:54321");
/// assert!(policy.read(&[0, 0, 0, 8]).is_err());
/// assert_eq!(ProxyProtocol::Optional.read(&[0])?, Introduced::Direct);
/// # Ok::<(), pgturnout::startup::BadProxyHeader>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProxyProtocol {
    /// No: what comes is PostgreSQL's.
    #[default]
    Off,
    /// It may. The first byte tells: no header begins as a connection of PostgreSQL's protocol may.
    Optional,
    /// It has to.
    Require,
}

/// What the first bytes of a connection are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Introduced {
    /// Nothing can be said before the input has this many bytes. All of them belong to the header, but for the first one
    /// when there is none: read so many and no more, and peek at that one.
    Need(usize),
    /// The client's own: there is no header, and nothing was used up.
    Direct,
    /// A header.
    Header {
        /// Its bytes; what stands behind them is the client's.
        used: usize,
        /// What it says.
        header: ProxyHeader,
    },
}

/// What a header of the PROXY protocol says.
///
/// `Debug` shows addresses, and of the rest types and lengths.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyHeader {
    pub(super) origin: Origin,
    pub(super) tlvs: Box<[u8]>,
    pub(super) endpoint: Option<EndpointId>,
}

/// On whose behalf a load balancer connects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// On its own, to see whether we are well (`LOCAL`). The connection's own addresses are the truth.
    Local,
    /// It does not say (`UNKNOWN`, `AF_UNSPEC`), or it is not about a stream. The connection's own addresses have to do.
    Unknown,
    /// A client that is connected to it over TCP.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// Where the client has connected to.
        destination: SocketAddr,
    },
    /// A client that is connected to it over a socket of its machine, both names as they came.
    Unix {
        /// The client, with trailing zeros.
        source: Box<[u8; 108]>,
        /// Where the client has connected to, with trailing zeros.
        destination: Box<[u8; 108]>,
    },
}

/// Why a header cannot be believed. The connection is closed without an answer: who has sent it reads none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadProxyHeader {
    /// There has to be one, and the connection begins with something else.
    #[error("no header of the PROXY protocol")]
    Missing,
    /// It begins as one, and does not go on as one.
    #[error("byte {at} is not that of a header of the PROXY protocol")]
    Signature {
        /// Where, from 0.
        at: usize,
    },
    /// A line of version 1 that says nothing usable.
    #[error("PROXY protocol version 1: {0}")]
    Line(#[from] LineFault),
    /// Another version than 2.
    #[error("PROXY protocol version {0}")]
    Version(u8),
    /// Neither `LOCAL` nor `PROXY`.
    #[error("PROXY protocol command {0}")]
    Command(u8),
    /// A family or a transport that nobody has.
    #[error("PROXY protocol family {0:#04x}")]
    Family(u8),
    /// It would be longer than [`PROXY_HEADER_MAX`].
    #[error("a header of {0} bytes, more than {PROXY_HEADER_MAX}")]
    TooLong(usize),
    /// It ends before its addresses do.
    #[error("{there} bytes for addresses of {needed}")]
    Addresses {
        /// What addresses of this family take.
        needed: usize,
        /// What is there.
        there: usize,
    },
    /// What stands behind the addresses is wrong.
    #[error("byte {at} of the header: {fault}")]
    Tlv {
        /// Where in the header, from 0.
        at: usize,
        /// What is wrong.
        fault: TlvFault,
    },
}

impl ProxyProtocol {
    /// Says what a connection begins with, from all of its bytes that are there.
    ///
    /// Of version 1 a line that ends in CR LF within 107 bytes is read; of version 2 everything is held against the length
    /// that it announces, and its checksum, if it has one, against its bytes.
    ///
    /// # Errors
    ///
    /// The connection is not to be served. Whatever comes then, the answer stays the same.
    pub fn read(self, input: &[u8]) -> Result<Introduced, BadProxyHeader> {
        match (self, input.first()) {
            (ProxyProtocol::Off, _) => Ok(Introduced::Direct),
            (ProxyProtocol::Optional | ProxyProtocol::Require, None) => Ok(Introduced::Need(1)),
            (ProxyProtocol::Optional | ProxyProtocol::Require, Some(b'P')) => {
                proxy_line::read(input)
            }
            (ProxyProtocol::Optional | ProxyProtocol::Require, Some(b'\r')) => read_binary(input),
            (ProxyProtocol::Optional, Some(_)) => Ok(Introduced::Direct),
            (ProxyProtocol::Require, Some(_)) => Err(BadProxyHeader::Missing),
        }
    }
}

/// Where the input departs from what has to stand there.
pub(super) fn departs(input: &[u8], expected: &[u8]) -> Option<usize> {
    input.iter().zip(expected).position(|(is, be)| is != be)
}

fn read_binary(input: &[u8]) -> Result<Introduced, BadProxyHeader> {
    if let Some(at) = departs(input, SIGNATURE) {
        return Err(BadProxyHeader::Signature { at });
    }
    let Some((fixed, _)) = input.split_first_chunk::<FIXED>() else {
        return Ok(Introduced::Need(FIXED));
    };
    let [.., command, family, high, low] = *fixed;
    if command >> 4 != 2 {
        return Err(BadProxyHeader::Version(command >> 4));
    }
    let addresses = match command & 0x0f {
        0 => Addresses::Local,
        1 => Addresses::of(family)?,
        other => return Err(BadProxyHeader::Command(other)),
    };
    let length = usize::from(u16::from_be_bytes([high, low])).saturating_add(FIXED);
    if length > PROXY_HEADER_MAX {
        return Err(BadProxyHeader::TooLong(length));
    }
    match input.get(..length) {
        None => {
            // What cannot be is said at once.
            addresses.fit(length)?;
            Ok(Introduced::Need(length))
        }
        Some(whole) => Ok(Introduced::Header {
            used: length,
            header: addresses.header(whole)?,
        }),
    }
}

/// How the addresses are written.
#[derive(Clone, Copy)]
enum Addresses {
    Local,
    Unknown,
    V4,
    V6,
    Unix,
}

impl Addresses {
    fn of(family: u8) -> Result<Addresses, BadProxyHeader> {
        match (family >> 4, family & 0x0f) {
            (1, 1) => Ok(Addresses::V4),
            (2, 1) => Ok(Addresses::V6),
            (3, 1) => Ok(Addresses::Unix),
            (0, 0..=2) | (1..=3, 0 | 2) => Ok(Addresses::Unknown),
            (_, _) => Err(BadProxyHeader::Family(family)),
        }
    }

    /// Where what is behind the addresses begins; nothing is read of a header whose addresses are not.
    fn end(self) -> Option<usize> {
        match self {
            Addresses::Local | Addresses::Unknown => None,
            Addresses::V4 => Some(FIXED.saturating_add(12)),
            Addresses::V6 => Some(FIXED.saturating_add(36)),
            Addresses::Unix => Some(FIXED.saturating_add(216)),
        }
    }

    fn fit(self, length: usize) -> Result<(), BadProxyHeader> {
        match self.end() {
            Some(end) if end > length => Err(BadProxyHeader::Addresses {
                needed: end.saturating_sub(FIXED),
                there: length.saturating_sub(FIXED),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn header(self, whole: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
        self.fit(whole.len())?;
        let Some(end) = self.end() else {
            return Ok(ProxyHeader::bare(match self {
                Addresses::Local => Origin::Local,
                Addresses::Unknown | Addresses::V4 | Addresses::V6 | Addresses::Unix => {
                    Origin::Unknown
                }
            }));
        };
        let addresses = whole.get(FIXED..end).unwrap_or_default();
        let endpoint =
            tlv::check(whole, end).map_err(|(at, fault)| BadProxyHeader::Tlv { at, fault })?;
        Ok(ProxyHeader {
            origin: self.origin(addresses).unwrap_or(Origin::Unknown),
            tlvs: whole.get(end..).unwrap_or_default().into(),
            endpoint,
        })
    }

    /// Of as many bytes as such addresses take.
    fn origin(self, addresses: &[u8]) -> Option<Origin> {
        let tcp = |source: IpAddr, destination: IpAddr, ports: &[u8]| {
            let [source_high, source_low, high, low] = *ports.first_chunk()?;
            let port = u16::from_be_bytes([source_high, source_low]);
            Some(Origin::Tcp {
                source: SocketAddr::new(source, port),
                destination: SocketAddr::new(destination, u16::from_be_bytes([high, low])),
            })
        };
        match self {
            Addresses::Local | Addresses::Unknown => None,
            Addresses::V4 => {
                let (source, rest) = addresses.split_first_chunk::<4>()?;
                let (destination, ports) = rest.split_first_chunk::<4>()?;
                let address = |bytes: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*bytes));
                tcp(address(source), address(destination), ports)
            }
            Addresses::V6 => {
                let (source, rest) = addresses.split_first_chunk::<16>()?;
                let (destination, ports) = rest.split_first_chunk::<16>()?;
                let address = |bytes: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*bytes));
                tcp(address(source), address(destination), ports)
            }
            Addresses::Unix => {
                let (source, rest) = addresses.split_first_chunk::<108>()?;
                let (destination, _) = rest.split_first_chunk::<108>()?;
                Some(Origin::Unix {
                    source: Box::new(*source),
                    destination: Box::new(*destination),
                })
            }
        }
    }
}

impl ProxyHeader {
    /// One with nothing behind its addresses.
    pub(super) fn bare(origin: Origin) -> ProxyHeader {
        ProxyHeader {
            origin,
            tlvs: Box::default(),
            endpoint: None,
        }
    }

    /// On whose behalf it was sent.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where the client connects from, if it says so; else the address of the connection itself is the best there is. An
    /// IPv4 address that is written as one of IPv6 is an IPv4 address.
    #[must_use]
    pub fn client(&self) -> Option<SocketAddr> {
        match &self.origin {
            Origin::Tcp { source, .. } => {
                Some(SocketAddr::new(source.ip().to_canonical(), source.port()))
            }
            Origin::Local | Origin::Unknown | Origin::Unix { .. } => None,
        }
    }

    /// The private endpoint of a cloud that the client came through, if it did.
    #[must_use]
    pub fn endpoint(&self) -> Option<&EndpointId> {
        self.endpoint.as_ref()
    }

    /// What stands behind the addresses, in order: types and values.
    #[must_use]
    pub fn tlvs(&self) -> Tlvs<'_> {
        Tlvs::new(&self.tlvs)
    }

    fn find(&self, kind: u8) -> Option<&[u8]> {
        let mut all = self.tlvs();
        all.find(|(known, _)| *known == kind)
            .map(|(_, value)| value)
    }

    /// The protocol that client and load balancer have agreed on (ALPN).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.find(tlv::ALPN)
    }

    /// The name of the host that the client has asked for, its SNI if it speaks TLS with the load balancer.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        self.find(tlv::AUTHORITY)
    }

    /// What the load balancer calls this connection, up to 128 bytes.
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.find(tlv::UNIQUE_ID)
    }

    /// What is known of the TLS connection between the client and the load balancer.
    #[must_use]
    pub fn tls(&self) -> Option<ProxiedTls<'_>> {
        let (client, rest) = self.find(tlv::SSL)?.split_first()?;
        let (verify, rest) = rest.split_first_chunk()?;
        Some(ProxiedTls {
            client: *client,
            verify: u32::from_be_bytes(*verify),
            tlvs: Tlvs::new(rest),
        })
    }
}

/// Shows types and lengths of what stands behind the addresses.
impl fmt::Debug for ProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyHeader")
            .field("origin", &self.origin)
            .field("endpoint", &self.endpoint)
            .field("tlvs", &self.tlvs())
            .finish()
    }
}

/// What a load balancer says of its TLS connection with the client (`PP2_TYPE_SSL`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProxiedTls<'a> {
    /// Bits: 1, the client speaks TLS; 2, it has presented a certificate on this connection; 4, in this TLS session.
    pub client: u8,
    /// Zero if it presented a certificate that was verified.
    pub verify: u32,
    /// Version (0x21), common name of the certificate (0x22), cipher (0x23), algorithms (0x24, 0x25), and what there is more.
    pub tlvs: Tlvs<'a>,
}

impl ProxiedTls<'_> {
    /// Whether the client speaks TLS with the load balancer.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.client & 1 != 0
    }

    /// Whether the client has presented a certificate, and the load balancer has found it good.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.client & 6 != 0 && self.verify == 0
    }
}
