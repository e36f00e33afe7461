//! What the caller allows: sessions, and the statements in them.

use std::net::IpAddr;
use std::time::Instant;

use super::client::SessionKind;
use super::leg::LegId;
use super::policy_login::{LoginAsked, LoginFacts};
use super::{CloseCause, Demand, Session, StatementKind, Tell, TlsInfo};
use crate::limits;
use crate::route::{Class, Intent, Route, Why};
use crate::startup::StartupParams;
use crate::wire::{Frontend, Header, Printable, SqlState, sqlstate, tags::frontend as tag};

/// Allows or denies what a client wants, before any server hears of it.
///
/// A session has one of its own ([`Session::set_policy`]), so a policy may count and remember; what a denial ends is
/// always the whole session. Every method allows everything unless it is written. They are called in the middle of
/// [`Session::handle_input`], so they have to answer at once.
///
/// ```
/// use pgturnout::session::{ConnectionFacts, Denial, Policy, StatementFacts, Verdict};
///
/// struct Reports;
///
/// impl Policy for Reports {
///     fn connection(&mut self, connection: &ConnectionFacts<'_>) -> Verdict {
///         match (connection.tls, connection.user()) {
///             (Some(_), Some(b"reports")) => Verdict::Allow,
///             _ => Verdict::Deny(Denial::new("reports are made over TLS, by reports")),
///         }
///     }
///
///     fn statement(&mut self, statement: &StatementFacts<'_>) -> Verdict {
///         match statement.intent.class.is_read() {
///             true => Verdict::Allow,
///             false => Verdict::Deny(Denial::new("reports only read")),
///         }
///     }
/// }
/// ```
pub trait Policy: Send + Sync {
    /// Whether a client may have a session. Called once, when its StartupMessage is complete, is not refused for what
    /// is wrong with it, and nobody was dialled or asked for a password; so nothing has proven yet that the client is who it
    /// says. Where encryption is handed through unread, it is called at its beginning instead, with what is known then.
    /// A CancelRequest is no session.
    ///
    /// A client that is denied gets a FATAL error, with SQLSTATE `28000` unless the [`Denial`] has another, and is closed
    /// ([`CloseCause::ConnectionDenied`]); one that has begun a TLS handshake which is not ours is only closed.
    fn connection(&mut self, connection: &ConnectionFacts<'_>) -> Verdict {
        let _ = connection;
        Verdict::Allow
    }

    /// Whether the client may learn how its login came out. Called once, when it has proven who it is, or was refused,
    /// and has not been told: at the server's last word of a SASL exchange, AuthenticationOk or ErrorResponse, or at our own
    /// verdict. It is not called for logins that end without an outcome (the client leaves, a server cannot be had), and
    /// not for encryption that is handed through, whose logins nobody sees.
    ///
    /// A client that is denied gets this FATAL error in place of the outcome, as in [`connection`](Policy::connection). This
    /// is where a [`Throttle`](crate::access::Throttle) counts.
    fn login(&mut self, login: &LoginFacts<'_>) -> Verdict {
        let _ = login;
        Verdict::Allow
    }

    /// Whether a statement may be sent on. Called for each Query and each Parse, in order and once, when those before it
    /// were sent on and nothing of it was. What is prepared is not asked for again when it is executed. What is dropped
    /// because the reader that had the beginning of its batch is lost goes nowhere, and may not be asked for.
    ///
    /// A denial ends the session ([`CloseCause::StatementDenied`]): the client gets what it is owed for earlier requests, then
    /// a FATAL error, with SQLSTATE `42501` unless the [`Denial`] has another. One message cannot be refused by itself:
    /// the servers would go on with the transaction or the batch around it as if it had not been there, and only an
    /// answer of our own invention could tell the client otherwise. What an open batch or transaction did before it,
    /// the server rolls back when its connection closes.
    ///
    /// Texts that a policy cannot see: those of sessions that pass whole (replication, which runs SQL too, and
    /// encryption that is handed through: [`ConnectionKind`]), what functions and `DO` run inside, and FunctionCall,
    /// which has none.
    fn statement(&mut self, statement: &StatementFacts<'_>) -> Verdict {
        let _ = statement;
        Verdict::Allow
    }
}

