//! Looking ahead: what the client's next requests ask for, without claiming a byte of them.
//!
//! A segment is what has to go to one upstream whole: a Query, a FunctionCall, or extended messages up to the next
//! Sync or Flush. It is looked at message by message while it arrives. As soon as something in it is not a proven
//! read its upstream is known; a segment of reads is known when its end is seen.

use std::ops::Range;
use std::sync::Arc;

use super::effects::Prepared;
use super::part::{Carried, First, Part, Snapshot, Trace, Unproven, takes_snapshot};
use super::requests::Batch;
use super::trial::can_be_tried;
use super::{RouteReason, Session};
use crate::limits;
use crate::route::{Class, Intent, LexState, Name, Route, TransactionModes, Why};
use crate::track::Pin;
use crate::track::prepared::{Text, key};
use crate::wire::{Frontend, Header, Target, tags::frontend as tag};

/// What was seen so far of the segment at the front of the client's unclaimed bytes.
#[derive(Debug)]
pub(super) struct Look {
    /// Bytes looked at: whole frames.
    pub(super) len: usize,
    pub(super) class: Class,
    pub(super) why: Why,
    /// Whether something in flight could still change how the texts were read.
    pub(super) certainty: Certainty,
    pub(super) outline: Option<String>,
    pub(super) seen: Seen,
    /// Statements that the segment itself prepares: where their names stand, and what they are.
    parsed: Vec<(Range<usize>, Arc<Intent>)>,
    /// How many times it prepares one, and what that takes to be remembered, in bytes.
    parses: usize,
    parsed_bytes: usize,
    /// The name of the portal that was bound last and not yet run to its end.
    bound: Option<Range<usize>>,
    portals: Portals,
    /// How many portals the segment opened.
    binds: usize,
    /// How many messages it has so far.
    messages: usize,
    shape: Shape,
    /// What an EXECUTE in it runs.
    pub(super) mirror: Mirror,
    /// The text that it runs or prepares.
    pub(super) text: SoleText,
    /// What it would be to a READ ONLY transaction on a reader, if such are sent there.
    pub(super) part: Part,
    /// Whether running it fixes what that transaction sees.
    pub(super) snapshot: Snapshot,
    /// What the transaction would have of it that cannot be repeated elsewhere.
    trace: Trace,
    carried: Carried,
    /// What the statement is that was named last, and that of the portal which was bound last.
    named_part: Part,
    bound_part: Part,
    begins: Begins,
    /// Whether the first of its texts is one that a failed transaction runs.
    pub(super) first: First,
}

/// The text of a segment, if it has exactly one.
#[derive(Clone, Debug)]
pub(super) enum SoleText {
    None,
    /// It stands here in the segment.
    Sent(Range<usize>),
    /// It is that of a statement that was prepared before.
    Prepared(Prepared),
    Several,
}

impl SoleText {
    /// One more text is run, or the same again.
    fn join(&mut self, text: SoleText) {
        *self = match (&*self, text) {
            (SoleText::None, text) => text,
            (SoleText::Prepared(known), SoleText::Prepared(again))
                if Arc::ptr_eq(known, &again) =>
            {
                SoleText::Prepared(again)
            }
            (SoleText::Sent(_) | SoleText::Prepared(_) | SoleText::Several, _) => SoleText::Several,
        };
    }

    /// The bytes of it, in the segment that `input` begins with or in what is remembered.
    pub(super) fn bytes<'a>(&'a self, input: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            SoleText::None | SoleText::Several => None,
            SoleText::Sent(place) => input.get(place.clone()),
            SoleText::Prepared(known) => text_of(&known.body),
        }
    }
}

/// Whether a segment is one request that could be tried somewhere, and repeated if it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// It could be, if it ends well.
    Open,
    /// It is.
    Whole,
    /// It is not.
    Other,
}

/// A statement that the reader has to have before the segment is sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mirror {
    /// None but those that messages name: they are repaired on the way.
    None,
    /// The one of this name.
    Needed(Name),
    /// The same; if it is not there it is on its way, or was refused.
    Sent(Name),
}

/// Whether every portal that the segment opened was run to its end in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Portals {
    Finished,
    LeftOpen,
}

