//! What counts the messages of one connection.

use super::transaction::{Command, Transaction};
use super::{Counter, Stats};
use crate::limits;
use crate::wire::tags::{backend, frontend};
use crate::wire::{Header, TransactionStatus};

/// Counts the messages of one connection.
///
/// Show it each message once, in the order in which the client sends or gets them, whole or not: of a body only the
/// beginning matters, up to [`Meter::BODY`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    stats: Stats,
    transaction: Transaction,
    /// The tag of the newest message of an unknown type, until somebody has asked for it.
    unknown: Option<u8>,
}

impl Meter {
    /// How many bytes of a body are looked at, at most. With fewer, of a longer body, a severity or a command tag may
    /// be taken for unknown; bytes beyond do no harm.
    pub const BODY: usize = limits::STATS_BODY;

    /// What was counted so far.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// A message without a tag, which opens the connection: SSLRequest, GSSENCRequest, CancelRequest, StartupMessage.
    pub fn opening(&mut self) {
        self.stats.count(Counter::MessagesFrontend, 1);
    }

    /// A message of the client.
    pub fn frontend(&mut self, tag: u8) {
        self.frontend_run(tag, 1);
    }

    /// So many messages of the client with the same tag.
    pub fn frontend_run(&mut self, tag: u8, messages: u64) {
        self.stats.count(Counter::MessagesFrontend, messages);
        if !is_frontend(tag) {
            self.stats.count(Counter::MessagesUnknown, messages);
            self.unknown = Some(tag);
        }
    }

    /// A message of the server, and at least the first [`Meter::BODY`] bytes of its body, if it has so many.
    pub fn backend(&mut self, tag: u8, body: &[u8]) {
        self.hear(Heard::of(tag, body));
    }

    /// A message of the server that several meters are shown.
    pub(crate) fn hear(&mut self, heard: Heard) {
        self.stats.count(Counter::MessagesBackend, 1);
        match heard {
            Heard::Plain => {}
            Heard::Unknown(tag) => {
                self.stats.count(Counter::MessagesUnknown, 1);
                self.unknown = Some(tag);
            }
            Heard::Complete(counter, command) => {
                self.stats.count(counter, 1);
                self.transaction.ran(command, &mut self.stats);
            }
            Heard::Ran => self.transaction.ran(Command::Other, &mut self.stats),
            Heard::Ready(status) => self.transaction.ready(status, &mut self.stats),
            Heard::Error(counter) => {
                self.stats.count(counter, 1);
                self.transaction.failed();
            }
            Heard::Notice(counter) => self.stats.count(counter, 1),
            Heard::LoggedIn => self.stats.count(Counter::SessionsUnencrypted, 1),
        }
    }

    /// The tag of a message of an unknown type that was counted since the last time this was asked.
    pub(crate) fn take_unknown(&mut self) -> Option<u8> {
        self.unknown.take()
    }

    /// So many messages of the server with the same tag, whose bodies count for nothing: rows, copy data.
    pub fn backend_run(&mut self, tag: u8, messages: u64) {
        self.stats.count(Counter::MessagesBackend, messages);
        if !is_backend(tag) {
            self.stats.count(Counter::MessagesUnknown, messages);
            self.unknown = Some(tag);
        }
    }

    /// Whole messages of the client, one behind the other. What is none ends them.
    pub fn frontend_frames(&mut self, bytes: &[u8]) {
        each_frame(bytes, |tag, _| self.frontend(tag));
    }

    /// Whole messages of the server, one behind the other. What is none ends them.
    pub fn backend_frames(&mut self, bytes: &[u8]) {
        each_frame(bytes, |tag, body| self.backend(tag, body));
    }

    /// The session passes through encrypted from here on.
    pub fn passes_encrypted(&mut self) {
        self.stats.count(Counter::SessionsEncrypted, 1);
    }

    /// A TLS handshake with the client succeeded.
    pub fn terminated_ssl(&mut self) {
        self.stats.count(Counter::SessionsTerminatedSsl, 1);
    }

    /// A TLS handshake with an upstream succeeded.
    pub fn upstream_ssl_succeeded(&mut self) {
        self.stats.count(Counter::SessionsUpstreamSslSuccess, 1);
    }

    /// TLS with an upstream that was asked for was refused, or did not come about.
    pub fn upstream_ssl_failed(&mut self) {
        self.stats.count(Counter::SessionsUpstreamSslFailed, 1);
    }

    /// The tables of a Query or a Parse were asked for, and are known.
    pub fn parsed(&mut self) {
        self.stats.count(Counter::StatementsParsed, 1);
    }

