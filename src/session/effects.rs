//! What a finished statement changes in what the session remembers, and what the session remembers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::deny::Denied;
use super::fresh::Question;
use super::leg::{Duty, LegId};
use super::moving::{HeldCursors, SequenceValues};
use super::portals::{Age, Portals};
use super::restore::Restored;
use super::settings::PathInFlight;
use super::tags::{Said, said_of};
use super::trial::RefusedTexts;
use super::{Config, Event, Session};
use crate::auth::Parameters;
use crate::migrate::Dialect;
use crate::route::{
    Cache, Class, Effect, Encoding, Form, Intent, Known, LexState, PinKind, Route, Scope,
    StatementEffect,
};
use crate::track::pipeline::{Kind, Owed};
use crate::track::prepared::{Change, Definition, Reached, Statements, Ticket};
use crate::track::settings::{Journal, Topic};
use crate::track::{Lift, Pin, Pins};

/// What one request in flight costs at most beside the texts that it keeps: its place in the pipeline, its note, a
/// pending change, the name in it and that name among all of them.
pub(super) const REQUEST_BYTES: usize =
    std::mem::size_of::<Owed<Note>>() + std::mem::size_of::<Effects>() + 512;

/// What the session wants to know again when a request is answered.
#[derive(Debug)]
pub(super) enum Note {
    Nothing,
    /// A change to the prepared statements.
    Statement(Ticket),
    /// What the statements of a Query or an Execute do to the session, each when it is complete.
    Effects(Box<Effects>),
    /// Something on its way to an upstream that takes over the session's settings.
    Restore(Restored),
    /// The Sync that ends our part of a batch on the reader.
    Leave,
    /// A question of ours, whose answer is a row.
    Question(Question),
    /// What stands in the place of a message that is denied.
    Denied(Box<Denied>),
    /// The Sync behind a statement that the reader needs for an EXECUTE.
    Mirror,
    /// A statement of ours by which a transaction of the reader's is begun again on the writer, or ended.
    Again,
}

/// The effects of one request that have not happened yet.
#[derive(Debug)]
pub(super) struct Effects {
    intent: Arc<Intent>,
    /// The text, if a setting that it changes is to be repeated elsewhere.
    text: KeptText,
    /// How many statements of the text are complete.
    complete: u32,
    /// The names that its PREPAREs give and its DEALLOCATEs drop.
    named: VecDeque<Ticket>,
    /// The unnamed statement, which a simple Query drops.
    unnamed: Option<Ticket>,
    /// The portal that was bound last before it.
    portals: Age,
}

/// A text that is kept while its request is in flight. `Debug` shows its length.
struct KeptText(Box<[u8]>);

impl std::fmt::Debug for KeptText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Note {
    /// Of a Query: that it drops the unnamed statement.
    pub(super) fn unnamed(&self) -> Option<Ticket> {
        match self {
            Note::Effects(effects) => effects.unnamed,
            Note::Statement(ticket) => Some(*ticket),
            Note::Nothing
            | Note::Restore(_)
            | Note::Leave
            | Note::Question(_)
            | Note::Denied(_)
            | Note::Mirror
            | Note::Again => None,
        }
    }

    fn effects(&self) -> Option<&Effects> {
        match self {
            Note::Effects(effects) => Some(effects),
            Note::Nothing
            | Note::Statement(_)
            | Note::Restore(_)
            | Note::Leave
            | Note::Mirror
            | Note::Again
            | Note::Question(_)
            | Note::Denied(_) => None,
        }
    }

    /// Whether the request ends a transaction with its changes.
    pub(super) fn commits(&self) -> bool {
        let commits = |happens: &StatementEffect| {
            matches!(
                happens.effect,
                Effect::Commit { .. } | Effect::PrepareTransaction
            )
        };
        self.effects()
            .is_some_and(|effects| effects.intent.effects.iter().any(commits))
    }

    /// Whether every statement of the request is known to be complete.
    pub(super) fn is_complete(&self) -> bool {
        self.effects()
            .is_some_and(|effects| effects.complete >= effects.intent.statements)
    }

