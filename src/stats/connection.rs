//! sqlproxy's counters of connections.

use super::counters;

counters! {
    /// What is counted of connections: the counters of CockroachDB's sqlproxy that a proxy for PostgreSQL can have.
    ///
    /// Names are sqlproxy's without its prefixes `proxy.sql.`, `proxy.err.` and `proxy.dial_tenant.`; cancel requests have
    /// `cancel_` for `proxy.query_cancel.`. What sqlproxy shows as a gauge of open connections is the difference of
    /// [`AcceptedConns`](ConnectionCounter::AcceptedConns) and [`EndedConns`](ConnectionCounter::EndedConns).
    ///
    /// What is about the caller's own doing is the caller's to count: how long dials took (`dial_tenant.latency`), lists that
    /// cannot be read (`access_control.errors`), by what a cluster was found (`routing_method_count`) or was not (`err.routing`), and
    /// whom it ends for its age or silence (`expired_client_conns`, `err.idle_disconnect`). More cancels may be received than are
    /// forwarded or ignored: those of whom is denied, and those for an upstream that cannot be had.
    enum ConnectionCounter;

    /// A number for each [`ConnectionCounter`].
    struct ConnectionStats;

    /// Connections of clients that were taken, those that bring a CancelRequest included.
    AcceptedConns => accepted_conns,
    /// Connections of clients that ended. sqlproxy counts the open ones instead.
    EndedConns => ended_conns,
    /// Clients that logged in.
    SuccessfulConns => successful_conns,
    /// Clients that were refused with an SQLSTATE of class 28, invalid authorization.
    AuthenticationFailures => authentication_failures,
    /// Clients whose opening was refused: a wrong packet, a version that is not spoken, no TLS where it is required.
    RefusedConn => refused_conn,
    /// Connections to upstreams that could not be had: dial, TLS or login failed.
    BackendDown => backend_down,
    /// Sessions that ended because an upstream ended them, was lost or broke the protocol.
    BackendDisconnect => backend_disconnect,
    /// Sessions that the client ended, with Terminate or without.
    ClientDisconnect => client_disconnect,
    /// Dials of an upstream after the first in one session.
    DialRetries => retries,
    /// CancelRequests that came.
    CancelReceived => cancel_received,
    /// CancelRequests that were passed on to an upstream. The driver counts them.
    CancelForwarded => cancel_forwarded,
    /// CancelRequests with a key that nobody has, or for a session without a request in flight. The driver counts them.
    CancelIgnored => cancel_ignored,
    /// CancelRequests that an upstream took: it closed the connection. The driver counts them.
    CancelSuccessful => cancel_successful,
}

impl ConnectionStats {
    /// Counts one more.
    pub fn count(&mut self, counter: ConnectionCounter) {
        let slot = self.slot(counter);
        *slot = slot.saturating_add(1);
    }
}