/// What a [`Policy`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Allow,
    /// It may not.
    Deny(Denial),
}

/// What a client is told that is denied something.
#[derive(Clone, PartialEq, Eq)]
pub struct Denial {
    state: Option<SqlState>,
    message: String,
    hint: Option<&'static str>,
}

impl Denial {
    /// A denial in these words. Of them the client gets so many bytes as [`limits::DENIAL_MESSAGE_MAX`] says, up to a NUL.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Denial {
        let mut message = message.into();
        let mut end = message.find('\0').unwrap_or(message.len());
        end = end.min(limits::DENIAL_MESSAGE_MAX);
        while !message.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        message.truncate(end);
        message.shrink_to_fit();
        Denial {
            state: None,
            message,
            hint: None,
        }
    }

    /// The same with a hint at what to do.
    #[must_use]
    pub fn with_hint(self, hint: &'static str) -> Denial {
        Denial {
            hint: Some(hint),
            ..self
        }
    }

    /// The same with this SQLSTATE. One that is not made of digits and capital letters is no SQLSTATE and counts for nothing.
    #[must_use]
    pub fn with_sqlstate(self, state: SqlState) -> Denial {
        let fits = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        let state = Some(state).filter(|state| state.0.iter().all(fits));
        Denial { state, ..self }
    }

    pub(super) fn tell(self, default: SqlState) -> Tell {
        let tell = Tell::fatal(self.state.unwrap_or(default), self.message);
        Tell {
            hint: self.hint,
            ..tell
        }
    }
}

/// Shows the length of the message, which may repeat what the client has sent.
impl std::fmt::Debug for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Denial")
            .field("state", &self.state)
            .field("message_bytes", &self.message.len())
            .finish()
    }
}

/// What a session would consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionKind {
    /// Requests, whose statements are shown to [`Policy::statement`].
    Requests,
    /// A replication stream, or what a server may take for one. It passes whole: none of its statements is shown.
    Replication,
    /// Encrypted by the client and the server with each other. Nothing of it is known.
    Encrypted,
}

/// What is known of a client that wants a session.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ConnectionFacts<'a> {
    /// What the session would consist of.
    pub kind: ConnectionKind,
    /// Where the client connects from, if the driver has said so ([`Session::set_client_address`]).
    pub address: Option<IpAddr>,
    /// What the driver knows of the TLS connection with it; `None` in clear, and for encryption that only passes.
    pub tls: Option<&'a TlsInfo>,
    /// Its StartupMessage; `None` when that is encrypted.
    pub startup: Option<&'a StartupParams>,
    /// When it is asked for.
    pub now: Instant,
}

impl<'a> ConnectionFacts<'a> {
    /// The user that it says it is; `None` when that is not known.
    #[must_use]
    pub fn user(&self) -> Option<&'a [u8]> {
        self.startup.map(StartupParams::user)
    }

    /// The database that it asks for; `None` when that is not known.
    #[must_use]
    pub fn database(&self) -> Option<&'a [u8]> {
        self.startup.map(StartupParams::database)
    }
}

/// Shows of the startup packet what its own `Debug` does: names and lengths.
impl std::fmt::Debug for ConnectionFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionFacts")
            .field("kind", &self.kind)
            .field("address", &self.address)
            .field("tls", &self.tls)
            .field("startup", &self.startup)
            .finish()
    }
}

/// The text of a statement, as far as it can be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StatementText<'a> {
    /// All of it, in the client's encoding, without the NUL that ends it.
    Whole(&'a [u8]),
    /// Its message does not fit the read buffer ([`Limits::read_buffer`](super::Limits::read_buffer)). A server could
    /// take it.
    TooLong,
    /// Its message is malformed. A server refuses it.
    Malformed,
}

/// Shows its length.
impl std::fmt::Debug for StatementText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatementText::Whole(text) => write!(f, "<{} bytes>", text.len()),
            StatementText::TooLong => f.write_str("TooLong"),
            StatementText::Malformed => f.write_str("Malformed"),
        }
    }
}

