//! The opening of a client connection: every kind of first packet, under every policy, in clear and encrypted.
//!
//! Laws: L2 (chunking), L8 (bounded), L9 (total), L11 (nothing in clear where TLS is required).

use bytes::BytesMut;
use pgturnout::startup::{
    CancelKey, ClientTls, Detected, Negotiation, Opened, Passage, ProtocolVersion, Refusal,
    Replication, Request, StartupParams, detect, encode_startup,
};
use proptest::prelude::*;

const POLICIES: [ClientTls; 4] = [
    ClientTls::Disable,
    ClientTls::Allow,
    ClientTls::Require,
    ClientTls::Passthrough,
];
const SSL: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
const V3_0: u32 = 0x0003_0000;
const V3_2: u32 = 0x0003_0002;

/// A packet of this code and body, its length word being right.
fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

/// The first bytes of a packet that announces another length than it has.
fn announcing(length: u32, rest: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], rest].concat()
}

fn startup(body: &[u8]) -> Vec<u8> {
    packet(V3_0, body)
}

fn cancel(secret: usize) -> Vec<u8> {
    packet(80_877_102, &[&[0, 0, 1, 2][..], &vec![7; secret]].concat())
}

fn padded(total: usize) -> Vec<u8> {
    let fixed = startup(b"user\0u\0a\0\0\0").len();
    let value = "v".repeat(total - fixed);
    startup(format!("user\0u\0a\0{value}\0\0").as_bytes())
}

/// What the machine decided, in one word; a refusal by what it answers.
fn word(result: &Result<Opened, Refusal>) -> String {
    match result {
        Ok(Opened::Need(n)) => format!("need {n}"),
        Ok(Opened::Reply { used: 8, byte, .. }) => char::from(*byte).to_string(),
        Ok(Opened::Reply { used, .. }) => format!("reply after {used}"),
        Ok(Opened::DirectTls) => "handshake".into(),
        Ok(Opened::Passthrough {
            by: Passage::Request,
        }) => "through".into(),
        Ok(Opened::Passthrough {
            by: Passage::Direct,
        }) => "handshake through".into(),
        Ok(Opened::Cancel { .. }) => "cancel".into(),
        Ok(Opened::Start { .. }) => "start".into(),
        Err(refusal) => answer_word(refusal),
    }
}

fn answer_word(refusal: &Refusal) -> String {
    let mut answer = BytesMut::new();
    refusal.answer(&mut answer);
    let (single, error) = match &answer[..] {
        [] => return "silence".into(),
        [b'N', error @ ..] => ("N+", error),
        error => ("", error),
    };
    if error.starts_with(b"EFATAL:  ") {
        assert!(error.ends_with(b"\n\0"));
        return "v2 error".into();
    }
    let length = u32::from_be_bytes(error[1..5].try_into().unwrap());
    assert_eq!(
        (error[0], length as usize),
        (b'E', error.len() - 1),
        "{refusal}"
    );
    let text = String::from_utf8(error[5..].to_vec()).unwrap();
    assert!(
        text.starts_with("SFATAL\0VFATAL\0C") && text.ends_with("\0\0"),
        "{text:?}"
    );
    format!("{single}{}", &text["SFATAL\0VFATAL\0C".len()..][..5])
}

struct Row {
    name: &'static str,
    bytes: Vec<u8>,
    /// In clear with `disable`, `allow`, `require`, `passthrough`; encrypted.
    expected: [&'static str; 5],
}

fn row(name: &'static str, bytes: impl AsRef<[u8]>, expected: [&'static str; 5]) -> Row {
    Row {
        name,
        bytes: bytes.as_ref().to_vec(),
        expected,
    }
}

fn everywhere(name: &'static str, bytes: impl AsRef<[u8]>, expected: &'static str) -> Row {
    row(name, bytes, [expected; 5])
}

fn started(name: &'static str, bytes: impl AsRef<[u8]>) -> Row {
    row(name, bytes, ["start", "start", "28000", "start", "start"])
}

const USER: &[u8] = b"user\0u\0";

/// A user, and more.
fn with(more: &[u8]) -> Vec<u8> {
    [USER, more].concat()
}

