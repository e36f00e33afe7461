//! What a server says to the queries by which a session moves.

use bytes::BytesMut;
use pgturnout::limits::MIGRATION_ANSWER_MAX;
use pgturnout::migrate::cockroach::{StateReader, TransferKey};
use pgturnout::migrate::postgres::{Found, Probe, Scope};
use pgturnout::migrate::{Heard, Look};
use pgturnout::wire::{Backend, Header, TransactionStatus};

use super::contains;
use super::feed::Feed;

const SECRET: &[u8] = b"bjMzZGxl";

/// The answer to a request with the key of [`key`].
fn parts() -> [Vec<u8>; 8] {
    let key = key();
    let names = [
        "error",
        "session_state_base64",
        "session_revival_token_base64",
        "transfer_key",
    ];
    let mut columns = vec![0, 4];
    for name in names {
        columns.extend_from_slice(name.as_bytes());
        columns.extend_from_slice(&[0; 19]);
    }
    let mut row = vec![0, 4, 255, 255, 255, 255];
    for value in [SECRET, SECRET, key.text().as_bytes()] {
        row.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        row.extend_from_slice(value);
    }
    let frame = |tag, body: &[u8]| {
        let mut out = BytesMut::new();
        Backend::Unknown { tag, body }.encode(&mut out).unwrap();
        out.to_vec()
    };
    [
        frame(b'T', &columns),
        frame(b'D', &row),
        frame(b'C', b"SHOW TRANSFER STATE 1\0"),
        frame(b'Z', b"I"),
        frame(b'E', b"SERROR\0C42601\0\0"),
        frame(b'E', b"SFATAL\0C57P01\0\0"),
        frame(b'N', b"Mhello\0\0"),
        frame(b'Z', b"T"),
    ]
}

fn key() -> TransferKey {
    TransferKey::from_random([9; 16])
}

/// While the client is owed answers every message is its own, up to the last ReadyForQuery; behind that none is. A state
/// comes out of nothing but the four parts of an answer in their order, behind one more ReadyForQuery where a transaction was
/// begun; nothing follows the end; and no fault, refusal or `Debug` shows a byte of the state or the token.
pub(crate) fn transfer_state(data: &[u8]) {
    let mut feed = Feed::new(data);
    let begins = feed.below(6);
    let (mut owed, begun) = (begins % 3, begins / 3);
    let mut reader = StateReader::new(&key(), owed);
    if begun == 1 {
        reader = reader.behind_a_transaction();
    }
    let parts = parts();
    let mut read = Vec::new();
    while !feed.is_empty() {
        let frame = match feed.below(parts.len() + 2) {
            at if at < parts.len() => parts[at].clone(),
            _ => {
                let (tag, body) = (feed.byte(), feed.bytes(60));
                let mut out = BytesMut::new();
                Backend::Unknown { tag, body }.encode(&mut out).unwrap();
                out.to_vec()
            }
        };
        let header = Header::parse(&frame).unwrap().unwrap();
        let aside = b"NSA".contains(&header.tag);
        let look = reader.header(header);
        hides(&format!("{look:?} {reader:?}"));
        match look {
            Ok(Look::Client) => {
                assert!(owed > 0 && !aside);
                owed -= usize::from(header.tag == b'Z');
            }
            Ok(Look::Aside) => assert!(aside),
            Ok(Look::Discard) => panic!("no row is that long"),
            Ok(Look::Body) => {
                assert!(owed == 0 && frame.len() <= MIGRATION_ANSWER_MAX);
                read.push(header.tag);
                let heard = reader.body(header.tag, &frame[5..]);
                hides(&format!("{heard:?} {reader:?}"));
                match heard {
                    Ok(Heard::More) => {}
                    Ok(Heard::Done(answer)) => {
                        if let Ok(state) = answer.state {
                            let ends = read.iter().filter(|tag| **tag == b'Z').count();
                            assert!(ends == begun + 1 && read.ends_with(b"TDCZ"));
                            assert!(!state.state.expose().contains(&b'\''));
                        }
                        return ends(reader);
                    }
                    Ok(Heard::Farewell(_)) => {
                        assert_eq!(header.tag, b'E');
                        return ends(reader);
                    }
                    Err(fault) => {
                        hides(&fault.to_string());
                        return ends(reader);
                    }
                }
            }
            Err(fault) => {
                assert!(owed == 0 && !aside);
                hides(&fault.to_string());
                return ends(reader);
            }
        }
    }
}

fn ends(mut reader: StateReader) {
    let header = Header {
        tag: b'Z',
        frame_len: 6,
    };
    assert!(reader.is_over() && reader.header(header).is_err());
    assert!(reader.body(b'Z', b"I").is_err());
}

fn hides(shown: &str) {
    assert!(!contains(shown.as_bytes(), SECRET), "{shown}");
}

/// A probe's row, whatever is in it, is read or refused with the name of a column, and read the same from the message; what is
/// kept of it is not much more than the row; `Debug` shows no setting.
pub(crate) fn probe_row(data: &[u8]) {
    let custom = [Box::from(&b"app.who"[..])];
    let direct = match Backend::parse(b'D', data) {
        Ok(Backend::DataRow { values }) => Some(Found::parse(values, &custom)),
        _ => None,
    };
    let mut probe = Probe::new(Scope::WithIdentity, [&b"app.who"[..]]);
    for tag in *b"12" {
        assert!(matches!(probe.body(tag, b""), Ok(Heard::More)));
    }
    let heard = probe.body(b'D', data);
    assert_eq!(heard.is_ok(), direct.is_some());
    let Some(direct) = direct else { return };
    for (tag, body) in [(b'C', &b"SELECT 1\0"[..]), (b'Z', b"I"), (b'3', b"")] {
        assert!(matches!(probe.body(tag, body), Ok(Heard::More)));
    }
    let ready = Backend::ReadyForQuery {
        status: TransactionStatus::Idle,
    };
    let Ok(Heard::Done(answer)) = probe.body(ready.tag(), b"I") else {
        panic!("the answer is complete");
    };
    match (direct, answer) {
        (Ok(direct), Ok(read)) => {
            assert_eq!(direct.settings, read.settings);
            assert_eq!(direct.statements, read.statements);
            let held = |text: &[u8]| text.len();
            let kept: usize = read
                .settings
                .iter()
                .map(|(name, setting)| held(name) + held(&setting.value))
                .chain(read.statements.keys().map(|name| held(name)))
                .chain(read.channels.iter().map(|name| held(name)))
                .sum();
            assert!(kept <= data.len());
            assert!(!format!("{read:?} {:?}", read.settings).contains("n33dle"));
        }
        (Err(fault), Err(failed)) => {
            assert_eq!(fault.message, "probe");
            assert!(failed.to_string().contains(fault.field));
        }
        (direct, answer) => panic!("{direct:?} {answer:?}"),
    }
}
