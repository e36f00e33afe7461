//! Encoders and views at their limits and one past them. What is refused leaves the output as it was.

use bytes::BytesMut;
use pgturnout::error::{Fault, Malformed, Misfit, TooLong};
use pgturnout::wire::password::{PasswordMessage, SaslInitialResponse};
use pgturnout::wire::{
    Authentication, Backend, Bind, Close, Column, Columns, CopyFormats, Describe, Execute, Fields,
    Formats, Frontend, FunctionCall, Names, ParamTypes, Parse, Query, Severity, Target, Values,
    error_response, sqlstate,
};

type Encode<'a> = &'a dyn Fn(&mut BytesMut) -> Result<(), TooLong>;

/// Encodes behind other bytes and checks that those are all that is there if it fails.
fn encode(encode: Encode<'_>) -> Result<usize, Misfit> {
    let mut out = BytesMut::from(&b"before"[..]);
    match encode(&mut out) {
        Ok(()) => Ok(out.len() - 6),
        Err(error) => {
            assert_eq!(&out[..], b"before");
            assert!(!error.message.is_empty() && !error.field.is_empty());
            Err(error.misfit)
        }
    }
}

fn bind<'a>(
    formats: &'a [i16],
    values: &'a [Option<&'a [u8]>],
    results: &'a [i16],
) -> Frontend<'a> {
    Frontend::Bind(Bind {
        portal: b"",
        statement: b"",
        formats: Formats::new(formats),
        values: Values::new(values),
        result_formats: Formats::new(results),
    })
}

fn call<'a>(formats: &'a [i16], arguments: &'a [Option<&'a [u8]>]) -> Frontend<'a> {
    Frontend::FunctionCall(FunctionCall {
        function: 1,
        formats: Formats::new(formats),
        arguments: Values::new(arguments),
        result_format: 0,
    })
}

fn parse(types: &[u32]) -> Frontend<'_> {
    Frontend::Parse(Parse {
        name: b"",
        text: b"",
        types: ParamTypes::new(types),
    })
}

#[test]
fn counts_end_at_65535() {
    let column = Column {
        name: b"",
        table: 0,
        attribute: 0,
        type_oid: 0,
        type_size: 0,
        type_modifier: 0,
        format: 0,
    };
    let (shorts, oids) = (vec![0_i16; 65_536], vec![0_u32; 65_536]);
    let (values, columns) = (vec![None; 65_536], vec![column; 65_536]);
    for (count, fits) in [(65_535, true), (65_536, false)] {
        let (shorts, oids) = (&shorts[..count], &oids[..count]);
        let (values, columns) = (&values[..count], &columns[..count]);
        let copy = CopyFormats {
            overall: 0,
            columns: Formats::new(shorts),
        };
        let frontend = [
            bind(shorts, &[], &[]),
            bind(&[], values, &[]),
            bind(&[], &[], shorts),
            call(shorts, &[]),
            call(&[], values),
            parse(oids),
        ];
        for message in frontend {
            let expected = if fits {
                Ok(())
            } else {
                Err(Misfit::Count { count })
            };
            let result = encode(&|out| message.encode(out));
            assert_eq!(result.map(|_| ()), expected, "{}", message.name());
        }
        let backend = [
            Backend::DataRow {
                values: Values::new(values),
            },
            Backend::RowDescription {
                columns: Columns::new(columns),
            },
            Backend::ParameterDescription {
                types: ParamTypes::new(oids),
            },
            Backend::CopyInResponse(copy),
            Backend::CopyOutResponse(copy),
            Backend::CopyBothResponse(copy),
        ];
        for message in backend {
            let expected = if fits {
                Ok(())
            } else {
                Err(Misfit::Count { count })
            };
            let result = encode(&|out| message.encode(out));
            assert_eq!(result.map(|_| ()), expected, "{}", message.name());
        }
    }
}

#[test]
fn the_largest_count_is_read_back() {
    let values = vec![None; 65_535];
    let row = Backend::DataRow {
        values: Values::new(&values),
    };
    let mut out = BytesMut::new();
    row.encode(&mut out).unwrap();
    let read = Backend::parse(b'D', &out[5..]).unwrap();
    assert_eq!(read, row);
    let Backend::DataRow { values } = read else {
        unreachable!()
    };
    assert_eq!((values.len(), values.iter().count()), (65_535, 65_535));
    assert_eq!(values.iter().size_hint(), (65_535, Some(65_535)));
}

#[test]
fn an_option_count_has_32_bits() {
    let names = vec![&b"x"[..]; 65_536];
    let options = Names::new(&names);
    let message = Backend::NegotiateProtocolVersion {
        newest: 0x0003_0002,
        options,
    };
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    assert_eq!(Backend::parse(b'v', &out[5..]), Ok(message));
}

#[test]
fn a_string_of_a_client_holds_no_nul() {
    let bad = &b"a\0b"[..];
    let (kind, name) = (Target::Portal, bad);
    let (types, formats, values) = (ParamTypes::new(&[]), Formats::new(&[]), Values::new(&[]));
    let result_formats = formats;
    let frontend = [
        Frontend::Query(Query { text: bad }),
        Frontend::Parse(Parse {
            name,
            text: b"",
            types,
        }),
        Frontend::Parse(Parse {
            name: b"",
            text: bad,
            types,
        }),
        Frontend::Bind(Bind {
            portal: bad,
            statement: b"",
            formats,
            values,
            result_formats,
        }),
        Frontend::Bind(Bind {
            portal: b"",
            statement: bad,
            formats,
            values,
            result_formats,
        }),
        Frontend::Describe(Describe { kind, name }),
        Frontend::Close(Close { kind, name }),
        Frontend::Execute(Execute {
            portal: bad,
            max_rows: 0,
        }),
        Frontend::CopyFail { reason: bad },
    ];
    for message in frontend {
        assert_eq!(
            encode(&|out| message.encode(out)),
            Err(Misfit::InnerNul),
            "{message:?}"
        );
    }
    let password = PasswordMessage { password: bad };
    assert_eq!(encode(&|out| password.encode(out)), Err(Misfit::InnerNul));
    let initial = SaslInitialResponse {
        mechanism: bad,
        data: None,
    };
    assert_eq!(encode(&|out| initial.encode(out)), Err(Misfit::InnerNul));
}

