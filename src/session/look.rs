//! Looking ahead: what the client's next requests ask for, without claiming a byte of them.
//!
//! A segment is what has to go to one upstream whole: a Query, a FunctionCall, or extended messages up to the next
//! Sync or Flush. It is looked at message by message while it arrives. As soon as something in it is not a proven
//! read its upstream is known; a segment of reads is known when its end is seen.

use std::sync::Arc;

use super::moving::HeldCursors;
use super::part::{Carried, First, Part, Snapshot, Unproven, takes_snapshot};
use super::requests::Batch;
use super::segment::{
    Certainty, Look, Mirror, Older, Portals, Seen, Shape, SoleText, first_field, next_field,
    text_of,
};
use super::trial::can_be_tried;
use super::{RouteReason, Session};
use crate::limits;
use crate::route::{Class, Effect, Intent, LexState, Route, Why};
use crate::track::Pin;
use crate::track::prepared::{Text, key};
use crate::wire::{Frontend, Header, Parse, Target};

impl<R: Route> Session<R> {
    /// Looks at the next message of the segment. `input` are the client's unclaimed bytes; the message begins at
    /// [`Look::len`] in it and `body` is its whole body.
    pub(super) fn look_at(&mut self, input: &[u8], header: Header, body: &[u8]) {
        let mut look = std::mem::replace(&mut self.requests.look, Look::new());
        if look.len == 0 {
            self.memory.statements.needs_from_here();
        }
        if self.owes_client(self.writer()) {
            look.certainty = Certainty::Tentative;
        }
        look.seen = match Frontend::parse(header.tag, body) {
            Ok(message) => self.look_at_message(&mut look, input, body.len(), message),
            Err(_) => {
                // The server refuses it; which one does makes no difference to the client.
                look.join(Class::Write, Why::UnknownForm);
                look.part = Part::Foreign;
                Seen::On
            }
        };
        look.len = look
            .len
            .saturating_add(usize::try_from(header.frame_len).unwrap_or(usize::MAX));
        look.messages = look.messages.saturating_add(1);
        if look.messages > limits::TRIED_MESSAGES || look.binds > 1 {
            look.shape = Shape::Other;
        }
        let tried = self.tries() && look.class == Class::Unproven && look.shape != Shape::Other;
        if !look.class.is_read() && !tried && !self.may_be_part(&look) {
            look.seen = Seen::Enough;
        }
        self.requests.look = look;
    }

    /// Looks at a message whose body has `size` bytes.
    fn look_at_message(
        &mut self,
        look: &mut Look,
        input: &[u8],
        size: usize,
        message: Frontend<'_>,
    ) -> Seen {
        match message {
            Frontend::Query(query) => {
                look.carried = Carried::Query;
                self.look_at_query(look, query.text);
                look.whole();
                return Seen::Enough;
            }
            Frontend::FunctionCall(_) => {
                look.join(Class::Write, Why::UnknownFunction);
                look.part = Part::Foreign;
                return Seen::Enough;
            }
            Frontend::Parse(parse) => {
                let intent = self.intent_of(parse.text);
                let place = next_field(first_field(look.len, parse.name).end, parse.text);
                look.text.join(SoleText::Sent(place));
                self.look_at_parse(look, input, &parse, &intent);
                self.outline(look, parse.text);
                let bytes = size.saturating_add(parse.name.len());
                let text = self.may_forget(parse.name, &intent, parse.text);
                self.look_for_room(look, bytes, text);
                look.prepare(input, parse.name, intent);
            }
            Frontend::Bind(bind) => {
                self.look_at_statement(look, input, bind.statement);
                look.bind(bind.portal);
                self.look_for_cursor(look, bind.portal);
            }
            Frontend::Describe(describe) => match describe.kind {
                Target::Statement => self.look_at_statement(look, input, describe.name),
                Target::Portal => self.look_at_portal(look, input, describe.name),
            },
            Frontend::Execute(execute) => {
                self.look_at_portal(look, input, execute.portal);
                // A command that has no rows is run to its end whatever their limit.
                if execute.max_rows <= 0 || look.bound_part.is_end() {
                    look.run(input, execute.portal);
                }
            }
            Frontend::Sync => {
                look.whole();
                return Seen::Enough;
            }
            Frontend::Flush => {
                look.flush();
                return Seen::Enough;
            }
            Frontend::Close(close) => match close.kind {
                Target::Statement => {
                    look.names(close.name);
                    look.close(close.name);
                }
                Target::Portal => self.look_for_cursor(look, close.name),
            },
            Frontend::CopyData { .. } | Frontend::CopyDone | Frontend::CopyFail { .. } => {}
            Frontend::Terminate | Frontend::Password(_) | Frontend::Unknown { .. } => {
                look.join(Class::Write, Why::UnknownForm);
                look.part = Part::Foreign;
                return Seen::Enough;
            }
        }
        Seen::On
    }

