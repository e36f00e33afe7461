//! What a load balancer puts in front of a connection: headers of the PROXY protocol, byte by byte.

use pgturnout::startup::{
    BadProxyHeader, EndpointId, Introduced, LineFault, Origin, ProxyHeader, ProxyProtocol, TlvFault,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The client 192.0.2.7:54321, which has connected to 198.51.100.1:5432.
const V4: &[u8] = b"\xc0\0\x02\x07\xc6\x33\x64\x01\xd4\x31\x15\x38";

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], value].concat()
}

/// A header over IPv4 with these behind its addresses.
fn with(tlvs: &[Vec<u8>]) -> Vec<u8> {
    header(0x21, 0x11, &[V4, &tlvs.concat()].concat())
}

/// What is made of bytes that come one read at a time, each as long as was asked for. Nothing behind the header is read.
fn read(bytes: &[u8]) -> Result<(usize, ProxyHeader), BadProxyHeader> {
    let mut there = 0;
    loop {
        match ProxyProtocol::Require.read(&bytes[..there])? {
            Introduced::Need(needed) => {
                assert!(
                    needed > there && needed <= bytes.len(),
                    "{needed} of {bytes:?}"
                );
                there = needed;
            }
            Introduced::Header { used, header } => {
                assert_eq!(used, there, "bytes of the client were read");
                return Ok((used, header));
            }
            Introduced::Direct => panic!("{bytes:?}"),
        }
    }
}

#[track_caller]
fn good(bytes: &[u8]) -> ProxyHeader {
    let (used, header) = read(bytes).unwrap();
    assert_eq!(used, bytes.len());
    // However it comes, and whatever is behind it.
    for end in 0..bytes.len() {
        let part = ProxyProtocol::Optional.read(&bytes[..end]).unwrap();
        assert!(matches!(part, Introduced::Need(needed) if needed > end && needed <= used));
    }
    let longer = [bytes, b"\0\0\0\x08\x04\xd2\x16\x2f"].concat();
    let whole = Introduced::Header {
        used,
        header: header.clone(),
    };
    assert_eq!(ProxyProtocol::Require.read(&longer), Ok(whole));
    header
}

fn bad(bytes: &[u8]) -> BadProxyHeader {
    let fault = read(bytes).unwrap_err();
    assert_eq!(ProxyProtocol::Optional.read(bytes), Err(fault));
    assert_eq!(
        ProxyProtocol::Require.read(&[bytes, b"more"].concat()),
        Err(fault)
    );
    fault
}