/// Requests for encryption.
fn encryption() -> Vec<Row> {
    let ssl_behind = |more: &[u8]| [&SSL[..], more].concat();
    let gss_behind = |more: &[u8]| [&GSS[..], more].concat();
    vec![
        row("SSLRequest", SSL, ["N", "S", "S", "through", "0A000"]),
        row("GSSENCRequest", GSS, ["N", "N", "N", "N", "0A000"]),
        // A1: bytes behind a request, whatever its answer.
        row(
            "SSLRequest and a byte",
            ssl_behind(b"\0"),
            ["N+08P01", "08P01", "08P01", "through", "0A000"],
        ),
        row(
            "SSLRequest and a startup",
            ssl_behind(&startup(b"user\0u\0\0")),
            ["N+08P01", "08P01", "08P01", "through", "0A000"],
        ),
        row(
            "SSLRequest and a hello",
            ssl_behind(b"\x16\x03\x01"),
            ["N+08P01", "08P01", "08P01", "through", "0A000"],
        ),
        row(
            "GSSENCRequest and a byte",
            gss_behind(b"\0"),
            ["N+08P01", "N+08P01", "N+08P01", "N+08P01", "0A000"],
        ),
        row(
            "GSSENCRequest and an SSLRequest",
            gss_behind(&SSL),
            ["N+08P01", "N+08P01", "N+08P01", "N+08P01", "0A000"],
        ),
        // A5: other lengths.
        row(
            "SSLRequest of 9",
            packet(80_877_103, b"x"),
            ["08P01", "08P01", "08P01", "08P01", "0A000"],
        ),
        row(
            "SSLRequest of 12",
            announcing(12, &SSL[4..]),
            ["08P01", "08P01", "08P01", "08P01", "0A000"],
        ),
        row(
            "GSSENCRequest of 12",
            packet(80_877_104, b"abcd"),
            ["08P01", "08P01", "08P01", "08P01", "0A000"],
        ),
    ]
}

fn cancels() -> Vec<Row> {
    vec![
        everywhere("CancelRequest", cancel(4), "cancel"),
        everywhere(
            "CancelRequest and bytes",
            [cancel(4), vec![1, 2]].concat(),
            "cancel",
        ),
        everywhere("CancelRequest of 3.2", cancel(256), "cancel"),
        everywhere(
            "CancelRequest without a key",
            packet(80_877_102, b""),
            "silence",
        ),
        everywhere("CancelRequest without a secret", cancel(0), "silence"),
        everywhere("CancelRequest, secret of 3", cancel(3), "silence"),
        everywhere("CancelRequest, secret of 257", cancel(257), "silence"),
    ]
}

/// A9: lengths that no packet has.
fn lengths() -> Vec<Row> {
    vec![
        everywhere("length 0", announcing(0, b""), "silence"),
        everywhere("length 3", announcing(3, b""), "silence"),
        everywhere("length 4", announcing(4, b""), "silence"),
        everywhere("length 7", announcing(7, b"\0\x03\0"), "silence"),
        everywhere("length 10,005", announcing(10_005, b""), "silence"),
        everywhere("length 2^31", announcing(1 << 31, b""), "silence"),
        everywhere("length 2^32 - 1", announcing(u32::MAX, b""), "silence"),
        everywhere("HTTP", b"GET / HTTP/1.1\r\n\r\n", "silence"),
        everywhere("PROXY", b"PROXY TCP4 1.2.3.4", "silence"),
        row(
            "direct TLS",
            b"\x16\x03\x01\x02\0\x01",
            [
                "silence",
                "handshake",
                "handshake",
                "handshake through",
                "silence",
            ],
        ),
    ]
}

/// A10: layout.
fn layouts() -> Vec<Row> {
    vec![
        everywhere("version alone", startup(b""), "08P01"),
        everywhere("no terminator", startup(USER), "08P01"),
        everywhere("no NUL at all", startup(b"user\0u"), "08P01"),
        everywhere("terminator twice", startup(&with(b"\0\0")), "08P01"),
        everywhere("name without value", startup(&with(b"b\0")), "08P01"),
        everywhere(
            "name without value, and the end",
            startup(&with(b"b\0\0")),
            "08P01",
        ),
        everywhere(
            "text behind the end",
            startup(&with(b"\0b\0c\0\0")),
            "08P01",
        ),
        everywhere("name in place of the end", startup(&with(b"xy")), "08P01"),
        everywhere(
            "name of one byte in place of the end",
            startup(&with(b"x")),
            "08P01",
        ),
        everywhere("no parameters", startup(b"\0"), "28000"),
        everywhere("no user", startup(b"database\0d\0\0"), "28000"),
        everywhere("empty user", startup(b"user\0\0\0"), "28000"),
        everywhere(
            "the last user is empty",
            startup(&with(b"user\0\0\0")),
            "28000",
        ),
    ]
}

