//! What each message of a serving upstream means, and to whom it goes.

use std::time::Instant;

use super::begin::says_it_is_no_standby;
use super::effects::Note;
use super::forward::run_of;
use super::fresh::Question;
use super::leg::{Answers, Duty, LegId, Restore};
use super::loss::Cut;
use super::restore::is_serializable;
use super::upstream::frame_limit;
use super::{CloseCause, Demand, PeerId, Session, Timer};
use crate::ledger::Fate;
use crate::limits;
use crate::route::Route;
use crate::track::Pin;
use crate::track::pipeline::{Kind, Owed, Owner, is_repair};
use crate::track::prepared::Reached;
use crate::track::reading::Reading;
use crate::wire::{Backend, Header, TransactionStatus, tags::backend as tag};

impl<R: Route> Session<R> {
    pub(super) fn serving_input(&mut self, now: Instant, leg: LegId, input: &[u8]) -> Demand {
        if self.is_relay_only() {
            return self.relay_replies(now, leg, input);
        }
        if let Some(demand) = self.hear_move(now, leg, input) {
            return demand;
        }
        let header = match Header::parse_within(input, self.config.limits.server_message) {
            Ok(Some(header)) => header,
            Ok(None) => return Demand::Bytes(Header::LEN),
            Err(fault) => {
                self.leg_out_of_sync(now, leg, fault, input);
                return Demand::Again;
            }
        };
        if let Some(demand) = self.judge_trial(leg, input) {
            return demand;
        }
        if let Some(serving) = self.leg_mut(leg).serving_mut() {
            serving.newest = header.tag;
        }
        if self.accepts_denied(leg, header.tag) {
            return self.did_not_refuse(now, leg);
        }
        match header.tag {
            tag::DATA_ROW | tag::COPY_DATA => self.pass_rows(now, leg, header.tag, input),
            tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE | tag::PARAMETER_STATUS => {
                self.take_asynchronous(leg, header, input)
            }
            tag::ERROR_RESPONSE => self.take_error(now, leg, header, input),
            tag::COMMAND_COMPLETE | tag::READY_FOR_QUERY => {
                self.take_whole(now, leg, header, input)
            }
            other if is_known(other) => self.take_reply(now, leg, header, &[]),
            // A message that this crate does not know belongs to what is being answered.
            _ => self.pass_unknown(leg, header),
        }
    }

    /// An upstream answers what no server takes.
    fn did_not_refuse(&mut self, now: Instant, leg: LegId) -> Demand {
        self.misbehaved(
            now,
            leg,
            "what stands in the place of a denied message was not refused".to_owned(),
        );
        Demand::Again
    }

