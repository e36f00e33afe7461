//! The client's requests: which upstream each goes to, and when.
//!
//! A request waits, unclaimed in the driver's buffer, until its upstream is logged in, restored and, where it is not
//! the one that serves now, until that one has answered everything: the client's replies come in request order
//! because only one upstream at a time owes it any.

use std::time::Instant;

use bytes::BytesMut;

use super::effects::Note;
use super::leg::{LegId, Phase, Restore};
use super::look::{Certainty, Look, Seen, seen_reason};
use super::loss::{Gone, Stream};
use super::{CloseCause, Demand, Event, Life, PeerId, RouteReason, Session, Tell, Timer};
use crate::ledger::Fate;
use crate::route::{Class, Intent, Reason, Route, RouteContext, Target, Why};
use crate::startup::StartupParams;
use crate::track::pipeline::{Kind, Owner};
use crate::wire::tags::frontend as tag;
use crate::wire::{
    Close, Frontend, Header, Query, Severity, Target as WireTarget, TransactionStatus, sqlstate,
};

/// Where the extended batch stands that is not yet ended by Sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// There is none.
    None,
    /// On this upstream.
    On(LegId),
    /// Its part on the reader is being ended: what follows goes to the writer.
    Leaving,
    /// Its part on the reader is ended.
    Left,
    /// Its upstream is lost: what follows is dropped up to Sync, which we answer.
    Broken(Told),
}

/// Whether the client has the error that breaks its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Yes,
    NotYet,
}

/// What the session knows of the requests that it has not forwarded yet.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) batch: Batch,
    pub(super) look: Look,
    /// A segment that was looked at and decided, with its bytes that are still to be forwarded.
    decided: Option<(LegId, usize)>,
    /// The upstream that served last.
    pub(super) last: LegId,
    count: u64,
    warning: Option<String>,
}

impl Requests {
    pub(super) fn new() -> Requests {
        Requests {
            batch: Batch::None,
            look: Look::new(),
            decided: None,
            last: LegId::Writer,
            count: 0,
            warning: None,
        }
    }

    /// The client is to be warned that the reader cannot be had.
    pub(super) fn warn_of(&mut self, why: String) {
        self.warning = Some(why);
    }

    /// The reader is lost; `skipping` when the batch that stands there has its error already.
    pub(super) fn reader_lost(&mut self, skipping: bool) {
        self.look.restart();
        self.decided = None;
        self.last = LegId::Writer;
        self.batch = match self.batch {
            _ if skipping => Batch::Broken(Told::Yes),
            Batch::On(LegId::Reader) => Batch::Broken(Told::NotYet),
            Batch::Leaving => Batch::Left,
            Batch::None | Batch::On(LegId::Writer) | Batch::Left | Batch::Broken(_) => self.batch,
        };
    }
}

/// What keeps a request from being forwarded.
enum Obstacle {
    None,
    /// Something has to happen first.
    Wait,
    /// The reader cannot serve it.
    NoReader,
}

impl<R: Route> Session<R> {
    pub(super) fn serve_client(&mut self, now: Instant, input: &[u8]) -> Demand {
        if self.is_relay_only() {
            return self.relay_whole(input);
        }
        if self.client.stream == Stream::Ended(Gone::Terminated) {
            return self.ignore(PeerId::CLIENT, input);
        }
        if self.requests.warning.is_some() && self.nothing_in_flight() {
            self.warn();
        }
        let header = match Header::parse(input) {
            Ok(Some(header)) => header,
            Ok(None) => return Demand::Bytes(Header::LEN),
            Err(fault) => {
                let tell = Tell::fatal(sqlstate::PROTOCOL_VIOLATION, "invalid message length")
                    .with_detail(fault.to_string());
                self.end(
                    now,
                    CloseCause::ClientFault(Some(sqlstate::PROTOCOL_VIOLATION)),
                    Some(tell),
                );
                return Demand::Again;
            }
        };
        if let Some((leg, left)) = self.requests.decided {
            return self.forward_decided(now, leg, left, header, input);
        }
        match self.requests.batch {
            Batch::Broken(told) => return self.drop_broken(told, header),
            Batch::Leaving => return Demand::Paused,
            Batch::None | Batch::On(_) | Batch::Left => {}
        }
        if header.tag == tag::TERMINATE {
            return self.terminated(header);
        }
        if matches!(header.tag, tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL) {
            return self.forward_copy(header, input);
        }
        if matches!(self.life, Life::Finishing) && self.nothing_in_flight() {
            return Demand::Paused;
        }
        match self.forced() {
            Some((leg, reason)) => self.serve_forced(leg, reason, header, input),
            None => self.look_ahead(now, input),
        }
    }

