//! Sending a message of the client on: what has to go before it, what it will be answered with, what to remember.

use super::effects::Note;
use super::leg::{Duty, LegId};
use super::policy::Judged;
use super::requests::{Batch, SYNC};
use super::segment::text_of;
use super::sql_prepare::{AskedFor, asked_for, stands_in};
use super::statement::bind_names;
use super::trial::Trial;
use super::{Demand, PeerId, Session};
use crate::error::Malformed;
use crate::ledger::Fate;
use crate::limits;
use crate::route::{Effect, Intent, Known, Route, may_leave_something};
use crate::track::Pin;
use crate::track::pipeline::{Kind, Owner};
use crate::track::prepared::{Change, Reached, key};
use crate::wire::{
    Close, Describe, Execute, Frontend, Header, Parse, Target, TransactionStatus,
    tags::frontend as tag,
};

/// What a message of the client is to the upstream that gets it.
enum Plan {
    /// A request that is answered.
    Request(Kind, Note),
    /// Nothing is owed for it.
    Silent,
    /// A message of ours does not fit before it.
    Full,
}

impl<R: Route> Session<R> {
    /// Forwards the client's next message to an upstream. [`Demand::Again`] when it was.
    pub(super) fn forward(&mut self, leg: LegId, header: Header, input: &[u8]) -> Demand {
        let whole = header.split(input).map(|(body, _)| body);
        let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
        // What is longer than the buffer is looked into as far as the buffer goes, however it arrives.
        let looked_into = frame.min(self.config.limits.read_buffer);
        if whole.is_none() && input.len() < looked_into && is_looked_into(header.tag) {
            return Demand::Bytes(looked_into);
        }
        if !self.has_room(leg) {
            return Demand::Paused;
        }
        if matches!(self.requests.judged, Judged::Denied(_)) {
            let demand = self.forward_denied(leg, header, input);
            return if demand == Demand::Again {
                self.went(leg, header.tag)
            } else {
                demand
            };
        }
        let plan = match whole {
            Some(body) if self.follows_statements() => self.plan(leg, header, body),
            Some(_) => untracked(header),
            None => self.plan_unread(leg, header, input.get(Header::LEN..).unwrap_or_default()),
        };
        match plan {
            Plan::Full => return Demand::Paused,
            Plan::Silent => {}
            Plan::Request(kind, note) => self.expect(leg, kind, note, header.frame_len),
        }
        let to = Fate::To(leg.peer().port());
        if self
            .ledger
            .claim(PeerId::CLIENT.port(), to, u64::from(header.frame_len))
            .is_err()
        {
            self.abort(super::CloseCause::Misuse(
                "room was promised and is not there",
            ));
        }
        self.requests.judged = Judged::NotYet;
        if whole.is_none() || header.tag == tag::FUNCTION_CALL {
            self.may_write_unseen(leg);
        }
        self.tally.request(leg, header.tag, 1);
        let body = whole.unwrap_or(input.get(Header::LEN..).unwrap_or_default());
        if header.tag == tag::FUNCTION_CALL {
            self.calls(body);
        }
        self.note_tables(leg, header.tag, body, whole.is_some());
        self.went(leg, header.tag)
    }

    /// A FunctionCall is on its way: what it leaves in the session is not known. One without a number is refused.
    fn calls(&mut self, body: &[u8]) {
        let function = body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        if function.is_some_and(may_leave_something) {
            self.pin(Pin::Procedure);
        }
    }

    /// A message of the client's with this tag was forwarded, or what stands in its place.
    fn went(&mut self, leg: LegId, frame: u8) -> Demand {
        self.answer_skipped(leg, frame);
        if matches!(frame, tag::SYNC | tag::QUERY | tag::FUNCTION_CALL) {
            self.memory.statements.synced();
        }
        if self.was_refused() {
            self.requests.trial = Trial::None;
        }
        self.requests.last = leg;
        self.requests.flushed = (frame == tag::FLUSH).then_some(leg);
        self.requests.batch = batch_after(self.requests.batch, leg, frame);
        Demand::Again
    }

    /// Sends an upstream a copy of a message of the client's, to be answered as the message itself. Whether it was.
    pub(super) fn send_copy(
        &mut self,
        leg: LegId,
        header: Header,
        frame: &[u8],
        body: &[u8],
    ) -> bool {
        match self.plan(leg, header, body) {
            Plan::Full => return false,
            Plan::Silent => {}
            Plan::Request(kind, note) => self.expect(leg, kind, note, header.frame_len),
        }
        self.tally.leg(leg).frontend(header.tag);
        self.note_tables(leg, header.tag, body, true);
        let sent = self.ledger.push(leg.peer().port(), frame).is_ok();
        self.request_sent(leg, header.tag);
        self.tell_tables(leg);
        sent
    }

