//! What a session is told once: its upstreams, policies and bounds.

use std::sync::Arc;
use std::time::Duration;

use super::ConfigError;
use super::choices::{
    DefaultIsolation, LostReads, Metadata, Moves, Optimistic, OutOfSync, ReadOnlyTransactions,
    ReadYourWrites, ReaderFailure, ReaderOpen, RelayedPassword, RequestEvents, RouteTexts, Split,
    WriterFailure, WriterRetry,
};
use crate::auth::{AdmitPolicy, Channel, Method, Methods, UpstreamUsers, Users};
#[cfg(feature = "scram")]
use crate::cancel::CancelRing;
use crate::ledger::LedgerLimits;
use crate::limits;
use crate::migrate::Dialect;
use crate::route::{CacheLimits, ReaderChoice, Rules, TableUse};
use crate::startup::{ClientTls, RESERVED_PARAMETERS, TlsNegotiation, UpstreamTlsPolicy};
use crate::track::prepared::StatementLimits;
use crate::track::settings::JournalLimits;
use crate::wire::Header;

/// What an upstream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The primary: every statement may run there.
    Writer,
    /// A standby of it: proven reads may run there.
    Reader,
    /// Nothing, until a session is moved there ([`Session::migrate`](super::Session::migrate)).
    Spare,
}

/// A server that sessions can be sent to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name in logs and events; the core never resolves it.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Whether its connections are encrypted.
    pub tls: UpstreamTlsPolicy,
    /// How their encryption begins.
    pub tls_negotiation: TlsNegotiation,
    /// How it may let us in when we log in on behalf of a client; `None` for what suits the credential
    /// ([`Methods::for_credential`]).
    pub methods: Option<Methods>,
}

/// Who checks that a client is who it says.
#[derive(Debug, Default)]
pub enum ClientAuth {
    /// The gate: the client logs in to it through us.
    #[default]
    Relay,
    /// We do, by [`Config::users`]. Upstreams are logged in to in the client's name then, with what its proof has shown or
    /// what is listed.
    Terminate(AdmitPolicy),
}

/// Where it is looked up what a client has to prove, when we check it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserSource {
    /// In [`Config::users`].
    #[default]
    Listed,
    /// The caller finds it, at leisure: [`Action::FindUser`](super::Action::FindUser).
    Caller,
}

/// Which upstream the client logs in to through us, or we first in its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// The writer. The reader is logged in to afterwards, when it is first needed or at once.
    #[default]
    Writer,
    /// The reader. The writer is logged in to before the client is told that it may begin.
    Reader,
}

/// How long each phase may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the client's first byte to the end of its login.
    pub login: Duration,
    /// From a dial to an open connection, TLS included.
    pub dial: Duration,
    /// From an open connection to the end of our login there.
    pub replay: Duration,
    /// From the end of a session to the forced close of its connections.
    pub drain: Duration,
    /// From a shutdown to the end of the requests that were in flight.
    pub shutdown: Duration,
    /// From the loss of a reader to the next try.
    pub reader_retry: Duration,
    /// From the sending of a cancel to the end of its connection: so long an upstream gets nothing
    /// ([`Session::cancel_begins`](super::Session::cancel_begins)).
    pub cancel: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            login: limits::LOGIN_TIMEOUT,
            dial: limits::DIAL_TIMEOUT,
            replay: limits::REPLAY_TIMEOUT,
            drain: limits::DRAIN_TIMEOUT,
            shutdown: limits::SHUTDOWN_TIMEOUT,
            reader_retry: limits::READER_RETRY,
            cancel: limits::CANCEL_TIMEOUT,
        }
    }
}

