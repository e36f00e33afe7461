//! Arbitrary messages, arbitrary bytes and every header.

mod wire_support;

use bytes::BytesMut;
use pgturnout::error::Fault;
use pgturnout::wire::password::{
    GssResponse, PasswordMessage, SaslInitialResponse, SaslResponse, parse_gss, parse_password,
    parse_sasl_initial, parse_sasl_response,
};
use pgturnout::wire::replication::{FromClient, FromServer};
use pgturnout::wire::{
    Authentication, Backend, Bind, Close, Column, Columns, CopyFormats, Describe, Execute, Fields,
    Formats, Frontend, FunctionCall, Header, Names, ParamTypes, Parse, Printable, Query, Target,
    TransactionStatus, Values,
};
use proptest::collection::vec;
use proptest::prelude::*;
use wire_support::samples;

/// What messages are made of.
#[derive(Clone, Debug)]
struct Parts {
    /// Strings that `Debug` may show.
    names: [Vec<u8>; 2],
    /// Strings and data that it must not.
    text: Vec<u8>,
    data: Vec<u8>,
    values: Vec<Option<Vec<u8>>>,
    fields: Vec<(u8, Vec<u8>)>,
    columns: Vec<(Vec<u8>, [u32; 3], [i16; 3])>,
    mechanisms: Vec<Vec<u8>>,
    formats: Vec<i16>,
    oids: Vec<u32>,
    secret: Vec<u8>,
    longs: [u64; 3],
    number: i32,
    byte: u8,
}

fn string() -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, 0..12)
}

fn parts() -> impl Strategy<Value = Parts> {
    let data = || vec(any::<u8>(), 0..40);
    let strings = ([string(), string()], string(), data());
    let lists = (
        vec(proptest::option::of(data()), 0..6),
        vec((1..=u8::MAX, string()), 0..6),
        vec((string(), any::<[u32; 3]>(), any::<[i16; 3]>()), 0..4),
        vec(vec(1..=u8::MAX, 1..12), 0..4),
        vec(any::<i16>(), 0..6),
        vec(any::<u32>(), 0..6),
    );
    let rest = (
        vec(any::<u8>(), 4..=256),
        any::<[u64; 3]>(),
        any::<i32>(),
        any::<u8>(),
    );
    (strings, lists, rest).prop_map(|(strings, lists, rest)| {
        let (names, text, data) = strings;
        let (values, fields, columns, mechanisms, formats, oids) = lists;
        let (secret, longs, number, byte) = rest;
        Parts {
            names,
            text,
            data,
            values,
            fields,
            columns,
            mechanisms,
            formats,
            oids,
            secret,
            longs,
            number,
            byte,
        }
    })
}

/// The lists of [`Parts`], as messages borrow them.
struct Lists<'a> {
    values: Vec<Option<&'a [u8]>>,
    fields: Vec<(u8, &'a [u8])>,
    columns: Vec<Column<'a>>,
    mechanisms: Vec<&'a [u8]>,
}

