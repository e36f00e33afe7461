//! Beginning a READ ONLY transaction of the reader's again on the writer, because it cannot go on there.

use std::time::Instant;

use bytes::BytesMut;

use super::effects::Note;
use super::leg::LegId;
use super::part::Snapshot;
use super::reader_transaction::{ReaderTransaction, Run, Stage, Standing, Then};
use super::requests::Batch;
use super::{CloseCause, Session, Tell, Timer};
use crate::route::{Access, Deferral, Isolation, Route, TransactionModes};
use crate::track::pipeline::Kind;
use crate::wire::{Frontend, Query, TransactionStatus, sqlstate};

/// Ends the transaction on the reader.
const ROLLBACK: &[u8] = b"rollback";

/// What no server takes: it makes a transaction a failed one.
const REFUSED: &[u8] = b"failed with the connection to a replica";

/// Gives the transaction that follows the modes of this one from its beginning.
const CHAIN: &[u8] = b"commit and chain";

/// What begins a transaction with these modes that has `given` again when it fails.
fn beginning(modes: TransactionModes, given: TransactionModes) -> Vec<Vec<u8>> {
    let none = TransactionModes::default();
    if given == none {
        return vec![with_modes(b"begin", modes)];
    }
    let mut texts = vec![with_modes(b"begin", given), CHAIN.to_vec()];
    if modes != given {
        texts.push(with_modes(b"set transaction", modes));
    }
    texts
}

/// A command with these modes.
fn with_modes(command: &[u8], modes: TransactionModes) -> Vec<u8> {
    let mut text = command.to_vec();
    let isolation: &[u8] = match modes.isolation {
        Some(Isolation::ReadUncommitted) => b" isolation level read uncommitted",
        Some(Isolation::ReadCommitted) => b" isolation level read committed",
        Some(Isolation::RepeatableRead) => b" isolation level repeatable read",
        Some(Isolation::Serializable) => b" isolation level serializable",
        None => b"",
    };
    let access: &[u8] = match modes.access {
        Some(Access::ReadOnly) => b" read only",
        Some(Access::ReadWrite) => b" read write",
        None => b"",
    };
    let deferral: &[u8] = match modes.deferral {
        Some(Deferral::Deferrable) => b" deferrable",
        Some(Deferral::NotDeferrable) => b" not deferrable",
        None => b"",
    };
    for part in [isolation, access, deferral] {
        text.extend_from_slice(part);
    }
    text
}

impl<R: Route> Session<R> {
    /// Begins the transaction that the reader runs again on the writer, with the settings in it.
    pub(super) fn begin_again(&mut self, now: Instant, then: Then) {
        let transaction =
            std::mem::replace(&mut self.reader_transaction, ReaderTransaction::Again(then));
        let ReaderTransaction::Runs(run) = transaction else {
            self.reader_transaction = transaction;
            return;
        };
        // What fails under a savepoint keeps the modes of the whole, and there the whole will have failed.
        let given = match self.memory.journal.has_savepoints() {
            Some(true) | None => run.modes,
            Some(false) => run.given,
        };
        self.memory.rolled_back();
        self.memory.portals.clear();
        let (writer, reader) = (self.writer(), self.reader());
        if self.leg(reader).serving().is_some() {
            self.ask_again(now, reader, ROLLBACK);
        }
        for text in beginning(run.modes, given) {
            self.ask_again(now, writer, &text);
        }
        match then {
            Then::GoesOn => {
                for text in &run.settings {
                    self.ask_again(now, writer, &text.0);
                }
            }
            Then::Fails => self.ask_again(now, writer, REFUSED),
            Then::Lost => {}
        }
    }

    fn ask_again(&mut self, now: Instant, leg: LegId, text: &[u8]) {
        let mut frame = BytesMut::new();
        if (Frontend::Query(Query { text })).encode(&mut frame).is_ok() {
            self.inject(leg, &frame, Kind::Query, Note::Again);
            // A simple Query drops the unnamed statement.
            self.memory.statements.unnamed_dropped(leg.index());
            let timeout = self.config.timeouts.replay;
            self.timers.start(now, timeout, Timer::Restore(leg.peer()));
        }
    }

