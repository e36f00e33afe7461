//! A live session moves to another server, and its client stays connected.
//!
//! Pure parts: nothing here owns a connection, a clock or a byte that passes. A proxy with a loop of its own tells them what
//! happened and sends what they write.
//!
//! | part | what it is |
//! |---|---|
//! | [`safe_point`] | whether a session can leave its server now, or everything that speaks against it |
//! | [`Migration`] | the phases of one move, their deadlines, and how the session stands when one fails |
//! | [`Transfers`] | one move at a time, counted |
//! | [`postgres`] | finding out, restoring and verifying a session of PostgreSQL, with no help of the server |
//! | [`cockroach`] | CockroachDB's own transfer of a session |
//! | [`Traffic`], [`Flow`], [`is_safe_transfer_point`] | sqlproxy's view of a connection, for those who compare |
//!
//! # The two safe points
//!
//! | situation | sqlproxy | here |
//! |---|---|---|
//! | a request is not answered | no | no |
//! | two pipelined queries, the first answered | **yes** | no: they are counted |
//! | a transaction is open, or has failed | **yes** | no: ReadyForQuery says so |
//! | a notice, a parameter or a notification came while the session was idle | **no** | yes |
//! | a batch whose messages are answered, without its Sync | no | no |
//! | COPY ended by the client, answered | yes | yes |
//! | advisory locks, temporary objects, a loaded library | **yes** | no: pinned |
//!
//! # A move
//!
//! 1. [`Transfers::begin`] counts it, or says why it cannot start. [`Migration::new`] says when the dial must be done.
//! 2. The new server is dialled while the old one serves; with PostgreSQL we log in there, too, and probe what a fresh session
//!    has.
//! 3. At each boundary [`Migration::looked`] is told what [`safe_point`] says. While nothing but answers is
//!    missing the client is held, so that a pipeline comes to an end.
//! 4. The state is read: [`postgres::Probe`] or [`cockroach::StateReader`]. It is judged, restored, and read back: with
//!    CockroachDB, the prepared statements are.
//! 5. [`Migration::cut_over`] demands a second [`Quiescent`] of the same moment. The caller exchanges the connection and the
//!    cancel target, says farewell to the old server, tells the client which of its parameters have changed, and releases it.
//!
//! Whatever fails before leaves the session on the old server, unless that has gone.

mod classic;
pub mod cockroach;
mod flow;
mod phases;
pub mod postgres;
mod reply;
mod safe;
mod transfers;

pub use classic::{Direction, Last, Traffic, is_safe_transfer_point};
pub use flow::{Flow, FlowClosed, Passage, Resumption, Suspension};
pub use phases::{Dialect, Finished, Migration, OldServer, Phase, PhaseLimits, Progress, Reason};
pub use reply::{AnswerFault, Heard, Look};
pub use safe::{Batch, Carriage, Copy, Facts, Obstacle, Quiescent, Trust, Unsafe, safe_point};
pub use transfers::{
    Attempt, CannotStart, Outcome, Readiness, TransferCounter, TransferStats, Transfers,
};

/// When tests begin.
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do for a start")]
fn start() -> std::time::Instant {
    std::time::Instant::now()
}