/// How much one session may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The size in bytes of the driver's read buffer for each peer: a request that fits it is looked at whole.
    /// The driver promises at least this much.
    pub read_buffer: usize,
    /// The longest body of a startup packet in bytes, its length word not counted; more than a server takes
    /// ([`limits::STARTUP_BODY_MAX`]) counts as that much. A client with a longer one is closed without an answer.
    pub startup_body: u32,
    /// The longest message of the client in bytes, tag and length word included; more than a server takes
    /// ([`limits::MESSAGE_LENGTH_MAX`]) counts as that much. A longer one ends the session with an error (`08P01`) when its
    /// header has come, so nothing is buffered or sent on of it.
    pub client_message: u32,
    /// The same for the messages of an upstream. A longer one ends the session with an error, or, when it is the
    /// reader's, the use of the reader. Logins have narrower limits; sessions that pass whole have none. What servers answer
    /// when a session moves has limits of its own ([`limits::PROBE_ROW_MAX`]).
    pub server_message: u32,
    /// Requests sent to one upstream and not answered, past which the client is not read.
    pub requests_in_flight: usize,
    /// The same for a reader. Each of them has to be answered with an error if it is lost, within
    /// [`LedgerLimits::owned_bytes_per_queue`].
    pub reader_requests_in_flight: usize,
    /// The queues of bytes between peers.
    pub ledger: LedgerLimits,
    /// The prepared statements that are remembered.
    pub statements: StatementLimits,
    /// The settings that are remembered.
    pub journal: JournalLimits,
    /// Portals whose statements are remembered.
    pub portals: usize,
    /// The texts whose intents are remembered.
    pub texts: CacheLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            read_buffer: limits::READ_BUFFER,
            startup_body: limits::STARTUP_BODY_MAX,
            client_message: limits::MESSAGE_LENGTH_MAX.saturating_add(1),
            server_message: Header::FRAME_LEN_MAX,
            requests_in_flight: limits::REQUESTS_IN_FLIGHT,
            reader_requests_in_flight: limits::READER_REQUESTS_IN_FLIGHT,
            ledger: LedgerLimits::default(),
            statements: StatementLimits {
                names: limits::STATEMENTS,
                bytes: limits::STATEMENT_BYTES,
                on_reader: limits::READER_STATEMENTS,
                body: limits::STATEMENT_BODY,
            },
            journal: JournalLimits {
                entries: limits::JOURNAL_ENTRIES,
                bytes: limits::JOURNAL_BYTES,
                savepoints: limits::JOURNAL_SAVEPOINTS,
            },
            portals: limits::PORTALS,
            texts: CacheLimits {
                texts: limits::SESSION_TEXTS,
                bytes: limits::SESSION_TEXT_BYTES,
                ..CacheLimits::default()
            },
        }
    }
}

impl Limits {
    /// Whether messages have to be shorter than the protocol allows.
    fn limits_messages(&self) -> bool {
        let most = Limits::default();
        self.client_message < most.client_message || self.server_message < most.server_message
    }

    /// What [`LedgerLimits::owned_bytes_per_queue`] has to be at least.
    fn owned_min(&self) -> usize {
        let repeated = self.statements.body.max(self.journal.bytes);
        let errors = self
            .reader_requests_in_flight
            .saturating_mul(limits::LOST_REQUEST);
        repeated
            .saturating_mul(2)
            .max(errors)
            .max(limits::LEDGER_OWNED_MIN)
    }
}

