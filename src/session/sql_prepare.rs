//! Statements that the client prepares and executes in SQL. They are one set with those of the protocol: what PREPARE
//! gives a name to is remembered as if it had come in a Parse, and is parsed on the reader when it is first used there.

use std::sync::Arc;
use std::time::Instant;

use super::decide::Obstacle;
use super::effects::{Note, Prepared};
use super::leg::LegId;
use super::moving::{HeldCursors, SequenceValues};
use super::requests::{Batch, SYNC};
use super::segment::{Certainty, Look, Mirror, text_of};
use super::{PeerId, Session, Timer};
use crate::route::{
    Class, Concerns, Effect, Intent, LexState, Name, PinKind, Preparation, Route, Why,
};
use crate::track::Pin;
use crate::track::pipeline::Kind;
use crate::track::prepared::{Change, Repair, Ticket, key};

impl<R: Route> Session<R> {
    /// A PREPARE is on its way to an upstream, in this text, and maybe alone in it.
    pub(super) fn preparing(
        &mut self,
        leg: LegId,
        preparation: &Preparation,
        alone: bool,
        text: &[u8],
    ) -> Ticket {
        let name: Box<[u8]> = key(&preparation.name.0).into();
        let statement = text.get(preparation.statement.clone());
        let repeatable = statement.filter(|text| preparation.portable && !text.is_empty());
        let (body, intent) = match repeatable {
            Some(statement) => (
                parse_body(&name, statement, &preparation.types),
                self.intent_of(statement),
            ),
            None => (Vec::new(), Arc::new(unseen())),
        };
        // A server keeps the whole Query as the text of each statement that it prepares.
        let query = match repeatable {
            Some(_) if alone && self.may_move() => text,
            Some(_) | None => &[],
        };
        let leg = leg.index();
        let statements = &mut self.memory.statements;
        let change = match statements.define_in_sql(&name, &body, query, intent) {
            Some(definition) => Change::Define {
                leg,
                name,
                definition,
            },
            None => {
                // What the name meant before must not be taken for what it means now.
                self.pin(Pin::TooManyStatements);
                Change::Forget { leg, name }
            }
        };
        self.memory.statements.sent(change)
    }

    /// What a statement that is on its way leaves in the session.
    pub(super) fn leaves(&mut self, kind: PinKind) {
        if kind == PinKind::SequenceState {
            self.relocation.sequence_values = SequenceValues::Some;
        }
        if kind == PinKind::HoldCursor {
            self.relocation.held_cursors = HeldCursors::Some;
        }
        if let Some(pin) = pin_of(kind) {
            self.pin(pin);
        }
    }

    /// An EXECUTE is on its way: what its statement leaves in the session is assumed at once.
    pub(super) fn executing(&mut self, name: &Name) {
        let (known, settled) = self.executed(name);
        let Some(definition) = known.filter(|_| settled) else {
            return self.pin(Pin::Procedure);
        };
        if definition.meta.class == Class::Unreadable {
            self.pin(Pin::Unaccounted);
        }
        for effect in &definition.meta.effects {
            match effect.effect.concerns() {
                Concerns::Pin(kind) => self.leaves(kind),
                Concerns::Setting(change) => {
                    self.setting_named(&change.name);
                    self.pin(Pin::Procedure);
                }
                Concerns::Savepoint(_)
                | Concerns::Statement(_)
                | Concerns::Preparation(_)
                | Concerns::Whole => self.pin(Pin::Procedure),
            }
        }
    }

    /// What a name in SQL means, and whether that is certain.
    pub(super) fn executed(&self, name: &Name) -> (Option<Prepared>, bool) {
        let meaning = self.memory.statements.meaning(key(&name.0));
        (meaning.definition.cloned(), meaning.settled)
    }

    /// What a statement that was prepared before asks for by its names, where these may mean something else than then: a server
    /// looks them up again when the search path has changed. Its bytes were read by settings that may be others now. Of a text
    /// that is forgotten is not known what it asks for then.
    pub(super) fn named_anew(&mut self, known: &Prepared) -> Option<Arc<Intent>> {
        if self.memory.lex().catalog_first.is(&true) {
            return None;
        }
        Some(match text_of(&known.body) {
            Some(text) => self.memory.texts.get(text, &LexState::default()),
            None => Arc::new(Intent::opaque(Why::Forgotten)),
        })
    }

