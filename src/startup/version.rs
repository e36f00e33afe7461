use std::fmt;

/// A protocol version: the second word of a StartupMessage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion {
    /// The major version; only 3 is spoken.
    pub major: u16,
    /// The minor version.
    pub minor: u16,
}

impl ProtocolVersion {
    /// Version 3.0, which every server since 7.4 speaks.
    pub const V3_0: ProtocolVersion = ProtocolVersion { major: 3, minor: 0 };
    /// Version 3.2 (PostgreSQL 18): cancel keys of 4 to 256 bytes. There is no 3.1.
    pub const V3_2: ProtocolVersion = ProtocolVersion { major: 3, minor: 2 };

    /// The version in this word.
    #[must_use]
    pub const fn from_code(code: u32) -> ProtocolVersion {
        let [a, b, c, d] = code.to_be_bytes();
        ProtocolVersion {
            major: u16::from_be_bytes([a, b]),
            minor: u16::from_be_bytes([c, d]),
        }
    }

    /// The word on the wire: the major version in the upper half, the minor in the lower.
    #[must_use]
    pub const fn code(self) -> u32 {
        let ([a, b], [c, d]) = (self.major.to_be_bytes(), self.minor.to_be_bytes());
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Debug for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtocolVersion({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_above_minor() {
        let version = ProtocolVersion::from_code(0x0003_270f);
        assert_eq!((version.major, version.minor), (3, 9999));
        assert_eq!(version.code(), 0x0003_270f);
        assert_eq!(version.to_string(), "3.9999");
        assert!(ProtocolVersion::V3_0 < ProtocolVersion::V3_2 && ProtocolVersion::V3_2 < version);
    }
}
