//! The opening of a connection, on both sides.

use bytes::BytesMut;
use pgturnout::cancel::{CancelMap, SourceCheck};
use pgturnout::startup::{
    CancelKey, ClientTls, Detected, Negotiation, Opened, Passage, ProtocolVersion, Refusal,
    StartupParams, TlsNegotiation, Upgrade, UpgradeFault, UpstreamTls, UpstreamTlsPolicy, detect,
    encode_startup,
};
use pgturnout::wire::Backend;

use super::feed::Feed;

/// The longest packet that may open a connection, its length word included.
const PACKET_MAX: usize = 10_004;

/// An opening ends, one way: it answers each request once at most, asks for no more than the longest packet, takes no
/// byte that is not there, and a StartupMessage that it accepts is written back to the same bytes. What a listener
/// detects in the first bytes is what the opening makes of them, and more bytes do not change it.
pub(crate) fn startup(data: &[u8]) {
    let mut feed = Feed::new(data);
    let policy = feed.one(&[
        ClientTls::Disable,
        ClientTls::Allow,
        ClientTls::Require,
        ClientTls::Passthrough,
    ]);
    let upstream = feed.one(&[
        UpstreamTlsPolicy::Disable,
        UpstreamTlsPolicy::Prefer,
        UpstreamTlsPolicy::Require,
        UpstreamTlsPolicy::VerifyCa,
        UpstreamTlsPolicy::VerifyFull,
        UpstreamTlsPolicy::Allow,
    ]);
    let grain = 1 + feed.below(16);
    let answer = feed.one(ANSWERS);
    let packets = if feed.byte() % 2 == 0 {
        feed.rest().to_vec()
    } else {
        let mut packets = Vec::new();
        while !feed.is_empty() {
            packets.extend_from_slice(feed.one(PACKETS));
        }
        packets
    };
    ask_upstream(upstream, answer.unwrap_or(&packets));
    detected(&packets);
    let (whole, parts) = (
        open(policy, usize::MAX, &packets),
        open(policy, grain, &packets),
    );
    // In parts an opening may come further: what stands behind a request for TLS has not come with it then.
    assert!(
        whole.is_none() || whole == parts,
        "{whole:?} in one, {parts:?} in parts"
    );
}

/// What a server says to an SSLRequest; `None` is what the bytes say.
const ANSWERS: &[Option<&[u8]>] = &[
    Some(b""),
    Some(b"S"),
    Some(b"N"),
    Some(b"E"),
    Some(b"SS"),
    Some(b"NR"),
    None,
];

/// What clients open connections with, and pieces of it.
const PACKETS: &[&[u8]] = &[
    &[0, 0, 0, 8, 4, 210, 22, 47],
    &[0, 0, 0, 8, 4, 210, 22, 48],
    &[0, 0, 0, 9, 4, 210, 22, 47, 0],
    &[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 1, 2, 3, 4],
    &[0, 0, 0, 15, 4, 210, 22, 46, 0, 0, 0, 1, 1, 2, 3],
    b"\0\0\0\x12\0\x03\0\0user\0app\0\0",
    b"\0\0\0\x12\0\x03\0\x02user\0app\0\0",
    b"\0\0\0\x13\0\x03\0\0user\0\0a\0b\0\0",
    b"\0\0\0\x12\0\x02\0\0user\0app\0\0",
    b"\0\0\x27\x15\0\x03\0\0",
    b"\x16\x03\x01",
    &[0, 0, 0, 8, 4, 210, 22, 49],
    b"\0",
    b"\0\0\0\x12\0\x03\0\0user\0app\0x",
];

