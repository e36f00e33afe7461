//! Statements that an upstream lacks, or has otherwise: they are prepared there before a message needs them.

use std::sync::Arc;

use bytes::BytesMut;

use super::effects::Note;
use super::leg::LegId;
use super::requests::{Batch, SYNC};
use super::{PeerId, Session};
use crate::migrate::Dialect;
use crate::route::{Intent, Route};
use crate::track::pipeline::{Kind, Owner, is_repair};
use crate::track::prepared::{Change, Definition, Repair, Ticket};
use crate::wire::{Close, Frontend, ParamTypes, Parse, Target, tags::frontend as tag};

/// A Close of the unnamed statement.
const CLOSE_UNNAMED: [u8; 7] = [tag::CLOSE, 0, 0, 0, 6, b'S', 0];

impl<R: Route> Session<R> {
    /// Makes an upstream have what the client has under a statement's name. Whether there was room to.
    pub(super) fn repair(&mut self, leg: LegId, name: &[u8]) -> bool {
        self.send_repair(leg, name, &[])
    }

    /// What an upstream has to be told so that it has what the client has under a statement's name.
    fn repair_due(&self, leg: LegId, name: &[u8]) -> Due {
        let serving = self.leg(leg).serving();
        // There is one upstream only, and nothing of ours costs it a statement but CockroachDB's Query for a session.
        let is_sole = !self.splits() && self.config.dialect == Dialect::Postgres;
        if is_sole || self.is_deaf(leg) {
            return Due::Nothing;
        }
        // A Sync of ours would end what a server skips: the client's Query behind it would be run.
        let may_skip = self.requests.begins_there()
            && serving.is_some_and(|serving| serving.pipeline.may_skip());
        let (close, definition) = match self.memory.statements.repair(leg.index(), name) {
            Repair::None => return Due::Nothing,
            Repair::Wait => return Due::Later,
            Repair::Close | Repair::Parse(_) | Repair::Replace(_) if may_skip => return Due::Later,
            Repair::Close => (true, None),
            Repair::Parse(definition) => (false, Some(definition)),
            Repair::Replace(definition) => (true, Some(definition)),
        };
        let body = definition.as_ref().map(|definition| &*definition.body);
        match repair_frames(name, close, body) {
            Some((frames, cut)) => Due::Now {
                frames,
                cut,
                close,
                definition,
            },
            None => Due::Nothing,
        }
    }

    /// Whether an upstream would ignore a repair with the message that needs it, or takes neither within a copy.
    pub(super) fn is_deaf(&self, leg: LegId) -> bool {
        self.leg(leg).serving().is_some_and(|serving| {
            serving.pipeline.is_skipping() || serving.pipeline.is_copying_in()
        })
    }

    /// How many bytes that is; `None` while it is not known yet.
    pub(super) fn repair_len(&self, leg: LegId, name: &[u8]) -> Option<usize> {
        match self.repair_due(leg, name) {
            Due::Nothing => Some(0),
            Due::Later => None,
            Due::Now { frames, .. } => Some(frames.len()),
        }
    }

    /// Makes an upstream have a statement, with a Sync of ours behind it or nothing. Whether there was room to.
    pub(super) fn send_repair(&mut self, leg: LegId, name: &[u8], behind: &[u8]) -> bool {
        let (frames, cut, close, definition) = match self.repair_due(leg, name) {
            Due::Nothing => return true,
            Due::Later => return false,
            Due::Now {
                frames,
                cut,
                close,
                definition,
            } => (frames, cut, close, definition),
        };
        let (client, to) = (PeerId::CLIENT.port(), leg.peer().port());
        let len = frames.len().saturating_add(behind.len());
        if !self.ledger.room_for_both(to, len, client) {
            return false;
        }
        if close {
            let change = Change::Clear {
                leg: leg.index(),
                name: name.into(),
            };
            let ticket = self.memory.statements.sent(change);
            self.inject(
                leg,
                frames.get(..cut).unwrap_or_default(),
                Kind::Close,
                Note::Statement(ticket),
            );
        }
        if let Some(definition) = definition {
            let change = Change::Restore {
                leg: leg.index(),
                name: name.into(),
                definition,
            };
            let ticket = self.memory.statements.sent(change);
            self.inject(
                leg,
                frames.get(cut..).unwrap_or_default(),
                Kind::Parse,
                Note::Statement(ticket),
            );
        }
        if !behind.is_empty() {
            self.inject(leg, behind, Kind::Sync, Note::Nothing);
            self.memory.statements.synced();
        }
        true
    }

    /// Whether what was sent last to an upstream is one statement that we have it prepare, and no more.
    pub(super) fn has_repaired_one(&self, leg: LegId) -> bool {
        self.leg(leg).serving().is_some_and(|serving| {
            let newest = serving.pipeline.iter().rev();
            let ours = newest.take_while(|owed| owed.owner == Owner::Injected);
            ours.take_while(|owed| owed.kind != Kind::Sync)
                .filter(|owed| owed.kind == Kind::Parse)
                .count()
                == 1
        })
    }