/// A14: versions. A v2 packet has another layout, which is not looked at.
fn versions() -> Vec<Row> {
    vec![
        everywhere("version 0.0", packet(0, USER), "0A000"),
        everywhere("version 1.0", packet(0x0001_0000, &with(b"\0")), "v2 error"),
        everywhere("version 2.0", packet(0x0002_0000, &[0; 288]), "v2 error"),
        everywhere("version 4.0", packet(0x0004_0000, &with(b"\0")), "0A000"),
        everywhere(
            "version 65535.65535",
            packet(u32::MAX, &with(b"\0")),
            "0A000",
        ),
        everywhere("version 1234.5677", packet(80_877_101, b""), "0A000"),
    ]
}

/// Sessions that start.
fn starts() -> Vec<Row> {
    vec![
        started("startup 3.0", startup(&with(b"\0"))),
        started("startup 3.1", packet(0x0003_0001, &with(b"\0"))),
        started("startup 3.2", packet(V3_2, &with(b"\0"))),
        started("startup 3.9999", packet(0x0003_270f, &with(b"\0"))),
        started("protocol option", startup(&with(b"_pq_.x\x001\0\0"))),
        started("user twice", startup(&with(b"user\0v\0\0"))),
        started("empty value", startup(&with(b"application_name\0\0\0"))),
        started(
            "startup and a password",
            [startup(&with(b"\0")), b"p\0\0\0\x05\0".to_vec()].concat(),
        ),
        started("the longest startup", padded(10_004)),
    ]
}

/// Packets whose end has not come.
fn parts() -> Vec<Row> {
    vec![
        everywhere("nothing", b"", "need 4"),
        everywhere("3 bytes", &SSL[..3], "need 4"),
        everywhere("a length", &SSL[..4], "need 8"),
        everywhere("7 bytes of a request", &SSL[..7], "need 8"),
        everywhere("half a startup", &startup(&with(b"\0"))[..10], "need 16"),
        everywhere("half a cancel", &cancel(4)[..15], "need 16"),
    ]
}

fn table() -> Vec<Row> {
    let groups = [
        encryption(),
        cancels(),
        lengths(),
        layouts(),
        versions(),
        starts(),
        parts(),
    ];
    groups.into_iter().flatten().collect()
}

#[test]
fn every_opening_under_every_policy() {
    for Row {
        name,
        bytes,
        expected,
    } in table()
    {
        for (policy, clear) in POLICIES.into_iter().zip(expected) {
            let result = Negotiation::new(policy).handle(&bytes, false);
            assert_eq!(word(&result), clear, "{name} in clear, {policy:?}");
            let result = Negotiation::new(policy).handle(&bytes, true);
            assert_eq!(word(&result), expected[4], "{name} encrypted, {policy:?}");
        }
    }
}

/// L2: however the bytes come, the outcome is that of all at once; and `Need` always brings an outcome nearer.
#[test]
fn byte_by_byte_and_every_truncation() {
    for Row { name, bytes, .. } in table() {
        for (policy, secured) in POLICIES
            .into_iter()
            .flat_map(|policy| [(policy, false), (policy, true)])
        {
            let whole = Negotiation::new(policy).handle(&bytes, secured);
            if let Err(Refusal::BytesBehind { .. }) = whole {
                continue; // That they came at once is what is refused.
            }
            let mut slow = Negotiation::new(policy);
            let mut end = 0;
            let outcome = loop {
                let step = slow.handle(&bytes[..end], secured);
                assert_eq!(
                    word(&step),
                    word(&Negotiation::new(policy).handle(&bytes[..end], secured))
                );
                match step {
                    Ok(Opened::Need(n)) if n <= bytes.len() => {
                        assert!(n > end, "{name}: needs {n} of {end}");
                        end += 1;
                    }
                    other => break other,
                }
            };
            assert_eq!(
                format!("{outcome:?}"),
                format!("{whole:?}"),
                "{name}, {policy:?}, encrypted: {secured}"
            );
        }
    }
}

/// `Need` is honest: with exactly as many bytes as it asks for, it asks for more or decides.
#[test]
fn need_is_enough() {
    for Row { name, bytes, .. } in table() {
        let mut opening = Negotiation::new(ClientTls::Disable);
        let mut end = 0;
        let mut steps = 0;
        while let Ok(Opened::Need(n)) = opening.handle(&bytes[..end], false) {
            assert!(n > end, "{name}");
            let Some(_) = bytes.get(..n) else { break };
            end = n;
            steps += 1;
            assert!(steps <= 3, "{name}");
        }
    }
}