fn tcp(source: &str, destination: &str) -> Origin {
    Origin::Tcp {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

#[test]
fn origins() {
    let v6: Vec<u8> = [
        &b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"[..],
        b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x07",
        b"\0\x01\xff\xff",
    ]
    .concat();
    let mut unix = [0; 216];
    unix[..6].copy_from_slice(b"/tmp/c");
    unix[108..114].copy_from_slice(b"/tmp/s");
    for (bytes, origin) in [
        (
            header(0x21, 0x11, V4),
            tcp("192.0.2.7:54321", "198.51.100.1:5432"),
        ),
        (
            header(0x21, 0x21, &v6),
            tcp("[2001:db8::1]:1", "[::ffff:192.0.2.7]:65535"),
        ),
        (
            header(0x21, 0x31, &unix),
            Origin::Unix {
                source: Box::new(unix[..108].try_into().unwrap()),
                destination: Box::new(unix[108..].try_into().unwrap()),
            },
        ),
        // Whatever a check of ours being well says of addresses is skipped.
        (header(0x20, 0x00, b""), Origin::Local),
        (header(0x20, 0x11, V4), Origin::Local),
        (header(0x20, 0xff, b"abc"), Origin::Local),
        // So is what is not about a stream of a known family.
        (header(0x21, 0x00, b""), Origin::Unknown),
        (header(0x21, 0x00, b"abc"), Origin::Unknown),
        (header(0x21, 0x12, V4), Origin::Unknown),
        (header(0x21, 0x10, V4), Origin::Unknown),
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 54321 5432\r\n".to_vec(),
            tcp("192.0.2.7:54321", "198.51.100.1:5432"),
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n".to_vec(),
            tcp("[2001:db8::1]:0", "[::1]:65535"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Unknown),
        (
            b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(),
            Origin::Unknown,
        ),
    ] {
        let header = good(&bytes);
        assert_eq!(*header.origin(), origin);
        let client = match origin {
            Origin::Tcp { source, .. } => Some(source),
            _ => None,
        };
        assert_eq!(header.client(), client);
        assert_eq!((header.tlvs().count(), header.endpoint()), (0, None));
    }
}

/// An address of IPv4 that is written as one of IPv6 is known to lists and throttles as what it is.
#[test]
fn a_mapped_address_is_one_of_ipv4() {
    let header = good(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 7 5432\r\n");
    assert_eq!(header.client().unwrap().to_string(), "192.0.2.7:7");
}

#[test]
fn what_is_no_header() {
    for first in [0, 0x16, b'G', b'Q', b'p', 0xff] {
        assert_eq!(
            ProxyProtocol::Optional.read(&[first]),
            Ok(Introduced::Direct)
        );
        assert_eq!(
            ProxyProtocol::Require.read(&[first]),
            Err(BadProxyHeader::Missing)
        );
    }
    assert_eq!(ProxyProtocol::Off.read(&with(&[])), Ok(Introduced::Direct));
    assert_eq!(ProxyProtocol::Off.read(b""), Ok(Introduced::Direct));
    for policy in [ProxyProtocol::Optional, ProxyProtocol::Require] {
        assert_eq!(policy.read(b""), Ok(Introduced::Need(1)));
    }
    // What has begun as one has to go on as one.
    for at in 1..SIGNATURE.len() {
        let mut bytes = with(&[]);
        bytes[at] ^= 1;
        assert_eq!(bad(&bytes), BadProxyHeader::Signature { at });
    }
    assert_eq!(
        bad(b"PROXIES are no PROXY"),
        BadProxyHeader::Signature { at: 4 }
    );
    assert_eq!(
        bad(b"PROXY\tTCP4 192.0.2.7 "),
        BadProxyHeader::Signature { at: 5 }
    );
}

#[test]
fn lines_that_cannot_be_believed() {
    for (line, fault) in [
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 54321\r\n",
            LineFault::Fields,
        ),
        ("PROXY TCP4 192.0.2.7\r\n", LineFault::Fields),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            LineFault::Fields,
        ),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
            LineFault::Fields,
        ),
        (
            "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
            LineFault::Address,
        ),
        (
            "PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
            LineFault::Address,
        ),
        ("PROXY TCP4 ::1 198.51.100.1 1 2\r\n", LineFault::Address),
        ("PROXY TCP6 192.0.2.7 ::1 1 2\r\n", LineFault::Address),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", LineFault::Address),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
            LineFault::Port,
        ),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 02\r\n",
            LineFault::Port,
        ),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 +2\r\n",
            LineFault::Port,
        ),
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 -2\r\n",
            LineFault::Port,
        ),
        (
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            LineFault::Protocol,
        ),
        (
            "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
            LineFault::Protocol,
        ),
        ("PROXY UNKNOWNS are many\r\n", LineFault::Protocol),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n\n", LineFault::End),
        ("PROXY TCP4 192.0.2.7\r198.51.100.1 1 2\r\n", LineFault::End),
    ] {
        assert_eq!(bad(line.as_bytes()), BadProxyHeader::Line(fault), "{line}");
    }
    let not_text = b"PROXY TCP4 \xff\xff\xff\xff 198.51.100.1 1 2\r\n";
    assert_eq!(bad(not_text), BadProxyHeader::Line(LineFault::Address));
}