    /// Whether a message of the client and what may have to go before it can be queued for an upstream.
    fn has_room(&self, leg: LegId) -> bool {
        let Some(serving) = self.leg(leg).serving() else {
            return false;
        };
        // A batch is never held back half way for the requests before it: what it owes may only come at its Sync.
        let limits = &self.config.limits;
        let few = match self.duty(leg) {
            Duty::Writer => true,
            Duty::Reader | Duty::Spare => {
                serving.pipeline.client_ready_owed() < limits.reader_requests_in_flight
            }
        };
        let to = Fate::To(leg.peer().port());
        // What stands behind such a Query would be skipped with it, and it is a request of its own.
        few && !serving.pipeline.may_skip_query()
            && (self.requests.failed_ahead != Some(leg) || self.has_room_before_end(leg))
            && serving.pipeline.len() < limits.requests_in_flight
            && self.ledger.room(PeerId::CLIENT.port(), to)
    }

    /// Copy data, to the upstream that reads it. Where no copy runs, the upstream that served last ignores it.
    pub(super) fn forward_copy(&mut self, header: Header, input: &[u8]) -> Demand {
        let copying = LegId::ALL.into_iter().find(|leg| {
            self.leg(*leg)
                .serving()
                .is_some_and(|serving| serving.pipeline.is_copying_in())
        });
        let leg = copying.unwrap_or(self.requests.last);
        if header.tag != tag::COPY_DATA {
            return self.forward(leg, header, input);
        }
        let run = run_of(tag::COPY_DATA, self.client_frame_max(), input);
        match self.ledger.claim_run(
            PeerId::CLIENT.port(),
            Fate::To(leg.peer().port()),
            run.total,
            run.last,
        ) {
            Ok(()) => {
                self.tally.request(leg, header.tag, run.frames);
                Demand::Again
            }
            Err(_) => Demand::Paused,
        }
    }

    /// The longest frame of the client that is taken, tag included.
    fn client_frame_max(&self) -> u32 {
        let most = limits::MESSAGE_LENGTH_MAX.saturating_add(1);
        self.config.limits.client_message.min(most)
    }

    /// The header of a message of the client's, of a length that is taken.
    pub(super) fn client_header(&self, input: &[u8]) -> Result<Option<Header>, Malformed> {
        Header::parse_within(input, self.client_frame_max())
    }

    /// Takes note of a message of so many bytes that is about to be queued.
    pub(super) fn expect(&mut self, leg: LegId, kind: Kind, note: Note, len: u32) {
        let queued = self.ledger.queued(leg.peer().port());
        let one = self.leg_mut(leg);
        let end = one
            .written
            .saturating_add(queued)
            .saturating_add(len.into());
        let Some(serving) = one.serving_mut() else {
            return;
        };
        if let Some(skipped) = serving.pipeline.sent(kind, Owner::Client, note, end) {
            self.undone(skipped.note, Reached::Nobody);
        }
    }

    fn plan(&mut self, leg: LegId, header: Header, body: &[u8]) -> Plan {
        let message = match Frontend::parse(header.tag, body) {
            Ok(message) => message,
            Err(_) => return untracked(header),
        };
        match message {
            Frontend::Query(query) => self.plan_query(leg, query.text),
            Frontend::Parse(parse) => self.plan_parse(leg, body, parse),
            Frontend::Bind(bind) => self.plan_bind(leg, key(bind.portal), key(bind.statement)),
            Frontend::Describe(Describe {
                kind: Target::Statement,
                name,
            }) => {
                if !self.repair(leg, key(name)) {
                    return Plan::Full;
                }
                Plan::Request(Kind::DescribeStatement, Note::Nothing)
            }
            Frontend::Describe(Describe {
                kind: Target::Portal,
                ..
            }) => Plan::Request(Kind::DescribePortal, Note::Nothing),
            Frontend::Execute(Execute { portal, .. }) => self.plan_execute(leg, portal),
            Frontend::Close(close) => self.plan_close(leg, close),
            Frontend::Sync => {
                self.memory.portals.request_ends();
                untracked(header)
            }
            Frontend::FunctionCall(_)
            | Frontend::Flush
            | Frontend::CopyDone
            | Frontend::CopyFail { .. }
            | Frontend::CopyData { .. }
            | Frontend::Terminate
            | Frontend::Password(_)
            | Frontend::Unknown { .. } => untracked(header),
        }
    }

