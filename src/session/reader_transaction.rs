//! READ ONLY transactions that run on the reader, from their BEGIN to their end.
//!
//! The reader owns such a transaction: everything in it goes there, if it has a place there. What has none goes to the
//! writer together with the transaction, which is begun again there as long as nothing was read in it; afterwards it is
//! refused. A transaction whose reader is lost is begun again likewise, or made a failed one, on the writer: so there is
//! always a server whose state is the one that the client was told.

use std::sync::Arc;
use std::time::Instant;

use super::leg::LegId;
use super::loss::Stream;
use super::part::{End, First, Part, Snapshot, Unproven, is_possible, took_snapshot};
use super::policy::{Judged, Refused};
use super::requests::{Batch, FLUSH};
use super::segment::{Certainty, Look, Older};
use super::{Demand, Denial, ReadOnlyTransactions, RouteReason, Session};
use crate::limits;
use crate::route::{Access, Class, Intent, Route, TransactionModes, Why};
use crate::wire::tags::frontend as tag;
use crate::wire::{Frontend, Header, TransactionStatus, sqlstate};

/// Whether a READ ONLY transaction runs on the reader.
#[derive(Debug, Default)]
pub(super) enum ReaderTransaction {
    #[default]
    None,
    /// One does, or is about to.
    Runs(Box<Run>),
    /// It is being begun again on the writer, and this comes then.
    Again(Then),
    /// Its reader is lost, and the writer has begun one in its place, of which the client has yet to hear.
    Lost,
}

/// What becomes of a transaction that is begun again on the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It goes on there.
    GoesOn,
    /// The client is told at its next statement that it is lost.
    Lost,
    /// It is a failed one: the client has been told.
    Fails,
}

/// A transaction on the reader.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) modes: TransactionModes,
    /// The modes that it began with, before BEGIN or SET TRANSACTION gave it others: it has them again when it fails as a
    /// whole.
    pub(super) given: TransactionModes,
    /// The settings in it, in order, for another server.
    pub(super) settings: Vec<HiddenText>,
    pub(super) stage: Stage,
    /// Whether something was read in it.
    pub(super) seen: Snapshot,
    pub(super) flight: Flight,
    pub(super) standing: Standing,
}

/// What the reader takes in a transaction, as far as it has answered: a batch may have failed, or gone back to a savepoint, since
/// its last ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Sound,
    /// Nothing but what ends it, or goes back.
    Failed,
}

/// How far a transaction on the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its BEGIN is on its way.
    Asked,
    Open,
    /// It has ended, and the reader has not yet said so by ReadyForQuery.
    Over,
}

/// What the reader has been sent last of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    /// Proven reads, which may follow each other unanswered.
    Reads,
    Other,
}

/// A text of the client's. `Debug` shows its length.
pub(super) struct HiddenText(pub(super) Box<[u8]>);

impl std::fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// Where a segment of the transaction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Reader,
    /// To the writer, with the transaction.
    Again,
    /// Nowhere: it is refused.
    Nowhere,
}

impl Run {
    fn new(modes: TransactionModes) -> Run {
        Run {
            modes,
            given: TransactionModes::default(),
            settings: Vec::new(),
            stage: Stage::Asked,
            seen: Snapshot::NotTaken,
            flight: Flight::Other,
            standing: Standing::Sound,
        }
    }

    fn has_room_for(&self, setting: &[u8]) -> bool {
        let kept = self.settings.iter().map(|text| text.0.len());
        let bytes = kept.fold(setting.len(), usize::saturating_add);
        bytes <= limits::READ_ONLY_SETTING_BYTES && self.settings.len() < limits::READ_ONLY_SETTINGS
    }