    /// This note and the drop of the unnamed statement.
    pub(super) fn and_unnamed(self, ticket: Ticket) -> Note {
        match self {
            Note::Effects(mut effects) => {
                effects.unnamed = Some(ticket);
                Note::Effects(effects)
            }
            Note::Nothing
            | Note::Statement(_)
            | Note::Restore(_)
            | Note::Leave
            | Note::Mirror
            | Note::Again
            | Note::Question(_)
            | Note::Denied(_) => Note::Statement(ticket),
        }
    }
}

/// Everything that is remembered between requests.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) statements: Statements<Arc<Intent>>,
    pub(super) journal: Journal,
    pub(super) pins: Pins,
    pub(super) texts: Cache,
    pub(super) portals: Portals,
    pub(super) refused: RefusedTexts,
    pub(super) started_with: Parameters,
    /// What the request that is being forwarded asks for, for the event about it.
    pub(super) forwarded: Option<Arc<Intent>>,
    pub(super) outline: Option<String>,
    pub(super) lex: LexState,
    pub(super) search_path: SearchPath,
    pub(super) path: PathInFlight,
    unit: Unit,
    in_flight: InFlight,
    /// The state of the journal that `lex` was made from.
    pub(super) seen_stamp: u64,
    /// What of it cannot be repeated.
    pub(super) obstacle: Option<Pin>,
    /// Bytes of texts that are kept for requests in flight.
    kept: usize,
}

/// What the requests that the writer has not answered may do to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InFlight {
    /// Each is a transaction of its own.
    Plain,
    /// One of them may open a transaction.
    MayOpen,
}

/// Whether the transaction that is not explicitly begun has failed since the last ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Fine,
    Failed,
}

/// Whether the names of built-in functions still mean the built-in functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SearchPath {
    /// pg_catalog is searched first, as it is unless a path says otherwise.
    CatalogFirst,
    /// A path that names pg_catalog was set at the start; where is not looked into.
    Doubtful,
}

/// A statement as the session remembers it.
pub(super) type Prepared = Arc<Definition<Arc<Intent>>>;

impl Memory {
    pub(super) fn new(config: &Config, seed: u64) -> Memory {
        Memory {
            statements: Statements::new(config.limits.statements),
            journal: Journal::new(config.limits.journal),
            pins: Pins::default(),
            texts: Cache::new(Arc::clone(&config.rules), config.limits.texts, seed),
            portals: Portals::new(config.limits.journal.savepoints),
            refused: RefusedTexts::default(),
            started_with: Parameters::new(),
            lex: LexState::default(),
            search_path: SearchPath::CatalogFirst,
            path: PathInFlight::None,
            unit: Unit::Fine,
            in_flight: InFlight::Plain,
            seen_stamp: 0,
            obstacle: None,
            kept: 0,
            forwarded: None,
            outline: None,
        }
    }

    /// The session begins with these parameters of the writer.
    pub(super) fn start(&mut self, parameters: &Parameters) {
        for (name, value) in parameters {
            self.learn(name, value);
        }
        self.started_with = parameters.clone();
        self.journal_changed();
    }

    /// The client's startup packet names a search path that mentions pg_catalog.
    pub(super) fn doubt_search_path(&mut self) {
        self.search_path = SearchPath::Doubtful;
    }

    /// A text is on its way to the upstream that serves now.
    pub(super) fn sent_text(&mut self, duty: Duty, intent: &Arc<Intent>) {
        // What an EXECUTE is sent to the reader for is a read.
        if duty == Duty::Writer && intent.class >= Class::Transaction {
            self.in_flight = InFlight::MayOpen;
        }
        self.forwarded = Some(Arc::clone(intent));
    }

    /// The writer has answered everything.
    pub(super) fn nothing_in_flight(&mut self) {
        self.in_flight = InFlight::Plain;
    }

    /// Whether a transaction may be open when the writer has answered what is in flight.
    pub(super) fn may_open_transaction(&self) -> bool {
        self.in_flight == InFlight::MayOpen
    }

