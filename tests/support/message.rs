//! What a client sends, built by hand.

use std::net::TcpStream;

/// A length word that counts itself, then the body.
fn sized(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).unwrap();
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

pub(crate) fn tagged(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(sized(body));
    out
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.extend_from_slice(value.as_bytes());
    out.push(0);
}

pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        text(&mut body, name);
        text(&mut body, value);
    }
    body.push(0);
    sized(&body)
}

pub(crate) fn cancel(process_id: i32, secret: &[u8]) -> Vec<u8> {
    let mut body = 80_877_102_u32.to_be_bytes().to_vec();
    body.extend(process_id.to_be_bytes());
    body.extend_from_slice(secret);
    sized(&body)
}

pub(crate) fn ssl_request() -> Vec<u8> {
    sized(&80_877_103_u32.to_be_bytes())
}

pub(crate) fn gssenc_request() -> Vec<u8> {
    sized(&80_877_104_u32.to_be_bytes())
}

pub(crate) fn password(secret: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, secret);
    tagged(b'p', &body)
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, sql);
    tagged(b'Q', &body)
}

pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, name);
    text(&mut body, sql);
    body.extend(0_i16.to_be_bytes());
    tagged(b'P', &body)
}

/// Parameters and results are all text.
pub(crate) fn bind(portal: &str, statement: &str, values: &[Option<&str>]) -> Vec<u8> {
    bind_formats(portal, statement, values, &[])
}

pub(crate) fn bind_formats(
    portal: &str,
    statement: &str,
    values: &[Option<&str>],
    result_formats: &[i16],
) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, portal);
    text(&mut body, statement);
    body.extend(0_i16.to_be_bytes());
    body.extend(i16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        match value {
            Some(value) => {
                body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend_from_slice(value.as_bytes());
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    body.extend(i16::try_from(result_formats.len()).unwrap().to_be_bytes());
    for format in result_formats {
        body.extend(format.to_be_bytes());
    }
    tagged(b'B', &body)
}

fn about(tag: u8, kind: u8, name: &str) -> Vec<u8> {
    let mut body = vec![kind];
    text(&mut body, name);
    tagged(tag, &body)
}

pub(crate) fn describe_statement(name: &str) -> Vec<u8> {
    about(b'D', b'S', name)
}

pub(crate) fn describe_portal(name: &str) -> Vec<u8> {
    about(b'D', b'P', name)
}

pub(crate) fn close_statement(name: &str) -> Vec<u8> {
    about(b'C', b'S', name)
}

pub(crate) fn close_portal(name: &str) -> Vec<u8> {
    about(b'C', b'P', name)
}

/// `max_rows` 0 is all rows.
pub(crate) fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, portal);
    body.extend(max_rows.to_be_bytes());
    tagged(b'E', &body)
}

pub(crate) fn sync() -> Vec<u8> {
    tagged(b'S', b"")
}

pub(crate) fn flush() -> Vec<u8> {
    tagged(b'H', b"")
}

pub(crate) fn terminate() -> Vec<u8> {
    tagged(b'X', b"")
}

pub(crate) fn copy_data(data: &[u8]) -> Vec<u8> {
    tagged(b'd', data)
}

pub(crate) fn copy_done() -> Vec<u8> {
    tagged(b'c', b"")
}

pub(crate) fn copy_fail(reason: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, reason);
    tagged(b'f', &body)
}

/// Arguments and result are text.
pub(crate) fn function_call(oid: u32, arguments: &[&str]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend(0_i16.to_be_bytes());
    body.extend(i16::try_from(arguments.len()).unwrap().to_be_bytes());
    for argument in arguments {
        body.extend(i32::try_from(argument.len()).unwrap().to_be_bytes());
        body.extend_from_slice(argument.as_bytes());
    }
    body.extend(0_i16.to_be_bytes());
    tagged(b'F', &body)
}

/// A statement in the extended protocol, up to its Sync.
pub(crate) fn extended(sql: &str, values: &[Option<&str>]) -> Vec<u8> {
    [
        parse("", sql),
        bind("", "", values),
        describe_portal(""),
        execute("", 0),
        sync(),
    ]
    .concat()
}

/// Reads past the end of input are a peer's doing, so the address is all a test needs.
pub(crate) fn peer(stream: &TcpStream) -> String {
    stream
        .peer_addr()
        .map_or_else(|error| error.to_string(), |address| address.to_string())
}