    /// What a text asks for that is sent by itself: an EXECUTE what its statement does.
    pub(super) fn class_of(&mut self, look: &mut Look, intent: &Intent) -> (Class, Why) {
        let own = (intent.class, intent.reason.why);
        let alone = look.len == 0
            && self.requests.batch == Batch::None
            && intent.reason.why != Why::WriterHint;
        let Some(name) = intent.sole_execute().filter(|_| alone) else {
            return own;
        };
        let (known, settled) = self.executed(name);
        if !settled {
            look.certainty = Certainty::Tentative;
        }
        let reader = self.reader().index();
        let statements = &mut self.memory.statements;
        statements.used(key(&name.0));
        let reads = statements.can_run(reader, key(&name.0));
        let anew = known.as_ref().and_then(|known| self.named_anew(known));
        let reads = reads && anew.is_none_or(|anew| anew.class.is_read());
        match known.filter(|_| reads) {
            Some(known) if known.meta.class.is_read() => {
                look.mirror = Mirror::Needed(name.clone());
                (Class::Read, known.meta.reason.why)
            }
            Some(_) | None => own,
        }
    }

    /// What an EXECUTE runs has to be on the reader before it is sent there: were it refused behind it, the server would
    /// know no statement of that name.
    pub(super) fn mirror(&mut self, now: Instant) -> Obstacle {
        let (name, tried) = match &self.requests.look.mirror {
            Mirror::None => return Obstacle::None,
            Mirror::Needed(name) => (name.clone(), false),
            Mirror::Sent(name) => (name.clone(), true),
        };
        let leg = self.reader();
        let name = key(&name.0);
        match self.memory.statements.repair(leg.index(), name) {
            Repair::None => return Obstacle::None,
            Repair::Wait => return Obstacle::Wait,
            Repair::Close | Repair::Parse(_) | Repair::Replace(_) if tried => {
                return Obstacle::Refused;
            }
            Repair::Close | Repair::Parse(_) | Repair::Replace(_) => {}
        }
        let (to, client) = (leg.peer().port(), PeerId::CLIENT.port());
        if !self.repair(leg, name) || !self.ledger.room_for_both(to, SYNC.len(), client) {
            return Obstacle::Wait;
        }
        self.requests.look.mirror = Mirror::Sent(Name(name.into()));
        self.inject(leg, &SYNC, Kind::Sync, Note::Mirror);
        self.memory.statements.synced();
        let timeout = self.config.timeouts.replay;
        self.timers.start(now, timeout, Timer::Restore(leg.peer()));
        Obstacle::Wait
    }
}

/// Whether a text may run a prepared statement by its name, or show which there are.
pub(super) fn asks_for_statements(text: &[u8]) -> bool {
    stands_in(b"execute", text) || stands_in(b"pg_prepared_statement", text)
}

/// Which of the client's prepared statements a text may need.
pub(super) enum AskedFor {
    Nothing,
    /// Those that it names somewhere.
    Named,
    All,
}

/// The same, by its words: code that a text only calls may run a statement whose name it is given.
pub(super) fn asked_for(intent: &Intent, text: &[u8]) -> AskedFor {
    match intent.class.is_read() {
        true => AskedFor::Nothing,
        false if stands_in(b"pg_prepared_statement", text) => AskedFor::All,
        false if stands_in(b"execute", text) => AskedFor::Named,
        false => AskedFor::Nothing,
    }
}

/// Whether a word, or a name as it is written, stands anywhere in a text.
pub(super) fn stands_in(word: &[u8], text: &[u8]) -> bool {
    let mut windows = text.windows(word.len().max(1));
    windows.any(|window| window.eq_ignore_ascii_case(word))
}

/// The body of a Parse.
fn parse_body(name: &[u8], text: &[u8], types: &[u32]) -> Vec<u8> {
    let count = u16::try_from(types.len()).unwrap_or(0);
    let mut body = [name, b"\0", text, b"\0", &count.to_be_bytes()].concat();
    for oid in types {
        body.extend(oid.to_be_bytes());
    }
    body
}

/// What a statement may do that is known by its name alone.
fn unseen() -> Intent {
    let mut intent = Intent::opaque(Why::Keyword);
    intent.effects.push(crate::route::StatementEffect {
        index: 0,
        effect: Effect::Pin(PinKind::Procedure),
    });
    intent
}

/// Which pins keep reads home. State that only statements which go to the writer anyway can see does not.
pub(super) fn pin_of(kind: PinKind) -> Option<Pin> {
    match kind {
        PinKind::TemporaryObject => Some(Pin::TemporaryObject),
        PinKind::TemporarySchema => Some(Pin::TemporarySchema),
        PinKind::UnloggedObject => Some(Pin::UnloggedObject),
        PinKind::SetConfig => Some(Pin::SetConfig),
        PinKind::SetSeed => Some(Pin::SetSeed),
        PinKind::Load => Some(Pin::Load),
        PinKind::Procedure => Some(Pin::Procedure),
        PinKind::LoginDefaults => Some(Pin::LoginDefaults),
        PinKind::UnknownSetting => Some(Pin::Setting),
        PinKind::AmbiguousName => Some(Pin::Unaccounted),
        PinKind::Listen
        | PinKind::AdvisoryLock
        | PinKind::HoldCursor
        | PinKind::Cursor
        | PinKind::SequenceState
        | PinKind::UnknownCode => None,
    }
}
