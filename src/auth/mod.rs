//! Logging in to further upstreams on behalf of a client that has already logged in once.

pub use crate::secret::Secret;