    /// A session that is not looked into: every byte passes.
    fn relay_whole(&mut self, input: &[u8]) -> Demand {
        let len = u64::try_from(input.len()).unwrap_or(u64::MAX);
        match self
            .ledger
            .claim(PeerId::CLIENT.port(), Fate::To(PeerId::WRITER.port()), len)
        {
            Ok(()) => Demand::Bytes(1),
            Err(_) => Demand::Paused,
        }
    }

    fn warn(&mut self) {
        if let Some(why) = self.requests.warning.take() {
            let tell = Tell {
                severity: Severity::Warning,
                ..Tell::error(
                    sqlstate::WARNING,
                    "the replica cannot be reached; the primary serves reads",
                )
            };
            self.notice(&tell.with_detail(why));
        }
    }

    /// The client says goodbye: what it is owed is delivered, then the session ends.
    fn terminated(&mut self, header: Header) -> Demand {
        if self
            .ledger
            .claim(
                PeerId::CLIENT.port(),
                Fate::Discard,
                u64::from(header.frame_len),
            )
            .is_err()
        {
            return Demand::Paused;
        }
        self.client.stream = Stream::Ended(Gone::Terminated);
        Demand::Again
    }

    /// The upstream that a request must go to whatever it asks for.
    pub(super) fn forced(&self) -> Option<(LegId, RouteReason)> {
        if !self.splits() {
            return Some((LegId::Writer, RouteReason::NotSplit));
        }
        for leg in LegId::ALL {
            let skipping = |pipeline: &crate::track::pipeline::Pipeline<_>| {
                pipeline.is_skipping() || pipeline.is_copying_in()
            };
            if self
                .leg(leg)
                .serving()
                .is_some_and(|serving| skipping(&serving.pipeline))
            {
                return Some((leg, RouteReason::Batch));
            }
        }
        match self.requests.batch {
            Batch::On(LegId::Writer) | Batch::Left => {
                return Some((LegId::Writer, RouteReason::Batch));
            }
            Batch::On(LegId::Reader) => return None,
            Batch::None | Batch::Leaving | Batch::Broken(_) => {}
        }
        if let Some(pin) = self.memory.pins.first() {
            return Some((LegId::Writer, RouteReason::Pinned(pin)));
        }
        let writer = self.leg(LegId::Writer).serving()?;
        if writer.status != TransactionStatus::Idle || self.memory.may_open_transaction() {
            return Some((LegId::Writer, RouteReason::Transaction));
        }
        None
    }

    /// Forwards the next message where it must go.
    fn serve_forced(
        &mut self,
        leg: LegId,
        reason: RouteReason,
        header: Header,
        input: &[u8],
    ) -> Demand {
        self.requests.look.restart();
        if !self.is_quiet(leg.other()) {
            self.fence(leg.other());
            return Demand::Paused;
        }
        let fresh = self.begins_request(header.tag);
        let demand = self.forward(leg, header, input);
        if demand == Demand::Again && fresh {
            let intent = self.memory.forwarded.take();
            let class = intent.as_ref().map_or(Class::Write, |intent| intent.class);
            let outline = self.memory.outline.take();
            self.routed(leg, class, reason, outline);
        }
        demand
    }

    /// Whether nothing more comes from an upstream for what the client has sent so far.
    fn is_quiet(&self, leg: LegId) -> bool {
        self.leg(leg)
            .serving()
            .is_none_or(|serving| serving.pipeline.is_quiet())
    }

    pub(super) fn owes_client(&self, leg: LegId) -> bool {
        self.leg(leg)
            .serving()
            .is_some_and(|serving| serving.pipeline.has_client())
    }

    /// Whether a message with this tag begins a request of its own.
    fn begins_request(&self, frame: u8) -> bool {
        match frame {
            tag::QUERY | tag::FUNCTION_CALL => true,
            tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE => {
                self.requests.batch == Batch::None
            }
            _ => false,
        }
    }

    fn routed(&mut self, leg: LegId, class: Class, reason: RouteReason, outline: Option<String>) {
        self.requests.count = self.requests.count.saturating_add(1);
        let to = self.leg(leg).to;
        let request = self.requests.count;
        self.notify(Event::Routed {
            request,
            peer: leg.peer(),
            to,
            class,
            reason,
            outline,
        });
    }

    /// Looks at the next message of a segment, or chooses its upstream when enough was seen.
    fn look_ahead(&mut self, now: Instant, input: &[u8]) -> Demand {
        if self.requests.look.seen != Seen::On {
            return self.decide(now);
        }
        let len = self.requests.look.len;
        let rest = input.get(len..).unwrap_or_default();
        let header = match Header::parse(rest) {
            Ok(Some(header)) if header.tag != tag::TERMINATE || len == 0 => header,
            Ok(None) => return self.look_further(len.saturating_add(Header::LEN)),
            // What precedes a Terminate or a fault is a segment of its own.
            Ok(Some(_)) | Err(_) => {
                self.requests.look.seen = Seen::Enough;
                return Demand::Again;
            }
        };
        match header.split(rest) {
            Some((body, _)) => self.look_at(input, header, body),
            None => {
                let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
                return self.look_further(len.saturating_add(frame));
            }
        }
        Demand::Again
    }