/// What is known of a statement that is to be sent on.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct StatementFacts<'a> {
    /// [`StatementKind::Query`] or [`StatementKind::Parse`].
    pub kind: StatementKind,
    /// Its text. A Query may have several statements in one.
    pub text: StatementText<'a>,
    /// What it asks for, of the class [`Class::Unreadable`] if the text is not there. A text with backslashes or bytes
    /// beyond ASCII means what the client's settings make of it, so it waits for the answers of requests that could change
    /// them; within a batch none may come, and then only what holds under any settings is said.
    pub intent: &'a Intent,
    /// The user of the StartupMessage. `SET ROLE` and `SET SESSION AUTHORIZATION` change nothing in that.
    pub user: &'a [u8],
    /// The database of the session.
    pub database: &'a [u8],
    /// The number of its request, as in [`Event::RequestBegan`](super::Event::RequestBegan).
    pub request: u64,
}

/// Shows the text's length.
impl std::fmt::Debug for StatementFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatementFacts")
            .field("kind", &self.kind)
            .field("text", &self.text)
            .field("class", &self.intent.class)
            .field("user", &Printable(self.user))
            .field("database", &Printable(self.database))
            .field("request", &self.request)
            .finish()
    }
}

/// The caller's policy, if there is one, and what only the driver knows of the client.
#[derive(Default)]
pub(super) struct Hook {
    pub(super) policy: Option<Box<dyn Policy>>,
    pub(super) address: Option<IpAddr>,
    pub(super) login: LoginAsked,
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.policy {
            Some(_) => "Hook(a policy)",
            None => "Hook(no policy)",
        })
    }
}

/// Whether the policy was asked about the message at the front of what the client has sent.
#[derive(Debug)]
pub(super) enum Judged {
    NotYet,
    Allowed,
    Denied(Denial),
}

impl<R: Route> Session<R> {
    /// Gives the session a policy. Without one everything is allowed. It belongs right behind [`Session::new`]: it is not
    /// asked about what has happened already.
    pub fn set_policy(&mut self, policy: Box<dyn Policy>) {
        self.hook.policy = Some(policy);
    }

    /// Says where the client connects from, for the policy.
    pub fn set_client_address(&mut self, address: IpAddr) {
        self.hook.address = Some(address);
    }

    /// Asks the policy about the client that has opened the session. Whether it may not go on; it is told then.
    pub(super) fn is_denied(&mut self, now: Instant) -> bool {
        let facts = ConnectionFacts {
            kind: match self.client.kind {
                SessionKind::Requests => ConnectionKind::Requests,
                SessionKind::Stream => ConnectionKind::Replication,
                SessionKind::Opaque => ConnectionKind::Encrypted,
            },
            address: self.hook.address,
            tls: self.client.tls_info(),
            startup: self.client.startup.as_ref(),
            now,
        };
        let verdict = match &mut self.hook.policy {
            Some(policy) => policy.connection(&facts),
            None => Verdict::Allow,
        };
        match verdict {
            Verdict::Allow => false,
            Verdict::Deny(denial) => {
                let tell = denial.tell(sqlstate::INVALID_AUTHORIZATION);
                let cause = CloseCause::ConnectionDenied(tell.state);
                self.end(now, cause, Some(tell));
                true
            }
        }
    }

    /// Asks the policy about the client's next message, whose header is the beginning of `input`. What has to happen
    /// before it may be sent on; `None` when it may be.
    pub(super) fn judge(&mut self, header: Header, input: &[u8]) -> Option<Demand> {
        let kind = match header.tag {
            tag::QUERY => StatementKind::Query,
            tag::PARSE => StatementKind::Parse,
            _ => return None,
        };
        let asks = self.hook.policy.is_some() && matches!(self.requests.judged, Judged::NotYet);
        if !asks {
            return None;
        }
        let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
        let text = match header.split(input) {
            Some((body, _)) => text_in(header.tag, body),
            None if frame <= self.config.limits.read_buffer => return Some(Demand::Bytes(frame)),
            None => StatementText::TooLong,
        };
        if self.settings_are_due(text) {
            return Some(self.wait_for_answers());
        }
        let verdict = self.ask_about(kind, text);
        let (judged, demand) = match verdict {
            Verdict::Allow => (Judged::Allowed, None),
            Verdict::Deny(denial) => (Judged::Denied(denial), Some(Demand::Again)),
        };
        self.requests.judged = judged;
        demand
    }

