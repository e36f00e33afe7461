//! Reads that have to see the session's own writes: whether a reader may serve them yet.

use std::time::Instant;

use bytes::BytesMut;

use super::effects::{Note, Prepared};
use super::leg::LegId;
use super::{PeerId, ReadYourWrites, Session, Timer};
use crate::route::{Class, Effect, Form, Intent, PinKind, Route, StatementEffect};
use crate::track::pipeline::{Kind, Owner};
use crate::track::{Lsn, Pin};
use crate::wire::{Backend, Frontend, Query, TransactionStatus, tags::backend as tag};

/// Where the writer's log ends. Asked once the write is committed, so that this is no earlier than its end.
const WRITTEN: &[u8] = b"select pg_catalog.pg_current_wal_insert_lsn()";

/// How far a standby has replayed that log.
const REPLAYED: &[u8] = b"select pg_catalog.pg_last_wal_replay_lsn()";

/// What the session's writes ask of a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing: it has written nothing that the reader has not replayed.
    #[default]
    Nothing,
    /// Its last write was committed then, and where its log record ends is not known.
    At(Instant),
    /// So many reads more go to the writer.
    Counted(u32),
    /// The writer was asked where the log ends.
    Asking(Instant),
    /// A reader has to have replayed up to here.
    UpTo(Lsn),
    /// This reader was asked how far it is.
    Checking(LegId, Lsn),
    /// It is not so far: the read that waits goes to the writer, and the next one asks again.
    Behind(Lsn),
    /// The writer did not say: the read that waits goes there, and the next one asks again.
    Untold(Instant),
    /// This reader has replayed it. Another one may not have.
    Seen(LegId, Lsn),
}

/// Whether the statements since the last committed transaction may have written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    #[default]
    Reads,
    Writes,
}

/// What is remembered of writes.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    written: Written,
    unit: Unit,
}

/// What the session asks an upstream by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Where the log ends.
    Written,
    /// How far it is replayed.
    Replayed,
}

/// Whether a reader may serve the read that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fresh {
    Yes,
    /// It is being found out.
    Wait,
    No,
}

/// Whether a request of this kind runs a statement.
fn runs(kind: Kind) -> bool {
    match kind {
        Kind::Query | Kind::Execute | Kind::FunctionCall | Kind::CopyEnd => true,
        Kind::Parse
        | Kind::Bind
        | Kind::DescribeStatement
        | Kind::DescribePortal
        | Kind::Close
        | Kind::Sync
        | Kind::Refused
        | Kind::Fence => false,
    }
}

/// Whether a text of which the greater class is that of its transaction or its settings may write nevertheless: by a function that
/// it calls, be it a built-in one that a search path hides, or by a cursor, which runs what it was declared for.
fn may_hide_a_write(intent: &Intent, catalog_first: bool) -> bool {
    let hidden = match intent.within {
        Class::Empty | Class::Read | Class::Transaction => false,
        Class::Session => intent.statements > 1 || intent.form == Form::Read && !catalog_first,
        Class::Unproven | Class::Write | Class::Unreadable => true,
    };
    let runs_code = |effect: &StatementEffect| {
        let pins = [PinKind::UnknownCode, PinKind::Cursor, PinKind::HoldCursor];
        matches!(effect.effect, Effect::Pin(pin) if pins.contains(&pin))
    };
    hidden || intent.form == Form::Cursor || intent.effects.iter().any(runs_code)
}

impl<R: Route> Session<R> {
    /// A statement is on its way to an upstream.
    pub(super) fn may_write(&mut self, leg: LegId, intent: &Intent) {
        let writes = match intent.class {
            Class::Empty | Class::Read => false,
            Class::Session | Class::Transaction => {
                may_hide_a_write(intent, self.memory.lex().catalog_first.is(&true))
            }
            Class::Unproven | Class::Write | Class::Unreadable => true,
        };
        if writes {
            self.may_write_unseen(leg);
        }
    }