/// The packet that ended the opening well.
fn open(policy: ClientTls, grain: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut negotiation = Negotiation::new(policy);
    let mut secured = false;
    let (mut start, mut end) = (0, bytes.len().min(grain));
    let mut answers = String::new();
    let mut opened = None;
    loop {
        match negotiation.handle(&bytes[start..end], secured) {
            Ok(Opened::Need(needed)) => {
                assert!(needed > end - start, "asks for what is there");
                assert!(needed <= PACKET_MAX, "asks for {needed} bytes");
                if end == bytes.len() {
                    return None;
                }
                end = bytes.len().min(end.saturating_add(grain));
            }
            Ok(Opened::Reply { used, byte, .. }) => {
                assert_eq!((used, end - start), (8, 8), "bytes behind an answer");
                start += used;
                answers.push(char::from(byte));
                assert!(matches!(&*answers, "S" | "N" | "NS" | "NN"), "{answers}");
                assert!(byte == b'N' || policy != ClientTls::Disable);
                assert!(!secured, "nothing is asked for twice");
                secured = byte == b'S';
            }
            Ok(Opened::DirectTls) => {
                assert_eq!((bytes[start], start, secured), (0x16, 0, false));
                assert!(matches!(policy, ClientTls::Allow | ClientTls::Require));
                // As if the first byte were the whole handshake.
                start += 1;
                secured = true;
            }
            Ok(Opened::Passthrough { by }) => {
                assert_eq!((policy, secured), (ClientTls::Passthrough, false));
                let first = match by {
                    Passage::Request => Detected::Ssl,
                    Passage::Direct => Detected::DirectTls,
                };
                assert_eq!(detect(&bytes[start..]), first);
                opened = Some(bytes[start..start + 1].to_vec());
                break;
            }
            Ok(Opened::Cancel { used, key }) => {
                assert!((4..=256).contains(&key.secret().len()));
                assert_eq!(used, 12 + key.secret().len());
                is_nobodys(&key);
                assert!(used <= end - start);
                opened = Some(bytes[start..start + used].to_vec());
                break;
            }
            Ok(Opened::Start { used, params }) => {
                assert_eq!(params.raw(), &bytes[start..start + used]);
                assert!(secured || policy != ClientTls::Require, "in clear");
                round_trip(&params);
                opened = Some(params.raw().to_vec());
                break;
            }
            Err(refusal) => {
                let mut answer = BytesMut::new();
                refusal.answer(&mut answer);
                // A server that has nothing against the request answers it before it finds the bytes behind it.
                let frame = answer.strip_prefix(b"N").unwrap_or(&answer);
                assert!(matches!(frame.first(), None | Some(b'E')), "{frame:?}");
                assert!(answer.len() <= 1_024, "{} bytes", answer.len());
                break;
            }
        }
    }
    assert!(negotiation.handle(bytes, secured).is_err(), "it has ended");
    opened
}

/// The first answer that is no request for more is the last, and comes within the first eight bytes.
fn detected(bytes: &[u8]) {
    let mut asked = 0;
    let found = (0..=bytes.len()).find_map(|end| match detect(&bytes[..end]) {
        Detected::NeedMore(more) => {
            assert!(more > end && more <= 8 && more >= asked, "asks for {more}");
            asked = more;
            None
        }
        found => Some((end, found)),
    });
    let Some((end, found)) = found else {
        assert!(bytes.len() < 8);
        return;
    };
    assert!(end == asked && end <= 8);
    assert_eq!(detect(bytes), found, "more bytes change it");
    let opened = Negotiation::new(ClientTls::Allow).handle(bytes, false);
    let fits = match found {
        Detected::Ssl => matches!(opened, Ok(Opened::Reply { byte: b'S', .. }) | Err(_)),
        Detected::GssEnc => matches!(opened, Ok(Opened::Reply { byte: b'N', .. }) | Err(_)),
        Detected::Cancel => matches!(opened, Ok(Opened::Cancel { .. } | Opened::Need(_))),
        Detected::DirectTls => matches!(opened, Ok(Opened::DirectTls)),
        Detected::Startup(version) => match opened {
            Ok(Opened::Start { params, .. }) => params.version() == version,
            opened => matches!(opened, Ok(Opened::Need(_)) | Err(_)),
        },
        Detected::Other => opened_whole(bytes, opened).is_err(),
        Detected::NeedMore(_) => false,
    };
    assert!(fits, "{found:?} is opened as something else");
}

/// What becomes of the packet when all of it is there: a version that no server speaks is answered, and that only then.
fn opened_whole(bytes: &[u8], opened: Result<Opened, Refusal>) -> Result<Opened, Refusal> {
    let Ok(Opened::Need(length)) = opened else {
        return opened;
    };
    let mut packet = bytes.to_vec();
    packet.resize(length, 0);
    Negotiation::new(ClientTls::Allow).handle(&packet, false)
}