    /// Looks at a Query, which ends its segment.
    fn look_at_query(&mut self, look: &mut Look, text: &[u8]) {
        let intent = self.intent_of(text);
        look.text.join(SoleText::Sent(first_field(look.len, text)));
        let (class, why) = self.class_of(look, &intent);
        match look.mirror {
            Mirror::None => self.join_text(look, &intent, text),
            Mirror::Needed(_) | Mirror::Sent(_) => look.join(class, why),
        }
        self.join_part(look, &intent);
        self.outline(look, text);
        if look.len > 0 {
            look.part = Part::Foreign;
            // Behind an Execute without Sync it leaves a transaction open (PostgreSQL 18).
            look.join(Class::Session, Why::SessionStatement);
        }
    }

    /// The segment runs a text.
    fn join_text(&self, look: &mut Look, intent: &Intent, text: &[u8]) {
        if intent.class == Class::Unproven && self.memory.refused.contains(text) {
            look.join(Class::Write, Why::RefusedBefore);
            return;
        }
        if intent.class == Class::Unproven && !can_be_tried(intent) {
            look.shape = Shape::Other;
        }
        look.join(intent.class, intent.reason.why);
    }

    /// The segment prepares or runs a text, which would be a part of a READ ONLY transaction on a reader.
    fn join_part(&self, look: &mut Look, intent: &Intent) {
        if !self.keeps_reader_transactions() {
            return;
        }
        let unproven = match self.tries() {
            true => Unproven::Go,
            false => Unproven::Stay,
        };
        if look.first == First::Unknown && intent.class != Class::Empty {
            look.first = First::of(intent);
        }
        let part = match self.drops_what_is_known(intent) {
            true => Part::Reads,
            false => Part::of(intent, unproven, self.default_access()),
        };
        look.named_part = part;
        look.part = match (look.part, look.carried) {
            (Part::Ends(end), Carried::RunEnd) if part != look.part => Part::EndsFirst(end),
            (before, Carried::Query | Carried::Batch | Carried::RunEnd) => before.and(part),
        };
        if takes_snapshot(intent) == Snapshot::Taken {
            look.snapshot = Snapshot::Taken;
        }
    }

    /// Whether a text drops what every server has, or is given: the others drop theirs when they are asked for something again.
    fn drops_what_is_known(&self, intent: &Intent) -> bool {
        let [dropped] = &*intent.effects else {
            return false;
        };
        let forgets = |pin| pin == Pin::TooManyStatements;
        if intent.statements != 1 || self.memory.pins.iter().any(forgets) {
            return false;
        }
        if let Effect::Deallocate(name) = &dropped.effect {
            let statements = &self.memory.statements;
            let meaning = statements.meaning(key(&name.0));
            let runs = statements.can_run(self.reader().index(), key(&name.0));
            return meaning.settled && meaning.definition.is_some() && runs;
        }
        dropped.effect == Effect::DeallocateAll
    }

    /// Whether the rest of the segment decides if it may go to a reader as a part of a transaction.
    fn may_be_part(&self, look: &Look) -> bool {
        self.keeps_reader_transactions()
            && look.part != Part::Foreign
            && (self.has_reader_transaction() || look.part.opened().is_some())
    }

    /// The segment prepares one more statement, of this many bytes with its name, which is to be remembered.
    fn look_for_room(&mut self, look: &mut Look, bytes: usize, text: Text) {
        let before = look.parsed_bytes;
        let writer = self.writer().index();
        let statements = &mut self.memory.statements;
        let named = statements.has_room_for_names(look.parses);
        if !named || !statements.make_room(writer, bytes, before) {
            if !named || text == Text::Kept {
                self.pin(Pin::TooManyStatements);
            }
            look.join(Class::Write, Why::Forgotten);
            look.part = Part::Foreign;
        }
        look.parsed_bytes = before.saturating_add(bytes);
        look.parses = look.parses.saturating_add(1);
    }

    /// A name that is parsed again while it is known makes the server refuse it, so either text may count.
    fn look_at_parse(
        &mut self,
        look: &mut Look,
        input: &[u8],
        parse: &Parse<'_>,
        intent: &Arc<Intent>,
    ) {
        self.join_text(look, intent, parse.text);
        self.join_part(look, intent);
        look.names(parse.name);
        if parse.name.is_empty() || look.has_closed(input, parse.name) {
            // It is replaced, or nothing has the name any more.
            return;
        }
        let meaning = self.memory.statements.meaning(key(parse.name));
        if let Some(known) = meaning.definition {
            look.join(known.meta.class, known.meta.reason.why);
            let known = Arc::clone(&known.meta);
            self.join_part(look, &known);
        }
        if !meaning.settled {
            look.certainty = Certainty::Tentative;
        }
    }