    /// Where a segment goes while the transaction has not failed. `setting` is its text, if it is one Query.
    fn place(&self, look: &Look, setting: Option<&[u8]>) -> Place {
        // What uses a portal of before has no place elsewhere.
        let pristine = self.seen == Snapshot::NotTaken && look.older == Older::Nothing;
        if self.modes.access != Some(Access::ReadOnly) && pristine {
            return Place::Again;
        }
        let elsewhere = if pristine {
            Place::Again
        } else {
            Place::Nowhere
        };
        match look.part {
            Part::Empty | Part::Reads => {
                let stays = pristine && look.snapshot == Snapshot::NotTaken && look.leaves_trace();
                if stays { Place::Again } else { Place::Reader }
            }
            Part::Ends(_) | Part::ReadsAndEnds | Part::Chains if look.leaves_portals() => elsewhere,
            Part::Ends(_) | Part::ReadsAndEnds | Part::Chains => Place::Reader,
            Part::EndsFirst(_) => Place::Again,
            Part::OpensAndEnds(_) if look.leaves_trace() => elsewhere,
            Part::Opens(_) | Part::OpensAndEnds(_) | Part::Savepoint if pristine => Place::Again,
            Part::Opens(_) | Part::OpensAndEnds(_) | Part::Savepoint => Place::Reader,
            Part::Shapes(modes) if pristine => match look.is_query() && shapes(modes) {
                true => Place::Reader,
                false => Place::Again,
            },
            Part::Local if pristine => match setting.is_some_and(|text| self.has_room_for(text)) {
                true => Place::Reader,
                false => Place::Again,
            },
            Part::Shapes(_) | Part::Local => Place::Reader,
            Part::Foreign => elsewhere,
        }
    }

    /// A segment is sent to the reader.
    fn sends(&mut self, look: &Look, setting: Option<&[u8]>) {
        self.flight = match look.part {
            Part::Empty | Part::Reads => self.flight,
            Part::Ends(_)
            | Part::ReadsAndEnds
            | Part::Opens(_)
            | Part::OpensAndEnds(_)
            | Part::Shapes(_)
            | Part::Local
            | Part::Savepoint
            | Part::Chains
            | Part::EndsFirst(_)
            | Part::Foreign => Flight::Other,
        };
        if self.seen == Snapshot::NotTaken {
            match (look.part, setting) {
                (Part::Shapes(modes), _) => self.modes = merged(self.modes, modes),
                (Part::Local, Some(text)) => self.settings.push(HiddenText(text.into())),
                _ => {}
            }
        }
        if look.snapshot == Snapshot::Taken || look.older == Older::Portal {
            self.seen = Snapshot::Taken;
        }
    }
}

/// Whether a standby can give a transaction these modes, and all that was said is known.
fn shapes(modes: TransactionModes) -> bool {
    let known = modes.access.is_some() || modes.isolation.is_some() || modes.deferral.is_some();
    known && is_possible(modes)
}

fn merged(old: TransactionModes, new: TransactionModes) -> TransactionModes {
    TransactionModes {
        access: new.access.or(old.access),
        isolation: new.isolation.or(old.isolation),
        deferral: new.deferral.or(old.deferral),
        spelt: old.spelt,
    }
}

/// Where a segment of a failed transaction goes: a server refuses it whole unless it begins with an end.
fn place_of_failed(look: &Look) -> Place {
    match look.part {
        Part::EndsFirst(End::Rollback) => Place::Again,
        // The writer's transaction is no failed one: it would commit.
        Part::EndsFirst(End::Commit) => Place::Nowhere,
        Part::Ends(_) | Part::Chains if look.leaves_portals() => Place::Nowhere,
        Part::Foreign if look.first != First::Refused => Place::Nowhere,
        Part::Empty
        | Part::Reads
        | Part::Opens(_)
        | Part::OpensAndEnds(_)
        | Part::Shapes(_)
        | Part::Local
        | Part::Savepoint
        | Part::Ends(_)
        | Part::ReadsAndEnds
        | Part::Chains
        | Part::Foreign => Place::Reader,
    }
}

/// What the client is told of a statement that has no place in its transaction.
fn misplaced(class: Class) -> Denial {
    let state = match class {
        Class::Write => sqlstate::READ_ONLY_SQL_TRANSACTION,
        Class::Empty
        | Class::Read
        | Class::Unproven
        | Class::Session
        | Class::Transaction
        | Class::Unreadable => sqlstate::FEATURE_NOT_SUPPORTED,
    };
    Denial::new("cannot run this statement in a read-only transaction that has read on a replica")
        .with_sqlstate(state)
        .with_hint("Begin the transaction READ WRITE, or with this statement.")
}

fn lost() -> Denial {
    Denial::new("the connection to the replica was lost, and with it the transaction")
        .with_sqlstate(sqlstate::CONNECTION_FAILURE)
}

