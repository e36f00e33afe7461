//! Private endpoints: how clients reach a service of a cloud without the public network.

use std::fmt;

use super::tlv::TlvFault;

const GCP: u8 = 0xe0;
const AWS: u8 = 0xea;
const AZURE: u8 = 0xee;
/// The subtype, of AWS and of Azure, that is an id.
const ID: u8 = 0x01;

/// The private endpoint that a client came through, as its cloud tells it in a header of the PROXY protocol.
///
/// ```
/// use pgturnout::startup::EndpointId;
///
/// let id = EndpointId::parse(b"aws:vpce-0a1b2c3d").unwrap();
/// assert_eq!(id.to_string(), "aws:vpce-0a1b2c3d");
/// assert_eq!(EndpointId::parse(b"azure:305419896"), Some(EndpointId::Azure(305_419_896)));
/// assert_eq!(EndpointId::parse(b"vpce-0a1b2c3d"), None);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointId {
    /// A VPC endpoint of AWS (type 0xEA, subtype 1): letters, digits and hyphens.
    Aws(Box<[u8]>),
    /// The link of a private endpoint of Azure (type 0xEE, subtype 1; the number is written with its low byte first).
    Azure(u32),
    /// A connection of Google's Private Service Connect (type 0xE0, eight bytes).
    Gcp(u64),
}

impl EndpointId {
    /// Reads it from a text: the cloud's name (`aws`, `azure`, `gcp`), a colon, and the id or the decimal number. `None` if
    /// it says something else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<EndpointId> {
        let text = std::str::from_utf8(text).ok()?;
        let (cloud, id) = text.split_once(':')?;
        let parsed = match cloud {
            "aws" => EndpointId::aws(id.as_bytes()),
            "azure" => id.parse().ok().map(EndpointId::Azure),
            "gcp" => id.parse().ok().map(EndpointId::Gcp),
            _ => None,
        };
        // One endpoint is written one way: no sign, no leading zeros.
        parsed.filter(|parsed| parsed.to_string() == text)
    }

    fn aws(id: &[u8]) -> Option<EndpointId> {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        (!id.is_empty() && id.iter().all(fits)).then(|| EndpointId::Aws(id.into()))
    }

    /// What a type and a value say of it; other types, other subtypes, and values of 0xE0 that are not Google's say nothing.
    pub(super) fn of(kind: u8, value: &[u8]) -> Result<Option<EndpointId>, TlvFault> {
        let id = match (kind, value) {
            (AWS, [ID, id @ ..]) => EndpointId::aws(id),
            (AZURE, [ID, number @ ..]) => {
                let number = <[u8; 4]>::try_from(number).ok();
                number.map(|number| EndpointId::Azure(u32::from_le_bytes(number)))
            }
            (GCP, number) => {
                let number = <[u8; 8]>::try_from(number).ok();
                return Ok(number.map(|number| EndpointId::Gcp(u64::from_be_bytes(number))));
            }
            (_, _) => return Ok(None),
        };
        id.map(Some).ok_or(TlvFault::Endpoint)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointId::Aws(id) => write!(f, "aws:{}", id.escape_ascii()),
            EndpointId::Azure(number) => write!(f, "azure:{number}"),
            EndpointId::Gcp(number) => write!(f, "gcp:{number}"),
        }
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointId({self})")
    }
}
