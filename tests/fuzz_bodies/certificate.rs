//! Certificates, which come from whoever connects.

use pgturnout::auth::{TlsEndPoint, common_name};

use super::contains;
use super::feed::Feed;

/// Object identifiers: the common name, the organization, ecdsa-with-SHA256 and Ed25519.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const ALGORITHMS: [&[u8]; 2] = [
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
    &[0x2b, 0x65, 0x70],
];

const NAMES: &[&[u8]] = &[
    b"alice",
    b"",
    b"a\0b",
    b"bob",
    "\u{e9}".as_bytes(),
    &[b'x'; 200],
];

/// The name of a certificate is the one common name in its subject, if that is a text that can be a user's; what is cut
/// anywhere is no certificate; whatever the bytes, a name stands in them, and a hash has the length of one.
pub(crate) fn certificate(data: &[u8]) {
    let mut feed = Feed::new(data);
    if feed.below(2) == 0 {
        return any(feed.rest());
    }
    let mut names = Vec::new();
    let mut subject = Vec::new();
    for _ in 0..feed.below(4) {
        let mut attributes = Vec::new();
        for _ in 0..1 + feed.below(2) {
            let is_name = feed.below(3) != 0;
            // UTF8String, PrintableString, TeletexString, IA5String and, of two bytes a character, BMPString.
            let (tag, text) = (feed.one(b"\x0c\x13\x14\x16\x1e"), feed.one(NAMES));
            let kind = if is_name { COMMON_NAME } else { ORGANIZATION };
            let pair = [element(6, kind, &mut feed), element(tag, text, &mut feed)];
            attributes.extend(element(0x30, &pair.concat(), &mut feed));
            if is_name {
                names.push((tag != 0x1e).then_some(text));
            }
        }
        subject.extend(element(0x31, &attributes, &mut feed));
    }
    let algorithm = feed.one(&ALGORITHMS);
    let der = certificate_of(&subject, algorithm, &mut feed);
    let expected = match names[..] {
        [Some(name)] if !name.is_empty() && !name.contains(&0) => Some(name),
        _ => None,
    };
    assert_eq!(common_name(&der), expected, "{der:?}");
    #[cfg(feature = "scram")]
    {
        let hash = TlsEndPoint::of_certificate(&der);
        assert_eq!(hash.is_some(), algorithm == ALGORITHMS[0], "{der:?}");
    }
    any(&der);
    let end = (feed.below(256) * 256 + feed.below(256)) % der.len();
    assert_eq!(common_name(&der[..end]), None, "cut at {end}: {der:?}");
    any(&der[..end]);
}

fn any(der: &[u8]) {
    if let Some(name) = common_name(der) {
        assert!(contains(der, name) && !name.contains(&0), "{der:?}");
    }
    #[cfg(feature = "scram")]
    if let Some(hash) = TlsEndPoint::of_certificate(der) {
        assert!(matches!(hash.bytes().len(), 28 | 32 | 48 | 64), "{der:?}");
        assert_eq!(TlsEndPoint::of_certificate(der), Some(hash));
    }
    let bound = TlsEndPoint::new(der);
    assert_eq!(bound.is_some(), (1..=64).contains(&der.len()));
}

/// With and without the version in front, as RFC 5280 writes it.
fn certificate_of(subject: &[u8], algorithm: &[u8], feed: &mut Feed<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    if feed.below(2) == 0 {
        body.extend(element(0xa0, &[2, 1, 2], feed));
    }
    let algorithm = element(6, algorithm, feed);
    for (tag, content) in [
        (2, &b"\x01"[..]),
        (0x30, &algorithm),
        (0x30, b""),
        (0x30, b""),
        (0x30, subject),
        (0x30, b"key"),
    ] {
        body.extend(element(tag, content, feed));
    }
    let body = element(0x30, &body, feed);
    let algorithm = element(0x30, &algorithm, feed);
    let signature = element(3, b"\0signature", feed);
    element(0x30, &[body, algorithm, signature].concat(), feed)
}

/// An element of DER, or of BER, whose lengths may be longer than they must be.
fn element(tag: u8, content: &[u8], feed: &mut Feed<'_>) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short").to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count().min(3);
    let digits = &length[zeros - feed.below(zeros + 1)..];
    let mut out = vec![tag];
    match content.len() {
        short if short < 0x80 && feed.below(4) != 0 => out.extend(u8::try_from(short)),
        _ => {
            out.push(0x80 | u8::try_from(digits.len()).expect("four at most"));
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
    out
}
