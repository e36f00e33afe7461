//! PostgreSQL's sessions without a PostgreSQL: what is made of a probe's findings, and the bytes of a restore. What the probe
//! finds on real servers is in `tests/live/probe.rs`.

use bytes::BytesMut;
use pgturnout::migrate::postgres::{
    Difference, Found, Identity, Listening, Origin, Part, Prepared, Probe, ProbeFailed, Remembered,
    Restore, RestoreFailed, Scope, Settable, Setting, Surrounding, TypeMap, differences,
    log_position, refusals, surroundings,
};
use pgturnout::migrate::{AnswerFault, Heard, Look};
use pgturnout::wire::{Frontend, Header, SqlState};

fn text(text: &str) -> Box<[u8]> {
    Box::from(text.as_bytes())
}

fn setting(value: &str, origin: Origin, settable: Settable) -> Setting {
    Setting {
        value: text(value),
        origin,
        settable,
    }
}

fn fresh() -> Found {
    let default = |value| setting(value, Origin::Elsewhere, Settable::ByUser);
    let settings = [
        ("client_encoding", default("UTF8")),
        ("statement_timeout", default("0")),
        ("work_mem", default("4096")),
        ("TimeZone", default("UTC")),
        ("geqo", default("on")),
    ];
    Found {
        version: 150_018,
        in_recovery: false,
        database: text("app"),
        database_oid: 16_389,
        encoding: text("UTF8"),
        locale: [text("C"), text("C")],
        session_user: text("alice"),
        role: text("none"),
        superuser: false,
        advisory_locks: 0,
        temporary_objects: 0,
        cursors: 0,
        channels: Vec::new(),
        statements: Default::default(),
        settings: settings.map(|(name, setting)| (text(name), setting)).into(),
        custom: Default::default(),
        identity: Some(Identity {
            system: text("7713"),
            timeline: 1,
            lsn: Some(text("0/3000060")),
        }),
    }
}

fn change(found: &mut Found, name: &str, value: &str, settable: Settable) {
    let changed = setting(value, Origin::Session, settable);
    found.settings.insert(text(name), changed);
}

/// The messages of a restore, each as its type and the texts in it.
fn written(source: &Found, target: &Found, statements: &[&[u8]], room: usize) -> Vec<String> {
    let statements: Vec<Vec<u8>> = statements.iter().map(|body| body.to_vec()).collect();
    let mut restore = Restore::new(
        source,
        target,
        statements,
        TypeMap::identity(),
        Listening::Move,
    )
    .unwrap();
    let mut all = Vec::new();
    loop {
        let mut out = BytesMut::new();
        let done = restore.write(&mut out, room).unwrap();
        all.extend_from_slice(&out);
        if done {
            break;
        }
    }
    let mut rest = &all[..];
    let mut messages = Vec::new();
    while let Some(header) = Header::parse(rest).unwrap() {
        let (body, behind) = header.split(rest).unwrap();
        let shown = match Frontend::parse(header.tag, body).unwrap() {
            Frontend::Bind(bind) => {
                let values = bind
                    .values
                    .iter()
                    .map(|value| value.unwrap().escape_ascii().to_string());
                format!("Bind {}", values.collect::<Vec<_>>().join("="))
            }
            Frontend::Parse(parse) => {
                format!(
                    "Parse {} {}",
                    parse.name.escape_ascii(),
                    parse.text.escape_ascii()
                )
            }
            message => message.name().to_owned(),
        };
        messages.push(shown);
        rest = behind;
    }
    messages
}

