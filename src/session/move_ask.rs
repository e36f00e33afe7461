//! What a move asks of its two servers, and how their answers are heard.
//!
//! One question is out at a time. The old server's answers are counted in its pipeline too, so that what is left of one
//! whose move is given up is swallowed there like any answer to us. The new server answers nobody else.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::BytesMut;

use super::effects::{Note, Prepared};
use super::leg::LegId;
use super::{CloseCause, Demand, PeerId, Session};
use crate::ledger::Fate;
use crate::migrate::cockroach::{
    DescribeReader, Description, DeserializeReader, NotRestored, StateAnswer, StateReader,
    TransferKey, begin_and_show_transfer_state,
};
use crate::migrate::postgres::{
    Found, Probe, ProbeFailed, Restore, RestoreFailed, TypeLookup, Types,
};
use crate::migrate::{AnswerFault, Heard, Look};
use crate::route::Route;
use crate::secret;
use crate::track::pipeline::{Kind, Owner};
use crate::wire::tags::{backend, frontend};
use crate::wire::{Header, SqlState};

/// What prepares a statement of the client's again: the body of its Parse message, or the text of its PREPARE.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Parse(Prepared),
    Query(Prepared),
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        match self {
            Body::Parse(prepared) => &prepared.body,
            Body::Query(prepared) => &prepared.query,
        }
    }
}

/// A question, with what has to be known again when it is answered.
#[derive(Debug)]
pub(super) enum Question {
    /// To the new server: what does a fresh session have?
    Fresh(Probe),
    /// To the old server: what does the session have?
    State(Probe),
    /// To the old server: how are these types called?
    Names {
        lookup: TypeLookup,
        oids: BTreeSet<u32>,
        found: Box<Found>,
    },
    /// To the new server: what are the OIDs of the types that are called so?
    Oids {
        lookup: TypeLookup,
        oids: BTreeSet<u32>,
        names: Types,
    },
    /// To the new server: become what the session was.
    Restore(Box<Restore<Body>>),
    /// To the new server: what does the session have?
    Verify(Probe),
    /// To an old server of CockroachDB: what are these prepared statements?
    Described(DescribeReader),
    /// To a new one: what are they there, behind the first so many?
    Redescribed(DescribeReader, usize),
    /// To an old server of CockroachDB: hand the session out.
    Transfer(StateReader, TransferKey),
    /// To a new one: take it in. So many bytes of the request are sent.
    Deserialize(DeserializeReader, usize),
}

/// An answer that is complete.
pub(super) enum Answer {
    Found(Result<Box<Found>, ProbeFailed>),
    Types(Result<Types, ProbeFailed>),
    Restored(Result<(), RestoreFailed>),
    Serialized(Box<StateAnswer>),
    Deserialized(Result<(), NotRestored>),
    Descriptions(Vec<Description>),
}

impl Question {
    fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        match self {
            Question::Fresh(probe) | Question::State(probe) | Question::Verify(probe) => {
                probe.header(header)
            }
            Question::Names { lookup, .. } | Question::Oids { lookup, .. } => lookup.header(header),
            Question::Restore(restore) => restore.header(header),
            Question::Transfer(state, _) => state.header(header),
            Question::Deserialize(done, _) => done.header(header),
            Question::Described(reader) | Question::Redescribed(reader, _) => reader.header(header),
        }
    }

    fn body(&mut self, tag: u8, body: &[u8]) -> Result<Heard<Answer>, AnswerFault> {
        match self {
            Question::Fresh(probe) | Question::State(probe) | Question::Verify(probe) => {
                let boxed = |found: Result<Found, _>| Answer::Found(found.map(Box::new));
                Ok(answered(probe.body(tag, body)?, boxed))
            }
            Question::Names { lookup, .. } | Question::Oids { lookup, .. } => {
                Ok(answered(lookup.body(tag, body)?, Answer::Types))
            }
            Question::Restore(restore) => Ok(answered(restore.body(tag, body)?, Answer::Restored)),
            Question::Transfer(state, _) => {
                let boxed = |answer| Answer::Serialized(Box::new(answer));
                Ok(answered(state.body(tag, body)?, boxed))
            }
            Question::Deserialize(done, _) => {
                Ok(answered(done.body(tag, body)?, Answer::Deserialized))
            }
            Question::Described(reader) | Question::Redescribed(reader, _) => {
                Ok(answered(reader.body(tag, body)?, Answer::Descriptions))
            }
        }
    }
}

fn answered<T>(heard: Heard<T>, answer: impl FnOnce(T) -> Answer) -> Heard<Answer> {
    match heard {
        Heard::More => Heard::More,
        Heard::Farewell(state) => Heard::Farewell(state),
        Heard::Done(done) => Heard::Done(answer(done)),
    }
}

