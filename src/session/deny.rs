//! What a server is sent in the place of a message that the caller's policy denies, and the client in the place of what
//! the server says to that.
//!
//! The server is sent a message of the same kind that it is sure to refuse. Whatever else follows from a refusal is then
//! its own doing: that it skips up to Sync, the state of the transaction, and when ReadyForQuery comes.

use bytes::BytesMut;

use super::effects::Note;
use super::leg::{Duty, LegId};
use super::policy::{Denial, Judged, Refused};
use super::requests::Batch;
use super::statement::{Statement, StatementText};
use super::{Demand, Event, PeerId, Session};
use crate::error::TooLong;
use crate::ledger::Fate;
use crate::limits;
use crate::route::Route;
use crate::track::pipeline::Kind;
use crate::track::prepared::{Change, Reached, Ticket, key};
use crate::wire::{
    Bind, Execute, Formats, Frontend, Header, ParamTypes, Parse, Query, Values,
    tags::backend as reply, tags::frontend as tag,
};

/// What a server reads in the place of what was denied. It begins no statement that there is.
const WORDS: &str = "denied by a policy of the proxy";

/// Bytes of an ErrorResponse beside its three texts: their codes and ends, the header, two severities and the SQLSTATE.
const ERROR_FRAME: usize = 64;

/// What is remembered of a message that stands in the place of a denied one.
#[derive(Debug)]
pub(super) struct Denied {
    /// What the client is told when the server refuses it; nothing behind another one, which has the server skip it.
    denial: Option<Denial>,
    /// The unnamed statement, which it drops.
    unnamed: Option<Ticket>,
}

/// Whether a server that is sent a substitute drops its unnamed statement: it does before it reads the text of a Query
/// or of a Parse without a name.
fn drops_unnamed(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::Query { .. } => true,
        Statement::Parse { name, text } => name.is_empty() && *text != StatementText::Malformed,
        Statement::Bind { .. } | Statement::Execute { .. } | Statement::FunctionCall { .. } => {
            false
        }
    }
}

fn kind_of(statement: &Statement<'_>) -> Kind {
    match statement {
        Statement::Query { .. } => Kind::Query,
        Statement::Parse { .. } => Kind::Parse,
        Statement::Bind { .. } => Kind::Bind,
        Statement::Execute { .. } => Kind::Execute,
        Statement::FunctionCall { .. } => Kind::FunctionCall,
    }
}

/// A message of the same kind as `statement`. `name` is one that no statement and no portal has.
fn substitute(statement: &Statement<'_>, name: &str) -> Result<BytesMut, TooLong> {
    let (text, name) = (WORDS.as_bytes(), name.as_bytes());
    let mut frame = BytesMut::new();
    match statement {
        Statement::Query { .. } => Frontend::Query(Query { text }).encode(&mut frame)?,
        Statement::Parse { .. } => Frontend::Parse(Parse {
            name: if drops_unnamed(statement) { b"" } else { name },
            text,
            types: ParamTypes::new(&[]),
        })
        .encode(&mut frame)?,
        Statement::Bind { .. } => Frontend::Bind(Bind {
            portal: b"",
            statement: name,
            formats: Formats::new(&[]),
            values: Values::new(&[]),
            result_formats: Formats::new(&[]),
        })
        .encode(&mut frame)?,
        Statement::Execute { .. } => Frontend::Execute(Execute {
            portal: name,
            max_rows: 0,
        })
        .encode(&mut frame)?,
        // Function 0, with no formats, no arguments, and a result in text.
        Statement::FunctionCall { .. } => Frontend::Unknown {
            tag: tag::FUNCTION_CALL,
            body: &[0; 10],
        }
        .encode(&mut frame)?,
    }
    Ok(frame)
}

impl<R: Route> Session<R> {
    /// Drops the client's next message, which is denied, and sends an upstream what stands in its place.
    /// [`Demand::Again`] when it was.
    pub(super) fn forward_denied(&mut self, leg: LegId, header: Header, input: &[u8]) -> Demand {
        let whole = header.split(input).map(|(body, _)| body);
        let body = whole.unwrap_or(input.get(Header::LEN..).unwrap_or_default());
        let statement = Statement::read(header.tag, body, whole.is_some());
        let statement = statement.unwrap_or(Statement::Bind {
            portal: b"",
            statement: b"",
            text: StatementText::Unknown,
        });
        let name = format!("{WORDS} {:016x}", self.seed.number());
        let Ok(frame) = substitute(&statement, &name) else {
            return Demand::Paused;
        };
        let again = self.skips_to_sync(leg);
        if !again && self.denials_in_flight(leg) >= limits::DENIALS_IN_FLIGHT
            || !self.has_room_to_deny(leg, frame.len())
            || header.tag == tag::QUERY && !self.end_repair(leg)
        {
            return Demand::Paused;
        }
        let client = PeerId::CLIENT.port();
        let len = u64::from(header.frame_len);
        let claimed = self.ledger.claim(client, Fate::Discard, len);
        let judged = std::mem::replace(&mut self.requests.judged, Judged::NotYet);
        let (Ok(()), Judged::Denied(refused)) = (claimed, judged) else {
            return Demand::Paused;
        };
        self.tally.client.frontend(header.tag);
        // With what the server refuses the transaction fails that its portals are of, or its part behind a savepoint.
        self.memory.portals.doubt();
        if let Statement::Bind { portal, .. } = &statement {
            self.memory.portals.close(key(portal));
        }
        let denied = self.note_denied(leg, &statement, *refused, again);
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.expect(leg, kind_of(&statement), denied, length);
        self.push(leg.peer(), &frame);
        Demand::Again
    }

