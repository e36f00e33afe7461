//! Reads that are not proven to be reads: tried on the reader, which refuses a write before it does it.
//!
//! A request is tried with a copy of its messages, while they stay unclaimed in the driver's buffer. Nothing of the answer
//! goes to the client before the reader has said something that no refusal is preceded by: then the messages in the
//! buffer are dropped, and the answer passes as any other. If it refuses, its answer is swallowed up to its
//! ReadyForQuery, and what is in the buffer is decided anew, for the writer: it was refused, so it did not happen.

use std::collections::VecDeque;

use super::effects::{Note, Prepared};
use super::leg::LegId;
use super::requests::Batch;
use super::restore::is_serializable;
use super::segment::{Look, Mirror, Seen, text_of};
use super::{CloseCause, Demand, Event, LostReads, Optimistic, PeerId, RouteReason, Session};
use crate::ledger::Fate;
use crate::limits;
use crate::route::{Class, Effect, Intent, PinKind, Route};
use crate::track::pipeline::{Owed, Owner};
use crate::track::prepared::{Reached, key};
use crate::wire::{
    Backend, Fields, Frontend, Header, SqlState, Target as Object, sqlstate, tags::backend,
};

/// Whether a request is tried on the reader.
#[derive(Debug, Default)]
pub(super) enum Trial {
    #[default]
    None,
    /// The reader has not said what becomes of it.
    Open(Tried),
    /// The reader refuses it, or is lost; what is left of its answer is nobody's. It may have changed these statements.
    Refused(LegId, Vec<Before>, RouteReason),
    /// It goes to the writer, for this reason.
    Over(RouteReason),
}

/// A request that is tried.
#[derive(Debug)]
pub(super) struct Tried {
    leg: LegId,
    class: Class,
    /// How many bytes it is in the client's buffer.
    len: usize,
    /// The tags of its messages.
    tags: Vec<u8>,
    texts: Vec<HiddenText>,
    /// The statements that it prepares or closes.
    changes: Vec<Before>,
}

/// A statement of the client's before a request that is tried has changed it.
#[derive(Debug)]
pub(super) struct Before {
    name: Box<[u8]>,
    meaning: Option<Prepared>,
}

/// Texts that a reader has refused: they are writes, whatever they look like.
#[derive(Debug, Default)]
pub(super) struct RefusedTexts(VecDeque<HiddenText>);

/// A text of the client's. `Debug` shows its length.
#[derive(PartialEq, Eq)]
struct HiddenText(Box<[u8]>);

impl std::fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl RefusedTexts {
    pub(super) fn contains(&self, text: &[u8]) -> bool {
        self.0.iter().any(|known| *known.0 == *text)
    }

    /// Remembers a text; the oldest makes room for it.
    fn add(&mut self, text: HiddenText) {
        if self.0.contains(&text) {
            return;
        }
        if self.0.len() >= limits::REFUSED_TEXTS {
            self.0.pop_front();
        }
        self.0.push_back(text);
    }
}

/// What the reader's answer to a tried request is so far.
enum Verdict {
    /// Nothing in the first bytes tells; so many have to be there.
    Open(usize),
    Accepted,
    Refused(SqlState, Refusal),
    /// The first that it says is fatal.
    Farewell,
}

/// What a server in recovery refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Writes,
    /// Anything, to a session that is serializable by default.
    Isolation,
}

/// Whether a request can be sent to be tried.
enum Preparation {
    Done,
    /// Not yet: there is no room, or something is not known.
    Later,
    /// What it needs is more than is sent in one go.
    Never,
}

/// Whether a text of this intent can be tried: one statement, which leaves nothing behind in the session that we know of.
pub(super) fn can_be_tried(intent: &Intent) -> bool {
    let leaves = |effect: &Effect| *effect != Effect::Pin(PinKind::UnknownCode);
    intent.statements == 1
        && !intent
            .effects
            .iter()
            .any(|happened| leaves(&happened.effect))
}

impl<R: Route> Session<R> {
    /// Whether what was looked at can be tried: an unproven read, whole, short, with nothing before it unanswered. Or one that
    /// is proven, if it is to be run again when the reader is lost.
    pub(super) fn may_try(&self, look: &Look) -> bool {
        let whole = look.seen == Seen::Enough && look.len > 0 && look.is_whole_request();
        let wanted = match (look.class, self.config.lost_reads) {
            (Class::Unproven, _) => self.tries(),
            (Class::Read, LostReads::Again) => {
                look.mirror == Mirror::None && self.nothing_in_flight()
            }
            (_, LostReads::Again | LostReads::Fail) => false,
        };
        wanted
            && whole
            && look.len <= limits::TRIED_REQUEST
            && self.requests.batch == Batch::None
            && matches!(self.requests.trial, Trial::None)
            && !self.is_judged()
    }

