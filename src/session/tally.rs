//! What is counted: each message where its way is decided, each connection where its fate is.
//!
//! The client's counters are those of a connection to one server: what is injected for it and swallowed for it counts at
//! the upstream alone. Bytes that are handed through without being looked at (a replication stream) are not counted.

use super::leg::{LegId, PerLeg};
use super::{CloseCause, PeerId, RouteReason, Session};
use crate::ledger::Fate;
use crate::route::{Route, View};
use crate::stats::{ConnectionCounter, ConnectionStats, Heard, Meter, Stats};
use crate::wire::{Backend, SqlState};

/// The counters of one session.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) client: Meter,
    legs: PerLeg<Meter>,
    pub(super) connections: ConnectionStats,
    pub(super) routes: Routes,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let mut connections = ConnectionStats::default();
        connections.count(ConnectionCounter::AcceptedConns);
        Tally {
            client: Meter::default(),
            legs: PerLeg::default(),
            connections,
            routes: Routes::default(),
        }
    }

    pub(super) fn leg(&mut self, id: LegId) -> &mut Meter {
        self.legs.get_mut(id)
    }

    /// Messages of the client that go to an upstream.
    pub(super) fn request(&mut self, to: LegId, tag: u8, messages: u64) {
        self.client.frontend_run(tag, messages);
        self.leg(to).frontend_run(tag, messages);
    }

    /// A message of an upstream, for the client unless it is discarded.
    pub(super) fn reply(&mut self, from: LegId, fate: Fate, tag: u8, body: &[u8]) {
        let heard = Heard::of(tag, body);
        self.leg(from).hear(heard);
        if fate != Fate::Discard {
            self.client.hear(heard);
        }
    }

    /// The tag of a message of an unknown type, if there was one since the last time.
    pub(super) fn take_unknown(&mut self) -> Option<u8> {
        let seen = self.client.take_unknown();
        LegId::ALL
            .into_iter()
            .fold(seen, |seen, leg| self.leg(leg).take_unknown().or(seen))
    }

    /// A text was looked at for its tables.
    pub(super) fn parsed(&mut self, to: LegId, view: &View) {
        match view {
            View::Parsed(_) => {
                self.client.parsed();
                self.leg(to).parsed();
            }
            View::Unparsed(_) => {
                self.client.unparsed();
                self.leg(to).unparsed();
            }
        }
    }

    /// Messages of an upstream of which only the number matters.
    pub(super) fn rows(&mut self, from: LegId, fate: Fate, tag: u8, messages: u64) {
        self.leg(from).backend_run(tag, messages);
        if fate != Fate::Discard {
            self.client.backend_run(tag, messages);
        }
    }

    /// Bytes of our own: messages, but for those that open a connection, which count as none here.
    pub(super) fn made(&mut self, to: PeerId, bytes: &[u8]) {
        match LegId::of(to) {
            None => self.client.backend_frames(bytes),
            Some(leg) => self.leg(leg).frontend_frames(bytes),
        }
    }

    pub(super) fn upstream_ssl_succeeded(&mut self, id: LegId) {
        self.leg(id).upstream_ssl_succeeded();
        self.client.upstream_ssl_succeeded();
    }

    pub(super) fn upstream_ssl_failed(&mut self, id: LegId) {
        self.leg(id).upstream_ssl_failed();
        self.client.upstream_ssl_failed();
    }

    /// An upstream is dialled for the `dials`th time.
    pub(super) fn dialled(&mut self, dials: u32) {
        if dials > 1 {
            self.connections.count(ConnectionCounter::DialRetries);
        }
    }

    /// A client is refused with this: for who it is, if the class is "invalid authorization specification".
    pub(super) fn refused(&mut self, state: SqlState) {
        if state.class() == *b"28" {
            self.connections
                .count(ConnectionCounter::AuthenticationFailures);
        }
    }

    /// A connection is closed.
    pub(super) fn closed(&mut self, peer: PeerId) {
        match LegId::of(peer) {
            None => self.client.ended(),
            Some(leg) => self.leg(leg).ended(),
        }
    }

    /// The session comes to its end.
    pub(super) fn session_ended(&mut self, cause: &CloseCause) {
        self.connections.count(ConnectionCounter::EndedConns);
        let counter = match cause {
            CloseCause::ClientLeft | CloseCause::ClientLost => ConnectionCounter::ClientDisconnect,
            CloseCause::ClientRefused(_) | CloseCause::ConnectionDenied(_) => {
                ConnectionCounter::RefusedConn
            }
            CloseCause::UpstreamLost(_)
            | CloseCause::UpstreamFault(_)
            | CloseCause::UpstreamEnded(_)
            | CloseCause::Promoted(_) => ConnectionCounter::BackendDisconnect,
            CloseCause::ClientFault(_)
            | CloseCause::StatementDenied(_)
            | CloseCause::CancelTaken
            | CloseCause::LoginFailed(_)
            | CloseCause::Timeout(_)
            | CloseCause::ReaderExcluded(_)
            | CloseCause::Shutdown
            | CloseCause::Expelled(_)
            | CloseCause::Misuse(_)
            | CloseCause::SessionOver
            | CloseCause::Moved
            | CloseCause::MoveFailed => return,
        };
        self.connections.count(counter);
    }
}

