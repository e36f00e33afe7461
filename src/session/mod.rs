//! The composition: one client and its upstreams, as one state machine.
//!
//! A [`Session`] is fed what happened (`handle_*`) and says what to do (`poll_*`); `&self` methods state facts. It
//! owns no socket, no clock and no buffer of the bytes that pass through: the driver keeps one read buffer per peer,
//! shows the session what is in it, and moves bytes from there as [`Session::poll_transmit`] says.
//!
//! A peer that has lost the boundaries of its messages, or sends what cannot be at that moment, is not passed on unread unless
//! [`Config::out_of_sync`] says so: the client's session ends behind the answers that it is owed, with an error where one can
//! be sent; a reader is given up, and its requests are answered with errors; without its writer a session ends.
//! [`Session::lifecycle`] and [`Action::Close`] name the [`CloseCause`]. What only a server can judge, such as the body of a message whose length
//! is right, or a message of an unknown type, goes to it as it is. Whoever wants a stream that is passed on whatever it
//! holds lets it pass whole from its beginning ([`ClientTls::Passthrough`](crate::startup::ClientTls::Passthrough)).
//!
//! | file | what it decides |
//! |---|---|
//! | `client` | the opening of the client's connection and its login through the gate |
//! | `admit` | the client's login to ourselves, where it is not relayed |
//! | `tls` | what a driver says of a TLS connection |
//! | `whole` | sessions that pass unread: replication, and encryption that is not ours |
//! | `gate` | the login that the client and the gate do through us |
//! | `leg` | what an upstream is while it opens and serves |
//! | `upstream`, `login_failure` | dialling, TLS and login of each upstream, and what becomes of one that cannot be had |
//! | `policy`, `statement` | what the caller allows, and what it is shown of statements |
//! | `deny` | what a server is sent in the place of what is denied, and the client in the place of its answer |
//! | `readers` | which of several readers the session uses |
//! | `read_only` | what becomes of a session whose writer cannot be had |
//! | `retry` | whether it is dialled again |
//! | `cancelling` | what waits while a cancel is under way |
//! | `policy_login` | what the caller hears of a login |
//! | `out_of_sync` | what becomes of a stream that makes no sense any more |
//! | `parting` | the polite end of a session, at the driver's wish |
//! | `look`, `segment` | what the next request asks for, without claiming a byte of it, and what was seen of it |
//! | `decide` | which upstream it goes to, and what has to happen first |
//! | `explain` | where a text would go, without sending it |
//! | `requests` | the order of requests: batches, what is forced, what is dropped |
//! | `fresh` | whether a reader has what the session wrote |
//! | `part` | what a text would be to a READ ONLY transaction on the reader |
//! | `reader_transaction`, `begin_again` | such transactions, and what takes them to the writer |
//! | `trial` | unproven reads, tried on the reader |
//! | `forward` | in what order messages, ours and the client's, go there |
//! | `replies` | what each message of an upstream means and to whom it goes |
//! | `portals` | what the portals of a transaction run |
//! | `effects` | what a finished statement changes in what the session remembers |
//! | `tally` | what is counted |
//! | `metadata` | which tables statements use, for events |
//! | `spans` | when requests begin and end, for events |
//! | `moving` | whether the session moves to another server, and when |
//! | `move_ask`, `move_flow`, `move_end` | what is asked for that, what follows, and how it ends |
//! | `tags` | what the end of a statement says of it |
//! | `telling` | messages of ours to the client, and a second dial |
//! | `standing` | what a session is doing, for whoever operates a proxy |
//! | `loss` | what the client sees when somebody dies, and how a session ends |

mod action;
mod admit;
mod after_loss;
mod begin;
mod begin_again;
mod cancelling;
mod choices;
mod client;
mod config;
mod config_error;
mod decide;
mod deny;
mod effects;
mod explain;
mod forget;
mod forward;
mod fresh;
mod gate;
mod leg;
mod login_failure;
mod look;
mod loss;
mod metadata;
mod move_ask;
mod move_cockroach;
mod move_end;
mod move_flow;
mod moving;
mod out_of_sync;
mod outbox;
mod part;
mod parting;
mod peer;
mod policy;
mod policy_login;
mod portals;
mod read_only;
mod reader_transaction;
mod readers;
mod repair;
mod replies;
mod reported;
mod requests;
mod restore;
mod retry;
mod segment;
mod settings;
mod spans;
mod sql_prepare;
mod standing;
mod statement;
mod tags;
mod tally;
mod telling;
mod timers;
mod tls;
mod trial;
mod upstream;
mod whole;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