    /// Whether a frame of ours fits an upstream's queue, with a Sync before it, and the client's can be dropped.
    fn has_room_to_deny(&self, leg: LegId, len: usize) -> bool {
        let both = len.saturating_add(Header::LEN);
        self.ledger.room(PeerId::CLIENT.port(), Fate::Discard)
            && self.ledger.room_for(leg.peer().port(), both)
    }

    /// The note for what is about to be sent in the place of a denied message.
    fn note_denied(
        &mut self,
        leg: LegId,
        statement: &Statement<'_>,
        refused: Refused,
        again: bool,
    ) -> Note {
        let Refused {
            denial,
            intent,
            request,
        } = refused;
        self.notify(Event::StatementDenied {
            request,
            peer: leg.peer(),
            state: denial.statement_state(),
        });
        self.memory.forwarded = Some(intent);
        let shown = match statement.text() {
            Some(StatementText::Whole(text)) => self.outline_of(text),
            Some(StatementText::Unknown | StatementText::TooLong | StatementText::Malformed)
            | None => None,
        };
        self.memory.outline = shown;
        let unnamed = match drops_unnamed(statement) {
            true => self.forget_unnamed(leg),
            false => None,
        };
        let denied = Denied {
            denial: (!again).then_some(denial),
            unnamed,
        };
        Note::Denied(Box::new(denied))
    }

    /// Whether an upstream is going to skip what it is sent next: behind a denied message of the same batch.
    pub(super) fn skips_to_sync(&self, leg: LegId) -> bool {
        let Some(serving) = self.leg(leg).serving() else {
            return false;
        };
        let newest_first = serving.pipeline.iter().rev();
        let mut batch = newest_first.take_while(|owed| !owed.kind.ends_with_ready());
        self.requests.batch != Batch::None && batch.any(|owed| matches!(owed.note, Note::Denied(_)))
    }

    /// How many denials wait for an upstream to refuse what stands in their places.
    fn denials_in_flight(&self, leg: LegId) -> usize {
        let held = |note: &Note| matches!(note, Note::Denied(denied) if denied.denial.is_some());
        self.leg(leg).serving().map_or(0, |serving| {
            let owed = serving.pipeline.iter();
            owed.filter(|owed| held(&owed.note)).count()
        })
    }

    /// Whether what an upstream says with this tag answers what it should have refused.
    pub(super) fn accepts_denied(&self, leg: LegId, message: u8) -> bool {
        let refuses = matches!(
            message,
            reply::ERROR_RESPONSE
                | reply::READY_FOR_QUERY
                | reply::NOTICE_RESPONSE
                | reply::NOTIFICATION_RESPONSE
                | reply::PARAMETER_STATUS
        );
        let head = self
            .leg(leg)
            .serving()
            .and_then(|serving| serving.pipeline.head());
        !refuses && head.is_some_and(|owed| matches!(owed.note, Note::Denied(_)))
    }

    /// Whether the client can be told now what takes the place of an upstream's error. The errors that are due if a
    /// reader is lost cannot wait for room.
    pub(super) fn has_room_for_denial(&self, leg: LegId) -> bool {
        let Some(serving) = self.leg(leg).serving() else {
            return true;
        };
        let denial = match serving.pipeline.head().map(|owed| &owed.note) {
            Some(Note::Denied(denied)) => denied.denial.as_ref(),
            Some(_) | None => None,
        };
        let Some(denial) = denial else {
            return true;
        };
        let client = PeerId::CLIENT.port();
        let error = denial.len().saturating_add(ERROR_FRAME);
        let lost = match self.duty(leg) {
            Duty::Writer => 0,
            Duty::Reader | Duty::Spare => serving.pipeline.client_ready_owed(),
        };
        let kept = lost.saturating_mul(limits::LOST_REQUEST);
        self.ledger.room_for(client, error.saturating_add(kept))
            || self.ledger.is_drained_to(client)
    }

    /// Takes what the client is told in the place of the error that an upstream says now.
    pub(super) fn take_denial(&mut self, leg: LegId) -> Option<Denial> {
        let head = self.leg_mut(leg).serving_mut()?.pipeline.head_mut()?;
        let Note::Denied(denied) = &mut head.note else {
            return None;
        };
        let denial = denied.denial.take();
        head.note = denied.unnamed.map_or(Note::Nothing, Note::Statement);
        denial
    }

    /// The unnamed statement is dropped by what is about to be sent, if there is one.
    pub(super) fn forget_unnamed(&mut self, leg: LegId) -> Option<Ticket> {
        let unnamed = self.memory.statements.meaning(b"");
        if unnamed.definition.is_none() && unnamed.settled {
            return None;
        }
        Some(self.memory.statements.sent(Change::Forget {
            leg: leg.index(),
            name: Box::default(),
        }))
    }

    /// What a denied message would have dropped is dropped by what stood in its place, if the server has read it.
    pub(super) fn denied_undone(&mut self, denied: Denied, reached: Reached) {
        if let Some(ticket) = denied.unnamed {
            self.memory.statements.refused(ticket, reached);
        }
    }
}
