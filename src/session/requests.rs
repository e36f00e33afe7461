//! The client's requests: which upstream each goes to, and when.
//!
//! A request waits, unclaimed in the driver's buffer, until its upstream is logged in, restored and, where it is not
//! the one that serves now, until that one has answered everything: the client's replies come in request order
//! because only one upstream at a time owes it any.

use std::time::Instant;

use bytes::BytesMut;

use super::effects::Note;
use super::leg::{LegId, Roles};
use super::loss::{Gone, Stream};
use super::policy::Judged;
use super::segment::Look;
use super::trial::Trial;
use super::{Demand, Event, Life, PeerId, RouteReason, Session, Tell};
use crate::ledger::Fate;
use crate::route::{Class, Route};
use crate::track::pipeline::{Kind, Owner};
use crate::wire::tags::frontend as tag;
use crate::wire::{Close, Frontend, Header, Severity, Target, TransactionStatus, sqlstate};

/// A Sync of ours.
pub(super) const SYNC: [u8; 5] = [tag::SYNC, 0, 0, 0, 4];

/// A Flush of ours.
pub(super) const FLUSH: [u8; 5] = [tag::FLUSH, 0, 0, 0, 4];

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
    /// It begins with a message that did not fit the read buffer, and goes to the writer.
    Unseen,
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
    pub(super) decided: Option<(LegId, usize)>,
    /// The upstream that served last.
    pub(super) last: LegId,
    /// The upstream that was sent a Flush, and nothing of the client's since.
    pub(super) flushed: Option<LegId>,
    /// How many times the client was told ReadyForQuery for a request, by an upstream or by us.
    pub(super) answered: u64,
    /// Which upstream the next one had to leave, and how many were answered by then.
    pub(super) left: Option<(LegId, u64)>,
    /// The upstream that skips the rest of a batch, as what was to be prepared for a message that waits has failed.
    pub(super) failed_ahead: Option<LegId>,
    /// Whether a request is tried on the reader.
    pub(super) trial: Trial,
    /// What the caller's policy says of the client's next message.
    pub(super) judged: Judged,
    count: u64,
    /// The number of the request that is begun, or was last.
    begun: u64,
    warning: Warning,
}

/// Whether the client was warned that the reader cannot be had: once is enough.
#[derive(Debug)]
enum Warning {
    None,
    Due(String),
    Given,
}

impl Requests {
    pub(super) fn new(writer: LegId) -> Requests {
        Requests {
            batch: Batch::None,
            look: Look::new(),
            decided: None,
            last: writer,
            answered: 0,
            left: None,
            failed_ahead: None,
            trial: Trial::None,
            judged: Judged::NotYet,
            count: 0,
            begun: 0,
            flushed: None,
            warning: Warning::None,
        }
    }

    /// The number of the request that was routed last.
    pub(super) fn newest(&self) -> u64 {
        self.count
    }

