//! Logins by GSSAPI, whose tokens only the caller knows.

use super::fault::Fault;

/// The tokens of an exchange: no text, with bytes in them that end texts.
pub(super) const GSS_HELLO: &[u8] = b"\x60\0hello\0";
pub(super) const GSS_MORE: &[u8] = b"\x60\x01more\0\xff";
pub(super) const GSS_DONE: &[u8] = b"\x60\x02done";

/// What somebody with this password answers to a server's question of this code and data; nothing to its last word.
pub(crate) fn gss_token(code: i32, data: &[u8], password: &str) -> Option<Vec<u8>> {
    match (code, data) {
        (7, b"") => Some(GSS_HELLO.to_vec()),
        (8, GSS_MORE) => {
            let veiled = password.bytes().map(|byte| byte ^ 0x2a);
            Some(b"\x60\x03\0".iter().copied().chain(veiled).collect())
        }
        _ => None,
    }
}

pub(super) fn refused_by_gss() -> Fault {
    Fault::new("28000", "GSSAPI authentication failed")
}
