//! Law L9 on what nests, repeats and never ends: no reader of a peer's bytes needs more stack for more of them.

use std::sync::Arc;
use std::thread;

use bytes::BytesMut;
use pgturnout::route::{Cache, CacheLimits, Class, LexState, Rules, Why, outline, scan};
use pgturnout::startup::{ClientTls, Negotiation, StartupParams};
use pgturnout::wire::password::{
    parse_gss, parse_password, parse_sasl_initial, parse_sasl_response,
};
use pgturnout::wire::replication::{FromClient, FromServer};
use pgturnout::wire::{Backend, Frontend, Printable};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const TEXT: usize = 16 * MIB;
/// A text that runs out of any of these stacks with a byte for each level.
const DEEP: usize = 256 * KIB;

/// Runs in a thread with so much stack. Running out of it ends the whole process.
fn within<T: Send + 'static>(stack: usize, run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::Builder::new().stack_size(stack);
    thread.spawn(run).unwrap().join().unwrap()
}

fn boundless() -> Rules {
    Rules::default().with_text_limit(TEXT + KIB)
}

fn scanned(sql: String) -> (Class, Why) {
    within(32 * KIB, move || {
        let intent = scan(sql.as_bytes(), &LexState::defaults(), &boundless());
        (intent.class, intent.reason.why)
    })
}

/// What opens and never closes: far deeper than any stack, and some of it at the full size.
#[test]
fn scan_of_what_never_ends() {
    for (start, open, class, size) in [
        ("select ", "(", Class::Unreadable, DEEP),
        ("", "/*", Class::Unreadable, TEXT),
        ("", "(", Class::Unreadable, DEEP),
        ("select ", "lower(", Class::Unreadable, DEEP),
        ("select ", "case when ", Class::Read, DEEP),
        ("", "with x as (", Class::Unreadable, DEEP),
        ("select ", "[", Class::Read, DEEP),
        ("select ", "array[", Class::Read, DEEP),
        ("select ", "$a$", Class::Unreadable, DEEP),
        ("select ", "'a'\n", Class::Read, DEEP),
        ("select '", "''", Class::Unreadable, DEEP),
        ("select \"", "\"\"", Class::Unreadable, DEEP),
        ("select ", "not ", Class::Read, DEEP),
        ("", "explain ", Class::Write, DEEP),
        (
            "create function f() begin atomic ",
            "begin ",
            Class::Unreadable,
            DEEP,
        ),
        (
            "create function f() begin atomic ",
            "case ",
            Class::Unreadable,
            DEEP,
        ),
        ("", "set a = (", Class::Unreadable, DEEP),
        ("", "select 1; ", Class::Read, DEEP),
    ] {
        let sql = format!("{start}{}", open.repeat(size / open.len()));
        assert_eq!(scanned(sql).0, class, "{open}");
    }
}

