//! Limits of the ledger, of frames and of openings.

use bytes::BytesMut;
use pgturnout::ledger::{Fate, Full, Ledger, LedgerLimits, Port};
use pgturnout::limits;
use pgturnout::startup::{
    BadProxyHeader, CancelKey, ClientTls, Introduced, LineFault, Negotiation, Opened,
    ProxyProtocol, StartupParams,
};
use pgturnout::stats::{Counter, Meter};
use pgturnout::wire::{Header, Printable};

fn ledger() -> Ledger {
    Ledger::new(2, LedgerLimits::default())
}

#[test]
fn ledger_segments_per_queue() {
    let (mut ledger, a, b) = (ledger(), Port::new(0), Port::new(1));
    // Frames with one way share an entry; of those with another, each has its own.
    let mut fates = [Fate::To(b), Fate::Discard].into_iter().cycle();
    for _ in 0..limits::LEDGER_SEGMENTS_PER_QUEUE {
        let fate = fates.next().unwrap();
        assert_eq!(ledger.claim(a, fate, 5), Ok(()));
        assert_eq!(ledger.claim(a, fate, 5), Ok(()));
    }
    let next = fates.next().unwrap();
    assert!(!ledger.room(a, next));
    assert!(matches!(ledger.claim(a, next, 5), Err(Full { .. })));
}

#[test]
fn ledger_owned_per_queue() {
    let (most, to) = (limits::LEDGER_OWNED_PER_QUEUE, Port::new(0));
    let mut ledger = ledger();
    assert!(ledger.room_for(to, most) && !ledger.room_for(to, most + 1));
    assert!(ledger.push(to, &vec![7; most + 1]).is_err());
    assert_eq!(ledger.push(to, &vec![7; most]), Ok(()));
    assert!(ledger.push(to, b"x").is_err());
    assert_eq!(ledger.retained(), most);
}

fn header(word: u32) -> Option<u32> {
    let bytes = [&b"D"[..], &word.to_be_bytes()].concat();
    let header = Header::parse(&bytes).ok()?;
    header.map(|header| header.body_len())
}

#[test]
fn length_word_min() {
    assert_eq!(header(limits::LENGTH_WORD_MIN), Some(0));
    assert_eq!(header(limits::LENGTH_WORD_MIN - 1), None);
}

#[test]
fn length_word_max() {
    let most = limits::LENGTH_WORD_MAX;
    assert_eq!(header(most), Some(most - 4));
    assert_eq!(header(most + 1), None);
}

/// Whether a secret of that length is a key, and whether a CancelRequest with it is one.
fn secret(length: usize) -> (bool, bool) {
    let secret = vec![7; length];
    let word = u32::try_from(12 + length).unwrap();
    let request = [
        &word.to_be_bytes()[..],
        &[4, 210, 22, 46, 0, 0, 0, 1],
        &secret,
    ]
    .concat();
    let opened = Negotiation::new(ClientTls::Disable).handle(&request, false);
    let taken = match opened {
        Ok(Opened::Cancel { used, key }) => {
            let mut out = BytesMut::new();
            key.encode(&mut out);
            used == request.len() && out == request
        }
        Ok(_) | Err(_) => false,
    };
    (CancelKey::new(1, &secret).is_ok(), taken)
}

#[test]
fn cancel_secret_min() {
    assert_eq!(secret(limits::CANCEL_SECRET_MIN), (true, true));
    assert_eq!(secret(limits::CANCEL_SECRET_MIN - 1), (false, false));
}

#[test]
fn cancel_secret_max() {
    assert_eq!(secret(limits::CANCEL_SECRET_MAX), (true, true));
    assert_eq!(secret(limits::CANCEL_SECRET_MAX + 1), (false, false));
}

#[test]
fn printable_max() {
    let shown = |length| Printable("x".repeat(length).as_bytes()).to_string();
    let most = limits::PRINTABLE_MAX;
    assert_eq!(shown(most), "x".repeat(most));
    let cut = shown(most + 1);
    assert!(
        cut.starts_with(&shown(most)[1..]) && !cut.contains(&"x".repeat(most + 1)),
        "{cut}"
    );
}