/// The text of a Query at the front of what has arrived.
fn query_text<'a>(look: &Look, input: &'a [u8]) -> Option<&'a [u8]> {
    if !look.is_query() {
        return None;
    }
    let header = Header::parse(input).ok()??;
    let (body, _) = header.split(input)?;
    match Frontend::parse(header.tag, body) {
        Ok(Frontend::Query(query)) => Some(query.text),
        Ok(_) | Err(_) => None,
    }
}

impl<R: Route> Session<R> {
    /// Whether READ ONLY transactions are sent to the reader at all.
    pub(super) fn keeps_reader_transactions(&self) -> bool {
        self.config.read_only_transactions == ReadOnlyTransactions::Reader && self.splits()
    }

    /// Whether the client's transaction is one that the reader runs or has lost, or that is being begun again.
    pub(super) fn has_reader_transaction(&self) -> bool {
        !matches!(self.reader_transaction, ReaderTransaction::None)
    }

    /// Whether the reader runs the client's transaction.
    pub(super) fn reader_runs_transaction(&self) -> bool {
        matches!(self.reader_transaction, ReaderTransaction::Runs(_))
    }

    /// Whether the client's transaction is being begun again: until then nothing of the client's is looked at.
    pub(super) fn begins_again(&self) -> bool {
        matches!(self.reader_transaction, ReaderTransaction::Again(_))
    }

    /// Which upstream the client's transaction is on, if the writer does not simply own it.
    pub(super) fn transaction_leg(&self) -> LegId {
        match self.reader_runs_transaction() {
            true => self.reader(),
            false => self.writer(),
        }
    }

    /// The status of the transaction on the reader.
    pub(super) fn reader_transaction_status(&self) -> Option<TransactionStatus> {
        let serving = self.leg(self.reader()).serving()?;
        self.reader_runs_transaction().then_some(serving.status)
    }

    /// Whether what was looked at opens a transaction that the reader may run.
    pub(super) fn opens_on_reader(&self) -> bool {
        let look = &self.requests.look;
        let kept = look.snapshot == Snapshot::Taken || !look.leaves_trace();
        look.opened().is_some() && kept && self.requests.batch == Batch::None
    }

    /// Whether a Query with this intent would.
    pub(super) fn would_open_on_reader(&self, intent: &Intent) -> bool {
        let unproven = match self.tries() {
            true => Unproven::Go,
            false => Unproven::Stay,
        };
        let part = || Part::of(intent, unproven, self.default_access());
        self.keeps_reader_transactions() && part().opened().is_some()
    }

    /// What a transaction is whose BEGIN does not say it, as the writer reports it; before PostgreSQL 14 none does.
    pub(super) fn default_access(&self) -> Access {
        let serving = self.leg(self.writer()).serving();
        let read_only = serving.is_some_and(|serving| {
            let mut parameters = serving.parameters.iter();
            parameters.any(|(name, value)| {
                **name == *b"default_transaction_read_only" && **value == *b"on"
            })
        });
        match read_only {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        }
    }

    /// What was looked at is about to be sent to the reader.
    pub(super) fn part_is_sent(&mut self, setting: Option<&[u8]>) {
        let look = &self.requests.look;
        if let (ReaderTransaction::None, Some(modes), Batch::None) =
            (&self.reader_transaction, look.opened(), self.requests.batch)
        {
            self.reader_transaction = ReaderTransaction::Runs(Box::new(Run::new(modes)));
        }
        if let ReaderTransaction::Runs(run) = &mut self.reader_transaction {
            run.sends(look, setting);
        }
    }

