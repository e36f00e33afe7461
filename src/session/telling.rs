//! Messages of ours to the client, and a connection that is made a second time.

use super::leg::{Attempt, LegId};
use super::{Life, PeerId, Session, Tell};
use crate::route::Route;
use crate::wire::tags::backend as tags;
use crate::wire::{TransactionStatus, error_response, sqlstate};

impl<R: Route> Session<R> {
    /// Sends the client an error of ours, behind what was queued for it.
    pub(super) fn tell(&mut self, tell: &Tell) {
        self.say(tell, tags::ERROR_RESPONSE);
    }

    /// Sends the client a notice of ours.
    pub(super) fn notice(&mut self, tell: &Tell) {
        self.say(tell, tags::NOTICE_RESPONSE);
    }

    /// A notice has the fields of an error.
    fn say(&mut self, tell: &Tell, tag: u8) {
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let written = error_response(
            &mut out,
            tell.severity,
            tell.state,
            &tell.message,
            tell.detail.as_deref(),
            tell.hint.as_deref(),
        );
        if let (Ok(()), Some(first)) = (written, out.first_mut()) {
            *first = tag;
            self.push(PeerId::CLIENT, &out);
        }
        self.scratch = out;
    }

    pub(super) fn tell_reader_lost(&mut self) {
        self.tell(&Tell::error(
            sqlstate::CONNECTION_FAILURE,
            "the connection to the replica was lost before the request was answered",
        ));
    }

    /// Sends the client a ReadyForQuery of ours. Only for requests that no upstream is going to answer: a reader's
    /// transaction is lost with it, and the writer has what takes its place.
    pub(super) fn tell_ready(&mut self) {
        self.tell_ready_as(self.status_of_ours());
    }

    /// The same with this status.
    pub(super) fn tell_ready_as(&mut self, status: TransactionStatus) {
        self.requests.is_answered();
        self.push(PeerId::CLIENT, &[b'Z', 0, 0, 0, 5, status.byte()]);
    }

    /// The connection on which a login in clear was refused is closed.
    pub(super) fn redial_closed(&mut self, peer: PeerId) {
        let lives = matches!(self.life, Life::Live | Life::Finishing);
        let Some(id) = LegId::of(peer).filter(|_| lives) else {
            return;
        };
        match self.leg(id).attempt {
            Attempt::Redial => self.connect(id, Attempt::Second),
            Attempt::Elsewhere => self.connect(id, Attempt::First),
            Attempt::First | Attempt::Second => {}
        }
    }
}
