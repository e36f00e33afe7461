use std::fmt;

use bytes::BytesMut;

use super::list::{Codec, Iter, List};
use super::sqlstate::SqlState;
use super::tags::backend as tags;
use super::{Hidden, Printable, Reader, Writer};
use crate::error::{Malformed, Misfit, TooLong};

/// The fields of an ErrorResponse or NoticeResponse: a code byte and a text each.
///
/// A server sends each code once at most; if one occurs twice, the first counts here. Codes are those of the section
/// "Error and Notice Message Fields" of the protocol chapter. `Debug` shows the severity and the SQLSTATE only, because
/// the other fields quote query texts and rows.
///
/// ```
/// use pgturnout::wire::{Fields, sqlstate};
///
/// let fields = Fields::new(&[(b'S', b"FEHLER"), (b'V', b"ERROR"), (b'C', b"25006"), (b'M', b"cannot execute INSERT")]);
/// assert_eq!(fields.severity(), Some(&b"ERROR"[..]));
/// assert_eq!(fields.sqlstate(), Some(sqlstate::READ_ONLY_SQL_TRANSACTION));
/// assert!(!fields.is_fatal());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fields<'a> {
    list: List<'a, (u8, &'a [u8])>,
}

impl<'a> Fields<'a> {
    /// These fields, to be encoded.
    pub const fn new(fields: &'a [(u8, &'a [u8])]) -> Fields<'a> {
        Fields {
            list: List::new(fields),
        }
    }

    /// The fields in order: code and text.
    pub const fn iter(&self) -> Iter<'a, (u8, &'a [u8])> {
        self.list.iter()
    }

    /// The text of the first field with this code.
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        let (_, text) = self.iter().find(|(found, _)| *found == code)?;
        Some(text)
    }

    /// The SQLSTATE, if there is one of five bytes.
    pub fn sqlstate(&self) -> Option<SqlState> {
        let code = self.get(b'C')?;
        code.try_into().ok().map(SqlState)
    }

    /// The severity: field V, which is never translated, or S where there is none (before PostgreSQL 9.6).
    pub fn severity(&self) -> Option<&'a [u8]> {
        self.get(b'V').or_else(|| self.get(b'S'))
    }

    /// Whether the server closes the connection after this: the severity is FATAL or PANIC.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity(), Some(b"FATAL" | b"PANIC"))
    }

    pub(super) fn from_body(
        message: &'static str,
        body: &'a [u8],
    ) -> Result<Fields<'a>, Malformed> {
        let mut reader = Reader::new(message, body);
        let list = List::read_terminated(&mut reader, "field")?;
        reader.finish()?;
        Ok(Fields { list })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        if self.iter().any(|(code, _)| code == 0) {
            writer.refuse("field", Misfit::Terminator);
        }
        self.list.write(writer, "field");
        writer.u8("field", 0);
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = (u8, &'a [u8]);
    type IntoIter = Iter<'a, (u8, &'a [u8])>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (code, text) in *self {
            let code = [code];
            let key = Printable(&code);
            match code {
                [b'S' | b'V' | b'C'] => map.entry(&key, &Printable(text)),
                _ => map.entry(&key, &Hidden(text)),
            };
        }
        map.finish()
    }
}

impl<'a> Codec<'a> for (u8, &'a [u8]) {
    const MIN_LEN: usize = 2;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, Malformed> {
        Ok((reader.u8(field)?, reader.cstr(field)?))
    }

    fn write(self, writer: &mut Writer<'_>, field: &'static str) {
        let (code, text) = self;
        writer.u8(field, code);
        writer.cstr(field, text);
    }

    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, text) = self;
        fmt::Debug::fmt(&(Printable(&[code]), Hidden(text)), f)
    }
}

/// How bad an error or notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A notice: for developers of the server.
    Debug,
    /// A notice: for the server's log.
    Log,
    /// A notice: asked for by the user.
    Info,
    /// A notice: perhaps helpful.
    Notice,
    /// A notice: a likely problem.
    Warning,
    /// The statement fails.
    Error,
    /// The session ends.
    Fatal,
    /// All sessions end.
    Panic,
}

impl Severity {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Debug => "DEBUG",
            Severity::Log => "LOG",
            Severity::Info => "INFO",
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Panic => "PANIC",
        }
    }

    /// The tag of the message that has this severity.
    const fn tag(self) -> u8 {
        match self {
            Severity::Debug
            | Severity::Log
            | Severity::Info
            | Severity::Notice
            | Severity::Warning => tags::NOTICE_RESPONSE,
            Severity::Error | Severity::Fatal | Severity::Panic => tags::ERROR_RESPONSE,
        }
    }
}

