//! Choosing the upstream of what was looked at, and getting that upstream ready to take it.

use std::time::Instant;

use super::effects::Note;
use super::fresh::Fresh;
use super::leg::{Answers, Asked, Duty, LegId, Phase, Restore};
use super::look::seen_reason;
use super::loss::Stream;
use super::requests::{Batch, SYNC};
use super::segment::{Certainty, Seen};
use super::{Demand, RouteReason, Session, Timer};
use crate::limits;
use crate::route::{Class, Excluded, Intent, Route, RouteContext, Target, Why};
use crate::startup::StartupParams;
use crate::track::Pin;
use crate::track::pipeline::Kind;
use crate::wire::tags::frontend as tag;
use crate::wire::{Frontend, Header};

/// What keeps a request from being forwarded.
pub(super) enum Obstacle {
    None,
    /// Something has to happen first.
    Wait,
    /// The reader cannot serve it.
    NoReader,
    /// The reader lags too far behind.
    Lagging,
    /// The reader refuses what the request needs there.
    Refused,
    /// The session is pinned now: its upstream is to be chosen anew.
    Pinned,
}

impl<R: Route> Session<R> {
    /// Looks at the next message of a segment, or chooses its upstream when enough was seen.
    pub(super) fn look_ahead(&mut self, now: Instant, input: &[u8]) -> Demand {
        let parts = self.has_reader_transaction();
        match self.requests.look.seen {
            Seen::Parted if !parts => self.requests.look.seen = Seen::On,
            Seen::On => {}
            Seen::Enough | Seen::Parted | Seen::TooLong => return self.decide(now, input),
        }
        let len = self.requests.look.len;
        let rest = input.get(len..).unwrap_or_default();
        let header = match self.client_header(rest) {
            Ok(Some(header)) if header.tag != tag::TERMINATE || len == 0 => header,
            Ok(None) => return self.look_further(len.saturating_add(Header::LEN)),
            // What precedes a Terminate or a fault is a segment of its own.
            Ok(Some(_)) | Err(_) => {
                self.requests.look.seen = Seen::Enough;
                return Demand::Again;
            }
        };
        let asks_alone = matches!(header.tag, tag::QUERY | tag::FUNCTION_CALL);
        if len > 0 && asks_alone && parts {
            // It may have no place where what precedes it in its batch has one.
            self.requests.look.seen = Seen::Parted;
            return Demand::Again;
        }
        if is_of_no_type(header.tag) {
            // The writer gets it unread: a server refuses the type without waiting for the body.
            self.requests.look.too_long();
            return Demand::Again;
        }
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
    fn decide(&mut self, now: Instant, input: &[u8]) -> Demand {
        if self.has_reader_transaction() {
            return self.decide_within(now, input);
        }
        let Some((leg, reason)) = self.choose(input) else {
            if self.nothing_in_flight() {
                self.requests.look.restart();
                return Demand::Again;
            }
            return Demand::Paused;
        };
        match self.obstacle(now, leg) {
            Obstacle::None => match self.freshness_of(now, leg) {
                Fresh::Yes if leg == self.reader() && self.may_try(&self.requests.look) => {
                    self.try_on(leg, reason, input)
                }
                Fresh::Yes => {
                    self.clear_stale(leg);
                    self.tidy_statements(leg);
                    if leg == self.reader() {
                        self.part_is_sent(None);
                    }
                    self.settle_on(leg, reason)
                }
                Fresh::Wait => Demand::Paused,
                Fresh::No => self.settle_on(self.writer(), RouteReason::Stale),
            },
            Obstacle::Wait => Demand::Paused,
            Obstacle::NoReader => self.settle_on(self.writer(), RouteReason::ReaderDown),
            Obstacle::Lagging => self.settle_on(self.writer(), RouteReason::Lagging),
            Obstacle::Refused => self.settle_on(self.writer(), reason),
            Obstacle::Pinned => Demand::Again,
        }
    }

    /// Whether an upstream has what the session wrote. A batch that a reader has begun goes on there.
    fn freshness_of(&mut self, now: Instant, leg: LegId) -> Fresh {
        let begins = self.requests.batch == Batch::None && self.requests.look.class != Class::Empty;
        match self.duty(leg) {
            Duty::Reader if begins => self.freshness(now, leg),
            Duty::Reader | Duty::Writer | Duty::Spare => Fresh::Yes,
        }
    }

    /// Which upstream the segment asks for; `None` when it has to be looked at again with nothing in flight.
    fn choose(&mut self, input: &[u8]) -> Option<(LegId, RouteReason)> {
        let opens = self.opens_on_reader();
        let look = &self.requests.look;
        let (class, why, reason) = match opens {
            true => {
                let why = Why::BeginReadOnly;
                (Class::Read, why, RouteReason::Intent(why))
            }
            false => (look.class, look.why, seen_reason(look)),
        };
        if look.seen == Seen::TooLong {
            return Some((self.writer(), RouteReason::TooLong));
        }
        if look.class == Class::Empty {
            let there = if self.is_serving(self.requests.last) {
                self.requests.last
            } else {
                self.writer()
            };
            return Some((there, reason));
        }
        if let Some(reason) = self.goes_back_for() {
            return Some((self.writer(), reason));
        }
        let certainty = look.certainty;
        let may_try = self.may_try(look);
        let text = look.text.clone();
        match self.ask_policy(class, why, may_try, text.bytes(input)) {
            Target::Writer => Some((self.writer(), reason)),
            Target::Reader if certainty == Certainty::Tentative => None,
            Target::Reader => Some((self.reader(), reason)),
        }
    }

    pub(super) fn ask_policy(
        &mut self,
        class: Class,
        why: Why,
        may_try: bool,
        text: Option<&[u8]>,
    ) -> Target {
        let intent = Intent {
            class,
            ..Intent::opaque(why)
        };
        let mut context = RouteContext::new(true);
        context.may_try = may_try;
        context.text = text;
        let startup = self.client.startup.as_ref();
        context.user = startup.map_or(&[], StartupParams::user);
        context.database = startup.map_or(&[], StartupParams::database);
        self.route.route(&intent, &context)
    }

    /// Closes statements on an upstream that the client has closed while it was served elsewhere.
    pub(super) fn clear_stale(&mut self, leg: LegId) {
        let settled = self
            .leg(leg)
            .serving()
            .is_some_and(|serving| serving.pipeline.is_settled());
        if !settled || self.requests.batch != Batch::None {
            return;
        }
        for name in self
            .memory
            .statements
            .stale(leg.index(), limits::STALE_STATEMENTS_AT_ONCE)
        {
            self.repair(leg, &name);
        }
    }

    fn is_serving(&self, leg: LegId) -> bool {
        self.leg(leg).serving().is_some()
    }

    /// What has to happen before a segment can go to an upstream; whatever can be set going is.
    fn obstacle(&mut self, now: Instant, leg: LegId) -> Obstacle {
        if self.requests.batch == Batch::On(self.reader()) && leg == self.writer() {
            return self.leave_reader(now);
        }
        if !self.others_are_quiet(leg) {
            return Obstacle::Wait;
        }
        match self.duty(leg) {
            Duty::Writer | Duty::Spare => Obstacle::None,
            Duty::Reader => self.reader_obstacle(now),
        }
    }

    fn reader_obstacle(&mut self, now: Instant) -> Obstacle {
        if self.requests.batch == Batch::None {
            match self.judge_reader(now) {
                Err(Excluded::Lagging) => return Obstacle::Lagging,
                // It is left when it has answered us.
                Err(Excluded::Down) if self.owes_us_alone(self.reader()) => {
                    return Obstacle::NoReader;
                }
                Err(Excluded::Down) | Ok(()) => {}
            }
        }
        if matches!(self.leg(self.reader()).phase, Phase::Absent) {
            match self.choose_reader(now) {
                Ok(_) => self.dial(now, self.reader()),
                Err(Excluded::Lagging) => return Obstacle::Lagging,
                Err(Excluded::Down) => {}
            }
        }
        let ended = self.leg(self.reader()).stream != Stream::Open;
        let retried = self.leg(self.reader()).retry_at.is_some();
        match &self.leg(self.reader()).phase {
            Phase::Absent | Phase::Closing => Obstacle::NoReader,
            // A reader that failed before is tried beside the requests, not in front of them.
            Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
                if retried =>
            {
                Obstacle::NoReader
            }
            Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_) => Obstacle::Wait,
            Phase::Serving(serving) if serving.said_fatal() || ended => Obstacle::Wait,
            Phase::Serving(_) => self.serving_reader_obstacle(now),
        }
    }

