//! Who is not served: too many wrong guesses, and lists of the operator's.
//!
//! [`Throttle`] holds back logins of a user from an address that has failed to prove it; [`DenyList`] names addresses,
//! users and databases that get no session. Neither belongs to one session: a proxy has one of each, and asks them from the
//! [`Policy`](crate::session::Policy) of each session (`connection` before the login, `login` when its outcome is known)
//! and, for sessions that are open when a list changes, from its driver, which ends them with
//! [`Session::expel`](crate::session::Session::expel).

mod deny;
mod deny_file;
mod throttle;

pub use deny::{DenyList, DenyRule, Network, Subject};
pub use deny_file::{BadDenyLine, DenyFault};
pub use throttle::{Attempt, Outcome, Throttle, ThrottleLimits, Throttled};
