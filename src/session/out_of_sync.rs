//! What becomes of a session when a stream makes no sense any more: an end, with or without a word, or two streams that pass
//! unread.
//!
//! What passes unread has to be what the client and the writer would have said to each other, had they been alone. So a session
//! becomes that only where nothing else has a part in it: no answer of a reader, no message of ours whose answer would be
//! taken for one of the client's, nothing that the client has set up elsewhere.

use std::time::Instant;

use super::client::SessionKind;
use super::leg::{Attempt, Duty, LegId, Phase};
use super::loss::Stream;
use super::moving::Moving;
use super::policy::Judged;
use super::requests::Batch;
use super::{CloseCause, Demand, Event, Life, OutOfSync, PeerId, Relayed, Session, Tell};
use crate::error::Malformed;
use crate::route::Route;
use crate::wire::{Header, sqlstate};

/// Whether a header makes sense to the protocol, though it is refused.
fn makes_sense(input: &[u8]) -> bool {
    Header::parse(input).is_ok()
}

impl<R: Route> Session<R> {
    /// A length of the client's that is not taken. What came before it is answered first.
    pub(super) fn client_out_of_sync(
        &mut self,
        now: Instant,
        fault: &Malformed,
        input: &[u8],
    ) -> Demand {
        if self.answers_are_due() || self.waits_to_pass(input) {
            return self.wait_for_answers();
        }
        let why = fault.to_string();
        let tell = Tell::fatal(sqlstate::PROTOCOL_VIOLATION, "invalid message length")
            .with_detail(why.clone());
        let then = match makes_sense(input) {
            true => OutOfSync::Error,
            false => self.out_of_sync(now, PeerId::CLIENT, why),
        };
        let cause = |told| CloseCause::ClientFault(told);
        match then {
            OutOfSync::Error => self.end(now, cause(Some(tell.state)), Some(tell)),
            OutOfSync::Close => self.end(now, cause(None), None),
            OutOfSync::Passthrough => {}
        }
        Demand::Again
    }

    /// A length of an upstream's that is not taken.
    pub(super) fn leg_out_of_sync(
        &mut self,
        now: Instant,
        leg: LegId,
        fault: Malformed,
        input: &[u8],
    ) {
        match makes_sense(input) {
            true => self.misbehaved(now, leg, fault.to_string()),
            false => self.leg_makes_no_sense(now, leg, fault.to_string()),
        }
    }

    /// An upstream's stream makes no sense any more.
    pub(super) fn leg_makes_no_sense(&mut self, now: Instant, leg: LegId, why: String) {
        if self.duty(leg) != Duty::Writer {
            return self.misbehaved(now, leg, why);
        }
        match self.out_of_sync(now, leg.peer(), why.clone()) {
            OutOfSync::Error => self.misbehaved(now, leg, why),
            OutOfSync::Close => self.end(now, CloseCause::UpstreamFault(leg.peer()), None),
            OutOfSync::Passthrough => {}
        }
    }

    /// What the client is told of such a writer.
    pub(super) fn writer_broke_the_protocol(&self) -> Tell {
        let which = self.writers_name();
        Tell::fatal(
            sqlstate::PROTOCOL_VIOLATION,
            format!("the {which} server broke the protocol"),
        )
    }

    /// What follows, which is told. Where the streams are to pass, they do already.
    fn out_of_sync(&mut self, now: Instant, peer: PeerId, why: String) -> OutOfSync {
        let then = match self.config.out_of_sync {
            OutOfSync::Passthrough if self.may_pass_unread() => OutOfSync::Passthrough,
            OutOfSync::Passthrough | OutOfSync::Error => OutOfSync::Error,
            OutOfSync::Close => OutOfSync::Close,
        };
        self.notify(Event::OutOfSync { peer, why, then });
        if then == OutOfSync::Passthrough {
            self.pass_unread(now);
        }
        then
    }

    /// Whether the client's stream could pass once what is on its way of our own has come.
    fn waits_to_pass(&self, input: &[u8]) -> bool {
        let passes = self.config.out_of_sync == OutOfSync::Passthrough && !makes_sense(input);
        let owed = |leg: LegId| {
            let serving = self.leg(leg).serving();
            serving.is_some_and(|serving| serving.pipeline.has_injected())
        };
        passes && LegId::ALL.into_iter().any(owed)
    }

    /// Whether the client and the writer alone have a part in what is going on.
    fn may_pass_unread(&self) -> bool {
        let writer = self.writer();
        let Some(serving) = self.leg(writer).serving() else {
            return false;
        };
        let whole = !serving.pipeline.has_injected()
            && !serving.said_fatal()
            && !serving.was_terminated()
            && serving.stamp == self.memory.journal.stamp()
            && self.memory.statements.missing(writer.index()).is_empty()
            && self
                .memory
                .statements
                .outdated(writer.index())
                .next()
                .is_none();
        let others = LegId::ALL.into_iter().filter(|leg| *leg != writer);
        let alone = others.into_iter().all(|leg| {
            let serving = self.leg(leg).serving();
            serving.is_none_or(|serving| serving.pipeline.is_settled())
        });
        let at_the_writer = match self.requests.batch {
            Batch::None | Batch::Unseen => true,
            Batch::On(leg) => leg == writer,
            Batch::Leaving | Batch::Left | Batch::Broken(_) => false,
        };
        let decided = self.requests.decided.is_none_or(|(leg, _)| leg == writer);
        matches!(self.life, Life::Live)
            && self.client.stream == Stream::Open
            && self.client.key().is_some()
            && whole
            && alone
            && at_the_writer
            && decided
            && !self.is_judged()
            && !self.is_trying()
            && !self.has_reader_transaction()
            && matches!(self.relocation.moving, Moving::No)
    }

    /// From here on the client and the writer have the session to themselves.
    fn pass_unread(&mut self, now: Instant) {
        let writer = self.writer();
        for leg in LegId::ALL {
            if leg != writer && !matches!(self.leg(leg).phase, Phase::Absent | Phase::Closing) {
                self.leg_down(now, leg, CloseCause::SessionOver);
            }
            self.leg_mut(leg).attempt = Attempt::First;
        }
        // What is owed passes as what it is, and nobody asks any more whose it was.
        if let Some(serving) = self.leg_mut(writer).serving_mut() {
            drop(serving.pipeline.abandon());
        }
        self.requests.look.restart();
        self.requests.decided = None;
        self.requests.batch = Batch::None;
        self.requests.judged = Judged::NotYet;
        self.client.kind = SessionKind::OutOfSync;
        let to = self.leg(writer).to;
        let what = Relayed::OutOfSync;
        self.notify(Event::RelayedWhole { to, what });
    }
}