/// Whether what begins a transaction in a segment is run, and not only prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Nothing,
    Transaction,
}

/// Whether what was seen holds whatever becomes of the requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    Certain,
    /// Look again when nothing is in flight.
    Tentative,
}

/// How much of a segment has to be looked at before its upstream is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Its end was not seen.
    On,
    /// All of it was seen, or nothing that follows can make it a read.
    Enough,
    /// It does not fit the read buffer.
    TooLong,
}

impl Look {
    pub(super) fn new() -> Look {
        Look {
            len: 0,
            class: Class::Empty,
            why: Why::NoStatement,
            certainty: Certainty::Certain,
            outline: None,
            seen: Seen::On,
            parsed: Vec::new(),
            parses: 0,
            parsed_bytes: 0,
            bound: None,
            portals: Portals::Finished,
            binds: 0,
            messages: 0,
            shape: Shape::Open,
            mirror: Mirror::None,
            text: SoleText::None,
            part: Part::Empty,
            snapshot: Snapshot::NotTaken,
            trace: Trace::None,
            carried: Carried::Batch,
            named_part: Part::Empty,
            bound_part: Part::Empty,
            begins: Begins::Nothing,
            first: First::Unknown,
        }
    }

    /// Whether its messages leave something in a transaction: a portal, or a batch that goes on.
    pub(super) fn leaves_trace(&self) -> bool {
        self.trace != Trace::None || self.leaves_portals()
    }

    /// Whether they leave a portal.
    pub(super) fn leaves_portals(&self) -> bool {
        let named = self.trace == Trace::Portal;
        named || self.bound.is_some() || self.portals == Portals::LeftOpen
    }

    /// Whether it is one Query.
    pub(super) fn is_query(&self) -> bool {
        self.carried == Carried::Query
    }

    /// Whether what ends a transaction in it is run, and not only prepared.
    pub(super) fn runs_end(&self) -> bool {
        matches!(self.carried, Carried::Query | Carried::RunEnd)
    }

    /// The modes of the transaction that it opens.
    pub(super) fn opened(&self) -> Option<TransactionModes> {
        let runs = self.is_query() || self.begins == Begins::Transaction;
        self.part.opened().filter(|_| runs)
    }

    /// Forgets what was seen, but keeps the memory for the next segment.
    pub(super) fn restart(&mut self) {
        let parsed = std::mem::take(&mut self.parsed);
        *self = Look {
            parsed,
            ..Look::new()
        };
        self.parsed.clear();
    }

    /// Whether it is one request from its first message to its last, which could be tried.
    pub(super) fn is_whole_request(&self) -> bool {
        self.shape == Shape::Whole
    }

    /// The segment ends with a message that ends its request.
    fn whole(&mut self) {
        if self.shape == Shape::Open {
            self.shape = Shape::Whole;
        }
    }

    /// Gives up on seeing the end.
    pub(super) fn too_long(&mut self) {
        self.seen = Seen::TooLong;
        self.part = Part::Foreign;
        self.class = Class::Unreadable;
        self.why = Why::TooLong;
    }

    fn join(&mut self, class: Class, why: Why) {
        if class > self.class || self.len == 0 && self.class == Class::Empty {
            self.class = self.class.max(class);
            self.why = why;
        }
    }

    /// The segment binds a portal.
    fn bind(&mut self, portal: &[u8]) {
        if self.bound.is_some() {
            self.portals = Portals::LeftOpen;
        }
        self.bound = Some(first_field(self.len, portal));
        self.bound_part = self.named_part;
        // What ends a transaction takes its own portal along.
        if !portal.is_empty() && !self.bound_part.is_end() {
            self.trace = Trace::Portal;
        }
        self.binds = self.binds.saturating_add(1);
    }

    /// The segment names a statement. In another client encoding the same name has other bytes, which only the writer can tell:
    /// it has all whose names are not ASCII.
    fn names(&mut self, name: &[u8]) {
        if !name.is_ascii() {
            self.join(Class::Session, Why::Forgotten);
            self.part = Part::Foreign;
        }
    }