    fn plan_query(&mut self, leg: LegId, text: &[u8]) -> Plan {
        let intent = self.intent_of(text);
        let executed = intent.sole_execute();
        let lacks = executed.is_some_and(|name| self.repair_len(leg, key(&name.0)) != Some(0));
        if !self.repair_for(leg, &intent, text) {
            return Plan::Full;
        }
        // What the server says of the one statement that is executed is what it would say of the Query.
        let says_it = lacks && self.has_repaired_one(leg);
        if !says_it && !self.end_repair(leg) {
            return Plan::Full;
        }
        self.memory.sent_text(self.duty(leg), &intent);
        self.may_write(leg, &intent);
        self.memory.outline = self.outline_of(text);
        let note = self.note_effects(leg, &intent, text);
        self.memory.portals.doubt_unnamed();
        self.memory.portals.request_ends();
        self.portals_end(&intent);
        // A simple Query drops the unnamed statement.
        let note = match self.forget_unnamed(leg) {
            Some(ticket) => note.and_unnamed(ticket),
            None => note,
        };
        Plan::Request(Kind::Query, note)
    }

    fn plan_parse(&mut self, leg: LegId, body: &[u8], parse: Parse<'_>) -> Plan {
        let intent = self.intent_of(parse.text);
        // What an EXECUTE returns is looked up when it is parsed.
        if !self.repair_executed(leg, &intent, parse.text) {
            return Plan::Full;
        }
        if !parse.name.is_empty() && !self.repair(leg, key(parse.name)) {
            return Plan::Full;
        }
        self.memory.sent_text(self.duty(leg), &intent);
        self.may_write(leg, &intent);
        self.memory.outline = self.outline_of(parse.text);
        let name: Box<[u8]> = key(parse.name).into();
        let text = self.may_forget(&name, &intent, parse.text);
        match self.define(leg, &name, body, text, intent) {
            Some(definition) => {
                let change = Change::Define {
                    leg: leg.index(),
                    name,
                    definition,
                };
                Plan::Request(
                    Kind::Parse,
                    Note::Statement(self.memory.statements.sent(change)),
                )
            }
            None => {
                // What the name meant before must not be taken for what it means now.
                self.pin(Pin::TooManyStatements);
                let leg = leg.index();
                let ticket = self.memory.statements.sent(Change::Forget { leg, name });
                Plan::Request(Kind::Parse, Note::Statement(ticket))
            }
        }
    }

    fn plan_bind(&mut self, leg: LegId, portal: &[u8], statement: &[u8]) -> Plan {
        if !self.repair_bound(leg, statement) || !self.repair(leg, statement) {
            return Plan::Full;
        }
        let statements = &mut self.memory.statements;
        statements.used(statement);
        let Some(definition) = statements.meaning(statement).definition.cloned() else {
            self.memory.portals.close(portal);
            let forgets = |pin| pin == Pin::TooManyStatements;
            if self.memory.pins.iter().any(forgets) {
                // It may be one that was forgotten: what that does outlives its name.
                self.pin(Pin::Unaccounted);
            }
            return Plan::Request(Kind::Bind, Note::Nothing);
        };
        self.memory.sent_text(self.duty(leg), &definition.meta);
        self.may_write(leg, &definition.meta);
        self.may_write_anew(leg, &definition);
        let limit = self.config.limits.portals;
        if !self.memory.portals.bind(portal, definition, limit) {
            self.pin(Pin::Unaccounted);
        }
        Plan::Request(Kind::Bind, Note::Nothing)
    }

    fn plan_execute(&mut self, leg: LegId, portal: &[u8]) -> Plan {
        if self.may_be_another_portal(key(portal)) {
            self.pin(Pin::Unaccounted);
        }
        let Some(bound) = self.memory.portals.get(key(portal)).cloned() else {
            let plan = Plan::Request(Kind::Execute, Note::Nothing);
            // A cursor's, most likely, which drops no statement.
            return match self.may_be_in_transaction(leg) {
                true => plan,
                false => self.plan_unknown(leg, plan),
            };
        };
        let text = text_of(&bound.body).unwrap_or_default();
        if !self.repair_for(leg, &bound.meta, text) {
            return Plan::Full;
        }
        let note = self.note_effects(leg, &bound.meta, text);
        self.portals_end(&bound.meta);
        Plan::Request(Kind::Execute, note)
    }

    /// A text is on its way: what ends a transaction ends every portal in it, if it is run.
    fn portals_end(&mut self, intent: &Intent) {
        let ends = intent.effects.iter().any(|effect| {
            matches!(
                effect.effect,
                Effect::Commit { .. } | Effect::Rollback { .. } | Effect::PrepareTransaction
            )
        });
        if ends {
            self.memory.portals.doubt();
        }
    }

