//! What a new server answers while a session is made there.

use std::collections::BTreeSet;

use bytes::BytesMut;
use pgturnout::migrate::cockroach::{DescribeReader, DeserializeReader};
use pgturnout::migrate::postgres::{
    Found, Listening, Origin, OtherOids, Restore, Settable, Setting, TypeLookup, TypeMap, TypeName,
    Types, declared, log_position,
};
use pgturnout::migrate::{AnswerFault, Heard, Look};
use pgturnout::track::Lsn;
use pgturnout::wire::{Backend, Frontend, Header, ParamTypes, Parse, Values};

use super::contains;
use super::feed::Feed;

/// The value of a setting, which nothing shows.
const SECRET: &[u8] = b"n33dle";

/// The part of a move that is not the probe.
enum Reader {
    Types(TypeLookup),
    Restore(Restore<Vec<u8>>),
    Deserialize(DeserializeReader),
}

/// An answer that is good, for each of them.
#[derive(Debug, PartialEq)]
enum Good {
    Types(Types),
    Done,
}

impl Reader {
    fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        match self {
            Reader::Types(reader) => reader.header(header),
            Reader::Restore(reader) => reader.header(header),
            Reader::Deserialize(reader) => reader.header(header),
        }
    }

    fn body(&mut self, tag: u8, body: &[u8]) -> Result<Heard<Result<Good, String>>, AnswerFault> {
        fn of<T, E: ToString>(
            heard: Heard<Result<T, E>>,
            good: impl FnOnce(T) -> Good,
        ) -> Heard<Result<Good, String>> {
            match heard {
                Heard::More => Heard::More,
                Heard::Farewell(state) => Heard::Farewell(state),
                Heard::Done(done) => Heard::Done(done.map(good).map_err(|why| why.to_string())),
            }
        }
        match self {
            Reader::Types(reader) => Ok(of(reader.body(tag, body)?, Good::Types)),
            Reader::Restore(reader) => Ok(of(reader.body(tag, body)?, |()| Good::Done)),
            Reader::Deserialize(reader) => Ok(of(reader.body(tag, body)?, |()| Good::Done)),
        }
    }

    fn shown(&self) -> String {
        match self {
            Reader::Types(reader) => format!("{reader:?}"),
            Reader::Restore(reader) => format!("{reader:?}"),
            Reader::Deserialize(reader) => format!("{reader:?}"),
        }
    }
}

/// A session counts as made only behind the answers to what was sent, all of them in their order; what comes unasked
/// changes nothing; behind a fault, a refusal or the end nothing is heard any more; and nothing that is shown holds the
/// value of a setting. Types under other numbers change the numbers of a Parse and nothing else, and a position in the log
/// is the same number to whoever reads it.
pub(crate) fn move_answers(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (mut reader, owed) = match feed.below(6) {
        0 => types(),
        1 | 2 => restore(&mut feed),
        3 => deserialize(),
        4 => return descriptions(&mut feed),
        _ => return numbers(&mut feed),
    };
    let mut answered = Vec::new();
    while !feed.is_empty() {
        let next = owed.get(answered.len());
        let frame = match (feed.below(16), next) {
            (0, _) => message(feed.byte(), feed.bytes(60)),
            (1, _) => message(b'E', b"SERROR\0C42501\0\0"),
            (2, _) => message(b'E', b"SFATAL\0C57P01\0\0"),
            (3, _) => message(feed.one(b"NSA"), feed.bytes(20)),
            (4, _) => message(b'Z', feed.one(&[b"T", b"E", b"I"])),
            (_, Some((tag, body))) => message(*tag, body),
            (_, None) => message(b'Z', b"I"),
        };
        let (tag, body) = (frame[0], &frame[5..]);
        let before = reader.shown();
        let look = reader.header(Header::parse(&frame).unwrap().unwrap());
        hides(&format!("{look:?} {}", reader.shown()));
        match look {
            Ok(Look::Client) => panic!("nobody's answer but ours"),
            Ok(Look::Aside) => {
                assert!(b"NSA".contains(&tag));
                assert_eq!(before, reader.shown(), "it changes something");
            }
            Ok(Look::Discard) => answered.push(tag),
            Ok(Look::Body) => {
                let heard = reader.body(tag, body);
                hides(&format!("{heard:?} {}", reader.shown()));
                answered.push(tag);
                match heard {
                    Ok(Heard::More) => {}
                    Ok(Heard::Done(Ok(_))) => {
                        let tags: Vec<u8> = owed.iter().map(|(tag, _)| *tag).collect();
                        assert_eq!(answered, tags, "{}", answered.escape_ascii());
                        assert!(body == b"I", "a transaction is open");
                        return ends(&mut reader);
                    }
                    Ok(Heard::Done(Err(why))) => {
                        hides(&why);
                        return ends(&mut reader);
                    }
                    Ok(Heard::Farewell(_)) => {
                        assert_eq!(tag, b'E');
                        return ends(&mut reader);
                    }
                    Err(fault) => {
                        hides(&fault.to_string());
                        return ends(&mut reader);
                    }
                }
            }
            Err(fault) => {
                hides(&fault.to_string());
                return ends(&mut reader);
            }
        }
    }
}