#[test]
fn a_string_of_a_server_holds_no_nul() {
    let bad = &b"a\0b"[..];
    let name = bad;
    let columns = [Column {
        name,
        table: 0,
        attribute: 0,
        type_oid: 0,
        type_size: 0,
        type_modifier: 0,
        format: 0,
    }];
    let (process_id, names, fields) = (1, [bad], [(b'M', bad)]);
    let backend = [
        Backend::ParameterStatus { name, value: b"" },
        Backend::ParameterStatus {
            name: b"",
            value: bad,
        },
        Backend::NotificationResponse {
            process_id,
            channel: bad,
            payload: b"",
        },
        Backend::NotificationResponse {
            process_id,
            channel: b"",
            payload: bad,
        },
        Backend::NegotiateProtocolVersion {
            newest: 0,
            options: Names::new(&names),
        },
        Backend::CommandComplete { tag: bad },
        Backend::RowDescription {
            columns: Columns::new(&columns),
        },
        Backend::ErrorResponse(Fields::new(&fields)),
        Backend::NoticeResponse(Fields::new(&fields)),
        Backend::Authentication(Authentication::Sasl {
            mechanisms: Names::new(&names),
        }),
    ];
    for message in backend {
        assert_eq!(
            encode(&|out| message.encode(out)),
            Err(Misfit::InnerNul),
            "{message:?}"
        );
    }
}

#[test]
fn a_made_error_holds_no_nul() {
    let code = sqlstate::PROTOCOL_VIOLATION;
    let texts = [
        ("a\0b", None, None),
        ("", Some("a\0b"), None),
        ("", None, Some("a\0b")),
    ];
    for (message, detail, hint) in texts {
        let make =
            |out: &mut BytesMut| error_response(out, Severity::Error, code, message, detail, hint);
        assert_eq!(encode(&make), Err(Misfit::InnerNul));
    }
}

#[test]
fn a_list_that_ends_with_zero_has_no_zero_in_it() {
    let names = [&b"X"[..], b""];
    let mechanisms = Names::new(&names);
    let offer = Backend::Authentication(Authentication::Sasl { mechanisms });
    assert_eq!(encode(&|out| offer.encode(out)), Err(Misfit::Terminator));
    let fields = Fields::new(&[(b'S', b"ERROR"), (0, b"")]);
    let error = Backend::ErrorResponse(fields);
    assert_eq!(encode(&|out| error.encode(out)), Err(Misfit::Terminator));
}

#[test]
fn a_cancel_secret_has_4_to_256_bytes() {
    let bytes = [7; 4 + 257];
    for (len, fits) in [(0, false), (3, false), (4, true), (256, true), (257, false)] {
        let secret = &bytes[..len];
        let message = Backend::BackendKeyData {
            process_id: 1,
            secret,
        };
        let expected = if fits {
            Ok(9 + len)
        } else {
            Err(Misfit::Length { len })
        };
        assert_eq!(encode(&|out| message.encode(out)), expected);

        let read = Backend::parse(b'K', &bytes[..4 + len]);
        match read {
            Ok(Backend::BackendKeyData { secret, .. }) => assert!(fits && secret.len() == len),
            other => assert!(!fits && other.is_err(), "{len}: {other:?}"),
        }
    }
    let fault = Fault::Leftover { extra: 1 };
    let error = Malformed {
        message: "BackendKeyData",
        field: "end",
        offset: 260,
        fault,
    };
    assert_eq!(Backend::parse(b'K', &bytes), Err(error));
}

/// Zeroed memory that is never touched costs nothing: the length is refused before anything is copied.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_frame_ends_at_2_gib() {
    let huge = vec![0; 0x8000_0000];
    let longest = 0x7fff_ffff - 4;
    let too_long = &huge[..=longest];
    let (two_gib, longest_value) = ([Some(&huge[..])], [Some(&huge[..longest])]);
    let frontend = [
        Frontend::CopyData { data: too_long },
        Frontend::Password(too_long),
        Frontend::Unknown {
            tag: b'z',
            body: too_long,
        },
        bind(&[], &two_gib, &[]),
        bind(&[], &longest_value, &[]),
    ];
    for message in frontend {
        let mut out = BytesMut::new();
        assert_eq!(message.encode(&mut out).unwrap_err().misfit, Misfit::Frame);
        assert!(out.is_empty() && out.capacity() < 1024);
    }
    let backend = [
        Backend::CopyData { data: too_long },
        Backend::DataRow {
            values: Values::new(&two_gib),
        },
        Backend::FunctionCallResponse {
            value: Some(&huge[..longest]),
        },
        Backend::Authentication(Authentication::SaslContinue { data: too_long }),
    ];
    for message in backend {
        let mut out = BytesMut::new();
        assert_eq!(message.encode(&mut out).unwrap_err().misfit, Misfit::Frame);
        assert!(out.is_empty() && out.capacity() < 1024);
    }
}