#[test]
fn headers_that_cannot_be_believed() {
    for (bytes, fault) in [
        (header(0x11, 0x11, V4), BadProxyHeader::Version(1)),
        (header(0x31, 0x11, V4), BadProxyHeader::Version(3)),
        (header(0x22, 0x11, V4), BadProxyHeader::Command(2)),
        (header(0x2f, 0x11, V4), BadProxyHeader::Command(15)),
        (header(0x21, 0x41, V4), BadProxyHeader::Family(0x41)),
        (header(0x21, 0x13, V4), BadProxyHeader::Family(0x13)),
        (header(0x21, 0x03, V4), BadProxyHeader::Family(0x03)),
        (
            header(0x21, 0x11, &V4[1..]),
            BadProxyHeader::Addresses {
                needed: 12,
                there: 11,
            },
        ),
        (
            header(0x21, 0x21, &[0; 35]),
            BadProxyHeader::Addresses {
                needed: 36,
                there: 35,
            },
        ),
        (
            header(0x21, 0x31, &[0; 215]),
            BadProxyHeader::Addresses {
                needed: 216,
                there: 215,
            },
        ),
    ] {
        assert_eq!(bad(&bytes), fault);
    }
}

/// The place of a fault is that of the type that is wrong, or of the one within it.
#[test]
fn what_stands_behind_the_addresses_is_exact() {
    let at = |at, fault| BadProxyHeader::Tlv { at, fault };
    let ssl = |rest: &[u8]| tlv(0x20, &[b"\x01\0\0\0\0", rest].concat());
    for (bytes, fault) in [
        (with(&[vec![4]]), at(28, TlvFault::Head { left: 1 })),
        (
            with(&[tlv(4, b"xy"), vec![4, 0]]),
            at(33, TlvFault::Head { left: 2 }),
        ),
        (
            with(&[vec![4, 0, 1]]),
            at(
                28,
                TlvFault::Value {
                    announced: 1,
                    left: 0,
                },
            ),
        ),
        (
            with(&[vec![0xe5, 0xff, 0xff, 1]]),
            at(
                28,
                TlvFault::Value {
                    announced: 65535,
                    left: 1,
                },
            ),
        ),
        (
            with(&[tlv(3, b"abc")]),
            at(28, TlvFault::Length { kind: 3, length: 3 }),
        ),
        (
            with(&[tlv(3, b"abcde")]),
            at(28, TlvFault::Length { kind: 3, length: 5 }),
        ),
        (
            with(&[tlv(5, &[0; 129])]),
            at(
                28,
                TlvFault::Length {
                    kind: 5,
                    length: 129,
                },
            ),
        ),
        (
            with(&[tlv(0x20, b"\x01\0\0\0")]),
            at(
                28,
                TlvFault::Length {
                    kind: 0x20,
                    length: 4,
                },
            ),
        ),
        (with(&[ssl(b"\x21")]), at(36, TlvFault::Head { left: 1 })),
        (
            with(&[ssl(b"\x21\0\x07TLSv1.")]),
            at(
                36,
                TlvFault::Value {
                    announced: 7,
                    left: 6,
                },
            ),
        ),
        (
            with(&[ssl(&[tlv(0x21, b"T"), vec![0x22, 0, 9]].concat())]),
            at(
                40,
                TlvFault::Value {
                    announced: 9,
                    left: 0,
                },
            ),
        ),
        (
            with(&[tlv(2, b"a"), tlv(2, b"a")]),
            at(32, TlvFault::Repeated { kind: 2 }),
        ),
        (
            with(&[ssl(b""), ssl(b"")]),
            at(36, TlvFault::Repeated { kind: 0x20 }),
        ),
        (with(&[tlv(0xea, b"\x01")]), at(28, TlvFault::Endpoint)),
        (
            with(&[tlv(0xea, b"\x01vpce 1")]),
            at(28, TlvFault::Endpoint),
        ),
        (with(&[tlv(0xee, b"\x01abc")]), at(28, TlvFault::Endpoint)),
        (
            with(&[tlv(0xea, b"\x01vpce-1"), tlv(0xe0, &[1; 8])]),
            at(38, TlvFault::Endpoints),
        ),
    ] {
        assert_eq!(bad(&bytes), fault, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_stands_behind_the_addresses_is_read() {
    let ssl = [
        &b"\x03\0\0\0\0"[..],
        &tlv(0x21, b"TLSv1.3"),
        &tlv(0x22, b"alice"),
    ]
    .concat();
    let header = good(&with(&[
        tlv(1, b"postgresql"),
        tlv(2, b"db.example.com"),
        tlv(4, b"\0\0\0"),
        tlv(5, &[7; 128]),
        tlv(4, b""),
        tlv(0x20, &ssl),
        tlv(0x30, b"blue"),
        tlv(0xf1, b"x"),
    ]));
    assert_eq!(header.alpn(), Some(&b"postgresql"[..]));
    assert_eq!(header.authority(), Some(&b"db.example.com"[..]));
    assert_eq!(header.unique_id(), Some(&[7; 128][..]));
    let tls = header.tls().unwrap();
    assert!(tls.is_encrypted() && tls.is_verified());
    let said: Vec<_> = tls.tlvs.collect();
    assert_eq!(said, [(0x21, &b"TLSv1.3"[..]), (0x22, b"alice")]);
    assert_eq!(header.tlvs().count(), 8);
    assert_eq!(header.tlvs().last(), Some((0xf1, &b"x"[..])));
    // Of somebody whose certificate was not verified, or who had none, nothing is known.
    for (client, verify) in [(3, 1), (1, 0), (0, 0)] {
        let header = good(&with(&[tlv(0x20, &[client, 0, 0, 0, verify])]));
        assert!(!header.tls().unwrap().is_verified());
    }
}

#[test]
fn private_endpoints() {
    for (kind, value, id) in [
        (
            0xea,
            &b"\x01vpce-08d2bf15fac5001c9"[..],
            "aws:vpce-08d2bf15fac5001c9",
        ),
        (0xee, b"\x01\x78\x56\x34\x12", "azure:305419896"),
        (
            0xe0,
            b"\xff\xff\xff\xff\xc0\xa8\x64\x02",
            "gcp:18446744072646845442",
        ),
    ] {
        let header = good(&with(&[tlv(4, b""), tlv(kind, value)]));
        assert_eq!(header.endpoint().unwrap().to_string(), id);
        assert_eq!(EndpointId::parse(id.as_bytes()).as_ref(), header.endpoint());
        // One that is on its own comes through none.
        let own = self::header(0x20, 0x11, &[V4, &tlv(kind, value)].concat());
        assert_eq!(good(&own).endpoint(), None);
    }
    for (kind, value) in [
        (0xea, &b"\x02vpce-1"[..]),
        (0xea, b""),
        (0xee, b"\x02abcd"),
        (0xe0, b"abc"),
    ] {
        let header = good(&with(&[tlv(kind, value)]));
        assert_eq!((header.endpoint(), header.tlvs().count()), (None, 1));
    }
    for text in [
        "aws:",
        "aws:a b",
        "azure:-1",
        "azure:+1",
        "azure:01",
        "azure:4294967296",
        "gcp:x",
        "Aws:x",
        "x",
        "",
    ] {
        assert_eq!(EndpointId::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_checksum_is_checked() {
    // Of the header with four zeros in its place, as computed bit by bit by another program.
    let mut bytes = with(&[tlv(3, &[0; 4]), tlv(0xea, b"\x01vpce-1")]);
    assert_eq!(
        bad(&bytes),
        BadProxyHeader::Tlv {
            at: 28,
            fault: TlvFault::Checksum
        }
    );
    bytes[31..35].copy_from_slice(&SUM);
    assert!(good(&bytes).endpoint().is_some());
    // Where the type of the checksum stood there would be none.
    for at in (16..bytes.len()).filter(|at| *at != 28) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x80;
        assert!(read(&bytes).is_err(), "byte {at} has changed");
    }
    let twice = with(&[tlv(4, b""), tlv(3, b"abcd")]);
    assert_eq!(
        bad(&twice),
        BadProxyHeader::Tlv {
            at: 31,
            fault: TlvFault::Checksum
        }
    );
}

const SUM: [u8; 4] = [0x02, 0x6b, 0xc8, 0x1c];

/// What a header says is shown, as far as it is addresses.
#[test]
fn values_are_not_shown() {
    let header = good(&with(&[
        tlv(5, b"hidden"),
        tlv(
            0x20,
            &[&[1, 0, 0, 0, 0], &tlv(0x22, b"hidden")[..]].concat(),
        ),
    ]));
    let shown = format!("{header:?} {:?}", header.tls());
    assert!(
        !shown.contains("hidden") && shown.contains("192.0.2.7"),
        "{shown}"
    );
}