    /// A statement that was prepared before is on its way to an upstream.
    pub(super) fn may_write_anew(&mut self, leg: LegId, known: &Prepared) {
        if leg != self.writer() || self.freshness.unit == Unit::Writes {
            return;
        }
        if let Some(anew) = self.named_anew(known) {
            self.may_write(leg, &anew);
        }
    }

    /// Something whose text is not known is on its way to an upstream.
    pub(super) fn may_write_unseen(&mut self, leg: LegId) {
        if leg == self.writer() {
            self.freshness.unit = Unit::Writes;
        }
    }

    /// The writer is outside any transaction: what was written is committed, if it was.
    pub(super) fn writes_are_over(&mut self, now: Instant) {
        if std::mem::take(&mut self.freshness.unit) == Unit::Writes {
            self.freshness.written = match self.config.read_your_writes {
                ReadYourWrites::Off => Written::Nothing,
                ReadYourWrites::Reads(count) => Written::Counted(count),
                ReadYourWrites::For(_) | ReadYourWrites::Replayed => Written::At(now),
            };
        }
    }

    /// Whether nobody can tell, were the writer gone now, if what the session wrote is committed: what would commit it was sent
    /// and not answered. A text that was not read may do so too.
    pub(super) fn is_in_doubt(&self) -> bool {
        let Some(serving) = self.leg(self.writer()).serving() else {
            return false;
        };
        if self.freshness.unit == Unit::Reads {
            return false;
        }
        let unread = self
            .memory
            .pins
            .iter()
            .any(|pin| matches!(pin, Pin::UnreadStatement | Pin::Unaccounted));
        let items = serving.pipeline.iter();
        // Of the newest message it may not have all: it was not done then.
        let cut =
            self.requests.last == self.writer() && self.ledger.claimed(PeerId::CLIENT.port()) > 0;
        let whole = serving.pipeline.len().saturating_sub(usize::from(cut));
        let mut owed = items.take(whole).filter(|item| item.owner == Owner::Client);
        match serving.status {
            TransactionStatus::Idle => {
                let head = serving.pipeline.head();
                head.is_some_and(|item| item.kind == Kind::Sync) || owed.any(|item| runs(item.kind))
            }
            TransactionStatus::InTransaction | TransactionStatus::Failed => {
                owed.any(|item| item.note.commits() || unread && runs(item.kind))
            }
        }
    }

    /// Whether the reader, which could serve otherwise, has what the session wrote; finds it out where it can.
    pub(super) fn freshness(&mut self, now: Instant, reader: LegId) -> Fresh {
        match (self.freshness.written, self.config.read_your_writes) {
            (Written::Nothing, _) | (_, ReadYourWrites::Off) => Fresh::Yes,
            (Written::Counted(0), _) | (Written::At(_), ReadYourWrites::Reads(_)) => Fresh::Yes,
            (Written::Counted(left), _) => {
                self.freshness.written = Written::Counted(left.saturating_sub(1));
                Fresh::No
            }
            (Written::At(written), ReadYourWrites::For(window)) => {
                match now.saturating_duration_since(written) < window {
                    true => Fresh::No,
                    false => Fresh::Yes,
                }
            }
            (Written::At(written), ReadYourWrites::Replayed) => {
                let writer = self.writer();
                self.ask(now, writer, Question::Written, Written::Asking(written))
            }
            (Written::UpTo(lsn), _) => self.check(now, reader, lsn),
            (Written::Seen(leg, _), _) if leg == reader => Fresh::Yes,
            (Written::Seen(_, lsn), _) => self.check(now, reader, lsn),
            (Written::Asking(_) | Written::Checking(..), _) => Fresh::Wait,
            (Written::Behind(lsn), _) => {
                self.freshness.written = Written::UpTo(lsn);
                Fresh::No
            }
            (Written::Untold(written), _) => {
                self.freshness.written = Written::At(written);
                Fresh::No
            }
        }
    }

    fn check(&mut self, now: Instant, reader: LegId, lsn: Lsn) -> Fresh {
        let asked = Written::Checking(reader, lsn);
        self.ask(now, reader, Question::Replayed, asked)
    }