    /// Rows and copy data: as many as are there, in one go.
    fn pass_rows(&mut self, now: Instant, leg: LegId, frames: u8, input: &[u8]) -> Demand {
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return Demand::Paused;
        };
        let owner = match serving.pipeline.reply(frames) {
            Ok(reply) => reply.owner,
            Err(unexpected) => {
                self.leg_makes_no_sense(now, leg, unexpected.to_string());
                return Demand::Again;
            }
        };
        if owner == Owner::Client && !self.has_room_to_client(leg) {
            return Demand::Paused;
        }
        if let Some(question) = self.question_of(leg, frames) {
            return self.take_answer(now, leg, question, input);
        }
        let run = run_of(frames, self.config.limits.server_message, input);
        match self.ledger.claim_run(
            leg.peer().port(),
            self.fate(leg, owner),
            run.total,
            run.last,
        ) {
            Ok(()) => {
                let fate = self.fate(leg, owner);
                self.tally.rows(leg, fate, frames, run.frames);
                self.answered_by(leg, owner, frames, &[]);
                Demand::Again
            }
            Err(_) => Demand::Paused,
        }
    }

    /// The row that answers a question of ours.
    fn take_answer(
        &mut self,
        now: Instant,
        leg: LegId,
        question: Question,
        input: &[u8],
    ) -> Demand {
        let header = match Header::parse_within(input, frame_limit(&self.config)) {
            Ok(Some(header)) => header,
            Ok(None) => return Demand::Bytes(Header::LEN),
            Err(fault) => {
                self.misbehaved(now, leg, fault.to_string());
                return Demand::Again;
            }
        };
        let Some((body, _)) = header.split(input) else {
            return Demand::Bytes(usize::try_from(header.frame_len).unwrap_or(usize::MAX));
        };
        if !self.claim_reply(leg, header, body, Owner::Injected) {
            return Demand::Paused;
        }
        self.heard_answer(question, body);
        Demand::Again
    }

    /// Where a reply goes.
    fn fate(&self, leg: LegId, owner: Owner) -> Fate {
        match owner {
            Owner::Client if !self.is_refusing(leg) => Fate::To(PeerId::CLIENT.port()),
            Owner::Client | Owner::Injected => Fate::Discard,
        }
    }

    /// A message of an upstream was claimed, as part of an answer.
    fn answered_by(&mut self, leg: LegId, owner: Owner, frame: u8, body: &[u8]) {
        if self.is_refusing(leg) {
            self.request_refused(leg, frame);
        } else {
            self.request_answered(leg, owner, frame, body);
        }
    }

    /// Claims a whole message of an upstream. Whether there was room.
    fn claim_reply(&mut self, leg: LegId, header: Header, body: &[u8], owner: Owner) -> bool {
        let claimed = (owner == Owner::Injected || self.has_room_to_client(leg))
            && self
                .ledger
                .claim(
                    leg.peer().port(),
                    self.fate(leg, owner),
                    u64::from(header.frame_len),
                )
                .is_ok();
        if claimed {
            let fate = self.fate(leg, owner);
            self.tally.reply(leg, fate, header.tag, body);
        }
        claimed
    }

    /// Whether a message of an upstream fits the client's queue, and behind it a message of ours: one that is due
    /// when somebody dies cannot wait for room.
    fn has_room_to_client(&self, leg: LegId) -> bool {
        let (from, client) = (leg.peer().port(), PeerId::CLIENT.port());
        self.ledger.room_before_push(from, client)
    }

    /// Whether the next message fits the queues, whoever it turns out to be for.
    pub(super) fn has_room_for_reply(&self, leg: LegId) -> bool {
        self.has_room_to_client(leg) && self.ledger.room(leg.peer().port(), Fate::Discard)
    }

    /// Claims a message for which there is room.
    fn take_claim(&mut self, leg: LegId, header: Header, body: &[u8], fate: Fate) {
        self.tally.reply(leg, fate, header.tag, body);
        let frame = u64::from(header.frame_len);
        if self.ledger.claim(leg.peer().port(), fate, frame).is_err() {
            self.abort(CloseCause::Misuse("room was there and is gone"));
        }
    }

    fn pass_unknown(&mut self, leg: LegId, header: Header) -> Demand {
        let owner = self
            .leg(leg)
            .serving()
            .and_then(|serving| serving.pipeline.head())
            .map(|owed| owed.owner);
        let owner = owner.unwrap_or(self.unasked(leg));
        if self.claim_reply(leg, header, &[], owner) {
            Demand::Again
        } else {
            Demand::Paused
        }
    }

    /// Notices, notifications and parameters: the client gets the writer's, and a reader's notices about its own
    /// request; never between the messages of another upstream's reply.
    fn take_asynchronous(&mut self, leg: LegId, header: Header, input: &[u8]) -> Demand {
        let others = LegId::ALL.into_iter().filter(|other| *other != leg);
        let mut busy = others.filter(|other| self.owes_client(*other));
        let heard = self.duty(leg) != Duty::Spare;
        let owner = match header.tag {
            tag::NOTICE_RESPONSE => self.owner_of_notice(leg),
            _ => self.unasked(leg),
        };
        if owner == Owner::Client && heard && busy.next().is_some() && !self.owes_client(leg) {
            return Demand::Paused;
        }
        // A server says what it was notified of behind the transaction.
        if header.tag == tag::NOTIFICATION_RESPONSE && heard && self.reader_runs_transaction() {
            return Demand::Paused;
        }
        let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
        let body = header.split(input).map(|(body, _)| body);
        if header.tag == tag::PARAMETER_STATUS
            && body.is_none()
            && frame <= self.config.limits.read_buffer
        {
            return Demand::Bytes(frame);
        }
        let beginning = match beginning(header, input) {
            Ok(beginning) => beginning,
            Err(needed) => return Demand::Bytes(needed),
        };
        if !self.claim_reply(leg, header, beginning, owner) {
            return Demand::Paused;
        }
        if header.tag == tag::PARAMETER_STATUS {
            self.parameter_changed(leg, body);
        }
        Demand::Again
    }

    /// A notice is about what is being answered. No question of ours gives rise to one, nor does what begins or ends a transaction.
    fn owner_of_notice(&self, leg: LegId) -> Owner {
        let serving = self.leg(leg).serving();
        match serving.and_then(|serving| serving.pipeline.head()) {
            Some(_) if self.is_asked_for_a_move(leg) => self.unasked(leg),
            Some(head) if !matches!(head.note, Note::Question(_) | Note::Again) => head.owner,
            Some(_) | None => self.unasked(leg),
        }
    }

    fn parameter_changed(&mut self, leg: LegId, body: Option<&[u8]>) {
        let parsed = body.map(|body| Backend::parse(tag::PARAMETER_STATUS, body));
        if let Some(Ok(Backend::ParameterStatus { name, value })) = parsed {
            if let Some(serving) = self.leg_mut(leg).serving_mut() {
                serving.learn(name, value);
            }
        }
        match (self.duty(leg), parsed) {
            (Duty::Writer, Some(Ok(Backend::ParameterStatus { name, value }))) => {
                if let Some(reading) = Reading::by(name) {
                    self.memory.statements.reading_changed(reading);
                }
                self.memory.learn(name, value)
            }
            (Duty::Writer, _) => self.pin(Pin::Lexing),
            (Duty::Reader, Some(Ok(Backend::ParameterStatus { name, value })))
                if says_it_is_no_standby(name, value) =>
            {
                if let Some(serving) = self.leg_mut(leg).serving_mut() {
                    serving.says_promoted();
                }
            }
            (Duty::Reader | Duty::Spare, _) => {}
        }
    }

    /// Whose is what an upstream says without being asked: the client hears the writer alone.
    fn unasked(&self, leg: LegId) -> Owner {
        match self.duty(leg) {
            Duty::Writer => Owner::Client,
            Duty::Reader | Duty::Spare => Owner::Injected,
        }
    }

    fn take_error(&mut self, now: Instant, leg: LegId, header: Header, input: &[u8]) -> Demand {
        if !self.has_room_for_reply(leg) || !self.has_room_for_denial(leg) {
            return Demand::Paused;
        }
        let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
        let body = header.split(input).map(|(body, _)| body);
        if body.is_none() && frame <= self.config.limits.read_buffer {
            return Demand::Bytes(frame);
        }
        let beginning = match beginning(header, input) {
            Ok(beginning) => beginning,
            Err(needed) => return Demand::Bytes(needed),
        };
        let parsed = body.map(|body| Backend::parse(tag::ERROR_RESPONSE, body));
        let fatal = matches!(parsed, Some(Ok(Backend::ErrorResponse(fields))) if fields.is_fatal());
        let duty = self.duty(leg);
        if duty == Duty::Reader
            && matches!(parsed, Some(Ok(Backend::ErrorResponse(fields))) if is_serializable(&fields))
        {
            self.pin(Pin::Serializable);
        }
        if fatal {
            self.take_farewell(now, leg, header, beginning);
            return Demand::Again;
        }
        let Some(skips_query) = self.skips_query(leg) else {
            return Demand::Paused;
        };
        let denial = self.take_denial(leg);
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return Demand::Paused;
        };
        let answered = serving.pipeline.error();
        let (owner, dropped) = answered.unwrap_or_else(|| (self.unasked(leg), Vec::new()));
        let to = self.owner_of_error(leg, owner, &dropped);
        if to == Owner::Client {
            // Whatever it was for: the request that was tried has its answer.
            self.accept_trial_of(leg);
        }
        match denial {
            None => {
                let fate = self.fate(leg, to);
                self.take_claim(leg, header, beginning, fate);
            }
            Some(denial) => {
                self.take_claim(leg, header, beginning, Fate::Discard);
                self.tell(&denial.tell());
            }
        }
        self.answered_by(leg, to, header.tag, &[]);
        match duty {
            Duty::Writer => self.unit_failed(),
            Duty::Reader => {
                self.transaction_fails();
                self.memory.portals.failed();
            }
            Duty::Spare => {}
        }
        if skips_query {
            let query = dropped.iter().find(|item| item.kind == Kind::Query);
            self.end_skipped_query(leg, query.and_then(|query| query.note.unnamed()));
        }
        let mut reached = Reached::Server;
        for item in dropped {
            self.undone(item.note, reached);
            reached = Reached::Nobody;
        }
        Demand::Again
    }

    /// The error with which an upstream ends the session.
    fn take_farewell(&mut self, now: Instant, leg: LegId, header: Header, beginning: &[u8]) {
        if let Some(serving) = self.leg_mut(leg).serving_mut() {
            serving.says_fatal();
        }
        let cause = CloseCause::UpstreamEnded(leg.peer());
        match self.duty(leg) {
            Duty::Writer if self.goes_on_without(now, leg, &cause) => {}
            Duty::Writer => {
                let fate = self.fate(leg, Owner::Client);
                self.take_claim(leg, header, beginning, fate);
                self.end(now, cause, None);
            }
            Duty::Reader | Duty::Spare => {
                // A reader's farewell is not the session's: each request that it owes is answered by us.
                self.take_claim(leg, header, beginning, Fate::Discard);
                self.leg_lost(now, leg, cause, Cut::None);
            }
        }
    }

    /// An error in a message of ours belongs to the client's message that needed it, unless nothing of the client's
    /// is skipped because of it.
    fn owner_of_error(&mut self, leg: LegId, owner: Owner, dropped: &[Owed<Note>]) -> Owner {
        if owner == Owner::Client || dropped.iter().any(|item| item.owner == Owner::Client) {
            return Owner::Client;
        }
        if dropped.first().is_some_and(is_repair) && self.failed_ahead(leg) {
            return Owner::Client;
        }
        self.restore_refused(leg);
        Owner::Injected
    }

    fn take_whole(&mut self, now: Instant, leg: LegId, header: Header, input: &[u8]) -> Demand {
        match header.split(input) {
            Some((body, _)) => self.take_reply(now, leg, header, body),
            None if header.frame_len <= frame_limit(&self.config) => {
                Demand::Bytes(usize::try_from(header.frame_len).unwrap_or(usize::MAX))
            }
            None => {
                self.misbehaved(
                    now,
                    leg,
                    "a message that ends a request is longer than any can be".to_owned(),
                );
                Demand::Again
            }
        }
    }

    fn take_reply(&mut self, now: Instant, leg: LegId, header: Header, body: &[u8]) -> Demand {
        if !self.has_room_for_reply(leg) {
            return Demand::Paused;
        }
        let takes_data = matches!(header.tag, tag::COPY_IN_RESPONSE | tag::COPY_BOTH_RESPONSE);
        if takes_data && self.duty(leg) == Duty::Reader {
            // Nothing that is sent there takes data, and what comes next of the client's would be sent as some.
            let why = "a reader asks for data to copy";
            self.leg_makes_no_sense(now, leg, why.to_owned());
            return Demand::Again;
        }
        if matches!(header.tag, tag::COMMAND_COMPLETE | tag::PORTAL_SUSPENDED) {
            // What a query does to the session it may have done by its first row.
            self.complete_statement(leg, body);
        }
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return Demand::Paused;
        };
        let reply = match serving.pipeline.reply(header.tag) {
            Ok(reply) => reply,
            Err(unexpected) => {
                self.leg_makes_no_sense(now, leg, unexpected.to_string());
                return Demand::Again;
            }
        };
        if matches!(&reply.done, Some(done) if matches!(done.note, Note::Denied(_))) {
            return self.did_not_refuse(now, leg);
        }
        let fate = self.fate(leg, reply.owner);
        self.take_claim(leg, header, body, fate);
        if header.tag != tag::READY_FOR_QUERY || reply.done.is_some() {
            self.answered_by(leg, reply.owner, header.tag, body);
        }
        let note = reply.done.map(|done| done.note);
        if header.tag == tag::READY_FOR_QUERY {
            if reply.owner == Owner::Client && !self.is_refusing(leg) {
                self.requests.is_answered();
            }
            return self.ready(now, leg, body, note);
        }
        if let Some(note) = note {
            self.answered(note);
        }
        Demand::Again
    }

    /// The tag of a finished statement is shown to the effects of the request it belongs to.
    fn complete_statement(&mut self, leg: LegId, body: &[u8]) {
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return;
        };
        let Some(head) = serving.pipeline.head_mut() else {
            return;
        };
        if !matches!(head.note, Note::Effects(_)) {
            return;
        }
        let Note::Effects(mut effects) = std::mem::replace(&mut head.note, Note::Nothing) else {
            return;
        };
        let command = body.strip_suffix(&[0]).unwrap_or(body);
        self.statement_complete(&mut effects, command);
        if leg == self.reader() {
            self.reader_completed(command);
        }
        if let Some(head) = self
            .leg_mut(leg)
            .serving_mut()
            .and_then(|serving| serving.pipeline.head_mut())
        {
            head.note = Note::Effects(effects);
        }
    }

    fn ready(&mut self, now: Instant, leg: LegId, body: &[u8], note: Option<Note>) -> Demand {
        let status = match Backend::parse(tag::READY_FOR_QUERY, body) {
            Ok(Backend::ReadyForQuery { status }) => status,
            Ok(_) | Err(_) => {
                let why = "a ReadyForQuery without a status";
                self.leg_makes_no_sense(now, leg, why.to_owned());
                return Demand::Again;
            }
        };
        let at = self.leg_mut(leg);
        at.answers = Answers::InTime;
        let Some(serving) = at.serving_mut() else {
            return Demand::Paused;
        };
        serving.status = status;
        let mut again = false;
        let empty = serving.pipeline.is_empty();
        if let Some(Note::Restore(restored)) = note {
            serving.has_restored(restored);
            if !serving.pipeline.has_injected() {
                serving.restore = Restore::Resting;
                self.timers.stop(Timer::Restore(leg.peer()));
            }
        } else if let Some(Note::Question(question)) = note {
            self.question_is_over(leg, question);
        } else if let Some(Note::Again) = note {
            again = true;
        } else if let Some(note) = note {
            if matches!(note, Note::Mirror) && serving.restore == Restore::Resting {
                self.timers.stop(Timer::Restore(leg.peer()));
            }
            self.answered(note);
        }
        match self.duty(leg) {
            Duty::Writer => self.writer_ready(now, status, empty),
            Duty::Reader if self.reader_ready(status) => {}
            Duty::Spare if status == TransactionStatus::Idle => {}
            Duty::Reader | Duty::Spare => {
                self.misbehaved(
                    now,
                    leg,
                    "a transaction is open where none was begun".to_owned(),
                );
            }
        }
        if again {
            self.asked_again(now, leg, status);
        }
        if empty && status == TransactionStatus::Idle {
            self.portals_are_over();
        }
        if !self
            .leg(leg)
            .serving()
            .is_some_and(|serving| serving.pipeline.has_client())
        {
            self.refusal_is_over(leg);
        }
        Demand::Again
    }

    fn writer_ready(&mut self, now: Instant, status: TransactionStatus, empty: bool) {
        match status {
            TransactionStatus::Idle => {
                self.unit_over();
                if empty {
                    self.memory.path_is_settled();
                    self.writes_are_over(now);
                }
            }
            TransactionStatus::InTransaction | TransactionStatus::Failed => self.unit_goes_on(),
        }
        if empty {
            self.memory.nothing_in_flight();
        }
        // The writer has run every statement that is in the journal: it is where they come from.
        let stamp = self.memory.journal.stamp();
        if let Some(serving) = self.leg_mut(self.writer()).serving_mut() {
            serving.stamp = stamp;
        }
    }
}

/// As much of a message's body as counting it takes, or how many bytes have to be there first.
fn beginning(header: Header, input: &[u8]) -> Result<&[u8], usize> {
    let most = Header::LEN.saturating_add(limits::STATS_BODY);
    let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
    let needed = frame.min(most);
    input.get(Header::LEN..needed).ok_or(needed)
}

fn is_known(frame: u8) -> bool {
    matches!(
        frame,
        tag::PARSE_COMPLETE
            | tag::BIND_COMPLETE
            | tag::CLOSE_COMPLETE
            | tag::PARAMETER_DESCRIPTION
            | tag::ROW_DESCRIPTION
            | tag::NO_DATA
            | tag::PORTAL_SUSPENDED
            | tag::EMPTY_QUERY_RESPONSE
            | tag::COPY_IN_RESPONSE
            | tag::COPY_OUT_RESPONSE
            | tag::COPY_BOTH_RESPONSE
            | tag::COPY_DONE
            | tag::FUNCTION_CALL_RESPONSE
            | tag::AUTHENTICATION
            | tag::BACKEND_KEY_DATA
            | tag::NEGOTIATE_PROTOCOL_VERSION
    )
}