    /// Decides about a segment of a transaction that the reader runs or has lost.
    pub(super) fn decide_within(&mut self, now: Instant, input: &[u8]) -> Demand {
        let look = &self.requests.look;
        let part = look.part;
        let leg = self.transaction_leg();
        let Some(serving) = self.leg(leg).serving() else {
            return Demand::Paused;
        };
        if serving.said_fatal() || self.leg(leg).stream != Stream::Open {
            return Demand::Paused;
        }
        let settled = serving.pipeline.is_settled();
        let setting = query_text(look, input);
        let stands = self.requests.batch == Batch::On(leg);
        let place = match &self.reader_transaction {
            ReaderTransaction::None | ReaderTransaction::Again(_) => return Demand::Paused,
            ReaderTransaction::Runs(_) | ReaderTransaction::Lost if !settled => {
                return self.decide_unanswered(leg, setting, input);
            }
            ReaderTransaction::Runs(_) | ReaderTransaction::Lost
                if look.certainty != Certainty::Certain =>
            {
                self.requests.look.restart();
                return Demand::Again;
            }
            // What ends a batch, or asks for its answers, goes where the batch stands.
            ReaderTransaction::Runs(_)
                if part == Part::Empty && stands && !look.leaves_portals() =>
            {
                Place::Reader
            }
            ReaderTransaction::Runs(run) if run.stage == Stage::Over => {
                // The rest of the batch belongs to another transaction.
                self.leave_reader(now);
                return Demand::Paused;
            }
            ReaderTransaction::Runs(run) => match run.standing {
                Standing::Failed
                    if part == Part::Chains && self.memory.journal.has_savepoints().is_none() =>
                {
                    Place::Nowhere
                }
                Standing::Failed => place_of_failed(look),
                Standing::Sound => run.place(look, setting),
            },
            ReaderTransaction::Lost => return self.decide_lost(input),
        };
        match place {
            Place::Reader => {
                if let ReaderTransaction::Runs(run) = &mut self.reader_transaction {
                    run.flight = Flight::Reads;
                }
                self.settle_within(leg, setting)
            }
            Place::Again if self.goes_again(now, leg) => Demand::Paused,
            Place::Again | Place::Nowhere => {
                let class = self.requests.look.class;
                self.refuse_within(leg, misplaced(class), input)
            }
        }
    }

    /// The same while answers of the transaction are owed: a read may follow reads, and all else waits.
    fn decide_unanswered(&mut self, leg: LegId, setting: Option<&[u8]>, input: &[u8]) -> Demand {
        let look = &self.requests.look;
        let is_read = look.part == Part::Reads && look.certainty == Certainty::Certain;
        let follows = match &self.reader_transaction {
            ReaderTransaction::Runs(run) => {
                is_read
                    && run.flight == Flight::Reads
                    && run.stage == Stage::Open
                    && run.place(look, setting) == Place::Reader
            }
            ReaderTransaction::None | ReaderTransaction::Again(_) | ReaderTransaction::Lost => {
                false
            }
        };
        if follows {
            return self.settle_within(leg, setting);
        }
        let asks_alone = matches!(input.first(), Some(&(tag::QUERY | tag::FUNCTION_CALL)));
        let stands = self.requests.batch == Batch::On(leg);
        if asks_alone && stands && self.requests.flushed != Some(leg) {
            // Nothing of the client's has the server answer what precedes this in its batch.
            if self.ledger.room_for(leg.peer().port(), FLUSH.len()) {
                self.push(leg.peer(), &FLUSH);
                self.requests.flushed = Some(leg);
            }
        } else {
            self.fence(leg);
        }
        Demand::Paused
    }

    /// The transaction goes to the writer, if that is possible: behind the part of an open batch that stands on the reader.
    fn goes_again(&mut self, now: Instant, leg: LegId) -> bool {
        match self.requests.batch {
            Batch::None | Batch::Left => {
                self.begin_again(now, Then::GoesOn);
                true
            }
            Batch::On(on) if on == leg => {
                self.leave_reader(now);
                true
            }
            Batch::On(_) | Batch::Unseen | Batch::Leaving | Batch::Broken(_) => false,
        }
    }

    /// The segment goes to the upstream that has the transaction.
    fn settle_within(&mut self, leg: LegId, setting: Option<&[u8]>) -> Demand {
        if leg == self.reader() {
            self.part_is_sent(setting);
        }
        self.settle_on(leg, RouteReason::Transaction)
    }

    /// A lost transaction ends well, if that is all that the client wants of it.
    fn decide_lost(&mut self, input: &[u8]) -> Demand {
        let writer = self.writer();
        let look = &self.requests.look;
        let ends = match look.part {
            Part::Empty => return self.settle_on(writer, RouteReason::Transaction),
            Part::Ends(_) | Part::EndsFirst(_) => look.runs_end(),
            Part::Chains => look.is_query(),
            Part::Reads
            | Part::Opens(_)
            | Part::OpensAndEnds(_)
            | Part::Shapes(_)
            | Part::Local
            | Part::Savepoint
            | Part::ReadsAndEnds
            | Part::Foreign => false,
        };
        if ends {
            self.reader_transaction = ReaderTransaction::None;
            return self.settle_on(writer, RouteReason::Transaction);
        }
        let demand = self.refuse_within(writer, lost(), input);
        if demand == Demand::Again {
            self.reader_transaction = ReaderTransaction::None;
        }
        demand
    }