/// A4: each request is answered once, whatever came between. Also the most that an opening can read and answer.
#[test]
fn requests_are_refused_once_each() {
    for [first, second] in [[SSL, GSS], [GSS, SSL]] {
        for third in [SSL, GSS] {
            let mut opening = Negotiation::new(ClientTls::Disable);
            assert_eq!(word(&opening.handle(&first, false)), "N");
            assert_eq!(word(&opening.handle(&second, false)), "N");
            assert_eq!(word(&opening.handle(&third, false)), "0A000");
            assert_eq!(opening.handle(&third, false).unwrap_err(), Refusal::Ended);
        }
        let mut opening = Negotiation::new(ClientTls::Disable);
        assert_eq!(word(&opening.handle(&first, false)), "N");
        assert_eq!(word(&opening.handle(&first, false)), "0A000");

        let mut opening = Negotiation::new(ClientTls::Disable);
        let longest = padded(10_004);
        assert_eq!(word(&opening.handle(&first, false)), "N");
        assert_eq!(word(&opening.handle(&second, false)), "N");
        assert_eq!(word(&opening.handle(&longest, false)), "start");
        assert_eq!(first.len() + second.len() + longest.len(), 10_020);
        assert_eq!(word(&opening.handle(&longest, false)), "silence");
    }
}

#[test]
fn gssencrequest_then_sslrequest_then_tls() {
    let mut opening = Negotiation::new(ClientTls::Require);
    assert_eq!(word(&opening.handle(&GSS, false)), "N");
    assert_eq!(word(&opening.handle(&SSL, false)), "S");
    assert_eq!(word(&opening.handle(&SSL, true)), "0A000");

    let mut opening = Negotiation::new(ClientTls::Require);
    assert_eq!(word(&opening.handle(&SSL, false)), "S");
    assert_eq!(word(&opening.handle(&[], false)), "need 4");
    assert_eq!(word(&opening.handle(&[], true)), "need 4");
    assert_eq!(
        word(&opening.handle(&startup(b"user\0u\0\0"), true)),
        "start"
    );
}

/// A handshake is one only as the first bytes of all: behind an answer it would be somebody else's.
#[test]
fn a_handshake_after_a_request_is_none() {
    for policy in POLICIES {
        let mut opening = Negotiation::new(policy);
        assert_eq!(word(&opening.handle(&GSS, false)), "N");
        assert_eq!(word(&opening.handle(b"\x16\x03\x01\x02", false)), "silence");
    }
    let mut opening = Negotiation::new(ClientTls::Passthrough);
    assert_eq!(word(&opening.handle(&GSS, false)), "N");
    assert_eq!(word(&opening.handle(&SSL, false)), "through");
    assert_eq!(word(&opening.handle(&SSL, false)), "silence");
}

/// L11: after a direct handshake began as after `S`: nothing in clear, and no second request for encryption.
#[test]
fn behind_a_direct_handshake_all_is_encrypted() {
    let hello = b"\x16\x03\x01\x02\0\x01";
    let mut opening = Negotiation::new(ClientTls::Require);
    assert_eq!(word(&opening.handle(hello, false)), "handshake");
    assert_eq!(
        opening.handle(hello, false).unwrap_err(),
        Refusal::NotSecured
    );
    for (packet, outcome) in [(SSL.to_vec(), "0A000"), (startup(b"user\0u\0\0"), "start")] {
        let mut opening = Negotiation::new(ClientTls::Require);
        assert_eq!(word(&opening.handle(hello, false)), "handshake");
        assert_eq!(word(&opening.handle(&[], true)), "need 4");
        assert_eq!(word(&opening.handle(&packet, true)), outcome);
    }
}

/// What a listener sees in the first bytes is what an opening makes of them.
#[test]
fn what_is_detected_is_what_is_opened() {
    for Row { name, bytes, .. } in table() {
        let opened = word(&Negotiation::new(ClientTls::Allow).handle(&bytes, false));
        let fits = match detect(&bytes) {
            Detected::NeedMore(1) => bytes.is_empty() && opened == "need 4",
            Detected::NeedMore(n) => opened == format!("need {n}"),
            Detected::Ssl => matches!(&*opened, "S" | "08P01"),
            Detected::GssEnc => matches!(&*opened, "N" | "N+08P01"),
            Detected::Cancel => matches!(&*opened, "cancel" | "need 16"),
            Detected::DirectTls => opened == "handshake",
            Detected::Startup(version) if version.major == 3 => {
                matches!(&*opened, "start" | "08P01" | "28000" | "need 16")
            }
            Detected::Startup(_) => matches!(&*opened, "0A000" | "v2 error"),
            Detected::Other => matches!(&*opened, "silence" | "08P01" | "0A000"),
        };
        assert!(fits, "{name}: {:?}, {opened}", detect(&bytes));
    }
}

