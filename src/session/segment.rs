//! What was seen of a segment: the client's next request, before its upstream is chosen.

use std::ops::Range;
use std::sync::Arc;

use super::effects::Prepared;
use super::part::{Carried, First, Part, Snapshot, Trace};
use crate::limits;
use crate::route::{Class, Intent, Name, TransactionModes, Why};
use crate::wire::{Frontend, Header, tags::frontend as tag};

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
    pub(super) parsed: Vec<(Range<usize>, Arc<Intent>)>,
    /// How many times it prepares one, and what that takes to be remembered, in bytes.
    pub(super) parses: usize,
    pub(super) parsed_bytes: usize,
    /// The name of the statement that was closed last.
    pub(super) closed: Option<Range<usize>>,
    pub(super) bound: Bound,
    pub(super) portals: Portals,
    /// How many portals the segment opened.
    pub(super) binds: usize,
    /// How many messages it has so far.
    pub(super) messages: usize,
    pub(super) shape: Shape,
    /// What an EXECUTE in it runs.
    pub(super) mirror: Mirror,
    /// The text that it runs or prepares.
    pub(super) text: SoleText,
    /// What it would be to a READ ONLY transaction on a reader, if such are sent there.
    pub(super) part: Part,
    /// Whether running it fixes what that transaction sees.
    pub(super) snapshot: Snapshot,
    /// What the transaction would have of it that cannot be repeated elsewhere.
    pub(super) trace: Trace,
    pub(super) carried: Carried,
    /// What the statement is that was named last, and that of the portal which was bound last.
    pub(super) named_part: Part,
    pub(super) bound_part: Part,
    pub(super) begins: Begins,
    pub(super) older: Older,
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
    pub(super) fn join(&mut self, text: SoleText) {
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
pub(super) enum Shape {
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

/// The portal that the segment bound last, by where its name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Nothing,
    Open(Range<usize>),
    /// It was run to its end.
    Run(Range<usize>),
}

impl Bound {
    fn is_open(&self) -> bool {
        matches!(self, Bound::Open(_))
    }

    /// Whether there is one, and it has this name.
    pub(super) fn is(&self, input: &[u8], name: &[u8]) -> bool {
        match self {
            Bound::Nothing => false,
            Bound::Open(place) | Bound::Run(place) => input.get(place.clone()) == Some(name),
        }
    }
}

/// Whether every portal that the segment opened was run to its end in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portals {
    Finished,
    LeftOpen,
}

/// Whether what begins a transaction in a segment is run, and not only prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    Nothing,
    Transaction,
}

/// Whether it uses what stands on one server since before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Older {
    Nothing,
    Portal,
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
    /// A Query follows in its batch, which a READ ONLY transaction on the reader parts from it. Elsewhere it is one with that.
    Parted,
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
            closed: None,
            bound: Bound::Nothing,
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
            older: Older::Nothing,
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
        named || self.bound.is_open() || self.portals == Portals::LeftOpen
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
    pub(super) fn whole(&mut self) {
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

    pub(super) fn join(&mut self, class: Class, why: Why) {
        if class > self.class || self.len == 0 && self.class == Class::Empty {
            self.class = self.class.max(class);
            self.why = why;
        }
    }

    /// The segment binds a portal.
    pub(super) fn bind(&mut self, portal: &[u8]) {
        if self.bound.is_open() {
            self.portals = Portals::LeftOpen;
        }
        self.bound = Bound::Open(first_field(self.len, portal));
        self.bound_part = self.named_part;
        // What ends a transaction takes its own portal along.
        if !portal.is_empty() && !self.bound_part.is_end() {
            self.trace = Trace::Portal;
        }
        self.binds = self.binds.saturating_add(1);
    }

    /// The segment names a statement. In another client encoding the same name has other bytes, which only the writer can tell:
    /// it has all whose names are not ASCII.
    pub(super) fn names(&mut self, name: &[u8]) {
        if !name.is_ascii() {
            self.join(Class::Session, Why::Forgotten);
            self.part = Part::Foreign;
        }
    }

    /// The segment closes a statement.
    pub(super) fn close(&mut self, name: &[u8]) {
        // Behind what kind it is of.
        let place = first_field(self.len, name);
        self.closed = Some(place.start.saturating_add(1)..place.end.saturating_add(1));
    }

    /// Whether it closed the statement of this name last.
    pub(super) fn has_closed(&self, input: &[u8], name: &[u8]) -> bool {
        let closed = self.closed.clone().and_then(|place| input.get(place));
        closed == Some(name)
    }

    /// The segment runs a portal to its end.
    pub(super) fn run(&mut self, input: &[u8], portal: &[u8]) {
        let Bound::Open(place) = &self.bound else {
            return;
        };
        if input.get(place.clone()) != Some(portal) {
            return;
        }
        self.bound = Bound::Run(place.clone());
        if matches!(self.part, Part::Ends(_)) && self.bound_part == self.part {
            self.carried = Carried::RunEnd;
        }
        if self.bound_part.opened().is_some() {
            self.begins = Begins::Transaction;
        }
    }

    /// The segment ends, and its batch does not.
    pub(super) fn flush(&mut self) {
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
    pub(super) fn prepare(&mut self, input: &[u8], name: &[u8], intent: Arc<Intent>) {
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

/// Where a name stands that is the first field of the message that begins at `frame`.
pub(super) fn first_field(frame: usize, name: &[u8]) -> Range<usize> {
    let start = frame.saturating_add(Header::LEN);
    start..start.saturating_add(name.len())
}

/// Where a string stands behind one that ends before the zero at `before`.
pub(super) fn next_field(before: usize, text: &[u8]) -> Range<usize> {
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
