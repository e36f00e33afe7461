//! Version 1 of the PROXY protocol: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::proxy_header::{BadProxyHeader, Introduced, Origin, ProxyHeader, departs};
use crate::limits::PROXY_LINE_MAX;

const BEGINNING: &[u8] = b"PROXY ";
/// The shortest line.
const SHORTEST: &[u8] = b"PROXY UNKNOWN\r\n";

/// What is wrong with a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineFault {
    /// It does not end in time.
    #[error("no end of the line within {PROXY_LINE_MAX} bytes")]
    TooLong,
    /// A CR or an LF stands alone.
    #[error("a CR or an LF stands alone")]
    End,
    /// Another protocol than TCP over IPv4 or IPv6.
    #[error("expected TCP4, TCP6 or UNKNOWN")]
    Protocol,
    /// An address that is none of that protocol.
    #[error("expected an address of the protocol")]
    Address,
    /// A port that is none, or has leading zeros.
    #[error("expected a port, 0 to 65535")]
    Port,
    /// Something more stands behind the ports, or less than two addresses and two ports are there.
    #[error("expected two addresses and two ports, with one space between them")]
    Fields,
}

pub(super) fn read(input: &[u8]) -> Result<Introduced, BadProxyHeader> {
    if let Some(at) = departs(input, BEGINNING) {
        return Err(BadProxyHeader::Signature { at });
    }
    let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    // The two bytes of the end have to fit.
    let has_room = |at: usize| at.saturating_add(2) <= PROXY_LINE_MAX;
    let Some(at) = end.filter(|at| has_room(*at)) else {
        let least = input.len().saturating_add(2).max(SHORTEST.len());
        return match least <= PROXY_LINE_MAX {
            true => Ok(Introduced::Need(least)),
            false => Err(LineFault::TooLong.into()),
        };
    };
    let (line, end) = input.split_at(at);
    match end {
        [b'\r'] => Ok(Introduced::Need(input.len().saturating_add(1))),
        [b'\r', b'\n', ..] => Ok(Introduced::Header {
            used: at.saturating_add(2),
            header: ProxyHeader::bare(origin(line)?),
        }),
        [..] => Err(LineFault::End.into()),
    }
}

fn origin(line: &[u8]) -> Result<Origin, LineFault> {
    let line = line.strip_prefix(BEGINNING).unwrap_or_default();
    let mut fields = line.split(|byte| *byte == b' ');
    let address: fn(&str) -> Option<IpAddr> = match fields.next() {
        Some(b"TCP4") => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some(b"TCP6") => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        // What stands behind it has no meaning.
        Some(b"UNKNOWN") => return Ok(Origin::Unknown),
        Some(_) | None => return Err(LineFault::Protocol),
    };
    let mut field = || {
        let text = fields.next().ok_or(LineFault::Fields)?;
        Ok(std::str::from_utf8(text).unwrap_or_default())
    };
    let source = address(field()?).ok_or(LineFault::Address)?;
    let destination = address(field()?).ok_or(LineFault::Address)?;
    let source = SocketAddr::new(source, port(field()?)?);
    let destination = SocketAddr::new(destination, port(field()?)?);
    match fields.next() {
        None => Ok(Origin::Tcp {
            source,
            destination,
        }),
        Some(_) => Err(LineFault::Fields),
    }
}

fn port(text: &str) -> Result<u16, LineFault> {
    let port: u16 = text.parse().map_err(|_| LineFault::Port)?;
    // No sign, and no leading zeros.
    match port.to_string() == text {
        true => Ok(port),
        false => Err(LineFault::Port),
    }
}
