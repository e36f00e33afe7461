//! From SQL text to intent, and from intent to an upstream.
