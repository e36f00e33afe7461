//! What follows from a loss for those who are left: the client is told what may have happened, and a server to stop.

use super::leg::LegId;
use super::loss::{Gone, Stream};
use super::{Action, CancelTarget, CloseCause, Life, Session, Tell};
use crate::route::Route;
use crate::wire::sqlstate;

impl<R: Route> Session<R> {
    /// What the client is told of a writer that is gone. Nothing that was sent there is sent anywhere again: it may have been
    /// done, and if that may have been for good, the client is told so.
    pub(super) fn writer_is_lost(&self) -> Tell {
        let which = self.writers_name();
        let lost = format!("the connection to the {which} server was lost");
        match self.is_in_doubt() {
            true => Tell::fatal(
                sqlstate::TRANSACTION_RESOLUTION_UNKNOWN,
                format!("{lost}, and it is not known whether what it was to commit is committed"),
            ),
            false => Tell::fatal(sqlstate::CONNECTION_FAILURE, lost),
        }
    }

    /// The session ends. Of a client that is dead nobody reads the answer: a server does not find out before it has one, and
    /// closing the connection does not tell it.
    pub(super) fn stop_what_runs(&mut self) {
        let died = match self.life {
            Life::Closing(CloseCause::ClientLost | CloseCause::ClientLeft) => {
                self.client.stream != Stream::Ended(Gone::Terminated)
            }
            Life::Closing(_) | Life::Live | Life::Finishing | Life::Dead(_) => false,
        };
        let running = LegId::ALL.into_iter().filter(|leg| self.will_answer(*leg));
        let target = running
            .filter_map(|leg| self.cancel_target_at(leg))
            .next()
            .filter(|_| died && !self.is_relay_only());
        if let Some(target) = target {
            self.act(Action::Stop(target));
        }
    }

    /// A cancel for what an upstream runs.
    pub(super) fn cancel_target_at(&self, id: LegId) -> Option<CancelTarget> {
        let leg = self.leg(id);
        let key = leg.serving()?.key.clone()?;
        Some(CancelTarget {
            peer: id.peer(),
            to: leg.to,
            key,
            tls: self.leg_tls_in_use(id),
            epoch: self.requests.answered,
        })
    }
}