#[test]
fn detected_at_every_length() {
    let version = |code| Detected::Startup(ProtocolVersion::from_code(code));
    for (bytes, at, kind) in [
        (SSL.to_vec(), 8, Detected::Ssl),
        (GSS.to_vec(), 8, Detected::GssEnc),
        (cancel(4), 8, Detected::Cancel),
        (cancel(256), 8, Detected::Cancel),
        (cancel(3), 8, Detected::Other),
        (cancel(257), 8, Detected::Other),
        (packet(80_877_103, b"x"), 8, Detected::Other),
        (packet(80_877_105, b""), 8, Detected::Other),
        (startup(&with(b"\0")), 8, version(V3_0)),
        (packet(V3_2, &with(b"\0")), 8, version(V3_2)),
        (packet(0x0003_270f, b""), 8, version(0x0003_270f)),
        (packet(0x0002_0000, &[0; 288]), 8, version(0x0002_0000)),
        (padded(10_004), 8, version(V3_0)),
        (announcing(10_005, &V3_0.to_be_bytes()), 4, Detected::Other),
        (announcing(7, &V3_0.to_be_bytes()), 4, Detected::Other),
        (b"\x16\x03\x01\x02".to_vec(), 1, Detected::DirectTls),
        (b"GET / HTTP/1.1\r\n".to_vec(), 4, Detected::Other),
        (b"SSH-2.0-x".to_vec(), 4, Detected::Other),
    ] {
        for end in 0..=bytes.len() {
            let expected = match end {
                0 => Detected::NeedMore(1),
                _ if end >= at => kind,
                1..=3 => Detected::NeedMore(4),
                _ => Detected::NeedMore(8),
            };
            assert_eq!(detect(&bytes[..end]), expected, "{bytes:?} up to {end}");
        }
    }
}

/// L11: after `S`, and after TLS, not a byte in clear is looked at.
#[test]
fn bytes_in_clear_where_tls_was_promised() {
    for bytes in [
        startup(b"user\0u\0\0"),
        b"\x16\x03\x01".to_vec(),
        cancel(4),
        vec![0],
    ] {
        let mut opening = Negotiation::new(ClientTls::Allow);
        assert_eq!(word(&opening.handle(&SSL, false)), "S");
        assert_eq!(
            opening.handle(&bytes, false).unwrap_err(),
            Refusal::NotSecured
        );

        let mut opening = Negotiation::new(ClientTls::Allow);
        assert_eq!(word(&opening.handle(&[], true)), "need 4");
        assert_eq!(
            opening.handle(&bytes, false).unwrap_err(),
            Refusal::NotSecured
        );
    }
}

/// Causes that the answer does not tell apart.
#[test]
fn causes() {
    let cause = |bytes: &[u8], before: Option<[u8; 8]>| {
        let mut opening = Negotiation::new(ClientTls::Disable);
        if let Some(before) = before {
            assert_eq!(word(&opening.handle(&before, false)), "N");
        }
        opening.handle(bytes, false).unwrap_err()
    };
    let hello = b"\x16\x03\x01\x02";
    assert_eq!(cause(hello, None), Refusal::DirectTls);
    assert_eq!(cause(&hello[..1], None), Refusal::DirectTls);
    // Behind an answer it is no beginning any more, and no length either.
    assert_eq!(
        cause(hello, Some(SSL)),
        Refusal::Length {
            announced: 0x1603_0102
        }
    );
    assert_eq!(
        cause(hello, Some(GSS)),
        Refusal::Length {
            announced: 0x1603_0102
        }
    );
    assert_eq!(
        cause(b"GET ", None),
        Refusal::Length {
            announced: 0x4745_5420
        }
    );
    assert_eq!(
        cause(&cancel(3), None),
        Refusal::CancelLength { announced: 15 }
    );
    let nine = Refusal::RequestLength {
        request: Request::Ssl,
        announced: 9,
    };
    assert_eq!(cause(&packet(80_877_103, b"x"), None), nine);
    let behind = Refusal::BytesBehind {
        request: Request::GssEnc,
        answer: b'N',
    };
    assert_eq!(cause(&[&GSS[..], &SSL].concat(), None), behind);
}