    /// What has to happen before a reader that is logged in to takes a segment.
    fn serving_reader_obstacle(&mut self, now: Instant) -> Obstacle {
        let leg = self.leg(self.reader());
        let answering = match leg.answers {
            Answers::InTime => Obstacle::Wait,
            Answers::Late => Obstacle::NoReader,
        };
        match leg.serving() {
            None => Obstacle::NoReader,
            // It is given up as soon as it has answered everything.
            Some(serving) if serving.is_promoted() && self.requests.batch == Batch::None => {
                self.fence(self.reader());
                Obstacle::Wait
            }
            Some(serving) if serving.restore == Restore::Running => answering,
            Some(serving) if serving.asked == Asked::Untold => {
                if let Some(serving) = self.leg_mut(self.reader()).serving_mut() {
                    serving.asked = Asked::Again;
                }
                Obstacle::NoReader
            }
            Some(serving)
                if serving.stamp < self.memory.journal.stamp() || self.is_to_be_asked(serving) =>
            {
                self.restore(now, self.reader());
                answering
            }
            // A batch that stands there was begun when they were the same.
            Some(_) if self.requests.batch == Batch::None && self.reports_differ() => {
                self.pin(Pin::SettingsDiffer);
                Obstacle::Pinned
            }
            Some(_) => self.mirror(now),
        }
    }