fn ends(reader: &mut Reader) {
    let header = Header {
        tag: b'Z',
        frame_len: 6,
    };
    assert_eq!(reader.header(header), Err(AnswerFault::Ended));
    assert!(reader.body(b'Z', b"I").is_err());
}

fn hides(shown: &str) {
    assert!(!contains(shown.as_bytes(), SECRET), "{shown}");
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let message = Backend::Unknown { tag, body };
    message.encode(&mut out).expect("short");
    out.to_vec()
}

type Owed = Vec<(u8, Vec<u8>)>;

fn types() -> (Reader, Owed) {
    let oids = BTreeSet::from([16_400, 16_402]);
    let row = table(&[["16400", "app", "mood"], ["16402", "app", "colour"]]);
    let mut body = BytesMut::new();
    let values = [Some(&row[..])];
    let values = Values::new(&values);
    let message = Backend::DataRow { values };
    message.encode(&mut body).expect("short");
    let owed = [
        (b'1', vec![]),
        (b'2', vec![]),
        (b'D', body[5..].to_vec()),
        (b'C', b"SELECT 1\0".to_vec()),
        (b'Z', b"I".to_vec()),
        (b'3', vec![]),
        (b'Z', b"I".to_vec()),
    ];
    (Reader::Types(TypeLookup::names(&oids)), owed.into())
}

