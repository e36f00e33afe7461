//! Servers of CockroachDB, which hand sessions out and take them in.

use bytes::BytesMut;
use pgturnout::migrate::Dialect;
use pgturnout::session::{Config, PeerId, Split};
use pgturnout::wire::{Backend, Column, Columns, Frontend, Header, Values};

use super::frames::backend;
use super::moving::movable;
use super::rig::Rig;

pub(crate) const STATE: &str = "c3RhdGU+Pz8/";
pub(crate) const TOKEN: &str = "dG9rZW4/Pz4+";

pub(crate) fn servers() -> Config {
    let mut config = movable();
    config.split = Split::Off;
    config.dialect = Dialect::Cockroach;
    config
}

fn encoded(message: Backend<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    out.to_vec()
}

fn columns(names: &[&str]) -> Vec<u8> {
    let column = |name: &'_ str| Column {
        name: Box::leak(name.to_owned().into_boxed_str()).as_bytes(),
        table: 0,
        attribute: 0,
        type_oid: 25,
        type_size: -1,
        type_modifier: -1,
        format: 0,
    };
    let columns: Vec<Column<'_>> = names.iter().map(|name| column(name)).collect();
    encoded(Backend::RowDescription {
        columns: Columns::new(&columns),
    })
}

fn row(values: &[Option<&str>]) -> Vec<u8> {
    let values: Vec<Option<&[u8]>> = values.iter().map(|v| v.map(str::as_bytes)).collect();
    encoded(Backend::DataRow {
        values: Values::new(&values),
    })
}

/// The row of an answer with this state and key.
pub(crate) fn handed_out_row(state: Option<&str>, key: &str) -> Vec<u8> {
    row(&[None, state, Some(TOKEN), Some(key)])
}

/// The answer to `SHOW TRANSFER STATE` with this key.
pub(crate) fn handed_out(
    error: &str,
    state: Option<&str>,
    token: Option<&str>,
    key: &str,
) -> Vec<u8> {
    let mut out = columns(&[
        "error",
        "session_state_base64",
        "session_revival_token_base64",
        "transfer_key",
    ]);
    let error = (!error.is_empty()).then_some(error);
    out.extend(row(&[error, state, token, Some(key)]));
    out.extend(backend("C(SHOW TRANSFER STATE 1) Z(I)"));
    out
}

pub(crate) fn taken_in(said: &str) -> Vec<u8> {
    let mut out = columns(&["crdb_internal.deserialize_session"]);
    out.extend(row(&[Some(said)]));
    out.extend(backend("C(SELECT 1) Z(I)"));
    out
}

/// The text of the one Query that a server was sent.
#[track_caller]
pub(crate) fn query(rig: &mut Rig, peer: PeerId) -> String {
    let got = rig.take(peer);
    let (text, behind) = first_query(&got);
    assert!(behind.is_empty(), "one message");
    text
}

/// The text of the Query at the front, and what is behind it.
#[track_caller]
fn first_query(got: &[u8]) -> (String, &[u8]) {
    let header = Header::parse(got)
        .unwrap()
        .expect("the server was sent something");
    let (body, behind) = header.split(got).expect("a whole message");
    match Frontend::parse(header.tag, body).unwrap() {
        Frontend::Query(query) => (String::from_utf8(query.text.to_vec()).unwrap(), behind),
        other => panic!("{other:?}"),
    }
}

/// What the old server says of the transaction that comes before the request for the session.
pub(crate) const BEGUN: &str = "T D(1) C(SELECT 1) Z(I)";

/// The old server is asked for the session; the key of the request.
#[track_caller]
pub(crate) fn key(rig: &mut Rig) -> String {
    key_at(rig, PeerId::WRITER)
}

#[track_caller]
pub(crate) fn key_at(rig: &mut Rig, peer: PeerId) -> String {
    let key = key_before(rig, peer);
    rig.say(peer, BEGUN);
    key
}

/// The same, and its server has not answered yet what comes before.
#[track_caller]
pub(crate) fn key_before(rig: &mut Rig, peer: PeerId) -> String {
    let got = rig.take(peer);
    let (before, rest) = first_query(&got);
    assert_eq!(before, "SELECT 1", "a transaction is begun first");
    let (text, behind) = first_query(rest);
    assert!(behind.is_empty(), "two messages");
    let key = text
        .strip_prefix("SHOW TRANSFER STATE WITH '")
        .and_then(|rest| rest.strip_suffix('\''));
    key.unwrap_or_else(|| panic!("{text}")).to_owned()
}