    /// Sends an upstream a question of ours.
    fn ask(&mut self, now: Instant, leg: LegId, question: Question, asked: Written) -> Fresh {
        let text = match question {
            Question::Written => WRITTEN,
            Question::Replayed => REPLAYED,
        };
        let mut frame = BytesMut::new();
        let port = leg.peer().port();
        let query = Frontend::Query(Query { text });
        if query.encode(&mut frame).is_err() || !self.ledger.room_for(port, frame.len()) {
            return Fresh::No;
        }
        self.inject(leg, &frame, Kind::Query, Note::Question(question));
        // A simple Query drops the unnamed statement.
        self.memory.statements.unnamed_dropped(leg.index());
        self.freshness.written = asked;
        let timeout = self.config.timeouts.replay;
        self.timers.start(now, timeout, Timer::Restore(leg.peer()));
        Fresh::Wait
    }

    /// The question that a message of an upstream answers.
    pub(super) fn question_of(&self, leg: LegId, frame: u8) -> Option<Question> {
        let head = self.leg(leg).serving()?.pipeline.head()?;
        match (frame, head.owner, &head.note) {
            (tag::DATA_ROW, Owner::Injected, Note::Question(question)) => Some(*question),
            _ => None,
        }
    }

    /// A row that answers a question of ours has come.
    pub(super) fn heard_answer(&mut self, question: Question, body: &[u8]) {
        let Ok(Backend::DataRow { values }) = Backend::parse(tag::DATA_ROW, body) else {
            return;
        };
        let lsn = values.into_iter().next().flatten().and_then(Lsn::parse);
        self.freshness.written = match (question, self.freshness.written, lsn) {
            (Question::Written, Written::Asking(_), Some(end)) => Written::UpTo(end),
            (Question::Written, Written::Asking(written), None) => Written::Untold(written),
            (Question::Replayed, Written::Checking(leg, wanted), Some(have)) if have >= wanted => {
                Written::Seen(leg, wanted)
            }
            (Question::Replayed, Written::Checking(_, wanted), _) => Written::Behind(wanted),
            (Question::Written | Question::Replayed, other, _) => other,
        };
    }

    /// The writer is another server: what the session has written is asked for in its log.
    pub(super) fn log_moved(&mut self, now: Instant) {
        self.freshness.written = match self.freshness.written {
            Written::Nothing => Written::Nothing,
            Written::Counted(left) => Written::Counted(left),
            Written::At(written) | Written::Untold(written) => Written::At(written),
            Written::Asking(_)
            | Written::UpTo(_)
            | Written::Checking(..)
            | Written::Behind(_)
            | Written::Seen(..) => Written::At(now),
        };
    }

    /// A connection is of no use any more. What the next one has replayed is not known: a standby that starts again begins
    /// before what it had shown.
    pub(super) fn forget_seen(&mut self, leg: LegId) {
        if let Written::Seen(seen, lsn) = self.freshness.written {
            if seen == leg {
                self.freshness.written = Written::UpTo(lsn);
            }
        }
    }

    /// A question of ours is answered, with a row or without.
    pub(super) fn question_is_over(&mut self, leg: LegId, question: Question) {
        // What it has to take over behind that keeps its deadline.
        if !self.is_restoring(leg) {
            self.timers.stop(Timer::Restore(leg.peer()));
        }
        self.freshness.written = match (question, self.freshness.written) {
            (Question::Written, Written::Asking(written)) => Written::Untold(written),
            (Question::Replayed, Written::Checking(_, lsn)) => Written::Behind(lsn),
            (Question::Written | Question::Replayed, other) => other,
        };
    }

    /// Nobody is going to answer a question of ours: it may be asked again.
    pub(super) fn question_is_lost(&mut self, question: Question) {
        self.freshness.written = match (question, self.freshness.written) {
            (Question::Written, Written::Asking(written)) => Written::At(written),
            (Question::Replayed, Written::Checking(_, lsn)) => Written::UpTo(lsn),
            (Question::Written | Question::Replayed, other) => other,
        };
    }
}