    /// The tables of a Query or a Parse were asked for, and are not known.
    pub fn unparsed(&mut self) {
        self.stats.count(Counter::StatementsParseError, 1);
    }

    /// The connection is over, by Terminate or otherwise: a server rolls back what is open. Another may follow.
    pub fn ended(&mut self) {
        self.transaction.ended(&mut self.stats);
    }
}

/// What a message of the server means for the counters, beside being one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard {
    /// Nothing.
    Plain,
    /// The protocol does not have it.
    Unknown(u8),
    /// A statement is complete.
    Complete(Counter, Command),
    /// A statement ran, or a part of it, and none is complete by that.
    Ran,
    Ready(TransactionStatus),
    Error(Counter),
    Notice(Counter),
    LoggedIn,
}

impl Heard {
    pub(crate) fn of(tag: u8, body: &[u8]) -> Heard {
        let body = body.get(..Meter::BODY).unwrap_or(body);
        match tag {
            backend::COMMAND_COMPLETE => Heard::complete(body),
            backend::READY_FOR_QUERY => {
                let status = body.first().copied();
                let status = status.and_then(TransactionStatus::from_byte);
                status.map_or(Heard::Plain, Heard::Ready)
            }
            backend::FUNCTION_CALL_RESPONSE | backend::PORTAL_SUSPENDED => Heard::Ran,
            backend::ERROR_RESPONSE => Heard::Error(error_counter(severity(body))),
            backend::NOTICE_RESPONSE => Heard::Notice(notice_counter(severity(body))),
            backend::AUTHENTICATION if body.starts_with(&[0; 4]) => Heard::LoggedIn,
            tag if is_backend(tag) => Heard::Plain,
            _ => Heard::Unknown(tag),
        }
    }

    fn complete(body: &[u8]) -> Heard {
        let tag = body.split(|byte| *byte == 0).next().unwrap_or_default();
        let word = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
        let counter = match word {
            b"INSERT" => Counter::StatementsInsert,
            b"DELETE" => Counter::StatementsDelete,
            b"UPDATE" => Counter::StatementsUpdate,
            b"SELECT" => Counter::StatementsSelect,
            _ => Counter::StatementsOther,
        };
        Heard::Complete(counter, Command::of(tag))
    }
}

fn each_frame(bytes: &[u8], mut seen: impl FnMut(u8, &[u8])) {
    let mut rest = bytes;
    while let Ok(Some(header)) = Header::parse(rest) {
        let Some((body, behind)) = header.split(rest) else {
            break;
        };
        seen(header.tag, body);
        rest = behind;
    }
}

