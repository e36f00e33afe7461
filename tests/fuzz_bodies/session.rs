//! Whole sessions, of any bytes and events.
//!
//! The target `session` plays the simulator's programs, which a second server judges word for word. Here nobody has to know
//! what should follow, so that anything may come from anybody at any time, and a fuzzer tries some sixty inputs while the
//! simulator plays one.

use std::time::Duration;

use pgturnout::session::PeerId;

use super::feed::Feed;
use super::world::{Options, Story, World};

/// Any events in any order: nothing panics or loops, no byte goes to a connection that was closed or never opened, no
/// write reaches the reader, whole frames go out, polling changes nothing, and when everybody has left the session
/// ends and is silent.
pub(crate) fn events(data: &[u8]) {
    let mut feed = Feed::new(data);
    let options = Options::choose(&mut feed);
    let mut world = World::new(options);
    if feed.below(8) != 0 {
        let hello = opening(&mut feed);
        world.says(PeerId::CLIENT, &hello);
    }
    while !feed.is_empty() {
        event(&mut world, &mut feed);
        world.settle();
    }
    world.end();
}

fn event(world: &mut World, feed: &mut Feed<'_>) {
    match feed.below(20) {
        0..=6 => world.says(PeerId::CLIENT, &request(feed)),
        7 => world.says(PeerId::CLIENT, feed.bytes(40)),
        8..=12 => {
            let from = feed.one(&UPSTREAMS);
            let tls = feed.one(b"NNSS");
            let answer = world.answer_of(from, tls);
            world.says(from, &answer);
        }
        13 => {
            let from = feed.one(&UPSTREAMS);
            world.lies(from, &message(feed));
        }
        14 => {
            let from = feed.one(&UPSTREAMS);
            world.lies(from, feed.bytes(40));
        }
        15 | 16 => {
            let peer = feed.one(&PeerId::ALL);
            world.resolve(peer, feed.below(4) != 0);
        }
        17 => {
            let peer = feed.one(&PeerId::ALL);
            match feed.below(2) {
                0 => world.eof(peer),
                _ => world.reset(peer),
            }
        }
        18 => world.later(Duration::from_millis(feed.one(&[1, 5_000, 15_000, 60_000]))),
        _ => match feed.below(4) {
            0 => world.shutdown(),
            1 => {
                let peer = feed.one(&PeerId::ALL);
                world.misuse(peer, feed.below(3));
            }
            2 => world.knows(feed.below(9)),
            _ => {}
        },
    }
}

/// How much of an input makes a conversation that is heard byte by byte: some thirty turns. Each byte of it costs some
/// microseconds, and what two chunkings can disagree about needs no more turns than that.
const CHUNKS_LONGEST: usize = 128;

/// A conversation in turns with servers that behave, heard whole and heard byte by byte: everybody gets the same bytes
/// and the same things happen (L2).
pub(crate) fn chunks(data: &[u8]) {
    let data = data.get(..CHUNKS_LONGEST).unwrap_or(data);
    let whole = converse(data, usize::MAX);
    let single = converse(data, 1);
    assert!(
        whole.agrees(&single),
        "whole: {whole:?}\nbyte by byte: {single:?}"
    );
}

fn converse(data: &[u8], grain: usize) -> Story {
    let mut feed = Feed::new(data);
    let mut world = World::new(Options {
        grain,
        ..Options::plain()
    });
    world.says(PeerId::CLIENT, &startup_message());
    world.settle();
    while !feed.is_empty() {
        match feed.below(12) {
            0..=5 => world.says(PeerId::CLIENT, &request(&mut feed)),
            6..=10 => {
                let from = feed.one(&UPSTREAMS);
                let answer = world.answer_of(from, b'N');
                world.says(from, &answer);
            }
            _ => world.says(PeerId::CLIENT, feed.bytes(30)),
        }
        world.settle();
    }
    world.end();
    world.story()
}

const UPSTREAMS: [PeerId; 2] = [PeerId::WRITER, PeerId::READER];

fn opening(feed: &mut Feed<'_>) -> Vec<u8> {
    const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
    const GSS: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];
    const CANCEL: &[u8] = &[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 1, 2, 3, 4];
    match feed.below(18) {
        0 => SSL.to_vec(),
        1 => GSS.to_vec(),
        2 => CANCEL.to_vec(),
        3 => startup("app", "replication\0true\0"),
        4 => [SSL, &startup_message()].concat(),
        5 => startup("locked", ""),
        16 => b"\x16".to_vec(),
        17 => [b"\x16", &startup_message()[..]].concat(),
        _ => startup_message(),
    }
}