    /// The segment goes on past what has arrived: if it cannot all be buffered, the writer takes it unseen.
    fn look_further(&mut self, needed: usize) -> Demand {
        if needed <= self.config.limits.read_buffer {
            return Demand::Bytes(needed);
        }
        self.requests.look.too_long();
        Demand::Again
    }

    /// Chooses the upstream of the segment that was looked at, and waits until it can take it.
    fn decide(&mut self, now: Instant) -> Demand {
        let Some((leg, reason)) = self.choose() else {
            if self.nothing_in_flight() {
                self.requests.look.restart();
                return Demand::Again;
            }
            return Demand::Paused;
        };
        match self.obstacle(now, leg) {
            Obstacle::None => self.settle_on(leg, reason),
            Obstacle::Wait => Demand::Paused,
            Obstacle::NoReader => self.settle_on(LegId::Writer, RouteReason::ReaderDown),
        }
    }

    /// Which upstream the segment asks for; `None` when it has to be looked at again with nothing in flight.
    fn choose(&mut self) -> Option<(LegId, RouteReason)> {
        let look = &self.requests.look;
        let reason = seen_reason(look);
        if look.seen == Seen::TooLong {
            return Some((LegId::Writer, RouteReason::TooLong));
        }
        if look.class == Class::Empty {
            let there = if self.is_serving(self.requests.last) {
                self.requests.last
            } else {
                LegId::Writer
            };
            return Some((there, reason));
        }
        let certainty = look.certainty;
        match self.ask_policy(look.class, look.why) {
            Target::Writer => Some((LegId::Writer, reason)),
            Target::Reader if certainty == Certainty::Tentative => None,
            Target::Reader => Some((LegId::Reader, reason)),
        }
    }

    fn ask_policy(&mut self, class: Class, why: Why) -> Target {
        let intent = Intent {
            class,
            reason: Reason {
                why,
                offset: 0,
                token_len: 0,
            },
            statements: 1,
            effects: Vec::new(),
        };
        let mut context = RouteContext::new(true);
        let startup = self.client.startup.as_ref();
        context.user = startup.map_or(&[], StartupParams::user);
        context.database = startup.map_or(&[], StartupParams::database);
        self.route.route(&intent, &context)
    }

    fn is_serving(&self, leg: LegId) -> bool {
        self.leg(leg).serving().is_some()
    }

    /// What has to happen before a segment can go to an upstream; whatever can be set going is.
    fn obstacle(&mut self, now: Instant, leg: LegId) -> Obstacle {
        if self.requests.batch == Batch::On(LegId::Reader) && leg == LegId::Writer {
            return self.leave_reader(now);
        }
        if !self.is_quiet(leg.other()) {
            self.fence(leg.other());
            return Obstacle::Wait;
        }
        match leg {
            LegId::Writer => Obstacle::None,
            LegId::Reader => self.reader_obstacle(now),
        }
    }

    fn reader_obstacle(&mut self, now: Instant) -> Obstacle {
        let leg = self.leg(LegId::Reader);
        match &leg.phase {
            Phase::Absent if leg.retry_at.is_none_or(|at| at <= now) => {
                self.dial(now, LegId::Reader);
                Obstacle::Wait
            }
            Phase::Absent | Phase::Closing => Obstacle::NoReader,
            Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Relaying(_)
            | Phase::Replaying(_) => Obstacle::Wait,
            Phase::Serving(serving) if serving.said_fatal() || leg.stream != Stream::Open => {
                Obstacle::Wait
            }
            Phase::Serving(serving) if serving.restore == Restore::Running => Obstacle::Wait,
            Phase::Serving(serving) if serving.stamp < self.memory.journal.stamp() => {
                self.restore(now, LegId::Reader);
                Obstacle::Wait
            }
            Phase::Serving(_) => Obstacle::None,
        }
    }

    /// A batch that stands on the reader has to go on at the writer: its part there is ended with a Sync of ours.
    fn leave_reader(&mut self, now: Instant) -> Obstacle {
        let Some(serving) = self.leg(LegId::Reader).serving() else {
            return Obstacle::NoReader;
        };
        if !serving.pipeline.is_settled() {
            // Everything sent there was followed by Flush, so the replies come.
            return Obstacle::Wait;
        }
        self.inject(
            LegId::Reader,
            &[tag::SYNC, 0, 0, 0, 4],
            Kind::Sync,
            Note::Leave,
        );
        self.requests.batch = Batch::Leaving;
        let timeout = self.config.timeouts.replay;
        self.timers
            .start(now, timeout, Timer::Restore(PeerId::READER));
        Obstacle::Wait
    }