    fn look_at_statement(&mut self, look: &mut Look, input: &[u8], name: &[u8]) {
        look.names(name);
        let own = look
            .parsed
            .iter()
            .rev()
            .find(|(span, _)| input.get(span.clone()) == Some(name));
        if let Some((_, intent)) = own {
            let intent = Arc::clone(intent);
            look.join(intent.class, intent.reason.why);
            self.join_part(look, &intent);
            return;
        }
        self.memory.statements.used(key(name));
        let meaning = self.memory.statements.meaning(key(name));
        if !meaning.settled {
            look.certainty = Certainty::Tentative;
        }
        let reader = self.reader().index();
        match meaning.definition.cloned() {
            Some(known) => {
                if !self.memory.statements.can_run(reader, key(name)) {
                    look.join(Class::Session, Why::Forgotten);
                    look.part = Part::Foreign;
                }
                let text = text_of(&known.body).unwrap_or_default();
                look.text.join(SoleText::Prepared(Arc::clone(&known)));
                self.join_text(look, &known.meta, text);
                self.join_part(look, &known.meta);
                if let Some(anew) = self.named_anew(&known) {
                    self.join_text(look, &anew, text);
                    self.join_part(look, &anew);
                }
                if let Some(text) = text_of(&known.body) {
                    self.outline(look, text);
                }
            }
            // Not prepared through the protocol: perhaps by PREPARE, which the writer knows.
            None => {
                look.join(Class::Session, Why::SessionStatement);
                look.part = Part::Foreign;
            }
        }
    }

    /// A portal is named that may be a cursor of before its transaction: those live on the writer.
    fn look_for_cursor(&self, look: &mut Look, name: &[u8]) {
        let held = self.relocation.held_cursors == HeldCursors::Some;
        if held && !name.is_empty() && self.memory.portals.get(key(name)).is_none() {
            look.join(Class::Session, Why::SessionStatement);
            look.part = Part::Foreign;
        }
    }

    fn look_at_portal(&mut self, look: &mut Look, input: &[u8], name: &[u8]) {
        let own = look.bound.is(input, name);
        let known = own
            || look.portals == Portals::LeftOpen
            || self.memory.portals.get(key(name)).is_some();
        if !own && self.memory.portals.get(key(name)).is_some() {
            look.older = Older::Portal;
        }
        if let Some(older) = self.memory.portals.stands(key(name)).filter(|_| !own) {
            let meta = Arc::clone(&older.meta);
            self.join_part(look, &meta);
        }
        if !own {
            self.look_for_cursor(look, name);
            if self.may_be_another_portal(key(name)) {
                look.join(Class::Session, Why::SessionStatement);
                look.part = Part::Foreign;
            }
        }
        // Cursors have names.
        let nothing = name.is_empty() && self.reader_runs_transaction();
        if !known && !nothing && matches!(self.requests.batch, Batch::None) {
            // A cursor, perhaps: cursors live on the writer.
            look.join(Class::Session, Why::SessionStatement);
            look.part = Part::Foreign;
        }
    }

    /// What a text asks for, under the lexical settings that hold now or, while something is in flight that may
    /// change them, under none.
    pub(super) fn intent_of(&mut self, text: &[u8]) -> Arc<Intent> {
        let lex = self.lex_now();
        self.memory.texts.get(text, &lex)
    }

    pub(super) fn lex_now(&self) -> LexState {
        let writer_busy = self
            .leg(self.writer())
            .serving()
            .is_some_and(|serving| serving.pipeline.has_client());
        if writer_busy {
            LexState::default()
        } else {
            self.memory.lex()
        }
    }

    fn outline(&self, look: &mut Look, text: &[u8]) {
        if look.outline.is_none() {
            look.outline = self.outline_of(text);
        }
    }

    /// The first words of a text, if events are to show them.
    pub(super) fn outline_of(&self, text: &[u8]) -> Option<String> {
        match self.config.route_texts {
            super::RouteTexts::Hidden => None,
            super::RouteTexts::Outline => Some(crate::route::outline(text, &self.lex_now())),
        }
    }
}

/// Why a decision was taken that follows what was seen.
pub(super) fn seen_reason(look: &Look) -> RouteReason {
    RouteReason::Intent(look.why)
}