/// A message that is being taken from the driver's buffer, piece by piece: it may be longer than that. What it says of a
/// session may be secret.
struct Partial {
    tag: u8,
    left: usize,
    body: Vec<u8>,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partial")
            .field("tag", &self.tag)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        secret::wipe(&mut self.body);
    }
}

/// A question that is out.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) leg: LegId,
    pub(super) question: Question,
    partial: Option<Partial>,
}

impl Asked {
    pub(super) fn new(leg: LegId, question: Question) -> Asked {
        Asked {
            leg,
            question,
            partial: None,
        }
    }

    /// How many bytes of a message that has begun are still to come.
    pub(super) fn rest(&self) -> u64 {
        let left = self.partial.as_ref().map_or(0, |partial| partial.left);
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

/// What becomes of the next bytes of a server that was asked.
enum Step {
    /// They are not the move's.
    Pass,
    Demand(Demand),
    Fault(AnswerFault),
    /// So many bytes were taken into the message that is being read.
    Taken(usize),
}

impl<R: Route> Session<R> {
    fn asked_mut(&mut self, leg: LegId) -> Option<&mut Asked> {
        let asked = self.writer_move_mut()?.plan.asked.as_mut()?;
        (asked.leg == leg).then_some(asked)
    }

    /// Whether a server owes a move an answer.
    pub(super) fn is_asked_for_a_move(&self, leg: LegId) -> bool {
        let asked = self.writer_move().and_then(|it| it.plan.asked.as_ref());
        asked.is_some_and(|asked| asked.leg == leg)
    }

    /// Hears what a server says that a move has asked. `None` if it is none, or says something else.
    pub(super) fn hear_move(&mut self, now: Instant, leg: LegId, input: &[u8]) -> Option<Demand> {
        self.asked_mut(leg)?;
        if !self.ledger.room(leg.peer().port(), Fate::Discard) {
            return Some(Demand::Paused);
        }
        match self.move_input(leg, input) {
            Step::Pass => None,
            Step::Demand(demand) => Some(demand),
            Step::Fault(fault) => {
                self.answer_not_understood(now, leg, fault);
                Some(Demand::Again)
            }
            Step::Taken(bytes) => {
                self.drop_of(leg, u64::try_from(bytes).unwrap_or(u64::MAX));
                self.hear_whole(now, leg);
                Some(Demand::Again)
            }
        }
    }

    fn move_input(&mut self, leg: LegId, input: &[u8]) -> Step {
        let Some(asked) = self.asked_mut(leg) else {
            return Step::Pass;
        };
        if let Some(partial) = &mut asked.partial {
            let taken = partial.left.min(input.len());
            if taken == 0 {
                return Step::Demand(Demand::Bytes(1));
            }
            secret::append(&mut partial.body, input.get(..taken).unwrap_or_default());
            partial.left = partial.left.saturating_sub(taken);
            return Step::Taken(taken);
        }
        // A question knows how long its answer may be. What a server may send a client says nothing of it.
        let header = match Header::parse(input) {
            Ok(Some(header)) => header,
            Ok(None) => return Step::Demand(Demand::Bytes(Header::LEN)),
            Err(fault) => return Step::Fault(fault.into()),
        };
        match asked.question.header(header) {
            Ok(Look::Client | Look::Aside) => Step::Pass,
            Ok(Look::Discard) => {
                self.count_answer(leg, header.tag);
                self.drop_of(leg, u64::from(header.frame_len));
                Step::Demand(Demand::Again)
            }
            Ok(Look::Body) => {
                let left = usize::try_from(header.body_len()).unwrap_or(usize::MAX);
                asked.partial = Some(Partial {
                    tag: header.tag,
                    left,
                    body: Vec::new(),
                });
                self.count_answer(leg, header.tag);
                Step::Taken(Header::LEN)
            }
            Err(fault) => Step::Fault(fault),
        }
    }

    /// Bytes of a server that nobody else gets.
    pub(super) fn drop_of(&mut self, leg: LegId, bytes: u64) {
        if bytes > 0
            && self
                .ledger
                .claim(leg.peer().port(), Fate::Discard, bytes)
                .is_err()
        {
            self.abort(CloseCause::Misuse("room was there and is gone"));
        }
    }

    /// A message of an answer to us has come.
    fn count_answer(&mut self, leg: LegId, tag: u8) {
        self.tally.reply(leg, Fate::Discard, tag, &[]);
        if leg != self.writer() {
            return;
        }
        if let Some(serving) = self.leg_mut(leg).serving_mut() {
            serving.newest = tag;
            // Its reader has judged it already, by stricter rules.
            if tag == backend::ERROR_RESPONSE {
                serving.pipeline.error();
            } else {
                let _ = serving.pipeline.reply(tag);
            }
        }
    }

    /// Shows a message to its question once it is there.
    fn hear_whole(&mut self, now: Instant, leg: LegId) {
        let Some(asked) = self.asked_mut(leg) else {
            return;
        };
        let Some(partial) = asked.partial.take_if(|partial| partial.left == 0) else {
            return;
        };
        let heard = asked.question.body(partial.tag, &partial.body);
        match heard {
            Ok(Heard::More) => {}
            Ok(Heard::Farewell(state)) => self.farewell(now, leg, &partial, state),
            Ok(Heard::Done(answer)) => {
                let asked = self
                    .writer_move_mut()
                    .and_then(|moving| moving.plan.asked.take());
                if let Some(asked) = asked {
                    self.answered_move(now, asked.question, answer);
                }
            }
            Err(fault) => self.answer_not_understood(now, leg, fault),
        }
    }

    /// A server that was asked ends the session. The client gets what the old one says.
    fn farewell(&mut self, now: Instant, leg: LegId, said: &Partial, state: Option<SqlState>) {
        if leg != self.writer() {
            let why = match state {
                Some(state) => format!("it ended the session ({state})"),
                None => "it ended the session".to_owned(),
            };
            self.move_step(now, |migration| migration.target_failed(why));
            return;
        }
        if let Some(serving) = self.leg_mut(leg).serving_mut() {
            serving.says_fatal();
        }
        let len = u32::try_from(said.body.len().saturating_add(4)).unwrap_or(u32::MAX);
        let mut frame = vec![said.tag];
        frame.extend_from_slice(&len.to_be_bytes());
        frame.extend_from_slice(&said.body);
        self.push(PeerId::CLIENT, &frame);
        self.end(now, CloseCause::UpstreamEnded(leg.peer()), None);
    }

    fn answer_not_understood(&mut self, now: Instant, leg: LegId, fault: AnswerFault) {
        if leg == self.writer() {
            self.move_step(now, |migration| migration.old_fault(fault));
        } else {
            self.move_step(now, |migration| migration.target_failed(fault));
        }
    }

    /// Sends a server messages of the move. Whether there was room for them.
    pub(super) fn send_for_move(&mut self, leg: LegId, bytes: &[u8]) -> bool {
        if !self.ledger.room_for(leg.peer().port(), bytes.len()) {
            return false;
        }
        if leg == self.writer() {
            self.expect_answers(leg, bytes);
        }
        self.push(leg.peer(), bytes);
        true
    }

    /// The old server's answers to these messages are ours.
    fn expect_answers(&mut self, leg: LegId, bytes: &[u8]) {
        let mut rest = bytes;
        while let Ok(Some(header)) = Header::parse(rest) {
            let kind = match header.tag {
                frontend::QUERY => Kind::Query,
                frontend::PARSE => Kind::Parse,
                frontend::DESCRIBE => Kind::DescribeStatement,
                frontend::BIND => Kind::Bind,
                frontend::EXECUTE => Kind::Execute,
                frontend::CLOSE => Kind::Close,
                _ => Kind::Sync,
            };
            if let Some(serving) = self.leg_mut(leg).serving_mut() {
                serving
                    .pipeline
                    .sent(kind, Owner::Injected, Note::Nothing, 0);
            }
            let len = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
            rest = rest.get(len..).unwrap_or_default();
        }
    }

    /// Asks a server. A question that does not fit its queue fails the move.
    pub(super) fn ask_for_move(&mut self, now: Instant, leg: LegId, question: Question) {
        let mut out = BytesMut::new();
        let written = match &question {
            Question::Fresh(probe) | Question::State(probe) | Question::Verify(probe) => {
                probe.write(&mut out)
            }
            Question::Names { lookup, .. } | Question::Oids { lookup, .. } => {
                lookup.write(&mut out)
            }
            Question::Transfer(_, key) => begin_and_show_transfer_state(key, &mut out),
            // They are written piece by piece.
            Question::Restore(_)
            | Question::Deserialize(..)
            | Question::Described(_)
            | Question::Redescribed(..) => Ok(()),
        };
        if written.is_err() || !self.send_for_move(leg, &out) {
            let why = "a question to it does not fit the queue of our own messages";
            self.move_step(now, |migration| migration.state_refused(why));
            return;
        }
        if let Some(moving) = self.writer_move_mut() {
            moving.plan.asked = Some(Asked::new(leg, question));
        }
    }
}