/// The order: what the others are sent in, who may, who it is, all else, limits of time, statements, channels.
#[test]
fn a_restore_has_an_order() {
    let mut target = fresh();
    target.superuser = true;
    target.session_user = text("admin");
    let mut source = fresh();
    source.role = text("clerk");
    change(&mut source, "statement_timeout", "5000", Settable::ByUser);
    change(&mut source, "client_encoding", "LATIN1", Settable::ByUser);
    change(&mut source, "geqo", "on", Settable::ByUser);
    change(&mut source, "log_statement", "none", Settable::ByPrivileged);
    change(&mut target, "log_statement", "all", Settable::ByPrivileged);
    source.settings.get_mut(&b"TimeZone"[..]).unwrap().value = text("Asia/Tokyo");
    source.settings.get_mut(&b"work_mem"[..]).unwrap().value = text("8192");
    source.custom.insert(text("app.who"), Some(text("x")));
    source.custom.insert(text("app.none"), None);
    source.channels = vec![text("a\"b")];
    let statements: [&[u8]; 2] = [b"\0unnamed\0\0\0", b"s\0named\0\0\0"];
    let set = "Parse pgturnout.probe SELECT pg_catalog.set_config($1, $2, false)";
    let expected = [
        set,
        "Bind client_encoding=LATIN1",
        "Execute",
        "Bind log_statement=none",
        "Execute",
        "Bind session_authorization=alice",
        "Execute",
        "Bind role=clerk",
        "Execute",
        "Bind TimeZone=Asia/Tokyo",
        "Execute",
        "Bind geqo=on",
        "Execute",
        "Bind app.who=x",
        "Execute",
        "Bind statement_timeout=5000",
        "Execute",
        "Close",
        "Parse s named",
        "Parse  unnamed",
        "Parse pgturnout.probe LISTEN \\\"a\\\"\\\"b\\\"",
        "Bind ",
        "Execute",
        "Close",
        "Sync",
    ];
    for room in [0, 100, usize::MAX] {
        assert_eq!(
            written(&source, &target, &statements, room),
            expected,
            "{room}"
        );
    }
    // What is there already is not sent, and nothing is prepared for nothing.
    assert_eq!(written(&fresh(), &fresh(), &[], 0), ["Sync"]);
}

/// No call writes more than its room, unless one step alone is longer.
#[test]
fn a_restore_fits_the_room() {
    let mut source = fresh();
    for n in 0..50 {
        source
            .custom
            .insert(text(&format!("app.n{n}")), Some(text("some value")));
    }
    let none: [Vec<u8>; 0] = [];
    let target = fresh();
    let mut restore = Restore::new(
        &source,
        &target,
        none,
        TypeMap::identity(),
        Listening::Refuse,
    )
    .unwrap();
    let mut calls = 0;
    loop {
        let mut out = BytesMut::new();
        calls += 1;
        let done = restore.write(&mut out, 200).unwrap();
        assert!(out.len() <= 200, "{}", out.len());
        if done {
            break;
        }
    }
    assert!(calls > 10);
}

fn one_setting() -> Restore<Vec<u8>> {
    let mut source = fresh();
    change(&mut source, "geqo", "off", Settable::ByUser);
    let statements = vec![b"s\0select\0\0\0".to_vec()];
    let target = fresh();
    let mut restore = Restore::new(
        &source,
        &target,
        statements,
        TypeMap::identity(),
        Listening::Refuse,
    )
    .unwrap();
    assert!(restore.write(&mut BytesMut::new(), usize::MAX).unwrap());
    restore
}

fn head(tag: u8) -> Header {
    let frame_len = if b"123".contains(&tag) { 5 } else { 6 };
    Header { tag, frame_len }
}

/// Every answer in its place, and an error in each: the part that failed has a name.
#[test]
fn a_refusal_names_its_part() {
    let answers = *b"12DC31";
    let ours = Part::Ours;
    let geqo = Part::Setting { name: text("geqo") };
    let statement = Part::Statement { name: text("s") };
    let parts = [&ours, &geqo, &geqo, &geqo, &ours, &statement, &Part::End];
    for (at, part) in parts.into_iter().enumerate() {
        let mut restore = one_setting();
        for tag in &answers[..at] {
            assert_eq!(restore.header(head(*tag)), Ok(Look::Discard));
        }
        for tag in *b"NSA" {
            assert_eq!(restore.header(head(tag)), Ok(Look::Aside));
        }
        assert_eq!(restore.header(head(b'E')), Ok(Look::Body));
        let heard = restore.body(b'E', b"SERROR\0C42501\0Mn33dle\0\0").unwrap();
        let Heard::Done(Err(RestoreFailed::Refused {
            part: refused,
            state,
        })) = heard
        else {
            panic!("{heard:?}")
        };
        assert_eq!((&refused, state), (part, Some(SqlState(*b"42501"))));
        assert_eq!(restore.header(head(b'Z')), Err(AnswerFault::Ended));
    }
    // Any other message is no answer.
    for at in 0..=answers.len() {
        let right = answers.get(at).copied().unwrap_or(b'Z');
        for wrong in (*b"12DC3ZTtnsIGHWKR")
            .into_iter()
            .filter(|tag| *tag != right)
        {
            let mut restore = one_setting();
            for tag in &answers[..at] {
                restore.header(head(*tag)).unwrap();
            }
            assert!(matches!(
                restore.header(head(wrong)),
                Err(AnswerFault::Unexpected { .. })
            ));
        }
    }
    let mut restore = one_setting();
    for tag in answers {
        restore.header(head(tag)).unwrap();
    }
    assert_eq!(restore.header(head(b'Z')), Ok(Look::Body));
    assert_eq!(restore.body(b'Z', b"I"), Ok(Heard::Done(Ok(()))));
    assert!(!format!("{:?}", one_setting()).contains("off"));
}

