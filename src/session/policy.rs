//! What the caller allows: sessions, and the statements in them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::client::SessionKind;
use super::effects::Prepared;
use super::policy_login::{LoginAsked, LoginFacts};
use super::segment::text_of;
use super::statement::{Statement, StatementFacts, StatementText};
use super::{CloseCause, Demand, Session, Tell, TlsInfo};
use crate::limits;
use crate::route::{Class, Intent, Route, Why};
use crate::startup::StartupParams;
use crate::track::prepared::key;
use crate::wire::{Header, Severity, SqlState, sqlstate};

/// Allows or denies what a client wants, before any server hears of it.
///
/// A session has one of its own ([`Session::set_policy`]), so a policy may count and remember. Every method allows everything
/// unless it is written. They are called in the middle of [`Session::handle_input`], so they have to answer at once.
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

    /// What servers get in the place of the client's StartupMessage; `None` for that itself, byte for byte. Called once, right
    /// behind [`connection`](Policy::connection) when that has allowed the client and its message is known.
    ///
    /// Only `database` and `options` may differ, be there or not: the version, the user and all else come as the client has
    /// sent them, in their order. Anything else ends the session as the caller's mistake ([`CloseCause::Misuse`]). The session
    /// goes by the new message from then on: every login to a server, on a move too, and what the other methods are told.
    /// [`Session::client_startup`] is what the client sent. [`ClusterIdent::of`](crate::startup::ClusterIdent::of) makes such a
    /// message.
    ///
    /// # Errors
    ///
    /// Why the client is denied its session after all; it is told as in [`connection`](Policy::connection).
    fn upstream_startup(
        &mut self,
        connection: &ConnectionFacts<'_>,
    ) -> Result<Option<StartupParams>, Denial> {
        let _ = connection;
        Ok(None)
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

    /// Whether a message may be sent on that runs or prepares something. Called for each Query, Parse, Bind, Execute and
    /// FunctionCall ([`Statement`]), in order and once, when those before it were sent on and nothing of it was; for what a
    /// server is going to skip, too. What is dropped because the reader that had the beginning of its batch is lost goes
    /// nowhere, and may not be asked for.
    ///
    /// A message that is denied reaches no server. In its place the server is sent one of the same kind that it is sure to
    /// refuse, and the client gets the [`Denial`], as an ERROR with SQLSTATE `42501` unless it has another, where the
    /// server's ErrorResponse would stand. Everything else is as if the server itself had refused the client's message:
    /// replies keep their order, an open transaction has failed, a pipeline is skipped up to its Sync and what it did is
    /// rolled back, and the session goes on. Behind an error, where a server skips what it is sent, the client is not told.
    /// If a reader is lost that had not yet answered, the client is told of that instead. The server's log has the
    /// words `denied by a policy of the proxy`, except for a FunctionCall, in whose place function 0 is called.
    ///
    /// [`Verdict::Close`] ends the session ([`CloseCause::StatementDenied`]): the client gets what it is owed for earlier
    /// requests, then a FATAL error. What an open batch or transaction did before, the server rolls back when its
    /// connection closes.
    ///
    /// What a policy cannot see: sessions that pass whole (replication, which runs SQL too, and encryption that is handed
    /// through: [`ConnectionKind`]), and what functions, `DO` and `EXECUTE` run inside a statement.
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
    /// It may not, and the client is told. A statement leaves the session usable; a client that is denied a session has
    /// none.
    Deny(Denial),
    /// It may not, and the session ends with these words.
    Close(Denial),
}

/// What a client is told that is denied something.
///
/// Of each text the client gets so many bytes as [`limits::DENIAL_MESSAGE_MAX`] says, up to a NUL.
#[derive(Clone, PartialEq, Eq)]
pub struct Denial {
    state: Option<SqlState>,
    message: Box<str>,
    detail: Option<Box<str>>,
    hint: Option<Box<str>>,
}

impl Denial {
    /// A denial in these words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Denial {
        Denial {
            state: None,
            message: bounded(message.into()),
            detail: None,
            hint: None,
        }
    }

    /// The same with this SQLSTATE. One that is not made of digits and capital letters is no SQLSTATE and counts for nothing.
    #[must_use]
    pub fn with_sqlstate(self, state: SqlState) -> Denial {
        let fits = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        let state = Some(state).filter(|state| state.0.iter().all(fits));
        Denial { state, ..self }
    }

    /// The same with more about the problem, which clients show below the message.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Denial {
        Denial {
            detail: Some(bounded(detail.into())),
            ..self
        }
    }

    /// The same with a suggestion of what to do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Denial {
        Denial {
            hint: Some(bounded(hint.into())),
            ..self
        }
    }

    /// The SQLSTATE that the client gets for a statement.
    pub(super) fn statement_state(&self) -> SqlState {
        self.state.unwrap_or(sqlstate::INSUFFICIENT_PRIVILEGE)
    }

    pub(super) fn fatal(self, default: SqlState) -> Tell {
        let state = self.state.unwrap_or(default);
        Tell {
            severity: Severity::Fatal,
            ..self.error(state)
        }
    }

    /// The error for a statement.
    pub(super) fn tell(self) -> Tell {
        let state = self.statement_state();
        self.error(state)
    }

    fn error(self, state: SqlState) -> Tell {
        Tell {
            detail: self.detail.map(String::from),
            hint: self.hint.map(|hint| String::from(hint).into()),
            ..Tell::error(state, self.message)
        }
    }

    /// Bytes of its texts.
    pub(super) fn len(&self) -> usize {
        let of = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let more = of(&self.detail).saturating_add(of(&self.hint));
        self.message.len().saturating_add(more)
    }
}