/// Appends an ErrorResponse with the fields S, V, C and M, and D and H where given; a NoticeResponse if that is what
/// has this severity.
///
/// The texts are the caller's own words. A peer's bytes go through [`Printable`] first.
///
/// ```
/// use bytes::BytesMut;
/// use pgturnout::wire::{Severity, error_response, sqlstate};
///
/// let mut out = BytesMut::new();
/// error_response(&mut out, Severity::Fatal, sqlstate::ADMIN_SHUTDOWN, "the proxy is shutting down", None, None)?;
/// assert_eq!(&out[..], b"E\0\0\06SFATAL\0VFATAL\0C57P01\0Mthe proxy is shutting down\0\0");
/// # Ok::<(), pgturnout::error::TooLong>(())
/// ```
///
/// # Errors
/// A NUL inside a text; `out` is then unchanged.
pub fn error_response(
    out: &mut BytesMut,
    severity: Severity,
    code: SqlState,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) -> Result<(), TooLong> {
    let mut writer = Writer::message(out, "ErrorResponse", severity.tag());
    let word = severity.word();
    let texts = [
        (b'S', Some(word.as_bytes())),
        (b'V', Some(word.as_bytes())),
        (b'C', Some(code.0.as_slice())),
        (b'M', Some(message.as_bytes())),
        (b'D', detail.map(str::as_bytes)),
        (b'H', hint.map(str::as_bytes)),
    ];
    for (code, text) in texts {
        if let Some(text) = text {
            (code, text).write(&mut writer, "field");
        }
    }
    writer.u8("field", 0);
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of fields: what severity they have, what SQLSTATE, and whether they end the session.
    #[test]
    fn the_untranslated_severity_counts() {
        type Row<'a> = (&'a [(u8, &'a [u8])], Option<&'a [u8]>, bool);
        let rows: [Row<'_>; 7] = [
            (&[(b'S', b"FATAL")], Some(b"FATAL"), true),
            (&[(b'S', b"PANIC"), (b'V', b"PANIC")], Some(b"PANIC"), true),
            (&[(b'S', b"FATAL"), (b'V', b"ERROR")], Some(b"ERROR"), false),
            (&[(b'V', b"FATAL"), (b'S', b"ERROR")], Some(b"FATAL"), true),
            (&[(b'V', b"ERROR"), (b'V', b"FATAL")], Some(b"ERROR"), false),
            (&[(b'S', b"fatal")], Some(b"fatal"), false),
            (&[(b'M', b"FATAL")], None, false),
        ];
        for (fields, severity, fatal) in rows {
            let fields = Fields::new(fields);
            assert_eq!(fields.severity(), severity);
            assert_eq!(fields.is_fatal(), fatal);
        }
    }

    #[test]
    fn a_sqlstate_has_five_bytes() {
        let rows: [(&[u8], bool); 4] = [
            (b"25006", true),
            (b"2500", false),
            (b"250066", false),
            (b"", false),
        ];
        for (code, valid) in rows {
            let fields = [(b'C', code)];
            let state = Fields::new(&fields).sqlstate();
            assert_eq!(state.is_some(), valid);
        }
        assert_eq!(Fields::new(&[]).sqlstate(), None);
    }

    #[test]
    fn debug_shows_the_severity_and_the_code() {
        let fields = Fields::new(&[(b'S', b"ERROR"), (b'C', b"42601"), (b'M', b"near \"x\"")]);
        assert_eq!(
            format!("{fields:?}"),
            r#"{"S": "ERROR", "C": "42601", "M": <8 bytes>}"#
        );
    }

    #[test]
    fn a_made_error_is_read_back() {
        let mut out = BytesMut::new();
        let code = super::super::sqlstate::PROTOCOL_VIOLATION;
        error_response(&mut out, Severity::Error, code, "m", Some("d"), Some("h")).unwrap();
        let fields = Fields::from_body("ErrorResponse", &out[5..]).unwrap();
        let expected: [(u8, &[u8]); 6] = [
            (b'S', b"ERROR"),
            (b'V', b"ERROR"),
            (b'C', b"08P01"),
            (b'M', b"m"),
            (b'D', b"d"),
            (b'H', b"h"),
        ];
        assert!(fields.iter().eq(expected));
    }

    #[test]
    fn what_is_no_error_is_a_notice() {
        let rows = [
            (Severity::Debug, b"N", "DEBUG"),
            (Severity::Log, b"N", "LOG"),
            (Severity::Info, b"N", "INFO"),
            (Severity::Notice, b"N", "NOTICE"),
            (Severity::Warning, b"N", "WARNING"),
            (Severity::Error, b"E", "ERROR"),
            (Severity::Fatal, b"E", "FATAL"),
            (Severity::Panic, b"E", "PANIC"),
        ];
        for (severity, tag, word) in rows {
            let mut out = BytesMut::new();
            error_response(&mut out, severity, SqlState(*b"00000"), "", None, None).unwrap();
            assert_eq!(&out[..1], tag);
            let fields = Fields::from_body("Test", &out[5..]).unwrap();
            assert_eq!(fields.severity(), Some(word.as_bytes()));
            assert_eq!(fields.get(b'S'), fields.get(b'V'));
        }
    }
}