#[test]
fn servers_differ_in_these_ways() {
    type Change = fn(&mut Found);
    let rows: [(Change, &str, bool); 9] = [
        (
            |found| found.in_recovery = true,
            "the new server is a standby",
            true,
        ),
        (
            |found| found.identity.as_mut().unwrap().timeline = 0,
            "the new server is on timeline 0, the old one on 1",
            true,
        ),
        (
            |found| found.database = text("b"),
            "the new server's database has another name",
            true,
        ),
        (
            |found| found.encoding = text("LATIN1"),
            "the new server's database has another encoding",
            true,
        ),
        (
            |found| found.locale[0] = text("de"),
            "the new server's database has another locale",
            true,
        ),
        (
            |found| found.version = 140_001,
            "the new server is older: 14 after 15",
            true,
        ),
        (
            |found| found.version = 180_004,
            "the new server is newer: 18 after 15",
            false,
        ),
        (
            |found| found.identity = None,
            "the new server is another cluster",
            false,
        ),
        (
            |found| found.database_oid = 5,
            "the new server is another cluster",
            false,
        ),
    ];
    for (change, expected, refuses) in rows {
        let mut target = fresh();
        change(&mut target);
        let ways = surroundings(&fresh(), &target);
        assert_eq!(
            ways.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [expected]
        );
        assert_eq!(ways[0].refuses(), refuses, "{expected}");
    }
    assert_eq!(surroundings(&fresh(), &fresh()), []);
    // A promoted standby has a newer one, and one that is none yet may not know the newest.
    for (timeline, in_recovery) in [(2, false), (0, true)] {
        let mut other = fresh();
        (other.in_recovery, other.identity.as_mut().unwrap().timeline) = (in_recovery, timeline);
        let ways = surroundings(&fresh(), &other);
        let older = |way: &Surrounding| matches!(way, Surrounding::OlderTimeline { .. });
        assert!(!ways.iter().any(older), "{ways:?}");
    }
    let mut behind = fresh();
    behind.in_recovery = true;
    behind.identity.as_mut().unwrap().lsn = Some(text("0/3000000"));
    assert!(surroundings(&fresh(), &behind).contains(&Surrounding::Behind { bytes: 0x60 }));
}

#[test]
fn log_positions_are_numbers() {
    assert_eq!(log_position(b"16/B374D848"), Some(0x16_b374_d848));
    assert_eq!(log_position(b"FFFFFFFF/FFFFFFFF"), Some(u64::MAX));
    for bad in [
        &b""[..],
        b"/",
        b"1",
        b"1/",
        b"+1/1",
        b"1/1/1",
        b"100000000/0",
        b"g/0",
    ] {
        assert_eq!(log_position(bad), None, "{}", bad.escape_ascii());
    }
}

/// Names beyond 63 bytes are one to PostgreSQL, which lists the beginning.
#[test]
fn statements_are_known_by_what_the_server_keeps_of_their_names() {
    let long = "n".repeat(70);
    let mut found = fresh();
    let prepared = Prepared {
        types: vec![],
        length: 8,
        digest: text("digest"),
        from_sql: false,
    };
    found.statements.insert(text(&long[..63]), prepared);
    assert_eq!(
        refusals(
            &found,
            [(long.as_bytes(), Remembered::Parse)],
            Listening::Refuse
        ),
        []
    );
    assert_eq!(
        refusals(&found, [(&b""[..], Remembered::Parse)], Listening::Refuse).len(),
        1
    );
    let left = differences(&found, &fresh(), &TypeMap::identity(), Listening::Refuse);
    assert_eq!(left.len(), 1);
}