impl Parts {
    fn lists(&self) -> Lists<'_> {
        let columns = self
            .columns
            .iter()
            .map(|(name, [a, b, c], [d, e, f])| Column {
                name,
                table: *a,
                attribute: *d,
                type_oid: *b,
                type_size: *e,
                type_modifier: *c as i32,
                format: *f,
            });
        Lists {
            values: self.values.iter().map(Option::as_deref).collect(),
            fields: self
                .fields
                .iter()
                .map(|(code, text)| (*code, &text[..]))
                .collect(),
            columns: columns.collect(),
            mechanisms: self.mechanisms.iter().map(|name| &name[..]).collect(),
        }
    }

    /// A tag that neither direction knows.
    fn unknown_tag(&self) -> u8 {
        self.byte | 0x80
    }

    fn target(&self) -> Target {
        if self.byte % 2 == 0 {
            Target::Statement
        } else {
            Target::Portal
        }
    }

    /// One of each.
    fn frontend<'a>(&'a self, lists: &'a Lists<'a>) -> Vec<Frontend<'a>> {
        let [name, portal] = &self.names;
        let (kind, text, data) = (self.target(), &self.text, &self.data);
        let formats = Formats::new(&self.formats);
        let values = Values::new(&lists.values);
        vec![
            Frontend::Query(Query { text }),
            Frontend::Parse(Parse {
                name,
                text,
                types: ParamTypes::new(&self.oids),
            }),
            Frontend::Bind(Bind {
                portal,
                statement: name,
                formats,
                values,
                result_formats: formats,
            }),
            Frontend::Describe(Describe { kind, name }),
            Frontend::Execute(Execute {
                portal,
                max_rows: self.number,
            }),
            Frontend::Close(Close { kind, name }),
            Frontend::FunctionCall(FunctionCall {
                function: self.number as u32,
                formats,
                arguments: values,
                result_format: 1,
            }),
            Frontend::Sync,
            Frontend::Flush,
            Frontend::Terminate,
            Frontend::CopyData { data },
            Frontend::CopyDone,
            Frontend::CopyFail { reason: text },
            Frontend::Password(data),
            Frontend::Unknown {
                tag: self.unknown_tag(),
                body: data,
            },
        ]
    }

    /// One of each.
    fn backend<'a>(&'a self, lists: &'a Lists<'a>) -> Vec<Backend<'a>> {
        let [name, value] = &self.names;
        let (data, process_id) = (&self.data, self.number);
        let fields = Fields::new(&lists.fields);
        let copy = CopyFormats {
            overall: 1,
            columns: Formats::new(&self.formats),
        };
        let statuses = [
            TransactionStatus::Idle,
            TransactionStatus::InTransaction,
            TransactionStatus::Failed,
        ];
        let mut messages = vec![
            Backend::BackendKeyData {
                process_id,
                secret: &self.secret,
            },
            Backend::ParameterStatus { name, value },
            Backend::ErrorResponse(fields),
            Backend::NoticeResponse(fields),
            Backend::NotificationResponse {
                process_id,
                channel: name,
                payload: &self.text,
            },
            Backend::NegotiateProtocolVersion {
                newest: self.number,
                options: Names::new(&lists.mechanisms),
            },
            Backend::CommandComplete { tag: name },
            Backend::EmptyQueryResponse,
            Backend::ParseComplete,
            Backend::BindComplete,
            Backend::CloseComplete,
            Backend::NoData,
            Backend::ParameterDescription {
                types: ParamTypes::new(&self.oids),
            },
            Backend::RowDescription {
                columns: Columns::new(&lists.columns),
            },
            Backend::DataRow {
                values: Values::new(&lists.values),
            },
            Backend::PortalSuspended,
            Backend::CopyInResponse(copy),
            Backend::CopyOutResponse(copy),
            Backend::CopyBothResponse(copy),
            Backend::CopyData { data },
            Backend::CopyDone,
            Backend::FunctionCallResponse { value: Some(data) },
            Backend::FunctionCallResponse { value: None },
            Backend::Unknown {
                tag: self.unknown_tag(),
                body: data,
            },
        ];
        messages.extend(statuses.map(|status| Backend::ReadyForQuery { status }));
        messages.extend(self.authentication(lists).map(Backend::Authentication));
        messages
    }

    fn authentication<'a>(&'a self, lists: &'a Lists<'a>) -> [Authentication<'a>; 11] {
        let data = &self.data;
        [
            Authentication::Ok,
            Authentication::KerberosV5,
            Authentication::CleartextPassword,
            Authentication::Md5Password {
                salt: *self.secret.first_chunk().unwrap(),
            },
            Authentication::Gss,
            Authentication::GssContinue { data },
            Authentication::Sspi,
            Authentication::Sasl {
                mechanisms: Names::new(&lists.mechanisms),
            },
            Authentication::SaslContinue { data },
            Authentication::SaslFinal { data },
            Authentication::Other {
                code: i32::from(self.byte) + 13,
                data,
            },
        ]
    }

    fn sender(&self) -> [FromServer<'_>; 4] {
        let [start, wal_end, xid] = self.longs;
        let clock = xid as i64;
        let data = &self.data;
        [
            FromServer::WalData {
                start,
                wal_end,
                clock,
                data,
            },
            FromServer::Keepalive {
                wal_end,
                clock,
                reply: self.byte,
            },
            FromServer::PrimaryStatus {
                wal_end,
                oldest_xid: start,
                next_xid: xid,
                clock,
            },
            FromServer::Unknown {
                kind: self.unknown_tag(),
                body: data,
            },
        ]
    }

    fn receiver(&self) -> [FromClient<'_>; 4] {
        let [written, flushed, applied] = self.longs;
        let (clock, number) = (applied as i64, self.number as u32);
        [
            FromClient::StandbyStatus {
                written,
                flushed,
                applied,
                clock,
                reply: self.byte,
            },
            FromClient::HotStandbyFeedback {
                clock,
                xmin: number,
                xmin_epoch: 1,
                catalog_xmin: !number,
                catalog_xmin_epoch: 2,
            },
            FromClient::StatusRequest { clock },
            FromClient::Unknown {
                kind: self.unknown_tag(),
                body: &self.data,
            },
        ]
    }
}