    /// Whether unproven reads are tried at all.
    pub(super) fn tries(&self) -> bool {
        self.config.optimistic == Optimistic::On
    }

    /// Whether the request that is decided next was refused by the reader, or lost with it.
    pub(super) fn was_refused(&self) -> bool {
        self.goes_back_for().is_some()
    }

    /// Why the request that is decided next goes to the writer, if it was at the reader before.
    pub(super) fn goes_back_for(&self) -> Option<RouteReason> {
        match self.requests.trial {
            Trial::Over(reason) => Some(reason),
            Trial::None | Trial::Open(_) | Trial::Refused(..) => None,
        }
    }

    /// Whether a request is tried whose messages are in the client's buffer.
    pub(super) fn is_trying(&self) -> bool {
        match &self.requests.trial {
            Trial::Open(_) | Trial::Refused(..) => true,
            Trial::None | Trial::Over(_) => false,
        }
    }

    /// Sends the reader a copy of the request at the front of the client's bytes.
    pub(super) fn try_on(&mut self, leg: LegId, reason: RouteReason, input: &[u8]) -> Demand {
        let len = self.requests.look.len;
        let Some(request) = input.get(..len) else {
            return Demand::Bytes(len);
        };
        if !self.nothing_in_flight() {
            return Demand::Paused;
        }
        self.clear_stale(leg);
        self.tidy_statements(leg);
        let class = self.requests.look.class;
        match self.prepare_trial(leg, request) {
            Preparation::Done => {}
            Preparation::Later => return Demand::Paused,
            Preparation::Never if class == Class::Read => return self.settle_on(leg, reason),
            Preparation::Never => return self.settle_on(self.writer(), reason),
        }
        let outline = self.requests.look.outline.take();
        self.requests.look.restart();
        self.routed(leg, class, reason, outline);
        self.requests.began(Batch::None);
        let mut tried = Tried {
            leg,
            class,
            len,
            tags: Vec::new(),
            texts: Vec::new(),
            changes: Vec::new(),
        };
        for (header, frame, body) in frames(request) {
            self.note_tried(&mut tried, header.tag, body);
            if !self.send_copy(leg, header, frame, body) {
                self.abort(CloseCause::Misuse("room was promised and is not there"));
                return Demand::Again;
            }
            // What a message needs stands in one batch with it.
            self.requests.batch = Batch::On(leg);
        }
        self.requests.batch = Batch::None;
        self.memory.statements.synced();
        self.requests.last = leg;
        self.requests.flushed = None;
        self.requests.trial = Trial::Open(tried);
        Demand::Again
    }

    /// Has the reader prepare what the request needs, if that and the request are sent together: what it says to a Parse of ours by
    /// itself would be nobody's.
    fn prepare_trial(&mut self, leg: LegId, request: &[u8]) -> Preparation {
        let (client, to) = (PeerId::CLIENT.port(), leg.peer().port());
        let mut len = request.len();
        for name in names_in(request) {
            match self.repair_len(leg, name) {
                Some(more) => len = len.saturating_add(more),
                None => return Preparation::Later,
            }
        }
        if !self.ledger.room_for_both(to, len, client) || !self.ledger.room(client, Fate::Discard) {
            return match self.ledger.queued(to) {
                0 => Preparation::Never,
                _ => Preparation::Later,
            };
        }
        match names_in(request).all(|name| self.repair(leg, name)) {
            true => Preparation::Done,
            false => Preparation::Later,
        }
    }

    /// Remembers what a message runs and prepares, for the case that it is refused.
    fn note_tried(&self, tried: &mut Tried, frame: u8, body: &[u8]) {
        let text = match Frontend::parse(frame, body) {
            Ok(Frontend::Query(query)) => Some(query.text),
            Ok(Frontend::Parse(parse)) => {
                self.note_change(tried, parse.name);
                Some(parse.text)
            }
            Ok(Frontend::Close(close)) if close.kind == Object::Statement => {
                self.note_change(tried, close.name);
                None
            }
            Ok(Frontend::Bind(bind)) => {
                let meaning = self.memory.statements.meaning(key(bind.statement));
                meaning.definition.and_then(|known| text_of(&known.body))
            }
            Ok(_) | Err(_) => None,
        };
        // Only of what may be a write is it remembered that it was refused, and as much of it as is tried.
        let kept = text
            .filter(|text| tried.class == Class::Unproven && text.len() <= limits::TRIED_REQUEST);
        tried.texts.extend(kept.map(|text| HiddenText(text.into())));
        tried.tags.push(frame);
    }

