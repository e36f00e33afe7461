//! Bringing an upstream up to the session's settings, and finding out whether it serves the session with them.

use std::time::Instant;

use bytes::BytesMut;

use super::effects::Note;
use super::leg::{Asked, LegId, Restore, Serving};
use super::{DefaultIsolation, Session, Timer};
use crate::route::Route;
use crate::track::Pin;
use crate::track::pipeline::Kind;
use crate::wire::{Fields, Frontend, Query, sqlstate};

/// What a standby refuses if the session's transactions are serializable, and answers otherwise, whatever the user may do. A
/// setting would not be refused. Whoever reads the server's log sees by the name whose it is.
const TAKES_A_SNAPSHOT: &[u8] = b"select 1 as pgturnout";

/// The setting that it depends on.
const ISOLATION: &[u8] = b"default_transaction_isolation";

/// What an upstream that takes over the session is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restored {
    /// A change of the journal, by its stamp.
    Change(u64),
    /// What shows whether it serves the session by its default isolation.
    Isolation,
}

impl Serving {
    /// It has answered what it was sent to take over the session.
    pub(super) fn has_restored(&mut self, restored: Restored) {
        match restored {
            Restored::Change(stamp) => self.stamp = self.stamp.max(stamp),
            Restored::Isolation => {}
        }
    }
}

impl<R: Route> Session<R> {
    /// Whether it is not known if the reader serves the session by its default isolation.
    pub(super) fn is_to_be_asked(&self, reader: &Serving) -> bool {
        match self.config.default_isolation {
            DefaultIsolation::Asked => reader.asked != Asked::Once,
            DefaultIsolation::Assumed => false,
        }
    }

    /// Whether settings, or a question about their effect, are on their way to an upstream.
    pub(super) fn is_restoring(&self, leg: LegId) -> bool {
        let serving = self.leg(leg).serving();
        serving.is_some_and(|serving| serving.restore == Restore::Running)
    }

    /// Sends an upstream the changes of settings that it has not run, and what shows whether it serves the session then, if
    /// that is not known or may have changed.
    pub(super) fn restore(&mut self, now: Instant, leg: LegId) {
        let timeout = self.config.timeouts.replay;
        self.timers.start(now, timeout, Timer::Restore(leg.peer()));
        let is_asking = self.config.default_isolation == DefaultIsolation::Asked;
        let begins = self.memory.journal.begins();
        let Some(serving) = self.leg_mut(leg).serving_mut() else {
            return;
        };
        let (from, asked) = (serving.stamp, serving.asked);
        // A DISCARD ALL, which takes a snapshot as well, has nothing to discard where nothing has run.
        let is_new = is_asking && asked == Asked::NotYet;
        if is_new {
            serving.stamp = from.max(begins);
        }
        serving.restore = Restore::Running;
        serving.asked = Asked::Once;
        let journal = &self.memory.journal;
        let asks = is_asking && (asked != Asked::Once || journal.may_change(ISOLATION, from));
        let mut statements: Vec<(Note, Box<[u8]>)> = journal
            .behind(from)
            .into_iter()
            .filter(|(stamp, _)| !(is_new && *stamp == begins))
            .map(|(stamp, text)| (Note::Restore(Restored::Change(stamp)), text.into()))
            .collect();
        if asks {
            statements.push((Note::Restore(Restored::Isolation), TAKES_A_SNAPSHOT.into()));
        }
        for (note, text) in statements {
            let mut frame = BytesMut::new();
            let query = Frontend::Query(Query { text: &text });
            if query.encode(&mut frame).is_ok() {
                self.inject(leg, &frame, Kind::Query, note);
                self.memory.statements.unnamed_dropped(leg.index());
            }
        }
    }

    /// An upstream refuses what it was to take over, or to be asked: a setting is one that the session cannot have there; an
    /// answer that does not come is asked for again.
    pub(super) fn restore_refused(&mut self, leg: LegId) {
        let serving = self.leg(leg).serving();
        let head = serving.and_then(|serving| serving.pipeline.head());
        let restored = match head.map(|owed| &owed.note) {
            Some(Note::Restore(restored)) => *restored,
            Some(_) | None => return,
        };
        if self.memory.pins.iter().any(|pin| pin == Pin::Serializable) {
            // That is why.
            return;
        }
        match (restored, self.leg_mut(leg).serving_mut()) {
            (Restored::Change(_), _) => self.pin(Pin::RestoreFailed),
            (Restored::Isolation, Some(serving)) => serving.asked = Asked::Untold,
            (Restored::Isolation, None) => {}
        }
    }
}

/// Whether an error is the refusal of a server in recovery to take a snapshot for a serializable transaction. The routine tells it
/// from others of the state, in any language.
pub(super) fn is_serializable(fields: &Fields<'_>) -> bool {
    fields.sqlstate() == Some(sqlstate::FEATURE_NOT_SUPPORTED)
        && fields.get(b'R') == Some(b"GetSerializableTransactionSnapshot")
}
