//! The actions that wait for the driver.
//!
//! An action that changes a connection waits until the bytes before it have been transmitted: TLS starts and a
//! connection closes behind what was queued for it.

use std::collections::VecDeque;

use super::{Action, CloseCause, PeerId, TlsRole};
use crate::ledger::Ledger;

/// What is planned for one connection.
#[derive(Debug, Default)]
enum Plan {
    #[default]
    Nothing,
    /// Start TLS when everything before it is sent.
    Secure(TlsRole),
    /// End our direction when everything is sent.
    Finish,
    /// Close when everything is sent, to it and of it.
    Close(CloseCause),
    /// Close now.
    Drop(CloseCause),
}

/// The actions of one session.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Action>,
    plans: [Plan; PeerId::COUNT],
}

impl Outbox {
    /// Queues an action that waits for nothing.
    pub(super) fn push(&mut self, action: Action) {
        self.queue.push_back(action);
    }

    /// How many actions wait unseen by the driver.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Plans TLS on a connection.
    pub(super) fn secure(&mut self, peer: PeerId, role: TlsRole) {
        self.plan(peer, Plan::Secure(role));
    }

    /// Whether TLS is planned on a connection and the driver was not asked for it.
    pub(super) fn plans_tls(&self, peer: PeerId) -> bool {
        matches!(self.plans.get(peer.index()), Some(Plan::Secure(_)))
    }

    /// Plans to end our direction of a connection behind what was queued for it.
    pub(super) fn finish(&mut self, peer: PeerId) {
        self.plan(peer, Plan::Finish);
    }

    /// Plans to close a connection behind what was queued for it. One that is to close already does so for its first
    /// cause, and no later.
    pub(super) fn close(&mut self, peer: PeerId, cause: CloseCause) {
        match self.plans.get(peer.index()) {
            Some(Plan::Close(_) | Plan::Drop(_)) => {}
            Some(Plan::Nothing | Plan::Secure(_) | Plan::Finish) | None => {
                self.plan(peer, Plan::Close(cause));
            }
        }
    }

    /// Plans to close a connection whatever was queued for it.
    pub(super) fn drop_now(&mut self, peer: PeerId, cause: CloseCause) {
        self.plan(peer, Plan::Drop(cause));
    }

    /// Turns every planned close into an immediate one.
    pub(super) fn hurry(&mut self) {
        for plan in &mut self.plans {
            *plan = match std::mem::take(plan) {
                Plan::Close(cause) | Plan::Drop(cause) => Plan::Drop(cause),
                Plan::Nothing | Plan::Secure(_) | Plan::Finish => Plan::Nothing,
            };
        }
    }

    fn plan(&mut self, peer: PeerId, plan: Plan) {
        if let Some(slot) = self.plans.get_mut(peer.index()) {
            *slot = plan;
        }
    }

    /// The next action whose turn has come.
    pub(super) fn poll(&mut self, ledger: &Ledger) -> Option<Action> {
        if let Some(action) = self.queue.pop_front() {
            return Some(action);
        }
        PeerId::ALL
            .into_iter()
            .zip(&mut self.plans)
            .find_map(|(peer, plan)| due(peer, plan, ledger))
    }
}

fn due(peer: PeerId, plan: &mut Plan, ledger: &Ledger) -> Option<Action> {
    let sent = ledger.is_drained_to(peer.port());
    match std::mem::take(plan) {
        Plan::Nothing => None,
        Plan::Secure(role) if sent && ledger.is_drained_from(peer.port()) => {
            Some(Action::StartTls { peer, role })
        }
        Plan::Finish if sent => Some(Action::Finish { peer }),
        Plan::Close(cause) if sent && ledger.is_passed_on(peer.port()) => {
            Some(Action::Close { peer, cause })
        }
        Plan::Drop(cause) => Some(Action::Close { peer, cause }),
        waiting @ (Plan::Secure(_) | Plan::Finish | Plan::Close(_)) => {
            *plan = waiting;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Fate, LedgerLimits};
    use crate::session::Timer;

    #[test]
    fn a_connection_closes_once_for_its_first_cause_and_no_later() {
        let mut ledger = Ledger::new(3, LedgerLimits::default());
        let (reader, client) = (PeerId::READER, PeerId::CLIENT);
        let claimed = ledger.claim(reader.port(), Fate::To(client.port()), 5);
        assert!(claimed.is_ok());
        let mut outbox = Outbox::default();
        outbox.close(reader, CloseCause::UpstreamEnded(reader));
        outbox.close(reader, CloseCause::SessionOver);
        assert!(outbox.poll(&ledger).is_none());
        let cause = CloseCause::Timeout(Timer::Retire(reader));
        outbox.drop_now(reader, cause.clone());
        outbox.close(reader, CloseCause::SessionOver);
        let close = outbox.poll(&ledger);
        assert!(
            matches!(close, Some(Action::Close { peer, cause: of }) if peer == reader && of == cause)
        );
        assert!(outbox.poll(&ledger).is_none());
    }
}