/// Everything that a session is told once; shared by all sessions of a proxy.
///
/// What Envoy's PostgreSQL filter can be told about TLS, in the words of this crate. Its modes for upstreams know no
/// fallback, so there are more of ours than of its.
///
/// | Envoy | here |
/// | --- | --- |
/// | `terminate_ssl: false`, nothing else | [`client_tls`](Config::client_tls): [`ClientTls::Passthrough`] |
/// | `terminate_ssl: true` (deprecated there) | [`ClientTls::Allow`] |
/// | `downstream_ssl: DISABLE` | [`ClientTls::Passthrough`]: SSLRequest is sent on |
/// | `downstream_ssl: ALLOW` | [`ClientTls::Allow`] |
/// | `downstream_ssl: REQUIRE` | [`ClientTls::Require`]; GSSENCRequest is no way around it |
/// | `terminate_ssl: true` with `downstream_ssl: DISABLE` | cannot be written: one field says it |
/// | none: Envoy never answers `N` | [`ClientTls::Disable`] |
/// | `upstream_ssl: DISABLE` | [`Upstream::tls`]: [`UpstreamTlsPolicy::Disable`] |
/// | `upstream_ssl: ALLOW`, which acts as `DISABLE` | [`UpstreamTlsPolicy::Disable`]; [`UpstreamTlsPolicy::Allow`] does what libpq's `allow` does |
/// | `upstream_ssl: REQUIRE`, the cluster's context without trusted authorities | [`UpstreamTlsPolicy::Require`] |
/// | `upstream_ssl: REQUIRE`, the cluster's context with them | [`UpstreamTlsPolicy::VerifyCa`] |
/// | the same, and the context says what names to accept | [`UpstreamTlsPolicy::VerifyFull`] |
/// | none | [`UpstreamTlsPolicy::Prefer`], [`Upstream::tls_negotiation`] |
#[derive(Debug)]
pub struct Config {
    /// The servers; exactly one is the writer.
    pub upstreams: Vec<Upstream>,
    /// Who checks that a client is who it says.
    pub authentication: ClientAuth,
    /// Over what the password of a relayed login goes to the gate.
    pub relayed_password: RelayedPassword,
    /// Which of them the client logs in to.
    pub gate: Gate,
    /// Whether reads are split off.
    pub split: Split,
    /// Whether unproven reads are tried on the reader.
    pub optimistic: Optimistic,
    /// Where transactions run that are begun READ ONLY.
    pub read_only_transactions: ReadOnlyTransactions,
    /// What becomes of a read whose reader is lost.
    pub lost_reads: LostReads,
    /// Whether a reader is asked if the session may read there.
    pub default_isolation: DefaultIsolation,
    /// Whether reads wait for a reader that has the session's writes.
    pub read_your_writes: ReadYourWrites,
    /// Whether clients are offered TLS.
    pub client_tls: ClientTls,
    /// Names that a client's StartupMessage must not have, in any case, nor in its `options`; one that does is refused.
    /// By default [`RESERVED_PARAMETERS`].
    pub reserved: Vec<Box<[u8]>>,
    /// When the reader is dialled.
    pub reader_open: ReaderOpen,
    /// Which of several readers a session uses, and how far one may lag. It is chosen when it is dialled, by what
    /// [`Session::handle_readers`](super::Session::handle_readers) was told.
    pub reader_choice: ReaderChoice,
    /// What happens when it cannot be had.
    pub reader_failure: ReaderFailure,
    /// What happens when the writer cannot be had while a client logs in.
    pub writer_failure: WriterFailure,
    /// Whether it is dialled again first.
    pub writer_retry: WriterRetry,
    /// What follows when a stream makes no sense any more.
    pub out_of_sync: OutOfSync,
    /// With what further upstreams are logged in to, and what clients are measured by if we check them.
    pub users: Users,
    /// Where a client is looked up that we check.
    pub user_source: UserSource,
    /// Whom the upstreams know as somebody else than we do. Only for clients that we check: one whose login is relayed has
    /// told the gate its own name.
    pub upstream_users: UpstreamUsers,
    /// Which functions are reads.
    pub rules: Arc<Rules>,
    /// What events show.
    pub route_texts: RouteTexts,
    /// Whether events tell the tables of statements.
    pub metadata: Metadata,
    /// Whether events tell when requests begin and end.
    pub request_events: RequestEvents,
    /// Whether sessions may be moved to other servers.
    pub moves: Moves,
    /// Whose servers they are, which decides how sessions move.
    ///
    /// CockroachDB's are told where each client is ([`Session::set_client_endpoint`](super::Session::set_client_endpoint)),
    /// and what a client says of that itself, or a token of its own, is refused.
    pub dialect: Dialect,
    /// What makes the clients' cancel keys name this instance of a fleet; without it they are random. To change the
    /// ring's secret, give new sessions another configuration.
    #[cfg(feature = "scram")]
    pub cancel_ring: Option<Arc<CancelRing>>,
    /// How much a session may hold.
    pub limits: Limits,
    /// How long its phases may take.
    pub timeouts: Timeouts,
}