/// What closes all that it opened is followed no deeper than the limit.
#[test]
fn scan_of_what_nests() {
    for (open, close, size, expected) in [
        ("(", ")", TEXT, (Class::Unproven, Why::UnknownForm)),
        ("/*", "*/", TEXT, (Class::Read, Why::PlainSelect)),
        ("lower(", ")", DEEP, (Class::Unproven, Why::UnknownForm)),
        ("[", "]", DEEP, (Class::Read, Why::PlainSelect)),
        (
            "case when 1 then ",
            " end",
            DEEP,
            (Class::Read, Why::PlainSelect),
        ),
    ] {
        let depth = size / (open.len() + close.len());
        let sql = format!("select 1 + {}1{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(scanned(sql), expected, "{open}");
    }
}

#[test]
fn outlines_and_caches() {
    for piece in ["(", "/*", "'a'\n", "case when ", "a,", "$$"] {
        let sql = format!("select {}", piece.repeat(256 * KIB));
        within(32 * KIB, move || {
            let lex = LexState::defaults();
            assert!(!outline(sql.as_bytes(), &lex).contains(char::is_control));
            let mut cache = Cache::new(Arc::new(boundless()), CacheLimits::default(), 7);
            assert_eq!(
                *cache.get(sql.as_bytes(), &lex),
                scan(sql.as_bytes(), &lex, &boundless())
            );
        });
    }
}

/// The deepest texts that the parser may see. It recurses.
#[cfg(feature = "inspect")]
#[test]
fn inspect_within_its_limits() {
    use pgturnout::limits::{INSPECT_DEPTH_MAX, INSPECT_OPERATORS_MAX, INSPECT_TOKENS_MAX};
    use pgturnout::route::inspect::inspect;
    const STACK: usize = if cfg!(debug_assertions) {
        2 * MIB
    } else {
        512 * KIB
    };
    let nested = |open: &str, close: &str| {
        let (open, close) = (
            open.repeat(INSPECT_DEPTH_MAX),
            close.repeat(INSPECT_DEPTH_MAX),
        );
        format!("select {open}1{close}")
    };
    let chain = |link: &str| format!("select 1{}", link.repeat(INSPECT_OPERATORS_MAX));
    let list = |item: &str, tokens: usize| {
        format!("select 1{}", item.repeat((INSPECT_TOKENS_MAX - 2) / tokens))
    };
    for sql in [
        nested("(", ")"),
        nested("((", "))"),
        nested("lower(", ")"),
        nested("row(", ")"),
        nested("f(1,", ")"),
        nested("array[", "]"),
        nested("position(", " in 'a')"),
        nested("coalesce(", ")"),
        nested("cast(", " as int)"),
        nested("extract(epoch from ", ")"),
        nested("case when true then ", " end"),
        nested("(select ", ")"),
        nested("exists (select ", ")"),
        nested("array(select ", ")"),
        nested("1 in (select ", ")"),
        nested("(with x as (select 1) select ", ")"),
        format!(
            "select * from {}t{}",
            "(t join ".repeat(6),
            " on true)".repeat(6)
        ),
        chain(" + 1"),
        chain(" or true"),
        chain("::int"),
        chain(" collate \"C\""),
        chain(" at time zone 'utc'"),
        chain(" is null"),
        chain(" union all select 1"),
        format!(
            "select * from t{}",
            " join t on true".repeat(INSPECT_OPERATORS_MAX)
        ),
        format!("select {}true", "not ".repeat(INSPECT_OPERATORS_MAX)),
        nested("not (", ")"),
        nested("not exists (select not ", ")"),
        nested("(select x.a from (select 1) x where x.a = ", ")"),
        format!("select {}1", "- ".repeat(INSPECT_OPERATORS_MAX)),
        list(", 1", 2),
        list(".a", 2),
        list("[1]", 3),
        format!("with {} select 1", ["x as (select 1)"; 60].join(", ")),
        format!("explain {} select 1", "verbose ".repeat(300)),
        "prepare a as ".repeat(100) + "select 1",
        "explain ".repeat(390) + "select 1",
    ] {
        within(STACK, move || {
            inspect(sql.as_bytes(), &LexState::defaults(), &Rules::default())
        });
    }
}

/// Bodies as long as a peer may send, of each byte, of counts that lie and of list items without end.
fn bodies() -> Vec<Vec<u8>> {
    let size = 64 * KIB;
    let mut bodies: Vec<Vec<u8>> = (0..=255).step_by(5).map(|byte| vec![byte; size]).collect();
    bodies.push([&b"\0\0\xff\xff"[..], &vec![0xff; size]].concat());
    bodies.push(b"Sa\0Vb\0".repeat(size / 6));
    bodies.push(b"a\0".repeat(size / 2));
    bodies.push([&[0, 0, 0, 10][..], &b"SCRAM-SHA-256\0".repeat(size / 14)].concat());
    bodies.push([&[0, 0, 0, 11][..], &b"r=a,s=QQ==,i=1,".repeat(size / 15)].concat());
    bodies.push([&[0, 0, 0, 12][..], &b"v=,".repeat(size / 3)].concat());
    bodies
}

#[test]
fn messages() {
    within(64 * KIB, || {
        for body in bodies() {
            for tag in 0..=255 {
                if let Ok(message) = Backend::parse(tag, &body) {
                    assert!(!format!("{message:?}").is_empty());
                }
                if let Ok(message) = Frontend::parse(tag, &body) {
                    assert!(message.encode(&mut BytesMut::new()).is_ok());
                }
            }
            let _ = (parse_password(&body), parse_gss(&body));
            let _ = (parse_sasl_initial(&body), parse_sasl_response(&body));
            let _ = (FromClient::parse(&body), FromServer::parse(&body));
            assert!(!Printable(&body).to_string().contains(char::is_control));
        }
    });
}

#[test]
fn openings() {
    within(64 * KIB, || {
        let packet = |body: &[u8]| {
            let length = u32::try_from(body.len() + 8).unwrap();
            [&length.to_be_bytes()[..], &[0, 3, 0, 0], body].concat()
        };
        for pair in [
            &b"a\0b\0"[..],
            b"_pq_.a\0b\0",
            b"options\0-c a=b\\ \0",
            b"user\0u\0",
            b"a\0\0",
        ] {
            let packet =
                packet(&[b"user\0u\0", &pair.repeat(9_900 / pair.len())[..], b"\0"].concat());
            let read = StartupParams::parse(&packet);
            let opened = Negotiation::new(ClientTls::Allow).handle(&packet, false);
            assert_eq!(read.is_ok(), opened.is_ok(), "{pair:?}");
            if let Ok(params) = read {
                assert!(!format!("{params:?}").is_empty());
                let _ = (params.replication(), params.protocol_options().count());
            }
        }
    });
}

#[cfg(feature = "scram")]
#[test]
fn credentials_and_challenges() {
    use pgturnout::auth::scram::ClientFirst;
    use pgturnout::auth::{Credential, ScramVerifier, Secret, md5_digest};
    within(64 * KIB, || {
        for piece in [
            "r=a,",
            "m=",
            ",",
            "=",
            "a",
            "v=,",
            "$",
            ":",
            "é",
            "\u{1f600}",
            "md5",
        ] {
            let text = piece.repeat(16 * KIB / piece.len());
            let first = ClientFirst::new(b"", b"abc").unwrap();
            assert!(first.server_first(text.as_bytes()).is_err(), "{piece}");
            assert!(ScramVerifier::parse(text.as_bytes()).is_none(), "{piece}");
            assert!(!format!("{:?}", Credential::from_secret(text.as_bytes())).is_empty());
            // SASLprep reads the whole password.
            let challenge = ClientFirst::new(b"", b"abc")
                .unwrap()
                .server_first(b"r=abcd,s=QUJD,i=1")
                .unwrap();
            let hashing = challenge.hash(&Secret::new(text.clone().into_bytes()));
            drop(hashing.work(1));
            drop(md5_digest(text.as_bytes(), b"user"));
        }
    });
}
