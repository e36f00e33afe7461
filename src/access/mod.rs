//! Who is not served: too many wrong guesses, and lists of the operator's.
//!
//! [`Throttle`] holds back logins of a user from an address that has failed to prove it; [`DenyList`] names addresses,
//! users and databases that get no session, and [`AllowList`] networks and private endpoints without which there is none. None belongs to one session: a proxy has one of each, and asks them from the
//! [`Policy`](crate::session::Policy) of each session (`connection` before the login, `login` when its outcome is known)
//! and, for sessions that are open when a list changes, from its driver, which ends them with
//! [`Session::expel`](crate::session::Session::expel).

mod allow;
mod allow_file;
mod deny;
mod deny_file;
mod throttle;

pub use allow::{AllowList, Scope, Source};
pub use allow_file::{AllowFault, BadAllowLine};
pub use deny::{DenyList, ListRule, Network, Subject};
pub use deny_file::{BadDenyLine, DenyFault};
pub use throttle::{Attempt, Outcome, Throttle, ThrottleLimits, Throttled};
