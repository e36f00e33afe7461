//! What must be remembered about a session.