/// How many requests went where, and why: the numbers of the reasons that occurred.
///
/// There are some 80 reasons; most sessions see a handful.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Vec<(PeerId, RouteReason, u64)>);

impl Routes {
    /// An upstream, a reason and how many requests went there for it, in the order in which they occurred first.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, RouteReason, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many requests went to an upstream for a reason.
    pub fn get(&self, peer: PeerId, reason: RouteReason) -> u64 {
        let found = self
            .iter()
            .find(|(to, why, _)| (*to, *why) == (peer, reason));
        found.map_or(0, |(_, _, requests)| requests)
    }

    /// Adds the numbers of another session.
    pub fn add(&mut self, other: &Routes) {
        for (peer, reason, requests) in other.iter() {
            self.count_many(peer, reason, requests);
        }
    }

    /// What has been counted since `earlier`, which was a copy of these.
    #[must_use]
    pub fn since(&self, earlier: &Routes) -> Routes {
        let all = self.iter().map(|(peer, reason, requests)| {
            let before = earlier.get(peer, reason);
            (peer, reason, requests.saturating_sub(before))
        });
        Routes(all.filter(|(_, _, requests)| *requests > 0).collect())
    }

    fn count_many(&mut self, peer: PeerId, reason: RouteReason, requests: u64) {
        let mut known = self.0.iter_mut();
        match known.find(|(to, why, _)| (*to, *why) == (peer, reason)) {
            Some((_, _, count)) => *count = count.saturating_add(requests),
            None => self.0.push((peer, reason, requests)),
        }
    }

    pub(super) fn count(&mut self, peer: PeerId, reason: RouteReason) {
        self.count_many(peer, reason, 1);
    }
}

impl<R: Route> Session<R> {
    /// What was counted of the client's messages and replies. A message counts when its header was read and its way is
    /// decided, whether all of it has passed by then or not.
    pub fn stats(&self) -> &Stats {
        self.tally.client.stats()
    }

    /// The same for one upstream, over all its connections in this session, messages that the client never sees
    /// included; `None` for the client itself.
    pub fn upstream_stats(&self, peer: PeerId) -> Option<&Stats> {
        LegId::of(peer).map(|leg| self.tally.legs.get(leg).stats())
    }

    /// What was counted of the session's connections.
    pub fn connection_stats(&self) -> &ConnectionStats {
        &self.tally.connections
    }

    /// How many requests went where, and why.
    pub fn routes(&self) -> &Routes {
        &self.tally.routes
    }

    /// Counts a client that the gate refuses: the first error, if it is for who the client is.
    pub(super) fn count_refusal(&mut self, message: &Backend<'_>) {
        let Backend::ErrorResponse(fields) = message else {
            return;
        };
        let state = fields.sqlstate().filter(|_| !self.client.was_refused());
        if let Some(state) = state {
            self.tally.refused(state);
        }
    }
}
