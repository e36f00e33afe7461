//! Messages of ours to the client, and a connection that is made a second time.

use super::leg::{Attempt, LegId};
use super::{Life, PeerId, Session, Tell};
use crate::route::Route;
use crate::wire::error_response;
use crate::wire::tags::backend as tags;

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
