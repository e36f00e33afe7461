//! Which settings a session takes along.

use super::{Found, Origin, Setting};

/// Settings that decide how values look and what statements mean. A session that moves keeps their values even if they
/// are those of the old server, of its database or of its role: the client has seen results under them.
const DECIDING: &[&[u8]] = &[
    b"DateStyle",
    b"IntervalStyle",
    b"TimeZone",
    b"array_nulls",
    b"backslash_quote",
    b"bytea_output",
    b"check_function_bodies",
    b"client_encoding",
    b"default_table_access_method",
    b"default_text_search_config",
    b"default_transaction_deferrable",
    b"default_transaction_isolation",
    b"default_transaction_read_only",
    b"extra_float_digits",
    b"lc_monetary",
    b"lc_numeric",
    b"lc_time",
    b"quote_all_identifiers",
    b"row_security",
    b"search_path",
    b"standard_conforming_strings",
    b"transform_null_equals",
    b"xmlbinary",
    b"xmloption",
];

/// Whether a setting has to have the same value on the new server.
pub(super) fn must_agree(name: &[u8], setting: &Setting) -> bool {
    setting.origin == Origin::Session || DECIDING.contains(&name)
}

/// Whether a setting that the new server does not know yet can be set there as a custom one: it is an extension's, which takes
/// the value over when it is loaded.
pub(super) fn is_placeholder(source: &Found, name: &[u8]) -> bool {
    source.custom.contains_key(name)
}

/// In which order settings are set: the encoding first, in which all others are sent, and the limits of time last, which
/// would count for the restore itself.
pub(super) fn rank(name: &[u8]) -> u8 {
    if name == b"client_encoding" {
        0
    } else if name.ends_with(b"_timeout") {
        2
    } else {
        1
    }
}