/// The tag and the body of the one frame in `out`.
fn only(out: &BytesMut) -> (u8, &[u8]) {
    let header = Header::parse(out).unwrap().unwrap();
    let (body, rest) = header.split(out).unwrap();
    assert!(rest.is_empty());
    (header.tag, body)
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(parts in parts()) {
        let lists = parts.lists();
        for message in parts.frontend(&lists) {
            let mut out = BytesMut::new();
            message.encode(&mut out).unwrap();
            let (tag, body) = only(&out);
            prop_assert_eq!(Frontend::parse(tag, body), Ok(message));
        }
        for message in parts.backend(&lists) {
            let mut out = BytesMut::new();
            message.encode(&mut out).unwrap();
            let (tag, body) = only(&out);
            prop_assert_eq!(Backend::parse(tag, body), Ok(message));
        }
        for message in parts.sender() {
            let mut out = BytesMut::new();
            message.encode(&mut out).unwrap();
            prop_assert_eq!(FromServer::parse(only(&out).1), Ok(message));
        }
        for message in parts.receiver() {
            let mut out = BytesMut::new();
            message.encode(&mut out).unwrap();
            prop_assert_eq!(FromClient::parse(only(&out).1), Ok(message));
        }
    }

    #[test]
    fn answers_of_a_login_are_read_back(parts in parts(), some in any::<bool>()) {
        let mut out = BytesMut::new();
        let password = PasswordMessage { password: &parts.text };
        password.encode(&mut out).unwrap();
        prop_assert_eq!(parse_password(only(&out).1), Ok(password));

        out.clear();
        let data = some.then_some(&parts.data[..]);
        let initial = SaslInitialResponse { mechanism: &parts.names[0], data };
        initial.encode(&mut out).unwrap();
        prop_assert_eq!(parse_sasl_initial(only(&out).1), Ok(initial));

        out.clear();
        let response = SaslResponse { data: &parts.data };
        response.encode(&mut out).unwrap();
        prop_assert_eq!(parse_sasl_response(only(&out).1), Ok(response));

        out.clear();
        let token = GssResponse { data: &parts.data };
        token.encode(&mut out).unwrap();
        prop_assert_eq!(parse_gss(only(&out).1), Ok(token));
    }

    /// Frames follow each other in one buffer, and each encoder leaves the ones before it alone.
    #[test]
    fn frames_are_appended(parts in parts()) {
        let lists = parts.lists();
        let messages = parts.backend(&lists);
        let mut out = BytesMut::new();
        for message in &messages {
            message.encode(&mut out).unwrap();
        }
        let mut rest = &out[..];
        for message in messages {
            let header = Header::parse(rest).unwrap().unwrap();
            let (body, behind) = header.split(rest).unwrap();
            prop_assert_eq!(Backend::parse(header.tag, body), Ok(message));
            rest = behind;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn any_body_is_read_or_refused(body in vec(any::<u8>(), 0..64)) {
        for tag in 0..=u8::MAX {
            read_or_refuse(tag, &body);
        }
    }

    /// Uniform bytes are seldom nearly valid: these are.
    #[test]
    fn a_damaged_sample_is_read_or_refused(
        sample in proptest::sample::select(samples()),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (tag, body) = sample.parts();
        let mut body = body.to_vec();
        for (at, byte) in damage {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        read_or_refuse(tag, &body);
    }

    /// `Debug` shows what L11 allows and nothing else.
    #[test]
    fn debug_shows_no_secret(mut parts in parts()) {
        let needle = b"n33dle";
        parts.text = needle.to_vec();
        parts.data = needle.to_vec();
        parts.secret = needle.to_vec();
        parts.values = vec![None, Some(needle.to_vec())];
        parts.fields = b"SVCMDHPpqWsctdnFLR".iter().map(|&code| {
            let shown = b"SVC".contains(&code);
            (code, if shown { b"ERROR".to_vec() } else { needle.to_vec() })
        }).collect();
        parts.columns = vec![(needle.to_vec(), [0; 3], [0; 3])];
        let lists = parts.lists();
        let (frontend, backend) = (parts.frontend(&lists), parts.backend(&lists));
        let text = &parts.text[..];
        let shown = [
            format!("{frontend:?}"),
            format!("{frontend:#?}"),
            format!("{backend:?}"),
            format!("{:?} {:?}", parts.sender(), parts.receiver()),
            format!("{:?} {:?}", PasswordMessage { password: text }, GssResponse { data: text }),
            format!("{:?}", SaslInitialResponse { mechanism: b"X", data: Some(text) }),
            format!("{:?} {:?}", SaslResponse { data: text }, Fields::new(&lists.fields)),
            format!("{:?} {:?}", Query { text }, Values::new(&lists.values)),
            format!("{:?} {:?}", Columns::new(&lists.columns), Names::new(&[text])),
        ];
        for shown in shown {
            prop_assert!(!shown.contains("n33dle"), "{}", shown);
            // The same as a list of numbers, and in hexadecimal.
            prop_assert!(!shown.contains("110, 51, 51"), "{}", shown);
            prop_assert!(!shown.contains("6e3333"), "{}", shown);
        }
    }

    #[test]
    fn a_peers_text_is_clean_and_short(bytes in vec(any::<u8>(), 0..400), text in ".{0,200}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let shown = format!("{}", Printable(bytes));
            prop_assert!(shown.chars().all(is_clean), "{}", shown.escape_unicode());
            // Nothing is longer than `\u{10ffff}`, the escape of a four-byte character.
            prop_assert!(shown.len() <= 128 * 10 + '…'.len_utf8());
            prop_assert_eq!(shown.ends_with('…'), bytes.len() > 128 || bytes.ends_with("…".as_bytes()));
        }
    }
}

fn is_clean(c: char) -> bool {
    let bidi = ['\u{61c}', '\u{200e}', '\u{200f}'];
    let embedding = '\u{202a}'..='\u{202e}';
    let isolate = '\u{2066}'..='\u{2069}';
    !c.is_control() && !bidi.contains(&c) && !embedding.contains(&c) && !isolate.contains(&c)
}

/// What is read is encoded to the same bytes; what is refused is refused within the body.
fn read_or_refuse(tag: u8, body: &[u8]) {
    let word = u32::try_from(body.len() + 4).unwrap();
    let frame = [&[tag][..], &word.to_be_bytes(), body].concat();
    let mut out = BytesMut::new();
    match Frontend::parse(tag, body) {
        Ok(message) => {
            message.encode(&mut out).unwrap();
            assert_eq!(out, frame);
        }
        Err(error) => assert!(error.offset <= body.len(), "{error}"),
    }
    out.clear();
    match Backend::parse(tag, body) {
        Ok(message) => {
            message.encode(&mut out).unwrap();
            assert_eq!(out, frame);
        }
        Err(error) => assert!(error.offset <= body.len(), "{error}"),
    }
    out.clear();
    if let Ok(message) = FromServer::parse(body) {
        message.encode(&mut out).unwrap();
        assert_eq!(out[5..], *body);
    }
    out.clear();
    if let Ok(message) = FromClient::parse(body) {
        message.encode(&mut out).unwrap();
        assert_eq!(out[5..], *body);
    }
    out.clear();
    if let Ok(message) = parse_sasl_initial(body) {
        message.encode(&mut out).unwrap();
        assert_eq!(out[5..], *body);
    }
    out.clear();
    if let Ok(message) = parse_password(body) {
        message.encode(&mut out).unwrap();
        assert_eq!(out[5..], *body);
    }
}

/// Length words at which something changes, with their neighbours.
fn boundary_words() -> Vec<u32> {
    let corners = [
        4,
        8,
        255,
        256,
        10_000,
        30_000,
        65_535,
        0x3fff_ffff,
        0x7fff_ffff,
        u32::MAX,
    ];
    let mut words: Vec<u32> = corners
        .into_iter()
        .flat_map(|word| [word.saturating_sub(1), word, word.saturating_add(1)])
        .chain([0, 1, 2, 0x8000_0004, 0xff00_0000, 0xffff_0000])
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

#[test]
fn every_header_is_read_or_refused_at_its_fifth_byte() {
    let words = boundary_words();
    assert!(words.len() >= 30);
    for tag in 0..=u8::MAX {
        for &word in &words {
            let input = [&[tag][..], &word.to_be_bytes(), b"behind"].concat();
            for len in 0..Header::LEN {
                assert_eq!(Header::parse(&input[..len]), Ok(None));
            }
            for len in Header::LEN..=input.len() {
                let parsed = Header::parse(&input[..len]);
                let fault = match word {
                    0..4 => Fault::LengthTooSmall { least: 4 },
                    4..0x8000_0000 => {
                        let header = Header {
                            tag,
                            frame_len: word + 1,
                        };
                        assert_eq!(parsed, Ok(Some(header)));
                        assert_eq!(header.body_len(), word - 4);
                        continue;
                    }
                    0x8000_0000.. => Fault::LengthTooLarge { limit: 0x7fff_ffff },
                };
                let error = parsed.unwrap_err();
                assert_eq!((error.message, error.field), ("header", "length"));
                assert_eq!((error.offset, error.fault), (1, fault));
            }
        }
    }
}

#[test]
fn a_callers_limit_counts_the_whole_frame() {
    for &word in &boundary_words() {
        let input = [&b"Q"[..], &word.to_be_bytes()].concat();
        for limit in [5, 9, 10_001, 0x8000_0000, u32::MAX] {
            let fits = (4..0x8000_0000).contains(&word) && word < limit;
            let parsed = Header::parse_within(&input, limit);
            assert_eq!(parsed.is_ok(), fits, "{word} within {limit}");
            if let (4.., Err(error)) = (word, parsed) {
                let limit = limit.min(0x8000_0000) - 1;
                assert_eq!(error.fault, Fault::LengthTooLarge { limit });
            }
        }
    }
}