/// Who is refused without a word, and no one else: the list of README.md.
#[test]
fn what_is_refused_in_silence() {
    let request = Request::Ssl;
    let readme = include_str!("../README.md");
    let (_, list) = readme
        .split_once("### Who is refused without a word")
        .unwrap();
    let (list, _) = list.split_once("\n## ").unwrap();
    let misuse = "";
    for (refusal, listed) in [
        (Refusal::Length { announced: 3 }, "no length of a packet"),
        (Refusal::CancelLength { announced: 15 }, "a CancelRequest"),
        (Refusal::DirectTls, "where TLS is not offered"),
        (Refusal::Alpn, "another protocol than `postgresql`"),
        (Refusal::NotSecured, misuse),
        (Refusal::Ended, misuse),
    ] {
        assert_eq!(answer_word(&refusal), "silence", "{refusal:?}");
        assert!(list.contains(listed), "{listed}");
    }
    let version = |major| Refusal::Version(ProtocolVersion { major, minor: 0 });
    for refusal in [
        Refusal::StartupLength { announced: 305 },
        Refusal::RequestLength {
            request,
            announced: 9,
        },
        Refusal::BytesBehind {
            request,
            answer: b'S',
        },
        Refusal::BytesBehind {
            request,
            answer: b'N',
        },
        Refusal::Repeated { request },
        version(2),
        version(4),
        Refusal::Layout,
        Refusal::NoUser,
        Refusal::Reserved,
        Refusal::TlsRequired,
    ] {
        assert_ne!(answer_word(&refusal), "silence", "{refusal:?}");
    }
}

/// A length that is configured is told of, whatever the version: only past what any server takes it is none of a packet.
#[test]
fn a_startup_message_that_is_too_long_is_told() {
    for (code, answer) in [
        (0x0003_0000, "08P01"),
        (0x0003_0002, "08P01"),
        (0x0004_0000, "0A000"),
        (0x0002_0000, "v2 error"),
    ] {
        let long = packet(code, &[0; 300]);
        let mut opening = Negotiation::new(ClientTls::Allow).startup_body(300);
        assert_eq!(word(&opening.handle(&long[..8], false)), answer);
    }
}

/// The words of PostgreSQL 15.18 for the same packets, but for what it says about itself.
#[test]
fn texts() {
    let text = |bytes: &[u8]| {
        let mut answer = BytesMut::new();
        Negotiation::new(ClientTls::Require)
            .handle(bytes, false)
            .unwrap_err()
            .answer(&mut answer);
        String::from_utf8(answer.to_vec()).unwrap()
    };
    assert_eq!(
        text(&packet(0x0002_0000, &[])),
        "EFATAL:  unsupported frontend protocol 2.0\n\0"
    );
    assert!(text(&packet(0x0004_0000, &[])).contains("\0Munsupported frontend protocol 4.0\0"));
    assert!(text(&packet(0, &[])).contains("\0Munsupported frontend protocol 0.0\0"));
    assert!(
        text(&startup(b""))
            .contains("\0Minvalid startup packet layout: expected terminator as last byte\0")
    );
    assert!(
        text(&startup(b"\0")).contains("\0Mno PostgreSQL user name specified in startup packet\0")
    );
    assert!(text(&startup(b"user\0u\0\0")).contains("\0Mthis connection requires TLS\0"));
    assert!(
        text(&[&GSS[..], b"x"].concat())
            .contains("\0Mreceived unencrypted data after GSSAPI encryption request\0")
    );
}

#[test]
fn a_cancel_key_survives_the_wire() {
    for len in [4, 5, 32, 255, 256] {
        let secret: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let key = CancelKey::new(-7, &secret).unwrap();
        let mut out = BytesMut::new();
        key.encode(&mut out);
        assert_eq!(out.len(), 12 + secret.len());
        let Ok(Opened::Cancel { used, key: read }) =
            Negotiation::new(ClientTls::Require).handle(&out, false)
        else {
            panic!("not a CancelRequest: {out:?}")
        };
        assert_eq!((used, &read, read.secret()), (out.len(), &key, &secret[..]));
    }
}

