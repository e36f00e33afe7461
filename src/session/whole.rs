//! Sessions that pass whole: replication, and encryption that the client and the server have with each other.
//!
//! Nothing of either is read, so nothing of ours is put in between: their end is told by closing. Each direction is
//! bounded by the driver's read buffer. The end of the client's stream is passed on, for the server may still have
//! much to say; it has to get on with it.

use std::time::Instant;

use super::client::{ClientPhase, Question, SessionKind};
use super::leg::{LegId, Passing, Phase};
use super::loss::Stream;
use super::{CloseCause, Demand, Event, PeerId, Relayed, Session, Timer};
use crate::ledger::Fate;
use crate::route::Route;
use crate::startup::Passage;
use crate::stats::Meter;

/// The length of an SSLRequest.
const SSL_REQUEST: u64 = 8;

/// The request is the one message that is seen.
fn passes_encrypted(meter: &mut Meter, by: Passage) {
    match by {
        Passage::Request => meter.opening(),
        Passage::Direct => {}
    }
    meter.passes_encrypted();
}

impl<R: Route> Session<R> {
    /// The client begins an encryption that is not ours to end.
    pub(super) fn pass_through(&mut self, now: Instant, by: Passage) {
        self.client.kind = SessionKind::Opaque;
        self.client.phase = ClientPhase::Opaque(by);
        passes_encrypted(&mut self.tally.client, by);
        if !self.is_denied(now) {
            self.dial(now, self.writer());
        }
    }

    /// The connection to the server stands. Where TLS is required, the server's answer to the request is looked at: a
    /// client that takes `N` for an answer would log in in clear.
    pub(super) fn opaque_connected(&mut self, by: Passage) {
        let to = self.leg(self.writer()).to;
        let requested = match by {
            Passage::Request => self.config.tls(to).requires_tls(),
            Passage::Direct => false,
        };
        self.timers.stop(Timer::Login);
        self.leg_mut(self.writer()).phase = Phase::Opaque(Passing::Request);
        if !requested {
            self.pass_all();
        }
        passes_encrypted(self.tally.leg(self.writer()), by);
        self.notify(Event::RelayedWhole {
            to,
            what: Relayed::Encrypted,
        });
    }

    fn pass_all(&mut self) {
        self.timers.stop(Timer::Dial(self.writer().peer()));
        self.leg_mut(self.writer()).phase = Phase::Opaque(Passing::All);
    }

    pub(super) fn opaque_client(&mut self, input: &[u8]) -> Demand {
        match self.leg(self.writer()).phase {
            Phase::Opaque(Passing::All) => self.relay_whole(input),
            Phase::Opaque(Passing::Request) => {
                let to = Fate::To(self.writer().peer().port());
                match self.ledger.claim(PeerId::CLIENT.port(), to, SSL_REQUEST) {
                    Ok(()) => {
                        self.leg_mut(self.writer()).phase = Phase::Opaque(Passing::Answer);
                        Demand::Again
                    }
                    Err(_) => Demand::Paused,
                }
            }
            Phase::Opaque(Passing::Answer)
            | Phase::Absent
            | Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Serving(_)
            | Phase::Closing => Demand::Paused,
        }
    }

    pub(super) fn opaque_server(&mut self, now: Instant, passing: Passing, input: &[u8]) -> Demand {
        match (passing, input.first()) {
            (Passing::All, _) => self.relay_replies(now, self.writer(), input),
            (Passing::Request | Passing::Answer, None) => Demand::Bytes(1),
            (Passing::Request, Some(_)) => Demand::Paused,
            (Passing::Answer, Some(b'S')) => {
                self.pass_all();
                Demand::Again
            }
            (Passing::Answer, Some(_)) => {
                let why = "the server does not start TLS, but TLS is required";
                self.leg_failed(now, self.writer(), why.to_owned());
                Demand::Again
            }
        }
    }

    /// What the server says is passed on as it comes.
    pub(super) fn relay_replies(&mut self, now: Instant, leg: LegId, input: &[u8]) -> Demand {
        let len = u64::try_from(input.len()).unwrap_or(u64::MAX);
        match self
            .ledger
            .claim(leg.peer().port(), Fate::To(PeerId::CLIENT.port()), len)
        {
            Ok(()) if len > 0 => {
                self.client_gets_on(now);
                Demand::Bytes(1)
            }
            Ok(()) => Demand::Bytes(1),
            Err(_) => Demand::Paused,
        }
    }

    /// The server of an opaque session is gone.
    pub(super) fn opaque_ended(&mut self, now: Instant, passing: Passing) {
        match passing {
            Passing::All => {
                self.ledger.destination_ended(self.writer().peer().port());
                self.end(now, self.whole_is_over(), None);
            }
            Passing::Request | Passing::Answer => {
                let why = "the server closed the connection instead of starting TLS";
                self.leg_failed(now, self.writer(), why.to_owned());
            }
        }
    }

    /// Why a session that passes whole ends when its server has: the client had left before, or not.
    pub(super) fn whole_is_over(&self) -> CloseCause {
        match self.client.stream {
            Stream::Over => CloseCause::ClientLeft,
            Stream::Open | Stream::Ended(_) => CloseCause::UpstreamEnded(self.writer().peer()),
        }
    }

    /// The client of a session that passes whole sends nothing more. Whether a server is told so, and goes on.
    pub(super) fn pass_the_end(&mut self) -> bool {
        let leg = self.leg(self.writer());
        let serves = match leg.phase {
            Phase::Serving(_) | Phase::Opaque(Passing::All) => self.is_relay_only(),
            Phase::Opaque(Passing::Request | Passing::Answer)
            | Phase::Absent
            | Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Closing => false,
        };
        let goes_on = serves && leg.is_open();
        if goes_on {
            self.outbox.finish(self.writer().peer());
        }
        goes_on
    }

    /// Whether a message of ours may be put into the client's stream.
    pub(super) fn may_tell(&self) -> bool {
        let passes = match self.leg(self.writer()).phase {
            Phase::Opaque(Passing::All) => true,
            Phase::Opaque(Passing::Request | Passing::Answer)
            | Phase::Absent
            | Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Serving(_)
            | Phase::Closing => false,
        };
        match &self.client.phase {
            ClientPhase::Opaque(Passage::Direct) | ClientPhase::Securing(..) => false,
            ClientPhase::Opaque(Passage::Request) => !passes,
            ClientPhase::Serving(_) => !self.is_relay_only(),
            // The gate's refusal is the last word.
            ClientPhase::LoggingIn(Question::Refused) => false,
            ClientPhase::Opening(_)
            | ClientPhase::Finding
            | ClientPhase::Admitting(..)
            | ClientPhase::LoggingIn(Question::None | Question::Asked(_))
            | ClientPhase::Over
            | ClientPhase::Closed => true,
        }
    }
}