pub use action::{Action, CancelTarget, Demand, Event, Relayed, RouteReason, TlsRole, Transmit};
pub use cancelling::{CancelEnd, CancelTicket};
pub use choices::{
    DefaultIsolation, LostReads, Metadata, Moves, Optimistic, OutOfSync, ReadOnlyTransactions,
    ReadYourWrites, ReaderFailure, ReaderOpen, RelayedPassword, RequestEvents, RouteTexts, Split,
    WriterFailure, WriterRetry,
};
pub use config::{ClientAuth, Config, Gate, Limits, Role, Timeouts, Upstream, UserSource};
pub use config_error::ConfigError;
pub use explain::{Explanation, pins_of};
pub use metadata::StatementKind;
pub use moving::{Accept, MoveOrder, MoveStatus, MoveTarget};
pub use peer::{CloseCause, Destination, Lifecycle, PeerId};
pub use policy::{ConnectionFacts, ConnectionKind, Denial, Policy, Verdict};
pub use policy_login::{LoginFacts, LoginOutcome};
pub use standing::Activity;
pub use statement::{Statement, StatementFacts, StatementText};
pub use tally::Routes;
pub use timers::Timer;
pub use tls::{TlsFailed, TlsInfo};
pub use upstream::ConnectFailed;

use crate::auth::{AdmitNonces, ExternalAnswer};
use crate::ledger::{Fate, Ledger};
use crate::route::Route;
use crate::startup::{CancelKey, StartupParams};
use crate::wire::{Severity, sqlstate::SqlState};
use client::Client;
use effects::Memory;
use fresh::Freshness;
use leg::{Duty, Leg, LegId, PerLeg, Roles};
use metadata::Views;
use moving::Relocation;
use outbox::Outbox;
use parting::Parting;
use policy::Hook;
use read_only::Served;
use reader_transaction::ReaderTransaction;
use readers::Readers;
use requests::Requests;
use spans::Spans;
use tally::Tally;
use timers::Timers;

/// Randomness for one session, from the driver's cryptographic source: the cancel key, nonces and the choice of a
/// reader come from it. Two sessions must not share one.
#[derive(Clone)]
pub struct Seed([u8; Seed::LEN]);

impl Seed {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// A seed of random bytes.
    pub fn new(bytes: [u8; Seed::LEN]) -> Seed {
        Seed(bytes)
    }

    /// The part that the cancel key's secret is made of.
    fn cancel_secret(&self) -> &[u8] {
        self.0.get(..32).unwrap_or_default()
    }

    /// The part that nonces are derived from.
    fn nonce_key(&self) -> &[u8] {
        self.0.get(32..56).unwrap_or_default()
    }

    /// The randomness for the client's login to ourselves. Upstreams have the small numbers of the nonces.
    fn admit_nonces(&self) -> AdmitNonces {
        AdmitNonces::derive(self.nonce_key(), u64::MAX)
    }