    /// The segment runs a portal to its end.
    fn run(&mut self, input: &[u8], portal: &[u8]) {
        let last = self.bound.clone().and_then(|name| input.get(name));
        if last == Some(portal) {
            self.bound = None;
            if matches!(self.part, Part::Ends(_)) && self.bound_part == self.part {
                self.carried = Carried::RunEnd;
            }
            if self.bound_part.opened().is_some() {
                self.begins = Begins::Transaction;
            }
        }
    }

    /// The segment ends, and its batch does not.
    fn flush(&mut self) {
        if self.trace == Trace::None {
            self.trace = Trace::Batch;
        }
        if self.binds > 0 {
            // A portal ends with its batch, and an Execute begins a transaction that Sync ends: were the batch to turn into a
            // write, neither could move.
            self.join(Class::Session, Why::SessionStatement);
        }
    }

    /// The segment prepares a statement; the newest of a name counts.
    fn prepare(&mut self, input: &[u8], name: &[u8], intent: Arc<Intent>) {
        let place = first_field(self.len, name);
        let mut parsed = self.parsed.iter_mut();
        match parsed.find(|(known, _)| input.get(known.clone()) == Some(name)) {
            Some(known) => *known = (place, intent),
            None => self.parsed.push((place, intent)),
        }
        if self.parsed.len() > limits::SEGMENT_STATEMENTS {
            self.join(Class::Session, Why::TooLong);
        }
    }
}

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
                self.look_at_parse(look, parse.name, &intent, parse.text);
                self.outline(look, parse.text);
                let bytes = size.saturating_add(parse.name.len());
                let text = self.may_forget(parse.name, &intent, parse.text);
                self.look_for_room(look, bytes, text);
                look.prepare(input, parse.name, intent);
            }
            Frontend::Bind(bind) => {
                self.look_at_statement(look, input, bind.statement);
                look.bind(bind.portal);
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
                Target::Statement => look.names(close.name),
                Target::Portal => {}
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
        let part = Part::of(intent, unproven, self.default_access());
        look.named_part = part;
        look.part = match (look.part, look.carried) {
            (Part::Ends(end), Carried::RunEnd) if part != look.part => Part::EndsFirst(end),
            (before, Carried::Query | Carried::Batch | Carried::RunEnd) => before.and(part),
        };
        if takes_snapshot(intent) == Snapshot::Taken {
            look.snapshot = Snapshot::Taken;
        }
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
    fn look_at_parse(&mut self, look: &mut Look, name: &[u8], intent: &Arc<Intent>, text: &[u8]) {
        self.join_text(look, intent, text);
        self.join_part(look, intent);
        look.names(name);
        if name.is_empty() {
            // The unnamed statement is replaced, whatever it was.
            return;
        }
        let meaning = self.memory.statements.meaning(key(name));
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

    fn look_at_portal(&mut self, look: &mut Look, input: &[u8], name: &[u8]) {
        let own = look
            .bound
            .clone()
            .is_some_and(|bound| input.get(bound) == Some(name));
        let known = own
            || look.portals == Portals::LeftOpen
            || self.memory.portals.get(key(name)).is_some();
        if let Some(older) = self.memory.portals.get(key(name)).filter(|_| !own) {
            let meta = Arc::clone(&older.meta);
            self.join_part(look, &meta);
        }
        if !known && matches!(self.requests.batch, Batch::None) {
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

/// Where a name stands that is the first field of the message that begins at `frame`.
fn first_field(frame: usize, name: &[u8]) -> Range<usize> {
    let start = frame.saturating_add(Header::LEN);
    start..start.saturating_add(name.len())
}

/// Where a string stands behind one that ends before the zero at `before`.
fn next_field(before: usize, text: &[u8]) -> Range<usize> {
    let start = before.saturating_add(1);
    start..start.saturating_add(text.len())
}

/// The text in the body of a Parse.
pub(super) fn text_of(body: &[u8]) -> Option<&[u8]> {
    match Frontend::parse(tag::PARSE, body) {
        Ok(Frontend::Parse(parse)) => Some(parse.text),
        Ok(_) | Err(_) => None,
    }
}

/// Why a decision was taken that follows what was seen.
pub(super) fn seen_reason(look: &Look) -> RouteReason {
    RouteReason::Intent(look.why)
}