/// A key that a client makes up finds nobody, and what is made of it looks like it and like no other.
fn is_nobodys(key: &CancelKey) {
    let mut map = CancelMap::new(1, SourceCheck::Off);
    let place = map.enter(key.clone(), None, ()).expect("it is empty");
    assert!(map.find(key, None).is_some());
    let other = CancelKey::new(key.process_id() ^ 1, key.secret()).expect("as long");
    assert!(map.find(&other, None).is_none());
    assert!(map.leave(place).is_some() && map.find(key, None).is_none());
    #[cfg(feature = "scram")]
    {
        use pgturnout::cancel::{CancelRing, Owner};
        let secret = pgturnout::auth::Secret::new(vec![7; 32]);
        let ring = CancelRing::new(9, secret).expect("long enough");
        match ring.owner(key) {
            Owner::Nobody => assert!(key.secret().len() != 4),
            Owner::Perhaps { previous, .. } => {
                assert_eq!((previous, key.secret().len()), (None, 4))
            }
            Owner::Instance(_) => panic!("a forged key proves an instance"),
        }
    }
}

fn round_trip(params: &StartupParams) {
    assert!(!params.user().is_empty() && !params.database().is_empty());
    assert_eq!(params.version().major, 3);
    let mut out = BytesMut::new();
    encode_startup(params.version(), params.iter(), &mut out).expect("it was read");
    assert_eq!(&out[..], params.raw());
    let _ = (params.replication(), params.mentions(b"search_path"));
    let mut answer = BytesMut::new();
    let spoken = params.negotiate(ProtocolVersion::V3_2, &mut answer);
    assert!(spoken <= params.version() && spoken <= ProtocolVersion::V3_2);
    let asks = params.protocol_options().count() > 0 || spoken != params.version();
    assert_eq!(answer.first(), asks.then_some(&b'v'));
    if let Some(body) = answer.get(5..) {
        let message = Backend::parse(b'v', body).expect("it was written");
        let Backend::NegotiateProtocolVersion { newest, options } = message else {
            panic!("another message");
        };
        // There is no 3.1, and whoever asks for it gets what it asked for.
        assert!(spoken.minor == 1 || params.negotiated(newest, &options) == Some(spoken));
    }
    assert!(!format!("{params:?}").is_empty());
}

/// Only one byte, `S` or `N` as the policy allows it, lets a login begin.
fn ask_upstream(policy: UpstreamTlsPolicy, input: &[u8]) {
    let mut out = BytesMut::new();
    if policy.requires_tls() {
        let mut direct = UpstreamTls::new(policy).begun_by(TlsNegotiation::Direct);
        let start = direct.start(&mut out).expect("it is new");
        assert!(matches!(start, Upgrade::StartTls { used: 0, .. }) && out.is_empty());
        assert_eq!(direct.handle(input), Err(UpgradeFault::OutOfTurn));
    }
    let mut tls = UpstreamTls::new(policy);
    let asked = tls.start(&mut out).expect("it is new");
    if matches!(
        policy,
        UpstreamTlsPolicy::Disable | UpstreamTlsPolicy::Allow
    ) {
        assert_eq!((asked, out.len()), (Upgrade::Clear { used: 0 }, 0));
        return;
    }
    assert_eq!((asked, out.len()), (Upgrade::Wait, 8));
    let clear = policy == UpstreamTlsPolicy::Prefer;
    match tls.handle(input) {
        Ok(Upgrade::Wait) => assert!(input.is_empty()),
        Ok(Upgrade::StartTls { used, .. }) => assert_eq!((used, input), (1, &b"S"[..])),
        Ok(Upgrade::Clear { used }) => assert_eq!((used, input, clear), (1, &b"N"[..], true)),
        Err(fault) => {
            assert!(input != b"S" && (input != b"N" || !clear));
            assert_eq!(tls.handle(b"S"), Err(UpgradeFault::OutOfTurn));
            assert!(!fault.to_string().is_empty());
        }
    }
}