    /// The part that chooses and hashes.
    fn number(&self) -> u64 {
        self.0
            .last_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Whether the session runs, winds down or has ended.
#[derive(Debug)]
enum Life {
    Live,
    /// No new request is taken; the session ends when those in flight are answered.
    Finishing,
    Closing(CloseCause),
    Dead(CloseCause),
}

/// One client, its upstreams and everything remembered between them. See the [module page](self).
#[derive(Debug)]
pub struct Session<R> {
    config: Arc<Config>,
    route: R,
    hook: Hook,
    seed: Seed,
    ledger: Ledger,
    outbox: Outbox,
    timers: Timers,
    life: Life,
    parting: Parting,
    served: Served,
    client: Client,
    legs: PerLeg<Leg>,
    roles: Roles,
    readers: Readers,
    requests: Requests,
    reader_transaction: ReaderTransaction,
    memory: Memory,
    freshness: Freshness,
    tally: Tally,
    views: Views,
    spans: Spans,
    relocation: Relocation,
    /// How many cancels have begun; `None` when no more may.
    cancels_begun: Option<u64>,
    scratch: BytesMut,
}

impl<R: Route> Session<R> {
    /// A session for a client that has just connected. The first action may come at once.
    ///
    /// A configuration that fails [`Config::check`] makes a session that ends at once.
    pub fn new(config: Arc<Config>, route: R, seed: Seed, now: Instant) -> Session<R> {
        let mut session = Session {
            ledger: Ledger::new(leg::ports(config.moves), config.limits.ledger),
            outbox: Outbox::default(),
            timers: Timers::default(),
            life: Life::Live,
            parting: Parting::default(),
            served: Served::default(),
            client: Client::new(&config),
            legs: leg::legs(&config),
            roles: Roles::default(),
            readers: Readers::default(),
            requests: Requests::new(Roles::default().writer),
            reader_transaction: ReaderTransaction::default(),
            memory: Memory::new(&config, seed.number()),
            freshness: Freshness::default(),
            tally: Tally::new(),
            views: Views::default(),
            spans: Spans::default(),
            relocation: Relocation::default(),
            cancels_begun: Some(0),
            scratch: BytesMut::new(),
            config,
            route,
            hook: Hook::default(),
            seed,
        };
        session
            .timers
            .start(now, session.config.timeouts.login, Timer::Login);
        if session.config.check().is_err() {
            session.end(
                now,
                CloseCause::Misuse("the configuration contradicts itself"),
                None,
            );
        }
        session
    }

    /// Looks at what a peer has sent: `buffered` is everything of it that was not yet transmitted or discarded.
    ///
    /// Decides at most one thing; call again while the answer is [`Demand::Again`]. Call it for every connected peer
    /// after anything has happened, whether or not new bytes came.
    pub fn handle_input(&mut self, now: Instant, from: PeerId, buffered: &[u8]) -> Demand {
        if self.outbox.len() >= crate::limits::ACTIONS {
            return Demand::Paused;
        }
        let claimed = usize::try_from(self.ledger.claimed(from.port())).unwrap_or(usize::MAX);
        let input = buffered.get(claimed..).unwrap_or_default();
        let demand = match (&self.life, LegId::of(from)) {
            (Life::Dead(_), _) => Demand::Bytes(0),
            (Life::Closing(_), _) => self.ignore(from, input),
            (Life::Live | Life::Finishing, None) => self.client_input(now, input),
            (Life::Live | Life::Finishing, Some(leg)) => self.leg_input(now, leg, input),
        };
        if demand == Demand::Again && from == PeerId::CLIENT {
            self.client_gets_on(now);
            self.relocation.clock = self.relocation.clock.saturating_add(1);
        }
        if from == PeerId::CLIENT {
            let come = u64::try_from(buffered.len()).unwrap_or(u64::MAX);
            self.relocation.to_come = self.ledger.claimed(from.port()).saturating_sub(come);
        }
        if let Some(tag) = self.tally.take_unknown() {
            self.notify(Event::UnknownMessage { peer: from, tag });
        }
        let demand = match demand {
            Demand::Bytes(_) => self
                .input_ended(now, from, buffered.len())
                .unwrap_or(demand),
            Demand::Again | Demand::Paused => demand,
        };
        self.couple(now);
        demand
    }

    /// Whatever a peer still says when the session is over is dropped.
    fn ignore(&mut self, from: PeerId, input: &[u8]) -> Demand {
        let len = u64::try_from(input.len()).unwrap_or(u64::MAX);
        match self.ledger.claim(from.port(), Fate::Discard, len) {
            Ok(()) => Demand::Bytes(0),
            Err(_) => Demand::Paused,
        }
    }

    /// A peer ended its stream cleanly. What it sent before is in its read buffer already.
    pub fn handle_eof(&mut self, now: Instant, from: PeerId) {
        self.peer_gone(now, from, loss::Gone::Eof);
    }

    /// A peer's connection broke. What it sent before stays in its read buffer until the close.
    pub fn handle_reset(&mut self, now: Instant, peer: PeerId) {
        self.peer_gone(now, peer, loss::Gone::Reset);
    }

    /// A dial is done.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        peer: PeerId,
        result: Result<(), ConnectFailed>,
    ) {
        if let Some(leg) = LegId::of(peer) {
            self.leg_connected(now, leg, result);
            self.couple(now);
        }
    }

    /// A TLS handshake is done. The peer's read buffer starts empty.
    ///
    /// A client whose handshake did not agree on PostgreSQL's protocol, where it had to, is refused: see [`TlsInfo`].
    pub fn handle_secured(
        &mut self,
        now: Instant,
        peer: PeerId,
        result: Result<TlsInfo, TlsFailed>,
    ) {
        match LegId::of(peer) {
            // The last bytes in clear have not left.
            _ if self.outbox.plans_tls(peer) => {
                self.end(now, CloseCause::Misuse("TLS was not asked for yet"), None);
            }
            Some(leg) => self.leg_secured(now, leg, result),
            None => self.client_secured(now, result),
        }
        self.couple(now);
    }

    /// The caller's answer to the [`Action::Authenticate`] with this number, or why there is none, in words for a log. If
    /// the login has ended meanwhile, or another has begun, the answer goes nowhere.
    pub fn handle_authentication(
        &mut self,
        now: Instant,
        peer: PeerId,
        question: u64,
        answer: Result<ExternalAnswer<'_>, String>,
    ) {
        if let Some(leg) = LegId::of(peer) {
            self.leg_answered(now, leg, question, answer);
            self.couple(now);
        }
    }

    /// Time has passed: acts on every deadline that is not later than `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            self.outbox.push(Action::Notify(Event::TimedOut(timer)));
            self.timed_out(now, timer);
        }
        self.couple(now);
    }

    /// What to write to a peer next. Changes nothing; report with [`Session::transmitted`] what was written.
    ///
    /// A splice whose source buffer is empty has nothing to write now.
    pub fn poll_transmit(&self, to: PeerId) -> Option<Transmit<'_>> {
        use crate::ledger::Transmit as Span;
        let room = self.room_beside_a_cancel(to);
        match self.ledger.poll_transmit(to.port()).filter(|_| room > 0)? {
            Span::Owned(bytes) => {
                let some = usize::try_from(room)
                    .ok()
                    .and_then(|room| bytes.get(..room));
                Some(Transmit::Owned(some.unwrap_or(bytes)))
            }
            Span::Splice { from, max } => Some(Transmit::Splice {
                from: PeerId::from_port(from)?,
                max: max.min(room),
            }),
        }
    }

    /// `n` bytes of what [`Session::poll_transmit`] offered for `to` were written. The bytes of a splice are
    /// to be dropped from the front of their source's buffer.
    pub fn transmitted(&mut self, now: Instant, to: PeerId, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        if let Some(leg) = LegId::of(to) {
            let leg = self.leg_mut(leg);
            leg.written = leg.written.saturating_add(n);
        }
        if self.ledger.transmitted(to.port(), n).is_err() {
            self.end(
                now,
                CloseCause::Misuse("more bytes reported as written than were offered"),
                None,
            );
        }
        self.couple(now);
    }

    /// How many bytes to drop from the front of a peer's read buffer now; they count as dropped.
    pub fn take_discard(&mut self, from: PeerId, available: usize) -> usize {
        self.ledger.take_discard(from.port(), available)
    }

    /// The next thing to do that is not a write.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.outbox.poll(&self.ledger)?;
        if let Action::Close { peer, .. } = &action {
            self.closed(*peer);
        }
        Some(action)
    }

    /// The next deadline and what it is for.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// Whether reading from a peer makes sense now, given room in its buffer.
    pub fn wants_read(&self, peer: PeerId) -> bool {
        match (&self.life, LegId::of(peer)) {
            (Life::Dead(_), _) => false,
            (_, None) => self.client.wants_read(),
            (_, Some(leg)) => self.leg(leg).wants_read(),
        }
    }

    /// Where the session is in its life.
    pub fn lifecycle(&self) -> Lifecycle<'_> {
        match &self.life {
            Life::Live | Life::Finishing => Lifecycle::Live,
            Life::Closing(cause) => Lifecycle::Closing(cause),
            Life::Dead(cause) => Lifecycle::Dead(cause),
        }
    }

    /// What the driver said of a peer's TLS connection; `None` in clear, and for encryption that only passes.
    pub fn tls_info(&self, peer: PeerId) -> Option<&TlsInfo> {
        match LegId::of(peer) {
            None => self.client.tls_info(),
            Some(leg) => self.leg(leg).tls.as_deref(),
        }
    }

    /// What the client has opened the session with: whom it says it is, and what it asks for. `None` before that, and for
    /// encryption that is handed through.
    pub fn client_startup(&self) -> Option<&StartupParams> {
        self.client.sent.as_ref().or(self.client.startup.as_ref())
    }

    /// The key that the client was given to cancel its requests with, once it is logged in.
    pub fn client_key(&self) -> Option<&CancelKey> {
        self.client.key()
    }

    fn leg(&self, id: LegId) -> &Leg {
        self.legs.get(id)
    }

    fn duty(&self, leg: LegId) -> Duty {
        self.roles.duty(leg)
    }

    fn writer(&self) -> LegId {
        self.roles.writer
    }

    fn reader(&self) -> LegId {
        self.roles.reader
    }

    fn leg_mut(&mut self, id: LegId) -> &mut Leg {
        self.legs.get_mut(id)
    }

    fn notify(&mut self, event: Event) {
        self.outbox.push(Action::Notify(event));
    }

    /// Joint transitions: what follows from the states of several parts together.
    fn couple(&mut self, now: Instant) {
        if matches!(self.life, Life::Live | Life::Finishing) {
            self.leave_batch();
            self.retire_reader(now);
            self.leave_reader_out(now);
            self.move_on(now);
            if self.may_part() {
                self.part(now);
            }
        }
    }
}

/// A message of ours to the client.
#[derive(Clone, Debug)]
struct Tell {
    severity: Severity,
    state: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<Cow<'static, str>>,
}

impl Tell {
    fn fatal(state: SqlState, message: impl Into<String>) -> Tell {
        Tell {
            severity: Severity::Fatal,
            state,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    fn error(state: SqlState, message: impl Into<String>) -> Tell {
        Tell {
            severity: Severity::Error,
            ..Tell::fatal(state, message)
        }
    }

    fn with_hint(self, hint: &'static str) -> Tell {
        Tell {
            hint: Some(hint.into()),
            ..self
        }
    }

    fn with_detail(self, detail: impl Into<String>) -> Tell {
        Tell {
            detail: Some(detail.into()),
            ..self
        }
    }
}