    /// A batch that stands on the reader has to go on at the writer: its part there is ended with a Sync of ours.
    pub(super) fn leave_reader(&mut self, now: Instant) -> Obstacle {
        let Some(serving) = self.leg(self.reader()).serving() else {
            return Obstacle::NoReader;
        };
        if !serving.pipeline.is_settled() {
            // Everything sent there was followed by Flush, so the replies come.
            return Obstacle::Wait;
        }
        self.inject(self.reader(), &SYNC, Kind::Sync, Note::Leave);
        self.requests.batch = Batch::Leaving;
        let timeout = self.config.timeouts.replay;
        self.timers
            .start(now, timeout, Timer::Restore(self.reader().peer()));
        Obstacle::Wait
    }

    /// The reader has answered the Sync that ends our part of a batch there.
    pub(super) fn leave_batch(&mut self) {
        let settled = self
            .leg(self.reader())
            .serving()
            .is_none_or(|serving| serving.pipeline.is_settled());
        if self.requests.batch == Batch::Leaving && settled {
            self.timers.stop(Timer::Restore(self.reader().peer()));
            self.requests.batch = Batch::Left;
        }
    }

    pub(super) fn settle_on(&mut self, leg: LegId, reason: RouteReason) -> Demand {
        let look = &mut self.requests.look;
        let (len, class) = (look.len, look.class);
        let outline = look.outline.take();
        look.restart();
        let before = self.requests.batch;
        if len == 0 {
            // Nothing of it could be looked at: it is taken message by message.
            self.requests.batch = Batch::Unseen;
        } else {
            self.requests.decided = Some((leg, len));
        }
        if class != Class::Empty {
            self.routed(leg, class, reason, outline);
        } else if self.requests.batch == Batch::None {
            self.requests.numbered();
        }
        self.requests.began(before);
        Demand::Again
    }

    /// Whether an upstream owes nothing but answers to what we asked of our own accord.
    fn owes_us_alone(&self, leg: LegId) -> bool {
        self.is_serving(leg) && !self.owes_client(leg)
    }
}

/// Whether the protocol has no message of a client with this tag.
fn is_of_no_type(tag: u8) -> bool {
    matches!(Frontend::parse(tag, &[]), Ok(Frontend::Unknown { .. }))
}