    fn ask_about(&mut self, kind: StatementKind, text: StatementText<'_>) -> Verdict {
        let unreadable = |why| Intent {
            class: Class::Unreadable,
            ..Intent::opaque(why)
        };
        let intent = match text {
            StatementText::Whole(text) => self.intent_of(text),
            StatementText::TooLong => unreadable(Why::TooLong).into(),
            StatementText::Malformed => unreadable(Why::UnknownForm).into(),
        };
        let request = self.requests.next_number();
        let startup = self.client.startup.as_ref();
        let facts = StatementFacts {
            kind,
            text,
            intent: &intent,
            user: startup.map_or(&[], StartupParams::user),
            database: startup.map_or(&[], StartupParams::database),
            request,
        };
        match &mut self.hook.policy {
            Some(policy) => policy.statement(&facts),
            None => Verdict::Allow,
        }
    }

    /// Whether answers are to come that may change what a text means.
    fn settings_are_due(&self, text: StatementText<'_>) -> bool {
        match text {
            StatementText::Whole(text) if !super::metadata::is_plain(text) => {
                self.owes_client(LegId::Writer) && self.will_answer(LegId::Writer)
            }
            StatementText::Whole(_) | StatementText::TooLong | StatementText::Malformed => false,
        }
    }

    /// Ends the session of a client whose next message is denied, when it has what it is owed for those before.
    pub(super) fn deny(&mut self, now: Instant, denial: Denial) -> Demand {
        if self.answers_are_due() {
            return self.wait_for_answers();
        }
        let tell = denial.tell(sqlstate::INSUFFICIENT_PRIVILEGE);
        let cause = CloseCause::StatementDenied(tell.state);
        self.end(now, cause, Some(tell));
        Demand::Again
    }
}

fn text_in(frame: u8, body: &[u8]) -> StatementText<'_> {
    match Frontend::parse(frame, body) {
        Ok(Frontend::Query(query)) => StatementText::Whole(query.text),
        Ok(Frontend::Parse(parse)) => StatementText::Whole(parse.text),
        Ok(_) | Err(_) => StatementText::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_bounded_and_can_be_sent() {
        let most = "x".repeat(limits::DENIAL_MESSAGE_MAX);
        assert_eq!(Denial::new(most.clone()).message, most);
        assert_eq!(Denial::new(most.clone() + "x").message, most);
        let before = "x".repeat(limits::DENIAL_MESSAGE_MAX - 1);
        assert_eq!(Denial::new(format!("{before}é")).message, before);
        assert_eq!(Denial::new("no\0 way").message, "no");
        let state = |bytes: &[u8; 5]| Denial::new("").with_sqlstate(SqlState(*bytes)).state;
        assert_eq!(state(b"P0001"), Some(SqlState(*b"P0001")));
        for bytes in [b"28\x0000", b"28 00", b"p0001"] {
            assert_eq!(state(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[allow(clippy::disallowed_methods, reason = "no outcome depends on which")]
    fn some_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn texts_are_not_shown() {
        let text = StatementText::Whole(b"select hidden");
        let intent = Intent::opaque(Why::UnknownForm);
        let facts = StatementFacts {
            kind: StatementKind::Query,
            text,
            intent: &intent,
            user: b"alice",
            database: b"app",
            request: 1,
        };
        let startup = [(&b"user"[..], &b"alice"[..]), (b"options", b"-c a=hidden")];
        let version = crate::startup::ProtocolVersion::V3_0;
        let startup = StartupParams::build(version, startup).unwrap();
        let connection = ConnectionFacts {
            kind: ConnectionKind::Requests,
            address: None,
            tls: None,
            startup: Some(&startup),
            now: some_instant(),
        };
        let denial = Denial::new("hidden");
        let judged = Judged::Denied(denial.clone());
        let shown = format!("{text:?} {facts:?} {connection:?} {denial:?} {judged:?}");
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