/// An array of texts in two dimensions, as `array_send` writes it.
fn table(rows: &[[&str; 3]]) -> Vec<u8> {
    let mut words = vec![2_u32, 0, 25];
    for length in [rows.len(), 3] {
        words.extend([u32::try_from(length).expect("few"), 1]);
    }
    let mut out: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    for text in rows.iter().flatten() {
        out.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// As many statements are described as were asked for, each behind a ReadyForQuery of its own, an error or not.
fn descriptions(feed: &mut Feed<'_>) {
    let asked = 1 + feed.below(3);
    let mut reader = DescribeReader::new(asked);
    let mut ready = 0;
    while !feed.is_empty() {
        let frame = match feed.below(9) {
            0 => message(feed.byte(), feed.bytes(60)),
            1 => message(b'E', b"SERROR\0C42501\0\0"),
            2 => message(b'E', b"SFATAL\0C57P01\0\0"),
            3 => message(feed.one(b"NSA"), feed.bytes(20)),
            4 => message(b't', feed.one(&[&b"\0\0"[..], b"\0\x01\0\0\0\x17"])),
            5 => message(b'T', b"\0\0"),
            6 => message(b'n', b""),
            _ => message(b'Z', b"I"),
        };
        let (tag, body) = (frame[0], &frame[5..]);
        let before = format!("{reader:?}");
        let heard = match reader.header(Header::parse(&frame).unwrap().unwrap()) {
            Ok(Look::Client | Look::Discard) => panic!("it is an answer of ours, and looked at"),
            Ok(Look::Aside) => {
                assert!(b"NSA".contains(&tag));
                assert_eq!(before, format!("{reader:?}"), "it changes something");
                continue;
            }
            Ok(Look::Body) => reader.body(tag, body),
            Err(fault) => Err(fault),
        };
        match heard {
            Ok(Heard::More) => ready += usize::from(tag == b'Z'),
            Ok(Heard::Done(described)) => {
                assert_eq!((tag, described.len(), ready + 1), (b'Z', asked, asked));
                break;
            }
            Ok(Heard::Farewell(_)) => {
                assert_eq!(tag, b'E');
                break;
            }
            Err(_) => break,
        }
        assert!(ready < asked, "it goes on behind the last");
    }
}

fn deserialize() -> (Reader, Owed) {
    let name = b"crdb_internal.deserialize_session\0";
    let columns = [&[0, 1][..], name, &[0; 18]].concat();
    let owed = [
        (b'T', columns),
        (b'D', b"\0\x01\0\0\0\x01t".to_vec()),
        (b'C', b"SELECT 1\0".to_vec()),
        (b'Z', b"I".to_vec()),
    ];
    (Reader::Deserialize(DeserializeReader::new()), owed.into())
}

/// What is owed is read off what was written.
fn restore(feed: &mut Feed<'_>) -> (Reader, Owed) {
    let (mut source, target) = (found(), found());
    let work_mem = match feed.below(2) {
        0 => &b"4096"[..],
        _ => SECRET,
    };
    let setting = Setting {
        value: work_mem.into(),
        origin: Origin::Session,
        settable: Settable::ByUser,
    };
    source.settings.insert(text("work_mem"), setting);
    if feed.below(2) == 0 {
        source.channels.push(text("c"));
    }
    let statements = (0..feed.below(3)).map(|at| parse(&at.to_string(), "select 1", &[]));
    let statements: Vec<Vec<u8>> = statements.collect();
    let identity = TypeMap::identity();
    let restore = Restore::new(&source, &target, statements, identity, Listening::Move);
    let mut restore = restore.expect("nothing that cannot be");
    let mut out = BytesMut::new();
    while !restore.write(&mut out, feed.below(200)).expect("no NUL") {}
    let mut owed = Vec::new();
    let mut rest = &out[..];
    while let Some(header) = Header::parse(rest).expect("frames") {
        let (_, behind) = header.split(rest).expect("whole ones");
        rest = behind;
        // A SELECT's one row would come before its CommandComplete: what is run asks for none.
        owed.extend(match header.tag {
            b'P' => Some((b'1', vec![])),
            b'B' => Some((b'2', vec![])),
            b'E' => Some((b'C', b"SELECT 1\0".to_vec())),
            b'C' => Some((b'3', vec![])),
            b'S' => Some((b'Z', b"I".to_vec())),
            other => panic!("{}", other.escape_ascii()),
        });
    }
    (Reader::Restore(restore), owed)
}

fn text(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn found() -> Found {
    let setting = |value: &str| Setting {
        value: text(value),
        origin: Origin::Elsewhere,
        settable: Settable::ByUser,
    };
    let settings = [("client_encoding", "UTF8"), ("work_mem", "4096")];
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
        settings: settings
            .map(|(name, value)| (text(name), setting(value)))
            .into(),
        custom: Default::default(),
        identity: None,
    }
}

fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let message = Parse {
        name: name.as_bytes(),
        text: text.as_bytes(),
        types: ParamTypes::new(types),
    };
    let mut out = BytesMut::new();
    Frontend::Parse(message).encode(&mut out).expect("short");
    out[5..].to_vec()
}

fn numbers(feed: &mut Feed<'_>) {
    let name = |name: &str| TypeName {
        schema: text("app"),
        name: text(name),
    };
    let source = Types::from([(16_400, name("mood")), (16_402, name("colour"))]);
    let target = Types::from([(16_400, name("colour")), (17_000, name("mood"))]);
    let oids = BTreeSet::from([16_400, 16_402]);
    let map = TypeMap::between(&oids, &source, &target, OtherOids::Remap).expect("both are there");
    if feed.below(2) == 0 {
        let count = feed.below(8);
        let own = [0, 23, 25, 16_400, 16_402, u32::MAX];
        let types: Vec<u32> = (0..count).map(|_| feed.one(&own)).collect();
        let body = parse(feed.one(&["", "s"]), "select $1", &types);
        assert_eq!(declared(&body), types);
        let anew = map.rewritten(&body);
        let changed: Vec<u32> = types.iter().map(|oid| map.get(*oid)).collect();
        assert_eq!(anew.is_none(), changed == types);
        let anew = anew.map_or(body.clone(), Vec::from);
        let Ok(Frontend::Parse(before)) = Frontend::parse(b'P', &body) else {
            panic!("it was written");
        };
        let expected = Parse {
            types: ParamTypes::new(&changed),
            ..before
        };
        assert_eq!(Frontend::parse(b'P', &anew), Ok(Frontend::Parse(expected)));
        let mut out = BytesMut::new();
        map.write_parse(before, &mut out).expect("as long");
        assert_eq!(out[5..], anew);
    }
    let body = feed.rest();
    let anew = map.rewritten(body);
    assert!(anew.is_none_or(|anew| anew.len() == body.len()));
    let position = Lsn::parse(body);
    assert_eq!(position.map(|lsn| lsn.0), log_position(body));
    if let Some(position) = position {
        assert_eq!(Lsn::parse(position.to_string().as_bytes()), Some(position));
    }
}