    /// Refuses the message that the segment begins with: the server that has the transaction is sent what stands in its
    /// place, so that the transaction fails.
    fn refuse_within(&mut self, leg: LegId, denial: Denial, input: &[u8]) -> Demand {
        let Ok(Some(header)) = self.client_header(input) else {
            return Demand::Bytes(Header::LEN);
        };
        let intent = Intent {
            class: self.requests.look.class,
            ..Intent::opaque(Why::TransactionStatement)
        };
        let refused = Refused {
            denial,
            intent: Arc::new(intent),
            request: self.requests.next_number(),
        };
        let judged = Judged::Denied(Box::new(refused));
        let before = std::mem::replace(&mut self.requests.judged, judged);
        let demand = self.serve_forced(leg, RouteReason::Misplaced, header, input);
        if demand != Demand::Again {
            self.requests.judged = before;
        }
        demand
    }

    /// The reader has completed a statement of the client's, with this tag. What is answered while the BEGIN is on its way
    /// was asked before it.
    pub(super) fn reader_completed(&mut self, tag: &[u8]) {
        if let ReaderTransaction::Runs(run) = &mut self.reader_transaction {
            if run.stage == Stage::Open && took_snapshot(tag) == Snapshot::Taken {
                run.seen = Snapshot::Taken;
            }
        }
    }

    /// A BEGIN is complete.
    pub(super) fn transaction_begun(&mut self) {
        if let ReaderTransaction::Runs(run) = &mut self.reader_transaction {
            run.stage = Stage::Open;
        }
    }

    /// A COMMIT or ROLLBACK is complete; with `chain`, another transaction with the same modes is open. Behind one that had
    /// failed they are those that this began with: of the session, so that the next may write, or of the one before. What
    /// failed under a savepoint did not take those of the whole with it. `CommitTransactionCommand` of PostgreSQL's `xact.c`,
    /// as of its minor versions of 2023: earlier ones took those of some transaction before.
    pub(super) fn transaction_is_over(&mut self, chain: bool) {
        let whole = self.memory.journal.has_savepoints() == Some(false);
        if let ReaderTransaction::Runs(run) = &mut self.reader_transaction {
            match chain {
                true => {
                    run.settings.clear();
                    run.seen = Snapshot::NotTaken;
                    if run.standing == Standing::Failed && whole {
                        run.modes = run.given;
                    }
                    run.standing = Standing::Sound;
                    run.given = run.modes;
                }
                false => run.stage = Stage::Over,
            }
        }
    }

    /// A ROLLBACK TO SAVEPOINT is complete.
    pub(super) fn transaction_goes_back(&mut self) {
        if let ReaderTransaction::Runs(run) = &mut self.reader_transaction {
            run.standing = Standing::Sound;
        }
    }

    /// The reader has refused something of the client's.
    pub(super) fn transaction_fails(&mut self) {
        if let ReaderTransaction::Runs(run) = &mut self.reader_transaction {
            run.standing = Standing::Failed;
        }
    }

    /// The reader has answered a request. Whether this status of its transaction can be.
    pub(super) fn reader_ready(&mut self, status: TransactionStatus) -> bool {
        if let ReaderTransaction::Runs(run) = &mut self.reader_transaction {
            run.standing = match status {
                TransactionStatus::Failed => Standing::Failed,
                TransactionStatus::Idle | TransactionStatus::InTransaction => Standing::Sound,
            };
        }
        if status != TransactionStatus::Idle {
            let over = matches!(&self.reader_transaction, ReaderTransaction::Runs(run) if run.stage == Stage::Over);
            return self.reader_runs_transaction() && !over;
        }
        // A Sync of ours may be answered before the BEGIN that it made way for.
        let reader = self.reader();
        let asked = self.owes_client(reader)
            || matches!(self.requests.decided, Some((leg, _)) if leg == reader);
        if self.reader_runs_transaction() && !asked {
            self.reader_transaction = ReaderTransaction::None;
            self.memory.rolled_back();
        }
        true
    }
}