    /// The reader has answered the Sync that ends our part of a batch there.
    pub(super) fn leave_batch(&mut self) {
        let settled = self
            .leg(LegId::Reader)
            .serving()
            .is_none_or(|serving| serving.pipeline.is_settled());
        if self.requests.batch == Batch::Leaving && settled {
            self.timers.stop(Timer::Restore(PeerId::READER));
            self.requests.batch = Batch::Left;
        }
    }

    fn settle_on(&mut self, leg: LegId, reason: RouteReason) -> Demand {
        let look = &mut self.requests.look;
        let (len, class) = (look.len, look.class);
        let outline = look.outline.take();
        look.restart();
        if len == 0 {
            // Nothing of it could be looked at: it is taken message by message.
            self.requests.batch = match self.requests.batch {
                Batch::None | Batch::On(_) | Batch::Leaving | Batch::Left | Batch::Broken(_) => {
                    Batch::Left
                }
            };
        } else {
            self.requests.decided = Some((leg, len));
        }
        if class != Class::Empty {
            self.routed(leg, class, reason, outline);
        }
        Demand::Again
    }

    fn forward_decided(
        &mut self,
        _now: Instant,
        leg: LegId,
        left: usize,
        header: Header,
        input: &[u8],
    ) -> Demand {
        let demand = self.forward(leg, header, input);
        if demand == Demand::Again && self.requests.decided.is_some() {
            let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
            let left = left.saturating_sub(frame);
            self.requests.decided = (left > 0).then_some((leg, left));
        }
        demand
    }

    /// Drops a message of a batch whose upstream is lost, as a server drops it after an error.
    fn drop_broken(&mut self, told: Told, header: Header) -> Demand {
        if header.tag == tag::TERMINATE {
            return self.terminated(header);
        }
        if self
            .ledger
            .claim(
                PeerId::CLIENT.port(),
                Fate::Discard,
                u64::from(header.frame_len),
            )
            .is_err()
        {
            return Demand::Paused;
        }
        match (header.tag, told) {
            (tag::SYNC, _) => {
                self.requests.batch = Batch::None;
                self.tell_ready();
            }
            (tag::FLUSH, _) | (_, Told::Yes) => {}
            (_, Told::NotYet) => {
                self.tell_reader_lost();
                self.requests.batch = Batch::Broken(Told::Yes);
            }
        }
        Demand::Again
    }

    /// Sends a message of ours to an upstream, with the reply to be swallowed.
    pub(super) fn inject(&mut self, leg: LegId, frame: &[u8], kind: Kind, note: Note) {
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return;
        };
        let skipped = serving.pipeline.sent(kind, Owner::Injected, note);
        if let Some(skipped) = skipped {
            self.unanswered(skipped);
        }
        self.push(leg.peer(), frame);
    }

    /// Sends an upstream the changes of settings that it has not run. Whether there was anything to send.
    fn restore(&mut self, now: Instant, leg: LegId) {
        let timeout = self.config.timeouts.replay;
        self.timers.start(now, timeout, Timer::Restore(leg.peer()));
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return;
        };
        let from = serving.stamp;
        serving.restore = Restore::Running;
        let behind: Vec<(u64, Box<[u8]>)> = self
            .memory
            .journal
            .behind(from)
            .map(|(stamp, change)| (stamp, change.text.clone()))
            .collect();
        for (stamp, text) in behind {
            let mut frame = BytesMut::new();
            let query = Frontend::Query(Query { text: &text });
            if query.encode(&mut frame).is_ok() {
                self.inject(leg, &frame, Kind::Query, Note::Restore(stamp));
            }
        }
    }

    /// Finds out, where it is open, whether an upstream still owes a ReadyForQuery for a Sync near a failed copy.
    fn fence(&mut self, leg: LegId) {
        let open = self
            .leg(leg)
            .serving()
            .is_some_and(|serving| serving.pipeline.needs_fence());
        if !open {
            return;
        }
        let name = self.fence_name();
        let close = Frontend::Close(Close {
            kind: WireTarget::Statement,
            name: name.as_bytes(),
        });
        let mut frames = BytesMut::new();
        if close.encode(&mut frames).is_ok() && Frontend::Flush.encode(&mut frames).is_ok() {
            self.inject(leg, &frames, Kind::Fence, Note::Nothing);
        }
    }

    /// A statement name that no client uses: closing it does nothing.
    fn fence_name(&self) -> String {
        format!("pgturnout_fence_{:016x}", self.seed.number())
    }
}