    /// A ParameterStatus of the writer.
    pub(super) fn learn(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"standard_conforming_strings" => {
                self.lex.standard_conforming_strings = match value {
                    b"on" => Known::Is(true),
                    b"off" => Known::Is(false),
                    _ => Known::Unknown,
                };
            }
            b"client_encoding" => self.lex.encoding = Encoding::from_name(value),
            _ => {}
        }
    }

    /// Why reads stay with the writer, if they do.
    pub(super) fn pinned(&self) -> Option<Pin> {
        self.pins.first().or(self.obstacle)
    }

    /// The writer has committed a transaction.
    fn committed(&mut self) {
        self.journal.commit();
        self.pins.commit();
    }

    /// The writer has rolled a transaction back.
    pub(super) fn rolled_back(&mut self) {
        self.journal.rollback();
        self.pins.rollback();
    }

    /// How texts are lexed now, given that nothing is in flight that could change it.
    pub(super) fn lex(&self) -> LexState {
        self.lex
    }
}

impl<R: Route> Session<R> {
    /// The note for a request that runs a text.
    pub(super) fn note_effects(&mut self, leg: LegId, intent: &Arc<Intent>, text: &[u8]) -> Note {
        // What runs a cursor, or ends one, may do so with a portal that the client has bound.
        let of_portals = intent.form == Form::Cursor && self.memory.portals.do_more_than_read();
        if intent.class == Class::Unreadable || of_portals {
            self.pin(Pin::Unaccounted);
        }
        if intent.effects.is_empty() {
            return Note::Nothing;
        }
        let mut named = VecDeque::new();
        for effect in &intent.effects {
            let alone = intent.statements == 1;
            self.foresee(leg, &effect.effect, (text, alone), &mut named);
        }
        Note::Effects(Box::new(Effects {
            intent: Arc::clone(intent),
            text: self.keep_text(intent, text),
            complete: 0,
            named,
            unnamed: None,
            portals: self.memory.portals.newest(),
        }))
    }

    /// Keeps a text that may have to be repeated on another upstream, within the journal's own bound.
    fn keep_text(&mut self, intent: &Intent, text: &[u8]) -> KeptText {
        let repeats = |effect: &StatementEffect| matches!(&effect.effect, Effect::Setting(change) if change.portable && change.scope == Scope::Session);
        let kept = self.memory.kept.saturating_add(text.len());
        if !intent.effects.iter().any(repeats) || kept > self.config.limits.journal.bytes {
            return KeptText(Box::default());
        }
        self.memory.kept = kept;
        KeptText(text.into())
    }

    /// What is safest assumed as soon as a statement is on its way, in this text and maybe alone in it.
    fn foresee(
        &mut self,
        leg: LegId,
        effect: &Effect,
        (text, alone): (&[u8], bool),
        named: &mut VecDeque<Ticket>,
    ) {
        match effect {
            Effect::Pin(kind) => self.leaves(*kind),
            Effect::Prepare(preparation) => {
                let ticket = self.preparing(leg, preparation, alone, text);
                named.push_back(ticket);
            }
            Effect::Execute { name, .. } => self.executing(name),
            Effect::Deallocate(name) => {
                let change = Change::Forget {
                    leg: leg.index(),
                    name: name.0.clone(),
                };
                named.push_back(self.memory.statements.sent(change));
            }
            Effect::DeallocateAll | Effect::DiscardAll => {
                named.push_back(
                    self.memory
                        .statements
                        .sent(Change::ForgetAll { leg: leg.index() }),
                );
            }
            Effect::Begin(_)
            | Effect::Commit { .. }
            | Effect::Rollback { .. }
            | Effect::Savepoint(_)
            | Effect::RollbackToSavepoint(_)
            | Effect::Release(_)
            | Effect::SetTransaction(_)
            | Effect::PrepareTransaction
            | Effect::ResetAll
            | Effect::DiscardPlans
            | Effect::DiscardSequences
            | Effect::DiscardTemp
            | Effect::UnlistenAll
            | Effect::CloseAll => {}
            Effect::Setting(change) => self.memory.setting_is_sent(change),
        }
    }

    /// Adds a pin and says so once.
    pub(super) fn pin(&mut self, pin: Pin) {
        let counts = self.splits() || self.may_move();
        if counts && self.memory.pins.add(pin) && self.splits() {
            self.notify(Event::Pinned(pin));
        }
    }

