//! What a load balancer puts in front of a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pgturnout::startup::{BadProxyHeader, EndpointId, Introduced, Origin, ProxyProtocol};

use super::feed::Feed;

/// What the longest header has.
const HEADER_MAX: usize = 4096;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const KINDS: &[u8] = &[0x01, 0x02, 0x04, 0x05, 0x20, 0x30, 0xe0, 0xea, 0xee, 0xf0];

/// A header is read to its own end and no further, the same however it comes and whatever is behind it; one that cannot be
/// believed is refused for ever; one that was written says what was written, and nothing between its ends is left out.
pub(crate) fn proxy_header(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(4) {
        0 => any(feed.rest()),
        1 => any(&[b"PROXY ", feed.rest()].concat()),
        2 => any(&[SIGNATURE, b"\x21", feed.rest()].concat()),
        _ => written(&mut feed),
    }
}

fn any(bytes: &[u8]) {
    let exact = read(bytes);
    for end in 0..=bytes.len() {
        match (ProxyProtocol::Require.read(&bytes[..end]), &exact) {
            (Ok(Introduced::Need(needed)), _) => assert!(needed > end && needed <= HEADER_MAX),
            (now, Some(then)) => assert_eq!(&now, then, "{end} of {bytes:?}"),
            (now, None) => panic!("{now:?} of {end} of {bytes:?}, and nothing in the end"),
        }
    }
    match (
        ProxyProtocol::Require.read(bytes),
        ProxyProtocol::Optional.read(bytes),
    ) {
        (Err(BadProxyHeader::Missing), optional) => assert_eq!(optional, Ok(Introduced::Direct)),
        (require, optional) => assert_eq!(require, optional),
    }
    if let Ok(Introduced::Header { used, header }) = ProxyProtocol::Require.read(bytes) {
        assert!(used <= bytes.len() && used >= 15);
        let tlvs: usize = header.tlvs().map(|(_, value)| 3 + value.len()).sum();
        let addresses = match header.origin() {
            Origin::Tcp { source, .. } if bytes[0] == b'\r' => match source.is_ipv4() {
                true => 12,
                false => 36,
            },
            Origin::Unix { .. } => 216,
            Origin::Tcp { .. } | Origin::Local | Origin::Unknown => return,
        };
        assert_eq!(16 + addresses + tlvs, used);
    }
}

/// What comes of reading what is asked for and no more; nothing if the bytes end before.
fn read(bytes: &[u8]) -> Option<Result<Introduced, BadProxyHeader>> {
    let mut there = 0;
    loop {
        match ProxyProtocol::Require.read(&bytes[..there]) {
            Ok(Introduced::Need(_)) if there == bytes.len() => return None,
            Ok(Introduced::Need(needed)) => there = needed.min(bytes.len()),
            Ok(Introduced::Header { used, header }) => {
                assert_eq!(used, there, "more was read than the header");
                return Some(Ok(Introduced::Header { used, header }));
            }
            other => return Some(other),
        }
    }
}

fn address(feed: &mut Feed<'_>, v6: bool) -> SocketAddr {
    let mut bytes = [0; 16];
    bytes.fill_with(|| feed.byte());
    let ip = match v6 {
        true => IpAddr::V6(Ipv6Addr::from(bytes)),
        false => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
    };
    SocketAddr::new(ip, u16::from_be_bytes([feed.byte(), feed.byte()]))
}

fn octets(address: SocketAddr) -> Vec<u8> {
    match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn written(feed: &mut Feed<'_>) {
    let v6 = feed.byte() % 2 == 0;
    let (source, destination) = (address(feed, v6), address(feed, v6));
    let ports = (source.port(), destination.port());
    let line = feed.byte() % 3 == 0;
    let mut tlvs: Vec<(u8, Vec<u8>)> = Vec::new();
    let bytes = if line {
        let (ours, theirs) = (source.ip(), destination.ip());
        let protocol = if v6 { "TCP6" } else { "TCP4" };
        format!(
            "PROXY {protocol} {ours} {theirs} {} {}\r\n",
            ports.0, ports.1
        )
        .into_bytes()
    } else {
        for _ in 0..feed.below(5) {
            let kind = feed.one(KINDS);
            let value: Vec<u8> = match kind {
                0x20 => vec![feed.byte(), 0, 0, 0, feed.byte(), 0x21, 0, 1, b'T'],
                0xe0 => vec![feed.byte(); 8],
                0xea => format!("\x01vpce-{}", feed.byte()).into_bytes(),
                0xee => vec![1, feed.byte(), 0, 0, 0],
                _ => vec![feed.byte(); feed.below(9)],
            };
            let endpoint = |kind: u8| [0xe0, 0xea, 0xee].contains(&kind);
            if !tlvs
                .iter()
                .any(|(known, _)| *known == kind || endpoint(*known) && endpoint(kind))
            {
                tlvs.push((kind, value));
            }
        }
        let mut rest = [octets(source), octets(destination)].concat();
        rest.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
        for (kind, value) in &tlvs {
            let length = u16::try_from(value.len()).expect("a few bytes");
            rest.extend([&[*kind], &length.to_be_bytes()[..], value].concat());
        }
        let length = u16::try_from(rest.len()).expect("a few bytes");
        let family = if v6 { 0x21 } else { 0x11 };
        [SIGNATURE, &[0x21, family], &length.to_be_bytes(), &rest].concat()
    };
    any(&bytes);
    let Ok(Introduced::Header { used, header }) = ProxyProtocol::Optional.read(&bytes) else {
        panic!("{bytes:?}");
    };
    assert_eq!(used, bytes.len());
    assert_eq!(
        *header.origin(),
        Origin::Tcp {
            source,
            destination
        }
    );
    assert_eq!(
        header.client().map(|client| client.ip()),
        Some(source.ip().to_canonical())
    );
    let said: Vec<(u8, Vec<u8>)> = header
        .tlvs()
        .map(|(kind, value)| (kind, value.to_vec()))
        .collect();
    assert_eq!(said, tlvs);
    let endpoint = tlvs.iter().find_map(|(kind, value)| match kind {
        0xe0 => Some(EndpointId::Gcp(u64::from_be_bytes(
            value[..].try_into().expect("eight"),
        ))),
        0xea => Some(EndpointId::Aws(value[1..].into())),
        0xee => Some(EndpointId::Azure(u32::from(value[1]))),
        _ => None,
    });
    assert_eq!(header.endpoint(), endpoint.as_ref());
    if let Some(id) = endpoint {
        assert_eq!(EndpointId::parse(id.to_string().as_bytes()), Some(id));
    }
}
