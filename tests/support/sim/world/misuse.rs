//! What a driver does that its contract forbids, and what the session has to make of it: it ends at once for that, or
//! nothing at all happens. Either way everything else holds, but where the driver tells an end that was none.

use pgturnout::auth::{Credential, FoundUser};
use pgturnout::session::{CloseCause, Lifecycle, PeerId, TlsInfo, Transmit};

use super::super::checks::Check;
use super::super::fault::{Damage, Misuse};
use super::World;
use super::link::State;

/// What has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ends,
    Nothing,
    /// One or the other: a connection that the session has given up may have any news.
    Either,
    /// It passes for the truth.
    Unknown,
}

impl World<'_> {
    /// Whether a report would be a lie.
    pub(super) fn is_misuse(&self, peer: PeerId, misuse: Misuse) -> bool {
        let link = &self.links[peer.index()];
        match misuse {
            // These are owed.
            Misuse::Connected => link.state != State::Dialing,
            Misuse::Secured => link.state != State::Securing,
            Misuse::Found => self.door.asked.is_none(),
            // Behind its end there is no more to show.
            Misuse::Hidden => !link.has_ended(),
            Misuse::Transmitted
            | Misuse::OneMore
            | Misuse::EofAgain
            | Misuse::Backwards
            | Misuse::Answered => true,
        }
    }

    pub(super) fn misuse(&mut self, peer: PeerId, misuse: Misuse) {
        // What was asked for and not taken yet nobody can have done.
        self.act();
        if !self.is_misuse(peer, misuse) {
            return;
        }
        let lived = matches!(self.session.lifecycle(), Lifecycle::Live);
        let due = self.due_to_misuse(peer, misuse);
        let before = self.session.poll_timeout();
        self.report(peer, misuse);
        let ended = self.session.ended();
        let for_that = matches!(ended, Some(CloseCause::Misuse(_)));
        let fine = match due {
            _ if !lived => true,
            Outcome::Ends => for_that,
            Outcome::Nothing => ended.is_none() && self.session.poll_timeout() == before,
            Outcome::Either => ended.is_none() || for_that,
            Outcome::Unknown => !for_that,
        };
        if !fine {
            let detail = format!("{misuse:?} of the {peer}: {due:?} was due, and it is {ended:?}");
            self.broken(Check::Total, detail);
        }
        if lived && for_that {
            self.misused = true;
            self.damage = Damage::Anything;
        }
        self.digest();
    }

    fn due_to_misuse(&self, peer: PeerId, misuse: Misuse) -> Outcome {
        let stands = self.links[peer.index()].state != State::Closed;
        match misuse {
            Misuse::Transmitted | Misuse::OneMore => Outcome::Ends,
            // Nobody dials a client.
            Misuse::Connected if peer == PeerId::CLIENT => Outcome::Nothing,
            Misuse::Secured if peer == PeerId::CLIENT => Outcome::Ends,
            Misuse::Connected | Misuse::Secured if !stands => Outcome::Nothing,
            Misuse::Connected | Misuse::Secured
                if peer == PeerId::WRITER && self.client.is_ready() =>
            {
                Outcome::Ends
            }
            Misuse::Connected | Misuse::Secured => Outcome::Either,
            Misuse::EofAgain => Outcome::Unknown,
            Misuse::Backwards | Misuse::Answered | Misuse::Found => Outcome::Nothing,
            // What came before may be done with meanwhile.
            Misuse::Hidden => Outcome::Unknown,
        }
    }

    /// Tells the session what is not so.
    fn report(&mut self, peer: PeerId, misuse: Misuse) {
        let now = self.now;
        let offered = match self.session.poll_transmit(peer) {
            None => 0,
            Some(Transmit::Owned(bytes)) => bytes.len(),
            Some(Transmit::Splice { max, .. }) => usize::try_from(max).unwrap_or(usize::MAX - 1),
        };
        let (start, session) = (self.start, &mut self.session);
        self.meter.measure(|| match misuse {
            Misuse::Transmitted => session.transmitted(now, peer, usize::MAX),
            Misuse::OneMore => session.transmitted(now, peer, offered + 1),
            Misuse::Connected => session.handle_connected(now, peer, Ok(())),
            Misuse::Secured => session.handle_secured(now, peer, Ok(TlsInfo::default())),
            Misuse::EofAgain => {
                session.handle_eof(now, peer);
                session.handle_eof(now, peer);
            }
            Misuse::Backwards => session.handle_timeout(start),
            Misuse::Answered => {
                let answer = Err("to nobody's question".to_owned());
                session.handle_authentication(now, peer, u64::MAX, answer);
            }
            Misuse::Found => {
                let found = FoundUser {
                    credential: Credential::None,
                    upstream: None,
                };
                session.handle_user(now, Ok(found));
            }
            Misuse::Hidden => {
                let _ = session.handle_input(now, peer, &[]);
            }
        });
    }
}