    /// A request has the next number, though nobody is told where it went: it asks for nothing.
    pub(super) fn numbered(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// The request that was numbered last is to be decided anew, and keeps its number.
    pub(super) fn again(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// The client has its ReadyForQuery.
    pub(super) fn is_answered(&mut self) {
        self.answered = self.answered.saturating_add(1);
        self.left = None;
    }

    /// What was sent to this upstream, and did not happen there, is to be decided once more.
    pub(super) fn goes_elsewhere(&mut self, left: LegId) {
        self.again();
        self.left = Some((left, self.answered));
    }

    /// The number of the request that the client's next message belongs to.
    pub(super) fn next_number(&self) -> u64 {
        if self.batch == Batch::None && self.decided.is_none() {
            self.count.saturating_add(1)
        } else {
            self.begun
        }
    }

    /// The request that was numbered last has begun with it, unless it goes on with a batch.
    pub(super) fn began(&mut self, before: Batch) {
        if before == Batch::None {
            self.begun = self.count;
        }
    }

    /// The client is to be warned that the reader cannot be had.
    pub(super) fn warn_of(&mut self, why: String) {
        if matches!(self.warning, Warning::None) {
            self.warning = Warning::Due(why);
        }
    }

    /// The reader is lost; `skipping` when the batch that stands there has its error already.
    pub(super) fn reader_lost(&mut self, roles: Roles, skipping: bool) {
        self.look.restart();
        self.decided = None;
        self.last = roles.writer;
        self.batch = match self.batch {
            _ if skipping => Batch::Broken(Told::Yes),
            Batch::On(leg) if leg == roles.reader => Batch::Broken(Told::NotYet),
            Batch::Leaving => Batch::Left,
            Batch::None | Batch::On(_) | Batch::Left | Batch::Unseen | Batch::Broken(_) => {
                self.batch
            }
        };
    }

    /// Whether nothing of the client's batch stands on the upstream that takes its next message.
    pub(super) fn begins_there(&self) -> bool {
        match self.batch {
            Batch::None | Batch::Left | Batch::Unseen => true,
            Batch::On(_) | Batch::Leaving | Batch::Broken(_) => false,
        }
    }

    /// Whether the batch that stands is broken, and its error waits for what comes next of it.
    pub(super) fn owes_an_error(&self) -> bool {
        match self.batch {
            Batch::Broken(Told::NotYet) => true,
            Batch::Broken(Told::Yes)
            | Batch::None
            | Batch::On(_)
            | Batch::Leaving
            | Batch::Left
            | Batch::Unseen => false,
        }
    }
}

impl<R: Route> Session<R> {
    pub(super) fn serve_client(&mut self, now: Instant, input: &[u8]) -> Demand {
        if self.is_relay_only() {
            return self.relay_whole(input);
        }
        if self.client.stream == Stream::Ended(Gone::Terminated) {
            return self.ignore(PeerId::CLIENT, input);
        }
        if self.is_trying() || self.waits_for_move(now, input) {
            return self.wait_for_answers();
        }
        if self.begins_again() {
            return Demand::Paused;
        }
        if let Judged::Closing(denial) = &self.requests.judged {
            let denial = denial.clone();
            return self.close_denied(now, denial);
        }
        if matches!(self.requests.warning, Warning::Due(_)) && self.nothing_in_flight() {
            self.warn();
        }
        let header = match self.client_header(input) {
            Ok(Some(header)) => header,
            Ok(None) => return Demand::Bytes(Header::LEN),
            Err(fault) => return self.client_out_of_sync(now, &fault, input),
        };
        if self.client.stream != Stream::Open && header.split(input).is_none() {
            // The rest of it will never come: it is no request.
            return Demand::Bytes(0);
        }
        if let Some((leg, left)) = self.requests.decided {
            return match self.judge(header, input) {
                Some(demand) => demand,
                None => self.forward_decided(leg, left, header, input),
            };
        }
        match self.requests.batch {
            Batch::Broken(told) => return self.drop_broken(told, header),
            Batch::Leaving => return Demand::Paused,
            Batch::None | Batch::On(_) | Batch::Left | Batch::Unseen => {}
        }
        if header.tag == tag::TERMINATE {
            return self.terminated(header);
        }
        if matches!(header.tag, tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL) {
            return self.forward_copy(header, input);
        }
        if matches!(self.life, Life::Finishing) && self.is_new(header.tag) && !self.was_refused() {
            return Demand::Paused;
        }
        if let Some(demand) = self.judge(header, input) {
            return demand;
        }
        match self.forced() {
            Some((leg, reason)) => self.serve_forced(leg, reason, header, input),
            None if self.is_denied_alone() => {
                self.serve_forced(self.transaction_leg(), RouteReason::Denied, header, input)
            }
            None => self.look_ahead(now, input),
        }
    }

    /// Whether the client's next message is denied and no batch is open: no upstream has to be looked for.
    fn is_denied_alone(&self) -> bool {
        self.requests.batch == Batch::None && matches!(self.requests.judged, Judged::Denied(_))
    }

    /// Nothing more of the client is looked at before the answers that are due have come.
    pub(super) fn wait_for_answers(&self) -> Demand {
        match self.client.stream {
            Stream::Open => Demand::Paused,
            Stream::Ended(_) | Stream::Over => Demand::Bytes(0),
        }
    }

    /// Whether a message with this tag belongs to nothing that was begun before it.
    fn is_new(&self, frame: u8) -> bool {
        let taken_by_the_batch = self.requests.batch != Batch::None
            || LegId::ALL.into_iter().any(|leg| {
                self.leg(leg).serving().is_some_and(|serving| {
                    serving.pipeline.is_skipping() || serving.pipeline.is_copying_in()
                })
            });
        self.nothing_in_flight() || !taken_by_the_batch && self.begins_request(frame)
    }

    /// A session that is not looked into: every byte passes.
    pub(super) fn relay_whole(&mut self, input: &[u8]) -> Demand {
        let len = u64::try_from(input.len()).unwrap_or(u64::MAX);
        match self.ledger.claim(
            PeerId::CLIENT.port(),
            Fate::To(self.writer().peer().port()),
            len,
        ) {
            Ok(()) => Demand::Bytes(1),
            Err(_) => Demand::Paused,
        }
    }

    fn warn(&mut self) {
        let warning = std::mem::replace(&mut self.requests.warning, Warning::Given);
        if let Warning::Due(why) = warning {
            let tell = Tell {
                severity: Severity::Warning,
                ..Tell::error(
                    sqlstate::WARNING,
                    "the replica cannot be used; the primary serves reads",
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
        self.tally.client.frontend(header.tag);
        self.client.stream = Stream::Ended(Gone::Terminated);
        Demand::Again
    }

    /// The upstream that a request must go to whatever it asks for.
    pub(super) fn forced(&self) -> Option<(LegId, RouteReason)> {
        if !self.splits() {
            return Some((self.writer(), RouteReason::NotSplit));
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
        if self.has_reader_transaction() {
            // Behind a message that is refused the server skips the rest of the batch.
            let leg = self.transaction_leg();
            return self.skips_to_sync(leg).then_some((leg, RouteReason::Batch));
        }
        match self.requests.batch {
            Batch::On(leg) if leg == self.reader() => return None,
            Batch::On(_) | Batch::Left | Batch::Unseen => {
                return Some((self.writer(), RouteReason::Batch));
            }
            Batch::None | Batch::Leaving | Batch::Broken(_) => {}
        }
        if let Some(pin) = self.memory.pinned() {
            return Some((self.writer(), RouteReason::Pinned(pin)));
        }
        let writer = self.leg(self.writer()).serving()?;
        if writer.status != TransactionStatus::Idle || self.memory.may_open_transaction() {
            return Some((self.writer(), RouteReason::Transaction));
        }
        None
    }

    /// Forwards the next message where it must go.
    pub(super) fn serve_forced(
        &mut self,
        leg: LegId,
        reason: RouteReason,
        header: Header,
        input: &[u8],
    ) -> Demand {
        self.requests.look.restart();
        if !self.others_are_quiet(leg) {
            return Demand::Paused;
        }
        let fresh = self.begins_request(header.tag);
        let before = self.requests.batch;
        let demand = self.forward(leg, header, input);
        if demand == Demand::Again && fresh {
            let intent = self.memory.forwarded.take();
            let class = intent.as_ref().map_or(Class::Write, |intent| intent.class);
            let outline = self.memory.outline.take();
            self.routed(leg, class, reason, outline);
            self.requests.began(before);
        } else if demand == Demand::Again
            && before == Batch::None
            && matches!(header.tag, tag::SYNC | tag::FLUSH)
        {
            // By itself it is a request that asks for nothing, as it is where it is looked at.
            self.requests.numbered();
            self.requests.began(before);
        }
        if demand == Demand::Again {
            self.request_sent(leg, header.tag);
            self.tell_tables(leg);
        }
        demand
    }

    /// Whether nothing more comes from an upstream for what the client has sent so far.
    pub(super) fn is_quiet(&self, leg: LegId) -> bool {
        self.leg(leg)
            .serving()
            .is_none_or(|serving| serving.pipeline.is_quiet())
    }

    /// Whether nothing more comes from the other upstreams for what the client has sent; where that is open, they are
    /// asked.
    pub(super) fn others_are_quiet(&mut self, leg: LegId) -> bool {
        let mut others = LegId::ALL.into_iter().filter(|other| *other != leg);
        match others.find(|other| !self.is_quiet(*other)) {
            Some(busy) => {
                self.fence(busy);
                false
            }
            None => true,
        }
    }

    pub(super) fn owes_client(&self, leg: LegId) -> bool {
        self.leg(leg)
            .serving()
            .is_some_and(|serving| serving.pipeline.has_client())
    }

    /// Whether a message with this tag begins a request of its own.
    fn begins_request(&self, frame: u8) -> bool {
        match frame {
            // What was not seen whole is told of already.
            tag::QUERY | tag::FUNCTION_CALL => self.requests.batch != Batch::Unseen,
            tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE => {
                self.requests.batch == Batch::None
            }
            _ => false,
        }
    }

    pub(super) fn routed(
        &mut self,
        leg: LegId,
        class: Class,
        reason: RouteReason,
        outline: Option<String>,
    ) {
        self.requests.numbered();
        self.tally.routes.count(leg.peer(), reason);
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

    fn forward_decided(&mut self, leg: LegId, left: usize, header: Header, input: &[u8]) -> Demand {
        let demand = self.forward(leg, header, input);
        if demand == Demand::Again {
            self.request_sent(leg, header.tag);
            self.tell_tables(leg);
        }
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
        let ends = matches!(header.tag, tag::QUERY | tag::FUNCTION_CALL);
        if told == Told::NotYet && (ends || self.has_lost_transaction()) {
            // It ends the batch as Sync does, and nothing of it was sent anywhere; or its transaction has lost what it had there.
            self.requests.batch = Batch::None;
            return Demand::Again;
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
        self.requests.judged = Judged::NotYet;
        self.tally.client.frontend(header.tag);
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

    /// Whether no request of the client is unanswered anywhere.
    pub(super) fn nothing_in_flight(&self) -> bool {
        LegId::ALL.into_iter().all(|leg| {
            self.leg(leg)
                .serving()
                .is_none_or(|serving| !serving.pipeline.has_client())
        })
    }

    /// Sends a message of ours to an upstream, with the reply to be swallowed.
    pub(super) fn inject(&mut self, leg: LegId, frame: &[u8], kind: Kind, note: Note) {
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return;
        };
        let skipped = serving.pipeline.sent(kind, Owner::Injected, note, 0);
        if let Some(skipped) = skipped {
            self.unanswered(skipped);
        }
        self.push(leg.peer(), frame);
    }

    /// Finds out, where it is open, whether an upstream still owes a ReadyForQuery for a Sync near a failed copy.
    pub(super) fn fence(&mut self, leg: LegId) {
        let open = self
            .leg(leg)
            .serving()
            .is_some_and(|serving| serving.pipeline.needs_fence());
        if !open {
            return;
        }
        let name = self.fence_name();
        let close = Frontend::Close(Close {
            kind: Target::Statement,
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