    /// A Query is skipped whose error the client has: its ReadyForQuery is that of a Sync in its place. A server drops the unnamed
    /// statement before it reads a Query; `unnamed` is the client's, if this one has not.
    pub(super) fn end_skipped_query(&mut self, leg: LegId, unnamed: Option<Ticket>) {
        let frame = u32::try_from(SYNC.len()).unwrap_or(u32::MAX);
        self.expect(leg, Kind::Sync, Note::Nothing, frame);
        self.push(leg.peer(), &SYNC);
        if let Some(ticket) = unnamed {
            self.memory.statements.confirmed(ticket);
            self.inject(leg, &CLOSE_UNNAMED, Kind::Close, Note::Nothing);
            self.inject(leg, &SYNC, Kind::Sync, Note::Nothing);
        }
        self.memory.statements.synced();
    }

    /// Whether a Query is skipped if an upstream answers with an error now; `None` while what would end it cannot be queued. It will
    /// be: a server that skips takes whatever is queued for it.
    pub(super) fn skips_query(&self, leg: LegId) -> Option<bool> {
        let pipeline = &self.leg(leg).serving()?.pipeline;
        if pipeline.head().is_some_and(is_repair) && !self.has_room_to_end(leg) {
            return None;
        }
        Some(pipeline.serves_query())
    }

    /// Whether what ends a skipped Query can be queued for an upstream.
    pub(super) fn has_room_to_end(&self, leg: LegId) -> bool {
        let len = CLOSE_UNNAMED
            .len()
            .saturating_add(SYNC.len().saturating_mul(2));
        self.ledger.room_for(leg.peer().port(), len)
    }

    /// The same behind a message of the client's.
    pub(super) fn has_room_before_end(&self, leg: LegId) -> bool {
        let (client, to) = (PeerId::CLIENT.port(), leg.peer().port());
        self.has_room_to_end(leg) && self.ledger.room_before_push(client, to)
    }

    /// What we prepare for a message of the client's has failed before that was sent. In a batch of the client's the error is that
    /// message's, which is skipped; where none stands a Sync of ours lets it be run. Whether the client has to be told.
    pub(super) fn failed_ahead(&mut self, leg: LegId) -> bool {
        if !self.is_deaf(leg) {
            return false;
        }
        if self.requests.begins_there() {
            self.inject(leg, &SYNC, Kind::Sync, Note::Nothing);
            self.memory.statements.synced();
            return false;
        }
        let skips = self.requests.batch == Batch::On(leg);
        if skips {
            self.requests.failed_ahead = Some(leg);
        }
        skips
    }

    /// A message is sent to an upstream that skips it, as its error came before it: a Query has yet to be ended.
    pub(super) fn answer_skipped(&mut self, leg: LegId, frame: u8) {
        if self.requests.failed_ahead != Some(leg) {
            return;
        }
        let serving = self.leg(leg).serving();
        let skips = serving.is_some_and(|serving| serving.pipeline.is_skipping());
        match frame {
            // A Sync has ended that, or the connection is another one.
            _ if !skips => self.requests.failed_ahead = None,
            tag::QUERY | tag::FUNCTION_CALL => {
                self.requests.failed_ahead = None;
                let unnamed = self.forget_unnamed(leg);
                self.end_skipped_query(leg, unnamed);
            }
            _ => {}
        }
    }
}

impl<R: Route> Session<R> {
    /// Makes an upstream have something by a name that a DEALLOCATE is about to drop, if it has nothing: what the client has by it
    /// may fail to be prepared, and would take the client's transaction along. Whether there was room to.
    pub(super) fn repair_to_drop(&mut self, leg: LegId, name: &[u8]) -> bool {
        match self.repair_due(leg, name) {
            Due::Nothing => return true,
            Due::Later => return false,
            Due::Now {
                close: true,
                definition: Some(_),
                ..
            } => return true,
            Due::Now {
                definition: None, ..
            } => return self.repair(leg, name),
            Due::Now { close: false, .. } => {}
        }
        let mut frame = BytesMut::new();
        let nothing = Parse {
            name,
            text: b"",
            types: ParamTypes::new(&[]),
        };
        let (client, to) = (PeerId::CLIENT.port(), leg.peer().port());
        if Frontend::Parse(nothing).encode(&mut frame).is_err() {
            return true;
        }
        if !self.ledger.room_for_both(to, frame.len(), client) {
            return false;
        }
        let change = Change::StandIn {
            leg: leg.index(),
            name: name.into(),
        };
        let ticket = self.memory.statements.sent(change);
        self.inject(leg, &frame, Kind::Parse, Note::Statement(ticket));
        true
    }
}

/// What a repair is.
enum Due {
    Nothing,
    /// What the upstream has is not known yet.
    Later,
    Now {
        /// A Close, a Parse, or both.
        frames: BytesMut,
        /// Where the Parse begins.
        cut: usize,
        close: bool,
        definition: Option<Arc<Definition<Arc<Intent>>>>,
    },
}

/// The Close, if there is to be one, and the Parse of a repair, and where the second begins.
fn repair_frames(name: &[u8], close: bool, parse: Option<&[u8]>) -> Option<(BytesMut, usize)> {
    let mut frames = BytesMut::new();
    if close {
        let message = Frontend::Close(Close {
            kind: Target::Statement,
            name,
        });
        message.encode(&mut frames).ok()?;
    }
    let cut = frames.len();
    if let Some(body) = parse {
        let message = Frontend::Unknown {
            tag: tag::PARSE,
            body,
        };
        message.encode(&mut frames).ok()?;
    }
    Some((frames, cut))
}
