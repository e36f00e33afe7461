//! CockroachDB's transfer of a session, against scripted answers: the tests of sqlproxy's `conn_migration_test`, by
//! their meaning, and its weak points.

use std::net::SocketAddr;

use bytes::BytesMut;
use pgturnout::auth::{AuthError, Channel, Handshake, Secret};
use pgturnout::migrate::cockroach::{
    Cannot, DeserializeReader, NotRestored, Revival, SessionState, StateAnswer, StateReader,
    StateRefused, TransferKey, check_client, deserialize_session, show_transfer_state,
};
use pgturnout::migrate::{AnswerFault, Heard, Look};
use pgturnout::startup::{BuildError, ProtocolVersion, StartupParams};
use pgturnout::wire::{
    Backend, Column, Columns, Fields, Header, TransactionStatus, Values, sqlstate,
};

const STATE: &[u8] = b"c3RhdGU+Pz8/";
const TOKEN: &[u8] = b"dG9rZW4/Pz4+";

fn key() -> TransferKey {
    TransferKey::from_random([0x5a; 16])
}

fn frame(message: Backend<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    out.to_vec()
}

fn columns(names: &[&str]) -> Vec<u8> {
    let columns: Vec<Column<'_>> = names
        .iter()
        .map(|name| Column {
            name: name.as_bytes(),
            table: 0,
            attribute: 0,
            type_oid: 25,
            type_size: -1,
            type_modifier: -1,
            format: 0,
        })
        .collect();
    let columns = Columns::new(&columns);
    frame(Backend::RowDescription { columns })
}

fn transfer_columns() -> Vec<u8> {
    columns(&[
        "error",
        "session_state_base64",
        "session_revival_token_base64",
        "transfer_key",
    ])
}

fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let values = Values::new(values);
    frame(Backend::DataRow { values })
}

fn state_row() -> Vec<u8> {
    let key = key();
    row(&[None, Some(STATE), Some(TOKEN), Some(key.text().as_bytes())])
}

fn complete(tag: &str) -> Vec<u8> {
    frame(Backend::CommandComplete {
        tag: tag.as_bytes(),
    })
}

fn ready(status: TransactionStatus) -> Vec<u8> {
    frame(Backend::ReadyForQuery { status })
}

fn error(severity: &str, code: &str) -> Vec<u8> {
    frame(Backend::ErrorResponse(Fields::new(&[
        (b'S', severity.as_bytes()),
        (b'V', severity.as_bytes()),
        (b'C', code.as_bytes()),
        (b'M', b"n33dle"),
    ])))
}

fn asides() -> Vec<Vec<u8>> {
    vec![
        frame(Backend::NoticeResponse(Fields::new(&[(b'M', b"n33dle")]))),
        frame(Backend::ParameterStatus {
            name: b"TimeZone",
            value: b"UTC",
        }),
        frame(Backend::NotificationResponse {
            process_id: 1,
            channel: b"c",
            payload: b"p",
        }),
    ]
}

fn good() -> Vec<Vec<u8>> {
    vec![
        transfer_columns(),
        state_row(),
        complete("SHOW TRANSFER STATE 1"),
        ready(TransactionStatus::Idle),
    ]
}

/// What a run of frames came to: how many went to the client, and the end.
#[derive(Debug)]
struct Run<T> {
    client: usize,
    asides: usize,
    end: Result<Heard<T>, AnswerFault>,
}

fn run<T>(
    frames: &[Vec<u8>],
    mut header: impl FnMut(Header) -> Result<Look, AnswerFault>,
    mut body: impl FnMut(u8, &[u8]) -> Result<Heard<T>, AnswerFault>,
) -> Run<T> {
    let mut run = Run {
        client: 0,
        asides: 0,
        end: Ok(Heard::More),
    };
    for frame in frames {
        let head = Header::parse(frame).unwrap().unwrap();
        match header(head) {
            Ok(Look::Client) => run.client += 1,
            Ok(Look::Aside) => run.asides += 1,
            Ok(Look::Discard) => {}
            Ok(Look::Body) => {
                run.end = body(head.tag, &frame[5..]);
                if !matches!(run.end, Ok(Heard::More)) {
                    break;
                }
            }
            Err(fault) => {
                run.end = Err(fault);
                break;
            }
        }
    }
    run
}