    /// Remembers what a name means that the request gives to another statement or takes away.
    fn note_change(&self, tried: &mut Tried, name: &[u8]) {
        let name = key(name);
        if tried.changes.iter().any(|before| *before.name == *name) {
            return;
        }
        let meaning = self.memory.statements.meaning(name);
        tried.changes.push(Before {
            name: name.into(),
            meaning: meaning.definition.cloned(),
        });
    }

    /// What an upstream that tries a request has said of it, before anything of its answer is claimed. `None` when its next
    /// message can be looked at as any other.
    pub(super) fn judge_trial(&mut self, leg: LegId, input: &[u8]) -> Option<Demand> {
        match &self.requests.trial {
            Trial::Open(tried) if tried.leg == leg => {}
            Trial::Open(_) | Trial::None | Trial::Refused(..) | Trial::Over(_) => return None,
        }
        if self.answers_ours(leg) {
            return None;
        }
        match verdict(input, self.config.limits.read_buffer) {
            Verdict::Open(needed) => Some(Demand::Bytes(needed)),
            // What a server says of itself before it closes is no answer.
            Verdict::Farewell => None,
            Verdict::Accepted => {
                self.accept_trial();
                None
            }
            Verdict::Refused(state, why) => {
                self.refuse_trial(leg, state, why);
                None
            }
        }
    }

    /// Whether an upstream has not yet answered something of ours that stands in front of the client's requests.
    fn answers_ours(&self, leg: LegId) -> bool {
        let serving = self.leg(leg).serving();
        let head = serving.and_then(|serving| serving.pipeline.head());
        head.is_some_and(|owed| owed.owner == Owner::Injected)
    }

    /// An upstream has answered the client: if it tries a request, the answer is that of the request.
    pub(super) fn accept_trial_of(&mut self, leg: LegId) {
        if matches!(&self.requests.trial, Trial::Open(tried) if tried.leg == leg) {
            self.accept_trial();
        }
    }

    /// The answer to a tried request is the client's, whatever it is: the request in its buffer is done with.
    pub(super) fn accept_trial(&mut self) {
        let trial = std::mem::take(&mut self.requests.trial);
        let Trial::Open(tried) = trial else {
            self.requests.trial = trial;
            return;
        };
        let len = u64::try_from(tried.len).unwrap_or(u64::MAX);
        for frame in tried.tags {
            self.tally.client.frontend(frame);
        }
        if self
            .ledger
            .claim(PeerId::CLIENT.port(), Fate::Discard, len)
            .is_err()
        {
            self.abort(CloseCause::Misuse("room was there and is gone"));
        }
    }

    /// The reader is lost before it has said what becomes of the request: a proven read runs on the writer, if it may. The
    /// answer to any other is the client's, and it is an error.
    pub(super) fn lose_trial(&mut self, leg: LegId) {
        let trial = std::mem::take(&mut self.requests.trial);
        self.requests.trial = match (trial, self.config.lost_reads) {
            (Trial::Open(tried), LostReads::Again)
                if tried.leg == leg && tried.class == Class::Read =>
            {
                Trial::Refused(leg, tried.changes, RouteReason::ReaderDown)
            }
            (trial, LostReads::Again | LostReads::Fail) => trial,
        };
        self.accept_trial();
    }

    fn refuse_trial(&mut self, leg: LegId, state: SqlState, why: Refusal) {
        let trial = std::mem::take(&mut self.requests.trial);
        if let Trial::Open(tried) = trial {
            let writes = tried.texts.into_iter().filter(|_| why == Refusal::Writes);
            for text in writes {
                self.memory.refused.add(text);
            }
            self.requests.trial = Trial::Refused(leg, tried.changes, RouteReason::Refused);
        }
        let request = self.requests.newest();
        self.notify(Event::ReaderRefused {
            request,
            peer: leg.peer(),
            state,
        });
    }

    /// The reader has answered everything of a request that it refused, or is lost: whatever it was, it was refused.
    pub(super) fn refusal_is_over(&mut self, leg: LegId) {
        let trial = std::mem::take(&mut self.requests.trial);
        match trial {
            Trial::Refused(refuses, changes, reason) if refuses == leg => {
                self.requests.trial = Trial::Over(reason);
                self.requests.goes_elsewhere(leg);
                self.take_back(changes);
            }
            Trial::None | Trial::Open(_) | Trial::Refused(..) | Trial::Over(_) => {
                self.requests.trial = trial;
            }
        }
    }

    /// What a refused request has prepared or closed is not the client's doing: it does so where it runs. What the reader has
    /// of it by now is stale.
    fn take_back(&mut self, changes: Vec<Before>) {
        for Before { name, meaning } in changes {
            self.memory.statements.put_back(name, meaning);
        }
    }