fn startup_message() -> Vec<u8> {
    startup("app", "database\0shop\0")
}

fn startup(user: &str, more: &str) -> Vec<u8> {
    let body = ["\0\u{3}\0\0user\0", user, "\0", more, "\0"].concat();
    let length = u32::try_from(body.len() + 4).expect("short");
    [&length.to_be_bytes(), body.as_bytes()].concat()
}

/// Texts that a client sends. Those that write name `w_t`, by which a server knows them.
const TEXTS: &[&str] = &[
    "select 1",
    "select name from t where id = 7",
    "insert into w_t values (1)",
    "update w_t set a = 1",
    "begin",
    "begin read only",
    "commit",
    "rollback",
    "",
    "select error",
    "set application_name = 'x'",
    "set search_path = pg_catalog",
    "set standard_conforming_strings = off",
    "reset all",
    "discard all",
    "copy t to stdout",
    "copy w_t from stdin",
    "prepare p as insert into w_t values (1)",
    "execute p",
    "deallocate all",
    "with c as (delete from w_t returning 1) select 1",
    "select 1; insert into w_t values (1)",
    "select E'a'\n'\\' , ' ; insert into w_t values (1) --'",
    "select f() from w_t",
    "select a from w_t for update",
    "listen c",
    "create temp table x (a int)",
    "select pg_backend_pid()",
];

const NAMES: &[&str] = &["", "s1", "s2"];

/// Some messages that belong together, or one alone.
fn request(feed: &mut Feed<'_>) -> Vec<u8> {
    let name = feed.one(NAMES);
    match feed.below(16) {
        0..=4 => framed(b'Q', &[feed.one(TEXTS), "\0"]),
        5 | 6 => [
            parse(name, feed.one(TEXTS)),
            bind(name),
            framed(b'D', &["P\0"]),
            execute(),
            framed(b'S', &[]),
        ]
        .concat(),
        7 => [bind(name), execute(), framed(b'S', &[])].concat(),
        8 => [parse(name, feed.one(TEXTS)), framed(b'H', &[])].concat(),
        9 => parse(name, feed.one(TEXTS)),
        10 => framed(b'D', &["S", name, "\0"]),
        11 => framed(b'C', &["S", name, "\0"]),
        12 => framed(b'S', &[]),
        13 => framed(feed.one(b"HXcdfF"), &[]),
        14 => framed(feed.one(b"cdfpSHX?"), &["text\0"]),
        _ => [bind(name), execute()].concat(),
    }
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    framed(b'P', &[name, "\0", text, "\0", "\0\0"])
}

fn bind(statement: &str) -> Vec<u8> {
    framed(b'B', &["\0", statement, "\0", "\0\0", "\0\0", "\0\0"])
}

fn execute() -> Vec<u8> {
    framed(b'E', &["\0", "\0\0\0\0"])
}

/// A message of a server, in its place or out of it.
fn message(feed: &mut Feed<'_>) -> Vec<u8> {
    match feed.below(24) {
        0 => framed(b'Z', &["I"]),
        1 => framed(b'Z', &["T"]),
        2 => framed(b'Z', &["E"]),
        3 => framed(b'C', &["SELECT 1\0"]),
        4 => framed(b'E', &["SERROR\0VERROR\0C22012\0Mno\0\0"]),
        5 => framed(b'E', &["SFATAL\0VFATAL\0C57P01\0Mno\0\0"]),
        6 => framed(b'N', &["SNOTICE\0C00000\0Mhm\0\0"]),
        7 => framed(b'S', &["standard_conforming_strings\0off\0"]),
        8 => framed(b'S', &["client_encoding\0SJIS\0"]),
        9 => framed(b'A', &["\0\0\0\u{1}c\0p\0"]),
        10 => framed(b'1', &[]),
        11 => framed(b'2', &[]),
        12 => framed(b'3', &[]),
        13 => framed(b'D', &["\0\0"]),
        14 => framed(b'T', &["\0\0"]),
        15 => framed(b'G', &["\0\0\0"]),
        16 => framed(b'H', &["\0\0\0"]),
        17 => framed(b'd', &["row\n"]),
        18 => framed(b'c', &[]),
        19 => framed(b'R', &["\0\0\0\0"]),
        20 => framed(b'R', &["\0\0\0\u{3}"]),
        21 => framed(b'K', &["\0\0\0\u{1}1234"]),
        22 => framed(b'n', &[]),
        // The first bytes of a long row.
        _ => b"D\x10\0\0\0\0\x01".to_vec(),
    }
}

fn framed(tag: u8, parts: &[&str]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[tag][..], &length.to_be_bytes(), body.as_bytes()].concat()
}