    /// An upstream has answered one of these.
    pub(super) fn asked_again(&mut self, now: Instant, leg: LegId, status: TransactionStatus) {
        let more = self
            .leg(leg)
            .serving()
            .is_some_and(|serving| serving.pipeline.has_injected());
        if more {
            return;
        }
        self.timers.stop(Timer::Restore(leg.peer()));
        let ReaderTransaction::Again(then) = &self.reader_transaction else {
            return;
        };
        if leg != self.writer() {
            return;
        }
        self.reader_transaction = match (then, status) {
            (Then::GoesOn, TransactionStatus::InTransaction | TransactionStatus::Failed)
            | (Then::Lost | Then::Fails, TransactionStatus::Failed) => ReaderTransaction::None,
            (Then::Lost, TransactionStatus::InTransaction) => ReaderTransaction::Lost,
            (Then::GoesOn | Then::Lost | Then::Fails, TransactionStatus::Idle)
            | (Then::Fails, TransactionStatus::InTransaction) => {
                let which = self.writers_name();
                let tell = Tell::fatal(
                    sqlstate::CONNECTION_FAILURE,
                    format!("the transaction could not be begun again on the {which} server"),
                );
                self.end(now, CloseCause::UpstreamFault(leg.peer()), Some(tell));
                return;
            }
        };
    }

    /// The reader is lost: what becomes of the transaction that it ran. `tells` when the client gets an error for it now.
    pub(super) fn reader_transaction_lost(&mut self, now: Instant, tells: bool) {
        let ReaderTransaction::Runs(run) = &self.reader_transaction else {
            return;
        };
        let stands = self.requests.batch == Batch::On(self.reader());
        match fate(run, tells, stands) {
            Some(then) => self.begin_again(now, then),
            None => {
                self.reader_transaction = ReaderTransaction::None;
                self.memory.rolled_back();
                self.memory.portals.clear();
            }
        }
    }

    /// The status that a reader would tell behind what it has answered; `told` is the last that it has. Not known of a transaction
    /// that has failed there.
    pub(super) fn status_there(&self, told: TransactionStatus) -> Option<TransactionStatus> {
        match &self.reader_transaction {
            ReaderTransaction::Runs(run) if run.standing == Standing::Failed => None,
            ReaderTransaction::Runs(run) => Some(match run.stage {
                Stage::Asked | Stage::Over => TransactionStatus::Idle,
                Stage::Open => TransactionStatus::InTransaction,
            }),
            ReaderTransaction::None | ReaderTransaction::Again(_) | ReaderTransaction::Lost => {
                Some(told)
            }
        }
    }

    /// Whether the transaction was read on a reader that is lost, and the client was not told.
    pub(super) fn has_lost_transaction(&self) -> bool {
        matches!(self.reader_transaction, ReaderTransaction::Lost)
    }

    /// The status that the client is told by a ReadyForQuery of ours: that of the transaction on the writer, which is open
    /// only if it takes the place of one on a reader.
    pub(super) fn status_of_ours(&self) -> TransactionStatus {
        match &self.reader_transaction {
            ReaderTransaction::Again(Then::Fails) => TransactionStatus::Failed,
            ReaderTransaction::Again(Then::GoesOn | Then::Lost) | ReaderTransaction::Lost => {
                TransactionStatus::InTransaction
            }
            ReaderTransaction::None | ReaderTransaction::Runs(_) => self
                .leg(self.writer())
                .serving()
                .map_or(TransactionStatus::Idle, |serving| serving.status),
        }
    }
}

/// What becomes of a transaction whose reader is lost; `None` if it is over, or has not begun. `stands` where a batch is open there,
/// which may have left portals.
fn fate(run: &Run, tells: bool, stands: bool) -> Option<Then> {
    match run.stage {
        Stage::Asked | Stage::Over => None,
        Stage::Open if tells || run.standing == Standing::Failed => Some(Then::Fails),
        Stage::Open if run.seen == Snapshot::NotTaken && !stands => Some(Then::GoesOn),
        Stage::Open => Some(Then::Lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_begun_with_its_modes() {
        let modes = TransactionModes {
            access: Some(Access::ReadOnly),
            isolation: Some(Isolation::RepeatableRead),
            deferral: Some(Deferral::Deferrable),
            ..TransactionModes::default()
        };
        let text = with_modes(b"begin", modes);
        assert_eq!(
            text,
            b"begin isolation level repeatable read read only deferrable"
        );
        let intent = crate::route::scan(
            &text,
            &crate::route::LexState::defaults(),
            &crate::route::Rules::default(),
        );
        let begun = intent.effects.first().map(|effect| effect.effect.clone());
        assert_eq!(begun, Some(crate::route::Effect::Begin(modes)));
    }
}
