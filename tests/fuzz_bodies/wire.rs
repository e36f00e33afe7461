//! Frames and messages.

use std::fmt::Debug;

use bytes::BytesMut;
use pgturnout::error::{Malformed, TooLong};
use pgturnout::wire::password::{
    parse_gss, parse_password, parse_sasl_initial, parse_sasl_response,
};
use pgturnout::wire::replication::{FromClient, FromServer};
use pgturnout::wire::{Backend, Frontend, Header, Printable, tags};

/// A header is decided by its five bytes alone, counts the frame exactly, and a limit only ever refuses.
pub(crate) fn header(data: &[u8]) {
    let parsed = Header::parse(data);
    assert_eq!(
        matches!(parsed, Ok(None)),
        data.len() < Header::LEN,
        "five bytes decide, fewer do not"
    );
    let limit = data.first().map_or(0, |byte| u32::from(*byte) * 7);
    let within = Header::parse_within(data, limit);
    let Ok(Some(header)) = parsed else {
        assert!(within.is_err() || within == Ok(None));
        return;
    };
    assert_eq!(Header::parse(&data[..Header::LEN]), Ok(Some(header)));
    let word = u32::from_be_bytes([data[1], data[2], data[3], data[4]]);
    assert_eq!(
        (header.tag, header.frame_len, header.body_len()),
        (data[0], word + 1, word - 4)
    );
    assert_eq!(within.is_ok(), header.frame_len <= limit);
    match header.split(data) {
        Some((body, rest)) => {
            assert_eq!(body.len(), header.body_len() as usize);
            assert_eq!(
                [&data[..Header::LEN], body, rest].concat(),
                data,
                "every byte is in one part"
            );
        }
        None => assert!(data.len() < header.frame_len as usize),
    }
}

/// A client's body, and each beginning of it, is refused with a place inside it, or read and written back to the same
/// bytes.
pub(crate) fn frontend(data: &[u8]) {
    let Some((tag, body)) = data.split_first() else {
        return;
    };
    for end in (0..body.len().min(64)).chain([body.len()]) {
        client_says(*tag, &body[..end]);
    }
}

fn client_says(tag: u8, body: &[u8]) {
    judge(tag, body, Frontend::parse(tag, body), |message, out| {
        assert_eq!(message.tag(), tag);
        message.encode(out)
    });
    if tag == tags::frontend::PASSWORD {
        judge(tag, body, parse_password(body), |message, out| {
            message.encode(out)
        });
        judge(tag, body, parse_sasl_initial(body), |message, out| {
            message.encode(out)
        });
        judge(tag, body, parse_sasl_response(body), |message, out| {
            message.encode(out)
        });
        judge(tag, body, parse_gss(body), |message, out| {
            message.encode(out)
        });
    }
    if let Ok(Frontend::CopyData { data }) = Frontend::parse(tag, body) {
        judge(tag, data, FromClient::parse(data), |message, out| {
            message.encode(out)
        });
    }
}

/// The same for a server's body; and what is shown of an error is clean and short.
pub(crate) fn backend(data: &[u8]) {
    let Some((tag, body)) = data.split_first() else {
        return;
    };
    for end in (0..body.len().min(64)).chain([body.len()]) {
        server_says(*tag, &body[..end]);
    }
}

fn server_says(tag: u8, body: &[u8]) {
    judge(tag, body, Backend::parse(tag, body), |message, out| {
        assert_eq!(message.tag(), tag);
        message.encode(out)
    });
    if let Ok(Backend::ErrorResponse(fields) | Backend::NoticeResponse(fields)) =
        Backend::parse(tag, body)
    {
        let shown = fields.iter().map(|(_, text)| Printable(text).to_string());
        for text in shown {
            assert!(
                !text.contains(char::is_control),
                "a control character is shown: {text:?}"
            );
            assert!(text.len() <= 1_024, "{} bytes are shown", text.len());
        }
        let _ = (fields.sqlstate(), fields.severity(), fields.is_fatal());
    }
    if let Ok(Backend::CopyData { data }) = Backend::parse(tag, body) {
        judge(tag, data, FromServer::parse(data), |message, out| {
            message.encode(out)
        });
    }
}

fn judge<M: Debug>(
    tag: u8,
    body: &[u8],
    parsed: Result<M, Malformed>,
    encode: impl FnOnce(&M, &mut BytesMut) -> Result<(), TooLong>,
) {
    match parsed {
        Ok(message) => {
            let mut out = BytesMut::new();
            encode(&message, &mut out).expect("what was read can be written");
            let header = Header::parse(&out).ok().flatten().expect("a header");
            let parts = header.split(&out).expect("a whole frame");
            assert_eq!((header.tag, parts), (tag, (body, &b""[..])), "{message:?}");
            assert!(!format!("{message:?}").is_empty());
        }
        Err(error) => {
            assert!(error.offset <= body.len(), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}
