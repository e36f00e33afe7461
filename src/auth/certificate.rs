//! What a login needs of X.509 certificates: the hash that an exchange is bound to (RFC 5929 section 4), and a name.

use std::fmt;

use crate::limits::TLS_END_POINT_MAX;

/// The data of the channel binding `tls-server-end-point`: a hash of the server's certificate.
///
/// Both ends of one TLS connection know it, and somebody in the middle with a certificate of his own has another.
/// It is public.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsEndPoint(Box<[u8]>);

impl TlsEndPoint {
    /// Takes the hash. `None` if it is empty or longer than [`TLS_END_POINT_MAX`] bytes.
    #[must_use]
    pub fn new(hash: &[u8]) -> Option<TlsEndPoint> {
        let fits = !hash.is_empty() && hash.len() <= TLS_END_POINT_MAX;
        fits.then(|| TlsEndPoint(Box::from(hash)))
    }

    /// The hash.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TlsEndPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsEndPoint({} bytes)", self.0.len())
    }
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
/// The version in front of a certificate's serial number.
const VERSION: u8 = 0xa0;
/// UTF8String, PrintableString, TeletexString and IA5String: texts of bytes.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
/// id-at-commonName, RFC 5280 appendix A.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// The common name in the subject of an X.509 certificate in DER, which is what PostgreSQL takes for the user's name.
/// Whether the certificate can be trusted is for the TLS library to say.
///
/// `None` for what is no certificate, and for a subject with no common name, more than one, an empty one, one that
/// holds a NUL, or one of two bytes for a character.
///
/// ```
/// assert_eq!(pgturnout::auth::common_name(b"no certificate"), None);
/// ```
#[must_use]
pub fn common_name(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, behind)) = element(rest, VERSION) {
        rest = behind;
    }
    // Serial number, signature algorithm, issuer, validity.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (mut subject, _) = element(rest, SEQUENCE)?;
    let mut name = None;
    while !subject.is_empty() {
        let (mut attributes, behind) = element(subject, SET)?;
        subject = behind;
        while !attributes.is_empty() {
            let (attribute, behind) = element(attributes, SEQUENCE)?;
            attributes = behind;
            let (kind, value) = element(attribute, OBJECT_IDENTIFIER)?;
            if kind == COMMON_NAME {
                let (text, _) = TEXTS.iter().find_map(|tag| element(value, *tag))?;
                if name.replace(text).is_some() {
                    return None;
                }
            }
        }
    }
    name.filter(|name| !name.is_empty() && !name.contains(&0))
}

/// The contents of the DER element with this tag at the front, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (number(digits)?, rest)
    };
    if *found != tag {
        return None;
    }
    rest.split_at_checked(length)
}

/// A length of up to four bytes.
fn number(digits: &[u8]) -> Option<usize> {
    let mut bytes = [0; 4];
    let start = bytes.len().checked_sub(digits.len())?;
    bytes.get_mut(start..)?.copy_from_slice(digits);
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

#[cfg(feature = "scram")]
mod hash {
    use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

    use super::{OBJECT_IDENTIFIER, SEQUENCE, TlsEndPoint, element};

    /// The hash algorithm among the parameters of RSASSA-PSS.
    const PSS_HASH: u8 = 0xa0;

    impl TlsEndPoint {
        /// The hash of an X.509 certificate in DER: with the hash function of the certificate's own signature, or
        /// SHA-256 in place of MD5 and SHA-1.
        ///
        /// `None` for what is no certificate, and for a signature whose hash function is not defined (Ed25519) or not
        /// known here: such a connection cannot be bound.
        #[must_use]
        pub fn of_certificate(der: &[u8]) -> Option<TlsEndPoint> {
            let (certificate, _) = element(der, SEQUENCE)?;
            let (_, rest) = element(certificate, SEQUENCE)?;
            let (algorithm, _) = element(rest, SEQUENCE)?;
            let hash = match hash_of(algorithm)? {
                Hash::Sha224 => Sha224::digest(der).to_vec(),
                Hash::Sha256 => Sha256::digest(der).to_vec(),
                Hash::Sha384 => Sha384::digest(der).to_vec(),
                Hash::Sha512 => Sha512::digest(der).to_vec(),
            };
            TlsEndPoint::new(&hash)
        }
    }

    enum Hash {
        Sha224,
        Sha256,
        Sha384,
        Sha512,
    }

    /// The hash function of an AlgorithmIdentifier for signatures.
    fn hash_of(algorithm: &[u8]) -> Option<Hash> {
        let (name, parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
        match name {
            // RFC 8017 appendix A.2.4: PKCS #1 with MD5, SHA-1, SHA-256, SHA-384, SHA-512, SHA-224.
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4 | 5 | 11] => Some(Hash::Sha256),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] => Some(Hash::Sha384),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] => Some(Hash::Sha512),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 14] => Some(Hash::Sha224),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10] => hash_of_pss(parameters),
            // RFC 5758 section 3.2: ECDSA with SHA-1, SHA-224, SHA-256, SHA-384, SHA-512.
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => Some(Hash::Sha256),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1] => Some(Hash::Sha224),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Some(Hash::Sha256),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => Some(Hash::Sha384),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => Some(Hash::Sha512),
            _ => None,
        }
    }

    /// The hash function of RSASSA-PSS, which its parameters name; SHA-1, if they do not.
    fn hash_of_pss(parameters: &[u8]) -> Option<Hash> {
        let (parameters, _) = element(parameters, SEQUENCE)?;
        let Some((hash, _)) = element(parameters, PSS_HASH) else {
            return Some(Hash::Sha256);
        };
        let (hash, _) = element(hash, SEQUENCE)?;
        match element(hash, OBJECT_IDENTIFIER)?.0 {
            [0x2b, 0x0e, 3, 2, 26] => Some(Hash::Sha256),
            [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1] => Some(Hash::Sha256),
            [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2] => Some(Hash::Sha384),
            [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3] => Some(Hash::Sha512),
            [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4] => Some(Hash::Sha224),
            _ => None,
        }
    }
}