/// Shows frames to a reader of a state, which the client waits in front of for so many answers.
fn read(owed: usize, frames: &[Vec<u8>]) -> Run<StateAnswer> {
    let reader = std::cell::RefCell::new(StateReader::new(&key(), owed));
    run(
        frames,
        |head| reader.borrow_mut().header(head),
        |tag, body| reader.borrow_mut().body(tag, body),
    )
}

fn restore(frames: &[Vec<u8>]) -> Run<Result<(), NotRestored>> {
    let reader = std::cell::RefCell::new(DeserializeReader::new());
    run(
        frames,
        |head| reader.borrow_mut().header(head),
        |tag, body| reader.borrow_mut().body(tag, body),
    )
}

fn state() -> SessionState {
    SessionState {
        state: Secret::copy_of(STATE),
        token: Secret::copy_of(TOKEN),
    }
}

fn answer(run: Run<StateAnswer>) -> StateAnswer {
    match run.end {
        Ok(Heard::Done(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn refused(run: Run<StateAnswer>) -> StateRefused {
    answer(run).state.unwrap_err()
}

fn fault<T: std::fmt::Debug>(run: Run<T>) -> AnswerFault {
    run.end.unwrap_err()
}

#[test]
fn a_key_is_a_uuid_of_version_4_and_never_shown() {
    assert_eq!(key().text(), "5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a");
    assert_eq!(
        TransferKey::from_random([0; 16]).text(),
        "00000000-0000-4000-8000-000000000000"
    );
    assert_eq!(format!("{:?}", key()), "TransferKey(..)");
}

/// TestRunShowTransferState, `successful`: the exact bytes.
#[test]
fn the_state_is_asked_for_in_these_bytes() {
    let mut out = BytesMut::new();
    show_transfer_state(&key(), &mut out).unwrap();
    let expected = b"Q\0\0\0\x44SHOW TRANSFER STATE WITH '5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a'\0";
    assert_eq!(&out[..], expected);
    assert_eq!(out.len(), 1 + 0x44);
}

/// TestWaitForShowTransferState, `successful`.
#[test]
fn an_answer_is_read() {
    let run = read(0, &good());
    assert_eq!((run.client, run.asides), (0, 0));
    let answer = answer(run);
    assert_eq!(answer.row_bytes, u32::try_from(state_row().len()).ok());
    let state = answer.state.unwrap();
    assert!(state.state.matches(STATE) && state.token.matches(TOKEN));
}

/// `candidate_mismatch` and `successful`: what answers earlier requests is the client's, whatever it looks like: a column
/// list that is too large, one of wrong names, one of the right names, and an error, which sqlproxy takes for its own (W11).
#[test]
fn earlier_answers_are_the_clients() {
    let mut frames = vec![
        frame(Backend::BackendKeyData {
            process_id: 1,
            secret: b"abcd",
        }),
        columns(&["x".repeat(8_192).as_str()]),
        columns(&[
            "error",
            "session_state_base64",
            "session_revival_token_base64",
        ]),
        columns(&[
            "error",
            "session_state_base64",
            "transfer_key",
            "session_revival_token_base64",
        ]),
        transfer_columns(),
        state_row(),
        complete("SHOW TRANSFER STATE 1"),
        ready(TransactionStatus::Idle),
        error("ERROR", "22012"),
        ready(TransactionStatus::Failed),
    ];
    let clients = frames.len();
    frames.extend(good());
    let run = read(2, &frames);
    assert_eq!(run.client, clients);
    assert!(answer(run).state.is_ok());
    // With one request fewer counted, the same error is ours, and the answer to it as well.
    let run = read(1, &frames);
    assert_eq!(run.client, 8);
    assert_eq!(
        fault(run),
        AnswerFault::NotIdle {
            status: TransactionStatus::Failed
        }
    );
}

/// W9: what comes unasked between the messages of an answer.
#[test]
fn asides_pass_at_every_point() {
    let mut frames = Vec::new();
    for part in good() {
        frames.extend(asides());
        frames.push(part);
    }
    let run = read(0, &frames);
    assert_eq!(run.asides, 12);
    assert!(answer(run).state.is_ok());
}

/// `transfer_state_error`, with each text that the server is known to say; NULL and the empty text are no error.
#[test]
fn the_error_column_is_a_refusal() {
    let rows = [
        (
            "cannot serialize a session which is inside a transaction",
            Cannot::Transaction,
        ),
        (
            "cannot serialize a session which has active portals",
            Cannot::Portals,
        ),
        (
            "cannot serialize session with temporary schemas",
            Cannot::TemporarySchemas,
        ),
        (
            "session revival tokens are not supported on this cluster",
            Cannot::Token,
        ),
        ("cannot create token for root user", Cannot::Token),
        (
            "serialized session size 5.0 KiB exceeds max allowed size 2.0 KiB",
            Cannot::TooLarge,
        ),
        ("no session is active", Cannot::Other),
    ];
    for (text, cannot) in rows {
        let mut frames = good();
        let key = key();
        let error = Some(text.as_bytes());
        let key = Some(key.text().as_bytes());
        frames[1] = row(&[error, None, None, key]);
        let size = u32::try_from(frames[1].len()).ok();
        let answer = answer(read(0, &frames));
        assert_eq!(answer.row_bytes, size, "counted with an error too");
        assert_eq!(
            answer.state.unwrap_err(),
            StateRefused::Cannot(cannot),
            "{text}"
        );
        // Whatever stands beside it.
        let mut frames = good();
        frames[1] = row(&[error, Some(STATE), Some(TOKEN), key]);
        let why = self::answer(read(0, &frames)).state.unwrap_err();
        assert_eq!(why, StateRefused::Cannot(cannot), "{text}");
    }
    let mut frames = good();
    let key = key();
    frames[1] = row(&[
        Some(b""),
        Some(STATE),
        Some(TOKEN),
        Some(key.text().as_bytes()),
    ]);
    assert!(answer(read(0, &frames)).state.is_ok());
}

/// What would end its quotes on the new server, or is missing.
#[test]
fn what_is_no_base64_is_no_state() {
    let (key, good_state, good_token) = (key(), Some(STATE), Some(TOKEN));
    type Value<'a> = Option<&'a [u8]>;
    let rows: [(Value<'_>, Value<'_>); 6] = [
        (None, good_token),
        (good_state, None),
        (Some(b""), good_token),
        (Some(b"a'), 'base64')); drop table t; --"), good_token),
        (good_state, Some(b"a\0b")),
        (good_state, Some("é".as_bytes())),
    ];
    for (state, token) in rows {
        let mut frames = good();
        frames[1] = row(&[None, state, token, Some(key.text().as_bytes())]);
        assert_eq!(refused(read(0, &frames)), StateRefused::NoState);
    }
}

/// An error that answers our statement, at any point of it, is no reason to end the session.
#[test]
fn an_error_of_ours_is_a_refusal() {
    for at in 0..4 {
        let mut frames = good();
        frames.truncate(at);
        frames.push(error("ERROR", "57014"));
        frames.push(ready(TransactionStatus::Idle));
        let run = read(0, &frames);
        assert_eq!(
            refused(run),
            StateRefused::Failed(Some(sqlstate::QUERY_CANCELED)),
            "{at}"
        );
    }
}

/// `RowDescription/…`, `DataRow/…`, `CommandComplete/…`, `ReadyForQuery/…`: in place of each part, each wrong one.
#[test]
fn whatever_is_no_answer_is_a_fault() {
    let parts = good();
    for at in 0..parts.len() {
        for wrong in 0..parts.len() {
            if wrong == at {
                continue;
            }
            let mut frames = parts[..at].to_vec();
            frames.push(parts[wrong].clone());
            let tag = parts[wrong][0];
            assert!(
                matches!(fault(read(0, &frames)), AnswerFault::Unexpected { tag: found, .. } if found == tag),
                "{at} {wrong}"
            );
        }
    }
    let with = |at: usize, part: Vec<u8>| {
        let mut frames = good();
        frames[at] = part;
        fault(read(0, &frames)).to_string()
    };
    let text = key();
    let text = text.text().as_bytes();
    let three = &[
        "error",
        "session_state_base64",
        "session_revival_token_base64",
    ];
    let columns_fault = "the columns of SHOW TRANSFER STATE is not what was asked for";
    assert_eq!(with(0, columns(three)), columns_fault);
    assert_eq!(
        with(
            0,
            columns(&[
                "error",
                "session_state_base64",
                "transfer_key",
                "session_revival_token_base64"
            ])
        ),
        columns_fault
    );
    let number = "the number of values of SHOW TRANSFER STATE is not what was asked for";
    assert_eq!(with(1, row(&[None, Some(STATE), Some(TOKEN)])), number);
    assert_eq!(
        with(1, row(&[None, Some(STATE), Some(TOKEN), Some(text), None])),
        number
    );
    let other = "the transfer key is not what was asked for";
    assert_eq!(
        with(1, row(&[None, Some(STATE), Some(TOKEN), Some(b"foo")])),
        other
    );
    assert_eq!(with(1, row(&[None, Some(STATE), Some(TOKEN), None])), other);
    let tag = "the command tag of SHOW TRANSFER STATE is not what was asked for";
    assert_eq!(with(2, complete("SHOW TRANSFER STATE 2")), tag);
    let status = "the answer ends with the transaction status InTransaction";
    assert_eq!(with(3, ready(TransactionStatus::InTransaction)), status);
}

/// A server that goes away says so, and its words are the client's.
#[test]
fn a_farewell_is_no_answer() {
    for at in 0..4 {
        let mut frames = good();
        frames.truncate(at);
        frames.push(error("FATAL", "57P01"));
        let run = read(0, &frames);
        let Ok(Heard::Farewell(state)) = run.end else {
            panic!("{run:?}")
        };
        assert_eq!(state, Some(sqlstate::ADMIN_SHUTDOWN));
    }
}

#[test]
fn nothing_follows_the_end() {
    let mut reader = StateReader::new(&key(), 0);
    for part in good() {
        let head = Header::parse(&part).unwrap().unwrap();
        assert_eq!(reader.header(head), Ok(Look::Body));
        reader.body(part[0], &part[5..]).unwrap();
    }
    assert!(reader.is_over());
    let head = Header {
        tag: b'Z',
        frame_len: 6,
    };
    assert_eq!(reader.header(head), Err(AnswerFault::Ended));
    assert_eq!(reader.body(b'Z', b"I").unwrap_err(), AnswerFault::Ended);
}

/// ReadyForQuery has one byte: one that says more is not waited for.
#[test]
fn a_ready_for_query_is_of_one_length() {
    let longer = |frames: Vec<Vec<u8>>| {
        let (_, before) = frames.split_last().unwrap();
        let mut frames = before.to_vec();
        frames.push(b"Z\0\0\0\x07IC".to_vec());
        frames
    };
    let faults = [
        fault(read(0, &longer(good()))),
        fault(restore(&longer(restored()))),
    ];
    for fault in faults {
        assert!(
            matches!(fault, AnswerFault::TooLong { limit: 6, .. }),
            "{fault}"
        );
    }
}

/// TestRunAndWaitForDeserializeSession, `successful`: the exact bytes.
#[test]
fn a_state_is_handed_over_in_these_bytes() {
    let mut out = BytesMut::new();
    deserialize_session(&state(), &mut out).unwrap();
    let expected =
        b"Q\0\0\0\x4fSELECT crdb_internal.deserialize_session(decode('c3RhdGU+Pz8/', 'base64'))\0";
    assert_eq!(
        out.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

fn restored() -> Vec<Vec<u8>> {
    vec![
        columns(&["crdb_internal.deserialize_session"]),
        row(&[Some(b"t")]),
        complete("SELECT 1"),
        ready(TransactionStatus::Idle),
    ]
}

/// The rows of TestRunAndWaitForDeserializeSession.
#[test]
fn a_restore_is_true_or_nothing() {
    let mut frames = Vec::new();
    for part in restored() {
        frames.extend(asides());
        frames.push(part);
    }
    let run = restore(&frames);
    assert_eq!((run.asides, run.client), (12, 0));
    assert!(matches!(run.end, Ok(Heard::Done(Ok(())))));

    let parts = restored();
    for at in 0..parts.len() {
        for wrong in (0..parts.len()).filter(|wrong| *wrong != at) {
            let mut frames = parts[..at].to_vec();
            frames.push(parts[wrong].clone());
            assert!(matches!(
                fault(restore(&frames)),
                AnswerFault::Unexpected { .. }
            ));
        }
        let mut frames = parts[..at].to_vec();
        frames.push(error("ERROR", "22023"));
        frames.push(ready(TransactionStatus::Idle));
        let run = restore(&frames);
        let failed = NotRestored::Failed(Some(sqlstate::INVALID_PARAMETER_VALUE));
        assert!(
            matches!(run.end, Ok(Heard::Done(Err(why))) if why == failed),
            "{at}"
        );
        let mut frames = parts[..at].to_vec();
        frames.push(error("FATAL", "57P01"));
        let ended = NotRestored::Ended(Some(sqlstate::ADMIN_SHUTDOWN));
        assert!(
            matches!(restore(&frames).end, Ok(Heard::Done(Err(why))) if why == ended),
            "{at}"
        );
    }
    let with = |at: usize, part: Vec<u8>| {
        let mut frames = restored();
        frames[at] = part;
        restore(&frames).end
    };
    for part in [
        columns(&["foo"]),
        columns(&[]),
        columns(&["crdb_internal.deserialize_session", "x"]),
    ] {
        assert!(matches!(with(0, part), Err(AnswerFault::Content { .. })));
    }
    assert!(matches!(
        with(1, row(&[])),
        Err(AnswerFault::Content { .. })
    ));
    for value in [&b"f"[..], b"true", b""] {
        assert!(matches!(
            with(1, row(&[Some(value)])),
            Ok(Heard::Done(Err(NotRestored::False)))
        ));
    }
    assert!(matches!(
        with(1, row(&[None])),
        Ok(Heard::Done(Err(NotRestored::False)))
    ));
    assert!(matches!(
        with(2, complete("SELECT 2")),
        Err(AnswerFault::Content { .. })
    ));
    let failed = ready(TransactionStatus::Failed);
    assert!(matches!(with(3, failed), Err(AnswerFault::NotIdle { .. })));
}

/// W10: neither an error nor `Debug` shows a byte of the state, the token or a server's words.
#[test]
fn secrets_are_in_no_text() {
    let secrets = ["c3RhdGU", "dG9rZW4", "n33dle", "5a5a5a5a"];
    let hides = |text: String| {
        for secret in secrets {
            assert!(!text.contains(secret), "{text}");
        }
    };
    let rows = [
        row(&[None, Some(STATE), Some(TOKEN), Some(b"wrong")]),
        row(&[None, Some(STATE), Some(TOKEN)]),
        row(&[
            Some(b"n33dle"),
            Some(STATE),
            Some(TOKEN),
            Some(key().text().as_bytes()),
        ]),
        state_row(),
    ];
    for bad in rows {
        let mut frames = good();
        frames[1] = bad.clone();
        let run = read(0, &frames);
        hides(format!("{run:?}"));
        match run.end {
            Err(fault) => hides(fault.to_string()),
            Ok(Heard::Done(StateAnswer {
                state: Err(why), ..
            })) => hides(why.to_string()),
            Ok(_) => {}
        }
        // Cut at every length.
        for len in 0..bad.len() - 5 {
            let mut reader = StateReader::new(&key(), 0);
            reader.body(b'T', &transfer_columns()[5..]).unwrap();
            if let Err(fault) = reader.body(b'D', &bad[5..5 + len]) {
                hides(format!("{fault} {fault:?} {reader:?}"));
            }
        }
    }
    hides(format!("{:?}", state()));
    let mut reader = StateReader::new(&key(), 0);
    for part in &good()[..2] {
        reader.body(part[0], &part[5..]).unwrap();
    }
    hides(format!("{reader:?}"));
}

fn client(pairs: &[(&[u8], &[u8])]) -> StartupParams {
    let user = (&b"user"[..], &b"alice"[..]);
    let pairs = std::iter::once(user).chain(pairs.iter().copied());
    StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap()
}

fn address() -> SocketAddr {
    "203.0.113.9:4711".parse().unwrap()
}

fn revival(params: &StartupParams) -> (Revival, Vec<u8>) {
    let mut revival = Revival::new(params, &state(), Some(address()), Channel::Clear).unwrap();
    let mut out = BytesMut::new();
    revival.start(&mut out).unwrap();
    (revival, out.to_vec())
}

/// MixedCaseSessionRevivalTokenRejected and its like for the address: in four spellings, and in `options`.
#[test]
fn reserved_parameters_are_the_proxys() {
    for name in [
        "crdb:session_revival_token_base64",
        "CRDB:SESSION_REVIVAL_TOKEN_BASE64",
        "Crdb:Session_Revival_Token_Base64",
        "crdb:session_revival_token_BASE64",
        "crdb:remote_addr",
        "CRDB:Remote_Addr",
    ] {
        let refused = check_client(&client(&[(name.as_bytes(), b"x")])).unwrap_err();
        assert_eq!(refused.name, name.to_ascii_lowercase().as_bytes());
        let option = format!("-c {name}=x");
        assert!(
            check_client(&client(&[(b"options", option.as_bytes())])).is_err(),
            "{name}"
        );
    }
    assert!(
        check_client(&client(&[
            (b"crdb:remote", b"x"),
            (b"Application_Name", b"a")
        ]))
        .is_ok()
    );
}

/// MixedCaseRemoteAddrOverwritten, ForwardsNonReservedKeysVerbatim, and the token in the packet.
#[test]
fn the_packet_is_the_clients_with_the_token() {
    let params = client(&[
        (b"Application_Name", b"a"),
        (b"CRDB:remote_ADDR", b"6.6.6.6"),
        (b"crdb:session_revival_TOKEN_base64", b"stolen"),
        (b"application_name", b"b"),
    ]);
    let (_, packet) = revival(&params);
    let got = StartupParams::parse(&packet).unwrap();
    let pairs: Vec<(&[u8], &[u8])> = got.iter().collect();
    let expected: [(&[u8], &[u8]); 5] = [
        (b"user", b"alice"),
        (b"Application_Name", b"a"),
        (b"application_name", b"b"),
        (b"crdb:session_revival_token_base64", TOKEN),
        (b"crdb:remote_addr", b"203.0.113.9:4711"),
    ];
    assert_eq!(pairs, expected);
    assert_eq!(got.version(), ProtocolVersion::V3_0);
    assert_eq!(params.iter().count(), 5, "the client's own is as it was");
}

/// TestReadTokenAuthResult: a login without a question, a refusal, a server that asks for a password all the same.
#[test]
fn a_token_is_all_that_a_server_gets() {
    let params = client(&[]);
    let (mut login, _) = revival(&params);
    let ok = Backend::parse(b'R', &[0, 0, 0, 0]).unwrap();
    assert!(matches!(login.handle(ok), Ok(Handshake::Wait)));
    // As many messages as a server likes to send, within the limits of any login: sqlproxy stops at 20 (W17).
    for _ in 0..30 {
        let notice = Backend::NoticeResponse(Fields::new(&[(b'M', b"hello")]));
        assert!(matches!(login.handle(notice), Ok(Handshake::Wait)));
    }
    let key = Backend::BackendKeyData {
        process_id: 7,
        secret: b"abcd",
    };
    login.handle(key).unwrap();
    let end = login.handle(Backend::parse(b'Z', b"I").unwrap()).unwrap();
    let Handshake::Ready(established) = end else {
        panic!("{end:?}")
    };
    assert_eq!(established.key.as_ref().unwrap().process_id(), 7);

    let (mut login, _) = revival(&params);
    let cleartext = Backend::parse(b'R', &[0, 0, 0, 3]).unwrap();
    assert!(matches!(
        login.handle(cleartext),
        Err(AuthError::NotAllowed { .. })
    ));
    let (mut login, _) = revival(&params);
    let refusal = error("FATAL", "28000");
    let refusal = Backend::parse(b'E', &refusal[5..]).unwrap();
    assert!(matches!(login.handle(refusal), Err(AuthError::Refused(_))));
    let shown = format!("{login:?}");
    assert!(!shown.contains("dG9rZW4"), "{shown}");
}

#[test]
fn a_packet_that_is_too_long_is_refused() {
    let longest = vec![b'x'; 9_960];
    let params = client(&[(b"a", &longest)]);
    let built = Revival::new(&params, &state(), Some(address()), Channel::Clear);
    assert!(matches!(built, Err(BuildError::TooLong)));
}