    fn plan_close(&mut self, leg: LegId, close: Close<'_>) -> Plan {
        match close.kind {
            Target::Portal => {
                self.memory.portals.close(key(close.name));
                Plan::Request(Kind::Close, Note::Nothing)
            }
            Target::Statement => {
                let change = Change::Forget {
                    leg: leg.index(),
                    name: key(close.name).into(),
                };
                Plan::Request(
                    Kind::Close,
                    Note::Statement(self.memory.statements.sent(change)),
                )
            }
        }
    }

    /// A message of which only the beginning can be looked at, because it is longer than the read buffer.
    fn plan_unread(&mut self, leg: LegId, header: Header, beginning: &[u8]) -> Plan {
        if !self.follows_statements() {
            return untracked(header);
        }
        match header.tag {
            tag::BIND => match bind_names(beginning) {
                Some((portal, statement)) => self.plan_bind(leg, key(portal), key(statement)),
                None => self.plan_blind(leg, header),
            },
            tag::PARSE => self.plan_long_parse(leg, header, beginning),
            tag::QUERY | tag::EXECUTE | tag::DESCRIBE | tag::CLOSE => self.plan_blind(leg, header),
            _ => untracked(header),
        }
    }

    /// A Parse of which only the beginning is there. What its name meant before must not be taken for what it means now.
    fn plan_long_parse(&mut self, leg: LegId, header: Header, beginning: &[u8]) -> Plan {
        let end = beginning.iter().position(|byte| *byte == 0);
        let name = key(beginning
            .get(..end.unwrap_or(beginning.len()))
            .unwrap_or_default());
        let plan = self.plan_blind(leg, header);
        let Plan::Request(kind, Note::Nothing) = plan else {
            return plan;
        };
        let (leg, name) = (leg.index(), name.into());
        let ticket = self.memory.statements.sent(Change::Forget { leg, name });
        Plan::Request(kind, Note::Statement(ticket))
    }

    fn plan_blind(&mut self, leg: LegId, header: Header) -> Plan {
        self.pin(Pin::UnreadStatement);
        self.plan_unknown(leg, untracked(header))
    }

    /// What is about to run may drop any statement, and nothing tells: what the upstream lacks of them has to be there
    /// before, since a repair behind it could bring back what it drops. In a failed transaction a repair would fail
    /// too, and take with it what does not, as ROLLBACK; so it waits until it is known whether there is one.
    fn plan_unknown(&mut self, leg: LegId, plan: Plan) -> Plan {
        let takes_it = self.requests.begins_there() && !self.is_deaf(leg);
        if !takes_it || self.memory.statements.missing(leg.index()).is_empty() {
            return plan;
        }
        match self.fails_there(leg) {
            Known::Is(true) => plan,
            Known::Is(false) if self.repair_missing(leg, b"") => plan,
            Known::Is(false) | Known::Unknown => Plan::Full,
        }
    }

    /// Makes an upstream have the statements that a text names in SQL: protocol and SQL share one set of names. And those
    /// that it could not be given behind it. Whether there was room to.
    fn repair_for(&mut self, leg: LegId, intent: &Intent, text: &[u8]) -> bool {
        if !self.repair_before_reading(leg, intent) {
            return false;
        }
        for effect in &intent.effects {
            let Some(name) = effect.effect.statement() else {
                continue;
            };
            let drops = matches!(effect.effect, Effect::Deallocate(_)) && intent.statements == 1;
            let repaired = match drops {
                true => self.repair_to_drop(leg, key(&name.0)),
                false => self.repair(leg, key(&name.0)),
            };
            if !repaired {
                return false;
            }
        }
        self.repair_executed(leg, intent, text)
    }

    /// Makes an upstream have the statements that an EXECUTE in a text may run, or that it lists. Whether there was room to.
    fn repair_executed(&mut self, leg: LegId, intent: &Intent, text: &[u8]) -> bool {
        if let Some(name) = intent.sole_execute() {
            return self.repair(leg, key(&name.0));
        }
        if !self.requests.begins_there() {
            // In the middle of a batch its failure would be that of the text, which may not need it.
            return true;
        }
        match asked_for(intent, text) {
            AskedFor::Nothing => true,
            // A Parse that fails, as that of a table which is gone, takes a transaction with it.
            AskedFor::Named if self.may_be_in_transaction(leg) => self.repair_missing(leg, text),
            AskedFor::Named | AskedFor::All => self.repair_missing(leg, b""),
        }
    }