impl Config {
    /// A configuration with defaults for everything but the servers.
    pub fn new(upstreams: Vec<Upstream>) -> Config {
        Config {
            upstreams,
            authentication: ClientAuth::default(),
            relayed_password: RelayedPassword::default(),
            gate: Gate::default(),
            split: Split::default(),
            optimistic: Optimistic::default(),
            read_only_transactions: ReadOnlyTransactions::default(),
            lost_reads: LostReads::default(),
            default_isolation: DefaultIsolation::default(),
            read_your_writes: ReadYourWrites::default(),
            client_tls: ClientTls::Disable,
            reserved: RESERVED_PARAMETERS.iter().copied().map(Box::from).collect(),
            reader_open: ReaderOpen::default(),
            reader_choice: ReaderChoice::default(),
            reader_failure: ReaderFailure::default(),
            writer_failure: WriterFailure::default(),
            writer_retry: WriterRetry::default(),
            out_of_sync: OutOfSync::default(),
            users: Users::default(),
            user_source: UserSource::default(),
            upstream_users: UpstreamUsers::default(),
            rules: Arc::default(),
            route_texts: RouteTexts::default(),
            metadata: Metadata::default(),
            request_events: RequestEvents::default(),
            moves: Moves::default(),
            dialect: Dialect::default(),
            #[cfg(feature = "scram")]
            cancel_ring: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// Checks that the parts go together. A session of a configuration that fails this ends at once.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), ConfigError> {
        let writers = self
            .upstreams
            .iter()
            .filter(|upstream| upstream.role == Role::Writer)
            .count();
        if writers != 1 {
            return Err(ConfigError::Writers);
        }
        if self.gate == Gate::Reader && self.readers().next().is_none() {
            return Err(ConfigError::GateWithoutReader);
        }
        let declinable = |upstream: &Upstream| {
            upstream.tls_negotiation == TlsNegotiation::Direct && !upstream.tls.requires_tls()
        };
        if self.upstreams.iter().any(declinable) {
            return Err(ConfigError::DirectTls);
        }
        if self.dialect == Dialect::Cockroach
            && self.split == Split::On
            && self.readers().next().is_some()
        {
            return Err(ConfigError::CockroachSplit);
        }
        self.check_policy()?;
        if self.limits.requests_in_flight < limits::REQUESTS_IN_FLIGHT_MIN {
            return Err(ConfigError::RequestsInFlight {
                least: limits::REQUESTS_IN_FLIGHT_MIN,
            });
        }
        if self.limits.ledger.segments_per_queue < limits::LEDGER_SEGMENTS_MIN {
            return Err(ConfigError::LedgerSegments {
                least: limits::LEDGER_SEGMENTS_MIN,
            });
        }
        let least = self.limits.owned_min();
        if self.limits.ledger.owned_bytes_per_queue < least {
            return Err(ConfigError::LedgerOwned { least });
        }
        if self.rules.begin_read_only() {
            return Err(ConfigError::BeginReadOnly);
        }
        if self.limits.read_buffer < limits::READ_BUFFER_MIN {
            return Err(ConfigError::ReadBuffer {
                least: limits::READ_BUFFER_MIN,
            });
        }
        if self.limits.startup_body < limits::STARTUP_BODY_LEAST {
            return Err(ConfigError::StartupBody {
                least: limits::STARTUP_BODY_LEAST,
            });
        }
        let longest = self.limits.client_message.min(self.limits.server_message);
        if usize::try_from(longest).is_ok_and(|longest| longest < limits::READ_BUFFER_MIN) {
            return Err(ConfigError::MessageLength {
                least: limits::READ_BUFFER_MIN,
            });
        }
        if self.writer_retry.times() > limits::WRITER_RETRIES_MAX {
            return Err(ConfigError::WriterRetries {
                most: limits::WRITER_RETRIES_MAX,
            });
        }
        let limited = self.limits.limits_messages();
        if self.out_of_sync == OutOfSync::Passthrough && limited {
            return Err(ConfigError::PassedUnlimited);
        }
        Ok(())
    }

    /// Checks that some client can pass the check of clients, and that none can go around it.
    fn check_policy(&self) -> Result<(), ConfigError> {
        let own_names = self.upstream_users.is_empty() && self.user_source == UserSource::Listed;
        let policy = match &self.authentication {
            ClientAuth::Terminate(policy) => policy,
            ClientAuth::Relay if own_names => return Ok(()),
            ClientAuth::Relay => return Err(ConfigError::RelayedUsers),
        };
        match (policy.weakest(), self.client_tls) {
            (_, ClientTls::Passthrough) => Err(ConfigError::TerminateUnread),
            (None, _) => Err(ConfigError::NoMethod),
            (Some(Channel::Tls | Channel::VerifiedTls), ClientTls::Disable) => {
                Err(ConfigError::MethodsNeedTls)
            }
            (Some(_), ClientTls::Disable | ClientTls::Allow | ClientTls::Require) => Ok(()),
        }
    }

    /// Bytes that one session never exceeds, the driver's read buffers and TLS not counted.
    ///
    /// It is reached only by a client that fills everything it can at once; an idle session holds a few KiB.
    pub fn memory_bound(&self) -> usize {
        let limits = &self.limits;
        let ports = super::leg::ports(self.moves);
        let requests = limits
            .requests_in_flight
            .saturating_mul(super::effects::REQUEST_BYTES)
            .saturating_mul(super::leg::SERVING);
        let portals = limits.portals.saturating_mul(limits.statements.body);
        let texts =
            crate::route::Cache::new(Arc::clone(&self.rules), limits.texts, 0).memory_bound();
        [
            limits.ledger.memory_bound(ports),
            limits.statements.bytes,
            (limits.statements.names).saturating_mul(limits::STATEMENT_HELD),
            limits.journal.bytes.saturating_mul(2),
            // For what is set under them, and for the portals.
            (limits.journal.savepoints).saturating_mul(limits::SAVEPOINT_HELD.saturating_mul(2)),
            requests,
            portals,
            texts,
            self.metadata_bound(),
            self.moves_bound(),
            self.refused_bound(),
            limits::DENIALS_IN_FLIGHT.saturating_mul(limits::DENIAL_MESSAGE_MAX.saturating_mul(3)),
            limits::LOGIN_EXCHANGES,
            self.read_only_bound(),
            self.upstreams
                .len()
                .saturating_mul(super::readers::HELD_PER_UPSTREAM),
            self.logins_bound(),
            // The client's StartupMessage beside what servers get in its place.
            usize::try_from(limits::STARTUP_BODY_MAX).unwrap_or(usize::MAX),
            limits::SESSION_FIXED,
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// What is kept of a transaction on the reader.
    fn read_only_bound(&self) -> usize {
        match self.read_only_transactions {
            ReadOnlyTransactions::Writer => 0,
            ReadOnlyTransactions::Reader => limits::READ_ONLY_SETTING_BYTES
                .saturating_add(limits::READ_ONLY_SETTINGS.saturating_mul(limits::READ_ONLY_HELD)),
        }
    }

    /// What logins hold beside the exchanges of SCRAM: each upstream's notices and, where the caller may answer for
    /// it, questions; a password that the client has shown; and what is known of each peer's handshake.
    fn logins_bound(&self) -> usize {
        let asks = |upstream: &Upstream| {
            let methods = upstream.methods.as_ref();
            methods.is_some_and(|methods| {
                let asked = methods.check(Method::External, Channel::VerifiedTls);
                asked.is_ok()
            })
        };
        let external = match self.upstreams.iter().any(asks) {
            true => limits::EXTERNAL_HELD,
            false => 0,
        };
        let password = match &self.authentication {
            ClientAuth::Terminate(policy) if policy.takes_passwords() => limits::PASSWORD_HELD,
            ClientAuth::Terminate(_) | ClientAuth::Relay => 0,
        };
        let legs = external.saturating_add(limits::LOGIN_NOTICES_HELD);
        let peers = usize::from(super::leg::ports(self.moves));
        legs.saturating_mul(peers.saturating_sub(1))
            .saturating_add(password)
            .saturating_add(limits::TLS_INFO_HELD.saturating_mul(peers))
    }

    /// What a move holds of the session's state.
    fn moves_bound(&self) -> usize {
        match (self.moves, self.dialect) {
            (Moves::Off, _) => 0,
            (Moves::On, Dialect::Postgres) => limits::MOVE_HELD,
            (Moves::On, Dialect::Cockroach) => limits::TRANSFER_HELD,
        }
    }

    /// The texts that a reader has refused, and those of a request that is tried.
    fn refused_bound(&self) -> usize {
        let texts = match (self.optimistic, self.lost_reads) {
            (Optimistic::Off, LostReads::Fail) => 0,
            (Optimistic::Off, LostReads::Again) | (Optimistic::On, _) => {
                limits::REFUSED_TEXTS.saturating_add(2)
            }
        };
        texts.saturating_mul(limits::TRIED_REQUEST.saturating_add(64))
    }

    /// The views that are kept, and those in events that the driver has not taken: tables are divided by commas, and
    /// none of their names is in the text twice.
    fn metadata_bound(&self) -> usize {
        let tables = limits::INSPECT_TOKENS_MAX / 2;
        let view = tables
            .saturating_mul(std::mem::size_of::<TableUse>().saturating_add(16))
            .saturating_add(limits::INSPECT_TEXT_MAX.saturating_mul(2));
        match self.metadata {
            Metadata::Off => 0,
            Metadata::On => {
                limits::METADATA_BYTES.saturating_add(view.saturating_mul(limits::ACTIONS))
            }
        }
    }

    /// The writer's place.
    pub(super) fn writer(&self) -> Option<super::Destination> {
        let at = self
            .upstreams
            .iter()
            .position(|upstream| upstream.role == Role::Writer)?;
        Some(super::Destination(at))
    }

    /// The readers' places.
    pub(super) fn readers(&self) -> impl Iterator<Item = super::Destination> {
        let numbered = self.upstreams.iter().enumerate();
        numbered
            .filter(|(_, upstream)| upstream.role == Role::Reader)
            .map(|(at, _)| super::Destination(at))
    }

    /// What one upstream is told about TLS.
    pub(super) fn tls(&self, to: super::Destination) -> UpstreamTlsPolicy {
        self.upstreams
            .get(to.0)
            .map_or(UpstreamTlsPolicy::Disable, |upstream| upstream.tls)
    }

    /// How one upstream's TLS begins.
    pub(super) fn tls_negotiation(&self, to: super::Destination) -> TlsNegotiation {
        self.upstreams
            .get(to.0)
            .map_or(TlsNegotiation::Postgres, |upstream| {
                upstream.tls_negotiation
            })
    }
}