/// The untranslated severity (V), or the translated one (S) where there is none, as before PostgreSQL 9.6: the fields
/// that are complete in the beginning of a body.
fn severity(body: &[u8]) -> Option<&[u8]> {
    let mut translated = None;
    let mut rest = body;
    while let Some((code, behind)) = rest.split_first() {
        let end = behind.iter().position(|byte| *byte == 0);
        let Some((text, tail)) = end.and_then(|end| behind.split_at_checked(end)) else {
            break;
        };
        match code {
            0 => break,
            b'V' => return Some(text),
            b'S' if translated.is_none() => translated = Some(text),
            _ => {}
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    translated
}

fn error_counter(severity: Option<&[u8]>) -> Counter {
    match severity {
        Some(b"ERROR") => Counter::ErrorsError,
        Some(b"FATAL") => Counter::ErrorsFatal,
        Some(b"PANIC") => Counter::ErrorsPanic,
        Some(_) | None => Counter::ErrorsUnknown,
    }
}

fn notice_counter(severity: Option<&[u8]>) -> Counter {
    match severity {
        Some(b"WARNING") => Counter::NoticesWarning,
        Some(b"NOTICE") => Counter::NoticesNotice,
        Some(b"DEBUG") => Counter::NoticesDebug,
        Some(b"INFO") => Counter::NoticesInfo,
        Some(b"LOG") => Counter::NoticesLog,
        Some(_) | None => Counter::NoticesUnknown,
    }
}

fn is_frontend(tag: u8) -> bool {
    matches!(
        tag,
        frontend::BIND
            | frontend::CLOSE
            | frontend::COPY_DATA
            | frontend::COPY_DONE
            | frontend::COPY_FAIL
            | frontend::DESCRIBE
            | frontend::EXECUTE
            | frontend::FLUSH
            | frontend::FUNCTION_CALL
            | frontend::PASSWORD
            | frontend::PARSE
            | frontend::QUERY
            | frontend::SYNC
            | frontend::TERMINATE
    )
}

fn is_backend(tag: u8) -> bool {
    matches!(
        tag,
        backend::AUTHENTICATION
            | backend::BACKEND_KEY_DATA
            | backend::BIND_COMPLETE
            | backend::CLOSE_COMPLETE
            | backend::COMMAND_COMPLETE
            | backend::COPY_DATA
            | backend::COPY_DONE
            | backend::COPY_IN_RESPONSE
            | backend::COPY_OUT_RESPONSE
            | backend::COPY_BOTH_RESPONSE
            | backend::DATA_ROW
            | backend::EMPTY_QUERY_RESPONSE
            | backend::ERROR_RESPONSE
            | backend::FUNCTION_CALL_RESPONSE
            | backend::NEGOTIATE_PROTOCOL_VERSION
            | backend::NO_DATA
            | backend::NOTICE_RESPONSE
            | backend::NOTIFICATION_RESPONSE
            | backend::PARAMETER_DESCRIPTION
            | backend::PARAMETER_STATUS
            | backend::PARSE_COMPLETE
            | backend::PORTAL_SUSPENDED
            | backend::READY_FOR_QUERY
            | backend::ROW_DESCRIPTION
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_is_a_field_and_v_counts_before_s() {
        let long = [b"M".as_slice(), &[b'x'; 300], b"\0VFATAL\0\0"].concat();
        let rows: [(&[u8], Counter); 9] = [
            (b"SFEHLER\0VERROR\0C42601\0\0", Counter::ErrorsError),
            (b"C42601\0SPANIC\0\0", Counter::ErrorsPanic),
            (b"SERROR\0VERROR\0Mno PANIC here\0\0", Counter::ErrorsError),
            (b"SFEHLER\0Mthe word SFATAL\0\0", Counter::ErrorsUnknown),
            (b"SWARNING\0VWARNING\0\0", Counter::ErrorsUnknown),
            (b"SFATAL\0VFATA", Counter::ErrorsFatal),
            (b"\0VERROR\0\0", Counter::ErrorsUnknown),
            (b"", Counter::ErrorsUnknown),
            (&long, Counter::ErrorsUnknown),
        ];
        for (body, counter) in rows {
            let mut meter = Meter::default();
            meter.backend(b'E', body);
            assert_eq!(meter.stats.get(counter), 1, "{}", body.escape_ascii());
            assert_eq!(meter.stats.get(Counter::Errors), 1);
            assert_eq!(meter.stats.get(Counter::Messages), 1);
        }
    }

    #[test]
    fn a_body_is_looked_at_as_far_as_said_and_no_further() {
        let padding = [b'x'; Meter::BODY - b"M\0SLOG\0".len()];
        let at = [b"M".as_slice(), &padding, b"\0SLOG\0\0"].concat();
        let past = [b"Mx".as_slice(), &padding, b"\0SLOG\0\0"].concat();
        for (body, counter) in [(at, Counter::NoticesLog), (past, Counter::NoticesUnknown)] {
            let mut meter = Meter::default();
            meter.backend(b'N', &body);
            assert_eq!(meter.stats.get(counter), 1);
        }
    }

    #[test]
    fn every_type_of_the_protocol_is_known_and_no_other() {
        let (mut clients, mut servers) = (String::new(), String::new());
        for tag in 0..=u8::MAX {
            let mut meter = Meter::default();
            meter.frontend(tag);
            if meter.stats.get(Counter::MessagesUnknown) == 0 {
                clients.push(char::from(tag));
            }
            meter = Meter::default();
            meter.backend(tag, b"");
            if meter.stats.get(Counter::MessagesUnknown) == 0 {
                servers.push(char::from(tag));
            }
            assert_eq!(meter.stats.get(Counter::Messages), 1);
        }
        assert_eq!(clients, "BCDEFHPQSXcdfp");
        assert_eq!(servers, "123ACDEGHIKNRSTVWZcdnstv");
    }

    #[test]
    fn frames_are_counted_as_far_as_they_are_whole() {
        let mut meter = Meter::default();
        meter.backend_frames(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05IZ\0\0\0\x05");
        assert_eq!(meter.stats.get(Counter::MessagesBackend), 2);
        assert_eq!(meter.stats.get(Counter::TransactionsCommit), 1);
        // A StartupMessage and an SSLRequest have no tag.
        meter.frontend_frames(b"\0\0\0\x12\0\x03\0\0user\0app\0\0");
        meter.frontend_frames(b"\0\0\0\x08\x04\xd2\x16\x2f");
        meter.frontend_frames(b"C\0\0\0\x06Sx\0H\0\0\0\x04");
        assert_eq!(meter.stats.get(Counter::MessagesFrontend), 1);
    }
}