    /// The same on the writer for what a Bind is about to run, apart from it.
    fn repair_bound(&mut self, leg: LegId, statement: &[u8]) -> bool {
        let begins = leg == self.writer() && self.requests.begins_there();
        let known = self.memory.statements.meaning(statement).definition;
        let bound = known.filter(|known| begins && known.meta.sole_execute().is_none());
        let Some(definition) = bound.cloned() else {
            return true;
        };
        let text = text_of(&definition.body).unwrap_or_default();
        self.repair_executed(leg, &definition.meta, text)
    }

    /// Makes an upstream have every statement that the client has, or those whose names stand in a text if that is not empty.
    /// Whether there was room to.
    fn repair_missing(&mut self, leg: LegId, text: &[u8]) -> bool {
        let mut missing = self.memory.statements.missing(leg.index());
        if !text.is_empty() && missing.len() <= limits::NAMES_LOOKED_FOR {
            missing.retain(|name| stands_in(name, text));
        }
        // What is tried on a reader stands in one batch with what it needs.
        let apart = leg == self.writer() && !missing.is_empty();
        missing.iter().all(|name| self.repair(leg, name)) && (!apart || self.end_repair(leg))
    }

    /// Whether a transaction may be open that a message for an upstream would be a part of.
    fn may_be_in_transaction(&self, leg: LegId) -> bool {
        self.leg(leg).serving().is_some_and(|serving| {
            serving.status != TransactionStatus::Idle || serving.pipeline.has_client()
        })
    }

    /// Ends a repair that stands outside a batch with a Sync of ours: were its Parse to fail, the server would skip
    /// what is behind it, which may not need it, and for a Query no Sync of the client's is to come. Whether there was room to.
    pub(super) fn end_repair(&mut self, leg: LegId) -> bool {
        let is_open = self.requests.begins_there()
            && self.leg(leg).serving().is_some_and(|serving| {
                let newest = serving.pipeline.iter().last();
                newest.is_some_and(|owed| owed.owner == Owner::Injected && owed.kind == Kind::Parse)
            });
        if !is_open {
            return true;
        }
        let (client, to) = (PeerId::CLIENT.port(), leg.peer().port());
        if !self.ledger.room_for_both(to, SYNC.len(), client) {
            return false;
        }
        self.inject(leg, &SYNC, Kind::Sync, Note::Nothing);
        self.memory.statements.synced();
        true
    }
}

/// Whether a message with this tag is looked into before it is forwarded.
fn is_looked_into(frame: u8) -> bool {
    matches!(
        frame,
        tag::QUERY | tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE
    )
}

/// What a message owes by its tag alone.
fn untracked(header: Header) -> Plan {
    let empty = header.body_len() == 0;
    let kind = match header.tag {
        tag::QUERY => Kind::Query,
        tag::FUNCTION_CALL => Kind::FunctionCall,
        tag::PARSE => Kind::Parse,
        tag::BIND => Kind::Bind,
        tag::DESCRIBE => Kind::DescribeStatement,
        tag::EXECUTE => Kind::Execute,
        tag::CLOSE => Kind::Close,
        tag::SYNC => Kind::Sync,
        tag::COPY_DONE | tag::COPY_FAIL => Kind::CopyEnd,
        tag::FLUSH if !empty => Kind::Refused,
        _ => return Plan::Silent,
    };
    Plan::Request(kind, Note::Nothing)
}

/// Where the batch stands after a message was forwarded.
fn batch_after(before: Batch, leg: LegId, frame: u8) -> Batch {
    match frame {
        tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE => Batch::On(leg),
        tag::SYNC | tag::QUERY | tag::FUNCTION_CALL => Batch::None,
        _ => before,
    }
}

/// The frames with one tag at the front of what has arrived.
pub(super) struct Run {
    /// How many they are.
    pub(super) frames: u64,
    /// How many bytes they have together.
    pub(super) total: u64,
    /// How many the last of them has alone. Its end may not have arrived.
    pub(super) last: u64,
}

/// The frames with this tag at the front of `input`. A frame of more than `limit` bytes ends them.
pub(super) fn run_of(wanted: u8, limit: u32, input: &[u8]) -> Run {
    let mut run = Run {
        frames: 0,
        total: 0,
        last: 0,
    };
    let mut rest = input;
    while let Ok(Some(header)) = Header::parse_within(rest, limit) {
        if header.tag != wanted {
            break;
        }
        run.frames = run.frames.saturating_add(1);
        run.last = u64::from(header.frame_len);
        run.total = run.total.saturating_add(run.last);
        match usize::try_from(header.frame_len)
            .ok()
            .and_then(|len| rest.get(len..))
        {
            Some(next) => rest = next,
            None => break,
        }
    }
    run
}