    /// One statement of a request is complete: its CommandComplete has this tag.
    pub(super) fn statement_complete(&mut self, effects: &mut Effects, tag: &[u8]) {
        let index = effects.complete;
        effects.complete = effects.complete.saturating_add(1);
        let intent = Arc::clone(&effects.intent);
        let shows_tags = self.config.dialect == Dialect::Postgres;
        for effect in intent.effects.iter().filter(|effect| effect.index == index) {
            match said_of(&effect.effect, tag) {
                Said::Nothing if shows_tags => {}
                // A portal ran that is another's, as a cursor has its name or its Bind has failed.
                Said::Another if shows_tags => self.pin(Pin::Unaccounted),
                Said::Happened | Said::Nothing | Said::Another => self.apply(effects, effect, tag),
            }
        }
    }

    fn apply(&mut self, effects: &mut Effects, happened: &StatementEffect, tag: &[u8]) {
        match &happened.effect {
            Effect::Setting(change) => self.setting_changed(&effects.text.0, change),
            Effect::ResetAll => self.stage_text(Topic::AllSettings, b"RESET ALL"),
            Effect::DiscardAll => {
                self.confirm_named(effects);
                if self.nothing_runs_behind() {
                    self.relocation.sequence_values = SequenceValues::Nothing;
                    self.relocation.held_cursors = HeldCursors::Nothing;
                    self.memory.pins.lift_now(Lift::DiscardAll);
                    self.pin_for_startup();
                }
                self.stage_text(Topic::Session, b"DISCARD ALL");
                self.memory.journal.commit();
            }
            Effect::DiscardTemp => {
                if self.nothing_runs_behind() && makes_no_more(effects, PinKind::TemporaryObject) {
                    self.memory.pins.lift(Lift::DiscardTemp);
                }
            }
            Effect::DeallocateAll => {
                self.confirm_named(effects);
                if self.nothing_runs_behind() && prepares_no_more(effects) {
                    self.memory.pins.lift_now(Lift::DeallocateAll);
                }
            }
            Effect::Prepare(_) | Effect::Deallocate(_) => self.confirm_named(effects),
            Effect::Begin(_) => self.transaction_begun(),
            Effect::Commit { chain } | Effect::Rollback { chain } => {
                self.transaction_is_over(*chain);
                self.transaction_ended(effects.portals, tag);
            }
            Effect::PrepareTransaction => self.transaction_ended(effects.portals, tag),
            Effect::Savepoint(name) => {
                self.memory.portals.savepoint(&name.0, effects.portals);
                let kept = self.memory.journal.savepoint(&name.0);
                self.doubt(kept);
            }
            Effect::RollbackToSavepoint(name) => {
                self.memory.pins.rollback();
                self.memory.portals.went_back(&name.0, effects.portals);
                let known = self.memory.journal.rollback_to(&name.0);
                self.doubt(known);
                self.transaction_goes_back();
            }
            Effect::Release(name) => {
                self.memory.portals.released(&name.0);
                let known = self.memory.journal.release(&name.0);
                self.doubt(known);
            }
            Effect::SetTransaction(_)
            | Effect::Execute { .. }
            | Effect::Pin(_)
            | Effect::DiscardPlans
            | Effect::UnlistenAll => {}
            Effect::CloseAll => {
                if self.nothing_runs_behind() && makes_no_more(effects, PinKind::HoldCursor) {
                    self.relocation.held_cursors = HeldCursors::Nothing;
                }
            }
            Effect::DiscardSequences => {
                if self.nothing_runs_behind() && makes_no_more(effects, PinKind::SequenceState) {
                    self.relocation.sequence_values = SequenceValues::Nothing;
                }
            }
        }
    }