/// A StartupMessage with a body of that length, as far as it can be one.
fn startup(body: u32) -> Vec<u8> {
    let length = usize::try_from(body).unwrap();
    let head = b"\0\x03\0\0user\0app\0a\0";
    let mut packet = [&(body + 4).to_be_bytes()[..], head].concat();
    packet.resize(4 + length.saturating_sub(2), b'x');
    packet.extend_from_slice(b"\0\0");
    packet.truncate(4 + length);
    packet
}

#[test]
fn startup_body_max() {
    let most = startup(limits::STARTUP_BODY_MAX);
    assert_eq!(StartupParams::parse(&most).unwrap().raw(), most);
    assert!(matches!(
        Negotiation::new(ClientTls::Disable).handle(&most, false),
        Ok(Opened::Start { .. })
    ));
    let more = startup(limits::STARTUP_BODY_MAX + 1);
    assert!(StartupParams::parse(&more).is_err());
    // Its length alone is enough, and gets no answer.
    let refusal = Negotiation::new(ClientTls::Disable)
        .handle(&more[..8], false)
        .unwrap_err();
    let mut answer = BytesMut::new();
    refusal.answer(&mut answer);
    assert_eq!(answer, "");
}

#[test]
fn proxy_header_max() {
    let header = |length: usize| {
        let rest = u16::try_from(length - 16).unwrap();
        let fixed = [&b"\r\n\r\n\0\r\nQUIT\n\x20\x00"[..], &rest.to_be_bytes()].concat();
        [fixed, vec![0; usize::from(rest)]].concat()
    };
    let read = |bytes: &[u8]| ProxyProtocol::Require.read(bytes);
    let most = header(limits::PROXY_HEADER_MAX);
    assert_eq!(read(&most[..16]), Ok(Introduced::Need(most.len())));
    assert!(matches!(read(&most), Ok(Introduced::Header { used, .. }) if used == most.len()));
    // Its length alone is enough.
    let more = header(limits::PROXY_HEADER_MAX + 1);
    assert_eq!(read(&more[..16]), Err(BadProxyHeader::TooLong(more.len())));
}

#[test]
fn proxy_line_max() {
    let line = |length: usize| {
        let rest = "x".repeat(length - "PROXY UNKNOWN \r\n".len());
        format!("PROXY UNKNOWN {rest}\r\n").into_bytes()
    };
    let read = |bytes: &[u8]| ProxyProtocol::Require.read(bytes);
    let most = line(limits::PROXY_LINE_MAX);
    let before = most.len() - 2;
    assert_eq!(read(&most[..before]), Ok(Introduced::Need(most.len())));
    assert!(matches!(read(&most), Ok(Introduced::Header { used, .. }) if used == most.len()));
    let more = line(limits::PROXY_LINE_MAX + 1);
    let too_long = Err(BadProxyHeader::Line(LineFault::TooLong));
    assert_eq!(read(&more), too_long);
    assert_eq!(read(&more[..before + 1]), too_long);
}

#[test]
fn startup_body_min() {
    let refusal = |body: u32| {
        let packet = [
            &(body + 4).to_be_bytes()[..],
            &[0, 3, 0, 0][..usize::try_from(body).unwrap()],
        ]
        .concat();
        Negotiation::new(ClientTls::Disable)
            .handle(&packet, false)
            .unwrap_err()
    };
    let answers = [0, 1].map(|less| {
        let mut answer = BytesMut::new();
        refusal(limits::STARTUP_BODY_MIN - less).answer(&mut answer);
        answer
    });
    assert!(
        answers[0].starts_with(b"E"),
        "a version, and no user: {answers:?}"
    );
    assert_eq!(answers[1], "", "no version");
}

#[test]
fn stats_body() {
    for (padding, counter) in [(0, Counter::NoticesLog), (1, Counter::NoticesUnknown)] {
        let before = limits::STATS_BODY - b"M\0SLOG\0".len() + padding;
        let body = [b"M".as_slice(), &vec![b'x'; before], b"\0SLOG\0\0"].concat();
        let mut meter = Meter::default();
        meter.backend(b'N', &body);
        assert_eq!(meter.stats().get(counter), 1);
    }
}
