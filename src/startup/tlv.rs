//! What stands behind the addresses of a header of the PROXY protocol: types, lengths, values.

use std::fmt;

use super::endpoint_id::EndpointId;

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;
/// The longest unique id, in bytes.
const UNIQUE_ID_MAX: usize = 128;
/// A type and a length.
const HEAD: usize = 3;

/// What is wrong with one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlvFault {
    /// Less is left than a type and a length.
    #[error("{left} bytes are left, less than a type and a length")]
    Head {
        /// What is left.
        left: usize,
    },
    /// The value is longer than what is left.
    #[error("a value of {announced} bytes where {left} are left")]
    Value {
        /// Its length.
        announced: usize,
        /// What is left.
        left: usize,
    },
    /// A value of this type does not have this length.
    #[error("type {kind:#04x} with a value of {length} bytes")]
    Length {
        /// The type.
        kind: u8,
        /// The length of the value.
        length: usize,
    },
    /// A second one of a type that says one thing.
    #[error("type {kind:#04x} a second time")]
    Repeated {
        /// The type.
        kind: u8,
    },
    /// The bytes of the header have another checksum.
    #[error("the checksum is wrong")]
    Checksum,
    /// The id of a private endpoint that is none.
    #[error("no id of a private endpoint")]
    Endpoint,
    /// A second private endpoint.
    #[error("a second private endpoint")]
    Endpoints,
}

/// Types and values, in order.
#[derive(Clone)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Tlvs<'a> {
    /// Of bytes that were checked.
    pub(super) fn new(rest: &'a [u8]) -> Tlvs<'a> {
        Tlvs { rest }
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (kind, value, rest) = split(self.rest).ok()?;
        self.rest = rest;
        Some((kind, value))
    }
}

/// Shows types and lengths.
impl fmt::Debug for Tlvs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.clone().map(|(kind, value)| (kind, value.len()));
        f.debug_map().entries(lengths).finish()
    }
}

/// The first type and value, and what is behind them.
fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), TlvFault> {
    let Some(([kind, high, low], rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Err(TlvFault::Head { left: bytes.len() });
    };
    let announced = usize::from(u16::from_be_bytes([*high, *low]));
    match rest.split_at_checked(announced) {
        Some((value, rest)) => Ok((*kind, value, rest)),
        None => Err(TlvFault::Value {
            announced,
            left: rest.len(),
        }),
    }
}

/// Checks all of them, from `start` to the end of the header, and finds the private endpoint among them. A fault comes with
/// its place in the header.
pub(super) fn check(header: &[u8], start: usize) -> Result<Option<EndpointId>, (usize, TlvFault)> {
    let mut seen = [false; 256];
    let mut endpoint = None;
    let mut at = start;
    loop {
        let bytes = header.get(at..).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(endpoint);
        }
        let wrong = |fault| (at, fault);
        let (kind, value, rest) = split(bytes).map_err(wrong)?;
        let says_one_thing = matches!(kind, ALPN | AUTHORITY | CRC32C | UNIQUE_ID | SSL);
        if let Some(seen) = seen.get_mut(usize::from(kind)) {
            if *seen && says_one_thing {
                return Err(wrong(TlvFault::Repeated { kind }));
            }
            *seen = true;
        }
        let value_at = at.saturating_add(HEAD);
        match kind {
            CRC32C => check_sum(header, value_at, value).map_err(wrong)?,
            UNIQUE_ID if value.len() > UNIQUE_ID_MAX => {
                let length = value.len();
                return Err(wrong(TlvFault::Length { kind, length }));
            }
            SSL => check_ssl(value, value_at)?,
            _ => {}
        }
        if let Some(id) = EndpointId::of(kind, value).map_err(wrong)? {
            if endpoint.is_some() {
                return Err(wrong(TlvFault::Endpoints));
            }
            endpoint = Some(id);
        }
        at = header.len().saturating_sub(rest.len());
    }
}

/// A byte and a word, and then types and values of its own.
fn check_ssl(value: &[u8], at: usize) -> Result<(), (usize, TlvFault)> {
    const WORDS: usize = 5;
    let Some(mut rest) = value.get(WORDS..) else {
        let (kind, length) = (SSL, value.len());
        return Err((at.saturating_sub(HEAD), TlvFault::Length { kind, length }));
    };
    while !rest.is_empty() {
        let before = value.len().saturating_sub(rest.len());
        let (_, _, behind) = split(rest).map_err(|fault| (at.saturating_add(before), fault))?;
        rest = behind;
    }
    Ok(())
}

fn check_sum(header: &[u8], at: usize, value: &[u8]) -> Result<(), TlvFault> {
    let Ok(sum) = <[u8; 4]>::try_from(value) else {
        let (kind, length) = (CRC32C, value.len());
        return Err(TlvFault::Length { kind, length });
    };
    let end = at.saturating_add(sum.len());
    let zeroed = header.iter().enumerate().map(|(place, byte)| match place {
        place if (at..end).contains(&place) => 0,
        _ => *byte,
    });
    match crc32c(zeroed) == u32::from_be_bytes(sum) {
        true => Ok(()),
        false => Err(TlvFault::Checksum),
    }
}

/// The checksum of Castagnoli (RFC 4960, appendix B), bit by bit: a header is short and comes once.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let sum = bytes.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| match sum & 1 {
            0 => sum >> 1,
            _ => (sum >> 1) ^ POLYNOMIAL,
        })
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the algorithm, and an example of RFC 3720, B.4.
    #[test]
    fn checksums() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
    }
}
