//! What must be remembered about a session: what its upstreams still owe ([`pipeline`]), its prepared statements
//! ([`prepared`]), its settings ([`settings`]), and what ties it to one upstream ([`Pin`]).

pub mod pipeline;
pub mod prepared;
pub mod reading;
pub mod settings;

mod change;
mod elsewhere;
mod forget;
mod lsn;
mod pending;
mod pins;
pub(crate) mod savepoints;

pub use lsn::Lsn;
pub use pins::{Lift, Pin, Pins};