/// A statement is the same if its text is, which the server tells by a digest; of one text in two encodings it makes two, so
/// only the length is compared then.
#[test]
fn a_statement_is_known_by_its_text() {
    let with = |digest: &str, length, encoding: &str| {
        let mut found = fresh();
        let prepared = Prepared {
            types: vec![],
            length,
            digest: text(digest),
            from_sql: false,
        };
        found.statements.insert(text("s"), prepared);
        found.encoding = text(encoding);
        found
    };
    let source = with("a", 8, "UTF8");
    for (target, same) in [
        (with("a", 8, "UTF8"), true),
        (with("b", 8, "UTF8"), false),
        (with("a", 9, "UTF8"), false),
        (with("b", 8, "LATIN1"), true),
        (with("b", 9, "LATIN1"), false),
    ] {
        let left = differences(&source, &target, &TypeMap::identity(), Listening::Refuse);
        let expected: &[_] = match same {
            true => &[],
            false => &[Difference::StatementText { name: text("s") }],
        };
        assert_eq!(left, expected);
        // A digest tells who knows what it may be of whether it is.
        assert!(!format!("{:?}", target.statements).contains("digest"));
    }
}

/// What is said of a probe that fails, and that the next one is worth trying without the identity.
#[test]
fn a_probe_fails_without_harm() {
    let run = |frames: &[(u8, &[u8])]| {
        let mut probe = Probe::new(Scope::WithIdentity, []);
        for (at, (tag, body)) in frames.iter().enumerate() {
            assert_eq!(
                probe.header(head(*tag)),
                Ok(Look::Body),
                "{}",
                char::from(*tag)
            );
            match probe.body(*tag, body).unwrap() {
                Heard::More => {}
                Heard::Done(answer) => {
                    assert_eq!(at + 1, frames.len(), "it ends with the last answer");
                    return answer.unwrap_err();
                }
                Heard::Farewell(state) => panic!("{state:?}"),
            }
        }
        panic!("no end");
    };
    let error: (u8, &[u8]) = (b'E', b"SERROR\0C42501\0\0");
    let before: [(u8, &[u8]); 3] = [(b'1', b""), (b'2', b""), (b'D', b"\0\0")];
    let end: [(u8, &[u8]); 3] = [(b'Z', b"I"), (b'3', b""), (b'Z', b"I")];
    for at in 0..before.len() {
        let frames = [&before[..at], &[error], &end].concat();
        let failed = run(&frames);
        assert_eq!(failed, ProbeFailed::Failed(Some(SqlState(*b"42501"))));
        assert!(failed.may_be_for_its_identity());
    }
    let complete: (u8, &[u8]) = (b'C', b"SELECT 0\0");
    assert_eq!(
        run(&[&before[..2], &[complete], &end].concat()),
        ProbeFailed::NoRow
    );
    let failed = run(&[&before[..], &[complete], &end].concat());
    assert_eq!(
        failed.to_string(),
        "the probe cannot be read: probe: server_version_num: undefined value (offset 0)"
    );
}

/// A message that can have one length only has no other: the server's next words would be taken for the rest of it.
#[test]
fn an_empty_message_is_empty() {
    let longer = |tag: u8| Header {
        frame_len: head(tag).frame_len + 1,
        tag,
    };
    let is_fault = |looked: Result<Look, AnswerFault>, tag| {
        let most = usize::try_from(head(tag).frame_len).unwrap();
        matches!(looked, Err(AnswerFault::TooLong { limit, .. }) if limit == most)
    };
    let answers: [(u8, &[u8]); 7] = [
        (b'1', b""),
        (b'2', b""),
        (b'D', b"\0\0"),
        (b'C', b"SELECT 1\0"),
        (b'Z', b"I"),
        (b'3', b""),
        (b'Z', b"I"),
    ];
    for at in 0..answers.len() {
        let tag = answers[at].0;
        let mut probe = Probe::new(Scope::WithIdentity, []);
        for (tag, body) in &answers[..at] {
            assert_eq!(probe.header(head(*tag)), Ok(Look::Body));
            assert!(matches!(probe.body(*tag, body), Ok(Heard::More)));
        }
        let looked = probe.header(longer(tag));
        assert_eq!(is_fault(looked, tag), b"12Z3".contains(&tag), "{looked:?}");
    }
    let answers = *b"12DC31";
    for at in 0..answers.len() {
        let tag = answers[at];
        let mut restore = one_setting();
        for tag in &answers[..at] {
            assert_eq!(restore.header(head(*tag)), Ok(Look::Discard));
        }
        let looked = restore.header(longer(tag));
        assert_eq!(is_fault(looked, tag), b"123".contains(&tag), "{looked:?}");
    }
}