    /// What a lost reader owed of a request that it had refused is nobody's: the writer runs it.
    pub(super) fn forget_refused(&mut self, leg: LegId, owed: Vec<Owed<Note>>) -> usize {
        self.refused_lost(leg);
        for item in owed {
            self.undone(item.note, Reached::Nobody);
        }
        self.requests.reader_lost(self.roles, false);
        0
    }

    /// Whether what an upstream answers now is nobody's, because it refuses a request that the writer is to run.
    pub(super) fn is_refusing(&self, leg: LegId) -> bool {
        matches!(self.requests.trial, Trial::Refused(refuses, ..) if refuses == leg)
    }
}

/// The names of the statements that a request's messages need or take.
fn names_in(request: &[u8]) -> impl Iterator<Item = &[u8]> {
    frames(request).filter_map(
        |(header, _, body)| match Frontend::parse(header.tag, body) {
            Ok(Frontend::Bind(bind)) => Some(key(bind.statement)),
            Ok(Frontend::Describe(describe)) if describe.kind == Object::Statement => {
                Some(key(describe.name))
            }
            Ok(Frontend::Parse(parse)) if !parse.name.is_empty() => Some(key(parse.name)),
            Ok(_) | Err(_) => None,
        },
    )
}

/// The whole messages at the front of a client's bytes.
fn frames(input: &[u8]) -> impl Iterator<Item = (Header, &[u8], &[u8])> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let header = Header::parse(rest).ok()??;
        let (body, behind) = header.split(rest)?;
        let len = rest.len().saturating_sub(behind.len());
        let frame = rest.get(..len)?;
        rest = behind;
        Some((header, frame, body))
    })
}

/// Looks for the first message that tells whether a request is refused. What comes before one that refuses says
/// nothing about it: it is prepared, bound, described; it says a notice.
fn verdict(input: &[u8], buffer: usize) -> Verdict {
    let mut rest = input;
    loop {
        let before = input.len().saturating_sub(rest.len());
        let header = match Header::parse(rest) {
            Ok(Some(header)) => header,
            Ok(None) => return wait(before, Header::LEN, buffer),
            Err(_) => return Verdict::Accepted,
        };
        let frame = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
        let tells_nothing = matches!(
            header.tag,
            backend::PARSE_COMPLETE
                | backend::BIND_COMPLETE
                | backend::CLOSE_COMPLETE
                | backend::PARAMETER_DESCRIPTION
                | backend::ROW_DESCRIPTION
                | backend::NO_DATA
                | backend::NOTICE_RESPONSE
                | backend::PARAMETER_STATUS
                | backend::NOTIFICATION_RESPONSE
        );
        if !tells_nothing && header.tag != backend::ERROR_RESPONSE {
            return Verdict::Accepted;
        }
        let Some((body, behind)) = header.split(rest) else {
            return wait(before, frame, buffer);
        };
        if !tells_nothing {
            return match Backend::parse(header.tag, body) {
                Ok(Backend::ErrorResponse(fields)) if fields.is_fatal() && before == 0 => {
                    Verdict::Farewell
                }
                Ok(Backend::ErrorResponse(fields)) => refusal(&fields),
                Ok(_) | Err(_) => Verdict::Accepted,
            };
        }
        rest = behind;
    }
}

/// What does not fit the buffer is passed on unseen.
fn wait(before: usize, more: usize, buffer: usize) -> Verdict {
    let needed = before.saturating_add(more);
    match needed <= buffer {
        true => Verdict::Open(needed),
        false => Verdict::Accepted,
    }
}

/// Whether an error is the refusal of a server in recovery to write, or to serve a serializable transaction. Most writes are
/// 25006; what goes past that check is refused when it asks for a transaction or object number, which the server calls an
/// internal error.
fn refusal(fields: &Fields<'_>) -> Verdict {
    const NUMBERS: [&[u8]; 3] = [
        b"GetNewTransactionId",
        b"GetNewObjectId",
        b"GetNewMultiXactId",
    ];
    let state = match fields.sqlstate() {
        Some(state) if !fields.is_fatal() => state,
        Some(_) | None => return Verdict::Accepted,
    };
    let by_number = state == sqlstate::INTERNAL_ERROR
        && fields
            .get(b'R')
            .is_some_and(|routine| NUMBERS.contains(&routine));
    match state == sqlstate::READ_ONLY_SQL_TRANSACTION || by_number {
        true => Verdict::Refused(state, Refusal::Writes),
        false if is_serializable(fields) => Verdict::Refused(state, Refusal::Isolation),
        false => Verdict::Accepted,
    }
}