    /// Whether no further statement is on its way behind the one that the writer answers now, to be run or prepared: it
    /// could be the reason for a pin.
    fn nothing_runs_behind(&self) -> bool {
        self.leg(self.writer()).serving().is_none_or(|serving| {
            let mut behind = serving.pipeline.iter().skip(1);
            !behind.any(|owed| match owed.kind {
                Kind::Query | Kind::Parse | Kind::Execute | Kind::FunctionCall => true,
                Kind::Bind
                | Kind::DescribeStatement
                | Kind::DescribePortal
                | Kind::Close
                | Kind::Sync
                | Kind::CopyEnd
                | Kind::Refused
                | Kind::Fence => false,
            })
        })
    }

    fn confirm_named(&mut self, effects: &mut Effects) {
        if let Some(ticket) = effects.named.pop_front() {
            self.memory.statements.confirmed(ticket);
        }
    }

    /// COMMIT of a failed transaction is answered with ROLLBACK: the tag tells what happened. So do the portals end up to this one.
    fn transaction_ended(&mut self, newest: Age, tag: &[u8]) {
        self.memory.portals.ended(newest);
        if tag == b"ROLLBACK" {
            self.memory.rolled_back();
        } else {
            self.memory.committed();
        }
    }

    /// An error of the writer reached a request of the client.
    pub(super) fn unit_failed(&mut self) {
        self.memory.unit = Unit::Failed;
        self.memory.portals.failed();
    }

    /// The writer is outside any transaction: what was staged in an implicit one is decided.
    pub(super) fn unit_over(&mut self) {
        match std::mem::replace(&mut self.memory.unit, Unit::Fine) {
            Unit::Fine => self.memory.committed(),
            Unit::Failed => self.memory.rolled_back(),
        }
        self.journal_moved();
    }

    /// The writer is inside a transaction.
    pub(super) fn unit_goes_on(&mut self) {
        self.memory.unit = Unit::Fine;
    }

    /// A request is answered: what is left of its note did not happen.
    pub(super) fn answered(&mut self, note: Note) {
        match note {
            Note::Nothing
            | Note::Restore(_)
            | Note::Leave
            | Note::Mirror
            | Note::Again
            | Note::Question(_) => {}
            Note::Statement(ticket) => self.memory.statements.confirmed(ticket),
            Note::Denied(denied) => self.denied_undone(*denied, Reached::Server),
            Note::Effects(effects) => {
                if let Some(ticket) = effects.unnamed {
                    self.memory.statements.confirmed(ticket);
                }
                self.refuse_named(*effects);
            }
        }
    }

    /// The names that a request did not come to drop are still there.
    fn refuse_named(&mut self, effects: Effects) {
        self.memory.kept = self.memory.kept.saturating_sub(effects.text.0.len());
        for ticket in effects.named {
            self.memory.statements.refused(ticket, Reached::Server);
        }
    }

    /// A request that no server answers, because it skips it or is gone.
    pub(super) fn unanswered(&mut self, item: Owed<Note>) {
        self.undone(item.note, Reached::Nobody);
    }

    /// A request that the server refused.
    pub(super) fn undone(&mut self, note: Note, reached: Reached) {
        match note {
            Note::Nothing | Note::Restore(_) | Note::Leave | Note::Mirror | Note::Again => {}
            Note::Question(question) => self.question_is_lost(question),
            Note::Statement(ticket) => self.memory.statements.refused(ticket, reached),
            Note::Denied(denied) => self.denied_undone(*denied, reached),
            Note::Effects(effects) => {
                if let Some(ticket) = effects.unnamed {
                    self.memory.statements.refused(ticket, reached);
                }
                self.refuse_named(*effects);
            }
        }
    }
}

/// What the statements of a text do that are still to complete: it outlives what one does that has.
fn still_to_come(effects: &Effects) -> impl Iterator<Item = &Effect> {
    let all = effects.intent.effects.iter();
    let behind = all.filter(|effect| effect.index >= effects.complete);
    behind.map(|effect| &effect.effect)
}

/// Whether none of these leaves what is taken away.
fn makes_no_more(effects: &Effects, kind: PinKind) -> bool {
    !still_to_come(effects)
        .any(|effect| *effect == Effect::Pin(kind) || matches!(effect, Effect::Execute { .. }))
}

fn prepares_no_more(effects: &Effects) -> bool {
    !still_to_come(effects).any(|effect| matches!(effect, Effect::Prepare(_)))
}
