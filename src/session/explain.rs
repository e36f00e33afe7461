//! A dry run: where a text would go, and what it would leave behind.

use super::settings::pin_of_setting;
use super::sql_prepare::pin_of;
use super::trial::can_be_tried;
use super::{RouteReason, Session};
use crate::route::{Class, Effect, Intent, Reason, Route, Target, Why, scan};
use crate::track::Pin;

/// What a session would do with a Query, if the client sent it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What its text asks for, and which token says so.
    pub intent: Intent,
    /// Where it would go, if that can be had and is fresh enough.
    pub target: Target,
    /// Why.
    pub reason: RouteReason,
    /// What keeps the session's reads on the writer now.
    pub pinned: Option<Pin>,
    /// What would keep them there afterwards.
    pub pins: Vec<Pin>,
}

/// The pins that a text leaves when it is committed.
///
/// ```
/// use pgturnout::route::{scan, LexState, Rules};
/// use pgturnout::session::pins_of;
/// use pgturnout::track::Pin;
/// let pins = |sql: &str| pins_of(&scan(sql.as_bytes(), &LexState::defaults(), &Rules::default()));
/// assert_eq!(pins("create temp table t (a int)"), [Pin::TemporaryObject]);
/// assert_eq!(pins("set work_mem = '1GB'"), []);
/// assert_eq!(pins("set default_transaction_isolation = serializable"), [Pin::Setting]);
/// ```
#[must_use]
pub fn pins_of(intent: &Intent) -> Vec<Pin> {
    let mut pins = Vec::new();
    if intent.class == Class::Unreadable {
        pins.push(Pin::Unaccounted);
    }
    for effect in &intent.effects {
        let pin = match &effect.effect {
            Effect::Pin(kind) => pin_of(*kind),
            Effect::Setting(change) => pin_of_setting(change),
            Effect::Begin(_)
            | Effect::Commit { .. }
            | Effect::Rollback { .. }
            | Effect::Savepoint(_)
            | Effect::RollbackToSavepoint(_)
            | Effect::Release(_)
            | Effect::PrepareTransaction
            | Effect::SetTransaction(_)
            | Effect::ResetAll
            | Effect::DiscardAll
            | Effect::DiscardPlans
            | Effect::DiscardSequences
            | Effect::DiscardTemp
            | Effect::Deallocate(_)
            | Effect::DeallocateAll
            | Effect::Prepare(_)
            | Effect::Execute { .. }
            | Effect::UnlistenAll
            | Effect::CloseAll => None,
        };
        if let Some(pin) = pin.filter(|pin| !pins.contains(pin)) {
            pins.push(pin);
        }
    }
    pins
}

impl<R: Route> Session<R> {
    /// A dry run: where a Query with this text would go, and why, by what the session knows now. Nothing is sent or
    /// remembered. Ask it while nothing is in flight: what is may change the answer. Whether the reader can be had, or lags, is found out
    /// only when a request is to go there.
    pub fn explain(&mut self, text: &[u8]) -> Explanation {
        let mut intent = scan(text, &self.lex_now(), &self.config.rules);
        if intent.class == Class::Unproven && self.memory.refused.contains(text) {
            intent.class = Class::Write;
            intent.reason = Reason {
                why: Why::RefusedBefore,
                ..intent.reason
            };
        }
        let pinned = self.memory.pinned();
        let (target, reason) = match self.forced() {
            None if self.has_reader_transaction() => {
                let target = match self.reader_runs_transaction() {
                    true => Target::Reader,
                    false => Target::Writer,
                };
                (target, RouteReason::Transaction)
            }
            None if self.would_open_on_reader(&intent) => {
                let why = Why::BeginReadOnly;
                let target = self.ask_policy(Class::Read, why, false, Some(text));
                (target, RouteReason::Intent(why))
            }
            Some((leg, reason)) if leg == self.reader() => (Target::Reader, reason),
            Some((_, reason)) => (Target::Writer, reason),
            None => {
                let tried = self.tries() && can_be_tried(&intent);
                let target = self.ask_policy(intent.class, intent.reason.why, tried, Some(text));
                (target, RouteReason::Intent(intent.reason.why))
            }
        };
        Explanation {
            pins: pins_of(&intent),
            intent,
            target,
            reason,
            pinned,
        }
    }
}
