//! Keeping the prepared statements within their bounds: what is forgotten, and what is closed on a reader.

use super::effects::{Note, Prepared};
use super::leg::{Duty, LegId};
use super::requests::{Batch, SYNC};
use super::sql_prepare::asks_for_statements;
use super::{PeerId, Session};
use crate::limits;
use crate::route::{Class, Effect, Intent, Known, Name, PinKind, Route};
use crate::track::pipeline::Kind;
use crate::track::prepared::{Change, Text};
use crate::track::reading::Reading;
use crate::wire::{Close, Frontend, Target, TransactionStatus};

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::BytesMut;

impl<R: Route> Session<R> {
    /// Whether the text of a statement may be forgotten: nothing needs it but a server that does not have the statement.
    pub(super) fn may_forget(&self, name: &[u8], intent: &Intent, text: &[u8]) -> Text {
        let needed = name.is_empty()
            || !intent.effects.is_empty()
            || intent.class == Class::Unreadable
            || !intent.class.is_read() && asks_for_statements(text)
            || self.is_judged();
        match needed {
            true => Text::Kept,
            false => Text::Spare,
        }
    }

    /// What is remembered of a Parse that goes to an upstream; `None` if it cannot be followed.
    pub(super) fn define(
        &mut self,
        leg: LegId,
        name: &[u8],
        body: &[u8],
        text: Text,
        intent: Arc<Intent>,
    ) -> Option<Prepared> {
        let writer = self.writer();
        let statements = &mut self.memory.statements;
        let len = body.len().saturating_add(name.len());
        if !statements.has_room_for_names(0) {
            return None;
        }
        if statements.make_room(writer.index(), len, 0) {
            return statements.define(name, body, text, intent);
        }
        let runs_there = leg == writer && text == Text::Spare;
        runs_there.then(|| statements.define_forgotten(intent))
    }

    /// Makes the writer have the statements that could not be prepared there any more behind this text, since it changes how
    /// texts are read. Whether there was room to.
    pub(super) fn repair_before_reading(&mut self, leg: LegId, intent: &Intent) -> bool {
        if leg != self.writer() || self.is_deaf(leg) {
            return true;
        }
        let effects = intent.effects.iter();
        let mut changed: Vec<Reading> = effects
            .flat_map(|effect| {
                if let Effect::Execute { name, .. } = &effect.effect {
                    self.reading_changed_by_running(name)
                } else {
                    reading_changed_by(&effect.effect)
                }
            })
            .collect();
        if intent.class == Class::Unreadable {
            // There may be a setting in it.
            changed.extend(Reading::ALL);
        }
        let mut missing = BTreeSet::new();
        for reading in changed {
            missing.extend(
                self.memory
                    .statements
                    .missing_by_reading(leg.index(), reading),
            );
        }
        if intent.class == Class::Unreadable && !missing.is_empty() {
            match self.fails_there(leg) {
                // Nor does a setting change anything there. It may be a ROLLBACK, which what is prepared before would take along.
                Known::Is(true) => return true,
                Known::Is(false) => {}
                Known::Unknown => return false,
            }
        }
        missing.iter().all(|name| self.repair(leg, name))
    }

    /// In what a text may be read in another way behind an EXECUTE of this name.
    fn reading_changed_by_running(&self, name: &Name) -> Vec<Reading> {
        let (known, settled) = self.executed(name);
        match known.filter(|_| settled) {
            Some(known) => {
                let effects = known.meta.effects.iter();
                effects
                    .flat_map(|effect| reading_changed_by(&effect.effect))
                    .collect()
            }
            None => Reading::ALL.to_vec(),
        }
    }

    /// Whether nothing can be prepared on an upstream, as in a transaction that has failed; not known while answers are owed.
    pub(super) fn fails_there(&self, leg: LegId) -> Known<bool> {
        match self.leg(leg).serving() {
            Some(serving) if serving.pipeline.client_ready_owed() > 0 => Known::Unknown,
            Some(serving) => Known::Is(serving.status == TransactionStatus::Failed),
            None => Known::Is(true),
        }
    }

    /// Keeps what an upstream has of the statements in order, before a request is sent there.
    pub(super) fn tidy_statements(&mut self, leg: LegId) {
        let rests = self.leg(leg).serving().is_some_and(|serving| {
            serving.pipeline.is_settled() && serving.status == TransactionStatus::Idle
        });
        if !rests || self.requests.batch != Batch::None {
            return;
        }
        match self.duty(leg) {
            Duty::Writer => self.lend_to_writer(leg),
            Duty::Reader => self.close_on_reader(leg),
            Duty::Spare => {}
        }
    }

    /// Prepares on the writer what only a reader has, so that its text may be forgotten.
    fn lend_to_writer(&mut self, leg: LegId) {
        let statements = &self.memory.statements;
        if !statements.is_crowded(leg.index()) {
            return;
        }
        let most = limits::LENT_STATEMENTS_AT_ONCE;
        for name in statements.spare_elsewhere(leg.index(), most) {
            if !self.send_repair(leg, &name, &SYNC) {
                return;
            }
        }
    }

    /// Closes on a reader what was used least of too much.
    fn close_on_reader(&mut self, leg: LegId) {
        let at_once = limits::STALE_STATEMENTS_AT_ONCE;
        for name in self.memory.statements.beyond(leg.index(), at_once) {
            let mut frame = BytesMut::new();
            let close = Frontend::Close(Close {
                kind: Target::Statement,
                name: &name,
            });
            let (client, to) = (PeerId::CLIENT.port(), leg.peer().port());
            let written = close.encode(&mut frame).is_ok();
            if !written || !self.ledger.room_for_both(to, frame.len(), client) {
                return;
            }
            let change = Change::Clear {
                leg: leg.index(),
                name,
            };
            let ticket = self.memory.statements.sent(change);
            self.inject(leg, &frame, Kind::Close, Note::Statement(ticket));
        }
    }
}

/// In what a text may be read in another way behind it.
fn reading_changed_by(effect: &Effect) -> Vec<Reading> {
    match effect {
        Effect::Setting(change) => Reading::by(&change.name).into_iter().collect(),
        // One that runs another by its name may run itself by it.
        Effect::ResetAll
        | Effect::Execute { .. }
        | Effect::Pin(PinKind::SetConfig | PinKind::UnknownSetting | PinKind::Procedure) => {
            Reading::ALL.to_vec()
        }
        Effect::Begin(_)
        | Effect::Commit { .. }
        | Effect::Rollback { .. }
        | Effect::Savepoint(_)
        | Effect::RollbackToSavepoint(_)
        | Effect::Release(_)
        | Effect::PrepareTransaction
        | Effect::SetTransaction(_)
        | Effect::DiscardAll
        | Effect::DiscardPlans
        | Effect::DiscardSequences
        | Effect::DiscardTemp
        | Effect::Deallocate(_)
        | Effect::DeallocateAll
        | Effect::Prepare(_)
        | Effect::UnlistenAll
        | Effect::CloseAll
        | Effect::Pin(_) => Vec::new(),
    }
}