/// So much of a text as a client gets.
fn bounded(mut text: String) -> Box<str> {
    let mut end = text.find('\0').unwrap_or(text.len());
    end = end.min(limits::DENIAL_MESSAGE_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    text.into_boxed_str()
}

/// Shows the length of its texts, which may repeat what the client has sent.
impl std::fmt::Debug for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Denial")
            .field("state", &self.state)
            .field("bytes", &self.len())
            .finish()
    }
}

/// What a session would consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionKind {
    /// Requests, which are shown to [`Policy::statement`].
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

/// The caller's policy, if there is one, and what only the driver knows of the client.
#[derive(Default)]
pub(super) struct Hook {
    pub(super) policy: Option<Box<dyn Policy>>,
    pub(super) address: Option<IpAddr>,
    pub(super) endpoint: Option<SocketAddr>,
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
    Denied(Box<Refused>),
    /// The session ends.
    Closing(Denial),
}

/// A message of the client's that is denied, and what is told of it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) denial: Denial,
    pub(super) intent: Arc<Intent>,
    pub(super) request: u64,
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

    /// Says where the client connects from, with its port: for the policy, and for servers of CockroachDB, which are told
    /// ([`Config::dialect`](super::Config::dialect)).
    pub fn set_client_endpoint(&mut self, endpoint: SocketAddr) {
        self.hook.address = Some(endpoint.ip());
        self.hook.endpoint = Some(endpoint);
    }

    /// Asks the policy about the client that has opened the session. Whether it may not go on; it is told then.
    pub(super) fn is_denied(&mut self, now: Instant) -> bool {
        let facts = ConnectionFacts {
            kind: match self.client.kind {
                SessionKind::Requests | SessionKind::OutOfSync => ConnectionKind::Requests,
                SessionKind::Stream => ConnectionKind::Replication,
                SessionKind::Opaque => ConnectionKind::Encrypted,
            },
            address: self.hook.address,
            tls: self.client.tls_info(),
            startup: self.client.startup.as_ref(),
            now,
        };
        let Some(policy) = &mut self.hook.policy else {
            return false;
        };
        let asked = match policy.connection(&facts) {
            Verdict::Allow if facts.startup.is_some() => policy.upstream_startup(&facts),
            Verdict::Allow => Ok(None),
            Verdict::Deny(denial) | Verdict::Close(denial) => Err(denial),
        };
        match asked {
            Ok(None) => false,
            Ok(Some(startup)) => self.is_not_rewritten(now, startup),
            Err(denial) => {
                let tell = denial.fatal(sqlstate::INVALID_AUTHORIZATION);
                let cause = CloseCause::ConnectionDenied(tell.state);
                self.end(now, cause, Some(tell));
                true
            }
        }
    }

    /// Whether there is a policy that statements are shown to.
    pub(super) fn is_judged(&self) -> bool {
        self.hook.policy.is_some()
    }

    /// Asks the policy about the client's next message, whose header is the beginning of `input`. What has to happen
    /// before it may be dealt with; `None` when it may be.
    pub(super) fn judge(&mut self, header: Header, input: &[u8]) -> Option<Demand> {
        if !self.is_judged() || !matches!(self.requests.judged, Judged::NotYet) {
            return None;
        }
        let needed = Statement::needs(header, self.config.limits.read_buffer)?;
        let Some(bytes) = input.get(Header::LEN..needed) else {
            return Some(Demand::Bytes(needed));
        };
        let whole = header.split(input).is_some();
        let statement = Statement::read(header.tag, bytes, whole)?;
        if self.settings_are_due(&statement) || self.definition_is_due(&statement) {
            return Some(self.wait_for_answers());
        }
        self.requests.judged = self.ask_about(statement);
        match self.requests.judged {
            Judged::Closing(_) => Some(Demand::Again),
            Judged::NotYet | Judged::Allowed | Judged::Denied(_) => None,
        }
    }

    fn ask_about(&mut self, statement: Statement<'_>) -> Judged {
        let prepared = self.prepared_for(&statement);
        let statement = match prepared.as_ref().and_then(|known| text_of(&known.body)) {
            Some(text) => statement.with_text(StatementText::Whole(text)),
            None => statement,
        };
        let intent = match prepared.as_ref() {
            Some(known) => Arc::clone(&known.meta),
            None => self.intent_of_unprepared(&statement),
        };
        let request = self.requests.next_number();
        let startup = self.client.startup.as_ref();
        let facts = StatementFacts {
            statement,
            intent: &intent,
            lex: self.lex_now(),
            user: startup.map_or(&[], StartupParams::user),
            database: startup.map_or(&[], StartupParams::database),
            request,
        };
        let verdict = match &mut self.hook.policy {
            Some(policy) => policy.statement(&facts),
            None => Verdict::Allow,
        };
        match verdict {
            Verdict::Allow => Judged::Allowed,
            Verdict::Deny(denial) => Judged::Denied(Box::new(Refused {
                denial,
                intent,
                request,
            })),
            Verdict::Close(denial) => Judged::Closing(denial),
        }
    }

    fn intent_of_unprepared(&mut self, statement: &Statement<'_>) -> Arc<Intent> {
        let unreadable = |why| {
            Arc::new(Intent {
                class: Class::Unreadable,
                ..Intent::opaque(why)
            })
        };
        match statement.text() {
            None => Arc::new(Intent::opaque(Why::UnknownFunction)),
            Some(StatementText::Whole(text)) => self.intent_of(text),
            Some(StatementText::TooLong) => unreadable(Why::TooLong),
            Some(StatementText::Malformed | StatementText::Unknown) => unreadable(Why::UnknownForm),
        }
    }

    /// The prepared statement that a message binds or runs, if it is known.
    fn prepared_for(&self, statement: &Statement<'_>) -> Option<Prepared> {
        match statement {
            Statement::Bind {
                statement,
                text: StatementText::Unknown,
                ..
            } => {
                let meaning = self.memory.statements.meaning(key(statement));
                meaning.definition.cloned()
            }
            Statement::Execute {
                portal,
                text: StatementText::Unknown,
            } => self.memory.portals.get(key(portal)).cloned(),
            Statement::Query { .. }
            | Statement::Parse { .. }
            | Statement::Bind { .. }
            | Statement::Execute { .. }
            | Statement::FunctionCall { .. } => None,
        }
    }

    /// Whether answers are to come that may change what a text means.
    fn settings_are_due(&self, statement: &Statement<'_>) -> bool {
        match statement.text() {
            Some(StatementText::Whole(text)) if !super::metadata::is_plain(text) => {
                self.owes_client(self.writer()) && self.will_answer(self.writer())
            }
            Some(_) | None => false,
        }
    }

    /// Whether answers are to come that may change which statement a Bind means.
    fn definition_is_due(&self, statement: &Statement<'_>) -> bool {
        let Statement::Bind { statement, .. } = statement else {
            return false;
        };
        self.memory.statements.is_doubtful(key(statement)) && self.answers_are_due()
    }

    /// Ends the session of a client whose next message is its last, when it has what it is owed for those before.
    pub(super) fn close_denied(&mut self, now: Instant, denial: Denial) -> Demand {
        if self.answers_are_due() {
            return self.wait_for_answers();
        }
        let tell = denial.fatal(sqlstate::INSUFFICIENT_PRIVILEGE);
        let cause = CloseCause::StatementDenied(tell.state);
        self.end(now, cause, Some(tell));
        Demand::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_bounded_and_can_be_sent() {
        let most = "x".repeat(limits::DENIAL_MESSAGE_MAX);
        let kept = |text: String| {
            let denial = Denial::new(text.clone());
            let denial = denial.with_detail(text.clone()).with_hint(text);
            let tell = denial.tell();
            assert_eq!(tell.detail.as_ref(), Some(&tell.message));
            assert_eq!(tell.hint.as_deref(), Some(tell.message.as_str()));
            tell.message
        };
        assert_eq!(kept(most.clone()), most);
        assert_eq!(kept(most.clone() + "x"), most);
        let before = "x".repeat(limits::DENIAL_MESSAGE_MAX - 1);
        assert_eq!(kept(format!("{before}é")), before);
        assert_eq!(kept("no\0 way".to_owned()), "no");
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
            statement: Statement::Query { text },
            intent: &intent,
            lex: crate::route::LexState::defaults(),
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
        let denial = Denial::new("hidden").with_detail("hidden");
        let denial = denial.with_hint("hidden");
        let judged = Judged::Denied(Box::new(Refused {
            denial: denial.clone(),
            intent: Arc::new(Intent::opaque(Why::UnknownForm)),
            request: 1,
        }));
        let shown = format!("{text:?} {facts:?} {connection:?} {denial:?} {judged:?}");
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
