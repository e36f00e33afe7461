use super::codes::{CANCEL_REQUEST, GSSENC_REQUEST, REQUEST_LENGTH, SPECIAL_MAJOR, SSL_REQUEST};
use super::params::{LENGTH_MAX, LENGTH_MIN};
use super::version::ProtocolVersion;
use crate::limits::{CANCEL_SECRET_MAX, CANCEL_SECRET_MIN};

/// The first byte of a TLS record that holds a handshake. As the first of a length word it would announce 369 MB.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// What the first bytes of a client's connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detected {
    /// Nothing can be said before the input has this many bytes: 1, 4 or 8.
    NeedMore(usize),
    /// SSLRequest.
    Ssl,
    /// GSSENCRequest.
    GssEnc,
    /// CancelRequest.
    Cancel,
    /// A StartupMessage of this version, spoken by anybody or not. What follows the version was not looked at.
    Startup(ProtocolVersion),
    /// A TLS handshake without an SSLRequest before it.
    DirectTls,
    /// Not PostgreSQL, or an opening that no server takes.
    Other,
}

/// Says what a connection opens with, from its first eight bytes at most: for listeners that serve several protocols,
/// and for choosing a policy before a [`Negotiation`](super::Negotiation) begins. Nothing is kept and nothing used up.
///
/// | the input begins with | answer |
/// | --- | --- |
/// | `16` | direct TLS |
/// | a length below 8 or above 10,004 | other |
/// | `00000008 04d2162f` | SSLRequest |
/// | `00000008 04d21630` | GSSENCRequest |
/// | a length of 16 to 268 and `04d2162e` | CancelRequest |
/// | another code `04d2....`, or another length before one of those | other |
/// | a length and any other word | StartupMessage of that version |
///
/// ```
/// use pgturnout::startup::{Detected, ProtocolVersion, detect};
///
/// assert_eq!(detect(&[0, 0, 0, 8, 0x04]), Detected::NeedMore(8));
/// assert_eq!(detect(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]), Detected::Ssl);
/// assert_eq!(detect(b"\0\0\0\x52\0\x03\0\x02user\0"), Detected::Startup(ProtocolVersion::V3_2));
/// assert_eq!(detect(b"GET / HTTP/1.1\r\n"), Detected::Other);
/// ```
#[must_use]
pub fn detect(input: &[u8]) -> Detected {
    match input.first() {
        None => return Detected::NeedMore(1),
        Some(&TLS_HANDSHAKE) => return Detected::DirectTls,
        Some(_) => {}
    }
    match First::of(input) {
        First::Need(bytes) => Detected::NeedMore(bytes),
        First::NoLength(_) => Detected::Other,
        First::Packet {
            announced, code, ..
        } => kind(announced, code),
    }
}

fn kind(announced: u32, code: u32) -> Detected {
    let secret = usize::try_from(announced.saturating_sub(12)).unwrap_or(usize::MAX);
    let version = ProtocolVersion::from_code(code);
    match code {
        SSL_REQUEST if announced == REQUEST_LENGTH => Detected::Ssl,
        GSSENC_REQUEST if announced == REQUEST_LENGTH => Detected::GssEnc,
        CANCEL_REQUEST if (CANCEL_SECRET_MIN..=CANCEL_SECRET_MAX).contains(&secret) => {
            Detected::Cancel
        }
        _ if version.major == SPECIAL_MAJOR => Detected::Other,
        _ => Detected::Startup(version),
    }
}

/// The two words that a packet without a tag begins with.
pub(super) enum First {
    /// They are not there before the input has this many bytes.
    Need(usize),
    /// No packet has this length.
    NoLength(u32),
    Packet {
        /// The length word.
        announced: u32,
        /// The same, as a number of bytes.
        length: usize,
        /// The second word.
        code: u32,
    },
}

impl First {
    pub(super) fn of(input: &[u8]) -> First {
        let Some(word) = input.first_chunk() else {
            return First::Need(4);
        };
        let announced = u32::from_be_bytes(*word);
        let length = match usize::try_from(announced) {
            Ok(length) if (LENGTH_MIN..=LENGTH_MAX).contains(&announced) => length,
            Ok(_) | Err(_) => return First::NoLength(announced),
        };
        let Some([_, _, _, _, code @ ..]) = input.first_chunk::<8>() else {
            return First::Need(8);
        };
        First::Packet {
            announced,
            length,
            code: u32::from_be_bytes(*code),
        }
    }
}