/// What the server itself reads, as PostgreSQL 15.18 reads it.
#[test]
fn the_servers_own_parameters() {
    let parse = |body: &[u8]| StartupParams::parse(&startup(body)).unwrap();
    let params = parse(b"user\0a\0database\0b\0user\0c\0database\0\0options\0\0\0");
    assert_eq!((params.user(), params.database()), (&b"c"[..], &b"c"[..]));
    assert_eq!(params.get(b"options"), Some(&b""[..]));
    assert_eq!(params.get(b"OPTIONS"), None);
    assert_eq!(
        parse(b"user\0a\0database\0b\0database\0d\0\0").database(),
        b"d"
    );
    assert_eq!(parse(b"user\0a\0\0").database(), b"a");

    for (value, expected) in [
        ("true", Replication::On),
        ("T", Replication::On),
        ("yE", Replication::On),
        ("on", Replication::On),
        ("ON", Replication::On),
        ("1", Replication::On),
        ("database", Replication::On),
        ("Database", Replication::Invalid),
        ("false", Replication::Off),
        ("fAl", Replication::Off),
        ("n", Replication::Off),
        ("No", Replication::Off),
        ("OF", Replication::Off),
        ("off", Replication::Off),
        ("0", Replication::Off),
        ("o", Replication::Invalid),
        ("", Replication::Invalid),
        (" off", Replication::Invalid),
        ("off ", Replication::Invalid),
        ("00", Replication::Invalid),
        ("maybe", Replication::Invalid),
        ("falsey", Replication::Invalid),
        ("offf", Replication::Invalid),
    ] {
        let body = format!("user\0u\0replication\0{value}\0\0");
        assert_eq!(parse(body.as_bytes()).replication(), expected, "{value:?}");
    }
    let replication = |body: &[u8]| parse(&[b"user\0u\0", body].concat()).replication();
    assert_eq!(replication(b"\0"), Replication::Off);
    assert_eq!(replication(b"REPLICATION\0true\0\0"), Replication::Off);
    assert_eq!(
        replication(b"replication\0true\0replication\0off\0\0"),
        Replication::Off
    );
    assert_eq!(
        replication(b"replication\0off\0replication\0true\0\0"),
        Replication::On
    );
    assert_eq!(
        replication(b"replication\0maybe\0replication\0off\0\0"),
        Replication::Invalid
    );
}

#[test]
fn protocol_options_are_listed_as_sent() {
    let params = StartupParams::parse(&startup(
        b"_pq_.b\x001\0user\0u\0_pq_.\0\0_pq_.b\0\0_pq_\0x\0\0",
    ))
    .unwrap();
    assert_eq!(
        params.protocol_options().collect::<Vec<_>>(),
        [&b"_pq_.b"[..], b"_pq_.", b"_pq_.b"]
    );
}

#[test]
fn the_encoder_refuses_what_would_read_as_something_else() {
    let build = |pairs: &[(&[u8], &[u8])]| {
        StartupParams::build(ProtocolVersion::V3_0, pairs.iter().copied())
    };
    assert!(build(&[(b"user", b"u\0user\0admin")]).is_err());
    assert!(build(&[(b"user", b"u"), (b"application_name\0", b"x")]).is_err());
    assert!(build(&[(b"user", b"u"), (b"", b"x")]).is_err());
    assert!(build(&[(b"database", b"d")]).is_err());
    let fits = vec![b'v'; 10_000 - 4 - "user\0u\0a\0\0\0".len()];
    assert!(build(&[(b"user", b"u"), (b"a", &fits)]).is_ok());
    let too_long = [&fits[..], b"v"].concat();
    assert!(build(&[(b"user", b"u"), (b"a", &too_long)]).is_err());

    let mut out = BytesMut::from(&b"before"[..]);
    let pairs = [(&b"user"[..], &b"u"[..]), (b"a", &too_long)];
    assert!(encode_startup(ProtocolVersion::V3_0, pairs, &mut out).is_err());
    assert_eq!(&out[..], b"before");
}

/// A14, A15: what a server of each age answers to what clients ask for.
#[test]
fn a_version_is_answered_as_servers_do() {
    let grease = 0x0003_270f;
    let v = |newest: u32, options: &[&[u8]]| {
        let mut body = newest.to_be_bytes().to_vec();
        body.extend(u32::try_from(options.len()).unwrap().to_be_bytes());
        for option in options {
            body.extend([option, &b"\0"[..]].concat());
        }
        let length = u32::try_from(body.len() + 4).unwrap();
        [&b"v"[..], &length.to_be_bytes(), &body].concat()
    };
    let option: &[u8] = b"_pq_.x\0\0_pq_.y\x001\0";
    for (asked, more, newest, spoken, answer) in [
        (V3_0, &b""[..], V3_0, V3_0, vec![]),
        (V3_0, b"", V3_2, V3_0, vec![]),
        (V3_2, b"", V3_2, V3_2, vec![]),
        (V3_2, b"", V3_0, V3_0, v(V3_0, &[])),
        (grease, b"", V3_2, V3_2, v(V3_2, &[])),
        (grease, b"", V3_0, V3_0, v(V3_0, &[])),
        (0x0003_0001, b"", V3_2, 0x0003_0001, vec![]),
        (V3_0, option, V3_2, V3_0, v(V3_0, &[b"_pq_.x", b"_pq_.y"])),
        (V3_2, option, V3_2, V3_2, v(V3_2, &[b"_pq_.x", b"_pq_.y"])),
        (grease, option, V3_2, V3_2, v(V3_2, &[b"_pq_.x", b"_pq_.y"])),
        // Only this prefix, in this case, makes an option of the protocol.
        (V3_2, b"_PQ_.x\x001\0", V3_2, V3_2, vec![]),
        (V3_2, b"_pq_x\x001\0", V3_2, V3_2, vec![]),
    ] {
        let packet = packet(asked, &[USER, more, b"\0"].concat());
        let params = StartupParams::parse(&packet).unwrap();
        let mut out = BytesMut::new();
        let newest = ProtocolVersion::from_code(newest);
        assert_eq!(params.negotiate(newest, &mut out).code(), spoken);
        assert_eq!(&out[..], answer, "{asked:x}, {more:?}");
    }
}

/// A13: in whatever case, and wherever a name can hide.
#[test]
fn names_are_found_in_any_case_and_in_options() {
    let name = b"crdb:remote_addr";
    for (more, found) in [
        (&b"crdb:remote_addr\0x\0"[..], true),
        (b"CRDB:Remote_Addr\0x\0", true),
        (b"crdb:remote_addr\0\0", true),
        (b"a\0b\0crdb:remote_addr\0x\0c\0d\0", true),
        (b"options\0-c crdb:remote_addr=x\0", true),
        (b"options\0--CRDB:remote-addr=x\0", true),
        (b"options\0-ccrdb:remote\\_addr=x\0", true),
        (b"options\0-c a=crdb:remote_addr\0", false),
        (b"application_name\0crdb:remote_addr\0", false),
        (b"crdb:remote_addr2\0x\0", false),
        (b"", false),
    ] {
        let params = StartupParams::parse(&startup(&[USER, more, b"\0"].concat())).unwrap();
        assert_eq!(params.mentions(name), found, "{}", more.escape_ascii());
    }
}

#[test]
fn debug_shows_no_value_and_no_control_character() {
    let params = StartupParams::parse(&startup(
        b"user\0needle-1\0\x1b[2J\0needle-2\0options\0-c a=needle-3\0\0",
    ))
    .unwrap();
    let shown = format!("{params:?}");
    assert!(
        !shown.contains("needle") && !shown.contains('\x1b'),
        "{shown}"
    );
    assert!(shown.contains("options"), "{shown}");
}

proptest! {
    /// L9: any bytes, in any portions, encrypted or not, end in a decision about what is there.
    #[test]
    fn any_bytes(
        head in prop::sample::select(vec![SSL.to_vec(), GSS.to_vec(), vec![], announcing(40, &V3_0.to_be_bytes())]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        secured in any::<bool>(),
        policy in prop::sample::select(POLICIES.to_vec()),
    ) {
        let input = [head, bytes].concat();
        match Negotiation::new(policy).handle(&input, secured) {
            Ok(Opened::Need(n)) => prop_assert!(n > input.len() && n <= 10_004),
            Ok(Opened::Reply { used, .. }) => prop_assert_eq!(used, input.len()),
            Ok(Opened::DirectTls) => prop_assert_eq!(input[0], 0x16),
            Ok(Opened::Passthrough { .. }) => prop_assert_eq!(policy, ClientTls::Passthrough),
            Ok(Opened::Cancel { used, .. } | Opened::Start { used, .. }) => prop_assert!(used <= input.len()),
            Err(refusal) => {
                let mut answer = BytesMut::new();
                refusal.answer(&mut answer);
                prop_assert!(answer.len() <= 200);
            }
        }
    }

    /// L3: what was built is read back as it was given, and what was read is passed on as it came.
    #[test]
    fn a_packet_survives_being_read(
        pairs in prop::collection::vec(("[a-z_.]{1,8}", "[ -~\u{80}-\u{200}]{0,12}"), 0..20),
        minor in 0u16..5,
    ) {
        let version = ProtocolVersion { major: 3, minor };
        let user = (&b"user"[..], &b"u"[..]);
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).chain([user]).collect();
        let built = StartupParams::build(version, pairs.iter().copied()).unwrap();
        let read = StartupParams::parse(built.raw()).unwrap();
        prop_assert_eq!(read.iter().collect::<Vec<_>>(), pairs);
        prop_assert_eq!((read.version(), read.raw()), (version, built.raw()));
    }
}
